//! What `init`, `schema`, `policy` and `demo` promise.

use std::fs;

use crate::support::{Folder, assert_encrypted, binary, collect, said};

#[test]
fn a_new_project_is_valid_and_runs() {
    for template in ["hospital", "synthea"] {
        let folder = Folder::init(template);
        folder.cordon(&["policy", "check"]).ok();
        let again = said(binary().args(["init", "project"]).current_dir(&folder.dir).output().unwrap());
        assert_eq!(again.code, 2, "a folder that is not empty is refused");
    }
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

#[test]
fn the_demo_shows_the_whole_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let shown = said(binary().args(["demo", "d", "--patients", "120"]).current_dir(&dir).output().unwrap()).ok();
    for expected in ["before", "after", "average_age", "denied", "entries verified", "What to try next"] {
        assert!(shown.out.contains(expected), "`{expected}` is missing:\n{}", shown.out);
    }
    let mut files = Vec::new();
    collect(&dir.path().join("d/warehouse"), &mut files);
    assert_encrypted(&files);
    let again = said(binary().args(["demo", "d"]).current_dir(&dir).output().unwrap());
    assert_eq!(again.code, 2, "an existing folder is left alone");
}

#[test]
fn data_keys_are_unwrapped_for_those_who_may_read_everything_and_for_nobody_else() {
    use std::io::Write;
    use std::process::Stdio;
    let folder = Folder::init("hospital");
    folder.synth(20, &["--clean"]);
    folder.run_json("nightly", 0);
    let ask = |user: &str, purpose: &str| {
        let mut child = binary()
            .args(["keys", "unwrap-dek", "--master-key", "cordon-footer.v1", "--as", user, "--purpose", purpose])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"bm90IGEga2V5IGF0IGFsbA==").unwrap();
        said(child.wait_with_output().unwrap())
    };
    assert_eq!(ask("analyst", "research").code, 4);
    assert_eq!(ask("engineer", "operations").code, 5, "allowed, but what was given is no wrapped key");
}
