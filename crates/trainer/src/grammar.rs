//! Templates: `@rule` with one alternative a line, `{slot}`, `<one|other>`, `[N:a name]`, `[P:a place]`,
//! `[O:an organisation]`, `*3 ` before an alternative for its weight, `\n`, `\<` for the character itself.
//!
//! Rules whose name begins with a capital are *templates*: one in six of their alternatives, by a hash of its
//! text, is kept out of training and makes the dev set.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::rng::Rng;

pub enum Part {
    Text(String),
    Slot(String),
    Choice(Vec<Vec<Part>>),
    Label(u8, Vec<Part>),
}

struct Alternative {
    weight: usize,
    held_out: bool,
    parts: Vec<Part>,
}

struct Rule {
    template: bool,
    alternatives: Vec<Alternative>,
}

pub struct Grammar {
    rules: BTreeMap<String, Rule>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Train,
    Dev,
}

/// A rule with fewer alternatives keeps nothing out.
const FEW: usize = 6;

/// A text with what is in it: class 0 a name, 1 a place, 2 an organisation.
#[derive(Default, Clone)]
pub struct Document {
    pub text: String,
    pub spans: Vec<(usize, usize, u8)>,
}

/// Writes what a slot that is no rule stands for; false if there is no such slot.
pub type Fill<'a> = &'a dyn Fn(&str, &mut Rng, &mut String) -> bool;

impl Grammar {
    pub fn parse(sources: &[&str]) -> Result<Self> {
        let mut rules = BTreeMap::<String, Rule>::new();
        for source in sources {
            let mut open: Option<&mut Rule> = None;
            for line in source.lines().filter(|line| !line.is_empty() && !line.starts_with("//")) {
                if let Some(name) = line.strip_prefix('@') {
                    let template = name.starts_with(|c: char| c.is_ascii_uppercase());
                    let rule = Rule { template, alternatives: Vec::new() };
                    if rules.insert(name.to_owned(), rule).is_some() {
                        bail!("rule {name} stands twice");
                    }
                    open = rules.get_mut(name);
                    continue;
                }
                let (weight, body) = match line.strip_prefix('*').and_then(|rest| rest.split_once(' ')) {
                    Some((weight, body)) => (weight.parse().context("a weight")?, body),
                    None => (1, line),
                };
                let rule = open.as_mut().context("an alternative before any rule")?;
                let mut rest = body;
                let parts = parts(&mut rest, "").with_context(|| format!("in {body:?}"))?;
                let held_out =
                    rule.template && Rng::new(cordon_detect::tagger::features::hash(&digest(body)), 6).below(6) == 0;
                rule.alternatives.push(Alternative { weight, held_out, parts });
            }
        }
        for rule in rules.values_mut().filter(|rule| rule.alternatives.len() < FEW) {
            rule.alternatives.iter_mut().for_each(|alternative| alternative.held_out = false);
        }
        Ok(Self { rules })
    }

    /// Every word that stands in capitals, or begins with one, in the text of a rule and its choices.
    pub fn words(&self, rule: &str) -> Vec<String> {
        let mut words = Vec::new();
        for alternative in self.rules.get(rule).map_or(&[][..], |rule| &rule.alternatives) {
            collect(&alternative.parts, &mut words);
        }
        words
    }

    pub fn document(&self, start: &str, side: Side, rng: &mut Rng, fill: Fill<'_>) -> Document {
        let mut document = Document::default();
        self.rule(start, side, rng, fill, &mut document, 0);
        document
    }

    fn rule(&self, name: &str, side: Side, rng: &mut Rng, fill: Fill<'_>, out: &mut Document, depth: usize) {
        let Some(rule) = self.rules.get(name).filter(|_| depth < 40) else {
            assert!(fill(name, rng, &mut out.text), "no rule and no filler {name}");
            return;
        };
        let dev = side == Side::Dev && rule.alternatives.iter().any(|a| a.held_out);
        let fits = |a: &&Alternative| a.held_out == dev;
        let total: usize = rule.alternatives.iter().filter(fits).map(|a| a.weight).sum();
        let mut at = rng.below(total.max(1));
        for alternative in rule.alternatives.iter().filter(fits) {
            if at < alternative.weight {
                self.parts(&alternative.parts, side, rng, fill, out, depth + 1);
                return;
            }
            at -= alternative.weight;
        }
    }

    fn parts(&self, parts: &[Part], side: Side, rng: &mut Rng, fill: Fill<'_>, out: &mut Document, depth: usize) {
        for part in parts {
            match part {
                Part::Text(text) => out.text.push_str(text),
                Part::Slot(name) => self.rule(name, side, rng, fill, out, depth),
                Part::Choice(choices) => self.parts(rng.pick::<Vec<Part>>(choices), side, rng, fill, out, depth),
                Part::Label(class, inner) => {
                    let start = out.text.len();
                    self.parts(inner, side, rng, fill, out, depth);
                    out.spans.push((start, out.text.len(), *class));
                }
            }
        }
    }
}

fn digest(text: &str) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes()).to_vec()
}

fn collect(parts: &[Part], words: &mut Vec<String>) {
    for part in parts {
        match part {
            Part::Text(text) => words.extend(text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned)),
            Part::Slot(_) => (),
            Part::Choice(choices) => choices.iter().for_each(|choice| collect(choice, words)),
            Part::Label(_, inner) => collect(inner, words),
        }
    }
}

fn parts(rest: &mut &str, stop: &str) -> Result<Vec<Part>> {
    let mut out = Vec::new();
    let mut text = String::new();
    while let Some(c) = rest.chars().next() {
        if stop.contains(c) {
            break;
        }
        *rest = &rest[c.len_utf8()..];
        let special = match c {
            '\\' => {
                let next = rest.chars().next().context("a character behind \\")?;
                *rest = &rest[next.len_utf8()..];
                text.push(match next {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                });
                continue;
            }
            '{' => {
                let (name, behind) = rest.split_once('}').context("a closing }")?;
                *rest = behind;
                Part::Slot(name.to_owned())
            }
            '<' => {
                let mut choices = Vec::new();
                loop {
                    choices.push(parts(rest, "|>")?);
                    let end = rest.chars().next().context("a closing >")?;
                    *rest = &rest[1..];
                    if end == '>' {
                        break;
                    }
                }
                Part::Choice(choices)
            }
            '[' => {
                let class = match rest.get(..2) {
                    Some("N:") => 0,
                    Some("P:") => 1,
                    Some("O:") => 2,
                    _ => {
                        text.push('[');
                        continue;
                    }
                };
                *rest = &rest[2..];
                let inner = parts(rest, "]")?;
                *rest = rest.strip_prefix(']').context("a closing ]")?;
                Part::Label(class, inner)
            }
            other => {
                text.push(other);
                continue;
            }
        };
        if !text.is_empty() {
            out.push(Part::Text(std::mem::take(&mut text)));
        }
        out.push(special);
    }
    if !text.is_empty() {
        out.push(Part::Text(text));
    }
    Ok(out)
}

impl Document {
    /// The text with its spans in brackets.
    pub fn marked(&self) -> String {
        let mut out = String::new();
        let mut at = 0;
        for (start, end, class) in &self.spans {
            out.push_str(self.text.get(at..*start).unwrap_or(""));
            out.push_str(["[N:", "[P:", "[O:"][usize::from(*class)]);
            out.push_str(self.text.get(*start..*end).unwrap_or(""));
            out.push(']');
            at = *end;
        }
        out.push_str(self.text.get(at..).unwrap_or(""));
        out
    }
}
