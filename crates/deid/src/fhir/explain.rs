//! What a FHIR section does, rule by rule.

use cordon_phi::Method;

use super::recipe::FhirRecipe;
use crate::policy::explain::{FieldLine, why, with_limits};

/// A line for each rule, in the order of the policy; what holds without a rule comes first.
pub(crate) fn explain(recipe: &FhirRecipe, method: Method) -> Vec<FieldLine> {
    let settled = |field: &str, letter, why: &str| FieldLine {
        field: field.to_owned(),
        column: None,
        kind: "free-text",
        letter,
        action: "drop",
        why: why.to_owned(),
        key: "direct",
    };
    let letter = cordon_phi::IdentifierKind::FreeText.clause();
    let mut lines = vec![
        settled("elements without a rule", letter, "what is not declared never passes"),
        settled("extensions that are not listed", letter, "what is not declared never passes"),
        settled("identifiers that are not listed", letter, "what is not declared never passes"),
    ];
    if method == Method::SafeHarbor {
        lines.push(FieldLine {
            field: "quantities in units of time".to_owned(),
            column: None,
            kind: cordon_phi::IdentifierKind::Age.name(),
            letter: cordon_phi::IdentifierKind::Age.clause(),
            action: "age-cap",
            why: "a span over 89 years shows such an age, (b)(2)(i)(C): 90 years at most, in any unit".to_owned(),
            key: "quasi",
        });
    }
    lines.extend(recipe.lines.iter().map(|line| FieldLine {
        field: line.place.clone(),
        column: line.column.clone(),
        kind: line.kind.name(),
        letter: line.kind.clause(),
        action: line.action.name(),
        why: with_limits(line.because.as_deref().unwrap_or(why(method, line.kind, line.action)), &line.limits),
        key: line.kind.key_class().name(),
    }));
    lines
}
