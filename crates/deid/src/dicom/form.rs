//! Values of each representation: whether they have its form, what stands in for them, and how outcomes are spelled.

use cordon_formats::dicom::VR;

use crate::policy::file::Action;

/// Representations of several values, which backslashes part.
pub(super) fn is_many(vr: VR) -> bool {
    use VR::{AE, AS, CS, DA, DS, DT, IS, LO, PN, SH, TM, UC, UI};
    matches!(vr, AE | AS | CS | DA | DS | DT | IS | LO | PN | SH | TM | UC | UI)
}

pub(super) fn is_text(vr: VR) -> bool {
    is_many(vr) || matches!(vr, VR::LT | VR::ST | VR::UR | VR::UT)
}

/// Whether a value that stays has the form of its representation: what is typed into a field for codes, numbers or dates is
/// none of these.
pub(super) fn fits(vr: VR, value: &[u8]) -> bool {
    let each = |fits: fn(&[u8]) -> bool| value.split(|byte| *byte == b'\\').all(|part| fits(part.trim_ascii()));
    match vr {
        VR::CS => each(|part| {
            part.len() <= 16 && part.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_' | b' ' | 0))
        }),
        VR::DS => each(|part| part.len() <= 16 && (part.is_empty() || is_decimal(part))),
        VR::IS => each(|part| part.len() <= 12 && (part.is_empty() || is_integer(part))),
        VR::UI => value.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'\\' | b' ' | 0)),
        VR::DA | VR::TM | VR::DT => {
            value.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b':' | b'+' | b'-' | b' ' | b'\\' | 0))
        }
        VR::AS => each(|part| part.is_empty() || age_of(part).is_some()),
        VR::US | VR::SS => value.len().is_multiple_of(2) && !is_written(value),
        VR::UL | VR::SL | VR::FL | VR::AT => value.len().is_multiple_of(4) && !is_written(value),
        VR::FD | VR::SV | VR::UV => value.len().is_multiple_of(8) && !is_written(value),
        _ => true,
    }
}

/// Whether bytes that should be numbers are text: a damaged tag gives a name the representation of something else.
fn is_written(value: &[u8]) -> bool {
    let letters = value.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    letters >= 4 && value.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | 0))
}

fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn is_decimal(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
}

/// An age string: the number and its unit.
pub(super) fn age_of(text: &[u8]) -> Option<(u32, u8)> {
    let (unit, digits) = text.split_last()?;
    if !matches!(unit, b'D' | b'W' | b'M' | b'Y') || digits.is_empty() || digits.len() > 3 {
        return None;
    }
    let mut number = 0;
    for digit in digits {
        number = number * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some((number, *unit))
}

/// An age in whole years.
pub(super) fn years_of((number, unit): (u32, u8)) -> u32 {
    match unit {
        b'Y' => number,
        b'M' => number / 12,
        b'W' => number / 52,
        _ => number / 365,
    }
}

/// What stands in for a value: of its form, and of nobody.
pub(super) fn dummy(vr: VR) -> &'static [u8] {
    match vr {
        VR::DA => b"19000101",
        VR::TM => b"000000",
        VR::DT => b"19000101000000",
        VR::AS => b"000D",
        VR::IS | VR::DS => b"0",
        VR::UR => b"urn:anonymized",
        VR::UI => b"2.25.0",
        VR::US | VR::SS | VR::OW | VR::OB | VR::UN => &[0; 2],
        VR::UL | VR::SL | VR::FL | VR::AT | VR::OF | VR::OL => &[0; 4],
        VR::FD | VR::SV | VR::UV | VR::OD | VR::OV => &[0; 8],
        _ => b"ANONYMIZED",
    }
}

/// The most characters that a value may have.
fn most(vr: VR) -> usize {
    match vr {
        VR::AE | VR::CS | VR::SH => 16,
        VR::LO | VR::PN | VR::UI => 64,
        VR::ST => 1024,
        VR::LT => 10240,
        _ => usize::MAX,
    }
}

/// What a kernel made, in the form of the representation. Tokens of a UID become UIDs, and those of a short representation keep
/// so many characters as it has room for: 16, of 80 bits.
pub(super) fn spell(vr: VR, action: Action, text: &str, out: &mut String) {
    out.clear();
    match (vr, action) {
        (VR::UI, _) => match bits_of(text) {
            Some(bits) => {
                out.push_str("2.25.");
                out.push_str(&bits.to_string());
            }
            None => out.push_str("2.25.0"),
        },
        // The first of January stands for the year alone.
        (VR::DA, Action::Year) => {
            out.push_str(text);
            out.push_str("0101");
        }
        (VR::AS, _) => {
            out.push('0');
            out.push_str(text);
            out.push('Y');
        }
        (VR::PN, Action::Surrogate) => match text.rsplit_once(' ') {
            Some((given, family)) => {
                out.push_str(family);
                out.push('^');
                out.push_str(given);
            }
            None => out.push_str(text),
        },
        (VR::CS | VR::AE, _) => {
            out.extend(text.chars().map(|c| c.to_ascii_uppercase()));
        }
        _ => out.push_str(text),
    }
    if is_many(vr) {
        // A backslash would make two values of one.
        if out.contains('\\') {
            *out = out.replace('\\', "/");
        }
    }
    if let Some((end, _)) = out.char_indices().nth(most(vr)) {
        out.truncate(end);
    }
}

/// The 128 bits that a token spells.
fn bits_of(token: &str) -> Option<u128> {
    let mut bits: u128 = 0;
    if token.len() != 26 {
        return None;
    }
    for (place, byte) in token.bytes().enumerate() {
        let five = match byte {
            b'a'..=b'z' => byte - b'a',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        };
        bits = if place == 25 { bits << 3 | u128::from(five >> 2) } else { bits << 5 | u128::from(five) };
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(vr: VR, action: Action, text: &str) -> String {
        let mut out = String::new();
        spell(vr, action, text, &mut out);
        out
    }

    #[test]
    fn a_token_is_a_uid_of_its_bits() {
        let token = data_encoding::BASE32_NOPAD.encode(&u128::MAX.to_be_bytes()).to_lowercase();
        assert_eq!(spelled(VR::UI, Action::Token, &token), format!("2.25.{}", u128::MAX));
        let token = data_encoding::BASE32_NOPAD.encode(&5_u128.to_be_bytes()).to_lowercase();
        assert_eq!(spelled(VR::UI, Action::Token, &token), "2.25.5");
        assert_eq!(spelled(VR::UI, Action::Token, "1.2.3"), "2.25.0");
    }

    #[test]
    fn outcomes_have_the_form_of_their_representation() {
        assert_eq!(spelled(VR::DA, Action::Year, "2019"), "20190101");
        assert_eq!(spelled(VR::AS, Action::AgeCap, "90"), "090Y");
        assert_eq!(spelled(VR::PN, Action::Surrogate, "Ann Mary Lee"), "Lee^Ann Mary");
        assert_eq!(spelled(VR::SH, Action::Token, "abcdefghijklmnopqrstuvwxyz"), "abcdefghijklmnop");
        assert_eq!(spelled(VR::LO, Action::Scrub, "a\\b"), "a/b");
        assert_eq!(spelled(VR::LT, Action::Scrub, "a\\b"), "a\\b");
    }

    #[test]
    fn what_stays_has_its_form() {
        assert!(fits(VR::CS, b"CHEST\\HEAD_2 "));
        assert!(!fits(VR::CS, b"Doe"));
        assert!(fits(VR::DS, b"1.5E3\\-2 "));
        assert!(!fits(VR::DS, b"1\\Doe") && !fits(VR::DS, b"nan") && !fits(VR::IS, b"1.0") && !fits(VR::US, b"abc"));
        assert!(fits(VR::AS, b"045Y") && !fits(VR::AS, b"Doe") && !fits(VR::AS, b"+45Y"));
        assert_eq!(age_of(b"1080M"), None);
        assert_eq!(age_of(b"999M").map(years_of), Some(83));
        assert!(!fits(VR::UI, b"1.2.Doe\0"));
    }
}
