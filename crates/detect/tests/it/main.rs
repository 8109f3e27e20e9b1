//! What the crate promises, shown from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod cases;
mod columns;
mod laws;
mod tagger;
mod truth;
