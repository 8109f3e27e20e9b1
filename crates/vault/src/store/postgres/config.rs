//! A PostgreSQL vault as `cordon.yaml` names it. Never a credential: only where one is found.

use std::{
    env, fs,
    io::Read as _,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

/// A token vault in PostgreSQL 13 or later. Paths are relative to the project folder.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PostgresConfig {
    /// A host's name or address, or the folder of a Unix socket.
    pub host: String,
    #[serde(default = "default_port")]
    pub port: u16,
    pub database: String,
    /// The role that runs work under: it can add rows and read them, and nothing else.
    pub user: String,
    #[serde(default = "default_schema")]
    pub schema: String,
    /// The certificates to trust, PEM; without it, those that the system trusts.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// The role's own certificate, PEM, where the server asks for one; with its key.
    #[serde(default)]
    pub client_certificate: Option<String>,
    /// A file that only its owner can read.
    #[serde(default)]
    pub client_key: Option<String>,
    /// An environment variable that holds the password. Without this and `pgpass`, none is sent.
    #[serde(default)]
    pub password_env: Option<String>,
    /// A file in the form of `~/.pgpass` (`host:port:database:user:password`) that only its owner can read.
    #[serde(default)]
    pub pgpass: Option<String>,
    /// No TLS, for a server on this machine only: a Unix socket or a loopback address. Anything else is refused.
    #[serde(default)]
    pub plain_on_this_machine: bool,
    /// Connections at most.
    #[serde(default = "default_connections")]
    pub connections: u16,
    /// So long a connection may take to be made.
    #[serde(default = "default_connect")]
    pub connect_seconds: u16,
    /// So long a lost connection is made again, and work that was undone is done again, before that is an error.
    #[serde(default = "default_retry")]
    pub retry_seconds: u16,
}

fn default_port() -> u16 {
    5432
}

fn default_schema() -> String {
    "cordon".to_owned()
}

fn default_connections() -> u16 {
    4
}

fn default_connect() -> u16 {
    10
}

fn default_retry() -> u16 {
    30
}

impl PostgresConfig {
    /// How the vault is called in messages.
    pub fn place(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("PostgreSQL {host}:{}/{}, schema {}", self.port, self.database, self.schema)
    }

    /// What is wrong with it, for whoever wrote it.
    pub fn check(&self) -> Result<(), String> {
        if !is_name(&self.schema) || self.schema.starts_with("pg_") {
            return Err("`schema` must be a name of a-z, 0-9 and _".to_owned());
        }
        if self.host.is_empty() || self.database.is_empty() || self.user.is_empty() {
            return Err("`host`, `database` and `user` must not be empty".to_owned());
        }
        if self.connections == 0 {
            return Err("`connections` must be at least 1".to_owned());
        }
        if self.client_certificate.is_some() != self.client_key.is_some() {
            return Err("`client-certificate` and `client-key` go together".to_owned());
        }
        if self.password_env.is_some() && self.pgpass.is_some() {
            return Err("`password-env` and `pgpass` are two ways to one password; name one".to_owned());
        }
        if self.is_socket() && !self.plain_on_this_machine {
            return Err("a Unix socket has no TLS; say `plain-on-this-machine: true` if that is meant".to_owned());
        }
        if self.plain_on_this_machine && !self.is_socket() && self.loopback().is_none() {
            return Err("`plain-on-this-machine` is for a Unix socket or a loopback address only; use TLS".to_owned());
        }
        Ok(())
    }

    pub(super) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// The address, where it is one of this machine whoever resolves it.
    pub(super) fn loopback(&self) -> Option<IpAddr> {
        match self.host.as_str() {
            "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
            host => host.parse().ok().filter(IpAddr::is_loopback),
        }
    }

    /// The password of `user`, from where the configuration says.
    pub(super) fn password(&self, user: &str, base: &Path) -> Result<Option<Zeroizing<String>>, String> {
        if let Some(name) = &self.password_env {
            return match env::var(name) {
                Ok(password) if !password.is_empty() => Ok(Some(Zeroizing::new(password))),
                _ => Err(format!("the environment variable `{name}` holds no password")),
            };
        }
        let Some(path) = &self.pgpass else { return Ok(None) };
        let path = base.join(path);
        let text = read_private(&path)?;
        let port = self.port.to_string();
        let wanted = [self.host.as_str(), port.as_str(), self.database.as_str(), user];
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let fields = pgpass_fields(line);
            let (Some(password), 5) = (fields.get(4), fields.len()) else { continue };
            if fields.iter().zip(wanted).all(|(field, wanted)| field.as_str() == "*" || field.as_str() == wanted) {
                return Ok(Some(password.clone()));
            }
        }
        Err(format!("{} has no line for this host, port, database and user", path.display()))
    }
}

/// A name that needs no quotes and means the same with them.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && name.len() <= 63
}

/// `\:` and `\\` stand for `:` and `\`.
fn pgpass_fields(line: &str) -> Vec<Zeroizing<String>> {
    let mut fields = vec![Zeroizing::<String>::default()];
    let mut chars = line.chars();
    while let Some(next) = chars.next() {
        let next = match next {
            ':' if fields.len() < 5 => {
                fields.push(Zeroizing::default());
                continue;
            }
            '\\' => chars.next().unwrap_or('\\'),
            next => next,
        };
        if let Some(field) = fields.last_mut() {
            field.push(next);
        }
    }
    fields
}

/// A file with a secret, which only its owner may read.
pub(super) fn read_private(path: &PathBuf) -> Result<Zeroizing<String>, String> {
    const MOST: u64 = 64 << 10;
    let wrong = |error: std::io::Error| format!("cannot read {}: {}", path.display(), error.kind());
    let file = fs::File::open(path).map_err(wrong)?;
    // Asked of the open file and not of its name, which could change in between.
    let mode = file.metadata().map_err(wrong)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("{} can be read by others than its owner (mode {mode:o}); chmod 600", path.display()));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MOST).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(text: &str) -> PostgresConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn plain_is_for_this_machine_only_and_schemas_are_names() {
        let check = |host: &str, plain: bool, schema: &str| {
            let text = format!(
                r#"{{"host":"{host}","database":"d","user":"u","plain-on-this-machine":{plain},"schema":"{schema}"}}"#
            );
            config(&text).check().is_ok()
        };
        for host in ["127.0.0.1", "::1", "localhost", "/run/postgresql"] {
            assert!(check(host, true, "cordon"), "{host}");
        }
        for host in ["db.example", "10.0.0.1", "0.0.0.0", "127.0.0.1.example", "localhost.example"] {
            assert!(!check(host, true, "cordon") && check(host, false, "cordon"), "{host}");
        }
        assert!(!check("/run/postgresql", false, "cordon"));
        for schema in ["", "pg_toast", "a\\\"b", "A", "a-b", "1a"] {
            assert!(!check("db.example", false, schema), "{schema}");
        }
    }

    #[test]
    fn a_line_of_pgpass() {
        let fields = pgpass_fields(r"a\:b:5432:*:u:p\\:w\:");
        let fields: Vec<&str> = fields.iter().map(|field| field.as_str()).collect();
        assert_eq!(fields, ["a:b", "5432", "*", "u", r"p\:w:"]);
    }

    #[test]
    fn no_field_for_a_password() {
        let text = r#"{"host":"h","database":"d","user":"u","password":"x"}"#;
        assert!(serde_json::from_str::<PostgresConfig>(text).is_err());
    }
}
