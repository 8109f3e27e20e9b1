//! What takes two persons: turning tokens back, destroying what stands behind them (164.514(c)), and telling which tokens of one
//! recipient are which of another.
//!
//! The audit log *is* the state: a request is what its entries say, replayed in their order, and nothing else opens
//! anything. Beside it stands one sealed file a request, with what the log must not hold: the tokens behind the tags.
//! So a file that was put back, edited, swapped or taken away can close a request and never open one, and a process that
//! is killed between entry and file has lost nothing. The file names the newest entry that it knows: a log that does not
//! have it was set back, and is refused.
//!
//! Times: an approval opens for a while after its entry. `now` is that of the caller, or of the newest entry of the log
//! where that is later, so that a clock that is set back opens nothing again.

mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use cordon_access::{Decision, Lifetime, Principal, Privilege, Purpose, RevealRules, same_user};
use cordon_audit::{
    AuditError, AuditLog, Crosswalk, Digest, Entry, Event, Filter, Outcome, Receipt, RequestedAct, Tag,
};
use cordon_phi::{Phi, RECIPIENT_DOMAINS, Token};
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::project::OpenProject;
use crate::recipient;
use crate::run::fail_point;
use crate::sealed::{clear_temporary, make_folder, read_sealed, sync_folder, write_sealed};
pub use told::{Told, act_name};

/// So many tokens one request may be about; more is an export, not a re-identification.
pub const MAX_TOKENS: usize = 1000;
/// And so many one crosswalk, which shows no person: a table's worth.
pub const MAX_CROSSWALK: usize = 1_000_000;

/// What somebody asks for.
pub struct NewRequest {
    pub act: RequestedAct,
    /// Of no crosswalk.
    pub domain: String,
    /// Whose tokens these are, and whose are asked for: of a crosswalk, and of nothing else.
    pub crosswalk: Option<(String, String)>,
    pub tokens: Vec<Token>,
    pub by: String,
    pub purpose: Purpose,
    pub reason: String,
    /// For how long an approval shall open it; else a day, or less where the project allows less.
    pub lifetime: Option<Lifetime>,
    /// How often each token may be revealed; else as often as wanted while it is open.
    pub times: Option<u32>,
}

/// Who said what to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub by: String,
    pub at: DateTime<Utc>,
    pub reason: String,
    /// The operating system's user behind it.
    os_user: String,
}

/// How a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// So many persons have yet to approve.
    Pending(usize),
    Open {
        until: DateTime<Utc>,
    },
    Expired,
    Rejected,
    Revoked,
    /// What was destroyed is destroyed.
    Done,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Open { .. } => "approved",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Revoked => "revoked",
            Self::Done => "done",
        }
    }
}

/// One request, as the log tells it.
#[derive(Clone, Debug)]
pub struct Case {
    pub id: String,
    pub act: RequestedAct,
    pub asked: Said,
    pub purpose: Purpose,
    pub domain: String,
    pub crosswalk: Option<Crosswalk>,
    /// One for each token; of a crosswalk one for all of them.
    pub tags: Vec<Tag>,
    pub lifetime: Lifetime,
    pub times: Option<u32>,
    pub approvals: Vec<Said>,
    pub rejected: Option<Said>,
    pub revoked: Option<Said>,
    /// The entry that is the request.
    pub requested: Receipt,
    /// How often each token was revealed, or all were translated.
    pub revealed: BTreeMap<Tag, u32>,
    /// How far a destruction came.
    pub shredded: Option<Outcome>,
    /// The entry that says that it was done.
    pub done: Option<Receipt>,
    /// Tokens that nothing stands behind any more, by domain.
    pub destroyed: Vec<(String, u64)>,
    /// Of the subject keys when that was done.
    pub epoch: u64,
    needed: usize,
    /// When the last approval that was needed came, by the clock and by the log.
    opened: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// When something was last heard of it.
    last: DateTime<Utc>,
    /// Its file went after its retention.
    retired: bool,
    /// All entries about it.
    entries: Vec<Receipt>,
    /// Two entries claim to be this request. The program writes no such thing.
    disputed: bool,
}

impl Case {
    /// How it stands at a time, and at the newest time of the log.
    fn status_at(&self, now: DateTime<Utc>, newest: DateTime<Utc>) -> Status {
        if matches!(self.shredded, Some(Outcome::Done)) {
            return Status::Done;
        }
        if self.revoked.is_some() || self.disputed {
            return Status::Revoked;
        }
        if self.rejected.is_some() {
            return Status::Rejected;
        }
        let Some((by_clock, by_log)) = self.opened else {
            return Status::Pending(self.needed.saturating_sub(self.approvals.len()));
        };
        let span = TimeDelta::seconds(i64::try_from(self.lifetime.seconds()).unwrap_or(0));
        // Both: a clock that was ahead for a while would make the one last too long, a clock that is behind the other.
        if now >= by_clock + span || now.max(newest) >= by_log + span {
            return Status::Expired;
        }
        Status::Open { until: by_clock + span }
    }

    /// Whether this person has a part in it already.
    fn asked_by(&self, user: &str) -> bool {
        same_user(&self.asked.by, user)
    }

    /// The right that the second person needs.
    pub fn second(&self) -> Privilege {
        match self.act {
            RequestedAct::Reveal => Privilege::ApproveReveal,
            RequestedAct::Shred => Privilege::ApproveShred,
            RequestedAct::Translate => Privilege::ApproveTranslate,
        }
    }

    /// How many tokens it is about.
    pub fn count(&self) -> u64 {
        self.crosswalk.as_ref().map_or(self.tags.len() as u64, |crosswalk| crosswalk.count)
    }
}

/// The right that the first person needs.
fn first(act: RequestedAct) -> Privilege {
    match act {
        RequestedAct::Reveal => Privilege::Reveal,
        RequestedAct::Shred => Privilege::Shred,
        RequestedAct::Translate => Privilege::Translate,
    }
}

/// Why something that takes two persons does not happen. What is told is what the asker may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such request, or none that this user may know of.
    Absent,
    NoRight(Privilege, Purpose),
    /// Who asks cannot be the second person.
    Own,
    /// The operating system's user is the same.
    SameSystemUser,
    /// Somebody approves twice.
    Twice,
    /// It is not, or no longer, in a state for this.
    State(Status),
    /// A token that was not asked for.
    NotRequested,
    /// Each as often as it was allowed.
    Spent,
    /// A request of the other kind.
    OtherAct,
    /// Nothing is destroyed while these legal holds are in force.
    Held(Vec<String>),
    TooLong(Lifetime),
    /// None, or more than [`MAX_TOKENS`] or [`MAX_CROSSWALK`]; of what is destroyed exactly one.
    Count,
}

impl Refusal {
    /// In a word, for the record.
    fn label(&self) -> &'static str {
        match self {
            Self::Absent => "no such request",
            Self::NoRight(..) => "no right",
            Self::Own => "own request",
            Self::SameSystemUser => "same system user",
            Self::Twice => "approved already",
            Self::State(status) => status.name(),
            Self::NotRequested => "token not requested",
            Self::Spent => "spent",
            Self::OtherAct => "another act",
            Self::Held(_) => "legal hold",
            Self::TooLong(_) => "too long",
            Self::Count => "number of tokens",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str(
                "there is no such request\n  help: `cordon token list --as USER` lists those that a user has part in",
            ),
            Self::NoRight(privilege, purpose) => write!(
                f,
                "the user may not {} for {purpose}\n  help: it takes a role with `actions: [{{ allow: [{privilege}], \
                 purposes: [{purpose}] }}]` in cordon.yaml; reading tables does not imply it",
                privilege.deed()
            ),
            Self::Own => f.write_str("who asks cannot approve\n  help: another person with the right must"),
            Self::SameSystemUser => f.write_str(
                "the request was made by the same user of the operating system\n  help: another person must approve, from \
                 an account of their own (`access.reveal.system-users-apart`)",
            ),
            Self::Twice => f.write_str("the user has approved already\n  help: another person must"),
            Self::State(Status::Pending(missing)) => {
                write!(f, "the request is not approved yet; approvals that are missing: {missing}")
            }
            Self::State(Status::Open { .. }) => f.write_str("the request is approved already"),
            Self::State(status) => {
                write!(f, "the request is {}\n  help: make a new one:  cordon token request", status.name())
            }
            Self::NotRequested => f.write_str(
                "a token was not asked for\n  help: only what was asked for and approved is revealed; make a new request",
            ),
            Self::Spent => f.write_str(
                "the tokens were revealed as often as was asked for\n  help: make a new request:  cordon token request",
            ),
            Self::Held(names) => write!(
                f,
                "nothing is destroyed while a legal hold is in force: {}\n  help: `cordon hold list` says what they are on",
                names.join(", ")
            ),
            Self::OtherAct => f.write_str("the request is for something else\n  help: make one for this"),
            Self::TooLong(most) => write!(f, "an approval opens for {most} at most (`access.reveal.lifetime` in cordon.yaml)"),
            Self::Count => write!(
                f,
                "a request is about 1 to {MAX_TOKENS} tokens, one to destroy about exactly one, and a crosswalk about {MAX_CROSSWALK} at most"
            ),
        }
    }
}

/// What the log says of requests, read once and proven on the way.
struct Ledger {
    cases: BTreeMap<String, Case>,
    /// The latest time of any entry.
    newest: DateTime<Utc>,
}

/// Follows the log's entries.
struct Reading<'a> {
    rules: &'a RevealRules,
    cases: BTreeMap<String, Case>,
    newest: DateTime<Utc>,
    last: Option<Receipt>,
}

impl Ledger {
    /// Reads the log to its end. Each entry opens only under the project's key and in its place; here each must also follow the
    /// one before, over all files of the log, and the last must be as far as the log's head says.
    fn read(log: &AuditLog, rules: &RevealRules) -> Result<Self, RunError> {
        let head = log.head()?;
        let mut reading = Reading { rules, cases: BTreeMap::new(), newest: DateTime::<Utc>::MIN_UTC, last: None };
        let mut reached = head.seq == 0;
        for entry in log.list(Filter::default())? {
            let entry = entry?;
            if let Some(last) = reading.last
                && (entry.seq != last.seq + 1 || entry.prev != last.hash)
            {
                return Err(AuditError::Entry { seq: last.seq + 1 }.into());
            }
            reached |= entry.seq == head.seq && entry.hash == head.hash;
            reading.add(&entry);
        }
        if !reached {
            return Err(AuditError::Entry { seq: head.seq }.into());
        }
        Ok(Self { cases: reading.cases, newest: reading.newest })
    }
}

impl Reading<'_> {
    fn add(&mut self, entry: &Entry) {
        let receipt = Receipt { seq: entry.seq, hash: entry.hash };
        self.last = Some(receipt);
        self.newest = self.newest.max(entry.time);
        let said = |by: &str, reason: &str| Said {
            by: by.to_owned(),
            at: entry.time,
            reason: reason.to_owned(),
            os_user: entry.writer.principal.os_user.clone(),
        };
        match &entry.event {
            Event::TokenRequested {
                request,
                act,
                principal,
                purpose,
                domain,
                tokens,
                reason,
                lifetime_seconds,
                times,
                crosswalk,
            } => {
                if let Some(case) = self.cases.get_mut(request) {
                    case.disputed = true;
                    return;
                }
                let lifetime = Lifetime::from_seconds(*lifetime_seconds);
                let case = Case {
                    id: request.clone(),
                    act: *act,
                    asked: said(principal, reason),
                    purpose: *purpose,
                    domain: domain.clone(),
                    tags: tokens.clone(),
                    disputed: lifetime.is_err() || crosswalk.is_some() != (*act == RequestedAct::Translate),
                    crosswalk: crosswalk.clone(),
                    lifetime: lifetime.unwrap_or(Lifetime::DEFAULT),
                    times: *times,
                    approvals: Vec::new(),
                    rejected: None,
                    revoked: None,
                    requested: receipt,
                    revealed: BTreeMap::new(),
                    shredded: None,
                    destroyed: Vec::new(),
                    epoch: 0,
                    done: None,
                    needed: self.rules.approvals.get(),
                    opened: None,
                    last: entry.time,
                    retired: false,
                    entries: vec![receipt],
                };
                self.cases.insert(request.clone(), case);
            }
            Event::RequestApproved { request, requested, principal, reason, .. } => {
                let (newest, apart) = (self.newest, self.rules.system_users_apart);
                if let Some(case) = self.case(request, requested, receipt) {
                    case.approve(said(principal, reason), newest, apart);
                }
            }
            Event::RequestRejected { request, requested, principal, reason, .. } => {
                if let Some(case) = self.case(request, requested, receipt) {
                    case.rejected.get_or_insert(said(principal, reason));
                }
            }
            Event::RequestRevoked { request, requested, principal, reason, .. } => {
                if let Some(case) = self.case(request, requested, receipt) {
                    case.revoked.get_or_insert(said(principal, reason));
                }
            }
            Event::TokenRevealed { request, token, .. } => {
                if let Some(case) = self.cases.get_mut(request) {
                    case.entries.push(receipt);
                    case.last = entry.time;
                    *case.revealed.entry(token.clone()).or_default() += 1;
                }
            }
            Event::TokensTranslated { request, tokens, .. } => {
                if let Some(case) = self.cases.get_mut(request) {
                    case.entries.push(receipt);
                    case.last = entry.time;
                    *case.revealed.entry(tokens.clone()).or_default() += 1;
                }
            }
            Event::RequestsRetired { requests, .. } => {
                for request in requests {
                    if let Some(case) = self.cases.get_mut(request) {
                        case.retired = true;
                    }
                }
            }
            Event::SubjectShredded { request, destroyed, epoch, outcome, .. } => {
                if let Some(case) = self.cases.get_mut(request) {
                    case.entries.push(receipt);
                    case.last = entry.time;
                    case.shredded = Some(*outcome);
                    if *outcome == Outcome::Done {
                        case.done = Some(receipt);
                        case.destroyed.clone_from(destroyed);
                        case.epoch = *epoch;
                    }
                }
            }
            _ => {}
        }
    }

    /// The request that an entry is about; one that is about another entry of the same name disputes it.
    fn case(&mut self, request: &str, requested: &Digest, receipt: Receipt) -> Option<&mut Case> {
        let case = self.cases.get_mut(request)?;
        case.entries.push(receipt);
        case.last = self.newest;
        if case.requested.hash != *requested {
            case.disputed = true;
            return None;
        }
        Some(case)
    }
}

impl Case {
    /// An approval that the program would not have let through counts for nothing.
    fn approve(&mut self, said: Said, newest: DateTime<Utc>, apart: bool) {
        let twice = self.approvals.iter().any(|earlier| same_user(&earlier.by, &said.by));
        let closed = self.rejected.is_some() || self.revoked.is_some() || self.opened.is_some();
        let same_system = apart && self.same_system_user(&said.os_user);
        if self.asked_by(&said.by) || twice || closed || same_system {
            return;
        }
        let at = said.at;
        self.approvals.push(said);
        if self.approvals.len() >= self.needed {
            self.opened = Some((at, newest));
        }
    }

    fn same_system_user(&self, os_user: &str) -> bool {
        self.asked.os_user == os_user || self.approvals.iter().any(|earlier| earlier.os_user == os_user)
    }
}

/// What the log must not hold, sealed under the request's name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestFile {
    version: u32,
    domain: String,
    tokens: Vec<String>,
    /// The newest entry about the request that was known when the file was written. None yet while it is made.
    reached: Option<Receipt>,
}

const VERSION: u32 = 1;

/// A request with its tokens, and how it stands now.
pub struct Shown {
    pub case: Case,
    pub status: Status,
    pub tokens: Vec<Token>,
}

/// One token that was turned back.
pub struct Revealed {
    pub token: Token,
    /// Every value that it stands for; none where the domain has no such token.
    pub values: Vec<Phi<String>>,
}

/// One token of a crosswalk.
pub struct Translated {
    pub from: Token,
    /// None where the token is not the one recipient's, or the other has none of the person.
    pub to: Option<Token>,
}

/// What becomes of an attempt: done, or refused and on the record as that.
pub type Decided<T> = Result<Result<T, Refusal>, RunError>;

/// Where requests are made, decided and carried out.
pub struct Desk<'a> {
    project: &'a OpenProject,
    now: DateTime<Utc>,
}

/// One at a time, of all processes; ends with the process, however it ends.
struct Lock(#[expect(dead_code, reason = "held")] File);

impl<'a> Desk<'a> {
    pub fn new(project: &'a OpenProject, now: DateTime<Utc>) -> Self {
        Self { project, now }
    }

    /// Puts a request on the record. It opens nothing by itself.
    pub fn request(&self, mut new: NewRequest) -> Decided<Shown> {
        let privilege = first(new.act);
        if !self.may(&new.by, new.purpose, privilege) {
            return self.refuse(&new.by, new.purpose, &new.domain, privilege, Refusal::NoRight(privilege, new.purpose));
        }
        self.check_names(&mut new)?;
        let rules = self.rules();
        let lifetime = new.lifetime.unwrap_or_else(|| Lifetime::DEFAULT.min(rules.lifetime));
        if lifetime > rules.lifetime {
            return Ok(Err(Refusal::TooLong(rules.lifetime)));
        }
        let mut seen = BTreeSet::new();
        new.tokens.retain(|token| seen.insert(*token));
        let most = match new.act {
            RequestedAct::Reveal => MAX_TOKENS,
            RequestedAct::Shred => 1,
            RequestedAct::Translate => MAX_CROSSWALK,
        };
        if new.tokens.is_empty() || new.tokens.len() > most {
            return Ok(Err(Refusal::Count));
        }
        let _lock = self.lock()?;
        clear_temporary(&self.folder())?;
        let ledger = self.ledger()?;
        self.clear_unrecorded(&ledger)?;
        let id = new_id()?;
        let mut file = RequestFile {
            version: VERSION,
            domain: new.domain.clone(),
            tokens: new.tokens.iter().map(|token| token_text(*token)).collect(),
            reached: None,
        };
        // First the tokens, then the entry that makes them a request: killed in between, there is none.
        self.write(&id, &file)?;
        let receipt = self.project.audit(&Event::TokenRequested {
            request: id.clone(),
            act: new.act,
            principal: new.by,
            purpose: new.purpose,
            domain: new.domain,
            tokens: self.tags(new.act, &new.tokens),
            reason: new.reason,
            lifetime_seconds: lifetime.seconds(),
            times: new.times,
            crosswalk: new.crosswalk.map(|(from, to)| Crosswalk { from, to, count: new.tokens.len() as u64 }),
        })?;
        file.reached = Some(receipt);
        self.write(&id, &file)?;
        self.must_be(&id).map(Ok)
    }

    /// What is asked for must be there to be asked for. The domain of a crosswalk says both its ends.
    fn check_names(&self, new: &mut NewRequest) -> Result<(), RunError> {
        if new.domain.starts_with(RECIPIENT_DOMAINS) {
            return Err(RunError::usage(
                format!("`{}` is no domain of a policy: it holds tokens that were made of other tokens", new.domain),
                "name the domain of the identifier, such as `patient`; tokens of every recipient are turned back in it",
            ));
        }
        let Some((from, to)) = &new.crosswalk else { return Ok(()) };
        if let Some(unknown) = [from, to].into_iter().find(|name| !self.project.project.knows_recipient(name)) {
            return Err(RunError::usage(
                format!("there is no recipient `{unknown}`"),
                "recipients are named under `recipients:` in cordon.yaml; `project` is the project itself",
            ));
        }
        if from == to {
            return Err(RunError::usage("a crosswalk is between two recipients", "name another one with `--to`"));
        }
        new.domain = format!("{from} to {to}");
        Ok(())
    }

    /// The second person's yes.
    pub fn approve(&self, id: &str, by: &str, reason: &str) -> Decided<Shown> {
        self.decide(id, by, |shown| {
            if shown.case.asked_by(by) {
                return Err(Refusal::Own);
            }
            if !self.may(by, shown.case.purpose, shown.case.second()) {
                return Err(Refusal::NoRight(shown.case.second(), shown.case.purpose));
            }
            if !matches!(shown.status, Status::Pending(_)) {
                return Err(Refusal::State(shown.status));
            }
            if shown.case.approvals.iter().any(|earlier| same_user(&earlier.by, by)) {
                return Err(Refusal::Twice);
            }
            let os_user = cordon_audit::WriterInfo::for_user(by).principal.os_user;
            if self.rules().system_users_apart && shown.case.same_system_user(&os_user) {
                return Err(Refusal::SameSystemUser);
            }
            Ok(Event::RequestApproved {
                request: id.to_owned(),
                requested: shown.case.requested.hash,
                principal: by.to_owned(),
                purpose: shown.case.purpose,
                reason: reason.to_owned(),
            })
        })
    }

    /// The second person's no.
    pub fn reject(&self, id: &str, by: &str, reason: &str) -> Decided<Shown> {
        self.decide(id, by, |shown| {
            if !self.may(by, shown.case.purpose, shown.case.second()) {
                return Err(Refusal::NoRight(shown.case.second(), shown.case.purpose));
            }
            if !matches!(shown.status, Status::Pending(_)) {
                return Err(Refusal::State(shown.status));
            }
            Ok(Event::RequestRejected {
                request: id.to_owned(),
                requested: shown.case.requested.hash,
                principal: by.to_owned(),
                purpose: shown.case.purpose,
                reason: reason.to_owned(),
            })
        })
    }

    /// Closes a request for good, whether it was approved or not: by who asked, who approved, or who might have.
    pub fn revoke(&self, id: &str, by: &str, reason: &str) -> Decided<Shown> {
        self.decide(id, by, |shown| {
            if matches!(shown.status, Status::Rejected | Status::Revoked | Status::Done) {
                return Err(Refusal::State(shown.status));
            }
            Ok(Event::RequestRevoked {
                request: id.to_owned(),
                requested: shown.case.requested.hash,
                principal: by.to_owned(),
                purpose: shown.case.purpose,
                reason: reason.to_owned(),
            })
        })
    }

    /// What stands behind the tokens of a request: all of them, or those of `only`. Every token is on the record before
    /// this returns.
    pub fn reveal(&self, id: &str, by: &str, only: &[Token]) -> Decided<Vec<Revealed>> {
        // Looked up before anything is locked: it reads the vault from its beginning, and a revocation must not wait for it.
        let (case, wanted) = match self.opened(id, by, RequestedAct::Reveal, only)? {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let vault = self.project.vault()?;
        let mut revealed = Vec::with_capacity(wanted.len());
        // A recipient's token stands for the project's own, and that for the value.
        for (token, own) in wanted.iter().zip(recipient::own_tokens(&*vault, &wanted)?) {
            revealed.push(Revealed { token: *token, values: vault.reveal_all(&case.domain, &own)? });
        }
        let _lock = self.lock()?;
        // Decided once more: much may have come since.
        let (case, wanted) = match self.opened(id, by, RequestedAct::Reveal, only)? {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Err(refusal)),
        };
        revealed.retain(|one| wanted.contains(&one.token));
        let mut last = None;
        for one in &revealed {
            last = Some(self.project.audit(&Event::TokenRevealed {
                request: id.to_owned(),
                principal: by.to_owned(),
                purpose: case.purpose,
                domain: case.domain.clone(),
                token: self.tag(one.token),
                found: !one.values.is_empty(),
            })?);
        }
        self.reached(id, last)?;
        Ok(Ok(revealed))
    }

    /// Which tokens of the one recipient are which of the other, for all tokens of a request. On the record before this returns.
    pub fn translate(&self, id: &str, by: &str) -> Decided<Vec<Translated>> {
        // As above: the vault is read before anything is locked, and it is decided once more after.
        let (case, wanted) = match self.opened(id, by, RequestedAct::Translate, &[])? {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(crosswalk) = case.crosswalk else { return Err(RunError::Internal("a crosswalk")) };
        let vault = self.project.vault()?;
        let found = recipient::crosswalk(&*vault, &wanted, &crosswalk.from, &crosswalk.to)?;
        let _lock = self.lock()?;
        if let Err(refusal) = self.opened(id, by, RequestedAct::Translate, &[])? {
            return Ok(Err(refusal));
        }
        let receipt = self.project.audit(&Event::TokensTranslated {
            request: id.to_owned(),
            principal: by.to_owned(),
            purpose: case.purpose,
            crosswalk,
            tokens: self.tag_of_all(&wanted),
            found: found.iter().flatten().count() as u64,
        })?;
        self.reached(id, Some(receipt))?;
        Ok(Ok(wanted.into_iter().zip(found).map(|(from, to)| Translated { from, to }).collect()))
    }

    /// Destroys what stands behind the token of a request, for good: on the record as begun before, and as done after. Cut off in
    /// between, it is carried on by asking again, also when its time is over. Not while a legal hold is in force: nobody can tell
    /// whether it is about this person.
    pub fn shred(&self, id: &str, by: &str) -> Decided<Case> {
        let held = self.project.holds_in_force()?;
        let _lock = self.lock()?;
        let (case, wanted) = match self.opened(id, by, RequestedAct::Shred, &[])? {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let holds: Vec<String> = held.holds.all().iter().map(|hold| hold.name.clone()).collect();
        if !holds.is_empty() {
            return self.refuse(by, case.purpose, &format!("request {id}"), first(case.act), Refusal::Held(holds));
        }
        let [token] = wanted[..] else { return Err(RunError::Internal("a request of one token")) };
        let event = |destroyed: &[(String, u64)], epoch, outcome| Event::SubjectShredded {
            request: id.to_owned(),
            principal: by.to_owned(),
            purpose: case.purpose,
            domain: case.domain.clone(),
            subject: self.tag(token),
            destroyed: destroyed.to_vec(),
            epoch,
            outcome,
        };
        self.project.audit(&event(&[], 0, Outcome::Begun))?;
        fail_point("shred-begun");
        let destroyed = match self.project.destroy(token) {
            Ok(destroyed) => destroyed,
            Err(error) => {
                self.project.audit(&event(&[], 0, Outcome::Failed))?;
                return Err(error);
            }
        };
        fail_point("shredded");
        let receipt = self.project.audit(&event(&destroyed.domains, destroyed.epoch, Outcome::Done))?;
        self.reached(id, Some(receipt))?;
        Ok(Ok(self.must_be(id)?.case))
    }

    /// A request that was carried out, for who asked for it: of it there can be another certificate.
    pub fn shredded(&self, id: &str, by: &str) -> Result<Option<Case>, RunError> {
        let ledger = self.ledger()?;
        let shown = self.visible(&ledger, id, by)?;
        Ok(shown.map(|shown| shown.case).filter(|case| case.asked.by == by && case.done.is_some()))
    }

    /// One request, for who has a part in it.
    pub fn show(&self, id: &str, by: &str) -> Decided<Shown> {
        let ledger = self.ledger()?;
        match self.visible(&ledger, id, by)? {
            Some(shown) => Ok(Ok(shown)),
            None => self.absent(id, by),
        }
    }

    /// The requests that a user has a part in, the newest last.
    pub fn list(&self, by: &str) -> Result<Vec<(Case, Status)>, RunError> {
        let ledger = self.ledger()?;
        let mut cases: Vec<_> = ledger
            .cases
            .values()
            .filter(|case| self.has_part(case, by))
            .map(|case| (case.clone(), case.status_at(self.now, ledger.newest)))
            .collect();
        cases.sort_by_key(|(case, _)| case.requested.seq);
        Ok(cases)
    }

    /// The files of requests that are closed and of which nothing was heard since a day. Where they `may` go: on the record first, and
    /// what was on the record when somebody was killed goes now.
    pub(crate) fn retire(
        &self,
        before: NaiveDate,
        may: bool,
        record: impl FnOnce(Vec<String>) -> Result<(), RunError>,
    ) -> Result<u64, RunError> {
        let _lock = self.lock()?;
        let ledger = self.ledger()?;
        let is_closed = |case: &Case| {
            !matches!(case.status_at(self.now, ledger.newest), Status::Pending(_) | Status::Open { .. })
                // Begun, and not carried on yet.
                && (case.shredded.is_none() || case.done.is_some())
        };
        let there = |case: &&Case| self.file(&case.id).exists();
        let left: Vec<&Case> = ledger.cases.values().filter(|case| case.retired).filter(there).collect();
        let past: Vec<&Case> = ledger
            .cases
            .values()
            .filter(|case| !case.retired && is_closed(case) && case.last.date_naive() < before)
            .filter(there)
            .collect();
        if may && !past.is_empty() {
            record(past.iter().map(|case| case.id.clone()).collect())?;
            fail_point("requests-recorded");
        }
        if may {
            for case in past.iter().chain(&left) {
                let path = self.file(&case.id);
                fs::remove_file(&path).map_err(|error| RunError::io("remove", &path, &error))?;
            }
            if past.len() + left.len() > 0 {
                let folder = self.folder();
                sync_folder(&folder).map_err(|error| RunError::io("sync", &folder, &error))?;
            }
        }
        Ok((past.len() + left.len()) as u64)
    }

    // ---- deciding -----------------------------------------------------------------------------------------------

    /// One transition: decided and recorded while nobody else decides.
    fn decide(&self, id: &str, by: &str, decide: impl FnOnce(&Shown) -> Result<Event, Refusal>) -> Decided<Shown> {
        let _lock = self.lock()?;
        let ledger = self.ledger()?;
        let Some(shown) = self.visible(&ledger, id, by)? else { return self.absent(id, by) };
        match decide(&shown) {
            Ok(event) => {
                let receipt = self.project.audit(&event)?;
                self.reached(id, Some(receipt))?;
                self.must_be(id).map(Ok)
            }
            Err(refusal) => {
                let case = &shown.case;
                self.refuse(by, case.purpose, &format!("request {id}"), case.second(), refusal)
            }
        }
    }

    /// The request and the wanted tokens of it, where its maker may carry it out now.
    fn opened(&self, id: &str, by: &str, act: RequestedAct, only: &[Token]) -> Decided<(Case, Vec<Token>)> {
        let ledger = self.ledger()?;
        let Some(shown) = self.visible(&ledger, id, by)? else { return self.absent(id, by) };
        let Shown { case, status, tokens } = shown;
        let about = format!("request {id}");
        let privilege = first(case.act);
        let refuse = |refusal| self.refuse(by, case.purpose, &about, privilege, refusal);
        // Not told from one that does not exist to who only may decide about it: it is not theirs to carry out.
        if case.asked.by != by {
            return refuse(Refusal::Absent);
        }
        if case.act != act {
            return refuse(Refusal::OtherAct);
        }
        if !self.may(by, case.purpose, privilege) {
            return refuse(Refusal::NoRight(privilege, case.purpose));
        }
        // What was begun is carried on, whatever came since.
        if !matches!(status, Status::Open { .. }) && (case.shredded.is_none() || status == Status::Done) {
            return refuse(Refusal::State(status));
        }
        if only.iter().any(|token| !tokens.contains(token)) {
            return refuse(Refusal::NotRequested);
        }
        let mut wanted = if only.is_empty() { tokens } else { only.to_vec() };
        let mut seen = BTreeSet::new();
        wanted.retain(|token| seen.insert(*token));
        if let Some(times) = case.times {
            let done = |tag: &Tag| case.revealed.get(tag).copied().unwrap_or(0) >= times;
            match &case.crosswalk {
                Some(_) if case.tags.iter().any(done) => wanted.clear(),
                Some(_) => {}
                None => wanted.retain(|token| !done(&self.tag(*token))),
            }
            if wanted.is_empty() {
                return refuse(Refusal::Spent);
            }
        }
        Ok(Ok((case, wanted)))
    }

    /// A request with its tokens; `None` where there is none or the user has no part in it.
    fn visible(&self, ledger: &Ledger, id: &str, by: &str) -> Result<Option<Shown>, RunError> {
        let Some(case) = ledger.cases.get(id).filter(|case| self.has_part(case, by)) else { return Ok(None) };
        let tokens = self.tokens(case)?;
        Ok(Some(Shown { case: case.clone(), status: case.status_at(self.now, ledger.newest), tokens }))
    }

    /// Who asked, who approved, and who may decide. A user who is no longer in the project has no part in anything.
    fn has_part(&self, case: &Case, by: &str) -> bool {
        let known = self.project.knows(by);
        let acted = case.asked.by == by || case.approvals.iter().any(|said| said.by == by);
        known && (acted || self.may(by, case.purpose, case.second()))
    }

    fn may(&self, user: &str, purpose: Purpose, privilege: Privilege) -> bool {
        self.project.may(&Principal::named(user), &purpose.into(), privilege, "tokens")
    }

    fn absent<T>(&self, id: &str, by: &str) -> Decided<T> {
        // A name that does not exist could say anything.
        let about = if is_id(id) { format!("request {id}") } else { "request _".to_owned() };
        self.denied(by, None, format!("{}: {about}", Refusal::Absent.label()))?;
        Ok(Err(Refusal::Absent))
    }

    fn refuse<T>(&self, by: &str, purpose: Purpose, about: &str, privilege: Privilege, refusal: Refusal) -> Decided<T> {
        self.denied(by, Some(purpose), format!("{privilege}: {about}: {}", refusal.label()))?;
        Ok(Err(refusal))
    }

    fn denied(&self, by: &str, purpose: Option<Purpose>, dataset: String) -> Result<(), RunError> {
        let event = Event::AccessDenied {
            others: Vec::new(),
            principal: by.to_owned(),
            purpose,
            dataset,
            columns: Vec::new(),
            why: Decision::denied().why,
        };
        self.project.audit(&event).map(drop)
    }

    // ---- log and files ------------------------------------------------------------------------------------------

    fn ledger(&self) -> Result<Ledger, RunError> {
        Ledger::read(self.project.audit_log(), self.rules())
    }

    fn rules(&self) -> &RevealRules {
        &self.project.project.file.access.reveal
    }

    /// The tokens of a request, if its file is the one that the log speaks of.
    fn tokens(&self, case: &Case) -> Result<Vec<Token>, RunError> {
        let path = self.file(&case.id);
        let wrong = |how| RunError::damaged(&path, how);
        let file: Option<RequestFile> = read_sealed(&path, &self.project.seal_key()?)?;
        // Which tokens they were is not known any more; that the log says so keeps a file that is lost from looking like this.
        if file.is_none() && case.retired {
            return Ok(Vec::new());
        }
        let file =
            file.ok_or_else(|| wrong("is missing, and the audit log has its request; nothing is opened without it"))?;
        if file.version != VERSION {
            return Err(wrong("was written by another version"));
        }
        let tokens: Option<Vec<Token>> = file.tokens.iter().map(|text| parse_token(text)).collect();
        let tokens = tokens.ok_or_else(|| wrong("holds what is no token"))?;
        let tags = self.tags(case.act, &tokens);
        if file.domain != case.domain || tags != case.tags {
            return Err(wrong("is not what the audit log says was asked for"));
        }
        if file.reached.is_some_and(|reached| !case.entries.contains(&reached)) {
            return Err(wrong("knows of an entry that the audit log does not have: the log was set back"));
        }
        Ok(tokens)
    }

    /// What was just recorded must be there.
    fn must_be(&self, id: &str) -> Result<Shown, RunError> {
        let ledger = self.ledger()?;
        let case = ledger.cases.get(id).ok_or(RunError::Internal("a request"))?;
        let status = case.status_at(self.now, ledger.newest);
        Ok(Shown { tokens: self.tokens(case)?, status, case: case.clone() })
    }

    /// Remembers how far the log came. Killed before, the file knows less than the log, which is no harm.
    fn reached(&self, id: &str, receipt: Option<Receipt>) -> Result<(), RunError> {
        let path = self.file(id);
        let file: Option<RequestFile> = read_sealed(&path, &self.project.seal_key()?)?;
        match (file, receipt) {
            (Some(mut file), Some(receipt)) => {
                file.reached = Some(receipt);
                self.write(id, &file)
            }
            _ => Ok(()),
        }
    }

    /// Tokens of requests that were never made: whoever asked was stopped before the entry.
    fn clear_unrecorded(&self, ledger: &Ledger) -> Result<(), RunError> {
        for entry in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else { continue };
            if is_id(id) && !ledger.cases.contains_key(id) {
                let path = entry.path();
                let file: Option<RequestFile> = read_sealed(&path, &self.project.seal_key()?)?;
                // One that knows of an entry is evidence.
                if file.is_some_and(|file| file.reached.is_none()) {
                    fs::remove_file(&path).map_err(|error| RunError::io("remove", &path, &error))?;
                }
            }
        }
        Ok(())
    }

    fn write(&self, id: &str, file: &RequestFile) -> Result<(), RunError> {
        write_sealed(&self.file(id), &self.project.seal_key()?, file)
    }

    /// Tokens as the log knows them.
    fn tags(&self, act: RequestedAct, tokens: &[Token]) -> Vec<Tag> {
        match act {
            RequestedAct::Reveal | RequestedAct::Shred => tokens.iter().map(|token| self.tag(*token)).collect(),
            RequestedAct::Translate => vec![self.tag_of_all(tokens)],
        }
    }

    /// Of a crosswalk's tokens, in their order.
    fn tag_of_all(&self, tokens: &[Token]) -> Tag {
        let all: Vec<u8> = tokens.iter().flat_map(|Token(bits)| *bits).collect();
        self.project.audit_log().tag("tokens", &all)
    }

    fn tag(&self, token: Token) -> Tag {
        self.project.audit_log().tag("token", token_text(token).as_bytes())
    }

    fn folder(&self) -> PathBuf {
        self.project.root.join(".cordon/requests")
    }

    fn file(&self, id: &str) -> PathBuf {
        self.folder().join(format!("{id}{SUFFIX}"))
    }

    fn lock(&self) -> Result<Lock, RunError> {
        use rustix::fs::{FlockOperation, flock};
        let folder = self.folder();
        make_folder(&folder)?;
        let path = folder.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| RunError::io("open", &path, &error))?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(RunError::io("lock", &path, &error.into())),
            }
        }
    }
}

const SUFFIX: &str = ".sealed";

/// 80 random bits, so that nobody guesses another's.
fn new_id() -> Result<String, RunError> {
    let mut bytes = [0; 10];
    cordon_crypto::random_bytes(&mut bytes)?;
    Ok(BASE32_NOPAD.encode(&bytes).to_lowercase())
}

/// Whether a text can name a request at all, and with it a file.
pub fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
}

/// 26 characters of base32, in either case.
pub fn parse_token(text: &str) -> Option<Token> {
    let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
    Some(Token(bytes.try_into().ok()?))
}

/// As tables show it.
pub fn token_text(token: Token) -> String {
    BASE32_NOPAD.encode(&token.0).to_lowercase()
}

#[cfg(test)]
mod tests;
