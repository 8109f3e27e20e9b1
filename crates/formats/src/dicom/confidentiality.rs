//! Table E.1-1 of PS3.15: what the Basic Application Level Confidentiality Profile and its options do with each attribute.

use std::sync::LazyLock;

use dicom_core::Tag;

/// An action code of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Removed.
    X,
    /// Zero length, or a dummy.
    Z,
    /// A dummy that is no value of a person.
    D,
    /// A UID of the same meaning in its place.
    U,
    XZ,
    XD,
    ZD,
    XZD,
    /// Removed, zero length, or a sequence whose UIDs are replaced.
    XZU,
}

impl Code {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "X" => Self::X,
            "Z" => Self::Z,
            "D" => Self::D,
            "U" => Self::U,
            "X/Z" => Self::XZ,
            "X/D" => Self::XD,
            "Z/D" => Self::ZD,
            "X/Z/D" => Self::XZD,
            "X/Z/U*" => Self::XZU,
            _ => return None,
        })
    }

    /// As the table has it.
    pub fn text(self) -> &'static str {
        match self {
            Self::X => "X",
            Self::Z => "Z",
            Self::D => "D",
            Self::U => "U",
            Self::XZ => "X/Z",
            Self::XD => "X/D",
            Self::ZD => "Z/D",
            Self::XZD => "X/Z/D",
            Self::XZU => "X/Z/U*",
        }
    }
}

/// What an option does with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionCode {
    /// Kept.
    K,
    /// Cleaned: values that identify are replaced by others of the same meaning.
    C,
}

/// A column of the table beside the Basic Profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    SafePrivate,
    Uids,
    DeviceIdentity,
    InstitutionIdentity,
    PatientCharacteristics,
    FullDates,
    ModifiedDates,
    Descriptors,
    StructuredContent,
    Graphics,
}

impl Column {
    pub const ALL: [Self; 10] = [
        Self::SafePrivate,
        Self::Uids,
        Self::DeviceIdentity,
        Self::InstitutionIdentity,
        Self::PatientCharacteristics,
        Self::FullDates,
        Self::ModifiedDates,
        Self::Descriptors,
        Self::StructuredContent,
        Self::Graphics,
    ];

    fn letter(self) -> char {
        match self {
            Self::SafePrivate => 'P',
            Self::Uids => 'U',
            Self::DeviceIdentity => 'D',
            Self::InstitutionIdentity => 'I',
            Self::PatientCharacteristics => 'C',
            Self::FullDates => 'F',
            Self::ModifiedDates => 'M',
            Self::Descriptors => 'T',
            Self::StructuredContent => 'S',
            Self::Graphics => 'G',
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The tag, with zeros where any digit may stand.
    pub tag: Tag,
    /// Which digits of the tag count.
    mask: u32,
    pub basic: Code,
    options: [Option<OptionCode>; Column::ALL.len()],
}

impl Row {
    pub fn option(&self, column: Column) -> Option<OptionCode> {
        self.options.get(column as usize).copied().flatten()
    }

    /// The row holds for all tags of a form, as that of overlay data does.
    pub fn is_pattern(&self) -> bool {
        self.mask != u32::MAX
    }
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let mut rows: Vec<Row> = include_str!("confidentiality.txt").lines().filter_map(row).collect();
    rows.sort_by_key(|row| number(row.tag));
    rows
});

/// All rows, by tag.
pub fn rows() -> &'static [Row] {
    &ROWS
}

/// The row that holds for a tag.
pub fn row_of(tag: Tag) -> Option<&'static Row> {
    let number = number(tag);
    let exact = ROWS.binary_search_by_key(&number, |row| self::number(row.tag)).ok().and_then(|at| ROWS.get(at));
    exact.or_else(|| ROWS.iter().find(|row| row.is_pattern() && number & row.mask == self::number(row.tag)))
}

fn number(tag: Tag) -> u32 {
    u32::from(tag.group()) << 16 | u32::from(tag.element())
}

fn row(line: &str) -> Option<Row> {
    let mut words = line.split(' ');
    let tag = words.next()?;
    let basic = Code::parse(words.next()?)?;
    let (value, mask) = if tag == "private" {
        // Every odd group.
        (0x0001_0000, 0x0001_0000)
    } else {
        let digits = |with: char, hex: char| -> Option<u32> {
            let text: String = tag
                .chars()
                .map(|c| {
                    if c == 'x' {
                        with
                    } else if hex == ' ' {
                        c
                    } else {
                        hex
                    }
                })
                .collect();
            u32::from_str_radix(&text, 16).ok()
        };
        (digits('0', ' ')?, digits('0', 'f')?)
    };
    let mut options = [None; Column::ALL.len()];
    for word in words {
        let mut letters = word.chars();
        let (letter, code) = (letters.next()?, letters.next()?);
        let column = Column::ALL.into_iter().find(|column| column.letter() == letter)?;
        let code = match code {
            'K' => OptionCode::K,
            'C' => OptionCode::C,
            _ => return None,
        };
        *options.get_mut(column as usize)? = Some(code);
    }
    Some(Row { tag: Tag((value >> 16) as u16, value as u16), mask, basic, options })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_row() {
        assert_eq!(rows().len(), include_str!("confidentiality.txt").lines().count());
        assert_eq!(rows().len(), 621);
        assert!(rows().iter().all(|row| row_of(row.tag).map(|found| found.tag) == Some(row.tag)));
    }

    #[test]
    fn rows_hold_for_forms_of_tags_too() {
        assert_eq!(row_of(Tag(0x6004, 0x3000)).unwrap().basic, Code::X);
        assert_eq!(row_of(Tag(0x50FE, 0x1234)).unwrap().basic, Code::X);
        assert_eq!(row_of(Tag(0x0019, 0x100C)).unwrap().option(Column::SafePrivate), Some(OptionCode::C));
        assert!(row_of(Tag(0x6004, 0x0010)).is_none());
        assert!(row_of(Tag(0x0028, 0x0010)).is_none());
        assert_eq!(row_of(Tag(0x0010, 0x0020)).unwrap().basic, Code::ZD);
    }
}
