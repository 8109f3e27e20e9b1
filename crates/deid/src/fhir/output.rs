//! From a batch of resources to tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{Array, ArrayRef, RecordBatch, StringViewArray, UInt32Array, new_null_array};
use cordon_formats::fhir::{ResourceBatch, TypeId};
use thiserror::Error;

use super::emit::{self, Desk, Results, Sources};
use super::plan::{Cell, Op, Planned};
use super::recipe::{Counts, FhirRecipe, Source, Table};
use super::walk::{OTHER, Walk};
use crate::kernel::narrative::person::{PROVIDER, identity_of_other};
use crate::kernel::{Column, Env, Kernel, KernelError, Outcome, Reason, seeds_of_others, text_of, tokens_of};
use crate::tally::{Spans, Tally};

/// What came of a batch. It holds what the policy lets out, and nothing else.
pub struct FhirOutput {
    /// A table for each resource type in the batch, in the order in which the types came.
    pub tables: Vec<(String, RecordBatch)>,
    /// Resources that a rule could not handle, by their number in the batch; these are in no table.
    pub failures: Vec<FhirFailure>,
    /// Elements that were left out because FHIR R4 does not define them there, because their value is not of the form that
    /// it should have, or because no rule is for them, by path. A name that FHIR does not know at
    /// all shows as `?`.
    pub undeclared: Counts,
    /// Extensions, identifiers and addresses of definitions that were left out because the policy does not list them, by
    /// path.
    pub unlisted: Counts,
    /// References that were left out because they do not say what they point to.
    pub unresolved_references: u64,
    /// Resources of types that the policy excludes, by type.
    pub excluded: Counts,
    /// What was found in the resources that made it, or were excluded, and what was done with it.
    pub tally: Tally,
}

/// A resource that is in no table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FhirFailure {
    /// Its number in the batch.
    pub index: usize,
    pub path: String,
    pub reason: FailureReason,
}

/// Why a resource failed. Says what kind of trouble, never a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FailureReason {
    #[error(transparent)]
    Value(#[from] Reason),
    #[error("the element is not declared, and the policy says `undeclared: fail`")]
    Undeclared,
    #[error("the policy does not list it, and says `undeclared: fail`")]
    Unlisted,
    #[error("a modifier extension that the policy does not list: without it the resource could mean its opposite")]
    ModifierExtension,
    #[error("without what is left out of its header it would be read otherwise")]
    Header,
}

/// What kernels made, and what was replaced in scrubbed texts; by column.
type Ran = (Vec<Option<Outcome>>, Vec<Option<Box<Spans>>>);

impl FhirRecipe {
    /// De-identifies one batch. `Err` means that nothing of it may be used.
    pub fn apply(&self, batch: &ResourceBatch, env: &Env) -> Result<FhirOutput, KernelError> {
        let mut walk = Walk::new(self, batch);
        let mut excluded = Counts::new();
        for resource in &batch.resources {
            if self.is_excluded(resource.type_id) {
                *excluded.entry(self.definitions.get(resource.type_id).name.to_owned()).or_insert(0) += 1;
                walk.skip(resource);
            } else {
                walk.resource(resource);
            }
        }
        let undeclared = walk
            .undeclared
            .iter()
            .map(|(&(state, name, underscore), &count)| (self.element_path(state, name, underscore), count));
        let undeclared = summed(undeclared);
        let unlisted =
            walk.unlisted.iter().map(|(&(state, name), &count)| (self.element_path(state, name, false), count));
        let unlisted = summed(unlisted);
        let unresolved_references = walk.unresolved;
        let Walk { ops, own, pieces, gathers, planned, cells, subjects, identities, others, counter, .. } = walk;
        let counts = counter.ended();
        let mut tally = Tally::default();
        let (outcomes, spans) = self.run_kernels(gathers, &subjects, &identities, &others, env)?;
        let results: Vec<Option<Results>> =
            outcomes.iter().zip(spans).map(|(outcome, spans)| Some(as_text(outcome.as_ref()?, spans))).collect();
        let sources = Sources { text: &batch.text, own: &own, pieces: &pieces, results: &results };

        let mut builders: Vec<Builder<'_>> = Vec::new();
        let mut failures = Vec::new();
        let (mut line, mut desk) = (String::new(), Desk::default());
        let (mut first_op, mut first_cell, mut first_count) = (0, 0, 0);
        for (index, (resource, plan)) in batch.resources.iter().zip(&planned).enumerate() {
            let ops = ops.get(first_op..plan.ops_end).unwrap_or_default();
            let cells = cells.get(first_cell..plan.cells_end).unwrap_or_default();
            let counts = counts.get(first_count..plan.counts_end).unwrap_or_default();
            (first_op, first_cell, first_count) = (plan.ops_end, plan.cells_end, plan.counts_end);
            let Some(table) = self.table(resource.type_id).filter(|_| !ops.is_empty()) else {
                tally.count_all(counts);
                continue;
            };
            let written = write(table, ops, plan, &sources, &mut line, &mut desk);
            match written {
                Ok(()) => {
                    tally.count_all(counts);
                    desk.count(&sources, &mut tally);
                    let at = builder_at(&mut builders, resource.type_id, table);
                    if let Some(builder) = builders.get_mut(at) {
                        builder.push(plan, cells, &line);
                    }
                }
                Err((path, reason)) => failures.push(FhirFailure { index, path, reason }),
            }
        }
        let mut tables = Vec::with_capacity(builders.len());
        for builder in builders {
            let name = builder.table.name.to_owned();
            tables.push((name, builder.finish(&sources, &outcomes, env)?));
        }
        Ok(FhirOutput { tables, failures, undeclared, unlisted, unresolved_references, excluded, tally })
    }

    /// Every kernel once, over all values that it touches in the batch.
    fn run_kernels(
        &self,
        gathers: Vec<super::gather::Gather>,
        subjects: &[Option<(u32, u32)>],
        identities: &str,
        others: &[(u32, &'static str, String)],
        env: &Env,
    ) -> Result<Ran, KernelError> {
        let mut seeds: Option<(StringViewArray, StringViewArray)> = None;
        let (mut outcomes, mut all_spans) = (Vec::with_capacity(gathers.len()), Vec::with_capacity(gathers.len()));
        for (gather, rule) in gathers.into_iter().zip(&self.kernels) {
            if gather.is_empty() {
                outcomes.push(None);
                all_spans.push(None);
                continue;
            }
            let (values, resources) = gather.finish();
            let whose = match resources {
                None => None,
                Some(resources) => {
                    let seeded = self.linked || matches!(rule.kernel, Kernel::Surrogate(_));
                    if seeds.is_none() && seeded {
                        let own = self.seeds(subjects, identities, env)?;
                        let others = self.other_seeds(&own, others, env)?;
                        seeds = Some((own, others));
                    }
                    let seeds = seeds.as_ref().filter(|_| seeded);
                    Some(whose(&resources, subjects, identities, seeds))
                }
            };
            let values = rule.allow.as_ref().map_or_else(|| values.clone(), |allow| allow.apply(&values));
            let mut spans = None;
            let column = Column { values: &values, subjects: whose.as_ref() };
            outcomes.push(Some(rule.kernel.apply_telling(&column, env, &mut spans)?));
            all_spans.push(spans);
        }
        Ok((outcomes, all_spans))
    }

    /// What surrogates, and with declared identities all that follows from a person, are made from, one for each resource: as for
    /// tables, the subject's random token where the method forbids what is derived from the person.
    fn seeds(
        &self,
        subjects: &[Option<(u32, u32)>],
        identities: &str,
        env: &Env,
    ) -> Result<StringViewArray, KernelError> {
        let all: Vec<u32> = (0..subjects.len() as u32).collect();
        let identities = whose(&all, subjects, identities, None);
        let Some(domain) = &self.seed_domain else { return Ok(identities) };
        tokens_of(&identities, domain, env)
    }
}

impl FhirRecipe {
    /// What the surrogates of people who are not the subject are made from: as in every format and in notes.
    fn other_seeds(
        &self,
        own: &StringViewArray,
        others: &[(u32, &'static str, String)],
        env: &Env,
    ) -> Result<StringViewArray, KernelError> {
        let identities: StringViewArray = others
            .iter()
            .map(|(resource, role, name)| {
                let at = *resource as usize;
                let subject = if *role != PROVIDER && at < own.len() && own.is_valid(at) { own.value(at) } else { "" };
                Some(identity_of_other(role, subject, name))
            })
            .collect();
        if self.seed_domain.is_none() || others.is_empty() {
            return Ok(identities);
        }
        seeds_of_others(&identities, env)
    }
}

fn write(
    table: &Table,
    ops: &[Op],
    plan: &Planned,
    sources: &Sources<'_>,
    line: &mut String,
    desk: &mut Desk,
) -> Result<(), (String, FailureReason)> {
    if let Some((path, reason)) = &plan.failed {
        return Err((path.clone(), *reason));
    }
    line.clear();
    emit::resource(ops, sources, line, desk)
        .map_err(|unfit| (format!("{}.{}", table.name, unfit.path), FailureReason::Value(unfit.reason)))
}

/// For each value the identity (or seed) of its resource's subject.
fn whose(
    resources: &[u32],
    subjects: &[Option<(u32, u32)>],
    identities: &str,
    seeds: Option<&(StringViewArray, StringViewArray)>,
) -> StringViewArray {
    let mut out = StringViewBuilder::with_capacity(resources.len());
    for &resource in resources {
        let at = (resource & !OTHER) as usize;
        out.append_option(match seeds.map(|(own, others)| if resource & OTHER == 0 { own } else { others }) {
            Some(seeds) => (at < seeds.len() && seeds.is_valid(at)).then(|| seeds.value(at)),
            None => subjects
                .get(at)
                .copied()
                .flatten()
                .and_then(|(start, end)| identities.get(start as usize..end as usize)),
        });
    }
    out.finish()
}

fn as_text(outcome: &Outcome, spans: Option<Box<Spans>>) -> Results {
    Results {
        spans,
        text: text_of(&outcome.values),
        failures: outcome.failures.iter().map(|failure| (failure.row as u32, failure.reason)).collect(),
    }
}

fn summed(counts: impl Iterator<Item = (String, u64)>) -> Counts {
    let mut out = BTreeMap::new();
    for (path, count) in counts {
        *out.entry(path).or_insert(0) += count;
    }
    out
}

/// The builder of a type's table, made when the first resource of the type comes.
fn builder_at<'a>(builders: &mut Vec<Builder<'a>>, type_id: TypeId, table: &'a Table) -> usize {
    builders.iter().position(|builder| builder.type_id == type_id).unwrap_or_else(|| {
        builders.push(Builder::new(type_id, table));
        builders.len() - 1
    })
}

/// A table while it is filled.
struct Builder<'a> {
    type_id: TypeId,
    table: &'a Table,
    ids: Vec<Option<Cell>>,
    subjects: Vec<Option<Cell>>,
    columns: Vec<Vec<Option<Cell>>>,
    resources: StringViewBuilder,
}

impl<'a> Builder<'a> {
    fn new(type_id: TypeId, table: &'a Table) -> Self {
        Self {
            type_id,
            table,
            ids: Vec::new(),
            subjects: Vec::new(),
            columns: table.columns.iter().map(|_| Vec::new()).collect(),
            resources: StringViewBuilder::new().with_fixed_block_size(1 << 20),
        }
    }

    fn push(&mut self, plan: &Planned, cells: &[(u16, Cell)], line: &str) {
        self.ids.push(plan.id);
        self.subjects.push(plan.subject);
        self.resources.append_value(line);
        for (at, column) in (0u16..).zip(&mut self.columns) {
            column.push(cells.iter().find(|(column, _)| *column == at).map(|(_, cell)| *cell));
        }
    }

    fn finish(
        mut self,
        sources: &Sources<'_>,
        outcomes: &[Option<Outcome>],
        env: &Env,
    ) -> Result<RecordBatch, KernelError> {
        let rows = self.ids.len();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len() + 3);
        arrays.push(Arc::new(texts(&self.ids, sources)));
        arrays.push(Arc::new(texts(&self.subjects, sources)));
        for (column, cells) in self.table.columns.iter().zip(&self.columns) {
            arrays.push(match &column.source {
                Source::Reference => Arc::new(texts(cells, sources)) as ArrayRef,
                Source::Kept(kernel) => {
                    let values = texts(cells, sources);
                    // What does not parse is null here; it stands in the resource as it was kept.
                    kernel.apply(&Column { values: &values, subjects: None }, env)?.values
                }
                Source::Gathered(gathered) => {
                    let rows: UInt32Array = cells
                        .iter()
                        .map(|cell| match cell {
                            // A span in another unit stands in the column of that unit.
                            Some(Cell::Slot { column, row }) if column == gathered => Some(*row),
                            _ => None,
                        })
                        .collect();
                    match outcomes.get(usize::from(*gathered)).and_then(Option::as_ref) {
                        Some(outcome) => {
                            arrow_select::take::take(&outcome.values, &rows, None).map_err(|_| KernelError::Shape)?
                        }
                        None => match self.table.schema.field_with_name(&column.name) {
                            Ok(field) => new_null_array(field.data_type(), rows.len()),
                            Err(_) => return Err(KernelError::Shape),
                        },
                    }
                }
            });
        }
        arrays.push(Arc::new(self.resources.finish()));
        debug_assert!(arrays.iter().all(|array| array.len() == rows));
        RecordBatch::try_new(Arc::clone(&self.table.schema), arrays).map_err(|_| KernelError::Shape)
    }
}

/// Cells as text, wherever they stand.
fn texts(cells: &[Option<Cell>], sources: &Sources<'_>) -> StringViewArray {
    let mut out = StringViewBuilder::with_capacity(cells.len());
    for cell in cells {
        out.append_option(match cell {
            None => None,
            Some(Cell::Text { start, end }) => sources.text.get(*start as usize..*end as usize),
            Some(Cell::Own { start, end }) => sources.own.get(*start as usize..*end as usize),
            Some(Cell::Slot { column, row }) => {
                let results = sources.results.get(usize::from(*column)).and_then(Option::as_ref);
                let at = *row as usize;
                results
                    .filter(|results| at < results.text.len() && results.text.is_valid(at))
                    .map(|results| results.text.value(at))
            }
        });
    }
    out.finish()
}
