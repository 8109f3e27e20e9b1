//! The cases of `cases/access`. `CORDON_BLESS=1` writes the expected files anew; read the difference before you keep it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod matrix;
mod ranger;
mod ranger_clinic;
mod refused;

use std::path::{Path, PathBuf};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/access")
}

fn check_golden(path: &Path, actual: &str) {
    if std::env::var_os("CORDON_BLESS").is_some() {
        std::fs::write(path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs.\n--- expected\n{expected}\n--- actual\n{actual}\n(CORDON_BLESS=1 accepts it)",
        path.display()
    );
}
