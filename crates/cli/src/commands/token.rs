//! `cordon token request|approve|reject|revoke|reveal|translate|list|show`

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use cordon_audit::RequestedAct;
use cordon_phi::Token;
use cordon_pipeline::error::ExitKind;
use cordon_pipeline::project::OpenProject;
use cordon_pipeline::reveal::{
    Case, Decided, Desk, MAX_CROSSWALK, MAX_TOKENS, NewRequest, Refusal, Said, Shown, Status, Told, act_name,
    parse_token, token_text,
};
use serde_json::{Value, json};

use super::{Outcome, Place, rights};
use crate::args::{TokenCommand, TokenDecisionArgs, TokenRequestArgs};
use crate::ui::{Failure, Ui, plural};

pub fn token(ui: &Ui, place: &Place, command: TokenCommand) -> Outcome {
    match command {
        TokenCommand::Request(args) => request(ui, place, args),
        TokenCommand::Approve(args) => {
            decided(ui, place, &args, |desk| desk.approve(&args.id, &args.user, &args.reason))
        }
        TokenCommand::Reject(args) => decided(ui, place, &args, |desk| desk.reject(&args.id, &args.user, &args.reason)),
        TokenCommand::Revoke(args) => decided(ui, place, &args, |desk| desk.revoke(&args.id, &args.user, &args.reason)),
        TokenCommand::Reveal { id, tokens, user } => reveal(ui, place, &id, &tokens, &user),
        TokenCommand::Translate { id, user } => translate(ui, place, &id, &user),
        TokenCommand::List { user } => list(ui, place, &user),
        TokenCommand::Show { id, user } => {
            let project = place.open()?;
            let shown = told(desk(&project).show(&id, &user))?;
            rights::inspected_by(&project, "token request", Some(&id), &user)?;
            tell(ui, &shown);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The one place where these commands read the clock.
pub fn desk(project: &OpenProject) -> Desk<'_> {
    Desk::new(project, chrono::Utc::now())
}

/// A refusal is on the record already.
pub fn told<T>(decided: Decided<T>) -> Result<T, Failure> {
    decided?.map_err(|refusal| {
        let exit = match refusal {
            Refusal::TooLong(_) | Refusal::Count => ExitKind::Usage,
            _ => ExitKind::Denied,
        };
        Failure::new(exit, refusal.to_string())
    })
}

fn request(ui: &Ui, place: &Place, args: TokenRequestArgs) -> Outcome {
    let tokens = match &args.tokens_file {
        Some(file) => tokens_in(file, if args.translate { MAX_CROSSWALK } else { MAX_TOKENS })?,
        None => parsed(&args.tokens)?,
    };
    let lifetime = args.lifetime.as_deref().map(str::parse).transpose();
    let lifetime = lifetime.map_err(|error| Failure::usage(format!("`--for` is {error}")))?;
    rights::check_reason(&args.reason)?;
    let project = place.open()?;
    let purpose = rights::purpose(&project, &args.user, &args.purpose)?;
    let shown = told(desk(&project).request(NewRequest {
        act: match (args.shred, args.translate) {
            (true, _) => RequestedAct::Shred,
            (false, true) => RequestedAct::Translate,
            (false, false) => RequestedAct::Reveal,
        },
        domain: args.domain,
        crosswalk: args.from.zip(args.to),
        tokens,
        by: args.user,
        purpose,
        reason: args.reason,
        lifetime,
        times: args.times,
    }))?;
    asked(ui, &shown);
    Ok(ExitCode::SUCCESS)
}

/// For people the id alone, so that a script can take it; the rest is a hint.
pub fn asked(ui: &Ui, shown: &Shown) {
    ui.object(&Told::new(&shown.case, shown.status, Some(&shown.tokens)));
    ui.say(&shown.case.id);
    ui.hint(format!(
        "Another person with the action `{}` decides:  cordon token approve {} --as USER --reason TEXT",
        shown.case.second(),
        shown.case.id
    ));
}

fn decided(
    ui: &Ui,
    place: &Place,
    args: &TokenDecisionArgs,
    decide: impl FnOnce(&Desk<'_>) -> Decided<Shown>,
) -> Outcome {
    rights::check_reason(&args.reason)?;
    let project = place.open()?;
    let shown = told(decide(&desk(&project)))?;
    ui.object(&Told::new(&shown.case, shown.status, Some(&shown.tokens)));
    ui.say(format!("{}: {}", shown.case.id, stands(shown.status)));
    Ok(ExitCode::SUCCESS)
}

fn reveal(ui: &Ui, place: &Place, id: &str, only: &[String], user: &str) -> Outcome {
    let only = parsed(only)?;
    let project = place.open()?;
    let revealed = told(desk(&project).reveal(id, user, &only))?;
    let found = revealed.iter().filter(|one| !one.values.is_empty()).count();
    if ui.json() {
        let tokens: Vec<Value> = revealed
            .iter()
            .map(|one| {
                let values: Vec<&str> = one.values.iter().map(|value| value.expose_phi().as_str()).collect();
                json!({ "token": token_text(one.token), "values": values })
            })
            .collect();
        ui.object(&json!({ "request": id, "tokens": tokens }));
    } else {
        for one in &revealed {
            for value in &one.values {
                ui.result(&format!("{}\t{}", token_text(one.token), value.expose_phi()));
            }
        }
    }
    if found == 0 {
        return Err(Failure::new(ExitKind::Failure, "the request's domain has none of these tokens"));
    }
    if found < revealed.len() {
        let missing = revealed.len() - found;
        ui.hint(format!("{missing} token{} of the request stand for nothing in its domain.", plural(missing)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Tokens lead to nobody by themselves, and two columns of them fit in whatever joins tables.
fn translate(ui: &Ui, place: &Place, id: &str, user: &str) -> Outcome {
    let project = place.open()?;
    let translated = told(desk(&project).translate(id, user))?;
    let pairs = translated.iter().filter_map(|one| Some((token_text(one.from), token_text(one.to?))));
    let pairs: Vec<(String, String)> = pairs.collect();
    if ui.json() {
        let tokens: Vec<Value> = pairs.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
        ui.object(&json!({ "request": id, "tokens": tokens, "asked": translated.len() }));
    } else {
        let mut lines = String::new();
        for (from, to) in &pairs {
            lines.extend([from.as_str(), "\t", to, "\n"]);
        }
        if !lines.is_empty() {
            ui.result(lines.trim_end());
        }
    }
    if pairs.len() < translated.len() {
        let missing = translated.len() - pairs.len();
        ui.hint(format!("{missing} of {} have no counterpart.", translated.len()));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(ui: &Ui, place: &Place, user: &str) -> Outcome {
    let project = place.open()?;
    let cases = desk(&project).list(user)?;
    rights::inspected_by(&project, "token requests", None, user)?;
    let objects: Vec<Told> = cases.iter().map(|(case, status)| Told::new(case, *status, None)).collect();
    ui.object(&objects);
    ui.table(
        &["request", "asks to", "domain", "tokens", "by", "purpose", "made", "state"],
        cases.iter().map(|(case, status)| {
            vec![
                case.id.clone(),
                act_name(case.act).to_owned(),
                case.domain.clone(),
                case.count().to_string(),
                case.asked.by.clone(),
                case.purpose.to_string(),
                case.asked.at.format("%Y-%m-%d %H:%M:%S").to_string(),
                stands(*status),
            ]
        }),
    );
    Ok(ExitCode::SUCCESS)
}

fn tell(ui: &Ui, shown: &Shown) {
    let Shown { case, status, tokens } = shown;
    ui.object(&Told::new(case, *status, Some(tokens)));
    let mut lines = vec![
        format!("request    {}", case.id),
        format!("state      {}", stands(*status)),
        format!("asks to    {} ({}, domain {})", act_name(case.act), case.purpose, case.domain),
        format!("asked      {}", one(&case.asked)),
    ];
    lines.extend(case.approvals.iter().map(|said| format!("approved   {}", one(said))));
    lines.extend(case.rejected.iter().map(|said| format!("rejected   {}", one(said))));
    lines.extend(case.revoked.iter().map(|said| format!("revoked    {}", one(said))));
    if case.crosswalk.is_some() {
        let times = case.revealed.values().copied().sum::<u32>();
        lines.push(format!("tokens     {}, translated {times} time{}", case.count(), plural(times as usize)));
    }
    lines.extend(listed(case, tokens).iter().zip(&case.tags).map(|(token, tag)| {
        let times = case.revealed.get(tag).copied().unwrap_or(0);
        format!("token      {}  revealed {times} time{}", token_text(*token), plural(times as usize))
    }));
    ui.say(lines.join("\n"));
}

/// A table's worth of tokens is no list for people.
fn listed<'a>(case: &Case, tokens: &'a [Token]) -> &'a [Token] {
    if case.crosswalk.is_some() { &[] } else { tokens }
}

fn one(said: &Said) -> String {
    format!("{} by {}: {}", said.at.format("%Y-%m-%d %H:%M:%S"), said.by, said.reason)
}

fn stands(status: Status) -> String {
    match status {
        Status::Pending(missing) => format!("pending, {missing} approval{} missing", plural(missing)),
        Status::Open { until } => format!("approved until {}", until.format("%Y-%m-%d %H:%M:%S UTC")),
        other => other.name().to_owned(),
    }
}

/// What is not a token is not repeated: it may be a value.
fn parsed(texts: &[String]) -> Result<Vec<Token>, Failure> {
    let wrong = || Failure::usage("a token is 26 characters of a-z and 2-7, as tables show it");
    texts.iter().map(|text| parse_token(text).ok_or_else(wrong)).collect()
}

fn tokens_in(file: &Path, count: usize) -> Result<Vec<Token>, Failure> {
    /// A token, the end of its line, and blanks around it.
    const LINE: u64 = 32;
    let most = (count as u64 + 1) * LINE;
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(most).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::usage(format!("the file of tokens cannot be read: {}", error.kind())))?;
    let lines: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(Failure::usage("the file holds no token; write one a line"));
    }
    parsed(&lines)
}
