//! One patient's whole record, generated from the seed and the patient's number alone.
//!
//! The vectors and strings are reused from patient to patient.

mod course;
mod notes;
mod person;

pub use notes::{NoteKind, Span};
pub use person::Person;

use std::ops::Range;

use crate::day::Day;
use crate::id::Id;
use crate::options::SynthOptions;
use crate::world::clinical::{Condition, DeviceKind, Drug, Procedure, Test, VisitKind};
use crate::world::staff::Staff;

pub struct Encounter {
    pub id: Id,
    pub kind: &'static VisitKind,
    /// Seconds, UTC.
    pub start: i64,
    pub stop: i64,
    pub reason: Option<&'static Condition>,
    /// Its place in the staff.
    pub provider: usize,
    /// Cents.
    pub cost: i64,
}

pub struct Diagnosis {
    pub id: Id,
    pub encounter: Id,
    pub onset: Day,
    pub abatement: Option<Day>,
    pub recorded: i64,
    pub what: &'static Condition,
}

pub struct Observation {
    pub id: Id,
    pub encounter: Id,
    pub at: i64,
    pub test: &'static Test,
    /// In units of 10^-scale of the test.
    pub value: i64,
}

pub struct Medication {
    pub id: Id,
    pub encounter: Id,
    pub start: i64,
    pub stop: Option<i64>,
    pub drug: &'static Drug,
    pub reason: &'static Condition,
    pub dispenses: u32,
    pub provider: usize,
}

pub struct Operation {
    pub id: Id,
    pub encounter: Id,
    pub start: i64,
    pub stop: i64,
    pub what: &'static Procedure,
    pub cost: i64,
    pub provider: usize,
}

pub struct Claim {
    pub id: Id,
    pub encounter: Id,
    pub from: Day,
    pub to: Day,
    pub submitted: Day,
    pub icd10: [&'static str; 3],
    pub cpt: &'static str,
    pub place_of_service: &'static str,
    pub lines: u32,
    pub billed: i64,
    pub allowed: i64,
    pub paid: i64,
    pub provider: usize,
    pub cancelled: bool,
}

pub struct Device {
    pub id: Id,
    pub encounter: Id,
    pub start: i64,
    pub kind: &'static DeviceKind,
    pub udi: String,
    pub identifier: String,
    pub lot: String,
    pub serial: String,
    pub made: Day,
    pub expires: Day,
}

pub struct Note {
    pub id: Id,
    pub encounter: Id,
    pub at: i64,
    pub kind: &'static NoteKind,
    pub provider: usize,
    /// Where in [`Record::text`].
    pub text: Range<usize>,
    /// Which of [`Record::spans`].
    pub spans: Range<usize>,
}

#[derive(Default)]
pub struct Record {
    pub person: Person,
    pub encounters: Vec<Encounter>,
    pub diagnoses: Vec<Diagnosis>,
    pub observations: Vec<Observation>,
    pub medications: Vec<Medication>,
    pub operations: Vec<Operation>,
    pub claims: Vec<Claim>,
    pub devices: Vec<Device>,
    pub notes: Vec<Note>,
    /// The texts of the notes, one after another.
    pub text: String,
    pub spans: Vec<Span>,
}

impl Record {
    /// Makes this the record of patient `number`.
    pub fn generate(&mut self, number: u64, options: &SynthOptions, staff: &Staff) {
        self.encounters.clear();
        self.diagnoses.clear();
        self.observations.clear();
        self.medications.clear();
        self.operations.clear();
        self.claims.clear();
        self.devices.clear();
        self.notes.clear();
        self.text.clear();
        self.spans.clear();
        self.person.generate(number, options);
        course::generate(self, options, staff);
        if options.notes {
            notes::generate(self, options, staff);
        }
    }

    pub fn note_text(&self, note: &Note) -> &str {
        self.text.get(note.text.clone()).unwrap_or_default()
    }

    pub fn note_spans(&self, note: &Note) -> &[Span] {
        self.spans.get(note.spans.clone()).unwrap_or_default()
    }
}
