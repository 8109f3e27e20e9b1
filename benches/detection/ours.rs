//! Cordon's side of the bench of detection; `run.py` scores it as it scores the others.
//!
//! `bench-detection notes SEED PATIENTS` prints notes of a synthetic hospital with their spans, one JSON object a line;
//! `bench-detection find [titles] [states] [no-tagger]` reads such lines and prints what the detector finds in each, and on the last line
//! the CPU-seconds that it took, without reading and writing.
#![allow(clippy::print_stdout, clippy::indexing_slicing, reason = "a program of a bench, over its own data")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use cordon_detect::{Detector, DetectorOptions, Span};
use cordon_synth::{Dirt, Formats, Hospital, SynthOptions};
use serde_json::{Value, json};

/// Seeds below are those of training.
const MEASURED: u64 = 1_000_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["notes", seed, patients] => notes(seed.parse()?, patients.parse()?),
        ["find", options @ ..] => find(options),
        _ => bail!("usage: bench-detection notes SEED PATIENTS | find [titles] [states] [no-tagger]"),
    }
}

fn notes(seed: u64, patients: u64) -> Result<()> {
    ensure!(seed >= MEASURED, "seeds below {MEASURED} are those of training");
    let dir = tempfile::tempdir()?;
    let options =
        SynthOptions { patients, seed, dirt: Dirt::none(), threads: 1, formats: Formats::CSV, ..Default::default() };
    Hospital::new(options).write(dir.path(), &|_| ())?;
    let mut spans = HashMap::<String, Vec<Value>>::new();
    for row in csv(&std::fs::read_to_string(dir.path().join("truth/note_spans.csv"))?).iter().skip(1) {
        let (start, end): (usize, usize) = (row[1].parse()?, row[2].parse()?);
        spans.entry(row[0].clone()).or_default().push(json!([start, end, row[3], row[4]]));
    }
    let rows = csv(&std::fs::read_to_string(dir.path().join("csv/notes.csv"))?);
    let text_at = rows.first().and_then(|row| row.iter().position(|name| name == "text")).context("a text column")?;
    for row in rows.iter().skip(1) {
        let text = &row[text_at];
        // Places in characters, as everybody else counts them.
        let place = |byte: usize| text.get(..byte).map_or(0, |head| head.chars().count());
        let found = spans.remove(&row[0]).unwrap_or_default();
        let found: Vec<Value> = found
            .iter()
            .map(|span| {
                let at = |index: usize| place(span[index].as_u64().unwrap_or(0) as usize);
                json!({"start": at(0), "end": at(1), "label": span[2], "role": span[3]})
            })
            .collect();
        println!("{}", json!({"id": row[0], "text": text, "spans": found}));
    }
    Ok(())
}

fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => (),
            c => cell.push(c),
        }
    }
    rows
}

fn find(options: &[&str]) -> Result<()> {
    let mut how = DetectorOptions::default();
    for option in options {
        match *option {
            "titles" => how.titles = true,
            "states" => how.states = true,
            "no-tagger" => how.tagger = false,
            other => bail!("unknown option {other}"),
        }
    }
    let mut lines = String::new();
    std::io::stdin().read_to_string(&mut lines)?;
    let documents: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let texts: Vec<&str> = documents.iter().map(|one| one["text"].as_str().unwrap_or_default()).collect();
    let detector = Detector::new(how);
    let mut finder = detector.finder();
    finder.find("Seen by Dr. Okafor on 2021-03-04.", &mut Vec::new());
    // So many rounds that the clock of the system, which counts in hundredths, says something.
    let (mut rounds, mut found, begin) = (0_u32, Vec::new(), cpu()?);
    let mut seconds = 0.0;
    while seconds < 2.0 {
        found.clear();
        for text in &texts {
            let mut spans: Vec<Span> = Vec::new();
            finder.find(text, &mut spans);
            found.push(spans);
        }
        rounds += 1;
        seconds = cpu()? - begin;
    }
    let mut out = String::new();
    for (document, spans) in documents.iter().zip(&found) {
        let text = document["text"].as_str().unwrap_or_default();
        let place = |byte: usize| text.get(..byte).map_or(0, |head| head.chars().count());
        let spans: Vec<Value> =
            spans.iter().map(|span| json!([place(span.start), place(span.end), span.kind.name()])).collect();
        writeln!(out, "{}", json!({"id": document["id"], "spans": spans}))?;
    }
    print!("{out}");
    println!("{}", json!({"cpu": seconds / f64::from(rounds)}));
    Ok(())
}

/// CPU-seconds of this process, user and system.
fn cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("a number of ticks");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
