#![no_main]
//! All targets; `CORDON_FUZZ_TARGET` says which. Where `CORDON_FUZZ_SEEDS` names a folder, it writes the seeds of all of them there
//! instead, those that third-party data in `CORDON_FUZZ_DATA` give too, and prints the targets.

use std::path::Path;
use std::sync::LazyLock;

static TARGET: LazyLock<String> =
    LazyLock::new(|| std::env::var("CORDON_FUZZ_TARGET").expect("CORDON_FUZZ_TARGET names a target"));

fn write_seeds() {
    let Some(folder) = std::env::var_os("CORDON_FUZZ_SEEDS") else { return };
    let data = std::env::var_os("CORDON_FUZZ_DATA");
    cordon_fuzz::seeds::write(Path::new(&folder), data.as_deref().map(Path::new)).expect("seeds are written");
    std::process::exit(0);
}

libfuzzer_sys::fuzz_target!(
    init: write_seeds(),
    |data: &[u8]| cordon_fuzz::run(&TARGET, data)
);
