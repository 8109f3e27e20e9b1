//! Finding identifiers in any text, and kinds of columns.

use std::sync::OnceLock;

use cordon_detect::{Detector, DetectorOptions, ProfileBuilder, Span};

fn detectors() -> &'static [Detector; 3] {
    static ALL: OnceLock<[Detector; 3]> = OnceLock::new();
    ALL.get_or_init(|| {
        let all = DetectorOptions {
            min_score: 0.0,
            all_ages: true,
            bare_years: true,
            weekdays: true,
            organizations: true,
            states: true,
            unlabelled_ids: true,
            titles: true,
            tagger: true,
        };
        let bare = DetectorOptions { tagger: false, organizations: false, ..DetectorOptions::default() };
        [Detector::new(DetectorOptions::default()), Detector::new(all), Detector::new(bare)]
    })
}

pub fn warm() {
    let mut out = Vec::new();
    for detector in detectors() {
        detector.find("Dr. Okafor, 12 Elm St, 219-09-9999", &mut out);
    }
}

pub fn find(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for detector in detectors() {
        let mut spans = Vec::new();
        detector.find(&text, &mut spans);
        let mut end = 0;
        for span in &spans {
            assert!(span.start >= end && span.start < span.end, "findings ascend and do not overlap");
            assert!(text.get(span.start..span.end).is_some(), "a finding cuts a character");
            assert!(span.score >= detector.options().min_score && span.score <= 1.0, "a score of {}", span.score);
            end = span.end;
        }
        // Neither what the caller had nor another text before it changes what is found.
        let mine =
            Span { start: 7, end: 3, kind: cordon_phi::IdentifierKind::Organization, score: 0.0, source: "mine" };
        let mut after = vec![mine];
        let mut finder = detector.finder();
        finder.find("Seen by Dr. Okafor on 2021-03-04.", &mut Vec::new());
        finder.find(&text, &mut after);
        assert!(after[0] == mine && after[1..] == spans, "other findings at a second call");
    }
    let mut lines = text.split('\n');
    let mut column = ProfileBuilder::new(lines.next().unwrap_or_default());
    let values: Vec<Option<&str>> = lines.map(Some).collect();
    column.update(&values);
    let verdict = column.finish();
    assert!(verdict.rows as usize == values.len() && verdict.nulls <= verdict.rows);
    assert!((0.0..=1.0).contains(&verdict.confidence) && (0.0..=1.0).contains(&verdict.share));
    assert!(verdict.distinct <= verdict.rows - verdict.nulls && verdict.lengths.0 <= verdict.lengths.1);
}
