//! Whose log it is, over changes of keys: each segment names its key and the one before, and both sign that.
//!
//! From one key that is believed the others follow. Forwards, because the key before signed the segment's header. Backwards,
//! because the header names the key before, and pins by its hash every entry that came before it.

use std::collections::BTreeMap;
use std::fs::File;

use cordon_crypto::VerifyingKey;

use crate::AuditError;
use crate::dir::{Dir, segment_name};
use crate::frame::Header;

/// The headers that can be believed, by segment.
pub(crate) struct Chain {
    headers: BTreeMap<u32, Header>,
    trusted: Vec<VerifyingKey>,
}

impl Chain {
    pub(crate) fn read(dir: &Dir, segments: &[(u32, u64)], trusted: &[VerifyingKey]) -> Result<Self, AuditError> {
        let mut headers = Vec::new();
        for (segment, _) in segments {
            let name = segment_name(*segment);
            let mut file = File::open(dir.file(&name)).map_err(AuditError::io("open", &name))?;
            let header = Header::read(&mut file).map_err(AuditError::io("read", &name))?;
            headers.extend(header.filter(|header| header.segment == *segment));
        }
        let mut believed: Vec<bool> = headers.iter().map(|header| trusted.contains(&header.key)).collect();
        let follows = |at: usize| match (at.checked_sub(1).and_then(|at| headers.get(at)), headers.get(at)) {
            (Some(before), Some(header)) => header.key_before == before.key,
            _ => false,
        };
        for at in 1..headers.len() {
            if believed.get(at - 1) == Some(&true) && follows(at) {
                believed.iter_mut().skip(at).take(1).for_each(|one| *one = true);
            }
        }
        for at in (1..headers.len()).rev() {
            if believed.get(at) == Some(&true) && follows(at) {
                believed.iter_mut().skip(at - 1).take(1).for_each(|one| *one = true);
            }
        }
        let believed = headers.into_iter().zip(believed).filter(|(_, believed)| *believed);
        let headers = believed.map(|(header, _)| (header.segment, header)).collect();
        Ok(Self { headers, trusted: trusted.to_vec() })
    }

    pub(crate) fn get(&self, segment: u32) -> Option<&Header> {
        self.headers.get(&segment)
    }

    /// The key under which the log goes on.
    pub(crate) fn last_key(&self) -> Option<VerifyingKey> {
        self.headers.values().next_back().map(|header| header.key)
    }

    /// The keys that may have signed what belongs to a segment: of one whose header is gone, any that is believed.
    pub(crate) fn keys_of(&self, segment: u32) -> Vec<VerifyingKey> {
        match self.get(segment) {
            Some(header) => vec![header.key],
            None => self.headers.values().map(|header| header.key).chain(self.trusted.iter().copied()).collect(),
        }
    }

    /// The key to check a segment's entries with.
    pub(crate) fn key_of(&self, segment: u32) -> Option<VerifyingKey> {
        let nearest = self.headers.range(..=segment).next_back().map(|(_, header)| header.key);
        nearest.or_else(|| self.trusted.first().copied())
    }
}
