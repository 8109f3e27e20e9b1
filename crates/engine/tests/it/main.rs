//! One binary: each links DataFusion.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod enforcement;
mod foreign_files;
mod interop;
mod key_material;
mod limits;
mod on_cluster;
mod output_control;
mod planted;
mod queries;
mod random_queries;
mod scrubbing;
#[path = "../../../keystore/tests/it/servers.rs"]
mod servers;
mod spilling;
mod support;
mod table_store;
mod transit;
