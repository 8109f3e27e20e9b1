//! A compiled policy.

use std::path::Path;
use std::sync::Arc;

use arrow_schema::DataType;
use chrono::{NaiveDate, Utc};
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::policy::explain::explain;
use cordon_deid::recipe::{self, TableRecipe};
use indexmap::IndexMap;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3_arrow::PySchema;
use serde::{Deserialize, Serialize};

use crate::apply::portable;
use crate::cluster;
use crate::errors::{PolicyError, of_policy};
use crate::project::Project;

/// Of each dataset the columns that mean a person, each with its namespace.
pub(crate) type Identities = IndexMap<String, IndexMap<String, String>>;

/// All that a recipe is made of: a process that compiles it again has the same recipe.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Written {
    pub text: String,
    /// As messages call it.
    pub file: String,
    /// `YYYY-MM-DD`
    pub run_date: String,
    pub identities: Identities,
}

impl Written {
    pub fn compile(&self) -> PyResult<recipe::Recipe> {
        let run_date: NaiveDate =
            self.run_date.parse().map_err(|_| PolicyError::new_err("`run_date` is not a date as `2026-01-31`"))?;
        let options = CompileOptions { run_date, identities: Some(&self.identities) };
        compile(&self.text, Path::new(&self.file), options).map_err(|issues| of_policy(&issues))
    }
}

#[pyclass(frozen, module = "cordon._cordon")]
pub(crate) struct Recipe {
    pub written: Written,
    pub recipe: Arc<recipe::Recipe>,
}

impl Recipe {
    /// The rules of a dataset of tables.
    pub fn table(&self, dataset: &str) -> PyResult<&TableRecipe> {
        table(&self.recipe, dataset)
    }
}

pub(crate) fn table<'r>(recipe: &'r recipe::Recipe, dataset: &str) -> PyResult<&'r TableRecipe> {
    recipe.tables.get(dataset).ok_or_else(|| {
        let known: Vec<&str> = recipe.tables.keys().map(String::as_str).collect();
        let what = if recipe.documents.contains_key(dataset) {
            "the dataset is one of documents, which are not columns"
        } else {
            "the policy has no such dataset"
        };
        PolicyError::new_err(format!("{what}\n  help: tables of policy `{}`: {}", recipe.name, known.join(", ")))
    })
}

#[pymethods]
impl Recipe {
    /// Without a day, ages are counted today.
    #[new]
    #[pyo3(signature = (text, file, run_date=None, identities=None))]
    fn new(text: String, file: String, run_date: Option<&str>, identities: Option<&str>) -> PyResult<Self> {
        let run_date = run_date.map_or_else(|| Utc::now().date_naive().to_string(), str::to_owned);
        let identities: Identities = match identities {
            None => Identities::new(),
            Some(json) => serde_json::from_str(json)
                .map_err(|_| PolicyError::new_err("`identities` is not of the form {dataset: {column: namespace}}"))?,
        };
        let written = Written { text, file, run_date, identities };
        let recipe = Arc::new(written.compile()?);
        Ok(Self { written, recipe })
    }

    #[getter]
    fn name(&self) -> &str {
        &self.recipe.name
    }

    #[getter]
    fn description(&self) -> Option<&str> {
        self.recipe.description.as_deref()
    }

    #[getter]
    fn method(&self) -> &'static str {
        self.recipe.method.name()
    }

    /// SHA-256 of the policy's text, hexadecimal.
    #[getter]
    fn hash(&self) -> &str {
        &self.recipe.hash
    }

    #[getter]
    fn run_date(&self) -> &str {
        &self.written.run_date
    }

    /// The datasets that are tables.
    #[getter]
    fn datasets(&self) -> Vec<&str> {
        self.recipe.tables.keys().map(String::as_str).collect()
    }

    /// What is done to each field and why, as JSON.
    fn explain(&self) -> PyResult<String> {
        serde_json::to_string(&explain(&self.recipe))
            .map_err(|_| PolicyError::new_err("the policy cannot be explained"))
    }

    /// What executors of a cluster need to know to apply it: no key is in it.
    fn handle<'py>(
        &self,
        py: Python<'py>,
        dataset: &str,
        schema: PySchema,
        project: &Project,
        recipient: Option<String>,
        keep_failures: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let columns = cordon_formats::text_names(&schema.into_inner())
            .map_err(|error| PolicyError::new_err(error.to_string()))?;
        let handle = cluster::handle(self, dataset, columns, project.place(), recipient, keep_failures)?;
        Ok(PyBytes::new(py, &handle))
    }

    /// The columns that come out, as a `pyarrow.Schema`.
    fn schema<'py>(&self, py: Python<'py>, dataset: &str) -> PyResult<Bound<'py, PyAny>> {
        PySchema::new(Arc::new(portable(&self.table(dataset)?.schema()))).into_pyarrow(py)
    }

    /// Of the columns of a table those that any rule reads. Refused where the data do not fit what the policy declares.
    fn needed(&self, dataset: &str, schema: PySchema) -> PyResult<Vec<String>> {
        let table = self.table(dataset)?;
        let (schema, refused) = (schema.into_inner(), |error: String| PolicyError::new_err(error));
        let names = cordon_formats::text_names(&schema).map_err(|error| refused(error.to_string()))?;
        let bound = table.bind(&names).map_err(|error| refused(error.to_string()))?;
        let mut at = 0;
        let mut needed = Vec::new();
        for field in schema.fields() {
            let width = leaves(field.data_type());
            if (at..at + width).any(|leaf| bound.needed.contains(&leaf)) {
                needed.push(field.name().clone());
            }
            at += width;
        }
        Ok(needed)
    }
}

/// How many columns of text a column becomes.
fn leaves(of: &DataType) -> usize {
    match of {
        DataType::Struct(members) => members.iter().map(|member| leaves(member.data_type())).sum(),
        _ => 1,
    }
}
