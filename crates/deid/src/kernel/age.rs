//! Ages in whole years, with "90 or older" as one category.

use arrow_array::StringViewArray;
use serde::{Deserialize, Serialize};

use super::{Day, Outcome};

/// The age at `reference` in whole years, `cap` and everything over it as `cap`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgeRule {
    pub reference: Day,
    #[serde(default = "ninety")]
    pub cap: u32,
}

fn ninety() -> u32 {
    90
}

pub(super) fn from_birth(_rule: &AgeRule, values: &StringViewArray) -> Outcome {
    super::pending(values)
}

pub(super) fn cap(_cap: u32, values: &StringViewArray) -> Outcome {
    super::pending(values)
}
