//! People in the order of keyed hashes of their tokens, each with a piece of facts; written once and never changed.
//!
//! ```text
//! sealed blocks | sealed tail | length of the tail u64 | magic 8
//! block   used bytes u32 | (place 16 | slot u64 | nonce 12 | length u32 | masked piece)* | zeros to the next multiple of 64
//! piece   length u32 | facts | zeros to the next multiple of 64
//! tail    people u64 | blocks u64 | kinds u32, (length u8 | name)* | (first place 16 | offset u64)* | filter
//! ```
//!
//! A piece is masked with the key of the person's slot, which is the same in all runs, and a nonce: AES-256 in counter mode. No
//! token stands in a run, only its *place*. Each block is sealed by itself, with its number as associated data, under a key that no other run has. The tail is read
//! when the run is opened; what stays in memory is 24 bytes a block and 12 bits a person.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use cordon_crypto::{CounterStream, KeyedHash, Sealer, random_bytes};
use zeroize::Zeroizing;

use super::{
    facts::{self, Kinds},
    manifest::RunMeta,
};
use crate::{
    store::{
        error::VaultError,
        filter::{Bits, Filter},
        manifest::Fields,
        table::Key,
    },
    subject_keys::{LeafReader, SubjectKeys},
};

const MAGIC: [u8; 8] = *b"CORDDOSR";
/// A block is closed when it has so many bytes: about twenty people.
const BLOCK: usize = 4 << 10;
const PADDING: usize = 64;
const ENTRY_HEAD: usize = 40;
const PIECE_PADDING: usize = 64;
const INDEX_ENTRY: usize = 24;
/// Two reads are joined when less than this lies between them.
const JOIN_GAP: u64 = 8 << 10;
const JOIN_MOST: u64 = 512 << 10;
const WRITE_AT_ONCE: usize = 256 << 10;

pub(super) struct Run {
    pub meta: RunMeta,
    pub path: PathBuf,
    file: File,
    sealer: Sealer,
    blocks: Vec<(Key, u64)>,
    /// Where the last block ends.
    end: u64,
    filter: Filter,
    kinds: Kinds,
}

pub(super) fn path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("run-{id:08}"))
}

fn sealer(keys: &KeyedHash, id: u64) -> Sealer {
    Sealer::new(&Zeroizing::new(keys.derive("run").tag(&id.to_le_bytes())))
}

/// A run that was merged away meanwhile is `Ok(None)`.
pub(super) fn open(dir: &Path, keys: &KeyedHash, meta: RunMeta) -> Result<Option<Run>, VaultError> {
    let path = path(dir, meta.id);
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(VaultError::io("open", &path))?,
    };
    let length = file.metadata().map_err(VaultError::io("read", &path))?.len();
    if length != meta.bytes {
        return Err(VaultError::damaged(&path, length.min(meta.bytes), "the file has another length"));
    }
    let damaged = |offset| VaultError::damaged(&path, offset, "a run of dossiers is not authentic");
    let mut last = [0; 16];
    let ending = length.checked_sub(16).ok_or_else(|| damaged(0))?;
    file.read_exact_at(&mut last, ending).map_err(VaultError::io("read", &path))?;
    let (tail, magic) = last.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    let end =
        ending.checked_sub(u64::from_le_bytes(*tail)).filter(|_| magic == MAGIC).ok_or_else(|| damaged(ending))?;
    let mut tail = vec![0; (ending - end) as usize];
    file.read_exact_at(&mut tail, end).map_err(VaultError::io("read", &path))?;
    let sealer = sealer(keys, meta.id);
    let tail = sealer.open(b"tail", &tail).map_err(|_| damaged(end))?;
    let (people, blocks, kinds, filter) = parse_tail(&tail).ok_or_else(|| damaged(end))?;
    if people != meta.people {
        return Err(damaged(end));
    }
    Ok(Some(Run { meta, path, file, sealer, blocks, end, filter, kinds }))
}

type Tail = (u64, Vec<(Key, u64)>, Kinds, Filter);

fn parse_tail(tail: &[u8]) -> Option<Tail> {
    let mut from = Fields(tail);
    let (people, count) = (from.u64()?, from.u64()?);
    let mut kinds = Vec::new();
    for _ in 0..from.u32()? {
        let [length] = from.array()?;
        kinds.push(std::str::from_utf8(from.bytes(length.into())?).ok()?);
    }
    let index = from.bytes(usize::try_from(count).ok()?.checked_mul(INDEX_ENTRY)?)?;
    let blocks = index.as_chunks::<INDEX_ENTRY>().0.iter().map(|entry| {
        let mut entry = Fields(entry);
        Some((Key::from_bytes(entry.array()?), entry.u64()?))
    });
    let blocks = blocks.collect::<Option<_>>()?;
    Some((people, blocks, Kinds::of(kinds.into_iter()), Filter::from_bytes(from.0)?))
}

impl Run {
    /// Gives `found` the number, the slot and the piece of each of `places` that is in the run and not destroyed. They come in order.
    pub fn find(
        &self,
        places: &[(Key, u32)],
        leaves: &mut LeafReader<'_>,
        mut found: impl FnMut(u32, u64, &[u8]),
    ) -> Result<(), VaultError> {
        // Which of them may be here, by block.
        let mut wanted: Vec<(usize, Key, u32)> = Vec::new();
        let mut from = 0;
        for (place, number) in places {
            if !self.filter.may_hold(*place, &Bits::of(*place)) {
                continue;
            }
            let rest = self.blocks.get(from..).unwrap_or_default();
            from += rest.partition_point(|(first, _)| first <= place).saturating_sub(1);
            wanted.push((from, *place, *number));
        }
        let mut buffer = Vec::new();
        let mut rest = wanted.as_slice();
        while let Some((first, ..)) = rest.first() {
            let start = self.offset(*first);
            let mut end = self.offset(first + 1);
            let mut take = 1;
            for (block, ..) in rest.iter().skip(1) {
                let (next, next_end) = (self.offset(*block), self.offset(block + 1));
                if next > end + JOIN_GAP || next_end - start > JOIN_MOST {
                    break;
                }
                end = end.max(next_end);
                take += 1;
            }
            let (now, later) = rest.split_at_checked(take).unwrap_or((rest, &[]));
            rest = later;
            buffer.resize((end - start) as usize, 0);
            self.file.read_exact_at(&mut buffer, start).map_err(VaultError::io("read", &self.path))?;
            for in_block in now.chunk_by(|one, other| one.0 == other.0) {
                let block = in_block.first().map_or(0, |(block, ..)| *block);
                let range = (self.offset(block) - start) as usize..(self.offset(block + 1) - start) as usize;
                let plain = self.open_block(block, buffer.get(range).unwrap_or_default())?;
                let mut entries = entries(&plain).peekable();
                for (_, place, number) in in_block {
                    while entries.next_if(|entry| entry.place < *place).is_some() {}
                    if let Some(entry) = entries.peek().filter(|entry| entry.place == *place)
                        && let Some(piece) = self.unmask(entry, leaves)?
                    {
                        found(*number, entry.slot, &piece);
                    }
                }
            }
        }
        Ok(())
    }

    /// All people in order.
    pub fn scan(&self) -> Scan<'_> {
        Scan { run: self, block: 0, plain: Zeroizing::default(), at: 0 }
    }

    #[cfg(test)]
    pub fn everything(&self, leaves: &mut LeafReader<'_>) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        let blocks = (0..self.blocks.len()).filter_map(|block| {
            let sealed = bytes.get(self.offset(block) as usize..self.offset(block + 1) as usize)?;
            Some(self.open_block(block, sealed).ok()?.to_vec())
        });
        let mut all: Vec<Vec<u8>> = blocks.collect();
        let (mut scan, mut piece) = (self.scan(), Vec::new());
        while let Ok(Some(_)) = scan.next(&mut piece, leaves) {
            all.push(piece.clone());
        }
        all
    }

    fn offset(&self, block: usize) -> u64 {
        self.blocks.get(block).map_or(self.end, |(_, offset)| *offset)
    }

    fn open_block(&self, block: usize, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let damaged = |what| VaultError::damaged(&self.path, self.offset(block), what);
        let opened = self.sealer.open(&(block as u64).to_le_bytes(), sealed);
        let mut plain = Zeroizing::new(opened.map_err(|_| damaged("a block of dossiers is not authentic"))?);
        let used = plain.first_chunk().map_or(0, |used| u32::from_le_bytes(*used)) as usize;
        plain.truncate(used);
        Ok(plain)
    }

    /// Nothing for a person who was destroyed.
    fn unmask(
        &self,
        entry: &Masked<'_>,
        leaves: &mut LeafReader<'_>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let Some(leaf) = leaves.leaf(entry.slot) else { return Ok(None) };
        let damaged = |what| VaultError::damaged(&self.path, 0, what);
        let mut piece = Zeroizing::new(entry.piece.to_vec());
        CounterStream::new(leaf).apply(entry.nonce, 0, &mut piece);
        let length = piece.first_chunk().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
        if length + 4 > piece.len() {
            return Err(damaged("a dossier is not under the key of its person"));
        }
        piece.copy_within(4..4 + length, 0);
        piece.truncate(length);
        let known = self.kinds.renumber(&mut piece);
        known.ok_or_else(|| damaged("a dossier holds a kind of identifier that this program does not know"))?;
        Ok(Some(piece))
    }
}

/// A person's entry in a block.
struct Masked<'a> {
    place: Key,
    slot: u64,
    nonce: [u8; 12],
    piece: &'a [u8],
}

impl<'a> Masked<'a> {
    fn read(from: &mut Fields<'a>) -> Option<Self> {
        let (place, slot, nonce) = (Key::from_bytes(from.array()?), from.u64()?, from.array()?);
        let length = from.u32()?;
        Some(Self { place, slot, nonce, piece: from.bytes(length as usize)? })
    }
}

fn entries(plain: &[u8]) -> impl Iterator<Item = Masked<'_>> {
    let mut from = Fields(plain.get(4..).unwrap_or_default());
    std::iter::from_fn(move || Masked::read(&mut from))
}

/// Where a scan is.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub place: Key,
    pub slot: u64,
    /// Whether the piece could be read.
    pub live: bool,
}

pub(super) struct Scan<'a> {
    run: &'a Run,
    block: usize,
    plain: Zeroizing<Vec<u8>>,
    at: usize,
}

impl Scan<'_> {
    /// The next person, with the piece put into `piece`, which stays empty for one who was destroyed.
    pub fn next(&mut self, piece: &mut Vec<u8>, leaves: &mut LeafReader<'_>) -> Result<Option<At>, VaultError> {
        while self.at >= self.plain.len() {
            if self.block >= self.run.blocks.len() {
                return Ok(None);
            }
            let (start, end) = (self.run.offset(self.block), self.run.offset(self.block + 1));
            let mut sealed = vec![0; (end - start) as usize];
            self.run.file.read_exact_at(&mut sealed, start).map_err(VaultError::io("read", &self.run.path))?;
            self.plain = self.run.open_block(self.block, &sealed)?;
            self.block += 1;
            self.at = 4;
        }
        let entry = Masked::read(&mut Fields(self.plain.get(self.at..).unwrap_or_default()));
        let Some(entry) = entry else {
            return Err(VaultError::damaged(&self.run.path, self.run.offset(self.block - 1), "a dossier is cut short"));
        };
        let plain = self.run.unmask(&entry, leaves)?;
        self.at += ENTRY_HEAD + entry.piece.len();
        piece.clear();
        piece.extend_from_slice(plain.as_ref().map_or(&[], |plain| plain.as_slice()));
        Ok(Some(At { place: entry.place, slot: entry.slot, live: plain.is_some() }))
    }
}

/// Writes one run; people must come in order.
pub(super) struct RunWriter {
    id: u64,
    path: PathBuf,
    file: File,
    sealer: Sealer,
    people: u64,
    filter: Filter,
    blocks: Vec<(Key, u64)>,
    /// First place and content of the block that is being filled.
    first: Key,
    block: Zeroizing<Vec<u8>>,
    out: Vec<u8>,
    written: u64,
}

impl RunWriter {
    /// `most` bounds the people that may come.
    pub fn create(dir: &Path, keys: &KeyedHash, id: u64, most: u64) -> Result<Self, VaultError> {
        let path = path(dir, id);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).map_err(VaultError::io("create", &path))?;
        Ok(Self {
            id,
            path,
            file,
            sealer: sealer(keys, id),
            people: 0,
            filter: Filter::for_entries(most),
            blocks: Vec::new(),
            first: Key::default(),
            block: Zeroizing::new(vec![0; 4]),
            out: Vec::with_capacity(WRITE_AT_ONCE + 2 * BLOCK),
            written: 0,
        })
    }

    pub fn push(
        &mut self,
        place: Key,
        slot: u64,
        facts: &[&[u8]],
        leaves: &mut LeafReader<'_>,
    ) -> Result<(), VaultError> {
        if self.block.len() == 4 {
            self.first = place;
        }
        let length: usize = facts.iter().map(|fact| fact.len()).sum();
        let mut piece = Zeroizing::new(Vec::with_capacity((4 + length).next_multiple_of(PIECE_PADDING)));
        piece.extend_from_slice(&(length as u32).to_le_bytes());
        for fact in facts {
            piece.extend_from_slice(fact);
        }
        let padded = piece.len().next_multiple_of(PIECE_PADDING);
        piece.resize(padded, 0);
        let mut nonce = [0; 12];
        random_bytes(&mut nonce)?;
        let leaf = leaves.leaf(slot).ok_or(VaultError::Busy)?;
        CounterStream::new(leaf).apply(nonce, 0, &mut piece);
        self.block.extend_from_slice(&place.to_bytes());
        self.block.extend_from_slice(&slot.to_le_bytes());
        self.block.extend_from_slice(&nonce);
        self.block.extend_from_slice(&(piece.len() as u32).to_le_bytes());
        self.block.extend_from_slice(&piece);
        self.filter.add(place);
        self.people += 1;
        if self.block.len() >= BLOCK { self.close_block() } else { Ok(()) }
    }

    /// Completes the file, which is on disk then.
    pub fn finish(mut self) -> Result<Run, VaultError> {
        if self.block.len() > 4 {
            self.close_block()?;
        }
        let end = self.written + self.out.len() as u64;
        let mut tail = Vec::new();
        tail.extend_from_slice(&self.people.to_le_bytes());
        tail.extend_from_slice(&(self.blocks.len() as u64).to_le_bytes());
        tail.extend_from_slice(&(facts::kind_names().count() as u32).to_le_bytes());
        for name in facts::kind_names() {
            tail.push(name.len() as u8);
            tail.extend_from_slice(name.as_bytes());
        }
        for (first, offset) in &self.blocks {
            tail.extend_from_slice(&first.to_bytes());
            tail.extend_from_slice(&offset.to_le_bytes());
        }
        tail.extend_from_slice(&self.filter.to_bytes());
        let tail = self.sealer.seal(b"tail", &tail)?;
        self.out.extend_from_slice(&tail);
        self.out.extend_from_slice(&(tail.len() as u64).to_le_bytes());
        self.out.extend_from_slice(&MAGIC);
        self.write()?;
        self.file.sync_all().map_err(VaultError::io("sync", &self.path)).inspect_err(|_| self.discard())?;
        let meta = RunMeta { id: self.id, people: self.people, bytes: self.written };
        let Self { path, file, sealer, blocks, filter, .. } = self;
        Ok(Run { meta, path, file, sealer, blocks, end, filter, kinds: Kinds::of(facts::kind_names()) })
    }

    /// Removes what was written.
    pub fn discard(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn close_block(&mut self) -> Result<(), VaultError> {
        let used = self.block.len() as u32;
        if let Some(length) = self.block.first_chunk_mut() {
            *length = used.to_le_bytes();
        }
        let padded = self.block.len().next_multiple_of(PADDING);
        self.block.resize(padded, 0);
        let sealed = self.sealer.seal(&(self.blocks.len() as u64).to_le_bytes(), &self.block)?;
        self.blocks.push((self.first, self.written + self.out.len() as u64));
        self.out.extend_from_slice(&sealed);
        self.block.clear();
        self.block.resize(4, 0);
        if self.out.len() >= WRITE_AT_ONCE { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), VaultError> {
        self.file.write_all(&self.out).map_err(VaultError::io("write", &self.path)).inspect_err(|_| self.discard())?;
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }
}

/// Writes the people of several runs, which come oldest first, as one run, without those who were destroyed.
pub(super) fn merge(
    dir: &Path,
    keys: &KeyedHash,
    id: u64,
    runs: &[&Run],
    subjects: &SubjectKeys,
) -> Result<Run, VaultError> {
    struct Head<'a> {
        at: At,
        piece: Zeroizing<Vec<u8>>,
        scan: Scan<'a>,
    }
    let mut writer = RunWriter::create(dir, keys, id, runs.iter().map(|run| run.meta.people).sum())?;
    let mut leaves = subjects.leaves();
    let mut work = || {
        let mut heads = Vec::with_capacity(runs.len());
        for run in runs {
            let (mut scan, mut piece) = (run.scan(), Zeroizing::default());
            if let Some(at) = scan.next(&mut piece, &mut leaves)? {
                heads.push(Head { at, piece, scan });
            }
        }
        while let Some(place) = heads.iter().map(|head| head.at.place).min() {
            {
                let same = || heads.iter().filter(|head| head.at.place == place && head.at.live);
                let pieces: Vec<&[u8]> = same().map(|head| head.piece.as_slice()).collect();
                let mut kept = Vec::new();
                facts::newest(&pieces, &mut kept);
                if let Some(newest) = same().next_back().filter(|_| !subjects.is_tombstone(&place.to_bytes())) {
                    writer.push(place, newest.at.slot, &kept, &mut leaves)?;
                }
            }
            let mut number = 0;
            while let Some(head) = heads.get_mut(number) {
                if head.at.place == place {
                    let Some(next) = head.scan.next(&mut head.piece, &mut leaves)? else {
                        // Their order is their age.
                        heads.remove(number);
                        continue;
                    };
                    head.at = next;
                }
                number += 1;
            }
        }
        Ok(())
    };
    let done = work();
    if let Err(error) = done {
        writer.discard();
        return Err(error);
    }
    writer.finish()
}
