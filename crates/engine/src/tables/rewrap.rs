//! Key material beside parts, under newer master keys.
//!
//! The manifest holds the digest of the data keys and not of the wrapped text, so that re-wrapping is no commit: each file is
//! replaced in one step, what was done stays done when the rest is killed, and readers find their keys all the time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::place::{read_material, remove_scratch, replace_file};
use super::{DATA, PartInfo, TableStore};
use crate::errors::EngineError;
use crate::keytools::{material_name, write_external};

/// What [`TableStore::rewrap_key_material`] came to, in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Wrapped anew.
    pub rewrapped: u64,
    /// Under the newest master keys already.
    pub current: u64,
    /// With their material inside: only writing them again changes its master keys.
    pub internal: u64,
}

impl Rewrapped {
    pub fn add(&mut self, other: Self) {
        self.rewrapped += other.rewrapped;
        self.current += other.current;
        self.internal += other.internal;
    }

    fn count(&mut self, rewrapped: Option<bool>) {
        match rewrapped {
            Some(true) => self.rewrapped += 1,
            Some(false) => self.current += 1,
            None => {}
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewrapProgress<'a> {
    pub table: &'a str,
    /// Parts of the table that are done, and how many it has.
    pub done: usize,
    pub parts: usize,
}

impl TableStore {
    /// Wraps the key material of all parts under the newest master keys, where it stands beside them; also of parts that left the table
    /// and whose files are still there. Data are not touched. Killed at any instant, the same call goes on; done again, it changes
    /// nothing. One at a time, of all processes.
    pub fn rewrap_key_material(&self, progress: &mut dyn FnMut(RewrapProgress<'_>)) -> Result<Rewrapped, EngineError> {
        let mut done = Rewrapped::default();
        self.0.keys.renew_keks();
        remove_scratch(&self.scratch())?;
        for table in self.tables()? {
            // A part that leaves meanwhile would come back as a file without a part.
            let _held = self.0.place.hold(&table)?;
            let parts = self.parts_there(&table)?;
            for (index, part) in parts.iter().enumerate() {
                match &part.external_keys {
                    None => done.internal += 1,
                    Some(digest) => done.count(self.rewrap_part(&table, part, digest)?),
                }
                progress(RewrapProgress { table: &table, done: index + 1, parts: parts.len() });
            }
        }
        Ok(done)
    }

    /// The same for a part that waits to be committed. Its run must not be going on.
    pub fn rewrap_staged(&self, table: &str, part: &PartInfo) -> Result<Rewrapped, EngineError> {
        let mut done = Rewrapped::default();
        let Some(digest) = &part.external_keys else { return Ok(done) };
        let path = self.staged_part(table, part).with_file_name(material_name(&part.file));
        if let Some(old) = read_material(&path)? {
            let damaged = || EngineError::Damaged { what: "external key material", path: path.clone() };
            let new = self.renewed(&old, digest, damaged)?;
            if let Some(new) = &new {
                replace_file(&path, &write_external(new)?)?;
            }
            done.count(Some(new.is_some()));
        }
        // A commit that was cut off may have brought it into the table already.
        if self.0.place.material(table, &part.file)?.is_some() {
            done.count(self.rewrap_part(table, part, digest)?);
        }
        Ok(done)
    }

    /// Whether it was wrapped anew; `None` where the part is gone by now.
    fn rewrap_part(&self, table: &str, part: &PartInfo, digest: &str) -> Result<Option<bool>, EngineError> {
        let damaged = || self.damaged_material(table, part);
        let Some(old) = self.0.place.material(table, &part.file)? else {
            return if self.0.place.part_len(table, &part.file)?.is_none() { Ok(None) } else { Err(damaged()) };
        };
        let Some(new) = self.renewed(&old, digest, damaged)? else { return Ok(Some(false)) };
        self.0.place.replace_material(table, &part.file, &write_external(&new)?, &self.scratch())?;
        Ok(Some(true))
    }

    fn renewed(
        &self,
        old: &BTreeMap<String, String>,
        digest: &str,
        damaged: impl Fn() -> EngineError,
    ) -> Result<Option<BTreeMap<String, String>>, EngineError> {
        match self.0.keys.rewrap(old, digest) {
            Err(EngineError::KeyMaterial { .. }) => Err(damaged()),
            new => new,
        }
    }

    fn scratch(&self) -> PathBuf {
        self.0.staging.join("_rewrap")
    }

    pub(super) fn check_material(&self, table: &str, part: &PartInfo) -> Result<(), EngineError> {
        let Some(digest) = &part.external_keys else { return Ok(()) };
        let damaged = || self.damaged_material(table, part);
        let external = self.0.place.material(table, &part.file)?.ok_or_else(damaged)?;
        match self.0.keys.digest_of(&external) {
            Ok(found) if found == *digest => Ok(()),
            Ok(_) | Err(EngineError::KeyMaterial { .. }) => Err(damaged()),
            Err(error) => Err(error),
        }
    }

    fn damaged_material(&self, table: &str, part: &PartInfo) -> EngineError {
        let path = self.0.place.shown(table, DATA, &material_name(&part.file));
        EngineError::Damaged { what: "external key material", path }
    }
}
