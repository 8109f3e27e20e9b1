//! Token recall and precision as the project counts them: a token counts as found only if every
//! alphanumeric character of it is covered.

use std::collections::BTreeMap;

use cordon_detect::Span;
use cordon_detect::tagger::{Tagger, Widen, widen};
use cordon_phi::IdentifierKind;

use crate::corpus::Labelled;
use crate::grammar::Document;

#[derive(Default)]
pub struct Tally {
    /// By kind: tokens, tokens found.
    pub kinds: BTreeMap<String, (usize, usize)>,
    pub right: usize,
    pub wrong: usize,
    pub texts: usize,
    pub empty: usize,
    pub empty_touched: usize,
    /// Kind and shape of what was missed: never the text.
    pub misses: Vec<(String, String)>,
}

pub fn documents(tagger: &Tagger, documents: &[Document]) -> Tally {
    let mut tally = Tally::default();
    for document in documents {
        let spans = document.spans.iter().map(|(start, end, class)| {
            (*start, *end, ["name", "place", "organisation"][usize::from(*class)].to_owned())
        });
        tally.text(tagger, &document.text, &spans.collect::<Vec<_>>(), &[], Widen::default());
    }
    tally
}

pub fn labelled(tagger: &Tagger, texts: &[Labelled], wanted: &[&str], how: Widen) -> Tally {
    let mut tally = Tally::default();
    for text in texts {
        tally.text(tagger, &text.text, &text.spans, wanted, how);
    }
    tally
}

impl Tally {
    /// Gold of kinds that are not wanted (none wanted: all are) is neither hit nor miss.
    fn text(&mut self, tagger: &Tagger, text: &str, gold: &[(usize, usize, String)], wanted: &[&str], how: Widen) {
        let mut found: Vec<Span> = Vec::new();
        tagger.tag(text, &mut found);
        widen(text, how, &mut found);
        let mut covered = vec![false; text.len()];
        for span in &found {
            covered[span.start..span.end].fill(true);
        }
        let mut truth: Vec<Option<&str>> = vec![None; text.len()];
        for pass in [false, true] {
            for (start, end, kind) in gold {
                if (wanted.is_empty() || wanted.contains(&kind.as_str())) == pass {
                    truth[*start..*end].fill(Some(if pass { kind } else { "" }));
                }
            }
        }
        self.texts += 1;
        let mut touched = false;
        let mut token = Vec::new();
        for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
            if c.is_alphanumeric() || c == '_' {
                token.push(at);
                continue;
            }
            if token.is_empty() {
                continue;
            }
            let kind = token.iter().filter_map(|at| truth[*at]).max();
            match kind {
                Some("") => (),
                Some(kind) => {
                    let hit = token.iter().filter(|at| truth[**at].is_some()).all(|at| covered[*at]);
                    let count = self.kinds.entry(kind.to_owned()).or_default();
                    count.0 += 1;
                    count.1 += usize::from(hit);
                    self.right += usize::from(hit);
                    if !hit {
                        self.misses.push((kind.to_owned(), shape(&token, text)));
                    }
                }
                None => {
                    let any = token.iter().any(|at| covered[*at]);
                    touched |= any;
                    self.wrong += usize::from(any);
                }
            }
            token.clear();
        }
        if gold.is_empty() {
            self.empty += 1;
            self.empty_touched += usize::from(touched);
        }
    }

    pub fn say(&self, name: &str) -> String {
        let ratio = |a: usize, b: usize| if b == 0 { 1.0 } else { a as f64 / b as f64 };
        let all: usize = self.kinds.values().map(|(all, _)| all).sum();
        let mut line = format!(
            "{name:<22} recall {:.4} precision {:.4}  texts {}, without identifiers {}, of them touched {}\n",
            ratio(self.right, all),
            ratio(self.right, self.right + self.wrong),
            self.texts,
            self.empty,
            self.empty_touched
        );
        for (kind, (all, hit)) in &self.kinds {
            line.push_str(&format!("    {kind:<22} {:.4} of {all}\n", ratio(*hit, *all)));
        }
        line
    }

    /// The commonest shapes among the misses.
    pub fn classes(&self) -> String {
        let mut counts = BTreeMap::<_, usize>::new();
        for miss in &self.misses {
            *counts.entry(miss).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().map(|(miss, count)| (count, miss)).collect();
        counts.sort_by(|a, b| b.cmp(a));
        counts.iter().take(24).map(|(count, (kind, shape))| format!("    missed {count:>4} {kind} {shape}\n")).collect()
    }
}

/// "X" for a capital, "x" for a small letter, "9" for a digit; a run once.
fn shape(token: &[usize], text: &str) -> String {
    let mut out = String::new();
    for c in token.iter().filter_map(|at| text.get(*at..)?.chars().next()) {
        let class = match c {
            c if c.is_uppercase() => 'X',
            c if c.is_alphabetic() => 'x',
            _ => '9',
        };
        if !out.ends_with(class) {
            out.push(class);
        }
    }
    out
}

/// Kinds of the public sets that this finder is for.
pub const ASQ: &[&str] = &["NAME", "GEOGRAPHIC_LOCATION"];
pub const PRESIDIO: &[&str] = &["PERSON", "STREET_ADDRESS", "GPE", "ORGANIZATION"];

/// The text with what is found in brackets.
pub fn marked(tagger: &Tagger, text: &str) -> String {
    let mut found = Vec::new();
    tagger.tag(text, &mut found);
    let spans = found.iter().map(|span| {
        let class = match span.kind {
            IdentifierKind::Name => 0,
            IdentifierKind::Organization => 2,
            _ => 1,
        };
        (span.start, span.end, class)
    });
    Document { text: text.to_owned(), spans: spans.collect() }.marked()
}

/// The text as it should be marked and as it is; empty if they agree.
pub fn differences(tagger: &Tagger, document: &Document) -> String {
    match (document.marked(), marked(tagger, &document.text)) {
        (want, got) if want == got => String::new(),
        (want, got) => format!("want {want}\ngot  {got}\n"),
    }
}
