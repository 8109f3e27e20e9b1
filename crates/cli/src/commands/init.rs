//! `cordon init`

use std::path::Path;
use std::process::ExitCode;

use cordon_pipeline::init::{InitOptions, Template, init as make};

use super::{Outcome, os_user};
use crate::args::{InitArgs, Template as Chosen};
use crate::ui::Ui;

pub fn init(ui: &Ui, args: &InitArgs) -> Outcome {
    let options = InitOptions {
        template: match args.template {
            Chosen::Hospital => Template::Hospital,
            Chosen::Synthea => Template::Synthea,
            Chosen::Hl7v2 => Template::Hl7v2,
            Chosen::Ccda => Template::Ccda,
            Chosen::Dicom => Template::Dicom,
        },
        passphrase_env: args.passphrase_env.clone(),
        user: os_user(),
    };
    let files = make(&args.dir, &options)?;
    ui.object(&serde_json::json!({ "project": args.dir, "files": files }));
    ui.say(format!("Made a project in {}:", args.dir.display()));
    for (file, what) in &files {
        ui.say(format!("  {file:<38} {what}"));
    }
    next_steps(ui, &args.dir, args.template);
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
        Chosen::Dicom => ui.hint(format!("  copy DICOM files to {shown}/data/dicom")),
    }
    ui.hint(format!("  cd {shown}\n  cordon policy check\n  cordon run nightly"));
    let question = match template {
        Chosen::Hl7v2 => "SELECT type, trigger, count(*) FROM hl7_message GROUP BY type, trigger",
        Chosen::Ccda => "SELECT code, display, count(*) FROM ccda_entry GROUP BY code, display",
        Chosen::Dicom => "SELECT modality, manufacturer, count(*) FROM dicom_instance GROUP BY modality, manufacturer",
        _ => "SELECT gender, count(*), avg(age) FROM patients GROUP BY gender",
    };
    ui.hint(format!("  cordon sql \"{question}\" --as analyst --purpose research"));
    ui.hint("\nKeep secrets/root.key away from the data, and a copy of it safe: without it nothing can be read again.");
}
