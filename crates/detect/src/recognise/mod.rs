//! One recogniser a file. Each is asked at a token that can begin (or betray) what it knows, looks a bounded way to both
//! sides, and adds what it finds; overlaps are settled afterwards.

mod address;
mod age;
mod card;
mod date;
mod dea;
mod email;
mod ip;
mod label;
mod mbi;
mod name;
mod npi;
mod number;
mod organization;
mod phone;
mod place;
mod ssn;
mod udi;
mod url;
mod vin;
mod zip;

use cordon_phi::IdentifierKind;

pub(crate) use mbi::is_mbi;

use crate::detector::DetectorOptions;
use crate::lexicon::{Lexicon, Phrase, Tags};
use crate::scan::{Case, Class, Gap, Token};
use crate::span::Span;

/// The tokens of a window, and how to ask about them. Indexes out of range (below zero too) give a token of no class.
pub(crate) struct Context<'t> {
    pub text: &'t str,
    pub tokens: &'t [Token],
    pub options: &'t DetectorOptions,
    pub lexicon: &'static Lexicon,
}

impl<'t> Context<'t> {
    pub fn at(&self, index: usize) -> Token {
        self.tokens.get(index).copied().unwrap_or(Token::NONE)
    }

    pub fn back(&self, index: usize, by: usize) -> Token {
        self.at(index.wrapping_sub(by))
    }

    pub fn bytes(&self, index: usize) -> &'t [u8] {
        let token = self.at(index);
        self.text.as_bytes().get(token.start as usize..token.end as usize).unwrap_or_default()
    }

    pub fn is(&self, index: usize, any: Tags) -> bool {
        self.at(index).tags.has(any)
    }

    /// One of these words, in any case.
    pub fn one_of(&self, index: usize, words: &[&str]) -> bool {
        let bytes = self.bytes(index);
        words.iter().any(|word| bytes.eq_ignore_ascii_case(word.as_bytes()))
    }

    pub fn mark(&self, index: usize, mark: u8) -> bool {
        let token = self.at(index);
        token.class == Class::Punct && token.byte == mark
    }

    pub fn marks(&self, index: usize, marks: &[u8]) -> bool {
        let token = self.at(index);
        token.class == Class::Punct && marks.contains(&token.byte)
    }

    /// A mark with nothing between it and its neighbours.
    pub fn glue(&self, index: usize, mark: u8) -> bool {
        self.mark(index, mark) && self.at(index).gap == Gap::Glued && self.at(index + 1).gap == Gap::Glued
    }

    pub fn glued(&self, index: usize) -> bool {
        self.at(index).gap == Gap::Glued
    }

    /// On the line of the token before it.
    pub fn near(&self, index: usize) -> bool {
        self.at(index).gap <= Gap::Space
    }

    /// The value of a run of at most nine digits.
    pub fn number(&self, index: usize) -> Option<u32> {
        if self.at(index).class != Class::Number {
            return None;
        }
        digits(self.bytes(index))
    }

    /// A number of exactly this many digits.
    pub fn digits(&self, index: usize, count: usize) -> bool {
        let token = self.at(index);
        token.class == Class::Number && token.len() == count
    }

    pub fn add(
        &self,
        out: &mut Vec<Span>,
        from: usize,
        to: usize,
        kind: IdentifierKind,
        score: f32,
        rule: &'static str,
    ) {
        let (start, end) = (self.at(from).start as usize, self.at(to.wrapping_sub(1)).end as usize);
        if start < end {
            out.push(Span { start, end, kind, score, source: rule });
        }
    }

    /// `1.5`, `2-3`, `1/2`: the number is a part of a longer figure on that side.
    pub fn figure_before(&self, index: usize) -> bool {
        self.glued(index)
            && self.marks(index.wrapping_sub(1), b"./-,:^*_")
            && self.glued(index.wrapping_sub(1))
            && matches!(self.back(index, 2).class, Class::Number | Class::Mixed)
    }

    pub fn figure_after(&self, end: usize) -> bool {
        (self.marks(end, b"./-,:^*_")
            && self.glued(end)
            && self.glued(end + 1)
            && self.at(end + 1).class == Class::Number)
            || (self.mark(end, b'%') && self.near(end))
    }

    /// A unit stands behind token `end - 1`, so that the number is a measurement.
    pub fn unit_after(&self, end: usize) -> bool {
        self.near(end) && (self.is(end, Tags::MEASURE) && !self.one_of(end, &["x"]) || self.marks(end, b"%"))
    }

    /// A word that says "code", "version" or the like stands before the token, with at most two marks or small words between.
    pub fn code_before(&self, index: usize) -> bool {
        (1..=4_usize)
            .take_while(|by| {
                let token = self.back(index, *by);
                token.class == Class::Punct && matches!(token.byte, b':' | b'#' | b'-' | b'.' | b'=' | b'(')
                    || token.tags.has(Tags::CODE)
                    || ["code", "id", "no", "number", "cm", "is", "ct"]
                        .iter()
                        .any(|word| self.bytes(index.wrapping_sub(*by)).eq_ignore_ascii_case(word.as_bytes()))
            })
            .any(|by| self.is(index.wrapping_sub(by), Tags::CODE))
    }
}

pub(crate) fn digits(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 9 {
        return None;
    }
    bytes.iter().try_fold(0, |value: u32, digit| {
        digit.is_ascii_digit().then(|| value * 10 + u32::from(digit.wrapping_sub(b'0')))
    })
}

/// Asks every recogniser that a token concerns. One walk over the tokens. `names` are places of names that are known already,
/// ascending.
pub(crate) fn all(cx: &Context<'_>, names: impl Iterator<Item = (usize, usize)>, out: &mut Vec<Span>) {
    // Nothing within a web address or mail address is looked at again: it is found as a whole.
    let mut skip = 0;
    let first = out.len();
    for index in 0..cx.tokens.len() {
        let token = cx.at(index);
        match token.class {
            Class::Number => {
                date::at_number(cx, index, out);
                phone::at_number(cx, index, out);
                ssn::at_number(cx, index, out);
                card::at_number(cx, index, out);
                age::at_number(cx, index, out);
                address::at_number(cx, index, out);
                zip::at_number(cx, index, out);
                ip::at_number(cx, index, out);
                npi::at_number(cx, index, out);
                mbi::at(cx, index, out);
                number::at(cx, index, out);
            }
            Class::Mixed => {
                date::at_mixed(cx, index, out);
                age::at_mixed(cx, index, out);
                address::at_number(cx, index, out);
                ip::at_word(cx, index, out);
                mbi::at(cx, index, out);
                dea::at(cx, index, out);
                vin::at(cx, index, out);
                card::at_mixed(cx, index, out);
                number::at(cx, index, out);
            }
            Class::Word => {
                if token.tags.has(Tags::STARTS_PHRASE)
                    && let Some((phrase, end)) = cx.lexicon.phrase_at(cx.tokens, index)
                {
                    at_phrase(cx, index, end, phrase, out);
                }
                if token.tags.has(Tags::MONTH.or(Tags::WEEKDAY)) {
                    date::at_word(cx, index, out);
                }
                if token.tags.has(Tags::TENS) {
                    age::at_word(cx, index, out);
                }
                if index >= skip && (token.tags.has(Tags::DOMAIN) || token.len() == 3) {
                    skip = skip.max(url::at_word(cx, index, out));
                }
                if token.tags.has(Tags::RELATION) {
                    name::at_relation(cx, index, out);
                }
                if token.tags.has(Tags::STREET) {
                    address::at_street(cx, index, out);
                }
                if token.tags.has(Tags::STREET_FIRST) {
                    address::at_first(cx, index, out);
                }
                if token.tags.has(Tags::UNIT) {
                    address::at_unit(cx, index, out);
                }
                if token.tags.has(Tags::STATE) {
                    place::at_state(cx, index, out);
                }
                if token.is_capitalised() || token.len() == 1 {
                    name::at_capital(cx, index, out);
                    organization::at_capital(cx, index, out);
                    place::at_capital(cx, index, out);
                } else if token.tags.has(Tags::TITLE.or(Tags::FACILITY)) {
                    name::at_title(cx, index, out);
                    organization::at_capital(cx, index, out);
                }
                ip::at_word(cx, index, out);
                number::at(cx, index, out);
            }
            Class::Punct => match token.byte {
                b'@' if index >= skip => skip = skip.max(email::at(cx, index, out)),
                b':' if index >= skip => skip = skip.max(url::at_colon(cx, index, out)),
                b'+' => {
                    phone::at_plus(cx, index, out);
                    udi::at(cx, index, out);
                }
                b'(' => {
                    phone::at_bracket(cx, index, out);
                    udi::at(cx, index, out);
                }
                b'=' => udi::at(cx, index, out),
                _ => {}
            },
            Class::None => {}
        }
    }
    name::again(cx, first, names, out);
}

fn at_phrase(cx: &Context<'_>, from: usize, end: usize, phrase: Phrase, out: &mut Vec<Span>) {
    match phrase {
        Phrase::Label { kind, weak } => label::at(cx, from, end, kind, weak, out),
        Phrase::Holiday => date::at_holiday(cx, from, end, out),
        Phrase::City => place::at_city(cx, from, end, out),
        Phrase::State => place::at_state_name(cx, from, end, out),
        Phrase::Organization => organization::at_known(cx, from, end, out),
        Phrase::NameCue { strong } => name::at_cue(cx, from, end, strong, out),
        Phrase::DateCue(_) | Phrase::Public => {}
    }
    // One phrase can be two things: `attending` is a cue, `date of birth` also a label.
    if let Phrase::DateCue(kind) = phrase {
        date::at_cue(cx, end, kind, out);
    }
}

/// A word that is written as a name is, and is none that we know to be something else.
pub(crate) fn looks_proper(token: Token) -> bool {
    token.is_capitalised()
        && token.end - token.start > 1
        && !token.tags.has(
            Tags::COMMON
                .or(Tags::MONTH)
                .or(Tags::WEEKDAY)
                .or(Tags::DRUG)
                .or(Tags::EPONYM_NOUN)
                .or(Tags::CODE)
                .or(Tags::CREDENTIAL)
                .or(Tags::TITLE),
        )
        && !(token.case == Case::Upper && token.end - token.start <= 3)
}
