//! What was released to each user, so that a few persons cannot be had by subtraction. One sealed file a user, beside the state.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordon_access::Policies;
use cordon_crypto::{KeyedHash, SealKeys};
use cordon_engine::{EngineError, OutputControl, ReleaseMemory};
use cordon_risk::{Memory, Partition, Refusal, Rules};
use data_encoding::{BASE64, HEXLOWER};
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::error::RunError;
use crate::project::OpenProject;
use crate::sealed::{read_sealed, write_sealed};

/// What one user's memory may take. It is read and written with each query over such a table.
const MAX_BYTES: usize = 64 << 20;
/// A rotation of keys holds the lock for as long as it takes.
const PATIENCE: Duration = Duration::from_secs(10);

const DIFFERENCE: &str = "the answer, or a part of it, would differ from an earlier one or from another part by fewer persons than a group \
                          may have; which of the queries is answered first decides which of them is";
const REFUSALS: &str = "too many queries were refused for their difference from earlier ones: nothing more is answered until these are \
                        forgotten";
const FULL: &str = "the memory of earlier answers is full: ask for fewer or larger groups, or wait until it forgets";
const UNREADABLE: &str = "the memory of earlier answers cannot be read (it is damaged, or of another version of Cordon), so no answer can be held \
                          against it";
const UNWRITTEN: &str = "the memory of earlier answers could not be written, so the answer may not leave";
const IN_USE: &str = "the memory of earlier answers is in use, by another question or a rotation of keys: ask again";

impl OpenProject {
    /// How the statistics of a table are controlled for a user by these rules; `None` where rows may leave.
    pub fn output_control(
        &self,
        policies: &Policies,
        table: &str,
        user: &str,
    ) -> Result<Option<OutputControl>, RunError> {
        let grants = policies.roles();
        let (Some(limits), Some(remember)) = (grants.output_limits(table), grants.output_remembered()) else {
            return Ok(None);
        };
        let keys = self.seal_key()?;
        let hash = KeyedHash::for_key(keys.first_key()).derive("output memory");
        // Two users may not differ by case alone.
        let name = HEXLOWER.encode(&hash.derive("users").tag128(user.to_lowercase().as_bytes()));
        let memory = OutputMemory {
            path: self.state_root().join(format!("output-memory-{name}.sealed")),
            lock: self.state_root().join(format!("output-memory.{name}.lock")),
            all: self.state_root().join(LOCK),
            keys,
            remember: i64::try_from(remember).unwrap_or(i64::MAX),
        };
        Ok(Some(OutputControl {
            rules: Rules::new(limits.smallest_group).map_err(|_| RunError::Internal("output control"))?,
            rounding: limits.rounding,
            subjects: hash.derive("subjects"),
            memory: Arc::new(memory),
        }))
    }
}

/// Held by many while they read and write their own, and alone by who seals all the files again.
pub(crate) const LOCK: &str = "output-memory.lock";

struct OutputMemory {
    path: PathBuf,
    /// Held while it is read, compared and written: one user's large memory does not keep others waiting.
    lock: PathBuf,
    all: PathBuf,
    keys: SealKeys,
    /// Seconds.
    remember: i64,
}

impl ReleaseMemory for OutputMemory {
    fn admit(&self, release: Vec<Partition>, smallest: usize) -> Result<(), EngineError> {
        let _locks = (
            locked(&self.all, FlockOperation::NonBlockingLockShared)?,
            locked(&self.lock, FlockOperation::NonBlockingLockExclusive)?,
        );
        let mut memory = self.read()?;
        let now = chrono::Utc::now().timestamp();
        let admitted = memory.admit(release, smallest, now, now.saturating_sub(self.remember), MAX_BYTES);
        if admitted != Err(Refusal::Full) {
            self.write(&memory)?;
        }
        admitted.map_err(|refusal| match refusal {
            Refusal::Difference => refused("output control: difference", DIFFERENCE),
            Refusal::TooManyRefusals => refused("output control: too many refusals", REFUSALS),
            Refusal::Full => refused("output control: memory is full", FULL),
        })
    }
}

impl OutputMemory {
    fn read(&self) -> Result<Memory, EngineError> {
        let unreadable = || refused("output control: memory", UNREADABLE);
        let Some(text) = read_sealed::<String>(&self.path, &self.keys).map_err(|_| unreadable())?.map(Zeroizing::new)
        else {
            return Ok(Memory::default());
        };
        let bytes = Zeroizing::new(BASE64.decode(text.as_bytes()).map_err(|_| unreadable())?);
        Memory::decode(&bytes).map_err(|_| unreadable())
    }

    fn write(&self, memory: &Memory) -> Result<(), EngineError> {
        let text = Zeroizing::new(BASE64.encode(&Zeroizing::new(memory.encode())));
        write_sealed(&self.path, &self.keys, &*text).map_err(|_| refused("output control: memory", UNWRITTEN))
    }
}

fn locked(path: &Path, how: FlockOperation) -> Result<File, EngineError> {
    let failed = |_| refused("output control: memory", UNREADABLE);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let since = Instant::now();
    while flock(&file, how).is_err() {
        if since.elapsed() > PATIENCE {
            return Err(refused("output control: memory", IN_USE));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(file)
}

fn refused(kind: &'static str, reason: &'static str) -> EngineError {
    EngineError::Disclosure { kind, reason }
}
