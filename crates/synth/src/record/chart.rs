//! What the tables do not hold and other formats do: earlier record numbers, who answers for a child, what
//! friends say, allergies and vaccinations.
//!
//! From a stream of its own, so that tables and FHIR are the same with and without it.

use super::{Comment, Encounter, Note, Person, Record};
use crate::day::Day;
use crate::ink::Ink;
use crate::options::SynthOptions;
use crate::rng::{Rng, Stream, mix};
use crate::world::bedside::{ALLERGIES, Allergy, NICKNAMES, VACCINES, Vaccine};
use crate::world::names::{CULTURES, Culture};

/// A record number that was in use until it was merged into the present one.
pub struct OldMrn {
    pub mrn: String,
    /// The encounters before this place in the record were registered under it.
    pub before: usize,
    /// When it was merged: later than all that was sent under it.
    pub merged: i64,
}

/// Who answers for a child, and through whom it is insured.
pub struct Guardian {
    pub given: String,
    pub family: String,
    pub female: bool,
    pub birth: Day,
    /// The parent is the emergency contact too.
    pub is_contact: bool,
}

impl Guardian {
    pub fn relation(&self) -> (&'static str, &'static str) {
        if self.female { ("MTH", "mother") } else { ("FTH", "father") }
    }

    pub fn write_name(&self, out: &mut String) {
        out.push_str(&self.given);
        out.push(' ');
        out.push_str(&self.family);
    }
}

pub struct Shot {
    /// Its place among the encounters.
    pub encounter: usize,
    pub at: i64,
    pub vaccine: &'static Vaccine,
    pub lot: u32,
}

#[derive(Default)]
pub struct Chart {
    /// Empty where nobody calls them otherwise.
    pub nickname: &'static str,
    /// Jr., Sr. or III, or nothing.
    pub suffix: &'static str,
    /// The oldest first.
    pub old: Vec<OldMrn>,
    pub guardian: Option<Guardian>,
    pub allergies: Vec<&'static Allergy>,
    pub shots: Vec<Shot>,
    /// Notes that tables and FHIR do not carry.
    pub letters: Vec<Note>,
    /// Remarks of the laboratory.
    pub comments: Vec<Comment>,
    /// Remarks on claims, in capitals.
    pub remarks: Vec<Comment>,
}

impl Chart {
    pub fn clear(&mut self) {
        self.nickname = "";
        self.suffix = "";
        self.old.clear();
        self.guardian = None;
        self.allergies.clear();
        self.shots.clear();
        self.letters.clear();
        self.comments.clear();
        self.remarks.clear();
    }

    /// The number under which this encounter was registered.
    pub fn mrn_of<'a>(&'a self, person: &'a Person, encounter: usize) -> &'a str {
        self.old.iter().find(|old| encounter < old.before).map_or(&person.mrn, |old| &old.mrn)
    }
}

const HOUR: i64 = 3_600;

pub fn generate(record: &mut Record, options: &SynthOptions) {
    let Record { person, encounters, chart, .. } = record;
    let mut of_person = Rng::sub(options.seed, Stream::Chart, 1, person.base);
    let nickname = NICKNAMES.iter().find(|(given, _)| *given == person.first).map_or("", |(_, nickname)| nickname);
    chart.nickname = if of_person.chance(0.6) { nickname } else { "" };
    let suffix = of_person.chance(0.06);
    let which = of_person.word(&["Jr.", "Jr.", "Sr.", "III"]);
    chart.suffix = if suffix && !person.female { which } else { "" };
    chart.guardian = guardian(&mut of_person, person, options);
    for allergy in ALLERGIES {
        if of_person.chance(allergy.share) {
            chart.allergies.push(allergy);
        }
    }

    let mut rng = Rng::of(options.seed, Stream::Chart, person.number);
    if rng.chance(0.08) {
        let count = if rng.chance(0.25) { 2 } else { 1 };
        old_numbers(&mut rng, person, encounters, options, count, &mut chart.old);
    }
    for (place, encounter) in encounters.iter().enumerate() {
        let age = person.birth.age_on(Day::of(encounter.start));
        if encounter.kind.class != "AMB" || !rng.chance(if age < 6 { 0.7 } else { 0.25 }) {
            continue;
        }
        let fitting = VACCINES.iter().filter(|vaccine| (vaccine.from_age..vaccine.to_age).contains(&age));
        let nth = rng.below(fitting.clone().count().max(1) as u32) as usize;
        if let Some(vaccine) = fitting.clone().nth(nth) {
            chart.shots.push(Shot { encounter: place, at: encounter.start + 600, vaccine, lot: rng.below(1_000_000) });
        }
    }
}

/// Numbers are merged in the days between two visits, when nothing of the earlier ones is still on its way.
fn old_numbers(
    rng: &mut Rng,
    person: &Person,
    encounters: &[Encounter],
    options: &SynthOptions,
    count: u64,
    old: &mut Vec<OldMrn>,
) {
    let scatter = mix(options.seed ^ 0x4D52_4E00);
    let mut quiet: Vec<(usize, i64)> = Vec::new();
    let mut latest = i64::MIN;
    for (place, encounter) in encounters.iter().enumerate() {
        if place > 0 && encounter.start > latest + 72 * HOUR {
            quiet.push((place, latest + 36 * HOUR));
        }
        latest = latest.max(encounter.stop);
    }
    for part in 0..count.min(quiet.len() as u64) {
        let (before, merged) = quiet.remove(rng.below(quiet.len() as u32) as usize);
        // From the other end of the row that present numbers are taken from.
        let index = 99_999_999 - (2 * person.number + part) % 100_000_000;
        let mut mrn = String::with_capacity(8);
        mrn.pad(index.wrapping_mul(61_803_399).wrapping_add(scatter) % 100_000_000, 8);
        old.push(OldMrn { mrn, before, merged });
    }
    old.sort_by_key(|old| old.before);
}

fn guardian(rng: &mut Rng, person: &Person, options: &SynthOptions) -> Option<Guardian> {
    let end = person.death.unwrap_or(options.as_of);
    let female = rng.chance(0.6);
    let own_name = rng.chance(0.85);
    let years = rng.between(19 * 365, 41 * 365) as i32;
    let culture =
        CULTURES.iter().find(|culture| culture.surnames.contains(&person.last.as_str())).unwrap_or(Culture::pick(rng));
    let given = culture.given(rng, female);
    let other = culture.surname(rng);
    if person.birth.age_on(end) >= 18 {
        return None;
    }
    let birth = person.birth.plus(-years);
    let of_contact = match person.relation.0 {
        "MTH" | "FTH" => person.contact.strip_prefix(person.contact_given).map(str::trim_start),
        _ => None,
    };
    Some(match of_contact {
        Some(family) => Guardian {
            given: person.contact_given.to_owned(),
            family: family.to_owned(),
            female: person.contact_female,
            birth,
            is_contact: true,
        },
        None => Guardian {
            given: given.to_owned(),
            family: if own_name { person.last.clone() } else { other.to_owned() },
            female,
            birth,
            is_contact: false,
        },
    })
}
