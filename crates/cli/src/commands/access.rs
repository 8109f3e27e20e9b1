//! `cordon access review`

use std::process::ExitCode;

use cordon_access::{Privilege, Purpose};
use cordon_audit::ReviewOutcome;
use cordon_pipeline::error::ExitKind;

use super::{Outcome, Place, rights};
use crate::args::{AccessCommand, ReviewArgs, ReviewCommand, ReviewVerdict};
use crate::ui::{Failure, Ui};

pub fn access(ui: &Ui, place: &Place, command: AccessCommand) -> Outcome {
    match command {
        AccessCommand::Review(args) => review(ui, place, args),
    }
}

fn review(ui: &Ui, place: &Place, args: ReviewArgs) -> Outcome {
    match args.command {
        None => list(ui, place, args.all, args.check),
        Some(ReviewCommand::Close { query, user, outcome, reason }) => {
            let outcome = match outcome {
                ReviewVerdict::Justified => ReviewOutcome::Justified,
                ReviewVerdict::NotJustified => ReviewOutcome::NotJustified,
            };
            close(ui, place, &query, &user, outcome, &reason)
        }
    }
}

fn list(ui: &Ui, place: &Place, all: bool, check: bool) -> Outcome {
    let project = place.open()?;
    rights::inspected(&project, "accesses in emergencies", None)?;
    let mut accesses = project.emergencies()?;
    let (within, now) = (project.review_within(), chrono::Utc::now());
    accesses.retain(|access| all || access.review.is_none());
    let overdue = accesses.iter().filter(|access| access.is_overdue(within, now)).count();
    let objects: Vec<_> = accesses
        .iter()
        .map(|access| {
            serde_json::json!({
                "query": access.query, "user": access.principal, "at": access.at, "reason": access.reason,
                "datasets": access.datasets, "review": access.review, "overdue": access.is_overdue(within, now),
            })
        })
        .collect();
    ui.object(&objects);
    if accesses.is_empty() {
        ui.say(if all { "Nothing was read in an emergency." } else { "Nothing waits for a review." });
    } else {
        ui.table(
            &["query", "read", "by", "datasets", "reason", "review"],
            accesses.iter().map(|access| {
                let review = match &access.review {
                    Some(review) if review.outcome == ReviewOutcome::Justified => format!("justified: {}", review.by),
                    Some(review) => format!("not justified: {}", review.by),
                    None if access.is_overdue(within, now) => "overdue".to_owned(),
                    None => "open".to_owned(),
                };
                vec![
                    access.query.clone(),
                    access.at.format("%Y-%m-%d %H:%M").to_string(),
                    access.principal.clone(),
                    access.datasets.join(", "),
                    access.reason.clone(),
                    review,
                ]
            }),
        );
        ui.hint("Close one:  cordon access review close QUERY --as USER --outcome justified --reason TEXT");
    }
    if check && overdue > 0 {
        let what = format!(
            "{overdue} access{} in emergencies waited too long for a review",
            if overdue == 1 { "" } else { "es" }
        );
        return Err(Failure::new(ExitKind::Denied, what));
    }
    Ok(ExitCode::SUCCESS)
}

fn close(ui: &Ui, place: &Place, query: &str, user: &str, outcome: ReviewOutcome, reason: &str) -> Outcome {
    rights::check_reason(reason)?;
    let project = place.open_as(user)?;
    rights::require(&project, user, Purpose::Operations, Privilege::ReviewAccess, "access in an emergency")?;
    if let Err(refused) = project.review_emergency(query, user, outcome, reason)? {
        rights::denied(&project, user, Some(Purpose::Operations), "review of an access in an emergency", Vec::new())?;
        return Err(Failure::new(ExitKind::Denied, refused.to_string()));
    }
    let open = project.emergencies()?.iter().filter(|access| access.review.is_none()).count();
    ui.object(&serde_json::json!({ "query": query, "outcome": outcome, "open": open }));
    ui.say(format!("Reviewed; {open} more wait{} for a review", if open == 1 { "s" } else { "" }));
    Ok(ExitCode::SUCCESS)
}
