//! Which runs there are.
//!
//! ```text
//! magic 8 | version 4 | check of the key 16 | generation 8 | checksum 16
//! sealed body
//! ```

use std::path::Path;

use cordon_crypto::{KeyedHash, Sealer, same_tag};
use zeroize::Zeroizing;

use crate::store::{
    error::VaultError,
    manifest::{Fields, checksum, replace},
};

const FILE: &str = "MANIFEST";
const MAGIC: [u8; 8] = *b"CORDDOSM";
/// Version 1 had no keys for single people.
const VERSION: u32 = 2;
const HEAD: usize = 52;

#[derive(Clone)]
pub(super) struct Manifest {
    /// Random, for one store.
    pub store: [u8; 16],
    pub generation: u64,
    pub next_run: u64,
    /// The oldest first.
    pub runs: Vec<RunMeta>,
}

#[derive(Clone, Copy)]
pub(super) struct RunMeta {
    pub id: u64,
    /// People in it.
    pub people: u64,
    /// Of the whole file.
    pub bytes: u64,
}

impl Manifest {
    pub fn new(store: [u8; 16]) -> Self {
        Self { store, generation: 0, next_run: 1, runs: Vec::new() }
    }

    pub fn exists(dir: &Path) -> Result<bool, VaultError> {
        let path = dir.join(FILE);
        path.try_exists().map_err(VaultError::io("look for", &path))
    }

    /// Changes whenever a process writes the manifest.
    pub fn generation(dir: &Path) -> Result<u64, VaultError> {
        read(dir).map(|(_, generation, _)| generation)
    }

    pub fn load(dir: &Path, keys: &KeyedHash) -> Result<Self, VaultError> {
        let (head, generation, body) = read(dir)?;
        if !head.get(12..28).is_some_and(|found| same_tag(found, &check(keys))) {
            return Err(VaultError::OtherVault { dir: dir.to_owned() });
        }
        let body = sealer(keys).open(&head, &body).ok();
        body.and_then(|body| Self::decode(generation, &body))
            .ok_or_else(|| VaultError::damaged(&dir.join(FILE), HEAD as u64, "the manifest is not authentic"))
    }

    /// Replaces the manifest on disk by this one, which becomes the next generation.
    pub fn store(&mut self, dir: &Path, keys: &KeyedHash) -> Result<(), VaultError> {
        let generation = self.generation + 1;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&check(keys));
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&checksum(&bytes));
        let mut body = Vec::new();
        body.extend_from_slice(&self.store);
        body.extend_from_slice(&self.next_run.to_le_bytes());
        body.extend_from_slice(&(self.runs.len() as u32).to_le_bytes());
        for run in &self.runs {
            body.extend([run.id, run.people, run.bytes].iter().flat_map(|n| n.to_le_bytes()));
        }
        let sealed = sealer(keys).seal(&bytes, &body)?;
        bytes.extend_from_slice(&sealed);
        replace(dir, FILE, &bytes)?;
        self.generation = generation;
        Ok(())
    }

    fn decode(generation: u64, body: &[u8]) -> Option<Self> {
        let mut from = Fields(body);
        let (store, next_run) = (from.array()?, from.u64()?);
        let mut runs = Vec::new();
        for _ in 0..from.u32()? {
            runs.push(RunMeta { id: from.u64()?, people: from.u64()?, bytes: from.u64()? });
        }
        from.0.is_empty().then_some(Self { store, generation, next_run, runs })
    }
}

fn sealer(keys: &KeyedHash) -> Sealer {
    Sealer::new(&Zeroizing::new(keys.derive("manifest").tag(&[])))
}

fn check(keys: &KeyedHash) -> [u8; 16] {
    keys.derive("key check").tag128(&[])
}

/// Head, generation and sealed body.
fn read(dir: &Path) -> Result<(Vec<u8>, u64, Vec<u8>), VaultError> {
    let path = dir.join(FILE);
    let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => VaultError::damaged(&path, 0, "the file is missing"),
        _ => VaultError::io("read", &path)(error),
    })?;
    let parse = || {
        let mut from = Fields(&bytes);
        let (magic, version) = (from.array::<8>()?, from.u32()?);
        let _check = from.array::<16>()?;
        let generation = from.u64()?;
        let sum = checksum(bytes.get(..HEAD - 16)?);
        (magic == MAGIC && from.array()? == sum).then_some((version, generation))
    };
    match parse() {
        Some((VERSION, generation)) => {
            let (head, body) = bytes.split_at_checked(HEAD).unwrap_or((&bytes, &[]));
            Ok((head.to_vec(), generation, body.to_vec()))
        }
        Some((found, _)) => Err(VaultError::Version { dir: dir.to_owned(), found, known: VERSION }),
        None => Err(VaultError::damaged(&path, 0, "the manifest's head has a wrong checksum")),
    }
}
