//! What the paths of documents hold: HL7 v2 messages, FHIR resources, CDA documents. One pass, in bounded memory.
//!
//! What a path is expected to hold is what the shipped policy of its format says of it, by place, by part of a type or by type: so it
//! is judged as a run would judge it. The values may say otherwise, and they alone speak where no rule reaches: in segments of
//! vendors, in fields whose type the message tells, in extensions. Names that a format does not know are data; they show as `?`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use cordon_detect::{ColumnVerdict, ProfileBuilder};
use cordon_formats::ccda::{
    self, AttributeType, CdaType, Document, DocumentReader, Family, Kind as Event, PathSet, Stack,
};
use cordon_formats::fhir::{self, Definitions, Kind as Token, ResourceBatch, ResourceReader, TypeId, TypeKind};
use cordon_formats::hl7v2::{self, Dictionary, Message, MessageReader, RecordKind};
use cordon_formats::open_decoded;
use cordon_phi::IdentifierKind;
use serde::Deserialize;

use crate::config::Format;
use crate::error::RunError;

/// More paths than any standard's segments have together; further ones are counted under `?`.
const MOST_PATHS: usize = 20_000;

/// How much is read at once.
const BATCH_BYTES: usize = 4 << 20;

/// A shipped policy, and its dataset of documents.
pub(super) struct Shipped {
    pub dataset: &'static str,
    pub text: &'static str,
}

/// The policy whose rules are expected of a format; `None` for tables.
pub(super) fn shipped(format: Format) -> Option<Shipped> {
    let (dataset, text) = match format {
        Format::Hl7v2 => ("hl7", include_str!("../../../deid/policies/hl7v2.yaml")),
        Format::Fhir => ("fhir", include_str!("../../../deid/policies/fhir-r4.yaml")),
        Format::Ccda => ("ccda", include_str!("../../../deid/policies/ccda.yaml")),
        _ => return None,
    };
    Some(Shipped { dataset, text })
}

/// The parts of a policy that say which kinds stand where.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PolicyKinds {
    datasets: BTreeMap<String, DatasetKinds>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DatasetKinds {
    hl7v2: Kinds,
    fhir: Kinds,
    ccda: Kinds,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Kinds {
    types: BTreeMap<String, KindOf>,
    elements: BTreeMap<String, KindOf>,
}

#[derive(Deserialize)]
struct KindOf {
    kind: IdentifierKind,
}

impl Kinds {
    fn of(format: Format) -> Self {
        let read = shipped(format).and_then(|shipped| {
            let mut policy: PolicyKinds = serde_saphyr::from_str(shipped.text).ok()?;
            policy.datasets.remove(shipped.dataset)
        });
        let Some(read) = read else { return Self::default() };
        match format {
            Format::Hl7v2 => read.hl7v2,
            Format::Fhir => read.fhir,
            Format::Ccda => read.ccda,
            _ => Self::default(),
        }
    }

    fn element(&self, path: &str) -> Option<IdentifierKind> {
        self.elements.get(path).map(|rule| rule.kind)
    }

    fn data_type(&self, name: &str) -> Option<IdentifierKind> {
        self.types.get(name).map(|rule| rule.kind)
    }
}

/// Paths and what stands there.
pub(super) struct Paths {
    found: BTreeMap<String, One>,
    /// Documents, and records that are none.
    pub documents: u64,
    pub rejected: u64,
    most: u64,
}

struct One {
    profile: ProfileBuilder,
    expected: Option<IdentifierKind>,
}

/// What a path turned out to hold.
pub(super) struct PathVerdict {
    pub path: String,
    pub verdict: ColumnVerdict,
    /// No rule of the shipped policy reaches it: nothing of it would pass.
    pub is_undeclared: bool,
}

impl Paths {
    pub fn new(most: u64) -> Self {
        Self { found: BTreeMap::new(), documents: 0, rejected: 0, most }
    }

    fn is_full(&self) -> bool {
        self.documents >= self.most
    }

    /// Takes a value. `words` are what the path is called, where its name says less than that.
    fn add(&mut self, path: &str, words: &str, expected: Option<IdentifierKind>, value: &str) {
        if value.trim().is_empty() {
            return;
        }
        let path = if self.found.len() < MOST_PATHS || self.found.contains_key(path) { path } else { "?" };
        if !self.found.contains_key(path) {
            self.found.insert(path.to_owned(), One { profile: ProfileBuilder::new(words), expected: None });
        }
        let Some(one) = self.found.get_mut(path) else { return };
        // Of several types at one path, the one that must be protected counts; of two such, neither is it alone.
        one.expected = match (one.expected, expected) {
            (Some(before), Some(now)) if before != now && before.clause().and(now.clause()).is_some() => {
                Some(IdentifierKind::FreeText)
            }
            (Some(before), Some(now)) if before.clause().is_some() || now.clause().is_none() => Some(before),
            (before, None) => before,
            (_, now) => now,
        };
        one.profile.update(&[Some(value)]);
    }

    pub fn finish(self) -> Vec<PathVerdict> {
        let verdicts = self.found.into_iter().map(|(path, one)| {
            let One { mut profile, expected } = one;
            if let Some(kind) = expected {
                profile.expect(kind, "shipped-policy");
            }
            PathVerdict { path, verdict: profile.finish(), is_undeclared: expected.is_none() }
        });
        verdicts.collect()
    }
}

/// Reads documents of one format; more than `paths` has room for are not looked at.
pub(super) struct Walker {
    format: Format,
    kinds: Kinds,
    /// Of CDA: the policy's paths, and their kinds.
    places: PathSet,
    place_kinds: Vec<IdentifierKind>,
}

impl Walker {
    pub fn new(format: Format) -> Self {
        let kinds = Kinds::of(format);
        let places = match format {
            Format::Ccda => kinds.elements.iter(),
            _ => BTreeMap::iter(const { &BTreeMap::new() }),
        };
        let (places, place_kinds) =
            places.filter_map(|(path, rule)| Some((ccda::Path::parse(path).ok()?, rule.kind))).unzip();
        Self { format, kinds, places: PathSet::new(places), place_kinds }
    }

    pub fn file(&self, path: &Path, paths: &mut Paths) -> Result<(), RunError> {
        let unreadable =
            |what: String| RunError::usage(format!("{}: {what}", path.display()), "mend the file, or leave it out");
        let file = File::open(path).map_err(|error| RunError::io("open", path, &error))?;
        let decoded = open_decoded(file).map_err(|error| unreadable(error.to_string()))?;
        match self.format {
            Format::Hl7v2 => {
                let mut reader = MessageReader::new(decoded, hl7v2::ReadOptions::default());
                while !paths.is_full() {
                    let batch = reader.next_batch(BATCH_BYTES).map_err(|error| unreadable(error.to_string()))?;
                    let Some(batch) = batch else { break };
                    paths.rejected += batch.rejects.len() as u64;
                    for (index, record) in batch.records.iter().enumerate() {
                        if let (RecordKind::Message, Ok(message), false) =
                            (record.kind, batch.parse(index), paths.is_full())
                        {
                            self.message(&message, paths);
                        }
                    }
                }
            }
            Format::Fhir => {
                let mut reader = ResourceReader::new(decoded, fhir::ReadOptions::default());
                while !paths.is_full() {
                    let batch = reader.next_batch(BATCH_BYTES).map_err(|error| unreadable(error.to_string()))?;
                    let Some(batch) = batch else { break };
                    paths.rejected += batch.rejects.len() as u64;
                    self.resources(&batch, paths);
                }
            }
            Format::Ccda => {
                let mut reader = DocumentReader::new(decoded, ccda::ReadOptions::default());
                while !paths.is_full() {
                    let batch = reader.next_batch(BATCH_BYTES).map_err(|error| unreadable(error.to_string()))?;
                    let Some(batch) = batch else { break };
                    paths.rejected += batch.rejects.len() as u64;
                    for document in &batch.documents {
                        self.document(document, paths);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// `PID-5`, `ZPI-3`, `OBX-5`; a line that is no segment, and a segment that nobody knows, is `?`.
    fn message(&self, message: &Message<'_>, paths: &mut Paths) {
        paths.documents += 1;
        let dictionary = Dictionary::get();
        let version = message.version();
        for segment in message.segments() {
            let is_header = message.header().is_some_and(|header| header.index() == segment.index());
            let name = segment.name();
            let is_vendors = matches!(name, [b'Z', a, b]
                if [a, b].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
            let known = dictionary.segment(name).map(|segment| segment.name);
            let name = known.or_else(|| std::str::from_utf8(name).ok().filter(|_| is_vendors)).unwrap_or("?");
            // A field that is no more than a separator says nothing.
            let fields = segment.fields().filter(|field| !(is_header && field.number <= 2)).take(512);
            for field in fields.filter(|field| !field.value.is_empty()) {
                let number = field.number;
                let defined = dictionary.field(name, number, version);
                let data_type = dictionary.value_type(&segment, number, version);
                let path = if name == "?" { name.to_owned() } else { format!("{name}-{number}") };
                let expected = self.kinds.element(&path).or_else(|| {
                    let of_type = |name: &str| self.kinds.data_type(name);
                    // A time stamp of older versions has its rule at its first component.
                    data_type.and_then(|name| of_type(name).or_else(|| of_type(&format!("{name}.1"))))
                });
                let words = defined.as_ref().map_or(path.as_str(), |field| field.name);
                for leaf in field.value.leaves().filter(|leaf| !leaf.value.is_empty()) {
                    paths.add(&path, words, expected, &leaf.value.text());
                }
            }
        }
    }

    fn resources(&self, batch: &ResourceBatch, paths: &mut Paths) {
        for resource in &batch.resources {
            if paths.is_full() {
                return;
            }
            paths.documents += 1;
            let definitions = fhir::r4();
            let name = definitions.get(resource.type_id).name;
            let walk = Resource { kinds: &self.kinds, definitions, batch };
            let root =
                Place { path: name.to_owned(), type_id: resource.type_id, expected: None, rule: name.to_owned() };
            walk.object(resource.token as usize, &root, paths);
        }
    }

    fn document(&self, document: &Document, paths: &mut Paths) {
        paths.documents += 1;
        let mut stack = Stack::new(document);
        let mut matcher = self.places.matcher(document);
        for index in 0..document.events().len() {
            stack.follow(index);
            matcher.follow(index);
            let Some(event) = document.event(index) else { continue };
            let value_type = match stack.cda_type() {
                // Parts of names and addresses are what they are parts of.
                CdaType::Enxp | CdaType::Adxp => stack.outer_type(),
                other => other,
            };
            let by_place = |mut found: Box<dyn Iterator<Item = usize> + '_>| {
                found.next().and_then(|number| self.place_kinds.get(number)).copied()
            };
            let of_type = || {
                let local = stack.element().map_or("", |element| ccda_name(document, element));
                let part = format!("{}.{local}", value_type.name());
                self.kinds.data_type(&part).or_else(|| self.by_family(value_type))
            };
            match event.kind {
                Event::Open | Event::Empty => {
                    let path = cda_path(document, &stack);
                    for attribute in document.attributes(index) {
                        let kind = stack.attribute_type(attribute);
                        let own = by_place(Box::new(matcher.attributes(attribute)));
                        let expected = match kind {
                            AttributeType::Namespace | AttributeType::Structural | AttributeType::Layout => continue,
                            AttributeType::CodeSystem | AttributeType::Unit => Some(IdentifierKind::Operational),
                            AttributeType::Root if value_type == CdaType::Template => continue,
                            AttributeType::Unknown => None,
                            AttributeType::Text | AttributeType::Link | AttributeType::NarrativeId => {
                                Some(IdentifierKind::FreeText)
                            }
                            _ => by_place(Box::new(matcher.elements())).or_else(of_type),
                        };
                        let name = match kind {
                            AttributeType::Unknown => "?",
                            _ => ccda::types::name_text(attribute.name),
                        };
                        let path = format!("{path}/@{name}");
                        paths.add(&path, &path, own.or(expected), &document.value(attribute));
                    }
                }
                Event::Text | Event::CData => {
                    let path = cda_path(document, &stack);
                    let own = by_place(Box::new(matcher.elements()));
                    paths.add(&path, &path, own.or_else(of_type), &document.piece(event));
                }
                Event::Comment | Event::Instruction => {
                    let words = if event.kind == Event::Comment { "comment()" } else { "processing-instruction()" };
                    paths.add(words, words, Some(IdentifierKind::FreeText), document.raw(event.inner()));
                }
                _ => {}
            }
        }
    }

    /// The rule of a type, or of the type that the policy names for all of its family.
    fn by_family(&self, of: CdaType) -> Option<IdentifierKind> {
        let family = match of.family() {
            Family::Time => "TS",
            Family::Code | Family::Qualifier => "CD",
            Family::Quantity if of == CdaType::Mo || of == CdaType::IvlMo => "MO",
            Family::Quantity => "PQ",
            Family::Text => "ST",
            _ => return self.kinds.data_type(of.name()),
        };
        self.kinds.data_type(of.name()).or_else(|| self.kinds.data_type(family))
    }
}

/// The local name of an element as the dictionary has it; `?` for others, which are data.
fn ccda_name(document: &Document, event: usize) -> &'static str {
    let name = document.event(event).map_or(ccda::NameId::UNKNOWN, |event| event.name);
    if name == ccda::NameId::UNKNOWN { "?" } else { ccda::types::name_text(name) }
}

/// The last elements that lead to a place, as a path of the policy may be written. Narrative is one place.
fn cda_path(document: &Document, stack: &Stack<'_>) -> String {
    const SHOWN: usize = 4;
    if stack.cda_type() == CdaType::Narrative {
        return "section/text".to_owned();
    }
    let elements = stack.elements();
    let from = elements.len().saturating_sub(SHOWN);
    let shown = elements.iter().skip(from).map(|event| ccda_name(document, *event));
    shown.collect::<Vec<_>>().join("/")
}

/// Whether a path is a field of the standard, or of a vendor's segment.
pub(super) fn is_hl7v2_field(path: &str) -> bool {
    let Some((segment, number)) = path.split_once('-') else { return false };
    let is_known = |number| Dictionary::get().field(segment, number, hl7v2::Version::NEWEST).is_some();
    segment.starts_with('Z') || number.parse().is_ok_and(is_known)
}

struct Resource<'a> {
    kinds: &'a Kinds,
    definitions: &'static Definitions,
    batch: &'a ResourceBatch,
}

struct Place {
    path: String,
    type_id: TypeId,
    /// What a rule of the whole that it is a part of says.
    expected: Option<IdentifierKind>,
    /// Its path as a rule would name it, where choices are `value.ofType(string)`.
    rule: String,
}

impl Resource<'_> {
    /// The members of the object at a token of the tape.
    fn object(&self, at: usize, place: &Place, paths: &mut Paths) {
        let tape = &self.batch.tape;
        let end = tape.get(at).map_or(at, |token| token.next as usize);
        let of = self.definitions.get(place.type_id);
        let mut at = at + 1;
        while at < end {
            let Some(key) = tape.get(at) else { return };
            let name = self.definitions.name(key.name).unwrap_or("?");
            let element = of.element(name).filter(|_| !key.underscore);
            let is_known = element.is_some();
            let type_id = element.map_or(place.type_id, |element| element.type_id);
            let type_name = self.definitions.get(type_id).name;
            let shown = if is_known { name } else { "?" };
            let choice = element.and_then(|element| element.choice);
            let rule = match choice {
                Some(choice) => format!("{}.{choice}.ofType({type_name})", place.rule),
                None => format!("{}.{shown}", place.rule),
            };
            let in_type = format!("{}.{shown}", of.name);
            let expected = if is_known {
                let by_name = self.kinds.element(&rule).or_else(|| self.kinds.element(&in_type));
                by_name
                    .or_else(|| self.kinds.element(&format!("*.{shown}")))
                    .or(place.expected)
                    .or_else(|| self.kinds.data_type(type_name))
            } else {
                None
            };
            let inner = Place { path: format!("{}.{shown}", place.path), type_id, expected, rule };
            if name != "resourceType" {
                self.value(at + 1, &inner, is_known, paths);
            }
            at = tape.get(at + 1).map_or(end, |value| value.next as usize);
        }
    }

    /// A resource within another, at the path that it would have alone.
    fn contained(&self, at: usize, place: &Place, paths: &mut Paths) {
        let tape = &self.batch.tape;
        let end = tape.get(at).map_or(at, |token| token.next as usize);
        let tokens = tape.get(at + 1..end).unwrap_or_default().iter().zip(tape.get(at + 2..).unwrap_or_default());
        let mut types =
            tokens.filter(|(key, _)| key.kind == Token::Key && self.definitions.name(key.name) == Some("resourceType"));
        let named = types.next().and_then(|(_, value)| self.batch.text.get(span(value)));
        match named.and_then(|name| self.definitions.resource_type(name)) {
            Some(type_id) => {
                let name = self.definitions.get(type_id).name.to_owned();
                self.object(at, &Place { path: name.clone(), type_id, expected: None, rule: name }, paths);
            }
            None => paths.add(&place.path, &place.path, None, "?"),
        }
    }

    fn value(&self, at: usize, place: &Place, is_known: bool, paths: &mut Paths) {
        let Some(token) = self.batch.tape.get(at) else { return };
        match token.kind {
            Token::Array => {
                let (mut inner, end) = (at + 1, token.next as usize);
                while inner < end {
                    self.value(inner, place, is_known, paths);
                    inner = self.batch.tape.get(inner).map_or(end, |token| token.next as usize);
                }
            }
            // The reader bounds the depth. A resource in another is one of its own.
            Token::Object => {
                let of = self.definitions.get(place.type_id);
                match of.kind {
                    _ if !is_known => paths.add("?", "?", None, self.batch.text.get(span(token)).unwrap_or_default()),
                    TypeKind::AnyResource => self.contained(at, place, paths),
                    _ => self.object(at, place, paths),
                }
            }
            Token::Text | Token::Number | Token::True | Token::False => {
                let spelled = self.batch.text.get(span(token)).unwrap_or_default();
                let unescaped;
                let text = if token.escaped {
                    unescaped = fhir::unescape(spelled.as_bytes());
                    unescaped.as_str()
                } else {
                    spelled
                };
                paths.add(&place.path, &place.path, place.expected, text);
            }
            Token::Key | Token::Null => {}
        }
    }
}

fn span(token: &fhir::Token) -> std::ops::Range<usize> {
    token.start as usize..token.end as usize
}
