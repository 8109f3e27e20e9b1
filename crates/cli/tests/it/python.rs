//! The Python package beside the program: its own tests, `bindings/python/tests`, with a Python that it was installed for.

use std::path::Path;
use std::process::Command;

use crate::servers;

/// Runs one file of the package's tests, or those of them that `only` names.
pub fn pytest(file: &str, only: &str) {
    let python = servers::python();
    let has = Command::new(&python).args(["-c", "import cordon, pytest"]).output();
    if !has.is_ok_and(|done| done.status.success()) {
        servers::absent::<()>("a Python with the package `cordon` and pytest");
        return;
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bindings/python").canonicalize().unwrap();
    let done = Command::new(&python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", only])
        .arg(package.join("tests").join(file))
        .env("CORDON_BIN", env!("CARGO_BIN_EXE_cordon"))
        .env("CORDON_PYTHON", &package)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(&package)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    eprintln!("{}", said.lines().last().unwrap_or_default());
}

#[test]
fn its_rows_are_those_of_a_run() {
    pytest("test_package.py", "");
}
