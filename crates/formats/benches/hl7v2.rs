//! How many HL7 v2 messages a second are taken apart, masked and written on one core.
//!
//! `cargo bench -p cordon-formats --bench hl7v2`; the goal is 300,000 messages of 1 kB.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use cordon_formats::hl7v2::{Edits, MessageReader, ReadOptions, parse, tables};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const MESSAGES: usize = 20_000;

/// Results of a laboratory: a header, a patient, a visit, an order, six observations and a comment, about 1 kB.
fn results() -> Vec<String> {
    let mut x = 0x2545_F491_4F6C_DD1D_u64;
    let mut message = |number: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let name = |n: u64| {
            let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
            let from = (x >> n) as usize % 12;
            letters.get(from..from + 4 + (x >> (n + 8)) as usize % 9).unwrap()
        };
        let (family, given, street) = (name(3), name(11), name(19));
        let (born, id) = (19_200_101 + x % 900_000, x % 100_000_000);
        let mut text = format!(
            "MSH|^~\\&|LAB|{street}|EHR|GENERAL|20240102030405||ORU^R01^ORU_R01|{number:010}|P|2.5.1\r\
             PID|1||{id:08}^^^GENERAL^MR||{family}^{given}^Q||{born}|F||2106-3|{number} {street} ST^^SPRINGFIELD^IL^62701^USA||(217)555-0{:03}|||M||{id:010}|{:03}-{:02}-{:04}\r\
             PV1|1|I|2000^2012^01||||004777^{given}^{family}^J|||SUR||||ADM|A0\r\
             ORC|RE|{number}^EHR|{id}^LAB||CM||||20240101120000\r\
             OBR|1|{number}^EHR|{id}^LAB|24323-8^Comprehensive metabolic panel^LN|||20240101113000|||||||||004777^{given}^{family}^J\r",
            x % 1000,
            x % 899,
            x % 97,
            x % 9973,
        );
        for (set, test) in ["2345-7^Glucose", "3094-0^BUN", "2160-0^Creatinine", "2951-2^Sodium"].iter().enumerate() {
            let value = (x >> set) % 200;
            write!(text, "OBX|{}|NM|{test}^LN||{value}|mg/dL^mg/dL^UCUM|70-99|N|||F|||20240101113000\r", set + 1)
                .unwrap();
        }
        text.push_str("NTE|1|L|Specimen slightly hemolyzed, result may be affected; repeat if clinically indicated.\r");
        text
    };
    (0..MESSAGES).map(&mut message).collect()
}

/// Every field of PID from its identifiers on that has a value is replaced.
fn mask(text: &[u8], edits: &mut Edits, out: &mut Vec<u8>) {
    let message = parse(text).unwrap();
    edits.clear();
    for pid in message.segments().filter(|segment| segment.name() == b"PID") {
        for field in pid.fields().skip(1).filter(|field| !field.value.is_empty()) {
            edits.replace(&field.value, "REDACTED").unwrap();
        }
    }
    edits.write(&message, out).unwrap();
}

#[divan::bench]
fn parse_mask_pid_write(bencher: Bencher<'_, '_>) {
    let messages = results();
    let bytes: usize = messages.iter().map(String::len).sum();
    let mut out = Vec::with_capacity(bytes);
    let mut edits = Edits::default();
    bencher.counter(ItemsCount::new(MESSAGES)).counter(BytesCount::new(bytes)).bench_local(|| {
        out.clear();
        for message in &messages {
            mask(message.as_bytes(), &mut edits, &mut out);
        }
        black_box(&out);
    });
}

#[divan::bench]
fn read_mask_pid_write(bencher: Bencher<'_, '_>) {
    let text = results().concat();
    let mut out = Vec::with_capacity(text.len());
    let mut edits = Edits::default();
    bencher.counter(ItemsCount::new(MESSAGES)).counter(BytesCount::of_str(&text)).bench_local(|| {
        out.clear();
        let mut reader = MessageReader::new(text.as_bytes(), ReadOptions::default());
        while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
            for index in 0..batch.len() {
                mask(batch.raw(index), &mut edits, &mut out);
            }
        }
        black_box(&out);
    });
}

#[divan::bench]
fn flatten(bencher: Bencher<'_, '_>) {
    let messages = results();
    let bytes: usize = messages.iter().map(String::len).sum();
    bencher.counter(ItemsCount::new(MESSAGES)).counter(BytesCount::new(bytes)).bench_local(|| {
        for part in messages.chunks(4096) {
            let parsed: Vec<_> = part.iter().map(|message| parse(message.as_bytes()).unwrap()).collect();
            black_box(tables::flatten(&parsed).unwrap());
        }
    });
}
