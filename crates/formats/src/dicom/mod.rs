//! DICOM files (PS3.10): data sets as elements with positions, and the table of what of them identifies.
//!
//! A file is read into a [`Document`]: its bytes and a flat list of its elements, each with the place of its header, value
//! and end. What a policy does not touch is written as it was read. Values are looked at only where they are asked for,
//! and pixel data are never decoded: a reader says what is to be done with them when it comes to them, and what is to be left
//! out is not held in memory.
//!
//! Tags, value representations and keywords come from `dicom-core` and `dicom-dictionary-std`. The elements are taken
//! apart here and not by `dicom-object`: that crate builds a tree by recursion and forgets how lengths were written, and here
//! a hostile file must not exhaust the stack, and an untouched one comes back byte for byte.

pub mod charset;
pub mod confidentiality;
mod dictionary;
mod document;
mod reader;
pub mod tables;
mod writer;

pub use dicom_core::{Tag, VR};

pub use charset::Charset;
pub use dictionary::{Attribute, attribute, is_standard_uid, keyword, parse_tag, show, tag_of};
pub use document::{Document, Element, Kind, PixelData, Syntax};
pub use reader::{DicomError, Limits, Pixels, Problem, ReadError, read};
pub use writer::{Change, New, NewValue, TooLong, pad};
