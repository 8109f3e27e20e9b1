//! AWS Signature Version 4, the part that a JSON service needs
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).

use cordon_crypto::KeyedHash;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Text;

/// An access key and what belongs to it, wiped when dropped.
pub struct Credentials {
    pub(crate) access: String,
    pub(crate) secret: Text,
    /// Of credentials that expire.
    pub(crate) session: Option<Text>,
}

impl Credentials {
    /// The name of the key, which is no secret.
    pub fn access(&self) -> &str {
        &self.access
    }

    pub fn expose_secret(&self) -> &str {
        &self.secret
    }

    pub fn expose_session(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.as_str())
    }
}

/// Now, as signatures write it.
pub(crate) fn amz_date() -> String {
    let time = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
    time.format("%Y%m%dT%H%M%SZ").to_string()
}

pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// With what RFC 3986 reserves escaped, and no query.
    pub(crate) path: &'a str,
    /// All that are sent but the signature's own, names in lower case and in order.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    /// `YYYYMMDDTHHMMSSZ`, the same as in `x-amz-date`.
    pub(crate) time: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

/// The value of the `authorization` header.
pub(crate) fn authorization(credentials: &Credentials, request: &Signed<'_>) -> String {
    let names = request.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let headers = request.headers.iter().map(|(name, value)| format!("{name}:{}", value.trim()));
    let headers = Zeroizing::new(headers.collect::<Vec<_>>().join("\n"));
    let canonical = Zeroizing::new(format!(
        "{}\n{}\n\n{}\n\n{names}\n{}",
        request.method,
        request.path,
        *headers,
        HEXLOWER.encode(&Sha256::digest(request.body))
    ));
    let day = request.time.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        request.time,
        HEXLOWER.encode(&Sha256::digest(canonical.as_bytes()))
    );
    let key = signing_key(&credentials.secret, day, request.region, request.service);
    let signature = HEXLOWER.encode(&KeyedHash::from_slice(key.as_slice()).tag(to_sign.as_bytes()));
    format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", credentials.access)
}

fn signing_key(secret: &str, day: &str, region: &str, service: &str) -> Zeroizing<[u8; 32]> {
    let first = Zeroizing::new(format!("AWS4{secret}"));
    let mut key = Zeroizing::new(KeyedHash::from_slice(first.as_bytes()).tag(day.as_bytes()));
    for part in [region, service, "aws4_request"] {
        key = Zeroizing::new(KeyedHash::from_slice(key.as_slice()).tag(part.as_bytes()));
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Credentials {
        let secret = Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned());
        Credentials { access: "AKIDEXAMPLE".to_owned(), secret, session: None }
    }

    /// The example of AWS's documentation of the derivation.
    #[test]
    fn the_signing_key_is_derived_as_documented() {
        let key = signing_key(&example().secret, "20150830", "us-east-1", "iam");
        let published = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9";
        assert_eq!(HEXLOWER.encode(key.as_slice()), published);
    }

    /// get-vanilla, post-vanilla, post-header-key-sort and post-x-www-form-urlencoded of AWS's test suite.
    #[test]
    fn agrees_with_the_published_test_suite() {
        let (date, host) = (("x-amz-date", "20150830T123600Z"), ("host", "example.amazonaws.com"));
        let form = ("content-type", "application/x-www-form-urlencoded");
        let vanilla = [host, date];
        let more = [host, ("my-header1", "value1"), date];
        let typed = [form, host, date];
        for (method, headers, body, signature) in [
            ("GET", &vanilla[..], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", &vanilla, "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            ("POST", &more, "", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
            ("POST", &typed, "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        ] {
            let (time, region, service) = ("20150830T123600Z", "us-east-1", "service");
            let request = Signed { method, path: "/", headers, body: body.as_bytes(), time, region, service };
            let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
            assert_eq!(
                authorization(&example(), &request),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders={names}, Signature={signature}"
                )
            );
        }
    }
}
