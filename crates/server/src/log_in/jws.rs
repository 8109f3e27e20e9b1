//! Signed tokens (JWS, RFC 7515, in compact form) as an access token may be: one algorithm of four, one key, one signature.
//!
//! ring verifies; this reads what was signed. The key decides the algorithm and never the token alone (RFC 8725, 3.1): a token whose
//! `alg` is not what its key is for is refused, and keys are public, so that neither `none` nor an HMAC can be.

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

/// No token that a provider gives is longer.
pub const LONGEST: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

/// A token whose signature is not looked at yet.
pub struct Token<'a> {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// A header of RFC 7515; what is critical in it and not known here refuses the token, as all else that changes its meaning.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
    #[serde(default)]
    b64: Option<serde_json::Value>,
    #[serde(default)]
    zip: Option<serde_json::Value>,
}

impl<'a> Token<'a> {
    pub fn read(text: &'a str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        let header: Header = serde_json::from_slice(&BASE64URL_NOPAD.decode(header.as_bytes()).ok()?).ok()?;
        if header.crit.is_some() || header.b64.is_some() || header.zip.is_some() {
            return None;
        }
        // RFC 9068, 2.1; some providers leave `JWT`. An ID token or a log-out token that says what it is does not pass.
        let kind = header.typ.as_deref().map(|kind| kind.trim_start_matches("application/").to_ascii_lowercase());
        if !matches!(kind.as_deref(), None | Some("at+jwt" | "jwt")) {
            return None;
        }
        let algorithm = match header.alg.as_str() {
            "RS256" => Algorithm::Rs256,
            "PS256" => Algorithm::Ps256,
            "ES256" => Algorithm::Es256,
            "EdDSA" | "Ed25519" => Algorithm::EdDsa,
            _ => return None,
        };
        Some(Self {
            algorithm,
            key_id: header.kid,
            signed,
            payload: BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?,
            signature: BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?,
        })
    }

    /// The claims as the token says them, of whom is not proven: only to find whose keys to ask for.
    pub fn unproven(&self) -> &[u8] {
        &self.payload
    }

    /// The claims, where `key` signed them.
    pub fn proven_by(&self, key: &Key) -> Option<&[u8]> {
        key.verifies(self.algorithm, self.signed.as_bytes(), &self.signature).then_some(self.payload.as_slice())
    }
}

/// A public key of a JWK Set (RFC 7517).
pub struct Key {
    pub id: Option<String>,
    /// Where the provider says it.
    only: Option<Algorithm>,
    public: Public,
}

enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

/// The keys of a set that sign in one of the four ways. What else a provider has there is not for us.
pub fn keys(document: &[u8]) -> Option<Vec<Key>> {
    let set: Jwks = serde_json::from_slice(document).ok()?;
    Some(set.keys.into_iter().take(64).filter_map(|key| Key::read(serde_json::from_value(key).ok()?)).collect())
}

impl Key {
    fn read(jwk: Jwk) -> Option<Self> {
        let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs {
            return None;
        }
        let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let of_curve = |name: &str| jwk.crv.as_deref() == Some(name);
        let public = match jwk.kty.as_str() {
            "RSA" => Public::Rsa { n: bytes(&jwk.n)?, e: bytes(&jwk.e)? },
            "EC" if of_curve("P-256") => {
                let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                Public::P256([&[4], x.as_slice(), y.as_slice()].concat())
            }
            "OKP" if of_curve("Ed25519") => Public::Ed25519(bytes(&jwk.x)?),
            _ => return None,
        };
        let only = match (jwk.alg.as_deref(), &public) {
            (None, _) => None,
            (Some("RS256"), Public::Rsa { .. }) => Some(Algorithm::Rs256),
            (Some("PS256"), Public::Rsa { .. }) => Some(Algorithm::Ps256),
            (Some("ES256"), Public::P256(_)) => Some(Algorithm::Es256),
            (Some("EdDSA" | "Ed25519"), Public::Ed25519(_)) => Some(Algorithm::EdDsa),
            _ => return None,
        };
        Some(Self { id: jwk.kid, only, public })
    }

    fn verifies(&self, algorithm: Algorithm, message: &[u8], given: &[u8]) -> bool {
        if self.only.is_some_and(|only| only != algorithm) {
            return false;
        }
        match (&self.public, algorithm) {
            (Public::Rsa { n, e }, Algorithm::Rs256) => {
                RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, given).is_ok()
            }
            (Public::Rsa { n, e }, Algorithm::Ps256) => {
                RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PSS_2048_8192_SHA256, message, given).is_ok()
            }
            (Public::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, given).is_ok()
            }
            (Public::Ed25519(point), Algorithm::EdDsa) => {
                UnparsedPublicKey::new(&signature::ED25519, point).verify(message, given).is_ok()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn token(header: &str, payload: &str, signature: &[u8]) -> String {
        let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        format!("{}.{}.{}", part(header.as_bytes()), part(payload.as_bytes()), part(signature))
    }

    /// RFC 8037, A.4.
    const ED25519: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    const ED25519_KEY: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    /// RFC 7515, A.3.
    const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    const ES256_KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

    #[test]
    fn the_examples_of_the_rfcs_verify_with_their_key_alone() {
        let (ed, ec) = (keys(ED25519_KEY.as_bytes()).unwrap(), keys(ES256_KEY.as_bytes()).unwrap());
        let (ed, ec) = (ed.first().unwrap(), ec.first().unwrap());
        assert_eq!(Token::read(ED25519).unwrap().proven_by(ed).unwrap(), b"Example of Ed25519 signing");
        assert!(Token::read(ES256).unwrap().proven_by(ec).is_some());
        assert!(Token::read(ED25519).unwrap().proven_by(ec).is_none());
        assert!(Token::read(ES256).unwrap().proven_by(ed).is_none());
        let changed = ES256.replacen("eyJpc3MiOiJqb2Ui", "eyJpc3MiOiJqb2Yi", 1);
        assert!(Token::read(&changed).unwrap().proven_by(ec).is_none());
    }

    #[test]
    fn what_is_not_one_of_four_ways_to_sign_is_not_a_token() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"RS1"}"#,
            r#"{"alg":"ES256K"}"#,
            r#"{"alg":""}"#,
            "{}",
            r#"{"alg":["ES256"]}"#,
            r#"{"alg":"ES256","crit":["exp"]}"#,
            r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#,
            r#"{"alg":"ES256","zip":"DEF"}"#,
            r#"{"alg":"ES256","typ":"logout+jwt"}"#,
            r#"{"alg":"ES256","alg":"none"}"#,
            "[]",
        ] {
            assert!(Token::read(&token(header, "{}", b"x")).is_none(), "{header}");
        }
        assert!(Token::read(&token(r#"{"alg":"ES256","typ":"at+jwt","kid":"a"}"#, "{}", b"x")).is_some());
        for text in ["", ".", "..", "a.b", "a.b.c.d", "e30.e30.", &"a".repeat(LONGEST + 1)] {
            assert!(Token::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_secret_an_encryption_key_or_a_small_curve_is_no_key() {
        for key in [
            r#"{"kty":"oct","k":"AAAA"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
            r#"{"kty":"EC","crv":"secp256k1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","alg":"HS256","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        ] {
            assert!(keys(format!(r#"{{"keys":[{key}]}}"#).as_bytes()).unwrap().is_empty(), "{key}");
        }
    }
}
