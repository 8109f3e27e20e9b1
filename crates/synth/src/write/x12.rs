//! What goes between the hospital, employers and payers, as X12 5010: claims (837P, 837I), what was paid (835), who is
//! enrolled (834), and answers about coverage (271). An interchange a payer, a few hundred patients a file.
//!
//! Names and addresses are in capitals of ASCII, as the guides and clearing houses want them.

use super::truth::{At, Truth};
use crate::day::Day;
use crate::ink::{Ink, ascii_capitals};
use crate::record::{Claim, Encounter, Person, Record};
use crate::rng::at;
use crate::world::clinical::PAYERS;
use crate::world::staff::{FACILITIES, Provider, Staff};

/// The kinds of files: name, ending, and how GS calls them.
const KINDS: [Kind; 5] = [
    Kind { name: "professional", ending: "837", set: "837", group: "HC", guide: "005010X222A1" },
    Kind { name: "institutional", ending: "837", set: "837", group: "HC", guide: "005010X223A2" },
    Kind { name: "remittance", ending: "835", set: "835", group: "HP", guide: "005010X221A1" },
    Kind { name: "enrollment", ending: "834", set: "834", group: "BE", guide: "005010X220A1" },
    Kind { name: "eligibility", ending: "271", set: "271", group: "HB", guide: "005010X279A1" },
];

struct Kind {
    name: &'static str,
    ending: &'static str,
    set: &'static str,
    group: &'static str,
    guide: &'static str,
}

const PROFESSIONAL: usize = 0;
const INSTITUTIONAL: usize = 1;
const REMITTANCE: usize = 2;
const ENROLLMENT: usize = 3;
const ELIGIBILITY: usize = 4;

/// Segments that one transaction set may have before the next begins.
const MAX_SEGMENTS: u64 = 4_000;

pub fn payer_id(payer: &str) -> &'static str {
    const IDS: [&str; 6] = ["SYN01", "SYN02", "SYN03", "SYN04", "SYN05", "SYN06"];
    at::<&str>(&IDS, PAYERS.iter().position(|one| *one == payer).unwrap_or(5))
}

/// Whether the patient is insured through a parent.
pub fn is_dependent(record: &Record) -> bool {
    let payer = record.person.payer;
    record.chart.guardian.is_some() && !matches!(payer, "Self-pay" | "Medicare" | "Medicaid")
}

/// Of insurers that employers choose.
pub fn group(payer: &str) -> &'static str {
    if matches!(payer, "Medicare" | "Medicaid" | "Self-pay") { "" } else { "GRP4270" }
}

fn filing(payer: &str) -> &'static str {
    match payer {
        "Medicare" => "MB",
        "Medicaid" => "MC",
        _ => "CI",
    }
}

/// The sets between one payer and one facility in a run, of one kind.
#[derive(Default)]
struct Interchange {
    bytes: Vec<u8>,
    sets: u64,
    /// Segments of the open set, ST among them; 0 where none is open.
    segments: u64,
    /// The last HL of the open set.
    level: u64,
    /// Lines (LX) of the open 835.
    lines: u64,
    /// The open 835's BPR-2, filled in when all is known.
    paid: i64,
    paid_at: usize,
}

/// What a run of patients adds to.
#[derive(Default)]
pub struct Exchange {
    /// By kind, payer and facility.
    payers: [[[Interchange; 12]; 6]; 5],
    pub files: Vec<(String, Vec<u8>, u64)>,
    run: u64,
}

/// Segments being written; the terminator is `~`, in the files of some payers with a line end behind it.
struct Set<'a> {
    into: &'a mut Interchange,
    lines: bool,
    /// Its place among the facilities.
    facility: usize,
}

impl Set<'_> {
    fn seg(&mut self, name: &str) -> &mut Self {
        self.into.bytes.put(name);
        self.into.segments += 1;
        self
    }

    /// The next element, free of delimiters.
    fn e(&mut self, text: &str) -> &mut Self {
        self.into.bytes.push(b'*');
        for letter in text.chars() {
            let letter = if matches!(letter, '*' | ':' | '~' | '^' | '\n' | '\r') { ' ' } else { letter };
            self.into.bytes.put(letter.encode_utf8(&mut [0; 4]));
        }
        self
    }

    /// An element of components, as it is.
    fn raw(&mut self, text: &str) -> &mut Self {
        self.into.bytes.push(b'*');
        self.into.bytes.put(text);
        self
    }

    fn caps(&mut self, text: &str) -> &mut Self {
        let mut plain = String::with_capacity(text.len());
        ascii_capitals(text, &mut plain);
        self.e(&plain)
    }

    fn skip(&mut self, elements: usize) -> &mut Self {
        for _ in 0..elements {
            self.e("");
        }
        self
    }

    fn number(&mut self, value: u64) -> &mut Self {
        self.into.bytes.push(b'*');
        self.into.bytes.int(value);
        self
    }

    /// Cents as X12 writes amounts: no zeros at the end.
    fn money(&mut self, cents: i64) -> &mut Self {
        self.into.bytes.push(b'*');
        amount(cents, &mut self.into.bytes);
        self
    }

    fn day(&mut self, day: Day) -> &mut Self {
        self.into.bytes.push(b'*');
        self.into.bytes.day_packed(day);
        self
    }

    fn days(&mut self, from: Day, to: Day) -> &mut Self {
        self.day(from);
        self.into.bytes.push(b'-');
        self.into.bytes.day_packed(to);
        self
    }

    fn end(&mut self) {
        while self.into.bytes.last() == Some(&b'*') {
            self.into.bytes.pop();
        }
        self.into.bytes.push(b'~');
        if self.lines {
            self.into.bytes.push(b'\n');
        }
    }

    fn address(&mut self, street: &str, city: &str, state: &str, zip: &str) {
        self.seg("N3").caps(street).end();
        let digits: String = zip.chars().filter(char::is_ascii_digit).collect();
        self.seg("N4").caps(city).e(state).e(&digits).end();
    }

    fn home(&mut self, p: &Person) {
        self.address(&p.street, p.place.city, p.place.state, &p.zip);
    }

    fn born(&mut self, birth: Day, gender: &str) -> &mut Self {
        self.seg("DMG").e("D8").day(birth).e(if gender == "O" { "U" } else { gender })
    }

    fn patient_name(&mut self, code: &str, record: &Record) -> &mut Self {
        let p = &record.person;
        let suffix: String = record.chart.suffix.chars().filter(|letter| *letter != '.').collect();
        self.seg("NM1").e(code).e("1").caps(&p.last).caps(&p.first).caps(&p.middle).e("").caps(&suffix)
    }

    fn guardian_name(&mut self, code: &str, record: &Record) -> &mut Self {
        self.seg("NM1").e(code).e("1");
        match &record.chart.guardian {
            Some(guardian) => self.caps(&guardian.family).caps(&guardian.given).skip(3),
            None => self.skip(5),
        }
    }

    fn payer(&mut self, code: &str, payer: &str) {
        self.seg("NM1").e(code).e("2").caps(payer).skip(4).e("PI").e(payer_id(payer)).end();
    }

    fn facility(&mut self, code: &str, place: usize) {
        self.seg("NM1").e(code).e("2").caps(at(FACILITIES, place).name).skip(4).e("XX").e(&facility_npi(place)).end();
    }

    fn staff(&mut self, code: &str, provider: &Provider) {
        self.seg("NM1")
            .e(code)
            .e("1")
            .caps(provider.family)
            .caps(provider.given)
            .skip(3)
            .e("XX")
            .e(&provider.npi)
            .end();
    }

    fn level(&mut self, parent: Option<u64>, code: &str, children: bool) -> u64 {
        self.into.level += 1;
        let own = self.into.level;
        self.seg("HL").number(own);
        match parent {
            Some(parent) => self.number(parent),
            None => self.e(""),
        };
        self.e(code).e(if children { "1" } else { "0" }).end();
        own
    }
}

fn amount(cents: i64, out: &mut Vec<u8>) {
    if cents % 100 == 0 {
        out.fixed(cents / 100, 0);
    } else if cents % 10 == 0 {
        out.fixed(cents / 10, 1);
    } else {
        out.fixed(cents, 2);
    }
}

/// Ten digits with 98 before: of no one, as all that begin with 9.
fn facility_npi(place: usize) -> String {
    let mut text = String::with_capacity(10);
    text.pad(9_800_000_000 + place as u64 * 13, 10);
    text
}

fn tax_id(place: usize) -> String {
    let mut text = String::with_capacity(9);
    // No office of the tax authority has the prefix 00.
    text.put("00");
    text.pad(4_270_000 + place as u64, 7);
    text
}

fn facility_of(staff: &Staff, provider: usize) -> usize {
    staff.provider(provider).facility
}

impl Exchange {
    pub fn start(&mut self, run: u64) {
        self.run = run;
        self.files.clear();
        self.payers = Default::default();
    }

    fn file_name(&self, kind: usize) -> String {
        let kind = at(&KINDS, kind);
        let mut name = String::from("x12/");
        name.put(kind.name);
        name.ascii(b'_');
        name.at_least(self.run + 1, 5);
        name.ascii(b'.');
        name.put(kind.ending);
        name
    }

    /// The open set of a kind, payer and facility, or a new one where it is long enough.
    fn set(&mut self, kind: usize, payer: &str, facility: usize, as_of: Day) -> Option<Set<'_>> {
        let place = PAYERS.iter().position(|one| *one == payer)?;
        let into = self.payers.get_mut(kind)?.get_mut(place)?.get_mut(facility)?;
        let mut set = Set { into, lines: place.is_multiple_of(2), facility };
        if set.into.segments > MAX_SEGMENTS {
            close(&mut set);
        }
        if set.into.segments == 0 {
            open(&mut set, kind, payer, as_of);
        }
        Some(set)
    }

    /// Envelopes about the sets, and the files of the run.
    pub fn finish(&mut self, as_of: Day) {
        for (number, kind) in KINDS.iter().enumerate() {
            let name = self.file_name(number);
            let (mut out, mut sets) = (Vec::new(), 0);
            for (place, facilities) in self.payers.get_mut(number).into_iter().flatten().enumerate() {
                for (facility, into) in facilities.iter_mut().enumerate().filter(|(_, into)| into.segments > 0) {
                    close(&mut Set { into, lines: place.is_multiple_of(2), facility });
                }
                let count: u64 = facilities.iter().map(|into| into.sets).sum();
                if count == 0 {
                    continue;
                }
                let end = if place.is_multiple_of(2) { "~\n" } else { "~" };
                let control = self.run * 64 + number as u64 * 8 + place as u64 + 1;
                let payer = payer_id(at::<&str>(PAYERS, place));
                let inbound = matches!(number, REMITTANCE | ELIGIBILITY);
                let (from, to) = if inbound { (payer, "CRH4270") } else { ("CRH4270", payer) };
                out.put(&format!("ISA*00*          *00*          *ZZ*{from:<15}*ZZ*{to:<15}*"));
                let (year, month, day) = as_of.civil();
                out.two((year % 100) as u32);
                out.two(month);
                out.two(day);
                out.put(&format!(
                    "*0600*^*00501*{:09}*0*T*:{end}GS*{}*{from}*{to}*",
                    control % 1_000_000_000,
                    kind.group
                ));
                out.day_packed(as_of);
                out.put(&format!("*0600*{control}*X*{}{end}", kind.guide));
                for into in facilities.iter() {
                    out.extend_from_slice(&into.bytes);
                }
                out.put(&format!("GE*{count}*{control}{end}IEA*1*{:09}{end}", control % 1_000_000_000));
                sets += count;
            }
            if sets > 0 {
                self.files.push((name, out, sets));
            }
        }
    }
}

/// Unique in its group: the facility's number and the set's.
fn control(set: &Set<'_>) -> String {
    let mut control = String::with_capacity(9);
    control.pad(set.facility as u64 + 1, 2);
    control.at_least(set.into.sets, 4);
    control
}

fn open(set: &mut Set<'_>, kind: usize, payer: &str, as_of: Day) {
    let Kind { set: number, guide, .. } = at(&KINDS, kind);
    set.into.sets += 1;
    set.into.level = 0;
    set.into.lines = 0;
    set.into.paid = 0;
    let control = control(set);
    set.seg("ST").e(number).e(&control).e(guide).end();
    let place = set.facility;
    match kind {
        PROFESSIONAL | INSTITUTIONAL => {
            set.seg("BHT").e("0019").e("00").e(&control).day(as_of).e("0600").e("CH").end();
            set.seg("NM1").e("41").e("2").e("CRH BILLING OFFICE").skip(4).e("46").e("CRH4270").end();
            set.seg("PER").e("IC").e("BILLING DESK").e("TE").e("5085550100").end();
            set.seg("NM1").e("40").e("2").caps(payer).skip(4).e("46").e(payer_id(payer)).end();
            set.level(None, "20", true);
            set.seg("PRV").e("BI").e("PXC").e("282N00000X").end();
            set.facility("85", place);
            let home = at(FACILITIES, place);
            set.address(home.street, home.city, home.state, home.zip);
            set.seg("REF").e("EI").e(&tax_id(place)).end();
        }
        REMITTANCE => {
            set.seg("BPR").e("I");
            set.into.paid_at = set.into.bytes.len();
            set.e("C").e("CHK").skip(11).day(as_of).end();
            set.seg("TRN").e("1").e(&format!("{}{control}", payer_id(payer))).e("1004270999").end();
            set.seg("DTM").e("405").day(as_of).end();
            set.seg("N1").e("PR").caps(payer).end();
            set.address("1 Payer Plaza", "Hartford", "CT", "06103");
            set.seg("PER").e("BL").e("CLAIMS").e("TE").e("8605550100").end();
            set.seg("N1").e("PE").caps(at(FACILITIES, place).name).e("XX").e(&facility_npi(place)).end();
            set.seg("REF").e("TJ").e(&tax_id(place)).end();
        }
        ENROLLMENT => {
            set.seg("BGN").e("00").e(&control).day(as_of).e("0600").skip(3).e("4").end();
            set.seg("REF").e("38").e("GRP4270").end();
            set.seg("DTP").e("007").e("D8").day(as_of).end();
            set.seg("N1").e("P5").e("BENEFITS OFFICE (FICTIONAL)").e("FI").e("004270990").end();
            set.seg("N1").e("IN").caps(payer).e("FI").e("004270999").end();
        }
        _ => {
            set.seg("BHT").e("0022").e("11").e(&control).day(as_of).e("0600").end();
            set.level(None, "20", true);
            set.payer("PR", payer);
            set.level(Some(1), "21", true);
            set.facility("1P", place);
        }
    }
}

fn close(set: &mut Set<'_>) {
    if set.into.paid_at > 0 {
        let mut sum = vec![b'*'];
        amount(set.into.paid, &mut sum);
        let place = set.into.paid_at;
        set.into.bytes.splice(place..place, sum);
        set.into.paid_at = 0;
    }
    let control = control(set);
    let count = set.into.segments + 1;
    set.seg("SE").number(count).e(&control).end();
    set.into.segments = 0;
}

/// All that a patient adds to the run.
pub fn all(out: &mut Exchange, mut truth: Option<&mut Truth>, record: &Record, staff: &Staff, as_of: Day) {
    let p = &record.person;
    if p.payer == "Self-pay" {
        return;
    }
    enrollment(out, record, as_of);
    let mut asked = false;
    for (place, claim) in record.claims.iter().enumerate() {
        let Some(encounter) = record.encounters.iter().find(|one| one.id == claim.encounter) else { continue };
        if !asked {
            asked = true;
            eligibility(out, record, claim, staff, as_of);
        }
        bill(out, truth.as_deref_mut(), record, place, claim, encounter, staff, as_of);
        if !claim.cancelled && claim.submitted.plus(14) <= as_of {
            payment(out, record, claim, encounter, staff, as_of);
        }
    }
}

/// The subscriber and, for a child, the child; says the level under which claims stand.
fn who(set: &mut Set<'_>, record: &Record) {
    let p = &record.person;
    let dependent = is_dependent(record);
    let subscriber = set.level(Some(1), "22", dependent);
    set.seg("SBR").e("P").e(if dependent { "" } else { "18" }).e(group(p.payer)).skip(5).e(filing(p.payer)).end();
    if dependent {
        set.guardian_name("IL", record).e("MI").e(&p.plan_id).end();
        set.payer("PR", p.payer);
        set.level(Some(subscriber), "23", false);
        set.seg("PAT").e("19").end();
        set.patient_name("QC", record).end();
        set.home(p);
        set.born(p.birth, p.gender).end();
    } else {
        set.patient_name("IL", record).e("MI").e(&p.plan_id).end();
        set.home(p);
        set.born(p.birth, p.gender).end();
        ssn(set, p);
        set.payer("PR", p.payer);
    }
}

fn ssn(set: &mut Set<'_>, p: &Person) {
    if !p.ssn.is_empty() {
        let digits: String = p.ssn.chars().filter(char::is_ascii_digit).collect();
        set.seg("REF").e("SY").e(&digits).end();
    }
}

fn diagnosis_codes(set: &mut Set<'_>, claim: &Claim) {
    set.seg("HI");
    for (nth, code) in claim.icd10.iter().filter(|code| !code.is_empty()).enumerate() {
        let plain: String = code.chars().filter(|letter| *letter != '.').collect();
        set.raw(&format!("{}:{plain}", if nth == 0 { "ABK" } else { "ABF" }));
    }
    set.end();
}

#[expect(clippy::too_many_arguments, reason = "a claim and whose it is")]
fn bill(
    out: &mut Exchange,
    truth: Option<&mut Truth>,
    record: &Record,
    place: usize,
    claim: &Claim,
    encounter: &Encounter,
    staff: &Staff,
    as_of: Day,
) {
    let p = &record.person;
    let inpatient = encounter.kind.class == "IMP";
    let kind = if inpatient { INSTITUTIONAL } else { PROFESSIONAL };
    let remark = record.chart.remarks.iter().find(|remark| remark.of == place);
    let file = out.file_name(kind);
    let Some(mut set) = out.set(kind, p.payer, facility_of(staff, claim.provider), as_of) else { return };
    who(&mut set, record);
    let frequency = if claim.cancelled { "8" } else { "1" };
    set.seg("CLM").e(&p.account).money(claim.billed).skip(2);
    if inpatient {
        set.raw(&format!("11:A:{frequency}")).e("").e("A").e("Y").e("Y").end();
        let hour = encounter.stop.rem_euclid(86_400) / 60;
        set.seg("DTP").e("096").e("TM").e(&format!("{:02}{:02}", hour / 60, hour % 60)).end();
        set.seg("DTP").e("434").e("RD8").days(claim.from, claim.to).end();
        set.seg("DTP").e("435").e("D8").day(claim.from).end();
        set.seg("CL1").e("1").e("1").e("01").end();
    } else {
        set.raw(&format!("{}:B:{frequency}", claim.place_of_service)).e("Y").e("A").e("Y").e("Y").end();
    }
    set.seg("REF").e("D9").e(claim.id.text()).end();
    set.seg("REF").e("EA").e(&p.mrn).end();
    if let Some(remark) = remark {
        set.seg("NTE").e("ADD").e(record.comment_text(remark)).end();
    }
    diagnosis_codes(&mut set, claim);
    set.staff(if inpatient { "71" } else { "82" }, staff.provider(claim.provider));
    // One line with all of it where there are no others, else the rest in equal parts.
    let lines = i64::from(claim.lines.max(1));
    for line in 0..lines {
        let share = claim.billed / lines + if line == 0 { claim.billed % lines } else { 0 };
        set.seg("LX").number(line.unsigned_abs() + 1).end();
        let code = format!("HC:{}", if line == 0 { claim.cpt } else { "99199" });
        if inpatient {
            set.seg("SV2").e("0120").raw(&code).money(share).e("UN").e("1").end();
        } else {
            set.seg("SV1").raw(&code).money(share).e("UN").e("1").e("").e("").raw("1").end();
        }
        set.seg("DTP").e("472").e("D8").day(claim.from).end();
    }
    if let (Some(truth), Some(remark)) = (truth, remark) {
        let at = At { file: &file, record: claim.id.text(), field: "NTE-2" };
        truth.whole(record, staff, at, record.comment_text(remark), record.comment_spans(remark));
    }
}

fn payment(out: &mut Exchange, record: &Record, claim: &Claim, encounter: &Encounter, staff: &Staff, as_of: Day) {
    let p = &record.person;
    let facility = facility_of(staff, claim.provider);
    let Some(mut set) = out.set(REMITTANCE, p.payer, facility, as_of) else { return };
    set.into.lines += 1;
    set.into.paid += claim.paid;
    let line = set.into.lines;
    set.seg("LX").number(line).end();
    let place = if encounter.kind.class == "IMP" { "11" } else { claim.place_of_service };
    let share = claim.allowed - claim.paid;
    set.seg("CLP").e(&p.account).e("1").money(claim.billed).money(claim.paid).money(share).e(filing(p.payer));
    let control: String = claim.id.text().chars().filter(char::is_ascii_hexdigit).take(16).collect();
    set.caps(&control).e(place).e("1").end();
    set.seg("CAS").e("CO").e("45").money(claim.billed - claim.allowed).end();
    set.seg("CAS").e("PR").e("2").money(share).end();
    set.patient_name("QC", record).e("MI").e(&p.plan_id).end();
    if is_dependent(record) {
        set.guardian_name("IL", record).e("MI").e(&p.plan_id).end();
    }
    set.staff("82", staff.provider(claim.provider));
    set.seg("REF").e("EA").e(&p.mrn).end();
    set.seg("DTM").e("232").day(claim.from).end();
    set.seg("DTM").e("233").day(claim.to).end();
    set.seg("DTM").e("050").day(claim.submitted).end();
}

fn member(set: &mut Set<'_>, record: &Record, subscriber: bool, relation: &str) {
    let p = &record.person;
    set.seg("INS").e(if subscriber { "Y" } else { "N" }).e(relation).e("030").e("XN").e("A").skip(2);
    set.e(if subscriber { "FT" } else { "" }).end();
    set.seg("REF").e("0F").e(&p.plan_id).end();
    set.seg("REF").e("1L").e("GRP4270").end();
}

fn enrollment(out: &mut Exchange, record: &Record, as_of: Day) {
    let p = &record.person;
    if matches!(p.payer, "Medicare" | "Medicaid") {
        return;
    }
    let from = Day::from_ymd(as_of.year(), 1, 1).max(p.birth);
    let Some(mut set) = out.set(ENROLLMENT, p.payer, 0, as_of) else { return };
    if is_dependent(record) {
        member(&mut set, record, true, "18");
        set.guardian_name("IL", record).end();
        set.home(p);
        if let Some(guardian) = &record.chart.guardian {
            set.born(guardian.birth, if guardian.female { "F" } else { "M" }).end();
        }
        set.seg("HD").e("030").e("").e("HLT").e("").e("FAM").end();
        set.seg("DTP").e("348").e("D8").day(from).end();
        member(&mut set, record, false, "19");
    } else {
        member(&mut set, record, true, "18");
    }
    let digits: String = p.ssn.chars().filter(char::is_ascii_digit).collect();
    set.patient_name("IL", record);
    if !digits.is_empty() {
        set.e("34").e(&digits);
    }
    set.end();
    if !is_dependent(record) {
        let phone: String = p.phone.chars().filter(char::is_ascii_digit).collect();
        set.seg("PER").e("IP").e("").e("HP").e(phone.get(phone.len().saturating_sub(10)..).unwrap_or_default());
        if !p.email.is_empty() {
            set.e("EM").e(&p.email);
        }
        set.end();
    }
    set.home(p);
    set.born(p.birth, p.gender).end();
    set.seg("HD").e("030").e("").e("HLT").end();
    set.seg("DTP").e("348").e("D8").day(from).end();
}

fn eligibility(out: &mut Exchange, record: &Record, claim: &Claim, staff: &Staff, as_of: Day) {
    let p = &record.person;
    let Some(mut set) = out.set(ELIGIBILITY, p.payer, facility_of(staff, claim.provider), as_of) else { return };
    let dependent = is_dependent(record);
    let subscriber = set.level(Some(2), "22", dependent);
    set.seg("TRN").e("2").e(claim.id.text()).e("9CRH004270").end();
    if dependent {
        set.guardian_name("IL", record).e("MI").e(&p.plan_id).end();
        set.level(Some(subscriber), "23", false);
        set.patient_name("03", record).end();
    } else {
        set.patient_name("IL", record).e("MI").e(&p.plan_id).end();
        ssn(&mut set, p);
    }
    set.seg("REF").e("EJ").e(&p.account).end();
    set.home(p);
    set.born(p.birth, p.gender).end();
    set.seg("INS").e(if dependent { "N" } else { "Y" }).e(if dependent { "19" } else { "18" }).end();
    set.seg("DTP").e("291").e("D8").day(claim.from).end();
    set.seg("EB").e("1").e("").e("30").e("").caps(p.payer).end();
    set.seg("EB").e("C").e("").e("30").skip(2).e("23").e("500").end();
}
