//! What each HIPAA method does by default with each kind, and what it does not allow.

use cordon_phi::{IdentifierKind as Kind, Method, SafeHarborClause};

use super::file::Action;

/// What the method does with a kind for which the policy names no action.
pub fn default_action(method: Method, kind: Kind) -> Action {
    match kind {
        Kind::State
        | Kind::Demographic
        | Kind::Clinical
        | Kind::Financial
        | Kind::Organization
        | Kind::ProviderId
        | Kind::Operational => Action::Keep,
        // A number under which records join stays joinable under a random code, 164.514(c).
        Kind::MedicalRecordNumber | Kind::UniqueId => Action::Token,
        Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate if method == Method::SafeHarbor => Action::Year,
        Kind::Age if method == Method::SafeHarbor => Action::AgeCap,
        Kind::PostalCode if method == Method::SafeHarbor => Action::Zip3,
        Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate | Kind::Age | Kind::PostalCode | Kind::City
            if method == Method::LimitedDataSet =>
        {
            Action::Keep
        }
        Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate => Action::Year,
        Kind::Age => Action::AgeCap,
        Kind::PostalCode => Action::Zip3,
        _ => Action::Drop,
    }
}

/// A method's refusal of an action on a kind.
pub struct Refusal {
    pub clause: String,
    pub why: &'static str,
    pub instead: &'static str,
}

/// Whether `method` allows `action` on `kind`; the clause and the way out where it does not.
pub fn refusal(method: Method, kind: Kind, action: Action) -> Option<Refusal> {
    // What leaves nothing of the value is allowed everywhere.
    if matches!(action, Action::Drop | Action::Blank | Action::Redact) {
        return None;
    }
    if action == Action::Scrub {
        return (kind != Kind::FreeText).then(|| Refusal {
            clause: method.clause().to_owned(),
            why: "an identifier in a field of its own must not depend on being recognised",
            instead: "`kind: free-text` if it is running text, or another action",
        });
    }
    match method {
        Method::SafeHarbor => safe_harbor(kind, action),
        Method::LimitedDataSet => limited_data_set(kind, action),
        Method::ExpertDetermination => None,
    }
}

fn safe_harbor(kind: Kind, action: Action) -> Option<Refusal> {
    let Some(letter) = kind.clause() else {
        return (action == Action::ShiftDate).then(|| Refusal {
            clause: "164.514(b)(2)(i)(C)".to_owned(),
            why: "a shifted date still has a month and a day, and a field that holds dates is of a kind for dates",
            instead: "`kind: service-date` with `year`, or a policy by `expert-determination`",
        });
    };
    let refuse = |why, instead| Some(Refusal { clause: format!("164.514(b)(2)(i)({letter})"), why, instead });
    match (kind, action) {
        // A code stands for a person or a record. A code for a place or a day is that place or day by another name: all
        // who share it can be found by it, and it is related to information about them.
        (_, Action::Token) if matches!(letter, SafeHarborClause::B | SafeHarborClause::C) => Some(Refusal {
            clause: "164.514(c)(1)".to_owned(),
            why: "a code in place of a place, a date or an age is related to information about the individual",
            instead: if letter == SafeHarborClause::B {
                "`zip3` of a ZIP code, or `drop`"
            } else {
                "`year`, `age` or `drop`"
            },
        }),
        (Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate, Action::Year)
        | (Kind::BirthDate, Action::Age)
        | (Kind::Age, Action::AgeCap)
        | (Kind::PostalCode, Action::Zip3)
        | (_, Action::Surrogate | Action::Token) => None,
        (_, Action::Hash | Action::Encrypt) => Some(Refusal {
            clause: "164.514(c)(1)".to_owned(),
            why: "a keyed hash or an encryption is derived from the value, and a re-identification code must not be",
            instead: "`token` (random, from the vault), or a policy by `expert-determination`",
        }),
        (_, Action::ShiftDate) => refuse(
            "a shifted date still has a month and a day, and only the year may stay",
            "`year`, or a policy by `expert-determination`",
        ),
        (Kind::BirthDate | Kind::DeathDate | Kind::ServiceDate, _) => {
            refuse("only the year of a date may stay", "`year`, `age` (of a birth date) or `drop`")
        }
        (Kind::PostalCode, _) => refuse("only three ZIP digits may stay, and not all of them", "`zip3` or `drop`"),
        (Kind::Age, _) => refuse("ages over 89 must become one category", "`age-cap` or `drop`"),
        _ => refuse("this identifier must be removed", "`drop`, `redact` or `token`"),
    }
}

fn limited_data_set(kind: Kind, action: Action) -> Option<Refusal> {
    let may_stay = matches!(
        kind,
        Kind::City
            | Kind::County
            | Kind::PostalCode
            | Kind::BirthDate
            | Kind::DeathDate
            | Kind::ServiceDate
            | Kind::Age
            | Kind::UniqueId
    );
    if kind.clause().is_none() || may_stay || matches!(action, Action::Surrogate | Action::Token) {
        return None;
    }
    Some(Refusal {
        clause: "164.514(e)(2)".to_owned(),
        why: "this direct identifier must be removed from a limited data set",
        instead: "`drop`, `redact` or `token`, or a policy by `expert-determination`",
    })
}

/// Whether keeping `kind`, or a part of it, needs a stated reason from the expert.
pub fn needs_reason(method: Method, kind: Kind, action: Action) -> bool {
    method == Method::ExpertDetermination
        && matches!(action, Action::Keep | Action::FirstChars | Action::Bin)
        && kind.key_class() == cordon_phi::KeyClass::Direct
}
