//! What values of CDA are at least, whatever a policy calls them: its types say.

use cordon_formats::ccda::{AttributeType, CdaType, Family, NameId, types::name_text};
use cordon_phi::{IdentifierKind as Kind, Method};

use crate::document::Rule;
use crate::policy::file::Action;
use crate::policy::method;

/// The kinds that a type can ask for, each a bit of [`Fits`].
const FLOORS: [Kind; 9] = [
    Kind::Name,
    Kind::StreetAddress,
    Kind::City,
    Kind::County,
    Kind::PostalCode,
    Kind::Phone,
    Kind::MedicalRecordNumber,
    Kind::ServiceDate,
    Kind::FreeText,
];

/// Where a rule may be used: a path such as `observation/value` meets values of every type, and what it keeps of one it
/// may not keep of another.
#[derive(Clone, Copy)]
pub(super) struct Fits(u16);

impl Fits {
    pub(super) fn of(rule: &Rule, method: Method) -> Self {
        let fits = |floor: &Kind| {
            let lifted = rule.reasoned && (*floor == Kind::FreeText || method == Method::ExpertDetermination);
            // To scrub is to hope that what stands there is recognised.
            let made = !matches!(rule.action, Action::Keep | Action::Scrub) && rule.kind.clause().is_some();
            lifted || made || method::refusal(method, *floor, rule.action).is_none()
        };
        let bits = FLOORS.iter().enumerate().filter(|(_, floor)| fits(floor));
        Self(bits.fold(0, |all, (at, _)| all | 1 << at))
    }

    pub(super) fn allows(self, floor: Option<Kind>) -> bool {
        floor.and_then(|floor| FLOORS.iter().position(|known| *known == floor)).is_none_or(|at| self.0 >> at & 1 == 1)
    }
}

/// Of an element's text, and of all of it.
pub(super) fn of_element(of: CdaType, name: NameId) -> Option<Kind> {
    Some(match of.family() {
        Family::Name if of == CdaType::Pn => Kind::Name,
        // Of a place, a drug, a device: whatever was typed.
        Family::Name if of != CdaType::On => Kind::FreeText,
        Family::Address => Kind::StreetAddress,
        Family::AddressPart => match name_text(name) {
            "state" | "country" => return None,
            "city" | "precinct" => Kind::City,
            "county" => Kind::County,
            "postalCode" => Kind::PostalCode,
            _ => Kind::StreetAddress,
        },
        Family::Telecom => Kind::Phone,
        Family::Id => Kind::MedicalRecordNumber,
        Family::Time => Kind::ServiceDate,
        Family::Text | Family::Narrative => Kind::FreeText,
        _ => return None,
    })
}

pub(super) fn of_attribute(of: CdaType, name: NameId, attribute: AttributeType) -> Option<Kind> {
    Some(match attribute {
        AttributeType::Extension => Kind::MedicalRecordNumber,
        AttributeType::Text | AttributeType::Link | AttributeType::Unknown => Kind::FreeText,
        AttributeType::Value => return of_element(of, name),
        // A root says who numbered; where nothing else stands, the walk takes it for the number itself.
        _ => return None,
    })
}
