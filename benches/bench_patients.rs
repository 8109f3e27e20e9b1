//! `bench-patients FILE.csv ROWS`: the flat table of patients that whole runs are measured on, the same for the same number.
#![allow(clippy::print_stdout, reason = "a program for a developer's terminal")]

use std::fs::File;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("a file, please")?;
    let rows = args.next().ok_or("a number of rows, please")?.parse()?;
    let bytes = cordon_synth::bench_patients(rows, 1, &mut File::create(file)?)?;
    println!("{rows} rows, {bytes} bytes");
    Ok(())
}
