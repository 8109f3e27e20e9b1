//! The embedded token vault: one directory, several processes, no server.
//!
//! | file | what | if it is damaged |
//! |---|---|---|
//! | `log-NNNNNNNN` | sealed batches of (blind index, token, value), appended only: the truth | an error, nothing is touched |
//! | `run-NNNNNNNN` | a sorted part of the index blind index → token | written again from the log |
//! | `MANIFEST` | which runs there are; up to where the log is on disk | an error |
//! | `merges-NNNNNNNN` | sealed batches of (token, token that stands for it now), appended only | an error, nothing is touched |
//! | `lock` | empty; held (`flock`) by the process that appends | |
//! | `CURRENT` | once the keys were changed: which of the folders `rekeyed-NNNN` holds all the rest but `lock` | an error |
//!
//! Token and value of each entry are masked with a key that serves this entry only, and that can be destroyed:
//! [`crate::subject_keys`], [`TokenVault::shred`]. What was destroyed counts as never seen.
//!
//! A value is looked up by its *blind index*, HMAC-SHA256 under the domain's own key, first in memory, then in the
//! runs. What nobody has seen is given random tokens under the lock, after reading what other processes appended, so
//! that no value ever gets two. The frame is written before the token is given out; [`TokenVault::sync`] makes it
//! outlive the machine. Memory holds the newest entries (bounded), a cache (bounded), 14 bits a token of filters, and about 50
//! bytes a token that was merged with another.

mod cache;
mod check;
pub(crate) mod error;
pub(crate) mod filter;
mod frame;
pub(crate) mod generation;
mod groups;
mod link;
mod log;
pub(crate) mod manifest;
mod marks;
mod mask;
pub mod postgres;
mod rekey;
mod run;
mod sets;
mod shred;
pub(crate) mod table;
pub(crate) mod writer;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use cordon_crypto::{BlindIndexKey, KeyedHash, VaultKey};
use cordon_phi::{Phi, Token, TokenError, TokenStore};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use self::{
    cache::Cache,
    error::Fault,
    filter::Bits,
    frame::{MAX_DOMAIN, MAX_VALUE},
    link::Merges,
    log::{Log, Step},
    manifest::Keys,
    run::Run,
    table::{Entry, Key, Lookup, Table},
    writer::Writer,
};
pub use self::{
    check::VerifyReport,
    error::VaultError,
    rekey::{RekeyStep, Rekeyed},
    shred::Shredded,
};
use crate::subject_keys::SubjectKeys;

/// How many look-ups are prepared together: as many cache lines as a core has in flight, or so.
const WARM: usize = 32;
/// Bounds the memory of one call, whatever the caller's batch.
const AT_ONCE: usize = 1 << 16;
/// Not yet answered. As a random token it would come once in 2¹²⁸.
const NONE: Token = Token([0; 16]);

/// The two secrets of a vault: to find a value's token, and to open its files. What these say of each person is under
/// [`SubjectKeys`].
pub struct VaultKeys {
    pub blind: BlindIndexKey,
    pub values: VaultKey,
}

/// A place in the history of one vault.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultMark {
    vault: String,
    position: frame::Position,
    /// Of the merges. A mark from before there were any has none.
    #[serde(default)]
    merged: Option<frame::Position>,
    /// How often the vault's keys had been changed.
    #[serde(default)]
    rekeyed: u32,
}

/// Sizes. The defaults keep a process at about 350 MB at ten million tokens.
#[derive(Clone, Debug)]
pub struct VaultOptions {
    /// Newest entries kept in memory before they are written as a run (about 90 bytes each).
    pub memory_entries: usize,
    /// Looked-up entries kept in memory (about 64 bytes each).
    pub cache_entries: usize,
    /// Where the log goes on in a new file. At most 2 GiB.
    pub segment_bytes: u32,
    /// So many runs of one size become one of the next.
    pub fan_in: usize,
}

impl Default for VaultOptions {
    fn default() -> Self {
        Self { memory_entries: 6 << 18, cache_entries: 6 << 18, segment_bytes: 256 << 20, fan_in: 6 }
    }
}

/// What a vault holds, without naming anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultStats {
    /// Tokens of each domain, by domain name.
    pub domains: Vec<(String, u64)>,
    /// Pairs of people who turned out to be one.
    pub merges: u64,
    /// The merges included.
    pub log_bytes: u64,
    pub index_bytes: u64,
    pub runs: usize,
    /// Runs that this process found damaged or missing and wrote again from the log. More than zero: look at the disk.
    pub rebuilt_runs: u64,
}

/// Random tokens for values, remembered. See the [module's](self) words on how.
pub struct TokenVault {
    /// What the vault is named by.
    top: PathBuf,
    /// How often its keys were changed.
    pub(crate) number: u32,
    /// Where its files are.
    dir: PathBuf,
    options: VaultOptions,
    keys: Keys,
    log: Log,
    lock: File,
    /// Entries behind the last run. Changed only by whoever holds `writer`.
    table: RwLock<Table>,
    cache: RwLock<Cache>,
    runs: RwLock<Arc<[Arc<Run>]>>,
    writer: Mutex<Writer>,
    /// Goes up whenever an entry may have come that a look-up before did not see.
    epoch: AtomicU64,
    pub(crate) subjects: Arc<SubjectKeys>,
    /// What tombstones, and places in dossiers, are made with.
    tombs: KeyedHash,
    /// Of the subject keys: nothing in memory is from before.
    shreds: AtomicU64,
    rebuilt: AtomicU64,
    merges: Merges,
}

impl TokenVault {
    /// Opens the vault in `dir`, or makes a new one where there is none.
    ///
    /// A frame that a killed process left half-written is cut off; it was never given out.
    #[expect(clippy::needless_pass_by_value, reason = "keys are handed over, and wiped here")]
    pub fn open(
        dir: &Path,
        keys: VaultKeys,
        subjects: Arc<SubjectKeys>,
        options: VaultOptions,
    ) -> Result<Self, VaultError> {
        writer::open(dir, &keys, subjects, options)
    }

    /// Opens a vault that must be there with whichever version of its keys it is under. Gives the version too.
    pub fn open_with(
        dir: &Path,
        versions: &[(u32, VaultKeys)],
        subjects: &Arc<SubjectKeys>,
        options: &VaultOptions,
    ) -> Result<(Self, u32), VaultError> {
        Self::must_exist(dir)?;
        let open = || {
            // Where none fits, opening says which of the newest two is another.
            let newest = versions.iter().max_by_key(|(version, _)| *version);
            let none = || VaultError::WrongKey { which: "vault", dir: dir.to_owned() };
            let (version, keys) = rekey::known(dir, versions)?.or(newest).ok_or_else(none)?;
            Ok((writer::open(dir, keys, Arc::clone(subjects), options.clone())?, *version))
        };
        match open() {
            // They may have been changed between two looks.
            Err(VaultError::WrongKey { .. }) => open(),
            opened => opened,
        }
    }

    /// Which version of the keys the vault in `dir` is under; `None` for none of these, or where there is no vault.
    pub fn key_version(dir: &Path, versions: &[(u32, VaultKeys)]) -> Result<Option<u32>, VaultError> {
        Self::must_exist(dir)?;
        Ok(rekey::known(dir, versions)?.map(|(version, _)| *version))
    }

    /// Opens a vault that must be there. One that is not, because its disk is not mounted, must not become a new one:
    /// people who have a token would get a second.
    pub fn open_existing(
        dir: &Path,
        keys: VaultKeys,
        subjects: Arc<SubjectKeys>,
        options: VaultOptions,
    ) -> Result<Self, VaultError> {
        Self::must_exist(dir)?;
        Self::open(dir, keys, subjects, options)
    }

    /// Whether there is a vault, whole or not; [`VaultError::Missing`] if not.
    pub fn must_exist(dir: &Path) -> Result<(), VaultError> {
        if manifest::Manifest::exists(dir)? || log::is_begun(dir) || generation::current(dir)? > 0 {
            return Ok(());
        }
        Err(VaultError::Missing { dir: dir.to_owned() })
    }

    /// Where the vault stands, for who wants to know later that it is still the same and no older copy.
    pub fn mark(&self) -> Result<VaultMark, VaultError> {
        self.exclusive(|writer| {
            let (vault, position) = (HEXLOWER.encode(&writer.manifest.vault), writer.position);
            Ok(VaultMark { vault, position, merged: Some(writer.merged), rekeyed: self.number })
        })
    }

    /// Whether everything that was in the vault when `mark` was taken is in it. Of a mark from before its keys were changed, whether it
    /// lies before the end that the vault had then: that it belonged to this history is for who changes them to have asked.
    pub fn contains(&self, mark: &VaultMark) -> Result<bool, VaultError> {
        self.exclusive(|writer| {
            if HEXLOWER.encode(&writer.manifest.vault) != mark.vault {
                return Ok(false);
            }
            let merged = mark.merged.unwrap_or(Log::START);
            if mark.rekeyed != self.number {
                let before = |then: &frame::Position, end: &frame::Position| {
                    then.sequence < end.sequence || (then.sequence == end.sequence && then.tag == end.tag)
                };
                let ancestor = writer.manifest.ancestors.get(mark.rekeyed as usize);
                return Ok(ancestor.is_some_and(|of| before(&mark.position, &of.end) && before(&merged, &of.merged)));
            }
            Ok(follows(&self.log, &writer.position, &mark.position)?
                && follows(&self.merges.log, &writer.merged, &merged)?)
        })
    }

    /// Returns when every token that this vault has given out is on disk (fdatasync). Call it before anything that
    /// holds these tokens is handed out.
    pub fn sync(&self) -> Result<(), VaultError> {
        self.sync_log()
    }

    /// The value that `token` stands for in `domain`; of a person with several, the first that was seen. Reads the log from its
    /// beginning: a rare act of two persons, not a query. Whoever calls it writes the audit entry first.
    pub fn reveal(&self, domain: &str, token: &Token) -> Result<Option<Phi<String>>, VaultError> {
        Ok(self.search(domain, token, 1)?.pop())
    }

    /// Every value that `token` stands for in `domain`, in the order in which they were seen, under whichever token of the
    /// person they were. As [`Self::reveal`].
    pub fn reveal_all(&self, domain: &str, token: &Token) -> Result<Vec<Phi<String>>, VaultError> {
        self.search(domain, token, usize::MAX)
    }

    pub fn stats(&self) -> Result<VaultStats, VaultError> {
        self.count()
    }

    /// Reads every byte: each frame authentic and chained, each run authentic and in order, both holding the same
    /// tokens, no value with two. The first damage is the error.
    pub fn verify(&self) -> Result<VerifyReport, VaultError> {
        self.check()
    }

    fn tokens_for(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), VaultError> {
        if domain.is_empty() || domain.len() > MAX_DOMAIN {
            return Err(VaultError::DomainName { max: MAX_DOMAIN });
        }
        if let Some(value) = values.iter().find(|value| value.len() > MAX_VALUE) {
            return Err(VaultError::TooLong { len: value.len(), max: MAX_VALUE });
        }
        self.see_merges()?;
        let before = out.len();
        let hash = self.keys.blind.derive(domain);
        for values in values.chunks(AT_ONCE) {
            let keys = blind_indexes(&hash, values);
            let start = out.len();
            self.with_repairs(|| {
                out.truncate(start);
                out.extend(std::iter::repeat_n(NONE, values.len()));
                let tokens = out.get_mut(start..).unwrap_or_default();
                self.batch(domain, &keys, values, tokens)
            })?;
        }
        self.to_roots(out.get_mut(before..).unwrap_or_default());
        Ok(())
    }

    /// Tries again when a run was found damaged, which is then written anew; a disk that damages them all is an error.
    fn with_repairs<T>(&self, mut work: impl FnMut() -> Result<T, Fault>) -> Result<T, VaultError> {
        const ATTEMPTS: usize = 8;
        for _ in 1..ATTEMPTS {
            match work() {
                Err(Fault::Run(damage)) => self.repair(&damage)?,
                Err(Fault::Destroyed) => self.see_shreds()?,
                done => return Ok(done?),
            }
        }
        Ok(work()?)
    }

    /// Puts the token of each value in its place in `tokens`.
    fn batch(&self, domain: &str, keys: &[Key], values: &[&[u8]], tokens: &mut [Token]) -> Result<(), Fault> {
        let mut asked = self.look_up(keys, tokens)?;
        if asked.answers.contains(&NONE) {
            self.create(domain, &mut asked, values)?;
        }
        asked.spread(tokens);
        Ok(())
    }

    /// Answers what memory knows in its place in `known`, and what the runs know in what is given back.
    fn look_up<A: Answer>(&self, keys: &[Key], known: &mut [A]) -> Result<Asked<A>, Fault> {
        let shreds = self.shreds.load(Ordering::Acquire);
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut missing = self.known(keys, known);
        // One word is compared faster than two, and decides, but for duplicates and one chance in 2⁶⁴.
        missing.sort_unstable_by_key(|(key, _)| key.hi);
        if !missing.is_sorted_by_key(|(key, _)| *key) {
            missing.sort_unstable_by_key(|(key, _)| *key);
        }
        let mut unique = missing.clone();
        unique.dedup_by_key(|(key, _)| *key);
        let answers = vec![A::NONE; unique.len()];
        let runs = Arc::clone(&read(&self.runs));
        let mut asked = Asked { epoch, shreds, runs, missing, unique, answers };
        self.find_in_runs(&asked.runs, &asked.unique, &mut asked.answers)?;
        Ok(asked)
    }

    /// Answers what memory knows; gives back the keys that it does not, with their places in the batch.
    fn known<A: Answer>(&self, keys: &[Key], tokens: &mut [A]) -> Vec<(Key, u32)> {
        let mut missing: Vec<_> = keys.iter().copied().zip(0..).collect();
        // While a window is being used up nearly everything is in it, and it is smaller than the table.
        answer_from(&read(&self.cache).windows, &mut missing, tokens);
        answer_from(&*read(&self.table), &mut missing, tokens);
        missing
    }

    /// Answers what the runs know. `unique` is sorted; its second part is the place in the batch as it came.
    fn find_in_runs<A: Answer>(
        &self,
        runs: &[Arc<Run>],
        unique: &[(Key, u32)],
        answers: &mut [A],
    ) -> Result<(), Fault> {
        let mut buffer = Vec::new();
        let mut found = Vec::new();
        if runs.is_empty() || unique.is_empty() {
            return Ok(());
        }
        let mut leaves = self.subjects.leaves();
        let mut wanted: Vec<(Key, u32)> = Vec::new();
        let bits: Vec<Bits> = unique.iter().map(|(key, _)| Bits::of(*key)).collect();
        for run in runs.iter().rev() {
            wanted.clear();
            let asked = unique.iter().zip(&bits).zip(answers.iter());
            for (number, (((key, _), bits), answer)) in (0..).zip(asked) {
                if run.may_hold(*key, bits) && answer.is_none() {
                    wanted.push((*key, number));
                }
            }
            answer_from(&read(&self.cache).found, &mut wanted, answers);
            self.read_ahead(run, unique, &mut wanted, answers, &mut buffer)?;
            run.find(&wanted, &mut buffer, |number, stored| {
                if let (Some(answer), Some(entry)) = (answers.get_mut(number as usize), stored.open(&mut leaves)) {
                    *answer = A::of(&entry);
                    found.push(entry);
                }
            })?;
        }
        if !found.is_empty() {
            let mut cache = write(&self.cache);
            if cache.epoch == leaves.epoch() {
                for entry in found {
                    cache.found.insert(entry);
                }
            }
        }
        Ok(())
    }

    /// Values that came together come together again: last night's export, in last night's order. So a few of the
    /// batch's first values are looked up, and if the log holds them side by side, that part of the log is read into
    /// the cache, for a hundredth of what look-ups one by one would cost (Zhu, Li, Patterson: FAST '08).
    fn read_ahead<A: Answer>(
        &self,
        run: &Run,
        unique: &[(Key, u32)],
        wanted: &mut Vec<(Key, u32)>,
        answers: &mut [A],
        buffer: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        const SAMPLE: usize = 64;
        const WORTH_IT: usize = 8;
        const WINDOW: u64 = 1 << 20;

        while wanted.len() >= 2 * SAMPLE && self.options.cache_entries > 0 {
            let first = |(_, number): &(Key, u32)| unique.get(*number as usize).map_or(0, |(_, place)| *place);
            let mut sample = wanted.clone();
            sample.select_nth_unstable_by_key(SAMPLE, first);
            sample.truncate(SAMPLE);
            sample.sort_unstable_by_key(|(key, _)| *key);
            let mut places = Vec::with_capacity(SAMPLE);
            {
                let mut leaves = self.subjects.leaves();
                run.find(&sample, buffer, |_, stored| {
                    places.extend(stored.open(&mut leaves).map(|entry| entry.place));
                })?;
            }
            places.sort_unstable();
            let dense = |from: &u64| places.iter().filter(|at| (*from..from + WINDOW).contains(at)).count();
            let Some(from) = places.iter().copied().find(|from| dense(from) >= WORTH_IT) else {
                return Ok(());
            };

            let before = wanted.len();
            self.load_window(from, WINDOW)?;
            answer_from(&read(&self.cache).windows, wanted, answers);
            if wanted.len() * 4 > before * 3 {
                return Ok(());
            }
        }
        Ok(())
    }

    fn load_window(&self, from: u64, bytes: u64) -> Result<(), VaultError> {
        let mut reader = self.log.reader();
        let mut leaves = self.subjects.leaves();
        let mut at = from;
        while at < from + bytes {
            match reader.jump(at)? {
                Step::Frame(frame, next) => {
                    let entries: Vec<Entry> = frame.entries(&mut leaves).flatten().collect();
                    let mut cache = write(&self.cache);
                    if cache.epoch == leaves.epoch() {
                        for entry in entries {
                            cache.windows.insert(entry);
                        }
                    }
                    at = next.place();
                }
                // An index never points at what is not whole.
                Step::Bad(what) if at == from => {
                    let segment = self.log.segment((at >> 32) as u32)?;
                    return Err(VaultError::damaged(&segment.path, at & u64::from(u32::MAX), what));
                }
                // But behind it another process may be writing.
                Step::End | Step::Bad(_) => break,
            }
        }
        Ok(())
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenStore for TokenVault {
    fn get_or_create(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        let before = out.len();
        self.tokens_for(domain, values, out).map_err(|error| {
            out.truncate(before);
            error.into()
        })
    }
}

/// What a look-up wants to know of an entry.
trait Answer: Copy {
    const NONE: Self;
    fn of(entry: &Entry) -> Self;
    fn is_none(&self) -> bool;
}

impl Answer for Token {
    const NONE: Self = NONE;

    fn of(entry: &Entry) -> Self {
        entry.token
    }

    fn is_none(&self) -> bool {
        *self == NONE
    }
}

/// What memory did not know of a batch.
struct Asked<A> {
    /// From before the look-up.
    epoch: u64,
    shreds: u64,
    /// Those that were looked in.
    runs: Arc<[Arc<Run>]>,
    /// Keys with their places in the batch, in order.
    missing: Vec<(Key, u32)>,
    /// Each key once.
    unique: Vec<(Key, u32)>,
    /// Of `unique`.
    answers: Vec<A>,
}

impl<A: Answer> Asked<A> {
    /// Puts the answers in their places of the batch.
    fn spread(&self, batch: &mut [A]) {
        let mut answered = self.unique.iter().map(|(key, _)| *key).zip(&self.answers);
        let mut current = answered.next();
        for (key, place) in &self.missing {
            while current.is_some_and(|(of, _)| of < *key) {
                current = answered.next();
            }
            if let (Some(token), Some((_, answer))) = (batch.get_mut(*place as usize), current) {
                *token = *answer;
            }
        }
    }
}

/// Whether the log, which ends at `now`, holds all that it held when it ended at `then`.
fn follows(log: &Log, now: &frame::Position, then: &frame::Position) -> Result<bool, VaultError> {
    if now.sequence <= then.sequence {
        return Ok(now.sequence == then.sequence && now.tag == then.tag);
    }
    // What was appended since must follow what was last then.
    let follows = match log.reader().step(then) {
        Ok(Step::Frame(..)) => Ok(true),
        Ok(Step::Bad(_)) => Ok(false),
        Ok(Step::End) => log.follow(then).map(|next| matches!(next, log::Follow::Segment(_))),
        Err(error) => Err(error),
    };
    match follows {
        // Another history may have other segments.
        Err(VaultError::Damaged { .. }) => Ok(false),
        follows => follows,
    }
}

/// Answers what `known` holds and leaves the rest wanted, in their order.
fn answer_from<A: Answer>(known: &impl Lookup, wanted: &mut Vec<(Key, u32)>, answers: &mut [A]) {
    if known.is_empty() {
        return;
    }
    let mut kept = 0;
    let mut at = 0;
    while at < wanted.len() {
        let group = at..wanted.len().min(at + WARM);
        known.warm(wanted.get(group.clone()).unwrap_or_default().iter().map(|(key, _)| *key));
        for i in group.clone() {
            let Some((key, number)) = wanted.get(i).copied() else {
                break;
            };
            if let (Some(entry), Some(answer)) = (known.get(key), answers.get_mut(number as usize)) {
                *answer = A::of(entry);
                continue;
            }
            if let Some(slot) = wanted.get_mut(kept) {
                *slot = (key, number);
            }
            kept += 1;
        }
        at = group.end;
    }
    wanted.truncate(kept);
}

fn blind_indexes(hash: &KeyedHash, values: &[&[u8]]) -> Vec<Key> {
    let mut keys = Vec::with_capacity(values.len());
    let mut last: Option<(&[u8], Key)> = None;
    for value in values {
        // One person's rows stand together in most tables.
        let key = match last {
            Some((same, key)) if same == *value => key,
            _ => Key::from_bytes(hash.tag128(value)),
        };
        last = Some((value, key));
        keys.push(key);
    }
    keys
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
