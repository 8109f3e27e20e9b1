//! What holds for every input: one check a parser, run by libFuzzer (`cargo xtask fuzz`) and, over the seeds alone, as a plain test.
//!
//! "It does not panic" is the least of it: what is read in pieces is what is read at once, what nobody edits comes back byte for
//! byte, what comes out can be read again, places ascend and lie within the text, and memory stays within bounds that follow
//! from the input's length, and so does time; some inputs are repeated until they are long, so that what is
//! quadratic shows.

mod audit;
mod ccda;
mod compressed;
mod csv;
mod detect;
mod dicom;
mod fhir;
mod hl7v2;
mod import;
mod kernels;
mod markup;
mod memory;
mod narrative;
mod ndjson;
mod notes;
mod pieces;
mod policy;
pub mod seeds;
mod vault;
mod x12;

use std::sync::{Mutex, PoisonError};

/// `frame.rs` of the audit log, which is compiled in here, names it so.
use audit::Digest;

pub struct Target {
    pub name: &'static str,
    check: fn(&[u8]),
    /// What is made once and does not count as the input's.
    warm: fn(),
    /// MiB that an input may take, and bytes for each byte of it.
    memory: (usize, usize),
    /// The longest input that the engine makes.
    pub max_len: usize,
    /// Some inputs are repeated to about this length.
    long: usize,
}

const fn target(name: &'static str, check: fn(&[u8]), warm: fn()) -> Target {
    Target { name, check, warm, memory: (64, 512), max_len: 8 << 10, long: 64 << 10 }
}

pub const TARGETS: &[Target] = &[
    target("fhir", fhir::read, || ()),
    Target { max_len: 16 << 10, ..target("hl7v2", hl7v2::read, || ()) },
    Target { max_len: 16 << 10, ..target("ccda", ccda::read, || ()) },
    Target { max_len: 16 << 10, memory: (64, 2048), ..target("x12", x12::read, x12::warm) },
    target("csv", csv::read, || ()),
    target("hl7v2_deid", hl7v2::apply, hl7v2::warm),
    Target { max_len: 16 << 10, ..target("ccda_deid", ccda::apply, ccda::warm) },
    target("fhir_deid", fhir::apply, fhir::warm),
    Target { max_len: 16 << 10, memory: (64, 2048), ..target("x12_deid", x12::apply, x12::warm_policy) },
    // What a deflated data set may become is a bound of its reader.
    Target { memory: (192, 4096), ..target("dicom", dicom::read, dicom::warm) },
    Target { memory: (192, 4096), ..target("dicom_deid", dicom::apply, dicom::warm) },
    target("notes", notes::read, || ()),
    target("markup", markup::read, || ()),
    target("narrative", narrative::find, narrative::warm),
    Target { long: 0, ..target("import", import::read, import::warm) },
    target("detect", detect::find, detect::warm),
    target("policy", policy::compile, policy::warm),
    target("ndjson", ndjson::read, || ()),
    Target { max_len: 512, long: 0, ..target("paths", policy::paths, policy::warm) },
    target("kernels", kernels::apply, kernels::warm),
    // The codecs' own windows: 128 MiB is what a zstd frame may ask for.
    Target { memory: (192, 4096), ..target("compressed", compressed::read, || ()) },
    target("vault", vault::open, || ()),
    target("audit", audit::read, || ()),
];

/// Checks one input, and some of them once more as a long one.
///
/// # Panics
/// When something does not hold; the engine then keeps the input.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of the list");
    static WARM: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut warm = WARM.lock().unwrap_or_else(PoisonError::into_inner);
    if !warm.contains(&target.name) {
        (target.warm)();
        warm.push(target.name);
    }
    drop(warm);
    bounded(target, data);
    // A property of the input and not of the run, so that a finding can be repeated.
    if target.long > 0 && !data.is_empty() && data.len() < target.long / 2 && pieces::dice(data).is_multiple_of(512) {
        let mut long = data.repeat(target.long / data.len());
        bounded(target, &long);
        // Opened and opened, and at last closed: the beginning many times, the end once.
        let (first, last) = data.split_at(data.len() / 2);
        if !first.is_empty() {
            long = first.repeat(target.long / first.len());
            long.extend_from_slice(last);
            bounded(target, &long);
        }
    }
}

/// Counted by the processor's clock: on a busy machine an honest input takes long by that of the wall.
const MOST_SECONDS: f64 = 5.0;

fn bounded(target: &Target, data: &[u8]) {
    let (mib, per_byte) = target.memory;
    let before = memory::cpu_seconds();
    let peak = memory::peak(|| (target.check)(data));
    let took = memory::cpu_seconds() - before;
    assert!(took < MOST_SECONDS, "{took} CPU-seconds for an input of {}", data.len());
    let most = (mib << 20) + per_byte * data.len();
    assert!(peak <= most, "{peak} bytes for an input of {}, which may take {most}", data.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has been found once stays fixed, and the seeds are inputs as any.
    #[test]
    fn seeds_and_findings_pass() {
        for target in TARGETS {
            for seed in seeds::of(target.name).into_iter().chain(seeds::findings(target.name)) {
                run(target.name, &seed);
            }
        }
    }
}
