//! Attributes as people write them: `PatientName`, `(0010,0010)`, `RequestAttributesSequence.(0040,1001)`,
//! `(0019,[SIEMENS MR HEADER]0C)`, `PatientID[HOSPITAL]`.

use std::fmt;

use cordon_formats::dicom::{Tag, VR, attribute, parse_tag, tag_of};

/// A place in a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The sequences that it stands in, the innermost last; none for wherever it stands.
    pub within: Vec<Tag>,
    pub name: Name,
    /// What stands in brackets behind: for identities the issuer (0010,0021) of the identifier.
    pub issuer: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Standard(Tag),
    /// Of a private group: the creator of its block, and the number in the block.
    Private {
        group: u16,
        creator: String,
        element: u8,
    },
}

/// Why a text is no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Unknown(String),
    Private,
    NotASequence,
    Bracket,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "`{name}` is no attribute of DICOM"),
            Self::Private => {
                f.write_str("a private attribute is named by its creator, as in `(0019,[SIEMENS MR HEADER]0C)`")
            }
            Self::NotASequence => f.write_str("what stands before a dot is a sequence"),
            Self::Bracket => f.write_str("what stands in brackets ends the path, as in `PatientID[HOSPITAL]`"),
        }
    }
}

impl Place {
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(name) = private(text)? {
            return Ok(Self { within: Vec::new(), name, issuer: None });
        }
        let (path, issuer) = match text.split_once('[') {
            None => (text, None),
            Some((path, rest)) => {
                let issuer = rest.strip_suffix(']').filter(|issuer| !issuer.is_empty()).ok_or(Problem::Bracket)?;
                (path, Some(issuer.to_owned()))
            }
        };
        let mut tags = path.split('.').map(standard).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = tags.pop() else { return Err(Problem::Unknown(String::new())) };
        if tags.iter().any(|tag| attribute(*tag).is_none_or(|attribute| attribute.vr != VR::SQ)) {
            return Err(Problem::NotASequence);
        }
        Ok(Self { within: tags, name: Name::Standard(last), issuer })
    }

    pub fn tag(&self) -> Option<Tag> {
        match &self.name {
            Name::Standard(tag) => Some(*tag),
            Name::Private { .. } => None,
        }
    }
}

fn standard(text: &str) -> Result<Tag, Problem> {
    let tag = match parse_tag(text) {
        Some(tag) if tag.group() % 2 == 1 => return Err(Problem::Private),
        Some(tag) => attribute(tag).map(|_| tag),
        None => tag_of(text),
    };
    tag.ok_or_else(|| Problem::Unknown(text.to_owned()))
}

/// `(gggg,[CREATOR]ee)`
fn private(text: &str) -> Result<Option<Name>, Problem> {
    let Some((group, rest)) = text.strip_prefix('(').and_then(|rest| rest.split_once(",[")) else { return Ok(None) };
    let parse = || {
        let (creator, element) = rest.strip_suffix(')')?.rsplit_once(']')?;
        let hex = |text: &str, length: usize| {
            let fits = text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            u16::from_str_radix(text, 16).ok().filter(|_| fits)
        };
        let group = hex(group, 4).filter(|group| group % 2 == 1)?;
        let element = u8::try_from(hex(element, 2)?).ok()?;
        let creator = creator.trim();
        (!creator.is_empty()).then(|| Name::Private { group, creator: creator.to_owned(), element })
    };
    parse().map(Some).ok_or(Problem::Private)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn places_are_read() {
        assert_eq!(Place::parse("PatientName").unwrap().tag(), Some(Tag(0x10, 0x10)));
        assert_eq!(Place::parse("(0010,0010)"), Place::parse("PatientName"));
        let deep = Place::parse("OtherPatientIDsSequence.PatientID[A B]").unwrap();
        assert_eq!((deep.within, deep.issuer.as_deref()), (vec![Tag(0x10, 0x1002)], Some("A B")));
        let private = Place::parse("(0019,[SIEMENS MR HEADER]0C)").unwrap().name;
        assert_eq!(private, Name::Private { group: 0x19, creator: "SIEMENS MR HEADER".to_owned(), element: 0x0C });
    }

    #[test]
    fn what_is_none_is_told() {
        assert_eq!(Place::parse("PatientNam"), Err(Problem::Unknown("PatientNam".to_owned())));
        assert_eq!(Place::parse("PatientName.PatientID"), Err(Problem::NotASequence));
        assert_eq!(Place::parse("(0019,100C)"), Err(Problem::Private));
        assert_eq!(Place::parse("(0018,[X]0C)"), Err(Problem::Private));
        assert_eq!(Place::parse("PatientID[]"), Err(Problem::Bracket));
    }
}
