//! Text to tokens.

use super::value::parse_number;
use super::{MAX_NODES, MAX_SOURCE};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Number(f64),
    Text(String),
    Word(String),
    Sign(&'static str),
    End,
}

const SIGNS: &[&str] = &[
    "===", "!==", "...", "**=", ">>>", "=>", "==", "!=", "<=", ">=", "&&", "||", "??", "?.", "++", "--", "+=", "-=",
    "*=", "/=", "%=", "**", "<<", ">>", "{", "}", "(", ")", "[", "]", ";", ",", "<", ">", "+", "-", "*", "/", "%", "!",
    "?", ":", "=", ".", "&", "|", "^", "~",
];

pub(super) fn tokens(source: &str) -> Result<Vec<(Token, bool)>, String> {
    if source.len() > MAX_SOURCE {
        return Err("the expression is too long".to_owned());
    }
    let mut out = Vec::new();
    let mut rest = source;
    let mut newline = false;
    loop {
        let trimmed = rest.trim_start();
        let skipped = rest.len() - trimmed.len();
        newline |= rest.get(..skipped).is_some_and(|blank| blank.contains('\n'));
        rest = trimmed;
        let Some(first) = rest.chars().next() else { break };
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').and_then(|end| comment.get(end..)).unwrap_or("");
            continue;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.find("*/").ok_or("a comment has no end")?;
            rest = comment.get(end + 2..).unwrap_or("");
            continue;
        }
        let token;
        if first.is_ascii_digit() || (first == '.' && rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit())) {
            let mut length = 0;
            let bytes = rest.as_bytes();
            while let Some(byte) = bytes.get(length) {
                let exponent =
                    length > 0 && matches!(bytes.get(length - 1), Some(b'e' | b'E')) && !rest.starts_with("0x");
                if byte.is_ascii_alphanumeric() || *byte == b'.' || (exponent && matches!(byte, b'+' | b'-')) {
                    length += 1;
                } else {
                    break;
                }
            }
            let (text, after) = rest.split_at_checked(length).ok_or("a number cannot be read")?;
            let number = parse_number(text);
            if number.is_nan() {
                return Err("a number cannot be read".to_owned());
            }
            rest = after;
            token = Token::Number(number);
        } else if first == '"' || first == '\'' {
            let (text, after) = quoted(rest, first)?;
            rest = after;
            token = Token::Text(text);
        } else if first.is_alphabetic() || first == '_' || first == '$' {
            let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(length).ok_or("a name cannot be read")?;
            rest = after;
            token = Token::Word(word.to_owned());
        } else {
            let sign = SIGNS
                .iter()
                .find(|sign| rest.starts_with(**sign))
                .ok_or_else(|| format!("`{first}` is not interpreted"))?;
            rest = rest.get(sign.len()..).unwrap_or("");
            token = Token::Sign(sign);
        }
        out.push((token, newline));
        newline = false;
        if out.len() > MAX_NODES * 4 {
            return Err("the expression is too long".to_owned());
        }
    }
    Ok(out)
}

fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut chars = text.chars();
    chars.next();
    let mut out = String::new();
    loop {
        match chars.next() {
            None | Some('\n') => return Err("a text has no end".to_owned()),
            Some(c) if c == quote => return Ok((out, chars.as_str())),
            Some('\\') => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('b') => out.push('\u{8}'),
                Some('f') => out.push('\u{c}'),
                Some('v') => out.push('\u{b}'),
                Some('0') => out.push('\0'),
                Some('\n') => {}
                Some(kind @ ('u' | 'x')) => {
                    let width = if kind == 'u' { 4 } else { 2 };
                    let (digits, _) = chars.as_str().split_at_checked(width).ok_or("an escape cannot be read")?;
                    let code = u32::from_str_radix(digits, 16).map_err(|_| "an escape cannot be read")?;
                    out.push(char::from_u32(code).ok_or("an escape cannot be read")?);
                    chars.nth(width - 1);
                }
                Some(c) => out.push(c),
                None => return Err("a text has no end".to_owned()),
            },
            Some(c) => out.push(c),
        }
    }
}
