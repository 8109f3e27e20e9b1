//! DICOM files by policy: the Basic Application Level Confidentiality Profile of PS3.15 with its options, checked against
//! the policy's method as every other rule is.
//!
//! What table E.1-1 says is a rule for each of its attributes; rules by attribute beat it, and rules by value representation
//! hold for what it does not list. What no rule reaches is removed, private attributes too. A value that is not of the
//! representation that its attribute has is removed whatever the rule.

mod compile;
mod form;
mod path;
mod profile;
mod recipe;
mod section;
mod survey;
mod walk;

pub(crate) use compile::compile;
pub use recipe::DicomRecipe;
pub use section::{DeviceSection, DicomSection, KeepWhere, PixelSection, PixelWord, Profile, ProfileOption};
