//! Azure Key Vault and Managed HSM over their REST interface, version 7.4
//! (<https://learn.microsoft.com/rest/api/keyvault/keys/>): RSA-OAEP with SHA-256.
//!
//! RSA takes no associated data: that a root belongs to its ring shows in the ring's own check.

use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::config::AzureKeyVaultConfig;
use crate::credentials::{AzureIdentity, Surroundings};
use crate::error::{At, Trouble};
use crate::http::{Answer, Bearing, Http, Secret, Trust, authority, escape, is_loopback, json};
use crate::secret;
use crate::{KeyStore, KeyStoreError, Place, StoreStatus};

const FORM: &str = "azure-key-vault:v1:";
const API: &str = "api-version=7.4";

pub(crate) struct AzureKeyVault {
    place: Arc<Place>,
    service: Bearing<AzureIdentity>,
    vault: String,
    config: AzureKeyVaultConfig,
}

impl AzureKeyVault {
    pub(crate) fn open(config: &AzureKeyVaultConfig, base: &Path) -> Result<Self, KeyStoreError> {
        let vault = config.vault.trim_end_matches('/').to_owned();
        let place = Arc::new(Place { kind: "azure-key-vault", key: config.key.clone(), at: vault.clone() });
        let service = || {
            let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !text.is_empty();
            if !plain(&config.key) {
                return Err(Trouble::Configuration { what: "`key` is no name of a key".to_owned() });
            }
            let ca_file = config.ca_file.as_ref().map(|path| base.join(path));
            let trust = Trust { ca_file: ca_file.as_deref(), ..Trust::default() };
            let http = Http::new(&vault, &trust, config.timeout_seconds)?;
            let around = Surroundings::of_process().trusting(ca_file);
            Ok(Bearing::new(http, AzureIdentity::new(around, &audience(&vault)?)))
        };
        let service = service().at(&place)?;
        Ok(Self { place, service, vault, config: config.clone() })
    }

    fn ask(&self, method: &Method, path: &str, body: &[u8], doing: &'static str) -> Result<Answer, Trouble> {
        let url = format!("{}/keys/{}{path}?{API}", self.vault, escape(&self.config.key));
        let answer = self.service.ask(method, &url, body)?;
        match answer.status {
            200 => Ok(answer),
            status => Err(trouble(&answer, status, doing)),
        }
    }

    fn key(&self) -> Result<Described, Trouble> {
        json(&self.ask(&Method::GET, "", b"", "read what kind of key it is (get)")?)
    }
}

#[derive(Deserialize)]
struct Described {
    key: Jwk,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    #[serde(default)]
    kty: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    key_ops: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Attributes {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    exportable: bool,
}

impl Described {
    fn bits(&self) -> usize {
        BASE64URL_NOPAD.decode(self.key.n.as_bytes()).map_or(0, |n| n.len() * 8)
    }

    fn fit_to_wrap(&self) -> Result<(), Trouble> {
        if !matches!(self.key.kty.as_str(), "RSA" | "RSA-HSM") || self.bits() < 2048 {
            return Err(Trouble::KeyUnusable { how: "it must be an RSA key of 2048 bits or more".to_owned() });
        }
        if ["wrapKey", "unwrapKey"].into_iter().any(|needed| self.key.key_ops.iter().all(|op| op != needed)) {
            return Err(Trouble::KeyUnusable { how: "it must be for `wrapKey` and `unwrapKey`".to_owned() });
        }
        if !self.attributes.enabled {
            return Err(Trouble::KeyUnusable { how: "it is disabled".to_owned() });
        }
        if self.attributes.exportable {
            return Err(Trouble::Exportable);
        }
        Ok(())
    }
}

/// The last part of a key's URL.
fn version(kid: &str) -> Result<String, Trouble> {
    let version = kid.rsplit('/').next().unwrap_or_default();
    if is_version(version) { Ok(version.to_owned()) } else { Err(Trouble::Answer { what: "its key has no version" }) }
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[derive(Deserialize)]
struct Operated {
    kid: String,
    value: Secret,
}

impl KeyStore for AzureKeyVault {
    fn place(&self) -> &Place {
        &self.place
    }

    fn wrap(&self, key: &[u8; 32], _ring: &str) -> Result<String, KeyStoreError> {
        let wrap = || {
            let about = self.key()?;
            about.fit_to_wrap()?;
            let value = Zeroizing::new(BASE64URL_NOPAD.encode(key));
            let body = Zeroizing::new(format!(r#"{{"alg":"RSA-OAEP-256","value":"{}"}}"#, *value));
            // The version that was looked at, and no other that came meanwhile.
            let path = format!("/{}/wrapkey", version(&about.key.kid)?);
            let answer = self.ask(&Method::POST, &path, body.as_bytes(), "wrap with this key (wrapKey)")?;
            let wrapped: Operated = json(&answer)?;
            Ok(format!("{FORM}{}:{}", version(&wrapped.kid)?, *wrapped.value.0))
        };
        wrap().at(&self.place)
    }

    fn unwrap(&self, wrapped: &str, _ring: &str) -> Result<Zeroizing<[u8; 32]>, KeyStoreError> {
        let unwrap = || {
            let (of, value) = parts(wrapped).ok_or(Trouble::WrongKey)?;
            let body = serde_json::json!({ "alg": "RSA-OAEP-256", "value": value }).to_string();
            let path = format!("/{of}/unwrapkey");
            let answer = self.ask(&Method::POST, &path, body.as_bytes(), "unwrap with this key (unwrapKey)");
            let answer = answer.map_err(|trouble| match trouble {
                Trouble::Refused { what } if what.starts_with("BadParameter") => Trouble::WrongKey,
                trouble => trouble,
            })?;
            let key = json::<Operated>(&answer)?.value.0;
            secret::key_of_bytes(&Zeroizing::new(BASE64URL_NOPAD.decode(key.as_bytes()).unwrap_or_default()))
        };
        unwrap().at(&self.place)
    }

    fn status(&self, wrapped: &str) -> Result<StoreStatus, KeyStoreError> {
        let about = self.key().at(&self.place)?;
        let newest = version(&about.key.kid).at(&self.place)?;
        let hsm = if about.key.kty == "RSA-HSM" { " in an HSM" } else { "" };
        Ok(StoreStatus {
            version: parts(wrapped).map(|(of, _)| of.to_owned()),
            newest: Some(newest),
            about: format!("RSA {}{hsm}", about.bits()),
        })
    }
}

/// Version and value; the version becomes part of an address.
fn parts(wrapped: &str) -> Option<(&str, &str)> {
    wrapped.strip_prefix(FORM)?.split_once(':').filter(|(version, _)| is_version(version))
}

/// Whom tokens are for: `https://vault.azure.net` of `https://hospital.vault.azure.net`, and so in every cloud of Azure.
fn audience(vault: &str) -> Result<String, Trouble> {
    let host = authority(vault)?;
    let bare = host.split(':').next().unwrap_or_default();
    match bare.split_once('.') {
        Some((_, domain)) if !is_loopback(bare) && domain.contains('.') => Ok(format!("https://{domain}")),
        _ => Ok("https://vault.azure.net".to_owned()),
    }
}

fn trouble(answer: &Answer, status: u16, doing: &'static str) -> Trouble {
    #[derive(Default, Deserialize)]
    struct Body {
        #[serde(default)]
        error: Fault,
    }
    #[derive(Default, Deserialize)]
    struct Fault {
        #[serde(default)]
        code: String,
        #[serde(default)]
        innererror: Inner,
    }
    #[derive(Default, Deserialize)]
    struct Inner {
        #[serde(default)]
        code: String,
    }
    let Fault { code, innererror } = json::<Body>(answer).unwrap_or_default().error;
    match (status, code.as_str(), innererror.code.as_str()) {
        (_, "KeyNotFound" | "VaultNotFound", _) | (404, ..) => Trouble::KeyMissing,
        (403, _, "KeyDisabled") => Trouble::KeyUnusable { how: "it, or that version of it, is disabled".to_owned() },
        (403, _, "KeyExpired" | "KeyNotYetValid") => {
            Trouble::KeyUnusable { how: "today is not among the days that it is valid".to_owned() }
        }
        (401, ..) => Trouble::CredentialsRefused { what: "the token is not for this vault, or expired" },
        (403, ..) => Trouble::Forbidden { what: doing },
        (409, ..) => Trouble::KeyUnusable { how: "it was deleted, and can still be recovered".to_owned() },
        _ => {
            let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
            Trouble::Refused { what: if code.is_empty() { format!("status {status}") } else { code } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_the_cloud_of_the_vault() {
        for (vault, expected) in [
            ("https://hospital.vault.azure.net", "https://vault.azure.net"),
            ("https://hospital.vault.azure.cn", "https://vault.azure.cn"),
            ("https://hospital.vault.usgovcloudapi.net:443", "https://vault.usgovcloudapi.net"),
            ("https://hospital.managedhsm.azure.net", "https://managedhsm.azure.net"),
            ("http://127.0.0.1:8443", "https://vault.azure.net"),
            ("http://localhost:8443", "https://vault.azure.net"),
        ] {
            assert_eq!(audience(vault).ok().as_deref(), Some(expected));
        }
    }
}
