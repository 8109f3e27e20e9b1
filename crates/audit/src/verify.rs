//! Proving a log whole: nothing changed, removed, inserted, re-ordered or cut off.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use chrono::{DateTime, Utc};
use cordon_crypto::{Sealer, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::dir::{Dir, HEAD, segment_name};
use crate::entry::Entry;
use crate::frame::{Frame, Header, Next, genesis};
use crate::head::Head;
use crate::log::MOST_AT_ONCE;
use crate::{AuditError, Digest, Receipt};

/// An entry that another file says must be in the log. Seq 0 pins the log's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub seq: u64,
    pub hash: Digest,
}

impl From<Receipt> for Anchor {
    fn from(receipt: Receipt) -> Self {
        Self { seq: receipt.seq, hash: receipt.hash }
    }
}

/// One thing that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: FindingKind,
    /// The first entry that is concerned; 0 for the log as a whole.
    pub seq: u64,
    /// The file of the log.
    pub file: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    SegmentMissing,
    HeaderDamaged,
    LinkBroken,
    Changed,
    Missing,
    OutOfPlace,
    Shortened,
    UnfinishedTail,
    HeadMissing,
    HeadDamaged,
    HeadMismatch,
    HeadBehind,
    AnchorMissing,
    AnchorMismatch,
    NotReadable,
    OldKey,
}

impl FindingKind {
    fn sentence(self) -> &'static str {
        match self {
            Self::SegmentMissing => "a segment is missing",
            Self::HeaderDamaged => "the segment's header is damaged or another key's",
            Self::LinkBroken => "the segment does not continue the one before it",
            Self::Changed => "an entry was changed, or its link, hash or signature",
            Self::Missing => "entries were removed",
            Self::OutOfPlace => "an entry stands where it was not written",
            Self::Shortened => "entries at the end were removed",
            Self::UnfinishedTail => {
                "bytes that are no entry follow the last one: a writer was killed, or they were added; \
                 opening the log for writing moves them aside and records it"
            }
            Self::HeadMissing => "the head file is missing",
            Self::HeadDamaged => "the head file is damaged or another key's",
            Self::HeadMismatch => "the head file names another entry than the log has",
            Self::HeadBehind => "the head file is older than a killed writer can explain",
            Self::AnchorMissing => "an entry that another file refers to is missing or damaged",
            Self::AnchorMismatch => "an entry is another than the one another file refers to",
            Self::OldKey => {
                "the log does not go on under the newest signing key: a rotation was stopped, which the next command that writes \
                 mends, or a log from before it was put back"
            }
            Self::NotReadable => "an entry does not open with the seal key, or disagrees with its place",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at entry {}: {}", self.file, self.seq, self.kind)
    }
}

/// What a verification saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Entries that are proven.
    pub entries: u64,
    pub segments: u64,
    pub bytes: u64,
    /// The last proven entry.
    pub last: Option<Receipt>,
    pub anchors: u64,
    /// The contents were opened too, with the seal key.
    pub opened: bool,
    /// Entries whose time is before that of the one before: the clock was set back. Not a finding.
    pub clock_set_back: u64,
    /// In the log's order; at most [`VerifyReport::MAX_FINDINGS`].
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    pub const MAX_FINDINGS: usize = 1000;

    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Proves a log with nothing but one of its public keys: hashes and signatures are over the sealed bytes. Needs no right to
/// write. An `Err` is an error of reading; what is wrong with the log is in the report.
pub fn verify_public(dir: &Path, key: VerifyingKey, anchors: &[Anchor]) -> Result<VerifyReport, AuditError> {
    verify(&Dir::new(dir), &[key], None, anchors)
}

pub(crate) fn verify(
    dir: &Dir,
    keys: &[VerifyingKey],
    sealers: Option<&BTreeMap<u32, Sealer>>,
    anchors: &[Anchor],
) -> Result<VerifyReport, AuditError> {
    // Writers wait for the look at lengths and head only, not for the reading.
    let lock = dir.lock_shared()?;
    let head = dir.read(HEAD)?;
    let segments = dir.segments()?;
    drop(lock);

    let chain = Chain::read(dir, &segments, keys)?;
    let head = match head {
        None => Err(FindingKind::HeadMissing),
        Some(bytes) => Head::decode(&bytes, |segment| chain.keys_of(segment)).ok_or(FindingKind::HeadDamaged),
    };
    let mut walk = Walk::new(&chain, sealers, anchors, head.ok().map(|head| head.seq));
    for (segment, len) in segments {
        walk.segment(dir, segment, len)?;
    }
    walk.end(head);
    walk.anchors(anchors);
    Ok(walk.report)
}

/// Frames that are checked together: the work is spread over the processor's cores.
const BATCH: usize = 2048;
const BATCH_BYTES: usize = 16 << 20;
/// Less than this is not worth a thread.
const SMALL_BATCH: usize = 64;

/// What can be checked about a frame without its neighbours' verdicts.
#[derive(Clone, Copy)]
struct Check<'a> {
    /// `None` where no key is known: then nothing is proven.
    key: Option<VerifyingKey>,
    opening: Opening<'a>,
}

#[derive(Clone, Copy)]
enum Opening<'a> {
    NotTried,
    /// The key's version is not there.
    No,
    With(&'a Sealer),
}

struct Job {
    frame: Frame,
    /// As stored in the frame before; unknown behind a damaged header.
    prev: Option<Digest>,
}

enum Stop {
    Full,
    End,
    Broken,
}

enum Opened {
    NotTried,
    No,
    At(DateTime<Utc>),
}

struct Verdict {
    linked: bool,
    signed: bool,
    opened: Opened,
}

impl Check<'_> {
    fn verdict(&self, job: &Job) -> Verdict {
        let linked = job.prev.is_some_and(|prev| job.frame.follows(&prev));
        let signed = self.key.is_some_and(|key| job.frame.is_signed_by(&key));
        let opened = match (self.opening, job.prev) {
            (Opening::No, _) => Opened::No,
            (Opening::With(sealer), Some(prev)) if linked => {
                Entry::open(&job.frame, &prev, sealer).map_or(Opened::No, |entry| Opened::At(entry.time))
            }
            _ => Opened::NotTried,
        };
        Verdict { linked, signed, opened }
    }

    fn verdicts(&self, jobs: &[Job]) -> Vec<Verdict> {
        if jobs.len() < SMALL_BATCH {
            return jobs.iter().map(|job| self.verdict(job)).collect();
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = jobs.len().div_ceil(cores).max(SMALL_BATCH);
        std::thread::scope(|scope| {
            let running: Vec<_> = jobs
                .chunks(share)
                .map(|part| scope.spawn(move || part.iter().map(|job| self.verdict(job)).collect::<Vec<_>>()))
                .collect();
            // A thread that is lost leaves its entries unproven, which `Walk` counts as changed.
            running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        })
    }
}

/// The state of reading from the first segment to the last.
struct Walk<'a> {
    chain: &'a Chain,
    sealers: Option<&'a BTreeMap<u32, Sealer>>,
    check: Check<'a>,
    report: VerifyReport,
    log_id: Option<[u8; 16]>,
    next_segment: u32,
    next_seq: u64,
    prev: Option<Digest>,
    time: Option<DateTime<Utc>>,
    /// Hashes of the entries that the head and the anchors name, once they are proven.
    wanted: BTreeMap<u64, Option<Digest>>,
    /// Bytes that are no frame, behind the last frame read.
    tail: Option<(u64, String)>,
    file: String,
}

impl<'a> Walk<'a> {
    fn new(
        chain: &'a Chain,
        sealers: Option<&'a BTreeMap<u32, Sealer>>,
        anchors: &[Anchor],
        head: Option<u64>,
    ) -> Self {
        let report = VerifyReport {
            entries: 0,
            segments: 0,
            bytes: 0,
            last: None,
            anchors: anchors.len() as u64,
            opened: sealers.is_some(),
            clock_set_back: 0,
            findings: Vec::new(),
        };
        Self {
            chain,
            sealers,
            check: Check { key: chain.key_of(1), opening: Opening::NotTried },
            report,
            log_id: None,
            next_segment: 1,
            next_seq: 1,
            prev: None,
            time: None,
            wanted: anchors.iter().map(|anchor| anchor.seq).chain(head).map(|seq| (seq, None)).collect(),
            tail: None,
            file: segment_name(1),
        }
    }

    fn find(&mut self, kind: FindingKind, seq: u64) {
        let finding = Finding { kind, seq, file: self.file.clone() };
        if self.report.findings.len() < VerifyReport::MAX_FINDINGS && self.report.findings.last() != Some(&finding) {
            self.report.findings.push(finding);
        }
    }

    fn segment(&mut self, dir: &Dir, segment: u32, len: u64) -> Result<(), AuditError> {
        self.broken_tail(FindingKind::Changed);
        self.file = segment_name(segment);
        if segment != self.next_segment {
            self.find(FindingKind::SegmentMissing, self.next_seq);
        }
        self.next_segment = segment + 1;
        self.report.segments += 1;
        self.report.bytes += len;
        let name = self.file.clone();
        let file = File::open(dir.file(&name)).map_err(AuditError::io("open", &name))?;
        let mut from = BufReader::with_capacity(256 << 10, file.take(len));
        let header = Header::read(&mut from).map_err(AuditError::io("read", &name))?;
        let header = header.filter(|header| self.chain.get(segment) == Some(header));
        self.check = self.check_of(segment, header);
        self.header(segment, header);
        loop {
            let (jobs, stop) = self.batch(&mut from).map_err(AuditError::io("read", &name))?;
            let verdicts = self.check.verdicts(&jobs);
            let unproven = || Verdict { linked: false, signed: false, opened: Opened::NotTried };
            for (job, verdict) in jobs.iter().zip(verdicts.into_iter().chain(std::iter::repeat_with(unproven))) {
                self.frame(&job.frame, &verdict);
            }
            match stop {
                Stop::Full => {}
                Stop::Broken => {
                    self.tail = Some((self.next_seq, name));
                    return Ok(());
                }
                Stop::End => return Ok(()),
            }
        }
    }

    /// Behind a damaged header the key of the one before is the likeliest.
    fn check_of(&self, segment: u32, header: Option<Header>) -> Check<'a> {
        let opening = match (self.sealers, header) {
            (None, _) => Opening::NotTried,
            (Some(sealers), Some(header)) => sealers.get(&header.seal).map_or(Opening::No, Opening::With),
            (Some(_), None) => self.check.opening,
        };
        Check { key: self.chain.key_of(segment), opening }
    }

    fn header(&mut self, segment: u32, header: Option<Header>) {
        let Some(header) = header.filter(|header| header.segment == segment) else {
            self.find(FindingKind::HeaderDamaged, self.next_seq);
            return;
        };
        let first = *self.log_id.get_or_insert(header.log_id);
        if segment == 1 {
            self.prev = Some(genesis(&first));
        }
        if header.first_seq > self.next_seq {
            self.find(FindingKind::Missing, self.next_seq);
        }
        if header.log_id != first
            || header.first_seq < self.next_seq
            || self.prev.is_some_and(|prev| prev != header.prev && header.first_seq == self.next_seq)
        {
            self.find(FindingKind::LinkBroken, self.next_seq);
        }
        self.next_seq = header.first_seq;
        self.prev = Some(header.prev);
    }

    /// Frames up to the batch's size, and why there are no more of them.
    fn batch(&self, from: &mut impl Read) -> std::io::Result<(Vec<Job>, Stop)> {
        let mut jobs: Vec<Job> = Vec::new();
        let mut bytes = 0;
        let mut prev = self.prev;
        while jobs.len() < BATCH && bytes < BATCH_BYTES {
            match Frame::read(from)? {
                Next::Frame(frame) => {
                    bytes += frame.sealed.len();
                    let before = prev.replace(frame.hash);
                    jobs.push(Job { frame, prev: before });
                }
                Next::End => return Ok((jobs, Stop::End)),
                Next::Broken => return Ok((jobs, Stop::Broken)),
            }
        }
        Ok((jobs, Stop::Full))
    }

    fn frame(&mut self, frame: &Frame, verdict: &Verdict) {
        let expected = self.next_seq;
        self.prev = Some(frame.hash);
        if !verdict.signed {
            // Nothing in it can be believed, least of all its number: it stands where the expected entry should.
            self.find(FindingKind::Changed, expected);
            self.next_seq = expected + 1;
            return;
        }
        // The signature is over a hash that covers the number, so a signed frame that does not link was moved, or
        // what is around it was.
        if frame.seq > expected {
            self.find(FindingKind::Missing, expected);
        } else if frame.seq < expected {
            self.find(FindingKind::OutOfPlace, frame.seq);
            return;
        }
        self.next_seq = frame.seq + 1;
        if !verdict.linked {
            if frame.seq == expected {
                self.find(FindingKind::Changed, frame.seq);
            }
            return;
        }
        match verdict.opened {
            Opened::NotTried => {}
            Opened::No => {
                self.find(FindingKind::NotReadable, frame.seq);
                return;
            }
            Opened::At(time) => {
                if self.time.is_some_and(|before| time < before) {
                    self.report.clock_set_back += 1;
                }
                self.time = Some(time);
            }
        }
        self.report.entries += 1;
        self.report.last = Some(Receipt { seq: frame.seq, hash: frame.hash });
        if let Some(found) = self.wanted.get_mut(&frame.seq) {
            *found = Some(frame.hash);
        }
    }

    fn broken_tail(&mut self, kind: FindingKind) {
        if let Some((seq, file)) = self.tail.take() {
            self.file = file;
            self.find(kind, seq);
        }
    }

    /// The head against what was read.
    fn end(&mut self, head: Result<Head, FindingKind>) {
        if self.next_segment == 1 {
            self.find(FindingKind::SegmentMissing, 1);
        }
        if let Some(log_id) = self.log_id {
            self.wanted.insert(0, Some(genesis(&log_id)));
        }
        let last = self.next_seq.saturating_sub(1);
        let shortened = head.is_ok_and(|head| head.seq > last);
        self.broken_tail(if shortened { FindingKind::Changed } else { FindingKind::UnfinishedTail });
        let end_file = std::mem::replace(&mut self.file, HEAD.to_owned());
        let head = match head {
            Ok(head) => head,
            Err(kind) => return self.find(kind, 0),
        };
        if shortened {
            self.file = end_file;
            self.find(FindingKind::Shortened, last + 1);
        } else if self.wanted.get(&head.seq) != Some(&Some(head.hash)) || self.log_id != Some(head.log_id) {
            self.find(FindingKind::HeadMismatch, head.seq);
        } else if last - head.seq > MOST_AT_ONCE as u64 {
            self.find(FindingKind::HeadBehind, head.seq);
        }
    }

    fn anchors(&mut self, anchors: &[Anchor]) {
        "anchors".clone_into(&mut self.file);
        for anchor in anchors {
            match self.wanted.get(&anchor.seq) {
                Some(Some(hash)) if *hash == anchor.hash => {}
                Some(Some(_)) => self.find(FindingKind::AnchorMismatch, anchor.seq),
                _ => self.find(FindingKind::AnchorMissing, anchor.seq),
            }
        }
    }
}
