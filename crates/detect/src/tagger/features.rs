//! Tokens to features. The trainer and the tagger both call these functions, so they cannot disagree.
//!
//! A feature is a row of a fixed table of weights, found by hashing. What depends on one word alone is
//! [`word_rows`] and can be summed once a word; what depends on a word's surroundings is [`context_rows`].

use super::lexicon::{Lexicon, flag, joined};
use super::tokens::{Token, TokenKind};

/// Rows of the table are `2^ROW_BITS`.
pub const ROW_BITS: u32 = 18;
/// How far a word's own features reach to either side.
pub const REACH: usize = 2;
/// Bytes of a word that are looked at.
const LONGEST: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Shape {
    Edge,
    Lower,
    Title,
    Upper,
    LongUpper,
    OneUpper,
    OneLower,
    Camel,
    Mixed,
    Digits,
    Alnum,
    Punct,
    Newline,
    Other,
}

/// What one word is, without its surroundings.
#[derive(Clone, Copy)]
pub struct Word {
    pub brief: Brief,
    pub key: u32,
    pub flags: u32,
    pub shape: Shape,
    size: u8,
    prefix: [u64; 2],
    suffix: [u64; 3],
}

/// The part of a word that its neighbours look at.
#[derive(Clone, Copy)]
pub struct Brief {
    /// The word without its case.
    pub low: u64,
    pub class: u32,
    pub coarse: u32,
}

impl Brief {
    pub const EDGE: Self = Self { low: 1, class: 0, coarse: 0 };
}

const M1: u64 = 0x9e37_79b9_7f4a_7c15;
const M2: u64 = 0xbf58_476d_1ce4_e5b9;

#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let x = (a ^ b.wrapping_mul(M1)).wrapping_mul(M2);
    x ^ (x >> 29)
}

#[inline]
pub fn row(id: u64, value: u64) -> u32 {
    let x = mix(value.wrapping_add(id << 56), id);
    (x.wrapping_mul(M1) >> (64 - ROW_BITS)) as u32
}

/// A hash of bytes as they stand: the key of the tagger's cache.
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
    let mut state = bytes.len() as u64 ^ M2;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        state = mix(state, u64::from_le_bytes(eight));
    }
    let mut rest = 0u64;
    for &byte in chunks.remainder() {
        rest = rest << 8 | u64::from(byte);
    }
    mix(state, rest | 1 << 60)
}

/// Lower case, accents and apostrophes gone: how lists are looked up.
pub fn fold(word: &str, out: &mut Vec<u8>) {
    out.clear();
    for c in word.chars() {
        if out.len() >= LONGEST {
            break;
        }
        if c.is_ascii() {
            if c != '\'' {
                out.push((c as u8).to_ascii_lowercase());
            }
            continue;
        }
        let plain: &[u8] = match c {
            '\u{2018}' | '\u{2019}' | '\u{02bc}' | '\u{0300}'..='\u{036f}' => b"",
            'à'..='å' | 'À'..='Å' | 'ā' | 'Ā' | 'ă' | 'Ă' | 'ą' | 'Ą' | 'ạ'..='ặ' => b"a",
            'æ' | 'Æ' => b"ae",
            'ç' | 'Ç' | 'ć' | 'Ć' | 'č' | 'Č' => b"c",
            'ď' | 'Ď' | 'đ' | 'Đ' | 'ð' | 'Ð' => b"d",
            'è'..='ë' | 'È'..='Ë' | 'ē' | 'Ē' | 'ė' | 'Ė' | 'ę' | 'Ę' | 'ě' | 'Ě' | 'ẹ'..='ệ' => b"e",
            'ğ' | 'Ğ' | 'ģ' | 'Ģ' => b"g",
            'ì'..='ï' | 'Ì'..='Ï' | 'ī' | 'Ī' | 'į' | 'Į' | 'ı' | 'İ' | 'ỉ'..='ị' => b"i",
            'ķ' | 'Ķ' => b"k",
            'ł' | 'Ł' | 'ļ' | 'Ļ' | 'ľ' | 'Ľ' => b"l",
            'ñ' | 'Ñ' | 'ń' | 'Ń' | 'ň' | 'Ň' | 'ņ' | 'Ņ' => b"n",
            'ò'..='ö' | 'Ò'..='Ö' | 'ø' | 'Ø' | 'ō' | 'Ō' | 'ő' | 'Ő' | 'ơ' | 'ọ'..='ợ' => b"o",
            'œ' | 'Œ' => b"oe",
            'ř' | 'Ř' => b"r",
            'ś' | 'Ś' | 'š' | 'Š' | 'ş' | 'Ş' | 'ș' | 'Ș' => b"s",
            'ß' => b"ss",
            'ť' | 'Ť' | 'ţ' | 'Ţ' | 'ț' | 'Ț' => b"t",
            'þ' | 'Þ' => b"th",
            'ù'..='ü' | 'Ù'..='Ü' | 'ū' | 'Ū' | 'ů' | 'Ů' | 'ű' | 'Ű' | 'ư' | 'ụ'..='ự' => b"u",
            'ý' | 'ÿ' | 'Ý' | 'ỳ'..='ỹ' => b"y",
            'ź' | 'Ź' | 'ž' | 'Ž' | 'ż' | 'Ż' => b"z",
            other => {
                let mut buffer = [0; 4];
                for lower in other.to_lowercase() {
                    out.extend_from_slice(lower.encode_utf8(&mut buffer).as_bytes());
                }
                continue;
            }
        };
        out.extend_from_slice(plain);
    }
}

/// The key of a folded word in the [`Lexicon`].
pub fn key(folded: &[u8]) -> u32 {
    (hash(folded) >> 32) as u32
}

fn shape(word: &str) -> Shape {
    let (mut upper, mut lower, mut digits, mut other, mut inner) = (0u32, 0u32, 0u32, 0u32, false);
    let mut first_upper = false;
    for (at, c) in word.chars().take(LONGEST).enumerate() {
        if c.is_ascii_digit() {
            digits += 1;
        } else if c.is_uppercase() {
            upper += 1;
            first_upper |= at == 0;
            inner |= lower > 0;
        } else if c.is_lowercase() {
            lower += 1;
        } else if c.is_alphabetic() {
            other += 1;
        }
    }
    match (upper, lower, digits, other) {
        (0, 0, _, 0) => Shape::Digits,
        (0, 0, _, _) => Shape::Other,
        (_, _, 1.., _) => Shape::Alnum,
        (1, 0, ..) => Shape::OneUpper,
        (0, 1, ..) => Shape::OneLower,
        (0, ..) => Shape::Lower,
        (1, ..) if first_upper => Shape::Title,
        (2..5, 0, ..) => Shape::Upper,
        (_, 0, ..) => Shape::LongUpper,
        _ if first_upper && (inner || word.contains(['\'', '\u{2019}'])) => Shape::Camel,
        _ => Shape::Mixed,
    }
}

/// The one thing that a word of the lists is first of all.
fn role(flags: u32) -> u32 {
    const ORDER: [u32; 13] = [
        flag::TITLE,
        flag::CREDENTIAL,
        flag::LABEL,
        flag::RELATION,
        flag::ORG_HEAD,
        flag::ORG_PART,
        flag::STREET,
        flag::CALENDAR,
        flag::PLACE_PREFIX,
        flag::PARTICLE,
        flag::STATE,
        flag::STATE_CODE,
        flag::ABBREVIATION,
    ];
    (1..).zip(ORDER).find(|(_, bit)| flags & bit != 0).map_or(0, |(at, _)| at)
}

fn bucket(flags: u32, high: u32, middle: u32, low: u32) -> u32 {
    match flags {
        f if f & high != 0 => 3,
        f if f & middle != 0 => 2,
        f if f & low != 0 => 1,
        _ => 0,
    }
}

impl Word {
    pub fn new(text: &str, kind: TokenKind, lexicon: &Lexicon, buffer: &mut Vec<u8>) -> Self {
        match kind {
            TokenKind::Newline => Self::mark(Shape::Newline, 2),
            TokenKind::Punct => {
                let first = text.chars().next().unwrap_or(' ');
                let first = match first {
                    '\u{2013}' | '\u{2014}' => '-',
                    '\u{2018}' | '\u{2019}' => '\'',
                    '\u{201c}' | '\u{201d}' => '"',
                    c => c,
                };
                let long = text.chars().nth(1).is_some();
                Self::mark(Shape::Punct, u64::from(u32::from(first)) << 1 | u64::from(long))
            }
            TokenKind::Word => {
                fold(text, buffer);
                let key = key(buffer);
                let low = match shape(text) {
                    // Numbers are alike but for their length.
                    Shape::Digits => hash(b"9").wrapping_add(text.len().min(12) as u64),
                    _ => hash(buffer),
                };
                let end = |n: usize| buffer.len().checked_sub(n).and_then(|at| buffer.get(at..)).map_or(0, hash);
                let start = |n: usize| buffer.get(..n).map_or(0, hash);
                let mut word = Self {
                    brief: Brief { low, class: 0, coarse: 0 },
                    key,
                    flags: 0,
                    shape: shape(text),
                    size: buffer.len().min(12) as u8,
                    prefix: [start(2), start(3)],
                    suffix: [end(2), end(3), end(4)],
                };
                let known = match word.shape {
                    Shape::Digits => 0,
                    _ => lexicon.flags(key),
                };
                word.know(known);
                word
            }
        }
    }

    fn mark(shape: Shape, value: u64) -> Self {
        // Characters that names and labels stand beside are told apart in the coarse class too.
        let which = match char::from_u32((value >> 1) as u32) {
            _ if shape == Shape::Newline => 0,
            Some('.') => 1,
            Some(',') => 2,
            Some(':') => 3,
            Some('(') => 4,
            Some(')') => 5,
            Some('-') => 6,
            Some('/') => 7,
            Some('\'') => 8,
            Some('"') => 9,
            Some('#') => 10,
            Some('@') => 11,
            Some(';') => 12,
            Some('&') => 13,
            Some('?' | '!') => 14,
            _ => 15,
        };
        let class = shape as u32 | which << 4;
        Self {
            brief: Brief { low: value, class, coarse: class },
            key: 0,
            flags: 0,
            shape,
            size: 0,
            prefix: [0; 2],
            suffix: [0; 3],
        }
    }

    /// Sets what the lists say. The trainer forgets some of it to learn what to do without.
    pub fn know(&mut self, flags: u32) {
        use flag::{
            ABBREVIATION, CITY, CITY_BIG, CITY_PART, CLINICAL, COMMON, COUNTY, DRUG, ENGLISH, EPONYM, FIRST,
            FIRST_RARE, LAST, LAST_MID, LAST_RARE, NICK, STATE_CODE, WORLD,
        };
        if matches!(self.shape, Shape::Punct | Shape::Newline | Shape::Edge) {
            return;
        }
        self.flags = flags;
        // An abbreviation is one only in capitals; a state's code is one only in two of them.
        let mut seen = flags;
        if !matches!(self.shape, Shape::Upper | Shape::LongUpper) {
            seen &= !(ABBREVIATION | STATE_CODE);
        }
        let first = bucket(seen, FIRST, FIRST_RARE | NICK, WORLD);
        let last = bucket(seen, LAST, LAST_MID, LAST_RARE);
        let place = bucket(seen, CITY_BIG, CITY, CITY_PART | COUNTY);
        let medical = bucket(seen, DRUG, EPONYM, CLINICAL);
        let english = bucket(seen, COMMON, ENGLISH, 0);
        let (role, shape) = (role(seen), self.shape as u32);
        self.brief.class = shape | role << 4 | first << 8 | last << 10 | place << 12 | medical << 14 | english << 16;
        let name = u32::from(seen & (FIRST | FIRST_RARE | NICK | LAST | LAST_MID | WORLD) != 0);
        let ordinary = u32::from(seen & (DRUG | EPONYM | CLINICAL | COMMON | ENGLISH) != 0);
        self.brief.coarse = shape | role << 4 | name << 8 | u32::from(place > 0) << 9 | ordinary << 10;
    }

    /// Makes the word one that was never seen, its shape and lists apart.
    pub fn forget(&mut self) {
        self.brief.low = 3;
        self.prefix = [0; 2];
        self.suffix = [0; 3];
    }
}

/// The rows by which a word speaks about the token `offset` places before it (`REACH` = itself).
#[inline]
pub fn word_rows(word: &Word, offset: usize, mut add: impl FnMut(u32)) {
    let Brief { low, class, coarse } = word.brief;
    let base = offset as u64 * 16;
    if offset == REACH {
        let shape = word.shape as u64;
        add(row(base, low));
        add(row(base + 1, u64::from(class)));
        add(row(base + 2, mix(low, shape)));
        add(row(base + 3, shape << 8 | u64::from(word.size)));
        for (at, part) in (4..).zip(word.prefix) {
            add(row(base + at, part));
        }
        for (at, part) in (6..).zip(word.suffix) {
            add(row(base + at, mix(part, 7)));
        }
        add(row(base + 9, mix(word.suffix[1], shape)));
        add(row(base + 10, u64::from(coarse)));
        let mut flags = word.flags;
        while flags != 0 {
            let bit = flags.trailing_zeros();
            flags &= flags - 1;
            add(row(base + 11, u64::from(bit) << 8 | shape));
        }
    } else {
        add(row(base, low));
        add(row(base + 1, u64::from(class)));
        add(row(base + 2, u64::from(coarse)));
        if offset.abs_diff(REACH) == 1 {
            add(row(base + 3, word.suffix[1]));
        }
    }
}

/// What surrounds a token beyond its neighbours.
#[derive(Clone, Copy, Default)]
pub struct Place {
    /// The last word before the nearest colon of the line, and the word before that one; 0 for none.
    label: u64,
    /// How far behind the label, up to 7.
    behind: u8,
    /// 0 first of its line, 1 near, 2 further.
    column: u8,
    /// Case of the line and of the stretch of text: 3 × 3.
    case: u8,
    gap: u8,
    /// Part of a town's name of several words.
    town: bool,
}

const MIXED: u8 = 0;
const CAPITALS: u8 = 1;
const SMALL: u8 = 2;

fn case(upper: u32, title: u32, lower: u32) -> u8 {
    match (upper, title, lower) {
        (2.., 0, 0) => CAPITALS,
        (u, t, l) if u > 8 && u > 9 * (t + l) => CAPITALS,
        (0, 0, 2..) => SMALL,
        _ => MIXED,
    }
}

/// Fills `places` for a stretch of tokens.
pub fn places(tokens: &[Token], words: &[(Brief, u32)], lexicon: &Lexicon, places: &mut Vec<Place>) {
    places.clear();
    let count = |tally: &mut (u32, u32, u32), brief: &Brief| match brief.coarse & 15 {
        3 | 4 => tally.0 += 1,
        2 | 7 => tally.1 += 1,
        1 => tally.2 += 1,
        _ => (),
    };
    let mut whole = (0, 0, 0);
    for (brief, _) in words {
        count(&mut whole, brief);
    }
    let whole = case(whole.0, whole.1, whole.2);
    let (mut line_start, mut label, mut behind, mut column) = (0, 0u64, 0u8, 0u8);
    let mut tally = (0, 0, 0);
    let mut before = [0u64; 2];
    for (at, (token, (brief, _))) in tokens.iter().zip(words).enumerate() {
        places.push(Place {
            label,
            behind,
            column: match column {
                0 => 0,
                1..4 => 1,
                _ => 2,
            },
            case: 0,
            gap: token.gap,
            town: false,
        });
        column = column.saturating_add(1);
        behind = (behind + u8::from(label != 0)).min(7);
        count(&mut tally, brief);
        match token.kind {
            TokenKind::Punct if brief.class >> 4 == 3 => {
                label = mix(before[0], before[1]);
                behind = 0;
            }
            TokenKind::Newline => {
                close(places, line_start, tally, whole);
                (line_start, label, behind, column, tally, before) = (at + 1, 0, 0, 0, (0, 0, 0), [0; 2]);
                continue;
            }
            _ => (),
        }
        before = [brief.low, before[0]];
    }
    close(places, line_start, tally, whole);
    towns(words, lexicon, places);
}

fn close(places: &mut [Place], from: usize, tally: (u32, u32, u32), whole: u8) {
    let line = case(tally.0, tally.1, tally.2);
    for place in places.iter_mut().skip(from) {
        place.case = line * 3 + whole;
    }
}

/// Marks towns of two and three words.
fn towns(words: &[(Brief, u32)], lexicon: &Lexicon, places: &mut [Place]) {
    // The low bits of the second member say whether a word is part of such a name at all.
    let part = |at: usize| words.get(at).and_then(|(brief, key)| (brief.coarse >> 9 & 1 == 1).then_some(*key));
    for at in 0..words.len() {
        let (Some(one), Some(two)) = (part(at), part(at + 1)) else { continue };
        let pair = joined(one, two);
        let three = part(at + 2).map(|three| joined(pair, three));
        let known = |key: u32| lexicon.flags(key) & flag::MULTI_CITY != 0;
        let length = match three {
            Some(three) if known(three) => 3,
            _ if known(pair) => 2,
            _ => continue,
        };
        for place in places.iter_mut().skip(at).take(length) {
            place.town = true;
        }
    }
}

/// The words around a token, two to three on either side.
#[derive(Clone, Copy)]
pub struct Around {
    /// Places −3 to +3.
    pub words: [Brief; 7],
}

/// How many rows [`context_rows`] adds.
pub const CONTEXT_ROWS: usize = 22;

#[inline]
pub fn context_rows(around: &Around, place: &Place, mut add: impl FnMut(u32)) {
    let [l3, l2, l1, me, r1, r2, r3] = around.words;
    let pair = |a: u32, b: u32| u64::from(a) << 24 | u64::from(b);
    let (class, coarse) = (u64::from(me.class), u64::from(me.coarse));
    // Shape, role and whether lists know it.
    let of = |value: u64| mix(value, coarse);
    add(row(100, pair(l1.class, me.class)));
    add(row(101, pair(me.class, r1.class)));
    add(row(102, pair(l1.coarse, r1.coarse).wrapping_mul(M2) ^ class));
    add(row(103, mix(l1.low, class)));
    add(row(104, mix(r1.low, class)));
    add(row(105, of(mix(l1.low, r1.low))));
    add(row(106, of(mix(l2.low, l1.low))));
    add(row(107, of(mix(r2.low, r1.low))));
    add(row(108, of(pair(l2.coarse, l1.coarse))));
    add(row(109, of(pair(r1.coarse, r2.coarse))));
    add(row(110, mix(u64::from(place.case), class)));
    add(row(111, mix(pair(l1.coarse, r1.coarse), u64::from(place.case) << 16 ^ coarse)));
    add(row(112, of(mix(place.label, u64::from(place.behind.min(3))))));
    add(row(113, of(u64::from(place.column) << 8 | u64::from(place.gap) << 4 | u64::from(place.case))));
    add(row(114, mix(pair(l1.coarse, me.coarse), pair(r1.coarse, r2.coarse))));
    add(row(115, mix(pair(l2.coarse, l1.coarse), pair(me.coarse, r1.coarse))));
    add(row(116, of(l3.low)));
    add(row(117, of(r3.low)));
    add(row(118, of(mix(u64::from(place.gap), pair(l1.coarse, u32::from(place.column))))));
    add(row(119, of(u64::from(place.town) << 1)));
    add(row(120, of(mix(l2.low, 5))));
    add(row(121, of(mix(r2.low, 6))));
}
