//! The other processes: this binary again, told by its environment what to be.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{event, open};

const DIR: &str = "CORDON_AUDIT_CHILD_DIR";
/// How many threads of the appender do that, each so many; one where nothing is said.
pub const THREADS: &str = "CORDON_AUDIT_CHILD_THREADS";
const COUNT: &str = "CORDON_AUDIT_CHILD_COUNT";

/// A process that appends `count` entries to `dir` and tells each receipt on a line, or why not.
pub fn appender(dir: &Path, count: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    described(&mut command, dir, count);
    command
}

/// The same under a shell's limits.
pub fn appender_in_shell(before: &str, dir: &Path, count: u64) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before}; exec \"$@\""), "sh"]).arg(std::env::current_exe().unwrap());
    described(&mut command, dir, count);
    command
}

fn described(command: &mut Command, dir: &Path, count: u64) {
    command
        .args(["child::be_an_appender", "--exact", "--nocapture", "--ignored"])
        .env(DIR, dir)
        .env(COUNT, count.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
}

/// What an appender told: receipts as `(seq, hash)` and errors.
pub fn told(output: &[u8]) -> (Vec<(u64, String)>, Vec<String>) {
    let text = String::from_utf8_lossy(output);
    let mut receipts = Vec::new();
    let mut errors = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("receipt ") {
            // A line that the killed child could not finish acknowledges nothing.
            if let Some((seq, hash)) = rest.split_once(' ').filter(|(_, hash)| hash.len() == 64) {
                receipts.push((seq.parse().unwrap(), hash.to_owned()));
            }
        } else if let Some(error) = line.strip_prefix("error ") {
            errors.push(error.to_owned());
        }
    }
    (receipts, errors)
}

#[test]
#[ignore = "run by other tests as a process of its own"]
fn be_an_appender() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let count: u64 = std::env::var(COUNT).unwrap().parse().unwrap();
    let threads: u64 = std::env::var(THREADS).map_or(1, |threads| threads.parse().unwrap());
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
    };
    let log = match open(Path::new(&dir)) {
        Ok(log) => log,
        Err(error) => return say(format!("\nerror {error}")),
    };
    say(String::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for number in 0..count {
                    match log.append(&event(number)) {
                        Ok(receipt) => say(format!("receipt {} {}", receipt.seq, receipt.hash)),
                        Err(error) => say(format!("error {error}")),
                    }
                }
            });
        }
    });
}
