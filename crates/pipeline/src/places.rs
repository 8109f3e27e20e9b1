//! Where in a YAML file a thing stands that was checked after reading, and is known by its JSON pointer only.

use std::fmt;

use cordon_deid::yaml::Position;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// The shape of a document with the place of each node. Values are not kept.
#[derive(Default)]
pub struct Places {
    root: Option<Node>,
}

struct Node {
    position: Position,
    below: Below,
}

enum Below {
    Nothing,
    Items(Vec<Node>),
    Keys(Vec<(String, Node)>),
}

impl Places {
    /// A text that cannot be read has no places.
    pub fn of(text: &str) -> Self {
        Self { root: serde_saphyr::from_str(text).ok() }
    }

    /// Where the pointer (RFC 6901) leads; for what the file does not hold, where it would stand.
    pub fn find(&self, pointer: &str) -> Position {
        let Some(mut node) = self.root.as_ref() else { return Position::default() };
        for step in pointer.split('/').skip(1) {
            let name = step.replace("~1", "/").replace("~0", "~");
            let next = match &node.below {
                Below::Nothing => None,
                Below::Items(items) => name.parse::<usize>().ok().and_then(|index| items.get(index)),
                Below::Keys(keys) => keys.iter().find(|(key, _)| *key == name).map(|(_, node)| node),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.position
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Below>::deserialize(deserializer)?;
        let position = Position { line: spanned.referenced.line(), column: spanned.referenced.column() };
        Ok(Self { position, below: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Below {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BelowVisitor)
    }
}

struct BelowVisitor;

impl<'de> Visitor<'de> for BelowVisitor {
    type Value = Below;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Below, A::Error> {
        let mut keys = Vec::new();
        while let Some(entry) = map.next_entry()? {
            keys.push(entry);
        }
        Ok(Below::Keys(keys))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Below, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Below::Items(all))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Below, E> {
        Ok(Below::Nothing)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Below, E> {
        Ok(Below::Nothing)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Below, E> {
        Ok(Below::Nothing)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Below, E> {
        Ok(Below::Nothing)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Below, E> {
        Ok(Below::Nothing)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Below, E> {
        Ok(Below::Nothing)
    }

    fn visit_none<E: de::Error>(self) -> Result<Below, E> {
        Ok(Below::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Below, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, data: A) -> Result<Below, A::Error> {
        let (IgnoredAny, _) = data.variant()?;
        Ok(Below::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_to_line_and_column() {
        let text = "project: x\naccess:\n  users:\n    - { name: ana, roles: [research] }\n    - name: ben\n      roles:\n        - reserch\n";
        let places = Places::of(text);
        let at = |pointer: &str| (places.find(pointer).line, places.find(pointer).column);
        assert_eq!(at("/access/users/1/roles/0"), (7, 11));
        assert_eq!(at("/access/users/0/roles/0"), (4, 28));
        assert_eq!(at("/access/users/1/name"), (5, 13));
        assert_eq!(at("/access/users/1/roles/9").0, 7, "what is not there stands where its list does");
        assert_eq!(Places::of("a: [").find("/a"), Position::default());
    }
}
