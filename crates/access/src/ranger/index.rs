//! Finds what may match a resource without asking everything: one step of a tree per level of the resource.
//!
//! The tree answers with more than what matches, never with less; each answer is still compared in full.

use std::borrow::Cow;

use hashbrown::HashMap;

use super::matcher::Key;
use super::request::ElementScope;
use super::resource::{ResourceMatcher, View};
use super::wildcard::fold;

/// Of a resource with more combinations of values than this, levels are left open.
const MAX_PATHS: usize = 1024;

#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    here: Vec<u32>,
    branches: Vec<(u8, Branch)>,
}

#[derive(Clone, Debug, Default)]
struct Branch {
    exact: HashMap<Box<str>, u32>,
    /// By length in bytes, so that a value is cut and looked up once for each length there is.
    prefixes: Vec<(usize, HashMap<Box<str>, u32>)>,
    any: Option<u32>,
}

fn folded(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().map(fold).collect())
    }
}

enum Step {
    Exact(Box<str>),
    Prefix(Box<str>),
    Any,
}

fn enter(map: &mut HashMap<Box<str>, u32>, key: &str, fresh: u32) -> u32 {
    if let Some(known) = map.get(key) {
        return *known;
    }
    map.insert(Box::from(key), fresh);
    fresh
}

impl Index {
    pub(crate) fn new<'m>(entries: impl IntoIterator<Item = (u32, &'m ResourceMatcher)>) -> Self {
        let mut index = Self { nodes: vec![Node::default()] };
        for (id, matcher) in entries {
            index.insert(id, matcher);
        }
        index
    }

    fn insert(&mut self, id: u32, matcher: &ResourceMatcher) {
        let mut path: Vec<(u8, Vec<Step>)> = matcher
            .path()
            .into_iter()
            .map(|(level, element)| {
                let mut steps = Vec::new();
                for key in element.keys() {
                    steps.push(match key {
                        Key::Exact(value) => Step::Exact(folded(value).into()),
                        Key::Prefix(value) => Step::Prefix(folded(value).into()),
                        Key::Any => Step::Any,
                    });
                }
                if steps.iter().any(|step| matches!(step, Step::Any)) {
                    steps = vec![Step::Any];
                }
                (level, steps)
            })
            .collect();
        while path.iter().map(|(_, steps)| steps.len()).fold(1, usize::saturating_mul) > MAX_PATHS {
            let Some((_, widest)) = path.iter_mut().max_by_key(|(_, steps)| steps.len()) else { break };
            *widest = vec![Step::Any];
        }
        let mut at = vec![0];
        for (level, steps) in &path {
            at = at
                .iter()
                .flat_map(|node| steps.iter().map(|step| (*node, step)).collect::<Vec<_>>())
                .filter_map(|(node, step)| self.step(node, *level, step))
                .collect();
        }
        for node in at {
            if let Some(node) = self.nodes.get_mut(node as usize)
                && node.here.last() != Some(&id)
            {
                node.here.push(id);
            }
        }
    }

    fn step(&mut self, node: u32, level: u8, step: &Step) -> Option<u32> {
        let fresh = self.nodes.len() as u32;
        let node = self.nodes.get_mut(node as usize)?;
        let known = node.branches.iter().position(|(of, _)| *of == level);
        let at = known.unwrap_or_else(|| {
            node.branches.push((level, Branch::default()));
            node.branches.len() - 1
        });
        let (_, branch) = node.branches.get_mut(at)?;
        let next = match step {
            Step::Any => *branch.any.get_or_insert(fresh),
            Step::Exact(value) => enter(&mut branch.exact, value, fresh),
            Step::Prefix(value) => {
                let known = branch.prefixes.iter().position(|(length, _)| *length == value.len());
                let at = known.unwrap_or_else(|| {
                    branch.prefixes.push((value.len(), HashMap::new()));
                    branch.prefixes.len() - 1
                });
                let (_, map) = branch.prefixes.get_mut(at)?;
                enter(map, value, fresh)
            }
        };
        if next == fresh {
            self.nodes.push(Node::default());
        }
        Some(next)
    }

    /// What may match, in rising order. `below` also finds what is for something below the resource.
    pub(crate) fn find(&self, view: &View<'_>, below: bool, out: &mut Vec<u32>) {
        out.clear();
        let mut open: Vec<u32> = vec![0];
        while let Some(node) = open.pop() {
            let Some(node) = self.nodes.get(node as usize) else { continue };
            out.extend_from_slice(&node.here);
            for (level, branch) in &node.branches {
                match view.value(*level) {
                    Some(values) if view.scope(*level) == ElementScope::SelfOnly => {
                        for value in values {
                            let value = folded(value);
                            open.extend(branch.exact.get(value.as_ref()));
                            for (length, map) in &branch.prefixes {
                                open.extend(value.get(..*length).and_then(|head| map.get(head)));
                            }
                        }
                        open.extend(branch.any);
                    }
                    None if !below => open.extend(branch.any),
                    _ => branch.all(&mut open),
                }
            }
        }
        out.sort_unstable();
        out.dedup();
    }
}

impl Branch {
    fn all(&self, open: &mut Vec<u32>) {
        open.extend(self.exact.values());
        for (_, map) in &self.prefixes {
            open.extend(map.values());
        }
        open.extend(self.any);
    }
}
