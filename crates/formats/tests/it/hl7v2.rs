//! HL7 v2 messages as they are really sent: all of them are read, and come back as they were.

use std::io::{self, Read};
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use cordon_formats::FormatError;
use cordon_formats::hl7v2::{
    EditError, Edits, Message, MessageReader, ParseError, ReadOptions, RecordKind, Reject, RejectReason, parse, splice,
    tables,
};
use proptest::prelude::*;

/// Hands out a few bytes at a time.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(buf.len()).min(self.0.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

/// Records with kind, line and bytes; rejects.
type Seen = (Vec<(RecordKind, u64, Vec<u8>)>, Vec<Reject>);

fn read_in(bytes: &[u8], chunk: usize, batch_bytes: usize, max_message_bytes: usize) -> Seen {
    let mut reader = MessageReader::new(Dribble(bytes, chunk), ReadOptions { max_message_bytes });
    let (mut records, mut rejects) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.next_batch(batch_bytes).unwrap() {
        for (index, record) in batch.records.iter().enumerate() {
            assert!(batch.parse(index).is_ok());
            records.push((record.kind, record.line, batch.raw(index).to_vec()));
        }
        rejects.extend(batch.rejects);
    }
    assert!(reader.next_batch(batch_bytes).unwrap().is_none());
    (records, rejects)
}

fn read(bytes: &[u8]) -> Seen {
    read_in(bytes, usize::MAX, 1 << 20, 1 << 20)
}

/// Segments as `name: field/field`, lines that are none as `: text`.
fn shown(bytes: &[u8]) -> Vec<String> {
    let message = parse(bytes).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let segment = |segment: cordon_formats::hl7v2::Segment<'_>| {
        let fields: Vec<_> = segment.fields().map(|field| text(field.value.bytes())).collect();
        format!("{}: {}", text(segment.name()), fields.join("/"))
    };
    message.segments().map(segment).collect()
}

/// Replaces every smallest value of segments by its own text, read and written again.
fn replaced_by_itself(message: &Message<'_>) -> Vec<u8> {
    let mut edits = Edits::default();
    for segment in message.segments().filter(|segment| !segment.is_text()) {
        let is_header = message.header().is_some_and(|header| header.index() == segment.index());
        for field in segment.fields().filter(|field| !is_header || field.number > 2) {
            for leaf in field.value.leaves() {
                assert_eq!(leaf.value.bytes(), &message.bytes()[leaf.value.span()]);
                edits.replace(&leaf.value, &leaf.value.text()).unwrap();
            }
        }
    }
    let mut out = Vec::new();
    edits.write(message, &mut out).unwrap();
    out
}

fn unchanged(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Edits::default().write(message, &mut out).unwrap();
    out
}

/// Found by fuzzing: read at once, a message went with the long text before it; in pieces it stood.
#[test]
fn what_is_too_long_before_a_message_takes_it_along_neither_at_once_nor_in_pieces() {
    let message = "MSH|^~\\&|A||||||ADT|1|P|2.3\rPID|1\r";
    for before in ["text without a header\r".repeat(20), " \r".repeat(200), format!("{}text\r", "\r".repeat(300))] {
        let file = format!("{before}{message}");
        for (chunk, batch_bytes) in [(1000, 1 << 20), (7, 64), (1, 1), (64, 200)] {
            let options = ReadOptions { max_message_bytes: 128 };
            let mut reader = MessageReader::new(Dribble(file.as_bytes(), chunk), options);
            let (mut records, mut rejects) = (Vec::new(), Vec::new());
            while let Some(batch) = reader.next_batch(batch_bytes).unwrap() {
                records.extend((0..batch.len()).map(|index| batch.raw(index).to_vec()));
                rejects.extend(batch.rejects.iter().map(|one| (one.line, one.reason, one.raw.len() as u64 + one.cut)));
            }
            assert!(records == [message.as_bytes()], "{chunk} {batch_bytes}");
            let reason = RejectReason::TooLong { record: "message", limit: 128 };
            assert_eq!(rejects, [(1, reason, before.len() as u64)], "{chunk} {batch_bytes}");
        }
    }
}

/// Found by fuzzing: as text in Windows-1252 the mark was three letters, and what was written could not be read again.
#[test]
fn a_byte_order_mark_before_a_message_that_is_not_utf8_is_no_text() {
    let sent = b"\xEF\xBB\xBFMSH|^~\\&|A||||||ADT|1|P|2.3\r\xEF\xBB\xBFPID|1||7||M\xFCller\xEF\xBB\xBF\r";
    let flat = tables::flatten(&[parse(sent).unwrap()]).unwrap();
    let text = flat[0].1.column_by_name("message").unwrap().as_string_view().value(0).to_owned();
    assert_eq!(text, "MSH|^~\\&|A||||||ADT|1|P|2.3\rPID|1||7||M\u{fc}ller\u{ef}\u{bb}\u{bf}\r");
    assert_eq!(parse(text.as_bytes()).unwrap().find(b"PID").unwrap().field(3).unwrap().text(), "7");
}

/// Found by fuzzing: declared as UTF-8 and broken, the text is read as windows-1252, and the mark again was three letters.
#[test]
fn a_byte_order_mark_in_a_message_of_broken_utf8_is_no_text() {
    let sent = b"MSH|^~\\&|A (\xBC)||||||ADT|1|P|2.5.1||||||UNICODE UTF-8\r\xEF\xBB\xBFPID|1||7||M\xFCller\r\
        \xEF\xBB\xBF\r\x0B\xEF\xBB\xBF";
    let message = parse(sent).unwrap();
    let flat = tables::flatten(&[message]).unwrap();
    let (_, rows) = flat.iter().find(|(table, _)| table == "message").unwrap();
    let text = rows.column_by_name("message").unwrap().as_string_view().value(0).to_owned();
    assert_eq!(text, "MSH|^~\\&|A (\u{bc})||||||ADT|1|P|2.5.1||||||UNICODE UTF-8\rPID|1||7||M\u{fc}ller\r\r\u{b}");
    assert!(parse(text.as_bytes()).unwrap().segments().all(|segment| !segment.is_text()));
}

#[test]
fn real_files_come_back_byte_for_byte() {
    let folder = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let folder = folder.join("hl7v2");
    if !folder.is_dir() {
        eprintln!("skipped: no third-party data at {}", folder.display());
        return;
    }
    let files = std::fs::read_dir(&folder).unwrap().flat_map(|sub| std::fs::read_dir(sub.unwrap().path()).unwrap());
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "hl7"));
    let (mut read_files, mut messages) = (0, 0);
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let name = path.display();
        let (records, rejects) = read(&bytes);
        assert!(rejects.is_empty() && !records.is_empty(), "{name}");
        assert_eq!(records.iter().flat_map(|record| record.2.clone()).collect::<Vec<_>>(), bytes, "{name}");
        let mut parsed = Vec::new();
        for (kind, _, raw) in &records {
            assert_eq!(*kind, RecordKind::Message);
            let message = parse(raw).unwrap();
            assert!(unchanged(&message) == *raw, "{name}");
            assert!(replaced_by_itself(&message) == *raw, "{name}");
            assert!(message.segments().all(|segment| !segment.is_text()), "{name}");
            parsed.push(message);
        }
        let flat = tables::flatten(&parsed).unwrap();
        let rows: usize = flat[1..].iter().map(|(_, table)| table.num_rows()).sum();
        assert_eq!(rows, parsed.iter().map(Message::len).sum::<usize>(), "{name}");
        read_files += 1;
        messages += records.len();
    }
    assert!(read_files >= 80 && messages > read_files, "{read_files} {messages}");
}

#[test]
fn messages_as_sent() {
    let cases: &[(&str, &[u8], &[&str])] = &[
        ("cr", b"MSH|^~\\&|a\rPID|1||x\r", &["MSH: |/^~\\&/a", "PID: 1//x"]),
        ("lf", b"MSH|^~\\&|a\nPID|1||x\n", &["MSH: |/^~\\&/a", "PID: 1//x"]),
        ("crlf, no last end", b"MSH|^~\\&|a\r\nPID|1||x", &["MSH: |/^~\\&/a", "PID: 1//x"]),
        ("blank lines", b"\r\n\nMSH|^~\\&|a\n\r\r\n  \nPID|1\n\n", &["MSH: |/^~\\&/a", "PID: 1"]),
        ("byte-order mark", b"\xEF\xBB\xBFMSH|^~\\&|a\n", &["MSH: |/^~\\&/a"]),
        ("frame", b"\x0BMSH|^~\\&|a\rPID|1\r\x1C\r", &["MSH: |/^~\\&/a", "PID: 1"]),
        ("frame without last end", b"\x0BMSH|^~\\&|a\rPID|1\x1C\r", &["MSH: |/^~\\&/a", "PID: 1"]),
        ("other delimiters", b"MSH*%$@!*a*\rPID*1|2*x%y\r", &["MSH: */%$@!/a/", "PID: 1|2/x%y"]),
        ("short MSH-2", b"MSH|^|a\rZZ1|x\r", &["MSH: |/^/a", "ZZ1: x"]),
        ("header alone", b"MSH|", &["MSH: |/"]),
        ("truncation", b"MSH|^~\\&#|a\r", &["MSH: |/^~\\&#/a"]),
        ("long MSH-2", b"MSH|^~\\&#@!|a\r", &["MSH: |/^~\\&#@!/a"]),
        ("MSH not first", b"junk\rEVN|A01\rMSH|^~\\&|a\r", &[": junk", "EVN: A01", "MSH: |/^~\\&/a"]),
        ("indented", b"  MSH|^~\\&|a\n\tPID|1\n", &["MSH: |/^~\\&/a", "PID: 1"]),
        (
            "broken value",
            b"MSH|^~\\&|a\rOBX|1|TX|||one\ntwo | three^4\rNTE|1\r",
            &["MSH: |/^~\\&/a", "OBX: 1/TX///one", ": two | three^4", "NTE: 1"],
        ),
        ("no fields", b"MSH|^~\\&\rDSC\rABC  \rPV1|\r", &["MSH: |/^~\\&", "DSC: ", "ABC: ", "PV1: "]),
        (
            "no names",
            b"MSH|^~\\&\r|x\rPI|x\rPIDX|x\rpid|x\r\xFF\r",
            &["MSH: |/^~\\&", ": |x", ": PI|x", ": PIDX|x", "pid: x", ": \u{FFFD}"],
        ),
        ("not a header", b"MSHELL|x\rMSH |x\rMSH|^~\\&\r", &[": MSHELL|x", ": MSH |x", "MSH: |/^~\\&"]),
    ];
    for (name, bytes, want) in cases {
        assert_eq!(&shown(bytes), want, "{name}");
        let message = parse(bytes).unwrap();
        assert!(unchanged(&message) == *bytes, "{name}");
        assert!(replaced_by_itself(&message) == *bytes, "{name}");
    }
}

#[test]
fn what_is_no_message() {
    let error = |bytes: &[u8]| parse(bytes).err();
    assert_eq!(error(b""), Some(ParseError::NoHeader));
    assert_eq!(error(b"PID|1\r"), Some(ParseError::NoHeader));
    assert_eq!(error(b"MSH"), Some(ParseError::NoHeader));
    assert_eq!(error(b"MSH|^~\\&\rMSH*%$@!\r"), Some(ParseError::SecondHeader { offset: 9 }));
}

#[test]
fn parts_of_fields() {
    let text = b"MSH|^~\\&|\rPID|||1^^^A&1.2&ISO^MR~2^^^B||\"\"||||a&b|\r";
    let message = parse(text).unwrap();
    let pid = message.find(b"PID").unwrap();
    let ids = pid.field(3).unwrap();
    let places: Vec<_> = ids
        .leaves()
        .filter(|leaf| !leaf.value.is_empty())
        .map(|leaf| (leaf.repetition, leaf.component, leaf.subcomponent, leaf.value.text().into_owned()))
        .collect();
    let want = [(1, 1, 1, "1"), (1, 4, 1, "A"), (1, 4, 2, "1.2"), (1, 4, 3, "ISO"), (1, 5, 1, "MR"), (2, 1, 1, "2")];
    assert_eq!(places[..6], want.map(|(r, c, s, text)| (r, c, s, text.to_owned())));
    assert_eq!(places[6], (2, 4, 1, "B".to_owned()));
    assert_eq!(ids.repetition(2).unwrap().component(4).unwrap().bytes(), b"B");
    assert_eq!(ids.component(4).unwrap().subcomponent(3).unwrap().bytes(), b"ISO");
    assert!(pid.field(5).unwrap().is_null() && !pid.field(4).unwrap().is_null());
    assert!(pid.field(4).unwrap().is_empty() && pid.field(10).is_some_and(|last| last.is_empty()));
    assert!(pid.field(11).is_none() && pid.field(0).is_none() && ids.component(6).is_none());
    let header = message.header().unwrap();
    assert_eq!(header.field(2).unwrap().leaves().count(), 1);
}

#[test]
fn undeclared_delimiters_part_nothing() {
    let whole = |text: &[u8]| {
        let message = parse(text).unwrap();
        let field = message.find(b"PID").unwrap().field(1).unwrap();
        field.leaves().map(|leaf| String::from_utf8_lossy(leaf.value.bytes()).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(whole(b"MSH|^~\rPID|a^b~c&d\r"), ["a", "b", "c&d"]);
    assert_eq!(whole(b"MSH|^\rPID|a^b~c&d\r"), ["a", "b~c&d"]);
    assert_eq!(whole(b"MSH||x\rPID|a^b~c&d\r"), ["a", "b", "c", "d"]);
    assert_eq!(whole(b"MSH|LAB|x\rPID|a^b~c&d\r"), ["a", "b", "c", "d"]);
    assert_eq!(whole(b"MSH|^^^^|x\rPID|a^b~c&d\r"), ["a", "b~c&d"]);
    assert_eq!(whole(b"MSH^|~\\&\rPID^a|b~c&d\r"), ["a", "b", "c", "d"]);
}

#[test]
fn edits_touch_nothing_else() {
    let text = b"\x0BMSH|^~\\&|a|||||||||2.5\r\nPID|1||7||Doe^J\r\n\r\nZPI|x\r\nNTE|1||y\x1C\r";
    let message = parse(text).unwrap();
    let mut edits = Edits::default();
    let pid = message.find(b"PID").unwrap();
    edits.replace(&pid.field(3).unwrap(), "a|b^c&d~e\\f\r\ng").unwrap();
    edits.replace(&pid.field(4).unwrap(), "filled").unwrap();
    edits.replace_raw(&pid.field(5).unwrap(), b"Roe^\"\"").unwrap();
    edits.remove(&message.find(b"ZPI").unwrap()).unwrap();
    edits.remove(&message.find(b"NTE").unwrap()).unwrap();
    let mut out = b"before".to_vec();
    edits.write(&message, &mut out).unwrap();
    let want = b"before\x0BMSH|^~\\&|a|||||||||2.5\r\nPID|1||a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\X0D0A\\g|filled|Roe^\"\"\r\n\r\n\x1C\r";
    assert_eq!(out.escape_ascii().to_string(), want.escape_ascii().to_string());

    let offset = pid.field(1).unwrap().span().start;
    assert_eq!(edits.replace(&pid.field(1).unwrap(), "x"), Err(EditError::OutOfOrder { offset }));
    edits.clear();
    assert_eq!(edits.replace_raw(&pid.field(1).unwrap(), b"x\rPV1|"), Err(EditError::Delimiter { offset }));
    assert!(edits.is_empty());
    let mut out = b"kept".to_vec();
    assert_eq!(splice(b"abc", [(0..1, "x"), (0..2, "y")], &mut out), Err(EditError::OutOfOrder { offset: 0 }));
    assert_eq!(splice(b"abc", [(0..1, "x"), (2..4, "y")], &mut out), Err(EditError::OutOfBounds { offset: 2 }));
    assert_eq!(out, b"kept");
    splice(b"abc", [(0..0, "x"), (0..1, ""), (3..3, "y")], &mut out).unwrap();
    assert_eq!(out, b"keptxbcy");
}

#[test]
fn character_sets_are_read_and_written() {
    let name = |text: &[u8], to: &str| {
        let message = parse(text).unwrap();
        let field = message.find(b"PID").unwrap().field(1).unwrap();
        let mut edits = Edits::default();
        edits.replace(&field, to).unwrap();
        let mut out = Vec::new();
        edits.write(&message, &mut out).unwrap();
        let at = field.span().start;
        (field.text().into_owned(), out[at..].to_vec())
    };
    let latin = b"MSH|^~\\&||||||||||||||||8859/1\rPID|Jos\xE9|\xFC\r";
    assert_eq!(name(latin, "\u{d6}z\u{142}"), ("Jos\u{e9}".to_owned(), b"\xD6z?|\xFC\r".to_vec()));
    let utf8 = "MSH|^~\\&\rPID|Jos\u{e9}\r";
    assert_eq!(name(utf8.as_bytes(), "\u{142}"), ("Jos\u{e9}".to_owned(), "\u{142}\r".as_bytes().to_vec()));
    let broken = b"MSH|^~\\&||||||||||||||||UNICODE UTF-8\rPID|Jos\xE9\r";
    assert_eq!(name(broken, "Jos\u{e9}"), ("Jos\u{e9}".to_owned(), b"Jos\xE9\r".to_vec()));
    // U+5C0D U+8868 in ISO 2022: its bytes look like delimiters.
    let kanji = b"MSH|^~\\&||||||||||||||||~ISO IR87\rPID|\x1B$BBP^|\x1B(B^x|y\r";
    let message = parse(kanji).unwrap();
    let field = message.find(b"PID").unwrap().field(1).unwrap();
    assert_eq!(field.components().count(), 2);
    assert_eq!(message.charset().name(), "ISO-2022-JP");
    assert!(replaced_by_itself(&message) == kanji);
}

#[test]
fn batch_files_come_apart_and_together() {
    let file = b"\xEF\xBB\xBFFHS|^~\\&|x\r\nBHS|^~\\&|x\r\n\r\nMSH|^~\\&|1\r\nPID|1\r\n\r\nMSH*%$@!*2\r\nPID*1\r\nBTS|2\r\nFTS|1\r\n\r\n";
    let (records, rejects) = read(file);
    assert!(rejects.is_empty());
    let kinds: Vec<_> = records.iter().map(|(kind, line, _)| (*kind, *line)).collect();
    let want = [
        (RecordKind::FileHeader, 1),
        (RecordKind::BatchHeader, 2),
        (RecordKind::Message, 4),
        (RecordKind::Message, 7),
        (RecordKind::BatchTrailer, 9),
        (RecordKind::FileTrailer, 10),
    ];
    assert_eq!(kinds, want);
    assert_eq!(records.concat_bytes(), file);

    let mut reader = MessageReader::new(&b"BHS*%$@!*x\rBTS*1*a%b\r"[..], ReadOptions::default());
    let batch = reader.next_batch(100).unwrap().unwrap();
    let trailer = batch.parse(1).unwrap();
    assert_eq!(trailer.find(b"BTS").unwrap().field(2).unwrap().components().count(), 2);
    assert!(trailer.header().is_none() && batch.parse(2).is_err());
}

trait Concat {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl Concat for Vec<(RecordKind, u64, Vec<u8>)> {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|record| record.2.clone()).collect()
    }
}

#[test]
fn frames_and_junk() {
    let framed = b"\x0BMSH|^~\\&|1\rPID|1\r\x1C\r\x0BMSH|^~\\&|2\rPID|1\x1C\x0BMSH|^~\\&|3\r\x1C\r";
    let (records, rejects) = read(framed);
    assert!(rejects.is_empty());
    assert_eq!(records.iter().map(|record| record.1).collect::<Vec<_>>(), [1, 4, 5]);
    assert!(records[1..].iter().all(|record| record.2.starts_with(b"\x0BMSH")));
    assert_eq!(records.concat_bytes(), framed);

    let (records, rejects) = read(b"PID|early\rMSH|^~\\&|1\rFTS|1\rleft|over\r\rFHS|^~\\&\rPID|canary");
    assert_eq!(
        records.iter().map(|record| (record.0, record.1)).collect::<Vec<_>>(),
        [(RecordKind::Message, 1), (RecordKind::FileTrailer, 3), (RecordKind::FileHeader, 6),]
    );
    let rejects: Vec<_> = rejects.into_iter().map(|r| (r.line, r.raw, r.cut, r.reason)).collect();
    let reason = RejectReason::NoHeader { header: "MSH" };
    assert_eq!(rejects, [(4, b"left|over\r\r".to_vec(), 0, reason), (7, b"PID|canary".to_vec(), 0, reason)]);
    assert!(!reason.to_string().contains("canary"));

    for empty in [&b""[..], b"\r\n\n", b"\xEF\xBB\xBF", b"\x0B\x1C\r"] {
        let (records, rejects) = read(empty);
        assert!(records.is_empty() && rejects.is_empty());
    }
    let mut wide = MessageReader::new(&b"\xFF\xFEM\0S\0H\0"[..], ReadOptions::default());
    assert!(matches!(wide.next_batch(100), Err(FormatError::NotUtf8Text)));
}

#[test]
fn a_message_that_is_too_large_is_cut_and_the_next_one_read() {
    let many_lines = "OBX|1|TX|||some text\r".repeat(200);
    let one_line = format!("OBX|1|ED|||{}\r", "A".repeat(4000));
    let long_header = format!("|{}\r", "A".repeat(4000));
    for big in [many_lines, one_line, long_header.clone(), long_header.replace('\r', "\r\n")] {
        for chunk in [7, 100, 10_000] {
            let text = format!("MSH|^~\\&|1\rMSH|^~\\&|2{big}MSH|^~\\&|3\rPID|1\r");
            let text = if big.starts_with('|') { text } else { text.replace("|2OBX", "|2\rOBX") };
            let (records, rejects) = read_in(text.as_bytes(), chunk, 64, 300);
            assert_eq!(records.len(), 2);
            assert_eq!(records[0].2, b"MSH|^~\\&|1\r");
            assert_eq!(records[1].2, b"MSH|^~\\&|3\rPID|1\r");
            assert_eq!(rejects.len(), 1);
            let whole = text.len() - records[0].2.len() - records[1].2.len();
            assert_eq!(rejects[0].raw.len() as u64 + rejects[0].cut, whole as u64);
            assert!(rejects[0].raw.len() <= 300 && rejects[0].raw.starts_with(b"MSH|^~\\&|2"));
            assert_eq!(
                (rejects[0].line, rejects[0].reason),
                (2, RejectReason::TooLong { record: "message", limit: 300 })
            );
        }
    }
}

#[test]
fn a_source_that_fails_is_not_the_end() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
    let mut reader = MessageReader::new(b"MSH|^~\\&|1\r".chain(Fails), ReadOptions::default());
    assert!(matches!(reader.next_batch(100), Err(FormatError::Io(_))));
    assert!(matches!(reader.next_batch(100), Err(FormatError::FailedBefore)));
}

/// A column's cells joined by `,`, null as `~`.
fn column(table: &RecordBatch, name: &str) -> String {
    let column = table.column_by_name(name).unwrap_or_else(|| panic!("{name}"));
    let cells: Vec<String> = match column.as_primitive_opt::<Int32Type>() {
        Some(numbers) => numbers.iter().map(|n| n.map_or("~".to_owned(), |n| n.to_string())).collect(),
        None => column.as_string_view().iter().map(|text| text.unwrap_or("~").to_owned()).collect(),
    };
    cells.join(",")
}

#[test]
fn tables_of_messages() {
    let first = b"MSH|^~\\&|LAB^1.2^ISO|^9.9^ISO|EHR||20240102||ORU^R01^ORU_R01|c1|P|2.5.1\r\
        PID|1||p1^^^GH~p2||Doe^Jane\\T\\Ann^\"\"||19570301|F\rPV1|1|I\rORC|RE\rOBR|1\rOBX|1|CWE|a^b||260^Detected^SCT\r\
        NTE|1||\"\"\rOBR|2\rOBX|2|TX|||line one\\.br\\two~more\rZPI|x|y\rbroken text\rQQQ|z\rIN1|1\rIN2|1\r";
    let second = b"MSH*%$@!*ADT*F***1**ADT%A08*c2*P*2.3\rEVN*A08\rPID*1**p9**Roe%Max\r";
    let parsed = [parse(first).unwrap(), parse(second).unwrap()];
    let flat = tables::flatten(&parsed).unwrap();
    assert_eq!(flat[0].0, "message");
    let table = |name: &str| &flat.iter().find(|(table, _)| table == name).unwrap_or_else(|| panic!("{name}")).1;
    let message = table("message");
    for (name, want) in [
        ("control_id", "c1,c2"),
        ("type", "ORU,ADT"),
        ("trigger", "R01,A08"),
        ("version", "2.5.1,2.3"),
        ("sent", "20240102,1"),
        ("sending_application", "LAB,ADT"),
        ("sending_facility", "9.9,F"),
        ("receiving_application", "EHR,~"),
        ("receiving_facility", "~,~"),
        ("patient", "p1,p9"),
    ] {
        assert_eq!(column(message, name), want, "{name}");
    }
    assert_eq!(message.schema().fields().last().unwrap().name(), "message");
    assert!(column(message, "message").contains("Jane\\T\\Ann"));
    for (name, of, want) in [
        ("pid", "pid_5_patient_name", "Doe^Jane&Ann^\"\",Roe%Max"),
        ("pid", "pid_5_1_family_name", "Doe,Roe"),
        ("pid", "pid_5_2_given_name", "Jane&Ann,Max"),
        ("pid", "pid_5_3_second_and_further_given_names_or_initials_thereof", ",~"),
        ("pid", "pid_3_1_id_number", "p1,p9"),
        ("pid", "pid_19_ssn_number_patient", "~,~"),
        ("obx", "obx_5_observation_value", "260^Detected^SCT,line one\ntwo~more"),
        ("obx", "obx_5_1", "260,line one\ntwo"),
        ("obx", "obx_5_2", "Detected,~"),
        ("obx", "segment", "6,9"),
        ("obx", "parent", "5,8"),
        ("obr", "parent", "4,4"),
        ("orc", "parent", "3"),
        ("pv1", "parent", "2"),
        ("nte", "parent", "6"),
        ("nte", "nte_3_comment", ""),
        ("in1", "parent", "2"),
        ("in2", "parent", "13"),
        ("zpi", "field_2", "y"),
        ("zpi", "field_30", "~"),
        ("other", "name", "~,QQQ"),
        ("other", "field_1", "broken text,z"),
        ("other", "parent", "10,8"),
        ("other", "patient", "p1,p1"),
        ("msh", "msh_2_encoding_characters", "^~\\&,%$@!"),
        ("evn", "control_id", "c2"),
    ] {
        assert_eq!(column(table(name), of), want, "{name} {of}");
    }
    for (name, table) in &flat {
        assert_eq!(tables::table_schema(name).unwrap(), table.schema(), "{name}");
    }
    assert!(tables::table_schema("PID").is_none() && tables::table_schema("qqq").is_none());
    assert_eq!(tables::flatten(&[]).unwrap()[0].1.num_rows(), 0);
}

/// Files of nearly messages.
fn files() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"MSH|^~\\&|".to_vec()),
        Just(b"MSH*%$@!*".to_vec()),
        Just(b"FHS|^~\\&|".to_vec()),
        Just(b"BHS|".to_vec()),
        Just(b"BTS|1".to_vec()),
        Just(b"FTS".to_vec()),
        Just(b"PID|1||a^b&c~d\\F\\".to_vec()),
        Just(b"MSH|^~\\&||||||||||||||||~ISO IR87\r".to_vec()),
        Just(b"MSH|^~\\&||||||||||||||||BIG-5\r".to_vec()),
        "[\\r\\n\\x0B\\x1C ]{1,2}".prop_map(String::into_bytes),
        "[|^~&*%A-C]{0,20}".prop_map(String::into_bytes),
        Just(b"\xEF\xBB\xBF".to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(prop_oneof![3 => piece, 1 => Just(b"\r".to_vec())], 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn records_and_rejects_are_the_file(file in files(), chunk in 1usize..60, batch in 1usize..200) {
        prop_assume!(!file.starts_with(b"\xFF\xFE") && !file.starts_with(b"\xFE\xFF") && !file.starts_with(b"\0\0\xFE\xFF"));
        let (records, rejects) = read(&file);
        let (dribbled, dribbled_rejects) = read_in(&file, chunk, batch, 1 << 20);
        prop_assert!(records == dribbled && rejects == dribbled_rejects);
        let mut rest = file.as_slice();
        let (mut kept, mut aside) = (records.iter().peekable(), rejects.iter().peekable());
        while let Some(raw) = match (kept.peek(), aside.peek()) {
            (Some(record), Some(reject)) if record.1 < reject.line || (record.1 == reject.line && rest.starts_with(&record.2)) => {
                kept.next().map(|record| &record.2)
            }
            (_, Some(_)) => aside.next().map(|reject| &reject.raw),
            (_, None) => kept.next().map(|record| &record.2),
        } {
            prop_assert!(rest.starts_with(raw));
            rest = &rest[raw.len()..];
        }
        if records.is_empty() && rejects.is_empty() {
            prop_assert!(rest.iter().all(|byte| byte.is_ascii_whitespace() || b"\xEF\xBB\xBF\x0B\x1C".contains(byte)));
        } else {
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn bounds_hold_whatever_comes(file in files(), chunk in 1usize..60, limit in 1usize..120) {
        let mut reader = MessageReader::new(Dribble(&file, chunk), ReadOptions { max_message_bytes: limit });
        while let Ok(Some(batch)) = reader.next_batch(64) {
            for index in 0..batch.len() {
                prop_assert!(batch.raw(index).len() <= limit);
                prop_assert!(batch.parse(index).is_ok());
            }
            prop_assert!(batch.rejects.iter().all(|reject| reject.raw.len() <= limit || reject.cut == 0));
        }
    }

    #[test]
    fn parse_and_write_is_identity(file in files()) {
        for (_, _, raw) in read_if_text(&file).0 {
            let Ok(message) = parse(&raw) else { continue };
            prop_assert!(unchanged(&message) == raw);
            // Segments and their parts are in order, and all that is between them is blank.
            let mut at = 0;
            for segment in message.segments() {
                let span = segment.span();
                prop_assert!(at <= span.start && span.start < span.end);
                let between = &raw[at..span.start];
                prop_assert!(between.iter().all(|b| b.is_ascii_whitespace() || b"\xEF\xBB\xBF\x0B\x1C".contains(b)));
                at = span.end;
                let mut field_at = span.start;
                for leaf in segment.fields().flat_map(|field| field.value.leaves()) {
                    let span = leaf.value.span();
                    prop_assert!(field_at <= span.start && span.end <= at);
                    prop_assert!(span.start - field_at <= 4);
                    let _ = leaf.value.text();
                    field_at = span.end;
                }
            }
            let _ = tables::flatten(&[message]).unwrap();
        }
    }

    #[test]
    fn a_new_text_is_read_as_it_was_given(text in "[a-z|^~&\\\\*%$@!\\r\\n\\x0B\\x1C\u{e9}\u{142}]{0,30}", odd in any::<bool>()) {
        let message: &[u8] = if odd { b"MSH*%$@!*x\rPID*1*2%3*4\r" } else { b"MSH|^~\\&|x\rPID|1|2^3|4\r" };
        let message = parse(message).unwrap();
        let mut edits = Edits::default();
        edits.replace(&message.find(b"PID").unwrap().field(2).unwrap().component(1).unwrap(), &text).unwrap();
        let mut out = Vec::new();
        edits.write(&message, &mut out).unwrap();
        let again = parse(&out).unwrap();
        prop_assert_eq!(again.len(), 2);
        let pid = again.find(b"PID").unwrap();
        prop_assert_eq!(pid.field(2).unwrap().component(1).unwrap().text(), text);
        prop_assert_eq!(pid.field(2).unwrap().component(2).unwrap().text(), "3");
        prop_assert_eq!(pid.fields().count(), 3);
    }
}

fn read_if_text(file: &[u8]) -> Seen {
    if [&b"\xFF\xFE"[..], b"\xFE\xFF", b"\0\0\xFE\xFF"].iter().any(|mark| file.starts_with(mark)) {
        return (Vec::new(), Vec::new());
    }
    read(file)
}
