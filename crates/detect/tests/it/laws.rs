//! What holds for any text.

use std::path::PathBuf;
use std::time::Instant;

use cordon_detect::{Detector, DetectorOptions, Span, resolve};
use cordon_phi::IdentifierKind;
use proptest::prelude::*;

fn everything() -> Detector {
    Detector::new(DetectorOptions {
        min_score: 0.0,
        all_ages: true,
        bare_years: true,
        weekdays: true,
        states: true,
        titles: true,
        ..DetectorOptions::default()
    })
}

fn find(detector: &Detector, text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    detector.find(text, &mut spans);
    spans
}

fn lawful(text: &str, spans: &[Span]) {
    let mut last = 0;
    for span in spans {
        assert!(span.start < span.end && span.start >= last, "sorted and disjoint");
        assert!(text.get(span.start..span.end).is_some(), "on character boundaries");
        assert!((0.0..=1.0).contains(&span.score));
        last = span.end;
    }
}

/// Pieces of what recognisers look for, so that random texts come near to them.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[0-9]{1,11}",
        "[-/.,:;()#@+'=* \n]{1,2}",
        "(Dr|Mr|MRN|SSN|Tel|Fax|St|Street|Hospital|March|May|Mon|Patient|son|IL|PO Box|zip|http|www|com|age|yo|ninety|Christmas|DOB|O'Neil|de la|MD|Apt|ext|x)",
        "[A-Z][a-z]{0,8}",
        "\\PC{1,3}",
        Just(String::from("\u{2019}")),
        Just(String::from("é")),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_gives_lawful_spans(text in "\\PC{0,400}") {
        lawful(&text, &find(&everything(), &text));
    }

    #[test]
    fn near_misses_give_lawful_spans(text in pieces()) {
        lawful(&text, &find(&everything(), &text));
    }

    #[test]
    fn columns_take_any_text(name in "\\PC{0,20}", values in prop::collection::vec(prop::option::of(pieces()), 0..20)) {
        let mut builder = cordon_detect::ProfileBuilder::new(&name);
        let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
        builder.update(&values);
        let verdict = builder.finish();
        prop_assert!((0.0..=1.0).contains(&verdict.confidence) && (0.0..=1.0).contains(&verdict.share));
        prop_assert!(verdict.nulls + verdict.distinct <= verdict.rows);
    }

    #[test]
    fn what_an_accepted_span_covers_stays_covered(
        raw in prop::collection::vec((0_usize..60, 1_usize..20, 0_usize..4, 0.0_f32..1.0), 0..30)
    ) {
        let text = "abcdefghij klmnopqrst uvwxyz0123 456789ABCD EFGHIJKLMN OPQRSTUVWX YZ";
        let kinds = [IdentifierKind::Name, IdentifierKind::ServiceDate, IdentifierKind::Phone, IdentifierKind::StreetAddress];
        let before: Vec<Span> = raw
            .iter()
            .map(|(start, length, kind, score)| Span {
                start: *start,
                end: (start + length).min(text.len()),
                kind: kinds[*kind],
                score: *score,
                source: "test",
            })
            .collect();
        let mut after = before.clone();
        resolve(text, &mut after, 0, 0.5);
        lawful(text, &after);
        for span in before.iter().filter(|span| span.score >= 0.5) {
            for at in span.start..span.end {
                let shown = text.as_bytes()[at].is_ascii_alphanumeric() && !after.iter().any(|s| s.start <= at && at < s.end);
                prop_assert!(!shown);
            }
        }
    }
}

/// Found by fuzzing: what a recogniser looks for before a word may be before the text.
#[test]
fn a_text_may_begin_with_what_others_end_with() {
    let detector = everything();
    for end in [
        "MA 02139",
        "MA",
        "New York 10001",
        "County",
        "St",
        "MD",
        "Hospital",
        "th",
        "@x.org",
        ".com",
        "PM",
        "Jr.",
        "/2021",
    ] {
        for before in ["", "-", ",", ", ", "- ", "Boston, ", "Boston ", "St. ", "St. Louis, ", "x. ", "7 ", "O'"] {
            let text = format!("{before}{end}. Okafor, {end}");
            lawful(&text, &find(&detector, &text));
        }
    }
}

#[test]
fn findings_go_behind_what_the_caller_has() {
    let first = Span { start: 900, end: 901, kind: IdentifierKind::Name, score: 1.0, source: "caller" };
    let mut spans = vec![first];
    Detector::new(DetectorOptions::default()).find("SSN 219-09-9999", &mut spans);
    assert_eq!((spans.len(), spans[0]), (2, first));
}

/// Time of this thread on a processor where the system tells it, as other work shares the machine.
fn seconds() -> f64 {
    static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|stat| stat.split_whitespace().next()?.parse::<f64>().ok())
        .map_or_else(|| BEGIN.get_or_init(Instant::now).elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

#[test]
fn hostile_text_takes_time_in_proportion() {
    let detector = everything();
    let units = [
        "7",
        "a@",
        "1.",
        ".",
        "(",
        "+1",
        "a.",
        "Dr. ",
        "http://",
        "www.",
        "12 Elm ",
        "O'",
        "MRN ",
        "MRN:",
        "A-",
        "0x",
        "::",
        "ab:",
        "555-",
        "3/4/",
        "Jan ",
        "St. ",
        "of ",
        "Hospital ",
        "a-b@",
        "\u{2019}",
        "é",
        "=/",
        "(01)",
        "John ",
        "John, ",
        "1 ",
        "0000 ",
        "%",
        "Mary's ",
        "X. ",
        "4-",
        "de la ",
        "Elm Street ",
        "lot ",
        "@a.com",
        "Mon, ",
        "born on ",
        "\n",
    ];
    for unit in units {
        let small = unit.repeat((64 << 10) / unit.len());
        let large = unit.repeat((1 << 20) / unit.len());
        let time = |text: &str| {
            let begin = seconds();
            lawful(text, &find(&detector, text));
            seconds() - begin
        };
        let (short, long) = (time(&small).max(0.002), time(&large));
        // Sixteen times the text; quadratic work would be 256 times.
        assert!(long < short * 80.0, "{unit:?}: {short:.3} s for 64 KiB, {long:.3} s for 1 MiB");
        assert!(long < 30.0, "{unit:?}: {long:.1} s");
    }
}

#[test]
fn windows_hide_nothing() {
    let detector = Detector::new(DetectorOptions::default());
    let filler = "The abdomen is soft without tenderness. ";
    let canary = "SSN: 219-09-9999, phone (617) 555-0199. ";
    let unit = filler.repeat(200) + canary;
    let text = unit.repeat(200);
    assert!(text.len() > 1 << 20);
    let spans = find(&detector, &text);
    lawful(&text, &spans);
    assert_eq!(spans.iter().filter(|span| span.kind == IdentifierKind::Ssn).count(), 200);
    assert_eq!(spans.iter().filter(|span| span.kind == IdentifierKind::Phone).count(), 200);
    assert!(
        spans
            .iter()
            .filter(|span| span.kind == IdentifierKind::Ssn)
            .all(|span| &text[span.start..span.end] == "219-09-9999")
    );
}

#[test]
fn the_lists_for_others_are_words_in_lower_case() {
    for list in [cordon_detect::EPONYMS, cordon_detect::DRUGS] {
        let words: Vec<_> =
            list.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
        assert!(words.len() > 200);
        assert!(words.iter().all(|word| word.chars().all(char::is_lowercase)));
    }
}

/// Token recall and precision of recognisers and tagger together on the public queries.
#[test]
fn public_queries_stay_above_the_floor() {
    let base = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let Ok(file) = std::fs::read_to_string(base.join("notes/asq-phi-half.txt")) else {
        eprintln!("skipped: no shared data");
        return;
    };
    let detector = Detector::new(DetectorOptions::default());
    let mut finder = detector.finder();
    let (mut hit, mut missed, mut wrong) = (0_u32, 0_u32, 0_u32);
    for record in file.split("===QUERY===").skip(1) {
        let (text, tags) = record.split_once("===PHI_TAGS===").unwrap();
        let text = text.trim();
        let mut truth = vec![false; text.len()];
        for tag in tags.lines().filter(|line| line.starts_with('{')) {
            let tag: serde_json::Value = serde_json::from_str(tag).unwrap();
            let value = tag["value"].as_str().unwrap();
            for (at, _) in text.match_indices(value) {
                truth[at..at + value.len()].fill(true);
            }
        }
        let mut spans = Vec::new();
        finder.find(text, &mut spans);
        assert_eq!(spans, find(&detector, text), "what was read before does not matter");
        let mut covered = vec![false; text.len()];
        for span in &spans {
            covered[span.start..span.end].fill(true);
        }
        let mut start = 0;
        for token in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
            let end = start + token.trim_end_matches(|c: char| !c.is_alphanumeric()).len();
            if end > start {
                let phi = truth[start..end].iter().any(|is| *is);
                let hidden = covered[start..end].iter().all(|is| *is);
                hit += u32::from(phi && hidden);
                missed += u32::from(phi && !hidden);
                wrong += u32::from(!phi && covered[start..end].iter().any(|is| *is));
            }
            start += token.len();
        }
    }
    let ratio = |part: u32, rest: u32| f64::from(part) / f64::from(part + rest);
    let (recall, precision) = (ratio(hit, missed), ratio(hit, wrong));
    assert!(recall >= 0.97 && precision >= 0.98, "recall {recall:.4}, precision {precision:.4}");
}
