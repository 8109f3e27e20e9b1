//! The scanner against `csv-core`, over hostile text, every dialect and every size of chunk.

use cordon_formats::{CsvOptions, FormatError, HeaderProblem, RejectReason};
use proptest::prelude::*;

use crate::support::{Dribble, read_csv_from};

/// Every record by `csv-core`, with whether the last one lacks its closing quote.
fn reference(text: &[u8], options: &CsvOptions) -> Vec<Vec<Vec<u8>>> {
    let mut builder = csv_core::ReaderBuilder::new();
    builder.delimiter(options.delimiter).escape(options.escape).comment(options.comment);
    match options.quote {
        Some(quote) => builder.quote(quote),
        None => builder.quoting(false),
    };
    let mut reader = builder.build();
    let mut output = vec![0; text.len() + 8];
    let mut ends = vec![0; text.len() + 8];
    let (mut out_at, mut end_at) = (0, 0);
    let mut rest = text;
    let mut records = Vec::new();
    loop {
        let (result, read, wrote, ended) = reader.read_record(rest, &mut output[out_at..], &mut ends[end_at..]);
        rest = &rest[read..];
        out_at += wrote;
        end_at += ended;
        match result {
            csv_core::ReadRecordResult::InputEmpty => {}
            csv_core::ReadRecordResult::Record => {
                let mut start = 0;
                let mut record = Vec::new();
                for end in &ends[..end_at] {
                    record.push(output[start..*end].to_vec());
                    start = *end;
                }
                records.push(record);
                (out_at, end_at) = (0, 0);
            }
            csv_core::ReadRecordResult::End => return records,
            _ => unreachable!("the output is as long as the input"),
        }
    }
}

fn dialects() -> impl Strategy<Value = CsvOptions> {
    (
        prop_oneof![Just(b','), Just(b'\t'), Just(b'|')],
        prop_oneof![3 => Just(Some(b'"')), 1 => Just(Some(b'\'')), 1 => Just(None)],
        prop_oneof![2 => Just(None), 1 => Just(Some(b'\\'))],
        prop_oneof![2 => Just(None), 1 => Just(Some(b'#'))],
        (1usize..5, 1usize..400),
    )
        .prop_map(|(delimiter, quote, escape, comment, (batch_rows, batch_bytes))| CsvOptions {
            delimiter,
            quote,
            escape,
            comment,
            has_header: false,
            batch_rows,
            batch_bytes,
            ..CsvOptions::default()
        })
}

/// Text in which separators are as frequent as anything else.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-z]{1,3}".prop_map(String::into_bytes),
        1 => "[a-z ]{5,40}".prop_map(String::into_bytes),
        3 => Just(b",".to_vec()),
        1 => prop_oneof![Just(b"\t".to_vec()), Just(b"|".to_vec())],
        2 => Just(b"\"".to_vec()),
        1 => prop_oneof![Just(b"'".to_vec()), Just(b"\\".to_vec()), Just(b"#".to_vec())],
        2 => prop_oneof![Just(b"\n".to_vec()), Just(b"\r\n".to_vec()), Just(b"\r".to_vec())],
        1 => prop_oneof![Just("é".into()), Just("日本語".into()), Just(b"\0".to_vec())],
    ];
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

fn is_unterminated(reason: RejectReason) -> bool {
    reason == RejectReason::UnterminatedQuote
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_records_as_csv_core(
        options in dialects(),
        mut text in hostile(),
        chunk in 1usize..100,
    ) {
        if options.comment.is_some() {
            // The differences: for csv-core only LF ends a comment, and one at the end is a record.
            text.retain(|b| *b != b'\r');
            text.push(b'\n');
        }
        let want = reference(&text, &options);
        let read = match read_csv_from(Dribble(&text, chunk), &options) {
            Err(FormatError::Header(HeaderProblem::Missing)) => {
                prop_assert!(want.is_empty());
                return Ok(());
            }
            Err(FormatError::Header(HeaderProblem::UnterminatedQuote)) => {
                prop_assert_eq!(want.len(), 1);
                return Ok(());
            }
            read => read.unwrap(),
        };
        let width = want[0].len();
        prop_assert_eq!(read.header.len(), width);
        // csv-core takes an open quote at the end of the file for a record.
        let unterminated = read.rejects.iter().filter(|r| is_unterminated(r.1)).count();
        let want = &want[..want.len() - unterminated];
        let rows: Vec<&Vec<Vec<u8>>> = want.iter().filter(|r| r.len() == width).collect();
        prop_assert_eq!(read.rows.len(), rows.len());
        for (have, want) in read.rows.iter().zip(rows) {
            for (have, want) in have.iter().zip(want) {
                prop_assert_eq!(have.as_deref().unwrap_or_default().as_bytes(), &want[..]);
            }
        }
        let ragged: Vec<usize> = want.iter().map(Vec::len).filter(|n| *n != width).collect();
        let found: Vec<usize> = read.rejects.iter().filter_map(|r| match r.1 {
            RejectReason::Ragged { found, .. } => Some(found),
            _ => None,
        }).collect();
        prop_assert_eq!(ragged, found);
    }

    #[test]
    fn chunks_do_not_show(
        options in dialects(),
        text in hostile(),
        garbage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        chunk in 1usize..100,
        limit in 5usize..200,
        trim in any::<bool>(),
    ) {
        let mut text = text;
        for (index, byte) in garbage {
            if !text.is_empty() {
                let at = index.index(text.len());
                text[at] = byte;
            }
        }
        let options = CsvOptions {
            max_record_bytes: limit,
            null_values: vec!["ab".into()],
            trim,
            ..options
        };
        let at_once = CsvOptions {
            batch_rows: 100_000,
            batch_bytes: 1 << 20,
            ..options.clone()
        };
        let want = read_csv_from(&text[..], &at_once);
        let have = read_csv_from(Dribble(&text, chunk), &options);
        match (want, have) {
            (Ok(want), Ok(have)) => prop_assert_eq!(want, have),
            (Err(want), Err(have)) => prop_assert_eq!(want.to_string(), have.to_string()),
            _ => prop_assert!(false, "one of them failed"),
        }
    }

    #[test]
    fn a_row_read_again_from_quarantine_is_the_same(
        options in dialects(),
        text in hostile(),
    ) {
        let options = CsvOptions { has_header: true, ..options };
        let delimiter = char::from(options.delimiter);
        let header = format!("x{delimiter}y{delimiter}z\n");
        let text = [header.as_bytes(), &text].concat();
        let read = read_csv_from(&text[..], &options).unwrap();
        for (row, raw) in read.rows.iter().zip(&read.raws) {
            let again = [header.as_bytes(), raw].concat();
            let again = read_csv_from(&again[..], &options).unwrap();
            prop_assert_eq!(&again.rows, &vec![row.clone()]);
            prop_assert!(again.rejects.is_empty());
        }
        for (_, reason, raw, cut) in &read.rejects {
            let again = [header.as_bytes(), raw].concat();
            let again = read_csv_from(&again[..], &options).unwrap();
            prop_assert_eq!(again.rejects.len(), 1);
            prop_assert_eq!(&again.rejects[0].1, reason);
            prop_assert_eq!(*cut, 0);
        }
    }
}
