//! Days of the proleptic Gregorian calendar, counted from 1970-01-01 as Parquet's DATE is.

use std::fmt;
use std::str::FromStr;

use crate::ink::Ink;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

/// The text is not a date spelled `2026-01-01`.
#[derive(Debug, thiserror::Error)]
#[error("not a date of the form YYYY-MM-DD")]
pub struct NotADay;

/// Year, month, day of a day number. The algorithm is Howard Hinnant's `civil_from_days`.
#[inline]
pub fn civil(days: i32) -> (i32, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097) as u32;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era as i32 + era * 400 + i32::from(month <= 2);
    (year, month, day)
}

impl Day {
    pub const fn from_ymd(year: i32, month: u32, day: u32) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year as i32;
        Self(era * 146_097 + day_of_era - 719_468)
    }

    #[inline]
    pub fn civil(self) -> (i32, u32, u32) {
        civil(self.0)
    }

    pub fn year(self) -> i32 {
        self.civil().0
    }

    /// Midnight, UTC, in seconds.
    #[inline]
    pub fn start(self) -> i64 {
        i64::from(self.0) * 86_400
    }

    /// The day of an instant in seconds, UTC.
    #[inline]
    pub fn of(instant: i64) -> Self {
        Self(instant.div_euclid(86_400) as i32)
    }

    /// Completed years of a person born on `self`, on the day `on`.
    pub fn age_on(self, on: Self) -> i32 {
        let (birth_year, birth_month, birth_day) = self.civil();
        let (year, month, day) = on.civil();
        year - birth_year - i32::from((month, day) < (birth_month, birth_day))
    }

    #[must_use]
    pub fn plus(self, days: i32) -> Self {
        Self(self.0 + days)
    }
}

impl FromStr for Day {
    type Err = NotADay;

    fn from_str(text: &str) -> Result<Self, NotADay> {
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<u32>().ok());
        let (Some(Some(year)), Some(Some(month)), Some(Some(day))) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotADay);
        };
        if text.len() != 10 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(NotADay);
        }
        let parsed = Self::from_ymd(year as i32, month, day);
        // 2023-02-30 comes back as 2023-03-02.
        if parsed.civil() == (year as i32, month, day) { Ok(parsed) } else { Err(NotADay) }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(10);
        text.day(*self);
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_day_of_three_centuries_comes_back() {
        for number in -80_000..40_000 {
            let (year, month, day) = Day(number).civil();
            assert_eq!(Day::from_ymd(year, month, day), Day(number));
            assert_eq!(Day(number).to_string().parse::<Day>().unwrap(), Day(number));
        }
        assert_eq!(Day::from_ymd(1970, 1, 1), Day(0));
        assert_eq!(Day::from_ymd(2026, 1, 1), Day(20_454));
    }

    #[test]
    fn impossible_days_are_refused() {
        for text in ["2023-02-30", "2023-13-01", "2023-1-01", "", "2023-02-29", "20230228", "x"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_birthday_counts_on_the_day() {
        let born = Day::from_ymd(1930, 6, 15);
        assert_eq!(born.age_on(Day::from_ymd(2020, 6, 14)), 89);
        assert_eq!(born.age_on(Day::from_ymd(2020, 6, 15)), 90);
    }
}
