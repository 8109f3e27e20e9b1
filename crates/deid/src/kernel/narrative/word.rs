//! Words as they are compared: folded, hashed, and near to one another by one slip of the hand.

use cordon_detect::tagger::lexicon::flag;
use cordon_detect::tagger::{Tagger, features};
use hashbrown::HashTable;

/// No known word.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Word,
    Number,
    /// Letters and digits in one run.
    Mixed,
    Punct,
    /// It was taken into the token before.
    Gone,
}

/// What stands before a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gap {
    Glued,
    Space,
    Line,
    Blank,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Lower,
    Title,
    Upper,
}

/// A run of letters and digits, or a mark. It holds no text.
#[derive(Clone, Copy)]
pub(super) struct Tok {
    pub start: u32,
    pub end: u32,
    /// Of the folded run; of a number without its leading zeros.
    pub hash: u64,
    pub class: Class,
    pub gap: Gap,
    pub case: Case,
    /// The mark, curly quotes and long dashes as their ASCII likeness; `'` for a possessive `'s` as a whole. Of a run its
    /// first folded byte.
    pub byte: u8,
    /// Folded bytes.
    pub len: u8,
    /// The known word that it is, [`NONE`] for none.
    pub word: u32,
    /// It is that word but for one slip.
    pub slip: bool,
}

impl Tok {
    pub(super) fn span(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(super) fn is_run(&self) -> bool {
        matches!(self.class, Class::Word | Class::Number | Class::Mixed)
    }

    pub(super) fn is_mark(&self, marks: &[u8]) -> bool {
        self.class == Class::Punct && marks.contains(&self.byte)
    }
}

const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
/// The longest word that slips are looked for in.
pub(super) const LONGEST: usize = 24;

/// The hash of a folded run; it can be put together from those of its parts.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |hash, byte| push(hash, *byte))
}

#[inline]
pub(super) fn push(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(FACTOR).wrapping_add(u64::from(byte) + 1)
}

/// The hash of two runs one behind the other.
pub(super) fn joined(one: u64, other: u64, other_len: usize) -> u64 {
    (0..other_len).fold(one, |hash, _| hash.wrapping_mul(FACTOR)).wrapping_add(other)
}

/// The hashes of what is left when one byte of the run is taken out.
#[inline]
pub(super) fn shorter(bytes: &[u8], mut each: impl FnMut(u64)) {
    // From the back: what stands behind the byte, and the power that what stands before it is raised by.
    let mut before = [0_u64; LONGEST + 1];
    let mut hash = 0;
    for (slot, byte) in before.iter_mut().zip(bytes) {
        *slot = hash;
        hash = push(hash, *byte);
    }
    let (mut behind, mut power) = (0_u64, 1_u64);
    for (before, byte) in before.iter().zip(bytes).rev() {
        each(before.wrapping_mul(power).wrapping_add(behind));
        behind = behind.wrapping_add((u64::from(*byte) + 1).wrapping_mul(power));
        power = power.wrapping_mul(FACTOR);
    }
}

/// Whether one becomes the other by at most one byte more, less or other, or two neighbours swapped.
pub(super) fn is_near(one: &[u8], other: &[u8]) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let same = short.iter().zip(long).take_while(|(a, b)| a == b).count();
    let (short, long) = (short.get(same..).unwrap_or_default(), long.get(same..).unwrap_or_default());
    match long.len() - short.len() {
        0 => match (short, long) {
            ([], []) => true,
            ([_, rest @ ..], [_, other @ ..]) if rest == other => true,
            ([a, b, rest @ ..], [c, d, other @ ..]) => a == d && b == c && rest == other,
            _ => false,
        },
        1 => long.get(1..).is_some_and(|long| long == short),
        _ => false,
    }
}

/// Hashes of what is known, and to whom they belong. Most hashes of a text are of nothing known: a filter of 16,384 bits
/// tells so before the table is asked.
pub(super) struct Index {
    filter: Box<[u64; 256]>,
    table: HashTable<(u64, u32)>,
}

impl Default for Index {
    fn default() -> Self {
        Self { filter: Box::new([0; 256]), table: HashTable::new() }
    }
}

fn spread(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash ^ hash >> 32
}

impl Index {
    pub(super) fn reserve(&mut self, more: usize) {
        self.table.reserve(more, |(hash, _)| spread(*hash));
    }

    pub(super) fn insert(&mut self, hash: u64, whose: u32) {
        let place = spread(hash);
        if self.table.find(place, |entry| *entry == (hash, whose)).is_none() {
            if let Some(word) = self.filter.get_mut((place >> 6 & 255) as usize) {
                *word |= 1 << (place & 63);
            }
            self.table.insert_unique(place, (hash, whose), |(hash, _)| spread(*hash));
        }
    }

    /// All of this hash, in no order.
    #[inline]
    pub(super) fn get(&self, hash: u64, mut each: impl FnMut(u32)) {
        let place = spread(hash);
        if self.filter.get((place >> 6 & 255) as usize).is_none_or(|word| word >> (place & 63) & 1 == 0) {
            return;
        }
        for (found, whose) in self.table.iter_hash(place) {
            if *found == hash {
                each(*whose);
            }
        }
    }

    pub(super) fn first(&self, hash: u64) -> Option<u32> {
        let mut first = None;
        self.get(hash, |whose| first = Some(first.map_or(whose, |known: u32| known.min(whose))));
        first
    }
}

/// What the lists of the tagger say of a folded word.
pub(super) fn flags(folded: &[u8]) -> u32 {
    Tagger::shipped().flags(folded)
}

const MEDICINE: u32 = flag::COMMON | flag::CLINICAL | flag::DRUG | flag::EPONYM | flag::CALENDAR;
const FREQUENT: u32 = flag::FIRST | flag::LAST;

/// A word that notes use without meaning anybody: in lower case and alone it is no name.
pub(super) fn is_ordinary(flags: u32, nickname: bool) -> bool {
    flags & MEDICINE != 0 || flags & flag::ENGLISH != 0 && (nickname || flags & FREQUENT == 0)
}

/// A word that stands at the beginning of a sentence as often as a name does.
pub(super) fn is_plain(flags: u32) -> bool {
    flags & (flag::COMMON | flag::CLINICAL | flag::DRUG | flag::CALENDAR) != 0
}

/// A word of the language: nobody's name misspelled.
pub(super) fn is_word(flags: u32) -> bool {
    const WORDS: u32 = MEDICINE
        | flag::ENGLISH
        | flag::TITLE
        | flag::CREDENTIAL
        | flag::RELATION
        | flag::LABEL
        | flag::STREET
        | flag::STATE
        | flag::ORG_HEAD
        | flag::ORG_PART
        | flag::ABBREVIATION;
    flags & WORDS != 0
}

/// A name that many have: rather somebody else's than a slip.
pub(super) fn is_frequent(flags: u32) -> bool {
    flags & (FREQUENT | flag::NICK | flag::CITY_BIG) != 0
}

/// 0 blank, 1 lower, 2 upper, 3 digit, 4 mark, 5 line end, 6 the first byte of a longer character.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [4_u8; 256];
    let mut byte = 0;
    #[expect(clippy::indexing_slicing, reason = "a constant: the compiler checks it")]
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'\n' | b'\r' => 5,
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

/// The class of the character at `at`, its ASCII likeness, its bytes.
#[inline]
fn look(text: &str, at: usize) -> Option<(u8, u8, usize)> {
    let byte = *text.as_bytes().get(at)?;
    match CLASSES.get(usize::from(byte)).copied().unwrap_or(0) {
        6 => {
            let c = text.get(at..)?.chars().next()?;
            let (class, likeness) = match c {
                '\u{2018}' | '\u{2019}' | '\u{02BC}' | '\u{FF07}' | '\u{B4}' => (4, b'\''),
                '\u{2010}'..='\u{2015}' | '\u{2212}' => (4, b'-'),
                '\u{201C}' | '\u{201D}' => (4, b'"'),
                '\u{2028}' | '\u{2029}' | '\u{0085}' => (5, b'\n'),
                // What nobody sees parts no word.
                '\u{00AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}' => (7, 0),
                '\u{0300}'..='\u{036F}' => (7, b'a'),
                c if c.is_whitespace() => (0, b' '),
                c if c.is_uppercase() => (2, b'A'),
                c if c.is_numeric() => (3, b'0'),
                c if c.is_alphanumeric() => (1, b'a'),
                _ => (4, b'?'),
            };
            Some((class, likeness, c.len_utf8()))
        }
        class => Some((class, byte, 1)),
    }
}

/// The folded bytes of a run.
pub(super) fn fold(run: &str, out: &mut Vec<u8>) {
    if run.is_ascii() {
        out.clear();
        out.extend(run.bytes().filter(|byte| *byte != b'\'').map(|byte| byte.to_ascii_lowercase()));
        return;
    }
    let visible: String;
    let run = if run.contains(|c| matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}')) {
        visible = run
            .chars()
            .filter(|c| !matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}'))
            .collect();
        &visible
    } else {
        run
    };
    features::fold(run, out);
}

/// Appends the tokens of a text of at most 4 GiB. `each` sees every run with its folded bytes, and says which known word it is.
pub(super) fn scan(text: &str, toks: &mut Vec<Tok>, buffer: &mut Vec<u8>, mut each: impl FnMut(&[u8], &mut Tok)) {
    let mut at = 0;
    let (mut lines, mut blank) = (2_u8, true);
    while let Some((class, likeness, width)) = look(text, at) {
        match class {
            0 => {
                blank = true;
                at += width;
                continue;
            }
            5 => {
                // `\r\n` is one end of a line.
                let pair = text.as_bytes().get(at..at + 2) == Some(b"\r\n");
                lines = lines.saturating_add(1);
                at += if pair { 2 } else { width };
                continue;
            }
            7 => {
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
        let mut tok = Tok {
            start: start as u32,
            end: 0,
            hash: 0,
            class: Class::Punct,
            gap,
            case: Case::Lower,
            byte: likeness,
            len: 0,
            word: NONE,
            slip: false,
        };
        if class == 4 {
            at += width;
            if likeness == b'\''
                && gap == Gap::Glued
                && let Some((1 | 2, b's' | b'S', s)) = look(text, at)
                && !matches!(look(text, at + s), Some((1..=3 | 7, ..)))
            {
                at += s;
            }
            tok.end = at as u32;
            toks.push(tok);
            continue;
        }
        let (mut letters, mut digits, mut uppers) = (0_usize, 0_usize, 0_usize);
        let first_upper = class == 2;
        let mut ascii = true;
        while let Some((class, likeness, width)) = look(text, at) {
            match class {
                1 => letters += 1,
                2 => {
                    letters += 1;
                    uppers += 1;
                }
                3 => digits += 1,
                7 => {}
                4 if likeness == b'\'' && digits == 0 => {
                    // `O'Brien` is one word, `Brien's` is one and a half.
                    let next = look(text, at + width);
                    let Some((1 | 2, letter, s)) = next else { break };
                    let possessive =
                        matches!(letter, b's' | b'S') && !matches!(look(text, at + width + s), Some((1..=3 | 7, ..)));
                    if possessive || letters == 0 {
                        break;
                    }
                }
                _ => break,
            }
            ascii &= width == 1;
            at += width;
        }
        let run = text.get(start..at).unwrap_or_default();
        tok.end = at as u32;
        tok.class = match (letters, digits) {
            (0, _) => Class::Number,
            (_, 0) => Class::Word,
            _ => Class::Mixed,
        };
        tok.case = match uppers {
            0 => Case::Lower,
            n if n == letters && (n > 1 || !first_upper) => Case::Upper,
            _ => Case::Title,
        };
        if ascii {
            buffer.clear();
            buffer.extend(run.bytes().filter(|byte| *byte != b'\'').map(|byte| byte.to_ascii_lowercase()));
        } else {
            fold(run, buffer);
        }
        let folded: &[u8] = if tok.class == Class::Number { without_zeros(buffer) } else { buffer };
        tok.hash = hash(folded);
        tok.byte = folded.first().copied().unwrap_or(0);
        tok.len = folded.len().min(255) as u8;
        each(folded, &mut tok);
        toks.push(tok);
    }
}

/// A number without the zeros before it; of nothing but zeros one stays.
pub(super) fn without_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.get(zeros.min(digits.len().saturating_sub(1))..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn runs(text: &str) -> Vec<String> {
        let (mut toks, mut out) = (Vec::new(), Vec::new());
        scan(text, &mut toks, &mut Vec::new(), |folded, _| out.push(String::from_utf8_lossy(folded).into_owned()));
        out
    }

    #[test]
    fn words_are_cut_and_folded() {
        assert_eq!(runs("O\u{2019}Brien's Nuñez-Vega, JOSE\u{301} 007"), ["obrien", "nunez", "vega", "jose", "7"]);
        assert_eq!(runs("Her\u{ad}nan\u{200b}dez 'Peg' d'Angelo"), ["hernandez", "peg", "dangelo"]);
        assert_eq!(runs("maria_h@x.org MRN0012"), ["maria", "h", "x", "org", "mrn0012"]);
    }

    #[test]
    fn hashes_are_put_together_and_taken_apart() {
        assert_eq!(joined(hash(b"her"), hash(b"nan"), 3), hash(b"hernan"));
        let mut found = Vec::new();
        shorter(b"anna", |hash| found.push(hash));
        found.sort_unstable();
        let mut expected = [b"nna", b"ana", b"ana", b"ann"].map(|word| hash(word)).to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn one_slip_is_near_and_two_are_not() {
        for (one, other) in
            [("anna", "anna"), ("anna", "ana"), ("anna", "hanna"), ("anna", "anne"), ("maria", "mraia"), ("", "a")]
        {
            assert!(
                is_near(one.as_bytes(), other.as_bytes()) && is_near(other.as_bytes(), one.as_bytes()),
                "{one} {other}"
            );
        }
        for (one, other) in [("anna", "an"), ("anna", "enne"), ("maria", "mrai"), ("abcd", "badc")] {
            assert!(!is_near(one.as_bytes(), other.as_bytes()), "{one} {other}");
        }
    }
}
