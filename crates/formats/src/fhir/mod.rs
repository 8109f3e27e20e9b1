//! FHIR R4 documents: what elements there are, and how resources come out of NDJSON, Bundles and single files.
//!
//! This room takes documents apart and checks that each resource is what it says: strict JSON in bounded depth, no
//! key twice, a known `resourceType`. It refuses to judge what a value means or may do: that is the policy's.
//!
//! ```
//! use cordon_formats::fhir::{ReadOptions, ResourceReader, r4};
//!
//! let bundle = r#"{"resourceType": "Bundle", "entry": [
//!     {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient", "id": "1"}}]}"#;
//! let mut reader = ResourceReader::new(bundle.as_bytes(), ReadOptions::default());
//! let batch = reader.next_batch(1 << 20)?.unwrap();
//! assert_eq!(batch.resources.len(), 1);
//! assert_eq!(r4().get(batch.resources[0].type_id).name, "Patient");
//! assert!(batch.rejects.is_empty());
//! # Ok::<(), cordon_formats::fhir::ReadError>(())
//! ```

mod attachment;
mod definitions;
mod document;
mod reader;
mod tape;

pub use attachment::{TextMedia, attachment_text};
pub use definitions::{Definitions, ElementDef, Json, NameId, TypeDef, TypeId, TypeKind, r4};
pub use document::Links;
pub use reader::{Origin, ReadError, ReadOptions, Reject, RejectReason, Resource, ResourceBatch, ResourceReader};
pub use tape::{Kind, Token, unescape};
