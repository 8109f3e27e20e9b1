//! Format-preserving encryption.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::StringViewArray;
use cordon_crypto::{CryptoError, Ff1, FpeKey};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::text::to_text;
use super::{Outcome, Reason};

/// FF1 (NIST SP 800-38G rev. 1) over the characters of `alphabet`; ASCII punctuation and spaces stay where they are,
/// so that a number keeps its hyphens.
///
/// Values with fewer than a million possibilities fail: all of them could be tried. The outcome is a number like any
/// other, so it can be one that somebody else really has: take [`super::SurrogateKind::Ssn`] where that matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FpeRule {
    pub alphabet: Alphabet,
    /// The tweak: equal values of different domains become different.
    pub domain: String,
}

/// The characters that are encrypted. A letter or digit outside it fails, so that nothing of it stays in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alphabet {
    /// `0-9`
    Digits,
    /// `0-9A-Z`
    UpperAlphanumeric,
    /// `0-9A-Za-z`
    Alphanumeric,
    /// These characters, in this order, each counted once.
    Custom(String),
}

impl Alphabet {
    fn characters(&self) -> Vec<char> {
        let digits = '0'..='9';
        let mut characters: Vec<char> = match self {
            Self::Digits => digits.collect(),
            Self::UpperAlphanumeric => digits.chain('A'..='Z').collect(),
            Self::Alphanumeric => digits.chain('A'..='Z').chain('a'..='z').collect(),
            Self::Custom(characters) => characters.chars().collect(),
        };
        let mut seen = hashbrown::HashSet::new();
        characters.retain(|character| seen.insert(*character));
        characters
    }
}

pub(super) fn apply(rule: &FpeRule, values: &StringViewArray, key: &FpeKey) -> Result<Outcome, CryptoError> {
    transform(rule, values, key, cordon_crypto::Ff1::encrypt_batch)
}

/// The values that [`super::Kernel::Fpe`] encrypted by the same rule and key. For whoever may re-identify.
pub fn fpe_decrypt(rule: &FpeRule, values: &StringViewArray, key: &FpeKey) -> Result<Outcome, CryptoError> {
    transform(rule, values, key, cordon_crypto::Ff1::decrypt_batch)
}

/// Where the digits of a row stand: in the group of its length, from this place on.
#[derive(Clone, Copy)]
struct Place {
    length: usize,
    start: usize,
}

fn transform(
    rule: &FpeRule,
    values: &StringViewArray,
    key: &FpeKey,
    run: impl Fn(&Ff1, &[u8], usize, &mut [u16]) -> Result<(), CryptoError>,
) -> Result<Outcome, CryptoError> {
    let symbols = Symbols::new(&rule.alphabet);
    let ff1 = Ff1::for_key(key, symbols.characters.len() as u32)?;
    let min_length = Ff1::min_length(ff1.radix());

    // Values of equal length are encrypted in step, several times as fast as one by one.
    let mut groups: BTreeMap<usize, Vec<u16>> = BTreeMap::new();
    let mut places = Vec::new();
    let mut line = Vec::new();
    for text in values.iter().flatten() {
        line.clear();
        let place = symbols.read(text, &mut line).and_then(|()| match line.len() {
            0 if text.is_empty() => Ok(None),
            length if length < min_length => Err(Reason::TooShortForEncryption),
            length => {
                let group = groups.entry(length).or_default();
                let place = Place { length, start: group.len() };
                group.extend_from_slice(&line);
                Ok(Some(place))
            }
        });
        places.push(place);
    }
    for (length, digits) in &mut groups {
        run(&ff1, rule.domain.as_bytes(), *length, digits)?;
    }

    let mut places = places.into_iter();
    let (values, failures) = to_text(values, |_, text, out| {
        let Some(Place { length, start }) = places.next().unwrap_or(Ok(None))? else {
            return Ok(false);
        };
        let group = groups.get(&length).and_then(|group| group.get(start..start + length));
        let mut digits = group.unwrap_or_default().iter();
        out.extend(text.chars().map_while(|character| {
            if is_punctuation(character) && symbols.digit(character).is_none() {
                return Some(character);
            }
            symbols.characters.get(usize::from(*digits.next()?)).copied()
        }));
        Ok(true)
    });
    Ok(Outcome { values: Arc::new(values), failures })
}

fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation() || character == ' '
}

/// An alphabet, both ways.
struct Symbols {
    characters: Vec<char>,
    digits: HashMap<char, u16>,
    /// The same for ASCII, with `u16::MAX` for what is not in the alphabet.
    ascii: [u16; 128],
}

impl Symbols {
    fn new(alphabet: &Alphabet) -> Self {
        let characters = alphabet.characters();
        let digits: HashMap<char, u16> = characters.iter().copied().zip(0..).collect();
        let ascii = std::array::from_fn(|at| digits.get(&char::from(at as u8)).copied().unwrap_or(u16::MAX));
        Self { characters, digits, ascii }
    }

    #[inline]
    fn digit(&self, character: char) -> Option<u16> {
        match self.ascii.get(character as usize) {
            Some(digit) => (*digit != u16::MAX).then_some(*digit),
            None => self.digits.get(&character).copied(),
        }
    }

    fn read(&self, text: &str, out: &mut Vec<u16>) -> Result<(), Reason> {
        for character in text.chars() {
            match self.digit(character) {
                Some(digit) => out.push(digit),
                None if is_punctuation(character) => {}
                None => return Err(Reason::OutsideAlphabet),
            }
        }
        Ok(())
    }
}
