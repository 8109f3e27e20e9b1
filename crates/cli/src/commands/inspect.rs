//! `cordon inspect`

use std::process::ExitCode;

use cordon_pipeline::inspect::{SURE, inspect as look, write_draft};

use super::Outcome;
use crate::args::InspectArgs;
use crate::ui::Ui;

pub fn inspect(ui: &Ui, args: &InspectArgs) -> Outcome {
    let found = look(&args.path, args.rows)?;
    let files: Vec<_> = found
        .iter()
        .map(|file| {
            let columns: Vec<_> = file
                .columns
                .iter()
                .map(|(name, verdict)| {
                    serde_json::json!({
                        "column": name, "kind": verdict.kind.name(), "confidence": verdict.confidence, "share": verdict.share,
                        "rows": verdict.rows, "nulls": verdict.nulls, "distinct": verdict.distinct, "prose": verdict.prose,
                        "shortest": verdict.lengths.0, "longest": verdict.lengths.1, "why": verdict.reasons,
                    })
                })
                .collect();
            serde_json::json!({
                "file": file.path, "dataset": file.dataset, "undeclared": file.undeclared, "rows": file.rows, "rejected": file.rejected, "columns": columns,
            })
        })
        .collect();
    ui.object(&files);
    for file in &found {
        let unit = if file.is_table() { "rows" } else { "documents" };
        ui.say(format!("\n{}: {} {unit}", file.path.display(), file.rows));
        if file.rejected > 0 {
            ui.say(format!("{} records are none and were passed over", file.rejected));
        }
        ui.table(
            &[if file.is_table() { "column" } else { "path" }, "seems to hold", "sure", "by its look", "clause", "why"],
            file.columns.iter().map(|(name, verdict)| {
                vec![
                    name.clone(),
                    format!("{}{}", verdict.kind.name(), if verdict.confidence < SURE { "?" } else { "" }),
                    format!("{:.0} %", verdict.confidence * 100.0),
                    format!("{:.0} %", verdict.share * 100.0),
                    verdict.kind.clause().map_or_else(String::new, |clause| clause.to_string()),
                    verdict.reasons.iter().take(3).copied().collect::<Vec<_>>().join(", "),
                ]
            }),
        );
    }
    if let Some(path) = &args.policy {
        write_draft(&found, path)?;
        ui.hint(format!(
            "\nA draft of a policy: {}. Read each line of it before anything runs under it.",
            path.display()
        ));
    } else {
        ui.hint("\nA draft of a policy is written with  --policy FILE");
    }
    Ok(ExitCode::SUCCESS)
}
