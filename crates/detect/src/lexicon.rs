//! What is known of words and phrases, read once from the lists in `lexicon/`.

use std::sync::OnceLock;

use cordon_phi::IdentifierKind;
use hashbrown::HashMap;

use crate::scan::{Class, Gap, Token, scan};

/// Names of physicians that became words of medicine (`Parkinson`, `Foley`): never a person without other evidence.
/// Words in lower case between blanks; lines with `#` are comments.
pub const EPONYMS: &str = include_str!("../lexicon/eponyms.txt");

/// Names of medicines, in the same form as [`EPONYMS`].
pub const DRUGS: &str = include_str!("../lexicon/drugs.txt");

/// A set of what a word can be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tags(u32);

impl Tags {
    pub const NONE: Self = Self(0);
    pub const MONTH: Self = Self(1);
    pub const WEEKDAY: Self = Self(1 << 1);
    pub const TITLE: Self = Self(1 << 2);
    pub const CREDENTIAL: Self = Self(1 << 3);
    pub const RELATION: Self = Self(1 << 4);
    pub const STREET: Self = Self(1 << 5);
    pub const DIRECTION: Self = Self(1 << 6);
    pub const UNIT: Self = Self(1 << 7);
    pub const STATE: Self = Self(1 << 8);
    pub const GIVEN: Self = Self(1 << 9);
    pub const SURNAME: Self = Self(1 << 10);
    /// An ordinary word: no name, however it is written.
    pub const COMMON: Self = Self(1 << 11);
    pub const EPONYM: Self = Self(1 << 12);
    /// What an eponym stands before: `disease`, `catheter`, `score`.
    pub const EPONYM_NOUN: Self = Self(1 << 13);
    pub const DRUG: Self = Self(1 << 14);
    pub const FACILITY: Self = Self(1 << 15);
    /// Stands within the name of a place of care and makes none alone: `pain clinic`.
    pub const SPECIALTY: Self = Self(1 << 16);
    pub const MEASURE: Self = Self(1 << 17);
    pub const COMPANY: Self = Self(1 << 18);
    pub const DOMAIN: Self = Self(1 << 19);
    pub const PHONE: Self = Self(1 << 20);
    /// Says that the number behind it is a code, a version, a trial: public, not personal.
    pub const CODE: Self = Self(1 << 21);
    pub const TENS: Self = Self(1 << 22);
    pub const STARTS_PHRASE: Self = Self(1 << 23);
    pub const PARTICLE: Self = Self(1 << 24);
    /// Begins a street's name where the kind of street stands first: `Rua`, `Via`, `rue`.
    pub const STREET_FIRST: Self = Self(1 << 25);

    pub fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a phrase of several words says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phrase {
    /// A number of this kind follows.
    Label {
        kind: IdentifierKind,
        weak: bool,
    },
    Holiday,
    City,
    State,
    /// A place of care, an insurer or a university known by this name.
    Organization,
    /// A name follows: always, after a mark only, or only when what follows looks like one.
    NameCue {
        strong: bool,
    },
    /// What follows is a birth (or death) date.
    DateCue(IdentifierKind),
    /// Not personal, whatever recognisers say.
    Public,
}

pub(crate) struct Lexicon {
    words: HashMap<Box<[u8]>, (u16, Tags)>,
    steps: HashMap<(u32, u16), u32>,
    ends: Vec<Option<Phrase>>,
}

const LONGEST: usize = 24;

impl Lexicon {
    /// The lists as shipped.
    pub fn shipped() -> &'static Self {
        static LEXICON: OnceLock<Lexicon> = OnceLock::new();
        LEXICON.get_or_init(Self::build)
    }

    fn build() -> Self {
        let mut lexicon = Self { words: HashMap::new(), steps: HashMap::new(), ends: vec![None] };
        for (list, tags) in [
            (include_str!("../lexicon/common.txt"), Tags::COMMON),
            (include_str!("../lexicon/given_names.txt"), Tags::GIVEN),
            (include_str!("../lexicon/surnames.txt"), Tags::SURNAME),
            (EPONYMS, Tags::EPONYM),
            (DRUGS, Tags::DRUG),
        ] {
            lexicon.list(list, tags);
        }
        for line in lines(include_str!("../lexicon/words.txt")) {
            let (name, list) = line.split_once(':').unwrap_or((line, ""));
            lexicon.list(list, class_of(name.trim()));
        }
        for (list, phrase) in [
            (include_str!("../lexicon/cities.txt"), Phrase::City),
            (include_str!("../lexicon/organizations.txt"), Phrase::Organization),
        ] {
            for line in lines(list) {
                lexicon.phrase(line, phrase);
            }
        }
        for line in lines(include_str!("../lexicon/phrases.txt")) {
            let (name, list) = line.split_once(':').unwrap_or((line, ""));
            let name = name.trim();
            let phrase = match name {
                "holiday" => Phrase::Holiday,
                "state" => Phrase::State,
                "public" => Phrase::Public,
                "name" => Phrase::NameCue { strong: true },
                "perhaps-name" => Phrase::NameCue { strong: false },
                "born" => Phrase::DateCue(IdentifierKind::BirthDate),
                "died" => Phrase::DateCue(IdentifierKind::DeathDate),
                _ => {
                    let (kind, weak) = name.strip_suffix('?').map_or((name, false), |kind| (kind, true));
                    Phrase::Label { kind: kind.parse().unwrap_or(IdentifierKind::UniqueId), weak }
                }
            };
            for words in list.split(',') {
                lexicon.phrase(words, phrase);
            }
        }
        lexicon
    }

    fn list(&mut self, list: &str, tags: Tags) {
        for word in lines(list).flat_map(str::split_whitespace) {
            self.tag(word, tags);
        }
    }

    fn tag(&mut self, word: &str, tags: Tags) -> u16 {
        let next = (self.words.len() + 1) as u16;
        let entry = self.words.entry(word.to_lowercase().into_bytes().into_boxed_slice()).or_insert((next, Tags::NONE));
        entry.1 = entry.1.or(tags);
        entry.0
    }

    fn phrase(&mut self, words: &str, phrase: Phrase) {
        let mut tokens = Vec::new();
        scan(words, self, &mut tokens);
        let mut node = 0_u32;
        for token in tokens.iter().filter(|token| token.class != Class::Punct) {
            let text = words.get(token.start as usize..token.end as usize).unwrap_or_default();
            let tags = if node == 0 { Tags::STARTS_PHRASE } else { Tags::NONE };
            let word = self.tag(text, tags);
            let next = self.ends.len() as u32;
            node = *self.steps.entry((node, word)).or_insert(next);
            if node == next {
                self.ends.push(None);
            }
        }
        if let Some(end) = self.ends.get_mut(node as usize).filter(|_| node != 0) {
            *end = Some(phrase);
        }
    }

    /// The number and tags of a word, whatever its case; zero and nothing when it is not known.
    pub fn look_up(&self, word: &[u8]) -> (u16, Tags) {
        let mut lower = [0_u8; LONGEST];
        let Some(lower) = lower.get_mut(..word.len()) else { return (0, Tags::NONE) };
        lower.copy_from_slice(word);
        lower.make_ascii_lowercase();
        self.words.get(&*lower).copied().unwrap_or((0, Tags::NONE))
    }

    /// The longest phrase that begins at token `at`, and the index behind its last token. Points, hyphens and
    /// apostrophes between its words do not matter (`acct. no`, `driver's licence`), a new line ends it.
    pub fn phrase_at(&self, tokens: &[Token], at: usize) -> Option<(Phrase, usize)> {
        let mut best = None;
        let mut node = 0_u32;
        let mut marks = 0;
        for (index, token) in tokens.iter().enumerate().skip(at) {
            if index > at && token.gap >= Gap::Line {
                break;
            }
            if token.class == Class::Punct && matches!(token.byte, b'.' | b'-' | b'\'') && index > at && marks < 2 {
                marks += 1;
                continue;
            }
            marks = 0;
            let Some(next) = self.steps.get(&(node, token.word)).filter(|_| token.word != 0) else { break };
            node = *next;
            if let Some(phrase) = self.ends.get(node as usize).copied().flatten() {
                best = Some((phrase, index + 1));
            }
        }
        best
    }

    /// The whole text is the name of a known town.
    pub fn is_city(&self, text: &str) -> bool {
        let mut tokens = Vec::new();
        scan(text, self, &mut tokens);
        self.phrase_at(&tokens, 0).is_some_and(|(phrase, end)| phrase == Phrase::City && end == tokens.len())
    }
}

fn lines(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn class_of(name: &str) -> Tags {
    match name {
        "month" => Tags::MONTH,
        "weekday" => Tags::WEEKDAY,
        "title" => Tags::TITLE,
        "credential" => Tags::CREDENTIAL,
        "relation" => Tags::RELATION,
        "street" => Tags::STREET,
        "direction" => Tags::DIRECTION,
        "unit" => Tags::UNIT,
        "state" => Tags::STATE,
        "eponym-noun" => Tags::EPONYM_NOUN,
        "facility" => Tags::FACILITY,
        "specialty" => Tags::SPECIALTY,
        "measure" => Tags::MEASURE,
        "company" => Tags::COMPANY,
        "domain" => Tags::DOMAIN,
        "phone" => Tags::PHONE,
        "code" => Tags::CODE,
        "tens" => Tags::TENS,
        "particle" => Tags::PARTICLE,
        "street-first" => Tags::STREET_FIRST,
        _ => Tags::NONE,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_line_of_the_lists_is_of_a_known_class() {
        for line in lines(include_str!("../lexicon/words.txt")) {
            assert!(class_of(line.split_once(':').unwrap().0) != Tags::NONE, "{line}");
        }
        for line in lines(include_str!("../lexicon/phrases.txt")) {
            let name = line.split_once(':').unwrap().0.trim_end_matches('?');
            let special = ["holiday", "state", "public", "name", "perhaps-name", "born", "died"].contains(&name);
            assert!(special || name.parse::<IdentifierKind>().is_ok(), "{name}");
        }
    }

    #[test]
    fn numbers_of_words_do_not_run_over() {
        assert!(Lexicon::shipped().words.len() < usize::from(u16::MAX));
    }
}
