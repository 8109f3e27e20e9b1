//! Runs from and to HDFS with Kerberos: nothing of a patient on the network or in a data node's blocks, and what becomes of a run whose
//! identity, name node, data node or own process goes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cordon_storage::Trouble;

use super::Clinic;
use super::midway::{Midway, PEOPLE, exports, source};
use super::wire::{Capture, Look, found_in, is_heard, needles, none_in, speak};
use crate::hdfs_server::{FOLDER, Hdfs, STEP, open_to_all, prepare, store};
use crate::killed::Seeded;
use crate::servers::free_port;
use crate::support::Said;
use crate::written;

type Identity = Vec<(&'static str, String)>;

fn step(hdfs: &Hdfs, name: &str, identity: &Identity) {
    hdfs.step("stores::hdfs::asked_in_a_process_of_its_own", name, identity);
}

#[test]
#[ignore = "run by the other test"]
fn asked_in_a_process_of_its_own() {
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    match std::env::var(STEP).unwrap().as_str() {
        "prepare" => prepare(),
        "put" => {
            let clinic = store("clinic", 60);
            let mut names = vec!["/clinic/in".to_owned()];
            for entry in fs::read_dir(folder.join("exports")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                clinic.upload(&format!("in/{name}"), &folder.join("exports").join(&name)).unwrap();
                names.push(format!("/clinic/in/{name}"));
            }
            open_to_all(&names);
        }
        "get" => get(&store("clinic", 60), "tables", &folder.join("got")),
        "remove" => {
            let clinic = store("clinic", 60);
            for object in clinic.list("in").collect::<Result<Vec<_>, _>>().unwrap() {
                clinic.remove(&object.key).unwrap();
            }
        }
        other => panic!("{other}"),
    }
}

/// All that a folder holds, what others do not see of it too.
fn get(clinic: &cordon_storage::Store, key: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let (objects, folders) = clinic.names(key).unwrap();
    for object in objects {
        let name = object.key.rsplit('/').next().unwrap();
        let mut reader = match clinic.reader(&object) {
            Ok(reader) => reader,
            // The name node holds it open for whoever was killed while closing it; its blocks are looked into with all others.
            Err(error) if name.starts_with(".draft-") && matches!(error.trouble, Trouble::Changed) => continue,
            Err(error) => panic!("{name}: {error}"),
        };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        fs::write(to.join(name), bytes).unwrap();
    }
    for folder in folders {
        get(clinic, &format!("{key}/{folder}"), &to.join(&folder));
    }
}

/// Names the cluster and what to do next, and neither a value nor a file.
#[track_caller]
fn told(hdfs: &Hdfs, said: &Said, words: &[&str]) {
    for word in [words, &[&format!("hdfs://{}", hdfs.authority()), "help:"]].concat() {
        assert!(said.err.contains(word), "`{word}`: {}", said.err);
    }
    for never in ["MQZ", "Zq0", ".csv", "keytab/", ".parquet"] {
        assert!(!said.all().contains(never), "`{never}`: {}", said.all());
    }
}

#[track_caller]
fn ends_as(clinic: &Clinic, rows: &[String]) {
    let report = clinic.run(0);
    assert_eq!((&report["resumed"], &report["rows_out"]), (&true.into(), &PEOPLE.into()));
    assert!(clinic.rows() == rows, "other rows than those of a run that was not disturbed");
    clinic.cordon(&["audit", "verify"]).ok();
}

#[test]
fn runs_from_and_to_hdfs_keep_to_themselves_and_end_whatever_goes() {
    let Some(mut hdfs) = Hdfs::start() else { return };
    step(&hdfs, "prepare", &hdfs.keytab("admin"));
    fs::create_dir(hdfs.path("exports")).unwrap();
    for (name, content) in exports(1000) {
        fs::write(hdfs.path(&format!("exports/{name}")), content).unwrap();
    }
    let right = hdfs.keytab("clinic");
    let planted = Look::for_any(needles(PEOPLE));
    let root = format!("hdfs://{}/clinic", hdfs.authority());
    let settings =
        format!("    hdfs://{}: {{ config-dir: {}, retry-seconds: 3 }}\n", hdfs.authority(), hdfs.path("client"));
    let mut first = Clinic::new(&format!("{root}/tables/calm"), &settings, &source(&root));
    first.env.clone_from(&right);

    // On the network from before the sources came until after the tables were read.
    let scratch = tempfile::tempdir().unwrap();
    let (file, spoken) = (scratch.path().join("capture.pcap"), free_port());
    let Some(capture) = Capture::start(&file, &[&hdfs.ports(), &[spoken][..]].concat()) else { return };
    speak(99_990, spoken);
    step(&hdfs, "put", &right);
    let began = Instant::now();
    let report = first.run(0);
    let whole = began.elapsed();
    assert_eq!((&report["rows_in"], &report["rows_out"]), (&PEOPLE.into(), &PEOPLE.into()));
    let rows = first.rows();
    assert_eq!(rows.len(), PEOPLE + 1);
    speak(99_991, spoken);
    capture.stop();
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.len() > 3_000_000, "sources and tables are in the capture: {} bytes", bytes.len());
    is_heard(99_990, &bytes);
    is_heard(99_991, &bytes);
    assert_eq!(planted.found(&bytes), BTreeSet::new());
    drop(bytes);
    fs::remove_file(&file).unwrap();

    identities(&hdfs, &first, &rows);
    nodes(&mut hdfs, &first, &rows, &settings);
    kills(&hdfs, &first, &rows, whole);

    // All that is in the cluster is sealed, and drafts of what was killed are.
    step(&hdfs, "get", &right);
    let of_tables = written::below(Path::new(&hdfs.path("got")));
    assert!(of_tables > 10, "{of_tables}");
    // The blocks hold the sources, until these are removed.
    let blocks = PathBuf::from(hdfs.path("data"));
    assert!(found_in(&planted, &blocks) > PEOPLE, "the same look finds what is in clear");
    step(&hdfs, "remove", &right);
    let gone = Instant::now();
    while found_in(&planted, &blocks) > 0 {
        assert!(gone.elapsed() < Duration::from_mins(1), "blocks of sources that were removed are still there");
        sleep(Duration::from_millis(500));
    }
    let held = none_in(&planted, &[&blocks, Path::new(&hdfs.path("name")), Path::new(&hdfs.path("got"))]);
    assert!(held > 300_000, "{held}");
    for log in ["name.log", "data.log"] {
        assert_eq!(planted.found(&fs::read(hdfs.path(log)).unwrap()), BTreeSet::new());
    }
}

/// Who may not, told apart; what was made waits for who may.
fn identities(hdfs: &Hdfs, first: &Clinic, rows: &[String]) {
    let root = format!("hdfs://{}/clinic", hdfs.authority());
    let mut clinic = first.twin(&format!("{root}/tables/identities"));
    let run = |clinic: &Clinic| clinic.cordon(&["run", "test", "-q"]);
    clinic.env = hdfs.keytab("old");
    told(hdfs, &run(&clinic).exits(6), &["the keytab is not the one of this principal"]);
    clinic.env = hdfs.cache("none.cache");
    told(hdfs, &run(&clinic).exits(6), &["there is no ticket", "kinit"]);
    hdfs.ticket("clinic", "short.cache", "2s");
    sleep(Duration::from_secs(3));
    clinic.env = hdfs.cache("short.cache");
    told(hdfs, &run(&clinic).exits(6), &["expired", "kinit"]);
    clinic.env = hdfs.keytab("clinic");
    let pipeline = clinic.folder.read("pipelines/test.yaml");
    clinic.folder.write("pipelines/test.yaml", pipeline.replace("/clinic/in/", "/clinic/nowhere/"));
    let nowhere = run(&clinic).exits(2);
    assert!(
        nowhere.err.contains("no file matches") && nowhere.err.contains("pipelines/test.yaml:4"),
        "{}",
        nowhere.err
    );
    clinic.folder.write("pipelines/test.yaml", pipeline);
    // May read, and not write.
    clinic.env = hdfs.keytab("reader");
    told(hdfs, &run(&clinic).exits(6), &["this identity may not do this there"]);
    clinic.env = hdfs.keytab("clinic");
    ends_as(&clinic, rows);
    // Nor may anybody make a folder where none is.
    let elsewhere = first.twin(&format!("hdfs://{}/elsewhere/tables", hdfs.authority()));
    told(hdfs, &run(&elsewhere).exits(6), &["this identity may not do this there"]);
}

/// Name node and data node are killed in the middle of a run.
fn nodes(hdfs: &mut Hdfs, first: &Clinic, rows: &[String], settings: &str) {
    let planted = Look::for_any(needles(PEOPLE));
    let root = format!("hdfs://{}/clinic", hdfs.authority());
    let place = format!("{root}/tables/name-node");
    let clinic = first.twin(&place);
    let run = Midway::of(&clinic);
    hdfs.stop_name_node();
    told(hdfs, &run.goes_on().exits(6), &["nothing is lost"]);
    none_in(&planted, &[&clinic.folder.path()]);
    hdfs.start_name_node();
    // With more patience it is waited for until it is out of its safe mode.
    clinic.storage(&place, &settings.replace("retry-seconds: 3", "retry-seconds: 60"));
    let run = Midway::of(&clinic);
    hdfs.stop_name_node();
    hdfs.start_name_node();
    let report = run.goes_on().ok().json();
    assert_eq!((&report["resumed"], &report["rows_out"]), (&true.into(), &PEOPLE.into()));
    assert!(clinic.rows() == rows);

    let clinic = first.twin(&format!("{root}/tables/data-node"));
    let run = Midway::of(&clinic);
    hdfs.stop_data_node();
    told(hdfs, &run.goes_on().exits(6), &["nothing is lost"]);
    hdfs.start_data_node();
    ends_as(&clinic, rows);
}

/// The run itself is killed, at instants that a seed gives.
fn kills(hdfs: &Hdfs, first: &Clinic, rows: &[String], mut whole: Duration) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("CORDON_KILL_SEED").unwrap_or(20_260_104);
    let kills = number("CORDON_KILLS").unwrap_or(4);
    let planted = Look::for_any(needles(PEOPLE));
    let mut random = Seeded(seed);
    let (mut hits, mut clinics) = (0, 0);
    let next = |number: u64| first.twin(&format!("hdfs://{}/clinic/tables/killed{number}", hdfs.authority()));
    let mut clinic = next(clinics);
    for number in 0..4 * kills {
        if number >= kills && hits > 0 {
            break;
        }
        let began = Instant::now();
        let command = &mut clinic.command(&["run", "test", "-q"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let instant = Duration::from_millis(random.below(whole.as_millis() as u64));
        while began.elapsed() < instant && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        none_in(&planted, &[&clinic.folder.path().join(".cordon")]);
        if ended.success() {
            assert!(clinic.rows() == rows, "seed {seed}");
            // Machines are faster at one time than at another.
            whole = whole.min(began.elapsed());
            clinics += 1;
            clinic = next(clinics);
        } else {
            hits += 1;
        }
    }
    assert!(hits > 0, "no run was hit: seed {seed}");
    // Also where it hurts most: a table's parts are there, and its manifest is not.
    for step in ["prepared", "committing", "committed"] {
        let ended = clinic.command(&["run", "test", "-q"]).env("CORDON_FAIL_AT", step).output().unwrap();
        assert!(!ended.status.success() || step != "prepared", "seed {seed}: {step}");
    }
    let report = clinic.run(0);
    assert!(clinic.rows() == rows, "seed {seed}: other rows than those of a run that was not disturbed");
    assert_eq!(report["quarantined"], 0, "seed {seed}");
    assert_eq!(clinic.tokens(), [("patient".to_owned(), PEOPLE)], "seed {seed}");
    for verb in [["audit", "verify"], ["vault", "verify"], ["tables", "verify"]] {
        clinic.cordon(&verb).ok();
    }
}
