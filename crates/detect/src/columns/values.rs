//! What one value of a column looks like, taken whole.

use core::net::IpAddr;

use cordon_phi::IdentifierKind;

use crate::checksum;
use crate::lexicon::{Lexicon, Tags};

/// Looks that a value can have; one may have several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum Value {
    Date,
    Ssn,
    Phone,
    Email,
    Url,
    Ip,
    Uuid,
    Npi,
    Mbi,
    Vin,
    Card,
    Zip,
    Street,
    State,
    Gender,
    Code,
    Boolean,
    Money,
    Year,
    Integer,
    Decimal,
    Latitude,
    Given,
    Surname,
    FullName,
    City,
    Prose,
    /// Letters and digits in one piece.
    Token,
    /// Ends or begins as places of care and companies are called.
    Organization,
    /// Ordinary words, and no word that is a name alone.
    Words,
    Base64,
}

const LOOKS: usize = Value::Base64 as usize + 1;

/// Kinds that the look alone decides, the most telling first.
pub(super) const SURE: &[(Value, IdentifierKind, &str)] = &[
    (Value::Ssn, IdentifierKind::Ssn, "value-ssn"),
    (Value::Email, IdentifierKind::Email, "value-email"),
    (Value::Url, IdentifierKind::Url, "value-url"),
    (Value::Ip, IdentifierKind::IpAddress, "value-ip"),
    (Value::Mbi, IdentifierKind::HealthPlanId, "value-mbi"),
    (Value::Vin, IdentifierKind::VehicleId, "value-vin"),
    (Value::Phone, IdentifierKind::Phone, "value-phone"),
    (Value::Date, IdentifierKind::ServiceDate, "value-date"),
    (Value::Street, IdentifierKind::StreetAddress, "value-street"),
    (Value::Card, IdentifierKind::AccountNumber, "value-card"),
];

/// Kinds that the look makes likely where the name of the column says nothing: least share, and how sure at all values.
pub(super) const LIKELY: &[(Value, IdentifierKind, &str, f32, f32)] = &[
    (Value::Uuid, IdentifierKind::UniqueId, "value-uuid", 0.8, 0.8),
    (Value::Boolean, IdentifierKind::Operational, "value-boolean", 0.95, 0.6),
    (Value::Gender, IdentifierKind::Demographic, "value-gender", 0.9, 0.7),
    (Value::State, IdentifierKind::State, "value-state", 0.9, 0.75),
    (Value::Code, IdentifierKind::Clinical, "value-code", 0.7, 0.7),
    (Value::Npi, IdentifierKind::ProviderId, "value-npi", 0.9, 0.7),
    (Value::Base64, IdentifierKind::FreeText, "value-base64", 0.8, 0.6),
    (Value::Prose, IdentifierKind::FreeText, "prose", 0.3, 0.8),
    (Value::FullName, IdentifierKind::Name, "value-full-name", 0.4, 0.9),
    (Value::Given, IdentifierKind::Name, "value-given-name", 0.4, 0.8),
    (Value::Surname, IdentifierKind::Name, "value-surname", 0.4, 0.7),
    (Value::City, IdentifierKind::City, "value-city", 0.4, 0.7),
    (Value::Zip, IdentifierKind::PostalCode, "value-zip", 0.95, 0.5),
    (Value::Money, IdentifierKind::Financial, "value-money", 0.8, 0.5),
];

/// Whether values look as the column's name says: the share that does, and the rule's name.
pub(super) fn agree(kind: IdentifierKind, values: &Values, looked: u64) -> Option<(f32, &'static str)> {
    use IdentifierKind as K;
    let looks: &[(Value, &'static str)] = match kind {
        K::Name => &[
            (Value::FullName, "value-full-name"),
            (Value::Given, "value-given-name"),
            (Value::Surname, "value-surname"),
        ],
        K::StreetAddress => &[(Value::Street, "value-street")],
        K::City | K::County => &[(Value::City, "value-city")],
        K::PostalCode => &[(Value::Zip, "value-zip")],
        K::GeoCoordinate => &[(Value::Latitude, "value-coordinate")],
        K::BirthDate | K::DeathDate | K::ServiceDate => {
            &[(Value::Date, "value-date"), (Value::Year, "value-year"), (Value::Integer, "value-integer")]
        }
        K::Age => &[(Value::Integer, "value-integer")],
        K::Phone | K::Fax => &[(Value::Phone, "value-phone")],
        K::Email => &[(Value::Email, "value-email")],
        K::Ssn => &[(Value::Ssn, "value-ssn")],
        K::Url => &[(Value::Url, "value-url")],
        K::State => &[(Value::State, "value-state")],
        K::Demographic => &[(Value::Gender, "value-gender"), (Value::Code, "value-code")],
        K::Clinical => {
            &[(Value::Code, "value-code"), (Value::Decimal, "value-decimal"), (Value::Integer, "value-integer")]
        }
        K::Financial => {
            &[(Value::Money, "value-money"), (Value::Decimal, "value-decimal"), (Value::Integer, "value-integer")]
        }
        K::FreeText => &[(Value::Prose, "prose"), (Value::Base64, "value-base64")],
        K::Operational => &[(Value::Boolean, "value-boolean"), (Value::Integer, "value-integer")],
        K::MedicalRecordNumber
        | K::HealthPlanId
        | K::AccountNumber
        | K::LicenceNumber
        | K::DeviceId
        | K::UniqueId
        | K::ProviderId => &[
            (Value::Uuid, "value-uuid"),
            (Value::Npi, "value-npi"),
            (Value::Integer, "value-integer"),
            (Value::Token, "value-token"),
        ],
        _ => &[],
    };
    looks
        .iter()
        .map(|(value, rule)| (values.share(*value, looked), *rule))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(share, _)| *share >= 0.2)
}

pub(super) struct Values {
    counts: [u64; LOOKS],
    lexicon: &'static Lexicon,
}

impl Values {
    pub fn new(lexicon: &'static Lexicon) -> Self {
        Self { counts: [0; LOOKS], lexicon }
    }

    pub fn share(&self, value: Value, looked: u64) -> f32 {
        let count = self.counts.get(value as usize).copied().unwrap_or(0);
        count as f32 / looked.max(1) as f32
    }

    fn hit(&mut self, value: Value) {
        if let Some(count) = self.counts.get_mut(value as usize) {
            *count += 1;
        }
    }

    /// Looks at the first few hundred bytes: no identifier is longer, and prose shows at once.
    pub fn add(&mut self, value: &str) {
        let bytes = value.as_bytes();
        let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
        let letters = bytes.iter().take(400).filter(|byte| byte.is_ascii_alphabetic() || **byte >= 0x80).count();
        let blanks = bytes.iter().take(400).filter(|byte| byte.is_ascii_whitespace()).count();
        if is_standard_text(value) {
            self.hit(Value::Code);
            return;
        }
        if blanks >= 5 && letters > 20 || bytes.len() > 100 && blanks >= 3 {
            self.hit(Value::Prose);
            return;
        }
        if bytes.len() > 256 {
            let base64 = blanks == 0
                && bytes.iter().take(256).all(|byte| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte));
            self.hit(if base64 { Value::Base64 } else { Value::Prose });
            return;
        }
        match (letters, digits) {
            (0, 0) => {}
            (0, _) => self.number(value, digits),
            _ => self.text(value, digits, letters, blanks),
        }
        if date(bytes) {
            self.hit(Value::Date);
        }
    }

    fn number(&mut self, value: &str, digits: usize) {
        let bytes = value.as_bytes();
        let whole = digits == bytes.len();
        let tail = value.strip_prefix(['-', '+']).unwrap_or(value);
        let figure = tail.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && tail.matches('.').count() == 1;
        if whole || tail.bytes().all(|byte| byte.is_ascii_digit()) {
            self.hit(Value::Integer);
        } else if figure && digits > 0 {
            self.hit(Value::Decimal);
            let places = tail.split_once('.').map_or(0, |(_, places)| places.len());
            if places == 2 {
                self.hit(Value::Money);
            }
            if places >= 4 && tail.parse::<f64>().is_ok_and(|degrees| degrees <= 180.0) {
                self.hit(Value::Latitude);
            }
        }
        if value.starts_with('$') {
            self.hit(Value::Money);
        }
        if whole && digits == 4 && (value.starts_with("19") || value.starts_with("20")) {
            self.hit(Value::Year);
        }
        let zip4 = shape(bytes, b"99999-9999");
        if whole && digits == 5 || zip4 {
            self.hit(Value::Zip);
        }
        if shape(bytes, b"999-99-9999") {
            self.hit(Value::Ssn);
        }
        if whole && checksum::npi(bytes) {
            self.hit(Value::Npi);
        }
        if whole && matches!(digits, 15 | 16) && checksum::luhn(bytes) {
            self.hit(Value::Card);
        }
        let phone = !whole
            && !zip4
            && (10..=15).contains(&digits)
            && bytes.iter().all(|byte| byte.is_ascii_digit() || b" ()-.+/".contains(byte))
            && !date(bytes)
            && !figure
            && value.parse::<IpAddr>().is_err();
        if phone || [&b"999-9999"[..], b"555-9999"].iter().any(|pattern| shape(bytes, pattern)) {
            self.hit(Value::Phone);
        }
        if value.parse::<IpAddr>().is_ok() {
            self.hit(Value::Ip);
        }
        // LOINC: digits, hyphen, check digit.
        if digits <= 8 && (3..=7).contains(&bytes.len().saturating_sub(1)) && loinc(bytes) {
            self.hit(Value::Code);
        }
        if matches!(value, "0" | "1") {
            self.hit(Value::Boolean);
        }
    }

    fn text(&mut self, value: &str, digits: usize, letters: usize, blanks: usize) {
        let bytes = value.as_bytes();
        let tags = |word: &str| self.lexicon.look_up(word.as_bytes()).1;
        if email(value) {
            return self.hit(Value::Email);
        }
        if value.contains("://") || value.starts_with("www.") {
            return self.hit(Value::Url);
        }
        if shape(bytes, b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") || value.strip_prefix("urn:uuid:").is_some() {
            return self.hit(Value::Uuid);
        }
        if value.parse::<IpAddr>().is_ok() {
            return self.hit(Value::Ip);
        }
        if ["true", "false", "yes", "no", "y", "n", "t", "f"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
            self.hit(Value::Boolean);
        }
        if ["m", "f", "male", "female", "u", "unknown", "other", "o"]
            .iter()
            .any(|word| value.eq_ignore_ascii_case(word))
        {
            self.hit(Value::Gender);
        }
        if blanks == 0 {
            if digits > 0
                && letters > 0
                && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(byte))
            {
                self.hit(Value::Token);
            }
            if bytes.len() == 17 && checksum::vin(bytes) {
                self.hit(Value::Vin);
            }
            let bare: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'-').collect();
            if crate::recognise::is_mbi(&bare) {
                self.hit(Value::Mbi);
            }
            if icd(bytes) {
                self.hit(Value::Code);
            }
        }
        let words: Vec<&str> =
            value.split([' ', ',']).map(|word| word.trim_end_matches('.')).filter(|word| !word.is_empty()).collect();
        let street = digits > 0
            && bytes.first().is_some_and(u8::is_ascii_digit)
            && words.len() >= 3
            && words.iter().skip(2).any(|word| tags(word).has(Tags::STREET))
            || value.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("po ") || head.eq_ignore_ascii_case("p.o"));
        if street {
            return self.hit(Value::Street);
        }
        if let [one] = words.as_slice() {
            // Synthetic exports hang numbers to names: `Anderson154`.
            let bare = one.trim_end_matches(|c: char| c.is_ascii_digit());
            let tags = tags(bare);
            if tags.has(Tags::STATE) && (bare.len() > 2 || bare.bytes().all(|byte| byte.is_ascii_uppercase())) {
                self.hit(Value::State);
            }
            if tags.has(Tags::GIVEN) {
                self.hit(Value::Given);
            }
            if tags.has(Tags::SURNAME) {
                self.hit(Value::Surname);
            }
        } else if words.len() <= 4
            && words.iter().all(|word| word.chars().all(|c| c.is_alphabetic() || "'-".contains(c)))
        {
            let known = |word: &&str| tags(word).has(Tags::GIVEN.or(Tags::SURNAME)) && !tags(word).has(Tags::COMMON);
            let states = ["new ", "north ", "south ", "west ", "rhode "];
            if states.iter().any(|head| value.get(..head.len()).is_some_and(|start| start.eq_ignore_ascii_case(head)))
                && words.len() == 2
            {
                self.hit(Value::State);
            } else if words.iter().filter(|word| known(word)).count() >= 1
                && words.iter().all(|word| {
                    word.chars().next().is_some_and(char::is_uppercase)
                        && !tags(word).has(Tags::DRUG.or(Tags::EPONYM_NOUN))
                })
            {
                self.hit(Value::FullName);
            }
        }
        let facility = Tags::FACILITY.or(Tags::COMPANY);
        if words.len() > 1 && words.iter().skip(1).any(|word| tags(word).has(facility)) {
            self.hit(Value::Organization);
        }
        let ordinary =
            Tags::COMMON.or(Tags::DRUG).or(Tags::SPECIALTY).or(Tags::MEASURE).or(Tags::EPONYM_NOUN).or(Tags::FACILITY);
        let mut parts = value.split(|c: char| !c.is_alphanumeric()).filter(|part| part.len() > 1).map(&tags);
        if digits == 0
            && parts.clone().any(|tags| tags.has(ordinary))
            && !parts.any(|tags| tags.has(Tags::GIVEN.or(Tags::SURNAME)) && !tags.has(ordinary))
        {
            self.hit(Value::Words);
        }
        if self.lexicon.is_city(value) {
            self.hit(Value::City);
        }
    }
}

/// `9` a digit, `x` a hexadecimal one, others themselves.
fn shape(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.len() == pattern.len()
        && bytes.iter().zip(pattern).all(|(byte, place)| match place {
            b'9' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_hexdigit(),
            place => byte == place,
        })
}

fn part(bytes: &[u8], from: usize, to: usize) -> u32 {
    bytes.get(from..to).and_then(crate::recognise::digits).unwrap_or(0)
}

/// ISO 8601 with or without a time, US dates, and HL7's run of digits.
fn date(bytes: &[u8]) -> bool {
    let day = |month: u32, day: u32| (1..=12).contains(&month) && (1..=31).contains(&day);
    let year = |year: u32| (1850..2200).contains(&year);
    if bytes.len() >= 10
        && [&b"9999-99-99"[..], b"9999/99/99"].iter().any(|pattern| shape(bytes.get(..10).unwrap_or_default(), pattern))
    {
        return year(part(bytes, 0, 4)) && day(part(bytes, 5, 7), part(bytes, 8, 10)) && bytes.len() <= 40;
    }
    if matches!(bytes.len(), 8 | 12 | 14) && bytes.iter().all(u8::is_ascii_digit) {
        return (1900..2100).contains(&part(bytes, 0, 4)) && day(part(bytes, 4, 6), part(bytes, 6, 8));
    }
    let mut parts = bytes.splitn(3, |byte| matches!(byte, b'/' | b'-'));
    let (Some(a), Some(b), Some(c)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let (a, b) = (crate::recognise::digits(a), crate::recognise::digits(b));
    let lead = c.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest_is_time = c.get(lead..).is_some_and(|rest| rest.is_empty() || rest.starts_with(b" "));
    matches!(lead, 2 | 4) && rest_is_time && a.zip(b).is_some_and(|(a, b)| day(a, b) || day(b, a)) && bytes.len() <= 24
}

/// What the terms of SNOMED CT end with.
const SEMANTIC_TAGS: &[&str] = &[
    "assessment scale",
    "body structure",
    "cell",
    "clinical drug",
    "disorder",
    "environment",
    "event",
    "finding",
    "geographic location",
    "medicinal product",
    "morphologic abnormality",
    "observable entity",
    "occupation",
    "organism",
    "person",
    "physical force",
    "physical object",
    "procedure",
    "product",
    "qualifier value",
    "record artifact",
    "regime/therapy",
    "situation",
    "social concept",
    "specimen",
    "staging scale",
    "substance",
    "tumor staging",
];

/// A term of SNOMED CT in full: `Acute bronchitis (disorder)`.
fn is_standard_text(value: &str) -> bool {
    let tag = value.strip_suffix(')').and_then(|head| head.rsplit_once(" ("));
    tag.is_some_and(|(term, tag)| !term.is_empty() && value.len() <= 255 && SEMANTIC_TAGS.contains(&tag))
}

fn loinc(bytes: &[u8]) -> bool {
    let Some((check, head)) = bytes.split_last() else { return false };
    let Some(number) = head.strip_suffix(b"-") else { return false };
    let mut whole = number.to_vec();
    whole.push(*check);
    number.iter().all(u8::is_ascii_digit) && check.is_ascii_digit() && checksum::luhn(&whole)
}

/// `E11.9`, `I10`
fn icd(bytes: &[u8]) -> bool {
    let [letter, a, b, rest @ ..] = bytes else { return false };
    letter.is_ascii_uppercase()
        && a.is_ascii_digit()
        && b.is_ascii_alphanumeric()
        && (rest.is_empty()
            || rest.first() == Some(&b'.') && rest.len() <= 5 && rest.iter().skip(1).all(u8::is_ascii_alphanumeric))
}

fn email(value: &str) -> bool {
    value.split_once('@').is_some_and(|(local, host)| {
        !local.is_empty() && host.contains('.') && !host.contains('@') && !value.contains(char::is_whitespace)
    })
}
