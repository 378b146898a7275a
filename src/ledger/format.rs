//! The format of the tables, and how those of an earlier one get there.

use std::path::Path;

use sqlx::AnyPool;

use super::stored::{StoredRow, corrupt};
use super::{Error, commit, put_meta, sql};

/// Version of the ledger's tables. A newer file is refused. An older one is migrated by the first
/// command that writes to it.
pub const FORMAT_VERSION: i64 = 6;

/// What takes a ledger of one format to the next, from format 1 on; `schema.sql` is what they lead
/// to. All of them run in one transaction. Once released, a step never changes, and
/// `tests/fixtures/ledger` gets a file of the format it starts from.
pub(super) const STEPS: [&str; FORMAT_VERSION as usize - 1] = [
    include_str!("format-2.sql"),
    include_str!("format-3.sql"),
    include_str!("format-4.sql"),
    include_str!("format-5.sql"),
    include_str!("format-6.sql"),
];

/// Makes the tables of a new ledger, or takes those of an older one to the format that `steps` lead
/// to, all of it in one transaction. Others may do the same at the same time, so the format is read
/// inside of it.
pub(super) async fn migrate(
    path: &Path,
    pool: &AnyPool,
    steps: &[&'static str],
) -> Result<(), Error> {
    let known = format_after(steps);
    let mut transaction = pool
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(sql("begin a transaction"))?;
    let statements = match format(&mut transaction).await? {
        None => vec![include_str!("schema.sql")],
        Some(found) if found == known => return Ok(()),
        Some(found) if found > known => return Err(newer(path, found, known)),
        Some(found) => {
            let done = usize::try_from(found - 1)
                .map_err(|_| corrupt("value of meta format", &found.to_string()))?;
            steps.iter().skip(done).copied().collect()
        }
    };
    for statement in statements {
        sqlx::raw_sql(statement)
            .execute(&mut *transaction)
            .await
            .map_err(sql("make or migrate its tables"))?;
    }
    put_meta(&mut transaction, "format", &known.to_string()).await?;
    commit(transaction).await
}

/// Whether there are tables that can be read as they are. Reading never migrates: the owner may be
/// an older meetlake that is still at work.
pub(super) async fn is_readable(
    path: &Path,
    pool: &AnyPool,
    steps: &[&'static str],
) -> Result<bool, Error> {
    let known = format_after(steps);
    let mut connection = pool.acquire().await.map_err(sql("be opened"))?;
    match format(&mut connection).await? {
        None => Ok(false),
        Some(found) if found == known => Ok(true),
        Some(found) if found > known => Err(newer(path, found, known)),
        Some(found) => Err(Error::Older {
            path: path.to_owned(),
            found,
            known,
        }),
    }
}

/// The format that `steps` lead to.
fn format_after(steps: &[&'static str]) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX - 1) + 1
}

/// The format of the tables; `None` if there are none.
async fn format(connection: &mut sqlx::AnyConnection) -> Result<Option<i64>, Error> {
    let has_meta =
        sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'meta'")
            .fetch_optional(&mut *connection)
            .await
            .map_err(sql("look at its tables"))?;
    if has_meta.is_none() {
        return Ok(None);
    }
    let row = sqlx::query("SELECT name, value FROM meta WHERE name = 'format'")
        .fetch_optional(&mut *connection)
        .await
        .map_err(sql("read its format"))?;
    let Some(row) = row.as_ref().map(StoredRow::meta) else {
        return Err(corrupt("value of meta format", ""));
    };
    row.word("value", |text| text.parse().ok()).map(Some)
}

fn newer(path: &Path, found: i64, known: i64) -> Error {
    Error::Newer {
        path: path.to_owned(),
        found,
        known,
    }
}

#[cfg(test)]
mod tests;
