//! All that there is, whoever may see it.

use std::collections::BTreeMap;

use cordon_access::{Action, Authorizer, ColumnFacts, Decision, Known, Policies, Principal, PurposeOfUse, Request};
use cordon_audit::{Event, Label};
use cordon_pipeline::error::{RunError, engine_exit};
use cordon_pipeline::project::{OpenProject, facts_of};

/// All tables and columns that there are.
pub struct Stored {
    pub(crate) columns: BTreeMap<String, Vec<String>>,
    /// What is known of each column, in the same order.
    pub(crate) facts: BTreeMap<String, Vec<ColumnFacts>>,
    /// Whom each table was made for.
    pub(crate) recipients: BTreeMap<String, Option<String>>,
    /// Tables that cannot be opened: they must not stand in the way of the others.
    pub(crate) damaged: BTreeMap<String, RunError>,
}

impl Stored {
    /// A table that cannot be opened is left out, and that goes on the record.
    pub fn read(project: &OpenProject) -> Result<Self, RunError> {
        let mut stored = Self {
            columns: BTreeMap::new(),
            facts: BTreeMap::new(),
            recipients: BTreeMap::new(),
            damaged: BTreeMap::new(),
        };
        for table in project.tables().tables()? {
            match project.tables().current(&table) {
                Ok(Some(version)) => {
                    let names = version.schema.fields().iter().map(|field| field.name().clone());
                    stored.columns.insert(table.clone(), names.collect());
                    let facts = facts_of(&version.schema, &version.manifest.provenance.method);
                    stored.facts.insert(table.clone(), facts);
                    stored.recipients.insert(table, version.manifest.provenance.recipient.clone());
                }
                Ok(None) => {}
                Err(error) => {
                    let what = Label::new(engine_exit(&error).0);
                    project.audit(&Event::TableUnreadable { table: table.clone(), what })?;
                    stored.damaged.insert(table, error.into());
                }
            }
        }
        Ok(stored)
    }

    /// What a user may see of the tables, for what it is asked for.
    pub fn authorise(
        &self,
        policies: &Policies,
        principal: &Principal,
        usage: &PurposeOfUse,
        time: i64,
    ) -> BTreeMap<String, Decision> {
        let mut open = BTreeMap::new();
        for known in self.known() {
            let columns: Vec<&str> = known.columns.iter().map(String::as_str).collect();
            let (dataset, facts) = (&known.name, &known.facts);
            let action = Action::Read;
            let decision =
                policies.decide(&Request { principal, usage, time, dataset, columns: &columns, facts, action });
            if decision.allowed {
                open.insert(known.name, decision);
            }
        }
        open
    }

    /// The tables as rules are asked about them.
    pub fn known(&self) -> impl Iterator<Item = Known> {
        self.columns.iter().map(|(name, columns)| Known {
            name: name.clone(),
            columns: columns.clone(),
            facts: self.facts.get(name).cloned().unwrap_or_default(),
        })
    }
}
