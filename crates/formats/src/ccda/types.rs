//! Which data type each element and attribute of CDA R2 has, told by what it stands in.
//!
//! `name` is a person's below `assignedPerson`, an organisation's below `representedOrganization` and a drug's below
//! `manufacturedMaterial`; `text` is narrative in a section and a pointer to it in an entry. So types come from a walk
//! down from the root, one [`State`] an element. What the vocabulary does not let stand where it stands is
//! [`CdaType::Unknown`], and so is everything in it: whoever keeps only what has a type, fails closed.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::path::{Path, Progress};
use super::tape::{Attribute, Document, Ns, fnv};

const SCHEMA: &str = include_str!("r2.txt");

/// A local name that the dictionary has, of an element or attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub(super) u16);

impl NameId {
    /// Every name that is not in the dictionary.
    pub const UNKNOWN: Self = Self(u16::MAX);
}

macro_rules! types {
    ($($variant:ident $text:literal $family:ident $doc:literal,)*) => {
        /// The data type of an element (HL7 V3 data types, R1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum CdaType { $(#[doc = $doc] $variant,)* }

        impl CdaType {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name as HL7 writes it, or in capitals where it is none of theirs.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it is, coarsely: the types that one rule suits.
            pub fn family(self) -> Family {
                match self { $(Self::$variant => Family::$family,)* }
            }
        }
    };
}

types! {
    Unknown "UNKNOWN" Unknown "Not in the vocabulary of CDA R2 and sdtc at this place.",
    Structure "STRUCTURE" Structure "An act, role, entity or relation: other elements, and no value of its own.",
    Template "TEMPLATE" Template "`typeId`, `templateId`: an II that names a specification and nobody.",
    Ii "II" Id "Instance identifier: root and extension.",
    Pn "PN" Name "A person's name.",
    On "ON" Name "An organisation's name.",
    En "EN" Name "An entity's name: of a place, a drug, a material.",
    Tn "TN" Name "A trivial name.",
    Enxp "ENXP" NamePart "A part of a name: family, given, prefix, suffix.",
    Ad "AD" Address "A postal address.",
    Adxp "ADXP" AddressPart "A part of an address.",
    Tel "TEL" Telecom "A telephone number, mail or web address.",
    Reference "REFERENCE" Reference "The TEL in an ED: mostly `#` and the ID of a piece of narrative.",
    Ts "TS" Time "A point in time.",
    IvlTs "IVL_TS" Time "An interval of time.",
    SxcmTs "SXCM_TS" Time "A part of a set of times.",
    PivlTs "PIVL_TS" Time "A periodic interval.",
    EivlTs "EIVL_TS" Time "An interval tied to an event such as a meal.",
    SxprTs "SXPR_TS" Time "A set of times put together.",
    GlistTs "GLIST_TS" Time "Times at equal distances.",
    Cd "CD" Code "Concept descriptor.",
    Ce "CE" Code "Coded with equivalents.",
    Cv "CV" Code "Coded value.",
    Cs "CS" Code "Coded simple value.",
    Co "CO" Code "Coded ordinal.",
    Cr "CR" Qualifier "A qualifier of a code: its name and value.",
    Ed "ED" Text "Encapsulated data: text or base64.",
    St "ST" Text "Character string.",
    Sc "SC" Text "Character string with a code.",
    Bl "BL" Boolean "Boolean.",
    Int "INT" Quantity "Integer.",
    IvlInt "IVL_INT" Quantity "An interval of integers.",
    Real "REAL" Quantity "Real number.",
    IvlReal "IVL_REAL" Quantity "An interval of real numbers.",
    Mo "MO" Quantity "An amount of money.",
    IvlMo "IVL_MO" Quantity "An interval of amounts of money.",
    Pq "PQ" Quantity "Physical quantity.",
    IvlPq "IVL_PQ" Quantity "An interval of physical quantities.",
    Pqr "PQR" Quantity "A physical quantity in another unit.",
    Rto "RTO" Quantity "A ratio.",
    SlistPq "SLIST_PQ" Quantity "Sampled quantities.",
    GlistPq "GLIST_PQ" Quantity "Quantities at equal distances.",
    Any "ANY" Any "Any type, without an `xsi:type` that says which: only `nullFlavor` can stand there.",
    Narrative "NARRATIVE" Narrative "A section's text and the markup in it.",
}

/// The types that one rule suits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    Unknown,
    Structure,
    Template,
    Id,
    Name,
    NamePart,
    Address,
    AddressPart,
    Telecom,
    Reference,
    Time,
    Code,
    Qualifier,
    Text,
    Boolean,
    Quantity,
    Any,
    Narrative,
}

impl CdaType {
    /// The type of a name such as `IVL_TS`, as `xsi:type` writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        let plain = match name {
            "PIVL_PPD_TS" => "PIVL_TS",
            "EIVL_PPD_TS" => "EIVL_TS",
            "SXCM_PPD_TS" | "PPD_TS" | "IVXB_TS" => "TS",
            "IVL_PPD_TS" => "IVL_TS",
            "RTO_PQ_PQ" | "RTO_MO_PQ" | "RTO_QTY_QTY" | "RTO_PPD_PQ" => "RTO",
            "IVXB_PQ" | "SXCM_PQ" | "PPD_PQ" | "HXIT_PQ" => "PQ",
            "IVXB_INT" | "SXCM_INT" => "INT",
            "IVXB_REAL" | "SXCM_REAL" => "REAL",
            "IVXB_MO" | "SXCM_MO" => "MO",
            "IVL_PPD_PQ" => "IVL_PQ",
            "SXCM_CD" | "HXIT_CE" | "BXIT_CD" => "CD",
            "BN" => "BL",
            "URL" => "TEL",
            name => name,
        };
        let is_hl7 = |of: &Self| {
            !matches!(of, Self::Unknown | Self::Structure | Self::Template | Self::Reference | Self::Narrative)
        };
        Self::ALL.iter().copied().filter(is_hl7).find(|of| of.name() == plain)
    }

    /// The class of the schema that says what stands in it.
    fn content(self) -> Option<&'static str> {
        Some(match self.family() {
            Family::Name => "NAME_CONTENT",
            Family::Address => "ADDRESS_CONTENT",
            Family::Telecom => "TELECOM_CONTENT",
            Family::Time => "TIME_CONTENT",
            Family::Code => "CODE_CONTENT",
            Family::Qualifier => "QUALIFIER_CONTENT",
            Family::Text => "TEXT_CONTENT",
            Family::Quantity => "QUANTITY_CONTENT",
            Family::Narrative => "NARRATIVE_CONTENT",
            _ => return None,
        })
    }
}

/// What an attribute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeType {
    /// Not in the vocabulary at this place.
    Unknown,
    /// A namespace declaration.
    Namespace,
    /// One of a few words of the standard: `classCode`, `moodCode`, `nullFlavor`, `use`, `xsi:type` …
    Structural,
    /// The root of an II: an OID, UUID or RUID.
    Root,
    /// The extension of an II.
    Extension,
    /// What the element's own type says: a time, an address of telecommunication, a number, true or false.
    Value,
    /// A unit or currency.
    Unit,
    /// A code.
    Code,
    /// The name, number or version of a code system or value set.
    CodeSystem,
    /// A code in words.
    Display,
    /// Other free text.
    Text,
    /// A name of a piece of narrative within the document.
    NarrativeId,
    /// A place in this document or elsewhere.
    Link,
    /// How narrative looks.
    Layout,
}

const STRUCTURAL: &[&str] = &[
    "classCode",
    "moodCode",
    "typeCode",
    "determinerCode",
    "contextControlCode",
    "contextConductionInd",
    "inversionInd",
    "negationInd",
    "independentInd",
    "nullFlavor",
    "use",
    "qualifier",
    "partType",
    "isNotOrdered",
    "displayable",
    "operator",
    "inclusive",
    "institutionSpecified",
    "alignment",
    "inverted",
    "mediaType",
    "language",
    "representation",
    "compression",
    "integrityCheckAlgorithm",
    "probability",
    "validTimeLow",
    "validTimeHigh",
];

const DATA: &[&str] = &[
    "root",
    "extension",
    "assigningAuthorityName",
    "value",
    "unit",
    "currency",
    "code",
    "codeSystem",
    "codeSystemName",
    "codeSystemVersion",
    "valueSet",
    "valueSetVersion",
    "displayName",
    "integrityCheck",
    "ID",
    "IDREF",
    "referencedObject",
    "href",
    "name",
    "title",
    "summary",
    "abbr",
    "axis",
    "headers",
    "type",
    "nil",
    "schemaLocation",
    "noNamespaceSchemaLocation",
    "lang",
    "space",
];

const LAYOUT: &[&str] = &[
    "styleCode",
    "revised",
    "listType",
    "border",
    "width",
    "cellspacing",
    "cellpadding",
    "frame",
    "rules",
    "span",
    "align",
    "char",
    "charoff",
    "valign",
    "scope",
    "rowspan",
    "colspan",
    "rel",
    "rev",
];

/// Where a walk down the elements of a document stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(u16);

impl State {
    /// Above the root element.
    pub const START: Self = Self(CdaType::ALL.len() as u16);
    const UNKNOWN: Self = Self(CdaType::Unknown as u16);

    fn of_type(of: CdaType) -> Self {
        Self(of as u16)
    }

    /// The type of the element that was stepped into.
    pub fn cda_type(self) -> CdaType {
        CdaType::ALL.get(usize::from(self.0)).copied().unwrap_or(CdaType::Structure)
    }

    /// Into an element, by its name alone.
    #[must_use]
    pub fn step(self, ns: Ns, name: NameId) -> Self {
        DICTIONARY.step(self, ns, name)
    }

    /// Into an element of a document, heeding its `xsi:type`.
    #[must_use]
    pub fn enter(self, document: &Document, event: usize) -> Self {
        let Some(element) = document.event(event) else {
            return Self::UNKNOWN;
        };
        let state = self.step(element.ns, element.name);
        let declared = state.cda_type();
        if matches!(declared, CdaType::Unknown | CdaType::Structure) {
            return state;
        }
        let Some(attribute) = document.attribute(event, Ns::Xsi, DICTIONARY.xsi_type) else {
            return state;
        };
        let said = document.value(attribute);
        let said = said.trim_ascii();
        let said = CdaType::from_name(said.split_once(':').map_or(said, |(_, local)| local));
        match said {
            Some(CdaType::Any) => state,
            Some(said) if declared == CdaType::Any || said.family() == declared.family() => Self::of_type(said),
            // What is declared a time and says that it is a string dodges the rule for times.
            _ => Self::UNKNOWN,
        }
    }

    /// The type of an attribute of the element that was stepped into.
    pub fn attribute(self, attribute: &Attribute) -> AttributeType {
        attribute_type(self.cda_type(), attribute.ns, attribute.name)
    }

    /// The elements that may be stepped into.
    pub(super) fn children(self) -> impl Iterator<Item = (Ns, NameId)> {
        DICTIONARY.children.get(usize::from(self.0)).into_iter().flatten().map(|(name, _)| {
            let ns = if name & 1 == 0 { Ns::V3 } else { Ns::Sdtc };
            (ns, NameId(name >> 1))
        })
    }
}

/// The type of an attribute of an element of a type.
#[expect(clippy::unnested_or_patterns, reason = "a line for each family of types")]
pub fn attribute_type(of: CdaType, ns: Ns, name: NameId) -> AttributeType {
    use AttributeType::{
        Code, CodeSystem, Display, Extension, Layout, Link, Namespace, NarrativeId, Root, Structural, Text, Unit,
        Unknown, Value,
    };

    let family = of.family();
    let text = name_text(name);
    match ns {
        Ns::Xmlns => return Namespace,
        _ if family == Family::Unknown => return Unknown,
        Ns::Xsi => {
            return match text {
                "type" | "nil" => Structural,
                "schemaLocation" | "noNamespaceSchemaLocation" => Link,
                _ => Unknown,
            };
        }
        Ns::Xml if matches!(text, "lang" | "space") => return Structural,
        Ns::Sdtc if matches!(text, "valueSet" | "valueSetVersion") => return CodeSystem,
        Ns::None => {}
        _ => return Unknown,
    }
    if text == "nullFlavor" && family != Family::Narrative {
        return Structural;
    }
    match (family, text) {
        (
            Family::Structure,
            "classCode"
            | "moodCode"
            | "typeCode"
            | "determinerCode"
            | "contextControlCode"
            | "contextConductionInd"
            | "inversionInd"
            | "negationInd"
            | "independentInd",
        )
        | (Family::Name, "use")
        | (
            Family::NamePart | Family::AddressPart,
            "partType" | "qualifier" | "language" | "mediaType" | "representation",
        )
        | (Family::Address, "use" | "isNotOrdered")
        | (Family::Telecom | Family::Reference, "use")
        | (Family::Id | Family::Template, "displayable")
        | (Family::Time, "operator" | "inclusive" | "institutionSpecified" | "alignment")
        | (Family::Quantity, "operator" | "inclusive")
        | (Family::Code, "operator" | "inverted")
        | (Family::Qualifier, "inverted")
        | (Family::Text, "mediaType" | "language" | "representation" | "compression" | "integrityCheckAlgorithm") => {
            Structural
        }
        (Family::Structure | Family::Narrative, "ID") | (Family::Narrative, "IDREF" | "referencedObject") => {
            NarrativeId
        }
        (Family::Id | Family::Template, "root") => Root,
        (Family::Id | Family::Template, "extension") => Extension,
        (Family::Telecom | Family::Time | Family::Quantity | Family::Boolean, "value") => Value,
        (Family::Reference, "value") | (Family::Narrative, "href") => Link,
        (Family::Time, "unit") | (Family::Quantity, "unit" | "currency") => Unit,
        (Family::Code, "code") => Code,
        (Family::Code, "codeSystem" | "codeSystemName" | "codeSystemVersion" | "valueSet" | "valueSetVersion") => {
            CodeSystem
        }
        (Family::Code, "displayName") => Display,
        // SC and PQR have a code beside their value.
        (Family::Text, _) if of == CdaType::Sc => attribute_type(CdaType::Ce, ns, name),
        (Family::Quantity, _) if of == CdaType::Pqr => attribute_type(CdaType::Ce, ns, name),
        // A digest of the content tells what the content was.
        (Family::Text, "integrityCheck")
        | (Family::Id | Family::Template, "assigningAuthorityName")
        | (Family::Narrative, "title" | "summary" | "abbr" | "name" | "axis" | "headers") => Text,
        (Family::Narrative, "language" | "mediaType") => Layout,
        (Family::Narrative, _) if LAYOUT.contains(&text) => Layout,
        _ => Unknown,
    }
}

/// The type of an element that stands in a value of a type; [`CdaType::Unknown`] when none of this name does.
pub fn part_type(of: CdaType, ns: Ns, name: NameId) -> CdaType {
    State::of_type(of).step(ns, name).cda_type()
}

/// What a value of a type is made of: its elements and attributes, by name.
pub fn parts(of: CdaType) -> Vec<&'static str> {
    let elements = State::of_type(of).children().map(|(_, name)| name_text(name));
    let attributes = STRUCTURAL.iter().chain(DATA).chain(LAYOUT).copied();
    let attributes = attributes.filter(|text| attribute_type(of, Ns::None, name(text)) != AttributeType::Unknown);
    elements.chain(attributes).collect()
}

/// Whether a masked element keeps an attribute: it says how to read the element and nothing of its value.
pub(super) fn stays_when_masked(ns: Ns, name: NameId) -> bool {
    match ns {
        Ns::Xmlns => true,
        Ns::Xsi => name == DICTIONARY.xsi_type,
        Ns::None => {
            let text = name_text(name);
            matches!(
                text,
                "classCode"
                    | "moodCode"
                    | "typeCode"
                    | "determinerCode"
                    | "contextControlCode"
                    | "contextConductionInd"
                    | "inversionInd"
                    | "operator"
                    | "use"
            )
        }
        _ => false,
    }
}

/// The types of the elements that a path can name, each once; none when there is no such element in CDA R2.
///
/// Where `xsi:type` decides, that is [`CdaType::Any`].
pub fn of(path: &Path) -> Vec<CdaType> {
    let mut found = Vec::new();
    reach(path, |state| found.push(state.cda_type()));
    found.sort_unstable();
    found.dedup();
    found
}

/// The types of the attributes that a path with `@name` can name.
pub fn of_attribute(path: &Path) -> Vec<AttributeType> {
    let mut found = Vec::new();
    if let Some((ns, Some(name))) = path.attribute() {
        reach(path, |state| {
            // An element of any type may have the attributes of all.
            let types = if state.cda_type() == CdaType::Any { CdaType::ALL } else { &[state.cda_type()][..] };
            found.extend(types.iter().map(|of| attribute_type(*of, ns, name)));
        });
    }
    found.retain(|of| *of != AttributeType::Unknown);
    found.sort_unstable();
    found.dedup();
    found
}

/// Walks the schema and a path together; each pair of places is seen once.
fn reach(path: &Path, mut hit: impl FnMut(State)) {
    let mut seen = std::collections::HashSet::new();
    let mut todo = vec![(State::START, Progress::START)];
    while let Some((state, progress)) = todo.pop() {
        let mut children: Vec<(Ns, NameId, State)> =
            state.children().map(|(ns, name)| (ns, name, state.step(ns, name))).collect();
        if state.cda_type() == CdaType::Any {
            for of in CdaType::ALL.iter().filter(|of| of.family() != Family::Narrative) {
                let inner = State::of_type(*of);
                children.extend(inner.children().map(|(ns, name)| (ns, name, inner.step(ns, name))));
            }
        }
        for (ns, name, child) in children {
            let progress = path.advance(progress, ns, name);
            if seen.insert((child, progress)) {
                if path.is_complete(progress) {
                    hit(child);
                }
                todo.push((child, progress));
            }
        }
    }
}

/// The number of a local name, [`NameId::UNKNOWN`] outside the dictionary.
pub fn name(text: &str) -> NameId {
    name_id(text.as_bytes()).0
}

/// The number of a name and its hash.
#[inline]
pub(super) fn name_id(text: &[u8]) -> (NameId, u64) {
    let hash = fnv(text);
    let dictionary = &*DICTIONARY;
    let mut slot = hash as usize & SLOT_MASK;
    loop {
        match dictionary.slots.get(slot).copied() {
            None | Some(u16::MAX) => return (NameId::UNKNOWN, hash),
            Some(id) if dictionary.names.get(usize::from(id)).is_some_and(|name| name.as_bytes() == text) => {
                return (NameId(id), hash);
            }
            Some(_) => slot = (slot + 1) & SLOT_MASK,
        }
    }
}

/// A name as it is written; empty for [`NameId::UNKNOWN`].
pub fn name_text(name: NameId) -> &'static str {
    DICTIONARY.names.get(usize::from(name.0)).copied().unwrap_or_default()
}

/// Several times as many slots as names, so that a look-up seldom compares twice.
const SLOT_MASK: usize = (1 << 12) - 1;

/// How many names there are: what is indexed by name has this length.
pub(super) fn name_count() -> usize {
    DICTIONARY.names.len()
}

struct Dictionary {
    names: Vec<&'static str>,
    slots: Vec<u16>,
    /// By state, what may be stepped into, sorted: twice the name's number, plus one for sdtc.
    children: Vec<Vec<(u16, State)>>,
    xsi_type: NameId,
}

static DICTIONARY: LazyLock<Dictionary> = LazyLock::new(Dictionary::read);

impl Dictionary {
    fn step(&self, state: State, ns: Ns, name: NameId) -> State {
        let sdtc = match ns {
            Ns::V3 => 0,
            Ns::Sdtc => 1,
            _ => return State::UNKNOWN,
        };
        if name == NameId::UNKNOWN {
            return State::UNKNOWN;
        }
        let children = self.children.get(usize::from(state.0)).map_or(&[][..], Vec::as_slice);
        let key = name.0 << 1 | sdtc;
        let found = children.binary_search_by_key(&key, |(name, _)| *name).ok().and_then(|at| children.get(at));
        found.map_or(State::UNKNOWN, |(_, state)| *state)
    }

    fn read() -> Self {
        let lines = SCHEMA.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let classes: Vec<(&'static str, Vec<&'static str>)> = lines
            .map(|line| {
                let mut words = line.split_whitespace();
                (words.next().unwrap_or_default(), words.collect())
            })
            .collect();
        let first_class = CdaType::ALL.len();
        let numbers: HashMap<&str, usize> = classes.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();

        let mut names: Vec<&'static str> = Vec::new();
        let words = classes.iter().flat_map(|(_, words)| words).filter_map(|word| word.split_once('='));
        let elements = words.map(|(name, _)| name.strip_prefix("sdtc:").unwrap_or(name));
        names.extend(elements.chain(STRUCTURAL.iter().chain(DATA).chain(LAYOUT).copied()));
        names.sort_unstable();
        names.dedup();

        let mut slots = vec![u16::MAX; SLOT_MASK + 1];
        for (id, name) in names.iter().enumerate() {
            let mut at = fnv(name.as_bytes()) as usize & SLOT_MASK;
            while slots.get(at).is_some_and(|slot| *slot != u16::MAX) {
                at = (at + 1) & SLOT_MASK;
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = id as u16;
            }
        }

        let number = |name: &str| names.binary_search(&name).map_or(u16::MAX, |at| at as u16);
        let target = |of: &str| match CdaType::ALL.iter().find(|one| one.name() == of) {
            Some(of) => State::of_type(*of),
            None => numbers.get(of).map_or(State::UNKNOWN, |at| State((first_class + at) as u16)),
        };
        let mut children: Vec<Vec<(u16, State)>> = vec![Vec::new(); first_class];
        for (_, words) in &classes {
            let mut own = Vec::new();
            for word in words {
                let included = word.strip_prefix('+').and_then(|group| numbers.get(group));
                let included = included.and_then(|at| classes.get(*at)).map_or(&[][..], |(_, words)| words.as_slice());
                for word in included.iter().chain([word]) {
                    if let Some((name, of)) = word.split_once('=') {
                        let (name, sdtc) = name.strip_prefix("sdtc:").map_or((name, 0), |name| (name, 1));
                        own.push((number(name) << 1 | sdtc, target(of)));
                    }
                }
            }
            own.sort_unstable_by_key(|(name, _)| *name);
            children.push(own);
        }
        for of in CdaType::ALL {
            let content = of.content().and_then(|class| numbers.get(class));
            let content = content.and_then(|at| children.get(first_class + at)).cloned().unwrap_or_default();
            let adapted = content.into_iter().map(|(name, state)| (name, part(*of, state))).collect();
            if let Some(own) = children.get_mut(*of as usize) {
                *own = adapted;
            }
        }
        let xsi_type = NameId(number("type"));
        Self { names, slots, children, xsi_type }
    }
}

/// The bounds of an interval of integers are integers: the schema's text names them for all quantities at once.
fn part(of: CdaType, state: State) -> State {
    match (of, state.cda_type()) {
        (CdaType::IvlInt, CdaType::Pq) => State::of_type(CdaType::Int),
        (CdaType::IvlReal, CdaType::Pq) => State::of_type(CdaType::Real),
        (CdaType::IvlMo, CdaType::Pq) => State::of_type(CdaType::Mo),
        _ => state,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn the_schema_is_whole() {
        let lines = SCHEMA.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let classes: Vec<_> = lines.map(|line| line.split_whitespace().next().unwrap()).collect();
        assert_eq!(classes[0], "Root");
        for line in SCHEMA.lines().filter(|line| !line.starts_with('#')) {
            let mut seen = std::collections::HashSet::new();
            for word in line.split_whitespace().skip(1) {
                match (word.strip_prefix('+'), word.split_once('=')) {
                    (Some(group), _) => assert!(classes.contains(&group), "{word}"),
                    (None, Some((name, of))) => {
                        let known = classes.contains(&of) || CdaType::ALL.iter().any(|one| one.name() == of);
                        assert!(known, "{word}");
                        assert!(seen.insert(name), "{word} twice");
                    }
                    (None, None) => panic!("{word}"),
                }
            }
        }
        // No name stands twice in a class after groups are taken in.
        for own in &DICTIONARY.children {
            assert!(own.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }

    #[test]
    fn every_class_is_reached_from_the_document() {
        let mut seen = std::collections::HashSet::from([State::START]);
        let mut todo = vec![State::START];
        while let Some(state) = todo.pop() {
            for (ns, name) in state.children() {
                let next = state.step(ns, name);
                if seen.insert(next) {
                    todo.push(next);
                }
            }
        }
        let lines = SCHEMA.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        for (at, line) in lines.enumerate() {
            let class = line.split_whitespace().next().unwrap();
            let is_group = ["Infrastructure", "Entries", "Participations"].contains(&class) || class.contains('_');
            assert!(is_group || seen.contains(&State((CdaType::ALL.len() + at) as u16)), "{class}");
        }
    }

    #[test]
    fn names_are_found() {
        for (at, text) in DICTIONARY.names.iter().enumerate() {
            assert_eq!(name(text), NameId(at as u16));
            assert_eq!(name_text(NameId(at as u16)), *text);
        }
        assert_eq!(name("recordtarget"), NameId::UNKNOWN);
        assert_eq!(name(""), NameId::UNKNOWN);
        assert_eq!(name_text(NameId::UNKNOWN), "");
    }
}
