//! CDA R2 documents, C-CDA among them: XML taken apart and put together again, and what each part of it is.
//!
//! A document is read into a flat tape of events over its text. Nothing is normalised: changes are written into the
//! text at their places and all else stays byte for byte. The dictionary says of each element and attribute which data
//! type it has, and of what CDA does not know that it is unknown, so that a rule can fail closed. This room refuses
//! document types and entities, and to judge what a value means or may do: that is the policy's.
//!
//! ```
//! use cordon_formats::ccda::{CdaType, Document, Edits, Limits, Path, PathSet, Stack};
//!
//! let xml = r#"<ClinicalDocument xmlns="urn:hl7-org:v3"><recordTarget><patientRole>
//!   <id root="1.2.3" extension="0007"/></patientRole></recordTarget></ClinicalDocument>"#;
//! let document = Document::parse(xml.to_owned(), Limits::default())?;
//! let paths = PathSet::new(vec![Path::parse("recordTarget//id/@extension").unwrap()]);
//! let (mut stack, mut matcher) = (Stack::new(&document), paths.matcher(&document));
//! let mut edits = Edits::new();
//! for event in 0..document.events().len() {
//!     stack.follow(event);
//!     matcher.follow(event);
//!     for attribute in document.attributes(event) {
//!         if matcher.attributes(attribute).next().is_some() {
//!             assert_eq!(stack.cda_type(), CdaType::Ii);
//!             edits.set_attribute(&document, attribute, "T-1");
//!         }
//!     }
//! }
//! assert_eq!(edits.apply(document.text()).unwrap(), xml.replace("0007", "T-1"));
//! # Ok::<(), cordon_formats::ccda::XmlError>(())
//! ```

mod edit;
mod path;
mod reader;
mod section;
pub mod tables;
mod tape;
pub mod types;

pub use edit::{EditError, Edits, escape_attribute, escape_text};
pub use path::{Matcher, Path, PathError, PathProblem, PathSet, Specificity, Stack};
pub use reader::{DocumentBatch, DocumentReader, ReadOptions, Reject, RejectReason};
pub use section::{DS4P, Mark, Narrative, Section, is_restricted};
pub use tape::{Attribute, Document, Event, Kind, Limits, Ns, XmlError, XmlProblem, unescape};
pub use types::{AttributeType, CdaType, Family, NameId, State};
