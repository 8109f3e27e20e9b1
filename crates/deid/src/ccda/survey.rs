//! What documents say of who people are: identifiers by the places that the pipeline declares, facts by what CDA knows itself.

use cordon_formats::ccda::{Document, DocumentBatch, Kind as EventKind, NameId, Ns, types};
use cordon_phi::{IdentifierKind as Kind, Whose};

use super::place::Names;
use super::recipe::CcdaRecipe;
use super::walk::all_text;
use crate::survey::{Survey, compact_day};

/// The root of social security numbers, and that of Medicare's beneficiary numbers.
const SSN: &str = "2.16.840.1.113883.4.1";
const MEDICARE: [&str; 2] = ["2.16.840.1.113883.4.572", "2.16.840.1.113883.4.927"];

impl CcdaRecipe {
    /// Adds the person of each document of a batch.
    pub fn survey(&self, batch: &DocumentBatch, survey: &mut Survey) {
        let facts = Facts::new();
        for document in &batch.documents {
            if !self.identities.is_empty() {
                self.people_of(document, |namespace, value| {
                    let namespace = self.namespaces.get(usize::from(namespace)).map(String::as_str).unwrap_or_default();
                    survey.identifier(namespace, value);
                });
            }
            facts.of(document, survey);
            survey.end_person();
        }
    }
}

/// Whose an element's contents are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Nobody's yet.
    None,
    Subject,
    Relative,
    /// Providers, and organisations that they work for.
    Provider,
    Organization,
    /// Who is covered or pays.
    Covered,
}

/// Names of elements that say something of a person.
struct Facts {
    names: Names,
    record_target: NameId,
    patient_role: NameId,
    participant: NameId,
    encounter: NameId,
    type_code: NameId,
    addr: NameId,
    telecom: NameId,
    gender: NameId,
    code: NameId,
    birth_time: NameId,
    deceased_time: NameId,
    value: NameId,
    given: NameId,
    family: NameId,
    street: NameId,
    city: NameId,
    county: NameId,
}

impl Facts {
    fn new() -> Self {
        let name = types::name;
        Self {
            names: Names::new(),
            record_target: name("recordTarget"),
            patient_role: name("patientRole"),
            participant: name("participant"),
            encounter: name("encompassingEncounter"),
            type_code: name("typeCode"),
            addr: name("addr"),
            telecom: name("telecom"),
            gender: name("administrativeGenderCode"),
            code: name("code"),
            birth_time: name("birthTime"),
            deceased_time: name("deceasedTime"),
            value: name("value"),
            given: name("given"),
            family: name("family"),
            street: name("streetAddressLine"),
            city: name("city"),
            county: name("county"),
        }
    }

    fn of(&self, document: &Document, survey: &mut Survey) {
        let mut roles: Vec<Role> = Vec::new();
        let mut parents: Vec<NameId> = Vec::new();
        for (at, event) in document.events().iter().enumerate() {
            match event.kind {
                EventKind::Close => {
                    roles.pop();
                    parents.pop();
                }
                EventKind::Open | EventKind::Empty => {
                    let around = roles.last().copied().unwrap_or(Role::None);
                    let parent = parents.last().copied().unwrap_or(NameId::UNKNOWN);
                    let role = self.role(document, at, event.name, around);
                    self.element(document, at, event.ns, event.name, parent, role, survey);
                    if event.kind == EventKind::Open {
                        roles.push(role);
                        parents.push(event.name);
                    }
                }
                _ => {}
            }
        }
    }

    fn role(&self, document: &Document, at: usize, name: NameId, around: Role) -> Role {
        if name == self.record_target || name == self.patient_role {
            return Role::Subject;
        }
        if self.names.relatives.contains(&name) {
            return Role::Relative;
        }
        if name == self.participant {
            let code = document.attribute_value(at, self.type_code).unwrap_or_default();
            return match code.trim() {
                "COV" | "HLD" => Role::Covered,
                _ => Role::None,
            };
        }
        if self.names.providers.contains(&name) && around != Role::Covered {
            let text = types::name_text(name);
            let organization = text.ends_with("Organization") || text.ends_with("Custodian");
            return if organization { Role::Organization } else { Role::Provider };
        }
        around
    }

    #[expect(clippy::too_many_arguments, reason = "an element and where it stands")]
    fn element(
        &self,
        document: &Document,
        at: usize,
        ns: Ns,
        name: NameId,
        parent: NameId,
        role: Role,
        survey: &mut Survey,
    ) {
        let whose = match role {
            Role::Relative => Whose::Relative,
            Role::Provider => Whose::Provider,
            Role::Organization => Whose::Organization,
            Role::None | Role::Subject | Role::Covered => Whose::Subject,
        };
        let attribute = |name: NameId| document.attribute_value(at, name).unwrap_or_default();
        if name == self.names.name && ns == Ns::V3 {
            self.name(document, at, role, survey);
        } else if name == self.names.id {
            let (root, extension) = (attribute(self.names.root), attribute(self.names.extension));
            let kind = match role {
                Role::Subject if parent == self.patient_role && root.trim() == SSN => Kind::Ssn,
                Role::Subject if parent == self.patient_role && MEDICARE.contains(&root.trim()) => Kind::HealthPlanId,
                Role::Subject if parent == self.patient_role => Kind::MedicalRecordNumber,
                Role::Covered => Kind::HealthPlanId,
                _ if parent == self.encounter => Kind::UniqueId,
                _ => return,
            };
            survey.fact(kind, Whose::Subject, &extension);
        } else if matches!(role, Role::Subject | Role::Relative) && name == self.addr {
            self.address(document, at, whose, survey);
        } else if matches!(role, Role::Subject | Role::Relative) && name == self.telecom {
            telecom(&attribute(self.value), whose, survey);
        } else if role == Role::Subject && name == self.gender {
            survey.sex(&attribute(self.code));
        } else if role == Role::Subject
            && (name == self.birth_time || name == self.deceased_time)
            && let Some(day) = compact_day(&attribute(self.value))
        {
            let kind = if name == self.birth_time { Kind::BirthDate } else { Kind::DeathDate };
            survey.fact(kind, Whose::Subject, &day);
        }
    }

    fn name(&self, document: &Document, at: usize, role: Role, survey: &mut Survey) {
        let mut parts = [String::new(), String::new()];
        for child in document.children(at) {
            let Some(event) = document.event(child) else { continue };
            let part = match event.name {
                name if name == self.given => 0,
                name if name == self.family => 1,
                _ => continue,
            };
            if let Some(part) = parts.get_mut(part) {
                if !part.is_empty() {
                    part.push(' ');
                }
                part.push_str(&all_text(document, child));
            }
        }
        let [given, family] = parts;
        let is_person = !(given.is_empty() && family.is_empty());
        let whole = if is_person { String::new() } else { all_text(document, at) };
        let whose = match role {
            // Names outside of any role are of places and things.
            Role::None => return,
            Role::Subject => Whose::Subject,
            Role::Relative | Role::Covered => Whose::Relative,
            Role::Provider if is_person => Whose::Provider,
            Role::Provider | Role::Organization => return survey.fact(Kind::Organization, Whose::Organization, &whole),
        };
        if is_person {
            survey.name(whose, &given, &family);
        } else {
            survey.fact(Kind::Name, whose, &whole);
        }
    }

    fn address(&self, document: &Document, at: usize, whose: Whose, survey: &mut Survey) {
        let mut street = String::new();
        for child in document.children(at) {
            let Some(event) = document.event(child) else { continue };
            let text = all_text(document, child);
            if event.name == self.street {
                survey.fact(Kind::StreetAddress, whose, &text);
                if !street.is_empty() {
                    survey.fact(Kind::StreetAddress, whose, &format!("{street} {text}"));
                }
                street = text;
            } else if event.name == self.city {
                survey.fact(Kind::City, whose, &text);
            } else if event.name == self.county {
                survey.fact(Kind::County, whose, &text);
            } else if event.name == self.names.postal_code {
                survey.fact(Kind::PostalCode, whose, &text);
            }
        }
    }
}

/// `tel:+1(617)555-0143`, `mailto:ana@example.org`.
fn telecom(value: &str, whose: Whose, survey: &mut Survey) {
    let (scheme, rest) = value.trim().split_once(':').unwrap_or(("tel", value));
    match scheme.to_ascii_lowercase().as_str() {
        "mailto" => survey.fact(Kind::Email, whose, rest),
        "fax" => survey.fact(Kind::Fax, whose, rest),
        "http" | "https" => survey.fact(Kind::Url, whose, value),
        _ => survey.fact(Kind::Phone, whose, rest),
    }
}
