//! What the program understands. The text here is its manual.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// HIPAA-compliant data pipelines and analytics on patient data.
///
/// Cordon reads EHR exports, de-identifies them under a policy, keeps them encrypted, lets people query
/// only what they may see, and keeps every access on a tamper-evident record.
#[derive(Parser)]
#[command(name = "cordon", version, max_term_width = 110, after_help = AFTER)]
pub struct Args {
    /// The project folder (default: the nearest folder with a `cordon.yaml`).
    #[arg(long, global = true, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// How results are written: for people, or for programs.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub format: OutputFormat,
    /// No progress and no hints; results and errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
Exit codes: 0 done; 1 failure; 2 wrong use or configuration; 3 done, but records or files are in quarantine;
4 access denied or statement refused; 5 keys; 6 disk or vault not available; 7 integrity: something was changed or damaged; 8 busy;
101 an internal error; 130 stopped by a second Ctrl-C.

Start with:  cordon demo";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Tables and sentences.
    #[value(alias = "table")]
    Text,
    /// JSON; of query results, one array.
    Json,
    /// Query results as CSV (RFC 4180).
    Csv,
    /// Query results as an Arrow IPC stream.
    Arrow,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make a project folder: configuration, policies, a pipeline and keys.
    Init(InitArgs),
    /// Say what the columns of files seem to hold, and draft a policy for them.
    Inspect(InspectArgs),
    /// Run a pipeline: read, de-identify, write encrypted tables.
    Run(RunArgs),
    /// Tell what a run found and what it did with it: numbers by dataset, identifier kind and action.
    Report(ReportArgs),
    /// Query the tables as a user, for a purpose.
    Sql(SqlArgs),
    /// List the tables that a user may read; show how a table was made, and check its files.
    Tables(TablesArgs),
    /// Check and explain de-identification policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Look at records that could not be processed, and process them again.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Remove what is past its retention and under no legal hold: rows, quarantine, reports, files of old versions.
    Retain(RetainArgs),
    /// Legal holds: while one is on a table, nothing of it is removed.
    #[command(subcommand)]
    Hold(HoldCommand),
    /// Who may read what: check the rules, review what was read in emergencies.
    #[command(subcommand)]
    Access(AccessCommand),
    /// Tell who sees which columns and rows of a dataset, how masked, and which grant or policy says so.
    ExplainAccess(ExplainAccessArgs),
    /// Read and verify the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The key ring: status, rotation of keys and of the root key, unwrapping data keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// The token vault: its state.
    #[command(subcommand)]
    Vault(VaultCommand),
    /// What stands behind tokens, by two persons: one asks, another approves for a limited time, and the one who asked sees
    /// it, each token on the record.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make, check and restore backups of a project.
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Serve people and programs who log in, over HTTP and to clients of PostgreSQL, as `server` in cordon.yaml says.
    Serve(ServeArgs),
    /// Carry out units of a run, or stages of a query, for another machine. `--engine spark` has it started on executors.
    #[command(hide = true)]
    Executor(ExecutorArgs),
    /// Print the JSON Schema of a configuration file, for editors.
    Schema(SchemaArgs),
    /// Generate a synthetic hospital: no person in it exists.
    Synth(SynthArgs),
    /// See the whole of it in a minute: generate, de-identify, query, verify.
    Demo(DemoArgs),
}

#[derive(ClapArgs)]
pub struct InitArgs {
    /// The folder; it must be empty or not exist.
    pub dir: PathBuf,
    /// What the first pipeline reads.
    #[arg(long, value_enum, default_value = "hospital")]
    pub template: Template,
    /// By which method the policy de-identifies: `limited-data-set` for messages, documents and FHIR.
    #[arg(long, value_enum, default_value = "safe-harbor")]
    pub method: InitMethod,
    /// Protect the root key by a passphrase from this environment variable instead of a key file.
    #[arg(long, value_name = "NAME")]
    pub passphrase_env: Option<String>,
    /// Have a key store wrap the root key, named as in `keys.root`: `{ transit: { address: …, key: … } }`.
    #[arg(long, value_name = "YAML", conflicts_with = "passphrase_env")]
    pub root: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// What `cordon synth` generates: CSV tables and FHIR R4.
    Hospital,
    /// Synthea's CSV export, and FHIR R4.
    Synthea,
    /// HL7 v2 messages.
    Hl7v2,
    /// C-CDA documents.
    Ccda,
    /// X12 claims, remittances, enrolment, eligibility and claim status.
    X12,
    /// Notes in plain text files.
    Notes,
    /// FHIR R4 resources alone.
    Fhir,
    /// DICOM files.
    Dicom,
    /// Every format of one hospital, by expert determination: one person has one token, date shift and made-up name in all.
    Research,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InitMethod {
    /// 164.514(b)(2).
    SafeHarbor,
    /// 164.514(e): dates, towns and postal codes stay, under a data use agreement.
    LimitedDataSet,
}

#[derive(ClapArgs)]
pub struct InspectArgs {
    /// A file, or a folder of files: CSV, Parquet or NDJSON.
    pub path: PathBuf,
    /// Look at so many rows of each file.
    #[arg(long, default_value_t = 100_000)]
    pub rows: u64,
    /// Write a draft of a policy to this file, which must not exist.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

#[derive(ClapArgs)]
pub struct RunArgs {
    /// The pipeline: `pipelines/<NAME>.yaml`.
    pub pipeline: String,
    /// Forget what an interrupted run had done, and start afresh.
    #[arg(long)]
    pub restart: bool,
    #[command(flatten)]
    pub on: EngineArgs,
}

/// Who does the work.
#[derive(ClapArgs)]
pub struct EngineArgs {
    /// Where it is read and computed.
    #[arg(long, value_enum, default_value = "embedded")]
    pub engine: EngineName,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(ClapArgs)]
pub struct ClusterArgs {
    /// The Spark Connect server: `sc://HOST:PORT/;use_ssl=true`; else what SPARK_REMOTE says.
    #[arg(long, value_name = "URL")]
    pub remote: Option<String>,
    /// Where executors find the project's folder, when it is not where it is here.
    #[arg(long, value_name = "PATH")]
    pub executor_project: Option<PathBuf>,
    /// Executors have this program already, where their CORDON_PROGRAM says: it is not sent.
    #[arg(long)]
    pub installed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// By this process.
    Embedded,
    /// By the executors of a cluster of Apache Spark.
    Spark,
}

#[derive(ClapArgs)]
pub struct ExecutorArgs {
    /// Threads for each unit; else what `run.threads` says.
    #[arg(long)]
    pub threads: Option<u16>,
}

#[derive(ClapArgs)]
pub struct ReportArgs {
    /// The pipeline: `pipelines/<NAME>.yaml`.
    pub pipeline: String,
    /// The run, as `cordon run --format json` and the audit log name it; else the last one that read something.
    pub run: Option<String>,
    /// List the runs of which there is a report.
    #[arg(long, conflicts_with = "run")]
    pub list: bool,
}

#[derive(ClapArgs)]
pub struct RetainArgs {
    /// Say what would go and why, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// What is past its retention when this day is over. A day to come takes `--dry-run`.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = crate::commands::parse_day)]
    pub at: Option<NaiveDate>,
    /// Who removes, as in `cordon.yaml`: it takes a role with the action `retain` for operations. Without it, whoever runs the program.
    #[arg(long = "as", value_name = "USER")]
    pub user: Option<String>,
}

#[derive(Subcommand)]
pub enum HoldCommand {
    /// Put a hold in force. It keeps rows, files of old versions, and what was put aside or reported on the way to the tables.
    Place {
        /// A name for it: the number of a case, not the name of a person.
        name: String,
        /// Tables by name, or the beginning of names and a `*`; all of them: `'*'`.
        #[arg(long, value_delimiter = ',', required = true, value_name = "TABLE,…")]
        tables: Vec<String>,
        /// Its last day; without it the hold lasts until it is released.
        #[arg(long, value_name = "YYYY-MM-DD", value_parser = crate::commands::parse_day)]
        until: Option<NaiveDate>,
        /// Why; it goes on the record.
        #[arg(long)]
        reason: String,
        /// Who places it, as in `cordon.yaml`: it takes a role with the action `hold` for operations.
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
    /// End a hold.
    Release {
        name: String,
        /// Why; it goes on the record.
        #[arg(long)]
        reason: String,
        /// Who releases it, as in `cordon.yaml`: it takes a role with the action `hold` for operations.
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
    /// List the holds that are in force.
    List,
}

#[derive(Subcommand)]
pub enum AccessCommand {
    /// Look for what is wrong with grants and Ranger policies, or likely not meant: what cannot be evaluated, can never come to effect, or
    /// names what there is not. Ends with 2 where anything is found.
    Lint,
    /// What was read for the purpose `emergency` and that nobody has reviewed yet; close it.
    Review(ReviewArgs),
}

#[derive(ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ReviewArgs {
    #[command(subcommand)]
    pub command: Option<ReviewCommand>,
    /// List those that were reviewed too.
    #[arg(long)]
    pub all: bool,
    /// End with exit code 4 where one is overdue, for a watchman.
    #[arg(long)]
    pub check: bool,
}

#[derive(Subcommand)]
pub enum ReviewCommand {
    /// Say what came of looking at one. Nobody closes their own.
    Close {
        /// The query, as the list names it.
        query: String,
        /// Who has looked at it, as in `cordon.yaml`: it takes a role with the action `review-access` for operations.
        #[arg(long = "as", value_name = "USER")]
        user: String,
        /// Whether there was an emergency.
        #[arg(long, value_enum)]
        outcome: ReviewVerdict,
        /// What was looked at and found; it goes on the record.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReviewVerdict {
    Justified,
    NotJustified,
}

#[derive(ClapArgs)]
pub struct SqlArgs {
    /// One SELECT.
    pub query: String,
    /// The user who asks, as in `cordon.yaml`.
    #[arg(long = "as", value_name = "USER")]
    pub user: String,
    /// What the answer is for.
    #[arg(long, value_name = "PURPOSE")]
    pub purpose: String,
    /// Why. For the purpose `emergency`, which opens what grants name for it, at once; another person reviews it afterwards.
    #[arg(long, required_if_eq("purpose", "emergency"))]
    pub reason: Option<String>,
    /// The research project that the answer is for.
    #[arg(long, value_name = "ID")]
    pub research_project: Option<String>,
    /// Write all rows to this file, in clear, as its name's ending says (.csv, .json, .arrow) or as --format does. The file
    /// is replaced when the whole result is there, and not before.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub on: EngineArgs,
}

#[derive(ClapArgs)]
pub struct ExplainAccessArgs {
    /// Who would read. It need be nobody that exists.
    #[arg(required_unless_present_any = ["all", "diff"])]
    pub user: Option<String>,
    /// The dataset; it need not be stored yet, where a pipeline would write it.
    #[arg(required_unless_present_any = ["all", "diff"])]
    pub dataset: Option<String>,
    /// For this purpose only, and not for each.
    #[arg(long, value_name = "PURPOSE")]
    pub purpose: Option<String>,
    /// The research project that the reader names.
    #[arg(long, value_name = "PROJECT", requires = "purpose")]
    pub research_project: Option<String>,
    /// Groups that the reader is in, besides those of Ranger's user store.
    #[arg(long, value_name = "GROUP,…", value_delimiter = ',')]
    pub groups: Vec<String>,
    /// The whole matrix: every user that rules name, a member of each group, and anyone else, for every dataset and purpose.
    #[arg(long, conflicts_with_all = ["user", "dataset", "purpose", "groups", "diff"])]
    pub all: bool,
    /// What would change for whom with the rules of this file: Ranger policies (`.json`), or another project's `cordon.yaml`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "dataset", "purpose", "groups"])]
    pub diff: Option<PathBuf>,
}

#[derive(ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct TablesArgs {
    #[command(subcommand)]
    pub command: Option<TablesCommand>,
    /// Whose tables to list, as in `cordon.yaml`.
    #[arg(long = "as", value_name = "USER", requires = "purpose")]
    pub user: Option<String>,
    /// What for.
    #[arg(long, value_name = "PURPOSE", requires = "user")]
    pub purpose: Option<String>,
}

#[derive(Subcommand)]
pub enum TablesCommand {
    /// How each version of a table was made: run, policy, sources, keys, place in the audit log.
    History { name: String },
    /// The files of the newest version, for readers outside: a table's folder also holds what is under way or superseded.
    Files {
        name: String,
        /// Who asks, as in `cordon.yaml`: it takes the privilege `unwrap-keys`.
        #[arg(long = "as", value_name = "USER")]
        user: String,
        /// What for.
        #[arg(long, value_name = "PURPOSE")]
        purpose: String,
    },
    /// Read every byte of the newest versions and compare it with what their manifests say.
    Verify {
        /// Only this table.
        name: Option<String>,
    },
}

#[derive(Subcommand)]
pub enum PolicyCommand {
    /// What a policy does to each field, why, and which of the 18 identifiers that settles.
    Explain {
        /// The policy: `policies/<NAME>.yaml`.
        name: String,
        /// Only this dataset.
        #[arg(long)]
        dataset: Option<String>,
    },
    /// Check all policies and pipelines of the project.
    Check,
    /// Make a policy of another tool's configuration, and say rule by rule what became of it. Needs no project.
    Import(ImportArgs),
}

#[derive(ClapArgs)]
pub struct ImportArgs {
    /// The configuration.
    pub file: PathBuf,
    /// Which tool it is of.
    #[arg(long = "as", value_enum, default_value = "ms-fhir-anonymizer", value_name = "TOOL")]
    pub tool: ImportTool,
    /// By which method the policy de-identifies. What it forbids is dropped, and said with its clause.
    #[arg(long, value_enum, default_value = "safe-harbor")]
    pub method: ImportMethod,
    /// The policy's name (default: that of the output file, or `imported`).
    #[arg(long)]
    pub name: Option<String>,
    /// Write the policy to this file, which must not exist, instead of printing it.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportTool {
    /// The JSON configuration of Microsoft's Tools for Health Data Anonymization, FHIR.
    MsFhirAnonymizer,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportMethod {
    /// 164.514(b)(2).
    SafeHarbor,
    /// 164.514(e).
    LimitedDataSet,
    /// 164.514(b)(1).
    ExpertDetermination,
}

#[derive(Subcommand)]
pub enum QuarantineCommand {
    /// List what is in quarantine, with file, line, field and reason.
    List {
        #[arg(long)]
        dataset: Option<String>,
    },
    /// Show one record as it was read. It is PHI, and the access goes on the record.
    Show {
        id: String,
        /// Who asks, as in `cordon.yaml`: it takes a role with the action `read-quarantine`.
        #[arg(long = "as", value_name = "USER")]
        user: String,
        #[arg(long)]
        purpose: String,
        /// Why it must be seen.
        #[arg(long)]
        reason: String,
    },
    /// Process quarantined records again, under the policy as it is now.
    Replay {
        /// The pipeline that put them aside.
        pipeline: String,
        #[arg(long)]
        dataset: Option<String>,
    },
}

#[derive(Subcommand)]
pub enum AuditCommand {
    /// List entries, the newest last.
    List {
        /// Only the last N.
        #[arg(long, short = 'n', default_value_t = 50)]
        last: usize,
        /// Only entries of this kind, such as `query_started` or `access_denied`.
        #[arg(long)]
        kind: Option<String>,
        /// Only entries of this user.
        #[arg(long)]
        user: Option<String>,
    },
    /// Find any changed, removed, added or re-ordered entry, and any table that was set back to an earlier version. Changes
    /// nothing; works on a copy that cannot be written.
    Verify {
        /// An earlier head, as `SEQ:HASH`, kept where nobody can change it.
        #[arg(long, value_name = "SEQ:HASH")]
        anchor: Vec<String>,
        /// Check with the verifying key alone, as `cordon audit head` prints it: hashes, links and signatures.
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
        /// With --key: the log's folder, where there is no project around it.
        #[arg(long, value_name = "DIR", requires = "key")]
        log: Option<PathBuf>,
    },
    /// Print the last entry's number and hash, and the key that signs: keep them elsewhere.
    Head,
}

#[derive(Subcommand)]
pub enum KeysCommand {
    /// The keys by purpose, with versions, dates and how many files stand under each. Never the keys.
    Status,
    /// Wrap all keys under a new root key. Data stays as it is. Where a key store wraps the root and no new root is named: under
    /// the newest version of the same key.
    RotateRoot {
        /// A new key file, made if it does not exist; relative to the project folder, as in `keys.root`.
        #[arg(long, value_name = "FILE", conflicts_with = "new_passphrase_env")]
        new_key_file: Option<PathBuf>,
        /// An environment variable that holds the new passphrase.
        #[arg(long, value_name = "NAME")]
        new_passphrase_env: Option<String>,
        /// Any root, as in `keys.root`: `{ transit: { address: …, key: … } }`.
        #[arg(long, value_name = "YAML", conflicts_with_all = ["new_key_file", "new_passphrase_env"])]
        new_root: Option<String>,
    },
    /// Make a new version of keys: new data are written under it, and what is there stays readable. Killed, it is carried on by the
    /// next call. No run may be active meanwhile.
    Rotate {
        /// The keys of this purpose: `table-master`, `seal`, `audit-seal`, `audit-signing` or `subject-keys`; may be repeated. Of
        /// `table-master` key material beside files is wrapped anew too; where a store keeps the master keys, only that.
        #[arg(long, value_name = "PURPOSE", required_unless_present = "all", conflicts_with = "all")]
        purpose: Vec<String>,
        /// All keys that can be rotated.
        #[arg(long)]
        all: bool,
    },
    /// Wrap the key material that stands beside the files of tables under the newest master keys that there are. No data change, and no
    /// key is made. Killed, it is carried on by the next call. No run may be active meanwhile.
    Rewrap,
    /// Remove old versions of keys that nothing stands under any more. Backups from before keep their own copy of the ring.
    Retire,
    /// Unwrap a data key of a table's file, for readers such as pyarrow and Spark. Reads the wrapped key, prints the key, base64 both.
    UnwrapDek {
        /// The master key's id, as in the file's key material.
        #[arg(long)]
        master_key: String,
        /// Who reads, as in `cordon.yaml`: it takes a role with the action `unwrap-keys`.
        #[arg(long = "as", value_name = "USER")]
        user: String,
        /// What for.
        #[arg(long)]
        purpose: String,
    },
}

#[derive(ClapArgs)]
pub struct ServeArgs {
    #[command(subcommand)]
    pub command: Option<ServeCommand>,
}

#[derive(Subcommand)]
pub enum ServeCommand {
    /// Users whom the project keeps itself (`server.log-in.local-users`).
    #[command(subcommand)]
    User(ServeUserCommand),
}

#[derive(Subcommand)]
pub enum ServeUserCommand {
    /// Let a user log in with a password, or change it. The password is asked for, or is the first line of what comes in.
    Add { name: String },
    /// Let a user log in no more; open sessions end.
    Remove { name: String },
    /// Who may log in so.
    List,
}

#[derive(Subcommand)]
pub enum BackupCommand {
    /// Copy configuration, vault, dossiers, requests, audit log, state and quarantine, sealed as they are, with the key ring in a folder of its
    /// own. Runs may go on. The root's secret is never copied, nor is a vault in PostgreSQL: dump it afterwards.
    Create {
        /// A folder that is empty or does not exist.
        dir: PathBuf,
        /// Leave out the key ring: without it the backup opens for nobody.
        #[arg(long)]
        without_keys: bool,
        /// Copy the tables too.
        #[arg(long)]
        tables: bool,
    },
    /// Read all of a backup and compare it with its signed list. Needs no project and no keys.
    Verify {
        dir: PathBuf,
        /// Where its `keys` folder is kept, if elsewhere.
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
        /// The verifying key that must have signed it, as `cordon audit head` prints it.
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
        /// Ask the vault's database whether it is as new as the backup. Paths of `vault.postgres` lead from this folder.
        #[arg(long, value_name = "DIR")]
        database: Option<PathBuf>,
    },
    /// Put a backup into a folder that is empty or does not exist. A key ring that is there already stays; of the subject keys the newest
    /// copy comes in place, or stays: that there, that of the backup, or one that is given.
    Restore {
        dir: PathBuf,
        /// The project's folder.
        into: PathBuf,
        /// Where its `keys` folder is kept, if elsewhere.
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
        /// The verifying key that must have signed it.
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
        /// A copy of `subject-keys` that may be newer than the backup's.
        #[arg(long, value_name = "FILE")]
        subject_keys: Option<PathBuf>,
        /// The key ring that opens it, where it is not that of the backup.
        #[arg(long, value_name = "FILE")]
        keyring: Option<PathBuf>,
        /// The certificate of somebody's destruction: subject keys from before it are refused. May be repeated.
        #[arg(long, value_name = "FILE")]
        certificate: Vec<PathBuf>,
        /// Ask the vault's database whether it is as new as the backup. Paths of `vault.postgres` lead from this folder.
        #[arg(long, value_name = "DIR")]
        database: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum VaultCommand {
    /// Tokens by domain, and bytes.
    Status,
    /// Read all of the vault and check it.
    Verify,
    /// Make the tables of a vault in PostgreSQL, or bring them up to date, and grant the working role what it needs.
    Migrate {
        /// The role that owns the tables; not the one that runs work under.
        #[arg(long, value_name = "ROLE")]
        owner: String,
        /// The environment variable that holds the owner's password; else `pgpass` is looked in for the owner.
        #[arg(long, value_name = "NAME")]
        password_env: Option<String>,
        /// The owner's certificate, PEM.
        #[arg(long, requires = "client_key")]
        client_certificate: Option<String>,
        #[arg(long, requires = "client_certificate")]
        client_key: Option<String>,
    },
    /// Give the vault and its blind index new keys, and write all of vault and dossiers anew under them. Tokens stay what they are, so no table
    /// changes. Killed, it is carried on by the same command. The keys before leave the key ring: backups from before need their own copy of it.
    Rekey {
        /// The role that owns the tables of a vault in PostgreSQL.
        #[arg(long, value_name = "ROLE")]
        owner: Option<String>,
        /// The environment variable that holds the owner's password; else `pgpass` is looked in for the owner.
        #[arg(long, value_name = "NAME", requires = "owner")]
        password_env: Option<String>,
        /// The owner's certificate, PEM.
        #[arg(long, requires_all = ["client_key", "owner"])]
        client_certificate: Option<String>,
        #[arg(long, requires = "client_certificate")]
        client_key: Option<String>,
        /// Keep the keys before in the key ring, so that it opens backups from before; `cordon keys retire` removes them.
        #[arg(long)]
        keep_old_keys: bool,
    },
    /// Destroy what stands behind the token of an approved request (`cordon token request --shred`), in the vault and in every
    /// copy of it. It cannot be undone. Killed, it is carried on by the same command; done, the same command writes another certificate.
    Shred {
        /// The request, as `cordon token request` printed it.
        request: String,
        /// Who asked, as in `cordon.yaml`.
        #[arg(long = "as", value_name = "USER")]
        user: String,
        /// Where the signed certificate goes; the file must not exist.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
    },
    /// Let runs go on with a vault, or dossiers, that were set back, after a restore that nothing newer could be had for. Rows of before are made
    /// again from their sources, where these are there: people whom the vault does not know get new tokens. It goes on the record.
    AcceptOlder {
        /// Who accepts it, as in `cordon.yaml`.
        #[arg(long = "as", value_name = "USER")]
        user: String,
        /// Why, in at least 8 characters.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Check the signature of a certificate. Needs no project.
    CheckCertificate {
        file: PathBuf,
        /// The key that must have signed it, as `cordon audit head` printed it.
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
    },
    /// Replaced by `cordon token`.
    #[command(hide = true)]
    Reveal {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Ask to see what tokens stand for. Prints the request's id, which a second person approves.
    Request(TokenRequestArgs),
    /// Let the one who asked do it, for a limited time. Nobody approves a request of their own.
    Approve(TokenDecisionArgs),
    /// Refuse a request for good.
    Reject(TokenDecisionArgs),
    /// Close a request for good, approved or not, at once: by who asked, who approved, or who may approve.
    Revoke(TokenDecisionArgs),
    /// Show what the tokens of an approved request stand for, to who asked. It is PHI, and each token goes on the record first.
    Reveal {
        id: String,
        /// Only these of the request's tokens.
        tokens: Vec<String>,
        /// Who asked, as in `cordon.yaml`.
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
    /// Show which tokens of one recipient are which of another, for all tokens of an approved request, to who asked: on the record first.
    Translate {
        id: String,
        /// Who asked, as in `cordon.yaml`.
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
    /// The requests that a user has a part in: made, approved, or may decide about.
    List {
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
    /// One request with its tokens, its reasons, and how it stands.
    Show {
        id: String,
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
}

#[derive(ClapArgs)]
pub struct TokenRequestArgs {
    /// The tokens, as tables show them.
    #[arg(required_unless_present = "tokens_file", conflicts_with = "tokens_file")]
    pub tokens: Vec<String>,
    /// A file with one token a line; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,
    /// The domain of the tokens, as policies name it (`patient`, where they name none).
    #[arg(long, required_unless_present = "translate", default_value = "", hide_default_value = true)]
    pub domain: String,
    /// Who asks, as in `cordon.yaml`: it takes a role with the action `reveal`, `shred` or `translate`.
    #[arg(long = "as", value_name = "USER")]
    pub user: String,
    #[arg(long)]
    pub purpose: String,
    /// Why it must be seen.
    #[arg(long)]
    pub reason: String,
    /// For how long an approval shall open it (`30m`, `24h`), at most as `access.reveal.lifetime` says.
    #[arg(long = "for", value_name = "DURATION")]
    pub lifetime: Option<String>,
    /// Ask to destroy what stands behind one token instead, for good (`cordon vault shred`): it takes the action `shred`.
    #[arg(long, conflicts_with_all = ["tokens_file", "times"])]
    pub shred: bool,
    /// Ask which tokens of one recipient are which of another instead (`cordon token translate`): it takes the action `translate`.
    #[arg(long, conflicts_with_all = ["shred", "domain"], requires = "from", requires = "to")]
    pub translate: bool,
    /// Whose tokens these are: a recipient of `cordon.yaml`, or `project`.
    #[arg(long, value_name = "RECIPIENT", requires = "translate")]
    pub from: Option<String>,
    /// Whose tokens are asked for.
    #[arg(long, value_name = "RECIPIENT", requires = "translate")]
    pub to: Option<String>,
    /// How often each token may be revealed, or all of them translated.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub times: Option<u32>,
}

#[derive(ClapArgs)]
pub struct TokenDecisionArgs {
    /// The request, as `cordon token request` printed it.
    pub id: String,
    /// Who decides, as in `cordon.yaml`.
    #[arg(long = "as", value_name = "USER")]
    pub user: String,
    /// Why.
    #[arg(long)]
    pub reason: String,
}

#[derive(ClapArgs)]
pub struct SchemaArgs {
    #[arg(value_enum)]
    pub of: SchemaOf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// `cordon.yaml`
    Project,
    /// `policies/*.yaml`
    Policy,
    /// `pipelines/*.yaml`
    Pipeline,
    /// Not a schema: the definition of Cordon's kind of service, for a Ranger Admin to import.
    RangerServiceDef,
}

#[derive(ClapArgs)]
pub struct SynthArgs {
    /// The folder to write to.
    pub dir: PathBuf,
    #[arg(long, short, default_value_t = 1000)]
    pub patients: u64,
    /// The same seed gives the same hospital, byte for byte.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// What to write: the same people, facts and dates in each.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["csv", "fhir"])]
    pub formats: Vec<SynthFormat>,
    /// Write who everybody is and where each note names whom, in `truth/patients.ndjson` and `truth/mentions.ndjson`.
    #[arg(long)]
    pub truth: bool,
    /// None of the dirt of real exports.
    #[arg(long)]
    pub clean: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SynthFormat {
    /// Nine tables.
    Csv,
    /// The same tables, typed.
    Parquet,
    /// FHIR R4 as NDJSON.
    Fhir,
    /// Feeds of registration, results, documents and vaccinations, as batches.
    Hl7v2,
    /// A Continuity of Care Document a patient.
    Ccda,
    /// Claims, payments, enrollment and coverage (837, 835, 834, 271).
    X12,
    /// Clinical notes as plain text.
    Notes,
}

#[derive(ClapArgs)]
pub struct DemoArgs {
    /// The folder to make (default: `cordon-demo` here).
    pub dir: Option<PathBuf>,
    #[arg(long, default_value_t = 1000)]
    pub patients: u64,
}
