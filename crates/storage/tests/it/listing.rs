//! A listing takes no more memory for more objects.

use std::path::Path;
use std::time::Instant;

use cordon_storage::StoreSettings;

use crate::bucket::xml;
use crate::seaweed::{Weed, open};
use crate::servers::Pki;
use crate::tls::{Reply, serve};

/// Of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A server that lists so many names that it has not.
fn listed(count: usize) -> (u64, f64) {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&dir.path().join("pki")) else { return (0, 0.0) };
    let address = serve(&pki, move |request| {
        assert_eq!((request.path.trim_end_matches('/'), request.query["list-type"].as_str()), ("/lake", "2"));
        let from: usize = request.query.get("continuation-token").map_or(0, |token| token.parse().unwrap());
        let to = (from + 1000).min(count);
        let mut inner = String::with_capacity(300_000);
        for at in from..to {
            inner.push_str(&format!(
                "<Contents><Key>exports/2026-11-27/visits-{at:09}.csv.gz</Key><LastModified>2026-11-27T08:00:00.000Z</LastModified>\
                 <ETag>\"{at:032x}\"</ETag><Size>{at}</Size></Contents>"
            ));
        }
        if to < count {
            inner.push_str(&format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{to}</NextContinuationToken>"
            ));
        }
        Reply::text(200, xml("ListBucketResult", &inner))
    });
    let settings = StoreSettings { ca_file: Some(pki.path("ca.pem")), ..StoreSettings::default() };
    let store = open(&address, &settings);
    let (start, mut before, mut most, mut found, mut sizes) = (Instant::now(), 0, 0, 0_usize, 0_u64);
    for object in store.list("exports") {
        let object = object.unwrap();
        sizes += object.size;
        found += 1;
        if found == count / 10 {
            // From here on nothing is to grow.
            before = resident();
        }
        if found % 5000 == 0 {
            most = most.max(resident());
        }
    }
    assert_eq!(found, count);
    assert_eq!(sizes, (count as u64 - 1) * count as u64 / 2, "each once");
    let grown = most.saturating_sub(before);
    let seconds = start.elapsed().as_secs_f64();
    eprintln!(
        "listed {count} objects in {seconds:.1} s: {most} KiB at most, {grown} KiB more than after a tenth of them"
    );
    (grown, seconds)
}

#[test]
fn a_listing_is_read_page_by_page() {
    let (grown, _) = listed(50_000);
    assert!(grown < 24 << 10, "{grown} KiB");
}

/// `cargo nextest run -p cordon-storage --run-ignored only million`
#[test]
#[ignore = "a minute"]
fn a_million_objects_take_no_more_memory_than_a_tenth_of_them() {
    let (grown, _) = listed(1_000_000);
    assert!(grown < 24 << 10, "{grown} KiB");
}

/// Somebody who stops reading stops the listing.
#[test]
fn who_stops_reading_stops_asking() {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&dir.path().join("pki")) else { return };
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    let address = serve(&pki, move |_| {
        let page = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let key = |at: usize| {
            format!(
                "<Contents><Key>{page:06}-{at}</Key><LastModified>2026-11-27T08:00:00.000Z</LastModified><Size>1</Size></Contents>"
            )
        };
        let inner: String = (0..1000).map(key).collect();
        let next = format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{page}</NextContinuationToken>");
        Reply::text(200, xml("ListBucketResult", &(inner + &next)))
    });
    let settings = StoreSettings { ca_file: Some(pki.path("ca.pem")), ..StoreSettings::default() };
    let first: Vec<String> = open(&address, &settings).list("").take(1500).map(|object| object.unwrap().key).collect();
    assert_eq!(first.len(), 1500);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let pages = asked.load(std::sync::atomic::Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(pages <= 8 && asked.load(std::sync::atomic::Ordering::SeqCst) == pages, "{pages}");
}

/// The same of a store that has them.
#[test]
fn what_a_store_lists_is_what_was_put_there() {
    let Some(weed) = Weed::start() else { return };
    let store = weed.direct(&StoreSettings::default());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for at in 0..600 {
                    store.put_new(&format!("exports/{}/{thread}-{at:04}.csv", at % 7), vec![1; at % 5]).unwrap();
                }
            });
        }
    });
    let mut listed: Vec<(String, u64)> =
        store.list("exports").map(|object| object.unwrap()).map(|o| (o.key, o.size)).collect();
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), 2400);
    assert!(listed.iter().all(|(key, size)| {
        let at: u64 = Path::new(key).file_stem().unwrap().to_str().unwrap().split('-').nth(1).unwrap().parse().unwrap();
        *size == at % 5
    }));
}
