//! How long things stay: the section `retention` of `cordon.yaml`, checked, and what it says of a row.
//!
//! It stands beside the policies and not in them: a policy's text is bound to every row made under it, and to change how long
//! rows stay must not make all of them again.
//!
//! A row is as old as the last day that its date can mean; shifted dates by as much later as they may have been moved. A row without
//! a date is as old as what it was read from, which counts from when its content was first committed. Days are taken whole, and
//! one more is waited for, because a date knows no time zone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use chrono::{DateTime, Days, Months, NaiveDate, Utc};
use cordon_deid::kernel::date::{self, Precision};
use cordon_deid::kernel::{DateFormats, Day};
use cordon_deid::policy::file::Action;
use cordon_deid::recipe::{ACTION_KEY, SHIFT_DAYS_KEY};
use cordon_deid::yaml::{At, Issue, Issues, Position};
use cordon_phi::Method;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::RunError;
use crate::holds::Holds;
use crate::project::{KnownTables, OpenProject};

/// How long things stay. What is not named here stays for ever; what is under a legal hold stays whatever stands here.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RetentionSection {
    /// Rows, by table. A name may end in `*`; of several that fit, the longest counts.
    pub tables: BTreeMap<String, At<TableRetention>>,
    /// Files of rows that have left a table, such as `30d` or `12h`. At least an hour, for queries that are reading them.
    pub versions: Option<At<String>>,
    /// Records in quarantine, from when they were put aside.
    pub quarantine: Option<At<String>>,
    /// What runs found, as `cordon report` tells it.
    pub run_reports: Option<At<String>>,
    /// Files of requests to reveal or to destroy that are closed, from the last that the audit log says of them. The log keeps its entries.
    pub requests: Option<At<String>>,
    /// The audit log: at least six years, 164.316(b)(2)(i) and 164.528(a)(1). It is kept longer than that: nothing removes it.
    pub audit: Option<At<String>>,
}

/// How long rows of a table stay.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TableRetention {
    /// A number and a unit: `7y`, `18m` (months), `90d`.
    pub keep: String,
    /// The column whose date says how old a row is. Without it, and for rows without a date: when it was committed.
    #[serde(default)]
    pub by: Option<String>,
}

/// The section, checked.
#[derive(Clone)]
pub struct Retention {
    tables: BTreeMap<String, Rule>,
    /// How long files stay whose rows have left their table.
    pub versions: Duration,
    pub quarantine: Option<Span>,
    pub run_reports: Option<Span>,
    pub requests: Option<Span>,
    pub audit: Span,
}

/// How long rows of a table stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub keep: Span,
    pub by: Option<String>,
    position: Position,
}

/// A length of time as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    text: String,
    months: u32,
    days: u32,
    hours: u32,
}

const HOUR: Duration = Duration::from_hours(1);
const LONGEST_YEARS: u32 = 1000;

impl Span {
    /// `7y`, `18m`, `90d`, `12h`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
        let (months, days, hours) = match unit.trim_start() {
            "y" => (number.checked_mul(12)?, 0, 0),
            "m" => (number, 0, 0),
            "d" => (0, number, 0),
            "h" => (0, 0, number),
            _ => return None,
        };
        let span = Self { text: text.to_owned(), months, days, hours };
        (span.months / 12 + span.days / 366 + span.hours / 366 / 24 < LONGEST_YEARS).then_some(span)
    }

    /// What is of a day before this one, in any time zone, is older than the span.
    pub fn before(&self, now: DateTime<Utc>) -> NaiveDate {
        let day = now - chrono::Duration::hours(i64::from(self.hours));
        let day = day.date_naive().checked_sub_days(Days::new(u64::from(self.days) + 1));
        day.and_then(|day| day.checked_sub_months(Months::new(self.months))).unwrap_or(NaiveDate::MIN)
    }

    /// Not shorter than the span, whatever its months are.
    fn at_most(&self) -> Duration {
        HOUR * (self.hours + 24 * (self.days + 31 * self.months))
    }

    fn is_six_years(&self) -> bool {
        // Two of six years are leap years at most.
        self.months >= 72 || self.days >= 6 * 365 + 2
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a name, or a beginning of names with a `*`, is one that tables can have.
pub fn is_pattern(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    !text.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether the table is the one named, or begins so.
pub fn fits(pattern: &str, table: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == table, |beginning| table.starts_with(beginning))
}

impl Retention {
    pub(crate) fn check(file: &RetentionSection) -> Result<Self, Issues> {
        let mut issues = Vec::new();
        let mut wrong = |position: Position, message: String, help: &str| {
            let file = PathBuf::from("cordon.yaml");
            issues.push(Issue { file, position, message, help: Some(help.to_owned()) });
        };
        let mut span = |position: Position, text: &str, what: &str| {
            let span = Span::parse(text);
            if span.is_none() {
                wrong(
                    position,
                    format!("`{text}` is no time for which {what} can be kept"),
                    "write a number and a unit: `7y`, `18m` (months), `90d`",
                );
            }
            span
        };
        let mut tables = BTreeMap::new();
        for (name, at) in &file.tables {
            if let Some(keep) = span(at.position, &at.value.keep, "rows") {
                tables.insert(name.clone(), Rule { keep, by: at.value.by.clone(), position: at.position });
            }
        }
        let mut of = |at: &Option<At<String>>, what: &str| {
            let at = at.as_ref()?;
            Some((span(at.position, &at.value, what)?, at.position))
        };
        let (versions, quarantine) = (of(&file.versions, "old versions"), of(&file.quarantine, "quarantine"));
        let (run_reports, audit) = (of(&file.run_reports, "reports"), of(&file.audit, "the audit log"));
        let requests = of(&file.requests, "requests");
        for (name, at) in &file.tables {
            if !is_pattern(name) {
                wrong(
                    at.position,
                    format!("`{name}` names no table"),
                    "write a table's name, or the beginning of names and a `*`",
                );
            }
        }
        if let Some((span, position)) = &versions
            && (span.months > 0 || span.at_most() < HOUR)
        {
            wrong(
                *position,
                "files of old versions stay between an hour and some days".to_owned(),
                "write it in hours or days: `12h`, `30d`",
            );
        }
        let by_day = tables.values().map(|rule| (&rule.keep, rule.position));
        let others = [&quarantine, &run_reports, &requests, &audit].into_iter().flatten().map(|(span, at)| (span, *at));
        for (span, position) in by_day.chain(others) {
            if span.hours > 0 {
                wrong(position, format!("`{span}` counts hours"), "days are the smallest unit here: `1d`");
            }
        }
        if let Some((span, position)) = &audit
            && !span.is_six_years()
        {
            wrong(
                *position,
                format!("the audit log may not be kept for `{span}` only"),
                "documentation is kept six years from its making, 164.316(b)(2)(i), and disclosures are accounted for over six years, \
                 164.528(a)(1): write `6y` or more",
            );
        }
        if !issues.is_empty() {
            return Err(Issues(issues));
        }
        let six_years = Span { text: "6y".to_owned(), months: 72, days: 0, hours: 0 };
        Ok(Self {
            tables,
            versions: versions.map_or(HOUR, |(span, _)| span.at_most()),
            quarantine: quarantine.map(|(span, _)| span),
            run_reports: run_reports.map(|(span, _)| span),
            requests: requests.map(|(span, _)| span),
            audit: audit.map_or(six_years, |(span, _)| span),
        })
    }

    /// The rule for a table: of those that fit, the longest name.
    pub fn rule(&self, table: &str) -> Option<&Rule> {
        self.rule_named(table).map(|(_, rule)| rule)
    }

    fn rule_named(&self, table: &str) -> Option<(&String, &Rule)> {
        // A whole name is longer than a beginning of it.
        let length = |name: &str| (!name.ends_with('*'), name.len());
        self.tables.iter().filter(|(name, _)| fits(name, table)).max_by_key(|(name, _)| length(name))
    }

    /// Names that fit no table that exists or may come to be, and columns that their tables have not.
    pub fn unmatched(&self, known: &KnownTables) -> Issues {
        let mut issues = Vec::new();
        let mut wrong = |position: Position, message: String, help: String| {
            let file = PathBuf::from("cordon.yaml");
            issues.push(Issue { file, position, message, help: Some(help) });
        };
        for (name, rule) in &self.tables {
            if !known.keys().any(|table| fits(name, table)) {
                let tables = known.keys().cloned().collect::<Vec<_>>().join(", ");
                wrong(
                    rule.position,
                    format!("there is no table `{name}` whose rows could be kept"),
                    format!("tables: {tables}"),
                );
            }
        }
        for (table, columns) in known {
            let Some((_, rule)) = self.rule_named(table) else { continue };
            if let Some(by) = rule.by.as_ref().filter(|by| !columns.contains(*by)) {
                let columns = columns.iter().cloned().collect::<Vec<_>>().join(", ");
                wrong(
                    rule.position,
                    format!("the table `{table}` has no column `{by}`"),
                    format!("columns: {columns}"),
                );
            }
        }
        Issues(issues)
    }
}

/// What of rows stays as they are written: those that are past their retention would only come to go again.
#[derive(Clone, Default)]
pub struct Keeping {
    of: Option<(Retention, DateTime<Utc>)>,
    holds: Option<Holds>,
}

impl Keeping {
    /// As settings, holds and the time are now.
    pub(crate) fn now(project: &OpenProject) -> Result<Self, RunError> {
        let holds = project.holds()?;
        Ok(Self { of: Some((project.project.retention.clone(), crate::run::clock())), holds: Some(holds) })
    }

    /// As settings and holds are now, at a time that somebody else's clock said.
    pub(crate) fn at(project: &OpenProject, time: DateTime<Utc>) -> Result<Self, RunError> {
        let now = Self::now(project)?;
        Ok(Self { of: now.of.map(|(retention, _)| (retention, time)), ..now })
    }

    /// The time by which rows are old; that of now where nothing goes.
    pub(crate) fn time(&self) -> DateTime<Utc> {
        self.of.as_ref().map_or_else(crate::run::clock, |(_, time)| *time)
    }

    /// What goes of a table's rows; nothing while a hold is on it.
    pub(crate) fn cut(&self, table: &str, schema: &Schema, method: Method) -> Result<Option<Cut>, RunError> {
        let Some((retention, now)) = &self.of else { return Ok(None) };
        let Some(rule) = retention.rule(table) else { return Ok(None) };
        if self.holds.as_ref().is_some_and(|holds| !holds.over(table).is_empty()) {
            return Ok(None);
        }
        Cut::new(table, rule, schema, method == Method::SafeHarbor, *now).map(Some)
    }
}

/// Which rows of one table go.
pub struct Cut {
    /// Rows of earlier days.
    pub before: NaiveDate,
    before_day: i32,
    by: Option<(String, Dated)>,
}

impl Cut {
    /// `exact`: no date of the table can have been shifted without its column saying so.
    pub fn new(table: &str, rule: &Rule, schema: &Schema, exact: bool, now: DateTime<Utc>) -> Result<Self, RunError> {
        let before = rule.keep.before(now);
        let by = match &rule.by {
            None => None,
            Some(name) => {
                let refused = |what: &str| {
                    RunError::usage(
                        format!("rows of `{table}` cannot be kept by `{name}`: {what}"),
                        "name a column of dates, timestamps or years under `retention` in cordon.yaml, or leave `by` out",
                    )
                };
                let field = schema.field_with_name(name).map_err(|_| refused("it has no such column"))?;
                Some((name.clone(), Dated::of(field, exact).ok_or_else(|| refused("that is no date"))?))
            }
        };
        Ok(Self { before, before_day: epoch_day(before), by })
    }

    pub fn column(&self) -> Option<&str> {
        self.by.as_ref().map(|(name, _)| name.as_str())
    }

    /// Whether what was first committed on this day goes where no date says otherwise. What is not known stays.
    pub fn takes(&self, since: Option<NaiveDate>) -> bool {
        since.is_some_and(|since| since < self.before)
    }

    /// For each value of the column whether its row goes; `None` for one that says no date.
    pub fn ages(&self, column: &dyn Array) -> Result<Vec<Option<bool>>, RunError> {
        let Some((_, dated)) = &self.by else { return Ok(vec![None; column.len()]) };
        let days = dated.last_days(column).ok_or(RunError::Internal("a column of dates"))?;
        Ok(days.into_iter().map(|day| day.map(|day| day < self.before_day)).collect())
    }

    /// Whether each of the rows stays; `None` where all do. `runs`: from when the rows are, in their order.
    pub(crate) fn staying(
        &self,
        rows: &RecordBatch,
        runs: impl Iterator<Item = (Option<NaiveDate>, u64)>,
    ) -> Result<Option<BooleanArray>, RunError> {
        let ages = match self.column().and_then(|name| rows.column_by_name(name)) {
            Some(column) => self.ages(column)?,
            None => vec![None; rows.num_rows()],
        };
        let mut ages = ages.into_iter();
        let mut stays = Vec::with_capacity(rows.num_rows());
        for (since, count) in runs {
            let otherwise = self.takes(since);
            stays.extend(ages.by_ref().take(count as usize).map(|goes| !goes.unwrap_or(otherwise)));
        }
        stays.extend(ages.map(|goes| !goes.unwrap_or(false)));
        Ok(stays.contains(&false).then(|| BooleanArray::from(stays)))
    }
}

/// A column whose values say a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dated {
    form: Form,
    /// By so many days the true date may be later.
    slack: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Day,
    Seconds(TimeUnit),
    Year,
    Text,
}

/// The furthest that a policy may shift dates.
const MOST_SHIFT: i32 = 3650;

impl Dated {
    fn of(field: &Field, exact: bool) -> Option<Self> {
        let action = field.metadata().get(ACTION_KEY).map(String::as_str);
        let is = |wanted: Action| action == Some(wanted.name());
        // What is not made by one of these is no date any more, whatever it looks like.
        if action.is_some() && ![Action::Keep, Action::Year, Action::ShiftDate].into_iter().any(is) {
            return None;
        }
        let form = match field.data_type() {
            DataType::Date32 => Form::Day,
            DataType::Timestamp(unit, _) => Form::Seconds(*unit),
            DataType::Int32 | DataType::Int64 if is(Action::Year) => Form::Year,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Form::Text,
            _ => return None,
        };
        let told = field.metadata().get(SHIFT_DAYS_KEY).and_then(|days| days.parse().ok());
        let slack = match told {
            Some(days) => days,
            None if is(Action::Keep) || is(Action::Year) || exact => 0,
            None => MOST_SHIFT,
        };
        Some(Self { form, slack })
    }

    /// The last day that each value can mean, as days since 1970-01-01.
    fn last_days(self, column: &dyn Array) -> Option<Vec<Option<i32>>> {
        let seconds = |per_second: i64, values: &mut dyn Iterator<Item = Option<i64>>| -> Vec<Option<i32>> {
            values.map(|value| value.map(|value| value.div_euclid(per_second).div_euclid(86_400) as i32)).collect()
        };
        let days: Vec<Option<i32>> = match self.form {
            Form::Day => column.as_primitive_opt::<Date32Type>()?.iter().collect(),
            Form::Seconds(TimeUnit::Second) => {
                seconds(1, &mut column.as_primitive_opt::<TimestampSecondType>()?.iter())
            }
            Form::Seconds(TimeUnit::Millisecond) => {
                seconds(1000, &mut column.as_primitive_opt::<TimestampMillisecondType>()?.iter())
            }
            Form::Seconds(TimeUnit::Microsecond) => {
                seconds(1_000_000, &mut column.as_primitive_opt::<TimestampMicrosecondType>()?.iter())
            }
            Form::Seconds(TimeUnit::Nanosecond) => {
                seconds(1_000_000_000, &mut column.as_primitive_opt::<TimestampNanosecondType>()?.iter())
            }
            Form::Year => match column.data_type() {
                DataType::Int64 => column
                    .as_primitive_opt::<Int64Type>()?
                    .iter()
                    .map(|year| year.and_then(|year| last_of_year(i32::try_from(year).ok()?)))
                    .collect(),
                _ => column.as_primitive_opt::<Int32Type>()?.iter().map(|year| last_of_year(year?)).collect(),
            },
            Form::Text => {
                let formats = DateFormats::builtin();
                let last = |text: Option<&str>| last_of_text(text?, &formats);
                match column.data_type() {
                    DataType::Utf8View => column.as_string_view_opt()?.iter().map(last).collect(),
                    DataType::LargeUtf8 => column.as_string_opt::<i64>()?.iter().map(last).collect(),
                    _ => column.as_string_opt::<i32>()?.iter().map(last).collect(),
                }
            }
        };
        Some(days.into_iter().map(|day| day.map(|day| day.saturating_add(self.slack))).collect())
    }
}

fn last_of_year(year: i32) -> Option<i32> {
    Day::from_ymd(year, 12, 31).map(|day| day.0)
}

fn last_of_text(text: &str, formats: &DateFormats) -> Option<i32> {
    let stamp = date::parse(text, formats)?;
    match stamp.precision {
        Precision::Year => last_of_year(stamp.year),
        Precision::Month if stamp.month == 12 => last_of_year(stamp.year),
        Precision::Month => Day::from_ymd(stamp.year, stamp.month + 1, 1).map(|next| next.0 - 1),
        Precision::Day | Precision::Time => Some(stamp.to_day().0),
    }
}

fn epoch_day(date: NaiveDate) -> i32 {
    // Both are days of the same calendar; chrono's begin with 0001-01-01 as 1.
    use chrono::Datelike;
    date.num_days_from_ce() - 719_163
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Date32Array, Int32Array, StringViewArray, TimestampMicrosecondArray};

    use super::*;

    fn at(text: &str) -> At<String> {
        At::unplaced(text.to_owned())
    }

    fn now(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_a_number_and_a_unit() {
        for text in ["7y", "18m", "90d", "12h", "1 d"] {
            assert!(Span::parse(text).is_some(), "{text}");
        }
        for text in ["", "7", "y", "-7y", "0d", "7 years", "1.5y", "99999999999y", "4000y", "7y6m"] {
            assert!(Span::parse(text).is_none(), "{text}");
        }
        let seven = Span::parse("7y").unwrap();
        // The day of the anniversary has not passed everywhere until the day after it has.
        assert_eq!(seven.before(now("2026-11-27T00:00:00Z")), day("2019-11-26"));
        assert_eq!(Span::parse("1m").unwrap().before(now("2026-03-31T23:00:00Z")), day("2026-02-28"));
        assert_eq!(Span::parse("900y").unwrap().before(now("2026-01-01T00:00:00Z")).to_string(), "1125-12-31");
    }

    #[test]
    fn six_years_of_audit_are_the_least() {
        let of = |text: &str| Retention::check(&RetentionSection { audit: Some(at(text)), ..Default::default() });
        for text in ["6y", "72m", "2192d", "10y"] {
            assert!(of(text).is_ok(), "{text}");
        }
        for text in ["5y", "71m", "2191d", "1h", "90d"] {
            let issues = of(text).err().unwrap().to_string();
            assert!(issues.contains("164.316(b)(2)(i)") && issues.contains("164.528(a)(1)"), "{text}: {issues}");
        }
    }

    #[test]
    fn the_longest_name_that_fits_counts() {
        let table = |keep: &str| At::unplaced(TableRetention { keep: keep.to_owned(), by: None });
        let tables = [("*", "1y"), ("fhir_*", "2y"), ("fhir_patient", "3y"), ("fhir_patient_*", "4y")];
        let tables = tables.into_iter().map(|(name, keep)| (name.to_owned(), table(keep))).collect();
        let retention = Retention::check(&RetentionSection { tables, ..Default::default() }).ok().unwrap();
        for (table, keep) in
            [("labs", "1y"), ("fhir_observation", "2y"), ("fhir_patient", "3y"), ("fhir_patient_name", "4y")]
        {
            assert_eq!(retention.rule(table).unwrap().keep.to_string(), keep, "{table}");
        }
    }

    #[test]
    fn a_date_is_taken_for_the_last_day_that_it_can_mean() {
        let field = |data_type: DataType, action: &str, more: &[(&str, &str)]| {
            let metadata = [(ACTION_KEY, action)].into_iter().chain(more.iter().copied());
            Field::new("d", data_type, true)
                .with_metadata(metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
        };
        let last = |field: &Field, values: ArrayRef| Dated::of(field, false).unwrap().last_days(&values).unwrap();
        let days = |texts: &[&str]| texts.iter().map(|text| Some(epoch_day(day(text)))).collect::<Vec<_>>();
        let text: ArrayRef = Arc::new(StringViewArray::from(vec![
            Some("2019"),
            Some("2020-02"),
            Some("2020-12"),
            Some("2020-02-03T23:59:00Z"),
            Some("20200203"),
            Some("soon"),
            None,
        ]));
        let got = last(&field(DataType::Utf8View, "keep", &[]), text);
        assert_eq!(got[..5], days(&["2019-12-31", "2020-02-29", "2020-12-31", "2020-02-03", "2020-02-03"]));
        assert_eq!(got[5..], [None, None]);
        let years: ArrayRef = Arc::new(Int32Array::from(vec![Some(2019), None]));
        assert_eq!(last(&field(DataType::Int32, "year", &[]), years)[0], days(&["2019-12-31"])[0]);
        let micros = TimestampMicrosecondArray::from(vec![-1_i64, 86_400_000_000]).with_timezone("UTC");
        let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(last(&field(zone, "keep", &[]), Arc::new(micros)), [Some(-1), Some(1)]);
        let shifted: ArrayRef = Arc::new(Date32Array::from(vec![10]));
        let by_30 = field(DataType::Date32, "shift-date", &[(SHIFT_DAYS_KEY, "30")]);
        assert_eq!(last(&by_30, Arc::clone(&shifted)), [Some(40)]);
        assert_eq!(last(&field(DataType::Date32, "shift-date", &[]), Arc::clone(&shifted)), [Some(10 + MOST_SHIFT)]);
        // Where nothing says how a column was made, dates may have been shifted, but not under Safe Harbor.
        let plain = Field::new("d", DataType::Date32, true);
        assert_eq!(last(&plain, shifted), [Some(10 + MOST_SHIFT)]);
        assert_eq!(Dated::of(&plain, true).unwrap().slack, 0);
        for (data_type, action) in [
            (DataType::Int32, "age"),
            (DataType::Utf8View, "token"),
            (DataType::Float64, "keep"),
            (DataType::Utf8View, "scrub"),
        ] {
            assert_eq!(Dated::of(&field(data_type, action, &[]), true), None, "{action}");
        }
    }

    #[test]
    fn rows_without_a_date_are_as_old_as_what_they_were_read_from() {
        let rule = Rule { keep: Span::parse("1y").unwrap(), by: Some("d".to_owned()), position: Position::default() };
        let schema = Arc::new(Schema::new(vec![Field::new("d", DataType::Date32, true)]));
        let cut = Cut::new("t", &rule, &schema, true, now("2026-06-10T12:00:00Z")).ok().unwrap();
        let old = epoch_day(day("2020-01-01"));
        let young = epoch_day(day("2025-06-09"));
        let dates = Date32Array::from(vec![Some(old), None, Some(young), None, Some(old), None]);
        let rows = RecordBatch::try_new(schema, vec![Arc::new(dates)]).unwrap();
        let runs = [(Some(day("2020-05-05")), 2), (Some(day("2026-05-05")), 2), (None, 2)];
        let stays = cut.staying(&rows, runs.into_iter()).ok().unwrap().unwrap();
        assert_eq!(stays.iter().map(Option::unwrap).collect::<Vec<_>>(), [false, false, true, true, false, true]);
    }
}
