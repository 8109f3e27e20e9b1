//! CDA R2 documents, C-CDA among them, by policy: the section's language, its compiler, and its application.
//!
//! What stays is not touched, byte for byte. A value that goes leaves `nullFlavor="MSK"` in its place, or takes its
//! element along where it was only a part of a value: of an address, a name, a code. What CDA does not define at its
//! place is left out with everything in it, and so are comments, processing instructions and other vocabularies.
//! Relatives, providers and organisations are people of their own, and not the patient.

mod compile;
mod floor;
mod form;
mod place;
mod recipe;
mod section;
mod survey;
mod walk;
mod write;

pub(crate) use compile::compile;
pub use recipe::CcdaRecipe;
pub use section::{CcdaExclude, CcdaSection};
