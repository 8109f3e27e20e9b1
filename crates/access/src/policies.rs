//! What a project decides by: the grants of its own file, or the policies of a Ranger service.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::decision::{Action, Authorizer, Decision, Mask, Reason, Request};
use crate::grants::Grants;
use crate::principal::Principal;
use crate::service::Service;

/// The rules that are in force. Privileged actions stay with the roles of the project's file, whoever decides about reading.
#[derive(Clone, Debug)]
pub struct Policies {
    roles: Grants,
    reading: Reading,
}

#[derive(Clone, Debug)]
enum Reading {
    Grants,
    Ranger(Box<Service>),
    /// There are policies somewhere and they are not to be had: nobody reads anything.
    Unknown,
}

/// What somebody sees of a dataset, and because of what: a [`Decision`] with its reasons at their places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sight {
    pub dataset: String,
    /// All columns that the dataset has, in its order.
    pub columns: Vec<ColumnSight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_filter: Option<RowSight>,
    /// What of the policies could not be evaluated on the way; it counted against the asker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnSight {
    pub name: String,
    pub visible: bool,
    /// What opens the column, or keeps it closed.
    pub why: Vec<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<MaskSight>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaskSight {
    pub mask: Mask,
    pub why: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowSight {
    pub filter: String,
    pub why: Reason,
}

impl Sight {
    pub fn is_open(&self) -> bool {
        self.columns.iter().any(|column| column.visible)
    }

    fn closed(request: &Request<'_>) -> Self {
        let column = |name: &&str| ColumnSight {
            name: (*name).to_owned(),
            visible: false,
            why: vec![Reason::NoGrant],
            mask: None,
        };
        Self {
            dataset: request.dataset.to_owned(),
            columns: request.columns.iter().map(column).collect(),
            row_filter: None,
            troubles: Vec::new(),
        }
    }

    /// What the enforcer is told. Why something is closed is not among it.
    pub fn decision(self) -> Decision {
        if !self.is_open() {
            return Decision::denied();
        }
        let mut decision = Decision { allowed: true, why: Vec::new(), ..Decision::denied() };
        let tell = |why: &mut Vec<Reason>, reason: Reason| {
            if !why.contains(&reason) {
                why.push(reason);
            }
        };
        for column in self.columns.into_iter().filter(|column| column.visible) {
            for reason in column.why {
                tell(&mut decision.why, reason);
            }
            if let Some(mask) = column.mask {
                tell(&mut decision.why, mask.why);
                decision.masks.insert(column.name.clone(), mask.mask);
            }
            decision.columns.push(column.name);
        }
        if let Some(rows) = self.row_filter {
            tell(&mut decision.why, rows.why);
            decision.row_filter = Some(rows.filter);
        }
        decision
    }
}

impl Policies {
    /// Grants decide about reading.
    pub fn of_grants(roles: Grants) -> Self {
        Self { roles, reading: Reading::Grants }
    }

    pub fn of_ranger(roles: Grants, service: Service) -> Self {
        Self { roles, reading: Reading::Ranger(Box::new(service)) }
    }

    /// Nobody may read anything: whatever the policies are, they are not known, or not known to be in force.
    pub fn unknown(roles: Grants) -> Self {
        Self { roles, reading: Reading::Unknown }
    }

    /// The same rules about reading, with other users and roles.
    #[must_use]
    pub fn with_roles(&self, roles: Grants) -> Self {
        Self { roles, reading: self.reading.clone() }
    }

    pub fn roles(&self) -> &Grants {
        &self.roles
    }

    /// The Ranger service whose policies decide, where one does.
    pub fn service(&self) -> Option<&Service> {
        match &self.reading {
            Reading::Ranger(service) => Some(service),
            Reading::Grants | Reading::Unknown => None,
        }
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self.reading, Reading::Unknown)
    }

    /// Column for column what a reader sees, and because of what.
    pub fn explain(&self, request: &Request<'_>) -> Sight {
        if request.action != Action::Read {
            return Sight::closed(request);
        }
        match &self.reading {
            Reading::Grants => self.explain_grants(request),
            Reading::Ranger(service) => service.explain(request),
            Reading::Unknown => Sight::closed(request),
        }
    }

    fn explain_grants(&self, request: &Request<'_>) -> Sight {
        let columns = request.columns.iter().map(|name| {
            let one = self.roles.decide(&Request { columns: &[*name], ..*request });
            ColumnSight { name: (*name).to_owned(), visible: one.allowed, why: one.why, mask: None }
        });
        Sight { columns: columns.collect(), ..Sight::closed(request) }
    }

    /// Whether the user may see anything of the dataset, whatever its columns are. For a dataset whose columns cannot be read, to tell
    /// whose business the damage is.
    pub fn covers(&self, request: &Request<'_>) -> bool {
        match &self.reading {
            Reading::Grants => self.roles.covers(&request.principal.name, request.usage.purpose, request.dataset),
            Reading::Ranger(service) => service.covers(request),
            Reading::Unknown => false,
        }
    }

    /// Whether these datasets, each with columns of it, may be read in one query: policies may forbid together what they allow
    /// apart. Every request must have been allowed by itself.
    pub fn together(&self, requests: &[Request<'_>]) -> bool {
        match &self.reading {
            Reading::Grants => true,
            Reading::Ranger(service) => service.together(requests),
            Reading::Unknown => false,
        }
    }

    /// Everybody whom the rules tell apart: the users whom they name, somebody of each group, and anyone else.
    pub fn principals(&self) -> Vec<Principal> {
        let named = self.service().into_iter().flat_map(Service::users);
        let users: BTreeSet<&str> = self.roles.users().chain(named).collect();
        let groups = self.service().into_iter().flat_map(Service::named_groups);
        let of_group = |group: &str| Principal {
            name: format!("(group {group})"),
            groups: BTreeSet::from([group.to_owned()]),
            ..Principal::default()
        };
        users
            .into_iter()
            .map(Principal::named)
            .chain(groups.map(of_group))
            .chain([Principal::named("(anyone else)")])
            .collect()
    }
}

impl Authorizer for Policies {
    fn decide(&self, request: &Request<'_>) -> Decision {
        match (&self.reading, request.action) {
            (Reading::Grants, _) | (_, Action::Privileged(_)) => self.roles.decide(request),
            _ => self.explain(request).decision(),
        }
    }
}
