//! Azure Key Vault and Managed HSM over their REST interface, version 7.4
//! (<https://learn.microsoft.com/rest/api/keyvault/keys/>): RSA-OAEP with SHA-256.
//!
//! RSA takes no associated data: that a root belongs to its ring shows in the ring's own check.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::config::AzureKeyVaultConfig;
use crate::error::{At, Trouble};
use crate::http::{Answer, Ask, Http, Secret, Trust, authority, escape, is_loopback, json};
use crate::secret::{self, Text, variable};
use crate::{KeyStore, KeyStoreError, Place, StoreStatus};

const FORM: &str = "azure-key-vault:v1:";
const API: &str = "api-version=7.4";

pub(crate) struct AzureKeyVault {
    place: Arc<Place>,
    http: Http,
    vault: String,
    config: AzureKeyVaultConfig,
    token: Mutex<Option<Text>>,
}

impl AzureKeyVault {
    pub(crate) fn open(config: &AzureKeyVaultConfig, base: &Path) -> Result<Self, KeyStoreError> {
        let vault = config.vault.trim_end_matches('/').to_owned();
        let place = Arc::new(Place { kind: "azure-key-vault", key: config.key.clone(), at: vault.clone() });
        let http = || {
            let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !text.is_empty();
            if !plain(&config.key) {
                return Err(Trouble::Configuration { what: "`key` is no name of a key".to_owned() });
            }
            let ca_file = config.ca_file.as_ref().map(|path| base.join(path));
            Http::new(&vault, &Trust { ca_file: ca_file.as_deref(), ..Trust::default() }, config.timeout_seconds)
        };
        let http = http().at(&place)?;
        Ok(Self { place, http, vault, config: config.clone(), token: Mutex::new(None) })
    }

    fn token(&self) -> Result<Text, Trouble> {
        let mut held = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = &*held {
            return Ok(token.clone());
        }
        let token = find_token(&audience(&self.vault)?)?;
        *held = Some(token.clone());
        Ok(token)
    }

    fn ask(&self, method: Method, path: &str, body: &[u8], doing: &'static str) -> Result<Answer, Trouble> {
        let token = self.token()?;
        let bearer = Zeroizing::new(format!("Bearer {}", *token));
        let mut headers = vec![("authorization", bearer.as_str()), ("accept", "application/json")];
        if method != Method::GET {
            headers.push(("content-type", "application/json"));
        }
        let url = format!("{}/keys/{}{path}?{API}", self.vault, escape(&self.config.key));
        let answer = self.http.ask(&Ask { method, url: &url, headers: &headers, body }, |_| false)?;
        match answer.status {
            200 => Ok(answer),
            status => Err(trouble(&answer, status, doing)),
        }
    }

    fn key(&self) -> Result<Described, Trouble> {
        json(&self.ask(Method::GET, "", b"", "read what kind of key it is (get)")?)
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
            let answer = self.ask(Method::POST, &path, body.as_bytes(), "wrap with this key (wrapKey)")?;
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
            let answer = self.ask(Method::POST, &path, body.as_bytes(), "unwrap with this key (unwrapKey)");
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

/// Of a client with a secret, of a workload, or of the machine.
fn find_token(audience: &str) -> Result<Text, Trouble> {
    let tenant = variable("AZURE_TENANT_ID");
    let client = variable("AZURE_CLIENT_ID");
    if let (Some(tenant), Some(client)) = (&tenant, &client) {
        let scope = format!("{audience}/.default");
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", client.as_str()), ("scope", &scope)];
        if let Some(secret) = variable("AZURE_CLIENT_SECRET") {
            form.push(("client_secret", &secret));
            return log_in(tenant, &form);
        }
        if let Some(path) = variable("AZURE_FEDERATED_TOKEN_FILE") {
            let assertion = std::fs::read_to_string(path.as_str()).map(Zeroizing::new).map_err(|error| {
                Trouble::NoCredentials { what: format!("cannot read {}: {}", path.as_str(), error.kind()) }
            })?;
            form.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
            form.push(("client_assertion", assertion.trim()));
            return log_in(tenant, &form);
        }
    }
    of_machine(audience, client.as_ref().map(|client| client.as_str()))
}

fn log_in(tenant: &str, form: &[(&str, &str)]) -> Result<Text, Trouble> {
    let base = variable("AZURE_AUTHORITY_HOST")
        .map_or_else(|| "https://login.microsoftonline.com".to_owned(), |url| url.trim_end_matches('/').to_owned());
    let http = Http::new(&base, &Trust::default(), 30)?;
    let url = format!("{base}/{}/oauth2/v2.0/token", escape(tenant));
    http.token(&url, form)
}

fn of_machine(audience: &str, client: Option<&str>) -> Result<Text, Trouble> {
    let which = client.map(|client| format!("&client_id={}", escape(client))).unwrap_or_default();
    let resource = escape(audience);
    // App Service and Container Apps say where to ask; virtual machines have a fixed address.
    let of_app = variable("IDENTITY_ENDPOINT").zip(variable("IDENTITY_HEADER"));
    let (base, url, header) = if let Some((endpoint, header)) = of_app {
        let url = format!("{}?api-version=2019-08-01&resource={resource}{which}", endpoint.as_str());
        (endpoint.to_string(), url, ("x-identity-header", header))
    } else {
        let base = variable("AZURE_POD_IDENTITY_AUTHORITY_HOST")
            .map_or_else(|| "http://169.254.169.254".to_owned(), |url| url.trim_end_matches('/').to_owned());
        let url = format!("{base}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{which}");
        (base, url, ("metadata", Zeroizing::new("true".to_owned())))
    };
    let headers = [(header.0, header.1.as_str())];
    let ask = Ask { method: Method::GET, url: &url, headers: &headers, body: b"" };
    let answer = Http::metadata(&base)?.ask(&ask, |_| false).map_err(|_| Trouble::NoCredentials {
        what: "there are no Azure credentials in the environment, and this machine has no managed identity".to_owned(),
    })?;
    match answer.status {
        200 => Ok(json::<crate::http::AccessToken>(&answer)?.access_token.0),
        _ => Err(Trouble::CredentialsRefused { what: "this machine's managed identity gives no token" }),
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
