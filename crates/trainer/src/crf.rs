//! Training: a linear-chain conditional random field by stochastic gradient (AdaGrad), one text a step.

use cordon_detect::tagger::decode::label;
use cordon_detect::tagger::features::{Around, Brief, Place, REACH, ROW_BITS, Word, context_rows, places, word_rows};
use cordon_detect::tagger::lexicon::{Lexicon, flag};
use cordon_detect::tagger::model::{LANES, NEVER, Parts, Row, SCALE, Scores};
use cordon_detect::tagger::tokens::{TokenKind, Tokens};

use crate::grammar::Document;
use crate::rng::Rng;

const LABELS: usize = label::COUNT;
/// Gradients below this are not worth their memory traffic.
const SMALL: f32 = 0.004;

pub struct Trainer {
    weights: Vec<[f32; LANES]>,
    squares: Vec<[f32; LANES]>,
    seen: Vec<u16>,
    transitions: [[f32; LABELS]; LABELS],
    transition_squares: [[f32; LABELS]; LABELS],
    pub rate: f32,
    pub tokens: u64,
    pub loss: f64,
}

/// A text as the field sees it: the rows of each token, and its label.
pub struct Example {
    rows: Vec<u32>,
    ends: Vec<usize>,
    labels: Vec<u8>,
}

/// How often the learner forgets, so that it does not lean on lists and words that will be missing.
pub struct Forget {
    pub name_lists: f64,
    pub place_lists: f64,
    pub other_lists: f64,
    pub entity_word: f64,
    pub other_word: f64,
}

pub const FORGET: Forget =
    Forget { name_lists: 0.15, place_lists: 0.12, other_lists: 0.04, entity_word: 0.35, other_word: 0.06 };

/// Labels of the tokens of a text.
pub fn labels(document: &Document) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut spans = document.spans.clone();
    spans.sort_unstable();
    let mut ahead = spans.iter().peekable();
    let mut inside: Option<(usize, u8)> = None;
    for token in Tokens::new(&document.text) {
        if inside.is_some_and(|(end, _)| token.start >= end) {
            inside = None;
        }
        while ahead.peek().is_some_and(|(_, end, _)| *end <= token.start) {
            ahead.next();
        }
        labels.push(match (inside, ahead.peek()) {
            (Some((_, class)), _) => class * 2 + 2,
            (None, Some((start, end, class))) if *start < token.end && token.kind != TokenKind::Newline => {
                inside = Some((*end, *class));
                ahead.next();
                class * 2 + 1
            }
            _ => label::O,
        });
    }
    labels
}

pub fn example(document: &Document, lexicon: &Lexicon, forget: Option<(&Forget, &mut Rng)>) -> Example {
    let tokens: Vec<_> = Tokens::new(&document.text).collect();
    let labels = labels(document);
    let mut buffer = Vec::new();
    let mut words: Vec<Word> = tokens
        .iter()
        .map(|token| Word::new(&document.text[token.start..token.end], token.kind, lexicon, &mut buffer))
        .collect();
    if let Some((forget, rng)) = forget {
        for (word, label) in words.iter_mut().zip(&labels) {
            let (lists, identity) = match label::class(*label) {
                Some(0) => (forget.name_lists, forget.entity_word),
                Some(_) => (forget.place_lists, forget.entity_word / 2.0),
                None => (forget.other_lists, forget.other_word),
            };
            // Words that do something (titles, "hospital", "wife") are never missing.
            const KEPT: u32 = flag::TITLE
                | flag::CREDENTIAL
                | flag::RELATION
                | flag::ORG_HEAD
                | flag::ORG_PART
                | flag::STREET
                | flag::CALENDAR
                | flag::LABEL
                | flag::STATE_CODE
                | flag::COMMON;
            if word.flags & KEPT == 0 {
                if rng.chance(lists) {
                    word.know(0);
                }
                if rng.chance(identity) {
                    word.forget();
                }
            }
        }
    }
    let briefs: Vec<(Brief, u32)> = words.iter().map(|word| (word.brief, word.key)).collect();
    let mut around: Vec<Place> = Vec::new();
    places(&tokens, &briefs, lexicon, &mut around);
    let mut example = Example { rows: Vec::new(), ends: Vec::new(), labels };
    let brief = |at: Option<usize>| at.and_then(|at| briefs.get(at)).map_or(Brief::EDGE, |(brief, _)| *brief);
    for at in 0..words.len() {
        for offset in 0..=2 * REACH {
            // The word `offset − REACH` behind this token speaks about it.
            if let Some(word) = (at + offset).checked_sub(REACH).and_then(|at| words.get(at)) {
                word_rows(word, offset, |row| example.rows.push(row));
            }
        }
        let seven = std::array::from_fn(|k| brief((at + k).checked_sub(3)));
        context_rows(&Around { words: seven }, &around[at], |row| example.rows.push(row));
        example.ends.push(example.rows.len());
    }
    example
}

/// e^x in the same bits on every machine.
fn exp(x: f32) -> f32 {
    let x = x.clamp(-80.0, 80.0) * std::f32::consts::LOG2_E;
    let whole = x.floor();
    let f = x - whole;
    let poly = 1.0
        + f * (std::f32::consts::LN_2 + f * (0.240_226_5 + f * (0.055_504_1 + f * (0.009_618_1 + f * 0.001_333_4))));
    poly * f32::from_bits(((whole as i32 + 127) as u32) << 23)
}

impl Trainer {
    pub fn new(rate: f32) -> Self {
        let size = 1 << ROW_BITS;
        Self {
            weights: vec![[0.0; LANES]; size],
            squares: vec![[1e-3; LANES]; size],
            seen: vec![0; size],
            transitions: [[0.0; LABELS]; LABELS],
            transition_squares: [[1.0; LABELS]; LABELS],
            rate,
            tokens: 0,
            loss: 0.0,
        }
    }

    pub fn learn(&mut self, example: &Example) {
        let count = example.labels.len();
        if count == 0 {
            return;
        }
        let mut steps = [[0f32; LABELS]; LABELS];
        for (from, row) in steps.iter_mut().enumerate() {
            for (to, step) in row.iter_mut().enumerate() {
                let allowed = label::follows(from as u8, to as u8);
                *step = if allowed { exp(self.transitions[from][to]) } else { 0.0 };
            }
        }
        // Emissions as factors, the largest of each token 1.
        let mut factors = vec![[0f32; LABELS]; count];
        let mut begin = 0;
        for (factor, &end) in factors.iter_mut().zip(&example.ends) {
            let mut sum = [0f32; LANES];
            for &row in &example.rows[begin..end] {
                for (to, from) in sum.iter_mut().zip(&self.weights[row as usize]) {
                    *to += from;
                }
            }
            begin = end;
            let top = sum[..LABELS].iter().copied().fold(f32::MIN, f32::max);
            for (to, from) in factor.iter_mut().zip(sum) {
                *to = exp(from - top);
            }
        }
        let mut forward = vec![[0f32; LABELS]; count];
        for at in 0..count {
            let mut here = [0f32; LABELS];
            if at == 0 {
                for (to, slot) in here.iter_mut().enumerate() {
                    *slot = if label::follows(label::O, to as u8) { factors[0][to] } else { 0.0 };
                }
            } else {
                for (from, row) in steps.iter().enumerate() {
                    for (to, step) in row.iter().enumerate() {
                        here[to] += forward[at - 1][from] * step;
                    }
                }
                for (slot, factor) in here.iter_mut().zip(factors[at]) {
                    *slot *= factor;
                }
            }
            let total: f32 = here.iter().sum::<f32>().max(1e-30);
            here.iter_mut().for_each(|slot| *slot /= total);
            forward[at] = here;
        }
        let mut backward = [1f32; LABELS];
        let mut pulls = [[0f32; LABELS]; LABELS];
        let mut gradients = vec![[0f32; LABELS]; count];
        for at in (0..count).rev() {
            let mut both = [0f32; LABELS];
            for (slot, (f, b)) in both.iter_mut().zip(forward[at].iter().zip(backward)) {
                *slot = f * b;
            }
            let total: f32 = both.iter().sum::<f32>().max(1e-30);
            both.iter_mut().for_each(|slot| *slot /= total);
            let gold = usize::from(example.labels[at]);
            self.loss -= f64::from(both[gold].max(1e-9).ln());
            gradients[at] = both;
            gradients[at][gold] -= 1.0;
            if at > 0 {
                let mut before = [0f32; LABELS];
                let mut pairs = [[0f32; LABELS]; LABELS];
                let mut total = 0f32;
                for from in 0..LABELS {
                    for to in 0..LABELS {
                        let through = steps[from][to] * factors[at][to] * backward[to];
                        before[from] += through;
                        pairs[from][to] = forward[at - 1][from] * through;
                        total += pairs[from][to];
                    }
                }
                for from in 0..LABELS {
                    for to in 0..LABELS {
                        pulls[from][to] += pairs[from][to] / total.max(1e-30);
                    }
                }
                pulls[usize::from(example.labels[at - 1])][gold] -= 1.0;
                let top = before.iter().copied().fold(0f32, f32::max).max(1e-30);
                before.iter_mut().for_each(|slot| *slot /= top);
                backward = before;
            }
        }
        let mut begin = 0;
        for (gradient, &end) in gradients.iter().zip(&example.ends) {
            if gradient.iter().any(|g| g.abs() > SMALL) {
                for &row in &example.rows[begin..end] {
                    let row = row as usize;
                    self.seen[row] = self.seen[row].saturating_add(1);
                    for (lane, g) in gradient.iter().enumerate() {
                        let square = &mut self.squares[row][lane];
                        *square += g * g;
                        self.weights[row][lane] -= self.rate * g / square.sqrt();
                    }
                }
            }
            begin = end;
        }
        for from in 0..LABELS {
            for to in 0..LABELS {
                let g = pulls[from][to];
                self.transition_squares[from][to] += g * g;
                self.transitions[from][to] -= self.rate * g / self.transition_squares[from][to].sqrt();
            }
        }
        self.tokens += count as u64;
    }

    /// The numbers as they ship. `caution` is taken off every step to "outside": more is found, and more of
    /// it wrongly.
    pub fn parts(&self, lexicon: Vec<(u32, u32)>, rare: u16, caution: f32) -> Parts {
        let whole = |weight: f32| (weight * SCALE).round().clamp(-127.0, 127.0);
        let mut rows: Vec<Row> = vec![[0; LANES]; self.weights.len()];
        for (row, (weights, seen)) in rows.iter_mut().zip(self.weights.iter().zip(&self.seen)) {
            if *seen >= rare {
                for lane in 0..LABELS {
                    row[lane] = whole(weights[lane]) as i8;
                }
            }
        }
        let mut transitions = [[NEVER; LANES]; LANES];
        for from in 0..LABELS {
            for to in 0..LABELS {
                if label::follows(from as u8, to as u8) {
                    let less = if to == 0 { caution } else { 0.0 };
                    transitions[from][to] = whole(self.transitions[from][to] - less) as i16;
                }
            }
        }
        let mut starts: Scores = [NEVER; LANES];
        for (to, start) in starts.iter_mut().enumerate().take(LABELS) {
            if label::follows(label::O, to as u8) {
                *start = if to == 0 { whole(-caution) as i16 } else { 0 };
            }
        }
        Parts { transitions, starts, rows, lexicon }
    }
}
