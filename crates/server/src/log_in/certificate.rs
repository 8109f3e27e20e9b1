//! Who a client certificate is of. That it is valid, and of an authority that is trusted for this, rustls has checked in the handshake.

use ring::digest;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use cordon_pipeline::server_config::CertificateName;

use super::{Known, Method, Refusal, Stamp, is_name};

/// A certificate that names two is of nobody.
pub fn check(der: &[u8], named_by: CertificateName) -> Result<Known, Refusal> {
    const NAMELESS: Refusal = Refusal::Credential("names no principal");
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| NAMELESS)?;
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
        stamp: Stamp { certificate: Some(fingerprint(der)), ..Stamp::default() },
        reply: Vec::new(),
    })
}

/// SHA-256 of the certificate, in hexadecimal digits, as `openssl x509 -fingerprint -sha256` has it without its colons.
pub fn fingerprint(der: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(digest::digest(&digest::SHA256, der).as_ref())
}
