//! How what is kept must look: senders put anything anywhere, names and dates into codes and attributes of layout too.

use crate::fhir::form::{is_symbol, is_word, mime};

const LONGEST_CODE: usize = 64;
const LONGEST_DISPLAY: usize = 512;
const LONGEST_LABEL: usize = 64;
const LONGEST_STRUCTURAL: usize = 16;
const LONGEST_UNIT: usize = 64;
const LONGEST_VERSION: usize = 32;
/// So many digits before the point are no result.
const MOST_WHOLE_DIGITS: usize = 7;
const LONGEST_NUMBER: usize = 16;

/// An ISO object identifier: numbers with dots between them, under one of the three roots. One that was made from a UUID
/// (2.25) names one thing and no authority.
pub(super) fn is_oid(text: &str) -> bool {
    text.len() <= 64
        && text.split('.').count() >= 4
        && text.starts_with(['0', '1', '2'])
        && !text.starts_with("2.25.")
        && text.split('.').all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A word of the standard in an attribute of a name: `EVN`, `HP WP`, `true`, `en-US`, `SHA-1`. All of them are short, and
/// those that are not truth values or languages are in capitals.
pub(super) fn is_structural(name: &str, text: &str) -> bool {
    let is_code = |word: &str| {
        word.len() <= LONGEST_STRUCTURAL
            && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
            && is_word(word)
    };
    match name {
        // Parameters of a media type may name a file.
        "mediaType" => mime(text).is_some_and(|bare| bare == text),
        "type" => {
            let (prefix, local) = text.split_once(':').unwrap_or(("", text));
            prefix.len() <= LONGEST_STRUCTURAL && is_code(local)
        }
        "lang" | "language" => text.split('-').all(|part| (1..=8).contains(&part.len()) && is_word(part)),
        "space" => matches!(text, "preserve" | "default"),
        "use" | "qualifier" => text.split_ascii_whitespace().all(is_code),
        _ => is_truth(text) || is_code(text),
    }
}

/// A code of a system that is known by its OID.
pub(super) fn is_code(text: &str) -> bool {
    text.len() <= LONGEST_CODE && is_symbol(text)
}

/// The words for a code of a system that is known by its OID.
pub(super) fn is_display(text: &str) -> bool {
    text.len() <= LONGEST_DISPLAY
}

/// The name of a code system that others than its sender know.
pub(super) fn is_system_name(text: &str) -> bool {
    let bare: String =
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    text.len() <= LONGEST_LABEL && SYSTEM_NAMES.binary_search(&bare.as_str()).is_ok()
}

/// A look of narrative: `xRowGroup Bold`, `40%`.
pub(super) fn is_look(text: &str) -> bool {
    text.len() <= LONGEST_LABEL && text.split_ascii_whitespace().all(|word| is_word(word.trim_end_matches(['%', ';'])))
}

/// The version of a template, code system or value set: a word or a date.
pub(super) fn is_version(text: &str) -> bool {
    let bare = text.trim();
    let runs = bare.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    bare.len() <= LONGEST_VERSION
        && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && runs > 0
        && (runs <= 6 || (bare.len() == 8 && runs == 8))
}

pub(super) fn is_unit(text: &str) -> bool {
    text.len() <= LONGEST_UNIT && is_symbol(text)
}

/// A number as results are written.
pub(super) fn is_quantity(text: &str) -> bool {
    let text = text.trim();
    let number = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = number.split_once(['e', 'E']).map_or((number, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, rest)| (whole, Some(rest)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= LONGEST_NUMBER
        && whole.len() + fraction.map_or(0, str::len) > 0
        && whole.len() <= MOST_WHOLE_DIGITS
        && digits(whole)
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|rest| {
            let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
            (1..=2).contains(&rest.len()) && digits(rest)
        })
}

/// A point in time as HL7 V3 writes it: `2015`, `201507221800-0500`.
pub(super) fn is_time(text: &str) -> bool {
    let text = text.trim();
    let (stamp, zone) = match text.find(['+', '-']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let (whole, fraction) = stamp.split_once('.').unwrap_or((stamp, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    matches!(whole.len(), 4 | 6 | 8 | 10 | 12 | 14)
        && digits(whole)
        && fraction.len() <= 6
        && digits(fraction)
        && (zone.is_empty() || (matches!(zone.len(), 3 | 5) && digits(zone.get(1..).unwrap_or("x"))))
}

/// A postal code of any country.
pub(super) fn is_postal_code(text: &str) -> bool {
    let text = text.trim();
    text.len() <= 10
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -".contains(&byte))
}

pub(super) fn is_truth(text: &str) -> bool {
    matches!(text.trim(), "true" | "false" | "1" | "0")
}

/// The name of a piece of narrative.
pub(super) fn is_anchor(text: &str) -> bool {
    is_word(text)
}

/// `<?xml version="1.0" encoding="UTF-8"?>` and nothing else in it.
pub(super) fn is_bare_declaration(inner: &str) -> bool {
    pseudo_attributes(inner.strip_prefix("xml").unwrap_or_default()).is_some_and(|given| {
        given.iter().all(|(name, value)| match *name {
            "version" => *value == "1.0",
            "encoding" => is_word(value),
            "standalone" => matches!(*value, "yes" | "no"),
            _ => false,
        })
    })
}

/// `<?xml-stylesheet type="text/xsl" href="CDA.xsl"?>`: a style sheet beside the document, so that nobody is asked for it.
pub(super) fn is_local_stylesheet(inner: &str) -> bool {
    let Some(rest) = inner.strip_prefix("xml-stylesheet") else { return false };
    pseudo_attributes(rest).is_some_and(|given| {
        !given.is_empty()
            && given.iter().all(|(name, value)| match *name {
                "type" => matches!(*value, "text/xsl" | "text/xml" | "text/css"),
                "href" => is_word(value) && !value.contains([':', '#']) && !value.starts_with('/'),
                _ => false,
            })
    })
}

/// `a="b" c='d'`; `None` for anything else.
fn pseudo_attributes(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut out = Vec::new();
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=')?;
        let tail = tail.trim_ascii_start();
        let quote = tail.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (value, tail) = tail.get(1..)?.split_once(quote)?;
        out.push((name.trim_ascii(), value));
        rest = tail.trim_ascii_start();
    }
    Some(out)
}

/// Letters and digits of the names of code systems that are met in documents, sorted.
const SYSTEM_NAMES: [&str; 76] = [
    "actclass",
    "actcode",
    "actpriority",
    "administrativegender",
    "cdcraceandethnicity",
    "confidentiality",
    "countryiso31661",
    "cpt",
    "cpt4",
    "cvx",
    "dischargedisposition",
    "familymember",
    "hcpcs",
    "healthcareprovidertaxonomy",
    "healthcareprovidertaxonomyhipaa",
    "healthcareservicelocation",
    "hl7actclass",
    "hl7actcode",
    "hl7actencountercode",
    "hl7actnoimmunizationreason",
    "hl7administrativegender",
    "hl7confidentiality",
    "hl7familymember",
    "hl7healthcareservicelocation",
    "hl7maritalstatus",
    "hl7observationinterpretation",
    "hl7observationvalue",
    "hl7religiousaffiliation",
    "hl7resultstatus",
    "hl7rolecode",
    "hl7table0136",
    "icd10",
    "icd10cm",
    "icd10pcs",
    "icd9",
    "icd9cm",
    "icf",
    "iso31661",
    "languageabilitymode",
    "languageabilityproficiency",
    "locationrelevance",
    "loinc",
    "maritalstatus",
    "maritalstatuscode",
    "mvx",
    "nationalcancerinstitutencithesaurus",
    "ncithesaurus",
    "ndc",
    "ndfrt",
    "nubc",
    "nucchealthcareprovidertaxonomy",
    "nullflavor",
    "observationinterpretation",
    "observationvalue",
    "occupationaldataforhealthodh",
    "participationfunction",
    "participationtype",
    "personalrelationshiproletypevalueset",
    "phinquestions",
    "phinvscdclocalcodingsystem",
    "raceandethnicitycdc",
    "raceethnicitycdc",
    "religiousaffiliation",
    "roleclass",
    "rolecode",
    "routeofadministration",
    "rxnorm",
    "sct",
    "snomed",
    "snomedct",
    "sourceofpaymenttypology",
    "sourceofpaymenttypologyhealthinsurancetypecodelist",
    "ucum",
    "umls",
    "unii",
    "yesnoindicatorhl7table0136",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_people_are_no_quantities_times_or_versions() {
        for text in ["1", "-0.5", "120", "7.40", "1e9", "1500000", ".5"] {
            assert!(is_quantity(text), "{text}");
        }
        for text in ["", ".", "999945397", "6175551234", "12/5", "1 2", "1e999", "NaN"] {
            assert!(!is_quantity(text), "{text}");
        }
        for text in ["2015", "20150722", "201507221800-0500", "20150722180000.123+01", " 2015 "] {
            assert!(is_time(text), "{text}");
        }
        for text in ["Jane", "999-94-5397", "015", "2015-07-22", "201507221800-05000", "2015-Jane"] {
            assert!(!is_time(text), "{text}");
        }
        for text in ["2014-06-09", "POCD_HD000040", "20150801", "2.1"] {
            assert!(is_version(text), "{text}");
        }
        assert!(!is_version("6175551234") && !is_version("jane@x.org"));
    }

    #[test]
    fn words_of_the_standard_are_short_and_say_nothing() {
        for (name, text) in [
            ("classCode", "OBS"),
            ("use", "HP WP"),
            ("inversionInd", "true"),
            ("type", "xsi:IVL_TS"),
            ("mediaType", "text/plain"),
            ("lang", "en-US"),
            ("integrityCheckAlgorithm", "SHA-1"),
        ] {
            assert!(is_structural(name, text), "{name} {text}");
        }
        for (name, text) in [
            ("classCode", "Jane Doe"),
            ("classCode", "jane"),
            ("classCode", "OBS JANE"),
            ("type", "Jane"),
            ("mediaType", "text/plain; name=jane"),
            ("lang", "Jane Doe"),
            ("nullFlavor", "6175551234"),
        ] {
            assert!(!is_structural(name, text), "{name} {text}");
        }
        assert!(SYSTEM_NAMES.is_sorted());
        assert!(is_system_name("SNOMED -CT") && is_system_name("LOINC") && !is_system_name("Jane Doe"));
    }

    #[test]
    fn roots_name_authorities() {
        assert!(is_oid("2.16.840.1.113883.4.1") && is_oid("1.1.1.1"));
        for text in ["2.25.329800735698586629295641978511506172918", "1.2", "db734647-fc99", "", "2..16.1", "3.1.1.1"] {
            assert!(!is_oid(text), "{text}");
        }
    }

    #[test]
    fn the_head_of_a_file_is_what_it_is_or_goes() {
        assert!(is_bare_declaration("xml version=\"1.0\" encoding='UTF-8' standalone=\"yes\""));
        assert!(!is_bare_declaration("xml version=\"1.0\" patient=\"Jane\""));
        assert!(is_local_stylesheet("xml-stylesheet type=\"text/xsl\" href=\"CDA.xsl\""));
        for text in [
            "xml-stylesheet href=\"http://x.org/a.xsl\"",
            "xml-stylesheet href=\"//x.org/a.xsl\"",
            "xml-stylesheet href=\"a.xsl\" title=\"Jane Doe\"",
            "xml-stylesheet href=\"a.xsl?p=Jane Doe\"",
            "xml-stylesheet Jane",
            "other href=\"a.xsl\"",
        ] {
            assert!(!is_local_stylesheet(text), "{text}");
        }
    }
}
