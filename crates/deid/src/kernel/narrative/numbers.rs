//! Numbers of letters and digits: compared without signs, blanks, case and leading zeros; whole runs only.

use cordon_phi::IdentifierKind as Kind;

use super::build::{Form, MOST};
use super::word::{self, Class, Gap, LONGEST, Tok};
use super::{Desk, Hit, Matcher, What};

/// Runs that one number may be parted into.
const PARTS: usize = 8;

impl Matcher {
    pub(super) fn numbers(&self, text: &str, desk: &mut Desk, out: &mut Vec<Hit>) {
        let Desk { toks, folded, digits } = desk;
        let mut covered = 0;
        for at in 0..toks.len() {
            let Some(tok) = toks.get(at).copied().filter(|tok| tok.is_run() && tok.start >= covered) else { continue };
            let is_number = tok.class != Class::Word;
            if !is_number && !before_number(toks, at) {
                continue;
            }
            if let Some(hit) = self.last_four_at(text, toks, at).or_else(|| self.number(text, toks, at, folded, digits))
            {
                covered = hit.end as u32;
                out.push(hit);
            }
        }
    }

    /// The longest known number that begins at a token; with a slip, where none is there without.
    fn number(&self, text: &str, toks: &[Tok], at: usize, folded: &mut Vec<u8>, run: &mut Vec<u8>) -> Option<Hit> {
        if self.ids.is_empty() {
            return None;
        }
        let first = toks.get(at)?;
        run.clear();
        let mut best: Option<(u32, usize, bool)> = None;
        let mut parts = 0;
        let mut last = at;
        while let Some(tok) = toks.get(last).filter(|_| parts < PARTS) {
            parts += 1;
            word::fold(text.get(tok.span()).unwrap_or_default(), folded);
            run.extend_from_slice(folded);
            if run.len() > MOST {
                break;
            }
            if let Some(id) = self.is_known(word::without_zeros(run), toks, at, last, text) {
                best = Some((id, last, false));
            } else if best.is_none_or(|(.., slip)| slip)
                && let Some(id) = self.is_nearly_known(word::without_zeros(run), toks, at, last)
            {
                best = Some((id, last, true));
            }
            let Some(next) = next_part(toks, last) else { break };
            last = next;
        }
        if best.is_none()
            && first.class == Class::Mixed
            && let Some(hit) = self.labelled(text, *first, folded)
        {
            return Some(hit);
        }
        let (id, last, _) = best?;
        let id = self.ids.get(id as usize)?;
        let (mut start, end) = (first.start as usize, toks.get(last)?.end as usize);
        // `(617) 555-0143` and `+1 …` begin with their mark.
        while let Some(before) = text.get(..start).and_then(|before| before.chars().next_back())
            && matches!(before, '(' | '+')
            && matches!(id.kind, Kind::Phone | Kind::Fax)
        {
            start -= before.len_utf8();
        }
        Some(Hit { start, end, kind: id.kind, what: id.what, group: 0 })
    }

    fn is_known(&self, run: &[u8], toks: &[Tok], at: usize, last: usize, text: &str) -> Option<u32> {
        let mut found = None;
        self.exact_ids.get(word::hash(run), |number| {
            let Some(id) = self.ids.get(number as usize).filter(|id| *id.canonical == *run) else { return };
            let fits = match id.form {
                Form::Signed => last > at && !is_continued(toks, at, last),
                Form::Labelled => is_labelled(toks, at, text) && !is_continued(toks, at, last),
                Form::Any => run.len() >= 7 || !is_continued(toks, at, last),
            };
            if fits && found.is_none_or(|known| number < known) {
                found = Some(number);
            }
        });
        found
    }

    fn is_nearly_known(&self, run: &[u8], toks: &[Tok], at: usize, last: usize) -> Option<u32> {
        let len = run.len();
        if !(6..=LONGEST).contains(&len)
            || (self.id_lengths >> (len - 1)).trailing_zeros() > 2
            || is_continued(toks, at, last)
        {
            return None;
        }
        let mut found = None;
        let mut candidate = |hash: u64| {
            self.near_ids.get(hash, |number| {
                let near = self.ids.get(number as usize).is_some_and(|id| word::is_near(&id.canonical, run));
                if near && found.is_none_or(|known| number < known) {
                    found = Some(number);
                }
            });
        };
        candidate(word::hash(run));
        word::shorter(run, candidate);
        found
    }

    /// `MRN0012345`: a label and a number in one run.
    fn labelled(&self, text: &str, tok: Tok, folded: &mut Vec<u8>) -> Option<Hit> {
        word::fold(text.get(tok.span())?, folded);
        let letters = folded.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if !LABELS.iter().any(|label| folded.get(..letters) == Some(label.as_bytes())) {
            return None;
        }
        let run = word::without_zeros(folded.get(letters..)?);
        let id = self.exact_ids.first(word::hash(run))?;
        let id = self.ids.get(id as usize).filter(|id| *id.canonical == *run && id.form != Form::Signed)?;
        // The label is of letters of one byte each, and stays.
        Some(Hit { start: tok.start as usize + letters, end: tok.end as usize, kind: id.kind, what: id.what, group: 0 })
    }

    /// `SSN ending in 9999`, `xxx-xx-9999`.
    fn last_four_at(&self, text: &str, toks: &[Tok], at: usize) -> Option<Hit> {
        let tok = toks.get(at).filter(|tok| tok.end - tok.start == 4 && self.last_four.contains(&tok.hash))?;
        let before = toks.get(at.saturating_sub(9)..at).unwrap_or_default();
        let mut masked = 0;
        let mut is_told = false;
        for before in before.iter().rev() {
            if before.gap == Gap::Blank {
                break;
            }
            if before.is_mark(b"*#") {
                masked += 1;
            } else if before.is_run() {
                let run = text.get(before.span()).unwrap_or_default();
                let is = |word: &str| run.eq_ignore_ascii_case(word);
                is_told |= is("ssn") || is("social") || is("ss") || is("last") || is("ending") || is("ends");
                masked += if run.bytes().all(|byte| byte.eq_ignore_ascii_case(&b'x')) { run.len() } else { 0 };
            }
        }
        let span = tok.span();
        (is_told || masked >= 5).then_some(Hit {
            start: span.start,
            end: span.end,
            kind: Kind::Ssn,
            what: What::Tail(4),
            group: 0,
        })
    }
}

const LABELS: [&str; 26] = [
    "mrn", "mr", "id", "pt", "ptid", "acct", "account", "ssn", "ss", "no", "num", "tel", "ph", "phone", "cell", "fax",
    "member", "fin", "csn", "har", "enc", "visit", "case", "record", "dl", "policy",
];

/// A word of a few letters, with a number right behind it: `ABC-123`.
fn before_number(toks: &[Tok], at: usize) -> bool {
    let mut here = at;
    for _ in 0..2 {
        if toks.get(here).is_none_or(|tok| tok.len > 8) {
            return false;
        }
        let Some(next) = next_part(toks, here) else { return false };
        if toks.get(next).is_some_and(|tok| tok.class != Class::Word) {
            return true;
        }
        here = next;
    }
    false
}

/// The run that may belong to the same number as the one at `at`.
fn next_part(toks: &[Tok], at: usize) -> Option<usize> {
    let own = toks.get(at)?;
    let (mut blank, mut marks) = (false, 0);
    for (next, tok) in toks.iter().enumerate().skip(at + 1) {
        if tok.gap >= Gap::Line {
            return None;
        }
        blank |= tok.gap == Gap::Space;
        if tok.is_run() {
            // Over a blank: groups of digits, and letters before digits.
            let fits = !blank
                || tok.class != Class::Word && (own.class != Class::Word || own.case == super::word::Case::Upper);
            return fits.then_some(next);
        }
        marks += 1;
        if marks > 3 || !tok.is_mark(b"-./()#:_+") || blank && !tok.is_mark(b"-()/.") {
            return None;
        }
    }
    None
}

/// Whether a number goes on before the first or behind the last of its runs, with a sign between.
fn is_continued(toks: &[Tok], first: usize, last: usize) -> bool {
    let digits = |tok: Option<&Tok>| tok.is_some_and(|tok| matches!(tok.class, Class::Number | Class::Mixed));
    let sign = |tok: Option<&Tok>| tok.is_some_and(|tok| tok.gap == Gap::Glued && tok.is_mark(b"-./"));
    let glued = |tok: Option<&Tok>| tok.is_some_and(|tok| tok.gap == Gap::Glued);
    let behind = sign(toks.get(last + 1)) && glued(toks.get(last + 2)) && digits(toks.get(last + 2));
    let before = first >= 2 && glued(toks.get(first)) && sign(toks.get(first - 1)) && digits(toks.get(first - 2));
    behind || before
}

/// Whether a word before a short number says that it is one.
fn is_labelled(toks: &[Tok], at: usize, text: &str) -> bool {
    let before = toks.get(at.saturating_sub(4)..at).unwrap_or_default();
    before.iter().any(|tok| {
        let run = text.get(tok.span()).unwrap_or_default();
        tok.is_mark(b"#") || tok.is_run() && LABELS.iter().any(|label| run.eq_ignore_ascii_case(label))
    })
}
