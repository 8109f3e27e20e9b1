//! The subset of FHIRPath that such configurations are written in.

use cordon_formats::fhir::{Definitions, ElementDef, TypeDef, TypeKind};

/// The type of what is nested in a resource.
pub(super) const BACKBONE: &str = "BackboneElement";

/// What a rule means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Every resource, whole.
    Everything,
    /// One resource type, whole.
    Whole(String),
    /// Every element of a data type, or an element in it: `nodesByType('HumanName').use`.
    OfType(String, Vec<Step>),
    /// An element by its path from a resource type; `None`: from every one.
    Path(Option<String>, Vec<Step>),
    /// Every element of a name.
    Named(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub name: String,
    pub of_type: Option<String>,
}

/// A path as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub targets: Vec<Target>,
    /// A filter was left out: the rule meant fewer elements than the targets.
    pub widened: bool,
}

/// Reads a path; the error says what of it is not understood.
pub(super) fn parse(text: &str, definitions: &'static Definitions) -> Result<Parsed, &'static str> {
    let mut targets = Vec::new();
    let mut widened = false;
    for part in split(text, '|')? {
        let parsed = one(part.trim(), definitions)?;
        targets.extend(parsed.targets);
        widened |= parsed.widened;
    }
    Ok(Parsed { targets, widened })
}

/// Parts between a sign that stands in no bracket and no text.
fn split(text: &str, sign: char) -> Result<Vec<&str>, &'static str> {
    let (mut depth, mut quoted, mut start) = (0_usize, false, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.checked_sub(1).ok_or("a bracket closes nothing")?,
            c if c == sign && depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    if quoted || depth > 0 {
        return Err("a text or a bracket is not closed");
    }
    parts.push(text.get(start..).unwrap_or_default());
    Ok(parts)
}

fn one(text: &str, definitions: &'static Definitions) -> Result<Parsed, &'static str> {
    // `Condition.onset as Age`, with or without brackets around it.
    let text = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    let (text, cast) = match text.split_once(" as ") {
        Some((text, of)) => (text.trim(), Some(of.trim().to_owned())),
        None => (text, None),
    };
    let mut widened = false;
    let mut root: Option<String> = None;
    let mut by_type: Option<String> = None;
    let mut by_name: Option<String> = None;
    let mut steps: Vec<Step> = Vec::new();
    for (number, part) in split(text, '.')?.into_iter().enumerate() {
        let (part, indexed) = part.split_once('[').map_or((part, false), |(part, _)| (part, true));
        widened |= indexed;
        match part.split_once('(') {
            Some(("nodesByType", argument)) if steps.is_empty() && by_type.is_none() => {
                by_type = Some(argument_of(argument)?);
            }
            Some(("nodesByName", argument)) if steps.is_empty() && by_name.is_none() => {
                by_name = Some(argument_of(argument)?);
            }
            Some(("ofType" | "as", argument)) => {
                let of = argument.trim_end_matches(')').trim_matches('\'').to_owned();
                steps.last_mut().ok_or("a type is said of no element")?.of_type = Some(of);
            }
            // Fewer elements are meant than without it.
            Some(("where" | "first" | "last" | "tail" | "skip" | "take", _)) => widened = true,
            Some(_) => return Err("a function that has no counterpart"),
            None if part == "Resource" && number == 0 => root = None,
            None => {
                if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    return Err("no path of elements");
                }
                let is_root = number == 0 && part.starts_with(|c: char| c.is_ascii_uppercase());
                if is_root {
                    root = Some(part.to_owned());
                } else {
                    steps.push(Step { name: part.to_owned(), of_type: None });
                }
            }
        }
    }
    if let Some(cast) = cast {
        steps.last_mut().ok_or("a type is said of no element")?.of_type = Some(cast);
    }
    let targets = match (root, by_type, by_name, steps) {
        (None, None, Some(name), steps) if steps.is_empty() => vec![Target::Named(name)],
        (_, _, Some(_), _) => return Err("elements by name are for all resources, and alone"),
        (None, Some(of), None, steps) => vec![Target::OfType(of, steps)],
        (Some(root), Some(of), None, steps) => within(&root, &of, &steps, definitions)?,
        (None, None, None, steps) if steps.is_empty() => vec![Target::Everything],
        (Some(root), None, None, steps) if steps.is_empty() => vec![Target::Whole(root)],
        (root, None, None, steps) => vec![Target::Path(root, steps)],
    };
    Ok(Parsed { targets, widened })
}

fn argument_of(text: &str) -> Result<String, &'static str> {
    let name = text.trim_end_matches(')').trim().trim_matches(['\'', '"']);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name { Ok(name.to_owned()) } else { Err("a function without the name of a type") }
}

/// The paths by which a resource type leads to a data type, as deep as one type does not lead back to itself.
fn within(
    root: &str,
    of: &str,
    behind: &[Step],
    definitions: &'static Definitions,
) -> Result<Vec<Target>, &'static str> {
    let id = definitions.resource_type(root).ok_or("no resource type of FHIR R4")?;
    let mut out = Vec::new();
    let mut path = Vec::new();
    lead(definitions.get(id), of, definitions, &mut path, &mut |path: &[(&'static str, &'static str)]| {
        let steps = path.iter().map(|(name, _)| Step { name: (*name).to_owned(), of_type: None });
        out.push(Target::Path(Some(root.to_owned()), steps.chain(behind.iter().cloned()).collect()));
    });
    Ok(out)
}

fn lead(
    def: &'static TypeDef,
    of: &str,
    definitions: &'static Definitions,
    path: &mut Vec<(&'static str, &'static str)>,
    found: &mut impl FnMut(&[(&'static str, &'static str)]),
) {
    for element in &def.elements {
        let inner = definitions.get(element.type_id);
        // What stands in any element is settled for all of them at once.
        if ["extension", "modifierExtension", "contained"].contains(&element.name)
            || path.iter().any(|(_, known)| *known == inner.name)
        {
            continue;
        }
        path.push((element.name, inner.name));
        if inner.name == of {
            found(path);
        } else if path.len() < 6 && matches!(inner.kind, TypeKind::Complex | TypeKind::Backbone) {
            lead(inner, of, definitions, path, found);
        }
        path.pop();
    }
}

/// An element that a target leads to, with the types on the way.
#[derive(Clone)]
pub(super) struct Node {
    pub holder: &'static TypeDef,
    pub element: &'static ElementDef,
    /// The elements from the root on, this one last.
    pub trail: Vec<On>,
}

/// An element on the way, with the name of its choice and its type.
#[derive(Clone, Copy)]
pub(super) struct On {
    pub name: &'static str,
    pub choice: Option<&'static str>,
    pub type_name: &'static str,
}

impl On {
    pub(super) fn new(element: &'static ElementDef, definitions: &'static Definitions) -> Self {
        let type_name = definitions.get(element.type_id).name;
        Self { name: element.name, choice: element.choice, type_name }
    }

    fn is_of(self, type_name: &str) -> bool {
        self.type_name == type_name || (type_name == BACKBONE && self.type_name.contains('.'))
    }

    fn is(self, name: &str) -> bool {
        self.name == name || self.choice == Some(name)
    }
}

/// Where an element stands: in a resource type (`None`: in any), or in a data type wherever that is.
#[derive(Clone)]
pub(super) enum Root {
    Resource(Option<String>),
    Type(String),
}

impl Target {
    /// Whether all that stands at a place is also meant by this.
    pub(super) fn covers(&self, root: &Root, trail: &[On]) -> bool {
        let leads = |steps: &[Step], trail: &[On]| {
            steps.len() <= trail.len()
                && steps
                    .iter()
                    .zip(trail)
                    .all(|(step, on)| on.is(&step.name) && step.of_type.as_deref().is_none_or(|of| of == on.type_name))
        };
        match self {
            Self::Everything => true,
            Self::Whole(name) => matches!(root, Root::Resource(Some(root)) if root == name),
            Self::Named(name) => trail.iter().any(|on| on.is(name)),
            Self::Path(of, steps) => {
                let Root::Resource(root) = root else { return false };
                (of.is_none() || of == root) && leads(steps, trail)
            }
            Self::OfType(of, steps) => {
                let from_root = matches!(root, Root::Type(root) if root == of) && leads(steps, trail);
                let behind = |at: usize| trail.get(at + 1..).unwrap_or_default();
                from_root || trail.iter().enumerate().any(|(at, on)| on.is_of(of) && leads(steps, behind(at)))
            }
        }
    }
}

/// All elements at the end of steps from a type, one for each form of a choice.
pub(super) fn resolve(root: &'static TypeDef, steps: &[Step], definitions: &'static Definitions) -> Vec<Node> {
    let mut at: Vec<(&'static TypeDef, Vec<On>)> = vec![(root, Vec::new())];
    let mut nodes = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let mut next = Vec::new();
        for (def, trail) in at {
            for element in &def.elements {
                let inner = definitions.get(element.type_id);
                let named = element.name == step.name || element.choice == Some(step.name.as_str());
                if !named || step.of_type.as_deref().is_some_and(|of| of != inner.name) {
                    continue;
                }
                let mut trail = trail.clone();
                trail.push(On::new(element, definitions));
                if number + 1 == steps.len() {
                    nodes.push(Node { holder: def, element, trail });
                } else {
                    next.push((inner, trail));
                }
            }
        }
        at = next;
    }
    nodes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cordon_formats::fhir::r4;

    use super::*;

    fn read(text: &str) -> String {
        match parse(text, r4()) {
            Err(why) => why.to_owned(),
            Ok(parsed) => {
                let targets: Vec<String> = parsed.targets.iter().map(|target| format!("{target:?}")).collect();
                let names = targets.join(" ").replace("Step { name: ", "").replace(", of_type: None }", "");
                format!("{}{}", if parsed.widened { "~" } else { "" }, names)
            }
        }
    }

    #[test]
    fn paths_of_configurations_are_read() {
        assert_eq!(read("Resource"), "Everything");
        assert_eq!(read("TestResource"), "Whole(\"TestResource\")");
        assert_eq!(read("Resource.id"), "Path(None, [\"id\"])");
        assert_eq!(read("Patient.name.family"), "Path(Some(\"Patient\"), [\"name\", \"family\"])");
        assert_eq!(read("nodesByType('HumanName').use"), "OfType(\"HumanName\", [\"use\"])");
        assert_eq!(
            read("Patient.nodesByType('HumanName').use"),
            "Path(Some(\"Patient\"), [\"contact\", \"name\", \"use\"]) Path(Some(\"Patient\"), [\"name\", \"use\"])"
        );
        assert_eq!(read("nodesByName('mrn')"), "Named(\"mrn\")");
        assert_eq!(read("Device.where(id.exists()).id"), "~Path(Some(\"Device\"), [\"id\"])");
        assert_eq!(read("Patient.name[0].given"), "~Path(Some(\"Patient\"), [\"name\", \"given\"])");
        let age = "Path(Some(\"Condition\"), [Step { name: \"onset\", of_type: Some(\"Age\") }])";
        for text in [
            "Condition.onset as Age",
            "(Condition.onset as Age)",
            "Condition.onset.ofType(Age)",
            "Condition.onset.as(Age)",
        ] {
            assert_eq!(read(text).replace("[\"onset", "[Step { name: \"onset"), age, "{text}");
        }
        assert_eq!(read("Patient.name | Person.name").matches("Path").count(), 2);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for text in [
            "",
            "Patient..name",
            "Patient.name.replace('a','b')",
            "Patient.where(",
            "nodesByType()",
            "%resource",
            "ünïcode",
            "X.nodesByType('HumanName')",
            "Patient.nodesByName('a')",
            ")",
            "descendants()",
        ] {
            assert!(parse(text, r4()).is_err(), "{text}: {}", read(text));
        }
        let long = "Patient.".repeat(50_000);
        assert!(parse(&long, r4()).is_err());
    }
}
