//! How a delimited file is spelled, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::FormatError;

/// The dialect of a delimited text file and how it is cut into batches.
///
/// The defaults are RFC 4180. Every separator is one ASCII character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CsvOptions {
    /// Stands between two fields.
    #[serde(with = "ascii")]
    #[schemars(with = "char")]
    pub delimiter: u8,
    /// Encloses a field that holds separators; doubled inside of it. `null`: quotes mean nothing.
    #[serde(with = "optional_ascii")]
    #[schemars(with = "Option<char>")]
    pub quote: Option<u8>,
    /// Takes the meaning from the next character inside quotes, as in `\"`. The same as the quote, or
    /// `null`: quotes are only doubled.
    #[serde(with = "optional_ascii")]
    #[schemars(with = "Option<char>")]
    pub escape: Option<u8>,
    /// Whether the first record names the columns. Otherwise they are `column_1`, `column_2` …
    pub has_header: bool,
    /// A line that begins with it is skipped.
    #[serde(with = "optional_ascii")]
    #[schemars(with = "Option<char>")]
    pub comment: Option<u8>,
    /// Texts that mean "no value", quoted or not. An unquoted empty field always means it.
    pub null_values: Vec<String>,
    /// Drop ASCII white space around every field, quoted ones included.
    pub trim: bool,
    /// Most rows of one batch.
    #[schemars(range(min = 1))]
    pub batch_rows: usize,
    /// How much text is read at once.
    #[schemars(range(min = 1, max = 268_435_456))]
    pub batch_bytes: usize,
    /// A longer record is set aside.
    #[schemars(range(min = 1, max = 268_435_456))]
    pub max_record_bytes: usize,
}

/// Views count in 32 bits and a span keeps two of them for itself.
const MOST_BYTES: usize = 1 << 28;

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: Some(b'"'),
            escape: None,
            has_header: true,
            comment: None,
            null_values: Vec::new(),
            trim: false,
            batch_rows: 32_768,
            batch_bytes: 8 << 20,
            max_record_bytes: 16 << 20,
        }
    }
}

impl CsvOptions {
    /// Refuses separators that cannot be told apart and sizes that cannot be counted.
    pub fn check(&self) -> Result<(), FormatError> {
        let separators = [
            ("delimiter", Some(self.delimiter)),
            ("quote", self.quote),
            ("escape", self.escape.filter(|e| Some(*e) != self.quote)),
            ("comment", self.comment),
        ];
        for (i, (option, byte)) in separators.iter().enumerate() {
            let Some(byte) = byte else { continue };
            let problem = if !byte.is_ascii() {
                "must be an ASCII character"
            } else if matches!(byte, b'\n' | b'\r') {
                "must not be a line end"
            } else if separators.iter().take(i).any(|(_, other)| other == &Some(*byte)) {
                "means something else already"
            } else {
                continue;
            };
            return Err(FormatError::Options { option, problem });
        }
        for (option, size) in [
            ("batch-rows", self.batch_rows),
            ("batch-bytes", self.batch_bytes),
            ("max-record-bytes", self.max_record_bytes),
        ] {
            let problem = if size == 0 {
                "must not be 0"
            } else if size > MOST_BYTES && option != "batch-rows" {
                "must be at most 268435456 (256 MiB)"
            } else {
                continue;
            };
            return Err(FormatError::Options { option, problem });
        }
        Ok(())
    }
}

/// One ASCII character, spelled as such.
mod ascii {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn byte(c: char) -> Option<u8> {
        u8::try_from(c).ok().filter(u8::is_ascii)
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(byte: &u8, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_char(char::from(*byte))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u8, D::Error> {
        byte(char::deserialize(d)?).ok_or_else(|| D::Error::custom("not an ASCII character"))
    }
}

/// One ASCII character or nothing.
mod optional_ascii {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(byte: &Option<u8>, s: S) -> Result<S::Ok, S::Error> {
        byte.map(char::from).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u8>, D::Error> {
        Option::<char>::deserialize(d)?
            .map(|c| super::ascii::byte(c).ok_or_else(|| D::Error::custom("not an ASCII character")))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn characters_are_spelled_as_characters() {
        let options: CsvOptions =
            serde_json::from_str(r#"{"delimiter": "\t", "quote": null, "null-values": ["NULL"]}"#).unwrap();
        assert_eq!(options.delimiter, b'\t');
        assert_eq!(options.quote, None);
        assert_eq!(options.batch_bytes, CsvOptions::default().batch_bytes);
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<CsvOptions>(&text).unwrap(), options);
    }

    #[test]
    fn unknown_keys_and_wide_characters_are_refused() {
        for bad in [r#"{"delimeter": ","}"#, r#"{"delimiter": "§"}"#, r#"{"quote": "''"}"#] {
            assert!(serde_json::from_str::<CsvOptions>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn separators_must_differ() {
        let check = |change: fn(&mut CsvOptions)| {
            let mut options = CsvOptions::default();
            change(&mut options);
            options.check().map_err(|e| e.to_string())
        };
        assert!(check(|o| o.escape = Some(b'"')).is_ok());
        assert!(check(|o| o.quote = Some(b',')).unwrap_err().contains("`quote`"));
        assert!(check(|o| o.comment = Some(b'"')).unwrap_err().contains("`comment`"));
        assert!(check(|o| o.delimiter = b'\n').unwrap_err().contains("line end"));
        assert!(check(|o| o.delimiter = 0xA7).unwrap_err().contains("ASCII"));
        assert!(check(|o| o.batch_rows = 0).unwrap_err().contains("batch-rows"));
        assert!(check(|o| o.max_record_bytes = 1 << 29).unwrap_err().contains("256 MiB"));
    }
}
