//! The program as its users meet it: every test runs the built binary in a folder of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod access;
mod canaries;
mod hostile_input;
mod killed;
mod project_folder;
mod runs;
mod storage;
mod support;
mod third_party;
