//! What happened to the patient: encounters, and in each what was found, measured, prescribed, done and billed.

use super::{Claim, Device, Diagnosis, Encounter, Medication, Observation, Operation, Record};
use crate::day::Day;
use crate::id::{Id, Thing};
use crate::ink::Ink;
use crate::options::SynthOptions;
use crate::rng::{Rng, Stream, at};
use crate::world::clinical::{
    self as facts, ACUTE, CHRONIC, Condition, DEVICES, DRUGS, Effect, PROCEDURES, Procedure, Test, VisitKind, Who,
};
use crate::world::staff::Staff;

const DAY: i64 = 86_400;

/// The patient as the laboratory sees them.
struct Body {
    female: bool,
    height: f64,
    bmi: f64,
    /// The conditions a patient has for life, as a set of places in [`CHRONIC`].
    chronic: u64,
    effects: u32,
}

impl Body {
    fn has(&self, effect: Effect) -> bool {
        self.effects & (1 << effect as u32) != 0
    }
}

fn allowed(who: Who, female: bool) -> bool {
    match who {
        Who::Anyone => true,
        Who::Female => female,
        Who::Male => !female,
    }
}

pub fn generate(record: &mut Record, options: &SynthOptions, staff: &Staff) {
    let person = &record.person;
    let number = person.number;
    let end = person.death.unwrap_or(options.as_of);
    let age = person.birth.age_on(end);

    // Of the person: the same under a second record.
    let mut of_person = Rng::sub(options.seed, Stream::Record, 1, person.base);
    let mut body = Body {
        female: person.female,
        height: if person.female { 162.0 + 6.8 * of_person.normal() } else { 176.0 + 7.4 * of_person.normal() },
        bmi: 25.5 + 4.2 * of_person.normal(),
        chronic: 0,
        effects: 0,
    };
    for (place, condition) in CHRONIC.iter().enumerate() {
        let takes = of_person.unit() < condition.share;
        if takes && allowed(condition.who, body.female) && (condition.from_age..condition.to_age).contains(&age) {
            body.chronic |= 1 << place;
            body.effects |= 1 << condition.effect as u32;
        }
    }
    if body.has(Effect::Obesity) {
        body.bmi = 33.5 + 3.0 * of_person.normal().abs();
    }
    if body.has(Effect::Diabetes) {
        body.bmi += 2.5;
    }

    let mut rng = Rng::of(options.seed, Stream::Record, number);
    encounters(record, options, staff, &mut rng, &body, end);

    let mut parts = 0u64;
    let mut id = |thing: Thing| {
        parts += 1;
        Id::new(options.seed, thing, number, parts)
    };
    let Record { person, encounters, diagnoses, observations, medications, operations, claims, devices, .. } = record;
    let mut known = 0u64;
    for encounter in encounters.iter_mut() {
        let day = Day::of(encounter.start);
        let age = person.birth.age_on(day);
        let mut icd10 = [""; 3];
        let mut codes = 0;
        let mut diagnose = |condition: &'static Condition| {
            if let Some(slot) = icd10.get_mut(codes) {
                *slot = condition.icd10;
                codes += 1;
            }
        };

        // The reason first, then what is found for the first time.
        let reason_place = encounter.reason.and_then(|reason| CHRONIC.iter().position(|c| c.snomed == reason.snomed));
        if let Some(reason) = encounter.reason {
            diagnose(reason);
        }
        if let (Some(reason), None) = (encounter.reason, reason_place) {
            let onset = day.plus(-(rng.below(4) as i32)).max(person.birth);
            let abatement = day.plus(6 + rng.below(20) as i32);
            let ended = abatement <= end;
            diagnoses.push(Diagnosis {
                id: id(Thing::Condition),
                encounter: encounter.id,
                onset,
                abatement: ended.then_some(abatement),
                recorded: encounter.start + 600,
                what: reason,
            });
            for drug in reason.drugs {
                if rng.chance(0.6) {
                    let stop = encounter.start + (7 + i64::from(rng.below(4))) * DAY;
                    medications.push(Medication {
                        id: id(Thing::Medication),
                        encounter: encounter.id,
                        start: encounter.start + 900,
                        stop: Some(stop.min(end.start() + DAY - 1)),
                        drug: at(DRUGS, *drug),
                        reason,
                        dispenses: 1,
                        provider: encounter.provider,
                    });
                }
            }
        }
        for (place, condition) in CHRONIC.iter().enumerate() {
            let bit = 1u64 << place;
            if body.chronic & bit == 0 || known & bit != 0 || age < condition.from_age {
                continue;
            }
            if reason_place != Some(place) && !rng.chance(0.7) {
                continue;
            }
            known |= bit;
            if reason_place != Some(place) {
                diagnose(condition);
            }
            let years_before = i64::from(age - condition.from_age).min(12);
            let onset = day.plus(-(rng.between(0, years_before * 360) as i32)).max(person.birth);
            diagnoses.push(Diagnosis {
                id: id(Thing::Condition),
                encounter: encounter.id,
                onset,
                abatement: None,
                recorded: encounter.start + 720,
                what: condition,
            });
            for drug in condition.drugs {
                if rng.chance(0.55) {
                    let stop = encounter.start + rng.between(30, 700) * DAY;
                    let stopped = rng.chance(0.25) && stop < end.start();
                    let until = if stopped { Day::of(stop) } else { end };
                    let months = 1 + u32::try_from((until.0 - day.0) / 30).unwrap_or(0);
                    medications.push(Medication {
                        id: id(Thing::Medication),
                        encounter: encounter.id,
                        start: encounter.start + 900,
                        stop: stopped.then_some(stop),
                        drug: at(DRUGS, *drug),
                        reason: condition,
                        dispenses: 1 + rng.below(months),
                        provider: encounter.provider,
                    });
                }
            }
        }

        // What was measured.
        let mut measured = Measured { observations, encounter: encounter.id, at: encounter.start + 480, id: &mut id };
        if encounter.kind.class != "VR" {
            vitals(&mut measured, &mut rng, &body, age, encounter.reason);
            let inpatient = encounter.kind.class == "IMP";
            if rng.chance(if inpatient { 0.95 } else { 0.4 }) {
                measured.at += 1_500;
                laboratory(&mut measured, &mut rng, &body, age, encounter.reason, inpatient);
            }
        }

        // What was done.
        let before = operations.len();
        let length = encounter.stop - encounter.start;
        let inpatient = encounter.kind.class == "IMP";
        let wanted = match encounter.kind.class {
            "VR" => 0,
            "IMP" => 1 + rng.below(2),
            _ => u32::from(rng.chance(0.55)),
        };
        for _ in 0..wanted {
            let what: &'static Procedure = rng.pick(PROCEDURES);
            if allowed(what.who, body.female)
                && (what.from_age..what.to_age).contains(&age)
                && (inpatient || !what.inpatient)
            {
                let start = encounter.start + length / 3;
                let cost = what.cost * rng.between(85, 130) / 100;
                encounter.cost += cost;
                operations.push(Operation {
                    id: id(Thing::Procedure),
                    encounter: encounter.id,
                    start,
                    stop: start + (length / 4).clamp(300, 4 * 3_600),
                    what,
                    cost,
                    provider: encounter.provider,
                });
            }
        }
        let done = operations.get(before..).unwrap_or_default();

        claims.push(claim(&mut rng, &mut id, encounter, person.payer, icd10, done, options.as_of));
    }

    for kind in DEVICES {
        if age >= kind.from_age && rng.chance(kind.share) && !encounters.is_empty() {
            let encounter = rng.pick(encounters);
            devices.push(device(&mut rng, id(Thing::Device), encounter, kind));
        }
    }
    if let Some(device) = devices.first() {
        person.device_serial.push_str(&device.serial);
    }
}

fn encounters(record: &mut Record, options: &SynthOptions, staff: &Staff, rng: &mut Rng, body: &Body, end: Day) {
    let birth = record.person.birth;
    let mean = options.people.encounters;
    let count = 1 + rng.below(2 * mean - 1);
    let first = end.plus(-8 * 365).max(birth);
    let mut start = first.0;
    // One draw a visit: equal parts of the years, so that they come sorted.
    let span = (end.0 - first.0).max(1);
    for index in 0..count {
        let (from, to) = (
            i64::from(span) * i64::from(index) / i64::from(count),
            i64::from(span) * i64::from(index + 1) / i64::from(count),
        );
        start = (first.0 + rng.between(from, (to - 1).max(from)) as i32).max(start);
        let day = Day(start);
        let age = birth.age_on(day);
        let last = index + 1 == count;
        let reason = reason(rng, body, age);
        let kind = visit(rng, age, reason, last && record.person.death.is_some());
        let (from, length) = match kind.class {
            "IMP" => (rng.between(0, DAY - 1), rng.between(DAY, 11 * DAY)),
            "EMER" => (rng.between(0, DAY - 1), rng.between(2 * 3_600, 14 * 3_600)),
            "VR" => (rng.between(13 * 3_600, 22 * 3_600), rng.between(300, 1_500)),
            _ => (rng.between(13 * 3_600, 22 * 3_600), rng.between(900, 5_400)),
        };
        let from = day.start() + from;
        // Nothing is later than death or the export.
        let stop = (from + length).min(end.start() + DAY - 1).max(from);
        let provider = rng.below(staff.providers.len() as u32) as usize;
        let days = (stop - from) / DAY;
        let cost = (kind.cost + days * 285_000) * rng.between(80, 140) / 100;
        let id = Id::new(options.seed, Thing::Encounter, record.person.number, u64::from(index));
        record.encounters.push(Encounter { id, kind, start: from, stop, reason, provider, cost });
    }
}

fn reason(rng: &mut Rng, body: &Body, age: i32) -> Option<&'static Condition> {
    let draw = rng.unit();
    if draw < 0.40 && body.chronic != 0 {
        // One of the chronic ones: the n-th set bit.
        let mut nth = rng.below(body.chronic.count_ones());
        return CHRONIC.iter().enumerate().find_map(|(place, condition)| {
            if body.chronic & (1 << place) == 0 {
                return None;
            }
            if nth == 0 {
                return (age >= condition.from_age).then_some(condition);
            }
            nth -= 1;
            None
        });
    }
    if draw < 0.70 {
        let fits = |c: &Condition| allowed(c.who, body.female) && (c.from_age..c.to_age).contains(&age);
        let total: f64 = ACUTE.iter().filter(|c| fits(c)).map(|c| c.share).sum();
        let mut draw = rng.unit() * total;
        return ACUTE.iter().filter(|c| fits(c)).find(|condition| {
            draw -= condition.share;
            draw < 0.0
        });
    }
    None
}

fn visit(rng: &mut Rng, age: i32, reason: Option<&'static Condition>, dies: bool) -> &'static VisitKind {
    if dies && rng.chance(0.6) {
        return &facts::INPATIENT;
    }
    match reason {
        None if age < 18 => &facts::WELL_CHILD,
        None => match rng.below(10) {
            0 => &facts::VIRTUAL,
            _ => &facts::CHECK_UP,
        },
        Some(reason) if matches!(reason.snomed, "22298006" | "230690007" | "91302008" | "74400008" | "233604007") => {
            match rng.below(10) {
                0..=6 => &facts::INPATIENT,
                _ => &facts::EMERGENCY,
            }
        }
        Some(reason) if reason.chronic => match rng.below(20) {
            0..=9 => &facts::FOLLOW_UP,
            10..=14 => &facts::PROBLEM,
            15..=16 => &facts::VIRTUAL,
            17 => &facts::EMERGENCY,
            18 => &facts::INPATIENT,
            _ => &facts::CHECK_UP,
        },
        Some(_) => match rng.below(10) {
            0 => &facts::EMERGENCY,
            1 => &facts::VIRTUAL,
            _ => &facts::SYMPTOM,
        },
    }
}

struct Measured<'a, F: FnMut(Thing) -> Id> {
    observations: &'a mut Vec<Observation>,
    encounter: Id,
    at: i64,
    id: &'a mut F,
}

impl<F: FnMut(Thing) -> Id> Measured<'_, F> {
    /// A value in the test's own unit, rounded to its digits and kept within what a living patient has.
    #[inline]
    fn push(&mut self, test: &'static Test, value: f64, low: f64, high: f64) -> f64 {
        let power = match test.scale {
            0 => 1.0,
            1 => 10.0,
            _ => 100.0,
        };
        let value = value.clamp(low, high);
        let units = (value * power + 0.5) as i64;
        self.observations.push(Observation {
            id: (self.id)(Thing::Observation),
            encounter: self.encounter,
            at: self.at,
            test,
            value: units,
        });
        units as f64 / power
    }
}

fn vitals<F: FnMut(Thing) -> Id>(
    m: &mut Measured<'_, F>,
    rng: &mut Rng,
    body: &Body,
    age: i32,
    reason: Option<&Condition>,
) {
    let years = f64::from(age);
    let child = age < 18;
    let infected = reason.is_some_and(|reason| reason.effect == Effect::Infection);
    let breathless = reason.is_some_and(|reason| reason.effect == Effect::Oxygen);
    let height = match age {
        0 => 61.0 + 3.0 * rng.normal(),
        1..18 => 74.0 + (body.height - 74.0) * years / 18.0,
        // A centimetre every five years after 60.
        _ => body.height - (years - 60.0).max(0.0) / 5.0,
    };
    let bmi = if child { 16.0 + years / 4.0 + 1.2 * rng.normal() } else { body.bmi + 0.6 * rng.normal() };
    let height = m.push(&facts::HEIGHT, height, 45.0, 215.0);
    let weight = m.push(&facts::WEIGHT, bmi * height * height / 10_000.0, 2.4, 240.0);
    if age >= 2 {
        m.push(&facts::BMI, weight * 10_000.0 / (height * height), 10.0, 70.0);
    }
    let pressure = if body.has(Effect::Pressure) { 15.0 } else { 0.0 };
    let systolic = (if child { 88.0 + 1.6 * years } else { 110.0 + 0.22 * years }) + pressure + 9.0 * rng.normal();
    let systolic = m.push(&facts::SYSTOLIC, systolic, 72.0, 220.0);
    m.push(&facts::DIASTOLIC, 28.0 + systolic * 0.38 + 6.0 * rng.normal(), 38.0, (systolic - 20.0).min(125.0));
    let pulse = (if child { 130.0 - 3.2 * years } else { 73.0 }) + if infected { 14.0 } else { 0.0 };
    m.push(&facts::PULSE, pulse + 9.0 * rng.normal(), 42.0, 190.0);
    let breaths = (if child { 30.0 - 0.8 * years } else { 15.5 }) + if infected || breathless { 3.0 } else { 0.0 };
    m.push(&facts::BREATHS, breaths + 1.6 * rng.normal(), 9.0, 60.0);
    m.push(&facts::TEMPERATURE, 36.8 + if infected { 1.4 } else { 0.0 } + 0.25 * rng.normal(), 35.2, 41.2);
    m.push(&facts::SATURATION, 98.0 - if breathless { 4.0 } else { 0.0 } - rng.normal().abs(), 78.0, 100.0);
}

fn laboratory<F: FnMut(Thing) -> Id>(
    m: &mut Measured<'_, F>,
    rng: &mut Rng,
    body: &Body,
    age: i32,
    reason: Option<&Condition>,
    inpatient: bool,
) {
    let years = f64::from(age);
    let infected = reason.is_some_and(|reason| reason.effect == Effect::Infection);
    let diabetic = body.has(Effect::Diabetes);
    let a1c = if diabetic { 7.4 + 1.1 * rng.normal() } else { 5.3 + 0.25 * rng.normal() };

    let sexed = |woman: f64, man: f64| if body.female { woman } else { man };
    m.push(&facts::SODIUM, 140.0 + 2.2 * rng.normal(), 118.0, 160.0);
    m.push(&facts::POTASSIUM, 4.2 + 0.35 * rng.normal(), 2.4, 6.8);
    m.push(&facts::CHLORIDE, 103.0 + 2.4 * rng.normal(), 80.0, 122.0);
    m.push(&facts::BICARBONATE, 25.5 + 2.0 * rng.normal(), 12.0, 40.0);
    let kidney = if body.has(Effect::Kidney) { 0.9 + 0.5 * rng.normal().abs() } else { 0.0 };
    m.push(&facts::UREA, 9.0 + years * 0.09 + kidney * 14.0 + 3.0 * rng.normal(), 3.0, 120.0);
    let creatinine = match age {
        0..18 => 0.25 + years * 0.03 + 0.05 * rng.normal(),
        _ => sexed(0.76, 0.95) + kidney + 0.11 * rng.normal(),
    };
    let creatinine = m.push(&facts::CREATININE, creatinine, 0.18, 9.5);
    if age >= 18 {
        m.push(&facts::EGFR, filtration(creatinine, years, body.female), 3.0, 150.0);
    }
    // 28.7 × HbA1c − 46.7: the mean glucose that an HbA1c stands for (ADAG).
    m.push(&facts::GLUCOSE, 28.7 * a1c - 46.7 - 15.0 + 9.0 * rng.normal(), 48.0, 480.0);
    m.push(&facts::CALCIUM, 9.4 + 0.35 * rng.normal(), 6.8, 12.5);

    if rng.chance(if inpatient { 0.95 } else { 0.5 }) {
        let anemia = if body.has(Effect::Anemia) { 2.8 } else { 0.0 };
        let normal = if age < 13 {
            12.6
        } else if body.female {
            13.5
        } else {
            15.1
        };
        let hemoglobin = m.push(&facts::HEMOGLOBIN, normal - anemia + 0.8 * rng.normal(), 5.6, 19.5);
        m.push(&facts::HEMATOCRIT, hemoglobin * 3.0 + 0.8 * rng.normal(), 17.0, 60.0);
        m.push(&facts::LEUKOCYTES, (if infected { 13.5 } else { 7.0 }) + 1.7 * rng.normal(), 1.4, 42.0);
        m.push(&facts::PLATELETS, 255.0 + 55.0 * rng.normal(), 22.0, 720.0);
    }
    if age >= 30 && rng.chance(0.3) {
        let lipids = if body.has(Effect::Lipids) { 38.0 } else { 0.0 };
        let total = m.push(&facts::CHOLESTEROL, 184.0 + lipids + 26.0 * rng.normal(), 90.0, 420.0);
        let hdl = m.push(&facts::HDL, sexed(57.0, 47.0) + 9.0 * rng.normal(), 20.0, 110.0);
        let triglyceride = m.push(&facts::TRIGLYCERIDE, 122.0 + lipids + 38.0 * rng.normal(), 38.0, 390.0);
        // Friedewald, valid below 400 mg/dL of triglyceride.
        m.push(&facts::LDL, total - hdl - triglyceride / 5.0, 20.0, 330.0);
    }
    if (diabetic && rng.chance(0.8)) || (age >= 40 && rng.chance(0.15)) {
        m.push(&facts::HBA1C, a1c, 4.0, 15.0);
    }
    if rng.chance(0.2) {
        m.push(&facts::ALT, 26.0 + 10.0 * rng.normal(), 6.0, 400.0);
        m.push(&facts::AST, 24.0 + 8.0 * rng.normal(), 7.0, 400.0);
    }
    if body.has(Effect::Thyroid) || rng.chance(0.08) {
        m.push(&facts::TSH, 1.9 + if body.has(Effect::Thyroid) { 3.0 } else { 0.0 } + 0.8 * rng.normal(), 0.02, 60.0);
    }
    if !body.female && age >= 50 && rng.chance(0.1) {
        m.push(&facts::PSA, 1.2 + (years - 50.0) * 0.05 + 0.8 * rng.normal().abs(), 0.1, 90.0);
    }
    if body.has(Effect::Heart) && rng.chance(0.6) {
        m.push(&facts::BNP, 900.0 + 500.0 * rng.normal(), 60.0, 9_000.0);
    }
    if infected && rng.chance(0.5) {
        m.push(&facts::CRP, 48.0 + 30.0 * rng.normal(), 2.0, 320.0);
    }
}

/// CKD-EPI 2021, without race (Inker et al., NEJM 2021).
fn filtration(creatinine: f64, years: f64, female: bool) -> f64 {
    let (kappa, alpha, sex) = if female { (0.7, -0.241, 1.012) } else { (0.9, -0.302, 1.0) };
    let ratio = creatinine / kappa;
    142.0 * ratio.min(1.0).powf(alpha) * ratio.max(1.0).powf(-1.2) * 0.9938f64.powf(years) * sex
}

fn claim(
    rng: &mut Rng,
    id: &mut impl FnMut(Thing) -> Id,
    encounter: &Encounter,
    payer: &str,
    mut icd10: [&'static str; 3],
    done: &[Operation],
    as_of: Day,
) -> Claim {
    if let [first, ..] = &mut icd10
        && first.is_empty()
    {
        // Encounter for general examination, of an adult or of a child.
        *first = if encounter.kind.snomed == facts::WELL_CHILD.snomed { "Z00.129" } else { "Z00.00" };
    }
    let billed = encounter.cost;
    let allowed = billed * rng.between(48, 85) / 100;
    let paid = if payer == "Self-pay" { 0 } else { allowed * rng.between(70, 96) / 100 };
    let to = Day::of(encounter.stop);
    let visit_code = match encounter.kind.class {
        "IMP" => "99223",
        "EMER" => "99284",
        "VR" => "98012",
        _ => "99213",
    };
    Claim {
        id: id(Thing::Claim),
        encounter: encounter.id,
        from: Day::of(encounter.start),
        to,
        submitted: to.plus(1 + rng.below(20) as i32).min(as_of),
        icd10,
        cpt: done.first().map_or(visit_code, |operation| operation.what.cpt),
        place_of_service: encounter.kind.place_of_service,
        lines: 1 + done.len() as u32,
        billed,
        allowed,
        paid,
        provider: encounter.provider,
        cancelled: rng.chance(0.01),
    }
}

fn device(rng: &mut Rng, id: Id, encounter: &Encounter, kind: &'static facts::DeviceKind) -> Device {
    let day = Day::of(encounter.start);
    let made = day.plus(-(rng.between(30, 400) as i32));
    let expires = made.plus(5 * 365);
    // GS1 prefix 2: for use within one company, so it is nobody's product.
    let mut identifier = String::with_capacity(14);
    identifier.put("02");
    identifier.pad(rng.next() % 100_000_000_000, 11);
    let sum: u32 = identifier
        .bytes()
        .enumerate()
        .map(|(place, byte)| u32::from(byte - b'0') * if place % 2 == 0 { 3 } else { 1 })
        .sum();
    identifier.digit(10 - sum % 10);
    let mut lot = String::from("L");
    lot.pad(u64::from(rng.below(10_000_000)), 7);
    let mut serial = String::from("SN");
    serial.pad(rng.next() % 10_000_000_000, 10);
    let short = |day: Day, out: &mut String| {
        let (year, month, date) = day.civil();
        out.two((year % 100) as u32);
        out.two(month);
        out.two(date);
    };
    let mut udi = String::with_capacity(80);
    udi.put("(01)");
    udi.put(&identifier);
    udi.put("(11)");
    short(made, &mut udi);
    udi.put("(17)");
    short(expires, &mut udi);
    udi.put("(10)");
    udi.put(&lot);
    udi.put("(21)");
    udi.put(&serial);
    Device {
        id,
        encounter: encounter.id,
        start: encounter.start + 3_600,
        kind,
        udi,
        identifier,
        lot,
        serial,
        made,
        expires,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filtration_is_that_of_the_published_equation() {
        // Woman of 50, 0.8 mg/dL; man of 60, 1.2 mg/dL.
        assert!((filtration(0.8, 50.0, true) - 89.7).abs() < 1.0, "{}", filtration(0.8, 50.0, true));
        assert!((filtration(1.2, 60.0, false) - 69.2).abs() < 1.0, "{}", filtration(1.2, 60.0, false));
    }
}
