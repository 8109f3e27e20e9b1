//! Public documents of a service that others are told apart by: an OpenID Connect provider's configuration and keys.

use std::path::Path;

use ureq::http::Method;

use crate::error::Trouble;
use crate::http::{Ask, Http, Trust};

/// What is at a URL: TLS except on this machine, no redirects, at most 256 KiB, `seconds` of patience.
pub fn document(url: &str, ca_file: Option<&Path>, seconds: u16) -> Result<Vec<u8>, Trouble> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    if query.contains('#') {
        return Err(Trouble::Configuration { what: "the address holds more than host, path and query".to_owned() });
    }
    let http = Http::new(base, &Trust { ca_file, ..Trust::default() }, seconds)?;
    let ask = Ask { method: Method::GET, url, headers: &[("accept", "application/json")], body: b"" };
    let answer = http.ask(&ask, |_| false)?;
    match answer.status {
        200 => Ok(answer.body.to_vec()),
        status => Err(Trouble::Refused { what: format!("status {status}") }),
    }
}

/// A file with a secret, at most 64 KiB, that only its owner may read. The error says what is wrong, and nothing of what is in it.
pub fn private_file(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, String> {
    crate::http::read_private(path).map(zeroize::Zeroizing::new)
}
