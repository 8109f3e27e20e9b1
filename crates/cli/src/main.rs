//! The `cordon` program: one file a command, errors that say what to do next, documented exit codes.

mod args;
mod commands;
mod ui;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    quiet_panics();
    if !keep_memory() {
        ui::line_to_stderr("cordon: cannot keep its memory out of core dumps; nothing was done");
        return ExitCode::FAILURE;
    }
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() && wants_json() => {
            let ui = ui::Ui::new(args::OutputFormat::Json, false);
            let text = error.render().to_string();
            let failure = ui::Failure::usage(text.trim().trim_start_matches("error: "));
            ui.failure(&failure);
            return ExitCode::from(failure.exit_code());
        }
        Err(error) => error.exit(),
    };
    let ui = ui::Ui::new(args.format, args.quiet);
    let done = commands::dispatch(args, &ui);
    cordon_storage::close();
    match done {
        Ok(code) => code,
        Err(failure) => {
            ui.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// What the command line asks for although it cannot be read as a whole.
fn wants_json() -> bool {
    let words: Vec<String> = std::env::args().collect();
    words.iter().any(|word| word == "--format=json")
        || words.iter().zip(words.iter().skip(1)).any(|(name, value)| name == "--format" && value == "json")
}

/// Keys and patients' records are in this process's memory: it leaves no core dump, and nobody but the system's administrator may
/// read it through `/proc` or attach to it.
#[cfg(target_os = "linux")]
fn keep_memory() -> bool {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).is_ok() && set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn keep_memory() -> bool {
    true
}

/// A panic's message may quote what was being worked on: it is replaced by the place where it happened.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        ui::line_to_stderr(&format!(
            "cordon: internal error{place}; please report it. Nothing of your data is shown here."
        ));
    }));
}
