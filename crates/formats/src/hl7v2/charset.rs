//! Character sets: what a message's bytes mean as text (MSH-18, HL7 table 0211).
//!
//! Bytes become text only where a value is looked at, and text becomes bytes only where a value is replaced. Every value
//! can be read: one that does not decode as declared is read as windows-1252, which gives every byte a character and
//! every such character its byte back.

use std::borrow::Cow;

use encoding_rs::{BIG5, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, SHIFT_JIS, UTF_8, WINDOWS_1252};
use memchr::memchr;

/// How the text of one message is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Default for Charset {
    fn default() -> Self {
        Self(UTF_8)
    }
}

/// In which bytes a delimiter may stand.
#[derive(Clone, Copy)]
pub(crate) enum Width {
    /// A byte that looks like a delimiter is one.
    Plain,
    /// The second byte of a character may look like a delimiter: the bytes that begin such a pair.
    Pairs(fn(u8) -> bool),
    /// ISO 2022: between shifts, every byte may look like a delimiter.
    Shifts,
}

impl Charset {
    /// The character set of a message, from the repetitions of its MSH-18 and its bytes.
    ///
    /// What is declared as a set of single bytes, or not at all, but is UTF-8 and not ASCII, is UTF-8: senders forget
    /// to say so, and by chance such bytes do not come about.
    pub fn of_message<'a>(declared: impl Iterator<Item = &'a [u8]>, message: &[u8]) -> Self {
        let mut known = declared.filter_map(declared_encoding);
        let first = known.next();
        // Japanese sets are declared behind an empty or ASCII first repetition and switched to by escape sequences.
        let encoding = known.find(|other| *other == ISO_2022_JP).or(first);
        let is_single = encoding.is_none_or(Encoding::is_single_byte);
        let guess = || if std::str::from_utf8(message).is_ok() { UTF_8 } else { encoding.unwrap_or(WINDOWS_1252) };
        Self(if is_single && !message.is_ascii() { guess() } else { encoding.unwrap_or(UTF_8) })
    }

    /// The name of the encoding as the WHATWG has it.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The text of a value's bytes.
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self.0.decode_without_bom_handling_and_without_replacement(bytes) {
            Some(text) => text,
            None => WINDOWS_1252.decode_without_bom_handling(bytes).0,
        }
    }

    /// The bytes of a text; a character that the set does not have becomes `?`.
    pub fn encode(self, text: &str) -> Cow<'_, [u8]> {
        let (bytes, _, is_lossy) = self.0.encode(text);
        if !is_lossy {
            return bytes;
        }
        let has = |c: char| !self.0.encode(c.encode_utf8(&mut [0; 4])).2;
        let kept: String = text.chars().map(|c| if has(c) { c } else { '?' }).collect();
        Cow::Owned(self.0.encode(&kept).0.into_owned())
    }

    /// The set in which these bytes are read: this one, or windows-1252 where they do not decode.
    #[must_use]
    pub fn of_value(self, bytes: &[u8]) -> Self {
        match self.0.decode_without_bom_handling_and_without_replacement(bytes) {
            Some(_) => self,
            None => Self(WINDOWS_1252),
        }
    }

    pub(crate) fn decodes(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        self.0.decode_without_bom_handling_and_without_replacement(bytes)
    }

    pub(crate) fn width(self) -> Width {
        if self.0 == ISO_2022_JP {
            Width::Shifts
        } else if self.0 == SHIFT_JIS {
            Width::Pairs(|byte| matches!(byte, 0x81..=0x9F | 0xE0..=0xFC))
        } else if self.0 == GBK || self.0 == GB18030 || self.0 == BIG5 {
            Width::Pairs(|byte| matches!(byte, 0x81..=0xFE))
        } else {
            Width::Plain
        }
    }
}

/// HL7 table 0211 as it is spelled by the standard and by senders. `None` for ASCII and what is not known.
fn declared_encoding(name: &[u8]) -> Option<&'static Encoding> {
    let name = std::str::from_utf8(name).ok()?.trim().to_ascii_uppercase();
    Some(match name.as_str() {
        "" | "ASCII" | "US-ASCII" | "ISO IR6" | "UNICODE UTF-16" | "UNICODE UTF-32" => return None,
        "UNICODE" | "UNICODE UTF-8" | "UTF-8" | "UTF8" => UTF_8,
        "ISO IR14" | "ISO IR87" | "ISO IR159" => ISO_2022_JP,
        "GB 18030-2000" | "GB18030" => GB18030,
        "KS X 1001" => EUC_KR,
        "BIG-5" | "BIG5" => BIG5,
        other => {
            let part = ["8859/", "8859-", "ISO8859/", "ISO8859-", "ISO-8859-", "ISO 8859-", "ISO 8859/"]
                .iter()
                .find_map(|prefix| other.strip_prefix(prefix));
            let label = part.map_or_else(|| other.to_owned(), |part| format!("iso-8859-{part}"));
            let known = Encoding::for_label(label.as_bytes())?;
            // UTF-16 cannot be what bytes with MSH in them are; `replacement` decodes nothing.
            (known.output_encoding() == known).then_some(known)?
        }
    })
}

impl Width {
    /// Where the delimiter stands first.
    pub(crate) fn find(self, delimiter: u8, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Plain => memchr(delimiter, bytes),
            Self::Pairs(is_lead) => {
                let mut at = 0;
                loop {
                    let byte = *bytes.get(at)?;
                    if byte == delimiter {
                        return Some(at);
                    }
                    at += if is_lead(byte) { 2 } else { 1 };
                }
            }
            Self::Shifts => {
                let mut is_shifted = false;
                let mut at = 0;
                loop {
                    match bytes.get(at..)? {
                        [] => return None,
                        [0x1B, b'$', ..] => {
                            is_shifted = true;
                            at += 3;
                        }
                        [0x1B, b'(', ..] => {
                            is_shifted = false;
                            at += 3;
                        }
                        [byte, ..] if *byte == delimiter && !is_shifted => return Some(at),
                        _ => at += if is_shifted { 2 } else { 1 },
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn declared(names: &[&str], message: &[u8]) -> &'static str {
        Charset::of_message(names.iter().map(|name| name.as_bytes()), message).name()
    }

    #[test]
    fn names_of_table_0211_are_known() {
        for (name, want) in [
            ("8859/1", "windows-1252"),
            ("8859/2", "ISO-8859-2"),
            ("8859/5", "ISO-8859-5"),
            ("8859/9", "windows-1254"),
            ("8859/15", "ISO-8859-15"),
            ("ISO-8859-7", "ISO-8859-7"),
            ("iso8859-1", "windows-1252"),
            ("UNICODE UTF-8", "UTF-8"),
            ("ISO IR87", "ISO-2022-JP"),
            ("GB 18030-2000", "gb18030"),
            ("KS X 1001", "EUC-KR"),
            ("BIG-5", "Big5"),
            ("WINDOWS-1252", "windows-1252"),
            ("cp1250", "windows-1250"),
        ] {
            assert_eq!(declared(&[name], b"\xE9|\xFF"), want, "{name}");
        }
        assert_eq!(declared(&["", "ISO IR87"], b"x"), "ISO-2022-JP");
        assert_eq!(declared(&["ASCII", "ISO IR87"], b"x"), "ISO-2022-JP");
    }

    #[test]
    fn undeclared_bytes_are_looked_at() {
        assert_eq!(declared(&[], b"plain"), "UTF-8");
        assert_eq!(declared(&["ASCII"], "Jos\u{e9}".as_bytes()), "UTF-8");
        assert_eq!(declared(&["8859/1"], "Jos\u{e9}".as_bytes()), "UTF-8");
        assert_eq!(declared(&[], b"Jos\xE9"), "windows-1252");
        assert_eq!(declared(&["nonsense", "UTF-16"], b"Jos\xE9"), "windows-1252");
        assert_eq!(declared(&["8859/2"], b"\xA3ukasz"), "ISO-8859-2");
    }

    #[test]
    fn every_byte_comes_back() {
        for n in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15] {
            let name = format!("8859/{n}");
            let set = Charset::of_message([name.as_bytes()].into_iter(), b"\xFF");
            for byte in 0..=255u8 {
                let bytes = [byte];
                let text = set.decode(&bytes);
                assert_eq!(&*set.of_value(&bytes).encode(&text), bytes, "{name} {byte}");
            }
        }
        let utf8 = Charset::default();
        let text = utf8.decode(b"a\xFFb\x81");
        assert_eq!(&*utf8.of_value(b"a\xFFb\x81").encode(&text), b"a\xFFb\x81");
    }

    #[test]
    fn a_character_that_a_set_lacks_is_no_markup() {
        let latin = Charset::of_message([&b"8859/1"[..]].into_iter(), b"\xE9");
        assert_eq!(&*latin.encode("\u{141}ukasz\u{e9}"), b"?ukasz\xE9");
    }

    #[test]
    fn delimiters_are_not_found_inside_characters() {
        // U+8868 in Shift_JIS ends in 0x5C, U+5C0D of ISO IR87 has 0x50 0x50 bytes between shifts.
        let sjis = Charset(SHIFT_JIS);
        assert_eq!(sjis.width().find(b'\\', b"\x95\x5C|x"), None);
        assert_eq!(sjis.width().find(b'|', b"\x95\x5C|x"), Some(2));
        let jis = Charset(ISO_2022_JP);
        let shifted = b"\x1B$B;3^|\x1B(B^x";
        assert_eq!(jis.width().find(b'^', shifted), Some(10));
        assert_eq!(jis.width().find(b'|', shifted), None);
        assert_eq!(Charset(GB18030).width().find(b'|', b"\x81|"), None);
    }
}
