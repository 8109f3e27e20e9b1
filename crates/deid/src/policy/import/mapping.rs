//! From the rules of a configuration to those of a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path as FilePath;

use cordon_formats::fhir::{Definitions, Json, TypeDef, TypeKind, r4};
use cordon_phi::{IdentifierKind as Kind, Method, SafeHarborClause};
use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::config::{Config, Parameters, RuleSection};
use super::path::{BACKBONE, Node, On, Root, Step, Target, parse, resolve};
use super::{ImportOptions, Line, Status};
use crate::fhir::floor;
use crate::kernel::{RESTRICTED_2000, RESTRICTED_2010};
use crate::policy::file::{Action, FieldSection, Otherwise, PolicyFile};
use crate::policy::method;

const SAFE_HARBOR: &str = include_str!("../../../policies/fhir-r4.yaml");
const LIMITED: &str = include_str!("../../../policies/fhir-r4-limited-data-set.yaml");

/// The largest shift of such a tool, in days.
const SHIFT_DAYS: u32 = 50;

/// A rule of ours under construction.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    kind: Kind,
    action: Action,
    /// Further keys with their values, as YAML.
    more: Vec<(&'static str, String)>,
    /// The line of the configuration that it came from; 0: from the shipped policy.
    line: usize,
}

impl Made {
    fn dropped(kind: Kind, line: usize) -> Self {
        Self { kind, action: Action::Drop, more: Vec::new(), line }
    }

    fn retains(&self) -> bool {
        !matches!(self.action, Action::Drop | Action::Blank | Action::Redact)
    }
}

/// Which part of the policy a line of it is.
pub(super) enum Spot {
    Type(String),
    Element(String),
}

pub(super) struct Draft {
    method: Method,
    exclude: BTreeSet<String>,
    types: IndexMap<String, Made>,
    elements: IndexMap<String, Made>,
    lines: Vec<Line>,
}

/// Methods of the tool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Redact,
    Keep,
    DateShift,
    CryptoHash,
    Encrypt,
    Substitute,
    Perturb,
    Generalize,
    Unknown,
}

impl Does {
    fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "redact" => Self::Redact,
            "keep" => Self::Keep,
            "dateshift" => Self::DateShift,
            "cryptohash" => Self::CryptoHash,
            "encrypt" => Self::Encrypt,
            "substitute" => Self::Substitute,
            "perturb" => Self::Perturb,
            "generalize" => Self::Generalize,
            _ => Self::Unknown,
        }
    }
}

/// What one element comes to.
struct Verdict {
    made: Made,
    status: Status,
    clause: Option<String>,
    why: String,
}

struct Mapper<'a> {
    definitions: &'static Definitions,
    parameters: &'a Parameters,
    draft: Draft,
    /// What earlier rules mean, in their order, and whether they keep it.
    settled: Vec<(Target, bool)>,
    /// The rule of ids has been said.
    has_ids: bool,
    everything: bool,
}

/// The rules of a configuration, mapped; `lines` are where they stand.
pub(super) fn draft(config: &Config, lines: &[usize], method: Method) -> Draft {
    let draft = Draft {
        method,
        exclude: BTreeSet::new(),
        types: IndexMap::new(),
        elements: IndexMap::new(),
        lines: Vec::new(),
    };
    let mut mapper = Mapper {
        definitions: r4(),
        parameters: &config.parameters,
        draft,
        settled: Vec::new(),
        has_ids: false,
        everything: false,
    };
    mapper.parameters();
    for (number, rule) in config.fhir_path_rules.iter().enumerate() {
        mapper.rule(rule, lines.get(number).copied().unwrap_or(0));
    }
    mapper.implied();
    mapper.base();
    mapper.draft
}

impl Mapper<'_> {
    fn say(
        &mut self,
        line: usize,
        rule: (&str, &str),
        status: Status,
        clause: Option<String>,
        becomes: impl Into<String>,
    ) {
        let (path, method) = (rule.0.to_owned(), rule.1.to_owned());
        let line = Line { line, path, method, status, clause, becomes: becomes.into() };
        self.draft.lines.push(line);
    }

    fn note(&mut self, what: &str, clause: Option<&str>, becomes: impl Into<String>) {
        self.say(0, (what, ""), Status::Note, clause.map(str::to_owned), becomes);
    }

    fn parameters(&mut self) {
        let parameters = self.parameters;
        let is_said = |key: &Value| !matches!(key, Value::Null) && key.as_str() != Some("");
        for (name, key) in [
            ("cryptoHashKey", &parameters.crypto_hash_key),
            ("dateShiftKey", &parameters.date_shift_key),
            ("encryptKey", &parameters.encrypt_key),
        ] {
            if is_said(key) {
                let becomes =
                    "is not copied: keys are those of the key ring, so hashes and shifts are others than before";
                self.note(name, None, becomes);
            }
        }
        if let Some(scope) = &parameters.date_shift_scope {
            let becomes = "dates are shifted by the subject, never by the resource, file or folder".to_owned();
            self.note("dateShiftScope", None, if scope.is_empty() { "is not needed".to_owned() } else { becomes });
        }
        if parameters.date_shift_fixed_offset_in_days.is_some() {
            let becomes = "is not copied: one shift for all is undone by anybody who knows one date";
            self.note("dateShiftFixedOffsetInDays", None, becomes);
        }
        if is_said(&parameters.custom_settings) {
            self.note("customSettings", None, "has no counterpart");
        }
        if parameters.enable_partial_zip_codes_for_redact {
            let ours: BTreeSet<u16> = RESTRICTED_2000.into_iter().chain(RESTRICTED_2010).collect();
            let theirs: BTreeSet<u16> =
                parameters.restricted_zip_code_tabulation_areas.iter().filter_map(|text| text.parse().ok()).collect();
            let missing = ours.difference(&theirs).count();
            if missing > 0 {
                self.note(
                    "restrictedZipCodeTabulationAreas",
                    Some("164.514(b)(2)(i)(B)"),
                    format!(
                        "lacks {missing} prefixes of 20,000 people or fewer; those of every census become 000 here"
                    ),
                );
            }
        }
    }

    fn rule(&mut self, rule: &RuleSection, line: usize) {
        let named = (rule.path.as_str(), rule.method.as_str());
        let does = Does::of(&rule.method);
        let parsed = match parse(&rule.path, self.definitions) {
            Ok(parsed) => parsed,
            Err(why) => return self.not_understood(rule, line, does, why),
        };
        if does == Does::Unknown {
            self.say(line, named, Status::Unmapped, None, "no method that is known: what it means is dropped");
        }
        // Of a rule for some elements only the dropping can be widened to all of them.
        let does = match (parsed.widened, does) {
            (true, Does::Keep) => {
                let becomes = "filters have no counterpart: nothing is kept for it";
                return self.say(line, named, Status::Unmapped, None, becomes);
            }
            (true, Does::Redact) => does,
            (true, _) | (_, Does::Unknown) => {
                if parsed.widened {
                    self.say(
                        line,
                        named,
                        Status::Unmapped,
                        None,
                        "filters have no counterpart: all elements are dropped",
                    );
                }
                Does::Redact
            }
            (false, does) => does,
        };
        let mut verdicts = Vec::new();
        for target in &parsed.targets {
            self.target(target, rule, line, does, parsed.widened, &mut verdicts);
        }
        if verdicts.is_empty() {
            verdicts.push((Status::NoEffect, None, "nothing in it that could be settled by this".to_owned()));
        }
        self.summed(named, line, verdicts);
        let targets: Vec<Target> = parsed.targets.into_iter().map(|target| self.normal(target)).collect();
        self.settled.extend(targets.into_iter().map(|target| (target, does == Does::Keep)));
    }

    /// One line for the rule: the worst of what its elements came to.
    fn summed(&mut self, named: (&str, &str), line: usize, verdicts: Vec<(Status, Option<String>, String)>) {
        let Some(worst) = verdicts.iter().map(|(status, ..)| *status).filter(|status| *status < Status::NoEffect).max()
        else {
            if let Some((status, clause, why)) = verdicts.into_iter().next() {
                self.say(line, named, status, clause, why);
            }
            return;
        };
        let mut texts: Vec<String> = Vec::new();
        let mut clause = None;
        for (status, of, why) in verdicts {
            if status == worst {
                clause = clause.or(of);
                if !texts.contains(&why) {
                    texts.push(why);
                }
            }
        }
        let more = texts.len().saturating_sub(3);
        texts.truncate(3);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        self.say(line, named, worst, clause, texts.join("; ") + &more);
    }

    /// A rule that cannot be read: what it may mean must not pass.
    fn not_understood(&mut self, rule: &RuleSection, line: usize, does: Does, why: &str) {
        let named = (rule.path.as_str(), rule.method.as_str());
        if does == Does::Keep {
            return self.say(line, named, Status::Unmapped, None, format!("{why}: nothing is kept for it"));
        }
        let root = rule.path.trim_start_matches('(').split(['.', '(', '[', ' ']).next().unwrap_or_default();
        let becomes = if self.definitions.resource_type(root).is_some() {
            self.draft.exclude.insert(root.to_owned());
            format!("{why}: all of {root} is left out")
        } else if root.starts_with(|c: char| c.is_ascii_uppercase()) && root != "Resource" {
            format!("FHIR R4 has no `{root}`: it never passes")
        } else {
            self.everything = true;
            format!("{why}: it may mean anything, so nothing is kept")
        };
        self.say(line, named, Status::Unmapped, None, becomes);
    }

    /// `HumanName.use` is an element of a type, wherever it stands.
    fn normal(&self, target: Target) -> Target {
        match target {
            Target::Path(Some(root), steps) if self.is_data_type(&root) => Target::OfType(root, steps),
            Target::Whole(root) if self.is_data_type(&root) => Target::OfType(root, Vec::new()),
            Target::OfType(of, steps) if self.definitions.resource_type(&of).is_some() => {
                if steps.is_empty() {
                    Target::Whole(of)
                } else {
                    Target::Path(Some(of), steps)
                }
            }
            other => other,
        }
    }

    fn is_data_type(&self, name: &str) -> bool {
        self.definitions.resource_type(name).is_none() && self.definitions.type_id(name).is_some()
    }

    fn target(
        &mut self,
        target: &Target,
        rule: &RuleSection,
        line: usize,
        does: Does,
        widened: bool,
        out: &mut Vec<(Status, Option<String>, String)>,
    ) {
        let definitions = self.definitions;
        let never = |name: &str| (Status::NoEffect, None, format!("FHIR R4 has no `{name}`: it never passes"));
        match self.normal(target.clone()) {
            Target::Everything if does == Does::Keep => {
                out.push((Status::NoEffect, None, "what no rule names goes by the policy's own rules".to_owned()));
            }
            Target::Everything => {
                self.everything = true;
                out.push((Status::Mapped, None, "every element is dropped".to_owned()));
            }
            Target::Whole(name) if definitions.resource_type(&name).is_none() => out.push(never(&name)),
            Target::Whole(_) if does == Does::Keep => {
                out.push((Status::NoEffect, None, "what no rule names goes by the policy's own rules".to_owned()));
            }
            Target::Whole(name) => {
                let whole = if widened { "a part of it is meant: all of it is left out" } else { "it is left out" };
                out.push((Status::Mapped, None, whole.to_owned()));
                self.draft.exclude.insert(name);
            }
            Target::Named(name) => self.named(&name, line, does, out),
            Target::OfType(name, _) if name == BACKBONE && does == Does::Keep => {
                out.push((Status::Unmapped, None, "what is nested is not kept as a whole: name its paths".to_owned()));
            }
            Target::OfType(name, _) if name == BACKBONE => {
                for (_, nested) in definitions.types().filter(|(_, def)| def.kind == TypeKind::Backbone) {
                    self.put(nested.name.to_owned(), Made::dropped(Kind::Clinical, line));
                }
                out.push((Status::Mapped, None, "all that is nested in resources is dropped".to_owned()));
            }
            Target::OfType(name, steps) => {
                let Some(id) = definitions.type_id(&name) else { return out.push(never(&name)) };
                let def = definitions.get(id);
                if steps.is_empty() {
                    return self.of_type(def, rule, line, does, out);
                }
                let nodes = resolve(def, &steps, definitions);
                if nodes.is_empty() {
                    out.push(never(&rule.path));
                }
                for node in nodes {
                    self.node(&Root::Type(name.clone()), &node, rule, line, does, out);
                }
            }
            Target::Path(root, steps) => {
                if root.as_deref() == Some("Bundle") {
                    let why = "bundles are taken apart, and nothing of their own passes".to_owned();
                    return out.push((Status::NoEffect, None, why));
                }
                let roots: Vec<&TypeDef> = match &root {
                    Some(name) => definitions.resource_type(name).map(|id| definitions.get(id)).into_iter().collect(),
                    None => definitions.types().map(|(_, def)| def).filter(|def| def.is_resource()).collect(),
                };
                let mut nodes: Vec<Node> = Vec::new();
                for def in roots {
                    nodes.extend(resolve(def, &steps, definitions));
                    if root.is_none() && !nodes.is_empty() {
                        // The same element in all resources.
                        break;
                    }
                }
                if nodes.is_empty() {
                    out.push(never(&rule.path));
                }
                for node in nodes {
                    self.node(&Root::Resource(root.clone()), &node, rule, line, does, out);
                }
            }
        }
    }

    /// Every element of a name, in whatever type.
    fn named(&mut self, name: &str, line: usize, does: Does, out: &mut Vec<(Status, Option<String>, String)>) {
        if does == Does::Keep {
            return out.push((Status::Unmapped, None, "elements by name are not kept: name their paths".to_owned()));
        }
        let mut any = false;
        for (_, def) in self.definitions.types() {
            for element in def.elements.iter().filter(|element| element.name == name || element.choice == Some(name)) {
                if def.is_resource() && element.name == "id" {
                    continue;
                }
                any = true;
                let type_name = self.definitions.get(element.type_id).name;
                let kind = kind_of(def, element, type_name);
                let key = format!("{}.{}", def.name, element.name);
                self.draft.elements.entry(key).or_insert_with(|| Made::dropped(kind, line));
            }
        }
        let status = match (any, does) {
            (false, _) => Status::NoEffect,
            (true, Does::Redact) => Status::Mapped,
            (true, _) => Status::Stricter,
        };
        out.push((status, None, "every element of the name is dropped".to_owned()));
    }

    fn is_settled(&self, root: &Root, trail: &[On]) -> bool {
        self.settling(root, trail).is_some()
    }

    /// Whether the first rule that means a place keeps it; `None` where none does.
    fn settling(&self, root: &Root, trail: &[On]) -> Option<bool> {
        self.settled.iter().find(|(target, _)| target.covers(root, trail)).map(|(_, keeps)| *keeps)
    }

    /// A rule for all elements of a data type.
    fn of_type(
        &mut self,
        def: &'static TypeDef,
        rule: &RuleSection,
        line: usize,
        does: Does,
        out: &mut Vec<(Status, Option<String>, String)>,
    ) {
        let root = Root::Type(def.name.to_owned());
        if self.draft.types.contains_key(def.name) || self.is_settled(&root, &[]) {
            return out.push((Status::NoEffect, None, "an earlier rule settles it".to_owned()));
        }
        if def.name == "Element" && does != Does::Keep {
            self.everything = true;
        }
        let settled_alone = match def.name {
            "Extension" => Some("extensions that are not listed never pass"),
            "Resource" | "Element" => Some("it has no values of its own"),
            _ => None,
        };
        if let Some(why) = settled_alone {
            let status = if does == Does::Keep { Status::Unmapped } else { Status::Mapped };
            return out.push((status, None, why.to_owned()));
        }
        if let TypeKind::Primitive(json) = def.kind {
            if def.name == "id" {
                return self.ids(rule, line, does, out);
            }
            let kind = floor::of_type(def.name).map_or_else(|| kind_of_type(def.name), |floor| floor.kind);
            let verdict = self.single(kind, None, def.name, json, rule, line, does);
            out.push((verdict.status, verdict.clause, verdict.why));
            self.draft.types.insert(def.name.to_owned(), verdict.made);
            return;
        }
        let kind = floor::of_type(def.name).map_or_else(|| kind_of_type(def.name), |floor| floor.kind);
        match does {
            Does::Keep | Does::DateShift | Does::Substitute => self.parts(&root, def, &[], rule, line, does, out),
            Does::CryptoHash if def.name == "Reference" => self.ids(rule, line, does, out),
            _ => {
                self.draft.types.insert(def.name.to_owned(), Made::dropped(kind, line));
                let partly = self.partly(def.name, line);
                let status = if does == Does::Redact { Status::Mapped } else { Status::Unmapped };
                let why = if does == Does::Redact { "dropped" } else { "a type with parts is dropped" };
                out.push((status, None, format!("{why}{partly}")));
            }
        }
    }

    /// What stays of a redacted address or age.
    fn partly(&mut self, type_name: &str, line: usize) -> &'static str {
        let made = |kind, action, more: &[(&'static str, &str)]| Made {
            kind,
            action,
            more: more.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
            line,
        };
        match type_name {
            "Address" if self.parameters.enable_partial_zip_codes_for_redact => {
                let zip = made(Kind::PostalCode, Action::Zip3, &[("otherwise", "blank")]);
                self.draft.elements.entry("Address.postalCode".to_owned()).or_insert(zip);
                ", but for three ZIP digits where the rule allows them"
            }
            "Age" if self.parameters.enable_partial_ages_for_redact => {
                let age = made(Kind::Age, Action::AgeCap, &[]);
                self.draft.elements.entry("Age.value".to_owned()).or_insert(age);
                for name in ["Age.unit", "Age.system", "Age.code"] {
                    let kept = made(Kind::Clinical, Action::Keep, &[]);
                    self.draft.elements.entry(name.to_owned()).or_insert(kept);
                }
                ", but for ages to 89"
            }
            _ => "",
        }
    }

    /// A rule for one element.
    fn node(
        &mut self,
        root: &Root,
        node: &Node,
        rule: &RuleSection,
        line: usize,
        does: Does,
        out: &mut Vec<(Status, Option<String>, String)>,
    ) {
        let def = self.definitions.get(node.element.type_id);
        if self.is_settled(root, &node.trail) {
            return out.push((Status::NoEffect, None, "an earlier rule settles it".to_owned()));
        }
        match (node.holder.name, node.element.name) {
            (_, "id") if node.holder.is_resource() => return self.ids(rule, line, does, out),
            ("Reference", "reference") => return self.ids(rule, line, does, out),
            ("Identifier", "value") if does != Does::Redact => {
                let why = "identifiers stay by their system, and none is listed: list them under `identifiers`";
                return out.push((Status::Unmapped, None, why.to_owned()));
            }
            (_, "id") => return out.push((Status::NoEffect, None, "ids of elements never pass".to_owned())),
            _ => {}
        }
        match def.kind {
            TypeKind::Primitive(json) => {
                let kind = kind_of(node.holder, node.element, def.name);
                let verdict = self.single(kind, Some(node), def.name, json, rule, line, does);
                out.push((verdict.status, verdict.clause, verdict.why));
                self.put(key_of(root, &node.trail), verdict.made);
            }
            _ => match does {
                Does::Keep | Does::DateShift | Does::Substitute => {
                    self.parts(root, def, &node.trail, rule, line, does, out);
                }
                Does::CryptoHash if def.name == "Reference" => self.ids(rule, line, does, out),
                _ => {
                    let kind = kind_of(node.holder, node.element, def.name);
                    self.put(key_of(root, &node.trail), Made::dropped(kind, line));
                    let status = if does == Does::Redact { Status::Mapped } else { Status::Unmapped };
                    let why = if does == Does::Redact { "dropped" } else { "an element with parts is dropped" };
                    out.push((status, None, why.to_owned()));
                }
            },
        }
    }

    fn put(&mut self, key: String, made: Made) {
        self.draft.elements.entry(key).or_insert(made);
    }

    /// What has parts is settled part by part, so that no part is kept which an earlier rule takes away.
    #[expect(clippy::too_many_arguments, reason = "a place, a rule, and what is said of it")]
    fn parts(
        &mut self,
        root: &Root,
        def: &'static TypeDef,
        trail: &[On],
        rule: &RuleSection,
        line: usize,
        does: Does,
        out: &mut Vec<(Status, Option<String>, String)>,
    ) {
        if does != Does::Keep && !trail.is_empty() {
            // What the rule does not make anew goes.
            self.put(key_of(root, trail), Made::dropped(kind_of_type(def.name), line));
        } else if does != Does::Keep {
            self.draft.types.entry(def.name.to_owned()).or_insert_with(|| Made::dropped(kind_of_type(def.name), line));
        }
        let by_itself = match def.name {
            "Identifier" => Some((
                Status::Unmapped,
                "identifiers stay by their system, and none is listed: list them under `identifiers`",
            )),
            "Reference" => Some((Status::NoEffect, "references go by the rule of ids, and never with a display")),
            "Extension" => Some((Status::Unmapped, "extensions stay by their url, and none is listed")),
            "Meta" => Some((Status::Unmapped, "what is said about a record goes by the policy's own rules")),
            _ => None,
        };
        if let Some((status, why)) = by_itself {
            return out.push((status, None, why.to_owned()));
        }
        for element in &def.elements {
            let inner = self.definitions.get(element.type_id);
            let is_within = trail.iter().any(|on| on.type_name == inner.name);
            if ["extension", "modifierExtension", "id", "contained"].contains(&element.name)
                || is_within
                || trail.len() > 5
            {
                continue;
            }
            let mut trail = trail.to_vec();
            trail.push(On::new(element, self.definitions));
            if self.is_settled(root, &trail) {
                continue;
            }
            match inner.kind {
                TypeKind::Primitive(json) => {
                    let value = rule.replace_with.as_ref().and_then(|with| with.get(element.name));
                    if does == Does::Substitute && value.is_none() {
                        continue;
                    }
                    let kind = kind_of(def, element, inner.name);
                    let node = Node { holder: def, element, trail: trail.clone() };
                    let own;
                    let rule = match value {
                        Some(value) if does == Does::Substitute => {
                            own = RuleSection {
                                path: rule.path.clone(),
                                method: rule.method.clone(),
                                replace_with: Some(value.clone()),
                                cases: None,
                            };
                            &own
                        }
                        _ => rule,
                    };
                    let verdict = self.single(kind, Some(&node), inner.name, json, rule, line, does);
                    out.push((verdict.status, verdict.clause, verdict.why));
                    self.put(key_of(root, &trail), verdict.made);
                }
                TypeKind::Complex | TypeKind::Backbone if does != Does::Substitute => {
                    self.parts(root, inner, &trail, rule, line, does, out);
                }
                _ => {}
            }
        }
    }

    /// A rule for ids, which references follow.
    fn ids(&mut self, rule: &RuleSection, line: usize, does: Does, out: &mut Vec<(Status, Option<String>, String)>) {
        if std::mem::replace(&mut self.has_ids, true) {
            return out.push((Status::NoEffect, None, "all ids and references have one rule".to_owned()));
        }
        let by_expert = self.draft.method == Method::ExpertDetermination;
        let (action, status, why) = match does {
            Does::CryptoHash if by_expert => (Action::Hash, Status::Mapped, "ids and references become keyed hashes"),
            Does::Redact => (Action::Drop, Status::Stricter, "ids of all resources go, and references with them"),
            Does::CryptoHash => (
                Action::Token,
                Status::Forbidden,
                "a hash is derived from the id: ids and references become random tokens",
            ),
            Does::Encrypt => (Action::Token, Status::Mapped, "ids and references become random tokens"),
            Does::Keep => (Action::Token, Status::Forbidden, "ids and references become random tokens"),
            _ => (Action::Token, Status::Unmapped, "ids and references become random tokens"),
        };
        let clause = match (status, does) {
            (Status::Forbidden, Does::CryptoHash) => Some("164.514(c)(1)".to_owned()),
            (Status::Forbidden, _) if !by_expert => Some("164.514(b)(2)(i)(R)".to_owned()),
            _ => None,
        };
        let _ = rule;
        out.push((status, clause, why.to_owned()));
        self.draft.types.insert("id".to_owned(), Made { kind: Kind::UniqueId, action, more: Vec::new(), line });
    }

    /// A single value.
    #[expect(clippy::too_many_arguments, reason = "what a value is, and what a rule asks of it")]
    fn single(
        &self,
        kind: Kind,
        node: Option<&Node>,
        type_name: &str,
        json: Json,
        rule: &RuleSection,
        line: usize,
        does: Does,
    ) -> Verdict {
        let method = self.draft.method;
        let is_date = matches!(type_name, "date" | "dateTime");
        let is_time = is_date || type_name == "instant";
        let holder = node.map_or("", |node| node.holder.name);
        let is_zip = kind == Kind::PostalCode;
        let is_age = holder == "Age" && node.is_some_and(|node| node.element.name == "value");
        let kind = if is_age { Kind::Age } else { kind };
        let parameters = self.parameters;
        let mut more: Vec<(&'static str, String)> = Vec::new();
        let dropped =
            |status, why: &str| Verdict { made: Made::dropped(kind, line), status, clause: None, why: why.to_owned() };
        let asked = match does {
            Does::Redact if is_date && parameters.enable_partial_dates_for_redact => Action::Year,
            Does::Redact if is_zip && parameters.enable_partial_zip_codes_for_redact => Action::Zip3,
            Does::Redact if is_age && parameters.enable_partial_ages_for_redact => Action::AgeCap,
            Does::Redact => return dropped(Status::Mapped, "dropped"),
            Does::Keep => Action::Keep,
            Does::DateShift if is_time => {
                more.push(("max-days", SHIFT_DAYS.to_string()));
                Action::ShiftDate
            }
            Does::DateShift => return dropped(Status::Mapped, "no date: dropped"),
            Does::CryptoHash if json == Json::Text => Action::Hash,
            Does::Encrypt if json == Json::Text => Action::Token,
            Does::Substitute if json == Json::Text => match constant(rule.replace_with.as_ref()) {
                Some(text) => {
                    more.push(("with", quoted(text)));
                    Action::Redact
                }
                None => return dropped(Status::Unmapped, "no single text to put in its place: dropped"),
            },
            Does::Generalize if json == Json::Text => match generalized(rule.cases.as_ref()) {
                Some(General::Constant(text)) => {
                    more.push(("with", quoted(&text)));
                    Action::Redact
                }
                Some(General::First(chars)) => {
                    more.push(("chars", chars.to_string()));
                    Action::FirstChars
                }
                None => return dropped(Status::Unmapped, "its cases have no counterpart: dropped"),
            },
            Does::CryptoHash | Does::Encrypt | Does::Substitute | Does::Generalize => {
                return dropped(Status::Unmapped, "no text: dropped");
            }
            Does::Perturb => return dropped(Status::Unmapped, "numbers are not perturbed: dropped"),
            Does::Unknown => return dropped(Status::Unmapped, "dropped"),
        };
        let domainless = matches!(asked, Action::Hash | Action::Token);
        let refusal = method::refusal(method, kind, asked);
        let (action, status, clause, why) = match refusal {
            None if domainless && matches!(kind.clause(), Some(SafeHarborClause::B | SafeHarborClause::C)) => {
                (Action::Drop, Status::Stricter, None, "a code of a place or day: dropped".to_owned())
            }
            None => (asked, Status::Mapped, None, asked.name().to_owned()),
            Some(refusal) => {
                more.clear();
                let instead = match asked {
                    Action::Hash if method::refusal(method, kind, Action::Token).is_none() => Action::Token,
                    Action::Keep | Action::ShiftDate if is_date && method == Method::SafeHarbor => Action::Year,
                    Action::Keep | Action::FirstChars if is_zip && method == Method::SafeHarbor => Action::Zip3,
                    Action::Keep if is_age && method == Method::SafeHarbor => Action::AgeCap,
                    _ => Action::Drop,
                };
                (
                    instead,
                    Status::Forbidden,
                    Some(refusal.clause),
                    format!("{} in place of it: {}", instead.name(), refusal.why),
                )
            }
        };
        if action == Action::Zip3 {
            more.push(("otherwise", "blank".to_owned()));
        }
        if method::needs_reason(method, kind, action)
            || (action == Action::Keep && method == Method::ExpertDetermination)
        {
            more.push(("because", quoted(&format!("kept by the configuration that was imported, line {line}"))));
        }
        Verdict { made: Made { kind, action, more, line }, status, clause, why }
    }

    /// What the configuration keeps by naming it nowhere.
    fn implied(&mut self) {
        if self.everything || self.draft.method == Method::ExpertDetermination {
            return;
        }
        for name in [
            "HumanName",
            "Address",
            "ContactPoint",
            "ContactDetail",
            "Attachment",
            "Annotation",
            "Narrative",
            "Signature",
            "base64Binary",
            "date",
            "dateTime",
            "instant",
            "string",
            "markdown",
            "uri",
            "url",
            "oid",
            "uuid",
        ] {
            let root = Root::Type(name.to_owned());
            let Some(floor) = floor::of_type(name) else { continue };
            if self.draft.types.contains_key(name) || self.is_settled(&root, &[]) {
                continue;
            }
            let Some(refusal) = method::refusal(self.draft.method, floor.kind, Action::Keep) else { continue };
            let becomes = "no rule is for it, and it would be kept: it goes by the policy's own rules";
            self.say(0, (name, "(no rule)"), Status::Forbidden, Some(refusal.clause), becomes);
        }
    }

    /// The shipped policy of the method, without what the configuration takes away.
    fn base(&mut self) {
        if self.everything {
            self.draft.types = IndexMap::from([("id".to_owned(), Made::dropped(Kind::UniqueId, 0))]);
            self.draft.elements.clear();
            return;
        }
        let shipped = if self.draft.method == Method::LimitedDataSet { LIMITED } else { SAFE_HARBOR };
        let Ok(shipped) = crate::yaml::parse::<PolicyFile>(shipped, FilePath::new("shipped.yaml")) else { return };
        let Some(fhir) = shipped.datasets.into_iter().find_map(|(_, at)| at.value.fhir) else { return };
        self.draft.exclude.extend(fhir.exclude.into_iter().map(|at| at.value));
        let mut types: IndexMap<String, Made> =
            fhir.types.into_iter().map(|(name, at)| (name, shipped_rule(&at.value, self.draft.method))).collect();
        let mut elements = IndexMap::new();
        for (path, at) in fhir.elements {
            let made = shipped_rule(&at.value, self.draft.method);
            if !made.retains() || !self.takes_away(&path) {
                elements.insert(path, made);
            }
        }
        // Types that are kept with all their parts lose those whose own type goes.
        for (name, made) in types.iter().filter(|(_, made)| made.retains()) {
            let Some(id) = self.definitions.type_id(name) else { continue };
            for element in &self.definitions.get(id).elements {
                let on = On::new(element, self.definitions);
                let goes = self.settling(&Root::Type(name.clone()), &[on]) == Some(false);
                if goes && self.draft.types.get(on.type_name).is_some_and(|rule| rule.action != Action::Keep) {
                    elements.entry(format!("{name}.{}", element.name)).or_insert(Made::dropped(made.kind, 0));
                }
            }
        }
        for (name, made) in std::mem::take(&mut self.draft.types) {
            types.insert(name, made);
        }
        // Where both retain something, the shipped rule has thought of more: lists of states, results by their code.
        for (path, made) in std::mem::take(&mut self.draft.elements) {
            let stays = elements.get(&path).is_some_and(Made::retains) && made.action == Action::Keep;
            if !stays {
                elements.insert(path, made);
            }
        }
        (self.draft.types, self.draft.elements) = (types, elements);
    }

    /// Whether a rule of the configuration other than `keep` means what a path of the shipped policy retains.
    fn takes_away(&self, path: &str) -> bool {
        let (root, rest) = path.split_once('.').unwrap_or((path, ""));
        let mut steps: Vec<Step> = Vec::new();
        for part in rest.split('.') {
            match part.strip_prefix("ofType(").map(|of| of.trim_end_matches(')')) {
                Some(of) => {
                    if let Some(step) = steps.last_mut() {
                        step.of_type = Some(of.to_owned());
                    }
                }
                None => steps.push(Step { name: part.to_owned(), of_type: None }),
            }
        }
        let Some(id) = self.definitions.type_id(root) else { return true };
        let def = self.definitions.get(id);
        let place = if def.is_resource() { Root::Resource(Some(root.to_owned())) } else { Root::Type(root.to_owned()) };
        resolve(def, &steps, self.definitions).iter().any(|node| self.settling(&place, &node.trail) == Some(false))
    }
}

impl Draft {
    pub(super) fn into_lines(mut self) -> Vec<Line> {
        self.lines.sort_by_key(|line| line.line);
        self.lines
    }

    /// Drops what the compiler refuses; says whether that changes anything.
    pub(super) fn give_up(&mut self, spot: &Spot, message: &str) -> bool {
        let (rules, key) = match spot {
            Spot::Type(key) => (&mut self.types, key),
            Spot::Element(key) => (&mut self.elements, key),
        };
        let Some(made) = rules.get_mut(key) else { return false };
        let line = made.line;
        if made.action == Action::Drop {
            rules.shift_remove(key);
        } else {
            *made = Made::dropped(made.kind, line);
        }
        let clause = message.find("164.514").and_then(|at| message.get(at..)?.split([':', ' ', ';']).next());
        let status = if clause.is_some() { Status::Forbidden } else { Status::Unmapped };
        self.lines.push(Line {
            line,
            path: key.clone(),
            method: String::new(),
            status,
            clause: clause.map(str::to_owned),
            becomes: format!("dropped: {message}"),
        });
        true
    }

    /// The policy, and what stands in which of its lines.
    pub(super) fn write(&self, options: &ImportOptions<'_>) -> (String, BTreeMap<usize, Spot>) {
        let mut out = format!(
            "# Made by `cordon policy import` of a configuration of the Microsoft FHIR anonymizer. It begins with the policy that ships\n\
             # for its method; what the configuration takes away is gone, what it keeps stays where the method allows it. Read each line\n\
             # before anything runs under it: what is not named never passes.\n\
             policy: {}\nmethod: {}\nsubject: {{ domain: patient }}\nundeclared: drop\n",
            options.name,
            options.method.name()
        );
        match self.method {
            Method::SafeHarbor => {}
            Method::LimitedDataSet => out.push_str(
                "data-use-agreement:\n  recipient: write the recipient here\n  permitted-uses: [write what the recipient may use the \
                 data for]\n  signed: 2026-01-01\n  no-reidentification: true\n",
            ),
            Method::ExpertDetermination => {
                out.push_str("expert: { name: write the expert here, document: write where the determination is kept }\n");
            }
        }
        out.push_str("\ndatasets:\n  fhir:\n    fhir:\n");
        let exclude: Vec<&str> = self.exclude.iter().map(String::as_str).collect();
        let _ = writeln!(out, "      exclude: [{}]", exclude.join(", "));
        let mut places = BTreeMap::new();
        let mut line = out.bytes().filter(|byte| *byte == b'\n').count();
        for (section, rules) in [("types", &self.types), ("elements", &self.elements)] {
            if rules.is_empty() {
                continue;
            }
            let _ = writeln!(out, "      {section}:");
            line += 1;
            for (key, made) in rules {
                line += 1;
                let spot = if section == "types" { Spot::Type(key.clone()) } else { Spot::Element(key.clone()) };
                places.insert(line, spot);
                let mut text = format!("kind: {}, action: {}", made.kind.name(), made.action.name());
                for (key, value) in &made.more {
                    let _ = write!(text, ", {key}: {value}");
                }
                let from = if made.line > 0 { format!("   # line {}", made.line) } else { String::new() };
                let _ = writeln!(out, "        {key}: {{ {text} }}{from}");
            }
        }
        (out, places)
    }
}

/// `Patient.name.use`, `HumanName.use`, `*.meta.source`.
fn key_of(root: &Root, trail: &[On]) -> String {
    let mut key = match root {
        Root::Resource(None) => "*".to_owned(),
        Root::Resource(Some(name)) | Root::Type(name) => name.clone(),
    };
    for on in trail {
        key.push('.');
        key.push_str(on.name);
    }
    key
}

fn kind_of(holder: &TypeDef, element: &cordon_formats::fhir::ElementDef, type_name: &str) -> Kind {
    match (holder.name, element.name) {
        ("Address", "state" | "country") => Kind::State,
        ("Patient" | "Person", "gender" | "maritalStatus") => Kind::Demographic,
        _ => floor::of(holder, element, type_name).map_or_else(|| kind_of_type(type_name), |floor| floor.kind),
    }
}

fn kind_of_type(name: &str) -> Kind {
    match name {
        "Money" => Kind::Financial,
        "Age" => Kind::Age,
        "positiveInt" | "unsignedInt" | "canonical" | "Period" | "Meta" => Kind::Operational,
        "Identifier" | "Reference" => Kind::UniqueId,
        _ => floor::of_type(name).map_or(Kind::Clinical, |floor| floor.kind),
    }
}

/// A text in YAML: JSON's is one.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The one text that is put in place of a value.
fn constant(with: Option<&Value>) -> Option<&str> {
    match with? {
        Value::String(text) => Some(text),
        Value::Array(items) => match items.as_slice() {
            [Value::String(text)] => Some(text),
            _ => None,
        },
        _ => None,
    }
}

enum General {
    Constant(String),
    First(usize),
}

/// Cases that do the same to every value: a constant, or its first characters.
fn generalized(cases: Option<&Map<String, Value>>) -> Option<General> {
    let mut cases = cases?.iter();
    let (condition, result) = (cases.next()?, cases.next());
    if condition.0.trim() != "true" || result.is_some() {
        return None;
    }
    let result = condition.1.as_str()?.trim();
    if let Some(text) = result.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return (!text.contains('\'')).then(|| General::Constant(text.to_owned()));
    }
    let chars = result.strip_prefix("$this.substring(0,")?.strip_suffix(')')?;
    chars.trim().parse().ok().filter(|chars| *chars > 0).map(General::First)
}

/// A rule of a shipped policy.
fn shipped_rule(section: &FieldSection, method: Method) -> Made {
    let mut more = Vec::new();
    if let Some(otherwise) = section.otherwise {
        more.push(("otherwise", if otherwise == Otherwise::Blank { "blank" } else { "fail" }.to_owned()));
    }
    if let Some(allow) = &section.allow {
        let list: Vec<String> = allow.iter().map(|text| quoted(text)).collect();
        more.push(("allow", format!("[{}]", list.join(", "))));
    }
    if let Some(conditions) = &section.blank_where {
        let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        let all: Vec<String> =
            conditions.iter().map(|(path, texts)| format!("{}: [{}]", quoted(path), list(texts))).collect();
        more.push(("blank-where", format!("{{ {} }}", all.join(", "))));
    }
    if let Some(because) = &section.because {
        more.push(("because", quoted(because)));
    }
    let action = section.action.unwrap_or_else(|| method::default_action(method, section.kind));
    Made { kind: section.kind, action, more, line: 0 }
}
