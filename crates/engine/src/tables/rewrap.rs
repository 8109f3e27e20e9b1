//! Key material beside parts, under newer master keys.
//!
//! The manifest holds the digest of the data keys and not of the wrapped text, so that re-wrapping is no commit: each file is
//! replaced in one step, what was done stays done when the rest is killed, and readers find their keys all the time.

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

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewrapProgress<'a> {
    pub table: &'a str,
    /// Parts of the table that are done, and how many it has.
    pub done: usize,
    pub parts: usize,
}

impl TableStore {
    /// Wraps the key material of all current parts under the newest master keys, where it stands beside them. Data are not touched.
    /// Killed at any instant, the same call goes on; done again, it changes nothing.
    pub fn rewrap_key_material(&self, progress: &mut dyn FnMut(RewrapProgress<'_>)) -> Result<Rewrapped, EngineError> {
        let mut done = Rewrapped::default();
        self.0.keys.renew_keks();
        for table in self.tables()? {
            // A part that leaves meanwhile would come back as a file without a part.
            let _held = self.0.place.hold(&table)?;
            let Some(version) = self.current(&table)? else { continue };
            let parts = &version.manifest.parts;
            for (index, part) in parts.iter().enumerate() {
                let count = match &part.external_keys {
                    None => &mut done.internal,
                    Some(digest) if self.rewrap_part(&table, part, digest)? => &mut done.rewrapped,
                    Some(_) => &mut done.current,
                };
                *count += 1;
                progress(RewrapProgress { table: &table, done: index + 1, parts: parts.len() });
            }
        }
        Ok(done)
    }

    fn rewrap_part(&self, table: &str, part: &PartInfo, digest: &str) -> Result<bool, EngineError> {
        let damaged = || self.damaged_material(table, part);
        let old = self.0.place.material(table, &part.file)?.ok_or_else(damaged)?;
        let new = match self.0.keys.rewrap(&old, digest) {
            Err(EngineError::KeyMaterial { .. }) => return Err(damaged()),
            new => new?,
        };
        let Some(new) = new else { return Ok(false) };
        let scratch = self.0.staging.join("_rewrap");
        self.0.place.replace_material(table, &part.file, &write_external(&new)?, &scratch)?;
        Ok(true)
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
