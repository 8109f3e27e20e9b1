//! What resources say of who people are, by what FHIR knows itself. It holds no PHI but what it adds.

use std::borrow::Cow;

use cordon_formats::fhir::{Kind as Json, Resource, ResourceBatch, Token, r4, unescape};
use cordon_phi::{IdentifierKind as Kind, Whose};

use super::identity::Systems;
use crate::survey::Survey;

/// Adds what one resource says, to the person at hand: whose record it is the caller knows.
pub(crate) fn facts(batch: &ResourceBatch, resource: &Resource, survey: &mut Survey) {
    let at = Node { text: &batch.text, tape: &batch.tape, at: resource.token as usize };
    of_resource(r4().get(resource.type_id).name, at, survey);
}

/// Adds a patient's identifiers of declared systems.
pub(super) fn identifiers(batch: &ResourceBatch, patient: &Resource, systems: &Systems, survey: &mut Survey) {
    let at = Node { text: &batch.text, tape: &batch.tape, at: patient.token as usize };
    for identifier in at.each("identifier") {
        let (system, value) = (identifier.text_of("system"), identifier.text_of("value"));
        for (_, namespace) in systems.iter().filter(|(known, _)| **known == *system) {
            survey.identifier(namespace, &value);
        }
    }
}

/// A value on the tape.
#[derive(Clone, Copy)]
struct Node<'a> {
    text: &'a str,
    tape: &'a [Token],
    at: usize,
}

impl<'a> Node<'a> {
    fn token(self) -> Option<Token> {
        self.tape.get(self.at).copied()
    }

    fn is(self, kind: Json) -> bool {
        self.token().is_some_and(|token| token.kind == kind)
    }

    /// The members of an object, by name.
    fn members(self) -> impl Iterator<Item = (&'a str, Self)> {
        let end = if self.is(Json::Object) { self.token().map_or(0, |token| token.next as usize) } else { 0 };
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            let key = self.tape.get(at).filter(|_| at < end)?;
            let value = Self { at: at + 1, ..self };
            at = (value.token()?.next as usize).max(at + 2);
            Some((self.text.get(key.start as usize..key.end as usize).unwrap_or_default(), value))
        })
    }

    fn member(self, name: &str) -> Option<Self> {
        self.members().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The items of an array; what is no array is one item.
    fn items(self) -> impl Iterator<Item = Self> {
        let is_array = self.is(Json::Array);
        let end = match self.token() {
            Some(token) if is_array => token.next as usize,
            Some(_) => self.at + 1,
            None => 0,
        };
        let mut at = if is_array { self.at + 1 } else { self.at };
        std::iter::from_fn(move || {
            let item = Self { at, ..self };
            let token = item.token().filter(|_| at < end)?;
            at = (token.next as usize).max(at + 1);
            Some(item)
        })
    }

    fn each(self, name: &str) -> impl Iterator<Item = Self> {
        self.member(name).into_iter().flat_map(Self::items)
    }

    fn meant(self) -> Cow<'a, str> {
        let Some(token) = self.token().filter(|token| token.kind == Json::Text) else { return "".into() };
        let spelled = self.text.get(token.start as usize..token.end as usize).unwrap_or_default();
        if token.escaped { unescape(spelled.as_bytes()).into() } else { spelled.into() }
    }

    fn text_of(self, name: &str) -> Cow<'a, str> {
        self.member(name).map(Self::meant).unwrap_or_default()
    }
}

fn of_resource(type_name: &str, resource: Node<'_>, survey: &mut Survey) {
    match type_name {
        "Patient" => {
            survey.fact(Kind::UniqueId, Whose::Subject, &resource.text_of("id"));
            person(resource, Whose::Subject, survey);
            survey.sex(&resource.text_of("gender"));
            survey.fact(Kind::BirthDate, Whose::Subject, whole_date(&resource.text_of("birthDate")));
            survey.fact(Kind::DeathDate, Whose::Subject, whole_date(&resource.text_of("deceasedDateTime")));
            for contact in resource.each("contact") {
                person(contact, Whose::Relative, survey);
            }
            for extension in resource.each("extension") {
                extended(extension, survey);
            }
        }
        "RelatedPerson" => person(resource, Whose::Relative, survey),
        "Practitioner" => {
            for name in resource.each("name") {
                human_name(name, Whose::Provider, survey);
            }
            return;
        }
        "Coverage" => {
            survey.fact(Kind::HealthPlanId, Whose::Subject, &resource.text_of("subscriberId"));
            numbers(resource, Kind::HealthPlanId, survey);
        }
        "Account" => numbers(resource, Kind::AccountNumber, survey),
        "Device" => {
            survey.fact(Kind::DeviceId, Whose::Subject, &resource.text_of("serialNumber"));
            numbers(resource, Kind::DeviceId, survey);
        }
        "Organization" | "Location" => {
            survey.fact(Kind::Organization, Whose::Organization, &resource.text_of("name"));
            return;
        }
        _ => numbers(resource, Kind::UniqueId, survey),
    }
    displays(resource, survey);
}

/// Names, addresses, telecoms and identifiers of somebody.
fn person(of: Node<'_>, whose: Whose, survey: &mut Survey) {
    for name in of.each("name") {
        human_name(name, whose, survey);
    }
    for telecom in of.each("telecom") {
        let kind = match &*telecom.text_of("system") {
            "email" => Kind::Email,
            "fax" => Kind::Fax,
            "url" => Kind::Url,
            _ => Kind::Phone,
        };
        survey.fact(kind, whose, &telecom.text_of("value"));
    }
    for address in of.each("address") {
        let mut street = String::new();
        for line in address.each("line") {
            let line = line.meant();
            survey.fact(Kind::StreetAddress, whose, &line);
            if !street.is_empty() {
                survey.fact(Kind::StreetAddress, whose, &format!("{street} {line}"));
            }
            street = line.into_owned();
        }
        survey.fact(Kind::City, whose, &address.text_of("city"));
        survey.fact(Kind::County, whose, &address.text_of("district"));
        survey.fact(Kind::PostalCode, whose, &address.text_of("postalCode"));
    }
    if whose == Whose::Subject {
        numbers(of, Kind::MedicalRecordNumber, survey);
    }
}

fn human_name(name: Node<'_>, whose: Whose, survey: &mut Survey) {
    let given: Vec<_> = name.each("given").map(Node::meant).collect();
    let (given, family) = (given.join(" "), name.text_of("family"));
    if given.trim().is_empty() && family.trim().is_empty() {
        survey.fact(Kind::Name, whose, &name.text_of("text"));
    } else {
        survey.name(whose, &given, &family);
    }
}

/// Identifiers of a resource, each of the kind that its type code or system says.
fn numbers(resource: Node<'_>, kind: Kind, survey: &mut Survey) {
    for identifier in resource.each("identifier") {
        let coded = identifier.member("type").into_iter().flat_map(|of| of.each("coding"));
        let code = coded.map(|coding| coding.text_of("code")).find(|code| !code.is_empty()).unwrap_or_default();
        let system = identifier.text_of("system");
        let kind = match &*code {
            "SS" => Kind::Ssn,
            _ if system == "http://hl7.org/fhir/sid/us-ssn" => Kind::Ssn,
            "DL" | "PPN" => Kind::LicenceNumber,
            "MB" | "MC" | "MA" | "SN" | "HC" => Kind::HealthPlanId,
            _ if system == "http://hl7.org/fhir/sid/us-mbi" => Kind::HealthPlanId,
            "AN" => Kind::AccountNumber,
            "MR" | "PI" | "PT" => Kind::MedicalRecordNumber,
            _ => kind,
        };
        survey.fact(kind, Whose::Subject, &identifier.text_of("value"));
    }
}

/// Extensions of a patient that say a name or a place.
fn extended(extension: Node<'_>, survey: &mut Survey) {
    let url = extension.text_of("url");
    if url.ends_with("patient-mothersMaidenName") {
        survey.name(Whose::Relative, "", &extension.text_of("valueString"));
    } else if url.ends_with("patient-birthPlace")
        && let Some(place) = extension.member("valueAddress")
    {
        survey.fact(Kind::City, Whose::Subject, &place.text_of("city"));
    }
}

/// Whom references name: `{"reference": "Practitioner/7", "display": "Dr. Ana Ruiz"}`. The tape is flat, so that no depth costs
/// a stack.
fn displays(resource: Node<'_>, survey: &mut Survey) {
    let Some(root) = resource.token() else { return };
    // The key that the object or array at hand is the value of.
    let mut key = "";
    for at in resource.at + 1..root.next as usize {
        let node = Node { at, ..resource };
        let Some(token) = node.token() else { return };
        match token.kind {
            Json::Key => key = resource.text.get(token.start as usize..token.end as usize).unwrap_or_default(),
            Json::Object => {
                let Some(display) = node.member("display").map(Node::meant) else { continue };
                let reference = node.text_of("reference");
                let pointed = if reference.is_empty() { node.text_of("type") } else { reference };
                let is = |name: &str| {
                    pointed == name
                        || pointed
                            .rsplit_once('/')
                            .is_some_and(|(before, _)| before == name || before.ends_with(&format!("/{name}")))
                };
                let whose = if is("Practitioner") || is("PractitionerRole") {
                    Whose::Provider
                } else if is("RelatedPerson") {
                    Whose::Relative
                } else if is("Patient") {
                    Whose::Subject
                } else if is("Organization") || is("Location") {
                    survey.fact(Kind::Organization, Whose::Organization, &display);
                    continue;
                } else if matches!(
                    key,
                    "performer"
                        | "individual"
                        | "requester"
                        | "recorder"
                        | "asserter"
                        | "generalPractitioner"
                        | "practitioner"
                        | "author"
                        | "actor"
                        | "collector"
                ) && !pointed.is_empty()
                {
                    Whose::Provider
                } else {
                    continue;
                };
                survey.fact(Kind::Name, whose, &display);
            }
            _ => {}
        }
    }
}

/// The day of a date or instant.
fn whole_date(text: &str) -> &str {
    text.get(..10).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cordon_formats::fhir::{ReadOptions, ResourceReader};
    use cordon_phi::Known;

    use super::*;

    #[test]
    fn resources_say_names_numbers_and_people_around() {
        let text = r#"{"resourceType":"Patient","id":"p1","identifier":[{"type":{"coding":[{"code":"MR"}]},"value":"0007"},{"system":"http://hl7.org/fhir/sid/us-ssn","value":"219-09-9999"}],"name":[{"family":"Ru\u00edz","given":["Ana","L"]},{"text":"Ana Vega"}],"telecom":[{"system":"phone","value":"617-555-0143"},{"system":"email","value":"ana@example.org"}],"birthDate":"1957-03-15","address":[{"line":["1 Elm St","Apt 4"],"city":"Duluth","postalCode":"55802"}],"contact":[{"name":{"family":"Ruiz","given":["Juan"]},"telecom":[{"system":"phone","value":"617-555-0199"}]}],"generalPractitioner":[{"reference":"Practitioner/9","display":"Dr. Chidi Okafor"}],"managingOrganization":{"reference":"Organization/1","display":"Lakewood Clinic"}}
{"resourceType":"Encounter","id":"e1","identifier":[{"value":"V-100234"}],"participant":[{"individual":{"reference":"https://x.org/fhir/Practitioner/8","display":"Grace Lind"}}],"serviceType":{"coding":[{"code":"1","display":"Cardiology"}]}}
{"resourceType":"Practitioner","id":"9","name":[{"family":"Okafor","given":["Chidi"]}]}"#;
        let batch = ResourceReader::new(text.as_bytes(), ReadOptions::default()).next_batch(1 << 20).unwrap().unwrap();
        let mut survey = Survey::default();
        for resource in &batch.resources {
            facts(&batch, resource, &mut survey);
        }
        survey.end_person();
        let said = survey.facts().iter().map(|known| {
            format!("{:?} {} {}", known.whose, known.kind.name(), known.text.replace(Known::BETWEEN_NAMES, "|"))
        });
        assert_eq!(
            said.collect::<Vec<_>>(),
            [
                "Subject unique-id p1",
                "Subject name Ana L|Ru\u{ed}z",
                "Subject name Ana Vega",
                "Subject phone 617-555-0143",
                "Subject email ana@example.org",
                "Subject street-address 1 Elm St",
                "Subject street-address Apt 4",
                "Subject street-address 1 Elm St Apt 4",
                "Subject city Duluth",
                "Subject postal-code 55802",
                "Subject medical-record-number 0007",
                "Subject ssn 219-09-9999",
                "Subject birth-date 1957-03-15",
                "Relative name Juan|Ruiz",
                "Relative phone 617-555-0199",
                "Provider name Dr. Chidi Okafor",
                "Organization organization Lakewood Clinic",
                "Subject unique-id V-100234",
                "Provider name Grace Lind",
                "Provider name Chidi|Okafor",
            ]
        );
    }
}
