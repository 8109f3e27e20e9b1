//! One pass over the elements of each file, driven by the compiled acts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use cordon_formats::dicom::confidentiality::row_of;
use cordon_formats::dicom::{
    Change as Written, Charset, Document, Element, Kind, Limits, New, NewValue, PixelData, Pixels, Tag, VR, attribute,
    is_standard_uid, pad, show, tables,
};

use cordon_phi::IdentifierKind;

use super::compile::{MEDIA_INSTANCE, STRUCTURE};
use super::form::{self, age_of, dummy, fits, is_many, is_text, years_of};
use super::path::{Name, Place};
use super::profile::{self, PATIENT_ID};
use super::recipe::{Act, DicomRecipe, Ruled, classed};
use super::section::ProfileOption;
use crate::document::{DocumentOutput, Plan, Replacement, SeedBy};
use crate::fhir::FailureReason;
use crate::fhir::recipe::{Gathered, Settled};
use crate::kernel::{Env, KernelError};
use crate::policy::file::{Action, Undeclared};
use crate::survey::is_placeholder;
use crate::tally::{Class, Tally, Values};

/// So many values has an attribute at most; of more it is removed.
const MOST_VALUES: usize = 4096;

/// So many values of a file are replaced at most.
const MOST_CHANGES: usize = 1 << 20;

/// Ages over this show as 90 and older.
const OLDEST: u32 = 89;

/// The implementation that wrote the file (0002,0012), which is this one.
const IMPLEMENTATION: &[u8] = b"2.25.209311582470613829301775214208391630548\0";
const IMPLEMENTATION_VERSION: &[u8] = b"CORDON_1";

/// What a change does to an element, beside what the plan says.
#[derive(Clone, Copy)]
enum Form {
    /// One of its values, by number, made by an action.
    Value {
        number: u32,
        action: Action,
        charset: Charset,
    },
    /// The whole element: removed or emptied.
    Whole,
    Fixed(&'static [u8]),
}

#[derive(Clone, Copy)]
struct Spot {
    element: u32,
    tag: Tag,
    form: Form,
}

/// The data set, or a sequence or an item that is walked.
struct Frame {
    end: usize,
    /// Of a sequence its tag.
    sequence: Option<Tag>,
    dummy: bool,
    charset: Charset,
    /// Whose private blocks are, of those that rules name: group, block, and the number of the element that says so.
    creators: Vec<(u16, u16, usize)>,
    /// Of an item: it says a coding scheme that is public.
    is_coded: bool,
}

impl Frame {
    /// What is in it goes by what holds around it.
    fn within(&self, end: usize) -> Self {
        Self { end, sequence: None, dummy: self.dummy, charset: self.charset, creators: Vec::new(), is_coded: false }
    }
}

impl DicomRecipe {
    /// De-identifies some files. `Err` means that nothing of them may be used.
    pub fn apply(&self, documents: &[Document], env: &Env) -> Result<DocumentOutput, KernelError> {
        let mut walk = Walk { recipe: self, undeclared: BTreeMap::new(), spots: Vec::new(), begun: 0 };
        let mut plan = Plan::new(&self.kernels, &self.lenient, &self.namespaces);
        for document in documents {
            walk.document(document, &mut plan);
        }
        let by = if self.seed_by_token { SeedBy::Token(None) } else { SeedBy::Identity };
        let done = plan.run(by, env)?;
        let new = self.marks();
        let mut written: Vec<(Vec<u8>, PixelData)> = Vec::with_capacity(documents.len());
        let mut unfit = false;
        let (mut bytes, mut changes) = (Vec::new(), Vec::new());
        let mut tally = Tally::default();
        let failures = done.documents(
            |_, mark| walk.spots.get(mark as usize).map_or_else(|| "?".to_owned(), |spot| show(spot.tag)),
            |index, edits| {
                let Some(document) = documents.get(index) else { return false };
                bytes.clear();
                changes.clear();
                let mut writer = Rewriter { document, bytes: &mut bytes, changes: &mut changes };
                let mut rest = edits;
                while let Some(spot) = rest.first().and_then(|edit| walk.spots.get(edit.mark as usize)) {
                    let same = rest.iter().take_while(|edit| {
                        walk.spots.get(edit.mark as usize).is_some_and(|other| other.element == spot.element)
                    });
                    let (of_element, after) = rest.split_at(same.count().max(1));
                    rest = after;
                    let values = of_element
                        .iter()
                        .filter_map(|edit| walk.spots.get(edit.mark as usize).map(|spot| (spot.form, edit.with)));
                    writer.element(spot.element as usize, values);
                }
                let changes: Vec<(usize, Written<'_>)> = changes
                    .iter()
                    .map(|(element, with): &(usize, Option<Range<usize>>)| {
                        let with = with.clone().map(|range| bytes.get(range).unwrap_or_default());
                        (*element, with.map_or(Written::Removed, Written::Value))
                    })
                    .collect();
                match document.write(&changes, &new) {
                    Ok(file) => written.push((file, document.pixel_data())),
                    Err(_) => unfit = true,
                }
                !unfit
            },
            &mut tally,
        );
        if unfit {
            return Err(KernelError::Shape);
        }
        let documents = written.len() as u64;
        Ok(DocumentOutput { tables: rows(&written)?, documents, failures, undeclared: walk.undeclared, tally })
    }

    /// The identifiers of the person whose file it is: namespace and value. A file is of one person.
    pub fn identities(&self, document: &Document, mut each: impl FnMut(usize, &str, &str)) {
        for (place, namespace) in &self.identities {
            let namespace = self.namespaces.get(usize::from(*namespace)).map(String::as_str).unwrap_or_default();
            valued(document, place, |value| each(0, namespace, value));
        }
    }

    /// What says that the file is de-identified, and by what.
    fn marks(&self) -> Vec<New> {
        if self.profile.is_none() {
            return Vec::new();
        }
        let text = |tag, vr, value: &str| {
            let mut value = value.as_bytes().to_vec();
            pad(&mut value, vr);
            New { tag, vr, value: NewValue::Bytes(value) }
        };
        let code = |value: &str, meaning: &str| {
            vec![
                text(Tag(0x0008, 0x0100), VR::SH, value),
                text(Tag(0x0008, 0x0102), VR::SH, "DCM"),
                text(Tag(0x0008, 0x0104), VR::LO, meaning),
            ]
        };
        let mut codes = vec![code("113100", "Basic Application Confidentiality Profile")];
        codes.extend(self.options.iter().map(|option| {
            let (value, meaning) = option.code();
            code(value, meaning)
        }));
        let changes_dates = |act: &Act| matches!(act, Act::Gather { action: Action::Year | Action::ShiftDate, .. });
        let mut ruled =
            self.elements.values().flatten().map(|rule| &rule.ruled).chain(self.types.values()).map(|ruled| &ruled.act);
        let dates = if ruled.any(changes_dates) {
            "MODIFIED"
        } else if self.options.contains(&ProfileOption::RetainLongitudinalFullDates) {
            "UNMODIFIED"
        } else if self.options.contains(&ProfileOption::RetainLongitudinalModifiedDates) {
            "MODIFIED"
        } else {
            "REMOVED"
        };
        vec![
            text(MARKS[0], VR::CS, "YES"),
            text(MARKS[1], VR::LO, "Cordon: DICOM PS3.15 Basic Profile and policy"),
            New { tag: MARKS[2], vr: VR::SQ, value: NewValue::Items(codes) },
            text(MARKS[3], VR::CS, dates),
        ]
    }
}

/// Attributes that tell what was done to a file: PatientIdentityRemoved, DeidentificationMethod, its code sequence, and
/// LongitudinalTemporalInformationModified.
const MARKS: [Tag; 4] = [Tag(0x0012, 0x0062), Tag(0x0012, 0x0063), Tag(0x0012, 0x0064), Tag(0x0028, 0x0303)];

fn rows(written: &[(Vec<u8>, PixelData)]) -> Result<Vec<(String, RecordBatch)>, KernelError> {
    if written.is_empty() {
        return Ok(Vec::new());
    }
    // What was written can be read, whatever was added to what was within bounds.
    let limits = Limits { max_bytes: usize::MAX, max_elements: usize::MAX, max_depth: usize::from(u16::MAX) };
    let read = |bytes: &[u8]| cordon_formats::dicom::read(bytes, limits, |_| Pixels::Keep);
    let documents: Vec<Document> =
        written.iter().map(|(bytes, _)| read(bytes)).collect::<Result<_, _>>().map_err(|_| KernelError::Shape)?;
    let files = documents.iter().zip(written).map(|(document, (bytes, pixels))| (document, bytes.as_slice(), *pixels));
    let tables = tables::flatten(files).map_err(|_| KernelError::Shape)?;
    tables
        .into_iter()
        .map(|(name, rows)| {
            let schema = classed(&rows.schema());
            let rows = rows.with_schema(Arc::clone(&schema)).map_err(|_| KernelError::Shape)?;
            Ok((name.to_owned(), rows))
        })
        .collect()
}

/// The texts at a place that identifies.
pub(super) fn valued(document: &Document, place: &Place, mut each: impl FnMut(&str)) {
    let Name::Standard(tag) = &place.name else { return };
    let charset = document.charset();
    at(document, document.first(), document.elements().len(), &place.within, &mut |first, end| {
        let text = |tag: Tag| {
            let found =
                document.siblings(first, end).find(|(_, element)| element.tag == tag && element.kind == Kind::Value);
            found.map(|(_, element)| trimmed(&charset.decode(document.value(element))))
        };
        if let Some(issuer) = &place.issuer
            && text(ISSUER).as_deref() != Some(issuer)
        {
            return;
        }
        if let Some(value) = text(*tag) {
            value.split('\\').for_each(&mut each);
        }
    });
}

const ISSUER: Tag = Tag(0x0010, 0x0021);
const SOP_CLASS: Tag = Tag(0x0008, 0x0016);

/// Calls with the elements of each item that these sequences lead to; paths are short.
fn at(document: &Document, first: usize, end: usize, within: &[Tag], each: &mut dyn FnMut(usize, usize)) {
    let [sequence, deeper @ ..] = within else { return each(first, end) };
    for (number, element) in document.siblings(first, end) {
        if element.tag == *sequence && element.kind == Kind::Sequence {
            for (item, items) in document.siblings(number + 1, element.next()) {
                at(document, item + 1, items.next(), deeper, each);
            }
        }
    }
}

fn trimmed(text: &str) -> String {
    text.trim_matches([' ', '\0']).to_owned()
}

struct Walk<'r> {
    recipe: &'r DicomRecipe,
    undeclared: BTreeMap<String, u64>,
    /// What each mark of the plan means.
    spots: Vec<Spot>,
    /// Where the spots of the file at hand begin.
    begun: usize,
}

impl Walk<'_> {
    fn document(&mut self, document: &Document, plan: &mut Plan<'_>) {
        self.begun = self.spots.len();
        self.subjects(document, plan);
        let keeps_all = self.recipe.profile.is_none();
        for (number, element) in document.elements().iter().enumerate().take(document.first()) {
            self.meta(document, number, element, keeps_all, plan);
        }
        let end = document.elements().len();
        let charset = document.charset();
        let mut frame = Frame { end, sequence: None, dummy: false, charset, creators: Vec::new(), is_coded: false };
        let mut around: Vec<Frame> = Vec::new();
        let mut number = document.first();
        while let Some(element) = document.element(number) {
            while frame.end <= number {
                let Some(outer) = around.pop() else { break };
                frame = outer;
            }
            if element.kind == Kind::Item {
                let mut item = frame.within(element.next());
                for (_, own) in document.siblings(number + 1, element.next()) {
                    if STRUCTURE.contains(&own.tag) {
                        item.charset = Charset::of(document.value(own));
                    } else if own.tag == CODING_SCHEME {
                        item.is_coded = is_public_scheme(document.value(own));
                    }
                }
                around.push(std::mem::replace(&mut frame, item));
                number += 1;
                continue;
            }
            let found = self.act(document, number, element, &mut frame, &around);
            match (found, element.kind) {
                (Found::Act(Ruled { act: Act::Walk { dummy }, .. }), Kind::Sequence) => {
                    let mut sequence = frame.within(element.next());
                    sequence.sequence = Some(element.tag);
                    sequence.dummy |= dummy;
                    around.push(std::mem::replace(&mut frame, sequence));
                    number += 1;
                    continue;
                }
                (Found::Act(ruled), _) => self.settle((document, number, element), ruled, frame.charset, plan),
                (Found::Nothing, _) => self.leave_out((document, number, element), plan),
                (Found::Removed(class), _) => {
                    let values = all_of(document, number, element, class);
                    self.whole(number, element, true, values, plan);
                }
            }
            number = element.next().max(number + 1);
        }
        plan.end();
    }

    /// Tells the plan whose file it is.
    fn subjects(&mut self, document: &Document, plan: &mut Plan<'_>) {
        let recipe = self.recipe;
        for (place, namespace) in &recipe.identities {
            valued(document, place, |identity| {
                if !is_placeholder(identity) {
                    plan.subject(0, *namespace, identity);
                }
            });
        }
        // With identities declared, an undeclared one would make another person of the same.
        if recipe.identities.is_empty() {
            valued(document, &recipe.subject, |identity| plan.subject(0, 0, identity));
        }
    }

    /// The meta group says how the file is to be read, and else who sent it.
    fn meta(&mut self, document: &Document, number: usize, element: &Element, keeps_all: bool, plan: &mut Plan<'_>) {
        let values = all_of(document, number, element, Class::STRUCTURE);
        match element.tag.element() {
            // Group length, which is counted again, version and transfer syntax.
            0x0000 if element.vr == VR::UL && element.length() == 4 => plan.keep(values),
            0x0001 if element.length() == 2 => plan.keep(values),
            0x0010 if fits(VR::UI, document.value(element)) => plan.keep(values),
            // The class and the instance are those of the data set.
            0x0002 | 0x0003 => {
                let tag = if element.tag == MEDIA_INSTANCE { MEDIA_INSTANCE } else { SOP_CLASS };
                match self.rule(tag, VR::UI, &[], false) {
                    Some(Ruled { act: Act::Keep, .. }) if !fits(VR::UI, document.value(element)) => {
                        self.leave_out((document, number, element), plan);
                    }
                    Some(ruled) => self.settle((document, number, element), ruled, Charset::default(), plan),
                    None => self.leave_out((document, number, element), plan),
                }
            }
            0x0012 | 0x0013 if keeps_all => plan.keep(values),
            0x0012 => self.fixed(number, element, IMPLEMENTATION, replaced(values), plan),
            0x0013 => self.fixed(number, element, IMPLEMENTATION_VERSION, replaced(values), plan),
            _ => self.whole(number, element, true, Values { class: Class::STRUCTURE.dropped(), ..values }, plan),
        }
    }

    fn act(&self, document: &Document, number: usize, element: &Element, frame: &mut Frame, around: &[Frame]) -> Found {
        let tag = element.tag;
        if is_astray(tag) {
            return Found::Nothing;
        }
        if tag.group() % 2 == 1 {
            return self.private(document, number, element, frame);
        }
        if tag.element() == 0 {
            // The writer counts again.
            let is_length = element.vr == VR::UL && element.length() == 4;
            return if is_length { Found::Act(STRUCTURAL) } else { Found::Nothing };
        }
        let has_profile = self.recipe.profile.is_some();
        if has_profile && (MARKS.contains(&tag) && around.is_empty() || is_graphics(tag)) {
            return Found::Removed(Class::EXCLUDED);
        }
        let Some(known) = attribute(tag) else { return Found::Nothing };
        let is_pixels = tag.group() == 0x7FE0;
        if is_pixels {
            // Pictures within sequences are icons; what of the data set may stay was settled by the reader.
            let stays = around.is_empty() && document.pixel_data() == PixelData::Present;
            let class = Class::of(IdentifierKind::Photo, if stays { Action::Keep } else { Action::Drop });
            return if stays { Found::Act(Ruled { act: Act::Keep, class }) } else { Found::Removed(class) };
        }
        let Some(ruled) = self.rule(tag, known.vr, around, frame.dummy) else { return Found::Nothing };
        let act = ruled.act;
        if matches!(act, Act::Remove) {
            return Found::Removed(ruled.class);
        }
        let is_sequence = element.kind == Kind::Sequence;
        let is_either = known.is_either && matches!(element.vr, VR::US | VR::SS | VR::OW | VR::OB);
        let is_fit = (known.vr == element.vr && is_sequence == (known.vr == VR::SQ)) || (is_either && !is_sequence);
        if !is_fit {
            return Found::Nothing;
        }
        let stays = matches!(act, Act::Keep) && !is_sequence;
        if stays && !(element.kind == Kind::Value && fits(element.vr, document.value(element))) {
            return Found::Nothing;
        }
        // A code stays with its text where its system is a public one.
        if stays && CODES.contains(&tag) && !frame.is_coded && self.recipe.profile.is_some() {
            return Found::Removed(ruled.class.dropped());
        }
        Found::Act(ruled)
    }

    /// What the rules say of an attribute: by path, by the table, by representation.
    fn rule(&self, tag: Tag, vr: VR, around: &[Frame], dummy: bool) -> Option<Ruled> {
        let recipe = self.recipe;
        if let Some(rules) = recipe.elements.get(&tag) {
            let within = |sequences: &[Tag]| {
                let mut outwards = around.iter().rev().filter_map(|frame| frame.sequence);
                sequences.iter().rev().all(|wanted| outwards.next() == Some(*wanted))
            };
            if let Some(rule) = rules.iter().find(|rule| within(&rule.sequences))
                // In what is replaced by a dummy, a rule for one place beats that; one for everywhere does not.
                && (!dummy || !rule.sequences.is_empty() || !is_text(vr))
            {
                return Some(rule.ruled);
            }
        }
        if let Some(ruled) = recipe.profile.as_ref().and_then(|profile| profile.get(&tag)) {
            return Some(*ruled);
        }
        if STRUCTURE.contains(&tag) {
            return Some(STRUCTURAL);
        }
        let is_typed = profile::is_text(vr) || matches!(vr, VR::PN | VR::UR | VR::AE);
        if dummy && is_typed {
            let class = Class::of(IdentifierKind::FreeText, Action::Redact);
            return Some(Ruled { act: Act::Dummy, class });
        }
        if vr == VR::SQ {
            // What stands in it goes by its own rules.
            return Some(Ruled { act: Act::Walk { dummy }, class: Class::STRUCTURE });
        }
        recipe.types.get(&vr).copied()
    }

    /// Private attributes go, save those that a rule names by their creator.
    fn private(&self, document: &Document, number: usize, element: &Element, frame: &mut Frame) -> Found {
        let recipe = self.recipe;
        if recipe.private.is_empty() || element.kind != Kind::Value {
            return Found::Removed(Class::UNDECLARED);
        }
        let (group, low) = (element.tag.group(), element.tag.element());
        let keeps = |name: &str, rules: &[(String, Ruled)]| {
            rules.iter().find(|(creator, ruled)| creator == name && ruled.act == Act::Keep).map(|(_, ruled)| *ruled)
        };
        if (0x10..=0xFF).contains(&low) {
            let name = trimmed(&frame.charset.decode(document.value(element)));
            let is_used = recipe.private.iter().any(|((of, _), rules)| *of == group && keeps(&name, rules).is_some());
            frame.creators.retain(|(known, block, _)| (*known, *block) != (group, low));
            if !is_used || element.vr != VR::LO {
                return Found::Removed(Class::UNDECLARED);
            }
            frame.creators.push((group, low, number));
            return Found::Act(STRUCTURAL);
        }
        let of_block = frame.creators.iter().find(|(known, block, _)| (*known, *block) == (group, low >> 8));
        let creator = of_block.and_then(|(.., number)| document.element(*number));
        let creator = creator.map(|creator| trimmed(&frame.charset.decode(document.value(creator))));
        let rules = recipe.private.get(&(group, low as u8));
        let kept = creator.zip(rules).and_then(|(name, rules)| keeps(&name, rules));
        match kept.filter(|_| fits(element.vr, document.value(element))) {
            Some(ruled) => Found::Act(ruled),
            None => Found::Removed(Class::UNDECLARED),
        }
    }

    fn settle(
        &mut self,
        (document, number, element): (&Document, usize, &Element),
        Ruled { act, class }: Ruled,
        charset: Charset,
        plan: &mut Plan<'_>,
    ) {
        let values = all_of(document, number, element, class);
        match act {
            Act::Keep | Act::Walk { .. } => plan.keep(values),
            Act::Empty | Act::Gather { .. } if element.length() == 0 => {}
            Act::Remove => self.whole(number, element, true, values, plan),
            Act::Empty => self.whole(number, element, false, values, plan),
            Act::Dummy => self.fixed(number, element, dummy(element.vr), values, plan),
            Act::Gather { column, action } => {
                let text = charset.decode(document.value(element));
                let count = if is_many(element.vr) { text.split('\\').count() } else { 1 };
                if count > MOST_VALUES || self.spots.len() - self.begun > MOST_CHANGES {
                    return self.leave_out((document, number, element), plan);
                }
                // An element is one value, of however many parts.
                let mut told = false;
                if is_many(element.vr) {
                    for (value, part) in text.split('\\').enumerate() {
                        let form = Form::Value { number: value as u32, action, charset };
                        let values = Values { count: u32::from(!told) * values.count, ..values };
                        told |= self.value(number, element, part, form, column, values, plan);
                    }
                } else {
                    let form = Form::Value { number: 0, action, charset };
                    told = self.value(number, element, &text, form, column, values, plan);
                }
                if !told {
                    plan.keep(Values { class: class.kept(), ..values });
                }
            }
        }
    }

    /// Whether it is changed.
    #[expect(clippy::too_many_arguments, reason = "one value with its place, its rule and its plan")]
    fn value(
        &mut self,
        number: usize,
        element: &Element,
        text: &str,
        form: Form,
        column: Gathered,
        values: Values,
        plan: &mut Plan<'_>,
    ) -> bool {
        let Form::Value { action, .. } = form else { return false };
        let text = text.trim_matches([' ', '\0']);
        if text.is_empty() || (element.vr == VR::UI && is_standard_uid(text)) {
            return false;
        }
        let settled = Settled::Gather(column);
        let mark = self.mark(Spot { element: number as u32, tag: element.tag, form });
        let span = span_of(element);
        match (element.vr, action) {
            (VR::AS, Action::AgeCap) => match age_of(text.as_bytes()).map(years_of) {
                Some(years) if years > OLDEST => plan.value(span, &years.to_string(), settled, mark, values),
                Some(_) => plan.keep(values),
                None => plan.remove(span, false, mark, Values { class: values.class.left_empty(), ..values }),
            },
            // ACR-NEMA parted dates by dots.
            (VR::DA, _) if text.contains('.') => plan.value(span, &text.replace('.', ""), settled, mark, values),
            (VR::PN, Action::Surrogate) if !is_patients(element.tag) => {
                let other = plan.other("provider", false, text);
                plan.value_of(other, span, text, settled, mark, values);
            }
            _ => plan.value(span, text, settled, mark, values),
        }
        true
    }

    fn fixed(&mut self, number: usize, element: &Element, value: &'static [u8], values: Values, plan: &mut Plan<'_>) {
        let mark = self.mark(Spot { element: number as u32, tag: element.tag, form: Form::Fixed(value) });
        plan.remove(span_of(element), false, mark, values);
    }

    fn whole(&mut self, number: usize, element: &Element, removed: bool, values: Values, plan: &mut Plan<'_>) {
        let mark = self.mark(Spot { element: number as u32, tag: element.tag, form: Form::Whole });
        plan.remove(span_of(element), removed, mark, values);
    }

    fn leave_out(&mut self, (document, number, element): (&Document, usize, &Element), plan: &mut Plan<'_>) {
        *self.undeclared.entry(show(element.tag)).or_insert(0) += 1;
        if self.recipe.undeclared == Undeclared::Fail {
            plan.fail(|| show(element.tag), FailureReason::Undeclared);
        }
        let values = all_of(document, number, element, Class::UNDECLARED);
        self.whole(number, element, true, values, plan);
    }

    fn mark(&mut self, spot: Spot) -> u32 {
        self.spots.push(spot);
        (self.spots.len() - 1) as u32
    }
}

const CODING_SCHEME: Tag = Tag(0x0008, 0x0102);
/// Value, designator, version and meaning of a code.
const CODES: [Tag; 6] = [
    Tag(0x0008, 0x0100),
    CODING_SCHEME,
    Tag(0x0008, 0x0103),
    Tag(0x0008, 0x0104),
    Tag(0x0008, 0x0119),
    Tag(0x0008, 0x0120),
];

/// A coding scheme as PS3.16 designates it; private ones begin with 99, and `L` is one of the house.
fn is_public_scheme(designator: &[u8]) -> bool {
    let text = designator.trim_ascii_end();
    let has_form = text.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'));
    (2..=16).contains(&text.len()) && has_form && !text.starts_with(b"99")
}

/// A data set has no attributes of the meta group (PS3.5, 7.1), and where what stands before them goes, they would be read as of
/// that. It is written with the least significant byte first in every file.
fn is_astray(tag: Tag) -> bool {
    matches!(tag.group(), 0x0002 | 0x0200)
}

/// Says how the file is to be read, and stays.
const STRUCTURAL: Ruled = Ruled { act: Act::Keep, class: Class::STRUCTURE };

/// With this program's own in place.
fn replaced(values: Values) -> Values {
    Values { class: Class::of(IdentifierKind::Operational, Action::Redact), ..values }
}

/// The values of an element: its own, or those of all elements in its items.
fn all_of(document: &Document, number: usize, element: &Element, class: Class) -> Values {
    let is_value = |element: &&Element| matches!(element.kind, Kind::Value | Kind::Fragments);
    let own = |number: usize| document.element(number).filter(is_value);
    let end = element.next().max(number + 1);
    let count = (number..end).filter_map(own).filter(|element| element.length() > 0).count();
    Values { class, count: count as u32 }
}

/// What is found for an element.
enum Found {
    Act(Ruled),
    /// It goes as a rule says.
    Removed(Class),
    /// It goes because no rule reaches it, or because it is not what its attribute is.
    Nothing,
}

/// Curves and overlays.
fn is_graphics(tag: Tag) -> bool {
    matches!(tag.group() & 0xFF00, 0x5000 | 0x6000) && row_of(Tag(tag.group(), 0x3000)).is_some()
}

/// A name in the patient's group, save those of the mother and of who answers for the patient.
fn is_patients(tag: Tag) -> bool {
    tag.group() == PATIENT_ID.group() && !matches!(tag.element(), 0x1060 | 0x2297)
}

fn span_of(element: &Element) -> (u32, u32) {
    let span = element.span();
    (span.start as u32, span.end as u32)
}

/// Makes the new values of one file's elements.
struct Rewriter<'d, 'o> {
    document: &'d Document,
    bytes: &'o mut Vec<u8>,
    /// Elements with the place of their new value in `bytes`; without one they are removed.
    changes: &'o mut Vec<(usize, Option<Range<usize>>)>,
}

impl Rewriter<'_, '_> {
    fn element<'a>(&mut self, number: usize, mut values: impl Iterator<Item = (Form, Replacement<'a>)>) {
        let Some(element) = self.document.element(number) else { return };
        let start = self.bytes.len();
        let Some((form, with)) = values.next() else { return };
        let first = match (form, with) {
            (Form::Whole, Replacement::Removed) => return self.changes.push((number, None)),
            (Form::Whole, _) => return self.changes.push((number, Some(start..start))),
            (Form::Fixed(value), _) => {
                self.bytes.extend_from_slice(value);
                return self.done(number, element, start);
            }
            (Form::Value { number, action, charset }, with) => (charset, (number, action, with)),
        };
        let (charset, first) = first;
        let old = charset.decode(self.document.value(element)).into_owned();
        let parts: Vec<&str> = if is_many(element.vr) { old.split('\\').collect() } else { vec![&old] };
        let more = values.filter_map(|(form, with)| match form {
            Form::Value { number, action, .. } => Some((number, action, with)),
            _ => None,
        });
        let mut new = [first].into_iter().chain(more).peekable();
        let mut spelled = String::new();
        let mut text = String::with_capacity(old.len());
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                text.push('\\');
            }
            match new.next_if(|(number, ..)| *number as usize == at) {
                Some((_, action, Replacement::Text(with))) => {
                    form::spell(element.vr, action, with, &mut spelled);
                    text.push_str(&spelled);
                }
                Some(_) => {}
                None => text.push_str(part.trim_matches('\0')),
            }
        }
        self.bytes.extend_from_slice(&charset.encode(&text));
        self.done(number, element, start);
    }

    fn done(&mut self, number: usize, element: &Element, start: usize) {
        let mut value = self.bytes.split_off(start);
        // What the length field cannot hold is left empty.
        if value.len() >= usize::from(u16::MAX) && !matches!(element.vr, VR::UC | VR::UR | VR::UT) {
            value.clear();
        }
        pad(&mut value, element.vr);
        self.bytes.append(&mut value);
        self.changes.push((number, Some(start..self.bytes.len())));
    }
}
