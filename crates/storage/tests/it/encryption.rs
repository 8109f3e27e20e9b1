//! Server-side encryption: asked for with every write, and a store that does not do it is refused.

use std::fs;
use std::sync::Arc;

use cordon_storage::{KmsKey, ServerEncryption, StoreSettings, Trouble};

use crate::bucket::{Bucket, Dialect};
use crate::seaweed::{Weed, open};
use crate::servers::{Bao, Pki};
use crate::tls::serve;

fn asked(encryption: ServerEncryption) -> StoreSettings {
    StoreSettings { server_encryption: Some(encryption), ..StoreSettings::default() }
}

fn kms(key: &str) -> ServerEncryption {
    ServerEncryption::SseKms(KmsKey { key: Some(key.to_owned()), bucket_key: false })
}

/// Through the transit engine of OpenBao, whose own record shows that its key was used.
#[test]
fn a_store_with_a_kms_encrypts_what_is_written_whole_and_in_parts() {
    let Some(bao) = Bao::start() else { return };
    bao.run(&["write", "-f", "transit/keys/phi-kek", "type=aes256-gcm96"]);
    let Some(weed) = Weed::start_with(Some(&bao)) else { return };
    let long = weed.dir.path().join("long");
    fs::write(&long, vec![42; 20 << 20]).unwrap();
    for (name, encryption) in [("managed", ServerEncryption::SseS3), ("kms", kms("phi-kek"))] {
        let store = weed.direct(&asked(encryption));
        store.put_new(&format!("{name}/whole"), b"PARE".repeat(1000)).unwrap_or_else(|error| panic!("{name}: {error}"));
        store.upload(&format!("{name}/parts"), &long).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(store.small(&format!("{name}/whole"), 1 << 20).unwrap().unwrap(), b"PARE".repeat(1000));
        assert_eq!(store.small(&format!("{name}/parts"), 1 << 30).unwrap().unwrap(), vec![42; 20 << 20]);
        assert_eq!(store.put_new(&format!("{name}/whole"), vec![1]).unwrap_err().trouble, Trouble::Exists);
    }
    let record = bao.audit_file();
    assert!(record.contains("transit/") && record.contains("/phi-kek"), "its key was used");
    let store = weed.direct(&StoreSettings { retry_seconds: Some(2), ..asked(kms("phi-kek")) });
    bao.seal();
    let error = store.put_new("sealed", vec![1; 10]).unwrap_err();
    assert!(
        matches!(
            error.trouble,
            Trouble::Status { .. } | Trouble::NotSealed { .. } | Trouble::Denied | Trouble::Interrupted
        ),
        "{error:?}"
    );
    assert_eq!(weed.direct(&StoreSettings::default()).find("sealed").unwrap(), None, "nothing is left unencrypted");
}

/// Such a store exists: Ceph takes the wish for keys of its own and does nothing.
#[test]
fn a_store_that_only_says_yes_is_refused_and_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&dir.path().join("pki")) else { return };
    let long = dir.path().join("long");
    fs::write(&long, vec![42; 20 << 20]).unwrap();
    let with = |bucket: &Arc<Bucket>, encryption| {
        let bucket = Arc::clone(bucket);
        let address = serve(&pki, move |request| bucket.answer(request));
        open(&address, &StoreSettings { ca_file: Some(pki.path("ca.pem")), ..asked(encryption) })
    };
    for encryption in
        [ServerEncryption::SseS3, kms("phi"), ServerEncryption::SseKms(KmsKey { key: None, bucket_key: true })]
    {
        let deaf = Bucket::made(Dialect::S3, |_| false);
        let store = with(&deaf, encryption.clone());
        let error = store.put_new("CANARY", vec![1; 10]).unwrap_err();
        assert_eq!(error.trouble, Trouble::NotSealed { removed: true });
        assert!(error.to_string().contains("s3://lake") && !error.to_string().contains("CANARY"), "{error}");
        assert_eq!(store.upload("CANARY", &long).unwrap_err().trouble, Trouble::NotSealed { removed: true });
        assert!(deaf.objects().is_empty() && deaf.uploads() == 0);
        // One that does it for some ways of writing only.
        let half = Bucket::made(Dialect::S3, |in_parts| !in_parts);
        let store = with(&half, encryption.clone());
        store.put_new("whole", vec![1; 10]).unwrap();
        assert_eq!(store.upload("parts", &long).unwrap_err().trouble, Trouble::NotSealed { removed: true });
        assert_eq!(half.objects().keys().collect::<Vec<_>>(), ["whole"]);
        // One that does it, and what it was asked for.
        let good = Bucket::new(Dialect::S3);
        let store = with(&good, encryption.clone());
        store.put_new("whole", vec![1; 10]).unwrap();
        store.upload("parts", &long).unwrap();
        let kind = if encryption == ServerEncryption::SseS3 { "AES256" } else { "aws:kms" };
        for (key, kept) in good.objects() {
            assert_eq!(kept.sealed["x-amz-server-side-encryption"], kind, "{key}");
            let bucket_key = kept.sealed.get("x-amz-server-side-encryption-bucket-key-enabled").map(String::as_str);
            let wants = matches!(&encryption, ServerEncryption::SseKms(kms) if kms.bucket_key);
            assert_eq!(bucket_key, wants.then_some("true"));
        }
    }
}
