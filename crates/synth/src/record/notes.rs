//! What was written about the patient: several lines, identifiers among clinical words that look like names.
//!
//! Every identifier that a note mentions is recorded as a [`Span`], so that detection can be measured.

use super::pen::{Pen, Who};
use super::{Encounter, Note, Person, Record};
use crate::day::Day;
use crate::id::{Id, Thing};
use crate::ink::Ink;
use crate::options::SynthOptions;
use crate::rng::{Rng, Stream};
use crate::world::clinical::SYSTOLIC;
use crate::world::staff::Staff;

pub struct NoteKind {
    pub name: &'static str,
    pub loinc: &'static str,
    pub display: &'static str,
}

pub(super) const PROGRESS: NoteKind = NoteKind { name: "Progress note", loinc: "11506-3", display: "Progress note" };
const DISCHARGE: NoteKind = NoteKind { name: "Discharge summary", loinc: "18842-5", display: "Discharge summary" };
const EMERGENCY: NoteKind = NoteKind { name: "Emergency note", loinc: "34111-5", display: "Emergency department Note" };
const TELEPHONE: NoteKind = NoteKind { name: "Telephone note", loinc: "34748-4", display: "Telephone encounter Note" };
const CONSULT: NoteKind = NoteKind { name: "Consult note", loinc: "11488-4", display: "Consult note" };

pub(super) const ASIDES: &[&str] = &[
    "Denies fever, chills, chest pain. ",
    "Takes a Lantus pen at home and Bayer aspirin. ",
    "Will try Tylenol first. ",
    "No history of Hodgkin lymphoma or Wilson disease. ",
    "Past Whipple procedure discussed and not indicated. ",
    "Prior Colles fracture healed well. ",
    "Reports Raynaud phenomenon in winter. ",
    "Bell palsy in the past, resolved. ",
    "Barrett esophagus on last endoscopy. ",
    "Screen for Lyme disease negative. ",
    "Had Lasik. Rh positive. ",
];

pub(super) const STEPS: &[&str] = &[
    "Continue current treatment. ",
    "Holter monitor for 48 hours. ",
    "Repeat labs. ",
    "Mediterranean diet and walking. ",
    "Epley maneuver shown. ",
    "Referral to physical therapy (McKenzie method). ",
    "Influenza vaccine given. ",
    "CT with Hounsfield units of the nodule. ",
];

pub(super) const FINDINGS: &[&str] = &[
    "Alert, Glasgow Coma Scale 15. ",
    "Homans sign negative. ",
    "Murphy sign absent. ",
    "Romberg steady. ",
    "Babinski down-going on both sides. ",
    "Kernig and Brudzinski negative. ",
    "McBurney point not tender. ",
    "Phalen and Tinel tests negative. ",
    "No Janeway lesions or Osler nodes. ",
    "Foley catheter draining clear urine. ",
    "Braden score 19, Morse fall scale 35. ",
    "Heart: S1 S2 regular, no Austin Flint murmur. ",
    "Lungs clear, no Kussmaul breathing. ",
    "Trendelenburg negative. ",
    "Weber midline, Rinne positive both sides. ",
    "Doppler pulses 2+. ",
    "Apgar at birth 9 and 10. ",
    "Jackson-Pratt drain dry. ",
    "Hickman line site clean. ",
    "Snellen 20/25. ",
    "Baker cyst, small. ",
    "Dupuytren contracture, mild. ",
];

pub fn generate(record: &mut Record, options: &SynthOptions, staff: &Staff) {
    let mut rng = Rng::of(options.seed, Stream::Notes, record.person.number);
    let Record { person, encounters, diagnoses, observations, medications, notes, text, spans, values, .. } = record;
    for (index, encounter) in encounters.iter().enumerate() {
        let share = match encounter.kind.class {
            "IMP" | "EMER" => 1.0,
            _ => 0.45,
        };
        if !rng.chance(share) {
            continue;
        }
        let kind = match encounter.kind.class {
            "IMP" => &DISCHARGE,
            "EMER" => &EMERGENCY,
            "VR" => &TELEPHONE,
            _ if rng.chance(0.15) => &CONSULT,
            _ => &PROGRESS,
        };
        let (from, first_span) = (text.len(), spans.len());
        let provider = staff.provider(encounter.provider);
        let mut pen = Pen { text: &mut *text, base: from, spans: &mut *spans, values: &mut *values };
        heading(&mut pen, &mut rng, person, encounter, kind);
        if kind.loinc == TELEPHONE.loinc {
            telephone(&mut pen, &mut rng, person, encounter);
        } else {
            story(&mut pen, &mut rng, person, encounter);
            pen.say("\nMEDICATIONS:\n");
            let mut any = false;
            for medication in medications
                .iter()
                .filter(|m| m.start <= encounter.stop && m.stop.is_none_or(|stop| stop > encounter.start))
                .take(6)
            {
                pen.say("- ").say(medication.drug.display).say(" - ").say(medication.drug.dose).say("\n");
                any = true;
            }
            if !any {
                pen.say("- none\n");
            }
            examination(&mut pen, &mut rng);
            if let Some(systolic) =
                observations.iter().find(|o| o.encounter == encounter.id && o.test.loinc == SYSTOLIC.loinc)
            {
                pen.say("Blood pressure ");
                pen.text.int(systolic.value.unsigned_abs());
                pen.say(" systolic. ");
            }
            pen.say("\n\nASSESSMENT AND PLAN:\n");
            for (number, diagnosis) in (1..).zip(
                diagnoses
                    .iter()
                    .filter(|d| {
                        d.recorded <= encounter.stop && d.abatement.is_none_or(|day| day >= Day::of(encounter.start))
                    })
                    .take(5),
            ) {
                pen.text.int(number);
                pen.say(". ").say(diagnosis.what.spoken).say(" (").say(diagnosis.what.icd10).say(")");
                if rng.chance(0.4) {
                    pen.say(", since ").date(&mut rng, diagnosis.onset);
                }
                pen.say("\n");
            }
            plan(&mut pen, &mut rng, person, encounter, staff);
        }
        pen.say("\nSigned: ")
            .doctor(encounter.provider, provider)
            .say(", ")
            .say(provider.specialty)
            .say(", NPI ")
            .say(&provider.npi);
        pen.say("\n").date(&mut rng, Day::of(encounter.stop)).say("\n");

        notes.push(Note {
            id: Id::new(options.seed, Thing::Note, person.number, index as u64),
            encounter: encounter.id,
            at: encounter.stop,
            kind,
            provider: encounter.provider,
            text: from..text.len(),
            spans: first_span..spans.len(),
        });
    }
}

fn heading(pen: &mut Pen<'_>, rng: &mut Rng, person: &Person, encounter: &Encounter, kind: &NoteKind) {
    pen.say(&kind.name.to_ascii_uppercase()).say("\nPatient: ");
    let full = |out: &mut String| person.write_name(out);
    match rng.below(3) {
        0 => pen.mark("name", Who::Patient, "last-first", full, |out| {
            out.push_str(&person.last.to_uppercase());
            out.push_str(", ");
            out.push_str(&person.first);
        }),
        1 => pen.mark("name", Who::Patient, "full-middle", full, |out| {
            out.push_str(&person.first);
            if !person.middle.is_empty() {
                out.push(' ');
                out.push_str(&person.middle);
            }
            out.push(' ');
            out.push_str(&person.last);
        }),
        _ => pen.mark("name", Who::Patient, "full", full, |out| {
            out.push_str(&person.first);
            out.push(' ');
            out.push_str(&person.last);
        }),
    };
    pen.say("    MRN: ").put("medical-record-number", &person.mrn).say("    DOB: ").dated_full(
        "birth-date",
        rng,
        person.birth,
    );
    pen.say("\nDate of service: ").date(rng, Day::of(encounter.start));
    if rng.chance(0.3) {
        pen.say("    Acct# ").put("account-number", &person.account);
    }
    if rng.chance(0.2) {
        pen.say("    Insurance: ").say(person.payer).say(" ").put("health-plan-id", &person.plan_id);
    }
    if !person.ssn.is_empty() && rng.chance(0.05) {
        pen.say("    SSN ").put("ssn", &person.ssn);
    }
    pen.say("\n\n");
}

pub(super) fn title(person: &Person) -> &'static str {
    match (person.female, person.marital) {
        (true, "M" | "W") => "Mrs. ",
        (true, _) => "Ms. ",
        (false, _) => "Mr. ",
    }
}

fn story(pen: &mut Pen<'_>, rng: &mut Rng, person: &Person, encounter: &Encounter) {
    let day = Day::of(encounter.start);
    let age = person.birth.age_on(day);
    let (she, her) = person.pronoun();
    let sex = match (age, person.female) {
        (0..13, true) => "girl",
        (0..13, false) => "boy",
        (_, true) => "woman",
        (_, false) => "man",
    };
    pen.say("HISTORY:\n");
    if age >= 13 {
        pen.say(title(person)).patient(person, "last", &person.last);
    } else {
        pen.patient(person, "first", &person.first);
    }
    pen.say(" is a ");
    match rng.below(4) {
        0 => pen.age(age, " y.o. ").say(sex),
        1 => pen.age(age, "-year-old ").say(sex),
        2 => pen.age(age, " yo ").say(sex),
        _ => pen.say(sex).say(", age ").age(age, ","),
    };
    pen.say(" who comes in for ").say(encounter.reason.map_or("a routine check-up", |reason| reason.spoken)).say(". ");
    if rng.chance(0.6) {
        let before = day.plus(-(rng.below(300) as i32) - 5).max(person.birth);
        pen.say(she).say(" was last seen on ").date(rng, before).say(". ");
    }
    if rng.chance(0.5) {
        pen.say("Accompanied by ")
            .say(her)
            .say(" ")
            .say(person.relation.1)
            .say(" ")
            .name(Who::Contact, "full", &person.contact, &person.contact)
            .say(". ");
    }
    if rng.chance(0.35) && !person.employer.is_empty() {
        pen.say("Works at ").name(Who::Employer, "exact", person.employer, person.employer).say(". ");
    }
    if rng.chance(0.35) {
        pen.say("Lives at ").put("street-address", &person.street).say(" in ").put("city", person.place.city);
        pen.say(", ").say(person.place.state).say(" ").put("postal-code", &person.zip).say(". ");
    }
    if rng.chance(0.3) {
        let years = 71 + rng.below(29) as i32;
        pen.say("Family history: ").say(if rng.chance(0.5) {
            "grandmother died of Alzheimer disease at "
        } else {
            "father has Parkinson disease, diagnosed at "
        });
        pen.age_of(Who::Kin, years).say(". ");
    }
    pen.say(rng.word(ASIDES)).say(rng.word(ASIDES)).say("\n");
}

fn examination(pen: &mut Pen<'_>, rng: &mut Rng) {
    pen.say("\nEXAMINATION:\n");
    for _ in 0..4 {
        pen.say(rng.word(FINDINGS));
    }
}

fn plan(pen: &mut Pen<'_>, rng: &mut Rng, person: &Person, encounter: &Encounter, staff: &Staff) {
    let day = Day::of(encounter.stop);
    let (she, her) = person.pronoun();
    pen.say(rng.word(STEPS)).say(rng.word(STEPS));
    let next = day.plus(7 + rng.below(80) as i32);
    pen.say("Follow-up on ").date(rng, next);
    if rng.chance(0.5) {
        let other = rng.below(staff.providers.len() as u32) as usize;
        pen.say(" with ").doctor(other, staff.provider(other));
    }
    pen.say(". ");
    if rng.chance(0.5) {
        pen.say("Call ").say(her).say(" at ").put("phone", &person.phone);
        if rng.chance(0.5) {
            pen.say(" or ")
                .say(person.relation.1)
                .say(" ")
                .name(Who::Contact, "first", &person.contact, person.contact_given)
                .say(" at ");
            pen.exact("phone", Who::Contact, &person.contact_phone);
        }
        pen.say(". ");
    }
    if !person.email.is_empty() && rng.chance(0.3) {
        pen.say("Results go to ").put("email", &person.email).say(". ");
    }
    if rng.chance(0.15) {
        pen.say("Portal: ").put("url", &person.portal).say(". ");
    }
    if !person.fax.is_empty() && rng.chance(0.4) {
        pen.say("Fax ").put("fax", &person.fax).say(". ");
    }
    if !person.device_serial.is_empty() && rng.chance(0.4) {
        pen.say("Device checked, serial ").put("device-id", &person.device_serial).say(". ");
    }
    if !person.plate.is_empty() && rng.chance(0.05) {
        pen.say("Disabled parking form for plate ").put("vehicle-id", &person.plate).say(". ");
    }
    if !person.licence.is_empty() && rng.chance(0.05) {
        pen.say("Driver's license ").put("licence-number", &person.licence).say(" seen. ");
    }
    if !person.ip.is_empty() && rng.chance(0.04) {
        pen.say("Video visit from ").put("ip-address", &person.ip).say(". ");
    }
    if let Some(death) = person.death.filter(|death| *death <= day) {
        pen.say(she)
            .say(" was pronounced dead on ")
            .dated("death-date", rng, death)
            .say("; ")
            .say(her)
            .say(" ")
            .say(person.relation.1)
            .say(" was told. ");
    }
    pen.say("\n");
}

fn telephone(pen: &mut Pen<'_>, rng: &mut Rng, person: &Person, encounter: &Encounter) {
    let (_, her) = person.pronoun();
    if rng.chance(0.5) {
        pen.name(Who::Contact, "full", &person.contact, &person.contact)
            .say(" (")
            .say(person.relation.1)
            .say(" of ")
            .patient(person, "first", &person.first)
            .say(") called from ");
        pen.exact("phone", Who::Contact, &person.contact_phone);
    } else {
        pen.patient(person, "first", &person.first).say(" called from ").put("phone", &person.phone);
    }
    pen.say(" about ").say(encounter.reason.map_or("a refill", |reason| reason.spoken)).say(". ");
    pen.say("Advised to rest and to come in if worse by ").date(rng, Day::of(encounter.start).plus(3)).say(". ");
    if !person.email.is_empty() && rng.chance(0.4) {
        pen.say("Sent the leaflet to ").say(her).say(" e-mail, ").put("email", &person.email).say(". ");
    }
    pen.say("\n");
}
