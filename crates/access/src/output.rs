//! Datasets of which only statistics may leave.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::grants::Dataset;
use crate::reveal::Lifetime;
use crate::wildcard::Wildcard;

/// Datasets of which queries may give out only aggregates, of groups that are large enough. It holds for everyone who reads them and for every
/// purpose; there are no exceptions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OutputSection {
    /// The datasets, by exact name or with wildcards: `*` for any characters, `?` for one.
    pub datasets: Vec<String>,
    /// The fewest persons that a group may have and be shown, from 2 to 1000. The default follows the CMS cell size suppression policy, which
    /// shows no cell of 1 to 10.
    #[serde(default = "cms_smallest")]
    #[schemars(range(min = 2, max = 1000))]
    pub smallest_group: u32,
    /// Counts are shown as multiples of this number, from 2 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 100))]
    pub rounding: Option<u32>,
    /// For how long answers are remembered and new ones held against them, at most 30 days. Of several the longest holds for all.
    #[serde(default = "month")]
    pub remember: Lifetime,
}

/// What a dataset's statistics are held to. Of several entries that name it, the narrower each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    pub smallest_group: u32,
    pub rounding: Option<u32>,
}

/// The sections, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutputRules(Vec<(Vec<Wildcard>, OutputSection)>);

fn cms_smallest() -> u32 {
    11
}

fn month() -> Lifetime {
    Lifetime::days(30)
}

impl OutputRules {
    pub(crate) fn check(sections: Vec<OutputSection>, problems: &mut Vec<Problem>) -> Self {
        for (index, section) in sections.iter().enumerate() {
            let at = |key: &str| format!("/output-control/{index}/{key}");
            let mut wrong = |key: &str, what: &str, help: &str| {
                problems.push(Problem { at: at(key), what: what.to_owned(), help: help.to_owned() });
            };
            if section.datasets.is_empty() || section.datasets.iter().any(String::is_empty) {
                wrong("datasets", "output control without a dataset", "name the datasets, `\"*\"` for all");
            }
            if !(2..=1000).contains(&section.smallest_group) {
                wrong("smallest-group", "a smallest group has from 2 to 1000 persons", "11 is what CMS asks for");
            }
            if section.rounding.is_some_and(|base| !(2..=100).contains(&base)) {
                wrong(
                    "rounding",
                    "counts are rounded to multiples of 2 to 100",
                    "write `rounding: 5`, or leave it out",
                );
            }
        }
        let checked =
            |section: OutputSection| (section.datasets.iter().map(|pattern| Wildcard::new(pattern)).collect(), section);
        Self(sections.into_iter().map(checked).collect())
    }

    pub(crate) fn of(&self, dataset: &str) -> Option<OutputLimits> {
        let of_it = self.0.iter().filter(|(patterns, _)| patterns.iter().any(|pattern| pattern.matches(dataset)));
        of_it
            .map(|(_, section)| OutputLimits { smallest_group: section.smallest_group, rounding: section.rounding })
            .reduce(|one, other| OutputLimits {
                smallest_group: one.smallest_group.max(other.smallest_group),
                rounding: one.rounding.max(other.rounding),
            })
    }

    /// For how many seconds answers are remembered.
    pub(crate) fn remember(&self) -> Option<u64> {
        self.0.iter().map(|(_, section)| section.remember.seconds()).max()
    }

    /// Names that fit no dataset: a slip of the pen here leaves a dataset open.
    pub(crate) fn unmatched(&self, datasets: &[Dataset<'_>], problems: &mut Vec<Problem>) {
        for (index, (patterns, section)) in self.0.iter().enumerate() {
            for (at, (pattern, text)) in patterns.iter().zip(&section.datasets).enumerate() {
                if !datasets.iter().any(|dataset| pattern.matches(dataset.name)) {
                    problems.push(Problem {
                        at: format!("/output-control/{index}/datasets/{at}"),
                        what: format!("no dataset fits `{text}`: the output of none is controlled by it"),
                        help: "write a dataset's name as `cordon tables` shows it".to_owned(),
                    });
                }
            }
        }
    }
}
