//! Dates as health data spell them.
//!
//! Built-in spellings, after surrounding white space (no-break spaces too) is taken off:
//!
//! | spelling | of |
//! |---|---|
//! | `YYYY`, `YYYY-MM`, `YYYY-MM-DD` | ISO 8601, FHIR `date` |
//! | `YYYY-MM-DDThh:mm[:ss[.fff]][offset]`, a space for the `T` | ISO 8601, FHIR `dateTime`, SQL |
//! | `YYYYMMDD[hh[mm[ss[.fff]]]][offset]`, an optional `T` before the time | HL7 v2 `DTM`, DICOM, ISO 8601 basic |
//! | `M/D/YYYY`, with `h:mm[:ss] [AM|PM]` | exports of the United States |
//!
//! An offset is `Z`, `±hh`, `±hhmm` or `±hh:mm`. Years are 0001 to 9999, by the Gregorian calendar throughout. Days
//! must exist (no 30 February). The second 60 is a leap second and counts as the first second of the next minute.
//! Years of two digits and month-first dates with hyphens are refused: they can be read in more than one way.

use std::fmt::Write as _;

use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How much of a date is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    Year,
    Month,
    Day,
    /// Day and time of day.
    Time,
}

/// A date as read: civil time where it was written down. Parts that were not written are the first of their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub year: i32,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    /// 60 in a leap second.
    pub second: u32,
    pub nanos: u32,
    /// Minutes east of Greenwich, if written.
    pub offset: Option<i32>,
    pub precision: Precision,
}

impl Stamp {
    const fn date(year: i32, month: u32, day: u32, precision: Precision) -> Self {
        Self { year, month, day, hour: 0, minute: 0, second: 0, nanos: 0, offset: None, precision }
    }

    /// The day; of a partial date the first that it can mean.
    pub fn to_day(&self) -> Day {
        Day(days_from_civil(self.year, self.month, self.day))
    }

    /// Microseconds since 1970-01-01T00:00:00Z. Without an offset the time is taken for UTC.
    pub fn to_micros(&self) -> i64 {
        let minutes = i64::from(self.hour * 60 + self.minute) - i64::from(self.offset.unwrap_or(0));
        let seconds = i64::from(self.to_day().0) * 86_400 + minutes * 60 + i64::from(self.second);
        seconds * 1_000_000 + i64::from(self.nanos / 1000)
    }
}

/// How a date was written, so that another can be written like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    Dashed,
    Compact,
    /// Month and day both of two digits, or of as few as they need.
    Slashed {
        padded: bool,
    },
    /// The format of this number in the list.
    Format(usize),
}

/// A date and how it was written.
pub(super) struct Written<'a> {
    pub(super) stamp: Stamp,
    spelling: Spelling,
    /// What follows the date: time of day and offset, as written.
    rest: &'a str,
}

/// Reads a date. `None` if it is none in an accepted spelling.
#[inline]
pub fn parse(text: &str, formats: &DateFormats) -> Option<Stamp> {
    if formats.written.is_empty()
        && let Some(stamp) = parse_common(text.as_bytes())
    {
        return Some(stamp);
    }
    parse_written(text, formats).map(|written| written.stamp)
}

/// The two spellings that nearly all of today's data use. White space around fails here, and is taken off later.
#[inline]
fn parse_common(bytes: &[u8]) -> Option<Stamp> {
    let (date, time) = bytes.split_at_checked(10)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *date else {
        return None;
    };
    let (year, month, day) = (number([y1, y2, y3, y4])?, number([m1, m2])?, number([d1, d2])?);
    let mut stamp = Stamp::date(year as i32, month, day, Precision::Day);
    if !exists(stamp.year, month, day) {
        return None;
    }
    match *time {
        [] => Some(stamp),
        [b'T', h1, h2, b':', m1, m2, b':', s1, s2, b'Z'] => {
            (stamp.hour, stamp.minute) = (number([h1, h2])?, number([m1, m2])?);
            stamp.second = number([s1, s2])?;
            stamp.offset = Some(0);
            stamp.precision = Precision::Time;
            (stamp.hour < 24 && stamp.minute < 60 && stamp.second <= 60).then_some(stamp)
        }
        _ => None,
    }
}

/// Reads a date and keeps how it was written.
pub(super) fn parse_written<'a>(text: &'a str, formats: &DateFormats) -> Option<Written<'a>> {
    let text = super::text::trimmed(text);
    if formats.written.is_empty() { parse_builtin(text) } else { parse_listed(text, formats) }
}

fn parse_builtin(text: &str) -> Option<Written<'_>> {
    let bytes = text.as_bytes();
    if let Some(stamp) = parse_common(bytes) {
        return Some(Written { stamp, spelling: Spelling::Dashed, rest: text.get(10..)? });
    }
    let leading = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (spelling, length, mut stamp) = match (leading, bytes) {
        (1 | 2, _) => slashed(bytes, leading)?,
        (4, [y1, y2, y3, y4]) => {
            (Spelling::Dashed, 4, Stamp::date(number([*y1, *y2, *y3, *y4])? as i32, 1, 1, Precision::Year))
        }
        (4, [y1, y2, y3, y4, b'-', m1, m2]) => {
            let (year, month) = (number([*y1, *y2, *y3, *y4])?, number([*m1, *m2])?);
            (Spelling::Dashed, 7, Stamp::date(year as i32, month, 1, Precision::Month))
        }
        (4, [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, ..]) => {
            let (month, day) = (number([*m1, *m2])?, number([*d1, *d2])?);
            let year = number([*y1, *y2, *y3, *y4])? as i32;
            (Spelling::Dashed, 10, Stamp::date(year, month, day, Precision::Day))
        }
        (8 | 10 | 12 | 14, [y1, y2, y3, y4, m1, m2, d1, d2, ..]) => {
            let (month, day) = (number([*m1, *m2])?, number([*d1, *d2])?);
            let year = number([*y1, *y2, *y3, *y4])? as i32;
            (Spelling::Compact, 8, Stamp::date(year, month, day, Precision::Day))
        }
        _ => return None,
    };
    if !exists(stamp.year, stamp.month, stamp.day) {
        return None;
    }
    let rest = text.get(length..)?;
    if !rest.is_empty() {
        read_time(&mut stamp, spelling, rest.as_bytes())?;
    }
    Some(Written { stamp, spelling, rest })
}

/// `M/D/YYYY`
fn slashed(bytes: &[u8], month_width: usize) -> Option<(Spelling, usize, Stamp)> {
    let (month, rest) = bytes.split_at_checked(month_width)?;
    let rest = rest.strip_prefix(b"/")?;
    let day_width = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (day, rest) = rest.split_at_checked(day_width)?;
    let [b'/', y1, y2, y3, y4, after @ ..] = rest else {
        return None;
    };
    if after.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let year = number([*y1, *y2, *y3, *y4])? as i32;
    let spelling = Spelling::Slashed { padded: month_width == 2 && day_width == 2 };
    let stamp = Stamp::date(year, one_or_two(month)?, one_or_two(day)?, Precision::Day);
    Some((spelling, month_width + day_width + 6, stamp))
}

/// Reads what follows a date: a time of day, an offset, or both.
fn read_time(stamp: &mut Stamp, spelling: Spelling, rest: &[u8]) -> Option<()> {
    let compact = spelling == Spelling::Compact;
    let clock = match rest {
        [b'T' | b't', clock @ ..] => Some(clock),
        [b' ', clock @ ..] if !compact => Some(clock),
        [b'0'..=b'9', ..] if compact => Some(rest),
        _ => None,
    };
    let mut after = rest;
    if let Some(clock) = clock {
        stamp.precision = Precision::Time;
        after = if compact { compact_clock(stamp, clock)? } else { extended_clock(stamp, clock)? };
        if matches!(spelling, Spelling::Slashed { .. }) {
            after = half_of_day(stamp, after)?;
        }
        if stamp.hour > 23 || stamp.minute > 59 || stamp.second > 60 {
            return None;
        }
    }
    let offset = after.strip_prefix(b" ").filter(|offset| !offset.is_empty()).unwrap_or(after);
    if !offset.is_empty() {
        stamp.offset = Some(read_offset(offset)?);
    }
    Some(())
}

/// `h:mm[:ss[.fff]]`
fn extended_clock<'a>(stamp: &mut Stamp, clock: &'a [u8]) -> Option<&'a [u8]> {
    let hour_width = clock.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (hour, rest) = clock.split_at_checked(hour_width)?;
    stamp.hour = one_or_two(hour)?;
    let [b':', m1, m2, rest @ ..] = rest else {
        return None;
    };
    stamp.minute = number([*m1, *m2])?;
    let [b':', s1, s2, rest @ ..] = rest else {
        return Some(rest);
    };
    stamp.second = number([*s1, *s2])?;
    fraction(stamp, rest)
}

/// `hh[mm[ss[.fff]]]`
fn compact_clock<'a>(stamp: &mut Stamp, clock: &'a [u8]) -> Option<&'a [u8]> {
    let [h1, h2, rest @ ..] = clock else {
        return None;
    };
    stamp.hour = number([*h1, *h2])?;
    let [m1 @ b'0'..=b'9', m2, rest @ ..] = rest else {
        return Some(rest);
    };
    stamp.minute = number([*m1, *m2])?;
    let [s1 @ b'0'..=b'9', s2, rest @ ..] = rest else {
        return Some(rest);
    };
    stamp.second = number([*s1, *s2])?;
    fraction(stamp, rest)
}

/// `.fff`; digits beyond nanoseconds are dropped.
fn fraction<'a>(stamp: &mut Stamp, rest: &'a [u8]) -> Option<&'a [u8]> {
    let [b'.' | b',', fraction @ ..] = rest else {
        return Some(rest);
    };
    let width = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = fraction.split_at_checked(width)?;
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    stamp.nanos = padded.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    (width > 0).then_some(rest)
}

/// ` AM` or ` PM`, if there.
fn half_of_day<'a>(stamp: &mut Stamp, rest: &'a [u8]) -> Option<&'a [u8]> {
    let half = rest.strip_prefix(b" ").unwrap_or(rest);
    let [half, b'M' | b'm', after @ ..] = half else {
        return Some(rest);
    };
    if !(1..=12).contains(&stamp.hour) {
        return None;
    }
    match half.to_ascii_uppercase() {
        b'A' => stamp.hour %= 12,
        b'P' => stamp.hour = stamp.hour % 12 + 12,
        _ => return None,
    }
    Some(after)
}

/// `Z`, `±hh`, `±hhmm` or `±hh:mm`, in minutes.
fn read_offset(offset: &[u8]) -> Option<i32> {
    let (sign, hour, minute) = match *offset {
        [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2] => (sign, number([h1, h2])?, 0),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, number([h1, h2])?, number([m1, m2])?),
        _ => return None,
    };
    let minutes = (hour * 60 + minute) as i32;
    // 14 hours is the furthest of any place (XML Schema sets the same bound).
    match sign {
        _ if minute > 59 || minutes > 14 * 60 => None,
        b'+' => Some(minutes),
        b'-' => Some(-minutes),
        _ => None,
    }
}

fn parse_listed<'a>(text: &'a str, formats: &DateFormats) -> Option<Written<'a>> {
    let read = |items: &[Item<'static>]| {
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
        stamp_of(&parsed)
    };
    let mut fits = formats.items.iter().enumerate();
    let (index, stamp) = fits.find_map(|(index, items)| Some((index, read(items)?)))?;
    Some(Written { stamp, spelling: Spelling::Format(index), rest: "" })
}

fn stamp_of(parsed: &Parsed) -> Option<Stamp> {
    use chrono::{Datelike as _, Timelike as _};
    // `%Y` reads as few digits as there are, and "36" may be of any century.
    let year = parsed.year().filter(|year| (1000..=9999).contains(year))?;
    let mut stamp = if let Ok(date) = parsed.to_naive_date() {
        Stamp::date(date.year(), date.month(), date.day(), Precision::Day)
    } else if parsed.day().is_none() && parsed.ordinal().is_none() && parsed.weekday().is_none() {
        let precision = if parsed.month().is_some() { Precision::Month } else { Precision::Year };
        Stamp::date(year, parsed.month().unwrap_or(1), 1, precision)
    } else {
        return None;
    };
    if !exists(stamp.year, stamp.month, stamp.day) {
        return None;
    }
    if parsed.hour_mod_12().is_some() || parsed.hour_div_12().is_some() {
        let time = parsed.to_naive_time().ok()?;
        let leap = time.nanosecond() / 1_000_000_000;
        (stamp.hour, stamp.minute, stamp.second) = (time.hour(), time.minute(), time.second() + leap);
        stamp.nanos = time.nanosecond() % 1_000_000_000;
        // A time without its day is of no day: it must not gain one.
        if stamp.precision < Precision::Day {
            return None;
        }
        stamp.precision = Precision::Time;
    }
    stamp.offset = parsed.offset().map(|seconds| seconds / 60);
    Some(stamp)
}

impl Written<'_> {
    /// Writes the date of `day` as this one was written, at its precision, with the same time of day and offset.
    ///
    /// `None` if the day lies outside the years 1 to 9999.
    pub(super) fn write_moved(&self, day: Day, formats: &DateFormats, out: &mut String) -> Option<()> {
        let (year, month, day) = day.ymd();
        if !(1..=9999).contains(&year) {
            return None;
        }
        match (self.spelling, self.stamp.precision) {
            (Spelling::Dashed, Precision::Year) => write!(out, "{year:04}").ok()?,
            (Spelling::Dashed, Precision::Month) => write!(out, "{year:04}-{month:02}").ok()?,
            (Spelling::Dashed, _) => {
                push_date(out, year as u32, month, day, true);
            }
            (Spelling::Compact, _) => {
                push_date(out, year as u32, month, day, false);
            }
            (Spelling::Slashed { padded }, _) => {
                let width = if padded { 2 } else { 1 };
                write!(out, "{month:0width$}/{day:0width$}/{year:04}").ok()?;
            }
            (Spelling::Format(index), _) => {
                let date = chrono::NaiveDate::from_ymd_opt(year, month, day)?;
                let leap = self.stamp.second / 60;
                let (second, nanos) = (self.stamp.second - leap, self.stamp.nanos + leap * 1_000_000_000);
                let time = date.and_hms_nano_opt(self.stamp.hour, self.stamp.minute, second, nanos)?;
                let offset = chrono::FixedOffset::east_opt(self.stamp.offset.unwrap_or(0) * 60)?;
                let local = time.and_local_timezone(offset).single()?;
                write!(out, "{}", local.format_with_items(formats.items.get(index)?.iter())).ok()?;
            }
        }
        out.push_str(self.rest);
        Some(())
    }
}

/// Ten or eight characters at once: the formatting machinery costs more than everything else of a shifted date.
fn push_date(out: &mut String, year: u32, month: u32, day: u32, dashed: bool) {
    let digit = |number: u32| b'0' + (number % 10) as u8;
    let [y1, y2, y3, y4] = [digit(year / 1000), digit(year / 100), digit(year / 10), digit(year)];
    let [m1, m2, d1, d2] = [digit(month / 10), digit(month), digit(day / 10), digit(day)];
    let spelled: &[u8] =
        if dashed { &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] } else { &[y1, y2, y3, y4, m1, m2, d1, d2] };
    out.push_str(str::from_utf8(spelled).unwrap_or_default());
}

/// The number that these digits are.
#[inline]
fn number<const N: usize>(digits: [u8; N]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u32::from(digit))
    })
}

fn one_or_two(digits: &[u8]) -> Option<u32> {
    match *digits {
        [one] => number([one]),
        [ten, one] => number([ten, one]),
        _ => None,
    }
}

#[inline]
fn exists(year: i32, month: u32, day: u32) -> bool {
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    };
    (1..=9999).contains(&year) && (1..=last).contains(&day)
}

/// A day of the Gregorian calendar (also before 1582): days since 1970-01-01, as Arrow's `Date32` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(pub i32);

/// The text is not a whole date `YYYY-MM-DD`.
#[derive(Debug, Error)]
#[error("not a date YYYY-MM-DD")]
pub struct NotADay;

impl Day {
    /// `None` for a day that does not exist or lies outside the years 1 to 9999.
    pub fn from_ymd(year: i32, month: u32, day: u32) -> Option<Self> {
        exists(year, month, day).then(|| Self(days_from_civil(year, month, day)))
    }

    /// Year, month and day.
    pub fn ymd(self) -> (i32, u32, u32) {
        civil_from_days(self.0)
    }
}

impl std::str::FromStr for Day {
    type Err = NotADay;
    fn from_str(text: &str) -> Result<Self, NotADay> {
        let stamp = parse_common(text.as_bytes()).filter(|stamp| stamp.precision == Precision::Day);
        stamp.map(|stamp| stamp.to_day()).ok_or(NotADay)
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl TryFrom<String> for Day {
    type Error = NotADay;
    fn try_from(text: String) -> Result<Self, NotADay> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

/// Days since 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms"); years start in March.
#[inline]
fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let year = year - i32::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month as i32 + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day as i32 - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a count of days since 1970-01-01 (Hinnant, as above).
fn civil_from_days(days: i32) -> (i32, u32, u32) {
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = (if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 }) as u32;
    ((year_of_era + era * 400) as i32 + i32::from(month <= 2), month, day)
}

/// Which spellings of a date are accepted: the built-in ones, or exactly a list of formats.
///
/// Formats are those of strftime (as the crate `chrono` reads them). A year of two digits is refused: it cannot tell
/// a child from somebody of a hundred years.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct DateFormats {
    written: Vec<String>,
    items: Vec<Vec<Item<'static>>>,
}

/// The format is not one that dates can be read by. Shows the format, which is configuration and not data.
#[derive(Debug, Error)]
#[error("`{format}` is not a format for dates: {why}")]
pub struct BadFormat {
    format: String,
    why: &'static str,
}

impl DateFormats {
    /// The built-in spellings, which the module's head lists.
    pub fn builtin() -> Self {
        Self::default()
    }

    /// Only these formats, the first that fits; an empty list means the built-in spellings.
    pub fn only(formats: Vec<String>) -> Result<Self, BadFormat> {
        let mut items = Vec::with_capacity(formats.len());
        for format in &formats {
            items.push(read_format(format).map_err(|why| BadFormat { format: format.clone(), why })?);
        }
        Ok(Self { written: formats, items })
    }
}

fn read_format(format: &str) -> Result<Vec<Item<'static>>, &'static str> {
    let items = StrftimeItems::new(format).parse_to_owned().map_err(|_| "it has an unknown field")?;
    let has = |numeric: &Numeric| items.iter().any(|item| matches!(item, Item::Numeric(found, _) if found == numeric));
    let zone_name = |item: &Item<'_>| matches!(item, Item::Fixed(Fixed::TimezoneName));
    if has(&Numeric::YearMod100) || has(&Numeric::YearDiv100) {
        return Err("a year of two digits can be read in two ways");
    }
    if !has(&Numeric::Year) {
        return Err("it has no year (%Y)");
    }
    if items.iter().any(zone_name) {
        return Err("names of time zones cannot be read");
    }
    Ok(items)
}

impl TryFrom<Vec<String>> for DateFormats {
    type Error = BadFormat;
    fn try_from(formats: Vec<String>) -> Result<Self, BadFormat> {
        Self::only(formats)
    }
}

impl From<DateFormats> for Vec<String> {
    fn from(formats: DateFormats) -> Self {
        formats.written
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use chrono::Datelike as _;

    #[test]
    fn days_agree_with_chrono() {
        let first = Day::from_ymd(1, 1, 1).unwrap().0;
        let last = Day::from_ymd(9999, 12, 31).unwrap().0;
        for days in (first..=last).step_by(97).chain([first, last, 0, -1]) {
            let date = chrono::NaiveDate::from_epoch_days(days).unwrap();
            assert_eq!(civil_from_days(days), (date.year(), date.month(), date.day()));
            assert_eq!(days_from_civil(date.year(), date.month(), date.day()), days);
        }
        assert!(Day::from_ymd(1900, 2, 29).is_none());
        assert!(Day::from_ymd(2000, 2, 29).is_some());
    }

    #[test]
    fn instants_agree_with_chrono() {
        let read = |text: &str| parse(text, &DateFormats::builtin()).unwrap().to_micros();
        for text in ["2019-03-10T02:30:00-05:00", "1899-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00"] {
            assert_eq!(read(text), chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros(), "{text}");
        }
        assert_eq!(read("2016-12-31T23:59:60Z"), read("2017-01-01T00:00:00Z"));
    }

    #[test]
    fn formats_that_can_be_misread_are_refused() {
        for format in ["%m/%d/%y", "%d.%m", "plain", "%Q", "%Y-%m-%d %Z", "%D"] {
            assert!(DateFormats::only(vec![format.to_owned()]).is_err(), "{format}");
        }
        assert!(DateFormats::only(vec!["%d.%m.%Y".to_owned(), "%b %d, %Y %I:%M %p".to_owned()]).is_ok());
    }
}
