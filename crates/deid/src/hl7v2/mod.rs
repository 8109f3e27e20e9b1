//! HL7 v2 messages by policy: the section's language, its compiler, and its application.
//!
//! What stays is not touched; what goes leaves its place empty; what a kernel makes stands in the spelling of its message.
//! A segment that HL7 does not define, and that no rule names, is left out with everything in it, and so is a line that is
//! no segment. A relative (NK1), a guarantor (GT1), an insured person (IN1, IN2) and a provider (XCN) are people of
//! their own, and not the patient.

mod compile;
mod form;
mod path;
mod recipe;
mod section;
mod survey;
mod walk;

pub(crate) use compile::compile;
pub use recipe::Hl7v2Recipe;
pub use section::Hl7v2Section;
