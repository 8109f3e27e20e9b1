//! The token vault in PostgreSQL: what several machines share, and an administrator backs up.
//!
//! | table | what | in clear |
//! |---|---|---|
//! | `tokens` | one row a value: its blind index, and token and value, sealed | which rows are of one domain, a domain being a number |
//! | `domains` | names of domains, sealed | how many there are |
//! | `merges` | pairs of tokens of one person, sealed, in order | how many there are |
//! | `dossiers` | one row a token: what records say of the person, sealed | how many there are |
//! | `kinds` | which kinds of identifiers numbers in dossiers mean, sealed | |
//! | `epochs` | how often keys of persons were destroyed | |
//! | `vault` | the vault's id, check values of its keys, and how often these were changed | all of it |
//! | `marks` | random numbers, one for each time that somebody wants to know later that this is no older copy | |
//!
//! A row's content is sealed under the key of its *slot*, a number that no two rows share. Blind indexes are HMAC-SHA256 under the domain's
//! own key, so that equal values of two domains have nothing in common; sizes are padded. What a thief learns of a stolen
//! database is numbers of rows, sizes to a power of two, and, as from any PostgreSQL, which rows were written together.
//!
//! Once the vault's keys were changed, `tokens`, `domains`, `dossiers` and `kinds` are called `tokens_1` and so on, by how often (`rekey.rs`).
//!
//! A token is given out when its row is committed, which the server has then on disk. Batches add what nobody has seen by
//! `INSERT … ON CONFLICT DO NOTHING`, in the order of their keys, and read what others added in their place: each value gets one token
//! however many runs there are, and work that was cut off is done again to the same end. Where the last batch of a domain was mostly
//! new, the next is not looked up first: what is there already conflicts, and is read then. Who links people holds a lock from
//! looking until the commit, as in the embedded vault.

mod config;
mod database;
mod dossiers;
mod migrate;
mod probe;
mod rekey;
mod row;
mod shred;
mod tls;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cordon_crypto::{KeyedHash, Sealer};
use cordon_phi::{Identifier, IdentityStore, Linked, Phi, Token, TokenError, TokenStore};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, GenericClient, Row, types::Type};
use zeroize::Zeroizing;

pub use self::{
    config::PostgresConfig,
    dossiers::{PostgresDossiers, Rows},
    migrate::{Migrated, migrate},
};
use self::{
    database::{Database, Stop},
    migrate::{FORMAT, checks, format_of},
    row::{Id, MAX_VALUE, associated, open_row, seal_row},
};
use super::{
    Answer, Asked, NONE, VaultError, VaultKeys, VaultStats, VerifyReport, answer_from, blind_indexes,
    cache::Generations,
    frame::MAX_DOMAIN,
    groups::{Batch, Found},
    read,
    sets::Sets,
    table::{Entry, Key},
    write,
};
use crate::{
    recipient::{Given, recipient_of},
    seam::{Mark, Vault},
    subject_keys::SubjectKeys,
};

/// Values that are asked for together.
const AT_ONCE: usize = 1 << 14;
/// Sealed bytes that one statement adds, or so.
const MOST_BYTES: usize = 8 << 20;
/// Slots that one number of the sequence stands for.
const SLOTS: u64 = 256;
/// Rows that are opened together when all are read.
const READ_AT_ONCE: usize = 1 << 12;
const KIND: &str = "postgres";
const TOKEN: &[u8; 8] = b"token\0\0\0";
const MERGE: &[u8; 8] = b"merge\0\0\0";
const NOWHERE: [u8; 16] = [0; 16];

/// Random tokens for values, remembered in PostgreSQL. See the [module's](self) words on how.
pub struct PostgresVault {
    database: Database,
    id: [u8; 16],
    subject_keys: Arc<SubjectKeys>,
    blind: KeyedHash,
    values: KeyedHash,
    /// What tombstones, and places of dossiers, are made with.
    tombs: KeyedHash,
    names: Sealer,
    /// The version of the keys, of those that were given.
    key_version: u32,
    /// How often they were changed.
    rekeyed: i32,
    domains: Mutex<HashMap<String, i32>>,
    cache: RwLock<Generations>,
    cache_entries: usize,
    /// Goes up with every destruction of keys.
    epoch: AtomicU64,
    merges: RwLock<Merges>,
    /// Slots that were drawn and not yet used.
    slots: Mutex<Vec<Range<u64>>>,
    /// Domains of whose last batch the most was new.
    growing: Mutex<HashSet<i32>>,
}

#[derive(Default)]
struct Merges {
    sets: Sets,
    /// Number of the last that was read.
    seen: i64,
}

impl Merges {
    fn absorb(&mut self, new: Vec<(i64, Option<Opened>)>) {
        for (number, pair) in new {
            // Another thread may have read them too.
            if number > self.seen {
                self.seen = number;
                if let Some((token, root, origin)) = pair {
                    self.sets.merge(token, root, origin);
                }
            }
        }
    }
}

/// What a mark of this kind says.
#[derive(Serialize, Deserialize)]
struct RowMark {
    vault: String,
    nonce: String,
}

/// A row of `tokens`, as it came.
struct Raw {
    key: Key,
    domain: i32,
    slot: u64,
    sealed: Vec<u8>,
}

/// What a look-up found, and which rows are dead for want of their key, with their slots.
struct Looked {
    found: HashMap<Key, Found>,
    dead: HashMap<Key, u64>,
}

/// A row that is to be written.
struct NewRow<'a> {
    key: Key,
    domain: i32,
    token: Token,
    origin: u64,
    value: &'a [u8],
}

/// A vault as it was found.
struct Checked<'a> {
    id: [u8; 16],
    keys: &'a VaultKeys,
    version: u32,
    rekeyed: i32,
}

/// What a vault's keys become.
struct Derived {
    blind: KeyedHash,
    values: KeyedHash,
    names: Sealer,
    tombs: KeyedHash,
}

impl Derived {
    fn of(keys: &VaultKeys, id: &[u8; 16]) -> Self {
        let name = HEXLOWER.encode(id);
        let values = KeyedHash::for_key(&keys.values).derive("database v1").derive(&name);
        Self {
            blind: KeyedHash::for_key(&keys.blind).derive("database v1").derive(&name),
            names: Sealer::new(&Zeroizing::new(values.tag(b"names of domains"))),
            tombs: values.derive("people v1"),
            values,
        }
    }

    /// What a domain is found by.
    fn domain(&self, name: &str) -> Id {
        domain_tag(&self.values, name)
    }
}

fn domain_tag(values: &KeyedHash, name: &str) -> Id {
    Id(values.derive("domain").tag128(name.as_bytes()))
}

/// What the names of tables end with.
fn suffix(rekeyed: i32) -> String {
    if rekeyed == 0 { String::new() } else { format!("_{rekeyed}") }
}

/// A merge: the token, the one that stands for it, and the place of that one's origin.
type Opened = (Token, Token, u64);

impl PostgresVault {
    /// Opens a vault that [`migrate`] has made. Paths of `config` are relative to `base`; up to `cache_entries` values that
    /// were looked up stay in memory, at about 54 bytes.
    pub fn open(
        config: &PostgresConfig,
        base: &Path,
        keys: VaultKeys,
        subject_keys: Arc<SubjectKeys>,
        cache_entries: usize,
    ) -> Result<Self, VaultError> {
        Self::open_with(config, base, &[(1, keys)], subject_keys, cache_entries)
    }

    /// The same, with whichever version of its keys the vault is under.
    pub fn open_with(
        config: &PostgresConfig,
        base: &Path,
        versions: &[(u32, VaultKeys)],
        subject_keys: Arc<SubjectKeys>,
        cache_entries: usize,
    ) -> Result<Self, VaultError> {
        let database = Database::new(config, None, base)?;
        let found = database.run("open the vault", async |client| {
            Box::pin(Self::check(client, &database, versions, &subject_keys)).await
        })?;
        database.is_rekeyed(found.rekeyed);
        let Derived { blind, values, names, tombs } = Derived::of(found.keys, &found.id);
        let vault = Self {
            id: found.id,
            subject_keys,
            blind,
            names,
            tombs,
            values,
            key_version: found.version,
            rekeyed: found.rekeyed,
            domains: Mutex::default(),
            cache: RwLock::new(Generations::new(cache_entries)),
            cache_entries,
            epoch: AtomicU64::new(0),
            merges: RwLock::default(),
            slots: Mutex::default(),
            growing: Mutex::default(),
            database,
        };
        vault.fresh()?;
        Ok(vault)
    }

    async fn check<'a>(
        client: &mut Client,
        database: &Database,
        versions: &'a [(u32, VaultKeys)],
        subject_keys: &SubjectKeys,
    ) -> Result<Checked<'a>, Stop> {
        let format = format_of(&client.query_typed("SELECT max(format) FROM migrations", &[]).await?)?;
        if format != FORMAT {
            let place = database.place.clone();
            return Err(VaultError::DatabaseVersion { place, found: format, known: FORMAT }.into());
        }
        let fsync = client.query_typed("SELECT current_setting('fsync')", &[]).await?;
        if fsync.first().map(|row| row.try_get::<_, &str>(0)).transpose()? != Some("on") {
            let what = "the server runs with fsync off: tokens that were given out could be lost";
            return Err(database.error("open the vault", what).into());
        }
        let rows = client.query_typed("SELECT id, blind_check, values_check, subject_keys, (SELECT coalesce(max(epoch), 0) FROM epochs), rekeyed FROM vault", &[]).await?;
        let row = rows.first().ok_or_else(|| database.damaged("it has no name"))?;
        let Id(id) = row.try_get(0)?;
        let standing: [Id; 2] = [row.try_get(1)?, row.try_get(2)?];
        let fitting = versions.iter().find(|(_, keys)| checks(keys, &id) == standing);
        let Some((version, keys)) = fitting else {
            let newest = versions.iter().max_by_key(|(version, _)| *version);
            let is_blind = newest.is_some_and(|(_, keys)| checks(keys, &id)[0] != standing[0]);
            let which = if is_blind { "blind index" } else { "value" };
            return Err(VaultError::WrongDatabaseKey { which, place: database.place.clone() }.into());
        };
        // Of an older copy, people who were destroyed since could be read again.
        let epoch: i64 = row.try_get(4)?;
        subject_keys.check(&row.try_get::<_, Id>(3)?.0, epoch as u64)?;
        Ok(Checked { id, keys, version: *version, rekeyed: row.try_get(5)? })
    }

    /// The version of the keys that the vault is under, of those it was opened with.
    pub fn key_version(&self) -> u32 {
        self.key_version
    }

    /// Each change of the keys makes tables of other names, and removes the ones before: who has the old keys finds nothing that he could
    /// look up or write in. `{k}` behind a name stands for which they are.
    fn sql(&self, text: &str) -> String {
        text.replace("{k}", &suffix(self.rekeyed))
    }

    /// How the vault is called in messages.
    pub fn place(&self) -> &str {
        &self.database.place
    }

    /// Gives `each` the key of each of `slots`, in order; nothing for one that was destroyed.
    fn keys_of(&self, slots: &[u64], each: &mut dyn FnMut(usize, Option<&[u8; 32]>)) {
        let mut leaves = self.subject_keys.leaves();
        for (number, slot) in slots.iter().enumerate() {
            each(number, leaves.leaf(*slot));
        }
    }

    fn tokens_for(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), VaultError> {
        check_domain(domain)?;
        check_lengths(values.iter().map(|value| value.len()))?;
        self.fresh()?;
        let epoch = self.epoch.load(Ordering::Acquire);
        let before = out.len();
        let hash = self.blind.derive(domain);
        let number = self.domain(domain)?;
        for values in values.chunks(AT_ONCE) {
            let keys = blind_indexes(&hash, values);
            let start = out.len();
            out.extend(std::iter::repeat_n(NONE, values.len()));
            let tokens = out.get_mut(start..).unwrap_or_default();
            let missing = self.known(&keys, tokens);
            if missing.is_empty() {
                continue;
            }
            let mut asked = unique(missing);
            let made = self
                .database
                .run("give tokens", async |client| Box::pin(self.find_or_make(client, number, &asked, values)).await)?;
            for ((key, _), answer) in asked.unique.iter().zip(&mut asked.answers) {
                *answer = made.get(key).map_or(NONE, |found| found.token);
            }
            self.remember(epoch, &made);
            asked.spread(tokens);
        }
        self.to_roots(out.get_mut(before..).unwrap_or_default());
        Ok(())
    }

    async fn find_or_make(
        &self,
        client: &Client,
        domain: i32,
        asked: &Asked<Token>,
        values: &[&[u8]],
    ) -> Result<HashMap<Key, Found>, Stop> {
        let mut left = asked.unique.clone();
        let mut found = HashMap::with_capacity(left.len());
        let mut dead = HashMap::new();
        let growing = self.growing().contains(&domain);
        if !growing {
            let looked = self.look_up(client, &left).await?;
            (found, dead) = (looked.found, looked.dead);
            left.retain(|(key, _)| !found.contains_key(key));
        }
        let mut made = self.make(client, domain, &left, values, &dead, &mut found).await?;
        if made < left.len() {
            // What is not new after all, or others were faster: their statement was waited for, so that what they wrote is committed.
            left.retain(|(key, _)| !found.contains_key(key));
            let theirs = self.look_up(client, &left).await?;
            found.extend(theirs.found);
            left.retain(|(key, _)| !found.contains_key(key));
            if growing {
                // Only those whose keys were destroyed.
                made += self.make(client, domain, &left, values, &theirs.dead, &mut found).await?;
                left.retain(|(key, _)| !found.contains_key(key));
            }
            if !left.is_empty() {
                return Err(Stop::Again);
            }
        }
        if made * 2 > asked.unique.len() {
            self.growing().insert(domain);
        } else {
            self.growing().remove(&domain);
        }
        Ok(found)
    }

    /// Gives new tokens to `wanted`, and puts those that were written into `found`; gives their number.
    async fn make(
        &self,
        client: &Client,
        domain: i32,
        wanted: &[(Key, u32)],
        values: &[&[u8]],
        dead: &HashMap<Key, u64>,
        found: &mut HashMap<Key, Found>,
    ) -> Result<usize, Stop> {
        if wanted.is_empty() {
            return Ok(0);
        }
        let origin = self.origin(client).await?;
        let random = super::writer::random_bytes(wanted.len() * 16)?;
        let random = random.as_chunks::<16>().0.iter().map(|bytes| Token(*bytes));
        let new: Vec<NewRow<'_>> = wanted
            .iter()
            .zip(random)
            .map(|((key, place), token)| {
                let value = values.get(*place as usize).copied().unwrap_or_default();
                NewRow { key: *key, domain, token, origin, value }
            })
            .collect();
        let written = self.write_rows(client, &new, dead).await?;
        let theirs = new.iter().filter(|row| written.contains(&row.key));
        found.extend(theirs.map(|row| (row.key, Found { token: row.token, origin: row.origin })));
        Ok(written.len())
    }

    fn growing(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_up(&self, client: &impl GenericClient, wanted: &[(Key, u32)]) -> Result<Looked, Stop> {
        let mut looked = Looked { found: HashMap::with_capacity(wanted.len()), dead: HashMap::new() };
        if wanted.is_empty() {
            return Ok(looked);
        }
        let ids: Vec<Id> = wanted.iter().map(|(key, _)| Id::from(*key)).collect();
        // Row by row through the index. Asked for `= ANY`, the planner reads the whole table for a batch as soon as it takes that for
        // cheaper, which it is not by far.
        let sql = self.sql(
            "SELECT found.* FROM unnest($1) AS wanted (blind), LATERAL \
             (SELECT blind, domain, slot, sealed FROM tokens{k} WHERE tokens{k}.blind = wanted.blind LIMIT 1) AS found",
        );
        let rows = client.query_typed(&sql, &[(&ids, Type::UUID_ARRAY)]).await?;
        let rows = rows.iter().map(|row| self.raw(row)).collect::<Result<Vec<_>, Stop>>()?;
        self.open_rows(&rows, |row, opened| {
            match opened {
                Some(opened) => {
                    looked.found.insert(row.key, Found { token: Token(opened.name), origin: opened.number });
                }
                None => {
                    looked.dead.insert(row.key, row.slot);
                }
            }
            Ok(())
        })?;
        Ok(looked)
    }

    /// Adds rows, and puts those whose key is in `dead` in the place of what can no longer be read. Gives the keys of the rows
    /// that were written; the others are somebody else's by now.
    async fn write_rows(
        &self,
        client: &impl GenericClient,
        new: &[NewRow<'_>],
        dead: &HashMap<Key, u64>,
    ) -> Result<HashSet<Key>, Stop> {
        let slots = self.draw_slots(client, new.len()).await?;
        let nonces = super::writer::random_bytes(new.len() * 12)?;
        let nonces = nonces.as_chunks::<12>().0;
        let mut sealed: Vec<Vec<u8>> = Vec::with_capacity(new.len());
        let mut failed = None;
        self.keys_of(&slots, &mut |number, key| {
            let (Some(row), Some(key), Some(slot)) = (new.get(number), key, slots.get(number)) else { return };
            let Some(nonce) = nonces.get(number) else { return };
            let aad = associated(&self.id, TOKEN, &row.key.to_bytes(), row.domain as u64, *slot);
            match seal_row(key, *nonce, &aad, &row.token.0, row.origin, row.value) {
                Ok(bytes) => sealed.push(bytes),
                Err(error) => failed = Some(error),
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        if sealed.len() != new.len() {
            // A slot that was never used has no key: the keys are not this vault's.
            return Err(self.database.error("give tokens", "keys of new rows are missing").into());
        }
        let mut fresh = Parts::default();
        let mut again = Parts::default();
        let mut written = HashSet::with_capacity(new.len());
        for ((row, slot), sealed) in new.iter().zip(slots).zip(sealed) {
            match dead.get(&row.key) {
                Some(old) => again.push(row, slot, *old, sealed),
                None => fresh.push(row, slot, 0, sealed),
            }
            if fresh.bytes > MOST_BYTES {
                written.extend(std::mem::take(&mut fresh).insert(client, &self.sql(INSERT)).await?);
            }
        }
        written.extend(fresh.insert(client, &self.sql(INSERT)).await?);
        written.extend(again.replace(client, &self.sql(REPLACE)).await?);
        Ok(written)
    }

    /// Numbers for new rows, ascending. What is left of a row of numbers is used first.
    async fn draw_slots(&self, client: &impl GenericClient, count: usize) -> Result<Vec<u64>, Stop> {
        let mut slots = Vec::with_capacity(count);
        {
            let mut left = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            while slots.len() < count
                && let Some(range) = left.last_mut()
            {
                match range.next() {
                    Some(slot) => slots.push(slot),
                    None => drop(left.pop()),
                }
            }
        }
        let more = (count - slots.len()).div_ceil(SLOTS as usize);
        if more > 0 {
            let sql = "SELECT nextval('slots') FROM generate_series(1, $1)";
            let rows = client.query_typed(sql, &[(&(more as i64), Type::INT8)]).await?;
            let mut last = 0..0;
            for row in rows {
                let from = self.number(&row, 0)?;
                last = from..from + SLOTS;
                let take = count - slots.len();
                slots.extend(last.by_ref().take(take));
            }
            self.slots.lock().unwrap_or_else(PoisonError::into_inner).push(last);
        }
        Ok(slots)
    }

    /// Younger than whatever was there before.
    async fn origin(&self, client: &impl GenericClient) -> Result<u64, Stop> {
        let rows = client.query_typed("SELECT nextval('origins')", &[]).await?;
        let row = rows.first().ok_or(Stop::Again)?;
        Ok(self.number(row, 0)?)
    }

    fn number(&self, row: &Row, at: usize) -> Result<u64, VaultError> {
        let number: i64 = row.try_get(at).map_err(|error| self.database.trouble("read a row", &error))?;
        u64::try_from(number).map_err(|_| self.database.damaged("a number is negative"))
    }

    fn raw(&self, row: &Row) -> Result<Raw, Stop> {
        let Id(key) = row.try_get(0)?;
        let sealed: &[u8] = row.try_get(3)?;
        Ok(Raw {
            key: Key::from_bytes(key),
            domain: row.try_get(1)?,
            slot: self.number(row, 2)?,
            sealed: sealed.to_vec(),
        })
    }

    /// Opens rows; a row whose key was destroyed gives nothing, and one that is not authentic is an error.
    fn open_rows(
        &self,
        rows: &[Raw],
        mut each: impl FnMut(&Raw, Option<row::Opened>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let slots: Vec<u64> = rows.iter().map(|row| row.slot).collect();
        let mut done = Ok(());
        self.keys_of(&slots, &mut |number, key| {
            let Some(row) = rows.get(number).filter(|_| done.is_ok()) else { return };
            let opened = match key {
                None => None,
                Some(key) => {
                    let aad = associated(&self.id, TOKEN, &row.key.to_bytes(), row.domain as u64, row.slot);
                    let Some(opened) = open_row(key, &aad, &row.sealed) else {
                        done = Err(self.database.damaged("a token's row is not authentic"));
                        return;
                    };
                    Some(opened)
                }
            };
            done = each(row, opened);
        });
        done
    }

    /// Answers what memory knows; gives back what it does not, with the places in the batch.
    fn known<A: Answer>(&self, keys: &[Key], answers: &mut [A]) -> Vec<(Key, u32)> {
        let mut missing: Vec<_> = keys.iter().copied().zip(0..).collect();
        answer_from(&*read(&self.cache), &mut missing, answers);
        missing
    }

    /// What was looked up in this epoch of the subject keys. In another one it may be of somebody who was destroyed.
    fn remember(&self, epoch: u64, found: &HashMap<Key, Found>) {
        let mut cache = write(&self.cache);
        if self.epoch.load(Ordering::Acquire) != epoch {
            return;
        }
        for (key, Found { token, origin }) in found {
            cache.insert(Entry { key: *key, token: *token, place: *origin, slot: 0 });
        }
    }

    /// The number of a domain, which is made if there is none.
    fn domain(&self, name: &str) -> Result<i32, VaultError> {
        let known = |domains: &Mutex<HashMap<String, i32>>| {
            domains.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
        };
        if let Some(number) = known(&self.domains) {
            return Ok(number);
        }
        let tag = domain_tag(&self.values, name);
        let sealed = self.names.seal(&tag.0, &padded_name(name))?;
        let number = self.database.run("name a domain", async |client| {
            let find = &self.sql("SELECT number FROM domains{k} WHERE tag = $1");
            let add = &self.sql("INSERT INTO domains{k} (tag, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING");
            let rows = client.query_typed(find, &[(&tag, Type::UUID)]).await?;
            if let Some(row) = rows.first() {
                return Ok(row.try_get(0)?);
            }
            client.execute_typed(add, &[(&tag, Type::UUID), (&sealed, Type::BYTEA)]).await?;
            let rows = client.query_typed(find, &[(&tag, Type::UUID)]).await?;
            Ok(rows.first().ok_or(Stop::Again)?.try_get(0)?)
        })?;
        self.domains.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), number);
        Ok(number)
    }

    /// Names of all domains, by number.
    fn domain_names(&self) -> Result<BTreeMap<i32, String>, VaultError> {
        self.database.run("read domains", async |client| self.names_of_domains(client).await)
    }

    async fn names_of_domains(&self, client: &impl GenericClient) -> Result<BTreeMap<i32, String>, Stop> {
        let rows = client.query_typed(&self.sql("SELECT number, tag, sealed FROM domains{k}"), &[]).await?;
        let damaged = || self.database.damaged("a domain's name is not authentic");
        let read = |row: &Row| {
            let (number, Id(tag), sealed): (i32, Id, &[u8]) =
                (row.try_get(0).ok()?, row.try_get(1).ok()?, row.try_get(2).ok()?);
            let plain = self.names.open(&tag, sealed).ok()?;
            let length = usize::from(u16::from_le_bytes(*plain.first_chunk()?));
            Some((number, String::from_utf8(plain.get(2..2 + length)?.to_vec()).ok()?))
        };
        rows.iter().map(|row| read(row).ok_or_else(|| damaged().into())).collect()
    }

    /// Sees what other processes destroyed and merged.
    fn fresh(&self) -> Result<(), VaultError> {
        self.database.run("read merges", async |client| self.see(client).await)
    }

    /// The same, on a connection that is at hand.
    async fn see(&self, client: &impl GenericClient) -> Result<(), Stop> {
        let epoch = self.subject_keys.refresh()?;
        let changed = epoch != self.epoch.load(Ordering::Acquire);
        let seen = if changed { 0 } else { read(&self.merges).seen };
        let rows = merges_after(client, seen).await?;
        let mut new = Vec::new();
        self.open_merges(&rows, &mut |number, _, pair| {
            new.push((number, pair));
            Ok(())
        })?;
        if changed {
            // Replaced as a whole: other threads ask meanwhile.
            let mut merges = Merges::default();
            merges.absorb(new);
            let mut standing = write(&self.merges);
            if merges.seen < standing.seen {
                return Err(Stop::Again);
            }
            *standing = merges;
            drop(standing);
            let mut cache = write(&self.cache);
            *cache = Generations::new(self.cache_entries);
            self.epoch.store(epoch, Ordering::Release);
        } else {
            self.absorb(new);
        }
        Ok(())
    }

    fn absorb(&self, new: Vec<(i64, Option<Opened>)>) {
        if !new.is_empty() {
            write(&self.merges).absorb(new);
        }
    }

    /// Merges after the one of number `after`, in order; those whose key was destroyed give no pair.
    fn each_merge(
        &self,
        after: i64,
        mut each: impl FnMut(i64, u64, Option<Opened>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let rows = self.database.run("read merges", async |client| merges_after(client, after).await)?;
        self.open_merges(&rows, &mut each)
    }

    fn open_merges(
        &self,
        rows: &[Row],
        each: &mut dyn FnMut(i64, u64, Option<Opened>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let damaged = || self.database.damaged("a merge's row is not authentic");
        let slots = rows.iter().map(|row| self.number(row, 1)).collect::<Result<Vec<u64>, _>>()?;
        let mut done = Ok(());
        self.keys_of(&slots, &mut |at, key| {
            let (Some(row), Some(slot)) = (rows.get(at).filter(|_| done.is_ok()), slots.get(at)) else { return };
            let open = || {
                let (number, sealed): (i64, &[u8]) =
                    (row.try_get(0).map_err(|_| damaged())?, row.try_get(2).map_err(|_| damaged())?);
                let Some(key) = key else { return Ok((number, None)) };
                let aad = associated(&self.id, MERGE, &NOWHERE, number as u64, *slot);
                let opened = open_row(key, &aad, sealed).ok_or_else(damaged)?;
                let root = opened.value().first_chunk::<16>().ok_or_else(damaged)?;
                Ok((number, Some((Token(opened.name), Token(*root), opened.number))))
            };
            done = open().and_then(|(number, pair)| each(number, *slot, pair));
        });
        done
    }

    fn to_roots(&self, tokens: &mut [Token]) {
        let merges = read(&self.merges);
        if merges.seen == 0 {
            return;
        }
        let mut last = (NONE, NONE);
        for token in tokens {
            // One person's rows stand together in most tables.
            if last.0 != *token {
                last = (*token, merges.sets.root(token).map_or(*token, |(root, _)| root));
            }
            *token = last.1;
        }
    }

    fn found_to_roots(&self, found: &mut [Found]) {
        let merges = read(&self.merges);
        for found in found.iter_mut().filter(|found| !found.is_none()) {
            if let Some((token, origin)) = merges.sets.root(&found.token) {
                *found = Found { token, origin };
            }
        }
    }

    /// All tokens of the person of `token`, itself among them.
    fn members_of(&self, token: &Token) -> HashSet<Token> {
        let merges = read(&self.merges);
        std::iter::once(*token).chain(merges.sets.members(token)).collect()
    }

    /// Every row of one domain or of all, with its slot, opened where its key is there.
    fn each_row(
        &self,
        domain: Option<i32>,
        mut each: impl FnMut(&Raw, u64, Option<row::Opened>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        // What was read before a connection was lost was read: it goes on behind it.
        let mut after = None::<Id>;
        loop {
            let rows = self.database.run("read all tokens", async |client| self.page(client, domain, after).await)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(Id::from(last.key));
            for rows in rows.chunks(READ_AT_ONCE) {
                self.open_rows(rows, |row, opened| each(row, row.slot, opened))?;
            }
        }
    }

    /// The next rows of one domain or of all, in the order of their blind indexes.
    async fn page(
        &self,
        client: &impl GenericClient,
        domain: Option<i32>,
        after: Option<Id>,
    ) -> Result<Vec<Raw>, Stop> {
        let sql = self.sql(
            "SELECT blind, domain, slot, sealed FROM tokens{k} WHERE ($1::uuid IS NULL OR blind > $1) \
             AND ($2::integer IS NULL OR domain = $2) ORDER BY blind LIMIT 16384",
        );
        let rows = client.query_typed(&sql, &[(&after, Type::UUID), (&domain, Type::INT4)]).await?;
        rows.iter().map(|row| self.raw(row)).collect()
    }
}

impl PostgresVault {
    fn link_all(
        &self,
        identifiers: &[Identifier<'_>],
        ends: &[usize],
        out: &mut Vec<Option<Token>>,
    ) -> Result<Linked, VaultError> {
        if ends.last().copied().unwrap_or(0) != identifiers.len() || !ends.is_sorted() {
            return Err(VaultError::Uneven { what: "identifiers and ends of groups" });
        }
        identifiers.iter().try_for_each(|of| check_domain(of.namespace))?;
        check_lengths(identifiers.iter().map(|of| of.value.len()))?;
        self.fresh()?;
        let before = out.len();
        let mut linked = Linked::default();
        let (mut rest, mut start) = (ends, 0);
        while !rest.is_empty() {
            // Groups stay whole.
            let count = rest.partition_point(|end| *end - start <= AT_ONCE).max(1);
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = later;
            let end = now.last().copied().unwrap_or(start);
            let batch = Batch::new(&self.blind, identifiers.get(start..end).unwrap_or_default(), now, start);
            let domains = batch.spaces.iter().map(|name| self.domain(name)).collect::<Result<Vec<i32>, _>>()?;
            let given = out.len();
            linked.merged += self.link_batch(&batch, &domains, given, out)?;
            start = end;
        }
        if linked.merged > 0 {
            // What a later part of the batch merged holds for the earlier parts too.
            let merges = read(&self.merges);
            for token in out.get_mut(before..).unwrap_or_default().iter_mut().flatten() {
                *token = merges.sets.root(token).map_or(*token, |(root, _)| root);
            }
        }
        Ok(linked)
    }

    fn link_batch(
        &self,
        batch: &Batch<'_>,
        domains: &[i32],
        given: usize,
        out: &mut Vec<Option<Token>>,
    ) -> Result<u64, VaultError> {
        self.database.run("link people", async |client| {
            out.truncate(given);
            if self.subject_keys.refresh()? != self.epoch.load(Ordering::Acquire) {
                self.see(client).await?;
            }
            let epoch = self.epoch.load(Ordering::Acquire);
            let mut found = vec![Found::NONE; batch.keys.len()];
            let mut asked: Asked<Found> = unique(self.known(&batch.keys, &mut found));
            asked.shreds = epoch;
            let looked = self.look_up(client, &asked.unique).await?;
            self.answer(&mut asked, &looked, &mut found);
            if batch.nothing_new(&found, out) {
                return Ok(0);
            }
            Box::pin(self.link_new(client, batch, domains, asked, found, out)).await
        })
    }

    /// What who links and who destroys people has alone.
    fn link_lock(&self) -> i64 {
        i64::from_le_bytes(*self.id.first_chunk().unwrap_or(&[0; 8]))
    }

    /// As the only one who links.
    async fn link_new(
        &self,
        client: &mut Client,
        batch: &Batch<'_>,
        domains: &[i32],
        mut asked: Asked<Found>,
        mut found: Vec<Found>,
        out: &mut Vec<Option<Token>>,
    ) -> Result<u64, Stop> {
        let all = client.transaction().await?;
        let lock = self.link_lock();
        all.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&lock, Type::INT8)]).await?;
        // Of somebody who was destroyed meanwhile nothing may be given or written.
        if self.subject_keys.refresh()? != asked.shreds {
            return Err(Stop::Again);
        }
        self.see(&all).await?;
        let looked = self.look_up(&all, &asked.unique).await?;
        self.answer(&mut asked, &looked, &mut found);
        let origin = self.origin(&all).await?;
        let random = super::writer::random_bytes(batch.groups() * 16)?;
        let fresh = random.as_chunks::<16>().0.iter().map(|bytes| Found { token: Token(*bytes), origin });
        let plan = batch.plan(&asked, &found, fresh);
        let mut rows: Vec<NewRow<'_>> = Vec::new();
        for (space, entries) in &plan.new {
            let domain = domains.get(*space as usize).copied().unwrap_or_default();
            rows.extend(entries.iter().map(|new| NewRow {
                key: new.key,
                domain,
                token: new.token,
                origin: new.origin.unwrap_or(origin),
                value: new.value,
            }));
        }
        // In one order for all who write, and in none that tells whose is whose.
        rows.sort_unstable_by_key(|row| row.key);
        if self.write_rows(&all, &rows, &looked.dead).await?.len() < rows.len() {
            return Err(Stop::Again);
        }
        let last = read(&self.merges).seen;
        let merges = self.write_merges(&all, last, &plan.merges).await?;
        all.commit().await?;
        self.absorb(merges);
        out.extend(plan.tokens);
        Ok(plan.merges.len() as u64)
    }

    fn answer(&self, asked: &mut Asked<Found>, looked: &Looked, found: &mut [Found]) {
        for ((key, _), answer) in asked.unique.iter().zip(&mut asked.answers) {
            *answer = looked.found.get(key).copied().unwrap_or(Found::NONE);
        }
        asked.spread(found);
        self.found_to_roots(found);
        self.remember(asked.shreds, &looked.found);
    }

    async fn write_merges(
        &self,
        client: &impl GenericClient,
        last: i64,
        merges: &[(Token, Found)],
    ) -> Result<Vec<(i64, Option<Opened>)>, Stop> {
        if merges.is_empty() {
            return Ok(Vec::new());
        }
        let slots = self.draw_slots(client, merges.len()).await?;
        let numbers: Vec<i64> = (last + 1..).take(merges.len()).collect();
        let nonces = super::writer::random_bytes(merges.len() * 12)?;
        let nonces = nonces.as_chunks::<12>().0;
        let mut sealed = Vec::with_capacity(merges.len());
        self.keys_of(&slots, &mut |at, key| {
            let (Some((token, root)), Some(key), Some(nonce)) = (merges.get(at), key, nonces.get(at)) else { return };
            let (number, slot) = (numbers.get(at).copied().unwrap_or(0), slots.get(at).copied().unwrap_or(0));
            let aad = associated(&self.id, MERGE, &NOWHERE, number as u64, slot);
            sealed.push(seal_row(key, *nonce, &aad, &token.0, root.origin, &root.token.0));
        });
        let sealed = sealed.into_iter().collect::<Result<Vec<_>, _>>()?;
        if sealed.len() != merges.len() {
            return Err(self.database.error("link people", "keys of new rows are missing").into());
        }
        let slots: Vec<i64> = slots.iter().map(|slot| *slot as i64).collect();
        let sql = "INSERT INTO merges (number, slot, sealed) SELECT * FROM unnest($1, $2, $3)";
        let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
            [(&numbers, Type::INT8_ARRAY), (&slots, Type::INT8_ARRAY), (&sealed, Type::BYTEA_ARRAY)];
        client.execute_typed(sql, &params).await?;
        let pairs = merges.iter().map(|(token, root)| Some((*token, root.token, root.origin)));
        Ok(numbers.into_iter().zip(pairs).collect())
    }
}

const INSERT: &str = "INSERT INTO tokens{k} (blind, domain, slot, sealed) SELECT * FROM unnest($1, $2, $3, $4) \
                      ON CONFLICT DO NOTHING RETURNING blind";
const REPLACE: &str = "UPDATE tokens{k} SET slot = new.slot, sealed = new.sealed \
                       FROM unnest($1, $2, $3, $4) AS new (blind, old, slot, sealed) \
                       WHERE tokens{k}.blind = new.blind AND tokens{k}.slot = new.old RETURNING tokens{k}.blind";

/// Columns of rows that go to the server together.
#[derive(Default)]
struct Parts {
    keys: Vec<Key>,
    domains: Vec<i32>,
    slots: Vec<i64>,
    old: Vec<i64>,
    sealed: Vec<Vec<u8>>,
    bytes: usize,
}

impl Parts {
    fn push(&mut self, row: &NewRow<'_>, slot: u64, old: u64, sealed: Vec<u8>) {
        self.keys.push(row.key);
        self.domains.push(row.domain);
        self.slots.push(slot as i64);
        self.old.push(old as i64);
        self.bytes += sealed.len();
        self.sealed.push(sealed);
    }

    async fn insert(self, client: &impl GenericClient, sql: &str) -> Result<Vec<Key>, Stop> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Id> = self.keys.iter().map(|key| Id::from(*key)).collect();
        let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
            (&ids, Type::UUID_ARRAY),
            (&self.domains, Type::INT4_ARRAY),
            (&self.slots, Type::INT8_ARRAY),
            (&self.sealed, Type::BYTEA_ARRAY),
        ];
        keys_of(&client.query_typed(sql, &params).await?)
    }

    async fn replace(self, client: &impl GenericClient, sql: &str) -> Result<Vec<Key>, Stop> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Id> = self.keys.iter().map(|key| Id::from(*key)).collect();
        let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
            (&ids, Type::UUID_ARRAY),
            (&self.old, Type::INT8_ARRAY),
            (&self.slots, Type::INT8_ARRAY),
            (&self.sealed, Type::BYTEA_ARRAY),
        ];
        keys_of(&client.query_typed(sql, &params).await?)
    }
}

fn keys_of(rows: &[Row]) -> Result<Vec<Key>, Stop> {
    rows.iter().map(|row| Ok(Key::from_bytes(row.try_get::<_, Id>(0)?.0))).collect()
}

async fn merges_after(client: &impl GenericClient, after: i64) -> Result<Vec<Row>, Stop> {
    let sql = "SELECT number, slot, sealed FROM merges WHERE number > $1 ORDER BY number";
    Ok(client.query_typed(sql, &[(&after, Type::INT8)]).await?)
}

/// What memory did not know of a batch, each key once and in order.
fn unique<A: Answer>(mut missing: Vec<(Key, u32)>) -> Asked<A> {
    missing.sort_unstable_by_key(|(key, _)| *key);
    let mut unique = missing.clone();
    unique.dedup_by_key(|(key, _)| *key);
    let answers = vec![A::NONE; unique.len()];
    Asked { epoch: 0, shreds: 0, runs: Arc::new([]), missing, unique, answers }
}

fn check_domain(name: &str) -> Result<(), VaultError> {
    if name.is_empty() || name.len() > MAX_DOMAIN { Err(VaultError::DomainName { max: MAX_DOMAIN }) } else { Ok(()) }
}

fn check_lengths(mut lengths: impl Iterator<Item = usize>) -> Result<(), VaultError> {
    match lengths.find(|len| *len > MAX_VALUE) {
        Some(len) => Err(VaultError::TooLong { len, max: MAX_VALUE }),
        None => Ok(()),
    }
}

/// All names of domains are of one length, but for very long ones.
fn padded_name(name: &str) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(MAX_DOMAIN + 2));
    plain.extend_from_slice(&(name.len() as u16).to_le_bytes());
    plain.extend_from_slice(name.as_bytes());
    let size = plain.len().next_power_of_two().max(64);
    plain.resize(size, 0);
    plain
}

impl TokenStore for PostgresVault {
    fn get_or_create(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        let before = out.len();
        self.tokens_for(domain, values, out).map_err(|error| {
            out.truncate(before);
            error.into()
        })
    }
}

impl IdentityStore for PostgresVault {
    fn link(
        &self,
        identifiers: &[Identifier<'_>],
        ends: &[usize],
        out: &mut Vec<Option<Token>>,
    ) -> Result<Linked, TokenError> {
        let before = out.len();
        self.link_all(identifiers, ends, out).map_err(|error| {
            out.truncate(before);
            error.into()
        })
    }

    fn roots(&self, tokens: &mut [Token]) -> Result<(), TokenError> {
        self.fresh()?;
        self.to_roots(tokens);
        Ok(())
    }

    fn merges(&self) -> Result<u64, TokenError> {
        self.fresh()?;
        Ok(read(&self.merges).seen as u64)
    }
}

impl Vault for PostgresVault {
    /// Each batch was on the server's disk before its tokens were given out.
    fn sync(&self) -> Result<(), VaultError> {
        Ok(())
    }

    fn mark(&self) -> Result<Mark, VaultError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        self.database.run("leave a mark", async |client| {
            let sql = "INSERT INTO marks (nonce) VALUES ($1) ON CONFLICT DO NOTHING";
            Ok(client.execute_typed(sql, &[(&Id(nonce), Type::UUID)]).await?)
        })?;
        Ok(Mark::new(KIND, &RowMark { vault: HEXLOWER.encode(&self.id), nonce: HEXLOWER.encode(&nonce) }))
    }

    fn contains(&self, mark: &Mark) -> Result<bool, VaultError> {
        let Some(mark) = mark.read::<RowMark>(KIND).filter(|mark| mark.vault == HEXLOWER.encode(&self.id)) else {
            return Ok(false);
        };
        let nonce = HEXLOWER.decode(mark.nonce.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        let Some(nonce) = nonce.map(Id) else { return Ok(false) };
        self.database.run("look for a mark", async |client| {
            let rows = client.query_typed("SELECT 1 FROM marks WHERE nonce = $1", &[(&nonce, Type::UUID)]).await?;
            Ok(!rows.is_empty())
        })
    }

    fn reveal_all(&self, domain: &str, token: &Token) -> Result<Vec<Phi<String>>, VaultError> {
        self.fresh()?;
        let tokens = self.members_of(token);
        let Some(number) = self.domain_names()?.into_iter().find(|(_, name)| name == domain).map(|(number, _)| number)
        else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        self.each_row(Some(number), |_, slot, opened| {
            if let Some(row) = opened.filter(|row| tokens.contains(&Token(row.name))) {
                let text = std::str::from_utf8(row.value()).map_err(|_| self.database.damaged("a value is no text"))?;
                found.push((slot, Phi::new(text.to_owned())));
            }
            Ok(())
        })?;
        // Slots are drawn in the order in which values come.
        found.sort_by_key(|(slot, _)| *slot);
        Ok(found.into_iter().map(|(_, value)| value).collect())
    }

    fn each_given(&self, recipient: Option<&str>, each: &mut dyn FnMut(Given<'_>)) -> Result<(), VaultError> {
        self.fresh()?;
        for (number, name) in self.domain_names()? {
            let is_wanted = recipient_of(&name).is_some_and(|of| recipient.is_none_or(|wanted| wanted == of));
            if !is_wanted {
                continue;
            }
            self.each_row(Some(number), |_, _, opened| {
                if let Some(row) = opened {
                    let damaged = || self.database.damaged("what a recipient's token was made of is no token");
                    each(Given::of(&name, Token(row.name), row.value()).ok_or_else(damaged)?);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn members_of(&self, tokens: &[Token], each: &mut dyn FnMut(u32, Token)) -> Result<(), VaultError> {
        self.fresh()?;
        for (number, token) in (0..).zip(tokens) {
            self.members_of(token).into_iter().for_each(|member| each(number, member));
        }
        Ok(())
    }

    fn shreds(&self) -> Result<u64, VaultError> {
        self.subject_keys.refresh()
    }

    fn stats(&self) -> Result<VaultStats, VaultError> {
        self.fresh()?;
        let names = self.domain_names()?;
        let (counts, sizes) = self.database.run("count", async |client| {
            let counts = self.sql("SELECT domain, count(*) FROM tokens{k} GROUP BY domain");
            let counts = client.query_typed(&counts, &[]).await?;
            let sizes = self.sql(
                "SELECT pg_table_size('tokens{k}') + pg_table_size('merges'), \
                 pg_indexes_size('tokens{k}') + pg_indexes_size('merges')",
            );
            Ok((counts, client.query_typed(&sizes, &[]).await?))
        })?;
        let mut domains = Vec::new();
        for row in &counts {
            let number: i32 = row.try_get(0).map_err(|error| self.database.trouble("count", &error))?;
            let name = names.get(&number).ok_or_else(|| self.database.damaged("a row's domain has no name"))?;
            domains.push((name.clone(), self.number(row, 1)?));
        }
        domains.sort();
        let size = |at| sizes.first().map_or(Ok(0), |row| self.number(row, at));
        Ok(VaultStats {
            domains,
            merges: read(&self.merges).seen as u64,
            log_bytes: size(0)?,
            index_bytes: size(1)?,
            runs: 0,
            rebuilt_runs: 0,
        })
    }

    fn verify(&self) -> Result<VerifyReport, VaultError> {
        self.fresh()?;
        let hashes: HashMap<i32, KeyedHash> =
            self.domain_names()?.into_iter().map(|(number, name)| (number, self.blind.derive(&name))).collect();
        let (mut rows, mut tokens, mut bytes) = (0, 0, 0);
        self.each_row(None, |raw, _, opened| {
            rows += 1;
            bytes += raw.sealed.len() as u64;
            let hash = hashes.get(&raw.domain).ok_or_else(|| self.database.damaged("a row's domain has no name"))?;
            if let Some(row) = opened {
                if Key::from_bytes(hash.tag128(row.value())) != raw.key {
                    return Err(self.database.damaged("a value stands under another's index"));
                }
                tokens += 1;
            }
            Ok(())
        })?;
        let (mut merges, mut dead) = (0, 0);
        self.each_merge(0, |number, _, pair| {
            merges += 1;
            dead += u64::from(pair.is_none());
            let damaged = || self.database.damaged("the merges are not one row of numbers");
            (number == merges as i64).then_some(()).ok_or_else(damaged)
        })?;
        Ok(VerifyReport { frames: rows, tokens, destroyed: rows - tokens + dead, merges, log_bytes: bytes, runs: 0 })
    }
}
