//! The policy language: as written ([`file`]), what the methods allow ([`method`]), and its compiler ([`check`]).

pub mod check;
pub mod explain;
pub mod file;
pub mod method;
