//! Arrow Flight SQL: ADBC, and whatever else reads Arrow. Questions only.
//!
//! A call carries its credential, or the token of a session that a handshake has opened; it says what the data are for in headers. `GetFlightInfo`
//! plans a question and gives a ticket, `DoGet` asks it. Written here and not with `arrow-flight`: see
//! `docs/decisions/0033-flight-sql-on-the-same-http.md`.

mod catalog;
mod grpc;
mod ipc;
mod kept;
mod proto;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use ::http::request::Parts;
use ::http::{Method, Request, Response, StatusCode};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use cordon_access::PurposeOfUse;
use data_encoding::{BASE64, BASE64_NOPAD};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::http::{self, Body, Peer};
use crate::log_in::Credential;
use crate::service::{Running, Service, Trouble};
use crate::session::{Busy, Session};
use grpc::{Code, Messages, Part, Status, decoded, framed};
pub use kept::Kept;
use kept::{Asked, Guard, Prepared};
use proto::{
    Action, ActionResult, ActionType, Any, CancelFlightInfoRequest, CancelQuery, CreatedPreparedStatement, FlightData,
    FlightDescriptor, FlightEndpoint, FlightInfo, Handle, HandshakeResponse, Outcome, PutResult, SchemaResult,
    StatementQuery, Ticket,
};

const SERVICE: &str = "/arrow.flight.protocol.FlightService/";
/// How long the rest of a refused request is waited for.
const REST: Duration = Duration::from_secs(1);
/// By which calls say what the data are for; with `-bin` behind it, what is not ASCII.
const USAGE: [&str; 3] = ["x-cordon-purpose", "x-cordon-project", "x-cordon-reason"];

const ACTIONS: [(&str, &str); 5] = [
    ("CreatePreparedStatement", "Plans a question, whose parameters may come later."),
    ("ClosePreparedStatement", "Forgets a prepared statement."),
    ("CancelFlightInfo", "Ends a question that runs."),
    ("CancelQuery", "Ends a question that runs, as before CancelFlightInfo."),
    ("CloseSession", "Ends the session of a handshake, and all that runs in it."),
];

pub async fn answer(
    service: Arc<Service>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if peer.full {
        let status = Status::from(Trouble::Busy(Busy::Connections));
        service.metrics.count("flight_calls", status.label);
        return Ok(status.response());
    }
    let (head, body) = request.into_parts();
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if head.method != Method::POST || !matches!(kind, "application/grpc" | "application/grpc+proto") {
        service.metrics.count("flight_calls", "request");
        Messages::new(body, service.limits().request).discard(REST).await;
        return Ok(grpc::no_grpc(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let mut messages = Messages::new(body, service.limits().request);
    Ok(match routed(&service, &peer, &head, &mut messages).await {
        Ok(response) => {
            service.metrics.count("flight_calls", "answered");
            response
        }
        Err(status) => {
            service.metrics.count("flight_calls", status.label);
            messages.discard(REST).await;
            status.response()
        }
    })
}

fn unsupported(what: &str) -> Status {
    Status::new(Code::Unimplemented, what)
}

fn malformed(what: &str) -> Status {
    Status::new(Code::InvalidArgument, what)
}

/// Who calls, and with what.
struct Call<'a> {
    service: &'a Arc<Service>,
    session: Arc<Session>,
    headers: &'a HeaderMap,
}

async fn routed(
    service: &Arc<Service>,
    peer: &Peer,
    head: &Parts,
    messages: &mut Messages,
) -> Result<Response<Body>, Status> {
    let method = head.uri.path().strip_prefix(SERVICE).unwrap_or_default();
    let handshake = method == "Handshake";
    let credential = http::credential(&head.headers, peer)?;
    // A ticket of Kerberos is good for one log-in, and a password that is shown in a handshake opens a session of its own: the calls that
    // follow show its token.
    let opens = match credential {
        Credential::Ticket(_) => true,
        Credential::Password { .. } => handshake,
        _ => false,
    };
    let session = service.log_in(credential, peer.address, !opens).await?;
    let mut token = None;
    if opens {
        token = service.sessions.token(&session, peer.address);
        if token.is_none() {
            let words = "as many sessions of this principal are open as may; close some";
            return Err(Status::new(Code::ResourceExhausted, words));
        }
    }
    let call = Call { service, session, headers: &head.headers };
    let mut response = match method {
        "Handshake" => {
            let payload = token.as_ref().map_or_else(Bytes::new, |token| Bytes::copy_from_slice(token.as_bytes()));
            grpc::whole(vec![framed(&HandshakeResponse { payload })])
        }
        "GetFlightInfo" => call.flight_info(messages.only().await?).await?,
        "GetSchema" => call.schema(messages.only().await?).await?,
        "DoGet" => call.get(messages.only().await?).await?,
        "DoPut" => call.put(messages).await?,
        "DoAction" => call.action(messages.only().await?).await?,
        "ListActions" => {
            let actions = ACTIONS
                .map(|(name, what)| framed(&ActionType { r#type: name.to_owned(), description: what.to_owned() }));
            grpc::whole(actions.to_vec())
        }
        _ => return Err(unsupported("this is not answered here; questions go by GetFlightInfo and DoGet")),
    };
    if let Some(token) = token
        && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", token.as_str()))
    {
        value.set_sensitive(true);
        response.headers_mut().insert(AUTHORIZATION, value);
    }
    if !call.session.reply().is_empty()
        && let Ok(value) = HeaderValue::try_from(format!("Negotiate {}", BASE64.encode(call.session.reply())))
    {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    Ok(response)
}

/// What a descriptor asks for.
enum Command {
    Question(String),
    Prepared(Bytes),
    Catalog(catalog::Asked),
}

fn command(bytes: &Bytes) -> Result<Command, Status> {
    let message: Any = decoded(bytes)?;
    if let Some(asked) = catalog::Asked::read(&message)? {
        return Ok(Command::Catalog(asked));
    }
    match message.name() {
        Some("CommandStatementQuery") => Ok(Command::Question(question(&message.value)?)),
        Some("CommandPreparedStatementQuery") => Ok(Command::Prepared(decoded::<Handle>(&message.value)?.handle)),
        other => Err(refused(other)),
    }
}

/// The text of a question, which is of no transaction.
fn question(bytes: &Bytes) -> Result<String, Status> {
    let asked: StatementQuery = decoded(bytes)?;
    match asked.transaction_id {
        Some(_) => Err(unsupported("there are no transactions here")),
        None => Ok(asked.query),
    }
}

/// What Flight SQL has and this server has not.
fn refused(name: Option<&str>) -> Status {
    match name {
        Some("CommandStatementUpdate" | "CommandPreparedStatementUpdate" | "CommandStatementIngest") => {
            unsupported("questions only: nothing is changed or written here")
        }
        Some(name) if name.contains("Substrait") => unsupported("questions come as SQL, not as Substrait"),
        Some(name) if name.contains("Transaction") || name.contains("Savepoint") => {
            unsupported("there are no transactions here")
        }
        Some(_) => unsupported("this is not answered here"),
        None => malformed("the request is not one of Flight SQL"),
    }
}

impl Call<'_> {
    /// A header by its name, or what stands in it as bytes.
    fn said(&self, name: &str) -> Result<Option<String>, Status> {
        let wrong = || malformed("a header that says what the data are for is given twice, or is no text");
        let bin = format!("{name}-bin");
        let mut all = self.headers.get_all(name).iter().map(|value| (value, false));
        let mut as_bytes = self.headers.get_all(&bin).iter().map(|value| (value, true));
        let first = all.next().or_else(|| as_bytes.next());
        if all.next().is_some() || as_bytes.next().is_some() {
            return Err(wrong());
        }
        let Some((value, is_bytes)) = first else { return Ok(None) };
        if !is_bytes {
            return value.to_str().map(|text| Some(text.to_owned())).map_err(|_| wrong());
        }
        let text = value.to_str().unwrap_or_default().trim_end_matches('=');
        let bytes = BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| wrong())?;
        String::from_utf8(bytes).map(Some).map_err(|_| wrong())
    }

    async fn usage(&self) -> Result<PurposeOfUse, Status> {
        let [purpose, project, reason] = USAGE;
        let (stated, project, reason) = (self.said(purpose)?, self.said(project)?, self.said(reason)?);
        let usage = self.service.usage(&self.session, stated.as_deref(), project, reason).await;
        usage.map_err(|trouble| match trouble {
            Trouble::Purpose(what) => {
                Trouble::Purpose(format!("{what}; it is the header `{purpose}` of the call")).into()
            }
            other => other.into(),
        })
    }

    async fn flight_info(&self, descriptor: FlightDescriptor) -> Result<Response<Body>, Status> {
        let (schema, ticket) = match command(&descriptor.cmd)? {
            Command::Catalog(asked) => (ipc::schema(&asked.schema())?, descriptor.cmd.clone()),
            Command::Question(sql) => {
                let usage = self.usage().await?;
                let described = self.service.describe(&self.session, usage.clone(), sql.clone()).await?;
                (ipc::schema(&described.schema)?, self.ticket(Asked::new(sql, usage, Vec::new()))?)
            }
            Command::Prepared(handle) => {
                let usage = self.usage().await?;
                let Prepared { sql, schema, parameters } = self.service.flight.prepared(&self.session, &handle)?;
                (ipc::schema(&schema)?, self.ticket(Asked::new(sql, usage, parameters))?)
            }
        };
        let info = FlightInfo {
            schema,
            flight_descriptor: Some(descriptor),
            endpoint: vec![FlightEndpoint { ticket: Some(Ticket { ticket }) }],
            total_records: -1,
            total_bytes: -1,
        };
        Ok(grpc::whole(vec![framed(&info)]))
    }

    fn ticket(&self, asked: Asked) -> Result<Bytes, Status> {
        use prost::Message;
        let handle = self.service.flight.ask(&self.session, asked)?;
        Ok(Any::of("TicketStatementQuery", &Handle { handle }).encode_to_vec().into())
    }

    async fn schema(&self, descriptor: FlightDescriptor) -> Result<Response<Body>, Status> {
        let schema = match command(&descriptor.cmd)? {
            Command::Catalog(asked) => asked.schema(),
            Command::Question(sql) => {
                let usage = self.usage().await?;
                self.service.describe(&self.session, usage, sql).await?.schema
            }
            Command::Prepared(handle) => self.service.flight.prepared(&self.session, &handle)?.schema,
        };
        Ok(grpc::whole(vec![framed(&SchemaResult { schema: ipc::schema(&schema)? })]))
    }

    async fn get(&self, ticket: Ticket) -> Result<Response<Body>, Status> {
        let message: Any = decoded(&ticket.ticket)?;
        if let Some(asked) = catalog::Asked::read(&message)? {
            return self.catalog(&asked).await;
        }
        if message.name() != Some("TicketStatementQuery") {
            return Err(malformed("this is no ticket of this server"));
        }
        let handle = decoded::<Handle>(&message.value)?.handle;
        let (asked, guard) = self.service.flight.begin(self.service, &self.session, &handle)?;
        let mut running = tokio::select! {
            running = self.service.ask(&self.session, asked.usage, asked.sql, asked.parameters) => running?,
            () = guard.cancelled() => return Err(Trouble::Cancelled.into()),
        };
        // What fails at once is told before anything is sent.
        let first = tokio::select! {
            first = running.next() => first?,
            () = guard.cancelled() => return Err(running.end(Trouble::Cancelled).await.into()),
        };
        Ok(streamed(running, first, guard, self.service.limits().stall_timeout))
    }

    async fn catalog(&self, asked: &catalog::Asked) -> Result<Response<Body>, Status> {
        let mut tables = Vec::new();
        if asked.needs_tables() {
            let usage = self.usage().await?;
            let visible = self.service.visible(&self.session, usage, "tables").await?;
            tables.extend(visible.into_iter().map(|one| (one.table, one.schema)));
        }
        let internal = |_| Trouble::from(cordon_pipeline::error::RunError::Internal("an answer about the catalogue"));
        let batch = asked.answer(&tables).map_err(internal)?;
        let mut encoder = ipc::Encoder::new();
        let mut messages = vec![encoder.schema(&batch.schema())];
        messages.extend(encoder.batch(&batch)?);
        Ok(grpc::whole(messages))
    }

    /// Binds parameters; all else that could be put is a change.
    async fn put(&self, messages: &mut Messages) -> Result<Response<Body>, Status> {
        let mut parts: Vec<FlightData> = vec![messages.only().await?];
        let descriptor = parts.first_mut().and_then(|first| first.flight_descriptor.take());
        let descriptor = descriptor.ok_or_else(|| malformed("what comes first says not what it is for"))?;
        let message: Any = decoded(&descriptor.cmd)?;
        if message.name() != Some("CommandPreparedStatementQuery") {
            return Err(refused(message.name()));
        }
        let handle = decoded::<Handle>(&message.value)?.handle;
        self.service.flight.prepared(&self.session, &handle)?;
        while let Some(part) = messages.next().await? {
            parts.push(decoded(&part)?);
        }
        let read = tokio::task::spawn_blocking(move || ipc::parameters(&parts)).await;
        let parameters: Vec<ArrayRef> =
            read.unwrap_or(Err("the parameters are not in Arrow's form")).map_err(malformed)?;
        self.service.flight.bind(&self.session, &handle, parameters)?;
        Ok(grpc::whole(vec![framed(&PutResult { app_metadata: encoded(&Handle { handle }) })]))
    }

    async fn action(&self, action: Action) -> Result<Response<Body>, Status> {
        let result = |body: Bytes| grpc::whole(vec![framed(&ActionResult { body })]);
        match action.r#type.as_str() {
            "CreatePreparedStatement" => {
                let message: Any = decoded(&action.body)?;
                Ok(result(self.prepare(question(&message.value)?).await?))
            }
            "ClosePreparedStatement" => {
                let message: Any = decoded(&action.body)?;
                self.service.flight.close(&self.session, &decoded::<Handle>(&message.value)?.handle);
                Ok(grpc::whole(Vec::new()))
            }
            "CancelFlightInfo" => {
                let asked: CancelFlightInfoRequest = decoded(&action.body)?;
                self.cancel(asked.info.as_ref())?;
                Ok(result(encoded(&Outcome::DONE)))
            }
            "CancelQuery" => {
                let message: Any = decoded(&action.body)?;
                self.cancel(Some(&decoded(&decoded::<CancelQuery>(&message.value)?.info)?))?;
                Ok(result(encoded(&Any::of("ActionCancelQueryResult", &Outcome::DONE))))
            }
            "CloseSession" => {
                let closed = self.service.sessions.close(&self.session);
                if closed {
                    self.service.flight.forget(&self.session);
                }
                Ok(result(encoded(if closed { &Outcome::DONE } else { &Outcome::NOT_POSSIBLE })))
            }
            name => Err(refused(Some(name))),
        }
    }

    async fn prepare(&self, sql: String) -> Result<Bytes, Status> {
        let usage = self.usage().await?;
        let described = self.service.describe(&self.session, usage, sql.clone()).await?;
        let parameters = described.parameters.iter().zip(1..).map(|(kind, number): (_, usize)| {
            Field::new(format!("${number}"), kind.clone().unwrap_or(DataType::Utf8), true)
        });
        let created = CreatedPreparedStatement {
            dataset_schema: ipc::schema(&described.schema)?,
            parameter_schema: ipc::schema(&Schema::new(parameters.collect::<Vec<_>>()))?,
            handle: self
                .service
                .flight
                .prepare(&self.session, Prepared { sql, schema: described.schema, parameters: Vec::new() })?,
        };
        Ok(encoded(&Any::of("ActionCreatePreparedStatementResult", &created)))
    }

    fn cancel(&self, info: Option<&FlightInfo>) -> Result<(), Status> {
        let tickets = info.iter().flat_map(|info| &info.endpoint).filter_map(|endpoint| endpoint.ticket.as_ref());
        let mut found = false;
        for ticket in tickets {
            let message: Any = decoded(&ticket.ticket)?;
            let handle = decoded::<Handle>(&message.value)?.handle;
            found |= self.service.flight.cancel(&self.session, &handle);
        }
        if found { Ok(()) } else { Err(Status::new(Code::NotFound, "no such question runs")) }
    }
}

fn encoded(message: &impl prost::Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Rows go out as the client takes them. A client that is gone, or takes nothing for too long, ends the query, also while nothing is ready
/// for it.
fn streamed(mut running: Running, first: Option<RecordBatch>, guard: Guard, stall: Duration) -> Response<Body> {
    let (out, parts) = mpsc::channel::<Part>(1);
    tokio::spawn(async move {
        let mut encoder = ipc::Encoder::new();
        let mut ready = vec![encoder.schema(running.schema())];
        let mut next = Ok(first);
        loop {
            let encoded = match &next {
                Ok(Some(batch)) => encoder.batch(batch),
                Ok(None) | Err(_) => Ok(Vec::new()),
            };
            let end = match (next, encoded) {
                (Err(trouble), _) | (_, Err(trouble)) => Some(Err(trouble.into())),
                (Ok(rows), Ok(messages)) => {
                    ready.extend(messages);
                    rows.is_none().then_some(Ok(()))
                }
            };
            for message in ready.drain(..) {
                if !matches!(timeout(stall, out.send(Part::Message(message))).await, Ok(Ok(()))) {
                    return;
                }
            }
            if let Some(end) = end {
                let _ = timeout(stall, out.send(Part::End(end))).await;
                return;
            }
            next = tokio::select! {
                next = running.next() => next,
                () = guard.cancelled() => Err(running.end(Trouble::Cancelled).await),
                () = out.closed() => return,
            };
        }
    });
    grpc::streamed(parts)
}
