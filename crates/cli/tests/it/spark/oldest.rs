//! The oldest Spark that is supported; and what somebody sees who listens between the machines of a cluster.

use std::path::PathBuf;

use super::cluster::Cluster;
use super::queries::{ENGINEER, ask, sorted};
use super::runs::{digests, installed, keyed, none_of, on_spark, pipeline, secrets, twin};
use crate::servers::absent;
use crate::stores::wire::Capture;

#[test]
fn the_oldest_spark_does_the_same_and_nothing_is_told_on_the_wire() {
    let Some(python) = std::env::var_os("CORDON_TEST_OLDEST_SPARK").map(PathBuf::from) else {
        return absent("pyspark 4.0 (CORDON_TEST_OLDEST_SPARK)").unwrap_or_default();
    };
    let Some(cluster) = Cluster::start_by(&python, &installed()) else { return };
    let folder = keyed();
    let here = twin(&folder);
    let listened = folder.dir.path().join("loopback");
    std::fs::create_dir(&listened).unwrap();
    let capture = Capture::start(&listened.join("all.pcap"), &[]);

    let report = on_spark(&folder, &cluster.remote, &["--installed"]).exits(0).json();
    assert_eq!(report["rows_in"], 2400);
    let again = twin(&folder);
    let embedded = again.run_json(pipeline(&again), 0);
    assert_eq!(digests(&report), digests(&embedded));
    assert_eq!(report["rows_out"], here.run_json(pipeline(&here), 0)["rows_out"]);
    let sql = "SELECT born, count(*) AS n, min(id) AS first FROM people WHERE row <> 'CANARYLITERAL' GROUP BY born";
    let on = ["--engine", "spark", "--remote", &cluster.remote, "--installed"];
    let there = sorted(&ask(&folder, ENGINEER, sql, &on).ok().out);
    assert!(there.len() > 30 && there == sorted(&ask(&folder, ENGINEER, sql, &[]).ok().out), "{there:?}");

    let secrets = secrets(&folder);
    if let Some(capture) = capture {
        capture.stop();
        let seen = none_of(&secrets, &listened);
        assert!(seen > 100_000, "{seen} bytes");
        let control = [b"MapInArrow".to_vec(), b"cordon_worker".to_vec()].into();
        let found = std::panic::catch_unwind(|| none_of(&control, &listened));
        assert!(found.is_err(), "the client's connection was listened to");
    }
    none_of(&secrets, cluster.files());
}
