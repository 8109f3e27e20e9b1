//! `cordon init`

use std::path::Path;
use std::process::ExitCode;

use cordon_pipeline::init::{InitOptions, Template, init as make};

use super::{Outcome, os_user};
use crate::args::{InitArgs, InitMethod, Template as Chosen};
use crate::ui::Ui;

pub fn init(ui: &Ui, args: &InitArgs) -> Outcome {
    let options = InitOptions {
        template: match args.template {
            Chosen::Hospital => Template::Hospital,
            Chosen::Synthea => Template::Synthea,
            Chosen::Hl7v2 => Template::Hl7v2,
            Chosen::Ccda => Template::Ccda,
            Chosen::X12 => Template::X12,
            Chosen::Notes => Template::Notes,
            Chosen::Fhir => Template::Fhir,
            Chosen::Dicom => Template::Dicom,
            Chosen::Research => Template::Research,
        },
        limited: args.method == InitMethod::LimitedDataSet,
        passphrase_env: args.passphrase_env.clone(),
        root: args.root.clone(),
        user: os_user(),
    };
    let files = make(&args.dir, &options)?;
    ui.object(&serde_json::json!({ "project": args.dir, "files": files }));
    ui.say(format!("Made a project in {}:", args.dir.display()));
    for (file, what) in &files {
        ui.say(format!("  {file:<38} {what}"));
    }
    if args.method == InitMethod::LimitedDataSet {
        ui.hint("\nWrite your data use agreement into the policy before you run it, 164.514(e)(4).");
    }
    next_steps(ui, &args.dir, args.template);
    if args.root.is_some() {
        ui.hint("\nKeep the key in its store: without it nothing can be read again, and nobody can make it anew.");
    } else if args.passphrase_env.is_some() {
        ui.hint("\nKeep the passphrase safe: without it nothing can be read again.");
    } else {
        ui.hint(
            "\nKeep secrets/root.key away from the data, and a copy of it safe: without it nothing can be read again.",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn next_steps(ui: &Ui, dir: &Path, template: Chosen) {
    let shown = dir.display();
    ui.hint("\nNext:");
    match template {
        Chosen::Hospital => ui.hint(format!(
            "  cordon synth {shown}/data          # or put your own exports there and adapt policies/ and pipelines/"
        )),
        Chosen::Synthea => ui.hint(format!("  copy a Synthea export to {shown}/data/csv and {shown}/data/fhir")),
        Chosen::Hl7v2 => ui.hint(format!("  copy files of messages to {shown}/data/hl7")),
        Chosen::Ccda => ui.hint(format!("  copy documents to {shown}/data/ccda")),
        Chosen::X12 => ui.hint(format!("  copy interchanges to {shown}/data/x12")),
        Chosen::Notes => ui.hint(format!(
            "  copy text files to {shown}/data/notes, and say in pipelines/nightly.yaml how they are named"
        )),
        Chosen::Fhir => ui.hint(format!("  copy NDJSON files or bundles to {shown}/data/fhir")),
        Chosen::Research => ui.hint(format!(
            "  cordon synth {shown}/data --formats csv,fhir,hl7v2,ccda,x12,notes   # or put your own exports there, and name \
             in pipelines/nightly.yaml what identifies a person"
        )),
        Chosen::Dicom => ui.hint(format!("  copy DICOM files to {shown}/data/dicom")),
    }
    ui.hint(format!("  cd {shown}\n  cordon policy check\n  cordon run nightly"));
    let question = match template {
        Chosen::Hl7v2 => "SELECT type, trigger, count(*) FROM hl7_message GROUP BY type, trigger",
        Chosen::Ccda => "SELECT code, display, count(*) FROM ccda_entry GROUP BY code, display",
        Chosen::X12 => {
            "SELECT type, status, count(*), sum(CAST(total_charge AS DOUBLE)) FROM x12_claim GROUP BY type, status"
        }
        Chosen::Notes => "SELECT date, count(*) FROM notes GROUP BY date ORDER BY date",
        Chosen::Fhir => "SELECT gender, count(*) FROM fhir_patient GROUP BY gender",
        Chosen::Research => {
            "SELECT p.gender, count(DISTINCT m.patient) FROM patients p JOIN hl7_message m ON m.patient = p.patient_id GROUP BY p.gender"
        }
        Chosen::Dicom => "SELECT modality, manufacturer, count(*) FROM dicom_instance GROUP BY modality, manufacturer",
        _ => "SELECT gender, count(*), avg(age) FROM patients GROUP BY gender",
    };
    ui.hint(format!("  cordon sql \"{question}\" --as analyst --purpose research"));
}
