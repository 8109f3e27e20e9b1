//! The tables' rows, written once for every tabular format: a format is a [`Sink`].

use crate::day::Day;
use crate::id::Id;
use crate::record::{Claim, Device, Diagnosis, Encounter, Medication, Note, Observation, Operation, Person, Record};
use crate::world::clinical::Test;
use crate::world::staff::Staff;

/// Receives the fields of a row from left to right, then its end.
pub trait Sink {
    /// A key: never dirty.
    fn id(&mut self, id: &Id);
    /// A code or number in a fixed alphabet without commas or quotes. May be lost.
    fn code(&mut self, code: &str);
    /// The same, where the reader cannot do without it.
    fn fixed_code(&mut self, code: &str);
    /// What a person typed.
    fn text(&mut self, text: &str);
    /// Long text with line ends.
    fn long_text(&mut self, text: &str);
    fn date(&mut self, day: Option<Day>);
    fn time(&mut self, at: Option<i64>);
    fn integer(&mut self, value: u32);
    fn decimal(&mut self, units: i64, scale: u32);
    fn end(&mut self);
}

pub fn patient<S: Sink>(sink: &mut S, p: &Person) {
    sink.id(&p.id);
    sink.fixed_code(&p.mrn);
    sink.code(&p.ssn);
    sink.text(&p.first);
    sink.text(&p.middle);
    sink.text(&p.last);
    sink.text(&p.maiden);
    sink.date(Some(p.birth));
    sink.date(p.death);
    sink.code(p.gender);
    sink.text(p.race.display);
    sink.text(p.ethnicity.display);
    sink.code(p.marital);
    sink.code(p.language);
    sink.text(&p.street);
    sink.text(p.place.city);
    sink.text(p.place.county);
    sink.code(p.place.state);
    sink.code(&p.zip);
    sink.decimal(p.latitude, 6);
    sink.decimal(p.longitude, 6);
    sink.code(&p.phone);
    sink.code(&p.fax);
    sink.code(&p.email);
    sink.code(&p.plan_id);
    sink.code(&p.account);
    sink.code(&p.licence);
    sink.code(&p.passport);
    sink.code(&p.plate);
    sink.code(&p.vin);
    sink.code(&p.device_serial);
    sink.code(&p.portal);
    sink.code(&p.ip);
    sink.code(&p.fingerprint);
    sink.code(&p.photo);
    sink.text(p.employer);
    sink.text(&p.contact);
    sink.code(&p.contact_phone);
    sink.end();
}

pub fn encounter<S: Sink>(sink: &mut S, p: &Person, e: &Encounter, staff: &Staff) {
    let provider = staff.provider(e.provider);
    sink.id(&e.id);
    sink.id(&p.id);
    sink.time(Some(e.start));
    sink.time(Some(e.stop));
    sink.fixed_code(e.kind.class);
    sink.fixed_code(e.kind.snomed);
    sink.text(e.kind.display);
    sink.code(e.reason.map_or("", |reason| reason.snomed));
    sink.text(e.reason.map_or("", |reason| reason.display));
    sink.text(&provider.name);
    sink.fixed_code(&provider.npi);
    sink.text(staff.facility(e.provider).name);
    sink.decimal(e.cost, 2);
    sink.end();
}

pub fn condition<S: Sink>(sink: &mut S, p: &Person, d: &Diagnosis) {
    sink.id(&d.id);
    sink.id(&p.id);
    sink.id(&d.encounter);
    sink.date(Some(d.onset));
    sink.date(d.abatement);
    sink.time(Some(d.recorded));
    sink.fixed_code(d.what.snomed);
    sink.fixed_code(d.what.icd10);
    sink.text(d.what.display);
    sink.fixed_code(if d.abatement.is_some() { "resolved" } else { "active" });
    sink.end();
}

/// The bounds that hold for this patient.
pub fn range(test: &Test, female: bool) -> (Option<i64>, Option<i64>) {
    let (low, high) = if female { test.female } else { test.male };
    ((low >= 0).then_some(low), (high >= 0).then_some(high))
}

/// `4.0-5.6`, `<5.6` for "not above", `>60` for "not below".
pub fn range_text(test: &Test, female: bool, out: &mut impl crate::ink::Ink) {
    match range(test, female) {
        (Some(low), Some(high)) => {
            out.fixed(low, test.scale);
            out.ascii(b'-');
            out.fixed(high, test.scale);
        }
        (None, Some(high)) => {
            out.ascii(b'<');
            out.fixed(high + 1, test.scale);
        }
        (Some(low), None) => {
            out.ascii(b'>');
            out.fixed(low - 1, test.scale);
        }
        (None, None) => {}
    }
}

/// HL7 table 0078: H, L, N.
pub fn flag(test: &Test, female: bool, value: i64) -> &'static str {
    match range(test, female) {
        (None, None) => "",
        (Some(low), _) if value < low => "L",
        (_, Some(high)) if value > high => "H",
        _ => "N",
    }
}

pub fn observation<S: Sink>(sink: &mut S, p: &Person, o: &Observation, scratch: &mut String) {
    sink.id(&o.id);
    sink.id(&p.id);
    sink.id(&o.encounter);
    sink.time(Some(o.at));
    sink.fixed_code(if o.test.vital { "vital-signs" } else { "laboratory" });
    sink.fixed_code(o.test.loinc);
    sink.text(o.test.display);
    sink.decimal(o.value, o.test.scale);
    sink.fixed_code(o.test.unit);
    scratch.clear();
    range_text(o.test, p.female, scratch);
    sink.code(scratch);
    sink.code(flag(o.test, p.female, o.value));
    sink.end();
}

pub fn medication<S: Sink>(sink: &mut S, p: &Person, m: &Medication, staff: &Staff) {
    sink.id(&m.id);
    sink.id(&p.id);
    sink.id(&m.encounter);
    sink.time(Some(m.start));
    sink.time(m.stop);
    sink.fixed_code(m.drug.rxnorm);
    sink.text(m.drug.display);
    sink.text(m.drug.dose);
    sink.integer(m.dispenses);
    sink.decimal(m.drug.cost * i64::from(m.dispenses), 2);
    sink.code(m.reason.snomed);
    sink.text(m.reason.display);
    sink.fixed_code(&staff.provider(m.provider).npi);
    sink.end();
}

pub fn procedure<S: Sink>(sink: &mut S, p: &Person, o: &Operation, staff: &Staff) {
    sink.id(&o.id);
    sink.id(&p.id);
    sink.id(&o.encounter);
    sink.time(Some(o.start));
    sink.time(Some(o.stop));
    sink.fixed_code(o.what.snomed);
    sink.text(o.what.display);
    sink.fixed_code(o.what.cpt);
    sink.text(o.what.billed_as);
    sink.decimal(o.cost, 2);
    sink.fixed_code(&staff.provider(o.provider).npi);
    sink.end();
}

pub fn claim<S: Sink>(sink: &mut S, p: &Person, c: &Claim, staff: &Staff) {
    sink.id(&c.id);
    sink.id(&p.id);
    sink.id(&c.encounter);
    sink.code(&p.plan_id);
    sink.code(&p.account);
    sink.text(p.payer);
    sink.date(Some(c.from));
    sink.date(Some(c.to));
    sink.date(Some(c.submitted));
    for code in c.icd10 {
        sink.code(code);
    }
    sink.fixed_code(c.cpt);
    sink.fixed_code(c.place_of_service);
    sink.integer(c.lines);
    sink.decimal(c.billed, 2);
    sink.decimal(c.allowed, 2);
    sink.decimal(c.paid, 2);
    sink.decimal(c.allowed - c.paid, 2);
    sink.fixed_code(&staff.provider(c.provider).npi);
    sink.fixed_code(if c.cancelled { "cancelled" } else { "active" });
    sink.end();
}

pub fn device<S: Sink>(sink: &mut S, p: &Person, d: &Device) {
    sink.id(&d.id);
    sink.id(&p.id);
    sink.id(&d.encounter);
    sink.time(Some(d.start));
    sink.fixed_code(d.kind.snomed);
    sink.text(d.kind.display);
    sink.text(d.kind.manufacturer);
    sink.code(&d.udi);
    sink.code(&d.lot);
    sink.code(&d.serial);
    sink.date(Some(d.made));
    sink.date(Some(d.expires));
    sink.end();
}

pub fn note<S: Sink>(sink: &mut S, record: &Record, n: &Note, staff: &Staff) {
    sink.id(&n.id);
    sink.id(&n.encounter);
    sink.id(&record.person.id);
    sink.text(&staff.provider(n.provider).name);
    sink.time(Some(n.at));
    sink.fixed_code(n.kind.name);
    sink.fixed_code(n.kind.loinc);
    sink.long_text(record.note_text(n));
    sink.end();
}

/// All rows of a patient, each to the sink of its table, in the order of the tables.
pub fn all<S: Sink>(sinks: &mut [S; 9], record: &Record, staff: &Staff, scratch: &mut String) {
    let [patients, encounters, conditions, observations, medications, procedures, claims, devices, notes] = sinks;
    let p = &record.person;
    patient(patients, p);
    record.encounters.iter().for_each(|e| encounter(encounters, p, e, staff));
    record.diagnoses.iter().for_each(|d| condition(conditions, p, d));
    record.observations.iter().for_each(|o| observation(observations, p, o, scratch));
    record.medications.iter().for_each(|m| medication(medications, p, m, staff));
    record.operations.iter().for_each(|o| procedure(procedures, p, o, staff));
    record.claims.iter().for_each(|c| claim(claims, p, c, staff));
    record.devices.iter().for_each(|d| device(devices, p, d));
    record.notes.iter().for_each(|n| note(notes, record, n, staff));
}
