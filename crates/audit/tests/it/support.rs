//! Logs to break, and the layout of their files as an outsider knows it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use cordon_audit::{
    Anchor, AuditError, AuditLog, Clock, Event, Options, Receipt, VerifyReport, WriterInfo, verify_public,
};
use cordon_crypto::{AuditSealKey, SigningKey, VerifyingKey};
use tempfile::TempDir;

pub const HEADER: usize = 264;
pub const CANARY: &str = "Wilhelmina-Canary-123-45-6789";

pub fn sign() -> SigningKey {
    SigningKey::from_seed(&[5; 32])
}

pub fn public() -> VerifyingKey {
    sign().verifying_key()
}

pub fn seal() -> AuditSealKey {
    AuditSealKey::from_bytes([6; 32])
}

/// One second later at every look.
pub struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0.fetch_add(1, Ordering::SeqCst), 0).unwrap()
    }
}

pub fn ticking() -> Arc<Ticking> {
    Arc::new(Ticking(AtomicI64::new(1_800_000_000)))
}

pub fn open(dir: &Path) -> Result<AuditLog, AuditError> {
    open_sized(dir, 64 << 20)
}

pub fn open_sized(dir: &Path, segment_bytes: u64) -> Result<AuditLog, AuditError> {
    let options = Options { segment_bytes, clock: ticking() };
    AuditLog::open_with(dir, seal(), sign(), WriterInfo::for_user("ada"), options)
}

pub fn event(number: u64) -> Event {
    Event::QueryFinished { query: format!("q{number}"), rows: number, withheld: None }
}

/// A log with `entries` entries, `per_segment` to a file.
pub fn log_of(entries: u64, per_segment: Option<usize>) -> (TempDir, Vec<Receipt>) {
    let dir = tempfile::tempdir().unwrap();
    let receipts = fill(dir.path(), entries, per_segment);
    (dir, receipts)
}

pub fn fill(dir: &Path, entries: u64, per_segment: Option<usize>) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    let mut log = open(dir).unwrap();
    for number in 1..=entries {
        receipts.push(log.append(&event(number)).unwrap());
        if number == 1
            && let Some(per_segment) = per_segment
        {
            // The first frame tells how long a frame is; the others differ by some bytes at most.
            let frame = fs::metadata(segment(dir, 1)).unwrap().len() as usize - HEADER;
            log = open_sized(dir, (HEADER + per_segment * frame + frame / 2) as u64).unwrap();
        }
    }
    receipts
}

pub fn verify(dir: &Path) -> VerifyReport {
    verify_public(dir, public(), &[]).unwrap()
}

pub fn verify_with(dir: &Path, receipts: &[Receipt]) -> VerifyReport {
    let anchors: Vec<Anchor> = receipts.iter().copied().map(Anchor::from).collect();
    verify_public(dir, public(), &anchors).unwrap()
}

pub fn segment(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("audit-{number:08}.log"))
}

pub fn segments(dir: &Path) -> Vec<PathBuf> {
    (1..1_000).map(|number| segment(dir, number)).take_while(|path| path.exists()).collect()
}

pub fn copy(dir: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

/// Header and frames of a segment file.
pub fn cut(path: &Path) -> (Vec<u8>, Vec<Vec<u8>>) {
    let bytes = fs::read(path).unwrap();
    let (header, mut rest) = bytes.split_at(HEADER);
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let sealed = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let (frame, more) = rest.split_at(4 + 8 + sealed + 32 + 64);
        frames.push(frame.to_vec());
        rest = more;
    }
    (header.to_vec(), frames)
}

pub fn join(path: &Path, header: &[u8], frames: &[Vec<u8>]) {
    fs::write(path, [header, &frames.concat()].concat()).unwrap();
}
