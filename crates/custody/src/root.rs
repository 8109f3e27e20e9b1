//! The root secret of a key ring, from wherever `keys.root` says that it is.

use std::fs;
use std::io;
use std::path::Path;

use cordon_keystore::StoreConfig;
use cordon_vault::KeyRingError;
use cordon_vault::keyring::RootSecret;
use zeroize::Zeroizing;

use crate::config::RootSection;
use crate::error::CustodyError;

/// How a passphrase is asked for when the configuration says `prompt`.
pub type AskPassphrase<'a> = &'a dyn Fn() -> io::Result<Zeroizing<String>>;

/// The secret of a root as `keys.root` names it, with paths relative to `base`. A key store is not asked yet.
pub fn secret_of(base: &Path, root: &RootSection, ask: AskPassphrase<'_>) -> Result<RootSecret, CustodyError> {
    match root {
        RootSection::KeyFile(path) => Ok(RootSecret::KeyFile(base.join(path))),
        RootSection::PassphraseEnv(name) => match std::env::var(name) {
            Ok(passphrase) if !passphrase.is_empty() => Ok(RootSecret::Passphrase(Zeroizing::new(passphrase))),
            _ => Err(CustodyError::usage(
                format!("the environment variable `{name}` holds no passphrase"),
                format!("set it, or choose another `keys.root` in cordon.yaml; `{name}` is named there"),
            )),
        },
        RootSection::PassphraseFile(path) => {
            let path = base.join(path);
            let text = fs::read_to_string(&path).map_err(|error| CustodyError::io("read", &path, &error))?;
            let text = Zeroizing::new(text);
            let line = text.lines().next().unwrap_or_default();
            if line.is_empty() {
                return Err(CustodyError::usage(
                    format!("{} holds no passphrase", path.display()),
                    "write it in the first line".to_owned(),
                ));
            }
            Ok(RootSecret::Passphrase(Zeroizing::new(line.to_owned())))
        }
        RootSection::Transit(_)
        | RootSection::Pkcs11(_)
        | RootSection::AwsKms(_)
        | RootSection::AzureKeyVault(_)
        | RootSection::GoogleKms(_) => match root.store() {
            Some(store) => open_store(&store, base),
            None => Err(CustodyError::usage("`keys.root` names no store", "see docs/keys.md")),
        },
        RootSection::Prompt => {
            let passphrase = ask()
                .map_err(|error| CustodyError::io("ask for a passphrase on", Path::new("the terminal"), &error))?;
            Ok(RootSecret::Passphrase(passphrase))
        }
    }
}

pub fn open_store(store: &StoreConfig, base: &Path) -> Result<RootSecret, CustodyError> {
    let store =
        cordon_keystore::open(store, base).map_err(|error| KeyRingError::Store { error, also: String::new() })?;
    Ok(RootSecret::Store(store))
}
