//! Server-side encryption: asked for with every write, and looked at afterwards, because some stores take the wish and do nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};

use crate::error::Trouble;
use crate::settings::{KmsKey, ServerEncryption};

const S3_KIND: &str = "x-amz-server-side-encryption";
const S3_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const S3_BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
const AZURE_SCOPE: &str = "x-ms-encryption-scope";
const GOOGLE_KEY: &str = "x-goog-encryption-kms-key-name";

/// What is asked of a store, and which ways of writing were found to be done so.
pub(crate) struct Sealing {
    asked: ServerEncryption,
    whole: AtomicBool,
    in_parts: AtomicBool,
}

/// Marks the request whose answer is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Look;

/// In one request, or in parts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Whole,
    InParts,
}

impl Sealing {
    pub(crate) fn new(asked: ServerEncryption) -> Arc<Self> {
        Arc::new(Self { asked, whole: AtomicBool::new(false), in_parts: AtomicBool::new(false) })
    }

    /// Whether an object that was written so was looked at before.
    pub(crate) fn is_proven(&self, how: Written) -> bool {
        self.flag(how).load(Ordering::Acquire)
    }

    pub(crate) fn proven(&self, how: Written) {
        self.flag(how).store(true, Ordering::Release);
    }

    fn flag(&self, how: Written) -> &AtomicBool {
        match how {
            Written::Whole => &self.whole,
            Written::InParts => &self.in_parts,
        }
    }

    /// What the client of the store does not ask for by itself.
    fn ask(&self, request: &mut HttpRequest) -> Result<bool, HttpError> {
        let (name, value) = match &self.asked {
            ServerEncryption::AzureScope(scope) => (AZURE_SCOPE, scope),
            ServerEncryption::GoogleKms(key) => (GOOGLE_KEY, key),
            ServerEncryption::SseS3 | ServerEncryption::SseKms(_) => return Ok(false),
        };
        let query = request.uri().query().unwrap_or_default();
        let has = |word: &str| query.split('&').any(|part| part.split('=').next() == Some(word));
        // Google takes the key where an upload begins, Azure the scope with everything that is written.
        let writes = match (&self.asked, request.method().as_str()) {
            (ServerEncryption::GoogleKms(_), "POST") => has("uploads"),
            (ServerEncryption::GoogleKms(_), "PUT") => !has("uploadId"),
            (_, method) => method == "PUT",
        };
        if writes {
            let value =
                value.parse().map_err(|_| failed(Trouble::Setting { what: "server-encryption", help: NO_NAME }))?;
            request.headers_mut().insert(name, value);
        }
        Ok(writes)
    }

    /// Whether what a store tells of an object is what was asked for.
    fn is_done(&self, header: impl Fn(&str) -> Option<String>) -> bool {
        match &self.asked {
            ServerEncryption::SseS3 => header(S3_KIND).as_deref() == Some("AES256"),
            ServerEncryption::SseKms(KmsKey { key, bucket_key }) => {
                let same = |found: &str, asked: &str| {
                    // Of an alias the store tells which key it stands for.
                    found == asked || found.ends_with(&format!("/{asked}")) || asked.contains("alias/")
                };
                let of_key = key.as_ref().is_none_or(|key| header(S3_KEY).is_some_and(|found| same(&found, key)));
                let of_bucket = !bucket_key || header(S3_BUCKET_KEY).as_deref() == Some("true");
                header(S3_KIND).as_deref() == Some("aws:kms") && of_key && of_bucket
            }
            ServerEncryption::AzureScope(scope) => header(AZURE_SCOPE).as_deref() == Some(scope),
            ServerEncryption::GoogleKms(key) => header(GOOGLE_KEY).is_some_and(|found| {
                found.strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }),
        }
    }
}

const NO_NAME: &str = "it is no name that a header can hold";

fn failed(trouble: Trouble) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, trouble)
}

/// Connections on which that is asked and looked at.
#[derive(Clone)]
pub(crate) struct SealingConnector {
    pub inner: Arc<dyn HttpConnector>,
    pub sealing: Option<Arc<Sealing>>,
    /// Of Azure, where requests are signed with the account's key: a header more needs another signature.
    pub signed: Option<(String, AzureAccessKey)>,
}

impl fmt::Debug for SealingConnector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SealingConnector")
    }
}

impl HttpConnector for SealingConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = self.inner.connect(options)?;
        Ok(match &self.sealing {
            Some(sealing) => {
                HttpClient::new(SealingService { inner, sealing: Arc::clone(sealing), signed: self.signed.clone() })
            }
            None => inner,
        })
    }
}

struct SealingService {
    inner: HttpClient,
    sealing: Arc<Sealing>,
    signed: Option<(String, AzureAccessKey)>,
}

impl fmt::Debug for SealingService {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SealingService")
    }
}

#[async_trait]
impl HttpService for SealingService {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if self.sealing.ask(&mut request)?
            && let Some((account, key)) = &self.signed
        {
            let credential = AzureCredential::AccessKey(key.clone());
            request.headers_mut().remove("authorization");
            AzureAuthorizer::new(&credential, account).authorize(&mut request);
        }
        let looks = request.extensions().get::<Look>().is_some();
        let answer = self.inner.execute(request).await?;
        if looks && answer.status().is_success() {
            let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
            if !self.sealing.is_done(header) {
                return Err(failed(Trouble::NotSealed { removed: false }));
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_held_to_what_was_asked() {
        let kms = |key: Option<&str>, bucket_key| {
            ServerEncryption::SseKms(KmsKey { key: key.map(str::to_owned), bucket_key })
        };
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234";
        let done = |asked: &ServerEncryption, told: &[(&str, &str)]| {
            let header =
                |name: &str| told.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Sealing::new(asked.clone()).is_done(header)
        };
        assert!(done(&ServerEncryption::SseS3, &[(S3_KIND, "AES256")]));
        assert!(!done(&ServerEncryption::SseS3, &[]) && !done(&ServerEncryption::SseS3, &[(S3_KIND, "aws:kms")]));
        let told = [(S3_KIND, "aws:kms"), (S3_KEY, arn), (S3_BUCKET_KEY, "true")];
        for asked in [kms(None, false), kms(Some("1234"), true), kms(Some(arn), true), kms(Some("alias/lake"), false)] {
            assert!(done(&asked, &told), "{asked:?}");
            assert!(!done(&asked, &[(S3_KIND, "AES256"), (S3_KEY, arn)]), "{asked:?}");
        }
        assert!(!done(&kms(Some("234"), false), &told) && !done(&kms(Some("1234"), false), &[(S3_KIND, "aws:kms")]));
        assert!(!done(&kms(None, true), &[(S3_KIND, "aws:kms")]));
        let scope = ServerEncryption::AzureScope("phi".to_owned());
        assert!(done(&scope, &[(AZURE_SCOPE, "phi")]) && !done(&scope, &[(AZURE_SCOPE, "phi2")]) && !done(&scope, &[]));
        let key = ServerEncryption::GoogleKms("projects/p/locations/l/keyRings/r/cryptoKeys/k".to_owned());
        let told = |end: &str| format!("projects/p/locations/l/keyRings/r/cryptoKeys/k{end}");
        assert!(done(&key, &[(GOOGLE_KEY, &told("/cryptoKeyVersions/3"))]) && done(&key, &[(GOOGLE_KEY, &told(""))]));
        assert!(!done(&key, &[(GOOGLE_KEY, &told("2/cryptoKeyVersions/3"))]) && !done(&key, &[]));
    }
}
