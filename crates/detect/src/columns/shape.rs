//! The look of values without the values: `219-09-9999` is `9(3)-9(2)-9(4)`.

use std::fmt::Write as _;

use hashbrown::HashMap;

#[derive(Default)]
pub(super) struct Shapes {
    counts: HashMap<String, u64>,
}

const MOST: usize = 256;
const LONGEST: usize = 40;

impl Shapes {
    pub fn add(&mut self, value: &str) {
        let shape = of(value);
        if self.counts.len() < MOST || self.counts.contains_key(&shape) {
            *self.counts.entry(shape).or_insert(0) += 1;
        }
    }

    /// The three most frequent shapes and their shares.
    pub fn top(self, looked: u64) -> Vec<(String, f32)> {
        let mut all: Vec<_> = self.counts.into_iter().collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(3);
        all.into_iter().map(|(shape, count)| (shape, count as f32 / looked.max(1) as f32)).collect()
    }
}

fn of(value: &str) -> String {
    let mut shape = String::new();
    let mut last = '\0';
    let mut run = 0_usize;
    let close = |shape: &mut String, last: char, run: usize| {
        // Lengths of words tell nothing and would make every name a shape of its own.
        match last {
            '\0' => {}
            '9' if run > 1 => {
                let _ = write!(shape, "9({run})");
            }
            'a' | 'A' if run > 2 => shape.extend([last, '+']),
            _ => (0..run.min(2)).for_each(|_| shape.push(last)),
        }
    };
    for c in value.chars().take(LONGEST) {
        let class = match c {
            '0'..='9' => '9',
            c if c.is_uppercase() => 'A',
            c if c.is_alphabetic() => 'a',
            c if c.is_whitespace() => ' ',
            c if c.is_ascii_punctuation() => c,
            _ => '?',
        };
        if class == last {
            run += 1;
        } else {
            close(&mut shape, last, run);
            (last, run) = (class, 1);
        }
    }
    close(&mut shape, last, run);
    if value.chars().nth(LONGEST).is_some() {
        shape.push('…');
    }
    shape
}
