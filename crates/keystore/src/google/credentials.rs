//! Application default credentials (<https://google.aip.dev/auth/4110>): a file that the environment names, the file of
//! `gcloud auth application-default login`, or the machine's own service account.
//!
//! Not here: workload identity federation and impersonation.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use ureq::http::Method;
use ureq::tls::PrivateKey;
use zeroize::Zeroizing;

use crate::error::Trouble;
use crate::http::{AccessToken, Ask, Http, Secret, Trust, json, read_private};
use crate::secret::{self, Text, variable};

const SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";

pub(super) fn find() -> Result<Text, Trouble> {
    let named = variable("GOOGLE_APPLICATION_CREDENTIALS").map(|path| PathBuf::from(path.as_str()));
    let known = secret::home().map(|home| home.join(".config/gcloud/application_default_credentials.json"));
    match named.or_else(|| known.filter(|path| path.exists())) {
        Some(path) => of_file(&path),
        None => of_machine(),
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

fn of_file(path: &Path) -> Result<Text, Trouble> {
    let no = |what: String| Trouble::NoCredentials { what };
    let text = Zeroizing::new(read_private(path).map_err(no)?);
    let shown = path.display();
    let file = serde_json::from_slice(&text).map_err(|_| no(format!("{shown} is no file of Google credentials")))?;
    match file {
        File::ServiceAccount { client_email, private_key_id, private_key, token_uri } => {
            let assertion = assertion(&client_email, private_key_id.as_deref(), &private_key.0, &token_uri)
                .map_err(|what| no(format!("{shown}: {what}")))?;
            let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            http(&token_uri)?.token(&token_uri, &[("grant_type", grant), ("assertion", &assertion)])
        }
        File::AuthorizedUser { client_id, client_secret, refresh_token } => {
            let url = "https://oauth2.googleapis.com/token";
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", client_id.as_str()),
                ("client_secret", &client_secret.0),
                ("refresh_token", &refresh_token.0),
            ];
            http(url)?.token(url, &form)
        }
        File::Other => Err(no(format!("{shown} is of a kind that is not supported: use a service account's key"))),
    }
}

fn http(url: &str) -> Result<Http, Trouble> {
    Http::new(url, &Trust::default(), 30)
}

/// A signed claim to be the service account, good for ten minutes (RFC 7523).
fn assertion(email: &str, key_id: Option<&str>, pem: &str, audience: &str) -> Result<Text, &'static str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?.as_secs();
    let mut header = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
    if let (Some(key_id), Some(fields)) = (key_id, header.as_object_mut()) {
        fields.insert("kid".to_owned(), key_id.into());
    }
    let claims = serde_json::json!({ "iss": email, "scope": SCOPE, "aud": audience, "iat": now, "exp": now + 600 });
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

fn of_machine() -> Result<Text, Trouble> {
    let host =
        variable("GCE_METADATA_HOST").map_or_else(|| "metadata.google.internal".to_owned(), |host| host.to_string());
    let base = format!("http://{host}");
    let url = format!("{base}/computeMetadata/v1/instance/service-accounts/default/token?scopes={SCOPE}");
    let headers = [("metadata-flavor", "Google")];
    let ask = Ask { method: Method::GET, url: &url, headers: &headers, body: b"" };
    let answer = Http::metadata(&base)?.ask(&ask, |_| false).map_err(|_| Trouble::NoCredentials {
        what: "there are no Google credentials in `GOOGLE_APPLICATION_CREDENTIALS`, of gcloud or of this machine"
            .to_owned(),
    })?;
    match answer.status {
        200 => Ok(json::<AccessToken>(&answer)?.access_token.0),
        _ => Err(Trouble::CredentialsRefused { what: "this machine's service account gives no token" }),
    }
}
