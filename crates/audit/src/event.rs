//! What can happen. Text, listings and reports derive from these, never the other way round.
//!
//! No field takes a value of a row: names of things, counts, [`Digest`]s of what is public, [`Tag`]s of what is not,
//! [`Label`]s that only the program's own text can fill. `reason` is what a person typed to justify an access.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use cordon_access::{Purpose, Reason};
use serde::{Deserialize, Serialize};

use crate::{Digest, Statement, Tag};

/// A word of the program, such as the kind of an error; it cannot be made from data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(Cow<'static, str>);

impl Label {
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Label {
    fn from(text: &'static str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a run read. File names can hold names of people, so they are tagged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    pub count: u64,
    pub ids: Vec<Tag>,
}

/// One dataset that a query reads, what it could see there and what allowed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetAccess {
    pub dataset: String,
    pub columns: Vec<String>,
    pub why: Vec<Reason>,
}

/// One dataset more that a question asked for and was not given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedToo {
    pub dataset: String,
    pub columns: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOperationKind {
    Created,
    Rotated,
    /// What stood under older versions was sealed again under the newest.
    Resealed,
    /// Data keys that stood under older master keys were wrapped again under the newest; the data stayed.
    Rewrapped,
    /// Old versions were removed, as nothing stood under them any more.
    Retired,
    /// The keys stayed, the secret that wraps them changed.
    RootRotated,
    Exported,
    Imported,
    Destroyed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreUse {
    Wrapped,
    Unwrapped,
}

/// What a request that takes two persons asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestedAct {
    /// Turn tokens back into what they stand for.
    Reveal,
    /// Destroy what stands behind a token.
    Shred,
    /// Tell which tokens of one recipient are which of another.
    Translate,
}

/// Whose tokens a crosswalk leads from and to, and how many were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crosswalk {
    pub from: String,
    pub to: String,
    pub count: u64,
}

/// What a review of an access in an emergency came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewOutcome {
    Justified,
    NotJustified,
}

/// How far something came that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Intended; an entry about how it ended follows, unless the machine stopped.
    Begun,
    Done,
    Failed,
}

/// What became of a query's groups where only aggregates may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithheldGroups {
    pub released: u64,
    /// Too few persons, or one of them would show.
    pub small: u64,
    /// Would have given a small one away.
    pub complementary: u64,
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $kind:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        /// One thing that happened.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum Event {
            $($(#[$doc])* #[serde(rename = $kind)] $name { $($(#[$field_doc])* $field: $type,)* },)*
            /// Written by a newer version than this one; its place in the chain is still proven.
            #[serde(other, rename = "unrecognised")]
            Unrecognised,
        }

        impl Event {
            /// Every kind that this version writes.
            pub const KINDS: &'static [&'static str] = &[$($kind,)*];

            /// The name by which the event is stored and filtered.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => $kind,)*
                    Self::Unrecognised => "unrecognised",
                }
            }
        }
    };
}

events! {
    ProjectInitialised = "project_initialised" { project: String, }
    /// Sources are about to be read for who the people in them are, before anything is written of them.
    LearningStarted = "learning_started" {
        run: String,
        pipeline: String,
        policy_hash: Digest,
        sources: Sources,
        key_ids: Vec<String>,
    }
    RunStarted = "run_started" {
        run: String,
        pipeline: String,
        policy_hash: Digest,
        sources: Sources,
        key_ids: Vec<String>,
    }
    RunFinished = "run_finished" {
        run: String,
        rows_read: u64,
        rows_written: u64,
        quarantined: u64,
    }
    RunFailed = "run_failed" {
        run: String,
        what: Label,
    }
    /// A program has de-identified rows by the library, or is about to have a cluster do it; durable before it gets any. How many rows is
    /// not known of a cluster.
    RowsDeidentified = "rows_deidentified" {
        policy_hash: Digest,
        dataset: String,
        /// Whom they were made for, if not for the project itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recipient: Option<String>,
        /// `python` or `spark`.
        by: Label,
        rows_read: Option<u64>,
        rows_written: Option<u64>,
        /// Rows that a rule could not handle.
        failed: Option<u64>,
        key_ids: Vec<String>,
    }
    /// A table's new version is about to become visible.
    TableCommitted = "table_committed" {
        run: String,
        table: String,
        version: u64,
        rows: u64,
        /// Of the rows that were added, in whatever order: the same for the same rows, whoever made them. Keyed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows_digest: Option<Digest>,
        quarantined: u64,
        sources: Sources,
        policy_hash: Digest,
        key_ids: Vec<String>,
    }
    /// Durable before the first row leaves.
    QueryStarted = "query_started" {
        query: String,
        principal: String,
        purpose: Purpose,
        /// Of a query for research.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        research_project: Option<String>,
        /// Where the query came from, if not from the machine itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<IpAddr>,
        /// The text as it was asked. Keyed: a plain hash would let anyone try literals.
        statement_tag: Tag,
        statement: Statement,
        access: Vec<DatasetAccess>,
    }
    QueryFinished = "query_finished" {
        query: String,
        rows: u64,
        /// Of a dataset of which only aggregates leave. Whoever asked is not told it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        withheld: Option<WithheldGroups>,
    }
    QueryFailed = "query_failed" {
        query: String,
        what: Label,
        /// That may have left until then: they were handed on to the connection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<u64>,
    }
    /// Somebody reads in an emergency: durable before the first row, and open until somebody else has reviewed it.
    BreakGlass = "break_glass" {
        query: String,
        principal: String,
        reason: String,
        datasets: Vec<String>,
    }
    /// Whether the watchman could be told of an access in an emergency.
    Alerted = "alerted" {
        query: String,
        outcome: Outcome,
    }
    /// Another person has looked at an access in an emergency.
    BreakGlassReviewed = "break_glass_reviewed" {
        query: String,
        principal: String,
        outcome: ReviewOutcome,
        reason: String,
    }
    AccessDenied = "access_denied" {
        principal: String,
        purpose: Option<Purpose>,
        /// What exists and was asked for; `_` for a name that does not exist, which could say anything; `*` for all.
        dataset: String,
        /// Of these, the columns that were named and are not granted.
        columns: Vec<String>,
        why: Vec<Reason>,
        /// What else one question asked for and was not given: all in one entry, so that the time that a refusal takes tells nothing of how
        /// many of its names exist.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<DeniedToo>,
    }
    /// Somebody asks to do something with tokens that takes a second person. This entry is the request: its file only holds
    /// the tokens behind the tags.
    TokenRequested = "token_requested" {
        request: String,
        act: RequestedAct,
        principal: String,
        purpose: Purpose,
        domain: String,
        tokens: Vec<Tag>,
        reason: String,
        /// For how long an approval opens it.
        lifetime_seconds: u64,
        /// How often each token may be revealed, or all of them translated.
        times: Option<u32>,
        /// Of a crosswalk, which has one tag for all its tokens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        crosswalk: Option<Crosswalk>,
    }
    /// Another person agreed.
    RequestApproved = "request_approved" {
        request: String,
        /// The entry that is agreed to.
        requested: Digest,
        principal: String,
        purpose: Purpose,
        reason: String,
    }
    RequestRejected = "request_rejected" {
        request: String,
        requested: Digest,
        principal: String,
        purpose: Purpose,
        reason: String,
    }
    /// It opens nothing any more, whoever approved it.
    RequestRevoked = "request_revoked" {
        request: String,
        requested: Digest,
        principal: String,
        purpose: Purpose,
        reason: String,
    }
    /// A pseudonym was turned back into what it stands for; durable before the value leaves.
    TokenRevealed = "token_revealed" {
        request: String,
        principal: String,
        purpose: Purpose,
        domain: String,
        token: Tag,
        found: bool,
    }
    /// It was told which tokens of one recipient are which of another; durable before any leaves.
    TokensTranslated = "tokens_translated" {
        request: String,
        principal: String,
        purpose: Purpose,
        crosswalk: Crosswalk,
        /// Of all that were asked for.
        tokens: Tag,
        /// Those that the other recipient has too.
        found: u64,
    }
    /// What stands behind a token is destroyed: begun before, done after.
    SubjectShredded = "subject_shredded" {
        request: String,
        principal: String,
        purpose: Purpose,
        domain: String,
        subject: Tag,
        /// Tokens that nothing stands behind any more, by domain.
        destroyed: Vec<(String, u64)>,
        /// Of the subject keys, once it is done: a copy of them of an earlier epoch would undo it. 0 before.
        #[serde(default)]
        epoch: u64,
        outcome: Outcome,
    }
    KeyOperation = "key_operation" {
        what: KeyOperationKind,
        key_ids: Vec<String>,
        outcome: Outcome,
    }
    /// A key that is kept in a store was used for the root key of the ring. What the store refused cannot be here, as this
    /// log opens with the ring: the store's own record has it.
    KeyStoreUsed = "key_store_used" {
        /// Kind, key and place.
        store: String,
        what: StoreUse,
    }
    /// Somebody with the right to it asked for a table's data key; durable before the key leaves.
    DekUnwrapped = "dek_unwrapped" {
        principal: String,
        purpose: Purpose,
        dataset: String,
        master_key_id: String,
        keys: u64,
        outcome: Outcome,
    }
    /// Durable before the record leaves.
    QuarantineShown = "quarantine_shown" {
        principal: String,
        purpose: Purpose,
        run: String,
        table: String,
        rows: u64,
        reason: String,
    }
    QuarantineReplayed = "quarantine_replayed" {
        run: String,
        table: String,
        replayed: u64,
        remaining: u64,
    }
    /// From here on nothing of these tables is removed; names, or beginnings of names with a `*`.
    HoldPlaced = "hold_placed" {
        hold: String,
        tables: Vec<String>,
        /// The last day, `YYYY-MM-DD`; without it the hold ends when it is released.
        until: Option<String>,
        principal: String,
        reason: String,
    }
    HoldReleased = "hold_released" {
        hold: String,
        principal: String,
        reason: String,
    }
    /// Rows are about to leave a table because they are past their retention.
    RowsRetired = "rows_retired" {
        run: String,
        pipeline: String,
        table: String,
        rows: u64,
        /// Of the table's rows, those that stay.
        staying: u64,
        keep: String,
        /// The column that says how old a row is; without it, when it was committed.
        by: Option<String>,
        /// Rows of earlier days go.
        before: String,
    }
    /// Quarantined records are about to be removed because they are past their retention.
    QuarantineRetired = "quarantine_retired" {
        run: String,
        pipeline: String,
        files: u64,
        records: u64,
        /// How many of them for each reason.
        reasons: BTreeMap<String, u64>,
        keep: String,
        before: String,
    }
    /// Reports of runs are about to be removed because they are past their retention.
    ReportsRetired = "reports_retired" {
        pipeline: String,
        reports: u64,
        keep: String,
        before: String,
    }
    /// Files of requests are about to be removed because they are past their retention; what was asked and decided stays here.
    RequestsRetired = "requests_retired" {
        requests: Vec<String>,
        keep: String,
        before: String,
    }
    /// Somebody lets runs go on with a vault, or dossiers, that know less than the tables were made with.
    OlderVaultAccepted = "older_vault_accepted" {
        principal: String,
        reason: String,
        pipelines: Vec<String>,
        vault: bool,
        dossiers: bool,
    }
    /// The mark outside of the log that says how far it had come was gone; it begins anew here.
    AnchorMissing = "anchor_missing" {
        entries: u64,
    }
    /// A copy of the project was begun, made, or given up.
    BackupMade = "backup_made" {
        files: u64,
        bytes: u64,
        /// Of the list of its files.
        list: Digest,
        outcome: Outcome,
    }
    /// The project was put back from a backup: what came after it is not here.
    BackupRestored = "backup_restored" {
        /// When the backup was made.
        created: String,
        list: Digest,
        /// The last entry of the log when it was made.
        audit_seq: u64,
    }
    AuditVerified = "audit_verified" {
        entries: u64,
        anchors: u64,
        findings: u64,
    }
    /// Somebody read this log.
    AuditShown = "audit_shown" {
        entries: u64,
    }
    /// A table could not be opened while somebody asked for others; it was left out.
    TableUnreadable = "table_unreadable" {
        table: String,
        what: Label,
    }
    /// Somebody logged in to the server.
    LoggedIn = "logged_in" {
        session: String,
        principal: String,
        /// How: `access token`, `client certificate`, `password`.
        method: Label,
        /// The client's network address.
        client: String,
    }
    /// Who may log in with a password that the project keeps: `set` or `removed`.
    LocalUserChanged = "local_user_changed" {
        user: String,
        what: Label,
    }
    /// Somebody was not let in.
    LogInFailed = "log_in_failed" {
        /// Of a user who is known. What else was given as a name may be a password.
        principal: Option<String>,
        method: Label,
        client: String,
        what: Label,
    }
    /// Somebody looked at what tells about data without showing any: a list, a status.
    Inspected = "inspected" {
        what: Label,
        /// A table or domain, where it was about one.
        subject: Option<String>,
        principal: Option<String>,
        purpose: Option<Purpose>,
    }
    /// An append had been cut off; its bytes are kept in `file`.
    TornTail = "torn_tail" {
        file: String,
        segment: u32,
        offset: u64,
        bytes: u64,
        sha256: Digest,
    }
}

impl Event {
    /// Who asked, where that is another than the writer of the log.
    pub fn principal(&self) -> Option<&str> {
        match self {
            Self::QueryStarted { principal, .. }
            | Self::BreakGlass { principal, .. }
            | Self::BreakGlassReviewed { principal, .. }
            | Self::AccessDenied { principal, .. }
            | Self::TokenRequested { principal, .. }
            | Self::RequestApproved { principal, .. }
            | Self::RequestRejected { principal, .. }
            | Self::RequestRevoked { principal, .. }
            | Self::TokenRevealed { principal, .. }
            | Self::TokensTranslated { principal, .. }
            | Self::SubjectShredded { principal, .. }
            | Self::DekUnwrapped { principal, .. }
            | Self::QuarantineShown { principal, .. }
            | Self::HoldPlaced { principal, .. }
            | Self::HoldReleased { principal, .. }
            | Self::OlderVaultAccepted { principal, .. }
            | Self::LoggedIn { principal, .. } => Some(principal),
            Self::Inspected { principal, .. } | Self::LogInFailed { principal, .. } => principal.as_deref(),
            _ => None,
        }
    }

    /// Whether the event is about this dataset or table.
    pub fn concerns(&self, dataset: &str) -> bool {
        match self {
            Self::TableCommitted { table, .. }
            | Self::TableUnreadable { table, .. }
            | Self::QuarantineShown { table, .. }
            | Self::QuarantineReplayed { table, .. }
            | Self::RowsRetired { table, .. } => table == dataset,
            Self::AccessDenied { dataset: asked, others, .. } => {
                asked == dataset || others.iter().any(|other| other.dataset == dataset)
            }
            Self::DekUnwrapped { dataset: asked, .. } => asked == dataset,
            Self::Inspected { subject, .. } => subject.as_deref() == Some(dataset),
            Self::BreakGlass { datasets, .. } => datasets.iter().any(|one| one == dataset),
            Self::QueryStarted { access, .. } => access.iter().any(|one| one.dataset == dataset),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_kind_is_stored_under_its_name() {
        let event = Event::RunFailed { run: "r1".into(), what: "disk full".into() };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(text, r#"{"kind":"run_failed","run":"r1","what":"disk full"}"#);
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        assert!(Event::KINDS.contains(&event.kind()));
    }

    #[test]
    fn what_a_newer_version_wrote_is_not_an_error() {
        let event: Event = serde_json::from_str(r#"{"kind":"moon_landed","crew":3}"#).unwrap();
        assert_eq!(event, Event::Unrecognised);
    }
}
