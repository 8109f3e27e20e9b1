//! The lists as the tagger ships them: hashed words with flags.

use std::collections::BTreeMap;

use cordon_detect::tagger::features::{fold, key};
use cordon_detect::tagger::lexicon::{flag, joined};

use crate::grammar::Grammar;
use crate::lists::{Lists, MONTHS, STATES};

/// Short closed lists: what a word does in a text.
const ROLES: &[(u32, &str)] = &[
    (
        flag::TITLE,
        "dr doctor mr mrs ms miss mx prof professor sir madam madame sra sr señora señor rev reverend drs dra",
    ),
    (
        flag::CREDENTIAL,
        "md do rn np pa phd pharmd lcsw dpm dds cnm facc msn aprn lpn dpt crna mph facs rd psyd cna jr esq dnp bsn dmd od \
         mbbs frcp facp faap fnp msw",
    ),
    (
        flag::RELATION,
        "wife husband son daughter mother father brother sister spouse partner mom mum dad aunt uncle niece nephew cousin \
         grandson granddaughter grandmother grandfather friend neighbor caregiver guardian roommate fiancé fiancée stepson \
         stepdaughter stepmother stepfather boyfriend girlfriend landlord coach teacher pastor twin baby sibling parents \
         daughters sons sisters brothers",
    ),
    (
        flag::ORG_HEAD,
        "hospital clinic center centre hospitals clinics infirmary pharmacy school university college elementary llc inc \
         corp corporation ltd llp gmbh company hospice institute academy associates church department laboratories plc group \
         hosp ctr facility campus medcenter daycare preschool bank foundation agency restaurant hotel rehab",
    ),
    (
        flag::ORG_PART,
        "medical general memorial community regional health children children's childrens veterans va methodist baptist \
         presbyterian university family surgical rehabilitation nursing assisted living urgent care women's womens healthcare \
         system heart cancer public high middle services physicians dental pediatrics orthopedics cardiology dialysis oncology \
         med imaging primary senior mercy practice",
    ),
    (
        flag::STREET,
        "street st avenue ave road rd lane ln drive court ct boulevard blvd way place pl circle terrace parkway pkwy trail \
         highway hwy square apt suite unit box route alley plaza crescent loop",
    ),
    (
        flag::CALENDAR,
        "monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thurs fri sat sun jan feb mar apr jun \
         jul aug sep sept oct nov dec today yesterday tomorrow",
    ),
    (
        flag::PLACE_PREFIX,
        "saint san santa los las new fort lake port north south east west mount mt el la upper lower grand glen point palm \
         northern southern eastern western downtown county township village city",
    ),
    (
        flag::LABEL,
        "patient pt name attending pcp physician provider surgeon referring referred signed dictated cc re regarding emergency \
         contact kin nok guarantor subscriber employer address home facility location author from to dear hi hello sincerely \
         regards thanks caller witness interpreter nurse resident consultant named called lives works employed seen admitted \
         transferred resides clinic interpreted verified collected",
    ),
    (flag::PARTICLE, "van der de von da dos del la le al bin ibn ben di della el ter ten du den das abu ap mac o'"),
];

#[derive(Default)]
pub struct Gazetteer {
    words: BTreeMap<u32, u32>,
    buffer: Vec<u8>,
}

impl Gazetteer {
    fn key(&mut self, word: &str) -> u32 {
        fold(word, &mut self.buffer);
        key(&self.buffer)
    }

    fn add(&mut self, word: &str, flags: u32) {
        if word.is_empty() {
            return;
        }
        let key = self.key(word);
        *self.words.entry(key).or_default() |= flags;
    }

    fn phrase(&mut self, phrase: &str, one: u32, part: u32, whole: u32) {
        let words: Vec<&str> = pieces(phrase).collect();
        match words.as_slice() {
            [word] => self.add(word, one),
            [first, rest @ ..] => {
                let mut all = self.key(first);
                self.add(first, part);
                for word in rest {
                    let next = self.key(word);
                    all = joined(all, next);
                    self.add(word, part);
                }
                if whole != 0 && words.len() <= 3 {
                    *self.words.entry(all).or_default() |= whole;
                }
            }
            [] => (),
        }
    }

    pub fn build(lists: &Lists, grammar: &Grammar) -> Vec<(u32, u32)> {
        let mut all = Self::default();
        for (name, share) in &lists.first {
            all.add(name, if *share >= 0.02 { flag::FIRST } else { flag::FIRST_RARE });
        }
        for name in &lists.nick {
            all.add(name, flag::NICK);
        }
        for (rank, name) in lists.last.iter().enumerate() {
            all.add(
                name,
                match rank {
                    0..1500 => flag::LAST,
                    1500..15_000 => flag::LAST_MID,
                    _ => flag::LAST_RARE,
                },
            );
        }
        for name in lists.world.values().flat_map(|(first, last)| first.iter().chain(last)) {
            for word in pieces(name).filter(|word| word.chars().next().is_some_and(char::is_uppercase)) {
                all.add(word, flag::WORLD);
            }
        }
        for (city, zips) in &lists.cities {
            all.phrase(city, if *zips >= 4.0 { flag::CITY_BIG } else { flag::CITY }, flag::CITY_PART, flag::MULTI_CITY);
        }
        for name in grammar.words("worldplace").iter().filter(|word| word.len() > 3) {
            all.add(name, flag::CITY);
        }
        for county in &lists.counties {
            if let Some(name) = county.strip_suffix(" County").filter(|name| !name.contains(' ')) {
                all.add(name, flag::COUNTY);
            }
        }
        for (code, state) in STATES {
            all.add(code, flag::STATE_CODE);
            pieces(state).filter(|word| word.len() > 4).for_each(|word| all.add(word, flag::STATE));
        }
        MONTHS.iter().for_each(|month| all.add(month, flag::CALENDAR));
        for (drug, _) in &lists.drugs {
            pieces(drug).filter(|word| word.len() > 3).for_each(|word| all.add(word, flag::DRUG));
        }
        for word in grammar.words("commongeneric").iter().chain(&grammar.words("commonbrand")) {
            if word.len() > 3 {
                all.add(word, flag::DRUG);
            }
        }
        all.clinical(lists, grammar);
        for (word, count) in &lists.words {
            if *count >= 30 {
                all.add(word, flag::COMMON);
            } else if *count > 0 || word.len() <= 10 {
                all.add(word, flag::ENGLISH);
            }
        }
        for (bit, words) in ROLES {
            words.split_whitespace().for_each(|word| all.add(word, *bit));
        }
        all.words.into_iter().collect()
    }

    fn clinical(&mut self, lists: &Lists, grammar: &Grammar) {
        let mut counts = BTreeMap::<String, (usize, bool)>::new();
        for phrase in &lists.icd {
            for (at, word) in pieces(phrase).enumerate() {
                let seen = counts.entry(word.to_lowercase()).or_default();
                seen.0 += 1;
                let mut letters = word.chars();
                seen.1 |= at > 0 && letters.next().is_some_and(char::is_uppercase) && letters.any(char::is_lowercase);
            }
        }
        for (word, (count, capital)) in &counts {
            if word.len() > 3 && *count > 1 {
                self.add(word, flag::CLINICAL);
            }
            if *capital && word.len() > 3 && *count < 60 {
                self.add(word, flag::EPONYM);
            }
        }
        for rule in [
            "eponym",
            "eponymmore",
            "abbr",
            "consumer",
            "sign",
            "score",
            "device",
            "procedure",
            "bug",
            "body",
            "trial",
            "lab",
            "section",
            "dx",
            "Neg",
        ] {
            for word in grammar.words(rule) {
                let capitals = word.chars().filter(|c| c.is_uppercase()).count();
                if capitals > 1 && word.len() <= 8 {
                    self.add(&word, flag::ABBREVIATION);
                }
                if word.len() < 4 {
                    continue;
                }
                let named =
                    ["eponym", "eponymmore", "sign", "score", "device", "procedure"].contains(&rule) && capitals == 1;
                self.add(&word, if named { flag::EPONYM } else { flag::CLINICAL });
            }
        }
    }
}

fn pieces(phrase: &str) -> impl Iterator<Item = &str> {
    phrase.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '\u{2019}').filter(|word| !word.is_empty())
}
