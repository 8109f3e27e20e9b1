//! AWS KMS over its JSON protocol (<https://docs.aws.amazon.com/kms/latest/APIReference/>).

use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64;
use serde::Deserialize;
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::config::AwsKmsConfig;
use crate::credentials::{AwsIdentity, Surroundings};
use crate::error::{At, Trouble};
use crate::http::{Answer, Ask, Http, Secret, Trust, authority, json};
use crate::secret;
use crate::sigv4::{Credentials, Signed, amz_date, authorization};
use crate::{KeyStore, KeyStoreError, Place, StoreStatus};

const FORM: &str = "aws-kms:v1:";

pub(crate) struct AwsKms {
    place: Arc<Place>,
    http: Http,
    endpoint: String,
    host: String,
    region: String,
    config: AwsKmsConfig,
    identity: AwsIdentity,
}

impl AwsKms {
    pub(crate) fn open(config: &AwsKmsConfig, base: &Path) -> Result<Self, KeyStoreError> {
        let region = region(config);
        let shown = region.clone().unwrap_or_else(|_| "no region".to_owned());
        let endpoint = config.endpoint.as_ref().map(|url| url.trim_end_matches('/').to_owned());
        let at = endpoint.as_ref().map_or_else(|| shown.clone(), |endpoint| format!("{endpoint} ({shown})"));
        let place = Arc::new(Place { kind: "aws-kms", key: config.key.clone(), at });
        let region = region.at(&place)?;
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let endpoint = endpoint.unwrap_or_else(|| format!("https://kms.{region}.{domain}"));
        let ca_file = config.ca_file.as_ref().map(|path| base.join(path));
        let trust = Trust { ca_file: ca_file.as_deref(), ..Trust::default() };
        let around = Surroundings::of_process().trusting(ca_file.clone());
        let identity = AwsIdentity::new(around, config.profile.as_deref(), Some(&region));
        let http = Http::new(&endpoint, &trust, config.timeout_seconds).at(&place)?;
        let host = authority(&endpoint).at(&place)?;
        Ok(Self { place, http, endpoint, host, region, config: config.clone(), identity })
    }

    /// Credentials of a machine's role expire while a program runs: they are looked for once more then.
    fn call(&self, operation: &str, body: &[u8], doing: &'static str) -> Result<Answer, Trouble> {
        for last in [false, true] {
            let credentials = self.identity.credentials()?;
            let answer = self.call_once(operation, body, &credentials)?;
            if answer.status == 200 {
                return Ok(answer);
            }
            let kind = error_kind(&answer);
            let expired = kind == "ExpiredTokenException";
            if !expired || last || credentials.session.is_none() {
                return Err(trouble(&kind, answer.status, doing));
            }
            self.identity.forget();
        }
        Err(Trouble::CredentialsRefused { what: EXPIRED })
    }

    fn call_once(&self, operation: &str, body: &[u8], credentials: &Credentials) -> Result<Answer, Trouble> {
        let time = amz_date();
        let target = format!("TrentService.{operation}");
        let mut headers =
            vec![("content-type", "application/x-amz-json-1.1"), ("host", self.host.as_str()), ("x-amz-date", &time)];
        headers.extend(credentials.session.as_ref().map(|session| ("x-amz-security-token", session.as_str())));
        headers.push(("x-amz-target", &target));
        let (region, service) = (self.region.as_str(), "kms");
        let signed = Signed { method: "POST", path: "/", headers: &headers, body, time: &time, region, service };
        let signature = authorization(credentials, &signed);
        headers.push(("authorization", &signature));
        let url = format!("{}/", self.endpoint);
        // Throttling has status 400 here: it passes as 429 does.
        self.http.ask_again(
            &Ask { method: Method::POST, url: &url, headers: &headers, body },
            |_| false,
            |answer| answer.status == 400 && error_kind(answer).contains("Throttling"),
        )
    }

    /// A key that is named by an alias may be another one since: what wrapped is asked to unwrap.
    fn key_that_wrapped<'a>(&'a self, id: &'a str) -> &'a str {
        if self.config.key.contains("alias/") { id } else { &self.config.key }
    }

    fn key(&self) -> Result<KeyMetadata, Trouble> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Described {
            key_metadata: KeyMetadata,
        }
        let body = serde_json::json!({ "KeyId": self.config.key }).to_string();
        let answer = self.call("DescribeKey", body.as_bytes(), "describe the key (kms:DescribeKey)")?;
        Ok(json::<Described>(&answer)?.key_metadata)
    }
}

#[derive(Deserialize)]
struct KeyMetadata {
    #[serde(rename = "KeyId")]
    id: String,
    #[serde(rename = "KeySpec", default)]
    spec: String,
    #[serde(rename = "KeyUsage", default)]
    usage: String,
    #[serde(rename = "KeyState", default)]
    state: String,
}

impl KeyStore for AwsKms {
    fn place(&self) -> &Place {
        &self.place
    }

    fn wrap(&self, key: &[u8; 32], ring: &str) -> Result<String, KeyStoreError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Encrypted {
            ciphertext_blob: String,
            key_id: String,
        }
        let wrap = || {
            let about = self.key()?;
            if about.spec != "SYMMETRIC_DEFAULT" || about.usage != "ENCRYPT_DECRYPT" {
                return Err(Trouble::KeyUnusable { how: "it must be symmetric, to encrypt and decrypt".to_owned() });
            }
            if about.state != "Enabled" {
                return Err(Trouble::KeyUnusable { how: format!("its state is {}", state(&about.state)) });
            }
            let plaintext = Zeroizing::new(BASE64.encode(key));
            // Names of keys and rings are quoted by serde, Base64 needs no quoting.
            let names = serde_json::json!({ "KeyId": self.config.key, "EncryptionContext": context(ring) }).to_string();
            let names = names.strip_suffix('}').unwrap_or_default();
            let body = Zeroizing::new(format!(r#"{names},"Plaintext":"{}"}}"#, *plaintext));
            let answer = self.call("Encrypt", body.as_bytes(), "encrypt with this key (kms:Encrypt)")?;
            let encrypted: Encrypted = json(&answer)?;
            Ok(format!("{FORM}{}:{}", encrypted.ciphertext_blob, encrypted.key_id))
        };
        wrap().at(&self.place)
    }

    fn unwrap(&self, wrapped: &str, ring: &str) -> Result<Zeroizing<[u8; 32]>, KeyStoreError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Decrypted {
            plaintext: Secret,
        }
        let unwrap = || {
            let (blob, id) = parts(wrapped).ok_or(Trouble::WrongKey)?;
            let body = serde_json::json!({
                "KeyId": self.key_that_wrapped(id), "CiphertextBlob": blob, "EncryptionContext": context(ring),
            });
            let answer = self.call("Decrypt", body.to_string().as_bytes(), "decrypt with this key (kms:Decrypt)")?;
            secret::key_of(&json::<Decrypted>(&answer)?.plaintext.0)
        };
        unwrap().at(&self.place)
    }

    fn status(&self, wrapped: &str) -> Result<StoreStatus, KeyStoreError> {
        let about = self.key().at(&self.place)?;
        // KMS rotates the material behind one id without a word; another id is what an alias can point to.
        let version = parts(wrapped).map(|(_, id)| id.rsplit('/').next().unwrap_or(id).to_owned());
        let about_it = format!("symmetric, {}", state(&about.state));
        Ok(StoreStatus { version, newest: Some(about.id), about: about_it })
    }
}

fn parts(wrapped: &str) -> Option<(&str, &str)> {
    wrapped.strip_prefix(FORM)?.split_once(':')
}

/// Authenticated by KMS, and shown in CloudTrail.
fn context(ring: &str) -> serde_json::Value {
    serde_json::json!({ "cordon-key-ring": ring })
}

/// Of the configuration, of the key's own name, or of the environment.
fn region(config: &AwsKmsConfig) -> Result<String, Trouble> {
    let of_arn = config.key.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2));
    let region = config.region.clone().or_else(|| of_arn.map(str::to_owned)).or_else(|| {
        ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(secret::variable).map(|text| text.to_string())
    });
    match region {
        Some(region)
            if !region.is_empty()
                && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') =>
        {
            Ok(region)
        }
        Some(_) => Err(Trouble::Configuration { what: "`region` is no region".to_owned() }),
        None => Err(Trouble::Configuration { what: "there is no `region`, in `keys.root` or `AWS_REGION`".to_owned() }),
    }
}

/// Words that may be shown.
fn state(text: &str) -> &'static str {
    [
        "Enabled",
        "Disabled",
        "PendingDeletion",
        "PendingImport",
        "PendingReplicaDeletion",
        "Unavailable",
        "Updating",
        "Creating",
    ]
    .into_iter()
    .find(|known| *known == text)
    .unwrap_or("unknown")
}

/// `com.amazonaws.kms#NotFoundException`, or without what stands before `#`; what answers for a service may speak XML.
fn error_kind(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "__type", default)]
        kind: String,
    }
    let in_xml = || {
        let text = std::str::from_utf8(&answer.body).ok()?;
        Some(text.split_once("<Code>")?.1.split_once("</Code>")?.0.to_owned())
    };
    let kind = json::<Body>(answer).map(|body| body.kind).ok().or_else(in_xml).unwrap_or_default();
    kind.rsplit('#').next().unwrap_or_default().chars().filter(char::is_ascii_alphabetic).take(64).collect()
}

const EXPIRED: &str = "they are expired";

fn trouble(kind: &str, status: u16, doing: &'static str) -> Trouble {
    match kind {
        "NotFoundException" => Trouble::KeyMissing,
        "InvalidCiphertextException" | "IncorrectKeyException" | "InvalidCiphertext" => Trouble::WrongKey,
        "DisabledException" => Trouble::KeyUnusable { how: "it is disabled".to_owned() },
        "KMSInvalidStateException" => {
            Trouble::KeyUnusable { how: "its state is not Enabled: it may wait for its deletion".to_owned() }
        }
        "InvalidKeyUsageException" => Trouble::KeyUnusable { how: "it is not for encrypting".to_owned() },
        "KeyUnavailableException" | "DependencyTimeoutException" => {
            Trouble::Down { how: "the store cannot reach the key's own store" }
        }
        "AccessDeniedException" | "AccessDenied" => Trouble::Forbidden { what: doing },
        "ExpiredTokenException" | "RequestExpired" => Trouble::CredentialsRefused { what: EXPIRED },
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "OptInRequired" => Trouble::CredentialsRefused { what: "the access key is not known" },
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException" => {
            Trouble::CredentialsRefused { what: "the signature is not right: the secret key, or this machine's clock" }
        }
        "" => Trouble::Refused { what: format!("status {status}") },
        kind => Trouble::Refused { what: kind.to_owned() },
    }
}
