//! Recall and precision of the detector on labelled text.
//!
//! `cargo run --release -p cordon-detect --example score -- FILE… [--misses KIND] [--false] [--ages] [--titles] [--states] [--no-tagger]`
//!
//! A file holds JSON lines `{"id","text","spans":[{"start","end","label","cls","core"}]}` with places in characters, or one of the
//! shapes of the shared corpora: records of `===QUERY===` and `===PHI_TAGS===`, or a JSON array with `full_text`.
//! A token (`\w+`) counts as hidden only if every letter and digit of it is covered; spans with `core:false` neither reward nor
//! penalise. `--misses KIND` and `--false` print contexts of classes of errors: for synthetic corpora only.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::collections::BTreeMap;
use std::time::Instant;

use cordon_detect::{Detector, DetectorOptions, Span};
use serde_json::Value;

struct Gold {
    start: usize,
    end: usize,
    label: String,
    core: bool,
}

struct Document {
    text: String,
    gold: Vec<Gold>,
}

/// What no rule of 164.514(b)(2)(i) asks to hide is neither rewarded nor penalised.
const NOT_CORE: &[&str] = &["TITLE", "NRP", "AGE", "ORGANIZATION"];

fn documents(path: &str) -> Vec<Document> {
    let file = std::fs::read_to_string(path).unwrap();
    if file.starts_with("===QUERY===") {
        return file.split("===QUERY===").skip(1).map(tagged).collect();
    }
    if file.trim_start().starts_with('[') {
        let all: Vec<Value> = serde_json::from_str(&file).unwrap();
        return all
            .iter()
            .map(|one| spans(one, "full_text", "start_position", "end_position", "entity_type"))
            .collect();
    }
    let lines = file.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.map(|one: Value| spans(&one, "text", "start", "end", "label")).collect()
}

/// Places are not given in this shape: a value stands where it is found first behind the last one, else anywhere.
fn tagged(record: &str) -> Document {
    let (text, tags) = record.split_once("===PHI_TAGS===").unwrap();
    let text = text.trim().to_owned();
    let mut gold: Vec<Gold> = Vec::new();
    for tag in tags.lines().filter(|line| line.starts_with('{')) {
        let tag: Value = serde_json::from_str(tag).unwrap();
        let value = tag["value"].as_str().unwrap();
        let taken = |at: usize| gold.iter().any(|span| span.start < at + value.len() && at < span.end);
        let place = text.match_indices(value).map(|(at, _)| at).find(|at| !taken(*at));
        let Some(start) = place else { continue };
        let label = tag["identifier_type"].as_str().unwrap().to_owned();
        gold.push(Gold { start, end: start + value.len(), label, core: true });
    }
    Document { text, gold }
}

fn spans(one: &Value, text: &str, start: &str, end: &str, label: &str) -> Document {
    let text = one[text].as_str().unwrap().to_owned();
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let place = |span: &Value, key: &str| places[(span[key].as_u64().unwrap() as usize).min(places.len() - 1)];
    let gold = one["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| {
            let name = span[label].as_str().unwrap().to_owned();
            let core = span["core"].as_bool().unwrap_or(!NOT_CORE.contains(&name.as_str()));
            Gold { start: place(span, start), end: place(span, end), label: name, core }
        })
        .collect();
    Document { text, gold }
}

/// Runs of letters, digits and underscores.
fn tokens(text: &str) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (c.is_alphanumeric() || c == '_', start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                all.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    all
}

#[derive(Default)]
struct Count {
    hidden: usize,
    shown: usize,
    wrong: usize,
}

fn ratio(part: usize, rest: usize) -> f64 {
    if part + rest == 0 { f64::NAN } else { part as f64 / (part + rest) as f64 }
}

fn context(text: &str, start: usize, end: usize) -> String {
    let from = text[..start].char_indices().rev().nth(40).map_or(0, |(at, _)| at);
    let to = text[end..].char_indices().nth(30).map_or(text.len(), |(at, _)| end + at);
    format!("{}[[{}]]{}", &text[from..start], &text[start..end], &text[end..to]).replace('\n', "\\n")
}

fn main() {
    let mut files = Vec::new();
    let (mut misses, mut wrong, mut options) = (None, false, DetectorOptions::default());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--misses" => misses = arguments.next(),
            "--false" => wrong = true,
            "--ages" => options.all_ages = true,
            "--years" => options.bare_years = true,
            "--titles" => options.titles = true,
            "--states" => options.states = true,
            "--no-tagger" => options.tagger = false,
            "--least" => options.min_score = arguments.next().and_then(|text| text.parse().ok()).unwrap(),
            _ => files.push(argument),
        }
    }
    let detector = Detector::new(options);
    for file in files {
        score(&file, &detector, misses.as_deref(), wrong);
    }
}

fn score(file: &str, detector: &Detector, misses: Option<&str>, show_wrong: bool) {
    let documents = documents(file);
    let mut by_label: BTreeMap<String, Count> = BTreeMap::new();
    let mut by_source: BTreeMap<&'static str, Count> = BTreeMap::new();
    let mut total = Count::default();
    let (mut leaks, mut with_phi, mut touched, mut clean) = (0, 0, 0, 0);
    for document in &documents {
        let text = &document.text;
        let mut found: Vec<Span> = Vec::new();
        detector.find(text, &mut found);
        let mut covered = vec![None; text.len()];
        for span in &found {
            covered[span.start..span.end].fill(Some(span.source));
        }
        let mut core: Vec<Option<&Gold>> = vec![None; text.len()];
        for gold in document.gold.iter().filter(|gold| !gold.core).chain(document.gold.iter().filter(|gold| gold.core))
        {
            core[gold.start..gold.end].fill(Some(gold));
        }
        let mut leak = false;
        let mut touch = false;
        for (start, end) in tokens(text) {
            let places: Vec<usize> = text[start..end]
                .char_indices()
                .filter(|(_, c)| c.is_alphanumeric())
                .map(|(at, _)| start + at)
                .collect();
            let Some(&first) = places.first() else { continue };
            let gold = places.iter().find_map(|at| core[*at].filter(|gold| gold.core));
            match gold {
                Some(gold) => {
                    let hidden = places
                        .iter()
                        .filter(|at| core[**at].is_some_and(|gold| gold.core))
                        .all(|at| covered[*at].is_some());
                    let count = by_label.entry(gold.label.clone()).or_default();
                    count.hidden += usize::from(hidden);
                    count.shown += usize::from(!hidden);
                    total.hidden += usize::from(hidden);
                    total.shown += usize::from(!hidden);
                    leak |= !hidden;
                    if let Some(source) = covered[first] {
                        by_source.entry(source).or_default().hidden += 1;
                    } else if misses.is_some_and(|kind| gold.label.starts_with(kind)) {
                        println!("miss {}: {}", gold.label, context(text, start, end));
                    }
                }
                None if places.iter().any(|at| core[*at].is_some()) => {}
                None => {
                    if let Some(source) = places.iter().find_map(|at| covered[*at]) {
                        by_source.entry(source).or_default().wrong += 1;
                        total.wrong += 1;
                        touch = true;
                        if show_wrong {
                            println!("false {source}: {}", context(text, start, end));
                        }
                    }
                }
            }
        }
        if document.gold.iter().any(|gold| gold.core) {
            with_phi += 1;
            leaks += usize::from(leak);
        } else {
            clean += 1;
            touched += usize::from(touch);
        }
    }
    println!("{file}: {} documents", documents.len());
    println!(
        "token recall {:.4}  precision {:.4}  leaks in {leaks} of {with_phi} ({:.3})  touched without PHI {touched} of {clean}",
        ratio(total.hidden, total.shown),
        ratio(total.hidden, total.wrong),
        ratio(leaks, with_phi - leaks),
    );
    for (label, count) in &by_label {
        println!("  {label:32} recall {:.3} of {:5}", ratio(count.hidden, count.shown), count.hidden + count.shown);
    }
    for (source, count) in &by_source {
        println!("  {source:32} right {:5} wrong {:5}", count.hidden, count.wrong);
    }
    speed(&documents, detector);
}

fn speed(documents: &[Document], detector: &Detector) {
    let bytes: usize = documents.iter().map(|document| document.text.len()).sum();
    let mut spans = Vec::new();
    let mut finder = detector.finder();
    // CPU time where the system tells it, as other work runs beside this.
    let cpu = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<f64> =
            stat.rsplit(')').next()?.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        Some((fields.get(10)? + fields.get(11)?) / 100.0)
    };
    let (begin, wall) = (cpu(), Instant::now());
    let mut rounds = 0_u32;
    while wall.elapsed().as_secs_f64() < 2.0 {
        for document in documents {
            spans.clear();
            finder.find(&document.text, &mut spans);
        }
        rounds += 1;
    }
    let seconds = begin.zip(cpu()).map_or_else(|| wall.elapsed().as_secs_f64(), |(begin, end)| end - begin);
    println!("{:.1} MB a CPU-second\n", bytes as f64 * f64::from(rounds) / 1e6 / seconds.max(0.01));
}
