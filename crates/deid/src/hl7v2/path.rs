//! Places of HL7 v2 as people write them: `PID-5`, `PID-11.4`, `OBX-5[TX]`, `XAD.4`.

use std::fmt;

/// A place in a segment: numbers from 1, as many as are given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub segment: [u8; 3],
    /// Field, component, sub-component.
    pub numbers: Vec<u16>,
    /// What stands in brackets: for OBX-5 the value's type, for identities a type code or `authority^code`.
    pub only: Option<String>,
}

/// A data type, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TypePlace {
    pub data_type: String,
    /// Component, sub-component.
    pub numbers: Vec<u16>,
}

/// Why a text is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Segment,
    Number,
    TooDeep,
    Bracket,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Segment => "a path begins with a segment's name and a hyphen, as in `PID-5`",
            Self::Number => "fields and components are numbers from 1, as in `PID-11.4`",
            Self::TooDeep => "a path ends at the sub-component, as in `PID-5.1.2`",
            Self::Bracket => "what stands in brackets ends the path, as in `OBX-5[TX]`",
        })
    }
}

impl Place {
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let (path, only) = match text.split_once('[') {
            None => (text, None),
            Some((path, rest)) => {
                let only = rest.strip_suffix(']').filter(|only| !only.is_empty()).ok_or(Problem::Bracket)?;
                (path, Some(only.to_owned()))
            }
        };
        let (segment, numbers) = path.split_once('-').ok_or(Problem::Segment)?;
        Ok(Self { segment: segment_name(segment).ok_or(Problem::Segment)?, numbers: parse_numbers(numbers, 3)?, only })
    }
}

impl TypePlace {
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let (data_type, numbers) = match text.split_once('.') {
            None => (text, Vec::new()),
            Some((data_type, numbers)) => (data_type, parse_numbers(numbers, 2)?),
        };
        Ok(Self { data_type: data_type.to_owned(), numbers })
    }
}

/// Three capital letters or digits.
pub(super) fn segment_name(text: &str) -> Option<[u8; 3]> {
    let name: [u8; 3] = text.as_bytes().try_into().ok()?;
    name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).then_some(name)
}

fn parse_numbers(text: &str, most: usize) -> Result<Vec<u16>, Problem> {
    let numbers: Vec<u16> = text
        .split('.')
        .map(|number| number.parse().ok().filter(|number| (1..=999).contains(number)).ok_or(Problem::Number))
        .collect::<Result<_, _>>()?;
    if numbers.len() > most { Err(Problem::TooDeep) } else { Ok(numbers) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_read_as_people_write_them() {
        let place = Place::parse("PID-11.4").unwrap();
        assert_eq!((place.segment, place.numbers, place.only), (*b"PID", vec![11, 4], None));
        assert_eq!(Place::parse("OBX-5[TX]").unwrap().only.as_deref(), Some("TX"));
        assert_eq!(TypePlace::parse("XAD.1.2").unwrap().numbers, [1, 2]);
        for (text, problem) in [
            ("PID", Problem::Segment),
            ("pid-5", Problem::Segment),
            ("PID-0", Problem::Number),
            ("PID-5.x", Problem::Number),
            ("PID-1.2.3.4", Problem::TooDeep),
            ("OBX-5[TX", Problem::Bracket),
            ("OBX-5[]", Problem::Bracket),
        ] {
            assert_eq!(Place::parse(text), Err(problem), "{text}");
        }
    }
}
