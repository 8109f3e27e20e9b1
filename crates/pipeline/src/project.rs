//! A project folder, checked and opened: configuration, keys, vault, audit log and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::SchemaRef;
use cordon_access::{
    Action, Authorizer, ColumnFacts, Dataset, Grants, Known, Policies, Principal, Privilege, Problem, PurposeOfUse,
    Request,
};
use cordon_audit::{AuditLog, Event, Receipt, StoreUse, WriterInfo};
use cordon_crypto::{AuditSealKey, BlindIndexKey, HashKey, KeyedHash, SealKey, SealKeys, VaultKey};
use cordon_custody::AuditMark;
use cordon_custody::root;
pub use cordon_custody::root::AskPassphrase;
pub(crate) use cordon_custody::vaults::Existing;
use cordon_deid::kernel::Env;
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::recipe::{ACTION_KEY, KEY_CLASS_KEY, KIND_KEY, Recipe};
use cordon_deid::yaml::{self, Issue, Issues, Position};
use cordon_engine::tables::{TableStore, valid_name};
use cordon_formats::NotesReader;
use cordon_storage::Location;
use cordon_vault::keyring::{KeyRing, RootSecret};
use cordon_vault::{DossierKeeper, TokenVault, Vault, VaultKeys, VaultOptions};
use indexmap::IndexMap;

use crate::cluster;
use crate::config::{PipelineFile, ProjectFile, RootSection};
use crate::error::RunError;
use crate::people::People;
use crate::places::Places;
use crate::policies::PolicySource;
use crate::recipient::is_recipient_name;
use crate::retention::Retention;
use crate::run::PipelineLock;
use crate::stores::Stores;

/// A project folder whose `cordon.yaml` has been read and checked. No key has been touched.
pub struct Project {
    pub root: PathBuf,
    pub file: ProjectFile,
    pub grants: Grants,
    /// Memory that a run or a query may use, in bytes.
    pub memory: usize,
    pub threads: usize,
    /// Days after which a key is due for rotation.
    pub rotate_after: Option<u32>,
    /// How long things stay.
    pub retention: Retention,
    /// Where in `cordon.yaml` things stand.
    places: Places,
    pub(crate) stores: Stores,
    /// SHA-256 of `cordon.yaml`.
    digest: [u8; 32],
}

/// The columns of each table that exists or may come to be, as grants are compared with them.
pub type KnownTables = BTreeMap<String, BTreeSet<String>>;

/// A pipeline file, read and checked, with its policy's text.
pub struct Pipeline {
    pub name: String,
    pub path: PathBuf,
    pub file: PipelineFile,
    pub policy_path: PathBuf,
    policy_text: String,
    /// SHA-256 of the file.
    digest: [u8; 32],
}

impl Project {
    /// Reads `cordon.yaml` in `root` or in the nearest folder above.
    pub fn find(start: &Path) -> Result<Self, RunError> {
        let start = start.canonicalize().map_err(|error| RunError::io("open", start, &error))?;
        let root = start.ancestors().find(|folder| folder.join("cordon.yaml").is_file()).ok_or_else(|| {
            RunError::usage(
                format!("there is no `cordon.yaml` in {} or above", start.display()),
                "run `cordon init DIR` to make a project, or say where it is with `--project DIR`",
            )
        })?;
        let path = root.join("cordon.yaml");
        let text = read_text(&path)?;
        let file: ProjectFile = yaml::parse(&text, Path::new("cordon.yaml"))?;
        let places = Places::of(&text);
        let wrong = |position: Position, message: String, help: &str| {
            RunError::Config(Issues(vec![Issue {
                file: PathBuf::from("cordon.yaml"),
                position,
                message,
                help: Some(help.to_owned()),
            }]))
        };
        let grants = Grants::check(file.access.clone())
            .map_err(|error| RunError::Config(access_issues(&places, error.problems)))?;
        let memory = parse_bytes(&file.run.memory.value).ok_or_else(|| {
            wrong(
                file.run.memory.position,
                format!("`{}` is not an amount of memory", file.run.memory.value),
                "write a number and a unit, such as `512MiB` or `2GiB`",
            )
        })?;
        if memory < MIN_MEMORY {
            return Err(wrong(file.run.memory.position, "the memory limit is too small".to_owned(), "at least 128MiB"));
        }
        let rotate_after = match &file.keys.rotate_after {
            None => None,
            Some(text) => Some(parse_days(&text.value).ok_or_else(|| {
                wrong(
                    text.position,
                    format!("`{}` is not a number of days", text.value),
                    "write a number from 1 to 36500 and `d`, such as `365d`",
                )
            })?),
        };
        let threads = match file.run.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        };
        let stores = Stores::new(root, Path::new("cordon.yaml"), &file.storage)?;
        let retention = Retention::check(&file.retention)?;
        for (name, section) in &file.recipients {
            if !is_recipient_name(name) {
                return Err(wrong(
                    section.position,
                    format!("`{name}` cannot name a recipient"),
                    "start with a small letter, then a-z, 0-9, _ and -, 64 at most; `project` is the project itself",
                ));
            }
        }
        let (root, digest) = (root.to_path_buf(), digest(&text));
        Ok(Self { root, file, grants, memory, threads, rotate_after, retention, places, stores, digest })
    }

    /// Names in grants that fit nothing of what exists or may come to be. An `except` among them leaves a column open
    /// that somebody meant to close.
    pub fn unmatched_grants(&self, known: &KnownTables) -> Issues {
        let columns: Vec<Vec<&str>> =
            known.values().map(|columns| columns.iter().map(String::as_str).collect()).collect();
        let datasets: Vec<Dataset<'_>> =
            known.keys().zip(&columns).map(|(name, columns)| Dataset { name, columns }).collect();
        access_issues(&self.places, self.grants.unmatched(&datasets))
    }

    /// The tables that the project's pipelines may write. A pipeline that is not valid has none; who checks it says why.
    pub fn tables_to_be(&self) -> KnownTables {
        let mut known = KnownTables::new();
        for name in self.names_in("pipelines") {
            let Ok(pipeline) = self.pipeline(&name) else { continue };
            let Ok(recipe) = pipeline.compile(CompileOptions::on(chrono::NaiveDate::default())) else {
                continue;
            };
            for (table, schema) in pipeline.may_write(&recipe) {
                known.entry(table).or_default().extend(schema.fields().iter().map(|field| field.name().clone()));
            }
        }
        known
    }

    /// The same with what is known of each column.
    pub fn datasets_to_be(&self) -> Vec<Known> {
        let mut known = BTreeMap::new();
        for name in self.names_in("pipelines") {
            let Ok(pipeline) = self.pipeline(&name) else { continue };
            let Ok(recipe) = pipeline.compile(CompileOptions::on(chrono::NaiveDate::default())) else {
                continue;
            };
            for (table, schema) in pipeline.may_write(&recipe) {
                known.entry(table.clone()).or_insert_with(|| known_table(table, &schema, recipe.method.name()));
            }
        }
        known.into_values().collect()
    }

    /// Reads `pipelines/<name>.yaml` and the policy that it names.
    pub fn pipeline(&self, name: &str) -> Result<Pipeline, RunError> {
        let path = self.root.join("pipelines").join(format!("{name}.yaml"));
        if !path.is_file() {
            let known = self.names_in("pipelines");
            let help = yaml::nearest(name, known.iter().map(String::as_str)).map_or_else(
                || format!("pipelines of this project: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(RunError::usage(format!("there is no pipeline `{name}`"), help));
        }
        let shown = PathBuf::from("pipelines").join(format!("{name}.yaml"));
        let text = read_text(&path)?;
        let file: PipelineFile = yaml::parse(&text, &shown)?;
        let policy_path = PathBuf::from("policies").join(format!("{}.yaml", file.policy.value));
        let wrong = |position: Position, message: String, help: String| {
            RunError::Config(Issues(vec![Issue { file: shown.clone(), position, message, help: Some(help) }]))
        };
        if file.pipeline.value != name {
            return Err(wrong(
                file.pipeline.position,
                format!("the pipeline calls itself `{}`", file.pipeline.value),
                format!("write `pipeline: {name}`, or rename the file"),
            ));
        }
        if !self.root.join(&policy_path).is_file() {
            let known = self.names_in("policies");
            let help = yaml::nearest(&file.policy.value, known.iter().map(String::as_str)).map_or_else(
                || format!("policies of this project: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(wrong(file.policy.position, format!("there is no policy `{}`", file.policy.value), help));
        }
        if let Some(recipient) = &file.recipient
            && !self.file.recipients.contains_key(&recipient.value)
        {
            let known: Vec<&str> = self.file.recipients.keys().map(String::as_str).collect();
            let help = yaml::nearest(&recipient.value, known.iter().copied()).map_or_else(
                || "name it under `recipients:` in cordon.yaml".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(wrong(recipient.position, format!("there is no recipient `{}`", recipient.value), help));
        }
        let policy_text = read_text(&self.root.join(&policy_path))?;
        let digest = digest(&text);
        let pipeline = Pipeline { name: name.to_owned(), path: shown.clone(), file, policy_path, policy_text, digest };
        let recipe = pipeline.compile(CompileOptions::on(chrono::NaiveDate::default()))?;
        for table in pipeline.tables_of(&recipe) {
            if !valid_name(&table) {
                return Err(wrong(
                    pipeline.file.pipeline.position,
                    format!("`{table}` cannot name a table"),
                    "names of datasets and prefixes start with a small letter and hold a-z, 0-9 and _".to_owned(),
                ));
            }
        }
        self.no_other_writes(&pipeline, &recipe)?;
        for source in &pipeline.file.sources {
            let dataset = &source.dataset;
            if !recipe.tables.contains_key(&dataset.value) && !recipe.documents.contains_key(&dataset.value) {
                let known: Vec<&str> =
                    recipe.tables.keys().chain(recipe.documents.keys()).map(String::as_str).collect();
                let help = yaml::nearest(&dataset.value, known.iter().copied()).map_or_else(
                    || format!("datasets of the policy: {}", known.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                return Err(wrong(
                    dataset.position,
                    format!("policy `{}` has no dataset `{}`", recipe.name, dataset.value),
                    help,
                ));
            }
        }
        for notes in pipeline.file.sources.iter().filter_map(|source| source.notes.as_ref()) {
            NotesReader::new(notes.value.clone())
                .map_err(|error| wrong(notes.position, error.to_string(), NOTES_HELP.to_owned()))?;
        }
        Ok(pipeline)
    }

    /// A table belongs to one pipeline: two that wrote it would take each other's rows out. A pipeline that is not valid
    /// writes nothing.
    fn no_other_writes(&self, pipeline: &Pipeline, recipe: &Recipe) -> Result<(), RunError> {
        let mine = pipeline.tables_of(recipe);
        for other in self.names_in("pipelines").into_iter().filter(|other| *other != pipeline.name) {
            let path = PathBuf::from("pipelines").join(format!("{other}.yaml"));
            let Ok(text) = read_text(&self.root.join(&path)) else { continue };
            let Ok(file) = yaml::parse::<PipelineFile>(&text, &path) else { continue };
            let policy_path = PathBuf::from("policies").join(format!("{}.yaml", file.policy.value));
            let Ok(policy_text) = read_text(&self.root.join(&policy_path)) else { continue };
            let theirs = Pipeline { name: other, path, file, policy_path, policy_text, digest: digest(&text) };
            let Ok(recipe) = theirs.compile(CompileOptions::on(chrono::NaiveDate::default())) else {
                continue;
            };
            let tables = theirs.tables_of(&recipe);
            if let Some(table) = mine.iter().find(|table| tables.contains(table)) {
                return Err(RunError::Config(Issues(vec![Issue {
                    file: pipeline.path.clone(),
                    position: pipeline.file.pipeline.position,
                    message: format!("the table `{table}` is written by pipeline `{}` too", theirs.name),
                    help: Some("give one of them a prefix of its own:  sink: { prefix: \"…\" }".to_owned()),
                }])));
            }
        }
        Ok(())
    }

    /// The names of the YAML files of a folder.
    pub fn names_in(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.root.join(folder))
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                (path.extension()? == "yaml")
                    .then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))?
            })
            .collect();
        names.sort();
        names
    }

    pub fn keyring_path(&self) -> PathBuf {
        self.root.join(&self.file.keys.keyring)
    }

    /// The root secret as the configuration says.
    pub fn root_secret(&self, ask: AskPassphrase<'_>) -> Result<RootSecret, RunError> {
        self.secret_of(&self.file.keys.root, ask)
    }

    /// The secret of a root as `keys.root` would name it. A key store is not asked yet.
    pub fn secret_of(&self, root: &RootSection, ask: AskPassphrase<'_>) -> Result<RootSecret, RunError> {
        Ok(root::secret_of(&self.root, root, ask)?)
    }

    pub fn audit_folder(&self) -> PathBuf {
        self.root.join(&self.file.audit.path)
    }

    pub(crate) fn table_store(&self, ring: &KeyRing) -> Result<TableStore, RunError> {
        let tools = self.key_tools(ring)?;
        let (seal, warehouse) = (ring.versions::<SealKey>()?, self.warehouse());
        match warehouse {
            Warehouse::Folder(folder) => Ok(TableStore::open(folder, tools, seal)?),
            Warehouse::Objects(location) => {
                let staging = self.root.join(&self.file.storage.staging);
                Ok(TableStore::open_objects(self.stores.open(&location)?, staging, tools, seal)?)
            }
        }
    }

    pub(crate) fn warehouse(&self) -> Warehouse {
        let warehouse = &self.file.storage.warehouse.value;
        match Location::parse(warehouse) {
            Ok(location) if Location::is_url(warehouse) => Warehouse::Objects(location),
            _ => Warehouse::Folder(self.root.join(warehouse)),
        }
    }

    /// Opens keys, vault, audit log and tables.
    pub fn open(self, ask: AskPassphrase<'_>, user: &str) -> Result<OpenProject, RunError> {
        let root = self.root_secret(ask)?;
        self.open_with(&root, user)
    }

    /// The same, by whoever needs the root's secret besides: to replace the ring.
    pub fn open_with(self, root: &RootSecret, user: &str) -> Result<OpenProject, RunError> {
        let ring = KeyRing::open(&self.keyring_path(), root)?;
        OpenProject::new(self, ring, user, Existing::Must)
    }
}

/// Where a project's tables stand.
pub(crate) enum Warehouse {
    Folder(PathBuf),
    Objects(Location),
}

/// Reads a root as it stands in `keys.root`; `said_by` is where the text comes from.
pub fn parse_root(text: &str, said_by: &str) -> Result<RootSection, RunError> {
    Ok(yaml::parse(text, Path::new(said_by))?)
}

const NOTES_HELP: &str = "name files as in `notes: { name: \"{mrn}_{number}_{date}.txt\", encoding: utf-8 }`";

/// Not less than a few batches and row groups need.
const MIN_MEMORY: usize = 128 << 20;

impl Pipeline {
    pub fn compile(&self, options: CompileOptions<'_>) -> Result<Recipe, RunError> {
        let identities = self.identities();
        let options = CompileOptions { identities: Some(&identities), ..options };
        Ok(compile(&self.policy_text, &self.policy_path, options)?)
    }

    /// Of each dataset the places that mean a person, each with its namespace; of several sources together.
    pub(crate) fn identities(&self) -> IndexMap<String, IndexMap<String, String>> {
        let mut all: IndexMap<String, IndexMap<String, String>> = IndexMap::new();
        for source in self.file.sources.iter().filter(|source| !source.identity.is_empty()) {
            let places = all.entry(source.dataset.value.clone()).or_default();
            places.extend(source.identity.iter().map(|(place, namespace)| (place.clone(), namespace.clone())));
        }
        all
    }

    /// Whom its tables are made for; `None` for the project itself.
    pub fn recipient(&self) -> Option<&str> {
        self.file.recipient.as_ref().map(|name| name.value.as_str())
    }

    /// The table that a dataset's rows go to.
    pub fn table(&self, dataset: &str) -> String {
        format!("{}{dataset}", self.file.sink.prefix)
    }

    /// The schema of each table that the pipeline writes with its sources as they are.
    pub fn schemas(&self, recipe: &Recipe) -> BTreeMap<String, SchemaRef> {
        self.schemas_of(recipe, self.file.sources.iter().map(|source| source.dataset.value.as_str()))
    }

    /// The schema of each table that it would write with a source for every dataset of the policy.
    pub fn may_write(&self, recipe: &Recipe) -> BTreeMap<String, SchemaRef> {
        self.schemas_of(recipe, recipe.tables.keys().chain(recipe.documents.keys()).map(String::as_str))
    }

    fn schemas_of<'a>(&self, recipe: &Recipe, datasets: impl Iterator<Item = &'a str>) -> BTreeMap<String, SchemaRef> {
        let mut schemas = BTreeMap::new();
        for dataset in datasets {
            if let Some(table) = recipe.tables.get(dataset) {
                schemas.insert(self.table(dataset), table.schema());
            }
            if let Some(documents) = recipe.documents.get(dataset) {
                for (kind, schema) in documents.schemas() {
                    schemas.insert(self.document_table(dataset, &kind), schema);
                }
            }
        }
        schemas
    }

    /// The table that a dataset's documents of one kind go to.
    pub fn document_table(&self, dataset: &str, kind: &str) -> String {
        self.table(&format!("{dataset}_{}", kind.to_lowercase()))
    }

    /// All tables that the pipeline may write.
    pub fn tables_of(&self, recipe: &Recipe) -> Vec<String> {
        self.schemas(recipe).into_keys().collect()
    }
}

/// A project with its keys in hand.
pub struct OpenProject {
    pub project: Project,
    pub root: PathBuf,
    pub ring: KeyRing,
    audit: AuditLog,
    anchor: AuditMark,
    tables: TableStore,
    /// Read when somebody asks to read.
    policies: Mutex<Option<Arc<PolicySource>>>,
}

impl OpenProject {
    pub(crate) fn new(project: Project, ring: KeyRing, user: &str, existing: Existing) -> Result<Self, RunError> {
        let open = match existing {
            Existing::Must => AuditLog::open_existing,
            Existing::New => AuditLog::open,
        };
        let state = project.root.join(&project.file.storage.state);
        let anchor = AuditMark::new(&state, ring.versions::<SealKey>()?);
        // Before the log is opened: what others append meanwhile is in it then.
        let reached = anchor.read()?;
        let audit = open(
            &project.audit_folder(),
            ring.versions::<AuditSealKey>()?,
            ring.audit_signing_keys()?,
            WriterInfo::for_user(user),
        )?;
        let tables = project.table_store(&ring)?;
        let open =
            Self { root: project.root.clone(), project, ring, audit, anchor, tables, policies: Mutex::default() };
        match reached {
            Some(anchor) => open.audit.reaches(&anchor)?,
            None if existing == Existing::Must => {
                let entries = open.audit.head()?.seq;
                open.audit(&Event::AnchorMissing { entries })?;
            }
            None => {
                let subjects = open.make_subject_keys()?;
                TokenVault::open(&open.vault_folder(), open.vault_keys()?, subjects, VaultOptions::default())?;
            }
        }
        if existing == Existing::Must {
            open.record_store_use(StoreUse::Unwrapped)?;
            crate::backup::record_restored(&open)?;
        }
        Ok(open)
    }

    /// The same project under the ring as it is now.
    pub(crate) fn reopened(self, user: &str) -> Result<Self, RunError> {
        Self::new(self.project, self.ring, user, Existing::Must)
    }

    /// Puts an event on the record; it is durable when this returns.
    pub fn audit(&self, event: &Event) -> Result<Receipt, RunError> {
        let receipt = self.audit.append(event)?;
        self.anchor.raise(receipt.into())?;
        Ok(receipt)
    }

    /// Where a store keeps the key that wraps the root, each use of it is on the record.
    pub fn record_store_use(&self, what: StoreUse) -> Result<(), RunError> {
        match self.ring.root_place() {
            Some(place) => self.audit(&Event::KeyStoreUsed { store: place.to_string(), what }).map(drop),
            None => Ok(()),
        }
    }

    /// Whether a role of the user names the privilege for the purpose, as far as `cordon.yaml` says now. No grant to read implies one.
    pub fn may(&self, principal: &Principal, usage: &PurposeOfUse, privilege: Privilege, about: &str) -> bool {
        let (time, action) = (crate::policies::now(), Action::Privileged(privilege));
        let request = Request { principal, usage, time, dataset: about, columns: &[], facts: &[], action };
        self.roles().decide(&request).allowed
    }

    /// Whether there is such a user, as far as `cordon.yaml` says now.
    pub fn knows(&self, user: &str) -> bool {
        self.roles().users().any(|known| known == user)
    }

    /// Whether the user has one of these roles, as far as `cordon.yaml` says now. Of one that is not defined any more anybody may have
    /// what it was, by another name.
    pub fn may_have_role(&self, user: &str, of: &BTreeSet<String>) -> bool {
        let roles = self.roles();
        of.iter().any(|name| !roles.defines(name)) || roles.role_names(user).any(|role| of.contains(role))
    }

    /// The first of these roles that is defined no more, as far as `cordon.yaml` says now.
    pub fn undefined_role<'r>(&self, of: &'r BTreeSet<String>) -> Option<&'r str> {
        let roles = self.roles();
        of.iter().map(String::as_str).find(|name| !roles.defines(name))
    }

    /// Users and roles. Whoever stays has them read again by what [`OpenProject::policy_source`] gives.
    fn roles(&self) -> Grants {
        let open = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map_or_else(|| self.project.grants.clone(), |source| source.current().roles().clone())
    }

    /// Where the rules about reading come from: asked for changes by whoever stays, and for what is in force.
    pub fn policy_source(&self) -> Result<Arc<PolicySource>, RunError> {
        let mut open = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = &*open {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(PolicySource::open(&self.project, self.seal_key()?)?);
        *open = Some(Arc::clone(&source));
        Ok(source)
    }

    /// The rules about reading that are in force now.
    pub fn policies(&self) -> Result<Arc<Policies>, RunError> {
        self.policy_source()?.in_force()
    }

    pub fn audit_log(&self) -> &AuditLog {
        &self.audit
    }

    pub fn tables(&self) -> &TableStore {
        &self.tables
    }

    pub fn seal_key(&self) -> Result<SealKeys, RunError> {
        Ok(self.ring.versions::<SealKey>()?)
    }

    /// What masks of queries hash under: the same values have the same hashes, whoever asks and whenever.
    pub fn mask_key(&self) -> Result<KeyedHash, RunError> {
        Ok(KeyedHash::for_key(&self.ring.key::<HashKey>()?).derive("masks of queries"))
    }

    /// Names files in manifests and in the audit log without naming patients. From the first version of the key: under another name a
    /// file would be taken for a new one.
    pub(crate) fn source_ids(&self) -> Result<KeyedHash, RunError> {
        Ok(KeyedHash::for_key(self.seal_key()?.first_key()).derive("source file names"))
    }

    /// Opens the vault and makes what kernels need.
    pub fn env(&self) -> Result<(Arc<dyn Vault>, Env), RunError> {
        let people = self.open_people(None, None)?;
        Ok((people.vault, people.env))
    }

    /// The dossiers, where there are any.
    pub fn dossiers(&self) -> Result<Option<Arc<dyn DossierKeeper>>, RunError> {
        Ok(self.open_vault()?.dossiers_if_any(&self.vault_places())?)
    }

    /// Opens the vault, and the dossiers where they are asked for, and makes what kernels need. Dossiers that `must` be there are not made
    /// anew: notes would be scrubbed with less knowledge than was promised. What is made for a `recipient` has tokens of its own and
    /// follows from keys of its own.
    pub(crate) fn open_people(&self, dossiers: Option<Existing>, recipient: Option<&str>) -> Result<People, RunError> {
        let opened = self.open_vault()?;
        let places = self.vault_places();
        let dossiers = dossiers.map(|existing| opened.dossiers(&places, existing)).transpose()?;
        let vault = opened.vault();
        let env = cordon_custody::env::env(&self.ring, &vault, dossiers.clone(), recipient)?;
        Ok(People { vault, dossiers, env })
    }

    pub fn vault(&self) -> Result<Arc<dyn Vault>, RunError> {
        Ok(self.open_vault()?.vault())
    }

    /// The newest, for a vault that is made now.
    pub(crate) fn vault_keys(&self) -> Result<VaultKeys, RunError> {
        Ok(VaultKeys { blind: self.ring.key::<BlindIndexKey>()?, values: self.ring.key::<VaultKey>()? })
    }

    pub fn key_ids(&self) -> Vec<String> {
        self.ring.newest().into_iter().map(|key| key.name()).collect()
    }

    /// Of all that `cordon.yaml` and the pipeline's file say: two processes that go by one file each have the same.
    pub(crate) fn said(&self, pipeline: &Pipeline) -> String {
        data_encoding::HEXLOWER.encode(&[self.project.digest, pipeline.digest].concat())
    }

    /// Whether several machines may have the vault open at a time.
    pub(crate) fn is_vault_shared(&self) -> bool {
        self.project.file.vault.postgres.is_some()
    }

    /// What a unit's rows depend on besides its files: the policy, the keys, and whom they are for.
    pub(crate) fn made_under(&self, pipeline: &Pipeline, recipe: &Recipe) -> String {
        use sha2::{Digest, Sha256};
        let identities = pipeline.identities();
        let mut under = format!("{}+{}", recipe.hash, self.ring.id());
        if !identities.is_empty() {
            let identities = Sha256::digest(serde_json::to_vec(&identities).unwrap_or_default());
            under.push('+');
            under.push_str(&data_encoding::HEXLOWER.encode(identities.get(..8).unwrap_or_default()));
        }
        if let Some(recipient) = pipeline.recipient() {
            under.push_str("+for ");
            under.push_str(recipient);
        }
        under
    }

    pub fn state_file(&self, pipeline: &str) -> PathBuf {
        self.state_folder(pipeline).join("done.sealed")
    }

    pub(crate) fn journal_file(&self, pipeline: &str) -> PathBuf {
        self.state_folder(pipeline).join("journal.sealed")
    }

    /// What a run found.
    pub(crate) fn report_file(&self, pipeline: &str, run: &str) -> PathBuf {
        self.state_folder(pipeline).join(format!("report-{run}.sealed"))
    }

    pub fn state_folder(&self, pipeline: &str) -> PathBuf {
        self.root.join(&self.project.file.storage.state).join(pipeline)
    }

    pub fn quarantine_folder(&self, pipeline: &str) -> PathBuf {
        self.root.join(&self.project.file.storage.quarantine).join(pipeline)
    }

    pub fn tmp_folder(&self) -> PathBuf {
        self.root.join(&self.project.file.storage.tmp)
    }

    pub(crate) fn lock_pipeline(&self, pipeline: &str) -> Result<PipelineLock, RunError> {
        let lock = PipelineLock::take(self.state_folder(pipeline).join("lock"), pipeline)?;
        // Nobody works any more for a run that is over.
        cluster::dismiss(self, pipeline)?;
        Ok(lock)
    }
}

/// What a table's schema says of its columns.
pub fn facts_of(schema: &SchemaRef, method: &str) -> Vec<ColumnFacts> {
    let of = |field: &Arc<arrow_schema::Field>| ColumnFacts {
        kind: field.metadata().get(KIND_KEY).cloned(),
        class: field.metadata().get(KEY_CLASS_KEY).cloned(),
        action: field.metadata().get(ACTION_KEY).cloned(),
        method: Some(method.to_owned()).filter(|method| !method.is_empty()),
    };
    schema.fields().iter().map(of).collect()
}

/// A table as rules are asked about it.
pub fn known_table(name: String, schema: &SchemaRef, method: &str) -> Known {
    let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
    Known { name, columns, facts: facts_of(schema, method) }
}

fn access_issues(places: &Places, problems: Vec<Problem>) -> Issues {
    let issue = |problem: Problem| Issue {
        file: PathBuf::from("cordon.yaml"),
        position: places.find(&format!("/access{}", problem.at)),
        message: problem.what,
        help: Some(problem.help),
    };
    Issues(problems.into_iter().map(issue).collect())
}

fn digest(text: &str) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).into()
}

fn read_text(path: &Path) -> Result<String, RunError> {
    fs::read_to_string(path).map_err(|error| RunError::io("read", path, &error))
}

/// `365d`
fn parse_days(text: &str) -> Option<u32> {
    let days = text.trim().strip_suffix('d')?.trim_end().parse().ok()?;
    (1..=36_500).contains(&days).then_some(days)
}

/// `1GiB`, `512 MiB`, `100MB`, `4096`.
pub fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "kb" => 1000,
        "m" | "mib" => 1 << 20,
        "mb" => 1_000_000,
        "g" | "gib" => 1 << 30,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}
