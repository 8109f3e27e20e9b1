//! The rules of a document format as they are compiled: each is checked against the method once, here.

use arrow_schema::DataType;
use cordon_phi::IdentifierKind;

use crate::fhir::recipe::{GatherRule, Gathered, RuleLine, Settled};
use crate::kernel::Kernel;
use crate::policy::check::{Common, rule_kernel};
use crate::policy::file::{Action, FieldSection, ValueType};
use crate::policy::method;
use crate::yaml::{At, Position};

/// What is wrong with a section: where, what, and what would be right.
pub(crate) type Issue = (Position, String, Option<String>);

/// A rule after its check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    pub settled: Settled,
    pub kind: IdentifierKind,
    pub action: Action,
    pub position: Position,
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
    pub lines: Vec<RuleLine>,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(dataset: &'a str, common: &'a Common) -> Self {
        Self { facts: Facts { dataset, common }, issues: Vec::new(), kernels: Vec::new(), lines: Vec::new() }
    }

    pub(crate) fn issue(&mut self, position: Position, message: impl Into<String>, help: Option<String>) {
        let issue = (position, message.into(), help);
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    /// Checks one rule against the method. `domain` is that of its tokens when it names none.
    pub(crate) fn rule(&mut self, place: &str, at: &At<FieldSection>, domain: &str) -> Option<Rule> {
        let mut field = at.value.clone();
        let common = self.facts.common;
        if field.from.is_some() || field.output.is_some() || field.optional || field.allow.is_some() {
            let message = format!("`{place}`: `from`, `as`, `optional` and `allow` are for tables");
            self.issue(at.position, message, None);
        }
        let action = field.action.unwrap_or_else(|| method::default_action(common.method, field.kind));
        if matches!(action, Action::Token | Action::Hash | Action::Encrypt) && field.domain.is_none() {
            field.domain = Some(domain.to_owned());
        }
        if action == Action::ShiftDate {
            // A document keeps the spelling and precision of its dates.
            field.value_type = Some(ValueType::Text);
        }
        match rule_kernel(&format!("{}.{place}", self.facts.dataset), &field, action, false, true, common) {
            Ok(kernel) => {
                let settled = match kernel {
                    None | Some(Kernel::Null(_)) => Settled::Drop,
                    Some(Kernel::Keep(_)) => Settled::Keep,
                    Some(kernel) => Settled::Gather(self.gather(kernel)),
                };
                self.lines.push(RuleLine {
                    place: place.to_owned(),
                    kind: field.kind,
                    action,
                    because: field.because.clone(),
                    column: None,
                });
                Some(Rule { settled, kind: field.kind, action, position: at.position })
            }
            Err((message, help)) => {
                self.issue(at.position, format!("`{place}`: {message}"), help);
                None
            }
        }
    }

    fn gather(&mut self, kernel: Kernel) -> Gathered {
        if let Some(known) = self.kernels.iter().position(|rule| rule.kernel == kernel) {
            return known as Gathered;
        }
        let once = matches!(
            kernel,
            Kernel::Token { .. } | Kernel::Hash { .. } | Kernel::Fpe(_) | Kernel::Zip3(_) | Kernel::FirstChars { .. }
        );
        self.kernels.push(GatherRule {
            needs_subject: matches!(kernel, Kernel::ShiftDate(_) | Kernel::Surrogate(_)),
            gives_numbers: matches!(kernel.output_type(), DataType::Int32 | DataType::Int64 | DataType::Float64),
            once,
            kernel,
        });
        (self.kernels.len() - 1) as Gathered
    }
}
