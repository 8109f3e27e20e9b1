//! deid

pub mod kernel;
