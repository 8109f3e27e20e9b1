//! What is to be done with a batch of documents, and the doing of it.

use arrow_array::builder::StringViewBuilder;
use arrow_array::{Array, StringViewArray};

use cordon_phi::Known;

use super::DocumentFailure;
use crate::fhir::FailureReason;
use crate::fhir::gather::Gather;
use crate::fhir::recipe::{GatherRule, Gathered, Settled};
use crate::kernel::narrative::person::identity_of_other;
use crate::kernel::{Column, Env, KernelError, Reason, seeds_of_others, text_of, tokens_of};
use crate::tally::{Counter, Spans, Tally, Values};

/// A change of a document: what stands from `start` to `end` is replaced.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    pub start: u32,
    pub end: u32,
    pub with: Replacement<'a>,
    /// What the walk marked it with.
    pub mark: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replacement<'a> {
    /// Nothing stands there any more.
    Nothing,
    /// This text, which the format spells as it must.
    Text(&'a str),
    /// The whole structure goes: a segment, an element.
    Removed,
}

#[derive(Clone, Copy)]
enum With {
    Nothing,
    Removed,
    Slot { column: Gathered, row: u32 },
}

struct Edit {
    start: u32,
    end: u32,
    with: With,
    mark: u32,
    values: Values,
}

/// One document, or the part of one that is a person's.
struct Record {
    edits_end: usize,
    /// Its counts of values that stay end here.
    kept_end: usize,
    failed: Option<(String, FailureReason)>,
}

/// Whose values are whose: a namespace and a span of `identities`.
#[derive(Clone, Copy)]
struct Subject {
    namespace: u16,
    start: u32,
    end: u32,
    /// Of somebody else than a subject: the number of the subject whose records name them, where that matters.
    of: Option<u32>,
}

/// The namespace of people who are not subjects: their span is role and name.
const OTHER: u16 = u16::MAX;

/// The plan of a batch. Records are begun and ended one after the other; within one, changes come in ascending order.
///
/// It holds PHI: no `Debug`.
pub(crate) struct Plan<'r> {
    rules: &'r [GatherRule],
    /// Of each rule, whether what it cannot handle leaves an empty place.
    lenient: &'r [bool],
    /// Token domains whose identifiers mean a person.
    namespaces: &'r [String],
    gathers: Vec<Gather>,
    edits: Vec<Edit>,
    records: Vec<Record>,
    /// Everybody whose values stand in the batch; null where nobody is known.
    subjects: Vec<Option<Subject>>,
    identities: String,
    failed: Option<(String, FailureReason)>,
    kept: Counter,
    /// The number of the subject at hand, and how surely it is known who that is.
    whose: Person,
    rank: u8,
}

/// Somebody whose values stand in a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Person(u32);

impl<'r> Plan<'r> {
    pub(crate) fn new(rules: &'r [GatherRule], lenient: &'r [bool], namespaces: &'r [String]) -> Self {
        Self {
            rules,
            lenient,
            namespaces,
            gathers: rules.iter().map(Gather::new).collect(),
            edits: Vec::new(),
            records: Vec::new(),
            subjects: vec![None],
            identities: String::new(),
            failed: None,
            kept: Counter::default(),
            whose: Person(0),
            rank: u8::MAX,
        }
    }

    /// From here on, values are of another subject, whoever [`Plan::subject`] says it is.
    pub(crate) fn next_subject(&mut self) {
        self.whose = Person(self.subjects.len() as u32);
        self.subjects.push(None);
        self.rank = u8::MAX;
    }

    /// Whether anybody is known for the subject at hand.
    pub(crate) fn has_subject(&self) -> bool {
        self.rank < u8::MAX
    }

    /// Says whose the values since the last change of subject are; of several identities the one of the lowest rank counts,
    /// and of equal ranks the first.
    pub(crate) fn subject(&mut self, rank: u8, namespace: u16, identity: &str) {
        let identity = identity.trim();
        if identity.is_empty() || self.rank <= rank {
            return;
        }
        let subject = self.identity(namespace, &[identity]);
        if let Some(known) = self.subjects.get_mut(self.whose.0 as usize) {
            *known = Some(subject);
        }
        self.rank = rank;
    }

    /// Somebody else than the subject: a relative, a provider, by their name in any order and spelling, or what else is known of
    /// them. `of_subject`: two subjects' relatives of one name are two people. Notes that name them are given the same seed.
    pub(crate) fn other(&mut self, role: &str, of_subject: bool, name: &str) -> Person {
        let between = Known::BETWEEN_NAMES.encode_utf8(&mut [0; 4]).to_owned();
        let other = self.identity(OTHER, &[role, &between, name]);
        let of = of_subject.then_some(self.whose.0);
        self.subjects.push(Some(Subject { of, ..other }));
        Person(self.subjects.len() as u32 - 1)
    }

    fn identity(&mut self, namespace: u16, parts: &[&str]) -> Subject {
        let start = self.identities.len() as u32;
        self.identities.extend(parts.iter().copied());
        Subject { namespace, start, end: self.identities.len() as u32, of: None }
    }

    /// A value of the subject's that stands at a span and means `text`.
    pub(crate) fn value(&mut self, span: (u32, u32), text: &str, settled: Settled, mark: u32, values: Values) {
        self.value_of(self.whose, span, text, settled, mark, values);
    }

    /// A value of somebody's.
    pub(crate) fn value_of(
        &mut self,
        whose: Person,
        span: (u32, u32),
        text: &str,
        settled: Settled,
        mark: u32,
        values: Values,
    ) {
        let with = match settled {
            Settled::Keep => return self.keep(values),
            Settled::Drop => With::Nothing,
            Settled::Gather(column) => match self.gathers.get_mut(usize::from(column)) {
                Some(gather) => With::Slot { column, row: gather.add(text, whose.0) },
                None => With::Nothing,
            },
        };
        self.edits.push(Edit { start: span.0, end: span.1, with, mark, values });
    }

    /// Values that stay as they are.
    #[inline]
    pub(crate) fn keep(&mut self, values: Values) {
        self.kept.count(values);
    }

    /// Nothing in place of a span, or the whole structure there removed.
    pub(crate) fn remove(&mut self, span: (u32, u32), whole: bool, mark: u32, values: Values) {
        let with = if whole { With::Removed } else { With::Nothing };
        self.edits.push(Edit { start: span.0, end: span.1, with, mark, values });
    }

    /// The document at hand will be in no table.
    pub(crate) fn fail(&mut self, path: impl FnOnce() -> String, reason: FailureReason) {
        if self.failed.is_none() {
            self.failed = Some((path(), reason));
        }
    }

    /// Ends a document; its subject too.
    pub(crate) fn end(&mut self) {
        self.next_subject();
        let (edits_end, kept_end) = (self.edits.len(), self.kept.end());
        self.records.push(Record { edits_end, kept_end, failed: self.failed.take() });
    }

    /// Every kernel once, over all values that it touches in the batch.
    pub(crate) fn run(self, seeds: SeedBy<'_>, env: &Env) -> Result<Done, KernelError> {
        let mut seeded: Option<StringViewArray> = None;
        let mut results = Vec::with_capacity(self.rules.len());
        let identities = Identities { namespaces: self.namespaces, subjects: &self.subjects, text: &self.identities };
        for ((gather, rule), lenient) in self.gathers.into_iter().zip(self.rules).zip(self.lenient.iter().copied()) {
            if gather.is_empty() {
                results.push(None);
                continue;
            }
            let (values, whose) = gather.finish();
            let subjects = match whose {
                None => None,
                Some(whose) => {
                    if seeded.is_none() {
                        seeded = Some(identities.seeds(seeds, env)?);
                    }
                    seeded.as_ref().map(|seeds| pick(seeds, &whose))
                }
            };
            let values = rule.allow.as_ref().map_or_else(|| values.clone(), |allow| allow.apply(&values));
            let mut spans = None;
            let column = Column { values: &values, subjects: subjects.as_ref() };
            let outcome = rule.kernel.apply_telling(&column, env, &mut spans)?;
            results.push(Some(Results {
                text: text_of(&outcome.values),
                spans,
                // What a lenient rule cannot handle is null, and leaves an empty place.
                failures: outcome
                    .failures
                    .iter()
                    .filter(|_| !lenient)
                    .map(|failure| (failure.row as u32, failure.reason))
                    .collect(),
            }));
        }
        Ok(Done { results, edits: self.edits, records: self.records, kept: self.kept.ended() })
    }
}

/// What kernels that ask for a subject are given.
#[derive(Clone, Copy)]
pub(crate) enum SeedBy<'a> {
    /// The subject's random token: in its namespace's domain, or in the one named.
    Token(Option<&'a str>),
    /// The identity itself, by expert determination.
    Identity,
}

struct Identities<'a> {
    namespaces: &'a [String],
    subjects: &'a [Option<Subject>],
    text: &'a str,
}

impl Identities<'_> {
    fn of(&self, subject: Subject) -> &str {
        self.text.get(subject.start as usize..subject.end as usize).unwrap_or_default()
    }

    /// One for each subject; null where nobody is known.
    fn seeds(&self, by: SeedBy<'_>, env: &Env) -> Result<StringViewArray, KernelError> {
        let known = match by {
            SeedBy::Identity => self.subjects_only(|subject| Some(self.of(subject).to_owned())),
            SeedBy::Token(domain) => self.tokens(domain, env)?,
        };
        if self.subjects.iter().flatten().all(|subject| subject.namespace != OTHER) {
            return Ok(known);
        }
        // Who somebody else is follows from who the subject is, and not from how a format calls the subject.
        let seed = |number: Option<u32>| {
            let at = number.map(|number| number as usize).filter(|at| *at < known.len() && known.is_valid(*at));
            at.map(|at| known.value(at)).unwrap_or_default()
        };
        let mut identities = StringViewBuilder::with_capacity(self.subjects.len());
        for subject in self.subjects {
            identities.append_option(subject.filter(|subject| subject.namespace == OTHER).map(|other| {
                let (role, name) = self.of(other).split_once(Known::BETWEEN_NAMES).unwrap_or_default();
                identity_of_other(role, seed(other.of), name)
            }));
        }
        let mut others = identities.finish();
        if matches!(by, SeedBy::Token(_)) {
            others = seeds_of_others(&others, env)?;
        }
        let mut out = StringViewBuilder::with_capacity(self.subjects.len());
        for (known, other) in known.iter().zip(&others) {
            out.append_option(other.or(known));
        }
        Ok(out.finish())
    }

    fn subjects_only(&self, seed: impl Fn(Subject) -> Option<String>) -> StringViewArray {
        let subjects = self.subjects.iter();
        subjects.map(|subject| subject.filter(|subject| subject.namespace != OTHER).and_then(&seed)).collect()
    }

    /// The token of each subject.
    fn tokens(&self, domain: Option<&str>, env: &Env) -> Result<StringViewArray, KernelError> {
        let mut found: Vec<(u16, StringViewArray)> = Vec::with_capacity(self.namespaces.len());
        let domains = (0..).zip(self.namespaces).map(|(number, name)| (number, domain.unwrap_or(name)));
        for (number, domain) in domains {
            let mut values = StringViewBuilder::with_capacity(self.subjects.len());
            let mut any = false;
            for subject in self.subjects {
                let here = subject.filter(|subject| subject.namespace == number);
                any |= here.is_some();
                values.append_option(here.map(|subject| self.of(subject)));
            }
            if any {
                found.push((number, tokens_of(&values.finish(), domain, env)?));
            }
        }
        let mut out = StringViewBuilder::with_capacity(self.subjects.len());
        for (row, subject) in self.subjects.iter().enumerate() {
            let tokens = subject.and_then(|subject| found.iter().find(|(number, _)| *number == subject.namespace));
            let tokens = tokens.map(|(_, tokens)| tokens);
            out.append_option(tokens.filter(|tokens| tokens.is_valid(row)).map(|tokens| tokens.value(row)));
        }
        Ok(out.finish())
    }
}

fn pick(seeds: &StringViewArray, whose: &[u32]) -> StringViewArray {
    let mut out = StringViewBuilder::with_capacity(whose.len());
    for &subject in whose {
        let at = subject as usize;
        out.append_option((at < seeds.len() && seeds.is_valid(at)).then(|| seeds.value(at)));
    }
    out.finish()
}

struct Results {
    text: StringViewArray,
    spans: Option<Box<Spans>>,
    /// In the order of their rows.
    failures: Vec<(u32, Reason)>,
}

/// A plan whose kernels have run.
pub(crate) struct Done {
    results: Vec<Option<Results>>,
    edits: Vec<Edit>,
    records: Vec<Record>,
    kept: Vec<Values>,
}

impl Done {
    /// Hands out each document's changes, or why it failed. `path` names the place of a mark. `each` says whether the document
    /// is in the output, and so counts.
    pub(crate) fn documents<'a>(
        &'a self,
        mut path: impl FnMut(usize, u32) -> String,
        mut each: impl FnMut(usize, &[Change<'a>]) -> bool,
        tally: &mut Tally,
    ) -> Vec<DocumentFailure> {
        let mut failures = Vec::new();
        let mut changes = Vec::new();
        let (mut first, mut first_kept) = (0, 0);
        for (index, record) in self.records.iter().enumerate() {
            let edits = self.edits.get(first..record.edits_end).unwrap_or_default();
            let kept = self.kept.get(first_kept..record.kept_end).unwrap_or_default();
            (first, first_kept) = (record.edits_end, record.kept_end);
            if let Some((path, reason)) = &record.failed {
                failures.push(DocumentFailure { index, path: path.clone(), reason: *reason });
                continue;
            }
            changes.clear();
            match edits.iter().try_for_each(|edit| self.change(edit).map(|change| changes.push(change))) {
                Ok(()) => {
                    if each(index, &changes) {
                        tally.count_all(kept);
                        for (edit, change) in edits.iter().zip(&changes) {
                            self.count(edit, change, tally);
                        }
                    }
                }
                Err((mark, reason)) => {
                    failures.push(DocumentFailure { index, path: path(index, mark), reason: reason.into() });
                }
            }
        }
        failures
    }

    fn count(&self, edit: &Edit, change: &Change<'_>, tally: &mut Tally) {
        let With::Slot { column, row } = edit.with else { return tally.count(edit.values) };
        if matches!(change.with, Replacement::Text(_)) {
            tally.count(edit.values);
            let results = self.results.get(usize::from(column)).and_then(Option::as_ref);
            tally.count_spans(results.and_then(|results| results.spans.as_deref()), row as usize);
        } else {
            tally.count(Values { class: edit.values.class.left_empty(), ..edit.values });
        }
    }

    fn change(&self, edit: &Edit) -> Result<Change<'_>, (u32, Reason)> {
        let with = match edit.with {
            With::Nothing => Replacement::Nothing,
            With::Removed => Replacement::Removed,
            With::Slot { column, row } => {
                let results = self.results.get(usize::from(column)).and_then(Option::as_ref);
                let Some(results) = results else {
                    return Ok(Change {
                        start: edit.start,
                        end: edit.end,
                        with: Replacement::Nothing,
                        mark: edit.mark,
                    });
                };
                if let Ok(at) = results.failures.binary_search_by_key(&row, |(row, _)| *row) {
                    let reason = results.failures.get(at).map_or(Reason::NotADate, |(_, reason)| *reason);
                    return Err((edit.mark, reason));
                }
                let at = row as usize;
                if at < results.text.len() && results.text.is_valid(at) {
                    Replacement::Text(results.text.value(at))
                } else {
                    Replacement::Nothing
                }
            }
        };
        Ok(Change { start: edit.start, end: edit.end, with, mark: edit.mark })
    }
}
