//! The `cordon` program: one file a command, errors that say what to do next, documented exit codes.

mod args;
mod commands;
mod ui;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    quiet_panics();
    let args = args::Args::parse();
    let ui = ui::Ui::new(args.format, args.quiet);
    match commands::dispatch(args, &ui) {
        Ok(code) => code,
        Err(failure) => {
            ui.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
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
