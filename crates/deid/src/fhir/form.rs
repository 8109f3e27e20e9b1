//! How a text must look to stay.
//!
//! A rule that keeps a type trusts that its values are what the type is for. FHIR's own grammar of a code lets a whole
//! sentence through, so what is kept as a code, a unit or an address is held to less than the grammar allows: what is of
//! another form does not stay, and is counted as undeclared.

use cordon_formats::fhir::{ElementDef, TypeDef};

/// The form of a kept text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Whatever it is: the policy keeps this very element.
    Any,
    /// A code of one of FHIR's own short lists: `male`, `en-US`, `4.0.1`.
    Word,
    /// A code of any other list: no white space.
    Symbol,
    /// A media type; its parameters, which may name a file, are left out.
    Mime,
    /// The words for a code. Without the code they are what somebody typed.
    Display,
    /// The words for a unit; without its code, one word.
    Unit,
    /// An address of a vocabulary.
    Uri,
    /// The address of a definition, or a contained one.
    Canonical,
    /// The name of a resource type.
    TypeName,
    /// The name of a town, county, state or country.
    Place,
    /// A postal code of any country.
    Postal,
    /// A time of the day.
    Time,
    /// A date, or a date with its time.
    Date,
    /// A text in base64, as the media type beside it says. Not kept: its pieces are gathered.
    Attached,
    /// XHTML. Not kept: its pieces are gathered.
    Narrative,
    /// A postal code of the United States: the first digits of another country's stand for another number of people.
    Zip,
}

const LONGEST_WORD: usize = 64;
const LONGEST_SYMBOL: usize = 128;
const LONGEST_URI: usize = 256;
const LONGEST_UNIT: usize = 64;
const LONGEST_PLACE: usize = 48;
/// More digits in a row are no part of a word: a number of somebody or something.
const MOST_DIGITS: usize = 4;

impl Form {
    /// The form of a document that holds running text, for a rule that scrubs it.
    pub(super) fn of_document(def: &TypeDef, element: &ElementDef, type_name: &str) -> Option<Self> {
        match (def.name, element.name, type_name) {
            ("Attachment" | "Binary", "data", "base64Binary") => Some(Self::Attached),
            (_, _, "xhtml") => Some(Self::Narrative),
            _ => None,
        }
    }

    /// The form of an element that is kept. `named`: by a path of its own, and not by its type or by what it is in.
    pub(super) fn of(def: &TypeDef, element: &ElementDef, type_name: &str, named: bool) -> Self {
        match (def.name, element.name, type_name) {
            ("Coding", "display", _) if !named => Self::Display,
            ("Coding" | "Quantity" | "Age" | "Duration" | "Count" | "Distance", "system", _) => Self::Uri,
            ("Quantity" | "Age" | "Duration" | "Count" | "Distance", "unit", _) => Self::Unit,
            ("Address", "state" | "country" | "city" | "district", _) => Self::Place,
            ("Address", "postalCode", _) => Self::Postal,
            ("Reference", "type", _) => Self::TypeName,
            (_, "contentType" | "targetFormat" | "sigFormat", "code") if !element.many => Self::Mime,
            ("Coding", "version", _) | (_, "linkId", _) | (_, "code", "code") => Self::Symbol,
            (_, _, "code") => Self::Word,
            (_, _, "canonical") => Self::Canonical,
            (_, _, "time") => Self::Time,
            (_, _, "date" | "dateTime" | "instant") => Self::Date,
            _ => Self::Any,
        }
    }
}

/// A code of FHIR's own lists.
pub(crate) fn is_word(text: &str) -> bool {
    let mut digits = 0;
    (1..=LONGEST_WORD).contains(&text.len())
        && text.bytes().all(|byte| {
            digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
            digits <= MOST_DIGITS && (byte.is_ascii_alphanumeric() || b"-_.:/+<>=!#".contains(&byte))
        })
}

/// A code of any list.
pub(crate) fn is_symbol(text: &str) -> bool {
    (1..=LONGEST_SYMBOL).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A media type without its parameters; `None` when it is none.
pub(crate) fn mime(text: &str) -> Option<&str> {
    const TOP: [&str; 10] =
        ["application", "audio", "example", "font", "image", "message", "model", "multipart", "text", "video"];
    let bare = text.split(';').next()?.trim_end();
    let (top, sub) = bare.split_once('/')?;
    let known = TOP.iter().any(|known| known.eq_ignore_ascii_case(top));
    (known && !sub.is_empty() && is_word(bare) && !sub.contains('/')).then_some(bare)
}

pub(super) fn is_uri(text: &str) -> bool {
    (1..=LONGEST_URI).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'?'))
}

/// `coded`: its system and code stand beside it.
pub(super) fn is_unit(text: &str, coded: bool) -> bool {
    text.len() <= LONGEST_UNIT && (coded || !text.contains(char::is_whitespace))
}

pub(crate) fn is_place(text: &str) -> bool {
    text.len() <= LONGEST_PLACE && !text.contains(|character: char| character.is_numeric() || character == '@')
}

/// A short word of digits, letters and hyphens, or two, with a digit in it.
pub(super) fn is_postal(text: &str) -> bool {
    (3..=10).contains(&text.len())
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-'))
}

/// R4, datatypes.html#time, as far as no value can hide in it.
pub(super) fn is_time(text: &str) -> bool {
    (5..=18).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'))
        && text.as_bytes().get(2) == Some(&b':')
        && text.as_bytes().get(5).is_none_or(|byte| *byte == b':')
}

/// R4, datatypes.html#dateTime, in any of its precisions.
pub(super) fn is_date(text: &str) -> bool {
    let shaped = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                other => byte == other,
            })
    };
    let (day, time) = text.split_once('T').map_or((text, None), |(day, time)| (day, Some(time)));
    let Some(time) = time else { return ["0000", "0000-00", "0000-00-00"].iter().any(|shape| shaped(day, shape)) };
    let (time, zone) = time.find(['Z', '+', '-']).map_or((time, "Z"), |at| time.split_at(at));
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    shaped(day, "0000-00-00")
        && (shaped(whole, "00:00:00") || shaped(whole, "00:00"))
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && (zone == "Z" || shaped(zone, "+00:00") || shaped(zone, "-00:00"))
}

/// Whether a country has ZIP codes of the United States Postal Service.
pub(crate) fn has_zip_codes(country: &str) -> bool {
    const NAMES: [&str; 12] = [
        "US",
        "USA",
        "U.S.",
        "U.S.A.",
        "United States",
        "United States of America",
        "840",
        "PR",
        "GU",
        "VI",
        "AS",
        "MP",
    ];
    let country = country.trim();
    country.is_empty() || NAMES.iter().any(|name| name.eq_ignore_ascii_case(country))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_and_numbers_are_no_words() {
        for word in ["male", "en-US", "4.0.1", "entered-in-error", "<=", "text/fhirpath", "USD"] {
            assert!(is_word(word), "{word}");
        }
        for text in ["", "John Smith", "999-94-5397 ", "999945397", "john@x.org", "Müller", "a\tb"] {
            assert!(!is_word(text), "{text}");
        }
        for symbol in ["718-7", "10*3/uL", "{score}", "[in_i'H2O]", "731000124108", "https://x.gov/a_b"] {
            assert!(is_symbol(symbol), "{symbol}");
        }
        assert!(!is_symbol("per Dr Smith"));
    }

    #[test]
    fn media_types_lose_their_parameters() {
        assert_eq!(mime("application/pdf; name=John_Smith.pdf"), Some("application/pdf"));
        assert_eq!(mime("text/plain;charset=utf-8"), Some("text/plain"));
        assert_eq!(mime("application/fhir+json"), Some("application/fhir+json"));
        for text in ["John Smith", "pdf", "john/smith", "text/", "image/a b", "text/a/b", ""] {
            assert_eq!(mime(text), None, "{text}");
        }
    }

    #[test]
    fn places_times_and_units_hold_no_numbers() {
        assert!(is_place("Saint Andrew Parish") && !is_place("02139") && !is_place("call 555"));
        for date in ["2024", "2024-01", "2024-01-05", "2024-01-05T12:30:00Z", "2024-01-05T12:30:00.123-05:00"] {
            assert!(is_date(date), "{date}");
        }
        for other in ["", "Jane", "24-01-05", "2024-01-05 Jane", "2024-01-05T", "2024-01-05T12:30:00Jane", "6175550101"]
        {
            assert!(!is_date(other), "{other}");
        }
        assert!(is_postal("02139-1234") && is_postal("SW1A 1AA") && !is_postal("1 Elm Street") && !is_postal("Boston"));
        assert!(is_time("08:00:00") && is_time("23:59:60.125") && !is_time("1234567890") && !is_time("08:00 Jo"));
        assert!(is_unit("mmHg", false) && is_unit("per 100 cells", true) && !is_unit("per Dr Smith", false));
        assert!(has_zip_codes("usa") && has_zip_codes(" United States ") && has_zip_codes("PR"));
        assert!(!has_zip_codes("FR") && !has_zip_codes("Mexico"));
    }
}
