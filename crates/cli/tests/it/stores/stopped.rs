//! Servers that stop in the middle of a run and come back: what is said of it, and that the run ends as one that was not disturbed.

use super::midway::{Midway, PEOPLE, exports, source};
use super::wire::{Look, needles, none_in};
use super::{Azure, Clinic, S3};
use crate::keystores::transit;
use crate::postgres_server::{Server, is_installed};
use crate::servers::{Bao, Pki};
use crate::support::Said;

/// Names what is away and what to do next, and nobody.
#[track_caller]
fn told(said: &Said, words: &[&str]) {
    for word in words {
        assert!(said.err.contains(word), "`{word}`: {}", said.err);
    }
    assert!(!said.all().contains("MQZ") && !said.all().contains(".csv"), "{}", said.all());
}

/// Carried on from its journal to the rows of an undisturbed run.
#[track_caller]
fn ends_as(clinic: &Clinic, rows: &[String]) {
    let report = clinic.run(0);
    assert_eq!((&report["resumed"], &report["rows_out"]), (&true.into(), &PEOPLE.into()));
    assert!(clinic.rows() == rows, "other rows than those of a run that was not disturbed");
    clinic.cordon(&["audit", "verify"]).ok();
}

#[test]
fn a_run_whose_servers_stop_ends_as_an_undisturbed_one() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&scratch.path().join("pki")) else { return };
    let (Some(mut s3), Some(mut azure), Some(mut bao)) = (S3::start(&pki), Azure::start(&pki), Bao::start()) else {
        return;
    };
    if !is_installed() {
        return;
    }
    let db = Server::start();
    for (name, content) in exports(6000) {
        s3.put(&format!("in/{name}"), content.as_bytes());
    }
    let planted = Look::for_any(needles(PEOPLE));
    let mut first = Clinic::new("az://tables/first", &(s3.yaml(3) + &azure.yaml()), &source("s3://lake"));
    first.token.clone_from(&bao.root_token);
    first.keys_in(&transit(&bao, "cordon"));
    first.vault_in(&db, 4);

    // The database crashes among values that it never saw, and stays away longer than is waited for.
    let run = Midway::of(&first);
    db.down("immediate");
    let gone = run.goes_on().exits(6);
    told(&gone, &[&format!("127.0.0.1:{}", db.port), "run again"]);
    none_in(&planted, &[&first.folder.path(), azure.dir.path()]);
    db.up();
    // It crashes again, and is back in time: nobody need do anything.
    let run = Midway::of(&first);
    db.down("immediate");
    db.up();
    let report = run.goes_on().ok().json();
    assert_eq!((&report["resumed"], &report["rows_out"]), (&true.into(), &PEOPLE.into()));
    assert_eq!(first.tokens(), [("patient".to_owned(), PEOPLE)], "each value has one token, and none is left over");
    first.cordon(&["vault", "verify"]).ok();
    let rows = first.rows();
    assert_eq!(rows.len(), PEOPLE + 1);
    let calm = first.twin("az://tables/calm");
    assert_eq!(calm.run(0)["resumed"], false);
    assert!(calm.rows() == rows);

    // The source stops within a file.
    let clinic = first.twin("az://tables/source");
    let run = Midway::of(&clinic);
    s3.stop();
    told(&run.goes_on().exits(6), &["s3://lake", "nothing is lost"]);
    told(&clinic.cordon(&["run", "test", "-q"]).exits(6), &["s3://lake", "cannot be reached", "nothing is lost"]);
    none_in(&planted, &[&clinic.folder.path(), azure.dir.path()]);
    s3.back();
    ends_as(&clinic, &rows);

    // The sink stops while sources are read, and once more when all is decided.
    let clinic = first.twin("az://tables/sink");
    let run = Midway::of(&clinic);
    azure.stop();
    told(&run.goes_on().exits(6), &["az://tables", "cannot be reached", "nothing is lost"]);
    azure.resume();
    let ended = clinic.command(&["run", "test", "-q"]).env("CORDON_FAIL_AT", "prepared").output().unwrap();
    assert!(!ended.status.success());
    azure.stop();
    told(&clinic.cordon(&["run", "test", "-q"]).exits(6), &["az://tables", "cannot be reached", "nothing is lost"]);
    none_in(&planted, &[&clinic.folder.path(), azure.dir.path()]);
    azure.resume();
    ends_as(&clinic, &rows);

    // The key store stops: a run that has its keys ends, and nobody begins another one.
    let clinic = first.twin("az://tables/keys");
    let run = Midway::of(&clinic);
    bao.stop();
    let report = run.goes_on().ok().json();
    assert_eq!(report["rows_out"], PEOPLE);
    told(&clinic.cordon(&["run", "test", "-q"]).exits(5), &[&bao.address, "cannot be reached"]);
    bao.restart();
    told(&clinic.cordon(&["run", "test", "-q"]).exits(5), &[&bao.address, "sealed"]);
    bao.unseal();
    assert!(clinic.rows() == rows);
    assert_eq!(clinic.run(0)["files_read"], 0);
    assert_eq!(first.tokens(), [("patient".to_owned(), PEOPLE)]);
}
