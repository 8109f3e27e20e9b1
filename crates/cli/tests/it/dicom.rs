//! DICOM files from a folder to answers: nothing that identifies is written, and what comes out is DICOM.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use crate::support::{Folder, assert_encrypted, finder, leaks};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const IMPLICIT: &str = "1.2.840.10008.1.2";
const BIG: &str = "1.2.840.10008.1.2.2";

type Element = DataElement<InMemDicomObject>;

fn text(tag: Tag, vr: VR, value: &str) -> Element {
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

/// One instance of a study of one patient.
fn instance(patient: &str, name: &str, study: u32, number: u32) -> InMemDicomObject {
    let uid = |what: &str| format!("1.2.826.0.1.3680043.{study}.{what}");
    let requested = InMemDicomObject::from_element_iter([
        text(Tag(0x0032, 0x1060), VR::LO, &format!("Scan of {name}")),
        text(Tag(0x0040, 0x1001), VR::SH, "REQ-55501"),
    ]);
    let referenced = InMemDicomObject::from_element_iter([
        text(Tag(0x0008, 0x1150), VR::UI, "1.2.840.10008.5.1.4.1.1.4"),
        text(Tag(0x0008, 0x1155), VR::UI, &uid("1.1")),
    ]);
    InMemDicomObject::from_element_iter([
        text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 100"),
        text(Tag(0x0008, 0x0008), VR::CS, "ORIGINAL\\PRIMARY\\AXIAL"),
        text(Tag(0x0008, 0x0016), VR::UI, "1.2.840.10008.5.1.4.1.1.4"),
        text(Tag(0x0008, 0x0018), VR::UI, &uid(&format!("1.{number}"))),
        text(Tag(0x0008, 0x0020), VR::DA, "20190304"),
        text(Tag(0x0008, 0x0030), VR::TM, "101112"),
        text(Tag(0x0008, 0x0050), VR::SH, "ACC-778812"),
        text(Tag(0x0008, 0x0060), VR::CS, "MR"),
        text(Tag(0x0008, 0x0070), VR::LO, "ACME Imaging"),
        text(Tag(0x0008, 0x0080), VR::LO, "Mercy Sanatorium"),
        text(Tag(0x0008, 0x0090), VR::PN, "Referrer^Quentin"),
        text(Tag(0x0008, 0x1030), VR::LO, &format!("Brain of {name}")),
        DataElement::new(Tag(0x0008, 0x1140), VR::SQ, DataSetSequence::from(vec![referenced])),
        text(Tag(0x0010, 0x0010), VR::PN, name),
        text(Tag(0x0010, 0x0020), VR::LO, patient),
        text(Tag(0x0010, 0x0030), VR::DA, "19570301"),
        text(Tag(0x0010, 0x0040), VR::CS, "F"),
        text(Tag(0x0010, 0x1010), VR::AS, "062Y"),
        text(Tag(0x0018, 0x0050), VR::DS, "1.5"),
        text(Tag(0x0018, 0x1000), VR::LO, "SERIAL-90210-X"),
        text(Tag(0x0019, 0x0010), VR::LO, "ACME PRIVATE"),
        text(Tag(0x0019, 0x1001), VR::LO, "Hidden Privately"),
        text(Tag(0x0020, 0x000D), VR::UI, &uid("0")),
        text(Tag(0x0020, 0x000E), VR::UI, &uid("9")),
        DataElement::new(Tag(0x0028, 0x0010), VR::US, PrimitiveValue::from(256_u16)),
        DataElement::new(Tag(0x0040, 0x0275), VR::SQ, DataSetSequence::from(vec![requested])),
    ])
}

fn write(folder: &Folder, name: &str, object: InMemDicomObject, syntax: &str) {
    let uid = object.element(Tag(0x0008, 0x0018)).unwrap().to_str().unwrap().into_owned();
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(syntax)
        .media_storage_sop_class_uid("1.2.840.10008.5.1.4.1.1.4")
        .media_storage_sop_instance_uid(uid)
        .source_application_entity_title("MERCY_PACS_7");
    let mut out = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut out).unwrap();
    folder.write(&format!("data/dicom/{name}"), out);
}

/// The files that came out.
fn files(folder: &Folder) -> Vec<Vec<u8>> {
    let rows = folder.csv("SELECT encode(file, 'hex') AS hex FROM dicom_instance ORDER BY instance");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    rows.lines().skip(1).map(|line| line.trim().as_bytes().chunks(2).map(byte).collect()).collect()
}

/// What pydicom makes of a file; `None` where it is not installed.
fn pydicom(bytes: &[u8], folder: &Path) -> Option<String> {
    let path = folder.join("out.dcm");
    fs::write(&path, bytes).unwrap();
    let script = "import sys, pydicom\nd = pydicom.dcmread(sys.argv[1])\nprint(d.PatientIdentityRemoved, d.Modality, \
                  d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID, len(list(d.iterall())))";
    let python = std::env::var("CORDON_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let said = Command::new(python).arg("-c").arg(script).arg(&path).output().ok()?;
    if !said.status.success() {
        eprintln!("skipped: pydicom is not there");
        return None;
    }
    Some(String::from_utf8(said.stdout).unwrap())
}

#[test]
fn files_become_tables_and_files_and_leave_nothing_that_identifies() {
    let folder = Folder::init("dicom");
    for (number, syntax) in [EXPLICIT, IMPLICIT, BIG].into_iter().enumerate() {
        let number = number as u32 + 1;
        write(&folder, &format!("a{number}.dcm"), instance("MRN-0077123", "Lovelace^Ada", 1, number), syntax);
    }
    write(&folder, "deep/b", instance("MRN-0088456", "Babbage^Charles", 2, 1), EXPLICIT);
    let report = folder.run_json("nightly", 0);
    assert_eq!((report["rows_in"].as_u64(), report["rows_out"].as_u64()), (Some(4), Some(4)));
    assert_eq!(folder.count("SELECT count(*) FROM dicom_instance"), 4);
    assert_eq!(folder.count("SELECT count(DISTINCT patient) FROM dicom_instance"), 2);
    assert_eq!(folder.count("SELECT count(DISTINCT study) FROM dicom_instance"), 2);
    assert_eq!(folder.count("SELECT count(*) FROM dicom_instance WHERE modality = 'MR' AND rows = 256"), 4);
    assert_eq!(folder.count("SELECT count(*) FROM dicom_instance WHERE study_date = '20190101'"), 4);
    assert_eq!(folder.count("SELECT count(*) FROM dicom_instance WHERE patient_age = '062Y' AND patient_sex = 'F'"), 4);
    assert!(folder.count("SELECT count(*) FROM dicom_attribute WHERE tag = '(0018,0050)' AND value = '1.5'") == 4);
    // A reference leads to the instance that it did.
    let joined = "SELECT count(*) FROM dicom_attribute a JOIN dicom_instance i ON a.value = i.instance \
                  WHERE a.path = 'ReferencedImageSequence[1].ReferencedSOPInstanceUID'";
    assert_eq!(folder.count(joined), 4);

    let secrets: BTreeSet<String> = [
        "Lovelace",
        "Babbage",
        "MRN-00",
        "19570301",
        "20190304",
        "1.2.826.0.1.3680043",
        "ACC-778812",
        "Mercy Sanatorium",
        "Referrer",
        "SERIAL-90210",
        "ACME PRIVATE",
        "Hidden Privately",
        "REQ-55501",
        "MERCY_PACS",
    ]
    .map(str::to_owned)
    .into();
    let finder = finder(&secrets);
    let nothing_in = |bytes: &[u8], place: &str| {
        let found = leaks(bytes, &secrets, &finder);
        assert!(found.is_empty(), "{place} holds {:?}", found.first());
    };
    let written = folder.written();
    let is_part = |file: &&std::path::PathBuf| file.extension().is_some_and(|extension| extension == "parquet");
    assert_encrypted(&written.iter().filter(is_part).cloned().collect::<Vec<_>>());
    for file in &written {
        nothing_in(&fs::read(file).unwrap(), &file.display().to_string());
    }
    nothing_in(folder.csv("SELECT * FROM dicom_attribute").as_bytes(), "dicom_attribute");
    let out = files(&folder);
    assert_eq!(out.len(), 4);
    for bytes in &out {
        nothing_in(bytes, "a file that came out");
        let read = dicom_object::from_reader(bytes.as_slice()).unwrap();
        assert_eq!(read.element(Tag(0x0012, 0x0062)).unwrap().to_str().unwrap(), "YES");
        assert_eq!(read.element(Tag(0x0008, 0x0070)).unwrap().to_str().unwrap(), "ACME Imaging");
        let uid = read.element(Tag(0x0008, 0x0018)).unwrap().to_str().unwrap();
        assert_eq!(read.meta().media_storage_sop_instance_uid().trim_end_matches('\0'), uid);
        assert!(uid.starts_with("2.25."));
        if let Some(said) = pydicom(bytes, &folder.path()) {
            assert!(said.starts_with("YES MR True "), "{said}");
        }
    }
    folder.cordon(&["audit", "verify"]).ok();
}

#[test]
fn pixel_data_are_refused_until_the_policy_says_what_is_done_with_them() {
    let folder = Folder::init("dicom");
    let mut object = instance("MRN-0077123", "Lovelace^Ada", 1, 1);
    object.put(DataElement::new(Tag(0x7FE0, 0x0010), VR::OW, PrimitiveValue::from(vec![7_u8; 3 << 20].as_slice())));
    write(&folder, "a.dcm", object, EXPLICIT);
    write(&folder, "b.dcm", instance("MRN-0077123", "Lovelace^Ada", 1, 2), EXPLICIT);
    let said = folder.cordon(&["run", "nightly"]).exits(3);
    assert!(said.all().contains("pixel-data") && said.all().contains("PixelData"), "{}", said.all());
    assert!(!said.all().contains("Lovelace"));
    assert_eq!(folder.count("SELECT count(*) FROM dicom_instance"), 1);
    let policy = folder.read("policies/safe-harbor-dicom.yaml");
    folder.write("policies/safe-harbor-dicom.yaml", policy.replace("pixel-data: refuse\n", "pixel-data: drop\n"));
    folder.cordon(&["run", "nightly"]).ok();
    assert_eq!(folder.count("SELECT count(*) FROM dicom_instance"), 2);
    assert_eq!(folder.count("SELECT count(*) FROM dicom_instance WHERE pixel_data = 'left-out'"), 1);
    assert!(files(&folder).iter().all(|file| file.len() < 1 << 20));
}

#[test]
fn a_file_that_fails_is_put_aside_and_replayed_when_the_rule_is_mended() {
    let folder = Folder::init("dicom");
    let policy = folder.read("policies/safe-harbor-dicom.yaml");
    let rule = "StudyDate:       { kind: service-date, action: year, otherwise: blank }";
    let strict = policy.replace(rule, "StudyDate: { kind: service-date, action: year }");
    assert_ne!(policy, strict);
    folder.write("policies/safe-harbor-dicom.yaml", &strict);
    let mut object = instance("MRN-0077123", "Lovelace^Ada", 1, 1);
    object.put(text(Tag(0x0008, 0x0020), VR::DA, "in March"));
    write(&folder, "a.dcm", object, IMPLICIT);
    folder.run_json("nightly", 3);
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok();
    assert_eq!(list.json()[0]["field"], "StudyDate", "{}", list.out);
    assert!(!list.out.contains("March") && !list.out.contains("Lovelace"));
    folder.write("policies/safe-harbor-dicom.yaml", &policy);
    folder.cordon(&["quarantine", "replay", "nightly"]).ok();
    assert_eq!(folder.count("SELECT count(*) FROM dicom_instance"), 1);
}

#[test]
fn what_is_no_dicom_is_refused_with_a_reason() {
    let folder = Folder::init("dicom");
    folder.write("data/dicom/table.dcm", "mrn,name\n7,Doe\n");
    folder.write("data/dicom/empty.dcm", "");
    write(&folder, "cut.dcm", instance("MRN-0077123", "Lovelace^Ada", 1, 1), EXPLICIT);
    let path = folder.path().join("data/dicom/cut.dcm");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let said = folder.cordon(&["run", "nightly"]).exits(3);
    for reason in ["the file is empty", "no DICOM file", "ends within an element"] {
        assert!(said.all().contains(reason), "{}", said.all());
    }
    for secret in ["Doe", "Lovelace", "MRN"] {
        assert!(!said.all().contains(secret));
    }
}
