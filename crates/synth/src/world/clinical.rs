//! A small honest list of codes that exist, with what makes them plausible: age, sex, how often.
//!
//! SNOMED CT, LOINC, RxNorm and ICD-10-CM displays are those of the code systems. The descriptions beside
//! CPT codes are our own words.

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Anyone,
    Female,
    Male,
}

/// What a condition does to the patient's laboratory values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    None,
    Diabetes,
    Kidney,
    Lipids,
    Pressure,
    Anemia,
    Thyroid,
    Infection,
    Heart,
    Oxygen,
    Obesity,
}

pub struct Condition {
    pub snomed: &'static str,
    pub display: &'static str,
    pub icd10: &'static str,
    pub chronic: bool,
    pub who: Who,
    pub from_age: i32,
    pub to_age: i32,
    /// Share of those whom age and sex allow (chronic), or weight among acute reasons.
    pub share: f64,
    pub effect: Effect,
    /// Drugs in use, by their place in [`DRUGS`].
    pub drugs: &'static [usize],
    /// As a note says it, eponym and all.
    pub spoken: &'static str,
}

#[expect(clippy::too_many_arguments, reason = "the columns of a table of constants")]
const fn chronic(
    snomed: &'static str,
    display: &'static str,
    icd10: &'static str,
    who: Who,
    ages: (i32, i32),
    share: f64,
    effect: Effect,
    drugs: &'static [usize],
    spoken: &'static str,
) -> Condition {
    Condition {
        snomed,
        display,
        icd10,
        chronic: true,
        who,
        from_age: ages.0,
        to_age: ages.1,
        share,
        effect,
        drugs,
        spoken,
    }
}

#[expect(clippy::too_many_arguments, reason = "the columns of a table of constants")]
const fn acute(
    snomed: &'static str,
    display: &'static str,
    icd10: &'static str,
    who: Who,
    ages: (i32, i32),
    share: f64,
    effect: Effect,
    drugs: &'static [usize],
    spoken: &'static str,
) -> Condition {
    Condition {
        snomed,
        display,
        icd10,
        chronic: false,
        who,
        from_age: ages.0,
        to_age: ages.1,
        share,
        effect,
        drugs,
        spoken,
    }
}

use Effect as E;
use Who::{Anyone, Female, Male};

#[rustfmt::skip]
pub static CHRONIC: &[Condition] = &[
    chronic("59621000", "Essential hypertension (disorder)", "I10", Anyone, (30, 120), 0.42, E::Pressure, &[0, 1, 2], "hypertension"),
    chronic("44054006", "Diabetes mellitus type 2 (disorder)", "E11.9", Anyone, (35, 120), 0.16, E::Diabetes, &[3, 4], "type 2 diabetes"),
    chronic("46635009", "Diabetes mellitus type 1 (disorder)", "E10.9", Anyone, (4, 120), 0.006, E::Diabetes, &[5], "type 1 diabetes"),
    chronic("55822004", "Hyperlipidemia (disorder)", "E78.5", Anyone, (30, 120), 0.30, E::Lipids, &[6, 7, 8], "hyperlipidemia"),
    chronic("195967001", "Asthma (disorder)", "J45.909", Anyone, (5, 120), 0.08, E::Oxygen, &[9, 10], "asthma"),
    chronic("13645005", "Chronic obstructive lung disease (disorder)", "J44.9", Anyone, (45, 120), 0.07, E::Oxygen, &[9], "COPD"),
    chronic("84114007", "Heart failure (disorder)", "I50.9", Anyone, (55, 120), 0.07, E::Heart, &[11, 12], "heart failure (NYHA class II)"),
    chronic("49436004", "Atrial fibrillation (disorder)", "I48.91", Anyone, (55, 120), 0.08, E::Heart, &[13, 12], "atrial fibrillation"),
    chronic("53741008", "Coronary arteriosclerosis (disorder)", "I25.10", Anyone, (45, 120), 0.10, E::Lipids, &[14, 15, 6], "coronary artery disease"),
    chronic("709044004", "Chronic kidney disease (disorder)", "N18.9", Anyone, (40, 120), 0.10, E::Kidney, &[0], "chronic kidney disease"),
    chronic("49049000", "Parkinson's disease (disorder)", "G20.A1", Anyone, (55, 120), 0.012, E::None, &[16], "Parkinson disease"),
    chronic("26929004", "Alzheimer's disease (disorder)", "G30.9", Anyone, (68, 120), 0.06, E::None, &[17], "Alzheimer disease"),
    chronic("34000006", "Crohn's disease (disorder)", "K50.90", Anyone, (12, 90), 0.004, E::Anemia, &[], "Crohn disease"),
    chronic("21983002", "Hashimoto thyroiditis (disorder)", "E06.3", Anyone, (20, 120), 0.015, E::Thyroid, &[18], "Hashimoto thyroiditis"),
    chronic("353295004", "Toxic diffuse goiter (disorder)", "E05.00", Anyone, (20, 80), 0.005, E::None, &[], "Graves disease"),
    chronic("40930008", "Hypothyroidism (disorder)", "E03.9", Anyone, (25, 120), 0.05, E::Thyroid, &[18], "hypothyroidism"),
    chronic("35489007", "Depressive disorder (disorder)", "F32.A", Anyone, (13, 120), 0.10, E::None, &[19], "depression"),
    chronic("197480006", "Anxiety disorder (disorder)", "F41.9", Anyone, (13, 120), 0.09, E::None, &[19], "anxiety"),
    chronic("396275006", "Osteoarthritis (disorder)", "M19.90", Anyone, (45, 120), 0.18, E::None, &[20, 21], "osteoarthritis with Heberden nodes"),
    chronic("64859006", "Osteoporosis (disorder)", "M81.0", Female, (55, 120), 0.15, E::None, &[], "osteoporosis"),
    chronic("414916001", "Obesity (disorder)", "E66.9", Anyone, (12, 85), 0.28, E::Obesity, &[], "obesity"),
    chronic("235595009", "Gastroesophageal reflux disease (disorder)", "K21.9", Anyone, (20, 120), 0.12, E::None, &[22], "GERD"),
    chronic("271737000", "Anemia (disorder)", "D64.9", Anyone, (2, 120), 0.05, E::Anemia, &[23], "anemia"),
    chronic("254837009", "Malignant neoplasm of breast (disorder)", "C50.919", Female, (35, 120), 0.02, E::None, &[], "breast cancer (Paget disease excluded)"),
    chronic("399068003", "Malignant neoplasm of prostate (disorder)", "C61", Male, (50, 120), 0.04, E::None, &[], "prostate cancer, Gleason 6"),
    chronic("86406008", "Human immunodeficiency virus infection (disorder)", "B20", Anyone, (16, 85), 0.004, E::None, &[], "HIV"),
    chronic("7200002", "Alcoholism (disorder)", "F10.20", Anyone, (18, 90), 0.03, E::None, &[], "alcohol use disorder"),
    chronic("5602001", "Opioid abuse (disorder)", "F11.10", Anyone, (16, 75), 0.01, E::None, &[24], "opioid use disorder"),
    chronic("24079001", "Atopic dermatitis (disorder)", "L20.9", Anyone, (0, 30), 0.08, E::None, &[], "eczema"),
    chronic("90560007", "Gout (disorder)", "M10.9", Anyone, (40, 120), 0.04, E::None, &[25], "gout"),
    chronic("69896004", "Rheumatoid arthritis (disorder)", "M06.9", Anyone, (30, 120), 0.008, E::None, &[21], "rheumatoid arthritis"),
];

#[rustfmt::skip]
pub static ACUTE: &[Condition] = &[
    acute("195662009", "Acute viral pharyngitis (disorder)", "J02.9", Anyone, (1, 120), 14.0, E::Infection, &[20], "sore throat"),
    acute("444814009", "Viral sinusitis (disorder)", "J01.90", Anyone, (3, 120), 12.0, E::None, &[20], "sinusitis"),
    acute("10509002", "Acute bronchitis (disorder)", "J20.9", Anyone, (1, 120), 10.0, E::Infection, &[9, 20], "cough and bronchitis"),
    acute("65363002", "Otitis media (disorder)", "H66.90", Anyone, (0, 12), 25.0, E::Infection, &[26], "ear pain, otitis media"),
    acute("233604007", "Pneumonia (disorder)", "J18.9", Anyone, (0, 120), 4.0, E::Infection, &[27], "pneumonia"),
    acute("68566005", "Urinary tract infectious disease (disorder)", "N39.0", Anyone, (1, 120), 6.0, E::Infection, &[26], "dysuria; Foley catheter changed"),
    acute("840539006", "Disease caused by severe acute respiratory syndrome coronavirus 2 (disorder)", "U07.1", Anyone, (0, 120), 6.0, E::Oxygen, &[20], "COVID-19"),
    acute("22298006", "Myocardial infarction (disorder)", "I21.9", Anyone, (45, 120), 1.5, E::Heart, &[14, 15, 6], "chest pain, myocardial infarction, Killip class I"),
    acute("230690007", "Cerebrovascular accident (disorder)", "I63.9", Anyone, (50, 120), 1.2, E::Pressure, &[14, 15], "left-sided weakness, Babinski sign present"),
    acute("91302008", "Sepsis (disorder)", "A41.9", Anyone, (0, 120), 0.6, E::Infection, &[27], "sepsis"),
    acute("74400008", "Appendicitis (disorder)", "K37", Anyone, (6, 60), 1.0, E::Infection, &[20], "right lower quadrant pain at McBurney point"),
    acute("279039007", "Low back pain (finding)", "M54.50", Anyone, (18, 120), 8.0, E::None, &[21], "low back pain, Lasègue negative"),
    acute("44465007", "Sprain of ankle (disorder)", "S93.409A", Anyone, (6, 80), 4.0, E::None, &[21], "ankle sprain, Ottawa rules negative"),
    acute("72892002", "Normal pregnancy (finding)", "Z34.90", Female, (17, 44), 6.0, E::Anemia, &[23], "pregnancy, Leopold maneuvers done"),
];

pub struct Drug {
    pub rxnorm: &'static str,
    pub display: &'static str,
    pub dose: &'static str,
    /// Cents a month.
    pub cost: i64,
}

const fn drug(rxnorm: &'static str, display: &'static str, dose: &'static str, cost: i64) -> Drug {
    Drug { rxnorm, display, dose, cost }
}

#[rustfmt::skip]
pub static DRUGS: &[Drug] = &[
    drug("314076", "lisinopril 10 MG Oral Tablet", "Take 1 tablet by mouth every day", 820),
    drug("197361", "amlodipine 5 MG Oral Tablet", "Take 1 tablet by mouth every day", 910),
    drug("310798", "hydrochlorothiazide 25 MG Oral Tablet", "Take 1 tablet by mouth every morning", 640),
    drug("861007", "metformin hydrochloride 500 MG Oral Tablet", "Take 1 tablet by mouth twice a day, with food", 1_150),
    drug("860975", "24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet", "Take 2 tablets by mouth with the evening meal", 1_490),
    drug("106892", "insulin isophane, human 70 UNT/ML / insulin, regular, human 30 UNT/ML Injectable Suspension [Humulin]", "Inject 20 units under the skin before breakfast", 9_800),
    drug("259255", "atorvastatin 80 MG Oral Tablet", "Take 1 tablet by mouth at bedtime", 1_730),
    drug("617310", "atorvastatin 20 MG Oral Tablet", "Take 1 tablet by mouth at bedtime", 1_310),
    drug("312961", "simvastatin 20 MG Oral Tablet", "Take 1 tablet by mouth at bedtime", 990),
    drug("630208", "albuterol 0.83 MG/ML Inhalation Solution", "Inhale 1 vial by nebulizer every 4 to 6 hours as needed", 3_350),
    drug("895994", "120 ACTUAT fluticasone propionate 0.044 MG/ACTUAT Metered Dose Inhaler", "Inhale 2 puffs twice a day", 18_400),
    drug("313988", "furosemide 40 MG Oral Tablet", "Take 1 tablet by mouth every morning", 700),
    drug("866412", "24 HR metoprolol succinate 100 MG Extended Release Oral Tablet", "Take 1 tablet by mouth every day", 1_620),
    drug("855332", "warfarin sodium 5 MG Oral Tablet", "Take as directed by the anticoagulation clinic", 1_050),
    drug("309362", "clopidogrel 75 MG Oral Tablet", "Take 1 tablet by mouth every day", 1_540),
    drug("243670", "aspirin 81 MG Oral Tablet", "Take 1 tablet by mouth every day", 250),
    drug("197444", "carbidopa 25 MG / levodopa 100 MG Oral Tablet", "Take 1 tablet by mouth three times a day", 2_280),
    drug("997223", "donepezil hydrochloride 10 MG Oral Tablet", "Take 1 tablet by mouth at bedtime", 1_880),
    drug("966222", "levothyroxine sodium 0.075 MG Oral Tablet", "Take 1 tablet by mouth every morning on an empty stomach", 1_210),
    drug("312941", "sertraline 50 MG Oral Tablet", "Take 1 tablet by mouth every day", 1_090),
    drug("313782", "acetaminophen 325 MG Oral Tablet", "Take 2 tablets by mouth every 6 hours as needed for pain", 450),
    drug("310965", "ibuprofen 200 MG Oral Tablet", "Take 2 tablets by mouth every 6 hours as needed, with food", 520),
    drug("198051", "omeprazole 20 MG Delayed Release Oral Capsule", "Take 1 capsule by mouth before breakfast", 1_330),
    drug("310325", "ferrous sulfate 325 MG Oral Tablet", "Take 1 tablet by mouth every other day", 480),
    drug("351267", "buprenorphine 8 MG / naloxone 2 MG Sublingual Tablet", "Dissolve 1 tablet under the tongue every day", 9_600),
    drug("197319", "allopurinol 100 MG Oral Tablet", "Take 1 tablet by mouth every day", 870),
    drug("308182", "amoxicillin 250 MG Oral Capsule", "Take 1 capsule by mouth three times a day for 10 days", 990),
    drug("562251", "amoxicillin 250 MG / clavulanate 125 MG Oral Tablet", "Take 1 tablet by mouth every 8 hours for 7 days", 2_640),
];

/// A measurement. Values are integers of 10^-scale.
pub struct Test {
    pub loinc: &'static str,
    pub display: &'static str,
    /// UCUM.
    pub unit: &'static str,
    pub scale: u32,
    pub vital: bool,
    /// Reference range for women and for men, in units of 10^-scale; -1 where there is no bound.
    pub female: (i64, i64),
    pub male: (i64, i64),
}

const fn test(loinc: &'static str, display: &'static str, unit: &'static str, scale: u32, range: (i64, i64)) -> Test {
    Test { loinc, display, unit, scale, vital: false, female: range, male: range }
}

const fn sexed(
    loinc: &'static str,
    display: &'static str,
    unit: &'static str,
    scale: u32,
    female: (i64, i64),
    male: (i64, i64),
) -> Test {
    Test { loinc, display, unit, scale, vital: false, female, male }
}

const fn vital(loinc: &'static str, display: &'static str, unit: &'static str, scale: u32, range: (i64, i64)) -> Test {
    Test { loinc, display, unit, scale, vital: true, female: range, male: range }
}

pub static HEIGHT: Test = vital("8302-2", "Body height", "cm", 1, (-1, -1));
pub static WEIGHT: Test = vital("29463-7", "Body weight", "kg", 1, (-1, -1));
pub static BMI: Test = vital("39156-5", "Body mass index (BMI) [Ratio]", "kg/m2", 1, (185, 249));
pub static SYSTOLIC: Test = vital("8480-6", "Systolic blood pressure", "mm[Hg]", 0, (90, 130));
pub static DIASTOLIC: Test = vital("8462-4", "Diastolic blood pressure", "mm[Hg]", 0, (60, 80));
pub static PULSE: Test = vital("8867-4", "Heart rate", "/min", 0, (60, 100));
pub static BREATHS: Test = vital("9279-1", "Respiratory rate", "/min", 0, (12, 20));
pub static TEMPERATURE: Test = vital("8310-5", "Body temperature", "Cel", 1, (361, 375));
pub static SATURATION: Test = vital("2708-6", "Oxygen saturation in Arterial blood", "%", 0, (94, 100));

pub static GLUCOSE: Test = test("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 0, (70, 99));
pub static HBA1C: Test = test("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 1, (40, 56));
pub static CREATININE: Test =
    sexed("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 2, (59, 104), (74, 135));
pub static EGFR: Test = test(
    "98979-8",
    "Glomerular filtration rate [Volume Rate/Area] in Serum, Plasma or Blood by Creatinine-based formula (CKD-EPI 2021)/1.73 sq M",
    "mL/min/{1.73_m2}",
    0,
    (60, -1),
);
pub static UREA: Test = test("3094-0", "Urea nitrogen [Mass/volume] in Serum or Plasma", "mg/dL", 0, (7, 20));
pub static SODIUM: Test = test("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 0, (136, 145));
pub static POTASSIUM: Test = test("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 1, (35, 51));
pub static CHLORIDE: Test = test("2075-0", "Chloride [Moles/volume] in Serum or Plasma", "mmol/L", 0, (98, 107));
pub static BICARBONATE: Test =
    test("2028-9", "Carbon dioxide, total [Moles/volume] in Serum or Plasma", "mmol/L", 0, (22, 29));
pub static CALCIUM: Test = test("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", 1, (86, 102));
pub static CHOLESTEROL: Test = test("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", 0, (-1, 199));
pub static HDL: Test =
    sexed("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", "mg/dL", 0, (50, -1), (40, -1));
pub static LDL: Test =
    test("13457-7", "Cholesterol in LDL [Mass/volume] in Serum or Plasma by calculation", "mg/dL", 0, (-1, 99));
pub static TRIGLYCERIDE: Test = test("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", "mg/dL", 0, (-1, 149));
pub static HEMOGLOBIN: Test = sexed("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 1, (120, 155), (135, 175));
pub static HEMATOCRIT: Test =
    sexed("4544-3", "Hematocrit [Volume Fraction] of Blood by Automated count", "%", 1, (360, 460), (410, 530));
pub static LEUKOCYTES: Test =
    test("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 1, (45, 110));
pub static PLATELETS: Test =
    test("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", 0, (150, 450));
pub static ALT: Test =
    test("1742-6", "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma", "U/L", 0, (7, 56));
pub static AST: Test =
    test("1920-8", "Aspartate aminotransferase [Enzymatic activity/volume] in Serum or Plasma", "U/L", 0, (10, 40));
pub static TSH: Test = test("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "m[IU]/L", 2, (40, 400));
pub static PSA: Test = test("2857-1", "Prostate specific Ag [Mass/volume] in Serum or Plasma", "ng/mL", 1, (-1, 40));
pub static BNP: Test = test(
    "33762-6",
    "Natriuretic peptide.B prohormone N-Terminal [Mass/volume] in Serum or Plasma",
    "pg/mL",
    0,
    (-1, 300),
);
pub static CRP: Test = test("1988-5", "C reactive protein [Mass/volume] in Serum or Plasma", "mg/L", 1, (-1, 80));

pub struct Procedure {
    pub snomed: &'static str,
    pub display: &'static str,
    pub cpt: &'static str,
    /// What is billed, in our words.
    pub billed_as: &'static str,
    /// Cents.
    pub cost: i64,
    pub who: Who,
    pub from_age: i32,
    pub to_age: i32,
    pub inpatient: bool,
}

#[expect(clippy::too_many_arguments, reason = "the columns of a table of constants")]
const fn procedure(
    snomed: &'static str,
    display: &'static str,
    cpt: &'static str,
    billed_as: &'static str,
    cost: i64,
    who: Who,
    ages: (i32, i32),
    inpatient: bool,
) -> Procedure {
    Procedure { snomed, display, cpt, billed_as, cost, who, from_age: ages.0, to_age: ages.1, inpatient }
}

#[rustfmt::skip]
pub static PROCEDURES: &[Procedure] = &[
    procedure("430193006", "Medication reconciliation (procedure)", "99213", "office visit, known patient", 9_200, Anyone, (0, 120), false),
    procedure("710824005", "Assessment of health and social care needs (procedure)", "96160", "health risk questionnaire", 1_900, Anyone, (18, 120), false),
    procedure("171207006", "Depression screening (procedure)", "96127", "brief behavioral assessment", 2_500, Anyone, (12, 120), false),
    procedure("29303009", "Electrocardiographic procedure (procedure)", "93000", "electrocardiogram with report", 8_700, Anyone, (30, 120), false),
    procedure("399208008", "Plain X-ray of chest (procedure)", "71046", "chest x-ray, two views", 11_400, Anyone, (1, 120), false),
    procedure("127783003", "Spirometry (procedure)", "94010", "spirometry", 7_800, Anyone, (6, 120), false),
    procedure("76601001", "Intramuscular injection (procedure)", "96372", "injection", 4_100, Anyone, (0, 120), false),
    procedure("73761001", "Colonoscopy (procedure)", "45378", "colonoscopy", 128_000, Anyone, (45, 80), false),
    procedure("24623002", "Screening mammography (procedure)", "77067", "mammogram, both breasts", 26_500, Female, (40, 75), false),
    procedure("40701008", "Echocardiography (procedure)", "93306", "echocardiogram with Doppler", 94_000, Anyone, (40, 120), false),
    procedure("415070008", "Percutaneous coronary intervention (procedure)", "92928", "coronary stent", 1_720_000, Anyone, (45, 120), true),
    procedure("232717009", "Coronary artery bypass grafting (procedure)", "33533", "coronary bypass, one artery", 4_150_000, Anyone, (50, 85), true),
    procedure("80146002", "Excision of appendix (procedure)", "44970", "appendix removal by laparoscope", 1_340_000, Anyone, (6, 70), true),
    procedure("38102005", "Cholecystectomy (procedure)", "47562", "gallbladder removal by laparoscope", 1_480_000, Anyone, (20, 85), true),
    procedure("52734007", "Total replacement of hip (procedure)", "27130", "hip replacement", 3_250_000, Anyone, (55, 100), true),
    procedure("609588000", "Total knee replacement (procedure)", "27447", "knee replacement", 3_090_000, Anyone, (55, 95), true),
    procedure("11466000", "Cesarean section (procedure)", "59510", "cesarean delivery with care", 1_690_000, Female, (17, 45), true),
    procedure("265764009", "Renal dialysis (procedure)", "90935", "hemodialysis, one evaluation", 62_000, Anyone, (40, 120), true),
];

pub struct DeviceKind {
    pub snomed: &'static str,
    pub display: &'static str,
    pub manufacturer: &'static str,
    pub from_age: i32,
    /// Share of those old enough.
    pub share: f64,
}

const fn device(
    snomed: &'static str,
    display: &'static str,
    manufacturer: &'static str,
    from_age: i32,
    share: f64,
) -> DeviceKind {
    DeviceKind { snomed, display, manufacturer, from_age, share }
}

#[rustfmt::skip]
pub static DEVICES: &[DeviceKind] = &[
    device("706004007", "Implantable cardiac pacemaker (physical object)", "Fictional Rhythm Corp", 60, 0.04),
    device("705643001", "Coronary artery stent (physical object)", "Example Stent GmbH", 50, 0.05),
    device("72506001", "Implantable defibrillator (physical object)", "Fictional Rhythm Corp", 50, 0.02),
    device("304120007", "Total hip replacement prosthesis (physical object)", "Sample Orthopedics Inc.", 60, 0.05),
    device("304121006", "Total knee replacement prosthesis (physical object)", "Sample Orthopedics Inc.", 60, 0.05),
    device("337414009", "Blood glucose meter (physical object)", "Placebo Diagnostics", 18, 0.08),
    device("6012004", "Hearing aid (physical object)", "Placebo Audio", 65, 0.15),
    device("228869008", "Manual wheelchair (physical object)", "Testbed Mobility", 75, 0.08),
];

pub struct VisitKind {
    /// v3-ActCode.
    pub class: &'static str,
    pub snomed: &'static str,
    pub display: &'static str,
    pub cost: i64,
    /// CMS place of service code.
    pub place_of_service: &'static str,
}

const fn visit(
    class: &'static str,
    snomed: &'static str,
    display: &'static str,
    cost: i64,
    place_of_service: &'static str,
) -> VisitKind {
    VisitKind { class, snomed, display, cost, place_of_service }
}

pub static CHECK_UP: VisitKind = visit("AMB", "185349003", "Encounter for check up (procedure)", 14_500, "11");
pub static WELL_CHILD: VisitKind = visit("AMB", "410620009", "Well child visit (procedure)", 12_900, "11");
pub static SYMPTOM: VisitKind = visit("AMB", "185345009", "Encounter for symptom (procedure)", 13_800, "11");
pub static PROBLEM: VisitKind = visit("AMB", "185347001", "Encounter for problem (procedure)", 15_200, "22");
pub static FOLLOW_UP: VisitKind = visit("AMB", "390906007", "Follow-up encounter (procedure)", 11_600, "11");
pub static EMERGENCY: VisitKind = visit("EMER", "50849002", "Emergency room admission (procedure)", 138_000, "23");
pub static INPATIENT: VisitKind = visit("IMP", "183452005", "Emergency hospital admission (procedure)", 870_000, "21");
pub static VIRTUAL: VisitKind = visit("VR", "185317003", "Telephone encounter (procedure)", 6_400, "10");

pub static PAYERS: &[&str] =
    &["Medicare", "Medicaid", "Example Health Plan", "Acme Mutual (fictional)", "Lantern Insurance Group", "Self-pay"];

/// Contact relationships of HL7 v3 RoleCode, with what a note calls them.
pub static RELATIONS: &[(&str, &str, bool)] = &[
    ("DAU", "daughter", true),
    ("SON", "son", false),
    ("SIS", "sister", true),
    ("BRO", "brother", false),
    ("MTH", "mother", true),
    ("FTH", "father", false),
    ("NBOR", "neighbor", true),
];
