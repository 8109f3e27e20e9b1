//! One pass over the segments of each set, driven by what each value means and by the paths that have rules of their own.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use cordon_formats::x12::{
    DateFormat, Envelope, Fact, Kind, Outline, Place as Where, RecordKind, Role, Segment as Sent, Transaction,
    TransactionBatch, Value, encode, escape, facts, in_utf8, parse, splice, tables,
};

use super::compile::is_structure;
use super::form;
use super::meaning::Meaning;
use super::path::{Name, Place, segment_name, text_of};
use super::people::Identity;
use super::recipe::{Ruling, Segment, X12Recipe, qualifier_of};
use crate::document::{
    Change, DocumentFailure, DocumentOutput, FailureReason, Person, Plan, Replacement, SeedBy, Spots, with_schemas,
};
use crate::fhir::recipe::Settled;
use crate::kernel::{Env, KernelError};
use crate::tally::{Class, Tally, Values};

/// A place for messages to people: segment and element. A segment that X12 does not have is none.
type Spot = (Option<Name>, u16);

impl X12Recipe {
    /// De-identifies one batch. `Err` means that nothing of it may be used.
    ///
    /// Out come transaction sets, each with the ISA and GS segments that govern it, de-identified like the sets. Trailers,
    /// acknowledgments and segments outside of sets are left out: trailers count and repeat what headers say.
    pub fn apply(&self, batch: &TransactionBatch, env: &Env) -> Result<DocumentOutput, KernelError> {
        let mut walk = Walk::new(self);
        let mut plan = Plan::new(&self.kernels, &self.lenient, &self.namespaces);
        let mut headers: Vec<(Arc<Envelope>, Vec<u8>)> = Vec::new();
        // Sets, each with the number of its header, and its place in the batch.
        let mut sets = Vec::new();
        for (index, record) in batch.records.iter().enumerate() {
            match record.kind {
                RecordKind::Transaction => {}
                RecordKind::Other => {
                    walk.outside(&batch.parse(index).map_err(|_| KernelError::Shape)?);
                    continue;
                }
                _ => continue,
            }
            if headers.last().is_none_or(|(known, _)| !Arc::ptr_eq(known, &record.envelope)) {
                headers.push((Arc::clone(&record.envelope), record.envelope.header()));
            }
            // A reader hands out only what it could parse.
            let set = batch.parse(index).map_err(|_| KernelError::Shape)?;
            sets.push((set, headers.len() - 1, index));
        }
        let heads: Vec<Transaction<'_>> = headers
            .iter()
            .map(|(envelope, bytes)| parse(bytes, envelope))
            .collect::<Result<_, _>>()
            .map_err(|_| KernelError::Shape)?;
        for head in &heads {
            walk.header(head, &mut plan);
        }
        for (set, ..) in &sets {
            walk.set(set, &mut plan);
        }
        let by = if self.seed_by_token { SeedBy::Token(None) } else { SeedBy::Identity };
        let done = plan.run(by, env)?;
        let mut writer = Writer::default();
        let mut envelopes: Vec<Option<Arc<Envelope>>> = vec![None; heads.len()];
        let mut written: Vec<(usize, usize, Vec<u8>)> = Vec::with_capacity(sets.len());
        let mut tally = Tally::default();
        let mut broken: Vec<usize> = Vec::new();
        let failed = done.documents(
            |_, mark| walk.spots.place(mark),
            |index, changes| match index.checked_sub(heads.len()) {
                None => {
                    let head = heads.get(index).and_then(|head| writer.header(head, changes));
                    if head.is_none() {
                        broken.push(index);
                    }
                    if let Some(place) = envelopes.get_mut(index) {
                        *place = head.map(Arc::new);
                    }
                    // It is that of every batch in which its sets stand.
                    false
                }
                Some(number) => {
                    let Some((set, header, place)) = sets.get(number) else { return false };
                    written.push((*header, *place, writer.set(set, changes)));
                    envelopes.get(*header).is_some_and(Option::is_some)
                }
            },
            &mut tally,
        );
        if writer.unfit {
            return Err(KernelError::Shape);
        }
        let mut failures = Vec::with_capacity(failed.len());
        let reason = FailureReason::Header;
        let broken = broken.into_iter().map(|index| DocumentFailure { index, path: "ISA".to_owned(), reason });
        for failure in failed.into_iter().chain(broken) {
            match failure.index.checked_sub(heads.len()) {
                // A header that a rule cannot handle takes its sets with it.
                None => {
                    let under = sets.iter().filter(|(_, header, _)| *header == failure.index);
                    failures.extend(under.map(|(_, _, index)| DocumentFailure { index: *index, ..failure.clone() }));
                }
                Some(number) => {
                    let index = sets.get(number).map_or(failure.index, |(_, _, index)| *index);
                    failures.push(DocumentFailure { index, ..failure });
                }
            }
        }
        failures.sort_by_key(|failure| failure.index);
        failures.dedup_by_key(|failure| failure.index);
        let out: Vec<(Arc<Envelope>, &[u8])> = written
            .iter()
            .filter_map(|(header, _, bytes)| Some((envelopes.get(*header)?.clone()?, bytes.as_slice())))
            .collect();
        let undeclared = walk.spots.report();
        Ok(DocumentOutput { tables: self.tables_of(&out)?, documents: out.len() as u64, failures, undeclared, tally })
    }

    fn tables_of(&self, written: &[(Arc<Envelope>, &[u8])]) -> Result<Vec<(String, RecordBatch)>, KernelError> {
        let sets: Vec<Transaction<'_>> = written
            .iter()
            .map(|(envelope, bytes)| parse(bytes, envelope))
            .collect::<Result<_, _>>()
            .map_err(|_| KernelError::Shape)?;
        if sets.is_empty() {
            return Ok(Vec::new());
        }
        with_schemas(tables::flatten(&sets).map_err(|_| KernelError::Shape)?, &self.tables)
    }
}

/// Writes records with their changes.
#[derive(Default)]
struct Writer {
    texts: Vec<u8>,
    edits: Vec<(Range<usize>, Range<usize>)>,
    /// Something could not be written as it must.
    unfit: bool,
}

impl Writer {
    fn set(&mut self, set: &Transaction<'_>, changes: &[Change<'_>]) -> Vec<u8> {
        self.begin();
        let removed = changes.iter().filter(|change| change.with == Replacement::Removed).count();
        let last = set.segments().next_back().filter(|segment| removed > 0 && segment.name() == b"SE");
        // SE-1 counts what is left.
        let mut count = last.and_then(|last| last.element(1)).map(|count| (count.span(), set.len() - removed));
        let mut counted = None;
        for change in changes {
            let start = change.start as usize;
            if let Some((span, left)) = count.take_if(|(span, _)| span.start <= start) {
                self.put(span.clone(), left.to_string().as_bytes());
                counted = Some(span);
            }
            // Who sends more than a number there sends it in parts, each of which may go.
            if counted.as_ref().is_some_and(|span| span.start == start || span.contains(&start)) {
                continue;
            }
            self.change(set, change, false);
        }
        if let Some((span, left)) = count {
            self.put(span, left.to_string().as_bytes());
        }
        self.write(set.bytes())
    }

    /// The envelope with its changes; nothing where it would show other delimiters, as one does whose version is no version and
    /// goes. Elements of ISA are of fixed length: what is put there is filled or cut.
    fn header(&mut self, head: &Transaction<'_>, changes: &[Change<'_>]) -> Option<Envelope> {
        self.begin();
        let isa = head.segment(0).map_or(0, |isa| isa.span().end);
        for change in changes {
            self.change(head, change, (change.start as usize) < isa);
        }
        let bytes = self.write(head.bytes());
        let new = parse(&bytes, head.envelope()).ok()?;
        let gs = new.segment(1).map(|gs| gs.bytes()).unwrap_or_default();
        Envelope::new(&bytes, gs).filter(|made| made.delimiters() == head.delimiters())
    }

    fn begin(&mut self) {
        self.texts.clear();
        self.edits.clear();
    }

    fn change(&mut self, record: &Transaction<'_>, change: &Change<'_>, is_fixed: bool) {
        let span = change.start as usize..change.end as usize;
        let old = record.bytes().get(span.clone()).unwrap_or_default();
        let start = self.texts.len();
        if let Replacement::Text(text) = change.with {
            let text = respelled(old, text);
            let is_utf8 = in_utf8(old) || std::str::from_utf8(record.bytes()).is_ok();
            self.texts.extend_from_slice(&encode(&escape(&text, record.delimiters()), is_utf8));
        }
        if is_fixed {
            self.texts.resize(start + old.len(), b' ');
        }
        self.edits.push((span, start..self.texts.len()));
    }

    fn put(&mut self, span: Range<usize>, text: &[u8]) {
        let start = self.texts.len();
        self.texts.extend_from_slice(text);
        self.edits.push((span, start..self.texts.len()));
    }

    fn write(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let texts = &self.texts;
        let new = self.edits.iter().map(|(span, text)| (span.clone(), texts.get(text.clone()).unwrap_or_default()));
        self.unfit |= splice(bytes, new, &mut out).is_err();
        out
    }
}

/// A date that was spelled out for a kernel ([`spelled_out`]), as short as the one in whose place it stands.
fn respelled<'t>(old: &[u8], text: &'t str) -> Cow<'t, str> {
    let is_short = old.len() == 6 && old.iter().all(u8::is_ascii_digit);
    match text.as_bytes() {
        new if is_short && new.len() == 8 && new.iter().all(u8::is_ascii_digit) => {
            text.get(2..).unwrap_or_default().into()
        }
        new if is_short && new.len() == 7 && new.get(4) == Some(&b'-') => text.replace('-', "").into(),
        _ => text.into(),
    }
}

struct Walk<'r> {
    recipe: &'r X12Recipe,
    spots: Spots<Spot>,
}

/// Where a walk is.
struct Here<'s, 'm> {
    segment: Sent<'m>,
    name: Name,
    rules: &'s Segment,
    loop_id: &'static str,
    /// What paths may name it by.
    qualifier: &'m [u8],
    /// The guide has the segment here.
    is_expected: bool,
    role: Role,
    has_party: bool,
    /// It stands in somebody's part; who that is may not be known.
    is_someones: bool,
    /// Whose names are meant, where they are not the subject's.
    other: Option<Person>,
}

impl<'r> Walk<'r> {
    fn new(recipe: &'r X12Recipe) -> Self {
        Self { recipe, spots: Spots::new(recipe.undeclared, name_of) }
    }

    /// ISA and GS.
    fn header(&mut self, head: &Transaction<'_>, plan: &mut Plan<'_>) {
        for segment in head.segments() {
            let name = segment_name(segment.name());
            let known = name.and_then(|name| self.recipe.segments.get(&name).map(|rules| (name, rules)));
            let Some((name, rules)) = known else { continue };
            self.values(
                &Here {
                    segment,
                    name,
                    rules,
                    loop_id: "",
                    qualifier: &[],
                    is_expected: true,
                    role: Role::Submitter,
                    has_party: false,
                    is_someones: false,
                    other: None,
                },
                plan,
            );
        }
        plan.end();
    }

    /// Segments that stand in no set.
    fn outside(&mut self, record: &Transaction<'_>) {
        for segment in record.segments().filter(|segment| segment.name() != b"TA1") {
            let name = segment_name(segment.name()).filter(|name| self.recipe.segments.contains_key(name));
            self.spots.count((name, 0));
        }
    }

    fn set(&mut self, set: &Transaction<'_>, plan: &mut Plan<'_>) {
        let outline = Outline::of(set);
        let mut people: Vec<Option<Identity>> =
            if self.recipe.needs_subject { self.recipe.people(set, &outline) } else { Vec::new() };
        let mut subject: Option<u32> = None;
        let mut party: Option<(u32, Person)> = None;
        for segment in set.segments() {
            let Some(place) = outline.place(segment.index()).copied() else { continue };
            if place.subject != subject {
                subject = place.subject;
                plan.next_subject();
                let identity = subject.and_then(|number| people.get_mut(number as usize)).and_then(Option::take);
                if let Some(Identity { namespace, text }) = identity {
                    plan.subject(0, namespace, &text);
                }
            }
            self.segment(set, &outline, segment, &place, &mut party, plan);
        }
        plan.end();
    }

    fn segment(
        &mut self,
        set: &Transaction<'_>,
        outline: &Outline,
        segment: Sent<'_>,
        place: &Where,
        party: &mut Option<(u32, Person)>,
        plan: &mut Plan<'_>,
    ) {
        let recipe = self.recipe;
        let line = segment.line_span();
        let whole = (line.start as u32, line.end as u32);
        let name = segment_name(segment.name());
        let known = name.and_then(|name| recipe.segments.get(&name).map(|rules| (name, rules)));
        let is_frame = matches!(segment.name(), b"ST" | b"SE");
        // Without a guide there are no loops: nobody could tell whose anything is.
        let known = known.filter(|_| !segment.is_text() && (is_frame || outline.guide.is_some()));
        let Some((name, rules)) = known else {
            let spot = (None, 0);
            self.spots.undeclared(spot, plan);
            let mark = self.spots.mark(spot);
            plan.remove(whole, true, mark, all_of(&segment, Class::UNDECLARED));
            return;
        };
        if rules.excluded.iter().any(|excluded| excluded.is_of(&segment, place.loop_id)) {
            let mark = self.spots.mark((Some(name), 0));
            plan.remove(whole, true, mark, all_of(&segment, Class::EXCLUDED));
            return;
        }
        let role = Role::of(set, outline, segment.index());
        let other = place.party.filter(|_| recipe.has_surrogates && role != Role::Subject).map(|number| match party {
            Some((known, person)) if *known == number => *person,
            _ => {
                let person = person_of(set, number, role, plan);
                *party = Some((number, person));
                person
            }
        });
        let is_someones = place.subject.is_some();
        let qualifier = segment.code(qualifier_of(name));
        let (loop_id, is_expected, has_party) = (place.loop_id, place.is_expected, place.party.is_some());
        self.values(
            &Here { segment, name, rules, loop_id, qualifier, is_expected, role, has_party, is_someones, other },
            plan,
        );
    }

    fn values(&mut self, here: &Here<'_, '_>, plan: &mut Plan<'_>) {
        let mut told_version = false;
        // Of HI each element has a qualifier of its own.
        let mut own: (u16, &[u8]) = (0, here.qualifier);
        facts(&here.segment, |fact| {
            if fact.leaf.value.bytes().trim_ascii().is_empty() {
                return;
            }
            let element = u16::try_from(fact.element).unwrap_or(u16::MAX);
            if here.name == *b"HI " && own.0 != element && usize::from(element) < here.rules.elements.len() {
                own = (element, here.segment.code(fact.element));
            }
            // A claim of 4010 says by which guide it is written.
            told_version |= here.name == *b"REF" && element == 1 && fact.leaf.value.bytes() == b"87";
            if is_structure(here.name, element) || (told_version && element == 2) {
                if stays(here.name, element, told_version, &fact.leaf.value.text()) {
                    plan.keep(Values::one(Class::STRUCTURE));
                } else {
                    self.leave_out(&fact.leaf.value, here, element, plan);
                }
                return;
            }
            self.value(&fact, own.1, here, plan);
        });
    }

    fn value(&mut self, fact: &Fact<'_>, qualifier: &[u8], here: &Here<'_, '_>, plan: &mut Plan<'_>) {
        let value = &fact.leaf.value;
        let element = u16::try_from(fact.element).unwrap_or(u16::MAX);
        let meaning = Meaning::of(fact.kind, here.role, here.has_party);
        let ruling = self.rule_of(fact, meaning, qualifier, here);
        let Some(ruling) = ruling.filter(|ruling| ruling.refused & meaning.bit() == 0) else {
            return self.leave_out(value, here, element, plan);
        };
        let span = span_of(value);
        let values = Values::one(ruling.class);
        match ruling.settled {
            Settled::Keep if ruling.reasoned || form::fits(meaning, &value.text()) => plan.keep(values),
            Settled::Keep => self.leave_out(value, here, element, plan),
            Settled::Drop => {
                let mark = self.spots.mark((Some(here.name), element));
                plan.value(span, "", Settled::Drop, mark, values);
            }
            Settled::Gather(column) => {
                let mark = self.spots.mark((Some(here.name), element));
                let settled = ruling.settled;
                let text = value.text();
                match here.other {
                    Some(other) if self.recipe.is_surrogate(column) => {
                        plan.value_of(other, span, text.trim(), settled, mark, values);
                    }
                    // What is nobody's cannot be done by whose it is: the date of a payment has no shift.
                    _ if self.recipe.asks_whose(column) && !here.is_someones => {
                        plan.remove(span, false, mark, Values::one(ruling.class.left_empty()));
                    }
                    _ => match fact.kind {
                        Kind::Date(format, _) => {
                            // Of a span of days both are one value.
                            let mut values = values;
                            dates(value, &text, format, |span, text| {
                                plan.value(span, text, settled, mark, values);
                                values.count = 0;
                            });
                        }
                        _ => plan.value(span, text.trim(), settled, mark, values),
                    },
                }
            }
        }
    }

    /// The narrowest rule by path, or that of the identifier's qualifier, or that of what the value means.
    fn rule_of(&self, fact: &Fact<'_>, meaning: Meaning, qualifier: &[u8], here: &Here<'_, '_>) -> Option<Ruling> {
        let elements = &here.rules.elements;
        let is = |wanted: &Option<String>, said: &[u8]| wanted.as_ref().is_none_or(|wanted| wanted.as_bytes() == said);
        let of = |place: &Place| {
            // A segment out of place is in no loop that a rule could mean.
            (here.is_expected || place.loop_id.is_none())
                && is(&place.loop_id, here.loop_id.as_bytes())
                && place.component.is_none_or(|wanted| usize::from(wanted) == fact.leaf.component)
                && is(&place.only, fact.qualifier)
                && is(&place.qualifier, qualifier)
        };
        let at = |number: usize| elements.get(number)?.iter().find(|(place, _)| of(place)).map(|(_, ruling)| *ruling);
        let of_segment = || match meaning {
            Meaning::Code | Meaning::Unknown => None,
            _ => at(0),
        };
        // Codes are short; what stands in place of one may be as long as a set.
        let is_qualified = meaning.is_identifier() && (1..=3).contains(&fact.qualifier.len());
        let of_qualifier = || is_qualified.then(|| self.recipe.identifiers.get(fact.qualifier).copied()).flatten();
        at(fact.element).or_else(of_segment).or_else(of_qualifier).or_else(|| self.recipe.type_rule(meaning))
    }

    fn leave_out(&mut self, value: &Value<'_>, here: &Here<'_, '_>, element: u16, plan: &mut Plan<'_>) {
        let spot = (Some(here.name), element);
        self.spots.undeclared(spot, plan);
        let mark = self.spots.mark(spot);
        plan.remove(span_of(value), false, mark, Values::one(Class::UNDECLARED));
    }
}

/// Somebody else than the subject whom a segment names: by number where there is one, else by name.
fn person_of(set: &Transaction<'_>, party: u32, role: Role, plan: &mut Plan<'_>) -> Person {
    let named = set.segment(party as usize);
    let text = |number: usize| {
        let value = named.as_ref().and_then(|named| named.element(number)).map(|value| value.text().into_owned());
        value.filter(|text| !text.trim().is_empty())
    };
    let is_entity = named.as_ref().is_some_and(|named| named.name() == b"NM1");
    let (number, name) = if is_entity { (9, 3) } else { (4, 2) };
    let given = if is_entity { text(4).unwrap_or_default() } else { String::new() };
    let who = text(number).unwrap_or_else(|| format!("{} {given}", text(name).unwrap_or_default()));
    match role {
        Role::Provider => plan.other("provider", false, &who),
        Role::Payer | Role::Employer | Role::Submitter => plan.other("organization", false, &who),
        // Of one patient, the relative of one name is one person.
        _ => plan.other("relative", true, &who),
    }
}

/// Whether what holds an interchange together looks like it.
fn stays(name: Name, element: u16, is_version: bool, text: &str) -> bool {
    let text = text.trim();
    match (&name, element) {
        _ if is_version => form::is_version(text),
        (b"ISA", 11 | 16) => text.len() == 1,
        (b"ISA", 12) | (b"GS ", 8) | (b"ST ", 3) => form::is_version(text),
        (b"ISA", 13) | (b"GS ", 6) | (b"ST " | b"SE ", 2) => form::is_control(text),
        (b"SE ", 1) | (b"HL ", 1 | 2) | (b"LX " | b"ENT", _) => form::is_count(text),
        _ => form::is_code(text),
    }
}

/// The dates of a value, each as kernels read it: a span (RD8, RDT) is two, a day of six digits has a century, and a month
/// a hyphen.
fn dates(value: &Value<'_>, text: &str, format: DateFormat, mut each: impl FnMut((u32, u32), &str)) {
    let (start, end) = span_of(value);
    let is_span = matches!(format, DateFormat::DayRange | DateFormat::MinuteRange) && text.is_ascii();
    let Some((from, to)) = text.split_once('-').filter(|_| is_span) else {
        return each((start, end), &spelled_out(text, format));
    };
    let middle = start + from.len() as u32;
    each((start, middle), from.trim());
    each((middle + 1, end), to.trim());
}

/// Two digits of a year are of the century in which X12 was written with them, 1950 to 2049.
fn spelled_out(text: &str, format: DateFormat) -> Cow<'_, str> {
    let text = text.trim();
    let is_short = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    match format {
        DateFormat::Month if is_short => {
            let (year, month) = text.split_at(4);
            format!("{year}-{month}").into()
        }
        DateFormat::ShortDay if is_short => {
            let century = if text.starts_with(['5', '6', '7', '8', '9']) { "19" } else { "20" };
            format!("{century}{text}").into()
        }
        _ => text.into(),
    }
}

/// The values of a segment.
fn all_of(segment: &Sent<'_>, class: Class) -> Values {
    let leaves = segment.elements().flat_map(|element| element.value.leaves());
    let there = leaves.filter(|leaf| !leaf.value.bytes().trim_ascii().is_empty());
    Values { class, count: there.count() as u32 }
}

fn span_of(value: &Value<'_>) -> (u32, u32) {
    let span = value.span();
    (span.start as u32, span.end as u32)
}

/// `NM1-09`. A segment that X12 does not have shows as `?`: names are data too.
fn name_of((segment, element): Spot) -> String {
    match (segment, element) {
        (None, _) => "?".to_owned(),
        (Some(name), 0) => text_of(name),
        (Some(name), element) => format!("{}-{element:02}", text_of(name)),
    }
}
