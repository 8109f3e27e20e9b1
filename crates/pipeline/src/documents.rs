//! Batches of documents, whatever their format: the rules they go by, and what came of them.

use arrow_array::RecordBatch;
use cordon_deid::ccda::CcdaRecipe;
use cordon_deid::dicom::DicomRecipe;
use cordon_deid::document::DocumentOutput;
use cordon_deid::fhir::FhirRecipe;
use cordon_deid::hl7v2::Hl7v2Recipe;
use cordon_deid::kernel::{Env, KernelError};
use cordon_deid::survey::Survey;
use cordon_deid::tally::Tally;
use cordon_deid::x12::X12Recipe;
use cordon_formats::ccda;
use cordon_formats::dicom;
use cordon_formats::fhir::ResourceBatch;
use cordon_formats::hl7v2::{MessageBatch, RecordKind};
use cordon_formats::x12::{self, TransactionBatch};

use crate::state::LeftOut;

/// Documents on their way to a worker.
pub(crate) enum DocumentBatch<'a> {
    Fhir(&'a FhirRecipe, Box<ResourceBatch>),
    Hl7v2(&'a Hl7v2Recipe, Box<MessageBatch>),
    Ccda(&'a CcdaRecipe, Box<ccda::DocumentBatch>),
    X12(&'a X12Recipe, Box<TransactionBatch>),
    Dicom(&'a DicomRecipe, Vec<dicom::Document>),
}

/// What came of a batch of documents.
pub(crate) struct Came {
    pub tables: Vec<(String, RecordBatch)>,
    /// Documents: read, written, left out as the policy wants it.
    pub read: u64,
    pub written: u64,
    pub excluded: u64,
    pub failures: Vec<Failed>,
    pub left_out: LeftOut,
    pub tally: Tally,
}

/// A document that a rule could not handle. It holds PHI: no `Debug`.
pub(crate) struct Failed {
    pub line: u64,
    pub path: String,
    pub reason: String,
    /// As it can be read again alone.
    pub raw: Vec<u8>,
}

impl DocumentBatch<'_> {
    /// How many documents there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Fhir(_, batch) => batch.len() as u64,
            Self::Hl7v2(_, batch) => messages(batch),
            Self::Ccda(_, batch) => batch.documents.len() as u64,
            Self::X12(_, batch) => sets(batch),
            Self::Dicom(_, files) => files.len() as u64,
        }
    }

    /// Tells whose documents these are.
    pub fn survey(&self, survey: &mut Survey) {
        match self {
            Self::Fhir(recipe, batch) => recipe.survey(batch, survey),
            Self::Hl7v2(recipe, batch) => recipe.survey(batch, survey),
            Self::Ccda(recipe, batch) => recipe.survey(batch, survey),
            Self::X12(recipe, batch) => recipe.survey(batch, survey),
            Self::Dicom(recipe, files) => recipe.survey(files, survey),
        }
    }

    pub fn apply(&self, env: &Env) -> Result<Came, KernelError> {
        match self {
            Self::Fhir(recipe, batch) => {
                let output = recipe.apply(batch, env)?;
                let failures = output.failures.iter().map(|failure| Failed {
                    line: batch.origin(failure.index).map_or(0, position),
                    path: failure.path.clone(),
                    reason: failure.reason.to_string(),
                    raw: batch.standalone(failure.index).as_bytes().to_vec(),
                });
                let failures = failures.collect();
                let excluded = output.excluded.values().sum::<u64>();
                Ok(Came {
                    read: batch.len() as u64,
                    written: output.tables.iter().map(|(_, rows)| rows.num_rows() as u64).sum(),
                    excluded,
                    failures,
                    tables: output.tables,
                    tally: output.tally,
                    left_out: LeftOut {
                        elements: output.undeclared,
                        unlisted: output.unlisted,
                        references: output.unresolved_references,
                        excluded: output.excluded,
                    },
                })
            }
            Self::Hl7v2(recipe, batch) => Ok(came(recipe.apply(batch, env)?, messages(batch), |index| {
                (batch.records.get(index).map_or(0, |record| record.line), batch.raw(index).to_vec())
            })),
            Self::Ccda(recipe, batch) => Ok(came(recipe.apply(batch, env)?, batch.documents.len() as u64, |index| {
                let document = batch.documents.get(index);
                document.map_or((0, Vec::new()), |document| (document.line, document.text().as_bytes().to_vec()))
            })),
            Self::X12(recipe, batch) => Ok(came(recipe.apply(batch, env)?, sets(batch), |index| {
                let record = batch.records.get(index);
                // Without its envelope a set cannot be read.
                record
                    .map_or((0, Vec::new()), |record| (record.line, record.envelope.interchange_of([batch.raw(index)])))
            })),
            Self::Dicom(recipe, files) => Ok(came(recipe.apply(files, env)?, files.len() as u64, |index| {
                // As it was read: without changes nothing can fail to fit.
                let raw = files.get(index).and_then(|file| file.write(&[], &[]).ok());
                (1, raw.unwrap_or_default())
            })),
        }
    }
}

/// What came of documents that are changed in place. `place` gives a document's line and text by its number.
fn came(output: DocumentOutput, read: u64, place: impl Fn(usize) -> (u64, Vec<u8>)) -> Came {
    let failures = output.failures.into_iter().map(|failure| {
        let (line, raw) = place(failure.index);
        Failed { line, path: failure.path, reason: failure.reason.to_string(), raw }
    });
    Came {
        read,
        written: output.documents,
        excluded: 0,
        failures: failures.collect(),
        tables: output.tables,
        tally: output.tally,
        left_out: LeftOut { elements: output.undeclared, ..LeftOut::default() },
    }
}

fn messages(batch: &MessageBatch) -> u64 {
    batch.records.iter().filter(|record| record.kind == RecordKind::Message).count() as u64
}

fn sets(batch: &TransactionBatch) -> u64 {
    batch.records.iter().filter(|record| record.kind == x12::RecordKind::Transaction).count() as u64
}

/// Where a resource stood: its line, or its place among a bundle's entries, from one.
pub(crate) fn position(origin: cordon_formats::fhir::Origin) -> u64 {
    origin.entry.map_or(origin.line, |entry| entry + 1)
}
