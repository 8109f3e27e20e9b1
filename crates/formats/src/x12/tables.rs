//! Tables of transaction sets: one row a set, one a claim, a service line, a member, a benefit, a status, and one a segment.
//!
//! A table's columns are fixed, so that parts written by different runs agree. Values are texts as they stand in the set;
//! what a table has no column for stands in the rows of its segments, and in the text of the set.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, Int32Builder, StringViewBuilder};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::interchange::{Segment, Transaction, Value};
use super::loops::{LevelKind, Outline, Place};
use crate::error::FormatError;

/// The names of all tables.
pub const TABLES: [&str; 7] = ["transaction", "claim", "service_line", "member", "eligibility", "status", "segment"];

/// So many elements of a segment have a column.
const SEGMENT_ELEMENTS: usize = 30;

/// A column, and the elements that its values are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// Segment and number of element; of the columns of table `segment`, and of what counts, none. `HI` and 1 stand for all
    /// of its elements.
    pub sources: &'static [(&'static str, u8)],
}

const fn column(name: &'static str, sources: &'static [(&'static str, u8)]) -> Column {
    Column { name, sources }
}

/// Every table but `transaction` begins with these.
const KEYS: &[Column] = &[
    column("interchange_control", &[("ISA", 13)]),
    column("group_control", &[("GS", 6)]),
    column("set_control", &[("ST", 2)]),
    column("segment", &[]),
    column("subject", &[]),
];

const TRANSACTION: &[Column] = &[
    column("interchange_control", &[("ISA", 13)]),
    column("group_control", &[("GS", 6)]),
    column("set_control", &[("ST", 2)]),
    column("type", &[("ST", 1)]),
    column("version", &[("ST", 3), ("GS", 8), ("REF", 2)]),
    column("sender", &[("GS", 2), ("ISA", 6)]),
    column("receiver", &[("GS", 3), ("ISA", 8)]),
    column("date", &[("GS", 4), ("ISA", 9)]),
    column("time", &[("GS", 5), ("ISA", 10)]),
    column("usage", &[("ISA", 15)]),
    column("purpose", &[("BHT", 2), ("BGN", 1), ("BPR", 1)]),
    column("reference", &[("BHT", 3), ("BGN", 2), ("TRN", 2)]),
    column("created", &[("BHT", 4), ("BGN", 3), ("BPR", 16)]),
    column("header", &[]),
    column("text", &[]),
];

const CLAIM: &[Column] = &[
    column("type", &[("ST", 1)]),
    column("claim_id", &[("CLM", 1), ("CLP", 1)]),
    column("payer_claim_control", &[("CLP", 7), ("REF", 2)]),
    column("patient_id", &[("NM1", 9)]),
    column("subscriber_id", &[("NM1", 9)]),
    column("patient_birth_date", &[("DMG", 2)]),
    column("patient_gender", &[("DMG", 3)]),
    column("billing_provider_npi", &[("NM1", 9), ("N1", 4)]),
    column("rendering_provider_npi", &[("NM1", 9)]),
    column("payer_id", &[("NM1", 9), ("TRN", 3), ("N1", 4)]),
    column("payer_name", &[("NM1", 3), ("N1", 2)]),
    column("filing_indicator", &[("SBR", 9), ("CLP", 6)]),
    column("status", &[("CLP", 2)]),
    column("total_charge", &[("CLM", 2), ("CLP", 3)]),
    column("paid", &[("CLP", 4)]),
    column("patient_responsibility", &[("CLP", 5)]),
    column("place_of_service", &[("CLM", 5), ("CLP", 8)]),
    column("frequency", &[("CLM", 5), ("CLP", 9)]),
    column("drg", &[("HI", 1), ("CLP", 11)]),
    column("principal_diagnosis", &[("HI", 1)]),
    column("diagnoses", &[("HI", 1)]),
    column("procedures", &[("HI", 1)]),
    column("service_from", &[("DTP", 3), ("DTM", 2)]),
    column("service_to", &[("DTP", 3), ("DTM", 2)]),
    column("admission", &[("DTP", 3)]),
    column("discharge", &[("DTP", 3)]),
    column("prior_authorization", &[("REF", 2)]),
    column("medical_record", &[("REF", 2)]),
];

const SERVICE_LINE: &[Column] = &[
    column("type", &[("ST", 1)]),
    column("claim_id", &[("CLM", 1), ("CLP", 1)]),
    column("line", &[("LX", 1)]),
    column("line_control", &[("REF", 2)]),
    column("procedure_qualifier", &[("SV1", 1), ("SV2", 2), ("SV3", 1), ("SVC", 1)]),
    column("procedure", &[("SV1", 1), ("SV2", 2), ("SV3", 1), ("SVC", 1)]),
    column("modifiers", &[("SV1", 1), ("SV2", 2), ("SV3", 1), ("SVC", 1)]),
    column("revenue_code", &[("SV2", 1), ("SVC", 4)]),
    column("ndc", &[("LIN", 3)]),
    column("charge", &[("SV1", 2), ("SV2", 3), ("SV3", 2), ("SVC", 2)]),
    column("paid", &[("SVC", 3)]),
    column("unit", &[("SV1", 3), ("SV2", 4)]),
    column("units", &[("SV1", 4), ("SV2", 5), ("SV3", 6), ("SVC", 5)]),
    column("place_of_service", &[("SV1", 5), ("SV3", 3)]),
    column("diagnosis_pointers", &[("SV1", 7), ("SV3", 11)]),
    column("date_from", &[("DTP", 3), ("DTM", 2)]),
    column("date_to", &[("DTP", 3), ("DTM", 2)]),
];

const MEMBER: &[Column] = &[
    column("is_subscriber", &[("INS", 1)]),
    column("relationship", &[("INS", 2)]),
    column("maintenance_type", &[("INS", 3)]),
    column("maintenance_reason", &[("INS", 4)]),
    column("benefit_status", &[("INS", 5)]),
    column("employment_status", &[("INS", 8)]),
    column("student_status", &[("INS", 9)]),
    column("death_date", &[("INS", 12)]),
    column("member_id", &[("NM1", 9)]),
    column("subscriber_id", &[("REF", 2)]),
    column("policy", &[("REF", 2)]),
    column("birth_date", &[("DMG", 2)]),
    column("gender", &[("DMG", 3)]),
    column("insurance_lines", &[("HD", 3)]),
    column("plan", &[("HD", 4)]),
    column("coverage_level", &[("HD", 5)]),
    column("coverage_from", &[("DTP", 3)]),
    column("coverage_to", &[("DTP", 3)]),
];

const ELIGIBILITY: &[Column] = &[
    column("type", &[("ST", 1)]),
    column("trace", &[("TRN", 2)]),
    column("payer_id", &[("NM1", 9)]),
    column("provider_id", &[("NM1", 9)]),
    column("subscriber_id", &[("NM1", 9)]),
    column("patient_id", &[("NM1", 9)]),
    column("information", &[("EB", 1)]),
    column("coverage_level", &[("EB", 2), ("EQ", 3)]),
    column("service_types", &[("EB", 3), ("EQ", 1)]),
    column("insurance_type", &[("EB", 4), ("EQ", 4)]),
    column("plan", &[("EB", 5)]),
    column("period", &[("EB", 6)]),
    column("amount", &[("EB", 7)]),
    column("percent", &[("EB", 8)]),
    column("quantity_qualifier", &[("EB", 9)]),
    column("quantity", &[("EB", 10)]),
    column("needs_authorization", &[("EB", 11)]),
    column("in_network", &[("EB", 12)]),
    column("procedure", &[("EB", 13), ("EQ", 2)]),
    column("date_from", &[("DTP", 3)]),
    column("date_to", &[("DTP", 3)]),
    column("message", &[("MSG", 1)]),
];

const STATUS: &[Column] = &[
    column("type", &[("ST", 1)]),
    column("loop", &[]),
    column("trace", &[("TRN", 2)]),
    column("claim_id", &[("REF", 2)]),
    column("payer_claim_control", &[("REF", 2)]),
    column("subscriber_id", &[("NM1", 9)]),
    column("patient_id", &[("NM1", 9)]),
    column("category", &[("STC", 1)]),
    column("status", &[("STC", 1)]),
    column("entity", &[("STC", 1)]),
    column("effective", &[("STC", 2)]),
    column("action", &[("STC", 3)]),
    column("charge", &[("STC", 4)]),
    column("paid", &[("STC", 5)]),
    column("paid_date", &[("STC", 6)]),
    column("check_date", &[("STC", 8)]),
    column("check_number", &[("STC", 9)]),
    column("message", &[("STC", 12)]),
    column("procedure", &[("SVC", 1)]),
    column("service_from", &[("DTP", 3)]),
    column("service_to", &[("DTP", 3)]),
];

const SEGMENT: &[Column] = &[
    column("loop", &[]),
    column("level", &[("HL", 1)]),
    column("name", &[]),
    column("e1", &[]),
    column("e2", &[]),
    column("e3", &[]),
    column("e4", &[]),
    column("e5", &[]),
    column("e6", &[]),
    column("e7", &[]),
    column("e8", &[]),
    column("e9", &[]),
    column("e10", &[]),
    column("e11", &[]),
    column("e12", &[]),
    column("e13", &[]),
    column("e14", &[]),
    column("e15", &[]),
    column("e16", &[]),
    column("e17", &[]),
    column("e18", &[]),
    column("e19", &[]),
    column("e20", &[]),
    column("e21", &[]),
    column("e22", &[]),
    column("e23", &[]),
    column("e24", &[]),
    column("e25", &[]),
    column("e26", &[]),
    column("e27", &[]),
    column("e28", &[]),
    column("e29", &[]),
    column("e30", &[]),
];

/// The columns of a table by its name, with what they are from; `None` when there is no such table.
pub fn columns(table: &str) -> Option<impl Iterator<Item = &'static Column>> {
    let (keys, own) = match table {
        "transaction" => (&[][..], TRANSACTION),
        "claim" => (KEYS, CLAIM),
        "service_line" => (KEYS, SERVICE_LINE),
        "member" => (KEYS, MEMBER),
        "eligibility" => (KEYS, ELIGIBILITY),
        "status" => (KEYS, STATUS),
        "segment" => (KEYS, SEGMENT),
        _ => return None,
    };
    Some(keys.iter().chain(own))
}

/// The schema of a table by its name; `None` when there is no such table.
pub fn table_schema(table: &str) -> Option<SchemaRef> {
    let fields = columns(table)?.map(|column| match column.name {
        "segment" => Field::new(column.name, DataType::Int32, false),
        "subject" => Field::new(column.name, DataType::Int32, true),
        name => Field::new(name, DataType::Utf8View, true),
    });
    Some(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// Tables of transaction sets: `transaction` and `segment`, and of the others those that have rows, in the order of
/// [`TABLES`]. Records that are no transaction set (of the envelope) have rows in `segment` alone.
///
/// What is missing or empty is null.
///
/// # Errors
/// When Arrow refuses a batch: a table of more text than its offsets count.
pub fn flatten(sets: &[Transaction<'_>]) -> Result<Vec<(String, RecordBatch)>, FormatError> {
    let mut tables = Tables::new();
    for set in sets {
        let outline = Outline::of(set);
        let keys =
            Keys { interchange: set.envelope().interchange(13), group: set.envelope().group(6), set: set.control() };
        if set.segment(0).is_some_and(|first| first.name() == b"ST") {
            tables.add_set(set, &keys);
            let mut rows = Rows { keys: &keys, outline: &outline, kind: text_of(set.set()), tables: &mut tables };
            match set.set() {
                b"837" => claims(set, &mut rows),
                b"835" => payments(set, &mut rows),
                b"834" => members(set, &mut rows),
                b"270" | b"271" => benefits(set, &mut rows),
                b"276" | b"277" => statuses(set, &mut rows),
                _ => {}
            }
        }
        tables.add_segments(set, &outline, &keys);
    }
    tables.finish()
}

fn text_of(bytes: &[u8]) -> Option<Cow<'_, str>> {
    (!bytes.is_empty()).then(|| super::interchange::decode(bytes))
}

/// The text of a value; nothing when it is empty.
fn cell(value: Value<'_>) -> Option<Cow<'_, str>> {
    (!value.is_empty()).then(|| value.text())
}

fn text<'m>(segment: &Segment<'m>, number: usize) -> Option<Cow<'m, str>> {
    cell(segment.element(number)?)
}

fn part<'m>(segment: &Segment<'m>, number: usize, component: usize) -> Option<Cow<'m, str>> {
    cell(segment.element(number)?.component(component)?)
}

/// Components of an element with a blank between them.
fn joined<'m>(
    segment: &Segment<'m>,
    number: usize,
    components: std::ops::RangeInclusive<usize>,
) -> Option<Cow<'m, str>> {
    let mut all = None;
    for component in components {
        push(&mut all, part(segment, number, component));
    }
    all
}

/// Adds a word to a list with blanks.
fn push<'m>(list: &mut Option<Cow<'m, str>>, word: Option<Cow<'m, str>>) {
    match (list.as_mut(), word) {
        (_, None) => {}
        (None, word) => *list = word,
        (Some(list), Some(word)) => {
            let list = list.to_mut();
            list.push(' ');
            list.push_str(&word);
        }
    }
}

struct Keys<'m> {
    interchange: Option<Cow<'m, str>>,
    group: Option<Cow<'m, str>>,
    set: Option<Cow<'m, str>>,
}

/// A row that is not at its end.
#[derive(Clone)]
struct Row<'m> {
    own: &'static [Column],
    cells: Vec<Option<Cow<'m, str>>>,
    segment: i32,
    subject: Option<i32>,
}

impl<'m> Row<'m> {
    fn new(own: &'static [Column], segment: &Segment<'_>, outline: &Outline) -> Self {
        let place = outline.place(segment.index());
        let subject = place.and_then(|place| place.subject).map(|subject| subject as i32 + 1);
        Self { own, cells: vec![None; own.len()], segment: segment.index() as i32 + 1, subject }
    }

    fn set(&mut self, column: &str, value: Option<Cow<'m, str>>) {
        if let (Some(cell), Some(value)) = (self.cell(column), value) {
            *cell = Some(value);
        }
    }

    /// Sets what is not set.
    fn offer(&mut self, column: &str, value: Option<Cow<'m, str>>) {
        if let Some(cell @ None) = self.cell(column) {
            *cell = value;
        }
    }

    fn push(&mut self, column: &str, word: Option<Cow<'m, str>>) {
        if let Some(cell) = self.cell(column) {
            push(cell, word);
        }
    }

    fn cell(&mut self, column: &str) -> Option<&mut Option<Cow<'m, str>>> {
        let at = self.own.iter().position(|own| own.name == column)?;
        self.cells.get_mut(at)
    }
}

/// From and to.
#[derive(Clone, Default)]
struct Span<'m> {
    from: Option<Cow<'m, str>>,
    to: Option<Cow<'m, str>>,
}

impl<'m> Span<'m> {
    /// Of a date with its format qualifier: `RD8` is two of them with a hyphen.
    fn of(segment: &Segment<'m>, format: usize, number: usize) -> Self {
        let Some(value) = text(segment, number) else {
            return Self::default();
        };
        let is_range = segment.code(format).starts_with(b"RD");
        match (is_range, value) {
            (true, Cow::Borrowed(value)) => {
                let (from, to) = value.split_once('-').unwrap_or((value, value));
                Self { from: Some(Cow::Borrowed(from)), to: Some(Cow::Borrowed(to)) }
            }
            (true, Cow::Owned(value)) => {
                let (from, to) = value.split_once('-').unwrap_or((&value, &value));
                Self { from: Some(Cow::Owned(from.to_owned())), to: Some(Cow::Owned(to.to_owned())) }
            }
            (false, value) => Self { from: Some(value.clone()), to: Some(value) },
        }
    }

    /// The span of both: dates sort as their texts do.
    fn widen(&mut self, other: Self) {
        if other.from.is_some() && self.from.as_ref().is_none_or(|from| other.from.as_ref() < Some(from)) {
            self.from = other.from;
        }
        if other.to > self.to {
            self.to = other.to;
        }
    }

    fn or(self, other: Self) -> Self {
        Self { from: self.from.or(other.from), to: self.to.or(other.to) }
    }
}

/// Where rows of one set go.
struct Rows<'t, 'm> {
    keys: &'t Keys<'m>,
    outline: &'t Outline,
    kind: Option<Cow<'m, str>>,
    tables: &'t mut Tables,
}

impl<'m> Rows<'_, 'm> {
    fn begin(&self, own: &'static [Column], segment: &Segment<'m>) -> Row<'m> {
        let mut row = Row::new(own, segment, self.outline);
        row.set("type", self.kind.clone());
        row
    }

    fn add(&mut self, table: &str, row: Option<Row<'m>>) {
        if let (Some(row), Some(table)) = (row, self.tables.table(table)) {
            table.add(self.keys, &row);
        }
    }

    fn place(&self, segment: &Segment<'_>) -> Option<&Place> {
        self.outline.place(segment.index())
    }

    fn level_kind(&self, segment: &Segment<'_>) -> Option<LevelKind> {
        let level = self.place(segment)?.level?;
        self.outline.levels.get(level as usize).map(|level| level.kind)
    }
}

/// What claims of an 837 share.
#[derive(Clone, Default)]
struct Payers<'m> {
    billing: Option<Cow<'m, str>>,
    subscriber: Option<Cow<'m, str>>,
    patient: Option<Cow<'m, str>>,
    payer: Option<Cow<'m, str>>,
    payer_name: Option<Cow<'m, str>>,
    filing: Option<Cow<'m, str>>,
    /// Birth and gender of the subscriber and of the patient.
    born: Option<Cow<'m, str>>,
    gender: Option<Cow<'m, str>>,
}

/// A claim or payment with the service line that is open in it.
#[derive(Default)]
struct Open<'m> {
    claim: Option<Row<'m>>,
    line: Option<Row<'m>>,
    span: Span<'m>,
    /// Of its lines.
    lines: Span<'m>,
    line_span: Span<'m>,
    counted: usize,
}

impl<'m> Open<'m> {
    fn claim_id(&mut self) -> Option<Cow<'m, str>> {
        self.claim.as_mut()?.cell("claim_id")?.clone()
    }

    fn end_line(&mut self, rows: &mut Rows<'_, 'm>) {
        let span = std::mem::take(&mut self.line_span);
        if let Some(mut line) = self.line.take() {
            self.lines.widen(span.clone());
            line.set("date_from", span.from);
            line.set("date_to", span.to);
            rows.add("service_line", Some(line));
        }
    }

    fn end(&mut self, rows: &mut Rows<'_, 'm>) {
        self.end_line(rows);
        let span = std::mem::take(&mut self.span).or(std::mem::take(&mut self.lines));
        if let Some(mut claim) = self.claim.take() {
            claim.set("service_from", span.from);
            claim.set("service_to", span.to);
            rows.add("claim", Some(claim));
        }
        self.counted = 0;
    }
}

fn npi<'m>(segment: &Segment<'m>) -> Option<Cow<'m, str>> {
    if segment.is(8, b"XX") { text(segment, 9) } else { None }
}

fn claims<'m>(set: &'m Transaction<'m>, rows: &mut Rows<'_, 'm>) {
    let mut shared = Payers::default();
    let mut open = Open::default();
    for segment in set.segments() {
        match segment.name() {
            b"HL" => {
                open.end(rows);
                match segment.code(3) {
                    b"20" => shared = Payers::default(),
                    b"22" => shared = Payers { billing: shared.billing.take(), ..Payers::default() },
                    b"23" => (shared.patient, shared.born, shared.gender) = (None, None, None),
                    _ => {}
                }
            }
            b"SE" => open.end(rows),
            b"CLM" => {
                open.end(rows);
                let mut claim = rows.begin(CLAIM, &segment);
                claim.set("claim_id", text(&segment, 1));
                claim.set("total_charge", text(&segment, 2));
                claim.set("place_of_service", part(&segment, 5, 1));
                claim.set("frequency", part(&segment, 5, 3));
                claim.set("billing_provider_npi", shared.billing.clone());
                claim.set("subscriber_id", shared.subscriber.clone());
                claim.set("patient_id", shared.patient.clone());
                claim.set("patient_birth_date", shared.born.clone());
                claim.set("patient_gender", shared.gender.clone());
                claim.set("payer_id", shared.payer.clone());
                claim.set("payer_name", shared.payer_name.clone());
                claim.set("filing_indicator", shared.filing.clone());
                open.claim = Some(claim);
            }
            _ if open.claim.is_some() => of_claim(&segment, &mut open, rows),
            b"SBR" => shared.filing = text(&segment, 9),
            b"DMG" => {
                shared.born = text(&segment, 2);
                shared.gender = text(&segment, 3);
            }
            b"NM1" => match segment.code(1) {
                b"85" => shared.billing = npi(&segment),
                b"IL" => {
                    shared.subscriber = text(&segment, 9);
                    // In whose own level no patient follows.
                    if rows.level_kind(&segment) != Some(LevelKind::Dependent) {
                        shared.patient.clone_from(&shared.subscriber);
                    }
                }
                b"QC" => shared.patient = text(&segment, 9),
                b"PR" => {
                    shared.payer = text(&segment, 9);
                    shared.payer_name = text(&segment, 3);
                }
                _ => {}
            },
            _ => {}
        }
    }
    open.end(rows);
}

/// A segment between CLM and the next level.
fn of_claim<'m>(segment: &Segment<'m>, open: &mut Open<'m>, rows: &mut Rows<'_, 'm>) {
    if segment.name() == b"LX" {
        open.end_line(rows);
        let mut line = rows.begin(SERVICE_LINE, segment);
        line.set("claim_id", open.claim_id());
        line.set("line", text(segment, 1));
        open.line = Some(line);
        return;
    }
    let loop_id = rows.place(segment).map(|place| place.loop_id).unwrap_or_default();
    let is_of_other = loop_id.starts_with("232") || loop_id.starts_with("233") || loop_id == "2430";
    if is_of_other {
        return;
    }
    if let Some(line) = &mut open.line {
        of_line(segment, line, &mut open.line_span);
        return;
    }
    let Some(claim) = &mut open.claim else { return };
    match (segment.name(), segment.code(1)) {
        (b"HI", _) => {
            for element in segment.elements() {
                let list = element.value.component(1).map(|list| list.bytes()).unwrap_or_default();
                let code = || element.value.component(2).and_then(cell);
                match list {
                    b"BK" | b"ABK" => {
                        claim.offer("principal_diagnosis", code());
                        claim.push("diagnoses", code());
                    }
                    b"BF" | b"ABF" | b"BJ" | b"ABJ" | b"PR" | b"APR" | b"BN" | b"ABN" => {
                        claim.push("diagnoses", code());
                    }
                    b"BR" | b"BBR" | b"BQ" | b"BBQ" | b"BP" | b"BO" | b"CAH" => claim.push("procedures", code()),
                    b"DR" => claim.offer("drg", code()),
                    _ => {}
                }
            }
        }
        (b"DTP", b"472" | b"434") => open.span.widen(Span::of(segment, 2, 3)),
        (b"DTP", b"435") => claim.offer("admission", text(segment, 3)),
        (b"DTP", b"096") => claim.offer("discharge", text(segment, 3)),
        (b"REF", b"F8") => claim.offer("payer_claim_control", text(segment, 2)),
        (b"REF", b"G1") => claim.offer("prior_authorization", text(segment, 2)),
        (b"REF", b"EA") => claim.offer("medical_record", text(segment, 2)),
        (b"NM1", b"82") => claim.offer("rendering_provider_npi", npi(segment)),
        _ => {}
    }
}

/// A segment of a service line.
fn of_line<'m>(segment: &Segment<'m>, line: &mut Row<'m>, span: &mut Span<'m>) {
    let procedure = |line: &mut Row<'m>, number| {
        line.set("procedure_qualifier", part(segment, number, 1));
        line.set("procedure", part(segment, number, 2));
        line.set("modifiers", joined(segment, number, 3..=6));
    };
    match (segment.name(), segment.code(1)) {
        (b"SV1", _) => {
            procedure(line, 1);
            line.set("charge", text(segment, 2));
            line.set("unit", text(segment, 3));
            line.set("units", text(segment, 4));
            line.set("place_of_service", text(segment, 5));
            line.set("diagnosis_pointers", joined(segment, 7, 1..=4));
        }
        (b"SV2", _) => {
            line.set("revenue_code", text(segment, 1));
            procedure(line, 2);
            line.set("charge", text(segment, 3));
            line.set("unit", text(segment, 4));
            line.set("units", text(segment, 5));
        }
        (b"SV3", _) => {
            procedure(line, 1);
            line.set("charge", text(segment, 2));
            line.set("place_of_service", text(segment, 3));
            line.set("units", text(segment, 6));
            line.set("diagnosis_pointers", joined(segment, 11, 1..=4));
        }
        (b"SVC", _) => {
            procedure(line, 1);
            line.set("charge", text(segment, 2));
            line.set("paid", text(segment, 3));
            line.set("revenue_code", text(segment, 4));
            line.set("units", text(segment, 5));
        }
        (b"LIN", _) if segment.is(2, b"N4") => line.offer("ndc", text(segment, 3)),
        (b"DTP", b"472") => span.widen(Span::of(segment, 2, 3)),
        (b"DTM", b"472" | b"150" | b"151") => span.widen(Span::of(segment, 0, 2)),
        (b"REF", b"6R") => line.offer("line_control", text(segment, 2)),
        _ => {}
    }
}

fn payments<'m>(set: &'m Transaction<'m>, rows: &mut Rows<'_, 'm>) {
    let (mut payer, mut payer_name, mut payee) = (None, None, None);
    let mut open = Open::default();
    for segment in set.segments() {
        match (segment.name(), segment.code(1)) {
            (b"N1", b"PR") if open.claim.is_none() => {
                payer_name = text(&segment, 2);
                payer = text(&segment, 4).or(payer);
            }
            (b"N1", b"PE") if segment.is(3, b"XX") => payee = text(&segment, 4),
            (b"TRN", _) if open.claim.is_none() => payer = text(&segment, 3),
            (b"LX" | b"PLB" | b"SE", _) => open.end(rows),
            (b"CLP", _) => {
                open.end(rows);
                let mut claim = rows.begin(CLAIM, &segment);
                let columns = [
                    (1, "claim_id"),
                    (2, "status"),
                    (3, "total_charge"),
                    (4, "paid"),
                    (5, "patient_responsibility"),
                    (6, "filing_indicator"),
                    (7, "payer_claim_control"),
                    (8, "place_of_service"),
                    (9, "frequency"),
                    (11, "drg"),
                ];
                for (number, column) in columns {
                    claim.set(column, text(&segment, number));
                }
                claim.set("payer_id", payer.clone());
                claim.set("payer_name", payer_name.clone());
                claim.set("billing_provider_npi", payee.clone());
                open.claim = Some(claim);
            }
            (b"SVC", _) => {
                open.end_line(rows);
                open.counted += 1;
                let mut line = rows.begin(SERVICE_LINE, &segment);
                line.set("claim_id", open.claim_id());
                line.set("line", Some(Cow::Owned(open.counted.to_string())));
                of_line(&segment, &mut line, &mut open.line_span);
                open.line = Some(line);
            }
            (_, code) => {
                if let Some(line) = &mut open.line {
                    of_line(&segment, line, &mut open.line_span);
                } else if let Some(claim) = &mut open.claim {
                    match (segment.name(), code) {
                        (b"NM1", b"QC") => claim.offer("patient_id", text(&segment, 9)),
                        (b"NM1", b"IL") => claim.offer("subscriber_id", text(&segment, 9)),
                        (b"NM1", b"82") => claim.offer("rendering_provider_npi", npi(&segment)),
                        (b"DTM", b"232") => open.span.from = text(&segment, 2),
                        (b"DTM", b"233") => open.span.to = text(&segment, 2),
                        (b"REF", b"EA") => claim.offer("medical_record", text(&segment, 2)),
                        (b"REF", b"G1") => claim.offer("prior_authorization", text(&segment, 2)),
                        _ => {}
                    }
                }
            }
        }
    }
    open.end(rows);
}

fn members<'m>(set: &'m Transaction<'m>, rows: &mut Rows<'_, 'm>) {
    let mut open: Option<Row<'m>> = None;
    for segment in set.segments() {
        if matches!(segment.name(), b"INS" | b"SE") {
            rows.add("member", open.take());
        }
        if segment.name() == b"INS" {
            let mut member = rows.begin(MEMBER, &segment);
            let columns = [
                (1, "is_subscriber"),
                (2, "relationship"),
                (3, "maintenance_type"),
                (4, "maintenance_reason"),
                (5, "benefit_status"),
                (8, "employment_status"),
                (9, "student_status"),
                (12, "death_date"),
            ];
            for (number, column) in columns {
                member.set(column, text(&segment, number));
            }
            open = Some(member);
            continue;
        }
        let Some(member) = &mut open else { continue };
        let loop_id = rows.outline.place(segment.index()).map(|place| place.loop_id).unwrap_or_default();
        match (segment.name(), segment.code(1)) {
            (b"NM1", b"IL" | b"74") => member.offer("member_id", text(&segment, 9)),
            (b"REF", b"0F") => member.offer("subscriber_id", text(&segment, 2)),
            (b"REF", b"1L") => member.offer("policy", text(&segment, 2)),
            (b"DMG", _) if loop_id != "2100B" => {
                member.offer("birth_date", text(&segment, 2));
                member.offer("gender", text(&segment, 3));
            }
            (b"HD", _) => {
                member.push("insurance_lines", text(&segment, 3));
                member.offer("plan", text(&segment, 4));
                member.offer("coverage_level", text(&segment, 5));
            }
            (b"DTP", b"348" | b"356") => member.offer("coverage_from", text(&segment, 3)),
            (b"DTP", b"349" | b"357") => member.offer("coverage_to", text(&segment, 3)),
            _ => {}
        }
    }
    rows.add("member", open);
}

/// Who is asked, who asks, and about whom.
#[derive(Clone, Default)]
struct Asked<'m> {
    trace: Option<Cow<'m, str>>,
    payer: Option<Cow<'m, str>>,
    provider: Option<Cow<'m, str>>,
    subscriber: Option<Cow<'m, str>>,
    patient: Option<Cow<'m, str>>,
}

impl<'m> Asked<'m> {
    /// HL, TRN and NM1 segments before what is asked.
    fn step(&mut self, segment: &Segment<'m>, level: Option<LevelKind>) {
        match (segment.name(), level) {
            (b"HL", Some(LevelKind::Source)) => *self = Self::default(),
            (b"HL", Some(LevelKind::Receiver)) => *self = Self { payer: self.payer.take(), ..Self::default() },
            (b"HL", Some(LevelKind::Provider)) => self.provider = None,
            (b"HL", Some(LevelKind::Subscriber)) => {
                (self.trace, self.subscriber, self.patient) = (None, None, None);
            }
            (b"HL", _) => (self.trace, self.patient) = (None, None),
            (b"TRN", _) => self.trace = text(segment, 2),
            (b"NM1", Some(LevelKind::Source)) => self.payer = text(segment, 9),
            (b"NM1", Some(LevelKind::Receiver | LevelKind::Provider)) => self.provider = text(segment, 9),
            (b"NM1", Some(LevelKind::Subscriber)) if segment.is(1, b"IL") || segment.is(1, b"QC") => {
                self.subscriber = text(segment, 9);
                self.patient.clone_from(&self.subscriber);
            }
            (b"NM1", Some(LevelKind::Dependent | LevelKind::Patient))
                if segment.is(1, b"QC") || segment.is(1, b"03") =>
            {
                self.patient = text(segment, 9);
            }
            _ => {}
        }
    }
}

fn benefits<'m>(set: &'m Transaction<'m>, rows: &mut Rows<'_, 'm>) {
    let mut asked = Asked::default();
    let mut open: Option<(Row<'m>, Span<'m>)> = None;
    // NM1 behind EB is another entity of the benefit.
    for segment in set.segments() {
        let ends = matches!(segment.name(), b"HL" | b"EB" | b"EQ" | b"SE");
        if ends && let Some((mut row, span)) = open.take() {
            row.set("date_from", span.from);
            row.set("date_to", span.to);
            rows.add("eligibility", Some(row));
        }
        let columns: &[(usize, &str)] = match segment.name() {
            b"EB" => &[
                (1, "information"),
                (2, "coverage_level"),
                (3, "service_types"),
                (4, "insurance_type"),
                (5, "plan"),
                (6, "period"),
                (7, "amount"),
                (8, "percent"),
                (9, "quantity_qualifier"),
                (10, "quantity"),
                (11, "needs_authorization"),
                (12, "in_network"),
                (13, "procedure"),
            ],
            b"EQ" => &[(1, "service_types"), (2, "procedure"), (3, "coverage_level"), (4, "insurance_type")],
            _ => {
                if let Some((row, span)) = &mut open {
                    match segment.name() {
                        b"DTP" => span.widen(Span::of(&segment, 2, 3)),
                        b"MSG" => row.push("message", text(&segment, 1)),
                        _ => {}
                    }
                } else {
                    asked.step(&segment, rows.level_kind(&segment));
                }
                continue;
            }
        };
        let mut row = rows.begin(ELIGIBILITY, &segment);
        row.set("trace", asked.trace.clone());
        row.set("payer_id", asked.payer.clone());
        row.set("provider_id", asked.provider.clone());
        row.set("subscriber_id", asked.subscriber.clone());
        row.set("patient_id", asked.patient.clone());
        for (number, column) in columns {
            row.set(column, text(&segment, *number));
        }
        open = Some((row, Span::default()));
    }
    if let Some((mut row, span)) = open {
        row.set("date_from", span.from);
        row.set("date_to", span.to);
        rows.add("eligibility", Some(row));
    }
}

/// The statuses of one claim: what follows them (REF, DTP) is said of all.
#[derive(Default)]
struct Statuses<'m> {
    /// A question (276) has none: then its TRN segment makes the row.
    asked: Option<Row<'m>>,
    rows: Vec<Row<'m>>,
    claim: Option<Cow<'m, str>>,
    control: Option<Cow<'m, str>>,
    span: Span<'m>,
    procedure: Option<Cow<'m, str>>,
}

impl<'m> Statuses<'m> {
    /// Ends the rows of a claim or of a service line.
    fn end(&mut self, rows: &mut Rows<'_, 'm>) {
        let asked = self.asked.take();
        let mut ended = std::mem::take(&mut self.rows);
        if ended.is_empty() {
            ended.extend(asked);
        }
        let span = std::mem::take(&mut self.span);
        for mut row in ended {
            row.set("claim_id", self.claim.clone());
            row.set("payer_claim_control", self.control.clone());
            row.set("procedure", self.procedure.clone());
            row.set("service_from", span.from.clone());
            row.set("service_to", span.to.clone());
            rows.add("status", Some(row));
        }
        self.procedure = None;
    }
}

fn statuses<'m>(set: &'m Transaction<'m>, rows: &mut Rows<'_, 'm>) {
    let mut asked = Asked::default();
    let mut open = Statuses::default();
    for segment in set.segments() {
        let name = segment.name();
        if matches!(name, b"HL" | b"TRN" | b"SVC" | b"SE") {
            open.end(rows);
        }
        if matches!(name, b"HL" | b"TRN" | b"SE") {
            (open.claim, open.control) = (None, None);
        }
        asked.step(&segment, rows.level_kind(&segment));
        let begin = |rows: &Rows<'_, 'm>| {
            let mut row = rows.begin(STATUS, &segment);
            let loop_id = rows.place(&segment).map(|place| place.loop_id).filter(|name| !name.is_empty());
            row.set("loop", loop_id.map(Cow::Borrowed));
            row.set("trace", asked.trace.clone());
            row.set("subscriber_id", asked.subscriber.clone());
            row.set("patient_id", asked.patient.clone());
            row
        };
        match (name, segment.code(1)) {
            (b"TRN", _) if set.set() == b"276" => open.asked = Some(begin(rows)),
            (b"STC", _) => {
                let mut row = begin(rows);
                let parts = [(1, "category"), (2, "status"), (3, "entity")];
                for (component, column) in parts {
                    row.set(column, part(&segment, 1, component));
                }
                let columns = [
                    (2, "effective"),
                    (3, "action"),
                    (4, "charge"),
                    (5, "paid"),
                    (6, "paid_date"),
                    (8, "check_date"),
                    (9, "check_number"),
                    (12, "message"),
                ];
                for (number, column) in columns {
                    row.set(column, text(&segment, number));
                }
                open.rows.push(row);
            }
            (b"SVC", _) => open.procedure = part(&segment, 1, 2),
            (b"REF", b"EJ") => open.claim = text(&segment, 2),
            (b"REF", b"1K") => open.control = text(&segment, 2),
            (b"DTP", b"472" | b"232" | b"233") => open.span.widen(Span::of(&segment, 2, 3)),
            _ => {}
        }
    }
    open.end(rows);
}

/// Columns of text of which most have no value in most rows: those without any cost nothing.
struct Table {
    schema: SchemaRef,
    columns: Vec<Option<StringViewBuilder>>,
    segments: Int32Builder,
    subjects: Int32Builder,
    rows: usize,
}

impl Table {
    fn new(name: &str) -> Self {
        let schema = table_schema(name).unwrap_or_else(|| Arc::new(Schema::empty()));
        let columns = schema.fields().iter().map(|_| None).collect();
        Self { schema, columns, segments: Int32Builder::new(), subjects: Int32Builder::new(), rows: 0 }
    }

    fn set(&mut self, column: usize, text: Option<&str>) {
        let (Some(column), Some(text)) = (self.columns.get_mut(column), text) else {
            return;
        };
        let values = column.get_or_insert_with(|| StringViewBuilder::with_capacity(self.rows + 1));
        pad(values, self.rows);
        values.append_value(text);
    }

    fn add_keys(&mut self, keys: &Keys<'_>, segment: i32, subject: Option<i32>) {
        for (column, key) in [&keys.interchange, &keys.group, &keys.set].into_iter().enumerate() {
            self.set(column, key.as_deref());
        }
        self.segments.append_value(segment);
        self.subjects.append_option(subject);
    }

    fn add(&mut self, keys: &Keys<'_>, row: &Row<'_>) {
        self.add_keys(keys, row.segment, row.subject);
        for (column, cell) in row.cells.iter().enumerate() {
            self.set(KEYS.len() + column, cell.as_deref());
        }
        self.rows += 1;
    }

    fn finish(mut self) -> Result<RecordBatch, FormatError> {
        let none = new_null_array(&DataType::Utf8View, self.rows);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (field, column) in self.schema.fields().iter().zip(self.columns) {
            columns.push(match (field.name().as_str(), column) {
                ("segment", _) => Arc::new(self.segments.finish()),
                ("subject", _) => Arc::new(self.subjects.finish()),
                (_, None) => Arc::clone(&none),
                (_, Some(mut values)) => {
                    pad(&mut values, self.rows);
                    Arc::new(values.finish())
                }
            });
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(self.schema, columns, &rows)
            .map_err(|_| FormatError::Batch { doing: "joining the columns" })
    }
}

fn pad(values: &mut StringViewBuilder, rows: usize) {
    for _ in values.len()..rows {
        values.append_null();
    }
}

struct Tables {
    /// In the order of [`TABLES`].
    all: Vec<(&'static str, Table)>,
}

impl Tables {
    fn new() -> Self {
        Self { all: TABLES.iter().map(|name| (*name, Table::new(name))).collect() }
    }

    fn table(&mut self, name: &str) -> Option<&mut Table> {
        self.all.iter_mut().find(|(known, _)| *known == name).map(|(_, table)| table)
    }

    fn add_set(&mut self, set: &Transaction<'_>, keys: &Keys<'_>) {
        let Some(table) = self.table("transaction") else { return };
        let envelope = set.envelope();
        let either = |group, interchange| envelope.group(group).or_else(|| envelope.interchange(interchange));
        let head = set.segments().take(3).find(|segment| matches!(segment.name(), b"BHT" | b"BGN" | b"BPR"));
        let of_head = |bht: usize, bgn: usize, bpr: usize| {
            let head = head.as_ref()?;
            let number = match head.name() {
                b"BHT" => bht,
                b"BGN" => bgn,
                _ => bpr,
            };
            text(head, number)
        };
        let trace = || set.segments().take(6).find(|segment| segment.name() == b"TRN").and_then(|trn| text(&trn, 2));
        let header = envelope.header();
        let cells = [
            keys.interchange.clone(),
            keys.group.clone(),
            keys.set.clone(),
            text_of(set.set()),
            set.version(),
            either(2, 6),
            either(3, 8),
            either(4, 9),
            either(5, 10),
            envelope.interchange(15),
            of_head(2, 1, 1),
            of_head(3, 2, 0).or_else(trace),
            of_head(4, 3, 16),
            text_of(&header),
            Some(super::interchange::decode(set.bytes())),
        ];
        for (column, cell) in cells.into_iter().enumerate() {
            table.set(column, cell.as_deref());
        }
        table.rows += 1;
    }

    fn add_segments(&mut self, set: &Transaction<'_>, outline: &Outline, keys: &Keys<'_>) {
        let Some(table) = self.table("segment") else { return };
        let first = KEYS.len();
        for segment in set.segments() {
            let place = outline.place(segment.index());
            let subject = place.and_then(|place| place.subject).map(|subject| subject as i32 + 1);
            table.add_keys(keys, segment.index() as i32 + 1, subject);
            if let Some(place) = place {
                table.set(first, Some(place.loop_id).filter(|name| !name.is_empty()));
                let level = place.level.and_then(|level| outline.levels.get(level as usize));
                let level = level.and_then(|level| set.segment(level.segment as usize));
                table.set(first + 1, level.and_then(|level| text(&level, 1)).as_deref());
            }
            table.set(first + 2, text_of(segment.name()).as_deref());
            for element in segment.elements().take(SEGMENT_ELEMENTS) {
                table.set(first + 2 + element.number, cell(element.value).as_deref());
            }
            table.rows += 1;
        }
    }

    fn finish(self) -> Result<Vec<(String, RecordBatch)>, FormatError> {
        let wanted = |name: &str, table: &Table| table.rows > 0 || matches!(name, "transaction" | "segment");
        let tables = self.all.into_iter().filter(|(name, table)| wanted(name, table));
        tables.map(|(name, table)| Ok((name.to_owned(), table.finish()?))).collect()
    }
}
