//! What was found in what was de-identified, and what was done with it: numbers, and never a value.
//!
//! A value is counted once, by the identifier kind that its rule gives it and by what became of it. What a value is depends on
//! the format alone and never on the policy, so that the numbers of a dataset add up to all that stands in it:
//!
//! | format | one value |
//! |---|---|
//! | tables, notes | a cell that is not blank; of a column with several rules, one for each |
//! | FHIR | a text, number or truth value of JSON, `resourceType` included |
//! | HL7 v2 | a sub-component (a component or field without parts) that is neither empty nor `""`, MSH-1 and MSH-2 aside |
//! | C-CDA | an attribute's value or a piece of text that is not blank, a comment, a processing instruction |
//! | X12 | a component or repetition of an element between ST and SE that is not blank |
//! | DICOM | an element that is no sequence and not empty, the meta group's included |
//!
//! What is not in the output because its record was put aside is not counted.

use cordon_phi::IdentifierKind as Kind;

use crate::policy::file::Action;

const KINDS: usize = Kind::ALL.len();

/// In the order of their declaration.
const ACTIONS: [Action; 16] = [
    Action::Keep,
    Action::Drop,
    Action::Blank,
    Action::Redact,
    Action::Year,
    Action::Age,
    Action::AgeCap,
    Action::Zip3,
    Action::Bin,
    Action::FirstChars,
    Action::ShiftDate,
    Action::Token,
    Action::Hash,
    Action::Encrypt,
    Action::Surrogate,
    Action::Scrub,
];

/// What is found beside the identifier kinds.
const FURTHER: [&str; 3] = ["structure", "excluded", "undeclared"];
/// What is done beside the actions.
const LEFT_EMPTY: usize = ACTIONS.len();
const NOT_PASSED: usize = ACTIONS.len() + 1;
const DEEDS: usize = ACTIONS.len() + 2;

/// What a value was found to be, and what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Class(u16);

impl Class {
    /// The format's own words, and what only says how another value is to be read.
    pub(crate) const STRUCTURE: Self = Self((KINDS * DEEDS) as u16);
    /// In a segment, section, resource or act that the policy leaves out whole.
    pub(crate) const EXCLUDED: Self = Self(((KINDS + 1) * DEEDS) as u16 + Action::Drop as u16);
    /// No rule reaches it, or it is not of the form that its place has.
    pub(crate) const UNDECLARED: Self = Self(((KINDS + 2) * DEEDS + NOT_PASSED) as u16);

    pub(crate) const fn of(kind: Kind, action: Action) -> Self {
        Self((kind as usize * DEEDS + action as usize) as u16)
    }

    /// The same kind, of which the rule left nothing.
    pub(crate) fn left_empty(self) -> Self {
        self.done(LEFT_EMPTY)
    }

    /// The same kind, dropped.
    pub(crate) fn dropped(self) -> Self {
        self.done(Action::Drop as usize)
    }

    /// The same kind, as it was.
    pub(crate) fn kept(self) -> Self {
        self.done(Action::Keep as usize)
    }

    fn done(self, deed: usize) -> Self {
        let at = usize::from(self.0);
        Self((at - at % DEEDS + deed) as u16)
    }

    /// Whether its action leaves nothing by intent.
    pub(crate) fn is_emptied(self) -> bool {
        let deed = usize::from(self.0) % DEEDS;
        deed == Action::Drop as usize || deed == Action::Blank as usize || deed > Action::Scrub as usize
    }
}

/// So many values of a class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values {
    pub class: Class,
    pub count: u32,
}

impl Values {
    pub(crate) fn one(class: Class) -> Self {
        Self { class, count: 1 }
    }
}

/// What stood in one scrubbed text and was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub kind: Kind,
    /// The subject's records say it; else it was detected.
    pub known: bool,
}

/// What was replaced in each text of a column.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    ends: Vec<u32>,
    list: Vec<Replaced>,
}

impl Spans {
    pub(crate) fn push(&mut self, span: Replaced) {
        self.list.push(span);
    }

    /// Ends the text of a row; rows before it that have none had no text.
    pub(crate) fn end_row_at(&mut self, row: usize) {
        let before = self.ends.last().copied().unwrap_or(0);
        self.ends.resize(row.max(self.ends.len()), before);
        self.ends.push(self.list.len() as u32);
    }

    fn of_row(&self, row: usize) -> &[Replaced] {
        let end = |row: usize| self.ends.get(row).copied().unwrap_or(0) as usize;
        let start = row.checked_sub(1).map_or(0, end);
        self.list.get(start..end(row)).unwrap_or_default()
    }
}

/// Numbers of values by kind and deed, and of spans that were replaced within scrubbed texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    values: Vec<u64>,
    known: Vec<u64>,
    detected: Vec<u64>,
}

impl Tally {
    /// Adds what another batch came to.
    pub fn add(&mut self, other: &Self) {
        for (all, more) in
            [(&mut self.values, &other.values), (&mut self.known, &other.known), (&mut self.detected, &other.detected)]
        {
            if all.len() < more.len() {
                all.resize(more.len(), 0);
            }
            for (all, more) in all.iter_mut().zip(more) {
                *all += more;
            }
        }
    }

    /// Kind, deed and number of values. Kinds are those of [`Kind`], `structure`, `excluded` and `undeclared`; deeds are the
    /// actions, `left-empty` (the rule could not handle the value, or lets nothing of it stay) and `not-passed`.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.values.iter().enumerate().filter(|(_, count)| **count > 0).map(|(at, count)| {
            let (found, deed) = (at / DEEDS, at % DEEDS);
            let kind = Kind::ALL.get(found).map(|kind| kind.name());
            let kind = kind.or_else(|| FURTHER.get(found.wrapping_sub(KINDS)).copied()).unwrap_or("?");
            let deed = ACTIONS.get(deed).map(|action| action.name());
            (kind, deed.unwrap_or(if at % DEEDS == LEFT_EMPTY { "left-empty" } else { "not-passed" }), *count)
        })
    }

    /// Kind, and how many spans of it were replaced in scrubbed texts: those that the subjects' records say, and those that
    /// were detected.
    pub fn spans(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        Kind::ALL.iter().enumerate().filter_map(|(at, kind)| {
            let of = |counts: &[u64]| counts.get(at).copied().unwrap_or(0);
            let (known, detected) = (of(&self.known), of(&self.detected));
            (known + detected > 0).then(|| (kind.name(), known, detected))
        })
    }

    pub(crate) fn count(&mut self, values: Values) {
        if values.count == 0 {
            return;
        }
        let at = usize::from(values.class.0);
        if self.values.len() <= at {
            self.values.resize((KINDS + FURTHER.len()) * DEEDS, 0);
        }
        if let Some(slot) = self.values.get_mut(at) {
            *slot += u64::from(values.count);
        }
    }

    pub(crate) fn count_all(&mut self, all: &[Values]) {
        for values in all {
            self.count(*values);
        }
    }

    /// What was replaced in one text.
    pub(crate) fn count_spans(&mut self, spans: Option<&Spans>, row: usize) {
        for span in spans.map(|spans| spans.of_row(row)).unwrap_or_default() {
            let counts = if span.known { &mut self.known } else { &mut self.detected };
            if counts.is_empty() {
                counts.resize(KINDS, 0);
            }
            if let Some(slot) = counts.get_mut(span.kind as usize) {
                *slot += 1;
            }
        }
    }
}

/// Counts of the record at hand, for records come one after the other and some of them fail.
#[derive(Debug)]
pub(crate) struct Counter {
    counts: Vec<u32>,
    /// Which of them are not zero.
    touched: Vec<Class>,
    /// Of the records before.
    ended: Vec<Values>,
}

impl Default for Counter {
    fn default() -> Self {
        Self { counts: vec![0; (KINDS + FURTHER.len()) * DEEDS], touched: Vec::new(), ended: Vec::new() }
    }
}

impl Counter {
    #[inline]
    pub(crate) fn count(&mut self, values: Values) {
        if values.count > 0
            && let Some(slot) = self.counts.get_mut(usize::from(values.class.0))
        {
            if *slot == 0 {
                self.touched.push(values.class);
            }
            *slot = slot.saturating_add(values.count);
        }
    }

    /// Ends a record; says where its counts end among [`Self::ended`].
    pub(crate) fn end(&mut self) -> usize {
        for class in self.touched.drain(..) {
            if let Some(slot) = self.counts.get_mut(usize::from(class.0)) {
                self.ended.push(Values { class, count: std::mem::take(slot) });
            }
        }
        self.ended.len()
    }

    /// The counts of all records that ended.
    pub(crate) fn ended(self) -> Vec<Values> {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_names_of_their_kinds_and_actions() {
        for (at, action) in ACTIONS.iter().enumerate() {
            assert_eq!(*action as usize, at);
        }
        for (at, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
        }
        let mut tally = Tally::default();
        let name = Class::of(Kind::Name, Action::Surrogate);
        for class in
            [name, name.left_empty(), Class::of(Kind::Operational, Action::Scrub), Class::STRUCTURE, Class::EXCLUDED]
        {
            tally.count(Values { class, count: 2 });
        }
        tally.count(Values::one(Class::UNDECLARED));
        let told: Vec<_> = tally.values().collect();
        assert_eq!(
            told,
            [
                ("name", "surrogate", 2),
                ("name", "left-empty", 2),
                ("operational", "scrub", 2),
                ("structure", "keep", 2),
                ("excluded", "drop", 2),
                ("undeclared", "not-passed", 1)
            ]
        );
    }

    #[test]
    fn records_are_counted_one_by_one() {
        let mut counter = Counter::default();
        counter.count(Values::one(Class::STRUCTURE));
        counter.count(Values { class: Class::UNDECLARED, count: 3 });
        counter.count(Values::one(Class::STRUCTURE));
        assert_eq!(counter.end(), 2);
        counter.count(Values::one(Class::STRUCTURE));
        assert_eq!(counter.end(), 3);
        let counts: Vec<u32> = counter.ended().iter().map(|values| values.count).collect();
        assert_eq!(counts, [2, 3, 1]);
    }
}
