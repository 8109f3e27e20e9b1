//! Application default credentials (<https://google.aip.dev/auth/4110>): a file that the environment names, the file of
//! `gcloud auth application-default login`, or the machine's own service account.
//!
//! Not here: workload identity federation and impersonation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use ureq::tls::PrivateKey;
use zeroize::Zeroizing;

use super::{Found, Kept, Surroundings, Tokens};
use crate::error::Trouble;
use crate::http::{Http, Secret, read_private};
use crate::secret::Text;

/// What tokens for Cloud KMS may do.
pub const KMS: &str = "https://www.googleapis.com/auth/cloudkms";
/// What tokens for Cloud Storage may do: read, write and remove objects, and nothing with who may.
pub const STORAGE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// Somebody known to Google, for one purpose.
pub struct GoogleIdentity {
    around: Surroundings,
    scope: &'static str,
    kept: Kept<Text>,
}

impl GoogleIdentity {
    /// Nothing is asked yet.
    pub fn new(around: Surroundings, scope: &'static str) -> Self {
        Self { around, scope, kept: Kept::default() }
    }

    /// The file that is named, or that gcloud left.
    fn file(&self) -> Option<PathBuf> {
        let around = &self.around;
        let named = ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT"];
        let config = || around.path("CLOUDSDK_CONFIG").or_else(|| Some(around.home()?.join(".config/gcloud")));
        let known = || config().map(|folder| folder.join("application_default_credentials.json"));
        named.into_iter().find_map(|name| around.path(name)).or_else(|| known().filter(|path| path.exists()))
    }

    fn find(&self) -> Result<Found<Text>, Trouble> {
        if let Some(text) = self.around.variable("GOOGLE_SERVICE_ACCOUNT_KEY") {
            return self.of_text(text.as_bytes(), "GOOGLE_SERVICE_ACCOUNT_KEY");
        }
        let Some(path) = self.file() else { return self.of_machine() };
        let text = Zeroizing::new(read_private(&path).map_err(|what| Trouble::NoCredentials { what })?);
        self.of_text(&text, &path.display().to_string())
    }

    /// What stands in a file of credentials; `shown` says where that was.
    fn of_text(&self, text: &[u8], shown: &str) -> Result<Found<Text>, Trouble> {
        let no = |what: String| Trouble::NoCredentials { what };
        let file = serde_json::from_slice(text).map_err(|_| no(format!("{shown} is no file of Google credentials")))?;
        match file {
            File::ServiceAccount { client_email, private_key_id, private_key, token_uri } => {
                let who = (client_email.as_str(), private_key_id.as_deref());
                let assertion = assertion(who, &private_key.0, &token_uri, self.scope)
                    .map_err(|what| no(format!("{shown}: {what}")))?;
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                let form = [("grant_type", grant), ("assertion", assertion.as_str())];
                self.around.http(&token_uri)?.token(&token_uri, &form)
            }
            File::AuthorizedUser { client_id, client_secret, refresh_token } => {
                let url = "https://oauth2.googleapis.com/token";
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", client_id.as_str()),
                    ("client_secret", &client_secret.0),
                    ("refresh_token", &refresh_token.0),
                ];
                self.around.http(url)?.token(url, &form)
            }
            File::Other => Err(no(format!("{shown} is of a kind that is not supported: use a service account's key"))),
        }
    }

    fn of_machine(&self) -> Result<Found<Text>, Trouble> {
        let host = self.around.variable("GCE_METADATA_HOST");
        let host = host.as_ref().map_or("metadata.google.internal", |host| host.as_str());
        let base = format!("http://{host}");
        let url = format!("{base}/computeMetadata/v1/instance/service-accounts/default/token?scopes={}", self.scope);
        let headers = [("metadata-flavor", "Google")];
        let none = "there are no Google credentials in `GOOGLE_APPLICATION_CREDENTIALS`, of gcloud or of this machine";
        Http::token_of_machine(&base, &url, &headers, none, "this machine's service account gives no token")
    }
}

impl Tokens for GoogleIdentity {
    fn token(&self) -> Result<Arc<Text>, Trouble> {
        self.kept.get(|| self.find())
    }

    fn forget(&self) {
        self.kept.forget();
    }

    fn of_machine_only(&self) -> bool {
        let has = |name: &str| self.around.has(name);
        self.file().is_none() && !has("GOOGLE_SERVICE_ACCOUNT_KEY") && !has("GCE_METADATA_HOST")
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum File {
    ServiceAccount {
        client_email: String,
        private_key_id: Option<String>,
        private_key: Secret,
        token_uri: String,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: Secret,
        refresh_token: Secret,
    },
    #[serde(other)]
    Other,
}

/// A signed claim to be the service account, good for ten minutes (RFC 7523).
fn assertion(
    (email, key_id): (&str, Option<&str>),
    pem: &str,
    audience: &str,
    scope: &str,
) -> Result<Text, &'static str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?.as_secs();
    let mut header = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
    if let (Some(key_id), Some(fields)) = (key_id, header.as_object_mut()) {
        fields.insert("kid".to_owned(), key_id.into());
    }
    let claims = serde_json::json!({ "iss": email, "scope": scope, "aud": audience, "iat": now, "exp": now + 600 });
    let part = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(header), part(claims));
    let key = PrivateKey::from_pem(pem.as_bytes()).map_err(|_| "its private key is not in PEM")?;
    let pair = RsaKeyPair::from_pkcs8(key.der()).or_else(|_| RsaKeyPair::from_der(key.der()));
    let pair = pair.map_err(|_| "its private key is no RSA key of 2048 to 4096 bits")?;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| "its private key does not sign")?;
    Ok(Zeroizing::new(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))))
}
