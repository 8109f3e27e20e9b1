//! The rules held against small tables that are worked out completely.

mod intervals;
