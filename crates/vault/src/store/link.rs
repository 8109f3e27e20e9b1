//! Who is the same person: identifiers that stood in one record have one token.
//!
//! Identifiers that come together for the first time share one new token, so that nothing needs to be remembered but their
//! entries. Only where two of them had tokens before, one of these has to stand for the other: that is a *merge*, appended to
//! a log of its own and held in memory by every process. An entry is never changed, and its token is the person's at
//! the time; what is given out is the token that stands for it now.
//!
//! The oldest stays: the one whose place of origin in the log comes first, which every entry carries; of two from one frame or
//! call, the one with the smaller bytes. So the choice depends on what is in the vault and not on the order of a batch.

use std::{
    collections::HashMap,
    sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cordon_crypto::KeyedHash;
use cordon_phi::{Identifier, IdentityStore, Linked, Token, TokenError};

use super::{
    AT_ONCE, Answer, Asked, NONE, TokenVault,
    error::{Fault, VaultError},
    frame::{Frame, MAX_DOMAIN, MAX_VALUE, New, Plain},
    log::{Follow, Log, Step},
    manifest::Manifest,
    read,
    sets::Sets,
    table::{Entry, Key},
    write,
    writer::{Exclusive, Writer, cut_torn_end, random_bytes},
};

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

    fn absorb(&self, frame: impl Iterator<Item = Entry>, end: u32) {
        let mut sets = write(&self.sets);
        let mut count = 0;
        for merge in frame {
            sets.merge(Token(merge.key.to_bytes()), merge.token, merge.place);
            count += 1;
        }
        drop(sets);
        self.count.fetch_add(count, Ordering::Release);
        self.seen.store(end.into(), Ordering::Release);
    }
}

/// A token and where in the log it was first given.
#[derive(Clone, Copy)]
struct Found {
    token: Token,
    origin: u64,
}

impl Found {
    /// Smaller is older.
    fn age(&self) -> (u64, Token) {
        (self.origin, self.token)
    }
}

impl Answer for Found {
    const NONE: Self = Self { token: NONE, origin: 0 };

    fn of(entry: &Entry) -> Self {
        Self { token: entry.token, origin: entry.place }
    }

    fn is_none(&self) -> bool {
        self.origin == 0
    }
}

impl TokenVault {
    /// Reads what other processes merged: one look at a file's length if there is nothing.
    pub(crate) fn see_merges(&self) -> Result<(), VaultError> {
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
                    self.merges.absorb(Frame::entries(&frame), next.offset);
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
        let as_new = |(token, root): &(Token, Found)| New {
            key: Key::from_bytes(token.0),
            token: root.token,
            value: &[],
            origin: Some(root.origin),
        };
        for merges in merges.chunks(MERGES_AT_ONCE) {
            if writer.merged.offset > MOST_BYTES {
                return Err(VaultError::Full { file: self.merges.log.path(1) });
            }
            let new: Vec<New<'_>> = merges.iter().map(as_new).collect();
            self.merges.log.append(&mut writer.merged, &Plain::new("", &new))?;
            let entries =
                new.iter().map(|new| Entry { key: new.key, token: new.token, place: new.origin.unwrap_or_default() });
            self.merges.absorb(entries, writer.merged.offset);
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
        let _held = Exclusive::take(&self.dir, &self.lock)?;
        self.catch_up(&mut writer)?;
        self.look_again(&mut asked)?;
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

/// Groups of identifiers, ready to be looked up.
struct Batch<'a> {
    identifiers: &'a [Identifier<'a>],
    keys: Vec<Key>,
    /// Names of namespaces, each once, and of each identifier which it is.
    spaces: Vec<&'a str>,
    space_of: Vec<u32>,
    group_of: Vec<u32>,
    /// Identifiers of each group.
    sizes: Vec<u32>,
}

/// What has to be written, and what is given out.
struct Plan<'a> {
    new: Vec<(u32, Vec<New<'a>>)>,
    merges: Vec<(Token, Found)>,
    tokens: Vec<Option<Token>>,
}

impl<'a> Batch<'a> {
    fn new(blind: &KeyedHash, identifiers: &'a [Identifier<'a>], ends: &[usize], start: usize) -> Self {
        let mut spaces: Vec<&str> = Vec::new();
        let mut hashes = Vec::new();
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut keys = Vec::with_capacity(identifiers.len());
        let mut space_of = Vec::with_capacity(identifiers.len());
        for identifier in identifiers {
            let number = *numbers.entry(identifier.namespace).or_insert_with(|| {
                spaces.push(identifier.namespace);
                hashes.push(blind.derive(identifier.namespace));
                spaces.len() as u32 - 1
            });
            space_of.push(number);
            let hash = hashes.get(number as usize).unwrap_or(blind);
            keys.push(Key::from_bytes(hash.tag128(identifier.value)));
        }
        let mut group_of = Vec::with_capacity(identifiers.len());
        let mut sizes = Vec::with_capacity(ends.len());
        let mut from = start;
        for (number, end) in (0..).zip(ends) {
            sizes.push((end - from) as u32);
            group_of.extend(std::iter::repeat_n(number, end - from));
            from = *end;
        }
        Self { identifiers, keys, spaces, space_of, group_of, sizes }
    }

    fn groups(&self) -> usize {
        self.sizes.len()
    }

    fn group(&self, place: u32) -> u32 {
        self.group_of.get(place as usize).copied().unwrap_or_default()
    }

    /// Whether all is known and as it is known; then the answer is given.
    fn nothing_new(&self, found: &[Found], out: &mut Vec<Option<Token>>) -> bool {
        let before = out.len();
        let mut rest = found;
        for size in &self.sizes {
            let (group, later) = rest.split_at_checked(*size as usize).unwrap_or((rest, &[]));
            rest = later;
            let first = group.first();
            if group.iter().any(|of| of.is_none() || first.is_some_and(|first| first.token != of.token)) {
                out.truncate(before);
                return false;
            }
            out.push(first.map(|first| first.token));
        }
        true
    }

    /// `found` are roots; `fresh` are as many as there are groups.
    fn plan(&self, asked: &Asked<Found>, found: &[Found], mut fresh: impl Iterator<Item = Found>) -> Plan<'a> {
        // Groups that share an identifier which nobody has seen are one.
        let mut people = Forest::new(self.groups());
        let mut last: Option<(Key, u32)> = None;
        for (key, place) in &asked.missing {
            let group = self.group(*place);
            match last {
                Some((same, first)) if same == *key => people.join(first, group),
                _ => last = Some((*key, group)),
            }
        }
        let person_of: Vec<u32> = (0..self.groups() as u32).map(|group| people.find(group)).collect();
        let person = |group: u32| person_of.get(group as usize).copied().unwrap_or_default() as usize;

        let mut tokens = vec![Found::NONE; self.groups()];
        let mut roots = Roots::default();
        for (group, found) in self.group_of.iter().zip(found).filter(|(_, found)| !found.is_none()) {
            match tokens.get_mut(person(*group)) {
                Some(token) if token.is_none() => *token = *found,
                Some(token) if token.token != found.token => roots.join(token, found),
                _ => {}
            }
        }
        let merges = roots.merges();
        let winners: HashMap<Token, Found> = merges.iter().copied().collect();
        for token in &mut tokens {
            if let Some(winner) = winners.get(&token.token) {
                *token = *winner;
            }
        }

        let mut places: Vec<(u32, Key, u32)> = Vec::new();
        for ((key, place), answer) in asked.unique.iter().zip(&asked.answers) {
            if answer.is_none() {
                places.push((self.space_of.get(*place as usize).copied().unwrap_or_default(), *key, *place));
            }
        }
        // They are in the order of keys, as the table likes them.
        places.sort_by_key(|(space, ..)| *space);
        let mut new: Vec<(u32, Vec<New<'a>>)> = Vec::new();
        for (space, key, place) in places {
            let Some(token) = tokens.get_mut(person(self.group(place))) else { continue };
            if token.is_none() {
                *token = fresh.next().unwrap_or(Found::NONE);
            }
            let value = self.identifiers.get(place as usize).map_or(&[][..], |of| of.value);
            let entry = New { key, token: token.token, value, origin: Some(token.origin) };
            match new.last_mut().filter(|(of, _)| *of == space) {
                Some((_, entries)) => entries.push(entry),
                None => new.push((space, vec![entry])),
            }
        }
        let given = |(group, size): (u32, &u32)| {
            let token = tokens.get(person(group)).filter(|_| *size > 0)?;
            Some(token.token)
        };
        let tokens = (0..).zip(&self.sizes).map(given).collect();
        Plan { new, merges, tokens }
    }
}

/// Disjoint sets of small numbers.
#[derive(Default)]
struct Forest(Vec<u32>);

impl Forest {
    fn new(count: usize) -> Self {
        Self((0..count as u32).collect())
    }

    fn find(&mut self, of: u32) -> u32 {
        let mut at = of;
        while let Some(above) = self.above(at).filter(|above| *above != at) {
            // Halving the path keeps it short.
            let further = self.above(above).unwrap_or(above);
            if let Some(slot) = self.0.get_mut(at as usize) {
                *slot = further;
            }
            at = further;
        }
        at
    }

    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.find(one), self.find(other));
        if let Some(slot) = self.0.get_mut(one.max(other) as usize) {
            *slot = one.min(other);
        }
    }

    fn above(&self, at: u32) -> Option<u32> {
        self.0.get(at as usize).copied()
    }
}

/// Different tokens that turned out to be one person's. They are few in any batch but the first of a new source.
#[derive(Default)]
struct Roots {
    numbers: HashMap<Token, u32>,
    found: Vec<Found>,
    forest: Forest,
}

impl Roots {
    fn join(&mut self, one: &Found, other: &Found) {
        let (one, other) = (self.number(one), self.number(other));
        self.forest.join(one, other);
    }

    fn number(&mut self, of: &Found) -> u32 {
        *self.numbers.entry(of.token).or_insert_with(|| {
            let number = self.found.len() as u32;
            self.found.push(*of);
            self.forest.0.push(number);
            number
        })
    }

    /// Each token that another stands for from now on, with that other.
    fn merges(mut self) -> Vec<(Token, Found)> {
        let sets: Vec<u32> = (0..self.found.len() as u32).map(|number| self.forest.find(number)).collect();
        let mut oldest = self.found.clone();
        for (set, found) in sets.iter().zip(&self.found) {
            if let Some(oldest) = oldest.get_mut(*set as usize).filter(|oldest| found.age() < oldest.age()) {
                *oldest = *found;
            }
        }
        let merge = |(set, found): (&u32, &Found)| {
            let oldest = oldest.get(*set as usize).filter(|oldest| oldest.token != found.token)?;
            Some((found.token, *oldest))
        };
        sets.iter().zip(&self.found).filter_map(merge).collect()
    }
}
