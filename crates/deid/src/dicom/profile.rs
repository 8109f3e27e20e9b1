//! What the rows of table E.1-1 mean here: of which kind an attribute is, and what its codes come to.
//!
//! Where the table leaves a choice by the type of the attribute in its IOD (X/Z, X/D, Z/D, X/Z/D), the one is taken that
//! every IOD allows: a dummy before zero length, zero length before removal. A sequence is emptied where it may be.

use cordon_formats::dicom::confidentiality::{Code, Column, OptionCode, Row};
use cordon_formats::dicom::{Tag, VR, attribute};
use cordon_phi::IdentifierKind as Kind;

/// What is to be done with the attribute of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Remove,
    Empty,
    Dummy,
    /// Another UID.
    Uid,
    /// A random code.
    Token,
    Keep,
    Shift,
    Scrub,
    /// A sequence whose items are walked; with `dummy` text that no row names becomes a dummy.
    Walk {
        dummy: bool,
    },
}

/// The representation that an attribute has.
pub(super) fn vr_of(tag: Tag) -> VR {
    attribute(tag).map_or(VR::UN, |attribute| attribute.vr)
}

pub(super) fn is_text(vr: VR) -> bool {
    matches!(vr, VR::LO | VR::LT | VR::SH | VR::ST | VR::UC | VR::UT)
}

/// What a row says, with the options in force, and the option that says it.
pub(super) fn wanted(row: &Row, enabled: &[Column]) -> (Wanted, Option<Column>) {
    let vr = vr_of(row.tag);
    let mut said = enabled.iter().filter_map(|column| row.option(*column).map(|code| (*column, code)));
    let (kept, cleaned) =
        (said.clone().find(|(_, code)| *code == OptionCode::K), said.find(|(_, code)| *code == OptionCode::C));
    if let Some((column, _)) = kept {
        return (if vr == VR::SQ { Wanted::Walk { dummy: false } } else { Wanted::Keep }, Some(column));
    }
    if let Some((column, _)) = cleaned
        && let Some(wanted) = clean(vr, column)
    {
        return (wanted, Some(column));
    }
    let is_sequence = vr == VR::SQ;
    let basic = match row.basic {
        // Under which the patient's files join.
        _ if row.tag == PATIENT_ID => Wanted::Token,
        Code::X => Wanted::Remove,
        Code::XD if is_sequence => Wanted::Remove,
        Code::Z | Code::XZ => Wanted::Empty,
        Code::ZD | Code::XZD if is_sequence => Wanted::Empty,
        Code::XZU => Wanted::Walk { dummy: false },
        Code::D if is_sequence => Wanted::Walk { dummy: true },
        Code::D | Code::XD | Code::ZD | Code::XZD if vr == VR::UI => Wanted::Uid,
        Code::D | Code::XD | Code::ZD | Code::XZD => Wanted::Dummy,
        Code::U => Wanted::Uid,
    };
    (basic, None)
}

/// How a value is cleaned; `None` where it cannot be, and the Basic Profile holds.
fn clean(vr: VR, column: Column) -> Option<Wanted> {
    match column {
        Column::ModifiedDates => match vr {
            VR::DA | VR::DT => Some(Wanted::Shift),
            // A shift is of whole days.
            VR::TM => Some(Wanted::Keep),
            _ => None,
        },
        Column::Descriptors | Column::PatientCharacteristics if is_text(vr) => Some(Wanted::Scrub),
        Column::DeviceIdentity if vr == VR::AE => Some(Wanted::Token),
        Column::Descriptors | Column::PatientCharacteristics | Column::StructuredContent | Column::Graphics
            if vr == VR::SQ =>
        {
            Some(Wanted::Walk { dummy: false })
        }
        _ => None,
    }
}

pub(super) const PATIENT_ID: Tag = Tag(0x0010, 0x0020);

/// What an attribute of the table is a kind of.
pub(super) fn kind_of(row: &Row) -> Kind {
    let vr = vr_of(row.tag);
    let has = |column| row.option(column).is_some();
    match (row.tag.group(), row.tag.element()) {
        (0x0010, 0x0020 | 0x1000 | 0x1002 | 0x1090) => return Kind::MedicalRecordNumber,
        (0x0010, 0x0030 | 0x0032..=0x0035) => return Kind::BirthDate,
        (0x0010, 0x1040) | (0x0008, 0x0081) => return Kind::StreetAddress,
        (0x0010, 0x2154 | 0x2155) => return Kind::Phone,
        (0x0010, 0x1050 | 0x0050) => return Kind::HealthPlanId,
        (0x0010, 0x1100) => return Kind::Photo,
        (0x0010, 0x1010) => return Kind::Age,
        _ => {}
    }
    if has(Column::Uids) || vr == VR::UI {
        return Kind::UniqueId;
    }
    if matches!(vr, VR::DA | VR::DT | VR::TM) {
        return Kind::ServiceDate;
    }
    if has(Column::DeviceIdentity) || vr == VR::AE {
        return Kind::DeviceId;
    }
    if has(Column::InstitutionIdentity) {
        return Kind::Organization;
    }
    match vr {
        VR::AS => Kind::Age,
        VR::PN => Kind::Name,
        VR::UR => Kind::Url,
        _ if has(Column::FullDates) => Kind::ServiceDate,
        _ if has(Column::Descriptors) => Kind::FreeText,
        _ if has(Column::PatientCharacteristics) && !is_text(vr) => Kind::Demographic,
        VR::LO | VR::SH | VR::CS if has(Column::PatientCharacteristics) => Kind::Demographic,
        VR::LT | VR::ST | VR::UT | VR::UC => Kind::FreeText,
        _ => Kind::UniqueId,
    }
}

/// What values of a representation are whatever a policy calls them; `None` for numbers and coded strings.
pub(super) fn floor_of(vr: VR) -> Option<Kind> {
    Some(match vr {
        VR::PN => Kind::Name,
        VR::DA | VR::DT => Kind::ServiceDate,
        VR::AS => Kind::Age,
        VR::UI => Kind::UniqueId,
        VR::AE => Kind::DeviceId,
        VR::UR => Kind::Url,
        _ if is_text(vr) => Kind::FreeText,
        // Documents, voices, surfaces of faces.
        VR::OB | VR::UN | VR::OW | VR::OF | VR::OD | VR::OL | VR::OV => Kind::FreeText,
        _ => return None,
    })
}
