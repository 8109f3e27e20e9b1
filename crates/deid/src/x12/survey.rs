//! Whose claims, remittances and memberships a batch holds, and what they say of each person.

use cordon_formats::x12::{Outline, RecordKind, Role, Segment as Sent, Transaction, TransactionBatch};
use cordon_phi::{IdentifierKind as Kind, Known, Sex, Whose};

use super::recipe::X12Recipe;
use crate::survey::{Survey, compact_day};

/// Something of one person. It holds PHI: no `Debug`.
enum Said {
    Identifier(String, String),
    Fact(Kind, Whose, String),
}

impl X12Recipe {
    /// Tells whose sets these are, by the identifiers that the pipeline declares, with the facts that notes may name.
    pub fn survey(&self, batch: &TransactionBatch, survey: &mut Survey) {
        for (index, record) in batch.records.iter().enumerate() {
            let Some(Ok(set)) = (record.kind == RecordKind::Transaction).then(|| batch.parse(index)) else { continue };
            let mut said: Vec<(usize, Said)> = Vec::new();
            self.identities(&set, |person, namespace, value| {
                said.push((person, Said::Identifier(namespace.to_owned(), value.to_owned())));
            });
            facts(&set, &mut said);
            // Of one person after the other; within one the order stays.
            said.sort_by_key(|(person, _)| *person);
            let mut last = None;
            for (person, said) in &said {
                if last.is_some_and(|last| last != person) {
                    survey.end_person();
                }
                last = Some(person);
                match said {
                    Said::Identifier(namespace, value) => survey.identifier(namespace, value),
                    Said::Fact(kind, whose, text) => survey.fact(*kind, *whose, text),
                }
            }
            survey.end_person();
        }
    }
}

fn facts(set: &Transaction<'_>, said: &mut Vec<(usize, Said)>) {
    let outline = Outline::of(set);
    let mut names: Vec<(usize, String)> = Vec::new();
    for segment in set.segments() {
        let Some(person) = outline.place(segment.index()).and_then(|place| place.subject) else { continue };
        let person = person as usize;
        let mut tell = |kind: Kind, whose: Whose, text: String| said.push((person, Said::Fact(kind, whose, text)));
        let role = Role::of(set, &outline, segment.index());
        if segment.name() == b"NM1" {
            let is_person = segment.is(2, b"1");
            let whose = match role {
                Role::Subject => Whose::Subject,
                Role::OtherPerson => Whose::Relative,
                Role::Provider if is_person => Whose::Provider,
                Role::Provider | Role::Employer => Whose::Organization,
                Role::Payer | Role::Submitter | Role::Unknown => continue,
            };
            if whose == Whose::Organization {
                tell(Kind::Organization, whose, text(&segment, 3));
                continue;
            }
            let given = [text(&segment, 4), text(&segment, 5)].join(" ");
            let name = format!("{}{}{}", given.trim(), Known::BETWEEN_NAMES, text(&segment, 3));
            if name.len() > 1 {
                if whose == Whose::Subject {
                    names.push((person, name.clone()));
                }
                tell(Kind::Name, whose, name);
            }
        }
        if role == Role::Subject {
            of_subject(&segment, &mut tell);
        }
    }
    // A dependent's notes may name the subscriber.
    names.sort_by_key(|(person, _)| *person);
    for (dependent, subject) in outline.subjects.iter().enumerate() {
        let Some(of) = subject.of else { continue };
        // One after the other, so that a search finds the first.
        let first = names.partition_point(|(person, _)| *person < of as usize);
        let of_subscriber = names.iter().skip(first).take_while(|(person, _)| *person == of as usize);
        said.extend(of_subscriber.map(|(_, name)| (dependent, Said::Fact(Kind::Name, Whose::Relative, name.clone()))));
    }
}

fn of_subject(segment: &Sent<'_>, tell: &mut impl FnMut(Kind, Whose, String)) {
    let mut own = |kind: Kind, element: usize| {
        let text = text(segment, element);
        if !text.is_empty() {
            tell(kind, Whose::Subject, text);
        }
    };
    match segment.name() {
        b"NM1" if segment.is(8, b"34") => own(Kind::Ssn, 9),
        b"NM1" if segment.is(8, b"MI") || segment.is(8, b"II") => own(Kind::HealthPlanId, 9),
        b"N3" => {
            own(Kind::StreetAddress, 1);
            own(Kind::StreetAddress, 2);
        }
        b"N4" => {
            own(Kind::City, 1);
            own(Kind::PostalCode, 3);
        }
        b"PER" => {
            for qualifier in [3, 5, 7] {
                match text(segment, qualifier).as_str() {
                    "TE" | "HP" | "WP" | "CP" | "AP" => own(Kind::Phone, qualifier + 1),
                    "FX" => own(Kind::Fax, qualifier + 1),
                    "EM" => own(Kind::Email, qualifier + 1),
                    _ => {}
                }
            }
        }
        b"REF" if segment.is(1, b"SY") => own(Kind::Ssn, 2),
        b"REF" if segment.is(1, b"EA") => own(Kind::MedicalRecordNumber, 2),
        b"REF" if segment.is(1, b"EJ") => own(Kind::AccountNumber, 2),
        b"REF" if segment.is(1, b"0F") || segment.is(1, b"1W") => own(Kind::HealthPlanId, 2),
        b"CLM" | b"CLP" => own(Kind::AccountNumber, 1),
        b"DMG" => {
            if let Some(day) = compact_day(&text(segment, 2)) {
                tell(Kind::BirthDate, Whose::Subject, day);
            }
            if let Some(sex) = Sex::read(&text(segment, 3)) {
                tell(Kind::Demographic, Whose::Subject, sex.text().to_owned());
            }
        }
        _ => {}
    }
}

fn text(segment: &Sent<'_>, element: usize) -> String {
    segment.element(element).map(|value| value.text().trim().to_owned()).unwrap_or_default()
}
