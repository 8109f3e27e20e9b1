//! One patient's whole record, generated from the seed and the patient's number alone.
//!
//! The vectors and strings are reused from patient to patient.

pub mod chart;
mod course;
mod letters;
mod notes;
mod pen;
mod person;

pub use chart::Chart;
pub use letters::RADIOLOGY;
pub use notes::NoteKind;
pub use pen::{Look, Span, Who};
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

/// A short text that is no note: of an encounter or a claim, by its place among these.
pub struct Comment {
    pub of: usize,
    pub text: Range<usize>,
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
    pub chart: Chart,
    /// The texts of notes, letters and comments, one after another.
    pub text: String,
    pub spans: Vec<Span>,
    /// What spans mean.
    pub values: String,
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
        self.values.clear();
        self.chart.clear();
        self.person.generate(number, options);
        course::generate(self, options, staff);
        if options.notes {
            notes::generate(self, options, staff);
        }
        if options.formats.charts() || options.truth {
            chart::generate(self, options);
            if options.notes {
                letters::generate(self, options, staff);
            }
        }
    }

    /// All notes, those of the tables and the letters, by the time they were written.
    pub fn all_notes(&self) -> Vec<&Note> {
        let mut all: Vec<&Note> = self.notes.iter().chain(&self.chart.letters).collect();
        all.sort_by_key(|note| note.at);
        all
    }

    pub fn comment_text(&self, comment: &Comment) -> &str {
        self.text.get(comment.text.clone()).unwrap_or_default()
    }

    pub fn comment_spans(&self, comment: &Comment) -> &[Span] {
        self.spans.get(comment.spans.clone()).unwrap_or_default()
    }

    pub fn note_text(&self, note: &Note) -> &str {
        self.text.get(note.text.clone()).unwrap_or_default()
    }

    pub fn note_spans(&self, note: &Note) -> &[Span] {
        self.spans.get(note.spans.clone()).unwrap_or_default()
    }
}
