//! Plain text files: what their names give, what is text, and what is put aside.

use arrow_array::cast::AsArray;
use cordon_formats::{FormatError, NameTemplate, NoteEncoding, NotesOptions, NotesReader, RejectReason};

fn reader(name: Option<&str>, encoding: NoteEncoding) -> NotesReader {
    NotesReader::new(NotesOptions { name: name.map(str::to_owned), encoding, ..NotesOptions::default() }).unwrap()
}

/// The text of one file, or why it is none.
fn text(bytes: &[u8], encoding: NoteEncoding) -> Result<String, RejectReason> {
    let mut reader = reader(None, encoding);
    if let Some(reject) = reader.read("a.txt", bytes).unwrap() {
        assert!(reject.raw == bytes, "a reject keeps its bytes");
        assert!(reader.take().unwrap().is_none(), "what is put aside is no row");
        return Err(reject.reason);
    }
    let batch = reader.take().unwrap().unwrap();
    assert_eq!(batch.rows.raw(0), Some(bytes), "a row keeps its file's bytes");
    Ok(batch.batch.column(1).as_string_view().value(0).to_owned())
}

#[test]
fn names_are_taken_apart_or_refused() {
    let template = NameTemplate::parse("{mrn}_{number}_{date}.txt").unwrap();
    assert_eq!(template.columns().collect::<Vec<_>>(), ["mrn", "number", "date"]);
    assert_eq!(template.values("0007_12_2024-01-05.txt"), Some(vec!["0007", "12", "2024-01-05"]));
    // The last value may hold what parts the others: its rule sees it whole.
    assert_eq!(template.values("0007_12_2024_01.txt"), Some(vec!["0007", "12", "2024_01"]));
    for name in ["0007_12.txt", "0007_12_2024.rtf", "_12_2024.txt", "0007__2024.txt", "0007_12_.txt", "", ".txt"] {
        assert_eq!(template.values(name), None, "{name}");
    }
    let framed = NameTemplate::parse("note-{id}").unwrap();
    assert_eq!(framed.values("note-Doe.txt"), Some(vec!["Doe.txt"]));
    assert_eq!(framed.values("Note-7"), None);
    for bad in
        ["", "a.txt", "{", "{}", "{a}{b}", "{a}_{a}", "{text}", "{a b}", "{a}}", "x}{a}", "f/{a}", "{a}_{", "{1}"]
    {
        assert!(NameTemplate::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_name_of_another_form_is_refused_without_being_said() {
    let mut reader = reader(Some("{mrn}_{date}.txt"), NoteEncoding::Utf8);
    let error = reader.read("CANARY Doe.txt", &b"text"[..]).err().unwrap();
    assert!(matches!(error, FormatError::NameOutsideTemplate { .. }));
    assert!(error.to_string().contains("{mrn}_{date}.txt") && !error.to_string().contains("CANARY"));
    assert!(reader.take().unwrap().is_none());
}

#[test]
fn marks_say_the_encoding_and_the_rest_is_as_declared() {
    use NoteEncoding::{Utf8, Windows1252};
    let wide = |mark: [u8; 2], big: bool| {
        let units = "Ann Müller €".encode_utf16();
        mark.into_iter().chain(units.flat_map(move |unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }))
    };
    for encoding in [Utf8, Windows1252] {
        assert_eq!(text("\u{feff}Müller".as_bytes(), encoding).unwrap(), "Müller");
        assert_eq!(text(&wide([0xFF, 0xFE], false).collect::<Vec<_>>(), encoding).unwrap(), "Ann Müller €");
        assert_eq!(text(&wide([0xFE, 0xFF], true).collect::<Vec<_>>(), encoding).unwrap(), "Ann Müller €");
        assert_eq!(text(b"", encoding).unwrap(), "");
    }
    assert_eq!(text("Müller\r\n".as_bytes(), Utf8).unwrap(), "Müller\r\n");
    assert_eq!(text(b"M\xFCller \x80", Windows1252).unwrap(), "Müller €");
    // What is UTF-8 is that, whatever is declared.
    assert_eq!(text("Müller".as_bytes(), Windows1252).unwrap(), "Müller");
    assert_eq!(text(b"M\xFCller", Utf8), Err(RejectReason::InvalidUtf8 { column: 0 }));
    // UTF-16 without its mark, cut UTF-16, UTF-32, a program.
    let bare: Vec<u8> = wide([0xFF, 0xFE], false).skip(2).collect();
    assert!(text(&bare, Utf8).is_err());
    assert_eq!(text(b"J\0o\0h\0n\0", Utf8), Err(RejectReason::NotText));
    assert_eq!(text(b"J\0o\0h\0n\0", Windows1252), Err(RejectReason::NotText));
    assert_eq!(text(b"\xFF\xFEJ\0o", Utf8), Err(RejectReason::NotText));
    assert_eq!(text(b"\xFF\xFE\x00\xD8J\0", Utf8), Err(RejectReason::NotText));
    assert_eq!(text(b"\xFF\xFE\0\0J\0\0\0", Utf8), Err(RejectReason::NotText));
}

#[test]
fn many_notes_are_one_batch_and_each_keeps_its_place() {
    let mut reader = reader(Some("{mrn}_{number}.txt"), NoteEncoding::Utf8);
    assert_eq!(reader.header(), ["file_name", "text", "mrn", "number"]);
    for note in 0..1000 {
        let broken = note % 100 == 7;
        let bytes = if broken { b"\xFFbroken".to_vec() } else { format!("note {note}").into_bytes() };
        let reject = reader.read(&format!("{}_{note}.txt", note % 9), bytes.as_slice()).unwrap();
        assert_eq!(reject.is_some(), broken);
    }
    assert_eq!(reader.waiting().0, 990);
    let batch = reader.take().unwrap().unwrap();
    assert_eq!((batch.batch.num_rows(), batch.batch.num_columns()), (990, 4));
    let column = |at: usize| batch.batch.column(at).as_string_view();
    for row in 0..990 {
        let number = column(3).value(row);
        assert_eq!(column(1).value(row), format!("note {number}"));
        assert_eq!(batch.rows.raw(row), Some(format!("note {number}").as_bytes()));
        assert_eq!(column(0).value(row), format!("{}_{number}.txt", column(2).value(row)));
    }
    assert!(reader.take().unwrap().is_none());
    reader.read("1_1.txt", &b"again"[..]).unwrap();
    assert_eq!(reader.take().unwrap().unwrap().batch.num_rows(), 1);
}

#[test]
fn a_large_file_is_cut_and_its_size_is_known() {
    let options = NotesOptions { max_bytes: 1000, ..NotesOptions::default() };
    let mut reader = NotesReader::new(options.clone()).unwrap();
    assert!(reader.read("a.txt", &[b'a'; 1000][..]).unwrap().is_none());
    let reject = reader.read("b.txt", std::io::Read::take(std::io::repeat(b'a'), 5_000_000)).unwrap().unwrap();
    assert_eq!((reject.raw.len(), reject.cut), (1000, 4_999_000));
    assert_eq!(reject.reason, RejectReason::RecordTooLong { limit: 1000 });
    assert_eq!(reader.take().unwrap().unwrap().batch.num_rows(), 1);
    for max_bytes in [0, (1 << 28) + 1] {
        assert!(NotesReader::new(NotesOptions { max_bytes, ..options.clone() }).is_err());
    }
}

#[test]
fn a_source_that_fails_leaves_no_half_note() {
    struct Failing(bool);
    impl std::io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(std::io::Error::other("gone"));
            }
            buffer[..4].copy_from_slice(b"half");
            Ok(4)
        }
    }
    let mut reader = reader(None, NoteEncoding::Utf8);
    assert!(matches!(reader.read("a.txt", Failing(false)), Err(FormatError::Io(_))));
    assert!(reader.take().unwrap().is_none());
}
