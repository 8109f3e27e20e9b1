//! Who sees what, for people who have to answer for it: all of it as a matrix, and what changes between two sets of rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::decision::{Action, Mask, Request};
use crate::policies::{Policies, Sight};
use crate::principal::{Principal, PurposeOfUse};
use crate::purpose::Purpose;
use crate::service::ColumnFacts;

/// A dataset that exists, with what is known of its columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    pub columns: Vec<String>,
    pub facts: Vec<ColumnFacts>,
}

impl Known {
    /// What this user sees of it.
    pub fn sight(&self, policies: &Policies, principal: &Principal, usage: &PurposeOfUse, time: i64) -> Sight {
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let dataset = &self.name;
        let action = Action::Read;
        policies.explain(&Request { principal, usage, time, dataset, columns: &columns, facts: &self.facts, action })
    }
}

/// What every user sees of every dataset for every purpose: complete by construction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matrix {
    pub entries: Vec<Entry>,
}

/// What one user sees of one dataset, for purposes for which it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub user: String,
    pub purposes: Vec<Purpose>,
    #[serde(flatten)]
    pub sight: Sight,
}

impl Matrix {
    pub fn new(policies: &Policies, principals: &[Principal], datasets: &[Known], time: i64) -> Self {
        let mut entries = Vec::new();
        for dataset in datasets {
            for principal in principals {
                let first = entries.len();
                for purpose in Purpose::ALL {
                    let sight = dataset.sight(policies, principal, &purpose.into(), time);
                    let same = entries.iter_mut().skip(first).find(|entry: &&mut Entry| entry.sight == sight);
                    match same {
                        Some(entry) => entry.purposes.push(purpose),
                        None => {
                            entries.push(Entry { user: principal.name.clone(), purposes: vec![purpose], sight });
                        }
                    }
                }
            }
        }
        Self { entries }
    }
}

fn letters(purposes: &[Purpose]) -> String {
    purposes.iter().map(|purpose| purpose.letter()).collect()
}

/// A mask in words.
pub fn mask_words(mask: &Mask) -> String {
    match (mask, serde_json::to_value(mask)) {
        (Mask::Custom(sql), _) => format!("custom: {sql}"),
        (_, Ok(serde_json::Value::String(name))) => name.replace('_', " "),
        _ => "masked".to_owned(),
    }
}

impl fmt::Display for Matrix {
    /// A column's cell has a letter for each purpose: large where the values are seen, small where they are masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Who may see what, for which purpose:")?;
        for purpose in Purpose::ALL {
            write!(f, " {}={purpose}", purpose.letter())?;
        }
        f.write_str("\nA small letter: masked. `rows`: only those that pass the filter.\n")?;
        let mut datasets: Vec<&str> = Vec::new();
        for entry in &self.entries {
            if datasets.last() != Some(&entry.sight.dataset.as_str()) {
                datasets.push(&entry.sight.dataset);
            }
        }
        let is_open =
            |name: &&str| self.entries.iter().any(|entry| entry.sight.dataset == **name && entry.sight.is_open());
        let (open, closed): (Vec<&str>, Vec<&str>) = datasets.into_iter().partition(is_open);
        for dataset in open {
            self.one(f, dataset)?;
        }
        if !closed.is_empty() {
            writeln!(f, "\nOpen to nobody: {}", closed.join(", "))?;
        }
        Ok(())
    }
}

impl Matrix {
    fn one(&self, f: &mut fmt::Formatter<'_>, dataset: &str) -> fmt::Result {
        let entries: Vec<&Entry> = self.entries.iter().filter(|entry| entry.sight.dataset == dataset).collect();
        let mut users: Vec<&str> = Vec::new();
        for entry in &entries {
            if !users.contains(&entry.user.as_str()) {
                users.push(&entry.user);
            }
        }
        let line = |f: &mut fmt::Formatter<'_>, head: &str, cells: &mut dyn Iterator<Item = String>| {
            let line = cells.fold(format!("{head:<22}"), |line, cell| format!("{line} {cell:<12}"));
            writeln!(f, "{}", line.trim_end())
        };
        f.write_str("\n")?;
        line(f, dataset, &mut users.iter().map(|user| (*user).to_owned()))?;
        let columns = entries.first().map(|entry| entry.sight.columns.as_slice()).unwrap_or_default();
        for (at, column) in columns.iter().enumerate() {
            let mut cells = users.iter().map(|user| {
                let of_user = || entries.iter().filter(|entry| entry.user == **user);
                Purpose::ALL
                    .into_iter()
                    .map(|purpose| {
                        let entry = of_user().find(|entry| entry.purposes.contains(&purpose));
                        match entry.and_then(|entry| entry.sight.columns.get(at)) {
                            Some(seen) if seen.visible && seen.mask.is_some() => purpose.letter().to_ascii_lowercase(),
                            Some(seen) if seen.visible => purpose.letter(),
                            _ => '.',
                        }
                    })
                    .collect()
            });
            line(f, &format!("  {}", column.name), &mut cells)?;
        }
        let mut notes: BTreeSet<String> = BTreeSet::new();
        for entry in entries.iter().filter(|entry| entry.sight.is_open()) {
            let (user, of) = (&entry.user, letters(&entry.purposes));
            if let Some(rows) = &entry.sight.row_filter {
                notes.insert(format!("  rows of {user} {of}: {} ({})", rows.filter, rows.why));
            }
            for column in entry.sight.columns.iter().filter(|column| column.visible) {
                if let Some(mask) = &column.mask {
                    let (name, words) = (&column.name, mask_words(&mask.mask));
                    notes.insert(format!("  {name} of {user} {of}: {words} ({})", mask.why));
                }
            }
            for trouble in &entry.sight.troubles {
                notes.insert(format!("  not evaluated for {user} {of}: {trouble}"));
            }
        }
        notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

/// What a user sees otherwise under other rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    pub user: String,
    pub dataset: String,
    /// None where it is about rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    #[serde(flatten)]
    pub what: Difference,
    pub purposes: Vec<Purpose>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Difference {
    Gained {
        masked: Option<String>,
    },
    Lost,
    /// `None` is the value as it is stored.
    Mask {
        from: Option<String>,
        to: Option<String>,
    },
    /// `None` is every row.
    Rows {
        from: Option<String>,
        to: Option<String>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, dataset, column, what, purposes } = self;
        let place = column.as_ref().map_or_else(|| dataset.clone(), |column| format!("{dataset}.{column}"));
        let or = |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.to_owned());
        write!(f, "{user} ")?;
        match what {
            Difference::Gained { masked: None } => write!(f, "gains {place}"),
            Difference::Gained { masked: Some(mask) } => write!(f, "gains {place}, {mask}"),
            Difference::Lost => write!(f, "loses {place}"),
            Difference::Mask { from, to } => {
                write!(f, "sees {place} otherwise: {} before, {} now", or(from, "unmasked"), or(to, "unmasked"))
            }
            Difference::Rows { from, to } => {
                write!(f, "sees other rows of {place}: {} before, {} now", or(from, "all"), or(to, "all"))
            }
        }?;
        if purposes.len() == Purpose::ALL.len() {
            return f.write_str(" (every purpose)");
        }
        let names: Vec<&str> = purposes.iter().map(|purpose| purpose.name()).collect();
        write!(f, " ({})", names.join(", "))
    }
}

/// What changes for these users from one set of rules to another.
pub fn compare(
    before: &Policies,
    after: &Policies,
    principals: &[Principal],
    datasets: &[Known],
    time: i64,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for principal in principals {
        for dataset in datasets {
            let mut found: BTreeMap<(Option<String>, Difference), Vec<Purpose>> = BTreeMap::new();
            for purpose in Purpose::ALL {
                let usage = purpose.into();
                let old = dataset.sight(before, principal, &usage, time);
                let new = dataset.sight(after, principal, &usage, time);
                for difference in differences(&old, &new) {
                    found.entry(difference).or_default().push(purpose);
                }
            }
            let change = |((column, what), purposes)| Change {
                user: principal.name.clone(),
                dataset: dataset.name.clone(),
                column,
                what,
                purposes,
            };
            changes.extend(found.into_iter().map(change));
        }
    }
    changes
}

fn differences(old: &Sight, new: &Sight) -> Vec<(Option<String>, Difference)> {
    let mut out = Vec::new();
    for (before, after) in old.columns.iter().zip(&new.columns) {
        let words = |column: &crate::ColumnSight| column.mask.as_ref().map(|mask| mask_words(&mask.mask));
        let what = match (before.visible, after.visible) {
            (false, true) => Difference::Gained { masked: words(after) },
            (true, false) => Difference::Lost,
            (true, true) if words(before) != words(after) => Difference::Mask { from: words(before), to: words(after) },
            _ => continue,
        };
        out.push((Some(after.name.clone()), what));
    }
    let filter = |sight: &Sight| sight.row_filter.as_ref().map(|rows| rows.filter.clone());
    if old.is_open() && new.is_open() && filter(old) != filter(new) {
        out.push((None, Difference::Rows { from: filter(old), to: filter(new) }));
    }
    out
}
