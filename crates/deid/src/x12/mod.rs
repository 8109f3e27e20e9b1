//! X12 transaction sets by policy: the section's language, its compiler, and its application.
//!
//! What stays is not touched; what goes leaves its place empty; what a kernel makes stands in the spelling of its set.
//! What a value is, its qualifiers and X12's number of its element tell ([`meaning`]); where it stands, the loops of its
//! implementation guide. A segment that X12 does not have is left out with everything in it, and so is all of a set that no
//! guide is known for. Each claim, member and benefit is of the dependent where there is one, else of the subscriber; an
//! insured of another payer, providers, payers and employers are people of their own.

mod compile;
mod form;
mod meaning;
mod path;
mod people;
mod recipe;
mod section;
mod survey;
mod walk;

pub(crate) use compile::compile;
pub use recipe::X12Recipe;
pub use section::X12Section;
