//! OpenLDAP and Samba's Active Directory of this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod active_directory;
mod open_ldap;
mod samba;
#[path = "../../../keystore/tests/it/servers.rs"]
mod servers;
mod settings;
mod slapd;
