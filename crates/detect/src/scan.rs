//! The one pass over the bytes: runs of letters and digits, and marks, with what the lexicon knows of each word.

use crate::lexicon::{Lexicon, Tags};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Before the first and behind the last token.
    None,
    Word,
    Number,
    /// Letters and digits in one run: `52yo`, `H678934`, `4th`.
    Mixed,
    Punct,
}

/// What stands before a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gap {
    Glued,
    Space,
    Line,
    Blank,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    /// `Smith`, and a single capital.
    Title,
    Upper,
    /// `McDonald`, `iPhone`.
    Inner,
}

#[derive(Clone, Copy)]
pub(crate) struct Token {
    pub start: u32,
    pub end: u32,
    pub tags: Tags,
    pub word: u16,
    pub class: Class,
    pub gap: Gap,
    pub case: Case,
    /// The mark itself (curly quotes and long dashes as their ASCII likeness), or the first byte of a run.
    pub byte: u8,
}

impl Token {
    pub const NONE: Self = Self {
        start: 0,
        end: 0,
        tags: Tags::NONE,
        word: 0,
        class: Class::None,
        gap: Gap::Blank,
        case: Case::Lower,
        byte: 0,
    };

    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Begins with a capital.
    pub fn is_capitalised(self) -> bool {
        matches!(self.class, Class::Word) && !matches!(self.case, Case::Lower) && !self.byte.is_ascii_lowercase()
    }
}

/// 0 blank, 1 lower letter, 2 upper letter, 3 digit, 4 mark, 5 line end, 6 first byte of a longer character.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [4_u8; 256];
    let mut byte = 0;
    #[expect(clippy::indexing_slicing, reason = "a constant: the compiler checks it")]
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'\n' => 5,
            0..=b' ' => 0,
            b'a'..=b'z' => 1,
            b'A'..=b'Z' => 2,
            b'0'..=b'9' => 3,
            0x80.. => 6,
            _ => 4,
        };
        byte += 1;
    }
    table
}

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// What a character beyond ASCII counts as: its class and, for marks, the ASCII likeness.
fn wide(c: char) -> (u8, u8) {
    match c {
        '\u{2018}' | '\u{2019}' | '\u{02BC}' | '\u{FF07}' => (4, b'\''),
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{00AD}' => (4, b'-'),
        '\u{201C}' | '\u{201D}' => (4, b'"'),
        '\u{2028}' | '\u{2029}' | '\u{0085}' => (5, b'\n'),
        c if c.is_whitespace() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{FEFF}') => (0, b' '),
        c if c.is_lowercase() => (1, b'a'),
        c if c.is_uppercase() => (2, b'A'),
        // Marks that stand over a letter belong to it.
        c if c.is_alphanumeric() || ('\u{0300}'..='\u{036F}').contains(&c) => (1, b'a'),
        _ => (4, b'?'),
    }
}

/// Appends the tokens of `text`, of at most 4 GiB (callers hand over windows of it).
pub(crate) fn scan(text: &str, lexicon: &Lexicon, tokens: &mut Vec<Token>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut lines = 2_u8;
    let mut blank = true;
    while let Some(&byte) = bytes.get(at) {
        let (kind, mark, width) = look(text, at, byte);
        match kind {
            0 => {
                blank = true;
                at += width;
                continue;
            }
            5 => {
                lines = lines.saturating_add(1);
                at += width;
                continue;
            }
            _ => {}
        }
        let gap = match (lines, blank) {
            (0, false) => Gap::Glued,
            (0, true) => Gap::Space,
            (1, _) => Gap::Line,
            _ => Gap::Blank,
        };
        (lines, blank) = (0, false);
        let start = at;
        if kind == 4 {
            at += width;
            tokens.push(Token {
                start: start as u32,
                end: at as u32,
                class: Class::Punct,
                byte: mark,
                gap,
                ..Token::NONE
            });
            continue;
        }
        let (mut letters, mut digits, mut uppers) = (0_usize, 0_usize, 0_usize);
        let first_upper = kind == 2;
        while let Some(&byte) = bytes.get(at) {
            let (kind, _, width) = look(text, at, byte);
            match kind {
                1 => letters += 1,
                2 => {
                    letters += 1;
                    uppers += 1;
                }
                3 => digits += 1,
                _ => break,
            }
            at += width;
        }
        let class = match (letters, digits) {
            (0, _) => Class::Number,
            (_, 0) => Class::Word,
            _ => Class::Mixed,
        };
        let case = match uppers {
            0 => Case::Lower,
            1 if first_upper => Case::Title,
            n if n == letters => Case::Upper,
            _ => Case::Inner,
        };
        let (word, tags) = match class {
            Class::Number => (0, Tags::NONE),
            _ => lexicon.look_up(bytes.get(start..at).unwrap_or_default()),
        };
        tokens.push(Token { start: start as u32, end: at as u32, tags, word, class, gap, case, byte });
    }
}

fn look(text: &str, at: usize, byte: u8) -> (u8, u8, usize) {
    match class(byte) {
        6 => text.get(at..).and_then(|rest| rest.chars().next()).map_or((4, b'?', 1), |c| {
            let (kind, mark) = wide(c);
            (kind, mark, c.len_utf8())
        }),
        kind => (kind, byte, 1),
    }
}
