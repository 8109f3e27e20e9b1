//! Who may read what: the rules that are in force, wherever they come from, and what becomes of them while the project is open.
//!
//! Users, roles and grants are in `cordon.yaml`, which is read again while the project stays open. Policies of Ranger are read from files, or downloaded from a Ranger Admin and kept sealed,
//! so that they are in force for a while when it does not answer. Where they are not known, or were last heard of too long ago, nobody
//! reads anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cordon_access::ranger::{self, RangerError, json};
use cordon_access::{AccessFile, Documents, Grants, Policies, RangerSection, Records, Service, apply_deltas};
use cordon_crypto::SealKeys;
use cordon_deid::yaml;
use cordon_keystore::Trouble;
use cordon_keystore::ranger::{Download, Fetched, Kerberos, RangerAdmin};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::ProjectFile;
use crate::error::RunError;
use crate::project::Project;
use crate::sealed::{read_sealed, write_sealed};

/// For files, which are looked at as often as an Admin would be asked.
const POLL: Duration = Duration::from_secs(30);
/// How often it is looked whether a file was written.
const LOOK: Duration = Duration::from_secs(1);
const NEVER: i64 = i64::MIN;

/// The rules of a project and where they come from. One for the process.
pub struct PolicySource {
    /// `cordon.yaml`.
    file: PathBuf,
    from: Origin,
    state: Mutex<State>,
    /// When the Admin last said what holds, in milliseconds since 1970; [`NEVER`] where it did not, or too long ago.
    heard: AtomicI64,
    /// With the number of changes so far.
    current: RwLock<(u64, Arc<Policies>)>,
}

enum Origin {
    Project,
    Files { root: PathBuf, section: Box<RangerSection> },
    Admin(Box<Admin>),
}

struct Admin {
    section: RangerSection,
    url: String,
    client: RangerAdmin,
    max_age: i64,
    poll: Duration,
    kept: PathBuf,
    heard: PathBuf,
    seal: SealKeys,
}

struct State {
    /// What `cordon.yaml` said last under `access`, and the roles that follow from it.
    access: AccessFile,
    roles: Grants,
    /// It could not be read since: nobody knows what it says now.
    unread: bool,
    documents: Documents,
    /// Of what the rules in force were made of.
    digest: Option<[u8; 32]>,
    /// When the documents came into force here.
    since: i64,
    /// Why the last look failed.
    trouble: Option<String>,
}

/// What stays sealed on the disk of an Admin's downloads.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    service: String,
    since: i64,
    documents: Documents,
}

/// When the Admin last confirmed them: a file of its own, since it changes with each question.
#[derive(Serialize, Deserialize)]
struct Heard {
    /// Of the documents that are meant.
    digest: String,
    time: i64,
}

/// Milliseconds since 1970, UTC: when something is asked.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn digest(documents: &Documents) -> [u8; 32] {
    Sha256::digest(serde_json::to_vec(documents).unwrap_or_default()).into()
}

fn unknown(service: &str, why: &str) -> RunError {
    RunError::PoliciesUnknown { service: service.to_owned(), why: why.to_owned() }
}

impl PolicySource {
    /// Reads the policies, from the Admin where there is one. That nothing is known of them is an error; what was kept of an Admin that does
    /// not answer counts for as long as `max-age` says.
    pub fn open(project: &Project, seal: SealKeys) -> Result<Self, RunError> {
        let (access, roles) = (project.file.access.clone(), project.grants.clone());
        let from = match &project.file.access.ranger {
            None => Origin::Project,
            Some(section) if section.admin.is_none() => {
                Origin::Files { root: project.root.clone(), section: Box::new(section.clone()) }
            }
            Some(section) => Origin::Admin(Box::new(Admin::open(project, section, seal)?)),
        };
        let first = match &from {
            Origin::Project => Policies::of_grants(roles.clone()),
            _ => Policies::unknown(roles.clone()),
        };
        let state = State {
            access,
            roles,
            unread: false,
            documents: Documents::default(),
            digest: None,
            since: 0,
            trouble: None,
        };
        let source = Self {
            file: project.root.join("cordon.yaml"),
            from,
            state: Mutex::new(state),
            heard: AtomicI64::new(NEVER),
            current: RwLock::new((0, Arc::new(first))),
        };
        source.take_kept();
        if let Err(error) = source.refresh()
            && source.current().is_unknown()
        {
            return Err(error);
        }
        Ok(source)
    }

    /// The rules in force now.
    pub fn current(&self) -> Arc<Policies> {
        self.lapse();
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// A number that is another once the rules changed. Whoever works under them asks at each step whether they still are what they were.
    pub fn generation(&self) -> u64 {
        self.lapse();
        self.current.read().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The rules in force now, or why there are none.
    pub fn in_force(&self) -> Result<Arc<Policies>, RunError> {
        let current = self.current();
        if current.is_unknown() {
            let state = self.state();
            let why = state.trouble.clone().unwrap_or_else(|| "nobody asked for them".to_owned());
            let lapsed = matches!(self.from, Origin::Admin(_)) && state.digest.is_some();
            let lapsed = if lapsed { "they were last confirmed longer ago than `max-age` allows; " } else { "" };
            return Err(unknown(self.service(), &format!("{lapsed}{why}")));
        }
        Ok(current)
    }

    /// Why the last look at files or Admin failed, though rules may be in force.
    pub fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// For how long the Admin has not confirmed the policies that are in force, where it was asked in vain.
    pub fn unconfirmed(&self) -> Option<Duration> {
        let heard = self.heard.load(Ordering::SeqCst);
        if !matches!(self.from, Origin::Admin(_)) || heard == NEVER || self.trouble().is_none() {
            return None;
        }
        Some(Duration::from_millis(u64::try_from(now() - heard).unwrap_or(0)))
    }

    /// What the policies in force were read from.
    pub fn documents(&self) -> Documents {
        self.state().documents.clone()
    }

    pub fn service(&self) -> &str {
        match &self.from {
            Origin::Project => "",
            Origin::Files { section, .. } => &section.service,
            Origin::Admin(admin) => &admin.section.service,
        }
    }

    /// Looks whether there is anything new. `true` where the rules changed.
    pub fn refresh(&self) -> Result<bool, RunError> {
        let mut state = self.state();
        let read = self.read_access(&mut state);
        let done = read.and_then(|changed| self.read_policies(&mut state).map(|more| changed || more));
        state.trouble = done.as_ref().err().map(|error| match error {
            RunError::PoliciesUnknown { why, .. } => why.clone(),
            error => error.to_string(),
        });
        drop(state);
        self.lapse();
        done
    }

    fn read_policies(&self, state: &mut State) -> Result<bool, RunError> {
        match &self.from {
            Origin::Project => Ok(false),
            Origin::Files { root, section } => self.read_files(state, root, section),
            Origin::Admin(admin) => self.ask(state, admin),
        }
    }

    /// Who has which role may have changed. A file that cannot be read may have taken a right away: nobody reads anything until it can.
    fn read_access(&self, state: &mut State) -> Result<bool, RunError> {
        let read = || {
            let text = fs::read_to_string(&self.file).map_err(|error| RunError::io("read", &self.file, &error))?;
            let file: ProjectFile = yaml::parse(&text, Path::new("cordon.yaml"))?;
            if file.access.ranger != state.access.ranger {
                return Err(RunError::usage(
                    "`access.ranger` is another than when this began",
                    "stop and start again; nobody reads anything until then",
                ));
            }
            let roles = Grants::check(file.access.clone()).map_err(|error| {
                RunError::usage(format!("cordon.yaml: {error}"), "mend the file; nobody reads anything until then")
            })?;
            Ok((file.access, roles))
        };
        match read() {
            Ok((access, _)) if access == state.access && !state.unread => Ok(false),
            Ok((access, roles)) => {
                (state.access, state.roles) = (access, roles);
                let of = |current: &Policies| match &self.from {
                    Origin::Project => Policies::of_grants(state.roles.clone()),
                    _ => current.with_roles(state.roles.clone()),
                };
                let made = of(&self.current());
                if state.unread {
                    // The policies were put aside with them.
                    state.digest = None;
                }
                state.unread = false;
                self.put(made);
                Ok(true)
            }
            Err(error) => {
                if !state.unread {
                    state.unread = true;
                    self.put(Policies::unknown(state.roles.clone()));
                }
                Err(error)
            }
        }
    }

    /// Looks again and again, until what this returns is dropped.
    pub fn watch(self: &Arc<Self>) -> Watch {
        let (stop, stopped) = mpsc::channel();
        let poll = match &self.from {
            Origin::Project | Origin::Files { .. } => POLL,
            Origin::Admin(admin) => admin.poll,
        };
        let source = Arc::clone(self);
        thread::spawn(move || {
            // Files may have changed since they were read: the first look reads them again. An Admin is not asked twice for that.
            let mut seen = matches!(source.from, Origin::Admin(_)).then(|| source.written());
            let mut asked = Instant::now();
            while stopped.recv_timeout(LOOK.min(poll)) == Err(RecvTimeoutError::Timeout) {
                // A file that was written is read at once; an Admin is asked as often as it allows.
                let written = source.written();
                if asked.elapsed() >= poll || seen.as_ref().is_none_or(|seen| *seen != written) {
                    asked = Instant::now();
                    // What went wrong is in `trouble`; the next look may do better.
                    let _ = source.refresh();
                }
                seen = Some(written);
            }
        });
        Watch { _stop: stop }
    }

    /// When the files were written and how long they are.
    fn written(&self) -> Vec<Option<(SystemTime, u64)>> {
        let of = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        let mut all = vec![of(&self.file)];
        if let Origin::Files { root, section } = &self.from {
            let files = [&section.policies, &section.tags, &section.roles, &section.users];
            all.extend(files.into_iter().flatten().map(|file| of(&root.join(file))));
        }
        all
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, policies: Policies) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = (current.0 + 1, Arc::new(policies));
    }

    /// Policies that nobody confirmed for too long are out of force. A clock that was set back does not make them younger.
    fn lapse(&self) {
        let Origin::Admin(admin) = &self.from else { return };
        let heard = self.heard.load(Ordering::SeqCst);
        if heard == NEVER || admin.is_fresh(heard) {
            return;
        }
        // Not where the Admin was heard meanwhile.
        if self.heard.compare_exchange(heard, NEVER, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            let unknown = Policies::unknown(current.1.roles().clone());
            *current = (current.0 + 1, Arc::new(unknown));
        }
    }

    fn is_unknown(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1.is_unknown()
    }

    fn read_files(&self, state: &mut State, root: &Path, section: &RangerSection) -> Result<bool, RunError> {
        let made = read_all(root, section).and_then(|documents| {
            let new = digest(&documents);
            if state.digest == Some(new) {
                return Ok(None);
            }
            let records = Records::read(&documents, &section.service).map_err(|error| in_files(section, &error))?;
            let service = Service::new(&records, &section.database).map_err(|error| in_files(section, &error))?;
            Ok(Some((documents, new, service)))
        });
        match made {
            Ok(None) => Ok(false),
            Ok(Some((documents, new, service))) => {
                (state.documents, state.digest) = (documents, Some(new));
                self.put(Policies::of_ranger(state.roles.clone(), service));
                Ok(true)
            }
            Err(error) => {
                // What they say now nobody knows: it may be a right that was taken away.
                if state.digest.take().is_some() {
                    self.put(Policies::unknown(state.roles.clone()));
                }
                Err(error)
            }
        }
    }

    /// What was downloaded before is in force until the Admin says otherwise, or for too long says nothing.
    fn take_kept(&self) {
        let Origin::Admin(admin) = &self.from else { return };
        let mut state = self.state();
        let Some((kept, heard)) = admin.kept() else { return };
        let made = Records::read(&kept.documents, &admin.section.service)
            .and_then(|records| Service::new(&records, &admin.section.database));
        if let Ok(service) = made {
            state.digest = Some(digest(&kept.documents));
            (state.documents, state.since) = (kept.documents, kept.since);
            self.heard.store(heard, Ordering::SeqCst);
            self.put(Policies::of_ranger(state.roles.clone(), service));
        }
    }

    fn ask(&self, state: &mut State, admin: &Admin) -> Result<bool, RunError> {
        let old = self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone();
        let pulled = match admin.pull(state) {
            Ok(pulled) => pulled,
            Err(Pulled::NoService) => {
                (state.documents, state.digest, state.since) = (Documents::default(), None, 0);
                self.heard.store(NEVER, Ordering::SeqCst);
                let _ = fs::remove_file(&admin.kept);
                self.put(Policies::unknown(state.roles.clone()));
                return Err(unknown(&admin.section.service, "the Ranger Admin has no such service"));
            }
            Err(Pulled::Failed(why)) => return Err(unknown(&admin.section.service, &why)),
        };
        let new = digest(&pulled.documents);
        let time = now();
        // First, so that what is in force cannot lapse any more. A service that did is made anew, though nothing of it changed.
        let before = self.heard.swap(time, Ordering::SeqCst);
        if state.digest == Some(new) && !self.is_unknown() {
            admin.confirm(&new, time)?;
            return Ok(false);
        }
        let made = match pulled.deltas.as_ref().zip(old.service()) {
            Some((download, service)) => changes(download, service),
            None => Records::read(&pulled.documents, &admin.section.service)
                .and_then(|records| Service::new(&records, &admin.section.database)),
        };
        let service = made.map_err(|error| {
            self.heard.store(before, Ordering::SeqCst);
            let why = format!("what the Ranger Admin sent cannot be read: {error}");
            unknown(&admin.section.service, &why)
        })?;
        // In force at once, also where the disk is full.
        self.put(Policies::of_ranger(state.roles.clone(), service));
        state.digest = Some(new);
        state.since = time;
        state.documents = pulled.documents;
        let kept = Kept {
            url: admin.url.clone(),
            service: admin.section.service.clone(),
            since: time,
            documents: state.documents.clone(),
        };
        write_sealed(&admin.kept, &admin.seal, &kept)?;
        admin.confirm(&new, time)?;
        Ok(true)
    }
}

/// Keeps a thread looking for changes for as long as it is there.
pub struct Watch {
    _stop: Sender<()>,
}

fn changes(download: &Value, service: &Service) -> Result<Service, RangerError> {
    let part = |name: &str| download.get(name).cloned().unwrap_or_default();
    let deltas = ranger::deltas_from_json(&part("policyDeltas"))?;
    let zones = ranger::zones_from_json(&part("securityZones"))?;
    Ok(service.changed(&deltas, Some(&zones)))
}

fn in_files(section: &RangerSection, error: &RangerError) -> RunError {
    RunError::usage(
        format!("the Ranger policies of `{}` cannot be read: {error}", section.service),
        "mend the file; nobody reads anything until then",
    )
}

fn read_all(root: &Path, section: &RangerSection) -> Result<Documents, RunError> {
    let read = |path: &Option<String>| {
        path.as_ref()
            .map(|path| {
                let text = fs::read_to_string(root.join(path))
                    .map_err(|error| RunError::io("read", Path::new(path), &error))?;
                json::parse(&text).map_err(|error| {
                    RunError::usage(
                        format!("{path} is no JSON: {error}"),
                        "mend the file; nobody reads anything until then",
                    )
                })
            })
            .transpose()
    };
    Ok(Documents {
        policies: read(&section.policies)?.unwrap_or_default(),
        tags: read(&section.tags)?,
        roles: read(&section.roles)?,
        users: read(&section.users)?,
    })
}

/// The rules of another project's file, which are not in force here: to be compared with those that are.
pub fn of_project_file(path: &Path) -> Result<Policies, RunError> {
    let text = fs::read_to_string(path).map_err(|error| RunError::io("read", path, &error))?;
    let file: ProjectFile = yaml::parse(&text, path)?;
    let roles = Grants::check(file.access.clone())
        .map_err(|error| RunError::usage(format!("{}: {error}", path.display()), "mend the file"))?;
    let Some(section) = &file.access.ranger else { return Ok(Policies::of_grants(roles)) };
    if section.admin.is_some() {
        return Err(RunError::usage(
            format!("the policies of {} are with a Ranger Admin", path.display()),
            "download them to a file and name that",
        ));
    }
    let documents = read_all(path.parent().unwrap_or(Path::new(".")), section)?;
    of_documents(roles, &documents, section)
}

/// Rules made of documents that are not in force.
pub fn of_documents(roles: Grants, documents: &Documents, section: &RangerSection) -> Result<Policies, RunError> {
    let made = Records::read(documents, &section.service).and_then(|records| Service::new(&records, &section.database));
    Ok(Policies::of_ranger(roles, made.map_err(|error| in_files(section, &error))?))
}

/// Documents as a file on somebody's desk has them, to be compared with those in force.
pub fn documents_of_file(path: &Path) -> Result<Documents, RunError> {
    let text = fs::read_to_string(path).map_err(|error| RunError::io("read", path, &error))?;
    let policies = json::parse(&text).map_err(|error| {
        RunError::usage(format!("{} is no JSON: {error}", path.display()), "name a file of Ranger policies")
    })?;
    Ok(Documents { policies, ..Documents::default() })
}

/// What a round of downloads came to.
struct Round {
    documents: Documents,
    /// The download whose changes are all that is new.
    deltas: Option<Value>,
}

enum Pulled {
    NoService,
    Failed(String),
}

impl From<Trouble> for Pulled {
    fn from(trouble: Trouble) -> Self {
        Self::Failed(trouble.to_string().replace("the store", "the Ranger Admin"))
    }
}

impl From<RangerError> for Pulled {
    fn from(error: RangerError) -> Self {
        Self::Failed(format!("what the Ranger Admin sent cannot be read: {error}"))
    }
}

impl Admin {
    fn open(project: &Project, section: &RangerSection, seal: SealKeys) -> Result<Self, RunError> {
        let admin = section.admin.as_ref().ok_or(RunError::Internal("a Ranger Admin's section"))?;
        let root = &project.root;
        let path = |file: &Option<String>| file.as_ref().map(|file| root.join(file));
        let (ca, certificate, key) = (path(&admin.ca_file), path(&admin.certificate), path(&admin.key));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let plugin: String = format!("{}@{host}-{}", admin.app_id, section.service).chars().take(255).collect();
        let keytab = path(&admin.kerberos.as_ref().and_then(|kerberos| kerberos.keytab.clone()));
        let kerberos = admin.kerberos.as_ref();
        let kerberos =
            kerberos.map(|kerberos| Kerberos { principal: kerberos.principal.as_deref(), keytab: keytab.as_deref() });
        let client = RangerAdmin::open(
            &admin.url,
            &section.service,
            &plugin,
            ca.as_deref(),
            certificate.as_deref().zip(key.as_deref()),
            kerberos,
            admin.timeout_seconds,
        )
        .map_err(|trouble| {
            let why = trouble.to_string().replace("the store", "the Ranger Admin");
            RunError::usage(
                format!("the Ranger Admin of `access.ranger` cannot be asked: {why}"),
                "docs/access.md says how it is configured",
            )
        })?;
        let state = root.join(&project.file.storage.state);
        Ok(Self {
            url: admin.url.clone(),
            client,
            max_age: i64::try_from(admin.max_age.seconds() * 1000).unwrap_or(i64::MAX),
            poll: Duration::from_secs(admin.poll.seconds()),
            kept: state.join(format!("ranger-{}.sealed", section.service)),
            heard: state.join(format!("ranger-{}-heard.sealed", section.service)),
            section: section.clone(),
            seal,
        })
    }

    fn confirm(&self, documents: &[u8; 32], time: i64) -> Result<(), RunError> {
        write_sealed(&self.heard, &self.seal, &Heard { digest: data_encoding::HEXLOWER.encode(documents), time })
    }

    fn is_fresh(&self, heard: i64) -> bool {
        // Some minutes of grace for clocks that are set right.
        (-300_000..=self.max_age).contains(&(now() - heard))
    }

    /// What is kept, where it is of this Admin, whole and not too old. Anything else is as if nothing were kept.
    fn kept(&self) -> Option<(Kept, i64)> {
        let kept: Kept = read_sealed(&self.kept, &self.seal).ok()??;
        let heard: Heard = read_sealed(&self.heard, &self.seal).ok()??;
        let same = kept.url == self.url
            && kept.service == self.section.service
            && heard.digest == data_encoding::HEXLOWER.encode(&digest(&kept.documents));
        (same && self.is_fresh(heard.time)).then_some((kept, heard.time))
    }

    fn pull(&self, state: &State) -> Result<Round, Pulled> {
        let old = &state.documents;
        let known = |document: Option<&Value>, field: &str| {
            document.and_then(|document| document.get(field)).and_then(Value::as_i64).unwrap_or(-1)
        };
        let since = state.since;
        let mut deltas = None;
        let version = known(Some(&old.policies), "policyVersion");
        let policies = match self.client.fetch(Download::Policies, version, since)? {
            Fetched::Document(text) => {
                let download = parsed(&text)?;
                if has_deltas(&download) {
                    let mut full = old.policies.clone();
                    if old.policies.is_object() && apply_deltas(&mut full, &download).is_ok() {
                        deltas = Some(download);
                        full
                    } else {
                        self.all_policies(since)?
                    }
                } else {
                    download
                }
            }
            Fetched::Unchanged if old.policies.is_object() => old.policies.clone(),
            Fetched::Unchanged => self.all_policies(since)?,
            Fetched::NoService => return Err(Pulled::NoService),
            Fetched::Absent => return Err(Pulled::Failed("the address is not one of a Ranger Admin".to_owned())),
        };
        let mut others = Vec::new();
        for (what, old, field) in [
            (Download::Tags, &old.tags, "tagVersion"),
            (Download::Roles, &old.roles, "roleVersion"),
            (Download::Users, &old.users, "userStoreVersion"),
        ] {
            let new = match self.client.fetch(what, known(old.as_ref(), field), since)? {
                Fetched::Document(text) => Some(parsed(&text)?),
                Fetched::Unchanged => old.clone(),
                Fetched::Absent => None,
                Fetched::NoService => return Err(Pulled::NoService),
            };
            if new != *old {
                deltas = None;
            }
            others.push(new);
        }
        let mut others = others.into_iter();
        let mut next = || others.next().flatten();
        Ok(Round { documents: Documents { policies, tags: next(), roles: next(), users: next() }, deltas })
    }

    fn all_policies(&self, since: i64) -> Result<Value, Pulled> {
        match self.client.fetch(Download::Policies, -1, since)? {
            Fetched::Document(text) => {
                let download = parsed(&text)?;
                if has_deltas(&download) {
                    return Err(Pulled::Failed("the Ranger Admin sends changes of what is not known".to_owned()));
                }
                Ok(download)
            }
            Fetched::NoService => Err(Pulled::NoService),
            Fetched::Unchanged | Fetched::Absent => {
                Err(Pulled::Failed("the Ranger Admin sends no policies".to_owned()))
            }
        }
    }
}

fn has_deltas(download: &Value) -> bool {
    download.get("policyDeltas").and_then(Value::as_array).is_some_and(|deltas| !deltas.is_empty())
}

fn parsed(text: &[u8]) -> Result<Value, Pulled> {
    // serde's own words may quote what was sent.
    serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Pulled::Failed(format!("what the Ranger Admin sent is no JSON (line {line} column {column})"))
    })
}
