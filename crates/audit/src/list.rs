//! Reading: who did what when.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufReader, Read, Take};
use std::path::Path;

use chrono::{DateTime, Utc};
use cordon_crypto::{AuditSealKey, Sealer, VerifyingKey, Versions};

use crate::chain::Chain;
use crate::dir::{Dir, HEAD, segment_name};
use crate::entry::Entry;
use crate::frame::{Frame, Header, Next};
use crate::head::Head;
use crate::verify::{self, Anchor, Finding, FindingKind, VerifyReport};
use crate::{AuditError, Digest, Receipt};

/// A log that is open for reading; needs no right to write.
pub struct AuditReader {
    dir: Dir,
    sealers: BTreeMap<u32, Sealer>,
    key: VerifyingKey,
    /// Those before, of a rotation that may not have come to the log yet.
    older: Vec<VerifyingKey>,
}

/// Which entries; every condition that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// At this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Before this time.
    pub until: Option<DateTime<Utc>>,
    /// One of [`crate::Event::KINDS`].
    pub kind: Option<String>,
    /// The writer's user, or who asked.
    pub user: Option<String>,
    pub dataset: Option<String>,
    /// Behind the entry of this number.
    pub after: Option<u64>,
    /// Of those that fit, only so many at the end.
    pub last: Option<usize>,
}

impl Filter {
    fn fits(&self, entry: &Entry) -> bool {
        let user = |user: &String| {
            entry.writer.principal.user == *user || entry.event.principal().is_some_and(|asked| asked == user)
        };
        self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time < until)
            && self.kind.as_ref().is_none_or(|kind| entry.event.kind() == kind)
            && self.user.as_ref().is_none_or(user)
            && self.dataset.as_ref().is_none_or(|dataset| entry.event.concerns(dataset))
    }

    fn takes_all(&self) -> bool {
        self.since.is_none()
            && self.until.is_none()
            && self.kind.is_none()
            && self.user.is_none()
            && self.dataset.is_none()
    }
}

impl AuditReader {
    pub fn open(dir: &Path, seal: impl Into<Versions<AuditSealKey>>, key: VerifyingKey) -> Self {
        let seal = seal.into();
        let sealers = seal.iter().map(|(version, key)| (version, Sealer::for_key(key))).collect();
        Self { dir: Dir::new(dir), sealers, key, older: Vec::new() }
    }

    /// Of a log that may still be under one of these: the rotation was stopped before it came here. [`AuditReader::verify`]
    /// finds that out.
    #[must_use]
    pub fn before_rotation(self, older: Vec<VerifyingKey>) -> Self {
        Self { older, ..self }
    }

    /// Like [`verify_public`](crate::verify_public), and every entry must open and agree with its place.
    pub fn verify(&self, anchors: &[Anchor]) -> Result<VerifyReport, AuditError> {
        if !self.dir.is_there() {
            // A log that is gone is a finding, whatever the file system calls it.
            return Err(AuditError::Tampered(Finding {
                kind: FindingKind::HeadMissing,
                seq: 0,
                file: HEAD.to_owned(),
            }));
        }
        let mut report = verify::verify(&self.dir, &self.trusted(), Some(&self.sealers), anchors)?;
        if report.is_intact() && self.chain()?.last_key() != Some(self.key) {
            report.findings.push(Finding { kind: FindingKind::OldKey, seq: 0, file: HEAD.to_owned() });
        }
        Ok(report)
    }

    /// The entries that fit, oldest first, as the log stands now. Each is checked against its own hash and opened; the
    /// whole chain is what [`AuditReader::verify`] proves. After an error the iterator ends.
    pub fn list(&self, filter: Filter) -> Result<Entries<'_>, AuditError> {
        let lock = self.dir.lock_shared()?;
        let segments = self.dir.segments()?;
        drop(lock);
        let chain = Chain::read(&self.dir, &segments, &self.trusted())?;
        let last = filter.last;
        let mut entries = Entries {
            reader: self,
            chain,
            segments: segments.into(),
            open: None,
            skip_to: 0,
            filter,
            buffered: None,
            failed: None,
            done: false,
        };
        if let Some(after) = entries.filter.after {
            entries.skip_to = after.saturating_add(1);
            entries.drop_segments_before(entries.skip_to);
        }
        if let Some(last) = last {
            entries.keep_last(last);
        }
        Ok(entries)
    }

    /// Where the log ends, as its head says.
    pub fn head(&self) -> Result<Receipt, AuditError> {
        let damaged = |kind| AuditError::Tampered(Finding { kind, seq: 0, file: HEAD.to_owned() });
        let bytes = self.dir.read(HEAD)?.ok_or_else(|| damaged(FindingKind::HeadMissing))?;
        let chain = self.chain()?;
        let head =
            Head::decode(&bytes, |segment| chain.keys_of(segment)).ok_or_else(|| damaged(FindingKind::HeadDamaged))?;
        Ok(Receipt { seq: head.seq, hash: head.hash })
    }

    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }

    /// How many segments stand under each version of the seal key.
    pub fn seal_versions(&self) -> Result<BTreeMap<u32, u64>, AuditError> {
        let mut versions = BTreeMap::new();
        for (segment, _) in self.dir.segments()? {
            if let Some(header) = self.chain()?.get(segment) {
                *versions.entry(header.seal).or_default() += 1;
            }
        }
        Ok(versions)
    }

    /// The key that the log's last segment is signed with.
    pub fn last_key(&self) -> Result<Option<VerifyingKey>, AuditError> {
        Ok(self.chain()?.last_key())
    }

    pub(crate) fn sealer(&self, version: u32) -> Result<&Sealer, AuditError> {
        self.sealers.get(&version).ok_or(AuditError::OtherKeys { which: ROTATED_SINCE })
    }

    fn chain(&self) -> Result<Chain, AuditError> {
        Chain::read(&self.dir, &self.dir.segments()?, &self.trusted())
    }

    fn trusted(&self) -> Vec<VerifyingKey> {
        [&[self.key], self.older.as_slice()].concat()
    }
}

/// Which keys are not these.
pub(crate) const ROTATED_SINCE: &str =
    "a key that is not in the ring: if keys were rotated while this command ran, run it again";

/// Reads one entry at a time.
pub struct Entries<'a> {
    reader: &'a AuditReader,
    chain: Chain,
    segments: VecDeque<(u32, u64)>,
    open: Option<Open>,
    /// Entries before this are not opened.
    skip_to: u64,
    filter: Filter,
    buffered: Option<VecDeque<Entry>>,
    failed: Option<AuditError>,
    done: bool,
}

struct Open {
    name: String,
    /// The version of the key that seals it.
    seal: u32,
    from: BufReader<Take<File>>,
    prev: Digest,
    next_seq: u64,
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.buffered.as_mut().and_then(VecDeque::pop_front) {
            return Some(Ok(entry));
        }
        if let Some(error) = self.failed.take() {
            self.done = true;
            return Some(Err(error));
        }
        if self.done {
            return None;
        }
        let next = self.advance().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

impl Entries<'_> {
    /// Holds at most `last` entries; an error is left for the end, where the caller meets it.
    fn keep_last(&mut self, last: usize) {
        if self.filter.takes_all()
            && let Some(total) = self.total()
        {
            self.skip_to = self.skip_to.max((total + 1).saturating_sub(last as u64));
            self.drop_segments_before(self.skip_to);
        }
        let mut kept = VecDeque::new();
        loop {
            match self.advance() {
                Ok(Some(entry)) => {
                    kept.push_back(entry);
                    if kept.len() > last {
                        kept.pop_front();
                    }
                }
                Ok(None) => {
                    self.done = true;
                    break;
                }
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        self.buffered = Some(kept);
    }

    /// A segment that cannot be opened stays, for the caller to meet the error.
    fn drop_segments_before(&mut self, seq: u64) {
        while let Some((segment, len)) = self.segments.get(1).copied() {
            match self.reader.open_segment(&self.chain, segment, len) {
                Ok(next) if next.next_seq <= seq => self.segments.pop_front(),
                _ => break,
            };
        }
    }

    /// How many entries there are, from the frames of the last segment alone.
    fn total(&self) -> Option<u64> {
        let (segment, len) = *self.segments.back()?;
        let mut open = self.reader.open_segment(&self.chain, segment, len).ok()?;
        while let Ok(Next::Frame(frame)) = Frame::read(&mut open.from) {
            open.next_seq = frame.seq + 1;
        }
        open.next_seq.checked_sub(1)
    }

    fn advance(&mut self) -> Result<Option<Entry>, AuditError> {
        loop {
            if self.open.is_none() {
                let Some(&(segment, len)) = self.segments.front() else {
                    return Ok(None);
                };
                self.open = Some(self.reader.open_segment(&self.chain, segment, len)?);
                self.segments.pop_front();
            }
            let Some(open) = &mut self.open else {
                return Ok(None);
            };
            let frame = match Frame::read(&mut open.from).map_err(AuditError::io("read", &open.name))? {
                Next::Frame(frame) => frame,
                Next::End => {
                    self.open = None;
                    continue;
                }
                // Behind the last entry: an append that was cut off, or that is going on.
                Next::Broken if self.segments.is_empty() => return Ok(None),
                Next::Broken => return Err(AuditError::Entry { seq: open.next_seq }),
            };
            if frame.seq != open.next_seq || !frame.follows(&open.prev) {
                return Err(AuditError::Entry { seq: open.next_seq });
            }
            let prev = std::mem::replace(&mut open.prev, frame.hash);
            open.next_seq += 1;
            if frame.seq < self.skip_to {
                continue;
            }
            let entry = Entry::open(&frame, &prev, self.reader.sealer(open.seal)?)?;
            if self.filter.fits(&entry) {
                return Ok(Some(entry));
            }
        }
    }
}

impl AuditReader {
    fn open_segment(&self, chain: &Chain, segment: u32, len: u64) -> Result<Open, AuditError> {
        let name = segment_name(segment);
        let file = File::open(self.dir.file(&name)).map_err(AuditError::io("open", &name))?;
        let mut from = BufReader::new(file.take(len));
        let header = Header::read(&mut from).map_err(AuditError::io("read", &name))?;
        let header = header
            .filter(|header| chain.get(segment) == Some(header))
            .ok_or(AuditError::OtherKeys { which: "signing key, or a segment is damaged" })?;
        Ok(Open { name, from, prev: header.prev, next_seq: header.first_seq, seal: header.seal })
    }
}
