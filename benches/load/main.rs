//! The clients of `cargo xtask bench load`: `bench-load FILE` reads who asks what, and prints how it went, both in JSON. With `endless` in
//! it, a question whose rows never end, clients ask that and vanish.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a developer's terminal")]

mod clients;

use std::process::ExitCode;

use clients::Load;
use serde::Deserialize;

#[derive(Deserialize)]
struct Asked {
    #[serde(flatten)]
    load: Load,
    endless: Option<String>,
}

fn main() -> ExitCode {
    match told() {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn told() -> Result<String, Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: bench-load FILE")?;
    let asked: Asked = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        match &asked.endless {
            Some(endless) => {
                clients::vanish(&asked.load, endless).await.map(|rows| format!("{{\"vanished\": {rows}}}"))
            }
            None => clients::run(&asked.load).await.map(|told| serde_json::to_string(&told).unwrap_or_default()),
        }
    })?)
}
