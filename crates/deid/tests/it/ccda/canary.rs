//! A name is written into every place of documents, sort by sort, and must come out of none.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use cordon_deid::ccda::CcdaRecipe;
use cordon_formats::ccda::{CdaType, Document, Edits, Family, Kind, Limits, Ns, types::name, types::name_text};
use proptest::prelude::*;

use super::exports::{files, read};
use super::{LIMITED, SHIPPED, documents, recipe, run};

const CANARY: &str = "Zaphod Beeblebrox";

/// A document that has something of everything, for where there is no shared data.
const OWN: &str = r##"<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:sdtc="urn:hl7-org:sdtc"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><templateId root="2.16.840.1.113883.10.20.22.1.1" extension="2015-08-01"/>
<id root="1.2.3.4" extension="7" assigningAuthorityName="x"/><code code="34133-9" codeSystem="2.16.840.1.113883.6.1"/><title>T</title>
<effectiveTime value="2015"/><languageCode code="en-US"/><versionNumber value="1"/><recordTarget><patientRole>
<id root="1.2.3.4" extension="7"/><addr use="HP"><streetAddressLine>1</streetAddressLine><city>A</city><state>MA</state>
<postalCode>02139</postalCode><country>US</country></addr><telecom use="HP" value="tel:1"/><patient><name use="L"><given
 qualifier="CL">J</given><family>D</family></name><birthTime value="1960"/></patient></patientRole></recordTarget><component>
<structuredBody><component><section ID="s"><code code="11450-4" codeSystem="2.16.840.1.113883.6.1"/><title>Problems</title><text
 ID="t"><table border="1"><tr ID="r"><td styleCode="Bold">x<br/></td></tr></table><linkHtml href="#r">y</linkHtml></text><entry
 typeCode="DRIV"><observation classCode="OBS" moodCode="EVN"><text mediaType="text/plain">z<reference value="#r"/></text>
<effectiveTime xsi:type="PIVL_TS" institutionSpecified="true"><period value="6" unit="h"/></effectiveTime><value xsi:type="CD"
 code="1" codeSystem="2.16.840.1.113883.6.96" codeSystemName="SNOMED CT" codeSystemVersion="1"><originalText>o</originalText>
<qualifier><name code="2" codeSystem="2.16.840.1.113883.6.96"/></qualifier></value><value xsi:type="PQ" value="1" unit="mg"/>
<value xsi:type="ST">s</value><value xsi:type="BL" value="true"/></observation></entry></section></component></structuredBody>
</component></ClinicalDocument>"##;

type Write<'a> = &'a dyn Fn(&mut Edits, usize);

fn no_canary(policies: &[(&str, CcdaRecipe)], sent: &str, what: &str) {
    assert!(sent.contains(CANARY), "{what}");
    for (policy, recipe) in policies {
        let outputs = run(recipe, sent.as_bytes());
        let out = documents(&outputs).concat();
        let at = out.find("Beeblebrox");
        assert!(at.is_none(), "{policy}, {what}: …{}…", &out[at.unwrap().saturating_sub(150)..at.unwrap() + 10]);
        assert!(outputs.iter().flat_map(|output| output.undeclared.keys()).all(|place| !place.contains("Beeblebrox")));
        assert!(outputs.iter().all(|output| output.failures.is_empty() && output.documents == 1), "{what}");
        Document::parse(out, Limits::default()).unwrap();
    }
}

#[test]
fn a_name_comes_out_of_no_place_that_it_was_written_into() {
    let policies = [("safe-harbor", SHIPPED), ("limited-data-set", LIMITED)]
        .map(|(name, policy)| (name, recipe(policy).unwrap_or_else(|issues| panic!("{issues}"))));
    let mut sent: Vec<Document> = read(OWN.as_bytes());
    // Some of each source.
    let wanted = ["Consultation_Note", "UDI", "Bad_EthnicityCode", "good_with_RR"];
    for path in files().unwrap_or_default() {
        if wanted.iter().any(|part| path.to_string_lossy().contains(part)) {
            sent.extend(read(&std::fs::read(path).unwrap()));
        }
    }
    for document in &sent {
        let events = || document.events().iter().enumerate();
        let mut attributes = BTreeSet::new();
        for (at, _) in events() {
            attributes.extend(document.attributes(at).iter().map(|attribute| (attribute.ns, attribute.name)));
        }
        for (ns, name) in attributes {
            // The words for a code whose system is known are its system's.
            if ns == Ns::Xmlns || name_text(name) == "displayName" {
                continue;
            }
            for whole in [true, false] {
                let mut edits = Edits::new();
                for (at, _) in events() {
                    if let Some(attribute) = document.attribute(at, ns, name) {
                        let value = document.value(attribute);
                        let value = if whole { CANARY.to_owned() } else { format!("{value} {CANARY}") };
                        edits.set_attribute(document, attribute, &value);
                    }
                }
                let what = format!("@{} {whole}", name_text(name));
                no_canary(&policies, &edits.apply(document.text()).unwrap(), &what);
            }
        }
        let sorts: [(&str, Write<'_>); 4] = [
            ("text", &|edits, at| {
                let event = &document.events()[at];
                let around = at.checked_sub(1).map(|before| &document.events()[before]);
                // Nobody can tell a name from a town's, which a limited data set keeps.
                let is_town = around.is_some_and(|open| ["city", "county"].contains(&name_text(open.name)));
                if matches!(event.kind, Kind::Text | Kind::CData) && at > document.root() && !is_town {
                    let text = document.piece(event);
                    edits.set_piece(document, at, &format!("{text}{CANARY}"));
                }
            }),
            ("attribute", &|edits, at| edits.add_attribute(document, at, "zaphod", CANARY)),
            ("comment and instruction", &|edits, at| {
                if document.event(at).is_some_and(|event| event.kind == Kind::Close) {
                    let start = document.events()[at].start as usize;
                    edits.replace(start..start, format!("<!--{CANARY}--><?x {CANARY}?>"));
                }
            }),
            ("element", &|edits, at| {
                if document.event(at).is_some_and(|event| event.kind == Kind::Close) && at < document.events().len() - 1
                {
                    let start = document.events()[at].start as usize;
                    let foreign = format!("<z:a xmlns:z=\"http://{0}/\" b=\"{CANARY}\">{CANARY}</z:a>", "x");
                    edits.replace(start..start, format!("<zaphod>{CANARY}</zaphod>{foreign}"));
                }
            }),
        ];
        for (what, write) in sorts {
            let mut edits = Edits::new();
            // No text may stand outside of the root.
            let root = document.root()..document.events()[document.root()].next as usize;
            for at in root {
                write(&mut edits, at);
            }
            let text = edits.apply(document.text()).unwrap();
            no_canary(&policies, &text, what);
        }
    }
}

/// A rule that makes something of every value of every type, so that every way of writing is gone.
fn redact_all() -> String {
    let ruled = |of: &&CdaType| !matches!(of.family(), Family::Unknown | Family::Structure | Family::Template);
    let types = CdaType::ALL.iter().filter(ruled);
    let types: Vec<String> = types
        .map(|of| format!("        {}: {{ kind: free-text, action: redact, with: \"<&>\" }}\n", of.name()))
        .collect();
    format!(
        "policy: test\nmethod: safe-harbor\ndatasets:\n  ccda:\n    ccda:\n      types:\n{}        PN.given: {{ kind: name, \
         action: redact }}\n        NARRATIVE.ID: {{ kind: unique-id, action: token, domain: anchor }}\n      elements:\n        \
         \"section/text//td\": {{ kind: free-text, action: drop }}\n",
        types.concat()
    )
}

static RECIPES: LazyLock<[CcdaRecipe; 3]> = LazyLock::new(|| {
    [SHIPPED.to_owned(), LIMITED.to_owned(), redact_all()]
        .map(|policy| recipe(&policy).unwrap_or_else(|issues| panic!("{issues}")))
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However broken a document's content is, as long as it is XML it comes out, and what comes out is XML.
    #[test]
    fn mangled_documents_come_out_and_are_xml(steps in proptest::collection::vec((any::<prop::sample::Index>(), 0..6_u8, any::<prop::sample::Index>()), 1..8)) {
        let mut document = read(OWN.as_bytes()).remove(0);
        for (at, step, other) in steps {
            let elements = |document: &Document| -> Vec<usize> {
                let events = document.events().iter().enumerate();
                events.filter(|(at, event)| event.is_element() && *at != document.root()).map(|(at, _)| at).collect()
            };
            let all = elements(&document);
            if all.is_empty() {
                break;
            }
            let (at, other) = (all[at.index(all.len())], all[other.index(all.len())]);
            let raw = |event: usize| document.raw(document.element_span(event).unwrap()).to_owned();
            let span = document.element_span(at).unwrap();
            let mut edits = Edits::new();
            match step {
                0 => edits.remove(&document, at),
                1 => edits.replace(span.start..span.start, raw(other)),
                2 => edits.replace(span, raw(other)),
                3 => edits.set_content(&document, at, CANARY),
                4 => edits.mask(&document, at),
                _ => {
                    let of = CdaType::ALL[other % CdaType::ALL.len()].name();
                    match document.attribute(at, Ns::Xsi, name("type")) {
                        Some(attribute) => edits.set_attribute(&document, attribute, of),
                        None => edits.add_attribute(&document, at, "xsi:type", of),
                    }
                }
            }
            let text = edits.apply(document.text()).unwrap();
            match Document::parse(text, Limits::default()) {
                Ok(mangled) => document = mangled,
                Err(_) => break,
            }
        }
        for recipe in RECIPES.iter() {
            let outputs = run(recipe, document.text().as_bytes());
            prop_assert_eq!(outputs.iter().map(|output| output.documents).sum::<u64>(), 1);
            let out = documents(&outputs).concat();
            let is_town = ["city", "county"].iter().any(|town| document.text().contains(&format!("<{town}>{CANARY}")));
            prop_assert!(is_town || !out.contains("Beeblebrox"), "{}", out);
        }
    }
}
