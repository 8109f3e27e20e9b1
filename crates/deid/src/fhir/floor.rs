//! What an element of FHIR is at least, whatever a policy calls it.
//!
//! A policy says what its fields are, and of a table's columns nobody else knows. Of FHIR's elements the standard
//! knows: a `HumanName` is a name, and a rule that calls it clinical and keeps it is a mistake.

use cordon_formats::fhir::{ElementDef, TypeDef};
use cordon_phi::{IdentifierKind as Kind, Method};

use crate::policy::file::Action;
use crate::policy::method;

/// The kind below which no rule may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    pub kind: Kind,
    /// Text may turn out to hold nothing of a person: a rule that says why (`because`), or what alone may stay (`allow`),
    /// is believed.
    pub may_be_lifted: bool,
}

const fn firm(kind: Kind) -> Floor {
    Floor { kind, may_be_lifted: false }
}

const fn soft(kind: Kind) -> Floor {
    Floor { kind, may_be_lifted: true }
}

/// Of every element of a data type.
pub(crate) fn of_type(name: &str) -> Option<Floor> {
    Some(match name {
        "HumanName" | "ContactDetail" => firm(Kind::Name),
        "Address" => firm(Kind::StreetAddress),
        "ContactPoint" => firm(Kind::Phone),
        "Attachment" | "Annotation" | "Narrative" | "xhtml" | "base64Binary" => firm(Kind::FreeText),
        "Signature" => firm(Kind::Biometric),
        "date" | "dateTime" | "instant" => firm(Kind::ServiceDate),
        "string" | "markdown" => soft(Kind::FreeText),
        "uri" | "url" => soft(Kind::Url),
        "oid" | "uuid" | "id" => soft(Kind::UniqueId),
        _ => return None,
    })
}

/// Of one element of a type.
pub(crate) fn of(def: &TypeDef, element: &ElementDef, type_name: &str) -> Option<Floor> {
    let by_type = of_type(type_name);
    Some(match (def.name, element.name) {
        // What their texts and addresses hold is set by code systems; and a state is what may stay of an address.
        ("Coding" | "Quantity" | "Age" | "Count" | "Distance" | "Duration" | "Money" | "SimpleQuantity", _)
        | ("Address", "state" | "country") => return None,
        ("Address", "city") => firm(Kind::City),
        ("Address", "district") => firm(Kind::County),
        ("Address", "postalCode") => firm(Kind::PostalCode),
        ("Identifier", "value") | ("Reference", "reference") => firm(Kind::UniqueId),
        ("Patient" | "Person" | "RelatedPerson" | "Practitioner", "birthDate")
        | ("FamilyMemberHistory", "bornDate") => firm(Kind::BirthDate),
        ("Patient", "deceasedDateTime") | ("FamilyMemberHistory", "deceasedDate") => firm(Kind::DeathDate),
        // A part of a name is a name, and so on.
        (whole, _) => match (by_type, of_type(whole)) {
            (Some(part), Some(whole)) if part.may_be_lifted => firm(whole.kind),
            _ => return by_type,
        },
    })
}

impl Floor {
    /// Whether a method refuses to have this done to what the element is. `reasoned`: the rule says why, or what alone
    /// may stay.
    pub(super) fn refuses(self, method: Method, action: Action, reasoned: bool) -> bool {
        let lifted = reasoned && self.may_be_lifted;
        (method::refusal(method, self.kind, action).is_some() && !lifted)
            || (method::needs_reason(method, self.kind, action) && !reasoned)
    }
}
