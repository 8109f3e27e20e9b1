//! JSON as Ranger's files have it: strict, or with the liberties that its own reader takes.
//!
//! Audit filters stand in a service's configuration with single quotes, and exported files now and then have a comma
//! too many. Strict JSON is tried first, so that the liberties never change what a correct file says.

use serde_json::{Map, Number, Value};

use super::RangerError;

/// How deep lists and objects may stand in each other.
const MAX_DEPTH: usize = 64;

/// Reads strict JSON, or JSON with single quotes, unquoted names, comments and superfluous commas (an element left out
/// is `null`).
pub fn parse(text: &str) -> Result<Value, RangerError> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(_) => Lenient { text, at: 0 }.document(),
    }
}

struct Lenient<'a> {
    text: &'a str,
    at: usize,
}

impl Lenient<'_> {
    fn document(mut self) -> Result<Value, RangerError> {
        let value = self.value(0)?;
        self.blank();
        if self.peek().is_some() {
            return Err(self.error("something stands after the end"));
        }
        Ok(value)
    }

    fn error(&self, what: &str) -> RangerError {
        let before = self.text.get(..self.at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        RangerError::new(format!("line {line} column {column}"), what)
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..).and_then(|rest| rest.chars().next())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn blank(&mut self) {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            if rest.starts_with("//") || rest.starts_with('#') {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.at += rest.find("*/").map_or(rest.len(), |end| end + 2);
            } else if rest.starts_with(|c: char| c.is_whitespace() || c == '\u{feff}') {
                self.next();
            } else {
                return;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, RangerError> {
        if depth > MAX_DEPTH {
            return Err(self.error("lists and objects stand too deep in each other"));
        }
        self.blank();
        match self.peek() {
            None => Err(self.error("the text ends early")),
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some(quote @ ('"' | '\'')) => Ok(Value::String(self.quoted(quote)?)),
            Some(_) => Ok(word(self.bare()?)),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, RangerError> {
        self.next();
        let mut map = Map::new();
        loop {
            self.blank();
            match self.peek() {
                Some('}') => {
                    self.next();
                    return Ok(Value::Object(map));
                }
                Some(',' | ';') => {
                    self.next();
                }
                None => return Err(self.error("an object is not closed")),
                Some(c) => {
                    let name = match c {
                        '"' | '\'' => self.quoted(c)?,
                        _ => self.bare()?.to_owned(),
                    };
                    self.blank();
                    if !matches!(self.next(), Some(':' | '=')) {
                        return Err(self.error("a name without a value"));
                    }
                    let value = self.value(depth + 1)?;
                    map.insert(name, value);
                }
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, RangerError> {
        self.next();
        let mut list = Vec::new();
        let mut due = false;
        loop {
            self.blank();
            match self.peek() {
                None => return Err(self.error("a list is not closed")),
                Some(']') => {
                    self.next();
                    if due {
                        list.push(Value::Null);
                    }
                    return Ok(Value::Array(list));
                }
                Some(',' | ';') => {
                    self.next();
                    list.push(Value::Null);
                    due = true;
                }
                Some(_) => {
                    list.push(self.value(depth + 1)?);
                    self.blank();
                    due = matches!(self.peek(), Some(',' | ';'));
                    if due {
                        self.next();
                    } else if self.peek() != Some(']') {
                        return Err(self.error("a comma is missing"));
                    }
                }
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, RangerError> {
        self.next();
        let mut out = String::new();
        loop {
            match self.next() {
                None => return Err(self.error("a text is not closed")),
                Some(c) if c == quote => return Ok(out),
                Some('\\') => match self.next() {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some('b') => out.push('\u{8}'),
                    Some('f') => out.push('\u{c}'),
                    Some('u') => out.push(self.escaped()?),
                    Some(c) => out.push(c),
                    None => return Err(self.error("a text is not closed")),
                },
                Some(c) => out.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, RangerError> {
        let unit = self.hex4()?;
        if (0xD800..0xDC00).contains(&unit) && self.text.get(self.at..).is_some_and(|rest| rest.starts_with("\\u")) {
            self.at += 2;
            let low = self.hex4()?;
            if (0xDC00..0xE000).contains(&low) {
                let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return char::from_u32(code).ok_or_else(|| self.error("an escape that is no character"));
            }
        }
        char::from_u32(unit).ok_or_else(|| self.error("an escape that is no character"))
    }

    fn hex4(&mut self) -> Result<u32, RangerError> {
        let digits = self.text.get(self.at..self.at + 4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        self.at += if digits.is_some() { 4 } else { 0 };
        digits.ok_or_else(|| self.error("an escape that is no character"))
    }

    fn bare(&mut self) -> Result<&str, RangerError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest
            .find(|c: char| {
                c.is_whitespace() || matches!(c, ',' | ':' | ';' | '=' | '{' | '}' | '[' | ']' | '"' | '\'' | '#')
            })
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(self.error("a value is missing"));
        }
        self.at += end;
        Ok(rest.get(..end).unwrap_or_default())
    }
}

fn word(text: &str) -> Value {
    match text {
        "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match text.parse::<i64>() {
            Ok(number) => Value::Number(number.into()),
            Err(_) => match text.parse::<f64>().ok().and_then(Number::from_f64) {
                Some(number) if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Value::Number(number),
                _ => Value::String(text.to_owned()),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn liberties_are_read_and_nonsense_is_not() {
        assert_eq!(
            parse("[{'isAudited':false, users: [a,'b\\u0041']}]").ok(),
            Some(json!([{"isAudited": false, "users": ["a", "bA"]}]))
        );
        assert_eq!(parse("[1,,2,]").ok(), Some(json!([1, null, 2, null])));
        assert_eq!(parse("{\"a\": 1.5, // note\n 'b': -2}").ok(), Some(json!({"a": 1.5, "b": -2})));
        for bad in ["", "[", "{a}", "{a:", "'", "[1 2]", "1 2", "\"\\ud800\"", "'\\u12'"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"[a:".repeat(100_000)).is_err());
    }
}
