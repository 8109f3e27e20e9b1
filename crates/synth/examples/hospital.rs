//! `cargo run --release -p cordon-synth --example hospital -- DIR PATIENTS
//! [csv] [parquet] [fhir] [hl7v2] [ccda] [x12] [notes] [all] [truth] [clean] [threads]` writes a hospital and says how fast; with `bench`, DIR is the flat file of `bench_patients`.
#![allow(clippy::print_stdout, reason = "an example talks to the terminal")]

use std::time::Instant;

use cordon_synth::{Dirt, Formats, Hospital, SynthOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("a directory, please")?;
    let patients = args.next().ok_or("a number of patients, please")?.parse()?;
    let rest: Vec<String> = args.collect();
    let has = |word: &str| rest.iter().any(|arg| arg == word);
    if has("bench") {
        let start = Instant::now();
        let bytes = cordon_synth::bench_patients(patients, 1, &mut std::fs::File::create(dir)?)?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{bytes} bytes in {seconds:.2} s: {:.0} MB/s", bytes as f64 / 1e6 / seconds);
        return Ok(());
    }
    let all = has("all");
    let formats = Formats {
        csv: all || has("csv"),
        parquet: all || has("parquet"),
        fhir: all || has("fhir"),
        hl7v2: all || has("hl7v2"),
        ccda: all || has("ccda"),
        x12: all || has("x12"),
        notes: all || has("notes"),
    };
    let formats = if formats == Formats::NONE { Formats::CSV } else { formats };
    let dirt = if has("clean") { Dirt::none() } else { Dirt::default() };
    let threads = rest.iter().find_map(|arg| arg.parse().ok()).unwrap_or(0);
    let hospital =
        Hospital::new(SynthOptions { patients, formats, dirt, threads, truth: has("truth"), ..Default::default() });
    let start = Instant::now();
    let summary = hospital.write(dir.as_ref(), &|_| ())?;
    let seconds = start.elapsed().as_secs_f64();
    for file in &summary.files {
        println!("{:>12} rows {:>14} bytes  {}", file.rows, file.bytes, file.path);
    }
    println!(
        "{} patients, {:.1} MB in {seconds:.2} s: {:.0} MB/s",
        summary.patients,
        summary.bytes() as f64 / 1e6,
        summary.bytes() as f64 / 1e6 / seconds
    );
    Ok(())
}
