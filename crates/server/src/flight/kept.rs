//! What a session leaves here between two calls: questions that wait to be fetched, prepared statements, and what runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arrow_array::ArrayRef;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use cordon_access::PurposeOfUse;
use tokio::sync::Notify;

use super::grpc::{Code, Status};
use crate::service::{Service, Trouble};
use crate::session::{Busy, Session};

/// How long a ticket waits to be used.
const TICKET: Duration = Duration::from_mins(5);
/// Tickets, and prepared statements, of one session.
const MOST: usize = 256;

type Handle = [u8; 32];

/// A question whose rows are fetched by its ticket, once.
pub struct Asked {
    pub sql: String,
    pub usage: PurposeOfUse,
    pub parameters: Vec<ArrayRef>,
    since: Instant,
}

impl Asked {
    pub fn new(sql: String, usage: PurposeOfUse, parameters: Vec<ArrayRef>) -> Self {
        Self { sql, usage, parameters, since: Instant::now() }
    }
}

#[derive(Clone)]
pub struct Prepared {
    pub sql: String,
    pub schema: SchemaRef,
    pub parameters: Vec<ArrayRef>,
}

struct Shelf {
    session: Weak<Session>,
    asked: HashMap<Handle, Asked>,
    prepared: HashMap<Handle, Prepared>,
    running: HashMap<Handle, Arc<Notify>>,
}

/// All shelves, by session: what is another's is not to be found.
#[derive(Default)]
pub struct Kept(Mutex<HashMap<String, Shelf>>);

impl Kept {
    fn with<T>(&self, session: &Arc<Session>, work: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = all.entry(session.id.clone()).or_insert_with(|| Shelf {
            session: Arc::downgrade(session),
            asked: HashMap::new(),
            prepared: HashMap::new(),
            running: HashMap::new(),
        });
        work(shelf)
    }

    /// Forgets tickets that nobody used, and all of sessions that are over.
    pub fn sweep(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, shelf| {
            shelf.asked.retain(|_, asked| asked.since.elapsed() < TICKET);
            shelf.session.strong_count() > 0
        });
    }

    /// The name under which a question waits.
    pub fn ask(&self, session: &Arc<Session>, asked: Asked) -> Result<Bytes, Status> {
        let handle = unguessable()?;
        self.with(session, |shelf| {
            shelf.asked.retain(|_, asked| asked.since.elapsed() < TICKET);
            room(shelf.asked.len(), "tickets wait")?;
            shelf.asked.insert(handle, asked);
            Ok(name(&handle))
        })
    }

    /// Takes a question, which is to run now and can be cancelled until the guard is dropped.
    pub fn begin(
        &self,
        service: &Arc<Service>,
        session: &Arc<Session>,
        handle: &[u8],
    ) -> Result<(Asked, Guard), Status> {
        let taken = Handle::try_from(handle).ok().and_then(|handle| {
            self.with(session, |shelf| {
                let asked = shelf.asked.remove(&handle).filter(|asked| asked.since.elapsed() < TICKET)?;
                let cancel = Arc::new(Notify::new());
                shelf.running.insert(handle, Arc::clone(&cancel));
                let guard = Guard { service: Arc::clone(service), session: session.id.clone(), handle, cancel };
                Some((asked, guard))
            })
        });
        taken.ok_or_else(|| {
            Status::new(Code::NotFound, "there is no such ticket; each is good for once, and for minutes")
        })
    }

    /// Ends a question that runs, or that would. Says whether there was one.
    pub fn cancel(&self, session: &Arc<Session>, handle: &[u8]) -> bool {
        let Ok(handle) = Handle::try_from(handle) else { return false };
        self.with(session, |shelf| match shelf.running.get(&handle) {
            Some(running) => {
                running.notify_one();
                true
            }
            None => shelf.asked.remove(&handle).is_some(),
        })
    }

    pub fn prepare(&self, session: &Arc<Session>, prepared: Prepared) -> Result<Bytes, Status> {
        let handle = unguessable()?;
        self.with(session, |shelf| {
            room(shelf.prepared.len(), "statements are prepared")?;
            shelf.prepared.insert(handle, prepared);
            Ok(name(&handle))
        })
    }

    pub fn prepared(&self, session: &Arc<Session>, handle: &[u8]) -> Result<Prepared, Status> {
        let found = Handle::try_from(handle)
            .ok()
            .and_then(|handle| self.with(session, |shelf| shelf.prepared.get(&handle).cloned()));
        found.ok_or_else(no_statement)
    }

    /// Gives a prepared statement its values, until others come.
    pub fn bind(&self, session: &Arc<Session>, handle: &[u8], parameters: Vec<ArrayRef>) -> Result<(), Status> {
        let bound = Handle::try_from(handle).ok().and_then(|handle| {
            self.with(session, |shelf| {
                shelf.prepared.get_mut(&handle)?.parameters = parameters;
                Some(())
            })
        });
        bound.ok_or_else(no_statement)
    }

    pub fn close(&self, session: &Arc<Session>, handle: &[u8]) {
        if let Ok(handle) = Handle::try_from(handle) {
            self.with(session, |shelf| drop(shelf.prepared.remove(&handle)));
        }
    }

    /// Ends all of a session.
    pub fn forget(&self, session: &Session) {
        let shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&session.id);
        for running in shelf.iter().flat_map(|shelf| shelf.running.values()) {
            running.notify_one();
        }
    }
}

fn name(handle: &Handle) -> Bytes {
    Bytes::copy_from_slice(handle)
}

fn unguessable() -> Result<Handle, Status> {
    let mut handle = [0; 32];
    getrandom::fill(&mut handle).map_err(|_| Status::from(Trouble::Busy(Busy::Server)))?;
    Ok(handle)
}

fn room(have: usize, what: &str) -> Result<(), Status> {
    if have < MOST {
        return Ok(());
    }
    Err(Status::new(Code::ResourceExhausted, format!("as many {what} as may; use or close some")))
}

fn no_statement() -> Status {
    Status::new(Code::NotFound, "there is no such prepared statement")
}

/// A question that runs, as long as this is there.
pub struct Guard {
    service: Arc<Service>,
    session: String,
    handle: Handle,
    cancel: Arc<Notify>,
}

impl Guard {
    /// Returns when somebody asks that it end.
    pub async fn cancelled(&self) {
        self.cancel.notified().await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut all = self.service.flight.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shelf) = all.get_mut(&self.session) {
            shelf.running.remove(&self.handle);
        }
    }
}
