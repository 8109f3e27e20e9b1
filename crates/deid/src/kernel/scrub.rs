//! Free text with what identifies taken out.
//!
//! The detector of `cordon-detect` reads each text once. What it finds is replaced, all else stays to the letter. So this
//! is no proof as the other kernels are one: what the detector does not recognise stays, and `docs/detection.md` says how
//! much that is.
//!
//! | found | with labels | with surrogates |
//! |---|---|---|
//! | a date | `[DATE 2019]`, or `[DATE]` where no year is readable or the year shows an age over 89; a year alone stays or becomes `[DATE]` | moved by the subject's days in its own spelling, else as with labels |
//! | an age over 89 | `90 or older` | the same |
//! | a ZIP code | its first three digits, as [`Zip3Rule`](super::Zip3Rule) gives them, else `[ZIP]` | the same |
//! | a name | `[NAME]` | word by word: one word has one surrogate in all texts of a subject, in any case, order and company |
//! | a phone number, an address, a number … | `[PHONE]`, `[ADDRESS]`, `[MRN]` … | one for each value within a subject, however it is punctuated |
//! | a web or network address, a picture … | `[URL]`, `[IP ADDRESS]` … | a label where nothing is invented |
//!
//! Null gives null, the empty text stays empty. A text without a subject gets labels.

use std::sync::Arc;

use cordon_detect::tagger;
use cordon_detect::{Detector, DetectorOptions, Span};
use cordon_phi::IdentifierKind as Kind;
use serde::{Deserialize, Serialize};

use super::age::YearsAt;
use super::date::{self, Stamp, parse_written};
use super::shift_date::{Shifts, moved};
use super::surrogate::{invent, invent_name};
use super::text::{to_text, trimmed};
use super::zip3::prefix_of_five;
use super::{Column, DateFormats, Day, DeidKeys, Outcome, SurrogateKind, Vintage};

/// Takes what identifies out of free text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScrubRule {
    #[serde(default)]
    pub with: ScrubWith,
    /// The day at which ages are reckoned that a year can show.
    pub reference: Day,
    #[serde(default)]
    pub vintage: Vintage,
    /// Dates, ages, towns and ZIP codes stay: a limited data set, 164.514(e)(2).
    #[serde(default)]
    pub limited: bool,
    /// Hospitals, insurers and employers stay. The rule lists the identifiers of employers too, so an expert's choice.
    #[serde(default)]
    pub keep_organizations: bool,
}

/// What stands in place of what was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScrubWith {
    /// `[NAME]`, `[DATE 2019]`.
    #[default]
    Label,
    /// Made-up values, and dates that move with all other dates of the subject. Derived from what stood there, so by
    /// expert determination only.
    #[serde(rename_all = "kebab-case")]
    Surrogate { max_days: u32, domain: String },
}

pub(super) fn apply(rule: &ScrubRule, column: &Column<'_>, keys: &DeidKeys) -> Outcome {
    let detector = Detector::new(DetectorOptions {
        bare_years: true,
        organizations: !rule.keep_organizations,
        ..DetectorOptions::default()
    });
    let mut finder = detector.finder();
    let mut writer = Writer::new(rule, keys);
    let mut spans = Vec::new();
    let (values, failures) = to_text(column.values, |row, text, out| {
        spans.clear();
        finder.find(text, &mut spans);
        let subject = column.subject(row);
        let mut done = 0;
        for span in &spans {
            out.push_str(text.get(done..span.start).unwrap_or_default());
            writer.replace(text.get(span.start..span.end).unwrap_or_default(), span, subject, out);
            done = span.end;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        Ok(true)
    });
    Outcome { values: Arc::new(values), failures }
}

struct Writer<'a> {
    rule: &'a ScrubRule,
    keys: &'a DeidKeys,
    age: YearsAt,
    shifts: Option<Shifts<'a>>,
    builtin: DateFormats,
    prose: DateFormats,
}

impl<'a> Writer<'a> {
    fn new(rule: &'a ScrubRule, keys: &'a DeidKeys) -> Self {
        let shifts = match &rule.with {
            ScrubWith::Label => None,
            ScrubWith::Surrogate { max_days, domain } => Some(Shifts::new(keys.shift.derive(domain), *max_days)),
        };
        // A date of another spelling becomes a label, so nothing would be lost were the list refused.
        let prose = DateFormats::only(PROSE.map(str::to_owned).to_vec()).unwrap_or_default();
        Self { rule, keys, age: YearsAt::new(rule.reference), shifts, builtin: DateFormats::builtin(), prose }
    }

    /// Writes what stands in place of `found`.
    fn replace(&mut self, found: &str, span: &Span, subject: Option<&'a str>, out: &mut String) {
        let stays = matches!(
            span.kind,
            Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate | Kind::Age | Kind::City | Kind::PostalCode
        );
        if self.rule.limited && stays {
            return out.push_str(found);
        }
        match span.kind {
            Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate => self.date(found, subject, out),
            // Only those over 89 are asked for.
            Kind::Age => out.push_str("90 or older"),
            Kind::PostalCode => {
                // Bare digits within an address, which the tagger finds, can be the number of a house.
                let read = (span.source != tagger::SOURCE).then(|| prefix_of_five(found, self.rule.vintage)).flatten();
                out.push_str(read.unwrap_or("[ZIP]"));
            }
            kind => {
                let invented =
                    self.shifts.is_some() && subject.is_some_and(|subject| self.invent(kind, found, subject, out));
                if !invented {
                    push_label(label(kind), out);
                }
            }
        }
    }

    fn date(&mut self, found: &str, subject: Option<&'a str>, out: &mut String) {
        if let (Some(shifts), Some(subject)) = (&mut self.shifts, subject) {
            let shift = shifts.of(subject);
            let length = out.len();
            if self.moved(found, shift, out).is_some() {
                return;
            }
            out.truncate(length);
        }
        let Some(stamp) = year_of(found, &self.builtin).filter(|stamp| self.age.of(stamp) <= 89) else {
            return push_label("DATE", out);
        };
        if trimmed(found).len() == 4 {
            return out.push_str(found);
        }
        out.push_str("[DATE ");
        out.push_str(&stamp.year.to_string());
        out.push(']');
    }

    /// The date moved by `shift` days, as it was written.
    fn moved(&self, found: &str, shift: i32, out: &mut String) -> Option<()> {
        for formats in [&self.builtin, &self.prose] {
            if let Some(written) = parse_written(found, formats) {
                return written.write_moved(moved(written.stamp.to_day(), shift).ok()?, formats, out);
            }
        }
        // `3/4/21`: from 1901 to 2099 the calendar of a century is that of any other.
        let (day, year) = found.rsplit_once('/')?;
        if year.len() != 2 || day.len() > 5 {
            return None;
        }
        let whole = format!("{day}/20{year}");
        let written = parse_written(&whole, &self.builtin)?;
        let start = out.len();
        written.write_moved(moved(written.stamp.to_day(), shift).ok()?, &self.builtin, out)?;
        let century = out.rfind('/').filter(|slash| *slash > start)? + 1;
        out.replace_range(century..century + 2, "");
        Some(())
    }

    /// Whether something is invented for this kind.
    fn invent(&self, kind: Kind, found: &str, subject: &str, out: &mut String) -> bool {
        let key = &self.keys.surrogate;
        let kind = match kind {
            Kind::Name => return push_name(found, out, |word| invent_name(key, subject, word)),
            Kind::StreetAddress => SurrogateKind::StreetAddress,
            Kind::City | Kind::County => SurrogateKind::City,
            Kind::Phone | Kind::Fax => SurrogateKind::Phone,
            Kind::Email => SurrogateKind::Email,
            Kind::Ssn => SurrogateKind::Ssn,
            Kind::Url => SurrogateKind::Url,
            Kind::Organization => SurrogateKind::Company,
            Kind::MedicalRecordNumber
            | Kind::HealthPlanId
            | Kind::AccountNumber
            | Kind::LicenceNumber
            | Kind::VehicleId
            | Kind::DeviceId
            | Kind::UniqueId
            | Kind::ProviderId => SurrogateKind::RecordNumber,
            _ => return false,
        };
        invent(kind, key, subject, found, out)
    }
}

/// Dates as prose spells them, besides the built-in ones. Those that the short names of months read come first, so that they
/// are written back short.
const PROSE: [&str; 12] = [
    "%b %-d, %Y",
    "%B %-d, %Y",
    "%b %-d %Y",
    "%B %-d %Y",
    "%-d %b %Y",
    "%-d %B %Y",
    "%-d-%b-%Y",
    "%b %Y",
    "%B %Y",
    "%b. %-d, %Y",
    "%-m-%-d-%Y",
    "%-m.%-d.%Y",
];

/// The year of a date in any spelling; the whole date where it is of a known one, so that the age is exact. `None` where two
/// years stand in it.
fn year_of(found: &str, formats: &DateFormats) -> Option<Stamp> {
    let plausible = |stamp: &Stamp| (1800..2200).contains(&stamp.year);
    if let Some(stamp) = date::parse(found, formats) {
        return Some(stamp).filter(plausible);
    }
    let runs = found.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() == 4);
    let mut years = runs.filter_map(|run| date::parse(run, formats)).filter(plausible);
    let first = years.next()?;
    years.all(|other| other.year == first.year).then_some(first)
}

/// Whether a word of the name was replaced.
fn push_name<'n>(found: &str, out: &mut String, invent: impl Fn(&str) -> &'n str) -> bool {
    const STAY: &[&str] = &[
        "al", "and", "bin", "da", "de", "del", "della", "den", "der", "di", "dos", "du", "el", "ii", "iii", "iv", "jr",
        "la", "le", "sr", "van", "von", "y",
    ];
    let start = out.len();
    let mut any = false;
    for piece in found.split_inclusive(|c: char| !in_word(c)) {
        let word = piece.trim_end_matches(|c: char| !in_word(c));
        let rest = piece.get(word.len()..).unwrap_or_default();
        let (word, owned) = ["'s", "\u{2019}s"]
            .iter()
            .find_map(|end| word.strip_suffix(end).map(|word| (word, *end)))
            .unwrap_or((word, ""));
        if STAY.iter().any(|stay| stay.eq_ignore_ascii_case(word)) {
            out.push_str(word);
        } else if word.chars().any(char::is_alphanumeric) {
            any = true;
            let name = invent(word);
            if word.chars().count() == 1 {
                out.extend(name.chars().next());
            } else if !word.chars().any(char::is_lowercase) {
                out.push_str(&name.to_uppercase());
            } else if !word.chars().any(char::is_uppercase) {
                out.push_str(&name.to_lowercase());
            } else {
                out.push_str(name);
            }
        }
        out.push_str(owned);
        out.push_str(rest);
    }
    if !any {
        out.truncate(start);
    }
    any
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '\'' | '\u{2019}' | '\u{300}'..='\u{36f}')
}

fn push_label(label: &str, out: &mut String) {
    out.push('[');
    out.push_str(label);
    out.push(']');
}

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Name => "NAME",
        Kind::StreetAddress => "ADDRESS",
        Kind::City => "CITY",
        Kind::County => "COUNTY",
        Kind::GeoCoordinate => "LOCATION",
        Kind::Phone => "PHONE",
        Kind::Fax => "FAX",
        Kind::Email => "EMAIL",
        Kind::Ssn => "SSN",
        Kind::MedicalRecordNumber => "MRN",
        Kind::HealthPlanId => "PLAN ID",
        Kind::AccountNumber => "ACCOUNT",
        Kind::LicenceNumber => "LICENCE",
        Kind::VehicleId => "VEHICLE",
        Kind::DeviceId => "DEVICE",
        Kind::Url => "URL",
        Kind::IpAddress => "IP ADDRESS",
        Kind::Biometric => "BIOMETRIC",
        Kind::Photo => "PHOTO",
        Kind::Organization => "ORGANIZATION",
        Kind::State => "STATE",
        _ => "ID",
    }
}
