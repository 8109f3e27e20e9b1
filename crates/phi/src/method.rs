//! The three ways in which HIPAA lets data leave as not (fully) identified.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A de-identification method of 45 CFR 164.514.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// 164.514(b)(2): the eighteen kinds of identifiers are removed.
    SafeHarbor,
    /// 164.514(e): sixteen kinds are removed; dates, towns and ZIP codes may stay; a data use agreement is required.
    LimitedDataSet,
    /// 164.514(b)(1): an expert determines and documents that the risk is very small.
    ExpertDetermination,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::SafeHarbor => "safe-harbor",
            Self::LimitedDataSet => "limited-data-set",
            Self::ExpertDetermination => "expert-determination",
        }
    }

    /// The clause that allows the method.
    pub fn clause(self) -> &'static str {
        match self {
            Self::SafeHarbor => "45 CFR 164.514(b)(2)",
            Self::LimitedDataSet => "45 CFR 164.514(e)",
            Self::ExpertDetermination => "45 CFR 164.514(b)(1)",
        }
    }
}
