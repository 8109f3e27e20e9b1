//! One binary: each links DataFusion.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod foreign_files;
mod interop;
mod queries;
mod scrubbing;
mod spilling;
mod support;
mod table_store;
