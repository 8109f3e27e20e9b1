//! Free text with what identifies taken out.
//!
//! The detector of `cordon-detect` reads each text once. What it finds is replaced, all else stays to the letter. So this
//! is no proof as the other kernels are one: what the detector does not recognise stays, and `docs/detection.md` says how
//! much that is.
//!
//! | found | with labels | with surrogates |
//! |---|---|---|
//! | a date | `[DATE 2019]`, or `[DATE]` where no year is readable or the year shows an age over 89; a year alone stays or becomes `[DATE]` | moved by the subject's days in its own spelling, else as with labels |
//! | an age over 89 | `90 or older` | the same |
//! | a ZIP code | its first three digits, as [`Zip3Rule`](super::Zip3Rule) gives them, else `[ZIP]` | the same |
//! | a name | `[NAME]` | word by word: one word has one surrogate in all texts of a subject, in any case, order and company |
//! | a phone number, an address, a number … | `[PHONE]`, `[ADDRESS]`, `[MRN]` … | one for each value within a subject, however it is punctuated; phone and social security numbers as they are |
//! | a web or network address, a picture … | `[URL]`, `[IP ADDRESS]` … | a label where nothing is invented |
//!
//! Null gives null, the empty text stays empty. A text without a subject gets labels.
//!
//! Where identities are declared ([`ScrubRule::known`]), what the records of a subject say is looked for in the subject's texts
//! beside what the detector finds ([`narrative`](super::narrative)), and gets the surrogates that the structured data give:
//!
//! | known | with surrogates |
//! |---|---|
//! | the first given name, a nickname, an initial of it; the family name or names | the subject's surrogate first name; its last name |
//! | another given name | one for each word within the subject |
//! | a phone number, a record number, an address, a town … | the subject's own surrogate of the kind |
//! | the name of a relative or provider | the surrogate name that structured data give this person |
//!
//! Nothing that the detector or the dossier finds is left standing: where both find, the known one says what it is, and what only
//! the other covers is replaced too.

use std::sync::Arc;

use arrow_array::{Array, StringViewArray};
use cordon_detect::tagger;
use cordon_detect::{Detector, DetectorOptions, Span};
use cordon_phi::{IdentifierKind as Kind, KnownFacts, NameDraw, Token, TokenError};
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::age::YearsAt;
use super::date::{self, Stamp, parse_written};
use super::naming::{decided, seeds_of_others};
use super::narrative::person::{PROVIDER, identity_of_other};
use super::narrative::{Desk, Hit, Matcher, Part, Wanted, What};
use super::shift_date::{Shifts, moved};
use super::spelling::keep_case;
use super::surrogate::{invent, invent_name, of_subject};
use super::text::{to_text, trimmed};
use super::zip3::prefix_of_five;
use super::{Column, DateFormats, Day, DeidKeys, Env, KernelError, Outcome, SurrogateKind, Vintage, base32};
use crate::tally::{Replaced, Spans};

/// Takes what identifies out of free text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScrubRule {
    #[serde(default)]
    pub with: ScrubWith,
    /// The day at which ages are reckoned that a year can show.
    pub reference: Day,
    #[serde(default)]
    pub vintage: Vintage,
    /// Dates, ages, towns and ZIP codes stay: a limited data set, 164.514(e)(2).
    #[serde(default)]
    pub limited: bool,
    /// Hospitals, insurers and employers stay. The rule lists the identifiers of employers too, so an expert's choice.
    #[serde(default)]
    pub keep_organizations: bool,
    /// A subject is a token, and what its records say is looked for in its texts.
    #[serde(default)]
    pub known: bool,
}

/// What stands in place of what was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScrubWith {
    /// `[NAME]`, `[DATE 2019]`.
    #[default]
    Label,
    /// Made-up values, and dates that move with all other dates of the subject. Derived from what stood there, so by
    /// expert determination only.
    #[serde(rename_all = "kebab-case")]
    Surrogate { max_days: u32, domain: String },
}

pub(super) fn apply(
    rule: &ScrubRule,
    column: &Column<'_>,
    env: &Env,
    told: &mut Spans,
) -> Result<Outcome, KernelError> {
    let detector = Detector::new(DetectorOptions {
        bare_years: true,
        organizations: !rule.keep_organizations,
        ..DetectorOptions::default()
    });
    let mut finder = detector.finder();
    let mut writer = Writer::new(rule, &env.keys);
    let mut dossiers = KnownPeople::new(rule, column, env)?;
    let mut spans = Vec::new();
    let (mut pieces, mut ends) = (Vec::new(), Vec::with_capacity(column.values.len()));
    for (row, text) in column.values.iter().enumerate() {
        if let Some(text) = text {
            spans.clear();
            finder.find(text, &mut spans);
            dossiers.find(row, text);
            merge(text, &dossiers.hits, &spans, writer.shifts.is_none(), &mut pieces);
            dossiers.note(pieces.get(ends.last().copied().unwrap_or(0)..).unwrap_or_default());
        }
        ends.push(pieces.len());
    }
    let names = if writer.shifts.is_some() { dossiers.seeds(column, env)? } else { HashMap::new() };
    let draws = if writer.shifts.is_some() { dossiers.draws(env)? } else { Vec::new() };
    let (values, failures) = to_text(column.values, |row, text, out| {
        let subject = column.subject(row);
        let first = row.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
        let own = pieces.get(first..ends.get(row).copied().unwrap_or(first)).unwrap_or_default();
        let mut done = 0;
        for piece in own {
            out.push_str(text.get(done..piece.start).unwrap_or_default());
            let found = text.get(piece.start..piece.end).unwrap_or_default();
            let written = out.len();
            match piece.what {
                Found::Detected(span) => writer.replace(found, &span, subject, out),
                Found::Known(hit) => {
                    let matcher = dossiers.matcher(row);
                    let draw = dossiers.of(row).and_then(|of| draws.get(of as usize)).copied().unwrap_or_default();
                    let of_other = |person| names.get(&(dossiers.of(row)?, person));
                    writer.known(found, &hit, (subject, draw), matcher, &of_other, out);
                }
            }
            if out.get(written..) != Some(found) {
                told.push(piece.what.replaced());
            }
            done = piece.end;
        }
        told.end_row_at(row);
        out.push_str(text.get(done..).unwrap_or_default());
        Ok(true)
    });
    Ok(Outcome { values: Arc::new(values), failures })
}

/// What is known of the subjects of a batch. It holds PHI: no `Debug`.
struct KnownPeople {
    /// Of each row its subject among `facts`; [`u32::MAX`] for none.
    rows: Vec<u32>,
    tokens: Vec<Token>,
    facts: Vec<KnownFacts>,
    /// Made when the first text of the subject is read.
    matchers: Vec<Option<Matcher>>,
    wanted: Wanted,
    desk: Desk,
    hits: Vec<Hit>,
    at: Option<u32>,
    /// Subjects and people around them whose names stand in some text.
    others: HashSet<(u32, u32)>,
}

impl KnownPeople {
    fn new(rule: &ScrubRule, column: &Column<'_>, env: &Env) -> Result<Self, KernelError> {
        let mut people = Self {
            rows: Vec::new(),
            tokens: Vec::new(),
            facts: Vec::new(),
            matchers: Vec::new(),
            wanted: Wanted { places: !rule.limited, organizations: !rule.keep_organizations },
            desk: Desk::default(),
            hits: Vec::new(),
            at: None,
            others: HashSet::new(),
        };
        let Some(dossiers) = env.dossiers.as_ref().filter(|_| rule.known) else { return Ok(people) };
        let mut tokens: Vec<Token> = Vec::new();
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        for (row, text) in column.values.iter().enumerate() {
            let subject = column.subject(row).filter(|_| text.is_some_and(|text| !text.is_empty()));
            let number = subject.map_or(u32::MAX, |subject| {
                *numbers.entry(subject).or_insert_with(|| {
                    let Some(bits) = base32::read(subject) else { return u32::MAX };
                    tokens.push(Token(bits));
                    tokens.len() as u32 - 1
                })
            });
            people.rows.push(number);
        }
        dossiers.known(&tokens, &mut people.facts)?;
        if people.facts.len() != tokens.len() {
            // One person's dossier must not be taken for another's.
            return Err(
                TokenError::Damaged("it gave another number of dossiers than it was asked for".to_owned()).into()
            );
        }
        people.matchers.resize_with(tokens.len(), || None);
        people.tokens = tokens;
        Ok(people)
    }

    fn of(&self, row: usize) -> Option<u32> {
        self.rows.get(row).copied().filter(|number| *number != u32::MAX)
    }

    fn matcher(&self, row: usize) -> Option<&Matcher> {
        self.matchers.get(self.of(row)? as usize)?.as_ref()
    }

    /// Finds what is known in the text of a row.
    fn find(&mut self, row: usize, text: &str) {
        self.hits.clear();
        self.at = self.of(row);
        let Some(number) = self.at else { return };
        let (Some(facts), Some(matcher)) = (self.facts.get(number as usize), self.matchers.get_mut(number as usize))
        else {
            return;
        };
        let matcher = matcher.get_or_insert_with(|| Matcher::new(facts, self.wanted));
        matcher.find(text, &mut self.desk, &mut self.hits);
    }

    /// Remembers who is named in the text at hand.
    fn note(&mut self, pieces: &[Piece]) {
        let Some(number) = self.at else { return };
        for piece in pieces {
            if let Found::Known(Hit { what: What::Name { person, .. }, .. }) = piece.what
                && person > 0
            {
                self.others.insert((number, person));
            }
        }
    }

    /// How the made-up name of each subject is drawn.
    fn draws(&self, env: &Env) -> Result<Vec<NameDraw>, KernelError> {
        match &env.dossiers {
            Some(dossiers) if !self.tokens.is_empty() => decided(&self.tokens, dossiers.as_ref(), &env.keys.surrogate),
            _ => Ok(Vec::new()),
        }
    }

    /// The seeds of the people around the subjects who are named somewhere: those that structured data seed them with.
    fn seeds(&self, column: &Column<'_>, env: &Env) -> Result<HashMap<(u32, u32), String>, KernelError> {
        let mut subjects: HashMap<u32, &str> = HashMap::new();
        for row in 0..self.rows.len() {
            if let (Some(number), Some(subject)) = (self.of(row), column.subject(row)) {
                subjects.entry(number).or_insert(subject);
            }
        }
        let mut others: Vec<(u32, u32)> = self.others.iter().copied().collect();
        others.sort_unstable();
        let identities: StringViewArray = others
            .iter()
            .map(|(number, person)| {
                let matcher = self.matchers.get(*number as usize).and_then(Option::as_ref);
                let (role, name) = matcher.and_then(|matcher| matcher.other(*person)).unwrap_or_default();
                let subject = subjects.get(number).copied().filter(|_| role != PROVIDER).unwrap_or_default();
                Some(identity_of_other(role, subject, name))
            })
            .collect();
        let seeds = seeds_of_others(&identities, env)?;
        Ok(others.into_iter().zip(seeds.iter().map(|seed| seed.unwrap_or_default().to_owned())).collect())
    }
}

/// A stretch of a text that is replaced.
struct Piece {
    start: usize,
    end: usize,
    what: Found,
}

enum Found {
    Known(Hit),
    Detected(Span),
}

impl Found {
    fn replaced(&self) -> Replaced {
        match self {
            Self::Known(hit) => Replaced { kind: hit.kind, known: true },
            Self::Detected(span) => Replaced { kind: span.kind, known: false },
        }
    }
}

/// Puts together what is known and what was detected in one text: sorted, disjoint, and nothing of either uncovered. With
/// labels, the parts of one name are one.
fn merge(text: &str, hits: &[Hit], spans: &[Span], labels: bool, out: &mut Vec<Piece>) {
    let from = out.len();
    let mut hits = hits.iter().copied().peekable();
    let mut spans = spans.iter().copied().peekable();
    let mut own: Vec<Hit> = Vec::new();
    loop {
        // What overlaps, until nothing does.
        own.clear();
        let first = match (hits.peek(), spans.peek()) {
            (Some(hit), Some(span)) => hit.start.min(span.start),
            (Some(hit), None) => hit.start,
            (None, Some(span)) => span.start,
            (None, None) => break,
        };
        let mut reach = first;
        let mut detected: Vec<Span> = Vec::new();
        loop {
            let is_inside = |start: usize| start == first || start < reach;
            if let Some(hit) = hits.next_if(|hit| is_inside(hit.start)) {
                reach = reach.max(hit.end);
                own.push(hit);
            } else if let Some(span) = spans.next_if(|span| is_inside(span.start)) {
                reach = reach.max(span.end);
                detected.push(span);
            } else {
                break;
            }
        }
        settle(text, &mut own, &detected, out);
    }
    out.get_mut(from..).unwrap_or_default().sort_by_key(|piece| piece.start);
    if labels {
        join(text, out, from);
    }
}

/// One stretch in which what is known and what was detected overlap.
fn settle(text: &str, own: &mut Vec<Hit>, detected: &[Span], out: &mut Vec<Piece>) {
    for span in detected {
        let overlapping = overlapping(own, span);
        let Some(hits) = own.get_mut(overlapping) else { continue };
        let within = |hit: &Hit| span.start <= hit.start && hit.end <= span.end;
        let mut inside = hits.iter().filter(|hit| within(hit));
        let longer = inside.all(|hit| hit.end - hit.start < span.end - span.start);
        let mut inside = hits.iter().filter(|hit| within(hit));
        // A town within an address, a name within a mail address are parts of it; a date is best read as a whole.
        let whole = match span.kind {
            Kind::Email | Kind::Url | Kind::StreetAddress | Kind::Organization => {
                longer && inside.all(|hit| hit.kind != span.kind)
            }
            Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate => {
                longer || inside.all(|hit| label(hit.kind) == "DATE")
            }
            _ => false,
        };
        if whole {
            for hit in hits.iter_mut().filter(|hit| within(hit)) {
                hit.end = hit.start;
            }
        }
        // Of one kind: the known one reaches as far.
        let alike = |hit: &&mut Hit| hit.start < hit.end && label(hit.kind) == label(span.kind);
        if span.kind != Kind::Name
            && let Some(hit) = hits.iter_mut().find(alike)
        {
            hit.start = hit.start.min(span.start);
            hit.end = hit.end.max(span.end);
        }
    }
    own.retain(|hit| hit.start < hit.end);
    own.sort_by_key(|hit| hit.start);
    let mut reach = 0;
    own.retain_mut(|hit| {
        hit.start = hit.start.max(reach);
        reach = reach.max(hit.end);
        hit.start < hit.end
    });
    for span in detected {
        let mut at = span.start;
        let inside = own.get(overlapping(own, span)).unwrap_or_default().iter().map(|hit| (hit.start, hit.end));
        for (start, end) in inside.chain([(span.end, span.end)]) {
            if let Some(rest) = text.get(at..start.max(at)) {
                // Ends that the finding had from the first stay as they are.
                let is_mark = |c: char| !c.is_alphanumeric();
                let trimmed = if at == span.start { rest } else { rest.trim_start_matches(is_mark) };
                let trimmed = if start == span.end { trimmed } else { trimmed.trim_end_matches(is_mark) };
                let trimmed = Some(trimmed).filter(|left| left.contains(char::is_alphanumeric)).unwrap_or_default();
                let whole = (at, start) == (span.start, span.end);
                let trimmed = if whole { rest } else { trimmed };
                if !trimmed.is_empty() {
                    let start = at + rest.find(trimmed).unwrap_or(0);
                    let end = start + trimmed.len();
                    out.push(Piece { start, end, what: Found::Detected(Span { start, end, ..*span }) });
                }
            }
            at = at.max(end);
        }
    }
    out.extend(own.iter().map(|hit| Piece { start: hit.start, end: hit.end, what: Found::Known(*hit) }));
}

/// Which of the hits, sorted and disjoint, overlap a span.
fn overlapping(hits: &[Hit], span: &Span) -> std::ops::Range<usize> {
    let first = hits.partition_point(|hit| hit.end <= span.start);
    first..hits.partition_point(|hit| hit.start < span.end).max(first)
}

/// Makes one piece of the parts of a name, where only blanks and marks stand between them.
fn join(text: &str, pieces: &mut Vec<Piece>, from: usize) {
    let group = |piece: &Piece| match &piece.what {
        Found::Known(hit) => (hit.kind == Kind::Name).then_some(Some(hit.group)),
        Found::Detected(span) => (span.kind == Kind::Name).then_some(None),
    };
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len() - from.min(pieces.len()));
    for piece in pieces.drain(from.min(pieces.len())..) {
        if let Some(last) = joined.last_mut()
            && let (Some(one), Some(other)) = (group(last), group(&piece))
            && (one.is_some() || other.is_some())
            && (one.is_none() || other.is_none() || one == other)
            && let Some(between) = text.get(last.end..piece.start)
            && between.len() <= 16
            && !between.contains(['\'', ';', '/', '\u{2019}'])
            && between.split(|c: char| !c.is_alphanumeric()).all(|word| word.is_empty() || stays_in_name(word))
        {
            last.end = piece.end;
            continue;
        }
        joined.push(piece);
    }
    pieces.append(&mut joined);
}

struct Writer<'a> {
    rule: &'a ScrubRule,
    keys: &'a DeidKeys,
    age: YearsAt,
    shifts: Option<Shifts<'a>>,
    builtin: DateFormats,
    prose: DateFormats,
}

impl<'a> Writer<'a> {
    fn new(rule: &'a ScrubRule, keys: &'a DeidKeys) -> Self {
        let shifts = match &rule.with {
            ScrubWith::Label => None,
            ScrubWith::Surrogate { max_days, domain } => Some(Shifts::new(keys.shift.derive(domain), *max_days)),
        };
        // A date of another spelling becomes a label, so nothing would be lost were the list refused.
        let prose = DateFormats::only(PROSE.map(str::to_owned).to_vec()).unwrap_or_default();
        Self { rule, keys, age: YearsAt::new(rule.reference), shifts, builtin: DateFormats::builtin(), prose }
    }

    /// Writes what stands in place of `found`.
    fn replace(&mut self, found: &str, span: &Span, subject: Option<&'a str>, out: &mut String) {
        let stays = matches!(
            span.kind,
            Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate | Kind::Age | Kind::City | Kind::PostalCode
        );
        if self.rule.limited && stays {
            return out.push_str(found);
        }
        match span.kind {
            Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate => self.date(found, subject, out),
            // Only those over 89 are asked for.
            Kind::Age => out.push_str("90 or older"),
            Kind::PostalCode => {
                // Bare digits within an address, which the tagger finds, can be the number of a house.
                let read = (span.source != tagger::SOURCE).then(|| prefix_of_five(found, self.rule.vintage)).flatten();
                out.push_str(read.unwrap_or("[ZIP]"));
            }
            kind => {
                let invented =
                    self.shifts.is_some() && subject.is_some_and(|subject| self.invent(kind, found, subject, out));
                if !invented {
                    push_label(label(kind), out);
                }
            }
        }
    }

    /// Writes what stands in place of something known. `own`: how the subject's name is drawn. `seed_of` gives the seeds of people who are not the subject.
    fn known<'s>(
        &mut self,
        found: &str,
        hit: &Hit,
        (subject, own): (Option<&'a str>, NameDraw),
        matcher: Option<&Matcher>,
        seed_of: &dyn Fn(u32) -> Option<&'s String>,
        out: &mut String,
    ) {
        let span = Span { start: hit.start, end: hit.end, kind: hit.kind, score: 1.0, source: "known" };
        let (Some(seed), Some(_)) = (subject, &self.shifts) else { return self.replace(found, &span, subject, out) };
        let key = &self.keys.surrogate;
        let start = out.len();
        let written = match hit.what {
            What::Name { person, part, word, initial } => {
                let seed = if person == 0 { Some(seed) } else { seed_of(person).map(String::as_str) };
                let draw = if person == 0 { own } else { NameDraw::default() };
                let of = |kind: SurrogateKind, seed: &str, out: &mut String| of_subject(kind, key, seed, draw, "", out);
                let mut name = String::new();
                let made = seed.is_some_and(|seed| match part {
                    Part::Given => of(SurrogateKind::FirstName, seed, &mut name),
                    Part::Family => of(SurrogateKind::LastName, seed, &mut name),
                    Part::Whole => {
                        of(SurrogateKind::FirstName, seed, &mut name) && of(SurrogateKind::LastName, seed, &mut name)
                    }
                    Part::Further => {
                        let word = matcher.and_then(|matcher| matcher.word(word)).unwrap_or(found);
                        name.push_str(invent_name(key, seed, word));
                        true
                    }
                });
                if made && initial {
                    out.extend(name.chars().next());
                } else if made {
                    push_in_case_of(found, &name, out);
                }
                made
            }
            What::Initials => {
                let letters: Vec<char> = found.chars().filter(|c| c.is_alphanumeric()).collect();
                for (at, c) in found.chars().filter(|c| c.is_alphanumeric() || *c == '.').scan(0, |at, c| {
                    let here = *at;
                    *at += usize::from(c != '.');
                    Some((here, c))
                }) {
                    if c == '.' {
                        out.push('.');
                        continue;
                    }
                    let mut name = String::new();
                    if at > 0 && at + 1 < letters.len() {
                        name.push_str(invent_name(key, seed, &c.to_lowercase().to_string()));
                    } else {
                        let kind = if at == 0 { SurrogateKind::FirstName } else { SurrogateKind::LastName };
                        of_subject(kind, key, seed, own, "", &mut name);
                    }
                    out.extend(name.chars().next());
                }
                true
            }
            What::Own | What::Tail(_) => surrogate_for(hit.kind).is_some_and(|kind| {
                let mut value = String::new();
                let made = of_subject(kind, key, seed, own, found, &mut value);
                // A tail that is of a usual form has been written as one.
                let tail = match hit.what {
                    What::Tail(length) if value.len() > found.len() => usize::from(length),
                    _ => value.len(),
                };
                out.push_str(value.get(value.len().saturating_sub(tail)..).unwrap_or(&value));
                made
            }),
            What::Other => false,
        };
        if !written {
            out.truncate(start);
            self.replace(found, &span, subject, out);
        }
    }

    fn date(&mut self, found: &str, subject: Option<&'a str>, out: &mut String) {
        if let (Some(shifts), Some(subject)) = (&mut self.shifts, subject) {
            let shift = shifts.of(subject);
            let length = out.len();
            if self.moved(found, shift, out).is_some() {
                return;
            }
            out.truncate(length);
        }
        let Some(stamp) = year_of(found, &self.builtin).filter(|stamp| self.age.of(stamp) <= 89) else {
            return push_label("DATE", out);
        };
        if trimmed(found).len() == 4 {
            return out.push_str(found);
        }
        out.push_str("[DATE ");
        out.push_str(&stamp.year.to_string());
        out.push(']');
    }

    /// The date moved by `shift` days, as it was written.
    fn moved(&self, found: &str, shift: i32, out: &mut String) -> Option<()> {
        for formats in [&self.builtin, &self.prose] {
            if let Some(written) = parse_written(found, formats) {
                return written.write_moved(moved(written.stamp.to_day(), shift).ok()?, formats, out);
            }
        }
        // `3/4/21`: from 1901 to 2099 the calendar of a century is that of any other.
        let (day, year) = found.rsplit_once('/')?;
        if year.len() != 2 || day.len() > 5 {
            return None;
        }
        let whole = format!("{day}/20{year}");
        let written = parse_written(&whole, &self.builtin)?;
        let start = out.len();
        written.write_moved(moved(written.stamp.to_day(), shift).ok()?, &self.builtin, out)?;
        let century = out.rfind('/').filter(|slash| *slash > start)? + 1;
        out.replace_range(century..century + 2, "");
        Some(())
    }

    /// Whether something is invented for this kind.
    fn invent(&self, kind: Kind, found: &str, subject: &str, out: &mut String) -> bool {
        let key = &self.keys.surrogate;
        if kind == Kind::Name {
            return push_name(found, out, |word| invent_name(key, subject, word));
        }
        surrogate_for(kind).is_some_and(|kind| invent(kind, key, subject, found, out))
    }
}

/// What is invented in place of a kind but a name.
fn surrogate_for(kind: Kind) -> Option<SurrogateKind> {
    Some(match kind {
        Kind::StreetAddress => SurrogateKind::StreetAddress,
        Kind::City | Kind::County => SurrogateKind::City,
        Kind::Phone | Kind::Fax => SurrogateKind::Phone,
        Kind::Email => SurrogateKind::Email,
        Kind::Ssn => SurrogateKind::Ssn,
        Kind::Url => SurrogateKind::Url,
        Kind::Organization => SurrogateKind::Company,
        Kind::MedicalRecordNumber
        | Kind::HealthPlanId
        | Kind::AccountNumber
        | Kind::LicenceNumber
        | Kind::VehicleId
        | Kind::DeviceId
        | Kind::UniqueId
        | Kind::ProviderId => SurrogateKind::RecordNumber,
        _ => return None,
    })
}

/// Dates as prose spells them, besides the built-in ones. Those that the short names of months read come first, so that they
/// are written back short.
const PROSE: [&str; 12] = [
    "%b %-d, %Y",
    "%B %-d, %Y",
    "%b %-d %Y",
    "%B %-d %Y",
    "%-d %b %Y",
    "%-d %B %Y",
    "%-d-%b-%Y",
    "%b %Y",
    "%B %Y",
    "%b. %-d, %Y",
    "%-m-%-d-%Y",
    "%-m.%-d.%Y",
];

/// The year of a date in any spelling; the whole date where it is of a known one, so that the age is exact. `None` where two
/// years stand in it.
fn year_of(found: &str, formats: &DateFormats) -> Option<Stamp> {
    let plausible = |stamp: &Stamp| (1800..2200).contains(&stamp.year);
    if let Some(stamp) = date::parse(found, formats) {
        return Some(stamp).filter(plausible);
    }
    let runs = found.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() == 4);
    let mut years = runs.filter_map(|run| date::parse(run, formats)).filter(plausible);
    let first = years.next()?;
    years.all(|other| other.year == first.year).then_some(first)
}

/// Whether a word of the name was replaced.
fn push_name<'n>(found: &str, out: &mut String, invent: impl Fn(&str) -> &'n str) -> bool {
    let start = out.len();
    let mut any = false;
    for piece in found.split_inclusive(|c: char| !in_word(c)) {
        let word = piece.trim_end_matches(|c: char| !in_word(c));
        let rest = piece.get(word.len()..).unwrap_or_default();
        let (word, owned) = ["'s", "\u{2019}s"]
            .iter()
            .find_map(|end| word.strip_suffix(end).map(|word| (word, *end)))
            .unwrap_or((word, ""));
        if stays_in_name(word) {
            out.push_str(word);
        } else if word.chars().any(char::is_alphanumeric) {
            any = true;
            let name = invent(word);
            if word.chars().count() == 1 {
                out.extend(name.chars().next());
            } else {
                push_in_case_of(word, name, out);
            }
        }
        out.push_str(owned);
        out.push_str(rest);
    }
    if !any {
        out.truncate(start);
    }
    any
}

/// A word within a name that names nobody.
fn stays_in_name(word: &str) -> bool {
    const STAY: &[&str] = &[
        "al", "and", "bin", "da", "de", "del", "della", "den", "der", "di", "dos", "du", "el", "ii", "iii", "iv", "jr",
        "la", "le", "sr", "van", "von", "y",
    ];
    STAY.iter().any(|stay| stay.eq_ignore_ascii_case(word))
}

fn push_in_case_of(found: &str, name: &str, out: &mut String) {
    let start = out.len();
    out.push_str(name);
    keep_case(out, start, found);
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '\'' | '\u{2019}' | '\u{300}'..='\u{36f}')
}

fn push_label(label: &str, out: &mut String) {
    out.push('[');
    out.push_str(label);
    out.push(']');
}

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Name => "NAME",
        Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate => "DATE",
        Kind::PostalCode => "ZIP",
        Kind::StreetAddress => "ADDRESS",
        Kind::City => "CITY",
        Kind::County => "COUNTY",
        Kind::GeoCoordinate => "LOCATION",
        Kind::Phone => "PHONE",
        Kind::Fax => "FAX",
        Kind::Email => "EMAIL",
        Kind::Ssn => "SSN",
        Kind::MedicalRecordNumber => "MRN",
        Kind::HealthPlanId => "PLAN ID",
        Kind::AccountNumber => "ACCOUNT",
        Kind::LicenceNumber => "LICENCE",
        Kind::VehicleId => "VEHICLE",
        Kind::DeviceId => "DEVICE",
        Kind::Url => "URL",
        Kind::IpAddress => "IP ADDRESS",
        Kind::Biometric => "BIOMETRIC",
        Kind::Photo => "PHOTO",
        Kind::Organization => "ORGANIZATION",
        Kind::State => "STATE",
        _ => "ID",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorted, disjoint stretches of a text.
    fn stretches(dice: &mut impl FnMut(usize) -> usize, text: &str) -> Vec<(usize, usize)> {
        let (mut at, mut out) = (dice(6), Vec::new());
        while at < text.len() {
            let end = (at + 1 + dice(9)).min(text.len());
            out.push((at, end));
            at = end + dice(12);
        }
        out.retain(|(start, end)| text.get(*start..*end).is_some());
        out
    }

    #[test]
    fn nothing_that_is_known_or_detected_is_uncovered_and_nothing_else_covered() {
        const KINDS: [Kind; 7] = [
            Kind::Name,
            Kind::Phone,
            Kind::StreetAddress,
            Kind::City,
            Kind::ServiceDate,
            Kind::Email,
            Kind::MedicalRecordNumber,
        ];
        const TEXT: &str = "Ana Ruiz, 12 Elm St. (617) 555-0143; seen 3/4/21 van der \u{e9}";
        let text: String = TEXT.chars().cycle().take(240).collect();
        let mut state = 1_u64;
        let mut dice = |sides: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % sides
        };
        for round in 0..4000 {
            let labels = round % 2 == 0;
            let mut hits = Vec::new();
            for (start, end) in stretches(&mut dice, &text) {
                let kind = KINDS.get(dice(7)).copied().unwrap_or(Kind::Name);
                hits.push(Hit { start, end, kind, what: What::Own, group: dice(3) as u32 });
            }
            let mut spans = Vec::new();
            for (start, end) in stretches(&mut dice, &text) {
                let kind = KINDS.get(dice(7)).copied().unwrap_or(Kind::Name);
                spans.push(Span { start, end, kind, score: 1.0, source: "test" });
            }
            let mut pieces = Vec::new();
            merge(&text, &hits, &spans, labels, &mut pieces);
            assert!(pieces.is_sorted_by(|one, other| one.end <= other.start), "{round}");
            for (at, c) in text.char_indices().filter(|(_, c)| c.is_alphanumeric()) {
                let found = hits.iter().any(|hit| (hit.start..hit.end).contains(&at))
                    || spans.iter().any(|span| (span.start..span.end).contains(&at));
                let covered = pieces.iter().any(|piece| (piece.start..piece.end).contains(&at));
                assert!(covered || !found, "{round} {at} {c}");
                // Within a name, `van der` goes with what stands around it, and so does the `El` of a cut `Elm`.
                assert!(found || !covered || labels && "vanderEl".contains(c), "{round} {at} {c}");
            }
        }
    }
}
