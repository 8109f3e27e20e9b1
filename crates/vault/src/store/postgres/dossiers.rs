//! Dossiers in PostgreSQL: one row a token, which is read, added to and written again as a whole.
//!
//! A row stands at the keyed hash of its token, sealed under the key of a slot that stays the row's own, so that copies from any time
//! die with the person. In it stand the facts and how the person's name is drawn, as in the runs of a folder, behind the name of
//! the list that says which kinds of identifiers the numbers in it mean.
//!
//! Who writes reads the rows again under their locks, in the order of their places, so that of two who add to one neither loses
//! anything and what is repeated adds nothing. A lock that writers share and [`PostgresVault::shred`] has alone keeps a
//! row of somebody from being written after the keys of that person are destroyed. How a name is drawn is decided in the row at
//! once: of two processes the second takes over what the first has decided.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use cordon_crypto::KeyedHash;
use cordon_phi::{NameDraw, Token};
use tokio_postgres::{GenericClient, Row, types::ToSql, types::Type};
use zeroize::Zeroizing;

use super::{
    MOST_BYTES, PostgresVault,
    database::Stop,
    row::{Id, Opened, associated, open_row, seal_row},
};
use crate::{
    dossier::{
        DossierOptions, DossierStats,
        buffer::Buffer,
        facts::{self, Kinds},
        keeper::{Keeper, People, Shelf},
        pieces::Pieces,
    },
    seam::{DossierKeeper, Mark, Vault as _},
    store::{VaultError, table::Key},
    subject_keys::{SubjectKeys, Tombstone},
};

/// People whose rows are read or written together.
const AT_ONCE: usize = 1 << 11;
pub(super) const DOSSIER: &[u8; 8] = b"dossier\0";

/// What is known of each person, in the same database as the vault.
pub type PostgresDossiers = Keeper<Rows>;

/// The table of dossiers.
pub struct Rows {
    vault: Arc<PostgresVault>,
    /// The list of kinds that this program's numbers are of.
    own: [u8; 16],
    kinds: Mutex<HashMap<[u8; 16], Arc<Kinds>>>,
}

/// A row, opened.
struct Standing {
    slot: u64,
    facts: Zeroizing<Vec<u8>>,
}

/// Rows as they were found: a person who was destroyed has one that cannot be read.
#[derive(Default)]
struct Found {
    standing: HashMap<Key, Standing>,
    dead: HashSet<Key>,
}

/// What is to be added at a place.
type New = (Key, Zeroizing<Vec<u8>>);

impl PostgresDossiers {
    /// The dossiers of a vault that [`super::migrate`] has made.
    pub fn open(vault: Arc<PostgresVault>, options: DossierOptions) -> Result<Self, VaultError> {
        let names = facts::kind_names().collect::<Vec<_>>().join("\n");
        let own = kinds_tag(&vault.values, &names);
        let sealed = vault.names.seal(&own, names.as_bytes())?;
        vault.database.run("open the dossiers", async |client| {
            let known = vault.sql("SELECT 1 FROM kinds{k} WHERE tag = $1");
            let known = client.query_typed(&known, &[(&Id(own), Type::UUID)]).await?;
            if known.is_empty() {
                let add = &vault.sql("INSERT INTO kinds{k} (tag, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING");
                client.execute_typed(add, &[(&Id(own), Type::UUID), (&sealed, Type::BYTEA)]).await?;
            }
            Ok(())
        })?;
        let kinds = HashMap::from([(own, Arc::new(Kinds::of(facts::kind_names())))]);
        Ok(Self::on(Rows { vault, own, kinds: Mutex::new(kinds) }, options))
    }

    /// Whether anything was ever written.
    pub fn is_begun(&self) -> Result<bool, VaultError> {
        self.shelf.vault.database.run("look for dossiers", async |client| {
            Ok(!client.query_typed(&self.shelf.vault.sql("SELECT 1 FROM dossiers{k} LIMIT 1"), &[]).await?.is_empty())
        })
    }
}

impl DossierKeeper for PostgresDossiers {
    fn sync(&self) -> Result<(), VaultError> {
        self.sync()
    }

    /// One database holds both: it is set back with the vault or not at all.
    fn mark(&self) -> Result<Mark, VaultError> {
        self.shelf.vault.mark()
    }

    fn contains(&self, mark: &Mark) -> Result<bool, VaultError> {
        self.shelf.vault.contains(mark)
    }

    fn stats(&self) -> Result<DossierStats, VaultError> {
        let database = &self.shelf.vault.database;
        let rows = database.run("count dossiers", async |client| {
            let sql = self.shelf.vault.sql("SELECT count(*), pg_total_relation_size('dossiers{k}') FROM dossiers{k}");
            Ok(client.query_typed(&sql, &[]).await?)
        })?;
        let row = rows.first().ok_or_else(|| database.damaged("nothing can be counted in it"))?;
        Ok(DossierStats { runs: 0, people: self.shelf.vault.number(row, 0)?, bytes: self.shelf.vault.number(row, 1)? })
    }

    fn verify(&self) -> Result<DossierStats, VaultError> {
        let stats = self.stats()?;
        self.shelf.vault.subject_keys.refresh()?;
        let database = &self.shelf.vault.database;
        let mut after = None::<Id>;
        loop {
            let found = database.run("read all dossiers", async |client| {
                let sql = self.shelf.vault.sql(
                    "SELECT place, slot, sealed FROM dossiers{k} WHERE $1::uuid IS NULL OR place > $1 ORDER BY place LIMIT 2048",
                );
                let rows = client.query_typed(&sql, &[(&after, Type::UUID)]).await?;
                let last = rows.last().map(|row| row.try_get::<_, Id>(0)).transpose()?;
                Ok((self.shelf.open(client, &rows).await?, last))
            })?;
            let (found, Some(last)) = found else { return Ok(stats) };
            after = Some(last);
            if !found.standing.values().all(|standing| facts::are_whole(&standing.facts)) {
                return Err(database.damaged("a dossier holds what is no fact"));
            }
        }
    }
}

impl Shelf for Rows {
    type Vault = PostgresVault;

    fn vault(&self) -> &PostgresVault {
        &self.vault
    }

    fn find(&self, places: &[(Key, u32)], pieces: &mut Pieces) -> Result<(), VaultError> {
        for places in places.chunks(AT_ONCE) {
            let ids: Vec<Id> = places.iter().map(|(place, _)| Id::from(*place)).collect();
            let found =
                self.vault.database.run("read dossiers", async |client| self.look(client, &ids, false).await)?;
            for (place, number) in places {
                if let Some(standing) = found.standing.get(place) {
                    pieces.push(*number, 0, standing.slot, &standing.facts);
                }
            }
        }
        Ok(())
    }

    fn put(&self, buffer: &Buffer) -> Result<(), VaultError> {
        let mut all: Vec<(Key, u32)> = buffer
            .people()
            .into_iter()
            .map(|(token, person)| (Key::from_bytes(self.vault.tombstone(&token)), person))
            .collect();
        all.sort_unstable();
        let mut told = Vec::new();
        for people in all.chunks(AT_ONCE) {
            let new = people.iter().map(|(place, person)| {
                buffer.facts(*person, &mut told);
                (*place, Zeroizing::new(told.concat()))
            });
            self.add(&new.collect::<Vec<New>>())?;
        }
        Ok(())
    }

    fn decide(&self, new: &[(Token, NameDraw)]) -> Result<Option<Vec<NameDraw>>, VaultError> {
        let mut all: Vec<(Key, usize)> =
            new.iter().map(|(token, _)| Key::from_bytes(self.vault.tombstone(token))).zip(0..).collect();
        all.sort_unstable();
        let mut decided: Vec<NameDraw> = new.iter().map(|(_, draw)| *draw).collect();
        for people in all.chunks(AT_ONCE) {
            let facts = people.iter().map(|(place, number)| {
                let mut piece = Zeroizing::default();
                if let Some((_, draw)) = new.get(*number) {
                    facts::push_draw(&mut piece, *draw);
                }
                (*place, piece)
            });
            let standing = self.add(&facts.collect::<Vec<New>>())?;
            for (place, number) in people {
                if let (Some(standing), Some(decided)) = (standing.get(place), decided.get_mut(*number)) {
                    *decided = *standing;
                }
            }
        }
        Ok(Some(decided))
    }

    fn damaged(&self, what: &'static str) -> VaultError {
        self.vault.database.damaged(what)
    }
}

impl Rows {
    /// Adds what is new in `new`, which comes in the order of places. Gives the draws that stand at these places now, where one does.
    fn add(&self, new: &[New]) -> Result<HashMap<Key, NameDraw>, VaultError> {
        self.vault.database.run("write dossiers", async |client| {
            self.vault.subject_keys.refresh()?;
            let mut draws = HashMap::new();
            let mut due: Vec<&New> = new.iter().collect();
            // Most is known already, and rows that do not change are not locked.
            let found = self.look(client, &ids(&due), false).await?;
            due.retain(|new| self.grown(&found, new, &mut draws).is_some());
            if due.is_empty() {
                return Ok(draws);
            }
            let all = client.transaction().await?;
            let lock = self.vault.dossier_lock();
            all.query_typed("SELECT pg_advisory_xact_lock_shared($1)", &[(&lock, Type::INT8)]).await?;
            // Whoever is destroyed already is known from here on, and nobody is destroyed before the commit.
            self.vault.subject_keys.refresh()?;
            let found = self.look(&all, &ids(&due), true).await?;
            let mut grown: Vec<(Key, Option<u64>, Zeroizing<Vec<u8>>)> = Vec::with_capacity(due.len());
            for new in due {
                if let Some(facts) = self.grown(&found, new, &mut draws) {
                    grown.push((new.0, found.standing.get(&new.0).map(|standing| standing.slot), facts));
                }
            }
            self.write(&all, grown).await?;
            all.commit().await?;
            Ok(draws)
        })
    }

    /// What is to stand at a place; nothing where that stands there already or may not stand anywhere. The draw goes to `draws`.
    fn grown(
        &self,
        found: &Found,
        (place, piece): &New,
        draws: &mut HashMap<Key, NameDraw>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        if found.dead.contains(place) || self.vault.subject_keys.is_tombstone(&place.to_bytes()) {
            return None;
        }
        let standing = found.standing.get(place).map_or(&[][..], |standing| standing.facts.as_slice());
        let (mut kept, mut new) = (Vec::new(), facts::each(piece).collect::<Vec<_>>());
        facts::newest(&[standing], &mut kept);
        facts::retain_new(&mut new, &kept);
        let new = Zeroizing::new(new.concat());
        facts::newest(&[standing, &new], &mut kept);
        draws.extend(facts::draw_in(&kept).and_then(facts::draw).map(|draw| (*place, draw)));
        let grown = Zeroizing::new(kept.concat());
        (grown.as_slice() != standing).then_some(grown)
    }

    async fn write(
        &self,
        client: &impl GenericClient,
        grown: Vec<(Key, Option<u64>, Zeroizing<Vec<u8>>)>,
    ) -> Result<(), Stop> {
        let fresh = grown.iter().filter(|(_, slot, _)| slot.is_none()).count();
        let mut drawn = self.vault.draw_slots(client, fresh).await?.into_iter();
        let slots: Vec<u64> = grown.iter().filter_map(|(_, slot, _)| slot.map_or_else(|| drawn.next(), Some)).collect();
        let nonces = crate::store::writer::random_bytes(grown.len() * 12)?;
        let nonces = nonces.as_chunks::<12>().0;
        let mut sealed: Vec<Option<Vec<u8>>> = Vec::with_capacity(grown.len());
        let mut failed = None;
        self.vault.keys_of(&slots, &mut |number, key| {
            let (Some((place, ..)), Some(slot)) = (grown.get(number), slots.get(number)) else { return };
            let Some(nonce) = nonces.get(number) else { return };
            let facts = grown.get(number).map_or(&[][..], |(.., facts)| facts);
            let aad = associated(&self.vault.id, DOSSIER, &place.to_bytes(), 0, *slot);
            let seal = |key| seal_row(key, *nonce, &aad, &self.own, 0, facts);
            match key.map(seal).transpose() {
                Ok(bytes) => sealed.push(bytes),
                Err(error) => failed = Some(error),
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let (mut old, mut new) = (Columns::default(), Columns::default());
        for (((place, standing, _), slot), sealed) in grown.iter().zip(slots).zip(sealed) {
            let Some(sealed) = sealed else {
                return Err(self.vault.database.error("write dossiers", "keys of new rows are missing").into());
            };
            let columns = if standing.is_some() { &mut old } else { &mut new };
            columns.push(*place, slot, sealed);
            if columns.bytes > MOST_BYTES {
                std::mem::take(columns).write(&self.vault, client, standing.is_some()).await?;
            }
        }
        old.write(&self.vault, client, true).await?;
        new.write(&self.vault, client, false).await
    }

    /// The rows at these places, which come in order; for who is going to write them, under their locks.
    async fn look(&self, client: &impl GenericClient, places: &[Id], to_write: bool) -> Result<Found, Stop> {
        let sql = self.vault.sql(if to_write {
            "SELECT place, slot, sealed FROM dossiers{k} WHERE place = ANY($1) ORDER BY place FOR NO KEY UPDATE"
        } else {
            "SELECT place, slot, sealed FROM dossiers{k} WHERE place = ANY($1)"
        });
        let rows = client.query_typed(&sql, &[(&places, Type::UUID_ARRAY)]).await?;
        self.open(client, &rows).await
    }

    async fn open(&self, client: &impl GenericClient, rows: &[Row]) -> Result<Found, Stop> {
        let slots = rows.iter().map(|row| self.vault.number(row, 1)).collect::<Result<Vec<u64>, _>>()?;
        let mut found = Found::default();
        let mut opened: Vec<(Key, u64, Opened)> = Vec::with_capacity(rows.len());
        let mut done = Ok(());
        self.vault.keys_of(&slots, &mut |at, key| {
            let (Some(row), Some(slot)) = (rows.get(at).filter(|_| done.is_ok()), slots.get(at)) else { return };
            done = self.open_one(row, *slot, key).map(|(place, row)| match row {
                Some(row) => opened.push((place, *slot, row)),
                None => drop(found.dead.insert(place)),
            });
        });
        done?;
        for (place, slot, row) in opened {
            let mut facts = Zeroizing::new(row.value().to_vec());
            let kinds = self.kinds(client, row.name).await?;
            let known = kinds.renumber(&mut facts);
            known.ok_or_else(|| {
                self.damaged("a dossier holds a kind of identifier that this program does not know, or is cut short")
            })?;
            found.standing.insert(place, Standing { slot, facts });
        }
        Ok(found)
    }

    fn open_one(&self, row: &Row, slot: u64, key: Option<&[u8; 32]>) -> Result<(Key, Option<Opened>), VaultError> {
        let damaged = || self.damaged("a dossier's row is not authentic");
        let (Id(place), sealed): (Id, &[u8]) =
            (row.try_get(0).map_err(|_| damaged())?, row.try_get(2).map_err(|_| damaged())?);
        let aad = associated(&self.vault.id, DOSSIER, &place, 0, slot);
        let opened = key.map(|key| open_row(key, &aad, sealed).ok_or_else(damaged)).transpose()?;
        Ok((Key::from_bytes(place), opened))
    }

    /// What the numbers in a row mean.
    async fn kinds(&self, client: &impl GenericClient, tag: [u8; 16]) -> Result<Arc<Kinds>, Stop> {
        let known = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(&tag).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let sql = self.vault.sql("SELECT sealed FROM kinds{k} WHERE tag = $1");
        let rows = client.query_typed(&sql, &[(&Id(tag), Type::UUID)]).await?;
        let read = || {
            let plain = self.vault.names.open(&tag, rows.first()?.try_get(0).ok()?).ok()?;
            String::from_utf8(plain).ok()
        };
        let names = read().ok_or_else(|| self.damaged("the list of kinds that a dossier names is not authentic"))?;
        let kinds = Arc::new(Kinds::of(names.split('\n')));
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(tag, Arc::clone(&kinds));
        Ok(kinds)
    }
}

/// Columns of rows that go to the server together.
#[derive(Default)]
struct Columns {
    places: Vec<Id>,
    slots: Vec<i64>,
    sealed: Vec<Vec<u8>>,
    bytes: usize,
}

impl Columns {
    fn push(&mut self, place: Key, slot: u64, sealed: Vec<u8>) {
        self.places.push(place.into());
        self.slots.push(slot as i64);
        self.bytes += sealed.len();
        self.sealed.push(sealed);
    }

    /// `standing` rows are locked by now; where others stand in the place of new ones, all has to be looked at again.
    async fn write(self, vault: &PostgresVault, client: &impl GenericClient, standing: bool) -> Result<(), Stop> {
        if self.places.is_empty() {
            return Ok(());
        }
        let sql = vault.sql(if standing {
            "UPDATE dossiers{k} SET sealed = new.sealed FROM unnest($1, $2, $3) AS new (place, slot, sealed) \
             WHERE dossiers{k}.place = new.place AND dossiers{k}.slot = new.slot"
        } else {
            "INSERT INTO dossiers{k} (place, slot, sealed) SELECT * FROM unnest($1, $2, $3) ON CONFLICT DO NOTHING"
        });
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&self.places, Type::UUID_ARRAY), (&self.slots, Type::INT8_ARRAY), (&self.sealed, Type::BYTEA_ARRAY)];
        let written = client.execute_typed(&sql, &params).await?;
        if written == self.places.len() as u64 { Ok(()) } else { Err(Stop::Again) }
    }
}

/// What a list of kinds is found by.
pub(super) fn kinds_tag(values: &KeyedHash, names: &str) -> [u8; 16] {
    values.derive("kinds of facts").tag128(names.as_bytes())
}

fn ids(new: &[&New]) -> Vec<Id> {
    new.iter().map(|(place, _)| Id::from(*place)).collect()
}

impl PostgresVault {
    /// What writers of dossiers share, and who destroys people has alone.
    pub(super) fn dossier_lock(&self) -> i64 {
        i64::from_le_bytes(*self.id.last_chunk().unwrap_or(&[0; 8]))
    }

    /// The slots of these places.
    pub(super) async fn dossier_slots(
        &self,
        client: &impl GenericClient,
        places: &[Tombstone],
    ) -> Result<Vec<u64>, Stop> {
        let ids: Vec<Id> = places.iter().map(|place| Id(*place)).collect();
        let sql = self.sql("SELECT slot FROM dossiers{k} WHERE place = ANY($1)");
        let rows = client.query_typed(&sql, &[(&ids, Type::UUID_ARRAY)]).await?;
        let slots = rows.iter().map(|row| self.number(row, 0)).collect::<Result<Vec<u64>, _>>()?;
        Ok(slots.into_iter().filter(|slot| !self.subject_keys.is_destroyed(*slot)).collect())
    }
}

impl People for PostgresVault {
    fn subject_keys(&self) -> &SubjectKeys {
        &self.subject_keys
    }

    fn see_others(&self) -> Result<(), VaultError> {
        self.fresh()
    }

    fn to_roots(&self, tokens: &mut [Token]) {
        self.to_roots(tokens);
    }

    fn members(&self, tokens: &[Token], each: &mut dyn FnMut(u32, Token)) {
        for (number, token) in (0..).zip(tokens) {
            self.members_of(token).into_iter().for_each(|member| each(number, member));
        }
    }

    fn tombstone(&self, token: &Token) -> Tombstone {
        self.tombs.tag128(&token.0)
    }
}
