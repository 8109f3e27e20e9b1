//! A session on a cluster.

use std::io::Read;
use std::ops::ControlFlow;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::endpoint::Endpoint;
use crate::error::{SparkError, line};
use crate::flow::Flow;
use crate::function::PythonFunction;
use crate::grpc::{Messages, decoded, framed};
use crate::line::{AGENT, Body, GivenUp, Line};
use crate::proto::{
    AddArtifactsRequest, AddArtifactsResponse, AnalyzePlanRequest, AnalyzePlanResponse, ArrowBatch, ArtifactBatch,
    ArtifactBegin, Chunk, ConfigOperation, ConfigRequest, ConfigSet, ExecutePlanRequest, ExecutePlanResponse,
    INTERRUPT_ALL, INTERRUPT_OPERATION, InterruptRequest, KeyValue, Nothing, Progress, ReleaseSessionRequest,
    UserContext, WholeArtifact,
};

/// For what a server does at once. A new session takes some seconds.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a server that works is asked whether it is there, and how long that may take.
const BEAT: Duration = Duration::from_secs(15);
const BEAT_PATIENCE: Duration = Duration::from_secs(40);
/// How long an operation may take to end after it was interrupted.
const STOPPING: Duration = Duration::from_secs(10);
const RELEASE: Duration = Duration::from_secs(5);
/// How soon it is noticed that an operation is not to go on.
const LOOK: Duration = Duration::from_millis(100);
/// Of an artifact in one message.
const CHUNK: usize = 256 * 1024;
/// Letters of a version, or of an id that the server chose.
const LONGEST: usize = 100;

/// What a running function tells.
pub enum Told {
    /// Rows, in the order of partitions. None is empty.
    Batch(RecordBatch),
    /// How many of the tasks that are known are done.
    Tasks { done: u64, all: u64, running: u64 },
}

/// A session of its own on a cluster: its files and settings are no other session's.
///
/// Its calls block, and are not for use within asynchronous code. When it is dropped the server is told, as by
/// [`close`](Self::close).
pub struct Session {
    shared: Arc<Shared>,
    version: String,
    /// Only gone while the session is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
    closed: AtomicBool,
}

struct Shared {
    line: Line,
    id: String,
    user: UserContext,
    /// What the server calls itself: another answer is that of a server that was started anew and knows nothing.
    server: OnceLock<String>,
    cancelled: watch::Sender<bool>,
}

/// Ends what a session does, from any thread.
#[derive(Clone)]
pub struct Canceller {
    shared: Arc<Shared>,
    handle: Handle,
}

impl Canceller {
    /// Interrupts all that the session does, and returns at once. What is going on ends with [`SparkError::Cancelled`], and the
    /// session begins nothing new.
    pub fn cancel(&self) {
        self.shared.cancelled.send_replace(true);
        // The one who reads an answer interrupts too, but may be busy with what came before.
        let shared = Arc::clone(&self.shared);
        self.handle.spawn(async move { shared.interrupt(None).await });
    }
}

impl Session {
    /// Connects and asks for the version. `user` is whom Spark notes, unless the address names a `user_id`.
    pub fn open(endpoint: &Endpoint, user: &str) -> Result<Self, SparkError> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("spark-connect")
            .enable_all()
            .build()
            .map_err(|_| SparkError::unreachable("this machine has no thread to spare"))?;
        let user = endpoint.user().unwrap_or(user).to_owned();
        let shared = Arc::new(Shared {
            line: Line::new(endpoint)?,
            id: uuid()?,
            user: UserContext { user_id: user.clone(), user_name: user },
            server: OnceLock::new(),
            cancelled: watch::Sender::new(false),
        });
        let answer = runtime.block_on(shared.asked_version(PATIENCE))?;
        if !answer.server_session.is_empty() && answer.server_session.len() <= LONGEST {
            let _ = shared.server.set(answer.server_session);
        }
        let version = line(&answer.spark_version.unwrap_or_default().version, LONGEST);
        if version.is_empty() {
            return Err(SparkError::protocol("it does not say its version"));
        }
        let handle = runtime.handle().clone();
        Ok(Self { shared, version, runtime: Some(runtime), handle, closed: AtomicBool::new(false) })
    }

    /// "4.3.0"
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Sets settings of the session.
    pub fn set(&self, pairs: &[(&str, &str)]) -> Result<(), SparkError> {
        let pairs =
            pairs.iter().map(|(key, value)| KeyValue { key: (*key).to_owned(), value: Some((*value).to_owned()) });
        let request = ConfigRequest {
            session_id: self.shared.id.clone(),
            observed_session: self.shared.server.get().cloned(),
            user: Some(self.shared.user.clone()),
            operation: Some(ConfigOperation { set: Some(ConfigSet { pairs: pairs.collect() }) }),
            client_type: Some(AGENT.to_owned()),
        };
        self.handle.block_on(self.shared.unless_cancelled(async {
            self.shared.line.ask::<Nothing>("Config", &request, PATIENCE).await.map(|_| ())
        }))
    }

    /// Ships `length` bytes as a file of the session: `pyfiles/x.py` is a module that functions can import, `files/x` is a file
    /// that they find by `pyspark.SparkFiles.get("x")`, which Spark makes executable. Streams; one chunk at a time is in memory.
    ///
    /// Each executor fetches it when it first runs a task of the session. A name is taken once.
    pub fn add_artifact(&self, name: &str, bytes: &mut dyn Read, length: u64) -> Result<(), SparkError> {
        let whole = |source: &mut dyn Read, most: usize| chunk(source, most, name);
        if length <= CHUNK as u64 {
            let data = whole(bytes, length as usize)?;
            ended(bytes, name)?;
            let artifact = WholeArtifact { name: name.to_owned(), data: Some(data) };
            let request = AddArtifactsRequest {
                batch: Some(ArtifactBatch { artifacts: vec![artifact] }),
                ..self.shared.artifacts_request()
            };
            let body = Full::new(framed(&request)?).map_err(|never| match never {}).boxed_unsync();
            let added = self.shared.watched(self.shared.added(name, body));
            return self.handle.block_on(self.shared.unless_cancelled(added));
        }
        let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, GivenUp>>(2);
        let frames = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        let body = StreamBody::new(frames).boxed_unsync();
        let feeding = async {
            let mut left = length;
            let chunks = length.div_ceil(CHUNK as u64);
            while left > 0 {
                let size = left.min(CHUNK as u64);
                let part = whole(bytes, size as usize).and_then(|part| {
                    if left == size {
                        ended(bytes, name)?;
                    }
                    Ok(part)
                });
                let part = match part {
                    Ok(part) => part,
                    Err(error) => {
                        let _ = sender.send(Err(GivenUp)).await;
                        return Err(error);
                    }
                };
                let mut request = self.shared.artifacts_request();
                if left == length {
                    let (name, total_bytes, chunks) = (name.to_owned(), length as i64, chunks as i64);
                    request.begin = Some(ArtifactBegin { name, total_bytes, chunks, first: Some(part) });
                } else {
                    request.chunk = Some(part);
                }
                left -= size;
                if sender.send(Ok(Frame::data(framed(&request)?))).await.is_err() {
                    // The server takes no more, and its answer says why.
                    break;
                }
            }
            drop(sender);
            Ok(())
        };
        self.handle.block_on(self.shared.unless_cancelled(async {
            tokio::try_join!(feeding, self.shared.watched(self.shared.added(name, body))).map(|_| ())
        }))
    }

    /// Runs `function` over the rows of `input` on the executors and tells what comes; see [`execute`](Self::execute).
    pub fn map_in_arrow(
        &self,
        input: &RecordBatch,
        function: &PythonFunction<'_>,
        told: &mut dyn FnMut(Told) -> ControlFlow<()>,
    ) -> Result<(), SparkError> {
        self.execute(&Flow::Mapped(Box::new(Flow::Rows(input)), function), &|| true, told)
    }

    /// Does what `flow` says and tells what comes, while it comes: rows in the order of partitions, and how many tasks are done.
    ///
    /// [`ControlFlow::Break`] interrupts it, and so does `goes_on`, which is asked now and then, when it says no: that is no error. A
    /// server that goes away is noticed within about a minute, and is [`SparkError::Unreachable`]: the operation cannot be attached to
    /// again, and is to be run anew.
    pub fn execute(
        &self,
        flow: &Flow<'_>,
        goes_on: &(dyn Fn() -> bool + Sync),
        told: &mut dyn FnMut(Told) -> ControlFlow<()>,
    ) -> Result<(), SparkError> {
        let operation = uuid()?;
        let request = ExecutePlanRequest {
            session_id: self.shared.id.clone(),
            observed_session: self.shared.server.get().cloned(),
            user: Some(self.shared.user.clone()),
            operation_id: Some(operation.clone()),
            plan: Some(flow.plan()?),
            client_type: Some(AGENT.to_owned()),
        };
        let body = Full::new(framed(&request)?).map_err(|never| match never {}).boxed_unsync();
        drop(request);
        self.handle.block_on(self.shared.executed(body, &operation, goes_on, told))
    }

    /// What ends it from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller { shared: Arc::clone(&self.shared), handle: self.handle.clone() }
    }

    /// Tells the server that the session is over, which ends what it still does and removes its files. Best effort, and once.
    pub fn close(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        let (sender, done) = std::sync::mpsc::channel();
        let shared = Arc::clone(&self.shared);
        self.handle.spawn(async move {
            let request = ReleaseSessionRequest {
                session_id: shared.id.clone(),
                user: Some(shared.user.clone()),
                client_type: Some(AGENT.to_owned()),
            };
            let _ = shared.line.ask::<Nothing>("ReleaseSession", &request, RELEASE).await;
            let _ = sender.send(());
        });
        // Of another thread's doing, so that a session may be dropped anywhere.
        let _ = done.recv_timeout(RELEASE);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    async fn asked_version(&self, patience: Duration) -> Result<AnalyzePlanResponse, SparkError> {
        let request = AnalyzePlanRequest {
            session_id: self.id.clone(),
            observed_session: self.server.get().cloned(),
            user: Some(self.user.clone()),
            client_type: Some(AGENT.to_owned()),
            spark_version: Some(Nothing {}),
        };
        self.line.ask("AnalyzePlan", &request, patience).await
    }

    fn artifacts_request(&self) -> AddArtifactsRequest {
        AddArtifactsRequest {
            session_id: self.id.clone(),
            observed_session: self.server.get().cloned(),
            user: Some(self.user.clone()),
            client_type: Some(AGENT.to_owned()),
            ..AddArtifactsRequest::default()
        }
    }

    async fn added(&self, name: &str, body: Body) -> Result<(), SparkError> {
        let answer: AddArtifactsResponse = self.line.begin("AddArtifacts", body).await?.only().await?;
        match answer.artifacts.iter().find(|artifact| artifact.name == name) {
            Some(artifact) if artifact.crc_is_right => Ok(()),
            Some(_) => Err(SparkError::protocol(format!("`{name}` came there damaged"))),
            None => Err(SparkError::protocol(format!("it does not say that it has `{name}`"))),
        }
    }

    /// All operations of the session, or one.
    async fn interrupt(&self, operation: Option<&str>) {
        let request = InterruptRequest {
            session_id: self.id.clone(),
            observed_session: self.server.get().cloned(),
            user: Some(self.user.clone()),
            client_type: Some(AGENT.to_owned()),
            kind: if operation.is_some() { INTERRUPT_OPERATION } else { INTERRUPT_ALL },
            operation_id: operation.map(str::to_owned),
        };
        let _ = self.line.ask::<Nothing>("Interrupt", &request, RELEASE).await;
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T, SparkError>>) -> Result<T, SparkError> {
        let mut cancelled = self.cancelled.subscribe();
        tokio::select! {
            biased;
            _ = cancelled.wait_for(|it| *it) => Err(SparkError::Cancelled),
            done = work => done,
        }
    }

    /// `work`, while the server is there. A small question shows that, and not a ping of HTTP/2: before Spark 4.3 its server ends
    /// connections that ping more often than every five minutes, and something in between could answer for it.
    async fn watched<T>(&self, work: impl Future<Output = Result<T, SparkError>>) -> Result<T, SparkError> {
        let watching = async {
            loop {
                sleep(BEAT).await;
                if let Err(error @ SparkError::Unreachable { .. }) = self.asked_version(BEAT_PATIENCE).await {
                    return Err(error);
                }
            }
        };
        tokio::select! {
            done = work => done,
            gone = watching => gone,
        }
    }

    async fn executed(
        &self,
        body: Body,
        operation: &str,
        goes_on: &(dyn Fn() -> bool + Sync),
        told: &mut dyn FnMut(Told) -> ControlFlow<()>,
    ) -> Result<(), SparkError> {
        let over = || async {
            while goes_on() {
                sleep(LOOK).await;
            }
        };
        let beginning = self.unless_cancelled(self.watched(self.line.begin("ExecutePlan", body)));
        let mut messages = tokio::select! {
            messages = beginning => messages?,
            () = over() => {
                self.interrupt(Some(operation)).await;
                return Ok(());
            }
        };
        let ended = {
            let reading = pin!(self.watched(self.read(&mut messages, told)));
            tokio::select! {
                ended = self.unless_cancelled(reading) => ended,
                () = over() => Ok(ControlFlow::Break(())),
            }
        };
        match ended {
            Ok(ControlFlow::Continue(())) => Ok(()),
            Ok(ControlFlow::Break(())) => {
                self.stop(&mut messages, Some(operation)).await;
                Ok(())
            }
            Err(SparkError::Cancelled) => {
                self.stop(&mut messages, None).await;
                Err(SparkError::Cancelled)
            }
            Err(error) => Err(error),
        }
    }

    async fn read(
        &self,
        messages: &mut Messages,
        told: &mut dyn FnMut(Told) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, SparkError> {
        let mut rows = 0;
        while let Some(message) = messages.next().await? {
            let answer: ExecutePlanResponse = decoded(message)?;
            if let Some(progress) = answer.progress
                && told(tasks(&progress)).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            let Some(batch) = answer.batch else { continue };
            for batch in batches(batch, &mut rows)? {
                if batch.num_rows() > 0 && told(Told::Batch(batch)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Interrupts until the answer ends, since an operation that is not there yet cannot be interrupted.
    async fn stop(&self, messages: &mut Messages, operation: Option<&str>) {
        let stopping = async {
            loop {
                self.interrupt(operation).await;
                let ending = async { while let Ok(Some(_)) = messages.next().await {} };
                if timeout(Duration::from_secs(1), ending).await.is_ok() {
                    break;
                }
            }
        };
        let _ = timeout(STOPPING, stopping).await;
    }
}

fn tasks(progress: &Progress) -> Told {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let (mut done, mut all) = (0_u64, 0_u64);
    for stage in &progress.stages {
        // Of Spark's completed ones some have failed, and are done anew.
        done = done.saturating_add(count(stage.completed).min(count(stage.tasks)));
        all = all.saturating_add(count(stage.tasks));
    }
    Told::Tasks { done, all, running: count(progress.running) }
}

/// What came in one answer, which counts its rows and says how many came before. The decoder takes no more memory than what came.
fn batches(from: ArrowBatch, before: &mut i64) -> Result<Vec<RecordBatch>, SparkError> {
    if from.chunks.is_some_and(|chunks| chunks > 1) {
        return Err(SparkError::protocol("batches come in pieces, which nobody asked for"));
    }
    if from.start.is_some_and(|start| start != *before) {
        return Err(SparkError::protocol("rows are missing in what came"));
    }
    let wrong = || SparkError::protocol("what came is no batch of Arrow");
    // Arrow checks much of what it reads, and panics over some of the rest.
    let found = catch_unwind(|| read_stream(from.data)).map_err(|_| wrong())?.ok_or_else(wrong)?;
    let rows = found.iter().fold(0_i64, |sum, batch| sum.saturating_add(batch.num_rows() as i64));
    if rows != from.rows {
        return Err(SparkError::protocol("a batch has other rows than it says"));
    }
    *before = before.saturating_add(rows);
    Ok(found)
}

/// Arrow's own words of what is wrong can hold values.
fn read_stream(data: Bytes) -> Option<Vec<RecordBatch>> {
    let mut decoder = StreamDecoder::new();
    let mut buffer = Buffer::from(data);
    let mut found = Vec::new();
    while !buffer.is_empty() {
        found.extend(decoder.decode(&mut buffer).ok()?);
    }
    decoder.finish().ok()?;
    Some(found)
}

/// Exactly `size` bytes.
fn chunk(source: &mut dyn Read, size: usize, name: &str) -> Result<Chunk, SparkError> {
    let mut data = Vec::with_capacity(size);
    source.take(size as u64).read_to_end(&mut data).map_err(|error| unread(name, &error))?;
    if data.len() < size {
        return Err(SparkError::input(format!("`{name}` is shorter than it was: it changed while it was sent")));
    }
    let mut crc = flate2::Crc::new();
    crc.update(&data);
    Ok(Chunk { data: data.into(), crc: crc.sum().into() })
}

fn ended(source: &mut dyn Read, name: &str) -> Result<(), SparkError> {
    let mut more = Vec::new();
    match source.take(1).read_to_end(&mut more).map_err(|error| unread(name, &error))? {
        0 => Ok(()),
        _ => Err(SparkError::input(format!("`{name}` is longer than it was: it changed while it was sent"))),
    }
}

fn unread(name: &str, error: &std::io::Error) -> SparkError {
    SparkError::input(format!("`{name}` cannot be read: {}", error.kind()))
}

/// Version 4 of RFC 9562: random.
fn uuid() -> Result<String, SparkError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| SparkError::input("this machine gives no random numbers"))?;
    let number = u128::from_be_bytes(random) & !(0xf << 76 | 0x3 << 62) | 4 << 76 | 2 << 62;
    let hex = format!("{number:032x}");
    let mut out = String::with_capacity(36);
    for (at, digit) in hex.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(digit);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use arrow_ipc::writer::StreamWriter;

    use super::*;

    fn answer(rows: i64, data: Vec<u8>) -> ArrowBatch {
        ArrowBatch { rows, data: data.into(), start: None, chunks: None }
    }

    fn stream() -> Vec<u8> {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("one"), None, Some("three")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter([("a", texts), ("b", numbers)]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    #[test]
    fn batches_are_counted() {
        let mut before = 0;
        assert_eq!(batches(answer(3, stream()), &mut before).unwrap()[0].num_rows(), 3);
        assert_eq!(batches(ArrowBatch { start: Some(3), ..answer(3, stream()) }, &mut before).unwrap().len(), 1);
        for bad in [
            answer(2, stream()),
            ArrowBatch { start: Some(3), ..answer(3, stream()) },
            ArrowBatch { chunks: Some(2), ..answer(3, stream()) },
        ] {
            assert!(matches!(batches(bad, &mut before), Err(SparkError::Protocol { .. })));
        }
    }

    #[test]
    fn damaged_batches_end_in_an_error_and_never_in_a_panic() {
        let whole = stream();
        for cut in 0..whole.len() - 8 {
            assert!(batches(answer(3, whole[..cut].to_vec()), &mut 0).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= change;
                let _ = batches(answer(3, damaged), &mut 0);
            }
        }
    }

    #[test]
    fn ids_are_of_version_4() {
        let id = uuid().unwrap();
        assert!(id.len() == 36 && id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_ne!(id, uuid().unwrap());
    }
}
