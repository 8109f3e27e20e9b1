use std::sync::Arc;

use cordon_keystore::{KeyStore, StoreConfig, Trouble, open};
use serde_json::json;

use crate::servers::{SoftHsm, private_file};

const RING: &str = "00112233445566778899aabbccddeeff";
const KEY: [u8; 32] = *b"\x01\x93\xd5made-up root key, 32 bytes\x00\xff\x7f";

/// The module reads its configuration from the environment, which a test cannot set for itself: the test runs itself
/// again in a process that has it.
fn in_its_own_process(name: &str) -> Option<SoftHsm> {
    if std::env::var_os("SOFTHSM2_CONF").is_some() {
        return SoftHsm::of_environment();
    }
    let hsm = SoftHsm::make()?;
    let this = std::env::current_exe().unwrap();
    let output = std::process::Command::new(this)
        .args(["--exact", name, "--nocapture"])
        .env("SOFTHSM2_CONF", hsm.config())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    None
}

fn store(hsm: &SoftHsm, token: &str, key: &str, pin: &str) -> Arc<dyn KeyStore> {
    let config = json!({ "pkcs11": { "module": hsm.module, "token": token, "key": key, "pin-file": pin } });
    let config: StoreConfig = serde_json::from_value(config).unwrap();
    open(&config, &hsm.dir).unwrap()
}

#[track_caller]
fn trouble<T>(result: Result<T, cordon_keystore::KeyStoreError>) -> Trouble {
    let error = result.err().expect("refused");
    let said = error.to_string();
    assert!(said.contains("pkcs11 key") && said.contains("token `") && !said.contains("4711"), "{said}");
    error.trouble
}

#[test]
fn an_hsm_wraps_for_its_ring_and_says_what_is_wrong() {
    let Some(hsm) = in_its_own_process("pkcs11::an_hsm_wraps_for_its_ring_and_says_what_is_wrong") else { return };
    let pin = private_file(&hsm.dir.join("pin"), "4711\n");
    hsm.aes("cordon", 32, "01", "");
    hsm.aes("other", 32, "02", "");
    hsm.aes("small", 16, "03", "");
    hsm.aes("open", 32, "04", "--extractable");
    hsm.aes("twin", 32, "05", "");
    hsm.aes("twin", 32, "06", "");
    let cordon = store(&hsm, "hospital", "cordon", &pin);
    let wrapped = cordon.wrap_proven(&KEY, RING).unwrap();
    assert_eq!(*cordon.unwrap(&wrapped, RING).unwrap(), KEY);
    assert_ne!(wrapped, cordon.wrap(&KEY, RING).unwrap());
    assert_eq!(cordon.status(&wrapped).unwrap().about, "AES-256-GCM");

    assert_eq!(trouble(cordon.unwrap(&wrapped, "ff112233445566778899aabbccddeeff")), Trouble::WrongKey);
    assert_eq!(trouble(store(&hsm, "hospital", "other", &pin).unwrap(&wrapped, RING)), Trouble::WrongKey);
    for at in 0..wrapped.len() {
        let mut damaged = wrapped.clone().into_bytes();
        damaged[at] ^= 4;
        let damaged = String::from_utf8(damaged).unwrap();
        assert_eq!(trouble(cordon.unwrap(&damaged, RING)), Trouble::WrongKey, "{damaged}");
        assert_eq!(trouble(cordon.unwrap(&wrapped[..at], RING)), Trouble::WrongKey);
    }
    assert_eq!(*cordon.unwrap(&wrapped, RING).unwrap(), KEY);

    assert_eq!(trouble(store(&hsm, "hospital", "none", &pin).wrap(&KEY, RING)), Trouble::KeyMissing);
    assert_eq!(trouble(store(&hsm, "hospital", "open", &pin).wrap(&KEY, RING)), Trouble::Exportable);
    assert!(matches!(trouble(store(&hsm, "hospital", "small", &pin).wrap(&KEY, RING)), Trouble::KeyUnusable { .. }));
    let twins = trouble(store(&hsm, "hospital", "twin", &pin).wrap(&KEY, RING));
    assert!(matches!(twins, Trouble::Configuration { .. }), "{twins:?}");
    let one = json!({ "pkcs11": {
        "module": hsm.module, "token": "hospital", "key": "twin", "id": "06", "pin-file": "pin",
    }});
    let one: StoreConfig = serde_json::from_value(one).unwrap();
    open(&one, &hsm.dir).unwrap().wrap_proven(&KEY, RING).unwrap();
    assert!(matches!(
        trouble(store(&hsm, "elsewhere", "cordon", &pin).wrap(&KEY, RING)),
        Trouble::Configuration { .. }
    ));
    let no_module = json!({ "pkcs11": { "module": "/nonexistent.so", "token": "t", "key": "k", "pin-file": pin } });
    let no_module: StoreConfig = serde_json::from_value(no_module).unwrap();
    assert!(matches!(trouble(open(&no_module, &hsm.dir).unwrap().wrap(&KEY, RING)), Trouble::Configuration { .. }));
    let no_pin = store(&hsm, "hospital", "cordon", "/nonexistent/pin");
    assert!(matches!(trouble(no_pin.unwrap(&wrapped, RING)), Trouble::NoCredentials { .. }));

    hsm.delete("02");
    assert_eq!(trouble(store(&hsm, "hospital", "other", &pin).unwrap(&wrapped, RING)), Trouble::KeyMissing);
}

#[test]
fn a_wrong_pin_is_tried_once() {
    let Some(hsm) = in_its_own_process("pkcs11::a_wrong_pin_is_tried_once") else { return };
    hsm.aes("cordon", 32, "01", "");
    let wrong = private_file(&hsm.dir.join("pin"), "4711471147\n");
    let said = trouble(store(&hsm, "hospital", "cordon", &wrong).wrap(&KEY, RING));
    assert_eq!(said, Trouble::CredentialsRefused { what: "the PIN is wrong" });
    let short = private_file(&hsm.dir.join("pin"), "4\n");
    assert!(matches!(
        trouble(store(&hsm, "hospital", "cordon", &short).wrap(&KEY, RING)),
        Trouble::CredentialsRefused { .. }
    ));
}
