//! Files by hand: what each rule says, on the smallest file that shows it.

use std::io::{self, Read};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use cordon_formats::{CsvOptions, CsvReader, FormatError, HeaderProblem, RejectReason, csv_header};

use crate::support::{read_csv, read_csv_from};

/// Cells of rows joined by `|`, null as `~`.
fn shown(text: &[u8], options: &CsvOptions) -> Vec<String> {
    let read = read_csv(text, options).unwrap();
    assert!(read.rejects.is_empty());
    let cell = |c: &Option<String>| c.clone().unwrap_or_else(|| "~".into());
    let row = |r: &Vec<Option<String>>| r.iter().map(cell).collect::<Vec<_>>().join("|");
    read.rows.iter().map(row).collect()
}

#[test]
fn rows_as_written() {
    type Change = fn(&mut CsvOptions);
    let same: Change = |_| {};
    let cases: &[(&str, &[u8], Change, &[&str])] = &[
        ("plain", b"a,b\n1,2\n3,4\n", same, &["1|2", "3|4"]),
        ("no final newline", b"a,b\n1,2", same, &["1|2"]),
        ("no final newline, empty last field", b"a,b\n1,", same, &["1|~"]),
        ("crlf", b"a,b\r\n1,2\r\n", same, &["1|2"]),
        ("cr only", b"a,b\r1,2\r3,4\r", same, &["1|2", "3|4"]),
        ("mixed ends", b"a,b\r\n1,2\r3,4\n5,6", same, &["1|2", "3|4", "5|6"]),
        ("blank lines", b"\n\na,b\n\n\r\n1,2\n\n", same, &["1|2"]),
        ("byte-order mark", b"\xEF\xBB\xBFa,b\n1,2\n", same, &["1|2"]),
        ("header only", b"a,b\n", same, &[]),
        ("header only, no newline", b"a,b", same, &[]),
        ("unquoted empty is null", b"a,b\n,\n", same, &["~|~"]),
        ("quoted empty is a text", b"a,b\n\"\",\n", same, &["|~"]),
        ("quotes", b"a,b\n\"x,\"\"y\"\"\n z\",2\n", same, &["x,\"y\"\n z|2"]),
        ("text behind a quote", b"a,b\n\"x\"y,2\n", same, &["xy|2"]),
        ("quote inside", b"a,b\nx\"y,2\"\n", same, &["x\"y|2\""]),
        ("nul bytes", b"a,b\n\0,x\0\n", same, &["\0|x\0"]),
        ("long", b"a,b\n0123456789abc,0123456789ab\n", same, &["0123456789abc|0123456789ab"]),
        ("tabs", b"a\tb\n1\t2\n", |o| o.delimiter = b'\t', &["1|2"]),
        ("no quotes", b"a,b\n\"x,y\"\n", |o| o.quote = None, &["\"x|y\""]),
        ("escape", b"a,b\n\"x\\\"\\\\\",2\n", |o| o.escape = Some(b'\\'), &["x\"\\|2"]),
        ("comments", b"#c\na,b\n#\"\r1,2\n#", |o| o.comment = Some(b'#'), &["1|2"]),
        (
            "null values",
            b"a,b\nNULL,\"NULL\"\nnull,NULLS\n",
            |o| o.null_values = vec!["NULL".into()],
            &["~|~", "null|NULLS"],
        ),
        ("trim", b"a,b\n 1 ,\"  \"\n  ,\" 2\"\"\"\n", |o| o.trim = true, &["1|", "~|2\""]),
        ("no header", b"1,2\n3,4\n", |o| o.has_header = false, &["1|2", "3|4"]),
        ("one column", b"a\n1\n\n\"\"\n", same, &["1", ""]),
    ];
    for (name, text, change, want) in cases {
        let mut options = CsvOptions::default();
        change(&mut options);
        assert_eq!(&shown(text, &options), want, "{name}");
        options.batch_rows = 1;
        options.batch_bytes = 1;
        assert_eq!(&shown(text, &options), want, "{name}, row by row");
    }
}

#[test]
fn headers() {
    let header = |text: &[u8]| csv_header(text, &CsvOptions::default());
    assert_eq!(header(b" a ,\"b \"\"c\"\"\"\n").unwrap(), ["a", "b \"c\""]);
    let problem = |text: &[u8]| match header(text) {
        Err(FormatError::Header(problem)) => problem,
        _ => panic!("no header problem"),
    };
    assert_eq!(problem(b""), HeaderProblem::Missing);
    assert_eq!(problem(b"\xEF\xBB\xBF"), HeaderProblem::Missing);
    assert_eq!(problem(b"\n\r\n"), HeaderProblem::Missing);
    assert_eq!(problem(b"a,,b"), HeaderProblem::EmptyName { column: 2 });
    assert_eq!(problem(b"a,\" \",b"), HeaderProblem::EmptyName { column: 2 });
    let (first, second) = (1, 3);
    assert_eq!(problem(b"a,b, a"), HeaderProblem::Duplicate { first, second });
    assert_eq!(problem(b"a,\xFF"), HeaderProblem::InvalidUtf8 { column: 2 });
    assert_eq!(problem(b"a,\"b\n1,2\n"), HeaderProblem::UnterminatedQuote);
    assert!(matches!(header(b"\xFF\xFEa\0"), Err(FormatError::NotUtf8Text)));
    let long = CsvOptions { max_record_bytes: 10, ..CsvOptions::default() };
    for text in [&b"0123456789a\n"[..], &vec![b'x'; 200_000]] {
        assert!(matches!(csv_header(text, &long), Err(FormatError::Header(HeaderProblem::TooLong { limit: 10 }))));
    }
}

#[test]
fn lines_are_physical_lines() {
    let text = b"# c\r\na,b\r\n\r\n1,\"x\r\ny\rz\"\n3,4\r\"\n\",5\n6,7";
    let options = CsvOptions { comment: Some(b'#'), ..CsvOptions::default() };
    let read = read_csv(text, &options).unwrap();
    assert_eq!(read.lines, [4, 7, 8, 10]);
    assert_eq!(read.raws[0], b"1,\"x\r\ny\rz\"");
    assert_eq!(read.raws[3], b"6,7");
}

#[test]
fn a_bad_record_does_not_stop_the_rest() {
    let text = b"a,b\n1\n2,2\n3,3,3\n4,\xFF\xFE\n5,5\n\xC3,6\n7,7\n8,\"open\n9,9\n";
    for batch_bytes in [1, 70, 1 << 20] {
        let options = CsvOptions { batch_bytes, ..CsvOptions::default() };
        let read = read_csv(text, &options).unwrap();
        assert_eq!(read.lines, [3, 6, 8]);
        let rejects: Vec<_> = read.rejects.iter().map(|r| (r.0, r.1)).collect();
        let ragged = |found| RejectReason::Ragged { expected: 2, found };
        let not_utf8 = |column| RejectReason::InvalidUtf8 { column };
        assert_eq!(
            rejects,
            [(2, ragged(1)), (4, ragged(3)), (5, not_utf8(2)), (7, not_utf8(1)), (9, RejectReason::UnterminatedQuote),]
        );
        assert_eq!(read.rejects[2].2, b"4,\xFF\xFE");
        assert_eq!(read.rejects[4].2, b"8,\"open\n9,9\n");
    }
}

/// Gives the same byte a number of times, in blocks.
fn repeated(byte: u8, times: u64) -> impl Read {
    io::repeat(byte).take(times)
}

/// Counts what is asked of it at once.
struct Widest<R>(R, usize);

impl<R: Read> Read for Widest<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1.max(buf.len());
        self.0.read(buf)
    }
}

#[test]
fn a_line_of_200_mb_is_read_over_in_bounded_memory() {
    const LONG: u64 = 200_000_000;
    const LIMIT: usize = 1 << 20;
    let options =
        CsvOptions { max_record_bytes: LIMIT, batch_bytes: 1 << 18, comment: Some(b'#'), ..CsvOptions::default() };
    for (before, after) in [(&b"a,b\n1,2\n3,"[..], &b"\r\n5,6\n"[..]), (b"a,b\n1,2\n3,\"", b"\"\r5,6\n")] {
        let mut source = Widest(before.chain(repeated(b'x', LONG)).chain(after), 0);
        let read = read_csv_from(&mut source, &options).unwrap();
        assert_eq!(read.lines, [2, 4]);
        assert!(source.1 <= 2 * LIMIT + (1 << 18), "{} bytes at once", source.1);
        let [(line, reason, raw, cut)] = &read.rejects[..] else {
            panic!("{} rejects", read.rejects.len());
        };
        assert_eq!((*line, *reason), (3, RejectReason::RecordTooLong { limit: LIMIT }));
        assert_eq!(raw.len(), LIMIT);
        assert!(raw.capacity() <= LIMIT);
        let quotes = u64::from(before.ends_with(b"\"")) * 2;
        assert_eq!(raw.len() as u64 + cut, LONG + 2 + quotes);
    }
    let source = b"a,b\n#".chain(repeated(b'x', LONG)).chain(&b"\n5,6\n"[..]);
    let read = read_csv_from(source, &options).unwrap();
    assert_eq!((read.lines, read.rejects.len()), (vec![3], 0));
}

#[test]
fn a_source_that_fails_is_never_the_end() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let options = CsvOptions { batch_bytes: 64, ..CsvOptions::default() };
    let text = "a,b\n".to_owned() + &"1,2\n".repeat(100);
    let mut reader = CsvReader::new(text.as_bytes().chain(Fails), options).unwrap();
    let error = loop {
        match reader.next_batch() {
            Ok(batch) => assert!(batch.is_some(), "taken for the end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, FormatError::Io(_)));
    assert!(matches!(reader.next_batch(), Err(FormatError::FailedBefore)));
}

#[test]
fn short_texts_do_not_keep_the_file_in_memory() {
    let text = b"short,long\nabc,0123456789abcdef\nd,0123456789abcdef\n";
    let mut reader = CsvReader::new(&text[..], CsvOptions::default()).unwrap();
    let batch = reader.next_batch().unwrap().unwrap().batch;
    assert!(batch.column(0).as_string_view().data_buffers().is_empty());
    assert!(!batch.column(1).as_string_view().data_buffers().is_empty());
    assert_eq!(batch.column(0).null_count(), 0);
}

#[test]
fn errors_and_rejects_say_no_value() {
    const CANARY: &str = "Canary";
    let texts = [
        "Canary,Canary\n",
        "Canary,Canary2,\n",
        "a,\"Canary",
        "a,b\nCanary\nCanary,Canary,Canary\n\"Canary",
        "a,b\nCanary,Canary\u{0}\n",
        "Canary",
    ];
    for text in texts {
        for limit in [8, 1 << 20] {
            let options = CsvOptions { max_record_bytes: limit, ..CsvOptions::default() };
            match read_csv(text.as_bytes(), &options) {
                Err(error) => {
                    assert!(!error.to_string().contains(CANARY));
                    assert!(!format!("{error:?}").contains(CANARY));
                }
                Ok(read) => {
                    for (_, reason, ..) in &read.rejects {
                        assert!(!reason.to_string().contains(CANARY));
                        assert!(!format!("{reason:?}").contains(CANARY));
                    }
                }
            }
        }
    }
}
