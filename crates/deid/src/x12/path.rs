//! Places of X12 as people write them: `NM1*IL-09`, `2010BA/N3-01`, `REF*SY-02`, `SV1-01.2`, `NM1*IL`.

use std::fmt;

/// A segment's name, with a blank behind one of two letters.
pub(super) type Name = [u8; 3];

/// A place in a transaction set. What is not said holds for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// `2010BA`, `header`.
    pub loop_id: Option<String>,
    pub segment: Name,
    /// What the first element says; of HL the third, of HI the first component of each.
    pub qualifier: Option<String>,
    /// From 1.
    pub element: Option<u16>,
    /// From 1.
    pub component: Option<u16>,
    /// What stands in brackets: the qualifier of the identifier that is meant.
    pub only: Option<String>,
}

/// Why a text is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Segment,
    Loop,
    Qualifier,
    Number,
    TooDeep,
    Bracket,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Segment => "a path names a segment, as in `NM1`, `NM1-09` or `N3-01`",
            Self::Loop => "a loop stands before the segment with a slash, as in `2010BA/N3-01`",
            Self::Qualifier => "a qualifier is up to three capital letters or digits, as in `REF*SY-02`",
            Self::Number => "elements and components are numbers from 1, as in `SV1-01.2`",
            Self::TooDeep => "a path ends at the component, as in `SV1-01.2`",
            Self::Bracket => "what stands in brackets ends the path of an element, as in `NM1*IL-09[MI]`",
        })
    }
}

impl Place {
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let (path, only) = match text.split_once('[') {
            None => (text, None),
            Some((path, rest)) => {
                let only = rest.strip_suffix(']').filter(|only| is_qualifier(only)).ok_or(Problem::Bracket)?;
                (path, Some(only.to_owned()))
            }
        };
        let (loop_id, path) = match path.split_once('/') {
            None => (None, path),
            Some(("", _)) => return Err(Problem::Loop),
            Some((loop_id, path)) => (Some(loop_id.to_owned()), path),
        };
        let (head, numbers) = path.split_once('-').map_or((path, None), |(head, numbers)| (head, Some(numbers)));
        let (segment, qualifier) = match head.split_once('*') {
            None => (head, None),
            Some((segment, qualifier)) if is_qualifier(qualifier) => (segment, Some(qualifier.to_owned())),
            Some(_) => return Err(Problem::Qualifier),
        };
        let mut numbers = numbers.map(|numbers| numbers.split(['.', '-']));
        let mut number = || numbers.as_mut().and_then(Iterator::next).map(parse_number).transpose();
        let (element, component) = (number()?, number()?);
        if number()?.is_some() {
            return Err(Problem::TooDeep);
        }
        if only.is_some() && element.is_none() {
            return Err(Problem::Bracket);
        }
        let segment = segment_name(segment.as_bytes()).ok_or(Problem::Segment)?;
        Ok(Self { loop_id, segment, qualifier, element, component, only })
    }

    /// The higher, the narrower: the depth counts first, then the loop, the qualifier and the bracket.
    pub fn narrowness(&self) -> u8 {
        let one = |is: bool, worth: u8| if is { worth } else { 0 };
        one(self.component.is_some(), 16)
            + one(self.element.is_some(), 8)
            + one(self.loop_id.is_some(), 4)
            + one(self.qualifier.is_some(), 2)
            + one(self.only.is_some(), 1)
    }
}

/// A capital letter, and one or two letters or digits behind it.
pub(super) fn segment_name(text: &[u8]) -> Option<Name> {
    let is_part = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    match text {
        [first, rest @ ..] if first.is_ascii_uppercase() && rest.iter().all(is_part) => match rest {
            [second] => Some([*first, *second, b' ']),
            [second, third] => Some([*first, *second, *third]),
            _ => None,
        },
        _ => None,
    }
}

/// The name without what fills it.
pub(super) fn text_of(name: Name) -> String {
    String::from_utf8_lossy(&name).trim_end().to_owned()
}

fn is_qualifier(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn parse_number(text: &str) -> Result<u16, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (1..=99).contains(number));
    number.ok_or(Problem::Number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_read_as_people_write_them() {
        let place = Place::parse("2010BA/NM1*IL-09[MI]").unwrap();
        assert_eq!((place.loop_id.as_deref(), place.segment), (Some("2010BA"), *b"NM1"));
        assert_eq!((place.qualifier.as_deref(), place.element, place.component), (Some("IL"), Some(9), None));
        assert_eq!(place.only.as_deref(), Some("MI"));
        assert_eq!(Place::parse("SV1-01.2"), Place::parse("SV1-1-2"));
        assert_eq!(Place::parse("N3-01").unwrap().segment, *b"N3 ");
        assert_eq!(Place::parse("NM1*IL").unwrap().element, None);
        for (text, problem) in [
            ("nm1-01", Problem::Segment),
            ("NM12-01", Problem::Segment),
            ("N-01", Problem::Segment),
            ("/N3-01", Problem::Loop),
            ("NM1*Doe-03", Problem::Qualifier),
            ("NM1*-03", Problem::Qualifier),
            ("NM1-0", Problem::Number),
            ("NM1-x", Problem::Number),
            ("NM1-", Problem::Number),
            ("SV1-1.2.3", Problem::TooDeep),
            ("NM1-9[", Problem::Bracket),
            ("NM1*IL[MI]", Problem::Bracket),
        ] {
            assert_eq!(Place::parse(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn what_says_more_is_narrower() {
        let order =
            ["NM1", "NM1*IL", "2010BA/NM1*IL", "NM1-09", "NM1-09[MI]", "NM1*IL-09", "2010BA/NM1-09", "NM1-09.1"];
        let worth: Vec<u8> = order.iter().map(|text| Place::parse(text).unwrap().narrowness()).collect();
        assert!(worth.is_sorted_by(|a, b| a < b), "{worth:?}");
    }
}
