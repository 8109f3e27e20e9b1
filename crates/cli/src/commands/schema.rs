//! `cordon schema`

use std::process::ExitCode;

use cordon_deid::policy::file::PolicyFile;
use cordon_pipeline::config::{PipelineFile, ProjectFile};

use super::Outcome;
use crate::args::{SchemaArgs, SchemaOf};
use crate::ui::{Failure, Ui};

pub fn schema(ui: &Ui, args: &SchemaArgs) -> Outcome {
    let schema = match args.of {
        SchemaOf::Project => schemars::schema_for!(ProjectFile),
        SchemaOf::Policy => schemars::schema_for!(PolicyFile),
        SchemaOf::Pipeline => schemars::schema_for!(PipelineFile),
    };
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|_| Failure::new(cordon_pipeline::error::ExitKind::Failure, "the schema could not be written"))?;
    ui.result(&text);
    Ok(ExitCode::SUCCESS)
}
