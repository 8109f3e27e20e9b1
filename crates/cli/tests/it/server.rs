//! `cordon serve` and real clients of it: who is let in, what they get, and what happens when there is too much.

mod clients;
#[path = "../../../../benches/load/clients.rs"]
mod crowd;
mod http;
mod kerberos;
mod load;
mod oidc;
mod postgres;
#[path = "../../../kerberos/tests/it/realm.rs"]
mod realm;
mod scans;
mod site;
