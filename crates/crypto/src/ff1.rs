//! Format-preserving encryption.

/// SP 800-38G rev. 1, section 5.1: fewer possible values could all be tried.
pub const MIN_DOMAIN: u32 = 1_000_000;
