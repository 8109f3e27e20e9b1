//! A connection of somebody who has logged in: statements, portals, settings.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema, SchemaRef};
use cordon_access::PurposeOfUse;
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Stream;
use super::catalog::{self, Seen};
use super::settings::Settings;
use super::statement::{self, Statement};
use super::types::{self, Formats, RowWriter, texts};
use super::wire::{Broken, Fields, Message, Out, Reader, Wrong};
use crate::service::{Kind, Running, Service, Trouble};
use crate::session::Session;

/// Statements and portals that one connection may keep, and bytes that wait before they are sent.
const MOST_KEPT: usize = 256;
const CHUNK: usize = 64 * 1024;
/// What they may take together, in messages of the largest size; and one setting, in bytes.
const MOST_KEPT_MESSAGES: usize = 4;
const LONGEST_SETTING: usize = 8 * 1024;
/// How often a connection that waits is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Which connection a request to cancel means.
#[derive(Default)]
pub struct Cancels(Mutex<HashMap<(i32, i32), Arc<Notify>>>);

impl Cancels {
    pub fn cancel(&self, process: i32, key: i32) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(process, key)).cloned();
        if let Some(running) = known {
            // It is kept until what runs looks for it, and no longer than what runs.
            running.notify_one();
        }
    }
}

/// The code that PostgreSQL has for it.
pub fn code(trouble: &Trouble) -> &'static str {
    match trouble.kind() {
        Kind::Unauthenticated => match trouble {
            Trouble::SessionOver(_) => "57P01",
            Trouble::NoCredential => "28000",
            _ => "28P01",
        },
        Kind::Forbidden => "42501",
        Kind::NotFound | Kind::UnknownTable => "42P01",
        Kind::UnknownColumn => "42703",
        Kind::Request => "22023",
        Kind::Syntax => "42601",
        Kind::Unsupported => "0A000",
        Kind::Data => "22000",
        Kind::TooLarge | Kind::TooMany => "54000",
        Kind::Throttled => "28000",
        Kind::Busy | Kind::BusyPrincipal => "53300",
        Kind::Late | Kind::Cancelled => "57014",
        Kind::Stopping => "57P01",
        Kind::Memory => "53200",
        Kind::Unavailable => "58000",
        Kind::Internal => "XX000",
    }
}

/// What goes wrong with a statement: the connection lives on.
enum Fault {
    Trouble(Trouble),
    Said {
        code: &'static str,
        message: String,
    },
    /// The connection is over.
    Broken(Broken),
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<std::io::Error> for Fault {
    fn from(_: std::io::Error) -> Self {
        Self::Broken(Broken::Gone)
    }
}

impl From<types::Unfit> for Fault {
    fn from(_: types::Unfit) -> Self {
        said("0A000", "a column cannot be told in this form; ask for it as text")
    }
}

fn said(code: &'static str, message: impl Into<String>) -> Fault {
    Fault::Said { code, message: message.into() }
}

struct Prepared {
    sql: String,
    statement: Statement,
    oids: Vec<u32>,
    described: Option<Arc<Described>>,
}

/// What a statement takes and gives.
struct Described {
    parameters: Vec<Option<DataType>>,
    /// `None` where it gives no rows.
    schema: Option<SchemaRef>,
}

struct Portal {
    sql: String,
    statement: Statement,
    parameters: Vec<ArrayRef>,
    formats: Formats,
    rows: Option<Source>,
    done: bool,
}

/// Where rows come from, with what is left of a batch.
struct Source {
    schema: SchemaRef,
    running: Option<Running>,
    left: Option<(RecordBatch, usize)>,
    sent: u64,
    /// It was not taken in time and is gone.
    late: bool,
}

impl Portal {
    fn bytes(&self) -> usize {
        let parameters = self.parameters.iter().map(|one| one.get_array_memory_size());
        self.sql.len() + parameters.sum::<usize>()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transaction {
    Idle,
    Open,
    Failed,
}

pub struct Connection {
    service: Arc<Service>,
    session: Arc<Session>,
    reader: Reader<ReadHalf<Stream>>,
    write: WriteHalf<Stream>,
    out: Out,
    drained: watch::Receiver<bool>,
    settings: Settings,
    prepared: HashMap<String, Prepared>,
    portals: HashMap<String, Portal>,
    transaction: Transaction,
    cancel: Arc<Notify>,
    key: (i32, i32),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.service.cancels.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// What a client cannot change: the answer would be another than it thinks.
const FIXED: [(&str, &[&str]); 5] = [
    ("client_encoding", &["utf8", "utf-8", "unicode", "default", "auto"]),
    ("timezone", &["utc", "gmt", "etc/utc", "default", "local"]),
    ("standard_conforming_strings", &["on", "true", "1"]),
    ("intervalstyle", &["postgres"]),
    ("server_version", &[]),
];

/// Those that say what the data are for.
const USAGE: [&str; 3] = ["cordon.purpose", "cordon.project", "cordon.reason"];

/// `-c NAME=VALUE` and `--NAME=VALUE`, as `options` has them; a backslash keeps a space.
fn options(text: &str) -> Vec<(String, String)> {
    let (mut words, mut word, mut chars) = (Vec::new(), String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            c if c.is_whitespace() => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    let (mut found, mut words) = (Vec::new(), words.into_iter());
    while let Some(word) = words.next() {
        let setting = match word.as_str() {
            "-c" => words.next(),
            word => word.strip_prefix("-c").or_else(|| word.strip_prefix("--")).map(str::to_owned),
        };
        if let Some((name, value)) = setting.as_deref().and_then(|setting| setting.split_once('=')) {
            found.push((name.to_ascii_lowercase().replace('-', "_"), value.to_owned()));
        }
    }
    found
}

/// What a client set when it began: in `options`, or as a parameter of its own.
pub fn setting(parameters: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let given = parameters.get("options").map(|text| options(text)).unwrap_or_default();
    let last = given.into_iter().rev().find(|(known, _)| known == name).map(|(_, value)| value);
    last.or_else(|| parameters.get(name).cloned())
}

impl Connection {
    pub fn new(
        service: Arc<Service>,
        session: Arc<Session>,
        reader: Reader<ReadHalf<Stream>>,
        write: WriteHalf<Stream>,
        drained: watch::Receiver<bool>,
        parameters: BTreeMap<String, String>,
    ) -> Self {
        let mut settings = super::settings::defaults();
        settings.insert("session_authorization".to_owned(), session.principal.name.clone());
        let given = parameters.get("options").map(|text| options(text)).unwrap_or_default();
        let of_start =
            parameters.into_iter().filter(|(name, _)| name == "application_name" || USAGE.contains(&name.as_str()));
        for (name, value) in of_start.chain(given) {
            if USAGE.contains(&name.as_str()) || name == "application_name" {
                settings.insert(name, value);
            }
        }
        Self {
            service,
            session,
            reader,
            write,
            out: Out::default(),
            drained,
            settings: Settings::new(settings),
            prepared: HashMap::new(),
            portals: HashMap::new(),
            transaction: Transaction::Idle,
            cancel: Arc::new(Notify::new()),
            key: (0, 0),
        }
    }

    pub async fn run(mut self) {
        let mut random = [0; 8];
        if getrandom::fill(&mut random).is_err() {
            return;
        }
        let [a, b, c, d, rest @ ..] = random;
        self.key = (i32::from_be_bytes([a & 0x7f, b, c, d]), i32::from_be_bytes(rest));
        self.service
            .cancels
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.key, Arc::clone(&self.cancel));
        self.greet();
        let over = self.serve().await;
        if let Err(Fault::Broken(broken)) = &over {
            let (code, message) = match broken {
                Broken::Gone => return,
                Broken::Malformed => ("08P01", "this is not PostgreSQL's protocol"),
                Broken::TooLarge => ("54000", "the message is larger than may be"),
            };
            self.out.error(&Wrong { fatal: true, code, message, hint: None });
        }
        if let Err(Fault::Trouble(trouble)) = &over {
            let words = trouble.words();
            self.out.error(&Wrong { fatal: true, code: code(trouble), message: &words, hint: None });
        }
        let _ = timeout(LOOK, self.send()).await;
        let _ = timeout(LOOK, self.write.shutdown()).await;
    }

    fn greet(&mut self) {
        self.out.authentication(0);
        for (name, of) in [
            ("application_name", "application_name"),
            ("client_encoding", "client_encoding"),
            ("DateStyle", "datestyle"),
            ("default_transaction_read_only", "default_transaction_read_only"),
            ("integer_datetimes", "integer_datetimes"),
            ("IntervalStyle", "intervalstyle"),
            ("is_superuser", "is_superuser"),
            ("server_encoding", "server_encoding"),
            ("server_version", "server_version"),
            ("session_authorization", "session_authorization"),
            ("standard_conforming_strings", "standard_conforming_strings"),
            ("TimeZone", "timezone"),
        ] {
            let value = self.settings.get(of).unwrap_or_default();
            self.out.parameter(name, value);
        }
        let (process, key) = self.key;
        self.out.message(b'K', |out| {
            use bytes::BufMut;
            out.put_i32(process);
            out.put_i32(key);
        });
        self.ready();
    }

    fn ready(&mut self) {
        self.out.ready(match self.transaction {
            Transaction::Idle => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        });
    }

    async fn send(&mut self) -> Result<(), std::io::Error> {
        send(&mut self.write, &mut self.out).await
    }

    /// Ends well where the client says so.
    async fn serve(&mut self) -> Result<(), Fault> {
        // After an error of the extended protocol all is passed over until the client says where it goes on.
        let mut skipping = false;
        let mut idle = true;
        loop {
            self.send().await?;
            let message = self.next().await?;
            if std::mem::take(&mut idle) {
                // What was to be cancelled while nothing ran.
                pin!(self.cancel.notified()).as_mut().enable();
            }
            match message.kind {
                b'X' => return Ok(()),
                b'S' => {
                    skipping = false;
                    if self.transaction == Transaction::Idle {
                        self.portals.clear();
                    }
                    self.ready();
                    idle = true;
                }
                _ if skipping => {}
                b'Q' => {
                    let sql = Fields(message.body).text()?;
                    let done = self.simple(&sql).await;
                    self.settle(done)?;
                    if self.transaction == Transaction::Idle {
                        self.portals.clear();
                    }
                    self.ready();
                    idle = true;
                }
                b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => {
                    let done = self.extended(message).await;
                    skipping = self.settle(done)?;
                }
                // What belongs to COPY, which there is not, and passwords that nobody asked for.
                b'd' | b'c' | b'f' => {}
                _ => return Err(Broken::Malformed.into()),
            }
        }
    }

    /// The next message, while the session holds and the server is not being stopped.
    async fn next(&mut self) -> Result<Message, Fault> {
        loop {
            self.expire().await;
            if let Err(ended) = self.service.sessions.check(&self.session) {
                return Err(self.end_all(|| Trouble::SessionOver(ended)).await);
            }
            if self.transaction == Transaction::Idle && *self.drained.borrow() {
                return Err(Trouble::Draining.into());
            }
            // `message` keeps what it has read when it is given up.
            if let Ok(message) = timeout(LOOK, self.reader.message()).await {
                return Ok(message?);
            }
            if *self.drained.borrow() && self.service.is_stopped() {
                return Err(self.end_all(|| Trouble::Draining).await);
            }
        }
    }

    /// What waits for its client ends for this reason, which is on the record before the client is told.
    async fn end_all(&mut self, why: impl Fn() -> Trouble) -> Fault {
        for source in self.portals.values_mut().filter_map(|portal| portal.rows.as_mut()) {
            if let Some(mut running) = source.running.take() {
                running.end(why()).await;
            }
        }
        why().into()
    }

    /// A portal that waits for its client holds a place among the queries for as long as one may run, and no longer.
    async fn expire(&mut self) {
        for source in self.portals.values_mut().filter_map(|portal| portal.rows.as_mut()) {
            if let Some(running) = source.running.as_mut().filter(|running| Instant::now() >= running.until()) {
                running.end(Trouble::Late).await;
                (source.running, source.left, source.late) = (None, None, true);
            }
        }
    }

    /// Of what the client has prepared and opened.
    fn has_room(&self, more: usize) -> Result<(), Fault> {
        let prepared: usize = self.prepared.values().map(|one| one.sql.len() + 4 * one.oids.len()).sum();
        let open: usize = self.portals.values().map(Portal::bytes).sum();
        if prepared + open + more > MOST_KEPT_MESSAGES * self.service.limits().request {
            return Err(said("53200", "what is prepared and open takes as much memory as may be; close some"));
        }
        Ok(())
    }

    /// Tells the client of what went wrong; says whether something did. Errors that end the connection come back.
    fn settle(&mut self, done: Result<(), Fault>) -> Result<bool, Fault> {
        let (code, message) = match done {
            Ok(()) => return Ok(false),
            Err(Fault::Broken(broken)) => return Err(broken.into()),
            Err(Fault::Trouble(trouble @ Trouble::SessionOver(_))) => return Err(trouble.into()),
            Err(Fault::Trouble(trouble)) => (code(&trouble), trouble.words()),
            Err(Fault::Said { code, message }) => (code, message),
        };
        let (message, hint) = match message.split_once("\n  help: ") {
            Some((message, hint)) => (message, Some(hint)),
            None => (message.as_str(), None),
        };
        self.out.error(&Wrong { fatal: false, code, message, hint });
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Failed;
        }
        Ok(true)
    }

    async fn simple(&mut self, sql: &str) -> Result<(), Fault> {
        let statements: Vec<String> = statement::split(sql).into_iter().map(str::to_owned).collect();
        if statements.is_empty() {
            self.out.simple(b'I');
            return Ok(());
        }
        for sql in statements {
            let statement = statement::read(&sql);
            let mut portal =
                Portal { sql, statement, parameters: Vec::new(), formats: Formats::default(), rows: None, done: false };
            self.open(&mut portal).await?;
            if let Some(source) = &portal.rows {
                types::row_description(&mut self.out, &source.schema, &portal.formats);
            }
            self.execute(&mut portal, 0).await?;
        }
        Ok(())
    }

    async fn extended(&mut self, message: Message) -> Result<(), Fault> {
        let mut fields = Fields(message.body);
        match message.kind {
            b'P' => {
                let (name, sql) = (fields.text()?, fields.text()?);
                let count = fields.count()?;
                let oids = (0..count).map(|_| fields.i32().map(|oid| oid as u32)).collect::<Result<Vec<_>, _>>()?;
                self.parse(name, sql, oids)
            }
            b'B' => self.bind(fields).await,
            b'D' => match (fields.byte()?, fields.text()?) {
                (b'S', name) => self.describe_statement(&name).await,
                (b'P', name) => self.describe_portal(&name).await,
                _ => Err(Broken::Malformed.into()),
            },
            b'E' => {
                let name = fields.text()?;
                let most = fields.i32()?.max(0) as usize;
                let mut portal = self.portals.remove(&name).ok_or_else(|| said("34000", "there is no such portal"))?;
                let done = match self.open(&mut portal).await {
                    Ok(()) => self.execute(&mut portal, most).await,
                    Err(fault) => Err(fault),
                };
                if done.is_ok() {
                    self.portals.insert(name, portal);
                }
                done
            }
            b'C' => {
                match (fields.byte()?, fields.text()?) {
                    (b'S', name) => drop(self.prepared.remove(&name)),
                    (b'P', name) => drop(self.portals.remove(&name)),
                    _ => return Err(Broken::Malformed.into()),
                }
                self.out.simple(b'3');
                Ok(())
            }
            // Flush: all is sent before the next message is waited for.
            _ => Ok(()),
        }
    }

    fn parse(&mut self, name: String, sql: String, oids: Vec<u32>) -> Result<(), Fault> {
        if statement::split(&sql).len() > 1 {
            return Err(said("42601", "one statement at a time can be prepared"));
        }
        if !name.is_empty() && self.prepared.contains_key(&name) {
            return Err(said("42P05", "there is a prepared statement of this name"));
        }
        if self.prepared.len() >= MOST_KEPT {
            return Err(said("54000", "as many statements are prepared as may be; close some"));
        }
        // The one without a name goes when another comes, whatever becomes of that.
        if name.is_empty() {
            self.prepared.remove(&name);
        }
        self.has_room(sql.len() + 4 * oids.len())?;
        let statement = statement::read(&sql);
        self.prepared.insert(name, Prepared { sql, statement, oids, described: None });
        self.out.simple(b'1');
        Ok(())
    }

    async fn bind(&mut self, mut fields: Fields) -> Result<(), Fault> {
        let (portal, name) = (fields.text()?, fields.text()?);
        let formats = formats(&mut fields)?;
        let count = fields.count()?;
        let values = (0..count).map(|_| fields.value()).collect::<Result<Vec<_>, _>>()?;
        let results = self::formats(&mut fields)?;
        let said_all = {
            let prepared = self.prepared.get(&name).ok_or_else(no_statement)?;
            count == 0 || (prepared.oids.len() == count && prepared.oids.iter().all(|oid| *oid != 0))
        };
        let described = if said_all { None } else { Some(self.described(&name).await?) };
        let prepared = self.prepared.get(&name).ok_or_else(no_statement)?;
        let expected =
            described.as_ref().map_or(prepared.oids.len(), |it| it.parameters.len().max(prepared.oids.len()));
        if count != expected {
            return Err(said("08P01", format!("the statement takes {expected} parameters, and {count} came")));
        }
        let mut parameters = Vec::with_capacity(count);
        for (number, value) in values.iter().enumerate() {
            let inferred = described.as_ref().and_then(|described| described.parameters.get(number)?.as_ref());
            let oid = prepared.oids.get(number).copied().unwrap_or(0);
            let one = types::parameter(value.as_deref(), formats.binary(number), oid, inferred);
            parameters.push(one.map_err(|_| said("22P02", format!("parameter {} is not of its type", number + 1)))?);
        }
        if self.portals.len() >= MOST_KEPT && !self.portals.contains_key(&portal) {
            return Err(said("54000", "as many portals are open as may be; close some"));
        }
        let bound = Portal {
            sql: prepared.sql.clone(),
            statement: prepared.statement.clone(),
            parameters,
            formats: results,
            rows: None,
            done: false,
        };
        self.portals.remove(&portal);
        self.has_room(bound.bytes())?;
        self.portals.insert(portal, bound);
        self.out.simple(b'2');
        Ok(())
    }

    async fn described(&mut self, name: &str) -> Result<Arc<Described>, Fault> {
        let prepared = self.prepared.get(name).ok_or_else(no_statement)?;
        if let Some(described) = &prepared.described {
            return Ok(Arc::clone(described));
        }
        let (sql, statement) = (prepared.sql.clone(), prepared.statement.clone());
        let described = match &statement {
            Statement::Question if catalog::is_about(&sql) => {
                let batch = self.of_catalog(&sql).await?;
                Described { parameters: Vec::new(), schema: Some(batch.schema()) }
            }
            Statement::Question => {
                let usage = self.usage().await?;
                let found = self.service.describe(&self.session, usage, sql).await?;
                Described { parameters: found.parameters, schema: Some(found.schema) }
            }
            Statement::Show(name) => Described { parameters: Vec::new(), schema: Some(texts(&[name], &[]).schema()) },
            _ => Described { parameters: Vec::new(), schema: None },
        };
        let described = Arc::new(described);
        if let Some(prepared) = self.prepared.get_mut(name) {
            prepared.described = Some(Arc::clone(&described));
        }
        Ok(described)
    }

    async fn describe_statement(&mut self, name: &str) -> Result<(), Fault> {
        let described = self.described(name).await?;
        let said = self.prepared.get(name).map(|prepared| prepared.oids.clone()).unwrap_or_default();
        let count = described.parameters.len().max(said.len());
        self.out.message(b't', |out| {
            use bytes::BufMut;
            out.put_i16(count as i16);
            for number in 0..count {
                let inferred =
                    described.parameters.get(number).and_then(Option::as_ref).map_or(types::TEXT, types::oid);
                out.put_u32(said.get(number).copied().filter(|oid| *oid != 0).unwrap_or(inferred));
            }
        });
        self.rows_or_none(described.schema.as_deref(), &Formats::default());
        Ok(())
    }

    /// The question is asked here already, so that what is told of its answer is of the answer that comes.
    async fn describe_portal(&mut self, name: &str) -> Result<(), Fault> {
        let mut portal = self.portals.remove(name).ok_or_else(|| said("34000", "there is no such portal"))?;
        self.open(&mut portal).await?;
        let schema = portal.rows.as_ref().map(|source| Arc::clone(&source.schema));
        self.rows_or_none(schema.as_deref(), &portal.formats);
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    fn rows_or_none(&mut self, schema: Option<&Schema>, formats: &Formats) {
        match schema {
            Some(schema) => types::row_description(&mut self.out, schema, formats),
            None => self.out.simple(b'n'),
        }
    }

    async fn usage(&mut self) -> Result<PurposeOfUse, Fault> {
        let text = |name: &str| self.settings.get(name).map(str::to_owned);
        let [purpose, project, reason] = USAGE;
        let usage = self.service.usage(&self.session, self.settings.get(purpose), text(project), text(reason));
        usage.await.map_err(|trouble| match trouble {
            Trouble::Purpose(what) => Fault::Said {
                code: "22023",
                message: format!(
                    "{what}\n  help: SET cordon.purpose = '...', or options=-ccordon.purpose=... when connecting"
                ),
            },
            other => other.into(),
        })
    }

    async fn of_catalog(&mut self, sql: &str) -> Result<RecordBatch, Fault> {
        let mut tables = Vec::new();
        if catalog::needs_tables(sql) {
            let usage = self.usage().await?;
            let visible = self.service.visible(&self.session, usage, "tables").await?;
            tables.extend(visible.into_iter().map(|one| (one.table, one.schema)));
        }
        catalog::answer(sql, &Seen { user: &self.session.principal.name, tables: &tables }).ok_or_else(|| {
            said("0A000", "this question about PostgreSQL's catalogue is not answered here\n  help: information_schema.tables and .columns are")
        })
    }

    /// Sees to it that a portal has its rows to come.
    async fn open(&mut self, portal: &mut Portal) -> Result<(), Fault> {
        if portal.rows.is_some() || portal.done {
            return Ok(());
        }
        if self.transaction == Transaction::Failed
            && !matches!(portal.statement, Statement::Commit | Statement::Rollback)
        {
            return Err(said("25P02", "the transaction has failed; end it by ROLLBACK"));
        }
        let ready = |batch: RecordBatch| Source {
            schema: batch.schema(),
            running: None,
            left: Some((batch, 0)),
            sent: 0,
            late: false,
        };
        portal.rows = match &portal.statement {
            Statement::Question if catalog::is_about(&portal.sql) => Some(ready(self.of_catalog(&portal.sql).await?)),
            Statement::Question => {
                let usage = self.usage().await?;
                let asked = self.service.ask(&self.session, usage, portal.sql.clone(), portal.parameters.clone());
                let running = tokio::select! {
                    running = asked => running?,
                    () = self.reader.gone() => return Err(Broken::Gone.into()),
                    () = self.cancel.notified() => return Err(Trouble::Cancelled.into()),
                };
                let schema = Arc::clone(running.schema());
                Some(Source { schema, running: Some(running), left: None, sent: 0, late: false })
            }
            Statement::Show(name) => {
                let value = self.settings.get(name).map(str::to_owned);
                let value = value.ok_or_else(|| said("42704", "there is no such setting"))?;
                Some(ready(texts(&[name], &[vec![Some(value)]])))
            }
            _ => None,
        };
        Ok(())
    }

    async fn execute(&mut self, portal: &mut Portal, most: usize) -> Result<(), Fault> {
        if portal.rows.is_some() {
            return self.rows(portal, most).await;
        }
        portal.done = true;
        let tag = match &portal.statement {
            Statement::Empty => {
                self.out.simple(b'I');
                return Ok(());
            }
            Statement::Set { name, value, local } => {
                self.set(name, value.as_deref(), *local)?;
                if value.is_some() { "SET" } else { "RESET" }
            }
            Statement::ResetAll => {
                self.settings.reset();
                "RESET"
            }
            Statement::DiscardAll => {
                if self.transaction != Transaction::Idle {
                    return Err(said("25001", "DISCARD ALL is not for the middle of a transaction"));
                }
                self.settings.reset();
                self.prepared.clear();
                self.portals.clear();
                "DISCARD ALL"
            }
            Statement::Become => {
                return Err(said("42501", "you are who has logged in; to be somebody else, log in as them"));
            }
            Statement::Begin => {
                self.settings.begin();
                self.transaction = Transaction::Open;
                "BEGIN"
            }
            Statement::Commit | Statement::Rollback => {
                let undone = self.transaction == Transaction::Failed || portal.statement == Statement::Rollback;
                self.settings.end(undone);
                self.transaction = Transaction::Idle;
                if undone { "ROLLBACK" } else { "COMMIT" }
            }
            Statement::Deallocate(name) => {
                match name {
                    Some(name) => drop(self.prepared.remove(name)),
                    None => self.prepared.clear(),
                }
                "DEALLOCATE"
            }
            Statement::Done(tag) => tag,
            // Its rows are all told.
            Statement::Show(_) | Statement::Question => "SELECT 0",
        };
        self.out.complete(tag);
        Ok(())
    }

    fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<(), Fault> {
        let Some(value) = value else {
            self.settings.set(name, None, local);
            return Ok(());
        };
        if let Some((_, takes)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
            let value = value.to_ascii_lowercase();
            return if takes.contains(&value.as_str()) {
                Ok(())
            } else {
                Err(said("22023", "this setting cannot be changed here"))
            };
        }
        if self.settings.get(name).is_none() && self.settings.len() >= MOST_KEPT {
            return Err(said("54000", "as many settings are set as may be"));
        }
        if name.len() + value.len() > LONGEST_SETTING {
            return Err(said("54000", "the setting is longer than may be"));
        }
        let fixed = match name {
            "session_authorization" | "role" | "is_superuser" => true,
            "transaction_read_only" | "default_transaction_read_only" => !value.eq_ignore_ascii_case("on"),
            _ => false,
        };
        if fixed {
            return Err(said("42501", "this setting cannot be changed here"));
        }
        self.settings.set(name, Some(value), local);
        Ok(())
    }

    /// Sends rows as the client takes them: all, or as many as it asked for at one time.
    async fn rows(&mut self, portal: &mut Portal, most: usize) -> Result<(), Fault> {
        let Some(source) = &mut portal.rows else { return Ok(()) };
        if source.late {
            return Err(Trouble::Late.into());
        }
        // What was computed for an earlier message may be none of the client's business any more.
        match &mut source.running {
            Some(running) => running.still().await?,
            None => self.service.sessions.check(&self.session).map_err(Trouble::SessionOver)?,
        }
        let mut now = 0;
        loop {
            if source.left.is_none() {
                let Some(running) = &mut source.running else { break };
                let next = tokio::select! {
                    next = running.next() => next?,
                    () = self.reader.gone() => return Err(Broken::Gone.into()),
                    () = self.cancel.notified() => return Err(running.end(Trouble::Cancelled).await.into()),
                };
                let Some(batch) = next else {
                    source.running = None;
                    break;
                };
                source.left = Some((batch, 0));
            }
            let Some((batch, mut from)) = source.left.take() else { break };
            let writer = RowWriter::new(&batch, &portal.formats)?;
            while from < batch.num_rows() {
                let room = if most == 0 { usize::MAX } else { most - now };
                if room == 0 {
                    source.left = Some((batch, from));
                    self.out.simple(b's');
                    return Ok(());
                }
                let written = writer.write(&mut self.out, from, (batch.num_rows() - from).min(room), CHUNK)?;
                from += written;
                now += written;
                source.sent += written as u64;
                if self.out.0.len() >= CHUNK {
                    // Only whole messages are ready as yet: the client can be told.
                    if pin!(self.cancel.notified()).as_mut().enable() {
                        if let Some(running) = &mut source.running {
                            running.end(Trouble::Cancelled).await;
                        }
                        return Err(Trouble::Cancelled.into());
                    }
                    // A message of which half has gone leaves nothing that could still be said.
                    let until = source.running.as_ref().map(Running::until);
                    let why = tokio::select! {
                        sent = send(&mut self.write, &mut self.out) => {
                            sent?;
                            continue;
                        }
                        () = self.cancel.notified() => Trouble::Cancelled,
                        () = over(until) => Trouble::Late,
                    };
                    if let Some(running) = &mut source.running {
                        running.end(why).await;
                    }
                    return Err(Broken::Gone.into());
                }
            }
        }
        let sent = source.sent;
        portal.rows = None;
        portal.done = true;
        let tag =
            if matches!(portal.statement, Statement::Show(_)) { "SHOW".to_owned() } else { format!("SELECT {sent}") };
        self.out.complete(&tag);
        Ok(())
    }
}

/// Returns when a query has lasted as long as one may, its client's taking included.
async fn over(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

fn no_statement() -> Fault {
    said("26000", "there is no such prepared statement")
}

fn formats(fields: &mut Fields) -> Result<Formats, Fault> {
    let count = fields.count()?;
    let all = (0..count).map(|_| match fields.i16()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Broken::Malformed),
    });
    Ok(Formats(all.collect::<Result<_, _>>()?))
}

async fn send<W: AsyncWrite + Unpin>(write: &mut W, out: &mut Out) -> Result<(), std::io::Error> {
    if out.0.is_empty() {
        return Ok(());
    }
    write.write_all(&out.0).await?;
    write.flush().await?;
    out.0.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_its_purpose_when_it_connects() {
        assert_eq!(
            options("-c cordon.purpose=public-health --cordon.project=a\\ b -ccordon.reason=x -d"),
            [("cordon.purpose", "public-health"), ("cordon.project", "a b"), ("cordon.reason", "x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
