//! How much of a query there may be, told before it is parsed.
//!
//! A chain (`a + a + …`, `select … union select … `, `x::int::int…`) is read in a loop and stands as a tree that is as deep as the chain is
//! long; whoever copies or drops it recurses, and a stack that is used up ends the process for everybody. Nesting has its limit in the parser.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::errors::{EngineError, PlanProblemKind};

/// The stack of threads that plan and compute queries: at the limits below a half of it is used, in a build for tests.
pub const STACK: usize = 16 << 20;

/// Operators and the words of SQL. Names, literals and commas are not among them: a long list is no deep tree.
const OPERATORS: usize = 1000;
const SET_OPERATORS: usize = 128;
/// Tables, however often each is named: each join is a level of the plan.
pub(crate) const RELATIONS: usize = 256;

pub(crate) fn too_much() -> EngineError {
    EngineError::planning(PlanProblemKind::TooDeep)
}

/// Refuses what would be too deep. What is no SQL at all is left to the parser.
pub(crate) fn check(sql: &str) -> Result<(), EngineError> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    let (mut operators, mut sets) = (0, 0);
    for token in tokens {
        match token {
            Token::Word(word) => match word.keyword {
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => sets += 1,
                // Words that stand once for each column, value or branch.
                Keyword::NoKeyword
                | Keyword::AS
                | Keyword::NULL
                | Keyword::TRUE
                | Keyword::FALSE
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::DATE
                | Keyword::INTERVAL
                | Keyword::ASC
                | Keyword::DESC => {}
                _ => operators += 1,
            },
            Token::Whitespace(_)
            | Token::Comma
            | Token::Period
            | Token::SemiColon
            | Token::LParen
            | Token::RParen
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::Placeholder(_)
            | Token::EOF => {}
            _ => operators += 1,
        }
    }
    if operators > OPERATORS || sets > SET_OPERATORS { Err(too_much()) } else { Ok(()) }
}
