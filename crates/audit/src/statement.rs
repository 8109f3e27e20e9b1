//! SQL without what it says about people.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

use serde::{Deserialize, Serialize};

/// A SQL statement in which every literal is `?`, every comment is gone, and every word that is neither SQL nor the
/// name of something known is `_`: `where name = Smith` is a mistake, and still says a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Statement(String);

impl Statement {
    /// `known` tells whether a name (lower-cased unless it was quoted) is that of a dataset, column or function. The
    /// text is not parsed, only cut into words, so that it works on statements that are wrong; what is in doubt goes.
    pub fn without_literals(sql: &str, known: impl Fn(&str) -> bool) -> Self {
        let mut out = Writer::default();
        let mut rest = sql.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                _ if c.is_whitespace() => out.gap(),
                '-' if rest.next_if_eq(&'-').is_some() => {
                    skip_while(&mut rest, |c| c != '\n');
                    out.gap();
                }
                '/' if rest.next_if_eq(&'*').is_some() => {
                    skip_block_comment(&mut rest);
                    out.gap();
                }
                '\'' => {
                    take_quoted(&mut rest, '\'', false);
                    out.word("?");
                }
                '"' | '`' => {
                    let name = take_quoted(&mut rest, c, false);
                    if known(&name) {
                        out.word(&format!("\"{name}\""));
                    } else {
                        out.word("_");
                    }
                }
                '$' => {
                    skip_dollar(&mut rest);
                    out.word("?");
                }
                _ if c.is_ascii_digit() => {
                    skip_while(&mut rest, |c| c.is_alphanumeric() || c == '_' || c == '.');
                    out.word("?");
                }
                _ if c.is_alphabetic() || c == '_' => {
                    let mut word = String::from(c);
                    while let Some(more) = rest.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '$') {
                        word.push(more);
                    }
                    if rest.next_if_eq(&'\'').is_some() {
                        // E'…', N'…', X'…': only E has backslash escapes.
                        take_quoted(&mut rest, '\'', word.eq_ignore_ascii_case("e"));
                        out.word("?");
                        continue;
                    }
                    let lower = word.to_lowercase();
                    // Asked first, so that `known` hears of a column that is called `day` too.
                    let keep = known(&lower) || KEYWORDS.binary_search(&lower.as_str()).is_ok();
                    out.word(if keep { &lower } else { "_" });
                }
                _ if c.is_ascii_punctuation() => out.mark(c),
                _ => out.word("_"),
            }
        }
        Self(out.text).shortened()
    }

    /// What is longer than an entry of the log can hold would leave no entry at all.
    fn shortened(mut self) -> Self {
        if self.0.len() > LONGEST {
            let end = self.0.floor_char_boundary(LONGEST);
            self.0.truncate(end);
            self.0.push_str(" …");
        }
        self
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In bytes; twice as much where each of them is escaped.
const LONGEST: usize = 256 * 1024;

/// One blank where there were some; two words never run together.
#[derive(Default)]
struct Writer {
    text: String,
    gap: bool,
    after_word: bool,
}

impl Writer {
    fn gap(&mut self) {
        self.gap = true;
    }

    fn word(&mut self, word: &str) {
        self.gap |= self.after_word;
        self.flush();
        self.text.push_str(word);
        self.after_word = true;
    }

    fn mark(&mut self, mark: char) {
        self.flush();
        self.text.push(mark);
        self.after_word = false;
    }

    fn flush(&mut self) {
        if self.gap && !self.text.is_empty() {
            self.text.push(' ');
        }
        self.gap = false;
    }
}

fn skip_while(rest: &mut Peekable<Chars<'_>>, test: impl Fn(char) -> bool) {
    while rest.next_if(|c| test(*c)).is_some() {}
}

/// After `/*`; they nest, as in PostgreSQL.
fn skip_block_comment(rest: &mut Peekable<Chars<'_>>) {
    let mut depth = 1_u32;
    while let Some(c) = rest.next() {
        if c == '*' && rest.next_if_eq(&'/').is_some() {
            depth -= 1;
            if depth == 0 {
                return;
            }
        } else if c == '/' && rest.next_if_eq(&'*').is_some() {
            depth += 1;
        }
    }
}

/// After the opening quote; a doubled quote stands for itself. Without a closing one, all the rest is inside.
fn take_quoted(rest: &mut Peekable<Chars<'_>>, quote: char, backslash: bool) -> String {
    let mut inside = String::new();
    while let Some(c) = rest.next() {
        if backslash && c == '\\' {
            inside.extend(rest.next());
        } else if c != quote {
            inside.push(c);
        } else if rest.next_if_eq(&quote).is_some() {
            inside.push(quote);
        } else {
            break;
        }
    }
    inside
}

/// After `$`: a parameter (`$1`) or a dollar-quoted string (`$tag$ … $tag$`).
fn skip_dollar(rest: &mut Peekable<Chars<'_>>) {
    let mut tag = String::from("$");
    while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
        tag.push(c);
    }
    if rest.next_if_eq(&'$').is_none() {
        return;
    }
    tag.push('$');
    let mut seen = String::new();
    for c in rest.by_ref() {
        seen.push(c);
        if seen.ends_with(&tag) {
            return;
        }
    }
}

/// What SQL itself means, and the functions that most statements use. Sorted, for the binary search.
const KEYWORDS: &[&str] = &[
    "abs",
    "all",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "avg",
    "between",
    "bigint",
    "boolean",
    "by",
    "case",
    "cast",
    "ceil",
    "char_length",
    "coalesce",
    "concat",
    "corr",
    "count",
    "cross",
    "cube",
    "current",
    "current_date",
    "current_timestamp",
    "date",
    "date_part",
    "date_trunc",
    "day",
    "decimal",
    "dense_rank",
    "desc",
    "describe",
    "distinct",
    "double",
    "else",
    "end",
    "escape",
    "except",
    "exists",
    "explain",
    "extract",
    "false",
    "fetch",
    "filter",
    "first",
    "first_value",
    "float",
    "floor",
    "following",
    "for",
    "from",
    "full",
    "group",
    "grouping",
    "having",
    "hour",
    "ilike",
    "in",
    "inner",
    "int",
    "integer",
    "intersect",
    "interval",
    "is",
    "join",
    "lag",
    "last",
    "last_value",
    "lateral",
    "lead",
    "left",
    "length",
    "like",
    "limit",
    "ln",
    "log",
    "lower",
    "max",
    "median",
    "min",
    "minute",
    "month",
    "natural",
    "not",
    "ntile",
    "null",
    "nullif",
    "nulls",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "over",
    "partition",
    "percentile_cont",
    "position",
    "power",
    "preceding",
    "precision",
    "range",
    "rank",
    "recursive",
    "right",
    "rollup",
    "round",
    "row",
    "row_number",
    "rows",
    "second",
    "select",
    "sets",
    "show",
    "similar",
    "smallint",
    "some",
    "sqrt",
    "stddev",
    "substr",
    "substring",
    "sum",
    "table",
    "text",
    "then",
    "time",
    "timestamp",
    "to",
    "trim",
    "true",
    "try_cast",
    "unbounded",
    "union",
    "unnest",
    "upper",
    "using",
    "values",
    "var_pop",
    "varchar",
    "variance",
    "when",
    "where",
    "window",
    "with",
    "year",
    "zone",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sql: &str) -> String {
        let known = ["patients", "city", "age", "Odd Name"];
        Statement::without_literals(sql, |name| known.contains(&name)).0
    }

    #[test]
    fn the_keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn what_may_be_a_value_is_gone() {
        for (sql, expected) in [
            (
                "SELECT city, count(*)\n FROM patients  WHERE age > 64",
                "select city, count(*) from patients where age > ?",
            ),
            ("select * from patients where city = 'O''Hara' -- for Smith", "select * from patients where city = ?"),
            ("select /* Smith /* nested */ still */ 1", "select ?"),
            ("select E'a\\'Smith', N'Smith', x'53' from patients", "select ?, ?, ? from patients"),
            ("select $$Smith$$, $q$Smith $$ $q$, $1", "select ?, ?, ?"),
            ("select 'unterminated Smith", "select ?"),
            ("where city = Smith", "where city = _"),
            ("where city = \"Smith\"", "where city = _"),
            ("select \"Odd Name\", `Smith`", "select \"Odd Name\", _"),
            ("select 123-45-6789", "select ?-?-?"),
            ("select 1e5, 0x1F, 1.5.2", "select ?, ?, ?"),
            ("select a'Smith'", "select ?"),
            ("in ('a','b',3)", "in (?,?,?)"),
            ("select 1Smith", "select ?"),
            ("1'a'", "? ?"),
            ("李 王", "_ _"),
            ("", ""),
        ] {
            assert_eq!(shown(sql), expected, "{sql}");
            assert!(!shown(sql).contains("mith"));
        }
    }
}
