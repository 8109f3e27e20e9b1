//! Bytes of notes a second through the recognisers, on one core; the goal is 20 MB/s.
//!
//! `cargo bench -p cordon-detect`

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use cordon_detect::{Detector, DetectorOptions, ProfileBuilder};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const SENTENCES: &[&str] = &[
    "Patient is a {n}-year-old woman with a history of hypertension, type 2 diabetes and Parkinson's disease. ",
    "Seen by Dr. {name} at {name} Memorial Hospital on 0{d}/1{d}/2021 for follow up of chest pain. ",
    "BP 1{d}0/8{d}, HR 7{d}, temperature 98.{d} F, SpO2 9{d}% on room air. Hemoglobin 1{d}.2 g/dL, WBC {d}.4 x 10^9/L. ",
    "MRN: 00{n}-{n}{n}. Call (617) 555-01{n} with questions. ",
    "Continue metoprolol 2{d} mg twice daily and lisinopril 10 mg by mouth daily; hold warfarin for INR above {d}.5. ",
    "Strength {d}/5 in both legs, reflexes 2+, Babinski negative, sensation intact to light touch at L4-L5. ",
    "She lives with her daughter {name} in Springfield, IL 627{n} and denies alcohol or tobacco use. ",
    "The abdomen is soft, without tenderness or rebound; bowel sounds are present in all four quadrants.\n",
    "Plan: repeat imaging in {d} weeks, physical therapy, return sooner if symptoms get worse. ",
];

const NAMES: &[&str] = &["Okafor", "Lindqvist", "Garza", "Whitfield", "Nakagawa", "O'Neil-Jones", "Petrov"];

/// A megabyte of notes in the manner of a ward, a tenth of their words identifiers.
fn notes() -> String {
    let mut text = String::new();
    let mut x = 0x2545_F491_4F6C_DD1D_u64;
    while text.len() < 1 << 20 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let sentence = SENTENCES[x as usize % SENTENCES.len()];
        let name = NAMES[(x >> 9) as usize % NAMES.len()];
        let filled = sentence
            .replace("{name}", name)
            .replace("{n}", &format!("{:02}", 10 + (x >> 17) % 89))
            .replace("{d}", &format!("{}", 1 + (x >> 23) % 8));
        text.push_str(&filled);
    }
    text
}

#[divan::bench]
fn recognise_notes(bencher: Bencher<'_, '_>) {
    let text = notes();
    let detector = Detector::new(DetectorOptions::default());
    let mut spans = Vec::new();
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        spans.clear();
        detector.find(black_box(&text), &mut spans);
        spans.len()
    });
}

/// Text in which nothing is found: what scanning alone costs.
#[divan::bench]
fn plain_prose(bencher: Bencher<'_, '_>) {
    let text = SENTENCES[7].repeat((1 << 20) / SENTENCES[7].len());
    let detector = Detector::new(DetectorOptions::default());
    let mut spans = Vec::new();
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        spans.clear();
        detector.find(black_box(&text), &mut spans);
        spans.len()
    });
}

/// A column of dates: 100,000 values.
#[divan::bench]
fn profile_column(bencher: Bencher<'_, '_>) {
    let values: Vec<String> = (0..100_000).map(|n| format!("2021-{:02}-{:02}", 1 + n % 12, 1 + n % 28)).collect();
    let values: Vec<Option<&str>> = values.iter().map(|value| Some(value.as_str())).collect();
    bencher.counter(BytesCount::new(values.len() * 10)).bench_local(|| {
        let mut builder = ProfileBuilder::new("encounter_date");
        builder.update(black_box(&values));
        builder.finish().share
    });
}
