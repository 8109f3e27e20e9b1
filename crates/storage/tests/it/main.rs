//! Stores that are real, and what is said where they are not well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod hdfs;
mod hdfs_server;
