//! The transit secrets engine of OpenBao and HashiCorp Vault, over its HTTP API
//! (<https://openbao.org/api-docs/secret/transit/>).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::BASE64;
use serde::Deserialize;
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::config::{AppRole, TransitAuth, TransitConfig};
use crate::error::{At, Trouble};
use crate::http::{Answer, Ask, Http, Secret, Trust, escape, json};
use crate::secret::{self, Text};
use crate::{KeyStore, KeyStoreError, Place, StoreStatus};

pub(crate) struct Transit {
    place: Arc<Place>,
    http: Http,
    config: TransitConfig,
    /// Of the project, which relative paths are relative to.
    base: PathBuf,
    /// What a log-in gave; a token that was found is here too.
    token: Mutex<Option<Text>>,
}

impl Transit {
    pub(crate) fn open(config: &TransitConfig, base: &Path) -> Result<Self, KeyStoreError> {
        let config = TransitConfig {
            address: config.address.trim_end_matches('/').to_owned(),
            mount: config.mount.trim_matches('/').to_owned(),
            ..config.clone()
        };
        let within = config.namespace.as_ref().map(|name| format!(", namespace {name}")).unwrap_or_default();
        let place = Arc::new(Place {
            kind: "transit",
            key: config.key.clone(),
            at: format!("{}/{}{within}", config.address, config.mount),
        });
        let http = Self::connection(&config, base).at(&place)?;
        Ok(Self { place, http, config, base: base.to_owned(), token: Mutex::new(None) })
    }

    fn connection(config: &TransitConfig, base: &Path) -> Result<Http, Trouble> {
        let names = [("key", &config.key), ("mount", &config.mount)];
        for (what, name) in names {
            if name.is_empty() || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(Trouble::Configuration { what: format!("`{what}` is no name") });
            }
        }
        let ca_file = config.ca_file.as_ref().map(|path| base.join(path));
        let client = match &config.auth {
            Some(TransitAuth::Cert(files)) => Some((base.join(&files.certificate), base.join(&files.key))),
            _ => None,
        };
        let trust = Trust {
            ca_file: ca_file.as_deref(),
            client: client.as_ref().map(|(chain, key)| (chain.as_path(), key.as_path())),
            ..Trust::default()
        };
        Http::new(&config.address, &trust, config.timeout_seconds)
    }

    fn path_of(&self, operation: &str, key: &str) -> String {
        format!("{}/{operation}/{}", escape_path(&self.config.mount), escape(key))
    }

    /// The same store, another key of it.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        Place { key: key.to_owned(), ..(*self.place).clone() }
    }

    fn ask(&self, method: Method, path: &str, token: Option<&str>, body: &[u8]) -> Result<Answer, Trouble> {
        let mut headers = vec![("x-vault-request", "true"), ("accept", "application/json")];
        headers.extend(token.map(|token| ("x-vault-token", token)));
        headers.extend(self.config.namespace.as_deref().map(|name| ("x-vault-namespace", name)));
        if method != Method::GET {
            headers.push(("content-type", "application/json"));
        }
        let url = format!("{}/v1/{path}", self.config.address);
        self.http.ask(&Ask { method, url: &url, headers: &headers, body }, is_sealed)
    }

    /// Asks with a token. One that a log-in gave may have expired since: then once more with a new one.
    fn ask_known(&self, method: &Method, path: &str, body: &[u8], doing: &'static str) -> Result<Answer, Trouble> {
        for last in [false, true] {
            let (token, fresh) = self.token()?;
            let answer = self.ask(method.clone(), path, Some(&token), body)?;
            if answer.status != 403 {
                return Ok(answer);
            }
            // "permission denied" stands for a bad token too. A token may look at itself, so that this tells them apart,
            // by the default policy.
            let known = self.ask(Method::GET, "auth/token/lookup-self", Some(&token), b"")?.status == 200;
            if known {
                return Err(Trouble::Forbidden { what: doing });
            }
            self.forget();
            if fresh || last || !self.logs_in() {
                return Err(Trouble::CredentialsRefused { what: "the token is not valid" });
            }
        }
        Err(Trouble::CredentialsRefused { what: "the token is not valid" })
    }

    fn logs_in(&self) -> bool {
        matches!(self.config.auth, Some(TransitAuth::Approle(_) | TransitAuth::Cert(_)))
    }

    fn forget(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The token, and whether it is newly made.
    fn token(&self) -> Result<(Text, bool), Trouble> {
        let mut held = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = &*held {
            return Ok((token.clone(), false));
        }
        let token = match &self.config.auth {
            None => found_token()?,
            Some(TransitAuth::TokenEnv(name)) => secret::from_variable(name)?,
            Some(TransitAuth::TokenFile(path)) => secret::from_file(&self.base.join(path))?,
            Some(TransitAuth::Approle(role)) => {
                let (role_id, secret_id) = self.approle(role)?;
                let body = serde_json::json!({ "role_id": *role_id, "secret_id": *secret_id });
                let body = Zeroizing::new(body.to_string());
                let what = "the role id or the secret id is not valid";
                self.log_in(&role.mount, body.as_bytes(), what)?
            }
            Some(TransitAuth::Cert(files)) => {
                let body = files
                    .role
                    .as_ref()
                    .map_or_else(|| "{}".to_owned(), |role| serde_json::json!({ "name": role }).to_string());
                self.log_in(&files.mount, body.as_bytes(), "no role fits the certificate of this machine")?
            }
        };
        *held = Some(token.clone());
        Ok((token, self.logs_in()))
    }

    fn approle(&self, role: &AppRole) -> Result<(Text, Text), Trouble> {
        let one = |what: &str, given: Option<&String>, env: Option<&String>, file: Option<&String>| match (
            given, env, file,
        ) {
            (Some(text), None, None) => Ok(Zeroizing::new(text.clone())),
            (None, Some(name), None) => secret::from_variable(name),
            (None, None, Some(path)) => secret::from_file(&self.base.join(path)),
            _ => Err(Trouble::Configuration { what: format!("`approle` needs `{what}` from exactly one place") }),
        };
        let role_id = one("role-id", role.role_id.as_ref(), role.role_id_env.as_ref(), role.role_id_file.as_ref())?;
        let secret_id = one("secret-id", None, role.secret_id_env.as_ref(), role.secret_id_file.as_ref())?;
        Ok((role_id, secret_id))
    }

    fn log_in(&self, mount: &str, body: &[u8], refused: &'static str) -> Result<Text, Trouble> {
        #[derive(Deserialize)]
        struct LogIn {
            auth: Token,
        }
        #[derive(Deserialize)]
        struct Token {
            client_token: Secret,
        }
        let path = format!("auth/{}/login", escape_path(mount.trim_matches('/')));
        let answer = self.ask(Method::POST, &path, None, body)?;
        match answer.status {
            200 => Ok(json::<LogIn>(&answer)?.auth.client_token.0),
            400 | 401 | 403 => Err(Trouble::CredentialsRefused { what: refused }),
            404 => Err(Trouble::Configuration { what: format!("nobody logs in at `auth/{mount}`") }),
            status => Err(Trouble::Refused { what: format!("log-in, status {status}") }),
        }
    }

    fn key(&self, name: &str) -> Result<TransitKey, Trouble> {
        #[derive(Deserialize)]
        struct Data {
            data: TransitKey,
        }
        let path = self.path_of("keys", name);
        let answer = self.ask_known(&Method::GET, &path, b"", "read what kind of key it is")?;
        match answer.status {
            200 => Ok(json::<Data>(&answer)?.data),
            404 => Err(Trouble::KeyMissing),
            status => Err(refused(status, &answer)),
        }
    }

    /// The newest version of a key, and the oldest that the store still unwraps with.
    pub(crate) fn versions(&self, name: &str) -> Result<(u64, u64), Trouble> {
        let about = self.key(name)?;
        Ok((about.latest_version, about.min_decryption_version.max(1)))
    }

    /// Whether the key is one to wrap with. Encrypting under a name that does not exist would make a key of that name.
    pub(crate) fn check_wrapping(&self, name: &str) -> Result<(), Trouble> {
        let about = self.key(name)?;
        if !KINDS.contains(&about.kind.as_str()) {
            return Err(Trouble::KeyUnusable { how: format!("it must be of type {}", KINDS.join(" or ")) });
        }
        if about.soft_deleted {
            return Err(Trouble::KeyUnusable { how: "it is marked as deleted".to_owned() });
        }
        if about.exportable {
            return Err(Trouble::Exportable);
        }
        Ok(())
    }

    /// `body`: the JSON of a request, with the plaintext in it.
    pub(crate) fn encrypt(&self, name: &str, body: &[u8]) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Data {
            data: Wrapped,
        }
        #[derive(Deserialize)]
        struct Wrapped {
            ciphertext: String,
        }
        let answer = self.ask_known(&Method::POST, &self.path_of("encrypt", name), body, "encrypt with this key")?;
        match answer.status {
            200 => Ok(json::<Data>(&answer)?.data.ciphertext),
            status => Err(refused(status, &answer)),
        }
    }

    /// `body`: the JSON of a request, with the ciphertext in it. Gives Base64.
    pub(crate) fn decrypt(&self, name: &str, body: &[u8]) -> Result<Text, Trouble> {
        #[derive(Deserialize)]
        struct Data {
            data: Unwrapped,
        }
        #[derive(Deserialize)]
        struct Unwrapped {
            plaintext: Secret,
        }
        let answer = self.ask_known(&Method::POST, &self.path_of("decrypt", name), body, "decrypt with this key")?;
        match answer.status {
            200 => Ok(json::<Data>(&answer)?.data.plaintext.0),
            status => Err(refused(status, &answer)),
        }
    }
}

/// What the engine tells of a key.
#[derive(Deserialize)]
struct TransitKey {
    #[serde(rename = "type")]
    kind: String,
    latest_version: u64,
    #[serde(default)]
    min_decryption_version: u64,
    #[serde(default)]
    exportable: bool,
    #[serde(default)]
    soft_deleted: bool,
}

/// Ciphers with 256-bit keys that take associated data.
const KINDS: [&str; 3] = ["aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];

/// What is authenticated beside the key, and derives its key where `derived` is set on it.
fn context(ring: &str) -> String {
    BASE64.encode(format!("cordon/root/v1/{ring}").as_bytes())
}

impl KeyStore for Transit {
    fn place(&self) -> &Place {
        &self.place
    }

    fn wrap(&self, key: &[u8; 32], ring: &str) -> Result<String, KeyStoreError> {
        let wrap = || {
            self.check_wrapping(&self.config.key)?;
            let (key, context) = (Zeroizing::new(BASE64.encode(key)), context(ring));
            let body = Zeroizing::new(format!(
                r#"{{"plaintext":"{}","associated_data":"{context}","context":"{context}"}}"#,
                *key
            ));
            self.encrypt(&self.config.key, body.as_bytes())
        };
        wrap().at(&self.place)
    }

    fn unwrap(&self, wrapped: &str, ring: &str) -> Result<Zeroizing<[u8; 32]>, KeyStoreError> {
        let unwrap = || {
            let context = context(ring);
            let body = serde_json::json!({ "ciphertext": wrapped, "associated_data": context, "context": context })
                .to_string();
            secret::key_of(&self.decrypt(&self.config.key, body.as_bytes())?)
        };
        unwrap().at(&self.place)
    }

    fn status(&self, wrapped: &str) -> Result<StoreStatus, KeyStoreError> {
        let key = self.key(&self.config.key).at(&self.place)?;
        let exportable = if key.exportable { ", exportable" } else { "" };
        Ok(StoreStatus {
            version: wrapped.split(':').nth(1).map(|version| version.trim_start_matches('v').to_owned()),
            newest: Some(key.latest_version.to_string()),
            about: format!("{}{exportable}", known_kind(&key.kind)),
        })
    }
}

/// What a store sends is not shown unless we know the word.
fn known_kind(kind: &str) -> &'static str {
    KINDS.into_iter().find(|known| *known == kind).unwrap_or("of a kind that cannot wrap")
}

/// `~/.vault-token` is where both programs' `login` puts it.
fn found_token() -> Result<Text, Trouble> {
    if let Some(token) = ["BAO_TOKEN", "VAULT_TOKEN"].into_iter().find_map(secret::variable) {
        return Ok(token);
    }
    let file = secret::home().map(|home| home.join(".vault-token"));
    match file.filter(|path| path.exists()) {
        Some(path) => secret::from_file(&path),
        None => Err(Trouble::NoCredentials {
            what: "there is no token in `BAO_TOKEN`, `VAULT_TOKEN` or ~/.vault-token, and `auth` names no other"
                .to_owned(),
        }),
    }
}

/// 503 is sealed, 501 not initialised.
fn is_sealed(answer: &Answer) -> bool {
    answer.status == 501 || (answer.status == 503 && says(answer, "is sealed"))
}

fn says(answer: &Answer, words: &str) -> bool {
    answer.body.windows(words.len()).any(|at| at == words.as_bytes())
}

/// The engine has one status for many things and tells them apart in words.
fn refused(status: u16, answer: &Answer) -> Trouble {
    if says(answer, "encryption key not found") || says(answer, "unsupported path") && status == 404 {
        return Trouble::KeyMissing;
    }
    if says(answer, "disallowed by policy") {
        return Trouble::VersionRetired;
    }
    let wrong = ["message authentication failed", "invalid ciphertext", "unable to decrypt", "failed to decrypt"];
    if wrong.into_iter().any(|words| says(answer, words)) {
        return Trouble::WrongKey;
    }
    if status == 404 {
        return Trouble::KeyMissing;
    }
    Trouble::Refused { what: format!("status {status}") }
}

fn escape_path(path: &str) -> String {
    path.split('/').map(escape).collect::<Vec<_>>().join("/")
}
