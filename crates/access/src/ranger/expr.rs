//! The part of JavaScript that conditions and macros of policies are written in, read once and run within bounds.
//!
//! There are no loops, no regular expressions, no clock and nothing outside to reach; a program ends after a bounded
//! number of steps. What it cannot do is [`Fault::Unsupported`], told apart from an error that JavaScript itself would
//! throw: the first is decided so that nothing is granted by mistake, the second as Ranger decides it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

const MAX_SOURCE: usize = 16 * 1024;
const MAX_NODES: usize = 1000;
const MAX_NEST: usize = 48;
const MAX_DEPTH: usize = 100;
const MAX_STEPS: usize = 20_000;
const MAX_TEXT: usize = 1 << 20;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error of JavaScript, such as a property of `null`.
    Thrown(String),
    /// Not among what is interpreted, or over a bound.
    Unsupported(String),
}

fn thrown<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Thrown(what.into()))
}

fn unsupported<T>(what: impl Into<String>) -> Result<T, Fault> {
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

    fn kind(&self) -> &'static str {
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

    fn write(&self, out: &mut String, depth: usize) -> Result<(), Fault> {
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

    fn number(&self) -> Result<f64, Fault> {
        Ok(match self {
            Self::Undefined => f64::NAN,
            Self::Null => 0.0,
            Self::Bool(flag) => f64::from(u8::from(*flag)),
            Self::Number(number) => *number,
            Self::Text(text) => parse_number(text),
            other => parse_number(&other.show()?),
        })
    }

    fn from_json(value: &serde_json::Value) -> Self {
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

    fn to_json(&self, depth: usize) -> Result<Option<serde_json::Value>, Fault> {
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

fn parse_number(text: &str) -> f64 {
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

fn number_text(number: f64) -> String {
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

// ---- reading ----

#[derive(Clone, Debug, PartialEq)]
enum Token {
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

fn tokens(source: &str) -> Result<Vec<(Token, bool)>, String> {
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

#[derive(Clone, Debug)]
enum Expr {
    Value(Literal),
    Name(Arc<str>),
    List(Vec<Expr>),
    Object(Vec<(Arc<str>, Expr)>),
    Member(Box<Expr>, Arc<str>),
    Index(Box<Expr>, Box<Expr>),
    Call(Box<Expr>, Vec<Expr>),
    Not(Box<Expr>),
    Minus(Box<Expr>),
    Plus(Box<Expr>),
    Typeof(Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Coalesce(Vec<Expr>),
    Cond(Box<Expr>, Box<Expr>, Box<Expr>),
    Assign(Box<Expr>, Box<Expr>),
    Function(Arc<Function>),
}

#[derive(Clone, Debug)]
enum Literal {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(Arc<str>),
}

#[derive(Debug)]
pub(crate) struct Function {
    parameters: Vec<Arc<str>>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Expr(Expr),
    Block(Vec<Stmt>),
}

#[derive(Clone, Debug)]
enum Stmt {
    Expr(Expr),
    Var(Vec<(Arc<str>, Option<Expr>)>),
    If(Expr, Box<Stmt>, Option<Box<Stmt>>),
    Block(Vec<Stmt>),
    Return(Option<Expr>),
}

/// An expression or a sequence of statements, ready to be run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    statements: Vec<Stmt>,
}

impl Program {
    /// Reads it; what is wrong or not interpreted is said in words that quote at most one sign.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(source)?, at: 0, nodes: 0, nest: 0, functions: 0 };
        let mut statements = Vec::new();
        while *parser.peek() != Token::End {
            statements.extend(parser.statement()?);
        }
        Ok(Self { statements })
    }
}

struct Parser {
    tokens: Vec<(Token, bool)>,
    at: usize,
    nodes: usize,
    nest: usize,
    functions: usize,
}

type Parsed<T> = Result<T, String>;

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn ahead(&self, by: usize) -> &Token {
        self.tokens.get(self.at + by).map_or(&Token::End, |(token, _)| token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found == word)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.eat(sign) { Ok(()) } else { Err(format!("`{sign}` is expected")) }
    }

    fn node<T>(&mut self, node: T) -> Parsed<T> {
        self.nodes += 1;
        if self.nodes > MAX_NODES { Err("the expression is too long".to_owned()) } else { Ok(node) }
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.nest += 1;
        if self.nest > MAX_NEST {
            return Err("the expression is nested too deep".to_owned());
        }
        let out = read(self)?;
        self.nest -= 1;
        Ok(out)
    }

    fn name(&mut self) -> Parsed<Arc<str>> {
        match self.next() {
            Token::Word(word) => Ok(Arc::from(word)),
            _ => Err("a name is expected".to_owned()),
        }
    }

    /// A `;`, or where JavaScript supplies one.
    fn end(&mut self) -> Parsed<()> {
        let newline = self.tokens.get(self.at).is_none_or(|(_, newline)| *newline);
        if self.eat(";") || self.is("}") || newline { Ok(()) } else { Err("`;` is expected".to_owned()) }
    }

    fn statement(&mut self) -> Parsed<Option<Stmt>> {
        if self.eat(";") {
            return Ok(None);
        }
        self.nested(|parser| parser.statement_inner().map(Some))
    }

    fn block(&mut self) -> Parsed<Vec<Stmt>> {
        self.expect("{")?;
        let mut out = Vec::new();
        while !self.eat("}") {
            if *self.peek() == Token::End {
                return Err("`}` is expected".to_owned());
            }
            out.extend(self.statement()?);
        }
        Ok(out)
    }

    fn statement_inner(&mut self) -> Parsed<Stmt> {
        if self.is("{") {
            return Ok(Stmt::Block(self.block()?));
        }
        let word = match self.peek() {
            Token::Word(word) => word.as_str(),
            _ => "",
        };
        match word {
            "var" | "let" | "const" => {
                self.at += 1;
                let mut variables = Vec::new();
                loop {
                    let name = self.name()?;
                    let value = if self.eat("=") { Some(self.expression()?) } else { None };
                    variables.push(self.node((name, value))?);
                    if !self.eat(",") {
                        break;
                    }
                }
                self.end()?;
                Ok(Stmt::Var(variables))
            }
            "if" => {
                self.at += 1;
                self.expect("(")?;
                let test = self.comma()?;
                self.expect(")")?;
                let yes = self.statement()?.unwrap_or(Stmt::Block(Vec::new()));
                let no = if self.is_word("else") {
                    self.at += 1;
                    Some(Box::new(self.statement()?.unwrap_or(Stmt::Block(Vec::new()))))
                } else {
                    None
                };
                self.node(Stmt::If(test, Box::new(yes), no))
            }
            "return" if self.functions > 0 => {
                self.at += 1;
                let value = if self.is(";") || self.is("}") { None } else { Some(self.comma()?) };
                self.end()?;
                self.node(Stmt::Return(value))
            }
            "for" | "while" | "do" | "switch" | "try" | "throw" | "function" | "class" | "with" | "import"
            | "export" | "return" | "break" | "continue" | "async" | "load" => {
                Err(format!("`{word}` is not interpreted"))
            }
            _ => {
                let value = self.comma()?;
                self.end()?;
                Ok(Stmt::Expr(value))
            }
        }
    }

    fn comma(&mut self) -> Parsed<Expr> {
        let value = self.expression()?;
        if self.is(",") { Err("`,` between expressions is not interpreted".to_owned()) } else { Ok(value) }
    }

    fn expression(&mut self) -> Parsed<Expr> {
        self.nested(Self::assignment)
    }

    fn assignment(&mut self) -> Parsed<Expr> {
        if let Some(function) = self.function()? {
            return Ok(function);
        }
        let target = self.conditional()?;
        let operator = match self.peek() {
            Token::Sign(sign @ ("=" | "+=" | "-=" | "*=" | "/=" | "%=")) => *sign,
            Token::Sign("++" | "--" | "**=" | "=>") => return Err("an operator is not interpreted".to_owned()),
            _ => return Ok(target),
        };
        if !matches!(target, Expr::Name(_) | Expr::Member(..)) {
            return Err("nothing can be assigned there".to_owned());
        }
        self.at += 1;
        let mut value = self.expression()?;
        let operator = match operator {
            "+=" => "+",
            "-=" => "-",
            "*=" => "*",
            "/=" => "/",
            "%=" => "%",
            _ => "",
        };
        if !operator.is_empty() {
            value = self.node(Expr::Binary(operator, Box::new(target.clone()), Box::new(value)))?;
        }
        self.node(Expr::Assign(Box::new(target), Box::new(value)))
    }

    /// `x => …`, `(x, y) => …` or `function (x) {…}`, where one stands here.
    fn function(&mut self) -> Parsed<Option<Expr>> {
        let mut parameters = Vec::new();
        if self.is_word("function") {
            self.at += 1;
            if let Token::Word(_) = self.peek() {
                self.at += 1;
            }
            self.expect("(")?;
            while !self.eat(")") {
                parameters.push(self.name()?);
                if !self.is(")") {
                    self.expect(",")?;
                }
            }
            self.functions += 1;
            let body = Body::Block(self.block()?);
            self.functions -= 1;
            return self.node(Some(Expr::Function(Arc::new(Function { parameters, body }))));
        }
        let single = matches!(self.peek(), Token::Word(_)) && *self.ahead(1) == Token::Sign("=>");
        if !single {
            if !self.is("(") {
                return Ok(None);
            }
            let mut by = 1;
            while let Token::Word(_) = self.ahead(by) {
                by += 1;
                if *self.ahead(by) == Token::Sign(",") {
                    by += 1;
                }
            }
            if *self.ahead(by) != Token::Sign(")") || *self.ahead(by + 1) != Token::Sign("=>") {
                return Ok(None);
            }
        }
        let bracket = self.eat("(");
        while let Token::Word(_) = self.peek() {
            parameters.push(self.name()?);
            self.eat(",");
        }
        if bracket {
            self.expect(")")?;
        }
        self.expect("=>")?;
        let body = if self.is("{") {
            self.functions += 1;
            let block = self.block()?;
            self.functions -= 1;
            Body::Block(block)
        } else {
            Body::Expr(self.expression()?)
        };
        self.node(Some(Expr::Function(Arc::new(Function { parameters, body }))))
    }

    fn conditional(&mut self) -> Parsed<Expr> {
        let test = self.logical(0)?;
        if !self.eat("?") {
            return Ok(test);
        }
        let yes = self.expression()?;
        self.expect(":")?;
        let no = self.expression()?;
        self.node(Expr::Cond(Box::new(test), Box::new(yes), Box::new(no)))
    }

    fn logical(&mut self, level: usize) -> Parsed<Expr> {
        let sign = match level {
            0 => "??",
            1 => "||",
            2 => "&&",
            _ => return self.binary(0),
        };
        let first = self.logical(level + 1)?;
        if !self.is(sign) {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.eat(sign) {
            let next = self.logical(level + 1)?;
            all.push(self.node(next)?);
        }
        Ok(match level {
            0 => Expr::Coalesce(all),
            1 => Expr::Or(all),
            _ => Expr::And(all),
        })
    }

    fn binary(&mut self, level: usize) -> Parsed<Expr> {
        const LEVELS: &[&[&str]] =
            &[&["==", "!=", "===", "!=="], &["<", ">", "<=", ">=", "in"], &["+", "-"], &["*", "/", "%"]];
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let found = match self.peek() {
                Token::Sign(sign) => signs.iter().find(|candidate| *candidate == sign),
                Token::Word(word) if word == "in" => signs.iter().find(|candidate| **candidate == "in"),
                Token::Word(word) if word == "instanceof" => return Err("`instanceof` is not interpreted".to_owned()),
                _ => None,
            };
            let Some(sign) = found else { return Ok(left) };
            self.at += 1;
            let right = self.binary(level + 1)?;
            left = self.node(Expr::Binary(sign, Box::new(left), Box::new(right)))?;
        }
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let make: fn(Box<Expr>) -> Expr = match self.peek() {
            Token::Sign("!") => Expr::Not,
            Token::Sign("-") => Expr::Minus,
            Token::Sign("+") => Expr::Plus,
            Token::Word(word) if word == "typeof" => Expr::Typeof,
            Token::Word(word) if matches!(word.as_str(), "new" | "delete" | "void" | "await" | "yield") => {
                return Err(format!("`{word}` is not interpreted"));
            }
            _ => return self.postfix(),
        };
        self.at += 1;
        let operand = self.nested(Self::unary)?;
        self.node(make(Box::new(operand)))
    }

    fn postfix(&mut self) -> Parsed<Expr> {
        let mut value = self.primary()?;
        loop {
            if self.eat(".") {
                let name = self.name()?;
                value = self.node(Expr::Member(Box::new(value), name))?;
            } else if self.eat("[") {
                let index = self.comma()?;
                self.expect("]")?;
                value = self.node(Expr::Index(Box::new(value), Box::new(index)))?;
            } else if self.eat("(") {
                let arguments = self.elements(")")?;
                value = self.node(Expr::Call(Box::new(value), arguments))?;
            } else if self.is("?.") {
                return Err("`?.` is not interpreted".to_owned());
            } else {
                return Ok(value);
            }
        }
    }

    fn elements(&mut self, end: &str) -> Parsed<Vec<Expr>> {
        let mut out = Vec::new();
        while !self.eat(end) {
            let value = self.expression()?;
            out.push(self.node(value)?);
            if !self.is(end) {
                self.expect(",")?;
            }
        }
        Ok(out)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let value = match self.next() {
            Token::Number(number) => Expr::Value(Literal::Number(number)),
            Token::Text(text) => Expr::Value(Literal::Text(Arc::from(text))),
            Token::Word(word) => match word.as_str() {
                "true" => Expr::Value(Literal::Bool(true)),
                "false" => Expr::Value(Literal::Bool(false)),
                "null" => Expr::Value(Literal::Null),
                "undefined" => Expr::Value(Literal::Undefined),
                "this" | "super" | "eval" => return Err(format!("`{word}` is not interpreted")),
                _ => Expr::Name(Arc::from(word)),
            },
            Token::Sign("(") => {
                let value = self.comma()?;
                self.expect(")")?;
                return Ok(value);
            }
            Token::Sign("[") => Expr::List(self.elements("]")?),
            Token::Sign("{") => {
                let mut fields = Vec::new();
                while !self.eat("}") {
                    let name: Arc<str> = match self.next() {
                        Token::Word(word) => Arc::from(word),
                        Token::Text(text) => Arc::from(text),
                        Token::Number(number) => Arc::from(number_text(number)),
                        _ => return Err("a name is expected".to_owned()),
                    };
                    self.expect(":")?;
                    fields.push((name, self.expression()?));
                    if !self.is("}") {
                        self.expect(",")?;
                    }
                }
                Expr::Object(fields)
            }
            Token::Sign("/") => return Err("regular expressions are not interpreted".to_owned()),
            Token::Sign(sign) => return Err(format!("`{sign}` is not expected")),
            Token::End => return Err("the expression ends too early".to_owned()),
        };
        self.node(value)
    }
}

// ---- running ----

/// What an expression sees besides the language itself.
pub(crate) trait Host {
    /// A name; none where it is not defined.
    fn global(&self, name: &str) -> Option<Result<Value, Fault>>;
    fn member(&self, native: u32, name: &str) -> Result<Value, Fault>;
    fn call(&self, native: u32, method: &str, arguments: &[Value]) -> Result<Value, Fault>;
    fn call_function(&self, native: u32, arguments: &[Value]) -> Result<Value, Fault>;
    fn assign(&self, native: u32, name: &str, value: &Value) -> Result<(), Fault>;
}

/// Runs the program: the value of its last expression.
pub(crate) fn run(program: &Program, host: &dyn Host) -> Result<Value, Fault> {
    let mut run = Run { host, variables: Vec::new(), steps: 0, depth: 0, spent: 0 };
    let mut value = Value::Undefined;
    run.statements(&program.statements, &mut value)?;
    Ok(value)
}

struct Run<'h> {
    host: &'h dyn Host,
    variables: Vec<(Arc<str>, Value)>,
    steps: usize,
    depth: usize,
    /// Bytes of text made.
    spent: usize,
}

/// True where a function has returned.
type Flow = Result<bool, Fault>;

impl Run<'_> {
    fn step(&mut self, cost: usize) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(cost);
        if self.steps > MAX_STEPS { unsupported("the expression takes too many steps") } else { Ok(()) }
    }

    fn make(&mut self, text: String) -> Result<Value, Fault> {
        self.spent = self.spent.saturating_add(text.len());
        if self.spent > MAX_TEXT {
            unsupported("the expression makes too much text")
        } else {
            Ok(Value::Text(Rc::from(text)))
        }
    }

    fn statements(&mut self, statements: &[Stmt], value: &mut Value) -> Flow {
        for statement in statements {
            if self.statement(statement, value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn statement(&mut self, statement: &Stmt, value: &mut Value) -> Flow {
        self.step(1)?;
        match statement {
            Stmt::Expr(expr) => *value = self.eval(expr)?,
            Stmt::Var(variables) => {
                for (name, initial) in variables {
                    let initial = match initial {
                        Some(expr) => self.eval(expr)?,
                        None => Value::Undefined,
                    };
                    self.define(name, initial);
                }
            }
            Stmt::If(test, yes, no) => {
                if self.eval(test)?.truthy() {
                    return self.statement(yes, value);
                } else if let Some(no) = no {
                    return self.statement(no, value);
                }
            }
            Stmt::Block(statements) => return self.statements(statements, value),
            Stmt::Return(expr) => {
                *value = match expr {
                    Some(expr) => self.eval(expr)?,
                    None => Value::Undefined,
                };
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn define(&mut self, name: &Arc<str>, value: Value) {
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((Arc::clone(name), value)),
        }
    }

    fn eval(&mut self, expr: &Expr) -> Result<Value, Fault> {
        self.step(1)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return unsupported("the expression is nested too deep");
        }
        let value = self.eval_inner(expr)?;
        self.depth -= 1;
        Ok(value)
    }

    fn evals(&mut self, exprs: &[Expr]) -> Result<Vec<Value>, Fault> {
        exprs.iter().map(|expr| self.eval(expr)).collect()
    }

    fn eval_inner(&mut self, expr: &Expr) -> Result<Value, Fault> {
        Ok(match expr {
            Expr::Value(literal) => match literal {
                Literal::Undefined => Value::Undefined,
                Literal::Null => Value::Null,
                Literal::Bool(flag) => Value::Bool(*flag),
                Literal::Number(number) => Value::Number(*number),
                Literal::Text(text) => Value::text(text),
            },
            Expr::Name(name) => match self.name(name)? {
                // A macro without brackets stands for its value.
                Some(Value::Native(native)) if native >= FUNCTIONS => self.host.call_function(native, &[])?,
                Some(value) => value,
                None => return missing(name),
            },
            Expr::List(exprs) => Value::List(Rc::new(self.evals(exprs)?)),
            Expr::Object(fields) => {
                let mut map = BTreeMap::new();
                for (name, expr) in fields {
                    map.insert(name.to_string(), self.eval(expr)?);
                }
                Value::Object(Rc::new(map))
            }
            Expr::Member(object, name) => {
                let object = self.eval(object)?;
                self.member(&object, name)?
            }
            Expr::Index(object, index) => {
                let object = self.eval(object)?;
                let index = self.eval(index)?;
                self.index(&object, &index)?
            }
            Expr::Call(callee, arguments) => self.call(callee, arguments)?,
            Expr::Not(operand) => Value::Bool(!self.eval(operand)?.truthy()),
            Expr::Minus(operand) => Value::Number(-self.eval(operand)?.number()?),
            Expr::Plus(operand) => Value::Number(self.eval(operand)?.number()?),
            Expr::Typeof(operand) => {
                let value = match operand.as_ref() {
                    Expr::Name(name) => self.name(name)?.unwrap_or(Value::Undefined),
                    other => self.eval(other)?,
                };
                Value::text(value.kind())
            }
            Expr::Binary(sign, left, right) => {
                let left = self.eval(left)?;
                let right = self.eval(right)?;
                self.binary(sign, &left, &right)?
            }
            Expr::And(all) => self.until(all, |value| !value.truthy())?,
            Expr::Or(all) => self.until(all, Value::truthy)?,
            Expr::Coalesce(all) => self.until(all, |value| !value.is_nullish())?,
            Expr::Cond(test, yes, no) => {
                let test = self.eval(test)?.truthy();
                self.eval(if test { yes } else { no })?
            }
            Expr::Assign(target, value) => match target.as_ref() {
                Expr::Name(name) => {
                    let value = self.eval(value)?;
                    self.define(name, value.clone());
                    value
                }
                Expr::Member(object, name) => {
                    let object = self.eval(object)?;
                    let value = self.eval(value)?;
                    match object {
                        Value::Native(native) => self.host.assign(native, name, &value)?,
                        Value::Undefined | Value::Null => return thrown(format!("`{name}` is assigned to nothing")),
                        _ => return unsupported("objects cannot be changed"),
                    }
                    value
                }
                _ => return unsupported("nothing can be assigned there"),
            },
            Expr::Function(function) => Value::Function(Arc::clone(function), Rc::new(self.variables.clone())),
        })
    }

    /// The first value that ends the chain, or the last.
    fn until(&mut self, all: &[Expr], ends: impl Fn(&Value) -> bool) -> Result<Value, Fault> {
        let mut value = Value::Undefined;
        for expr in all {
            value = self.eval(expr)?;
            if ends(&value) {
                break;
            }
        }
        Ok(value)
    }

    fn name(&mut self, name: &str) -> Result<Option<Value>, Fault> {
        if let Some((_, value)) = self.variables.iter().rev().find(|(known, _)| known.as_ref() == name) {
            return Ok(Some(value.clone()));
        }
        if let Some(value) = self.host.global(name) {
            return value.map(Some);
        }
        Ok(match name {
            "NaN" => Some(Value::Number(f64::NAN)),
            "Infinity" => Some(Value::Number(f64::INFINITY)),
            "Object" | "Array" | "Math" | "JSON" | "parseInt" | "parseFloat" | "Number" | "String" | "Boolean"
            | "isNaN" => builtin(name).map(Value::Builtin),
            _ => None,
        })
    }

    fn member(&mut self, object: &Value, name: &str) -> Result<Value, Fault> {
        match (object, name) {
            (Value::Undefined | Value::Null, _) => thrown(format!("`{name}` of nothing is read")),
            (Value::Text(text), "length") => Ok(Value::Number(text.encode_utf16().count() as f64)),
            (Value::List(list), "length") => Ok(Value::Number(list.len() as f64)),
            (Value::Object(map), _) => Ok(map.get(name).cloned().unwrap_or(Value::Undefined)),
            (Value::Native(native), _) => self.host.member(*native, name),
            (Value::Builtin("Math"), "PI") => Ok(Value::Number(std::f64::consts::PI)),
            (Value::Builtin(object), _) => match builtin(&format!("{object}.{name}")) {
                Some(method) => Ok(Value::Builtin(method)),
                None => unsupported(format!("`{object}.{name}` is not interpreted")),
            },
            (Value::Text(_) | Value::List(_), _) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.index(object, &Value::text(name))
            }
            _ => Ok(Value::Undefined),
        }
    }

    fn index(&mut self, object: &Value, index: &Value) -> Result<Value, Fault> {
        let name = match index {
            Value::Number(number) => number_text(*number),
            other => other.show()?,
        };
        let position = name.parse::<usize>().ok();
        match (object, position) {
            (Value::List(list), Some(position)) => Ok(list.get(position).cloned().unwrap_or(Value::Undefined)),
            (Value::Text(text), Some(position)) => {
                Ok(text.chars().nth(position).map_or(Value::Undefined, |c| Value::text(c.encode_utf8(&mut [0; 4]))))
            }
            _ => self.member(object, &name),
        }
    }

    fn call(&mut self, callee: &Expr, arguments: &[Expr]) -> Result<Value, Fault> {
        let (object, name) = match callee {
            Expr::Member(object, name) => (self.eval(object)?, Arc::clone(name)),
            Expr::Index(object, index) => {
                let object = self.eval(object)?;
                let name = self.eval(index)?.show()?;
                (object, Arc::from(name))
            }
            other => {
                let function = match other {
                    Expr::Name(name) => match self.name(name)? {
                        Some(function) => function,
                        None => return missing(name),
                    },
                    other => self.eval(other)?,
                };
                let arguments = self.evals(arguments)?;
                return self.apply(&function, &arguments);
            }
        };
        let arguments = self.evals(arguments)?;
        self.method(&object, &name, &arguments)
    }

    fn apply(&mut self, function: &Value, arguments: &[Value]) -> Result<Value, Fault> {
        match function {
            Value::Function(function, scope) => {
                self.depth += 8;
                if self.depth > MAX_DEPTH {
                    return unsupported("calls are nested too deep");
                }
                let outer = std::mem::replace(&mut self.variables, scope.as_ref().clone());
                self.step(self.variables.len())?;
                for (index, name) in function.parameters.iter().enumerate() {
                    self.variables.push((Arc::clone(name), arguments.get(index).cloned().unwrap_or(Value::Undefined)));
                }
                let value = match &function.body {
                    Body::Expr(expr) => self.eval(expr)?,
                    Body::Block(statements) => {
                        let mut value = Value::Undefined;
                        if self.statements(statements, &mut value)? { value } else { Value::Undefined }
                    }
                };
                self.variables = outer;
                self.depth -= 8;
                Ok(value)
            }
            Value::Native(native) => self.host.call_function(*native, arguments),
            Value::Builtin(name) => self.builtin(name, arguments),
            _ => thrown("what is called is no function"),
        }
    }

    fn method(&mut self, object: &Value, name: &str, arguments: &[Value]) -> Result<Value, Fault> {
        match object {
            Value::Undefined | Value::Null => thrown(format!("`{name}` of nothing is called")),
            Value::Text(text) => self.text_method(&Rc::clone(text), name, arguments),
            Value::List(list) => self.list_method(&Rc::clone(list), name, arguments),
            Value::Native(native) => self.host.call(*native, name, arguments),
            Value::Object(map) => match (map.get(name), name) {
                (Some(function), _) => self.apply(&function.clone(), arguments),
                (None, "hasOwnProperty" | "containsKey") => {
                    Ok(Value::Bool(map.contains_key(argument(arguments, 0).show()?.as_str())))
                }
                (None, "get") => Ok(map.get(argument(arguments, 0).show()?.as_str()).cloned().unwrap_or(Value::Null)),
                (None, "isEmpty") => Ok(Value::Bool(map.is_empty())),
                (None, "size") => Ok(Value::Number(map.len() as f64)),
                (None, "toString") => self.make(object.show()?),
                _ => thrown(format!("`{name}` is no function")),
            },
            Value::Builtin(_) => {
                let function = self.member(object, name)?;
                self.apply(&function, arguments)
            }
            Value::Bool(_) | Value::Number(_) if name == "toString" => self.make(object.show()?),
            Value::Bool(flag) if name == "booleanValue" => Ok(Value::Bool(*flag)),
            Value::Bool(_) | Value::Number(_) | Value::Function(..) => {
                unsupported(format!("`{name}` is not interpreted"))
            }
        }
    }

    fn text_method(&mut self, text: &Rc<str>, name: &str, arguments: &[Value]) -> Result<Value, Fault> {
        self.step(1 + text.len() / 64)?;
        let first = argument(arguments, 0);
        let given = || first.show();
        let position = |index: usize, default: f64| -> Result<f64, Fault> {
            match argument(arguments, index) {
                Value::Undefined => Ok(default),
                other => other.number().map(|number| if number.is_nan() { 0.0 } else { number.trunc() }),
            }
        };
        let letters = || text.chars().count() as f64;
        let part = |from: f64, to: f64| {
            text.chars().skip(from.max(0.0) as usize).take((to - from.max(0.0)).max(0.0) as usize).collect::<String>()
        };
        // Where a byte lies, in characters.
        let place = |found: Option<usize>| match found {
            Some(at) => Value::Number(text.get(..at).unwrap_or("").chars().count() as f64),
            None => Value::Number(-1.0),
        };
        Ok(match name {
            "toString" | "valueOf" => Value::Text(Rc::clone(text)),
            "indexOf" => {
                let from = position(1, 0.0)?.max(0.0);
                let skip = text.char_indices().nth(from as usize).map_or(text.len(), |(at, _)| at);
                place(text.get(skip..).and_then(|rest| rest.find(given().ok()?.as_str())).map(|at| at + skip))
            }
            "lastIndexOf" => place(text.rfind(given()?.as_str())),
            "includes" | "contains" => {
                let skip =
                    text.char_indices().nth(position(1, 0.0)?.max(0.0) as usize).map_or(text.len(), |(at, _)| at);
                Value::Bool(text.get(skip..).unwrap_or("").contains(given()?.as_str()))
            }
            "startsWith" => {
                let skip =
                    text.char_indices().nth(position(1, 0.0)?.max(0.0) as usize).map_or(text.len(), |(at, _)| at);
                Value::Bool(text.get(skip..).unwrap_or("").starts_with(given()?.as_str()))
            }
            "endsWith" if arguments.len() < 2 => Value::Bool(text.ends_with(given()?.as_str())),
            "equals" => Value::Bool(matches!(&first, Value::Text(other) if other == text)),
            "equalsIgnoreCase" => Value::Bool(
                matches!(&first, Value::Text(other) if super::wildcard::Case { ignored: true }.equal(other, text)),
            ),
            "isEmpty" => Value::Bool(text.is_empty()),
            "toLowerCase" => self.make(text.to_lowercase())?,
            "toUpperCase" => self.make(text.to_uppercase())?,
            "trim" => self.make(text.trim().to_owned())?,
            "charAt" => {
                let at = position(0, 0.0)?;
                self.make(if at < 0.0 { String::new() } else { part(at, at + 1.0) })?
            }
            "charCodeAt" => {
                let at = position(0, 0.0)?;
                let code = if at < 0.0 { None } else { text.encode_utf16().nth(at as usize) };
                Value::Number(code.map_or(f64::NAN, f64::from))
            }
            "substring" => {
                let length = letters();
                let (a, b) = (position(0, 0.0)?.clamp(0.0, length), position(1, length)?.clamp(0.0, length));
                self.make(part(a.min(b), a.max(b)))?
            }
            "slice" | "substr" => {
                let length = letters();
                let from_end = |at: f64| if at < 0.0 { (length + at).max(0.0) } else { at.min(length) };
                let from = from_end(position(0, 0.0)?);
                let to = if name == "slice" {
                    from_end(position(1, length)?)
                } else {
                    (from + position(1, length)?).min(length)
                };
                self.make(part(from, to))?
            }
            "concat" => {
                let mut out = text.to_string();
                for value in arguments {
                    out.push_str(&value.show()?);
                }
                self.make(out)?
            }
            "replace" if matches!(first, Value::Text(_)) && matches!(argument(arguments, 1), Value::Text(_)) => {
                let with = argument(arguments, 1).show()?;
                if with.contains('$') {
                    return unsupported("`$` in a replacement is not interpreted");
                }
                self.make(text.replacen(given()?.as_str(), &with, 1))?
            }
            "split" => {
                if arguments.len() > 1 {
                    return unsupported("a limit of `split` is not interpreted");
                }
                let parts: Vec<String> = match &first {
                    Value::Undefined => vec![text.to_string()],
                    Value::Text(by) if by.is_empty() => text.chars().map(String::from).collect(),
                    Value::Text(by) => text.split(by.as_ref()).map(str::to_owned).collect(),
                    _ => return unsupported("`split` by this is not interpreted"),
                };
                self.step(parts.len())?;
                let mut values = Vec::with_capacity(parts.len());
                for part in parts {
                    values.push(self.make(part)?);
                }
                Value::List(Rc::new(values))
            }
            _ => return unsupported(format!("`{name}` of a text is not interpreted")),
        })
    }

    fn list_method(&mut self, list: &Rc<Vec<Value>>, name: &str, arguments: &[Value]) -> Result<Value, Fault> {
        self.step(1 + list.len())?;
        let first = argument(arguments, 0);
        Ok(match name {
            "indexOf" | "lastIndexOf" if arguments.len() < 2 => {
                let found = if name == "indexOf" {
                    list.iter().position(|value| strictly(value, &first))
                } else {
                    list.iter().rposition(|value| strictly(value, &first))
                };
                Value::Number(found.map_or(-1.0, |at| at as f64))
            }
            "includes" | "contains" if arguments.len() < 2 => Value::Bool(list.iter().any(|value| {
                strictly(value, &first)
                    || matches!((value, &first), (Value::Number(a), Value::Number(b)) if a.is_nan() && b.is_nan())
            })),
            // Ranger gives lists this method.
            "intersects" => match &first {
                Value::List(others) => {
                    self.step(list.len().saturating_mul(others.len()))?;
                    Value::Bool(list.iter().any(|value| others.iter().any(|other| strictly(value, other))))
                }
                Value::Text(text) => {
                    let mut found = false;
                    for value in list.iter() {
                        found |= text.contains(value.show()?.as_str());
                    }
                    Value::Bool(found)
                }
                Value::Undefined | Value::Null => Value::Bool(false),
                _ => return unsupported("`intersects` with this is not interpreted"),
            },
            "size" => Value::Number(list.len() as f64),
            "isEmpty" => Value::Bool(list.is_empty()),
            "get" => self.index(&Value::List(Rc::clone(list)), &first)?,
            "toString" => {
                let text = Value::List(Rc::clone(list)).show()?;
                self.make(text)?
            }
            "join" => {
                let by = if matches!(first, Value::Undefined) { ",".to_owned() } else { first.show()? };
                let mut out = String::new();
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        out.push_str(&by);
                    }
                    if !value.is_nullish() {
                        out.push_str(&value.show()?);
                    }
                    if out.len() > MAX_TEXT {
                        return unsupported("the expression makes too much text");
                    }
                }
                self.make(out)?
            }
            "concat" => {
                let mut out = list.as_ref().clone();
                for value in arguments {
                    match value {
                        Value::List(more) => out.extend(more.iter().cloned()),
                        other => out.push(other.clone()),
                    }
                }
                self.step(out.len())?;
                Value::List(Rc::new(out))
            }
            "slice" => {
                let length = list.len() as f64;
                let at = |index: usize, default: f64| -> Result<f64, Fault> {
                    let at = match argument(arguments, index) {
                        Value::Undefined => default,
                        other => other.number()?,
                    };
                    let at = if at.is_nan() { 0.0 } else { at.trunc() };
                    Ok(if at < 0.0 { (length + at).max(0.0) } else { at.min(length) })
                };
                let (from, to) = (at(0, 0.0)?, at(1, length)?);
                Value::List(Rc::new(
                    list.iter().skip(from as usize).take((to - from).max(0.0) as usize).cloned().collect(),
                ))
            }
            "some" | "every" | "filter" | "map" | "find" | "findIndex" | "forEach" => {
                let mut out = Vec::new();
                for (index, value) in list.iter().enumerate() {
                    let got = self
                        .apply(&first, &[value.clone(), Value::Number(index as f64), Value::List(Rc::clone(list))])?;
                    match name {
                        "some" if got.truthy() => return Ok(Value::Bool(true)),
                        "every" if !got.truthy() => return Ok(Value::Bool(false)),
                        "find" if got.truthy() => return Ok(value.clone()),
                        "findIndex" if got.truthy() => return Ok(Value::Number(index as f64)),
                        "filter" if got.truthy() => out.push(value.clone()),
                        "map" => out.push(got),
                        _ => {}
                    }
                }
                match name {
                    "some" => Value::Bool(false),
                    "every" => Value::Bool(true),
                    "findIndex" => Value::Number(-1.0),
                    "filter" | "map" => Value::List(Rc::new(out)),
                    _ => Value::Undefined,
                }
            }
            _ => return unsupported(format!("`{name}` of a list is not interpreted")),
        })
    }

    fn builtin(&mut self, name: &str, arguments: &[Value]) -> Result<Value, Fault> {
        let first = argument(arguments, 0);
        Ok(match name {
            "Object.keys" | "Object.values" | "Object.entries" => {
                let pairs: Vec<(String, Value)> = match &first {
                    Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
                    Value::List(list) => {
                        list.iter().enumerate().map(|(index, value)| (index.to_string(), value.clone())).collect()
                    }
                    Value::Undefined | Value::Null => return thrown("keys of nothing"),
                    _ => return unsupported("keys of this are not interpreted"),
                };
                self.step(pairs.len())?;
                Value::List(Rc::new(
                    pairs
                        .into_iter()
                        .map(|(key, value)| match name {
                            "Object.keys" => Value::text(&key),
                            "Object.values" => value,
                            _ => Value::List(Rc::new(vec![Value::text(&key), value])),
                        })
                        .collect(),
                ))
            }
            "Array.isArray" => Value::Bool(matches!(first, Value::List(_))),
            "JSON.parse" => {
                let text = first.show()?;
                self.step(text.len() / 16)?;
                match serde_json::from_str::<serde_json::Value>(&text) {
                    Ok(value) => Value::from_json(&value),
                    Err(_) => return thrown("not JSON"),
                }
            }
            "JSON.stringify" if arguments.len() < 2 => match first.to_json(0)? {
                Some(json) => self.make(json.to_string())?,
                None => Value::Undefined,
            },
            "Math.min" | "Math.max" => {
                let mut best = if name == "Math.min" { f64::INFINITY } else { f64::NEG_INFINITY };
                for value in arguments {
                    let number = value.number()?;
                    if number.is_nan() {
                        return Ok(Value::Number(f64::NAN));
                    }
                    best = if name == "Math.min" { best.min(number) } else { best.max(number) };
                }
                Value::Number(best)
            }
            "Math.floor" => Value::Number(first.number()?.floor()),
            "Math.ceil" => Value::Number(first.number()?.ceil()),
            "Math.abs" => Value::Number(first.number()?.abs()),
            "Math.round" => Value::Number((first.number()? + 0.5).floor()),
            "Number" => Value::Number(if arguments.is_empty() { 0.0 } else { first.number()? }),
            "Boolean" => Value::Bool(first.truthy()),
            "String" => {
                let text = if arguments.is_empty() { String::new() } else { first.show()? };
                self.make(text)?
            }
            "isNaN" => Value::Bool(first.number()?.is_nan()),
            "parseFloat" => {
                let text = first.show()?;
                let text = text.trim_start();
                let mut best = f64::NAN;
                for end in (1..=text.len().min(40)).rev() {
                    let head = text.get(..end).unwrap_or("");
                    let number = parse_number(head);
                    if !number.is_nan() && !head.trim().is_empty() && !head.starts_with("0x") {
                        best = number;
                        break;
                    }
                }
                Value::Number(best)
            }
            "parseInt" => {
                let text = first.show()?;
                let text = text.trim();
                let radix = match argument(arguments, 1) {
                    Value::Undefined => 10.0,
                    other => other.number()?,
                };
                if !same_number(radix, 10.0) {
                    return unsupported("`parseInt` to another base is not interpreted");
                }
                let (sign, digits) = match text.strip_prefix('-') {
                    Some(rest) => (-1.0, rest),
                    None => (1.0, text.strip_prefix('+').unwrap_or(text)),
                };
                if digits.starts_with("0x") || digits.starts_with("0X") {
                    return unsupported("`parseInt` to another base is not interpreted");
                }
                let length = digits.bytes().take_while(u8::is_ascii_digit).count();
                let number = digits.get(..length).and_then(|digits| digits.parse::<f64>().ok()).unwrap_or(f64::NAN);
                Value::Number(sign * number)
            }
            _ => return unsupported(format!("`{name}` is not interpreted")),
        })
    }

    fn binary(&mut self, sign: &str, left: &Value, right: &Value) -> Result<Value, Fault> {
        Ok(match sign {
            "===" => Value::Bool(strictly(left, right)),
            "!==" => Value::Bool(!strictly(left, right)),
            "==" => Value::Bool(loosely(left, right)?),
            "!=" => Value::Bool(!loosely(left, right)?),
            "<" | ">" | "<=" | ">=" => {
                if let (Value::Text(left), Value::Text(right)) = (left, right) {
                    let order = left.encode_utf16().cmp(right.encode_utf16());
                    return Ok(Value::Bool(match sign {
                        "<" => order.is_lt(),
                        ">" => order.is_gt(),
                        "<=" => order.is_le(),
                        _ => order.is_ge(),
                    }));
                }
                let (left, right) = (left.number()?, right.number()?);
                Value::Bool(match sign {
                    "<" => left < right,
                    ">" => left > right,
                    "<=" => left <= right,
                    _ => left >= right,
                })
            }
            "+" => {
                let plain =
                    |value: &Value| matches!(value, Value::Undefined | Value::Null | Value::Bool(_) | Value::Number(_));
                if plain(left) && plain(right) {
                    Value::Number(left.number()? + right.number()?)
                } else {
                    let text = left.show()? + &right.show()?;
                    self.make(text)?
                }
            }
            "-" => Value::Number(left.number()? - right.number()?),
            "*" => Value::Number(left.number()? * right.number()?),
            "/" => Value::Number(left.number()? / right.number()?),
            "%" => Value::Number(left.number()? % right.number()?),
            "in" => {
                let name = left.show()?;
                match right {
                    Value::Object(map) => Value::Bool(map.contains_key(&name)),
                    Value::List(list) => {
                        Value::Bool(name == "length" || name.parse::<usize>().is_ok_and(|at| at < list.len()))
                    }
                    Value::Native(_) => return unsupported("`in` an object of Ranger is not interpreted"),
                    _ => return thrown("`in` of what is no object"),
                }
            }
            _ => return unsupported(format!("`{sign}` is not interpreted")),
        })
    }
}

fn argument(arguments: &[Value], index: usize) -> Value {
    arguments.get(index).cloned().unwrap_or(Value::Undefined)
}

fn missing<T>(name: &str) -> Result<T, Fault> {
    const OF_THE_LANGUAGE: &[&str] = &[
        "Date",
        "RegExp",
        "Function",
        "Set",
        "Map",
        "Symbol",
        "Promise",
        "BigInt",
        "Intl",
        "globalThis",
        "print",
        "Error",
        "isFinite",
    ];
    if OF_THE_LANGUAGE.contains(&name) {
        unsupported(format!("`{name}` is not interpreted"))
    } else {
        thrown(format!("`{name}` is not defined"))
    }
}

fn builtin(name: &str) -> Option<&'static str> {
    const ALL: &[&str] = &[
        "Object",
        "Array",
        "Math",
        "JSON",
        "parseInt",
        "parseFloat",
        "Number",
        "String",
        "Boolean",
        "isNaN",
        "Object.keys",
        "Object.values",
        "Object.entries",
        "Array.isArray",
        "JSON.parse",
        "JSON.stringify",
        "Math.min",
        "Math.max",
        "Math.floor",
        "Math.ceil",
        "Math.abs",
        "Math.round",
    ];
    ALL.iter().find(|known| **known == name).copied()
}

/// As JavaScript compares numbers: to the bit, but for the two zeros; what is no number equals nothing.
#[allow(clippy::float_cmp)]
fn same_number(left: f64, right: f64) -> bool {
    left == right
}

fn strictly(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Undefined, Value::Undefined) | (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => same_number(*a, *b),
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::List(a), Value::List(b)) => Rc::ptr_eq(a, b),
        (Value::Object(a), Value::Object(b)) => Rc::ptr_eq(a, b),
        (Value::Native(a), Value::Native(b)) => a == b,
        (Value::Builtin(a), Value::Builtin(b)) => a == b,
        _ => false,
    }
}

fn loosely(left: &Value, right: &Value) -> Result<bool, Fault> {
    if left.is_nullish() || right.is_nullish() {
        return Ok(left.is_nullish() && right.is_nullish());
    }
    let object = |value: &Value| {
        matches!(value, Value::List(_) | Value::Object(_) | Value::Function(..) | Value::Native(_) | Value::Builtin(_))
    };
    match (object(left), object(right)) {
        (true, true) => Ok(strictly(left, right)),
        (true, false) => loosely(&Value::text(&left.show()?), right),
        (false, true) => loosely(left, &Value::text(&right.show()?)),
        (false, false) => match (left, right) {
            (Value::Text(a), Value::Text(b)) => Ok(a == b),
            _ => Ok(same_number(left.number()?, right.number()?)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Host for Nothing {
        fn global(&self, _: &str) -> Option<Result<Value, Fault>> {
            None
        }
        fn member(&self, _: u32, _: &str) -> Result<Value, Fault> {
            Ok(Value::Undefined)
        }
        fn call(&self, _: u32, name: &str, _: &[Value]) -> Result<Value, Fault> {
            unsupported(name)
        }
        fn call_function(&self, _: u32, _: &[Value]) -> Result<Value, Fault> {
            Ok(Value::Undefined)
        }
        fn assign(&self, _: u32, _: &str, _: &Value) -> Result<(), Fault> {
            Ok(())
        }
    }

    fn of(source: &str) -> Result<String, Fault> {
        run(&Program::parse(source).map_err(Fault::Unsupported)?, &Nothing)?.show()
    }

    #[test]
    fn values_are_those_of_javascript() {
        for (source, wanted) in [
            ("1 + 2 * 3", "7"),
            ("'a' + 1", "a1"),
            ("1 == '1'", "true"),
            ("1 === '1'", "false"),
            ("null == undefined", "true"),
            ("null == 0", "false"),
            ("[] == ''", "true"),
            ("typeof nobody", "undefined"),
            ("'b' > 'a' && 10 > 9", "true"),
            ("'10' > '9'", "false"),
            ("[1, 2, 3].indexOf(2)", "1"),
            ("['a', 'b'].intersects(['b'])", "true"),
            ("['a', 'b'].some(x => x == 'b')", "true"),
            ("['a', 'b'].map(function (x) { return x + x; }).join('-')", "aa-bb"),
            ("'a,b'.split(',').length", "2"),
            ("var a = 1; if (a) { a = 2; 'yes'; } else { 'no'; }", "yes"),
            ("({a: {b: 3}}).a['b']", "3"),
            ("undefined ?? null ?? 4", "4"),
            ("Object.keys({b: 1, a: 2}).length", "2"),
            ("'Hello'.toLowerCase().substring(1, 3)", "el"),
            ("0.1 + 0.2", "0.30000000000000004"),
            ("true ? 'x' : y", "x"),
            ("JSON.parse('{\"a\": [1]}').a[0]", "1"),
        ] {
            assert_eq!(of(source).as_deref(), Ok(wanted), "{source}");
        }
    }

    #[test]
    fn errors_are_told_from_what_is_not_interpreted() {
        for source in ["null.a", "nobody", "nobody.x", "undefined()", "({}).a.b"] {
            assert!(matches!(of(source), Err(Fault::Thrown(_))), "{source}");
        }
        for source in [
            "for (;;) {}",
            "/a/.test('a')",
            "new Date()",
            "'a'.match('a')",
            "(",
            "a b",
            "`x`",
            "eval('1')",
            "x => x => 1, 2",
        ] {
            assert!(matches!(of(source), Err(Fault::Unsupported(_))), "{source}");
        }
    }

    #[test]
    fn everything_is_bounded() {
        let nest = "(".repeat(5000) + "1" + &")".repeat(5000);
        let nots = "!".repeat(5000) + "1";
        let sum = vec!["1"; 4000].join("+");
        let deep = vec!["1"; 400].join("+");
        let double = format!("var a = 'aaaaaaaaaaaaaaaa'; {} a.length", "a = a + a; ".repeat(60));
        let calls = "var f = x => x(x); f(f)";
        let long = format!("'{}'", "x".repeat(MAX_SOURCE));
        let list = "[".repeat(3000);
        let maps =
            "var a = [1,2,3,4,5,6,7,8,9]; a.map(x => a.map(x => a.map(x => a.map(x => a.map(x => a.map(x => x))))))";
        for source in [&nest, &nots, &sum, &deep, &double, calls, &long, &list, maps] {
            assert!(matches!(of(source), Err(Fault::Unsupported(_))), "{}", source.get(..40).unwrap_or(source));
        }
    }
}
