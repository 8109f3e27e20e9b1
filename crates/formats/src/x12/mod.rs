//! X12 transaction sets of HIPAA, 4010 and 5010: bytes with positions, so that what nobody touches stays as it was sent.
//!
//! A [`TransactionReader`] cuts a stream of interchanges into transaction sets and segments of envelopes. A [`Transaction`]
//! borrows its bytes and knows where its segments are; elements, repetitions and components are found when they are asked
//! for, each as a [`Value`] with its place. An [`Outline`] says in which loop of its implementation guide each segment
//! stands and whose it is, [`facts`] what its values are. [`Edits`] collects new texts for places and writes the record with
//! them; [`tables`] makes tables of sets.
//!
//! This room takes what is really sent: any delimiters, any line ends, several interchanges a file, trailers that are
//! missing or count wrong, segments out of order and segments that no guide has. It refuses to judge whether a set is
//! complete or a value valid, and to decide which values go: that is the policy's.
//!
//! ```
//! use cordon_formats::x12::{Edits, Outline, ReadOptions, RecordKind, TransactionReader};
//!
//! let sent = b"ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240102*1200*^*00501*000000001*0*P*:~\
//!     GS*HC*A*B*20240102*1200*1*X*005010X222A1~ST*837*0001*005010X222A1~HL*1**20*1~NM1*85*2*CLINIC*****XX*1999996666~\
//!     HL*2*1*22*0~NM1*IL*1*DOE*JANE****MI*0007~SE*6*0001~GE*1*1~IEA*1*000000001~";
//! let mut reader = TransactionReader::new(&sent[..], ReadOptions::default());
//! let batch = reader.next_batch(1 << 20)?.expect("records");
//! let index = batch.records.iter().position(|record| record.kind == RecordKind::Transaction).expect("a set");
//! let set = batch.parse(index)?;
//! let name = set.segments().find(|segment| segment.is(1, b"IL")).expect("a subscriber");
//! assert_eq!(Outline::of(&set).places[name.index()].loop_id, "2010BA");
//!
//! let mut edits = Edits::default();
//! edits.replace(&name.element(3).expect("a family name"), "ROE*ROE")?;
//! let mut out = Vec::new();
//! edits.write(&set, &mut out)?;
//! assert!(String::from_utf8(out)?.contains("NM1*IL*1*ROE ROE*JANE****MI*0007~"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dictionary;
mod edits;
mod facts;
mod interchange;
mod loops;
mod reader;
pub mod tables;

pub use dictionary::{ComponentDef, Dictionary, ElementDef, Guide, SegmentDef};
pub use edits::{encode, escape, in_utf8};
pub use facts::{CodeList, DateFormat, DateOf, Fact, Id, Kind, Role, facts};
pub use interchange::{
    Delimiters, Element, Elements, Envelope, Leaf, ParseError, Segment, Split, Transaction, Value, parse,
};
pub use loops::{Level, LevelKind, Outline, Place, Subject, SubjectKind};
pub use reader::{DEFAULT_MAX_TRANSACTION_BYTES, ReadOptions, Record, RecordKind, TransactionBatch, TransactionReader};

pub use crate::segments::{EditError, Edits, Reject, RejectReason, splice};
