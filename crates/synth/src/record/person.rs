//! Who the patient is: every identifier of 164.514(b)(2)(i), none of them one that was ever issued.

use crate::day::Day;
use crate::id::{Id, Thing};
use crate::ink::Ink;
use crate::options::SynthOptions;
use crate::rng::{Rng, Stream, mix};
use crate::world::clinical::{PAYERS, RELATIONS};
use crate::world::names::{Coded, Culture, EMPLOYERS, HISPANIC, NOT_HISPANIC, RACES};
use crate::world::places::{self, LARGE, Place, SMALL};

pub struct Person {
    pub number: u64,
    /// The number whose person this is: its own, but for a duplicate.
    pub base: u64,
    pub id: Id,
    /// The first record of the same person, if this is a second one.
    pub duplicate_of: Option<Id>,
    pub mrn: String,
    pub ssn: String,
    pub first: String,
    pub middle: String,
    pub last: String,
    pub maiden: String,
    pub birth: Day,
    pub death: Option<Day>,
    pub female: bool,
    /// F, M or O; what the front desk wrote.
    pub gender: &'static str,
    pub race: &'static Coded,
    pub ethnicity: &'static Coded,
    pub marital: &'static str,
    pub language: &'static str,
    pub street: String,
    pub place: &'static Place,
    pub zip: String,
    pub latitude: i64,
    pub longitude: i64,
    pub phone: String,
    pub fax: String,
    pub email: String,
    pub payer: &'static str,
    pub plan_id: String,
    pub account: String,
    pub licence: String,
    pub passport: String,
    pub plate: String,
    pub vin: String,
    pub device_serial: String,
    pub portal: String,
    pub ip: String,
    pub fingerprint: String,
    pub photo: String,
    pub employer: &'static str,
    pub contact_given: &'static str,
    pub contact: String,
    pub contact_phone: String,
    /// v3-RoleCode and the word for it.
    pub relation: (&'static str, &'static str),
    pub contact_female: bool,
    pub twin: bool,
}

impl Default for Person {
    fn default() -> Self {
        Self {
            number: 0,
            base: 0,
            id: Id::new(0, Thing::Patient, 0, 0),
            duplicate_of: None,
            mrn: String::new(),
            ssn: String::new(),
            first: String::new(),
            middle: String::new(),
            last: String::new(),
            maiden: String::new(),
            birth: Day(0),
            death: None,
            female: false,
            gender: "",
            race: crate::rng::at(RACES, 0),
            ethnicity: &NOT_HISPANIC,
            marital: "",
            language: "en",
            street: String::new(),
            place: crate::rng::at(LARGE, 0),
            zip: String::new(),
            latitude: 0,
            longitude: 0,
            phone: String::new(),
            fax: String::new(),
            email: String::new(),
            payer: "",
            plan_id: String::new(),
            account: String::new(),
            licence: String::new(),
            passport: String::new(),
            plate: String::new(),
            vin: String::new(),
            device_serial: String::new(),
            portal: String::new(),
            ip: String::new(),
            fingerprint: String::new(),
            photo: String::new(),
            employer: "",
            contact_given: "",
            contact: String::new(),
            contact_phone: String::new(),
            relation: ("", ""),
            contact_female: false,
            twin: false,
        }
    }
}

/// Weights of the five-year bands 0-4, 5-9 … 85-89 of people who have a hospital record.
const PYRAMID: [u32; 18] = [62, 50, 48, 52, 58, 64, 66, 64, 60, 58, 62, 70, 76, 76, 66, 52, 36, 24];

const ALPHANUMERIC: &[u8] = b"0123456789ABCDEFGHJKLMNPRTUVWXYZ";

/// The first record of the person that patient `number` is, if `number` is a later one.
fn original(number: u64, options: &SynthOptions) -> Option<u64> {
    let mut found = None;
    let mut number = number;
    while number > 0 && options.dirt.duplicate > 0.0 {
        let mut rng = Rng::of(options.seed, Stream::Duplicate, number);
        if !rng.chance(options.dirt.duplicate) {
            break;
        }
        number -= 1 + u64::from(rng.below(number.min(5_000) as u32));
        found = Some(number);
    }
    found
}

/// At whose address the person lives: their own number, or an earlier one's.
fn home(number: u64, options: &SynthOptions) -> u64 {
    let mut number = number;
    while number > 0 {
        let mut rng = Rng::of(options.seed, Stream::Home, number);
        if !rng.chance(options.people.shared_address) {
            break;
        }
        number -= 1 + u64::from(rng.below(number.min(3) as u32));
    }
    number
}

fn refill(text: &mut String, write: impl FnOnce(&mut String)) {
    text.clear();
    write(text);
}

/// 555-0100 to 555-0199 are kept for fiction in every area code.
fn phone(rng: &mut Rng, area: u32, out: &mut String) {
    let style = rng.below(20);
    let area = u64::from(area);
    let line = u64::from(rng.below(100));
    let (open, middle, join) = match style {
        0..=13 => ("", "-", "-"),
        14..=16 => ("(", ") ", "-"),
        17..=18 => ("", ".", "."),
        _ => ("+1 ", " ", " "),
    };
    out.put(open);
    out.int(area);
    out.put(middle);
    out.put("555");
    out.put(join);
    out.put("01");
    out.pad(line, 2);
}

fn letters_and_digits(rng: &mut Rng, count: u32, out: &mut String) {
    for _ in 0..count {
        out.ascii(*rng.pick(ALPHANUMERIC));
    }
}

/// ISO 3779 with the check digit of 49 CFR 565; the model year is `0`, which no year has.
fn vin(rng: &mut Rng, out: &mut String) {
    const SIGNS: &[u8] = b"0123456789ABCDEFGHJKLMNPRSTUVWXYZ";
    const VALUES: &[u32] =
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9];
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let mut signs = [0usize; 17];
    for (place, sign) in signs.iter_mut().enumerate() {
        *sign = match place {
            0 => 1 + rng.below(5) as usize,
            8 | 9 => 0,
            12.. => rng.below(10) as usize,
            _ => rng.below(33) as usize,
        };
    }
    let sum: u32 = signs.iter().zip(WEIGHTS).map(|(sign, weight)| crate::rng::at(VALUES, *sign) * weight).sum();
    for (place, sign) in signs.into_iter().enumerate() {
        match (place, sum % 11) {
            (8, 10) => out.ascii(b'X'),
            (8, check) => out.digit(check),
            _ => out.ascii(*crate::rng::at(SIGNS, sign)),
        }
    }
}

/// The ASCII letters of a name in lower case.
fn plain(name: &str, out: &mut String) {
    for byte in name.bytes().filter(u8::is_ascii_alphanumeric) {
        out.ascii(byte.to_ascii_lowercase());
    }
}

impl Person {
    pub fn generate(&mut self, number: u64, options: &SynthOptions) {
        let original = original(number, options);
        let base = original.unwrap_or(number);
        self.number = number;
        self.base = base;
        self.id = Id::new(options.seed, Thing::Patient, number, 0);
        self.duplicate_of = original.map(|original| Id::new(options.seed, Thing::Patient, original, 0));

        let mut rng = Rng::of(options.seed, Stream::Person, base);
        let home = home(base, options);
        let culture = self.who(&mut rng, home, options);
        self.life(&mut rng, options);
        self.whereabouts(&mut rng, home, options);
        self.numbers(&mut rng, options);
        self.accounts(&mut rng);
        self.contact_person(&mut rng, culture);

        // What the institution gives to a record, and not to a person.
        let scatter = mix(options.seed ^ 0x4D52_4E00);
        let mrn = (number.wrapping_mul(61_803_399).wrapping_add(scatter)) % 100_000_000;
        refill(&mut self.mrn, |out| out.pad(mrn, 8));
        refill(&mut self.account, |out| {
            out.put("ACC-");
            out.pad(mix(scatter ^ number) % 10_000_000_000, 10);
        });
        refill(&mut self.portal, |out| {
            out.put("https://portal.example.org/patients/");
            out.pad(mrn, 8);
        });
        refill(&mut self.photo, |out| {
            if rng.chance(0.6) {
                out.put("photos/");
                out.put(Id::new(options.seed, Thing::Photo, number, 0).text());
                out.put(".jpg");
            }
        });
        self.device_serial.clear();
        if original.is_some() {
            self.misspell(&mut Rng::sub(options.seed, Stream::Duplicate, 1, number));
        }
    }

    fn who(&mut self, rng: &mut Rng, home: u64, options: &SynthOptions) -> &'static Culture {
        let mut family = Rng::sub(options.seed, Stream::Family, 1, home);
        let family_culture = Culture::pick(&mut family);
        let family_name = family_culture.surname(&mut family);
        let own_culture = Culture::pick(rng);
        let own_name = own_culture.surname(rng);
        let of_the_family = rng.chance(0.75) || home == self.base;
        let (culture, surname) = if of_the_family { (family_culture, family_name) } else { (own_culture, own_name) };

        self.female = rng.chance(0.51);
        self.gender = match (rng.chance(0.004), self.female) {
            (true, _) => "O",
            (_, true) => "F",
            (_, false) => "M",
        };
        let female = self.female;
        refill(&mut self.first, |out| out.put(culture.given(rng, female)));
        refill(&mut self.middle, |out| match rng.below(10) {
            0..=4 => out.put(culture.given(rng, female)),
            5..=7 => out.ascii(b'A' + rng.below(26) as u8),
            _ => {}
        });
        refill(&mut self.last, |out| out.put(surname));
        self.race = culture.race(rng);
        self.ethnicity = if rng.chance(culture.hispanic) { &HISPANIC } else { &NOT_HISPANIC };
        self.language = if rng.chance(culture.language_share) { culture.language } else { "en" };
        self.twin = rng.chance(0.03);
        culture
    }

    fn life(&mut self, rng: &mut Rng, options: &SynthOptions) {
        let age = if rng.chance(options.people.over_89) {
            // The lower of two draws: few reach 104.
            90 + rng.below(15).min(rng.below(15)) as i32
        } else {
            let mut draw = rng.below(PYRAMID.iter().sum());
            let band = PYRAMID
                .iter()
                .position(|weight| {
                    let here = draw < *weight;
                    draw = draw.wrapping_sub(*weight);
                    here
                })
                .unwrap_or(0);
            band as i32 * 5 + rng.below(5) as i32
        };
        self.birth = options.as_of.plus(-(age * 1461 / 4) - 1 - rng.below(363) as i32);
        let dead = match age {
            0..40 => 0.003,
            40..60 => 0.012,
            60..75 => 0.04,
            75..90 => 0.10,
            _ => 0.20,
        };
        let days_ago = rng.below(5 * 365) as i32;
        self.death = rng.chance(dead).then(|| options.as_of.plus(-days_ago).max(self.birth.plus(1)));
        let marital = rng.below(100);
        self.marital = match age {
            0..18 => "S",
            18..30 if marital < 70 => "S",
            75.. if marital < 45 => "W",
            _ if marital < 60 => "M",
            _ if marital < 75 => "D",
            _ => "S",
        };
        let maiden = Culture::pick(rng).surname(rng);
        let married = self.female && matches!(self.marital, "M" | "W" | "D") && rng.chance(0.6);
        refill(&mut self.maiden, |out| {
            out.put(if married { maiden } else { "" });
        });
        let employer = rng.word(EMPLOYERS);
        self.employer = if (18..72).contains(&age) && rng.chance(0.8) { employer } else { "" };
    }

    fn whereabouts(&mut self, rng: &mut Rng, home: u64, options: &SynthOptions) {
        let mut family = Rng::of(options.seed, Stream::Family, home);
        self.place = if family.chance(options.people.small_zip) { family.pick(SMALL) } else { family.pick(LARGE) };
        self.latitude = self.place.latitude + family.between(-30_000, 30_000);
        self.longitude = self.place.longitude + family.between(-30_000, 30_000);
        refill(&mut self.street, |out| places::street(&mut family, out));
        let plus4 = u64::from(family.below(9_899) + 100);
        let place = self.place;
        let long = rng.chance(options.dirt.zip_plus4);
        refill(&mut self.zip, |out| {
            out.put(place.zip);
            if long {
                out.ascii(b'-');
                out.pad(plus4, 4);
            }
        });
        refill(&mut self.phone, |out| phone(rng, place.area, out));
        let has_fax = rng.chance(0.15);
        refill(&mut self.fax, |out| {
            if has_fax {
                phone(rng, place.area, out);
            }
        });
    }

    fn numbers(&mut self, rng: &mut Rng, options: &SynthOptions) {
        // 102 areas that were never issued (900 to 999, 000, 666), the groups 01 to 49 that no ITIN has, and
        // serials 0001 to 9999: a walk with a step prime to their number meets each once.
        let index = self.base.wrapping_mul(17_389_523).wrapping_add(mix(options.seed) >> 16) % (102 * 49 * 9_999);
        let (area, group, serial) = (index / (49 * 9_999), index / 9_999 % 49 + 1, index % 9_999 + 1);
        let area = match area {
            0 => 0,
            1 => 666,
            area => 898 + area,
        };
        refill(&mut self.ssn, |out| {
            out.pad(area, 3);
            out.ascii(b'-');
            out.pad(group, 2);
            out.ascii(b'-');
            out.pad(serial, 4);
        });
        let age = self.birth.age_on(options.as_of);
        self.payer = if age >= 65 { "Medicare" } else { rng.word(PAYERS) };
        let medicare = self.payer == "Medicare";
        refill(&mut self.plan_id, |out| {
            if medicare {
                // A Medicare Beneficiary Identifier has 1-9, a letter without S L O I B Z, …: S here, so never issued.
                out.digit(rng.below(9) + 1);
                out.ascii(b'S');
                letters_and_digits(rng, 1, out);
                out.digit(rng.below(10));
                out.ascii(*rng.pick(b"ACDEFGHJKMNPQRTUVWXY"));
                letters_and_digits(rng, 1, out);
                out.digit(rng.below(10));
                out.ascii(*rng.pick(b"ACDEFGHJKMNPQRTUVWXY"));
                out.ascii(*rng.pick(b"ACDEFGHJKMNPQRTUVWXY"));
                out.two(rng.below(100));
            } else {
                out.put("MBR");
                out.pad(rng.next() % 1_000_000_000, 9);
            }
        });
        let drives = age >= 16 && rng.chance(0.85);
        refill(&mut self.licence, |out| {
            if drives {
                out.put("S99");
                out.pad(u64::from(rng.below(10_000_000)), 7);
            }
        });
        let travels = rng.chance(0.4);
        refill(&mut self.passport, |out| {
            if travels {
                out.put("X99");
                out.pad(u64::from(rng.below(1_000_000)), 6);
            }
        });
        let has_car = drives && rng.chance(0.7);
        refill(&mut self.plate, |out| {
            if has_car {
                out.put("SYN-");
                letters_and_digits(rng, 4, out);
            }
        });
        refill(&mut self.vin, |out| {
            if has_car {
                vin(rng, out);
            }
        });
        let enrolled = rng.chance(0.3);
        refill(&mut self.fingerprint, |out| {
            if enrolled {
                // The header of an ISO 19794-2 minutiae record, then noise.
                let mut template = *b"FMR\0 20\0________________";
                for (slot, byte) in template.iter_mut().skip(8).zip(rng.next().to_le_bytes().into_iter().cycle()) {
                    *slot = byte ^ rng.next() as u8;
                }
                data_encoding::BASE64.encode_append(&template, out);
            }
        });
    }

    fn accounts(&mut self, rng: &mut Rng) {
        let has_email = rng.chance(0.85);
        let Self { first, last, base, email, .. } = self;
        refill(email, |out| {
            if has_email {
                plain(first, out);
                if !out.is_empty() {
                    out.ascii(b'.');
                }
                plain(last, out);
                if out.is_empty() {
                    out.put("patient");
                }
                out.int(*base % 1_000);
                // RFC 2606: nobody has an account there.
                out.put(rng.word(&["@example.com", "@example.org", "@example.net", "@mail.example.com"]));
            }
        });
        let logs_in = rng.chance(0.6);
        refill(&mut self.ip, |out| {
            if logs_in {
                // RFC 5737 and RFC 3849: for documentation.
                match rng.below(4) {
                    0 => out.put("192.0.2."),
                    1 => out.put("198.51.100."),
                    2 => out.put("203.0.113."),
                    _ => out.put("2001:db8::"),
                }
                out.int(u64::from(rng.below(254) + 1));
            }
        });
    }

    fn contact_person(&mut self, rng: &mut Rng, culture: &'static Culture) {
        let (code, word, female) = *rng.pick(RELATIONS);
        let spouse = self.marital == "M" && rng.chance(0.7);
        (self.relation, self.contact_female) = match (spouse, self.female) {
            (true, true) => (("HUSB", "husband"), false),
            (true, false) => (("WIFE", "wife"), true),
            _ => ((code, word), female),
        };
        self.contact_given = culture.given(rng, self.contact_female);
        let surname = culture.surname(rng);
        let Self { contact, contact_given, last, .. } = self;
        refill(contact, |out| {
            out.put(contact_given);
            out.ascii(b' ');
            out.put(if rng.chance(0.7) { last } else { surname });
        });
        let place = self.place;
        refill(&mut self.contact_phone, |out| phone(rng, place.area, out));
    }

    /// The second record of a person: one or two of the slips that front desks make.
    fn misspell(&mut self, rng: &mut Rng) {
        for _ in 0..=rng.below(2) {
            match rng.below(6) {
                0 => swap_letters(rng, &mut self.first),
                1 => swap_letters(rng, &mut self.last),
                2 => self.middle.clear(),
                // Day and month exchanged where that is a date, else a day off.
                3 => {
                    let (year, month, day) = self.birth.civil();
                    self.birth =
                        if day <= 12 && day != month { Day::from_ymd(year, day, month) } else { self.birth.plus(-1) };
                }
                4 => self.ssn.clear(),
                _ => {
                    let last = self.last.to_uppercase();
                    self.last = last;
                }
            }
        }
        // Exchanging day and month can move a birth past a death of the same year.
        if self.death.is_some_and(|death| death < self.birth) {
            self.birth = self.birth.plus(-366);
        }
    }

    /// Given name and family name: what every mention of the person stands for.
    pub fn write_name(&self, out: &mut String) {
        out.push_str(&self.first);
        out.push(' ');
        out.push_str(&self.last);
    }

    pub fn pronoun(&self) -> (&'static str, &'static str) {
        if self.female { ("She", "her") } else { ("He", "his") }
    }
}

fn swap_letters(rng: &mut Rng, name: &mut String) {
    let mut letters: Vec<char> = name.chars().collect();
    if letters.len() > 2 {
        let place = 1 + rng.below(letters.len() as u32 - 2) as usize;
        letters.swap(place, place + 1);
    }
    *name = letters.into_iter().collect();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use std::collections::HashSet;

    fn people(count: u64) -> impl Iterator<Item = Person> {
        let options = SynthOptions { dirt: crate::Dirt::none(), ..SynthOptions::default() };
        (0..count).map(move |number| {
            let mut person = Person::default();
            person.generate(number, &options);
            person
        })
    }

    #[test]
    fn numbers_were_never_issued_and_are_not_repeated() {
        let (mut ssns, mut mrns) = (HashSet::new(), HashSet::new());
        for person in people(5_000) {
            let area = &person.ssn[..3];
            assert!(area.starts_with('9') || area == "000" || area == "666", "{area}");
            assert!(person.phone.contains("555") && person.phone.contains("01"));
            assert!(!person.plan_id.starts_with(|c: char| c.is_ascii_digit()) || &person.plan_id[1..2] == "S");
            assert!(person.email.is_empty() || person.email.contains("example."));
            assert!(person.vin.is_empty() || (person.vin.len() == 17 && &person.vin[9..10] == "0"));
            assert!(ssns.insert(person.ssn.clone()));
            assert!(mrns.insert(person.mrn.clone()));
        }
    }

    #[test]
    fn vin_check_digit_is_right() {
        // 49 CFR 565's method on what we write: recomputed digit by digit.
        let value = |c: char| -> u32 {
            c.to_digit(10).unwrap_or_else(|| {
                let place = "ABCDEFGH.JKLMN.P.R".find(c).map(|p| p as u32 % 9 + 1);
                place.unwrap_or_else(|| "STUVWXYZ".find(c).unwrap() as u32 + 2)
            })
        };
        let weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
        for person in people(300).filter(|person| !person.vin.is_empty()) {
            let sum: u32 = person.vin.chars().zip(weights).map(|(c, w)| if w == 0 { 0 } else { value(c) * w }).sum();
            let check = if sum % 11 == 10 { 'X' } else { char::from_digit(sum % 11, 10).unwrap() };
            assert_eq!(person.vin.chars().nth(8), Some(check));
        }
    }

    #[test]
    fn ages_follow_the_options() {
        let as_of = SynthOptions::default().as_of;
        let ages: Vec<i32> = people(20_000).map(|person| person.birth.age_on(as_of)).collect();
        let old = ages.iter().filter(|age| **age > 89).count() as f64 / 20_000.0;
        assert!((old - 0.02).abs() < 0.005, "{old}");
        assert!(ages.iter().all(|age| (0..=104).contains(age)));
        assert!(ages.contains(&0) && ages.iter().any(|age| *age > 98));
    }

    #[test]
    fn families_share_address_and_mostly_name() {
        let all: Vec<Person> = people(3_000).collect();
        let mut alike = 0;
        let shared = all.iter().enumerate().skip(3).filter(|(place, person)| {
            all[place - 3..*place].iter().any(|before| {
                let same = before.street == person.street && before.place.zip == person.place.zip;
                alike += i32::from(same && before.last == person.last);
                same
            })
        });
        let shared = shared.count();
        assert!((600..1_200).contains(&shared), "{shared}");
        assert!(alike > 300, "{alike}");
    }
}
