//! A compiled policy: what runs, in every engine.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, StringViewArray, new_null_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use chrono::NaiveDate;
use cordon_phi::{IdentifierKind, Method};
use indexmap::IndexMap;
use thiserror::Error;

pub use crate::allow::Allow;
use crate::allow::blanked;
use crate::document::Documents;
use crate::kernel::{Column, Env, Kernel, KernelError, Reason, SpanUnit, tokens_of, trimmed};
use crate::policy::file::{Action, Undeclared};
use crate::row_facts::RowFacts;
use crate::survey::Survey;
use crate::tally::{Class, Spans, Tally, Values};

/// Arrow field metadata: the identifier kind that a column was made from.
pub const KIND_KEY: &str = "cordon.kind";
/// Arrow field metadata: the class of key that protects the column.
pub const KEY_CLASS_KEY: &str = "cordon.key-class";
/// Arrow field metadata: the action that made the column.
pub const ACTION_KEY: &str = "cordon.action";

/// Arrow field metadata: by how many days at most the column's dates were moved.
pub const SHIFT_DAYS_KEY: &str = "cordon.shift-days";

/// Arrow field metadata: the values hardly repeat, so a dictionary would only cost.
pub const ENTROPY_KEY: &str = "cordon.entropy";

/// Arrow field metadata: `true` for the column that says whose a row is, by which persons are counted where only aggregates may leave.
pub const SUBJECT_KEY: &str = "cordon.subject";

/// A checked policy, ready to run. Nothing after this re-validates.
pub struct Recipe {
    pub name: String,
    pub description: Option<String>,
    pub method: Method,
    /// SHA-256 of the policy's text, hexadecimal.
    pub hash: String,
    pub reference_date: NaiveDate,
    /// The day on which nobody may show as over 89: under Safe Harbor the later of reference date and run.
    pub ages_capped_at: NaiveDate,
    pub tables: IndexMap<String, TableRecipe>,
    pub documents: IndexMap<String, Documents>,
}

/// The rules of one table.
pub struct TableRecipe {
    pub name: String,
    /// The field that says whose record a row is.
    pub subject: Option<String>,
    pub undeclared: Undeclared,
    pub rules: Vec<FieldRule>,
    /// The token domain that seeds surrogates, where they may not come from the identity itself.
    pub(crate) seed_domain: Option<String>,
    /// A pipeline declares who people are: shifted dates and scrubbed text follow from the token too.
    pub(crate) linked: bool,
    /// The columns whose values mean the person, each with its namespace.
    pub(crate) identities: Vec<(String, String)>,
}

/// One rule: from an input field to an output column.
pub struct FieldRule {
    pub input: String,
    pub output: String,
    pub kind: IdentifierKind,
    pub action: Action,
    /// The action is the method's default.
    pub defaulted: bool,
    /// `None`: the field is dropped.
    pub kernel: Option<Kernel>,
    pub optional: bool,
    pub limits: Limits,
    pub because: Option<String>,
}

/// What of a kept field does not stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// All but these values become blank.
    pub allow: Option<Allow>,
    /// The value becomes blank where another field has one of these values.
    pub blank_where: Vec<(String, Vec<String>)>,
    /// The field that holds the unit by which a span over 89 years is known.
    pub unit: Option<String>,
}

impl Limits {
    /// Of two rules on one field the narrower of each limit.
    pub(crate) fn or(self, other: &Self) -> Self {
        let mut blank_where = self.blank_where;
        blank_where
            .extend(other.blank_where.iter().filter(|limit| !blank_where.contains(limit)).cloned().collect::<Vec<_>>());
        Self {
            allow: self.allow.or_else(|| other.allow.clone()),
            blank_where,
            unit: self.unit.or_else(|| other.unit.clone()),
        }
    }
}

/// A file does not fit its dataset's declaration.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BindError {
    #[error(
        "the file lacks the declared column{} {}; declare it `optional: true` if files may lack it",
        if .0.len() == 1 { "" } else { "s" },
        quoted(.0)
    )]
    Missing(Vec<String>),
    #[error(
        "the file has the undeclared column{} {} and the policy says `undeclared: fail`; declare each with its kind",
        if .0.len() == 1 { "" } else { "s" },
        quoted(.0)
    )]
    Undeclared(Vec<String>),
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A value that a rule could not handle: its row goes to quarantine.
#[derive(Clone, Debug)]
pub struct RowFailure {
    pub row: usize,
    pub field: String,
    pub reason: Reason,
}

/// What came of one batch.
pub struct Applied {
    pub batch: RecordBatch,
    /// Ascending by row, at most one a row; these rows are not in `batch`.
    pub failures: Vec<RowFailure>,
    /// What was found in the rows of `batch`, and what was done with it.
    pub tally: Tally,
}

impl TableRecipe {
    /// The schema of the output, the same for every file.
    pub fn schema(&self) -> SchemaRef {
        // A person must be the same in all rows and nobody else's: not so a year, a range or a made-up name.
        let tells_persons = |rule: &&FieldRule| {
            let is_whole = matches!(rule.action, Action::Token | Action::Hash | Action::Encrypt | Action::Keep);
            Some(&rule.input) == self.subject.as_ref() && rule.kernel.is_some() && is_whole
        };
        let subject = self.rules.iter().find(tells_persons).map(|rule| &rule.output);
        let fields: Vec<Field> = self
            .rules
            .iter()
            .filter_map(|rule| {
                let kernel = rule.kernel.as_ref()?;
                let mut metadata = column_metadata(rule.kind, rule.action);
                if subject == Some(&rule.output) {
                    metadata.insert(SUBJECT_KEY.to_owned(), "true".to_owned());
                }
                if let Some((_, most)) = kernel.shift() {
                    metadata.insert(SHIFT_DAYS_KEY.to_owned(), most.to_string());
                }
                Some(Field::new(&rule.output, kernel.output_type(), true).with_metadata(metadata))
            })
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// Fits the recipe to one file's columns. Says which columns pass undeclared, that is: not at all.
    pub fn bind(&self, columns: &[String]) -> Result<BoundTable<'_>, BindError> {
        let find = |name: &str| columns.iter().position(|column| column == name);
        let mut missing = Vec::new();
        let mut steps = Vec::new();
        for rule in &self.rules {
            let input = find(&rule.input);
            if input.is_none() && !rule.optional && !missing.contains(&rule.input) {
                missing.push(rule.input.clone());
            }
            if let Some(kernel) = &rule.kernel {
                let blank =
                    rule.limits.blank_where.iter().map(|(field, values)| (find(field), values.as_slice())).collect();
                let unit = rule.limits.unit.as_deref().and_then(find);
                steps.push(Step { rule, kernel, input, blank, unit });
            }
        }
        if !missing.is_empty() {
            return Err(BindError::Missing(missing));
        }
        let undeclared: Vec<String> =
            columns.iter().filter(|column| !self.rules.iter().any(|rule| rule.input == **column)).cloned().collect();
        if !undeclared.is_empty() && self.undeclared == Undeclared::Fail {
            return Err(BindError::Undeclared(undeclared));
        }
        let dropped = self.rules.iter().filter(|rule| rule.kernel.is_none());
        let dropped = dropped.filter_map(|rule| Some((find(&rule.input)?, Class::of(rule.kind, rule.action))));
        let nameless = (0..).zip(columns).filter(|(_, column)| undeclared.contains(column));
        let gone = dropped.chain(nameless.map(|(at, _)| (at, Class::UNDECLARED))).collect();
        let subject = self.subject.as_deref().and_then(find);
        let conditions =
            |step: &Step<'_>| -> Vec<usize> { step.blank.iter().filter_map(|(at, _)| *at).chain(step.unit).collect() };
        let needed = steps.iter().flat_map(conditions).chain(steps.iter().filter_map(|step| step.input));
        let identities: Vec<(usize, &str)> = self
            .identities
            .iter()
            .filter_map(|(column, namespace)| Some((find(column)?, namespace.as_str())))
            .collect();
        let facts = if identities.is_empty() { RowFacts::default() } else { RowFacts::new(&self.rules, columns) };
        let needed = needed.chain(subject).chain(identities.iter().map(|(at, _)| *at)).chain(facts.needed()).collect();
        Ok(BoundTable {
            recipe: self,
            schema: self.schema(),
            steps,
            subject,
            identities,
            facts,
            undeclared,
            needed,
            gone,
        })
    }
}

/// What a column's reader needs to know of it: its kind, its key, its making.
pub fn column_metadata(kind: IdentifierKind, action: Action) -> std::collections::HashMap<String, String> {
    let random = matches!(action, Action::Token | Action::Hash | Action::Encrypt);
    [(KIND_KEY, kind.name()), (KEY_CLASS_KEY, kind.key_class().name()), (ACTION_KEY, action.name())]
        .into_iter()
        .chain(random.then_some((ENTROPY_KEY, "high")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The schema with the named column marked as the one that says whose a row is, where there is such a column.
pub(crate) fn with_subject(schema: &Schema, name: &str) -> Schema {
    let mark = |field: &Arc<Field>| {
        if field.name() != name {
            return Arc::clone(field);
        }
        let mut metadata = field.metadata().clone();
        metadata.insert(SUBJECT_KEY.to_owned(), "true".to_owned());
        Arc::new(field.as_ref().clone().with_metadata(metadata))
    };
    Schema::new(schema.fields().iter().map(mark).collect::<Vec<_>>())
}

struct Step<'a> {
    rule: &'a FieldRule,
    kernel: &'a Kernel,
    /// Position in the file; `None` for an optional field that the file lacks.
    input: Option<usize>,
    /// Where the fields stand that can make the value blank; `None` for one that the file lacks.
    blank: Vec<(Option<usize>, &'a [String])>,
    /// Where the value's unit stands.
    unit: Option<usize>,
}

impl Step<'_> {
    /// The input without what may not stay of it.
    fn limited(&self, batch: &RecordBatch, mut values: StringViewArray) -> StringViewArray {
        if let Some(allow) = &self.rule.limits.allow {
            values = allow.apply(&values);
        }
        for (at, refused) in &self.blank {
            // What cannot be asked is not known to be harmless.
            let Some(at) = at else { return StringViewArray::new_null(values.len()) };
            let others = text_column(batch, *at);
            let is_refused = |text: &str| refused.iter().any(|word| word.eq_ignore_ascii_case(trimmed(text)));
            let gone: BooleanArray = others.iter().map(|other| Some(other.is_some_and(is_refused))).collect();
            values = blanked(&values, &gone);
        }
        match self.unit {
            Some(at) => capped_spans(&values, &text_column(batch, at)),
            None if self.rule.limits.unit.is_some() => StringViewArray::new_null(values.len()),
            None => values,
        }
    }
}

/// Spans of 90 years and more as 90 years; what is in a unit of time and no number is blank.
fn capped_spans(values: &StringViewArray, units: &StringViewArray) -> StringViewArray {
    let spans = values.iter().zip(units).map(|(value, unit)| {
        let value = value?;
        let Some(unit) = unit.and_then(SpanUnit::of) else { return Some(std::borrow::Cow::Borrowed(value)) };
        unit.cap(value).map_or_else(
            || trimmed(value).parse::<f64>().is_ok().then_some(std::borrow::Cow::Borrowed(value)),
            |capped| Some(capped.into()),
        )
    });
    spans.collect()
}

/// What a step made of its column.
struct Made {
    /// As they were sent.
    values: StringViewArray,
    /// Where nothing came of them.
    nulls: Option<NullBuffer>,
    spans: Option<Box<Spans>>,
    class: Class,
}

/// Whether a cell is not blank.
#[inline]
fn is_there(values: &StringViewArray, row: usize) -> bool {
    values.is_valid(row) && !trimmed(values.value(row)).is_empty()
}

/// A recipe fitted to one file.
pub struct BoundTable<'a> {
    recipe: &'a TableRecipe,
    schema: SchemaRef,
    steps: Vec<Step<'a>>,
    subject: Option<usize>,
    /// Where the identifiers of the person stand, each with its namespace.
    identities: Vec<(usize, &'a str)>,
    /// What else the rows say of the person.
    facts: RowFacts,
    /// Columns of the file that the policy does not name: they do not pass.
    pub undeclared: Vec<String>,
    /// Positions of the columns that any rule reads; the others need not be decoded.
    pub needed: std::collections::BTreeSet<usize>,
    /// Columns of which nothing is in the output: dropped by a rule, or undeclared.
    gone: Vec<(usize, Class)>,
}

impl BoundTable<'_> {
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What was found in the rows that are good, and what was done with it.
    fn tally(&self, batch: &RecordBatch, made: &[Made], good: Option<&[bool]>) -> Tally {
        let mut tally = Tally::default();
        let is_good = |row: usize| good.is_none_or(|good| good.get(row).copied().unwrap_or(false));
        for Made { values, nulls, spans, class } in made {
            let (mut done, mut left_empty) = (0, 0);
            for row in (0..values.len()).filter(|row| is_there(values, *row) && is_good(*row)) {
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    done += 1;
                } else {
                    left_empty += 1;
                }
            }
            if class.is_emptied() {
                (done, left_empty) = (done + left_empty, 0);
            }
            tally.count(Values { class: *class, count: done });
            tally.count(Values { class: class.left_empty(), count: left_empty });
            if let Some(spans) = spans {
                for row in (0..values.len()).filter(|row| is_good(*row)) {
                    tally.count_spans(Some(spans), row);
                }
            }
        }
        for (at, class) in &self.gone {
            let values = text_column(batch, *at);
            let there = (0..values.len()).filter(|row| is_there(&values, *row) && is_good(*row));
            tally.count(Values { class: *class, count: there.count() as u32 });
        }
        tally
    }

    /// What was dropped of columns that were not decoded, of which nothing is known but where they hold something; rows by their
    /// number in what was read.
    pub fn tally_unread(&self, there: &[Option<NullBuffer>], rows: &(impl Iterator<Item = usize> + Clone)) -> Tally {
        let mut tally = Tally::default();
        for (at, class) in self.gone.iter().filter(|(at, _)| !self.needed.contains(at)) {
            let Some(nulls) = there.get(*at) else { continue };
            let count = match nulls {
                None => rows.clone().count(),
                Some(nulls) => rows.clone().filter(|row| *row < nulls.len() && nulls.is_valid(*row)).count(),
            };
            tally.count(Values { class: *class, count: count as u32 });
        }
        tally
    }

    /// De-identifies one batch whose columns are all text.
    ///
    /// Rows that a rule cannot handle are left out and named in [`Applied::failures`].
    pub fn apply(&self, batch: &RecordBatch, env: &Env) -> Result<Applied, KernelError> {
        let rows = batch.num_rows();
        let mut failures: Vec<RowFailure> = Vec::new();
        let subjects = self.subject.map(|at| text_column(batch, at));
        if let (Some(subjects), Some(field)) = (&subjects, &self.recipe.subject) {
            let nameless = |row: &usize| subjects.is_null(*row) || trimmed(subjects.value(*row)).is_empty();
            failures.extend((0..rows).filter(nameless).map(|row| RowFailure {
                row,
                field: field.clone(),
                reason: Reason::NoSubject,
            }));
        }
        let seeds = self.seeds(subjects.as_ref(), env)?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.steps.len());
        let mut made = Vec::with_capacity(self.steps.len());
        for (step, field) in self.steps.iter().zip(self.schema.fields()) {
            let Some(at) = step.input else {
                columns.push(new_null_array(field.data_type(), rows));
                continue;
            };
            let sent = text_column(batch, at);
            let values = step.limited(batch, sent.clone());
            let seeded = self.recipe.linked || matches!(step.kernel, Kernel::Surrogate(_));
            let subjects = if seeded { seeds.as_ref() } else { subjects.as_ref() };
            let mut spans = None;
            let outcome = step.kernel.apply_telling(&Column { values: &values, subjects }, env, &mut spans)?;
            failures.extend(outcome.failures.into_iter().map(|failure| RowFailure {
                row: failure.row,
                field: step.rule.input.clone(),
                reason: failure.reason,
            }));
            made.push(Made {
                values: sent,
                nulls: outcome.values.logical_nulls(),
                spans,
                class: Class::of(step.rule.kind, step.rule.action),
            });
            columns.push(outcome.values);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let output = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|_| KernelError::Shape)?;
        if failures.is_empty() {
            return Ok(Applied { batch: output, failures, tally: self.tally(batch, &made, None) });
        }
        failures.sort_by_key(|failure| failure.row);
        failures.dedup_by_key(|failure| failure.row);
        let mut good = vec![true; rows];
        for failure in &failures {
            if let Some(flag) = good.get_mut(failure.row) {
                *flag = false;
            }
        }
        let tally = self.tally(batch, &made, Some(&good));
        let batch = arrow_select::filter::filter_record_batch(&output, &BooleanArray::from(good))
            .map_err(|_| KernelError::Shape)?;
        Ok(Applied { batch, failures, tally })
    }

    /// Tells whose rows these are: the identifiers that each gives, and what it says of the person. A row that says what the one before
    /// said adds nothing.
    pub fn survey(&self, batch: &RecordBatch, survey: &mut Survey) {
        let columns: Vec<_> =
            self.identities.iter().map(|(at, namespace)| (text_column(batch, *at), *namespace)).collect();
        let facts = self.facts.rows(batch);
        for row in 0..batch.num_rows() {
            let same = |values: &StringViewArray| {
                row > 0
                    && values.is_valid(row) == values.is_valid(row - 1)
                    && (values.is_null(row) || values.value(row) == values.value(row - 1))
            };
            if columns.iter().all(|(values, _)| same(values)) && facts.columns().all(same) {
                continue;
            }
            for (values, namespace) in columns.iter().filter(|(values, _)| values.is_valid(row)) {
                survey.identifier(namespace, values.value(row));
            }
            facts.row(row, survey);
            survey.end_person();
        }
    }

    /// What kernels that ask for a subject are given: its random token, or (by expert determination) the identity.
    fn seeds(&self, subjects: Option<&StringViewArray>, env: &Env) -> Result<Option<StringViewArray>, KernelError> {
        let wanted = |step: &Step<'_>| match step.kernel {
            Kernel::Surrogate(_) => true,
            kernel => self.recipe.linked && kernel.needs_subject(),
        };
        match (subjects, &self.recipe.seed_domain) {
            (Some(subjects), Some(domain)) if self.steps.iter().any(wanted) => {
                tokens_of(subjects, domain, env).map(Some)
            }
            (subjects, _) => Ok(subjects.cloned()),
        }
    }
}

pub(crate) fn text_column(batch: &RecordBatch, at: usize) -> StringViewArray {
    batch.columns().get(at).map_or_else(|| StringViewArray::new_null(batch.num_rows()), text_array)
}

/// The array as text views; sources deliver nothing else.
fn text_array(array: &ArrayRef) -> StringViewArray {
    if let Some(text) = array.as_any().downcast_ref::<StringViewArray>() {
        return text.clone();
    }
    arrow_cast::cast(array, &DataType::Utf8View)
        .ok()
        .and_then(|cast| cast.as_any().downcast_ref::<StringViewArray>().cloned())
        .unwrap_or_else(|| StringViewArray::new_null(array.len()))
}
