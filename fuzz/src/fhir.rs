//! FHIR documents, and the shipped policy on them.

use std::sync::OnceLock;

use arrow_array::cast::AsArray;
use cordon_deid::document::Documents;
use cordon_deid::fhir::FhirRecipe;
use cordon_formats::fhir::{Kind, Origin, ReadOptions, RejectReason, ResourceBatch, ResourceReader, TypeId};

use crate::kernels::{env, shipped};
use crate::pieces::{Dribble, LARGE, sizes};

const OPTIONS: ReadOptions = ReadOptions { max_line_bytes: 64 << 10, max_document_bytes: 1 << 20, max_depth: 64 };

/// All batches; `None` when the stream cannot be read.
fn batches(bytes: &[u8], chunk: usize, batch_bytes: usize) -> Option<Vec<ResourceBatch>> {
    let mut reader = ResourceReader::new(Dribble(bytes, chunk), OPTIONS);
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch(batch_bytes).ok()? {
        all.push(batch);
    }
    Some(all)
}

#[derive(Default, PartialEq)]
struct Seen {
    resources: Vec<(TypeId, String, String, Origin)>,
    rejects: Vec<(Origin, RejectReason, Vec<u8>, u64)>,
}

fn seen(batches: &[ResourceBatch]) -> Seen {
    let mut seen = Seen::default();
    for batch in batches {
        for (index, resource) in batch.resources.iter().enumerate() {
            let (raw, alone) = (batch.resource(index).to_owned(), batch.standalone(index).into_owned());
            seen.resources.push((resource.type_id, raw, alone, resource.origin));
        }
        let reject = |one: &cordon_formats::fhir::Reject| (one.origin, one.reason, one.raw.clone(), one.cut);
        seen.rejects.extend(batch.rejects.iter().map(reject));
    }
    // Within a batch, what had to be mended comes last: files are the same, orders need not be.
    seen.resources.sort_by(|one, other| (one.3, &one.1).cmp(&(other.3, &other.1)));
    seen.rejects.sort_by(|one, other| (one.0, &one.2).cmp(&(other.0, &other.2)));
    seen
}

pub fn read(data: &[u8]) {
    let whole = batches(data, usize::MAX, LARGE);
    let (chunk, batch_bytes) = sizes(data);
    let pieces = batches(data, chunk, batch_bytes);
    assert!(whole.as_deref().map(seen) == pieces.as_deref().map(seen), "other resources in pieces");
    let Some(whole) = whole else { return };
    for batch in &whole {
        tape(batch);
        for (index, resource) in batch.resources.iter().enumerate().take(32) {
            let text = batch.resource(index);
            serde_json::from_str::<serde::de::IgnoredAny>(text).expect("a resource is JSON");
            for text in [text, &*batch.standalone(index)] {
                let again = batches(text.as_bytes(), usize::MAX, LARGE).expect("it was one already");
                // A Bundle alone is opened, where one in another is a resource.
                if cordon_formats::fhir::r4().get(resource.type_id).name == "Bundle" {
                    continue;
                }
                let again = seen(&again);
                assert!(again.rejects.is_empty() && again.resources.len() == 1);
                assert!(again.resources[0].0 == resource.type_id && again.resources[0].1 == text, "it reads otherwise");
            }
        }
    }
}

/// Tokens lie in the text, on boundaries of characters, and within what holds them.
fn tape(batch: &ResourceBatch) {
    for (at, token) in batch.tape.iter().enumerate() {
        assert!(batch.text.get(token.start as usize..token.end as usize).is_some());
        assert!(token.next as usize > at && token.next as usize <= batch.tape.len());
        let inside = &batch.tape[at + 1..token.next as usize];
        if matches!(token.kind, Kind::Object | Kind::Array) {
            let (first, last) = (inside.first(), inside.last());
            assert!(first.is_none_or(|first| first.start > token.start));
            assert!(last.is_none_or(|last| last.end < token.end));
        }
    }
    for resource in &batch.resources {
        assert!(batch.text.get(resource.span.clone()).is_some());
        assert!(batch.tape[resource.token as usize].kind == Kind::Object);
    }
}

fn recipe() -> &'static FhirRecipe {
    static RECIPE: OnceLock<Documents> = OnceLock::new();
    let documents = RECIPE.get_or_init(|| shipped(include_str!("../../crates/deid/policies/fhir-r4.yaml"), "fhir"));
    documents.fhir().expect("a policy for FHIR")
}

pub fn warm() {
    recipe();
}

/// Table and resource of what came out, and where rules failed.
type Out = (Vec<(String, String)>, Vec<(String, String)>);

fn out(batches: &[ResourceBatch]) -> Out {
    let (mut resources, mut failures) = (Vec::new(), Vec::new());
    for batch in batches {
        let output = recipe().apply(batch, &env()).unwrap_or_else(|error| panic!("{error}"));
        for (table, rows) in &output.tables {
            let column = rows.column_by_name("resource").expect("the column").as_string_view();
            resources.extend(column.iter().map(|json| (table.clone(), json.expect("a resource").to_owned())));
        }
        failures.extend(output.failures.iter().map(|failure| (failure.path.clone(), failure.reason.to_string())));
        let listed = output.tables.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>();
        let excluded: u64 = output.excluded.values().sum();
        assert_eq!(listed + output.failures.len() + excluded as usize, batch.len(), "a resource is nowhere");
    }
    resources.sort();
    failures.sort();
    (resources, failures)
}

/// What comes out is a resource of its table, and is the same however the input was cut into batches.
pub fn apply(data: &[u8]) {
    let Some(whole) = batches(data, usize::MAX, LARGE) else { return };
    let done = out(&whole);
    for (table, resource) in done.0.iter().take(32) {
        let again = batches(resource.as_bytes(), usize::MAX, LARGE).expect("text");
        let count = again.iter().map(|batch| batch.len() + batch.rejects.len()).sum::<usize>();
        assert!(again.iter().all(|batch| batch.rejects.is_empty()), "what came out of {table} is not FHIR");
        assert!(count == 1 || table == "Bundle", "{count} resources in one of {table}");
    }
    let single = batches(data, usize::MAX, sizes(data).1).expect("as before");
    assert!(out(&single) == done, "other results in other batches");
}
