//! The JDBC driver of PostgreSQL.

use std::path::Path;
use std::process::Command;

use super::site::{PASSWORD, Site};
use crate::servers::absent;
use crate::support::said;

pub const DRIVER: &str = "/usr/share/java/postgresql.jar";
/// Where Java finds it, and what it needs.
pub const CLASSES: [&str; 3] = ["/usr/share/java/scram-client.jar", "/usr/share/java/scram-common.jar", DRIVER];

#[test]
fn jdbc_prepares_fetches_cancels_and_knows_what_there_is() {
    if !Path::new(DRIVER).is_file() || Command::new("java").arg("-version").output().is_err() {
        return absent("Java with the JDBC driver of PostgreSQL").unwrap_or_default();
    }
    let Some(site) = Site::start("", "") else { return };
    let url = format!(
        "jdbc:postgresql://127.0.0.1:{}/cordon?sslmode=verify-full&sslrootcert={}",
        site.postgres,
        site.pki.path("ca.pem")
    );
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/server/Client.java");
    let out = Command::new("java")
        .args(["-cp", &CLASSES.join(":"), source, &url, "ana", &format!("{PASSWORD} of ana")])
        .output()
        .unwrap();
    let said = said(out).ok();
    let rows = |code: &str, points: &[u32]| {
        let row = |points: &u32| format!(" {code},{points},{:.1},true", f64::from(*points) * 1.5);
        format!("row{}", points.iter().map(row).collect::<String>())
    };
    let rounds = [rows("E00", &[380]), rows("E01", &[381]), rows("E02", &[382])];
    let mut expected = vec![
        "product PostgreSQL".to_owned(),
        "table visits".to_owned(),
        "column day".to_owned(),
        "column code text".to_owned(),
        "column points int8".to_owned(),
    ];
    expected.extend((0..8).map(|round| rounds[round % 3].clone()));
    expected.extend(
        ["injected false", "fetched 25500", "date true", "refused 42703", "cancelled 57014", "alive 1"]
            .map(str::to_owned),
    );
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{}", said.all());
    for (line, expected) in lines.iter().zip(&expected) {
        assert!(line.starts_with(expected.as_str()), "{line} is not {expected}\n{}", said.all());
    }
    site.until("nothing runs any more", 20, |site| site.count("cordon_queries_running") == 0);
}
