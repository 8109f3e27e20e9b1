//! The section `server` of `cordon.yaml` as written. `cordon-server` checks it and keeps to it.

use std::path::PathBuf;

use cordon_deid::yaml::At;
use cordon_directory::DirectoryConfig;
use schemars::JsonSchema;
use serde::Deserialize;

/// `cordon serve`: where it listens, who may log in and how, and how much it takes on. It does not start without a way to log in.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServerSection {
    /// Address and port of the HTTP interface, such as `127.0.0.1:8443`. Beyond this machine it takes `tls`.
    pub http: Option<At<String>>,
    /// Address and port at which clients of PostgreSQL are served, such as `127.0.0.1:5433`. Beyond this machine it takes `tls`.
    pub postgres: Option<At<String>>,
    /// Address and port at which clients of Arrow Flight SQL are served, such as `127.0.0.1:32010`. Beyond this machine it takes `tls`.
    pub flight: Option<At<String>>,
    /// Address and port at which Prometheus finds the metrics, without log-in: of this machine only.
    pub metrics: Option<At<String>>,
    /// With it every connection is TLS 1.3 or 1.2, also on this machine.
    pub tls: Option<TlsSection>,
    /// The ways to log in; at least one.
    pub log_in: LogInSection,
    pub limits: LimitsSection,
    /// A cluster that computes what is too large for one machine. Who may see what is decided, and put on the record, by the server as ever.
    pub spark: Option<SparkSection>,
}

/// A Spark Connect server, as `cordon sql --engine spark` takes it. A token for it comes from `SPARK_CONNECT_AUTHENTICATE_TOKEN`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SparkSection {
    /// `sc://HOST:PORT/;use_ssl=true`
    pub remote: At<String>,
    /// Queries of tables of so many bytes in all go to the cluster; the server answers smaller ones itself.
    #[serde(default = "default_from")]
    pub from: At<String>,
    /// Where executors find the project's folder, when it is not where it is here.
    #[serde(default)]
    pub executor_project: Option<PathBuf>,
    /// Executors have the program already, where their `CORDON_PROGRAM` says: it is not sent.
    #[serde(default)]
    pub installed: bool,
}

fn default_from() -> At<String> {
    At::unplaced("1GiB".to_owned())
}

/// The server's certificate. Files are read again when they change; what cannot be read then leaves those of before in use.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsSection {
    /// The server's certificate and those that lead to its authority, in PEM.
    pub certificate: At<String>,
    /// The private key, in PEM, in a file that only its owner can read.
    pub key: At<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LogInSection {
    /// Access tokens (RFC 9068) of OpenID Connect providers, each by its issuer.
    pub oidc: Vec<OidcSection>,
    /// Kerberos: over HTTP (SPNEGO) and, where it is asked for, for clients of PostgreSQL (GSSAPI).
    pub kerberos: Option<KerberosSection>,
    /// Where groups of who logs in by Kerberos or by a certificate are found. Whoever it does not know is not let in.
    pub directory: Option<DirectoryConfig>,
    /// Who is looked up in `directory`; who logs in by Kerberos or a certificate, where nothing is said. Groups that a token names count beside
    /// those that are found.
    pub directory_for: Option<Vec<DirectoryFor>>,
    /// Client certificates (mutual TLS).
    pub certificates: Option<CertificatesSection>,
    /// Names and passwords that this project keeps itself: for where there is nobody else to ask.
    pub local_users: Option<LocalUsersSection>,
    /// A file of who is not let in any more, whatever they show: `{ principals: […], tokens: [… the jti of tokens …] }`. It is read again when
    /// it changes, and ends sessions that are open.
    pub denied: Option<At<String>>,
    /// Roles that take more than one factor.
    pub mfa: Option<MfaSection>,
}

/// By how somebody logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryFor {
    Kerberos,
    Certificates,
    AccessTokens,
    Passwords,
}

/// One provider.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OidcSection {
    /// As tokens name it; `/.well-known/openid-configuration` is found below. `https`, except on this machine.
    pub issuer: At<String>,
    /// What `aud` of a token must hold: this server.
    pub audience: At<String>,
    /// Certificates of authorities that are trusted for the provider, in PEM; otherwise those that this machine trusts.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// The claim that says who it is.
    #[serde(default = "default_principal_claim")]
    pub principal_claim: String,
    /// The claim that lists groups.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Seconds that clocks may differ by; 60 at most.
    #[serde(default = "default_leeway")]
    pub leeway_seconds: At<u16>,
}

fn default_principal_claim() -> String {
    "sub".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

fn default_leeway() -> At<u16> {
    At::unplaced(30)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KerberosSection {
    /// The keys of the service `HTTP/HOST`, in a file that only its owner can read.
    pub keytab: At<String>,
    /// The realms whose people are users here under their own name.
    pub realms: Vec<At<String>>,
    /// The first part of the service's name for clients of PostgreSQL, of which the keytab has a key too: `postgres`, as libpq and JDBC take
    /// it, or what clients name as `krbsrvname`. Where it is not said, they are not asked for a ticket.
    #[serde(default)]
    pub postgres_service: Option<At<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CertificatesSection {
    /// Certificates of the authorities whose clients are let in, in PEM. Not the authorities that the world trusts.
    pub ca_file: At<String>,
    /// Revocation lists of these authorities, in PEM. With it a certificate that no list speaks of is refused.
    #[serde(default)]
    pub crl_file: Option<At<String>>,
    /// What in the certificate names the principal.
    #[serde(default)]
    pub principal: CertificateName,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateName {
    /// The only e-mail address among the subject's alternative names.
    Email,
    /// The only URI among the subject's alternative names, such as one of SPIFFE.
    Uri,
    /// The only common name of the subject.
    #[default]
    CommonName,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LocalUsersSection {
    /// The file that `cordon serve user add` writes: Argon2id hashes, for its owner only.
    pub file: At<String>,
}

/// Who has one of these roles logs in by a token that says how: none of the other ways does.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MfaSection {
    /// Names of roles under `access`.
    pub roles: Vec<At<String>>,
    /// Values of `acr`, any of which will do.
    #[serde(default)]
    pub acr: Vec<String>,
    /// Values of `amr` (RFC 8176), any of which will do, such as `mfa` or `hwk`.
    #[serde(default)]
    pub amr: Vec<String>,
}

/// How much the server takes on. What is more is refused at once, with word when to come again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LimitsSection {
    /// How long one log-in holds, such as `8h`.
    pub session_lifetime: At<String>,
    /// How long a session may ask nothing, such as `30m`.
    pub idle_timeout: At<String>,
    /// How long one query may take, its client's reading included.
    pub query_timeout: At<String>,
    /// How long a client may take nothing of an answer that is ready for it.
    pub stall_timeout: At<String>,
    /// Queries that run at one time.
    pub queries: At<u32>,
    /// Queries of one principal that run at one time.
    pub queries_per_principal: At<u32>,
    pub connections: At<u32>,
    /// Of these, of one network address (of IPv6: one /64), and of one principal as a client of PostgreSQL; half of them where nothing is said.
    pub connections_of_one: Option<At<u32>>,
    /// Rows of one answer; an answer with more fails.
    pub rows: Option<u64>,
    /// Of a request's body, or of a message of PostgreSQL's protocol, such as `1MiB`.
    pub request: At<String>,
    /// How long running queries may still take when the server is stopped.
    pub drain: At<String>,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let text = |text: &str| At::unplaced(text.to_owned());
        Self {
            session_lifetime: text("8h"),
            idle_timeout: text("30m"),
            query_timeout: text("10m"),
            stall_timeout: text("1m"),
            queries: At::unplaced(16),
            queries_per_principal: At::unplaced(4),
            connections: At::unplaced(256),
            connections_of_one: None,
            rows: None,
            request: text("1MiB"),
            drain: text("30s"),
        }
    }
}
