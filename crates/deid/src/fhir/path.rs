//! The subset of FHIRPath that names elements in a policy.

use cordon_formats::fhir::{Definitions, ElementDef, TypeDef};

/// `Observation.value.ofType(Quantity).code` and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// `None` for `*`, every resource type.
    pub root: Option<String>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub name: String,
    pub of_type: Option<String>,
}

impl Step {
    /// Whether it means this element: by its name, or as one form of a choice.
    pub(super) fn means(&self, element: &ElementDef, type_name: &str) -> bool {
        let named = self.name == element.name || element.choice == Some(self.name.as_str());
        named && self.of_type.as_deref().is_none_or(|of| of == type_name)
    }
}

impl Path {
    /// Reads a path whose first part is a type or `*`.
    pub(super) fn rooted(text: &str) -> Result<Self, &'static str> {
        let (root, rest) =
            text.split_once('.').ok_or("a path has a type and at least one element: `Patient.birthDate`")?;
        if root.is_empty() {
            return Err("a path begins with a type");
        }
        Ok(Self { root: (root != "*").then(|| root.to_owned()), steps: steps(rest)? })
    }

    /// Reads a path from the root of a resource of `type_name`.
    pub(super) fn within(type_name: &str, text: &str) -> Result<Self, &'static str> {
        Ok(Self { root: Some(type_name.to_owned()), steps: steps(text)? })
    }

    /// How many of the steps are spent when a walk enters `def`; `None` when the path does not lead through it.
    pub(super) fn enters(&self, def: &TypeDef) -> Option<usize> {
        let Some(root) = &self.root else { return def.is_resource().then_some(0) };
        let mut names = def.name.split('.');
        if names.next() != Some(root) {
            return None;
        }
        let mut spent = 0;
        for name in names {
            let step = self.steps.get(spent)?;
            if step.name != name || step.of_type.is_some() {
                return None;
            }
            spent += 1;
        }
        (spent < self.steps.len()).then_some(spent)
    }

    /// A path beats another with fewer steps, and one from a resource beats `*` beats one from a data type.
    pub(super) fn rank(&self, definitions: &Definitions) -> (u8, usize, usize) {
        let root = match &self.root {
            None => 1,
            Some(name) if definitions.resource_type(name).is_some() => 2,
            Some(_) => 0,
        };
        (root, self.steps.len(), self.steps.iter().filter(|step| step.of_type.is_some()).count())
    }
}

fn steps(text: &str) -> Result<Vec<Step>, &'static str> {
    let mut steps: Vec<Step> = Vec::new();
    for part in text.split('.') {
        if let Some(of) = part.strip_prefix("ofType(").and_then(|rest| rest.strip_suffix(')')) {
            match steps.last_mut() {
                Some(step) if step.of_type.is_none() => step.of_type = Some(of.to_owned()),
                _ => return Err("`ofType()` follows the element of a choice: `value.ofType(string)`"),
            }
            continue;
        }
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err("only element names and `ofType(…)` are known in a path");
        }
        steps.push(Step { name: part.to_owned(), of_type: None });
    }
    if steps.is_empty() { Err("the path names no element") } else { Ok(steps) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cordon_formats::fhir::r4;

    use super::*;

    #[test]
    fn paths_are_read_or_refused() {
        let path = Path::rooted("Observation.component.value.ofType(string)").unwrap();
        assert_eq!(path.root.as_deref(), Some("Observation"));
        assert_eq!(path.steps.last().unwrap().of_type.as_deref(), Some("string"));
        assert_eq!(Path::rooted("*.meta.source").unwrap().root, None);
        for bad in [
            "Patient",
            "",
            ".",
            "Patient.",
            "Patient..id",
            "Patient.ofType(x)",
            "Patient.name[0]",
            "Patient.name.where(use='x')",
        ] {
            assert!(Path::rooted(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_enters_the_backbone_that_it_leads_through() {
        let path = Path::rooted("Observation.component.value").unwrap();
        let enters = |name: &str| path.enters(r4().get(r4().type_id(name).unwrap()));
        assert_eq!(enters("Observation"), Some(0));
        assert_eq!(enters("Observation.component"), Some(1));
        assert_eq!(enters("Patient"), None);
        assert_eq!(enters("Observation.referenceRange"), None);
    }
}
