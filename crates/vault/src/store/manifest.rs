//! Which runs stand for which part of the log, and up to where the log is known to be on disk.
//!
//! ```text
//! magic 8 | version 4 | vault id 16 | check of the blind-index key 16 | check of the vault key 16 | generation 8 | checksum 16
//! sealed body
//! ```
//!
//! One small file that is only ever replaced as a whole (write, fsync, rename, fsync of the directory). The clear head
//! tells a wrong key from damage before anything is opened with it.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use cordon_crypto::{KeyedHash, Sealer, same_tag};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{error::VaultError, frame::Position, log::Log};

const FILE: &str = "MANIFEST";
const MAGIC: [u8; 8] = *b"CORDVLTM";
/// Versions 1 and 2 had no keys for single people.
const VERSION: u32 = 3;
const HEAD: usize = 84;

#[derive(Clone)]
pub(super) struct Manifest {
    pub vault: [u8; 16],
    pub generation: u64,
    pub next_run: u64,
    /// What is before this place was on disk (fdatasync) when the manifest was written.
    pub synced: Position,
    /// The same for the merges.
    pub merged: Position,
    /// Which subject keys the vault belongs to, and the newest epoch of them that it saw.
    pub subjects: [u8; 16],
    pub epoch: u64,
    /// No slot from here on was in use.
    pub floor: u64,
    /// Lengths of the segments before the one that [`Self::covered`] is in.
    pub closed: Vec<u32>,
    /// In the order of the log, without gaps.
    pub runs: Vec<RunMeta>,
    /// Where the logs ended under each of the keys before, the oldest first.
    pub ancestors: Vec<Ancestor>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Ancestor {
    pub end: Position,
    pub merged: Position,
}

#[derive(Clone)]
pub(super) struct RunMeta {
    pub id: u64,
    /// In the file. Fewer than in its part of the log where some were destroyed before it was written.
    pub entries: u64,
    pub level: u32,
    pub from: Position,
    pub to: Position,
    /// Tokens that its part of the log holds, the destroyed ones included.
    pub domains: BTreeMap<String, u64>,
}

/// The hashes that a vault's keys become.
pub(super) struct Keys {
    pub blind: KeyedHash,
    /// The vault key, bound to one vault.
    pub values: KeyedHash,
}

impl Keys {
    pub fn bind(keys: &super::VaultKeys, vault: &[u8; 16]) -> Self {
        let values = KeyedHash::for_key(&keys.values).derive("cordon vault v1").derive(&HEXLOWER.encode(vault));
        Self { blind: KeyedHash::for_key(&keys.blind), values }
    }

    /// What tombstones, and places in dossiers, are made with.
    pub fn people(&self) -> KeyedHash {
        self.values.derive("people v1")
    }

    /// Whether the vault in `dir` says that it is under these keys.
    pub fn are_those_of(&self, dir: &Path) -> Result<bool, VaultError> {
        let (_, head) = read_head(dir)?;
        let [blind, values] = self.checks(&head.vault);
        Ok(same_tag(&head.blind, &blind) && same_tag(&head.values, &values))
    }

    fn checks(&self, vault: &[u8; 16]) -> [[u8; 16]; 2] {
        // A label that no domain can have: a domain's name is at least one byte and its hash derived from it alone.
        [&self.blind, &self.values].map(|hash| hash.derive("").derive("key check").tag128(vault))
    }

    fn sealer(&self) -> Sealer {
        Sealer::new(&Zeroizing::new(self.values.derive("manifest").tag(&[])))
    }
}

/// Where the index ends and the table in memory begins.
impl Manifest {
    pub fn new(vault: [u8; 16], subjects: [u8; 16]) -> Self {
        let (synced, merged) = (Log::START, Log::START);
        let (closed, runs, ancestors) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            vault,
            generation: 0,
            next_run: 1,
            synced,
            merged,
            subjects,
            epoch: 0,
            floor: 0,
            closed,
            runs,
            ancestors,
        }
    }

    pub fn covered(&self) -> Position {
        self.runs.last().map_or(Log::START, |run| run.to)
    }

    /// Tokens in the runs, by domain.
    pub fn domains(&self) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        for (domain, count) in self.runs.iter().flat_map(|run| &run.domains) {
            *sum.entry(domain.clone()).or_default() += count;
        }
        sum
    }

    pub fn exists(dir: &Path) -> Result<bool, VaultError> {
        path(dir).try_exists().map_err(VaultError::io("look for", &path(dir)))
    }

    /// The vault's id, needed before its keys can be bound.
    pub fn vault_id(dir: &Path) -> Result<[u8; 16], VaultError> {
        read_head(dir).map(|(_, head)| head.vault)
    }

    /// Changes whenever a process writes the manifest.
    pub fn generation(dir: &Path) -> Result<u64, VaultError> {
        read_head(dir).map(|(_, head)| head.generation)
    }

    pub fn load(dir: &Path, keys: &Keys) -> Result<Self, VaultError> {
        let path = path(dir);
        let (mut file, head) = read_head(dir)?;
        let [blind, values] = keys.checks(&head.vault);
        for (which, found, expected) in [("vault", head.values, values), ("blind-index", head.blind, blind)] {
            if !same_tag(&found, &expected) {
                return Err(VaultError::WrongKey { which, dir: dir.to_owned() });
            }
        }
        let mut body = Vec::new();
        file.read_to_end(&mut body).map_err(VaultError::io("read", &path))?;
        let body = keys.sealer().open(&head.bytes, &body).ok();
        body.and_then(|body| Self::decode(head.vault, head.generation, &body))
            .ok_or_else(|| VaultError::damaged(&path, HEAD as u64, "the manifest is not authentic"))
    }

    /// Replaces the manifest on disk by this one, which becomes the next generation.
    pub fn store(&mut self, dir: &Path, keys: &Keys) -> Result<(), VaultError> {
        let generation = self.generation + 1;
        let [blind, values] = keys.checks(&self.vault);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.vault);
        bytes.extend_from_slice(&blind);
        bytes.extend_from_slice(&values);
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&checksum(&bytes));
        let sealed = keys.sealer().seal(&bytes, &self.encode())?;
        bytes.extend_from_slice(&sealed);

        replace(dir, FILE, &bytes)?;
        self.generation = generation;
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.next_run.to_le_bytes());
        put_position(&mut out, &self.synced);
        out.extend_from_slice(&(self.closed.len() as u32).to_le_bytes());
        out.extend(self.closed.iter().flat_map(|length| length.to_le_bytes()));
        out.extend_from_slice(&(self.runs.len() as u32).to_le_bytes());
        for run in &self.runs {
            out.extend_from_slice(&run.id.to_le_bytes());
            out.extend_from_slice(&run.entries.to_le_bytes());
            out.extend_from_slice(&run.level.to_le_bytes());
            put_position(&mut out, &run.from);
            put_position(&mut out, &run.to);
            out.extend_from_slice(&(run.domains.len() as u32).to_le_bytes());
            for (domain, count) in &run.domains {
                out.extend_from_slice(&(domain.len() as u32).to_le_bytes());
                out.extend_from_slice(domain.as_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
        put_position(&mut out, &self.merged);
        out.extend_from_slice(&self.subjects);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.floor.to_le_bytes());
        // A vault whose keys were never changed says nothing of it.
        if !self.ancestors.is_empty() {
            out.extend_from_slice(&(self.ancestors.len() as u32).to_le_bytes());
            for ancestor in &self.ancestors {
                put_position(&mut out, &ancestor.end);
                put_position(&mut out, &ancestor.merged);
            }
        }
        out
    }

    fn decode(vault: [u8; 16], generation: u64, body: &[u8]) -> Option<Self> {
        let mut from = Fields(body);
        let next_run = from.u64()?;
        let synced = from.position()?;
        let closed = (0..from.u32()?).map(|_| from.u32()).collect::<Option<_>>()?;
        let mut runs = Vec::new();
        for _ in 0..from.u32()? {
            let (id, entries, level) = (from.u64()?, from.u64()?, from.u32()?);
            let (start, to) = (from.position()?, from.position()?);
            let mut domains = BTreeMap::new();
            for _ in 0..from.u32()? {
                let length = from.u32()? as usize;
                let name = String::from_utf8(from.bytes(length)?.to_vec()).ok()?;
                domains.insert(name, from.u64()?);
            }
            runs.push(RunMeta { id, entries, level, from: start, to, domains });
        }
        let merged = from.position()?;
        let (subjects, epoch, floor) = (from.array()?, from.u64()?, from.u64()?);
        let mut ancestors = Vec::new();
        if !from.0.is_empty() {
            for _ in 0..from.u32()? {
                ancestors.push(Ancestor { end: from.position()?, merged: from.position()? });
            }
        }
        let manifest =
            Self { vault, generation, next_run, synced, merged, subjects, epoch, floor, closed, runs, ancestors };
        from.0.is_empty().then_some(manifest)
    }
}

/// Puts a file in the place of the one of that name, on disk before this returns; a crash leaves the one or the other.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
    let (path, temporary) = (dir.join(name), dir.join(format!("{name}.tmp")));
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(VaultError::io("write", &path))
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

struct Head {
    bytes: [u8; HEAD],
    version: u32,
    vault: [u8; 16],
    blind: [u8; 16],
    values: [u8; 16],
    generation: u64,
}

fn read_head(dir: &Path) -> Result<(File, Head), VaultError> {
    let path = path(dir);
    let mut file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => VaultError::damaged(&path, 0, "the file is missing"),
        _ => VaultError::io("open", &path)(error),
    })?;
    let mut bytes = [0; HEAD];
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(VaultError::damaged(&path, 0, "the manifest is cut short"));
        }
        other => other.map_err(VaultError::io("read", &path))?,
    }
    let mut from = Fields(&bytes);
    let parse = |from: &mut Fields<'_>| {
        let (magic, version, vault) = (from.array::<8>()?, from.u32()?, from.array()?);
        let head = Head { bytes, version, vault, blind: from.array()?, values: from.array()?, generation: from.u64()? };
        let sum = checksum(bytes.get(..HEAD - 16)?);
        (magic == MAGIC && from.array()? == sum).then_some(head)
    };
    match parse(&mut from) {
        Some(head) if head.version == VERSION => Ok((file, head)),
        Some(head) => Err(VaultError::Version { dir: dir.to_owned(), found: head.version, known: VERSION }),
        None => Err(VaultError::damaged(&path, 0, "the manifest's head has a wrong checksum")),
    }
}

/// Not a secret: only tells damage from a wrong key.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 16] {
    KeyedHash::new(&[0; 32]).tag128(bytes)
}

fn put_position(out: &mut Vec<u8>, at: &Position) {
    out.extend_from_slice(&at.segment.to_le_bytes());
    out.extend_from_slice(&at.offset.to_le_bytes());
    out.extend_from_slice(&at.sequence.to_le_bytes());
    out.extend_from_slice(&at.tag);
}

pub(crate) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.first_chunk().copied()
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position { segment: self.u32()?, offset: self.u32()?, sequence: self.u64()?, tag: self.array()? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_manifest_comes_back_whole_or_not_at_all() {
        let merged = Position { segment: 1, offset: 200, sequence: 3, tag: [7; 16] };
        let manifest = Manifest { next_run: 5, merged, epoch: 8, floor: 9, ..Manifest::new([1; 16], [2; 16]) };
        let body = manifest.encode();
        let back = Manifest::decode([1; 16], 9, &body).unwrap();
        assert!(back.merged == merged && back.next_run == 5 && back.subjects == [2; 16]);
        assert!(back.epoch == 8 && back.floor == 9);
        assert!((0..body.len()).all(|cut| Manifest::decode([1; 16], 9, &body[..cut]).is_none()));

        let ancestor = Ancestor { end: merged, merged: Log::START };
        let body = Manifest { ancestors: vec![ancestor; 2], ..manifest }.encode();
        assert!(Manifest::decode([1; 16], 9, &body).unwrap().ancestors == [ancestor; 2]);
        assert!(Manifest::decode([1; 16], 9, &body[..body.len() - 1]).is_none());
    }
}
