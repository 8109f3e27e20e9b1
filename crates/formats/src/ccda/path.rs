//! Paths that name elements and attributes of a document, in the habit of XSLT's patterns.
//!
//! `ClinicalDocument/recordTarget/patientRole/id`, `//name`, `recordTarget//name`, `//sdtc:raceCode/@code`,
//! `section[@code='10164-2']//text`, `section[templateId/@root='2.16…']/title`. A path without a `/` in front begins
//! anywhere. `[@code='…']` asks the element itself or, where it has no such attribute, the `code` in it, since that is
//! where acts and sections have theirs. Names are those of the dictionary: a path with another could never match.

use std::borrow::Cow;

use thiserror::Error;

use super::tape::{Attribute, Document, Kind, Ns};
use super::types::{AttributeType, CdaType, NameId, State, name, name_count};

/// A path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    steps: Vec<Step>,
    /// Vocabulary and name; no name is `@*`.
    attribute: Option<(Ns, Option<NameId>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// Whether any number of elements may lie between it and the one before, or the root.
    deep: bool,
    /// `None` is `*`.
    named: Option<(Ns, NameId)>,
    predicates: Vec<Predicate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Predicate {
    /// Down from the element.
    children: Vec<NameId>,
    attribute: (Ns, NameId),
    value: String,
}

/// A mistake in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{problem} (character {})", .at + 1)]
pub struct PathError {
    /// The byte of the path at which it is, from 0.
    pub at: usize,
    pub problem: PathProblem,
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathProblem {
    #[error("a name is missing")]
    NoName,
    #[error("CDA R2 has no element or attribute of this name")]
    UnknownName,
    #[error("a prefix other than `sdtc`, `xsi` and `xml`")]
    UnknownPrefix,
    #[error("a condition is written `[@name='value']` or `[child/@name='value']`")]
    Predicate,
    #[error("nothing may follow an attribute")]
    BehindAttribute,
    #[error("more than {MAX_STEPS} steps")]
    TooLong,
}

/// A step is a bit of a word.
const MAX_STEPS: usize = 32;

/// How narrow a path is: of two that name one element, the greater says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Specificity {
    /// 0 for elements, 1 for `@*`, 2 for one attribute.
    pub attribute: u8,
    pub predicates: u8,
    pub named_steps: u8,
    /// Steps that stand directly in the one before, or at the root.
    pub direct_steps: u8,
}

/// How far a path is matched at some element: a bit for each step that ends there, and for each that ended above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    here: u32,
    above: u32,
    at_root: bool,
}

impl Progress {
    pub(super) const START: Self = Self { here: 0, above: 0, at_root: true };
}

impl Path {
    pub fn parse(text: &str) -> Result<Self, PathError> {
        Parser { text, at: 0 }.path()
    }

    /// The attribute that it names; without a name, all of an element.
    pub fn attribute(&self) -> Option<(Ns, Option<NameId>)> {
        self.attribute
    }

    pub fn specificity(&self) -> Specificity {
        let count = |of: &dyn Fn(&Step) -> usize| self.steps.iter().map(of).sum::<usize>().min(255) as u8;
        Specificity {
            attribute: match self.attribute {
                None => 0,
                Some((_, None)) => 1,
                Some(_) => 2,
            },
            predicates: count(&|step| step.predicates.len()),
            named_steps: count(&|step| usize::from(step.named.is_some())),
            direct_steps: count(&|step| usize::from(!step.deep)),
        }
    }

    /// Whether it names the element on top of a stack.
    pub fn matches(&self, stack: &Stack<'_>) -> bool {
        self.attribute.is_none() && self.names(stack)
    }

    /// Whether it names this attribute of the element on top of a stack.
    pub fn matches_attribute(&self, stack: &Stack<'_>, attribute: &Attribute) -> bool {
        self.attribute.is_some_and(|wanted| is_attribute(wanted, attribute.ns, attribute.name)) && self.names(stack)
    }

    fn names(&self, stack: &Stack<'_>) -> bool {
        let mut progress = Progress::START;
        for event in &stack.open {
            let Some(element) = stack.document.event(*event) else {
                return false;
            };
            progress = self.advance(progress, element.ns, element.name);
            for (at, step) in self.steps.iter().enumerate() {
                let bit = 1 << at;
                if progress.here & bit != 0 && !step.predicates.iter().all(|one| one.holds(stack.document, *event)) {
                    progress.here &= !bit;
                }
            }
        }
        !stack.open.is_empty() && self.is_complete(progress)
    }

    /// Into an element, conditions taken as met.
    pub(super) fn advance(&self, from: Progress, ns: Ns, name: NameId) -> Progress {
        let above = from.above | from.here;
        let mut here = 0;
        for (at, step) in self.steps.iter().enumerate() {
            let reached = match (at.checked_sub(1), step.deep) {
                (None, deep) => deep || from.at_root,
                (Some(before), true) => above >> before & 1 == 1,
                (Some(before), false) => from.here >> before & 1 == 1,
            };
            if reached && step.named.is_none_or(|named| named == (ns, name)) {
                here |= 1 << at;
            }
        }
        Progress { here, above, at_root: false }
    }

    pub(super) fn is_complete(&self, progress: Progress) -> bool {
        self.steps.len().checked_sub(1).is_some_and(|last| progress.here >> last & 1 == 1)
    }
}

fn is_attribute(wanted: (Ns, Option<NameId>), ns: Ns, name: NameId) -> bool {
    match wanted {
        (_, None) => ns != Ns::Xmlns,
        (wanted, Some(named)) => wanted == ns && named == name && name != NameId::UNKNOWN,
    }
}

impl Predicate {
    fn holds(&self, document: &Document, event: usize) -> bool {
        let says = |event: usize| -> Option<Cow<'_, str>> {
            let (ns, name) = self.attribute;
            document.attribute(event, ns, name).map(|attribute| document.value(attribute))
        };
        let Some((first, rest)) = self.children.split_first() else {
            let own = says(event);
            let code = name("code");
            return match own {
                Some(own) => own == self.value.as_str(),
                None if self.attribute == (Ns::None, code) => {
                    let inner = document.children_named(event, code).next();
                    inner.and_then(says).is_some_and(|said| said == self.value.as_str())
                }
                None => false,
            };
        };
        document
            .children_named(event, *first)
            .filter_map(|child| document.descend(child, rest))
            .any(|child| says(child).is_some_and(|said| said == self.value.as_str()))
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn wrong<T>(&self, problem: PathProblem) -> Result<T, PathError> {
        Err(PathError { at: self.at, problem })
    }

    fn path(mut self) -> Result<Path, PathError> {
        let mut steps: Vec<Step> = Vec::new();
        let mut deep = if self.eat("//") { true } else { !self.eat("/") };
        loop {
            if self.eat("@") {
                let attribute = self.attribute_name()?;
                if !self.rest().is_empty() {
                    return self.wrong(PathProblem::BehindAttribute);
                }
                if deep {
                    steps.push(Step { deep: true, named: None, predicates: Vec::new() });
                }
                if steps.is_empty() {
                    return self.wrong(PathProblem::NoName);
                }
                return Ok(Path { steps, attribute: Some(attribute) });
            }
            if steps.len() >= MAX_STEPS - 1 {
                return self.wrong(PathProblem::TooLong);
            }
            let named = if self.eat("*") { None } else { Some(self.element_name()?) };
            let mut predicates = Vec::new();
            while self.eat("[") {
                predicates.push(self.predicate()?);
            }
            steps.push(Step { deep, named, predicates });
            if self.rest().is_empty() {
                return Ok(Path { steps, attribute: None });
            }
            deep = self.eat("//");
            if !deep && !self.eat("/") {
                return self.wrong(PathProblem::NoName);
            }
        }
    }

    /// A name with its prefix.
    fn word(&mut self) -> Result<(&'a str, NameId, usize), PathError> {
        let at = self.at;
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        let length = self.rest().find(|c| !is_part(c)).unwrap_or(self.rest().len());
        let word = self.rest().get(..length).unwrap_or_default();
        let (prefix, local) = word.split_once(':').unwrap_or(("", word));
        if local.is_empty() {
            return self.wrong(PathProblem::NoName);
        }
        let id = name(local);
        if id == NameId::UNKNOWN {
            return self.wrong(PathProblem::UnknownName);
        }
        self.at += length;
        Ok((prefix, id, at))
    }

    fn element_name(&mut self) -> Result<(Ns, NameId), PathError> {
        match self.word()? {
            ("", id, _) => Ok((Ns::V3, id)),
            ("sdtc", id, _) => Ok((Ns::Sdtc, id)),
            (_, _, at) => Err(PathError { at, problem: PathProblem::UnknownPrefix }),
        }
    }

    fn attribute_name(&mut self) -> Result<(Ns, Option<NameId>), PathError> {
        if self.eat("*") {
            return Ok((Ns::None, None));
        }
        let (prefix, id, at) = self.word()?;
        let ns = match prefix {
            "" => Ns::None,
            "sdtc" => Ns::Sdtc,
            "xsi" => Ns::Xsi,
            "xml" => Ns::Xml,
            _ => return Err(PathError { at, problem: PathProblem::UnknownPrefix }),
        };
        Ok((ns, Some(id)))
    }

    /// Behind the `[`.
    fn predicate(&mut self) -> Result<Predicate, PathError> {
        let mut children = Vec::new();
        while !self.eat("@") {
            match self.element_name()? {
                (Ns::V3, child) if self.eat("/") && children.len() < MAX_STEPS => children.push(child),
                _ => return self.wrong(PathProblem::Predicate),
            }
        }
        let (ns, Some(id)) = self.attribute_name()? else {
            return self.wrong(PathProblem::Predicate);
        };
        if !self.eat("=") {
            return self.wrong(PathProblem::Predicate);
        }
        let quote = if self.eat("'") { '\'' } else { '"' };
        if quote == '"' && !self.eat("\"") {
            return self.wrong(PathProblem::Predicate);
        }
        let Some((value, _)) = self.rest().split_once(quote) else {
            return self.wrong(PathProblem::Predicate);
        };
        self.at += value.len() + 1;
        if !self.eat("]") {
            return self.wrong(PathProblem::Predicate);
        }
        Ok(Predicate { children, attribute: (ns, id), value: value.to_owned() })
    }
}

/// The elements that are open at some event of a document, and their types.
///
/// Fed with every event in order, its top is the element that the event belongs to: the one that begins or ends there,
/// or that the text stands in.
pub struct Stack<'a> {
    document: &'a Document,
    open: Vec<usize>,
    states: Vec<State>,
    ended: bool,
}

impl<'a> Stack<'a> {
    pub fn new(document: &'a Document) -> Self {
        Self { document, open: Vec::new(), states: Vec::new(), ended: false }
    }

    /// To the next event of the document.
    pub fn follow(&mut self, event: usize) {
        if std::mem::take(&mut self.ended) {
            self.open.pop();
            self.states.pop();
        }
        let Some(kind) = self.document.event(event).map(|event| event.kind) else {
            return;
        };
        match kind {
            Kind::Open | Kind::Empty => {
                let state = self.state().enter(self.document, event);
                self.open.push(event);
                self.states.push(state);
                self.ended = kind == Kind::Empty;
            }
            Kind::Close => self.ended = true,
            _ => {}
        }
    }

    pub fn document(&self) -> &'a Document {
        self.document
    }

    /// The event of the element on top.
    pub fn element(&self) -> Option<usize> {
        self.open.last().copied()
    }

    /// The events of the elements that are open, from the root.
    pub fn elements(&self) -> &[usize] {
        &self.open
    }

    pub fn depth(&self) -> usize {
        self.open.len()
    }

    pub fn state(&self) -> State {
        self.states.last().copied().unwrap_or(State::START)
    }

    /// The type of the element on top.
    pub fn cda_type(&self) -> CdaType {
        self.states.last().map_or(CdaType::Unknown, |state| state.cda_type())
    }

    /// The type of the element around the one on top.
    pub fn outer_type(&self) -> CdaType {
        self.states.iter().rev().nth(1).map_or(CdaType::Structure, |state| state.cda_type())
    }

    /// The type of an attribute of the element on top.
    pub fn attribute_type(&self, attribute: &Attribute) -> AttributeType {
        self.states.last().map_or(AttributeType::Unknown, |state| state.attribute(attribute))
    }
}

/// Many paths, matched together: the cost of an element is that of the steps that have its name.
pub struct PathSet {
    paths: Vec<Path>,
    positions: Vec<Position>,
    /// Positions by twice the name's number, plus one for sdtc.
    by_name: Vec<Vec<u32>>,
    by_any: Vec<u32>,
    /// Of each path, its place when sorted from the narrowest.
    ranks: Vec<u32>,
}

struct Position {
    path: u32,
    step: u32,
    is_last: bool,
}

impl PathSet {
    /// Paths are named by their place in `paths`. Of two that are equally narrow, the earlier comes first.
    pub fn new(paths: Vec<Path>) -> Self {
        let mut positions = Vec::new();
        let mut by_name = vec![Vec::new(); name_count() * 2];
        let mut by_any = Vec::new();
        for (number, path) in paths.iter().enumerate() {
            for (at, step) in path.steps.iter().enumerate() {
                let position = positions.len() as u32;
                let is_last = at + 1 == path.steps.len();
                positions.push(Position { path: number as u32, step: at as u32, is_last });
                match step.named {
                    None => by_any.push(position),
                    Some((ns, name)) => {
                        if let Some(slot) = by_name.get_mut(slot(ns, name)) {
                            slot.push(position);
                        }
                    }
                }
            }
        }
        let mut order: Vec<usize> = (0..paths.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(paths.get(*at).map(Path::specificity)));
        let mut ranks = vec![0; paths.len()];
        for (rank, at) in order.into_iter().enumerate() {
            if let Some(slot) = ranks.get_mut(at) {
                *slot = rank as u32;
            }
        }
        Self { paths, positions, by_name, by_any, ranks }
    }

    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Begins at the start of a document.
    pub fn matcher<'s>(&'s self, document: &'s Document) -> Matcher<'s> {
        let words = self.positions.len().div_ceil(64);
        Matcher { set: self, document, words, bits: Vec::new(), hits: Vec::new(), levels: Vec::new(), ended: false }
    }
}

fn slot(ns: Ns, name: NameId) -> usize {
    usize::from(name.0) * 2 + usize::from(ns == Ns::Sdtc)
}

/// Which paths of a set name the element that an event belongs to. Fed like a [`Stack`].
pub struct Matcher<'s> {
    set: &'s PathSet,
    document: &'s Document,
    words: usize,
    /// For each open element, the steps that end at it, then those that end at it or above.
    bits: Vec<u64>,
    /// The paths that name the open elements, one element's behind another's.
    hits: Vec<u32>,
    /// Where each open element's begin.
    levels: Vec<usize>,
    ended: bool,
}

impl Matcher<'_> {
    /// To the next event of the document.
    pub fn follow(&mut self, event: usize) {
        if std::mem::take(&mut self.ended) {
            self.leave();
        }
        let Some(kind) = self.document.event(event).map(|event| event.kind) else {
            return;
        };
        match kind {
            Kind::Open | Kind::Empty => {
                self.enter(event);
                self.ended = kind == Kind::Empty;
            }
            Kind::Close => self.ended = true,
            _ => {}
        }
    }

    /// The paths without an attribute that name the element on top, the narrowest first.
    pub fn elements(&self) -> impl Iterator<Item = usize> + '_ {
        self.top().filter(|(_, path)| path.attribute.is_none()).map(|(number, _)| number)
    }

    /// The paths that name an attribute of the element on top, the narrowest first.
    pub fn attributes(&self, attribute: &Attribute) -> impl Iterator<Item = usize> + '_ {
        let (ns, name) = (attribute.ns, attribute.name);
        let names = move |path: &Path| path.attribute.is_some_and(|wanted| is_attribute(wanted, ns, name));
        self.top().filter(move |(_, path)| names(path)).map(|(number, _)| number)
    }

    fn top(&self) -> impl Iterator<Item = (usize, &Path)> + '_ {
        let hits = self.levels.last().and_then(|from| self.hits.get(*from..)).unwrap_or_default();
        hits.iter().filter_map(|path| Some((*path as usize, self.set.paths.get(*path as usize)?)))
    }

    fn leave(&mut self) {
        if let Some(from) = self.levels.pop() {
            self.hits.truncate(from);
            self.bits.truncate(self.levels.len() * 2 * self.words);
        }
    }

    fn enter(&mut self, event: usize) {
        let Some(element) = self.document.event(event) else {
            return;
        };
        let set = self.set;
        let level = self.bits.len();
        let parent = level.checked_sub(2 * self.words);
        let at_root = self.levels.is_empty();
        self.levels.push(self.hits.len());
        self.bits.resize(level + 2 * self.words, 0);
        if let Some(parent) = parent {
            let above = parent + self.words;
            self.bits.copy_within(above..above + self.words, level + self.words);
        }
        let named = match (element.ns, element.name) {
            (_, NameId::UNKNOWN) => None,
            (Ns::V3 | Ns::Sdtc, name) => set.by_name.get(slot(element.ns, name)),
            _ => None,
        };
        let first_hit = self.hits.len();
        for position in named.into_iter().flatten().chain(&set.by_any) {
            let at = *position as usize;
            let Some(place) = set.positions.get(at) else {
                continue;
            };
            let step = set.paths.get(place.path as usize).and_then(|path| path.steps.get(place.step as usize));
            let Some(step) = step else {
                continue;
            };
            let reached = match (place.step, step.deep) {
                (0, deep) => deep || at_root,
                (_, deep) => parent.is_some_and(|parent| {
                    let from = if deep { parent + self.words } else { parent };
                    self.has(from, at - 1)
                }),
            };
            if !reached || !step.predicates.iter().all(|one| one.holds(self.document, event)) {
                continue;
            }
            for from in [level, level + self.words] {
                if let Some(word) = self.bits.get_mut(from + at / 64) {
                    *word |= 1 << (at % 64);
                }
            }
            if place.is_last {
                self.hits.push(place.path);
            }
        }
        if let Some(hits) = self.hits.get_mut(first_hit..) {
            hits.sort_unstable_by_key(|path| set.ranks.get(*path as usize));
        }
    }

    fn has(&self, from: usize, position: usize) -> bool {
        self.bits.get(from + position / 64).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }
}
