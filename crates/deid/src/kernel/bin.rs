//! A range in place of a number.

use std::sync::Arc;

use arrow_array::StringViewArray;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::keep::decimal;
use super::text::to_text;

/// Which ranges. Each holds its lower edge and not its upper one: `[40,50)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BinRule {
    /// Between neighbouring edges; below the first `<40`, from the last on `>=90`.
    Edges(Vec<f64>),
    /// Of equal width, one of them starting at `origin`.
    Width {
        width: f64,
        #[serde(default)]
        origin: f64,
    },
}

pub(super) fn apply(rule: &BinRule, values: &StringViewArray) -> Outcome {
    let (values, failures) = match rule {
        BinRule::Edges(edges) => {
            let labels = Labels::new(edges);
            to_text(values, |_, text, out| {
                let Some(number) = decimal(text)? else {
                    return Ok(false);
                };
                out.push_str(labels.of(number));
                Ok(true)
            })
        }
        BinRule::Width { width, origin } => {
            let width = if *width > 0.0 { *width } else { f64::INFINITY };
            let decimals = decimals(width).max(decimals(*origin));
            let scale = 10_f64.powi(i32::try_from(decimals).unwrap_or(0));
            let mut labels: HashMap<u64, String> = HashMap::new();
            to_text(values, |_, text, out| {
                let Some(number) = decimal(text)? else {
                    return Ok(false);
                };
                let low = low_edge(number, *origin, width, scale);
                // Spelling floating-point numbers costs ten times what finding their bin does.
                let label = labels.entry(low.to_bits()).or_insert_with(|| {
                    // Edges are spelled with the decimals of the rule, so that 0.1 steps do not show
                    // 0.30000000000000004. Adding zero turns -0 to 0.
                    format!("[{:.decimals$},{:.decimals$})", low + 0.0, low + width + 0.0)
                });
                out.push_str(label);
                Ok(true)
            })
        }
    };
    Outcome { values: Arc::new(values), failures }
}

/// The edge below a number. Quotients of decimals are off by a bit (0.3 / 0.1 is under 3), so the neighbouring edges
/// are looked at too.
fn low_edge(number: f64, origin: f64, width: f64, scale: f64) -> f64 {
    let steps = ((number - origin) / width).floor();
    let edge = |steps: f64| steps.mul_add(width, origin);
    // Edges as the rule spells them, in decimals: 3 × 0.1 is meant to be 0.3.
    let spelled = |steps: f64| {
        let rounded = (edge(steps) * scale).round() / scale;
        if rounded.is_finite() { rounded } else { edge(steps) }
    };
    if number >= spelled(steps + 1.0) {
        edge(steps + 1.0)
    } else if number < spelled(steps) {
        edge(steps - 1.0)
    } else {
        edge(steps)
    }
}

/// The labels of a list of edges, made once a column.
struct Labels {
    edges: Vec<f64>,
    /// One more than edges.
    labels: Vec<String>,
}

impl Labels {
    fn new(edges: &[f64]) -> Self {
        let mut edges: Vec<f64> = edges.iter().copied().filter(|edge| edge.is_finite()).collect();
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        let below = edges.first().map_or_else(|| "any".to_owned(), |first| format!("<{first}"));
        let mut labels = vec![below];
        labels.extend(edges.windows(2).filter_map(|pair| match pair {
            [low, high] => Some(format!("[{low},{high})")),
            _ => None,
        }));
        labels.extend(edges.last().map(|last| format!(">={last}")));
        Self { edges, labels }
    }

    fn of(&self, number: f64) -> &str {
        let bin = self.edges.partition_point(|edge| *edge <= number);
        self.labels.get(bin).map_or("any", String::as_str)
    }
}

/// Digits after the point in the shortest spelling.
fn decimals(number: f64) -> usize {
    number.to_string().split_once('.').map_or(0, |(_, fraction)| fraction.len())
}
