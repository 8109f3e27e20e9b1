//! `cordon executor`: carries out units of a run on a machine of a cluster. Nobody types it: `cordon run --engine spark` has it started.
//!
//! Orders come on standard input and answers go to standard output, each after its length (four bytes, little-endian).

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use cordon_pipeline::cluster::Executor;
use cordon_pipeline::error::ExitKind;
use cordon_pipeline::progress::Meter;

use super::{Outcome, Place, os_user};
use crate::args::ExecutorArgs;
use crate::ui::Failure;

/// How often it looks whether its run is over.
const LOOK: Duration = Duration::from_secs(5);
/// A worker that has more to do begins another one.
const IDLE: Duration = Duration::from_mins(1);

/// An order names the files of one unit.
const LARGEST: u64 = 256 << 20;

pub fn executor(place: &Place, args: &ExecutorArgs) -> Outcome {
    let mut project = place.project()?;
    if let Some(threads) = args.threads {
        project.threads = usize::from(threads).max(1);
    }
    let nobody = || Err(std::io::Error::other("nobody can be asked on an executor"));
    let project = project.open(&nobody, &os_user())?;
    let meter = Meter::default();
    let stop = meter.stop.clone();
    let (sender, orders) = mpsc::sync_channel(0);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while let Some(order) = next(&mut input) {
            if sender.send(order).is_err() {
                return;
            }
        }
        // Who gave the orders is gone, and with it whoever waits for the answer.
        stop.store(true, Ordering::Relaxed);
    });
    let mut executor = Executor::new(project, meter);
    let mut output = std::io::stdout().lock();
    let mut last = Instant::now();
    loop {
        let order = match orders.recv_timeout(LOOK) {
            Ok(order) => order,
            // With nothing to do it goes, and its keys with it.
            Err(RecvTimeoutError::Timeout) if last.elapsed() < IDLE && !executor.is_dismissed() => continue,
            Err(_) => break,
        };
        let answer = executor.carry_out(&order)?;
        let Ok(length) = u32::try_from(answer.len()) else {
            return Err(Failure::new(ExitKind::Failure, "an answer is too long"));
        };
        let written = output.write_all(&length.to_le_bytes()).and_then(|()| output.write_all(&answer));
        if written.and_then(|()| output.flush()).is_err() {
            break;
        }
        last = Instant::now();
    }
    Ok(ExitCode::SUCCESS)
}

fn next(input: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    input.read_exact(&mut length).ok()?;
    let length = u64::from(u32::from_le_bytes(length));
    let mut order = Vec::new();
    let read = input.take(length.min(LARGEST)).read_to_end(&mut order).ok()?;
    (read as u64 == length).then_some(order)
}
