//! Key stores against the real components, which the tests start on free ports and stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]
#![allow(clippy::needless_pass_by_value, clippy::format_push_string)]

mod aws;
mod azure;
mod credentials;
mod failing;
mod google;
mod http;
mod pkcs11;
mod ranger;
#[path = "../../../kerberos/tests/it/realm.rs"]
mod realm;
mod servers;
mod standin;
#[path = "../../../storage/tests/it/tls.rs"]
mod tls;
mod transit;
