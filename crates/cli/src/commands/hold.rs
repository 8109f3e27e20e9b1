//! `cordon hold place|release|list`

use std::process::ExitCode;

use cordon_access::{Privilege, Purpose};

use super::{Outcome, Place, rights};
use crate::args::HoldCommand;
use crate::ui::Ui;

pub fn hold(ui: &Ui, place: &Place, command: HoldCommand) -> Outcome {
    let project = place.open()?;
    match command {
        HoldCommand::Place { name, tables, until, reason, user } => {
            rights::check_reason(&reason)?;
            rights::require(&project, &user, Purpose::Operations, Privilege::Hold, "legal hold")?;
            project.place_hold(&name, &tables, until, &user, &reason)?;
            ui.object(&serde_json::json!({ "hold": name, "tables": tables, "until": until, "in_force": true }));
            let until = until.map_or_else(|| "it is released".to_owned(), |until| format!("{until} is over"));
            ui.say(format!("Hold {name} is in force on {} until {until}", tables.join(", ")));
        }
        HoldCommand::Release { name, reason, user } => {
            rights::check_reason(&reason)?;
            rights::require(&project, &user, Purpose::Operations, Privilege::Hold, "legal hold")?;
            project.release_hold(&name, &user, &reason)?;
            ui.object(&serde_json::json!({ "hold": name, "in_force": false }));
            ui.say(format!("Hold {name} is released"));
            ui.hint("What is past its retention goes with the next:  cordon retain");
        }
        HoldCommand::List => {
            rights::inspected(&project, "legal holds", None)?;
            let holds = project.holds()?;
            ui.object(&holds.all());
            if holds.all().is_empty() {
                ui.say("No hold is in force.");
            } else {
                ui.table(
                    &["hold", "tables", "until", "placed by", "placed", "reason"],
                    holds.all().iter().map(|hold| {
                        vec![
                            hold.name.clone(),
                            hold.tables.join(", "),
                            hold.until.clone().unwrap_or_else(|| "released".to_owned()),
                            hold.placed_by.clone(),
                            hold.placed.clone(),
                            hold.reason.clone(),
                        ]
                    }),
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
