//! Legal holds: while one is on a table, nothing of it is removed, whoever asks.
//!
//! The audit log is the truth ([`crate::from_log`]): a hold is in force from its entry `hold_placed` to its entry `hold_released` or to
//! its last day. So no file can be edited, removed or put back to end a hold.
//!
//! Who removes something holds a lock together with others who do, from asking for holds until it is gone; who places a hold waits for
//! that. So a hold is in force when it has been said to be.

use std::collections::BTreeMap;
use std::fs::{self, File};

use chrono::{DateTime, Days, NaiveDate, Utc};
use cordon_audit::{Entry, Event};
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::from_log::FromLog;
use crate::project::OpenProject;
use crate::retention::{fits, is_pattern};

/// One hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub name: String,
    /// Names of tables, or beginnings of names with a `*`.
    pub tables: Vec<String>,
    /// The last day, `YYYY-MM-DD`; without it until it is released.
    pub until: Option<String>,
    pub reason: String,
    pub placed_by: String,
    pub placed: String,
}

impl Hold {
    /// Over when its last day is over everywhere. A day that cannot be read never comes.
    fn is_over(&self, now: DateTime<Utc>) -> bool {
        let until = self.until.as_ref().and_then(|until| until.parse::<NaiveDate>().ok());
        let over = until.and_then(|until| until.checked_add_days(Days::new(1)));
        over.is_some_and(|over| now.date_naive() > over)
    }
}

/// The holds that are in force at one time.
#[derive(Clone, Default)]
pub struct Holds(Vec<Hold>);

impl Holds {
    /// The names of those that are on a table.
    pub fn over(&self, table: &str) -> Vec<&str> {
        let on = |hold: &&Hold| hold.tables.iter().any(|pattern| fits(pattern, table));
        self.0.iter().filter(on).map(|hold| hold.name.as_str()).collect()
    }

    /// The names of those that are on any of these tables.
    pub fn over_any<'a>(&self, tables: impl IntoIterator<Item = &'a str>) -> Vec<&str> {
        let mut names: Vec<&str> = tables.into_iter().flat_map(|table| self.over(table)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    pub fn all(&self) -> &[Hold] {
        &self.0
    }
}

/// Holds that cannot become more until this is dropped.
pub struct InForce {
    pub holds: Holds,
    _lock: File,
}

impl OpenProject {
    /// The holds that are in force, which stay as they are while somebody removes something.
    pub fn holds_in_force(&self) -> Result<InForce, RunError> {
        let lock = self.holds_lock(rustix::fs::FlockOperation::LockShared)?;
        Ok(InForce { holds: self.holds()?, _lock: lock })
    }

    /// The holds that are in force now.
    pub fn holds(&self) -> Result<Holds, RunError> {
        let now = crate::run::clock();
        Ok(Holds(self.placed_holds()?.into_values().filter(|hold| !hold.is_over(now)).collect()))
    }

    /// Puts a hold in force. It is, when this returns.
    pub fn place_hold(
        &self,
        name: &str,
        tables: &[String],
        until: Option<NaiveDate>,
        user: &str,
        reason: &str,
    ) -> Result<(), RunError> {
        let named = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !named {
            return Err(RunError::usage(
                "this cannot name a hold",
                "use up to 64 letters, digits, - and _: the number of a case, not the name of a person",
            ));
        }
        self.check_tables(tables)?;
        let now = crate::run::clock();
        let event = Event::HoldPlaced {
            hold: name.to_owned(),
            tables: tables.to_vec(),
            until: until.map(|until| until.to_string()),
            principal: user.to_owned(),
            reason: reason.to_owned(),
        };
        if until.is_some_and(|until| until < now.date_naive()) {
            return Err(RunError::usage("the hold's last day is over", "name a later day, or leave `--until` out"));
        }
        let _lock = self.holds_lock(rustix::fs::FlockOperation::LockExclusive)?;
        if self.placed_holds()?.get(name).is_some_and(|hold| !hold.is_over(now)) {
            return Err(RunError::usage(
                format!("there is a hold `{name}` already"),
                "give this one another name; a table may be under several",
            ));
        }
        self.audit(&event).map(drop)
    }

    /// Ends a hold.
    pub fn release_hold(&self, name: &str, user: &str, reason: &str) -> Result<(), RunError> {
        let _lock = self.holds_lock(rustix::fs::FlockOperation::LockExclusive)?;
        let holds = self.holds()?;
        if !holds.all().iter().any(|hold| hold.name == name) {
            return Err(RunError::usage(
                format!("there is no hold `{name}` in force"),
                "see those that are:  cordon hold list",
            ));
        }
        let event =
            Event::HoldReleased { hold: name.to_owned(), principal: user.to_owned(), reason: reason.to_owned() };
        self.audit(&event).map(drop)
    }

    /// A hold on a name that is nothing's would protect nothing.
    fn check_tables(&self, tables: &[String]) -> Result<(), RunError> {
        if tables.is_empty() {
            return Err(RunError::usage("the hold names no table", "name some, or all: `--tables '*'`"));
        }
        let mut known = self.project.tables_to_be();
        for table in self.tables().tables()? {
            known.entry(table).or_default();
        }
        for pattern in tables {
            let fitting = is_pattern(pattern) && (pattern == "*" || known.keys().any(|table| fits(pattern, table)));
            if !fitting {
                let names = known.keys().map(String::as_str);
                let near = cordon_deid::yaml::nearest(pattern, names.clone());
                let help = near.map_or_else(
                    || format!("tables: {}", names.collect::<Vec<_>>().join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                return Err(RunError::usage("the hold names a table that is not there".to_owned(), help));
            }
        }
        Ok(())
    }

    fn holds_lock(&self, operation: rustix::fs::FlockOperation) -> Result<File, RunError> {
        let folder = self.root.join(&self.project.file.storage.state);
        fs::create_dir_all(&folder).map_err(|error| RunError::io("create", &folder, &error))?;
        let path = folder.join("holds.lock");
        let file = File::create(&path).map_err(|error| RunError::io("open", &path, &error))?;
        loop {
            match rustix::fs::flock(&file, operation) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(RunError::io("lock", &path, &error.into())),
            }
        }
    }

    /// All holds that were placed and not released, also those whose last day is over.
    fn placed_holds(&self) -> Result<BTreeMap<String, Hold>, RunError> {
        Ok(self.read_from_log::<Placed>()?.0)
    }
}

/// By name.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Placed(BTreeMap<String, Hold>);

impl FromLog for Placed {
    const FILE: &'static str = "holds.sealed";

    fn apply(&mut self, entry: &Entry) -> bool {
        apply(&mut self.0, &entry.event, entry.time)
    }
}

/// Whether the event was about a hold.
fn apply(holds: &mut BTreeMap<String, Hold>, event: &Event, time: DateTime<Utc>) -> bool {
    match event {
        Event::HoldPlaced { hold, tables, until, principal, reason } => {
            let placed = Hold {
                name: hold.clone(),
                tables: tables.clone(),
                until: until.clone(),
                reason: reason.clone(),
                placed_by: principal.clone(),
                placed: time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            };
            holds.insert(hold.clone(), placed);
            true
        }
        Event::HoldReleased { hold, .. } => holds.remove(hold).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hold_lasts_until_its_last_day_is_over_everywhere() {
        let hold = |until: Option<&str>| Hold {
            name: "case-1".to_owned(),
            tables: vec!["fhir_*".to_owned()],
            until: until.map(str::to_owned),
            reason: String::new(),
            placed_by: String::new(),
            placed: String::new(),
        };
        let at = |time: &str| time.parse().unwrap();
        assert!(!hold(Some("2026-05-01")).is_over(at("2026-05-02T23:59:59Z")));
        assert!(hold(Some("2026-05-01")).is_over(at("2026-05-03T00:00:00Z")));
        assert!(!hold(None).is_over(at("2999-01-01T00:00:00Z")));
        assert!(!hold(Some("some day")).is_over(at("2999-01-01T00:00:00Z")), "what cannot be read holds");
        let holds = Holds(vec![hold(None)]);
        assert_eq!(holds.over("fhir_patient"), ["case-1"]);
        assert!(holds.over("patients").is_empty());
    }
}
