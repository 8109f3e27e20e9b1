//! `cordon serve` and real clients of it: who is let in, what they get, and what happens when there is too much.

mod active_directory;
mod clients;
#[path = "../../../../benches/load/clients.rs"]
mod crowd;
mod directory;
mod flight;
mod http;
mod kerberos;
mod load;
mod oidc;
mod postgres;
#[path = "../../../kerberos/tests/it/realm.rs"]
mod realm;
#[path = "../../../directory/tests/it/samba.rs"]
mod samba;
mod scans;
pub mod site;
#[path = "../../../directory/tests/it/slapd.rs"]
mod slapd;
mod taken_back;
mod tokens;
mod wire;
