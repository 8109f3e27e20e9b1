//! One record: what happened, when, by whom, and its place in the chain.

use chrono::{DateTime, Utc};
use cordon_crypto::Sealer;
use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::{AuditError, Digest, Event, clock};

/// Who and where the writing process is (164.312(a)(2)(i)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// As signed in to Cordon.
    pub user: String,
    /// As the operating system knows it: `name(uid)`.
    pub os_user: String,
    pub host: String,
    pub pid: u32,
}

/// What every entry of one writer has in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterInfo {
    pub principal: Principal,
    /// The version of Cordon.
    pub cordon: String,
}

impl WriterInfo {
    /// This process, for a user who has signed in. The system's user comes from the kernel, not from the environment.
    pub fn for_user(user: &str) -> Self {
        let uid = rustix::process::getuid().as_raw();
        let name = std::fs::read_to_string("/etc/passwd").ok().and_then(|text| name_of(&text, uid));
        let principal = Principal {
            user: user.to_owned(),
            os_user: name.map_or_else(|| format!("({uid})"), |name| format!("{name}({uid})")),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
        };
        Self { principal, cordon: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// A record as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    #[serde(flatten)]
    pub record: Record,
    /// The entry's own hash: what a receipt and an anchor hold.
    pub hash: Digest,
}

/// A record as it is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub seq: u64,
    #[serde(with = "clock::rfc3339")]
    pub time: DateTime<Utc>,
    #[serde(flatten)]
    pub writer: WriterInfo,
    /// Hash of the entry before.
    pub prev: Digest,
    pub event: Event,
}

impl std::ops::Deref for Entry {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Entry {
    /// Opens a frame. `prev` is the hash of the frame before it on disk, which the seal is bound to.
    pub(crate) fn open(frame: &Frame, prev: &Digest, sealer: &Sealer) -> Result<Self, AuditError> {
        let damaged = |_| AuditError::Entry { seq: frame.seq };
        let plain = sealer.open(&aad(frame.seq, prev), &frame.sealed).map_err(damaged)?;
        let record: Record = serde_json::from_slice(&plain).map_err(|_| AuditError::Entry { seq: frame.seq })?;
        if record.seq != frame.seq || record.prev != *prev {
            return Err(AuditError::Entry { seq: frame.seq });
        }
        Ok(Self { record, hash: frame.hash })
    }
}

impl Record {
    pub(crate) fn seal(&self, sealer: &Sealer) -> Result<Vec<u8>, AuditError> {
        let plain = serde_json::to_vec(self).map_err(|_| AuditError::Entry { seq: self.seq })?;
        Ok(sealer.seal(&aad(self.seq, &self.prev), &plain)?)
    }
}

fn aad(seq: u64, prev: &Digest) -> Vec<u8> {
    [seq.to_be_bytes().as_slice(), &prev.0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_user_is_looked_up_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbroken\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("ada"));
        assert_eq!(name_of(passwd, 7), None);
        assert_eq!(WriterInfo::for_user("ada").principal.pid, std::process::id());
    }
}
