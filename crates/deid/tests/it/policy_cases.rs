//! Policies against the law, `cases/policies`.
//!
//! `clauses/<letter>.yaml` says for each kind of identifier, each method and each action what comes out, or with which
//! words the compiler refuses. Nothing of it may be missing: a kind, a method or an action without its line fails.
//! `laws/*.yaml` holds whole policies: what they do to rows, or why they are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema};
use cordon_deid::kernel::text_of;
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::policy::explain::explain;
use cordon_deid::policy::file::Action;
use cordon_deid::recipe::{Recipe, TableRecipe};
use cordon_deid::yaml::Issues;
use cordon_phi::{IdentifierKind, Method, SafeHarborClause};
use indexmap::IndexMap;
use serde::Deserialize;

use super::fhir::env;

const METHODS: [Method; 3] = [Method::SafeHarbor, Method::LimitedDataSet, Method::ExpertDetermination];

const ACTIONS: [Action; 16] = [
    Action::Keep,
    Action::Drop,
    Action::Blank,
    Action::Redact,
    Action::Year,
    Action::Age,
    Action::AgeCap,
    Action::Zip3,
    Action::Bin,
    Action::FirstChars,
    Action::ShiftDate,
    Action::Token,
    Action::Hash,
    Action::Encrypt,
    Action::Surrogate,
    Action::Scrub,
];

fn compiled(policy: &str, run_date: &str) -> Result<Recipe, Issues> {
    compile(policy, Path::new("policies/test.yaml"), CompileOptions::on(run_date.parse().unwrap()))
}

/// One row through a table; columns that the row does not name are null.
fn one_row(
    table: &TableRecipe,
    row: &BTreeMap<String, Option<String>>,
) -> Result<BTreeMap<String, Option<String>>, String> {
    let names: IndexMap<&str, ()> = table.rules.iter().map(|rule| (rule.input.as_str(), ())).collect();
    for name in row.keys() {
        assert!(names.contains_key(name.as_str()), "the policy has no field `{name}`");
    }
    let fields: Vec<Field> = names.keys().map(|name| Field::new(*name, DataType::Utf8View, true)).collect();
    let value = |name: &&str| row.get(*name).cloned().flatten();
    let columns = names.keys().map(|name| Arc::new(StringViewArray::from_iter([value(name)])) as ArrayRef).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let columns: Vec<String> = names.keys().map(|name| (*name).to_owned()).collect();
    let bound = table.bind(&columns).unwrap();
    let applied = bound.apply(&batch, &env()).unwrap_or_else(|error| panic!("{error}"));
    if let Some(failure) = applied.failures.first() {
        return Err(format!("{}: {}", failure.field, failure.reason));
    }
    let schema = applied.batch.schema();
    let text = |at: usize| {
        let text = text_of(applied.batch.column(at));
        text.is_valid(0).then(|| text.value(0).to_owned())
    };
    Ok(schema.fields().iter().enumerate().map(|(at, field)| (field.name().clone(), text(at))).collect())
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/policies").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clause {
    law: String,
    kinds: BTreeMap<IdentifierKind, OfKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct OfKind {
    value: String,
    safe_harbor: OfMethod,
    limited_data_set: OfMethod,
    expert_determination: OfMethod,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct OfMethod {
    default: Action,
    /// What comes out: `<gone>` no column, `<other>` something else than the value, `<fails>` no row.
    gives: BTreeMap<Action, Option<String>>,
    /// Actions that need `because`.
    #[serde(default)]
    with_reason: BTreeSet<Action>,
    /// What the compiler says, and of which actions.
    #[serde(default)]
    refuses: BTreeMap<String, Vec<Action>>,
}

fn policy(method: Method, kind: IdentifierKind, action: Option<Action>, because: bool) -> String {
    let papers = match method {
        Method::SafeHarbor => "",
        Method::LimitedDataSet => {
            "data-use-agreement: { recipient: A, permitted-uses: [B], signed: 2025-01-01, no-reidentification: true }"
        }
        Method::ExpertDetermination => "expert: { name: A, document: B }",
    };
    let options = match action {
        Some(Action::Bin) => ", width: 10",
        Some(Action::FirstChars) => ", chars: 2",
        Some(Action::ShiftDate) => ", type: text",
        Some(Action::Surrogate) => ", surrogate: last-name",
        _ => "",
    };
    let action = action.map_or(String::new(), |action| format!(", action: {}", action.name()));
    let because = if because { ", because: tested" } else { "" };
    format!(
        "policy: test\nmethod: {}\n{papers}\ndatasets:\n  t:\n    subject: who\n    fields:\n      \
         who: {{ kind: unique-id, action: token, domain: patient }}\n      \
         x: {{ kind: {}{action}{options}{because} }}\n",
        method.name(),
        kind.name()
    )
}

fn outcome(text: &str, value: &str) -> Result<Option<String>, String> {
    let recipe = compiled(text, "2026-01-01").map_err(|issues| issues.to_string())?;
    let row = [("who", "p1"), ("x", value)].map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    Ok(match one_row(&recipe.tables["t"], &row.into()) {
        Err(_) => Some("<fails>".to_owned()),
        Ok(columns) => match columns.get("x") {
            None => Some("<gone>".to_owned()),
            Some(out) => out.clone(),
        },
    })
}

#[test]
fn every_kind_by_every_method_with_every_action() {
    let (mut wrong, mut kinds, mut letters) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for path in files("clauses") {
        let clause: Clause = read(&path);
        let letter = path.file_stem().unwrap().to_str().unwrap().to_uppercase();
        assert!(clause.law.contains(&format!("164.514(b)(2)(i)({letter})")), "{}", path.display());
        for (kind, case) in &clause.kinds {
            assert_eq!(kind.clause().map(|clause| clause.to_string()), Some(letter.clone()), "{}", kind.name());
            letters.extend(kind.clause());
            kinds.insert(*kind);
            for method in METHODS {
                let laws = match method {
                    Method::SafeHarbor => &case.safe_harbor,
                    Method::LimitedDataSet => &case.limited_data_set,
                    Method::ExpertDetermination => &case.expert_determination,
                };
                let recipe =
                    compiled(&policy(method, *kind, None, true), "2026-01-01").unwrap_or_else(|e| panic!("{e}"));
                let place = format!("{} {}", kind.name(), method.name());
                if recipe.tables["t"].rules[1].action != laws.default {
                    wrong.push(format!("{place}: the default is {}", recipe.tables["t"].rules[1].action.name()));
                }
                for action in ACTIONS {
                    let refusals: Vec<_> =
                        laws.refuses.iter().filter(|(_, actions)| actions.contains(&action)).collect();
                    let place = format!("{place} {}", action.name());
                    let needs_reason = laws.with_reason.contains(&action);
                    let bare = outcome(&policy(method, *kind, Some(action), false), &case.value);
                    if needs_reason && !bare.as_ref().is_err_and(|said| said.contains("without a reason")) {
                        wrong.push(format!("{place}: allowed without a reason"));
                    }
                    let found = if needs_reason {
                        outcome(&policy(method, *kind, Some(action), true), &case.value)
                    } else {
                        bare
                    };
                    match (laws.gives.get(&action), refusals.as_slice(), found) {
                        (Some(want), [], Ok(found)) => {
                            let other =
                                found.as_ref().is_some_and(|out| !out.starts_with('<') && !out.contains(&case.value));
                            let holds = if want.as_deref() == Some("<other>") { other } else { *want == found };
                            if !holds {
                                wrong.push(format!("{place}: gives {found:?}, not {want:?}"));
                            }
                        }
                        (None, [(says, _)], Err(said)) if said.contains(says.as_str()) => {}
                        (Some(_), [], Err(said)) => wrong.push(format!("{place}: refused: {said}")),
                        (None, [(says, _)], found) => {
                            wrong.push(format!("{place}: not refused with {says}: {found:?}"));
                        }
                        _ => wrong.push(format!("{place}: has no line, or two")),
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let listed: BTreeSet<_> = IdentifierKind::ALL.iter().copied().filter(|kind| kind.clause().is_some()).collect();
    assert_eq!(kinds, listed, "a kind without its cases");
    assert_eq!(letters, SafeHarborClause::ALL.into_iter().collect(), "a clause without its cases");
}

/// A file of whole policies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Laws {
    law: String,
    /// The keys of the policy besides its name and datasets, for the cases that say no others.
    #[serde(default)]
    head: String,
    cases: IndexMap<String, Law>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Law {
    head: Option<String>,
    /// A policy that ships with the program, in place of `datasets`.
    shipped: Option<String>,
    #[serde(default)]
    datasets: String,
    /// The dataset of the rows; without it the first.
    dataset: Option<String>,
    #[serde(default = "new_year")]
    run_date: String,
    /// What the compiler says.
    refuses: Option<String>,
    #[serde(default)]
    rows: Vec<Row>,
    /// What `cordon policy explain` says of some field.
    explains: Option<String>,
}

/// Columns that `out` does not name are not looked at; `<gone>` is no column.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    r#in: BTreeMap<String, Option<String>>,
    #[serde(default)]
    out: BTreeMap<String, Option<String>>,
    fails: Option<String>,
}

fn new_year() -> String {
    "2026-01-01".to_owned()
}

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name).with_extension("yaml");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn broken(law: &Law, head: &str) -> Option<String> {
    let text = match &law.shipped {
        Some(name) => shipped(name),
        None => {
            format!("policy: test\n{}\ndatasets:\n{}", law.head.as_deref().unwrap_or(head), indented(&law.datasets))
        }
    };
    let recipe = match (compiled(&text, &law.run_date), &law.refuses) {
        (Err(issues), Some(says)) => {
            let unplaced = issues.0.iter().any(|issue| issue.position.line == 0);
            let said = issues.to_string();
            return (unplaced || !said.contains(says.as_str())).then(|| format!("the compiler says: {said}"));
        }
        (Err(issues), None) => return Some(format!("the compiler says: {issues}")),
        (Ok(_), Some(_)) => return Some("the compiler lets it pass".to_owned()),
        (Ok(recipe), None) => recipe,
    };
    if let Some(says) = &law.explains {
        let explained = explain(&recipe);
        let lines = explained.datasets.iter().flat_map(|dataset| &dataset.fields);
        let reasons: Vec<&str> = lines.map(|line| line.why.as_str()).collect();
        if !reasons.iter().any(|reason| reason.contains(says.as_str())) {
            return Some(format!("explain says: {reasons:?}"));
        }
    }
    let table = law.dataset.as_ref().map_or_else(|| recipe.tables.values().next(), |name| recipe.tables.get(name));
    for row in &law.rows {
        let found = one_row(table.expect("a table for the rows"), &row.r#in);
        match (&found, &row.fails) {
            (Err(said), Some(says)) if said.contains(says.as_str()) => {}
            (Ok(columns), None) => {
                for (name, want) in &row.out {
                    let found = columns.get(name).cloned().unwrap_or_else(|| Some("<gone>".to_owned()));
                    if found != *want {
                        return Some(format!("{:?}: `{name}` is {found:?}, not {want:?}", row.r#in));
                    }
                }
            }
            _ => return Some(format!("{:?}: {found:?}", row.r#in)),
        }
    }
    None
}

fn indented(datasets: &str) -> String {
    datasets.lines().map(|line| format!("  {line}\n")).collect()
}

#[test]
fn laws_hold() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for path in files("laws") {
        let laws: Laws = read(&path);
        assert!(laws.law.contains("164.5"), "{} names no law", path.display());
        for (name, law) in &laws.cases {
            assert!(law.refuses.is_some() || !law.rows.is_empty() || law.explains.is_some(), "{name} shows nothing");
            count += 1;
            let file = path.file_name().unwrap().display();
            wrong.extend(broken(law, &laws.head).map(|problem| format!("{file} {name}\n  {problem}")));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases fail:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 40, "{count} cases");
}
