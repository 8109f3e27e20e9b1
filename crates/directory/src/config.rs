//! What is written in the project's file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A directory that says which groups users are in. The password of `bind` comes from the environment variable `CORDON_LDAP_PASSWORD`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DirectoryConfig {
    /// `ldaps://HOST`, or `ldap://HOST` with `starttls: true`; without TLS on this machine only.
    pub url: String,
    /// Turn a connection at `ldap://` into TLS before anything is said.
    #[serde(default)]
    pub starttls: bool,
    /// Whom to trust, in PEM; without it those whom the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How users and groups are written in it.
    #[serde(default)]
    pub kind: Kind,
    /// Who asks: a name that the directory takes for binding. It needs to read users and groups and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
    /// Below what users are looked for: `ou=people,dc=clinic,dc=example`.
    pub users: String,
    /// Below what groups are looked for; where users are, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
    /// Seconds for which an answer holds, 1 to 3600: a user who left a group is in it for so long. Sessions that are open end then, and after
    /// twice as long where the directory cannot be asked.
    #[serde(default = "sixty")]
    pub keep_seconds: u16,
    /// Seconds that one question may take, 1 to 60.
    #[serde(default = "ten")]
    pub timeout_seconds: u16,
}

fn sixty() -> u16 {
    60
}

fn ten() -> u16 {
    10
}

/// How users and groups are written in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `inetOrgPerson` by `uid`, groups by `member` or `uniqueMember` (RFC 4519).
    #[default]
    Ldap,
    /// Users and groups by `sAMAccountName`, no accounts that are disabled, groups by `member`. A user's primary group, `Domain Users` for
    /// most, is not counted.
    ActiveDirectory,
    /// `posixAccount` by `uid`, groups by `memberUid` (RFC 2307); there are no groups in groups.
    Posix,
}

impl Kind {
    /// What a user is called by.
    pub(crate) fn user_name(self) -> &'static str {
        match self {
            Self::Ldap | Self::Posix => "uid",
            Self::ActiveDirectory => "sAMAccountName",
        }
    }

    /// What a group is called by. In Active Directory many may have one `cn`, in different places, and one only this.
    pub(crate) fn group_name(self) -> &'static str {
        match self {
            Self::Ldap | Self::Posix => "cn",
            Self::ActiveDirectory => "sAMAccountName",
        }
    }

    /// For a name that is escaped already (RFC 4515).
    pub(crate) fn user_filter(self, name: &str) -> String {
        match self {
            Self::Ldap => format!("(&(objectClass=person)(uid={name}))"),
            Self::ActiveDirectory => format!(
                "(&(objectCategory=person)(objectClass=user)(sAMAccountName={name})\
                 (!(userAccountControl:1.2.840.113556.1.4.803:=2)))"
            ),
            Self::Posix => format!("(&(objectClass=posixAccount)(uid={name}))"),
        }
    }

    /// Groups that one of these is in.
    pub(crate) fn group_filter(self, escaped: &[String]) -> String {
        let (class, members): (&str, &[&str]) = match self {
            Self::Ldap => {
                ("(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames))", &["member", "uniqueMember"])
            }
            Self::ActiveDirectory => ("(objectClass=group)", &["member"]),
            Self::Posix => ("(objectClass=posixGroup)", &["memberUid"]),
        };
        let any: String =
            escaped.iter().flat_map(|value| members.iter().map(move |member| format!("({member}={value})"))).collect();
        format!("(&{class}(|{any}))")
    }
}
