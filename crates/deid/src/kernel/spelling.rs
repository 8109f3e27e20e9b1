//! How a value was written, kept for what is made up in its place: the signs of a number, the case of a name.
//!
//! Signs are kept of usual forms alone, and an extension is dropped: a form that is one person's own would tell who that is.

/// Signs between the groups of a number.
const SIGNS: &[char] = &['-', ' ', '.', '/', '\u{a0}', '\u{2010}', '\u{2011}', '\u{2013}'];
/// What stands in place of digits that are not told.
const MASKS: &[char] = &['X', 'x', '*', '#', '\u{2022}'];
/// What begins an extension.
const EXTENSIONS: &[&str] = &["extension", "ext.", "ext", ";ext=", "x", "#", ",", ";"];

/// Writes a made-up number of ten digits as the phone number was written: `(617) 555-0143`, `tel:+1-617-555-0143`, `6175550143`,
/// its last seven digits for `555-0143`. Of what is no phone number of the United States nothing is written.
pub(super) fn push_phone(out: &mut String, digits: &[u8; 10], written: &str) -> bool {
    attempt(out, written, |pen| pen.phone(digits))
        || attempt(out, written, |pen| pen.phone_with_country(digits))
        || attempt(out, written, |pen| pen.local_phone(digits))
}

/// Writes a made-up number of nine digits as the social security number was written: `219-09-9999`, `219099999`, `XXX-XX-9999`,
/// its last four digits for `9999`. Of what is none nothing is written.
pub(super) fn push_ssn(out: &mut String, digits: &[u8; 9], written: &str) -> bool {
    attempt(out, written, |pen| pen.ssn(digits)) || attempt(out, written, |pen| pen.last_of_ssn(digits))
}

/// Puts what was written from `start` on, of ASCII, all in capitals, or in none, where what it stands for was. One letter alone
/// tells no case.
pub(super) fn keep_case(out: &mut str, start: usize, of: &str) {
    let (mut upper, mut lower) = (0_usize, 0_usize);
    for c in of.chars() {
        upper += usize::from(c.is_uppercase());
        lower += usize::from(c.is_lowercase());
    }
    let Some(made) = out.get_mut(start..) else { return };
    match (upper, lower) {
        (2.., 0) => made.make_ascii_uppercase(),
        (0, 2..) => made.make_ascii_lowercase(),
        _ => {}
    }
}

/// Leaves `out` as it was where `write` gives up.
fn attempt(out: &mut String, written: &str, write: impl FnOnce(&mut Pen<'_>) -> Option<()>) -> bool {
    let start = out.len();
    let done = write(&mut Pen { rest: written, out }).is_some();
    if !done {
        out.truncate(start);
    }
    done
}

/// Reads what was written and writes what is made up, side by side.
struct Pen<'a> {
    rest: &'a str,
    out: &'a mut String,
}

impl Pen<'_> {
    fn phone(&mut self, digits: &[u8; 10]) -> Option<()> {
        self.scheme();
        self.national(digits)
    }

    fn phone_with_country(&mut self, digits: &[u8; 10]) -> Option<()> {
        self.scheme();
        self.any(&['+'], 1);
        self.rest = self.rest.strip_prefix('1')?;
        self.out.push('1');
        self.any(SIGNS, 2);
        self.national(digits)
    }

    fn local_phone(&mut self, digits: &[u8; 10]) -> Option<()> {
        self.scheme();
        self.exchange_and_line(digits)
    }

    fn scheme(&mut self) {
        if let Some((scheme, rest)) = self.rest.split_at_checked(4)
            && ["tel:", "fax:", "sms:"].iter().any(|known| known.eq_ignore_ascii_case(scheme))
        {
            self.out.push_str(scheme);
            self.rest = rest;
        }
    }

    fn national(&mut self, digits: &[u8; 10]) -> Option<()> {
        self.any(&['('], 1);
        self.digits(digits.get(..3)?)?;
        self.any(&[')'], 1);
        self.any(SIGNS, 2);
        self.exchange_and_line(digits)
    }

    fn exchange_and_line(&mut self, digits: &[u8; 10]) -> Option<()> {
        self.digits(digits.get(3..6)?)?;
        self.any(SIGNS, 2);
        self.digits(digits.get(6..)?)?;
        let rest = self.rest.trim_start();
        let extension = EXTENSIONS.iter().find_map(|mark| {
            let (begin, number) = rest.split_at_checked(mark.len())?;
            begin.eq_ignore_ascii_case(mark).then(|| number.trim_start_matches([' ', '.', ':']))
        });
        let is_extension = |number: &str| number.len() <= 8 && number.bytes().all(|byte| byte.is_ascii_digit());
        (rest.is_empty() || extension.is_some_and(is_extension)).then_some(())
    }

    fn ssn(&mut self, digits: &[u8; 9]) -> Option<()> {
        for group in [0..3, 3..5] {
            let group = digits.get(group)?;
            if self.rest.starts_with(MASKS) {
                self.masks(group.len())?;
            } else {
                self.digits(group)?;
            }
            self.any(SIGNS, 1);
        }
        self.last_of_ssn(digits)
    }

    fn last_of_ssn(&mut self, digits: &[u8; 9]) -> Option<()> {
        self.digits(digits.get(5..)?)?;
        self.rest.is_empty().then_some(())
    }

    /// As many digits as are made up.
    fn digits(&mut self, made: &[u8]) -> Option<()> {
        let (there, rest) = self.rest.split_at_checked(made.len())?;
        self.rest = rest;
        there
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| self.out.extend(made.iter().map(|digit| char::from(*digit))))
    }

    fn masks(&mut self, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| (self.any(MASKS, 1) == 1).then_some(()))
    }

    /// Keeps up to `most` of the characters that come.
    fn any(&mut self, of: &[char], most: usize) -> usize {
        let mut kept = 0;
        while kept < most
            && let Some(c) = self.rest.chars().next().filter(|c| of.contains(c))
        {
            self.out.push(c);
            self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
            kept += 1;
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(written: &str) -> Option<String> {
        let mut out = "<".to_owned();
        let done = push_phone(&mut out, b"5085550180", written);
        assert!(done || out == "<", "{out}");
        done.then(|| out.split_off(1))
    }

    fn ssn(written: &str) -> Option<String> {
        let mut out = String::new();
        let done = push_ssn(&mut out, b"941208937", written);
        assert!(done || out.is_empty());
        done.then_some(out)
    }

    #[test]
    fn phones_keep_their_signs_and_no_digit() {
        for (written, made) in [
            ("617-482-0943", "508-555-0180"),
            ("(617) 482-0943", "(508) 555-0180"),
            ("(617)482-0943", "(508)555-0180"),
            ("617.482.0943", "508.555.0180"),
            ("617 482 0943", "508 555 0180"),
            ("617\u{2011}482\u{2013}0943", "508\u{2011}555\u{2013}0180"),
            ("6174820943", "5085550180"),
            ("16174820943", "15085550180"),
            ("+16174820943", "+15085550180"),
            ("+1 (617) 482-0943", "+1 (508) 555-0180"),
            ("1-617-482-0943", "1-508-555-0180"),
            ("tel:+1-617-482-0943", "tel:+1-508-555-0180"),
            ("TEL:(617)482-0943", "TEL:(508)555-0180"),
            ("482-0943", "555-0180"),
            ("4820943", "5550180"),
            ("617-482-0943 x12", "508-555-0180"),
            ("(617) 482-0943 Ext. 4711", "(508) 555-0180"),
            ("+1-617-482-0943;ext=4711", "+1-508-555-0180"),
            ("617) 482-0943", "508) 555-0180"),
        ] {
            assert_eq!(phone(written).as_deref(), Some(made), "{written}");
        }
    }

    #[test]
    fn what_is_no_usual_phone_has_no_form_to_keep() {
        for written in [
            "",
            "x",
            "617",
            "617-482-094",
            "617-482-09433",
            "6-17482-0943",
            "61-7482-0943",
            "+44 20 7946 0958",
            "+617-482-0943",
            "617---482-0943",
            "617-482-0943 (home)",
            "617-482-0943 x123456789",
            "617-482-0943 ask for Ana",
            "\u{ff16}\u{ff11}\u{ff17}-482-0943",
            "617-482-094\u{e9}",
        ] {
            assert_eq!(phone(written), None, "{written}");
        }
    }

    #[test]
    fn social_security_numbers_keep_their_signs_and_no_digit() {
        for (written, made) in [
            ("219-09-9999", "941-20-8937"),
            ("219099999", "941208937"),
            ("219 09 9999", "941 20 8937"),
            ("219.09.9999", "941.20.8937"),
            ("XXX-XX-9999", "XXX-XX-8937"),
            ("***-**-9999", "***-**-8937"),
            ("xxxxx9999", "xxxxx8937"),
            ("9999", "8937"),
        ] {
            assert_eq!(ssn(written).as_deref(), Some(made), "{written}");
        }
        for written in ["", "XXX-XX-XXXX", "219-09-999", "21-909-9999", "219-09-99999", "219--09-9999", "A19-09-9999"] {
            assert_eq!(ssn(written), None, "{written}");
        }
    }

    #[test]
    fn names_keep_their_case() {
        let name = |of: &str| {
            let mut out = "Dr Ruiz".to_owned();
            keep_case(&mut out, 3, of);
            out
        };
        assert_eq!(name("SMITH"), "Dr RUIZ");
        assert_eq!(name("O'HARA-SMITH"), "Dr RUIZ");
        assert_eq!(name("smith"), "Dr ruiz");
        for mixed in ["Smith", "McDonald", "J", "j", "", "12", "\u{674e}\u{660e}"] {
            assert_eq!(name(mixed), "Dr Ruiz", "{mixed}");
        }
        assert_eq!(name("\u{d6}ZDEMIR"), "Dr RUIZ");
    }
}
