//! The extension module of the Python package `cordon`.
//!
//! This crate exists so that pandas, Polars, DuckDB and PySpark run the recipe that `cordon run` runs: rows come in and go out by the
//! Arrow C interface, and what changes values is [`cordon_deid`] alone. It refuses to show a value in an error, and to hand rows
//! over before they are on the record.

mod apply;
mod cluster;
mod errors;
mod look;
mod project;
mod recipe;

use pyo3::prelude::*;

#[pymodule]
fn _cordon(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::add(module)?;
    module.add_class::<recipe::Recipe>()?;
    module.add_class::<project::Project>()?;
    module.add_class::<cluster::Batches>()?;
    module.add_function(wrap_pyfunction!(cluster::apply_to_batches, module)?)?;
    module.add_function(wrap_pyfunction!(look::detect, module)?)?;
    module.add_function(wrap_pyfunction!(look::inspect, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
