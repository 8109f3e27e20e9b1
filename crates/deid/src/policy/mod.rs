//! The policy language: as written ([`file`]), what the methods allow ([`method`]), and its compiler ([`check`]), and policies
//! made of other tools' configurations ([`import`]).

pub mod check;
pub mod explain;
pub mod file;
pub mod import;
pub mod method;
