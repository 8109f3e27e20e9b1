//! HL7 v2 messages, and the shipped policy on them.

use std::sync::OnceLock;

use arrow_array::cast::AsArray;
use cordon_deid::document::Documents;
use cordon_deid::hl7v2::Hl7v2Recipe;
use cordon_formats::FormatError;
use cordon_formats::hl7v2::{
    Edits, Message, MessageBatch, MessageReader, ReadOptions, RecordKind, RejectReason, parse, tables,
};

use crate::kernels::{env, shipped};
use crate::pieces::{Dribble, LARGE, sizes};

const OPTIONS: ReadOptions = ReadOptions { max_message_bytes: 16 << 10 };

/// None at all for UTF-16, which the reader says.
fn batches(bytes: &[u8], chunk: usize, batch_bytes: usize) -> Vec<MessageBatch> {
    let mut reader = MessageReader::new(Dribble(bytes, chunk), OPTIONS);
    let mut all = Vec::new();
    loop {
        match reader.next_batch(batch_bytes) {
            Ok(Some(batch)) => all.push(batch),
            Ok(None) => return all,
            Err(FormatError::NotUtf8Text) => return Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[derive(Default, PartialEq)]
struct Seen {
    records: Vec<(RecordKind, u64, Vec<u8>)>,
    rejects: Vec<(u64, RejectReason, Vec<u8>, u64)>,
}

fn seen(batches: &[MessageBatch]) -> Seen {
    let mut seen = Seen::default();
    for batch in batches {
        for (index, record) in batch.records.iter().enumerate() {
            seen.records.push((record.kind, record.line, batch.raw(index).to_vec()));
        }
        seen.rejects.extend(batch.rejects.iter().map(|one| (one.line, one.reason, one.raw.clone(), one.cut)));
    }
    seen
}

pub fn read(data: &[u8]) {
    let whole = batches(data, usize::MAX, LARGE);
    let (chunk, batch_bytes) = sizes(data);
    let all = seen(&whole);
    assert!(all == seen(&batches(data, chunk, batch_bytes)), "other messages in pieces");
    if !whole.is_empty() {
        nothing_is_dropped(data, &all);
    }
    for batch in &whole {
        let parsed: Vec<Message<'_>> = (0..batch.len()).map(|index| batch.parse(index).expect("a record")).collect();
        for message in &parsed {
            check(message);
        }
        let messages = batch.records.iter().filter(|record| record.kind == RecordKind::Message).count();
        let flat = tables::flatten(&parsed).expect("tables");
        let rows =
            |name: &str| flat.iter().filter(|(table, _)| table == name).map(|(_, rows)| rows.num_rows()).sum::<usize>();
        assert!(rows(tables::MESSAGE) >= messages, "a message is in no table");
    }
}

/// Records and rejects, one after the other, are the input.
fn nothing_is_dropped(data: &[u8], seen: &Seen) {
    let (mut at, mut records, mut rejects) = (0, seen.records.iter().peekable(), seen.rejects.iter().peekable());
    loop {
        let rest = &data[at..];
        let record =
            records.peek().filter(|(_, _, raw)| rest.starts_with(raw)).map(|(_, line, raw)| (*line, raw.len()));
        let reject = rejects.peek().filter(|(_, _, raw, _)| rest.starts_with(raw));
        let reject = reject.map(|(line, _, raw, cut)| (*line, raw.len() + *cut as usize));
        match (record, reject) {
            (Some((line, _)), Some((reject_line, len))) if reject_line < line => {
                at += len;
                rejects.next();
            }
            (Some((_, len)), _) => {
                at += len;
                records.next();
            }
            (None, Some((_, len))) => {
                at += len;
                rejects.next();
            }
            (None, None) => break,
        }
    }
    assert!(records.next().is_none() && rejects.next().is_none(), "a record is not where it should be");
    let rest = data.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(data);
    let blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0x0B | 0x1C) || rest.len() < 64;
    assert!(at == data.len() || at == 0 && seen.records.is_empty() && rest.iter().all(blank), "bytes were dropped");
}

fn check(message: &Message<'_>) {
    let mut unchanged = Vec::new();
    Edits::default().write(message, &mut unchanged).expect("no edit");
    assert!(unchanged == message.bytes(), "what nobody edits stays");
    let (mut edits, mut at) = (Edits::default(), 0);
    let mut texts = Vec::new();
    for segment in message.segments() {
        let (span, line) = (segment.span(), segment.line_span());
        assert!(
            line.start >= at && line.start <= span.start && span.end <= line.end && line.end <= message.bytes().len()
        );
        at = line.end;
        assert!(&message.bytes()[span.clone()] == segment.bytes());
        let is_header = message.header().is_some_and(|header| header.index() == segment.index());
        let mut inner = span.start;
        for field in segment.fields() {
            for leaf in field.value.leaves() {
                let place = leaf.value.span();
                assert!(place.start >= inner && place.end <= span.end);
                assert!(&message.bytes()[place.clone()] == leaf.value.bytes());
                inner = place.end;
                if !is_header {
                    let text = leaf.value.text();
                    edits.replace(&leaf.value, &text).expect("places ascend");
                    texts.push(text.into_owned());
                }
            }
        }
    }
    // Every text written in its own place is read as it was. Encodings other than ASCII may lose what they never could spell;
    // blanks at the ends of lines and line ends in texts are no text of a segment.
    let mut out = Vec::new();
    edits.write(message, &mut out).expect("places ascend");
    let plain = |text: &String| text.bytes().all(|byte| (b' '..0x7F).contains(&byte)) && text.trim() == text;
    if message.segments().any(|segment| segment.is_text())
        || message.header().is_none()
        || !message.bytes().is_ascii()
        || !texts.iter().all(plain)
    {
        return;
    }
    let again = parse(&out).expect("it was a message");
    let again_texts =
        again.segments().filter(|segment| again.header().is_none_or(|header| header.index() != segment.index()));
    let again_texts: Vec<String> = again_texts
        .flat_map(|segment| segment.fields().flat_map(|field| field.value.leaves()).collect::<Vec<_>>())
        .map(|leaf| leaf.value.text().into_owned())
        .collect();
    // Without an escape character a delimiter in a text cannot be spelled.
    if message.delimiters().escape.is_some() {
        assert!(again_texts == texts, "texts written in their places are read otherwise");
    }
}

fn recipe() -> &'static Hl7v2Recipe {
    static RECIPE: OnceLock<Documents> = OnceLock::new();
    let documents = RECIPE.get_or_init(|| shipped(include_str!("../../crates/deid/policies/hl7v2.yaml"), "hl7"));
    documents.hl7v2().expect("a policy for HL7 v2")
}

pub fn warm() {
    recipe();
}

fn out(batches: &[MessageBatch]) -> (Vec<String>, Vec<(String, String)>) {
    let (mut messages, mut failures) = (Vec::new(), Vec::new());
    for batch in batches {
        let output = recipe().apply(batch, &env()).unwrap_or_else(|error| panic!("{error}"));
        for (_, rows) in output.tables.iter().filter(|(table, _)| table == "message") {
            let column = rows.column_by_name("message").expect("the column").as_string_view();
            messages.extend(column.iter().map(|text| text.expect("a message").to_owned()));
        }
        failures.extend(output.failures.iter().map(|failure| (failure.path.clone(), failure.reason.to_string())));
        let sent = batch.records.iter().filter(|record| record.kind == RecordKind::Message).count();
        assert!(output.documents as usize + output.failures.len() == sent, "a message is nowhere");
    }
    (messages, failures)
}

/// What comes out is a message without lines that are no segments and without segments that HL7 does not define.
pub fn apply(data: &[u8]) {
    let done = out(&batches(data, usize::MAX, LARGE));
    for text in &done.0 {
        let message = parse(text.as_bytes()).expect("a message came out");
        for segment in message.segments() {
            assert!(!segment.is_text() && !matches!(segment.name(), [b'Z', ..]), "an undeclared line passed");
        }
    }
    assert!(out(&batches(data, usize::MAX, sizes(data).1)) == done, "other results in other batches");
}
