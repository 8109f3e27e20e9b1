//! Users, roles and grants as they are written in the project's file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Lifetime, OutputSection, Privilege, Purpose, RangerSection, RevealRules};

/// Who may see what. Whatever is not granted here is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AccessFile {
    /// The people and services that may ask. One entry for one person: shared log-ins are not allowed
    /// (164.312(a)(2)(i)).
    #[serde(default)]
    pub users: Vec<User>,
    /// What a user may be allowed to see, bundled under a name.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// What takes two persons: for how long an approval opens something, and how many must approve.
    #[serde(default)]
    pub reveal: RevealRules,
    /// Access in an emergency, which is reviewed afterwards.
    #[serde(default)]
    pub break_glass: BreakGlassRules,
    /// Policies of Apache Ranger decide who may read what, instead of grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranger: Option<RangerSection>,
    /// Datasets of which only aggregates may leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_control: Vec<OutputSection>,
}

/// What follows when somebody reads for the purpose `emergency` (164.312(a)(2)(ii)). What opens then is what grants name that purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BreakGlassRules {
    /// Within what time somebody else must have reviewed it: `24h`, `7d`; at most 30 days. Afterwards it is told as overdue.
    pub review_within: Lifetime,
    /// Who is told at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<Alert>,
}

/// A watchman who is told of each access in an emergency when it begins: who, when, which query and datasets, and not why, which may
/// name a patient. The bearer token of the environment variable `CORDON_ALERT_TOKEN` goes with it. One that cannot be told holds nothing
/// up, and that is on the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Alert {
    /// Where a JSON object is posted: `https://…`, on this machine `http` too.
    pub url: String,
    /// Whom to trust, in PEM; without it those whom the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

impl Default for BreakGlassRules {
    fn default() -> Self {
        Self { review_within: Lifetime::days(3), alert: None }
    }
}

/// One person or service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct User {
    /// The name that the user signs in with. Upper and lower case are different, but two users may not differ by case
    /// alone.
    pub name: String,
    /// The roles that the user has; each must be defined under `roles`. What any of them grants, the user may see.
    pub roles: Vec<String>,
}

/// A named bundle of grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Role {
    /// The name that users refer to.
    pub name: String,
    /// What the role may read. A role has at least one grant or one action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// What the role may do that leads back to persons. No grant to read implies any of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionGrant>,
}

/// Privileged actions, for purposes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ActionGrant {
    /// The actions: `reveal` (ask to turn tokens back), `approve-reveal` (be the second person), `shred` (ask to destroy what
    /// stands behind a token), `approve-shred` (be the second person there), `translate` (ask which tokens of one recipient are
    /// which of another), `approve-translate` (be the second person there), `join-recipients` (query tables of several recipients
    /// together), `read-quarantine` (see records as they were
    /// read), `unwrap-keys` (get data keys of tables for other programs), `retain` (remove what is past its retention), `hold`
    /// (place and release legal holds), `review-access` (look at what others read in emergencies, and close it), `read-audit`
    /// (read the audit log through the server).
    pub allow: Vec<Privilege>,
    /// The purposes for which they may be done; a request for any other purpose is denied.
    pub purposes: Vec<Purpose>,
}

/// Columns of datasets, for purposes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grant {
    /// The datasets, by exact name or with wildcards: `*` for any characters, `?` for one (`patients`, `fhir_*`).
    pub datasets: Vec<String>,
    /// The columns that may be seen, by exact name or with wildcards; `"*"` for all.
    pub columns: Vec<String>,
    /// Columns that this grant does not allow although `columns` names them. Compared without regard to upper and
    /// lower case, so that `SSN` does not slip past `ssn`. Another grant may still allow them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// The purposes for which the data may be seen; a request for any other purpose is denied.
    pub purposes: Vec<Purpose>,
}
