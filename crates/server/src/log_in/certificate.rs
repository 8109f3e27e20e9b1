//! Who a client certificate is of. That it is valid, and of an authority that is trusted for this, rustls has checked in the handshake; whether it is still
//! is asked anew while its connection lasts.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::digest;
use rustls::ServerConnection;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use cordon_pipeline::server_config::CertificateName;

use super::{Known, Method, Refusal, Stamp, is_name};
use crate::tls::Tls;

/// How long it is believed that a certificate is trusted, where no file changed: lists end.
const FRESH: Duration = Duration::from_secs(10);

/// What the client of a connection has shown: its certificate, and those between it and its authority.
pub fn shown(connection: &ServerConnection) -> Option<Vec<u8>> {
    let chain = connection.peer_certificates().filter(|chain| !chain.is_empty())?;
    Some(chain.iter().flat_map(|one| one.iter().copied()).collect())
}

/// A certificate that was shown, with those between it and its authority.
pub struct Proven {
    chain: Vec<CertificateDer<'static>>,
    /// By which of the configurations that there were, and when.
    trusted: Mutex<Option<(u64, Instant)>>,
}

impl Proven {
    fn new(mut der: &[u8]) -> Option<Self> {
        let mut chain = Vec::new();
        while !der.is_empty() {
            let (rest, _) = X509Certificate::from_der(der).ok()?;
            chain.push(CertificateDer::from(der.get(..der.len() - rest.len())?.to_vec()));
            der = rest;
        }
        Some(Self { chain, trusted: Mutex::new(None) })
    }

    /// Whether a handshake would take it now.
    pub fn is_trusted(&self, tls: &Tls) -> bool {
        let Some((number, verifier)) = tls.clients() else { return false };
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        if trusted.is_some_and(|(by, at)| by == number && at.elapsed() < FRESH) {
            return true;
        }
        let Some((first, between)) = self.chain.split_first() else { return false };
        let holds = verifier.verify_client_cert(first, between, UnixTime::now()).is_ok();
        *trusted = holds.then(|| (number, Instant::now()));
        holds
    }
}

/// A certificate that names two is of nobody.
pub fn check(der: &[u8], named_by: CertificateName) -> Result<Known, Refusal> {
    const NAMELESS: Refusal = Refusal::Credential("names no principal");
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| NAMELESS)?;
    let first = der.get(..der.len() - rest.len()).unwrap_or(der);
    let names: Vec<String> = match named_by {
        CertificateName::CommonName => certificate
            .subject()
            .iter_common_name()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Result<_, _>>()
            .map_err(|_| NAMELESS)?,
        CertificateName::Email | CertificateName::Uri => {
            let alternatives = certificate.subject_alternative_name().map_err(|_| NAMELESS)?;
            alternatives
                .iter()
                .flat_map(|extension| &extension.value.general_names)
                .filter_map(|name| match (name, named_by) {
                    (GeneralName::RFC822Name(email), CertificateName::Email) => Some((*email).to_owned()),
                    (GeneralName::URI(uri), CertificateName::Uri) => Some((*uri).to_owned()),
                    _ => None,
                })
                .collect()
        }
    };
    let [name] = <[String; 1]>::try_from(names).map_err(|_| NAMELESS)?;
    if !is_name(&name) {
        return Err(NAMELESS);
    }
    let until = u64::try_from(certificate.validity().not_after.timestamp()).map_err(|_| NAMELESS)?;
    Ok(Known {
        name,
        groups: Vec::new(),
        method: Method::Certificate,
        until: Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(until)),
        factors: Vec::new(),
        stamp: Stamp {
            certificate: Some(fingerprint(first)),
            chain: Some(Proven::new(der).ok_or(NAMELESS)?),
            ..Stamp::default()
        },
        reply: Vec::new(),
    })
}

/// SHA-256 of the certificate, in hexadecimal digits, as `openssl x509 -fingerprint -sha256` has it without its colons.
pub fn fingerprint(der: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(digest::digest(&digest::SHA256, der).as_ref())
}
