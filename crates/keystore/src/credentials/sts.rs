//! Temporary credentials of AWS: roles that are assumed (<https://docs.aws.amazon.com/STS/latest/APIReference/>), and those of people who
//! signed in by a browser (<https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/>).

use std::path::Path;
use std::time::{Duration, SystemTime};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde::Deserialize;
use ureq::http::Method;
use zeroize::Zeroizing;

use super::{Found, Surroundings, of_service};
use crate::error::Trouble;
use crate::http::{Answer, Ask, Http, Secret, authority, escape, form, json};
use crate::secret::Text;
use crate::sigv4::{Credentials, Signed, amz_date, authorization};

/// A role, and what is said when it is assumed.
pub(super) struct Role<'a> {
    pub arn: &'a str,
    /// Shown in CloudTrail.
    pub session: Option<&'a str>,
    pub external_id: Option<&'a str>,
    pub seconds: Option<&'a str>,
}

pub(super) struct Sts {
    http: Http,
    base: String,
    host: String,
    region: String,
}

impl Sts {
    pub(super) fn new(around: &Surroundings, region: Option<&str>) -> Result<Self, Trouble> {
        let given = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"].into_iter().find_map(|name| around.variable(name));
        let domain =
            if region.is_some_and(|region| region.starts_with("cn-")) { "amazonaws.com.cn" } else { "amazonaws.com" };
        let base = match (&given, region) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(region)) => format!("https://sts.{region}.{domain}"),
            (None, None) => "https://sts.amazonaws.com".to_owned(),
        };
        let (http, host) = (around.http(&base)?, authority(&base)?);
        // Whom no region is named signs for this one.
        Ok(Self { http, base, host, region: region.unwrap_or("us-east-1").to_owned() })
    }

    /// By the right of other credentials.
    pub(super) fn assume(&self, role: &Role<'_>, by: &Credentials) -> Result<Found<Credentials>, Trouble> {
        let session = session(role);
        let mut fields = fields("AssumeRole", role, &session);
        fields.extend(role.external_id.map(|id| ("ExternalId", id)));
        let body = form(&fields);
        let (time, hosts) = (amz_date(), self.host.as_str());
        let mut headers =
            vec![("content-type", "application/x-www-form-urlencoded"), ("host", hosts), ("x-amz-date", &time)];
        headers.extend(by.session.as_ref().map(|session| ("x-amz-security-token", session.as_str())));
        let (region, service) = (self.region.as_str(), "sts");
        let body = body.as_bytes();
        let signed = Signed { method: "POST", path: "/", headers: &headers, body, time: &time, region, service };
        let signature = authorization(by, &signed);
        headers.push(("authorization", &signature));
        self.ask(&headers, body)
    }

    /// By a token of an identity provider, which a platform puts into a file: the request needs no other right.
    pub(super) fn assume_by_token(&self, role: &Role<'_>, file: &Path) -> Result<Found<Credentials>, Trouble> {
        let (session, token) = (session(role), of_service(file)?);
        let mut fields = fields("AssumeRoleWithWebIdentity", role, &session);
        fields.push(("WebIdentityToken", token.as_str()));
        self.ask(&[("content-type", "application/x-www-form-urlencoded")], form(&fields).as_bytes())
    }

    fn ask(&self, headers: &[(&str, &str)], body: &[u8]) -> Result<Found<Credentials>, Trouble> {
        let url = format!("{}/", self.base);
        let answer = self.http.ask_again(
            &Ask { method: Method::POST, url: &url, headers, body },
            |_| false,
            |answer| answer.status == 429 || (answer.status == 400 && code(answer).contains("Throttling")),
        )?;
        if answer.status != 200 {
            return Err(refused(&code(&answer), answer.status));
        }
        let given = || {
            let text = std::str::from_utf8(&answer.body).ok()?;
            let secret = |name: &str| element(text, name).map(|text| Zeroizing::new(text.to_owned()));
            let life = chrono::DateTime::parse_from_rfc3339(element(text, "Expiration")?).ok()?;
            let what = Credentials {
                access: element(text, "AccessKeyId")?.to_owned(),
                secret: secret("SecretAccessKey")?,
                session: Some(secret("SessionToken")?),
            };
            Some(Found { what, life: Some(left(life.into())) })
        };
        given().ok_or(Trouble::Answer { what: "STS gave no credentials" })
    }
}

fn session(role: &Role<'_>) -> String {
    role.session.map_or_else(|| format!("cordon-{}", std::process::id()), str::to_owned)
}

fn fields<'a>(action: &'a str, role: &Role<'a>, session: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields =
        vec![("Action", action), ("Version", "2011-06-15"), ("RoleArn", role.arn), ("RoleSessionName", session)];
    fields.extend(role.seconds.map(|seconds| ("DurationSeconds", seconds)));
    fields
}

/// The text of an element that holds no others. Its values have no signs that XML escapes.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once('<')?.0.trim()).filter(|text| !text.is_empty())
}

fn code(answer: &Answer) -> String {
    let text = std::str::from_utf8(&answer.body).unwrap_or_default();
    let code = element(text, "Code").unwrap_or_default();
    code.chars().filter(char::is_ascii_alphabetic).take(64).collect()
}

fn refused(code: &str, status: u16) -> Trouble {
    match code {
        "AccessDenied" => Trouble::Forbidden { what: "take that role (sts:AssumeRole)" },
        "ExpiredToken" | "ExpiredTokenException" => Trouble::CredentialsRefused { what: "they are expired" },
        "InvalidIdentityToken" | "IDPRejectedClaim" | "IDPCommunicationError" => {
            Trouble::CredentialsRefused { what: "the web identity is not accepted" }
        }
        "SignatureDoesNotMatch" | "IncompleteSignature" => {
            Trouble::CredentialsRefused { what: "the signature is not right: the secret key, or this machine's clock" }
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" => {
            Trouble::CredentialsRefused { what: "the access key is not known" }
        }
        "RegionDisabledException" => Trouble::Configuration { what: "STS is not activated in that region".to_owned() },
        "" => Trouble::Refused { what: format!("STS, status {status}") },
        code => Trouble::Refused { what: format!("STS, {code}") },
    }
}

/// How long until then.
pub(super) fn left(until: SystemTime) -> Duration {
    until.duration_since(SystemTime::now()).unwrap_or_default()
}

/// Whose sign-in it was, and as whom.
pub(super) struct SignIn<'a> {
    /// What the name of the file in the cache is made of.
    pub session: &'a str,
    pub region: &'a str,
    pub account: &'a str,
    pub role: &'a str,
}

/// With the token that `aws sso login` left in the home folder.
pub(super) fn signed_in(around: &Surroundings, who: &SignIn<'_>) -> Result<Found<Credentials>, Trouble> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Cached {
        access_token: Secret,
        expires_at: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Given {
        role_credentials: RoleCredentials,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RoleCredentials {
        access_key_id: String,
        secret_access_key: Secret,
        session_token: Secret,
        /// Milliseconds since 1970.
        expiration: u64,
    }
    let again =
        || Trouble::NoCredentials { what: "the sign-in by a browser has ended: run `aws sso login`".to_owned() };
    let name = data_encoding::HEXLOWER.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, who.session.as_bytes()).as_ref());
    let file = around.home().map(|home| home.join(".aws/sso/cache").join(format!("{name}.json")));
    let Some(file) = file.filter(|file| file.exists()) else { return Err(again()) };
    let text = Zeroizing::new(crate::http::read_private(&file).map_err(|what| Trouble::NoCredentials { what })?);
    let cached: Cached = serde_json::from_slice(&text)
        .map_err(|_| Trouble::NoCredentials { what: format!("{} is no sign-in of AWS's tools", file.display()) })?;
    let ends = chrono::DateTime::parse_from_rfc3339(&cached.expires_at).map_err(|_| again())?;
    if left(ends.into()).is_zero() {
        return Err(again());
    }
    let base = around.variable("AWS_ENDPOINT_URL_SSO").map_or_else(
        || format!("https://portal.sso.{}.amazonaws.com", who.region),
        |url| url.trim_end_matches('/').to_owned(),
    );
    let url =
        format!("{base}/federation/credentials?account_id={}&role_name={}", escape(who.account), escape(who.role));
    let token: &Text = &cached.access_token.0;
    let headers = [("x-amz-sso_bearer_token", token.as_str()), ("accept", "application/json")];
    let answer =
        around.http(&base)?.ask(&Ask { method: Method::GET, url: &url, headers: &headers, body: b"" }, |_| false)?;
    match answer.status {
        200 => {}
        401 => return Err(again()),
        403 | 404 => return Err(Trouble::Forbidden { what: "take that role of that account (AWS access portal)" }),
        status => return Err(Trouble::Refused { what: format!("AWS access portal, status {status}") }),
    }
    let given = json::<Given>(&answer)?.role_credentials;
    let until = SystemTime::UNIX_EPOCH + Duration::from_millis(given.expiration);
    let what = Credentials {
        access: given.access_key_id,
        secret: given.secret_access_key.0,
        session: Some(given.session_token.0),
    };
    Ok(Found { what, life: Some(left(until)) })
}
