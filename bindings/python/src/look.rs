//! Looking for identifiers that nobody declared.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, RecordBatchReader};
use cordon_detect::{ColumnVerdict, Detector, DetectorOptions, ProfileBuilder};
use cordon_formats::{text_columns, text_names};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_arrow::input::AnyRecordBatch;

use crate::errors::PolicyError;

/// Where identifiers are in a text: start and end in characters, kind, score from 0 to 1, and the rule that found it.
#[pyfunction]
#[pyo3(signature = (text, min_score=None, everything=false))]
pub(crate) fn detect(
    py: Python<'_>,
    text: &str,
    min_score: Option<f32>,
    everything: bool,
) -> Vec<(usize, usize, &'static str, f32, &'static str)> {
    py.detach(|| {
        let mut options = DetectorOptions::default();
        if let Some(min_score) = min_score {
            options.min_score = min_score;
        }
        if everything {
            options.all_ages = true;
            options.bare_years = true;
            options.weekdays = true;
            options.organizations = true;
            options.states = true;
            options.unlabelled_ids = true;
        }
        let mut spans = Vec::new();
        Detector::new(options).find(text, &mut spans);
        // Python counts characters; spans are in order and on their boundaries.
        let (mut byte, mut chars) = (0, 0);
        let mut at = |place: usize| {
            chars += text.get(byte..place).map_or(0, |between| between.chars().count());
            byte = place;
            chars
        };
        spans.iter().map(|span| (at(span.start), at(span.end), span.kind.name(), span.score, span.source)).collect()
    })
}

/// What each column of some rows seems to hold.
#[pyfunction]
pub(crate) fn inspect(py: Python<'_>, data: AnyRecordBatch, most: usize) -> PyResult<Vec<(String, Bound<'_, PyDict>)>> {
    let reader = data.into_reader()?;
    let verdicts = py.detach(|| profile(reader, most))?;
    verdicts
        .into_iter()
        .map(|(name, verdict)| {
            let told = PyDict::new(py);
            told.set_item("kind", verdict.kind.name())?;
            told.set_item("confidence", verdict.confidence)?;
            told.set_item("share", verdict.share)?;
            told.set_item("rows", verdict.rows)?;
            told.set_item("nulls", verdict.nulls)?;
            told.set_item("distinct", verdict.distinct)?;
            told.set_item("prose", verdict.prose)?;
            told.set_item("shapes", verdict.shapes)?;
            told.set_item("reasons", verdict.reasons)?;
            Ok((name, told))
        })
        .collect()
}

fn profile(reader: Box<dyn RecordBatchReader + Send>, most: usize) -> PyResult<Vec<(String, ColumnVerdict)>> {
    let refused = |what: String| PolicyError::new_err(what);
    let names = text_names(&reader.schema()).map_err(|error| refused(error.to_string()))?;
    let mut profiles: Vec<ProfileBuilder> = names.iter().map(|name| ProfileBuilder::new(name)).collect();
    let mut rows = 0;
    for batch in reader {
        let batch = batch.map_err(|_| refused("the rows cannot be read".to_owned()))?;
        let batch = batch.slice(0, batch.num_rows().min(most - rows));
        let text = text_columns(&batch, |_| true).map_err(|error| refused(error.to_string()))?.batch;
        for (profile, column) in profiles.iter_mut().zip(text.columns()) {
            let Some(text) = column.as_string_view_opt() else { continue };
            let values: Vec<Option<&str>> =
                (0..text.len()).map(|row| text.is_valid(row).then(|| text.value(row))).collect();
            profile.update(&values);
        }
        rows += batch.num_rows();
        if rows >= most {
            break;
        }
    }
    Ok(names.into_iter().zip(profiles.into_iter().map(ProfileBuilder::finish)).collect())
}
