//! HTTP as key stores need it: TLS except on this machine, no redirects, bounded answers, bounded patience.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{AlertDescription, CertificateError};
use ureq::Agent;
use ureq::http::{Method, Request, Uri};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem};
use zeroize::Zeroizing;

use crate::credentials::{Found, Tokens};
use crate::error::Trouble;

/// What a store answers is a few kilobytes.
const LARGEST: u64 = 256 * 1024;
const CONNECT: Duration = Duration::from_secs(5);

pub(crate) struct Http {
    agent: Agent,
    patience: Duration,
    largest: u64,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// May hold a key.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// What is asked: sent again as it is where that is safe.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// Whom to trust and what to show.
#[derive(Default)]
pub(crate) struct Trust<'a> {
    pub(crate) ca_file: Option<&'a Path>,
    /// Those that the system trusts besides.
    pub(crate) besides: bool,
    /// Chain and private key.
    pub(crate) client: Option<(&'a Path, &'a Path)>,
    /// The link-local addresses at which a cloud's machine finds its own identity have no TLS.
    pub(crate) metadata: bool,
}

impl Http {
    /// `base` is where requests go; it is checked here and trusted afterwards.
    pub(crate) fn new(base: &str, trust: &Trust<'_>, seconds: u16) -> Result<Self, Trouble> {
        if !(1..=600).contains(&seconds) {
            return Err(configuration("`timeout-seconds` is from 1 to 600"));
        }
        let uri: Uri = base.parse().map_err(|_| configuration("the address is not a URL"))?;
        let host = uri.host().ok_or_else(|| configuration("the address names no host"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(configuration("the address holds a user name or a password"));
        }
        if uri.query().is_some() || base.contains('#') {
            return Err(configuration("the address holds more than host and path"));
        }
        let local = is_loopback(host);
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if local || trust.metadata => {}
            Some("http") => return Err(configuration("`http` is for this machine only: write `https`")),
            _ => return Err(configuration("the address begins with `https://`")),
        }
        let patience = Duration::from_secs(seconds.into());
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(64 * 1024)
            .max_idle_connections(1)
            .timeout_connect(Some(CONNECT.min(patience)))
            .user_agent(concat!("cordon/", env!("CARGO_PKG_VERSION")));
        if local || trust.metadata {
            config = config.proxy(None);
        }
        if uri.scheme_str() == Some("https") {
            config = config.tls_config(tls(trust)?);
        }
        Ok(Self { agent: config.build().new_agent(), patience, largest: LARGEST })
    }

    /// For a service whose answers are larger than those of key stores.
    pub(crate) fn with_largest(self, largest: u64) -> Self {
        Self { largest, ..self }
    }

    /// A service of the machine or container itself, at an address that nobody beyond it can reach and without TLS. Most
    /// machines have none: patience is short.
    pub(crate) fn metadata(base: &str) -> Result<Self, Trouble> {
        let uri: Uri = base.parse().map_err(|_| configuration("the address of the metadata service is not a URL"))?;
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let linked = match bare.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => address.is_link_local(),
            Ok(IpAddr::V6(address)) => address.is_unique_local() || address.is_unicast_link_local(),
            Err(_) => host == "metadata.google.internal",
        };
        Self::new(base, &Trust { metadata: linked, ..Trust::default() }, 3)
    }

    /// An access token for a form, as OAuth 2.0 has it (RFC 6749, section 4.4).
    pub(crate) fn token(&self, url: &str, fields: &[(&str, &str)]) -> Result<Found<Zeroizing<String>>, Trouble> {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")];
        let body = form(fields);
        let ask = Ask { method: Method::POST, url, headers: &headers, body: body.as_bytes() };
        let answer = self.ask(&ask, |_| false)?;
        match answer.status {
            200 => Ok(json::<AccessToken>(&answer)?.found()),
            400 | 401 | 403 => Err(Trouble::CredentialsRefused { what: "whoever gives tokens does not know them" }),
            status => Err(Trouble::Refused { what: format!("log-in, status {status}") }),
        }
    }

    /// A token of the identity that this machine has by its cloud. Most machines have none: where nobody answers there are no credentials,
    /// which `none` says, rather than a store that is down.
    pub(crate) fn token_of_machine(
        base: &str,
        url: &str,
        headers: &[(&str, &str)],
        none: &str,
        refused: &'static str,
    ) -> Result<Found<Zeroizing<String>>, Trouble> {
        let ask = Ask { method: Method::GET, url, headers, body: b"" };
        let answer = Self::metadata(base)?.ask(&ask, |_| false);
        let answer = answer.map_err(|_| Trouble::NoCredentials { what: none.to_owned() })?;
        match answer.status {
            200 => Ok(json::<AccessToken>(&answer)?.found()),
            _ => Err(Trouble::CredentialsRefused { what: refused }),
        }
    }

    /// Asks until there is an answer or patience ends. Sent again only after what shows that nothing was done (no
    /// connection, 429) or that doing it twice is the same (5xx: wrapping and unwrapping change nothing in a store).
    pub(crate) fn ask(&self, ask: &Ask<'_>, sealed: impl Fn(&Answer) -> bool) -> Result<Answer, Trouble> {
        self.ask_again(ask, sealed, |answer| answer.status == 429)
    }

    /// The same, for a store that says in its own way that it is asked too often.
    pub(crate) fn ask_again(
        &self,
        ask: &Ask<'_>,
        sealed: impl Fn(&Answer) -> bool,
        throttled: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, Trouble> {
        let end = Instant::now() + self.patience;
        let mut pause = Duration::from_millis(100);
        // What the store itself said last: more than that the rest of the time was too short for its next answer.
        let mut said = None;
        loop {
            let trouble = match self.once(ask, end.saturating_duration_since(Instant::now())) {
                Ok(answer) if sealed(&answer) => return Err(Trouble::Sealed),
                Ok(answer) if throttled(&answer) => Trouble::Throttled { seconds: self.patience.as_secs() },
                Ok(Answer { status, .. }) if status >= 500 => Trouble::Broken { status },
                // 304 is an answer: nothing changed.
                Ok(Answer { status, .. }) if (300..400).contains(&status) && status != 304 => {
                    return Err(Trouble::Redirected { status });
                }
                Ok(answer) => return Ok(answer),
                Err(trouble) => match (trouble, said) {
                    (Trouble::Slow { .. }, Some(said)) => return Err(said),
                    (trouble, _) => trouble,
                },
            };
            let wait = pause / 2 + jitter(pause / 2);
            if !trouble.passes() || Instant::now() + wait >= end {
                return Err(trouble);
            }
            said = matches!(trouble, Trouble::Throttled { .. } | Trouble::Broken { .. }).then_some(trouble);
            thread::sleep(wait);
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    fn once(&self, ask: &Ask<'_>, left: Duration) -> Result<Answer, Trouble> {
        let mut request = Request::builder().method(ask.method.clone()).uri(ask.url);
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        // Header values come from the environment and files; what http refuses there must not be told.
        let malformed = |_| Trouble::NoCredentials { what: "a credential holds what no HTTP header can".to_owned() };
        let told = |error| self.trouble(error);
        let answer = if ask.method == Method::GET {
            let request = request.body(()).map_err(malformed)?;
            let request = self.agent.configure_request(request).timeout_global(Some(left)).build();
            self.agent.run(request)
        } else {
            let request = request.body(ask.body).map_err(malformed)?;
            let request = self.agent.configure_request(request).timeout_global(Some(left)).build();
            self.agent.run(request)
        };
        let mut answer = answer.map_err(told)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(self.largest).read_to_vec().map_err(told)?;
        Ok(Answer { status, body: Zeroizing::new(body) })
    }

    fn trouble(&self, error: ureq::Error) -> Trouble {
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Trouble::Down { how: "no connection in time" }
            }
            ureq::Error::Timeout(_) => Trouble::Slow { seconds: self.patience.as_secs() },
            ureq::Error::HostNotFound => Trouble::Configuration { what: "the host's name is not known".to_owned() },
            ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => {
                Trouble::Down { how: "no connection" }
            }
            ureq::Error::BodyExceedsLimit(_) | ureq::Error::LargeResponseHeader(..) => {
                Trouble::Answer { what: "it is far too long" }
            }
            ureq::Error::Tls(_) => Trouble::NotTrusted { how: "the address names no host that a certificate could" },
            ureq::Error::Rustls(error) => tls_trouble(&error),
            ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(error) => tls_trouble(error),
                None => io_trouble(&error, self.patience),
            },
            _ => Trouble::Answer { what: "it is not HTTP" },
        }
    }
}

/// A service that takes bearer tokens (RFC 6750) and speaks JSON.
pub(crate) struct Bearing<T> {
    http: Http,
    tokens: T,
}

impl<T: Tokens> Bearing<T> {
    pub(crate) fn new(http: Http, tokens: T) -> Self {
        Self { http, tokens }
    }

    /// A token that is not taken any more is renewed once.
    pub(crate) fn ask(&self, method: &Method, url: &str, body: &[u8]) -> Result<Answer, Trouble> {
        let mut renewed = false;
        loop {
            let bearer = Zeroizing::new(format!("Bearer {}", **self.tokens.token()?));
            let mut headers = vec![("authorization", bearer.as_str()), ("accept", "application/json")];
            if *method != Method::GET {
                headers.push(("content-type", "application/json"));
            }
            let answer = self.http.ask(&Ask { method: method.clone(), url, headers: &headers, body }, |_| false)?;
            if answer.status != 401 || renewed {
                return Ok(answer);
            }
            self.tokens.forget();
            renewed = true;
        }
    }
}

fn io_trouble(error: &io::Error, patience: Duration) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::Down { how: "connection refused" },
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Trouble::Slow { seconds: patience.as_secs() },
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            Trouble::Down { how: "there is no way to its network" }
        }
        _ => Trouble::Down { how: "the connection was cut" },
    }
}

fn tls_trouble(error: &rustls::Error) -> Trouble {
    let how = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => "nobody whom this machine trusts issued it",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is for another host"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it is expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
            CertificateError::Revoked => "it is revoked",
            _ => "it is not valid",
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied,
        ) => return Trouble::CertificateRefused,
        rustls::Error::InvalidMessage(_) => return Trouble::Answer { what: "it does not speak TLS" },
        _ => "the handshake failed",
    };
    Trouble::NotTrusted { how }
}

fn tls(trust: &Trust<'_>) -> Result<TlsConfig, Trouble> {
    let mut roots = trust.ca_file.map_or_else(|| Ok(Vec::new()), |path| certificates(path, "ca-file"))?;
    if trust.ca_file.is_none() || trust.besides {
        let found = rustls_native_certs::load_native_certs();
        roots.extend(found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()));
    }
    if roots.is_empty() {
        return Err(Trouble::NotTrusted { how: "this machine trusts no certificate authority at all" });
    }
    let client = match trust.client {
        None => None,
        Some((chain, key)) => {
            let pem = Zeroizing::new(read_private(key).map_err(|what| Trouble::NoCredentials { what })?);
            let key = PrivateKey::from_pem(&pem).map_err(|_| Trouble::NoCredentials {
                what: format!("{} holds no private key in PEM", key.display()),
            })?;
            Some(ClientCert::new_with_certs(&certificates(chain, "certificate")?, key))
        }
    };
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .build())
}

fn certificates(path: &Path, called: &str) -> Result<Vec<Certificate<'static>>, Trouble> {
    let pem = fs::read(path)
        .map_err(|error| configuration(format!("cannot read `{called}` {}: {}", path.display(), error.kind())))?;
    let found: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(configuration(format!("`{called}` {} holds no certificate in PEM", path.display())));
    }
    Ok(found)
}

/// A file with a secret, at most 64 KiB, that only its owner may read. The error says what is wrong.
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    let wrong = |error: io::Error| format!("cannot read {}: {}", path.display(), error.kind());
    let file = fs::File::open(path).map_err(wrong)?;
    // Asked of the open file and not of its name, which could change in between.
    let mode = file.metadata().map_err(wrong)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.display();
        return Err(format!(
            "{path} can be read or changed by others (mode {mode:04o}): restrict it to its owner, mode 0600"
        ));
    }
    let mut bytes = Vec::with_capacity(64 * 1024);
    file.take(64 * 1024).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(bytes)
}

/// Whether a host is this machine, to which nothing needs TLS.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn configuration(what: impl Into<String>) -> Trouble {
    Trouble::Configuration { what: what.into() }
}

/// Up to `most`, so that many clients of a store that comes back do not come at once.
fn jitter(most: Duration) -> Duration {
    let mut random = [0; 2];
    if getrandom::fill(&mut random).is_err() {
        return most;
    }
    most * u32::from(u16::from_be_bytes(random)) / u32::from(u16::MAX)
}

/// A secret in the JSON of an answer, wiped when dropped.
#[derive(serde::Deserialize)]
#[serde(from = "String")]
pub(crate) struct Secret(pub(crate) Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

#[derive(serde::Deserialize)]
struct AccessToken {
    access_token: Secret,
    /// Seconds, as a number or, of Azure's machines, as a text.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl AccessToken {
    pub(crate) fn found(self) -> Found<Zeroizing<String>> {
        let seconds = self.expires_in.as_u64().or_else(|| self.expires_in.as_str()?.parse().ok());
        Found { what: self.access_token.0, life: seconds.map(Duration::from_secs) }
    }
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn form(fields: &[(&str, &str)]) -> Zeroizing<String> {
    let mut body = Zeroizing::new(String::new());
    for (name, value) in fields {
        if !body.is_empty() {
            body.push('&');
        }
        body.push_str(name);
        body.push('=');
        body.push_str(&Zeroizing::new(escape(value)));
    }
    body
}

/// Host and port.
pub(crate) fn authority(url: &str) -> Result<String, Trouble> {
    let uri: Uri = url.parse().map_err(|_| configuration("the address is not a URL"))?;
    uri.authority()
        .map(|authority| authority.as_str().to_owned())
        .ok_or_else(|| configuration("the address names no host"))
}

/// The answer read as what it should be. serde's own words may quote it.
pub(crate) fn json<'de, T: serde::Deserialize<'de>>(answer: &'de Answer) -> Result<T, Trouble> {
    serde_json::from_slice(&answer.body).map_err(|_| Trouble::Answer { what: "its JSON is not as documented" })
}

/// One part of a path or query, or a value of a form, with all but RFC 3986's unreserved characters escaped.
pub(crate) fn escape(part: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => {
                out.push('%');
                for digit in [byte >> 4, byte & 15] {
                    out.push(HEX.get(usize::from(digit)).copied().unwrap_or_default().into());
                }
            }
        }
    }
    out
}
