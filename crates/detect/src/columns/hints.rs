//! What a column's name says, in the habits of FHIR, OMOP, Synthea, HL7 and of people.

use std::sync::OnceLock;

use cordon_phi::IdentifierKind as K;
use cordon_phi::IdentifierKind;
use hashbrown::HashSet;

/// The kind that a name speaks for, how strongly, and the rule's name.
pub(super) struct Hint {
    best: Option<(IdentifierKind, f32, &'static str)>,
}

impl Hint {
    /// What somebody else knows of the place.
    pub fn known(kind: IdentifierKind, rule: &'static str) -> Self {
        Self { best: Some((kind, 0.85, rule)) }
    }

    pub fn best(&self) -> Option<(IdentifierKind, f32, &'static str)> {
        self.best
    }

    /// The name says outright that it is something else than the values look like: a code column of nine digits is no SSN.
    pub fn contradicts(&self, kind: IdentifierKind) -> bool {
        match self.best {
            Some((named, strength, _)) => {
                let dates = [K::BirthDate, K::DeathDate, K::ServiceDate];
                let same = named == kind
                    || dates.contains(&named) && dates.contains(&kind)
                    || matches!((named, kind), (K::Fax, K::Phone));
                !same && strength >= 0.65 && !matches!(named, K::FreeText | K::Operational | K::UniqueId)
            }
            None => false,
        }
    }

    /// A date in a column of births is a birth date; a phone in a column of faxes a fax.
    pub fn refine(&self, kind: IdentifierKind) -> IdentifierKind {
        match (kind, self.best) {
            (K::ServiceDate, Some((named @ (K::BirthDate | K::DeathDate), ..))) => named,
            (K::Phone, Some((K::Fax, ..))) => K::Fax,
            _ => kind,
        }
    }

    pub fn reason_for(&self, kind: IdentifierKind) -> Option<&'static str> {
        self.best.filter(|(named, ..)| *named == kind).map(|(_, _, rule)| rule)
    }
}

/// Words in a row (as `a b`), the kind, and how strongly; the first match in the list wins, so what is more special stands
/// first. `^` binds to the beginning, `$` to the end.
const RULES: &[(&str, IdentifierKind, f32)] = &[
    // Concepts and codes of OMOP and FHIR are vocabulary whatever else the name says.
    ("concept id$", K::Clinical, 0.85),
    ("concept name$", K::Clinical, 0.85),
    ("source concept", K::Clinical, 0.8),
    ("gender source value", K::Demographic, 0.8),
    ("race source value", K::Demographic, 0.8),
    ("ethnicity source value", K::Demographic, 0.8),
    ("^person source value$", K::UniqueId, 0.7),
    ("provider source value", K::ProviderId, 0.6),
    ("care site name", K::Organization, 0.75),
    ("source value$", K::Clinical, 0.5),
    // Free text
    ("note text", K::FreeText, 0.9),
    ("note title", K::FreeText, 0.6),
    ("free text", K::FreeText, 0.9),
    ("comment$", K::FreeText, 0.8),
    ("comments$", K::FreeText, 0.8),
    ("notes$", K::FreeText, 0.8),
    ("note$", K::FreeText, 0.8),
    ("narrative", K::FreeText, 0.8),
    ("remarks", K::FreeText, 0.8),
    ("text div$", K::FreeText, 0.9),
    ("history", K::FreeText, 0.5),
    ("impression", K::FreeText, 0.6),
    ("as string$", K::FreeText, 0.6),
    ("^sig$", K::FreeText, 0.6),
    ("chief complaint", K::FreeText, 0.6),
    // Social security and the like
    ("ssn", K::Ssn, 0.9),
    ("social security", K::Ssn, 0.9),
    ("mrn", K::MedicalRecordNumber, 0.9),
    ("medical record", K::MedicalRecordNumber, 0.85),
    ("chart number", K::MedicalRecordNumber, 0.8),
    ("hospital number", K::MedicalRecordNumber, 0.75),
    ("mbi$", K::HealthPlanId, 0.85),
    ("hicn", K::HealthPlanId, 0.85),
    ("member id", K::HealthPlanId, 0.85),
    ("memberid", K::HealthPlanId, 0.85),
    ("member number", K::HealthPlanId, 0.85),
    ("subscriber id", K::HealthPlanId, 0.85),
    ("beneficiary", K::HealthPlanId, 0.75),
    ("bene id", K::HealthPlanId, 0.75),
    ("policy number", K::HealthPlanId, 0.8),
    ("policy id", K::HealthPlanId, 0.7),
    ("plan id", K::Financial, 0.45),
    ("account", K::AccountNumber, 0.7),
    ("acct", K::AccountNumber, 0.75),
    ("iban", K::AccountNumber, 0.85),
    ("card number", K::AccountNumber, 0.8),
    ("driver", K::LicenceNumber, 0.75),
    ("drivers", K::LicenceNumber, 0.75),
    ("license", K::LicenceNumber, 0.75),
    ("licence", K::LicenceNumber, 0.75),
    ("passport", K::LicenceNumber, 0.8),
    ("npi", K::ProviderId, 0.85),
    ("dea", K::ProviderId, 0.75),
    ("vin$", K::VehicleId, 0.7),
    ("plate", K::VehicleId, 0.6),
    ("udi$", K::DeviceId, 0.85),
    ("serial number", K::DeviceId, 0.85),
    ("serial", K::DeviceId, 0.7),
    ("unique device id", K::DeviceId, 0.85),
    ("device id", K::DeviceId, 0.7),
    ("lot number", K::DeviceId, 0.6),
    ("imei", K::DeviceId, 0.85),
    ("mac address", K::DeviceId, 0.8),
    ("fingerprint", K::Biometric, 0.8),
    ("biometric", K::Biometric, 0.8),
    ("photo", K::Photo, 0.8),
    ("email", K::Email, 0.9),
    ("e mail", K::Email, 0.9),
    ("fax", K::Fax, 0.9),
    ("phone", K::Phone, 0.9),
    ("telephone", K::Phone, 0.9),
    ("telecom", K::Phone, 0.75),
    ("mobile", K::Phone, 0.7),
    ("cell", K::Phone, 0.5),
    ("ip address", K::IpAddress, 0.85),
    ("ip$", K::IpAddress, 0.6),
    ("url", K::Url, 0.7),
    ("website", K::Url, 0.8),
    // Dates
    ("dob", K::BirthDate, 0.95),
    ("birth date", K::BirthDate, 0.95),
    ("birthdate", K::BirthDate, 0.95),
    ("birth datetime", K::BirthDate, 0.95),
    ("date of birth", K::BirthDate, 0.95),
    ("year of birth", K::BirthDate, 0.85),
    ("month of birth", K::BirthDate, 0.85),
    ("day of birth", K::BirthDate, 0.85),
    ("birth year", K::BirthDate, 0.85),
    ("birthplace", K::City, 0.7),
    ("birth place", K::City, 0.7),
    ("death date", K::DeathDate, 0.95),
    ("deathdate", K::DeathDate, 0.95),
    ("death datetime", K::DeathDate, 0.95),
    ("date of death", K::DeathDate, 0.95),
    ("deceased date", K::DeathDate, 0.95),
    ("dod", K::DeathDate, 0.8),
    ("age$", K::Age, 0.8),
    ("^age", K::Age, 0.7),
    ("date$", K::ServiceDate, 0.85),
    ("datetime$", K::ServiceDate, 0.85),
    ("timestamp", K::ServiceDate, 0.8),
    ("^date", K::ServiceDate, 0.8),
    ("time$", K::ServiceDate, 0.55),
    ("dt$", K::ServiceDate, 0.6),
    ("admit", K::ServiceDate, 0.45),
    ("discharge", K::ServiceDate, 0.45),
    ("issued$", K::ServiceDate, 0.6),
    ("year$", K::ServiceDate, 0.55),
    ("^start$", K::ServiceDate, 0.6),
    ("^stop$", K::ServiceDate, 0.6),
    // Places
    ("zip", K::PostalCode, 0.9),
    ("zipcode", K::PostalCode, 0.9),
    ("postal code", K::PostalCode, 0.9),
    ("postalcode", K::PostalCode, 0.9),
    ("postcode", K::PostalCode, 0.9),
    ("latitude", K::GeoCoordinate, 0.9),
    ("longitude", K::GeoCoordinate, 0.9),
    ("lat$", K::GeoCoordinate, 0.8),
    ("lon$", K::GeoCoordinate, 0.8),
    ("lng$", K::GeoCoordinate, 0.8),
    ("fips", K::County, 0.7),
    ("county", K::County, 0.9),
    ("city", K::City, 0.9),
    ("town", K::City, 0.8),
    ("state$", K::State, 0.7),
    ("^state", K::State, 0.6),
    ("province", K::State, 0.7),
    ("country", K::State, 0.8),
    ("address", K::StreetAddress, 0.85),
    ("addr", K::StreetAddress, 0.85),
    ("street", K::StreetAddress, 0.85),
    ("location id", K::UniqueId, 0.5),
    // Demography
    ("gender", K::Demographic, 0.9),
    ("sex", K::Demographic, 0.9),
    ("race", K::Demographic, 0.9),
    ("ethnicity", K::Demographic, 0.9),
    ("marital", K::Demographic, 0.85),
    ("language", K::Demographic, 0.75),
    ("religion", K::Demographic, 0.75),
    // Names
    ("first name", K::Name, 0.95),
    ("last name", K::Name, 0.95),
    ("middle name", K::Name, 0.95),
    ("maiden", K::Name, 0.9),
    ("given", K::Name, 0.85),
    ("family", K::Name, 0.75),
    ("surname", K::Name, 0.95),
    ("fname", K::Name, 0.9),
    ("lname", K::Name, 0.9),
    ("firstname", K::Name, 0.95),
    ("lastname", K::Name, 0.95),
    ("fullname", K::Name, 0.95),
    ("^first$", K::Name, 0.85),
    ("^last$", K::Name, 0.85),
    ("^middle$", K::Name, 0.85),
    ("^prefix$", K::Demographic, 0.5),
    ("^suffix$", K::Name, 0.6),
    ("patient name", K::Name, 0.95),
    ("full name", K::Name, 0.95),
    ("provider name", K::Name, 0.8),
    ("physician", K::Name, 0.5),
    ("guarantor name", K::Name, 0.9),
    ("contact name", K::Name, 0.9),
    ("owner name", K::Name, 0.7),
    ("organization$", K::ProviderId, 0.5),
    ("organization id", K::ProviderId, 0.6),
    ("organization name", K::Organization, 0.8),
    ("facility", K::Organization, 0.6),
    ("hospital name", K::Organization, 0.8),
    ("payer name", K::Organization, 0.75),
    // Money
    ("cost", K::Financial, 0.8),
    ("charge", K::Financial, 0.75),
    ("amount", K::Financial, 0.75),
    ("price", K::Financial, 0.8),
    ("paid", K::Financial, 0.75),
    ("payment", K::Financial, 0.75),
    ("coverage", K::Financial, 0.6),
    ("income", K::Financial, 0.7),
    ("expenses", K::Financial, 0.8),
    ("revenue", K::Financial, 0.8),
    ("copay", K::Financial, 0.8),
    ("outstanding", K::Financial, 0.6),
    ("adjustments$", K::Financial, 0.6),
    ("payments$", K::Financial, 0.75),
    ("transfers$", K::Financial, 0.5),
    // Keys
    ("provider id", K::ProviderId, 0.75),
    ("care site id", K::ProviderId, 0.7),
    ("practitioner", K::ProviderId, 0.6),
    ("^provider$", K::ProviderId, 0.6),
    ("payer", K::ProviderId, 0.5),
    ("department id", K::ProviderId, 0.5),
    ("insurance id", K::HealthPlanId, 0.7),
    ("insurance number", K::HealthPlanId, 0.75),
    ("type id$", K::Operational, 0.55),
    ("patient id", K::UniqueId, 0.85),
    ("patientid", K::UniqueId, 0.85),
    ("person id", K::UniqueId, 0.85),
    ("subject id", K::UniqueId, 0.85),
    ("^patient$", K::UniqueId, 0.8),
    ("^subject", K::UniqueId, 0.7),
    ("encounter", K::UniqueId, 0.7),
    ("claim id", K::UniqueId, 0.8),
    ("accession", K::UniqueId, 0.8),
    ("identifier value", K::UniqueId, 0.75),
    ("identifier", K::UniqueId, 0.65),
    ("uuid", K::UniqueId, 0.75),
    ("uid$", K::UniqueId, 0.75),
    ("guid", K::UniqueId, 0.75),
    ("type concept", K::Operational, 0.6),
    // Clinical habit
    ("code$", K::Clinical, 0.65),
    ("icd", K::Clinical, 0.8),
    ("loinc", K::Clinical, 0.8),
    ("snomed", K::Clinical, 0.8),
    ("cpt", K::Clinical, 0.8),
    ("rxnorm", K::Clinical, 0.8),
    ("diagnosis", K::Clinical, 0.65),
    ("procedure", K::Clinical, 0.5),
    ("drug", K::Clinical, 0.6),
    ("medication", K::Clinical, 0.6),
    ("dose", K::Clinical, 0.7),
    ("units", K::Clinical, 0.7),
    ("unit$", K::Clinical, 0.6),
    ("description", K::Clinical, 0.55),
    ("reasondescription", K::Clinical, 0.7),
    ("reasoncode", K::Clinical, 0.7),
    ("encounterclass", K::Operational, 0.6),
    ("bodysite description", K::Clinical, 0.6),
    ("display$", K::Clinical, 0.6),
    ("reason", K::Clinical, 0.45),
    ("category", K::Clinical, 0.55),
    ("quantity", K::Clinical, 0.6),
    ("dosage", K::Clinical, 0.6),
    ("supply$", K::Clinical, 0.5),
    ("refills$", K::Clinical, 0.5),
    ("range", K::Clinical, 0.5),
    ("as number$", K::Clinical, 0.6),
    ("size$", K::Clinical, 0.5),
    ("reaction", K::Clinical, 0.5),
    ("severity", K::Clinical, 0.6),
    ("modifier", K::Clinical, 0.5),
    ("status", K::Operational, 0.7),
    ("version", K::Operational, 0.6),
    ("sequence", K::Operational, 0.6),
    ("type$", K::Operational, 0.5),
    ("system$", K::Operational, 0.5),
    ("flag$", K::Operational, 0.5),
    ("class$", K::Operational, 0.5),
    ("name$", K::Name, 0.55),
    ("^id$", K::UniqueId, 0.65),
    ("id$", K::UniqueId, 0.6),
    ("key$", K::UniqueId, 0.5),
];

/// Fields of HL7 version 2 by their place.
const HL7: &[(&str, IdentifierKind)] = &[
    ("PID-2", K::MedicalRecordNumber),
    ("PID-3", K::MedicalRecordNumber),
    ("PID-4", K::MedicalRecordNumber),
    ("PID-5", K::Name),
    ("PID-6", K::Name),
    ("PID-7", K::BirthDate),
    ("PID-8", K::Demographic),
    ("PID-9", K::Name),
    ("PID-10", K::Demographic),
    ("PID-11", K::StreetAddress),
    ("PID-12", K::County),
    ("PID-13", K::Phone),
    ("PID-14", K::Phone),
    ("PID-15", K::Demographic),
    ("PID-16", K::Demographic),
    ("PID-17", K::Demographic),
    ("PID-18", K::AccountNumber),
    ("PID-19", K::Ssn),
    ("PID-20", K::LicenceNumber),
    ("PID-23", K::City),
    ("PID-29", K::DeathDate),
    ("NK1-2", K::Name),
    ("NK1-4", K::StreetAddress),
    ("NK1-5", K::Phone),
    ("NK1-6", K::Phone),
    ("NK1-16", K::BirthDate),
    ("PV1-7", K::Name),
    ("PV1-8", K::Name),
    ("PV1-9", K::Name),
    ("PV1-17", K::Name),
    ("PV1-19", K::UniqueId),
    ("PV1-44", K::ServiceDate),
    ("PV1-45", K::ServiceDate),
    ("IN1-2", K::HealthPlanId),
    ("IN1-16", K::Name),
    ("IN1-18", K::BirthDate),
    ("IN1-19", K::StreetAddress),
    ("IN1-36", K::HealthPlanId),
    ("GT1-3", K::Name),
    ("GT1-5", K::StreetAddress),
    ("GT1-6", K::Phone),
    ("GT1-8", K::BirthDate),
    ("GT1-12", K::Ssn),
    ("OBR-2", K::UniqueId),
    ("OBR-3", K::UniqueId),
    ("OBR-4", K::Clinical),
    ("OBR-7", K::ServiceDate),
    ("OBR-16", K::Name),
    ("OBX-3", K::Clinical),
    ("OBX-14", K::ServiceDate),
    ("ORC-2", K::UniqueId),
    ("ORC-3", K::UniqueId),
    ("ORC-12", K::Name),
    ("MSH-7", K::ServiceDate),
    ("MSH-10", K::UniqueId),
    ("EVN-2", K::ServiceDate),
    ("NTE-3", K::FreeText),
    ("ACC-1", K::ServiceDate),
    ("MRG-1", K::MedicalRecordNumber),
];

/// `patientFirstName`, `PATIENT_FIRST_NAME`, `Patient.name.first` in words of lower case with one blank between.
fn words(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    let mut last = ' ';
    for c in name.chars().take(200) {
        let open = !out.is_empty() && !out.ends_with(' ');
        if c.is_alphanumeric() {
            let hump = c.is_uppercase() && last.is_lowercase();
            let figure = c.is_ascii_digit() && last.is_alphabetic();
            if (hump || figure) && !out.ends_with(' ') {
                out.push(' ');
            }
            out.extend(c.to_lowercase());
        } else if open {
            out.push(' ');
        }
        last = c;
    }
    out.truncate(out.trim_end().len());
    // `address 1`: a counter at the end says nothing.
    while out.rsplit(' ').next().is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let kept = out.rfind(' ').unwrap_or(0);
        if kept == 0 {
            break;
        }
        out.truncate(kept);
    }
    out
}

/// Words of columns' names, for names without a mark between them (`LASTBILLEDDATE`).
const VOCABULARY: &str = " account address admission admit adjustment age amount appointment attending beneficiary billed birth care \
    charge city claim class code comment contact cost county current date datetime day death department description diagnosis \
    discharge dose driver drug email emergency encounter end family fax fee first from full gender given group guarantor health \
    healthcare history home hospital id illness in insurance issue key kin lab language last latitude level license line location \
    longitude maiden medicaid medical medicare medication member middle mobile month name next note notes number of onset order \
    ordering organization out outstanding owner paid patient payer payment person phone place plan plate policy postal price primary \
    procedure provider race reason record ref referring relation rendering result room schedule secondary security serial service sex \
    social source start state status stop street subject subscriber supervising supply test text time to total transfer type unit \
    units value vehicle visit work year zip ";

/// A name that is written in one piece, in words; itself when it is not made of known ones alone.
fn parted(word: &str) -> Option<String> {
    let whole = RULES.iter().any(|(rule, ..)| rule.trim_matches(['^', '$']) == word);
    if whole || !(6..=40).contains(&word.len()) || !word.is_ascii() || is_known(word) {
        return None;
    }
    // `STATUSP`: a letter at the end is a counter as well, but for that of a plural.
    let shorter = word.get(..word.len() - 1).filter(|_| !word.ends_with('s')).unwrap_or_default();
    in_words(word).or_else(|| if is_known(shorter) { Some(shorter.to_owned()) } else { in_words(shorter) })
}

fn is_known(word: &str) -> bool {
    static WORDS: OnceLock<HashSet<&'static str>> = OnceLock::new();
    WORDS.get_or_init(|| VOCABULARY.split_whitespace().collect()).contains(word)
}

/// The fewest known words that make it up.
fn in_words(word: &str) -> Option<String> {
    // For each end, how many words lead to it and where the last of them begins.
    let mut best: Vec<Option<(usize, usize)>> = vec![None; word.len() + 1];
    if let Some(first) = best.first_mut() {
        *first = Some((0, 0));
    }
    for end in 2..=word.len() {
        let ways = (end.saturating_sub(12)..end - 1).filter_map(|start| {
            let (count, _) = (*best.get(start)?)?;
            is_known(word.get(start..end)?).then_some((count + 1, start))
        });
        let way = ways.min();
        if let Some(place) = best.get_mut(end) {
            *place = way;
        }
    }
    let mut parts = Vec::new();
    let mut end = word.len();
    while end > 0 {
        let (_, start) = (*best.get(end)?)?;
        parts.push(word.get(start..end)?);
        end = start;
    }
    parts.reverse();
    Some(parts.join(" "))
}

/// Reads a column's name.
pub(super) fn of(name: &str) -> Hint {
    let field = name.split(['.', '[', '(']).next().unwrap_or(name);
    if let Some((_, kind)) = HL7.iter().find(|(path, _)| path.eq_ignore_ascii_case(field)) {
        return Hint { best: Some((*kind, 0.85, "hl7-field")) };
    }
    let words = words(name);
    let words =
        words.split(' ').map(|word| parted(word).unwrap_or_else(|| word.to_owned())).collect::<Vec<_>>().join(" ");
    let rule = RULES.iter().find(|(rule, ..)| matches(&words, rule));
    let mut best = rule.map(|(_, kind, strength)| (*kind, *strength, "column-name"));
    // The key of a harmless thing (`drug exposure id`) is a number that may be one patient's alone; that of a concept is not.
    let is_key = words.ends_with(" id") && !["concept id", "type id"].iter().any(|end| words.ends_with(end));
    if let Some((kind, strength, _)) = &mut best
        && is_key
        && matches!(kind, K::Clinical | K::Operational | K::Financial | K::Demographic)
    {
        (*kind, *strength) = (K::UniqueId, 0.6);
    }
    Hint { best }
}

fn matches(words: &str, rule: &str) -> bool {
    let (begins, rule) = rule.strip_prefix('^').map_or((false, rule), |rule| (true, rule));
    let (ends, rule) = rule.strip_suffix('$').map_or((false, rule), |rule| (true, rule));
    words.match_indices(rule).any(|(at, _)| {
        let end = at + rule.len();
        let head = at == 0 || !begins && words.get(..at).is_some_and(|head| head.ends_with(' '));
        let tail = end == words.len() || !ends && words.get(end..).is_some_and(|tail| tail.starts_with(' '));
        head && tail
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_people_write_them() {
        for (name, kind) in [
            ("patientFirstName", K::Name),
            ("PATIENT_ID", K::UniqueId),
            ("Address1", K::StreetAddress),
            ("birthDate", K::BirthDate),
            ("drug_concept_id", K::Clinical),
            ("gender_source_value", K::Demographic),
            ("PID-5.1", K::Name),
            ("note_text", K::FreeText),
            ("HEALTHCARE_EXPENSES", K::Financial),
            ("encounterclass", K::Operational),
            ("drug_exposure_id", K::UniqueId),
            ("drugExposureId", K::UniqueId),
            ("charge_id", K::UniqueId),
            ("LASTBILLEDDATE2", K::ServiceDate),
            ("DISCHARGEDATE", K::ServiceDate),
            ("OWNERNAME", K::Name),
            ("STATUSP", K::Operational),
            ("REFERRINGPROVIDERID", K::ProviderId),
            ("PATIENTHOMEPHONE", K::Phone),
        ] {
            let found = of(name).best().map(|(kind, ..)| kind);
            assert_eq!(found, Some(kind), "{name}");
        }
    }

    #[test]
    fn words_in_one_piece_are_parted_only_where_all_of_them_are_known() {
        assert_eq!(parted("currentillnessdate").as_deref(), Some("current illness date"));
        assert_eq!(parted("primarypatientinsuranceid").as_deref(), Some("primary patient insurance id"));
        for whole in ["candidate", "consultation", "estate", "mandate", "updated", "status", "birthdate", "zzzzzzdate"]
        {
            assert_eq!(parted(whole), None, "{whole}");
        }
    }
}
