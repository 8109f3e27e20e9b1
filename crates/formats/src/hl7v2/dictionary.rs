//! What segments, fields and data types HL7 v2.1 to v2.8.2 has.
//!
//! The table `dictionary.txt` is written by `make_dictionary.py`. Versions are merged: a name is the newest, and where
//! the type of a field was another one in older versions, the dictionary knows until which.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::message::Segment;

/// A version of HL7 v2 (MSH-12), ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u16);

impl Version {
    /// Newer than any.
    pub const NEWEST: Self = Self(u16::MAX);

    /// The version that a text names: `2.5.1`. What names none is taken for the newest.
    pub fn of(text: &[u8]) -> Self {
        let text = std::str::from_utf8(text).unwrap_or_default().trim();
        let mut numbers = text.strip_prefix("2.").unwrap_or_default().split('.').map(str::parse::<u8>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(minor)), None, None) => Self(u16::from(minor) << 8),
            (Some(Ok(minor)), Some(Ok(patch)), None) => Self(u16::from(minor) << 8 | u16::from(patch)),
            _ => Self::NEWEST,
        }
    }
}

/// A segment and its fields.
#[derive(Debug)]
pub struct SegmentDef {
    /// `PID`.
    pub name: &'static str,
    /// In the order of their numbers.
    pub fields: Vec<FieldDef>,
}

/// A field as one version has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDef {
    /// From 1.
    pub number: usize,
    /// `patient_name`.
    pub name: &'static str,
    /// `XPN`; `varies` where another field says it.
    pub data_type: &'static str,
    pub repeats: bool,
    /// Types of older versions with the last version of each, newest first.
    older: Vec<(Version, &'static str)>,
}

impl FieldDef {
    /// All data types that it has had, the newest first.
    pub fn data_types(&self) -> impl Iterator<Item = &'static str> {
        let older = self.older.iter().map(|(_, name)| *name);
        [self.data_type].into_iter().chain(older.filter(|name| *name != self.data_type))
    }

    /// The data type in a version. A version before the field came to be has its oldest type.
    pub fn data_type_in(&self, version: Version) -> &'static str {
        let was = self.older.iter().rev().find(|(last, _)| version <= *last);
        was.map_or(self.data_type, |(_, data_type)| data_type)
    }
}

/// A data type and its components.
#[derive(Debug)]
pub struct TypeDef {
    /// `XPN`.
    pub name: &'static str,
    /// In the order of their numbers; empty for a primitive type.
    pub components: Vec<ComponentDef>,
}

/// A component of a data type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentDef {
    /// From 1.
    pub number: usize,
    /// `given_name`.
    pub name: &'static str,
    pub data_type: &'static str,
}

/// All of HL7 v2.
#[derive(Debug)]
pub struct Dictionary {
    segments: HashMap<&'static [u8], SegmentDef>,
    types: HashMap<&'static str, TypeDef>,
}

impl Dictionary {
    /// The dictionary, read on first use.
    pub fn get() -> &'static Self {
        static ALL: LazyLock<Dictionary> = LazyLock::new(|| Dictionary::read(include_str!("dictionary.txt")));
        &ALL
    }

    /// Reads the committed table. A line that does not fit is left out; a test holds the table to having none.
    fn read(text: &'static str) -> Self {
        let mut this = Self { segments: HashMap::new(), types: HashMap::new() };
        let mut definitions = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match (line.strip_prefix(' '), line.split_once(' ')) {
                (Some(field), _) => {
                    let fields = definitions.last_mut().map(|(_, _, fields): &mut (_, _, Vec<FieldDef>)| fields);
                    if let (Some(fields), Some(field)) = (fields, field_of(field)) {
                        fields.push(field);
                    }
                }
                (None, Some((kind, name))) => definitions.push((kind, name, Vec::new())),
                (None, None) => {}
            }
        }
        for (kind, name, fields) in definitions {
            if kind == "segment" {
                this.segments.insert(name.as_bytes(), SegmentDef { name, fields });
            } else {
                let component =
                    |def: FieldDef| ComponentDef { number: def.number, name: def.name, data_type: def.data_type };
                this.types.insert(name, TypeDef { name, components: fields.into_iter().map(component).collect() });
            }
        }
        let used = this.segments.values().flat_map(|segment| &segment.fields);
        let used = used.flat_map(|field| field.older.iter().map(|(_, name)| *name).chain([field.data_type]));
        let components = this.types.values().flat_map(|def| &def.components).map(|component| component.data_type);
        for name in used.chain(components).collect::<Vec<_>>() {
            this.types.entry(name).or_insert_with(|| TypeDef { name, components: Vec::new() });
        }
        this
    }

    /// The segment of this name; Z segments are nobody's but their sender's.
    pub fn segment(&self, name: impl AsRef<[u8]>) -> Option<&SegmentDef> {
        self.segments.get(name.as_ref())
    }

    /// All segments, in no order.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentDef> {
        self.segments.values()
    }

    /// A field by its number, from 1, with the data type that it has in a version.
    pub fn field(&self, segment: impl AsRef<[u8]>, number: usize, version: Version) -> Option<FieldDef> {
        let fields = &self.segment(segment)?.fields;
        let at = fields.binary_search_by_key(&number, |field| field.number).ok()?;
        let field = fields.get(at)?;
        Some(FieldDef { data_type: field.data_type_in(version), older: Vec::new(), ..*field })
    }

    /// A data type by its name, primitive ones too.
    pub fn data_type(&self, name: &str) -> Option<&TypeDef> {
        self.types.get(name)
    }

    /// The names of all data types, in no order.
    pub fn data_types(&self) -> impl Iterator<Item = &'static str> {
        self.types.keys().copied()
    }

    /// The data type of a value in a message. Where the field's own type varies, the message says it: OBX-5's stands in
    /// OBX-2, MFE-4's in MFE-5 and MFA-5's in MFA-6; `varies` where it says nothing that is a type. `None` for what is not in the dictionary.
    pub fn value_type(&self, segment: &Segment<'_>, number: usize, version: Version) -> Option<&'static str> {
        let field = self.field(segment.name(), number, version)?;
        let told = match (segment.name(), number) {
            (b"OBX", 5) => 2,
            (b"MFE", 4) => 5,
            (b"MFA", 5) => 6,
            _ => return Some(field.data_type),
        };
        let name = segment.field(told).map(|told| told.text());
        let known = name.and_then(|name| self.data_type(&name));
        Some(known.map_or("varies", |known| known.name))
    }
}

fn field_of(line: &'static str) -> Option<FieldDef> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let (name, data_type) = (words.next()?, words.next()?);
    let mut field = FieldDef { number, name, data_type, repeats: false, older: Vec::new() };
    for word in words {
        match word.split_once("<=") {
            Some((data_type, last)) => field.older.push((Version::of(last.as_bytes()), data_type)),
            None => field.repeats |= word == "*",
        }
    }
    Some(field)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::super::parse;
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let written = include_str!("dictionary.txt").lines().filter(|line| line.starts_with(' ')).count();
        let all = Dictionary::get();
        let fields: usize = all.segments().map(|segment| segment.fields.len()).sum();
        let components: usize = all.types.values().map(|def| def.components.len()).sum();
        assert_eq!(fields + components, written);
        for segment in all.segments() {
            assert!(segment.fields.is_sorted_by_key(|field| field.number));
            assert!(segment.fields.iter().all(|field| all.data_type(field.data_type).is_some()));
            assert!(segment.fields.iter().all(|field| field.older.is_sorted_by(|a, b| a.0 > b.0)));
        }
        assert!(all.segments().count() > 180);
    }

    #[test]
    fn types_are_of_their_version() {
        let birth = |version: &[u8]| Dictionary::get().field("PID", 7, Version::of(version)).unwrap().data_type;
        let types = [&b"2.1"[..], b"2.2", b"2.3.1", b"2.5.1", b"2.6", b"2.9", b"", b"v3"].map(birth);
        assert_eq!(types, ["DT", "TS", "TS", "TS", "DTM", "DTM", "DTM", "DTM"]);
        let name = Dictionary::get().field("PID", 5, Version::of(b"2.5")).unwrap();
        assert_eq!((name.number, name.name, name.data_type, name.repeats), (5, "patient_name", "XPN", true));
        let parts = &Dictionary::get().data_type("XPN").unwrap().components;
        assert_eq!((parts[1].number, parts[1].name, parts[1].data_type), (2, "given_name", "ST"));
        assert!(Dictionary::get().data_type("ST").unwrap().components.is_empty());
        assert!(Dictionary::get().field("PID", 99, Version::NEWEST).is_none());
        assert!(Dictionary::get().segment("ZPI").is_none());
        assert!(Version::of(b"2.3") < Version::of(b"2.3.1") && Version::of(b"2.3.1") < Version::of(b"2.10"));
    }

    #[test]
    fn an_observation_says_what_it_is() {
        let text = b"MSH|^~\\&\rOBX|1|XPN|||a^b\rOBX|2|canary|||c\rOBX|3\r";
        let message = parse(text).unwrap();
        let of = |index, number| {
            let segment = message.segment(index).unwrap();
            Dictionary::get().value_type(&segment, number, Version::NEWEST)
        };
        assert_eq!([of(1, 5), of(2, 5), of(3, 5)], [Some("XPN"), Some("varies"), Some("varies")]);
        assert_eq!([of(1, 3), of(1, 99)], [Some("CWE"), None]);
    }
}
