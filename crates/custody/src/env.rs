//! What kernels need: keys and tokens, for the project itself or for a recipient (decision 0025).
//!
//! A recipient's rows have tokens of its own, made of the project's own in the vault, and all that is derived (shifts, made-up values,
//! hashes, encryption) is under keys of its own. So of two recipients neither finds its people in the other's tables.

use std::sync::Arc;

use cordon_crypto::{DateShiftKey, FpeKey, HashKey, KeyedHash, SurrogateKey, sub_key};
use cordon_deid::kernel::{DeidKeys, Env};
use cordon_phi::{Dossiers, TokenStore};
use cordon_vault::keyring::KeyRing;
use cordon_vault::recipient::{RecipientDossiers, RecipientTokens};
use cordon_vault::{DossierKeeper, Vault};

use crate::error::CustodyError;

/// What kernels need to make the project's own rows, or those of a `recipient`.
pub fn env(
    ring: &KeyRing,
    vault: &Arc<dyn Vault>,
    dossiers: Option<Arc<dyn DossierKeeper>>,
    recipient: Option<&str>,
) -> Result<Env, CustodyError> {
    let keys = DeidKeys {
        hash: KeyedHash::for_key(&ring.key::<HashKey>()?),
        shift: KeyedHash::for_key(&ring.key::<DateShiftKey>()?),
        surrogate: KeyedHash::for_key(&ring.key::<SurrogateKey>()?),
        fpe: ring.key::<FpeKey>()?,
    };
    let own = Env {
        tokens: Arc::clone(vault) as Arc<dyn TokenStore>,
        keys: Arc::new(keys),
        dossiers: dossiers.map(|dossiers| dossiers as Arc<dyn Dossiers>),
    };
    Ok(recipient.map_or(own.clone(), |recipient| of_recipient(&own, vault, recipient)))
}

fn of_recipient(own: &Env, vault: &Arc<dyn Vault>, recipient: &str) -> Env {
    let tokens = Arc::new(RecipientTokens::new(Arc::clone(vault), recipient));
    let label = format!("recipient {recipient}");
    let keys = DeidKeys {
        hash: own.keys.hash.derive(&label),
        shift: own.keys.shift.derive(&label),
        surrogate: own.keys.surrogate.derive(&label),
        fpe: FpeKey::from_bytes(*sub_key(&own.keys.fpe, &label)),
    };
    let dossiers = own.dossiers.as_ref().map(|dossiers| {
        Arc::new(RecipientDossiers::new(Arc::clone(dossiers), Arc::clone(&tokens))) as Arc<dyn Dossiers>
    });
    Env { tokens: tokens as Arc<dyn TokenStore>, keys: Arc::new(keys), dossiers }
}
