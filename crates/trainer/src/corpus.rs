//! Documents: from the templates, spoiled as people spoil them; from the synthetic hospital; from labelled
//! files that are only ever measured on.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cordon_synth::{Dirt, Hospital, SynthOptions};

use crate::grammar::{Document, Grammar, Side};
use crate::lists::Lists;
use crate::rng::Rng;

pub fn made(grammar: &Grammar, lists: &Lists, side: Side, rng: &mut Rng) -> Document {
    let fill = |slot: &str, rng: &mut Rng, out: &mut String| lists.fill(slot, rng, out);
    let mut document = grammar.document("document", side, rng, &fill);
    spoil(&mut document, rng);
    document
}

/// Capitals, small letters, lost punctuation, wrapped lines, odd spacing, slips of the fingers.
pub fn spoil(document: &mut Document, rng: &mut Rng) {
    match rng.below(100) {
        0..9 => rewrite(document, rng, |c, _| c.to_uppercase().collect()),
        9..20 => rewrite(document, rng, |c, _| c.to_lowercase().collect()),
        20..24 => rewrite(document, rng, |c, _| if matches!(c, '.' | ',' | ';') { String::new() } else { c.into() }),
        24..32 => {
            let (width, mut column) = (rng.between(40, 100), 0);
            rewrite(document, rng, |c, _| {
                column = if c == '\n' { 0 } else { column + 1 };
                if c == ' ' && column > width {
                    column = 0;
                    return "\n".into();
                }
                c.into()
            });
        }
        32..36 => rewrite(document, rng, |c, rng| if c == ' ' && rng.chance(0.2) { "  ".into() } else { c.into() }),
        36..40 => rewrite(document, rng, |c, _| if c == '\n' { " ".into() } else { c.into() }),
        40..46 => {
            // A letter doubled, lost or exchanged for its neighbour.
            let mut last = ' ';
            rewrite(document, rng, |c, rng| {
                let before = std::mem::replace(&mut last, c);
                if !c.is_ascii_lowercase() || !before.is_ascii_lowercase() || !rng.chance(0.012) {
                    return c.into();
                }
                match rng.below(3) {
                    0 => String::new(),
                    1 => [c, c].iter().collect(),
                    _ => ((b'a' + rng.below(26) as u8) as char).into(),
                }
            });
        }
        46..49 => rewrite(document, rng, |c, _| match c {
            '\'' => "\u{2019}".into(),
            '-' => "\u{2013}".into(),
            c => c.into(),
        }),
        _ => (),
    }
}

fn rewrite(document: &mut Document, rng: &mut Rng, mut to: impl FnMut(char, &mut Rng) -> String) {
    let mut text = String::with_capacity(document.text.len());
    let mut map = vec![0; document.text.len() + 1];
    for (at, c) in document.text.char_indices() {
        map[at] = text.len();
        text.push_str(&to(c, rng));
    }
    map[document.text.len()] = text.len();
    for (start, end, _) in &mut document.spans {
        (*start, *end) = (map[*start], map[*end]);
    }
    document.text = text;
}

/// Notes of a synthetic hospital with their spans. Seeds from 1,000,000 on are for measuring only.
pub fn synthetic(seed: u64, patients: u64) -> Result<Vec<Document>> {
    let dir = tempfile::tempdir()?;
    let options = SynthOptions { patients, seed, dirt: Dirt::none(), threads: 1, ..Default::default() };
    Hospital::new(options).write(dir.path(), &|_| ())?;
    let mut spans = HashMap::<String, Vec<(usize, usize, u8)>>::new();
    for row in csv(&fs::read_to_string(dir.path().join("truth/note_spans.csv"))?) {
        let class = match (row[3].as_str(), row[4].as_str()) {
            ("name", "employer") => 2,
            ("name", _) => 0,
            ("street-address" | "city" | "county", _) => 1,
            _ => continue,
        };
        spans.entry(row[0].clone()).or_default().push((row[1].parse()?, row[2].parse()?, class));
    }
    let notes = csv(&fs::read_to_string(dir.path().join("csv/notes.csv"))?);
    let text = notes.first().and_then(|row| row.iter().position(|name| name == "text")).context("a text column")?;
    Ok(notes
        .iter()
        .skip(1)
        .map(|row| {
            let mut document = Document { text: row[text].clone(), spans: spans.remove(&row[0]).unwrap_or_default() };
            // The hospital counts the title as part of a provider's name; the tagger does not.
            for (start, end, class) in &mut document.spans {
                let name = document.text.get(*start..*end).unwrap_or("");
                if *class == 0 && name.starts_with("Dr. ") {
                    *start += "Dr. ".len();
                }
            }
            document
        })
        .collect())
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

/// A labelled text of somebody else: spans with their label, whatever its kinds.
pub struct Labelled {
    pub text: String,
    pub spans: Vec<(usize, usize, String)>,
}

pub fn asq(dir: &Path) -> Result<Vec<Labelled>> {
    let file = fs::read_to_string(dir.join("asq-phi-half.txt"))?;
    let mut out = Vec::new();
    for block in file.split("===QUERY===").skip(1) {
        let (body, tags) = block.split_once("===PHI_TAGS===").context("tags")?;
        let text = body.trim().to_owned();
        let mut spans = Vec::new();
        for line in tags.lines().filter(|line| line.starts_with('{')) {
            let tag: serde_json::Value = serde_json::from_str(line)?;
            let (Some(value), Some(kind)) = (tag["value"].as_str(), tag["identifier_type"].as_str()) else { continue };
            spans.extend(text.match_indices(value).map(|(at, _)| (at, at + value.len(), kind.to_owned())));
        }
        out.push(Labelled { text, spans });
    }
    Ok(out)
}

pub fn presidio(dir: &Path) -> Result<Vec<Labelled>> {
    let file = fs::read_to_string(dir.join("presidio-research-synth-v2-half.json"))?;
    let all: Vec<serde_json::Value> = serde_json::from_str(&file)?;
    let mut out = Vec::new();
    for one in all {
        let text = one["full_text"].as_str().context("text")?.to_owned();
        let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let place = |value: &serde_json::Value| {
            value.as_u64().and_then(|at| offsets.get(at as usize).copied()).unwrap_or(text.len())
        };
        let spans = one["spans"].as_array().into_iter().flatten().map(|span| {
            let kind = span["entity_type"].as_str().unwrap_or("").to_owned();
            (place(&span["start_position"]), place(&span["end_position"]), kind)
        });
        let spans = spans.collect();
        out.push(Labelled { text, spans });
    }
    Ok(out)
}

/// Documents of the templates that were kept out of training.
pub fn made_all(grammar: &Grammar, lists: &Lists, count: usize) -> Vec<Document> {
    let mut rng = Rng::new(super::MEASURED, 1);
    (0..count)
        .map(|_| {
            let mut document = made(grammar, lists, Side::Dev, &mut rng);
            document.spans.retain(|(from, to, _)| from < to);
            document
        })
        .collect()
}
