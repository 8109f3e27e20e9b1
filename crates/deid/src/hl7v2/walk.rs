//! One pass over the segments of each message, driven by the compiled nodes.

use arrow_array::RecordBatch;
use cordon_formats::hl7v2::{Field, Message, MessageBatch, RecordKind, Segment as Sent, Value, escape, splice, tables};

use super::form;
use super::path::Place;
use super::recipe::{FieldNodes, Hl7v2Recipe, Node, NodeId};
use super::survey;
use crate::document::{DocumentOutput, Person, Plan, Replacement, SeedBy, Spots, with_schemas};
use crate::fhir::recipe::Settled;
use crate::kernel::narrative::person::{PROVIDER, RELATIVE, key_of};
use crate::kernel::{Env, KernelError};
use crate::survey::is_placeholder;
use crate::tally::{Class, Tally, Values};

/// A place for messages to people: segment and field. A segment that HL7 does not know is none.
type Spot = (Option<[u8; 3]>, u16);

impl Hl7v2Recipe {
    /// De-identifies one batch. `Err` means that nothing of it may be used.
    ///
    /// Headers and trailers of batch files say nothing of a person and everything of a sender; they are left out.
    pub fn apply(&self, batch: &MessageBatch, env: &Env) -> Result<DocumentOutput, KernelError> {
        let mut walk = Walk { recipe: self, spots: Spots::new(self.undeclared, name_of), patient: Vec::new() };
        let mut plan = Plan::new(&self.kernels, &self.lenient, &self.namespaces);
        let mut messages = Vec::with_capacity(batch.len());
        let mut places = Vec::with_capacity(batch.len());
        let is_message =
            |index: &usize| batch.records.get(*index).is_some_and(|record| record.kind == RecordKind::Message);
        for index in (0..batch.len()).filter(is_message) {
            // A reader hands out only what it could parse.
            let message = batch.parse(index).map_err(|_| KernelError::Shape)?;
            walk.message(&message, &mut plan);
            messages.push(message);
            places.push(index);
        }
        let by = if self.seed_by_token { SeedBy::Token(None) } else { SeedBy::Identity };
        let done = plan.run(by, env)?;
        let mut written: Vec<Vec<u8>> = Vec::with_capacity(messages.len());
        let mut unfit = false;
        let (mut texts, mut edits) = (Vec::new(), Vec::new());
        let mut tally = Tally::default();
        let mut failures = done.documents(
            |_, mark| walk.spots.place(mark),
            |index, changes| {
                let Some(message) = messages.get(index) else { return false };
                let mut out = Vec::with_capacity(message.bytes().len());
                texts.clear();
                edits.clear();
                for change in changes {
                    let span = change.start as usize..change.end as usize;
                    let start = texts.len();
                    if let Replacement::Text(text) = change.with {
                        let old = message.bytes().get(span.clone()).unwrap_or_default();
                        let charset = message.charset().of_value(old);
                        texts.extend_from_slice(&charset.encode(&escape(text, message.delimiters())));
                    }
                    edits.push((span, start..texts.len()));
                }
                let new = edits.iter().map(|(span, text)| (span.clone(), texts.get(text.clone()).unwrap_or_default()));
                unfit |= splice(message.bytes(), new, &mut out).is_err();
                written.push(out);
                true
            },
            &mut tally,
        );
        if unfit {
            return Err(KernelError::Shape);
        }
        for failure in &mut failures {
            failure.index = places.get(failure.index).copied().unwrap_or(failure.index);
        }
        let undeclared = walk.spots.report();
        let documents = written.len() as u64;
        Ok(DocumentOutput { tables: self.tables(&written)?, documents, failures, undeclared, tally })
    }

    fn tables(&self, written: &[Vec<u8>]) -> Result<Vec<(String, RecordBatch)>, KernelError> {
        let messages: Vec<Message<'_>> = written
            .iter()
            .map(|bytes| cordon_formats::hl7v2::parse(bytes))
            .collect::<Result<_, _>>()
            .map_err(|_| KernelError::Shape)?;
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        with_schemas(tables::flatten(&messages).map_err(|_| KernelError::Shape)?, &self.tables)
    }

    /// The identifiers of the person whose message it is: namespace and value, for one PID after the other.
    pub fn identities(&self, message: &Message<'_>, mut each: impl FnMut(usize, &str, &str)) {
        let mut person = 0;
        let mut has_patient = false;
        for segment in message.segments() {
            if segment.name() == b"PID" {
                person += usize::from(has_patient);
                has_patient = true;
            }
            for (place, namespace) in &self.identities {
                let namespace = self.namespaces.get(usize::from(*namespace)).map(String::as_str).unwrap_or_default();
                valued(&segment, place, |value| each(person, namespace, value));
            }
        }
    }
}

/// The texts at a place, those of each repetition; with brackets only the identifiers of that code.
pub(super) fn valued(segment: &Sent<'_>, place: &Place, mut each: impl FnMut(&str)) {
    if segment.name() != place.segment {
        return;
    }
    let [number, deeper @ ..] = place.numbers.as_slice() else { return };
    let Some(field) = segment.field(usize::from(*number)) else { return };
    for repetition in field.repetitions() {
        if let Some(only) = &place.only
            && !is_coded(&repetition, only)
        {
            continue;
        }
        let value = match deeper {
            [] => repetition.components().next(),
            [component] => repetition.components().nth(usize::from(*component).saturating_sub(1)),
            [component, part, ..] => repetition
                .components()
                .nth(usize::from(*component).saturating_sub(1))
                .and_then(|component| component.subcomponents().nth(usize::from(*part).saturating_sub(1))),
        };
        if let Some(value) = value.filter(|value| !value.is_empty() && !value.is_null()) {
            let text = value.text();
            if !text.trim().is_empty() {
                each(text.trim());
            }
        }
    }
}

/// Whether an identifier (CX) is of a type code, or of `authority^code`.
fn is_coded(identifier: &Value<'_>, wanted: &str) -> bool {
    let part = |number: usize| identifier.components().nth(number - 1);
    let code = part(5).map(|code| code.text());
    match wanted.split_once('^') {
        None => code.as_deref() == Some(wanted),
        Some((authority, wanted)) => {
            let assigned = part(4).and_then(|part| part.subcomponents().next());
            assigned.map(|assigned| assigned.text()).as_deref() == Some(authority)
                && (wanted.is_empty() || code.as_deref() == Some(wanted))
        }
    }
}

struct Walk<'r> {
    recipe: &'r Hl7v2Recipe,
    spots: Spots<Spot>,
    /// The names of the patient at hand: a guarantor of such a name is the patient.
    patient: Vec<String>,
}

/// Where a walk is.
#[derive(Clone, Copy)]
struct Here {
    mark: u32,
    spot: Spot,
    /// Whose names are meant, where they are not the subject's.
    other: Option<Person>,
}

impl Walk<'_> {
    fn message(&mut self, message: &Message<'_>, plan: &mut Plan<'_>) {
        for segment in message.segments() {
            self.segment(message, &segment, plan);
        }
        plan.end();
        self.patient.clear();
    }

    fn segment(&mut self, message: &Message<'_>, segment: &Sent<'_>, plan: &mut Plan<'_>) {
        let recipe = self.recipe;
        let line = segment.line_span();
        let whole = (line.start as u32, line.end as u32);
        let name: Option<[u8; 3]> = segment.name().try_into().ok();
        let known = name.and_then(|name| recipe.segments.get(&name).map(|known| (name, known)));
        let Some((name, known)) = known.filter(|_| !segment.is_text()) else {
            let spot = (None, 0);
            self.spots.undeclared(spot, plan);
            let mark = self.spots.mark(spot);
            plan.remove(whole, true, mark, all_of(segment, Class::UNDECLARED));
            return;
        };
        if known.excluded {
            let mark = self.spots.mark((Some(name), 0));
            plan.remove(whole, true, mark, all_of(segment, Class::EXCLUDED));
            return;
        }
        if name == *b"PID" && plan.has_subject() {
            plan.next_subject();
        }
        self.subjects(segment, plan);
        let relative = if recipe.has_surrogates { self.relative(name, known.is_relative, segment, plan) } else { None };
        let is_header = matches!(&name, b"MSH");
        for Field { number, value } in segment.fields() {
            if value.is_empty() || value.is_null() || (is_header && number <= 2) {
                continue;
            }
            let spot = (Some(name), number as u16);
            let here = Here { mark: self.spots.mark(spot), spot, other: relative };
            let nodes = number.checked_sub(1).and_then(|at| known.fields.get(at));
            match nodes.and_then(|nodes| node_of(nodes, message, segment, number)) {
                Some(node) => {
                    for repetition in value.repetitions() {
                        self.value(node, &repetition, 0, here, plan);
                    }
                }
                None => self.leave_out(&value, here, plan),
            }
        }
    }

    /// The relative whose segment it is; of one patient, the relative of one name is one person.
    fn relative(
        &mut self,
        name: [u8; 3],
        is_relative: bool,
        segment: &Sent<'_>,
        plan: &mut Plan<'_>,
    ) -> Option<Person> {
        let spelled = |value: &Value<'_>| {
            let (given, family) = survey::person_name(value);
            format!("{given} {family}")
        };
        if name == *b"PID" {
            self.patient.clear();
            let names = segment.field(5).into_iter().flat_map(|field| field.repetitions());
            self.patient.extend(names.map(|name| key_of(&spelled(&name))).filter(|key| !key.is_empty()));
        }
        if !is_relative {
            return None;
        }
        let named = segment.field(survey::name_field(&name)).and_then(|field| field.repetition(1));
        let named = named.as_ref().map(spelled).unwrap_or_default();
        let is_patient = name != *b"NK1" && self.patient.contains(&key_of(&named));
        (!is_patient).then(|| plan.other(RELATIVE, true, &named))
    }

    /// Tells the plan whose message it is.
    fn subjects(&mut self, segment: &Sent<'_>, plan: &mut Plan<'_>) {
        let recipe = self.recipe;
        for (place, namespace) in &recipe.identities {
            valued(segment, place, |identity| {
                if !is_placeholder(identity) {
                    plan.subject(0, *namespace, identity);
                }
            });
        }
        // With identities declared, an undeclared one would make another person of the same.
        if recipe.identities.is_empty() {
            valued(segment, &recipe.subject, |identity| plan.subject(0, 0, identity));
        }
    }

    fn value(&mut self, node: NodeId, value: &Value<'_>, depth: usize, here: Here, plan: &mut Plan<'_>) {
        if value.is_empty() || value.is_null() {
            return;
        }
        let recipe = self.recipe;
        match recipe.nodes.get(node as usize) {
            Some(Node::Value(Settled::Keep, class)) => plan.keep(values_of(value, *class)),
            Some(Node::Value(settled, class)) => self.settle(value, (*settled, *class), here, plan),
            Some(Node::Word(class)) => {
                if form::is_entry(&value.text()) {
                    plan.keep(values_of(value, *class));
                } else {
                    self.leave_out(value, here, plan);
                }
            }
            Some(Node::Time(class)) => {
                if form::is_time(&value.text()) {
                    plan.keep(values_of(value, *class));
                } else {
                    self.leave_out(value, here, plan);
                }
            }
            Some(Node::Parts { nodes, is_coded: true, .. }) => self.coded(nodes, value, depth, here, plan),
            Some(Node::Parts { nodes, is_identifier, is_provider, .. }) => {
                let here = match here.other {
                    None if *is_provider && recipe.has_surrogates => {
                        let (given, family) = survey::provider_name(value);
                        let named = format!("{given} {family}");
                        // Who has no name is known by the number.
                        let known = if named.trim().is_empty() { value.text() } else { named.into() };
                        Here { other: Some(plan.other(PROVIDER, false, &known)), ..here }
                    }
                    _ => here,
                };
                let listed = if *is_identifier { self.listed(value) } else { None };
                let parts = if depth == 0 { value.components() } else { value.subcomponents() };
                for (number, part) in parts.enumerate() {
                    match (nodes.get(number), listed) {
                        (Some(_), Some(settled)) if number == 0 => self.settle(&part, settled, here, plan),
                        (Some(node), _) if depth < 2 => self.value(*node, &part, depth + 1, here, plan),
                        _ => self.leave_out(&part, here, plan),
                    }
                }
            }
            Some(Node::Undeclared) | None => self.leave_out(value, here, plan),
        }
    }

    /// A code stays with its text where its system is one; else it must look like the entry of a table, and no text stays.
    fn coded(&mut self, nodes: &[NodeId], value: &Value<'_>, depth: usize, here: Here, plan: &mut Plan<'_>) {
        let parts: Vec<Value<'_>> = if depth == 0 { value.components() } else { value.subcomponents() }.collect();
        let text = |at: usize| parts.get(at).map(cordon_formats::hl7v2::Value::text).unwrap_or_default();
        // Code, text and system: of the code, of the alternate and of the second alternate code (CWE-10 to 12).
        let is_known = [0, 3, 9].map(|first| !text(first).is_empty() && form::is_system(&text(first + 2)));
        for (at, part) in parts.iter().enumerate() {
            let stays = match at {
                0..=5 | 9..=11 => {
                    let first = at / 3;
                    let known = is_known.get(first.min(2)).copied().unwrap_or(false);
                    match at % 3 {
                        0 => known || form::is_entry(&part.text()),
                        1 => known,
                        _ => known || form::is_system(&part.text()),
                    }
                }
                _ => form::is_entry(&part.text()),
            };
            match nodes.get(at) {
                Some(node) if stays && depth < 2 => self.value(*node, part, depth + 1, here, plan),
                _ => self.leave_out(part, here, plan),
            }
        }
    }

    /// The rule for an identifier that the policy lists.
    fn listed(&self, identifier: &Value<'_>) -> Option<(Settled, Class)> {
        let part = |number: usize| identifier.components().nth(number);
        let code = part(4).map(|code| code.text());
        let authority = part(3).and_then(|part| part.subcomponents().next()).map(|authority| authority.text());
        let code = code.as_deref().unwrap_or_default();
        if let Some(authority) = authority.as_deref()
            && let Some(settled) = self.recipe.identifiers.get(format!("{authority}^{code}").as_str())
        {
            return Some(*settled);
        }
        self.recipe.identifiers.get(code).copied()
    }

    fn settle(&mut self, value: &Value<'_>, (settled, class): (Settled, Class), here: Here, plan: &mut Plan<'_>) {
        if value.is_empty() || value.is_null() {
            return;
        }
        let values = values_of(value, class);
        let span = span_of(value);
        match (settled, here.other) {
            (Settled::Gather(column), Some(other)) if self.is_surrogate(column) => {
                plan.value_of(other, span, &value.text(), settled, here.mark, values);
            }
            _ => plan.value(span, &value.text(), settled, here.mark, values),
        }
    }

    fn is_surrogate(&self, column: u16) -> bool {
        let rule = self.recipe.kernels.get(usize::from(column));
        rule.is_some_and(|rule| matches!(rule.kernel, crate::kernel::Kernel::Surrogate(_)))
    }

    fn leave_out(&mut self, value: &Value<'_>, here: Here, plan: &mut Plan<'_>) {
        if value.is_empty() || value.is_null() {
            return;
        }
        self.spots.undeclared(here.spot, plan);
        plan.remove(span_of(value), false, here.mark, values_of(value, Class::UNDECLARED));
    }
}

/// The node of a field, by the type that it has in the message's version, or that another field says.
fn node_of(nodes: &FieldNodes, message: &Message<'_>, segment: &Sent<'_>, number: usize) -> Option<NodeId> {
    if nodes.by_type.len() > 1 {
        let version = message.version();
        let data_type = cordon_formats::hl7v2::Dictionary::get().value_type(segment, number, version);
        if let Some((_, node)) = data_type.and_then(|of| nodes.by_type.iter().find(|(known, _)| *known == of)) {
            return Some(*node);
        }
    }
    nodes.otherwise
}

/// The values in a field, component or sub-component.
fn values_of(value: &Value<'_>, class: Class) -> Values {
    let there = value.leaves().filter(|leaf| !leaf.value.is_empty() && !leaf.value.is_null());
    Values { class, count: there.count() as u32 }
}

/// The values of a segment, its separators aside.
fn all_of(segment: &Sent<'_>, class: Class) -> Values {
    let is_header = segment.name() == b"MSH";
    let fields = segment.fields().filter(|field| !is_header || field.number > 2);
    Values { class, count: fields.map(|field| values_of(&field.value, class).count).sum() }
}

fn span_of(value: &Value<'_>) -> (u32, u32) {
    let span = value.span();
    (span.start as u32, span.end as u32)
}

/// `PID-5`. A segment that HL7 does not define shows as `?`: names are data too.
fn name_of((segment, number): Spot) -> String {
    match segment {
        None => "?".to_owned(),
        Some(name) => format!("{}-{number}", String::from_utf8_lossy(&name)),
    }
}
