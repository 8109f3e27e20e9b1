//! Attributes by tag and by keyword.

use std::fmt::Write as _;

use dicom_core::dictionary::{DataDictionary as _, DataDictionaryEntry as _, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

/// What the standard says of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub keyword: &'static str,
    /// The value representation; of several the first that PS3.6 names.
    pub vr: VR,
    /// The value may be of either of two representations.
    pub is_either: bool,
}

/// The attribute of a tag; `None` for private and unknown ones.
pub fn attribute(tag: Tag) -> Option<Attribute> {
    if tag.group() % 2 == 1 {
        return None;
    }
    let entry = StandardDataDictionary.by_tag(tag)?;
    let (vr, is_either) = match entry.vr() {
        VirtualVr::Exact(vr) => (vr, false),
        VirtualVr::Xs => (VR::US, true),
        _ => (VR::OW, true),
    };
    Some(Attribute { keyword: entry.alias, vr, is_either })
}

/// The tag of a keyword.
pub fn tag_of(keyword: &str) -> Option<Tag> {
    let entry = StandardDataDictionary.by_name(keyword)?;
    match entry.tag {
        dicom_core::dictionary::TagRange::Single(tag) => Some(tag),
        _ => None,
    }
}

pub fn keyword(tag: Tag) -> Option<&'static str> {
    attribute(tag).map(|attribute| attribute.keyword)
}

/// `(0010,0010)`, in either case, with or without parentheses and comma.
pub fn parse_tag(text: &str) -> Option<Tag> {
    let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    let digits: String = match inner.split_once(',') {
        Some((group, element)) if group.len() == 4 => format!("{group}{element}"),
        Some(_) => return None,
        None => inner.to_owned(),
    };
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(&digits, 16).ok()?;
    Some(Tag((number >> 16) as u16, number as u16))
}

/// The keyword of an attribute that the standard has; of others the tag's group, or `?`: what stands where a tag should
/// may be a part of a value.
pub fn show(tag: Tag) -> String {
    if tag.group() % 2 == 1 {
        return "private".to_owned();
    }
    attribute(tag).map_or_else(|| "?".to_owned(), |attribute| attribute.keyword.to_owned())
}

/// `(0010,0010)`
pub fn spell(tag: Tag) -> String {
    let mut out = String::with_capacity(11);
    // Writing to a string does not fail.
    let _ = write!(out, "({:04X},{:04X})", tag.group(), tag.element());
    out
}

/// A UID that the standard itself gave out: a SOP class, a transfer syntax, a coding scheme. It has the root of DICOM, and no
/// component as long as an instance's.
pub fn is_standard_uid(uid: &str) -> bool {
    let Some(rest) = uid.strip_prefix("1.2.840.10008.") else { return false };
    let mut parts = 0;
    rest.split('.').all(|part| {
        parts += 1;
        parts <= 9 && (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tags_are_read_as_people_write_them() {
        for text in ["(0010,0010)", "0010,0010", "00100010"] {
            assert_eq!(parse_tag(text), Some(Tag(0x10, 0x10)), "{text}");
        }
        assert_eq!(parse_tag("(60xx,3000)"), None);
        assert_eq!(parse_tag("(001,00010)"), None);
        assert_eq!(parse_tag("+0100010"), None);
        assert_eq!(tag_of("PatientName"), Some(Tag(0x10, 0x10)));
        assert_eq!(attribute(Tag(0x6002, 0x3000)).unwrap().keyword, "OverlayData");
        assert_eq!(attribute(Tag(0x11, 0x10)), None);
    }

    #[test]
    fn uids_of_the_standard_are_told_from_instances() {
        assert!(is_standard_uid("1.2.840.10008.5.1.4.1.1.2"));
        assert!(is_standard_uid("1.2.840.10008.1.2.4.90"));
        for uid in ["1.2.840.10008", "1.2.840.10008.", "1.2.840.10008.1.2.20190304", "1.2.840.113619.2.1", "2.25.1"] {
            assert!(!is_standard_uid(uid), "{uid}");
        }
    }
}
