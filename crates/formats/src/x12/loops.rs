//! Where in a transaction set a segment stands: its loop, its level of the hierarchy, and whose segment it is.
//!
//! Segments are matched with the loops of the implementation guide in the order of the guide, by the qualifiers that part
//! one loop from another. Senders do not always keep to the order: what does not fit is looked for in every open loop
//! without regard to order, and what fits nowhere belongs to the loop that it stands in, and is told as unexpected. Nothing
//! is ever refused.

use std::collections::HashMap;

use super::dictionary::{Dictionary, Guide, Node};
use super::interchange::{Segment, Transaction};

/// Where one segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `2010BA`; `header`, `detail` or `footer` outside of numbered loops, and nothing for ST, SE and sets without a guide.
    pub loop_id: &'static str,
    /// Whether the guide has this segment here.
    pub is_expected: bool,
    /// Number of the [`Level`] that it belongs to.
    pub level: Option<u32>,
    /// Number of the [`Subject`] whose it is.
    pub subject: Option<u32>,
    /// The segment that names whom this one is about (NM1, N1): N3, N4, DMG, REF and PER follow it.
    pub party: Option<u32>,
}

/// A level of the hierarchy: an HL segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The number of its segment.
    pub segment: u32,
    /// The level above (HL-2), when there is one before it.
    pub parent: Option<u32>,
    pub kind: LevelKind,
}

/// HL-3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelKind {
    /// 20, information source: a payer, in a claim the billing provider.
    Source,
    /// 21.
    Receiver,
    /// 19.
    Provider,
    /// 22.
    Subscriber,
    /// 23.
    Dependent,
    /// PT, in an acknowledgment of claims.
    Patient,
    Other,
}

impl LevelKind {
    fn of(code: &[u8]) -> Self {
        match code {
            b"20" => Self::Source,
            b"21" => Self::Receiver,
            b"19" => Self::Provider,
            b"22" => Self::Subscriber,
            b"23" => Self::Dependent,
            b"PT" => Self::Patient,
            _ => Self::Other,
        }
    }
}

/// A person that a part of the set is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Where the part begins: an HL, CLP, INS or ENT segment.
    pub segment: u32,
    /// Of a dependent, the subscriber.
    pub of: Option<u32>,
    pub kind: SubjectKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    Subscriber,
    Dependent,
    /// Of an 835 (CLP) or a 277CA (HL PT): whoever was treated.
    Patient,
    /// Of an 834 (INS): a subscriber or dependent who is enrolled.
    Member,
    /// Of an 820 (ENT): whose premium is paid.
    Insured,
}

/// Where all segments of a set stand.
pub struct Outline {
    pub guide: Option<&'static Guide>,
    /// One for each segment.
    pub places: Vec<Place>,
    pub levels: Vec<Level>,
    pub subjects: Vec<Subject>,
}

impl Outline {
    /// Where the segment of this number stands.
    pub fn place(&self, segment: usize) -> Option<&Place> {
        self.places.get(segment)
    }

    pub fn of(set: &Transaction<'_>) -> Self {
        let guide = Dictionary::get().guide_of(set);
        let mut walk = Walk { guide, stack: vec![(0, 0)], loop_id: "" };
        let mut people = People {
            set: set.set(),
            levels: Vec::new(),
            subjects: Vec::new(),
            by_id: HashMap::new(),
            level: None,
            subject: None,
        };
        let mut places = Vec::with_capacity(set.len());
        // The segment that names someone, and how many loops were open then.
        let mut party: Option<(u32, usize)> = None;
        for segment in set.segments() {
            let (is_expected, opens_loop) = walk.step(&segment);
            people.step(&segment);
            let name = segment.name();
            let depth = walk.stack.len();
            if matches!(name, b"NM1" | b"N1") {
                party = Some((segment.index() as u32, depth));
            } else if opens_loop
                || party.is_some_and(|(_, opened)| depth < opened)
                || matches!(name, b"HL" | b"CLM" | b"CLP" | b"LX" | b"INS" | b"SE")
            {
                party = None;
            }
            let is_about = match name {
                b"NM1" | b"N1" | b"N2" | b"N3" | b"N4" | b"PER" | b"PRV" => true,
                b"REF" | b"DMG" if guide.is_none() => true,
                _ => walk.names_party(),
            };
            let party = party.map(|(party, _)| party).filter(|_| is_about);
            let (level, subject) = (people.level, people.subject);
            places.push(Place { loop_id: walk.loop_id, is_expected, level, subject, party });
        }
        Self { guide, places, levels: people.levels, subjects: people.subjects }
    }
}

/// The loops that are open.
struct Walk {
    guide: Option<&'static Guide>,
    /// Each with the position in it that was reached; the first is the set itself.
    stack: Vec<(u16, u16)>,
    loop_id: &'static str,
}

impl Walk {
    /// Whether the segment is expected where it stands, and whether it opens a loop.
    fn step(&mut self, segment: &Segment<'_>) -> (bool, bool) {
        let Some(guide) = self.guide else {
            return (false, false);
        };
        // Whatever a guide's table says, these are the ends of a set.
        if matches!(segment.name(), b"ST" | b"SE") {
            self.stack = vec![(0, 0)];
            self.loop_id = "";
            return (true, false);
        }
        let found = match self.find(guide, segment, true) {
            None if segment.name() == b"HL" => level_of(guide, segment),
            None => match self.within(guide, segment) {
                (true, found) => found,
                (false, _) => self.find(guide, segment, false),
            },
            found => found,
        };
        let Some(node) = found else {
            return (false, false);
        };
        let parent = node_at(guide, node).and_then(|node| node.parent).unwrap_or_default();
        let is_first = node_at(guide, parent).is_some_and(|parent| parent.children.first() == Some(&node));
        self.enter(guide, node);
        (true, is_first && parent != 0)
    }

    /// Whether the innermost loop has segments of this name; and the one that fits, in whatever order.
    fn within(&self, guide: &Guide, segment: &Segment<'_>) -> (bool, Option<u16>) {
        let innermost = self.stack.last().and_then(|(open, _)| node_at(guide, *open).map(|node| (*open, node)));
        let children = innermost.iter().flat_map(|(open, node)| node.children.iter().skip(usize::from(*open != 0)));
        let known = |child: &u16| {
            let inner = node_at(guide, *child)?;
            (!inner.is_loop && inner.name.as_bytes() == segment.name()).then_some((*child, inner))
        };
        let mut of_name = children.filter_map(known).peekable();
        let is_known = of_name.peek().is_some();
        (is_known, of_name.find(|(_, inner)| fits(inner, segment)).map(|(child, _)| child))
    }

    /// Whether the innermost loop is one of somebody: NM1 or N1 opens it.
    fn names_party(&self) -> bool {
        let first = || {
            let (guide, (open, _)) = (self.guide?, self.stack.last()?);
            node_at(guide, *node_at(guide, *open)?.children.first()?)
        };
        first().is_some_and(|first| matches!(first.name, "NM1" | "N1"))
    }

    /// From the innermost loop outwards: the segment in the loop, or a loop in it that the segment opens.
    fn find(&self, guide: &Guide, segment: &Segment<'_>, in_order: bool) -> Option<u16> {
        for (open, reached) in self.stack.iter().rev() {
            let Some(node) = node_at(guide, *open) else { continue };
            let from = if in_order { *reached } else { 0 };
            for (nth, child) in node.children.iter().enumerate() {
                let Some(inner) = node_at(guide, *child) else { continue };
                // What opens a loop opens another one the next time.
                let opened = nth == 0 && *open != 0 && !inner.is_loop;
                if opened || inner.position < from {
                    continue;
                }
                let found =
                    if inner.is_loop { opens(guide, inner, segment) } else { fits(inner, segment).then_some(*child) };
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Opens the loops that a node stands in.
    fn enter(&mut self, guide: &Guide, node: u16) {
        let mut path = vec![node];
        while let Some(parent) = path.last().and_then(|node| node_at(guide, *node)?.parent) {
            path.push(parent);
        }
        path.reverse();
        let position = |node: Option<&u16>| node.and_then(|node| node_at(guide, *node)).map_or(0, |node| node.position);
        let is_new = fits_first(guide, &path);
        let depth = path.len() - 1;
        for at in 0..depth {
            let (Some(open), next) = (path.get(at).copied(), position(path.get(at + 1))) else { break };
            // A loop that its first segment opens anew begins at its beginning.
            let is_same = self.stack.get(at).is_some_and(|(known, _)| *known == open) && !(is_new && at == depth - 1);
            if is_same {
                if let Some((_, reached)) = self.stack.get_mut(at) {
                    *reached = next;
                }
            } else {
                self.stack.truncate(at);
                self.stack.push((open, next));
            }
        }
        self.stack.truncate(depth);
        let innermost = self.stack.last().and_then(|(open, _)| node_at(guide, *open));
        self.loop_id = innermost.map(|node| node.name).unwrap_or_default();
    }
}

/// Whether a path ends in the first segment of its loop.
fn fits_first(guide: &Guide, path: &[u16]) -> bool {
    let [.., parent, node] = path else { return false };
    node_at(guide, *parent).is_some_and(|parent| parent.children.first() == Some(node))
}

fn node_at(guide: &Guide, node: u16) -> Option<&Node> {
    guide.nodes.get(usize::from(node))
}

/// The segment that opens a loop, when this is one: its first, or in a wrapper any.
fn opens(guide: &Guide, node: &Node, segment: &Segment<'_>) -> Option<u16> {
    let is_wrapper = node.name.bytes().any(|byte| byte.is_ascii_lowercase());
    let most = if is_wrapper { node.children.len() } else { 1 };
    node.children.iter().take(most).find_map(|child| {
        let inner = node_at(guide, *child)?;
        if inner.is_loop { opens(guide, inner, segment) } else { fits(inner, segment).then_some(*child) }
    })
}

fn fits(node: &Node, segment: &Segment<'_>) -> bool {
    if node.name.as_bytes() != segment.name() {
        return false;
    }
    if node.codes.is_empty() {
        return true;
    }
    let code = segment.code(node.key);
    node.codes.iter().any(|known| known.as_bytes() == code)
}

/// A level wherever the guide has it: branches of a hierarchy come in any order.
fn level_of(guide: &Guide, segment: &Segment<'_>) -> Option<u16> {
    (0..).zip(&guide.nodes).find(|(_, node)| !node.is_loop && fits(node, segment)).map(|(at, _)| at)
}

/// Who is spoken of.
struct People<'m> {
    set: &'m [u8],
    levels: Vec<Level>,
    subjects: Vec<Subject>,
    /// Levels by HL-1, and the subject of each.
    by_id: HashMap<&'m [u8], (u32, Option<u32>)>,
    level: Option<u32>,
    subject: Option<u32>,
}

impl<'m> People<'m> {
    fn step(&mut self, segment: &Segment<'m>) {
        match (segment.name(), self.set) {
            (b"HL", _) => self.add_level(segment),
            (b"CLP", b"835") => self.add(segment, SubjectKind::Patient, None),
            (b"INS", b"834") => self.add(segment, SubjectKind::Member, None),
            (b"ENT", b"820") => self.add(segment, SubjectKind::Insured, None),
            (b"LX" | b"PLB", b"835") | (b"SE", _) => {
                self.level = None;
                self.subject = None;
            }
            _ => {}
        }
    }

    fn add(&mut self, segment: &Segment<'m>, kind: SubjectKind, of: Option<u32>) {
        self.subject = Some(self.subjects.len() as u32);
        self.subjects.push(Subject { segment: segment.index() as u32, of, kind });
    }

    fn add_level(&mut self, segment: &Segment<'m>) {
        let kind = LevelKind::of(segment.code(3));
        let above = self.by_id.get(segment.code(2)).copied();
        let number = self.levels.len() as u32;
        self.levels.push(Level { segment: segment.index() as u32, parent: above.map(|(level, _)| level), kind });
        self.level = Some(number);
        self.subject = None;
        match kind {
            LevelKind::Subscriber => self.add(segment, SubjectKind::Subscriber, None),
            LevelKind::Dependent => self.add(segment, SubjectKind::Dependent, above.and_then(|(_, subject)| subject)),
            LevelKind::Patient => self.add(segment, SubjectKind::Patient, None),
            _ => {}
        }
        let id = segment.code(1);
        if !id.is_empty() {
            self.by_id.insert(id, (number, self.subject));
        }
    }
}
