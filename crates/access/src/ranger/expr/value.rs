//! What an expression is made of and comes to.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::parse::Function;
use super::{MAX_NEST, MAX_TEXT};

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error of JavaScript, such as a property of `null`.
    Thrown(String),
    /// Not among what is interpreted, or over a bound.
    Unsupported(String),
}

pub(super) fn thrown<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Thrown(what.into()))
}

pub(super) fn unsupported<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Unsupported(what.into()))
}

/// What an expression is made of and comes to. Lists and objects never change once made.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(Rc<str>),
    List(Rc<Vec<Value>>),
    Object(Rc<BTreeMap<String, Value>>),
    Function(Arc<Function>, Rc<Vec<(Arc<str>, Value)>>),
    /// Something of the environment, by its number there.
    Native(u32),
    /// A method of the language's own objects, such as `Object.keys`.
    Builtin(&'static str),
}

impl Value {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(Rc::from(text))
    }

    pub(crate) fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(Rc::new(texts.into_iter().map(|text| Self::text(text.as_ref())).collect()))
    }

    pub(crate) fn or_null(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    pub(crate) fn is_nullish(&self) -> bool {
        matches!(self, Self::Undefined | Self::Null)
    }

    pub(crate) fn truthy(&self) -> bool {
        match self {
            Self::Undefined | Self::Null => false,
            Self::Bool(flag) => *flag,
            Self::Number(number) => *number != 0.0 && !number.is_nan(),
            Self::Text(text) => !text.is_empty(),
            _ => true,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Null | Self::List(_) | Self::Object(_) => "object",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::Function(..) | Self::Builtin(_) => "function",
            Self::Native(number) => {
                if *number < FUNCTIONS {
                    "object"
                } else {
                    "function"
                }
            }
        }
    }

    /// As `String(value)` writes it.
    pub(crate) fn show(&self) -> Result<String, Fault> {
        let mut out = String::new();
        self.write(&mut out, 0)?;
        Ok(out)
    }

    pub(super) fn write(&self, out: &mut String, depth: usize) -> Result<(), Fault> {
        if depth > MAX_NEST || out.len() > MAX_TEXT {
            return unsupported("the text grows too large");
        }
        match self {
            Self::Undefined => out.push_str("undefined"),
            Self::Null => out.push_str("null"),
            Self::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Number(number) => out.push_str(&number_text(*number)),
            Self::Text(text) => out.push_str(text),
            Self::List(list) => {
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    if !value.is_nullish() {
                        value.write(out, depth + 1)?;
                    }
                }
            }
            Self::Object(_) => out.push_str("[object Object]"),
            Self::Function(..) | Self::Builtin(_) | Self::Native(_) => {
                return unsupported("a function or an object of Ranger as a text");
            }
        }
        Ok(())
    }

    pub(super) fn number(&self) -> Result<f64, Fault> {
        Ok(match self {
            Self::Undefined => f64::NAN,
            Self::Null => 0.0,
            Self::Bool(flag) => f64::from(u8::from(*flag)),
            Self::Number(number) => *number,
            Self::Text(text) => parse_number(text),
            other => parse_number(&other.show()?),
        })
    }

    pub(super) fn from_json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(*flag),
            serde_json::Value::Number(number) => Self::Number(number.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => Self::text(text),
            serde_json::Value::Array(list) => Self::List(Rc::new(list.iter().map(Self::from_json).collect())),
            serde_json::Value::Object(map) => {
                Self::Object(Rc::new(map.iter().map(|(name, value)| (name.clone(), Self::from_json(value))).collect()))
            }
        }
    }

    pub(super) fn to_json(&self, depth: usize) -> Result<Option<serde_json::Value>, Fault> {
        if depth > MAX_NEST {
            return unsupported("nested too deep");
        }
        Ok(Some(match self {
            Self::Undefined | Self::Function(..) | Self::Builtin(_) => return Ok(None),
            Self::Native(_) => return unsupported("an object of Ranger as JSON"),
            Self::Null => serde_json::Value::Null,
            Self::Bool(flag) => serde_json::Value::Bool(*flag),
            Self::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                serde_json::Value::from(*number as i64)
            }
            Self::Number(number) => {
                serde_json::Number::from_f64(*number).map_or(serde_json::Value::Null, serde_json::Value::Number)
            }
            Self::Text(text) => serde_json::Value::String(text.to_string()),
            Self::List(list) => {
                let mut out = Vec::new();
                for value in list.iter() {
                    out.push(value.to_json(depth + 1)?.unwrap_or(serde_json::Value::Null));
                }
                serde_json::Value::Array(out)
            }
            Self::Object(map) => {
                let mut out = serde_json::Map::new();
                for (name, value) in map.iter() {
                    if let Some(value) = value.to_json(depth + 1)? {
                        out.insert(name.clone(), value);
                    }
                }
                serde_json::Value::Object(out)
            }
        }))
    }
}

/// Natives from this number on are functions.
pub(crate) const FUNCTIONS: u32 = 100;

pub(super) fn parse_number(text: &str) -> f64 {
    let text = text.trim();
    if text.is_empty() {
        return 0.0;
    }
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).map_or(f64::NAN, |number| number as f64);
    }
    match text {
        "Infinity" | "+Infinity" => return f64::INFINITY,
        "-Infinity" => return f64::NEG_INFINITY,
        _ => {}
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) {
        text.parse().unwrap_or(f64::NAN)
    } else {
        f64::NAN
    }
}

pub(super) fn number_text(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else if number == 0.0 {
        "0".to_owned()
    } else if number.abs() >= 1e21 || number.abs() < 1e-6 {
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
            _ => text,
        }
    } else {
        format!("{number}")
    }
}
