//! The embedded token vault: one directory, several processes, no server.
//!
//! | file | what | if it is damaged |
//! |---|---|---|
//! | `log-NNNNNNNN` | sealed batches of (blind index, token, value), appended only: the truth | an error, nothing is touched |
//! | `run-NNNNNNNN` | a sorted part of the index blind index → token | written again from the log |
//! | `MANIFEST` | which runs there are; up to where the log is on disk | an error |
//! | `lock` | empty; held (`flock`) by the process that appends | |
//!
//! A value is looked up by its *blind index*, HMAC-SHA256 under the domain's own key, first in memory, then in the
//! runs. What nobody has seen is given random tokens under the lock, after reading what other processes appended, so
//! that no value ever gets two. The frame is written before the token is given out; [`TokenVault::sync`] makes it
//! outlive the machine. Memory holds the newest entries (bounded), a cache (bounded) and 14 bits a token of filters.

mod cache;
mod check;
mod error;
mod filter;
mod frame;
mod link;
mod log;
mod manifest;
mod run;
mod table;
mod writer;

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
    log::{Log, Step},
    manifest::Keys,
    run::Run,
    table::{Key, Lookup, Table},
    writer::Writer,
};
pub use self::{check::VerifyReport, error::VaultError};

/// How many look-ups are prepared together: as many cache lines as a core has in flight, or so.
const WARM: usize = 32;
/// Not yet answered. As a random token it would come once in 2¹²⁸.
const NONE: Token = Token([0; 16]);

/// The two secrets of a vault: to find a value's token, and to read values.
pub struct VaultKeys {
    pub blind: BlindIndexKey,
    pub values: VaultKey,
}

/// A place in the history of one vault.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultMark {
    vault: String,
    position: frame::Position,
}

/// Sizes. The defaults keep a process below 300 MB at twenty million tokens.
#[derive(Clone, Debug)]
pub struct VaultOptions {
    /// Newest entries kept in memory before they are written as a run (about 54 bytes each).
    pub memory_entries: usize,
    /// Looked-up entries kept in memory (about 54 bytes each).
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
    pub log_bytes: u64,
    pub index_bytes: u64,
    pub runs: usize,
    /// Runs that this process found damaged or missing and wrote again from the log. More than zero: look at the disk.
    pub rebuilt_runs: u64,
}

/// Random tokens for values, remembered. See the [module's](self) words on how.
pub struct TokenVault {
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
    rebuilt: AtomicU64,
}

impl TokenVault {
    /// Opens the vault in `dir`, or makes a new one where there is none.
    ///
    /// A frame that a killed process left half-written is cut off; it was never given out.
    #[expect(clippy::needless_pass_by_value, reason = "keys are handed over, and wiped here")]
    pub fn open(dir: &Path, keys: VaultKeys, options: VaultOptions) -> Result<Self, VaultError> {
        writer::open(dir, &keys, options)
    }

    /// Opens a vault that must be there. One that is not, because its disk is not mounted, must not become a new one:
    /// people who have a token would get a second.
    pub fn open_existing(dir: &Path, keys: VaultKeys, options: VaultOptions) -> Result<Self, VaultError> {
        Self::must_exist(dir)?;
        Self::open(dir, keys, options)
    }

    /// Whether there is a vault, whole or not; [`VaultError::Missing`] if not.
    pub fn must_exist(dir: &Path) -> Result<(), VaultError> {
        if manifest::Manifest::exists(dir)? || log::is_begun(dir) {
            return Ok(());
        }
        Err(VaultError::Missing { dir: dir.to_owned() })
    }

    /// Where the vault stands, for who wants to know later that it is still the same and no older copy.
    pub fn mark(&self) -> Result<VaultMark, VaultError> {
        self.exclusive(|writer| {
            Ok(VaultMark { vault: HEXLOWER.encode(&writer.manifest.vault), position: writer.position })
        })
    }

    /// Whether everything that was in the vault when `mark` was taken is in it.
    pub fn contains(&self, mark: &VaultMark) -> Result<bool, VaultError> {
        self.exclusive(|writer| {
            let (now, then) = (&writer.position, &mark.position);
            if HEXLOWER.encode(&writer.manifest.vault) != mark.vault || now.sequence < then.sequence {
                return Ok(false);
            }
            if now.sequence == then.sequence {
                return Ok(now.tag == then.tag);
            }
            // What was appended since must follow what was last then.
            let follows = match self.log.reader().step(then) {
                Ok(Step::Frame(..)) => Ok(true),
                Ok(Step::Bad(_)) => Ok(false),
                Ok(Step::End) => self.log.follow(then).map(|next| matches!(next, log::Follow::Segment(_))),
                Err(error) => Err(error),
            };
            match follows {
                // Another history may have other segments.
                Err(VaultError::Damaged { .. }) => Ok(false),
                follows => follows,
            }
        })
    }

    /// Returns when every token that this vault has given out is on disk (fdatasync). Call it before anything that
    /// holds these tokens is handed out.
    pub fn sync(&self) -> Result<(), VaultError> {
        self.sync_log()
    }

    /// The value that `token` stands for in `domain`. Reads the log from its beginning: a rare act of two persons, not
    /// a query. Whoever calls it writes the audit entry first.
    pub fn reveal(&self, domain: &str, token: &Token) -> Result<Option<Phi<String>>, VaultError> {
        self.search(domain, token)
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
        /// Bounds the memory of one call, whatever the caller's batch.
        const AT_ONCE: usize = 1 << 16;
        /// A run that is found damaged is rebuilt and the batch tried again; a disk that damages them all is an error.
        const ATTEMPTS: usize = 8;

        if domain.is_empty() || domain.len() > MAX_DOMAIN {
            return Err(VaultError::DomainName { max: MAX_DOMAIN });
        }
        if let Some(value) = values.iter().find(|value| value.len() > MAX_VALUE) {
            return Err(VaultError::TooLong { len: value.len(), max: MAX_VALUE });
        }
        let hash = self.keys.blind.derive(domain);
        for values in values.chunks(AT_ONCE) {
            let keys = blind_indexes(&hash, values);
            let start = out.len();
            for attempt in 1.. {
                out.truncate(start);
                out.extend(std::iter::repeat_n(NONE, values.len()));
                let tokens = out.get_mut(start..).unwrap_or_default();
                match self.batch(domain, &keys, values, tokens) {
                    Ok(()) => break,
                    Err(Fault::Run(damage)) if attempt < ATTEMPTS => self.repair(&damage)?,
                    Err(fault) => return Err(fault.into()),
                }
            }
        }
        Ok(())
    }

    /// Puts the token of each value in its place in `tokens`.
    fn batch(&self, domain: &str, keys: &[Key], values: &[&[u8]], tokens: &mut [Token]) -> Result<(), Fault> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut missing = self.known(keys, tokens);
        if missing.is_empty() {
            return Ok(());
        }
        // One word is compared faster than two, and decides, but for duplicates and one chance in 2⁶⁴.
        missing.sort_unstable_by_key(|(key, _)| key.hi);
        if !missing.is_sorted_by_key(|(key, _)| *key) {
            missing.sort_unstable_by_key(|(key, _)| *key);
        }
        let mut unique = missing.clone();
        unique.dedup_by_key(|(key, _)| *key);
        let mut answers: Vec<Token> = std::iter::repeat_n(NONE, unique.len()).collect();
        let runs = Arc::clone(&read(&self.runs));
        self.find_in_runs(&runs, &unique, &mut answers)?;
        if answers.contains(&NONE) {
            self.create(domain, epoch, &runs, &unique, values, &mut answers)?;
        }
        let mut answered = unique.iter().map(|(key, _)| *key).zip(answers);
        let mut current = answered.next();
        for (key, place) in missing {
            while current.is_some_and(|(of, _)| of < key) {
                current = answered.next();
            }
            if let (Some(token), Some((_, answer))) = (tokens.get_mut(place as usize), current) {
                *token = answer;
            }
        }
        Ok(())
    }

    /// Answers what memory knows; gives back the keys that it does not, with their places in the batch.
    fn known(&self, keys: &[Key], tokens: &mut [Token]) -> Vec<(Key, u32)> {
        let mut missing: Vec<_> = keys.iter().copied().zip(0..).collect();
        // While a window is being used up nearly everything is in it, and it is smaller than the table.
        answer_from(&read(&self.cache).windows, &mut missing, tokens);
        answer_from(&*read(&self.table), &mut missing, tokens);
        missing
    }

    /// Answers what the runs know. `unique` is sorted; its second part is the place in the batch as it came.
    fn find_in_runs(&self, runs: &[Arc<Run>], unique: &[(Key, u32)], answers: &mut [Token]) -> Result<(), Fault> {
        let mut buffer = Vec::new();
        let mut found = Vec::new();
        if runs.is_empty() {
            return Ok(());
        }
        let mut wanted: Vec<(Key, u32)> = Vec::new();
        let bits: Vec<Bits> = unique.iter().map(|(key, _)| Bits::of(*key)).collect();
        for run in runs.iter().rev() {
            wanted.clear();
            let asked = unique.iter().zip(&bits).zip(answers.iter());
            for (number, (((key, _), bits), answer)) in (0..).zip(asked) {
                if run.may_hold(*key, bits) && *answer == NONE {
                    wanted.push((*key, number));
                }
            }
            answer_from(&read(&self.cache).found, &mut wanted, answers);
            self.read_ahead(run, unique, &mut wanted, answers, &mut buffer)?;
            run.find(&wanted, &mut buffer, |number, entry| {
                if let Some(answer) = answers.get_mut(number as usize) {
                    *answer = entry.token;
                }
                found.push(entry);
            })?;
        }
        if !found.is_empty() {
            let mut cache = write(&self.cache);
            for entry in found {
                cache.found.insert(entry);
            }
        }
        Ok(())
    }

    /// Values that came together come together again: last night's export, in last night's order. So a few of the
    /// batch's first values are looked up, and if the log holds them side by side, that part of the log is read into
    /// the cache, for a hundredth of what look-ups one by one would cost (Zhu, Li, Patterson: FAST '08).
    fn read_ahead(
        &self,
        run: &Run,
        unique: &[(Key, u32)],
        wanted: &mut Vec<(Key, u32)>,
        answers: &mut [Token],
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
            run.find(&sample, buffer, |_, entry| places.push(entry.place))?;
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
        let mut at = from;
        while at < from + bytes {
            match reader.jump(at)? {
                Step::Frame(frame, next) => {
                    let mut cache = write(&self.cache);
                    for entry in frame.entries() {
                        cache.windows.insert(entry);
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

/// Answers what `known` holds and leaves the rest wanted, in their order.
fn answer_from(known: &impl Lookup, wanted: &mut Vec<(Key, u32)>, answers: &mut [Token]) {
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
            if let (Some(token), Some(answer)) = (known.get(key), answers.get_mut(number as usize)) {
                *answer = token;
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
