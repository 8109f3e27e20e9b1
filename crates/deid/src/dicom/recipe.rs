//! What a policy's DICOM section is compiled to: an act for each attribute that a rule names.

use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use cordon_formats::dicom::{Document, Pixels, Tag, VR, tables};
use cordon_phi::{IdentifierKind as Kind, KeyClass};
use hashbrown::HashMap;

use super::path::Place;
use super::section::ProfileOption;
use crate::fhir::recipe::{GatherRule, Gathered, RuleLine};
use crate::policy::file::{Action, Undeclared};
use crate::recipe::{KEY_CLASS_KEY, with_subject};
use crate::tally::Class;

/// What is done with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Remove,
    /// Zero length.
    Empty,
    Keep,
    /// A fixed value of its representation.
    Dummy,
    Gather {
        column: Gathered,
        action: Action,
    },
    /// A sequence: its items stay, and each of their elements goes by its own rule. With `dummy` text that table E.1-1 does
    /// not list becomes a dummy.
    Walk {
        dummy: bool,
    },
}

/// An act, and what the values count as to which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ruled {
    pub act: Act,
    pub class: Class,
}

/// A rule for an attribute within some sequences, the innermost last.
pub(super) struct Within {
    pub sequences: Vec<Tag>,
    pub ruled: Ruled,
}

/// A device whose pixel data stay, in small letters.
pub(super) struct Device {
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub modality: Option<String>,
}

/// Compiled rules for DICOM files.
pub struct DicomRecipe {
    /// By attribute, those of the longest paths first.
    pub(super) elements: HashMap<Tag, Vec<Within>>,
    /// Of private attributes: by group and number in the block, with the creator.
    pub(super) private: HashMap<(u16, u8), Vec<(String, Ruled)>>,
    /// The rows of table E.1-1; `None` without the profile.
    pub(super) profile: Option<HashMap<Tag, Ruled>>,
    pub(super) types: HashMap<VR, Ruled>,
    pub(super) devices: Vec<Device>,
    pub(super) pixels_otherwise: Pixels,
    pub(super) subject: Place,
    /// Places whose identifiers mean the person, each with the number of its namespace.
    pub(super) identities: Vec<(Place, u16)>,
    pub(super) namespaces: Vec<String>,
    pub(super) kernels: Vec<GatherRule>,
    pub(super) lenient: Vec<bool>,
    pub(super) undeclared: Undeclared,
    pub(super) seed_by_token: bool,
    pub(super) options: Vec<ProfileOption>,
    pub(crate) subject_line: String,
    pub(crate) lines: Vec<RuleLine>,
}

impl DicomRecipe {
    /// What happens to attributes that no rule reaches.
    pub fn undeclared(&self) -> Undeclared {
        self.undeclared
    }

    /// Whose records a file is.
    pub(crate) fn subject_text(&self) -> String {
        self.subject_line.clone()
    }

    /// What is to be done with the pixel data of a file, from what stands before them.
    pub fn pixels(&self, document: &Document) -> Pixels {
        let text = |tag| document.text(tag).unwrap_or_default().to_lowercase();
        if text(BURNED_IN) != "no" || text(RECOGNIZABLE) == "yes" {
            return self.pixels_otherwise;
        }
        let (manufacturer, model, modality) = (text(MANUFACTURER), text(MODEL), text(MODALITY));
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let is_known = self.devices.iter().any(|device| {
            is(&device.manufacturer, &manufacturer) && is(&device.model, &model) && is(&device.modality, &modality)
        });
        if is_known { Pixels::Keep } else { self.pixels_otherwise }
    }

    /// Every table that can come out, with its schema.
    pub fn schemas(&self) -> Vec<(String, SchemaRef)> {
        tables::schemas().into_iter().map(|(name, schema)| (name.to_owned(), classed(&schema))).collect()
    }
}

const BURNED_IN: Tag = Tag(0x0028, 0x0301);
const RECOGNIZABLE: Tag = Tag(0x0028, 0x0302);
const MANUFACTURER: Tag = Tag(0x0008, 0x0070);
const MODEL: Tag = Tag(0x0008, 0x1090);
const MODALITY: Tag = Tag(0x0008, 0x0060);

/// The schema with the class of key that protects each column.
pub(super) fn classed(schema: &SchemaRef) -> SchemaRef {
    let class_of = |name: &str| match name {
        // The file as a whole may hold all that the policy lets pass, and so may any value.
        "patient" | "study" | "series" | "instance" | "value" | "file" => KeyClass::Direct,
        "study_date" | "series_date" | "acquisition_date" => Kind::ServiceDate.key_class(),
        "patient_sex" | "patient_age" => Kind::Demographic.key_class(),
        _ => KeyClass::Clinical,
    };
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let class = class_of(field.name()).name().to_owned();
            field.as_ref().clone().with_metadata([(KEY_CLASS_KEY.to_owned(), class)].into())
        })
        .collect();
    Arc::new(with_subject(&Schema::new(fields), "patient"))
}
