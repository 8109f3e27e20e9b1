//! Key material as parquet-java spells it, in a file and beside it.

use std::collections::BTreeMap;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::KeyError;
use crate::errors::EngineError;

/// The format that parquet-java's `KeyMaterial` names in `keyMaterialType`.
pub(super) const MATERIAL_TYPE: &str = "PKMT1";
/// parquet-java's `KeyEncryptionKey.KEK_ID_LENGTH`.
pub(super) const KEK_ID_LEN: usize = 16;

const PREFIX: &str = "_KEY_MATERIAL_FOR_";
const SUFFIX: &str = ".json";

/// The JSON of parquet-java's `KeyMaterial` and `KeyMetadata`, both in one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Material {
    pub(super) key_material_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) internal_storage: Option<bool>,
    #[serde(default)]
    pub(super) is_footer_key: bool,
    #[serde(default, rename = "kmsInstanceID", skip_serializing_if = "Option::is_none")]
    pub(super) kms_instance_id: Option<String>,
    #[serde(default, rename = "kmsInstanceURL", skip_serializing_if = "Option::is_none")]
    pub(super) kms_instance_url: Option<String>,
    #[serde(default, rename = "masterKeyID", skip_serializing_if = "String::is_empty")]
    pub(super) master_key_id: String,
    #[serde(default, rename = "wrappedDEK", skip_serializing_if = "String::is_empty")]
    pub(super) wrapped_dek: String,
    #[serde(default)]
    pub(super) double_wrapping: bool,
    #[serde(default, rename = "keyEncryptionKeyID", skip_serializing_if = "Option::is_none")]
    pub(super) key_encryption_key_id: Option<String>,
    #[serde(default, rename = "wrappedKEK", skip_serializing_if = "Option::is_none")]
    pub(super) wrapped_kek: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_reference: Option<String>,
}

/// What a file says of a key whose material is not in it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "parquet-java's names")]
pub(super) struct Reference<'a> {
    key_material_type: &'static str,
    internal_storage: bool,
    key_reference: &'a str,
}

impl<'a> Reference<'a> {
    pub(super) fn outside(reference: &'a str) -> Self {
        Self { key_material_type: MATERIAL_TYPE, internal_storage: false, key_reference: reference }
    }
}

/// The name of the material of a file, as `HadoopFSKeyMaterialStore` forms it. Readers that list folders pass over what begins
/// with `_`.
pub(crate) fn material_name(file: &str) -> String {
    format!("{PREFIX}{file}{SUFFIX}")
}

/// The file that material of this name belongs to.
pub(crate) fn material_owner(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)
}

pub(crate) fn read_external(json: &[u8], path: &Path) -> Result<BTreeMap<String, String>, EngineError> {
    let damaged = |_| EngineError::Damaged { what: "external key material", path: path.to_owned() };
    serde_json::from_slice(json).map_err(damaged)
}

pub(crate) fn write_external(material: &BTreeMap<String, String>) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(material).map_err(|_| EngineError::Internal("external key material"))
}

/// What a manifest holds of external material: it stays the same when the material is wrapped anew, and no other keys have it.
/// The keys are random, so that it tells nothing of them.
pub(crate) fn keys_digest(keys: &BTreeMap<String, Zeroizing<Vec<u8>>>) -> String {
    let mut hash = Sha256::new();
    hash.update(b"cordon/data-keys/v1");
    for (reference, key) in keys {
        for part in [reference.as_bytes(), key.as_slice()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    HEXLOWER.encode(&hash.finalize())
}

fn algorithm(kek: &[u8]) -> Result<&'static Algorithm, KeyError> {
    match kek.len() {
        16 => Ok(&AES_128_GCM),
        32 => Ok(&AES_256_GCM),
        _ => Err(KeyError::Malformed),
    }
}

/// parquet-java's `KeyToolkit.encryptKeyLocally`: base64 of nonce || ciphertext || tag, the KEK's own id as AAD.
pub(super) fn wrap_locally(kek: &[u8], aad: &[u8], key: &[u8]) -> Result<String, EngineError> {
    let mut nonce = [0; NONCE_LEN];
    cordon_crypto::random_bytes(&mut nonce).map_err(|_| EngineError::Randomness)?;
    let cipher = UnboundKey::new(algorithm(kek)?, kek).map_err(|_| KeyError::Malformed)?;
    let mut body = Zeroizing::new(key.to_vec());
    let tag = LessSafeKey::new(cipher)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body)
        .map_err(|_| KeyError::Malformed)?;
    Ok(BASE64.encode(&[nonce.as_slice(), &body, tag.as_ref()].concat()))
}

/// parquet-java's `KeyToolkit.decryptKeyLocally`. The KEK of other writers has 128 bits by default.
pub(super) fn unwrap_locally(kek: &[u8], aad: &[u8], wrapped: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let sealed = BASE64.decode(wrapped.as_bytes()).map_err(|_| KeyError::Malformed)?;
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::Malformed)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::Malformed)?;
    let key = LessSafeKey::new(UnboundKey::new(algorithm(kek)?, kek).map_err(|_| KeyError::Malformed)?);
    let mut body = Zeroizing::new(body.to_vec());
    let len = key.open_in_place(nonce, Aad::from(aad), &mut body).map_err(|_| KeyError::Authentication)?.len();
    body.truncate(len);
    Ok(body)
}
