//! The threads on which requests run.

use std::future::Future;
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{StorageError, Trouble};

/// Two are enough to wait for the network with.
const THREADS: usize = 2;
/// What does not look up from its work within this is left behind.
const END: Duration = Duration::from_secs(2);

/// They live until [`close`]; whoever has the handle meanwhile finds them ended.
struct Threads {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

static THREADS_OF_PROCESS: OnceLock<Option<Threads>> = OnceLock::new();

fn threads() -> Option<&'static Threads> {
    let make = || {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(THREADS).thread_name("storage").enable_all().build().ok()?;
        Some(Threads { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)) })
    };
    THREADS_OF_PROCESS.get_or_init(make).as_ref()
}

/// Ends the threads, before the process ends: a library of the system that one of them is in, Kerberos' above all, is taken down with the
/// process, and takes it amiss when it is still in use. Requests that come later are told that they were interrupted.
pub fn close() {
    let threads = THREADS_OF_PROCESS.get().and_then(Option::as_ref);
    let runtime = threads.and_then(|threads| threads.runtime.lock().unwrap_or_else(PoisonError::into_inner).take());
    if let Some(runtime) = runtime {
        runtime.shutdown_timeout(END);
    }
}

/// Runs a future there and waits for it, on whatever thread the caller is.
pub(crate) fn wait<T: Send + 'static>(
    place: &str,
    future: impl Future<Output = Result<T, StorageError>> + Send + 'static,
) -> Result<T, StorageError> {
    let lost = || StorageError { place: place.to_owned(), trouble: Trouble::Interrupted };
    let (sender, receiver) = mpsc::sync_channel(1);
    spawn(async move {
        // Nobody waits any more where this fails.
        let _ = sender.send(future.await);
    })
    .ok_or_else(lost)?;
    receiver.recv().map_err(|_| lost())?
}

/// For requests that others begin on runtimes of their own, which may end before a connection does.
pub(crate) fn handle() -> Option<Handle> {
    threads().map(|threads| threads.handle.clone())
}

pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Option<tokio::task::JoinHandle<()>> {
    handle().map(|handle| handle.spawn(future))
}
