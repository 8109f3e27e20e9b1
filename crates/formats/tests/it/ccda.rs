//! CDA documents: what is taken apart goes together again, what is hostile is set aside, what is known has its type.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path as FilePath, PathBuf};

use cordon_formats::ccda::types::{name, of, of_attribute};
use cordon_formats::ccda::{
    AttributeType, CdaType, Document, DocumentReader, Edits, Family, Kind, Limits, NameId, Ns, Path, PathProblem,
    PathSet, ReadOptions, RejectReason, Stack, XmlProblem, escape_attribute, escape_text, tables,
};
use proptest::prelude::*;
use quick_xml::events::Event as Quick;

use crate::support::{Dribble, cells};

fn parse(xml: &str) -> Document {
    Document::parse(xml.to_owned(), Limits::default()).unwrap_or_else(|error| panic!("{error}: {xml:.300}"))
}

fn problem(xml: &str) -> XmlProblem {
    match Document::parse(xml.to_owned(), Limits::default()) {
        Ok(_) => panic!("passed: {xml:.300}"),
        Err(error) => error.problem,
    }
}

/// Line and text of the documents; line and reason of the rejects.
type Seen = (Vec<(u64, String)>, Vec<(u64, RejectReason)>);

fn read(bytes: &[u8], options: ReadOptions) -> Seen {
    let mut reader = DocumentReader::new(Dribble(bytes, 7000), options);
    let (mut documents, mut rejects) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
        documents.extend(batch.documents.into_iter().map(|one| (one.line, one.into_text())));
        rejects.extend(batch.rejects.into_iter().map(|one| (one.line, one.reason)));
    }
    (documents, rejects)
}

/// The files of third parties; none where they are absent.
fn shared() -> Vec<(PathBuf, Vec<u8>)> {
    let root = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let Ok(folder) = std::fs::read_dir(root.join("ccda")) else {
        eprintln!("skipped: no third-party data at {}", root.display());
        return Vec::new();
    };
    let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

const PATIENT: &str = r##"<?xml version="1.0" encoding="UTF-8"?>
<!-- head -->
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:sdtc="urn:hl7-org:sdtc" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
  <id root="1.2" extension="doc-1"/>
  <code code="34133-9" codeSystem="2.16.840.1.113883.6.1" displayName="Summary"/>
  <title>Summary &amp; more</title>
  <effectiveTime value="20240102"/>
  <confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/>
  <recordTarget><patientRole>
    <id root="1.3" extension='0007'/>
    <addr use="HP"><streetAddressLine>1 Elm St</streetAddressLine><state>MA</state><postalCode>02139</postalCode></addr>
    <telecom value="tel:+1-555"/>
    <patient>
      <name><given>Ann</given><given/><family qualifier="CL">O&apos;Hara</family></name>
      <administrativeGenderCode code="F"/><birthTime value="19570301"/>
      <raceCode code="2106-3"/><sdtc:raceCode code="2106-3" sdtc:valueSet="1.2"/>
    </patient>
    <providerOrganization><name>General</name></providerOrganization>
  </patientRole></recordTarget>
  <author><time value="20240102"/><assignedAuthor><representedOrganization><name>General</name></representedOrganization></assignedAuthor></author>
  <component><structuredBody>
    <component><section>
      <templateId root="2.16.840.1.113883.3.3251.1.10"/>
      <code code="10164-2" codeSystem="2.16.840.1.113883.6.1"/><title>History</title>
      <text><paragraph>Mrs <content styleCode="Bold">O'H</content>ara
        fell.</paragraph><table><tbody><tr><td ID="a">Height</td><td>1 m</td></tr><tr><td><br/>x</td></tr></tbody></table><![CDATA[raw <b>]]></text>
      <confidentialityCode code="R"/>
      <entry typeCode="DRIV"><observation classCode="OBS" moodCode="EVN">
        <id root="1.4"/><code code="8302-2" codeSystem="2.16.840.1.113883.6.1" displayName="Height"/>
        <text><reference value="#a"/></text><statusCode code="completed"/>
        <effectiveTime><low value="2024"/><high value="2025"/></effectiveTime>
        <value xsi:type="PQ" value="1.0" unit="m"/>
        <entryRelationship typeCode="REFR"><organizer classCode="CLUSTER" moodCode="EVN"><component>
          <observation classCode="OBS" moodCode="EVN"><templateId root="2.16.840.1.113883.3.3251.1.12"/>
            <value xsi:type="CE" code="V" codeSystem="2.16.840.1.113883.5.25"/></observation>
        </component></organizer></entryRelationship>
      </observation></entry>
      <component><section><code code="x"/><text>inner</text></section></component>
    </section></component>
  </structuredBody></component>
</ClinicalDocument>
"##;

/// Each element's path of names, and its type.
fn typed(document: &Document) -> Vec<(String, CdaType)> {
    let mut stack = Stack::new(document);
    let mut out = Vec::new();
    for (index, event) in document.events().iter().enumerate() {
        stack.follow(index);
        if event.is_element() {
            let names: Vec<_> = stack.elements().iter().map(|event| document.local_name(*event)).collect();
            out.push((names.join("/"), stack.cda_type()));
        }
    }
    out
}

fn type_at(document: &Document, path: &str) -> CdaType {
    typed(document).into_iter().find(|(at, _)| at.ends_with(path)).unwrap_or_else(|| panic!("no {path}")).1
}

fn assert_covered(document: &Document) {
    let mut at = 0;
    for event in document.events() {
        assert_eq!(event.start as usize, at);
        assert!(event.end > event.start);
        let inner = event.inner();
        assert!(event.start as usize <= inner.start && inner.end <= event.end as usize);
        at = event.end as usize;
    }
    assert_eq!(at, document.text().len());
}

/// Writes every text and every value anew, as what it says.
fn rewrite(document: &Document) -> String {
    let mut edits = Edits::new();
    for (index, event) in document.events().iter().enumerate() {
        if event.kind == Kind::Text && !document.piece(event).trim_ascii().is_empty() {
            edits.set_piece(document, index, &document.piece(event));
        }
        for attribute in document.attributes(index) {
            edits.set_attribute(document, attribute, &document.value(attribute));
        }
    }
    edits.apply(document.text()).unwrap()
}

/// What a document says, element by element, however it is written.
fn meaning(document: &Document) -> Vec<String> {
    let mut out = Vec::new();
    for (index, event) in document.events().iter().enumerate() {
        let mut line = format!("{:?} {}", event.kind, document.local_name(index));
        for attribute in document.attributes(index) {
            write!(line, " {:?}={}", attribute.name, document.value(attribute)).unwrap();
        }
        line.push_str(&document.piece(event));
        out.push(line);
    }
    out
}

/// Names and attributes as another parser sees them.
fn as_quick_xml_sees(text: &str) -> Option<Vec<String>> {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut out = Vec::new();
    loop {
        let (tag, empty) = match reader.read_event().ok()? {
            Quick::Start(tag) => (tag, false),
            Quick::Empty(tag) => (tag, true),
            Quick::End(tag) => {
                out.push(format!("/{}", tag.name().as_ref()));
                continue;
            }
            Quick::Eof => return Some(out),
            _ => continue,
        };
        let mut line: String = tag.name().as_ref().to_owned();
        for attribute in tag.attributes() {
            let attribute = attribute.ok()?;
            let key: &str = attribute.key.as_ref();
            write!(line, " {key}={}", attribute.value).unwrap();
        }
        let close = line.split(' ').next().unwrap().to_owned();
        out.push(line);
        if empty {
            out.push(format!("/{close}"));
        }
    }
}

fn as_we_see(document: &Document) -> Vec<String> {
    let mut out = Vec::new();
    for (index, event) in document.events().iter().enumerate() {
        match event.kind {
            Kind::Open | Kind::Empty => {
                let written = document.raw(event.inner());
                let mut line = written.to_owned();
                for attribute in document.attributes(index) {
                    let key = document.raw(attribute.name_start as usize..attribute.name_end as usize);
                    write!(line, " {key}={}", document.raw(attribute.value())).unwrap();
                }
                out.push(line);
                if event.kind == Kind::Empty {
                    out.push(format!("/{written}"));
                }
            }
            Kind::Close => out.push(format!("/{}", document.raw(event.inner()))),
            _ => {}
        }
    }
    out
}

#[test]
fn real_documents_come_out_as_they_went_in() {
    let mut known = 0;
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    for (path, bytes) in shared() {
        let (documents, rejects) = read(&bytes, ReadOptions::default());
        assert!(rejects.is_empty(), "{}: {:?}", path.display(), rejects);
        let back: Vec<u8> = documents.iter().flat_map(|(_, text)| text.bytes()).collect();
        assert_eq!(back, bytes, "{}", path.display());
        let document = parse(&documents[0].1);
        assert_covered(&document);
        assert_eq!(as_quick_xml_sees(document.text()).unwrap(), as_we_see(&document), "{}", path.display());
        let again = parse(&rewrite(&document));
        assert_eq!(meaning(&again), meaning(&document), "{}", path.display());
        for (path, of) in typed(&document) {
            if of == CdaType::Unknown { *unknown.entry(path).or_default() += 1 } else { known += 1 }
        }
        let tables = tables::flatten([&document]).unwrap();
        assert_eq!(tables[0].1.num_rows(), 1);
        assert_eq!(tables[1].1.num_rows(), document.sections().count());
    }
    let strangers: usize = unknown.values().sum();
    // One of the samples is meant to be bad.
    assert!(strangers * 50 <= known, "{strangers} of {known} elements are unknown");
}

#[test]
fn texts_replaced_by_themselves_leave_the_bytes() {
    let document = parse(PATIENT);
    assert_covered(&document);
    let rewritten = rewrite(&document);
    assert_eq!(rewritten.replace("O'Hara", "O&apos;Hara"), PATIENT);
}

#[test]
fn edits_are_written_at_their_places() {
    let document = parse(PATIENT);
    let find = |wanted: &str| {
        let mut stack = Stack::new(&document);
        let path = Path::parse(wanted).unwrap();
        let found = (0..document.events().len()).find(|event| {
            stack.follow(*event);
            path.matches(&stack)
        });
        found.unwrap_or_else(|| panic!("no {wanted}"))
    };
    let mut edits = Edits::new();
    edits.mask(&document, find("patientRole/id"));
    edits.mask(&document, find("patient/name"));
    edits.mask(&document, find("patientRole/addr"));
    edits.set_content(&document, find("addr/state"), "never seen: it lies in what is masked");
    edits.remove(&document, find("patientRole/telecom"));
    edits.set_content(&document, find("//section/title"), "<A> & \u{1}");
    edits.set_content(&document, find("patient/administrativeGenderCode"), "x");
    let gender = find("patient/administrativeGenderCode");
    edits.set_attribute(&document, &document.attributes(gender)[0], "a\"<&\n'");
    edits.remove(&document, find("component//entry"));
    let out = edits.apply(document.text()).unwrap();
    let want = PATIENT
        .replace("<id root=\"1.3\" extension='0007'/>", "<id nullFlavor=\"MSK\"/>")
        .replace(
            "<name><given>Ann</given><given/><family qualifier=\"CL\">O&apos;Hara</family></name>",
            "<name nullFlavor=\"MSK\"></name>",
        )
        .replace("<streetAddressLine>1 Elm St</streetAddressLine><state>MA</state><postalCode>02139</postalCode>", "")
        .replace("<addr use=\"HP\">", "<addr nullFlavor=\"MSK\" use=\"HP\">")
        .replace("<telecom value=\"tel:+1-555\"/>", "")
        .replace("<title>History</title>", "<title>&lt;A&gt; &amp; \u{FFFD}</title>")
        .replace(
            "<administrativeGenderCode code=\"F\"/>",
            "<administrativeGenderCode code=\"a&quot;&lt;&amp;&#10;'\">x</administrativeGenderCode>",
        );
    let entry = want.find("<entry ").unwrap()..want.find("</entry>\n").unwrap() + "</entry>".len();
    let want = [&want[..entry.start], &want[entry.end..]].concat();
    assert_eq!(out, want);
    let again = parse(&out);
    assert_eq!(again.attribute_value(gender_of(&again), name("code")).unwrap(), "a\"<&\n'");

    let mut clash = Edits::new();
    clash.replace(5..10, String::new());
    clash.replace(8..12, String::new());
    assert!(clash.apply(PATIENT).is_err());
    let mut clash = Edits::new();
    clash.replace(5..10, "a".into());
    clash.replace(5..10, "b".into());
    assert!(clash.apply(PATIENT).is_err());
    let mut beyond = Edits::new();
    beyond.replace(5..PATIENT.len() + 1, String::new());
    assert!(beyond.apply(PATIENT).is_err());
}

fn gender_of(document: &Document) -> usize {
    let names = ["recordTarget", "patientRole", "patient", "administrativeGenderCode"].map(name);
    document.descend(document.root(), &names).unwrap()
}

#[test]
fn a_masked_element_keeps_its_type_and_says_so_once() {
    let xml = r#"<observation xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><value xsi:type='PQ' nullFlavor='UNK' value="1" unit="m"><translation value="2"/></value></observation>"#;
    let document = parse(xml);
    let value = document.children(document.root()).next().unwrap();
    let mut edits = Edits::new();
    edits.mask(&document, value);
    let out = edits.apply(xml).unwrap();
    assert!(out.ends_with("<value xsi:type='PQ' nullFlavor='MSK'></value></observation>"), "{out}");
}

#[test]
fn types_come_from_the_place() {
    let document = parse(PATIENT);
    for (path, of) in [
        ("ClinicalDocument", CdaType::Structure),
        ("ClinicalDocument/typeId", CdaType::Template),
        ("ClinicalDocument/id", CdaType::Ii),
        ("ClinicalDocument/title", CdaType::St),
        ("patient/name", CdaType::Pn),
        ("patient/name/family", CdaType::Enxp),
        ("providerOrganization/name", CdaType::On),
        ("patientRole/addr/postalCode", CdaType::Adxp),
        ("patientRole/telecom", CdaType::Tel),
        ("patient/birthTime", CdaType::Ts),
        ("patient/raceCode", CdaType::Ce),
        ("section/text/paragraph/content", CdaType::Narrative),
        ("observation/text", CdaType::Ed),
        ("observation/text/reference", CdaType::Reference),
        ("observation/effectiveTime", CdaType::IvlTs),
        ("observation/effectiveTime/low", CdaType::Ts),
        ("observation/value", CdaType::Pq),
        ("organizer/component/observation/value", CdaType::Ce),
    ] {
        assert_eq!(type_at(&document, path), of, "{path}");
    }
    assert!(typed(&document).iter().all(|(_, of)| *of != CdaType::Unknown));
    let mut stack = Stack::new(&document);
    for index in 0..document.events().len() {
        stack.follow(index);
        for attribute in document.attributes(index) {
            assert_ne!(stack.attribute_type(attribute), AttributeType::Unknown, "{:?}", document.local_name(index));
        }
    }
}

#[test]
fn what_cda_does_not_know_is_unknown_with_all_that_is_in_it() {
    let v3 = "xmlns=\"urn:hl7-org:v3\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";
    let of = |inner: &str, path: &str| type_at(&parse(&format!("<section {v3}>{inner}</section>")), path);
    assert_eq!(of("<text><b>x</b></text>", "text/b"), CdaType::Unknown);
    assert_eq!(of("<text><b><content>x</content></b></text>", "b/content"), CdaType::Unknown);
    assert_eq!(of("<patient/>", "section/patient"), CdaType::Unknown);
    assert_eq!(of("<e:text xmlns:e=\"urn:x\"/>", "section/text"), CdaType::Unknown);
    assert_eq!(of("<text xmlns=\"\"/>", "section/text"), CdaType::Unknown);
    let value = |value: &str| of(&format!("<entry><observation>{value}</observation></entry>"), "observation/value");
    assert_eq!(value("<value/>"), CdaType::Any);
    assert_eq!(value("<value xsi:type=\"x:IVL_PQ\"/>"), CdaType::IvlPq);
    assert_eq!(value("<value xsi:type=\"XYZ\"/>"), CdaType::Unknown);
    // What is a time may not say that it is text.
    let time = "<entry><observation><effectiveTime xsi:type=\"ST\">Jan 3</effectiveTime></observation></entry>";
    assert_eq!(of(time, "effectiveTime"), CdaType::Unknown);
    let document = parse(&format!("<section {v3} onclick=\"x\" e:ID=\"y\" code=\"z\" ID=\"s\"/>"));
    let mut stack = Stack::new(&document);
    stack.follow(document.root());
    let types: Vec<_> = document.attributes(0).iter().skip(2).map(|one| stack.attribute_type(one)).collect();
    use AttributeType::{NarrativeId, Unknown};
    assert_eq!(types, [Unknown, Unknown, Unknown, NarrativeId]);
}

#[test]
fn prefixes_may_be_odd() {
    let plain = parse(PATIENT);
    let odd = PATIENT
        .replace("xmlns=\"urn:hl7-org:v3\"", "xmlns:n1=\"urn:hl7-org:v3\"")
        .replace("sdtc", "x")
        .replace("urn:hl7-org:x", "urn:hl7-org:sdtc")
        .replace("xsi", "i");
    let mut prefixed = String::new();
    let mut rest = odd.as_str();
    while let Some(at) = rest.find('<') {
        prefixed.push_str(&rest[..at]);
        rest = &rest[at..];
        let slash = usize::from(rest.starts_with("</"));
        let name = &rest[1 + slash..];
        let end = name.find([' ', '>', '/']).unwrap();
        let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name[..end].contains(':');
        prefixed.push_str(&rest[..=slash]);
        if is_plain && name[..end] != *"b" {
            prefixed.push_str("n1:");
        }
        rest = name;
    }
    prefixed.push_str(rest);
    let odd = parse(&prefixed);
    assert_eq!(typed(&odd), typed(&plain));
    // Parts without any namespace, as examples are sent.
    let part = parse(
        "<recordTarget><patientRole><patient><sdtc:raceCode code='1'/><x:name/></patient></patientRole></recordTarget>",
    );
    assert!(part.is_unqualified());
    assert_eq!(type_at(&part, "patient/raceCode"), CdaType::Ce);
    assert_eq!(type_at(&part, "patient/name"), CdaType::Unknown);
}

#[test]
fn the_types_of_a_path_are_told() {
    let types = |path: &str| of(&Path::parse(path).unwrap());
    assert_eq!(types("ClinicalDocument/recordTarget/patientRole/id"), [CdaType::Ii]);
    // The last is the name of a code's qualifier.
    assert_eq!(types("recordTarget//name"), [CdaType::Pn, CdaType::On, CdaType::En, CdaType::Cv]);
    assert_eq!(types("section/text"), [CdaType::Narrative]);
    assert_eq!(types("/ClinicalDocument/section"), []);
    assert_eq!(types("patient/text"), []);
    assert_eq!(types("patient/sdtc:raceCode"), [CdaType::Ce]);
    assert_eq!(types("observation/value"), [CdaType::Any]);
    assert_eq!(types("value/translation"), [CdaType::Cd, CdaType::Pqr]);
    assert_eq!(types("//*").len(), typed_names());
    let attributes = |path: &str| of_attribute(&Path::parse(path).unwrap());
    assert_eq!(attributes("//patientRole/id/@extension"), [AttributeType::Extension]);
    assert_eq!(attributes("//birthTime/@value"), [AttributeType::Value]);
    assert_eq!(attributes("//birthTime/@root"), []);
    assert_eq!(attributes("//@displayName"), [AttributeType::Display]);
    assert_eq!(attributes("observation/value/@unit"), [AttributeType::Unit]);
    assert_eq!(CdaType::PivlTs.family(), Family::Time);
}

#[test]
fn paths_name_elements_and_attributes() {
    let document = parse(PATIENT);
    let texts = [
        "ClinicalDocument/recordTarget/patientRole/id",
        "//name",
        "recordTarget//name",
        "section[@code='10164-2']//text",
        "/ClinicalDocument//section[templateId/@root=\"2.16.840.1.113883.3.3251.1.10\"]/title",
        "//@root",
        "patientRole/id/@extension",
        "//value[@xsi:type='PQ']/@value",
        "/recordTarget",
        "patientRole/*",
        "section[@code='y']//text",
        "sdtc:raceCode/@sdtc:valueSet",
        "observation/@*",
        "patient//given",
        "component//component/section/code",
    ];
    let paths: Vec<Path> = texts.iter().map(|text| Path::parse(text).unwrap()).collect();
    let set = PathSet::new(paths.clone());
    let mut matcher = set.matcher(&document);
    let mut stack = Stack::new(&document);
    let mut hits = vec![0; paths.len()];
    for index in 0..document.events().len() {
        matcher.follow(index);
        stack.follow(index);
        let mut alone: Vec<usize> = (0..paths.len()).filter(|path| paths[*path].matches(&stack)).collect();
        let together: Vec<usize> = matcher.elements().collect();
        assert!(together.windows(2).all(|two| paths[two[0]].specificity() >= paths[two[1]].specificity()));
        let is_start = document.event(index).unwrap().is_element();
        for path in together.iter().filter(|_| is_start) {
            hits[*path] += 1;
        }
        let mut sorted = together.clone();
        sorted.sort_unstable();
        alone.sort_unstable();
        assert_eq!(sorted, alone);
        for attribute in document.attributes(index) {
            let mut alone: Vec<usize> =
                (0..paths.len()).filter(|path| paths[*path].matches_attribute(&stack, attribute)).collect();
            let mut together: Vec<usize> = matcher.attributes(attribute).collect();
            for path in &together {
                hits[*path] += 1;
            }
            together.sort_unstable();
            alone.sort_unstable();
            assert_eq!(together, alone);
        }
    }
    assert_eq!(hits, [1, 3, 2, 3, 1, 6, 1, 1, 0, 5, 0, 1, 4, 2, 2]);
}

#[test]
fn mistakes_in_paths_are_told_with_their_place() {
    use PathProblem::*;
    for (text, at, problem) in [
        ("", 0, NoName),
        ("//", 2, NoName),
        ("patient/nome", 8, UnknownName),
        ("x:name", 0, UnknownPrefix),
        ("name/@use/x", 9, BehindAttribute),
        ("section[1]", 8, UnknownName),
        ("section[@code=5]", 14, Predicate),
        ("section[@code='5'", 17, Predicate),
        ("name ", 4, NoName),
    ] {
        match Path::parse(text) {
            Err(error) => assert_eq!((error.at, error.problem), (at, problem), "{text}"),
            Ok(_) => panic!("{text}"),
        }
    }
    assert!(Path::parse(&"a/".repeat(40)).is_err());
    assert_eq!(Path::parse(&vec!["name"; 40].join("/")).unwrap_err().problem, TooLong);
}

#[test]
fn sections_say_how_secret_they_are() {
    let document = parse(PATIENT);
    let sections: Vec<_> = document.sections().collect();
    assert_eq!(sections.len(), 2);
    let outer = &sections[0];
    assert_eq!((outer.depth, outer.code.as_deref(), outer.confidentiality.as_deref()), (0, Some("10164-2"), Some("R")));
    assert_eq!(document.raw(outer.title.clone().unwrap()), "History");
    assert!(outer.is_segmented && outer.is_restricted());
    let inner = &sections[1];
    assert_eq!((inner.depth, inner.confidentiality.as_deref(), inner.effective.as_deref()), (1, None, Some("R")));
    assert!(!inner.is_segmented && inner.is_restricted());
    let marks: Vec<_> = document.marks().collect();
    assert_eq!(marks.len(), 1);
    assert!(marks[0].is_restricted());
    assert_eq!(
        document.attribute_value(document.children(marks[0].marked).next().unwrap(), name("root")).unwrap(),
        "1.4"
    );
}

#[test]
fn narrative_is_read_in_order() {
    let document = parse(PATIENT);
    let section = document.sections().next().unwrap().event;
    let text = document.children_named(section, name("text")).next().unwrap();
    let narrative = document.narrative(text);
    assert_eq!(narrative.plain(), "Mrs O'Hara fell.\nHeight\t1 m\nx\nraw <b>");
    for (place, event) in &narrative.pieces {
        assert_eq!(narrative.text[place.clone()], document.piece(document.event(*event).unwrap()));
    }
}

#[test]
fn documents_become_tables() {
    let document = parse(PATIENT);
    let tables = tables::flatten([&document, &document]).unwrap();
    let row = |table: usize, row: usize| -> BTreeMap<&str, String> {
        let (_, columns) = tables::TABLES[table];
        let cells = cells(&tables[table].1).remove(row);
        columns.iter().zip(cells).filter_map(|(name, cell)| Some((*name, cell?))).collect()
    };
    let names: Vec<_> = tables.iter().map(|(name, batch)| (name.as_str(), batch.num_rows())).collect();
    assert_eq!(names, [("document", 2), ("section", 4), ("entry", 6)]);
    let first = row(0, 1);
    for (column, value) in [
        ("document", "doc-1"),
        ("type_code", "34133-9"),
        ("title", "Summary & more"),
        ("patient", "0007"),
        ("patient_root", "1.3"),
        ("gender", "F"),
        ("birth_time", "19570301"),
        ("patient_zip", "02139"),
        ("author_organization", "General"),
        ("xml", PATIENT),
    ] {
        assert_eq!(first[column], value, "{column}");
    }
    let inner = row(1, 1);
    assert_eq!((inner["parent_section"].as_str(), inner["narrative"].as_str()), ("0", "inner"));
    assert_eq!(inner["effective_confidentiality"], "R");
    let entry = row(2, 0);
    for (column, value) in [
        ("section_code", "10164-2"),
        ("class", "observation"),
        ("mood", "EVN"),
        ("relation", "DRIV"),
        ("id", "1.4"),
        ("code", "8302-2"),
        ("display", "Height"),
        ("status", "completed"),
        ("start", "2024"),
        ("end", "2025"),
        ("value_type", "PQ"),
        ("value", "1.0"),
        ("value_unit", "m"),
    ] {
        assert_eq!(entry[column], value, "{column}");
    }
    let nested = row(2, 2);
    assert_eq!((nested["parent_entry"].as_str(), nested["value"].as_str()), ("1", "V"));
    let empty = tables::flatten(std::iter::empty()).unwrap();
    assert!(empty.iter().all(|(_, batch)| batch.num_rows() == 0));
}

#[test]
fn entities_and_document_types_are_refused() {
    let laughs = "<!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol1 \"&lol;&lol;\">]><section>&lol1;</section>";
    assert_eq!(problem(laughs), XmlProblem::Doctype);
    assert_eq!(problem("<!doctype html><section/>"), XmlProblem::Doctype);
    assert_eq!(problem("<section>&lol1;</section>"), XmlProblem::UnknownEntity);
    assert_eq!(problem("<section ID=\"&nbsp;\"/>"), XmlProblem::UnknownEntity);
    for reference in ["&#0;", "&#x;", "&#;", "&#xD800;", "&#x110000;", "&#+65;", "&#1;", "&;", "&", "& x;", "&#65"] {
        assert_eq!(problem(&format!("<section>{reference}</section>")), XmlProblem::BadReference, "{reference}");
    }
    let document = parse("<title>&#65;&#x42;&lt;&quot;&apos;&gt;&amp;amp;</title>");
    assert_eq!(document.own_text(document.root()), "AB<\"'>&amp;");
}

#[test]
fn what_is_no_xml_is_refused() {
    use XmlProblem::*;
    for (text, want) in [
        ("", NoRoot),
        ("  <!-- x -->", NoRoot),
        ("x<a/>", OutsideRoot),
        ("<a/>x", OutsideRoot),
        ("<a>", EndsEarly),
        ("<a", EndsEarly),
        ("<a b=\"", EndsEarly),
        ("<a><!-- ", EndsEarly),
        ("<a><![CDATA[ ]]</a>", EndsEarly),
        ("<a></b>", EndTag),
        ("<a></ab>", EndTag),
        ("</a>", EndTag),
        ("<a/></a>", EndTag),
        ("<a b=1/>", BadAttribute),
        ("<a b/>", BadAttribute),
        ("<a b=\"<\"/>", BadAttribute),
        ("<a b=\"1\"c=\"2\"/>", BadMarkup),
        ("<a b=\"1\" b=\"2\"/>", DuplicateAttribute),
        ("<a xmlns:x=\"u\" xmlns:y=\"u\" x:b=\"1\" y:b=\"2\"/>", DuplicateAttribute),
        ("<1a/>", BadName),
        ("<a:b:c/>", BadName),
        ("<:a/>", BadName),
        ("<a\u{d7}/>", BadName),
        ("< a/>", BadName),
        ("<a>]]></a>", CDataEnd),
        ("<a>\0</a>", BadCharacter),
        ("<a b=\"\u{b}\"/>", BadCharacter),
        ("<a>\u{FFFF}</a>", BadCharacter),
        ("<a><?xml version=\"1.0\"?></a>", BadMarkup),
        ("<a><?XML x?></a>", BadMarkup),
        ("<![CDATA[x]]><a/>", BadMarkup),
        ("<a xmlns:xml=\"urn:x\"/>", BadNamespace),
        ("<a xmlns:p=\"\"/>", BadNamespace),
        ("<xmlns:a/>", BadNamespace),
    ] {
        assert_eq!(problem(text), want, "{text}");
    }
    for text in ["<a/>", " \n<?xml version='1.0'?><a></a >\n<!-- -- -->", "\u{FEFF}<a é=\"1\" b = 'x>'/>", "<a>></a>"]
    {
        assert_covered(&parse(text));
    }
}

/// Attributes with a number in the place of each `#`.
fn numbered(count: usize, attribute: &str) -> String {
    (0..count).flat_map(|n| [" ".to_owned(), attribute.replace('#', &n.to_string())]).collect()
}

#[test]
fn depth_number_and_size_are_bounded() {
    assert_eq!(problem(&"<a>".repeat(10_000)), XmlProblem::TooDeep);
    parse(&format!("{}{}", "<a>".repeat(256), "</a>".repeat(256)));
    let few = Limits { max_nodes: 10, ..Limits::default() };
    let refused = |text: String| Document::parse(text, few).err().unwrap().problem;
    assert_eq!(refused(format!("<a>{}</a>", "<b/>".repeat(10))), XmlProblem::TooMany);
    assert_eq!(refused(format!("<a {}/>", numbered(12, "b# = ''"))), XmlProblem::TooMany);
    let spaces = numbered(300, "xmlns:p#='u#'");
    assert_eq!(problem(&format!("<a{spaces}/>")), XmlProblem::TooMany);
    let long = "x".repeat(4 << 20);
    let document = parse(&format!("<a b=\"{long}\"/>"));
    assert_eq!(document.value(&document.attributes(0)[0]).len(), long.len());
    let many = numbered(20_000, "a#=''");
    parse(&format!("<a{many}/>"));
    assert_eq!(problem(&format!("<a{many} a7=''/>")), XmlProblem::DuplicateAttribute);

    let options = ReadOptions { max_bytes: 100, ..ReadOptions::default() };
    let mut reader = DocumentReader::new(PATIENT.as_bytes(), options);
    let batch = reader.next_batch(1).unwrap().unwrap();
    let reject = &batch.rejects[0];
    assert_eq!(reject.reason, RejectReason::TooLong { limit: 100 });
    assert_eq!(reject.raw.len() as u64 + reject.cut, PATIENT.len() as u64);
    assert!(reader.next_batch(1).unwrap().is_none());
}

#[test]
fn hostile_files_take_no_square_of_their_length() {
    let started = std::time::Instant::now();
    for unit in
        ["<?xml ?><!--", "<?xml ?><a>", "<?xml ?><a>\u{1}<![CDATA[", "<?xml ?><a b='", "<?xml &", "\n\t\r&#13;<"]
    {
        let mut text = unit.repeat((1 << 20) / unit.len());
        read(text.as_bytes(), ReadOptions::default());
        text.push_str("]]></a>");
        read(text.as_bytes(), ReadOptions::default());
    }
    let white = format!("<a b='{}'/>", "\n".repeat(1 << 20));
    let document = parse(&white);
    assert_eq!(document.value(&document.attributes(0)[0]).trim(), "");
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn several_documents_in_a_file_are_read_and_broken_ones_set_aside() {
    let broken = "<?xml version=\"1.0\"?>\n<ClinicalDocument>\n<id></ClinicalDocument>\n";
    let file = format!("{PATIENT}{broken}\u{FEFF}{PATIENT}<section/>\n<html/>");
    let (documents, rejects) = read(file.as_bytes(), ReadOptions::default());
    let lines = |text: &str| text.matches('\n').count() as u64;
    let first = lines(PATIENT);
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[0], (1, PATIENT.to_owned()));
    assert_eq!(documents[1].0, 1 + first + 3);
    assert_eq!(documents[2].1, "<section/>\n");
    let end_tag = RejectReason::NotXml { problem: XmlProblem::EndTag, offset: 45, line: 1 + first + 2 };
    assert_eq!(rejects.len(), 2);
    assert_eq!(rejects[0].0, 1 + first);
    assert!(
        matches!(rejects[0].1, RejectReason::NotXml { problem: XmlProblem::EndTag, line, .. } if line == 3 + first),
        "{:?} {end_tag:?}",
        rejects[0].1
    );
    assert_eq!(rejects[1].1, RejectReason::NotCda);
    assert_eq!(read(b"", ReadOptions::default()), (vec![], vec![]));
    assert_eq!(read(b" \n ", ReadOptions::default()), (vec![], vec![]));
}

#[test]
fn other_encodings_become_utf_8_and_say_so() {
    let text = "<?xml version=\"1.0\" encoding='ISO-8859-1'?><section><title>Zo\u{eb}</title></section>";
    let latin: Vec<u8> = text.chars().map(|c| c as u32 as u8).collect();
    let want = text.replace("ISO-8859-1", "UTF-8");
    let first = |bytes: &[u8]| {
        let batch = DocumentReader::new(bytes, ReadOptions::default()).next_batch(1).unwrap().unwrap();
        assert!(batch.rejects.is_empty());
        batch.documents.into_iter().next().unwrap()
    };
    let document = first(&latin);
    assert_eq!((document.text(), document.converted_from), (want.as_str(), Some("windows-1252")));
    for mark in [true, false] {
        for big in [true, false] {
            let text = text.replace("ISO-8859-1", "UTF-16");
            let units = mark.then_some(0xFEFF).into_iter().chain(text.encode_utf16());
            let bytes: Vec<u8> =
                units.flat_map(|unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect();
            let document = first(&bytes);
            assert_eq!(document.text(), want);
            assert_eq!(document.converted_from, Some(if big { "UTF-16BE" } else { "UTF-16LE" }));
        }
    }
    // UTF-8 that says it is UTF-16, and ASCII that says it is Latin-1: the bytes are what they are.
    for label in ["UTF-16", "UTF-8", "utf8"] {
        let text = text.replace("ISO-8859-1", label);
        let document = first(text.as_bytes());
        assert_eq!((document.text(), document.converted_from), (text.as_str(), None));
    }
    let ascii = text.replace('\u{eb}', "e");
    assert_eq!(first(ascii.as_bytes()).text(), ascii);
    let wrong = text.replace("ISO-8859-1", "UTF-8").replace('\u{eb}', "e").replace("Zoe", "Zo");
    let mut wrong = wrong.into_bytes();
    let at = wrong.windows(2).position(|two| two == b"Zo").unwrap();
    wrong[at] = 0xEB;
    assert_eq!(read(&wrong, ReadOptions::default()).1, [(1, RejectReason::WrongEncoding { encoding: "UTF-8" })]);
    let unknown = text.replace("ISO-8859-1", "EBCDIC-37");
    assert_eq!(read(unknown.as_bytes(), ReadOptions::default()).1, [(1, RejectReason::UnknownEncoding)]);
}

fn typed_names() -> usize {
    // All but `Unknown`, and the types that only `xsi:type` gives.
    let given = ["TN", "PIVL_TS", "EIVL_TS", "SXPR_TS", "GLIST_TS", "CO", "IVL_REAL", "IVL_MO", "SLIST_PQ", "GLIST_PQ"];
    CdaType::ALL.len() - 1 - given.len()
}

/// Pieces that make up documents, well-formed or not.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<a>",
        "</a>",
        "<section>",
        "</section>",
        "<b c='1'/>",
        "<b c=\"&amp;\" d = ''>",
        "</b>",
        "text",
        "&lt;",
        "&#x41;",
        "&bad;",
        "<!-- c -->",
        "<![CDATA[x]]>",
        "<?pi x?>",
        "<?xml version='1.0'?>",
        " ",
        "\r\n",
        "]]>",
        "<",
        ">",
        "\"",
        "é",
        "<x:y xmlns:x='urn:hl7-org:v3'>",
        "</x:y>",
        "<!DOCTYPE a>",
        "\u{FEFF}",
        "\0",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes, ReadOptions::default());
    }

    #[test]
    fn any_cut_and_damage_is_survived(cut in 0usize..4000, at in 0usize..4000, byte in any::<u8>()) {
        let mut bytes = PATIENT.as_bytes().to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(cut);
        let (documents, rejects) = read(&bytes, ReadOptions::default());
        if rejects.is_empty() {
            let back: String = documents.into_iter().map(|(_, text)| text).collect();
            prop_assert!(back.is_empty() || back.as_bytes() == bytes);
        }
    }

    #[test]
    fn what_passes_is_whole_and_another_parser_sees_the_same(text in soup()) {
        if let Ok(document) = Document::parse(text.clone(), Limits::default()) {
            assert_covered(&document);
            prop_assert_eq!(Edits::new().apply(document.text()).unwrap(), text.clone());
            prop_assert_eq!(as_quick_xml_sees(text.trim_start_matches('\u{FEFF}')), Some(as_we_see(&document)));
            let again = parse(&rewrite(&document));
            prop_assert_eq!(meaning(&again), meaning(&document));
            let _ = typed(&document);
            tables::flatten([&document]).unwrap();
        }
    }

    #[test]
    fn values_are_written_so_that_they_read_the_same(text in "\\PC{0,20}|[ \t\n<>&\"'\\]]{0,12}") {
        let xml = format!("<a b=\"{}\" c='{}'>{}</a>", escape_attribute(&text, '"'), escape_attribute(&text, '\''), escape_text(&text));
        let document = parse(&xml);
        prop_assert_eq!(document.own_text(0), text.as_str());
        for attribute in document.attributes(0) {
            prop_assert_eq!(document.value(attribute), text.as_str());
        }
    }

    #[test]
    fn any_path_is_survived(text in "[a-z/@\\[\\]='*:]{0,12}|(//?(section|name|\\*|@root|id\\[@root='1'\\])){0,4}") {
        if let Ok(path) = Path::parse(&text) {
            of(&path);
            let document = parse(PATIENT);
            let set = PathSet::new(vec![path.clone()]);
            let (mut stack, mut matcher) = (Stack::new(&document), set.matcher(&document));
            for index in 0..document.events().len() {
                stack.follow(index);
                matcher.follow(index);
                prop_assert_eq!(matcher.elements().count() == 1, path.matches(&stack));
            }
        }
    }
}

#[test]
fn names_outside_the_dictionary_are_one() {
    let document = parse("<section xmlns=\"urn:hl7-org:v3\"><zzz/></section>");
    let stranger = document.event(document.children(0).next().unwrap()).unwrap();
    assert_eq!((stranger.name, stranger.ns), (NameId::UNKNOWN, Ns::V3));
    assert_eq!(document.local_name(1), "zzz");
}
