//! The downloads of a Ranger Admin, as its own plugins ask for them: policies, tags, roles, users.
//!
//! Not a key store: it is here because whoever decides about access is asked over the same careful HTTP, TLS except on this machine, no redirects,
//! bounded answers, and errors that hold nothing of what was sent or answered.

use std::path::Path;

use cordon_kerberos::Initiator;
use data_encoding::BASE64;
use ureq::http::{Method, Uri};
use zeroize::Zeroizing;

use crate::error::Trouble;
use crate::fetch::private_file;
use crate::http::{Answer, Ask, Http, Trust, escape};
use crate::secret::variable;

/// Policies of a hundred thousand tables are some dozen megabytes.
const LARGEST: u64 = 512 * 1024 * 1024;
const USER: &str = "CORDON_RANGER_USER";
const PASSWORD: &str = "CORDON_RANGER_PASSWORD";

/// What the Admin says of a service it does not have, or has no more.
const NO_SERVICE: &[u8] = b"RANGER_ERROR_SERVICE_NOT_FOUND";

/// One of the downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Download {
    Policies,
    Tags,
    Roles,
    Users,
}

/// What came of it.
pub enum Fetched {
    Document(Vec<u8>),
    /// Nothing newer than what is known.
    Unchanged,
    /// The Admin has none of it for this service.
    Absent,
    /// The Admin has no such service.
    NoService,
}

/// A Ranger Admin, asked for one service.
pub struct RangerAdmin {
    http: Http,
    url: String,
    service: String,
    plugin: String,
    login: LogIn,
}

/// By what the Admin knows who asks.
enum LogIn {
    /// The value of the header.
    Basic(Zeroizing<String>),
    /// A ticket for `HTTP` at the Admin's host, a new one each time.
    Kerberos {
        client: Initiator,
        host: String,
    },
    Certificate,
}

impl LogIn {
    fn of_kerberos(url: &str, kerberos: Option<Kerberos<'_>>) -> Result<Self, Trouble> {
        let (keytab, principal) = kerberos.map_or((None, None), |kerberos| (kerberos.keytab, kerberos.principal));
        if let Some(keytab) = keytab {
            private_file(keytab).map_err(|what| Trouble::NoCredentials { what })?;
        }
        let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
        let host = host.ok_or_else(|| Trouble::Configuration { what: "the address names no host".to_owned() })?;
        Ok(Self::Kerberos { client: Initiator::new(keytab, principal), host })
    }
}

/// A log-in by Kerberos: by a keytab, or with the tickets of whoever runs this.
#[derive(Clone, Copy, Debug)]
pub struct Kerberos<'a> {
    pub principal: Option<&'a str>,
    pub keytab: Option<&'a Path>,
}

impl RangerAdmin {
    /// Reads certificates and the log-in; the Admin is asked later. `plugin` names this program in the Admin's list.
    pub fn open(
        url: &str,
        service: &str,
        plugin: &str,
        ca_file: Option<&Path>,
        client: Option<(&Path, &Path)>,
        kerberos: Option<Kerberos<'_>>,
        timeout_seconds: u16,
    ) -> Result<Self, Trouble> {
        let trust = Trust { ca_file, client, ..Trust::default() };
        let http = Http::new(url, &trust, timeout_seconds)?.with_largest(LARGEST);
        let login = match (variable(USER), variable(PASSWORD)) {
            // What the project's file says goes before what the environment has.
            _ if kerberos.is_some() => LogIn::of_kerberos(url, kerberos)?,
            (Some(user), Some(password)) => {
                let pair = Zeroizing::new(format!("{}:{}", *user, *password));
                LogIn::Basic(Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes()))))
            }
            (None, None) if client.is_some() => LogIn::Certificate,
            (None, None) => {
                let what =
                    format!("neither `{USER}` and `{PASSWORD}` are set nor is a client certificate or Kerberos named");
                return Err(Trouble::NoCredentials { what });
            }
            _ => {
                return Err(Trouble::NoCredentials { what: format!("one of `{USER}` and `{PASSWORD}` is not set") });
            }
        };
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, url, service: service.to_owned(), plugin: plugin.to_owned(), login })
    }

    /// What is newer than `known`, a version of the same kind of download, or -1. `since` is when that came into force, in milliseconds since
    /// 1970: the Admin shows it to its people.
    pub fn fetch(&self, what: Download, known: i64, since: i64) -> Result<Fetched, Trouble> {
        // Without a log-in the certificate is compared with the one that the service's configuration names, at another address.
        let secure = if matches!(self.login, LogIn::Certificate) { "" } else { "secure/" };
        let (path, version, deltas) = match what {
            Download::Policies => {
                (format!("plugins/{secure}policies"), "lastKnownVersion", "&supportsPolicyDeltas=true")
            }
            Download::Tags => (format!("tags/{secure}"), "lastKnownVersion", "&supportsTagDeltas=false"),
            Download::Roles => (format!("roles/{secure}"), "lastKnownRoleVersion", ""),
            Download::Users => (format!("xusers/{secure}"), "lastKnownUserStoreVersion", ""),
        };
        let url = format!(
            "{}/service/{}/download/{}?{version}={known}&lastActivationTime={since}&pluginId={}&clusterName={deltas}",
            self.url,
            path.trim_end_matches('/'),
            escape(&self.service),
            escape(&self.plugin),
        );
        let mut answer = self.ask(&url)?;
        if answer.status == 401 && matches!(self.login, LogIn::Kerberos { .. }) {
            // A token that came there and whose answer was lost is one that was used before.
            answer = self.ask(&url)?;
        }
        match answer.status {
            200 if answer.body.iter().all(u8::is_ascii_whitespace) => Ok(Fetched::Unchanged),
            200 => Ok(Fetched::Document(answer.body.to_vec())),
            204 | 304 => Ok(Fetched::Unchanged),
            404 if contains(&answer.body, NO_SERVICE) => Ok(Fetched::NoService),
            404 => Ok(Fetched::Absent),
            401 => Err(Trouble::CredentialsRefused { what: "it does not know them" }),
            403 => Err(Trouble::Forbidden { what: "download this service's policies" }),
            status => Err(Trouble::Refused { what: format!("status {status}") }),
        }
    }
}

impl RangerAdmin {
    fn ask(&self, url: &str) -> Result<Answer, Trouble> {
        let login = match &self.login {
            LogIn::Basic(header) => Some(header.clone()),
            LogIn::Kerberos { client, host } => {
                let token = client.token("HTTP", host).map_err(|error| {
                    let what = error.to_string().split("\n  help: ").next().unwrap_or_default().to_owned();
                    Trouble::NoCredentials { what }
                })?;
                Some(Zeroizing::new(format!("Negotiate {}", BASE64.encode(&token))))
            }
            LogIn::Certificate => None,
        };
        let mut headers = vec![("accept", "application/json")];
        if let Some(login) = &login {
            headers.push(("authorization", login.as_str()));
        }
        self.http.ask(&Ask { method: Method::GET, url, headers: &headers, body: b"" }, |_| false)
    }
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}
