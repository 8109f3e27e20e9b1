//! Access tokens of OpenID Connect providers: JWTs (RFC 9068) whose keys are found by discovery and change over time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cordon_keystore::fetch;
use serde::Deserialize;
use serde_json::Value;

use super::jws::{self, Key, Token};
use super::{Known, Method, Refusal, Stamp, is_name};
use crate::settings::Oidc;

/// Keys are asked for again after this, so that one that a provider took back goes.
const FRESH: Duration = Duration::from_mins(10);
/// A provider that cannot be reached does not lock everybody out at once.
const STALE: Duration = Duration::from_hours(6);
/// Tokens with unknown keys do not make us ask more often than this.
const PAUSE: Duration = Duration::from_secs(10);
const PATIENCE_SECONDS: u16 = 5;

pub struct Provider {
    settings: Oidc,
    keys: Mutex<Keys>,
    /// Held by who asks the provider.
    asking: Mutex<()>,
}

#[derive(Default)]
struct Keys {
    known: Arc<Vec<Key>>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: OneOrMany,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    acr: Option<String>,
    #[serde(default)]
    amr: Option<Vec<String>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Whose keys to ask for.
#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

pub fn issuer_of(token: &Token<'_>) -> Option<String> {
    serde_json::from_slice::<Issuer>(token.unproven()).ok().map(|claims| claims.iss)
}

impl Provider {
    pub fn new(settings: Oidc) -> Self {
        Self { settings, keys: Mutex::default(), asking: Mutex::new(()) }
    }

    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    pub fn check(&self, token: &Token<'_>, now: SystemTime) -> Result<Known, Refusal> {
        let claims = self.proven(token)?;
        let claims: Claims = serde_json::from_slice(&claims)
            .map_err(|_| Refusal::Credential("its claims are not those of an access token"))?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let leeway = self.settings.leeway.as_secs_f64();
        if claims.iss != self.settings.issuer {
            return Err(Refusal::Credential("another issuer"));
        }
        let ours = match &claims.aud {
            OneOrMany::One(one) => *one == self.settings.audience,
            OneOrMany::Many(many) => many.contains(&self.settings.audience),
        };
        if !ours {
            return Err(Refusal::Credential("for another audience"));
        }
        if !claims.exp.is_finite() || now >= claims.exp + leeway {
            return Err(Refusal::Credential("expired"));
        }
        let early = |at: Option<f64>| at.is_some_and(|at| !at.is_finite() || at > now + leeway);
        if early(claims.nbf) || early(claims.iat) {
            return Err(Refusal::Credential("not valid yet"));
        }
        let name = match claims.others.get(&self.settings.principal_claim) {
            Some(Value::String(name)) if is_name(name) => name.clone(),
            _ => return Err(Refusal::Credential("names no principal")),
        };
        let groups = match claims.others.get(&self.settings.groups_claim) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(groups)) if groups.len() <= 1024 => groups
                .iter()
                .map(|group| group.as_str().filter(|group| is_name(group)).map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or(Refusal::Credential("its groups are not names"))?,
            Some(_) => return Err(Refusal::Credential("its groups are not a list")),
        };
        Ok(Known {
            name,
            groups,
            method: Method::Token,
            until: Some(UNIX_EPOCH + Duration::from_secs_f64(claims.exp.min(4e9) + leeway)),
            factors: claims
                .acr
                .into_iter()
                .map(|acr| ("acr", acr))
                .chain(claims.amr.into_iter().flatten().map(|amr| ("amr", amr)))
                .collect(),
            stamp: Stamp { token: claims.jti, ..Stamp::default() },
            reply: Vec::new(),
        })
    }

    /// The claims of a token that one of the provider's keys signed.
    fn proven(&self, token: &Token<'_>) -> Result<Vec<u8>, Refusal> {
        let (keys, fresh) = self.known();
        if fresh && let Some(claims) = proven_by(token, &keys) {
            return Ok(claims);
        }
        let keys = self.renewed(token, fresh)?;
        proven_by(token, &keys).ok_or(Refusal::Credential("no key of its issuer signed it"))
    }

    fn known(&self) -> (Arc<Vec<Key>>, bool) {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&keys.known), keys.fetched.is_some_and(|at| at.elapsed() < FRESH))
    }

    fn usable(&self) -> (Arc<Vec<Key>>, bool) {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&keys.known), keys.fetched.is_some_and(|at| at.elapsed() < STALE))
    }

    /// Asks the provider, where that may show more than is known.
    fn renewed(&self, token: &Token<'_>, fresh: bool) -> Result<Arc<Vec<Key>>, Refusal> {
        let _asking = match self.asking.try_lock() {
            Ok(asking) => asking,
            Err(TryLockError::Poisoned(asking)) => asking.into_inner(),
            // Somebody asks already, and the provider may be slow: who can do with the keys that are known does not wait for it.
            Err(TryLockError::WouldBlock) => {
                let (known, usable) = self.usable();
                return if usable && proven_by(token, &known).is_some() {
                    Ok(known)
                } else {
                    Err(Refusal::Unavailable("the issuer's keys are being asked for"))
                };
            }
        };
        let (known, may_ask, usable) = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            // A key that is known and did not sign it would not have when asked for again.
            let named = token.key_id.is_some() && keys.known.iter().any(|key| key.id == token.key_id);
            let may_ask = !(fresh && named) && keys.tried.is_none_or(|at| at.elapsed() >= PAUSE);
            if may_ask {
                keys.tried = Some(Instant::now());
            }
            (Arc::clone(&keys.known), may_ask, keys.fetched.is_some_and(|at| at.elapsed() < STALE))
        };
        if may_ask && let Some(found) = self.ask() {
            let found = Arc::new(found);
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.known = Arc::clone(&found);
            keys.fetched = Some(Instant::now());
            return Ok(found);
        }
        if usable { Ok(known) } else { Err(Refusal::Unavailable("the issuer's keys cannot be had")) }
    }

    fn ask(&self) -> Option<Vec<Key>> {
        let ca_file = self.settings.ca_file.as_deref();
        let place = format!("{}/.well-known/openid-configuration", self.settings.issuer.trim_end_matches('/'));
        let text = fetch::document(&place, ca_file, PATIENCE_SECONDS).ok()?;
        let found: Discovery = serde_json::from_slice(&text).ok()?;
        // OpenID Connect Discovery 1.0, 4.3.
        if found.issuer != self.settings.issuer {
            return None;
        }
        jws::keys(&fetch::document(&found.jwks_uri, ca_file, PATIENCE_SECONDS).ok()?)
    }
}

fn proven_by(token: &Token<'_>, keys: &[Key]) -> Option<Vec<u8>> {
    keys.iter()
        .filter(|key| token.key_id.is_none() || key.id.is_none() || key.id == token.key_id)
        .find_map(|key| token.proven_by(key).map(<[u8]>::to_vec))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;

    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    #[test]
    fn who_asks_a_provider_that_says_nothing_keeps_no_other_waiting() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", silent.local_addr().unwrap());
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let text = format!("{}.{}.AAAA", part(r#"{"alg":"RS256","kid":"a"}"#), part(r#"{"iss":"x"}"#));
        let provider = Provider::new(Oidc {
            issuer,
            audience: "urn:cordon".to_owned(),
            ca_file: None,
            principal_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            leeway: Duration::ZERO,
        });
        let check = || provider.check(&Token::read(&text).unwrap(), SystemTime::now()).map(drop);
        std::thread::scope(|scope| {
            let first = scope.spawn(check);
            let asked = silent.accept().unwrap();
            assert_eq!(check(), Err(Refusal::Unavailable("the issuer's keys are being asked for")));
            drop((asked, silent));
            assert_eq!(first.join().unwrap(), Err(Refusal::Unavailable("the issuer's keys cannot be had")));
        });
    }
}
