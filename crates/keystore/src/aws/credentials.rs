//! Where AWS's own tools look for credentials, in their order: environment, profile, container, machine.
//!
//! Not here: profiles that assume a role, sign in by a browser or run a program, and web identities. Each is said when it is met.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::error::Trouble;
use crate::http::{Answer, Ask, Http, Secret, json, read_private};
use crate::secret::{self, Text, variable};
use crate::sigv4::Credentials;

/// A named profile is taken and nothing else; without one, the first place that has any.
pub(super) fn find(profile: Option<&str>) -> Result<Credentials, Trouble> {
    if profile.is_none()
        && let Some(credentials) = of_environment()?
    {
        return Ok(credentials);
    }
    let chosen = profile.map(str::to_owned).or_else(|| variable("AWS_PROFILE").map(|name| name.to_string()));
    if let Some(credentials) = of_profile(chosen.as_deref().unwrap_or("default"))? {
        return Ok(credentials);
    }
    if let Some(name) = chosen {
        return Err(Trouble::NoCredentials { what: format!("there is no profile `{name}` with an access key") });
    }
    if variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
        return Err(unsupported("a web identity"));
    }
    match of_container()? {
        Some(credentials) => Ok(credentials),
        None => of_machine(),
    }
}

fn unsupported(what: &str) -> Trouble {
    Trouble::NoCredentials {
        what: format!(
            "the credentials are {what}, which is not supported: `aws configure export-credentials` makes them usable"
        ),
    }
}

fn of_environment() -> Result<Option<Credentials>, Trouble> {
    let Some(access) = variable("AWS_ACCESS_KEY_ID") else { return Ok(None) };
    let secret = secret::from_variable("AWS_SECRET_ACCESS_KEY")?;
    Ok(Some(Credentials { access: access.to_string(), secret, session: variable("AWS_SESSION_TOKEN") }))
}

/// The credentials file first: it has the keys; the configuration file may have some too.
fn of_profile(name: &str) -> Result<Option<Credentials>, Trouble> {
    let place = |variable_name: &str, default: &str| {
        variable(variable_name)
            .map(|path| PathBuf::from(path.as_str()))
            .or_else(|| secret::home().map(|home| home.join(".aws").join(default)))
            .filter(|path| path.exists())
    };
    let mut keys = Profile::default();
    if let Some(path) = place("AWS_CONFIG_FILE", "config") {
        let text = fs::read(&path).map_err(|error| Trouble::NoCredentials {
            what: format!("cannot read {}: {}", path.display(), error.kind()),
        })?;
        let section = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        keys.read(&Zeroizing::new(text), &section);
    }
    if let Some(path) = place("AWS_SHARED_CREDENTIALS_FILE", "credentials") {
        let text = Zeroizing::new(read_private(&path).map_err(|what| Trouble::NoCredentials { what })?);
        keys.read(&text, name);
    }
    match (keys.access, keys.secret) {
        (Some(access), Some(secret)) => {
            Ok(Some(Credentials { access: access.to_string(), secret, session: keys.session }))
        }
        _ => match keys.other {
            Some(what) => Err(unsupported(what)),
            None => Ok(None),
        },
    }
}

#[derive(Default)]
struct Profile {
    access: Option<Text>,
    secret: Option<Text>,
    session: Option<Text>,
    /// How else the profile would get credentials.
    other: Option<&'static str>,
}

impl Profile {
    fn read(&mut self, text: &[u8], section: &str) {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let mut inside = false;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                inside = name.split_whitespace().eq(section.split_whitespace());
            } else if inside && let Some((name, value)) = line.split_once('=') {
                let value = Some(Zeroizing::new(value.trim().to_owned()));
                match name.trim() {
                    "aws_access_key_id" => self.access = value,
                    "aws_secret_access_key" => self.secret = value,
                    "aws_session_token" => self.session = value,
                    "role_arn" => self.other = Some("those of a role to assume"),
                    "sso_session" | "sso_start_url" => self.other = Some("those of a sign-in by a browser"),
                    "credential_process" => self.other = Some("those that a program gives"),
                    "web_identity_token_file" => self.other = Some("those of a web identity"),
                    _ => {}
                }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: Secret,
    token: Option<Secret>,
}

impl Given {
    fn read(answer: &Answer) -> Result<Credentials, Trouble> {
        if answer.status != 200 {
            return Err(Trouble::CredentialsRefused { what: "the machine's own service gives none" });
        }
        let given: Self = json(answer)?;
        Ok(Credentials {
            access: given.access_key_id,
            secret: given.secret_access_key.0,
            session: given.token.map(|token| token.0),
        })
    }
}

/// ECS, and EKS with pod identities.
fn of_container() -> Result<Option<Credentials>, Trouble> {
    let (base, path) =
        match (variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
            (Some(path), _) => ("http://169.254.170.2".to_owned(), path.to_string()),
            (None, Some(url)) => {
                // All behind the host is the path.
                let start = url.find("://").map_or(0, |at| at + 3);
                let end = url.get(start..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| start + at);
                (url.get(..end).unwrap_or_default().to_owned(), url.get(end..).unwrap_or_default().to_owned())
            }
            (None, None) => return Ok(None),
        };
    let http = Http::metadata(&base)?;
    let token = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => Some(of_service(&path)?),
        None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    let headers: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
    let url = format!("{base}{path}");
    Given::read(&http.ask(&Ask { method: Method::GET, url: &url, headers: &headers, body: b"" }, |_| false)?).map(Some)
}

/// A token that the platform puts there, readable by the container's users.
fn of_service(path: &str) -> Result<Text, Trouble> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text =
        text.map_err(|error| Trouble::NoCredentials { what: format!("cannot read {path}: {}", error.kind()) })?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// A machine of EC2 with a role: version 2 of its metadata service.
fn of_machine() -> Result<Credentials, Trouble> {
    let nowhere = || Trouble::NoCredentials {
        what: "there are no AWS credentials in the environment, in ~/.aws, of a container or of this machine"
            .to_owned(),
    };
    if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Err(nowhere());
    }
    let base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        .map_or_else(|| "http://169.254.169.254".to_owned(), |url| url.trim_end_matches('/').to_owned());
    let http = Http::metadata(&base)?;
    let ask = |method: Method, path: &str, headers: &[(&str, &str)]| {
        http.ask(&Ask { method, url: &format!("{base}/latest/{path}"), headers, body: b"" }, |_| false)
    };
    // Most machines have no such service: then there are no credentials, rather than a store that is down.
    let token =
        ask(Method::PUT, "api/token", &[("x-aws-ec2-metadata-token-ttl-seconds", "300")]).map_err(|_| nowhere())?;
    let text = |answer: &Answer| match (answer.status, std::str::from_utf8(&answer.body)) {
        (200, Ok(text)) => Ok(Zeroizing::new(text.trim().to_owned())),
        _ => Err(nowhere()),
    };
    let token = text(&token)?;
    let headers = [("x-aws-ec2-metadata-token", token.as_str())];
    let role = text(&ask(Method::GET, "meta-data/iam/security-credentials/", &headers)?)?;
    let role = role.lines().next().unwrap_or_default();
    Given::read(&ask(Method::GET, &format!("meta-data/iam/security-credentials/{role}"), &headers)?)
}
