//! Requests that take two persons, as `cordon token` has them: the same desk decides and puts it on the record, and who logged in is who
//! asks or approves.

use std::sync::Arc;

use bytes::Bytes;
use cordon_access::Lifetime;
use cordon_audit::{Event, Label, RequestedAct};
use cordon_phi::{Phi, Token};
use cordon_pipeline::reveal::{NewRequest, Refusal, Shown, Told, parse_token, token_text};
use cordon_query::rights;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Body, GET, GET_AND_POST, POST, Parameters, Refused, asked_in_json, json};
use crate::service::{Service, Trouble};
use crate::session::Session;

pub const PATH: &str = "/v1/tokens";
pub const VERBS: [&str; 5] = ["approve", "reject", "revoke", "reveal", "translate"];

/// What is asked for.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// What the tokens stand for.
    #[default]
    Reveal,
    /// That what stands behind one token be destroyed, which `cordon vault shred` does then.
    Shred,
    /// Which tokens of `from` are which of `to`.
    Translate,
}

/// A request: it opens nothing before another person has approved it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenRequest {
    #[serde(default)]
    pub act: Act,
    /// The domain of the tokens, as policies name it. Of no crosswalk.
    #[serde(default)]
    pub domain: String,
    /// As tables show them.
    pub tokens: Vec<String>,
    /// The purpose of use, such as `treatment`.
    #[serde(default)]
    pub purpose: Option<String>,
    /// Why, in at least 8 characters: it goes on the record.
    pub reason: String,
    /// For how long an approval shall open it, such as `8h`.
    #[serde(default)]
    pub lifetime: Option<String>,
    /// How often each token may be revealed.
    #[serde(default)]
    pub times: Option<std::num::NonZeroU32>,
    /// Whose tokens these are, where they are to be translated.
    #[serde(default)]
    pub from: Option<String>,
    /// And whose are asked for.
    #[serde(default)]
    pub to: Option<String>,
}

/// What a second person says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Why, in at least 8 characters: it goes on the record.
    pub reason: String,
}

/// Which tokens of an approved request.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// All of the request where none is named.
    #[serde(default)]
    pub tokens: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// What tokens stand for: PHI.
#[derive(Serialize, JsonSchema)]
pub struct RevealedTokens<'a> {
    pub request: &'a str,
    pub tokens: Vec<RevealedToken<'a>>,
}

#[derive(Serialize, JsonSchema)]
pub struct RevealedToken<'a> {
    pub token: String,
    /// Every value that it stands for; none where the request's domain has no such token.
    pub values: Vec<&'a str>,
}

/// A crosswalk.
#[derive(Serialize, JsonSchema)]
pub struct TranslatedTokens {
    pub request: String,
    pub tokens: Vec<Pair>,
    /// How many were asked for; those without a counterpart are left out.
    pub asked: usize,
}

#[derive(Serialize, JsonSchema)]
pub struct Pair {
    pub from: String,
    pub to: String,
}

/// What may be done at a path; `None` where there is nothing.
pub fn methods(path: &str) -> Option<&'static [Method]> {
    match parts(path)? {
        (None, _) => Some(GET_AND_POST),
        (Some(_), None) => Some(GET),
        (Some(_), Some(verb)) => VERBS.contains(&verb).then_some(POST),
    }
}

/// A request's name, and what is to be done with it.
fn parts(path: &str) -> Option<(Option<&str>, Option<&str>)> {
    let rest = path.strip_prefix(PATH)?;
    if rest.is_empty() {
        return Some((None, None));
    }
    let mut parts = rest.strip_prefix('/')?.split('/');
    let (id, verb) = (parts.next().filter(|id| !id.is_empty())?, parts.next());
    parts.next().is_none().then_some((Some(id), verb))
}

pub(super) async fn answer(
    service: &Arc<Service>,
    session: &Arc<Session>,
    path: &str,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let (id, verb) = parts(path).ok_or(Trouble::NotFound)?;
    let id = id.map(str::to_owned);
    Parameters::of(request.uri().query())?.only(&[])?;
    match (id, verb) {
        (None, _) if request.method() == Method::POST => make(service, session, request).await,
        (None, _) => {
            let list = service
                .at_desk(session, |desk, project, by| {
                    let cases = desk.list(by)?;
                    project.audit(&inspected("token requests", None, by))?;
                    Ok(Ok(cases))
                })
                .await?;
            json(&list.iter().map(|(case, status)| Told::new(case, *status, None)).collect::<Vec<_>>())
        }
        (Some(id), None) => {
            let shown = service.at_desk(session, move |desk, project, by| {
                let shown = desk.show(&id, by)?;
                if shown.is_ok() {
                    project.audit(&inspected("token request", Some(&id), by))?;
                }
                Ok(shown)
            });
            told(&shown.await.map_err(refused)?)
        }
        (Some(id), Some("reveal")) => reveal(service, session, id, request).await,
        (Some(id), Some("translate")) => {
            let Nothing {} = asked_in_json(service, request).await?;
            let asked = id.clone();
            let translated = service.at_desk(session, move |desk, _, by| desk.translate(&asked, by));
            let translated = translated.await.map_err(refused)?;
            let pairs = translated.iter().filter_map(|one| {
                let (from, to) = (token_text(one.from), token_text(one.to?));
                Some(Pair { from, to })
            });
            json(&TranslatedTokens { request: id, tokens: pairs.collect(), asked: translated.len() })
        }
        (Some(id), Some(verb)) => {
            let verb = VERBS.into_iter().find(|known| *known == verb).ok_or(Trouble::NotFound)?;
            let Decision { reason } = asked_in_json(service, request).await?;
            says_why(&reason)?;
            let shown = service.at_desk(session, move |desk, _, by| match verb {
                "approve" => desk.approve(&id, by, &reason),
                "reject" => desk.reject(&id, by, &reason),
                _ => desk.revoke(&id, by, &reason),
            });
            told(&shown.await.map_err(refused)?)
        }
    }
}

async fn make(
    service: &Arc<Service>,
    session: &Arc<Session>,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let new: NewTokenRequest = asked_in_json(service, request).await?;
    let tokens = parsed(&new.tokens)?;
    let lifetime = new.lifetime.as_deref().map(str::parse::<Lifetime>).transpose();
    let lifetime = lifetime.map_err(|error| Trouble::Request(format!("`lifetime` is {error}")))?;
    let crosswalk = match (new.act, new.from, new.to) {
        (Act::Translate, Some(from), Some(to)) if new.domain.is_empty() => Some((from, to)),
        (Act::Translate, ..) => {
            return Err(Trouble::Request("to translate takes `from` and `to`, and no `domain`".to_owned()).into());
        }
        (_, None, None) if !new.domain.is_empty() => None,
        _ => return Err(Trouble::Request("it takes `domain`; `from` and `to` are to translate".to_owned()).into()),
    };
    says_why(&new.reason)?;
    let usage = service.usage(session, new.purpose.as_deref(), None, None).await?;
    let (act, domain, reason, times) = (new.act, new.domain, new.reason, new.times.map(std::num::NonZeroU32::get));
    let shown = service.at_desk(session, move |desk, _, by| {
        desk.request(NewRequest {
            act: match act {
                Act::Reveal => RequestedAct::Reveal,
                Act::Shred => RequestedAct::Shred,
                Act::Translate => RequestedAct::Translate,
            },
            domain,
            crosswalk,
            tokens,
            by: by.to_owned(),
            purpose: usage.purpose,
            reason,
            lifetime,
            times,
        })
    });
    told(&shown.await.map_err(refused)?)
}

/// Every token is on the record before anything is answered; of the answer nothing stays behind in this process's memory that is its own.
async fn reveal(
    service: &Arc<Service>,
    session: &Arc<Session>,
    id: String,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let Wanted { tokens } = asked_in_json(service, request).await?;
    let only = parsed(&tokens)?;
    let asked = id.clone();
    let revealed = service.at_desk(session, move |desk, _, by| desk.reveal(&asked, by, &only));
    let revealed = revealed.await.map_err(refused)?;
    let tokens: Vec<RevealedToken<'_>> = revealed
        .iter()
        .map(|one| RevealedToken {
            token: token_text(one.token),
            values: one.values.iter().map(|value: &Phi<String>| value.expose_phi().as_str()).collect(),
        })
        .collect();
    // Large enough that it is not copied as it grows; what a sign of a value may become in JSON is six.
    let values = tokens.iter().flat_map(|one| &one.values).map(|value| value.len() * 6 + 3).sum::<usize>();
    let mut text = Zeroizing::new(Vec::with_capacity(values + 64 * tokens.len() + 128));
    let unwritten = |_| Trouble::from(cordon_pipeline::error::RunError::Internal("an answer in JSON"));
    serde_json::to_writer(&mut *text, &RevealedTokens { request: &id, tokens }).map_err(unwritten)?;
    let body = Full::new(Bytes::from_owner(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn told(shown: &Shown) -> Result<Response<Body>, Refused> {
    json(&Told::new(&shown.case, shown.status, Some(&shown.tokens)))
}

/// What a state of the request stands against is no right that is missing.
fn refused(trouble: Trouble) -> Refused {
    let status = match &trouble {
        Trouble::Desk(Refusal::State(_) | Refusal::Twice | Refusal::Spent | Refusal::OtherAct | Refusal::Held(_)) => {
            Some(StatusCode::CONFLICT)
        }
        _ => None,
    };
    Refused { trouble, status, allow: None }
}

/// What is not a token is not repeated: it may be a value.
fn parsed(texts: &[String]) -> Result<Vec<Token>, Trouble> {
    let wrong = || Trouble::Request("a token is 26 characters of a-z and 2-7, as tables show it".to_owned());
    texts.iter().map(|text| parse_token(text).ok_or_else(wrong)).collect()
}

fn says_why(reason: &str) -> Result<(), Trouble> {
    if rights::says_why(reason) {
        return Ok(());
    }
    Err(Trouble::Request("say why in `reason`, in at least 8 characters: it goes on the record".to_owned()))
}

fn inspected(what: &'static str, subject: Option<&str>, by: &str) -> Event {
    Event::Inspected {
        what: Label::new(what),
        subject: subject.map(str::to_owned),
        principal: Some(by.to_owned()),
        purpose: None,
    }
}
