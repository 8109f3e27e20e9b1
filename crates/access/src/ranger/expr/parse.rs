//! Tokens to a program.

use std::sync::Arc;

use super::tokens::{Token, tokens};
use super::value::number_text;
use super::{MAX_NEST, MAX_NODES};

#[derive(Clone, Debug)]
pub(super) enum Expr {
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
pub(super) enum Literal {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(Arc<str>),
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(super) parameters: Vec<Arc<str>>,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Expr(Expr),
    Block(Vec<Stmt>),
}

#[derive(Clone, Debug)]
pub(super) enum Stmt {
    Expr(Expr),
    Var(Vec<(Arc<str>, Option<Expr>)>),
    If(Expr, Box<Stmt>, Option<Box<Stmt>>),
    Block(Vec<Stmt>),
    Return(Option<Expr>),
}

/// An expression or a sequence of statements, ready to be run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(super) statements: Vec<Stmt>,
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
