//! Where results go: all of it, at once, and never in the place of something else before it is there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Folder, Said, SmallDisk, binary, said};

const ROWS: usize = 10_001;

fn folder() -> Folder {
    let policy = "
policy: test
method: safe-harbor
datasets:
  visits:
    fields:
      code: { kind: clinical }
      number: { kind: clinical, type: integer }
      word: { kind: clinical }
";
    let folder = Folder::with(policy, "  - { dataset: visits, path: in/a.csv }");
    let rows: String = (0..ROWS).map(|number| format!("E{},{number},x\n", number % 100)).collect();
    folder.write("in/a.csv", format!("code,number,word\n{rows}"));
    folder.run_json("test", 0);
    folder
}

fn ask(folder: &Folder, query: &str, more: &[&str]) -> Said {
    folder.cordon(&[&["sql", query, "--as", "engineer", "--purpose", "operations"][..], more].concat())
}

#[test]
fn a_file_holds_every_row_and_is_replaced_only_by_a_whole_result() {
    let folder = folder();
    let all = "SELECT * FROM visits";
    ask(&folder, all, &["-o", "all.csv"]).ok();
    assert_eq!(folder.read("all.csv").lines().count(), ROWS + 1);
    let told = ask(&folder, all, &["-o", "all.json", "--format", "json"]).ok().json();
    assert_eq!(told["rows"], ROWS);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&folder.read("all.json")).unwrap();
    assert_eq!(rows.len(), ROWS);
    // Where nobody said how, nothing is guessed.
    ask(&folder, all, &["-o", "all.txt"]).exits(2);
    assert!(!folder.path().join("all.txt").exists());
    // On the terminal the table for people is cut, and the record has what was shown.
    assert!(ask(&folder, all, &["--format", "table"]).ok().out.contains("10000 of 10001"));
    let finished = folder.audit("query_finished");
    let rows: Vec<_> = finished.iter().map(|event| event["rows"].as_u64().unwrap()).collect();
    assert_eq!(rows, [ROWS as u64, ROWS as u64, 10_000]);
    // Results are in clear: for their owner only.
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(folder.path().join("all.csv")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let before = folder.read("all.csv");
    for (query, user, code) in [
        ("SELECT * FROM visits", "nobody", 4),
        ("SELECT nothing FROM visits", "engineer", 2),
        ("SELECT * FROM elsewhere", "engineer", 4),
        // Fails when rows are out already.
        ("SELECT number, 1 / (number - 9000) FROM visits ORDER BY number", "engineer", 1),
        ("SELECT CAST(word AS INT) FROM visits", "engineer", 1),
    ] {
        let said = folder.cordon(&["sql", query, "--as", user, "--purpose", "operations", "-o", "all.csv"]);
        assert_eq!(said.code, code, "{query}: {}", said.err);
        assert_eq!(folder.read("all.csv"), before, "{query}");
    }
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains(".part")), "{names:?}");
}

#[test]
fn an_interrupted_query_leaves_no_rows_in_clear_and_is_on_the_record() {
    let folder = folder();
    let parts = || {
        let names = fs::read_dir(folder.path()).unwrap().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part")).collect::<Vec<_>>()
    };
    for signal in ["-INT", "-TERM"] {
        let mut child = binary()
            .args(["sql", "SELECT a.code FROM visits a, visits b, visits c", "-o", "all.csv", "-q"])
            .args(["--as", "engineer", "--purpose", "operations"])
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while parts().iter().all(|part| part.metadata().map_or(0, |file| file.len()) == 0) {
            assert!(begun.elapsed() < Duration::from_mins(1) && child.try_wait().unwrap().is_none());
            sleep(Duration::from_millis(20));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let said = said(child.wait_with_output().unwrap()).exits(1);
        assert!(said.err.contains("interrupted"), "{}", said.err);
        assert!(parts().is_empty() && !folder.path().join("all.csv").exists(), "{signal}");
    }
    let failed = folder.audit("query_failed");
    assert_eq!(failed.iter().filter(|event| event["what"] == "abandoned").count(), 2, "{failed:?}");
}

/// As `cordon sql … | less`: what writes waits, and cannot look up.
#[test]
fn a_reader_that_takes_nothing_holds_no_signal_up() {
    let folder = folder();
    let mut child = binary()
        .args(["sql", "SELECT a.code FROM visits a, visits b, visits c", "--format", "csv", "-q"])
        .args(["--as", "engineer", "--purpose", "operations"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut rows = BufReader::new(child.stdout.take().unwrap());
    rows.read_line(&mut String::new()).unwrap();
    // More than a pipe holds is there by then.
    sleep(Duration::from_secs(2));
    let begun = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let said = said(child.wait_with_output().unwrap()).exits(1);
    assert!(said.err.contains("interrupted") && begun.elapsed() < Duration::from_secs(40), "{}", said.err);
    let failed = folder.audit("query_failed");
    assert_eq!(failed.len(), 1);
    assert!(failed[0]["what"] == "abandoned" && failed[0]["rows"].as_u64().unwrap() > 1000, "{failed:?}");
}

#[test]
fn a_full_disk_under_the_result_is_said_as_such() {
    let folder = folder();
    for format in ["text", "csv", "json", "arrow"] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = binary()
            .args(["sql", "SELECT * FROM visits", "--as", "engineer", "--purpose", "operations", "--format", format])
            .current_dir(folder.path())
            .stdout(full)
            .output()
            .unwrap();
        let said = said(output).exits(6);
        assert!(said.err.contains("space"), "{format}: {}", said.err);
    }
    assert!(folder.audit("query_finished").is_empty());
    assert_eq!(folder.audit("query_failed").iter().filter(|event| event["what"] == "no space").count(), 4);
    let Some(disk) = SmallDisk::mount(&folder.path().join("small"), "32k") else { return };
    for format in ["csv", "json", "arrow"] {
        let said = ask(&folder, "SELECT * FROM visits", &["--format", format, "-o", "small/out"]).exits(6);
        assert!(said.err.contains("space"), "{format}: {}", said.err);
        assert_eq!(fs::read_dir(&disk.0).unwrap().count(), 0, "nothing half written stays");
    }
}

/// As `cordon sql … | head -1`.
#[test]
fn a_reader_that_has_enough_is_no_error() {
    let folder = folder();
    for format in ["csv", "json", "text"] {
        let mut child = binary()
            .args(["sql", "SELECT a.* FROM visits a JOIN visits b ON a.number % 50 = b.number % 50 LIMIT 200000"])
            .args(["--as", "engineer", "--purpose", "operations", "--format", format])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{format}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(folder.audit("query_failed").is_empty());
    assert_eq!(folder.audit("query_finished").len(), 3);
}

/// What a program reads is JSON or nothing, whatever the command.
#[test]
fn every_command_speaks_json() {
    let folder = folder();
    for args in [
        &["run", "test"][..],
        &["sql", "SELECT count(*) FROM visits", "--as", "engineer", "--purpose", "operations"],
        &["sql", "SELECT * FROM visits WHERE number < 0", "--as", "engineer", "--purpose", "operations"],
        &["tables", "--as", "engineer", "--purpose", "operations"],
        &["tables", "history", "visits"],
        &["tables", "verify"],
        &["policy", "explain", "test"],
        &["policy", "check"],
        &["quarantine", "list"],
        &["quarantine", "replay", "test"],
        &["audit", "list"],
        &["audit", "verify"],
        &["audit", "head"],
        &["keys", "status"],
        &["vault", "status"],
        &["vault", "verify"],
        &["schema", "project"],
        &["synth", "more", "-p", "5"],
        &["init", "other"],
        &["keys", "rotate-root", "--new-key-file", "secrets/new.key"],
    ] {
        let said = folder.cordon(&[args, &["--format", "json"]].concat()).ok();
        assert!(serde_json::from_str::<serde_json::Value>(&said.out).is_ok(), "{args:?}: {}", said.out);
    }
    folder.write("cordon.yaml", folder.read("cordon.yaml").replace("secrets/root.key", "secrets/new.key"));
    for args in [&["no-such-command"][..], &["sql"], &["audit", "list", "--kind", "typo"], &["run", "nowhere"]] {
        let said = folder.cordon(&[args, &["--format", "json"]].concat()).exits(2);
        let error: serde_json::Value = serde_json::from_str(said.err.trim()).unwrap();
        assert!(said.out.is_empty() && error["exit_code"] == 2 && error["error"].is_string(), "{args:?}: {}", said.err);
    }
    folder.cordon(&["vault", "status", "--format", "csv"]).exits(2);
}
