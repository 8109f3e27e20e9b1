//! Fuzz targets on stable Rust: built with the compiler's own coverage instrumentation, run one after the other, told in a table.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{cargo, root, run, target};

/// What cargo-fuzz sets for a build without a sanitizer. Memory is bounded by the targets' own allocator.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

const HOST: &str = "x86_64-unknown-linux-gnu";

struct Outcome {
    name: String,
    runs: u64,
    per_second: u64,
    features: u64,
    findings: Vec<PathBuf>,
}

/// `cargo xtask fuzz [TARGET…] [--seconds 600]`
pub fn fuzz(rest: &[String]) -> Result<(), String> {
    let (mut wanted, mut seconds) = (Vec::new(), 600_u64);
    let mut args = rest.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                let number = args.next().and_then(|number| number.parse().ok());
                seconds = number.ok_or("--seconds needs a number")?;
            }
            name => wanted.push(name.to_owned()),
        }
    }
    let program = build()?;
    let work = target().join("fuzz-work");
    let data = env::var_os("CORDON_SHARED_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let mut seeds = Command::new(&program);
    seeds.env("CORDON_FUZZ_SEEDS", &work);
    if data.is_dir() {
        seeds.env("CORDON_FUZZ_DATA", &data);
    }
    let listed = seeds.output().map_err(|error| format!("{}: {error}", program.display()))?;
    if !listed.status.success() {
        return Err(format!("seeds: {}", String::from_utf8_lossy(&listed.stderr)));
    }
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let lines = listed.lines().filter_map(|line| line.strip_prefix("target "));
    let targets: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(' ')).collect();
    if let Some(unknown) = wanted.iter().find(|name| targets.iter().all(|(target, _)| target != name)) {
        let known: Vec<&str> = targets.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no fuzz target `{unknown}`; there are {}", known.join(", ")));
    }
    let mut outcomes = Vec::new();
    for (name, max_len) in targets {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            let outcome = fuzz_one(&program, name, &work.join(name), max_len, seconds)?;
            println!("xtask: {}", line(&outcome));
            outcomes.push(outcome);
        }
    }
    println!("\n{:12} {:>12} {:>8} {:>9} {:>9}", "target", "runs", "runs/s", "features", "findings");
    for outcome in &outcomes {
        println!("{}", line(outcome));
    }
    let findings: Vec<String> =
        outcomes.iter().flat_map(|outcome| &outcome.findings).map(|path| path.display().to_string()).collect();
    if findings.is_empty() { Ok(()) } else { Err(format!("findings:\n{}", findings.join("\n"))) }
}

fn line(outcome: &Outcome) -> String {
    let Outcome { name, runs, per_second, features, findings } = outcome;
    format!("{name:12} {runs:>12} {per_second:>8} {features:>9} {:>9}", findings.len())
}

/// Builds the program of all targets.
fn build() -> Result<PathBuf, String> {
    let folder = target().join("fuzz");
    // With a named target, build scripts and macros are not instrumented.
    run(cargo()
        .args(["build", "--release", "--locked", "--bins", "--target", HOST, "--manifest-path"])
        .arg(root().join("fuzz/Cargo.toml"))
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", FLAGS))?;
    Ok(folder.join(HOST).join("release/check"))
}

fn fuzz_one(program: &Path, name: &str, work: &Path, max_len: &str, seconds: u64) -> Result<Outcome, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", work.display());
    let (corpus, findings) = (work.join("corpus"), work.join("findings"));
    fs::create_dir_all(&corpus).map_err(wrong)?;
    if findings.is_dir() {
        fs::remove_dir_all(&findings).map_err(wrong)?;
    }
    fs::create_dir_all(&findings).map_err(wrong)?;
    let log = work.join("log");
    println!("xtask: {name} for {seconds} s, log in {}", log.display());
    let mut prefix = findings.clone().into_os_string();
    prefix.push("/");
    // What it ends with is read from its log and its findings.
    let _ended = Command::new(program)
        .arg(format!("-max_total_time={seconds}"))
        .args([
            "-timeout=60",
            "-rss_limit_mb=1024",
            "-malloc_limit_mb=512",
            "-print_final_stats=1",
            "-use_value_profile=0",
        ])
        .arg(format!("-max_len={max_len}"))
        .arg(format!("-dict={}", work.join("dictionary").display()))
        .arg(format!("-artifact_prefix={}", prefix.display()))
        .arg(&corpus)
        .arg(work.join("seeds"))
        .env("CORDON_FUZZ_TARGET", name)
        .stdout(Stdio::null())
        .stderr(File::create(&log).map_err(wrong)?)
        .status()
        .map_err(wrong)?;
    let said = fs::read(&log).map_err(wrong)?;
    let said = String::from_utf8_lossy(&said);
    let last = |word: &str| {
        let behind = said.rmatch_indices(word).next().and_then(|(at, _)| said.get(at + word.len()..))?;
        behind.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    let found = fs::read_dir(&findings).map_err(wrong)?.flatten().map(|entry| entry.path()).collect();
    let runs =
        last("stat::number_of_executed_units:").ok_or_else(|| format!("{name} did not run: {}", log.display()))?;
    let per_second = last("stat::average_exec_per_sec:").unwrap_or(0);
    Ok(Outcome { name: name.to_owned(), runs, per_second, features: last(" ft: ").unwrap_or(0), findings: found })
}
