//! Allergies, vaccines, and what people called so are called.

pub struct Allergy {
    /// AL1-2: DA, FA or MA.
    pub category: &'static str,
    pub system: &'static str,
    /// The OID of `system`.
    pub oid: &'static str,
    pub code: &'static str,
    pub display: &'static str,
    pub reaction: (&'static str, &'static str),
    pub share: f64,
}

const RXNORM: (&str, &str) = ("RXNORM", "2.16.840.1.113883.6.88");
const SNOMED: (&str, &str) = ("SCT", "2.16.840.1.113883.6.96");

const fn allergy(
    category: &'static str,
    system: (&'static str, &'static str),
    code: &'static str,
    display: &'static str,
    reaction: (&'static str, &'static str),
    share: f64,
) -> Allergy {
    Allergy { category, system: system.0, oid: system.1, code, display, reaction, share }
}

pub static ALLERGIES: &[Allergy] = &[
    allergy("DA", RXNORM, "7980", "penicillin G", ("247472004", "Hives"), 0.08),
    allergy("DA", RXNORM, "10180", "sulfamethoxazole", ("271807003", "Rash"), 0.05),
    allergy("DA", RXNORM, "2670", "codeine", ("422587007", "Nausea"), 0.03),
    allergy("DA", RXNORM, "1191", "aspirin", ("247472004", "Hives"), 0.02),
    allergy("FA", SNOMED, "256349002", "Peanut", ("39579001", "Anaphylaxis"), 0.02),
    allergy("MA", SNOMED, "111088007", "Latex", ("271807003", "Rash"), 0.02),
];

pub struct Vaccine {
    pub cvx: &'static str,
    pub display: &'static str,
    /// An invented manufacturer's code.
    pub mvx: &'static str,
    pub from_age: i32,
    pub to_age: i32,
}

const fn vaccine(cvx: &'static str, display: &'static str, ages: (i32, i32)) -> Vaccine {
    Vaccine { cvx, display, mvx: "OTH", from_age: ages.0, to_age: ages.1 }
}

pub static VACCINES: &[Vaccine] = &[
    vaccine("20", "DTaP", (0, 7)),
    vaccine("08", "Hep B, adolescent or pediatric", (0, 18)),
    vaccine("133", "Pneumococcal conjugate PCV 13", (0, 5)),
    vaccine("03", "MMR", (1, 12)),
    vaccine("21", "varicella", (1, 12)),
    vaccine("150", "Influenza, injectable, quadrivalent, preservative free", (1, 120)),
    vaccine("115", "Tdap", (11, 120)),
    vaccine("187", "zoster recombinant", (50, 120)),
    vaccine("33", "pneumococcal polysaccharide PPV23", (65, 120)),
];

/// By the given name as it is written in the lists of names.
#[rustfmt::skip]
pub static NICKNAMES: &[(&str, &str)] = &[
    ("Patricia", "Pat"), ("Jennifer", "Jen"), ("Elizabeth", "Liz"), ("Barbara", "Barb"), ("Susan", "Sue"),
    ("Jessica", "Jess"), ("Margaret", "Peggy"), ("Kimberly", "Kim"), ("Deborah", "Debbie"), ("Rebecca", "Becky"),
    ("Stephanie", "Steph"), ("Kathleen", "Kathy"), ("Angela", "Angie"), ("Pamela", "Pam"), ("Katherine", "Kate"),
    ("Catherine", "Cathy"), ("Christine", "Chris"), ("Samantha", "Sam"), ("Virginia", "Ginny"), ("Victoria", "Vicky"),
    ("Christina", "Tina"), ("Judith", "Judy"), ("Frances", "Fran"), ("Martha", "Marty"), ("Amanda", "Mandy"),
    ("Sandra", "Sandy"), ("Nancy", "Nan"), ("Betty", "Bets"), ("Carolyn", "Carrie"),
    ("James", "Jim"), ("Robert", "Bob"), ("John", "Jack"), ("Michael", "Mike"), ("David", "Dave"),
    ("William", "Bill"), ("Richard", "Dick"), ("Joseph", "Joe"), ("Thomas", "Tom"), ("Charles", "Chuck"),
    ("Christopher", "Chris"), ("Daniel", "Dan"), ("Matthew", "Matt"), ("Anthony", "Tony"), ("Donald", "Don"),
    ("Steven", "Steve"), ("Andrew", "Andy"), ("Kenneth", "Ken"), ("Joshua", "Josh"), ("Edward", "Ted"),
    ("Ronald", "Ron"), ("Timothy", "Tim"), ("Jeffrey", "Jeff"), ("Nicholas", "Nick"), ("Jonathan", "Jon"),
    ("Stephen", "Steve"), ("Lawrence", "Larry"), ("Samuel", "Sam"), ("Benjamin", "Ben"), ("Gregory", "Greg"),
    ("Alexander", "Alex"), ("Patrick", "Paddy"), ("Raymond", "Ray"), ("José", "Pepe"), ("Francisco", "Paco"),
    ("Guadalupe", "Lupe"), ("Jesús", "Chuy"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::names::CULTURES;

    #[test]
    fn every_nickname_is_of_a_name_that_somebody_has() {
        for (given, _) in NICKNAMES {
            assert!(
                CULTURES.iter().any(|culture| culture.female.contains(given) || culture.male.contains(given)),
                "{given}"
            );
        }
    }
}
