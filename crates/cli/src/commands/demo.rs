//! `cordon demo`: the whole of it on a hospital that does not exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use cordon_pipeline::error::ExitKind;
use cordon_pipeline::init::{InitOptions, Template, init};
use cordon_pipeline::project::{OpenProject, Project};
use cordon_pipeline::replay::listing;
use cordon_synth::{Formats, SynthOptions};

use super::{Outcome, ask_passphrase, os_user, run, sql, synth};
use crate::args::{DemoArgs, OutputFormat};
use crate::ui::{Failure, Ui, human_bytes};

/// The analysis of the founding document: average age and count by gender.
const ANALYSIS: &str = "SELECT gender, count(*) AS patients, round(avg(age), 1) AS average_age \
                        FROM patients GROUP BY gender ORDER BY patients DESC";
const JOINED: &str = "SELECT p.gender, count(DISTINCT p.patient_id) AS diabetics, round(avg(o.value), 2) AS mean_hba1c \
                      FROM patients p JOIN observations o ON o.patient_id = p.patient_id \
                      WHERE o.code = '4548-4' GROUP BY p.gender ORDER BY diabetics DESC";
const ACROSS: &str = "SELECT count(*) AS patients_in_both FROM patients p JOIN fhir_patient f ON f.id = p.patient_id";

pub fn demo(ui: &Ui, args: &DemoArgs) -> Outcome {
    let began = Instant::now();
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("cordon-demo"));
    if dir.exists() {
        return Err(Failure::usage(format!(
            "{} exists already\n  help: remove it, or name another folder: cordon demo DIR",
            dir.display()
        )));
    }
    step(ui, 1, "A project: keys, vault, audit log, a Safe Harbor policy, a pipeline");
    init(
        &dir,
        &InitOptions {
            template: Template::Hospital,
            limited: false,
            passphrase_env: None,
            root: None,
            user: os_user(),
        },
    )?;
    ui.say(format!("   {}/cordon.yaml, policies/, pipelines/, secrets/root.key", dir.display()));

    step(ui, 2, "A synthetic hospital: all 18 kinds of identifiers, and the dirt of real exports");
    let options = SynthOptions {
        patients: args.patients,
        formats: Formats { csv: true, fhir: true, ..Formats::NONE },
        ..SynthOptions::default()
    };
    let summary = synth::generate(ui, &dir.join("data"), options)?;
    ui.say(format!(
        "   {} patients, {} files of CSV and FHIR R4, {}, {} rows spoiled on purpose",
        summary.patients,
        summary.files.len(),
        human_bytes(summary.bytes()),
        summary.bad_rows.len()
    ));

    step(ui, 3, "cordon run nightly");
    let project = Arc::new(Project::find(&dir)?.open(&ask_passphrase, &os_user())?);
    let report = run::run_named(ui, &project, "nightly", None, false)?;
    run::print_report(ui, &report);

    step(ui, 4, "Three patients (none of them exists), before and after");
    before_and_after(ui, &project, &dir)?;

    step(ui, 5, "The analysis, as a user with a role, for a purpose: avg(age) and count(*) by gender");
    for query in [ANALYSIS, JOINED, ACROSS] {
        ui.say(format!("   cordon sql \"{}\" --as analyst --purpose research", squeeze(query)));
        print_query(ui, &project, query, "analyst", "research")?;
    }
    ui.say("   The same question for a purpose that the role does not grant:");
    match sql::query(&project, ANALYSIS, "analyst", "payment", OutputFormat::Text, &mut std::io::sink()) {
        Err(failure) if failure.exit == ExitKind::Denied => {
            ui.say(format!("   denied: {}", first_line(&failure.message)));
        }
        Err(failure) => return Err(failure),
        Ok(_) => return Err(Failure::new(ExitKind::Integrity, "a query without a grant was answered")),
    }

    step(ui, 6, "The audit log: every run, query and denial, hash-linked and signed");
    let verified = project.evidence()?.verify(&[])?;
    if !verified.is_intact() {
        return Err(Failure::new(ExitKind::Integrity, super::audit::told(&verified)));
    }
    ui.say(format!(
        "   {} entries verified; {} anchors in the tables' manifests agree",
        verified.log.entries, verified.log.anchors
    ));

    ui.object(&report);
    ui.say(format!("\nDone in {:.1} s. What to try next, in {}:", began.elapsed().as_secs_f64(), dir.display()));
    ui.say("  cordon policy explain safe-harbor-hospital     what is done with each field, and why");
    ui.say("  cordon quarantine list                         the spoiled rows, with file, line, field and reason");
    ui.say("  cordon audit list                              who did what");
    ui.say("  cordon tables --as analyst --purpose research  what an analyst sees");
    ui.say("  cordon run nightly                             nothing to do: no file changed");
    Ok(ExitCode::SUCCESS)
}

fn step(ui: &Ui, number: u32, title: &str) {
    ui.say(format!("\n{number}. {title}"));
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn squeeze(query: &str) -> String {
    query.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn print_query(ui: &Ui, project: &Arc<OpenProject>, query: &str, user: &str, purpose: &str) -> Result<(), Failure> {
    let mut out = Vec::new();
    sql::query(project, query, user, purpose, OutputFormat::Text, &mut out)?;
    ui.say(String::from_utf8_lossy(&out).trim_end());
    Ok(())
}

const SHOWN_PATIENTS: usize = 3;
const SHOWN: [&str; 10] =
    ["patient_id", "mrn", "ssn", "first_name", "last_name", "birth_date", "gender", "zip", "state", "email"];

/// Reads synthetic patients from the raw file and finds three of them again by their tokens. Those in quarantine are passed
/// over: they have no row, and asking for their tokens would make some.
fn before_and_after(ui: &Ui, project: &Arc<OpenProject>, dir: &Path) -> Result<(), Failure> {
    let aside: BTreeSet<u64> =
        listing(project)?.iter().filter(|line| line.dataset == "patients").map(|line| line.line).collect();
    let raw = raw_patients(&dir.join("data/csv/patients.csv"), &aside)?;
    let (_, env) = project.env()?;
    for patient in &raw {
        let Some(id) = patient.iter().find(|(name, _)| name == "patient_id").map(|(_, value)| value) else { continue };
        let mut tokens = Vec::new();
        env.tokens.get_or_create("patient", &[id.as_bytes()], &mut tokens)?;
        let Some(token) = tokens.first() else { continue };
        let token = data_encoding::BASE32_NOPAD.encode(&token.0).to_ascii_lowercase();
        let mut out = Vec::new();
        let query = format!("SELECT * FROM patients WHERE patient_id = '{token}'");
        sql::query(project, &query, "analyst", "research", OutputFormat::Json, &mut out)?;
        let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(&out).unwrap_or_default();
        let Some(row) = rows.first() else {
            return Err(Failure::new(ExitKind::Failure, "a patient that was read is not in the table"));
        };
        let after = |name: &str| match row.get(name) {
            None => "removed".to_owned(),
            Some(serde_json::Value::Null) => "(none)".to_owned(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let mut lines: Vec<Vec<String>> = SHOWN
            .iter()
            .map(|name| {
                let before = patient.iter().find(|(column, _)| column == name).map_or("", |(_, value)| value.as_str());
                vec![(*name).to_owned(), before.to_owned(), after(name)]
            })
            .collect();
        lines.push(vec!["age".to_owned(), String::new(), after("age")]);
        ui.table(&["", "before", "after"], lines);
    }
    Ok(())
}

/// The first rows of a CSV file that the demo itself has just generated, without the lines that were put aside.
fn raw_patients(path: &Path, aside: &BTreeSet<u64>) -> Result<Vec<Vec<(String, String)>>, Failure> {
    use arrow_array::{Array, StringViewArray};
    let unreadable = || Failure::new(ExitKind::Storage, format!("cannot read {}", path.display()));
    let file = std::fs::File::open(path).map_err(|_| unreadable())?;
    let mut reader =
        cordon_formats::CsvReader::new(file, cordon_formats::CsvOptions::default()).map_err(|_| unreadable())?;
    let Some(read) = reader.next_batch().map_err(|_| unreadable())? else { return Ok(Vec::new()) };
    let batch = &read.batch;
    let text = |row: usize, column: &dyn Array| {
        column
            .as_any()
            .downcast_ref::<StringViewArray>()
            .filter(|text| text.is_valid(row))
            .map_or_else(String::new, |text| text.value(row).to_owned())
    };
    Ok((0..batch.num_rows())
        .filter(|row| read.rows.line(*row).is_none_or(|line| !aside.contains(&line)))
        .take(SHOWN_PATIENTS)
        .map(|row| {
            batch
                .schema()
                .fields()
                .iter()
                .zip(batch.columns())
                .map(|(field, column)| (field.name().clone(), text(row, column.as_ref())))
                .collect()
        })
        .collect())
}
