//! Who is the same person: identifiers that stood in one record have one token.
//!
//! Identifiers that come together for the first time share one new token, so that nothing needs to be remembered but their
//! entries. Only where two of them had tokens before, one of these has to stand for the other: that is a *merge*, appended to
//! a log of its own and held in memory by every process. An entry is never changed, and its token is the person's at
//! the time; what is given out is the token that stands for it now.
//!
//! The oldest stays: the one whose place of origin in the log comes first, which every entry carries; of two from one frame or
//! call, the one with the smaller bytes. So the choice depends on what is in the vault and not on the order of a batch.

use std::sync::{
    RwLock,
    atomic::{AtomicU64, Ordering},
};

use cordon_crypto::KeyedHash;
use cordon_phi::{Identifier, IdentityStore, Linked, Token, TokenError};

use super::{
    AT_ONCE, Answer as _, NONE, TokenVault,
    check::walk,
    error::{Fault, VaultError},
    frame::{Frame, MAX_DOMAIN, MAX_VALUE, New, Position},
    groups::{Batch, Found},
    log::{Follow, Log, Step},
    manifest::Manifest,
    read,
    sets::Sets,
    table::Key,
    write,
    writer::{Writer, cut_torn_end, random_bytes},
};
use crate::subject_keys::LeafReader;

/// Merges in one frame.
const MERGES_AT_ONCE: usize = 1 << 16;
/// Where the file ends: places are 32 bits. Tens of millions of merges.
const MOST_BYTES: u32 = u32::MAX - (16 << 20);

/// The merges on disk and in memory.
pub(super) struct Merges {
    pub log: Log,
    sets: RwLock<Sets>,
    count: AtomicU64,
    /// The file's length, as far as it is in memory.
    seen: AtomicU64,
}

impl Merges {
    /// Begins the file where a vault has none, for whoever holds the lock.
    pub fn open(log: Log, manifest: &Manifest) -> Result<Self, VaultError> {
        match log.follow(&Log::NOWHERE)? {
            Follow::Segment(_) => {}
            // Made by an older program, or by a process that was killed before it could promise anything.
            _ if manifest.merged == Log::START => drop(log.create(&Log::NOWHERE)?),
            _ => return Err(VaultError::damaged(&log.path(1), 0, "the file is missing or cut short")),
        }
        Ok(Self { log, sets: RwLock::default(), count: AtomicU64::new(0), seen: AtomicU64::new(0) })
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// `frame` may hold fewer than the `count` that were written, without those of people who were destroyed.
    fn absorb(&self, frame: impl Iterator<Item = Merge>, count: usize, end: u32) {
        let mut sets = write(&self.sets);
        frame.for_each(|merge| sets.merge(merge.token, merge.root, merge.origin));
        drop(sets);
        self.count.fetch_add(count as u64, Ordering::Release);
        self.seen.store(end.into(), Ordering::Release);
    }
}

/// One person who was two: `root` stands for `token`. In the log it is an entry without a blind index: a root, its origin and
/// as value the token.
pub(super) struct Merge {
    pub token: Token,
    pub root: Token,
    pub origin: u64,
}

impl Merge {
    /// Those of a frame that were not destroyed, with their slots.
    pub fn all_in(frame: &Frame, leaves: &mut LeafReader<'_>) -> impl Iterator<Item = (Self, u64)> {
        frame.with_values(leaves).flatten().filter_map(|(entry, value)| {
            let token = Token(*value.first_chunk()?);
            Some((Self { token, root: entry.token, origin: entry.place }, entry.slot))
        })
    }
}

impl TokenVault {
    /// Sees whom other processes destroyed.
    pub(crate) fn see_shreds(&self) -> Result<(), VaultError> {
        // Under new keys people may turn out to be one, which nobody sees with the old.
        self.must_be_current()?;
        if self.subjects.refresh()? != self.shreds.load(Ordering::Acquire) {
            self.exclusive(|_| Ok(()))?;
        }
        Ok(())
    }

    /// Reads all merges before `end` anew, without those that were destroyed since.
    pub(super) fn read_merges_again(&self, end: &Position) -> Result<(), VaultError> {
        let mut sets = Sets::default();
        let mut leaves = self.subjects.leaves();
        walk(&self.merges.log, &Log::NOWHERE, end, |frame, _| {
            Merge::all_in(frame, &mut leaves).for_each(|(merge, _)| sets.merge(merge.token, merge.root, merge.origin));
            Ok(true)
        })?;
        *write(&self.merges.sets) = sets;
        Ok(())
    }

    /// Reads what other processes merged: one look at a file's length if there is nothing.
    pub(crate) fn see_merges(&self) -> Result<(), VaultError> {
        self.see_shreds()?;
        if self.merges.log.segment(1)?.len()? != self.merges.seen.load(Ordering::Acquire) {
            self.exclusive(|_| Ok(()))?;
        }
        Ok(())
    }

    /// As far as this process knows.
    pub(crate) fn to_roots(&self, tokens: &mut [Token]) {
        if self.merges.count() == 0 {
            return;
        }
        let sets = read(&self.merges.sets);
        let mut last = (NONE, NONE);
        for token in tokens {
            // One person's rows stand together in most tables.
            if last.0 != *token {
                last = (*token, sets.root(token).map_or(*token, |(root, _)| root));
            }
            *token = last.1;
        }
    }

    /// Every token of the person of each of `tokens`, as far as this process knows: `each` gets the number of the one and
    /// the other.
    pub(crate) fn members(&self, tokens: &[Token], mut each: impl FnMut(u32, Token)) {
        let sets = (self.merges.count() > 0).then(|| read(&self.merges.sets));
        for (number, token) in (0..).zip(tokens) {
            let mut merged = sets.as_ref().map(|sets| sets.members(token)).into_iter().flatten().peekable();
            if merged.peek().is_none() {
                each(number, *token);
            }
            merged.for_each(|member| each(number, member));
        }
    }

    /// A hash that only holders of this vault's key have.
    pub(crate) fn hash_for(&self, label: &str) -> KeyedHash {
        self.keys.values.derive(label)
    }

    pub(super) fn catch_up_merges(&self, writer: &mut Writer) -> Result<(), VaultError> {
        let log = &self.merges.log;
        let segment = log.segment(1)?;
        let mut reader = log.reader();
        while segment.len()? != u64::from(writer.merged.offset) {
            match reader.step(&writer.merged)? {
                Step::Frame(frame, next) => {
                    let merges: Vec<Merge> =
                        Merge::all_in(&frame, &mut self.subjects.leaves()).map(|(merge, _)| merge).collect();
                    self.merges.absorb(merges.into_iter(), frame.count, next.offset);
                    writer.floor = writer.floor.max(frame.end());
                    writer.merged = next;
                }
                Step::Bad(what) => {
                    cut_torn_end(log, &writer.merged, &writer.manifest.merged, what)?;
                    reader = log.reader();
                }
                Step::End => {
                    let offset = segment.len()?;
                    return Err(VaultError::damaged(&segment.path, offset, "the merges are fewer than they were"));
                }
            }
        }
        if writer.merged.sequence < writer.manifest.merged.sequence {
            let what = "the merges are fewer than they were when they were last synced";
            return Err(VaultError::damaged(&segment.path, writer.merged.offset.into(), what));
        }
        self.merges.seen.store(writer.merged.offset.into(), Ordering::Release);
        Ok(())
    }

    fn write_merges(&self, writer: &mut Writer, merges: &[(Token, Found)]) -> Result<(), VaultError> {
        fn as_new((token, root): &(Token, Found)) -> New<'_> {
            New { key: Key::default(), token: root.token, value: &token.0, origin: Some(root.origin) }
        }
        for merges in merges.chunks(MERGES_AT_ONCE) {
            if writer.merged.offset > MOST_BYTES {
                return Err(VaultError::Full { file: self.merges.log.path(1) });
            }
            let new: Vec<New<'_>> = merges.iter().map(as_new).collect();
            let first = self.slots(writer, new.len())?;
            self.merges.log.append(&mut writer.merged, &self.masked("", &new, first, 0)?)?;
            let merged =
                merges.iter().map(|(token, root)| Merge { token: *token, root: root.token, origin: root.origin });
            self.merges.absorb(merged, merges.len(), writer.merged.offset);
        }
        Ok(())
    }

    fn link_all(
        &self,
        identifiers: &[Identifier<'_>],
        ends: &[usize],
        out: &mut Vec<Option<Token>>,
    ) -> Result<Linked, VaultError> {
        if ends.last().copied().unwrap_or(0) != identifiers.len() || !ends.is_sorted() {
            return Err(VaultError::Uneven { what: "identifiers and ends of groups" });
        }
        if identifiers.iter().any(|of| of.namespace.is_empty() || of.namespace.len() > MAX_DOMAIN) {
            return Err(VaultError::DomainName { max: MAX_DOMAIN });
        }
        if let Some(of) = identifiers.iter().find(|of| of.value.len() > MAX_VALUE) {
            return Err(VaultError::TooLong { len: of.value.len(), max: MAX_VALUE });
        }
        self.see_merges()?;
        let before = out.len();
        let mut linked = Linked::default();
        let mut rest = ends;
        let mut start = 0;
        while !rest.is_empty() {
            // Groups stay whole.
            let count = rest.partition_point(|end| *end - start <= AT_ONCE).max(1);
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = later;
            let end = now.last().copied().unwrap_or(start);
            let batch = Batch::new(&self.keys.blind, identifiers.get(start..end).unwrap_or_default(), now, start);
            let given = out.len();
            linked.merged += self.with_repairs(|| {
                out.truncate(given);
                self.link_batch(&batch, out)
            })?;
            start = end;
        }
        if linked.merged > 0 {
            // What a later part of the batch merged holds for the earlier parts too.
            let sets = read(&self.merges.sets);
            for token in out.get_mut(before..).unwrap_or_default().iter_mut().flatten() {
                *token = sets.root(token).map_or(*token, |(root, _)| root);
            }
        }
        Ok(linked)
    }

    fn link_batch(&self, batch: &Batch<'_>, out: &mut Vec<Option<Token>>) -> Result<u64, Fault> {
        let mut found = vec![Found::NONE; batch.keys.len()];
        let mut asked = self.look_up(&batch.keys, &mut found)?;
        asked.spread(&mut found);
        self.found_to_roots(&mut found);
        if batch.nothing_new(&found, out) {
            return Ok(0);
        }

        let random = random_bytes(batch.groups() * 16)?;
        let mut writer = self.writer();
        let _held = self.hold()?;
        self.catch_up(&mut writer)?;
        self.look_again(&mut asked, &writer)?;
        asked.spread(&mut found);
        self.found_to_roots(&mut found);
        self.roll(&mut writer)?;
        // Older than whatever comes after this call, and younger than what was before.
        let origin = writer.position.place();
        let fresh = random.as_chunks::<16>().0.iter().map(|bytes| Found { token: Token(*bytes), origin });
        let plan = batch.plan(&asked, &found, fresh);
        for (space, new) in &plan.new {
            let name = batch.spaces.get(*space as usize).copied().unwrap_or_default();
            self.append(&mut writer, name, new)?;
        }
        self.write_merges(&mut writer, &plan.merges)?;
        out.extend(plan.tokens);
        Ok(plan.merges.len() as u64)
    }

    fn found_to_roots(&self, found: &mut [Found]) {
        if self.merges.count() == 0 {
            return;
        }
        let sets = read(&self.merges.sets);
        for found in found {
            if let Some((token, origin)) = sets.root(&found.token) {
                *found = Found { token, origin };
            }
        }
    }
}

impl IdentityStore for TokenVault {
    fn link(
        &self,
        identifiers: &[Identifier<'_>],
        ends: &[usize],
        out: &mut Vec<Option<Token>>,
    ) -> Result<Linked, TokenError> {
        let before = out.len();
        self.link_all(identifiers, ends, out).map_err(|error| {
            out.truncate(before);
            error.into()
        })
    }

    fn roots(&self, tokens: &mut [Token]) -> Result<(), TokenError> {
        self.see_merges()?;
        self.to_roots(tokens);
        Ok(())
    }

    fn merges(&self) -> Result<u64, TokenError> {
        self.see_merges()?;
        Ok(self.merges.count())
    }
}
