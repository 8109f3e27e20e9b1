//! What a hospital promises, read back from the files as a stranger would read them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::float_cmp, reason = "formats must agree to the last bit")]

mod agreement;
mod dirt;
mod exchange;
mod mentions;
mod promises;
mod read;
