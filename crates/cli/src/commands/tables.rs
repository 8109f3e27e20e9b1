//! `cordon tables`, `cordon tables history|files|verify`

use std::process::ExitCode;

use cordon_access::{Principal, Privilege};
use cordon_audit::{Event, Label};
use cordon_engine::tables::TableVersion;
use cordon_pipeline::error::{ExitKind, engine_exit};
use cordon_pipeline::project::OpenProject;
use cordon_query::{QueryError, Stored};

use super::{Outcome, Place, rights};
use crate::args::{TablesArgs, TablesCommand};
use crate::ui::{Failure, Ui, human_bytes, plural};

pub fn tables(ui: &Ui, place: &Place, args: TablesArgs) -> Outcome {
    match args.command {
        Some(TablesCommand::History { name }) => history(ui, &place.open()?, &name),
        Some(TablesCommand::Files { name, user, purpose }) => files(ui, place, &name, &user, &purpose),
        Some(TablesCommand::Verify { name }) => verify(ui, &place.open()?, name.as_deref()),
        None => {
            let (Some(user), Some(purpose)) = (&args.user, &args.purpose) else {
                return Err(Failure::usage("say who asks and what for: `cordon tables --as USER --purpose PURPOSE`"));
            };
            list(ui, place, user, purpose)
        }
    }
}

fn list(ui: &Ui, place: &Place, user: &str, purpose: &str) -> Outcome {
    let project = place.open_as(user)?;
    let purpose = rights::purpose(&project, user, purpose)?;
    let open = Stored::read(&project)?.authorise(&project, &Principal::named(user), &purpose.into());
    if open.is_empty() {
        rights::denied(&project, user, Some(purpose), "*", Vec::new())?;
        return Err(Failure::query(QueryError::NothingGranted { user: user.to_owned(), purpose }));
    }
    project.audit(&Event::Inspected {
        what: Label::new("tables"),
        subject: None,
        principal: Some(user.to_owned()),
        purpose: Some(purpose),
    })?;
    let mut listing = Vec::new();
    for (table, decision) in &open {
        let rows = project.tables().current(table)?.map_or(0, |version| version.rows());
        listing.push((table, rows, &decision.columns));
    }
    let objects: Vec<_> = listing
        .iter()
        .map(|(table, rows, columns)| serde_json::json!({ "table": table, "rows": rows, "columns": columns }))
        .collect();
    ui.object(&objects);
    ui.table(
        &["table", "rows", "columns"],
        listing.into_iter().map(|(table, rows, columns)| vec![table.clone(), rows.to_string(), columns.join(", ")]),
    );
    Ok(ExitCode::SUCCESS)
}

/// How each version of a table was made: what its manifest says, but for the names of files, which it does not hold.
fn history(ui: &Ui, project: &OpenProject, name: &str) -> Outcome {
    let versions = project.tables().history(name)?;
    if versions.is_empty() {
        return Err(Failure::usage(format!("there is no table `{name}`")));
    }
    rights::inspected(project, "table history", Some(name))?;
    ui.object(&versions.iter().map(version_object).collect::<Vec<_>>());
    ui.table(
        &["version", "made", "run", "policy", "method", "rows", "sources", "keys", "audit entry"],
        versions.iter().map(|version| {
            let made = &version.manifest.provenance;
            let hash = made.policy_sha256.get(..12).unwrap_or(&made.policy_sha256);
            vec![
                version.manifest.version.to_string(),
                made.created.clone(),
                made.run.clone(),
                format!("{} {hash}", made.policy),
                made.method.clone(),
                version.rows().to_string(),
                sources(version).len().to_string(),
                version.manifest.key_ids.join(" "),
                made.audit.as_ref().map_or_else(|| "–".to_owned(), |anchor| anchor.seq.to_string()),
            ]
        }),
    );
    ui.hint("All of it, with the hash of every source:  cordon tables history NAME --format json");
    Ok(ExitCode::SUCCESS)
}

fn version_object(version: &TableVersion) -> serde_json::Value {
    let manifest = &version.manifest;
    let columns: Vec<_> = manifest
        .columns
        .iter()
        .map(|column| serde_json::json!({ "name": column.name, "type": column.data_type, "made": column.metadata }))
        .collect();
    let parts: Vec<_> = manifest
        .parts
        .iter()
        .map(|part| {
            serde_json::json!({
                "file": part.file, "run": part.run, "rows": part.rows, "bytes": part.bytes, "sha256": part.sha256,
            })
        })
        .collect();
    serde_json::json!({
        "table": manifest.table, "version": manifest.version, "parent": manifest.parent, "rows": version.rows(),
        "provenance": manifest.provenance, "key_ids": manifest.key_ids, "columns": columns,
        "sources": sources(version), "parts": parts,
    })
}

/// Keyed hashes of the files' names, and hashes of their contents.
fn sources(version: &TableVersion) -> Vec<serde_json::Value> {
    let mut all: Vec<_> = version.manifest.parts.iter().flat_map(|part| &part.sources).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all.dedup_by(|a, b| a.id == b.id);
    all.into_iter().map(|source| serde_json::json!({ "id": source.id, "sha256": source.sha256 })).collect()
}

/// For readers that go past every grant, with keys that they have themselves: who may unwrap keys may know where the files are.
fn files(ui: &Ui, place: &Place, name: &str, user: &str, purpose: &str) -> Outcome {
    let project = place.open_as(user)?;
    let purpose = rights::purpose(&project, user, purpose)?;
    rights::require(&project, user, purpose, Privilege::UnwrapKeys, &format!("table {name}"))?;
    let Some(version) = project.tables().current(name)? else {
        return Err(Failure::usage(format!("there is no table `{name}`")));
    };
    project.audit(&Event::Inspected {
        what: Label::new("table files"),
        subject: Some(name.to_owned()),
        principal: Some(user.to_owned()),
        purpose: Some(purpose),
    })?;
    let parts = &version.manifest.parts;
    let files = parts.iter().map(|part| {
        serde_json::json!({
            "file": version.part_path(part), "rows": part.rows, "bytes": part.bytes, "sha256": part.sha256,
            "key_ids": part.key_ids, "key_material": if part.external_keys.is_some() { "external" } else { "internal" },
        })
    });
    ui.object(&serde_json::json!({
        "table": name, "version": version.manifest.version, "files": files.collect::<Vec<_>>(),
    }));
    if !ui.json() {
        for part in parts {
            ui.result(&version.part_path(part).display().to_string());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every byte of the newest versions against their manifests.
fn verify(ui: &Ui, project: &OpenProject, name: Option<&str>) -> Outcome {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => project.tables().tables()?,
    };
    rights::inspected(project, "table verification", name)?;
    let (mut good, mut wrong, mut total) = (Vec::new(), Vec::new(), 0);
    let mut exit = ExitKind::Integrity;
    for table in &names {
        let checked = project.tables().current(table).and_then(|version| match version {
            Some(version) => version.verify().map(|()| Some(version)),
            None => Ok(None),
        });
        match checked {
            Ok(Some(version)) => {
                let bytes: u64 = version.manifest.parts.iter().map(|part| part.bytes).sum();
                total += bytes;
                good.push(serde_json::json!({
                    "table": table, "version": version.manifest.version, "rows": version.rows(), "bytes": bytes,
                    "parts": version.manifest.parts.len(),
                }));
            }
            Ok(None) => return Err(Failure::usage(format!("there is no table `{table}`"))),
            Err(error) => {
                exit = engine_exit(&error).1;
                wrong.push(format!("table {table}: {error}"));
            }
        }
    }
    ui.object(&serde_json::json!({ "whole": good, "damaged": wrong }));
    if !wrong.is_empty() {
        return Err(Failure::new(exit, wrong.join("\n")));
    }
    ui.say(format!(
        "{} table{}, {}: every part is the one that its manifest names, byte for byte",
        good.len(),
        plural(good.len()),
        human_bytes(total)
    ));
    Ok(ExitCode::SUCCESS)
}
