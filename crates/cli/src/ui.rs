//! All that is written to the terminal goes through here: results to stdout, everything else to stderr.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use cordon_pipeline::error::{ExitKind, RunError};
use cordon_pipeline::progress::{Meter, Progress};
use cordon_query::QueryError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::args::OutputFormat;

#[derive(Clone)]
pub struct Ui {
    pub format: OutputFormat,
    pub quiet: bool,
}

/// Why a command failed, with its exit code.
pub struct Failure {
    pub message: String,
    pub exit: ExitKind,
}

impl Failure {
    pub fn new(exit: ExitKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), exit }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitKind::Usage, message)
    }

    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
    pub fn query(error: QueryError) -> Self {
        Self::new(error.exit(), error.to_string())
    }

    pub fn exit_code(&self) -> u8 {
        self.exit as u8
    }
}

impl<E: Into<RunError>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { exit: error.exit(), message: error.to_string() }
    }
}

impl Ui {
    pub fn new(format: OutputFormat, quiet: bool) -> Self {
        Self { format, quiet }
    }

    pub fn json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// A result for people; programs get theirs from [`Self::object`].
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.json() {
            to_stdout(text.as_ref());
        }
    }

    /// A hint or a warning: not a result, and not among the results.
    pub fn hint(&self, text: impl AsRef<str>) {
        if !self.json() && !self.quiet {
            line_to_stderr(text.as_ref());
        }
    }

    /// A result that is the same for people and programs: a value, a document.
    #[expect(clippy::unused_self, reason = "all output goes through a `Ui`")]
    pub fn result(&self, text: &str) {
        to_stdout(text);
    }

    /// A result for programs.
    pub fn object(&self, value: &impl Serialize) {
        if self.json() {
            match serde_json::to_string_pretty(value) {
                Ok(text) => to_stdout(&text),
                Err(_) => line_to_stderr("cordon: a result could not be written as JSON"),
            }
        }
    }

    pub fn table(&self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        if self.json() {
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        if !std::io::stdout().is_terminal() {
            table.set_width(118);
        }
        table.set_header(header.to_vec());
        for row in rows {
            table.add_row(row);
        }
        to_stdout(&table.to_string());
    }

    pub fn failure(&self, failure: &Failure) {
        if self.json() {
            let error = serde_json::json!({ "error": failure.message, "exit_code": failure.exit_code() });
            line_to_stderr(&error.to_string());
        } else {
            line_to_stderr(&format!("error: {}", failure.message));
        }
    }

    /// Runs `work` with a progress bar that reads `meter`.
    pub fn with_progress<T>(&self, meter: &Meter, work: impl FnOnce(&(dyn Fn(Progress<'_>) + Sync)) -> T) -> T {
        let visible = !self.quiet && !self.json() && std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(
            None,
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
        );
        if let Ok(style) = ProgressStyle::with_template(
            "{spinner} {bar:30} {bytes}/{total_bytes}  {binary_bytes_per_sec}  {msg}  about {eta} left",
        ) {
            bar.set_style(style);
        }
        let last_json = Mutex::new(std::time::Instant::now());
        std::thread::scope(|scope| {
            let ticking = bar.clone();
            let counters = meter.clone();
            let (done, stopped) = std::sync::mpsc::channel::<()>();
            let json = self.json() && !self.quiet;
            scope.spawn(move || {
                let began = std::time::Instant::now();
                while stopped
                    .recv_timeout(Duration::from_millis(200))
                    .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    let rows = counters.rows.load(Ordering::Relaxed);
                    let bytes = counters.bytes.load(Ordering::Relaxed);
                    let quarantined = counters.quarantined.load(Ordering::Relaxed);
                    let rate = rows as f64 / began.elapsed().as_secs_f64().max(0.001);
                    ticking.set_position(bytes);
                    ticking.set_message(format!("{rows} rows  {rate:.0} rows/s  {quarantined} in quarantine"));
                    if json && last_json.lock().is_ok_and(|last| last.elapsed() > Duration::from_secs(1)) {
                        let total = ticking.length();
                        let per_byte = began.elapsed().as_secs_f64() / bytes.max(1) as f64;
                        let remaining =
                            total.map(|total| (total.saturating_sub(bytes) as f64 * per_byte).ceil() as u64);
                        let progress = serde_json::json!({
                            "bytes": bytes, "total_bytes": total, "rows": rows, "rows_per_second": rate as u64,
                            "quarantined": quarantined, "remaining_seconds": remaining,
                        });
                        line_to_stderr(&serde_json::json!({ "progress": progress }).to_string());
                        if let Ok(mut last) = last_json.lock() {
                            *last = std::time::Instant::now();
                        }
                    }
                }
            });
            let tell = |event: Progress<'_>| self.tell(&bar, &event);
            let outcome = work(&tell);
            drop(done);
            bar.finish_and_clear();
            outcome
        })
    }

    /// A bar of tasks that somebody else counts.
    pub fn tasks(&self) -> ProgressBar {
        let visible = !self.quiet && !self.json() && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} tasks") {
            bar.set_style(style);
        }
        bar
    }

    fn tell(&self, bar: &ProgressBar, event: &Progress<'_>) {
        if let Progress::Planned { bytes, .. } = event {
            bar.set_length(*bytes);
        }
        if self.quiet || self.json() {
            return;
        }
        let line = match event {
            Progress::Planned { files, bytes, unchanged } => format!(
                "{files} file{} to read, {}{}",
                plural(*files),
                human_bytes(*bytes),
                if *unchanged > 0 { format!("; {unchanged} unchanged since the last run") } else { String::new() }
            ),
            Progress::Resumed { units } => {
                format!("resuming: {units} unit{} of an interrupted run are done", plural(*units))
            }
            Progress::Undeclared { dataset, fields } => {
                format!("undeclared in {dataset}, not passed on: {}", shortened(fields))
            }
            Progress::Refused { file, reason } => format!("refused {file}: {reason}"),
            Progress::Learning { .. } | Progress::Reading { .. } | Progress::Committed { .. } => return,
        };
        if bar.is_hidden() { line_to_stderr(&line) } else { bar.println(line) }
    }
}

fn shortened(fields: &[String]) -> String {
    const MOST: usize = 8;
    let shown = fields.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    if fields.len() > MOST { format!("{shown} and {} more", fields.len() - MOST) } else { shown }
}

pub fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

pub fn human_bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// Whoever reads may have gone (`| head`): that is no error, and what is left needs no reader.
fn to_stdout(text: &str) {
    if writeln!(std::io::stdout(), "{text}").is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

pub fn line_to_stderr(text: &str) {
    // Nothing is left to tell it to when this fails.
    let _ = writeln!(std::io::stderr(), "{text}");
}
