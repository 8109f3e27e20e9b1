//! What a hospital promises, read back from the files as a stranger would read them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod agreement;
mod dirt;
mod promises;
mod read;
