//! What holds for every input: properties of the kernels.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{Array, StringViewArray};
use arrow_schema::DataType;
use cordon_deid::kernel::{
    AgeRule, Alphabet, BinRule, Column, DateFormats, Day, Env, FpeRule, Kernel, KernelError, Otherwise, Outcome, Parse,
    ScrubRule, ScrubWith, ShiftForm, ShiftRule, SpanUnit, SurrogateKind, SurrogateRule, Vintage, YearRule, Zip3Rule,
    fpe_decrypt, text_of,
};
use cordon_detect::{Detector, DetectorOptions, Span};
use cordon_phi::{Token, TokenError, TokenStore};
use proptest::prelude::*;

use super::kernel_cases::env;

const REFERENCE: Day = Day(19_844);

fn shift(form: ShiftForm, max_days: u32) -> Kernel {
    Kernel::ShiftDate(ShiftRule { max_days, domain: String::new(), form, formats: DateFormats::builtin() })
}

fn fpe_rule(alphabet: Alphabet) -> FpeRule {
    FpeRule { alphabet, domain: "number".to_owned() }
}

const SURROGATES: [SurrogateKind; 11] = [
    SurrogateKind::FirstName,
    SurrogateKind::LastName,
    SurrogateKind::FullName,
    SurrogateKind::StreetAddress,
    SurrogateKind::City,
    SurrogateKind::Phone,
    SurrogateKind::Email,
    SurrogateKind::Ssn,
    SurrogateKind::RecordNumber,
    SurrogateKind::Url,
    SurrogateKind::Company,
];

fn every_kernel() -> Vec<Kernel> {
    let builtin = DateFormats::builtin;
    let listed = DateFormats::only(vec!["%d.%m.%Y".to_owned(), "%b %d, %Y %I:%M:%S %p".to_owned()]).unwrap();
    let zip3 = |vintage, otherwise| Kernel::Zip3(Zip3Rule { vintage, otherwise, of_prefixes: false });
    let mut kernels = vec![
        Kernel::Keep(Parse::Text),
        Kernel::Keep(Parse::Integer),
        Kernel::Keep(Parse::Decimal),
        Kernel::Keep(Parse::Boolean),
        Kernel::Keep(Parse::Date(builtin())),
        Kernel::Keep(Parse::Date(listed.clone())),
        Kernel::Keep(Parse::Timestamp(builtin())),
        Kernel::Null(DataType::Utf8View),
        Kernel::Null(DataType::Date32),
        Kernel::Redact { with: "x".to_owned() },
        Kernel::Year(YearRule { reference: REFERENCE, cap: Some(89), formats: builtin() }),
        Kernel::Year(YearRule { reference: REFERENCE, cap: None, formats: builtin() }),
        Kernel::AgeFromBirth(AgeRule { reference: REFERENCE, release: None, cap: 90, formats: builtin() }),
        Kernel::AgeCap { cap: 90 },
        Kernel::SpanCap { unit: SpanUnit::Weeks },
        zip3(Vintage::Union, Otherwise::Fail),
        zip3(Vintage::Census2000, Otherwise::Null),
        Kernel::Bin(BinRule::Edges(vec![0.0, 10.0])),
        Kernel::Bin(BinRule::Edges(vec![])),
        Kernel::Bin(BinRule::Width { width: 10.0, origin: 0.0 }),
        Kernel::Bin(BinRule::Width { width: 0.0, origin: f64::NAN }),
        Kernel::FirstChars { n: 2 },
        shift(ShiftForm::Date, 365),
        shift(ShiftForm::Timestamp, u32::MAX),
        shift(ShiftForm::Text, 0),
        Kernel::ShiftDate(ShiftRule { max_days: 9, domain: "d".to_owned(), form: ShiftForm::Text, formats: listed }),
        Kernel::Token { domain: "d".to_owned() },
        Kernel::Hash { domain: "d".to_owned() },
        Kernel::Fpe(fpe_rule(Alphabet::Digits)),
        Kernel::Fpe(fpe_rule(Alphabet::Alphanumeric)),
        Kernel::Fpe(fpe_rule(Alphabet::Custom("äöüß0123456789-".to_owned()))),
    ];
    kernels.extend(SURROGATES.map(|kind| Kernel::Surrogate(SurrogateRule { kind, of_value: true })));
    kernels.extend(SURROGATES.map(|kind| Kernel::Surrogate(SurrogateRule { kind, of_value: false })));
    kernels.extend([ScrubWith::Label, shifted_surrogates()].map(scrub));
    kernels
}

fn shifted_surrogates() -> ScrubWith {
    ScrubWith::Surrogate { max_days: 365, domain: String::new() }
}

fn scrub(with: ScrubWith) -> Kernel {
    Kernel::Scrub(ScrubRule {
        with,
        reference: REFERENCE,
        vintage: Vintage::Union,
        limited: false,
        keep_organizations: false,
        known: false,
    })
}

fn apply(kernel: &Kernel, values: &[&str], subject: &str) -> Outcome {
    let values: StringViewArray = values.iter().copied().map(Some).collect();
    let subjects: StringViewArray = values.iter().map(|_| Some(subject)).collect();
    kernel.apply(&Column { values: &values, subjects: Some(&subjects) }, &env()).unwrap()
}

fn texts(kernel: &Kernel, values: &[&str], subject: &str) -> Vec<Option<String>> {
    text_of(&apply(kernel, values, subject).values).iter().map(|text| text.map(str::to_owned)).collect()
}

/// Text that looks like what the kernels read, so that the far branches are reached too.
fn anything() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9TZ:+./ -]{0,30}",
        "[0-9]{1,4}[-/][0-9]{1,2}[-/][0-9]{1,4}([T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:?[0-9]{2})?)?",
        "[0-9]{3,9}(-[0-9]{0,4})?",
        "[-+]?[0-9.eE]{1,12}",
        "[ äöüß\u{a0}\u{301}😀0-9-]{0,12}",
    ]
}

proptest! {
    #[test]
    fn no_kernel_panics_and_failed_rows_are_null(
        values in proptest::collection::vec(proptest::option::of(anything()), 0..20),
        subjects in proptest::collection::vec(proptest::option::of("[a-c]{0,1}"), 0..25),
    ) {
        let values: StringViewArray = values.iter().map(Option::as_deref).collect();
        let subjects: StringViewArray = subjects.iter().map(Option::as_deref).collect();
        for kernel in every_kernel() {
            for subjects in [None, Some(&subjects)] {
                let outcome = kernel.apply(&Column { values: &values, subjects }, &env()).unwrap();
                prop_assert_eq!(outcome.values.len(), values.len());
                prop_assert_eq!(outcome.values.data_type(), &kernel.output_type());
                prop_assert!(outcome.failures.is_sorted_by(|one, next| one.row < next.row));
                prop_assert!(outcome.failures.iter().all(|failure| outcome.values.is_null(failure.row)));
                prop_assert!((0..values.len()).all(|row| values.is_valid(row) || outcome.values.is_null(row)));
                prop_assert!(outcome.failures.iter().all(|failure| values.is_valid(failure.row)));
                text_of(&outcome.values);
            }
        }
    }

    #[test]
    fn shifted_dates_keep_intervals_and_order(
        one in -200_000..100_000_i32, other in -200_000..100_000_i32, subject in "[a-z]{1,8}", max_days in 1..400_u32,
    ) {
        let dates = [Day(one).to_string(), Day(other).to_string()];
        let dates = [dates[0].as_str(), dates[1].as_str()];
        let typed = apply(&shift(ShiftForm::Date, max_days), &dates, &subject);
        let typed = typed.values.as_primitive::<Date32Type>();
        prop_assert_eq!(typed.value(0) - typed.value(1), one - other);
        let moved = typed.value(0) - one;
        prop_assert!(moved != 0 && moved.unsigned_abs() <= max_days);
        let as_text = texts(&shift(ShiftForm::Text, max_days), &dates, &subject);
        prop_assert_eq!(as_text, vec![Some(Day(typed.value(0)).to_string()), Some(Day(typed.value(1)).to_string())]);
    }

    #[test]
    fn shifted_instants_move_by_whole_days(
        seconds in 0..86_400_u32, offset in -12..14_i32, days in -200_000..100_000_i32,
    ) {
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let text = format!("{}T{hour:02}:{minute:02}:{second:02}{offset:+03}:00", Day(days));
        let kept = apply(&Kernel::Keep(Parse::Timestamp(DateFormats::builtin())), &[&text], "s");
        let moved = apply(&shift(ShiftForm::Timestamp, 365), &[&text], "s");
        let micros = |outcome: &Outcome| outcome.values.as_primitive::<TimestampMicrosecondType>().value(0);
        let difference = micros(&moved) - micros(&kept);
        prop_assert_eq!(difference % 86_400_000_000, 0);
        prop_assert!(difference != 0);
        // The text form says the same instant.
        let as_text = texts(&shift(ShiftForm::Text, 365), &[&text], "s").remove(0).unwrap();
        prop_assert_eq!(&as_text[10..], &text[10..]);
        let read = apply(&Kernel::Keep(Parse::Timestamp(DateFormats::builtin())), &[&as_text], "s");
        prop_assert_eq!(micros(&read), micros(&moved));
    }

    #[test]
    fn shifted_partial_dates_keep_their_order_and_hold_no_later_date(
        one in 0..30_000_i32, other in 0..30_000_i32, subject in "[a-z]{1,8}", precision in prop_oneof![Just(4), Just(7)],
    ) {
        let kernel = shift(ShiftForm::Text, 365);
        let (one, other) = (Day(one.min(other)).to_string(), Day(one.max(other)).to_string());
        let moved = texts(&kernel, &[&one[..precision], &other[..precision], &one, &other], &subject);
        let moved: Vec<String> = moved.into_iter().map(Option::unwrap).collect();
        let (part, other_part, whole) = (&moved[0], &moved[1], &moved[2]);
        prop_assert!(part <= other_part);
        prop_assert!(part.as_str() <= &whole[..precision]);
    }

    #[test]
    fn pseudonyms_are_equal_where_values_are(one in "[!-~ä山]{1,6}", other in "[!-~ä山]{1,6}") {
        for kernel in [Kernel::Hash { domain: "d".to_owned() }, Kernel::Token { domain: "d".to_owned() }] {
            let found = texts(&kernel, &[&one, &other, &format!(" {one}\u{a0}")], "s");
            prop_assert_eq!(&found[0], &found[2]);
            prop_assert_eq!(found[0] == found[1], one == other);
            let spelled = found[0].as_deref().unwrap();
            prop_assert!(spelled.len() == 26 && spelled.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')));
        }
    }

    #[test]
    fn format_preserving_encryption_keeps_the_format_and_comes_back(
        values in proptest::collection::vec("[0-9A-Z]{6,20}|[0-9]{3}-[0-9]{2}-[0-9]{4}|\\([0-9]{3}\\) [0-9]{3}-[0-9]{4}", 1..9),
    ) {
        let rule = fpe_rule(Alphabet::UpperAlphanumeric);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let encrypted = apply(&Kernel::Fpe(rule.clone()), &values, "s");
        prop_assert!(encrypted.failures.is_empty());
        let encrypted = encrypted.values.as_string_view();
        for (plain, cipher) in values.iter().zip(encrypted.iter().map(Option::unwrap)) {
            prop_assert_eq!(plain.len(), cipher.len());
            let shape = |text: &str| text.chars().map(|c| if c.is_alphanumeric() { 'x' } else { c }).collect::<String>();
            prop_assert_eq!(shape(plain), shape(cipher));
        }
        let back = fpe_decrypt(&rule, encrypted, &env().keys.fpe).unwrap();
        prop_assert_eq!(back.values.as_string_view().iter().map(Option::unwrap).collect::<Vec<_>>(), values);
    }

    #[test]
    fn surrogates_of_one_subject_fit_together(subject in "[a-z0-9|]{1,12}", values in "[A-Za-z][A-Za-z ]{0,19}") {
        let of = |kind| texts(&Kernel::Surrogate(SurrogateRule { kind, of_value: false }), &[&values], &subject).remove(0).unwrap();
        let (first, last) = (of(SurrogateKind::FirstName), of(SurrogateKind::LastName));
        prop_assert_eq!(of(SurrogateKind::FullName), format!("{first} {last}"));
        let plain = |name: &str| name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let email = of(SurrogateKind::Email);
        let begin = format!("{}.{}", plain(&first), plain(&last));
        prop_assert!(email.starts_with(&begin), "{email}");
        prop_assert!(["@example.org", "@example.net", "@example.com"].iter().any(|domain| email.ends_with(domain)));
        let phone = of(SurrogateKind::Phone);
        prop_assert!(phone.len() == 12 && phone.contains("-555-01") && &phone[1..3] != "11", "{phone}");
        let ssn = of(SurrogateKind::Ssn);
        prop_assert!(ssn.starts_with('9') && &ssn[4..6] < "50" && &ssn[4..6] != "00" && &ssn[7..] != "0000", "{ssn}");
        prop_assert!(of(SurrogateKind::Url).starts_with("https://example.org/"));
    }
}

/// `number` cut into groups, with signs between them that are often written.
fn punctuated(number: &str, groups: &[usize], signs: &[&str]) -> String {
    let (mut out, mut at) = (String::new(), 0);
    for (group, sign) in groups.iter().zip(signs) {
        out.push_str(&number[at..at + group]);
        out.push_str(sign);
        at += group;
    }
    out + &number[at..]
}

proptest! {
    #[test]
    fn numbers_keep_their_signs_and_are_the_subjects_own(
        subject in "[a-z0-9|]{1,12}", phone in "[2-9][0-9]{2}[2-9][0-9]{6}", ssn in "[0-8][0-9]{8}",
        signs in prop::sample::subsequence(vec!["-", ".", " ", "", "/", ") ", "\u{2011}"], 2), tail in "|x[0-9]{1,5}|[a-z0-9 -]{1,6}",
    ) {
        let of = |kind, value: &str| texts(&Kernel::Surrogate(SurrogateRule { kind, of_value: false }), &[value], &subject).remove(0).unwrap();
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let shape = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
        let written = punctuated(&phone, &[3, 3], &signs);
        let plain = of(SurrogateKind::Phone, &phone);
        let made = of(SurrogateKind::Phone, &written);
        prop_assert_eq!(digits(&made), plain.as_str());
        prop_assert_eq!(shape(&of(SurrogateKind::Phone, &phone)), "0000000000");
        // `)` behind the exchange is no usual form.
        if signs[1] != ") " {
            prop_assert_eq!(shape(&made), shape(&written));
        }
        prop_assert!(&plain[3..8] == "55501", "{}", plain);
        // Whatever is behind it, nothing of it shows.
        let made = of(SurrogateKind::Phone, &format!("{written}{tail}"));
        prop_assert!(plain.ends_with(&digits(&made)), "{}", made);
        prop_assert_eq!(of(SurrogateKind::Phone, &format!("+1 {phone}")), format!("+1 {plain}"));

        let sign = signs[0].trim_start_matches(')');
        let written = punctuated(&ssn, &[3, 2], &[sign, sign]);
        let (made, plain) = (of(SurrogateKind::Ssn, &written), of(SurrogateKind::Ssn, &ssn));
        prop_assert_eq!(shape(&made), shape(&written));
        prop_assert_eq!(digits(&made), plain.as_str());
        prop_assert!(plain.starts_with('9') && &plain[3..5] < "50" && &plain[3..5] != "00" && &plain[5..] != "0000", "{}", plain);
    }

    #[test]
    fn names_keep_their_case(subject in "[a-z0-9|]{1,12}", name in "[a-z]{2,9}") {
        for kind in [SurrogateKind::FirstName, SurrogateKind::LastName, SurrogateKind::FullName, SurrogateKind::City] {
            let of = |value: &str| texts(&Kernel::Surrogate(SurrogateRule { kind, of_value: false }), &[value], &subject).remove(0).unwrap();
            let usual = of("Ann");
            prop_assert_eq!(of(&name), usual.to_lowercase());
            prop_assert_eq!(of(&name.to_uppercase()), usual.to_uppercase());
        }
    }
}

#[test]
fn failures_never_show_the_value() {
    const CANARY: &str = "CANARY4f1c";
    let mut failed = 0;
    for kernel in every_kernel() {
        let outcome = apply(&kernel, &[CANARY], "s");
        for failure in outcome.failures {
            failed += 1;
            let shown = format!("{} {failure:?} {}", failure.reason, serde_json::to_string(&failure.reason).unwrap());
            assert!(!shown.to_lowercase().contains("canary"), "{kernel:?}");
        }
    }
    assert!(failed > 10, "the canary must make the parsing kernels fail");
}

/// The canary may stand in the outcome of what keeps text, and nowhere else.
#[test]
fn what_is_not_kept_does_not_pass() {
    const CANARY: &str = "CANARY4f1c";
    for kernel in every_kernel() {
        // What is not recognised stays in scrubbed text; it has laws of its own.
        let keeps = matches!(kernel, Kernel::Keep(Parse::Text) | Kernel::Scrub(_));
        let found = texts(&kernel, &[CANARY], "s");
        assert_eq!(found[0].as_deref() == Some(CANARY), keeps, "{kernel:?}");
    }
}

#[test]
fn the_first_characters_leave_the_rest_behind() {
    let kept = "a long text, of which the end must not travel in a shared buffer";
    let outcome = apply(&Kernel::FirstChars { n: 14 }, &[kept], "s");
    let buffers = outcome.values.as_string_view().data_buffers();
    assert!(buffers.iter().all(|buffer| !String::from_utf8_lossy(buffer).contains("travel")));
}

/// A store that fails, or loses count.
struct Broken(bool);

impl TokenStore for Broken {
    fn get_or_create(&self, _: &str, _: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        if self.0 {
            return Err(TokenError::Unavailable("closed".to_owned()));
        }
        out.push(Token([0; 16]));
        Ok(())
    }
}

#[test]
fn a_broken_token_store_fails_the_whole_batch() {
    let values = StringViewArray::from(vec!["a", "b"]);
    for broken in [true, false] {
        let env = Env { tokens: Arc::new(Broken(broken)), ..env() };
        let kernel = Kernel::Token { domain: "d".to_owned() };
        let outcome = kernel.apply(&Column { values: &values, subjects: None }, &env);
        assert!(matches!(outcome, Err(KernelError::Token(_))));
    }
}

#[test]
fn kernels_are_read_as_they_are_written() {
    for kernel in every_kernel() {
        if let Ok(written) = serde_json::to_string(&kernel) {
            // JSON has no NaN.
            if !written.contains("null") {
                assert_eq!(serde_json::from_str::<Kernel>(&written).unwrap(), kernel);
            }
        }
    }
}

/// Runs of letters and digits, in lower case.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// What the kernel asks the detector for.
fn found(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    Detector::new(DetectorOptions { bare_years: true, ..DetectorOptions::default() }).find(text, &mut spans);
    spans
}

/// What stands in the output in place of each span; panics where anything besides is changed.
fn replacements<'a>(text: &str, spans: &[Span], out: &'a str) -> Vec<&'a str> {
    let (mut rest, mut given, mut done) = (out, Vec::new(), 0);
    for span in spans {
        rest = rest.strip_prefix(&text[done..span.start]).expect("what stands between spans stays");
        done = span.end;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let length = match rest.find(']') {
            Some(end) if rest.starts_with('[') => end + 1,
            _ if rest.starts_with("90 or older") => "90 or older".len(),
            _ => digits,
        };
        given.push(&rest[..length]);
        rest = &rest[length..];
    }
    assert_eq!(rest, &text[done..], "what stands behind the last span stays");
    given
}

fn notes() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "Mr. Okafor",
        "Maria Hernandez",
        "HERNANDEZ, MARIA L",
        "Dr. van der Berg",
        "seen at Mercy Clinic",
        "lives in Duluth, MN 55802",
        "MRN: 00123456",
        "SSN 219-09-9999",
        "call (617) 482-0943",
        "on March 4th, 2021",
        "DOB 03/04/1931",
        "3/4/21",
        "2019-03-04",
        "92-year-old",
        "in 1928",
        "in 2015",
        "12 Elm St, Apt 4",
        "ann@example.org",
        "http://x.example/a?b=1",
        "10.1.2.3",
        "BP 120/80",
        "metoprolol 25 mg",
        "Parkinson disease",
        ", ",
        ". ",
        "\n",
        " ",
        " ",
        "é",
        "李",
    ]);
    prop::collection::vec(piece, 0..25).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn of_what_the_detector_finds_no_word_survives(text in notes()) {
        let out = texts(&scrub(ScrubWith::Label), &[&text], "p1").remove(0).unwrap();
        let spans = found(&text);
        for (span, given) in spans.iter().zip(replacements(&text, &spans, &out)) {
            let found = &text[span.start..span.end];
            let year = found.len() == 4 && given == found;
            let allowed = |word: &String| year || given == format!("[DATE {word}]");
            let survived: Vec<_> = words(found).into_iter().filter(|word| words(given).contains(word) && !allowed(word)).collect();
            prop_assert!(survived.is_empty(), "{:?} gives {:?}", found, given);
        }
    }

    #[test]
    fn surrogates_replace_every_word_of_a_name(text in notes(), subject in "[a-z]{1,6}") {
        let out = texts(&scrub(shifted_surrogates()), &[&text], &subject).remove(0).unwrap();
        // Whole and long: a made-up number may hold four given digits by chance, and a made-up Berge is no Berg.
        let out = out.to_lowercase();
        for secret in ["okafor", "hernandez", "van der berg", "00123456", "219-09-9999", "482-0943", "ann@example", "10.1.2.3", "duluth"] {
            let bounded = |(at, _): (usize, &str)| {
                !out[..at].ends_with(char::is_alphanumeric) && !out[at + secret.len()..].starts_with(char::is_alphanumeric)
            };
            prop_assert!(!out.match_indices(secret).any(bounded), "{} in {:?}", secret, out);
        }
    }
}

#[test]
fn one_value_has_one_surrogate_within_a_subject_however_it_is_written() {
    let kernel = scrub(shifted_surrogates());
    let of = |text: &str, subject: &str| texts(&kernel, &[text], subject).remove(0).unwrap();
    let whole = of("Patient: Maria Hernandez", "p1");
    let (first, last) = whole.strip_prefix("Patient: ").unwrap().split_once(' ').unwrap();
    assert_eq!(
        of("Patient: HERNANDEZ, MARIA", "p1"),
        format!("Patient: {}, {}", last.to_uppercase(), first.to_uppercase())
    );
    assert_eq!(of("Mrs. Hernandez slept well.", "p1"), format!("Mrs. {last} slept well."));
    assert_ne!(of("Patient: Maria Hernandez", "p2"), whole);
    let phone = |text: &str| of(text, "p1").split_once(": ").unwrap().1.replace(|c: char| !c.is_ascii_digit(), "");
    assert_eq!(phone("Phone: 617-555-0143"), phone("Phone: (617) 555-0143"));
    // Dates of text move with the dates of columns.
    let moved = texts(&shift(ShiftForm::Text, 365), &["2019-03-15"], "p1").remove(0).unwrap();
    assert_eq!(of("Seen 2019-03-15.", "p1"), format!("Seen {moved}."));
}

/// Identifiers of many spellings in one note: none may be in what comes out.
#[test]
fn canaries_do_not_come_out() {
    let note = "Patient Name: Zwertiblonk, Quirina\nMRN: 84319975\nDOB: 11/23/1931 (93 y/o)\n\nQuirina Zwertiblonk was \
        transferred from Quarzfeld General Hospital to our ward on 4 Mar 2021. Her daughter Philomela Osterkamp (617-555-0187, \
        philomela.o@example.net) lives at 4711 Wistful Vista Lane, Duluth, MN 55802. SSN 219-09-9999. Policy number: XQZ123456789. \
        Pacemaker serial no. PM-77-81234. Photo: IMG_9912.jpg. Mrs. Zwertiblonk denies pain. \
        Signed: Wendeline Abercrombie, MD 03/05/2021 14:30";
    let canaries = [
        "zwertiblonk",
        "quirina",
        "84319975",
        "11/23",
        "93 y",
        "quarzfeld",
        "4 mar",
        "philomela",
        "osterkamp",
        "0187",
        "4711",
        "wistful",
        "duluth",
        "55802",
        "219-09",
        "xqz",
        "81234",
        "9912",
        "wendeline",
        "abercrombie",
        "03/05",
    ];
    assert!(!texts(&scrub(ScrubWith::Label), &[note], "p1").remove(0).unwrap().contains("1931"));
    for with in [ScrubWith::Label, shifted_surrogates()] {
        let out = texts(&scrub(with.clone()), &[note], "p1").remove(0).unwrap();
        let low = out.to_lowercase();
        let left: Vec<_> = canaries.iter().filter(|canary| low.contains(**canary)).collect();
        assert!(left.is_empty(), "{left:?} left of a synthetic note by {with:?}:\n{out}");
        assert!(low.contains("denies pain") && low.contains("mn"), "{out}");
    }
}
