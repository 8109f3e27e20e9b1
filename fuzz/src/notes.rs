//! Notes in plain text, and the names of their files.

use arrow_array::cast::AsArray;
use cordon_formats::{NameTemplate, NoteEncoding, NotesBatch, NotesOptions, NotesReader, Reject, RejectReason};

use crate::pieces::{Dribble, dice, sizes};

const MOST: usize = 4096;

/// A template, the name of a file, and what stands in it: a line, a line, and the rest.
fn parts(data: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    (next(), next(), next())
}

pub fn read(data: &[u8]) {
    let (template, name, text) = parts(data);
    let (template, name) = (String::from_utf8_lossy(template), String::from_utf8_lossy(name));
    let parsed = NameTemplate::parse(&template);
    if let Ok(parsed) = &parsed {
        names(parsed, &name, dice(data));
    }
    let template = parsed.is_ok().then(|| template.into_owned());
    for encoding in [NoteEncoding::Utf8, NoteEncoding::Windows1252] {
        let options = NotesOptions { name: template.clone(), encoding, max_bytes: MOST };
        notes(&options, &name, text, sizes(data).0);
    }
}

/// What stands around the placeholders and the values of a name are the name; and a name made of values is taken apart again.
fn names(template: &NameTemplate, name: &str, dice: u64) {
    let columns: Vec<&str> = template.columns().collect();
    let filled = |values: &[&str]| {
        let (mut out, mut rest) = (String::new(), template.text());
        for (column, value) in columns.iter().zip(values) {
            let (before, behind) = rest.split_once(&format!("{{{column}}}")).expect("a placeholder");
            out.extend([before, value]);
            rest = behind;
        }
        out + rest
    };
    assert!(!columns.is_empty() && !columns.contains(&"text") && !columns.contains(&"file_name"));
    if let Some(values) = template.values(name) {
        assert!(values.len() == columns.len() && values.iter().all(|value| !value.is_empty()));
        assert!(filled(&values) == name, "a part of the name is nowhere");
    }
    // No text of the template holds these characters, or a value could end early.
    let marks = ["\u{1F9B7}", "\u{1F9B7}\u{1F9B7}", "\u{1F9B8}"];
    if marks.iter().all(|mark| !template.text().contains(mark)) {
        let values: Vec<&str> = (0..columns.len()).map(|at| marks[(dice as usize + at) % marks.len()]).collect();
        assert!(template.values(&filled(&values)) == Some(values), "values are taken apart otherwise");
    }
}

fn reader(options: &NotesOptions) -> NotesReader {
    NotesReader::new(options.clone()).unwrap_or_else(|error| panic!("{error}"))
}

/// One note is read: the reject, or the row of the batch.
fn one(reader: &mut NotesReader, name: &str, text: &[u8], chunk: usize) -> Option<Option<Reject>> {
    reader.read(name, Dribble(text, chunk)).ok()
}

fn cells(batch: &NotesBatch) -> Vec<Vec<String>> {
    let row = |row: usize| {
        let cells = batch.batch.columns().iter().map(|column| column.as_string_view().value(row).to_owned());
        cells.chain([String::from_utf8_lossy(batch.rows.raw(row).expect("its bytes")).into_owned()]).collect()
    };
    (0..batch.rows.len()).map(row).collect()
}

fn notes(options: &NotesOptions, name: &str, text: &[u8], chunk: usize) {
    let mut alone = reader(options);
    let Some(reject) = one(&mut alone, name, text, usize::MAX) else {
        // The name has another form; nothing of the file is anywhere.
        let template = options.name.as_deref().map(|text| NameTemplate::parse(text).expect("as before"));
        assert!(template.is_some_and(|template| template.values(name).is_none()) && alone.waiting() == (0, 0));
        assert!(alone.take().is_ok_and(|batch| batch.is_none()));
        return;
    };
    let batch = alone.take().unwrap_or_else(|error| panic!("{error}"));
    match (&reject, &batch) {
        (Some(reject), None) => {
            assert!(reject.raw.len() + reject.cut as usize == text.len() && text.starts_with(&reject.raw));
            let is_long = matches!(reject.reason, RejectReason::RecordTooLong { limit } if limit == MOST);
            assert!(is_long == (text.len() > MOST), "set aside for another reason");
            let is_plain =
                std::str::from_utf8(text).is_ok_and(|text| !text.contains('\0') && !text.starts_with('\u{FEFF}'));
            assert!(is_long || !is_plain, "a text is set aside");
        }
        (None, Some(batch)) => {
            assert!(batch.rows.len() == 1 && batch.rows.raw(0) == Some(text), "its bytes are others");
            let cells = &cells(batch)[0];
            assert!(cells[0] == name && !cells[1].contains('\0') && cells.len() == alone.header().len() + 1);
            match std::str::from_utf8(text) {
                Ok(text) => assert!(cells[1] == text.strip_prefix('\u{FEFF}').unwrap_or(text), "the text is another"),
                // Never half read: what is no UTF-8 is of a declared encoding, or has a mark.
                Err(_) => assert!(
                    options.encoding == NoteEncoding::Windows1252
                        || text.starts_with(&[0xFF, 0xFE])
                        || text.starts_with(&[0xFE, 0xFF]),
                    "read in an encoding that nobody declared"
                ),
            }
        }
        _ => panic!("a note is both a row and a reject, or nowhere"),
    }
    // In pieces, and with others before and behind it, it is read as alone.
    let mut among = reader(options);
    one(&mut among, name, b"one\r\n", 1);
    let again = one(&mut among, name, text, chunk).expect("as before");
    one(&mut among, name, b"two", 2);
    assert!(again == reject, "another reject in pieces");
    let among = among.take().unwrap_or_else(|error| panic!("{error}")).expect("two others at least");
    let rows = cells(&among);
    let own: Vec<Vec<String>> = batch.iter().flat_map(cells).collect();
    assert!(rows.len() == 2 + own.len() && rows[1..rows.len() - 1] == own[..], "another row among others");
    assert!(rows[0][1] == "one\r\n" && rows[rows.len() - 1][1] == "two");
}
