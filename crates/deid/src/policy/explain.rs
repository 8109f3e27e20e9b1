//! What a policy does to each field, why, and which of the eighteen identifiers that settles.

use cordon_phi::{IdentifierKind, Method, SafeHarborClause};
use serde::Serialize;

use super::file::{Action, Undeclared};
use crate::recipe::{FieldRule, Limits, Recipe, TableRecipe};

/// A policy in terms that a privacy officer can sign.
#[derive(Serialize)]
pub struct Explanation {
    pub policy: String,
    pub description: Option<String>,
    pub method: &'static str,
    pub clause: &'static str,
    /// SHA-256 of the policy's text.
    pub hash: String,
    pub reference_date: String,
    /// The day on which nobody over 89 may show: under Safe Harbor the later of reference date and run.
    pub ages_capped_at: String,
    pub datasets: Vec<DatasetLines>,
    /// One line for each letter of 164.514(b)(2)(i).
    pub identifiers: Vec<IdentifierLine>,
}

#[derive(Serialize)]
pub struct DatasetLines {
    pub dataset: String,
    pub subject: Option<String>,
    /// What becomes of fields that the policy does not name.
    pub undeclared: &'static str,
    pub fields: Vec<FieldLine>,
}

#[derive(Serialize)]
pub struct FieldLine {
    pub field: String,
    /// The output column; `None` when the field is dropped.
    pub column: Option<String>,
    pub kind: &'static str,
    /// The letter of 164.514(b)(2)(i), for the kinds that the rule lists.
    pub letter: Option<SafeHarborClause>,
    pub action: &'static str,
    pub why: String,
    /// Which master key protects the column.
    pub key: &'static str,
}

#[derive(Serialize)]
pub struct IdentifierLine {
    pub letter: SafeHarborClause,
    pub title: &'static str,
    /// The fields that hold it, with what is done.
    pub fields: Vec<String>,
}

/// Explains a compiled policy.
pub fn explain(recipe: &Recipe) -> Explanation {
    let mut datasets: Vec<DatasetLines> =
        recipe.tables.values().map(|table| table_lines(recipe.method, table)).collect();
    datasets.extend(recipe.documents.iter().map(|(name, documents)| DatasetLines {
        dataset: name.clone(),
        subject: Some(documents.subject()),
        undeclared: undeclared_text(documents.undeclared()),
        fields: documents.explain(recipe.method),
    }));
    let identifiers = SafeHarborClause::ALL
        .into_iter()
        .map(|letter| IdentifierLine {
            letter,
            title: letter.title(),
            fields: datasets
                .iter()
                .flat_map(|dataset| {
                    dataset
                        .fields
                        .iter()
                        .filter(move |line| line.letter == Some(letter))
                        .map(|line| format!("{}.{} → {}", dataset.dataset, line.field, line.action))
                })
                .collect(),
        })
        .collect();
    Explanation {
        policy: recipe.name.clone(),
        description: recipe.description.clone(),
        method: recipe.method.name(),
        clause: recipe.method.clause(),
        hash: recipe.hash.clone(),
        reference_date: recipe.reference_date.to_string(),
        ages_capped_at: recipe.ages_capped_at.to_string(),
        datasets,
        identifiers,
    }
}

fn table_lines(method: Method, table: &TableRecipe) -> DatasetLines {
    DatasetLines {
        dataset: table.name.clone(),
        subject: table.subject.clone(),
        undeclared: undeclared_text(table.undeclared),
        fields: table.rules.iter().map(|rule| field_line(method, rule)).collect(),
    }
}

fn undeclared_text(undeclared: Undeclared) -> &'static str {
    match undeclared {
        Undeclared::Drop => "dropped and reported",
        Undeclared::Fail => "the file is refused",
    }
}

fn field_line(method: Method, rule: &FieldRule) -> FieldLine {
    FieldLine {
        field: rule.input.clone(),
        column: rule.kernel.is_some().then(|| rule.output.clone()),
        kind: rule.kind.name(),
        letter: rule.kind.clause(),
        action: rule.action.name(),
        why: with_limits(rule.because.as_deref().unwrap_or(why(method, rule.kind, rule.action)), &rule.limits),
        key: rule.kind.key_class().name(),
    }
}

/// A reason, and what of a kept field does not stay.
pub(crate) fn with_limits(reason: &str, limits: &Limits) -> String {
    let mut out = reason.to_owned();
    if let Some(allow) = &limits.allow {
        out.push_str("; only ");
        out.push_str(&allow.summary());
    }
    for (field, values) in &limits.blank_where {
        out.push_str("; not where `");
        out.push_str(field);
        out.push_str("` is ");
        out.push_str(&values.join(", "));
    }
    if let Some(unit) = &limits.unit {
        out.push_str("; 90 years at most, in the unit of `");
        out.push_str(unit);
        out.push('`');
    }
    out
}

/// The reason that an action is right for a kind under a method.
pub fn why(method: Method, kind: IdentifierKind, action: Action) -> &'static str {
    match action {
        Action::Keep if kind.clause().is_none() => "not among the identifiers that 164.514(b)(2)(i) lists",
        Action::Keep if method == Method::LimitedDataSet => "may stay in a limited data set, 164.514(e)(2)",
        Action::Keep => "kept by expert determination, 164.514(b)(1)",
        Action::Drop | Action::Blank | Action::Redact => "removed, as the rule asks",
        Action::Year => "only the year of a date may stay, and not one that shows an age over 89, (b)(2)(i)(C)",
        Action::Age | Action::AgeCap => "ages over 89 become one category, (b)(2)(i)(C)",
        Action::Zip3 => "three digits stay where more than 20,000 people share them, else 000, (b)(2)(i)(B)",
        Action::Bin => "generalised to a range",
        Action::FirstChars => "generalised to its first characters",
        Action::ShiftDate => "moved by the subject's own number of days; order and intervals stay",
        Action::Token => "a random code from the vault, not derived from the value, 164.514(c)",
        Action::Hash | Action::Encrypt if kind.clause().is_none() => {
            "a keyed pseudonym of what is not among the identifiers that 164.514(b)(2)(i) lists"
        }
        Action::Hash => "a keyed hash; derived from the value, so by expert determination only",
        Action::Encrypt => "format-preserving encryption (FF1); by expert determination only",
        Action::Scrub => {
            "what the detector recognises is replaced; this is no proof: what it does not recognise stays, see docs/detection.md"
        }
        Action::Surrogate => "made up, the same for all records of the subject",
    }
}
