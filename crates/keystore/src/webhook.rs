//! A word to whoever watches: one JSON object, posted.
//!
//! Not a key store: it is here because a watchman is told over the same careful HTTP, TLS except on this machine, no redirects, and
//! errors that hold nothing of what was sent or answered.

use std::path::Path;

use ureq::http::Method;
use zeroize::Zeroizing;

use crate::error::Trouble;
use crate::http::{Ask, Http, Trust};
use crate::secret::variable;

const TOKEN: &str = "CORDON_ALERT_TOKEN";
/// Whoever waits for it may be in a hurry.
const PATIENCE: u16 = 5;

/// Posts `body`, with the bearer token of `CORDON_ALERT_TOKEN` where there is one. What passes is tried again for some seconds.
pub fn post(url: &str, ca_file: Option<&Path>, body: &[u8]) -> Result<(), Trouble> {
    let http = Http::new(url, &Trust { ca_file, ..Trust::default() }, PATIENCE)?;
    let token = variable(TOKEN).map(|token| Zeroizing::new(format!("Bearer {}", *token)));
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(token.as_ref().map(|token| ("authorization", token.as_str())));
    let answer = http.ask(&Ask { method: Method::POST, url, headers: &headers, body }, |_| false)?;
    match answer.status {
        200..=299 => Ok(()),
        401 | 403 => Err(Trouble::CredentialsRefused { what: "the watchman does not know them" }),
        status => Err(Trouble::Refused { what: format!("status {status}") }),
    }
}
