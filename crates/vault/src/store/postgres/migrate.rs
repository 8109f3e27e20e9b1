//! The tables, made and brought up to date by the role that owns them.

use std::path::Path;

use cordon_crypto::KeyedHash;
use tokio_postgres::{Client, types::Type};

use super::{
    config::{PostgresConfig, is_name},
    database::{Database, Stop},
    row::Id,
    suffix,
};
use crate::{
    store::{VaultError, VaultKeys},
    subject_keys::SubjectKeys,
};

/// The format that this program reads and writes.
pub(super) const FORMAT: i32 = 3;

/// What leads from each format to the next, from none to the first. In the schema of the vault.
const STEPS: [&str; FORMAT as usize] = [
    "
    CREATE TABLE vault (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        id uuid NOT NULL,
        blind_check uuid NOT NULL,
        values_check uuid NOT NULL,
        subject_keys uuid NOT NULL
    );
    CREATE TABLE domains (
        number integer GENERATED ALWAYS AS IDENTITY UNIQUE,
        tag uuid PRIMARY KEY,
        sealed bytea NOT NULL
    );
    CREATE SEQUENCE slots INCREMENT BY 256;
    CREATE SEQUENCE origins;
    CREATE TABLE tokens (
        blind uuid PRIMARY KEY,
        domain integer NOT NULL,
        slot bigint NOT NULL,
        sealed bytea NOT NULL
    );
    ALTER TABLE tokens ALTER COLUMN sealed SET STORAGE EXTERNAL;
    CREATE TABLE merges (
        number bigint PRIMARY KEY,
        slot bigint NOT NULL,
        sealed bytea NOT NULL
    );
    CREATE TABLE epochs (
        epoch bigint PRIMARY KEY
    );
    CREATE TABLE marks (
        nonce uuid PRIMARY KEY
    );
",
    "
    CREATE TABLE dossiers (
        place uuid PRIMARY KEY,
        slot bigint NOT NULL,
        sealed bytea NOT NULL
    );
    ALTER TABLE dossiers ALTER COLUMN sealed SET STORAGE EXTERNAL;
    CREATE TABLE kinds (
        tag uuid PRIMARY KEY,
        sealed bytea NOT NULL
    );
",
    "
    ALTER TABLE vault ADD COLUMN rekeyed integer NOT NULL DEFAULT 0;
",
];

/// What the working role may do: read, add, put a new row's content in the place of one whose key is destroyed, and write a dossier
/// anew with what was added. It can delete nothing, and define nothing.
const GRANTS: &str = "
    REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;
    REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {role};
    REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM PUBLIC, {role};
    GRANT USAGE ON SCHEMA {schema} TO {role};
    GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
    GRANT INSERT ON domains{k}, tokens{k}, merges, epochs, marks, dossiers{k}, kinds{k} TO {role};
    GRANT UPDATE (slot, sealed) ON tokens{k} TO {role};
    GRANT UPDATE (sealed) ON dossiers{k} TO {role};
    GRANT USAGE ON SEQUENCE slots, origins TO {role};
";

/// Which format there was, if any, and which there is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    pub from: i32,
    pub to: i32,
}

/// Makes the schema or brings it up to date, in one transaction, and grants the working role what it needs. `config.user` is
/// that role; `owner` is who does this, with the credentials that `owner` names.
pub fn migrate(
    config: &PostgresConfig,
    owner: &PostgresConfig,
    base: &Path,
    keys: &VaultKeys,
    subject_keys: &SubjectKeys,
) -> Result<Migrated, VaultError> {
    let database = Database::new(owner, None, base)?;
    if config.user == owner.user {
        let what = "the role that owns the tables must not be the one that runs work under; name another owner";
        return Err(VaultError::DatabaseConfig { place: config.place(), what: what.to_owned() });
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    database.run("migrate", async |client| {
        Box::pin(step(client, &database, &config.user, keys, [id, subject_keys.id()])).await
    })
}

async fn step(
    client: &mut Client,
    database: &Database,
    role: &str,
    keys: &VaultKeys,
    [id, subject_keys]: [[u8; 16]; 2],
) -> Result<Migrated, Stop> {
    let schema = &database.schema;
    let all = client.transaction().await?;
    // Two at once: the second finds all done.
    all.batch_execute("SELECT pg_advisory_xact_lock(hashtext('cordon vault migrate'))").await?;
    let exists =
        all.query_typed("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[(&schema.as_str(), Type::TEXT)]).await?;
    if exists.is_empty() {
        all.batch_execute(&format!("CREATE SCHEMA {schema}")).await?;
    }
    all.batch_execute(&format!(
        "SET LOCAL search_path = {schema}, pg_temp; \
         CREATE TABLE IF NOT EXISTS migrations (format integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"
    ))
    .await?;
    let from = format_of(&all.query("SELECT max(format) FROM migrations", &[]).await?)?;
    if from > FORMAT {
        let place = database.place.clone();
        return Err(VaultError::DatabaseVersion { place, found: from, known: FORMAT }.into());
    }
    for (format, step) in (1..).zip(STEPS).skip(from as usize) {
        all.batch_execute(step).await?;
        all.execute_typed("INSERT INTO migrations (format) VALUES ($1)", &[(&format, Type::INT4)]).await?;
    }
    let [blind, values] = checks(keys, &id);
    all.execute_typed(
        "INSERT INTO vault (id, blind_check, values_check, subject_keys) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        &[(&Id(id), Type::UUID), (&blind, Type::UUID), (&values, Type::UUID), (&Id(subject_keys), Type::UUID)],
    )
    .await?;
    let rows = all.query_typed("SELECT rekeyed FROM vault", &[]).await?;
    let rekeyed = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    all.batch_execute(&grants(schema, role, rekeyed)).await?;
    all.commit().await?;
    Ok(Migrated { from, to: FORMAT })
}

/// What gives the working role its rights, once the keys were changed so often.
pub(super) fn grants(schema: &str, role: &str, rekeyed: i32) -> String {
    let quoted = if is_name(role) { role.to_owned() } else { format!("\"{}\"", role.replace('"', "\"\"")) };
    GRANTS.replace("{schema}", schema).replace("{role}", &quoted).replace("{k}", &suffix(rekeyed))
}

pub(super) fn format_of(rows: &[tokio_postgres::Row]) -> Result<i32, Stop> {
    let Some(row) = rows.first() else { return Ok(0) };
    Ok(row.try_get::<_, Option<i32>>(0)?.unwrap_or(0))
}

/// What only the right keys make of the vault's name: for blind indexes, and for values.
pub(super) fn checks(keys: &VaultKeys, id: &[u8; 16]) -> [Id; 2] {
    let check = |hash: KeyedHash| Id(hash.derive("check of a database v1").tag128(id));
    [check(KeyedHash::for_key(&keys.blind)), check(KeyedHash::for_key(&keys.values))]
}
