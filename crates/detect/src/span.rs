//! Where something was found, and what becomes of findings that overlap.

use std::collections::BTreeMap;

use cordon_phi::IdentifierKind;

/// A finding: bytes `start..end` of the text, on character boundaries. It holds no text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub kind: IdentifierKind,
    /// How sure, from 0 to 1. Not a probability: checksums and labels move it up, clinical surroundings down.
    pub score: f32,
    /// The rule that found it, for `inspect` and for reasons in a report.
    pub source: &'static str,
}

impl Span {
    fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Which of overlapping findings names the kind: length counts for as much as a little certainty, so that
    /// `MAY` within `12 MAY ST` does not make the street a date.
    fn weight(&self) -> f32 {
        self.score + 0.015 * self.len().min(20) as f32
    }
}

/// Sorts `spans` from index `from` on and makes them disjoint: of those that overlap the best keeps its kind and extent, and
/// what another covers beyond it stays covered. Findings below `min_score` go; parts of one address become one.
///
/// Nothing that an accepted finding covers is ever uncovered by another one.
pub fn resolve(text: &str, spans: &mut Vec<Span>, from: usize, min_score: f32) {
    let mut found = spans.split_off(from.min(spans.len()));
    found.retain(|span| span.score >= min_score && span.start < span.end && text.get(span.start..span.end).is_some());
    found.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
    let mut cluster = Vec::new();
    let mut reach = 0;
    for span in found {
        if span.start >= reach {
            settle(text, &mut cluster, spans);
        }
        reach = reach.max(span.end);
        cluster.push(span);
    }
    settle(text, &mut cluster, spans);
    join(text, spans, from);
}

/// Appends what a chain of overlapping findings comes to: the best keep their extent, the others what is left of theirs.
fn settle(text: &str, cluster: &mut Vec<Span>, out: &mut Vec<Span>) {
    if cluster.len() < 2 {
        out.append(cluster);
        return;
    }
    cluster.sort_by(|a, b| b.weight().total_cmp(&a.weight()).then(a.start.cmp(&b.start)));
    let mut taken: BTreeMap<usize, Span> = BTreeMap::new();
    for span in cluster.drain(..) {
        let mut at = span.start;
        if let Some((_, before)) = taken.range(..=span.start).next_back() {
            at = at.max(before.end);
        }
        let inside: Vec<(usize, usize)> =
            taken.range(at..span.end.max(at)).map(|(start, other)| (*start, other.end)).collect();
        for (start, end) in inside.into_iter().chain([(span.end, span.end)]) {
            if let Some(piece) = trimmed(text, &span, Span { start: at, end: start, ..span }) {
                taken.insert(piece.start, piece);
            }
            at = end;
        }
    }
    out.extend(taken.into_values());
}

/// The span without blanks and marks at its ends; `None` when no letter or digit is left.
/// Ends that the finding had from the first stay as they are.
fn trimmed(text: &str, whole: &Span, span: Span) -> Option<Span> {
    if span.start >= span.end {
        return None;
    }
    let inside = text.get(span.start..span.end)?;
    let start = inside.find(char::is_alphanumeric)?;
    let end = span.start + inside.trim_end_matches(|c: char| !c.is_alphanumeric()).len();
    let start = if span.start == whole.start { span.start } else { span.start + start };
    let end = if span.end == whole.end { span.end } else { end };
    Some(Span { start, end, ..span })
}

/// One finding out of neighbours of one kind that touch, or that are parts of one street address (`12 Elm St`, `Apt 4`)
/// with only a comma and blanks between.
fn join(text: &str, spans: &mut Vec<Span>, from: usize) {
    let mut kept: Vec<Span> = Vec::with_capacity(spans.len().saturating_sub(from));
    for span in spans.drain(from..) {
        let before = kept.last_mut().filter(|last| last.kind == span.kind);
        if let Some(last) = before {
            let near = span.start == last.end
                || span.kind == IdentifierKind::StreetAddress
                    && text.get(last.end..span.start).is_some_and(|between| {
                        between.len() <= 4 && between.chars().all(|c| c.is_whitespace() || matches!(c, ',' | '.' | ';'))
                    });
            if near {
                last.end = span.end;
                last.score = last.score.max(span.score);
                continue;
            }
        }
        kept.push(span);
    }
    spans.append(&mut kept);
}
