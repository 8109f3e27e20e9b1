//! A real Spark in `spark` (`cargo nextest run --profile spark`), and what needs none in `plain`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod cluster;
mod fake;
mod plain;
#[path = "../../../keystore/tests/it/servers.rs"]
mod servers;
mod spark;
