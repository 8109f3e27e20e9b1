//! What the rows of a table say of people, by the kinds that the policy gives its columns; what the policy drops is said all
//! the same.

use arrow_array::{Array, RecordBatch, StringViewArray};
use cordon_phi::{IdentifierKind as Kind, Whose};

use crate::kernel::{Kernel, SurrogateKind, day_of};
use crate::recipe::{FieldRule, text_column};
use crate::survey::Survey;

/// Which columns of a file say what.
#[derive(Default)]
pub(crate) struct RowFacts {
    values: Vec<(usize, Kind, Whose)>,
    names: Vec<NameColumns>,
    /// The subject's sex.
    sex: Vec<usize>,
}

/// The columns of one person's name.
struct NameColumns {
    whose: Whose,
    /// What the columns' names have in common.
    stem: String,
    given: Vec<usize>,
    family: Vec<usize>,
    /// Family names of before.
    further: Vec<usize>,
    whole: Vec<usize>,
}

#[derive(Clone, Copy)]
enum NamePart {
    Given,
    Family,
    Further,
    Whole,
    /// A title, a suffix.
    None,
}

/// A batch's columns, for one row after the other.
pub(crate) struct Rows<'f> {
    facts: &'f RowFacts,
    columns: Vec<Option<StringViewArray>>,
}

impl RowFacts {
    /// By the rules of a table and the columns of a file.
    pub(crate) fn new(rules: &[FieldRule], columns: &[String]) -> Self {
        let mut facts = Self::default();
        let mut seen = Vec::new();
        for rule in rules {
            let Some(at) = columns.iter().position(|column| *column == rule.input).filter(|at| !seen.contains(at))
            else {
                continue;
            };
            seen.push(at);
            let whose = whose(&rule.input);
            match rule.kind {
                Kind::Name => facts.name(at, rule, whose),
                Kind::Demographic if whose == Whose::Subject && is_sex(&rule.input) => facts.sex.push(at),
                kind if says_something(kind) => facts.values.push((at, kind, whose)),
                _ => {}
            }
        }
        facts
    }

    fn name(&mut self, at: usize, rule: &FieldRule, whose: Whose) {
        let by_surrogate = match &rule.kernel {
            Some(Kernel::Surrogate(surrogate)) => match surrogate.kind {
                SurrogateKind::FirstName => Some(NamePart::Given),
                SurrogateKind::LastName => Some(NamePart::Family),
                SurrogateKind::FullName => Some(NamePart::Whole),
                _ => None,
            },
            _ => None,
        };
        let (by_name, stem) = part_of(&rule.input);
        let part = match (by_surrogate, by_name) {
            // A maiden name is a family name too, but not the one.
            (_, NamePart::Further) | (None, _) => by_name,
            (Some(part), _) => part,
        };
        let known = self.names.iter().position(|names| names.whose == whose && names.stem == stem);
        let known = known.unwrap_or_else(|| {
            let (given, family, further, whole) = Default::default();
            self.names.push(NameColumns { whose, stem, given, family, further, whole });
            self.names.len() - 1
        });
        if let Some(names) = self.names.get_mut(known) {
            match part {
                NamePart::Given => names.given.push(at),
                NamePart::Family => names.family.push(at),
                NamePart::Further => names.further.push(at),
                NamePart::Whole => names.whole.push(at),
                NamePart::None => {}
            }
        }
    }

    /// The columns that are read; a column may come twice.
    pub(crate) fn needed(&self) -> impl Iterator<Item = usize> {
        let names = self.names.iter().flat_map(|names| [&names.given, &names.family, &names.further, &names.whole]);
        self.values.iter().map(|(at, ..)| *at).chain(names.flatten().copied()).chain(self.sex.iter().copied())
    }

    pub(crate) fn rows(&self, batch: &RecordBatch) -> Rows<'_> {
        let mut columns: Vec<Option<StringViewArray>> = Vec::new();
        columns.resize_with(batch.num_columns(), || None);
        for at in self.needed() {
            if let Some(column) = columns.get_mut(at).filter(|column| column.is_none()) {
                *column = Some(text_column(batch, at));
            }
        }
        Rows { facts: self, columns }
    }
}

impl Rows<'_> {
    /// The columns that are read.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &StringViewArray> {
        self.columns.iter().flatten()
    }

    /// Adds what a row says, to the person at hand.
    pub(crate) fn row(&self, row: usize, survey: &mut Survey) {
        for (at, kind, whose) in &self.facts.values {
            let value = self.value(*at, row);
            if matches!(kind, Kind::BirthDate | Kind::DeathDate) {
                if let Some(day) = day_of(value) {
                    survey.fact(*kind, *whose, &day.to_string());
                }
            } else {
                survey.fact(*kind, *whose, value);
            }
        }
        for at in &self.facts.sex {
            survey.sex(self.value(*at, row));
        }
        for names in &self.facts.names {
            let joined = |columns: &[usize]| {
                let words: Vec<&str> =
                    columns.iter().map(|at| self.value(*at, row)).filter(|word| !word.is_empty()).collect();
                words.join(" ")
            };
            let given = joined(&names.given);
            survey.name(names.whose, &given, &joined(&names.family));
            for at in &names.further {
                survey.name(names.whose, "", self.value(*at, row));
            }
            for at in &names.whole {
                survey.fact(Kind::Name, names.whose, self.value(*at, row));
            }
        }
    }

    fn value(&self, at: usize, row: usize) -> &str {
        let column = self.columns.get(at).and_then(Option::as_ref);
        column.filter(|column| row < column.len() && column.is_valid(row)).map_or("", |column| column.value(row).trim())
    }
}

fn says_something(kind: Kind) -> bool {
    use Kind::{
        AccountNumber, Biometric, BirthDate, City, County, DeathDate, DeviceId, Email, Fax, HealthPlanId, IpAddress,
        LicenceNumber, MedicalRecordNumber, Organization, Phone, PostalCode, Ssn, StreetAddress, UniqueId, Url,
        VehicleId,
    };
    matches!(
        kind,
        AccountNumber
            | Biometric
            | BirthDate
            | City
            | County
            | DeathDate
            | DeviceId
            | Email
            | Fax
            | HealthPlanId
            | IpAddress
            | LicenceNumber
            | MedicalRecordNumber
            | Organization
            | Phone
            | PostalCode
            | Ssn
            | StreetAddress
            | UniqueId
            | Url
            | VehicleId
    )
}

/// The words of a column's name: `emergencyContact_FirstName` has four.
fn words(column: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    let mut before_lower = false;
    for c in column.chars() {
        if !c.is_alphanumeric() {
            open = false;
            continue;
        }
        if !open || c.is_uppercase() && before_lower {
            words.push(String::new());
        }
        open = true;
        before_lower = c.is_lowercase();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words
}

/// Whose value a column holds, by its name.
fn whose(column: &str) -> Whose {
    const RELATIVES: [&str; 22] = [
        "mother",
        "father",
        "mothers",
        "fathers",
        "spouse",
        "nok",
        "kin",
        "emergency",
        "guarantor",
        "contact",
        "relative",
        "parent",
        "guardian",
        "subscriber",
        "insured",
        "caregiver",
        "relation",
        "partner",
        "wife",
        "husband",
        "child",
        "sibling",
    ];
    const PROVIDERS: [&str; 16] = [
        "provider",
        "physician",
        "doctor",
        "attending",
        "clinician",
        "nurse",
        "surgeon",
        "pcp",
        "practitioner",
        "referring",
        "ordering",
        "prescriber",
        "author",
        "performer",
        "therapist",
        "consultant",
    ];
    const ORGANIZATIONS: [&str; 7] =
        ["employer", "organization", "organisation", "facility", "hospital", "payer", "insurer"];
    let words = words(column);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    if has(&PROVIDERS) {
        Whose::Provider
    } else if has(&RELATIVES) {
        Whose::Relative
    } else if has(&ORGANIZATIONS) {
        Whose::Organization
    } else {
        Whose::Subject
    }
}

/// Whether a column says the sex that records give a person: `gender`, `PatientSex`, `gender_concept_id`.
fn is_sex(column: &str) -> bool {
    let words = words(column);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    has(&["sex", "gender"]) && !has(&["identity", "orientation", "preference"])
}

/// Which part of a name a column holds, and what is left of its name without that.
fn part_of(column: &str) -> (NamePart, String) {
    let words = words(column);
    let part = |word: &str| match word {
        "first" | "given" | "forename" | "fname" | "firstname" | "middle" | "mname" | "middlename" | "preferred"
        | "nickname" => Some(NamePart::Given),
        "last" | "family" | "surname" | "lname" | "lastname" => Some(NamePart::Family),
        "maiden" | "former" | "previous" | "birthname" => Some(NamePart::Further),
        "prefix" | "suffix" | "title" => Some(NamePart::None),
        _ => None,
    };
    let found: Vec<NamePart> = words.iter().filter_map(|word| part(word)).collect();
    let rest = words.iter().filter(|word| part(word).is_none() && !matches!(word.as_str(), "name" | "initial"));
    let stem = rest.cloned().collect::<Vec<_>>().join("_");
    let further = found.iter().find(|part| matches!(part, NamePart::Further));
    (further.or_else(|| found.first()).copied().unwrap_or(NamePart::Whole), stem)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_schema::{DataType, Field, Schema};
    use cordon_phi::Known;

    use super::*;
    use crate::policy::file::Action;
    use crate::recipe::Limits;

    fn rule(input: &str, kind: Kind) -> FieldRule {
        FieldRule {
            input: input.to_owned(),
            output: input.to_owned(),
            kind,
            action: Action::Drop,
            defaulted: false,
            kernel: None,
            optional: false,
            limits: Limits::default(),
            because: None,
        }
    }

    #[test]
    fn rows_say_names_numbers_and_days_whatever_the_policy_does_with_them() {
        let rules = [
            rule("LastName", Kind::Name),
            rule("first_name", Kind::Name),
            rule("middle_name", Kind::Name),
            rule("maiden_name", Kind::Name),
            rule("name_suffix", Kind::Name),
            rule("emergency_contact_name", Kind::Name),
            rule("attending_first_name", Kind::Name),
            rule("attending_last_name", Kind::Name),
            rule("dob", Kind::BirthDate),
            rule("mrn", Kind::MedicalRecordNumber),
            rule("hgb", Kind::Clinical),
            rule("PatientSex", Kind::Demographic),
            rule("contact_gender", Kind::Demographic),
            rule("race", Kind::Demographic),
        ];
        let values = [
            "Ruiz",
            "Ana",
            "L",
            "Vega",
            "Jr",
            "Ruiz, Juan",
            "Chidi",
            "Okafor",
            "3/15/1957",
            " 0012 ",
            "13.2",
            "Female",
            "M",
            "M",
        ];
        let columns: Vec<String> = rules.iter().map(|rule| rule.input.clone()).collect();
        let fields: Vec<Field> = columns.iter().map(|name| Field::new(name, DataType::Utf8View, true)).collect();
        let arrays = values.map(|value| Arc::new(StringViewArray::from(vec![Some(value)])) as _).to_vec();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let facts = RowFacts::new(&rules, &columns);
        assert!(facts.needed().all(|at| at != 10));
        let mut survey = Survey::default();
        facts.rows(&batch).row(0, &mut survey);
        survey.end_person();
        let between = Known::BETWEEN_NAMES.to_string();
        let said: Vec<String> = survey
            .facts()
            .iter()
            .map(|known| format!("{:?} {} {}", known.whose, known.kind.name(), known.text.replace(&between, "|")))
            .collect();
        assert_eq!(
            said,
            [
                "Subject birth-date 1957-03-15",
                "Subject medical-record-number 0012",
                "Subject demographic f",
                "Subject name Ana L|Ruiz",
                "Subject name |Vega",
                "Relative name Ruiz, Juan",
                "Provider name Chidi|Okafor",
            ]
        );
    }
}
