//! Writing what was planned, with what the kernels gave.

use arrow_array::{Array, StringViewArray};
use cordon_formats::markup::escape as escape_markup;
use hashbrown::HashMap;

use super::plan::{Key, Op, Piece};
use crate::kernel::Reason;
use crate::tally::{Class, Spans, Tally, Values};

/// The results of one gathered column as text.
pub(super) struct Results {
    pub text: StringViewArray,
    pub spans: Option<Box<Spans>>,
    pub failures: HashMap<u32, Reason>,
}

/// What spans and places of a plan stand for.
pub(super) struct Sources<'a> {
    pub text: &'a str,
    pub own: &'a str,
    pub pieces: &'a [Piece],
    pub results: &'a [Option<Results>],
}

/// A value that its rule could not handle: where, and what kind of trouble.
pub(super) struct Unfit {
    pub path: String,
    pub reason: Reason,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts of an open object or array")]
struct Frame {
    /// Where it begins in the output, the comma in front of it included.
    start: usize,
    /// Whether something was written before it in the object or array around it.
    outer_wrote: bool,
    /// Whether something was written in it.
    wrote: bool,
    /// Whether something in it means anything.
    content: bool,
    array: bool,
    aligned: bool,
    key: Key,
    /// Values in it that mean nothing alone.
    labels: u32,
}

/// Writes one resource. Objects and arrays that have become empty are taken back: FHIR has none (R4, json.html).
pub(super) fn resource(ops: &[Op], sources: &Sources<'_>, out: &mut String, desk: &mut Desk) -> Result<(), Unfit> {
    let Desk { frames, told, read } = desk;
    frames.clear();
    told.clear();
    read.clear();
    let mut writer = Writer { sources, out, frames, told, read };
    for op in ops {
        writer.write(op)?;
    }
    Ok(())
}

/// What a writer works with, kept between resources.
#[derive(Default)]
pub(super) struct Desk {
    frames: Vec<Frame>,
    /// What became of the values of the last resource that kernels have made, or that could have gone with them.
    told: Vec<Values>,
    /// The results of the last resource of which it matters what was replaced in them.
    read: Vec<(u16, u32)>,
}

impl Desk {
    /// Counts what became of the last resource.
    pub(super) fn count(&self, sources: &Sources<'_>, tally: &mut Tally) {
        tally.count_all(&self.told);
        for (column, row) in &self.read {
            let results = sources.results.get(usize::from(*column)).and_then(Option::as_ref);
            tally.count_spans(results.and_then(|results| results.spans.as_deref()), *row as usize);
        }
    }
}

struct Writer<'a> {
    sources: &'a Sources<'a>,
    out: &'a mut String,
    frames: &'a mut Vec<Frame>,
    told: &'a mut Vec<Values>,
    read: &'a mut Vec<(u16, u32)>,
}

impl Writer<'_> {
    fn comma(&mut self) {
        if let Some(frame) = self.frames.last_mut()
            && std::mem::replace(&mut frame.wrote, true)
        {
            self.out.push(',');
        }
    }

    fn content(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.content = true;
        }
    }

    /// A key with its quotes and colon, as it stands in the text.
    fn key(&mut self, key: Key) {
        if key.end > 0 {
            let spelled = self.sources.text.get(key.start as usize - 1..key.end as usize + 2);
            self.out.push_str(spelled.unwrap_or_default());
        }
    }

    fn write(&mut self, op: &Op) -> Result<(), Unfit> {
        match *op {
            Op::Copy { start, end } => {
                self.comma();
                self.out.push_str(span(self.sources.text, start, end));
                self.content();
            }
            Op::Label { start, end, count } => {
                match self.frames.last_mut() {
                    Some(frame) => frame.labels += count,
                    None => self.told.push(Values { class: Class::STRUCTURE, count }),
                }
                self.comma();
                self.out.push_str(span(self.sources.text, start, end));
            }
            Op::Literal { start, end } => {
                self.comma();
                self.out.push_str(span(self.sources.own, start, end));
                self.content();
            }
            Op::Open { key, array, aligned } => {
                let start = self.out.len();
                let outer_wrote = self.frames.last().is_some_and(|frame| frame.wrote);
                self.comma();
                self.key(key);
                self.out.push(if array { '[' } else { '{' });
                self.frames.push(Frame {
                    start,
                    outer_wrote,
                    wrote: false,
                    content: false,
                    array,
                    aligned,
                    key,
                    labels: 0,
                });
            }
            Op::Close => self.close(),
            Op::Slot { key, column, bare, row, before, class } => {
                let stays = self.slot(key, column, bare, row, before)?;
                self.told.push(Values::one(if stays { class } else { class.left_empty() }));
            }
            Op::Composed { key, pieces, base64, class } => {
                self.composed(key, pieces, base64)?;
                self.told.push(Values::one(class));
            }
            Op::Null => {
                if self.frames.last().is_some_and(|frame| frame.aligned) {
                    self.comma();
                    self.out.push_str("null");
                }
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let stays = frame.content || self.frames.is_empty();
        let class = if stays { Class::STRUCTURE } else { Class::STRUCTURE.dropped() };
        self.told.push(Values { class, count: frame.labels });
        if stays {
            self.out.push(if frame.array { ']' } else { '}' });
            self.content();
            return;
        }
        self.out.truncate(frame.start);
        if let Some(outer) = self.frames.last_mut() {
            outer.wrote = frame.outer_wrote;
            if outer.aligned {
                self.comma();
                self.out.push_str("null");
            }
        }
    }

    /// Whether something stands there.
    fn slot(&mut self, key: Key, column: u16, bare: bool, row: u32, before: (u32, u32)) -> Result<bool, Unfit> {
        let results = self.sources.results.get(usize::from(column)).and_then(Option::as_ref);
        let at = row as usize;
        let value = results.filter(|results| at < results.text.len() && results.text.is_valid(at));
        let Some(value) = value.map(|results| results.text.value(at)) else {
            if let Some(reason) = results.and_then(|results| results.failures.get(&row)) {
                return Err(Unfit { path: self.path(key), reason: *reason });
            }
            if self.frames.last().is_some_and(|frame| frame.aligned) {
                self.comma();
                self.out.push_str("null");
            }
            return Ok(false);
        };
        self.comma();
        self.key(key);
        if bare {
            self.out.push_str(value);
        } else {
            self.out.push('"');
            self.out.push_str(span(self.sources.own, before.0, before.1));
            escape(self.out, value);
            self.out.push('"');
        }
        self.content();
        self.read(column, row);
        Ok(true)
    }

    fn read(&mut self, column: u16, row: u32) {
        let results = self.sources.results.get(usize::from(column)).and_then(Option::as_ref);
        if results.is_some_and(|results| results.spans.is_some()) {
            self.read.push((column, row));
        }
    }

    fn composed(&mut self, key: Key, pieces: (u32, u32), base64: bool) -> Result<(), Unfit> {
        let pieces = self.sources.pieces.get(pieces.0 as usize..pieces.1 as usize).unwrap_or_default();
        let mut text = String::new();
        for piece in pieces {
            match *piece {
                Piece::Own { start, end } => text.push_str(span(self.sources.own, start, end)),
                Piece::Slot { column, row, markup } => {
                    let results = self.sources.results.get(usize::from(column)).and_then(Option::as_ref);
                    if let Some(reason) = results.and_then(|results| results.failures.get(&row)) {
                        return Err(Unfit { path: self.path(key), reason: *reason });
                    }
                    let at = row as usize;
                    let value = results.filter(|results| at < results.text.len() && results.text.is_valid(at));
                    let value = value.map(|results| results.text.value(at)).unwrap_or_default();
                    self.read(column, row);
                    if markup { escape_markup(&mut text, value) } else { text.push_str(value) }
                }
            }
        }
        self.comma();
        self.key(key);
        self.out.push('"');
        if base64 {
            data_encoding::BASE64.encode_append(text.as_bytes(), self.out);
        } else {
            escape(self.out, &text);
        }
        self.out.push('"');
        self.content();
        Ok(())
    }

    /// The path of a member from the resource's root. Its keys are names that FHIR declares.
    fn path(&self, key: Key) -> String {
        let keys = self.frames.iter().map(|frame| frame.key).chain([key]);
        let names: Vec<&str> =
            keys.filter(|key| key.end > 0).map(|key| span(self.sources.text, key.start, key.end)).collect();
        names.join(".")
    }
}

fn span(text: &str, start: u32, end: u32) -> &str {
    text.get(start as usize..end as usize).unwrap_or_default()
}

/// Appends text as it stands between the quotes of JSON (RFC 8259, 7).
pub(super) fn escape(out: &mut String, text: &str) {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if !text.bytes().any(special) {
        out.push_str(text);
        return;
    }
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control < ' ' => {
                use std::fmt::Write as _;
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
}
