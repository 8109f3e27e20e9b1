//! A program to a value, within bounds.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::parse::{Body, Expr, Literal, Program, Stmt};
use super::value::{FUNCTIONS, Fault, Value, number_text, parse_number, thrown, unsupported};
use super::{MAX_DEPTH, MAX_STEPS, MAX_TEXT};

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
                matches!(&first, Value::Text(other) if super::super::wildcard::Case { ignored: true }.equal(other, text)),
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
