//! Whom tables are made for (decision 0025).
//!
//! A recipient's rows have tokens of its own, made of the project's own in the vault, and all that is derived (shifts, made-up values,
//! hashes, encryption) is under keys of its own. So of two recipients neither finds its people in the other's tables.

use cordon_deid::recipe::Recipe;
use cordon_phi::Token;
use cordon_vault::Vault;
use cordon_vault::recipient::{given_to, owners};

use crate::error::RunError;
use crate::project::{OpenProject, Pipeline, Project};

/// The project itself, whose tokens stand in tables that are made for nobody.
pub const PROJECT: &str = "project";

/// Whether a text can name a recipient: it is part of the name of a token domain.
pub(crate) fn is_recipient_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let rest = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    first && rest && name.len() <= 64 && name != PROJECT
}

/// Rows of two recipients never stand in one table: where the pipeline's is another than its tables', a run makes all of them again first.
pub(crate) fn own_tables(project: &OpenProject, pipeline: &Pipeline, recipe: &Recipe) -> Result<(), RunError> {
    for table in pipeline.tables_of(recipe) {
        let Some(version) = project.tables().current(&table)? else { continue };
        if version.manifest.provenance.recipient.as_deref() != pipeline.recipient() {
            return Err(RunError::usage(
                format!("the table `{table}` was made for another recipient than the pipeline names now"),
                format!("make its tables again, quarantined records included:  cordon run {}", pipeline.name),
            ));
        }
    }
    Ok(())
}

impl Project {
    /// Whether tables may be made for it: a recipient of `cordon.yaml`, or the project itself.
    pub(crate) fn knows_recipient(&self, name: &str) -> bool {
        name == PROJECT || self.file.recipients.contains_key(name)
    }
}

/// The project's own token in the place of each that is a recipient's.
pub(crate) fn own_tokens(vault: &dyn Vault, tokens: &[Token]) -> Result<Vec<Token>, RunError> {
    let owners = owners(vault, tokens)?;
    Ok(tokens.iter().zip(owners).map(|(token, owner)| owner.map_or(*token, |(_, own)| own)).collect())
}

/// Which token of the one recipient each token of the other is; `None` where either has none.
pub(crate) fn crosswalk(
    vault: &dyn Vault,
    tokens: &[Token],
    from: &str,
    to: &str,
) -> Result<Vec<Option<Token>>, RunError> {
    let owners = owners(vault, tokens)?;
    let own: Vec<Option<Token>> = tokens
        .iter()
        .zip(owners)
        .map(|(token, owner)| match owner {
            Some((recipient, own)) => (recipient == from).then_some(own),
            None => (from == PROJECT).then_some(*token),
        })
        .collect();
    let known: Vec<Token> = own.iter().flatten().copied().collect();
    let mut found = if to == PROJECT {
        let mut roots = known;
        vault.roots(&mut roots)?;
        roots.into_iter().map(Some).collect()
    } else {
        given_to(vault, to, &known)?
    }
    .into_iter();
    Ok(own.iter().map(|own| own.and_then(|_| found.next().flatten())).collect())
}
