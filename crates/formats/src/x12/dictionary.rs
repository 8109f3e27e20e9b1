//! What segments and elements the HIPAA transactions have, and which loops their implementation guides make of them.
//!
//! The table `dictionary.txt` is written by `make_dictionary.py`. Versions 4010 and 5010 are merged: an element is as 5010
//! has it. Loops are those of each guide.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::interchange::Transaction;

/// A segment and its elements.
#[derive(Debug)]
pub struct SegmentDef {
    /// `NM1`.
    pub name: &'static str,
    /// In the order of their numbers.
    pub elements: Vec<ElementDef>,
}

/// An element of a segment.
#[derive(Debug)]
pub struct ElementDef {
    /// From 1.
    pub number: usize,
    /// `name_first`.
    pub name: &'static str,
    /// `AN`, `ID`, `DT`, `TM`, `R`, `N0`, `N2`, `B`; of a composite its number, `C003`.
    pub data_type: &'static str,
    /// X12's number of the data element, `1036`: the same wherever the same is meant.
    pub data_element: &'static str,
    /// In the order of their numbers; empty but for a composite.
    pub components: Vec<ComponentDef>,
}

/// A component of a composite element.
#[derive(Debug)]
pub struct ComponentDef {
    /// From 1.
    pub number: usize,
    pub name: &'static str,
    pub data_type: &'static str,
    pub data_element: &'static str,
}

/// The loops of one transaction set by its implementation guide.
#[derive(Debug)]
pub struct Guide {
    /// `005010X222`, addenda left off.
    pub version: &'static str,
    /// `837`.
    pub set: &'static str,
    pub(crate) nodes: Vec<Node>,
}

/// A loop or a segment of a guide.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) position: u16,
    pub(crate) parent: Option<u16>,
    /// Empty for a segment.
    pub(crate) children: Vec<u16>,
    pub(crate) is_loop: bool,
    /// Which element tells what a segment is for, and by which codes; none when any does.
    pub(crate) key: usize,
    pub(crate) codes: Vec<&'static str>,
}

impl Guide {
    /// The names of its loops in order, one that stands in two places twice; `header`, `detail` and `footer` among them.
    pub fn loops(&self) -> impl Iterator<Item = &'static str> {
        self.nodes.iter().filter(|node| node.is_loop).map(|node| node.name)
    }

    /// Whether a loop has segments of this name, those of loops within it left aside.
    pub fn has(&self, loop_id: &str, segment: &str) -> bool {
        let loops = self.nodes.iter().filter(|node| node.is_loop && node.name == loop_id);
        let mut inner = loops.flat_map(|node| &node.children).filter_map(|child| self.nodes.get(usize::from(*child)));
        inner.any(|node| !node.is_loop && node.name == segment)
    }
}

/// All of it.
#[derive(Debug)]
pub struct Dictionary {
    segments: HashMap<&'static [u8], SegmentDef>,
    guides: Vec<Guide>,
}

impl Dictionary {
    /// The dictionary, read on first use.
    pub fn get() -> &'static Self {
        static ALL: LazyLock<Dictionary> = LazyLock::new(|| Dictionary::read(include_str!("dictionary.txt")));
        &ALL
    }

    /// Reads the committed table. A line that does not fit is left out; a test holds the table to having none.
    fn read(text: &'static str) -> Self {
        let mut this = Self { segments: HashMap::new(), guides: Vec::new() };
        let mut open: Option<SegmentDef> = None;
        // The loops that are open in the guide that is read, one for each blank of indent.
        let mut path: Vec<u16> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let depth = line.len() - line.trim_start().len();
            let words: Vec<&'static str> = line.split_whitespace().collect();
            match (depth, words.as_slice()) {
                (0, ["segment", name]) => {
                    let new = SegmentDef { name, elements: Vec::new() };
                    this.close(open.replace(new));
                }
                (0, ["guide", version, set]) => {
                    this.close(open.take());
                    let root = Node {
                        name: "",
                        position: 0,
                        parent: None,
                        children: Vec::new(),
                        is_loop: true,
                        key: 0,
                        codes: Vec::new(),
                    };
                    this.guides.push(Guide { version, set, nodes: vec![root] });
                    path = vec![0];
                }
                (1, [number, name, data_type, data_element]) if open.is_some() => {
                    if let Some(segment) = &mut open {
                        add_element(segment, number, name, data_type, data_element);
                    }
                }
                (_, words) => {
                    if let Some(guide) = this.guides.last_mut() {
                        path.truncate(depth.max(1));
                        guide.add(&mut path, words);
                    }
                }
            }
        }
        this.close(open);
        this
    }

    fn close(&mut self, segment: Option<SegmentDef>) {
        if let Some(segment) = segment {
            self.segments.insert(segment.name.as_bytes(), segment);
        }
    }

    /// The segment of this name; others are nobody's but their sender's.
    pub fn segment(&self, name: impl AsRef<[u8]>) -> Option<&SegmentDef> {
        self.segments.get(name.as_ref())
    }

    /// All segments, in no order.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentDef> {
        self.segments.values()
    }

    /// An element by its number, from 1.
    pub fn element(&self, segment: impl AsRef<[u8]>, number: usize) -> Option<&ElementDef> {
        self.segment(segment)?.element(number)
    }

    /// All guides, older ones first.
    pub fn guides(&self) -> &[Guide] {
        &self.guides
    }

    /// A guide by its version, with or without addenda (`005010X222A1`), and its set.
    pub fn guide(&self, version: &str, set: impl AsRef<[u8]>) -> Option<&Guide> {
        let end = version.find('X').map_or(version.len(), |x| {
            let digits = version.bytes().skip(x + 1).take_while(u8::is_ascii_digit).count();
            x + 1 + digits
        });
        let version = version.get(..end)?;
        self.guides.iter().find(|guide| guide.version == version && guide.set.as_bytes() == set.as_ref())
    }

    /// The guide of a transaction set. Where it names none that is known, the newest of its set holds, of claims the one
    /// that has their service lines.
    pub fn guide_of(&self, set: &Transaction<'_>) -> Option<&Guide> {
        let told = set.version().and_then(|version| self.guide(version.trim(), set.set()));
        told.or_else(|| {
            let version = match set.set() {
                b"837" => {
                    let lines = set.segments().find_map(|segment| match segment.name() {
                        b"SV2" => Some("005010X223"),
                        b"SV3" => Some("005010X224"),
                        b"SV1" => Some("005010X222"),
                        _ => None,
                    });
                    lines.unwrap_or("005010X222")
                }
                b"277" if set.segments().take(3).any(|segment| segment.is(1, b"0085")) => "005010X214",
                b"277" => "005010X212",
                other => return self.guides.iter().rev().find(|guide| guide.set.as_bytes() == other),
            };
            self.guide(version, set.set())
        })
    }
}

impl SegmentDef {
    /// The element of this number, from 1.
    pub fn element(&self, number: usize) -> Option<&ElementDef> {
        let at = self.elements.binary_search_by_key(&number, |element| element.number).ok()?;
        self.elements.get(at)
    }
}

impl ElementDef {
    /// The component of this number, from 1.
    pub fn component(&self, number: usize) -> Option<&ComponentDef> {
        let at = self.components.binary_search_by_key(&number, |component| component.number).ok()?;
        self.components.get(at)
    }
}

fn add_element(
    segment: &mut SegmentDef,
    number: &'static str,
    name: &'static str,
    data_type: &'static str,
    data_element: &'static str,
) {
    if let Some((_, component)) = number.split_once('.') {
        let (Some(element), Ok(number)) = (segment.elements.last_mut(), component.parse()) else { return };
        element.components.push(ComponentDef { number, name, data_type, data_element });
    } else if let Ok(number) = number.parse() {
        segment.elements.push(ElementDef { number, name, data_type, data_element, components: Vec::new() });
    }
}

impl Guide {
    fn add(&mut self, path: &mut Vec<u16>, words: &[&'static str]) {
        let (is_loop, name, position, key) = match words {
            ["loop", name, position] => (true, *name, *position, None),
            [name, position] => (false, *name, *position, None),
            [name, position, key] => (false, *name, *position, key.split_once('=')),
            _ => return,
        };
        let (Ok(position), Ok(index)) = (position.parse(), u16::try_from(self.nodes.len())) else { return };
        let (number, codes) = key.unwrap_or_default();
        let parent = path.last().copied();
        self.nodes.push(Node {
            name,
            position,
            parent,
            children: Vec::new(),
            is_loop,
            key: number.parse().unwrap_or_default(),
            codes: codes.split(',').filter(|code| !code.is_empty()).collect(),
        });
        if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(usize::from(parent))) {
            parent.children.push(index);
        }
        if is_loop {
            path.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let table = include_str!("dictionary.txt");
        let written = table.lines().filter(|line| line.starts_with(' ')).count();
        let all = Dictionary::get();
        let elements = all.segments().flat_map(|segment| &segment.elements);
        let elements: usize = elements.map(|element| 1 + element.components.len()).sum();
        let nodes: usize = all.guides().iter().map(|guide| guide.nodes.len() - 1).sum();
        assert_eq!(elements + nodes, written);
        for segment in all.segments() {
            assert!(segment.elements.is_sorted_by_key(|element| element.number));
            assert!(segment.elements.iter().all(|e| e.components.is_sorted_by_key(|c| c.number)));
        }
        for node in all.guides().iter().flat_map(|guide| &guide.nodes).filter(|node| !node.is_loop) {
            assert!(all.segment(node.name).is_some(), "{}", node.name);
            assert_eq!(node.key == 0, node.codes.is_empty());
        }
        assert!(all.segments().count() > 100 && all.guides().len() > 20);
    }

    #[test]
    fn guides_are_found_by_version() {
        let all = Dictionary::get();
        let of = |version, set: &str| all.guide(version, set).map(|guide| (guide.version, guide.set));
        assert_eq!(of("005010X222A1", "837"), Some(("005010X222", "837")));
        assert_eq!(of("005010X222", "837"), Some(("005010X222", "837")));
        assert_eq!(of("005010X223A3", "837"), Some(("005010X223", "837")));
        assert_eq!(of("005010X224A2", "837"), Some(("005010X224", "837")));
        assert_eq!(of("005010X279A1", "271"), Some(("005010X279", "271")));
        assert_eq!(of("005010X212", "276"), Some(("005010X212", "276")));
        assert_eq!(of("005010X222", "835"), None);
        assert_eq!(of("", "835"), None);
        let loops: Vec<_> = all.guide("005010X222", "837").unwrap().loops().collect();
        assert!(["1000A", "2010AA", "2010BA", "2300", "2310B", "2400", "2430"].iter().all(|name| loops.contains(name)));
        let name = all.element("NM1", 4).unwrap();
        assert_eq!((name.name, name.data_type, name.data_element), ("name_first", "AN", "1036"));
        let code = all.element("SV1", 1).unwrap().component(2).unwrap();
        assert_eq!((code.name, code.data_element), ("product_service_id", "234"));
        assert!(all.element("NM1", 99).is_none() && all.segment("ZZZ").is_none());
    }
}
