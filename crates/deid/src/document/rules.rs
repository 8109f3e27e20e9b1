//! The rules of a document format as they are compiled: each is checked against the method once, here.

use cordon_phi::IdentifierKind;
use indexmap::IndexMap;

use crate::fhir::recipe::{GatherRule, Gathered, RuleLine, Settled};
use crate::kernel::{Kernel, SpanUnit};
use crate::policy::check::{Common, Subject, limits_of, rule_kernel};
use crate::policy::file::{Action, FieldSection, Otherwise, ValueType};
use crate::policy::method;
use crate::recipe::Allow;
use crate::tally::Class;
use crate::yaml::{At, Position};

/// What is wrong with a section: where, what, and what would be right.
pub(crate) type Issue = (Position, String, Option<String>);

/// A rule after its check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    pub settled: Settled,
    pub kind: IdentifierKind,
    pub action: Action,
    /// What may stay is listed, or a reason is given.
    pub reasoned: bool,
    pub position: Position,
}

impl Rule {
    /// What its values count as.
    pub(crate) fn class(&self) -> Class {
        Class::of(self.kind, self.action)
    }
}

/// Places whose identifiers mean a person, each with the number of its namespace.
pub(crate) struct Identities<P> {
    pub places: Vec<(P, u16)>,
    /// The policy's own first: whose number stands where no identity is declared.
    pub namespaces: Vec<String>,
}

impl<P> Identities<P> {
    /// What a pipeline declares, place by place; `parse` reports what is none.
    pub(crate) fn declared(
        common: &Common,
        identities: &IndexMap<String, String>,
        mut parse: impl FnMut(&str) -> Option<P>,
    ) -> Self {
        let (mut places, mut namespaces) = (Vec::new(), vec![common.subject_domain.clone()]);
        for (text, namespace) in identities {
            let Some(place) = parse(text) else { continue };
            let number = namespaces.iter().position(|known| known == namespace).unwrap_or_else(|| {
                namespaces.push(namespace.clone());
                namespaces.len() - 1
            });
            places.push((place, number as u16));
        }
        Self { places, namespaces }
    }
}

/// What is true for all rules of a dataset.
pub(crate) struct Facts<'a> {
    pub dataset: &'a str,
    pub common: &'a Common,
}

/// The rules of one dataset while they are compiled.
pub(crate) struct Rules<'a> {
    pub facts: Facts<'a>,
    pub issues: Vec<Issue>,
    pub kernels: Vec<GatherRule>,
    /// Whether what a kernel cannot handle becomes an empty place.
    pub lenient: Vec<bool>,
    pub lines: Vec<RuleLine>,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(dataset: &'a str, common: &'a Common) -> Self {
        Self {
            facts: Facts { dataset, common },
            issues: Vec::new(),
            kernels: Vec::new(),
            lenient: Vec::new(),
            lines: Vec::new(),
        }
    }

    pub(crate) fn issue(&mut self, position: Position, message: impl Into<String>, help: Option<String>) {
        let issue = (position, message.into(), help);
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    /// Checks one rule against the method. `domain` is that of its tokens when it names none.
    ///
    /// In documents `otherwise: blank` is for every action: what it cannot handle leaves an empty place, where else the
    /// whole document would go to quarantine.
    pub(crate) fn rule(&mut self, place: &str, at: &At<FieldSection>, domain: &str) -> Option<Rule> {
        let mut field = at.value.clone();
        let common = self.facts.common;
        if field.from.is_some() || field.output.is_some() || field.optional {
            self.issue(at.position, format!("`{place}`: `from`, `as` and `optional` are for tables"), None);
        }
        let action = field.action.unwrap_or_else(|| method::default_action(common.method, field.kind));
        if matches!(action, Action::Token | Action::Hash | Action::Encrypt) && field.domain.is_none() {
            field.domain = Some(domain.to_owned());
        }
        if action == Action::ShiftDate {
            // A document keeps the spelling and precision of its dates.
            field.value_type = Some(ValueType::Text);
        }
        let lenient =
            field.otherwise.take_if(|_| action != Action::Zip3).is_some_and(|otherwise| otherwise == Otherwise::Blank);
        let whole = format!("{}.{place}", self.facts.dataset);
        match rule_kernel(&whole, &field, action, false, Subject::OfDocument, common) {
            Ok(kernel) => {
                if let Some(kernel) = &kernel {
                    common.note_shift(self.facts.dataset, at.position, kernel);
                }
                let limits = limits_of(&field);
                if !limits.blank_where.is_empty() || limits.unit.is_some() {
                    self.issue(
                        at.position,
                        format!("`{place}`: `blank-where` and `unit` are for tables and FHIR"),
                        None,
                    );
                }
                let settled = match kernel {
                    None | Some(Kernel::Null(_)) => Settled::Drop,
                    Some(Kernel::Keep(_)) if limits.allow.is_none() => Settled::Keep,
                    Some(kernel) => Settled::Gather(self.gather(kernel, limits.allow.clone(), lenient)),
                };
                let reasoned = limits.allow.is_some() || field.because.is_some();
                self.lines.push(RuleLine {
                    place: place.to_owned(),
                    kind: field.kind,
                    action,
                    because: field.because.clone(),
                    column: None,
                    limits,
                });
                Some(Rule { settled, kind: field.kind, action, reasoned, position: at.position })
            }
            Err((message, help)) => {
                self.issue(at.position, format!("`{place}`: {message}"), help);
                None
            }
        }
    }

    /// Says when a rule calls harmless what the format itself knows to be an identifier.
    pub(crate) fn hold_to_floor(&mut self, place: &str, rule: &Rule, floor: IdentifierKind) {
        // What else is listed has rules as strict, but to scrub is to hope that what stands there is recognised.
        if rule.kind.clause().is_some() && rule.action != Action::Scrub
            || (floor == IdentifierKind::FreeText && rule.reasoned)
        {
            return;
        }
        self.hold_strictly(place, rule, floor);
    }

    /// Whether the method refuses what a rule does, where a value is this whatever the rule calls it.
    pub(crate) fn is_below(&self, rule: &Rule, floor: IdentifierKind) -> bool {
        let is_said = floor == IdentifierKind::FreeText && rule.reasoned;
        !is_said && method::refusal(self.facts.common.method, floor, rule.action).is_some()
    }

    /// As [`Self::hold_to_floor`], where the format knows exactly what a value is: another listed kind is no way out.
    pub(crate) fn hold_strictly(&mut self, place: &str, rule: &Rule, floor: IdentifierKind) {
        // A rule by type holds in many places; one of them says enough.
        if !self.is_below(rule, floor) || self.issues.iter().any(|(position, ..)| *position == rule.position) {
            return;
        }
        if let Some(refusal) = method::refusal(self.facts.common.method, floor, rule.action) {
            let message = format!(
                "`{place}` holds what is `{}` by its data type, and `{}` of it is not allowed, {}",
                floor.name(),
                rule.action.name(),
                refusal.clause
            );
            let help = if floor == IdentifierKind::FreeText {
                "list what may stay with `allow: […]`, or say with `because: \"…\"` why nothing of a person stands there"
            } else {
                "give it the kind that it is"
            };
            self.issue(rule.position, message, Some(help.to_owned()));
        }
    }

    /// The columns that cap spans of time at 90 years, in the order of [`SpanUnit::ALL`].
    pub(crate) fn span_caps(&mut self) -> [Gathered; SpanUnit::ALL.len()] {
        SpanUnit::ALL.map(|unit| self.gather(Kernel::SpanCap { unit }, None, true))
    }

    fn gather(&mut self, kernel: Kernel, allow: Option<Allow>, lenient: bool) -> Gathered {
        let mut rules = self.kernels.iter().zip(&self.lenient);
        if let Some(known) = rules.position(|(rule, known)| rule.is(&kernel, allow.as_ref()) && *known == lenient) {
            return known as Gathered;
        }
        self.kernels.push(GatherRule::new(kernel, allow));
        self.lenient.push(lenient);
        (self.kernels.len() - 1) as Gathered
    }
}
