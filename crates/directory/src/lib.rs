//! Which groups a user is in, by a directory: LDAP (RFC 4511) and Active Directory, groups in groups counted.
//!
//! This crate exists so that a log-in by Kerberos, which says only who somebody is, comes with groups that policies know. It refuses to
//! speak LDAP without TLS beyond this machine, to take the first of several entries of one name, to believe a directory that is down by
//! what it said long ago, and to follow referrals to other servers. No password and no name of a person is in any message.

mod config;
mod look_up;

pub use config::{DirectoryConfig, Kind};
pub use look_up::{Directory, DirectoryError, Found};
