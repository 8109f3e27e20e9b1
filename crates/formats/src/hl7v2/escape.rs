//! Escape sequences (HL7 v2.9, 2.7): between two escape characters, a letter and what it needs.
//!
//! Senders put lone backslashes into paths and units, and sequences of their own. What is not an escape sequence is text:
//! nothing is lost by reading it.

use std::borrow::Cow;

use super::charset::Charset;
use super::message::Delimiters;

/// `.sp` and `.sk` with a larger number are text: a few bytes must not become gigabytes.
const MOST_REPEATED: usize = 255;

/// No sequence that has a meaning is longer than this, but for hexadecimal data.
const LONGEST: usize = 16;

/// The text that is meant.
///
/// Delimiters (`\F\ \S\ \T\ \R\ \E\ \P\`) and hexadecimal data (`\X0D0A\`, read in the message's character set) become
/// their characters, `\.br\`, `\.ce\` and `\.sp n\` line feeds, `\.sk n\` blanks; `\H\`, `\N\`, `\.in\`, `\.ti\`, `\.fi\`
/// and `\.nf\` say only how text looks and become nothing. All else, also `\C..\`, `\M..\` and `\Z..\`, stays as it stands.
pub fn unescape<'a>(text: &'a str, delimiters: &Delimiters, charset: Charset) -> Cow<'a, str> {
    let Some(mark) = delimiters.escape.map(char::from) else {
        return Cow::Borrowed(text);
    };
    let Some(first) = text.find(mark) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len());
    let (head, mut rest) = text.split_at(first);
    out.push_str(head);
    // The mark that may close the sequence, in `rest`; where there is no more, none is looked for again.
    while let Some(inside) = rest.strip_prefix(mark) {
        let Some(end) = inside.find(mark) else {
            break;
        };
        let (sequence, closed) = inside.split_at(end);
        if push_meaning(sequence, delimiters, charset, &mut out) {
            rest = closed.strip_prefix(mark).unwrap_or_default();
            let next = rest.find(mark).unwrap_or(rest.len());
            let (plain, marked) = rest.split_at(next);
            out.push_str(plain);
            rest = marked;
        } else {
            // A lone mark; the next one may open a sequence.
            out.push(mark);
            out.push_str(sequence);
            rest = closed;
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Appends what a sequence means; false when it means nothing known.
fn push_meaning(sequence: &str, delimiters: &Delimiters, charset: Charset, out: &mut String) -> bool {
    if let Some(digits) = sequence.strip_prefix(['X', 'x']) {
        return push_hexadecimal(digits, charset, out);
    }
    if sequence.len() > LONGEST {
        return false;
    }
    let delimiter = match sequence {
        "F" => Some(delimiters.field),
        "S" => delimiters.component,
        "T" => delimiters.subcomponent,
        "R" => delimiters.repetition,
        "E" => delimiters.escape,
        "P" => delimiters.truncation,
        "H" | "N" | ".fi" | ".nf" => return true,
        _ => return sequence.strip_prefix('.').is_some_and(|command| push_command(command, out)),
    };
    if let Some(delimiter) = delimiter {
        out.push(char::from(delimiter));
    }
    delimiter.is_some()
}

fn push_hexadecimal(digits: &str, charset: Charset, out: &mut String) -> bool {
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return false;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    let pairs = digits.as_bytes().chunks_exact(2);
    let bytes = pairs.map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    let Some(bytes) = bytes.collect::<Option<Vec<u8>>>() else {
        return false;
    };
    let Some(text) = charset.decodes(&bytes) else {
        return false;
    };
    out.push_str(&text);
    true
}

/// Formatting commands (2.7.6): two letters and for some of them a number.
fn push_command(command: &str, out: &mut String) -> bool {
    let Some((name, number)) = command.split_at_checked(2) else {
        return false;
    };
    let number = number.trim_start();
    let times = if number.is_empty() { Some(1) } else { number.trim_start_matches('+').parse().ok() };
    match (name, times) {
        ("br" | "ce", _) if number.is_empty() => out.push('\n'),
        ("sp", Some(times)) if times <= MOST_REPEATED => out.extend(std::iter::repeat_n('\n', times)),
        ("sk", Some(times)) if times <= MOST_REPEATED => out.extend(std::iter::repeat_n(' ', times)),
        ("in" | "ti", _) if number.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit()) => {}
        _ => return false,
    }
    true
}

/// A text as it may stand in a message: no delimiter, line end or frame character is left in it.
///
/// Line feeds become `\.br\`, carriage returns and frame characters hexadecimal data. The truncation character matters only
/// at the end of a value. A message without an escape character cannot express any of them: they become blanks.
pub fn escape<'a>(text: &'a str, delimiters: &Delimiters) -> Cow<'a, str> {
    let last = text.len().saturating_sub(1);
    let sequence = |at: usize, byte: u8| -> Option<&'static str> {
        Some(match byte {
            b'\r' if text.as_bytes().get(at + 1) == Some(&b'\n') => "X0D0A",
            b'\r' => "X0D",
            b'\n' => ".br",
            0x0B => "X0B",
            0x1C => "X1C",
            _ if byte == delimiters.field => "F",
            _ if Some(byte) == delimiters.component => "S",
            _ if Some(byte) == delimiters.subcomponent => "T",
            _ if Some(byte) == delimiters.repetition => "R",
            _ if Some(byte) == delimiters.escape => "E",
            _ if Some(byte) == delimiters.truncation && at == last => "P",
            _ => return None,
        })
    };
    let Some(first) = text.bytes().enumerate().position(|(at, byte)| sequence(at, byte).is_some()) else {
        return Cow::Borrowed(text);
    };
    let (head, tail) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(head);
    let mut is_in_pair = false;
    for (at, c) in tail.char_indices() {
        if std::mem::take(&mut is_in_pair) {
            continue;
        }
        let sequence = u8::try_from(c).ok().filter(u8::is_ascii).and_then(|byte| sequence(first + at, byte));
        match (sequence, delimiters.escape.map(char::from)) {
            (None, _) => out.push(c),
            (Some(sequence), Some(mark)) => {
                is_in_pair = sequence == "X0D0A";
                out.push(mark);
                out.push_str(sequence);
                out.push(mark);
            }
            (Some(_), None) => out.push(' '),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const USUAL: Delimiters = Delimiters::USUAL;

    fn meant(text: &str) -> String {
        unescape(text, &USUAL, Charset::default()).into_owned()
    }

    #[test]
    fn sequences_mean_text() {
        let long = format!("\\X{}\\", "41".repeat(100));
        for (sent, want) in [
            ("plain", "plain"),
            (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f"),
            (r"\F\\S\", "|^"),
            (r"line\X0D0A\line\X0d\x", "line\r\nline\rx"),
            (r"Jos\XC3A9\", "Jos\u{e9}"),
            (r"a\.br\b\.sp\c\.sp2\d\.sp 2\e\.sp+1\f\.ce\g", "a\nb\nc\n\nd\n\ne\nf\ng"),
            (r"a\.sk 3\b\.sk2\c", "a   b  c"),
            (r"\H\bold\N\ \.fi\\.nf\\.in+4\\.ti-2\x", "bold x"),
            (long.as_str(), &"A".repeat(100)),
        ] {
            assert_eq!(meant(sent), want);
        }
    }

    #[test]
    fn what_is_no_sequence_is_text() {
        for text in [
            r"\",
            r"\\",
            r"\\\",
            r"C:\temp\new",
            r"mg\dL",
            r"\X\",
            r"\X0\",
            r"\XZZ\",
            r"\X\0D",
            r"\XFF\",
            r"\P\",
            r"\C2842\",
            r"\M4A4A4A\",
            r"\Zabc\",
            r"\.sp 999999999\",
            r"\.sp-1\",
            r"\.sk 256\",
            r"\.zz\",
            r"\.",
            r"\.b\",
            r"\f\",
            r"\Fx\",
            r"\.é\",
            r"\éé\",
            r"\.brx\",
        ] {
            assert_eq!(meant(text), text);
        }
        assert_eq!(meant(r"C:\temp\T\x"), r"C:\temp&x");
        assert_eq!(meant(r"\a\F\"), r"\a|");
    }

    #[test]
    fn other_characters_than_the_usual() {
        let odd = Delimiters { escape: Some(b'@'), truncation: Some(b'#'), ..USUAL };
        assert_eq!(unescape(r"a@F@b\F\@P@", &odd, Charset::default()), r"a|b\F\#");
        assert_eq!(escape("#4|5#", &odd), "#4@F@5@P@");
        let none = Delimiters { escape: None, ..USUAL };
        assert_eq!(unescape(r"a\F\b", &none, Charset::default()), r"a\F\b");
        assert_eq!(escape("a|b\\\r\nc", &none), "a b\\  c");
    }

    #[test]
    fn hexadecimal_data_is_in_the_character_set() {
        let latin = Charset::of_message([&b"8859/1"[..]].into_iter(), b"\xE9");
        assert_eq!(unescape(r"Jos\XE9\", &USUAL, latin), "Jos\u{e9}");
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_meant(text in r"[a-zFSTRE|^~\\&#\r\n\x0B\x1C.é]{0,40}") {
            let sent = escape(&text, &USUAL);
            prop_assert!(!sent.contains(['|', '^', '~', '&', '\r', '\n', '\x0B', '\x1C']));
            prop_assert_eq!(meant(&sent), text);
        }

        #[test]
        fn nothing_panics(text in r"(\\|[XFHC.spbr0-9+\- é]){0,60}") {
            let odd = Delimiters { escape: Some(b's'), ..USUAL };
            let _ = unescape(&text, &odd, Charset::default());
            let _ = meant(&text);
        }
    }
}
