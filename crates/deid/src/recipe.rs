//! A compiled policy: what runs, in every engine.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, StringViewArray, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use chrono::NaiveDate;
use cordon_phi::{IdentifierKind, Method};
use indexmap::IndexMap;
use thiserror::Error;

use crate::document::Documents;
use crate::kernel::{Column, Env, Kernel, KernelError, Reason};
use crate::policy::file::{Action, Undeclared};

/// Arrow field metadata: the identifier kind that a column was made from.
pub const KIND_KEY: &str = "cordon.kind";
/// Arrow field metadata: the class of key that protects the column.
pub const KEY_CLASS_KEY: &str = "cordon.key-class";
/// Arrow field metadata: the action that made the column.
pub const ACTION_KEY: &str = "cordon.action";

/// Arrow field metadata: the values hardly repeat, so a dictionary would only cost.
pub const ENTROPY_KEY: &str = "cordon.entropy";

/// A checked policy, ready to run. Nothing after this re-validates.
pub struct Recipe {
    pub name: String,
    pub description: Option<String>,
    pub method: Method,
    /// SHA-256 of the policy's text, hexadecimal.
    pub hash: String,
    pub reference_date: NaiveDate,
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
    /// What of a kept field may stay.
    pub allow: Option<Allow>,
    pub because: Option<String>,
}

/// The values that may stay in a field that holds coded answers and typed text side by side.
pub struct Allow {
    numbers: bool,
    texts: HashSet<String>,
}

impl Allow {
    /// `numbers` stands for every number, every other word for itself.
    pub(crate) fn of(list: &[String]) -> Self {
        let numbers = list.iter().any(|word| word == "numbers");
        Self { numbers, texts: list.iter().filter(|word| *word != "numbers").cloned().collect() }
    }

    fn allows(&self, text: &str) -> bool {
        self.texts.contains(text) || (self.numbers && is_number(text))
    }

    /// The column with every other value blank.
    fn apply(&self, values: &StringViewArray) -> StringViewArray {
        let refused: BooleanArray =
            values.iter().map(|value| Some(value.is_some_and(|text| !self.allows(text)))).collect();
        arrow_select::nullif::nullif(values, &refused)
            .map_or_else(|_| StringViewArray::new_null(values.len()), |left| text_array(&left))
    }
}

/// A decimal number as results are written; longer runs of digits are numbers of something else.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    text.len() <= 12
        && text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && text.parse::<f64>().is_ok()
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
}

impl TableRecipe {
    /// The schema of the output, the same for every file.
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .rules
            .iter()
            .filter_map(|rule| {
                let kernel = rule.kernel.as_ref()?;
                Some(
                    Field::new(&rule.output, kernel.output_type(), true)
                        .with_metadata(column_metadata(rule.kind, rule.action)),
                )
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
                steps.push(Step { rule, kernel, input });
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
        let subject = self.subject.as_deref().and_then(find);
        let needed = steps.iter().filter_map(|step| step.input).chain(subject).collect();
        Ok(BoundTable { recipe: self, schema: self.schema(), steps, subject, undeclared, needed })
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

struct Step<'a> {
    rule: &'a FieldRule,
    kernel: &'a Kernel,
    /// Position in the file; `None` for an optional field that the file lacks.
    input: Option<usize>,
}

/// A recipe fitted to one file.
pub struct BoundTable<'a> {
    recipe: &'a TableRecipe,
    schema: SchemaRef,
    steps: Vec<Step<'a>>,
    subject: Option<usize>,
    /// Columns of the file that the policy does not name: they do not pass.
    pub undeclared: Vec<String>,
    /// Positions of the columns that any rule reads; the others need not be decoded.
    pub needed: std::collections::BTreeSet<usize>,
}

impl BoundTable<'_> {
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// De-identifies one batch whose columns are all text.
    ///
    /// Rows that a rule cannot handle are left out and named in [`Applied::failures`].
    pub fn apply(&self, batch: &RecordBatch, env: &Env) -> Result<Applied, KernelError> {
        let rows = batch.num_rows();
        let mut failures: Vec<RowFailure> = Vec::new();
        let subjects = self.subject.map(|at| text_column(batch, at));
        if let (Some(subjects), Some(field)) = (&subjects, &self.recipe.subject) {
            let nameless = |row: &usize| subjects.is_null(*row) || subjects.value(*row).is_empty();
            failures.extend((0..rows).filter(nameless).map(|row| RowFailure {
                row,
                field: field.clone(),
                reason: Reason::NoSubject,
            }));
        }
        let seeds = self.seeds(subjects.as_ref(), env)?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.steps.len());
        for (step, field) in self.steps.iter().zip(self.schema.fields()) {
            let Some(at) = step.input else {
                columns.push(new_null_array(field.data_type(), rows));
                continue;
            };
            let mut values = text_column(batch, at);
            if let Some(allow) = &step.rule.allow {
                values = allow.apply(&values);
            }
            let subjects = if matches!(step.kernel, Kernel::Surrogate(_)) { seeds.as_ref() } else { subjects.as_ref() };
            let outcome = step.kernel.apply(&Column { values: &values, subjects }, env)?;
            failures.extend(outcome.failures.into_iter().map(|failure| RowFailure {
                row: failure.row,
                field: step.rule.input.clone(),
                reason: failure.reason,
            }));
            columns.push(outcome.values);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let output = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|_| KernelError::Shape)?;
        if failures.is_empty() {
            return Ok(Applied { batch: output, failures });
        }
        failures.sort_by_key(|failure| failure.row);
        failures.dedup_by_key(|failure| failure.row);
        let mut good = vec![true; rows];
        for failure in &failures {
            if let Some(flag) = good.get_mut(failure.row) {
                *flag = false;
            }
        }
        let batch = arrow_select::filter::filter_record_batch(&output, &BooleanArray::from(good))
            .map_err(|_| KernelError::Shape)?;
        Ok(Applied { batch, failures })
    }

    /// What surrogates are seeded with: the subject's random token, or (by expert determination) the identity.
    fn seeds(&self, subjects: Option<&StringViewArray>, env: &Env) -> Result<Option<StringViewArray>, KernelError> {
        let surrogates = self.steps.iter().any(|step| matches!(step.kernel, Kernel::Surrogate(_)));
        match (subjects, &self.recipe.seed_domain) {
            (Some(subjects), Some(domain)) if surrogates => {
                let kernel = Kernel::Token { domain: domain.clone() };
                let tokens = kernel.apply(&Column { values: subjects, subjects: None }, env)?;
                Ok(Some(text_array(&tokens.values)))
            }
            (subjects, _) => Ok(subjects.cloned()),
        }
    }
}

fn text_column(batch: &RecordBatch, at: usize) -> StringViewArray {
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
