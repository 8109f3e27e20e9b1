//! A configuration of the Microsoft FHIR anonymizer as a policy of ours.
//!
//! The two differ where it matters most: there what no rule names is kept, here it is dropped. So the policy begins with
//! the one that ships for the method, loses what the configuration takes away, and gains what it keeps and the method
//! allows. What the method forbids, and what has no counterpart, is dropped and said, rule by rule. Keys are never copied.
//!
//! The first rule of a configuration that matches an element settles it with all that is in it; here a path beats a type.
//! A rule that an earlier one covers has no effect and is left out, so that nothing comes back by the other order.

mod config;
mod mapping;
mod path;

use std::fmt;
use std::path::Path;

use chrono::NaiveDate;
use cordon_phi::Method;
use serde::Serialize;

use super::check::{CompileOptions, compile};

/// What the policy is called, and by which method it de-identifies.
pub struct ImportOptions<'a> {
    pub name: &'a str,
    pub method: Method,
    /// The day for which it is compiled to see whether it can be.
    pub run_date: NaiveDate,
}

/// A policy, and what became of each rule.
pub struct Imported {
    /// YAML.
    pub policy: String,
    pub lines: Vec<Line>,
    /// Why the policy does not compile; empty where it does.
    pub problems: Vec<String>,
}

/// What became of one rule, or of the configuration as a whole (line 0).
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub line: usize,
    pub path: String,
    pub method: String,
    pub status: Status,
    /// What of 45 CFR 164.514 stands against it.
    pub clause: Option<String>,
    /// What is done instead, or why nothing is.
    pub becomes: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It means the same here.
    Mapped,
    /// More is taken away than it asked for.
    Stricter,
    /// The method does not allow it.
    Forbidden,
    /// It has no counterpart: what it means is dropped.
    Unmapped,
    /// An earlier rule, or FHIR R4 itself, leaves nothing for it to do.
    NoEffect,
    /// Something to know.
    Note,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Stricter => "stricter",
            Self::Forbidden => "forbidden",
            Self::Unmapped => "unmapped",
            Self::NoEffect => "no effect",
            Self::Note => "note",
        }
    }
}

/// A file that is no such configuration. Says where, never what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportError {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no configuration of the Microsoft FHIR anonymizer (line {}, column {})", self.line, self.column)
    }
}

impl std::error::Error for ImportError {}

/// Makes a policy of a configuration.
///
/// # Errors
/// When the text is no JSON of such a configuration. A rule that cannot be mapped is no error: it is a [`Line`].
pub fn import(text: &str, options: &ImportOptions<'_>) -> Result<Imported, ImportError> {
    let (config, lines) = config::read(text)?;
    let mut draft = mapping::draft(&config, &lines, options.method);
    // What the compiler refuses is dropped, until it refuses nothing: it knows more than the mapping does.
    const ROUNDS: usize = 16;
    let mut problems = Vec::new();
    for _ in 0..ROUNDS {
        let (policy, places) = draft.write(options);
        let Err(issues) = compile(&policy, Path::new("imported.yaml"), CompileOptions::on(options.run_date)) else {
            return Ok(Imported { policy, lines: draft.into_lines(), problems: Vec::new() });
        };
        problems = issues.0.iter().map(|issue| issue.message.clone()).collect();
        let mut mended = false;
        for issue in &issues.0 {
            if let Some(place) = places.get(&(issue.position.line as usize)) {
                mended |= draft.give_up(place, &issue.message);
            }
        }
        if !mended {
            break;
        }
    }
    let (policy, _) = draft.write(options);
    Ok(Imported { policy, lines: draft.into_lines(), problems })
}
