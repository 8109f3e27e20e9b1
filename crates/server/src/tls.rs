//! TLS 1.3 and 1.2 by rustls over ring, with files that are read again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use cordon_keystore::fetch::private_file;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;

use crate::settings::{Certificates, TlsFiles};

/// A file of the TLS configuration that cannot be used.
#[derive(Debug, Error)]
#[error("{path}: {what}", path = .path.display())]
pub struct TlsError {
    path: PathBuf,
    what: String,
}

/// The protocol that is spoken within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    Http,
    Postgres,
    Flight,
}

/// The server's identity and whom it trusts; connections that are open keep what they began with.
pub struct Tls {
    files: TlsFiles,
    clients: Option<Certificates>,
    current: Mutex<Current>,
}

struct Current {
    stamps: Vec<Option<(SystemTime, u64)>>,
    http: Arc<ServerConfig>,
    postgres: Arc<ServerConfig>,
    flight: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// How often files were read again before.
    number: u64,
}

impl Tls {
    pub fn open(files: TlsFiles, clients: Option<Certificates>) -> Result<Self, TlsError> {
        let current = load(&files, clients.as_ref())?;
        Ok(Self { files, clients, current: Mutex::new(current) })
    }

    pub fn config(&self, inside: Inside) -> Arc<ServerConfig> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(match inside {
            Inside::Http => &current.http,
            Inside::Postgres => &current.postgres,
            Inside::Flight => &current.flight,
        })
    }

    /// Who tells which clients are let in by their certificates, and a number that is another once that may have changed.
    pub fn clients(&self) -> Option<(u64, Arc<dyn ClientCertVerifier>)> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Some((current.number, Arc::clone(current.clients.as_ref()?)))
    }

    /// Reads the files again where one of them has changed, or where it is told to; says whether. What is wrong with them leaves those of
    /// before in use.
    pub fn refresh(&self, told: bool) -> Result<bool, TlsError> {
        let before = self.current.lock().unwrap_or_else(PoisonError::into_inner).stamps.clone();
        if !told && stamps(&self.files, self.clients.as_ref()) == before {
            return Ok(false);
        }
        let new = load(&self.files, self.clients.as_ref())?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Current { number: current.number + 1, ..new };
        Ok(true)
    }
}

/// When a file was last written, and its length.
pub(crate) fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let about = fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

fn stamps(files: &TlsFiles, clients: Option<&Certificates>) -> Vec<Option<(SystemTime, u64)>> {
    let mut all = vec![stamp(&files.certificate), stamp(&files.key)];
    if let Some(clients) = clients {
        all.push(stamp(&clients.ca_file));
        all.extend(clients.crl_file.as_deref().map(stamp));
    }
    all
}

fn load(files: &TlsFiles, clients: Option<&Certificates>) -> Result<Current, TlsError> {
    // Before they are read: what changes meanwhile is read once more.
    let stamps = stamps(files, clients);
    let wrong = |path: &Path, what: &str| TlsError { path: path.to_owned(), what: what.to_owned() };
    let chain = certificates(&files.certificate)?;
    let pem = private_file(&files.key).map_err(|what| TlsError { path: files.key.clone(), what })?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| wrong(&files.key, "holds no private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| wrong(&files.certificate, "TLS cannot be set up"))?;
    let mut asked = None;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&clients.ca_file)? {
                roots
                    .add(certificate)
                    .map_err(|_| wrong(&clients.ca_file, "holds a certificate that is of no authority"))?;
            }
            // Others log in within: that a certificate is missing is for the log-in to say.
            let mut verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
            if let Some(path) = &clients.crl_file {
                verifier = verifier.with_crls(lists(path)?).enforce_revocation_expiration();
            }
            let verifier =
                verifier.build().map_err(|_| wrong(&clients.ca_file, "cannot tell who may be let in by it"))?;
            asked = Some(Arc::clone(&verifier));
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut http = builder
        .with_single_cert(chain, key)
        .map_err(|_| wrong(&files.certificate, "does not belong to the private key, or is not valid"))?;
    // All that is offered is strong; which of it is used is for this end to say, not for whoever could weaken what a client asks for.
    http.ignore_client_order = true;
    // Resumption by tickets would outlive a certificate that was revoked meanwhile.
    http.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    http.send_tls13_tickets = 0;
    http.max_early_data_size = 0;
    let (mut postgres, mut flight) = (http.clone(), http.clone());
    http.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    postgres.alpn_protocols = vec![b"postgresql".to_vec()];
    flight.alpn_protocols = vec![b"h2".to_vec()];
    let (http, postgres, flight) = (Arc::new(http), Arc::new(postgres), Arc::new(flight));
    Ok(Current { stamps, http, postgres, flight, clients: asked, number: 0 })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path)
        .map_err(|error| TlsError { path: path.to_owned(), what: format!("cannot be read: {}", error.kind()) })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| TlsError { path: path.to_owned(), what: "holds no certificate in PEM".to_owned() })
}

fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&read(path)?).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| TlsError { path: path.to_owned(), what: "holds no revocation list in PEM".to_owned() })
}
