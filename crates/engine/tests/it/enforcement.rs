//! Ways round the views, as cases: `cases/enforcement/*.yaml`.

use std::path::Path;

use serde::Deserialize;

use crate::planted::{assert_silent, kind, outcome, planted, sorted};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the cases show.
    law: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    sql: String,
    /// The kind of error. Without it there must be rows, those that the prepared copy gives.
    #[serde(default)]
    error: Option<String>,
    /// The rows themselves.
    #[serde(default)]
    rows: Option<Vec<String>>,
    /// Over everything there is the answer is another: without the views this would have told something.
    #[serde(default)]
    tells: bool,
    /// What EXPLAIN says, and does not say.
    #[serde(default)]
    plan: Vec<String>,
    #[serde(default)]
    no_plan: Vec<String>,
}

#[tokio::test]
async fn no_way_leads_round_the_views() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/enforcement");
    let planted = planted(2);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut count, mut failures) = (0, Vec::new());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!file.law.is_empty());
        for case in &file.cases {
            count += 1;
            let mut wrong = |text: String| {
                failures.push(format!(
                    "{}: {}\n  {}\n  {text}",
                    path.file_name().unwrap().display(),
                    case.name,
                    case.sql
                ));
            };
            let seen = outcome(&planted.guarded, &case.sql).await;
            let prepared = outcome(&planted.copy, &case.sql).await;
            assert_silent(&planted.guarded, &case.sql, &seen, &prepared).await;
            match (&seen, &case.error) {
                (Err(error), Some(expected)) if kind(error) == *expected => {}
                (Err(error), _) => wrong(format!("failed: {}", kind(error))),
                (Ok(lines), Some(expected)) => wrong(format!("not {expected}: {lines:?}")),
                (Ok(lines), None) => {
                    if sorted(&seen) != sorted(&prepared) {
                        wrong(format!("{seen:?}\n  and the copy: {prepared:?}"));
                    }
                    if let Some(rows) = &case.rows
                        && lines[1..] != rows[..]
                    {
                        wrong(format!("{:?}", &lines[1..]));
                    }
                }
            }
            if case.tells && sorted(&outcome(&planted.full, &case.sql).await) == sorted(&seen) {
                wrong("tells nothing without the views either".to_owned());
            }
            if !case.plan.is_empty() || !case.no_plan.is_empty() {
                let plan = outcome(&planted.guarded, &format!("explain {}", case.sql)).await.unwrap().join("\n");
                for shown in case.plan.iter().filter(|text| !plan.contains(*text)) {
                    wrong(format!("{shown} not in\n{plan}"));
                }
                for hidden in case.no_plan.iter().filter(|text| plan.contains(*text)) {
                    wrong(format!("{hidden} in\n{plan}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(count > 150, "only {count} cases");
}
