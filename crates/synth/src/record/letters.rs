//! Notes of the kinds that tables and FHIR do not carry, in which people are called as people are called: in full, by
//! title, by a nickname, by initials once introduced, in capitals, and now and then misspelt.

use super::chart::Chart;
use super::notes::{ASIDES, FINDINGS, NoteKind, PROGRESS, STEPS, title};
use super::pen::{Look, MONTHS, Pen, Who};
use super::{Comment, Encounter, Note, Person, Record};
use crate::day::Day;
use crate::id::{Id, Thing};
use crate::ink::{Ink, ascii_capitals};
use crate::options::SynthOptions;
use crate::rng::{Rng, Stream};
use crate::world::staff::Staff;

const ADMISSION: NoteKind = NoteKind { name: "Admission note", loinc: "34117-2", display: "History and physical note" };
const NURSING: NoteKind = NoteKind { name: "Nursing note", loinc: "34746-8", display: "Nurse Note" };
pub const RADIOLOGY: NoteKind =
    NoteKind { name: "Radiology report", loinc: "18748-4", display: "Diagnostic imaging study" };
const LETTER: NoteKind = NoteKind { name: "Letter", loinc: "51852-2", display: "Letter" };
const SOCIAL: NoteKind = NoteKind { name: "Social work note", loinc: "28653-4", display: "Social work Visit note" };

/// Whom a note may name.
struct Cast<'a> {
    person: &'a Person,
    chart: &'a Chart,
    staff: &'a Staff,
    encounter: &'a Encounter,
    /// The record number at that time.
    mrn: &'a str,
    /// A colleague's place in the staff.
    other: usize,
    /// The visit before.
    previous: Option<Day>,
}

impl Cast<'_> {
    fn initial(&self, out: &mut String) {
        if let Some(letter) = self.person.middle.chars().next() {
            out.push(' ');
            out.push(letter);
        }
    }

    fn suffix(&self, out: &mut String) {
        if !self.chart.suffix.is_empty() {
            out.push(' ');
            out.push_str(self.chart.suffix);
        }
    }

    fn age(&self) -> i32 {
        self.person.birth.age_on(Day::of(self.encounter.start))
    }
}

/// Copies a name, and in one of 30 cases with a slip of the keyboard. Says whether it slipped.
fn typed(rng: &mut Rng, name: &str, out: &mut String) -> bool {
    let mut letters: Vec<char> = name.chars().collect();
    let slips = rng.below(30) == 0;
    let (place, how) = (rng.below(64) as usize, rng.below(3));
    if slips && letters.len() >= 4 {
        let place = 1 + place % (letters.len() - 2);
        match how {
            0 => letters.swap(place, place + 1),
            1 => _ = letters.remove(place),
            _ => letters.insert(place, letters.get(place).copied().unwrap_or('e')),
        }
    }
    let from = out.len();
    out.extend(letters);
    out.get(from..) != Some(name)
}

fn look(form: &'static str, misspelt: bool) -> Look {
    Look { form, misspelt }
}

impl Pen<'_> {
    /// The patient's name, as headings have it.
    fn heading_name(&mut self, rng: &mut Rng, cast: &Cast<'_>) -> &mut Self {
        let person = cast.person;
        let style = rng.below(4);
        self.mark_as(
            "name",
            Who::Patient,
            |out| person.write_name(out),
            |out| match style {
                0 => {
                    out.push_str(&person.last.to_uppercase());
                    out.push_str(", ");
                    out.push_str(&person.first.to_uppercase());
                    let mut rest = String::new();
                    cast.initial(&mut rest);
                    out.push_str(&rest.to_uppercase());
                    Look::of("last-first-capitals")
                }
                1 => {
                    out.push_str(&person.last);
                    out.push_str(", ");
                    out.push_str(&person.first);
                    cast.initial(out);
                    Look::of("last-first-initial")
                }
                2 => {
                    out.push_str(&person.first);
                    cast.initial(out);
                    out.push_str(if person.middle.is_empty() { " " } else { ". " });
                    out.push_str(&person.last);
                    cast.suffix(out);
                    Look::of("full-initial")
                }
                _ => {
                    let mut name = String::new();
                    person.write_name(&mut name);
                    out.push_str(&name.to_uppercase());
                    Look::of("full-capitals")
                }
            },
        )
    }

    /// The patient in the run of a text.
    fn them(&mut self, rng: &mut Rng, cast: &Cast<'_>) -> &mut Self {
        let person = cast.person;
        let child = cast.age() < 13;
        let style = rng.below(8);
        self.mark_as(
            "name",
            Who::Patient,
            |out| person.write_name(out),
            |out| match style {
                0 => {
                    let first = typed(rng, &person.first, out);
                    out.push(' ');
                    let last = typed(rng, &person.last, out);
                    look("full", first || last)
                }
                1 | 2 if !cast.chart.nickname.is_empty() => look("nickname", typed(rng, cast.chart.nickname, out)),
                3..=5 if !child => {
                    out.push_str(title(person));
                    look("title-last", typed(rng, &person.last, out))
                }
                6 if !child => {
                    let mut name = title(person).to_uppercase();
                    name.push_str(&person.last.to_uppercase());
                    look("title-last-capitals", typed(rng, &name, out))
                }
                _ => look("first", typed(rng, &person.first, out)),
            },
        )
    }

    fn initials(&mut self, cast: &Cast<'_>, dots: bool) -> &mut Self {
        let person = cast.person;
        self.mark(
            "name",
            Who::Patient,
            "initials",
            |out| person.write_name(out),
            |out| {
                for letter in [person.first.chars().next(), person.last.chars().next()].into_iter().flatten() {
                    out.extend(letter.to_uppercase());
                    if dots {
                        out.push('.');
                    }
                }
            },
        )
    }

    /// A relative: the word for them and their name.
    fn relative(&mut self, rng: &mut Rng, cast: &Cast<'_>, full: bool) -> &mut Self {
        let person = cast.person;
        match &cast.chart.guardian {
            Some(guardian) if rng.chance(0.7) => {
                self.say(guardian.relation().1).say(" ");
                self.mark_as(
                    "name",
                    Who::Guardian,
                    |out| guardian.write_name(out),
                    |out| {
                        let mut slip = typed(rng, &guardian.given, out);
                        if full {
                            out.push(' ');
                            slip |= typed(rng, &guardian.family, out);
                        }
                        look(if full { "full" } else { "first" }, slip)
                    },
                )
            }
            _ => {
                self.say(person.relation.1).say(" ");
                self.mark_as(
                    "name",
                    Who::Contact,
                    |out| out.push_str(&person.contact),
                    |out| {
                        let name = if full { person.contact.as_str() } else { person.contact_given };
                        look(if full { "full" } else { "first" }, typed(rng, name, out))
                    },
                )
            }
        }
    }

    /// A member of staff with a title and the family name alone.
    fn doctor_last(&mut self, cast: &Cast<'_>, place: usize) -> &mut Self {
        let provider = cast.staff.provider(place);
        self.mark(
            "name",
            Who::Provider(place),
            "title-last",
            |out| provider.write_name(out),
            |out| {
                out.push_str("Dr. ");
                out.push_str(provider.family);
            },
        )
    }

    /// A member of staff as notes of nurses are signed.
    fn nurse(&mut self, cast: &Cast<'_>, place: usize) -> &mut Self {
        let provider = cast.staff.provider(place);
        self.mark(
            "name",
            Who::Provider(place),
            "initial-last",
            |out| provider.write_name(out),
            |out| {
                out.extend(provider.given.chars().next());
                out.push_str(". ");
                out.push_str(provider.family);
            },
        )
        .say(", RN")
    }

    fn hospital(&mut self, cast: &Cast<'_>) -> &mut Self {
        let place = cast.encounter.provider;
        self.exact("organization", Who::Facility(place), cast.staff.facility(place).name)
    }

    fn address(&mut self, person: &Person, lines: bool) -> &mut Self {
        self.put("street-address", &person.street).say(if lines { "\n" } else { ", " });
        self.put("city", person.place.city).say(", ").say(person.place.state).say(" ").put("postal-code", &person.zip)
    }

    fn last_four(&mut self, ssn: &str) -> &mut Self {
        let four = ssn.get(ssn.len().saturating_sub(4)..).unwrap_or_default();
        self.mark("ssn", Who::Patient, "last-four", |out| out.push_str(ssn), |out| out.push_str(four))
    }

    /// A date that is never without its year.
    fn long_date(&mut self, kind: &'static str, day: Day) -> &mut Self {
        let (year, month, date) = day.civil();
        self.mark(
            kind,
            Who::Patient,
            "date",
            |out| out.day(day),
            |out| {
                out.put(MONTHS.get(month as usize - 1).unwrap_or(&""));
                out.ascii(b' ');
                out.int(u64::from(date));
                out.put(", ");
                out.four(year as u32);
            },
        )
    }

    fn clock(&mut self, at: i64) -> &mut Self {
        let minute = at.rem_euclid(86_400) as u32 / 60;
        self.text.two(minute / 60);
        self.text.two(minute % 60);
        self
    }

    fn reason(&mut self, cast: &Cast<'_>) -> &mut Self {
        self.say(cast.encounter.reason.map_or("a routine check-up", |reason| reason.spoken))
    }
}

pub fn generate(record: &mut Record, options: &SynthOptions, staff: &Staff) {
    let mut rng = Rng::sub(options.seed, Stream::Chart, 2, record.person.number);
    let Record { person, encounters, observations, claims, chart, text, spans, values, .. } = record;
    let (mut letters, mut comments, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
    for (place, encounter) in encounters.iter().enumerate() {
        let other = rng.below(staff.providers.len() as u32) as usize;
        let previous = place.checked_sub(1).and_then(|before| encounters.get(before)).map(|one| Day::of(one.start));
        let cast = Cast { person, chart, staff, encounter, mrn: chart.mrn_of(person, place), other, previous };
        let length = encounter.stop - encounter.start;
        let (inpatient, emergency) = (encounter.kind.class == "IMP", encounter.kind.class == "EMER");
        let visited = encounter.kind.class != "VR";
        let planned: [(bool, &'static NoteKind, i64, usize); 6] = [
            (inpatient, &ADMISSION, encounter.start + length / 20, encounter.provider),
            (inpatient || (emergency && rng.chance(0.6)), &NURSING, encounter.start + length / 8, other),
            (
                visited && rng.chance(if inpatient { 0.6 } else { 0.12 }),
                &RADIOLOGY,
                encounter.start + length / 4,
                other,
            ),
            (inpatient && rng.chance(0.7), &PROGRESS, encounter.start + length / 2, encounter.provider),
            (inpatient && rng.chance(0.35), &SOCIAL, encounter.start + length * 3 / 4, other),
            (visited && rng.chance(if inpatient { 0.5 } else { 0.15 }), &LETTER, encounter.stop, encounter.provider),
        ];
        for (part, (wanted, kind, at, author)) in planned.into_iter().enumerate() {
            if !wanted {
                continue;
            }
            let (from, first_span) = (text.len(), spans.len());
            let mut pen = Pen { text: &mut *text, base: from, spans: &mut *spans, values: &mut *values };
            match part {
                0 => admission(&mut pen, &mut rng, &cast),
                1 => nursing(&mut pen, &mut rng, &cast, at),
                2 => radiology(&mut pen, &mut rng, &cast, at),
                3 => day_note(&mut pen, &mut rng, &cast, at),
                4 => social(&mut pen, &mut rng, &cast, at),
                _ if rng.chance(0.5) => to_patient(&mut pen, &mut rng, &cast),
                _ => to_colleague(&mut pen, &mut rng, &cast),
            }
            letters.push(Note {
                // Behind the numbers that the notes of tables have.
                id: Id::new(options.seed, Thing::Note, person.number, 1_000_000 + (place * 8 + part) as u64),
                encounter: encounter.id,
                at,
                kind,
                provider: author,
                text: from..text.len(),
                spans: first_span..spans.len(),
            });
        }
        let measured = observations.iter().any(|one| one.encounter == encounter.id && !one.test.vital);
        if measured && rng.chance(0.5) {
            let (from, first_span) = (text.len(), spans.len());
            let mut pen = Pen { text: &mut *text, base: from, spans: &mut *spans, values: &mut *values };
            comment(&mut pen, &mut rng, &cast);
            comments.push(Comment { of: place, text: from..text.len(), spans: first_span..spans.len() });
        }
    }
    for (place, claim) in claims.iter().enumerate() {
        if !rng.chance(0.25) {
            continue;
        }
        let (from, first_span) = (text.len(), spans.len());
        let mut pen = Pen { text: &mut *text, base: from, spans: &mut *spans, values: &mut *values };
        remark(&mut pen, &mut rng, person, staff, claim.provider);
        // NTE-2 takes 80 characters.
        if text.len() - from > 80 {
            text.truncate(from);
            spans.truncate(first_span);
            continue;
        }
        remarks.push(Comment { of: place, text: from..text.len(), spans: first_span..spans.len() });
    }
    chart.letters = letters;
    chart.comments = comments;
    chart.remarks = remarks;
}

fn admission(pen: &mut Pen<'_>, rng: &mut Rng, cast: &Cast<'_>) {
    let (person, encounter) = (cast.person, cast.encounter);
    let day = Day::of(encounter.start);
    let (she, her) = person.pronoun();
    pen.hospital(cast).say("\nADMISSION HISTORY AND PHYSICAL\n\nName: ").heading_name(rng, cast);
    pen.say("\nMRN: ").put("medical-record-number", cast.mrn).say("   DOB: ").dated_full(
        "birth-date",
        rng,
        person.birth,
    );
    pen.say("\nAdmitted: ").date(rng, day).say(" at ").clock(encounter.start);
    pen.say("   Attending: ").doctor(encounter.provider, cast.staff.provider(encounter.provider));
    pen.say("\nAddress: ").address(person, false).say("   Tel: ").put("phone", &person.phone);
    pen.say("\nInsurance: ").say(person.payer);
    if person.payer != "Self-pay" {
        pen.say(", member ").put("health-plan-id", &person.plan_id);
    }
    if !person.ssn.is_empty() && rng.chance(0.5) {
        pen.say("   SSN: xxx-xx-").last_four(&person.ssn);
    }
    pen.say("\nNext of kin: ").name(Who::Contact, "full", &person.contact, &person.contact);
    pen.say(" (").say(person.relation.1).say(") ").exact("phone", Who::Contact, &person.contact_phone);
    if !person.employer.is_empty() {
        pen.say("\nEmployer: ").name(Who::Employer, "exact", person.employer, person.employer);
    }
    pen.say("\n\nCHIEF COMPLAINT: ").reason(cast).say("\n\nHISTORY OF PRESENT ILLNESS:\n");
    pen.them(rng, cast).say(" (").initials(cast, true).say(") is a ").age(cast.age(), "-year-old ");
    pen.say(if person.female { "female" } else { "male" }).say(" brought in by ").say(her).say(" ");
    pen.relative(rng, cast, true).say(" with ").reason(cast).say(". ");
    if !cast.chart.nickname.is_empty() {
        pen.say("Goes by \"");
        pen.patient(person, "nickname", cast.chart.nickname).say("\". ");
    }
    pen.initials(cast, true).say(" was well until ").date(rng, day.plus(-2).max(person.birth)).say(". ");
    pen.say("Seen before admission by ")
        .doctor_last(cast, cast.other)
        .say(". ")
        .say(rng.word(ASIDES))
        .say(rng.word(ASIDES));
    pen.say("\n\nALLERGIES: ");
    for (place, allergy) in cast.chart.allergies.iter().enumerate() {
        pen.say(if place > 0 { ", " } else { "" }).say(allergy.display).say(" (").say(allergy.reaction.1).say(")");
    }
    pen.say(if cast.chart.allergies.is_empty() { "none known" } else { "" });
    pen.say("\n\nEXAMINATION: ").say(rng.word(FINDINGS)).say(rng.word(FINDINGS)).say(rng.word(FINDINGS));
    pen.say("\n\nPLAN: ").say(rng.word(STEPS)).say(she).say(" agrees. Discussed with ").relative(rng, cast, false);
    pen.say(" by telephone.\n\n").doctor(encounter.provider, cast.staff.provider(encounter.provider));
    pen.say("\n").date(rng, day).say("\n");
}

fn nursing(pen: &mut Pen<'_>, rng: &mut Rng, cast: &Cast<'_>, at: i64) {
    let person = cast.person;
    let (_, her) = person.pronoun();
    pen.say("NURSING NOTE  ").date(rng, Day::of(at)).say(" ").clock(at).say("\n");
    pen.heading_name(rng, cast).say(" / ").put("medical-record-number", cast.mrn).say("\n\n");
    pen.them(rng, cast).say(" resting in bed, rates pain 3/10. ").say(rng.word(FINDINGS));
    pen.say("At bedside: ").say(her).say(" ").relative(rng, cast, true).say(". ");
    pen.them(rng, cast).say(" asked for water and was helped to the chair. ");
    if rng.chance(0.5) {
        pen.say("Belongings labeled ").name_capitals(cast).say(". ");
    }
    pen.doctor_last(cast, cast.encounter.provider).say(" paged at ").clock(at + 900).say(". ");
    if rng.chance(0.4) {
        pen.say("Overnight ").say(her).say(" ").relative(rng, cast, false).say(" can be reached at ").exact(
            "phone",
            Who::Contact,
            &person.contact_phone,
        );
        pen.say(". ");
    }
    pen.say("\n-- ").nurse(cast, cast.other).say("\n");
}

impl Pen<'_> {
    fn name_capitals(&mut self, cast: &Cast<'_>) -> &mut Self {
        let person = cast.person;
        let name = |out: &mut String| person.write_name(out);
        self.mark("name", Who::Patient, "full-capitals", name, |out| {
            let mut text = String::new();
            name(&mut text);
            out.push_str(&text.to_uppercase());
        })
    }
}

fn radiology(pen: &mut Pen<'_>, rng: &mut Rng, cast: &Cast<'_>, at: i64) {
    let person = cast.person;
    let day = Day::of(at);
    pen.say("RADIOLOGY REPORT\nPATIENT: ")
        .heading_name(rng, cast)
        .say("   MRN ")
        .put("medical-record-number", cast.mrn);
    pen.say("   DOB ").dated_full("birth-date", rng, person.birth).say("\nEXAM DATE: ").date(rng, day);
    pen.say("\nORDERED BY: ").doctor(cast.encounter.provider, cast.staff.provider(cast.encounter.provider));
    pen.say("\nEXAM: Chest, two views\nINDICATION: ").age(cast.age(), " y.o. with ").reason(cast);
    pen.say("\nCOMPARISON: ");
    match cast.previous {
        Some(before) => pen.date(rng, before),
        None => pen.say("none"),
    };
    pen.say("\n\nFINDINGS: Heart size normal. No Kerley lines. Hampton hump absent. Lungs clear.\n");
    pen.say("IMPRESSION: No acute disease. ");
    if rng.chance(0.4) {
        pen.say("Told to ")
            .doctor_last(cast, cast.encounter.provider)
            .say(" by telephone at ")
            .clock(at + 1_200)
            .say(". ");
    }
    if rng.chance(0.2) {
        pen.say("Films given to ").relative(rng, cast, true).say(". ");
    }
    pen.say("\nRead by ").doctor(cast.other, cast.staff.provider(cast.other)).say("\n");
}

fn day_note(pen: &mut Pen<'_>, rng: &mut Rng, cast: &Cast<'_>, at: i64) {
    let day = Day::of(at);
    let nth = (at - cast.encounter.start) / 86_400 + 1;
    pen.say("PROGRESS NOTE, HOSPITAL DAY ").number(nth.unsigned_abs()).say("\n").date(rng, day).say("\n");
    pen.heading_name(rng, cast).say("\n\nS: ").initials(cast, false).say(" slept well. ").them(rng, cast);
    pen.say(" walks with help. ").say(rng.word(ASIDES)).say("\nO: ").say(rng.word(FINDINGS)).say(rng.word(FINDINGS));
    pen.say("\nA/P: ").reason(cast).say(", better since ").date(rng, day.plus(-1).max(Day::of(cast.encounter.start)));
    let full = rng.chance(0.5);
    pen.say(". ").say(rng.word(STEPS)).say("Spoke with ").relative(rng, cast, full).say(" and ");
    pen.doctor_last(cast, cast.other)
        .say(".\n\n")
        .doctor(cast.encounter.provider, cast.staff.provider(cast.encounter.provider));
    pen.say("\n");
}

fn social(pen: &mut Pen<'_>, rng: &mut Rng, cast: &Cast<'_>, at: i64) {
    let person = cast.person;
    let (she, her) = person.pronoun();
    pen.say("SOCIAL WORK NOTE\n")
        .date(rng, Day::of(at))
        .say("\n\nMet with ")
        .them(rng, cast)
        .say(" and ")
        .say(her)
        .say(" ");
    pen.relative(rng, cast, true).say(". ").say(she).say(" lives at ").address(person, false).say(". ");
    if !person.employer.is_empty() {
        pen.say("Employed at ").name(Who::Employer, "exact", person.employer, person.employer).say(". ");
    }
    pen.say("Coverage by ").say(person.payer);
    if person.payer != "Self-pay" {
        pen.say(" (ID ").put("health-plan-id", &person.plan_id).say(")");
    }
    pen.say(" confirmed");
    if !person.ssn.is_empty() {
        pen.say(", last four of SSN ").last_four(&person.ssn);
    }
    pen.say(". Phone ").put("phone", &person.phone);
    if !person.email.is_empty() {
        pen.say(", e-mail ").put("email", &person.email);
    }
    pen.say(". ").them(rng, cast).say(" wishes to go home; ").say(her).say(" ").relative(rng, cast, false);
    pen.say(" will help after discharge from ").hospital(cast).say(".\n\nSigned ").nurse(cast, cast.other).say("\n");
}

fn letterhead(pen: &mut Pen<'_>, cast: &Cast<'_>) {
    let facility = cast.staff.facility(cast.encounter.provider);
    pen.hospital(cast).say("\n").say(facility.street).say("\n").say(facility.city).say(", ").say(facility.state);
    pen.say(" ").say(facility.zip).say("\n\n").long_date("service-date", Day::of(cast.encounter.stop)).say("\n\n");
}

fn to_patient(pen: &mut Pen<'_>, rng: &mut Rng, cast: &Cast<'_>) {
    let person = cast.person;
    letterhead(pen, cast);
    if let Some(guardian) = &cast.chart.guardian {
        pen.say("To the ").say(guardian.relation().1).say(" of\n");
    }
    let full = |out: &mut String| person.write_name(out);
    pen.mark("name", Who::Patient, "full-middle", full, |out| {
        out.push_str(if cast.age() < 13 { "" } else { title(person) });
        out.push_str(&person.first);
        if !person.middle.is_empty() {
            out.push(' ');
            out.push_str(&person.middle);
        }
        out.push(' ');
        out.push_str(&person.last);
        cast.suffix(out);
    });
    pen.say("\n").address(person, true).say("\n\nDear ");
    pen.mark_as("name", Who::Patient, full, |out| {
        if cast.age() < 13 {
            return look("first", typed(rng, &person.first, out));
        }
        out.push_str(title(person));
        look("title-last", typed(rng, &person.last, out))
    });
    pen.say(":\n\nIt was a pleasure to see you on ").date(rng, Day::of(cast.encounter.start)).say(" for ").reason(cast);
    pen.say(". ").say(rng.word(STEPS)).say("Please bring your ").relative(rng, cast, false).say(" to the next visit. ");
    pen.say("If we cannot reach you at ").put("phone", &person.phone).say(", we shall call ");
    pen.exact("phone", Who::Contact, &person.contact_phone).say(". ");
    if !person.email.is_empty() && rng.chance(0.5) {
        pen.say("This letter also goes to ").put("email", &person.email).say(". ");
    }
    if rng.chance(0.5) {
        pen.say("Your account is ").put("account-number", &person.account).say(". ");
    }
    pen.say("\n\nSincerely,\n").doctor(cast.encounter.provider, cast.staff.provider(cast.encounter.provider)).say("\n");
}

fn to_colleague(pen: &mut Pen<'_>, rng: &mut Rng, cast: &Cast<'_>) {
    let person = cast.person;
    let (she, her) = person.pronoun();
    letterhead(pen, cast);
    pen.say("RE: ").heading_name(rng, cast).say(", born ").dated_full("birth-date", rng, person.birth);
    pen.say(", MRN ").put("medical-record-number", cast.mrn).say("\n\nDear ").doctor_last(cast, cast.other);
    pen.say(",\n\nThank you for sending ")
        .them(rng, cast)
        .say(", whom I saw on ")
        .date(rng, Day::of(cast.encounter.start));
    pen.say(" with ").say(her).say(" ").relative(rng, cast, true).say(" because of ").reason(cast).say(". ");
    pen.them(rng, cast).say(" (").initials(cast, true).say(") is ").age(cast.age(), " years old. ");
    if let Some(previous) = cast.previous {
        pen.say("Our last visit was on ").date(rng, previous).say(". ");
    }
    pen.say(rng.word(FINDINGS)).say(rng.word(STEPS)).say(she).say(" will see you in two weeks; ");
    pen.initials(cast, true).say("'s ").relative(rng, cast, false).say(" has my number.\n\nWith kind regards,\n");
    pen.doctor(cast.encounter.provider, cast.staff.provider(cast.encounter.provider)).say("\n");
}

/// What a laboratory writes beneath results.
fn comment(pen: &mut Pen<'_>, rng: &mut Rng, cast: &Cast<'_>) {
    let (person, encounter) = (cast.person, cast.encounter);
    let day = Day::of(encounter.start);
    match rng.below(5) {
        0 => {
            pen.say("Critical value called to ").doctor(encounter.provider, cast.staff.provider(encounter.provider));
            pen.say(" at ").clock(encounter.start + 2_400).say(" on ").date(rng, day).say(", read back.");
        }
        1 => {
            pen.say("Specimen hemolyzed; ").them(rng, cast).say(" to be drawn again, ").relative(rng, cast, false);
            pen.say(" told at ").exact("phone", Who::Contact, &person.contact_phone).say(".");
        }
        2 => {
            pen.say("Label read ").heading_name(rng, cast).say(", MRN ").put("medical-record-number", cast.mrn);
            pen.say(", DOB ")
                .dated_full("birth-date", rng, person.birth)
                .say("; identity confirmed by ")
                .relative(rng, cast, true);
            pen.say(".");
        }
        3 => {
            pen.say("Per ").them(rng, cast).say(", fasting since the evening before ").date(rng, day).say(".");
        }
        _ => {
            pen.say("Copy to ").doctor_last(cast, cast.other).say(" as ").them(rng, cast).say(" asked.");
        }
    }
}

/// What a biller writes on a claim: capitals of ASCII, as the guides want them.
fn remark(pen: &mut Pen<'_>, rng: &mut Rng, person: &Person, staff: &Staff, provider: usize) {
    let full = |out: &mut String| person.write_name(out);
    match rng.below(4) {
        0 => {
            pen.say("PT ").mark("name", Who::Patient, "full-capitals", full, |out| {
                ascii_capitals(&person.first, out);
                out.push(' ');
                ascii_capitals(&person.last, out);
            });
            pen.say(" SEEN WITH ").mark(
                "name",
                Who::Contact,
                "full-capitals",
                |out| out.push_str(&person.contact),
                |out| ascii_capitals(&person.contact, out),
            );
        }
        1 => {
            pen.say("CORRECTED DOB FOR ").mark("name", Who::Patient, "last-capitals", full, |out| {
                ascii_capitals(&person.last, out);
            });
            pen.say(" IS ").mark(
                "birth-date",
                Who::Patient,
                "date",
                |out| out.day(person.birth),
                |out| out.day_us(person.birth),
            );
        }
        2 => {
            pen.say("REFERRED BY DR ");
            let who = staff.provider(provider);
            pen.mark(
                "name",
                Who::Provider(provider),
                "last-capitals",
                |out| who.write_name(out),
                |out| {
                    ascii_capitals(who.family, out);
                },
            );
            pen.say(" MRN ").put("medical-record-number", &person.mrn);
        }
        _ => {
            pen.say("CALL ")
                .mark("name", Who::Patient, "first-capitals", full, |out| ascii_capitals(&person.first, out));
            pen.say(" AT ").put("phone", &person.phone).say(" BEFORE BILLING");
        }
    }
}
