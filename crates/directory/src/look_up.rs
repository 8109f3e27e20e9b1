//! Asking a directory.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions, dn_escape, ldap_escape,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::time::timeout;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::config::{DirectoryConfig, Kind};

/// Groups of one user, and how deep they may stand in one another: more is a circle or a directory gone wrong.
const MOST_GROUPS: usize = 5_000;
const DEEPEST: usize = 64;
/// Names in one question.
const AT_ONCE: usize = 50;
/// Answers that are kept.
const MOST_KEPT: usize = 10_000;

/// What the directory says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// By the directory's name for them (`cn`, in Active Directory `sAMAccountName`), those that the user is in through others among them.
    pub groups: BTreeSet<String>,
}

/// Why nothing was found out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DirectoryError {
    #[error("the directory's configuration: {0}")]
    Configuration(String),
    #[error("the directory cannot be reached\n  help: start it, or correct `url`")]
    Down,
    #[error("the directory does not answer in time")]
    Slow,
    #[error("the directory's certificate is not trusted\n  help: name who issued it in `ca-file`")]
    NotTrusted,
    #[error("the directory refuses who asks\n  help: `bind`, and its password in CORDON_LDAP_PASSWORD")]
    Refused,
    #[error("the directory has several entries for one user\n  help: narrow `users`")]
    Ambiguous,
    #[error("the user's groups are too many, or stand in one another too deeply")]
    TooMany,
    #[error("the directory answered with an error (result code {0})")]
    Answer(u32),
    #[error("the directory's answer cannot be understood")]
    Malformed,
}

/// One directory. Answers are kept for a while; those of a directory that is down are not used for longer.
pub struct Directory {
    config: DirectoryConfig,
    tls: Option<Arc<ClientConfig>>,
    password: Zeroizing<String>,
    kept: Mutex<HashMap<String, (Instant, Option<Found>)>>,
}

impl Directory {
    /// Relative paths are relative to `folder`. Nothing is asked yet.
    pub fn open(
        config: DirectoryConfig,
        folder: &Path,
        password: Option<Zeroizing<String>>,
    ) -> Result<Self, DirectoryError> {
        let wrong = |what: &str| Err(DirectoryError::Configuration(what.to_owned()));
        let Ok(url) = Url::parse(&config.url) else { return wrong("`url` is no URL") };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return wrong("`url` holds more than a host and a port");
        }
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return wrong("`url` names no host"),
        };
        let encrypted = match url.scheme() {
            "ldaps" if config.starttls => {
                return wrong("`starttls` is for `ldap://`; `ldaps://` has TLS from the beginning");
            }
            "ldaps" => true,
            "ldap" => config.starttls,
            _ => return wrong("`url` begins with `ldaps://` or `ldap://`"),
        };
        if !encrypted && !loopback {
            return wrong("`ldap://` without `starttls: true` is for this machine only");
        }
        if !(1..=3600).contains(&config.keep_seconds) || !(1..=60).contains(&config.timeout_seconds) {
            return wrong("`keep-seconds` is 1 to 3600, `timeout-seconds` 1 to 60");
        }
        if config.users.trim().is_empty() {
            return wrong("`users` says below what users are");
        }
        let password = match (&config.bind, password) {
            (Some(_), Some(password)) if !password.is_empty() => password,
            // An empty password would bind as nobody, and succeed (RFC 4513, section 5.1.2).
            (Some(_), _) => return wrong("`bind` has no password: set CORDON_LDAP_PASSWORD"),
            (None, _) => Zeroizing::default(),
        };
        let tls = if encrypted { Some(Arc::new(tls(config.ca_file.as_deref(), folder)?)) } else { None };
        Ok(Self { config, tls, password, kept: Mutex::default() })
    }

    /// For how long an answer is given again.
    pub fn keep(&self) -> Duration {
        Duration::from_secs(self.config.keep_seconds.into())
    }

    /// `None` for one whom the directory does not know, or has disabled, or writes in another way: it does not tell `Ada` from `ada`, and all
    /// else does.
    pub async fn groups_of(&self, user: &str) -> Result<Option<Found>, DirectoryError> {
        let keep = self.keep();
        if let Some((asked, found)) = self.kept().get(user)
            && asked.elapsed() < keep
        {
            return Ok(found.clone());
        }
        let asked = Instant::now();
        let patience = Duration::from_secs(self.config.timeout_seconds.into());
        let found = timeout(patience, self.ask(user)).await.unwrap_or(Err(DirectoryError::Slow))?;
        let mut kept = self.kept();
        if kept.len() >= MOST_KEPT {
            kept.retain(|_, (asked, _)| asked.elapsed() < keep);
        }
        if kept.len() < MOST_KEPT {
            kept.insert(user.to_owned(), (asked, found.clone()));
        }
        Ok(found)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Option<Found>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, user: &str) -> Result<Option<Found>, DirectoryError> {
        let mut ldap = self.connect().await?;
        let found = self.look_up(&mut ldap, user).await;
        // The answer is there; a directory that does not take leave is none the worse.
        let _ = ldap.unbind().await;
        found
    }

    async fn connect(&self) -> Result<Ldap, DirectoryError> {
        let patience = Duration::from_secs(self.config.timeout_seconds.into());
        let mut settings = LdapConnSettings::new().set_conn_timeout(patience).set_starttls(self.config.starttls);
        if let Some(tls) = &self.tls {
            settings = settings.set_config(Arc::clone(tls));
        }
        let (connection, mut ldap) =
            LdapConnAsync::with_settings(settings, &self.config.url).await.map_err(|error| trouble(&error))?;
        tokio::spawn(connection.drive());
        if let Some(name) = &self.config.bind {
            let bound = ldap.simple_bind(name, &self.password).await.map_err(|error| trouble(&error))?;
            if bound.rc != 0 {
                return Err(answer(bound.rc));
            }
        }
        Ok(ldap)
    }

    async fn look_up(&self, ldap: &mut Ldap, user: &str) -> Result<Option<Found>, DirectoryError> {
        let kind = self.config.kind;
        let filter = kind.user_filter(&ldap_escape(user));
        let entries = search(ldap, &self.config.users, &filter, kind.user_name(), 2).await?;
        let entry = match entries.as_slice() {
            [] => return Ok(None),
            [entry] => entry,
            _ => return Err(DirectoryError::Ambiguous),
        };
        if !values(entry, kind.user_name()).any(|name| name == user) {
            return Ok(None);
        }
        let base = self.config.groups.as_deref().unwrap_or(&self.config.users);
        let first = if kind == Kind::Posix { user } else { &entry.dn };
        let mut next = vec![ldap_escape(first).into_owned()];
        let (mut names, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..DEEPEST {
            let mut found = Vec::new();
            for members in next.chunks(AT_ONCE) {
                let groups =
                    search(ldap, base, &kind.group_filter(members), kind.group_name(), MOST_GROUPS as i32).await?;
                for group in groups {
                    if seen.insert(group.dn.to_lowercase()) {
                        names.insert(name_of(&group, kind.group_name())?);
                        found.push(ldap_escape(&group.dn).into_owned());
                    }
                }
                if seen.len() > MOST_GROUPS {
                    return Err(DirectoryError::TooMany);
                }
            }
            if found.is_empty() || kind == Kind::Posix {
                return Ok(Some(Found { groups: names }));
            }
            next = found;
        }
        Err(DirectoryError::TooMany)
    }
}

/// The values of an attribute, whose name servers write as they like.
fn values<'e>(entry: &'e SearchEntry, attribute: &str) -> impl Iterator<Item = &'e str> {
    let of_it = entry.attrs.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(attribute));
    of_it.flat_map(|(_, values)| values).map(String::as_str)
}

/// The group's name. Where it has several, the one that its place in the directory has counts: the others could be taken by anybody who
/// may write the entry.
fn name_of(group: &SearchEntry, attribute: &str) -> Result<String, DirectoryError> {
    let names: Vec<&str> = values(group, attribute).collect();
    let name = match names.as_slice() {
        [name] => Some(*name),
        names => names.iter().copied().find(|name| {
            let first = format!("{attribute}={},", dn_escape(*name)).to_lowercase();
            group.dn.to_lowercase().starts_with(&first)
        }),
    };
    name.map(str::to_owned).ok_or(DirectoryError::Malformed)
}

async fn search(
    ldap: &mut Ldap,
    base: &str,
    filter: &str,
    attribute: &str,
    most: i32,
) -> Result<Vec<SearchEntry>, DirectoryError> {
    let ldap = ldap.with_search_options(SearchOptions::new().sizelimit(most));
    let result = ldap.search(base, Scope::Subtree, filter, vec![attribute]).await.map_err(|error| trouble(&error))?;
    let (entries, code) = (result.0, result.1.rc);
    match code {
        0 => {}
        // Two of one user are too many, and enough to know it.
        4 if most == 2 => return Err(DirectoryError::Ambiguous),
        4 | 11 => return Err(DirectoryError::TooMany),
        code => return Err(answer(code)),
    }
    // References to other servers are not followed.
    Ok(entries
        .into_iter()
        .filter(|entry| !entry.is_ref() && !entry.is_intermediate())
        .map(SearchEntry::construct)
        .collect())
}

fn answer(code: u32) -> DirectoryError {
    match code {
        // strongerAuthRequired, inappropriateAuthentication, invalidCredentials, insufficientAccessRights
        8 | 48 | 49 | 50 => DirectoryError::Refused,
        51 | 52 => DirectoryError::Down,
        code => DirectoryError::Answer(code),
    }
}

fn trouble(error: &LdapError) -> DirectoryError {
    match error {
        LdapError::Io { source } => match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => DirectoryError::NotTrusted,
            Some(_) => DirectoryError::Malformed,
            None if source.kind() == std::io::ErrorKind::TimedOut => DirectoryError::Slow,
            None => DirectoryError::Down,
        },
        LdapError::Timeout { .. } => DirectoryError::Slow,
        LdapError::EndOfStream | LdapError::OpSend { .. } | LdapError::ResultRecv { .. } => DirectoryError::Down,
        LdapError::LdapResult { result } => answer(result.rc),
        _ => DirectoryError::Malformed,
    }
}

fn tls(ca_file: Option<&Path>, folder: &Path) -> Result<ClientConfig, DirectoryError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let path: PathBuf = folder.join(path);
            let wrong = |how: String| DirectoryError::Configuration(format!("`ca-file` {}: {how}", path.display()));
            let pem = fs::read(&path).map_err(|error| wrong(error.kind().to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|_| wrong("is no PEM".to_owned()))?;
                roots.add(certificate).map_err(|_| wrong("holds no certificate".to_owned()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(DirectoryError::Configuration("there is no certificate authority to trust".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| DirectoryError::Configuration("TLS cannot be set up".to_owned()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
