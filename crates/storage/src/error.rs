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
    #[error("the object changed while it was read, or is still being written")]
    Changed,
    #[error("the store refuses these credentials: they may be wrong, expired or not allowed to do this")]
    Denied,
    #[error("there are no credentials for it: set them in the environment ({wanted}), or name a profile")]
    NoCredentials { wanted: &'static str },
    /// `passes`: whoever gives them is down or slow.
    #[error("credentials for it: {what}")]
    Credentials { what: String, passes: bool },
    #[error(
        "server-side encryption was asked for, and the store did not do it: {}. Take another store, or leave `server-encryption` \
         out; tables are encrypted before they leave in any case",
        if *removed { "what was written is removed" } else { "what was written could not be removed" }
    )]
    NotSealed { removed: bool },
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
    #[error("this identity may not do this there: give it the right to, or use another one")]
    Forbidden,
    #[error("its quota or its disks are full")]
    Full,
    #[error("Kerberos: {0}")]
    Kerberos(Kerberos),
    #[error(
        "it would be spoken to in clear: it must take Kerberos only, with `hadoop.rpc.protection` `privacy` and tickets of AES"
    )]
    InClear,
    #[error(
        "who answers there is another service than the name node: see `dfs.namenode.kerberos.principal`, or write the host's \
         name as its principal has it"
    )]
    Impostor,
    #[error(
        "it is in safe mode and takes no changes: it leaves that when enough data nodes are there, or its administrator ends it"
    )]
    SafeMode,
    #[error("no data node answers that has what is read, or could take what is written")]
    NoDataNode,
    #[error("what it holds is damaged on every data node")]
    Damaged,
    #[error("the folder is an encryption zone of Hadoop's KMS, which is not supported: take one outside")]
    EncryptionZone,
}

/// What Kerberos does not agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kerberos {
    #[error("there is no ticket: run `kinit`, or name a keytab in KRB5_CLIENT_KTNAME")]
    NoTicket,
    #[error("the ticket has expired: run `kinit` again, or name a keytab in KRB5_CLIENT_KTNAME")]
    Expired,
    #[error("the keytab is not the one of this principal, or its key was changed: have a new one made")]
    WrongKey,
    #[error("the realm does not know this principal: see `principal`, the keytab and the ticket")]
    UnknownPrincipal,
    #[error("the realm does not know the name node's principal: write the host's name as the principal has it")]
    UnknownService,
    #[error("the clocks of this machine and of the realm differ too much")]
    Clock,
    #[error("the realm's key distribution centre does not answer: see KRB5_CONFIG and /etc/krb5.conf")]
    NoCentre,
    #[error("its library is not installed: `libgssapi-krb5-2`, or `krb5-libs`")]
    NoLibrary,
    #[error("the ticket is not accepted: see the principal, the keytab and the clock")]
    Refused,
}

impl StorageError {
    pub(crate) fn of(place: &str, error: &StoreError) -> Self {
        Self { place: place.to_owned(), trouble: trouble(error) }
    }

    /// Whether trying later may help.
    pub fn is_passing(&self) -> bool {
        self.trouble.is_passing()
    }
}

impl Trouble {
    /// Of whoever gives credentials. Its texts hold none, nor what a service answered.
    pub(crate) fn of_identity(trouble: &cordon_keystore::Trouble) -> Self {
        use cordon_keystore::Trouble as Of;
        let passes = matches!(trouble, Of::Down { .. } | Of::Slow { .. } | Of::Broken { .. } | Of::Throttled { .. });
        // What is called a store there is a service that gives credentials.
        Self::Credentials { what: trouble.to_string().replacen("the store", "the service that gives them", 1), passes }
    }

    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Trouble::Unreachable
            | Trouble::Interrupted
            | Trouble::SafeMode
            | Trouble::NoDataNode
            | Trouble::Kerberos(Kerberos::NoCentre) => true,
            Trouble::Status { status } => *status == 429 || *status >= 500,
            Trouble::Credentials { passes, .. } => *passes,
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
            Trouble::Denied
            | Trouble::NoCredentials { .. }
            | Trouble::Credentials { .. }
            | Trouble::Forbidden
            | Trouble::Kerberos(_) => ErrorKind::PermissionDenied,
            Trouble::Unreachable | Trouble::Interrupted => ErrorKind::ConnectionAborted,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Of a request that was sent without the client of a store.
pub(crate) fn of_http(error: &HttpError) -> Trouble {
    chain(Some(error))
}

pub(crate) fn trouble(error: &StoreError) -> Trouble {
    match error {
        StoreError::NotFound { .. } => Trouble::NotFound,
        StoreError::AlreadyExists { .. } => Trouble::Exists,
        StoreError::Precondition { .. } | StoreError::NotModified { .. } => Trouble::Changed,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => Trouble::Denied,
        StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => Trouble::Unsupported,
        StoreError::JoinError { .. } => Trouble::Interrupted,
        _ => chain(error.source()),
    }
}

/// What the errors behind an error say: of their texts only what is known to be no name of an object.
fn chain(mut at: Option<&(dyn std::error::Error + 'static)>) -> Trouble {
    let mut texts = Vec::new();
    let mut kind = None;
    while let Some(error) = at {
        if let Some(trouble) = error.downcast_ref::<Trouble>() {
            return trouble.clone();
        }
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
        // Of a listing: the bucket.
        (Some(404), _) => Trouble::NotFound,
        (Some(status), _) => Trouble::Status { status },
        (None, Some(HttpErrorKind::Connect | HttpErrorKind::Timeout)) => Trouble::Unreachable,
        _ => Trouble::Interrupted,
    }
}
