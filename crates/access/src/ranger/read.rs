//! Fields of JSON objects, with the place of each for errors.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::RangerError;

/// Where in a document: a path that costs nothing until it is told.
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Name(&'a str),
    Index(usize),
    /// Replaces all that stands before.
    Named(String),
}

impl<'a> At<'a> {
    pub(crate) fn root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Name(name) }
    }

    pub(crate) fn field(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Name(name) }
    }

    pub(crate) fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    pub(crate) fn named(name: String) -> At<'static> {
        At { parent: None, step: Step::Named(name) }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match &self.step {
            Step::Name(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Name(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Named(name) => f.write_str(name),
        }
    }
}

/// An object whose fields are read by name; `null` is one without fields.
pub(crate) struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    at: &'a At<'a>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(value: &'a Value, at: &'a At<'a>) -> Result<Self, RangerError> {
        match value {
            Value::Null => Ok(Self { map: None, at }),
            Value::Object(map) => Ok(Self { map: Some(map), at }),
            _ => Err(wrong(at, "an object")),
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.map.into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }

    /// The field read by `read`; absent is `null`.
    pub(crate) fn with<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Value, &At<'_>) -> Result<T, RangerError>,
    ) -> Result<T, RangerError> {
        let value = self.map.and_then(|map| map.get(name)).unwrap_or(&Value::Null);
        read(value, &self.at.field(name))
    }

    pub(crate) fn get<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Value, &At<'_>) -> Result<Option<T>, RangerError>,
    ) -> Result<Option<T>, RangerError> {
        self.with(name, read)
    }

    /// Each element of a list that is not `null`.
    pub(crate) fn each<T>(
        &self,
        name: &str,
        read: impl Fn(&Value, &At<'_>) -> Result<T, RangerError>,
    ) -> Result<Vec<T>, RangerError> {
        self.with(name, |value, at| {
            list(value, at)?
                .iter()
                .enumerate()
                .filter(|(_, value)| !value.is_null())
                .map(|(index, value)| read(value, &at.index(index)))
                .collect()
        })
    }
}

fn wrong(at: &At<'_>, expected: &str) -> RangerError {
    RangerError::new(at.to_string(), format!("{expected} is expected"))
}

pub(crate) fn list<'a>(value: &'a Value, at: &At<'_>) -> Result<&'a [Value], RangerError> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(list) => Ok(list),
        _ => Err(wrong(at, "a list")),
    }
}

/// A text; numbers and flags are taken as they are written, as Ranger's reader does.
pub(crate) fn text(value: &Value, at: &At<'_>) -> Result<Option<String>, RangerError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(flag) => Ok(Some(flag.to_string())),
        _ => Err(wrong(at, "a text")),
    }
}

pub(crate) fn flag(value: &Value, at: &At<'_>) -> Result<Option<bool>, RangerError> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        _ => Err(wrong(at, "true or false")),
    }
}

pub(crate) fn integer(value: &Value, at: &At<'_>) -> Result<Option<i64>, RangerError> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => number.as_i64().map(Some).ok_or_else(|| wrong(at, "a whole number")),
        Value::String(text) => text.trim().parse().map(Some).map_err(|_| wrong(at, "a whole number")),
        _ => Err(wrong(at, "a whole number")),
    }
}

pub(crate) fn texts(value: &Value, at: &At<'_>) -> Result<Vec<String>, RangerError> {
    let mut out = Vec::new();
    for (index, value) in list(value, at)?.iter().enumerate() {
        out.extend(text(value, &at.index(index))?);
    }
    Ok(out)
}

pub(crate) fn text_map(value: &Value, at: &At<'_>) -> Result<BTreeMap<String, String>, RangerError> {
    let mut out = BTreeMap::new();
    for (name, value) in Fields::of(value, at)?.entries() {
        if let Some(value) = text(value, &at.field(name))? {
            out.insert(name.to_owned(), value);
        }
    }
    Ok(out)
}
