//! TLS to the server: its certificate is checked against trusted authorities and its name, always.

use std::{future::Future, io, path::Path, pin::Pin, sync::Arc, task};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::{TlsConnector, client};

use super::config::{PostgresConfig, read_private};

#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    pub fn new(config: &PostgresConfig, base: &Path) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match &config.ca_file {
            Some(path) => {
                for certificate in certificates(&base.join(path), "ca-file")? {
                    let wrong = |_| "`ca-file` holds what is no certificate authority's certificate".to_owned();
                    roots.add(certificate).map_err(wrong)?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err("no certificate authority is trusted; name one by `ca-file`".to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| "TLS cannot be set up".to_owned())?
            .with_root_certificates(roots);
        let tls = match (&config.client_certificate, &config.client_key) {
            (Some(chain), Some(key)) => {
                let chain = certificates(&base.join(chain), "client-certificate")?;
                let path = base.join(key);
                let key = PrivateKeyDer::from_pem_slice(read_private(&path)?.as_bytes())
                    .map_err(|_| format!("{} holds no private key in PEM", path.display()))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|_| "`client-certificate` and `client-key` do not belong together".to_owned())?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Self(Arc::new(tls)))
    }
}

fn certificates(path: &Path, called: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |what: &str| format!("`{called}` {} {what}", path.display());
    let all = CertificateDer::pem_file_iter(path).map_err(|_| wrong("cannot be read"))?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(|_| wrong("is no PEM"))?;
    if all.is_empty() { Err(wrong("holds no certificate in PEM")) } else { Ok(all) }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Stream<S>;
    type TlsConnect = ToServer;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<ToServer> {
        let name = ServerName::try_from(domain.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no name that a certificate could have"))?;
        Ok(ToServer { tls: Arc::clone(&self.0), name })
    }
}

pub(super) struct ToServer {
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for ToServer {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { Ok(Stream(TlsConnector::from(self.tls).connect(self.name, stream).await?)) })
    }
}

pub(super) struct Stream<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    /// The server's name was checked by its certificate, and its keys are this session's.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> task::Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}
