//! Signals that ask a command to stop.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cordon_pipeline::error::ExitKind;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::ui;

/// 128 + SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;
/// Signals that come together are one wish.
const ONE_WISH: Duration = Duration::from_millis(300);
const SAYING: Duration = Duration::from_millis(200);

/// What a command does that can be asked to stop.
#[derive(Clone, Default)]
pub struct Work {
    /// Somebody wants it to end.
    pub stop: Arc<AtomicBool>,
    /// It has ended.
    pub over: Arc<AtomicBool>,
}

/// Ctrl-C, SIGTERM or SIGHUP say `stop`. A second one, or one when all is over, ends the program at once; so does the first where the work has
/// not ended within `patience`. What has to be done before that `give_up` does, which is told the exit code.
///
/// What was started by `nohup` goes on when its terminal is gone.
pub fn watch(work: &Work, patience: Option<Duration>, give_up: impl FnOnce(i32) + Send + 'static) {
    let work = work.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        let code = runtime.block_on(async {
            let hangup = Some(SignalKind::hangup()).filter(|kind| !is_ignored(*kind));
            let kinds = [Some(SignalKind::interrupt()), Some(SignalKind::terminate()), hangup];
            let [mut interrupt, mut terminate, mut hangup] = kinds.map(|kind| signal(kind?).ok());
            let mut asked = async || {
                tokio::select! {
                    Some(()) = next(&mut interrupt) => {}
                    Some(()) = next(&mut terminate) => {}
                    Some(()) = next(&mut hangup) => {}
                    else => std::future::pending().await,
                }
            };
            asked().await;
            if work.over.load(Ordering::Relaxed) {
                return None;
            }
            work.stop.store(true, Ordering::Relaxed);
            say(|| ui::line_to_stderr("stopping; Ctrl-C again stops at once"));
            // One wish often comes as two signals: a terminal that is closed tells both the shell and its jobs.
            let _ = timeout(ONE_WISH, async {
                loop {
                    asked().await;
                }
            })
            .await;
            let late = async {
                match patience {
                    Some(patience) => sleep(patience).await,
                    None => std::future::pending().await,
                }
                if work.over.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            };
            Some(tokio::select! {
                () = asked() => INTERRUPTED,
                () = late => ExitKind::Failure as i32,
            })
        });
        // Not in the runtime: it is not to be waited for.
        if let Some(code) = code {
            give_up(code);
        }
        std::process::exit(code.unwrap_or(INTERRUPTED));
    });
}

/// Where nobody takes what is said, that holds up nothing for long.
pub fn say(what: impl FnOnce() + Send + 'static) {
    let saying = std::thread::spawn(what);
    let begun = Instant::now();
    while !saying.is_finished() && begun.elapsed() < SAYING {
        std::thread::sleep(Duration::from_millis(1));
    }
}

async fn next(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => None,
    }
}

/// Whether whoever started this process has it ignore the signal, as proc(5) has it.
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(kind.as_raw_value() - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}
