//! What the log promises, each promise shown by trying to break it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod child;
mod concurrent;
mod crash;
mod listing;
mod rotation;
mod speed;
mod support;
mod tamper;
