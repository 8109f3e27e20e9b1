//! Trains the tagger of `cordon-detect` (developer tool).
//!
//! ```text
//! python3 crates/trainer/fetch.py WORK                     # the lists, once
//! cargo run -p cordon-trainer -- train --lists WORK/lists  # writes crates/detect/src/tagger/model.bin
//! cargo run -p cordon-trainer -- measure --lists WORK/lists [--notes FOLDER]
//! ```
//!
//! The same lists, seed and sizes give the same bytes. `docs/models/tagger.md` has the rest.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::needless_range_loop,
    clippy::needless_for_each,
    clippy::format_push_string,
    clippy::format_collect,
    reason = "a developer tool over its own data: what is wrong stops it, it talks to the terminal, and its matrices \
              are indexed as in the textbook"
)]

mod corpus;
mod crf;
mod gazetteer;
mod grammar;
mod lists;
mod measure;
mod rng;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use cordon_detect::tagger::lexicon::Lexicon;
use cordon_detect::tagger::{Tagger, Widen};
use grammar::{Document, Grammar, Side};
use lists::Lists;
use rng::Rng;
use sha2::{Digest, Sha256};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Trains and writes the model.
    Train {
        #[arg(long)]
        lists: PathBuf,
        #[arg(long, default_value = "crates/detect/src/tagger/model.bin")]
        out: PathBuf,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Documents made from the templates.
        #[arg(long, default_value_t = 300_000)]
        documents: usize,
        /// What is taken off the score of "outside".
        #[arg(long, default_value_t = 0.7)]
        caution: f32,
        /// Rows touched less often than this are dropped.
        #[arg(long, default_value_t = 4)]
        rare: u16,
        #[arg(long)]
        notes: Option<PathBuf>,
    },
    /// Measures the shipped model on held-out templates, fresh synthetic notes and public sets.
    Measure {
        #[arg(long)]
        lists: PathBuf,
        #[arg(long)]
        notes: Option<PathBuf>,
        /// Another model than the shipped one.
        #[arg(long)]
        model: Option<PathBuf>,
        /// Prints texts of the dev set with what was missed or wrong.
        #[arg(long, default_value_t = 0)]
        show: usize,
    },
    /// Marks what a model finds in the text of standard input.
    Mark {
        #[arg(long)]
        model: Option<PathBuf>,
    },
    /// Prints documents of the training set.
    Sample {
        #[arg(long)]
        lists: PathBuf,
        #[arg(long, default_value_t = 20)]
        count: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn templates() -> Result<Grammar> {
    Grammar::parse(&[
        include_str!("../grammar/entities.txt"),
        include_str!("../grammar/clinical.txt"),
        include_str!("../grammar/notes.txt"),
        include_str!("../grammar/queries.txt"),
        include_str!("../grammar/general.txt"),
    ])
}

/// Seeds of documents that are only measured on.
const MEASURED: u64 = 1_000_000;

fn main() -> Result<()> {
    let grammar = templates()?;
    match Args::parse().verb {
        Verb::Train { lists, out, seed, documents, caution, rare, notes } => {
            ensure!(seed < MEASURED, "seeds from {MEASURED} on are for measuring");
            let lists = Lists::read(&lists)?;
            let words = gazetteer::Gazetteer::build(&lists, &grammar);
            println!("{} words on lists", words.len());
            let lexicon = Lexicon::new(words.iter().copied());
            let hospital = corpus::synthetic(seed, 60)?;
            println!("{} notes of the synthetic hospital", hospital.len());
            let mut trainer = crf::Trainer::new(0.25);
            let mut rng = Rng::new(seed, 0);
            let start = Instant::now();
            for at in 0..documents {
                let mut document = if at % 40 == 0 {
                    let mut note = rng.pick(&hospital).clone();
                    corpus::spoil(&mut note, &mut rng);
                    note
                } else {
                    corpus::made(&grammar, &lists, Side::Train, &mut rng)
                };
                document.spans.retain(|(from, to, _)| from < to);
                let example = crf::example(&document, &lexicon, Some((&crf::FORGET, &mut rng)));
                trainer.rate = 0.25 * (1.0 - 0.9 * at as f32 / documents as f32);
                trainer.learn(&example);
                if (at + 1) % 15_000 == 0 {
                    let seconds = start.elapsed().as_secs_f64();
                    println!(
                        "{:>7} documents, {} tokens, loss a token {:.4}, {seconds:.0} s",
                        at + 1,
                        trainer.tokens,
                        trainer.loss / trainer.tokens as f64
                    );
                    (trainer.loss, trainer.tokens) = (0.0, 0);
                }
            }
            for caution in [0.0, 0.7] {
                let file = trainer.parts(words.clone(), rare, caution).write();
                println!("caution {caution}: {} bytes", file.len());
                let held = corpus::made_all(&grammar, &lists, 1500);
                report(&Tagger::read(&file)?, &held, None, notes.as_deref())?;
            }
            let file = trainer.parts(words, rare, caution).write();
            std::fs::write(&out, &file)?;
            println!("{} bytes, SHA-256 {}", file.len(), hex(&file));
        }
        Verb::Measure { lists, notes, model, show } => {
            let lists = Lists::read(&lists)?;
            let file = model.map(std::fs::read).transpose()?;
            let tagger = file.map(|file| Tagger::read(&file)).transpose()?;
            let tagger = tagger.as_ref().unwrap_or_else(|| Tagger::shipped());
            let held = corpus::made_all(&grammar, &lists, 4000);
            let hospital = corpus::synthetic(MEASURED, 40)?;
            report(tagger, &held, Some(&hospital), notes.as_deref())?;
            let text: String =
                hospital.iter().map(|note| note.text.as_str()).collect::<Vec<_>>().join("\n\n").repeat(8);
            let start = processor_seconds();
            let mut found = Vec::new();
            for _ in 0..8 {
                found.clear();
                tagger.tag(&text, &mut found);
            }
            let seconds = (processor_seconds() - start) / 8.0;
            println!("{:.2} MB per processor second over {} bytes", text.len() as f64 / 1e6 / seconds, text.len());
            for document in held.iter().take(show) {
                println!("{}", measure::differences(tagger, document));
            }
        }
        Verb::Mark { model } => {
            let file = model.map(std::fs::read).transpose()?;
            let tagger = file.map(|file| Tagger::read(&file)).transpose()?;
            let text = std::io::read_to_string(std::io::stdin())?;
            print!("{}", measure::marked(tagger.as_ref().unwrap_or_else(|| Tagger::shipped()), &text));
        }
        Verb::Sample { lists, count, seed } => {
            let lists = Lists::read(&lists)?;
            let mut rng = Rng::new(seed, 0);
            for _ in 0..count {
                println!("{}\n----", corpus::made(&grammar, &lists, Side::Train, &mut rng).marked());
            }
        }
    }
    Ok(())
}

fn report(tagger: &Tagger, held: &[Document], hospital: Option<&[Document]>, notes: Option<&Path>) -> Result<()> {
    print!("{}", measure::documents(tagger, held).say("held-out templates"));
    if let Some(hospital) = hospital {
        print!("{}", measure::documents(tagger, hospital).say("synthetic notes"));
    }
    if let Some(dir) = notes {
        let wide = Widen { titles: true, states: true };
        let (asq, presidio) = (corpus::asq(dir)?, corpus::presidio(dir)?);
        print!("{}", measure::labelled(tagger, &asq, measure::ASQ, Widen::default()).say("ASQ-PHI"));
        print!("{}", measure::labelled(tagger, &asq, measure::ASQ, wide).say("ASQ-PHI, widened"));
        let tally = measure::labelled(tagger, &presidio, measure::PRESIDIO, Widen::default());
        print!("{}{}", tally.say("presidio-research"), tally.classes());
    }
    Ok(())
}

/// Time this thread was on a processor, where the system tells it.
fn processor_seconds() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

fn hex(file: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(file))
}
