//! From the X12 section of a policy to rules by meaning and path: every rule is checked here, and nowhere else.

use cordon_formats::x12::{Dictionary, Id};
use cordon_phi::{KeyClass, Method};
use hashbrown::HashMap;
use indexmap::IndexMap;

use super::meaning::{Meaning, meaning_at};
use super::path::{Name, Place, segment_name, text_of};
use super::recipe::{Ruling, Segment, X12Recipe, tables_of};
use super::section::X12Section;
use crate::document::{Identities, Issue, Rule, Rules};
use crate::fhir::recipe::Settled;
use crate::kernel::Kernel;
use crate::policy::check::Common;
use crate::policy::file::{Action, FieldSection, Undeclared};
use crate::yaml::{At, Position, nearest};

/// What holds an interchange together: segments, and their elements that stay whatever a policy says.
pub(super) const STRUCTURE: [(&[u8], &[u16]); 9] = [
    (b"ISA", &[1, 3, 5, 7, 11, 12, 13, 14, 15, 16]),
    (b"GS", &[1, 6, 7, 8]),
    (b"ST", &[1, 2, 3]),
    (b"SE", &[1, 2]),
    (b"HL", &[1, 2, 3, 4]),
    (b"LX", &[1]),
    (b"ENT", &[1]),
    (b"LS", &[1]),
    (b"LE", &[1]),
];

/// Segments without which nothing else can be placed.
const FRAME: [&[u8; 3]; 9] = [b"ISA", b"GS ", b"ST ", b"SE ", b"GE ", b"IEA", b"HL ", b"LX ", b"ENT"];

/// Checks and compiles the X12 section of one dataset. `identities`: places and the namespaces that they are in.
pub(crate) fn compile(
    dataset: &str,
    section: &X12Section,
    undeclared: Undeclared,
    identities: &IndexMap<String, String>,
    common: &Common,
) -> Result<X12Recipe, Vec<Issue>> {
    let mut compiler = Compiler {
        rules: Rules::new(dataset, common),
        dictionary: Dictionary::get(),
        segments: HashMap::new(),
        types: HashMap::new(),
        identifiers: HashMap::new(),
    };
    let recipe = compiler.section(section, undeclared, identities);
    if compiler.rules.issues.is_empty() { Ok(recipe) } else { Err(compiler.rules.issues) }
}

struct Compiler<'a> {
    rules: Rules<'a>,
    dictionary: &'static Dictionary,
    segments: HashMap<Name, Vec<(Place, Rule)>>,
    /// By name, of a meaning or of a group.
    types: HashMap<String, Rule>,
    identifiers: HashMap<Box<[u8]>, Rule>,
}

impl Compiler<'_> {
    fn section(
        &mut self,
        section: &X12Section,
        undeclared: Undeclared,
        identities: &IndexMap<String, String>,
    ) -> X12Recipe {
        let common = self.rules.facts.common;
        self.type_rules(section);
        self.identifier_rules(section);
        self.element_rules(section);
        let mut segments = self.segments();
        self.exclusions(section, &mut segments);
        let subject = section.subject.as_ref().and_then(|at| self.identity("subject", &at.value, at.position));
        let subject = subject.unwrap_or(Place {
            loop_id: None,
            segment: *b"NM1",
            qualifier: None,
            element: Some(9),
            component: None,
            only: None,
        });
        let Identities { places, namespaces } =
            Identities::declared(common, identities, |text| self.identity("identity", text, Position::default()));
        let tables = tables_of(|segment, element, parts| self.class_of(segment, element, parts));
        let types = Meaning::ALL.iter().map(|meaning| self.rule_of(*meaning).map(|rule| self.ruling(rule))).collect();
        let identifiers = self.identifiers.iter().map(|(code, rule)| (code.clone(), self.ruling(*rule))).collect();
        let kernels = std::mem::take(&mut self.rules.kernels);
        X12Recipe {
            segments,
            types,
            identifiers,
            tables,
            has_surrogates: kernels.iter().any(|rule| matches!(rule.kernel, Kernel::Surrogate(_))),
            needs_subject: kernels.iter().any(|rule| rule.needs_subject),
            kernels,
            lenient: std::mem::take(&mut self.rules.lenient),
            subject,
            seed_by_token: common.method != Method::ExpertDetermination || common.linked,
            identities: places,
            namespaces,
            undeclared,
            lines: std::mem::take(&mut self.rules.lines),
        }
    }

    fn type_rules(&mut self, section: &X12Section) {
        let known = || Meaning::ALL.iter().filter(|meaning| **meaning != Meaning::Unknown);
        for (text, at) in &section.types {
            let covered: Vec<Meaning> =
                known().copied().filter(|meaning| meaning.name() == text || meaning.group() == text).collect();
            if covered.is_empty() {
                let names = known().flat_map(|meaning| [meaning.name(), meaning.group()]);
                let help = nearest(text, names).map(|near| format!("did you mean `{near}`?"));
                self.rules.issue(at.position, format!("`{text}` is no type of X12's values"), help);
                continue;
            }
            let place = format!("types.{text}");
            let Some(rule) = self.rule(&place, at, text) else { continue };
            self.running_text(&place, &rule, &covered);
            self.types.insert(text.clone(), rule);
        }
        // A rule of a group is held to what it reaches, and not to what has a rule of its own.
        for meaning in known().copied() {
            if let (Some(rule), Some(floor)) = (self.rule_of(meaning), meaning.floor()) {
                self.rules.hold_strictly(&format!("types.{}", meaning.name()), &rule, floor);
            }
        }
    }

    fn identifier_rules(&mut self, section: &X12Section) {
        for (code, at) in &section.identifiers {
            let place = format!("identifiers.{code}");
            let is_code = (1..=3).contains(&code.len())
                && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if !is_code {
                let help = "write it as it stands in NM1-08 or REF-01, such as `MI` or `SY`".to_owned();
                self.rules.issue(at.position, format!("`{place}`: no qualifier of identifiers"), Some(help));
                continue;
            }
            let Some(rule) = self.rule(&place, at, &code.to_lowercase()) else { continue };
            self.running_text(&place, &rule, &[Meaning::OtherId]);
            // A qualifier may mean two things, before a name's number and in a reference.
            let told = [Id::of_code(code.as_bytes()), Id::of_reference(code.as_bytes())];
            let mut meanings: Vec<Meaning> = told.map(Meaning::of_id).to_vec();
            if meanings.iter().any(|meaning| *meaning != Meaning::OtherId) {
                meanings.retain(|meaning| *meaning != Meaning::OtherId);
            }
            for floor in meanings.into_iter().filter_map(Meaning::floor) {
                self.rules.hold_strictly(&place, &rule, floor);
            }
            self.identifiers.insert(code.as_bytes().into(), rule);
        }
    }

    fn element_rules(&mut self, section: &X12Section) {
        for (text, at) in &section.elements {
            let label = format!("elements.{text}");
            let Some(place) = self.place(&label, text, at.position) else { continue };
            if let Some(element) = place.element
                && is_structure(place.segment, element)
            {
                let message = format!("`{label}`: what holds an interchange together stays whatever a rule says");
                self.rules.issue(at.position, message, None);
                continue;
            }
            let Some(rule) = self.rule(text, at, text) else { continue };
            let elements: Vec<u16> = if let Some(element) = place.element {
                vec![element]
            } else {
                let known = self.dictionary.segment(text_of(place.segment));
                known.map(|known| known.elements.iter().map(|e| e.number as u16).collect()).unwrap_or_default()
            };
            for element in elements {
                for meaning in self.meanings(&place, element) {
                    // The whole segment's rule leaves codes alone.
                    if place.element.is_none() && meaning == Meaning::Code {
                        continue;
                    }
                    if let Some(floor) = meaning.floor() {
                        self.rules.hold_strictly(text, &rule, floor);
                    }
                    if place.element.is_some() {
                        self.running_text(text, &rule, &[meaning]);
                    }
                }
            }
            if place.element.is_none() && rule.action == Action::Scrub {
                let help = "name the element, such as `NTE-02`".to_owned();
                self.rules.issue(at.position, format!("`{text}`: a whole segment is no running text"), Some(help));
            }
            self.segments.entry(place.segment).or_default().push((place, rule));
        }
    }

    fn rule(&mut self, place: &str, at: &At<FieldSection>, domain: &str) -> Option<Rule> {
        self.rules.rule(place, at, domain)
    }

    /// What is scrubbed is text that a person typed: a name or a number in its own place must not depend on being recognised.
    fn running_text(&mut self, place: &str, rule: &Rule, meanings: &[Meaning]) {
        let is_text = |meaning: &Meaning| matches!(meaning, Meaning::Text | Meaning::Unknown);
        if rule.action == Action::Scrub && !meanings.iter().all(is_text) {
            self.rules.issue(
                rule.position,
                format!("`{place}` is not running text"),
                Some(
                    "scrub `text`, or an element such as `NTE-02` or `MSG-01`, and drop what else may name somebody"
                        .to_owned(),
                ),
            );
        }
    }

    fn place(&mut self, label: &str, text: &str, position: Position) -> Option<Place> {
        let place = match Place::parse(text) {
            Ok(place) => place,
            Err(problem) => {
                self.rules.issue(position, format!("`{label}`: {problem}"), None);
                return None;
            }
        };
        let name = text_of(place.segment);
        let Some(definition) = self.dictionary.segment(&name) else {
            if name.starts_with('Z') {
                return Some(place);
            }
            let known = self.dictionary.segments().map(|segment| segment.name);
            let help = nearest(&name, known).map(|near| format!("did you mean `{near}`?"));
            let message = format!("`{name}` is no segment of the HIPAA transactions, and senders' own begin with Z");
            self.rules.issue(position, message, help);
            return None;
        };
        let last = definition.elements.last().map_or(0, |element| element.number);
        if let Some(element) = place.element
            && usize::from(element) > last
        {
            self.rules.issue(position, format!("`{label}`: `{name}` has {last} elements"), None);
            return None;
        }
        if let (Some(element), Some(component)) = (place.element, place.component) {
            let parts = definition.element(usize::from(element)).map_or(0, |element| element.components.len());
            if usize::from(component) > parts.max(1) {
                self.rules.issue(position, format!("`{label}`: the element has {parts} components"), None);
                return None;
            }
        }
        if let Some(loop_id) = &place.loop_id {
            let guides = self.dictionary.guides();
            if !guides.iter().any(|guide| guide.loops().any(|known| known == loop_id)) {
                let help = nearest(loop_id, guides.iter().flat_map(cordon_formats::x12::Guide::loops))
                    .map(|near| format!("did you mean `{near}`?"));
                self.rules.issue(position, format!("`{label}`: no implementation guide has a loop `{loop_id}`"), help);
                return None;
            }
            if !guides.iter().any(|guide| guide.has(loop_id, &name)) {
                let message = format!("`{label}`: no implementation guide has `{name}` in its loop `{loop_id}`");
                self.rules.issue(position, message, None);
                return None;
            }
        }
        Some(place)
    }

    /// A place that says who somebody is: an element.
    fn identity(&mut self, what: &str, text: &str, position: Position) -> Option<Place> {
        let place = self.place(&format!("{what} {text}"), text, position)?;
        if place.element.is_none() {
            let message = format!("`{what} {text}`: an element holds an identifier, a segment does not");
            self.rules.issue(position, message, Some("such as `NM1-09` or `REF*SY-02`".to_owned()));
            return None;
        }
        Some(place)
    }

    fn exclusions(&mut self, section: &X12Section, segments: &mut HashMap<Name, Segment>) {
        for at in &section.exclude {
            let Some(place) = self.place("exclude", &at.value, at.position) else { continue };
            if place.element.is_some() || FRAME.contains(&&place.segment) {
                let message = format!("`exclude`: `{}` is no segment that can go", at.value);
                self.rules.issue(at.position, message, Some("name a segment, such as `K3` or `REF*SY`".to_owned()));
            } else {
                segments.entry(place.segment).or_default().excluded.push(place);
            }
        }
    }

    fn segments(&self) -> HashMap<Name, Segment> {
        let mut out: HashMap<Name, Segment> = HashMap::new();
        for name in self.dictionary.segments().filter_map(|segment| segment_name(segment.name.as_bytes())) {
            out.insert(name, Segment::default());
        }
        for (name, rules) in &self.segments {
            let segment = out.entry(*name).or_default();
            for (place, rule) in rules {
                let at = usize::from(place.element.unwrap_or(0));
                if segment.elements.len() <= at {
                    segment.elements.resize_with(at + 1, Vec::new);
                }
                if let Some(element) = segment.elements.get_mut(at) {
                    element.push((place.clone(), self.ruling(*rule)));
                }
            }
            for element in &mut segment.elements {
                element.sort_by_key(|(place, _)| std::cmp::Reverse(place.narrowness()));
            }
        }
        out
    }

    fn rule_of(&self, meaning: Meaning) -> Option<Rule> {
        self.types.get(meaning.name()).or_else(|| self.types.get(meaning.group())).copied()
    }

    fn ruling(&self, rule: Rule) -> Ruling {
        let refused = Meaning::ALL
            .iter()
            .filter(|meaning| meaning.floor().is_some_and(|floor| self.rules.is_below(&rule, floor)));
        let refused = refused.fold(0, |all, meaning| all | meaning.bit());
        Ruling { settled: rule.settled, class: rule.class(), reasoned: rule.reasoned, refused }
    }

    /// What stands at a place as far as the place itself says; what a qualifier says in a set is seen there.
    fn meanings(&self, place: &Place, element: u16) -> Vec<Meaning> {
        let name = text_of(place.segment);
        let defined = self.dictionary.segment(&name).and_then(|known| known.element(usize::from(element)));
        let Some(defined) = defined else { return vec![Meaning::Unknown] };
        let components: Vec<Option<u16>> = match (place.component, defined.components.as_slice()) {
            (Some(component), _) => vec![Some(component)],
            (None, []) => vec![None],
            (None, parts) => parts.iter().map(|part| Some(part.number as u16)).collect(),
        };
        let at = |component| {
            meaning_at(place.segment, place.qualifier.as_deref(), element, component, place.only.as_deref())
        };
        components.into_iter().map(|component| at(component).unwrap_or(Meaning::Unknown)).collect()
    }

    /// The class of the key of what the first parts of an element give a column. What is dropped gives nothing.
    fn class_of(&self, segment: Name, element: u16, parts: u16) -> KeyClass {
        if is_structure(segment, element) {
            return KeyClass::Direct;
        }
        let place =
            Place { loop_id: None, segment, qualifier: None, element: Some(element), component: None, only: None };
        let mut rules: Vec<&Rule> = Vec::new();
        let meanings = self.meanings(&place, element).into_iter().take(usize::from(parts));
        for meaning in meanings.flat_map(Meaning::possible) {
            rules.extend(self.types.get(meaning.name()).or_else(|| self.types.get(meaning.group())));
            if meaning.is_identifier() {
                rules.extend(self.identifiers.values());
            }
        }
        let by_path = self.segments.get(&segment).into_iter().flatten();
        let by_path = by_path.filter(|(place, _)| place.element.is_none_or(|known| known == element));
        rules.extend(by_path.map(|(_, rule)| rule));
        let staying = rules.into_iter().filter(|rule| rule.settled != Settled::Drop);
        staying.map(|rule| rule.kind.key_class()).min().unwrap_or(KeyClass::Direct)
    }
}

/// Whether an element stays whatever a policy says.
pub(super) fn is_structure(segment: Name, element: u16) -> bool {
    let name = segment.trim_ascii_end();
    STRUCTURE.iter().any(|(known, elements)| *known == name && elements.contains(&element))
}
