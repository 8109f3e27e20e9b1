//! What `init`, `schema`, `policy` and `demo` promise.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Folder, assert_encrypted, binary, collect, said};

#[test]
fn a_new_project_is_valid_and_runs() {
    for template in ["hospital", "synthea", "hl7v2", "ccda", "notes", "fhir"] {
        let folder = Folder::init(template);
        folder.cordon(&["policy", "check"]).ok();
        let again = said(binary().args(["init", "project"]).current_dir(&folder.dir).output().unwrap());
        assert_eq!(again.code, 2, "a folder that is not empty is refused");
    }
}

#[test]
fn a_limited_data_set_is_a_project_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let init = |name: &str, template: &str| {
        let args = ["init", name, "--template", template, "--method", "limited-data-set"];
        said(binary().args(args).current_dir(&dir).output().unwrap())
    };
    for (template, policy) in [("hl7v2", "hl7v2"), ("ccda", "ccda"), ("fhir", "fhir")] {
        let made = init(template, template).ok();
        assert!(made.all().contains("data use agreement"), "{}", made.all());
        let folder = dir.path().join(template);
        let check = said(binary().args(["policy", "check"]).current_dir(&folder).output().unwrap()).ok();
        assert!(check.out.contains("1 policy and 1 pipeline"), "{}", check.out);
        let name = format!("limited-data-set-{policy}");
        let pipeline = std::fs::read_to_string(folder.join("pipelines/nightly.yaml")).unwrap();
        assert!(pipeline.contains(&format!("policy: {name}\n")) && !pipeline.contains("Safe Harbor"), "{pipeline}");
        let explained = said(binary().args(["policy", "explain", &name]).current_dir(&folder).output().unwrap()).ok();
        assert!(explained.out.contains("164.514(e)"), "{}", explained.out);
    }
    assert!(init("notes", "notes").exits(2).all().contains("no policy for a limited data set"));
    assert!(!dir.path().join("notes").exists(), "nothing is made where nothing fits");
}

#[test]
fn the_shipped_policy_settles_each_of_the_eighteen_identifiers() {
    let folder = Folder::init("hospital");
    let explained = folder.cordon(&["policy", "explain", "safe-harbor-hospital", "--format", "json"]).ok().json();
    let identifiers = explained["identifiers"].as_array().unwrap();
    assert_eq!(identifiers.len(), 18);
    for line in identifiers {
        assert!(!line["fields"].as_array().unwrap().is_empty(), "{} is settled by nothing", line["letter"]);
    }
    for field in
        explained["datasets"].as_array().unwrap().iter().flat_map(|dataset| dataset["fields"].as_array().unwrap())
    {
        assert!(!(field["letter"].is_string() && field["action"] == "keep"), "{field}");
    }
    let text = folder.cordon(&["policy", "explain", "safe-harbor-hospital"]).ok().out;
    assert!(text.contains("164.514(c)"));
}

#[test]
fn published_schemas_are_those_of_the_types() {
    for name in ["project", "policy", "pipeline"] {
        let printed = said(binary().args(["schema", name]).output().unwrap()).ok().out;
        let published = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/schema/{name}.json"));
        if std::env::var_os("CORDON_UPDATE").is_some() {
            fs::write(&published, &printed).unwrap();
        }
        let kept = fs::read_to_string(&published).unwrap_or_default();
        assert!(kept == printed, "docs/schema/{name}.json is out of date: run the tests with CORDON_UPDATE=1");
    }
}

/// With as many patients as it has by default, and in the time that is promised of it once it is built for release.
#[test]
fn the_demo_shows_the_whole_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let began = std::time::Instant::now();
    let shown = said(binary().args(["demo", "d"]).current_dir(&dir).output().unwrap()).ok();
    if !cfg!(debug_assertions) {
        assert!(began.elapsed() < std::time::Duration::from_mins(1), "{:?}", began.elapsed());
    }
    for expected in ["before", "after", "average_age", "denied", "entries verified", "What to try next"] {
        assert!(shown.out.contains(expected), "`{expected}` is missing:\n{}", shown.out);
    }
    assert_eq!(shown.out.matches("patient_id ┆").count(), 3, "three patients:\n{}", shown.out);
    let mut files = Vec::new();
    collect(&dir.path().join("d/warehouse"), &mut files);
    assert_encrypted(&files);
    let again = said(binary().args(["demo", "d"]).current_dir(&dir).output().unwrap());
    assert_eq!(again.code, 2, "an existing folder is left alone");
}

/// The reader that the manual gives to users, as it stands there.
#[test]
fn the_reader_of_the_manual_reads_the_tables() {
    let python = std::env::var_os("CORDON_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import pyarrow.parquet.encryption"]).output();
    if !has.is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: no Python with pyarrow; cargo xtask test brings one");
        return;
    }
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let manual = fs::read_to_string(manual).unwrap();
    let (_, rest) = manual.split_once("```python\n").unwrap();
    let (script, _) = rest.split_once("```").unwrap();
    let folder = Folder::init("hospital");
    folder.synth(50, &["--clean", "--formats", "csv,fhir"]);
    folder.run_json("nightly", 0);
    let bin = Path::new(env!("CARGO_BIN_EXE_cordon")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new(&python).args(["-c", script]).env("PATH", path).current_dir(folder.path()).output();
    let read = said(output.unwrap()).ok();
    let rows: u64 = read.out.lines().map(|line| line.trim().parse::<u64>().unwrap()).sum();
    assert_eq!(rows, 50);
    let unwrapped = folder.audit("dek_unwrapped");
    assert!(!unwrapped.is_empty() && unwrapped.iter().all(|event| event["outcome"] == "done"));
}

#[test]
fn a_new_project_brings_the_schemas_that_its_files_name() {
    let folder = Folder::init("hospital");
    for (file, schema) in [
        ("cordon.yaml", "project"),
        ("policies/safe-harbor-hospital.yaml", "policy"),
        ("pipelines/nightly.yaml", "pipeline"),
    ] {
        let text = folder.read(file);
        let named = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
        let path = folder.path().join(file).parent().unwrap().join(named);
        let printed = folder.cordon(&["schema", schema]).ok().out;
        assert_eq!(fs::read_to_string(path).unwrap().trim(), printed.trim(), "{file}");
    }
}

#[test]
fn mistakes_in_grants_are_said_with_their_place() {
    let folder = Folder::init("hospital");
    let config = folder.read("cordon.yaml");
    // A role that does not exist.
    folder.write("cordon.yaml", config.replace("roles: [research]", "roles: [reserch]"));
    let line = 1 + config.lines().position(|line| line.contains("roles: [research]")).unwrap();
    let said = folder.cordon(&["policy", "check"]).exits(2);
    assert!(said.err.contains(&format!("cordon.yaml:{line}:")), "{}", said.err);
    assert!(said.err.contains("`reserch`") && said.err.contains("did you mean `research`"), "{}", said.err);
    // An exception that excepts nothing, and so leaves open what it was to close.
    folder.write("cordon.yaml", config.replace("except: [resource]", "except: [resuorce]"));
    let line = 1 + config.lines().position(|line| line.contains("except: [resource]")).unwrap();
    let said = folder.cordon(&["policy", "check"]).exits(2);
    assert!(said.err.contains(&format!("cordon.yaml:{line}:")) && said.err.contains("`resuorce`"), "{}", said.err);
    folder.synth(5, &["--clean"]);
    let run = folder.cordon(&["run", "nightly"]).ok();
    assert!(run.err.contains("`resuorce`"), "{}", run.err);
    folder.write("cordon.yaml", config);
    folder.cordon(&["policy", "check"]).ok();
    assert!(!folder.cordon(&["run", "nightly"]).ok().err.contains("warning"));
}

#[test]
fn hints_are_not_among_the_results() {
    let folder = Folder::init("hospital");
    let head = folder.cordon(&["audit", "head"]).ok();
    assert!(head.out.lines().count() == 2 && head.err.contains("--anchor"), "{}\n{}", head.out, head.err);
    assert!(folder.cordon(&["audit", "head", "-q"]).ok().err.is_empty());
}
