//! Keyed tags: equal things can be seen to be equal, and nobody without the key can try guesses.

use std::fmt;

use cordon_crypto::{AuditSealKey, KeyedHash};
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

/// 128 bits of an HMAC-SHA256, as 26 lower-case base32 characters. Made only by a [`Tagger`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(String);

impl Tag {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes the tags of one project's log.
#[derive(Clone)]
pub struct Tagger(KeyedHash);

impl Tagger {
    pub fn new(key: &AuditSealKey) -> Self {
        Self(KeyedHash::for_key(key).derive("audit/tag"))
    }

    /// `domain` says what kind of thing it is ("source", "statement", "token"): equal bytes of two kinds get two tags.
    pub fn tag(&self, domain: &str, value: &[u8]) -> Tag {
        let full = self.0.tag_parts(&[domain.as_bytes(), value]);
        let half: Vec<u8> = full.into_iter().take(16).collect();
        Tag(BASE32_NOPAD.encode(&half).to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_depends_on_key_domain_and_value() {
        let tagger = Tagger::new(&AuditSealKey::from_bytes([1; 32]));
        let tag = tagger.tag("source", b"a.csv");
        assert_eq!(tag.as_str().len(), 26);
        assert_eq!(tag, tagger.tag("source", b"a.csv"));
        assert_ne!(tag, tagger.tag("statement", b"a.csv"));
        assert_ne!(tag, tagger.tag("source", b"b.csv"));
        assert_ne!(tag, Tagger::new(&AuditSealKey::from_bytes([2; 32])).tag("source", b"a.csv"));
    }
}
