//! One session model for every front end: who it is, for how long, and how much at one time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use cordon_access::Principal;
use cordon_audit::{Event, Label};
use cordon_pipeline::error::RunError;
use cordon_pipeline::project::OpenProject;
use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use zeroize::Zeroizing;

use crate::log_in::{Confirmed, Credential, Known, LogIn};
use crate::metrics::Metrics;
use crate::settings::Limits;

/// Somebody who logged in.
pub struct Session {
    pub id: String,
    pub principal: Principal,
    known: Known,
    began: Instant,
    last: Mutex<Instant>,
    /// It goes by a token of its own, so that whoever has that may end it.
    by_token: AtomicBool,
    /// When the directory last said its groups.
    confirmed: Mutex<Instant>,
    over: OnceLock<&'static str>,
    metrics: Arc<Metrics>,
}

impl Session {
    pub fn method(&self) -> &'static str {
        self.known.method.name()
    }

    /// What the client is to be told for the ticket that it showed.
    pub fn reply(&self) -> &[u8] {
        &self.known.reply
    }

    pub fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.metrics.sessions(-1);
    }
}

/// The session is over, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended(pub &'static str);

/// The server, or the principal, is doing as much as it may at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    Server,
    Principal,
    /// As many connections are open as may be.
    Connections,
}

pub struct Sessions {
    project: Arc<OpenProject>,
    pub log_in: Arc<LogIn>,
    limits: Limits,
    metrics: Arc<Metrics>,
    /// Of requests that carry their credential each time, by a keyed hash of it: it is not checked, nor put on the record, each time.
    remembered: Mutex<HashMap<[u8; 32], Arc<Session>>>,
    key: hmac::Key,
    running: Arc<Mutex<Running>>,
    /// Those whose groups the directory said.
    looked_up: Mutex<Vec<Weak<Session>>>,
}

#[derive(Default)]
struct Running {
    all: usize,
    of: HashMap<String, usize>,
}

/// One query that runs.
pub struct Permit {
    running: Arc<Mutex<Running>>,
    of: String,
    metrics: Arc<Metrics>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.all = running.all.saturating_sub(1);
        if let Some(count) = running.of.get_mut(&self.of) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                running.of.remove(&self.of);
            }
        }
        self.metrics.query_ended();
    }
}

const REMEMBERED: usize = 10_000;
/// Sessions of one principal that go by tokens of their own.
const BY_TOKEN: usize = 256;

impl Sessions {
    pub fn new(
        project: Arc<OpenProject>,
        log_in: Arc<LogIn>,
        limits: Limits,
        metrics: Arc<Metrics>,
        key: &[u8; 32],
    ) -> Self {
        Self {
            project,
            log_in,
            limits,
            metrics,
            remembered: Mutex::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            running: Arc::default(),
            looked_up: Mutex::default(),
        }
    }

    /// A session for whoever has logged in; it is on the record when this returns. Blocks.
    pub fn open(&self, known: Known, client: IpAddr) -> Result<Arc<Session>, RunError> {
        let session = Session {
            id: cordon_pipeline::run::new_run_id(),
            principal: Principal {
                name: known.name.clone(),
                groups: known.groups.iter().cloned().collect(),
                client: Some(client.to_canonical()),
                attributes: std::collections::BTreeMap::new(),
            },
            known,
            began: Instant::now(),
            last: Mutex::new(Instant::now()),
            by_token: AtomicBool::new(false),
            confirmed: Mutex::new(Instant::now()),
            over: OnceLock::new(),
            metrics: Arc::clone(&self.metrics),
        };
        self.metrics.sessions(1);
        self.project.audit(&Event::LoggedIn {
            session: session.id.clone(),
            principal: session.principal.name.clone(),
            method: Label::new(session.method()),
            client: client.to_canonical().to_string(),
        })?;
        let session = Arc::new(session);
        if session.known.stamp.groups.is_some() {
            self.looked_up.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&session));
        }
        Ok(session)
    }

    /// Asks the directory again about those whose groups it said. A session whose principal left a group is over; so is one whose groups
    /// nobody could confirm for as long as an answer holds.
    pub async fn confirm(&self) {
        let open: Vec<Arc<Session>> = {
            let mut looked_up = self.looked_up.lock().unwrap_or_else(PoisonError::into_inner);
            looked_up.retain(|session| session.strong_count() > 0);
            looked_up.iter().filter_map(Weak::upgrade).filter(|session| session.over.get().is_none()).collect()
        };
        let mut no_answer = false;
        for session in open {
            let confirmed =
                if no_answer { Confirmed::Unknown { away: true } } else { self.log_in.confirm(&session.known).await };
            let mut last = session.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
            match confirmed {
                Confirmed::Yes => *last = Instant::now(),
                Confirmed::No(why) => {
                    let _ = session.over.set(why);
                }
                Confirmed::Unknown { away } => {
                    no_answer |= away;
                    if last.elapsed() > self.log_in.unconfirmed() {
                        let _ = session.over.set("the directory cannot be asked about its groups");
                    }
                }
            }
        }
    }

    /// The session of a credential that came before from this client, while it holds.
    pub fn remembered(&self, credential: &Credential, client: IpAddr) -> Option<Arc<Session>> {
        let tag = self.tag(credential, client);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let session = Arc::clone(remembered.get(&tag)?);
        if self.check(&session).is_err() {
            remembered.remove(&tag);
            return None;
        }
        drop(remembered);
        session.touch();
        Some(session)
    }

    pub fn remember(&self, credential: &Credential, client: IpAddr, session: &Arc<Session>) {
        let tag = self.tag(credential, client);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, session| self.check(session).is_ok());
        }
        if remembered.len() < REMEMBERED {
            remembered.insert(tag, Arc::clone(session));
        }
    }

    /// A token for what follows in a session, from the same client. It holds as long as the session does. `None` where there are as many as
    /// may be.
    pub fn token(&self, session: &Arc<Session>, client: IpAddr) -> Option<Zeroizing<String>> {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(random.as_mut_slice()).ok()?;
        let token = Zeroizing::new(format!("cordon-{}", BASE64URL_NOPAD.encode(random.as_slice())));
        {
            let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            let of = |other: &&Arc<Session>| {
                other.by_token.load(Ordering::Relaxed) && other.principal.name == session.principal.name
            };
            if remembered.len() >= REMEMBERED || remembered.values().filter(of).count() >= BY_TOKEN {
                return None;
            }
        }
        session.by_token.store(true, Ordering::Relaxed);
        self.remember(&Credential::Token(token.clone()), client, session);
        Some(token)
    }

    /// Ends a session that goes by a token of its own. Says whether it is one: another is also that of others who show the same credential.
    pub fn close(&self, session: &Session) -> bool {
        let ours = session.by_token.load(Ordering::Relaxed);
        if ours {
            let _ = session.over.set("it was closed");
        }
        ours
    }

    /// Forgets those that are over.
    pub fn sweep(&self) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|_, session| self.check(session).is_ok());
    }

    fn tag(&self, credential: &Credential, client: IpAddr) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        part(client.to_canonical().to_string().as_bytes());
        match credential {
            Credential::Token(token) => [b"token".as_slice(), token.as_bytes()].into_iter().for_each(&mut part),
            Credential::Ticket(token) => [b"ticket".as_slice(), token].into_iter().for_each(&mut part),
            Credential::PostgresTicket(token) => {
                [b"ticket of a client of PostgreSQL".as_slice(), token].into_iter().for_each(&mut part);
            }
            Credential::Certificate(der) => [b"certificate".as_slice(), der].into_iter().for_each(&mut part),
            Credential::Password { name, password } => {
                [b"password".as_slice(), name.as_bytes(), password.as_bytes()].into_iter().for_each(&mut part);
            }
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref().get(..32).unwrap_or(&[0; 32]));
        tag
    }

    /// Whether the session holds still: asked before each query and each batch of its answer.
    pub fn check(&self, session: &Session) -> Result<(), Ended> {
        if let Some(why) = session.over.get() {
            return Err(Ended(why));
        }
        if session.began.elapsed() >= self.limits.session_lifetime {
            return Err(Ended("it has lasted as long as a session may"));
        }
        if session.idle() >= self.limits.idle_timeout {
            return Err(Ended("it was idle for too long"));
        }
        self.log_in.still(&session.known).map_err(Ended)
    }

    /// Asks the directory, where groups come from it, before a question; it answers by what is kept for a while. Where it cannot be asked the
    /// session holds for as long as [`Sessions::confirm`] lets it.
    pub async fn ask_about(&self, session: &Session) -> Result<(), Ended> {
        if let Confirmed::No(why) = self.log_in.confirm(&session.known).await {
            let _ = session.over.set(why);
            return Err(Ended(why));
        }
        Ok(())
    }

    /// Room for one more query, or word that there is none. Nobody waits in a queue that could grow.
    pub fn permit(&self, session: &Session) -> Result<Permit, Busy> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.all >= self.limits.queries {
            return Err(Busy::Server);
        }
        let of = running.of.entry(session.principal.name.clone()).or_default();
        if *of >= self.limits.queries_per_principal {
            return Err(Busy::Principal);
        }
        *of += 1;
        running.all += 1;
        self.metrics.query_began();
        Ok(Permit {
            running: Arc::clone(&self.running),
            of: session.principal.name.clone(),
            metrics: Arc::clone(&self.metrics),
        })
    }

    pub fn running(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}
