//! `cordon schema`

use cordon_pipeline::config::schema_texts;

use crate::args::{SchemaArgs, SchemaOf};
use crate::ui::Ui;

pub fn schema(ui: &Ui, args: &SchemaArgs) {
    let [(_, project), (_, policy), (_, pipeline)] = schema_texts();
    ui.result(match args.of {
        SchemaOf::Project => &project,
        SchemaOf::Policy => &policy,
        SchemaOf::Pipeline => &pipeline,
        SchemaOf::RangerServiceDef => cordon_access::SERVICE_DEF.trim_end(),
    });
}
