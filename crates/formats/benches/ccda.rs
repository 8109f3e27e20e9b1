//! How fast CDA documents are taken apart, matched and put together again, in bytes of XML a second on one core.
//!
//! `cargo bench -p cordon-formats --bench ccda`

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use cordon_formats::ccda::{Document, DocumentReader, Edits, Kind, Limits, Path, PathSet, ReadOptions, Stack, tables};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// A document as a hospital sends it: a header, narrative in tables and coded entries, a few MB.
fn document() -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ClinicalDocument xmlns=\"urn:hl7-org:v3\" \
         xmlns:sdtc=\"urn:hl7-org:sdtc\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n  \
         <id root=\"1.2.3\" extension=\"1\"/>\n  <recordTarget><patientRole><id root=\"1.2\" extension=\"77\"/>\
         <patient><name><given>Ann</given><family>Doe</family></name><birthTime value=\"19600101\"/></patient>\
         </patientRole></recordTarget>\n  <component><structuredBody>\n",
    );
    for section in 0..40 {
        write!(
            text,
            "    <component>\n      <section>\n        <templateId root=\"2.16.840.1.113883.10.20.22.2.3.1\"/>\n        \
             <code code=\"30954-{section}\" codeSystem=\"2.16.840.1.113883.6.1\"/>\n        <title>Results</title>\n        \
             <text><table><thead><tr><th>Test</th><th>Value</th></tr></thead><tbody>"
        )
        .unwrap();
        for row in 0..60 {
            write!(
                text,
                "\n          <tr><td ID=\"r{section}-{row}\">Sodium &amp; potassium in serum</td>\
                 <td><content styleCode=\"Bold\">{row}.4</content> mmol/L</td></tr>"
            )
            .unwrap();
        }
        text.push_str("\n        </tbody></table></text>\n");
        for row in 0..60 {
            write!(
                text,
                "        <entry typeCode=\"DRIV\">\n          <observation classCode=\"OBS\" moodCode=\"EVN\">\n            \
                 <templateId root=\"2.16.840.1.113883.10.20.22.4.2\" extension=\"2015-08-01\"/>\n            \
                 <id root=\"2.16.840.1.113883.19\" extension=\"{section}-{row}\"/>\n            \
                 <code code=\"2951-2\" codeSystem=\"2.16.840.1.113883.6.1\" displayName=\"Sodium\"/>\n            \
                 <text><reference value=\"#r{section}-{row}\"/></text>\n            \
                 <statusCode code=\"completed\"/>\n            <effectiveTime value=\"20240{row:02}01\"/>\n            \
                 <value xsi:type=\"PQ\" value=\"{row}.4\" unit=\"mmol/L\"/>\n          </observation>\n        </entry>\n"
            )
            .unwrap();
        }
        text.push_str("      </section>\n    </component>\n");
    }
    text.push_str("  </structuredBody></component>\n</ClinicalDocument>\n");
    text
}

#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let text = document();
    bencher.counter(BytesCount::of_str(&text)).bench(|| {
        let mut reader = DocumentReader::new(text.as_bytes(), ReadOptions::default());
        let batch = reader.next_batch(1 << 20).unwrap().unwrap();
        assert_eq!(batch.documents.len(), 1);
        black_box(batch);
    });
}

/// Types of all elements and attributes, and forty paths.
#[divan::bench]
fn type_and_match(bencher: Bencher<'_, '_>) {
    let text = document();
    let parsed = Document::parse(text.clone(), Limits::default()).unwrap();
    let mut paths = Vec::new();
    for name in ["id", "name", "addr", "telecom", "birthTime", "effectiveTime", "text", "value", "code", "title"] {
        for path in
            [format!("//{name}"), format!("recordTarget//{name}"), format!("section/{name}"), format!("{name}/@value")]
        {
            paths.push(Path::parse(&path).unwrap());
        }
    }
    let set = PathSet::new(paths);
    bencher.counter(BytesCount::of_str(&text)).bench(|| {
        let (mut stack, mut matcher) = (Stack::new(&parsed), set.matcher(&parsed));
        let mut found = 0;
        for index in 0..parsed.events().len() {
            stack.follow(index);
            matcher.follow(index);
            found += matcher.elements().count();
            for attribute in parsed.attributes(index) {
                found += stack.attribute_type(attribute) as usize;
            }
        }
        black_box(found)
    });
}

/// Every text is replaced.
#[divan::bench]
fn edit(bencher: Bencher<'_, '_>) {
    let text = document();
    let parsed = Document::parse(text.clone(), Limits::default()).unwrap();
    bencher.counter(BytesCount::of_str(&text)).bench(|| {
        let mut edits = Edits::new();
        for (index, event) in parsed.events().iter().enumerate() {
            if event.kind == Kind::Text {
                edits.set_piece(&parsed, index, &parsed.piece(event));
            }
        }
        black_box(edits.apply(parsed.text()).unwrap())
    });
}

#[divan::bench]
fn to_tables(bencher: Bencher<'_, '_>) {
    let text = document();
    let parsed = Document::parse(text.clone(), Limits::default()).unwrap();
    bencher.counter(BytesCount::of_str(&text)).bench(|| black_box(tables::flatten([&parsed]).unwrap()));
}
