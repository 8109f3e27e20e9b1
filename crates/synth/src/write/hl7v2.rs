//! What interfaces send while a patient is treated, as HL7 v2: registration, results, documents and vaccinations, each
//! a feed of its own, in the order of time. Facilities send as their systems do: 2.3 in capitals of ASCII, 2.5.1, 2.8.

use super::truth::{At, Truth};
use crate::day::Day;
use crate::ink::{Ink, ascii_capitals};
use crate::record::{Encounter, Note, Observation, Person, RADIOLOGY, Record};
use crate::rng::at;
use crate::rows;
use crate::world::staff::{FACILITIES, Provider, Staff};

pub const FEEDS: [&str; 4] = ["adt", "lab", "doc", "vax"];

/// Who gives out record numbers, accounts and visits: namespace and OID (2.999 is the arc for examples).
pub const MRN_AUTHORITY: (&str, &str) = ("CRH", "2.999.4270.1");
pub const ACCOUNT_AUTHORITY: (&str, &str) = ("CRHBILL", "2.999.4270.2");
pub const VISIT_AUTHORITY: (&str, &str) = ("CRHVISIT", "2.999.4270.3");
pub const SSN_AUTHORITY: (&str, &str) = ("SSA", "2.16.840.1.113883.4.1");
pub const MBI_AUTHORITY: (&str, &str) = ("CMS", "2.16.840.1.113883.4.927");
pub const MEMBER_AUTHORITY: (&str, &str) = ("PAYER", "2.999.4270.4");
pub const LICENCE_AUTHORITY: (&str, &str) = ("DMV", "2.999.4270.5");

/// The namespace, OID and identifier type of the number that the payer gave. Those who pay themselves have one as in
/// all other formats.
pub fn member(person: &Person) -> ((&'static str, &'static str), &'static str) {
    match person.payer {
        "Medicare" => (MBI_AUTHORITY, "MC"),
        _ => (MEMBER_AUTHORITY, "MB"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Letters {
    AsTyped,
    Capitals,
    /// Capitals of ASCII.
    Ascii,
}

/// How the systems of a facility send.
#[derive(Clone, Copy)]
struct Manner {
    version: &'static str,
    letters: Letters,
    /// A segment a line of a document; else one segment for all of it.
    lines: bool,
}

const MANNERS: [Manner; 6] = [
    Manner { version: "2.5.1", letters: Letters::AsTyped, lines: false },
    Manner { version: "2.3", letters: Letters::Ascii, lines: true },
    Manner { version: "2.5.1", letters: Letters::Capitals, lines: true },
    Manner { version: "2.8", letters: Letters::AsTyped, lines: false },
    Manner { version: "2.5.1", letters: Letters::AsTyped, lines: false },
    Manner { version: "2.3", letters: Letters::Ascii, lines: false },
];

/// The messages of one feed for a run of patients.
#[derive(Default)]
pub struct Feed {
    body: Vec<u8>,
    /// When, and where each message ends.
    messages: Vec<(i64, usize)>,
    /// The file's bytes, once the run is through.
    pub bytes: Vec<u8>,
}

impl Feed {
    pub fn clear(&mut self) {
        self.body.clear();
        self.messages.clear();
        self.bytes.clear();
    }

    pub fn count(&self) -> u64 {
        self.messages.len() as u64
    }

    /// Puts the messages in the order of time, in a file with one batch.
    pub fn finish(&mut self, name: &str, number: u64) {
        if self.messages.is_empty() {
            return;
        }
        let starts = std::iter::once(0).chain(self.messages.iter().map(|(_, end)| *end));
        let mut order: Vec<(i64, usize, usize)> =
            self.messages.iter().zip(starts).map(|((at, end), start)| (*at, start, *end)).collect();
        order.sort_unstable();
        let out = &mut self.bytes;
        for (segment, letter) in [("FHS", "F"), ("BHS", "B")] {
            out.put(segment);
            out.put("|^~\\&|");
            out.put(&name.to_ascii_uppercase());
            out.put("|CRH|ARCHIVE|CRH|");
            out.instant_packed(order.last().map_or(0, |last| last.0));
            out.put("||");
            out.put(name);
            out.put("||");
            out.put(letter);
            out.at_least(number + 1, 5);
            out.push(b'\r');
        }
        for (_, start, end) in &order {
            out.extend_from_slice(self.body.get(*start..*end).unwrap_or_default());
        }
        out.put("BTS|");
        out.int(order.len() as u64);
        out.put("\rFTS|1\r");
    }
}

/// A message being written.
struct Message<'a> {
    out: &'a mut Vec<u8>,
    manner: Manner,
    /// Behind this, delimiters at the end of a field are left out.
    floor: usize,
}

impl Message<'_> {
    fn trim(&mut self) {
        while self.out.len() > self.floor && matches!(self.out.last(), Some(b'^' | b'~' | b'&')) {
            self.out.pop();
        }
    }

    fn seg(&mut self, name: &str) -> &mut Self {
        self.end();
        self.out.put(name);
        self.floor = self.out.len();
        self
    }

    fn end(&mut self) {
        self.trim();
        while self.out.len() > self.floor && self.out.last() == Some(&b'|') {
            self.out.pop();
        }
        if !self.out.is_empty() && self.out.last() != Some(&b'\r') {
            self.out.push(b'\r');
        }
        self.floor = self.out.len();
    }

    /// The next field, with `text` in it.
    fn f(&mut self, text: &str) -> &mut Self {
        self.trim();
        self.out.push(b'|');
        self.esc(text)
    }

    /// The next component.
    fn c(&mut self, text: &str) -> &mut Self {
        self.out.push(b'^');
        self.esc(text)
    }

    fn sub(&mut self, text: &str) -> &mut Self {
        self.out.push(b'&');
        self.esc(text)
    }

    /// The next repetition.
    fn r(&mut self, text: &str) -> &mut Self {
        self.trim();
        self.out.push(b'~');
        self.esc(text)
    }

    fn skip(&mut self, fields: usize) -> &mut Self {
        for _ in 0..fields {
            self.f("");
        }
        self
    }

    fn esc(&mut self, text: &str) -> &mut Self {
        for letter in text.chars() {
            match letter {
                '|' => self.out.put("\\F\\"),
                '^' => self.out.put("\\S\\"),
                '~' => self.out.put("\\R\\"),
                '\\' => self.out.put("\\E\\"),
                '&' => self.out.put("\\T\\"),
                '\n' => self.out.put("\\.br\\"),
                '\r' => {}
                other => self.out.put(other.encode_utf8(&mut [0; 4])),
            }
        }
        self
    }

    /// What a person typed, in the letters of the system.
    fn typed(&self, text: &str) -> String {
        match self.manner.letters {
            Letters::AsTyped => text.to_owned(),
            Letters::Capitals => text.to_uppercase(),
            Letters::Ascii => {
                let mut out = String::with_capacity(text.len());
                ascii_capitals(text, &mut out);
                out
            }
        }
    }

    /// Words of the system itself, in letters that it has.
    fn readable(&self, text: &str) -> String {
        if self.manner.letters == Letters::Ascii { self.typed(text) } else { text.to_owned() }
    }

    fn day(&mut self, day: Day) -> &mut Self {
        self.f("");
        self.out.day_packed(day);
        self
    }

    fn time(&mut self, at: i64) -> &mut Self {
        self.f("");
        self.out.instant_packed(at);
        if self.manner.version != "2.3" {
            self.out.put("+0000");
        }
        self
    }

    fn number(&mut self, value: u64) -> &mut Self {
        self.f("");
        self.out.int(value);
        self
    }

    fn authority(&mut self, authority: (&str, &str)) -> &mut Self {
        self.c(authority.0);
        if self.manner.version != "2.3" {
            self.sub(authority.1).sub("ISO");
        }
        self
    }

    fn cx(&mut self, authority: (&str, &str), code: &str) -> &mut Self {
        self.c("").c("").authority(authority).c(code)
    }

    fn xpn(&mut self, family: &str, given: &str, middle: &str, suffix: &str, code: &str) -> &mut Self {
        let parts = [given, middle, suffix].map(|part| self.typed(part));
        let family = self.typed(family);
        self.esc(&family);
        for part in parts {
            self.c(&part);
        }
        if self.manner.version != "2.3" {
            self.c("").c("").c(code);
        }
        self
    }

    fn xad(&mut self, person: &Person) -> &mut Self {
        let (street, city) = (self.typed(&person.street), self.typed(person.place.city));
        self.esc(&street).c("").c(&city).c(person.place.state).c(&person.zip).c("USA").c("H")
    }

    fn xtn(&mut self, phone: &str) -> &mut Self {
        let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
        let digits = digits.get(digits.len().saturating_sub(10)..).unwrap_or_default();
        let (area, rest) = digits.split_at_checked(3).unwrap_or_default();
        let (exchange, line) = rest.split_at_checked(3).unwrap_or_default();
        match self.manner.version {
            "2.3" => {
                let text = format!("({area}){exchange}-{line}");
                self.esc(&text)
            }
            "2.8" => {
                let local = format!("{exchange}{line}");
                let whole = format!("+1{digits}");
                self.c("PRN").c("PH").c("").c("1").c(area).c(&local).c("").c("").c("").c("").c(&whole)
            }
            // As the desk typed it, and taken apart.
            _ => {
                let local = format!("{exchange}{line}");
                self.esc(phone).c("PRN").c("PH").c("").c("1").c(area).c(&local)
            }
        }
    }

    fn xcn(&mut self, provider: &Provider) -> &mut Self {
        let (family, given) = (self.typed(provider.family), self.typed(provider.given));
        self.esc(&provider.npi).c(&family).c(&given).c("").c("").c("DR");
        if self.manner.version != "2.3" {
            self.c("").c("").c("NPI").sub("2.16.840.1.113883.4.6").sub("ISO").c("L").c("").c("").c("NPI");
        }
        self
    }

    fn head(&mut self, sender: &str, facility: usize, when: i64, kind: (&str, &str, &str), control: &str) {
        self.end();
        self.out.put("MSH|^~\\&");
        self.floor = self.out.len();
        self.f(sender).f("FAC").esc(&format!("{:02}", facility + 1)).f("INTEGRATION").f("CRH").time(when).f("");
        self.f(kind.0).c(kind.1);
        if self.manner.version != "2.3" && self.manner.version != "2.4" {
            self.c(kind.2);
        }
        let version = self.manner.version;
        self.f(control).f("T").f(version);
        if self.manner.letters != Letters::Ascii {
            self.skip(5).f("UNICODE UTF-8");
        }
    }
}

/// All that messages of a patient have in common.
struct Sender<'a> {
    record: &'a Record,
    staff: &'a Staff,
    feeds: &'a mut [Feed; 4],
    /// Which files the feeds become.
    run: u64,
    sequence: u64,
}

pub fn file_name(feed: &str, run: u64) -> String {
    let mut name = String::from("hl7v2/");
    name.put(feed);
    name.ascii(b'_');
    name.at_least(run + 1, 5);
    name.put(".hl7");
    name
}

impl Sender<'_> {
    /// Writes a message by `write` and says its control id.
    fn send(
        &mut self,
        feed: usize,
        facility: usize,
        when: i64,
        kind: (&str, &str, &str),
        write: impl FnOnce(&mut Message<'_>, &Record, &Staff),
    ) -> String {
        self.sequence += 1;
        let mut control = String::with_capacity(18);
        control.put(at::<&str>(&["A", "L", "D", "V"], feed));
        control.pad(self.record.person.number, 9);
        control.at_least(self.sequence, 5);
        let sender = at::<&str>(&["REGADT", "LABSYS", "DOCSYS", "VAXREG"], feed);
        let mut manner = *at(&MANNERS, facility);
        if feed >= 2 && manner.letters != Letters::AsTyped {
            // Documents are texts of people, whatever the registration makes of names.
            manner = Manner { version: "2.5.1", letters: Letters::AsTyped, ..manner };
        }
        if feed == 1 && manner.letters == Letters::Ascii {
            manner = Manner { version: "2.3", letters: Letters::Capitals, ..manner };
        }
        if let Some(feed) = self.feeds.get_mut(feed) {
            let floor = feed.body.len();
            let mut message = Message { out: &mut feed.body, manner, floor };
            message.head(sender, facility, when, kind, &control);
            write(&mut message, self.record, self.staff);
            message.end();
            feed.messages.push((when, feed.body.len()));
        }
        control
    }
}

/// All messages of a patient, each to its feed.
pub fn all(feeds: &mut [Feed; 4], mut truth: Option<&mut Truth>, record: &Record, staff: &Staff, run: u64) {
    let mut sender = Sender { record, staff, feeds, run, sequence: 0 };
    for (place, encounter) in record.encounters.iter().enumerate() {
        for (nth, old) in record.chart.old.iter().enumerate().filter(|(_, old)| old.before == place) {
            let into = record.chart.old.get(nth + 1).map_or(record.person.mrn.as_str(), |next| &next.mrn);
            merge(&mut sender, encounter, &old.mrn, into, old.merged);
        }
        registration(&mut sender, place, encounter);
        results(&mut sender, truth.as_deref_mut(), place, encounter);
    }
    for note in record.all_notes() {
        document(&mut sender, truth.as_deref_mut(), note);
    }
    for shot in 0..record.chart.shots.len() {
        vaccination(&mut sender, shot);
    }
}

fn facility_of(staff: &Staff, encounter: &Encounter) -> usize {
    staff.provider(encounter.provider).facility
}

/// Whose message it is, as was known at that time.
fn pid(m: &mut Message<'_>, record: &Record, mrn: &str, when: i64) {
    let (p, chart) = (&record.person, &record.chart);
    let old = m.manner.version == "2.3";
    m.seg("PID").f("1").f(if old { mrn } else { "" }).f(mrn).cx(MRN_AUTHORITY, "MR");
    let (authority, code) = member(p);
    m.r(&p.plan_id).cx(authority, code);
    if !p.licence.is_empty() && !old {
        m.r(&p.licence).cx(LICENCE_AUTHORITY, "DL");
    }
    if !p.ssn.is_empty() && m.manner.version == "2.8" {
        m.r(&p.ssn).cx(SSN_AUTHORITY, "SS");
    }
    m.f("").f("");
    let initial = p.middle.chars().next().map(String::from).unwrap_or_default();
    // Older systems have room for an initial.
    m.xpn(&p.last, &p.first, if old { &initial } else { &p.middle }, chart.suffix, "L");
    if !old && !p.maiden.is_empty() {
        m.r("").xpn(&p.maiden, &p.first, "", "", "M");
    }
    if !old && !chart.nickname.is_empty() {
        m.r("").xpn(&p.last, chart.nickname, "", "", "N");
    }
    m.f("").day(p.birth).f(p.gender).f("");
    m.f(p.race.code).c(p.race.display).c("CDCREC").f("").xad(p);
    let county = m.readable(p.place.county);
    m.f(&county).f("").xtn(&p.phone);
    if !p.email.is_empty() {
        m.r("").c("NET").c("Internet").c(&p.email);
    }
    m.f("").f(p.language).f(p.marital).f("").f(&p.account).cx(ACCOUNT_AUTHORITY, "AN");
    // Withdrawn in 2.8; older systems keep digits alone.
    let digits: String = p.ssn.chars().filter(char::is_ascii_digit).collect();
    m.f(match m.manner.version {
        "2.8" => "",
        "2.3" => &digits,
        _ => &p.ssn,
    });
    m.f(if old { &p.licence } else { "" }).f("").f(p.ethnicity.code).f("");
    m.f(if p.twin { "Y" } else { "" }).skip(4);
    if let Some(death) = p.death.filter(|death| death.start() <= when) {
        m.day(death).f("Y");
    }
}

fn nk1(m: &mut Message<'_>, record: &Record) {
    let p = &record.person;
    let family = p.contact.strip_prefix(p.contact_given).map_or("", str::trim_start);
    let relation = match p.relation.0 {
        "HUSB" | "WIFE" => ("SPO", "Spouse"),
        "DAU" | "SON" => ("CHD", "Child"),
        "SIS" => ("SIS", "Sister"),
        "BRO" => ("BRO", "Brother"),
        "MTH" => ("MTH", "Mother"),
        "FTH" => ("FTH", "Father"),
        _ => ("OTH", "Other"),
    };
    m.seg("NK1").f("1").f("").xpn(family, p.contact_given, "", "", "L").f(relation.0).c(relation.1).c("HL70063");
    m.f("").f("").xtn(&p.contact_phone).f("").f("C").c("Emergency Contact").c("HL70131");
    if let Some(guardian) = record.chart.guardian.as_ref().filter(|guardian| !guardian.is_contact) {
        let (code, word) = guardian.relation();
        m.seg("NK1").f("2").f("").xpn(&guardian.family, &guardian.given, "", "", "L").f(code).c(word).c("HL70063");
        m.f("").xad(p).f("").xtn(&p.phone).f("").f("N").c("Next-of-Kin").c("HL70131");
    }
}

fn pv1(m: &mut Message<'_>, encounter: &Encounter, staff: &Staff, done: bool) {
    let provider = staff.provider(encounter.provider);
    let class = match encounter.kind.class {
        "IMP" => "I",
        "EMER" => "E",
        _ => "O",
    };
    let ward = format!("{class}W{}", provider.facility + 1);
    m.seg("PV1").f("1").f(class).f(&ward).c(&format!("{}", encounter.provider % 40 + 100)).c("A");
    m.f(if class == "O" { "" } else { "E" }).f("").f("").f("").xcn(provider).skip(9).f("").xcn(provider).f("");
    m.f(encounter.id.text()).cx(VISIT_AUTHORITY, "VN").skip(16);
    m.f(if done && class != "O" { "01" } else { "" }).skip(7).time(encounter.start);
    if done {
        m.time(encounter.stop);
    }
}

fn insurance(m: &mut Message<'_>, record: &Record) {
    let (p, guardian) = (&record.person, record.chart.guardian.as_ref());
    let digits: String = p.ssn.chars().filter(char::is_ascii_digit).collect();
    // The guarantor stands before the insurance.
    m.seg("GT1").f("1").f("").f("");
    if let Some(guardian) = guardian {
        m.xpn(&guardian.family, &guardian.given, "", "", "L").f("").f("").xad(p).f("").xtn(&p.phone).f("");
        m.day(guardian.birth).f(if guardian.female { "F" } else { "M" }).f("").f(guardian.relation().0);
    } else {
        m.xpn(&p.last, &p.first, &p.middle, record.chart.suffix, "L").f("").f("").xad(p).f("").xtn(&p.phone).f("");
        m.day(p.birth).f(p.gender).f("").f("SEL").f(&digits).skip(3);
        let employer = m.typed(p.employer);
        m.f(&employer);
    }
    if p.payer == "Self-pay" {
        return;
    }
    let (authority, code) = member(p);
    let payer = m.typed(p.payer);
    m.seg("IN1").f("1").f("PLAN").c(&payer).f(super::x12::payer_id(p.payer)).f(&payer).skip(3);
    m.f(super::x12::group(p.payer)).skip(7).f("");
    match guardian.filter(|_| super::x12::is_dependent(record)) {
        Some(guardian) => {
            m.xpn(&guardian.family, &guardian.given, "", "", "L").f("PAR").c("Parent").c("HL70063").day(guardian.birth);
        }
        None => {
            m.xpn(&p.last, &p.first, &p.middle, record.chart.suffix, "L").f("SEL").c("Self").c("HL70063").day(p.birth);
        }
    }
    m.f("").xad(p).skip(16).f(&p.plan_id).skip(12).f(&p.plan_id).cx(authority, code);
}

fn diagnoses(m: &mut Message<'_>, record: &Record, encounter: &Encounter, admitting: bool) {
    if admitting {
        if let Some(reason) = encounter.reason {
            let spoken = m.readable(reason.spoken);
            m.seg("DG1").f("1").f("").f(reason.icd10).c(&spoken).c("I10").f("").time(encounter.start).f("A");
        }
        return;
    }
    for (nth, one) in (1..).zip(record.diagnoses.iter().filter(|one| one.encounter == encounter.id)) {
        let spoken = m.readable(one.what.spoken);
        m.seg("DG1").number(nth).f("").f(one.what.icd10).c(&spoken).c("I10").f("").time(one.recorded).f("F");
    }
}

fn allergies(m: &mut Message<'_>, record: &Record) {
    for (nth, allergy) in (1..).zip(&record.chart.allergies) {
        m.seg("AL1").number(nth).f(allergy.category).f(allergy.code).c(allergy.display).c(allergy.system);
        m.f("MO").f(allergy.reaction.1);
    }
}

fn evn(m: &mut Message<'_>, trigger: &str, when: i64) {
    m.seg("EVN").f(trigger).time(when);
}

fn registration(sender: &mut Sender<'_>, place: usize, encounter: &Encounter) {
    let facility = facility_of(sender.staff, encounter);
    let inpatient = encounter.kind.class == "IMP";
    let (first, structure) = if inpatient { ("A01", "ADT_A01") } else { ("A04", "ADT_A01") };
    let middle = encounter.start + (encounter.stop - encounter.start) / 3;
    let events = [
        (true, first, structure, encounter.start + 60),
        // Somebody corrects something.
        (inpatient || encounter.id.bytes().last().is_some_and(|digit| digit % 4 == 0), "A08", "ADT_A01", middle + 61),
        (encounter.kind.class != "VR", "A03", "ADT_A03", encounter.stop + 120),
    ];
    for (nth, (wanted, trigger, structure, when)) in events.into_iter().enumerate() {
        if !wanted {
            continue;
        }
        sender.send(0, facility, when, ("ADT", trigger, structure), |m, record, staff| {
            let done = nth == 2;
            evn(m, trigger, when);
            pid(m, record, record.chart.mrn_of(&record.person, place), when);
            if !done {
                nk1(m, record);
            }
            pv1(m, encounter, staff, done);
            if !done {
                allergies(m, record);
            }
            diagnoses(m, record, encounter, !done);
            if !done {
                insurance(m, record);
            }
        });
    }
}

/// Two numbers of one person become one: A40, or A34 where the system is of 2.3.
fn merge(sender: &mut Sender<'_>, next: &Encounter, from: &str, into: &str, when: i64) {
    let facility = facility_of(sender.staff, next);
    let old = at(&MANNERS, facility).version == "2.3";
    let (trigger, structure) = if old { ("A34", "ADT_A30") } else { ("A40", "ADT_A39") };
    sender.send(0, facility, when, ("ADT", trigger, structure), |m, record, _| {
        let p = &record.person;
        evn(m, trigger, when);
        pid(m, record, into, when);
        m.seg("MRG").f(from).cx(MRN_AUTHORITY, "MR");
        m.skip(2).f("").f("").f("").f("").xpn(&p.last, &p.first, "", "", "L");
    });
}

fn panel(
    m: &mut Message<'_>,
    record: &Record,
    encounter: &Encounter,
    of: (&str, &str),
    results: &[&Observation],
    nth: u64,
) {
    let first = results.first().map_or(encounter.start, |first| first.at);
    let order = format!("{}-{nth}", encounter.id.text().get(..8).unwrap_or_default());
    m.seg("OBR").number(nth).f(&order).c("CRH").f(&order).c("LABSYS").f(of.0).c(of.1).c("LN").f("").f("").time(first);
    m.skip(14).time(first + 1_800).f("").f("LAB").f("F");
    let mut range = String::new();
    for (nth, one) in (1..).zip(results) {
        m.seg("OBX").number(nth).f("NM").f(one.test.loinc).c(one.test.display).c("LN").f("").f("");
        m.out.fixed(one.value, one.test.scale);
        range.clear();
        rows::range_text(one.test, record.person.female, &mut range);
        m.f(one.test.unit).c("").c("UCUM").f(&range).f(rows::flag(one.test, record.person.female, one.value));
        m.f("").f("").f("F").f("").f("").time(one.at);
    }
}

fn results(sender: &mut Sender<'_>, truth: Option<&mut Truth>, place: usize, encounter: &Encounter) {
    let of = |vital: bool| {
        let all = sender.record.observations.iter();
        all.filter(|one| one.encounter == encounter.id && one.test.vital == vital).collect::<Vec<_>>()
    };
    let (vitals, tests) = (of(true), of(false));
    if vitals.is_empty() && tests.is_empty() {
        return;
    }
    let comment = sender.record.chart.comments.iter().find(|comment| comment.of == place);
    let when =
        vitals.iter().chain(&tests).map(|one| one.at).max().unwrap_or(encounter.start).max(encounter.start) + 2_000;
    let facility = facility_of(sender.staff, encounter);
    let control = sender.send(1, facility, when, ("ORU", "R01", "ORU_R01"), |m, record, staff| {
        pid(m, record, record.chart.mrn_of(&record.person, place), when);
        pv1(m, encounter, staff, false);
        let mut nth = 1;
        if !tests.is_empty() {
            panel(
                m,
                record,
                encounter,
                ("24323-8", "Comprehensive metabolic 2000 panel - Serum or Plasma"),
                &tests,
                nth,
            );
            nth += 1;
            if let Some(comment) = comment {
                m.seg("NTE").f("1").f("L").f(record.comment_text(comment));
            }
        }
        if !vitals.is_empty() {
            panel(
                m,
                record,
                encounter,
                ("85353-1", "Vital signs, weight, height, head circumference, oxygen saturation and BMI panel"),
                &vitals,
                nth,
            );
        }
    });
    if let (Some(truth), Some(comment), false) = (truth, comment, tests.is_empty()) {
        let at = At { file: &file_name("lab", sender.run), record: &control, field: "NTE[1]-3" };
        let record = sender.record;
        truth.whole(record, sender.staff, at, record.comment_text(comment), record.comment_spans(comment));
    }
}

fn document(sender: &mut Sender<'_>, truth: Option<&mut Truth>, note: &Note) {
    let record = sender.record;
    let Some((place, encounter)) = record.encounters.iter().enumerate().find(|(_, one)| one.id == note.encounter)
    else {
        return;
    };
    let text = record.note_text(note);
    let facility = facility_of(sender.staff, encounter);
    let report = note.kind.loinc == RADIOLOGY.loinc;
    let lines = at(&MANNERS, facility).lines;
    let when = note.at + 300;
    let kind = if report { ("ORU", "R01", "ORU_R01") } else { ("MDM", "T02", "MDM_T02") };
    let control = sender.send(2, facility, when, kind, |m, record, staff| {
        let author = staff.provider(note.provider);
        if !report {
            evn(m, "T02", when);
        }
        pid(m, record, record.chart.mrn_of(&record.person, place), when);
        pv1(m, encounter, staff, false);
        if report {
            m.seg("OBR").f("1").f(note.id.text()).c("CRH").f(note.id.text()).c("DOCSYS");
            m.f("36643-5")
                .c("XR Chest 2 Views")
                .c("LN")
                .f("")
                .f("")
                .time(note.at)
                .skip(8)
                .f("")
                .xcn(staff.provider(encounter.provider));
            m.skip(5)
                .time(when)
                .f("")
                .f("RAD")
                .f("F")
                .skip(6)
                .f(author.npi.as_str())
                .sub(author.family)
                .sub(author.given);
        } else {
            m.seg("TXA")
                .f("1")
                .f(note.kind.loinc)
                .c(note.kind.name)
                .c("LN")
                .f("TX")
                .time(note.at)
                .f("")
                .xcn(author)
                .time(note.at);
            m.skip(2).f("").xcn(author).skip(2).f(note.id.text()).skip(4).f("AU");
        }
        let pieces: Vec<&str> = if lines { text.lines().collect() } else { vec![text] };
        for (nth, piece) in (1..).zip(pieces) {
            m.seg("OBX").number(nth).f(if lines { "TX" } else { "FT" }).f(note.kind.loinc).c(note.kind.display).c("LN");
            m.f("").f(piece).skip(5).f("F");
        }
    });
    let Some(truth) = truth else { return };
    let (file, spans) = (file_name("doc", sender.run), record.note_spans(note));
    if !lines {
        let at = At { file: &file, record: &control, field: "OBX[1]-5" };
        return truth.whole(record, sender.staff, at, text, spans);
    }
    let mut start = 0;
    for (nth, line) in (1u64..).zip(text.lines()) {
        let end = start + line.len() as u32;
        let mut field = String::from("OBX[");
        field.int(nth);
        field.put("]-5");
        let at = At { file: &file, record: &control, field: &field };
        truth.text(record, sender.staff, at, text, spans, (start, end));
        start = end + 1;
    }
}

fn vaccination(sender: &mut Sender<'_>, nth: usize) {
    let record = sender.record;
    let Some(shot) = record.chart.shots.get(nth) else { return };
    let Some(encounter) = record.encounters.get(shot.encounter) else { return };
    let facility = facility_of(sender.staff, encounter);
    sender.send(3, facility, shot.at + 600, ("VXU", "V04", "VXU_V04"), |m, record, staff| {
        let provider = staff.provider(encounter.provider);
        pid(m, record, record.chart.mrn_of(&record.person, shot.encounter), shot.at);
        nk1(m, record);
        m.seg("ORC").f("RE").f("").f(&format!("{}-V{nth}", encounter.id.text().get(..8).unwrap_or_default())).c("CRH");
        m.skip(8).f("").xcn(provider);
        m.seg("RXA").f("0").f("1").time(shot.at).f("").f(shot.vaccine.cvx).c(shot.vaccine.display).c("CVX");
        m.f("0.5").f("mL").c("").c("UCUM").f("").f("00").c("New immunization record").c("NIP001").f("").xcn(provider);
        m.f("")
            .c("")
            .c("")
            .c(at(FACILITIES, facility).name)
            .skip(3)
            .f(&format!("L{:06}", shot.lot))
            .f("")
            .f(shot.vaccine.mvx);
        m.skip(2).f("CP").f("A");
        m.seg("RXR").f("IM").c("Intramuscular").c("HL70162").f("LA").c("Left arm").c("HL70163");
    });
}
