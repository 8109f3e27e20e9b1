//! A Continuity of Care Document (C-CDA R2.1) a patient: the header's people, and sections with narrative and entries.

use super::hl7v2::{LICENCE_AUTHORITY, MRN_AUTHORITY, SSN_AUTHORITY, VISIT_AUTHORITY, member};
use super::papers::Papers;
use super::truth::{At, Mention, Truth};
use crate::day::Day;
use crate::ink::Ink;
use crate::options::SynthOptions;
use crate::record::{Encounter, Look, Note, Observation, Person, Record, Who};
use crate::world::clinical::{Condition, Drug};
use crate::world::staff::{Facility, Provider, Staff};

/// Numbers of this generator's own, below the arc for examples.
const DOCUMENTS: &str = "2.999.4270.9";
const ENTRIES: &str = "2.999.4270.8";
const NPI: &str = "2.16.840.1.113883.4.6";
const LOINC: &str = "2.16.840.1.113883.6.1";
const SNOMED: &str = "2.16.840.1.113883.6.96";
const RXNORM: &str = "2.16.840.1.113883.6.88";
const ICD10: &str = "2.16.840.1.113883.6.90";
const CVX: &str = "2.16.840.1.113883.12.292";
const ROLES: &str = "2.16.840.1.113883.5.111";
const RACES: &str = "2.16.840.1.113883.6.238";

const TITLE: &str = "Continuity of Care Document: ";

struct Xml<'a>(&'a mut Vec<u8>);

impl Xml<'_> {
    fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.put(markup);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        for letter in text.chars() {
            match letter {
                '&' => self.0.put("&amp;"),
                '<' => self.0.put("&lt;"),
                '>' => self.0.put("&gt;"),
                '"' => self.0.put("&quot;"),
                '\n' => self.0.put("<br/>"),
                other => self.0.put(other.encode_utf8(&mut [0; 4])),
            }
        }
        self
    }

    fn element(&mut self, name: &str, text: &str) -> &mut Self {
        self.raw("<").raw(name).raw(">").text(text).raw("</").raw(name).raw(">")
    }

    fn id(&mut self, root: &str, extension: &str) -> &mut Self {
        self.raw("<id root=\"").raw(root).raw("\" extension=\"").text(extension).raw("\"/>")
    }

    fn template(&mut self, root: &str, version: &str) -> &mut Self {
        self.raw("<templateId root=\"").raw(root);
        if !version.is_empty() {
            self.raw("\" extension=\"").raw(version);
        }
        self.raw("\"/>")
    }

    fn code_in(&mut self, name: &str, code: &str, system: &str, display: &str) -> &mut Self {
        self.raw("<").raw(name).raw(" code=\"").text(code).raw("\" codeSystem=\"").raw(system);
        if !display.is_empty() {
            self.raw("\" displayName=\"").text(display);
        }
        self.raw("\"/>")
    }

    fn code(&mut self, code: &str, system: &str, display: &str) -> &mut Self {
        self.code_in("code", code, system, display)
    }

    fn day(&mut self, name: &str, day: Day) -> &mut Self {
        self.raw("<").raw(name).raw(" value=\"");
        self.0.day_packed(day);
        self.raw("\"/>")
    }

    fn time(&mut self, name: &str, at: i64) -> &mut Self {
        self.raw("<").raw(name).raw(" value=\"");
        self.0.instant_packed(at);
        self.raw("+0000\"/>")
    }

    fn status(&mut self, code: &str) -> &mut Self {
        self.raw("<statusCode code=\"").raw(code).raw("\"/>")
    }

    fn telecom(&mut self, scheme: &str, value: &str, usage: &str) -> &mut Self {
        if value.is_empty() {
            return self;
        }
        self.raw("<telecom use=\"").raw(usage).raw("\" value=\"").raw(scheme);
        if scheme == "tel:" || scheme == "fax:" {
            let digits: String = value.chars().filter(char::is_ascii_digit).collect();
            let digits = digits.get(digits.len().saturating_sub(10)..).unwrap_or_default();
            let (area, rest) = digits.split_at_checked(3).unwrap_or_default();
            let (exchange, line) = rest.split_at_checked(3).unwrap_or_default();
            self.raw("+1(").raw(area).raw(")").raw(exchange).raw("-").raw(line);
        } else {
            self.text(value);
        }
        self.raw("\"/>")
    }

    fn address(&mut self, person: &Person) -> &mut Self {
        self.raw("<addr use=\"HP\">").element("streetAddressLine", &person.street).element("city", person.place.city);
        self.element("state", person.place.state)
            .element("postalCode", &person.zip)
            .element("country", "US")
            .raw("</addr>")
    }

    fn workplace(&mut self, facility: &Facility) -> &mut Self {
        self.raw("<addr use=\"WP\">").element("streetAddressLine", facility.street).element("city", facility.city);
        self.element("state", facility.state)
            .element("postalCode", facility.zip)
            .element("country", "US")
            .raw("</addr>")
    }

    fn name(&mut self, given: &str, middle: &str, family: &str, suffix: &str, usage: &str) -> &mut Self {
        self.raw("<name");
        if !usage.is_empty() {
            self.raw(" use=\"").raw(usage).raw("\"");
        }
        self.raw(">").element("given", given);
        if !middle.is_empty() {
            self.element("given", middle);
        }
        self.element("family", family);
        if !suffix.is_empty() {
            self.element("suffix", suffix);
        }
        self.raw("</name>")
    }

    fn provider(&mut self, tag: &str, person_tag: &str, provider: &Provider, facility: &Facility) -> &mut Self {
        self.raw("<")
            .raw(tag)
            .raw(">")
            .id(NPI, &provider.npi)
            .workplace(facility)
            .raw("<telecom nullFlavor=\"UNK\"/><");
        self.raw(person_tag).raw("><name><prefix>Dr.</prefix>").element("given", provider.given);
        self.element("family", provider.family).raw("</name></").raw(person_tag).raw("></").raw(tag).raw(">")
    }

    fn author(&mut self, at: i64, provider: &Provider, facility: &Facility) -> &mut Self {
        self.raw("<author>")
            .time("time", at)
            .provider("assignedAuthor", "assignedPerson", provider, facility)
            .raw("</author>")
    }

    fn entry_id(&mut self, id: &str) -> &mut Self {
        self.id(ENTRIES, id)
    }

    /// Opens a section's narrative; `close` ends it.
    fn section(&mut self, template: &str, version: &str, code: &str, display: &str, title: &str) -> &mut Self {
        self.raw("<component><section>").template(template, version).code(code, LOINC, display).element("title", title);
        self.raw("<text>")
    }

    fn row(&mut self, cells: &[&str]) -> &mut Self {
        self.raw("<tr>");
        for cell in cells {
            self.element("td", cell);
        }
        self.raw("</tr>")
    }

    fn table(&mut self, heads: &[&str]) -> &mut Self {
        self.raw("<table><thead><tr>");
        for head in heads {
            self.element("th", head);
        }
        self.raw("</tr></thead><tbody>")
    }
}

fn day_text(day: Day) -> String {
    let mut text = String::with_capacity(10);
    text.day_us(day);
    text
}

/// `ccda/00012345.xml`, by the record number.
fn file_name(record: &Record) -> String {
    let mut name = String::from("ccda/");
    name.put(&record.person.mrn);
    name.put(".xml");
    name
}

pub fn document(
    papers: &mut Papers,
    mut truth: Option<&mut Truth>,
    record: &Record,
    staff: &Staff,
    options: &SynthOptions,
) {
    let name = file_name(record);
    let p = &record.person;
    let end = record.encounters.iter().map(|one| one.stop).max().unwrap_or_else(|| options.as_of.start());
    let provider = record.encounters.last().map_or(0, |one| one.provider);
    let mut x = Xml(&mut papers.bytes);
    x.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ClinicalDocument xmlns=\"urn:hl7-org:v3\" xmlns:sdtc=\"urn:hl7-org:sdtc\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">");
    x.raw("<realmCode code=\"US\"/><typeId root=\"2.16.840.1.113883.1.3\" extension=\"POCD_HD000040\"/>");
    x.template("2.16.840.1.113883.10.20.22.1.1", "2015-08-01").template("2.16.840.1.113883.10.20.22.1.2", "2015-08-01");
    x.id(DOCUMENTS, p.id.text()).code("34133-9", LOINC, "Summarization of Episode Note");
    let mut full = String::new();
    p.write_name(&mut full);
    x.raw("<title>").raw(TITLE).text(&full).raw("</title>");
    if let Some(truth) = &mut truth {
        let (start, look) = (TITLE.len() as u32, Look::of("full"));
        let mention = Mention { start, spelt: &full, value: &full, kind: "name", who: Who::Patient, look };
        truth.one(record, staff, At { file: &name, record: p.id.text(), field: "title" }, &mention);
    }
    x.time("effectiveTime", end).code_in("confidentialityCode", "N", "2.16.840.1.113883.5.25", "");
    x.raw("<languageCode code=\"en-US\"/>");
    header(&mut x, record, staff, provider, end);
    x.raw("<component><structuredBody>");
    allergies(&mut x, record);
    medications(&mut x, record, staff);
    problems(&mut x, record);
    results(&mut x, record, false);
    results(&mut x, record, true);
    immunizations(&mut x, record);
    encounters(&mut x, truth.as_deref_mut(), record, staff, &name);
    notes(&mut x, truth, record, staff, &name);
    x.raw("</structuredBody></component></ClinicalDocument>\n");
    papers.end(name);
}

fn header(x: &mut Xml<'_>, record: &Record, staff: &Staff, provider: usize, end: i64) {
    let (p, chart) = (&record.person, &record.chart);
    let facility = staff.facility(provider);
    x.raw("\n<recordTarget><patientRole>").id(MRN_AUTHORITY.1, &p.mrn);
    for old in &chart.old {
        x.id(MRN_AUTHORITY.1, &old.mrn);
    }
    if !p.ssn.is_empty() {
        x.id(SSN_AUTHORITY.1, &p.ssn);
    }
    x.id(member(p).0.1, &p.plan_id);
    if !p.licence.is_empty() {
        x.id(LICENCE_AUTHORITY.1, &p.licence);
    }
    x.address(p).telecom("tel:", &p.phone, "HP").telecom("fax:", &p.fax, "HP").telecom("mailto:", &p.email, "HP");
    x.raw("<patient>").name(&p.first, &p.middle, &p.last, chart.suffix, "L");
    if !p.maiden.is_empty() {
        x.raw("<name><given>")
            .text(&p.first)
            .raw("</given><family qualifier=\"BR\">")
            .text(&p.maiden)
            .raw("</family></name>");
    }
    if !chart.nickname.is_empty() {
        x.name(chart.nickname, "", &p.last, "", "P");
    }
    let gender = match p.gender {
        "F" => ("F", "Female"),
        "M" => ("M", "Male"),
        _ => ("UN", "Undifferentiated"),
    };
    x.code_in("administrativeGenderCode", gender.0, "2.16.840.1.113883.5.1", gender.1).day("birthTime", p.birth);
    if let Some(death) = p.death {
        x.raw("<sdtc:deceasedInd value=\"true\"/>").day("sdtc:deceasedTime", death);
    }
    x.code_in("maritalStatusCode", p.marital, "2.16.840.1.113883.5.2", "");
    x.code_in("raceCode", p.race.code, RACES, p.race.display);
    x.code_in("ethnicGroupCode", p.ethnicity.code, RACES, p.ethnicity.display);
    if let Some(guardian) = &chart.guardian {
        let (code, word) = guardian.relation();
        x.raw("<guardian>").code(code, ROLES, word).address(p).telecom("tel:", &p.phone, "HP").raw("<guardianPerson>");
        x.name(&guardian.given, "", &guardian.family, "", "").raw("</guardianPerson></guardian>");
    }
    x.raw("<languageCommunication><languageCode code=\"").raw(p.language).raw("\"/></languageCommunication></patient>");
    organization(x, "providerOrganization", facility);
    x.raw("</patientRole></recordTarget>\n");
    x.author(end, staff.provider(provider), facility).raw("<custodian><assignedCustodian>");
    organization(x, "representedCustodianOrganization", facility);
    x.raw("</assignedCustodian></custodian>");
    let class = if matches!(p.relation.0, "HUSB" | "WIFE") { "NOK" } else { "ECON" };
    x.raw("<participant typeCode=\"IND\"><associatedEntity classCode=\"").raw(class).raw("\">");
    x.code(p.relation.0, ROLES, p.relation.1).telecom("tel:", &p.contact_phone, "HP").raw("<associatedPerson>");
    let family = p.contact.strip_prefix(p.contact_given).map_or("", str::trim_start);
    x.name(p.contact_given, "", family, "", "").raw("</associatedPerson></associatedEntity></participant>");
    x.raw("<documentationOf><serviceEvent classCode=\"PCPR\"><effectiveTime>");
    x.day("low", p.birth).time("high", end).raw("</effectiveTime><performer typeCode=\"PRF\">");
    x.provider("assignedEntity", "assignedPerson", staff.provider(provider), facility);
    x.raw("</performer></serviceEvent></documentationOf>\n");
}

fn organization(x: &mut Xml<'_>, tag: &str, facility: &Facility) {
    x.raw("<").raw(tag).raw(">").raw("<id root=\"2.999.4270\"/>").element("name", facility.name);
    x.raw("<telecom nullFlavor=\"UNK\"/>").workplace(facility).raw("</").raw(tag).raw(">");
}

fn allergies(x: &mut Xml<'_>, record: &Record) {
    let id = record.person.id.text();
    x.section(
        "2.16.840.1.113883.10.20.22.2.6.1",
        "2015-08-01",
        "48765-2",
        "Allergies and adverse reactions",
        "Allergies",
    );
    if record.chart.allergies.is_empty() {
        x.raw("<paragraph>No known allergies</paragraph></text></section></component>\n");
        return;
    }
    x.table(&["Substance", "Reaction"]);
    for allergy in &record.chart.allergies {
        x.row(&[allergy.display, allergy.reaction.1]);
    }
    x.raw("</tbody></table></text>");
    for (nth, allergy) in record.chart.allergies.iter().enumerate() {
        let key = format!("{id}-A{nth}");
        x.raw("<entry typeCode=\"DRIV\"><act classCode=\"ACT\" moodCode=\"EVN\">")
            .template("2.16.840.1.113883.10.20.22.4.30", "2015-08-01");
        x.entry_id(&key).code("CONC", "2.16.840.1.113883.5.6", "").status("active").raw("<effectiveTime>");
        x.day("low", record.person.birth).raw(
            "</effectiveTime><entryRelationship typeCode=\"SUBJ\"><observation classCode=\"OBS\" moodCode=\"EVN\">",
        );
        x.template("2.16.840.1.113883.10.20.22.4.7", "2014-06-09").entry_id(&format!("{key}-1"));
        x.code("ASSERTION", "2.16.840.1.113883.5.4", "")
            .status("completed")
            .raw("<effectiveTime>")
            .day("low", record.person.birth);
        x.raw("</effectiveTime><value xsi:type=\"CD\" code=\"419199007\" codeSystem=\"").raw(SNOMED);
        x.raw("\" displayName=\"Allergy to substance\"/><participant typeCode=\"CSM\"><participantRole classCode=\"MANU\"><playingEntity classCode=\"MMAT\">");
        x.code(allergy.code, allergy.oid, allergy.display);
        x.raw("</playingEntity></participantRole></participant></observation></entryRelationship></act></entry>");
    }
    x.raw("</section></component>\n");
}

fn drug(x: &mut Xml<'_>, drug: &Drug) {
    x.raw("<consumable><manufacturedProduct classCode=\"MANU\">")
        .template("2.16.840.1.113883.10.20.22.4.23", "2014-06-09");
    x.raw("<manufacturedMaterial>").code(drug.rxnorm, RXNORM, drug.display);
    x.raw("</manufacturedMaterial></manufacturedProduct></consumable>");
}

fn medications(x: &mut Xml<'_>, record: &Record, staff: &Staff) {
    x.section("2.16.840.1.113883.10.20.22.2.1.1", "2014-06-09", "10160-0", "History of medication use", "Medications");
    if record.medications.is_empty() {
        x.raw("<paragraph>None</paragraph>");
    } else {
        x.table(&["Medication", "Directions", "Start"]);
        for one in &record.medications {
            x.row(&[one.drug.display, one.drug.dose, &day_text(Day::of(one.start))]);
        }
        x.raw("</tbody></table>");
    }
    x.raw("</text>");
    for one in &record.medications {
        x.raw("<entry typeCode=\"DRIV\"><substanceAdministration classCode=\"SBADM\" moodCode=\"EVN\">");
        x.template("2.16.840.1.113883.10.20.22.4.16", "2014-06-09").entry_id(one.id.text());
        x.status(if one.stop.is_some() { "completed" } else { "active" })
            .raw("<effectiveTime xsi:type=\"IVL_TS\">")
            .time("low", one.start);
        if let Some(stop) = one.stop {
            x.time("high", stop);
        }
        x.raw("</effectiveTime>");
        drug(x, one.drug);
        x.author(one.start, staff.provider(one.provider), staff.facility(one.provider));
        x.raw("</substanceAdministration></entry>");
    }
    x.raw("</section></component>\n");
}

fn problem(x: &mut Xml<'_>, what: &Condition) {
    x.raw("<value xsi:type=\"CD\" code=\"")
        .raw(what.snomed)
        .raw("\" codeSystem=\"")
        .raw(SNOMED)
        .raw("\" displayName=\"");
    x.text(what.display).raw("\">").code_in("translation", what.icd10, ICD10, "").raw("</value>");
}

fn problems(x: &mut Xml<'_>, record: &Record) {
    x.section("2.16.840.1.113883.10.20.22.2.5.1", "2015-08-01", "11450-4", "Problem list", "Problems");
    if record.diagnoses.is_empty() {
        x.raw("<paragraph>None known</paragraph>");
    } else {
        x.raw("<list>");
        for one in &record.diagnoses {
            x.raw("<item>").text(one.what.spoken).raw(", since ").raw(&day_text(one.onset)).raw("</item>");
        }
        x.raw("</list>");
    }
    x.raw("</text>");
    for one in &record.diagnoses {
        let over = one.abatement.is_some();
        x.raw("<entry typeCode=\"DRIV\"><act classCode=\"ACT\" moodCode=\"EVN\">")
            .template("2.16.840.1.113883.10.20.22.4.3", "2015-08-01");
        x.entry_id(one.id.text()).code("CONC", "2.16.840.1.113883.5.6", "").status(if over {
            "completed"
        } else {
            "active"
        });
        x.raw("<effectiveTime>").time("low", one.recorded);
        if let Some(abatement) = one.abatement {
            x.day("high", abatement.max(Day::of(one.recorded)));
        }
        x.raw("</effectiveTime><entryRelationship typeCode=\"SUBJ\"><observation classCode=\"OBS\" moodCode=\"EVN\">");
        x.template("2.16.840.1.113883.10.20.22.4.4", "2015-08-01").entry_id(&format!("{}-1", one.id.text()));
        x.code("55607006", SNOMED, "Problem").status("completed").raw("<effectiveTime>").day("low", one.onset);
        if let Some(abatement) = one.abatement {
            x.day("high", abatement);
        }
        x.raw("</effectiveTime>");
        problem(x, one.what);
        x.raw("</observation></entryRelationship></act></entry>");
    }
    x.raw("</section></component>\n");
}

/// Laboratory results, or vital signs: an organizer an encounter.
fn results(x: &mut Xml<'_>, record: &Record, vital: bool) {
    let (section, code, display, title, organizer, observation) = if vital {
        (
            "2.16.840.1.113883.10.20.22.2.4.1",
            "8716-3",
            "Vital signs",
            "Vital signs",
            "2.16.840.1.113883.10.20.22.4.26",
            "2.16.840.1.113883.10.20.22.4.27",
        )
    } else {
        (
            "2.16.840.1.113883.10.20.22.2.3.1",
            "30954-2",
            "Relevant diagnostic tests and/or laboratory data",
            "Results",
            "2.16.840.1.113883.10.20.22.4.1",
            "2.16.840.1.113883.10.20.22.4.2",
        )
    };
    x.section(section, "2015-08-01", code, display, title);
    let of = |encounter: &Encounter| -> Vec<&Observation> {
        record.observations.iter().filter(|one| one.encounter == encounter.id && one.test.vital == vital).collect()
    };
    let mut any = false;
    for encounter in &record.encounters {
        let found = of(encounter);
        if let Some(first) = found.first() {
            any = true;
            x.raw("<paragraph>").raw(&day_text(Day::of(first.at))).raw(": ");
            for (nth, one) in found.iter().enumerate() {
                x.raw(if nth > 0 { "; " } else { "" }).text(one.test.display).raw(" ");
                x.0.fixed(one.value, one.test.scale);
                x.raw(" ").text(one.test.unit);
            }
            x.raw("</paragraph>");
        }
    }
    x.raw(if any { "</text>" } else { "<paragraph>None</paragraph></text>" });
    for encounter in &record.encounters {
        let found = of(encounter);
        let Some(first) = found.first() else { continue };
        x.raw("<entry typeCode=\"DRIV\"><organizer classCode=\"CLUSTER\" moodCode=\"EVN\">")
            .template(organizer, "2015-08-01");
        x.entry_id(&format!("{}-{}", encounter.id.text(), if vital { "V" } else { "L" }));
        if vital {
            x.code("46680005", SNOMED, "Vital signs");
        } else {
            x.code("24323-8", LOINC, "Comprehensive metabolic 2000 panel");
        }
        x.status("completed")
            .raw("<effectiveTime>")
            .time("low", first.at)
            .time("high", found.last().map_or(first.at, |last| last.at));
        x.raw("</effectiveTime>");
        for one in found {
            x.raw("<component><observation classCode=\"OBS\" moodCode=\"EVN\">")
                .template(observation, "2015-08-01")
                .entry_id(one.id.text());
            x.code(one.test.loinc, LOINC, one.test.display).status("completed").time("effectiveTime", one.at);
            x.raw("<value xsi:type=\"PQ\" value=\"");
            x.0.fixed(one.value, one.test.scale);
            x.raw("\" unit=\"").text(one.test.unit).raw("\"/></observation></component>");
        }
        x.raw("</organizer></entry>");
    }
    x.raw("</section></component>\n");
}

fn immunizations(x: &mut Xml<'_>, record: &Record) {
    let shots = &record.chart.shots;
    if shots.is_empty() {
        return;
    }
    x.section("2.16.840.1.113883.10.20.22.2.2.1", "2015-08-01", "11369-6", "Immunizations", "Immunizations")
        .table(&["Vaccine", "Date"]);
    for shot in shots {
        x.row(&[shot.vaccine.display, &day_text(Day::of(shot.at))]);
    }
    x.raw("</tbody></table></text>");
    for (nth, shot) in shots.iter().enumerate() {
        x.raw("<entry typeCode=\"DRIV\"><substanceAdministration classCode=\"SBADM\" moodCode=\"EVN\" negationInd=\"false\">");
        x.template("2.16.840.1.113883.10.20.22.4.52", "2015-08-01")
            .entry_id(&format!("{}-S{nth}", record.person.id.text()));
        x.status("completed")
            .time("effectiveTime", shot.at)
            .raw("<consumable><manufacturedProduct classCode=\"MANU\">");
        x.template("2.16.840.1.113883.10.20.22.4.54", "2014-06-09").raw("<manufacturedMaterial>").code(
            shot.vaccine.cvx,
            CVX,
            shot.vaccine.display,
        );
        x.element("lotNumberText", &format!("L{:06}", shot.lot));
        x.raw("</manufacturedMaterial></manufacturedProduct></consumable></substanceAdministration></entry>");
    }
    x.raw("</section></component>\n");
}

fn encounters(x: &mut Xml<'_>, mut truth: Option<&mut Truth>, record: &Record, staff: &Staff, file: &str) {
    x.section("2.16.840.1.113883.10.20.22.2.22.1", "2015-08-01", "46240-8", "History of encounters", "Encounters");
    x.table(&["Visit", "Date", "Seen by", "Where"]);
    for (nth, one) in (1u64..).zip(&record.encounters) {
        let provider = staff.provider(one.provider);
        let mut field = String::from("#seen-");
        field.int(nth);
        x.raw("<tr>").element("td", one.kind.display).element("td", &day_text(Day::of(one.start))).raw("<td ID=\"");
        x.raw(field.get(1..).unwrap_or_default()).raw("\">").text(&provider.name).raw("</td>");
        x.element("td", staff.facility(one.provider).name).raw("</tr>");
        if let Some(truth) = &mut truth {
            let mut full = String::new();
            provider.write_name(&mut full);
            let (who, look) = (Who::Provider(one.provider), Look::of("title-full"));
            let mention = Mention { start: 0, spelt: &provider.name, value: &full, kind: "name", who, look };
            truth.one(record, staff, At { file, record: one.id.text(), field: &field }, &mention);
        }
    }
    x.raw("</tbody></table></text>");
    for one in &record.encounters {
        x.raw("<entry typeCode=\"DRIV\"><encounter classCode=\"ENC\" moodCode=\"EVN\">")
            .template("2.16.840.1.113883.10.20.22.4.49", "2015-08-01");
        x.id(VISIT_AUTHORITY.1, one.id.text()).code(one.kind.snomed, SNOMED, one.kind.display);
        x.raw("<effectiveTime>").time("low", one.start).time("high", one.stop).raw("</effectiveTime><performer>");
        x.provider("assignedEntity", "assignedPerson", staff.provider(one.provider), staff.facility(one.provider));
        x.raw("</performer>");
        if let Some(reason) = one.reason {
            x.raw("<entryRelationship typeCode=\"RSON\"><observation classCode=\"OBS\" moodCode=\"EVN\">")
                .template("2.16.840.1.113883.10.20.22.4.19", "2014-06-09");
            x.entry_id(&format!("{}-R", one.id.text()))
                .code("55607006", SNOMED, "Problem")
                .status("completed")
                .time("effectiveTime", one.start);
            problem(x, reason);
            x.raw("</observation></entryRelationship>");
        }
        x.raw("</encounter></entry>");
    }
    x.raw("</section></component>\n");
}

/// Every note in a paragraph of its own, lines parted by `br`.
fn notes(x: &mut Xml<'_>, mut truth: Option<&mut Truth>, record: &Record, staff: &Staff, file: &str) {
    let all: Vec<&Note> = record.all_notes();
    if all.is_empty() {
        return;
    }
    x.section("2.16.840.1.113883.10.20.22.2.65", "2016-11-01", "11506-3", "Progress note", "Notes");
    for (nth, note) in (1u64..).zip(&all) {
        let mut key = String::from("note-");
        key.int(nth);
        x.raw("<paragraph ID=\"").raw(&key).raw("\">").text(record.note_text(note)).raw("</paragraph>");
        if let Some(truth) = &mut truth {
            let mut field = String::from("#");
            field.put(&key);
            let at = At { file, record: note.id.text(), field: &field };
            truth.whole(record, staff, at, record.note_text(note), record.note_spans(note));
        }
    }
    x.raw("</text>");
    for (nth, note) in (1u64..).zip(&all) {
        x.raw("<entry><act classCode=\"ACT\" moodCode=\"EVN\">")
            .template("2.16.840.1.113883.10.20.22.4.202", "2016-11-01")
            .entry_id(note.id.text());
        x.raw("<code code=\"34109-9\" codeSystem=\"").raw(LOINC).raw("\" displayName=\"Note\">");
        x.code_in("translation", note.kind.loinc, LOINC, note.kind.display)
            .raw("</code><text><reference value=\"#note-");
        x.0.int(nth);
        x.raw("\"/></text>").status("completed").time("effectiveTime", note.at);
        x.author(note.at, staff.provider(note.provider), staff.facility(note.provider)).raw("</act></entry>");
    }
    x.raw("</section></component>\n");
}
