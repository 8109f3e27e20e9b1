//! What goes wrong with stores, told without names of objects and without what a server answers.

use std::error::Error as _;

use object_store::Error as StoreError;
use object_store::client::{HttpError, HttpErrorKind};

/// What went wrong, and at which store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {trouble}")]
pub struct StorageError {
    pub place: String,
    pub trouble: Trouble,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("the object, or the bucket it should be in, does not exist")]
    NotFound,
    #[error("the object exists already")]
    Exists,
    #[error("the object changed while it was read")]
    Changed,
    #[error("the store refuses these credentials: they may be wrong, expired or not allowed to do this")]
    Denied,
    #[error("there are no credentials for it: set them in the environment ({wanted}), or name a profile")]
    NoCredentials { wanted: &'static str },
    #[error("it cannot be reached, or did not answer in time")]
    Unreachable,
    #[error("its certificate is not trusted: name the authority's certificate in `ca-file`")]
    Untrusted,
    #[error("it answers with an error (HTTP {status})")]
    Status { status: u16 },
    #[error("`{what}` is wrong: {help}")]
    Setting { what: &'static str, help: &'static str },
    #[error("the file `{path}` cannot be read: {kind}")]
    File { path: String, kind: std::io::ErrorKind },
    #[error("the connection broke off")]
    Interrupted,
    #[error("it cannot do this")]
    Unsupported,
}

impl StorageError {
    pub(crate) fn of(place: &str, error: &StoreError) -> Self {
        Self { place: place.to_owned(), trouble: trouble(error) }
    }

    /// Whether trying later may help.
    pub fn is_passing(&self) -> bool {
        match self.trouble {
            Trouble::Unreachable | Trouble::Interrupted => true,
            Trouble::Status { status } => status == 429 || status >= 500,
            _ => false,
        }
    }
}

impl From<StorageError> for std::io::Error {
    fn from(error: StorageError) -> Self {
        use std::io::ErrorKind;
        let kind = match error.trouble {
            Trouble::NotFound => ErrorKind::NotFound,
            Trouble::Exists => ErrorKind::AlreadyExists,
            Trouble::Denied | Trouble::NoCredentials { .. } => ErrorKind::PermissionDenied,
            Trouble::Unreachable | Trouble::Interrupted => ErrorKind::ConnectionAborted,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

fn trouble(error: &StoreError) -> Trouble {
    match error {
        StoreError::NotFound { .. } => Trouble::NotFound,
        StoreError::AlreadyExists { .. } => Trouble::Exists,
        StoreError::Precondition { .. } | StoreError::NotModified { .. } => Trouble::Changed,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => Trouble::Denied,
        StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => Trouble::Unsupported,
        StoreError::JoinError { .. } => Trouble::Interrupted,
        _ => network(error),
    }
}

/// What the errors behind an error say: of their texts only what is known to be no name of an object.
fn network(error: &StoreError) -> Trouble {
    let mut texts = Vec::new();
    let mut kind = None;
    let mut at: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = at {
        kind = kind.or_else(|| error.downcast_ref::<HttpError>().map(HttpError::kind));
        texts.push(error.to_string());
        at = error.source();
    }
    let says = |word: &str| texts.iter().any(|text| text.contains(word));
    let status = texts.iter().find_map(|text| {
        let (_, rest) = text.split_once("status code: ").or_else(|| text.split_once("HTTP status "))?;
        rest.get(..3)?.parse::<u16>().ok()
    });
    if says("certificate") || says("UnknownIssuer") {
        return Trouble::Untrusted;
    }
    match (status, kind) {
        (Some(401 | 403), _) => Trouble::Denied,
        (Some(status), _) => Trouble::Status { status },
        (None, Some(HttpErrorKind::Connect | HttpErrorKind::Timeout)) => Trouble::Unreachable,
        _ => Trouble::Interrupted,
    }
}
