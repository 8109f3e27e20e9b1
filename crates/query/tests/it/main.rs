//! Questions as a server asks them: in a process that stays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod clinic;
mod revoked;
