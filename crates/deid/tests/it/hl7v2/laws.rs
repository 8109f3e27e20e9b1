//! One law a test.

use super::{SHIPPED, messages, recipe, run};
use crate::fhir::token_text;

const HEAD: &str = "policy: test\nmethod: safe-harbor\ndatasets:\n  hl7:\n    hl7v2:\n";

fn one(policy: &str, message: &str) -> String {
    let recipe = recipe(policy).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = run(&recipe, message.as_bytes());
    assert!(outputs.iter().all(|output| output.failures.is_empty()));
    messages(&outputs).concat()
}

const SENT: &str = "MSH|^~\\&|LAB|GH|||20250304120000||ADT^A08|77|P|2.5\r\
    PID|1||0007^^^GH^MR~123-45-6789^^^SSA^SS||Doe^Jane^Q||19570301|F|||1 Elm St^^Boston^MA^02139||(617)555-1234|||||A1^^^GH^AN|123-45-6789\r\
    ZPD|secret|more\rOBX|1|NM|718-7^Hemoglobin^LN||13.2|g/dL^^UCUM|12-16|N|||F\r\
    OBX|2|TX|X^Note^L||Jane Doe called||||||F\r";

#[test]
fn safe_harbor_keeps_results_and_removes_the_person() {
    let out = one(SHIPPED, SENT);
    let (mrn, account) = (token_text("mrn", "0007"), token_text("account", "A1"));
    let control = token_text("message", "77");
    let want = format!(
        "MSH|^~\\&|LAB|GH|||2025||ADT^A08|{control}|P|2.5\r\
         PID|1||{mrn}^^^GH^MR~^^^SSA^SS||||1957|F|||^^^MA^021|||||||{account}^^^^|\r\
         OBX|1|NM|718-7^Hemoglobin^LN||13.2|g/dL^^UCUM|12-16|N|||F\rOBX|2|TX|X^Note^L||||||||F\r"
    );
    assert_eq!(out, want);
}

#[test]
fn what_no_rule_reaches_is_left_out() {
    let policy = format!("{HEAD}      types:\n        SI: {{ kind: operational }}\n");
    let out = one(&policy, "MSH|^~\\&|A||||||ADT^A01|1|P|2.5\rPID|1||7||Doe^Jane\rZZZ|x\rsome text\r");
    assert_eq!(out, "MSH|^~\\&|||||||ADT^A01||P|2.5\rPID|1||||^\r".replace("||P|", "|||"));
}

#[test]
fn undeclared_fail_sends_the_message_to_quarantine() {
    let policy = format!("{HEAD}      types:\n        SI: {{ kind: operational }}\n")
        .replace("datasets:", "undeclared: fail\ndatasets:");
    let recipe = recipe(&policy).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = run(&recipe, b"MSH|^~\\&|||||||ADT^A01|||2.5\rPID|1||7\r");
    let failure = &outputs[0].failures[0];
    assert_eq!((failure.index, failure.path.as_str()), (0, "PID-3"));
    assert!(messages(&outputs).is_empty());
}

#[test]
fn a_path_beats_a_type_and_a_component_its_whole() {
    let policy = format!(
        "{HEAD}      types:\n        XAD: {{ kind: street-address, action: drop }}\n        XAD.4: {{ kind: state, allow: [us-states] }}\n      elements:\n        \
         NK1-4: {{ kind: street-address, action: drop }}\n        NK1-4.4: {{ kind: state, action: redact, with: XX }}\n"
    );
    let out =
        one(&policy, "MSH|^~\\&|||||||ADT^A01|||2.5\rPID|||||||||||1 Elm^^Ames^IA^50010\rNK1|||1|2 Elm^^Ames^IA\r");
    assert_eq!(out, "MSH|^~\\&|||||||ADT^A01|||2.5\rPID|||||||||||^^^IA^\rNK1||||^^^XX\r");
}

#[test]
fn a_path_beats_a_type_in_the_parts_of_its_place_too() {
    let policy = format!(
        "{HEAD}      types:\n        TS.1: {{ kind: service-date, action: year }}\n      elements:\n        \
         PID-7: {{ kind: birth-date, action: drop }}\n"
    );
    let out = one(&policy, "MSH|^~\\&|||||2020||ADT^A01|||2.5\rPID|||||||19570301^D\r");
    assert_eq!(out, "MSH|^~\\&|||||2020||ADT^A01|||2.5\rPID|||||||\r");
}

#[test]
fn a_value_is_read_and_written_in_the_messages_own_delimiters() {
    let policy = format!("{HEAD}      elements:\n        PID-5: {{ kind: name, action: redact, with: \"a|b^c\" }}\n");
    let out = one(&policy, "MSH|^~\\&|||||||ADT^A01|||2.5\rPID|||||Doe^Jane\r");
    assert_eq!(out, "MSH|^~\\&|||||||ADT^A01|||2.5\rPID|||||a\\F\\b\\S\\c^\r");
    let out = one(&policy, "MSH#*~\\&#######ADT*A01###2.5\rPID#####Doe*Jane\r");
    assert_eq!(out, "MSH#*~\\&#######ADT*A01###2.5\rPID#####a|b^c*\r");
}

#[test]
fn observations_go_by_the_type_that_obx_2_names() {
    let policy = format!(
        "{HEAD}      types:\n        NM: {{ kind: clinical }}\n        ST: {{ kind: free-text, action: drop }}\n        ID: {{ kind: operational }}\n      \
         elements:\n        \"OBX-5[TX]\": {{ kind: free-text, action: redact, with: gone }}\n"
    );
    let sent = "MSH|^~\\&|||||||ORU^R01|||2.5\rOBX||NM|||5.1\rOBX||ST|||Jane\rOBX||TX|||Jane~Doe\rOBX||QQ|||Jane\rOBX|||||Jane\r";
    let out = one(&policy, sent);
    let want = "MSH|^~\\&|||||||ORU^R01|||2.5\rOBX||NM|||5.1\rOBX||ST|||\rOBX||TX|||gone~gone\rOBX||QQ|||\rOBX|||||\r";
    assert_eq!(out, want);
}

#[test]
fn one_patient_has_one_name_and_a_relative_another() {
    let policy = "policy: test\nmethod: expert-determination\nexpert: { name: x, document: y }\ndatasets:\n  hl7:\n    hl7v2:\n      \
        types:\n        XPN.1: { kind: name, action: surrogate, surrogate: last-name }\n        \
        XPN.2: { kind: name, action: surrogate, surrogate: first-name }\n        \
        DTM: { kind: service-date, action: shift-date }\n        TS.1: { kind: service-date, action: shift-date }\n";
    let sent = "MSH|^~\\&|||||||ADT^A01|||2.5\rPID|||7||Doe^Jane~Roe^Jane||19570301|||\rNK1||Doe^John\r\
        MSH|^~\\&|||||||ADT^A01|||2.5\rPID|||7||Doe^J||19570302|||\rNK1||DOE^JOHN\r\
        MSH|^~\\&|||||||ADT^A01|||2.5\rPID|||8||Doe^Jane||19570301|||\r";
    let recipe = recipe(policy).unwrap_or_else(|issues| panic!("{issues}"));
    let out = messages(&run(&recipe, sent.as_bytes()));
    let field = |message: usize, segment: &str, number: usize| {
        let line = out[message].split('\r').find(|line| line.starts_with(segment)).unwrap();
        line.split('|').nth(number).unwrap().to_owned()
    };
    let name = field(0, "PID", 5);
    let (first, second) = name.split_once('~').unwrap();
    assert_eq!(first, second);
    assert_eq!(first, field(1, "PID", 5));
    assert_ne!(first, field(2, "PID", 5));
    assert_ne!(first, field(0, "NK1", 2));
    assert_eq!(field(0, "NK1", 2).to_uppercase(), field(1, "NK1", 2));
    let days = |text: String| chrono::NaiveDate::parse_from_str(&text, "%Y%m%d").unwrap();
    assert_eq!((days(field(1, "PID", 7)) - days(field(0, "PID", 7))).num_days(), 1);
    assert_ne!(days(field(0, "PID", 7)), days("19570301".to_owned()));
}

#[test]
fn a_date_that_is_none_leaves_an_empty_place_or_fails_the_message() {
    let sent = "MSH|^~\\&|||||||ADT^A01|||2.5\rPID|||||||spring 1957\r";
    let lenient = format!("{HEAD}      types:\n        TS.1: {{ kind: birth-date, action: year, otherwise: blank }}\n");
    assert_eq!(one(&lenient, sent), "MSH|^~\\&|||||||ADT^A01|||2.5\rPID|||||||\r");
    let strict = format!("{HEAD}      types:\n        TS.1: {{ kind: birth-date, action: year }}\n");
    let recipe = recipe(&strict).unwrap_or_else(|issues| panic!("{issues}"));
    let outputs = run(&recipe, sent.as_bytes());
    assert_eq!((outputs[0].failures[0].path.as_str(), outputs[0].documents), ("PID-7", 0));
    assert!(!outputs[0].failures[0].reason.to_string().contains("spring"));
}

#[test]
fn mistakes_say_what_would_be_right() {
    for (rules, want) in [
        ("types:\n        XPM: { kind: name }", "did you mean `XPN`"),
        ("types:\n        XPN.77: { kind: name }", "has 15 components"),
        ("elements:\n        PIX-5: { kind: name }", "did you mean `PI"),
        ("elements:\n        PID-5.a: { kind: name }", "numbers from 1"),
        ("elements:\n        PID-99: { kind: name }", "`PID` has"),
        ("elements:\n        PID-5: { kind: name, action: keep }", "164.514(b)(2)(i)(A)"),
        ("exclude: [ZZZ]", "left out anyway"),
        ("types:\n        XPN: { kind: clinical, action: keep }", "is `name` by its data type"),
        ("elements:\n        PID-7: { kind: clinical, action: keep }", "is `service-date` by its data type"),
        ("elements:\n        PID-23: { kind: clinical, action: keep }", "list what may stay"),
    ] {
        let Err(issues) = recipe(&format!("{HEAD}      {rules}\n")) else { panic!("{rules}") };
        assert!(issues.to_string().contains(want), "{rules}: {issues}");
    }
}

/// Line breaks and escaped marks stay; highlighting is no part of a text, and goes.
#[test]
fn scrubbed_text_keeps_its_escapes_and_repetitions() {
    let policy = format!(
        "{HEAD}      elements:\n        OBX-2: {{ kind: operational }}\n        \"OBX-5[TX]\": {{ kind: free-text, action: scrub }}\n        \
         \"OBX-5[FT]\": {{ kind: free-text, action: scrub }}\n        NTE-3: {{ kind: free-text, action: scrub }}\n"
    );
    let sent = "MSH|^~\\&|||||||ORU^R01|||2.5\r\
        OBX||TX|||Mr. Okafor \\T\\ wife seen 3/4/2021 ~A\\F\\B \\S\\ Mr. Okafor\r\
        OBX||FT|||Seen by Dr. Okafor.\\.br\\MRN: 00123456\\.br\\\\H\\stable\\N\\\r\
        NTE|1||BP 120/80 \\R\\ Parkinson disease\r";
    let want = "MSH|^~\\&|||||||ORU^R01|||2.5\r\
        OBX||TX|||Mr. [NAME] \\T\\ wife seen [DATE 2021] ~A\\F\\B \\S\\ Mr. [NAME]\r\
        OBX||FT|||Seen by Dr. [NAME].\\.br\\MRN: [MRN]\\.br\\stable\r\
        NTE|||BP 120/80 \\R\\ Parkinson disease\r";
    assert_eq!(one(&policy, sent), want);
}
