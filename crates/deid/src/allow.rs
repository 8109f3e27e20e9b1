//! Lists of what may stay in a field that holds standard answers and typed text side by side.

use std::collections::BTreeSet;

use arrow_array::{Array, BooleanArray, StringViewArray};

use crate::kernel::trimmed;

/// Words that stand for more than themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Numbers,
    UsStates,
    Countries,
}

impl Sort {
    const ALL: [(&'static str, Self); 3] =
        [("numbers", Self::Numbers), ("us-states", Self::UsStates), ("countries", Self::Countries)];

    fn holds(self, text: &str) -> bool {
        match self {
            Self::Numbers => is_number(text),
            Self::UsStates => is_among(US_STATES, text),
            Self::Countries => is_among(COUNTRIES, text),
        }
    }
}

/// The values that may stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    sorts: BTreeSet<Sort>,
    texts: BTreeSet<String>,
}

impl Allow {
    /// `numbers`, `us-states` and `countries` stand for all of their sort, every other word for itself.
    pub(crate) fn of(list: &[String]) -> Self {
        let sort_of = |word: &String| Sort::ALL.iter().find(|(name, _)| name == word).map(|(_, sort)| *sort);
        Self {
            sorts: list.iter().filter_map(sort_of).collect(),
            texts: list.iter().filter(|word| sort_of(word).is_none()).cloned().collect(),
        }
    }

    fn allows(&self, text: &str) -> bool {
        self.texts.contains(text) || self.sorts.iter().any(|sort| sort.holds(trimmed(text)))
    }

    /// The column with every other value blank.
    pub(crate) fn apply(&self, values: &StringViewArray) -> StringViewArray {
        let refused: BooleanArray =
            values.iter().map(|value| Some(value.is_some_and(|text| !self.allows(text)))).collect();
        blanked(values, &refused)
    }

    /// For people: "numbers, us-states and 33 listed values".
    pub(crate) fn summary(&self) -> String {
        let names = Sort::ALL.iter().filter(|(_, sort)| self.sorts.contains(sort)).map(|(name, _)| (*name).to_owned());
        let listed = match self.texts.len() {
            0 => None,
            1 => Some("one listed value".to_owned()),
            count => Some(format!("{count} listed values")),
        };
        names.chain(listed).collect::<Vec<_>>().join(", ")
    }
}

/// The column without the values where `gone` is true.
pub(crate) fn blanked(values: &StringViewArray, gone: &BooleanArray) -> StringViewArray {
    let left = arrow_select::nullif::nullif(values, gone).ok();
    left.and_then(|left| left.as_any().downcast_ref::<StringViewArray>().cloned())
        .unwrap_or_else(|| StringViewArray::new_null(values.len()))
}

/// A number as results are written: at most six digits before the point, none of them a leading zero, and eight in all.
/// What is longer, or begins with zero, is the number of something: of a person, a telephone, an account, a place.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fraction_len = fraction.map_or(0, str::len);
    all_digits(whole)
        && fraction.is_none_or(|rest| !rest.is_empty() && all_digits(rest))
        && whole.len() + fraction_len > 0
        && whole.len() <= 6
        && whole.len() + fraction_len <= 8
        && (whole.len() <= 1 || !whole.starts_with('0'))
}

fn is_among(list: &str, text: &str) -> bool {
    list.split('|').any(|known| known.eq_ignore_ascii_case(text))
}

/// States, the District, territories and military addresses: codes of the Postal Service, and names; bars between them.
const US_STATES: &str = "\
    AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|\
    NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC|PR|GU|VI|\
    AS|MP|FM|MH|PW|AA|AE|AP|Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|\
    Delaware|Florida|Georgia|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|\
    Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|New Hampshire|\
    New Jersey|New Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|\
    Rhode Island|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|\
    West Virginia|Wisconsin|Wyoming|District of Columbia|Puerto Rico|Guam|Virgin Islands|\
    U.S. Virgin Islands|American Samoa|Northern Mariana Islands|Micronesia|Marshall Islands|Palau";

/// ISO 3166-1: two letters of every country; three letters and names of those that stand in records most.
const COUNTRIES: &str = "\
    AD|AE|AF|AG|AI|AL|AM|AO|AQ|AR|AS|AT|AU|AW|AX|AZ|BA|BB|BD|BE|BF|BG|BH|BI|BJ|BL|BM|\
    BN|BO|BQ|BR|BS|BT|BV|BW|BY|BZ|CA|CC|CD|CF|CG|CH|CI|CK|CL|CM|CN|CO|CR|CU|CV|CW|CX|\
    CY|CZ|DE|DJ|DK|DM|DO|DZ|EC|EE|EG|EH|ER|ES|ET|FI|FJ|FK|FM|FO|FR|GA|GB|GD|GE|GF|GG|\
    GH|GI|GL|GM|GN|GP|GQ|GR|GS|GT|GU|GW|GY|HK|HM|HN|HR|HT|HU|ID|IE|IL|IM|IN|IO|IQ|IR|\
    IS|IT|JE|JM|JO|JP|KE|KG|KH|KI|KM|KN|KP|KR|KW|KY|KZ|LA|LB|LC|LI|LK|LR|LS|LT|LU|LV|\
    LY|MA|MC|MD|ME|MF|MG|MH|MK|ML|MM|MN|MO|MP|MQ|MR|MS|MT|MU|MV|MW|MX|MY|MZ|NA|NC|NE|\
    NF|NG|NI|NL|NO|NP|NR|NU|NZ|OM|PA|PE|PF|PG|PH|PK|PL|PM|PN|PR|PS|PT|PW|PY|QA|RE|RO|\
    RS|RU|RW|SA|SB|SC|SD|SE|SG|SH|SI|SJ|SK|SL|SM|SN|SO|SR|SS|ST|SV|SX|SY|SZ|TC|TD|TF|\
    TG|TH|TJ|TK|TL|TM|TN|TO|TR|TT|TV|TW|TZ|UA|UG|UM|US|UY|UZ|VA|VC|VE|VG|VI|VN|VU|WF|\
    WS|YE|YT|ZA|ZM|ZW|USA|CAN|MEX|GBR|DEU|FRA|ESP|ITA|CHN|IND|JPN|United States|\
    United States of America|Canada|Mexico|United Kingdom|Germany|France|Spain|Italy|China|India|Japan";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_results_and_not_the_numbers_of_people() {
        for result in ["0", "0.5", ".5", "-1.25", "+3", "127.9", "250000", "7.40", "10"] {
            assert!(is_number(result), "{result}");
        }
        for number in [
            "",
            ".",
            "-",
            "5.",
            "999123456",
            "6175550123",
            "19270521",
            "02139",
            "007",
            "00",
            "-0123",
            "1e9",
            "1e309",
            "inf",
            "NaN",
            "0.617555012",
            "617555.0123",
            "1.2.3",
            "999-12-3456",
            "٣",
            "1 2",
        ] {
            assert!(!is_number(number), "{number}");
        }
    }

    #[test]
    fn a_state_is_a_state_and_nothing_besides() {
        let allow = Allow::of(&["us-states".to_owned()]);
        for state in ["MA", " ma ", "massachusetts", "New York"] {
            assert!(allow.allows(state), "{state}");
        }
        for other in ["Boston, MA 02139", "MA 02139", "Boston", "", "us-states"] {
            assert!(!allow.allows(other), "{other}");
        }
        assert_eq!(allow.summary(), "us-states");
    }
}
