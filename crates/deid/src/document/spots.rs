//! The places that a walk meets: what was left out at each, and what changes are marked with.

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;

use super::plan::Plan;
use crate::fhir::FailureReason;
use crate::policy::file::Undeclared;

/// The places of a format, each a small thing that `name` writes out for people: never a value.
pub(crate) struct Spots<S> {
    name: fn(S) -> String,
    fails: bool,
    undeclared: HashMap<S, u64>,
    /// Places that changes are marked with.
    marked: Vec<S>,
}

impl<S: Copy + Eq + Hash> Spots<S> {
    pub(crate) fn new(undeclared: Undeclared, name: fn(S) -> String) -> Self {
        let fails = undeclared == Undeclared::Fail;
        Self { name, fails, undeclared: HashMap::new(), marked: Vec::new() }
    }

    /// Something was left out here because no rule reaches it; where the policy wants it so, its document fails.
    pub(crate) fn undeclared(&mut self, spot: S, plan: &mut Plan<'_>) {
        self.count(spot);
        if self.fails {
            plan.fail(|| (self.name)(spot), FailureReason::Undeclared);
        }
    }

    /// Something was left out here that is of no document.
    pub(crate) fn count(&mut self, spot: S) {
        *self.undeclared.entry(spot).or_insert(0) += 1;
    }

    pub(crate) fn mark(&mut self, spot: S) -> u32 {
        // Marks of one document come one after the other and repeat from document to document.
        if self.marked.last() != Some(&spot) {
            match self.marked.iter().rev().take(64).position(|known| *known == spot) {
                Some(back) => return (self.marked.len() - 1 - back) as u32,
                None => self.marked.push(spot),
            }
        }
        (self.marked.len() - 1) as u32
    }

    /// The place of a mark.
    pub(crate) fn place(&self, mark: u32) -> String {
        self.marked.get(mark as usize).map_or_else(|| "?".to_owned(), |spot| (self.name)(*spot))
    }

    /// How often something was left out, by place.
    pub(crate) fn report(&self) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        for (spot, count) in &self.undeclared {
            *out.entry((self.name)(*spot)).or_insert(0) += count;
        }
        out
    }
}
