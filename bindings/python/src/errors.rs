//! Errors as Python knows them. None holds a value of the data.

use cordon_custody::CustodyError;
use cordon_deid::kernel::KernelError;
use cordon_deid::yaml::Issues;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(cordon, CordonError, PyException, "Whatever Cordon refuses. No message holds a value of the data.");
create_exception!(cordon, PolicyError, CordonError, "A policy, or data that do not fit what it declares.");
create_exception!(
    cordon,
    KeysError,
    CordonError,
    "Keys, vault or record cannot be had, or are not those that were meant."
);
create_exception!(
    cordon,
    DataError,
    CordonError,
    "Rows that a rule could not handle: `args[1]` lists row, field and reason of the first of them."
);

pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("CordonError", py.get_type::<CordonError>())?;
    module.add("PolicyError", py.get_type::<PolicyError>())?;
    module.add("KeysError", py.get_type::<KeysError>())?;
    module.add("DataError", py.get_type::<DataError>())
}

pub(crate) fn of_policy(issues: &Issues) -> PyErr {
    PolicyError::new_err(issues.to_string())
}

pub(crate) fn of_custody(error: &CustodyError) -> PyErr {
    match error {
        CustodyError::Config(issues) => of_policy(issues),
        error => KeysError::new_err(error.to_string()),
    }
}

pub(crate) fn of_kernel(error: &KernelError) -> PyErr {
    KeysError::new_err(error.to_string())
}
