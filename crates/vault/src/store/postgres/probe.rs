//! What can be asked of a vault's database without any key: whether it is as new as somebody who left a mark in it knows.

use std::path::Path;

use data_encoding::HEXLOWER;
use tokio_postgres::types::Type;

use super::{Database, Id, KIND, PostgresConfig, PostgresVault, RowMark, VaultError};
use crate::seam::Mark;

impl PostgresVault {
    /// Whether the database is the vault that the mark was left in, and no copy from before. Paths of `config` are relative to `base`.
    pub fn holds_mark(config: &PostgresConfig, base: &Path, mark: &Mark) -> Result<bool, VaultError> {
        let Some(mark) = mark.read::<RowMark>(KIND) else { return Ok(false) };
        let bytes = |text: &str| HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok()).map(Id);
        let (Some(vault), Some(nonce)) = (bytes(&mark.vault), bytes(&mark.nonce)) else { return Ok(false) };
        let database = Database::new(config, None, base)?;
        database.run("look for a mark", async |client| {
            let sql = "SELECT 1 FROM marks WHERE nonce = $1 AND EXISTS (SELECT 1 FROM vault WHERE id = $2)";
            let rows = client.query_typed(sql, &[(&nonce, Type::UUID), (&vault, Type::UUID)]).await?;
            Ok(!rows.is_empty())
        })
    }
}
