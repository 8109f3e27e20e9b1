//! Whose values stand where: the person of each part of a set, and the others whom it names.

use cordon_formats::x12::{Outline, Role, Segment as Sent, SubjectKind, Transaction, Value};

use super::path::{Place, segment_name};
use super::recipe::X12Recipe;
use crate::survey::is_placeholder;

/// The namespace of people who have no number of their own.
const OTHERS: u16 = u16::MAX;

/// Parts of an identity that is made of several.
const BETWEEN: char = '\u{1f}';

/// Who a person is: a namespace and a text. It holds PHI: no `Debug`.
pub(super) struct Identity {
    pub namespace: u16,
    pub text: String,
}

impl X12Recipe {
    /// Who each subject of a set is, by the subject's number; `None` where the set does not say.
    ///
    /// A dependent often has no number, or that of the family: then the subscriber, the given name and the birth date tell
    /// one child from the other.
    pub(super) fn people(&self, set: &Transaction<'_>, outline: &Outline) -> Vec<Option<Identity>> {
        let mut told: Vec<Told> = outline.subjects.iter().map(|_| Told::default()).collect();
        for segment in set.segments() {
            let number = outline.place(segment.index()).and_then(|place| place.subject);
            let Some(told) = number.and_then(|number| told.get_mut(number as usize)) else { continue };
            if segment.name() == b"INS" {
                told.is_dependent = segment.is(1, b"N");
            }
            if segment.is(1, b"0F") && segment.name() == b"REF" {
                told.subscriber = value_of(&segment, 2);
            }
            if Role::of(set, outline, segment.index()) != Role::Subject {
                continue;
            }
            match segment.name() {
                b"NM1" if told.name.is_none() => told.name = value_of(&segment, 4).or(value_of(&segment, 3)),
                b"DMG" if told.birth.is_none() => told.birth = value_of(&segment, 2),
                _ => {}
            }
            if told.identity.is_none() {
                self.each_identity(set, outline, &segment, |namespace, text| {
                    told.identity.get_or_insert_with(|| Identity { namespace, text: text.to_owned() });
                });
            }
        }
        let mut out: Vec<Option<Identity>> = Vec::with_capacity(told.len());
        for (told, subject) in told.into_iter().zip(&outline.subjects) {
            let subscriber = subject.of.and_then(|of| out.get(of as usize)).and_then(Option::as_ref);
            let Told { identity, name, birth, subscriber: number, is_dependent } = told;
            let family = subscriber.map(|subscriber| subscriber.text.clone()).or(number);
            let is_dependent = is_dependent || subject.kind == SubjectKind::Dependent;
            let of_family = identity.as_ref().is_some_and(|own| family.as_ref() == Some(&own.text));
            out.push(match (identity, family) {
                (Some(own), _) if !(is_dependent && of_family) => Some(own),
                (_, Some(family)) if is_dependent && (name.is_some() || birth.is_some()) => {
                    let name = name.unwrap_or_default().to_lowercase();
                    let birth = birth.unwrap_or_default();
                    let text = format!("dependent{BETWEEN}{family}{BETWEEN}{name}{BETWEEN}{birth}");
                    Some(Identity { namespace: OTHERS, text })
                }
                _ => None,
            });
        }
        out
    }

    /// The identifiers of each person of a set: the person's number, a namespace and a value.
    pub fn identities(&self, set: &Transaction<'_>, mut each: impl FnMut(usize, &str, &str)) {
        let outline = Outline::of(set);
        for segment in set.segments() {
            let Some(person) = outline.place(segment.index()).and_then(|place| place.subject) else { continue };
            self.declared(set, &outline, &segment, |namespace, value| {
                let namespace = self.namespaces.get(usize::from(namespace)).map(String::as_str).unwrap_or_default();
                each(person as usize, namespace, value);
            });
        }
    }

    fn each_identity(
        &self,
        set: &Transaction<'_>,
        outline: &Outline,
        segment: &Sent<'_>,
        mut each: impl FnMut(u16, &str),
    ) {
        // With identities declared, an undeclared one would make another person of the same.
        if !self.identities.is_empty() {
            return self.declared(set, outline, segment, |namespace, text| {
                if !is_placeholder(text) {
                    each(namespace, text);
                }
            });
        }
        if is_about(set, outline, segment, &self.subject) {
            valued(segment, &self.subject, |value| each(0, value));
        }
    }

    fn declared(&self, set: &Transaction<'_>, outline: &Outline, segment: &Sent<'_>, mut each: impl FnMut(u16, &str)) {
        for (place, namespace) in &self.identities {
            if is_about(set, outline, segment, place) {
                valued(segment, place, |value| each(*namespace, value));
            }
        }
    }
}

/// What a set says of one person.
#[derive(Default)]
struct Told {
    identity: Option<Identity>,
    name: Option<String>,
    birth: Option<String>,
    /// REF*0F of an enrolment: the family's number.
    subscriber: Option<String>,
    is_dependent: bool,
}

/// Whether a segment is one of the place's and about the person whose part it stands in.
fn is_about(set: &Transaction<'_>, outline: &Outline, segment: &Sent<'_>, place: &Place) -> bool {
    let loop_id = outline.place(segment.index()).map(|place| place.loop_id).unwrap_or_default();
    segment_name(segment.name()) == Some(place.segment)
        && place.is_of(segment, loop_id)
        && Role::of(set, outline, segment.index()) == Role::Subject
}

/// The texts at a place of a segment, those of each repetition; with brackets only behind that qualifier.
fn valued(segment: &Sent<'_>, place: &Place, mut each: impl FnMut(&str)) {
    let wanted = usize::from(place.element.unwrap_or(1));
    let component = usize::from(place.component.unwrap_or(1));
    if place.only.is_none() {
        let values = segment.element(wanted).into_iter().flat_map(|value| value.repetitions());
        values.filter_map(|value| value.component(component)).for_each(|value| tell(&value, &mut each));
        return;
    }
    let only = place.only.as_deref().unwrap_or_default().as_bytes();
    cordon_formats::x12::facts(segment, |fact| {
        if fact.element == wanted && fact.leaf.component == component && fact.qualifier == only {
            tell(&fact.leaf.value, &mut each);
        }
    });
}

fn tell(value: &Value<'_>, each: &mut impl FnMut(&str)) {
    let text = value.text();
    if !text.trim().is_empty() {
        each(text.trim());
    }
}

fn value_of(segment: &Sent<'_>, element: usize) -> Option<String> {
    let value = segment.element(element)?;
    let text = value.text();
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}
