//! A request as programs are told of it: by the command and over HTTP in the same words.

use chrono::{DateTime, Utc};
use cordon_access::Purpose;
use cordon_audit::{Digest, RequestedAct};
use cordon_phi::Token;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Case, Said, Status, token_text};

/// One request that takes two persons, and how it stands.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TokenRequest")]
pub struct Told {
    pub request: String,
    /// `reveal`, `shred` or `translate`.
    pub act: String,
    /// `pending`, `approved`, `expired`, `rejected`, `revoked` or `done`.
    pub state: String,
    /// Until when an approval opens it.
    #[schemars(with = "Option<String>")]
    pub until: Option<DateTime<Utc>>,
    pub domain: String,
    /// How many tokens it is about.
    pub count: u64,
    pub purpose: Purpose,
    pub asked: ToldSaid,
    pub approvals: Vec<ToldSaid>,
    pub rejected: Option<ToldSaid>,
    pub revoked: Option<ToldSaid>,
    pub lifetime_seconds: u64,
    /// How often each token may be revealed.
    pub times: Option<u32>,
    /// How often tokens of it were revealed.
    pub revealed: u64,
    /// Its entry in the audit log.
    pub audit: ToldEntry,
    /// Of a crosswalk: whose tokens these are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Of a crosswalk: whose are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<String>>,
}

/// Who said what to it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TokenRequestSaid")]
pub struct ToldSaid {
    pub by: String,
    #[schemars(with = "String")]
    pub at: DateTime<Utc>,
    pub reason: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntryNamed")]
pub struct ToldEntry {
    pub seq: u64,
    #[schemars(with = "String")]
    pub hash: Digest,
}

impl From<&Said> for ToldSaid {
    fn from(said: &Said) -> Self {
        Self { by: said.by.clone(), at: said.at, reason: said.reason.clone() }
    }
}

impl Told {
    pub fn new(case: &Case, status: Status, tokens: Option<&[Token]>) -> Self {
        Self {
            request: case.id.clone(),
            act: act_name(case.act).to_owned(),
            state: status.name().to_owned(),
            until: match status {
                Status::Open { until } => Some(until),
                _ => None,
            },
            domain: case.domain.clone(),
            count: case.count(),
            purpose: case.purpose,
            asked: (&case.asked).into(),
            approvals: case.approvals.iter().map(Into::into).collect(),
            rejected: case.rejected.as_ref().map(Into::into),
            revoked: case.revoked.as_ref().map(Into::into),
            lifetime_seconds: case.lifetime.seconds(),
            times: case.times,
            revealed: case.revealed.values().copied().map(u64::from).sum(),
            audit: ToldEntry { seq: case.requested.seq, hash: case.requested.hash },
            from: case.crosswalk.as_ref().map(|crosswalk| crosswalk.from.clone()),
            to: case.crosswalk.as_ref().map(|crosswalk| crosswalk.to.clone()),
            tokens: tokens.map(|tokens| tokens.iter().map(|token| token_text(*token)).collect()),
        }
    }
}

pub fn act_name(act: RequestedAct) -> &'static str {
    match act {
        RequestedAct::Reveal => "reveal",
        RequestedAct::Shred => "shred",
        RequestedAct::Translate => "translate",
    }
}
