//! Credentials that are wrong or may not, and buckets that are not there: told as what they are, and what was made is not lost.

use std::fs;

use super::{ACCOUNT, Azure, Clinic, S3, SOURCES, in_clear, rows};
use crate::servers::Pki;
use crate::support::{Said, said};

/// Names the store, what is wrong and what to do next; neither a value nor a credential nor the name of a file.
#[track_caller]
fn told(said: &Said, words: &[&str]) {
    for word in [words, &["help:"]].concat() {
        assert!(said.err.contains(word), "`{word}`: {}", said.err);
    }
    for never in ["CANARY", "Canary", "a.csv", ACCOUNT.1] {
        assert!(!said.all().contains(never), "{}", said.all());
    }
}

#[test]
fn who_may_not_and_what_is_not_there_is_told_and_the_run_goes_on_with_who_may() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&scratch.path().join("pki")) else { return };
    let (Some(s3), Some(azure)) = (S3::start(&pki), Azure::start(&pki)) else { return };
    s3.put("in/a.csv", rows(0..200).as_bytes());
    let stores = s3.yaml(3) + &azure.yaml();
    let others = stores.replace("s3://lake", "s3://nowhere").replace("az://tables", "az://nowhere");
    let mut clinic = Clinic::new("az://tables/clinic", &(stores.clone() + &others), SOURCES);
    let run = |clinic: &Clinic| clinic.cordon(&["run", "test", "-q"]);

    for (variable, value, words) in [
        ("AWS_SECRET_ACCESS_KEY", "CANARYwrong", ["s3://lake", "refuses these credentials"]),
        ("AWS_ACCESS_KEY_ID", "AKIACANARY", ["s3://lake", "refuses these credentials"]),
        ("AZURE_STORAGE_ACCOUNT_KEY", "Q0FOQVJZIG9mIG5vYm9keQ==", ["az://tables", "refuses these credentials"]),
        ("AZURE_STORAGE_ACCOUNT_KEY", "CANARY is not base64", ["az://tables", "credentials"]),
    ] {
        clinic.env = vec![(variable, value.to_owned())];
        told(&run(&clinic).exits(6), &words);
    }
    clinic.env.clear();
    // Half a pair of keys is not taken for none, where the machine's own identity would do.
    let half = clinic.command(&["run", "test", "-q"]).env_remove("AWS_SECRET_ACCESS_KEY").output().unwrap();
    told(&said(half).exits(6), &["s3://lake", "AWS_SECRET_ACCESS_KEY"]);

    let pipeline = clinic.folder.read("pipelines/test.yaml");
    clinic.folder.write("pipelines/test.yaml", pipeline.replace("s3://lake", "s3://nowhere"));
    told(&run(&clinic).exits(6), &["s3://nowhere", "does not exist"]);
    clinic.folder.write("pipelines/test.yaml", pipeline.replace("/in/*", "/typo/*"));
    told(&run(&clinic).exits(2), &["no file matches", "pipelines/test.yaml:4"]);
    clinic.folder.write("pipelines/test.yaml", &pipeline);
    clinic.storage("az://nowhere/clinic", &(stores.clone() + &others));
    told(&run(&clinic).exits(6), &["az://nowhere", "does not exist"]);
    // Where there is nothing, there is no table, and no answer that it would be empty.
    let sql = ["sql", "SELECT * FROM visits", "--as", "engineer", "--purpose", "operations"];
    told(&clinic.cordon(&sql).exits(6), &["az://nowhere", "does not exist"]);
    assert_eq!(in_clear(&clinic.folder.path(), "CANARY"), Vec::<std::path::PathBuf>::new());
    assert_eq!(in_clear(azure.dir.path(), "CANARY"), Vec::<std::path::PathBuf>::new());

    clinic.storage("az://tables/clinic", &stores);
    assert_eq!(clinic.run(0)["rows_out"], 200);
    assert_eq!(clinic.count("SELECT count(DISTINCT mrn) FROM visits"), 200);
    clinic.env = vec![("AZURE_STORAGE_ACCOUNT_KEY", "Q0FOQVJZIG9mIG5vYm9keQ==".to_owned())];
    told(&clinic.cordon(&sql).exits(6), &["az://tables", "refuses these credentials"]);
    clinic.env.clear();
    // A signature that may only read: what is there is read, and a run is told that it may not write.
    let signed = |signature: &str, args: &[&str]| {
        let mut command = clinic.command(args);
        command.env_remove("AZURE_STORAGE_ACCOUNT_KEY").env("AZURE_STORAGE_SAS_TOKEN", signature);
        said(command.output().unwrap())
    };
    let reader = Azure::signature("rl", "2099-01-01T00:00:00Z");
    signed(&reader, &sql).ok();
    s3.put("in/b.csv", rows(200..300).as_bytes());
    let refused = signed(&reader, &["run", "test", "-q"]).exits(6);
    told(&refused, &["az://tables"]);
    assert!(!refused.all().contains(reader.rsplit('=').next().unwrap()), "{}", refused.all());
    for (permissions, until) in [("rl", "2020-01-01T00:00:00Z"), ("w", "2099-01-01T00:00:00Z")] {
        told(&signed(&Azure::signature(permissions, until), &sql).exits(6), &["az://tables"]);
    }
    assert_eq!(clinic.count("SELECT count(DISTINCT mrn) FROM visits"), 200);
    assert_eq!(clinic.run(0)["rows_out"], 100, "nothing of it was lost");
    // Failures are on the record, and it is whole.
    clinic.cordon(&["audit", "verify"]).ok();
    let failed = clinic.cordon(&["audit", "list", "-n", "100", "--kind", "run_failed", "--format", "json"]).ok().json();
    assert!(failed.as_array().unwrap().len() >= 7, "{failed}");
    assert_eq!(
        fs::read_dir(clinic.folder.path().join(".cordon/staging/visits/_staging")).map_or(0, Iterator::count),
        0
    );
}
