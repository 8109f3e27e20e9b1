//! The DICOM part of a policy, as it is written.

use cordon_formats::dicom::confidentiality::Column;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::file::FieldSection;
use crate::yaml::At;

/// The rules of DICOM files.
///
/// What is settled without a rule: private attributes, and those that no rule reaches, are removed, and so are overlays,
/// curves and what of the meta group names a sender. The transfer syntax, the character set and the SOP class stay; UIDs
/// that the standard gave out stay too.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DicomSection {
    /// `basic` (default): the Basic Application Level Confidentiality Profile of PS3.15. `none`: only the rules written here.
    pub profile: Profile,
    /// Options of the profile, as the columns of table E.1-1 have them.
    pub options: Vec<At<ProfileOption>>,
    /// Whose file it is, as a path (default `PatientID`).
    pub subject: Option<At<String>>,
    /// Rules by value representation (`PN`, `DA`, `CS`). They hold for attributes that table E.1-1 does not list, and make
    /// the dummies of those that it replaces (D).
    pub types: IndexMap<String, At<FieldSection>>,
    /// Rules by attribute, as a keyword or a tag: `PatientName`, `(0010,0010)`. It holds wherever the attribute stands; a path
    /// (`RequestAttributesSequence.ScheduledProcedureStepID`) only within that sequence. They beat the profile. With the
    /// option `retain-safe-private` a private attribute by its creator: `(0019,[SIEMENS MR HEADER]0C)`.
    pub elements: IndexMap<String, At<FieldSection>>,
    /// What is done with pixel data, which are never looked at (default `refuse`).
    pub pixel_data: Option<At<PixelSection>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    #[default]
    Basic,
    None,
}

/// An option of the profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileOption {
    RetainSafePrivate,
    RetainUids,
    RetainDeviceIdentity,
    RetainInstitutionIdentity,
    RetainPatientCharacteristics,
    /// Dates and times as they are.
    RetainLongitudinalFullDates,
    /// Dates shifted by the subject's own number of days.
    RetainLongitudinalModifiedDates,
    /// Descriptions and comments scrubbed in place of removed.
    CleanDescriptors,
    /// Structured reports walked in place of emptied.
    CleanStructuredContent,
    /// Graphic annotations walked in place of emptied. Overlays go all the same: pictures are not looked at.
    CleanGraphics,
}

impl ProfileOption {
    /// The columns of table E.1-1, in their order.
    pub const ALL: [Self; 10] = [
        Self::RetainSafePrivate,
        Self::RetainUids,
        Self::RetainDeviceIdentity,
        Self::RetainInstitutionIdentity,
        Self::RetainPatientCharacteristics,
        Self::RetainLongitudinalFullDates,
        Self::RetainLongitudinalModifiedDates,
        Self::CleanDescriptors,
        Self::CleanStructuredContent,
        Self::CleanGraphics,
    ];

    pub(super) fn column(self) -> Column {
        match self {
            Self::RetainSafePrivate => Column::SafePrivate,
            Self::RetainUids => Column::Uids,
            Self::RetainDeviceIdentity => Column::DeviceIdentity,
            Self::RetainInstitutionIdentity => Column::InstitutionIdentity,
            Self::RetainPatientCharacteristics => Column::PatientCharacteristics,
            Self::RetainLongitudinalFullDates => Column::FullDates,
            Self::RetainLongitudinalModifiedDates => Column::ModifiedDates,
            Self::CleanDescriptors => Column::Descriptors,
            Self::CleanStructuredContent => Column::StructuredContent,
            Self::CleanGraphics => Column::Graphics,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RetainSafePrivate => "retain-safe-private",
            Self::RetainUids => "retain-uids",
            Self::RetainDeviceIdentity => "retain-device-identity",
            Self::RetainInstitutionIdentity => "retain-institution-identity",
            Self::RetainPatientCharacteristics => "retain-patient-characteristics",
            Self::RetainLongitudinalFullDates => "retain-longitudinal-full-dates",
            Self::RetainLongitudinalModifiedDates => "retain-longitudinal-modified-dates",
            Self::CleanDescriptors => "clean-descriptors",
            Self::CleanStructuredContent => "clean-structured-content",
            Self::CleanGraphics => "clean-graphics",
        }
    }

    /// The code of the option and its meaning (CID 7050 of PS3.16).
    pub(super) fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::RetainSafePrivate => ("113111", "Retain Safe Private Option"),
            Self::RetainUids => ("113110", "Retain UIDs Option"),
            Self::RetainDeviceIdentity => ("113109", "Retain Device Identity Option"),
            Self::RetainInstitutionIdentity => ("113112", "Retain Institution Identity Option"),
            Self::RetainPatientCharacteristics => ("113108", "Retain Patient Characteristics Option"),
            Self::RetainLongitudinalFullDates => {
                ("113106", "Retain Longitudinal Temporal Information Full Dates Option")
            }
            Self::RetainLongitudinalModifiedDates => {
                ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
            }
            Self::CleanDescriptors => ("113105", "Clean Descriptors Option"),
            Self::CleanStructuredContent => ("113104", "Clean Structured Content Option"),
            Self::CleanGraphics => ("113103", "Clean Graphics Option"),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PixelSection {
    Word(PixelWord),
    Where(KeepWhere),
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PixelWord {
    /// The file is refused.
    #[default]
    Refuse,
    /// The file comes out without its pixel data.
    Drop,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeepWhere {
    /// Devices into whose pictures no text is burned. Pixel data stay where a file is of one of them and says itself
    /// `BurnedInAnnotation` `NO`, and does not say that a face can be recognised (`RecognizableVisualFeatures`).
    pub keep_where: Vec<DeviceSection>,
    /// What is done with the pixel data of all other files.
    #[serde(default)]
    pub otherwise: PixelWord,
}

/// A device, by what its files say; what is left out may be anything.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DeviceSection {
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub modality: Option<String>,
    /// How it is known that its pictures show nobody: required.
    pub because: String,
}
