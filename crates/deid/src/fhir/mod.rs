//! FHIR R4 resources by policy: the section's language, its compiler, and its application.
//!
//! The values that one rule touches in a batch of resources are gathered into one column, the same kernel that serves
//! tables runs over it, and its results go back to their places. What stays is copied as it stands, so decimals keep
//! their zeros and texts their escapes. What FHIR R4 does not define never passes, whatever the policy says.
//!
//! Out come tables, one for each resource type: `id` and `subject` (tokens that join), the columns that the policy
//! declares, and `resource`, the resource itself as JSON.

mod compile;
mod emit;
mod explain;
pub(crate) mod floor;
pub(crate) mod form;
pub(crate) mod gather;
mod identity;
mod output;
mod path;
mod plan;
pub(crate) mod recipe;
mod section;
mod survey;
mod walk;

pub(crate) use compile::compile;
pub(crate) use explain::explain;
pub use output::{FailureReason, FhirFailure, FhirOutput};
pub use recipe::FhirRecipe;
pub use section::{ColumnSection, ExtensionSection, FhirSection, ModifierExtensions};
