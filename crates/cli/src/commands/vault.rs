//! `cordon vault status|verify|migrate|shred|check-certificate`

use std::path::Path;
use std::process::ExitCode;

use cordon_pipeline::project::OpenProject;
use cordon_pipeline::shred;

use super::{Outcome, Place, audit, rights, token};
use crate::args::VaultCommand;
use crate::ui::{Failure, Ui, human_bytes, plural};

pub fn vault(ui: &Ui, place: &Place, command: &VaultCommand) -> Outcome {
    if let VaultCommand::Reveal { .. } = command {
        return Err(replaced());
    }
    if let VaultCommand::CheckCertificate { file, key } = command {
        return check_certificate(ui, file, key.as_deref());
    }
    let project = place.open()?;
    match command {
        VaultCommand::Status => {
            rights::inspected(&project, "vault status", None)?;
            let stats = project.vault()?.stats()?;
            let dossiers = project.dossiers()?.map(|dossiers| dossiers.stats()).transpose()?;
            let domains: Vec<_> = stats
                .domains
                .iter()
                .map(|(name, tokens)| serde_json::json!({ "domain": name, "tokens": tokens }))
                .collect();
            ui.object(&serde_json::json!({
                "domains": domains, "log_bytes": stats.log_bytes, "index_bytes": stats.index_bytes,
                "rebuilt_runs": stats.rebuilt_runs, "merges": stats.merges,
                "dossiers": dossiers.map(|stats| serde_json::json!({ "people": stats.people, "bytes": stats.bytes })),
            }));
            ui.table(
                &["domain", "tokens"],
                stats.domains.iter().map(|(name, tokens)| vec![name.clone(), tokens.to_string()]),
            );
            ui.say(format!("{} on disk", human_bytes(stats.log_bytes + stats.index_bytes)));
            if stats.merges > 0 {
                ui.say(format!("{} pairs of people turned out to be one", stats.merges));
            }
            if let Some(stats) = dossiers {
                ui.say(format!("dossiers: {} on disk", human_bytes(stats.bytes)));
            }
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Verify => {
            rights::inspected(&project, "vault verification", None)?;
            let report = project.vault()?.verify()?;
            let dossiers = project.dossiers()?.map(|dossiers| dossiers.verify()).transpose()?;
            ui.object(&serde_json::json!({
                "tokens": report.tokens, "destroyed": report.destroyed, "frames": report.frames, "log_bytes": report.log_bytes,
                "merges": report.merges, "dossier_bytes": dossiers.map(|stats| stats.bytes),
            }));
            let also = if dossiers.is_some() { ", and so are the dossiers" } else { "" };
            ui.say(format!("{} tokens read and authenticated; the vault is whole{also}", report.tokens));
            if report.destroyed > 0 {
                ui.say(format!("{} entries were destroyed with their persons", report.destroyed));
            }
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Migrate { owner, password_env, client_certificate, client_key } => {
            rights::inspected(&project, "vault migration", None)?;
            let done = project.migrate_vault(|config| {
                config.user.clone_from(owner);
                if password_env.is_some() {
                    (config.password_env, config.pgpass) = (password_env.clone(), None);
                }
                (config.client_certificate, config.client_key) = (client_certificate.clone(), client_key.clone());
            })?;
            ui.object(&serde_json::json!({ "from": done.from, "to": done.to }));
            if done.from == done.to {
                ui.say(format!("the vault has format {} already; grants are as they should be", done.to));
            } else {
                ui.say(format!("the vault has format {} now", done.to));
            }
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Shred { request, user, certificate } => destroy(ui, &project, request, user, certificate),
        VaultCommand::CheckCertificate { .. } => Ok(ExitCode::SUCCESS),
        VaultCommand::Reveal { .. } => Err(replaced()),
    }
}

fn destroy(ui: &Ui, project: &OpenProject, request: &str, user: &str, certificate: &Path) -> Outcome {
    // Before anything is destroyed: what was done could not be shown.
    if certificate.exists() {
        return Err(Failure::usage(format!("{} exists already; name another file", certificate.display())));
    }
    let desk = token::desk(project);
    let case = match desk.shredded(request, user)? {
        Some(case) => case,
        None => token::told(desk.shred(request, user))?,
    };
    shred::write(certificate, &shred::certificate(project, &case)?)?;
    let tokens: u64 = case.destroyed.iter().map(|(_, count)| count).sum();
    ui.object(&serde_json::json!({
        "request": case.id, "destroyed": tokens, "certificate": certificate.display().to_string(),
        "audit_entry": case.done.map(|done| done.seq),
    }));
    ui.say(format!("destroyed: nothing stands behind {tokens} token{} any more", plural(tokens as usize)));
    ui.say(format!("certificate: {}", certificate.display()));
    ui.hint("Copies of subject-keys and of the key ring from before still open it: the certificate says what to do.");
    Ok(ExitCode::SUCCESS)
}

fn check_certificate(ui: &Ui, file: &Path, key: Option<&str>) -> Outcome {
    let statement = shred::check(file, key.map(audit::verifying_key).transpose()?)?;
    let tokens: u64 = statement.destroyed.iter().map(|(_, count)| count).sum();
    ui.object(&statement);
    ui.say(format!(
        "as it was signed: {tokens} token{} of one person destroyed in project `{}`, asked by {}, approved by {}, entry {} of the audit log",
        plural(tokens as usize),
        statement.project,
        statement.requested.by,
        statement.approved.iter().map(|act| act.by.as_str()).collect::<Vec<_>>().join(", "),
        statement.audit_entry.seq
    ));
    Ok(ExitCode::SUCCESS)
}

fn replaced() -> Failure {
    Failure::usage(
        "nobody turns tokens back alone\n  help: ask with  cordon token request --domain D TOKEN --as USER --purpose P --reason \
         TEXT  and have another person approve it (docs/operations.md, \"Re-identification\")",
    )
}
