//! What happened, provably: an append-only log of typed events (audit controls, 164.312(b)).
//!
//! This crate exists so that "no row before its record" can be kept: [`AuditLog::append`] returns after the entry is on
//! stable storage, and fails otherwise. Entries are linked by SHA-256, signed with Ed25519 and sealed with
//! AES-256-GCM; hash and signature are over the sealed bytes, so that [`verify_public`] proves the log whole with
//! nothing but the public key. It refuses to hold values: an [`Event`] has names, counts, hashes and keyed tags, and
//! no field that takes a cell. It refuses to go on after evidence of tampering.
//!
//! ```
//! use cordon_audit::{Anchor, AuditLog, Event, Filter, WriterInfo, verify_public};
//! use cordon_crypto::{AuditSealKey, SigningKey};
//!
//! # let dir = tempfile::tempdir()?;
//! let sign = SigningKey::from_seed(AuditSealKey::generate().dangerous_expose());
//! let public = sign.verifying_key();
//! let log = AuditLog::open(dir.path(), AuditSealKey::generate(), sign, WriterInfo::for_user("ada"))?;
//! let receipt = log.append(&Event::ProjectInitialised { project: "clinic".into() })?; // durable from here on
//!
//! let report = verify_public(dir.path(), public, &[Anchor::from(receipt)])?;
//! assert!(report.is_intact());
//! let entry = log.list(Filter::default())?.next().expect("the entry")?;
//! assert_eq!(entry.event.kind(), "project_initialised");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # On disk
//!
//! Integers are big-endian. `audit-00000001.log`, `audit-00000002.log` … hold a header and frames:
//!
//! | header | bytes | | frame | bytes |
//! |---|---|---|---|---|
//! | magic `CORDAUD2` | 8 | | length of the sealed entry | 4 |
//! | log id | 16 | | seq, from 1 | 8 |
//! | segment number, from 1 | 4 | | sealed entry: nonce ‖ AES-256-GCM(JSON, aad = seq ‖ prev) ‖ tag | length |
//! | seq of the first entry | 8 | | entry hash | 32 |
//! | hash of the entry before (or genesis) | 32 | | Ed25519 over the entry hash | 64 |
//! | version of the seal key | 4 | | | |
//! | verifying key of the segment | 32 | | | |
//! | verifying key of the segment before (or its own) | 32 | | | |
//! | Ed25519 over all of the above by the key before | 64 | | | |
//! | Ed25519 over the same by the segment's key | 64 | | | |
//!
//! New keys begin a new segment. The key before signs that they are the log's, and the new one signs the hash of the last entry, which
//! pins all entries before: any one of the log's verifying keys proves it whole. The head is signed by the key of the
//! segment that it names.
//!
//! entry hash = SHA-256(`cordon audit entry v1\0` ‖ prev ‖ seq ‖ length ‖ sealed entry);
//! genesis = SHA-256(`cordon audit genesis v1\0` ‖ log id).
//!
//! `head` says how long the log is: magic `CORDHED1`, log id, segment, start and end offset of the last entry, its seq
//! and hash, and a signature over them. It is replaced atomically after each append and before the append returns, so
//! it may lag by the entries that were being written when the machine stopped, which are 64 at most: what several threads
//! append at one time reaches the disk together. It never runs ahead. Whoever can
//! put back an old copy of the whole directory can put back an old head too: that is what [`Anchor`]s, kept in other
//! files, are for.
//!
//! `torn-…` files hold the sealed bytes of appends that were cut off; each has its entry in the log. `lock` is empty.

mod chain;
mod clock;
mod digest;
mod dir;
mod entry;
mod error;
mod event;
mod frame;
mod head;
mod list;
mod log;
mod statement;
mod tag;
mod verify;

pub use clock::{Clock, SystemClock};
pub use digest::Digest;
pub use entry::{Entry, Principal, Record, WriterInfo};
pub use error::AuditError;
pub use event::{
    Crosswalk, DatasetAccess, DeniedToo, Event, KeyOperationKind, Label, Outcome, RequestedAct, ReviewOutcome, Sources,
    StoreUse, WithheldGroups,
};
pub use list::{AuditReader, Entries, Filter};
pub use log::{AuditLog, Options, Receipt};
pub use statement::Statement;
pub use tag::{Tag, Tagger};
pub use verify::{Anchor, Finding, FindingKind, VerifyReport, verify_public};
