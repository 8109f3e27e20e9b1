//! What the rules of DICOM promise, and what of a policy is refused.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use cordon_deid::document::DocumentFailure;
use cordon_deid::fhir::FailureReason;
use cordon_formats::dicom::{DicomError, Limits, Pixels, Problem, ReadError, Tag, VR, read};
use dicom_core::PrimitiveValue;
use dicom_core::smallvec::smallvec;
use proptest::prelude::*;

use super::{
    Element, LIMITED, SHIPPED, file, file_in, files, holds, object, one, parse, recipe, recipe_of, refusal, run,
    sequence, text, value,
};

const NAME: Tag = Tag(0x0010, 0x0010);
const ID: Tag = Tag(0x0010, 0x0020);
const INSTANCE: Tag = Tag(0x0008, 0x0018);
const SERIES: Tag = Tag(0x0020, 0x000E);
const REFERENCED: Tag = Tag(0x0008, 0x1155);

/// A policy by expert determination with these lines in its section.
fn expert(section: &str) -> String {
    format!(
        "policy: test\nmethod: expert-determination\nexpert: {{ name: A, document: B }}\ndatasets:\n  dicom:\n    dicom:\n{}",
        section.lines().map(|line| format!("      {line}\n")).collect::<String>()
    )
}

fn safe_harbor(section: &str) -> String {
    expert(section).replace("method: expert-determination\nexpert: { name: A, document: B }", "method: safe-harbor")
}

fn shipped() -> cordon_deid::dicom::DicomRecipe {
    recipe(SHIPPED).unwrap_or_else(|issues| panic!("{issues}"))
}

#[test]
fn one_uid_has_one_successor_in_all_files() {
    let first = file(object([
        text(INSTANCE, VR::UI, "1.2.3.1"),
        text(ID, VR::LO, "7"),
        text(SERIES, VR::UI, "1.2.3.9"),
        text(Tag(0x0008, 0x0016), VR::UI, "1.2.840.10008.5.1.4.1.1.2"),
    ]));
    let reference = object([text(REFERENCED, VR::UI, "1.2.3.1")]);
    let second = file(object([
        text(INSTANCE, VR::UI, "1.2.3.2"),
        text(ID, VR::LO, "7 "),
        text(SERIES, VR::UI, "1.2.3.9"),
        sequence(Tag(0x0008, 0x1199), vec![reference]),
        // An attribute that the table does not list, with two UIDs.
        text(Tag(0x0028, 0x0304), VR::UI, "1.2.3.1\\1.2.3.9"),
    ]));
    let recipe = shipped();
    let first = one(&recipe, first);
    let second = one(&recipe, second);
    assert_eq!(value(&first, SERIES), value(&second, SERIES));
    assert_eq!(value(&first, ID), value(&second, ID));
    let instance = value(&first, INSTANCE).unwrap();
    let document = parse(&second);
    let referenced = document.elements().iter().find(|element| element.tag == REFERENCED).unwrap();
    assert_eq!(String::from_utf8_lossy(document.value(referenced)).trim_end_matches('\0'), instance);
    assert_ne!(value(&second, INSTANCE).unwrap(), instance);
    let number = instance.strip_prefix("2.25.").unwrap();
    assert!(number.parse::<u128>().is_ok() && instance.len() <= 64);
    assert_eq!(value(&first, Tag(0x0008, 0x0016)).unwrap(), "1.2.840.10008.5.1.4.1.1.2");
}

#[test]
fn private_attributes_go_unless_they_are_named_by_their_creator() {
    let private = || {
        object([
            text(ID, VR::LO, "7"),
            text(Tag(0x0019, 0x0010), VR::LO, "ACME"),
            text(Tag(0x0019, 0x0011), VR::LO, "OTHER"),
            text(Tag(0x0019, 0x100C), VR::IS, "1000"),
            text(Tag(0x0019, 0x100D), VR::LO, "Doe"),
            text(Tag(0x0019, 0x110C), VR::IS, "2000"),
        ])
    };
    // The block of the item before says nothing in the next.
    let next = object([text(Tag(0x0019, 0x100C), VR::IS, "3000")]);
    let mut whole = private();
    whole.put(sequence(Tag(0x0008, 0x1115), vec![private(), next]));
    let bytes = file(whole);
    let out = one(&shipped(), bytes.clone());
    assert!(parse(&out).elements().iter().all(|element| element.tag.group() % 2 == 0));
    let policy = SHIPPED.replace("options: [", "options: [retain-safe-private, ").replace(
        "      elements:\n",
        "      elements:\n        (0019,[ACME]0C): { kind: clinical, action: keep, because: \"a b-value\" }\n",
    );
    let out = one(&recipe(&policy).unwrap_or_else(|issues| panic!("{issues}")), bytes);
    assert!(holds(&out, "1000") && holds(&out, "ACME"));
    for text in ["Doe", "OTHER", "2000", "3000"] {
        assert!(!holds(&out, text), "{text}");
    }
    assert!(refusal(&policy.replace("retain-safe-private, ", "")).contains("retain-safe-private"));
}

#[test]
fn what_is_not_of_its_representation_goes() {
    let bytes = |name: Element, maker: Element, part: Element| {
        file(object([text(ID, VR::LO, "7"), name, maker, part, text(Tag(0x0018, 0x0050), VR::DS, "1.5")]))
    };
    let maker = Tag(0x0008, 0x0070);
    let part = Tag(0x0018, 0x0015);
    let odd = bytes(
        Element::new(NAME, VR::OB, PrimitiveValue::from(&b"Canary^A"[..])),
        Element::new(maker, VR::OB, PrimitiveValue::from(&b"Canary B"[..])),
        text(part, VR::CS, "Canary C"),
    );
    let output = run(&shipped(), &[odd]);
    let out = files(&output).remove(0);
    assert!(!holds(&out, "Canary"));
    assert_eq!(value(&out, Tag(0x0018, 0x0050)).unwrap(), "1.5");
    assert_eq!(output.undeclared.get("BodyPartExamined"), Some(&1));
    assert_eq!(output.undeclared.get("Manufacturer"), Some(&1));
    // A sequence where a name should be, and a name where a sequence should be.
    let inner = object([text(maker, VR::LO, "Canary")]);
    let out = one(&shipped(), file(object([sequence(NAME, vec![inner]), text(Tag(0x0040, 0xA730), VR::LO, "Canary")])));
    assert!(!holds(&out, "Canary"));
    let fine = bytes(text(NAME, VR::PN, "Doe"), text(maker, VR::LO, "ACME"), text(part, VR::CS, "CHEST"));
    let out = one(&shipped(), fine);
    assert_eq!((value(&out, maker).unwrap(), value(&out, part).unwrap()), ("ACME".to_owned(), "CHEST".to_owned()));
    assert_eq!(value(&out, NAME).unwrap(), "");
}

/// Found by fuzzing: once the private attribute before it was gone, it was read as one of the meta group, and no file of the
/// batch came out.
#[test]
fn attributes_of_the_meta_group_in_the_data_set_go() {
    let meta = file(object([]));
    for (syntax, astray) in [
        (&b"1.2.840.10008.1.2\0"[..], &b"\x09\0\x01\x10\x04\0\0\0name\x02\0\x10\0\x06\0\0\x001.2.3\0"[..]),
        (b"1.2.840.10008.1.2.2\0", b"\0\x09\x10\x01LO\0\x04name\x02\0\0\0UL\0\x04\0\0\0\x08"),
    ] {
        let length = |value: &[u8]| (value.len() as u16).to_le_bytes();
        let bytes = [&[0; 128][..], b"DICM\x02\0\x10\0UI", &length(syntax), syntax, astray].concat();
        let output = run(&shipped(), &[meta.clone(), bytes]);
        let files = files(&output);
        assert_eq!((output.failures.len(), files.len()), (0, 2));
        assert!(parse(&files[1]).elements().iter().all(|element| element.tag.group() != 0x0200));
        assert_eq!(parse(&files[1]).top().filter(|(_, element)| element.tag.group() == 2).count(), 0);
        assert_eq!(value(&files[1], Tag(0x0012, 0x0062)).unwrap(), "YES");
    }
}

#[test]
fn undeclared_attributes_fail_where_the_policy_says_so() {
    let policy = SHIPPED.replace("undeclared: drop", "undeclared: fail");
    let unknown = file(object([text(ID, VR::LO, "7"), text(Tag(0x0008, 0x9999), VR::LO, "Doe")]));
    let output = run(&recipe(&policy).unwrap_or_else(|issues| panic!("{issues}")), &[unknown]);
    let reason = FailureReason::Undeclared;
    assert_eq!(output.failures, [DocumentFailure { index: 0, path: "?".to_owned(), reason }]);
    assert!(output.tables.is_empty());
}

#[test]
fn safe_harbor_refuses_what_would_keep_identifiers() {
    for (option, clause) in [
        ("retain-uids", "164.514(b)(2)(i)(R)"),
        ("retain-device-identity", "164.514(b)(2)(i)(M)"),
        ("retain-institution-identity", "164.514(b)(2)(i)(B)"),
        ("retain-longitudinal-full-dates", "164.514(b)(2)(i)(C)"),
        ("retain-longitudinal-modified-dates", "164.514(b)(2)(i)(C)"),
    ] {
        let said = refusal(&safe_harbor(&format!("options: [{option}]")));
        assert!(said.contains(clause) && said.contains(option), "{said}");
        assert_eq!(said.matches("164.514").count(), 1, "said once: {said}");
        assert!(recipe(&expert(&format!("options: [{option}]"))).is_ok(), "{option}");
    }
    for option in ["clean-descriptors", "clean-structured-content", "clean-graphics", "retain-safe-private"] {
        assert!(recipe(&safe_harbor(&format!("options: [{option}]"))).is_ok(), "{option}");
    }
    let said = refusal(&LIMITED.replace("options: [", "options: [retain-device-identity, "));
    assert!(said.contains("164.514(e)(2)"), "{said}");
    for (rule, clause) in [
        ("PatientName: { kind: clinical, action: keep }", "164.514(b)(2)(i)(A)"),
        ("StationName: { kind: clinical, action: keep }", "164.514(b)(2)(i)(M)"),
        ("PatientBirthDate: { kind: birth-date, action: shift-date }", "164.514(b)(2)(i)(C)"),
        ("StudyInstanceUID: { kind: unique-id, action: hash }", "164.514(c)(1)"),
        ("ImageComments: { kind: clinical, action: keep }", "164.514(b)(2)(i)(R)"),
        ("Occupation: { kind: clinical, action: keep }", "164.514(b)(2)(i)(R)"),
    ] {
        let said = refusal(&safe_harbor(&format!("elements:\n  {rule}")));
        assert!(said.contains(clause), "{rule}: {said}");
    }
    let said = refusal(&safe_harbor("types:\n  PN: { kind: clinical, action: keep }"));
    assert!(said.contains("164.514(b)(2)(i)(A)"), "{said}");
}

#[test]
fn mistakes_are_told_with_what_would_be_right() {
    let said = refusal(&safe_harbor("elements:\n  PatientNam: { kind: name, action: drop }"));
    assert!(said.contains("no attribute") && said.contains("did you mean `PatientName`?"), "{said}");
    let said = refusal(&safe_harbor("elements:\n  (0019,100C): { kind: clinical, action: keep }"));
    assert!(said.contains("creator"), "{said}");
    let said = refusal(&safe_harbor("types:\n  SQ: { kind: clinical, action: keep }"));
    assert!(said.contains("no rule by type"), "{said}");
    let said = refusal(&safe_harbor("types:\n  XX: { kind: clinical, action: keep }"));
    assert!(said.contains("no value representation"), "{said}");
    let said = refusal(&safe_harbor("elements:\n  StudyTime: { kind: service-date, action: year }"));
    assert!(said.contains("makes no value of TM"), "{said}");
    let said = refusal(&safe_harbor("elements:\n  SpecificCharacterSet: { kind: operational, action: drop }"));
    assert!(said.contains("how the file is to be read"), "{said}");
    let both = "options: [retain-longitudinal-full-dates, retain-longitudinal-modified-dates]";
    assert!(refusal(&expert(both)).contains("either kept"));
    assert!(refusal(&expert("profile: none\noptions: [clean-graphics]")).contains("it is `none`"));
    let said = refusal(&safe_harbor("pixel-data: { keep-where: [{ modality: CT, because: \"\" }] }"));
    assert!(said.contains("164.514(b)(2)(i)(Q)"), "{said}");
    assert!(refusal(&safe_harbor("pixel-data: { keep-where: [{ because: x }] }")).contains("known by"));
}

#[test]
fn pixel_data_stay_only_by_device_rule() {
    let section =
        "pixel-data:\n  keep-where: [{ manufacturer: Acme, modality: CT, because: tested }]\n  otherwise: refuse";
    let recipe = recipe(&safe_harbor(section)).unwrap_or_else(|issues| panic!("{issues}"));
    let bytes = |maker: &str, burned: Option<&str>, face: Option<&str>| {
        let mut object = object([
            text(ID, VR::LO, "7"),
            text(Tag(0x0008, 0x0060), VR::CS, "CT"),
            text(Tag(0x0008, 0x0070), VR::LO, maker),
            Element::new(Tag(0x7FE0, 0x0010), VR::OW, PrimitiveValue::U16(smallvec![0x4243; 8])),
        ]);
        burned.map(|burned| object.put(text(Tag(0x0028, 0x0301), VR::CS, burned)));
        face.map(|face| object.put(text(Tag(0x0028, 0x0302), VR::CS, face)));
        file(object)
    };
    let came = |bytes: &[u8]| read(bytes, Limits::default(), |document| recipe.pixels(document));
    let Ok(kept) = came(&bytes("ACME", Some("NO"), None)) else { panic!("must be kept") };
    let output = recipe.apply(&[kept], &crate::fhir::env()).unwrap_or_else(|error| panic!("{error}"));
    assert!(holds(&files(&output)[0], "CBCBCB"));
    for refused in [
        bytes("ACME", None, None),
        bytes("ACME", Some("YES"), None),
        bytes("OTHER", Some("NO"), None),
        bytes("ACME", Some("NO"), Some("YES")),
    ] {
        assert!(matches!(came(&refused), Err(ReadError::Broken(DicomError { problem: Problem::PixelData, .. }))));
    }
    assert_eq!(shipped().pixels(&parse(&bytes("ACME", Some("NO"), None))), Pixels::Refuse);
    let drop = super::recipe(&SHIPPED.replace("pixel-data: refuse\n", "pixel-data: drop\n"));
    assert_eq!(
        drop.unwrap_or_else(|issues| panic!("{issues}")).pixels(&parse(&bytes("A", None, None))),
        Pixels::LeaveOut
    );
    // Icons within sequences go whatever the rule.
    let icon = object([Element::new(Tag(0x7FE0, 0x0010), VR::OW, PrimitiveValue::U16(smallvec![0x4243; 8]))]);
    let out = one(&shipped(), file(object([sequence(Tag(0x0048, 0x0200), vec![icon])])));
    assert!(!holds(&out, "CBCB"));
}

#[test]
fn dates_of_one_patient_move_together() {
    let section = "options: [retain-longitudinal-modified-dates]";
    let recipe = recipe(&expert(section)).unwrap_or_else(|issues| panic!("{issues}"));
    let study = |id: &str, date: &str| {
        file(object([
            text(ID, VR::LO, id),
            text(Tag(0x0008, 0x0020), VR::DA, date),
            text(Tag(0x0008, 0x002A), VR::DT, &format!("{date}120000.5+0100")),
            text(Tag(0x0008, 0x0030), VR::TM, "101112"),
        ]))
    };
    let day = |bytes: &[u8], tag| {
        let text = value(bytes, tag).unwrap();
        chrono::NaiveDate::parse_from_str(&text[..8], "%Y%m%d").unwrap()
    };
    let date = Tag(0x0008, 0x0020);
    let (first, second, other) = (
        one(&recipe, study("7", "20190304")),
        one(&recipe, study("7", "20190314")),
        one(&recipe, study("8", "20190304")),
    );
    assert_eq!((day(&second, date) - day(&first, date)).num_days(), 10);
    assert_ne!(day(&first, date), day(&other, date));
    assert_ne!(value(&first, date).unwrap(), "20190304");
    assert_eq!(day(&first, Tag(0x0008, 0x002A)), day(&first, date));
    assert!(value(&first, Tag(0x0008, 0x002A)).unwrap().ends_with("120000.5+0100"));
    assert_eq!(value(&first, Tag(0x0008, 0x0030)).unwrap(), "101112");
    assert_eq!(value(&first, Tag(0x0028, 0x0303)).unwrap(), "MODIFIED");
    // Whose file it is, is not known: nothing is shifted, and nothing stays.
    assert_eq!(value(&one(&recipe, study("", "20190304")), date).unwrap(), "");
}

#[test]
fn identities_are_those_that_are_declared() {
    let declared = [("PatientID[EAST]", "mrn-east"), ("OtherPatientIDsSequence.PatientID[WEST]", "mrn-west")];
    let recipe = recipe_of(SHIPPED, &declared).unwrap_or_else(|issues| panic!("{issues}"));
    let other = object([text(ID, VR::LO, "W1 "), text(Tag(0x0010, 0x0021), VR::LO, "WEST")]);
    let document = parse(&file(object([
        text(ID, VR::LO, "E1"),
        text(Tag(0x0010, 0x0021), VR::LO, "EAST"),
        sequence(Tag(0x0010, 0x1002), vec![object([text(ID, VR::LO, "X")]), other]),
    ])));
    let mut found = Vec::new();
    recipe
        .identities(&document, |person, namespace, value| found.push((person, namespace.to_owned(), value.to_owned())));
    let of = |namespace: &str, value: &str| (0, namespace.to_owned(), value.to_owned());
    assert_eq!(found, [of("mrn-east", "E1"), of("mrn-west", "W1")]);
    assert!(recipe_of(SHIPPED, &[("PatientNumber", "x")]).is_err());
}

#[test]
fn everything_kept_is_the_same_file() {
    let vrs = "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SS ST SV TM UC UI UL UN UR US UT UV";
    let types = vrs.split(' ').map(|vr| format!("  {vr}: {{ kind: operational, action: keep, because: a test }}\n"));
    let recipe = recipe(&expert(&format!("profile: none\ntypes:\n{}", types.collect::<String>())));
    let recipe = recipe.unwrap_or_else(|issues| panic!("{issues}"));
    let item = object([text(NAME, VR::PN, "Doe^John"), text(Tag(0x0008, 0x0104), VR::LO, "Chest")]);
    let bytes = file(object([
        text(INSTANCE, VR::UI, "1.2.3"),
        text(NAME, VR::PN, "Doe^John"),
        text(Tag(0x0008, 0x0020), VR::DA, "20190304"),
        sequence(Tag(0x0040, 0xA730), vec![item]),
    ]));
    let out = one(&recipe, bytes.clone());
    // The title of the sender in the meta group is no part of the data set, and goes all the same.
    let (before, after) = (parse(&bytes), parse(&out));
    let elements = |document: &cordon_formats::dicom::Document| {
        document.elements()[document.first()..]
            .iter()
            .map(|element| document.value(element).to_vec())
            .collect::<Vec<_>>()
    };
    assert!(elements(&before) == elements(&after));
    assert!(!holds(&out, "CANARYSENDER"));
}

#[test]
fn text_is_cleaned_and_codes_of_public_systems_stay() {
    let policy = SHIPPED
        .replace("options: [", "options: [clean-descriptors, clean-structured-content, ")
        .replace("      elements:\n", "      elements:\n        TextValue: { kind: free-text, action: scrub }\n");
    let recipe = recipe(&policy).unwrap_or_else(|issues| panic!("{issues}"));
    let code = |scheme: &str, meaning: &str| {
        object([
            text(Tag(0x0008, 0x0100), VR::SH, "T-D3000"),
            text(Tag(0x0008, 0x0102), VR::SH, scheme),
            text(Tag(0x0008, 0x0104), VR::LO, meaning),
        ])
    };
    let content = object([
        sequence(Tag(0x0040, 0xA043), vec![code("SRT", "Chest wall"), code("99DOE", "Room of Canary")]),
        text(Tag(0x0040, 0xA160), VR::UT, "No nodule. Called 617-555-0123."),
    ]);
    let bytes = || {
        file(object([
            text(ID, VR::LO, "7"),
            text(Tag(0x0008, 0x1030), VR::LO, "CT chest, ask 617-555-0123"),
            sequence(Tag(0x0040, 0xA730), vec![content.clone()]),
        ]))
    };
    let out = one(&recipe, bytes());
    for text in ["chest", "Chest wall", "nodule"] {
        assert!(holds(&out, text), "{text}");
    }
    for text in ["617-555", "Canary", "99DOE"] {
        assert!(!holds(&out, text), "{text}");
    }
    // Without the options all text of a report is a dummy.
    let out = one(&shipped(), bytes());
    for text in ["chest", "Chest", "nodule", "Canary"] {
        assert!(!holds(&out, text), "{text}");
    }
    assert!(parse(&out).find(Tag(0x0040, 0xA730)).is_some_and(|content| content.length() > 0));
}

#[test]
fn values_of_several_keep_their_number_and_character_set() {
    let section = "elements:\n  OtherPatientNames: { kind: name, action: surrogate }\n  ImageComments: { kind: free-text, action: scrub }";
    let recipe = recipe(&expert(section)).unwrap_or_else(|issues| panic!("{issues}"));
    let bytes = file(object([
        text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 100"),
        text(ID, VR::LO, "7"),
        text(Tag(0x0010, 0x1001), VR::PN, "Doe^Jane\\M\u{fc}ller^Jos\u{e9}"),
        text(Tag(0x0020, 0x4000), VR::LT, "\u{b1} 3 mm, 617-555-0123"),
    ]));
    let out = one(&recipe, bytes);
    let names = value(&out, Tag(0x0010, 0x1001)).unwrap();
    assert_eq!(names.split('\\').count(), 2);
    assert!(names.split('\\').all(|name| name.contains('^')) && !names.contains("Doe"), "{names}");
    assert!(value(&out, Tag(0x0020, 0x4000)).unwrap().starts_with("\u{b1} 3 mm"));
}

#[test]
fn the_table_of_instances_holds_the_file_and_what_the_policy_leaves() {
    let output = run(
        &shipped(),
        &[file(object([
            text(INSTANCE, VR::UI, "1.2.3"),
            text(ID, VR::LO, "7"),
            text(Tag(0x0008, 0x0060), VR::CS, "CT"),
            text(Tag(0x0010, 0x0040), VR::CS, "F"),
            Element::new(Tag(0x0028, 0x0010), VR::US, PrimitiveValue::from(512_u16)),
        ]))],
    );
    let names: Vec<&str> = output.tables.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["instance", "attribute"]);
    let rows = &output.tables[0].1;
    let cell = |name: &str| rows.column_by_name(name).unwrap().as_string_view().value(0).to_owned();
    assert_eq!((cell("modality"), cell("patient_sex"), cell("pixel_data")), ("CT".into(), "F".into(), "none".into()));
    assert_eq!(cell("patient").len(), 26);
    assert_eq!(rows.schema().fields().last().unwrap().name(), "file");
    let attributes = &output.tables[1].1;
    assert!(attributes.num_rows() > 10);
    let paths = attributes.column_by_name("path").unwrap().as_string_view().iter().flatten().collect::<Vec<_>>();
    assert!(paths.contains(&"DeidentificationMethodCodeSequence[2].CodeValue"), "{paths:?}");
    assert!(attributes.column_by_name("value").unwrap().null_count() > 0);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(11),
        ..ProptestConfig::default()
    })]

    /// Whatever a file holds that can be read, what comes out can be read, and does not have the patient's name.
    #[test]
    fn damaged_files_come_out_readable_and_without_a_name(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        implicit in any::<bool>(),
    ) {
        static RECIPE: std::sync::LazyLock<cordon_deid::dicom::DicomRecipe> = std::sync::LazyLock::new(shipped);
        let item = object([text(NAME, VR::PN, "Canary^Item"), text(ID, VR::LO, "CANARY-9")]);
        let object = object([
            text(Tag(0x0008, 0x0060), VR::CS, "MR"),
            text(Tag(0x0008, 0x1030), VR::LO, "Canary study"),
            sequence(Tag(0x0008, 0x1115), vec![item]),
            text(NAME, VR::PN, "Canary^Ada"),
            text(ID, VR::LO, "CANARY-7"),
            text(Tag(0x0018, 0x0050), VR::DS, "1.5"),
        ]);
        let mut bytes = file_in(object, if implicit { "1.2.840.10008.1.2" } else { "1.2.840.10008.1.2.1" });
        for (at, byte) in changes {
            let at = 132 + at.index(bytes.len() - 132);
            // The names are left alone, so that they can be looked for.
            if !bytes[at].is_ascii_alphabetic() {
                bytes[at] = byte;
            }
        }
        if let Ok(document) = read(bytes.as_slice(), Limits::default(), |_| Pixels::Keep) {
            let output = RECIPE.apply(&[document], &crate::fhir::env()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            for out in files(&output) {
                prop_assert!(!holds(&out, "Canary"), "a name is left");
            }
        }
    }
}
