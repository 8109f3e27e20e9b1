//! Where a server is and how it may be spoken to, from Spark's connection string.

use std::fmt;
use std::path::{Path, PathBuf};

use cordon_keystore::is_loopback;
use http::HeaderValue;
use http::uri::Authority;
use zeroize::Zeroizing;

use crate::error::{SparkError, line};

/// Where Spark looks for the token too.
const TOKEN: &str = "SPARK_CONNECT_AUTHENTICATE_TOKEN";
const PORT: u16 = 15002;
const PARAMETERS: &str = "use_ssl, ca_file, user_id";

/// A server that was checked: this machine, or behind TLS.
#[derive(Clone)]
pub struct Endpoint {
    /// An address of IPv6 without its brackets.
    host: String,
    port: u16,
    tls: bool,
    ca_file: Option<PathBuf>,
    user: Option<String>,
    token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.shown())
    }
}

impl Endpoint {
    /// `sc://host:port/;use_ssl=true;ca_file=/path;user_id=x`, with port 15002 where none is given. Values may be
    /// percent-encoded, as for pyspark.
    ///
    /// The token is the `variable` SPARK_CONNECT_AUTHENTICATE_TOKEN, never a part of the text: that would be in files and in
    /// lists of processes. It goes to this machine or over TLS, as everything does.
    pub fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, SparkError> {
        let like = "write `sc://host:port/;use_ssl=true`";
        let rest = text.strip_prefix("sc://").ok_or_else(|| wrong("the address of Spark begins with `sc://`", like))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(wrong("the address of Spark holds a user name or a password", in_variable()));
        }
        if authority.contains(';') {
            return Err(wrong("the parameters in the address of Spark stand behind a slash", like));
        }
        let (host, port) =
            host_and_port(authority).ok_or_else(|| wrong("the address of Spark names no host and port", like))?;
        if !path.is_empty() && !path.starts_with(';') {
            return Err(wrong("the address of Spark has a path, and there are none", like));
        }
        let mut endpoint = Self { host, port, tls: false, ca_file: None, user: None, token: None };
        for pair in path.split(';').filter(|pair| !pair.is_empty()) {
            endpoint.set(pair)?;
        }
        if !endpoint.tls {
            if endpoint.ca_file.is_some() {
                return Err(wrong("`ca_file` in the address of Spark is for TLS", "add `;use_ssl=true`"));
            }
            if !is_loopback(&endpoint.host) {
                return Err(wrong(
                    format!("{} is not this machine, and would be spoken to in clear", endpoint.shown()),
                    "put TLS before the Spark Connect server, which has none of its own, and add `/;use_ssl=true`",
                ));
            }
        }
        endpoint.token = variable(TOKEN).filter(|token| !token.is_empty()).map(Zeroizing::new);
        endpoint.authorization()?;
        Ok(endpoint)
    }

    fn set(&mut self, pair: &str) -> Result<(), SparkError> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name.eq_ignore_ascii_case("token") {
            return Err(wrong("the address of Spark holds a token", in_variable()));
        }
        let value = unescaped(value).filter(|value| !value.is_empty());
        let Some(value) = value else {
            let name = line(name, 40);
            return Err(wrong(format!("`{name}` in the address of Spark has no value"), format!("write `{name}=…`")));
        };
        match name {
            "use_ssl" => match value.as_str() {
                "true" => self.tls = true,
                "false" => self.tls = false,
                _ => {
                    return Err(wrong(
                        "`use_ssl` in the address of Spark is `true` or `false`",
                        "write `use_ssl=true`",
                    ));
                }
            },
            "ca_file" => self.ca_file = Some(value.into()),
            "user_id" => self.user = Some(value),
            _ => {
                let name = line(name, 40);
                return Err(wrong(
                    format!("`{name}` in the address of Spark is not known"),
                    format!("known are {PARAMETERS}"),
                ));
            }
        }
        Ok(())
    }

    /// For people: without parameters.
    pub fn shown(&self) -> String {
        format!("sc://{}", self.at())
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn tls(&self) -> bool {
        self.tls
    }

    pub(crate) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(crate) fn at(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, SparkError> {
        let Some(token) = &self.token else { return Ok(None) };
        let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
        let mut value = HeaderValue::from_str(&bearer).map_err(|_| {
            wrong(format!("{TOKEN} holds what no header of HTTP can"), "see that it has no line breaks")
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// What a server said, which could be what it was told.
    pub(crate) fn without_token(&self, text: String) -> String {
        match &self.token {
            Some(token) if text.contains(token.as_str()) => text.replace(token.as_str(), "…"),
            _ => text,
        }
    }
}

fn wrong(message: impl Into<String>, help: impl Into<String>) -> SparkError {
    SparkError::Endpoint { message: message.into(), help: help.into() }
}

fn in_variable() -> String {
    format!("set the environment variable {TOKEN} instead, and take it out of the address")
}

fn host_and_port(authority: &str) -> Option<(String, u16)> {
    let parsed: Authority = authority.parse().ok()?;
    let host = parsed.host();
    let port = match authority.strip_prefix(host)? {
        "" => PORT,
        rest => rest.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!bare.is_empty()).then(|| (bare.to_owned(), port))
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            out.push((digit(bytes.next())? * 16 + digit(bytes.next())?) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}
