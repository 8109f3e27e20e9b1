//! Dates as health data spell them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

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
        let date = chrono::NaiveDate::from_ymd_opt(year, month, day)?;
        (1..=9999)
            .contains(&year)
            .then(|| Self(date.to_epoch_days()))
    }

    /// Year, month and day.
    pub fn ymd(self) -> (i32, u32, u32) {
        civil_from_days(self.0)
    }
}

impl std::str::FromStr for Day {
    type Err = NotADay;
    fn from_str(text: &str) -> Result<Self, NotADay> {
        let mut parts = text.splitn(3, '-').map(str::parse::<u32>);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) if text.len() == 10 => {
                Self::from_ymd(year as i32, month, day).ok_or(NotADay)
            }
            _ => Err(NotADay),
        }
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

/// Year, month and day of a count of days since 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
pub(super) fn civil_from_days(days: i32) -> (i32, u32, u32) {
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = (if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    }) as u32;
    (
        (year_of_era + era * 400) as i32 + i32::from(month <= 2),
        month,
        day,
    )
}

/// Which spellings of a date are accepted: the built-in ones, or exactly a list of formats.
///
/// Formats are those of strftime (as the crate `chrono` reads them). A year of two digits is refused: it cannot tell
/// a child from somebody of a hundred years.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct DateFormats {
    written: Vec<String>,
}

/// The format is not one that dates can be read by. Shows the format, which is configuration and not data.
#[derive(Debug, Error)]
#[error("`{format}` is not a format for dates: {why}")]
pub struct BadFormat {
    format: String,
    why: &'static str,
}

impl DateFormats {
    /// The built-in spellings: ISO 8601 and FHIR (partial dates too), HL7 v2, and `M/D/YYYY`.
    pub fn builtin() -> Self {
        Self::default()
    }

    /// Only these formats, the first that fits.
    pub fn only(formats: Vec<String>) -> Result<Self, BadFormat> {
        if let Some(format) = formats.iter().find(|format| !format.contains('%')) {
            return Err(BadFormat {
                format: format.clone(),
                why: "it has no field",
            });
        }
        Ok(Self { written: formats })
    }
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
