//! Resources of FHIR R4 a CPU-second, by the shipped policy, against reading and copying alone.
//!
//! `cargo bench -p cordon-deid --bench fhir [-- NDJSON-FILE…]`. Without files it reads what stands in
//! `../shared/data/fhir-bulk-10` and `fhir-bundles`, or makes a few resources of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cordon_crypto::{FpeKey, KeyedHash};
use cordon_deid::kernel::{DeidKeys, Env};
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_formats::fhir::{ReadOptions, ResourceBatch, ResourceReader};
use cordon_formats::open_decoded;
use cordon_phi::{Token, TokenError, TokenStore};

const BATCH_BYTES: usize = 1 << 20;
const AT_LEAST: Duration = Duration::from_secs(2);

/// A warm vault in memory.
#[derive(Default)]
struct Memory(Mutex<hashbrown::HashMap<(String, Vec<u8>), u128>>);

impl TokenStore for Memory {
    fn get_or_create(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        let mut known = self.0.lock().unwrap();
        for value in values {
            let next = known.len() as u128 * 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
            let token = *known.entry((domain.to_owned(), value.to_vec())).or_insert(next);
            out.push(Token(token.to_be_bytes()));
        }
        Ok(())
    }
}

fn batches(bytes: &[u8]) -> Vec<ResourceBatch> {
    let mut reader = ResourceReader::new(bytes, ReadOptions::default());
    std::iter::from_fn(|| reader.next_batch(BATCH_BYTES).unwrap()).collect()
}

fn made_up() -> Vec<Vec<u8>> {
    let lines: Vec<String> = (0..5000)
        .map(|n| {
            format!(
                r#"{{"resourceType":"Observation","id":"o{n}","status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory","display":"laboratory"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"718-7","display":"Hemoglobin"}}],"text":"Hemoglobin"}},"subject":{{"reference":"Patient/p{p}"}},"encounter":{{"reference":"Encounter/e{n}"}},"effectiveDateTime":"2019-03-04T05:06:07+01:00","issued":"2019-03-04T05:06:07.123+01:00","valueQuantity":{{"value":14.1,"unit":"g/dL","system":"http://unitsofmeasure.org","code":"g/dL"}}}}"#,
                p = n / 50
            )
        })
        .collect();
    vec![lines.join("\n").into_bytes()]
}

fn inputs() -> HashMap<&'static str, Vec<Vec<u8>>> {
    let given: Vec<PathBuf> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).map(PathBuf::from).collect();
    let read = |path: &PathBuf| {
        let mut text = Vec::new();
        open_decoded(std::fs::File::open(path).unwrap()).unwrap().read_to_end(&mut text).unwrap();
        text
    };
    if !given.is_empty() {
        return HashMap::from([("given", given.iter().map(read).collect())]);
    }
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let mut out = HashMap::from([("made up", made_up())]);
    for folder in ["fhir-bulk-10", "fhir-bundles"] {
        if let Ok(entries) = std::fs::read_dir(shared.join(folder)) {
            out.insert(folder, entries.map(|entry| read(&entry.unwrap().path())).collect());
        }
    }
    out
}

/// Nanoseconds that this thread has had a CPU for, as Linux counts them; wall time elsewhere.
fn cpu_nanos(since: Instant) -> f64 {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let counted = counted.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    counted.unwrap_or_else(|| since.elapsed().as_secs_f64() * 1e9)
}

/// CPU-seconds of one pass: the best of as many as make a measurement, for other work on the machine only adds.
fn time(mut pass: impl FnMut()) -> f64 {
    pass();
    let start = Instant::now();
    let (mut best, mut spent) = (f64::MAX, 0.0);
    while spent < AT_LEAST.as_secs_f64() {
        let before = cpu_nanos(start);
        pass();
        let took = (cpu_nanos(start) - before) / 1e9;
        best = best.min(took);
        spent += took.max(1e-6);
    }
    best
}

fn main() {
    let policy = include_str!("../policies/fhir-r4.yaml");
    let start = Instant::now();
    let options = CompileOptions::on("2026-01-01".parse().unwrap());
    let compiled = compile(policy, Path::new("fhir-r4.yaml"), options);
    let Ok(compiled) = compiled else { return println!("the policy does not compile") };
    println!("policy compiled in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let recipe = compiled.documents["fhir"].fhir().unwrap();
    let keys = DeidKeys {
        hash: KeyedHash::new(&[1; 32]),
        shift: KeyedHash::new(&[2; 32]),
        surrogate: KeyedHash::new(&[3; 32]),
        fpe: FpeKey::from_bytes([4; 32]),
    };
    let env = Env { tokens: Arc::new(Memory::default()), keys: Arc::new(keys), dossiers: None };
    println!(
        "{:14} {:>9} {:>9} {:>14} {:>14} {:>14} {:>14}",
        "input", "resources", "bytes each", "read+copy /s", "read /s", "apply /s", "read+apply /s"
    );
    for (name, files) in inputs() {
        let read: Vec<ResourceBatch> = files.iter().flat_map(|bytes| batches(bytes)).collect();
        let count = read.iter().map(|batch| batch.resources.len()).sum::<usize>() as f64;
        let bytes =
            read.iter().flat_map(|batch| &batch.resources).map(|resource| resource.span.len()).sum::<usize>() as f64;
        let reading = time(|| {
            for file in &files {
                std::hint::black_box(batches(file));
            }
        });
        let copying = time(|| {
            for file in &files {
                let mut out = Vec::new();
                for batch in batches(file) {
                    for resource in &batch.resources {
                        out.extend_from_slice(batch.raw(resource).as_bytes());
                        out.push(b'\n');
                    }
                }
                std::hint::black_box(out);
            }
        });
        let applying = time(|| {
            for batch in &read {
                std::hint::black_box(recipe.apply(batch, &env).unwrap());
            }
        });
        println!(
            "{name:14} {count:>9.0} {:>9.0} {:>14.0} {:>14.0} {:>14.0} {:>14.0}",
            bytes / count,
            count / copying,
            count / reading,
            count / applying,
            count / (reading + applying)
        );
    }
}
