//! What a store and the way to it may do to an upload: it survives, or it is given up soon, and nobody sees a half.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cordon_storage::{StorageError, StoreSettings, Trouble};

use crate::seaweed::{Weed, open};
use crate::servers::Pki;
use crate::tls::{Fault, proxy};

const LATE: Duration = Duration::from_secs(20);

/// Three parts of an upload, none like another.
fn file(dir: &std::path::Path) -> (std::path::PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..40_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let path = dir.join("part.parquet");
    fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

fn settings(pki: &Pki, seconds: u64) -> StoreSettings {
    StoreSettings { ca_file: Some(pki.path("ca.pem")), retry_seconds: Some(seconds), ..StoreSettings::default() }
}

fn says_nothing(error: &StorageError) {
    assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
}

#[test]
fn an_upload_survives_what_passes() {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&dir.path().join("pki")) else { return };
    let Some(weed) = Weed::start() else { return };
    let (path, bytes) = file(dir.path());
    let faults = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&faults);
    // Each request fares ill twice before it comes through.
    let kinds = [
        Fault::Status(429),
        Fault::Status(500),
        Fault::Lost,
        Fault::Status(503),
        Fault::Answerless,
        Fault::Status(504),
    ];
    let address = proxy(&pki, weed.port(), move |number, request| {
        // What is done twice is not always the same: see the test below.
        let once = request.method == "POST" && request.has("uploadId");
        let fault = kinds[number % kinds.len()];
        if number % 3 == 2 || (once && fault == Fault::Answerless) {
            return Fault::None;
        }
        count.fetch_add(1, Ordering::SeqCst);
        fault
    });
    let store = open(&address, &settings(&pki, 60));
    store.upload("CANARY/data", &path).unwrap_or_else(|error| panic!("{error}"));
    store.put_new("CANARY/manifest", vec![7; 100]).unwrap_or_else(|error| panic!("{error}"));
    let survived = faults.load(Ordering::SeqCst);
    assert!(survived >= 8, "{survived}");
    eprintln!("an upload of 3 parts and a manifest survived {survived} faults");

    let direct = weed.direct(&StoreSettings::default());
    assert_eq!(direct.small("CANARY/data", 1 << 30).unwrap().unwrap(), bytes);
    assert_eq!(direct.small("CANARY/manifest", 1 << 30).unwrap().unwrap(), vec![7; 100]);
    let listed: Vec<String> = direct.list("").map(|object| object.unwrap().key).collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    // Read back through the same.
    let object = store.find("CANARY/data").unwrap().unwrap();
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut store.reader(&object).unwrap(), &mut read).unwrap();
    assert_eq!(read, bytes);
}

/// A name is taken once, also where whoever took it is not told.
#[test]
fn a_lost_answer_takes_no_name_twice() {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&dir.path().join("pki")) else { return };
    let Some(weed) = Weed::start() else { return };
    let address = proxy(&pki, weed.port(), |number, _| if number == 0 { Fault::Answerless } else { Fault::None });
    let store = open(&address, &settings(&pki, 20));
    // The request is sent again, and finds its own.
    store.put_new("CANARY", vec![1; 100]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(store.small("CANARY", 1000).unwrap().unwrap(), vec![1; 100]);
    // Somebody else's stays.
    let address = proxy(&pki, weed.port(), |number, _| if number == 0 { Fault::Lost } else { Fault::None });
    let error = open(&address, &settings(&pki, 20)).put_new("CANARY", vec![2; 100]).unwrap_err();
    assert_eq!(error.trouble, Trouble::Exists);
    says_nothing(&error);
    assert_eq!(store.small("CANARY", 1000).unwrap().unwrap(), vec![1; 100]);
}

#[test]
fn an_upload_that_cannot_be_is_given_up_soon_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&dir.path().join("pki")) else { return };
    let Some(weed) = Weed::start() else { return };
    let (path, _) = file(dir.path());
    let direct = weed.direct(&StoreSettings::default());
    for (fault, is_it) in [
        (Fault::Status(503), (|trouble| *trouble == Trouble::Status { status: 503 }) as fn(&Trouble) -> bool),
        (Fault::Status(429), |trouble| *trouble == Trouble::Status { status: 429 }),
        (Fault::Status(403), |trouble| *trouble == Trouble::Denied),
        (Fault::Lost, |trouble| matches!(trouble, Trouble::Unreachable | Trouble::Interrupted)),
        (Fault::Late(LATE), |trouble| *trouble == Trouble::Unreachable),
    ] {
        // All goes well until the second part: then nothing does, the giving up of the upload neither.
        let broken = Arc::new(AtomicBool::new(false));
        let breaks = Arc::clone(&broken);
        let address = proxy(&pki, weed.port(), move |_, request| {
            if request.query.get("partNumber").is_some_and(|number| number == "2") {
                breaks.store(true, Ordering::SeqCst);
            }
            if breaks.load(Ordering::SeqCst) { fault } else { Fault::None }
        });
        let store = open(&address, &settings(&pki, 4));
        let start = Instant::now();
        let error = store.upload("CANARY/part", &path).unwrap_err();
        let took = start.elapsed();
        // On a slow machine an answer may be late besides.
        let is_late = error.trouble == Trouble::Unreachable;
        assert!(is_it(&error.trouble) || is_late, "{fault:?}: {error:?}");
        assert!(took < Duration::from_secs(90), "{fault:?}: {took:?}");
        says_nothing(&error);
        assert_eq!(direct.find("CANARY/part").unwrap(), None, "{fault:?}");
        assert_eq!(direct.list("").count(), 0, "{fault:?}");
        // What was begun is found and given up, by whoever looks after the table.
        assert_eq!(direct.give_up_uploads("elsewhere", Duration::ZERO).unwrap(), 0);
        assert_eq!(direct.give_up_uploads("CANARY", Duration::from_hours(1)).unwrap(), 0, "not so soon");
        std::thread::sleep(Duration::from_millis(1_100));
        assert_eq!(direct.give_up_uploads("CANARY", Duration::ZERO).unwrap(), 1, "{fault:?}");
        assert_eq!(direct.give_up_uploads("CANARY", Duration::ZERO).unwrap(), 0);
    }
    // The same file goes up when all is well again.
    direct.upload("CANARY/part", &path).unwrap();
    assert!(direct.find("CANARY/part").unwrap().is_some());
}

/// A source that breaks off is an error and no shorter file.
#[test]
fn a_download_that_is_cut_goes_on_or_fails() {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&dir.path().join("pki")) else { return };
    let Some(weed) = Weed::start() else { return };
    let (path, bytes) = file(dir.path());
    let direct = weed.direct(&StoreSettings::default());
    direct.upload("source", &path).unwrap();
    for (cut, goes_on) in [(3, true), (usize::MAX, false)] {
        let address =
            proxy(
                &pki,
                weed.port(),
                move |number, request| {
                    if request.method == "GET" && number < cut { Fault::Cut } else { Fault::None }
                },
            );
        let store = open(&address, &settings(&pki, 3));
        let object = store.find("source").unwrap().unwrap();
        let mut read = Vec::new();
        let result = store.reader(&object).map_err(std::io::Error::from);
        let result = result.and_then(|mut reader| std::io::Read::read_to_end(&mut reader, &mut read));
        if goes_on {
            assert_eq!(result.unwrap(), bytes.len());
            assert!(read == bytes);
        } else {
            assert!(result.is_err() && read.len() < bytes.len());
        }
    }
}
