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

/// One test a file, so that they run beside each other.
macro_rules! files {
    ($($file:ident)*) => {
        $(
            #[tokio::test]
            async fn $file() {
                check(stringify!($file)).await;
            }
        )*

        #[test]
        fn every_file_is_run() {
            let mut listed = [$(concat!(stringify!($file), ".yaml")),*];
            let mut there: Vec<_> =
                std::fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            listed.sort_unstable();
            there.sort();
            assert_eq!(listed[..], there[..]);
        }
    };
}

files! { elsewhere hidden_columns hidden_rows masks oracles others plans statements }

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../cases/enforcement");

async fn check(file: &str) {
    let planted = planted(2);
    let text = std::fs::read_to_string(Path::new(FOLDER).join(file).with_extension("yaml")).unwrap();
    let File { law, cases } = serde_saphyr::from_str(&text).unwrap();
    assert!(!law.is_empty() && cases.len() > 20);
    let mut failures = Vec::new();
    for case in &cases {
        let mut wrong = |text: String| failures.push(format!("{}\n  {}\n  {text}", case.name, case.sql));
        let seen = outcome(&planted.guarded, &case.sql).await;
        let prepared = if case.error.is_some() { seen.clone() } else { outcome(&planted.copy, &case.sql).await };
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
    assert!(
        failures.is_empty(),
        "{law}\n{} of {} cases do not hold:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}
