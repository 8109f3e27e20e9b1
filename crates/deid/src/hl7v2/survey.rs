//! What messages say of who people are: identifiers by the places that the pipeline declares, facts by what HL7 knows itself.

use cordon_formats::hl7v2::{Dictionary, Message, MessageBatch, RecordKind, Segment, Value};
use cordon_phi::{IdentifierKind as Kind, Whose};

use super::recipe::Hl7v2Recipe;
use super::walk::valued;
use crate::survey::{Survey, compact_day};

impl Hl7v2Recipe {
    /// Adds the people of a batch, one for each PID. What cannot be parsed is passed over: it is set aside elsewhere.
    pub fn survey(&self, batch: &MessageBatch, survey: &mut Survey) {
        let messages = batch.records.iter().enumerate().filter(|(_, record)| record.kind == RecordKind::Message);
        for (index, _) in messages {
            if let Ok(message) = batch.parse(index) {
                self.survey_message(&message, survey);
            }
        }
    }

    fn survey_message(&self, message: &Message<'_>, survey: &mut Survey) {
        let mut has_patient = false;
        for segment in message.segments() {
            if segment.name() == b"PID" {
                if has_patient {
                    survey.end_person();
                }
                has_patient = true;
            }
            for (place, namespace) in &self.identities {
                let namespace = self.namespaces.get(usize::from(*namespace)).map(String::as_str).unwrap_or_default();
                valued(&segment, place, |value| survey.identifier(namespace, value));
            }
            facts(message, &segment, survey);
        }
        survey.end_person();
    }
}

/// What one segment says of the person at hand.
fn facts(message: &Message<'_>, segment: &Segment<'_>, survey: &mut Survey) {
    use Whose::{Organization, Relative, Subject};
    let each = |number: usize, mut say: Box<dyn FnMut(&Value<'_>) + '_>| {
        for value in segment.field(number).into_iter().flat_map(|field| field.repetitions()) {
            if !value.is_empty() && !value.is_null() {
                say(&value);
            }
        }
    };
    match segment.name() {
        b"PID" => {
            for number in [2, 3, 4] {
                each(number, Box::new(|value| identifier(value, Kind::MedicalRecordNumber, Subject, survey)));
            }
            for number in [5, 9] {
                each(number, Box::new(|value| name(value, Subject, survey)));
            }
            each(6, Box::new(|value| name(value, Relative, survey)));
            each(7, Box::new(|value| date(value, Kind::BirthDate, survey)));
            each(8, Box::new(|value| sex(value, survey)));
            each(29, Box::new(|value| date(value, Kind::DeathDate, survey)));
            each(11, Box::new(|value| address(value, Subject, survey)));
            each(12, Box::new(|value| first(value, Kind::County, Subject, survey)));
            for number in [13, 14, 40] {
                each(number, Box::new(|value| telecom(value, Subject, survey)));
            }
            each(18, Box::new(|value| identifier(value, Kind::AccountNumber, Subject, survey)));
            each(19, Box::new(|value| first(value, Kind::Ssn, Subject, survey)));
            each(20, Box::new(|value| first(value, Kind::LicenceNumber, Subject, survey)));
            each(21, Box::new(|value| first(value, Kind::UniqueId, Relative, survey)));
            each(23, Box::new(|value| first(value, Kind::City, Subject, survey)));
        }
        b"MRG" => {
            for number in [1, 2, 4] {
                each(number, Box::new(|value| identifier(value, Kind::MedicalRecordNumber, Subject, survey)));
            }
            each(3, Box::new(|value| identifier(value, Kind::AccountNumber, Subject, survey)));
            for number in [5, 6] {
                each(number, Box::new(|value| identifier(value, Kind::UniqueId, Subject, survey)));
            }
            each(7, Box::new(|value| name(value, Subject, survey)));
        }
        b"NK1" => {
            for number in [2, 30] {
                each(number, Box::new(|value| name(value, Relative, survey)));
            }
            for number in [4, 32] {
                each(number, Box::new(|value| address(value, Relative, survey)));
            }
            for number in [5, 6, 7, 31, 40] {
                each(number, Box::new(|value| telecom(value, Relative, survey)));
            }
            each(13, Box::new(|value| first(value, Kind::Organization, Organization, survey)));
            each(37, Box::new(|value| first(value, Kind::Ssn, Relative, survey)));
        }
        b"GT1" => {
            each(2, Box::new(|value| identifier(value, Kind::AccountNumber, Subject, survey)));
            for number in [3, 4] {
                each(number, Box::new(|value| name(value, Relative, survey)));
            }
            each(5, Box::new(|value| address(value, Relative, survey)));
            for number in [6, 7, 18] {
                each(number, Box::new(|value| telecom(value, Relative, survey)));
            }
            each(12, Box::new(|value| first(value, Kind::Ssn, Relative, survey)));
            each(16, Box::new(|value| employer(value, survey)));
            each(17, Box::new(|value| address(value, Organization, survey)));
            each(19, Box::new(|value| identifier(value, Kind::UniqueId, Relative, survey)));
            for number in [21, 51] {
                each(number, Box::new(|value| first(value, Kind::Organization, Organization, survey)));
            }
        }
        b"IN1" => {
            for number in [4, 9, 11] {
                each(number, Box::new(|value| first(value, Kind::Organization, Organization, survey)));
            }
            each(16, Box::new(|value| name(value, Relative, survey)));
            each(19, Box::new(|value| address(value, Relative, survey)));
            for number in [2, 8, 10, 36, 49] {
                // A plan's own number is many people's.
                if number != 2 {
                    each(number, Box::new(|value| identifier(value, Kind::HealthPlanId, Subject, survey)));
                }
            }
        }
        b"IN2" => {
            each(2, Box::new(|value| first(value, Kind::Ssn, Relative, survey)));
            each(3, Box::new(|value| employer(value, survey)));
            for number in [6, 8, 10, 61] {
                each(number, Box::new(|value| identifier(value, Kind::HealthPlanId, Subject, survey)));
            }
            for number in [63, 64] {
                each(number, Box::new(|value| telecom(value, Relative, survey)));
            }
        }
        b"PV1" => {
            for number in [5, 19, 50] {
                each(number, Box::new(|value| identifier(value, Kind::UniqueId, Subject, survey)));
            }
        }
        b"PD1" => each(3, Box::new(|value| first(value, Kind::Organization, Organization, survey))),
        b"ACC" => each(11, Box::new(|value| address(value, Subject, survey))),
        b"OBR" | b"ORC" => {
            for number in [2, 3] {
                each(number, Box::new(|value| first(value, Kind::UniqueId, Subject, survey)));
            }
        }
        _ => {}
    }
    // Whoever cares for the patient, in whatever segment.
    let dictionary = Dictionary::get();
    let providers = segment.fields().filter(|field| {
        let data_type = dictionary.field(segment.name(), field.number, message.version());
        data_type.is_some_and(|field| field.data_types().any(|of| matches!(of, "XCN" | "CN")))
    });
    // An insured person's employer is of this type, and is none.
    for field in providers.filter(|_| segment.name() != b"IN2") {
        for value in field.value.repetitions().filter(|value| !value.is_empty() && !value.is_null()) {
            let (given, family) = provider_name(&value);
            survey.name(Whose::Provider, &given, &family);
        }
    }
}

/// Given names and family name of an XPN, or of the ST and PN of old.
pub(super) fn person_name(value: &Value<'_>) -> (String, String) {
    names_from(value, 1)
}

/// Given names and family name of an XCN or CN, behind the number.
pub(super) fn provider_name(value: &Value<'_>) -> (String, String) {
    names_from(value, 2)
}

fn names_from(value: &Value<'_>, family: usize) -> (String, String) {
    let text = |number: usize| {
        let part = value.components().nth(number - 1)?.subcomponents().next()?;
        (!part.is_null()).then(|| part.text().trim().to_owned())
    };
    let mut given = text(family + 1).unwrap_or_default();
    if let Some(second) = text(family + 2).filter(|second| !second.is_empty()) {
        given.push(' ');
        given.push_str(&second);
    }
    (given, text(family).unwrap_or_default())
}

/// The field that names the relative whose segment it is.
pub(super) fn name_field(segment: &[u8]) -> usize {
    match segment {
        b"NK1" => 2,
        b"IN1" => 16,
        _ => 3,
    }
}

fn name(value: &Value<'_>, whose: Whose, survey: &mut Survey) {
    let (given, family) = person_name(value);
    survey.name(whose, &given, &family);
}

/// An employer's name stands where a person's would, or as text.
fn employer(value: &Value<'_>, survey: &mut Survey) {
    let parts = value.components().filter(|part| !part.is_empty() && !part.is_null()).count();
    let number = usize::from(
        parts > 1 && value.components().next().is_some_and(|part| part.bytes().iter().all(u8::is_ascii_digit)),
    );
    if let Some(text) = value.components().nth(number) {
        survey.fact(Kind::Organization, Whose::Organization, &text.text());
    }
}

fn first(value: &Value<'_>, kind: Kind, whose: Whose, survey: &mut Survey) {
    let part = value.components().next().and_then(|part| part.subcomponents().next());
    if let Some(part) = part.filter(|part| !part.is_empty() && !part.is_null()) {
        survey.fact(kind, whose, &part.text());
    }
}

/// A number and its kind by its type code (HL7 table 0203).
fn identifier(value: &Value<'_>, kind: Kind, whose: Whose, survey: &mut Survey) {
    let code = value.components().nth(4).map(|code| code.text().trim().to_ascii_uppercase()).unwrap_or_default();
    let kind = match code.as_str() {
        "SS" | "SSN" => Kind::Ssn,
        "DL" | "PPN" | "LN" | "MCN" | "GN" => Kind::LicenceNumber,
        "MB" | "MC" | "MA" | "SN" | "HC" | "NH" | "XX-MB" => Kind::HealthPlanId,
        "AN" | "ANON" | "BA" | "AM" => Kind::AccountNumber,
        "VN" | "VS" => Kind::UniqueId,
        _ => kind,
    };
    first(value, kind, whose, survey);
}

fn date(value: &Value<'_>, kind: Kind, survey: &mut Survey) {
    let text = value.components().next().map(|part| part.text().into_owned()).unwrap_or_default();
    if let Some(day) = compact_day(&text) {
        survey.fact(kind, Whose::Subject, &day);
    }
}

/// A code; from 2.7 on with its elements behind it.
fn sex(value: &Value<'_>, survey: &mut Survey) {
    if let Some(code) = value.components().next() {
        survey.sex(&code.text());
    }
}

fn address(value: &Value<'_>, whose: Whose, survey: &mut Survey) {
    let text = |number: usize| {
        let part = value.components().nth(number - 1).filter(|part| !part.is_empty() && !part.is_null());
        part.and_then(|part| part.subcomponents().next()).map(|part| part.text().trim().to_owned()).unwrap_or_default()
    };
    let (line, further) = (text(1), text(2));
    survey.fact(Kind::StreetAddress, whose, &line);
    // `Apt 4` is told with its street or not at all.
    if further.bytes().any(|byte| byte.is_ascii_alphabetic()) && further.split_whitespace().count() > 2 {
        survey.fact(Kind::StreetAddress, whose, &further);
    } else if !further.is_empty() && !line.is_empty() {
        survey.fact(Kind::StreetAddress, whose, &format!("{line} {further}"));
    }
    survey.fact(Kind::City, whose, &text(3));
    survey.fact(Kind::PostalCode, whose, &text(5));
    // Counties are often codes.
    let county = text(9);
    if county.bytes().any(|byte| byte.is_ascii_lowercase()) {
        survey.fact(Kind::County, whose, &county);
    }
}

/// A phone number in one piece or in parts, or a mail address in a phone's place.
fn telecom(value: &Value<'_>, whose: Whose, survey: &mut Survey) {
    let text = |number: usize| {
        let part = value.components().nth(number - 1).filter(|part| !part.is_empty() && !part.is_null());
        part.map(|part| part.text().trim().to_owned()).unwrap_or_default()
    };
    let whole = text(1);
    let mail = [text(4), whole.clone()].into_iter().find(|text| text.contains('@'));
    if let Some(mail) = mail {
        survey.fact(Kind::Email, whose, mail.strip_prefix("mailto:").unwrap_or(&mail));
    }
    if !whole.contains('@') {
        survey.fact(if text(3) == "FX" { Kind::Fax } else { Kind::Phone }, whose, &whole);
    }
    let parts = format!("{}{}", text(6), text(7));
    survey.fact(Kind::Phone, whose, &parts);
    survey.fact(Kind::Phone, whose, &text(12));
}
