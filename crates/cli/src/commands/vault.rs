//! `cordon vault status|verify|reveal`

use std::process::ExitCode;

use cordon_access::{Decision, Purpose};
use cordon_audit::Event;
use cordon_phi::Token;
use cordon_pipeline::error::ExitKind;

use super::keys::may_read_everything as may_reveal;
use super::{Outcome, Place};
use crate::args::VaultCommand;
use crate::ui::{Failure, Ui, human_bytes};

pub fn vault(ui: &Ui, place: &Place, command: VaultCommand) -> Outcome {
    let project = place.open()?;
    match command {
        VaultCommand::Status => {
            let stats = project.vault()?.stats()?;
            let domains: Vec<_> = stats
                .domains
                .iter()
                .map(|(name, tokens)| serde_json::json!({ "domain": name, "tokens": tokens }))
                .collect();
            ui.object(&serde_json::json!({
                "domains": domains, "log_bytes": stats.log_bytes, "index_bytes": stats.index_bytes,
                "rebuilt_runs": stats.rebuilt_runs,
            }));
            ui.table(
                &["domain", "tokens"],
                stats.domains.iter().map(|(name, tokens)| vec![name.clone(), tokens.to_string()]),
            );
            ui.say(format!("{} on disk", human_bytes(stats.log_bytes + stats.index_bytes)));
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Verify => {
            let report = project.vault()?.verify()?;
            ui.object(
                &serde_json::json!({ "tokens": report.tokens, "frames": report.frames, "log_bytes": report.log_bytes }),
            );
            ui.say(format!("{} tokens read and authenticated; the vault is whole", report.tokens));
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Reveal { token, domain, user, purpose, reason } => {
            let purpose: Purpose = purpose.parse().map_err(|error| Failure::usage(format!("{error}")))?;
            let Some(parsed) = parse_token(&token) else {
                return Err(Failure::usage("a token is 26 characters of a-z and 2-7"));
            };
            if reason.trim().len() < 8 {
                return Err(Failure::usage("say why in `--reason`: it goes on the record"));
            }
            let vault = project.vault()?;
            if !may_reveal(&project, &user, purpose)? {
                project.audit(&Event::AccessDenied {
                    principal: user.clone(),
                    purpose: Some(purpose),
                    dataset: format!("token domain {domain}"),
                    columns: Vec::new(),
                    why: Decision::denied().why,
                })?;
                return Err(Failure::new(
                    ExitKind::Denied,
                    format!(
                        "`{user}` may not reveal tokens for {}: a grant on all columns of all tables is needed",
                        purpose.name()
                    ),
                ));
            }
            let found = vault.reveal(&domain, &parsed)?;
            // On the record before the value leaves.
            project.audit(&Event::TokenRevealed {
                principal: user,
                purpose,
                domain: domain.clone(),
                token: project.audit_log().tag("token", token.as_bytes()),
                reason,
                found: found.is_some(),
            })?;
            match found {
                Some(value) => ui.result(value.expose_phi()),
                None => {
                    return Err(Failure::new(
                        ExitKind::Failure,
                        format!("there is no such token in domain `{domain}`"),
                    ));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn parse_token(text: &str) -> Option<Token> {
    let bytes = data_encoding::BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
    Some(Token(bytes.try_into().ok()?))
}
