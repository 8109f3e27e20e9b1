//! Passwords of people: Argon2id (RFC 9106) in the PHC string format, which says its own parameters and salt.

use data_encoding::BASE64_NOPAD;
use zeroize::Zeroizing;

use crate::kdf::{Argon2Params, argon2id};
use crate::{CryptoError, random_bytes, same_tag};

/// NIST SP 800-63B-4, 3.1.1.2: of a password that is the only factor.
pub const SHORTEST_PASSWORD: usize = 15;
/// Beyond this, hashing would be work for whoever sends it.
pub const LONGEST_PASSWORD: usize = 1024;

/// `$argon2id$v=19$m=65536,t=3,p=1$SALT$HASH`. Not the password, and yet what a guess can be tried on: keep it from others.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    params: Argon2Params,
    salt: Vec<u8>,
    hash: [u8; 32],
}

impl PasswordHash {
    pub fn of(password: &str) -> Result<Self, CryptoError> {
        let mut salt = vec![0; 16];
        random_bytes(&mut salt)?;
        Self::derive(password, salt, Argon2Params::default())
    }

    fn derive(password: &str, salt: Vec<u8>, params: Argon2Params) -> Result<Self, CryptoError> {
        let derived = argon2id(password.as_bytes(), &salt, params)?;
        Ok(Self { params, salt, hash: *derived.dangerous_expose() })
    }

    /// Takes as long for a wrong password as for the right one.
    pub fn accepts(&self, password: &str) -> Result<bool, CryptoError> {
        if password.len() > LONGEST_PASSWORD {
            return Ok(false);
        }
        let derived = argon2id(password.as_bytes(), &self.salt, self.params)?;
        Ok(same_tag(derived.dangerous_expose(), &self.hash))
    }

    /// A hash that no password fits, for names that nobody has: they take as long as others.
    pub fn of_nobody() -> Result<Self, CryptoError> {
        let (mut salt, mut hash) = (vec![0; 16], [0; 32]);
        random_bytes(&mut salt)?;
        random_bytes(&mut hash)?;
        Ok(Self { params: Argon2Params::default(), salt, hash })
    }

    /// Bytes that one check takes.
    pub fn memory(&self) -> usize {
        self.params.memory_kib as usize * 1024
    }

    /// Other algorithms, versions, lengths and orders are refused, and what is weaker than OWASP's least or would exhaust
    /// the machine.
    pub fn parse(text: &str) -> Result<Self, CryptoError> {
        const REFUSED: CryptoError = CryptoError::Parameters { algorithm: "Argon2id" };
        let mut parts = text.split('$');
        let (Some(""), Some("argon2id"), Some("v=19"), Some(numbers), Some(salt), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(REFUSED);
        };
        let mut numbers = numbers.split(',');
        let mut number = |name: &str| -> Result<u32, CryptoError> {
            let text = numbers.next().and_then(|part| part.strip_prefix(name)).ok_or(REFUSED)?;
            text.parse().map_err(|_| REFUSED)
        };
        let params = Argon2Params { memory_kib: number("m=")?, passes: number("t=")?, lanes: number("p=")? };
        if numbers.next().is_some() || params.memory_kib < 19 * 1024 || params.memory_kib > 1024 * 1024 {
            return Err(REFUSED);
        }
        if params.passes == 0 || params.passes > 16 || params.lanes == 0 || params.lanes > 16 {
            return Err(REFUSED);
        }
        let salt = BASE64_NOPAD.decode(salt.as_bytes()).map_err(|_| REFUSED)?;
        let hash = Zeroizing::new(BASE64_NOPAD.decode(hash.as_bytes()).map_err(|_| REFUSED)?);
        let hash = <[u8; 32]>::try_from(hash.as_slice()).map_err(|_| REFUSED)?;
        if !(8..=64).contains(&salt.len()) {
            return Err(REFUSED);
        }
        Ok(Self { params, salt, hash })
    }

    /// As it is kept.
    pub fn dangerous_text(&self) -> Zeroizing<String> {
        let Argon2Params { memory_kib, passes, lanes } = self.params;
        let (salt, hash) = (BASE64_NOPAD.encode(&self.salt), Zeroizing::new(BASE64_NOPAD.encode(&self.hash)));
        Zeroizing::new(format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${}", *hash))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_password_fits_and_the_text_says_all() {
        let hash = PasswordHash::of("correct horse battery").unwrap();
        let again = PasswordHash::parse(&hash.dangerous_text()).unwrap();
        assert!(again.accepts("correct horse battery").unwrap());
        assert!(!again.accepts("correct horse batterz").unwrap());
        assert!(!again.accepts("").unwrap());
        assert!(!PasswordHash::of_nobody().unwrap().accepts("correct horse battery").unwrap());
        assert!(!again.accepts(&"x".repeat(LONGEST_PASSWORD + 1)).unwrap());
    }

    /// Made by the reference implementation's `argon2 somesalt -id -t 2 -m 16 -p 1 -l 32 -e` of `password`.
    #[test]
    fn reads_what_others_write() {
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = PasswordHash::parse(text).unwrap();
        assert!(hash.accepts("password").unwrap());
        assert_eq!(*hash.dangerous_text(), text);
    }

    #[test]
    fn what_is_weak_absurd_or_of_another_kind_is_refused() {
        let tail = "$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        for head in [
            "$argon2i$v=19$m=65536,t=2,p=1",
            "$argon2d$v=19$m=65536,t=2,p=1",
            "$argon2id$v=16$m=65536,t=2,p=1",
            "$argon2id$m=65536,t=2,p=1",
            "$argon2id$v=19$m=8,t=2,p=1",
            "$argon2id$v=19$m=4294967295,t=2,p=1",
            "$argon2id$v=19$m=65536,t=0,p=1",
            "$argon2id$v=19$m=65536,t=999,p=1",
            "$argon2id$v=19$m=65536,t=2,p=0",
            "$argon2id$v=19$t=2,m=65536,p=1",
            "$argon2id$v=19$m=65536,t=2,p=1,x=1",
            "argon2id$v=19$m=65536,t=2,p=1",
        ] {
            assert!(PasswordHash::parse(&format!("{head}{tail}")).is_err(), "{head}");
        }
        let head = "$argon2id$v=19$m=65536,t=2,p=1";
        for tail in [
            "",
            "$c29tZXNhbHQ",
            "$c29tZXNhbHQ$",
            "$c2$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$c29tZXNhbHQ$AAAA",
        ] {
            assert!(PasswordHash::parse(&format!("{head}{tail}")).is_err(), "{tail}");
        }
    }
}
