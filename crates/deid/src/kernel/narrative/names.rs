//! Names of people, judged by what stands around them.

use cordon_phi::IdentifierKind as Kind;

use super::build::{Person, Use};
use super::person::{PROVIDER, is_affix, is_particle};
use super::word::{self, Case, Class, Gap, NONE, Tok};
use super::{Desk, Hit, Matcher, Part, What};

/// Words of one name that are looked at together.
const MOST: usize = 12;

/// A known word at a token, as a part of somebody's name.
#[derive(Clone, Copy)]
struct Mark {
    tok: usize,
    word: u32,
    part: Part,
    nickname: bool,
}

/// What speaks for a name.
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own, asked by name")]
struct Evidence {
    /// Two parts of one person's name stand together.
    whole: bool,
    /// A fitting initial stands beside it.
    initialled: bool,
    titled: bool,
    /// `her daughter`, `patient:`.
    cued: bool,
    /// Something of it is written with a capital, or given and family name stand in their order.
    written: bool,
}

impl Matcher {
    pub(super) fn names(&self, text: &str, desk: &mut Desk, out: &mut Vec<Hit>) {
        let toks = &desk.toks;
        let mut folded = std::mem::take(&mut desk.folded);
        let (mut at, mut group) = (0, 0);
        let from = out.len();
        let mut marks: Vec<usize> = Vec::new();
        while at < toks.len() {
            if !self.is_named(toks, at) {
                at += 1;
                continue;
            }
            marks.clear();
            marks.push(at);
            while let Some(next) = marks.last().and_then(|last| self.next_mark(toks, *last, text, &mut folded)) {
                marks.push(next);
                if marks.len() == MOST {
                    break;
                }
            }
            at = marks.last().map_or(at, |last| *last) + 1;
            self.cluster(toks, &marks, text, &mut folded, &mut group, out);
        }
        self.initials(toks, text, from, out);
        desk.folded = folded;
    }

    fn is_named(&self, toks: &[Tok], at: usize) -> bool {
        let word = toks.get(at).filter(|tok| tok.word != NONE && tok.is_run()).map(|tok| tok.word);
        word.and_then(|word| self.words.get(word as usize)).is_some_and(super::build::Word::is_name)
    }

    /// The next known word of a name that the one at `at` may belong to.
    fn next_mark(&self, toks: &[Tok], at: usize, text: &str, folded: &mut Vec<u8>) -> Option<usize> {
        let (mut comma, mut unknown, mut steps) = (false, false, 0);
        for (next, tok) in toks.iter().enumerate().skip(at + 1) {
            if tok.class == Class::Gone {
                continue;
            }
            steps += 1;
            if tok.gap == Gap::Blank || steps > 8 {
                return None;
            }
            if self.is_named(toks, next) {
                return Some(next);
            }
            match tok.class {
                Class::Punct => match tok.byte {
                    b',' if !comma => comma = true,
                    b'-' | b'"' | b'(' | b')' | b'_' => {}
                    b'\'' if tok.end - tok.start < 4 && !is_possessive(tok, text) => {}
                    b'.' => {
                        let before = toks.get(next.checked_sub(1)?)?;
                        fold(text, before, folded);
                        let short =
                            before.len == 1 || before.is_run() && std::str::from_utf8(folded).is_ok_and(is_affix);
                        // `maria.hernandez` in an address.
                        let glued =
                            tok.gap == Gap::Glued && toks.get(next + 1).is_some_and(|tok| tok.gap == Gap::Glued);
                        if !short && !glued {
                            return None;
                        }
                    }
                    _ => return None,
                },
                Class::Word => {
                    fold(text, tok, folded);
                    let word = std::str::from_utf8(folded).unwrap_or_default();
                    if tok.len == 1 && tok.case != Case::Lower || is_particle(word) || is_affix(word) {
                        continue;
                    }
                    let is_name = tok.case != Case::Lower
                        && !comma
                        && tok.gap == Gap::Space
                        && !word::is_word(word::flags(folded));
                    if unknown || !is_name {
                        return None;
                    }
                    unknown = true;
                }
                _ => return None,
            }
        }
        None
    }

    /// Judges known words that stand together. Those of somebody else among them are judged on their own.
    fn cluster(
        &self,
        toks: &[Tok],
        marks: &[usize],
        text: &str,
        folded: &mut Vec<u8>,
        group: &mut u32,
        out: &mut Vec<Hit>,
    ) {
        let mut left: Vec<usize> = marks.to_vec();
        while let Some(first) = left.first().copied() {
            let title = title_before(toks, first, text, folded);
            let Some(person) = self.whose(toks, &left, title) else { return };
            let mut own: Vec<Mark> = Vec::with_capacity(left.len());
            let mut others = Vec::new();
            for tok in left {
                match self.mark(toks, tok, person, own.last()) {
                    Some(mark) => own.push(mark),
                    None => others.push(tok),
                }
            }
            *group += 1;
            self.judge(toks, &own, person, title != Title::None, text, folded, *group, out);
            if own.is_empty() {
                return;
            }
            left = others;
        }
    }

    /// Who has most of the words; of several, who fits the title.
    fn whose(&self, toks: &[Tok], marks: &[usize], title: Title) -> Option<u32> {
        let mut counts: Vec<(u32, usize, u32)> = Vec::new();
        for at in marks {
            let Some(tok) = toks.get(*at) else { continue };
            let uses = self.words.get(tok.word as usize).map(|word| word.uses.as_slice()).unwrap_or_default();
            let mut last = NONE;
            for used in uses {
                let Use::Name { person, .. } = *used else { continue };
                if person == last {
                    continue;
                }
                last = person;
                match counts.iter_mut().find(|(known, ..)| *known == person) {
                    Some((_, count, word)) if *word != tok.word => (*count, *word) = (*count + 1, tok.word),
                    Some(_) => {}
                    None => counts.push((person, 1, tok.word)),
                }
            }
        }
        let is_provider =
            |person: u32| self.people.get(person as usize).is_some_and(|person| person.role == Some(PROVIDER));
        counts.sort_by_key(|(person, ..)| *person);
        counts
            .iter()
            .max_by_key(|(person, count, _)| {
                (*count, (title == Title::Doctor) == is_provider(*person), std::cmp::Reverse(*person))
            })
            .map(|(person, ..)| *person)
    }

    fn mark(&self, toks: &[Tok], at: usize, person: u32, before: Option<&Mark>) -> Option<Mark> {
        let tok = toks.get(at)?;
        let uses = &self.words.get(tok.word as usize)?.uses;
        let own = uses.iter().filter_map(|used| match *used {
            Use::Name { person: whose, part, nickname } if whose == person => {
                Some(Mark { tok: at, word: tok.word, part, nickname })
            }
            _ => None,
        });
        let own: Vec<Mark> = own.collect();
        // A word that is both: behind a given name it is the family's.
        let wanted = match before.map(|before| before.part) {
            Some(Part::Given | Part::Further) => Part::Family,
            _ => Part::Given,
        };
        own.iter().find(|mark| mark.part == wanted).or_else(|| own.first()).copied()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the text, its tokens and where findings go, everywhere in this room"
    )]
    fn judge(
        &self,
        toks: &[Tok],
        marks: &[Mark],
        person: u32,
        titled: bool,
        text: &str,
        folded: &mut Vec<u8>,
        group: u32,
        out: &mut Vec<Hit>,
    ) {
        let (Some(first), Some(last)) = (marks.first(), marks.last()) else { return };
        let Some(whose) = self.people.get(person as usize) else { return };
        let (before, behind) = (letters_before(toks, first, whose, text), letters_behind(toks, last, whose, text));
        let whole = marks.iter().any(|mark| mark.word != first.word)
            && (marks.iter().any(|mark| mark.part == Part::Family) || marks.iter().any(|mark| mark.part != first.part));
        let capital = |mark: &Mark| toks.get(mark.tok).is_some_and(|tok| tok.case != Case::Lower);
        let given_first = first.part != Part::Family
            || toks.get(first.tok + 1).is_some_and(|tok| tok.is_mark(b",-") || tok.gap == Gap::Glued);
        let evidence = Evidence {
            whole,
            initialled: !before.is_empty() || !behind.is_empty(),
            titled,
            cued: cue_before(toks, first.tok, whose.role.is_some(), text, folded),
            written: given_first || marks.iter().any(capital),
        };
        let accepted: Vec<Mark> =
            marks.iter().filter(|mark| self.accepts(toks, mark, whose, &evidence, text, folded)).copied().collect();
        if accepted.is_empty() {
            return;
        }
        let mut push = |start: usize, end: usize, part: Part, word: u32, initial: bool| {
            out.push(Hit { start, end, kind: Kind::Name, what: What::Name { person, part, word, initial }, group });
        };
        if accepted.first().is_some_and(|mark| mark.tok == first.tok) {
            for (at, part, word) in before {
                let Some(tok) = toks.get(at) else { continue };
                push(tok.start as usize, tok.end as usize, part, word, true);
            }
        }
        let mut at = 0;
        while let Some(mark) = accepted.get(at) {
            let mut end = mark;
            // Two family names are one to the world.
            while let Some(next) = accepted.get(at + 1)
                && mark.part == Part::Family
                && next.part == Part::Family
                && is_beside(toks, end.tok, next.tok, text, folded)
            {
                at += 1;
                end = next;
            }
            let first_tok = if mark.part == Part::Family && whose.has_particles {
                particles_before(toks, mark.tok, text, folded)
            } else {
                mark.tok
            };
            if let (Some(start), Some(last)) = (toks.get(first_tok), toks.get(end.tok)) {
                push(start.start as usize, last.end as usize, mark.part, mark.word, false);
            }
            if let Some(next) = accepted.get(at + 1) {
                for tok in toks.get(end.tok + 1..next.tok).unwrap_or_default() {
                    if tok.class != Class::Word {
                        continue;
                    }
                    let span = tok.span();
                    if tok.len == 1 {
                        let (part, word) = part_of(whose, tok.byte, false).unwrap_or((Part::Further, NONE));
                        push(span.start, span.end, part, word, true);
                        continue;
                    }
                    fold(text, tok, folded);
                    let word = std::str::from_utf8(folded).unwrap_or_default();
                    if !is_particle(word) && !is_affix(word) {
                        push(span.start, span.end, Part::Further, NONE, false);
                    }
                }
            }
            at += 1;
        }
        if accepted.last().is_some_and(|mark| mark.tok == last.tok) {
            for (at, part, word) in behind {
                let Some(tok) = toks.get(at) else { continue };
                push(tok.start as usize, tok.end as usize, part, word, true);
            }
        }
    }

    fn accepts(
        &self,
        toks: &[Tok],
        mark: &Mark,
        whose: &Person,
        evidence: &Evidence,
        text: &str,
        folded: &mut Vec<u8>,
    ) -> bool {
        let (Some(tok), Some(known)) = (toks.get(mark.tok), self.words.get(mark.word as usize)) else { return false };
        let beside = evidence.whole || evidence.initialled || evidence.titled;
        let own = whose.role.is_none();
        let capital = tok.case != Case::Lower;
        if tok.slip {
            if known.folded.len() < 5 {
                return capital && beside;
            }
            fold(text, tok, folded);
            let frequent = word::is_frequent(word::flags(folded));
            return beside
                || !frequent && (own && (capital || known.folded.len() > 5) || capital && known.folded.len() > 5);
        }
        let ordinary = word::is_ordinary(known.flags, mark.nickname);
        if evidence.titled || evidence.initialled || evidence.cued && capital || evidence.whole && evidence.written {
            return true;
        }
        if !ordinary {
            if known.folded.len() < 3 {
                // `NG` is a tube and `LE` a leg.
                return own && tok.case == Case::Title;
            }
            let short = mark.nickname && known.folded.len() < 4;
            return mark.part == Part::Whole || capital && (own || !short) || own && !short;
        }
        stands_alone(toks, mark.tok, known.flags, text)
    }

    /// Initials of the subject that a text brings in behind the name: `Maria Hernandez (MH)`, and from then on `MH` and `M.H.`.
    fn initials(&self, toks: &[Tok], text: &str, from: usize, out: &mut Vec<Hit>) {
        let Some(subject) = self.people.first() else { return };
        let fits = |letters: &[u8]| {
            let is = |part: Part, letter: Option<&u8>| {
                letter
                    .is_some_and(|letter| subject.initials.iter().any(|(known, of, _)| known == letter && *of == part))
            };
            is(Part::Given, letters.first()) && is(Part::Family, letters.last())
        };
        let introduced = (0..toks.len()).find_map(|at| {
            let (first, last) = run_of_letters(toks, at)?;
            let open = toks.get(at.checked_sub(1)?).filter(|tok| tok.is_mark(b"(\""))?;
            toks.get(last + 1).filter(|tok| tok.is_mark(b".)\""))?;
            let letters = letters_of(toks, first, last, text);
            if !fits(&letters) {
                return None;
            }
            // Names were found from left to right.
            let names = out.get(from..)?;
            let hit = names.get(names.partition_point(|hit| hit.end <= open.start as usize).checked_sub(1)?)?;
            let between = text.get(hit.end..open.start as usize)?;
            let name_before =
                matches!(hit.what, What::Name { person: 0, .. }) && between.len() < 6 && !between.contains('\n');
            name_before.then_some(letters)
        });
        // `S: MH slept well.`, in a text that names the person: what begins a sentence and goes on in small letters.
        let is_named =
            out.get(from..).unwrap_or_default().iter().any(|hit| matches!(hit.what, What::Name { person: 0, .. }));
        let is_subject = |first: usize, last: usize| {
            let begins =
                first.checked_sub(1).and_then(|before| toks.get(before)).is_none_or(|before| before.is_mark(b":.;"))
                    || toks.get(first).is_some_and(|tok| tok.gap >= Gap::Line);
            let goes_on = toks
                .get(last + 1)
                .is_some_and(|tok| tok.class == Class::Word && tok.case == Case::Lower && tok.gap == Gap::Space);
            begins && goes_on
        };
        if introduced.is_none() && !is_named {
            return;
        }
        let mut at = 0;
        while at < toks.len() {
            let Some((first, last)) = run_of_letters(toks, at) else {
                at += 1;
                continue;
            };
            let letters = letters_of(toks, first, last, text);
            if (introduced.as_ref() == Some(&letters) || is_named && fits(&letters) && is_subject(first, last))
                && let (Some(start), Some(end)) = (toks.get(first), toks.get(last))
            {
                let (start, end) = (start.start as usize, end.end as usize);
                out.push(Hit { start, end, kind: Kind::Name, what: What::Initials, group: NONE });
            }
            at = last + 1;
        }
    }
}

/// `MH` or `M.H`, from token to token.
fn run_of_letters(toks: &[Tok], at: usize) -> Option<(usize, usize)> {
    let tok = toks.get(at).filter(|tok| tok.class == Class::Word && tok.case != Case::Lower)?;
    if (2..4).contains(&tok.len) && tok.case == Case::Upper {
        return Some((at, at));
    }
    if tok.len != 1 {
        return None;
    }
    let (mut last, mut letters) = (at, 1);
    while let [point, letter] = toks.get(last + 1..last + 3)?
        && point.is_mark(b".")
        && point.gap == Gap::Glued
        && letter.gap == Gap::Glued
        && letter.class == Class::Word
        && letter.len == 1
        && letters < 4
    {
        last += 2;
        letters += 1;
        if last + 3 > toks.len() {
            break;
        }
    }
    (letters > 1).then_some((at, last))
}

fn letters_of(toks: &[Tok], first: usize, last: usize, text: &str) -> Vec<u8> {
    let (mut letters, mut folded) = (Vec::new(), Vec::new());
    for tok in toks.get(first..=last).unwrap_or_default().iter().filter(|tok| tok.is_run()) {
        fold(text, tok, &mut folded);
        letters.append(&mut folded);
    }
    letters
}

fn fold(text: &str, tok: &Tok, folded: &mut Vec<u8>) {
    word::fold(text.get(tok.span()).unwrap_or_default(), folded);
}

fn is_possessive(tok: &Tok, text: &str) -> bool {
    text.get(tok.span()).is_some_and(|mark| mark.ends_with(['s', 'S']))
}

/// What an initial of somebody stands for; beside a given name rather the family name.
fn part_of(whose: &Person, letter: u8, rather_family: bool) -> Option<(Part, u32)> {
    let fitting = whose.initials.iter().filter(|(known, ..)| *known == letter).map(|(_, part, word)| (*part, *word));
    let fitting: Vec<_> = fitting.collect();
    let wanted = |(part, _): &&(Part, u32)| (*part == Part::Family) == rather_family;
    fitting.iter().find(wanted).or_else(|| fitting.first()).copied()
}

/// Initials before a name: `M. L. Hernandez`.
fn letters_before(toks: &[Tok], first: &Mark, whose: &Person, text: &str) -> Vec<(usize, Part, u32)> {
    let mut found = Vec::new();
    let mut at = first.tok;
    while found.len() < 3 {
        let Some(gap) = toks.get(at).map(|tok| tok.gap).filter(|gap| *gap <= Gap::Line) else { break };
        let Some(mut before) = at.checked_sub(1) else { break };
        let pointed = toks.get(before).is_some_and(|tok| tok.is_mark(b"."));
        if pointed {
            let Some(letter) = before.checked_sub(1) else { break };
            before = letter;
        }
        let Some(tok) = toks.get(before).filter(|tok| tok.class == Class::Word && tok.len == 1) else { break };
        // `Vitamin A Hernandez`, `I saw`.
        let capital = tok.case != Case::Lower;
        if !capital || gap == Gap::Glued && !pointed || text.get(tok.span()) == Some("I") && !pointed {
            break;
        }
        let Some((part, word)) = part_of(whose, tok.byte, first.part != Part::Family) else { break };
        found.push((before, part, word));
        at = before;
    }
    found.reverse();
    found
}

/// Initials behind a name: `Hernandez, M.`, `Maria H.`.
fn letters_behind(toks: &[Tok], last: &Mark, whose: &Person, text: &str) -> Vec<(usize, Part, u32)> {
    let mut found = Vec::new();
    let mut at = last.tok + 1;
    let mut comma = false;
    while found.len() < 3 {
        let Some(tok) = toks.get(at) else { break };
        if tok.is_mark(b",") && found.is_empty() && !comma && last.part == Part::Family {
            comma = true;
            at += 1;
            continue;
        }
        if tok.class != Class::Word || tok.len != 1 || tok.case == Case::Lower || tok.gap > Gap::Space {
            break;
        }
        let pointed = toks.get(at + 1).is_some_and(|tok| tok.is_mark(b".") && tok.gap == Gap::Glued);
        if !(pointed || comma) && matches!(text.get(tok.span()), Some("A" | "I")) {
            break;
        }
        let Some((part, word)) = part_of(whose, tok.byte, last.part != Part::Family) else { break };
        found.push((at, part, word));
        at += if pointed { 2 } else { 1 };
    }
    found
}

/// Whether only blanks, hyphens and particles stand between two family names.
fn is_beside(toks: &[Tok], one: usize, other: usize, text: &str, folded: &mut Vec<u8>) -> bool {
    toks.get(one + 1..other).unwrap_or_default().iter().all(|tok| {
        fold(text, tok, folded);
        tok.class == Class::Gone
            || tok.is_mark(b"-")
            || tok.class == Class::Word && std::str::from_utf8(folded).is_ok_and(is_particle)
    })
}

/// The first of the particles before a family name.
fn particles_before(toks: &[Tok], at: usize, text: &str, folded: &mut Vec<u8>) -> usize {
    let mut first = at;
    while let Some(before) = first.checked_sub(1)
        && let Some(tok) = toks.get(before).filter(|tok| tok.class == Class::Word)
        && toks.get(first).is_some_and(|tok| tok.gap <= Gap::Line)
        && at - before <= 3
    {
        fold(text, tok, folded);
        if !std::str::from_utf8(folded).is_ok_and(|word| is_particle(word) && word != "y" && word != "e") {
            break;
        }
        first = before;
    }
    first
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Title {
    None,
    Any,
    Doctor,
}

/// The word before `at`, over a point and marks of quotation; `None` at the beginning of a line.
fn word_before(toks: &[Tok], at: usize, over: &[u8]) -> Option<usize> {
    let mut here = at;
    for _ in 0..3 {
        if toks.get(here)?.gap > Gap::Line {
            return None;
        }
        here = here.checked_sub(1)?;
        let tok = toks.get(here)?;
        if tok.is_run() {
            return Some(here);
        }
        if !tok.is_mark(over) {
            return None;
        }
    }
    None
}

/// A title before the name, or before the initials and particles in front of it.
fn title_before(toks: &[Tok], at: usize, text: &str, folded: &mut Vec<u8>) -> Title {
    let mut here = at;
    for _ in 0..4 {
        let Some(before) = word_before(toks, here, b".") else { return Title::None };
        let Some(tok) = toks.get(before) else { return Title::None };
        fold(text, tok, folded);
        match std::str::from_utf8(folded).unwrap_or_default() {
            "dr" | "doctor" | "prof" | "professor" | "nurse" | "attending" | "surgeon" => return Title::Doctor,
            "mr" | "mrs" | "ms" | "miss" | "mx" | "sr" | "sra" | "srta" | "senor" | "senora" | "rev" | "mister"
            | "madam" => {
                return Title::Any;
            }
            word if tok.len == 1 || is_particle(word) => here = before,
            _ => return Title::None,
        }
    }
    Title::None
}

/// `patient: Brown`, `her daughter Hope`.
fn cue_before(toks: &[Tok], at: usize, relative: bool, text: &str, folded: &mut Vec<u8>) -> bool {
    let Some(before) = word_before(toks, at, b":,(") else { return false };
    let Some(tok) = toks.get(before) else { return false };
    fold(text, tok, folded);
    let word = std::str::from_utf8(folded).unwrap_or_default();
    match word {
        "patient" | "pt" | "name" | "named" | "called" | "surname" | "client" | "resident" | "veteran" | "aka" => true,
        "daughter" | "son" | "wife" | "husband" | "spouse" | "mother" | "father" | "mom" | "dad" | "sister"
        | "brother" | "aunt" | "uncle" | "niece" | "nephew" | "cousin" | "partner" | "friend" | "guardian"
        | "contact" | "grandson" | "granddaughter" | "grandmother" | "grandfather" | "fiance" | "fiancee"
        | "girlfriend" | "boyfriend" | "neighbor" | "caregiver" => relative,
        _ => false,
    }
}

/// Whether an ordinary word with a capital means somebody or some place here, with nothing beside it.
pub(super) fn stands_alone(toks: &[Tok], at: usize, flags: u32, text: &str) -> bool {
    let Some(tok) = toks.get(at) else { return false };
    let lower = |at: usize| {
        let run = toks.get(at).filter(|tok| tok.is_run() && tok.len < 24);
        run.and_then(|tok| text.get(tok.span())).unwrap_or_default().to_ascii_lowercase()
    };
    let after = toks.get(at + 1);
    let possessive = after.is_some_and(|tok| tok.is_mark(b"'") && is_possessive(tok, text));
    let next = if possessive { at + 2 } else { at + 1 };
    let behind = if toks.get(next).is_some_and(|tok| tok.gap <= Gap::Line) { lower(next) } else { String::new() };
    // `Foley catheter`, `Parkinson's disease`, `Brown sputum`: a word of medicine.
    if EPONYM_NOUNS.contains(&behind.as_str()) {
        return false;
    }
    let before = word_before(toks, at, b"").map(lower).unwrap_or_default();
    if matches!(before.as_str(), "the" | "a" | "an" | "non" | "no") {
        return false;
    }
    let is_month = word::is_plain(flags)
        && matches!(
            lower(at).as_str(),
            "may" | "april" | "june" | "august" | "january" | "summer" | "autumn" | "july" | "march"
        );
    if is_month {
        let counted = |at: Option<usize>| {
            at.and_then(|at| toks.get(at)).is_some_and(|tok| matches!(tok.class, Class::Number | Class::Mixed))
        };
        let timed = matches!(
            before.as_str(),
            "in" | "since"
                | "until"
                | "till"
                | "by"
                | "of"
                | "early"
                | "late"
                | "mid"
                | "last"
                | "next"
                | "this"
                | "through"
                | "during"
                | "before"
                | "after"
                | "from"
                | "to"
                | "on"
                | "around"
        );
        if timed || counted(Some(at + 1)) || counted(at.checked_sub(1)) {
            return false;
        }
    }
    let does = PERSONS_DO.contains(&behind.as_str());
    match place(toks, at) {
        _ if tok.case == Case::Lower => false,
        Place::Within => true,
        Place::Start => does || possessive || !word::is_plain(flags),
        Place::Shouted => does,
    }
}

enum Place {
    Within,
    /// Where any word has a capital.
    Start,
    /// Among words all in capitals.
    Shouted,
}

fn place(toks: &[Tok], at: usize) -> Place {
    let Some(tok) = toks.get(at) else { return Place::Start };
    let before = at.checked_sub(1).and_then(|before| toks.get(before));
    let behind = toks.get(at + 1).filter(|tok| tok.gap <= Gap::Space);
    if tok.case == Case::Upper {
        let beside = [before.filter(|_| tok.gap <= Gap::Space), behind];
        let words = beside.iter().flatten().filter(|tok| tok.class == Class::Word && tok.len > 1);
        let mut cases = words.map(|tok| tok.case).peekable();
        return if cases.peek().is_some() && cases.all(|case| case != Case::Upper) {
            Place::Within
        } else {
            Place::Shouted
        };
    }
    match before {
        Some(before) if tok.gap <= Gap::Space && (before.is_run() || before.is_mark(b",-/&'")) => Place::Within,
        _ => Place::Start,
    }
}

/// What a person does or is, and no thing.
const PERSONS_DO: [&str; 52] = [
    "was",
    "is",
    "has",
    "had",
    "reports",
    "reported",
    "denies",
    "denied",
    "states",
    "stated",
    "presents",
    "presented",
    "complains",
    "complained",
    "came",
    "said",
    "says",
    "returns",
    "returned",
    "arrived",
    "underwent",
    "tolerated",
    "feels",
    "felt",
    "lives",
    "called",
    "requested",
    "appears",
    "remains",
    "describes",
    "endorses",
    "agrees",
    "agreed",
    "understands",
    "verbalized",
    "asked",
    "wants",
    "works",
    "smokes",
    "drinks",
    "takes",
    "took",
    "notes",
    "noted",
    "does",
    "did",
    "went",
    "slept",
    "ate",
    "walked",
    "told",
    "woke",
];

/// What an eponym or a word of medicine stands before.
const EPONYM_NOUNS: [&str; 76] = [
    "disease",
    "syndrome",
    "sign",
    "signs",
    "reflex",
    "score",
    "scale",
    "test",
    "maneuver",
    "manoeuvre",
    "catheter",
    "catheters",
    "lymphoma",
    "sarcoma",
    "tumor",
    "tumour",
    "carcinoma",
    "esophagus",
    "contracture",
    "palsy",
    "paralysis",
    "chorea",
    "anemia",
    "procedure",
    "operation",
    "fracture",
    "fractures",
    "criteria",
    "classification",
    "index",
    "position",
    "line",
    "clamp",
    "drain",
    "tube",
    "dementia",
    "murmur",
    "phenomenon",
    "law",
    "triad",
    "node",
    "nodes",
    "cyst",
    "hernia",
    "angina",
    "thyroiditis",
    "encephalopathy",
    "psychosis",
    "aphasia",
    "area",
    "method",
    "bundle",
    "fibers",
    "duct",
    "gland",
    "glands",
    "cells",
    "bodies",
    "stain",
    "ring",
    "rings",
    "ulcer",
    "ulcers",
    "spots",
    "nodules",
    "lines",
    "approach",
    "incision",
    "retractor",
    "forceps",
    "bag",
    "brace",
    "stockings",
    "sputum",
    "discharge",
    "stool",
];
