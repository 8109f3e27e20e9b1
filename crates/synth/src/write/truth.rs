//! What a test may compare with: who everybody is, and where each of them is named.

use super::fhir::Json;
use crate::ink::{Ink, ascii_capitals};
use crate::record::{Look, Record, Span, Who};
use crate::world::staff::Staff;

#[derive(Default)]
pub struct Truth {
    pub people: Vec<u8>,
    pub patients: u64,
    pub mentions: Vec<u8>,
    pub count: u64,
}

/// Where a text stands.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// Relative to the folder of all.
    pub file: &'a str,
    /// The key of the record in the file.
    pub record: &'a str,
    pub field: &'a str,
}

/// One mention: where it begins in its text, how it is written there, and what is meant.
#[derive(Clone, Copy)]
pub struct Mention<'a> {
    pub start: u32,
    pub spelt: &'a str,
    pub value: &'a str,
    pub kind: &'static str,
    pub who: Who,
    pub look: Look,
}

impl Mention<'_> {
    fn of(span: &Span) -> Self {
        Self { start: span.start, spelt: "", value: "", kind: span.kind, who: span.who, look: span.look }
    }
}

impl Truth {
    pub fn clear(&mut self) {
        self.people.clear();
        self.mentions.clear();
        self.patients = 0;
        self.count = 0;
    }

    /// The spans of `text`, of which the bytes `from..to` stand at this place.
    pub fn text(&mut self, record: &Record, staff: &Staff, at: At<'_>, text: &str, spans: &[Span], part: (u32, u32)) {
        let (from, to) = part;
        for span in spans.iter().filter(|span| span.start >= from && span.end <= to) {
            let spelt = text.get(span.start as usize..span.end as usize).unwrap_or_default();
            let value = record.values.get(span.value.0 as usize..span.value.1 as usize).unwrap_or_default();
            self.one(record, staff, at, &Mention { start: span.start - from, spelt, value, ..Mention::of(span) });
        }
    }

    pub fn one(&mut self, record: &Record, staff: &Staff, at: At<'_>, mention: &Mention<'_>) {
        let Mention { start, spelt, value, kind, who, look } = *mention;
        let mut json = Json(&mut self.mentions);
        json.raw(r#"{"file":"#).string(at.file).raw(r#","record":"#).string(at.record);
        json.raw(r#","field":"#).string(at.field).raw(r#","start":"#);
        json.0.int(u64::from(start));
        json.raw(r#","end":"#);
        json.0.int(u64::from(start) + spelt.len() as u64);
        json.raw(r#","kind":""#).raw(kind).raw(r#"","role":""#);
        json.raw(if who == Who::Employer { "organisation" } else { who.role() });
        json.raw(r#"","patient_id":""#).raw(record.person.id.text()).raw(r#"","subject":"#);
        subject(&mut json, record, staff, who);
        json.raw(r#","form":""#).raw(look.form).raw(r#"","text":"#).string(spelt);
        json.raw(r#","value":"#).string(value).raw(r#","misspelt":"#);
        json.raw(if look.misspelt { "true" } else { "false" }).raw("}\n");
        self.count += 1;
    }

    pub fn whole(&mut self, record: &Record, staff: &Staff, at: At<'_>, text: &str, spans: &[Span]) {
        self.text(record, staff, at, text, spans, (0, text.len() as u32));
    }

    pub fn patient(&mut self, record: &Record) {
        let (p, chart) = (&record.person, &record.chart);
        self.patients += 1;
        let mut json = Json(&mut self.people);
        json.raw(r#"{"patient_id":""#).raw(p.id.text()).raw(r#"","duplicate_of":"#);
        match &p.duplicate_of {
            Some(of) => json.string(of.text()),
            None => json.raw("null"),
        };
        json.raw(r#","mrn":"#).string(&p.mrn).raw(r#","older_mrns":["#);
        for (place, old) in chart.old.iter().enumerate() {
            json.raw(if place > 0 { "," } else { "" }).raw(r#"{"mrn":"#).string(&old.mrn).raw(r#","merged":"#);
            json.time(old.merged).raw("}");
        }
        json.raw("]");
        let texts: [(&str, &str); 20] = [
            ("ssn", &p.ssn),
            ("payer", p.payer),
            ("member_id", &p.plan_id),
            ("account_number", &p.account),
            ("first_name", &p.first),
            ("middle_name", &p.middle),
            ("last_name", &p.last),
            ("suffix", chart.suffix),
            ("nickname", chart.nickname),
            ("maiden_name", &p.maiden),
            ("gender", p.gender),
            ("street", &p.street),
            ("city", p.place.city),
            ("state", p.place.state),
            ("zip", &p.zip),
            ("phone", &p.phone),
            ("fax", &p.fax),
            ("email", &p.email),
            ("employer", p.employer),
            ("drivers_licence", &p.licence),
        ];
        for (name, text) in texts {
            json.raw(",\"").raw(name).raw("\":").string(text);
        }
        json.raw(r#","birth_date":"#).day(p.birth).raw(r#","death_date":"#);
        match p.death {
            Some(death) => json.day(death),
            None => json.raw("null"),
        };
        let mut capitals = String::new();
        json.raw(r#","x12_name":{"#);
        for (place, (name, text)) in
            [("last", &p.last), ("first", &p.first), ("middle", &p.middle)].into_iter().enumerate()
        {
            capitals.clear();
            ascii_capitals(text, &mut capitals);
            json.raw(if place > 0 { ",\"" } else { "\"" }).raw(name).raw("\":").string(&capitals);
        }
        json.raw(r#"},"contact":{"name":"#).string(&p.contact).raw(r#","relation":"#).string(p.relation.1);
        json.raw(r#","phone":"#).string(&p.contact_phone).raw(r#"},"guardian":"#);
        match &chart.guardian {
            Some(guardian) => {
                json.raw(r#"{"first_name":"#).string(&guardian.given).raw(r#","last_name":"#).string(&guardian.family);
                json.raw(r#","relation":"#).string(guardian.relation().1).raw(r#","birth_date":"#).day(guardian.birth);
                json.raw(r#","is_subscriber":"#);
                json.raw(if super::x12::is_dependent(record) { "true}" } else { "false}" })
            }
            None => json.raw("null"),
        };
        json.raw(r#","encounters":["#);
        for (place, encounter) in record.encounters.iter().enumerate() {
            json.raw(if place > 0 { "," } else { "" }).raw(r#"{"encounter_id":""#).raw(encounter.id.text());
            json.raw(r#"","start":"#).time(encounter.start).raw(r#","stop":"#).time(encounter.stop).raw("}");
        }
        json.raw("]}\n");
    }
}

/// The patient's id, that of a relative as `<patient_id>#contact`, a provider's NPI, an organisation's name.
fn subject(json: &mut Json<'_>, record: &Record, staff: &Staff, who: Who) {
    let patient = record.person.id.text();
    match who {
        Who::Patient => json.string(patient),
        Who::Guardian if record.chart.guardian.as_ref().is_some_and(|guardian| !guardian.is_contact) => {
            json.raw("\"").raw(patient).raw("#guardian\"")
        }
        Who::Contact | Who::Guardian => json.raw("\"").raw(patient).raw("#contact\""),
        Who::Kin => json.raw("\"").raw(patient).raw("#kin\""),
        Who::Provider(place) => json.string(&staff.provider(place).npi),
        Who::Employer => json.string(record.person.employer),
        Who::Facility(place) => json.string(staff.facility(place).name),
    };
}
