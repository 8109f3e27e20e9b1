//! `cordon explain-access`

use std::path::Path;
use std::process::ExitCode;

use cordon_access::{
    Entry, Known, MaskSight, Matrix, Policies, Principal, Purpose, PurposeOfUse, Reason, Sight, compare, mask_words,
};
use cordon_pipeline::policies::{documents_of_file, now, of_documents, of_project_file};
use cordon_pipeline::project::OpenProject;

use super::access_lint::datasets;
use super::{Outcome, Place, rights};
use crate::args::ExplainAccessArgs;
use crate::ui::{Failure, Ui};

pub fn explain(ui: &Ui, place: &Place, args: &ExplainAccessArgs) -> Outcome {
    let project = place.open()?;
    let policies = project.policies()?;
    rights::inspected(&project, "access rules", args.dataset.as_deref())?;
    let known = datasets(&project)?;
    if let Some(trouble) = project.policy_source()?.trouble() {
        ui.hint(format!("warning: {trouble}"));
    }
    if args.all {
        let matrix = Matrix::new(&policies, &policies.principals(), &known, now());
        ui.object(&matrix);
        ui.say(matrix.to_string().trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    match (&args.diff, &args.user, &args.dataset) {
        (Some(other), _, _) => diff(ui, &project, &policies, &known, other),
        (None, Some(user), Some(dataset)) => {
            let Some(dataset) = known.iter().find(|known| known.name == *dataset) else {
                return Err(Failure::usage(format!(
                    "there is no dataset `{dataset}`, and no pipeline writes one\n  help: datasets: {}",
                    known.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(", ")
                )));
            };
            let groups = args.groups.iter().cloned().collect();
            let principal = Principal { groups, ..Principal::named(user) };
            one(ui, &policies, &principal, dataset, args)
        }
        _ => Err(Failure::usage("say who and which dataset, or `--all`, or `--diff FILE`")),
    }
}

fn one(ui: &Ui, policies: &Policies, principal: &Principal, dataset: &Known, args: &ExplainAccessArgs) -> Outcome {
    let entries = match &args.purpose {
        None => Matrix::new(policies, std::slice::from_ref(principal), std::slice::from_ref(dataset), now()).entries,
        Some(purpose) => {
            let purpose: Purpose = purpose.parse().map_err(|error| Failure::usage(format!("{error}")))?;
            let usage = PurposeOfUse { project: args.research_project.clone(), ..purpose.into() };
            let sight = dataset.sight(policies, principal, &usage, now());
            vec![Entry { user: principal.name.clone(), purposes: vec![purpose], sight }]
        }
    };
    ui.object(&entries);
    for entry in &entries {
        let purposes: Vec<&str> = entry.purposes.iter().map(|purpose| purpose.name()).collect();
        let (user, dataset) = (&entry.user, &entry.sight.dataset);
        let what = if entry.sight.is_open() { "sees this" } else { "sees nothing" };
        ui.say(format!("{user} {what} of {dataset}, for {}:", purposes.join(", ")));
        print(ui, &entry.sight);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(ui: &Ui, sight: &Sight) {
    let words = |reasons: &[Reason]| reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let masked = |mask: &Option<MaskSight>| match mask {
        Some(mask) => (mask_words(&mask.mask), mask.why.to_string()),
        None => (String::new(), String::new()),
    };
    ui.table(
        &["column", "seen", "because of", "mask", "because of"],
        sight.columns.iter().map(|column| {
            let (mask, why) = masked(&column.mask);
            let seen = if column.visible { "yes" } else { "no" };
            vec![column.name.clone(), seen.to_owned(), words(&column.why), mask, why]
        }),
    );
    if let Some(rows) = sight.row_filter.as_ref().filter(|_| sight.is_open()) {
        ui.say(format!("rows: only where {} ({})", rows.filter, rows.why));
    }
    for trouble in &sight.troubles {
        ui.say(format!("not evaluated, and counted against the reader: {trouble}"));
    }
    ui.say("");
}

/// What would change with other rules in place of those in force.
fn diff(ui: &Ui, project: &OpenProject, policies: &Policies, known: &[Known], other: &Path) -> Outcome {
    let is_json = other.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    let after = if is_json {
        let Some(section) = &project.project.file.access.ranger else {
            return Err(Failure::usage(
                "grants decide in this project\n  help: compare with another `cordon.yaml`, which may name Ranger policies",
            ));
        };
        let documents = cordon_access::Documents {
            policies: documents_of_file(other)?.policies,
            ..project.policy_source()?.documents()
        };
        of_documents(policies.roles().clone(), &documents, section)?
    } else {
        of_project_file(other)?
    };
    let mut principals = policies.principals();
    for more in after.principals() {
        if !principals.contains(&more) {
            principals.push(more);
        }
    }
    let changes = compare(policies, &after, &principals, known, now());
    ui.object(&changes);
    if changes.is_empty() {
        ui.say("Nobody would see anything else.");
    }
    for change in &changes {
        ui.say(change.to_string());
    }
    Ok(ExitCode::SUCCESS)
}
