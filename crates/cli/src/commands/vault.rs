//! `cordon vault status|verify|migrate|rekey|shred|accept-older|check-certificate`

use std::path::Path;
use std::process::ExitCode;

use cordon_pipeline::accept;
use cordon_pipeline::error::ExitKind;
use cordon_pipeline::rekey::{self, AsOwner};
use cordon_pipeline::shred::{self, Renewal};
use cordon_vault::{PostgresConfig, RekeyStep};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Outcome, Place, audit, keys, rights, token};
use crate::args::VaultCommand;
use crate::ui::{Failure, Ui, human_bytes, plural};

pub fn vault(ui: &Ui, place: &Place, command: &VaultCommand) -> Outcome {
    if let VaultCommand::Reveal { .. } = command {
        return Err(replaced());
    }
    if let VaultCommand::CheckCertificate { file, key } = command {
        return check_certificate(ui, file, key.as_deref());
    }
    if let VaultCommand::Shred { request, user, certificate } = command {
        return destroy(ui, place, request, user, certificate);
    }
    if let VaultCommand::Rekey { owner, password_env, client_certificate, client_key, keep_old_keys } = command {
        let as_owner = |config: &mut PostgresConfig| {
            log_in_as(config, owner.as_deref().unwrap_or_default(), password_env.as_deref());
            (config.client_certificate, config.client_key) = (client_certificate.clone(), client_key.clone());
        };
        return change_keys(ui, place, owner.is_some().then_some(&as_owner as AsOwner<'_>), *keep_old_keys);
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
                log_in_as(config, owner, password_env.as_deref());
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
        VaultCommand::AcceptOlder { user, reason } => {
            rights::check_reason(reason)?;
            if !project.project.grants.users().any(|known| known == user) {
                rights::denied(&project, user, None, "older vault", Vec::new())?;
                return Err(Failure::new(
                    ExitKind::Denied,
                    format!("`{user}` is no user of this project (`access.users` in cordon.yaml)"),
                ));
            }
            let accepted = accept::accept_older(&project, user, reason)?;
            ui.object(&accepted);
            ui.say(format!("Runs go on with the vault as it is: {}", accepted.pipelines.join(", ")));
            ui.hint(
                "Their next run makes rows again from the sources that are there. Rows whose sources are gone keep tokens that the vault may not \
                 know.",
            );
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Rekey { .. } | VaultCommand::Shred { .. } | VaultCommand::CheckCertificate { .. } => {
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Reveal { .. } => Err(replaced()),
    }
}

fn log_in_as(config: &mut PostgresConfig, owner: &str, password_env: Option<&str>) {
    owner.clone_into(&mut config.user);
    if let Some(name) = password_env {
        (config.password_env, config.pgpass) = (Some(name.to_owned()), None);
    }
}

fn change_keys(ui: &Ui, place: &Place, owner: Option<AsOwner<'_>>, keep: bool) -> Outcome {
    let (mut project, root) = keys::open_with_root(place)?;
    let bar = if ui.quiet || ui.json() { ProgressBar::hidden() } else { ProgressBar::no_length() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} {msg}  about {eta} left") {
        bar.set_style(style);
    }
    let done = rekey::rekey(&mut project, &root, owner, keep, &mut |step| match step {
        RekeyStep::Values { done, of } => count(&bar, done, of, "values"),
        RekeyStep::Dossiers { done, of } => count(&bar, done, of, "dossiers"),
        RekeyStep::Index => bar.set_message("values, now their index"),
        RekeyStep::Switching | RekeyStep::Switched | RekeyStep::Removed => bar.set_message("written"),
    });
    bar.finish_and_clear();
    let done = done?;
    ui.object(&done);
    if let Some(values) = done.values {
        ui.say(format!(
            "{values} value{} with their tokens, {} merges and {} dossiers are under {}. Every token is what it was.",
            plural(values as usize),
            done.merges.unwrap_or_default(),
            done.dossiers.unwrap_or_default(),
            done.versions.join(", ")
        ));
    } else {
        ui.say(format!("Vault and dossiers were under {} already.", done.versions.join(", ")));
    }
    if let Some(unknown) = done.unknown.filter(|unknown| *unknown > 0) {
        ui.hint(format!("{unknown} dossiers stood under tokens that the vault does not know, and were left out."));
    }
    if done.resumed {
        ui.hint("This finished what had been begun; call it again for other keys.");
    }
    if keep {
        ui.hint("The keys before are still in the key ring: `cordon keys retire` removes them.");
    } else {
        ui.hint(
            "Make a backup, and keep a copy of the key ring: backups from before open with their own copy of it only (docs/vault.md).",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn count(bar: &ProgressBar, done: u64, of: u64, what: &'static str) {
    bar.set_length(of);
    bar.set_position(done);
    bar.set_message(what);
}

fn destroy(ui: &Ui, place: &Place, request: &str, user: &str, certificate: &Path) -> Outcome {
    // Before anything is destroyed: what was done could not be shown.
    if certificate.exists() {
        return Err(Failure::usage(format!("{} exists already; name another file", certificate.display())));
    }
    let (mut project, root) = keys::open_with_root(place)?;
    let desk = token::desk(&project);
    let case = match desk.shredded(request, user)? {
        Some(case) => case,
        None => token::told(desk.shred(request, user))?,
    };
    let renewal = shred::renew_subject_keys(&mut project, &root)?;
    shred::write(certificate, &shred::certificate(&project, &case)?)?;
    let tokens: u64 = case.destroyed.iter().map(|(_, count)| count).sum();
    let waits = if let Renewal::Waits(why) = renewal { Some(why) } else { None };
    ui.object(&serde_json::json!({
        "request": case.id, "destroyed": tokens, "certificate": certificate.display().to_string(),
        "audit_entry": case.done.map(|done| done.seq), "epoch": case.epoch, "key_renewal_waits": waits,
    }));
    ui.say(format!("destroyed: nothing stands behind {tokens} token{} any more", plural(tokens as usize)));
    ui.say(format!("certificate: {}", certificate.display()));
    match waits {
        Some(why) => ui.hint(format!(
            "Copies of subject-keys from before still open it: the key they are under is to be renewed, and {why}. Then:  cordon keys \
             rotate --purpose subject-keys"
        )),
        None => ui.hint(
            "Copies of subject-keys from before open nothing with the key ring as it is now. Replace backups of both: the certificate says \
             what is left to destroy.",
        ),
    }
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
