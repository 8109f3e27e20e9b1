//! What the engine begins with: the repository's cases, and small inputs of each format made here. Third-party data beside the
//! project serve too where they are; nothing of them is kept.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use cordon_formats::{ccda, fhir, hl7v2, open_decoded, x12};

pub const POLICIES: [&str; 14] = [
    include_str!("../../crates/deid/policies/ccda.yaml"),
    include_str!("../../crates/deid/policies/ccda-limited-data-set.yaml"),
    include_str!("../../crates/deid/policies/dicom.yaml"),
    include_str!("../../crates/deid/policies/dicom-limited-data-set.yaml"),
    include_str!("../../crates/deid/policies/fhir-r4.yaml"),
    include_str!("../../crates/deid/policies/fhir-r4-limited-data-set.yaml"),
    include_str!("../../crates/deid/policies/hl7v2.yaml"),
    include_str!("../../crates/deid/policies/hl7v2-limited-data-set.yaml"),
    include_str!("../../crates/deid/policies/hospital.yaml"),
    include_str!("../../crates/deid/policies/notes.yaml"),
    include_str!("../../crates/deid/policies/research.yaml"),
    include_str!("../../crates/deid/policies/synthea-csv.yaml"),
    include_str!("../../crates/deid/policies/x12.yaml"),
    include_str!("../../crates/deid/policies/x12-limited-data-set.yaml"),
];

const SMALL_POLICY: &str = "policy: p\nmethod: safe-harbor\nsubject: { domain: patient }\ndatasets:\n  t:\n    subject: who\n    \
    fields:\n      who: { kind: unique-id, action: token }\n      born: { kind: birth-date }\n      zip: { kind: postal-code }\n      \
    note: { kind: free-text, action: drop }\n    derive: { age: { from: born, kind: birth-date, action: age } }\n";

const CSV: &str =
    "mrn,name,born,note\n0007,\"Doe, Jane\",1957-03-01,\"said \"\"yes\"\"\nand went\"\n0008,,NULL,#\n\n0009,a,b\n";

const NDJSON: &str = "{\"id\":\"1\",\"name\":\"J\\u00e9r\\u00f4me\",\"a\":{\"b\":1.50,\"c\":{\"d\":true}},\"list\":[1,{\"x\":null}],\"more\":0}\n\
    {\"id\":2e5,\"name\":null}\n[]\n{\"id\":1,\"id\":2}\nnot json\n";

const FHIR: &str = concat!(
    r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","id":"p1","##,
    r##""name":[{"family":"Doe","given":["Jane"]}],"birthDate":"1957-03-01","_birthDate":{"extension":[{"url":"http://x","##,
    r##""valueDateTime":"1957-03-01T10:00:00Z"}]},"address":[{"line":["1 Elm St"],"postalCode":"02139","state":"MA"}],"##,
    r##""contained":[{"resourceType":"Organization","id":"o"}],"managingOrganization":{"reference":"#o"}}},"##,
    r##"{"fullUrl":"urn:uuid:2","resource":{"resourceType":"Observation","status":"final","subject":{"reference":"urn:uuid:1"},"##,
    r##""code":{"coding":[{"system":"http://loinc.org","code":"718-7","display":"Hemoglobin"}],"text":"Hb \u00e4"},"##,
    r##""effectiveDateTime":"2019-03-04","valueQuantity":{"value":14.10,"unit":"g/dL"}}}]}"##
);

const HL7: &str = "FHS|^~\\&|A|B\rBHS|^~\\&|A|B\rMSH|^~\\&|LAB|GH|EHR||20240102030405||ORU^R01^ORU_R01|7|P|2.5.1||||||8859/1\r\
    PID|1||0007^^^GH^MR~999^^^SSA^SS||Doe^Jane^Q||19570301|F||2106-3|1 Elm St^^Boston^MA^02139^USA||(617)555-0100|||M\r\
    NK1|1|Doe^John|SPO\rPV1|1|I|2000^2012^01||||004777^Okafor^Ada^^^Dr\rOBX|1|NM|2345-7^Glucose^LN||95|mg/dL\r\
    OBX|2|TX|note^Note^L||Seen 3/4/2021\\.br\\by Dr. Okafor \\T\\ team\\X0D0A\\\rNTE|1|L|call Jane\rZPI|1|secret&x\rBTS|1\rFTS|1\r";

const CDA: &str = r#"<?xml version="1.0" encoding="UTF-8"?><!-- c --><ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:sdtc="urn:hl7-org:sdtc"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><id root="1.2" extension="d1"/><title>Summary &amp; more</title>
<effectiveTime value="20240102"/><confidentialityCode code="N"/><recordTarget><patientRole><id root="1.3" extension='0007'/>
<addr use="HP"><streetAddressLine>1 Elm St</streetAddressLine><postalCode>02139</postalCode></addr><telecom value="tel:+1-617"/>
<patient><name><given>Jane</given><family>O&apos;Doe</family></name><birthTime value="19570301"/><sdtc:raceCode code="2106-3"/>
</patient></patientRole></recordTarget><author><time value="2024"/></author><component><structuredBody><component><section>
<templateId root="1.2"/><code code="10164-2"/><title>History</title><text><paragraph>Mrs <content>Do</content>e, seen
<![CDATA[3/4/2021 & later]]></paragraph></text><entry><observation classCode="OBS" moodCode="EVN"><id nullFlavor="NI"/>
<value xsi:type="PQ" value="95" unit="mg/dL"/></observation></entry></section></component></structuredBody></component></ClinicalDocument>"#;

const ISA: &str =
    "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240102*1200*^*00501*000000001*0*P*:~";

/// Sets of each guide in short: group code, version, set.
const X12: [(&str, &str, &str); 6] = [
    (
        "HC",
        "005010X222A1",
        "ST*837*0001*005010X222A1~BHT*0019*00*1*20240102*1200*CH~NM1*41*2*S*****46*1~PER*IC*A*TE*6175550100~NM1*40*2*R*****46*2~\
        HL*1**20*1~NM1*85*2*CLINIC*****XX*1999996666~N3*1 ELM~N4*BOSTON*MA*02139~REF*EI*123456789~HL*2*1*22*1~SBR*P*18*G**CI***CI~\
        NM1*IL*1*DOE*JANE****MI*0007~DMG*D8*19570301*F~HL*3*2*23*0~PAT*19~NM1*QC*1*DOE*JIM~CLM*A1*100***11:B:1*Y*A*Y*Y~\
        HI*ABK:J45*ABF:E11~LX*1~SV1*HC:99213:25*100*UN*1***1~DTP*472*D8*20240102~SE*21*0001~",
    ),
    (
        "HP",
        "005010X221A1",
        "ST*835*0001~BPR*I*100*C*ACH~TRN*1*1*1~DTM*405*20240102~N1*PR*PAYER~N1*PE*CLINIC*XX*1999996666~LX*1~CLP*A1*1*100*80*20*MC*7~\
        CAS*PR*1*20~NM1*QC*1*DOE*JANE****MI*0007~SVC*HC:99213*100*80~DTM*472*20240102~PLB*1*20241231*WO:1*5~SE*13*0001~",
    ),
    (
        "BE",
        "005010X220A1",
        "ST*834*0001*005010X220A1~BGN*00*1*20240102~N1*P5*EMPLOYER*FI*1~N1*IN*PAYER*FI*2~INS*Y*18*021*28*A***FT~REF*0F*0007~\
        NM1*IL*1*DOE*JANE****34*123456789~N3*1 ELM~N4*BOSTON*MA*02139~DMG*D8*19570301*F~HD*021**HLT~DTP*348*D8*20240101~SE*12*0001~",
    ),
    (
        "HS",
        "005010X279A1",
        "ST*270*0001*005010X279A1~BHT*0022*13*1*20240102*1200~HL*1**20*1~NM1*PR*2*P*****PI*1~HL*2*1*21*1~NM1*1P*2*C*****XX*1~\
        HL*3*2*22*0~TRN*1*1*9~NM1*IL*1*DOE*JANE****MI*0007~DMG*D8*19570301~EQ*30~SE*11*0001~",
    ),
    (
        "HR",
        "005010X212",
        "ST*276*0001*005010X212~BHT*0010*13*1*20240102~HL*1**20*1~NM1*PR*2*P*****PI*1~HL*2*1*22*0~NM1*IL*1*D*J****MI*7~SE*6*0001~",
    ),
    ("XX", "005010X999", "ST*999*0001~AK1*HC*1~xx*~~SE*2*0001~"),
];

const NOTE: &str = "72 yo woman, Mrs. Jane O'Doe (MRN: 00-1234, DOB 3/1/1957), seen on March 4th, 2021 by Dr. Ada Okafor at Boston General.\n\
    Lives at 12 Elm St, Apt 4, Boston, MA 02139. Phone (617) 555-0100, jane@example.org, SSN 219-09-9999, 10.0.0.1, http://x.org/y\n\
    BP 120/80, Foley catheter, Parkinson's disease. Aged 93. NPI 1999996666. 1EG4-TE5-MK73. Straße Jérôme 李\n";

const PATHS: &str = "//name\n/ClinicalDocument/recordTarget/patientRole/id/@extension\nsection[@code='10164-2']//text\n\
    section[templateId/@root='1.2']/title\npatient/*\n//@*\nsdtc:raceCode\nPID-5.1.2\nOBX-5\nZPI-3\nPID\nPatient.name.given\n\
    Observation.value.ofType(string)\n*.language\nPatient.contact.name\nextension\n''\n";

const XHTML: &str = "<div xmlns=\"http://www.w3.org/1999/xhtml\" id=\"x\"><p class=x>Dr. <b>Jo</b>hn &amp; co<br/></p><!-- c --><head><title>t\
    </title></head><table><tr><td colspan=\"2\" rowspan='3'>a</td></tr></table><![CDATA[x]]><?p ?><ul><li>b &eacute;</li></ul></div>";

/// A configuration of the Microsoft FHIR anonymizer with each of its methods.
const CONFIGURATION: &str = r#"{
  "fhirVersion": "R4",
  "fhirPathRules": [
    {"path": "nodesByType('Extension')", "method": "redact"},
    {"path": "Organization.identifier", "method": "keep"},
    {"path": "nodesByType('Address').country", "method": "keep"},
    {"path": "nodesByType('date').where($this > @2000)", "method": "dateShift"},
    {"path": "nodesByName('family')", "method": "substitute", "replaceWith": "Doe"},
    {"path": "Patient.address", "method": "substitute", "replaceWith": {"city": "x", "line": ["y"]}},
    {"path": "Resource.id", "method": "cryptoHash"},
    {"path": "nodesByType('Reference').reference", "method": "encrypt"},
    {"path": "(nodesByType('Quantity') | Observation.value)", "method": "perturb", "span": 5, "rangeType": "fixed", "roundTo": 0},
    {"path": "Patient.birthDate", "method": "generalize", "cases": {"$this >= @2000": "@2000", "true": "$this"}, "otherValues": "redact"},
    {"path": "Patient.descendants().ofType(HumanName)", "method": "redact"},
    {"path": "Observation.value as Quantity", "method": "keep"},
    {"path": "Resource", "method": "keep"}
  ],
  "parameters": {"dateShiftKey": "0123456789abcdef", "dateShiftScope": "file", "dateShiftFixedOffsetInDays": 5,
    "cryptoHashKey": "fedcba9876543210", "encryptKey": "abcdefgh01234567", "enablePartialAgesForRedact": true,
    "enablePartialDatesForRedact": true, "enablePartialZipCodesForRedact": true,
    "restrictedZipCodeTabulationAreas": ["036", "059"], "customSettings": {"a": 1}}
}"#;

/// Elements of a data set: tag, representation and value, sequences with items of such.
enum Put {
    Text(u16, u16, &'static [u8; 2], &'static [u8]),
    Sequence(u16, u16, Vec<Vec<Put>>),
}

/// A data set in explicit VR or not, little end first or not, sequences of known length or not.
fn data_set(elements: &[Put], implicit: bool, big: bool, undefined: bool) -> Vec<u8> {
    let two = |number: u16| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    let four = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut out = Vec::new();
    for element in elements {
        match element {
            Put::Text(group, number, vr, value) => {
                out.extend([two(*group), two(*number)].concat());
                match (implicit, *vr) {
                    (true, _) => out.extend(four(value.len() as u32)),
                    (false, b"OB" | b"OW" | b"UN" | b"UT") => {
                        out.extend([&vr[..], &[0; 2], &four(value.len() as u32)].concat());
                    }
                    (false, _) => out.extend([&vr[..], &two(value.len() as u16)].concat()),
                }
                out.extend_from_slice(value);
            }
            Put::Sequence(group, number, items) => {
                let mut inner = Vec::new();
                for item in items {
                    let item = data_set(item, implicit, big, undefined);
                    let length = if undefined { u32::MAX } else { item.len() as u32 };
                    inner.extend([&two(0xFFFE)[..], &two(0xE000), &four(length), &item].concat());
                    if undefined {
                        inner.extend([&two(0xFFFE)[..], &two(0xE00D), &[0; 4]].concat());
                    }
                }
                let length = if undefined { u32::MAX } else { inner.len() as u32 };
                out.extend([two(*group), two(*number)].concat());
                if !implicit {
                    out.extend(b"SQ\0\0");
                }
                out.extend(four(length));
                out.extend(inner);
                if undefined {
                    out.extend([&two(0xFFFE)[..], &two(0xE0DD), &[0; 4]].concat());
                }
            }
        }
    }
    out
}

/// Files of DICOM in each way of writing them.
pub fn dicom_files() -> Vec<Vec<u8>> {
    use Put::{Sequence, Text};
    let code =
        || vec![Text(8, 0x100, b"SH", b"T-D3"), Text(8, 0x102, b"SH", b"SRT "), Text(8, 0x104, b"LO", b"Chest ")];
    let elements = [
        Text(8, 5, b"CS", b"ISO_IR 100"),
        Text(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        Text(8, 0x18, b"UI", b"1.2.3.4\0"),
        Text(8, 0x20, b"DA", b"20240102"),
        Text(8, 0x60, b"CS", b"CT"),
        Text(8, 0x70, b"LO", b"ACME"),
        Text(9, 0x10, b"LO", b"OWN "),
        Text(9, 0x1001, b"LO", b"secret"),
        Text(0x10, 0x10, b"PN", b"M\xFCller^Jane"),
        Text(0x10, 0x20, b"LO", b"0007"),
        Text(0x10, 0x1010, b"AS", b"093Y"),
        Text(0x10, 0x4000, b"LT", b"seen 3/4/2021 "),
        Text(0x18, 0x50, b"DS", b"1.5\\2 "),
        Text(0x20, 0xD, b"UI", b"1.2.3\0"),
        Text(0x28, 0x10, b"US", &[2, 0]),
        Sequence(
            0x40,
            0x275,
            vec![vec![Text(0x40, 7, b"LO", b"CT x"), Sequence(0x40, 8, vec![code(), code()])], vec![]],
        ),
    ];
    let meta = |syntax: &'static [u8]| {
        let rest = data_set(
            &[
                Text(2, 2, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
                Text(2, 3, b"UI", b"1.2.3.4\0"),
                Text(2, 0x10, b"UI", syntax),
                Text(2, 0x16, b"AE", b"SENDER"),
            ],
            false,
            false,
            false,
        );
        let length = [&[2, 0, 0, 0][..], b"UL", &[4, 0], &(rest.len() as u32).to_le_bytes()].concat();
        [&[0; 128][..], b"DICM", &length, &rest].concat()
    };
    let mut all = Vec::new();
    for (syntax, implicit, big) in [
        (&b"1.2.840.10008.1.2.1\0"[..], false, false),
        (b"1.2.840.10008.1.2\0", true, false),
        (b"1.2.840.10008.1.2.2\0", false, true),
    ] {
        for undefined in [false, true] {
            all.push([meta(syntax), data_set(&elements, implicit, big, undefined)].concat());
        }
    }
    let mut deflated = flate2::write::DeflateEncoder::new(meta(b"1.2.840.10008.1.2.1.99"), flate2::Compression::fast());
    deflated.write_all(&data_set(&elements, false, false, true)).expect("memory");
    all.push(deflated.finish().expect("memory"));
    // Pixel data as they are, and in fragments; an element of the meta group where none may be.
    let plain = [meta(b"1.2.840.10008.1.2.1\0"), data_set(&elements, false, false, false)].concat();
    all.push([&plain[..], &data_set(&[Text(0x7FE0, 0x10, b"OW", &[1; 8])], false, false, false)].concat());
    let fragments = b"\xE0\x7F\x10\0OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\0\xE0\0\0\0\0\xFE\xFF\0\xE0\x04\0\0\0abcd\xFE\xFF\xDD\xE0\0\0\0\0";
    all.push([&plain[..], fragments].concat());
    let astray = [Text(8, 0x14, b"UI", b"1.2.3\0"), Text(2, 0x16, b"AE", b"SENDER"), Text(2, 0x10, b"UI", b"1.2.3\0")];
    all.push([meta(b"1.2.840.10008.1.2\0"), data_set(&astray, true, false, false)].concat());
    all
}

/// The cases of a folder of the repository.
fn cases(folder: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases").join(folder)];
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() { folders.push(path) } else { found.extend(std::fs::read(path)) }
        }
    }
    found
}

fn interchanges() -> Vec<Vec<u8>> {
    let one = |(code, version, set): &(&str, &str, &str)| {
        format!("{ISA}GS*{code}*A*B*20240102*1200*7*X*{version}~{set}GE*1*7~IEA*1*000000001~")
    };
    let mut all: Vec<String> = X12.iter().map(one).collect();
    let lines = all[0].replace('~', "~\r\n") + &all[1].replace('*', "|");
    all.push(lines);
    all.into_iter().map(String::into_bytes).collect()
}

/// Lines of JSON in the cases of FHIR.
fn resources() -> Vec<Vec<u8>> {
    let mut all = vec![FHIR.as_bytes().to_vec()];
    for case in cases("fhir") {
        let text = String::from_utf8_lossy(&case).into_owned();
        all.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| line.starts_with("{\"resourceType\""))
                .map(|line| line.as_bytes().to_vec()),
        );
    }
    all
}

/// Inputs of a target that are always there.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    match target {
        "csv" => texts(&[CSV, "a;b\n1;\\\"x\n#c\n", "\u{feff}a,b\r\n1,2\r\n", "a\tb\n"]),
        "ndjson" => texts(&[NDJSON, "{}\n{}"]),
        "compressed" => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(CSV.as_bytes()).expect("memory");
            let zstd = zstd::encode_all(CSV.as_bytes(), 1).expect("memory");
            vec![
                gzip.finish().expect("memory"),
                zstd,
                b"\x50\x2A\x4D\x18\x02\0\0\0xx".to_vec(),
                CSV.as_bytes().to_vec(),
            ]
        }
        "fhir" | "fhir_deid" => resources(),
        "hl7v2" | "hl7v2_deid" => {
            let mllp =
                format!("\x0B{}\x1C\r", &HL7[HL7.find("MSH").expect("a message")..HL7.find("BTS").expect("a trailer")]);
            let odd = HL7.replace('|', "$").replace('\r', "\n");
            texts(&[HL7, &mllp, &odd, "PID|1\rMSH|^~\\&|A\rPID|1||7\r"])
        }
        "ccda" | "ccda_deid" => {
            let twice = format!("{CDA}\n{CDA}");
            let utf16: Vec<u8> = CDA.replace("UTF-8", "UTF-16").encode_utf16().flat_map(u16::to_le_bytes).collect();
            let mut all = texts(&[CDA, &twice]);
            all.push([&[0xFF, 0xFE][..], &utf16].concat());
            all
        }
        "x12" | "x12_deid" => interchanges(),
        "dicom" | "dicom_deid" => dicom_files(),
        "notes" => texts(&[
            "{mrn}_{number}_{date}.txt\n0007_1_2024-01-02.txt\nMrs. Doe\r\nwas seen\n",
            "note {id}\nnote 7\n\u{feff}Jos\u{e9}\n",
            "a{b}c{d}\naxcy\nx\0y",
            "\nx.txt\n",
        ])
        .into_iter()
        .chain([
            b"{a}.txt\n7.txt\nJos\xE9 \x93x\x94".to_vec(),
            b"\nx\n\xFF\xFEa\0b\0".to_vec(),
            b"\nx\n\xFE\xFF\0a".to_vec(),
        ])
        .collect(),
        "markup" => texts(&[
            XHTML,
            "a < b & c &; AT&T &nbsp;x Jos&eacute P &#105;&#x69; &rcaron;",
            "<p>a<script>if (a</b)</script>b",
        ]),
        "narrative" => {
            let facts = "a0Jane|O'Doe\na0Mary-Ann|van der Linden\na1Jos\u{e9}|N\u{fa}\u{f1}ez Vega\na2Ada|Okafor\nb012 Elm Street Apt 4\nc0Boston\n\
                e002139\ng01957-03-01\nj0(617) 555-0100\nn000-1234\nl0jane@example.org\nm0219-09-9999\n\n";
            texts(&[&format!("{facts}{NOTE}"), NOTE])
                .into_iter()
                .chain(cases("narrative"))
                .chain(crate::narrative::SPELLINGS.iter().map(|text| format!("{facts}Seen: {text} .").into_bytes()))
                .collect()
        }
        "import" => texts(&[CONFIGURATION, r#"{"fhirPathRules":[]}"#]),
        "policy" => texts(&POLICIES).into_iter().chain(texts(&[SMALL_POLICY])).chain(cases("policies")).collect(),
        "paths" => PATHS.lines().map(|line| line.as_bytes().to_vec()).collect(),
        "detect" => texts(&[NOTE]).into_iter().chain(cases("detect")).collect(),
        "kernels" => {
            let values = "1957-03-01\n3/1/57\n19570301\n2020-02-30\n02139\n02139-1234\n93\n-5\n1.50\ntrue\nJane Doe\n(617) 555-0100\n219-09-9999\nNULL\n \n";
            texts(&[values, NOTE]).into_iter().chain(cases("kernels")).collect()
        }
        "vault" => {
            let mut frame = Vec::new();
            frame.extend(1_u32.to_le_bytes());
            frame.extend(3_u32.to_le_bytes());
            frame.extend([1; 32]);
            frame.extend(4_u32.to_le_bytes());
            frame.extend(b"mrn0007");
            frame.resize(64, 0);
            vec![frame, [b"CVF1".as_slice(), &64_u32.to_le_bytes(), &[0; 24], &[1; 64]].concat(), vec![0; 64]]
        }
        "audit" => {
            let frame = [&40_u32.to_be_bytes()[..], &1_u64.to_be_bytes(), &[1; 40], &[2; 96]].concat();
            vec![frame.clone(), [frame.clone(), frame].concat(), [b"CORDAUD1".as_slice(), &[0; 124]].concat()]
        }
        _ => Vec::new(),
    }
}

/// Inputs that once broke something.
pub fn findings(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings").join(target);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// Third-party data for a target, in pieces of at most `most` bytes.
pub fn third_party(target: &str, data: &Path, most: usize) -> Vec<Vec<u8>> {
    let folders: &[&str] = match target {
        "csv" | "kernels" => &["synthea-csv", "omop-100"],
        "fhir" | "fhir_deid" => &["fhir-bulk-10", "ms-anonymizer"],
        "hl7v2" | "hl7v2_deid" => &["hl7v2"],
        "ccda" | "ccda_deid" => &["ccda"],
        "x12" | "x12_deid" => &["x12"],
        "detect" | "narrative" | "notes" => &["notes"],
        "import" => &["ms-anonymizer/configurations"],
        _ => &[],
    };
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| data.join(folder)).collect();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()));
            continue;
        }
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path).map(|file| file.take(16 << 20)).map(open_decoded);
        if let Ok(Ok(decoded)) = read {
            let _ = decoded.take(1 << 20).read_to_end(&mut bytes);
        }
        let whole = bytes.len() <= most;
        // Of a long file its beginning, its middle, and a piece of its end.
        let pieces = if whole { vec![0] } else { vec![0, bytes.len() / 2, bytes.len() - most] };
        found.extend(pieces.into_iter().map(|at| bytes[at..bytes.len().min(at + most)].to_vec()));
    }
    found.retain(|piece| !piece.is_empty());
    found
}

/// Words that a format is made of, for the engine to try.
pub fn words(target: &str) -> Vec<String> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match target {
        "hl7v2" | "hl7v2_deid" => {
            let segments = hl7v2::Dictionary::get().segments().map(|segment| format!("\r{}|", segment.name));
            let marks = [
                "\\T\\",
                "\\X0D0A\\",
                "\\.br\\",
                "\\C2842\\",
                "\"\"",
                "^^^",
                "&",
                "~",
                "\r\n",
                "\x1C\r",
                "\x0BMSH|^~\\&|",
                "UNICODE UTF-8",
                "8859/1",
                "ISO IR87",
            ];
            segments.chain(owned(&marks)).collect()
        }
        "x12" | "x12_deid" => {
            let segments = x12::Dictionary::get().segments().map(|segment| format!("~{}*", segment.name));
            segments
                .chain(owned(&["~HL*2*1*22*0", "*QC*", "*IL*", "*D8*", "*RD8*", "*MI*", ":", "^", ISA, "~\r\n"]))
                .collect()
        }
        "fhir" | "fhir_deid" => {
            let types = fhir::r4()
                .types()
                .filter(|(_, of)| of.is_resource())
                .map(|(_, of)| format!("\"resourceType\":\"{}\",", of.name));
            let keys = [
                "\"id\":",
                "\"extension\":[{\"url\":\"",
                "\"valueString\":\"",
                "\"reference\":\"Patient/",
                "\"contained\":[",
                "\"entry\":[{\"resource\":{",
                "\"fullUrl\":\"urn:uuid:",
                "\"_birthDate\":",
                "\\u0000",
                "\\ud83d\\ude00",
                "1e308",
                "\n",
            ];
            types.chain(owned(&keys)).collect()
        }
        "ccda" | "ccda_deid" => {
            let parts = ccda::types::parts(ccda::CdaType::Structure);
            let tags = [
                "<name>",
                "</name>",
                "<id root=\"",
                "nullFlavor=\"MSK\"",
                "<![CDATA[",
                "]]>",
                "<!--",
                "-->",
                "&#x41;",
                "&amp;",
                "xsi:type=\"ST\"",
                "xmlns:x=\"urn:hl7-org:v3\"",
                "<?xml version=\"1.0\" encoding=\"",
                "<text>",
                "<section>",
                "<addr>",
                "<telecom value=\"",
                "<originalText>",
                "sdtc:",
                "<entry>",
            ];
            parts.into_iter().map(|part| format!("<{part}>")).chain(owned(&tags)).collect()
        }
        "policy" | "paths" => {
            let mut words: Vec<String> =
                POLICIES.iter().flat_map(|policy| policy.split_whitespace()).map(str::to_owned).collect();
            words.retain(|word| word.len() < 30 && !word.starts_with('#'));
            words.extend(owned(&["&a ", "*a", "? ", "<<: ", "!!str ", "|\n", ">-\n", "\n---\n", "\"\\u0000\""]));
            words.sort();
            words.dedup();
            words
        }
        "dicom" | "dicom_deid" => owned(&[
            "\u{8}\0\u{5}\0CS",
            "\u{8}\0\u{16}\0UI",
            "\u{10}\0\u{10}\0PN",
            "\u{10}\0 \0LO",
            "@\0u\u{2}SQ\0\0",
            "\u{2}\0\u{10}\0UI",
            "\t\0\u{10}\0LO",
            "UN\0\0",
            "OB\0\0",
            "DS",
            "AT",
            "1.2.840.10008.1.2",
            "1.2.840.10008.1.2.1.99",
            "1.2.840.10008.1.2.2",
            "ISO 2022 IR 87",
            "ISO_IR 192",
            "\\",
            "\u{1b}$B",
        ]),
        "markup" => owned(&[
            "<p>",
            "</p>",
            "<br/>",
            "<b>",
            "<td colspan=\"2\">",
            "<script>",
            "</script>",
            "<!--",
            "-->",
            "<![CDATA[",
            "<?",
            "&amp;",
            "&eacute;",
            "&eacute",
            "&#x",
            "&nbsp;",
            " xmlns=\"http://www.w3.org/1999/xhtml\"",
            "='",
            "/>",
            "<head>",
            "</head>",
        ]),
        "notes" => owned(&["{mrn}", "{a}", "_", ".txt", "\n", "\u{feff}", "\0", "\r\n"]),
        "import" => {
            let mut words: Vec<String> = CONFIGURATION
                .split(['"', '(', ')', ' ', ','])
                .map(str::trim)
                .filter(|word| word.len() > 2)
                .map(str::to_owned)
                .collect();
            words.extend(owned(&[
                ".where(",
                ".ofType(",
                "descendants()",
                " as ",
                " | ",
                "[0]",
                "{\"path\":\"",
                "\",\"method\":\"",
            ]));
            words.sort();
            words.dedup();
            words
        }
        "detect" | "kernels" | "narrative" => owned(&[
            "MRN: ",
            "DOB ",
            "Dr. ",
            " yo ",
            "03/04/2021",
            "March",
            "Elm St",
            "Boston",
            "MA 02139",
            "@x.org",
            "http://",
            "\u{301}",
            "\u{2019}",
            "\u{a0}",
            "219-09-9999",
            "\n",
        ])
        .into_iter()
        .chain(crate::narrative::SPELLINGS.iter().filter(|_| target == "narrative").map(|text| (*text).to_owned()))
        .collect(),
        _ => owned(&["\"", "\"\"", "\r\n", "\u{feff}", "\0"]),
    }
}

/// A dictionary as the engine reads it.
pub fn dictionary(target: &str) -> String {
    let mut out = String::new();
    for word in words(target) {
        out.push('"');
        for byte in word.bytes() {
            let _ = if byte.is_ascii_alphanumeric() {
                write!(out, "{}", char::from(byte))
            } else {
                write!(out, "\\x{byte:02X}")
            };
        }
        out.push_str("\"\n");
    }
    out
}

/// Writes seeds and dictionary of each target, and prints its name with the length of its longest input.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, data: Option<&Path>) -> std::io::Result<()> {
    for target in crate::TARGETS {
        let name = target.name;
        let of_target = folder.join(name);
        let mut all = of(name);
        all.extend(findings(name));
        all.extend(data.into_iter().flat_map(|data| third_party(name, data, target.max_len)));
        std::fs::create_dir_all(of_target.join("seeds"))?;
        for (number, seed) in all.iter().enumerate() {
            std::fs::write(of_target.join("seeds").join(format!("{number:05}")), seed)?;
        }
        std::fs::write(of_target.join("dictionary"), dictionary(name))?;
        println!("target {name} {}", target.max_len);
    }
    Ok(())
}
