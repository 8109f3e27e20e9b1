//! Every vector of Project Wycheproof for what this crate offers: the valid pass, the invalid are refused.
//!
//! Vectors that the crate's types cannot express (AES-GCM with other keys than 256 bits or other nonces than 96 bits)
//! are counted apart, so that the number of them is asserted too.

use std::fs::File;
use std::path::PathBuf;

use cordon_crypto::gcm_siv::GcmSiv;
use cordon_crypto::siv::Siv;
use cordon_crypto::{CryptoError, Ff1, KeyedHash, Sealer, hkdf_sha256, unwrap, unwrap_kw, wrap, wrap_kw};
use data_encoding::HEXLOWER_PERMISSIVE;
use flate2::read::GzDecoder;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vectors {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    iv_size: usize,
    #[serde(default)]
    tag_size: usize,
    #[serde(default)]
    radix: u32,
    #[serde(default)]
    alphabet: String,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    tc_id: usize,
    #[serde(default)]
    flags: Vec<String>,
    result: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    iv: String,
    #[serde(default)]
    aad: String,
    #[serde(default)]
    msg: Text,
    #[serde(default)]
    ct: Text,
    #[serde(default)]
    tag: String,
    #[serde(default)]
    tweak: String,
    #[serde(default)]
    ikm: String,
    #[serde(default)]
    salt: String,
    #[serde(default)]
    info: String,
    #[serde(default)]
    okm: String,
    #[serde(default)]
    size: usize,
}

/// Hex, letters of an alphabet, or a list of digits (some negative or large, which are no digits).
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Letters(String),
    Digits(Vec<i64>),
}

impl Default for Text {
    fn default() -> Self {
        Self::Letters(String::new())
    }
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Letters(text) => hex(text),
            Self::Digits(_) => panic!("digits where hex was expected"),
        }
    }

    /// What the alphabet does not hold becomes a digit beyond it, as a caller would see it.
    fn digits(&self, alphabet: &str) -> Vec<u16> {
        match self {
            Self::Digits(digits) => digits.iter().map(|digit| u16::try_from(*digit).unwrap_or(u16::MAX)).collect(),
            Self::Letters(text) => text
                .chars()
                .map(|c| alphabet.chars().position(|known| known == c).unwrap_or(alphabet.len()))
                .map(|digit| digit as u16)
                .collect(),
        }
    }
}

impl Case {
    fn valid(&self) -> bool {
        self.result == "valid"
    }

    fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
}

fn load(name: &str) -> Option<Vectors> {
    let shared = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = shared.join("wycheproof").join(format!("{name}_test.json.gz"));
    let Ok(file) = File::open(&path) else {
        eprintln!("skipped: no {}", path.display());
        return None;
    };
    Some(serde_json::from_reader(GzDecoder::new(file)).unwrap())
}

/// What became of one vector.
enum Checked {
    Valid,
    Refused,
    /// Of a kind that the crate does not offer.
    NotOffered,
}

/// Runs each vector of the file and asserts how many of each outcome there were, so that none is passed over silently.
fn check(name: &str, [valid, refused, not_offered]: [usize; 3], one: impl Fn(&Group, &Case) -> Checked) {
    let Some(vectors) = load(name) else { return };
    let mut counts = [0; 3];
    for group in &vectors.test_groups {
        for case in &group.tests {
            counts[match one(group, case) {
                Checked::Valid => 0,
                Checked::Refused => 1,
                Checked::NotOffered => 2,
            }] += 1;
        }
    }
    assert_eq!(counts.iter().sum::<usize>(), vectors.number_of_tests, "{name}: vectors run");
    assert_eq!(counts, [valid, refused, not_offered], "{name}: valid, refused, not offered");
}

fn ff1(name: &str, counts: [usize; 3]) {
    check(name, counts, |group, case| {
        let id = case.tc_id;
        let (key, tweak) = (hex(&case.key), hex(&case.tweak));
        let (plain, sealed) = (case.msg.digits(&group.alphabet), case.ct.digits(&group.alphabet));
        // Some are of smaller domains than the revision of the standard allows.
        let ff1 = match Ff1::new(&key, group.radix) {
            Ok(ff1) => ff1.dangerous_allow_small_domains(),
            Err(error) => {
                assert!(case.flag("InvalidKeySize"), "{name} {id}: {error}");
                return Checked::Refused;
            }
        };
        let mut digits = plain.clone();
        let encrypted = ff1.encrypt(&tweak, &mut digits);
        if !case.valid() {
            assert!(encrypted.is_err(), "{name} {id}: accepted");
            assert!(digits == plain, "{name} {id}: changed");
            return Checked::Refused;
        }
        assert_eq!(encrypted, Ok(()), "{name} {id}");
        assert_eq!(digits, sealed, "{name} {id}");
        ff1.decrypt(&tweak, &mut digits).unwrap();
        assert_eq!(digits, plain, "{name} {id}");
        // Several in step give what one gives.
        let mut batch = plain.repeat(3);
        ff1.encrypt_batch(&tweak, plain.len(), &mut batch).unwrap();
        assert_eq!(batch, sealed.repeat(3), "{name} {id}");
        // The policy agrees with the flag about what is too small; SP 800-38G rev. 1 moved the border.
        let small = (f64::from(group.radix)).powi(plain.len() as i32) < 1e6;
        assert_eq!(Ff1::check_domain(group.radix, plain.len()).is_err(), small, "{name} {id}");
        Checked::Valid
    });
}

#[test]
fn ff1_base10() {
    ff1("aes_ff1_base10", [3312, 533, 0]);
}

#[test]
fn ff1_base26() {
    ff1("aes_ff1_base26", [2651, 425, 0]);
}

#[test]
fn ff1_base36() {
    ff1("aes_ff1_base36", [2465, 389, 0]);
}

#[test]
fn ff1_base62() {
    ff1("aes_ff1_base62", [2139, 335, 0]);
}

#[test]
fn ff1_radix10() {
    ff1("aes_ff1_radix10", [3312, 533, 0]);
}

#[test]
fn aes_siv() {
    check("aes_siv_cmac", [118, 324, 0], |_, case| {
        let siv = Siv::new(&hex(&case.key)).unwrap();
        siv_case(case, &siv, &[&hex(&case.aad)], &case.ct.bytes())
    });
}

#[test]
fn aes_siv_with_nonce() {
    check("aead_aes_siv_cmac", [252, 648, 0], |_, case| {
        let siv = Siv::new(&hex(&case.key)).unwrap();
        // RFC 5297, section 3: the nonce is the last piece of associated data.
        let sealed = [hex(&case.tag), case.ct.bytes()].concat();
        siv_case(case, &siv, &[&hex(&case.aad), &hex(&case.iv)], &sealed)
    });
}

fn siv_case(case: &Case, siv: &Siv, associated: &[&[u8]], sealed: &[u8]) -> Checked {
    let opened = siv.decrypt(associated, sealed);
    if !case.valid() {
        assert_eq!(opened, Err(CryptoError::Authentication), "{}", case.tc_id);
        return Checked::Refused;
    }
    let plain = case.msg.bytes();
    assert_eq!(opened.as_ref(), Ok(&plain), "{}", case.tc_id);
    assert_eq!(siv.encrypt(associated, &plain).unwrap(), sealed, "{}", case.tc_id);
    Checked::Valid
}

#[test]
fn aes_gcm_siv() {
    check("aes_gcm_siv", [136, 66, 0], |group, case| {
        assert_eq!((group.iv_size, group.tag_size), (96, 128));
        let cipher = GcmSiv::new(&hex(&case.key)).unwrap();
        let sealed = [hex(&case.iv), case.ct.bytes(), hex(&case.tag)].concat();
        let opened = cipher.open(&hex(&case.aad), &sealed);
        if !case.valid() {
            assert_eq!(opened, Err(CryptoError::Authentication), "{}", case.tc_id);
            return Checked::Refused;
        }
        let plain = case.msg.bytes();
        assert_eq!(opened.as_ref(), Ok(&plain), "{}", case.tc_id);
        let nonce = hex(&case.iv).try_into().unwrap();
        let again = cipher.seal_with_nonce(nonce, &hex(&case.aad), &plain).unwrap();
        assert_eq!(again, sealed, "{}", case.tc_id);
        Checked::Valid
    });
}

#[test]
fn aes_gcm() {
    check("aes_gcm", [39, 27, 250], |group, case| {
        let (key, nonce) = (hex(&case.key), hex(&case.iv));
        let (Ok(key), Ok(nonce)) = (<[u8; 32]>::try_from(key), <[u8; 12]>::try_from(nonce)) else {
            return Checked::NotOffered;
        };
        assert_eq!(group.tag_size, 128);
        let sealer = Sealer::new(&key);
        let sealed = [nonce.as_slice(), &case.ct.bytes(), &hex(&case.tag)].concat();
        let opened = sealer.open(&hex(&case.aad), &sealed);
        if !case.valid() {
            assert_eq!(opened, Err(CryptoError::Authentication), "{}", case.tc_id);
            return Checked::Refused;
        }
        let plain = case.msg.bytes();
        assert_eq!(opened.as_ref(), Ok(&plain), "{}", case.tc_id);
        let again = sealer.dangerous_seal_with_nonce(nonce, &hex(&case.aad), &plain).unwrap();
        assert_eq!(again, sealed, "{}", case.tc_id);
        Checked::Valid
    });
}

#[test]
fn aes_key_wrap_with_padding() {
    check("aes_kwp", [77, 177, 0], |_, case| {
        let (kek, key, wrapped) = (hex(&case.key), case.msg.bytes(), case.ct.bytes());
        let unwrapped = unwrap(&kek, &wrapped).map(|key| key.to_vec());
        if !case.valid() {
            assert!(unwrapped.is_err(), "{}", case.tc_id);
            return Checked::Refused;
        }
        assert_eq!(unwrapped.as_ref(), Ok(&key), "{}", case.tc_id);
        assert_eq!(wrap(&kek, &key).unwrap(), wrapped, "{}", case.tc_id);
        Checked::Valid
    });
}

#[test]
fn aes_key_wrap() {
    check("aes_wrap", [36, 129, 0], |_, case| {
        let (kek, key, wrapped) = (hex(&case.key), case.msg.bytes(), case.ct.bytes());
        let unwrapped = unwrap_kw(&kek, &wrapped).map(|key| key.to_vec());
        // "Acceptable" are keys of 8 bytes, which RFC 3394 wraps and SP 800-38F does not: refused.
        if !case.valid() {
            assert!(case.result == "invalid" || case.flag("ShortKey"), "{}", case.tc_id);
            assert!(unwrapped.is_err(), "{}", case.tc_id);
            if case.flag("WrongDataSize") || case.flag("EmptyKey") || case.flag("ShortKey") {
                assert!(wrap_kw(&kek, &key).is_err(), "{}", case.tc_id);
            }
            return Checked::Refused;
        }
        assert_eq!(unwrapped.as_ref(), Ok(&key), "{}", case.tc_id);
        assert_eq!(wrap_kw(&kek, &key).unwrap(), wrapped, "{}", case.tc_id);
        Checked::Valid
    });
}

#[test]
fn hkdf() {
    check("hkdf_sha256", [83, 3, 0], |_, case| {
        let mut out = vec![0; case.size];
        let result = hkdf_sha256(&hex(&case.ikm), &hex(&case.salt), &hex(&case.info), &mut out);
        if !case.valid() {
            assert!(result.is_err(), "{}", case.tc_id);
            return Checked::Refused;
        }
        assert_eq!(result, Ok(()), "{}", case.tc_id);
        assert_eq!(out, hex(&case.okm), "{}", case.tc_id);
        Checked::Valid
    });
}

#[test]
fn hmac() {
    check("hmac_sha256", [66, 108, 0], |group, case| {
        let (message, tag) = (case.msg.bytes(), hex(&case.tag));
        assert_eq!(tag.len() * 8, group.tag_size);
        let verified = KeyedHash::from_slice(&hex(&case.key)).verify(&message, &tag);
        if !case.valid() {
            assert_eq!(verified, Err(CryptoError::Authentication), "{}", case.tc_id);
            return Checked::Refused;
        }
        assert_eq!(verified, Ok(()), "{}", case.tc_id);
        Checked::Valid
    });
}
