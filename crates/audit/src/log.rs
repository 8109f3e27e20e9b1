//! Writing: one entry after the other, durable, by several threads and processes.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use cordon_crypto::{AuditSealKey, SigningKey, SigningKeys, VerifyingKey, Versions, random_bytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::dir::{Dir, HEAD, SYNC, segment_name, sync_data};
use crate::entry::{Entry, Record};
use crate::frame::{Frame, HEADER, Header, MAX_SEALED, Next, OLD_MAGIC, genesis};
use crate::head::Head;
use crate::list::ROTATED_SINCE;
use crate::{
    Anchor, AuditError, AuditReader, Clock, Digest, Entries, Event, Filter, Finding, FindingKind, SystemClock, Tag,
    Tagger, VerifyReport, WriterInfo,
};

/// Proof that an entry is on stable storage, and where in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// From 1; 0 stands for the beginning of a log without entries.
    pub seq: u64,
    pub hash: Digest,
}

/// What a log can be opened with besides its keys.
#[derive(Clone)]
pub struct Options {
    /// A segment is closed before it grows beyond this.
    pub segment_bytes: u64,
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, clock: Arc::new(SystemClock) }
    }
}

/// A log that is open for writing.
pub struct AuditLog {
    dir: Dir,
    sign: SigningKeys,
    /// The version under which new segments are sealed.
    seal: u32,
    reader: AuditReader,
    tagger: Tagger,
    writer: WriterInfo,
    options: Options,
    state: Mutex<State>,
    /// What threads want written: whoever comes to write writes for those who wait too, so that many share the time that a disk takes.
    waiting: Mutex<VecDeque<Arc<Waiting>>>,
    /// Rung when something was written.
    told: Condvar,
}

/// How often those who wait look whether somebody still writes: one who ends in a panic tells nobody.
const LOOK: Duration = Duration::from_secs(1);

/// So many entries reach the disk together at most, and so many may a head that was not written any more be behind.
pub(crate) const MOST_AT_ONCE: usize = 64;

/// An event, and how it went with it once somebody has written it.
struct Waiting {
    event: Event,
    written: Mutex<Option<Result<Receipt, AuditError>>>,
}

impl Waiting {
    fn take(&self) -> Option<Result<Receipt, AuditError>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is(&self, written: Result<Receipt, AuditError>) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
    }
}

/// What is known of the disk from the last append.
#[derive(Default)]
struct State {
    at: Option<At>,
    poisoned: bool,
}

/// The end of the log, and the head file that was last seen to be good.
struct At {
    head: Head,
    head_bytes: Vec<u8>,
    /// Of the segment that the head names.
    keys: SegmentKeys,
}

/// What a segment is signed and sealed with.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SegmentKeys {
    key: VerifyingKey,
    seal: u32,
}

impl From<&Header> for SegmentKeys {
    fn from(header: &Header) -> Self {
        Self { key: header.key, seal: header.seal }
    }
}

impl AuditLog {
    /// Opens the log in `dir`, which is created with its first segment if there is nothing yet. What a killed writer
    /// left is healed and recorded; evidence of tampering at the log's end is an error.
    pub fn open(
        dir: &Path,
        seal: impl Into<Versions<AuditSealKey>>,
        sign: impl Into<SigningKeys>,
        writer: WriterInfo,
    ) -> Result<Self, AuditError> {
        Self::open_with(dir, seal, sign, writer, Options::default())
    }

    /// Opens a log that must be there: one that is gone is evidence and does not become a new one.
    pub fn open_existing(
        dir: &Path,
        seal: impl Into<Versions<AuditSealKey>>,
        sign: impl Into<SigningKeys>,
        writer: WriterInfo,
    ) -> Result<Self, AuditError> {
        let there = Dir::new(dir);
        if !there.has(HEAD)? {
            return Err(tampered(FindingKind::HeadMissing, 0, HEAD));
        }
        Self::open(dir, seal, sign, writer)
    }

    /// Whether the log still reaches to `anchor`, which another file kept. Looks at the end of the log only: that each
    /// entry before is as it was is for [`Self::verify`].
    pub fn reaches(&self, anchor: &Anchor) -> Result<(), AuditError> {
        let head = self.head()?;
        if head.seq < anchor.seq {
            return Err(tampered(FindingKind::Shortened, head.seq + 1, HEAD));
        }
        if head.seq == anchor.seq && head.hash != anchor.hash {
            return Err(tampered(FindingKind::AnchorMismatch, anchor.seq, HEAD));
        }
        Ok(())
    }

    pub fn open_with(
        dir: &Path,
        seal: impl Into<Versions<AuditSealKey>>,
        sign: impl Into<SigningKeys>,
        writer: WriterInfo,
        options: Options,
    ) -> Result<Self, AuditError> {
        let (seal, sign) = (seal.into(), sign.into());
        let log = Self {
            dir: Dir::create(dir)?,
            seal: seal.newest(),
            // From the first version: what was equal stays equal when the key changes.
            tagger: Tagger::new(seal.first_key()),
            reader: AuditReader::open(dir, seal, sign.newest().verifying_key()).before_rotation(sign.verifying_keys()),
            sign,
            writer,
            options,
            state: Mutex::default(),
            waiting: Mutex::default(),
            told: Condvar::new(),
        };
        let lock = log.dir.lock()?;
        log.create_if_absent()?;
        let mut at = log.catch_up(None)?;
        log.record_torn(&mut at)?;
        drop(lock);
        log.state.lock().map_err(|_| AuditError::Poisoned)?.at = Some(at);
        Ok(log)
    }

    /// Durable when it returns `Ok`. On an error the event is to be taken as not recorded, and what it was to record
    /// must not happen.
    pub fn append(&self, event: &Event) -> Result<Receipt, AuditError> {
        let mine = Arc::new(Waiting { event: event.clone(), written: Mutex::default() });
        let mut waiting = self.waiting.lock().map_err(|_| AuditError::Poisoned)?;
        waiting.push_back(Arc::clone(&mine));
        loop {
            if let Some(written) = mine.take() {
                return written;
            }
            match self.state.try_lock() {
                Ok(mut state) => {
                    let many = waiting.len().min(MOST_AT_ONCE);
                    let together: Vec<_> = waiting.drain(..many).collect();
                    drop(waiting);
                    self.append_together(&mut state, &together);
                    drop(state);
                    waiting = self.waiting.lock().map_err(|_| AuditError::Poisoned)?;
                    self.told.notify_all();
                }
                // Not in a queue for the lock of whoever writes: those who were told would stand in it before those who wait.
                Err(TryLockError::WouldBlock) => {
                    waiting = self.told.wait_timeout(waiting, LOOK).map_err(|_| AuditError::Poisoned)?.0;
                }
                Err(TryLockError::Poisoned(_)) => return Err(AuditError::Poisoned),
            }
        }
    }

    fn append_together(&self, state: &mut State, together: &[Arc<Waiting>]) {
        let written = if state.poisoned { Err(AuditError::Poisoned) } else { self.written(state, together) };
        match written {
            Ok(receipts) => {
                for (one, receipt) in together.iter().zip(receipts) {
                    one.is(receipt);
                }
            }
            Err(error) => {
                state.poisoned |= matches!(error, AuditError::Io { doing: SYNC, .. });
                for one in together {
                    one.is(Err(error.again()));
                }
            }
        }
    }

    fn written(
        &self,
        state: &mut State,
        together: &[Arc<Waiting>],
    ) -> Result<Vec<Result<Receipt, AuditError>>, AuditError> {
        let _lock = self.dir.lock()?;
        // Taken: whatever fails below, the next append starts from what is on disk.
        let mut at = self.catch_up(state.at.take())?;
        let receipts = self.write(&mut at, together.iter().map(|one| &one.event))?;
        state.at = Some(at);
        Ok(receipts)
    }

    /// The last acknowledged entry on disk, whichever process wrote it.
    pub fn head(&self) -> Result<Receipt, AuditError> {
        let bytes = self.dir.read(HEAD)?.ok_or_else(|| tampered(FindingKind::HeadMissing, 0, HEAD))?;
        let (head, _) = self.decode_head(&bytes)?;
        Ok(Receipt { seq: head.seq, hash: head.hash })
    }

    pub fn list(&self, filter: Filter) -> Result<Entries<'_>, AuditError> {
        self.reader.list(filter)
    }

    /// Reads the whole log and proves it, and that each anchor is in it.
    pub fn verify(&self, anchors: &[Anchor]) -> Result<VerifyReport, AuditError> {
        self.reader.verify(anchors)
    }

    /// For the tags of this log's events.
    pub fn tag(&self, domain: &str, value: &[u8]) -> Tag {
        self.tagger.tag(domain, value)
    }

    pub fn tagger(&self) -> Tagger {
        self.tagger.clone()
    }

    pub fn verifying_key(&self) -> VerifyingKey {
        self.sign.newest().verifying_key()
    }

    fn signer(&self, key: &VerifyingKey) -> Result<&SigningKey, AuditError> {
        self.sign.of(key).ok_or(AuditError::OtherKeys { which: ROTATED_SINCE })
    }

    fn newest(&self) -> SegmentKeys {
        SegmentKeys { key: self.verifying_key(), seal: self.seal }
    }

    // ---- the end of the log -------------------------------------------------------------------------------------

    /// The first segment, then the head. A crash in between leaves an empty segment, which gets its head here.
    fn create_if_absent(&self) -> Result<(), AuditError> {
        if self.dir.has(HEAD)? {
            return Ok(());
        }
        let segments = self.dir.segments()?;
        let header = match segments.as_slice() {
            [] => {
                let mut log_id = [0; 16];
                random_bytes(&mut log_id)?;
                let SegmentKeys { key, seal } = self.newest();
                let prev = genesis(&log_id);
                let header = Header { log_id, segment: 1, first_seq: 1, prev, seal, key, key_before: key };
                self.dir.replace(&segment_name(1), &header.encode(self.sign.newest(), self.sign.newest()))?;
                header
            }
            [(1, len)] if *len == HEADER as u64 => self.header(1)?.1,
            _ => return Err(tampered(FindingKind::HeadMissing, 0, HEAD)),
        };
        let head = Head {
            log_id: header.log_id,
            segment: 1,
            start: HEADER as u64,
            end: HEADER as u64,
            seq: 0,
            hash: header.prev,
        };
        self.dir.replace(HEAD, &head.encode(self.signer(&header.key)?))
    }

    /// Reads what others have written since `known`, heals what a killed writer left, and brings the head up to date,
    /// so that it never lags by more than the entries being written.
    fn catch_up(&self, known: Option<At>) -> Result<At, AuditError> {
        let head_bytes = self.dir.read(HEAD)?.ok_or_else(|| tampered(FindingKind::HeadMissing, 0, HEAD))?;
        let (head, from, keys) = match known {
            Some(at) if at.head_bytes == head_bytes => (at.head, at.head, at.keys),
            Some(at) => (self.decode_head(&head_bytes)?.0, at.head, at.keys),
            None => {
                let (head, header) = self.decode_head(&head_bytes)?;
                self.check_last(&head, &header)?;
                (head, head, SegmentKeys::from(&header))
            }
        };
        if head.seq < from.seq || head.log_id != from.log_id {
            return Err(tampered(FindingKind::HeadMismatch, from.seq, HEAD));
        }
        let (end, keys, broken) = self.scan(from, keys, &head)?;
        if end.seq < head.seq {
            return Err(tampered(FindingKind::Shortened, end.seq + 1, &segment_name(end.segment)));
        }
        if let Some(len) = broken {
            self.move_aside(&end, len)?;
        }
        let mut at = At { head: end, head_bytes, keys };
        if end != head {
            self.write_head(&mut at)?;
        }
        if broken.is_some() {
            self.record_torn(&mut at)?;
        }
        Ok(at)
    }

    /// Follows the chain from `at` to the end of the last segment. The second value is the segment's length if bytes
    /// that are no entry stand behind the end.
    fn scan(
        &self,
        mut at: Head,
        mut keys: SegmentKeys,
        head: &Head,
    ) -> Result<(Head, SegmentKeys, Option<u64>), AuditError> {
        loop {
            let name = segment_name(at.segment);
            let mut file = match File::open(self.dir.file(&name)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(tampered(FindingKind::SegmentMissing, at.seq + 1, &name));
                }
                Err(error) => return Err(AuditError::io("open", &name)(error)),
            };
            let len = file.metadata().map_err(AuditError::io("look at", &name))?.len();
            if len < at.end {
                return Err(tampered(FindingKind::Shortened, at.seq, &name));
            }
            let mut whole = true;
            if len > at.end {
                file.seek(SeekFrom::Start(at.end)).map_err(AuditError::io("read", &name))?;
                let mut from = BufReader::new(file);
                loop {
                    match Frame::read(&mut from).map_err(AuditError::io("read", &name))? {
                        Next::End => break,
                        Next::Frame(frame) if is_next(&at, &keys, &frame) => {
                            at = at.after(&frame);
                            if at.seq == head.seq && at.hash != head.hash {
                                return Err(tampered(FindingKind::HeadMismatch, at.seq, &name));
                            }
                        }
                        Next::Frame(_) | Next::Broken => {
                            whole = false;
                            break;
                        }
                    }
                }
            }
            let more = self.dir.has(&segment_name(at.segment + 1))?;
            // An append is acknowledged after the head: only what is behind the head can be a killed writer's.
            if !whole && (more || at.seq < head.seq) {
                return Err(tampered(FindingKind::Changed, at.seq + 1, &name));
            }
            if !more {
                return Ok((at, keys, (!whole).then_some(len)));
            }
            let (name, header) = self.header(at.segment + 1)?;
            if header.log_id != at.log_id
                || header.first_seq != at.seq + 1
                || header.prev != at.hash
                || header.key_before != keys.key
            {
                return Err(tampered(FindingKind::LinkBroken, at.seq + 1, &name));
            }
            at = at.in_segment(header.segment);
            keys = SegmentKeys::from(&header);
        }
    }

    /// A header under keys of the ring: where it names others, they were rotated, or it is another project's.
    fn header(&self, segment: u32) -> Result<(String, Header), AuditError> {
        let name = segment_name(segment);
        let mut file = File::open(self.dir.file(&name)).map_err(AuditError::io("open", &name))?;
        let header = Header::read(&mut file).map_err(AuditError::io("read", &name))?;
        match header {
            Some(header) if header.segment == segment => {
                self.signer(&header.key)?;
                self.reader.sealer(header.seal)?;
                Ok((name, header))
            }
            _ if self.is_old(&name)? => Err(AuditError::OldFormat),
            _ => Err(tampered(FindingKind::HeaderDamaged, 0, &name)),
        }
    }

    fn is_old(&self, segment: &str) -> Result<bool, AuditError> {
        let mut magic = Vec::new();
        File::open(self.dir.file(segment))
            .and_then(|file| file.take(OLD_MAGIC.len() as u64).read_to_end(&mut magic))
            .map_err(AuditError::io("read", segment))?;
        Ok(magic == OLD_MAGIC)
    }

    /// The head and the header of the segment that it names, whose key must have signed it.
    fn decode_head(&self, bytes: &[u8]) -> Result<(Head, Header), AuditError> {
        let damaged = || tampered(FindingKind::HeadDamaged, 0, HEAD);
        let header = match Head::parse(bytes).map(|said| self.header(said.segment)) {
            Some(Ok((_, header))) => header,
            Some(Err(error @ (AuditError::OtherKeys { .. } | AuditError::OldFormat))) => return Err(error),
            Some(Err(AuditError::Io { source, .. }))
                if source.kind() == io::ErrorKind::NotFound && self.header(1).is_ok() =>
            {
                return Err(tampered(FindingKind::SegmentMissing, 0, HEAD));
            }
            Some(Err(error)) if self.header(1).is_ok() => return Err(error),
            // A log of another project fails here too, and its first segment tells the two apart.
            Some(Err(_)) | None => {
                return Err(match self.header(1) {
                    Err(AuditError::Tampered(_)) => {
                        AuditError::OtherKeys { which: "signing key, or head and first segment are damaged" }
                    }
                    Err(error @ AuditError::OldFormat) => error,
                    _ => damaged(),
                });
            }
        };
        let head = Head::decode(bytes, |_| vec![header.key]).ok_or_else(damaged)?;
        Ok((head, header))
    }

    /// That the head is about this log, and that both keys are the log's: the last entry must be the head's and open.
    fn check_last(&self, head: &Head, header: &Header) -> Result<(), AuditError> {
        let name = segment_name(head.segment);
        if header.log_id != head.log_id {
            return Err(tampered(FindingKind::HeadMismatch, head.seq, &name));
        }
        if head.start == head.end {
            return if header.prev == head.hash && header.first_seq == head.seq + 1 {
                Ok(())
            } else {
                Err(tampered(FindingKind::HeadMismatch, head.seq, &name))
            };
        }
        let mut file = File::open(self.dir.file(&name)).map_err(AuditError::io("open", &name))?;
        file.seek(SeekFrom::Start(head.start)).map_err(AuditError::io("read", &name))?;
        match Frame::read(&mut BufReader::new(file)).map_err(AuditError::io("read", &name))? {
            Next::Frame(frame) if frame.seq == head.seq && frame.hash == head.hash => {
                self.check_opens(&frame, head, header)
            }
            Next::End => Err(tampered(FindingKind::Shortened, head.seq, &name)),
            Next::Frame(_) | Next::Broken => Err(tampered(FindingKind::Changed, head.seq, &name)),
        }
    }

    /// The seal is bound to the entry before, whose hash stands in front of the frame or in the header.
    fn check_opens(&self, frame: &Frame, head: &Head, header: &Header) -> Result<(), AuditError> {
        let name = segment_name(head.segment);
        let prev = if head.start == HEADER as u64 {
            header.prev
        } else {
            let file = File::open(self.dir.file(&name)).map_err(AuditError::io("open", &name))?;
            let mut hash = [0; 32];
            file.read_exact_at(&mut hash, head.start - 96).map_err(AuditError::io("read", &name))?;
            Digest(hash)
        };
        if !frame.follows(&prev) || !frame.is_signed_by(&header.key) {
            return Err(tampered(FindingKind::Changed, head.seq, &name));
        }
        Entry::open(frame, &prev, self.reader.sealer(header.seal)?)
            .map_err(|_| AuditError::OtherKeys { which: "seal key" })?;
        Ok(())
    }

    // ---- writing ------------------------------------------------------------------------------------------------

    /// Entries that become durable together. An event that cannot be one fails by itself, and nothing of it is written.
    fn write<'a>(
        &self,
        at: &mut At,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<Vec<Result<Receipt, AuditError>>, AuditError> {
        if at.keys != self.newest() {
            self.roll(at)?;
        }
        let (mut end, mut bytes, mut receipts) = (at.head, Vec::new(), Vec::new());
        for event in events {
            let frame = match self.frame(&end, at.keys, event) {
                Ok(frame) => frame,
                Err(error) => {
                    receipts.push(Err(error));
                    continue;
                }
            };
            if end.end > HEADER as u64 && end.end + frame.size() > self.options.segment_bytes {
                self.write_frames(at, end, &bytes)?;
                bytes.clear();
                self.roll(at)?;
                end = at.head;
            }
            bytes.extend(frame.encode());
            end = end.after(&frame);
            receipts.push(Ok(Receipt { seq: end.seq, hash: end.hash }));
        }
        self.write_frames(at, end, &bytes)?;
        Ok(receipts)
    }

    /// The frame of an event behind `end`, in the segment of these keys.
    fn frame(&self, end: &Head, keys: SegmentKeys, event: &Event) -> Result<Frame, AuditError> {
        let record = Record {
            seq: end.seq + 1,
            time: self.options.clock.now(),
            writer: self.writer.clone(),
            prev: end.hash,
            event: event.clone(),
        };
        let sealed = record.seal(self.reader.sealer(keys.seal)?)?;
        if sealed.len() > MAX_SEALED {
            return Err(AuditError::TooLarge { bytes: sealed.len(), limit: MAX_SEALED });
        }
        Ok(Frame::new(record.seq, &record.prev, sealed, self.signer(&keys.key)?))
    }

    /// A new segment, under the newest keys. The key of the one before signs that too.
    fn roll(&self, at: &mut At) -> Result<(), AuditError> {
        let segment = at.head.segment + 1;
        let SegmentKeys { key, seal } = self.newest();
        let header = Header {
            log_id: at.head.log_id,
            segment,
            first_seq: at.head.seq + 1,
            prev: at.head.hash,
            seal,
            key,
            key_before: at.keys.key,
        };
        let bytes = header.encode(self.signer(&at.keys.key)?, self.sign.newest());
        self.dir.replace(&segment_name(segment), &bytes)?;
        at.head = at.head.in_segment(segment);
        at.keys = self.newest();
        Ok(())
    }

    /// Frames that reach to `end`, and then the head.
    fn write_frames(&self, at: &mut At, end: Head, frames: &[u8]) -> Result<(), AuditError> {
        if frames.is_empty() {
            return Ok(());
        }
        let name = segment_name(at.head.segment);
        let file = self.open_segment(&name)?;
        if let Err(error) = file.write_all_at(frames, at.head.end) {
            // Nothing here was acknowledged. If this fails too, the next writer moves the piece aside.
            let _ = file.set_len(at.head.end);
            return Err(AuditError::io("write", &name)(error));
        }
        sync_data(&file, &name)?;
        at.head = end;
        self.write_head(at)
    }

    fn open_segment(&self, name: &str) -> Result<File, AuditError> {
        OpenOptions::new().write(true).open(self.dir.file(name)).map_err(AuditError::io("open", name))
    }

    fn write_head(&self, at: &mut At) -> Result<(), AuditError> {
        let bytes = at.head.encode(self.signer(&at.keys.key)?);
        self.dir.replace(HEAD, &bytes)?;
        at.head_bytes = bytes;
        Ok(())
    }

    // ---- torn tails ---------------------------------------------------------------------------------------------
    //
    // Copied to `torn-….pending` before the segment is cut, renamed to `torn-….bin` after the entry about it is
    // durable: killed at any instant, the bytes exist, and a pending file is recorded by the next writer.

    fn move_aside(&self, end: &Head, len: u64) -> Result<(), AuditError> {
        let name = segment_name(end.segment);
        let mut count = 0;
        let torn = loop {
            let torn = format!("torn-{:08}-{:010}-{count}", end.segment, end.end);
            if !self.dir.has(&format!("{torn}.pending"))? && !self.dir.has(&format!("{torn}.bin"))? {
                break torn;
            }
            count += 1;
        };
        let mut from = File::open(self.dir.file(&name)).map_err(AuditError::io("open", &name))?;
        from.seek(SeekFrom::Start(end.end)).map_err(AuditError::io("read", &name))?;
        let part = format!("{torn}.new");
        let mut to = self.dir.create_new(&part)?;
        io::copy(&mut from.take(len - end.end), &mut to).map_err(AuditError::io("write", &part))?;
        sync_data(&to, &part)?;
        self.dir.rename(&part, &format!("{torn}.pending"))?;
        let segment = self.open_segment(&name)?;
        segment.set_len(end.end).map_err(AuditError::io("cut", &name))?;
        sync_data(&segment, &name)
    }

    fn record_torn(&self, at: &mut At) -> Result<(), AuditError> {
        for name in self.dir.names()? {
            let Some(torn) = name.strip_suffix(".pending").filter(|torn| torn.starts_with("torn-")) else {
                continue;
            };
            let mut place = torn.split('-').skip(1).map_while(|field| field.parse::<u64>().ok());
            let kept = format!("{torn}.bin");
            let (bytes, sha256) = self.hash_file(&name)?;
            let event = Event::TornTail {
                file: kept.clone(),
                segment: place.next().unwrap_or_default() as u32,
                offset: place.next().unwrap_or_default(),
                bytes,
                sha256,
            };
            self.write(at, std::iter::once(&event))?.into_iter().collect::<Result<Vec<_>, _>>()?;
            self.dir.rename(&name, &kept)?;
        }
        Ok(())
    }

    fn hash_file(&self, name: &str) -> Result<(u64, Digest), AuditError> {
        let mut file = File::open(self.dir.file(name)).map_err(AuditError::io("open", name))?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = file.read(&mut buffer).map_err(AuditError::io("read", name))?;
            if read == 0 {
                return Ok((bytes, Digest(hash.finalize().into())));
            }
            hash.update(buffer.get(..read).unwrap_or_default());
            bytes += read as u64;
        }
    }
}

fn is_next(at: &Head, keys: &SegmentKeys, frame: &Frame) -> bool {
    frame.seq == at.seq + 1 && frame.follows(&at.hash) && frame.is_signed_by(&keys.key)
}

impl Head {
    fn after(self, frame: &Frame) -> Self {
        Self { start: self.end, end: self.end + frame.size(), seq: frame.seq, hash: frame.hash, ..self }
    }

    fn in_segment(self, segment: u32) -> Self {
        Self { segment, start: HEADER as u64, end: HEADER as u64, ..self }
    }
}

fn tampered(kind: FindingKind, seq: u64, file: &str) -> AuditError {
    AuditError::Tampered(Finding { kind, seq, file: file.to_owned() })
}
