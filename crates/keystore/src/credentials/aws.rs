//! Where AWS's own tools look for credentials, in their order: environment, profile, web identity, container, machine.
//!
//! Not here: profiles that run a program, and roles that want a one-time code. Each is said when it is met.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use ureq::http::Method;

use super::profiles::{Profile, Profiles};
use super::sts::{Role, SignIn, Sts, left, signed_in};
use super::{Found, Kept, Surroundings, of_service};
use crate::error::Trouble;
use crate::http::{Answer, Ask, Http, Secret, json};
use crate::secret::Text;
use crate::sigv4::Credentials;

/// Somebody known to AWS.
pub struct AwsIdentity {
    around: Surroundings,
    /// Named in a project: it is taken and nothing else.
    profile: Option<String>,
    region: Option<String>,
    kept: Kept<Credentials>,
}

/// The first place that has any.
enum Source {
    Environment,
    Profile(String, Profiles),
    WebIdentity(PathBuf),
    Container,
    Machine,
}

impl AwsIdentity {
    /// Nothing is asked yet. `region`: whose STS is asked where a role is to be assumed; else that of profile or environment.
    pub fn new(around: Surroundings, profile: Option<&str>, region: Option<&str>) -> Self {
        let (profile, region) = (profile.map(str::to_owned), region.map(str::to_owned));
        Self { around, profile, region, kept: Kept::default() }
    }

    pub fn credentials(&self) -> Result<Arc<Credentials>, Trouble> {
        self.kept.get(|| self.find())
    }

    /// Of credentials that were refused as expired: the next are new ones.
    pub fn forget(&self) {
        self.kept.forget();
    }

    /// Whether nothing but the machine's own identity is left to be asked. A profile that is named and not there is an error.
    pub fn of_machine_only(&self) -> Result<bool, Trouble> {
        let is_told = self.around.has("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        Ok(matches!(self.source()?, Source::Machine) && !is_told)
    }

    /// What environment and profile say besides, such as a region: the profile first where a project names it. A profile that is no
    /// source of credentials beside those of the environment says nothing.
    pub fn setting(&self, variables: &[&str], key: &str) -> Result<Option<String>, Trouble> {
        let of_environment = variables.iter().find_map(|name| self.around.variable(name));
        if self.profile.is_none() && (of_environment.is_some() || self.around.has("AWS_ACCESS_KEY_ID")) {
            return Ok(of_environment.map(|text| text.to_string()));
        }
        let profiles = Profiles::read(&self.around)?;
        let chosen = self.chosen().unwrap_or_else(|| "default".to_owned());
        let of_profile = profiles.get(&chosen).and_then(|profile| profile.get(key)).cloned();
        Ok(of_profile.or(of_environment).map(|text| text.to_string()))
    }

    fn chosen(&self) -> Option<String> {
        self.profile.clone().or_else(|| self.around.variable("AWS_PROFILE").map(|name| name.to_string()))
    }

    fn source(&self) -> Result<Source, Trouble> {
        if self.profile.is_none() && self.around.has("AWS_ACCESS_KEY_ID") {
            return Ok(Source::Environment);
        }
        let profiles = Profiles::read(&self.around)?;
        let chosen = self.chosen();
        let name = chosen.as_deref().unwrap_or("default");
        if profiles.gives_credentials(name) {
            return Ok(Source::Profile(name.to_owned(), profiles));
        }
        if chosen.is_some() {
            return Err(none(format!("there is no profile `{name}` with credentials")));
        }
        if let Some(file) = self.around.path("AWS_WEB_IDENTITY_TOKEN_FILE") {
            return Ok(Source::WebIdentity(file));
        }
        let container = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
        let in_container = container.into_iter().any(|name| self.around.has(name));
        Ok(if in_container { Source::Container } else { Source::Machine })
    }

    fn find(&self) -> Result<Found<Credentials>, Trouble> {
        match self.source()? {
            Source::Environment => self.of_environment(),
            Source::Profile(name, profiles) => self.of_profile(&profiles, &name, &mut Vec::new()),
            Source::WebIdentity(file) => {
                let arn = self.around.needed("AWS_ROLE_ARN")?;
                let session = self.around.variable("AWS_ROLE_SESSION_NAME");
                let session = session.as_ref().map(|name| name.as_str());
                let role = Role { arn: &arn, session, external_id: None, seconds: None };
                self.sts(None)?.assume_by_token(&role, &file)
            }
            Source::Container => of_container(&self.around),
            Source::Machine => of_machine(&self.around),
        }
    }

    fn of_environment(&self) -> Result<Found<Credentials>, Trouble> {
        let access = self.around.needed("AWS_ACCESS_KEY_ID")?.to_string();
        let secret = self.around.needed("AWS_SECRET_ACCESS_KEY")?;
        let session = self.around.variable("AWS_SESSION_TOKEN");
        Ok(Found::lasting(Credentials { access, secret, session }))
    }

    fn sts(&self, profile: Option<&Profile>) -> Result<Sts, Trouble> {
        let of_profile = profile.and_then(|profile| profile.get("region")).map(|region| region.to_string());
        let of_environment =
            || ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| self.around.variable(name));
        let region = self.region.clone().or(of_profile).or_else(|| of_environment().map(|region| region.to_string()));
        Sts::new(&self.around, region.as_deref())
    }

    /// A profile's own keys, or those of a role by the right of another profile, and so on: `seen` are those on the way.
    fn of_profile(
        &self,
        profiles: &Profiles,
        name: &str,
        seen: &mut Vec<String>,
    ) -> Result<Found<Credentials>, Trouble> {
        let profile =
            profiles.get(name).ok_or_else(|| none(format!("there is no profile `{name}` with credentials")))?;
        if seen.iter().any(|known| known == name) {
            return Err(none(format!("the profile `{name}` is its own `source_profile`, by others")));
        }
        seen.push(name.to_owned());
        let text = |key: &str| profile.get(key).map(|text| text.as_str());
        if let Some(arn) = text("role_arn") {
            if profile.has("mfa_serial") {
                return Err(unsupported("those of a role that wants a one-time code"));
            }
            let (session, external_id) = (text("role_session_name"), text("external_id"));
            let role = Role { arn, session, external_id, seconds: text("duration_seconds") };
            let sts = self.sts(Some(profile))?;
            if let Some(file) = text("web_identity_token_file") {
                return sts.assume_by_token(&role, &PathBuf::from(file));
            }
            let by = match (text("source_profile"), text("credential_source")) {
                (Some(source), None) if source == name => keys_of(profile).ok_or_else(|| {
                    none(format!("the profile `{name}` is its own `source_profile` and has no access key"))
                })?,
                (Some(source), None) => self.of_profile(profiles, source, seen)?,
                (None, Some("Environment")) => self.of_environment()?,
                (None, Some("EcsContainer")) => of_container(&self.around)?,
                (None, Some("Ec2InstanceMetadata")) => of_machine(&self.around)?,
                _ => {
                    let needs =
                        "has a role to assume, for which it needs either `source_profile` or `credential_source`";
                    return Err(none(format!("the profile `{name}` {needs}")));
                }
            };
            return sts.assume(&role, &by.what);
        }
        if let Some(keys) = keys_of(profile) {
            return Ok(keys);
        }
        if let Some(start) = text("sso_session").or_else(|| text("sso_start_url")) {
            let session = profiles.get(&format!("sso-session {start}"));
            let region = session.and_then(|session| session.get("sso_region")).map(|text| text.as_str());
            let needed = |key: &str, value: Option<&'_ str>| {
                value.map(str::to_owned).ok_or_else(|| none(format!("the profile `{name}` has no `{key}`")))
            };
            let region = needed("sso_region", region.or_else(|| text("sso_region")))?;
            let account = needed("sso_account_id", text("sso_account_id"))?;
            let role = needed("sso_role_name", text("sso_role_name"))?;
            let who = SignIn { session: start, region: &region, account: &account, role: &role };
            return signed_in(&self.around, &who);
        }
        if profile.has("credential_process") {
            return Err(unsupported("those that a program gives"));
        }
        Err(none(format!("the profile `{name}` has no access key")))
    }
}

fn keys_of(profile: &Profile) -> Option<Found<Credentials>> {
    let access = profile.get("aws_access_key_id")?.to_string();
    let secret = profile.get("aws_secret_access_key")?.clone();
    Some(Found::lasting(Credentials { access, secret, session: profile.get("aws_session_token").cloned() }))
}

fn none(what: String) -> Trouble {
    Trouble::NoCredentials { what }
}

fn unsupported(what: &str) -> Trouble {
    none(format!(
        "the credentials are {what}, which is not supported: `aws configure export-credentials` makes them usable"
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: Secret,
    token: Option<Secret>,
    expiration: Option<String>,
}

impl Given {
    fn read(answer: &Answer) -> Result<Found<Credentials>, Trouble> {
        if answer.status != 200 {
            return Err(Trouble::CredentialsRefused { what: "the machine's own service gives none" });
        }
        let given: Self = json(answer)?;
        let ends = given.expiration.and_then(|text| chrono::DateTime::parse_from_rfc3339(&text).ok());
        let what = Credentials {
            access: given.access_key_id,
            secret: given.secret_access_key.0,
            session: given.token.map(|token| token.0),
        };
        Ok(Found { what, life: ends.map(|ends| left(ends.into())) })
    }
}

/// ECS, and EKS with pod identities.
fn of_container(around: &Surroundings) -> Result<Found<Credentials>, Trouble> {
    let relative = around.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let (base, path) = match (relative, around.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
        (Some(path), _) => ("http://169.254.170.2".to_owned(), path.to_string()),
        (None, Some(url)) => {
            // All behind the host is the path.
            let start = url.find("://").map_or(0, |at| at + 3);
            let end = url.get(start..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| start + at);
            (url.get(..end).unwrap_or_default().to_owned(), url.get(end..).unwrap_or_default().to_owned())
        }
        (None, None) => return Err(none("this is no container that has credentials".to_owned())),
    };
    let http = Http::metadata(&base)?;
    let token: Option<Text> = match around.path("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => Some(of_service(&path)?),
        None => around.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    let headers: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
    let url = format!("{base}{path}");
    Given::read(&http.ask(&Ask { method: Method::GET, url: &url, headers: &headers, body: b"" }, |_| false)?)
}

/// A machine of EC2 with a role: version 2 of its metadata service.
fn of_machine(around: &Surroundings) -> Result<Found<Credentials>, Trouble> {
    let nowhere = || {
        none("there are no AWS credentials in the environment, in ~/.aws, of a container or of this machine".to_owned())
    };
    if around.variable("AWS_EC2_METADATA_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Err(nowhere());
    }
    let base = around
        .variable("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        .map_or_else(|| "http://169.254.169.254".to_owned(), |url| url.trim_end_matches('/').to_owned());
    let http = Http::metadata(&base)?;
    let ask = |method: Method, path: &str, headers: &[(&str, &str)]| {
        http.ask(&Ask { method, url: &format!("{base}/latest/{path}"), headers, body: b"" }, |_| false)
    };
    // Most machines have no such service: then there are no credentials, rather than a store that is down.
    let token =
        ask(Method::PUT, "api/token", &[("x-aws-ec2-metadata-token-ttl-seconds", "300")]).map_err(|_| nowhere())?;
    let text = |answer: &Answer| match (answer.status, std::str::from_utf8(&answer.body)) {
        (200, Ok(text)) => Ok(zeroize::Zeroizing::new(text.trim().to_owned())),
        _ => Err(nowhere()),
    };
    let token = text(&token)?;
    let headers = [("x-aws-ec2-metadata-token", token.as_str())];
    let role = text(&ask(Method::GET, "meta-data/iam/security-credentials/", &headers)?)?;
    let role = role.lines().next().unwrap_or_default();
    Given::read(&ask(Method::GET, &format!("meta-data/iam/security-credentials/{role}"), &headers)?)
}
