//! The seam of every way to log in: a credential in, a principal out. Front ends only carry what clients sent here.
//!
//! A way that is added is one more [`Credential`] or one more [`Way`]: throttling, the list of the denied, factors and the
//! record are here and the same for all.

pub mod certificate;
mod denied;
pub mod jws;
pub mod local;
mod oidc;
pub(crate) mod throttle;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cordon_audit::{Event, Label};
use cordon_crypto::password::PasswordHash;
use cordon_directory::{Directory, DirectoryError};
use cordon_kerberos::{Acceptor, KerberosError, Realms};
use cordon_keystore::fetch::private_file;
use cordon_pipeline::project::OpenProject;
use cordon_pipeline::server_config::CertificateName;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::StartError;
use crate::metrics::Metrics;
use crate::settings::{Mfa, Settings};
use crate::tls::Tls;
use certificate::Proven;
use denied::Denied;
use local::LocalUsers;
use oidc::Provider;
use throttle::{Recording, Throttle};

/// What a client shows to say who it is.
pub enum Credential {
    /// A bearer token (RFC 6750).
    Token(Zeroizing<String>),
    Password {
        name: String,
        password: Zeroizing<String>,
    },
    /// A token of SPNEGO (RFC 4559), good for one log-in.
    Ticket(Vec<u8>),
    /// A token of GSSAPI (RFC 2743) for the service that clients of PostgreSQL know, good for one log-in.
    PostgresTicket(Vec<u8>),
    /// DER, whose private key was proven in the handshake, and behind it that of those between it and its authority, as
    /// [`certificate::shown`] gives it.
    Certificate(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Token,
    Kerberos,
    Certificate,
    Password,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "access token",
            Self::Kerberos => "Kerberos",
            Self::Certificate => "client certificate",
            Self::Password => "password",
        }
    }
}

/// Who it is, as a way to log in has found.
pub struct Known {
    pub name: String,
    pub groups: Vec<String>,
    pub method: Method,
    /// When the credential ends.
    pub until: Option<SystemTime>,
    /// How the person proved it, as an issuer says: `acr` and `amr`.
    pub factors: Vec<(&'static str, String)>,
    pub stamp: Stamp,
    /// By which the client sees that the server is who it says (RFC 4559).
    pub reply: Vec<u8>,
}

/// What tells this credential apart, to see later whether it still holds.
#[derive(Default)]
pub struct Stamp {
    pub token: Option<String>,
    pub certificate: Option<String>,
    pub chain: Option<Proven>,
    pub password: Option<PasswordHash>,
    /// What the directory said.
    pub groups: Option<BTreeSet<String>>,
}

/// Whether one who was let in would have the groups still that were found then.
pub enum Confirmed {
    Yes,
    No(&'static str),
    /// Nobody can tell now; nor, where the directory is away, of anybody else.
    Unknown {
        away: bool,
    },
}

/// Why somebody is not let in. The client is told no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Credential(&'static str),
    /// No way to log in takes this kind of credential.
    NotTaken,
    Denied,
    /// It takes more than one factor, and the credential shows one.
    Factor,
    /// Nobody can tell now.
    Unavailable(&'static str),
    Throttled(Duration),
}

impl Refusal {
    pub fn what(self) -> &'static str {
        match self {
            Self::Credential(what) | Self::Unavailable(what) => what,
            Self::NotTaken => "this way to log in is not configured",
            Self::Denied => "on the list of the denied",
            Self::Factor => "more than one factor is needed",
            Self::Throttled(_) => "too many failures",
        }
    }
}

/// One way to log in. It may block: it is asked on a thread for that.
pub trait Way: Send + Sync {
    /// `None` where such a credential is not for it.
    fn check(&self, credential: &Credential) -> Option<Result<Known, Refusal>>;
    /// Whether what was shown once would be taken still.
    fn still(&self, known: &Known) -> bool;
    /// Whether somebody of this name exists there, for the record.
    fn knows(&self, name: &str) -> bool;
    /// Files are read again when they are looked at next, whatever their stamps say.
    fn look_again(&self) {}
}

struct Tokens(Vec<Provider>);

impl Way for Tokens {
    fn check(&self, credential: &Credential) -> Option<Result<Known, Refusal>> {
        let Credential::Token(text) = credential else { return None };
        let Some(token) = jws::Token::read(text) else {
            return Some(Err(Refusal::Credential("not an access token of an algorithm that is taken")));
        };
        let issuer = oidc::issuer_of(&token);
        let provider = self.0.iter().find(|provider| issuer.as_deref() == Some(provider.issuer()));
        Some(provider.map_or(Err(Refusal::Credential("another issuer")), |one| one.check(&token, SystemTime::now())))
    }

    fn still(&self, _: &Known) -> bool {
        true
    }

    fn knows(&self, _: &str) -> bool {
        false
    }
}

/// Each service has keys of its own: a ticket for the one is none for the other.
struct Tickets {
    http: Acceptor,
    postgres: Option<Acceptor>,
    realms: Realms,
}

impl Way for Tickets {
    fn check(&self, credential: &Credential) -> Option<Result<Known, Refusal>> {
        let (acceptor, token) = match credential {
            Credential::Ticket(token) => (&self.http, token),
            Credential::PostgresTicket(token) => (self.postgres.as_ref()?, token),
            _ => return None,
        };
        let refused = |error| {
            Refusal::Credential(match error {
                KerberosError::Expired => "expired",
                KerberosError::Clock => "not valid yet",
                KerberosError::Replayed => "used before",
                KerberosError::OtherMechanism => "another mechanism than Kerberos",
                KerberosError::OtherKey => "for another service or key",
                _ => "not a ticket that is taken",
            })
        };
        Some(acceptor.accept(token).map_err(refused).and_then(|accepted| {
            let name = self.realms.user(&accepted.principal).filter(|name| is_name(name));
            let name = name.ok_or(Refusal::Credential("of another realm, or no person"))?.to_owned();
            Ok(Known {
                name,
                groups: Vec::new(),
                method: Method::Kerberos,
                until: None,
                factors: Vec::new(),
                stamp: Stamp::default(),
                reply: accepted.reply,
            })
        }))
    }

    fn still(&self, _: &Known) -> bool {
        true
    }

    fn knows(&self, _: &str) -> bool {
        false
    }
}

struct ClientCertificates {
    named_by: CertificateName,
    tls: Option<Arc<Tls>>,
}

impl Way for ClientCertificates {
    fn check(&self, credential: &Credential) -> Option<Result<Known, Refusal>> {
        let Credential::Certificate(der) = credential else { return None };
        let checked = certificate::check(der, self.named_by);
        Some(checked.and_then(|known| {
            if self.still(&known) { Ok(known) } else { Err(Refusal::Credential("revoked, or not trusted any more")) }
        }))
    }

    /// A connection outlives what was known when it began.
    fn still(&self, known: &Known) -> bool {
        known.stamp.chain.as_ref().is_none_or(|chain| self.tls.as_deref().is_some_and(|tls| chain.is_trusted(tls)))
    }

    fn knows(&self, _: &str) -> bool {
        false
    }
}

impl Way for LocalUsers {
    fn check(&self, credential: &Credential) -> Option<Result<Known, Refusal>> {
        let Credential::Password { name, password } = credential else { return None };
        Some(Self::check(self, name, password))
    }

    fn still(&self, known: &Known) -> bool {
        known.stamp.password.as_ref().is_none_or(|hash| Self::still(self, &known.name, hash))
    }

    fn knows(&self, name: &str) -> bool {
        Self::knows(self, name)
    }

    fn look_again(&self) {
        Self::look_again(self);
    }
}

/// All ways together.
pub struct LogIn {
    project: Arc<OpenProject>,
    ways: Vec<Box<dyn Way>>,
    directory: Option<Directory>,
    directory_for: Vec<Method>,
    denied: Option<Denied>,
    mfa: Option<Mfa>,
    throttle: Throttle,
    metrics: Arc<Metrics>,
}

impl LogIn {
    pub fn open(
        project: Arc<OpenProject>,
        settings: &Settings,
        tls: Option<Arc<Tls>>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let mut ways: Vec<Box<dyn Way>> = Vec::new();
        if !settings.oidc.is_empty() {
            ways.push(Box::new(Tokens(settings.oidc.iter().cloned().map(Provider::new).collect())));
        }
        if let Some(kerberos) = &settings.kerberos {
            private_file(&kerberos.keytab).map_err(StartError::Keytab)?;
            let of = |service: &str| Acceptor::open(&kerberos.keytab, service);
            let (http, postgres) = (of("HTTP")?, kerberos.postgres_service.as_deref().map(of).transpose()?);
            ways.push(Box::new(Tickets { http, postgres, realms: Realms::new(kerberos.realms.iter().cloned()) }));
        }
        if let Some(certificates) = &settings.certificates {
            ways.push(Box::new(ClientCertificates { named_by: certificates.principal, tls }));
        }
        if let Some(path) = &settings.local_users {
            ways.push(Box::new(LocalUsers::open(path)?));
        }
        let password = || std::env::var("CORDON_LDAP_PASSWORD").ok().map(Zeroizing::new);
        let directory = match &settings.directory {
            Some(config) => Some(Directory::open(config.clone(), &project.root, password())?),
            None => None,
        };
        let denied = settings.denied.as_deref().map(Denied::open).transpose()?;
        let (mfa, directory_for) = (settings.mfa.clone(), settings.directory_for.clone());
        let throttle = Throttle::default();
        Ok(Self { project, ways, directory, directory_for, denied, mfa, throttle, metrics })
    }

    /// Says who it is. Failures are on the record before the answer; what is over the throttle is counted only, or whoever
    /// guesses would fill the record. Blocks.
    pub fn check(&self, credential: &Credential, client: IpAddr) -> Result<Known, Refusal> {
        self.check_as(credential, client, None)
    }

    /// The same where the client has said who it is, and must be that.
    pub fn check_as(&self, credential: &Credential, client: IpAddr, user: Option<&str>) -> Result<Known, Refusal> {
        let (method, given) = match credential {
            Credential::Token(_) => (Method::Token, None),
            Credential::Certificate(_) => (Method::Certificate, None),
            Credential::Ticket(_) | Credential::PostgresTicket(_) => (Method::Kerberos, None),
            Credential::Password { name, .. } => (Method::Password, Some(name.as_str())),
        };
        let given = given.filter(|name| is_name(name));
        // Only what can be guessed takes longer the more often it was wrong. Whoever shows wrong tokens would lock out all others behind
        // the same address, and could not find the right one in all eternity.
        let guessed = method == Method::Password;
        if guessed && let Some(wait) = self.throttle.wait(client, given, Instant::now()) {
            self.metrics.count("log_ins", "throttled");
            return Err(Refusal::Throttled(wait));
        }
        let checked = self
            .ways
            .iter()
            .find_map(|way| way.check(credential))
            .unwrap_or(Err(Refusal::NotTaken))
            .map_err(|refusal| (refusal, None))
            .and_then(|known| self.admitted(known))
            .and_then(|known| match user {
                Some(user) if known.name != user => {
                    Err((Refusal::Credential("another principal than was said"), Some(known.name)))
                }
                _ => Ok(known),
            });
        match checked {
            Ok(known) => {
                self.throttle.succeeded(client, &known.name, Instant::now());
                self.metrics.count("log_ins", "let in");
                Ok(known)
            }
            Err((refusal, proven)) => {
                self.metrics.count("log_ins", "refused");
                if guessed && !matches!(refusal, Refusal::Unavailable(_)) {
                    self.throttle.failed(client, given, Instant::now());
                }
                let mut what = refusal.what();
                if !guessed {
                    match self.throttle.recording(client, Instant::now()) {
                        Recording::Each => {}
                        Recording::Last => what = "so many failures from here that more are only counted",
                        Recording::Counted => {
                            self.metrics.count("log_ins", "not recorded");
                            return Err(refusal);
                        }
                    }
                }
                let principal = proven.or_else(|| given.filter(|name| self.knows(name)).map(str::to_owned));
                let event = Event::LogInFailed {
                    principal,
                    method: Label::new(method.name()),
                    client: client.to_canonical().to_string(),
                    what: Label::new(what),
                };
                match self.project.audit(&event) {
                    Ok(_) => Err(refusal),
                    Err(_) => Err(Refusal::Unavailable("the audit log cannot be written")),
                }
            }
        }
    }

    /// Whether one who was proven may come in; with the name, which is known now.
    fn admitted(&self, mut known: Known) -> Result<Known, (Refusal, Option<String>)> {
        if let Some(directory) = &self.directory
            && self.directory_for.contains(&known.method)
        {
            match Handle::current().block_on(directory.groups_of(&known.name)) {
                Ok(Some(found)) => {
                    known.groups.extend(found.groups.iter().cloned());
                    known.stamp.groups = Some(found.groups);
                }
                Ok(None) => return Err((Refusal::Credential("not in the directory"), Some(known.name))),
                Err(_) => return Err((Refusal::Unavailable("the directory cannot be asked"), Some(known.name))),
            }
        }
        if self.is_denied(&known) {
            return Err((Refusal::Denied, Some(known.name)));
        }
        if !self.has_factors(&known) {
            return Err((Refusal::Factor, Some(known.name)));
        }
        Ok(known)
    }

    /// A role of `mfa` that is not defined any more.
    pub fn lost_role(&self) -> Option<&str> {
        self.mfa.as_ref().and_then(|mfa| self.project.undefined_role(&mfa.roles))
    }

    fn is_denied(&self, known: &Known) -> bool {
        self.denied.as_ref().is_some_and(|denied| denied.names(&known.name, known))
    }

    fn has_factors(&self, known: &Known) -> bool {
        let Some(mfa) = &self.mfa else { return true };
        !self.project.may_have_role(&known.name, &mfa.roles)
            || known.factors.iter().any(|(claim, value)| match *claim {
                "acr" => mfa.acr.contains(value),
                _ => mfa.amr.contains(value),
            })
    }

    /// Whether one who was let in would be now. Looks at files that it knows, and asks nobody.
    pub fn still(&self, known: &Known) -> Result<(), &'static str> {
        if known.until.is_some_and(|until| SystemTime::now() >= until) {
            return Err("its credential has expired");
        }
        if !self.has_factors(known) {
            return Err("it takes more than one factor now");
        }
        if self.is_denied(known) || !self.ways.iter().all(|way| way.still(known)) {
            return Err("its credential was revoked");
        }
        Ok(())
    }

    /// Asks the directory, which says the same again for a while. Who is in more groups than before has those at the next log-in.
    pub async fn confirm(&self, known: &Known) -> Confirmed {
        let (Some(directory), Some(groups)) = (&self.directory, &known.stamp.groups) else { return Confirmed::Yes };
        match directory.groups_of(&known.name).await {
            Ok(Some(found)) if groups.is_subset(&found.groups) => Confirmed::Yes,
            Ok(Some(_)) => Confirmed::No("its principal has left a group"),
            Ok(None) => Confirmed::No("its principal has left the directory"),
            Err(error) => Confirmed::Unknown { away: matches!(error, DirectoryError::Down | DirectoryError::Slow) },
        }
    }

    /// For how long groups hold that nobody could confirm.
    pub fn unconfirmed(&self) -> Duration {
        self.directory.as_ref().map_or(Duration::MAX, Directory::keep)
    }

    /// Files are read again when they are looked at next.
    pub fn look_again(&self) {
        self.ways.iter().for_each(|way| way.look_again());
        if let Some(denied) = &self.denied {
            denied.look_again();
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.project.knows(name) || self.ways.iter().any(|way| way.knows(name))
    }
}

/// What can name a person or a group: on the record and in errors it stands as it is.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 128 && !text.chars().any(char::is_control)
}
