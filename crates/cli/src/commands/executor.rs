//! `cordon executor`: carries out units of runs and stages of queries on a machine of a cluster. Nobody types it: `--engine spark` has it
//! started.
//!
//! It is spoken to on standard input and answers on standard output, in frames: a letter, a length (four bytes, little-endian), the
//! content.
//!
//! | | | |
//! |---|---|---|
//! | in | `U` | an order for a unit, which `A` answers |
//! | in | `S`, `T` | an order for a stage and the number of its task, which `R` answers |
//! | in | `P` | a piece for the task, after the number of its side |
//! | in | `E` | that is all: out come a `P` for each piece that the task sends, after its task and side, and an `E` |

use std::io::{self, BufWriter, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use cordon_engine::{EngineError, QueryEngine};
use cordon_pipeline::cluster::Executor;
use cordon_pipeline::error::RunError;
use cordon_pipeline::progress::Meter;
use cordon_pipeline::project::OpenProject;
use cordon_query::Questions;

use super::{Outcome, Place, os_user};
use crate::args::ExecutorArgs;
use crate::ui::Failure;

/// How often it looks whether its run is over.
const LOOK: Duration = Duration::from_secs(5);
/// A worker that has more to do begins another one.
const IDLE: Duration = Duration::from_mins(1);

/// Orders name the files of one unit, and pieces are of a few megabytes.
const LARGEST: u64 = 1 << 30;

pub fn executor(place: &Place, args: &ExecutorArgs) -> Outcome {
    let mut project = place.project()?;
    if let Some(threads) = args.threads {
        project.threads = usize::from(threads).max(1);
    }
    let nobody = || Err(io::Error::other("nobody can be asked on an executor"));
    let project = Arc::new(project.open(&nobody, &os_user())?);
    let meter = Meter::default();
    let stop = meter.stop.clone();
    let in_stage = Arc::new(AtomicBool::new(false));
    let busy = Arc::clone(&in_stage);
    let (sender, frames) = mpsc::sync_channel(4);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(frame) = next(&mut input) {
            if sender.send(frame).is_err() {
                return;
            }
        }
        // Who gave the orders is gone, and with it whoever waits for the answer.
        stop.store(true, Ordering::Relaxed);
        if busy.load(Ordering::Relaxed) {
            // A join looks up from its work when it is done; what it holds goes with the process.
            std::process::exit(0);
        }
    });
    let mut executor = Executor::new(Arc::clone(&project), meter);
    let mut stages = Stages { project, open: None };
    let mut output = BufWriter::new(io::stdout());
    let mut last = Instant::now();
    loop {
        let frame = match frames.recv_timeout(LOOK) {
            Ok(frame) => frame,
            // With nothing to do it goes, and its keys with it.
            Err(RecvTimeoutError::Timeout) if last.elapsed() < IDLE && !executor.is_dismissed() => continue,
            Err(_) => break,
        };
        let written = match frame.kind {
            b'U' => {
                let answer = executor.carry_out(&frame.content)?;
                write(&mut output, b'A', &[&answer]).and_then(|()| output.flush())
            }
            b'S' => {
                in_stage.store(true, Ordering::Relaxed);
                if !stages.carry_out(&frame.content, &frames, &mut output)? {
                    break;
                }
                in_stage.store(false, Ordering::Relaxed);
                output.flush()
            }
            _ => return Err(strange().into()),
        };
        if written.is_err() {
            break;
        }
        last = Instant::now();
    }
    Ok(ExitCode::SUCCESS)
}

struct Frame {
    kind: u8,
    content: Vec<u8>,
}

fn next(input: &mut impl Read) -> Option<Frame> {
    let mut head = [0; 5];
    input.read_exact(&mut head).ok()?;
    let [kind, length @ ..] = head;
    let length = u64::from(u32::from_le_bytes(length));
    let mut content = Vec::new();
    let read = input.take(length.min(LARGEST)).read_to_end(&mut content).ok()?;
    (read as u64 == length).then_some(Frame { kind, content })
}

fn write(output: &mut impl Write, kind: u8, content: &[&[u8]]) -> io::Result<()> {
    let length: usize = content.iter().map(|piece| piece.len()).sum();
    let length = u32::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    output.write_all(&[kind])?;
    output.write_all(&length.to_le_bytes())?;
    content.iter().try_for_each(|piece| output.write_all(piece))
}

fn strange() -> RunError {
    RunError::Internal("what an executor was sent")
}

/// What stages of queries take.
struct Stages {
    project: Arc<OpenProject>,
    open: Option<(Arc<QueryEngine>, tokio::runtime::Runtime)>,
}

impl Stages {
    /// One task. False where whoever gave the order is gone.
    fn carry_out(
        &mut self,
        order: &[u8],
        frames: &Receiver<Frame>,
        output: &mut (impl Write + Send),
    ) -> Result<bool, Failure> {
        if self.open.is_none() {
            let engine = Questions::new(Arc::clone(&self.project)).engine()?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(self.project.project.threads)
                .thread_stack_size(cordon_engine::STACK)
                .enable_all()
                .build()
                .map_err(|_| RunError::Internal("the query runtime"))?;
            self.open = Some((engine, runtime));
        }
        let Some((engine, runtime)) = &self.open else { return Err(strange().into()) };
        let number = |content: &[u8]| content.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).ok_or_else(strange);
        let Ok(Frame { kind: b'T', content }) = frames.recv() else { return Ok(false) };
        let task = number(&content)?;
        if write(output, b'R', &[]).and_then(|()| output.flush()).is_err() {
            return Ok(false);
        }
        let mut inputs = engine.inputs();
        loop {
            match frames.recv() {
                Ok(Frame { kind: b'P', mut content }) => {
                    let side = number(&content)?;
                    inputs.add(side, content.split_off(4)).map_err(|error| failed(&error))?;
                }
                Ok(Frame { kind: b'E', .. }) => break,
                Ok(_) => return Err(strange().into()),
                Err(_) => return Ok(false),
            }
        }
        let mut out = |piece: cordon_engine::Piece| {
            let (task, side) = (piece.task.to_le_bytes(), piece.side.to_le_bytes());
            write(output, b'P', &[&task, &side, &piece.sealed])
        };
        runtime.block_on(engine.carry_out(order, task, inputs, &mut out)).map_err(|error| failed(&error))?;
        Ok(write(output, b'E', &[]).is_ok())
    }
}

fn failed(error: &EngineError) -> Failure {
    let (_, exit) = cordon_pipeline::error::engine_exit(error);
    Failure::new(exit, error.to_string())
}
