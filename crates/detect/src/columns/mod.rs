//! What a column of a table holds: by its name, by its values, and why.

mod hints;
mod shape;
mod values;

use cordon_phi::IdentifierKind;
use hashbrown::HashSet;

use crate::lexicon::Lexicon;
use hints::Hint;
use shape::Shapes;
use values::{Value, Values};

/// What a column seems to hold. No value of it stands in here.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnVerdict {
    pub kind: IdentifierKind,
    /// From 0 to 1; below about one half the kind is a guess that a person must look at.
    pub confidence: f32,
    /// Of the rows with a value, the share whose value is of the kind by its look. Zero when only the name of the column says so.
    pub share: f32,
    /// Rows without a value (null, or nothing but blanks).
    pub nulls: u64,
    pub rows: u64,
    /// How many different values there are: exact up to some thousands, an estimate within a few percent beyond.
    pub distinct: u64,
    /// The most frequent shapes of the values, as `99-aa-9`: digits, letters and marks, never what stood there.
    pub shapes: Vec<(String, f32)>,
    /// Shortest and longest value, in characters.
    pub lengths: (usize, usize),
    /// The share of values that are sentences rather than codes, words or numbers.
    pub prose: f32,
    /// Names of the rules that spoke for the kind, the strongest first.
    pub reasons: Vec<&'static str>,
}

/// Reads a column batch by batch in bounded memory.
///
/// ```
/// use cordon_detect::ProfileBuilder;
/// use cordon_phi::IdentifierKind;
///
/// let mut column = ProfileBuilder::new("patient_ssn");
/// column.update(&[Some("219-09-9999"), None, Some("457-55-5462")]);
/// let verdict = column.finish();
/// assert_eq!(verdict.kind, IdentifierKind::Ssn);
/// assert_eq!((verdict.rows, verdict.nulls, verdict.distinct), (3, 1, 2));
/// ```
pub struct ProfileBuilder {
    hint: Hint,
    rows: u64,
    nulls: u64,
    looked: u64,
    values: Values,
    shapes: Shapes,
    distinct: Distinct,
    lengths: (usize, usize),
}

/// Values looked at closely: more change no verdict.
const CLOSE: u64 = 20_000;

impl ProfileBuilder {
    /// `name` is a column's name or a path (`Patient.name.family`, `PID-5.1`).
    pub fn new(name: &str) -> Self {
        Self {
            hint: hints::of(name),
            rows: 0,
            nulls: 0,
            looked: 0,
            values: Values::new(Lexicon::shipped()),
            shapes: Shapes::default(),
            distinct: Distinct::default(),
            lengths: (usize::MAX, 0),
        }
    }

    /// What the place holds as a standard or a policy has it, in place of what its name seems to say. Values may still say
    /// otherwise. `rule` is among the reasons of the verdict.
    pub fn expect(&mut self, kind: IdentifierKind, rule: &'static str) {
        self.hint = Hint::known(kind, rule);
    }

    pub fn update(&mut self, values: &[Option<&str>]) {
        for value in values {
            self.rows += 1;
            let Some(value) = value.map(str::trim).filter(|value| !value.is_empty()) else {
                self.nulls += 1;
                continue;
            };
            self.distinct.add(value.as_bytes());
            let length = if value.is_ascii() { value.len() } else { value.chars().count() };
            self.lengths = (self.lengths.0.min(length), self.lengths.1.max(length));
            // The first ones all, then every 64th, so that a column that changes its habit is seen.
            if self.looked < CLOSE || self.rows.is_multiple_of(64) {
                self.looked += 1;
                self.values.add(value);
                self.shapes.add(value);
            }
        }
    }

    pub fn finish(self) -> ColumnVerdict {
        let filled = self.rows - self.nulls;
        let distinct = self.distinct.count().min(filled);
        let unique = if filled == 0 { 0.0 } else { distinct as f32 / filled as f32 };
        let (kind, confidence, share, reasons) = self.judge(unique, distinct);
        ColumnVerdict {
            kind,
            confidence,
            share,
            nulls: self.nulls,
            rows: self.rows,
            distinct,
            shapes: self.shapes.top(self.looked),
            lengths: if filled == 0 { (0, 0) } else { self.lengths },
            prose: self.values.share(Value::Prose, self.looked),
            reasons,
        }
    }

    fn judge(&self, unique: f32, distinct: u64) -> Judged {
        use IdentifierKind as K;
        let share = |value: Value| self.values.share(value, self.looked);
        let hint = &self.hint;
        // What nothing but the value can be, whatever the column is called.
        for (value, kind, rule) in values::SURE {
            let part = share(*value);
            if part >= 0.5 && !hint.contradicts(*kind) {
                let kind = hint.refine(*kind);
                let mut reasons = vec![*rule];
                reasons.extend(hint.reason_for(kind));
                return (
                    kind,
                    (0.6 + 0.35 * part + 0.05 * f32::from(u8::from(reasons.len() > 1))).min(1.0),
                    part,
                    reasons,
                );
            }
        }
        if let Some((named, strength, rule)) = hint.best() {
            let agrees = values::agree(named, &self.values, self.looked);
            if let Some(verdict) = self.overruled(named, strength, rule) {
                return verdict;
            }
            let mut reasons = vec![rule];
            // Free text in a column called `address` is an address still; prose in one called `code` is prose.
            if share(Value::Prose) >= 0.3
                && !matches!(named, K::FreeText | K::StreetAddress | K::Name | K::Organization)
            {
                // The words of a vocabulary are sentences at times, and each stands there once.
                let standard = matches!(named, K::Clinical | K::Operational)
                    && (distinct <= 200 && unique <= 0.5
                        || unique < 0.05
                        || strength >= 0.85 && rule != "shipped-policy");
                if !standard {
                    reasons.insert(0, "prose");
                    return (K::FreeText, 0.7, share(Value::Prose), reasons);
                }
            }
            if self.looked == 0 {
                return (named, strength * 0.6, 0.0, vec![rule, "no-values"]);
            }
            if let Some((part, why)) = agrees {
                reasons.push(why);
                return (named, (strength + 0.3 * part).min(0.99), part, reasons);
            }
            return (named, strength * 0.85, 0.0, reasons);
        }
        if self.looked == 0 {
            return (K::FreeText, 0.2, 0.0, vec!["no-values"]);
        }
        for (value, kind, rule, least, sure) in values::LIKELY {
            let part = share(*value);
            if part >= *least {
                return (*kind, sure * part, part, vec![*rule]);
            }
        }
        let numbers = share(Value::Integer) + share(Value::Decimal);
        if numbers >= 0.9 {
            // Whole numbers that never come twice are keys; others are figures.
            if share(Value::Integer) >= 0.95 && unique > 0.95 && distinct > 20 {
                return (K::UniqueId, 0.5, share(Value::Integer), vec!["unique-integers"]);
            }
            return (K::Clinical, 0.5, numbers, vec!["numbers"]);
        }
        if distinct <= 50 && unique < 0.2 {
            return (K::Clinical, 0.45, 1.0 - unique, vec!["few-values"]);
        }
        if share(Value::Token) >= 0.8 && unique > 0.9 {
            return (K::UniqueId, 0.55, share(Value::Token), vec!["unique-codes"]);
        }
        (K::FreeText, 0.4, share(Value::Prose), vec!["unknown-text"])
    }
}

type Judged = (IdentifierKind, f32, f32, Vec<&'static str>);

impl ProfileBuilder {
    /// What the values say against a name that says little.
    fn overruled(&self, named: IdentifierKind, strength: f32, rule: &'static str) -> Option<Judged> {
        use IdentifierKind as K;
        let share = |value: Value| self.values.share(value, self.looked);
        // Whatever a column is called: a number that a machine makes up is somebody's or something's own.
        let harmless = matches!(named, K::Clinical | K::Operational | K::Financial | K::Demographic);
        if harmless && share(Value::Uuid) >= 0.5 {
            return Some((K::UniqueId, 0.7, share(Value::Uuid), vec!["value-uuid", rule]));
        }
        // `name` and `id` are said of wards, vocabularies and companies too.
        if strength > 0.6 || !matches!(named, K::Name | K::UniqueId) {
            return None;
        }
        let named_person = [Value::FullName, Value::Given, Value::Surname].map(share).into_iter().fold(0.0, f32::max);
        if named == K::Name && share(Value::Organization) >= 0.3 {
            return Some((K::Organization, 0.6, share(Value::Organization), vec!["value-organization", rule]));
        }
        (share(Value::Words) >= 0.4 && named_person < 0.15)
            .then(|| (K::Operational, 0.55, share(Value::Words), vec!["value-words", rule]))
    }
}

/// Counts different values: hashes kept as they are up to a limit, then the smallest of them alone (a k-minimum-values sketch).
struct Distinct {
    hashes: HashSet<u64>,
    /// Hashes above this are no longer kept.
    below: u64,
}

impl Default for Distinct {
    fn default() -> Self {
        Self { hashes: HashSet::new(), below: u64::MAX }
    }
}

const KEPT: usize = 4096;

impl Distinct {
    fn add(&mut self, value: &[u8]) {
        let hash = mix(value);
        if hash <= self.below && self.hashes.insert(hash) && self.hashes.len() > 2 * KEPT {
            let mut all: Vec<u64> = self.hashes.drain().collect();
            all.sort_unstable();
            all.truncate(KEPT);
            self.below = all.last().copied().unwrap_or(u64::MAX);
            self.hashes.extend(all);
        }
    }

    fn count(&self) -> u64 {
        let share = self.below as f64 / u64::MAX as f64;
        (self.hashes.len() as f64 / share).round() as u64
    }
}

/// FNV-1a with a finish: the same on every machine and run, as reports must be.
fn mix(value: &[u8]) -> u64 {
    let hash = value
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ (hash >> 33)
}
