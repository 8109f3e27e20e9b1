//! Stores that are real, stores of these tests' own that misbehave, and what is said where they are not well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]
#![allow(clippy::needless_pass_by_value, clippy::format_push_string)]

mod bucket;
mod encryption;
mod faults;
mod google;
mod hdfs;
mod hdfs_server;
mod identity;
mod listing;
mod seaweed;
#[path = "../../../keystore/tests/it/servers.rs"]
mod servers;
#[path = "../../../keystore/tests/it/standin.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod standin;
mod tls;
