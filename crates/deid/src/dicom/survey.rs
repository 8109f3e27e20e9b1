//! Whose files a batch holds, and what they say of each person.

use cordon_formats::dicom::{Document, Tag};
use cordon_phi::{IdentifierKind as Kind, Known, Whose};

use super::path::{Name, Place};
use super::recipe::DicomRecipe;
use super::walk::valued;
use crate::survey::{Survey, compact_day};

const ABOUT: [(Tag, Kind, Whose); 19] = [
    (Tag(0x0010, 0x0010), Kind::Name, Whose::Subject),
    (Tag(0x0010, 0x1001), Kind::Name, Whose::Subject),
    (Tag(0x0010, 0x1005), Kind::Name, Whose::Subject),
    (Tag(0x0010, 0x0020), Kind::MedicalRecordNumber, Whose::Subject),
    (Tag(0x0010, 0x1000), Kind::MedicalRecordNumber, Whose::Subject),
    (Tag(0x0010, 0x0030), Kind::BirthDate, Whose::Subject),
    (Tag(0x0010, 0x0040), Kind::Demographic, Whose::Subject),
    (Tag(0x0010, 0x1040), Kind::StreetAddress, Whose::Subject),
    (Tag(0x0010, 0x2154), Kind::Phone, Whose::Subject),
    (Tag(0x0008, 0x0050), Kind::UniqueId, Whose::Subject),
    (Tag(0x0038, 0x0010), Kind::UniqueId, Whose::Subject),
    (Tag(0x0010, 0x1060), Kind::Name, Whose::Relative),
    (Tag(0x0010, 0x2297), Kind::Name, Whose::Relative),
    (Tag(0x0008, 0x0090), Kind::Name, Whose::Provider),
    (Tag(0x0008, 0x1050), Kind::Name, Whose::Provider),
    (Tag(0x0008, 0x1060), Kind::Name, Whose::Provider),
    (Tag(0x0008, 0x1070), Kind::Name, Whose::Provider),
    (Tag(0x0032, 0x1032), Kind::Name, Whose::Provider),
    (Tag(0x0008, 0x0080), Kind::Organization, Whose::Organization),
];

impl DicomRecipe {
    /// Tells whose files these are, by the identifiers that the pipeline declares, with the facts that notes may name.
    pub fn survey(&self, files: &[Document], survey: &mut Survey) {
        for file in files {
            self.identities(file, |_, namespace, value| survey.identifier(namespace, value));
            for (tag, kind, whose) in ABOUT {
                let place = Place { within: Vec::new(), name: Name::Standard(tag), issuer: None };
                valued(file, &place, |value| match kind {
                    Kind::Name => name(whose, value, survey),
                    Kind::Demographic => survey.sex(value),
                    Kind::BirthDate => {
                        if let Some(day) = compact_day(value) {
                            survey.fact(kind, whose, &day);
                        }
                    }
                    _ => survey.fact(kind, whose, value),
                });
            }
            survey.end_person();
        }
    }
}

/// A PN: `family^given^middle`, in up to three scripts.
fn name(whose: Whose, value: &str, survey: &mut Survey) {
    for script in value.split('=') {
        let mut parts = script.split('^');
        let family = parts.next().unwrap_or_default();
        let given = parts.take(2).collect::<Vec<_>>().join(" ");
        if script.contains('^') {
            survey.name(whose, &given, family);
        } else if !family.contains(Known::BETWEEN_NAMES) {
            survey.fact(Kind::Name, whose, family);
        }
    }
}
