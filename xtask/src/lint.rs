//! Rules of the house that no compiler knows. Each names the place and what would be right.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the lowest: a room may name those before it, never one behind it.
const ORDER: &[&str] = &[
    "phi",
    "crypto",
    "access",
    "formats",
    "detect",
    "deid",
    "risk",
    "kerberos",
    "directory",
    "keystore",
    "vault",
    "audit",
    "custody",
    "storage",
    "spark",
    "engine",
    "pipeline",
    "query",
    "server",
    "synth",
    "cli",
    "trainer",
];

/// Rooms that do no I/O, read no clock and no environment.
const PURE: &[&str] = &["phi", "crypto", "access", "formats", "detect", "deid", "risk"];

const IMPURE: &[&str] =
    &["std::fs", "std::net", "std::env::", "SystemTime::now", "Utc::now", "Local::now", "std::process"];

pub fn lint(root: &Path) -> Result<(), String> {
    let mut wrong = Vec::new();
    for room in ORDER {
        let folder = root.join("crates").join(room);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        let ships = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        if *room != "engine" && ships.lines().any(|line| line.starts_with("datafusion")) {
            wrong.push(format!("crates/{room}/Cargo.toml: only `engine` may name DataFusion"));
        }
        let rank = ORDER.iter().position(|name| name == room).unwrap_or(0);
        for higher in ORDER.iter().skip(rank + 1) {
            if ships.lines().any(|line| line.starts_with(&format!("cordon-{higher} "))) {
                wrong.push(format!("crates/{room}/Cargo.toml: `{room}` may not import the higher room `{higher}`"));
            }
        }
        if PURE.contains(room) {
            for file in sources(&folder.join("src")) {
                pure(&file, &mut wrong);
            }
        }
    }
    if wrong.is_empty() {
        println!("xtask: rules of the house hold");
        return Ok(());
    }
    Err(wrong.join("\n"))
}

/// No I/O in a pure room, tests aside.
fn pure(file: &Path, wrong: &mut Vec<String>) {
    let text = fs::read_to_string(file).unwrap_or_default();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        for word in IMPURE {
            if code.contains(word) {
                wrong.push(format!("{}:{}: `{word}` in a room that does no I/O", file.display(), number + 1));
            }
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
