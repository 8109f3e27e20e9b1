//! What a coded value must look like: senders put anything anywhere, names and dates into fields for codes too.

/// Coding systems of HL7 table 0396 that are met in messages, without those of the patterns below.
const SYSTEMS: [&str; 58] = [
    "ACR",
    "ART",
    "AS4",
    "ATC",
    "C4",
    "C5",
    "CAS",
    "CD2",
    "CDCA",
    "CDCM",
    "CDCREC",
    "CDS",
    "CPT",
    "CPTM",
    "CPT4",
    "CVX",
    "DCM",
    "DRG",
    "E",
    "FDK",
    "FDDC",
    "HCPCS",
    "HI",
    "HPC",
    "I10",
    "I10C",
    "I10P",
    "I9",
    "I9C",
    "I9CDX",
    "I9CP",
    "IC10",
    "ICD10",
    "ICD10CM",
    "ICD9",
    "ICD9CM",
    "ICDO3",
    "ISO",
    "ISO+",
    "ISO3166",
    "L",
    "LB",
    "LN",
    "LOINC",
    "MVX",
    "NDC",
    "NIP001",
    "NUBC",
    "POS",
    "RXNORM",
    "SCT",
    "SCT2",
    "SNM",
    "SNM3",
    "SNOMED-CT",
    "UCUM",
    "UNII",
    "UPC",
];

/// The longest entry of a user's table.
const LONGEST: usize = 24;

/// So many digits in a row are a date, a phone or a number of somebody.
const DIGITS: usize = 6;

/// Whether a text is the name of a coding system: of table 0396, of HL7's own tables, a local one (`99…`), or an OID.
pub(super) fn is_system(text: &str) -> bool {
    let text = text.trim();
    let upper = text.to_ascii_uppercase();
    let is_number =
        |rest: &str, most: usize| (1..=most).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_digit());
    SYSTEMS.contains(&upper.as_str())
        || upper.strip_prefix("HL7").is_some_and(|rest| is_number(rest.trim_start_matches(['_', '-']), 4))
        || upper.strip_prefix("PHVS_").is_some_and(is_entry)
        || upper
            .strip_prefix("99")
            .is_some_and(|rest| (1..=6).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphabetic()))
        || is_oid(text)
}

/// An ISO object identifier: numbers with dots between them, under one of the three roots.
fn is_oid(text: &str) -> bool {
    text.len() <= 64
        && text.split('.').count() >= 4
        && text.starts_with(['0', '1', '2'])
        && text.split('.').all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a text may be the entry of a table: one short word, without a run of digits that could be a date or a number of
/// somebody.
pub(super) fn is_entry(text: &str) -> bool {
    let mut run = 0;
    !text.is_empty()
        && text.len() <= LONGEST
        && text.bytes().all(|byte| {
            run = if byte.is_ascii_digit() { run + 1 } else { 0 };
            byte.is_ascii_graphic() && byte != b'@' && run < DIGITS
        })
}

/// Whether a text is a date or time as HL7 v2 writes them (2.A.22, 2.A.21): digits, a fraction, an offset.
pub(super) fn is_time(text: &str) -> bool {
    let digits = |text: &str, least: usize, most: usize| {
        (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let text = text.trim();
    let (time, offset) = match text.find(['+', '-']) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    };
    let (whole, fraction) = time.split_once('.').map_or((time, None), |(whole, fraction)| (whole, Some(fraction)));
    digits(whole, 2, 14)
        && fraction.is_none_or(|text| digits(text, 1, 6))
        && offset.is_none_or(|text| digits(text, 2, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_digits() {
        for time in ["2024", "20240105", "202401051230", "20240105123059.1234-0500", "1230", "12+0100"] {
            assert!(is_time(time), "{time}");
        }
        for other in ["", "Jane", "2024-01-05", "5 Elm St", "617-555-0101", "20240105 Jane", "123456789012345"] {
            assert!(!is_time(other), "{other}");
        }
    }

    #[test]
    fn systems_are_known_by_name_or_pattern() {
        for system in ["LN", "ln", "HL70005", "HL7_0005", "99LAB", "L", "2.16.840.1.113883.6.1", "ISO+"] {
            assert!(is_system(system), "{system}");
        }
        for other in ["Minnie", "Detroit", "", "HL7", "99", "1.2", "20160308", "2.16.840.x", "6175551234"] {
            assert!(!is_system(other), "{other}");
        }
    }

    #[test]
    fn entries_are_short_words() {
        for entry in ["M", "Outpatient", "2106-3", "ROUTINE/STAT", "I48.91"] {
            assert!(is_entry(entry), "{entry}");
        }
        for other in
            ["", "20160308", "1 Elm St", "jane@x.org", "8075000001", "Müller", "averyveryverylongsurnameindeed"]
        {
            assert!(!is_entry(other), "{other}");
        }
    }
}
