//! Rows between stages: parted, packed, sealed, and taken in again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::compute::concat_batches;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, SchemaRef};
use cordon_crypto::Sealer;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;
use tokio::sync::Notify;

use super::Piece;
use super::source::Source;
use super::task::Output;
use crate::errors::{EngineError, ExecutionProblem};
use crate::spill::{SealedSpills, Spilled, SpilledPieces};

/// Of rows in one piece: enough that sealing and packing cost little, and little enough to be held for every partition.
const PIECE_ROWS: usize = 64 * 1024;
const PIECE_BYTES: usize = 1 << 20;
/// Held back by one task for all partitions together.
const HELD_BYTES: usize = 64 << 20;
/// Pieces that are kept in memory before they go to a file.
const IN_MEMORY: usize = 64 << 20;
/// Of the fast levels of zstd.
const LEVEL: i32 = 1;
/// What a piece may hold, packed and not: more is not one of ours.
const LARGEST: usize = 1 << 30;

/// What seals the pieces of one query.
pub(crate) struct Seal {
    sealer: Sealer,
    query: String,
}

/// From which stage, for which task.
#[derive(Clone, Copy)]
pub(crate) struct Between {
    pub(crate) place: usize,
    /// The stage that sends it.
    pub(crate) stage: usize,
    /// The task that takes it.
    pub(crate) task: u32,
}

/// Which piece it is of those that one task sends another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number {
    sender: u32,
    piece: u32,
}

const NUMBER: usize = 8;
/// What a piece holds: rows, or that these were all.
const ROWS: u8 = 1;
const END: u8 = 0;

impl Number {
    /// It stands before what is sealed.
    fn of(sealed: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = sealed.split_first_chunk::<NUMBER>()?;
        let [s0, s1, s2, s3, piece @ ..] = *head;
        Some((Self { sender: u32::from_le_bytes([s0, s1, s2, s3]), piece: u32::from_le_bytes(piece) }, rest))
    }
}

impl Seal {
    pub(crate) fn new(key: &[u8; 32], query: &str) -> Self {
        Self { sealer: Sealer::new(key), query: query.to_owned() }
    }

    fn label(&self, between: Between, number: Number) -> Vec<u8> {
        let Between { place, stage, task } = between;
        let Number { sender, piece } = number;
        format!("cordon rows v1\0{}\0{place}\0{stage}\0{task}\0{sender}\0{piece}", self.query).into_bytes()
    }

    fn seal(&self, between: Between, number: Number, text: &[u8]) -> Result<Vec<u8>, EngineError> {
        let sealed = self
            .sealer
            .seal(&self.label(between, number), text)
            .map_err(|_| EngineError::Internal("rows for another machine are not sealed"))?;
        Ok([&number.sender.to_le_bytes()[..], &number.piece.to_le_bytes(), &sealed].concat())
    }

    /// For what is no row.
    pub(crate) fn seal_as(&self, what: &[u8], text: &[u8]) -> Result<Vec<u8>, EngineError> {
        let label = [what, b"\0", self.query.as_bytes()].concat();
        self.sealer.seal(&label, text).map_err(|_| EngineError::Internal("a failure is not sealed"))
    }

    pub(crate) fn open_as(&self, what: &[u8], sealed: &[u8]) -> Result<Vec<u8>, EngineError> {
        let label = [what, b"\0", self.query.as_bytes()].concat();
        self.sealer.open(&label, sealed).map_err(|_| EngineError::Internal("what came is not of this query"))
    }

    /// Opens the piece that has to come next, and no other.
    fn open(&self, between: Between, next: Number, sealed: &[u8]) -> Result<Vec<u8>, EngineError> {
        let (number, sealed) = Number::of(sealed).ok_or(FOREIGN)?;
        if number != next {
            return Err(EngineError::Internal("rows of a query are missing, or came twice"));
        }
        self.sealer.open(&self.label(between, number), sealed).map_err(|_| FOREIGN)
    }
}

const FOREIGN: EngineError = EngineError::Internal("rows came that are not of this query");

/// Parts a task's rows and sends them on. Whoever takes some is told when they are all.
pub(crate) struct Sender<'a> {
    seal: &'a Seal,
    place: usize,
    stage: usize,
    /// This task.
    task: u32,
    side: u32,
    way: Going,
    out: &'a mut Output<'a>,
    schema: SchemaRef,
}

enum Going {
    /// To who asked, as this task's.
    Back(Pending),
    Parted(Box<BatchPartitioner>, Vec<Pending>, usize),
}

#[derive(Default)]
struct Pending {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    /// Pieces that went.
    sent: u32,
}

impl Pending {
    fn add(&mut self, batch: RecordBatch) -> usize {
        let bytes = batch.columns().iter().map(size_of).sum();
        self.rows += batch.num_rows();
        self.bytes += bytes;
        self.batches.push(batch);
        bytes
    }

    fn is_enough(&self) -> bool {
        self.rows >= PIECE_ROWS || self.bytes >= PIECE_BYTES
    }

    fn take(&mut self) -> (u32, Vec<RecordBatch>) {
        (self.rows, self.bytes, self.sent) = (0, 0, self.sent + 1);
        (self.sent - 1, std::mem::take(&mut self.batches))
    }
}

/// What of an array is sent: a slice, and of views the text that they show, has its own size and not that of all it was cut from.
fn size_of(array: &ArrayRef) -> usize {
    let views = |views: &[u128]| views.iter().map(|view| 16 + (*view as u32) as usize).sum();
    match array.data_type() {
        DataType::Utf8View => views(array.as_string_view().views()),
        DataType::BinaryView => views(array.as_binary_view().views()),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

impl<'a> Sender<'a> {
    pub(crate) fn new(
        seal: &'a Seal,
        between: Between,
        onward: Option<&(Partitioning, u32)>,
        schema: SchemaRef,
        out: &'a mut Output<'a>,
    ) -> Result<Self> {
        let Between { place, stage, task } = between;
        let (way, side) = match onward {
            None => (Going::Back(Pending::default()), 0),
            Some((partitioning, side)) => {
                let count = partitioning.partition_count();
                let partitioner = BatchPartitioner::try_new(partitioning.clone(), Time::default(), 0, 1)?;
                let pending = std::iter::repeat_with(Pending::default).take(count).collect();
                (Going::Parted(Box::new(partitioner), pending, 0), *side)
            }
        };
        Ok(Self { seal, place, stage, task, side, way, out, schema })
    }

    pub(crate) fn send(&mut self, batch: RecordBatch) -> Result<()> {
        let mut full: Vec<(u32, (u32, Vec<RecordBatch>))> = Vec::new();
        match &mut self.way {
            Going::Back(pending) => {
                pending.add(batch);
                if pending.is_enough() {
                    full.push((self.task, pending.take()));
                }
            }
            Going::Parted(partitioner, pending, held) => {
                partitioner.partition(batch, |target, batch| {
                    let Some(pending) = pending.get_mut(target) else {
                        return Err(EngineError::Internal("a partition that is not there").into_datafusion());
                    };
                    if batch.num_rows() > 0 {
                        *held += pending.add(batch);
                        if pending.is_enough() {
                            *held = held.saturating_sub(pending.bytes);
                            full.push((target as u32, pending.take()));
                        }
                    }
                    Ok(())
                })?;
                if *held > HELD_BYTES {
                    *held = 0;
                    let all = (0..).zip(pending.iter_mut()).filter(|(_, pending)| pending.rows > 0);
                    full.extend(all.map(|(target, pending)| (target, pending.take())));
                }
            }
        }
        full.into_iter().try_for_each(|(task, (piece, batches))| self.rows(task, piece, &batches))
    }

    /// What is still held back, and that it was all.
    pub(crate) fn finish(mut self) -> Result<()> {
        let mut rest: Vec<(u32, Pending)> = match &mut self.way {
            Going::Back(pending) => vec![(self.task, std::mem::take(pending))],
            Going::Parted(_, pending, _) => (0..).zip(pending.iter_mut().map(std::mem::take)).collect(),
        };
        for (task, pending) in &mut rest {
            if pending.rows > 0 {
                let (piece, batches) = pending.take();
                self.rows(*task, piece, &batches)?;
            }
            self.piece(*task, pending.sent, &[END])?;
        }
        Ok(())
    }

    fn rows(&mut self, task: u32, piece: u32, batches: &[RecordBatch]) -> Result<()> {
        let batch = concat_batches(&self.schema, batches)?;
        self.piece(task, piece, &packed(&batch)?)
    }

    fn piece(&mut self, task: u32, piece: u32, content: &[u8]) -> Result<()> {
        let between = Between { place: self.place, stage: self.stage, task };
        let number = Number { sender: self.task, piece };
        let sealed = self.seal.seal(between, number, content).map_err(EngineError::into_datafusion)?;
        (self.out)(Piece { task, side: self.side, sealed }).map_err(DataFusionError::IoError)
    }
}

/// As a stream of Arrow IPC, under zstd.
fn packed(batch: &RecordBatch) -> Result<Vec<u8>> {
    // A view keeps all the text that its array was ever cut from.
    let columns = batch.columns().iter().map(|column| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => Arc::clone(column),
        }
    });
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    let plain = writer.into_inner()?;
    let mut packed = vec![ROWS];
    packed.extend((plain.len() as u64).to_le_bytes());
    packed.extend(zstd::bulk::compress(&plain, LEVEL)?);
    Ok(packed)
}

fn unpacked(packed: &[u8], schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let wrong = || EngineError::Internal("rows came in another form than they went").into_datafusion();
    let (length, rest) = packed.split_first_chunk().ok_or_else(wrong)?;
    let length =
        usize::try_from(u64::from_le_bytes(*length)).ok().filter(|length| *length <= LARGEST).ok_or_else(wrong)?;
    let plain = zstd::bulk::decompress(rest, length).map_err(|_| wrong())?;
    let reader = StreamReader::try_new(plain.as_slice(), None)?;
    if reader.schema().fields() != schema.fields() {
        return Err(wrong());
    }
    reader
        .map(|batch| {
            let batch = batch?;
            let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            Ok(RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)?)
        })
        .collect()
}

/// Where pieces wait: in memory as far as it goes, and in files beyond. They are sealed already, and stay so.
pub(crate) struct Waiting {
    left: AtomicUsize,
    spilled: Mutex<SpilledPieces>,
}

enum Held {
    Memory(Vec<u8>),
    Spilled(Spilled),
}

impl Waiting {
    pub(crate) fn new(spills: &Arc<SealedSpills>) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(IN_MEMORY), spilled: Mutex::new(spills.pieces()) })
    }

    fn hold(&self, sealed: Vec<u8>) -> Result<Held, EngineError> {
        let fits = |left: usize| left.checked_sub(sealed.len());
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok() {
            return Ok(Held::Memory(sealed));
        }
        let mut spilled = self.spilled.lock().unwrap_or_else(PoisonError::into_inner);
        spilled.put(&sealed).map(Held::Spilled).map_err(|error| EngineError::execution(&error.into()))
    }

    fn release(&self, held: Held) -> Result<Vec<u8>, EngineError> {
        match held {
            Held::Memory(sealed) => {
                self.left.fetch_add(sealed.len(), Ordering::Relaxed);
                Ok(sealed)
            }
            Held::Spilled(at) => {
                let mut spilled = self.spilled.lock().unwrap_or_else(PoisonError::into_inner);
                spilled.take(at).map_err(|error| EngineError::execution(&error.into()))
            }
        }
    }
}

/// Pieces in the order in which they are to be opened, for one reader.
pub(crate) struct Queue {
    state: Mutex<State>,
    came: Notify,
    waiting: Arc<Waiting>,
    is_taken: AtomicBool,
}

#[derive(Default)]
struct State {
    held: VecDeque<Held>,
    end: Option<Result<(), EngineError>>,
}

impl Queue {
    pub(crate) fn new(waiting: &Arc<Waiting>) -> Arc<Self> {
        let (state, came, waiting) = (Mutex::default(), Notify::new(), Arc::clone(waiting));
        Arc::new(Self { state, came, waiting, is_taken: AtomicBool::new(false) })
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, sealed: Vec<u8>) -> Result<(), EngineError> {
        let held = self.waiting.hold(sealed)?;
        self.locked().held.push_back(held);
        self.came.notify_one();
        Ok(())
    }

    /// Nothing more comes.
    pub(crate) fn end(&self, how: Result<(), EngineError>) {
        self.locked().end.get_or_insert(how);
        self.came.notify_one();
    }

    /// The next piece, once it is there.
    async fn next(&self) -> Result<Option<Vec<u8>>, EngineError> {
        loop {
            {
                let mut state = self.locked();
                if let Some(held) = state.held.pop_front() {
                    drop(state);
                    return self.waiting.release(held).map(Some);
                }
                if let Some(end) = &state.end {
                    return end.clone().map(|()| None);
                }
            }
            self.came.notified().await;
        }
    }

    /// The rows of all its pieces, which have to be those of these senders, each of them whole.
    pub(crate) fn rows(
        self: Arc<Self>,
        seal: Arc<Seal>,
        between: Between,
        senders: Range<u32>,
        schema: SchemaRef,
        held: impl Send + 'static,
    ) -> Result<SendableRecordBatchStream> {
        if self.is_taken.swap(true, Ordering::Relaxed) {
            // What reads its input a second time had not enough memory for it.
            return Err(EngineError::Execution(ExecutionProblem::Memory).into_datafusion());
        }
        let form = Arc::clone(&schema);
        let next = Number { sender: senders.start, piece: 0 };
        let begin = (self, seal, VecDeque::new(), next, held);
        let rows = stream::try_unfold(begin, move |(queue, seal, mut ready, mut next, held)| {
            let schema = Arc::clone(&form);
            async move {
                loop {
                    if let Some(batch) = ready.pop_front() {
                        return Ok(Some((batch, (queue, seal, ready, next, held))));
                    }
                    let Some(sealed) = queue.next().await.map_err(EngineError::into_datafusion)? else {
                        if next.sender == senders.end {
                            return Ok(None);
                        }
                        let missing = EngineError::Internal("rows of a query did not come");
                        return Err(missing.into_datafusion());
                    };
                    let content = seal.open(between, next, &sealed).map_err(EngineError::into_datafusion)?;
                    match content.split_first() {
                        Some((&ROWS, packed)) => {
                            next.piece += 1;
                            ready.extend(unpacked(packed, &schema)?);
                        }
                        _ => next = Number { sender: next.sender + 1, piece: 0 },
                    }
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The pieces that came for a task, by side.
pub struct Inputs {
    sides: Vec<Vec<(Number, Held)>>,
    waiting: Arc<Waiting>,
}

/// A stage takes from as many others as a query has joins.
const SIDES: usize = 1000;

impl Inputs {
    pub(crate) fn new(spills: &Arc<SealedSpills>) -> Self {
        Self { sides: Vec::new(), waiting: Waiting::new(spills) }
    }

    /// Takes a piece in, in whatever order they come.
    pub fn add(&mut self, side: u32, sealed: Vec<u8>) -> Result<(), EngineError> {
        let at = side as usize;
        if at >= SIDES {
            return Err(EngineError::Internal("a piece for a side that is not there"));
        }
        let (number, _) = Number::of(&sealed).ok_or(FOREIGN)?;
        let held = self.waiting.hold(sealed)?;
        if self.sides.len() <= at {
            self.sides.resize_with(at + 1, Vec::new);
        }
        if let Some(side) = self.sides.get_mut(at) {
            side.push((number, held));
        }
        Ok(())
    }

    /// The pieces of a side in the order of their senders: what a task computes does not depend on which came first, and a task that is
    /// done anew sends what it sent before.
    pub(crate) fn side(&mut self, side: u32) -> Arc<Queue> {
        let queue = Queue::new(&self.waiting);
        if let Some(side) = self.sides.get_mut(side as usize) {
            side.sort_by_key(|(number, _)| *number);
            queue.locked().held.extend(side.drain(..).map(|(_, held)| held));
        }
        queue.end(Ok(()));
        queue
    }
}

/// What other stages sent a task.
pub(crate) struct Received {
    pub(crate) queue: Arc<Queue>,
    pub(crate) seal: Arc<Seal>,
    pub(crate) between: Between,
    pub(crate) senders: u32,
}

impl Source for Received {
    const NAME: &'static str = "ReceivedExec";

    fn rows(&self, partition: usize, schema: SchemaRef) -> Result<SendableRecordBatchStream> {
        if partition != self.between.task as usize {
            return Err(EngineError::Internal("another partition than the task's").into_datafusion());
        }
        Arc::clone(&self.queue).rows(Arc::clone(&self.seal), self.between, 0..self.senders, schema, ())
    }
}
