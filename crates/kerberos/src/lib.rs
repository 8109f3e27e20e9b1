//! Who a client of a service is, by Kerberos: tokens of SPNEGO or GSSAPI in, principals out (RFC 4120, 4121, 4178, 4559); and as a
//! client of others' services, the token that says who this is.
//!
//! This crate exists so that the one place with foreign code for log-ins is small. It loads the system's MIT Kerberos
//! (`libgssapi_krb5.so.2`) when it is first needed, so that nobody needs it who does not use it. It refuses every mechanism but
//! Kerberos, also inside SPNEGO (no NTLM), anonymous clients, log-ins of more than one round, and replays, which the library keeps book of.
//! It names no key, no ticket and no token in any message.
//!
//! ```no_run
//! use cordon_kerberos::{Acceptor, Realms};
//!
//! let acceptor = Acceptor::open("/etc/cordon/http.keytab".as_ref(), "HTTP")?;
//! let realms = Realms::new(["CLINIC.EXAMPLE"]);
//! # let token = [0_u8; 8];
//! let accepted = acceptor.accept(&token)?;
//! let user = realms.user(&accepted.principal);
//! # Ok::<(), cordon_kerberos::KerberosError>(())
//! ```

mod gssapi;
mod realms;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub use realms::Realms;

/// Why nobody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KerberosError {
    #[error(
        "the Kerberos library libgssapi_krb5 is not on this machine\n  help: Debian: apt-get install libgssapi-krb5-2; \
         Red Hat: dnf install krb5-libs"
    )]
    NoLibrary,
    #[error("the keytab cannot be read or holds no key of the service\n  help: `klist -k FILE` lists what it holds")]
    Keytab,
    #[error("the service's name is not one\n  help: write its first part, such as HTTP")]
    ServiceName,
    #[error("the token is none of Kerberos")]
    NoToken,
    #[error("another mechanism than Kerberos was offered")]
    OtherMechanism,
    #[error("the ticket's time is over")]
    Expired,
    #[error("the ticket is not valid yet, or the clocks of the two machines differ by too much")]
    Clock,
    #[error("the same log-in was used before")]
    Replayed,
    #[error("the ticket is for another service, or under a key that the keytab does not hold")]
    OtherKey,
    #[error("the client is anonymous")]
    Anonymous,
    #[error("the client wants to go on; a log-in has one round here")]
    Unfinished,
    #[error("the log-in was refused")]
    Refused,
    #[error(
        "there is no ticket for the service, and none can be got\n  help: `kinit`, or a keytab with a key of the principal; `klist` lists both"
    )]
    NoTicket,
}

/// A client that has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// `name@REALM`, or `name/instance@REALM`.
    pub principal: String,
    /// For the client, by which it sees that the service is who it says. Empty where the client did not ask.
    pub reply: Vec<u8>,
}

/// A client of services, by a keytab or by the tickets of whoever runs this.
pub struct Initiator {
    keytab: Option<PathBuf>,
    principal: Option<String>,
    /// Where tickets are kept that are got by the keytab.
    cache: String,
}

impl Initiator {
    /// Nothing is asked yet. Without a keytab it takes the tickets of `KRB5CCNAME`; without a principal the first that there is.
    pub fn new(keytab: Option<&Path>, principal: Option<&str>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let cache = format!("cordon-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self { keytab: keytab.map(Path::to_owned), principal: principal.map(str::to_owned), cache }
    }

    /// The token of SPNEGO for `service` (such as HTTP) at this host, good once. Blocks for as long as the centre of the realm takes,
    /// which is asked again only when a ticket is needed.
    pub fn token(&self, service: &str, host: &str) -> Result<Vec<u8>, KerberosError> {
        if [service, host].into_iter().any(|part| part.is_empty() || part.contains(['@', '/', '\0'])) {
            return Err(KerberosError::ServiceName);
        }
        let client = gssapi::Credential::of_client(self.keytab.as_deref(), self.principal.as_deref(), &self.cache)?;
        gssapi::initiate(&client, &format!("{service}@{host}"))
    }
}

/// A service's keys, with which tickets of clients are opened.
pub struct Acceptor {
    keys: gssapi::Credential,
}

impl Acceptor {
    /// `service` is the first part of the principal in the keytab: `HTTP` takes tickets for `HTTP/any.host@ANY.REALM`, as far as the
    /// keytab has a key for it.
    pub fn open(keytab: &Path, service: &str) -> Result<Self, KerberosError> {
        if service.is_empty() || service.contains(['@', '/', '\0']) {
            return Err(KerberosError::ServiceName);
        }
        Ok(Self { keys: gssapi::Credential::of_service(keytab, service)? })
    }

    /// Looks at the one token of a log-in. Blocks for as long as it takes to write the book of replays.
    pub fn accept(&self, token: &[u8]) -> Result<Accepted, KerberosError> {
        if token.is_empty() {
            return Err(KerberosError::NoToken);
        }
        gssapi::accept(&self.keys, token)
    }
}
