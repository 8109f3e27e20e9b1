//! Documents that are changed in place: HL7 v2, X12, C-CDA.
//!
//! A format's walk meets values and says for each what is done with it ([`Settled`]). What stays is not touched, byte for
//! byte. What one rule touches in a whole batch is gathered into one column, the kernel that serves tables runs over it
//! once, and its results go back to their places as [`Change`]s of spans, which the format splices in its own spelling.
//!
//! A format adds its language of paths, its dictionary of types and its walk; the rest is here.

mod plan;
mod rules;
mod spots;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;

pub(crate) use plan::{Change, Person, Plan, Replacement, SeedBy};
pub(crate) use rules::{Identities, Issue, Rule, Rules};
pub(crate) use spots::Spots;

pub use crate::fhir::FailureReason;
use crate::fhir::recipe::RuleLine;

use arrow_schema::SchemaRef;
use cordon_phi::Method;

use crate::ccda::CcdaRecipe;
use crate::dicom::DicomRecipe;
use crate::fhir::FhirRecipe;
use crate::hl7v2::Hl7v2Recipe;
use crate::kernel::KernelError;
use crate::policy::explain::{FieldLine, why};
use crate::policy::file::Undeclared;
use crate::tally::Tally;
use crate::x12::X12Recipe;

/// Compiled rules for documents of one format.
pub enum Documents {
    Fhir(FhirRecipe),
    Hl7v2(Hl7v2Recipe),
    Ccda(Box<CcdaRecipe>),
    X12(X12Recipe),
    Dicom(Box<DicomRecipe>),
}

impl Documents {
    /// Every table that can come out, with its schema.
    pub fn schemas(&self) -> Vec<(String, SchemaRef)> {
        match self {
            Self::Fhir(recipe) => recipe.schemas(),
            Self::Hl7v2(recipe) => recipe.schemas(),
            Self::Ccda(recipe) => recipe.schemas(),
            Self::X12(recipe) => recipe.schemas(),
            Self::Dicom(recipe) => recipe.schemas(),
        }
    }

    /// What happens to what no rule names.
    pub fn undeclared(&self) -> Undeclared {
        match self {
            Self::Fhir(recipe) => recipe.undeclared(),
            Self::Hl7v2(recipe) => recipe.undeclared(),
            Self::Ccda(recipe) => recipe.undeclared(),
            Self::X12(recipe) => recipe.undeclared(),
            Self::Dicom(recipe) => recipe.undeclared(),
        }
    }

    /// How many tables an export commonly fills at once.
    pub fn open_writers(&self) -> usize {
        match self {
            Self::Fhir(recipe) => recipe.open_writers(),
            Self::Hl7v2(_) => 12,
            Self::Ccda(_) => 3,
            Self::X12(_) => 4,
            Self::Dicom(_) => 2,
        }
    }

    /// The format, in words.
    pub fn format(&self) -> &'static str {
        match self {
            Self::Fhir(_) => "FHIR documents",
            Self::Hl7v2(_) => "HL7 v2 messages",
            Self::Ccda(_) => "CDA documents",
            Self::X12(_) => "X12 transaction sets",
            Self::Dicom(_) => "DICOM files",
        }
    }

    pub fn fhir(&self) -> Option<&FhirRecipe> {
        match self {
            Self::Fhir(recipe) => Some(recipe),
            _ => None,
        }
    }

    pub fn hl7v2(&self) -> Option<&Hl7v2Recipe> {
        match self {
            Self::Hl7v2(recipe) => Some(recipe),
            _ => None,
        }
    }

    pub fn ccda(&self) -> Option<&CcdaRecipe> {
        match self {
            Self::Ccda(recipe) => Some(recipe),
            _ => None,
        }
    }

    pub fn x12(&self) -> Option<&X12Recipe> {
        match self {
            Self::X12(recipe) => Some(recipe),
            _ => None,
        }
    }

    pub fn dicom(&self) -> Option<&DicomRecipe> {
        match self {
            Self::Dicom(recipe) => Some(recipe),
            _ => None,
        }
    }

    /// Whose records a document is, in words.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Fhir(_) => "the Patient of each resource's compartment".to_owned(),
            Self::Hl7v2(recipe) => recipe.subject_text(),
            Self::Ccda(recipe) => recipe.subject_text(),
            Self::X12(recipe) => recipe.subject_text(),
            Self::Dicom(recipe) => recipe.subject_text(),
        }
    }

    pub(crate) fn explain(&self, method: Method) -> Vec<FieldLine> {
        match self {
            Self::Fhir(recipe) => crate::fhir::explain(recipe, method),
            Self::Hl7v2(recipe) => explain("fields and segments without a rule", &recipe.lines, method),
            Self::Ccda(recipe) => explain("elements and attributes without a rule", &recipe.lines, method),
            Self::X12(recipe) => explain("elements and segments without a rule", &recipe.lines, method),
            Self::Dicom(recipe) => explain("private attributes, and those without a rule", &recipe.lines, method),
        }
    }
}

/// A line for each rule, in the order of the policy; what holds without a rule comes first.
fn explain(unruled: &str, lines: &[RuleLine], method: Method) -> Vec<FieldLine> {
    let first = FieldLine {
        field: unruled.to_owned(),
        column: None,
        kind: "free-text",
        letter: cordon_phi::IdentifierKind::FreeText.clause(),
        action: "drop",
        why: "what is not declared never passes".to_owned(),
        key: "direct",
    };
    let rest = lines.iter().map(|line| FieldLine {
        field: line.place.clone(),
        column: line.column.clone(),
        kind: line.kind.name(),
        letter: line.kind.clause(),
        action: line.action.name(),
        why: line.because.clone().unwrap_or_else(|| why(method, line.kind, line.action).to_owned()),
        key: line.kind.key_class().name(),
    });
    [first].into_iter().chain(rest).collect()
}

/// Flattened rows under the schemas that say what each column is.
pub(crate) fn with_schemas(
    flat: Vec<(String, RecordBatch)>,
    schemas: &BTreeMap<String, SchemaRef>,
) -> Result<Vec<(String, RecordBatch)>, KernelError> {
    flat.into_iter()
        .map(|(name, rows)| {
            let schema = schemas.get(&name).ok_or(KernelError::Shape)?;
            let rows = rows.with_schema(Arc::clone(schema)).map_err(|_| KernelError::Shape)?;
            Ok((name, rows))
        })
        .collect()
}

/// What came of a batch of documents. It holds what the policy lets out, and nothing else.
pub struct DocumentOutput {
    /// Rows by table.
    pub tables: Vec<(String, RecordBatch)>,
    /// Documents that made it into the tables.
    pub documents: u64,
    /// Documents that a rule could not handle, by their number in the batch; these are in no table.
    pub failures: Vec<DocumentFailure>,
    /// What was left out because no rule names it, by place: never a value, and `?` for names that the format does not know.
    pub undeclared: BTreeMap<String, u64>,
    /// What was found in the documents that made it, and what was done with it.
    pub tally: Tally,
}

/// A document that is in no table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentFailure {
    /// Its number in the batch.
    pub index: usize,
    pub path: String,
    pub reason: FailureReason,
}
