//! What follows from the audit log and from nothing else.
//!
//! The sealed file beside it only saves reading the log from its beginning; where it is missing, older, or of another log, more is read.
//! So no file can be edited, removed or put back to change it; a log that was cut is refused by whatever opens it.

use cordon_audit::{Anchor, Entry, Filter};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::project::OpenProject;
use crate::sealed::{read_sealed, write_sealed};

/// So many entries are worth being remembered.
const WORTH: u64 = 256;

/// A state that entries change one after the other.
pub(crate) trait FromLog: Clone + Default + Serialize + DeserializeOwned {
    /// Where it is remembered, among the project's state.
    const FILE: &'static str;

    /// Whether the entry was about it.
    fn apply(&mut self, entry: &Entry) -> bool;
}

/// What of the log has been read before.
#[derive(Serialize, Deserialize)]
struct Known<T> {
    upto: Anchor,
    state: T,
}

impl OpenProject {
    /// As the log says it now.
    pub(crate) fn read_from_log<T: FromLog>(&self) -> Result<T, RunError> {
        let path = self.root.join(&self.project.file.storage.state).join(T::FILE);
        let known = match read_sealed::<Known<T>>(&path, &self.seal_key()?) {
            Ok(Some(known)) if self.leads_on(known.upto)? => Some(known),
            _ => None,
        };
        let (mut state, from) = known.map_or_else(Default::default, |known| (known.state, known.upto.seq));
        let (mut upto, mut told) = (None, false);
        for entry in self.audit_log().list(Filter { after: (from > 0).then_some(from), ..Filter::default() })? {
            let entry = entry?;
            upto = Some(Anchor { seq: entry.seq, hash: entry.hash });
            told |= state.apply(&entry);
        }
        if let Some(upto) = upto.filter(|upto| told || upto.seq >= from + WORTH) {
            // Without it more is read the next time.
            let _ = write_sealed(&path, &self.seal_key()?, &Known { upto, state: state.clone() });
        }
        Ok(state)
    }

    /// Whether the log goes on from here.
    fn leads_on(&self, upto: Anchor) -> Result<bool, RunError> {
        let head = self.audit_log().head()?;
        if upto.seq == head.seq {
            return Ok(upto.hash == head.hash);
        }
        let mut next = self.audit_log().list(Filter { after: Some(upto.seq), ..Filter::default() })?;
        Ok(next.next().transpose()?.is_some_and(|entry| entry.prev == upto.hash))
    }
}
