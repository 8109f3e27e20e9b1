//! One person is one person in HL7 v2, in C-CDA and in the notes in both: subjects, relatives and providers.

use std::path::Path;
use std::sync::Arc;

use cordon_deid::document::{DocumentOutput, Documents};
use cordon_deid::kernel::Env;
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::survey::Survey;
use cordon_formats::{ccda, hl7v2};
use cordon_phi::{Dossiers, Known, KnownFacts, Token};
use indexmap::IndexMap;

use super::narrative::Shelf;

const POLICY: &str = "policy: test
method: expert-determination
expert: { name: x, document: y }
datasets:
  hl7:
    hl7v2:
      types:
        XPN.1: { kind: name, action: surrogate, surrogate: last-name }
        XPN.2: { kind: name, action: surrogate, surrogate: first-name }
        XCN.2: { kind: name, action: surrogate, surrogate: last-name }
        XCN.3: { kind: name, action: surrogate, surrogate: first-name }
        XTN.1: { kind: phone, action: surrogate }
        TS.1: { kind: birth-date, action: shift-date }
      elements:
        \"OBX-5[TX]\": { kind: free-text, action: scrub, with: surrogate }
  ccda:
    ccda:
      types:
        EN.given: { kind: name, action: surrogate, surrogate: first-name }
        EN.family: { kind: name, action: surrogate, surrogate: last-name }
        PN.given: { kind: name, action: surrogate, surrogate: first-name }
        PN.family: { kind: name, action: surrogate, surrogate: last-name }
      elements:
        section/text: { kind: free-text, action: scrub, with: surrogate }
";

const MESSAGE: &str = "MSH|^~\\&|||||||ORU^R01|1||2.5\r\
    PID|||0007^^^GH^MR||HERNANDEZ^MARIA^E||19570315|F|||1 Elm Street^^Duluth^MN^55802||(617)555-0143\r\
    NK1|1|HERNANDEZ^JUAN|SPO\rPV1|||||||1234^OKAFOR^CHIDI^B^^DR\rGT1|1||HERNANDEZ^MARIA\r\
    OBX|1|TX|X||Maria Hernandez (Mrs. Hernandez), 6175550143, came with Juan Hernandez; Dr. Okafor informed.||||||F\r";

const DOCUMENT: &str = "<ClinicalDocument xmlns=\"urn:hl7-org:v3\"><recordTarget><patientRole>\
    <id root=\"1.2.3.4\" extension=\"0007\"/><telecom value=\"tel:+1(617)555-0143\"/>\
    <patient><name><given>Maria</given><family>Hernandez</family></name><birthTime value=\"19570315\"/></patient>\
    </patientRole></recordTarget>\
    <author><assignedAuthor><assignedPerson><name><prefix>Dr</prefix><given>Chidi</given><family>Okafor</family></name></assignedPerson>\
    </assignedAuthor></author>\
    <participant><associatedEntity><associatedPerson><name><given>Juan</given><family>Hernandez</family></name></associatedPerson>\
    </associatedEntity></participant>\
    <component><structuredBody><component><section><text>Peggy? No: Maria Hernandez. Her husband Juan Hernandez called Chidi Okafor.</text>\
    </section></component></structuredBody></component></ClinicalDocument>";

fn env_of(survey: &Survey) -> Env {
    // Every person of the tests has one identifier, so the token of that is the person's.
    let env = super::kernel_cases::env();
    let shelf = Shelf::default();
    for person in survey.people() {
        let mut tokens = Vec::new();
        let first = person.identifiers().next().expect("a person without an identifier");
        env.tokens.get_or_create(first.namespace, &[first.value], &mut tokens).unwrap();
        let mut facts = KnownFacts::default();
        for known in survey.facts().iter().skip(person.facts.start).take(person.facts.len()) {
            facts.push(known.kind, known.whose, known.text);
        }
        let subjects: Vec<Token> = vec![tokens[0]; facts.len()];
        shelf.add(&subjects, &facts).unwrap();
    }
    Env { dossiers: Some(Arc::new(shelf)), ..env }
}

fn compiled() -> IndexMap<String, Documents> {
    let places = |place: &str| IndexMap::from([(place.to_owned(), "mrn".to_owned())]);
    let identities = IndexMap::from([
        ("hl7".to_owned(), places("PID-3")),
        ("ccda".to_owned(), places("recordTarget/patientRole/id[1.2.3.4]")),
    ]);
    let options = CompileOptions { run_date: "2026-01-01".parse().unwrap(), identities: Some(&identities) };
    compile(POLICY, Path::new("policies/test.yaml"), options).unwrap_or_else(|issues| panic!("{issues}")).documents
}

fn said(survey: &Survey) -> Vec<String> {
    let text = |known: Known<'_>| {
        format!("{:?} {} {}", known.whose, known.kind.name(), known.text.replace(Known::BETWEEN_NAMES, "|"))
    };
    survey.facts().iter().map(text).collect()
}

/// What stands between two texts.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}"));
    rest.split_once(after).unwrap_or_else(|| panic!("{after} in {text}")).0
}

#[test]
fn subjects_relatives_and_providers_have_one_name_in_every_format_and_note() {
    let documents = compiled();
    let (hl7, cda) = (documents["hl7"].hl7v2().unwrap(), documents["ccda"].ccda().unwrap());
    let messages = || {
        let mut reader = hl7v2::MessageReader::new(MESSAGE.as_bytes(), hl7v2::ReadOptions::default());
        reader.next_batch(1 << 20).unwrap().unwrap()
    };
    let cdas = || {
        let mut reader = ccda::DocumentReader::new(DOCUMENT.as_bytes(), ccda::ReadOptions::default());
        reader.next_batch(1 << 20).unwrap().unwrap()
    };
    let mut survey = Survey::default();
    hl7.survey(&messages(), &mut survey);
    assert_eq!(survey.people().count(), 1);
    cda.survey(&cdas(), &mut survey);
    assert_eq!(survey.people().count(), 2);
    let env = env_of(&survey);

    let failures = |output: &DocumentOutput| assert!(output.failures.is_empty(), "{:?}", output.failures);
    let sent = hl7.apply(&messages(), &env).unwrap();
    failures(&sent);
    let message = super::hl7v2::messages(&[sent]).concat();
    let field = |segment: &str, number: usize| {
        let line = message.split('\r').find(|line| line.starts_with(segment)).unwrap();
        // A made-up name has the case of the one that stood there.
        line.split('|').nth(number).unwrap().to_lowercase()
    };
    let name = |field: String, at: usize| {
        let parts: Vec<String> = field.split('^').map(str::to_owned).collect();
        (parts[at + 1].clone(), parts[at].clone())
    };
    let (first, last) = name(field("PID", 5), 0);
    let (spouse_first, spouse_last) = name(field("NK1", 2), 0);
    let (doctor_first, doctor_last) = name(field("PV1", 7), 1);
    // The guarantor is the patient.
    assert_eq!(name(field("GT1", 3), 0), (first.clone(), last.clone()));
    assert_ne!((&spouse_first, &spouse_last), (&first, &last));
    let phone = field("PID", 13).replace(|c: char| !c.is_ascii_digit(), "");
    assert_eq!(
        field("OBX", 5),
        format!(
            "{first} {last} (mrs. {last}), {phone}, came with {spouse_first} {spouse_last}; dr. {doctor_last} informed."
        )
    );

    let sent = cda.apply(&cdas(), &env).unwrap();
    failures(&sent);
    let document = super::ccda::documents(&[sent]).concat();
    let named = |around: &str| {
        let (_, inner) = document.split_once(around).unwrap();
        (between(inner, "<given>", "</given>").to_lowercase(), between(inner, "<family>", "</family>").to_lowercase())
    };
    assert_eq!(named("<patient>"), (first.clone(), last.clone()));
    assert_eq!(named("<associatedPerson>"), (spouse_first.clone(), spouse_last.clone()));
    assert_eq!(named("<assignedPerson>"), (doctor_first.clone(), doctor_last.clone()));
    let note = between(&document, "<text>", "</text>").to_lowercase();
    assert!(
        note.ends_with(&format!(
            "no: {first} {last}. her husband {spouse_first} {spouse_last} called {doctor_first} {doctor_last}."
        )),
        "{note}"
    );
}

#[test]
fn surveys_say_what_formats_know() {
    let documents = compiled();
    let mut survey = Survey::default();
    let message = "MSH|^~\\&|||||||ADT^A40|1||2.5\rEVN||20200101|||99^ROE^ANN\r\
        PID|||0007^^^GH^MR~219-09-9999^^^SSA^SS||DOE^JANE^Q~ROE^JANE|VEGA^ANA|19570315|F|||1 Elm St^Apt 4^Boston^MA^02139|25|(617)555-1234|||||A1^^^GH^AN\r\
        MRG|0099^^^GH^MR||||||DOE^JANET\rNK1|1|DOE^JOHN||2 Oak Rd^^Lynn^MA^01901|617-555-9999\r\
        IN1|1|PLAN|INS|Blue Plan||||G77||||||||DOE^JOHN||||||||||||||||||||POL-55|||||||||||||M123\r\
        PV1||||||||88^POE^SAM~89^LOE^KIM|||||||||||V1\rOBR|1|ORD-1|FIL-2\r\
        PID|||0008||MOE^MAX\r";
    let mut reader = hl7v2::MessageReader::new(message.as_bytes(), hl7v2::ReadOptions::default());
    documents["hl7"].hl7v2().unwrap().survey(&reader.next_batch(1 << 20).unwrap().unwrap(), &mut survey);
    assert_eq!(survey.people().count(), 2);
    let first = survey.people().next().unwrap();
    let identifiers: Vec<_> = first.identifiers().map(|one| String::from_utf8_lossy(one.value).into_owned()).collect();
    assert_eq!(identifiers, ["0007", "219-09-9999", "219099999"]);
    let said = said(&survey);
    for want in [
        "Subject medical-record-number 0007",
        "Subject ssn 219-09-9999",
        "Subject name JANE Q|DOE",
        "Subject name JANE|ROE",
        "Relative name ANA|VEGA",
        "Subject birth-date 1957-03-15",
        "Subject street-address 1 Elm St",
        "Subject street-address 1 Elm St Apt 4",
        "Subject city Boston",
        "Subject postal-code 02139",
        "Subject phone (617)555-1234",
        "Subject account-number A1",
        "Subject medical-record-number 0099",
        "Subject name JANET|DOE",
        "Relative name JOHN|DOE",
        "Relative street-address 2 Oak Rd",
        "Relative phone 617-555-9999",
        "Organization organization Blue Plan",
        "Subject health-plan-id POL-55",
        "Subject health-plan-id M123",
        "Provider name ANN|ROE",
        "Provider name SAM|POE",
        "Provider name KIM|LOE",
        "Subject unique-id V1",
        "Subject unique-id ORD-1",
        "Subject name MAX|MOE",
    ] {
        assert!(said.iter().any(|line| line == want), "{want} in {said:#?}");
    }

    survey.clear();
    let mut reader = ccda::DocumentReader::new(DOCUMENT.as_bytes(), ccda::ReadOptions::default());
    documents["ccda"].ccda().unwrap().survey(&reader.next_batch(1 << 20).unwrap().unwrap(), &mut survey);
    assert_eq!(
        self::said(&survey),
        [
            "Subject medical-record-number 0007",
            "Subject phone +1(617)555-0143",
            "Subject name Maria|Hernandez",
            "Subject birth-date 1957-03-15",
            "Provider name Chidi|Okafor",
            "Relative name Juan|Hernandez",
        ]
    );
}

#[test]
fn fhir_gives_relatives_and_providers_the_names_of_other_formats() {
    let policy = "policy: test
method: safe-harbor
datasets:
  hl7:
    hl7v2:
      types:
        XPN.1: { kind: name, action: surrogate, surrogate: last-name }
        XCN.2: { kind: name, action: surrogate, surrogate: last-name }
  fhir:
    fhir:
      elements:
        HumanName.family: { kind: name, action: surrogate, surrogate: last-name }
        Patient.identifier: { kind: medical-record-number, action: drop }
";
    let options = CompileOptions { run_date: "2026-01-01".parse().unwrap(), identities: None };
    let compiled =
        compile(policy, Path::new("policies/test.yaml"), options).unwrap_or_else(|issues| panic!("{issues}"));
    let env = super::kernel_cases::env();
    let mut reader = hl7v2::MessageReader::new(
        &b"MSH|^~\\&|||||||ADT^A01|1||2.5\rPID|||0007||HERNANDEZ^MARIA\rNK1|1|HERNANDEZ^JUAN\rPV1|||||||1^OKAFOR^CHIDI\r"[..],
        hl7v2::ReadOptions::default(),
    );
    let sent =
        compiled.documents["hl7"].hl7v2().unwrap().apply(&reader.next_batch(1 << 20).unwrap().unwrap(), &env).unwrap();
    let message = super::hl7v2::messages(&[sent]).concat();
    let family = |segment: &str, field: usize, at: usize| {
        let line = message.split('\r').find(|line| line.starts_with(segment)).unwrap();
        line.split('|').nth(field).unwrap().split('^').nth(at).unwrap().to_owned()
    };
    let wanted = [family("PID", 5, 0), family("NK1", 2, 0), family("PV1", 7, 1)];

    let name = |given: &str| format!("\"name\":[{{\"given\":[\"{given}\"],\"family\":\"Hernandez\"}}]");
    let contact =
        name("Juan").replace('[', "").replace("\"given\":\"Juan\"]", "\"given\":[\"Juan\"]").replace("}]", "}");
    let contact = contact.trim_start_matches("\"name\":");
    let lines = [
        format!("{{\"resourceType\":\"Patient\",\"id\":\"0007\",{},\"contact\":[{{\"name\":{contact}}}]}}", name("Maria")),
        format!("{{\"resourceType\":\"RelatedPerson\",\"id\":\"r\",\"patient\":{{\"reference\":\"Patient/0007\"}},{}}}", name("Juan")),
        "{\"resourceType\":\"Practitioner\",\"id\":\"p\",\"name\":[{\"prefix\":[\"Dr.\"],\"given\":[\"Chidi\"],\"family\":\"Okafor\"}]}".to_owned(),
    ];
    let text = lines.join("\n");
    let mut reader =
        cordon_formats::fhir::ResourceReader::new(text.as_bytes(), cordon_formats::fhir::ReadOptions::default());
    let batch = reader.next_batch(1 << 20).unwrap().unwrap();
    assert_eq!(batch.len(), 3);
    let output = compiled.documents["fhir"].fhir().unwrap().apply(&batch, &env).unwrap();
    assert!(output.failures.is_empty(), "{:?}", output.failures);
    let families = |table: &str| -> Vec<String> {
        use arrow_array::cast::AsArray;
        let (_, rows) = output.tables.iter().find(|(name, _)| name == table).unwrap();
        let text = rows.column_by_name("resource").unwrap().as_string_view().value(0).to_owned();
        text.split("\"family\":\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_lowercase()).collect()
    };
    let wanted = wanted.map(|name| name.to_lowercase());
    assert_eq!(families("Patient"), [wanted[0].clone(), wanted[1].clone()]);
    assert_eq!(families("RelatedPerson"), [wanted[1].clone()]);
    assert_eq!(families("Practitioner"), [wanted[2].clone()]);
}
