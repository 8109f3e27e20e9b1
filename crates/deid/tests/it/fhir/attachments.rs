//! Attached texts and narratives: scrubbed where a policy asks for it, and dropped where they are no text.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Ran, SHIPPED, recipe, run};

const CANARY: &str = "Canaryson";

/// The shipped policy with the texts of documents scrubbed.
fn scrubbing() -> String {
    let at = "        Attachment.contentType:";
    let rules = "        Attachment.data:  { kind: free-text, action: scrub }\n        Narrative.div:    { kind: free-text, action: \
                 scrub }\n";
    assert!(SHIPPED.contains(at));
    let policy = SHIPPED.replacen(at, &format!("{rules}{at}"), 1);
    policy.replace(
        "Narrative.status:    { kind: operational, action: drop }",
        "Narrative.status: { kind: operational, action: keep }",
    )
}

fn one(policy: &str, resource: &Value) -> (Value, Ran) {
    let recipe = recipe(policy).unwrap_or_else(|issues| panic!("{issues}"));
    let ran = run(&recipe, resource.to_string().as_bytes());
    let out = ran.resources().pop().map(|(_, json)| json).unwrap_or_default();
    assert!(!out.contains(CANARY), "{out}");
    (serde_json::from_str(&out).unwrap_or(Value::Null), ran)
}

fn attached(content_type: &str, bytes: &[u8]) -> Value {
    json!({ "resourceType": "DocumentReference", "id": "d", "content": [{ "attachment": {
        "contentType": content_type, "data": BASE64.encode(bytes), "size": bytes.len(), "hash": "q83vEjRWeJA=",
        "title": CANARY, "url": format!("http://x/{CANARY}"), "language": "en",
    } }] })
}

/// What is in the attachment that came out.
fn text(out: &Value) -> Option<String> {
    let data = out["content"][0]["attachment"]["data"].as_str()?;
    Some(String::from_utf8(BASE64.decode(data.as_bytes()).unwrap()).unwrap())
}

#[test]
fn a_plain_text_is_decoded_scrubbed_and_encoded_again() {
    let note = format!("Mr. {CANARY} was seen on 03/04/2019. MRN: 00123456. BP 120/80, \u{201c}fine\u{201d}.");
    let (out, ran) = one(&scrubbing(), &attached("text/plain; charset=utf-8; name=Canaryson.txt", note.as_bytes()));
    assert_eq!(text(&out).unwrap(), "Mr. [NAME] was seen on [DATE 2019]. MRN: [MRN]. BP 120/80, \u{201c}fine\u{201d}.");
    let attachment = out["content"][0]["attachment"].as_object().unwrap();
    assert_eq!(attachment["contentType"], "text/plain");
    assert!(!attachment.contains_key("size") && !attachment.contains_key("hash"), "they are of what was sent");
    assert!(ran.undeclared.is_empty(), "{:?}", ran.undeclared);
    // White space in base64, and another character set.
    let mut resource = attached("text/plain; charset=windows-1252", b"Mr. Canaryson: 38 \xB0C");
    let data = resource["content"][0]["attachment"]["data"].as_str().unwrap().to_owned();
    resource["content"][0]["attachment"]["data"] = data.replace('Q', "Q\r\n ").into();
    assert_eq!(text(&one(&scrubbing(), &resource).0).unwrap(), "Mr. [NAME]: 38 °C");
}

#[test]
fn every_place_of_an_attachment_is_reached() {
    let data = BASE64.encode(format!("Mr. {CANARY} rests.").as_bytes());
    let attachment = json!({ "contentType": "text/plain", "data": data });
    let clean = BASE64.encode(b"Mr. [NAME] rests.");
    let report = json!({ "resourceType": "DiagnosticReport", "presentedForm": [attachment, attachment] });
    let (out, _) = one(&scrubbing(), &report);
    assert_eq!(out["presentedForm"][1]["data"], clean.as_str());
    let communication = json!({ "resourceType": "Communication", "payload": [{ "contentAttachment": attachment }] });
    assert_eq!(one(&scrubbing(), &communication).0["payload"][0]["contentAttachment"]["data"], clean.as_str());
    let contained = json!({ "resourceType": "Patient", "contained": [report] });
    assert_eq!(one(&scrubbing(), &contained).0["contained"][0]["presentedForm"][0]["data"], clean.as_str());
    // A photograph is one, whatever its type says.
    let photo = json!({ "resourceType": "Patient", "active": true, "photo": [attachment] });
    assert_eq!(one(&scrubbing(), &photo).0, json!({ "resourceType": "Patient", "active": true }));
}

#[test]
fn markup_keeps_its_blocks_and_nothing_that_is_not_read() {
    let html = format!(
        "<html><head><title>{CANARY}</title><meta name='author' content='{CANARY}'></head><body onload='{CANARY}'>\
         <!-- {CANARY} --><p class=\"{CANARY}\">Mr. <b>Canary</b>son &amp; Mrs. {CANARY}</p><table><tr><td colspan=\"2\">\
         BP &lt; 120/80</td></tr></table><script>{CANARY}</script></body></html>"
    );
    for media in ["text/html", "application/xhtml+xml; charset=utf-8"] {
        let (out, _) = one(&scrubbing(), &attached(media, html.as_bytes()));
        assert_eq!(
            text(&out).unwrap(),
            "<html><body><p>Mr. [NAME] &amp; Mrs. [NAME]</p><table><tr><td colspan=\"2\">BP &lt; 120/80</td></tr></table>\
             </body></html>"
        );
    }
    let div = format!(
        "<div xmlns=\"http://www.w3.org/1999/xhtml\" id=\"{CANARY}\"><p>Mr. {CANARY} has \"flu\"</p><a name=\"{CANARY}\"/></div>"
    );
    let patient = json!({ "resourceType": "Patient", "text": { "status": "generated", "div": div } });
    let (out, _) = one(&scrubbing(), &patient);
    assert_eq!(
        out["text"],
        json!({ "status": "generated",
                "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Mr. [NAME] has \"flu\"</p></div>" })
    );
    // A name written with entities is read before it is looked for.
    let patient = json!({ "resourceType": "Patient", "text": { "div": "<div>Mr. Can&#97;rys&#x6f;n rests</div>" } });
    assert_eq!(one(&scrubbing(), &patient).0["text"]["div"], "<div>Mr. [NAME] rests</div>");
    let patient =
        json!({ "resourceType": "Patient", "active": true, "text": { "div": "<div>Mr. Can&aabreve;ryson</div>" } });
    let (out, ran) = one(&scrubbing(), &patient);
    assert!(out.get("text").is_none());
    assert_eq!(ran.undeclared["Narrative.div"], 1);
}

#[test]
fn what_is_no_text_goes_and_is_counted() {
    let pdf = attached("application/pdf", b"%PDF-1.4 Canaryson");
    let wrong = [
        pdf.clone(),
        attached("", b"Canaryson"),
        attached("image/jpeg", b"Canaryson"),
        attached("text/rtf", b"{\\rtf1 Canaryson}"),
        attached("text/plain", b"Canaryson \xFF"),
        attached(
            "text/plain; charset=utf-8",
            "Canaryson".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>().as_slice(),
        ),
        attached("text/plain; charset=utf-16", b"Canaryson!"),
        attached("text/plain; charset=x-unknown", b"Canaryson"),
    ];
    let mut broken = attached("text/plain", b"Canaryson rests");
    for data in ["Q2FuYXJ5c29", "Canaryson!", "====", "Q2Fu\u{0}YXJ5", "Q2FuYXJ5c29u=", "Q2FuYXJ5c29="] {
        broken["content"][0]["attachment"]["data"] = data.into();
        let (out, ran) = one(&scrubbing(), &broken);
        assert!(out["content"][0]["attachment"].get("data").is_none(), "{data}");
        assert_eq!(ran.undeclared["Attachment.data"], 1, "{data}");
    }
    for (number, resource) in wrong.iter().enumerate() {
        let (out, ran) = one(&scrubbing(), resource);
        let attachment = out["content"][0]["attachment"].as_object().unwrap();
        assert!(!attachment.contains_key("data") && !attachment.contains_key("size"), "{number}");
        assert_eq!(ran.undeclared["Attachment.data"], 1, "{number}");
    }
    let mut typed_twice = pdf.to_string();
    typed_twice = typed_twice.replacen("\"contentType\":", "\"contentType\":7,\"contenttype\":", 1);
    let out = run(&recipe(&scrubbing()).unwrap(), typed_twice.as_bytes());
    assert!(out.resources().iter().all(|(_, json)| !json.contains("\"data\"")));
    // Under `undeclared: fail` the resource is put aside.
    let strict = scrubbing().replacen("undeclared: drop", "undeclared: fail", 1);
    let ran = run(&recipe(&strict).unwrap(), pdf.to_string().as_bytes());
    assert_eq!(ran.failures.len(), 1);
    assert!(!ran.failures[0].reason.to_string().contains(CANARY));
    // An empty text is nothing.
    assert_eq!(text(&one(&scrubbing(), &attached("text/plain", b"")).0), None);
}

#[test]
fn the_shipped_policy_drops_them() {
    let (out, _) = one(SHIPPED, &attached("text/plain", b"Mr. Canaryson"));
    assert_eq!(text(&out), None);
    let patient = json!({ "resourceType": "Patient", "active": true, "text": { "div": "<div>Canaryson</div>" } });
    assert!(one(SHIPPED, &patient).0.get("text").is_none());
}

#[test]
fn rules_that_would_let_a_document_through_unread_are_refused() {
    let base =
        "policy: t\nmethod: safe-harbor\ndatasets:\n  fhir:\n    fhir:\n      types: { id: { kind: unique-id } }\n";
    let rule = "      elements:\n        Attachment.data: { kind: free-text, action: scrub }\n";
    let columns = "      columns:\n        DocumentReference: { note: content.attachment.data }\n";
    for (policy, says) in [
        (format!("{base}{rule}{columns}"), "is no column"),
        (
            format!("{base}      elements:\n        Attachment.data: {{ kind: free-text, action: keep }}\n"),
            "is not allowed under safe-harbor",
        ),
        (
            format!("{base}      elements:\n        Attachment.hash: {{ kind: free-text, action: scrub }}\n"),
            "`scrub` reads",
        ),
        (
            format!("{base}      elements:\n        Signature.data: {{ kind: free-text, action: scrub }}\n"),
            "`scrub` reads",
        ),
        (
            format!("{base}      elements:\n        Narrative.div: {{ kind: clinical, action: keep }}\n"),
            "does not allow `keep`",
        ),
    ] {
        let said = recipe(&policy).err().map(|issues| issues.to_string()).unwrap_or_default();
        assert!(said.contains(says), "{says}: {said}");
    }
    assert!(recipe(&format!("{base}{rule}")).is_ok());
}

#[test]
fn a_large_attachment_is_bounded() {
    let recipe = recipe(&scrubbing()).unwrap();
    // 50 MB: more than a resource may have; the next one is read all the same.
    let lines =
        format!("{}\n{}\n", attached("text/plain", &vec![b'a'; 50 << 20]), attached("text/plain", b"Mr. Canaryson"));
    let ran = run(&recipe, lines.as_bytes());
    assert_eq!((ran.rejects.len(), ran.resources().len()), (1, 1));
    // A large one that may be.
    let ran = run(&recipe, attached("text/plain", &b"a line of text.\n".repeat(60_000)).to_string().as_bytes());
    let (_, json) = ran.resources().pop().unwrap();
    assert_eq!(text(&serde_json::from_str(&json).unwrap()).unwrap().len(), 16 * 60_000);
}
