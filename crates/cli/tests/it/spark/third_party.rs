//! Real exports that nobody here made, on a cluster: the rows, counts and quarantine of a run here.

use super::cluster::Cluster;
use super::runs::{counts, digests, installed, none_of, on_spark, secrets, twin};
use crate::support::{Folder, copy_tree, shared};

const EXPORTS: [(&str, &[(&str, &str)]); 4] = [
    ("synthea", &[("synthea-csv", "data/csv"), ("fhir-bundles", "data/fhir")]),
    ("hl7v2", &[("hl7v2", "data/hl7")]),
    ("ccda", &[("ccda", "data/ccda")]),
    ("x12", &[("x12", "data/x12")]),
];

#[test]
fn exports_of_others_come_out_as_here() {
    if shared("synthea-csv").is_none() {
        return;
    }
    let Some(cluster) = Cluster::start(&installed()) else { return };
    for (template, places) in EXPORTS {
        let first = Folder::init(template);
        for (data, place) in places {
            copy_tree(&shared(data).unwrap(), &first.path().join(place));
        }
        let there = on_spark(&first, &cluster.remote, &["--installed"]);
        assert!([0, 3].contains(&there.code), "{template}: {}", there.err);
        let report = there.json();
        // With the tokens that executors made.
        let again = twin(&first);
        let here = again.run_json("nightly", there.code);
        assert!(report["rows_in"].as_u64().unwrap() > 10, "{template}: {report}");
        assert_eq!(counts(&report), counts(&here), "{template}");
        assert_eq!(digests(&report), digests(&here), "{template}");
        assert!(!digests(&here).is_empty());
        let reasons = |folder: &Folder| {
            let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
            let mut reasons: Vec<String> =
                list.as_array().unwrap().iter().map(|entry| entry["reason"].to_string()).collect();
            reasons.sort();
            reasons
        };
        assert_eq!(reasons(&first), reasons(&again), "{template}");
        none_of(&secrets(&first), cluster.files());
    }
}
