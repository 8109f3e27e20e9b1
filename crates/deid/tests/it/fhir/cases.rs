//! The cases in `cases/fhir`: each names the law that it shows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Ran, SHIPPED, recipe, run, token_text};

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    /// The policy of these cases; without it the shipped one.
    policy: Option<String>,
    cases: BTreeMap<String, Case>,
}

/// A law. JSON is compared to the letter, but for line ends and indentation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    r#in: String,
    /// What comes out; `<domain:value>` stands for the token of a value. Several resources: one a line.
    out: Option<String>,
    /// Where and why the resource fails.
    fails: Option<String>,
    /// Elements that were left out because FHIR does not define them.
    #[serde(default)]
    undeclared: Vec<String>,
    /// Columns of the table.
    #[serde(default)]
    columns: BTreeMap<String, Option<String>>,
    /// What the compiler says of the file's policy.
    refuses: Option<String>,
}

fn one_line(json: &str) -> String {
    json.lines().map(str::trim).collect()
}

/// Puts tokens where `<domain:value>` stands.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        out.push_str(before);
        match after.split_once('>') {
            Some((place, behind)) if place.contains(':') => {
                let (domain, value) = place.split_once(':').unwrap();
                out.push_str(&token_text(domain, value));
                rest = behind;
            }
            _ => {
                out.push('<');
                rest = after;
            }
        }
    }
    out + rest
}

#[test]
fn cases_hold() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../cases/fhir");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut count, mut wrong) = (0, Vec::new());
    for path in files {
        let file: File = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let compiled = recipe(file.policy.as_deref().unwrap_or(SHIPPED));
        for (law, case) in &file.cases {
            count += 1;
            let problem = match (&compiled, &case.refuses) {
                (Err(issues), Some(says)) if issues.to_string().contains(says.as_str()) => None,
                (Err(issues), _) => Some(format!("the compiler says: {issues}")),
                (Ok(_), Some(_)) => Some("the compiler lets it pass".to_owned()),
                (Ok(recipe), None) => check(&run(recipe, one_line(&case.r#in).as_bytes()), case),
            };
            wrong.extend(problem.map(|problem| format!("{} {law}\n{problem}", path.file_name().unwrap().display())));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases fail:\n\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(count > 30, "{count} cases");
}

fn check(ran: &Ran, case: &Case) -> Option<String> {
    let mut said: Vec<String> =
        ran.failures.iter().map(|failure| format!("{}: {}", failure.path, failure.reason)).collect();
    said.extend(ran.rejects.iter().map(ToString::to_string));
    let said = said.join("\n");
    if said != case.fails.clone().unwrap_or_default() {
        return Some(format!("fails with: {said}"));
    }
    let undeclared: Vec<&String> = ran.undeclared.keys().collect();
    if undeclared != case.undeclared.iter().collect::<Vec<_>>() {
        return Some(format!("undeclared: {undeclared:?}"));
    }
    let out: String = ran.resources().iter().map(|(_, json)| json.as_str()).collect();
    let want = expand(&one_line(case.out.as_deref().unwrap_or_default()));
    if out != want {
        return Some(format!("  out: {out}\n want: {want}"));
    }
    for (name, want) in &case.columns {
        let value = ran.column(&ran.tables[0].0, name).remove(0);
        let want = want.as_deref().map(expand);
        if value != want {
            return Some(format!("column {name}: {value:?}, want {want:?}"));
        }
    }
    None
}
