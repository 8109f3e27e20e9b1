//! `cordon vault status|verify|reveal`

use std::process::ExitCode;

use cordon_audit::Event;
use cordon_phi::Token;
use cordon_pipeline::error::ExitKind;

use super::{Outcome, Place};
use crate::args::VaultCommand;
use crate::ui::{Failure, Ui, human_bytes};

pub fn vault(ui: &Ui, place: &Place, command: VaultCommand) -> Outcome {
    let project = place.open()?;
    match command {
        VaultCommand::Status => {
            let stats = project.vault()?.stats();
            ui.object(&stats);
            ui.say(format!("{} tokens, {}", stats.tokens, human_bytes(stats.bytes)));
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Verify => {
            let report = project.vault()?.verify()?;
            ui.object(&report);
            ui.say(format!("{} tokens read and authenticated; the vault is whole", report.tokens));
            Ok(ExitCode::SUCCESS)
        }
        VaultCommand::Reveal { token, domain, reason } => {
            let Some(parsed) = parse_token(&token) else {
                return Err(Failure::usage("a token is 26 characters of a-z and 2-7"));
            };
            if reason.trim().len() < 8 {
                return Err(Failure::usage("say why in `--reason`: it goes on the record"));
            }
            let vault = project.vault()?;
            // On the record before the value is known to anyone.
            project.audit(&Event::TokenRevealed { domain: domain.clone(), token, reason })?;
            match vault.reveal(&domain, &parsed)? {
                Some(value) => ui.result(value.expose_phi()),
                None => return Err(Failure::new(ExitKind::Failure, format!("there is no such token in domain `{domain}`"))),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn parse_token(text: &str) -> Option<Token> {
    let bytes = data_encoding::BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
    Some(Token(bytes.try_into().ok()?))
}
