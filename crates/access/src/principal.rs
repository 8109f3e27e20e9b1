//! Who asks, and what for.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use crate::Purpose;

/// Who asks, as far as whoever let them in has found out. Nothing in it comes from the request itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The name that the user signs in with.
    pub name: String,
    /// From the directory or the token that the user signed in with.
    pub groups: BTreeSet<String>,
    /// Where the request comes from. `None` for a program on the machine itself.
    pub client: Option<IpAddr>,
    /// What else is known of the user; conditions of policies may look at it.
    pub attributes: BTreeMap<String, String>,
}

impl Principal {
    /// A user of whom no more than the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// What the data are for. There is no request without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurposeOfUse {
    pub purpose: Purpose,
    /// The research project, where the purpose is research.
    pub project: Option<String>,
    /// Why, in the user's own words. An emergency is not one without.
    pub reason: Option<String>,
}

impl From<Purpose> for PurposeOfUse {
    fn from(purpose: Purpose) -> Self {
        Self { purpose, project: None, reason: None }
    }
}
