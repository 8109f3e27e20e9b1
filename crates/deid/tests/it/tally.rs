//! What was found and what was done with it, counted by hand; and every value of real documents in exactly one class.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use arrow_array::{ArrayRef, RecordBatch, StringViewArray};
use cordon_deid::document::DocumentFailure;
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::tally::Tally;
use cordon_formats::ccda::{self, DocumentReader};
use cordon_formats::fhir::{self, ResourceReader};
use cordon_formats::hl7v2::{self, MessageReader, RecordKind};
use cordon_formats::x12;
use dicom_core::VR;

use crate::{ccda as cda, dicom, fhir as resources, hl7v2 as messages, x12 as sets};

/// One line for each kind and deed, in the order of kinds.
fn told(tallies: impl IntoIterator<Item = Tally>) -> String {
    let mut all = Tally::default();
    tallies.into_iter().for_each(|tally| all.add(&tally));
    let mut out: String = all.values().map(|(kind, deed, count)| format!("{kind} {deed} {count}\n")).collect();
    out.extend(all.spans().map(|(kind, known, detected)| format!("in texts: {kind} {known} {detected}\n")));
    out
}

fn total(tally: &Tally) -> u64 {
    tally.values().map(|(.., count)| count).sum()
}

fn check(tallies: impl IntoIterator<Item = Tally>, want: &str) {
    let told = told(tallies);
    assert_eq!(told.trim(), want.lines().map(str::trim).collect::<Vec<_>>().join("\n").trim());
}

const ADT: &str = "MSH|^~\\&|LAB|HOSP|EHR|CLIN|20260102||ADT^A01|77|P|2.5\r\
    PID|1||12345^^^HOSP^MR||DOE^JANE||19700203|F|||1 ELM ST^^BOSTON^MA^02139||6175550123\r\
    ZZZ|a^b|c\r\
    OBX|1|NM|718-7^Hemoglobin^LN||13.2|g/dL^^UCUM|||||F\r\
    OBX|2|TX|NOTE||Call 617-555-0143 on 03/04/2021.||||||F\r";

#[test]
fn hl7_v2() {
    let recipe = messages::recipe(messages::SHIPPED).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = messages::run(&recipe, ADT.as_bytes());
    check(
        outputs.into_iter().map(|output| output.tally),
        "name drop 2
         street-address drop 2
         postal-code zip3 1
         birth-date year 1
         service-date year 1
         phone drop 1
         medical-record-number token 1
         unique-id token 1
         free-text drop 1
         state keep 1
         clinical keep 7
         organization keep 3
         operational keep 12
         structure keep 3
         undeclared not-passed 3",
    );
}

#[test]
fn what_is_replaced_within_texts_is_counted_by_kind() {
    let policy = messages::SHIPPED.replace("# \"OBX-5[TX]\"", "\"OBX-5[TX]\"");
    let recipe = messages::recipe(&policy).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = messages::run(&recipe, ADT.as_bytes());
    let told = told(outputs.into_iter().map(|output| output.tally));
    assert!(told.contains("free-text scrub 1\n") && !told.contains("free-text drop"), "{told}");
    assert!(told.ends_with("in texts: service-date 0 1\nin texts: phone 0 1\n"), "{told}");
}

#[test]
fn what_is_put_aside_is_not_counted() {
    // A date that is none is left empty by the shipped policy, and puts the message aside without `otherwise`.
    let bad = ADT.replace("19700203", "whenever");
    let recipe = messages::recipe(messages::SHIPPED).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = messages::run(&recipe, bad.as_bytes());
    assert!(told(outputs.into_iter().map(|output| output.tally)).contains("birth-date left-empty 1\n"));
    let strict = messages::SHIPPED.replace(
        "PID-7:  { kind: birth-date, action: year, otherwise: blank }",
        "PID-7:  { kind: birth-date, action: year }",
    );
    let recipe = messages::recipe(&strict).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = messages::run(&recipe, format!("{bad}{ADT}").as_bytes());
    let failures: usize = outputs.iter().map(|output| output.failures.len()).sum();
    let sum: u64 = outputs.iter().map(|output| total(&output.tally)).sum();
    assert_eq!((failures, sum), (1, 40));
}

#[test]
fn x12() {
    let body = "BHT*0019*00*REF77*20240102*1200*CH~HL*1**20*1~HL*2*1*22*0~\
        NM1*IL*1*WILLIAMSON*MATTHEW*J***MI*0007~N3*128 BROAD*APT 2~N4*BALTIMORE*MD*21234~DMG*D8*19570301*M~\
        REF*SY*123456789~NTE*ADD*JANE CALLED~ZZ9*x*y~";
    let text = format!("{}ST*837*0001*005010X222A1~{body}SE*12*0001~{}", sets::laws::ISA, sets::laws::END);
    let recipe = sets::recipe(sets::SHIPPED).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = sets::run(&recipe, text.as_bytes());
    check(
        outputs.into_iter().map(|output| output.tally),
        "name drop 3
         street-address drop 3
         postal-code zip3 1
         birth-date year 1
         service-date drop 1
         service-date year 1
         ssn drop 1
         health-plan-id token 1
         unique-id token 1
         free-text drop 1
         state keep 1
         demographic keep 1
         operational keep 9
         structure keep 12
         undeclared not-passed 2",
    );
}

#[test]
fn c_cda() {
    let document = "<ClinicalDocument xmlns=\"urn:hl7-org:v3\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
        <recordTarget><patientRole>\
        <id root=\"1.2.3.4\" extension=\"0007\"/><id root=\"2.16.840.1.113883.4.1\" extension=\"123-45-6789\"/>\
        <addr use=\"HP\"><streetAddressLine>1 Elm St</streetAddressLine><city>Boston</city><state>MA</state>\
        <postalCode>02139</postalCode><country>US</country></addr><telecom use=\"HP\" value=\"tel:(617)555-1234\"/>\
        <patient><name use=\"L\"><given>Jane</given><family qualifier=\"BR\">Doe</family></name>\
        <administrativeGenderCode code=\"F\" codeSystem=\"2.16.840.1.113883.5.1\" displayName=\"Female\"/>\
        <birthTime value=\"19570301\"/></patient><!-- Jane -->\
        </patientRole></recordTarget></ClinicalDocument>";
    let recipe = cda::recipe(cda::SHIPPED).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = cda::run(&recipe, document.as_bytes());
    // Structure: two declarations, the root of the first id, two times `use="HP"`, the `use` of the name, whose mask keeps it, and the
    // system of a code; what goes is the qualifier of the family name.
    check(
        outputs.into_iter().map(|output| output.tally),
        "name drop 2
         street-address drop 2
         postal-code zip3 1
         birth-date year 1
         phone drop 1
         ssn drop 2
         medical-record-number token 1
         state keep 2
         clinical keep 2
         structure keep 7
         structure drop 1
         undeclared not-passed 1",
    );
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1","active":true,"favourite":"tea",
    "name":[{"use":"official","family":"Doe","given":["Jane","Q"]}],"birthDate":"1970-02-03","gender":"female",
    "address":[{"line":["1 Elm St"],"city":"Boston","state":"MA","postalCode":"02139"}],
    "telecom":[{"system":"phone","value":"6175550123"}],
    "generalPractitioner":[{"reference":"Practitioner/d7","display":"Dr. Who"}]}"#;

#[test]
fn fhir_resources() {
    let recipe = resources::shipped();
    let line = PATIENT.replace('\n', " ");
    let (tally, _) = of_resources(&recipe, line.as_bytes());
    check(
        [tally],
        "name drop 5
         street-address drop 1
         city drop 1
         postal-code zip3 1
         birth-date year 1
         phone drop 2
         unique-id token 2
         state keep 1
         clinical keep 2
         structure keep 1
         undeclared not-passed 1",
    );
}

fn table(policy: &str, dataset: &str, columns: &[(&str, &[&str])]) -> Tally {
    let recipe = compile(policy, Path::new("policies/test.yaml"), CompileOptions::on("2026-01-01".parse().unwrap()));
    let recipe = recipe.unwrap_or_else(|issues| panic!("{issues}"));
    let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let arrays = columns.iter().map(|(name, values)| {
        let array: StringViewArray = values.iter().map(|value| (!value.is_empty()).then_some(*value)).collect();
        (*name, std::sync::Arc::new(array) as ArrayRef)
    });
    let batch = RecordBatch::try_from_iter(arrays).unwrap();
    let bound = recipe.tables[dataset].bind(&names).unwrap();
    bound.apply(&batch, &resources::env()).unwrap_or_else(|error| panic!("{error}")).tally
}

#[test]
fn tables() {
    let policy = include_str!("../../policies/synthea-csv.yaml");
    // Three patients, the second of whom has no id and so no row.
    let tally = table(
        policy,
        "patients",
        &[
            ("Id", &["a", "", "c"]),
            ("BIRTHDATE", &["1970-02-03", "1970-02-03", "1901-01-01"]),
            ("DEATHDATE", &["", "", ""]),
            ("SSN", &["999-12-3456", "999-12-3457", " "]),
            ("DRIVERS", &["S1", "", ""]),
            ("PASSPORT", &["", "", ""]),
            ("PREFIX", &["Mrs.", "", ""]),
            ("FIRST", &["Jane", "Ann", "Eve"]),
            ("LAST", &["Doe", "Roe", "Poe"]),
            ("SUFFIX", &["", "", ""]),
            ("MAIDEN", &["", "", ""]),
            ("MARITAL", &["M", "", "S"]),
            ("RACE", &["white", "", "asian"]),
            ("ETHNICITY", &["", "", ""]),
            ("GENDER", &["F", "F", "F"]),
            ("BIRTHPLACE", &["Boston", "", ""]),
            ("ADDRESS", &["1 Elm St", "", "2 Elm St"]),
            ("CITY", &["Boston", "", "Salem"]),
            ("STATE", &["MA", "", "Elm Street"]),
            ("COUNTY", &["", "", ""]),
            ("ZIP", &["02139", "", "none"]),
            ("LAT", &["42.1", "", ""]),
            ("LON", &["-71.1", "", ""]),
            ("HEALTHCARE_EXPENSES", &["1.5", "", "2.5"]),
            ("HEALTHCARE_COVERAGE", &["", "", ""]),
            ("nickname", &["Jay", "", "Evie"]),
        ],
    );
    let told = told([tally]);
    let derived = ["birth-date", "service-date", "age"];
    let own: Vec<&str> = told.lines().filter(|line| !derived.iter().any(|kind| line.starts_with(kind))).collect();
    assert_eq!(
        own,
        [
            "name drop 5",
            "street-address drop 2",
            "city drop 3",
            "postal-code zip3 1",
            "postal-code left-empty 1",
            "geo-coordinate drop 2",
            "ssn drop 1",
            "medical-record-number token 2",
            "licence-number drop 1",
            "state keep 1",
            "state left-empty 1",
            "demographic keep 6",
            "financial keep 2",
            "undeclared not-passed 2"
        ]
    );
}

#[test]
fn notes() {
    let text = ["Call 617-555-0143 on 03/04/2021.", "Nothing to report.", ""];
    let tally = table(
        include_str!("../../policies/notes.yaml"),
        "notes",
        &[
            ("file_name", &["7-1.txt", "7-2.txt", "7-3.txt"]),
            ("mrn", &["7", "7", "7"]),
            ("number", &["1", "2", "3"]),
            ("date", &["2021-03-04", "2021-03-04", ""]),
            ("text", &text),
        ],
    );
    check(
        [tally],
        "service-date year 2
         medical-record-number token 3
         unique-id token 6
         free-text scrub 2
         in texts: service-date 0 1
         in texts: phone 0 1",
    );
}

#[test]
fn dicom_files() {
    use cordon_formats::dicom::Tag;
    let file = dicom::file(dicom::object([
        dicom::text(Tag(0x0008, 0x0016), VR::UI, "1.2.840.10008.5.1.4.1.1.2"),
        dicom::text(Tag(0x0008, 0x0018), VR::UI, "1.2.3"),
        dicom::text(Tag(0x0008, 0x0060), VR::CS, "CT"),
        dicom::text(Tag(0x0010, 0x0010), VR::PN, "Doe^Jane"),
        dicom::text(Tag(0x0010, 0x0020), VR::LO, "0007"),
        dicom::text(Tag(0x0010, 0x0040), VR::CS, "F"),
        dicom::text(Tag(0x0009, 0x0010), VR::LO, "ACME"),
    ]));
    let recipe = dicom::recipe(dicom::SHIPPED).unwrap_or_else(|issues| panic!("{issues}"));
    let document = dicom::parse(&file);
    let there = |element: &&cordon_formats::dicom::Element| {
        element.kind == cordon_formats::dicom::Kind::Value && element.length() > 0
    };
    let output = dicom::run(&recipe, std::slice::from_ref(&file));
    assert_eq!(total(&output.tally), document.elements().iter().filter(there).count() as u64);
    let told = told([output.tally]);
    for line in [
        "medical-record-number token 1\n",
        // The instance's UID, in the data set and in the meta group.
        "unique-id token 2\n",
        "undeclared not-passed 1\n",
    ] {
        assert!(told.contains(line), "{line}{told}");
    }
}

#[test]
fn no_value_is_told() {
    let recipe = messages::recipe(messages::SHIPPED).unwrap_or_else(|issues| panic!("{issues}"));
    let told = told(messages::run(&recipe, ADT.as_bytes()).into_iter().map(|output| output.tally));
    for canary in ["DOE", "JANE", "12345", "ELM", "BOSTON", "02139", "6175550123", "HOSP", "a^b", "ZZZ"] {
        assert!(!told.contains(canary), "{canary}");
    }
}

fn shared(folder: &str, extension: &str) -> Vec<PathBuf> {
    fn collect(folder: &Path, extension: &str, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, extension, out);
            } else if extension.is_empty() || path.extension().is_some_and(|own| own == extension) {
                out.push(path);
            }
        }
    }
    let named = std::env::var_os("CORDON_SHARED_DATA").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap().join("shared/data");
    let mut out = Vec::new();
    collect(&named.unwrap_or_else(beside).join(folder), extension, &mut out);
    if out.is_empty() {
        eprintln!("skipped: no shared {folder}");
    }
    out.sort();
    out
}

fn failed(failures: &[DocumentFailure]) -> BTreeSet<usize> {
    failures.iter().map(|failure| failure.index).collect()
}

#[test]
fn every_value_of_real_messages_is_in_one_class() {
    let scrub = messages::SHIPPED.replace("# \"OBX-5[", "\"OBX-5[").replace("# NTE-3:", "NTE-3:");
    for policy in [messages::SHIPPED, messages::LIMITED, &scrub] {
        let recipe = messages::recipe(policy).unwrap_or_else(|issues| panic!("{issues}"));
        for path in shared("hl7v2", "hl7") {
            let text = fs::read(&path).unwrap();
            let mut reader = MessageReader::new(text.as_slice(), hl7v2::ReadOptions::default());
            while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
                let output = recipe.apply(&batch, &resources::env()).unwrap_or_else(|error| panic!("{error}"));
                let failed = failed(&output.failures);
                let mut want = 0;
                for (index, record) in batch.records.iter().enumerate() {
                    if record.kind != RecordKind::Message || failed.contains(&index) {
                        continue;
                    }
                    for segment in batch.parse(index).unwrap().segments() {
                        let header = segment.name() == b"MSH";
                        let fields = segment.fields().filter(|field| !header || field.number > 2);
                        let leaves = fields.flat_map(|field| field.value.leaves().collect::<Vec<_>>());
                        want += leaves.filter(|leaf| !matches!(leaf.value.bytes(), b"" | b"\"\"")).count() as u64;
                    }
                }
                assert_eq!(total(&output.tally), want, "{}", path.display());
            }
        }
    }
}

#[test]
fn every_value_of_real_interchanges_is_in_one_class() {
    for policy in [sets::SHIPPED, sets::LIMITED] {
        let recipe = sets::recipe(policy).unwrap_or_else(|issues| panic!("{issues}"));
        for path in shared("x12", "") {
            for batch in sets::batches(&fs::read(&path).unwrap()) {
                let output = recipe.apply(&batch, &resources::env()).unwrap_or_else(|error| panic!("{error}"));
                let failed = failed(&output.failures);
                let mut want = 0;
                for (index, record) in batch.records.iter().enumerate() {
                    if record.kind != x12::RecordKind::Transaction || failed.contains(&index) {
                        continue;
                    }
                    for segment in batch.parse(index).unwrap().segments() {
                        let leaves = segment.elements().flat_map(|element| element.value.leaves().collect::<Vec<_>>());
                        want += leaves.filter(|leaf| !leaf.value.bytes().trim_ascii().is_empty()).count() as u64;
                    }
                }
                assert_eq!(total(&output.tally), want, "{}", path.display());
            }
        }
    }
}

#[test]
fn every_value_of_real_documents_is_in_one_class() {
    let scrub = cda::SHIPPED
        .replace("# section/text:", "section/text:")
        .replace("# observation/text:", "observation/text:")
        .replace("# observation/value:", "observation/value:");
    for policy in [cda::SHIPPED, cda::LIMITED, &scrub] {
        let recipe = cda::recipe(policy).unwrap_or_else(|issues| panic!("{issues}"));
        for path in shared("ccda", "xml") {
            let text = fs::read(&path).unwrap();
            let mut reader = DocumentReader::new(text.as_slice(), ccda::ReadOptions::default());
            while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
                let output = recipe.apply(&batch, &resources::env()).unwrap_or_else(|error| panic!("{error}"));
                let failed = failed(&output.failures);
                let mut want = 0;
                for (_, document) in batch.documents.iter().enumerate().filter(|(index, _)| !failed.contains(index)) {
                    for (at, event) in document.events().iter().enumerate() {
                        want += match event.kind {
                            ccda::Kind::Open | ccda::Kind::Empty => {
                                let attributes = document.attributes(at).iter();
                                attributes.filter(|attribute| !document.value(attribute).trim().is_empty()).count()
                            }
                            ccda::Kind::Text | ccda::Kind::CData => {
                                usize::from(!document.piece(event).trim().is_empty())
                            }
                            ccda::Kind::Comment | ccda::Kind::Instruction => 1,
                            _ => 0,
                        };
                    }
                }
                assert_eq!(total(&output.tally), want as u64, "{}", path.display());
            }
        }
    }
}

/// What was told of some resources, and how many values stood in those that did not fail.
fn of_resources(recipe: &cordon_deid::fhir::FhirRecipe, text: &[u8]) -> (Tally, u64) {
    let mut reader = ResourceReader::new(text, fhir::ReadOptions::default());
    let (mut all, mut want) = (Tally::default(), 0);
    while let Some(batch) = reader.next_batch(256 << 10).unwrap() {
        let output = recipe.apply(&batch, &resources::env()).unwrap_or_else(|error| panic!("{error}"));
        let failed: BTreeSet<usize> = output.failures.iter().map(|failure| failure.index).collect();
        for (_, resource) in batch.resources.iter().enumerate().filter(|(index, _)| !failed.contains(index)) {
            let first = resource.token as usize;
            let tokens = &batch.tape[first..batch.tape[first].next as usize];
            want += tokens
                .iter()
                .filter(|token| match token.kind {
                    fhir::Kind::Text => token.end > token.start,
                    fhir::Kind::Number | fhir::Kind::True | fhir::Kind::False => true,
                    _ => false,
                })
                .count() as u64;
        }
        all.add(&output.tally);
    }
    (all, want)
}

#[test]
fn every_value_of_real_resources_is_in_one_class() {
    let limited = resources::recipe(resources::LIMITED).unwrap_or_else(|issues| panic!("{issues}"));
    for recipe in [resources::shipped(), limited] {
        let files = shared("fhir-bundles", "gz").into_iter().take(3).chain(shared("fhir-bulk-10", "gz"));
        for path in files {
            let mut text = Vec::new();
            let file = fs::File::open(&path).unwrap();
            cordon_formats::open_decoded(file).unwrap().read_to_end(&mut text).unwrap();
            let (tally, want) = of_resources(&recipe, &text);
            assert_eq!(total(&tally), want, "{}", path.display());
        }
    }
}
