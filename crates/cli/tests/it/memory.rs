//! What is in the memory of a running program stays there: no core dump, and no reading by another process of the same user.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Folder, binary};

#[test]
fn a_running_program_can_leave_no_core_dump_and_is_not_read_by_others() {
    let folder = Folder::init("hospital");
    folder.synth(2000, &["--clean"]);
    let mut child = binary()
        .args(["run", "nightly", "-q"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let proc = format!("/proc/{}", child.id());
    let limits = || fs::read_to_string(format!("{proc}/limits")).unwrap_or_default();
    let core = |limits: &str| {
        let line = limits.lines().find(|line| line.starts_with("Max core file size"))?;
        Some(line.split_whitespace().skip(4).take(2).map(str::to_owned).collect::<Vec<_>>())
    };
    let began = Instant::now();
    while core(&limits()).is_none_or(|core| core != ["0", "0"]) {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", limits());
        std::thread::sleep(Duration::from_millis(5));
    }
    // The kernel gives the files of a process that may not be dumped to root.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(fs::metadata(format!("{proc}/mem")).map(|mem| mem.uid()).unwrap(), 0);
    // Of a process of ours that may be read, the same look finds what it looks for.
    let mut plain = Command::new("sleep").arg("20").spawn().unwrap();
    let open = fs::metadata(format!("/proc/{}/mem", plain.id())).unwrap();
    assert_eq!(open.uid(), fs::metadata("/proc/self/environ").unwrap().uid());
    plain.kill().unwrap();
    plain.wait().unwrap();
    // Ended by what dumps core elsewhere, it dumps none.
    Command::new("kill").args(["-SEGV", &child.id().to_string()]).status().unwrap();
    let status = child.wait().unwrap();
    if status.signal().is_some() {
        assert!(!status.core_dumped());
    }
    assert!(
        !fs::read_dir(folder.path()).unwrap().any(|entry| entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("core"))
    );
}

#[test]
fn another_process_of_the_same_user_cannot_read_its_memory() {
    // Root may read all there is: the question is put as somebody else.
    let id = |what: &str| String::from_utf8(Command::new("id").arg(what).output().unwrap().stdout).unwrap();
    if id("-u").trim() != "0" || Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("skipped: to become another user takes root and setpriv");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("cordon");
    fs::copy(env!("CARGO_BIN_EXE_cordon"), &program).unwrap();
    for path in [folder.path(), &program] {
        Command::new("chmod").args(["755"]).arg(path).status().unwrap();
    }
    let script = format!(
        "cd {dir} && {program} synth data --patients 3000 -q & \
         for i in $(seq 200); do test -r /proc/$!/environ || break; sleep 0.05; done; kill -0 $! || echo gone; head -c 1 /proc/$!/mem 2>&1 | head -1; \
         test -r /proc/$!/environ && echo open || echo closed; kill -9 $! 2>/dev/null; \
         sleep 5 & sleep 0.1; test -r /proc/$!/environ && echo open || echo closed; kill $!",
        dir = folder.path().join("as").display(),
        program = program.display()
    );
    fs::create_dir(folder.path().join("as")).unwrap();
    Command::new("chown").arg("65534:65534").arg(folder.path().join("as")).status().unwrap();
    let said = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &script])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&said.stdout).into_owned();
    let looks: Vec<&str> = told.lines().filter(|line| matches!(*line, "open" | "closed")).collect();
    assert!(!told.contains("gone"), "it ended before it was looked at");
    assert_eq!(looks, ["closed", "open"], "{told} {}", String::from_utf8_lossy(&said.stderr));
}
