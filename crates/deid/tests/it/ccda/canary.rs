//! A name is written into every place of documents, sort by sort, and must come out of none.

use std::collections::BTreeSet;

use cordon_formats::ccda::{Document, Edits, Kind, Limits, Ns, types::name_text};

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

fn no_canary(policies: &[(&str, cordon_deid::ccda::CcdaRecipe)], sent: &str, what: &str) {
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
        let sorts: [(&str, &dyn Fn(&mut Edits, usize)); 4] = [
            ("text", &|edits, at| {
                if document.event(at).is_some_and(|event| matches!(event.kind, Kind::Text | Kind::CData))
                    && at > document.root()
                {
                    let text = document.piece(&document.events()[at]);
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
            events().filter(|(at, _)| *at >= document.root()).for_each(|(at, _)| write(&mut edits, at));
            let text = edits.apply(document.text()).unwrap();
            // White space behind the root is no place for text.
            if Document::parse(text.clone(), Limits::default()).is_ok() {
                no_canary(&policies, &text, what);
            } else {
                panic!("{what} cannot be written");
            }
        }
    }
}
