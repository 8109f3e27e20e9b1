//! Google Cloud KMS over its REST interface (<https://docs.cloud.google.com/kms/docs/reference/rest>).

use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64;
use serde::Deserialize;
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::config::GoogleKmsConfig;
use crate::credentials::{GOOGLE_KMS, GoogleIdentity, Surroundings};
use crate::error::{At, Trouble};
use crate::http::{Answer, Bearing, Http, Secret, Trust, json};
use crate::secret;
use crate::{KeyStore, KeyStoreError, Place, StoreStatus};

const FORM: &str = "google-kms:v1:";

pub(crate) struct GoogleKms {
    place: Arc<Place>,
    service: Bearing<GoogleIdentity>,
    endpoint: String,
    key: String,
}

impl GoogleKms {
    pub(crate) fn open(config: &GoogleKmsConfig, base: &Path) -> Result<Self, KeyStoreError> {
        let endpoint = config.endpoint.as_deref().unwrap_or("https://cloudkms.googleapis.com").trim_end_matches('/');
        let at = endpoint.to_owned();
        let place = Arc::new(Place { kind: "google-kms", key: config.key.clone(), at });
        let service = || {
            if !is_key_name(&config.key) {
                let form = "projects/…/locations/…/keyRings/…/cryptoKeys/…";
                return Err(Trouble::Configuration { what: format!("`key` has not the form {form}") });
            }
            let ca_file = config.ca_file.as_ref().map(|path| base.join(path));
            let trust = Trust { ca_file: ca_file.as_deref(), ..Trust::default() };
            let http = Http::new(endpoint, &trust, config.timeout_seconds)?;
            let around = Surroundings::of_process().trusting(ca_file);
            Ok(Bearing::new(http, GoogleIdentity::new(around, GOOGLE_KMS)))
        };
        let service = service().at(&place)?;
        Ok(Self { place, service, endpoint: endpoint.to_owned(), key: config.key.clone() })
    }

    fn ask(&self, method: &Method, verb: &str, body: &[u8], doing: &'static str) -> Result<Answer, Trouble> {
        let url = format!("{}/v1/{}{verb}", self.endpoint, self.key);
        let answer = self.service.ask(method, &url, body)?;
        match answer.status {
            200 => Ok(answer),
            status => Err(trouble(&answer, status, doing)),
        }
    }

    fn key(&self) -> Result<CryptoKey, Trouble> {
        json(&self.ask(&Method::GET, "", b"", "read what kind of key it is (cloudkms.cryptoKeys.get)")?)
    }
}

/// Four pairs of a collection and a name.
fn is_key_name(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    let plain = |name: &&str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    let collections: Vec<&str> = parts.iter().step_by(2).copied().collect();
    collections == ["projects", "locations", "keyRings", "cryptoKeys"] && parts.len() == 8 && parts.iter().all(plain)
}

#[derive(Deserialize)]
struct CryptoKey {
    #[serde(default)]
    purpose: String,
    primary: Option<Version>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    name: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    protection_level: String,
}

/// The number at the end of a version's name.
fn number(name: &str) -> Result<String, Trouble> {
    let number = name.rsplit('/').next().unwrap_or_default();
    let plain = !number.is_empty() && number.len() < 20 && number.bytes().all(|b| b.is_ascii_digit());
    if plain { Ok(number.to_owned()) } else { Err(Trouble::Answer { what: "its key has no version" }) }
}

/// What is authenticated beside the key.
fn context(ring: &str) -> String {
    BASE64.encode(format!("cordon/root/v1/{ring}").as_bytes())
}

impl KeyStore for GoogleKms {
    fn place(&self) -> &Place {
        &self.place
    }

    fn wrap(&self, key: &[u8; 32], ring: &str) -> Result<String, KeyStoreError> {
        #[derive(Deserialize)]
        struct Encrypted {
            name: String,
            ciphertext: String,
        }
        let wrap = || {
            let about = self.key()?;
            if about.purpose != "ENCRYPT_DECRYPT" {
                return Err(Trouble::KeyUnusable { how: "its purpose must be ENCRYPT_DECRYPT".to_owned() });
            }
            if about.primary.is_none_or(|primary| primary.state != "ENABLED") {
                return Err(Trouble::KeyUnusable { how: "it has no primary version that is enabled".to_owned() });
            }
            let (key, context) = (Zeroizing::new(BASE64.encode(key)), context(ring));
            let body =
                Zeroizing::new(format!(r#"{{"plaintext":"{}","additionalAuthenticatedData":"{context}"}}"#, *key));
            let doing = "encrypt with this key (cloudkms.cryptoKeyVersions.useToEncrypt)";
            let answer = self.ask(&Method::POST, ":encrypt", body.as_bytes(), doing)?;
            let encrypted: Encrypted = json(&answer)?;
            Ok(format!("{FORM}{}:{}", number(&encrypted.name)?, encrypted.ciphertext))
        };
        wrap().at(&self.place)
    }

    fn unwrap(&self, wrapped: &str, ring: &str) -> Result<Zeroizing<[u8; 32]>, KeyStoreError> {
        #[derive(Deserialize)]
        struct Decrypted {
            plaintext: Secret,
        }
        let unwrap = || {
            let (_, ciphertext) = parts(wrapped).ok_or(Trouble::WrongKey)?;
            let body = serde_json::json!({ "ciphertext": ciphertext, "additionalAuthenticatedData": context(ring) });
            let doing = "decrypt with this key (cloudkms.cryptoKeyVersions.useToDecrypt)";
            let answer = self.ask(&Method::POST, ":decrypt", body.to_string().as_bytes(), doing);
            let answer = answer.map_err(|trouble| match trouble {
                Trouble::Refused { what } if what == "INVALID_ARGUMENT" => Trouble::WrongKey,
                trouble => trouble,
            })?;
            secret::key_of(&json::<Decrypted>(&answer)?.plaintext.0)
        };
        unwrap().at(&self.place)
    }

    fn status(&self, wrapped: &str) -> Result<StoreStatus, KeyStoreError> {
        let about = self.key().at(&self.place)?;
        let level = about.primary.as_ref().map_or("", |primary| primary.protection_level.as_str());
        let level = ["SOFTWARE", "HSM", "HSM_SINGLE_TENANT", "EXTERNAL", "EXTERNAL_VPC"]
            .into_iter()
            .find(|known| *known == level);
        Ok(StoreStatus {
            version: parts(wrapped).and_then(|(of, _)| number(of).ok()),
            newest: about.primary.map(|primary| number(&primary.name)).transpose().at(&self.place)?,
            about: format!("symmetric, {}", level.unwrap_or("unknown")),
        })
    }
}

fn parts(wrapped: &str) -> Option<(&str, &str)> {
    wrapped.strip_prefix(FORM)?.split_once(':')
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
        status: String,
    }
    let word = json::<Body>(answer).unwrap_or_default().error.status;
    match (status, word.as_str()) {
        (401, _) => Trouble::CredentialsRefused { what: "the token is not valid" },
        (403, _) => Trouble::Forbidden { what: doing },
        (404, _) => Trouble::KeyMissing,
        (_, "FAILED_PRECONDITION") => {
            Trouble::KeyUnusable { how: "the version that is needed is disabled or destroyed".to_owned() }
        }
        _ => {
            let word: String = word.chars().filter(|c| c.is_ascii_uppercase() || *c == '_').take(64).collect();
            Trouble::Refused { what: if word.is_empty() { format!("status {status}") } else { word } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_of_keys_are_taken() {
        assert!(is_key_name("projects/hospital-1/locations/europe-west1/keyRings/phi/cryptoKeys/cordon"));
        assert!(is_key_name("projects/example.com:hospital/locations/global/keyRings/a/cryptoKeys/b_c"));
        for wrong in [
            "",
            "cordon",
            "projects/p/locations/l/keyRings/r",
            "projects/p/locations/l/keyRings/r/cryptoKeys/",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "projects/p/locations/../keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k?x",
            "folders/p/locations/l/keyRings/r/cryptoKeys/k",
        ] {
            assert!(!is_key_name(wrong), "{wrong}");
        }
    }
}
