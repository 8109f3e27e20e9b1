//! Values whose rule depends on what they say, or on what stands beside them.

use cordon_formats::fhir::{Kind, TextMedia, Token, attachment_text};
use cordon_formats::markup;

use super::super::form::{self, Form};
use super::super::output::FailureReason;
use super::super::plan::{Cell, Key, Op, Piece};
use super::super::recipe::{Act, Entry, Gathered, StateId};
use super::{Fate, RENAMED, Spanning, Walk, is_value};
use crate::kernel::{Kernel, Otherwise, Reason};
use crate::tally::{Class, Values};

impl<'a> Walk<'a> {
    /// Whether a text is of a form; `object` is what it stands in.
    pub(super) fn formed(&self, form: Form, value: Token, object: usize) -> bool {
        if form == Form::Any || value.kind != Kind::Text {
            return true;
        }
        let text = self.meant(value);
        match form {
            Form::Any | Form::Canonical | Form::Mime | Form::Attached | Form::Narrative => true,
            Form::Word => form::is_word(&text),
            Form::Symbol => form::is_symbol(&text),
            Form::Display => self.is_coded(object),
            Form::Unit => form::is_unit(&text, false) || (form::is_unit(&text, true) && self.is_coded(object)),
            Form::Uri => form::is_uri(&text),
            Form::TypeName => self.recipe.definitions.resource_type(&text).is_some(),
            Form::Place => form::is_place(&text),
            Form::Postal => form::is_postal(&text),
            Form::Time => form::is_time(&text),
            Form::Date => form::is_date(&text),
            Form::Zip => match self.member(object, self.recipe.names.country).map(|at| self.token(at)) {
                Some(country) if country.kind == Kind::Text => form::has_zip_codes(&self.meant(country)),
                Some(country) => country.kind == Kind::Null,
                None => true,
            },
        }
    }

    /// Whether an object names a code and the system that it is of.
    fn is_coded(&self, object: usize) -> bool {
        let end = self.token(object).next as usize;
        let (mut system, mut code) = (false, false);
        let mut at = object + 1;
        while at < end {
            let (key, value) = (self.token(at), self.token(at + 1));
            let said = !key.underscore && value.kind == Kind::Text && value.end > value.start;
            system |= said && key.name == self.recipe.names.system;
            code |= said && key.name == self.recipe.names.code;
            at = value.next as usize;
        }
        system && code
    }

    /// The address of a definition, of an array or (`key`) of a member: it stays where the policy lists its beginning,
    /// and points to what is contained by that one's new name.
    pub(super) fn canonical(&mut self, number: StateId, found: &'a Entry, key: Option<Token>, value: Token) -> Fate {
        let text = self.meant(value);
        if let Some(local) = text.strip_prefix('#') {
            let Some(place) = self.contained_place(local) else {
                self.unresolved += 1;
                self.told.push(Values::one(found.class.left_empty()));
                return Fate::Gone;
            };
            let spelled = key.map(|key| self.spelled(key));
            let (start, end) = self.literal(|own| {
                if let Some(spelled) = spelled {
                    own.push('"');
                    own.push_str(spelled);
                    own.push_str("\":");
                }
                own.push_str("\"#c");
                own.push_str(&place.to_string());
                own.push('"');
            });
            self.ops.push(Op::Literal { start, end });
            self.told.push(Values::one(RENAMED));
            return Fate::Partly;
        }
        if form::is_uri(&text) && self.recipe.canonicals.iter().any(|start| text.starts_with(&**start)) {
            return self.stays(value, found.class);
        }
        self.unlisted(number, found.name);
        self.told.push(Values { class: Class::UNDECLARED, count: u32::from(is_value(&value)) });
        Fate::Gone
    }

    /// A media type, without its parameters.
    pub(super) fn mime(&mut self, number: StateId, found: &'a Entry, key: Token, at: usize) -> Fate {
        let value = self.token(at);
        let text = self.meant(value);
        let Some(bare) = form::mime(&text) else {
            self.undeclared(number, key);
            return self.gone(at, Class::UNDECLARED);
        };
        if bare.len() == text.len() {
            self.capture(found, at, Spanning::ByRule);
            return self.stays(value, found.class);
        }
        let spelled = self.spelled(key);
        let (start, end) = self.literal(|own| {
            own.push('"');
            own.push_str(spelled);
            own.push_str("\":\"");
            own.push_str(bare);
            own.push('"');
        });
        if !self.nested && !self.muted {
            for capture in &found.captures {
                let cell = match capture.own {
                    Some(column) => Cell::Slot { column, row: self.add(column, bare) },
                    None => Cell::Own { start: end - 1 - bare.len() as u32, end: end - 1 },
                };
                self.cells.push((capture.column, cell));
            }
        }
        self.told.push(Values::one(found.class));
        self.ops.push(Op::Literal { start, end });
        Fate::Partly
    }

    /// A text in base64, or a narrative: what is read in it is gathered, what is markup stays around it.
    pub(super) fn document(&mut self, number: StateId, found: &'a Entry, key: Token, at: usize, object: usize) -> Fate {
        let Act::Gather(column) = found.act else { return self.gone(at, found.class.dropped()) };
        let value = self.meant(self.token(at));
        let first = self.pieces.len();
        let base64 = found.form == Form::Attached;
        let taken = if base64 {
            let content_type = self.member(object, self.recipe.names.content_type).map(|at| self.token(at));
            let content_type = content_type.filter(|token| token.kind == Kind::Text).map(|token| self.meant(token));
            self.attached(column, content_type.as_deref().unwrap_or_default(), &value)
        } else {
            self.marked_up(column, &value)
        };
        if taken.is_none() {
            self.pieces.truncate(first);
            self.undeclared(number, key);
            return self.gone(at, Class::UNDECLARED);
        }
        if !self.pieces.iter().skip(first).any(|piece| matches!(piece, Piece::Slot { .. })) {
            self.pieces.truncate(first);
            return self.gone(at, found.class.left_empty());
        }
        let pieces = (first as u32, self.pieces.len() as u32);
        self.ops.push(Op::Composed { key: Key::of(key), pieces, base64, class: found.class });
        Fate::Partly
    }

    /// `None` for what is no text.
    pub(super) fn attached(&mut self, column: Gathered, content_type: &str, base64: &str) -> Option<()> {
        // R4, datatypes.html#base64Binary lets white space stand between.
        let packed: Vec<u8> = base64.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let bytes = data_encoding::BASE64.decode(&packed).ok()?;
        drop(packed);
        let (media, text) = attachment_text(content_type, &bytes)?;
        match media {
            TextMedia::Plain if text.trim().is_empty() => {}
            TextMedia::Plain => {
                let row = self.add(column, &text);
                self.pieces.push(Piece::Slot { column, row, markup: false });
            }
            TextMedia::Markup => self.marked_up(column, &text)?,
        }
        Some(())
    }

    pub(super) fn marked_up(&mut self, column: Gathered, document: &str) -> Option<()> {
        for piece in markup::pieces(document)? {
            let piece = match piece {
                markup::Piece::Markup(markup) => {
                    let (start, end) = self.literal(|own| own.push_str(&markup));
                    Piece::Own { start, end }
                }
                markup::Piece::Text(text) => Piece::Slot { column, row: self.add(column, &text), markup: true },
            };
            self.pieces.push(piece);
        }
        Some(())
    }

    /// A postal code of another country, in a place where ZIP codes are made shorter.
    pub(super) fn foreign_zip(&mut self, number: StateId, found: &'a Entry, key: Token, value: Token) -> Fate {
        if found.act == Act::Keep {
            return self.stays(value, found.class);
        }
        if let Act::Gather(column) = found.act
            && let Some(Kernel::Zip3(rule)) = self.recipe.kernels.get(usize::from(column)).map(|rule| &rule.kernel)
            && rule.otherwise == Otherwise::Fail
        {
            let path = self.recipe.element_path(number, key.name, false);
            self.fail(path, FailureReason::Value(Reason::NotAPostalCode));
        }
        self.told.push(Values { class: found.class.left_empty(), count: u32::from(is_value(&value)) });
        Fate::Gone
    }

    pub(super) fn has_sibling(&self, object: usize, key: Token) -> bool {
        let end = self.token(object).next as usize;
        let mut at = object + 1;
        while at < end {
            let other = self.token(at);
            if other.name == key.name && other.underscore != key.underscore {
                return true;
            }
            at = self.token(at + 1).next as usize;
        }
        false
    }
}
