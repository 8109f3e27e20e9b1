//! `cordon vault status|verify|migrate|reveal`

use std::process::ExitCode;

use cordon_access::Privilege;
use cordon_audit::Event;
use cordon_phi::Token;
use cordon_pipeline::error::ExitKind;

use super::{Outcome, Place, rights};
use crate::args::VaultCommand;
use crate::ui::{Failure, Ui, human_bytes};

pub fn vault(ui: &Ui, place: &Place, command: VaultCommand) -> Outcome {
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
                "tokens": report.tokens, "frames": report.frames, "log_bytes": report.log_bytes, "merges": report.merges,
                "dossier_bytes": dossiers.map(|stats| stats.bytes),
            }));
            let also = if dossiers.is_some() { ", and so are the dossiers" } else { "" };
            ui.say(format!("{} tokens read and authenticated; the vault is whole{also}", report.tokens));
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Migrate { owner, password_env, client_certificate, client_key } => {
            rights::inspected(&project, "vault migration", None)?;
            let done = project.migrate_vault(|config| {
                config.user = owner;
                if password_env.is_some() {
                    (config.password_env, config.pgpass) = (password_env, None);
                }
                (config.client_certificate, config.client_key) = (client_certificate, client_key);
            })?;
            ui.object(&serde_json::json!({ "from": done.from, "to": done.to }));
            if done.from == done.to {
                ui.say(format!("the vault has format {} already; grants are as they should be", done.to));
            } else {
                ui.say(format!("the vault has format {} now", done.to));
            }
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Reveal { token, domain, user, purpose, reason } => {
            let purpose = rights::purpose(&project, &user, &purpose)?;
            let Some(parsed) = parse_token(&token) else {
                return Err(Failure::usage("a token is 26 characters of a-z and 2-7"));
            };
            rights::check_reason(&reason)?;
            rights::require(&project, &user, purpose, Privilege::Reveal, &format!("token domain {domain}"))?;
            let found = project.vault()?.reveal(&domain, &parsed)?;
            // On the record before the value leaves.
            project.audit(&Event::TokenRevealed {
                principal: user,
                purpose,
                domain: domain.clone(),
                token: project.audit_log().tag("token", token.as_bytes()),
                reason,
                found: found.is_some(),
            })?;
            let Some(value) = found else {
                return Err(Failure::new(ExitKind::Failure, format!("there is no such token in domain `{domain}`")));
            };
            if ui.json() {
                ui.object(&serde_json::json!({ "domain": domain, "token": token, "value": value.expose_phi() }));
            } else {
                ui.result(value.expose_phi());
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn parse_token(text: &str) -> Option<Token> {
    let bytes = data_encoding::BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
    Some(Token(bytes.try_into().ok()?))
}
