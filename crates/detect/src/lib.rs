//! Finds protected health information (PHI) that nobody declared, in free text and in columns.
//!
//! This crate exists because a policy can only name the fields that its author knew of, and patients are
//! named in notes, comments and columns called `misc`. [`Detector`] reads a text once: one scanner cuts
//! tokens and looks each word up in one lexicon, and every recogniser of [`recognise`](self) is fed from
//! these tokens, so that its cost does not grow with the number of recognisers. [`ProfileBuilder`] says
//! what a column of a table holds. It refuses to do I/O, to decide what is done with a finding (that is
//! `cordon-deid`), and to keep any text: a [`Span`] has places, never words.
//!
//! ```
//! use cordon_detect::{Detector, DetectorOptions};
//! use cordon_phi::IdentifierKind;
//!
//! let detector = Detector::new(DetectorOptions::default());
//! let mut spans = Vec::new();
//! detector.find("Seen on March 4th, 2021 by Dr. Okafor. BP 120/80, MRN: 00-1234.", &mut spans);
//! let kinds: Vec<_> = spans.iter().map(|span| span.kind).collect();
//! assert_eq!(kinds, [IdentifierKind::ServiceDate, IdentifierKind::Name, IdentifierKind::MedicalRecordNumber]);
//! ```

mod checksum;
mod columns;
mod detector;
mod lexicon;
mod recognise;
mod scan;
mod span;
pub mod tagger;

pub use columns::{ColumnVerdict, ProfileBuilder};
pub use detector::{Detector, DetectorOptions, Finder};
pub use lexicon::{DRUGS, EPONYMS};
pub use span::{Span, resolve};
