//! Real documents under the shipped policies: nothing that identifies anybody in them is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cordon_formats::ccda::{
    CdaType, Document, DocumentReader, Family, Limits, ReadOptions, Stack, types::name, types::name_text,
};

use super::{LIMITED, SHIPPED, documents, recipe, run};

fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("CORDON_SHARED_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).map(|root| root.join("shared/data"));
    [given, beside].into_iter().flatten().map(|data| data.join("ccda")).find(|folder| folder.is_dir())
}

pub fn files() -> Option<Vec<PathBuf>> {
    let folder = folder()?;
    let mut out: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    out.retain(|path| path.extension().is_some_and(|extension| extension == "xml"));
    out.sort();
    Some(out)
}

pub fn read(text: &[u8]) -> Vec<Document> {
    let mut reader = DocumentReader::new(text, ReadOptions::default());
    let mut out = Vec::new();
    while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
        assert!(batch.rejects.is_empty());
        out.extend(batch.documents);
    }
    out
}

/// Made-up names that are also a word of a code.
const ELSEWHERE: [&str; 1] = ["Nurse"];

/// Everybody who stands in a document: names, lines of addresses, numbers and addresses of telecommunication, identifiers,
/// and days of birth.
fn identifiers(document: &Document) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut add = |text: &str, least: usize| {
        let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        if text.chars().count() >= least {
            out.insert(text);
        }
    };
    let says_at = |at: usize, attribute: &str| document.attribute_value(at, name(attribute)).unwrap_or_default();
    // What numbers others is no number of its own, whatever else a sender uses it for.
    let with_extension = (0..document.events().len()).filter(|at| !says_at(*at, "extension").is_empty());
    let authorities: BTreeSet<String> = with_extension.map(|at| says_at(at, "root").into_owned()).collect();
    let mut stack = Stack::new(document);
    for (at, event) in document.events().iter().enumerate() {
        stack.follow(at);
        // A playing entity is what somebody is allergic to, whatever type CDA gives its name.
        let around = stack.elements().iter().rev().nth(1).and_then(|around| document.event(*around));
        if !event.is_element() || around.is_some_and(|around| name_text(around.name) == "playingEntity") {
            continue;
        }
        let says = |attribute: &str| says_at(at, attribute);
        match stack.cda_type().family() {
            Family::Name | Family::NamePart if stack.cda_type() == CdaType::Pn || stack.outer_type() == CdaType::Pn => {
                add(&document.own_text(at), 3);
            }
            Family::AddressPart if !["state", "country"].contains(&name_text(event.name)) => {
                add(&document.own_text(at), 4);
            }
            Family::Telecom => {
                let value = says("value");
                add(value.split_once(':').map_or(&*value, |(_, number)| number), 6);
            }
            Family::Id => {
                let (root, extension) = (says("root"), says("extension"));
                add(&extension, 4);
                // A root alone is the identifier itself.
                if extension.is_empty() && !authorities.contains(&*root) {
                    add(&root, 4);
                }
            }
            Family::Time if name_text(event.name) == "birthTime" && says("value").len() >= 8 => {
                add(says("value").get(..8).unwrap(), 8);
            }
            _ => {}
        }
    }
    out
}

/// Everything that a document says: attribute values and texts, and nothing that merely looks alike in its markup.
fn said(text: &str) -> Vec<String> {
    let document = Document::parse(text.to_owned(), Limits::default()).unwrap();
    let mut out = Vec::new();
    for (at, event) in document.events().iter().enumerate() {
        out.extend(document.attributes(at).iter().map(|attribute| document.value(attribute).into_owned()));
        if event.is_element() {
            continue;
        }
        let piece = document.piece(event);
        let piece = if piece.is_empty() { document.raw(event.inner()).into() } else { piece };
        let words = piece.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        if !words.is_empty() && !matches!(event.kind, cordon_formats::ccda::Kind::Close) {
            out.push(words);
        }
    }
    out
}

/// Whether a text holds another as whole words.
fn holds(text: &str, secret: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    // A number of an OID is no word.
    let is_arc = |dot: Option<char>, digit: Option<char>| dot == Some('.') && digit.is_some_and(|c| c.is_ascii_digit());
    text.match_indices(secret).any(|(at, _)| {
        let mut before = text[..at].chars().rev();
        let mut after = text[at + secret.len()..].chars();
        let (last, next) = (before.next(), after.next());
        !is_word(last) && !is_word(next) && !is_arc(last, before.next()) && !is_arc(next, after.next())
    })
}

#[test]
fn nothing_of_the_shared_documents_is_left_under_the_shipped_policy() {
    let Some(paths) = files() else {
        eprintln!("skipped: no shared data");
        return;
    };
    let recipe = recipe(SHIPPED).unwrap_or_else(|issues| panic!("{issues}"));
    assert!(paths.len() >= 18, "{}", paths.len());
    let (mut wanted, mut secrets_seen) = (0, 0);
    let mut left = Vec::new();
    for path in &paths {
        let text = fs::read(path).unwrap();
        let sent = read(&text);
        let outputs = run(&recipe, &text);
        let out = documents(&outputs);
        let failed: usize = outputs.iter().map(|output| output.failures.len()).sum();
        assert_eq!((sent.len(), failed), (out.len(), 0), "{}", path.display());
        wanted += sent.len();
        for (sent, out) in sent.iter().zip(&out) {
            let said = said(out);
            let secrets = identifiers(sent);
            secrets_seen += secrets.len();
            for secret in secrets.into_iter().filter(|secret| !ELSEWHERE.contains(&secret.as_str())) {
                for text in said.iter().filter(|text| holds(text, &secret)) {
                    left.push(format!("{}: {secret} in {text}", path.file_name().unwrap().display()));
                }
            }
        }
    }
    eprintln!("{wanted} documents, {secrets_seen} identifiers");
    assert!(secrets_seen > 500, "{secrets_seen}");
    assert!(left.is_empty(), "{} left: {left:#?}", left.len());
}

#[test]
fn results_and_codes_of_the_shared_documents_stay_under_the_shipped_policy() {
    let Some(paths) = files() else {
        eprintln!("skipped: no shared data");
        return;
    };
    for (policy, is_limited) in [(SHIPPED, false), (LIMITED, true)] {
        let recipe = recipe(policy).unwrap_or_else(|issues| panic!("{issues}"));
        let (mut before, mut after) = ([0_usize; 4], [0_usize; 4]);
        for path in &paths {
            let text = fs::read(path).unwrap();
            let count = |document: &Document, into: &mut [usize; 4]| {
                let mut stack = Stack::new(document);
                for (at, event) in document.events().iter().enumerate() {
                    stack.follow(at);
                    if !event.is_element() {
                        continue;
                    }
                    let says = |attribute: &str| document.attribute_value(at, name(attribute)).is_some();
                    match stack.cda_type().family() {
                        Family::Code if says("code") && says("codeSystem") => into[0] += 1,
                        Family::Quantity if says("value") => into[1] += 1,
                        Family::Time if says("value") => into[2] += 1,
                        Family::Structure => into[3] += 1,
                        _ => {}
                    }
                }
            };
            for document in read(&text) {
                count(&document, &mut before);
            }
            for out in documents(&run(&recipe, &text)) {
                count(&Document::parse(out, Limits::default()).unwrap(), &mut after);
            }
        }
        eprintln!("limited {is_limited}: codes, quantities, times, acts {before:?} -> {after:?}");
        for at in 0..4 {
            assert!(after[at] <= before[at] && after[at] * 100 >= before[at] * 95, "{at}: {before:?} -> {after:?}");
        }
    }
}

/// Everything that has a type, by an expert who says why.
fn everything() -> String {
    let types =
        CdaType::ALL.iter().filter(|of| !matches!(of.family(), Family::Unknown | Family::Structure | Family::Template));
    let keep = "{ kind: clinical, action: keep, because: a test }";
    let types: Vec<String> = types.map(|of| format!("        {}: {keep}\n", of.name())).collect();
    format!(
        "policy: test\nmethod: expert-determination\nexpert: {{ name: x, document: y }}\ndatasets:\n  ccda:\n    ccda:\n      \
         types:\n{}      elements:\n        \"comment()\": {keep}\n        \"processing-instruction()\": {keep}\n        \
         \"//@xsi:schemaLocation\": {keep}\n        \"//@ID\": {keep}\n        \"templateId/@*\": {keep}\n        \
         \"typeId/@*\": {keep}\n",
        types.concat()
    )
}

#[test]
fn what_is_kept_is_the_same_byte_for_byte() {
    let Some(paths) = files() else {
        eprintln!("skipped: no shared data");
        return;
    };
    let recipe = recipe(&everything()).unwrap_or_else(|issues| panic!("{issues}"));
    let (mut same, mut other) = (0, Vec::new());
    for path in &paths {
        let text = fs::read(path).unwrap();
        let outputs = run(&recipe, &text);
        let undeclared: Vec<_> = outputs.iter().flat_map(|output| output.undeclared.clone()).collect();
        if undeclared.is_empty() {
            let sent: Vec<String> = read(&text).into_iter().map(Document::into_text).collect();
            assert_eq!(documents(&outputs).concat(), sent.concat(), "{}", path.display());
            same += 1;
        } else {
            other.push((path.file_name().unwrap().display().to_string(), undeclared));
        }
    }
    eprintln!("{same} the same; with what CDA does not define: {other:#?}");
    assert!(same >= 10, "{same}: {other:#?}");
}
