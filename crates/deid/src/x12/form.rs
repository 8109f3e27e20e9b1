//! What a value that stays must look like: senders put anything anywhere, names and dates into places for codes too.

use super::meaning::Meaning;

/// Most letters of a code of X12's own lists.
const CODE: usize = 5;

/// Most digits of an amount or a number, and of those before its point.
const DIGITS: usize = 12;
const WHOLE: usize = 8;

/// Most digits of a control number.
const CONTROL: usize = 9;

/// Whether a value looks like what it means. What has no form of its own always does.
pub(super) fn fits(meaning: Meaning, text: &str) -> bool {
    let text = text.trim();
    match meaning {
        Meaning::Code => is_code(text) || is_taxonomy(text) || is_version(text),
        Meaning::Demographic | Meaning::OtherClinical => is_code(text),
        Meaning::Diagnosis => is_icd10(text) || is_icd9(text),
        Meaning::Procedure => is_upper(text, 7..=7) && has_digit(text) || is_digits(text, 3..=4),
        // A HIPPS code and a modifier too.
        Meaning::Hcpcs => is_upper(text, 5..=5) && has_digit(text) || is_upper(text, 1..=2),
        Meaning::Dental => text.strip_prefix('D').is_some_and(|rest| is_digits(rest, 4..=4)) || is_upper(text, 1..=2),
        Meaning::Ndc => is_ndc(text),
        Meaning::Revenue | Meaning::Drg => is_digits(text, 2..=4),
        Meaning::Occurrence | Meaning::Value | Meaning::Condition => is_upper(text, 1..=3),
        Meaning::Amount | Meaning::Number => is_number(text),
        Meaning::Control => is_control(text),
        Meaning::PostalCode => {
            text.len() <= 10 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b" -".contains(&b))
        }
        Meaning::Time => is_time(text),
        // A day, or two with a hyphen between them.
        meaning if meaning.is_date() => {
            text.split('-').count() <= 2 && text.split('-').all(|part| is_day(part) || is_time(part))
        }
        _ => true,
    }
}

/// A year, a month, a day with or without its century, and a time behind a day.
fn is_day(text: &str) -> bool {
    let number = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<u32>().ok());
    let is_year = || number(0, 4).is_some_and(|year| (1850..=2150).contains(&year));
    let is_month = |at: usize| number(at, at + 2).is_some_and(|month| (1..=12).contains(&month));
    let is_day = |at: usize| number(at, at + 2).is_some_and(|day| (1..=31).contains(&day));
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        && match text.len() {
            4 => is_year(),
            6 => is_year() && is_month(4) || is_month(2) && is_day(4),
            8 => is_year() && is_month(4) && is_day(6),
            12 | 14 => is_year() && is_month(4) && is_day(6) && text.get(8..).is_some_and(is_time),
            _ => false,
        }
}

/// Hours and minutes, seconds and parts of them.
fn is_time(text: &str) -> bool {
    let number = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<u32>().ok());
    is_digits(text, 4..=8)
        && number(0, 2).is_some_and(|hour| hour < 24)
        && number(2, 4).is_some_and(|minute| minute < 60)
        && (text.len() == 4 || number(4, 6).is_some_and(|second| second < 60))
}

fn is_upper(text: &str, len: std::ops::RangeInclusive<usize>) -> bool {
    len.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn is_digits(text: &str, len: std::ops::RangeInclusive<usize>) -> bool {
    len.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// A code of X12's lists: a few capital letters and digits; questions of forms have a point (`04.03`).
pub(super) fn is_code(text: &str) -> bool {
    is_upper(text, 1..=CODE)
        || text.split_once('.').is_some_and(|(form, question)| is_digits(form, 1..=2) && is_digits(question, 1..=2))
}

/// A provider taxonomy code: ten letters and digits, of which the last is an X.
fn is_taxonomy(text: &str) -> bool {
    is_upper(text, 10..=10) && text.ends_with('X') && text.starts_with(|first: char| first.is_ascii_digit())
}

/// `00501`, `005010X222A1`.
pub(super) fn is_version(text: &str) -> bool {
    let (number, guide) = text.split_once('X').map_or((text, None), |(number, guide)| (number, Some(guide)));
    let is_guide = |guide: &str| {
        let (number, addenda) =
            guide.split_once('A').map_or((guide, None), |(number, addenda)| (number, Some(addenda)));
        is_digits(number, 1..=3) && addenda.is_none_or(|addenda| is_digits(addenda, 1..=1))
    };
    number.starts_with("00") && is_digits(number, 5..=6) && guide.is_none_or(is_guide)
}

/// What counts levels, lines or segments.
pub(super) fn is_count(text: &str) -> bool {
    is_digits(text, 1..=7)
}

/// A number that counts interchanges, groups or sets.
pub(super) fn is_control(text: &str) -> bool {
    is_digits(text, 1..=CONTROL)
}

fn is_icd10(text: &str) -> bool {
    let split = text.split_once('.').or_else(|| text.split_at_checked(text.len().min(3)));
    let Some((head, tail)) = split else { return false };
    let head_fits = matches!(head.as_bytes(), [first, second, third]
        if first.is_ascii_uppercase() && second.is_ascii_digit() && (third.is_ascii_digit() || third.is_ascii_uppercase()));
    head_fits && is_upper(tail, 0..=4)
}

fn is_icd9(text: &str) -> bool {
    let plain = text.replace('.', "");
    is_digits(plain.strip_prefix(['V', 'E']).unwrap_or(&plain), 2..=5) && text.len() <= 6
}

/// Eleven digits, or ten, with hyphens or without.
fn is_ndc(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (10..=11).contains(&digits) && text.len() <= 13 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// A number as X12 writes it, too short to be that of a person or a telephone, and no day.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_someones = whole.len() > WHOLE || digits.len() == 8 && is_day(digits);
    !is_someones
        && (1..=DIGITS).contains(&(whole.len() + fraction.len()))
        && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_what_they_mean() {
        for (meaning, text) in [
            (Meaning::Code, "PXC"),
            (Meaning::Code, "04.03"),
            (Meaning::Code, "207Q00000X"),
            (Meaning::Code, "005010X222A1"),
            (Meaning::Diagnosis, "E119"),
            (Meaning::Diagnosis, "S72.001A"),
            (Meaning::Diagnosis, "7215"),
            (Meaning::Diagnosis, "V5789"),
            (Meaning::Procedure, "0BH17EZ"),
            (Meaning::Hcpcs, "J3490"),
            (Meaning::Hcpcs, "GT"),
            (Meaning::Dental, "D2150"),
            (Meaning::Ndc, "00071015523"),
            (Meaning::Ndc, "0071-0155-23"),
            (Meaning::Drg, "470"),
            (Meaning::Amount, "-145.50"),
            (Meaning::Number, ".5"),
            (Meaning::Amount, "99999999.99"),
            (Meaning::Control, "000000907"),
            (Meaning::Service, "20050101-20050103"),
            (Meaning::Service, "202401051310"),
            (Meaning::Service, "200512"),
            (Meaning::Service, "050131"),
            (Meaning::Time, "131059"),
            (Meaning::FamilyName, "anything at all"),
        ] {
            assert!(fits(meaning, text), "{text}");
        }
        for (meaning, text) in [
            (Meaning::Code, "MATTHEW"),
            (Meaning::Code, "jane"),
            (Meaning::Code, "123456"),
            (Meaning::Diagnosis, "WILLIAM"),
            (Meaning::Diagnosis, "AéB"),
            (Meaning::Diagnosis, "19570301"),
            (Meaning::Procedure, "WILLIAM"),
            (Meaning::Hcpcs, "SMITH"),
            (Meaning::Ndc, "123456789"),
            (Meaning::Amount, "123456789"),
            (Meaning::Amount, "19571113"),
            (Meaning::Amount, "12 Elm"),
            (Meaning::Amount, "."),
            (Meaning::Number, "1957-03-01"),
            (Meaning::Control, "1234567890"),
            (Meaning::Control, "A1"),
            (Meaning::Service, "spring 2005"),
            (Meaning::Service, "913572468"),
            (Meaning::Service, "91357246"),
            (Meaning::Service, "20050101-20050103-20050104"),
            (Meaning::Time, "9135"),
            (Meaning::Demographic, "UNKNOWN WHO"),
        ] {
            assert!(!fits(meaning, text), "{text}");
        }
    }
}
