//! The tagger with the model that ships.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use cordon_detect::Span;
use cordon_detect::tagger::model::ModelError;
use cordon_detect::tagger::{SHIPPED, Tagger, Widen, widen};
use cordon_phi::IdentifierKind;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn tag(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    Tagger::shipped().tag(text, &mut spans);
    spans
}

fn found(text: &str) -> Vec<&str> {
    tag(text).iter().map(|span| &text[span.start..span.end]).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(found(text), expected, "in {text:?}");
}

#[track_caller]
fn survives(text: &str) {
    check(text, &[]);
}

#[test]
fn shipped_model_is_the_one_that_the_card_describes() {
    assert!(!Tagger::shipped().is_empty());
    assert!(SHIPPED.len() <= 3 << 20, "{} bytes", SHIPPED.len());
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(SHIPPED));
    let card = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/models/tagger.md");
    let card = fs::read_to_string(card).unwrap();
    assert!(card.contains(&hash), "the model card does not name {hash}: retrained without measuring?");
}

#[test]
fn damaged_models_are_refused() {
    assert_eq!(Tagger::read(b"").err(), Some(ModelError::Magic));
    assert_eq!(Tagger::read(b"CORDTAG2xxxx").err(), Some(ModelError::Magic));
    for keep in [8, 9, 100, SHIPPED.len() / 2, SHIPPED.len() - 1] {
        assert!(Tagger::read(&SHIPPED[..keep]).is_err(), "cut at {keep}");
    }
    for at in (8..SHIPPED.len()).step_by(SHIPPED.len() / 7) {
        let mut file = SHIPPED.to_vec();
        file[at] ^= 0x55;
        // It may be read, with other numbers; it may not panic, nor tag outside the text.
        if let Ok(tagger) = Tagger::read(&file) {
            tagger.tag("Mr. Okafor from Duluth", &mut Vec::new());
        }
    }
}

#[test]
fn names_in_many_spellings() {
    check("Patient: HERNANDEZ, MARIA L    DOB: 03/04/1957", &["HERNANDEZ, MARIA L"]);
    check("Patient Name: Maria Hernandez", &["Maria Hernandez"]);
    check("Mr. O'Brien was seen by Dr. Nguyen today.", &["O'Brien", "Nguyen"]);
    check("Mr. O\u{2019}Brien denies chest pain.", &["O\u{2019}Brien"]);
    check("Ms. Washington-Diaz tolerated the procedure well.", &["Washington-Diaz"]);
    check("Discussed with Dr. Zoë Müller, who agrees.", &["Zoë Müller"]);
    check("Her husband José called about the refill.", &["José"]);
    check("Signed: Samir K. Rao, MD", &["Samir K. Rao"]);
    check("pt john smith c/o chest pain, wife karen at bedside", &["john smith", "karen"]);
    check("PATIENT JAMES WHITAKER SEEN IN CLINIC TODAY.", &["JAMES WHITAKER"]);
    check("Seen with Dr. van der Berg.", &["van der Berg"]);
    check("Mr. Okonkwo's daughter Ngozi is at the bedside.", &["Okonkwo", "Ngozi"]);
    // On no list at all.
    check("Mrs. Zwertiblonk reports nausea.", &["Zwertiblonk"]);
    check("Dear Dr. Kravchuk-Oyelaran,", &["Kravchuk-Oyelaran"]);
}

#[test]
fn places_and_organisations() {
    check("She moved from Duluth to Baton Rouge last year.", &["Duluth", "Baton Rouge"]);
    check("Lives in Cuyahoga County with his son.", &["Cuyahoga County"]);
    check("Transferred from Lakewood General Hospital.", &["Lakewood General Hospital"]);
    check("transferred from mercy hospital in dayton", &["mercy hospital", "dayton"]);
    check("He was admitted to St. Vincent's for pneumonia.", &["St. Vincent's"]);
    check("Works at Copper Ridge Middle School.", &["Copper Ridge Middle School"]);
    let kinds = |text| tag(text).iter().map(|span| span.kind).collect::<Vec<_>>();
    assert_eq!(kinds("Lives in Cuyahoga County."), [IdentifierKind::County]);
    assert_eq!(kinds("She moved to Duluth."), [IdentifierKind::City]);
    assert_eq!(kinds("Seen at Lakewood General Hospital."), [IdentifierKind::Organization]);
    assert_eq!(kinds("Mr. Okafor is here."), [IdentifierKind::Name]);
    assert_eq!(kinds("Address: 42 Harbor Lane"), [IdentifierKind::StreetAddress]);
}

#[test]
fn a_name_that_is_a_disease_too() {
    check("Ms. Graves has Graves disease.", &["Graves"]);
    check("Pt Brown has a Brown-Séquard lesion.", &["Brown"]);
    check("Mr. Parkinson has Parkinson's disease; Dr. Bell ruled out Bell palsy.", &["Parkinson", "Bell"]);
    check("Son Will and daughter May live nearby. May take Tylenol.", &["Will", "May"]);
}

#[test]
fn eponyms_survive() {
    for text in [
        "History of Parkinson disease, Hodgkin lymphoma and Crohn's disease.",
        "Down syndrome, Graves disease, Bell palsy, Wilson disease, Addison disease.",
        "Babinski down-going, Romberg steady, Homans sign negative, Murphy sign absent.",
        "Glasgow Coma Scale 15. Apgar 9 and 10. Braden score 19.",
        "Kerley B lines. Hampton hump. Westermark sign.",
        "Foley catheter draining clear urine; Hickman line site clean; Jackson-Pratt drain dry.",
        "Status post Whipple, Nissen fundoplication and Roux-en-Y.",
        "Wolff-Parkinson-White, Stevens-Johnson syndrome, Guillain-Barré syndrome.",
        "FOLEY REMOVED. NO KERLEY B LINES. HODGKIN LYMPHOMA IN REMISSION.",
        "hx of crohn's disease, hodgkin lymphoma and bell palsy, foley in place",
        "Los Angeles grade B esophagitis; Boston bowel preparation score 8.",
    ] {
        survives(text);
    }
}

#[test]
fn drugs_and_laboratory_text_survive() {
    for text in [
        "Continue Lisinopril 20 mg daily, Metformin 1000 mg BID and Atorvastatin 40 mg QHS.",
        "on lipitor, coumadin, keppra and depakote",
        "Ativan, Haldol and Benadryl PRN agitation. Seroquel at night.",
        "Na 140, K 4.1, Cl 101, HCO3 24, BUN 14, Cr 0.9, Glucose 101.",
        "Hgb 12.1 g/dL, WBC 7.2 K/uL, Plt 250, INR 1.1, Troponin I negative.",
        "Gram stain with gram-positive cocci. Cultures grew E. coli sensitive to Bactrim.",
        "BP 120/80, HR 72, RR 14, T 98.6, SpO2 99% on room air.",
        "PAST MEDICAL HISTORY: HYPERTENSION, TYPE 2 DIABETES MELLITUS, COPD",
        "What are the current ADA guidelines for type 2 diabetes?",
        "Is there an interaction between warfarin and amiodarone?",
    ] {
        survives(text);
    }
}

#[test]
fn widening_takes_titles_and_states() {
    let text = "Dr. Okafor of Duluth, MN saw Mrs. Bell in Toledo, Ohio.";
    let mut spans = tag(text);
    widen(text, Widen { titles: true, states: true }, &mut spans);
    let found: Vec<_> = spans.iter().map(|span| &text[span.start..span.end]).collect();
    assert_eq!(found, ["Dr. Okafor", "Duluth, MN", "Mrs. Bell", "Toledo, Ohio"]);
    let mut spans = tag(text);
    let before = spans.clone();
    widen(text, Widen::default(), &mut spans);
    assert_eq!(spans, before);
}

/// Seconds to tag a text, the best of three.
fn seconds(text: &str) -> f64 {
    let once = || {
        let start = Instant::now();
        well_formed(text, &tag(text));
        start.elapsed().as_secs_f64()
    };
    once().min(once()).min(once())
}

#[track_caller]
fn well_formed(text: &str, spans: &[Span]) {
    let mut floor = 0;
    for span in spans {
        assert!(floor <= span.start && span.start < span.end && span.end <= text.len());
        assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
        assert!((0.0..=1.0).contains(&span.score));
        floor = span.end;
    }
}

#[test]
fn hostile_texts_take_linear_time() {
    for unit in [
        "a",
        "\n",
        " ",
        "\n ",
        "'",
        "a'",
        "'s",
        ".",
        "A",
        "é",
        "\u{301}",
        "李",
        "\u{2019}",
        "Dr. ",
        "Mr. Smith ",
        "A-",
        "x: ",
        "\r\n",
        "9",
        "New York ",
        "\t\n",
        "\u{2028}",
        "🩺",
    ] {
        let small = unit.repeat(100_000 / unit.len());
        let large = unit.repeat(1_600_000 / unit.len());
        let (one, sixteen) = (seconds(&small).max(2e-3), seconds(&large));
        assert!(sixteen < one * 16.0 * 6.0, "{unit:?}: {one} s, then {sixteen} s");
    }
    let word = "Q".repeat(10_000_000);
    well_formed(&word, &tag(&word));
    let lines = "\n".repeat(1_000_000);
    assert!(tag(&lines).is_empty());
    let indented = format!("\n{}", " ".repeat(1_000)).repeat(2_000);
    assert!(seconds(&indented) < 2.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn spans_are_sorted_disjoint_and_on_boundaries(text in "\\PC{0,200}") {
        well_formed(&text, &tag(&text));
    }

    #[test]
    fn so_are_they_in_what_looks_like_a_note(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "Dr.", "Mr.", "Smith", "SMITH", "smith", "José", "O'Brien", "O\u{2019}Neil", ",", ".", ":", "\n", "\n\n", "(",
                "New", "York", "St.", "Mary's", "Hospital", "in", "at", "MN", "Ohio", "12", "Elm", "Street", "-", "'s", "李", "\t",
            ]),
            0..80,
        ),
        glue in prop::sample::select(vec!["", " ", "  "]),
    ) {
        let text = words.join(glue);
        let mut spans = tag(&text);
        well_formed(&text, &spans);
        widen(&text, Widen { titles: true, states: true }, &mut spans);
        well_formed(&text, &spans);
    }

    #[test]
    fn any_bytes_as_a_model_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut file = b"CORDTAG1".to_vec();
        file.extend(bytes);
        let _ = Tagger::read(&file);
    }
}

/// Token recall and precision on the public queries, for names and places only: other kinds count neither way.
#[test]
fn public_queries_stay_above_the_floor() {
    let Some(file) = shared("notes/asq-phi-half.txt") else {
        eprintln!("skipped: no shared data");
        return;
    };
    let file = fs::read_to_string(file).unwrap();
    let (mut hit, mut missed, mut wrong) = (0, 0, 0);
    for block in file.split("===QUERY===").skip(1) {
        let (body, tags) = block.split_once("===PHI_TAGS===").unwrap();
        let text = body.trim();
        let mut truth = vec![0u8; text.len()];
        for line in tags.lines().filter(|line| line.starts_with('{')) {
            let tag: serde_json::Value = serde_json::from_str(line).unwrap();
            let mark =
                if matches!(tag["identifier_type"].as_str(), Some("NAME" | "GEOGRAPHIC_LOCATION")) { 2 } else { 1 };
            let value = tag["value"].as_str().unwrap();
            for (at, _) in text.match_indices(value) {
                for slot in &mut truth[at..at + value.len()] {
                    *slot = mark.max(*slot);
                }
            }
        }
        let mut spans = tag(text);
        widen(text, Widen { titles: true, states: true }, &mut spans);
        let mut covered = vec![false; text.len()];
        for span in &spans {
            covered[span.start..span.end].fill(true);
        }
        let mut start = 0;
        for token in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
            let end = start + token.trim_end_matches(|c: char| !c.is_alphanumeric()).len();
            if end > start {
                match truth[start..end].iter().max() {
                    Some(2) if covered[start..end].iter().all(|c| *c) => hit += 1,
                    Some(2) => missed += 1,
                    Some(0) if covered[start..end].iter().any(|c| *c) => wrong += 1,
                    _ => (),
                }
            }
            start += token.len();
        }
    }
    let (recall, precision) = (ratio(hit, hit + missed), ratio(hit, hit + wrong));
    assert!(recall >= 0.975 && precision >= 0.95, "recall {recall:.4}, precision {precision:.4}");
}

fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

fn shared(name: &str) -> Option<PathBuf> {
    let base = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let path = base.join(name);
    path.exists().then_some(path)
}
