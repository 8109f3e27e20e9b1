//! Writing a text and keeping account of every identifier in it.

use super::Person;
use crate::day::Day;
use crate::ink::Ink;
use crate::rng::Rng;
use crate::world::staff::Provider;

/// Whom a mention is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    Patient,
    /// The emergency contact.
    Contact,
    /// Who is responsible for a child.
    Guardian,
    /// A relative without a name.
    Kin,
    /// By their place in the staff.
    Provider(usize),
    Employer,
    /// Where the provider of this place in the staff works.
    Facility(usize),
}

impl Who {
    pub fn role(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Contact | Self::Guardian | Self::Kin => "relative",
            Self::Provider(_) => "provider",
            Self::Employer => "employer",
            Self::Facility(_) => "organisation",
        }
    }
}

/// How a mention is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub form: &'static str,
    pub misspelt: bool,
}

impl Look {
    pub const fn of(form: &'static str) -> Self {
        Self { form, misspelt: false }
    }
}

/// An identifier in a note: bytes `start..end` of its text.
#[derive(Clone, Copy)]
pub struct Span {
    pub start: u32,
    pub end: u32,
    /// The name of an identifier kind.
    pub kind: &'static str,
    pub who: Who,
    pub look: Look,
    /// Where in the record's values: what is meant, however it is written.
    pub value: (u32, u32),
}

pub struct Pen<'a> {
    pub text: &'a mut String,
    /// Where the text begins that spans count from.
    pub base: usize,
    pub spans: &'a mut Vec<Span>,
    pub values: &'a mut String,
}

impl Pen<'_> {
    pub fn say(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub fn number(&mut self, value: u64) -> &mut Self {
        self.text.int(value);
        self
    }

    /// What `write` writes stands for `value`.
    pub fn mark(
        &mut self,
        kind: &'static str,
        who: Who,
        form: &'static str,
        value: impl FnOnce(&mut String),
        write: impl FnOnce(&mut String),
    ) -> &mut Self {
        self.mark_as(kind, who, value, |out| {
            write(out);
            Look::of(form)
        })
    }

    pub fn mark_as(
        &mut self,
        kind: &'static str,
        who: Who,
        value: impl FnOnce(&mut String),
        write: impl FnOnce(&mut String) -> Look,
    ) -> &mut Self {
        let start = (self.text.len() - self.base) as u32;
        let look = write(self.text);
        let end = (self.text.len() - self.base) as u32;
        if end > start {
            let from = self.values.len() as u32;
            value(self.values);
            let value = (from, self.values.len() as u32);
            self.spans.push(Span { start, end, kind, who, look, value });
        }
        self
    }

    /// The patient's, written as it is.
    pub fn put(&mut self, kind: &'static str, text: &str) -> &mut Self {
        self.exact(kind, Who::Patient, text)
    }

    pub fn exact(&mut self, kind: &'static str, who: Who, text: &str) -> &mut Self {
        self.mark(kind, who, "exact", |out| out.push_str(text), |out| out.push_str(text))
    }

    /// A name written `text` of whoever is called `full` in full.
    pub fn name(&mut self, who: Who, form: &'static str, full: &str, text: &str) -> &mut Self {
        self.mark("name", who, form, |out| out.push_str(full), |out| out.push_str(text))
    }

    pub fn patient(&mut self, person: &Person, form: &'static str, text: &str) -> &mut Self {
        self.mark("name", Who::Patient, form, |out| person.write_name(out), |out| out.push_str(text))
    }

    /// With the title, as notes are signed.
    pub fn doctor(&mut self, place: usize, provider: &Provider) -> &mut Self {
        self.mark(
            "name",
            Who::Provider(place),
            "title-full",
            |out| provider.write_name(out),
            |out| out.push_str(&provider.name),
        )
    }

    pub fn date(&mut self, rng: &mut Rng, day: Day) -> &mut Self {
        self.dated("service-date", rng, day)
    }

    pub fn dated(&mut self, kind: &'static str, rng: &mut Rng, day: Day) -> &mut Self {
        self.mark(kind, Who::Patient, "date", |out| out.day(day), |out| spell(rng, day, out))
    }

    /// A date with its year: a birth date in a heading always has it.
    pub fn dated_full(&mut self, kind: &'static str, rng: &mut Rng, day: Day) -> &mut Self {
        let packed = rng.below(4);
        self.mark(
            kind,
            Who::Patient,
            "date",
            |out| out.day(day),
            |out| match packed {
                0 => out.day(day),
                _ => out.day_us(day),
            },
        )
    }

    /// Ages are identifiers only above 89, yet every one of them is marked: a detector decides by the number.
    pub fn age(&mut self, years: i32, after: &str) -> &mut Self {
        self.age_of(Who::Patient, years).say(after)
    }

    pub fn age_of(&mut self, who: Who, years: i32) -> &mut Self {
        let years = years.max(0) as u64;
        self.mark("age", who, "exact", |out| out.int(years), |out| out.int(years))
    }
}

pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// A date as people type it.
pub fn spell(rng: &mut Rng, day: Day, out: &mut String) {
    let (year, month, date) = day.civil();
    let name = *MONTHS.get(month as usize - 1).unwrap_or(&"");
    let short = name.get(..3).unwrap_or(name);
    let number = |out: &mut String, value: u32| out.int(u64::from(value));
    match rng.below(12) {
        0 | 1 => out.day_us(day),
        2 => out.day(day),
        3 => {
            number(out, month);
            out.ascii(b'/');
            number(out, date);
            out.ascii(b'/');
            out.two((year % 100) as u32);
        }
        4 => {
            out.put(name);
            out.ascii(b' ');
            number(out, date);
            out.put(", ");
            out.four(year as u32);
        }
        5 => {
            number(out, date);
            out.ascii(b' ');
            out.put(short);
            out.ascii(b' ');
            out.four(year as u32);
        }
        6 => {
            out.put(short);
            out.put(". ");
            number(out, date);
            out.put(match date {
                1 | 21 | 31 => "st",
                2 | 22 => "nd",
                3 | 23 => "rd",
                _ => "th",
            });
            out.put(", ");
            out.four(year as u32);
        }
        7 => {
            out.put(WEEKDAYS.get(day.0.rem_euclid(7) as usize).unwrap_or(&""));
            out.put(", ");
            out.put(name);
            out.ascii(b' ');
            number(out, date);
        }
        8 => {
            number(out, month);
            out.ascii(b'/');
            number(out, date);
        }
        9 => {
            out.two(date);
            out.ascii(b'-');
            out.put(short);
            out.ascii(b'-');
            out.four(year as u32);
        }
        10 => {
            out.two(month);
            out.ascii(b'.');
            out.two(date);
            out.ascii(b'.');
            out.four(year as u32);
        }
        _ => {
            out.put(name);
            out.ascii(b' ');
            out.four(year as u32);
        }
    }
}
