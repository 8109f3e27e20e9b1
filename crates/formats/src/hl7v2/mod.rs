//! HL7 v2 messages, 2.1 to 2.9: bytes with positions, so that what nobody touches stays as it was sent.
//!
//! A [`Message`] borrows its bytes and knows where its segments are; fields, repetitions, components and
//! sub-components are found when they are asked for, each as a [`Value`] with its place. [`Edits`] collects new texts for
//! places and writes the message with them. [`MessageReader`] cuts streams into messages, [`tables`] makes tables of them.
//!
//! This room takes what is really sent: any delimiters, any line ends, segments in any order, vendors' segments. It
//! refuses to judge whether a message is complete or a value valid, and to guess which values are a person's: that is
//! the policy's. A line that is no segment is handed out as one without a name ([`Segment::is_text`]), never dropped, so
//! that whoever works through the segments of a message has seen all of its text.
//!
//! ```
//! use cordon_formats::hl7v2::{Edits, parse};
//!
//! let sent = b"MSH|^~\\&|LAB||||||ADT^A08|7|P|2.5\rPID|1||0007^^^GH||Doe^Jane\\T\\Ann|||F\r";
//! let message = parse(sent)?;
//! let name = message.find(b"PID").and_then(|pid| pid.field(5)).expect("a name");
//! assert_eq!(name.component(2).expect("a given name").text(), "Jane&Ann");
//!
//! let mut edits = Edits::default();
//! edits.replace(&name.component(1).expect("a family name"), "Roe & Co")?;
//! let mut out = Vec::new();
//! edits.write(&message, &mut out)?;
//! assert_eq!(out, b"MSH|^~\\&|LAB||||||ADT^A08|7|P|2.5\rPID|1||0007^^^GH||Roe \\T\\ Co^Jane\\T\\Ann|||F\r");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod charset;
mod dictionary;
mod edits;
mod escape;
mod message;
mod reader;
pub mod tables;

pub use charset::Charset;
pub use dictionary::{ComponentDef, Dictionary, FieldDef, SegmentDef, TypeDef, Version};
pub use escape::{escape, unescape};
pub use message::{Delimiters, Field, Fields, Leaf, Message, ParseError, Segment, Split, Value, parse};
pub use reader::{DEFAULT_MAX_MESSAGE_BYTES, MessageBatch, MessageReader, ReadOptions, Record, RecordKind};

pub use crate::segments::{EditError, Edits, Reject, RejectReason, splice};
