//! The same hospital as FHIR R4 NDJSON (hl7.org/fhir/R4), one file a resource type as Bulk Data exports have it.
//!
//! Patient follows US Core. Every resource says in `meta.security` that it is test data.

use crate::day::Day;
use crate::id::Id;
use crate::ink::Ink;
use crate::record::{Claim, Device, Diagnosis, Encounter, Medication, Note, Observation, Operation, Person, Record};
use crate::rows;
use crate::world::staff::{FACILITIES, Staff};

pub const PER_PATIENT: [&str; 9] = [
    "Patient",
    "Encounter",
    "Condition",
    "Observation",
    "MedicationRequest",
    "Procedure",
    "ExplanationOfBenefit",
    "Device",
    "DocumentReference",
];

#[derive(Default)]
pub struct FhirFile {
    pub bytes: Vec<u8>,
    pub rows: u64,
}

impl FhirFile {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows = 0;
    }

    /// Opens a resource; `end` closes it.
    fn resource(&mut self, kind: &str, id: &Id) -> Json<'_> {
        self.rows += 1;
        let mut json = Json(&mut self.bytes);
        json.raw(r#"{"resourceType":""#).raw(kind).raw(r#"","id":""#).raw(id.text());
        json.raw(r#"","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST","display":"test health data"}]}"#);
        json
    }
}

pub(super) struct Json<'a>(pub(super) &'a mut Vec<u8>);

impl Json<'_> {
    /// Text that is JSON already.
    #[inline]
    pub(super) fn raw(&mut self, text: &str) -> &mut Self {
        self.0.put(text);
        self
    }

    /// The inside of a string (RFC 8259, section 7).
    fn inside(&mut self, text: &str) -> &mut Self {
        if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            for letter in text.chars() {
                match letter {
                    '"' => self.0.put("\\\""),
                    '\\' => self.0.put("\\\\"),
                    '\n' => self.0.put("\\n"),
                    control if control < ' ' => self.0.put(" "),
                    other => self.0.put(other.encode_utf8(&mut [0; 4])),
                }
            }
        } else {
            self.0.put(text);
        }
        self
    }

    /// The same inside of XHTML.
    fn markup(&mut self, text: &str) -> &mut Self {
        for letter in text.chars() {
            match letter {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                other => self.inside(other.encode_utf8(&mut [0; 4])),
            };
        }
        self
    }

    pub(super) fn string(&mut self, text: &str) -> &mut Self {
        self.raw("\"").inside(text).raw("\"")
    }

    pub(super) fn day(&mut self, day: Day) -> &mut Self {
        self.0.push(b'"');
        self.0.day(day);
        self.0.push(b'"');
        self
    }

    pub(super) fn time(&mut self, at: i64) -> &mut Self {
        self.0.push(b'"');
        self.0.instant(at);
        self.0.put("Z\"");
        self
    }

    fn number(&mut self, units: i64, scale: u32) -> &mut Self {
        self.0.fixed(units, scale);
        self
    }

    fn coding(&mut self, system: &str, code: &str, display: &str) -> &mut Self {
        self.raw(r#"{"system":""#).raw(system).raw(r#"","code":"#).string(code);
        if !display.is_empty() {
            self.raw(r#","display":"#).string(display);
        }
        self.raw("}")
    }

    fn concept(&mut self, system: &str, code: &str, display: &str) -> &mut Self {
        self.raw(r#"{"coding":["#).coding(system, code, display).raw("]");
        if !display.is_empty() {
            self.raw(r#","text":"#).string(display);
        }
        self.raw("}")
    }

    fn reference(&mut self, kind: &str, id: &Id) -> &mut Self {
        self.raw(r#"{"reference":""#).raw(kind).raw("/").raw(id.text()).raw(r#""}"#)
    }

    fn named_reference(&mut self, kind: &str, id: &Id, display: &str) -> &mut Self {
        self.raw(r#"{"reference":""#).raw(kind).raw("/").raw(id.text()).raw(r#"","display":"#).string(display).raw("}")
    }

    fn subject(&mut self, person: &Person, encounter: &Id) -> &mut Self {
        self.raw(r#","subject":"#)
            .reference("Patient", &person.id)
            .raw(r#","encounter":"#)
            .reference("Encounter", encounter)
    }

    fn end(&mut self) {
        self.raw("}\n");
    }
}

const SNOMED: &str = "http://snomed.info/sct";
const LOINC: &str = "http://loinc.org";
const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
const ICD10: &str = "http://hl7.org/fhir/sid/icd-10-cm";
const CPT: &str = "http://www.ama-assn.org/go/cpt";
const NPI: &str = "http://hl7.org/fhir/sid/us-npi";
const IDENTIFIER_TYPE: &str = "http://terminology.hl7.org/CodeSystem/v2-0203";
/// Not a standard's: what a real export adds of its own, for a policy to meet.
const OWN: &str = "http://example.org/fhir/StructureDefinition/";

/// All resources of a patient, each to its file, in the order of [`PER_PATIENT`].
pub fn all(files: &mut [FhirFile; 9], record: &Record, staff: &Staff) {
    let [patients, encounters, conditions, observations, medications, procedures, claims, devices, documents] = files;
    let p = &record.person;
    patient(patients, record, staff);
    record.encounters.iter().for_each(|e| encounter(encounters, p, e, staff));
    record.diagnoses.iter().for_each(|d| condition(conditions, p, d));
    record.observations.iter().for_each(|o| observation(observations, p, o));
    record.medications.iter().for_each(|m| medication(medications, p, m, staff));
    record.operations.iter().for_each(|o| procedure(procedures, p, o, staff));
    record.claims.iter().for_each(|c| benefit(claims, p, c, staff));
    record.devices.iter().for_each(|d| device(devices, p, d));
    record.notes.iter().for_each(|n| document(documents, record, n, staff));
}

fn identifier(json: &mut Json<'_>, first: &mut bool, code: &str, display: &str, system: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    json.raw(if *first { "" } else { "," });
    *first = false;
    json.raw(r#"{"type":"#).concept(IDENTIFIER_TYPE, code, display);
    json.raw(r#","system":""#).raw(system).raw(r#"","value":"#).string(value).raw("}");
}

fn telecom(json: &mut Json<'_>, first: &mut bool, system: &str, usage: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    json.raw(if *first { "" } else { "," });
    *first = false;
    json.raw(r#"{"system":""#)
        .raw(system)
        .raw(r#"","value":"#)
        .string(value)
        .raw(r#","use":""#)
        .raw(usage)
        .raw(r#""}"#);
}

fn own_extension(json: &mut Json<'_>, name: &str, value_type: &str, value: &str) {
    if !value.is_empty() {
        json.raw(r#",{"url":""#).raw(OWN).raw(name).raw(r#"",""#).raw(value_type).raw(r#"":"#).string(value).raw("}");
    }
}

fn omb(json: &mut Json<'_>, name: &str, coded: &crate::world::names::Coded) {
    json.raw(r#"{"url":"http://hl7.org/fhir/us/core/StructureDefinition/"#).raw(name);
    json.raw(r#"","extension":[{"url":"ombCategory","valueCoding":"#);
    json.coding("urn:oid:2.16.840.1.113883.6.238", coded.code, coded.display);
    json.raw(r#"},{"url":"text","valueString":"#).string(coded.display).raw("}]}");
}

fn patient(file: &mut FhirFile, record: &Record, staff: &Staff) {
    let p = &record.person;
    let mut json = file.resource("Patient", &p.id);
    json.raw(r#","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p><b>"#);
    json.markup(&p.first).raw(" ").markup(&p.last).raw("</b>, born ");
    json.0.day(p.birth);
    json.raw(", of ").markup(p.place.city).raw(", MRN ").markup(&p.mrn).raw(r#"</p></div>"},"extension":["#);
    omb(&mut json, "us-core-race", p.race);
    json.raw(",");
    omb(&mut json, "us-core-ethnicity", p.ethnicity);
    json.raw(r#",{"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex","valueCode":""#);
    json.raw(if p.female { "F" } else { "M" }).raw(r#""}"#);
    own_extension(&mut json, "employer", "valueString", p.employer);
    own_extension(&mut json, "vehicle-identification-number", "valueString", &p.vin);
    own_extension(&mut json, "licence-plate", "valueString", &p.plate);
    own_extension(&mut json, "last-login-address", "valueString", &p.ip);
    own_extension(&mut json, "fingerprint-template", "valueBase64Binary", &p.fingerprint);

    json.raw(r#"],"identifier":["#);
    let mut first = true;
    identifier(&mut json, &mut first, "MR", "Medical record number", "http://hospital.example.org/mrn", &p.mrn);
    identifier(&mut json, &mut first, "SS", "Social Security number", "http://hl7.org/fhir/sid/us-ssn", &p.ssn);
    identifier(&mut json, &mut first, "DL", "Driver's license number", "http://dmv.example.org/licence", &p.licence);
    identifier(&mut json, &mut first, "PPN", "Passport number", "http://hl7.org/fhir/sid/passport-USA", &p.passport);
    if p.payer == "Medicare" {
        identifier(
            &mut json,
            &mut first,
            "MC",
            "Patient's Medicare number",
            "http://hl7.org/fhir/sid/us-mbi",
            &p.plan_id,
        );
    } else {
        identifier(&mut json, &mut first, "MB", "Member Number", "http://payer.example.org/member", &p.plan_id);
    }
    identifier(&mut json, &mut first, "AN", "Account number", "http://hospital.example.org/account", &p.account);

    json.raw(r#"],"active":true,"name":[{"use":"official","family":"#)
        .string(&p.last)
        .raw(r#","given":["#)
        .string(&p.first);
    if !p.middle.is_empty() {
        json.raw(",").string(&p.middle);
    }
    json.raw("]}");
    if !p.maiden.is_empty() {
        json.raw(r#",{"use":"maiden","family":"#).string(&p.maiden).raw(r#","given":["#).string(&p.first).raw("]}");
    }
    json.raw(r#"],"telecom":["#);
    let mut first = true;
    telecom(&mut json, &mut first, "phone", "home", &p.phone);
    telecom(&mut json, &mut first, "fax", "home", &p.fax);
    telecom(&mut json, &mut first, "email", "home", &p.email);
    telecom(&mut json, &mut first, "url", "home", &p.portal);
    json.raw(r#"],"gender":""#);
    json.raw(match p.gender {
        "F" => "female",
        "M" => "male",
        _ => "other",
    });
    json.raw(r#"","birthDate":"#).day(p.birth);
    match p.death {
        Some(death) => json.raw(r#","deceasedDateTime":"#).day(death),
        None => json.raw(r#","deceasedBoolean":false"#),
    };
    json.raw(r#","address":[{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/geolocation","extension":[{"url":"latitude","valueDecimal":"#);
    json.number(p.latitude, 6).raw(r#"},{"url":"longitude","valueDecimal":"#).number(p.longitude, 6);
    json.raw(r#"}]}],"use":"home","line":["#).string(&p.street).raw(r#"],"city":"#).string(p.place.city);
    json.raw(r#","district":"#).string(p.place.county).raw(r#","state":"#).string(p.place.state);
    json.raw(r#","postalCode":"#).string(&p.zip).raw(r#","country":"US"}],"maritalStatus":"#);
    let marital = match p.marital {
        "M" => "Married",
        "D" => "Divorced",
        "W" => "Widowed",
        _ => "Never Married",
    };
    json.concept("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", p.marital, marital);
    json.raw(r#","multipleBirthBoolean":"#).raw(if p.twin { "true" } else { "false" });
    if !p.photo.is_empty() {
        json.raw(r#","photo":[{"contentType":"image/jpeg","url":"#).string(&p.photo).raw("}]");
    }
    json.raw(r#","contact":[{"relationship":["#);
    json.concept("http://terminology.hl7.org/CodeSystem/v3-RoleCode", p.relation.0, p.relation.1);
    json.raw(r#"],"name":{"text":"#).string(&p.contact).raw(r#","given":["#).string(p.contact_given);
    json.raw(r#"]},"telecom":[{"system":"phone","value":"#).string(&p.contact_phone);
    json.raw(r#"}],"gender":""#).raw(if p.contact_female { "female" } else { "male" });
    json.raw(r#""}],"communication":[{"language":{"coding":["#)
        .coding("urn:ietf:bcp:47", p.language, "")
        .raw(r#"]},"preferred":true}]"#);
    if let Some(encounter) = record.encounters.first() {
        let provider = staff.provider(encounter.provider);
        json.raw(r#","generalPractitioner":["#).named_reference("Practitioner", &provider.id, &provider.name).raw("]");
    }
    json.end();
}

fn encounter(file: &mut FhirFile, p: &Person, e: &Encounter, staff: &Staff) {
    let provider = staff.provider(e.provider);
    let mut json = file.resource("Encounter", &e.id);
    json.raw(r#","status":"finished","class":"#);
    json.coding("http://terminology.hl7.org/CodeSystem/v3-ActCode", e.kind.class, "");
    json.raw(r#","type":["#).concept(SNOMED, e.kind.snomed, e.kind.display);
    json.raw(r#"],"subject":{"reference":"Patient/"#)
        .raw(p.id.text())
        .raw(r#"","display":""#)
        .inside(&p.first)
        .raw(" ")
        .inside(&p.last);
    json.raw(r#""},"participant":[{"individual":"#).named_reference("Practitioner", &provider.id, &provider.name);
    json.raw(r#"}],"period":{"start":"#).time(e.start).raw(r#","end":"#).time(e.stop).raw("}");
    if let Some(reason) = e.reason {
        json.raw(r#","reasonCode":["#).concept(SNOMED, reason.snomed, reason.display).raw("]");
    }
    json.raw(r#","serviceProvider":"#).named_reference(
        "Organization",
        staff.organization(e.provider),
        staff.facility(e.provider).name,
    );
    json.end();
}

fn condition(file: &mut FhirFile, p: &Person, d: &Diagnosis) {
    let mut json = file.resource("Condition", &d.id);
    json.raw(r#","clinicalStatus":{"coding":["#);
    let status = if d.abatement.is_some() { "resolved" } else { "active" };
    json.coding("http://terminology.hl7.org/CodeSystem/condition-clinical", status, "");
    json.raw(r#"]},"verificationStatus":{"coding":["#);
    json.coding("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed", "");
    json.raw(r#"]},"category":[{"coding":["#);
    json.coding(
        "http://terminology.hl7.org/CodeSystem/condition-category",
        "encounter-diagnosis",
        "Encounter Diagnosis",
    );
    json.raw(r#"]}],"code":{"coding":["#).coding(SNOMED, d.what.snomed, d.what.display).raw(",").coding(
        ICD10,
        d.what.icd10,
        "",
    );
    json.raw(r#"],"text":"#).string(d.what.display).raw("}").subject(p, &d.encounter);
    json.raw(r#","onsetDateTime":"#).day(d.onset);
    if let Some(abatement) = d.abatement {
        json.raw(r#","abatementDateTime":"#).day(abatement);
    }
    json.raw(r#","recordedDate":"#).time(d.recorded).end();
}

fn quantity(json: &mut Json<'_>, value: i64, o: &Observation) {
    json.raw(r#"{"value":"#).number(value, o.test.scale).raw(r#","unit":"#).string(o.test.unit);
    json.raw(r#","system":"http://unitsofmeasure.org","code":"#).string(o.test.unit).raw("}");
}

fn observation(file: &mut FhirFile, p: &Person, o: &Observation) {
    let mut json = file.resource("Observation", &o.id);
    json.raw(r#","status":"final","category":[{"coding":["#);
    let (category, display) = if o.test.vital { ("vital-signs", "Vital Signs") } else { ("laboratory", "Laboratory") };
    json.coding("http://terminology.hl7.org/CodeSystem/observation-category", category, display);
    json.raw(r#"]}],"code":"#).concept(LOINC, o.test.loinc, o.test.display).subject(p, &o.encounter);
    json.raw(r#","effectiveDateTime":"#).time(o.at).raw(r#","valueQuantity":"#);
    quantity(&mut json, o.value, o);
    let flag = rows::flag(o.test, p.female, o.value);
    if !flag.is_empty() {
        json.raw(r#","interpretation":[{"coding":["#);
        json.coding("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", flag, "");
        json.raw(r#"]}],"referenceRange":[{"#);
        let (low, high) = rows::range(o.test, p.female);
        if let Some(low) = low {
            json.raw(r#""low":"#);
            quantity(&mut json, low, o);
        }
        if let Some(high) = high {
            json.raw(if low.is_some() { r#","high":"# } else { r#""high":"# });
            quantity(&mut json, high, o);
        }
        json.raw("}]");
    }
    json.end();
}

fn medication(file: &mut FhirFile, p: &Person, m: &Medication, staff: &Staff) {
    let provider = staff.provider(m.provider);
    let mut json = file.resource("MedicationRequest", &m.id);
    json.raw(r#","status":""#).raw(if m.stop.is_some() { "completed" } else { "active" });
    json.raw(r#"","intent":"order","medicationCodeableConcept":"#).concept(RXNORM, m.drug.rxnorm, m.drug.display);
    json.subject(p, &m.encounter).raw(r#","authoredOn":"#).time(m.start);
    json.raw(r#","requester":"#).named_reference("Practitioner", &provider.id, &provider.name);
    json.raw(r#","reasonCode":["#).concept(SNOMED, m.reason.snomed, m.reason.display);
    json.raw(r#"],"dosageInstruction":[{"text":"#).string(m.drug.dose);
    json.raw(r#"}],"dispenseRequest":{"validityPeriod":{"start":"#).time(m.start);
    if let Some(stop) = m.stop {
        json.raw(r#","end":"#).time(stop);
    }
    json.raw(r#"},"numberOfRepeatsAllowed":"#).number(i64::from(m.dispenses), 0).raw("}").end();
}

fn procedure(file: &mut FhirFile, p: &Person, o: &Operation, staff: &Staff) {
    let provider = staff.provider(o.provider);
    let mut json = file.resource("Procedure", &o.id);
    json.raw(r#","status":"completed","code":{"coding":["#).coding(SNOMED, o.what.snomed, o.what.display);
    json.raw(",")
        .coding(CPT, o.what.cpt, "")
        .raw(r#"],"text":"#)
        .string(o.what.display)
        .raw("}")
        .subject(p, &o.encounter);
    json.raw(r#","performedPeriod":{"start":"#).time(o.start).raw(r#","end":"#).time(o.stop);
    json.raw(r#"},"performer":[{"actor":"#)
        .named_reference("Practitioner", &provider.id, &provider.name)
        .raw("}]")
        .end();
}

fn benefit(file: &mut FhirFile, p: &Person, c: &Claim, staff: &Staff) {
    let provider = staff.provider(c.provider);
    let mut json = file.resource("ExplanationOfBenefit", &c.id);
    json.raw(r#","status":""#).raw(if c.cancelled { "cancelled" } else { "active" });
    json.raw(r#"","type":{"coding":["#);
    let kind = if c.place_of_service == "21" { "institutional" } else { "professional" };
    json.coding("http://terminology.hl7.org/CodeSystem/claim-type", kind, "");
    json.raw(r#"]},"use":"claim","patient":"#).reference("Patient", &p.id);
    json.raw(r#","billablePeriod":{"start":"#)
        .day(c.from)
        .raw(r#","end":"#)
        .day(c.to)
        .raw(r#"},"created":"#)
        .day(c.submitted);
    json.raw(r#","insurer":{"display":"#).string(p.payer).raw(r#"},"provider":"#);
    json.named_reference("Practitioner", &provider.id, &provider.name).raw(r#","outcome":"complete","diagnosis":["#);
    for (place, code) in c.icd10.iter().filter(|code| !code.is_empty()).enumerate() {
        json.raw(if place > 0 { "," } else { "" }).raw(r#"{"sequence":"#).number(place as i64 + 1, 0);
        json.raw(r#","diagnosisCodeableConcept":{"coding":["#).coding(ICD10, code, "").raw("]}}");
    }
    json.raw(
        r#"],"insurance":[{"focal":true,"coverage":{"identifier":{"system":"http://payer.example.org/member","value":"#,
    );
    json.string(&p.plan_id).raw(r#"},"display":"#).string(p.payer);
    json.raw(r#"}}],"item":[{"sequence":1,"productOrService":{"coding":["#).coding(CPT, c.cpt, "");
    json.raw(r#"]},"servicedPeriod":{"start":"#).day(c.from).raw(r#","end":"#).day(c.to);
    json.raw(r#"},"locationCodeableConcept":{"coding":["#);
    json.coding(
        "https://www.cms.gov/Medicare/Coding/place-of-service-codes/Place_of_Service_Code_Set",
        c.place_of_service,
        "",
    );
    json.raw(r#"]},"encounter":["#).reference("Encounter", &c.encounter).raw(r#"]}],"total":["#);
    for (place, (category, cents)) in
        [("submitted", c.billed), ("eligible", c.allowed), ("benefit", c.paid)].into_iter().enumerate()
    {
        json.raw(if place > 0 { "," } else { "" }).raw(r#"{"category":{"coding":["#);
        json.coding("http://terminology.hl7.org/CodeSystem/adjudication", category, "");
        json.raw(r#"]},"amount":{"value":"#).number(cents, 2).raw(r#","currency":"USD"}}"#);
    }
    json.raw("]").end();
}

fn device(file: &mut FhirFile, p: &Person, d: &Device) {
    let mut json = file.resource("Device", &d.id);
    json.raw(r#","udiCarrier":[{"deviceIdentifier":"#)
        .string(&d.identifier)
        .raw(r#","issuer":"http://hl7.org/fhir/NamingSystem/gs1-di","carrierHRF":"#);
    json.string(&d.udi).raw(r#"}],"status":"active","distinctIdentifier":"#).string(&d.identifier);
    json.raw(r#","manufacturer":"#).string(d.kind.manufacturer);
    json.raw(r#","manufactureDate":"#).day(d.made).raw(r#","expirationDate":"#).day(d.expires);
    json.raw(r#","lotNumber":"#).string(&d.lot).raw(r#","serialNumber":"#).string(&d.serial);
    json.raw(r#","deviceName":[{"name":"#).string(d.kind.display).raw(r#","type":"user-friendly-name"}],"type":"#);
    json.concept(SNOMED, d.kind.snomed, d.kind.display).raw(r#","patient":"#).reference("Patient", &p.id).end();
}

fn document(file: &mut FhirFile, record: &Record, n: &Note, staff: &Staff) {
    let provider = staff.provider(n.provider);
    let mut json = file.resource("DocumentReference", &n.id);
    json.raw(r#","status":"current","type":"#).concept(LOINC, n.kind.loinc, n.kind.display);
    json.raw(r#","category":[{"coding":["#);
    json.coding(
        "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
        "clinical-note",
        "Clinical Note",
    );
    json.raw(r#"]}],"subject":"#).reference("Patient", &record.person.id).raw(r#","date":"#).time(n.at);
    json.raw(r#","author":["#).named_reference("Practitioner", &provider.id, &provider.name);
    json.raw(r#"],"content":[{"attachment":{"contentType":"text/plain; charset=utf-8","data":""#);
    encode(record.note_text(n).as_bytes(), json.0);
    json.raw(r#""}}],"context":{"encounter":["#).reference("Encounter", &n.encounter).raw("]}").end();
}

/// RFC 4648 base64, into the buffer itself.
fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    out.resize(from + data_encoding::BASE64.encode_len(bytes.len()), 0);
    if let Some(space) = out.get_mut(from..) {
        data_encoding::BASE64.encode_mut(bytes, space);
    }
}

/// Who works here and where: once a hospital.
pub fn staff_files(staff: &Staff) -> [(&'static str, FhirFile); 2] {
    let mut practitioners = FhirFile::default();
    for provider in &staff.providers {
        let mut json = practitioners.resource("Practitioner", &provider.id);
        json.raw(r#","identifier":[{"system":""#).raw(NPI).raw(r#"","value":"#).string(&provider.npi);
        json.raw(r#"}],"active":true,"name":[{"text":"#)
            .string(&provider.name)
            .raw(r#","family":"#)
            .string(provider.family);
        json.raw(r#","given":["#).string(provider.given).raw(r#"],"prefix":["Dr."]}],"gender":""#);
        json.raw(if provider.female { "female" } else { "male" });
        json.raw(r#"","qualification":[{"code":{"text":"#).string(provider.specialty).raw("}}]").end();
    }
    let mut organizations = FhirFile::default();
    for (facility, id) in FACILITIES.iter().zip(&staff.organizations) {
        let mut json = organizations.resource("Organization", id);
        json.raw(r#","active":true,"type":["#);
        json.concept("http://terminology.hl7.org/CodeSystem/organization-type", "prov", "Healthcare Provider");
        json.raw(r#"],"name":"#).string(facility.name).raw(r#","address":[{"line":["#).string(facility.street);
        json.raw(r#"],"city":"#).string(facility.city).raw(r#","state":"#).string(facility.state);
        json.raw(r#","postalCode":"#).string(facility.zip).raw(r#","country":"US"}]"#).end();
    }
    [("Practitioner", practitioners), ("Organization", organizations)]
}
