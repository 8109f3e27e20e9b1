//! All that there is, whoever may see it.

use std::collections::BTreeMap;

use cordon_access::{Action, Decision, Principal, PurposeOfUse};
use cordon_audit::{Event, Label};
use cordon_pipeline::error::{RunError, engine_exit};
use cordon_pipeline::project::OpenProject;

/// All tables and columns that there are.
pub struct Stored {
    pub(crate) columns: BTreeMap<String, Vec<String>>,
    /// Whom each table was made for.
    pub(crate) recipients: BTreeMap<String, Option<String>>,
    /// Tables that cannot be opened: they must not stand in the way of the others.
    pub(crate) damaged: BTreeMap<String, RunError>,
}

impl Stored {
    /// A table that cannot be opened is left out, and that goes on the record.
    pub fn read(project: &OpenProject) -> Result<Self, RunError> {
        let mut stored = Self { columns: BTreeMap::new(), recipients: BTreeMap::new(), damaged: BTreeMap::new() };
        for table in project.tables().tables()? {
            match project.tables().current(&table) {
                Ok(Some(version)) => {
                    let names = version.schema.fields().iter().map(|field| field.name().clone());
                    stored.columns.insert(table.clone(), names.collect());
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
        project: &OpenProject,
        principal: &Principal,
        usage: &PurposeOfUse,
    ) -> BTreeMap<String, Decision> {
        let mut open = BTreeMap::new();
        for (table, columns) in &self.columns {
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            let decision = project.decide(principal, usage, table, &columns, Action::Read);
            if decision.allowed {
                open.insert(table.clone(), decision);
            }
        }
        open
    }
}
