//! X12 interchanges, and the shipped policy on them.

use std::sync::OnceLock;

use arrow_array::cast::AsArray;
use cordon_deid::document::Documents;
use cordon_deid::x12::X12Recipe;
use cordon_formats::x12::{
    Delimiters, Dictionary, Edits, Outline, ReadOptions, RecordKind, RejectReason, Transaction, TransactionBatch,
    TransactionReader, facts, tables,
};

use crate::kernels::{env, shipped};
use crate::pieces::{Dribble, LARGE, sizes};

const OPTIONS: ReadOptions = ReadOptions { max_transaction_bytes: 16 << 10 };

/// `None` for UTF-16, which the reader says.
fn batches(bytes: &[u8], chunk: usize, batch_bytes: usize) -> Option<Vec<TransactionBatch>> {
    batches_within(OPTIONS, bytes, chunk, batch_bytes)
}

fn batches_within(
    options: ReadOptions,
    bytes: &[u8],
    chunk: usize,
    batch_bytes: usize,
) -> Option<Vec<TransactionBatch>> {
    let mut reader = TransactionReader::new(Dribble(bytes, chunk), options);
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch(batch_bytes).ok()? {
        all.push(batch);
    }
    Some(all)
}

#[derive(Default, PartialEq)]
struct Seen {
    records: Vec<(RecordKind, u64, Vec<u8>)>,
    rejects: Vec<(u64, RejectReason, Vec<u8>, u64)>,
}

fn seen(batches: &[TransactionBatch]) -> Seen {
    let mut seen = Seen::default();
    for batch in batches {
        for (index, record) in batch.records.iter().enumerate() {
            seen.records.push((record.kind, record.line, batch.raw(index).to_vec()));
        }
        seen.rejects.extend(batch.rejects.iter().map(|one| (one.line, one.reason, one.raw.clone(), one.cut)));
    }
    seen
}

pub fn warm() {
    Dictionary::get();
}

pub fn read(data: &[u8]) {
    let whole = batches(data, usize::MAX, LARGE);
    let (chunk, batch_bytes) = sizes(data);
    let pieces = batches(data, chunk, batch_bytes);
    assert!(whole.as_deref().map(seen) == pieces.as_deref().map(seen), "other sets in pieces");
    let Some(whole) = whole else { return };
    let all = seen(&whole);
    let taken = all.records.iter().map(|(_, _, raw)| raw.len()).sum::<usize>()
        + all.rejects.iter().map(|(_, _, raw, cut)| raw.len() + *cut as usize).sum::<usize>();
    let nothing = all.records.is_empty() && all.rejects.is_empty();
    assert!(taken == data.len() || nothing && (data.trim_ascii().is_empty() || data.len() < 64), "bytes were dropped");
    for batch in &whole {
        let parsed: Vec<Transaction<'_>> =
            (0..batch.len()).map(|index| batch.parse(index).expect("a record")).collect();
        for set in &parsed {
            check(set);
        }
        let sets = parsed.iter().filter(|set| set.segment(0).is_some_and(|first| first.name() == b"ST")).count();
        let segments: usize = parsed.iter().map(Transaction::len).sum();
        let flat = tables::flatten(&parsed).expect("tables");
        let rows = |name: &str| flat.iter().find(|(table, _)| table == name).map_or(0, |(_, rows)| rows.num_rows());
        assert!(rows("transaction") == sets && rows("segment") >= segments, "a segment is in no table");
    }
}

fn check(set: &Transaction<'_>) {
    let mut out = Vec::new();
    Edits::default().write(set, &mut out).expect("no edit");
    assert!(out == set.bytes(), "what nobody edits stays");
    let outline = Outline::of(set);
    assert!(outline.places.len() == set.len());
    for place in &outline.places {
        assert!(place.level.is_none_or(|level| (level as usize) < outline.levels.len()));
        assert!(place.subject.is_none_or(|subject| (subject as usize) < outline.subjects.len()));
        assert!(place.party.is_none_or(|party| (party as usize) < set.len()));
    }
    let (mut edits, mut at, mut texts) = (Edits::default(), 0, Vec::new());
    for segment in set.segments() {
        let (span, line) = (segment.span(), segment.line_span());
        assert!(line.start == at && line.start <= span.start && span.end <= line.end, "segments tile a record");
        at = line.end;
        let (mut leaves, mut told, mut inner) = (0, 0, span.start);
        for element in segment.elements() {
            for leaf in element.value.leaves() {
                let place = leaf.value.span();
                assert!(
                    place.start >= inner && place.end <= span.end && set.bytes()[place.clone()] == *leaf.value.bytes()
                );
                inner = place.end;
                leaves += usize::from(!leaf.value.is_empty());
                if segment.name() != b"ISA" {
                    let text = leaf.value.text();
                    edits.replace(&leaf.value, &text).expect("places ascend");
                    texts.push(text.into_owned());
                }
            }
        }
        facts(&segment, |_| told += 1);
        assert!(told == leaves, "a value without a fact");
    }
    assert!(at == set.bytes().len() || set.is_empty());
    // A control character or a delimiter in a text has no spelling.
    let Delimiters { segment, element, .. } = *set.delimiters();
    let plain = |text: &String| text.bytes().all(|byte| !byte.is_ascii_control() && byte != segment && byte != element);
    if texts.iter().all(plain) && set.segments().all(|segment| !segment.is_text()) {
        let mut out = Vec::new();
        edits.write(set, &mut out).expect("places ascend");
        assert!(out == set.bytes(), "values written in their places are other bytes");
    }
}

fn recipe() -> &'static X12Recipe {
    static RECIPE: OnceLock<Documents> = OnceLock::new();
    let documents = RECIPE.get_or_init(|| shipped(include_str!("../../crates/deid/policies/x12.yaml"), "x12"));
    documents.x12().expect("a policy for X12")
}

pub fn warm_policy() {
    warm();
    recipe();
}

/// Headers and sets that came out, and where rules failed.
type Out = (Vec<(String, String)>, Vec<(String, String)>);

fn out(batches: &[TransactionBatch]) -> Out {
    let (mut sets, mut failures) = (Vec::new(), Vec::new());
    for batch in batches {
        let output = recipe().apply(batch, &env()).unwrap_or_else(|error| panic!("{error}"));
        for (_, rows) in output.tables.iter().filter(|(table, _)| table == "transaction") {
            let texts = |name| rows.column_by_name(name).expect("the column").as_string_view().iter();
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            sets.extend(texts("header").zip(texts("text")).map(|(header, set)| (text(header), text(set))));
        }
        failures.extend(output.failures.iter().map(|failure| (failure.path.clone(), failure.reason.to_string())));
        let sent = batch.records.iter().filter(|record| record.kind == RecordKind::Transaction).count();
        assert!(output.documents as usize + output.failures.len() == sent, "a set is nowhere");
    }
    (sets, failures)
}

/// What comes out is a set under its header without lines that are no segments and without segments that X12 does not define,
/// and is the same however the input was cut into batches.
pub fn apply(data: &[u8]) {
    let Some(whole) = batches(data, usize::MAX, LARGE) else { return };
    let done = out(&whole);
    for (header, set) in done.0.iter().take(32) {
        // Tokens are longer than numbers.
        let again = batches_within(ReadOptions::default(), format!("{header}{set}").as_bytes(), usize::MAX, LARGE);
        let again = again.expect("text");
        let sets =
            again.iter().flat_map(|batch| (0..batch.len()).filter(|at| is_set(batch, *at)).map(move |at| (batch, at)));
        let sets: Vec<(&TransactionBatch, usize)> = sets.collect();
        assert!(sets.len() == 1 && again.iter().all(|batch| batch.rejects.is_empty()), "what came out is no set");
        let (batch, at) = sets[0];
        assert!(batch.raw(at).trim_ascii() == set.as_bytes().trim_ascii(), "it reads otherwise");
        for segment in batch.parse(at).expect("a record").segments() {
            let is_known = Dictionary::get().segment(segment.name()).is_some();
            assert!(!segment.is_text() && is_known, "an undeclared line passed");
        }
    }
    let pieces = batches(data, usize::MAX, sizes(data).1).expect("as before");
    assert!(out(&pieces) == done, "other results in other batches");
}

fn is_set(batch: &TransactionBatch, at: usize) -> bool {
    batch.records.get(at).is_some_and(|record| record.kind == RecordKind::Transaction)
}
