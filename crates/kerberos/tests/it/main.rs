//! A realm of MIT Kerberos of this machine, and curl as its client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod log_in;
mod realm;
