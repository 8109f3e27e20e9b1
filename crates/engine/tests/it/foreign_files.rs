//! Files of parquet-java and Arrow C++ from the parquet-testing collection.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use cordon_crypto::{CryptoError, MasterKeys};
use cordon_engine::{EngineError, InputKeys, KeyTools, ParquetInput};
use data_encoding::BASE64;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::support::shared;

/// `InMemoryKMS` of parquet-java's tests: AES-GCM under 128-bit master keys, the key's name as AAD.
struct MockKms;

impl MasterKeys for MockKms {
    fn wrap_key(&self, _: &[u8], id: &str) -> Result<String, CryptoError> {
        Err(CryptoError::UnknownMasterKey { id: id.to_owned() })
    }

    fn unwrap_key(&self, wrapped: &str, id: &str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let key = match id {
            "kf" => b"0123456789012345",
            "kc1" => b"1234567890123450",
            "kc2" => b"1234567890123451",
            _ => return Err(CryptoError::UnknownMasterKey { id: id.to_owned() }),
        };
        let sealed = BASE64.decode(wrapped.as_bytes()).unwrap();
        let mut body = sealed[12..].to_vec();
        let nonce = Nonce::try_assume_unique_for_key(&sealed[..12]).unwrap();
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).unwrap());
        let plain =
            key.open_in_place(nonce, Aad::from(id.as_bytes()), &mut body).map_err(|_| CryptoError::Authentication)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }
}

fn named(bits: usize, aad_prefix: Option<&str>) -> InputKeys {
    // The README's {0,1,2,…} are the digits as text.
    let digits = |start: usize, last: usize| -> Zeroizing<Vec<u8>> {
        let len = bits / 8;
        let mut key: Vec<u8> = (0..len).map(|i| b'0' + ((i + start) % 10) as u8).collect();
        if start == 1 {
            key[len - 1] = b'0' + last as u8;
        }
        Zeroizing::new(key)
    };
    let mut keys = HashMap::from([("kf".to_owned(), digits(0, 0))]);
    for column in 1..=8 {
        let last = if bits == 128 { column - 1 } else { column + 1 };
        keys.insert(format!("kc{column}"), digits(1, last));
    }
    InputKeys { named: keys, aad_prefix: aad_prefix.map(|prefix| prefix.as_bytes().to_vec()), ..InputKeys::default() }
}

fn read(path: &Path, keys: &InputKeys) -> Result<usize, EngineError> {
    let mut rows = 0;
    for batch in ParquetInput::open(path, keys, 1024)? {
        rows += batch?.num_rows();
    }
    Ok(rows)
}

#[test]
fn files_of_other_writers_are_read() {
    let Some(dir) = shared("parquet-encryption") else {
        return;
    };
    for (file, bits, prefix, rows) in [
        ("encrypt_columns_and_footer", 128, None, 50),
        ("encrypt_columns_and_footer_aad", 128, None, 50),
        ("encrypt_columns_and_footer_disable_aad_storage", 128, Some("tester"), 50),
        ("encrypt_columns_and_footer_bloom_filter", 128, None, 0),
        ("uniform_encryption", 128, None, 50),
        ("aes256/encrypt_columns_and_footer", 256, None, 50),
        ("aes256/encrypt_columns_and_footer_disable_aad_storage", 256, Some("tester"), 50),
        ("aes256/uniform_encryption", 256, None, 50),
    ] {
        let path = dir.join(format!("{file}.parquet.encrypted"));
        let read_rows = read(&path, &named(bits, prefix)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(if rows == 0 { read_rows > 0 } else { read_rows == rows }, "{file}: {read_rows}");
        assert!(matches!(read(&path, &InputKeys::default()), Err(EngineError::KeyMaterial { .. })), "{file}");
        // Two prefixes that differ do not open the file.
        assert!(read(&path, &named(bits, Some("another"))).is_err() || prefix.is_none(), "{file}");
    }
}

#[test]
fn double_wrapped_key_material_beside_the_file_is_found() {
    let Some(path) = shared("parquet-encryption/external_key_material_java.parquet.encrypted") else {
        return;
    };
    let keys = InputKeys { tools: Some(KeyTools::new(Arc::new(MockKms))), ..InputKeys::default() };
    assert!(read(&path, &keys).unwrap() > 0);
}

#[test]
fn what_is_not_supported_says_so() {
    let Some(dir) = shared("parquet-encryption") else {
        return;
    };
    for (folder, bits) in [("", 128), ("aes256/", 256)] {
        let ctr = dir.join(format!("{folder}encrypt_columns_and_footer_ctr.parquet.encrypted"));
        let error = read(&ctr, &named(bits, None)).unwrap_err();
        assert!(matches!(error, EngineError::Unsupported { what } if what.contains("CTR")), "{error}");
        let plain_footer = dir.join(format!("{folder}encrypt_columns_plaintext_footer.parquet.encrypted"));
        match read(&plain_footer, &named(bits, None)) {
            Ok(rows) => assert_eq!(rows, 50),
            Err(error) => panic!("{error}"),
        }
        // Without keys it looks like any file until an encrypted column is met.
        assert!(read(&plain_footer, &InputKeys::default()).is_err());
    }
}
