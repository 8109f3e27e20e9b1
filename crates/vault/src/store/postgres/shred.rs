//! Destroying one person in the database, as [`crate::TokenVault::shred`] does in a folder.

use std::collections::{BTreeMap, HashSet};

use cordon_phi::Token;
use tokio_postgres::{Client, types::Type};

use super::{PostgresVault, READ_AT_ONCE, database::Stop};
use crate::{
    dossier::keeper::People as _,
    recipient::{Given, own_of, recipient_of},
    store::{Shredded, VaultError},
    subject_keys::Tombstone,
};

impl PostgresVault {
    /// Destroys the people of `tokens`: each row, in all domains, and each merge and dossier of whoever these tokens, or tokens that are
    /// one with them or were made of them for a recipient, stand for. In this database and in every backup of it they are noise then, and a value of theirs that
    /// comes again gets a new token.
    ///
    /// The point of no return is one replacement of one file: killed before, nothing has happened; after, everything has. Reads all
    /// rows, and meanwhile whoever wants to link people or to add to dossiers waits. Whoever calls it writes the audit entry
    /// first.
    pub fn shred(&self, tokens: &[Token]) -> Result<Shredded, VaultError> {
        let tokens = &own_of(self, tokens)?;
        let mut done = None;
        self.database.run("destroy a person", async |client| {
            // A connection that was lost behind the point of no return.
            if done.is_none() {
                done = Some(Box::pin(self.destroy(client, tokens)).await?);
            }
            let epoch = self.subject_keys.epoch() as i64;
            let sql = "INSERT INTO epochs (epoch) VALUES ($1) ON CONFLICT DO NOTHING";
            Ok(client.execute_typed(sql, &[(&epoch, Type::INT8)]).await?)
        })?;
        self.fresh()?;
        Ok(done.unwrap_or_default())
    }

    async fn destroy(&self, client: &mut Client, tokens: &[Token]) -> Result<Shredded, Stop> {
        let all = client.transaction().await?;
        // Locks of its own go when the transaction ends, however it does. Nobody waits for them who has the other.
        for lock in [self.link_lock(), self.dossier_lock()] {
            all.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&lock, Type::INT8)]).await?;
        }
        self.see(&all).await?;
        let people: HashSet<Token> = tokens.iter().flat_map(|token| self.members_of(token)).collect();
        let names = self.names_of_domains(&all).await?;
        // Their tokens that recipients were given.
        let mut given: HashSet<Token> = HashSet::new();
        let mut slots = Vec::new();
        let mut counts: BTreeMap<i32, u64> = BTreeMap::new();
        let mut after = None;
        loop {
            let rows = self.page(&all, None, after).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key.into());
            for rows in rows.chunks(READ_AT_ONCE) {
                self.open_rows(rows, |raw, opened| {
                    let Some(row) = opened else { return Ok(()) };
                    let (token, domain) = (Token(row.name), names.get(&raw.domain).map_or("", String::as_str));
                    let theirs = match recipient_of(domain) {
                        Some(_) => {
                            Given::of(domain, token, row.value()).is_some_and(|given| people.contains(&given.own))
                        }
                        None => people.contains(&token),
                    };
                    if theirs {
                        given.extend(recipient_of(domain).map(|_| token));
                        slots.push(raw.slot);
                        *counts.entry(raw.domain).or_default() += 1;
                    }
                    Ok(())
                })?;
            }
        }
        let entries = slots.len() as u64;
        self.open_merges(&super::merges_after(&all, 0).await?, &mut |_, slot, pair| {
            if pair.is_some_and(|(one, other, _)| people.contains(&one) || people.contains(&other)) {
                slots.push(slot);
            }
            Ok(())
        })?;
        let merges = slots.len() as u64 - entries;
        let tombstones: Vec<Tombstone> = people.iter().chain(&given).map(|token| self.tombstone(token)).collect();
        slots.extend(self.dossier_slots(&all, &tombstones).await?);
        let dossiers = slots.len() as u64 - entries - merges;
        let mut domains: Vec<(String, u64)> = Vec::with_capacity(counts.len());
        for (number, count) in counts {
            let name = names.get(&number).ok_or_else(|| self.database.damaged("a row's domain has no name"))?;
            domains.push((name.clone(), count));
        }
        domains.sort();
        self.subject_keys.destroy(&slots, &tombstones)?;
        // All of it was read; a failure here changes nothing of what is destroyed.
        drop(all.commit().await);
        Ok(Shredded { entries, domains, merges, dossiers })
    }
}
