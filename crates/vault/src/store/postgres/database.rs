//! Connections, a few of them, and what is done when one is lost.

use std::{
    error::Error as _,
    future::Future,
    path::Path,
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_postgres::{Client, Config, NoTls, config::SslMode, error::SqlState};

use super::{config::PostgresConfig, tls::Tls};
use crate::store::VaultError;

/// Two are enough to wait for the network with; they live as long as the process.
const THREADS: usize = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Of what may go well later.
const WAIT: &str = "; run again when it can be reached: nothing is lost";
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What stopped a piece of work.
pub(super) enum Stop {
    Sql(tokio_postgres::Error),
    Vault(VaultError),
    /// Somebody else was faster; it has to be looked at again.
    Again,
}

impl From<tokio_postgres::Error> for Stop {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<VaultError> for Stop {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

pub(super) struct Database {
    pub place: String,
    pub schema: String,
    user: String,
    login: Config,
    tls: Option<Tls>,
    connect: Duration,
    retry: Duration,
    most: usize,
    pool: Mutex<Pool>,
    returned: Condvar,
    /// How often the vault's keys had been changed when it was opened.
    rekeyed: OnceLock<i32>,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Client>,
    /// Idle or at work.
    made: usize,
}

impl Database {
    /// Nothing is asked of the server yet. `user` takes the place of the one in the configuration.
    pub fn new(config: &PostgresConfig, user: Option<&str>, base: &Path) -> Result<Self, VaultError> {
        let place = config.place();
        let wrong = |what: String| VaultError::DatabaseConfig { place: place.clone(), what };
        config.check().map_err(wrong)?;
        let user = user.unwrap_or(&config.user);
        let connect = Duration::from_secs(u64::from(config.connect_seconds).max(1));
        let mut login = Config::new();
        login.host(&config.host).port(config.port).dbname(&config.database).user(user);
        login.application_name("cordon").connect_timeout(connect).keepalives_idle(Duration::from_secs(30));
        if !config.is_socket() {
            login.tcp_user_timeout(Duration::from_mins(1));
        }
        if let Some(password) = config.password(user, base).map_err(wrong)? {
            login.password(password.as_bytes());
        }
        let tls = if config.plain_on_this_machine {
            if let Some(address) = config.loopback() {
                login.hostaddr(address);
            }
            login.ssl_mode(SslMode::Disable);
            None
        } else {
            login.ssl_mode(SslMode::Require);
            Some(Tls::new(config, base).map_err(wrong)?)
        };
        Ok(Self {
            schema: config.schema.clone(),
            user: user.to_owned(),
            login,
            tls,
            connect,
            retry: Duration::from_secs(config.retry_seconds.into()),
            most: config.connections.into(),
            pool: Mutex::default(),
            returned: Condvar::new(),
            rekeyed: OnceLock::new(),
            place,
        })
    }

    /// From here on, tables that are missing are told from those that went with the old keys.
    pub fn is_rekeyed(&self, times: i32) {
        let _ = self.rekeyed.set(times);
    }

    /// Does `work` on a connection. Where the connection is lost, or the server undid it, it is done again: whatever it
    /// does must come out the same twice.
    pub fn run<T>(
        &self,
        doing: &'static str,
        mut work: impl AsyncFnMut(&mut Client) -> Result<T, Stop>,
    ) -> Result<T, VaultError> {
        let until = Instant::now() + self.retry;
        let mut pause = FIRST_PAUSE;
        loop {
            let stop = match self.once(&mut work)? {
                Ok(done) => return Ok(done),
                Err(Stop::Vault(error)) => return Err(error),
                Err(stop) => stop,
            };
            let passing = match &stop {
                Stop::Sql(error) => is_passing(error),
                _ => true,
            };
            if !passing || Instant::now() + pause > until {
                return Err(match stop {
                    Stop::Sql(error) if passing => self.error(doing, self.words(&error) + WAIT),
                    Stop::Sql(error) if self.was_rekeyed(&error) => VaultError::Rekeyed { place: self.place.clone() },
                    Stop::Sql(error) => self.trouble(doing, &error),
                    _ => self.error(doing, "other processes were faster each time; run again"),
                });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether a table is missing since somebody changed the vault's keys.
    fn was_rekeyed(&self, error: &tokio_postgres::Error) -> bool {
        let Some(known) = self.rekeyed.get().filter(|_| error.code() == Some(&SqlState::UNDEFINED_TABLE)) else {
            return false;
        };
        let mut look = async |client: &mut Client| {
            let rows = client.query_typed("SELECT rekeyed FROM vault", &[]).await?;
            Ok(rows.first().map(|row| row.try_get::<_, i32>(0)).transpose()?)
        };
        matches!(self.once(&mut look), Ok(Ok(Some(now))) if now != *known)
    }

    fn once<T>(
        &self,
        work: &mut impl AsyncFnMut(&mut Client) -> Result<T, Stop>,
    ) -> Result<Result<T, Stop>, VaultError> {
        let runtime = runtime().ok_or_else(|| self.error("begin", "the system gives no more threads"))?;
        let slot = Slot::wait(self);
        let done = wait(runtime, async {
            let mut client = match slot.idle() {
                Some(client) => client,
                None => self.log_in().await?,
            };
            let done = work(&mut client).await;
            // An idle connection to a server that was stopped is told from one at work by nothing but the attempt.
            let keep = match &done {
                Err(Stop::Sql(error)) => error.as_db_error().is_some() && !is_gone(error),
                _ => true,
            };
            if keep && !client.is_closed() {
                slot.give_back(client);
            } else {
                slot.forget_idle();
            }
            done
        });
        Ok(done)
    }

    async fn log_in(&self) -> Result<Client, Stop> {
        let log_in = async {
            // The connection's own part runs until the client is dropped; what it fails with, the client hears.
            if let Some(tls) = &self.tls {
                let (client, connection) = self.login.connect(tls.clone()).await?;
                tokio::spawn(async move { drop(connection.await) });
                return Ok(client);
            }
            let (client, connection) = self.login.connect(NoTls).await?;
            tokio::spawn(async move { drop(connection.await) });
            Ok::<_, tokio_postgres::Error>(client)
        };
        let client = match tokio::time::timeout(self.connect * 2, log_in).await {
            Ok(client) => client?,
            Err(_) => return Err(Stop::Vault(self.error("log in", format!("the server does not answer{WAIT}")))),
        };
        // Names are this schema's and nobody else's, and what is committed is on disk.
        client
            .batch_execute(&format!(
                "SET search_path = {}, pg_temp; SET bytea_output = hex; SET jit = off; SET idle_in_transaction_session_timeout = '60s'; \
                 SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')",
                self.schema
            ))
            .await?;
        Ok(client)
    }

    pub fn error(&self, doing: &'static str, what: impl Into<String>) -> VaultError {
        VaultError::Database { place: self.place.clone(), doing, what: what.into() }
    }

    pub fn damaged(&self, what: &'static str) -> VaultError {
        VaultError::DamagedRows { place: self.place.clone(), what }
    }

    pub fn trouble(&self, doing: &'static str, error: &tokio_postgres::Error) -> VaultError {
        self.error(doing, self.words(error))
    }

    /// What went wrong, in words of our own: the server's may hold what stood in a row.
    fn words(&self, error: &tokio_postgres::Error) -> String {
        match error.code() {
            Some(code) => self.said_by_server(code),
            None => self.said_by_connection(error),
        }
    }

    fn said_by_server(&self, code: &SqlState) -> String {
        let words = if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
            return format!("the server does not let the role `{}` in with these credentials", self.user);
        } else if *code == SqlState::INVALID_CATALOG_NAME {
            "there is no such database"
        } else if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME {
            "there is no vault, or the role may not see it; run `cordon vault migrate`, or restore it from a backup"
        } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
            return format!("the role `{}` lacks a privilege; run `cordon vault migrate`", self.user);
        } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
            "the server is a standby or set to read only"
        } else if *code == SqlState::LOCK_NOT_AVAILABLE {
            "others are at work in it for longer than is waited"
        } else if *code == SqlState::DISK_FULL {
            "the server's disk is full"
        } else if *code == SqlState::TOO_MANY_CONNECTIONS {
            "the server has too many connections"
        } else if is_gone_code(code) {
            "the server is stopping or starting"
        } else {
            "the server refuses it"
        };
        format!("{words} (SQLSTATE {})", code.code())
    }

    fn said_by_connection(&self, error: &tokio_postgres::Error) -> String {
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(io) = inner.downcast_ref::<std::io::Error>() {
                let tls = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                return match tls {
                    Some(rustls::Error::InvalidCertificate(_)) => {
                        "the server's certificate is not trusted, or is another server's".to_owned()
                    }
                    Some(rustls::Error::AlertReceived(_)) => {
                        "the server refuses this client's certificate, or wants one".to_owned()
                    }
                    Some(_) => "the TLS handshake failed".to_owned(),
                    None => io.kind().to_string(),
                };
            }
            if inner.to_string() == "password missing" {
                return format!("the server asks the role `{}` for a password, and none is configured", self.user);
            }
            source = inner.source();
        }
        if self.tls.is_some() && error.to_string().contains("TLS") {
            return "the server does not speak TLS".to_owned();
        }
        // These words are the client's and hold nothing of what was sent.
        error.to_string()
    }
}

/// Whether the same may go well a little later.
fn is_passing(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => {
            is_gone_code(code)
                || [
                    SqlState::T_R_SERIALIZATION_FAILURE,
                    SqlState::T_R_DEADLOCK_DETECTED,
                    SqlState::TOO_MANY_CONNECTIONS,
                    SqlState::LOCK_NOT_AVAILABLE,
                ]
                .contains(code)
        }
        // Trust, TLS and what is configured do not come right by waiting; connections that are refused or lost may.
        None => {
            is_cut_off(error)
                || !["TLS", "authentication", "configuration"].iter().any(|word| error.to_string().contains(word))
        }
    }
}

/// The other side went away, be it in the midst of a handshake.
fn is_cut_off(error: &tokio_postgres::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kinds.any(|kind| matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}

fn is_gone(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(is_gone_code)
}

fn is_gone_code(code: &SqlState) -> bool {
    code.code().starts_with("08")
        || [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(code)
}

/// The right to one connection.
struct Slot<'a>(&'a Database);

impl<'a> Slot<'a> {
    fn wait(database: &'a Database) -> Self {
        let mut pool = database.pool.lock().unwrap_or_else(PoisonError::into_inner);
        while pool.made >= database.most {
            pool = database.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        pool.made += 1;
        Self(database)
    }

    fn idle(&self) -> Option<Client> {
        let mut pool = self.0.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.idle.retain(|client| !client.is_closed());
        pool.idle.pop()
    }

    fn give_back(&self, client: Client) {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner).idle.push(client);
    }

    /// Where one was lost, the others are too.
    fn forget_idle(&self) {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner).idle.clear();
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner).made -= 1;
        self.0.returned.notify_one();
    }
}

fn runtime() -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let make = || Builder::new_multi_thread().worker_threads(THREADS).thread_name("vault").enable_all().build().ok();
    RUNTIME.get_or_init(make).as_ref()
}

/// Waits for a future, on whatever thread the caller is.
fn wait<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    if Handle::try_current().is_ok() {
        return tokio::task::block_in_place(|| runtime.handle().block_on(future));
    }
    runtime.block_on(future)
}
