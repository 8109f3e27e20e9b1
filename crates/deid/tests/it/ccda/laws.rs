//! One law a test.

use std::path::Path;

use cordon_deid::document::Documents;
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_formats::ccda::{Document, Limits};
use indexmap::IndexMap;

use super::{LIMITED, SHIPPED, column, documents, recipe, run};
use crate::fhir::{token, token_text};

const HEAD: &str = "policy: test\nmethod: safe-harbor\ndatasets:\n  ccda:\n    ccda:\n";
const EXPERT: &str = "policy: test\nmethod: expert-determination\nexpert: { name: x, document: y }\ndatasets:\n  ccda:\n    \
    ccda:\n";

fn all(policy: &str, document: &str) -> (String, Vec<(String, u64)>) {
    let recipe = recipe(policy).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = run(&recipe, document.as_bytes());
    assert!(outputs.iter().all(|output| output.failures.is_empty()), "{:?}", outputs[0].failures);
    let undeclared = outputs.iter().flat_map(|output| output.undeclared.clone()).collect();
    (documents(&outputs).concat(), undeclared)
}

fn one(policy: &str, document: &str) -> String {
    all(policy, document).0
}

/// A document around a patient's role, in the vocabulary of CDA and with the prefix of instances.
fn patient(inner: &str) -> String {
    document(&format!("<recordTarget><patientRole>{inner}</patientRole></recordTarget>"))
}

fn document(inner: &str) -> String {
    format!(
        "<ClinicalDocument xmlns=\"urn:hl7-org:v3\" xmlns:sdtc=\"urn:hl7-org:sdtc\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">{inner}</ClinicalDocument>"
    )
}

fn section(inner: &str) -> String {
    document(&format!(
        "<component><structuredBody><component><section>{inner}</section></component></structuredBody></component>"
    ))
}

fn observation(inner: &str) -> String {
    section(&format!("<entry><observation classCode=\"OBS\" moodCode=\"EVN\">{inner}</observation></entry>"))
}

fn uuid(domain: &str, value: &str) -> String {
    let hex = data_encoding::HEXLOWER.encode(&token(domain, value).0);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[test]
fn safe_harbor_keeps_results_and_removes_the_person() {
    let sent = patient(
        "<id root=\"1.2.3.4\" extension=\"0007\"/><id root=\"2.16.840.1.113883.4.1\" extension=\"123-45-6789\"/>\
         <addr use=\"HP\"><streetAddressLine>1 Elm St</streetAddressLine><city>Boston</city><state>MA</state>\
         <postalCode>02139</postalCode><country>US</country></addr><telecom use=\"HP\" value=\"tel:(617)555-1234\"/>\
         <patient><name><given>Jane</given><family>Doe</family></name>\
         <administrativeGenderCode code=\"F\" codeSystem=\"2.16.840.1.113883.5.1\" displayName=\"Female\"/>\
         <birthTime value=\"19570301\"/></patient>",
    );
    let mrn = token_text("mrn", "0007");
    let want = patient(&format!(
        "<id root=\"1.2.3.4\" extension=\"{mrn}\"/><id nullFlavor=\"MSK\"/>\
         <addr use=\"HP\"><state>MA</state><postalCode>021</postalCode><country>US</country></addr>\
         <telecom nullFlavor=\"MSK\" use=\"HP\"/>\
         <patient><name nullFlavor=\"MSK\"></name>\
         <administrativeGenderCode code=\"F\" codeSystem=\"2.16.840.1.113883.5.1\" displayName=\"Female\"/>\
         <birthTime value=\"1957\"/></patient>",
    ));
    assert_eq!(one(SHIPPED, &sent), want);
}

#[test]
fn an_entry_keeps_code_and_result_and_loses_text_times_and_people() {
    let sent = observation(
        "<id root=\"db734647-fc99-424c-a864-7e3cda82e703\"/>\
         <code code=\"718-7\" codeSystem=\"2.16.840.1.113883.6.1\" displayName=\"Hemoglobin\">\
         <originalText>Jane's Hb<reference value=\"#r1\"/></originalText></code>\
         <text>Jane Doe called</text><statusCode code=\"completed\"/>\
         <effectiveTime><low value=\"20250304120000-0500\"/><high nullFlavor=\"UNK\"/></effectiveTime>\
         <value xsi:type=\"PQ\" value=\"13.2\" unit=\"g/dL\"/>\
         <author><time value=\"20250304\"/><assignedAuthor><id root=\"2.16.840.1.113883.4.6\" extension=\"1234567893\"/>\
         <assignedPerson><name>Dr. Foster</name></assignedPerson></assignedAuthor></author>",
    );
    let want = observation(&format!(
        "<id root=\"{}\"/>\
         <code code=\"718-7\" codeSystem=\"2.16.840.1.113883.6.1\" displayName=\"Hemoglobin\"></code>\
         <text nullFlavor=\"MSK\"></text><statusCode code=\"completed\"/>\
         <effectiveTime><low value=\"2025\"/><high nullFlavor=\"UNK\"/></effectiveTime>\
         <value xsi:type=\"PQ\" value=\"13.2\" unit=\"g/dL\"/>\
         <author><time value=\"2025\"/><assignedAuthor><id root=\"2.16.840.1.113883.4.6\" extension=\"{}\"/>\
         <assignedPerson><name nullFlavor=\"MSK\"></name></assignedPerson></assignedAuthor></author>",
        uuid("record", "db734647-fc99-424c-a864-7e3cda82e703"),
        token_text("provider", "1234567893"),
    ));
    assert_eq!(one(SHIPPED, &sent), want);
}

#[test]
fn what_cda_does_not_define_is_left_out_and_counted() {
    let sent = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><?xml-stylesheet type=\"text/xsl\" href=\"CDA.xsl\"?>\
        <?note Jane?><!-- Jane --><ClinicalDocument xmlns=\"urn:hl7-org:v3\" xmlns:a=\"http://jane.example\" \
        xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"urn:hl7-org:v3 C:\\jane.xsd\" \
        classCode=\"Jane Doe 617555\" a:x=\"Jane\" patient=\"Jane\">Jane<a:b>Jane</a:b><jane>Jane</jane>\
        <realmCode code=\"US\"/><assignedPerson>Jane</assignedPerson></ClinicalDocument>";
    let (out, undeclared) = all(SHIPPED, sent);
    let want = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><?xml-stylesheet type=\"text/xsl\" href=\"CDA.xsl\"?>\
        <ClinicalDocument xmlns=\"urn:hl7-org:v3\" \
        xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><realmCode code=\"US\"/></ClinicalDocument>";
    assert_eq!(out, want);
    let names: Vec<&str> = undeclared.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "comment()",
        "processing-instruction()",
        "ClinicalDocument/@xmlns",
        "ClinicalDocument/@xsi:schemaLocation",
        "ClinicalDocument/@classCode",
        "ClinicalDocument/text()",
        "ClinicalDocument/?",
        "ClinicalDocument/assignedPerson",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.to_lowercase().contains("jane")), "{names:?}");
}

#[test]
fn a_declaration_and_a_stylesheet_say_no_more_than_they_must() {
    let out = one(
        SHIPPED,
        "<?xml version=\"1.0\" jane='1'?><?xml-stylesheet href=\"http://x.example/jane\"?><section xmlns=\"urn:hl7-org:v3\"/>",
    );
    assert_eq!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><section xmlns=\"urn:hl7-org:v3\"/>");
}

#[test]
fn what_no_rule_reaches_is_masked() {
    let policy = format!("{HEAD}      types:\n        CS: {{ kind: operational }}\n");
    let sent = patient(
        "<id root=\"1.2.3.4\" extension=\"7\"/><patient><name>Jane</name><birthTime value=\"1957\"/></patient>",
    );
    let (out, undeclared) = all(&policy, &sent);
    let masked =
        "<id nullFlavor=\"MSK\"/><patient><name nullFlavor=\"MSK\"></name><birthTime nullFlavor=\"MSK\"/></patient>";
    assert_eq!(out, patient(masked));
    let expected =
        ["patient/birthTime/@value", "patient/name/text()", "patientRole/id/@extension", "patientRole/id/@root"];
    assert_eq!(undeclared.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected);
}

#[test]
fn undeclared_fail_sends_the_document_to_quarantine() {
    let policy = format!("{HEAD}      types:\n        CS: {{ kind: operational }}\n")
        .replace("datasets:", "undeclared: fail\ndatasets:");
    let recipe = recipe(&policy).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = run(&recipe, patient("<id extension=\"7\"/>").as_bytes());
    let failure = &outputs[0].failures[0];
    assert_eq!((failure.index, failure.path.as_str()), (0, "patientRole/id/@extension"));
    assert!(documents(&outputs).is_empty());
}

#[test]
fn a_path_beats_a_type_and_a_part_its_whole() {
    let policy = format!(
        "{HEAD}      types:\n        AD: {{ kind: street-address, action: drop }}\n        AD.state: {{ kind: state, allow: [us-states] }}\n      \
         elements:\n        guardian/addr: {{ kind: street-address, action: drop }}\n        \
         patientRole/addr/city: {{ kind: city, action: redact, with: somewhere }}\n"
    );
    let address = "<addr>1 Elm<city>Ames</city><state>IA</state><postalCode>50010</postalCode></addr>";
    let out = one(&policy, &patient(&format!("{address}<patient><guardian>{address}</guardian></patient>")));
    let want = "<addr><city>somewhere</city><state>IA</state></addr>\
        <patient><guardian><addr nullFlavor=\"MSK\"></addr></guardian></patient>";
    assert_eq!(out, patient(want));
}

#[test]
fn values_are_read_decoded_and_written_encoded() {
    let policy = format!(
        "{HEAD}      types:\n        PN: {{ kind: name, action: redact, with: \"<&>\\\"'\" }}\n        \
         TEL: {{ kind: phone, action: redact, with: \"<&>\\\"'\" }}\n        II: {{ kind: unique-id, action: token, domain: d }}\n"
    );
    let sent = patient(
        "<id root='1.2.3.4' extension='a&#38;&quot;b'/><telecom value='x'/><patient><name>J<!-- x -->ane<![CDATA[ D]]>oe</name></patient>",
    );
    let out = one(&policy, &sent);
    let want = format!(
        "<id root='1.2.3.4' extension='{}'/><telecom value='&lt;&amp;&gt;\"&apos;'/><patient><name>&lt;&amp;&gt;\"'</name></patient>",
        token_text("d", "a&\"b")
    );
    assert_eq!(out, patient(&want));
}

#[test]
fn a_value_goes_by_the_type_that_it_says() {
    let policy = format!(
        "{HEAD}      types:\n        ST: {{ kind: free-text, action: redact, with: gone }}\n        \
         TS: {{ kind: service-date, action: year, otherwise: blank }}\n      elements:\n        \
         observation/value: {{ kind: clinical, action: keep }}\n"
    );
    for (sent, want) in [
        ("<value xsi:type=\"PQ\" value=\"5.1\" unit=\"mg\"/>", "<value xsi:type=\"PQ\" value=\"5.1\" unit=\"mg\"/>"),
        ("<value xsi:type=\"ST\">Jane</value>", "<value xsi:type=\"ST\">gone</value>"),
        ("<value xsi:type=\"ED\">Jane</value>", "<value nullFlavor=\"MSK\" xsi:type=\"ED\"></value>"),
        ("<value xsi:type=\"TS\" value=\"20200301\"/>", "<value xsi:type=\"TS\" value=\"2020\"/>"),
        ("<value xsi:type=\"II\" root=\"1.2.3.4\" extension=\"7\"/>", "<value nullFlavor=\"MSK\" xsi:type=\"II\"/>"),
        ("<value xsi:type=\"PN\">Jane</value>", "<value nullFlavor=\"MSK\" xsi:type=\"PN\"></value>"),
        ("<value xsi:type=\"QQ\">Jane</value>", ""),
        ("<value>Jane</value>", "<value nullFlavor=\"MSK\"></value>"),
        ("<value nullFlavor=\"UNK\"/>", "<value nullFlavor=\"UNK\"/>"),
        ("<value xsi:type=\"PQ\" value=\"6175551234\"/>", "<value nullFlavor=\"MSK\" xsi:type=\"PQ\"/>"),
        ("<value xsi:type=\"INT\" value=\"Jane\"/>", "<value nullFlavor=\"MSK\" xsi:type=\"INT\"/>"),
        ("<value xsi:type=\"BL\" value=\"Jane\"/>", "<value nullFlavor=\"MSK\" xsi:type=\"BL\"/>"),
    ] {
        assert_eq!(one(&policy, &observation(sent)), observation(want), "{sent}");
    }
}

#[test]
fn a_code_stays_with_its_system_and_its_words_with_the_code() {
    let system = "codeSystem=\"2.16.840.1.113883.6.96\"";
    for (sent, want) in [
        (
            format!("<code code=\"1234\" {system} displayName=\"Asthma\"/>"),
            format!("<code code=\"1234\" {system} displayName=\"Asthma\"/>"),
        ),
        ("<code code=\"1234\" displayName=\"Jane\"/>".to_owned(), "<code nullFlavor=\"MSK\"/>".to_owned()),
        (
            "<code code=\"1234\" codeSystem=\"Jane\" displayName=\"Jane\"/>".to_owned(),
            "<code nullFlavor=\"MSK\"/>".to_owned(),
        ),
        (format!("<code {system} displayName=\"Jane\"/>"), "<code nullFlavor=\"MSK\"/>".to_owned()),
        (format!("<code code=\"Jane Doe\" {system}/>"), "<code nullFlavor=\"MSK\"/>".to_owned()),
        (
            format!(
                "<code nullFlavor=\"OTH\"><originalText>Jane</originalText><translation code=\"J45\" {system}/></code>"
            ),
            format!("<code nullFlavor=\"OTH\"><translation code=\"J45\" {system}/></code>"),
        ),
        (
            "<code nullFlavor=\"OTH\"><originalText>Jane</originalText></code>".to_owned(),
            "<code nullFlavor=\"MSK\"></code>".to_owned(),
        ),
        ("<statusCode code=\"active\"/>".to_owned(), "<statusCode code=\"active\"/>".to_owned()),
        ("<statusCode code=\"Jane Doe\"/>".to_owned(), "<statusCode nullFlavor=\"MSK\"/>".to_owned()),
    ] {
        assert_eq!(one(SHIPPED, &observation(&sent)), observation(&want), "{sent}");
    }
}

#[test]
fn ages_over_89_are_one_category_in_every_unit_and_place() {
    let age = "<code code=\"30525-0\" codeSystem=\"2.16.840.1.113883.6.1\"/>";
    for (sent, want) in [
        ("<value xsi:type=\"PQ\" value=\"95\" unit=\"a\"/>", "<value xsi:type=\"PQ\" value=\"90\" unit=\"a\"/>"),
        ("<value xsi:type=\"PQ\" value=\"89\" unit=\"a\"/>", "<value xsi:type=\"PQ\" value=\"89\" unit=\"a\"/>"),
        ("<value xsi:type=\"PQ\" value=\"1140\" unit=\"mo\"/>", "<value xsi:type=\"PQ\" value=\"1080\" unit=\"mo\"/>"),
        ("<value xsi:type=\"PQ\" value=\"34700\" unit=\"d\"/>", "<value xsi:type=\"PQ\" value=\"32871\" unit=\"d\"/>"),
        ("<value xsi:type=\"INT\" value=\"95\"/>", "<value xsi:type=\"INT\" value=\"90\"/>"),
        ("<value xsi:type=\"PQ\" value=\"95\" unit=\"1\"/>", "<value xsi:type=\"PQ\" value=\"90\" unit=\"1\"/>"),
        (
            "<value xsi:type=\"IVL_PQ\"><low value=\"95\" unit=\"years\"/></value>",
            "<value xsi:type=\"IVL_PQ\"><low value=\"90\" unit=\"years\"/></value>",
        ),
        (
            "<value xsi:type=\"PQ\" value=\"120\" unit=\"mm[Hg]\"/>",
            "<value xsi:type=\"PQ\" value=\"120\" unit=\"mm[Hg]\"/>",
        ),
    ] {
        assert_eq!(one(SHIPPED, &observation(&format!("{age}{sent}"))), observation(&format!("{age}{want}")), "{sent}");
        let sent = observation(&format!("{age}{sent}"));
        assert_eq!(one(LIMITED, &sent), sent);
    }
    // An interval's width shows an age as well.
    let sent = observation("<effectiveTime><low value=\"1990\"/><width value=\"99\" unit=\"a\"/></effectiveTime>");
    assert_eq!(one(SHIPPED, &sent), sent.replace("\"99\"", "\"90\""));
    // Born over 89 years before the run: not even the year.
    let born = |value: &str| patient(&format!("<patient><birthTime {value}/></patient>"));
    assert_eq!(one(SHIPPED, &born("value=\"19350101\"")), born("nullFlavor=\"MSK\""));
}

#[test]
fn narrative_goes_whole_and_titles_stay_that_are_the_standards() {
    let code =
        "<code code=\"48765-2\" codeSystem=\"2.16.840.1.113883.6.1\" displayName=\"Allergies &amp; reactions\"/>";
    let text = "<text ID=\"jane\"><paragraph>Jane <content styleCode=\"Bold\">Doe</content></paragraph></text>";
    for (sent, want) in [
        ("<title>ALLERGIES &amp; Reactions</title>", "<title>ALLERGIES &amp; Reactions</title>"),
        ("<title>Vital Signs</title>", "<title>Vital Signs</title>"),
        ("<title>Jane's allergies</title>", "<title nullFlavor=\"MSK\"></title>"),
    ] {
        let out = one(SHIPPED, &section(&format!("{code}{sent}{text}")));
        assert_eq!(out, section(&format!("{code}{want}<text></text>")), "{sent}");
    }
}

#[test]
fn narrative_is_one_value_a_piece_and_keeps_its_markup() {
    let policy = format!(
        "{HEAD}      types:\n        NARRATIVE.ID: {{ kind: unique-id, action: token, domain: anchor }}\n        \
         CD: {{ kind: clinical }}\n      elements:\n        section/text: {{ kind: free-text, action: redact, with: gone }}\n        \
         \"section/text//td\": {{ kind: clinical, action: keep, because: a test }}\n"
    );
    let sent = section(
        "<text><table border=\"1\"><tbody><tr ID=\"r1\"><th>Jane <br/> Doe</th><td>5.1</td></tr></tbody></table></text>\
         <entry><observation><code><originalText><reference value=\"#r1\"/></originalText></code></observation></entry>",
    );
    let anchor = token_text("anchor", "r1");
    let want = section(&format!(
        "<text><table border=\"1\"><tbody><tr ID=\"_{anchor}\"><th>gone <br/> gone</th><td>5.1</td></tr></tbody></table></text>\
         <entry><observation><code><originalText><reference value=\"#_{anchor}\"/></originalText></code></observation></entry>"
    ));
    assert_eq!(one(&policy, &sent), want);
}

#[test]
fn scrubbed_texts_keep_their_markup_and_what_is_no_text_goes_by_its_type() {
    let policy = format!(
        "{HEAD}      types:\n        PQ: {{ kind: clinical }}\n      elements:\n        \
         section/text: {{ kind: free-text, action: scrub }}\n        observation/text: {{ kind: free-text, action: scrub }}\n        \
         observation/value: {{ kind: free-text, action: scrub }}\n"
    );
    let sent = section(
        "<text><paragraph>Mr. Okafor &amp; wife <content styleCode=\"Bold\">seen 3/4/2021</content></paragraph></text>\
         <entry><observation><text>Seen by Dr. Okafor</text><value xsi:type=\"ST\">Mr. Okafor is stable</value>\
         <value xsi:type=\"PQ\" value=\"5.1\" unit=\"mg\"/><value xsi:type=\"CD\" code=\"Okafor\"/>\
         <value xsi:type=\"ED\" representation=\"B64\">T2thZm9y</value></observation></entry>",
    );
    let want = section(
        "<text><paragraph>Mr. [NAME] &amp; wife <content styleCode=\"Bold\">seen [DATE 2021]</content></paragraph></text>\
         <entry><observation><text>Seen by Dr. [NAME]</text><value xsi:type=\"ST\">Mr. [NAME] is stable</value>\
         <value xsi:type=\"PQ\" value=\"5.1\" unit=\"mg\"/><value nullFlavor=\"MSK\" xsi:type=\"CD\"/>\
         <value nullFlavor=\"MSK\" xsi:type=\"ED\"></value></observation></entry>",
    );
    assert_eq!(one(&policy, &sent), want);
}

#[test]
fn sections_marks_and_participants_are_left_out_whole() {
    let part = |code: &str, inner: &str| {
        format!(
            "<component><section><code code=\"{code}\" codeSystem=\"2.16.840.1.113883.6.1\"/>{inner}</section></component>"
        )
    };
    let policy = format!(
        "{HEAD}      exclude: {{ sections: [10164-2], sensitivities: [R, ETH], participants: [informant] }}\n      types:\n        \
         CD: {{ kind: clinical }}\n        CS: {{ kind: operational }}\n"
    );
    let secret = "<confidentialityCode code=\"R\" codeSystem=\"2.16.840.1.113883.5.25\"/>";
    let mark = "<entry><act><entryRelationship><observation><templateId root=\"2.16.840.1.113883.3.3251.1.6\"/>\
        <value xsi:type=\"CD\" code=\"ETH\" codeSystem=\"2.16.840.1.113883.5.4\"/></observation></entryRelationship></act></entry>";
    let plain = part("1", "<entry><act classCode=\"ACT\"/></entry>");
    let body = |inner: &str| document(&format!("<component><structuredBody>{inner}</structuredBody></component>"));
    let sent = [
        part("10164-2", "<entry><act/></entry>"),
        plain.clone(),
        part("2", secret),
        part("3", mark),
        part("4", "<informant><relatedEntity/></informant>"),
        part("5", &part("10164-2", "")),
    ];
    let want = [plain, part("3", ""), part("4", ""), part("5", "")];
    assert_eq!(one(&policy, &body(&sent.concat())), body(&want.concat()));
}

#[test]
fn a_listed_root_says_what_an_identifier_is() {
    let policy = format!(
        "{HEAD}      types:\n        II: {{ kind: unique-id, action: token, domain: any }}\n      elements:\n        \
         patientRole/id: {{ kind: medical-record-number, action: token, domain: mrn }}\n        \
         \"guardian/id[@root='2.16.840.1.113883.4.1']\": {{ kind: ssn, action: token, domain: guardian }}\n      \
         identifiers:\n        2.16.840.1.113883.4.1: {{ kind: ssn, action: drop }}\n"
    );
    let ssn = "<id root=\"2.16.840.1.113883.4.1\" extension=\"123-45-6789\"/>";
    let sent = patient(&format!(
        "{ssn}<id root=\"1.2.3.4\" extension=\"7\" assigningAuthorityName=\"Jane\"/><patient><guardian>{ssn}</guardian></patient>"
    ));
    let want = patient(&format!(
        "<id nullFlavor=\"MSK\"/><id root=\"1.2.3.4\" extension=\"{}\"/><patient><guardian>\
         <id root=\"2.16.840.1.113883.4.1\" extension=\"{}\"/></guardian></patient>",
        token_text("mrn", "7"),
        token_text("guardian", "123-45-6789"),
    ));
    assert_eq!(one(&policy, &sent), want);
}

#[test]
fn a_root_that_is_the_identifier_itself_is_handled_as_one() {
    let token = |value: &str| uuid("record", value);
    for (root, extension) in
        [("db734647-fc99-424c-a864-7e3cda82e703", ""), ("2.25.3298007356985865", ""), ("1.2.3.4.5", "")]
    {
        let sent = observation(&format!("<id root=\"{root}\"{extension}/>"));
        assert_eq!(one(SHIPPED, &sent), observation(&format!("<id root=\"{}\"/>", token(root))), "{root}");
    }
    let root = "db734647-fc99-424c-a864-7e3cda82e703";
    let out = one(SHIPPED, &observation(&format!("<id root=\"{root}\" extension=\"7\"/>")));
    let want = format!("<id root=\"{}\" extension=\"{}\"/>", token(root), token_text("record", "7"));
    assert_eq!(out, observation(&want));
}

#[test]
fn postal_codes_of_other_countries_go() {
    let address =
        |country: &str| patient(&format!("<addr><postalCode>69117</postalCode><country>{country}</country></addr>"));
    assert_eq!(one(SHIPPED, &address("DE")), address("DE").replace("<postalCode>69117</postalCode>", ""));
    assert_eq!(one(SHIPPED, &address("US")), address("US").replace("69117", "691"));
}

#[test]
fn one_patient_has_one_name_and_a_relative_and_a_provider_another() {
    let policy = format!(
        "{EXPERT}      types:\n        PN: {{ kind: name, action: drop }}\n        PN.family: {{ kind: name, action: surrogate, surrogate: last-name }}\n        \
         PN.given: {{ kind: name, action: surrogate, surrogate: first-name }}\n        \
         TS: {{ kind: service-date, action: shift-date }}\n"
    );
    let name = "<name><given>Jane</given><family>Doe</family></name>";
    let sent = |id: &str, born: &str| {
        document(&format!(
            "<recordTarget><patientRole><id root=\"1.2.3.4\" extension=\"{id}\"/><patient>{name}<birthTime value=\"{born}\"/>\
             <guardian><guardianPerson>{name}</guardianPerson></guardian></patient></patientRole></recordTarget>\
             <author><time value=\"{born}\"/><assignedAuthor><assignedPerson>{name}</assignedPerson></assignedAuthor></author>"
        ))
    };
    let recipe = recipe(&policy).unwrap_or_else(|issues| panic!("{issues}"));
    let text = [sent("7", "19570301"), sent("7", "19570302"), sent("8", "19570301")].concat();
    let out = documents(&run(&recipe, text.as_bytes()));
    let found = |document: usize, tag: &str, end: char| -> Vec<String> {
        out[document].split(tag).skip(1).map(|rest| rest.split(end).next().unwrap().to_owned()).collect()
    };
    let families: Vec<_> = (0..3).map(|document| found(document, "<family>", '<')).collect();
    assert!(families.iter().flatten().all(|name| !name.is_empty()));
    // The patient, the guardian, the author.
    assert_eq!((families[0].len(), &families[0]), (3, &families[1]));
    assert_ne!(families[0][0], families[2][0]);
    assert_ne!(families[0][0], families[0][1]);
    assert_eq!(families[0][2], families[2][2]);
    let day = |document: usize| {
        let found = found(document, "value=\"", '"');
        assert_eq!(found[0], found[1]);
        chrono::NaiveDate::parse_from_str(&found[0], "%Y%m%d").unwrap()
    };
    assert_eq!((day(1) - day(0)).num_days(), 1);
}

#[test]
fn a_name_without_rules_for_its_parts_is_one_value() {
    let policy = format!("{HEAD}      types:\n        PN: {{ kind: name, action: redact, with: somebody }}\n");
    let sent = patient(
        "<patient><name use=\"L\"><given>Jane</given> <family>Doe</family><validTime value=\"2020\"/></name></patient>",
    );
    assert_eq!(one(&policy, &sent), patient("<patient><name use=\"L\">somebody</name></patient>"));
}

#[test]
fn a_date_that_is_none_leaves_a_masked_place_or_fails_the_document() {
    let sent = patient("<patient><birthTime value=\"spring 1957\"/></patient>");
    let lenient = format!("{HEAD}      types:\n        TS: {{ kind: birth-date, action: year, otherwise: blank }}\n");
    assert_eq!(one(&lenient, &sent), patient("<patient><birthTime nullFlavor=\"MSK\"/></patient>"));
    let strict = format!("{HEAD}      types:\n        TS: {{ kind: birth-date, action: year }}\n");
    let recipe = recipe(&strict).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = run(&recipe, [sent, patient("")].concat().as_bytes());
    let failure = &outputs[0].failures[0];
    assert_eq!((failure.index, failure.path.as_str(), outputs[0].documents), (0, "patient/birthTime/@value", 1));
    assert!(!failure.reason.to_string().contains("spring"));
}

#[test]
fn a_limited_data_set_keeps_dates_and_towns_and_no_direct_identifier() {
    let sent = patient(
        "<id root=\"1.2.3.4\" extension=\"0007\"/><addr><streetAddressLine>1 Elm</streetAddressLine><city>Ames</city></addr>\
         <patient><name>Jane</name><birthTime value=\"19310301\"/></patient>",
    );
    let want = patient(&format!(
        "<id root=\"1.2.3.4\" extension=\"{}\"/><addr><city>Ames</city></addr>\
         <patient><name nullFlavor=\"MSK\"></name><birthTime value=\"19310301\"/></patient>",
        token_text("mrn", "0007")
    ));
    assert_eq!(one(LIMITED, &sent), want);
    let out = one(LIMITED, &patient("<patient><birthTime value=\"Jane\"/></patient>"));
    assert_eq!(out, patient("<patient><birthTime nullFlavor=\"MSK\"/></patient>"));
}

#[test]
fn tables_are_made_of_what_came_out() {
    let sent = section(
        "<code code=\"30954-2\" codeSystem=\"2.16.840.1.113883.6.1\"/><entry><observation classCode=\"OBS\" moodCode=\"EVN\">\
         <code code=\"718-7\" codeSystem=\"2.16.840.1.113883.6.1\"/><effectiveTime value=\"20250304\"/>\
         <value xsi:type=\"PQ\" value=\"13.2\" unit=\"g/dL\"/></observation></entry>",
    )
    .replace("<component><structuredBody>", "<recordTarget><patientRole><id root=\"1.2.3.4\" extension=\"7\"/></patientRole></recordTarget><component><structuredBody>");
    let recipe = recipe(SHIPPED).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = run(&recipe, sent.as_bytes());
    let cell = |table: &str, name: &str| column(&outputs, table, name)[0].clone().unwrap_or_default();
    assert_eq!(cell("document", "patient"), token_text("mrn", "7"));
    assert_eq!(cell("section", "code"), "30954-2");
    assert_eq!([cell("entry", "code"), cell("entry", "value"), cell("entry", "start")], ["718-7", "13.2", "2025"]);
    for (name, schema) in recipe.schemas() {
        let rows = outputs[0].tables.iter().find(|(table, _)| *table == name).map(|(_, rows)| rows).unwrap();
        assert_eq!(rows.schema(), schema, "{name}");
        let class = |column: &str| schema.field_with_name(column).unwrap().metadata()["cordon.key-class"].clone();
        if name == "entry" {
            assert_eq!([class("patient"), class("value"), class("start")], ["direct", "clinical", "quasi"]);
        }
    }
}

#[test]
fn identities_are_read_where_the_pipeline_says_they_stand() {
    let places = [
        ("recordTarget/patientRole/id[1.2.3.4]", "mrn"),
        ("recordTarget/patientRole/id[2.16.840.1.113883.4.1]", "ssn"),
    ];
    let places: IndexMap<String, String> =
        places.into_iter().map(|(place, namespace)| (place.to_owned(), namespace.to_owned())).collect();
    let identities = [("ccda".to_owned(), places)].into_iter().collect();
    let options = CompileOptions { run_date: "2026-01-01".parse().unwrap(), identities: Some(&identities) };
    let recipe = compile(SHIPPED, Path::new("policies/test.yaml"), options).unwrap_or_else(|issues| panic!("{issues}"));
    let recipe = recipe.documents.get("ccda").and_then(Documents::ccda).unwrap();
    let sent = patient(
        "<id root=\"2.16.840.1.113883.4.1\" extension=\" 123 \"/><id root=\"9.9.9.9\" extension=\"x\"/><id root=\"1.2.3.4\" extension=\"7\"/>",
    );
    let document = Document::parse(sent, Limits::default()).unwrap();
    let mut found = Vec::new();
    recipe
        .identities(&document, |person, namespace, value| found.push((person, namespace.to_owned(), value.to_owned())));
    assert_eq!(found, [(0, "ssn".to_owned(), "123".to_owned()), (0, "mrn".to_owned(), "7".to_owned())]);
}

#[test]
fn mistakes_say_what_would_be_right() {
    for (rules, want) in [
        ("types:\n        PM: { kind: name }", "did you mean `PN`"),
        ("types:\n        AD.stat: { kind: state }", "did you mean `state`"),
        ("types:\n        CD.nullFlavor: { kind: clinical }", "stay without a rule"),
        ("elements:\n        patientRoll/id: { kind: name }", "no element or attribute of this name"),
        ("elements:\n        section/birthTime: { kind: name }", "no such element"),
        ("elements:\n        \"birthTime/@extension\": { kind: name }", "no such attribute"),
        ("elements:\n        author: { kind: clinical, action: keep }", "only holds others"),
        ("elements:\n        patient/name: { kind: name, action: keep }", "164.514(b)(2)(i)(A)"),
        ("elements:\n        patient/name: { kind: clinical, action: keep }", "is `name` by its data type"),
        (
            "elements:\n        \"//birthTime/@value\": { kind: clinical, action: keep }",
            "is `service-date` by its data type",
        ),
        ("elements:\n        \"comment()\": { kind: clinical, action: keep }", "list what may stay"),
        ("types:\n        PN.family: { kind: clinical, action: keep }", "is `name` by its data type"),
        (
            "types:\n        II.extension: { kind: clinical, action: keep }",
            "is `medical-record-number` by its data type",
        ),
        ("types:\n        AD.postalCode: { kind: clinical, action: keep }", "is `postal-code` by its data type"),
        ("types:\n        NARRATIVE: { kind: clinical, action: keep }", "list what may stay"),
        ("types:\n        ED: { kind: free-text, action: scrub }", "named by its path"),
        ("elements:\n        patient/name: { kind: free-text, action: scrub }", "running text"),
        ("elements:\n        \"//@displayName\": { kind: free-text, action: scrub }", "running text"),
        ("identifiers:\n        SSN: { kind: ssn }", "a root is an OID"),
        ("subject: recordTarget//name", "a path to identifiers"),
        ("exclude: { participants: [addr] }", "holds others"),
        ("exclude: { participants: [autor] }", "holds others"),
    ] {
        let Err(issues) = recipe(&format!("{HEAD}      {rules}\n")) else { panic!("{rules}") };
        assert!(issues.to_string().contains(want), "{rules}: {issues}");
    }
}
