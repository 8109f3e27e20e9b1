//! Text to tokens: words, numbers, runs of one punctuation character, line ends.
//!
//! One pass, no look-behind. A possessive `'s` stands alone so that "Foley's" meets the word "Foley"; other
//! apostrophes inside a word belong to it (O'Brien, D'Angelo).

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Word,
    Punct,
    Newline,
}

#[derive(Clone, Copy)]
pub struct Token {
    pub start: usize,
    pub end: usize,
    pub kind: TokenKind,
    /// White space before it: 0 none, 1 one space, 2 more or a tab.
    pub gap: u8,
    /// For a line end: an empty line follows.
    pub blank: bool,
}

pub struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Apostrophe,
    Space,
    Newline,
    Punct,
    End,
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const ASCII: [Class; 128] = {
    let mut table = [Class::Punct; 128];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() {
            table[byte] = Class::Letter;
        } else if b == b'\n' || b == b'\r' {
            table[byte] = Class::Newline;
        } else if b <= b' ' || b == 0x7f {
            table[byte] = Class::Space;
        } else if b == b'\'' {
            table[byte] = Class::Apostrophe;
        }
        byte += 1;
    }
    table
};

fn wide(c: char) -> Class {
    match c {
        '\u{2019}' | '\u{02bc}' | '\u{2018}' => Class::Apostrophe,
        '\u{0300}'..='\u{036f}' => Class::Letter,
        '\u{85}' | '\u{2028}' | '\u{2029}' => Class::Newline,
        c if c.is_alphanumeric() => Class::Letter,
        c if c.is_whitespace() || c.is_control() || c == '\u{feff}' || c == '\u{200b}' => Class::Space,
        _ => Class::Punct,
    }
}

impl<'a> Tokens<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The class and length of the character at `at`, a character boundary.
    #[inline]
    fn class(&self, at: usize) -> (Class, usize) {
        match self.text.as_bytes().get(at) {
            None => (Class::End, 0),
            Some(&byte) => match ASCII.get(usize::from(byte)) {
                Some(&class) => (class, 1),
                None => match self.text.get(at..).and_then(|rest| rest.chars().next()) {
                    Some(c) => (wide(c), c.len_utf8()),
                    None => (Class::End, 0),
                },
            },
        }
    }

    /// Whether what follows the apostrophe at `at` ends the word: a possessive, or no letter at all.
    fn closes(&self, after: usize) -> bool {
        match self.text.as_bytes().get(after) {
            Some(b's' | b'S') => self.class(after + 1).0 != Class::Letter,
            _ => self.class(after).0 != Class::Letter,
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let mut gap = 0u8;
        loop {
            let start = self.at;
            let (class, len) = self.class(start);
            match class {
                Class::End => return None,
                Class::Space => {
                    gap = if gap > 0 || self.text.as_bytes().get(start) == Some(&b'\t') { 2 } else { 1 };
                    self.at += len;
                }
                Class::Newline => {
                    let (mut at, mut ends) = (start, 0u8);
                    loop {
                        match self.class(at) {
                            (Class::Newline, len) => {
                                if self.text.as_bytes().get(at) != Some(&b'\r') {
                                    ends = ends.saturating_add(1);
                                }
                                at += len;
                                self.at = at;
                            }
                            (Class::Space, len) => at += len,
                            _ => break,
                        }
                    }
                    // The white space that leads the next line was looked at, and is not looked at again
                    // more than once: the next token starts behind it.
                    let end = self.at;
                    let indent = at.saturating_sub(end);
                    if indent > 64 {
                        self.at = at;
                    }
                    return Some(Token { start, end, kind: TokenKind::Newline, gap, blank: ends > 1 });
                }
                Class::Letter => {
                    let mut at = start + len;
                    loop {
                        match self.class(at) {
                            (Class::Letter, len) => at += len,
                            (Class::Apostrophe, len) if !self.closes(at + len) => at += len,
                            _ => break,
                        }
                    }
                    self.at = at;
                    return Some(Token { start, end: at, kind: TokenKind::Word, gap, blank: false });
                }
                Class::Punct | Class::Apostrophe => {
                    let bytes = self.text.as_bytes();
                    let first = bytes.get(start..start + len);
                    let mut at = start + len;
                    while first.is_some() && bytes.get(at..at + len) == first {
                        at += len;
                    }
                    self.at = at;
                    return Some(Token { start, end: at, kind: TokenKind::Punct, gap, blank: false });
                }
            }
        }
    }
}
