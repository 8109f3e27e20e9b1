//! From the HL7 v2 section of a policy to nodes: every rule is checked here, and nowhere else.

use cordon_formats::hl7v2::Dictionary;
use cordon_phi::{IdentifierKind, KeyClass, Method};
use hashbrown::HashMap;
use indexmap::IndexMap;

use super::path::{Place, TypePlace, segment_name};
use super::recipe::{FieldNodes, Hl7v2Recipe, Node, NodeId, Segment, tables_of};
use super::section::Hl7v2Section;
use crate::document::{Identities, Issue, Rule, Rules};
use crate::fhir::recipe::Settled;
use crate::kernel::Kernel;
use crate::policy::check::Common;
use crate::policy::file::{Action, Undeclared};
use crate::tally::Class;
use crate::yaml::{Position, nearest};

/// Segments about people who are not the patient.
const RELATIVES: [&[u8; 3]; 5] = [b"NK1", b"GT1", b"IN1", b"IN2", b"IN3"];

/// Data types that name a provider.
const PROVIDERS: [&str; 3] = ["XCN", "CN", "CNN"];

/// Data types of a code, its text and its system.
const CODED: [&str; 4] = ["CE", "CWE", "CNE", "CF"];

/// What tells how a message is to be read stays, whatever the policy says: message type, version, character set.
const STRUCTURE: [u16; 3] = [9, 12, 18];

/// Checks and compiles the HL7 v2 section of one dataset. `identities`: places and the namespaces that they are in.
pub(crate) fn compile(
    dataset: &str,
    section: &Hl7v2Section,
    undeclared: Undeclared,
    identities: &IndexMap<String, String>,
    common: &Common,
) -> Result<Hl7v2Recipe, Vec<Issue>> {
    let mut compiler = Compiler {
        rules: Rules::new(dataset, common),
        dictionary: Dictionary::get(),
        types: HashMap::new(),
        elements: HashMap::new(),
        nodes: Vec::new(),
        known: HashMap::new(),
        has_identifiers: !section.identifiers.is_empty(),
    };
    let recipe = compiler.section(section, undeclared, identities);
    if compiler.rules.issues.is_empty() { Ok(recipe) } else { Err(compiler.rules.issues) }
}

struct Compiler<'a> {
    rules: Rules<'a>,
    dictionary: &'static Dictionary,
    types: HashMap<TypePlace, Rule>,
    elements: HashMap<Place, Rule>,
    nodes: Vec<Node>,
    known: HashMap<Node, NodeId>,
    has_identifiers: bool,
}

/// What values of a data type are whatever a policy calls them.
fn floor_of(data_type: &str) -> Option<IdentifierKind> {
    Some(match data_type {
        "XPN" | "PN" | "PPN" | "XCN" | "CN" | "CNN" | "CNS" | "CN_SIMPLE" | "FN" | "NDL" => IdentifierKind::Name,
        "XAD" | "AD" | "SAD" => IdentifierKind::StreetAddress,
        "XTN" | "TN" => IdentifierKind::Phone,
        "CX" | "CK" => IdentifierKind::MedicalRecordNumber,
        "DT" | "DTM" | "TS" => IdentifierKind::ServiceDate,
        "ST" | "TX" | "FT" | "ED" => IdentifierKind::FreeText,
        _ => return None,
    })
}

/// What is typed without a form. Others hold parts, or documents in an encoding.
const TEXTS: [&str; 3] = ["ST", "TX", "FT"];

/// Dates and times of one value.
const TIMES: [&str; 4] = ["DT", "DTM", "TM", "TS"];

/// `PID-5.1`.
fn name_of(place: &Place) -> String {
    let numbers: Vec<String> = place.numbers.iter().map(u16::to_string).collect();
    format!("{}-{}", String::from_utf8_lossy(&place.segment), numbers.join("."))
}

/// A type in which a place lies, and the numbers that lead from it to the place.
type Within<'t> = (&'t str, Vec<u16>);

impl Compiler<'_> {
    fn section(
        &mut self,
        section: &Hl7v2Section,
        undeclared: Undeclared,
        identities: &IndexMap<String, String>,
    ) -> Hl7v2Recipe {
        let common = self.rules.facts.common;
        self.type_rules(section);
        self.element_rules(section);
        let mut identifiers = HashMap::new();
        for (code, at) in &section.identifiers {
            if let Some(rule) = self.rules.rule(&format!("identifiers.{code}"), at, &code.to_lowercase()) {
                self.by_path(&format!("identifiers.{code}"), &rule);
                identifiers.insert(code.as_str().into(), (rule.settled, rule.class()));
            }
        }
        let mut segments = HashMap::new();
        let names: Vec<&'static str> = self.dictionary.segments().map(|segment| segment.name).collect();
        for name in names {
            if let Some(key) = segment_name(name) {
                let segment = self.segment(key);
                segments.insert(key, segment);
            }
        }
        // Vendors' segments that a rule names.
        let vendors: Vec<[u8; 3]> =
            self.elements.keys().map(|place| place.segment).filter(|name| !segments.contains_key(name)).collect();
        for name in vendors {
            let segment = self.segment(name);
            segments.insert(name, segment);
        }
        for name in &section.exclude {
            match segment_name(&name.value).and_then(|key| segments.get_mut(&key)) {
                Some(segment) => segment.excluded = true,
                None => self.rules.issue(
                    name.position,
                    format!("`{}` is no segment that HL7 v2 or a rule names", name.value),
                    Some("what is not named is left out anyway".to_owned()),
                ),
            }
        }
        let subject = section.subject.as_ref().map_or(Ok(Place::parse("PID-3")), |at| {
            Place::parse(&at.value).map(Ok).map_err(|problem| (at.position, problem))
        });
        let subject = match subject {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => Place { segment: *b"PID", numbers: vec![3], only: None },
            Err((position, problem)) => {
                self.rules.issue(position, format!("`subject`: {problem}"), None);
                Place { segment: *b"PID", numbers: vec![3], only: None }
            }
        };
        let Identities { places, namespaces } = Identities::declared(common, identities, |text| {
            let problem = match Place::parse(text) {
                Ok(place) => return Some(place),
                Err(problem) => problem,
            };
            self.rules.issue(Position::default(), format!("identity `{text}`: {problem}"), None);
            None
        });
        let has_surrogates = self.rules.kernels.iter().any(|rule| matches!(rule.kernel, Kernel::Surrogate(_)));
        Hl7v2Recipe {
            nodes: std::mem::take(&mut self.nodes),
            tables: tables_of(&segments),
            segments,
            kernels: std::mem::take(&mut self.rules.kernels),
            lenient: std::mem::take(&mut self.rules.lenient),
            identifiers,
            subject,
            seed_by_token: common.method != Method::ExpertDetermination || common.linked,
            identities: places,
            namespaces,
            undeclared,
            has_surrogates,
            lines: std::mem::take(&mut self.rules.lines),
        }
    }

    fn type_rules(&mut self, section: &Hl7v2Section) {
        for (text, at) in &section.types {
            let place = match TypePlace::parse(text) {
                Ok(place) => place,
                Err(problem) => {
                    self.rules.issue(at.position, format!("`types.{text}`: {problem}"), None);
                    continue;
                }
            };
            let Some(definition) = self.dictionary.data_type(&place.data_type) else {
                let help = nearest(&place.data_type, self.dictionary.data_types())
                    .map(|near| format!("did you mean `{near}`?"));
                self.rules.issue(at.position, format!("`{}` is no data type of HL7 v2", place.data_type), help);
                continue;
            };
            let parts = definition.components.len();
            if place.numbers.first().is_some_and(|number| usize::from(*number) > parts) {
                let message = format!("`types.{text}`: {} has {parts} components", place.data_type);
                self.rules.issue(at.position, message, None);
                continue;
            }
            if let Some(rule) = self.rules.rule(&format!("types.{text}"), at, text) {
                self.by_path(&format!("types.{text}"), &rule);
                self.types.insert(place, rule);
            }
        }
    }

    /// What is scrubbed is named by its path: the types of text hold given names and numbers elsewhere.
    fn by_path(&mut self, place: &str, rule: &Rule) {
        if rule.action == Action::Scrub {
            let message = format!("`{place}`: what is scrubbed is named by its path");
            self.rules.issue(
                rule.position,
                message,
                Some("such as `OBX-5[TX]` or `NTE-3` under `elements`".to_owned()),
            );
        }
    }

    fn element_rules(&mut self, section: &Hl7v2Section) {
        for (text, at) in &section.elements {
            let place = match Place::parse(text) {
                Ok(place) => place,
                Err(problem) => {
                    self.rules.issue(at.position, format!("`elements.{text}`: {problem}"), None);
                    continue;
                }
            };
            let name = String::from_utf8_lossy(&place.segment).into_owned();
            match self.dictionary.segment(&name) {
                None if !name.starts_with('Z') => {
                    let known = self.dictionary.segments().map(|segment| segment.name);
                    let help = nearest(&name, known).map(|near| format!("did you mean `{near}`?"));
                    let message = format!("`{name}` is no segment of HL7 v2, and vendors' segments begin with Z");
                    self.rules.issue(at.position, message, help);
                    continue;
                }
                Some(definition) => {
                    let number = place.numbers.first().copied().unwrap_or(0);
                    if usize::from(number) > definition.fields.len() {
                        let message = format!("`{name}` has {} fields", definition.fields.len());
                        self.rules.issue(at.position, message, None);
                        continue;
                    }
                }
                None => {}
            }
            if let Some(rule) = self.rules.rule(text, at, text) {
                self.elements.insert(place, rule);
            }
        }
    }

    fn segment(&mut self, name: [u8; 3]) -> Segment {
        let definition = self.dictionary.segment(name);
        let defined: Vec<_> = definition.map(|definition| definition.fields.clone()).unwrap_or_default();
        let ruled = self.elements.keys().filter(|place| place.segment == name);
        let ruled = ruled.filter_map(|place| place.numbers.first()).copied().max().unwrap_or(0);
        let last = defined.iter().map(|field| field.number as u16).max().unwrap_or(0).max(ruled);
        let mut fields = Vec::with_capacity(usize::from(last));
        let mut classes = Vec::with_capacity(usize::from(last));
        for number in 1..=last {
            let field = defined.iter().find(|field| field.number == usize::from(number));
            let mut nodes = FieldNodes::default();
            let mut class = KeyClass::Clinical;
            let place = Place { segment: name, numbers: vec![number], only: None };
            if name == *b"MSH" && STRUCTURE.contains(&number) {
                nodes.otherwise = Some(self.intern(Node::Value(Settled::Keep, Class::STRUCTURE)));
            } else {
                match field {
                    Some(field) if field.data_type == "varies" => {
                        nodes.varies = true;
                        let all: Vec<&'static str> = self.dictionary.data_types().collect();
                        for data_type in all {
                            let place = Place { only: Some(data_type.to_owned()), ..place.clone() };
                            let node = self.node(&place, &[(data_type, Vec::new())], data_type, None, &mut class);
                            nodes.by_type.push((data_type, node));
                        }
                    }
                    Some(field) => {
                        for data_type in field.data_types() {
                            let node = self.node(&place, &[(data_type, Vec::new())], data_type, None, &mut class);
                            nodes.by_type.push((data_type, node));
                        }
                    }
                    None => {}
                }
                nodes.otherwise = match nodes.by_type.first() {
                    Some((_, newest)) if !nodes.varies => Some(*newest),
                    _ => Some(self.node(&place, &[], "", None, &mut class)),
                };
            }
            fields.push(nodes);
            classes.push(class);
        }
        Segment { excluded: false, fields, classes, is_relative: RELATIVES.contains(&&name) }
    }

    /// The node of a place. `inherited` is what a rule around it says.
    fn node(
        &mut self,
        place: &Place,
        within: &[Within<'_>],
        data_type: &str,
        inherited: Option<Rule>,
        class: &mut KeyClass,
    ) -> NodeId {
        let by_path = self.rule_by_path(place);
        let own = by_path.or_else(|| self.rule_by_type(within));
        // A path beats a type, in the parts of its place too.
        let within = if by_path.is_some() { &[] } else { within };
        if let Some(own) = own.filter(|own| own.action == Action::Scrub)
            && (!TEXTS.contains(&data_type) || place.numbers.len() > 1)
        {
            let message = format!("`{}` is not of a type of running text ({})", name_of(place), TEXTS.join(", "));
            let help = "name the type, such as `OBX-5[TX]`, or use another action".to_owned();
            self.rules.issue(own.position, message, Some(help));
        }
        if let (Some(own), Some(floor)) = (&own, floor_of(data_type)) {
            self.rules.hold_to_floor(&name_of(place), own, floor);
        }
        let rule = own.or(inherited);
        if let Some(rule) = rule {
            *class = (*class).min(rule.kind.key_class());
        }
        let parts = self.dictionary.data_type(data_type).map(|definition| definition.components.as_slice());
        let parts = parts.filter(|parts| !parts.is_empty() && place.numbers.len() < 3);
        let Some(parts) = parts else {
            // A type of one value, or one that nobody knows.
            let is_entry = matches!(data_type, "ID" | "IS");
            return self.intern(match rule {
                None => Node::Undeclared,
                Some(rule) if is_entry && rule.settled == Settled::Keep && !rule.reasoned => Node::Word(rule.class()),
                Some(rule) if TIMES.contains(&data_type) && rule.settled == Settled::Keep && !rule.reasoned => {
                    Node::Time(rule.class())
                }
                Some(rule) => Node::Value(rule.settled, rule.class()),
            });
        };
        let mut nodes = Vec::with_capacity(parts.len());
        for part in parts {
            let mut numbers = place.numbers.clone();
            numbers.push(part.number as u16);
            let here = Place { numbers, ..place.clone() };
            let mut around: Vec<Within<'_>> = within
                .iter()
                .map(|(data_type, path)| {
                    let mut path = path.clone();
                    path.push(part.number as u16);
                    (*data_type, path)
                })
                .collect();
            // A rule around it is the outermost, so the part's own type says nothing.
            let handed = match rule {
                None => {
                    around.push((part.data_type, Vec::new()));
                    None
                }
                Some(Rule { settled: Settled::Gather(_), .. }) if part.number > 1 => {
                    rule.map(|rule| Rule { settled: Settled::Drop, action: Action::Drop, ..rule })
                }
                Some(rule) => Some(rule),
            };
            nodes.push(self.node(&here, &around, part.data_type, handed, class));
        }
        let is_identifier = self.has_identifiers
            && data_type == "CX"
            && own.is_none_or(|_| !self.elements.contains_key(place))
            && inherited.is_none();
        let is_provider = PROVIDERS.contains(&data_type);
        let is_kept = rule.is_some_and(|rule| rule.settled == Settled::Keep && !rule.reasoned);
        let is_coded = is_kept && CODED.contains(&data_type);
        if !is_identifier
            && !is_coded
            && let Some(rule) = rule
            && !matches!(rule.settled, Settled::Gather(_))
            && nodes.iter().all(|node| self.is_plain(*node, rule))
        {
            return self.intern(Node::Value(rule.settled, rule.class()));
        }
        self.intern(Node::Parts { nodes: nodes.into(), is_identifier, is_provider, is_coded })
    }

    fn is_plain(&self, node: NodeId, rule: Rule) -> bool {
        match self.nodes.get(node as usize) {
            Some(Node::Value(settled, class)) => *settled == rule.settled && *class == rule.class(),
            // What stays around the entry of a table was said to stay as a whole.
            Some(Node::Word(class) | Node::Time(class)) => rule.settled == Settled::Keep && *class == rule.class(),
            _ => false,
        }
    }

    /// The rule of exactly this place by path.
    fn rule_by_path(&self, place: &Place) -> Option<Rule> {
        let anyhow = || Place { only: None, ..place.clone() };
        let exact = self.elements.get(place);
        exact.or_else(|| place.only.as_ref().and_then(|_| self.elements.get(&anyhow()))).copied()
    }

    /// The rule of a place by the outermost type that says something of it.
    fn rule_by_type(&self, within: &[Within<'_>]) -> Option<Rule> {
        within.iter().find_map(|(data_type, numbers)| {
            let place = TypePlace { data_type: (*data_type).to_owned(), numbers: numbers.clone() };
            self.types.get(&place).copied()
        })
    }

    fn intern(&mut self, node: Node) -> NodeId {
        if let Some(known) = self.known.get(&node) {
            return *known;
        }
        let id = self.nodes.len() as NodeId;
        self.nodes.push(node.clone());
        self.known.insert(node, id);
        id
    }
}
