//! Places: what the walk looks for by name, what it tells people of, and where changes are made.

use cordon_formats::ccda::{NameId, Ns, types};

/// Elements around people who are not the patient: of one patient, a relative of one name is one person.
const RELATIVES: [&str; 4] = ["guardian", "relatedEntity", "relatedSubject", "associatedEntity"];

/// Elements around providers and organisations.
const PROVIDERS: [&str; 18] = [
    "assignedAuthor",
    "assignedEntity",
    "intendedRecipient",
    "participantRole",
    "maintainingPerson",
    "specimenRole",
    "assignedCustodian",
    "providerOrganization",
    "representedOrganization",
    "representedCustodianOrganization",
    "manufacturerOrganization",
    "receivedOrganization",
    "scopingOrganization",
    "guardianOrganization",
    "wholeOrganization",
    "serviceProviderOrganization",
    "healthCareFacility",
    "scopingEntity",
];

/// What only carries an act or section, and goes with it.
const CARRIERS: [&str; 3] = ["component", "entry", "entryRelationship"];

/// Names that the walk knows by heart.
pub(super) struct Names {
    pub code: NameId,
    pub code_system: NameId,
    pub display_name: NameId,
    pub extension: NameId,
    pub root: NameId,
    pub title: NameId,
    pub unit: NameId,
    pub country: NameId,
    pub postal_code: NameId,
    pub observation: NameId,
    pub name: NameId,
    pub id: NameId,
    pub anchor: NameId,
    pub representation: NameId,
    pub compression: NameId,
    pub media_type: NameId,
    pub relatives: [NameId; 4],
    pub providers: [NameId; 18],
    pub carriers: [NameId; 3],
}

impl Names {
    pub fn new() -> Self {
        let name = types::name;
        Self {
            code: name("code"),
            code_system: name("codeSystem"),
            display_name: name("displayName"),
            extension: name("extension"),
            root: name("root"),
            title: name("title"),
            unit: name("unit"),
            country: name("country"),
            postal_code: name("postalCode"),
            observation: name("observation"),
            name: name("name"),
            id: name("id"),
            anchor: name("ID"),
            representation: name("representation"),
            compression: name("compression"),
            media_type: name("mediaType"),
            relatives: RELATIVES.map(name),
            providers: PROVIDERS.map(name),
            carriers: CARRIERS.map(name),
        }
    }
}

/// A place for messages to people.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    pub parent: NameId,
    pub element: NameId,
    pub leaf: Leaf,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Leaf {
    Element,
    Text,
    Attribute(Ns, NameId),
    Comment,
    Instruction,
}

impl Spot {
    /// `patientRole/id/@extension`. A name that CDA does not have shows as `?`: names are data too.
    pub(super) fn name(self) -> String {
        let text = |name: NameId| if name == NameId::UNKNOWN { "?" } else { types::name_text(name) };
        let parent = types::name_text(self.parent);
        let parent = if parent.is_empty() { String::new() } else { format!("{parent}/") };
        let element = text(self.element);
        match self.leaf {
            Leaf::Element => format!("{parent}{element}"),
            Leaf::Text => format!("{parent}{element}/text()"),
            Leaf::Comment => "comment()".to_owned(),
            Leaf::Instruction => "processing-instruction()".to_owned(),
            Leaf::Attribute(ns, attribute) => {
                let prefix = match ns {
                    Ns::Xsi => "xsi:",
                    Ns::Sdtc => "sdtc:",
                    Ns::Xml => "xml:",
                    Ns::Xmlns => return format!("{parent}{element}/@xmlns"),
                    _ => "",
                };
                format!("{parent}{element}/@{prefix}{}", text(attribute))
            }
        }
    }
}

/// Where a change is made.
#[derive(Clone, Copy)]
pub(super) enum What {
    Attribute {
        event: usize,
        at: usize,
        spelling: Spelling,
    },
    /// The text that stands directly in an element.
    OwnText {
        event: usize,
    },
    /// All that stands in an element.
    Content {
        event: usize,
    },
    /// One piece of text.
    Piece {
        event: usize,
    },
    /// An element, comment or processing instruction.
    Whole {
        event: usize,
    },
    Declaration {
        event: usize,
    },
}

/// How a result is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Plain,
    /// A root has no room but for an OID or a UUID.
    Uuid,
    /// A name that begins with a letter.
    Anchor,
    /// `#` and such a name.
    Link,
}

pub(super) struct Target {
    pub what: What,
    /// The value that it is of, by its number among the batch's.
    pub node: Option<u32>,
    pub spot: Spot,
}

/// A value, and what is left of it.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub event: usize,
    /// The value that it is a part of.
    pub parent: Option<u32>,
    /// Whether something of it stays, whatever kernels make of the rest.
    pub alive: bool,
    /// Whether something of it does not stay.
    pub lost: bool,
    pub disposal: Disposal,
    pub labels: Labels,
}

/// How many attributes of a value stay that mean nothing without it: they go where nothing else of it is left.
#[derive(Clone, Copy, Default)]
pub(super) struct Labels {
    /// The standard's own words, which stay with a mask.
    pub structure: u32,
    /// Units, code systems and the like.
    pub own: u32,
    /// Of markup within it.
    pub inner: u32,
}

/// What becomes of an element of which nothing is left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposal {
    Mask,
    Remove,
    Empty,
}
