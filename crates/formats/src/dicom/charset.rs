//! Character sets (PS3.3 C.12.1.1.2): what the bytes of text mean.
//!
//! Every value can be read: bytes that do not decode as declared are read as windows-1252.

use std::borrow::Cow;

use encoding_rs::{
    EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6,
    ISO_8859_7, ISO_8859_8, ISO_8859_15, SHIFT_JIS, UTF_8, WINDOWS_874, WINDOWS_1252, WINDOWS_1254,
};

/// How text in a data set is encoded (0008,0005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset {
    base: &'static Encoding,
    /// Escape sequences switch to other sets (ISO 2022).
    switches: bool,
    /// The set of several bytes that escape sequences switch to.
    wide: Option<&'static Encoding>,
}

impl Default for Charset {
    /// ISO_IR 6, and what senders put there who forget to say: UTF-8 where it is that.
    fn default() -> Self {
        Self { base: UTF_8, switches: false, wide: None }
    }
}

/// A defined term of a set of single bytes, or of one without code extensions.
fn of_term(term: &str) -> Option<&'static Encoding> {
    Some(match term.strip_prefix("ISO_IR ").or_else(|| term.strip_prefix("ISO 2022 IR "))? {
        "100" => WINDOWS_1252,
        "101" => ISO_8859_2,
        "109" => ISO_8859_3,
        "110" => ISO_8859_4,
        "144" => ISO_8859_5,
        "127" => ISO_8859_6,
        "126" => ISO_8859_7,
        "138" => ISO_8859_8,
        "148" => WINDOWS_1254,
        "166" => WINDOWS_874,
        "203" => ISO_8859_15,
        "13" => SHIFT_JIS,
        "6" | "192" => UTF_8,
        _ => return None,
    })
}

impl Charset {
    /// From the value of (0008,0005).
    pub fn of(value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value);
        let mut terms = text.split('\\').map(|term| term.trim_matches([' ', '\0']));
        let first = terms.next().unwrap_or_default();
        let base = match first {
            "GB18030" => GB18030,
            "GBK" => GBK,
            other => of_term(other).unwrap_or(UTF_8),
        };
        let (mut switches, mut wide) = (first.starts_with("ISO 2022"), None);
        for term in [first].into_iter().chain(terms) {
            wide = wide.or(match term {
                "ISO 2022 IR 87" | "ISO 2022 IR 159" => Some(ISO_2022_JP),
                "ISO 2022 IR 149" => Some(EUC_KR),
                "ISO 2022 IR 58" => Some(GBK),
                _ => None,
            });
            switches |= term.starts_with("ISO 2022");
        }
        Self { base, switches, wide }
    }

    /// The text of a value's bytes.
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        if self.switches && bytes.contains(&0x1B) {
            return Cow::Owned(self.decode_switched(bytes));
        }
        decode_as(self.base, bytes)
    }

    fn decode_switched(self, bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len());
        let mut set = Set::Plain(self.base);
        let mut parts = bytes.split(|byte| *byte == 0x1B);
        // What stands before the first escape sequence is of the base set.
        out.push_str(&decode_as(self.base, parts.next().unwrap_or_default()));
        for part in parts {
            let (next, length) = switch(part).unwrap_or((set, 0));
            set = next;
            let rest = part.get(length..).unwrap_or_default();
            match set {
                Set::Plain(encoding) => out.push_str(&decode_as(encoding, rest)),
                Set::Pairs { prefix } => {
                    let mut raised = Vec::with_capacity(rest.len() * 3 / 2);
                    let mut pairs = rest.chunks_exact(2);
                    for pair in &mut pairs {
                        raised.extend(prefix.iter().copied().chain(pair.iter().map(|byte| byte | 0x80)));
                    }
                    out.push_str(&EUC_JP.decode_without_bom_handling(&raised).0);
                    out.push_str(&decode_as(self.base, pairs.remainder()));
                }
            }
        }
        out
    }

    /// The bytes of a text; a character that the sets do not have becomes `?`.
    pub fn encode(self, text: &str) -> Cow<'_, [u8]> {
        let (bytes, _, is_lossy) = self.base.encode(text);
        if !is_lossy {
            return bytes;
        }
        if let Some(wide) = self.wide {
            let escape: &[u8] = if wide == EUC_KR {
                b"\x1B$)C"
            } else if wide == GBK {
                b"\x1B$)A"
            } else {
                b""
            };
            let (bytes, _, is_lossy) = wide.encode(text);
            if !is_lossy {
                return Cow::Owned([escape, &bytes].concat());
            }
        }
        let has = |c: char| !self.base.encode(c.encode_utf8(&mut [0; 4])).2;
        let kept: String = text.chars().map(|c| if has(c) { c } else { '?' }).collect();
        Cow::Owned(self.base.encode(&kept).0.into_owned())
    }
}

fn decode_as<'a>(encoding: &'static Encoding, bytes: &'a [u8]) -> Cow<'a, str> {
    match encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) => text,
        None => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

#[derive(Clone, Copy)]
enum Set {
    Plain(&'static Encoding),
    /// Two bytes of seven bits a character, which EUC-JP has with the eighth bit and this before.
    Pairs {
        prefix: &'static [u8],
    },
}

/// The set that an escape sequence switches to, and its length behind the escape.
fn switch(sequence: &[u8]) -> Option<(Set, usize)> {
    Some(match sequence {
        [b'$', b'B' | b'@', ..] => (Set::Pairs { prefix: &[] }, 2),
        [b'$', b'(', b'D', ..] => (Set::Pairs { prefix: &[0x8F] }, 3),
        [b'$', b')', b'C', ..] => (Set::Plain(EUC_KR), 3),
        [b'$', b')', b'A', ..] => (Set::Plain(GBK), 3),
        [b'(', b'B', ..] => (Set::Plain(UTF_8), 2),
        [b'(', b'J', ..] | [b')', b'I', ..] => (Set::Plain(SHIFT_JIS), 2),
        [b'-', last, ..] => (
            Set::Plain(match last {
                b'A' => WINDOWS_1252,
                b'B' => ISO_8859_2,
                b'C' => ISO_8859_3,
                b'D' => ISO_8859_4,
                b'L' => ISO_8859_5,
                b'G' => ISO_8859_6,
                b'F' => ISO_8859_7,
                b'H' => ISO_8859_8,
                b'M' => WINDOWS_1254,
                b'T' => WINDOWS_874,
                b'b' => ISO_8859_15,
                _ => return None,
            }),
            2,
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_ps3_5_read_as_they_should() {
        // Annexes H, I and J: Japanese, Korean and Chinese names.
        let japanese = Charset::of(b"\\ISO 2022 IR 87");
        let name = b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B";
        assert_eq!(japanese.decode(name), "Yamada^Tarou=\u{5c71}\u{7530}^\u{592a}\u{90ce}");
        let korean = Charset::of(b"\\ISO 2022 IR 149");
        assert_eq!(korean.decode(b"Hong^Gildong=\x1B$)C\xFB\xF3"), "Hong^Gildong=\u{6d2a}");
        let greek = Charset::of(b"ISO_IR 126 ");
        assert_eq!(greek.decode(b"\xC4"), "\u{394}");
        assert_eq!(Charset::of(b"GB18030").decode(b"\xCD\xF5"), "\u{738b}");
        assert_eq!(Charset::of(b"ISO_IR 13").decode(b"\xD4"), "\u{ff94}");
    }

    #[test]
    fn what_is_decoded_can_be_encoded() {
        let japanese = Charset::of(b"ISO 2022 IR 6\\ISO 2022 IR 87");
        let text = "a \u{5c71} b";
        let bytes = Charset::of(b"ISO_IR 100\\ISO 2022 IR 87").encode(text).into_owned();
        assert_eq!(japanese.decode(&bytes), text);
        assert_eq!(&*Charset::of(b"ISO_IR 100").encode("\u{5c71}\u{e9}"), b"?\xE9");
        assert_eq!(Charset::default().decode(b"Jos\xE9"), "Jos\u{e9}");
    }
}
