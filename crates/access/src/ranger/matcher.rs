//! One level of a policy's resource against one level of a request's: default, path and URL matchers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::expr::Program;
use super::model::{PolicyResource, ResourceDef};
use super::request::ElementScope;
use super::wildcard::{Case, QUESTION, STAR};

/// How values of a level are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct MatcherOptions {
    class: Class,
    ignore_case: bool,
    wildcard: bool,
    quoted_case_sensitive: bool,
    quotes: String,
    replace_tokens: bool,
    start: char,
    end: char,
    escape: char,
    prefix: String,
    replace_expressions: bool,
    separator: char,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Default,
    Path,
    Url,
}

impl MatcherOptions {
    pub(crate) fn of(def: &ResourceDef) -> Self {
        let flag = |name: &str, default: bool| {
            def.matcher_options.get(name).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
        };
        let letter = |name: &str, default: char| {
            def.matcher_options.get(name).and_then(|value| value.chars().next()).unwrap_or(default)
        };
        let class = match def.matcher.as_deref() {
            Some(name) if name.ends_with("RangerPathResourceMatcher") => Class::Path,
            Some(name) if name.ends_with("RangerURLResourceMatcher") => Class::Url,
            _ => Class::Default,
        };
        let (start, end, escape) = (
            letter("tokenDelimiterStart", '{'),
            letter("tokenDelimiterEnd", '}'),
            letter("tokenDelimiterEscape", '\\'),
        );
        let prefix = def.matcher_options.get("tokenDelimiterPrefix").cloned().unwrap_or_default();
        let confused = escape == start || escape == end || prefix.contains([start, end, escape]);
        Self {
            class,
            ignore_case: flag("ignoreCase", true),
            wildcard: flag("wildCard", true),
            quoted_case_sensitive: flag("quotedCaseSensitive", false),
            quotes: def.matcher_options.get("quoteChars").cloned().unwrap_or_else(|| "\"".to_owned()),
            replace_tokens: flag("replaceTokens", true) && !confused,
            start,
            end,
            escape,
            prefix,
            replace_expressions: flag("replaceReqExpressions", true),
            separator: letter("pathSeparatorChar", '/'),
        }
    }
}

/// What stands for tokens such as `{USER}` and expressions such as `${{USER.dept}}` in a resource.
pub(crate) trait Tokens {
    /// False where nothing is replaced at all.
    fn any(&self) -> bool;
    fn token(&self, name: &str) -> Option<Cow<'_, str>>;
    /// The expression's value as a text; none where it cannot be run.
    fn expression(&self, program: &Program) -> Option<String>;
}

/// Tokens by their names with `token:` in front, as Ranger's request contexts name them.
impl Tokens for BTreeMap<String, String> {
    fn any(&self) -> bool {
        !self.is_empty()
    }

    fn token(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(&format!("token:{name}")).map(|value| Cow::Borrowed(value.as_str()))
    }

    fn expression(&self, _: &Program) -> Option<String> {
        None
    }
}

/// The values of a level.
#[derive(Clone, Debug)]
pub struct ElementMatcher {
    options: Arc<MatcherOptions>,
    any: bool,
    excludes: bool,
    recursive: bool,
    values: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    raw: String,
    shape: Shape,
    parts: Option<Vec<Part>>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Token(String, String),
    Expression(Program),
    /// An expression that cannot be read: the value matches nothing.
    Broken,
}

/// Which comparison a value asks for. The star of `Starts` and `Ends` is cut off before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Exact,
    Starts,
    Ends,
    Wildcard,
    Everything,
    /// The path itself and all below.
    Tree,
    TreeWildcard,
    UrlTree,
    UrlTreeWildcard,
}

/// What an index may take from a value.
pub(crate) enum Key<'m> {
    /// Nothing but this, save for its case.
    Exact(&'m str),
    /// Whatever starts with this.
    Prefix(&'m str),
    /// Anything.
    Any,
}

impl ElementMatcher {
    pub fn new(def: &ResourceDef, resource: &PolicyResource) -> Self {
        Self::with(&Arc::new(MatcherOptions::of(def)), resource)
    }

    pub(crate) fn with(options: &Arc<MatcherOptions>, resource: &PolicyResource) -> Self {
        Self::build(options, resource, false)
    }

    fn build(options: &Arc<MatcherOptions>, resource: &PolicyResource, force: bool) -> Self {
        let wildcard = options.wildcard || force;
        let mut any = resource.values.is_empty();
        let mut values = Vec::new();
        for value in resource.values.iter().filter(|value| !value.is_empty()) {
            if wildcard && value.chars().all(|c| c == '*') {
                any = true;
            }
            values.push(Pattern::new(value, options, resource.is_recursive, wildcard));
        }
        any |= values.is_empty();
        Self {
            options: Arc::clone(options),
            any,
            excludes: resource.is_excludes,
            recursive: resource.is_recursive,
            values,
        }
    }

    /// The same, but with `*` where a value depends on the request; none where no value does.
    pub(crate) fn widened(&self) -> Option<Self> {
        if !self.is_dynamic() {
            return None;
        }
        let values = self
            .values
            .iter()
            .map(|value| match &value.parts {
                None => value.raw.clone(),
                Some(parts) => parts
                    .iter()
                    .map(|part| match part {
                        Part::Text(text) => text.as_str(),
                        _ => "*",
                    })
                    .collect(),
            })
            .collect();
        let resource = PolicyResource { values, is_excludes: self.excludes, is_recursive: self.recursive };
        Some(Self::build(&self.options, &resource, true))
    }

    /// True where every value matches.
    pub fn is_match_any(&self) -> bool {
        self.any
    }

    /// True where an expression among the values cannot be read.
    pub(crate) fn is_broken(&self) -> bool {
        let broken = |part: &Part| matches!(part, Part::Broken);
        self.values.iter().any(|value| value.parts.iter().flatten().any(broken))
    }

    pub(crate) fn is_dynamic(&self) -> bool {
        self.values.iter().any(|value| value.parts.is_some())
    }

    /// Whether a level with these values matches; an empty list is a level that is not said. `tokens` are named as in
    /// Ranger, `token:USER`.
    pub fn is_match<T: AsRef<str>>(&self, values: &[T], tokens: &BTreeMap<String, String>) -> bool {
        let values: Vec<String> = values.iter().map(|value| value.as_ref().to_owned()).collect();
        self.matches(&values, ElementScope::SelfOnly, tokens)
    }

    pub(crate) fn matches(&self, values: &[String], scope: ElementScope, tokens: &dyn Tokens) -> bool {
        if values.is_empty() {
            return self.matches_one("", scope, tokens);
        }
        values.iter().any(|value| self.matches_one(value, scope, tokens))
    }

    pub(crate) fn matches_one(&self, value: &str, scope: ElementScope, tokens: &dyn Tokens) -> bool {
        let all = value.is_empty() || value == "*";
        let matched = if self.any || (all && scope != ElementScope::SelfOrPrefix) {
            self.any
        } else {
            let case = Case { ignored: self.options.ignore_case && !self.quoted(value) };
            self.values.iter().any(|pattern| pattern.matches(value, scope, case, &self.options, tokens))
        };
        if self.excludes && (!all || self.any) { !matched } else { matched }
    }

    fn quoted(&self, value: &str) -> bool {
        self.options.quoted_case_sensitive
            && value.chars().next().is_some_and(|first| self.options.quotes.contains(first))
    }

    /// Keys by which an index finds these values.
    pub(crate) fn keys(&self) -> Vec<Key<'_>> {
        if self.any || self.excludes || self.values.iter().any(|value| value.parts.is_some()) {
            return vec![Key::Any];
        }
        let head = |raw: &'_ str| raw.find(['*', '?']).unwrap_or(raw.len());
        self.values
            .iter()
            .map(|value| match value.shape {
                Shape::Exact => Key::Exact(&value.raw),
                Shape::Starts | Shape::Wildcard => match value.raw.get(..head(&value.raw)) {
                    Some(prefix) if !prefix.is_empty() => Key::Prefix(prefix),
                    _ => Key::Any,
                },
                Shape::Tree | Shape::UrlTree => match value.raw.trim_end_matches(self.options.separator) {
                    "" => Key::Any,
                    prefix => Key::Prefix(prefix),
                },
                _ => Key::Any,
            })
            .collect()
    }
}

/// Reads a value into texts, tokens and expressions; none where there is nothing to replace.
fn parts(value: &str, options: &MatcherOptions) -> Option<Vec<Part>> {
    let mut out: Vec<Part> = Vec::new();
    let mut text = String::new();
    let mut rest = value;
    let mut escaped = false;
    while let Some(first) = rest.chars().next() {
        let after = rest.get(first.len_utf8()..).unwrap_or("");
        if options.replace_expressions
            && let Some(body) = rest.strip_prefix("${{")
            && let Some((source, tail)) = body.split_once("}}")
        {
            out.push(Part::Text(std::mem::take(&mut text)));
            out.push(Program::parse(source).map_or(Part::Broken, Part::Expression));
            rest = tail;
        } else if options.replace_tokens && first == options.escape {
            match after.chars().next() {
                Some(next) if next == options.start || next == options.end || next == options.escape => {
                    text.push(next);
                    escaped = true;
                    rest = after.get(next.len_utf8()..).unwrap_or("");
                }
                _ => {
                    text.push(first);
                    rest = after;
                }
            }
        } else if options.replace_tokens
            && first == options.start
            && let Some((name, tail)) = token(after, options)
        {
            out.push(Part::Text(std::mem::take(&mut text)));
            let whole = rest.get(..rest.len() - tail.len()).unwrap_or(rest);
            out.push(Part::Token(name, whole.to_owned()));
            rest = tail;
        } else {
            text.push(first);
            rest = after;
        }
    }
    out.push(Part::Text(text));
    (out.len() > 1 || escaped).then_some(out)
}

/// A token up to its end, and what follows it.
fn token<'v>(text: &'v str, options: &MatcherOptions) -> Option<(String, &'v str)> {
    let body = text.strip_prefix(options.prefix.as_str())?;
    let mut name = String::new();
    let mut chars = body.chars();
    loop {
        match chars.next()? {
            c if c == options.end => return Some((name, chars.as_str())),
            c if c == options.escape => name.push(chars.next()?),
            c => name.push(c),
        }
    }
}

impl Pattern {
    fn new(value: &str, options: &MatcherOptions, recursive: bool, wildcard: bool) -> Self {
        let mut raw = value.to_owned();
        if options.class == Class::Path && recursive && wildcard && raw.ends_with(options.separator) {
            raw.push('*');
        }
        let has_wildcard = wildcard && raw.contains(['*', '?']);
        let shape = match (options.class, recursive) {
            (Class::Path, true) if wildcard && raw == "*" => Shape::Everything,
            (Class::Path, true) if has_wildcard => Shape::TreeWildcard,
            (Class::Path, true) => Shape::Tree,
            (Class::Url, true) if has_wildcard => Shape::UrlTreeWildcard,
            (Class::Url, true) => Shape::UrlTree,
            _ if !has_wildcard => Shape::Exact,
            _ => {
                let stars = raw.chars().filter(|c| *c == '*').count();
                if raw.contains('?') {
                    Shape::Wildcard
                } else if stars == raw.len() {
                    Shape::Everything
                } else if raw.trim_start_matches('*').len() == raw.len() - stars {
                    Shape::Ends
                } else if raw.trim_end_matches('*').len() == raw.len() - stars {
                    Shape::Starts
                } else {
                    Shape::Wildcard
                }
            }
        };
        Self { parts: parts(&raw, options), raw, shape }
    }

    /// The value as this request has it; none where it cannot be told.
    fn text(&self, tokens: &dyn Tokens) -> Option<Cow<'_, str>> {
        let Some(parts) = &self.parts else { return Some(Cow::Borrowed(&self.raw)) };
        let expressions = parts.iter().any(|part| matches!(part, Part::Expression(_) | Part::Broken));
        if !expressions && !tokens.any() {
            return Some(Cow::Borrowed(&self.raw));
        }
        // What comes in is only itself, even where it looks like a wildcard.
        let literal = |text: &str| -> String {
            text.chars()
                .map(|c| match c {
                    '*' => STAR,
                    '?' => QUESTION,
                    other => other,
                })
                .collect()
        };
        let mut out = String::new();
        for part in parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Token(name, whole) => match tokens.token(name) {
                    Some(value) => out.push_str(&literal(&value)),
                    None => out.push_str(whole),
                },
                Part::Expression(program) => out.push_str(&literal(&tokens.expression(program)?)),
                Part::Broken => return None,
            }
        }
        Some(Cow::Owned(out))
    }

    fn matches(
        &self,
        value: &str,
        scope: ElementScope,
        case: Case,
        options: &MatcherOptions,
        tokens: &dyn Tokens,
    ) -> bool {
        let Some(pattern) = self.text(tokens) else { return false };
        let pattern = pattern.as_ref();
        match scope {
            ElementScope::SelfOnly => self.is_self(pattern, value, case, options),
            ElementScope::SelfOrChild => {
                self.is_self(pattern, value, case, options)
                    || (options.class == Class::Path && self.is_child(pattern, value, case, options))
            }
            ElementScope::SelfOrPrefix => {
                self.is_self(pattern, value, case, options) || self.is_prefix(pattern, value, case, options)
            }
        }
    }

    fn is_self(&self, pattern: &str, value: &str, case: Case, options: &MatcherOptions) -> bool {
        let separator = options.separator;
        match self.shape {
            Shape::Everything => true,
            Shape::Exact => case.equal(pattern, value),
            Shape::Starts => case.after(value, pattern.trim_end_matches('*')).is_some(),
            Shape::Ends => case.ends(value, pattern.trim_start_matches('*')),
            Shape::Wildcard => case.matches(pattern, value),
            Shape::Tree | Shape::UrlTree => below(pattern, value, separator, case),
            Shape::TreeWildcard => tree(pattern, value, separator, case),
            Shape::UrlTreeWildcard => url_tree(pattern, value, separator, case),
        }
    }

    /// Is the value what lies right above something that matches.
    fn is_child(&self, pattern: &str, value: &str, case: Case, options: &MatcherOptions) -> bool {
        let separator = options.separator;
        let cut = match self.shape {
            Shape::Everything | Shape::Ends => return true,
            Shape::Starts => pattern.trim_end_matches('*'),
            _ => pattern,
        };
        let Some((above, _)) = cut.rsplit_once(separator) else { return false };
        let value = value.strip_suffix(separator).unwrap_or(value);
        match self.shape {
            Shape::Starts => case.after(value, above).is_some(),
            Shape::Wildcard => case.matches(above, value),
            _ => case.equal(above, value),
        }
    }

    /// Is the value the beginning of something that matches.
    fn is_prefix(&self, pattern: &str, value: &str, case: Case, options: &MatcherOptions) -> bool {
        match self.shape {
            Shape::Everything | Shape::Ends => true,
            Shape::Exact | Shape::Tree | Shape::UrlTree => {
                case.after(pattern, value).is_some() || self.is_self(pattern, value, case, options)
            }
            Shape::Starts => case.after(pattern.trim_end_matches('*'), value).is_some(),
            Shape::Wildcard | Shape::TreeWildcard | Shape::UrlTreeWildcard => case.begins(pattern, value),
        }
    }
}

/// The path or anything under it.
fn below(pattern: &str, value: &str, separator: char, case: Case) -> bool {
    let bare = pattern.strip_suffix(separator).unwrap_or(pattern);
    if case.equal(bare, value) || case.equal(pattern, value) {
        return true;
    }
    case.after(value, bare).is_some_and(|rest| rest.starts_with(separator))
}

/// Paths of more elements are walked over once, instead of each of their beginnings.
const FEW_ELEMENTS: usize = 6;

/// Whether the pattern takes one of the beginnings of `start` with the elements after it, those of the first `skip`
/// left out.
fn beginning(pattern: &str, start: &str, elements: &[&str], skip: usize, separator: char, case: Case) -> bool {
    let mut path = start.to_owned();
    let mut ends = Vec::with_capacity(elements.len());
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            path.push(separator);
        }
        path.push_str(element);
        if index >= skip {
            ends.push(path.len());
        }
    }
    if elements.len() > FEW_ELEMENTS {
        return case.matches_beginning(pattern, &path, &ends);
    }
    ends.into_iter().any(|end| path.get(..end).is_some_and(|head| case.matches(pattern, head)))
}

fn tree(pattern: &str, path: &str, separator: char, case: Case) -> bool {
    let elements: Vec<&str> = path.split(separator).filter(|element| !element.is_empty()).collect();
    if elements.is_empty() {
        return case.matches(pattern, path);
    }
    let wanted: Vec<&str> = pattern.split(separator).filter(|element| !element.is_empty()).collect();
    let mut at = 0;
    while let (Some(element), Some(want)) = (elements.get(at), wanted.get(at)) {
        if want.contains(['*', '?']) {
            break;
        }
        if !case.equal(want, element) {
            return false;
        }
        at += 1;
    }
    if at == elements.len() {
        return wanted.len() == at
            || (path.ends_with(separator) && wanted.len() == at + 1 && wanted.last().is_some_and(|last| *last == "*"));
    }
    let mut start = [0; 4];
    let start = if path.starts_with(separator) { separator.encode_utf8(&mut start) } else { "" };
    beginning(pattern, start, &elements, at, separator, case) || case.matches(pattern, path)
}

fn url_tree(pattern: &str, url: &str, separator: char, case: Case) -> bool {
    if !url.contains("://") || url.contains(":///") {
        return false;
    }
    let Some(head) = url.find(':').map(|at| at + 3) else { return false };
    let (Some(scheme), Some(path)) = (url.get(..head), url.get(head..)) else { return false };
    let elements: Vec<&str> = path.split(separator).filter(|element| !element.is_empty()).collect();
    if elements.is_empty() {
        return case.matches(pattern, url);
    }
    let mut start = scheme.to_owned();
    if path.starts_with(separator) {
        start.push(separator);
    }
    beginning(pattern, &start, &elements, 0, separator, case) || case.matches(pattern, url)
}
