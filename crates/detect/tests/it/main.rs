//! One binary for all of the crate's integration tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr)]

mod tagger;
