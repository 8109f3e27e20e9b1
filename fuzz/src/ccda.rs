//! CDA documents, and the shipped policy on them.

use std::sync::OnceLock;

use arrow_array::cast::AsArray;
use cordon_deid::ccda::CcdaRecipe;
use cordon_deid::document::Documents;
use cordon_formats::ccda::{
    Document, DocumentBatch, DocumentReader, Edits, Limits, Path, PathSet, ReadOptions, RejectReason, Stack, tables,
};

use crate::kernels::{env, shipped};
use crate::pieces::{Dribble, LARGE, dice, sizes};

const OPTIONS: ReadOptions = ReadOptions { max_bytes: 1 << 20, limits: Limits { max_depth: 64, max_nodes: 1 << 16 } };

const PATHS: [&str; 8] = [
    "//name",
    "/ClinicalDocument/recordTarget/patientRole/id/@extension",
    "recordTarget//given",
    "section[@code='10164-2']//text",
    "//sdtc:raceCode/@code",
    "section[templateId/@root='1.2']/title",
    "patient/*",
    "//@root",
];

fn batches(bytes: &[u8], chunk: usize, batch_bytes: usize) -> Vec<DocumentBatch> {
    let mut reader = DocumentReader::new(Dribble(bytes, chunk), OPTIONS);
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch(batch_bytes).expect("memory cannot fail") {
        all.push(batch);
    }
    all
}

#[derive(Default, PartialEq)]
struct Seen {
    documents: Vec<String>,
    rejects: Vec<(u64, RejectReason, Vec<u8>, u64)>,
}

fn seen(batches: &[DocumentBatch]) -> Seen {
    let mut seen = Seen::default();
    for batch in batches {
        seen.documents.extend(batch.documents.iter().map(|document| document.text().to_owned()));
        seen.rejects.extend(batch.rejects.iter().map(|one| (one.line, one.reason, one.raw.clone(), one.cut)));
    }
    seen
}

pub fn read(data: &[u8]) {
    let whole = batches(data, usize::MAX, LARGE);
    let (chunk, batch_bytes) = sizes(data);
    let all = seen(&whole);
    assert!(all == seen(&batches(data, chunk, batch_bytes)), "other documents in pieces");
    let documents = whole.iter().flat_map(|batch| &batch.documents);
    for document in documents.clone().take(32) {
        check(document, dice(data) as usize);
    }
    let flat = tables::flatten(documents).expect("tables");
    let rows = flat.iter().find(|(table, _)| table == "document").map_or(0, |(_, rows)| rows.num_rows());
    assert!(rows == all.documents.len(), "a document is in no table");
}

fn parse(text: String) -> Document {
    let read = Document::parse(text, OPTIONS.limits);
    read.unwrap_or_else(|error| panic!("what was written is no document: {error}"))
}

fn check(document: &Document, dice: usize) {
    assert!(Edits::new().apply(document.text()).is_ok_and(|text| text == document.text()));
    let set = PathSet::new(PATHS.map(|path| Path::parse(path).expect("a path")).to_vec());
    let (mut stack, mut matcher) = (Stack::new(document), set.matcher(document));
    let mut at = 0;
    for (index, event) in document.events().iter().enumerate() {
        let span = event.span();
        assert!(span.start >= at && document.text().get(span.clone()).is_some(), "places ascend");
        // Only blanks stand between events.
        assert!(document.raw(at..span.start).trim_start_matches('\u{FEFF}').trim().is_empty(), "text between events");
        at = span.end;
        assert!(event.next as usize > index && event.next as usize <= document.events().len());
        stack.follow(index);
        matcher.follow(index);
        let one_by_one = set.paths().iter().filter(|path| path.matches(&stack)).count();
        if event.is_element() {
            assert!(matcher.elements().count() == one_by_one, "paths match otherwise together");
        }
        for attribute in document.attributes(index) {
            assert!(document.text().get(attribute.span()).is_some());
            let one_by_one = set.paths().iter().filter(|path| path.matches_attribute(&stack, attribute)).count();
            assert!(matcher.attributes(attribute).count() == one_by_one, "paths match otherwise together");
        }
    }
    assert!(document.raw(at..document.text().len()).trim().is_empty());
    change(document, dice);
    for section in document.sections() {
        assert!(document.event(section.event).is_some_and(|event| event.is_element()) && section.depth <= 64);
        assert!(section.title.is_none_or(|title| document.text().get(title).is_some()));
    }
    for mark in document.marks() {
        assert!(mark.event < document.events().len() && mark.marked < document.events().len());
    }
    let narrative = document.narrative(document.root());
    let mut end = 0;
    for (place, event) in &narrative.pieces {
        assert!(place.start >= end && narrative.text.get(place.clone()).is_some() && *event < document.events().len());
        end = place.end;
    }
}

/// Elements with other texts, masked or taken away: the rest is as it was, and the whole is a document.
fn change(document: &Document, dice: usize) {
    let elements: Vec<usize> = (0..document.events().len())
        .filter(|index| document.event(*index).is_some_and(|event| event.is_element()) && *index != document.root())
        .collect();
    if elements.is_empty() {
        return;
    }
    let chosen = elements[dice % elements.len()];
    let hard = "<&>\"' ]]> \u{1F9B7}\r\n\u{1}";
    let mut content = Edits::new();
    content.set_content(document, chosen, hard);
    let mut mask = Edits::new();
    mask.mask(document, chosen);
    let mut remove = Edits::new();
    remove.remove(document, chosen);
    let mut attributes = Edits::new();
    for attribute in document.attributes(chosen) {
        attributes.set_attribute(document, attribute, "<&>\"' \u{1F9B7}");
    }
    for edits in [content, mask, remove] {
        let text = edits.apply(document.text()).expect("one change");
        parse(text);
    }
    // A namespace with another value makes prefixes unknown; that is no fault of the writer.
    if document.attributes(chosen).iter().all(|attribute| attribute.ns != cordon_formats::ccda::Ns::Xmlns) {
        let again = parse(attributes.apply(document.text()).expect("places ascend"));
        let values = again.attributes(chosen);
        assert!(values.iter().all(|attribute| again.value(attribute) == "<&>\"' \u{1F9B7}"), "it reads otherwise");
    }
}

fn recipe() -> &'static CcdaRecipe {
    static RECIPE: OnceLock<Documents> = OnceLock::new();
    let documents = RECIPE.get_or_init(|| shipped(include_str!("../../crates/deid/policies/ccda.yaml"), "ccda"));
    documents.ccda().expect("a policy for CDA")
}

pub fn warm() {
    recipe();
}

fn out(batches: &[DocumentBatch]) -> (Vec<String>, Vec<(String, String)>) {
    let (mut documents, mut failures) = (Vec::new(), Vec::new());
    for batch in batches {
        let output = recipe().apply(batch, &env()).unwrap_or_else(|error| panic!("{error}"));
        for (_, rows) in output.tables.iter().filter(|(table, _)| table == "document") {
            let column = rows.column_by_name("xml").expect("the column").as_string_view();
            documents.extend(column.iter().map(|text| text.expect("a document").to_owned()));
        }
        failures.extend(output.failures.iter().map(|failure| (failure.path.clone(), failure.reason.to_string())));
        assert!(output.documents as usize + output.failures.len() == batch.documents.len(), "a document is nowhere");
    }
    (documents, failures)
}

/// What comes out is a document, and is the same however the input was cut into batches.
pub fn apply(data: &[u8]) {
    let done = out(&batches(data, usize::MAX, LARGE));
    for text in done.0.iter().take(32) {
        parse(text.clone());
    }
    assert!(out(&batches(data, usize::MAX, sizes(data).1)) == done, "other results in other batches");
}
