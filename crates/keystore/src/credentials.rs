//! Who this program is to a cloud: credentials from the places where each cloud's own tools look for them, for the key stores here and
//! for the object stores that tables are in.
//!
//! What is found is kept until shortly before it ends and then looked for again, so that a run may take longer than any token
//! lives. Nothing comes from a project's files, and what is asked of a cloud's identity service goes over TLS, but to this machine and
//! to the link-local addresses where machines of the clouds ask for their own identity.

mod aws;
mod azure;
mod google;
mod profiles;
mod sts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::error::Trouble;
use crate::http::{Http, Trust};
use crate::secret::Text;

pub use self::aws::AwsIdentity;
pub use self::azure::{AzureIdentity, SCOPE_OF_STORAGE as AZURE_STORAGE};
pub use self::google::{GoogleIdentity, KMS as GOOGLE_KMS, STORAGE as GOOGLE_STORAGE};
pub use crate::sigv4::Credentials as AwsKeys;

/// What is looked at of an environment, and nothing else of it: none of these turns off TLS or its checks.
const VARIABLES: [&str; 40] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_MSI_RESOURCE_ID",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "CLOUDSDK_CONFIG",
    "GCE_METADATA_HOST",
    "HOME",
];

/// For which a service that gives credentials is waited for.
const SECONDS: u16 = 30;
/// Before credentials end they are renewed by so much, or in half of their life where that is shorter.
const EARLY: Duration = Duration::from_mins(5);
/// Until who gives credentials is asked again, after it did not and what is held is still good.
const AGAIN: Duration = Duration::from_secs(30);

/// Where credentials are looked for: an environment as it was at one time, the home folder that it names, and whom to trust.
#[derive(Clone)]
pub struct Surroundings {
    variables: Arc<BTreeMap<&'static str, Text>>,
    ca_file: Option<PathBuf>,
    seconds: u16,
}

impl Surroundings {
    pub fn of_process() -> Self {
        Self::of(&|name| std::env::var(name).ok())
    }

    /// Another environment than that of the process.
    pub fn of(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = VARIABLES.into_iter().filter_map(|name| Some((name, Zeroizing::new(env(name)?))));
        Self {
            variables: Arc::new(set.filter(|(_, text)| !text.is_empty()).collect()),
            ca_file: None,
            seconds: SECONDS,
        }
    }

    /// Trusts the certificates of a file, besides those that the system trusts.
    #[must_use]
    pub fn trusting(self, ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, ..self }
    }

    /// Waits no longer than this for a service that gives credentials, and half a minute at most.
    #[must_use]
    pub fn patient(self, most: Duration) -> Self {
        let seconds = u16::try_from(most.as_secs()).unwrap_or(SECONDS).clamp(1, SECONDS);
        Self { seconds, ..self }
    }

    /// A variable that is set to something.
    pub fn variable(&self, name: &str) -> Option<Text> {
        self.variables.get(name).cloned()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    pub(crate) fn needed(&self, name: &str) -> Result<Text, Trouble> {
        self.variable(name)
            .ok_or_else(|| Trouble::NoCredentials { what: format!("the environment variable `{name}` is not set") })
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).map(|path| PathBuf::from(path.as_str()))
    }

    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// To a service that gives credentials.
    pub(crate) fn http(&self, base: &str) -> Result<Http, Trouble> {
        let trust = Trust { ca_file: self.ca_file.as_deref(), besides: true, ..Trust::default() };
        Http::new(base, &trust, self.seconds)
    }
}

/// A token that the platform puts there, readable by the container's users, and replaces now and then.
pub(crate) fn of_service(path: &Path) -> Result<Text, Trouble> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| Trouble::NoCredentials {
        what: format!("cannot read {}: {}", path.display(), error.kind()),
    })?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// What was found, and how long it is good.
pub(crate) struct Found<T> {
    pub(crate) what: T,
    pub(crate) life: Option<Duration>,
}

impl<T> Found<T> {
    pub(crate) fn lasting(what: T) -> Self {
        Self { what, life: None }
    }
}

/// Bearer tokens (RFC 6750), renewed before they end.
pub trait Tokens: Send + Sync {
    fn token(&self) -> Result<Arc<Text>, Trouble>;
    /// Of a token that was refused: the next is a new one.
    fn forget(&self);
    /// Whether nothing but the machine's own identity is left to be asked.
    fn of_machine_only(&self) -> bool;
}

/// Credentials that are looked for again shortly before they end.
pub(crate) struct Kept<T>(Mutex<Option<Held<T>>>);

struct Held<T> {
    what: Arc<T>,
    renew: Option<Instant>,
    until: Option<Instant>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Kept<T> {
    /// What is held, or what is found. Where many ask at once, one looks and the others wait for it. Where looking fails while what is
    /// held is still good, that goes on.
    pub(crate) fn get(&self, find: impl FnOnce() -> Result<Found<T>, Trouble>) -> Result<Arc<T>, Trouble> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(held) = &*kept
            && held.renew.is_none_or(|at| now < at)
        {
            return Ok(Arc::clone(&held.what));
        }
        match find() {
            Ok(Found { what, life }) => {
                let what = Arc::new(what);
                let until = life.and_then(|life| now.checked_add(life));
                let renew = life.and_then(|life| now.checked_add(life.saturating_sub(EARLY.min(life / 2))));
                *kept = Some(Held { what: Arc::clone(&what), renew, until });
                Ok(what)
            }
            Err(trouble) => match &mut *kept {
                Some(held) if held.until.is_some_and(|end| now < end) => {
                    held.renew = now.checked_add(AGAIN);
                    Ok(Arc::clone(&held.what))
                }
                _ => {
                    *kept = None;
                    Err(trouble)
                }
            },
        }
    }

    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as what looks for credentials gives it")]
    fn found(what: u8, seconds: Option<u64>) -> Result<Found<u8>, Trouble> {
        Ok(Found { what, life: seconds.map(Duration::from_secs) })
    }

    #[test]
    fn what_is_held_is_renewed_before_it_ends_and_outlives_a_failure() {
        let down = || Err(Trouble::Down { how: "no connection" });
        let kept = Kept::default();
        // One that ends at once is given and not kept.
        assert_eq!(kept.get(|| found(1, Some(0))).map(|held| *held), Ok(1));
        assert_eq!(kept.get(|| found(2, Some(2))).map(|held| *held), Ok(2));
        assert_eq!(kept.get(|| found(3, None)).map(|held| *held), Ok(2), "in the first half of its life");
        std::thread::sleep(Duration::from_millis(1_200));
        assert_eq!(kept.get(down).map(|held| *held), Ok(2), "still good");
        assert_eq!(kept.get(|| found(4, None)).map(|held| *held), Ok(2), "not asked again so soon");
        kept.forget();
        assert_eq!(kept.get(down).map(|held| *held), Err(Trouble::Down { how: "no connection" }));
        assert_eq!(kept.get(|| found(5, None)).map(|held| *held), Ok(5));
        assert_eq!(kept.get(|| found(6, None)).map(|held| *held), Ok(5), "lasting");
    }

    #[test]
    fn of_an_environment_only_what_is_known_is_seen() {
        let around = Surroundings::of(&|name| match name {
            "AWS_REGION" | "LD_PRELOAD" => Some("x".to_owned()),
            "AWS_PROFILE" => Some(String::new()),
            _ => None,
        });
        assert!(around.has("AWS_REGION") && !around.has("LD_PRELOAD") && !around.has("AWS_PROFILE"));
    }
}
