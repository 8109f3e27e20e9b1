//! A JSON text as a flat list of tokens with their places in the text.
//!
//! Documents are checked once, here, and walked afterwards without looking at a byte that is not needed: strict
//! RFC 8259 grammar, no recursion (a text nested a million deep costs an error and no stack), a limit of depth, and no
//! key twice in one object. The last is not a nicety: of two values under one key a check may see one and the reader of
//! the output the other.

use std::ops::Range;

use super::definitions::{Definitions, NameId};

/// One token. A key is followed by its value; an object or array by what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    /// Whether a text or key contains a backslash and must be unescaped.
    pub escaped: bool,
    /// Whether a key begins with `_`: the extensions of a primitive element.
    pub underscore: bool,
    /// The name of a key, without its `_`.
    pub name: NameId,
    /// Where it begins in the text; of texts and keys, behind the quote.
    pub start: u32,
    /// Where it ends; of texts and keys, before the quote.
    pub end: u32,
    /// The token behind this value and everything in it.
    pub next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    Key,
    Text,
    Number,
    True,
    False,
    Null,
}

/// Why a text has no tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Byte from the start of the text.
    NotJson(usize),
    TooDeep,
    TooMany,
    DuplicateKey,
}

/// Makes tapes; keeps its stacks between texts.
pub(super) struct Taper {
    definitions: &'static Definitions,
    max_depth: usize,
    max_tokens: usize,
    open: Vec<Open>,
    /// A number for each key of the objects that are open.
    keys: Vec<u64>,
    /// The last text without the white space between its tokens, in pieces.
    pieces: Vec<Range<usize>>,
}

struct Open {
    token: usize,
    is_object: bool,
    first_key: usize,
}

impl Taper {
    pub(super) fn new(definitions: &'static Definitions, max_depth: usize, max_tokens: usize) -> Self {
        Self { definitions, max_depth, max_tokens, open: Vec::new(), keys: Vec::new(), pieces: Vec::new() }
    }

    /// Appends the tokens of the one JSON value that `text[span]` holds. After an error the tape is as it was.
    ///
    /// Places are those of the text without white space between its tokens, as if it began at `base`. [`Taper::pieces`]
    /// then is that text; one piece that is the span means that there is no such white space.
    pub(super) fn tape(
        &mut self,
        text: &[u8],
        span: Range<usize>,
        base: usize,
        tape: &mut Vec<Token>,
    ) -> Result<(), Trouble> {
        self.open.clear();
        self.keys.clear();
        self.pieces.clear();
        let (before, room) = (tape.len(), self.max_tokens);
        let start = span.start;
        let mut pass = Pass {
            taper: self,
            text: text.get(..span.end).unwrap_or_default(),
            at: start,
            shift: base.wrapping_sub(start),
            piece: start,
            most: before + room,
            tape,
        };
        let outcome = pass.document();
        if outcome.is_err() {
            tape.truncate(before);
        }
        outcome.map_err(|trouble| match trouble {
            Trouble::NotJson(at) => Trouble::NotJson(at - start),
            other => other,
        })
    }

    /// The text that was taped last, without white space between tokens.
    pub(super) fn pieces(&self) -> &[Range<usize>] {
        &self.pieces
    }
}

struct Pass<'a> {
    taper: &'a mut Taper,
    text: &'a [u8],
    at: usize,
    /// What a place in the text lacks to a place without white space; wraps.
    shift: usize,
    /// Where the piece that is being read begins.
    piece: usize,
    /// The longest that the tape may become.
    most: usize,
    tape: &'a mut Vec<Token>,
}

impl Pass<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Over white space, which is no part of any piece.
    #[inline]
    fn white(&mut self) {
        if self.peek() <= b' ' {
            self.some_white();
        }
    }

    fn some_white(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let white = rest.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
        let white = white.unwrap_or(rest.len());
        if white > 0 {
            if self.piece < self.at {
                self.taper.pieces.push(self.piece..self.at);
            }
            self.at += white;
            self.shift = self.shift.wrapping_sub(white);
            self.piece = self.at;
        }
    }

    /// A place in the text without white space.
    #[inline]
    fn place(&self, at: usize) -> u32 {
        at.wrapping_add(self.shift) as u32
    }

    fn wrong<T>(&self) -> Result<T, Trouble> {
        Err(Trouble::NotJson(self.at))
    }

    fn document(&mut self) -> Result<(), Trouble> {
        self.white();
        loop {
            if self.value()? {
                continue;
            }
            if !self.after_value()? {
                break;
            }
        }
        if self.piece < self.at {
            self.taper.pieces.push(self.piece..self.at);
        }
        self.piece = self.at;
        self.white();
        if self.at < self.text.len() {
            return self.wrong();
        }
        Ok(())
    }

    /// One value; true when a container was opened and a value within it comes next.
    fn value(&mut self) -> Result<bool, Trouble> {
        match self.peek() {
            b'{' => self.open(Kind::Object),
            b'[' => self.open(Kind::Array),
            b'"' => {
                let (start, escaped) = self.string()?;
                self.push(Kind::Text, start, self.at - 1, escaped);
                Ok(false)
            }
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                self.number()?;
                self.push(Kind::Number, start, self.at, false);
                Ok(false)
            }
            b't' => self.word(b"true", Kind::True),
            b'f' => self.word(b"false", Kind::False),
            b'n' => self.word(b"null", Kind::Null),
            _ => self.wrong(),
        }
    }

    /// Behind a value: closes what ends here; true when another value comes next.
    fn after_value(&mut self) -> Result<bool, Trouble> {
        loop {
            let Some(open) = self.taper.open.last() else {
                return Ok(false);
            };
            let is_object = open.is_object;
            self.white();
            match (self.peek(), is_object) {
                (b',', _) if self.tape.len() >= self.most => return Err(Trouble::TooMany),
                (b',', true) => {
                    self.at += 1;
                    self.white();
                    self.key()?;
                    return Ok(true);
                }
                (b',', false) => {
                    self.at += 1;
                    self.white();
                    return Ok(true);
                }
                (b'}', true) | (b']', false) => self.close()?,
                _ => return self.wrong(),
            }
        }
    }

    fn open(&mut self, kind: Kind) -> Result<bool, Trouble> {
        if self.taper.open.len() >= self.taper.max_depth {
            return Err(Trouble::TooDeep);
        }
        let is_object = kind == Kind::Object;
        self.taper.open.push(Open { token: self.tape.len(), is_object, first_key: self.taper.keys.len() });
        self.push(kind, self.at, self.at, false);
        self.at += 1;
        self.white();
        match (self.peek(), is_object) {
            (b'}', true) | (b']', false) => {
                self.close()?;
                Ok(false)
            }
            (_, true) => {
                self.key()?;
                Ok(true)
            }
            (_, false) => Ok(true),
        }
    }

    fn close(&mut self) -> Result<(), Trouble> {
        self.at += 1;
        let Some(open) = self.taper.open.pop() else {
            return self.wrong();
        };
        let next = self.tape.len() as u32;
        if let Some(token) = self.tape.get_mut(open.token) {
            token.end = self.at.wrapping_add(self.shift) as u32;
            token.next = next;
        }
        let keys = self.taper.keys.get_mut(open.first_key..).unwrap_or_default();
        let twice = has_twins(keys);
        self.taper.keys.truncate(open.first_key);
        if twice { Err(Trouble::DuplicateKey) } else { Ok(()) }
    }

    fn key(&mut self) -> Result<(), Trouble> {
        if self.peek() != b'"' {
            return self.wrong();
        }
        let (start, escaped) = self.string()?;
        let end = self.at - 1;
        let spelled = self.text.get(start..end).unwrap_or_default();
        let unescaped;
        let key = if escaped {
            unescaped = unescape(spelled);
            unescaped.as_bytes()
        } else {
            spelled
        };
        let (underscore, bare) = match key.strip_prefix(b"_") {
            Some(bare) => (true, bare),
            None => (false, key),
        };
        let name = self.taper.definitions.name_id(bare);
        self.taper.keys.push(if name == NameId::UNKNOWN {
            fnv(key) | 1 << 63
        } else {
            u64::from(name.0) | u64::from(underscore) << 16
        });
        let next = self.tape.len() as u32 + 1;
        self.tape.push(Token {
            kind: Kind::Key,
            escaped,
            underscore,
            name,
            start: self.place(start),
            end: self.place(end),
            next,
        });
        self.white();
        if self.peek() != b':' {
            return self.wrong();
        }
        self.at += 1;
        self.white();
        Ok(())
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize, escaped: bool) {
        let next = self.tape.len() as u32 + 1;
        self.tape.push(Token {
            kind,
            escaped,
            underscore: false,
            name: NameId::UNKNOWN,
            start: self.place(start),
            end: self.place(end),
            next,
        });
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<bool, Trouble> {
        let end = self.at + word.len();
        if self.text.get(self.at..end) != Some(word) {
            return self.wrong();
        }
        self.push(kind, self.at, end, false);
        self.at = end;
        Ok(false)
    }

    /// Leaves `at` behind the closing quote.
    fn string(&mut self) -> Result<(usize, bool), Trouble> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            self.at += plain_length(rest);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok((start, escaped));
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.wrong(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Trouble> {
        match self.text.get(self.at + 1).copied().unwrap_or(0) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 2;
                Ok(())
            }
            b'u' => {
                let Some(unit) = self.hex(self.at + 2) else {
                    return self.wrong();
                };
                self.at += 6;
                match unit {
                    // Half a character is none: such a text has no UTF-8 form.
                    0xDC00..=0xDFFF => self.wrong(),
                    0xD800..=0xDBFF => {
                        let low = (self.text.get(self.at..self.at + 2) == Some(b"\\u"))
                            .then(|| self.hex(self.at + 2))
                            .flatten();
                        if !low.is_some_and(|low| (0xDC00..=0xDFFF).contains(&low)) {
                            return self.wrong();
                        }
                        self.at += 6;
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
            _ => self.wrong(),
        }
    }

    fn hex(&self, at: usize) -> Option<u32> {
        hex4(self.text.get(at..at + 4)?)
    }

    fn digits(&mut self) -> Result<(), Trouble> {
        if !self.peek().is_ascii_digit() {
            return self.wrong();
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Trouble> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }
}

/// How many bytes there are before a quote, a backslash or a control character: eight at a time.
///
/// A byte is below `n` if `byte - n` borrows; the test for zero is that of "below 1". A borrow can make a later byte look
/// like a find, never an earlier one, and the first is what is asked for.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGH;
    let (words, tail) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = below(word, 0x20) | below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5C), 1);
        if found != 0 {
            return number * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let special = tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F));
    words.len() * 8 + special.unwrap_or(tail.len())
}

/// Whether a number stands twice. Few keys are compared pair by pair; many are sorted, so that an object of a
/// million keys costs no million squared.
fn has_twins(keys: &mut [u64]) -> bool {
    if keys.len() > 32 {
        keys.sort_unstable();
        return keys.windows(2).any(|pair| pair.first() == pair.last());
    }
    let mut rest = &*keys;
    while let Some((key, others)) = rest.split_first() {
        if others.contains(key) {
            return true;
        }
        rest = others;
    }
    false
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// What a text or key with backslashes means. Only for what a tape was made of: it trusts the grammar.
pub fn unescape(spelled: &[u8]) -> String {
    let mut out = Vec::with_capacity(spelled.len());
    let mut at = 0;
    let mut high = 0;
    while let Some(&byte) = spelled.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let escape = spelled.get(at).copied().unwrap_or(0);
        at += 1;
        out.push(match escape {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = spelled.get(at..at + 4).and_then(hex4).unwrap_or(0xFFFD);
                at += 4;
                let code = match unit {
                    0xD800..=0xDBFF => {
                        high = unit;
                        continue;
                    }
                    0xDC00..=0xDFFF => 0x1_0000 + ((high & 0x3FF) << 10 | unit & 0x3FF),
                    _ => unit,
                };
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => other,
        });
    }
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use proptest::prelude::*;

    use super::super::definitions::r4;
    use super::*;

    fn tape(text: &str) -> Result<Vec<Token>, Trouble> {
        let mut out = Vec::new();
        Taper::new(r4(), 64, 1 << 20).tape(text.as_bytes(), 0..text.len(), 0, &mut out).map(|()| out)
    }

    /// The text that the tape's places are of: without white space between its tokens.
    fn packed(text: &str) -> String {
        let mut taper = Taper::new(r4(), 64, 1 << 20);
        taper.tape(text.as_bytes(), 0..text.len(), 0, &mut Vec::new()).unwrap();
        taper.pieces().iter().map(|piece| &text[piece.clone()]).collect()
    }

    /// A value from the tape by the book.
    fn tree(text: &str, tape: &[Token], at: usize) -> serde_json::Value {
        let token = tape[at];
        let spelled = &text[token.start as usize..token.end as usize];
        match token.kind {
            Kind::Object => {
                let mut object = serde_json::Map::new();
                let mut member = at + 1;
                while member < token.next as usize {
                    let key = tape[member];
                    let name = unescape(&text.as_bytes()[key.start as usize..key.end as usize]);
                    object.insert(name, tree(text, tape, member + 1));
                    member = tape[member + 1].next as usize;
                }
                object.into()
            }
            Kind::Array => {
                let mut array = Vec::new();
                let mut item = at + 1;
                while item < token.next as usize {
                    array.push(tree(text, tape, item));
                    item = tape[item].next as usize;
                }
                array.into()
            }
            Kind::Text => unescape(spelled.as_bytes()).into(),
            _ => serde_json::from_str(spelled).unwrap(),
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "[1,]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "01",
            "1.",
            "-",
            "1e",
            "tru",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\n\"",
            "[1]]",
            "{]",
            "[}",
            "1 2",
            "nul",
            "\"\\u12\"",
            "{1:2}",
            "'a'",
            "\u{0}",
        ] {
            assert!(matches!(tape(text), Err(Trouble::NotJson(_))), "{text:?}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_stands_once_however_it_is_spelled() {
        for text in [r#"{"id":1,"id":2}"#, r#"{"id":1,"\u0069d":2}"#, r#"[{"x":{"other":1,"b":1,"other":2}}]"#] {
            assert_eq!(tape(text), Err(Trouble::DuplicateKey), "{text}");
        }
        assert!(tape(r#"{"id":1,"_id":{"id":2},"ID":3}"#).is_ok());
        let many = |twin: usize| {
            let keys: Vec<_> = (0..100).map(|n| format!("\"k{}\":0", if n == 99 { twin } else { n })).collect();
            format!("{{{}}}", keys.join(","))
        };
        assert!(tape(&many(99)).is_ok());
        assert_eq!(tape(&many(3)), Err(Trouble::DuplicateKey));
    }

    #[test]
    fn depth_is_an_error_and_costs_no_stack() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(tape(&nested(64)).is_ok());
        assert_eq!(tape(&nested(65)), Err(Trouble::TooDeep));
        assert_eq!(tape(&nested(1_000_000)), Err(Trouble::TooDeep));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:,"\\a1eu0. \-]{0,24}"#) {
            let ours = tape(&text);
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(value) => match ours {
                    Ok(tokens) => prop_assert_eq!(tree(&packed(&text), &tokens, 0), value),
                    Err(trouble) => prop_assert_eq!(trouble, Trouble::DuplicateKey),
                },
                // serde_json alone refuses numbers that overflow a double.
                Err(error) => prop_assert!(ours.is_err() || error.to_string().contains("out of range")),
            }
        }

        #[test]
        fn any_text_survives(
            texts in prop::collection::vec(any::<String>(), 0..6),
            pretty in any::<bool>(),
            before in 0usize..9,
        ) {
            let value = serde_json::json!({"name": texts, "n": [1, -2.5e3, null, true, {"": {}}]});
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let mut tokens = Vec::new();
            let mut taper = Taper::new(r4(), 64, 1 << 20);
            let framed = format!("{{}}  {text}\n");
            taper.tape(framed.as_bytes(), 2..framed.len(), before, &mut tokens).unwrap();
            let small: String = taper.pieces().iter().map(|piece| &framed[piece.clone()]).collect();
            prop_assert_eq!(&small, &value.to_string());
            let padded = " ".repeat(before) + &small;
            prop_assert_eq!(tree(&padded, &tokens, 0), value.clone());
            prop_assert_eq!(taper.pieces().len() > 1, pretty);
        }

        #[test]
        fn the_first_special_byte_is_found(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let special = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F));
            prop_assert_eq!(plain_length(&bytes), special.unwrap_or(bytes.len()));
        }
    }
}
