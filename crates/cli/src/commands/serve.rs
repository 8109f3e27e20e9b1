//! `cordon serve`, `cordon serve user add|remove|list`

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cordon_audit::{Event, Label};
use cordon_engine::QueryCluster;
use cordon_pipeline::error::{ExitKind, RunError};
use cordon_pipeline::project::Project;
use cordon_server::log_in::local::{self, UsersError};
use cordon_server::settings::Settings;
use cordon_server::{Server, StartError};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::spark::{Queries, Spark};
use super::{Outcome, Place, ask_passphrase};
use crate::args::{ClusterArgs, ServeArgs, ServeCommand, ServeUserCommand};
use crate::ui::{self, Failure, Ui};

pub fn serve(ui: &Ui, place: &Place, args: ServeArgs) -> Outcome {
    match args.command {
        None => run(ui, place),
        Some(ServeCommand::User(command)) => user(ui, place, command),
    }
}

fn run(ui: &Ui, place: &Place) -> Outcome {
    let project = place.project()?;
    let section = project.file.server.as_ref();
    let settings = Settings::check(section, &project.file.access, &project.root).map_err(RunError::from)?;
    let cluster = match &settings.spark {
        Some(spark) => {
            let args = ClusterArgs {
                remote: Some(spark.remote.clone()),
                executor_project: spark.executor_project.clone(),
                installed: spark.installed,
            };
            let json = ui.json();
            let spark = Spark::new(&args, &project.root, move |text| say(json, &text))?;
            Some(Arc::new(Queries::new(spark, |_, _| {})))
        }
        None => None,
    };
    let threads = project.threads;
    let project = Arc::new(project.open(&ask_passphrase, "server")?);
    let threads_for = |threads: usize| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        // What computes an expression calls itself at each of its signs, of which there may be a thousand.
        let runtime = builder.worker_threads(threads).thread_stack_size(cordon_engine::STACK).enable_all().build();
        runtime.map_err(|_| RunError::Internal("the server's runtime"))
    };
    // A query that computes for long leaves clocks, log-ins and other clients their own threads; and since some joins look up from their
    // work only when it is done, also when nobody wants it any more, there are more threads than processors for the others.
    let (runtime, queries) = (threads_for(2)?, threads_for(4 * threads.max(1) + 4)?);
    let computing = queries.handle().clone();
    runtime.block_on(async {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds.map(signal) else {
            return Err(RunError::Internal("signals").into());
        };
        let json = ui.json();
        let on = cluster.clone().map(|cluster| cluster as Arc<dyn QueryCluster>);
        let tell = move |text: &str| say(json, text);
        let server =
            Server::bind(project, settings, Arc::new(tell), computing, on).await.map_err(|error| told(&error))?;
        let addresses = server.addresses();
        if ui.json() {
            let places: serde_json::Map<_, _> =
                addresses.iter().map(|(what, at)| ((*what).to_owned(), at.to_string().into())).collect();
            ui.result(&serde_json::json!({ "listening": places }).to_string());
        }
        for (what, at) in &addresses {
            ui.say(format!("{what:<10}{at}"));
        }
        ui.hint("Stop it with SIGTERM: queries that run may end.");
        let again = server.again();
        server
            .run(async {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => break,
                        _ = interrupt.recv() => break,
                        Some(()) = hangup.recv() => again.notify_one(),
                    }
                }
            })
            .await;
        Ok::<(), Failure>(())
    })?;
    if let Some(cluster) = cluster {
        cluster.close();
    }
    // What blocks still, such as a store that does not answer, does not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    // An alert may take some seconds, and what was given up goes on the record.
    queries.shutdown_timeout(std::time::Duration::from_secs(10));
    Ok(ExitCode::SUCCESS)
}

/// What the operator may want to know.
fn say(json: bool, text: &str) {
    ui::line_to_stderr(&if json { serde_json::json!({ "server": text }).to_string() } else { text.to_owned() });
}

fn told(error: &StartError) -> Failure {
    let exit = match error {
        StartError::Run(error) => error.exit(),
        StartError::Settings(_) | StartError::Directory(_) => ExitKind::Usage,
        StartError::Users(_) | StartError::Tls(_) | StartError::Keytab(_) | StartError::Kerberos(_) => ExitKind::Keys,
        StartError::Listen(..) => ExitKind::Storage,
        StartError::Randomness => ExitKind::Failure,
    };
    Failure::new(exit, error.to_string())
}

fn user(ui: &Ui, place: &Place, command: ServeUserCommand) -> Outcome {
    let project = place.project()?;
    let path = users_file(&project)?;
    match command {
        ServeUserCommand::Add { name } => {
            let password = password()?;
            local::check(&name, &password).map_err(|error| wrong(&error))?;
            record(place, &name, "set")?;
            local::put(&path, &name, &password).map_err(|error| wrong(&error))?;
            ui.object(&serde_json::json!({ "user": name }));
            ui.hint(format!("`{name}` may log in from now on, also at a server that runs. What `{name}` may see stands under `access`."));
        }
        ServeUserCommand::Remove { name } => {
            if !local::names(&path).map_err(|error| wrong(&error))?.contains(&name) {
                return Err(wrong(&UsersError::Unknown));
            }
            record(place, &name, "removed")?;
            local::remove(&path, &name).map_err(|error| wrong(&error))?;
            ui.object(&serde_json::json!({ "user": name }));
            ui.hint(format!("`{name}` may not log in any more, and has no session."));
        }
        ServeUserCommand::List => {
            let names = local::names(&path).map_err(|error| wrong(&error))?;
            ui.object(&names);
            for name in &names {
                ui.say(name);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// On the record before it is done.
fn record(place: &Place, name: &str, what: &'static str) -> Result<(), Failure> {
    place.open()?.audit(&Event::LocalUserChanged { user: name.to_owned(), what: Label::new(what) })?;
    Ok(())
}

fn users_file(project: &Project) -> Result<PathBuf, Failure> {
    let users = project.file.server.as_ref().and_then(|server| server.log_in.local_users.as_ref());
    users.map(|users| project.root.join(&users.file.value)).ok_or_else(|| {
        Failure::usage(
            "this project keeps no users of its own\n  help: name a file for them in cordon.yaml, under \
             `server.log-in.local-users`; docs/server.md says when to",
        )
    })
}

/// From the terminal, twice; or the first line of what comes in.
fn password() -> Result<Zeroizing<String>, Failure> {
    let unreadable = |_| Failure::usage("the password cannot be read");
    if !std::io::stdin().is_terminal() {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().read_line(&mut line).map_err(unreadable)?;
        return Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let first = Zeroizing::new(rpassword::prompt_password("New password: ").map_err(unreadable)?);
    let again = Zeroizing::new(rpassword::prompt_password("Again: ").map_err(unreadable)?);
    if *first != *again {
        return Err(Failure::usage("these are two passwords"));
    }
    Ok(first)
}

fn wrong(error: &UsersError) -> Failure {
    let exit = match error {
        UsersError::Name | UsersError::Password | UsersError::Unknown => ExitKind::Usage,
        UsersError::Write(..) => ExitKind::Storage,
        UsersError::Busy => ExitKind::Busy,
        UsersError::Unreadable(_) | UsersError::Malformed(_) | UsersError::Hash => ExitKind::Keys,
    };
    Failure::new(exit, error.to_string())
}
