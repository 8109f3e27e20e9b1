//! CSV as RFC 4180 quotes it, lines ended by LF, straight into bytes; and the dirt of real exports.

use crate::catalog::{Column, ColumnType, TABLES, Table, TableSpec};
use crate::day::Day;
use crate::id::Id;
use crate::ink::Ink;
use crate::options::Dirt;
use crate::rng::{Rng, Stream, at};
use crate::rows::Sink;
use crate::summary::{BadRow, Fault};

/// The spellings of a date or timestamp in a dirty export, as chrono's strftime: first the clean ones.
///
/// The last of the dates is a timestamp at midnight; the last of the timestamps carries an offset and is
/// the same instant.
pub const DATE_SPELLINGS: [&str; 8] = [
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M:%SZ",
    "%m/%d/%Y",
    "%Y%m%d",
    "%Y-%m-%dT00:00:00Z",
    "%m/%d/%Y %H:%M:%S",
    "%Y%m%d%H%M%S",
    "%Y-%m-%dT%H:%M:%S%:z",
];

/// Rates as parts of 2^21: three of them are drawn at once from one number.
struct Rates {
    empty: u64,
    spelling: u64,
    unicode: u64,
    space: u64,
    bad_row: f64,
}

/// The CSV of one table for a run of patients.
pub struct CsvTable {
    pub bytes: Vec<u8>,
    pub rows: u64,
    /// Line ends, those inside of quotes included.
    pub lines: u64,
    /// Their lines and rows count from this buffer's start.
    pub bad_rows: Vec<BadRow>,
    spec: &'static TableSpec,
    table: Table,
    rates: Rates,
    clean: bool,
    rng: Rng,
    row_start: usize,
    line_start: u64,
}

fn parts(share: f64) -> u64 {
    (share * (1u64 << 21) as f64) as u64
}

pub fn tables(dirt: &Dirt) -> [CsvTable; 9] {
    use Table as T;
    [
        T::Patients,
        T::Encounters,
        T::Conditions,
        T::Observations,
        T::Medications,
        T::Procedures,
        T::Claims,
        T::Devices,
        T::Notes,
    ]
    .map(|table| CsvTable::new(table, dirt))
}

impl CsvTable {
    fn new(table: Table, dirt: &Dirt) -> Self {
        let rates = Rates {
            empty: parts(dirt.empty),
            spelling: parts(dirt.date_spelling),
            unicode: parts(dirt.unicode),
            space: parts(dirt.trailing_space),
            bad_row: dirt.bad_row,
        };
        let clean = dirt.empty + dirt.date_spelling + dirt.unicode + dirt.trailing_space + dirt.bad_row == 0.0;
        Self {
            bytes: Vec::new(),
            rows: 0,
            lines: 0,
            bad_rows: Vec::new(),
            spec: at(&TABLES, table as usize),
            table,
            rates,
            clean,
            rng: Rng::of(0, Stream::Dirt, 0),
            row_start: 0,
            line_start: 0,
        }
    }

    pub fn header(table: &TableSpec, out: &mut Vec<u8>) {
        for (place, column) in table.columns.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.put(column.name);
        }
        out.push(b'\n');
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bad_rows.clear();
        self.rows = 0;
        self.lines = 0;
        self.row_start = 0;
        self.line_start = 0;
    }

    /// The rows that follow are those of this patient: their dirt depends on nothing else.
    pub fn start_patient(&mut self, seed: u64, number: u64) {
        if !self.clean {
            self.rng = Rng::sub(seed, Stream::Dirt, self.table as u64, number);
        }
    }

    #[inline]
    fn quoted(&mut self, text: &[u8]) {
        if text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
            self.quote(text);
        } else {
            self.bytes.extend_from_slice(text);
        }
    }

    fn quote(&mut self, text: &[u8]) {
        self.bytes.push(b'"');
        for (place, piece) in text.split(|byte| *byte == b'"').enumerate() {
            if place > 0 {
                self.bytes.extend_from_slice(b"\"\"");
            }
            self.bytes.extend_from_slice(piece);
            self.lines += memchr::memchr_iter(b'\n', piece).count() as u64;
        }
        self.bytes.push(b'"');
    }

    #[inline]
    fn comma(&mut self) {
        self.bytes.push(b',');
    }

    /// Whether to lose this field, and two more draws.
    #[inline]
    fn draw(&mut self) -> (bool, u64, u64) {
        const MASK: u64 = (1 << 21) - 1;
        let bits = self.rng.next();
        ((bits & MASK) < self.rates.empty, (bits >> 21) & MASK, (bits >> 42) & MASK)
    }

    fn dirty_text(&mut self, text: &str, odd: bool, spaces: u64) {
        let mut changed = String::with_capacity(text.len() + 8);
        if odd && text.contains(' ') {
            changed.push_str(&text.replacen(' ', "\u{A0}", 1));
        } else if odd {
            decompose(text, &mut changed);
        } else {
            changed.push_str(text);
        }
        for _ in 0..spaces {
            changed.push(' ');
        }
        self.quoted(changed.as_bytes());
    }

    /// Spoils the row just written, if it can be spoiled as drawn.
    fn spoil(&mut self) {
        let row = self.bytes.get(self.row_start..).unwrap_or_default();
        let mut fields = split(row);
        let is = |wanted: &'static [ColumnType]| move |column: &Column| wanted.contains(&column.column_type);
        let fault = match self.rng.below(4) {
            0 => Fault::RaggedRow,
            1 => Fault::InvalidUtf8,
            2 => Fault::ImpossibleDate,
            _ => Fault::TextInNumber,
        };
        let wanted: &'static [ColumnType] = match fault {
            Fault::ImpossibleDate => &[ColumnType::Date, ColumnType::Timestamp],
            Fault::TextInNumber => &[ColumnType::Integer, ColumnType::Decimal],
            Fault::RaggedRow | Fault::InvalidUtf8 => &[ColumnType::Text],
        };
        let fits: Vec<usize> =
            self.spec.columns.iter().enumerate().filter(|(_, c)| is(wanted)(c)).map(|(place, _)| place).collect();
        let column = match (fault, fits.is_empty()) {
            (Fault::RaggedRow, _) => None,
            // A table without numbers has no text in them.
            (_, true) => return,
            // Not the key: a reader may well look for the row by it.
            (_, false) => Some(*self.rng.pick(&fits)).map(|place| place.max(usize::from(fault == Fault::InvalidUtf8))),
        };
        if let Some(field) = column.and_then(|place| fields.get_mut(place)) {
            match fault {
                Fault::ImpossibleDate => {
                    *field = self
                        .rng
                        .pick(&["2023-02-30", "02/30/2023", "20231301", "2023-04-31T10:00:00Z"])
                        .as_bytes()
                        .to_vec();
                }
                Fault::TextInNumber => {
                    *field = self.rng.pick(&["see note", "hemolyzed", "1O2", "12.5.3"]).as_bytes().to_vec();
                }
                // José in Latin-1, and a sequence cut short.
                Fault::InvalidUtf8 => {
                    let place = usize::from(field.first() == Some(&b'"'));
                    let wrong: &[u8] = if self.rng.chance(0.5) { b"Jos\xE9" } else { b"\xE2\x82" };
                    field.splice(place..place, wrong.iter().copied());
                }
                Fault::RaggedRow => {}
            }
        } else if self.rng.chance(0.5) {
            fields.pop();
        } else {
            fields.push(b"extra".to_vec());
        }
        self.bytes.truncate(self.row_start);
        for (place, field) in fields.iter().enumerate() {
            if place > 0 {
                self.bytes.push(b',');
            }
            self.bytes.extend_from_slice(field);
        }
        // A lost field may have held lines.
        let row = self.bytes.get(self.row_start..).unwrap_or_default();
        let inside = memchr::memchr_iter(b'\n', row).count();
        self.lines = self.line_start + inside as u64;
        self.bad_rows.push(BadRow {
            dataset: self.spec.name,
            line: self.line_start,
            row: self.rows,
            column: column.and_then(|place| self.spec.columns.get(place)).map(|column| column.name),
            fault,
        });
    }
}

/// The fields of a row as written, quotes and all.
fn split(row: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = vec![Vec::new()];
    let mut inside = false;
    for byte in row {
        inside ^= *byte == b'"';
        if *byte == b',' && !inside {
            fields.push(Vec::new());
        } else if let Some(field) = fields.last_mut() {
            field.push(*byte);
        }
    }
    fields
}

/// Accents as combining marks (Unicode form D), for the letters that names here have; a no-break space at the
/// end where there are none.
fn decompose(text: &str, out: &mut String) {
    let mut any = false;
    for letter in text.chars() {
        let pair = match letter {
            'é' => Some("e\u{301}"),
            'á' => Some("a\u{301}"),
            'í' => Some("i\u{301}"),
            'ó' => Some("o\u{301}"),
            'ú' => Some("u\u{301}"),
            'ñ' => Some("n\u{303}"),
            'ü' => Some("u\u{308}"),
            'ö' => Some("o\u{308}"),
            'ë' => Some("e\u{308}"),
            'ễ' => Some("e\u{302}\u{303}"),
            'ç' => Some("c\u{327}"),
            _ => None,
        };
        any |= pair.is_some();
        match pair {
            Some(pair) => out.push_str(pair),
            None => out.push(letter),
        }
    }
    if !any {
        out.push('\u{A0}');
    }
}

impl Sink for CsvTable {
    #[inline]
    fn id(&mut self, id: &Id) {
        self.bytes.extend_from_slice(id.bytes());
        self.comma();
    }

    #[inline]
    fn code(&mut self, code: &str) {
        if self.clean || !self.draw().0 {
            self.bytes.put(code);
        }
        self.comma();
    }

    #[inline]
    fn fixed_code(&mut self, code: &str) {
        self.bytes.put(code);
        self.comma();
    }

    #[inline]
    fn text(&mut self, text: &str) {
        if self.clean || text.is_empty() {
            self.quoted(text.as_bytes());
        } else {
            let (lost, odd, space) = self.draw();
            let (odd, space) = (odd < self.rates.unicode, if space < self.rates.space { 1 + space % 2 } else { 0 });
            if lost {
                // Some exports write an empty text as "".
                if odd {
                    self.bytes.put("\"\"");
                }
            } else if odd || space > 0 {
                self.dirty_text(text, odd, space);
            } else {
                self.quoted(text.as_bytes());
            }
        }
        self.comma();
    }

    #[inline]
    fn long_text(&mut self, text: &str) {
        self.quote(text.as_bytes());
        self.comma();
    }

    #[inline]
    fn date(&mut self, day: Option<Day>) {
        if let Some(day) = day {
            let (lost, odd, which) = if self.clean { (false, u64::MAX, 0) } else { self.draw() };
            if lost {
            } else if odd < self.rates.spelling {
                match which % 3 {
                    0 => self.bytes.day_us(day),
                    1 => self.bytes.day_packed(day),
                    _ => {
                        self.bytes.day(day);
                        self.bytes.put("T00:00:00Z");
                    }
                }
            } else {
                self.bytes.day(day);
            }
        }
        self.comma();
    }

    #[inline]
    fn time(&mut self, at: Option<i64>) {
        if let Some(at) = at {
            let (lost, odd, which) = if self.clean { (false, u64::MAX, 0) } else { self.draw() };
            if lost {
            } else if odd < self.rates.spelling {
                match which % 3 {
                    0 => {
                        self.bytes.day_us(Day::of(at));
                        self.bytes.push(b' ');
                        self.bytes.clock(at);
                    }
                    1 => {
                        self.bytes.day_packed(Day::of(at));
                        let second = at.rem_euclid(86_400) as u32;
                        self.bytes.two(second / 3_600);
                        self.bytes.two(second / 60 % 60);
                        self.bytes.two(second % 60);
                    }
                    _ => {
                        self.bytes.instant(at - 5 * 3_600);
                        self.bytes.put("-05:00");
                    }
                }
            } else {
                self.bytes.instant(at);
                self.bytes.push(b'Z');
            }
        }
        self.comma();
    }

    #[inline]
    fn integer(&mut self, value: u32) {
        if self.clean || !self.draw().0 {
            self.bytes.int(u64::from(value));
        }
        self.comma();
    }

    #[inline]
    fn decimal(&mut self, units: i64, scale: u32) {
        if self.clean || !self.draw().0 {
            self.bytes.fixed(units, scale);
        }
        self.comma();
    }

    #[inline]
    fn end(&mut self) {
        // The comma after the last field.
        self.bytes.pop();
        if !self.clean && self.rng.chance(self.rates.bad_row) {
            self.spoil();
        }
        self.bytes.push(b'\n');
        self.lines += 1;
        self.rows += 1;
        self.row_start = self.bytes.len();
        self.line_start = self.lines;
    }
}
