//! One file a command.

mod access;
mod access_lint;
mod audit;
mod backup;
mod demo;
mod executor;
mod explain_access;
mod hold;
mod init;
mod inspect;
mod keys;
mod policy;
mod quarantine;
mod report;
mod retain;
mod rights;
mod run;
mod schema;
mod serve;
mod signals;
mod spark;
mod sql;
mod synth;
mod tables;
mod token;
mod vault;

use std::process::ExitCode;

use cordon_pipeline::project::{OpenProject, Project};
use zeroize::Zeroizing;

use crate::args::{Args, Command, OutputFormat};
use crate::ui::{Failure, Ui};

/// What a command comes to: an exit code, or why it failed.
pub type Outcome = Result<ExitCode, Failure>;

pub fn dispatch(args: Args, ui: &Ui) -> Outcome {
    if matches!(args.format, OutputFormat::Csv | OutputFormat::Arrow) && !matches!(args.command, Command::Sql(_)) {
        return Err(Failure::usage(
            "`--format csv` and `arrow` are for query results; other commands know text and json",
        ));
    }
    let place = Place { dir: args.project };
    match args.command {
        Command::Init(init) => init::init(ui, &init),
        Command::Inspect(inspect) => inspect::inspect(ui, &inspect),
        Command::Run(run) => run::run(ui, &place, &run),
        Command::Report(report) => report::report(ui, &place, &report),
        Command::Sql(sql) => sql::sql(ui, &place, &sql),
        Command::Tables(tables) => tables::tables(ui, &place, tables),
        Command::Policy(policy) => policy::policy(ui, &place, policy),
        Command::Quarantine(quarantine) => quarantine::quarantine(ui, &place, quarantine),
        Command::Retain(retain) => retain::retain(ui, &place, &retain),
        Command::Hold(hold) => hold::hold(ui, &place, hold),
        Command::Access(access) => access::access(ui, &place, access),
        Command::ExplainAccess(args) => explain_access::explain(ui, &place, &args),
        Command::Audit(audit) => audit::audit(ui, &place, audit),
        Command::Keys(keys) => keys::keys(ui, &place, keys),
        Command::Vault(vault) => vault::vault(ui, &place, &vault),
        Command::Token(token) => token::token(ui, &place, token),
        Command::Backup(backup) => backup::backup(ui, &place, backup),
        Command::Serve(args) => serve::serve(ui, &place, args),
        Command::Executor(args) => executor::executor(&place, &args),
        Command::Schema(schema) => {
            schema::schema(ui, &schema);
            Ok(ExitCode::SUCCESS)
        }
        Command::Synth(synth) => synth::synth(ui, &synth),
        Command::Demo(demo) => demo::demo(ui, &demo),
    }
}

pub use retain::parse_day;

/// Where the project is.
pub struct Place {
    pub dir: Option<std::path::PathBuf>,
}

impl Place {
    pub fn project(&self) -> Result<Project, Failure> {
        let start = match &self.dir {
            Some(dir) => dir.clone(),
            None => std::env::current_dir().map_err(|_| {
                Failure::usage("the current folder does not exist; say where the project is with `--project DIR`")
            })?,
        };
        Ok(Project::find(&start)?)
    }

    /// The project with its keys in hand, on behalf of whoever runs the program.
    pub fn open(&self) -> Result<OpenProject, Failure> {
        self.open_as(&os_user())
    }

    pub fn open_as(&self, user: &str) -> Result<OpenProject, Failure> {
        Ok(self.project()?.open(&ask_passphrase, user)?)
    }
}

/// The operating system's user: who stands behind commands that name no user of the project.
pub fn os_user() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned())
}

pub fn ask_passphrase() -> std::io::Result<Zeroizing<String>> {
    rpassword::prompt_password("Passphrase of the project's keys: ").map(Zeroizing::new)
}
