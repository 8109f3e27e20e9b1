//! The section `server` of `cordon.yaml`, checked: after this nothing asks again whether it may be so.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cordon_access::AccessFile;
use cordon_deid::yaml::{At, Issue, Issues, Position, nearest};
use cordon_directory::DirectoryConfig;
use cordon_keystore::is_loopback;
use cordon_pipeline::project::parse_bytes;
use cordon_pipeline::server_config::{CertificateName, DirectoryFor, LimitsSection, ServerSection, SparkSection};

use crate::log_in::Method;

/// What the server does, as it was configured.
#[derive(Clone, Debug)]
pub struct Settings {
    pub http: Option<SocketAddr>,
    pub postgres: Option<SocketAddr>,
    pub flight: Option<SocketAddr>,
    /// Of this machine.
    pub metrics: Option<SocketAddr>,
    pub tls: Option<TlsFiles>,
    pub oidc: Vec<Oidc>,
    pub kerberos: Option<Kerberos>,
    pub directory: Option<DirectoryConfig>,
    /// Who is looked up in it.
    pub directory_for: Vec<Method>,
    pub certificates: Option<Certificates>,
    pub local_users: Option<PathBuf>,
    pub denied: Option<PathBuf>,
    pub mfa: Option<Mfa>,
    pub limits: Limits,
    pub spark: Option<Spark>,
}

/// Where large queries are computed.
#[derive(Clone, Debug)]
pub struct Spark {
    pub remote: String,
    /// Bytes of tables from which on a query is large.
    pub from: u64,
    pub executor_project: Option<PathBuf>,
    pub installed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Oidc {
    pub issuer: String,
    pub audience: String,
    pub ca_file: Option<PathBuf>,
    pub principal_claim: String,
    pub groups_claim: String,
    pub leeway: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    pub ca_file: PathBuf,
    pub crl_file: Option<PathBuf>,
    pub principal: CertificateName,
}

#[derive(Clone, Debug)]
pub struct Kerberos {
    pub keytab: PathBuf,
    pub realms: Vec<String>,
    /// For clients of PostgreSQL.
    pub postgres_service: Option<String>,
}

/// What more than one factor is asked of.
#[derive(Clone, Debug)]
pub struct Mfa {
    pub roles: BTreeSet<String>,
    pub acr: BTreeSet<String>,
    pub amr: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub session_lifetime: Duration,
    pub idle_timeout: Duration,
    pub query_timeout: Duration,
    pub stall_timeout: Duration,
    pub queries: usize,
    pub queries_per_principal: usize,
    pub connections: usize,
    /// Of one network address, and of one principal.
    pub connections_of_one: usize,
    pub rows: Option<u64>,
    pub request: usize,
    pub drain: Duration,
}

const LISTEN: &str = "127.0.0.1:8443";

impl Settings {
    /// All that is wrong at once. Paths are those of the project's folder.
    pub fn check(section: Option<&ServerSection>, access: &AccessFile, root: &Path) -> Result<Self, Issues> {
        let mut wrong = Wrong(Vec::new());
        let Some(section) = section else {
            wrong.say(
                Position::default(),
                "there is no `server` section, so nobody could log in",
                "name a way to log in: docs/server.md shows an example of each",
            );
            return Err(Issues(wrong.0));
        };
        let path = |text: &str| root.join(text);
        let tls = section
            .tls
            .as_ref()
            .map(|tls| TlsFiles { certificate: path(&tls.certificate.value), key: path(&tls.key.value) });
        let mut http = wrong.address(section.http.as_ref());
        let postgres = wrong.address(section.postgres.as_ref());
        let flight = wrong.address(section.flight.as_ref());
        let metrics = wrong.address(section.metrics.as_ref());
        if section.http.is_none() && section.postgres.is_none() && section.flight.is_none() {
            http = LISTEN.parse().ok();
        }
        for (at, address) in [(&section.http, http), (&section.postgres, postgres), (&section.flight, flight)] {
            if let (Some(at), Some(address)) = (at, address)
                && tls.is_none()
                && !address.ip().is_loopback()
            {
                wrong.say(
                    at.position,
                    "without TLS it may only be reached from this machine",
                    "name a certificate and its key under `tls`, or listen at 127.0.0.1",
                );
            }
        }
        if let (Some(at), Some(address)) = (&section.metrics, metrics)
            && !address.ip().is_loopback()
        {
            wrong.say(
                at.position,
                "metrics are for this machine only",
                "listen at 127.0.0.1; Prometheus runs beside it",
            );
        }
        let log_in = &section.log_in;
        let some = !log_in.oidc.is_empty() || log_in.certificates.is_some() || log_in.kerberos.is_some();
        if !some && log_in.local_users.is_none() {
            wrong.say(
                Position::default(),
                "`server` names no way to log in",
                "name one under `log-in`: `oidc`, `kerberos`, `certificates` or `local-users`",
            );
        }
        let oidc = log_in
            .oidc
            .iter()
            .map(|one| {
                let issuer = one.issuer.value.trim_end_matches('/');
                let host = issuer
                    .strip_prefix("https://")
                    .or_else(|| issuer.strip_prefix("http://").filter(|rest| is_loopback(host_of(rest))));
                if host.is_none_or(str::is_empty) || issuer.contains(['?', '#', '@']) {
                    wrong.say(one.issuer.position, "this is not the address of an issuer", "write `https://HOST/PATH`");
                }
                if one.audience.value.is_empty() {
                    wrong.say(one.audience.position, "the audience is empty", "write what tokens for this server name");
                }
                if one.leeway_seconds.value > 60 {
                    wrong.say(one.leeway_seconds.position, "clocks may differ by 60 s at most", "keep clocks by NTP");
                }
                Oidc {
                    issuer: one.issuer.value.clone(),
                    audience: one.audience.value.clone(),
                    ca_file: one.ca_file.as_deref().map(path),
                    principal_claim: one.principal_claim.clone(),
                    groups_claim: one.groups_claim.clone(),
                    leeway: Duration::from_secs(one.leeway_seconds.value.into()),
                }
            })
            .collect::<Vec<_>>();
        let mut issuers = BTreeSet::new();
        for one in &log_in.oidc {
            if !issuers.insert(&one.issuer.value) {
                wrong.say(one.issuer.position, "this issuer is named twice", "leave one");
            }
        }
        let certificates = log_in.certificates.as_ref().map(|one| {
            if tls.is_none() {
                wrong.say(one.ca_file.position, "client certificates take TLS", "name the server's own under `tls`");
            }
            Certificates {
                ca_file: path(&one.ca_file.value),
                crl_file: one.crl_file.as_ref().map(|file| path(&file.value)),
                principal: one.principal,
            }
        });
        let kerberos = log_in.kerberos.as_ref().map(|one| {
            if one.realms.is_empty() {
                wrong.say(
                    one.keytab.position,
                    "`kerberos` names no realm",
                    "list the realms whose people are users here",
                );
            }
            if let Some(service) = &one.postgres_service
                && postgres.is_none()
            {
                let help = "say where under `postgres`, or leave it out";
                wrong.say(service.position, "clients of PostgreSQL are not served", help);
            }
            Kerberos {
                keytab: path(&one.keytab.value),
                realms: one.realms.iter().map(|realm| realm.value.clone()).collect(),
                postgres_service: one.postgres_service.as_ref().map(|service| service.value.clone()),
            }
        });
        let directory_for =
            log_in.directory_for.as_deref().unwrap_or(&[DirectoryFor::Kerberos, DirectoryFor::Certificates]);
        let directory_for = directory_for
            .iter()
            .map(|of| match of {
                DirectoryFor::Kerberos => Method::Kerberos,
                DirectoryFor::Certificates => Method::Certificate,
                DirectoryFor::AccessTokens => Method::Token,
                DirectoryFor::Passwords => Method::Password,
            })
            .collect();
        if log_in.directory_for.is_some() && log_in.directory.is_none() {
            wrong.say(
                Position::default(),
                "`directory-for` says who is looked up, and there is no `directory`",
                "name one under `log-in`, or leave it out",
            );
        }
        let mfa = log_in.mfa.as_ref().map(|one| {
            let known: Vec<&str> = access.roles.iter().map(|role| role.name.as_str()).collect();
            for role in &one.roles {
                if !known.contains(&role.value.as_str()) {
                    let help = nearest(&role.value, known.iter().copied()).map_or_else(
                        || "roles stand under `access`".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    );
                    wrong.say(role.position, &format!("there is no role `{}`", role.value), &help);
                }
            }
            if one.acr.is_empty() && one.amr.is_empty() {
                let position = one.roles.first().map_or_else(Position::default, |role| role.position);
                wrong.say(position, "`mfa` says not what a token must show", "list values of `acr` or `amr`");
            }
            Mfa {
                roles: one.roles.iter().map(|role| role.value.clone()).collect(),
                acr: one.acr.iter().cloned().collect(),
                amr: one.amr.iter().cloned().collect(),
            }
        });
        let limits = wrong.limits(&section.limits);
        let spark = section.spark.as_ref().map(|spark| wrong.spark(spark));
        if !wrong.0.is_empty() {
            return Err(Issues(wrong.0));
        }
        Ok(Self {
            http,
            postgres,
            flight,
            metrics,
            tls,
            oidc,
            kerberos,
            directory: log_in.directory.clone(),
            directory_for,
            certificates,
            local_users: log_in.local_users.as_ref().map(|users| path(&users.file.value)),
            denied: log_in.denied.as_ref().map(|file| path(&file.value)),
            mfa,
            limits,
            spark,
        })
    }
}

fn host_of(rest: &str) -> &str {
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

struct Wrong(Vec<Issue>);

impl Wrong {
    fn say(&mut self, position: Position, message: &str, help: &str) {
        self.0.push(Issue {
            file: PathBuf::from("cordon.yaml"),
            position,
            message: message.to_owned(),
            help: Some(help.to_owned()),
        });
    }

    fn address(&mut self, at: Option<&At<String>>) -> Option<SocketAddr> {
        let at = at?;
        let address = at.value.parse().ok();
        if address.is_none() {
            self.say(at.position, "this is not an address and a port", "write `127.0.0.1:8443` or `[::1]:8443`");
        }
        address
    }

    fn duration(&mut self, at: &At<String>, least: Duration, most: Duration) -> Duration {
        if let Some(found) = parse_duration(&at.value).filter(|found| (least..=most).contains(found)) {
            return found;
        }
        let help = format!("write a number and `s`, `m` or `h`, from {} s to {} s", least.as_secs(), most.as_secs());
        self.say(at.position, "this is no time that can be kept to", &help);
        most
    }

    fn count(&mut self, at: &At<u32>) -> usize {
        if !(1..=100_000).contains(&at.value) {
            self.say(at.position, "this limit is none", "write a number from 1 to 100000");
        }
        at.value as usize
    }

    fn spark(&mut self, section: &SparkSection) -> Spark {
        let from = parse_bytes(&section.from.value);
        if from.is_none() {
            self.say(section.from.position, "this is no size of tables", "write a number and `MiB`, `GiB` or `TiB`");
        }
        Spark {
            remote: section.remote.value.clone(),
            from: from.unwrap_or_default() as u64,
            executor_project: section.executor_project.clone(),
            installed: section.installed,
        }
    }

    fn limits(&mut self, section: &LimitsSection) -> Limits {
        const SECOND: Duration = Duration::from_secs(1);
        const DAY: Duration = Duration::from_hours(24);
        let request = match parse_bytes(&section.request.value) {
            Some(bytes) if (1024..=64 << 20).contains(&bytes) => bytes,
            _ => {
                self.say(section.request.position, "this is no size of a request", "write from `1KiB` to `64MiB`");
                0
            }
        };
        let connections = self.count(&section.connections);
        let connections_of_one = section.connections_of_one.as_ref().map(|at| self.count(at));
        Limits {
            connections,
            connections_of_one: connections_of_one.unwrap_or(connections.div_ceil(2)),
            session_lifetime: self.duration(&section.session_lifetime, SECOND, DAY),
            idle_timeout: self.duration(&section.idle_timeout, SECOND, DAY),
            query_timeout: self.duration(&section.query_timeout, SECOND, DAY),
            stall_timeout: self.duration(&section.stall_timeout, SECOND, DAY),
            queries: self.count(&section.queries),
            queries_per_principal: self.count(&section.queries_per_principal),
            rows: section.rows,
            request,
            drain: self.duration(&section.drain, Duration::ZERO, DAY),
        }
    }
}

/// `90s`, `30m`, `8h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(text: &str) -> Result<Settings, String> {
        let section: ServerSection = cordon_deid::yaml::parse(text, Path::new("cordon.yaml")).unwrap();
        Settings::check(Some(&section), &AccessFile::default(), Path::new("/p")).map_err(|issues| issues.to_string())
    }

    const USERS: &str = "log-in: { local-users: { file: users.yaml } }\n";

    #[test]
    fn it_listens_to_this_machine_alone_where_nothing_else_is_said() {
        let settings = check(USERS).unwrap();
        assert_eq!(settings.http, Some(LISTEN.parse().unwrap()));
        assert!(settings.postgres.is_none() && settings.flight.is_none() && settings.metrics.is_none());
        assert_eq!(settings.local_users, Some(PathBuf::from("/p/users.yaml")));
    }

    #[test]
    fn what_would_be_open_is_refused() {
        for (text, says) in [
            ("http: 127.0.0.1:1\n".to_owned(), "no way to log in"),
            (format!("http: 0.0.0.0:8443\n{USERS}"), "without TLS"),
            (format!("postgres: 192.0.2.1:5432\n{USERS}"), "without TLS"),
            (format!("flight: 0.0.0.0:32010\n{USERS}"), "without TLS"),
            (format!("metrics: 0.0.0.0:9464\n{USERS}"), "for this machine only"),
            (format!("http: nowhere\n{USERS}"), "not an address"),
            (format!("limits: {{ queries: 0 }}\n{USERS}"), "this limit is none"),
            (format!("limits: {{ idle-timeout: soon }}\n{USERS}"), "no time"),
            ("log-in: { oidc: [{ issuer: 'http://idp.example', audience: a }] }\n".to_owned(), "not the address"),
            (
                "log-in: { oidc: [{ issuer: 'http://127.0.0.1.evil.example', audience: a }] }\n".to_owned(),
                "not the address",
            ),
            ("log-in: { oidc: [{ issuer: 'https://i.example', audience: '' }] }\n".to_owned(), "audience is empty"),
            ("log-in: { certificates: { ca-file: ca.pem } }\n".to_owned(), "take TLS"),
            ("log-in: { local-users: { file: u }, directory-for: [passwords] }\n".to_owned(), "no `directory`"),
            ("log-in: { local-users: { file: u }, mfa: { roles: [nobody], amr: [mfa] } }\n".to_owned(), "no role"),
            (
                "log-in: { kerberos: { keytab: k, realms: [R], postgres-service: postgres } }\n".to_owned(),
                "are not served",
            ),
        ] {
            let error = check(&text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(Settings::check(None, &AccessFile::default(), Path::new("/p")).is_err());
    }
}
