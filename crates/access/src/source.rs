//! Where Ranger policies come from, as the project's file says it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Lifetime;
use crate::error::Problem;
use crate::file::Role;

/// Policies of a Ranger service decide who may read what, from files or from a Ranger Admin. Privileged actions stay with the
/// roles here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RangerSection {
    /// The service's name, as the policies name it.
    pub service: String,
    /// What policies call the database that the project's tables are in.
    #[serde(default = "default_database")]
    pub database: String,
    /// A file of policies, as a Ranger Admin hands them out; relative to the project folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<String>,
    /// A file of tags of resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// A file of roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<String>,
    /// A file of users with their attributes and groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<String>,
    /// A Ranger Admin that hands out all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminSection>,
}

/// A Ranger Admin. The log-in is in the environment, `CORDON_RANGER_USER` and `CORDON_RANGER_PASSWORD`, or is a client certificate, or
/// Kerberos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AdminSection {
    /// Such as `https://ranger.hospital.example:6182`; `http` for this machine only.
    pub url: String,
    /// How often a running server asks for changes: a revocation is in force after that at the latest.
    #[serde(default = "default_poll")]
    pub poll: Lifetime,
    /// For how long policies are in force while the Admin does not answer; after that nobody reads anything.
    #[serde(default = "default_max_age")]
    pub max_age: Lifetime,
    /// What this program calls itself in the Admin's list of plugins.
    #[serde(default = "default_app_id")]
    pub app_id: String,
    /// The certificates to trust, PEM; without it, those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The certificate that this program shows, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its private key, PEM, which only its owner can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Log in by Kerberos: with the tickets of whoever runs this, or a keytab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kerberos: Option<AdminKerberos>,
    /// After so long without an answer the Admin counts as down.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u16,
}

/// Who this program is to the Admin. With nothing in it, whoever runs it, by the tickets of `kinit` (`KRB5CCNAME`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AdminKerberos {
    /// Such as `cordon/host.hospital.example@HOSPITAL.EXAMPLE`; else the first that there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// A file with the principal's key, which only its owner can read; relative to the project folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keytab: Option<String>,
}

fn default_database() -> String {
    "cordon".to_owned()
}

fn seconds(seconds: u64) -> Lifetime {
    Lifetime::from_seconds(seconds).unwrap_or(Lifetime::DEFAULT)
}

fn default_poll() -> Lifetime {
    seconds(30)
}

fn default_max_age() -> Lifetime {
    Lifetime::DEFAULT
}

fn default_app_id() -> String {
    "cordon".to_owned()
}

fn default_timeout() -> u16 {
    10
}

impl RangerSection {
    pub(crate) fn check(&self, roles: &[Role], problems: &mut Vec<Problem>) {
        let mut tell = |at: String, what: &str, help: &str| {
            problems.push(Problem { at, what: what.to_owned(), help: help.to_owned() });
        };
        let is_name = |name: &str| {
            let sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(sign)
        };
        for (key, name) in [("service", &self.service), ("database", &self.database)] {
            if !is_name(name) {
                let help = "letters, digits, `_`, `-` and `.`, a letter or digit first";
                tell(format!("/ranger/{key}"), "the name has other signs in it", help);
            }
        }
        match (&self.policies, &self.admin) {
            (None, None) => {
                tell("/ranger".to_owned(), "the policies are nowhere", "name a file `policies`, or an `admin`");
            }
            (Some(_), Some(_)) => tell(
                "/ranger/policies".to_owned(),
                "the policies are in a file and with an Admin",
                "keep one of `policies` and `admin`",
            ),
            _ => {}
        }
        if let Some(admin) = &self.admin {
            for (key, file) in [("tags", &self.tags), ("roles", &self.roles), ("users", &self.users)] {
                if file.is_some() {
                    tell(format!("/ranger/{key}"), "the Admin hands these out too", "remove it");
                }
            }
            if admin.certificate.is_some() != admin.key.is_some() {
                tell("/ranger/admin".to_owned(), "`certificate` and `key` belong together", "name both or neither");
            }
            if admin.kerberos.is_some() && admin.certificate.is_some() {
                let what = "the log-in is by Kerberos and by a certificate";
                tell("/ranger/admin/kerberos".to_owned(), what, "keep one of `kerberos` and `certificate`");
            }
            if admin.max_age < admin.poll {
                let what = "policies are out of force before they are asked for again";
                tell("/ranger/admin/max-age".to_owned(), what, "make it longer than `poll`");
            }
        }
        for (index, role) in roles.iter().enumerate() {
            if !role.grants.is_empty() {
                let at = format!("/roles/{index}/grants");
                tell(
                    at,
                    "grants have no effect where Ranger decides",
                    "write a policy instead, and keep the role's `actions`",
                );
            }
        }
    }
}
