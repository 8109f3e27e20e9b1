//! The seam between whoever enforces and whichever engine decides.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ColumnFacts, Principal, PurposeOfUse};

/// A policy engine. It cannot fail: an engine that meets an error denies.
pub trait Authorizer: Send + Sync {
    fn decide(&self, request: &Request<'_>) -> Decision;
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Rows of a de-identified dataset are read.
    Read,
    /// Something behind the de-identified data is opened. Reading never implies it, however much is read.
    Privileged(Privilege),
}

/// What takes a grant of its own: what leads back to persons, and what decides how long data stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Privilege {
    /// Ask to turn a token back into what it stands for, and see it once another person approved: re-identification, 164.514(c).
    Reveal,
    /// Be the second person of a re-identification. Nobody is that for a request of their own.
    ApproveReveal,
    /// Ask to destroy what stands behind a token, and do it once another person approved.
    Shred,
    /// Be the second person of a destruction.
    ApproveShred,
    /// Ask which tokens of one recipient are which of another, and see it once another person approved.
    Translate,
    /// Be the second person of a translation.
    ApproveTranslate,
    /// Query tables of several recipients together.
    JoinRecipients,
    /// See records in quarantine as they were read: PHI that no rule has touched.
    ReadQuarantine,
    /// Get data keys for readers outside the program. One master key opens columns of every table, past all grants.
    UnwrapKeys,
    /// Remove what is past its retention.
    Retain,
    /// Place legal holds, and release them: what they name is not removed meanwhile.
    Hold,
    /// Read the audit log from afar: who asked for what, and when.
    ReadAudit,
    /// Look at what others read in emergencies, and close it.
    ReviewAccess,
}

impl Privilege {
    pub const ALL: [Self; 13] = [
        Self::Reveal,
        Self::ApproveReveal,
        Self::Shred,
        Self::ApproveShred,
        Self::Translate,
        Self::ApproveTranslate,
        Self::JoinRecipients,
        Self::ReadQuarantine,
        Self::UnwrapKeys,
        Self::Retain,
        Self::Hold,
        Self::ReadAudit,
        Self::ReviewAccess,
    ];

    /// As it is written in the project's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reveal => "reveal",
            Self::ApproveReveal => "approve-reveal",
            Self::Shred => "shred",
            Self::ApproveShred => "approve-shred",
            Self::Translate => "translate",
            Self::ApproveTranslate => "approve-translate",
            Self::JoinRecipients => "join-recipients",
            Self::ReadQuarantine => "read-quarantine",
            Self::UnwrapKeys => "unwrap-keys",
            Self::Retain => "retain",
            Self::Hold => "hold",
            Self::ReadAudit => "read-audit",
            Self::ReviewAccess => "review-access",
        }
    }
}

impl Privilege {
    /// As it stands behind "may not".
    pub fn deed(self) -> &'static str {
        match self {
            Self::Reveal => "ask to reveal what tokens stand for",
            Self::ApproveReveal => "decide about revealing tokens",
            Self::Shred => "ask to destroy what stands behind a token",
            Self::ApproveShred => "decide about destroying what stands behind tokens",
            Self::Translate => "ask which tokens of one recipient are which of another",
            Self::ApproveTranslate => "decide about translating tokens between recipients",
            Self::JoinRecipients => "query tables of several recipients together",
            Self::ReadQuarantine => "see quarantined records",
            Self::UnwrapKeys => "unwrap data keys",
            Self::Retain => "remove what is past its retention",
            Self::Hold => "place or release legal holds",
            Self::ReviewAccess => "review what others read in emergencies",
            Self::ReadAudit => "read the audit log",
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One question: may this user, for this purpose, do this with this dataset.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub principal: &'a Principal,
    pub usage: &'a PurposeOfUse,
    /// When it is asked, in milliseconds since 1970, UTC: no policy engine reads a clock.
    pub time: i64,
    /// For a privileged action, what it is about: it is not compared with anything.
    pub dataset: &'a str,
    /// All columns that the dataset really has, in its own order. A decision is always about these, never about what a
    /// query happens to name.
    pub columns: &'a [&'a str],
    /// What is known of these columns, in the same order; of those that it does not reach, nothing is.
    pub facts: &'a [ColumnFacts],
    pub action: Action,
}

/// The answer, and what in the policy gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The action may be done; for reading, at least one column may be seen. When false, everything else is empty and
    /// the dataset must look absent.
    pub allowed: bool,
    /// What determined the answer, in the order of the policy.
    pub why: Vec<Reason>,
    /// The columns that may be seen, in the dataset's order. Every other column must look absent.
    pub columns: Vec<String>,
    /// A SQL predicate that every row must pass before anything else sees it.
    pub row_filter: Option<String>,
    /// Visible columns whose values must be replaced.
    pub masks: BTreeMap<String, Mask>,
}

impl Decision {
    /// The only refusal there is, so that nobody can tell one cause from another.
    pub fn denied() -> Self {
        Self {
            allowed: false,
            why: vec![Reason::NoGrant],
            columns: Vec::new(),
            row_filter: None,
            masks: BTreeMap::new(),
        }
    }
}

/// What in the policy determined a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing allows it: the default.
    NoGrant,
    /// A grant, counted from 0 within the role.
    Grant { role: String, grant: usize },
    /// An entry of the role's `actions`, counted from 0.
    Action { role: String, action: usize },
    /// An item of a policy of Ranger, such as `policyItems[0]`.
    Ranger {
        policy: i64,
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<i64>,
        item: String,
    },
    /// The service's configuration lets this user do everything.
    RangerSuperUser,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGrant => f.write_str("no grant"),
            Self::Grant { role, grant } => write!(f, "grant {grant} of role `{role}`"),
            Self::Action { role, action } => write!(f, "action {action} of role `{role}`"),
            Self::Ranger { policy, name, item, .. } => write!(f, "policy {policy} `{name}`, {item}"),
            Self::RangerSuperUser => f.write_str("a super user of the Ranger service"),
        }
    }
}

/// How a value is hidden: Ranger's kinds, by Hive's rules (`docs/enforcement.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mask {
    /// Capital letters become `X`, other letters `x`, digits `n`; digits of whole numbers 1; dates the first day of year 1.
    Redact,
    ShowLast4,
    ShowFirst4,
    /// HMAC-SHA-256 of the text under a key of the project, in hexadecimal.
    Hash,
    Null,
    /// Shown as it is: what takes a mask of another policy off again.
    None,
    /// A date keeps its year only.
    ShowYear,
    /// A SQL expression in which `{col}` stands for the column and `{type}` for its type.
    Custom(String),
}

impl Mask {
    /// By Ranger's name, with the expression that the policy or the service's definition gives. A kind that is not known and says
    /// nothing of how, hides the value.
    pub fn from_ranger(name: &str, expression: Option<&str>) -> Self {
        match (name, expression.filter(|text| !text.trim().is_empty())) {
            ("MASK", _) => Self::Redact,
            ("MASK_SHOW_LAST_4", _) => Self::ShowLast4,
            ("MASK_SHOW_FIRST_4", _) => Self::ShowFirst4,
            ("MASK_HASH", _) => Self::Hash,
            ("MASK_NONE", _) => Self::None,
            ("MASK_DATE_SHOW_YEAR", _) => Self::ShowYear,
            ("MASK_NULL", _) | (_, None) => Self::Null,
            (_, Some(expression)) => Self::Custom(expression.to_owned()),
        }
    }

    /// Ranger's name.
    pub fn ranger_name(&self) -> &'static str {
        match self {
            Self::Redact => "MASK",
            Self::ShowLast4 => "MASK_SHOW_LAST_4",
            Self::ShowFirst4 => "MASK_SHOW_FIRST_4",
            Self::Hash => "MASK_HASH",
            Self::Null => "MASK_NULL",
            Self::None => "MASK_NONE",
            Self::ShowYear => "MASK_DATE_SHOW_YEAR",
            Self::Custom(_) => "CUSTOM",
        }
    }
}
