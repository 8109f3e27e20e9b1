//! A part of the index on disk: entries sorted by blind index, written once and never changed.
//!
//! ```text
//! entries (45 each), ascending | filter | directory | chunk tags (28 each) | sealed footer | footer length u32 | magic
//! ```
//!
//! An entry is a keyed hash in clear, token and place masked with the key of its slot, and the slot (5 bytes): without the
//! subject keys a run tells no token. Each chunk of 1,024 has an AES-GCM tag that is checked when the chunk is first touched by a process. A run is derived from the log: a run
//! that fails its check is not an error but a reason to write it again. Entries that were destroyed stay until runs are merged.
//!
//! Keys are uniform. The directory holds, for each 16th part of them, where its entries begin, so that a look-up knows
//! which few hundred bytes to read; look-ups that come in order share reads.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use cordon_crypto::{CryptoError, KeyedHash, Sealer, random_bytes, same_tag};
use zeroize::Zeroizing;

use super::{
    error::{Fault, RunDamage, VaultError},
    filter::{BLOCK_BYTES, Bits, Filter},
    frame::SEAL_OVERHEAD,
    mask::{MARKS, Mask},
    table::{Entry, Key},
};
use crate::subject_keys::{LeafReader, SubjectKeys};

const MAGIC: [u8; 8] = *b"CORDVLTR";
const CHUNK_ENTRIES: u64 = 1024;
const CHUNK: usize = CHUNK_ENTRIES as usize * Stored::BYTES;
const PER_BUCKET: u64 = 16;
/// Two reads are joined when less than this lies between them: a copy costs less than a system call.
const JOIN_GAP: u64 = 8 << 10;
const JOIN_MOST: u64 = 512 << 10;

/// An entry as it stands in a run.
#[derive(Clone, Copy)]
pub(super) struct Stored {
    pub key: Key,
    marks: [u8; MARKS],
    pub slot: u64,
}

impl Stored {
    const BYTES: usize = 16 + MARKS + 5;

    /// With its marks, where they are known. Nothing for what was destroyed.
    fn mask(entry: &Entry, known: Option<&[u8; MARKS]>, leaves: &mut LeafReader<'_>) -> Option<Self> {
        let marks = match known {
            Some(marks) => *marks,
            None => Mask::new(leaves.leaf(entry.slot)?).marks(&entry.token, entry.place),
        };
        Some(Self { key: entry.key, marks, slot: entry.slot })
    }

    /// Nothing for what was destroyed.
    pub fn open(&self, leaves: &mut LeafReader<'_>) -> Option<Entry> {
        let (token, place) = Mask::new(leaves.leaf(self.slot)?).read_marks(&self.marks);
        Some(Entry { key: self.key, token, place, slot: self.slot })
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.to_bytes());
        out.extend_from_slice(&self.marks);
        let [slot @ .., _, _, _] = self.slot.to_le_bytes();
        out.extend_from_slice(&slot);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk::<16>()?;
        let (marks, rest) = rest.split_first_chunk::<MARKS>()?;
        let [a, b, c, d, e] = *rest.first_chunk::<5>()?;
        let slot = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]);
        Some(Self { key: Key::from_bytes(*key), marks: *marks, slot })
    }
}

pub(super) struct Run {
    pub id: u64,
    pub entries: u64,
    pub path: PathBuf,
    file: File,
    sealer: Sealer,
    filter: Filter,
    /// For each bucket of keys, its first entry; one more at the end.
    directory: Vec<u32>,
    tags: Vec<[u8; SEAL_OVERHEAD]>,
    /// One bit a chunk: its tag was right.
    checked: Vec<AtomicU64>,
}

pub(super) fn path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("run-{id:08}"))
}

fn sealer(keys: &KeyedHash, id: u64) -> Sealer {
    Sealer::new(&Zeroizing::new(keys.derive("run").tag(&id.to_le_bytes())))
}

impl Run {
    pub fn open(dir: &Path, keys: &KeyedHash, id: u64, entries: u64) -> Result<Self, RunDamage> {
        let path = path(dir, id);
        let damage = |offset| RunDamage { id, path: path.clone(), offset };
        let file = File::open(&path).map_err(|_| damage(0))?;
        let length = file.metadata().map_err(|_| damage(0))?.len();
        let body = entries * Stored::BYTES as u64;
        let tail_length = length.checked_sub(body).ok_or_else(|| damage(length))? as usize;
        let mut tail = vec![0; tail_length];
        file.read_exact_at(&mut tail, body).map_err(|_| damage(body))?;
        let sealer = sealer(keys, id);
        Self::parse_tail(&sealer, entries, &tail)
            .map(|(filter, directory, tags)| {
                let checked = (0..tags.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
                Self { id, entries, path: path.clone(), file, sealer, filter, directory, tags, checked }
            })
            .ok_or_else(|| damage(body))
    }

    fn parse_tail(sealer: &Sealer, entries: u64, tail: &[u8]) -> Option<(Filter, Vec<u32>, Vec<[u8; SEAL_OVERHEAD]>)> {
        let rest = tail.strip_suffix(&MAGIC)?;
        let (rest, length) = rest.split_last_chunk::<4>()?;
        let (derived, footer) = rest.split_at_checked(rest.len().checked_sub(u32::from_le_bytes(*length) as usize)?)?;
        let footer = sealer.open(derived, footer).ok()?;
        let (count, _) = footer.split_first_chunk::<8>()?;
        (u64::from_le_bytes(*count) == entries).then_some(())?;
        let tag_bytes = entries.div_ceil(CHUNK_ENTRIES) as usize * SEAL_OVERHEAD;
        let directory_bytes = (buckets(entries) as usize + 1) * 4;
        let (rest, tags) = derived.split_at_checked(derived.len().checked_sub(tag_bytes)?)?;
        let (filter, directory) = rest.split_at_checked(rest.len().checked_sub(directory_bytes)?)?;
        let directory = directory.as_chunks::<4>().0.iter().map(|n| u32::from_le_bytes(*n)).collect();
        Some((Filter::from_bytes(filter)?, directory, tags.as_chunks::<SEAL_OVERHEAD>().0.to_vec()))
    }

    #[inline]
    pub fn may_hold(&self, key: Key, bits: &Bits) -> bool {
        self.filter.may_hold(key, bits)
    }

    /// Looks up keys that come in ascending order; `found` gets the key's number in `keys` and its entry.
    pub fn find(
        &self,
        keys: &[(Key, u32)],
        buffer: &mut Vec<u8>,
        mut found: impl FnMut(u32, Stored),
    ) -> Result<(), RunDamage> {
        let mut rest = keys;
        while let Some((first, _)) = rest.first() {
            let (start, mut end) = self.bytes_of(*first);
            let mut take = 1;
            for (key, _) in rest.iter().skip(1) {
                let (next, next_end) = self.bytes_of(*key);
                if next > end + JOIN_GAP || next_end - start > JOIN_MOST {
                    break;
                }
                end = end.max(next_end);
                take += 1;
            }
            let (now, later) = rest.split_at_checked(take).unwrap_or((rest, &[]));
            rest = later;
            self.read_checked(start, end, buffer)?;
            for (key, number) in now {
                let (from, to) = self.bytes_of(*key);
                let bucket = buffer.get((from - start) as usize..(to - start) as usize).unwrap_or_default();
                let wanted = key.to_bytes();
                if let Some(bytes) = bucket.as_chunks::<{ Stored::BYTES }>().0.iter().find(|e| e.starts_with(&wanted))
                    && let Some(entry) = Stored::read(bytes)
                {
                    found(*number, entry);
                }
            }
        }
        Ok(())
    }

    /// All entries in order, a chunk at a time.
    pub fn scan(&self) -> Scan<'_> {
        Scan { run: self, chunk: 0, buffer: Vec::new(), at: 0 }
    }

    /// How many entries are not destroyed.
    fn live(&self, leaves: &LeafReader<'_>) -> Result<u64, RunDamage> {
        let (mut scan, mut live) = (self.scan(), 0);
        while let Some(entry) = scan.next()? {
            live += u64::from(leaves.holds(entry.slot));
        }
        Ok(live)
    }

    fn bytes_of(&self, key: Key) -> (u64, u64) {
        let bucket = key.scale(buckets(self.entries)) as usize;
        let entry = |at: usize| u64::from(self.directory.get(at).copied().unwrap_or_default());
        let start = entry(bucket);
        let end = entry(bucket + 1).max(start);
        (start * Stored::BYTES as u64, end * Stored::BYTES as u64)
    }

    fn read_checked(&self, start: u64, end: u64, buffer: &mut Vec<u8>) -> Result<(), RunDamage> {
        for chunk in start / CHUNK as u64..end.div_ceil(CHUNK as u64) {
            let bit = 1 << (chunk % 64);
            let word = self.checked.get(chunk as usize / 64).ok_or_else(|| self.damage(start))?;
            if word.load(Ordering::Relaxed) & bit == 0 {
                self.read_chunk(chunk, buffer)?;
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        buffer.resize((end - start) as usize, 0);
        self.file.read_exact_at(buffer, start).map_err(|_| self.damage(start))
    }

    fn read_chunk(&self, chunk: u64, buffer: &mut Vec<u8>) -> Result<(), RunDamage> {
        let start = chunk * CHUNK as u64;
        let end = (start + CHUNK as u64).min(self.entries * Stored::BYTES as u64);
        buffer.clear();
        buffer.extend_from_slice(&chunk.to_le_bytes());
        buffer.resize(8 + end.saturating_sub(start) as usize, 0);
        let body = buffer.get_mut(8..).unwrap_or_default();
        self.file.read_exact_at(body, start).map_err(|_| self.damage(start))?;
        let tag = self.tags.get(chunk as usize).ok_or_else(|| self.damage(start))?;
        let (nonce, _) = tag.split_first_chunk().ok_or_else(|| self.damage(start))?;
        let found = chunk_tag(&self.sealer, *nonce, buffer).map_err(|_| self.damage(start))?;
        if same_tag(&found, tag) { Ok(()) } else { Err(self.damage(start)) }
    }

    fn damage(&self, offset: u64) -> RunDamage {
        RunDamage { id: self.id, path: self.path.clone(), offset }
    }
}

/// Nonce and AES-GCM tag of a chunk: sealed in full and the ciphertext dropped, since ring takes three times as long
/// over associated data. When a chunk is checked its nonce is used again, but what was sealed under it goes nowhere.
fn chunk_tag(sealer: &Sealer, nonce: [u8; 12], chunk: &[u8]) -> Result<[u8; SEAL_OVERHEAD], CryptoError> {
    let sealed = sealer.dangerous_seal_with_nonce(nonce, &[], chunk)?;
    let mut tag = [0; SEAL_OVERHEAD];
    let (head, tail) = tag.split_at_mut(nonce.len());
    head.copy_from_slice(&nonce);
    tail.copy_from_slice(sealed.last_chunk::<16>().unwrap_or(&[0; 16]));
    Ok(tag)
}

fn buckets(entries: u64) -> u64 {
    entries / PER_BUCKET + 1
}

pub(super) struct Scan<'a> {
    run: &'a Run,
    chunk: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Scan<'_> {
    pub fn next(&mut self) -> Result<Option<Stored>, RunDamage> {
        if self.at >= self.buffer.len() {
            if self.chunk * CHUNK_ENTRIES >= self.run.entries {
                return Ok(None);
            }
            self.run.read_chunk(self.chunk, &mut self.buffer)?;
            self.chunk += 1;
            self.at = 8;
        }
        let entry = self.buffer.get(self.at..).and_then(Stored::read);
        self.at += Stored::BYTES;
        Ok(entry)
    }
}

/// Writes one run; entries must come in ascending order.
pub(super) struct RunWriter {
    id: u64,
    path: PathBuf,
    file: File,
    sealer: Sealer,
    chunk: Vec<u8>,
    entries: u64,
    planned: u64,
    filter: Filter,
    directory: Vec<u32>,
    tags: Vec<u8>,
}

impl RunWriter {
    pub fn create(dir: &Path, keys: &KeyedHash, id: u64, planned: u64) -> Result<Self, VaultError> {
        let path = path(dir, id);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).map_err(VaultError::io("create", &path))?;
        let mut writer = Self {
            id,
            path,
            file,
            sealer: sealer(keys, id),
            chunk: Vec::with_capacity(8 + CHUNK),
            entries: 0,
            planned,
            filter: Filter::for_entries(planned),
            directory: Vec::with_capacity(buckets(planned) as usize + 1),
            tags: Vec::new(),
        };
        writer.chunk.extend_from_slice(&0_u64.to_le_bytes());
        Ok(writer)
    }

    pub fn push(
        &mut self,
        entry: &Entry,
        marks: Option<&[u8; MARKS]>,
        leaves: &mut LeafReader<'_>,
    ) -> Result<(), VaultError> {
        let stored = Stored::mask(entry, marks, leaves);
        self.push_stored(
            &stored.ok_or_else(|| VaultError::damaged(&self.path, 0, "a token that was just given has no key"))?,
        )
    }

    fn push_stored(&mut self, entry: &Stored) -> Result<(), VaultError> {
        let bucket = entry.key.scale(buckets(self.planned)) as usize;
        if self.directory.len() <= bucket {
            self.directory.resize(bucket + 1, self.entries as u32);
        }
        self.filter.add(entry.key);
        entry.write_to(&mut self.chunk);
        self.entries += 1;
        if self.chunk.len() == 8 + CHUNK {
            self.write_chunk()?;
        }
        Ok(())
    }

    /// Completes the file. Fewer entries than planned are refused: the caller knows them.
    pub fn finish(mut self) -> Result<Run, VaultError> {
        if self.chunk.len() > 8 {
            self.write_chunk()?;
        }
        if self.entries != self.planned {
            return Err(VaultError::damaged(&self.path, 0, "the index and its parts do not hold the same tokens"));
        }
        self.directory.resize(buckets(self.planned) as usize + 1, self.entries as u32);
        let mut tail = self.filter.to_bytes();
        debug_assert_eq!(tail.len() % BLOCK_BYTES, 0);
        tail.extend(self.directory.iter().flat_map(|n| n.to_le_bytes()));
        tail.extend_from_slice(&self.tags);
        let footer = self.sealer.seal(&tail, &self.entries.to_le_bytes())?;
        tail.extend_from_slice(&footer);
        tail.extend_from_slice(&(footer.len() as u32).to_le_bytes());
        tail.extend_from_slice(&MAGIC);
        self.write(&tail)?;
        let tags = self.tags.as_chunks::<SEAL_OVERHEAD>().0.to_vec();
        Ok(Run {
            id: self.id,
            entries: self.entries,
            path: self.path,
            file: self.file,
            sealer: self.sealer,
            filter: self.filter,
            directory: self.directory,
            checked: (0..tags.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            tags,
        })
    }

    fn write_chunk(&mut self) -> Result<(), VaultError> {
        let mut nonce = [0; 12];
        random_bytes(&mut nonce)?;
        let tag = chunk_tag(&self.sealer, nonce, &self.chunk)?;
        self.tags.extend_from_slice(&tag);
        let chunk = std::mem::take(&mut self.chunk);
        self.write(chunk.get(8..).unwrap_or_default())?;
        self.chunk = chunk;
        self.chunk.clear();
        self.chunk.extend_from_slice(&(self.entries / CHUNK_ENTRIES).to_le_bytes());
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), VaultError> {
        self.file.write_all(bytes).map_err(|error: io::Error| {
            let _ = std::fs::remove_file(&self.path);
            VaultError::io("write", &self.path)(error)
        })
    }
}

/// Writes several runs' entries as one run, without those that were destroyed.
pub(super) fn merge(
    dir: &Path,
    keys: &KeyedHash,
    id: u64,
    runs: &[&Run],
    subjects: &SubjectKeys,
) -> Result<Run, Fault> {
    let leaves = subjects.leaves();
    let planned = if subjects.any_destroyed() {
        let mut live = 0;
        for run in runs {
            live += run.live(&leaves)?;
        }
        live
    } else {
        runs.iter().map(|run| run.entries).sum()
    };
    let mut writer = RunWriter::create(dir, keys, id, planned)?;
    let mut heads = Vec::with_capacity(runs.len());
    for run in runs {
        let mut scan = run.scan();
        if let Some(entry) = scan.next()? {
            heads.push((entry, scan));
        }
    }
    // Few runs are merged at a time: looking at each head is faster than keeping a heap.
    while let Some((at, _)) = heads.iter().enumerate().min_by_key(|(_, (entry, _))| entry.key) {
        let Some((entry, scan)) = heads.get_mut(at) else {
            break;
        };
        if leaves.holds(entry.slot) {
            writer.push_stored(entry)?;
        }
        match scan.next()? {
            Some(next) => *entry = next,
            None => drop(heads.swap_remove(at)),
        }
    }
    Ok(writer.finish()?)
}
