//! Points in time as Ranger writes them: time zones, validity schedules, dates in tags, times of day.
//!
//! Nothing here reads a clock: moments are milliseconds since 1970 in UTC and come with the request.

use std::str::FromStr;

use chrono::{
    DateTime, Datelike, FixedOffset, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone,
    Timelike,
};

use super::model::{Recurrence, ValiditySchedule};

/// A time zone under one of the names Ranger's policies use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Named(chrono_tz::Tz),
    Fixed(FixedOffset),
}

/// Short names that mean a place where Ranger runs, and something else or nothing in the time zone database.
const SHORT: &[(&str, &str)] = &[
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
    ("VST", "Asia/Ho_Chi_Minh"),
];

impl Zone {
    pub const UTC: Self = Self(Kind::Named(chrono_tz::Tz::UTC));

    /// The zone of this name: `Europe/Berlin`, `PST`, `GMT+02:00`. None where the name is unknown.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim();
        if let Some((_, place)) = SHORT.iter().find(|(short, _)| *short == name) {
            return Self::named(place);
        }
        if let Ok(zone) = chrono_tz::Tz::from_str(name) {
            return Some(Self(Kind::Named(zone)));
        }
        let rest = name.strip_prefix("GMT").or_else(|| name.strip_prefix("UTC"))?;
        let (sign, rest) = match rest.strip_prefix('+') {
            Some(rest) => (1, rest),
            None => (-1, rest.strip_prefix('-')?),
        };
        let (hours, minutes) = match rest.split_once(':') {
            Some((hours, minutes)) => (hours, minutes),
            None if rest.len() > 2 => rest.split_at_checked(rest.len() - 2)?,
            None => (rest, "0"),
        };
        let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
        if !(0..24).contains(&hours) || !(0..60).contains(&minutes) {
            return None;
        }
        Some(Self(Kind::Fixed(FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))?)))
    }

    pub(crate) fn local(self, millis: i64) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp_millis(millis)?.naive_utc();
        let offset = match self.0 {
            Kind::Named(zone) => zone.offset_from_utc_datetime(&utc).fix(),
            Kind::Fixed(offset) => offset,
        };
        utc.checked_add_offset(offset)
    }

    /// The moment of a local time; one that the clocks skip is moved on by what they skip.
    pub(crate) fn instant(self, local: NaiveDateTime) -> Option<i64> {
        let offset = match self.0 {
            Kind::Fixed(offset) => offset,
            Kind::Named(zone) => match zone.offset_from_local_datetime(&local) {
                LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => offset.fix(),
                LocalResult::None => {
                    let before = local.checked_sub_signed(TimeDelta::hours(3))?;
                    zone.offset_from_local_datetime(&before).earliest()?.fix()
                }
            },
        };
        Some(local.checked_sub_offset(offset)?.and_utc().timestamp_millis())
    }
}

/// When something is valid, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start: Option<i64>,
    end: Option<i64>,
    recurrences: Vec<Recurring>,
}

#[derive(Clone, Debug)]
struct Recurring {
    minutes: Field,
    hours: Field,
    days: Field,
    weekdays: Field,
    months: Field,
    years: Field,
    interval: i64,
}

/// The values a field of a recurrence takes; no ranges at all where any value will do.
#[derive(Clone, Debug)]
struct Field {
    given: bool,
    ranges: Vec<(i64, i64)>,
}

impl Field {
    fn parse(text: &str, name: &str, (low, high): (i64, i64)) -> Result<Self, String> {
        let text = text.trim();
        let mut ranges = Vec::new();
        let given = !text.is_empty();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if part == "*" {
                ranges.clear();
                return Ok(Self { given, ranges });
            }
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<i64>().ok().filter(|number| (low..=high).contains(number));
            match (number(from), number(to)) {
                (Some(from), Some(to)) if from <= to => ranges.push((from, to)),
                // A range that wraps, such as Friday to Monday.
                (Some(from), Some(to)) => ranges.extend([(from, high), (low, to)]),
                _ => return Err(format!("recurrence: {name} takes {low} to {high}")),
            }
        }
        Ok(Self { given, ranges })
    }

    fn has(&self, value: i64) -> bool {
        self.ranges.is_empty() || self.ranges.iter().any(|(from, to)| (*from..=*to).contains(&value))
    }
}

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

impl Recurring {
    fn of(recurrence: &Recurrence) -> Result<Self, String> {
        let minutes = recurrence
            .days
            .checked_mul(24 * 60)
            .zip(recurrence.hours.checked_mul(60))
            .and_then(|(days, hours)| days.checked_add(hours)?.checked_add(recurrence.minutes))
            .and_then(|minutes| minutes.checked_mul(MINUTE))
            .ok_or("recurrence: the interval is too long")?;
        Ok(Self {
            minutes: Field::parse(&recurrence.minute, "minute", (0, 59))?,
            hours: Field::parse(&recurrence.hour, "hour", (0, 23))?,
            days: Field::parse(&recurrence.day_of_month, "dayOfMonth", (1, 31))?,
            weekdays: Field::parse(&recurrence.day_of_week, "dayOfWeek", (1, 7))?,
            months: Field::parse(&recurrence.month, "month", (0, 12))?,
            years: Field::parse(&recurrence.year, "year", (1970, 9999))?,
            interval: minutes,
        })
    }

    fn day(&self, date: NaiveDate) -> bool {
        let month_day = self.days.given && self.days.has(i64::from(date.day()));
        let week_day = self.weekdays.given && self.weekdays.has(i64::from(date.weekday().number_from_sunday()));
        month_day || week_day
    }

    /// The last minute of the day, not after `until`, that the recurrence names.
    fn minute(&self, until: NaiveTime) -> Option<NaiveTime> {
        let limit = (i64::from(until.hour()), i64::from(until.minute()));
        for hour in (0..=limit.0).rev().filter(|hour| self.hours.has(*hour)) {
            let last = if hour == limit.0 { limit.1 } else { 59 };
            if let Some(minute) = (0..=last).rev().find(|minute| self.minutes.has(*minute)) {
                return NaiveTime::from_hms_opt(hour as u32, minute as u32, 0);
            }
        }
        None
    }

    /// True where a moment that the recurrence names lies no longer back than its interval.
    fn covers(&self, now: i64, zone: Zone) -> bool {
        if self.interval <= 0 {
            return true;
        }
        if !self.days.given && !self.weekdays.given {
            return false;
        }
        let Some(local) = zone.local(now) else { return false };
        let earliest = now.saturating_sub(self.interval);
        let mut date = local.date();
        let mut until = local.time();
        let end_of_day = NaiveTime::from_hms_opt(23, 59, 59).unwrap_or(NaiveTime::MIN);
        // Every combination of a day of a month and of a week comes round within 40 years; years named one by one are
        // stepped over whole.
        for _ in 0..20_000 {
            let named = self.years.has(i64::from(date.year()));
            let month = self.months.has(i64::from(date.month()));
            if named
                && month
                && self.day(date)
                && let Some(time) = self.minute(until)
                && let Some(moment) = zone.instant(date.and_time(time))
            {
                return moment >= earliest;
            }
            let before = if !named {
                NaiveDate::from_ymd_opt(date.year(), 1, 1)
            } else if !month {
                date.with_day(1)
            } else {
                Some(date)
            };
            let Some(previous) = before.and_then(|date| date.pred_opt()) else { return false };
            date = previous;
            until = end_of_day;
            // A day of slack for what the clocks were moved.
            let Some(start) = zone.instant(date.and_time(until)) else { return false };
            if start.saturating_add(DAY) < earliest {
                return false;
            }
        }
        false
    }
}

const SCHEDULE_FORMAT: &str = "%Y/%m/%d %H:%M:%S";

impl Schedule {
    /// What is wrong is said in words; a zone of an unknown name is wrong too.
    pub(crate) fn of(schedule: &ValiditySchedule, default: Zone) -> Result<Self, String> {
        let zone = match schedule.time_zone.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            None => default,
            Some(name) => Zone::named(name).ok_or_else(|| format!("timeZone `{name}` is unknown"))?,
        };
        let moment = |text: &Option<String>, name: &str| -> Result<Option<i64>, String> {
            let Some(text) = text.as_deref().map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
            NaiveDateTime::parse_from_str(text, SCHEDULE_FORMAT)
                .ok()
                .and_then(|local| zone.instant(local))
                .map(Some)
                .ok_or_else(|| format!("{name} is not of the form yyyy/MM/dd HH:mm:ss"))
        };
        Ok(Self {
            start: moment(&schedule.start_time, "startTime")?,
            end: moment(&schedule.end_time, "endTime")?,
            recurrences: schedule.recurrences.iter().map(Recurring::of).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn end(&self) -> Option<i64> {
        self.end
    }

    /// Recurrences are read in the engine's zone, as Ranger reads them.
    pub(crate) fn applies(&self, now: i64, zone: Zone) -> bool {
        self.start.is_none_or(|start| now >= start)
            && self.end.is_none_or(|end| now <= end)
            && (self.recurrences.is_empty() || self.recurrences.iter().any(|recurring| recurring.covers(now, zone)))
    }
}

/// A date in an attribute of a tag, on the clock of the engine's caller in Ranger and in UTC here.
///
/// Formats are Ranger's; those with more letters are tried first, and what stands behind the last of them is not looked
/// at.
pub(crate) fn date(text: &str, extra: &[String]) -> Option<i64> {
    let mut formats: Vec<&str> = extra.iter().map(String::as_str).collect();
    formats.extend(["yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", "yyyy/MM/dd"]);
    formats.sort_by_key(|format| std::cmp::Reverse(format.len()));
    formats.into_iter().find_map(|format| in_format(text.trim(), format))
}

/// Reads a text by a pattern of Java's; the text may go on after it.
fn in_format(text: &str, format: &str) -> Option<i64> {
    let (mut year, mut month, mut day, mut hour, mut minute, mut second, mut millis) = (1970, 1, 1, 0, 0, 0, 0);
    let mut rest = text;
    let mut letters = format.chars().peekable();
    let mut seen = false;
    while let Some(letter) = letters.next() {
        if letter == '\'' {
            loop {
                match letters.next()? {
                    '\'' => break,
                    literal => rest = rest.strip_prefix(literal)?,
                }
            }
            continue;
        }
        if !letter.is_ascii_alphabetic() {
            rest = rest.strip_prefix(letter)?;
            continue;
        }
        let mut width = 1;
        while letters.next_if_eq(&letter).is_some() {
            width += 1;
        }
        let field = match letter {
            'y' => &mut year,
            'M' => &mut month,
            'd' => &mut day,
            'H' => &mut hour,
            'm' => &mut minute,
            's' => &mut second,
            'S' => &mut millis,
            _ => return None,
        };
        let adjacent = letters.peek().is_some_and(char::is_ascii_alphabetic);
        let most = if adjacent { width } else { 9 };
        let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        *field = number.parse::<u32>().ok()?;
        rest = after;
        seen = true;
    }
    if !seen {
        return None;
    }
    // Java's calendar counts on where a field is out of its range.
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, 1, 1)?;
    let date = date.checked_add_months(chrono::Months::new(month.checked_sub(1)?))?;
    let date = date.checked_add_signed(TimeDelta::days(i64::from(day) - 1))?;
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    let at = date.and_time(NaiveTime::MIN).checked_add_signed(TimeDelta::seconds(seconds))?;
    Some(at.and_utc().timestamp_millis() + i64::from(millis))
}

/// A moment given in an expression: `yyyy/MM/dd`, with hours and minutes and seconds or without.
pub(crate) fn moment(text: &str, zone: Zone) -> Option<i64> {
    let text = text.trim();
    let local = NaiveDateTime::parse_from_str(text, SCHEDULE_FORMAT)
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y/%m/%d %H:%M"))
        .or_else(|_| NaiveDate::parse_from_str(text, "%Y/%m/%d").map(|date| date.and_time(NaiveTime::MIN)))
        .ok()?;
    zone.instant(local)
}

/// `9am-5pm`, `9:30 AM - 5 PM`: minutes of the day, both ends included; over midnight where the first is later.
pub(crate) fn time_of_day(text: &str) -> Option<(u32, u32)> {
    let (from, to) = text.split_once('-')?;
    Some((clock(from)?, clock(to)?))
}

fn clock(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    let (time, afternoon) = match text.strip_suffix('m').unwrap_or(&text) {
        time if time.ends_with('p') => (time.strip_suffix('p')?, true),
        time => (time.strip_suffix('a')?, false),
    };
    let (hours, minutes) = match time.trim().split_once(':') {
        Some((hours, minutes)) => (hours.trim().parse::<u32>().ok()?, minutes.trim().parse::<u32>().ok()?),
        None => (time.trim().parse::<u32>().ok()?, 0),
    };
    if hours > 12 || minutes > 59 {
        return None;
    }
    let hours = match (hours, afternoon) {
        (12, false) => 0,
        (12, true) => 12,
        (hours, true) => hours + 12,
        (hours, false) => hours,
    };
    Some(hours * 60 + minutes)
}

pub(crate) fn minute_of_day(now: i64, zone: Zone) -> Option<u32> {
    zone.local(now).map(|local| local.hour() * 60 + local.minute())
}
