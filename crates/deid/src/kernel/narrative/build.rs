//! From a dossier to a matcher.

use std::sync::LazyLock;

use cordon_phi::{IdentifierKind as Kind, Known, KnownFacts, Whose};
use hashbrown::{HashMap, HashSet};

use super::person::{PROVIDER, RELATIVE, is_affix, is_particle, key_of, split, words_of};
use super::word::{self, Class, Index, LONGEST, Tok};
use super::{Matcher, Part, Wanted, What, nickname};
use crate::kernel::Day;

/// A known word.
pub(super) struct Word {
    pub folded: Box<[u8]>,
    pub flags: u32,
    pub uses: Vec<Use>,
}

impl Word {
    pub(super) fn is_name(&self) -> bool {
        self.uses.iter().any(|used| matches!(used, Use::Name { .. }))
    }
}

/// What a known word is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Name {
        person: u32,
        part: Part,
        nickname: bool,
    },
    /// The word of a phrase that it is found by.
    Phrase(u32),
}

/// Somebody whose names are known.
pub(super) struct Person {
    /// `None`: the subject.
    pub role: Option<&'static str>,
    pub name: String,
    /// First letters (folded), what they are of, and the known word.
    pub initials: Vec<(u8, Part, u32)>,
    pub has_particles: bool,
}

/// How the words of a phrase are parted in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Glue {
    /// By blanks and marks.
    Loose,
    /// By marks alone.
    Tight,
    Date,
}

/// Words that mean something together.
pub(super) struct Phrase {
    pub kind: Kind,
    pub what: What,
    pub glue: Glue,
    pub words: Vec<PhraseWord>,
    /// The word that it is found by.
    pub anchor: usize,
    /// A street: what says which kind of street or part of a house may be there or not.
    pub is_street: bool,
    /// So many words must be there, or one that is no ordinary word.
    pub least: usize,
}

pub(super) struct PhraseWord {
    /// Of the word in its usual short form.
    pub hash: u64,
    pub folded: Box<[u8]>,
    pub optional: bool,
}

/// A number of letters and digits.
pub(super) struct Id {
    pub canonical: Box<[u8]>,
    pub kind: Kind,
    pub what: What,
    pub form: Form,
}

/// What one word may be part of: nobody has so many relatives of one name.
const MOST_USES: usize = 64;

/// Words of a phrase that are compared.
const MOST_WORDS: usize = 16;

/// The longest number that is looked for.
pub(super) const MOST: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Any,
    /// So short that only a word before it makes it one.
    Labelled,
    /// With a sign within: the last seven digits of a phone number.
    Signed,
}

impl Matcher {
    /// What is wanted of a dossier.
    pub(in crate::kernel) fn new(facts: &KnownFacts, wanted: Wanted) -> Self {
        let subject = Person { role: None, name: String::new(), initials: Vec::new(), has_particles: false };
        let matcher = Self {
            words: Vec::new(),
            exact: Index::default(),
            near: Index::default(),
            lengths: 0,
            people: vec![subject],
            phrases: Vec::new(),
            ids: Vec::new(),
            exact_ids: Index::default(),
            near_ids: Index::default(),
            id_lengths: 0,
            last_four: Vec::new(),
        };
        let mut builder = Builder { matcher, keys: HashMap::new(), own: HashSet::new(), folded: Vec::new() };
        builder.matcher.exact.reserve(facts.len() * 4);
        builder.matcher.near.reserve(facts.len() * 24);
        // The subject's own names first: a guarantor is often the patient, and a word that both have is the patient's.
        let of_subject = |known: &Known<'_>| known.whose == Whose::Subject;
        for known in facts.iter().filter(of_subject).chain(facts.iter().filter(|known| !of_subject(known))) {
            builder.fact(&known, wanted);
        }
        builder.matcher
    }
}

struct Builder {
    matcher: Matcher,
    /// People but the subject by role and name.
    keys: HashMap<(Whose, String), u32>,
    /// The subject's names.
    own: HashSet<String>,
    folded: Vec<u8>,
}

impl Builder {
    fn fact(&mut self, known: &Known<'_>, wanted: Wanted) {
        let own = known.whose == Whose::Subject;
        let what = if own { What::Own } else { What::Other };
        let text = known.text;
        match known.kind {
            Kind::Name if known.whose == Whose::Organization => self.organization(text, wanted),
            Kind::Name => self.name(known),
            Kind::Organization => self.organization(text, wanted),
            Kind::StreetAddress => self.street(text, what),
            Kind::City | Kind::County if wanted.places || known.kind == Kind::County => {
                self.phrase(text, known.kind, what, Glue::Loose, 1);
            }
            Kind::PostalCode if wanted.places => self.postal(text),
            Kind::BirthDate | Kind::DeathDate if wanted.places && own => self.date(text, known.kind),
            Kind::Phone | Kind::Fax => self.phone(text, known.kind, what),
            Kind::Ssn => {
                self.id(text, Kind::Ssn, what);
                self.last_four(text, own);
            }
            Kind::Email => {
                self.phrase(text, Kind::Email, what, Glue::Tight, 2);
                let local = text.split('@').next().unwrap_or_default();
                if local.len() >= 5 && local.bytes().any(|byte| byte.is_ascii_digit()) {
                    self.id(local, Kind::Email, what);
                }
            }
            Kind::Url => {
                let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
                self.phrase(bare.strip_prefix("www.").unwrap_or(bare), Kind::Url, what, Glue::Tight, 2);
            }
            Kind::IpAddress => self.phrase(text, Kind::IpAddress, what, Glue::Tight, 2),
            Kind::MedicalRecordNumber
            | Kind::HealthPlanId
            | Kind::AccountNumber
            | Kind::LicenceNumber
            | Kind::VehicleId
            | Kind::DeviceId
            | Kind::ProviderId
            | Kind::Biometric
            | Kind::UniqueId => self.id(text, known.kind, what),
            _ => {}
        }
    }

    fn fold(&mut self, run: &str) -> Box<[u8]> {
        word::fold(run, &mut self.folded);
        self.folded.as_slice().into()
    }

    /// The number of a word, which has a further use.
    fn word(&mut self, folded: &[u8], used: Use, slips: bool) -> u32 {
        let matcher = &mut self.matcher;
        let hash = word::hash(folded);
        let mut known = word::NONE;
        matcher.exact.get(hash, |word| {
            if matcher.words.get(word as usize).is_some_and(|word| *word.folded == *folded) {
                known = word;
            }
        });
        if known == word::NONE {
            known = matcher.words.len() as u32;
            matcher.words.push(Word { folded: folded.into(), flags: word::flags(folded), uses: Vec::new() });
            matcher.exact.insert(hash, known);
        }
        if let Some(word) = matcher.words.get_mut(known as usize)
            && word.uses.len() < MOST_USES
            && !word.uses.contains(&used)
        {
            word.uses.push(used);
        }
        if slips && (4..=LONGEST).contains(&folded.len()) {
            matcher.lengths |= 1 << folded.len();
            matcher.near.insert(hash, known);
            word::shorter(folded, |hash| matcher.near.insert(hash, known));
        }
        known
    }

    fn name(&mut self, known: &Known<'_>) {
        let (given, family) = split(known);
        let spelled = format!("{given} {family}");
        let key = key_of(&spelled);
        let person = if known.whose == Whose::Subject {
            self.own.insert(key);
            0
        } else {
            if key.is_empty() || self.own.contains(&key) {
                return;
            }
            let role = if known.whose == Whose::Provider { PROVIDER } else { RELATIVE };
            let next = self.matcher.people.len() as u32;
            let people = &mut self.matcher.people;
            *self.keys.entry((known.whose, key)).or_insert_with(|| {
                people.push(Person {
                    role: Some(role),
                    name: spelled.clone(),
                    initials: Vec::new(),
                    has_particles: false,
                });
                next
            })
        };
        let mut given_words: Vec<Box<[u8]>> = Vec::new();
        for word in words_of(given) {
            let folded = self.fold(word);
            let is_other = std::str::from_utf8(&folded).is_ok_and(is_affix);
            if !folded.is_empty() && !is_other {
                given_words.push(folded);
            }
        }
        let (mut families, mut joined): (Vec<Box<[u8]>>, Vec<u8>) = (Vec::new(), Vec::new());
        for word in words_of(family) {
            let folded = self.fold(word);
            let text = std::str::from_utf8(&folded).unwrap_or_default();
            if folded.is_empty() || is_affix(text) {
                continue;
            }
            if is_particle(text) {
                if let Some(person) = self.matcher.people.get_mut(person as usize) {
                    person.has_particles = true;
                }
            } else {
                // `O'Brien` is also `Brien` behind an O.
                if let Some((_, rest)) = word.split_once(['\'', '\u{2019}'])
                    && rest.chars().count() >= 4
                {
                    let rest = self.fold(rest);
                    self.part(&rest, person, Part::Family, false);
                }
            }
            joined.extend_from_slice(&folded);
            families.push(folded);
        }
        let particle = |folded: &[u8]| std::str::from_utf8(folded).is_ok_and(is_particle);
        let only_particles = families.iter().all(|word| particle(word));
        for (at, folded) in given_words.iter().enumerate() {
            let part = if at == 0 { Part::Given } else { Part::Further };
            self.initial(folded, person, part);
            if folded.len() > 1 {
                self.part(folded, person, part, false);
            }
            if at == 0 {
                self.nicknames(folded, person);
            }
        }
        for folded in families.iter().filter(|word| only_particles || !particle(word)) {
            self.initial(folded, person, Part::Family);
            if folded.len() > 1 {
                self.part(folded, person, Part::Family, false);
            }
        }
        // `D. D.` may be Daniela de la Cruz.
        if let Some(first) = families.first().filter(|word| particle(word)) {
            let word = families.iter().find(|word| !particle(word)).unwrap_or(first);
            self.initial_of(first, word, person, Part::Family);
        }
        if families.len() > 1 {
            self.part(&joined, person, Part::Family, false);
        }
        if let [first, second, ..] = given_words.as_slice()
            && second.len() > 2
        {
            let both = [&**first, &**second].concat();
            self.part(&both, person, Part::Given, false);
        }
        // How accounts are called: `mariahernandez`, `mhernandez`.
        if let (Some(first), true) = (given_words.first().filter(|first| !first.is_empty()), joined.len() >= 5) {
            let letter = first.get(..1).unwrap_or_default();
            let mut runs = vec![[&**first, &joined].concat(), [&joined, &**first].concat()];
            if letter.iter().all(u8::is_ascii) {
                runs.extend([[letter, &joined].concat(), [&joined, letter].concat()]);
            }
            for run in runs {
                let flags = word::flags(&run);
                if !word::is_word(flags) && !word::is_frequent(flags) {
                    let used = Use::Name { person, part: Part::Whole, nickname: false };
                    self.word(&run, used, false);
                }
            }
        }
    }

    fn part(&mut self, folded: &[u8], person: u32, part: Part, nickname: bool) -> u32 {
        self.word(folded, Use::Name { person, part, nickname }, !nickname || folded.len() > 5)
    }

    fn initial(&mut self, folded: &[u8], person: u32, part: Part) {
        self.initial_of(folded, folded, person, part);
    }

    /// The first letter of `spelled`, which stands for the word `folded`.
    fn initial_of(&mut self, spelled: &[u8], folded: &[u8], person: u32, part: Part) {
        let Some(letter) = spelled.first().copied().filter(u8::is_ascii_lowercase) else { return };
        let used = Use::Name { person, part, nickname: false };
        let word = if folded.len() > 1 { self.word(folded, used, false) } else { word::NONE };
        if let Some(person) = self.matcher.people.get_mut(person as usize)
            && person.initials.len() < MOST_USES
            && !person.initials.contains(&(letter, part, word))
        {
            person.initials.push((letter, part, word));
        }
    }

    fn nicknames(&mut self, given: &[u8], person: u32) {
        let names: Vec<&'static str> =
            std::str::from_utf8(given).map(|given| nickname::of(given).collect()).unwrap_or_default();
        for name in names {
            let folded = self.fold(name);
            if *folded != *given {
                self.part(&folded, person, Part::Given, true);
            }
        }
    }

    /// The runs of a text with their folded bytes.
    fn runs(&mut self, text: &str) -> Vec<(Tok, Box<[u8]>)> {
        let (mut toks, mut runs) = (Vec::new(), Vec::new());
        word::scan(text, &mut toks, &mut self.folded, |folded, tok| {
            if runs.len() < MOST_WORDS {
                runs.push((*tok, folded.into()));
            }
        });
        runs
    }

    fn organization(&mut self, text: &str, wanted: Wanted) {
        if wanted.organizations {
            self.phrase(text, Kind::Organization, What::Other, Glue::Loose, 1);
        }
    }

    /// A phrase all of whose words must be there, but for an article before and a legal form behind.
    fn phrase(&mut self, text: &str, kind: Kind, what: What, glue: Glue, least: usize) {
        let runs = self.runs(text);
        let count = runs.len();
        let words: Vec<PhraseWord> = runs
            .into_iter()
            .enumerate()
            .map(|(at, (tok, folded))| PhraseWord {
                hash: short_form(tok.hash),
                optional: count > 1
                    && (at == 0 && *folded == *b"the"
                        || at > 0
                            && matches!(
                                &*folded,
                                b"inc" | b"llc" | b"ltd" | b"corp" | b"co" | b"pc" | b"pllc" | b"the" | b"of" | b"and"
                            )),
                folded,
            })
            .collect();
        self.add(Phrase { kind, what, glue, words, anchor: 0, is_street: false, least });
    }

    /// Files a phrase under its most telling word.
    fn add(&mut self, mut phrase: Phrase) {
        let weight = |word: &PhraseWord| {
            let digits = word.folded.first().is_some_and(u8::is_ascii_digit);
            let flags = word::flags(&word.folded);
            (!word.optional, !digits, !is_short_form(word.hash), !word::is_ordinary(flags, true), word.folded.len())
        };
        let anchor = (0..phrase.words.len()).max_by_key(|at| phrase.words.get(*at).map(weight));
        let Some(word) = anchor.and_then(|at| phrase.words.get(at)) else { return };
        let enough = word.folded.len() > 2 || phrase.words.iter().filter(|word| !word.optional).count() > 1;
        if word.optional || !enough {
            return;
        }
        let number = Use::Phrase(self.matcher.phrases.len() as u32);
        let (folded, hash) = (word.folded.clone(), word.hash);
        phrase.anchor = anchor.unwrap_or(0);
        let slips = folded.len() > 4 && folded.iter().all(u8::is_ascii_alphabetic) && phrase.glue == Glue::Loose;
        self.matcher.phrases.push(phrase);
        self.word(&folded, number, slips);
        for other in forms_of(hash) {
            self.word(other, number, false);
        }
    }

    fn street(&mut self, text: &str, what: What) {
        let runs = self.runs(text);
        let forms: Vec<u64> = runs.iter().map(|(tok, _)| short_form(tok.hash)).collect();
        let form = |at: usize| forms.get(at).copied().unwrap_or(0);
        let digit = |at: usize| {
            runs.get(at)
                .is_some_and(|(tok, folded)| tok.class != Class::Word && folded.first().is_some_and(u8::is_ascii_digit))
        };
        // `PO Box 12`: the number behind the box.
        if let Some(at) = forms.iter().position(|hash| *hash == word::hash(b"box"))
            && let Some((_, number)) = runs.get(at + 1)
        {
            let words = [(word::hash(b"box"), b"box".as_slice()), (form(at + 1), number)];
            let words = words.map(|(hash, folded)| PhraseWord { hash, folded: folded.into(), optional: false }).into();
            self.add(Phrase {
                kind: Kind::StreetAddress,
                what,
                glue: Glue::Loose,
                words,
                anchor: 0,
                is_street: true,
                least: 2,
            });
            return;
        }
        let has_number = digit(0) && runs.len() > 1;
        let first = usize::from(has_number);
        let unit = (first + 1..runs.len()).find(|at| is_unit(form(*at))).unwrap_or(runs.len());
        // The last word before the part of the house that says which kind of street; the name stands before it.
        let suffix = (first + 1..unit).rev().find(|at| is_suffix(form(*at)));
        let name_end = suffix.unwrap_or(unit);
        let directed = first + 1 < name_end && is_direction(form(first));
        let name = first + usize::from(directed)..name_end;
        if name.is_empty() {
            return;
        }
        let word = |at: usize, optional: bool| PhraseWord {
            hash: form(at),
            folded: runs.get(at).map(|(_, folded)| folded.clone()).unwrap_or_default(),
            optional,
        };
        let words = (0..runs.len()).map(|at| word(at, !(at < first || name.contains(&at)))).collect();
        let phrase = |words, least| Phrase {
            kind: Kind::StreetAddress,
            what,
            glue: Glue::Loose,
            words,
            anchor: 0,
            is_street: true,
            least,
        };
        let mut phrases = vec![phrase(words, 2)];
        if let (Some(suffix), true) = (suffix, has_number) {
            let words = name.clone().chain([suffix]).map(|at| word(at, false)).collect();
            phrases.push(phrase(words, 2));
        }
        for phrase in phrases {
            self.add(phrase);
        }
    }

    fn postal(&mut self, text: &str) {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).collect();
        if digits.len() != text.bytes().filter(u8::is_ascii_alphanumeric).count() {
            // Another country's.
            return self.phrase(text, Kind::PostalCode, What::Other, Glue::Loose, 1);
        }
        for length in [5, 9] {
            if let Some(code) = digits.get(..length) {
                self.push_id(code, Kind::PostalCode, What::Other, Form::Any);
            }
        }
    }

    /// A date in the spellings that are no date to others.
    fn date(&mut self, text: &str, kind: Kind) {
        const MONTHS: [&str; 12] = [
            "january",
            "february",
            "march",
            "april",
            "may",
            "june",
            "july",
            "august",
            "september",
            "october",
            "november",
            "december",
        ];
        let Ok(day) = text.get(..10).unwrap_or(text).parse::<Day>() else { return };
        let (year, month, day) = day.ymd();
        let (long, short) = (format!("{year:04}"), format!("{:02}", year.rem_euclid(100)));
        let name = (month as usize).checked_sub(1).and_then(|at| MONTHS.get(at)).copied().unwrap_or_default();
        let short_name = name.get(..3).unwrap_or_default();
        let (m, d) = (month.to_string(), day.to_string());
        let ordinal = match day {
            1 | 21 | 31 => "st",
            2 | 22 => "nd",
            3 | 23 => "rd",
            _ => "th",
        };
        let nth = format!("{d}{ordinal}");
        let mut spellings: Vec<Vec<String>> = Vec::new();
        let mut spell = |parts: &[&str]| spellings.push(parts.iter().map(|part| (*part).to_owned()).collect());
        for y in [long.as_str(), short.as_str()] {
            spell(&[&m, &d, y]);
            spell(&[&d, &m, y]);
            spell(&[y, &m, &d]);
            spell(&[&format!("{month}{day:02}{y}")]);
            spell(&[&format!("{y}{month:02}{day:02}")]);
            // The detector reads `March 5, 1957` itself.
            for name in [name, short_name] {
                spell(&[&nth, name, y]);
                spell(&[&d, name, y]);
                for d in [&d, &format!("{day:02}")] {
                    spell(&[&format!("{d}{name}{y}")]);
                }
            }
        }
        for spelling in spellings {
            // Six digits alone are a count or a code as often as a date.
            if matches!(spelling.as_slice(), [one] if one.len() < 7 && one.bytes().all(|byte| byte.is_ascii_digit())) {
                continue;
            }
            let words = spelling.iter().map(|part| {
                let folded = if part.bytes().all(|byte| byte.is_ascii_digit()) {
                    word::without_zeros(part.as_bytes())
                } else {
                    part.as_bytes()
                };
                PhraseWord { hash: word::hash(folded), folded: folded.into(), optional: false }
            });
            let words: Vec<_> = words.collect();
            let anchor = (0..words.len()).max_by_key(|at| words.get(*at).map(|word| word.folded.len())).unwrap_or(0);
            let Some(folded) = words.get(anchor).map(|word| word.folded.clone()) else { continue };
            let number = Use::Phrase(self.matcher.phrases.len() as u32);
            self.matcher.phrases.push(Phrase {
                kind,
                what: What::Own,
                glue: Glue::Date,
                words,
                anchor,
                is_street: false,
                least: 1,
            });
            self.word(&folded, number, false);
        }
    }

    fn phone(&mut self, text: &str, kind: Kind, what: What) {
        // An extension is of a switchboard.
        let bare = text.to_ascii_lowercase();
        let bare = bare.split('x').next().unwrap_or_default().trim_end_matches('e');
        let digits: Vec<u8> = bare.bytes().filter(u8::is_ascii_digit).collect();
        let national = match digits.as_slice() {
            [b'1', national @ ..] if national.len() == 10 => national,
            all => all,
        };
        if national.len() < 7 {
            return;
        }
        self.push_id(national, kind, what, if national.len() == 7 { Form::Signed } else { Form::Any });
        if national.len() == 10 {
            self.push_id(&[b"1", national].concat(), kind, what, Form::Any);
            let tail = if what == What::Own { What::Tail(8) } else { what };
            self.push_id(national.get(3..).unwrap_or_default(), kind, tail, Form::Signed);
        }
    }

    fn last_four(&mut self, text: &str, own: bool) {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).collect();
        if let (true, Some(last)) = (own, digits.get(digits.len().saturating_sub(4)..).filter(|_| digits.len() == 9)) {
            self.matcher.last_four.push(word::hash(word::without_zeros(last)));
        }
    }

    fn id(&mut self, text: &str, kind: Kind, what: What) {
        let mut canonical = Vec::with_capacity(text.len());
        for run in words_of(text) {
            word::fold(run, &mut self.folded);
            canonical.extend_from_slice(&self.folded);
        }
        let digits = canonical.iter().filter(|byte| byte.is_ascii_digit()).count();
        let canonical = word::without_zeros(&canonical).to_vec();
        match canonical.len() {
            3 | 4 if digits > 1 => self.push_id(&canonical, kind, what, Form::Labelled),
            5.. if digits > 1 => {
                self.push_id(&canonical, kind, what, Form::Any);
                // `MRN-0012345` is also written without what stands before the number.
                let letters = canonical.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                let number = word::without_zeros(canonical.get(letters..).unwrap_or_default());
                if letters > 0 && number.len() >= 6 && number.iter().all(u8::is_ascii_digit) {
                    self.push_id(number, kind, what, Form::Any);
                }
            }
            // A number without digits is a word, and only as it stands.
            6.. => self.phrase(text, kind, what, Glue::Tight, 1),
            _ => {}
        }
    }

    fn push_id(&mut self, canonical: &[u8], kind: Kind, what: What, form: Form) {
        let matcher = &mut self.matcher;
        let canonical = word::without_zeros(canonical);
        let hash = word::hash(canonical);
        let mut is_known = false;
        matcher.exact_ids.get(hash, |id| {
            is_known |= matcher.ids.get(id as usize).is_some_and(|id| *id.canonical == *canonical && id.form == form);
        });
        if canonical.len() > MOST || is_known {
            return;
        }
        let number = matcher.ids.len() as u32;
        matcher.exact_ids.insert(hash, number);
        if (7..=LONGEST).contains(&canonical.len()) && form == Form::Any {
            matcher.id_lengths |= 1 << canonical.len();
            matcher.near_ids.insert(hash, number);
            word::shorter(canonical, |hash| matcher.near_ids.insert(hash, number));
        }
        matcher.ids.push(Id { canonical: canonical.into(), kind, what, form });
    }
}

/// Words of addresses and towns, each in its forms: the short one first.
const FORMS: &str = "st street saint str|ave avenue av aven|rd road|dr drive|ln lane|blvd boulevard boul|ct court|pl place|ter terrace terr|cir circle|\
way wy|pkwy parkway pky|hwy highway|sq square|trl trail|lp loop|aly alley|plz plaza|cres crescent|expy expressway|tpke turnpike|xing crossing|\
n north|s south|e east|w west|ne northeast|nw northwest|se southeast|sw southwest|apt apartment|ste suite|fl floor|rm room|bldg building|\
unit un|lot lt|trlr trailer|no number num|ft fort|mt mount|hts heights|spgs springs|ctr center centre|hosp hospital|univ university|\
1st first|2nd second|3rd third|4th fourth|5th fifth|6th sixth|7th seventh|8th eighth|9th ninth|10th tenth|rte route rt|med medical|assoc associates";

struct Forms {
    short: HashMap<u64, u64>,
    all: HashMap<u64, Vec<&'static [u8]>>,
}

static FORM: LazyLock<Forms> = LazyLock::new(|| {
    let (mut short, mut all) = (HashMap::new(), HashMap::new());
    for line in FORMS.split('|') {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let first = words.first().map_or(0, |word| word::hash(word));
        for word in &words {
            short.insert(word::hash(word), first);
        }
        all.insert(first, words);
    }
    Forms { short, all }
});

/// The hash of a word's short form.
pub(super) fn short_form(hash: u64) -> u64 {
    FORM.short.get(&hash).copied().unwrap_or(hash)
}

fn is_short_form(hash: u64) -> bool {
    FORM.all.contains_key(&hash)
}

fn forms_of(short: u64) -> &'static [&'static [u8]] {
    FORM.all.get(&short).map(Vec::as_slice).unwrap_or_default()
}

/// What the hash of a short form says: part of a house, direction, kind of street.
struct Sorts {
    units: HashSet<u64>,
    directions: HashSet<u64>,
    suffixes: HashSet<u64>,
}

static SORT: LazyLock<Sorts> = LazyLock::new(|| {
    let hashes = |words: &str| words.split_whitespace().map(|word| word::hash(word.as_bytes())).collect();
    Sorts {
        units: hashes("apt ste fl rm bldg unit lot trlr no"),
        directions: hashes("n s e w ne nw se sw"),
        suffixes: hashes(
            "st ave rd dr ln blvd ct pl ter cir way pkwy hwy sq trl lp aly plz cres expy tpke xing run path row pike rte",
        ),
    }
});

pub(super) fn is_unit(short: u64) -> bool {
    SORT.units.contains(&short)
}

pub(super) fn is_direction(short: u64) -> bool {
    SORT.directions.contains(&short)
}

pub(super) fn is_suffix(short: u64) -> bool {
    SORT.suffixes.contains(&short)
}

/// Whether short words before a name are written apart from it, or in one with it (by their hash). Other short words are words:
/// `an a.m. dose` names no Ana.
pub(super) fn is_before_names(hash: u64) -> bool {
    static BEFORE: LazyLock<HashSet<u64>> = LazyLock::new(|| {
        const WORDS: &str = "o d l mc mac fitz st de la le del da di du dos el al bin ben van von der den ter ten san";
        WORDS.split_whitespace().map(|word| word::hash(word.as_bytes())).collect()
    });
    BEFORE.contains(&hash)
}
