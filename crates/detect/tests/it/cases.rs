//! Runs `cases/detect/*.txt`: each file is a law, each line a text in which `[[kind:words]]` must be found and nothing else.
//!
//! `# …` is a comment, `! option` sets an option of the file, `\n` in a line a new line.

use std::fmt::Write as _;
use std::path::Path;

use cordon_detect::{Detector, DetectorOptions};
use cordon_phi::IdentifierKind;

type Found = Vec<(usize, usize, IdentifierKind)>;

fn read(line: &str) -> (String, Found) {
    let line = line.replace("\\n", "\n");
    let (mut text, mut spans) = (String::new(), Vec::new());
    let mut rest = line.as_str();
    while let Some((before, marked)) = rest.split_once("[[") {
        let (inside, after) = marked.split_once("]]").expect("a mark is closed");
        let (kind, words) = inside.split_once(':').expect("a mark names its kind");
        text.push_str(before);
        spans.push((text.len(), text.len() + words.len(), kind.parse().expect("a known kind")));
        text.push_str(words);
        rest = after;
    }
    text.push_str(rest);
    (text, spans)
}

fn write(text: &str, spans: &Found) -> String {
    let mut out = String::new();
    let mut at = 0;
    for (start, end, kind) in spans {
        write!(out, "{}[[{}:{}]]", &text[at..*start], kind.name(), &text[*start..*end]).unwrap();
        at = *end;
    }
    out + &text[at..]
}

fn options(words: &str, options: &mut DetectorOptions) {
    match words.trim() {
        "all-ages" => options.all_ages = true,
        "bare-years" => options.bare_years = true,
        "weekdays" => options.weekdays = true,
        "no-organizations" => options.organizations = false,
        "states" => options.states = true,
        "no-unlabelled-ids" => options.unlabelled_ids = false,
        "titles" => options.titles = true,
        other => panic!("unknown option {other}"),
    }
}

/// The laws of the recognisers, to the letter.
#[test]
fn every_case_is_found_and_nothing_else() {
    check(false, |_, found, expected| found == expected);
}

/// What the tagger adds is measured and not listed; nothing that the recognisers find may get lost by it.
#[test]
fn with_the_tagger_every_case_stays_hidden() {
    check(true, |text, found, expected| {
        let covered = |at: usize| found.iter().any(|(start, end, _)| *start <= at && at < *end);
        let mut places = expected.iter().flat_map(|(start, end, _)| *start..*end);
        places.all(|at| !text.as_bytes()[at].is_ascii_alphanumeric() || covered(at))
    });
}

fn check(tagger: bool, holds: impl Fn(&str, &Found, &Found) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/detect");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "cases are there");
    let mut wrong = String::new();
    let mut count = 0;
    for file in files {
        let mut chosen = DetectorOptions { tagger, ..DetectorOptions::default() };
        let lines = std::fs::read_to_string(&file).unwrap();
        lines.lines().filter_map(|line| line.strip_prefix('!')).for_each(|words| options(words, &mut chosen));
        let detector = Detector::new(chosen);
        for line in lines.lines().filter(|line| !line.trim().is_empty() && !line.starts_with(['#', '!'])) {
            count += 1;
            let (text, expected) = read(line);
            let mut spans = Vec::new();
            detector.find(&text, &mut spans);
            let found: Found = spans.iter().map(|span| (span.start, span.end, span.kind)).collect();
            if !holds(&text, &found, &expected) {
                let name = file.file_name().unwrap().to_string_lossy();
                let rules: Vec<_> = spans.iter().map(|span| span.source).collect();
                write!(
                    wrong,
                    "\n{name}\n  want {}\n  have {}\n  by   {rules:?}",
                    write(&text, &expected),
                    write(&text, &found)
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "of {count} cases:{}", wrong.replace("\n  ", "\n    "));
}
