//! The threads on which requests run.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};

use crate::error::{StorageError, Trouble};

/// Two are enough to wait for the network with; they live as long as the process.
const THREADS: usize = 2;

fn runtime() -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let make = || Builder::new_multi_thread().worker_threads(THREADS).thread_name("storage").enable_all().build().ok();
    RUNTIME.get_or_init(make).as_ref()
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
pub(crate) fn handle() -> Option<tokio::runtime::Handle> {
    runtime().map(|runtime| runtime.handle().clone())
}

pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Option<tokio::task::JoinHandle<()>> {
    runtime().map(|runtime| runtime.spawn(future))
}
