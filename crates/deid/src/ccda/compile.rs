//! From the C-CDA section of a policy to rules by type and path: every rule is checked here, and nowhere else.

use cordon_formats::ccda::{AttributeType, CdaType, Family, NameId, Ns, Path, PathSet, types};
use cordon_phi::{IdentifierKind as Kind, KeyClass, Method};
use hashbrown::HashMap;
use indexmap::IndexMap;

use super::floor::{self, Fits};
use super::form;
use super::recipe::{CcdaRecipe, Exclude, IdentityPath, PathRule, RuleId};
use super::section::CcdaSection;
use crate::document::{Identities, Issue, Rule, Rules};
use crate::fhir::recipe::Settled;
use crate::policy::check::Common;
use crate::policy::file::{Action, FieldSection, Undeclared};
use crate::yaml::{At, Position, nearest};

const SUBJECT: &str = "recordTarget/patientRole/id";

/// Checks and compiles the C-CDA section of one dataset. `identities`: places and the namespaces that they are in.
pub(crate) fn compile(
    dataset: &str,
    section: &CcdaSection,
    undeclared: Undeclared,
    identities: &IndexMap<String, String>,
    common: &Common,
) -> Result<CcdaRecipe, Vec<Issue>> {
    let mut compiler = Compiler { rules: Rules::new(dataset, common), all: Vec::new(), fits: Vec::new() };
    let recipe = compiler.section(section, undeclared, identities);
    if compiler.rules.issues.is_empty() { Ok(recipe) } else { Err(compiler.rules.issues) }
}

struct Compiler<'a> {
    rules: Rules<'a>,
    all: Vec<Rule>,
    fits: Vec<Fits>,
}

/// Rules by type, and by type and part.
type TypeRules = (HashMap<CdaType, RuleId>, HashMap<(CdaType, NameId), RuleId>);

#[derive(Default)]
struct ElementRules {
    paths: Vec<Path>,
    rules: Vec<PathRule>,
    in_names: bool,
    in_narrative: bool,
    comments: Option<RuleId>,
    instructions: Option<RuleId>,
    text_class: Option<KeyClass>,
}

/// The types that a rule may be for.
fn is_ruled(of: CdaType) -> bool {
    !matches!(of.family(), Family::Unknown | Family::Structure | Family::Template)
}

/// What a type is a sort of, for rules.
fn broader(of: CdaType) -> Option<CdaType> {
    Some(match of {
        CdaType::Ts | CdaType::Cd | CdaType::Pq | CdaType::Int | CdaType::Real | CdaType::Mo => return None,
        CdaType::IvlInt => CdaType::Int,
        CdaType::IvlReal => CdaType::Real,
        CdaType::IvlMo => CdaType::Mo,
        CdaType::Sc => CdaType::St,
        of => match of.family() {
            Family::Time => CdaType::Ts,
            Family::Code if of != CdaType::Cs => CdaType::Cd,
            Family::Qualifier => CdaType::Cd,
            Family::Quantity => CdaType::Pq,
            _ => return None,
        },
    })
}

impl Compiler<'_> {
    fn section(
        &mut self,
        section: &CcdaSection,
        undeclared: Undeclared,
        identities: &IndexMap<String, String>,
    ) -> CcdaRecipe {
        let common = self.rules.facts.common;
        let (by_type, by_part) = self.type_rules(section);
        let elements = self.element_rules(section);
        let mut identifiers = HashMap::new();
        for (root, at) in &section.identifiers {
            if !form::is_oid(root) && !is_uuid(root) {
                self.rules.issue(
                    at.position,
                    format!("`identifiers.{root}`: a root is an OID such as `2.16.840.1.113883.4.1`, or a UUID"),
                    None,
                );
            } else if let Some(rule) = self.rule(&format!("identifiers.{root}"), at, root) {
                self.by_path(&format!("identifiers.{root}"), rule);
                identifiers.insert(root.as_str().into(), rule);
            }
        }
        let exclude = self.exclude(section);
        let subject = self.subject(section);
        let Identities { places, namespaces } = Identities::declared(common, identities, |text| {
            let problem = match identity_path(text) {
                Ok(place) => return Some(place),
                Err(problem) => problem,
            };
            self.rules.issue(Position::default(), format!("identity `{text}`: {problem}"), None);
            None
        });
        // With identities declared, an undeclared one would make another person of the same.
        let people = if places.is_empty() {
            subject.iter().map(|place| place.path.clone()).collect()
        } else {
            places.iter().map(|(place, _)| place.path.clone()).collect()
        };
        let resolved = |of: CdaType| by_type.get(&of).or_else(|| by_type.get(&broader(of)?)).copied();
        let parts_of = |of: CdaType| {
            let of_type = |wanted: CdaType| {
                by_part.iter().filter(move |((known, _), _)| *known == wanted).map(|((_, part), rule)| (*part, *rule))
            };
            let inherited = broader(of).into_iter().flat_map(of_type);
            inherited.chain(of_type(of)).collect::<HashMap<_, _>>()
        };
        let of_text = [CdaType::St, CdaType::Ed].into_iter().filter_map(resolved);
        let text_class = of_text.filter_map(|rule| self.class_if_kept(rule)).chain(elements.text_class).min();
        let spans = (common.method == Method::SafeHarbor).then(|| self.rules.span_caps());
        CcdaRecipe {
            types: CdaType::ALL.iter().map(|of| resolved(*of)).collect(),
            parts: CdaType::ALL.iter().map(|of| parts_of(*of)).collect(),
            rules: std::mem::take(&mut self.all),
            fits: std::mem::take(&mut self.fits),
            paths: PathSet::new(elements.paths),
            path_rules: elements.rules,
            paths_in_names: elements.in_names,
            paths_in_narrative: elements.in_narrative,
            comments: elements.comments,
            instructions: elements.instructions,
            identifiers,
            exclude,
            subject,
            seed_by_token: common.method != Method::ExpertDetermination || common.linked,
            identities: places,
            people: PathSet::new(people),
            namespaces,
            kernels: std::mem::take(&mut self.rules.kernels),
            lenient: std::mem::take(&mut self.rules.lenient),
            spans,
            undeclared,
            text_class: text_class.unwrap_or(KeyClass::Clinical),
            lines: std::mem::take(&mut self.rules.lines),
        }
    }

    fn rule(&mut self, place: &str, at: &At<FieldSection>, domain: &str) -> Option<RuleId> {
        let rule = self.rules.rule(place, at, domain)?;
        self.fits.push(Fits::of(&rule, self.rules.facts.common.method));
        self.all.push(rule);
        Some((self.all.len() - 1) as RuleId)
    }

    fn class_if_kept(&self, rule: RuleId) -> Option<KeyClass> {
        let rule = self.all.get(usize::from(rule))?;
        (rule.settled != Settled::Drop).then(|| rule.kind.key_class())
    }

    fn hold(&mut self, place: &str, rule: RuleId, floor: Option<Kind>) {
        if let (Some(rule), Some(floor)) = (self.all.get(usize::from(rule)).copied(), floor) {
            self.rules.hold_to_floor(place, &rule, floor);
        }
    }

    /// What is scrubbed is named by its path: the types of text hold names and numbers elsewhere.
    fn by_path(&mut self, place: &str, rule: RuleId) {
        if let Some(rule) = self.all.get(usize::from(rule)).filter(|rule| rule.action == Action::Scrub) {
            let message = format!("`{place}`: what is scrubbed is named by its path");
            let help = "such as `section/text` or `observation/value` under `elements`".to_owned();
            self.rules.issue(rule.position, message, Some(help));
        }
    }

    fn type_rules(&mut self, section: &CcdaSection) -> TypeRules {
        let (mut by_type, mut by_part) = (HashMap::new(), HashMap::new());
        for (text, at) in &section.types {
            let place = format!("types.{text}");
            let (name, part) = text.split_once('.').map_or((text.as_str(), None), |(name, part)| (name, Some(part)));
            let known = CdaType::ALL.iter().copied().find(|of| is_ruled(*of) && of.name() == name);
            let Some(of) = known else {
                let names = CdaType::ALL.iter().filter(|of| is_ruled(**of)).map(|of| of.name());
                let help = nearest(name, names).map(|near| format!("did you mean `{near}`?"));
                self.rules.issue(at.position, format!("`{name}` is no data type of CDA R2"), help);
                continue;
            };
            let Some(part) = part else {
                if let Some(rule) = self.rule(&place, at, text) {
                    self.by_path(&place, rule);
                    self.hold(&place, rule, floor::of_element(of, NameId::UNKNOWN));
                    by_type.insert(of, rule);
                }
                continue;
            };
            let (ns, local) = part.strip_prefix("sdtc:").map_or((Ns::V3, part), |local| (Ns::Sdtc, local));
            let part_name = types::name(local);
            let inner = types::part_type(of, ns, part_name);
            let attribute_ns = if ns == Ns::V3 { Ns::None } else { ns };
            let attribute = types::attribute_type(of, attribute_ns, part_name);
            let floor = match (inner, attribute) {
                (CdaType::Unknown, AttributeType::Unknown) => {
                    let names = types::parts(of);
                    let help = nearest(part, names.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                    self.rules.issue(at.position, format!("`{place}`: {name} has no such part"), help);
                    continue;
                }
                (_, AttributeType::Structural | AttributeType::Namespace) => {
                    let message = format!("`{place}`: words of the standard stay without a rule");
                    self.rules.issue(at.position, message, None);
                    continue;
                }
                (CdaType::Unknown, attribute) => floor::of_attribute(of, NameId::UNKNOWN, attribute),
                (inner, _) => floor::of_element(inner, part_name),
            };
            if let Some(rule) = self.rule(&place, at, text) {
                self.by_path(&place, rule);
                // A part of a person's name is a name, whatever type it has.
                let floor = if of == CdaType::Pn { floor.or(Some(Kind::Name)) } else { floor };
                self.hold(&place, rule, floor);
                by_part.insert((of, part_name), rule);
            }
        }
        (by_type, by_part)
    }

    fn element_rules(&mut self, section: &CcdaSection) -> ElementRules {
        let mut out = ElementRules::default();
        for (text, at) in &section.elements {
            if matches!(text.as_str(), "comment()" | "processing-instruction()") {
                if let Some(rule) = self.rule(text, at, text) {
                    self.hold(text, rule, Some(Kind::FreeText));
                    if matches!(self.all.get(usize::from(rule)), Some(Rule { settled: Settled::Gather(_), .. })) {
                        let message = format!("`{text}`: what is in no vocabulary is kept or dropped");
                        self.rules.issue(at.position, message, None);
                    }
                    let slot = if text == "comment()" { &mut out.comments } else { &mut out.instructions };
                    *slot = Some(rule);
                }
                continue;
            }
            let path = match Path::parse(text) {
                Ok(path) => path,
                Err(error) => {
                    self.rules.issue(at.position, format!("`elements.{text}`: {error}"), None);
                    continue;
                }
            };
            let found = types::of(&path);
            if found.is_empty() {
                let message = format!("`elements.{text}`: CDA R2 has no such element at such a place");
                self.rules.issue(
                    at.position,
                    message,
                    Some("a path without `//` in it names child after child".into()),
                );
                continue;
            }
            let Some(rule) = self.rule(text, at, text) else { continue };
            let is_scrub = self.all.get(usize::from(rule)).is_some_and(|rule| rule.action == Action::Scrub);
            // Of a value of any type the walk scrubs texts alone.
            let is_text = |of: &CdaType| matches!(of.family(), Family::Text | Family::Narrative | Family::Any);
            if is_scrub && (path.attribute().is_some() || !found.iter().all(is_text)) {
                let message = format!("`elements.{text}` is not of a type of running text (ED, ST, narrative)");
                self.rules.issue(at.position, message, Some("use another action".to_owned()));
            }
            self.path_floors(text, &path, &found, rule, at.position);
            let families = || found.iter().map(|of| of.family());
            if path.attribute().is_none() {
                out.in_names |= families().any(|of| matches!(of, Family::NamePart | Family::AddressPart));
            }
            // Whatever may stand in narrative is told by the name of its first element, `text`, as well.
            out.in_narrative |= families().any(|of| of == Family::Narrative) && !is_narrative_root(text);
            if found.iter().any(|of| matches!(of, CdaType::Ed | CdaType::Any)) {
                out.text_class = out.text_class.into_iter().chain(self.class_if_kept(rule)).min();
            }
            out.paths.push(path);
            out.rules.push(PathRule { rule, names_root: text.contains("[@root=") });
        }
        out
    }

    /// A path is held to what each type is that it can name; where `xsi:type` says which, the walk does.
    fn path_floors(&mut self, text: &str, path: &Path, found: &[CdaType], rule: RuleId, position: Position) {
        let Some((ns, attribute)) = path.attribute() else {
            let is_drop = self.all.get(usize::from(rule)).is_some_and(|rule| rule.settled == Settled::Drop);
            if !is_drop && found.iter().any(|of| !is_ruled(*of)) {
                self.rules.issue(
                    position,
                    format!(
                        "`elements.{text}` names an element that only holds others, and these have rules of their own"
                    ),
                    Some("name what is in it, as in `author//name`, or drop it".to_owned()),
                );
            }
            let name = last_name(text);
            for of in found {
                self.hold(text, rule, floor::of_element(*of, name));
            }
            return;
        };
        let Some(name) = attribute else {
            for of in found {
                self.hold(text, rule, floor::of_element(*of, NameId::UNKNOWN));
            }
            return;
        };
        if types::of_attribute(path).is_empty() {
            let message = format!("`elements.{text}`: CDA R2 has no such attribute at such a place");
            self.rules.issue(position, message, None);
        }
        for of in found {
            match types::attribute_type(*of, ns, name) {
                AttributeType::Unknown => {}
                AttributeType::Namespace | AttributeType::Structural => self.rules.issue(
                    position,
                    format!("`elements.{text}`: words of the standard stay without a rule"),
                    None,
                ),
                known => self.hold(text, rule, floor::of_attribute(*of, NameId::UNKNOWN, known)),
            }
        }
    }

    fn exclude(&mut self, section: &CcdaSection) -> Exclude {
        let set = |list: &[At<String>]| list.iter().map(|at| at.value.as_str().into()).collect();
        let mut participants = hashbrown::HashSet::new();
        for at in &section.exclude.participants {
            let found = Path::parse(&format!("//{}", at.value)).map(|path| types::of(&path)).unwrap_or_default();
            let is_root = at.value == "ClinicalDocument";
            if !is_root && !found.is_empty() && found.iter().all(|of| *of == CdaType::Structure) {
                participants.insert(types::name(at.value.strip_prefix("sdtc:").unwrap_or(&at.value)));
            } else {
                self.rules.issue(
                    at.position,
                    format!("`exclude.participants`: `{}` is no element of CDA R2 that holds others", at.value),
                    Some("write a name such as `author` or `informant`; values are dropped by a rule".to_owned()),
                );
            }
        }
        Exclude {
            sections: set(&section.exclude.sections),
            sensitivities: set(&section.exclude.sensitivities),
            participants,
        }
    }

    fn subject(&mut self, section: &CcdaSection) -> Option<IdentityPath> {
        let written = section.subject.as_ref().map(|at| (at.value.as_str(), at.position));
        let (text, position) = written.unwrap_or((SUBJECT, Position::default()));
        match identity_path(text) {
            Ok(place) => Some(place),
            Err(problem) => {
                self.rules.issue(position, format!("`subject`: {problem}"), None);
                None
            }
        }
    }
}

/// `recordTarget/patientRole/id[2.16.840.1.113883.4.1]`: a path, and in brackets the root of the identifiers that count.
fn identity_path(text: &str) -> Result<IdentityPath, String> {
    let bracket = text.strip_suffix(']').and_then(|inner| inner.rsplit_once('['));
    let (path, root) = match bracket {
        Some((path, root)) if form::is_oid(root) || is_uuid(root) => (path, Some(root.to_owned())),
        _ => (text, None),
    };
    let parsed = Path::parse(path).map_err(|error| error.to_string())?;
    let found = types::of(&parsed);
    if found.is_empty() || parsed.attribute().is_some() || found.iter().any(|of| *of != CdaType::Ii) {
        return Err("a path to identifiers (II), as in `recordTarget/patientRole/id`".to_owned());
    }
    Ok(IdentityPath { text: text.to_owned(), path: parsed, root })
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// The name of the element that a path ends at.
fn last_name(text: &str) -> NameId {
    let bare = text.split('[').next().unwrap_or_default();
    let bare = if text.ends_with(']') { bare } else { text };
    types::name(bare.rsplit(['/', ']', ':']).next().unwrap_or_default())
}

/// Whether a path ends at the element that holds a section's narrative.
fn is_narrative_root(text: &str) -> bool {
    last_name(text) == types::name("text") && !text.contains('@')
}
