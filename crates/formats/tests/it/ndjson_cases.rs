//! Lines of JSON: which cell each value becomes, and what is set aside.

use std::io::Read;

use cordon_formats::{FormatError, HeaderProblem, NdjsonOptions, NdjsonReader, RejectReason};
use proptest::prelude::*;

use crate::support::{Cells, Dribble, cells};

#[derive(Debug, Default, PartialEq)]
struct Seen {
    rows: Vec<Cells>,
    lines: Vec<u64>,
    raws: Vec<Vec<u8>>,
    rejects: Vec<(u64, RejectReason, Vec<u8>)>,
    undeclared: Vec<(String, u64)>,
}

fn read_from(source: impl Read, fields: &[&str], options: &NdjsonOptions) -> Seen {
    let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
    let mut reader = NdjsonReader::new(source, &fields, options.clone()).unwrap();
    let mut seen = Seen::default();
    let mut undeclared = std::collections::BTreeMap::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        assert_eq!(batch.batch.schema(), reader.schema());
        assert_eq!(batch.rows.len(), batch.batch.num_rows());
        assert!(batch.rows.len() <= options.batch_rows);
        seen.rows.extend(cells(&batch.batch));
        for row in 0..batch.rows.len() {
            seen.lines.push(batch.rows.line(row).unwrap());
            seen.raws.push(batch.rows.raw(row).unwrap().to_vec());
        }
        for reject in batch.rejects {
            seen.rejects.push((reject.line, reject.reason, reject.raw));
        }
        for (name, count) in batch.undeclared {
            *undeclared.entry(name).or_default() += count;
        }
    }
    seen.undeclared = undeclared.into_iter().collect();
    seen
}

fn read(text: &str, fields: &[&str]) -> Seen {
    read_from(text.as_bytes(), fields, &NdjsonOptions::default())
}

/// The only row, null as `~`.
fn row(text: &str, fields: &[&str]) -> String {
    let seen = read(text, fields);
    assert!(seen.rejects.is_empty(), "{:?}", seen.rejects);
    let [cells] = &seen.rows[..] else {
        panic!("{} rows", seen.rows.len());
    };
    let cells: Vec<_> = cells.iter().map(|c| c.as_deref().unwrap_or("~")).collect();
    cells.join("|")
}

#[test]
fn values_keep_their_spelling() {
    let cases: &[(&str, &[&str], &str)] = &[
        (r#"{"a":"x","b":"y"}"#, &["b", "a"], "y|x"),
        (r#"{"a":"a long enough text"}"#, &["a"], "a long enough text"),
        (r#"{"a":"","b":null}"#, &["a", "b", "c"], "|~|~"),
        (r#"{"a":1.50,"b":-0,"c":1E400}"#, &["a", "b", "c"], "1.50|-0|1E400"),
        (r#"{"a":12345678901234567890123456789.01}"#, &["a"], "12345678901234567890123456789.01"),
        (r#" { "a" : true , "b" : false } "#, &["a", "b"], "true|false"),
        (r#"{"a":"\u00e9\n\"\ud83d\ude00"}"#, &["a"], "\u{e9}\n\"\u{1f600}"),
        (r#"{"\u0061":"é"}"#, &["a"], "é"),
        (r#"{"a":{"b":{"c":1},"d":"x"}}"#, &["a.b.c", "a.d", "a.e"], "1|x|~"),
        (r#"{"a":[1, {"b":"]"}],"c":[]}"#, &["a", "c"], r#"[1, {"b":"]"}]|[]"#),
        (r#"{"a":{"b": 1}}"#, &["a"], r#"{"b": 1}"#),
        (r#"{"a":null}"#, &["a.b"], "~"),
        (r"{}", &["a"], "~"),
    ];
    for (text, fields, want) in cases {
        assert_eq!(&row(text, fields), want, "{text}");
    }
}

#[test]
fn undeclared_keys_are_counted_and_never_columns() {
    let text = "{\"a\":1,\"x\":2,\"n\":{\"m\":1,\"o\":2}}\n{\"x\":{\"y\":1},\"n\":[1]}\n{\"x\":\n";
    let seen = read(text, &["a", "n.m"]);
    assert_eq!(seen.rows.len(), 2);
    // The bad line does not count.
    let want = [("?", 2), ("n", 1), ("n.?", 1)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(seen.undeclared, want);

    let keys: Vec<_> = (0..1500).map(|i| format!("\"{i}\":1")).collect();
    let seen = read(&format!("{{{}}}", keys.join(",")), &["a"]);
    assert_eq!(seen.undeclared, [("?".to_owned(), 1500)]);
    let seen = read(r#"{"a":"1","john@x.org":1,"n":{"999-94-5397":1}}"#, &["a", "n.m"]);
    assert_eq!(seen.undeclared, [("?".to_owned(), 1), ("n.?".to_owned(), 1)]);
}

#[test]
fn a_bad_line_does_not_stop_the_rest() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(300), "]".repeat(300));
    let text = [
        b"{\"a\":1}\n[1]\n\"x\"\n{\"a\":}\n{\"a\":1} {}\n\n{\"a\":1,\"a\":2}\n".as_slice(),
        b"{\"a\":\"\xFF\"}\n{\"b\":[\"\xFF\"]}\n",
        deep.as_bytes(),
        b"\n{\"a\":\"0123456789",
        &[b'x'; 1000],
        b"\"}\r\n{\"a\":\"\x01\"}\n{\"n\":{\"m\":1},\"n\":{}}\n{\"n.m\":1,\"n\":{\"m\":2}}\n{\"a\":2}",
    ]
    .concat();
    let options = NdjsonOptions { max_line_bytes: 1000, ..NdjsonOptions::default() };
    let seen = read_from(&text[..], &["a", "n.m"], &options);
    assert_eq!(seen.lines, [1, 15]);
    let rejects: Vec<_> = seen.rejects.iter().map(|r| (r.0, r.1)).collect();
    let not_utf8 = RejectReason::InvalidUtf8 { column: 0 };
    assert_eq!(
        rejects,
        [
            (2, RejectReason::NotAnObject),
            (3, RejectReason::NotAnObject),
            (4, RejectReason::NotJson { offset: 5 }),
            (5, RejectReason::NotJson { offset: 8 }),
            (7, RejectReason::DuplicateKey),
            (8, not_utf8),
            (9, not_utf8),
            (10, RejectReason::TooDeep { limit: 200 }),
            (11, RejectReason::RecordTooLong { limit: 1000 }),
            (12, RejectReason::NotJson { offset: 6 }),
            (13, RejectReason::DuplicateKey),
            (14, RejectReason::DuplicateKey),
        ]
    );
    assert_eq!(seen.rejects[4].2, b"{\"a\":1,\"a\":2}");
}

#[test]
fn a_failed_row_leaves_nothing_behind() {
    let text = "{\"a\":\"\\n1\",\"b\":\"x\"}\n{\"a\":\"\\n2\",\"b\":\n{\"b\":\"\\n3\"}\n";
    let seen = read(text, &["a", "b"]);
    let cell = |text: &str| Some(text.to_owned());
    assert_eq!(seen.rows, [[cell("\n1"), cell("x")], [None, cell("\n3")]]);
}

#[test]
fn declared_names_are_checked() {
    let names = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        NdjsonReader::new(&b""[..], &names, NdjsonOptions::default()).err()
    };
    assert!(names(&["a", "b.c"]).is_none());
    let (first, second) = (1, 3);
    assert!(matches!(
        names(&["a", "b", "a"]),
        Some(FormatError::Header(HeaderProblem::Duplicate { first: f, second: s })) if (f, s) == (first, second)
    ));
    assert!(matches!(names(&["a", ""]), Some(FormatError::Header(HeaderProblem::EmptyName { column: 2 }))));
}

#[test]
fn rejects_say_no_value() {
    let text = "{\"a\":\"Canary\"\n[\"Canary\"]\n{\"Canary\":1,\"a\":Canary}\nCanary\n{\"a\":1,\"a\":\"Canary\"}\n";
    let seen = read(text, &["a"]);
    assert_eq!(seen.rejects.len(), 5);
    for (_, reason, _) in &seen.rejects {
        assert!(!reason.to_string().contains("Canary"));
        assert!(!serde_json::to_string(reason).unwrap().contains("Canary"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_as_serde_json(
        rows in prop::collection::vec(prop::collection::btree_map("[abcd]", ".{0,20}", 0..4), 0..20),
        chunk in 1usize..100,
        batch_rows in 1usize..5,
        batch_bytes in 1usize..200,
    ) {
        let mut text = String::new();
        for row in &rows {
            text += &serde_json::to_string(row).unwrap();
            text.push('\n');
        }
        let options = NdjsonOptions { batch_rows, batch_bytes, ..NdjsonOptions::default() };
        let seen = read_from(Dribble(text.as_bytes(), chunk), &["a", "b", "c"], &options);
        prop_assert!(seen.rejects.is_empty());
        let want: Vec<Cells> = rows.iter()
            .map(|row| ["a", "b", "c"].map(|name| row.get(name).cloned()).to_vec())
            .collect();
        prop_assert_eq!(&seen.rows, &want);
        for (raw, line) in seen.raws.iter().zip(text.lines()) {
            prop_assert_eq!(&raw[..], line.as_bytes());
        }
    }

    #[test]
    fn no_line_panics_and_chunks_do_not_show(
        text in "([\\[\\]{}\":,.\\\\abn01 \\n\u{e9}-]|null|true|\\{\"a\":|\"b\":\\{\"c\"){0,80}",
        chunk in 1usize..100,
        batch_rows in 1usize..5,
        batch_bytes in 1usize..200,
    ) {
        let fields = ["a", "b.c", "b.a"];
        let options = NdjsonOptions { batch_rows, batch_bytes, ..NdjsonOptions::default() };
        let have = read_from(Dribble(text.as_bytes(), chunk), &fields, &options);
        let want = read(&text, &fields);
        prop_assert_eq!(have, want);
    }
}
