//! Documents as three tables: documents, sections, entries.
//!
//! For documents that are de-identified already: what is in them is copied. All columns are text, so that rules and
//! SQL see what was written (`docs/formats/ccda.md` lists them).

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::path::Stack;
use super::tape::{Document, Kind, Ns};
use super::types::{Family, NameId, name, name_text};
use crate::error::FormatError;

/// One row a document.
pub const DOCUMENT: &[&str] = &[
    "document",
    "type_code",
    "type_code_system",
    "type_display",
    "title",
    "effective_time",
    "confidentiality",
    "language",
    "set_id",
    "version",
    "patient",
    "patient_root",
    "gender",
    "birth_time",
    "race",
    "ethnicity",
    "marital_status",
    "patient_state",
    "patient_zip",
    "author_time",
    "author_organization",
    "custodian",
    "encounter_code",
    "encounter_start",
    "encounter_end",
    "xml",
];

/// One row a section.
pub const SECTION: &[&str] = &[
    "document",
    "patient",
    "section",
    "parent_section",
    "depth",
    "code",
    "code_system",
    "code_display",
    "title",
    "confidentiality",
    "effective_confidentiality",
    "templates",
    "narrative",
];

/// One row an entry, nested ones included.
pub const ENTRY: &[&str] = &[
    "document",
    "patient",
    "section",
    "section_code",
    "entry",
    "parent_entry",
    "relation",
    "class",
    "mood",
    "negated",
    "id",
    "code",
    "code_system",
    "display",
    "status",
    "start",
    "end",
    "value_type",
    "value",
    "value_unit",
    "value_code_system",
    "value_display",
    "interpretation",
    "templates",
];

/// The tables that [`flatten`] makes, with their columns.
pub const TABLES: &[(&str, &[&str])] = &[("document", DOCUMENT), ("section", SECTION), ("entry", ENTRY)];

/// The schema of one of the tables.
pub fn schema(columns: &[&str]) -> SchemaRef {
    let fields = columns.iter().map(|name| Field::new(*name, DataType::Utf8View, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The tables of some documents, each there even when it has no row.
pub fn flatten<'a>(
    documents: impl IntoIterator<Item = &'a Document>,
) -> Result<Vec<(String, RecordBatch)>, FormatError> {
    let mut tables = Tables {
        document: Table::new(DOCUMENT),
        section: Table::new(SECTION),
        entry: Table::new(ENTRY),
        names: Names::new(),
    };
    for document in documents {
        tables.add(document);
    }
    let Tables { document, section, entry, .. } = tables;
    [document, section, entry]
        .into_iter()
        .zip(TABLES)
        .map(|(table, (name, _))| Ok(((*name).to_owned(), table.finish()?)))
        .collect()
}

struct Table {
    columns: &'static [&'static str],
    builders: Vec<StringViewBuilder>,
}

type Value<'a> = Option<Cow<'a, str>>;

impl Table {
    fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, builders: columns.iter().map(|_| StringViewBuilder::new()).collect() }
    }

    /// A row; what is empty is no value.
    fn push<const N: usize>(&mut self, row: [Value<'_>; N]) {
        debug_assert_eq!(N, self.builders.len());
        for (builder, value) in self.builders.iter_mut().zip(row) {
            builder.append_option(value.filter(|value| !value.is_empty()));
        }
    }

    fn finish(self) -> Result<RecordBatch, FormatError> {
        let columns = self.builders.into_iter().map(|mut one| Arc::new(one.finish()) as ArrayRef).collect();
        RecordBatch::try_new(schema(self.columns), columns)
            .map_err(|_| FormatError::Batch { doing: "joining the columns" })
    }
}

macro_rules! names {
    ($($field:ident $text:literal)*) => {
        /// The names that are looked for, looked up once.
        struct Names { $($field: NameId,)* }
        impl Names {
            fn new() -> Self {
                Self { $($field: name($text),)* }
            }
        }
    };
}

names! {
    addr "addr" administrative_gender "administrativeGenderCode" assigned_author "assignedAuthor"
    assigned_custodian "assignedCustodian" author "author" birth_time "birthTime" code "code"
    code_system "codeSystem" component_of "componentOf" consumable "consumable" custodian "custodian"
    display_name "displayName" effective_time "effectiveTime" encompassing_encounter "encompassingEncounter"
    ethnic_group "ethnicGroupCode" extension "extension" high "high" id "id" interpretation "interpretationCode"
    language_code "languageCode" low "low" manufactured_material "manufacturedMaterial"
    manufactured_product "manufacturedProduct" marital_status "maritalStatusCode" mood_code "moodCode" name "name"
    negation_ind "negationInd" original_text "originalText" patient "patient" patient_role "patientRole"
    postal_code "postalCode" product "product" race_code "raceCode" record_target "recordTarget"
    represented_custodian "representedCustodianOrganization" represented_organization "representedOrganization"
    root "root" set_id "setId" state "state" status_code "statusCode" text "text" time "time" title "title"
    translation "translation" type_code "typeCode" unit "unit" value "value" version_number "versionNumber"
    xsi_type "type" center "center" dose "doseQuantity" quantity "quantity"
}

struct Tables {
    document: Table,
    section: Table,
    entry: Table,
    names: Names,
}

/// What a code says, or its first translation where it says nothing itself.
#[derive(Default)]
struct Coded<'a> {
    code: Value<'a>,
    system: Value<'a>,
    display: Value<'a>,
}

impl Tables {
    fn add(&mut self, document: &Document) {
        let n = &self.names;
        let root = document.root();
        let find = |names: &[NameId]| document.descend(root, names);
        let id_of = |event: usize| {
            let id = document.children_named(event, n.id).next()?;
            say(document, id, n.extension).or_else(|| say(document, id, n.root))
        };
        let role = find(&[n.record_target, n.patient_role]);
        let patient_id = role.and_then(|role| document.children_named(role, n.id).next());
        let key = id_of(root);
        let patient = role.and_then(id_of);
        let person = role.and_then(|role| document.descend(role, &[n.patient]));
        let of_person = |child: NameId, attribute: NameId| {
            person.and_then(|person| say(document, document.descend(person, &[child])?, attribute))
        };
        let address = role.and_then(|role| document.descend(role, &[n.addr]));
        let in_address = |part: NameId| address.and_then(|address| text(document, document.descend(address, &[part])?));
        let kind = coded(document, n, find(&[n.code]));
        let encounter = find(&[n.component_of, n.encompassing_encounter]);
        let (encounter_start, encounter_end) = encounter.map_or((None, None), |event| period(document, n, event));
        let of_encounter = coded(document, n, encounter.and_then(|event| document.descend(event, &[n.code])));
        self.document.push([
            key.clone(),
            kind.code,
            kind.system,
            kind.display,
            find(&[n.title]).and_then(|title| text(document, title)),
            find(&[n.effective_time]).and_then(|time| say(document, time, n.value)),
            document.confidentiality(root),
            find(&[n.language_code]).and_then(|code| say(document, code, n.code)),
            find(&[n.set_id]).and_then(|id| say(document, id, n.extension).or_else(|| say(document, id, n.root))),
            find(&[n.version_number]).and_then(|version| say(document, version, n.value)),
            patient.clone(),
            patient_id.and_then(|id| say(document, id, n.root)),
            of_person(n.administrative_gender, n.code),
            of_person(n.birth_time, n.value),
            of_person(n.race_code, n.code),
            of_person(n.ethnic_group, n.code),
            of_person(n.marital_status, n.code),
            in_address(n.state),
            in_address(n.postal_code),
            find(&[n.author, n.time]).and_then(|time| say(document, time, n.value)),
            find(&[n.author, n.assigned_author, n.represented_organization, n.name])
                .and_then(|name| text(document, name)),
            find(&[n.custodian, n.assigned_custodian, n.represented_custodian, n.name])
                .and_then(|name| text(document, name)),
            of_encounter.code,
            encounter_start,
            encounter_end,
            Some(Cow::Borrowed(document.text())),
        ]);
        let sections = self.sections(document, &key, &patient);
        self.entries(document, &key, &patient, &sections);
    }

    /// Adds the sections and gives their events and codes.
    fn sections<'a>(
        &mut self,
        document: &'a Document,
        key: &Value<'_>,
        patient: &Value<'_>,
    ) -> Vec<(usize, Value<'a>)> {
        let n = &self.names;
        let mut seen = Vec::new();
        // The sections that are open: number and end.
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (number, section) in document.sections().enumerate() {
            while open.last().is_some_and(|(_, end)| *end <= section.event) {
                open.pop();
            }
            let event = section.event;
            let parent = open.last().map(|(number, _)| Cow::Owned(number.to_string()));
            open.push((number, document.event(event).map_or(0, |event| event.next as usize)));
            let display = document.descend(event, &[n.code]).and_then(|code| say(document, code, n.display_name));
            let narrative = document.descend(event, &[n.text]).map(|text| document.narrative(text).plain());
            seen.push((event, section.code.clone()));
            self.section.push([
                key.clone(),
                patient.clone(),
                Some(number.to_string().into()),
                parent,
                Some(section.depth.to_string().into()),
                section.code,
                section.code_system,
                display,
                document.descend(event, &[n.title]).and_then(|title| text(document, title)),
                section.confidentiality,
                section.effective,
                Some(section.template_ids.join(" ").into()),
                narrative.map(Cow::Owned),
            ]);
        }
        seen
    }

    fn entries(&mut self, document: &Document, key: &Value<'_>, patient: &Value<'_>, sections: &[(usize, Value<'_>)]) {
        let n = &self.names;
        let mut stack = Stack::new(document);
        let mut next_section = 0;
        let mut count = 0;
        // What is open around an event: the end of each, and its number.
        let mut in_sections: Vec<(usize, usize)> = Vec::new();
        let mut in_entries: Vec<(usize, usize)> = Vec::new();
        for (index, event) in document.events().iter().enumerate() {
            stack.follow(index);
            if !event.is_element() || event.ns != Ns::V3 {
                continue;
            }
            in_sections.truncate(in_sections.partition_point(|(end, _)| *end > index));
            in_entries.truncate(in_entries.partition_point(|(end, _)| *end > index));
            if sections.get(next_section).is_some_and(|(event, _)| *event == index) {
                in_sections.push((event.next as usize, next_section));
                next_section += 1;
                continue;
            }
            let class = name_text(event.name);
            let is_entry = stack.cda_type().family() == Family::Structure && ENTRIES.contains(&class);
            if !is_entry {
                continue;
            }
            let number = count;
            count += 1;
            let parent = in_entries.last().map(|(_, number)| Cow::Owned(number.to_string()));
            in_entries.push((event.next as usize, number));
            let section = in_sections.last().map(|(_, number)| *number);
            let section_code = section.and_then(|section| sections.get(section)).and_then(|(_, code)| code.clone());
            let around = stack.elements().iter().rev().nth(1).copied();
            let product = [n.consumable, n.product].into_iter().find_map(|relation| {
                document.descend(index, &[relation, n.manufactured_product, n.manufactured_material, n.code])
            });
            let mut what = coded(document, n, document.descend(index, &[n.code]));
            if what.code.is_none() && product.is_some() {
                // What is given says more than that something is given.
                what = coded(document, n, product);
            }
            let (start, end) = period(document, n, index);
            let value = value(document, n, index);
            let id = document.children_named(index, n.id).next();
            self.entry.push([
                key.clone(),
                patient.clone(),
                section.map(|number| number.to_string().into()),
                section_code,
                Some(number.to_string().into()),
                parent,
                around.and_then(|around| say(document, around, n.type_code)),
                Some(class.into()),
                say(document, index, n.mood_code),
                say(document, index, n.negation_ind),
                id.and_then(|id| say(document, id, n.extension).or_else(|| say(document, id, n.root))),
                what.code,
                what.system,
                what.display,
                document.descend(index, &[n.status_code]).and_then(|code| say(document, code, n.code)),
                start,
                end,
                value.of,
                value.value,
                value.unit,
                value.system,
                value.display,
                document.descend(index, &[n.interpretation]).and_then(|code| say(document, code, n.code)),
                Some(document.template_ids(index).join(" ").into()),
            ]);
        }
    }
}

/// The acts that are rows.
const ENTRIES: &[&str] =
    &["act", "encounter", "observation", "organizer", "procedure", "substanceAdministration", "supply"];

fn say(document: &Document, event: usize, attribute: NameId) -> Value<'_> {
    document.attribute_value(event, attribute).filter(|value| !value.is_empty())
}

/// All text in an element, white space runs as one space.
fn text(document: &Document, event: usize) -> Value<'_> {
    let mut joined = String::new();
    for piece in document.content(event).filter_map(|index| document.event(index)) {
        match piece.kind {
            Kind::Text | Kind::CData => joined.push_str(&document.piece(piece)),
            Kind::Close => joined.push(' '),
            _ => {}
        }
    }
    let words: Vec<&str> = joined.split_ascii_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" ").into())
}

fn coded<'a>(document: &'a Document, n: &Names, event: Option<usize>) -> Coded<'a> {
    let Some(event) = event else {
        return Coded::default();
    };
    let own = say(document, event, n.code);
    let translation =
        || document.children_named(event, n.translation).find(|one| say(document, *one, n.code).is_some());
    let source = if own.is_some() { event } else { translation().unwrap_or(event) };
    let words = || document.descend(event, &[n.original_text]).and_then(|words| text(document, words));
    Coded {
        code: say(document, source, n.code),
        system: say(document, source, n.code_system),
        display: say(document, source, n.display_name).or_else(words),
    }
}

/// When an act begins and ends: of a point in time, both are that point.
fn period<'a>(document: &'a Document, n: &Names, event: usize) -> (Value<'a>, Value<'a>) {
    for time in document.children_named(event, n.effective_time) {
        if let Some(value) = say(document, time, n.value) {
            return (Some(value.clone()), Some(value));
        }
        let bound = |of: NameId| document.descend(time, &[of]).and_then(|bound| say(document, bound, n.value));
        let (low, high) = (bound(n.low), bound(n.high));
        if low.is_some() || high.is_some() {
            return (low, high);
        }
        if let Some(center) = bound(n.center) {
            return (Some(center.clone()), Some(center));
        }
    }
    (None, None)
}

#[derive(Default)]
struct Said<'a> {
    of: Value<'a>,
    value: Value<'a>,
    unit: Value<'a>,
    system: Value<'a>,
    display: Value<'a>,
}

/// What an observation found, or how much was given: the code of a code, the number of a quantity, text as it is, and
/// an interval as `low..high`.
fn value<'a>(document: &'a Document, n: &Names, event: usize) -> Said<'a> {
    let found = [n.value, n.dose, n.quantity].into_iter().find_map(|of| document.children_named(event, of).next());
    let Some(found) = found else {
        return Said::default();
    };
    let of = document.attribute(found, Ns::Xsi, n.xsi_type).map(|attribute| document.value(attribute));
    let what = coded(document, n, Some(found));
    let mut said = Said {
        of,
        value: say(document, found, n.value),
        unit: say(document, found, n.unit),
        system: what.system,
        display: what.display,
    };
    if said.value.is_none() {
        said.value = what.code;
    }
    if said.value.is_none() {
        let bound = |of: NameId| document.descend(found, &[of]);
        let (low, high) = (bound(n.low), bound(n.high));
        if low.is_some() || high.is_some() {
            let number =
                |event: Option<usize>| event.and_then(|event| say(document, event, n.value)).unwrap_or_default();
            let (from, to) = (number(low), number(high));
            if !(from.is_empty() && to.is_empty()) {
                said.value = Some(format!("{from}..{to}").into());
            }
            said.unit = low.or(high).and_then(|event| say(document, event, n.unit));
        } else {
            said.value = text(document, found);
        }
    }
    said
}
