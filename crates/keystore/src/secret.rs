//! Secrets from where an operator puts them: the environment, or a file of its owner.

use std::env;
use std::path::{Path, PathBuf};

use cordon_crypto::random_bytes;
use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::error::Trouble;
use crate::http::read_private;

pub(crate) type Text = Zeroizing<String>;

/// A variable that is set to something.
pub(crate) fn variable(name: &str) -> Option<Text> {
    env::var(name).ok().map(Zeroizing::new).filter(|text| !text.is_empty())
}

pub(crate) fn from_variable(name: &str) -> Result<Text, Trouble> {
    variable(name)
        .ok_or_else(|| Trouble::NoCredentials { what: format!("the environment variable `{name}` is not set") })
}

/// The first line of a file that only its owner can read.
pub(crate) fn from_file(path: &Path) -> Result<Text, Trouble> {
    let bytes = Zeroizing::new(read_private(path).map_err(|what| Trouble::NoCredentials { what })?);
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(Zeroizing::new(line.to_owned())),
        _ => Err(Trouble::NoCredentials { what: format!("{} holds no text", path.display()) }),
    }
}

pub(crate) fn home() -> Option<PathBuf> {
    env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// Exactly a key, in Base64.
pub(crate) fn key_of(text: &str) -> Result<Zeroizing<[u8; 32]>, Trouble> {
    key_of_bytes(&Zeroizing::new(BASE64.decode(text.as_bytes()).unwrap_or_default()))
}

/// A key of another length is one that this program did not wrap.
pub(crate) fn key_of_bytes(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, Trouble> {
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return Err(Trouble::WrongKey);
    }
    key.copy_from_slice(bytes);
    Ok(key)
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Trouble> {
    let mut bytes = [0; N];
    random_bytes(&mut bytes).map_err(|_| Trouble::Answer { what: "the operating system gives no random bytes" })?;
    Ok(bytes)
}
