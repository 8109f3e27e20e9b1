//! The rules held against small tables that are worked out completely.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod intervals;
