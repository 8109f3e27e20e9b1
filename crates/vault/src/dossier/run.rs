//! People in order of their tokens, each with a piece of facts; written once and never changed.
//!
//! ```text
//! sealed blocks | sealed tail | length of the tail u64 | magic 8
//! block   used bytes u32 | (token 16 | length u32 | piece)* | zeros to the next multiple of 64
//! tail    people u64 | blocks u64 | kinds u32, (length u8 | name)* | (first token 16 | offset u64)* | filter
//! ```
//!
//! Each block is sealed by itself, with its number as associated data, under a key that no other run has. The tail is read
//! when the run is opened; what stays in memory is 24 bytes a block and 12 bits a person.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use cordon_crypto::{KeyedHash, Sealer};
use cordon_phi::{IdentifierKind, Token};
use zeroize::Zeroizing;

use super::{facts, manifest::RunMeta};
use crate::store::{
    error::VaultError,
    filter::{Bits, Filter},
    manifest::Fields,
    table::Key,
};

const MAGIC: [u8; 8] = *b"CORDDOSR";
/// A block is closed when it has so many bytes: about twenty people.
const BLOCK: usize = 4 << 10;
const PADDING: usize = 64;
const ENTRY_HEAD: usize = 20;
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
    blocks: Vec<(Token, u64)>,
    /// Where the last block ends.
    end: u64,
    filter: Filter,
    /// What the file's numbers of kinds are in this program; nothing where they are the same.
    kinds: Option<Vec<Option<u8>>>,
}

pub(super) fn path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("run-{id:08}"))
}

fn sealer(keys: &KeyedHash, id: u64) -> Sealer {
    Sealer::new(&Zeroizing::new(keys.derive("run").tag(&id.to_le_bytes())))
}

fn key(token: &Token) -> Key {
    Key::from_bytes(token.0)
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

type Tail = (u64, Vec<(Token, u64)>, Option<Vec<Option<u8>>>, Filter);

fn parse_tail(tail: &[u8]) -> Option<Tail> {
    let mut from = Fields(tail);
    let (people, count) = (from.u64()?, from.u64()?);
    let mut kinds = Vec::new();
    let mut same = true;
    for number in 0..from.u32()? {
        let [length] = from.array()?;
        let name = std::str::from_utf8(from.bytes(length.into())?).ok()?;
        let kind = name.parse::<IdentifierKind>().ok().map(|kind| kind as usize as u8);
        same &= kind.map(u32::from) == Some(number);
        kinds.push(kind);
    }
    let index = from.bytes(usize::try_from(count).ok()?.checked_mul(INDEX_ENTRY)?)?;
    let blocks = index.as_chunks::<INDEX_ENTRY>().0.iter().map(|entry| {
        let mut entry = Fields(entry);
        Some((Token(entry.array()?), entry.u64()?))
    });
    let blocks = blocks.collect::<Option<_>>()?;
    Some((people, blocks, (!same).then_some(kinds), Filter::from_bytes(from.0)?))
}

impl Run {
    /// Gives `found` the number and the piece of each of `tokens` that is in the run. They come in order.
    pub fn find(&self, tokens: &[(Token, u32)], mut found: impl FnMut(u32, &[u8])) -> Result<(), VaultError> {
        // Which of them may be here, by block.
        let mut wanted: Vec<(usize, Token, u32)> = Vec::new();
        let mut from = 0;
        for (token, number) in tokens {
            let key = key(token);
            if !self.filter.may_hold(key, &Bits::of(key)) {
                continue;
            }
            let rest = self.blocks.get(from..).unwrap_or_default();
            from += rest.partition_point(|(first, _)| first <= token).saturating_sub(1);
            wanted.push((from, *token, *number));
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
                for (_, token, number) in in_block {
                    while entries.next_if(|(of, _)| of < token).is_some() {}
                    if let Some((_, piece)) = entries.peek().filter(|(of, _)| of == token) {
                        found(*number, piece);
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

    fn offset(&self, block: usize) -> u64 {
        self.blocks.get(block).map_or(self.end, |(_, offset)| *offset)
    }

    fn open_block(&self, block: usize, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let damaged = |what| VaultError::damaged(&self.path, self.offset(block), what);
        let opened = self.sealer.open(&(block as u64).to_le_bytes(), sealed);
        let mut plain = Zeroizing::new(opened.map_err(|_| damaged("a block of dossiers is not authentic"))?);
        let used = plain.first_chunk().map_or(0, |used| u32::from_le_bytes(*used)) as usize;
        plain.truncate(used);
        if let Some(kinds) = &self.kinds {
            let known = renumber(plain.get_mut(4..).unwrap_or_default(), kinds);
            known.ok_or_else(|| damaged("a dossier holds a kind of identifier that this program does not know"))?;
        }
        Ok(plain)
    }
}

fn entries(plain: &[u8]) -> impl Iterator<Item = (Token, &[u8])> {
    let mut from = Fields(plain.get(4..).unwrap_or_default());
    std::iter::from_fn(move || {
        let (token, length) = (from.array()?, from.u32()?);
        Some((Token(token), from.bytes(length as usize)?))
    })
}

fn renumber(plain: &mut [u8], kinds: &[Option<u8>]) -> Option<()> {
    let mut rest = plain;
    while !rest.is_empty() {
        let length = u32::from_le_bytes(*rest.get(16..)?.first_chunk()?) as usize;
        let (entry, after) = rest.split_at_mut_checked(ENTRY_HEAD + length)?;
        facts::renumber(entry.get_mut(ENTRY_HEAD..)?, kinds)?;
        rest = after;
    }
    Some(())
}

pub(super) struct Scan<'a> {
    run: &'a Run,
    block: usize,
    plain: Zeroizing<Vec<u8>>,
    at: usize,
}

impl Scan<'_> {
    /// The next person, with the piece put into `piece`.
    pub fn next(&mut self, piece: &mut Vec<u8>) -> Result<Option<Token>, VaultError> {
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
        let mut from = Fields(self.plain.get(self.at..).unwrap_or_default());
        let entry =
            from.array().zip(from.u32()).and_then(|(token, length)| Some((token, from.bytes(length as usize)?)));
        let Some((token, bytes)) = entry else {
            return Err(VaultError::damaged(&self.run.path, self.run.offset(self.block - 1), "a dossier is cut short"));
        };
        piece.clear();
        piece.extend_from_slice(bytes);
        self.at += ENTRY_HEAD + bytes.len();
        Ok(Some(Token(token)))
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
    blocks: Vec<(Token, u64)>,
    /// First token and content of the block that is being filled.
    first: Token,
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
            first: Token([0; 16]),
            block: Zeroizing::new(vec![0; 4]),
            out: Vec::with_capacity(WRITE_AT_ONCE + 2 * BLOCK),
            written: 0,
        })
    }

    pub fn push(&mut self, token: Token, facts: &[&[u8]]) -> Result<(), VaultError> {
        if self.block.len() == 4 {
            self.first = token;
        }
        let length: usize = facts.iter().map(|fact| fact.len()).sum();
        self.block.extend_from_slice(&token.0);
        self.block.extend_from_slice(&(length as u32).to_le_bytes());
        for fact in facts {
            self.block.extend_from_slice(fact);
        }
        self.filter.add(key(&token));
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
            tail.extend_from_slice(&first.0);
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
        Ok(Run { meta, path, file, sealer, blocks, end, filter, kinds: None })
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

/// Writes the people of several runs, which come oldest first, as one run.
pub(super) fn merge(dir: &Path, keys: &KeyedHash, id: u64, runs: &[&Run]) -> Result<Run, VaultError> {
    struct Head<'a> {
        token: Token,
        piece: Zeroizing<Vec<u8>>,
        scan: Scan<'a>,
    }
    let mut writer = RunWriter::create(dir, keys, id, runs.iter().map(|run| run.meta.people).sum())?;
    let mut work = || {
        let mut heads = Vec::with_capacity(runs.len());
        for run in runs {
            let (mut scan, mut piece) = (run.scan(), Zeroizing::default());
            if let Some(token) = scan.next(&mut piece)? {
                heads.push(Head { token, piece, scan });
            }
        }
        while let Some(token) = heads.iter().map(|head| head.token).min() {
            {
                let same = heads.iter().filter(|head| head.token == token);
                let pieces: Vec<&[u8]> = same.map(|head| head.piece.as_slice()).collect();
                let mut kept = Vec::new();
                facts::newest(&pieces, &mut kept);
                writer.push(token, &kept)?;
            }
            let mut at = 0;
            while let Some(head) = heads.get_mut(at) {
                if head.token == token {
                    let Some(next) = head.scan.next(&mut head.piece)? else {
                        // Their order is their age.
                        heads.remove(at);
                        continue;
                    };
                    head.token = next;
                }
                at += 1;
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
