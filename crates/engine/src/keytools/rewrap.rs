//! External key material wrapped anew: the same data keys under the newest master keys, and the data untouched.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use zeroize::Zeroizing;

use super::material::Material;
use super::{KeyError, KeyTools, MaterialStorage, keys_digest};
use crate::errors::EngineError;

impl KeyTools {
    /// Key-encryption keys are made anew, under what is the newest version of their masters now.
    pub(crate) fn renew_keks(&self) {
        self.0.keks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The digest of the keys in external material: it opens, and opens these keys.
    pub(crate) fn digest_of(&self, external: &BTreeMap<String, String>) -> Result<String, EngineError> {
        Ok(keys_digest(&self.keys_in(external)?))
    }

    /// `None` where all of it is under the newest master keys already. `digest`: that of the keys that have to be in it.
    pub(crate) fn rewrap(
        &self,
        external: &BTreeMap<String, String>,
        digest: &str,
    ) -> Result<Option<BTreeMap<String, String>>, EngineError> {
        let mut current = true;
        for text in external.values() {
            let material = parse(text)?;
            current &= self.is_newest(&material)?;
        }
        if current {
            return Ok(None);
        }
        let keys = self.keys_in(external)?;
        if keys_digest(&keys) != digest {
            return Err(KeyError::Malformed.into());
        }
        let mut renewed = BTreeMap::new();
        for (reference, key) in &keys {
            let old = external.get(reference).ok_or(KeyError::NoExternalMaterial)?;
            let old = parse(old)?;
            let master = self.newest_master(&old.master_key_id);
            let new = self.material_of(key, master, old.is_footer_key, MaterialStorage::External)?;
            let text = serde_json::to_string(&new).map_err(|_| EngineError::Internal("key material"))?;
            renewed.insert(reference.clone(), text);
        }
        Ok(Some(renewed))
    }

    fn keys_in(
        &self,
        external: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, EngineError> {
        let key = |(reference, text): (&String, &String)| Ok((reference.clone(), self.unwrap_material(&parse(text)?)?));
        external.iter().map(key).collect()
    }

    fn is_newest(&self, material: &Material) -> Result<bool, EngineError> {
        let master = self.newest_master(&material.master_key_id);
        if master != material.master_key_id || material.double_wrapping != self.0.layout.double_wrapping {
            return Ok(false);
        }
        let Some(wrapped) = &material.wrapped_kek else { return Ok(true) };
        Ok(version(wrapped) == version(&self.kek(master)?.wrapped))
    }

    /// The master key for new files of the same class: `PREFIX-CLASS`, with a version where the key ring counts them.
    fn newest_master<'a>(&'a self, id: &'a str) -> &'a str {
        let class = class_of(id);
        let names = &self.0.names;
        [&names.footer, &names.direct, &names.quasi, &names.clinical]
            .into_iter()
            .find(|name| class_of(name) == class)
            .map_or(id, String::as_str)
    }
}

pub(super) fn parse(text: &str) -> Result<Material, KeyError> {
    serde_json::from_str(text).map_err(|_| KeyError::UnknownMaterial)
}

/// `direct` of `cordon-direct.v3`.
fn class_of(id: &str) -> &str {
    let name = id.rsplit_once(".v").filter(|(_, version)| version.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(id, |(name, _)| name);
    name.rsplit_once('-').map_or(name, |(_, class)| class)
}

/// Which version of the master key wrapped, where the text says so: `vault:v3:…`.
pub(super) fn version(wrapped: &str) -> Option<&str> {
    let mut parts = wrapped.splitn(3, ':');
    let (Some("vault"), Some(version), Some(_)) = (parts.next(), parts.next(), parts.next()) else { return None };
    Some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_say_class_and_version() {
        let classes = ["cordon-direct.v1", "cordon-direct.v12", "hospital-direct", "a-b-direct", "direct"];
        assert!(classes.into_iter().all(|id| class_of(id) == "direct"));
        assert_eq!(class_of("cordon-direct.vx"), "direct.vx");
        assert_eq!([version("vault:v3:AAAA"), version("AAAA"), version("vault:v3")], [Some("v3"), None, None]);
    }
}
