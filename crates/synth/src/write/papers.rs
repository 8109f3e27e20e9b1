//! A file a thing: plain-text notes and C-CDA documents.

use super::truth::{At, Truth};
use crate::day::Day;
use crate::ink::Ink;
use crate::record::{Note, Record};
use crate::world::staff::Staff;

/// The files of a run of patients: their names, and where in `bytes` each of them ends.
#[derive(Default)]
pub struct Papers {
    pub bytes: Vec<u8>,
    pub files: Vec<(String, usize)>,
}

impl Papers {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.files.clear();
    }

    /// What was written since the last file is a file of this name.
    pub fn end(&mut self, name: String) {
        self.files.push((name, self.bytes.len()));
    }

    pub fn each(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let starts = std::iter::once(0).chain(self.files.iter().map(|(_, end)| *end));
        self.files
            .iter()
            .zip(starts)
            .map(|((name, end), start)| (name.as_str(), self.bytes.get(start..*end).unwrap_or_default()))
    }
}

/// `notes/00012345_003_20240131.txt`: record number, number of the note, day.
fn file_name(record: &Record, nth: usize, note: &Note) -> String {
    let mut name = String::with_capacity(40);
    name.put("notes/");
    name.put(&record.person.mrn);
    name.ascii(b'_');
    name.at_least(nth as u64 + 1, 3);
    name.ascii(b'_');
    name.day_packed(Day::of(note.at));
    name.put(".txt");
    name
}

pub fn notes(papers: &mut Papers, mut truth: Option<&mut Truth>, record: &Record, staff: &Staff) {
    for (nth, note) in record.all_notes().into_iter().enumerate() {
        let text = record.note_text(note);
        let name = file_name(record, nth, note);
        papers.bytes.put(text);
        if let Some(truth) = &mut truth {
            let at = At { file: &name, record: note.id.text(), field: "" };
            truth.whole(record, staff, at, text, record.note_spans(note));
        }
        papers.end(name);
    }
}
