//! Partitions: what is published, of what it is made, and a publish that may be under way.

use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::AssertSqlSafe;

use super::stored::{StoredRow, integer, micros, to_json};
use super::{Error, Ledger, Statement, Transaction, commit, sql};
use crate::datasets::{Dataset, Request, SourceMode};
use crate::record::{Input, Intent, PartitionRow, PublishedPartition};
use crate::task::TaskKey;

pub(super) const COLUMNS: &str = "tenant, dataset, dt, revision, state, content_hash, manifest_sha256, \
     rows_out, size_bytes, published_at, checked_at, intent";

/// Inputs in one statement: 3 values each, and SQLite takes 32,766.
const INPUTS_IN_ONE: usize = 1_000;

impl Ledger {
    /// One partition, if it was ever published or is being published.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn partition(
        &self,
        tenant: &str,
        of: Dataset,
        dt: Date,
    ) -> Result<Option<PartitionRow>, Error> {
        let statement = format!(
            "SELECT {COLUMNS} FROM partition WHERE tenant = $1 AND dataset = $2 AND dt = $3"
        );
        let row = bind_partition(sqlx::query(AssertSqlSafe(statement)), tenant, of, dt)
            .fetch_optional(&self.read)
            .await
            .map_err(sql("read a partition"))?;
        row.as_ref()
            .map(|row| partition_row(&StoredRow::partition(row)))
            .transpose()
    }

    /// All partitions of a tenant, or of all tenants, by dataset and date.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn partitions(&self, tenant: Option<&str>) -> Result<Vec<PartitionRow>, Error> {
        // Two statements: one that is for both reads the whole table for one tenant too.
        let all = format!("SELECT {COLUMNS} FROM partition ORDER BY tenant, dataset, dt");
        let of_tenant =
            format!("SELECT {COLUMNS} FROM partition WHERE tenant = $1 ORDER BY dataset, dt");
        let query = match tenant {
            Some(tenant) => sqlx::query(AssertSqlSafe(of_tenant)).bind(tenant),
            None => sqlx::query(AssertSqlSafe(all)),
        };
        self.partition_list(query).await
    }

    /// The inputs of a partition, by task key.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn inputs(&self, tenant: &str, of: Dataset, dt: Date) -> Result<Vec<Input>, Error> {
        let query = sqlx::query(
            "SELECT tenant, dataset, dt, task_key, entry FROM input \
             WHERE tenant = $1 AND dataset = $2 AND dt = $3 ORDER BY task_key",
        );
        self.input_list(bind_partition(query, tenant, of, dt)).await
    }

    /// All inputs of all partitions, by tenant, dataset, date and task key.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn all_inputs(&self) -> Result<Vec<Input>, Error> {
        let query = sqlx::query(
            "SELECT tenant, dataset, dt, task_key, entry FROM input \
             ORDER BY tenant, dataset, dt, task_key",
        );
        self.input_list(query).await
    }

    async fn input_list(&self, query: Statement<'_>) -> Result<Vec<Input>, Error> {
        query
            .fetch_all(&self.read)
            .await
            .map_err(sql("list inputs"))?
            .iter()
            .map(|row| StoredRow::input(row).json("entry"))
            .collect()
    }

    /// The dates whose partitions hold rows of a task.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn partitions_with(&self, key: &TaskKey) -> Result<Vec<Date>, Error> {
        sqlx::query("SELECT task_key, dt FROM input WHERE task_key = $1")
            .bind(key.as_str())
            .fetch_all(&self.read)
            .await
            .map_err(sql("find a task's partitions"))?
            .iter()
            .map(|row| StoredRow::input(row).date("dt"))
            .collect()
    }

    /// Withdrawn tasks that a partition still holds rows of: dataset, date, key, and the source
    /// that was asked.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn withdrawn_inputs(
        &self,
        tenant: &str,
    ) -> Result<Vec<(Dataset, Date, TaskKey, SourceMode)>, Error> {
        sqlx::query(
            "SELECT i.dataset, i.dt, i.task_key, i.tenant, t.request FROM input i JOIN task t ON t.key = i.task_key \
             WHERE i.tenant = $1 AND t.phase = 'withdrawn' ORDER BY i.dataset, i.dt, i.task_key",
        )
        .bind(tenant)
        .fetch_all(&self.read)
        .await
        .map_err(sql("find withdrawn inputs"))?
        .iter()
        .map(StoredRow::input)
        .map(|row| {
            let request: Request = row.json("request")?;
            let key = row.task_key("task_key")?;
            Ok((row.dataset()?, row.date("dt")?, key, request.mode))
        })
        .collect()
    }

    /// Records what is about to be put into the lake.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn intend(
        &self,
        tenant: &str,
        of: Dataset,
        dt: Date,
        intent: &Intent,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        let query = sqlx::query(
            "INSERT INTO partition (tenant, dataset, dt, revision, state, rows_out, size_bytes, \
             intent) VALUES ($1, $2, $3, 0, 'partial', 0, 0, $4) \
             ON CONFLICT (tenant, dataset, dt) DO UPDATE SET intent = excluded.intent",
        );
        bind_partition(query, tenant, of, dt)
            .bind(to_json(intent))
            .execute(&mut *transaction)
            .await
            .map_err(sql("record an intent"))?;
        commit(transaction).await
    }

    /// Records a completed publish: the partition, its inputs, and the end of the intent, in one
    /// transaction.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn published(
        &self,
        tenant: &str,
        of: Dataset,
        dt: Date,
        done: &PublishedPartition,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        insert_partition(&mut transaction, tenant, of, dt, done, now, IN_PLACE).await?;
        let query = sqlx::query(
            "SELECT i.task_key FROM input i JOIN task t ON t.key = i.task_key \
             WHERE i.tenant = $1 AND i.dataset = $2 AND i.dt = $3 AND t.phase = 'withdrawn'",
        );
        let withdrawn = bind_partition(query, tenant, of, dt)
            .fetch_all(&mut *transaction)
            .await
            .map_err(sql("find withdrawn inputs"))?;
        let query = sqlx::query("DELETE FROM input WHERE tenant = $1 AND dataset = $2 AND dt = $3");
        bind_partition(query, tenant, of, dt)
            .execute(&mut *transaction)
            .await
            .map_err(sql("replace a partition's inputs"))?;
        insert_inputs(&mut transaction, tenant, of, dt, &done.inputs).await?;
        for row in &withdrawn {
            sqlx::query(
                "DELETE FROM parent WHERE task_key = $1 \
                 AND NOT EXISTS (SELECT 1 FROM input WHERE task_key = $1)",
            )
            .bind(StoredRow::input(row).task_key("task_key")?.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(sql("forget a withdrawn task's rows"))?;
        }
        commit(transaction).await
    }

    /// Records that a later export gave the same content: the object and its lineage stay. Inputs
    /// that were not known are added.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn checked(
        &self,
        tenant: &str,
        of: Dataset,
        dt: Date,
        complete: bool,
        new_inputs: &[Input],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        let query = sqlx::query(
            "UPDATE partition SET checked_at = $4, state = $5, intent = NULL \
             WHERE tenant = $1 AND dataset = $2 AND dt = $3",
        );
        bind_partition(query, tenant, of, dt)
            .bind(micros(now))
            .bind(state_word(complete))
            .execute(&mut *transaction)
            .await
            .map_err(sql("record a check"))?;
        insert_inputs(&mut transaction, tenant, of, dt, new_inputs).await?;
        commit(transaction).await
    }
}

/// What a publish does with a partition that is recorded already.
const IN_PLACE: &str = "ON CONFLICT (tenant, dataset, dt) DO UPDATE SET \
     revision = excluded.revision, state = excluded.state, content_hash = excluded.content_hash, \
     manifest_sha256 = excluded.manifest_sha256, rows_out = excluded.rows_out, \
     size_bytes = excluded.size_bytes, published_at = excluded.published_at, checked_at = NULL, \
     intent = NULL";

/// Records a published partition without its inputs. One that is recorded already is an error,
/// unless `on_conflict` says what becomes of it.
pub(super) async fn insert_partition(
    transaction: &mut Transaction,
    tenant: &str,
    of: Dataset,
    dt: Date,
    done: &PublishedPartition,
    published_at: Timestamp,
    on_conflict: &'static str,
) -> Result<(), Error> {
    let statement = format!(
        "INSERT INTO partition (tenant, dataset, dt, revision, state, content_hash, \
         manifest_sha256, rows_out, size_bytes, published_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) {on_conflict}"
    );
    bind_partition(sqlx::query(AssertSqlSafe(statement)), tenant, of, dt)
        .bind(integer(done.revision))
        .bind(state_word(done.complete))
        .bind(&done.content_hash)
        .bind(&done.manifest_sha256)
        .bind(integer(done.rows))
        .bind(integer(done.size_bytes))
        .bind(micros(published_at))
        .execute(&mut **transaction)
        .await
        .map_err(sql("record a partition"))?;
    Ok(())
}

/// Adds the inputs that are not there yet.
pub(super) async fn insert_inputs(
    transaction: &mut Transaction,
    tenant: &str,
    of: Dataset,
    dt: Date,
    inputs: &[Input],
) -> Result<(), Error> {
    for some in inputs.chunks(INPUTS_IN_ONE) {
        // $1 to $3 are the same for all inputs, and each has 3 of its own.
        let values: Vec<String> = (0..some.len())
            .map(|index| 4 + index * 3)
            .map(|own| format!("($1, $2, $3, ${own}, ${}, ${})", own + 1, own + 2))
            .collect();
        let statement = format!(
            "INSERT INTO input (tenant, dataset, dt, task_key, generation, entry) VALUES {} \
             ON CONFLICT (tenant, dataset, dt, task_key) DO NOTHING",
            values.join(", ")
        );
        let mut query = bind_partition(sqlx::query(AssertSqlSafe(statement)), tenant, of, dt);
        for input in some {
            query = query
                .bind(input.task_key.as_str())
                .bind(i64::from(input.generation))
                .bind(to_json(input));
        }
        query
            .execute(&mut **transaction)
            .await
            .map_err(sql("record a partition's inputs"))?;
    }
    Ok(())
}

/// Binds which partition it is: tenant, dataset and date, in this order.
fn bind_partition<'q>(
    query: Statement<'q>,
    tenant: &'q str,
    of: Dataset,
    dt: Date,
) -> Statement<'q> {
    query.bind(tenant).bind(of.as_str()).bind(dt.to_string())
}

const fn state_word(complete: bool) -> &'static str {
    if complete { "complete" } else { "partial" }
}

pub(super) fn partition_row(row: &StoredRow<'_>) -> Result<PartitionRow, Error> {
    let is_complete = |word: &str| {
        [true, false]
            .into_iter()
            .find(|complete| state_word(*complete) == word)
    };
    Ok(PartitionRow {
        tenant: row.get("tenant")?,
        dataset: row.dataset()?,
        dt: row.date("dt")?,
        revision: row.count("revision")?,
        complete: row.word("state", is_complete)?,
        content_hash: row.get("content_hash")?,
        manifest_sha256: row.get("manifest_sha256")?,
        rows: row.count("rows_out")?,
        size_bytes: row.count("size_bytes")?,
        published_at: row.optional_instant("published_at")?,
        checked_at: row.optional_instant("checked_at")?,
        intent: row.optional_json("intent")?,
    })
}
