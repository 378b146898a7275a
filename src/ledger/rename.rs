//! The tasks of a ledger under another key of the lake.

use sqlx::AssertSqlSafe;

use super::stored::StoredRow;
use super::{Error, Ledger, commit, sql};
use crate::datasets::Request;
use crate::lake_key::LakeKey;
use crate::task::{TaskKey, TaskOwner};

impl Ledger {
    /// Whether any partition was ever published.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn has_published(&self) -> Result<bool, Error> {
        let row = sqlx::query("SELECT tenant FROM partition WHERE revision > 0 LIMIT 1")
            .fetch_optional(&self.read)
            .await
            .map_err(sql("look for published partitions"))?;
        Ok(row.is_some())
    }

    /// Gives every task the name that `key` gives it, in one transaction: for a ledger of which
    /// nothing is published yet. Rows in the spool have the earlier name, so what waits there is
    /// read again from its original.
    ///
    /// # Errors
    /// When the database refuses, a stored value cannot be read, or another process has taken over.
    pub async fn rename_tasks(&self, key: &LakeKey) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        let rows = sqlx::query("SELECT key, tenant, request FROM task")
            .fetch_all(&mut *transaction)
            .await
            .map_err(sql("list tasks"))?;
        for row in &rows {
            let row = StoredRow::task(row);
            let known = row.task_key("key")?;
            let tenant: String = row.get("tenant")?;
            let request: Request = row.json("request")?;
            let tenant = tenant.as_str();
            let name = TaskKey::new(TaskOwner { tenant, key }, &request);
            if name == known {
                continue;
            }
            for statement in [
                "UPDATE task SET key = $1, pack = NULL, phase = CASE phase WHEN 'spooled' \
                 THEN 'open' ELSE phase END WHERE key = $2",
                "UPDATE parent SET task_key = $1 WHERE task_key = $2",
                "UPDATE event SET task_key = $1 WHERE task_key = $2",
            ] {
                sqlx::query(AssertSqlSafe(statement))
                    .bind(name.as_str())
                    .bind(known.as_str())
                    .execute(&mut *transaction)
                    .await
                    .map_err(sql("rename a task"))?;
            }
        }
        commit(transaction).await
    }
}
