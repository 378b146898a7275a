//! Partitions: what is published, of what it is made, and a publish that may be under way.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::{Error, Ledger, commit, dataset, date, from_json, instant, micros, sql, to_json};
use crate::dataset::Dataset;
use crate::task::TaskKey;

/// What a publish is about to put into the lake; recorded before the first byte goes there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The revision being made.
    pub revision: u64,
    /// Hash of its data columns.
    pub content_hash: String,
    /// SHA-256 of the object's bytes.
    pub object_sha256: String,
    /// Length of the object.
    pub size_bytes: u64,
    /// Its rows.
    pub rows: u64,
}

/// A partition as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// The civil date.
    pub dt: Date,
    /// 0 if it was never published.
    pub revision: u64,
    /// Whether every known task of the day is in it.
    pub complete: bool,
    /// Hash of its data columns.
    pub content_hash: Option<String>,
    /// SHA-256 of its manifest.
    pub manifest_sha256: Option<String>,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub size_bytes: u64,
    /// When this revision was completed.
    pub published_at: Option<Timestamp>,
    /// When a later export last gave the same content.
    pub checked_at: Option<Timestamp>,
    /// A publish that may be under way.
    pub intent: Option<Intent>,
}

/// A completed publish.
#[derive(Clone, Debug)]
pub struct PublishedPartition {
    /// The revision.
    pub revision: u64,
    /// Whether every known task of the day is in it.
    pub complete: bool,
    /// Hash of its data columns.
    pub content_hash: String,
    /// SHA-256 of its manifest.
    pub manifest_sha256: String,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub size_bytes: u64,
    /// All its inputs: key, generation, the manifest's entry as JSON. Replaces the list of the revision before.
    pub inputs: Vec<(TaskKey, u32, String)>,
}

const COLUMNS: &str = "tenant, dataset, dt, revision, state, content_hash, manifest_sha256, rows_out, size_bytes, published_at, checked_at, intent";

impl Ledger {
    /// One partition, if it was ever published or is being published.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn partition(
        &self,
        tenant: &str,
        of: Dataset,
        dt: Date,
    ) -> Result<Option<PartitionRow>, Error> {
        let statement = format!(
            "SELECT {COLUMNS} FROM partition WHERE tenant = $1 AND dataset = $2 AND dt = $3"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(tenant)
            .bind(of.as_str())
            .bind(dt.to_string())
            .fetch_optional(&self.read)
            .await
            .map_err(sql("read a partition"))?;
        row.as_ref().map(partition_row).transpose()
    }

    /// All partitions of a tenant, or of all tenants, by dataset and date.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn partitions(&self, tenant: Option<&str>) -> Result<Vec<PartitionRow>, Error> {
        let statement = format!(
            "SELECT {COLUMNS} FROM partition WHERE $1 = '' OR tenant = $1 ORDER BY tenant, dataset, dt"
        );
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(tenant.unwrap_or(""))
            .fetch_all(&self.read)
            .await
            .map_err(sql("list partitions"))?
            .iter()
            .map(partition_row)
            .collect()
    }

    /// The inputs of a partition: key, generation and the manifest's entry as JSON, by key.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn inputs(
        &self,
        tenant: &str,
        of: Dataset,
        dt: Date,
    ) -> Result<Vec<(TaskKey, u32, String)>, Error> {
        let rows = sqlx::query("SELECT task_key, generation, entry FROM input WHERE tenant = $1 AND dataset = $2 AND dt = $3 ORDER BY task_key")
            .bind(tenant)
            .bind(of.as_str())
            .bind(dt.to_string())
            .fetch_all(&self.read)
            .await
            .map_err(sql("list a partition's inputs"))?;
        Ok(rows
            .iter()
            .map(|row| {
                (
                    TaskKey::from_stored(row.get::<String, _>(0)),
                    u32::try_from(row.get::<i64, _>(1)).unwrap_or(1),
                    row.get(2),
                )
            })
            .collect())
    }

    /// The manifest's entries of all inputs of all partitions, as JSON.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn all_inputs(&self) -> Result<Vec<String>, Error> {
        let rows = sqlx::query("SELECT entry FROM input")
            .fetch_all(&self.read)
            .await
            .map_err(sql("list inputs"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The partitions that hold rows of a task.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn partitions_with(&self, key: &TaskKey) -> Result<Vec<Date>, Error> {
        sqlx::query("SELECT dt FROM input WHERE task_key = $1")
            .bind(key.as_str().to_owned())
            .fetch_all(&self.read)
            .await
            .map_err(sql("find a task's partitions"))?
            .iter()
            .map(|row| date(&row.get::<String, _>(0)))
            .collect()
    }

    /// Withdrawn tasks that a partition still holds rows of: dataset, date and key.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn withdrawn_inputs(
        &self,
        tenant: &str,
    ) -> Result<Vec<(Dataset, Date, TaskKey)>, Error> {
        sqlx::query(
            "SELECT i.dataset, i.dt, i.task_key FROM input i JOIN task t ON t.key = i.task_key \
             WHERE i.tenant = $1 AND t.phase = 'withdrawn' ORDER BY i.dataset, i.dt, i.task_key",
        )
        .bind(tenant)
        .fetch_all(&self.read)
        .await
        .map_err(sql("find withdrawn inputs"))?
        .iter()
        .map(|row| {
            Ok((
                dataset(&row.get::<String, _>(0))?,
                date(&row.get::<String, _>(1))?,
                TaskKey::from_stored(row.get::<String, _>(2)),
            ))
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
        sqlx::query(
            "INSERT INTO partition (tenant, dataset, dt, revision, state, rows_out, size_bytes, intent) VALUES ($1, $2, $3, 0, 'partial', 0, 0, $4) \
             ON CONFLICT (tenant, dataset, dt) DO UPDATE SET intent = excluded.intent",
        )
        .bind(tenant)
        .bind(of.as_str())
        .bind(dt.to_string())
        .bind(to_json(intent))
        .execute(&mut *transaction)
        .await
        .map_err(sql("record an intent"))?;
        commit(transaction).await
    }

    /// Records a completed publish: the partition, its inputs, and the end of the intent, in one transaction.
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
        sqlx::query(
            "INSERT INTO partition (tenant, dataset, dt, revision, state, content_hash, manifest_sha256, rows_out, size_bytes, published_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (tenant, dataset, dt) DO UPDATE SET revision = excluded.revision, \
             state = excluded.state, content_hash = excluded.content_hash, manifest_sha256 = excluded.manifest_sha256, \
             rows_out = excluded.rows_out, size_bytes = excluded.size_bytes, published_at = excluded.published_at, checked_at = NULL, intent = NULL",
        )
        .bind(tenant)
        .bind(of.as_str())
        .bind(dt.to_string())
        .bind(i64::try_from(done.revision).unwrap_or(i64::MAX))
        .bind(if done.complete { "complete" } else { "partial" })
        .bind(done.content_hash.as_str())
        .bind(done.manifest_sha256.as_str())
        .bind(i64::try_from(done.rows).unwrap_or(i64::MAX))
        .bind(i64::try_from(done.size_bytes).unwrap_or(i64::MAX))
        .bind(micros(now))
        .execute(&mut *transaction)
        .await
        .map_err(sql("record a partition"))?;
        sqlx::query("DELETE FROM input WHERE tenant = $1 AND dataset = $2 AND dt = $3")
            .bind(tenant)
            .bind(of.as_str())
            .bind(dt.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(sql("replace a partition's inputs"))?;
        insert_inputs(&mut transaction, tenant, of, dt, &done.inputs).await?;
        commit(transaction).await
    }

    /// Records that a later export gave the same content: the object and its lineage stay. Inputs that were not known are added.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn checked(
        &self,
        tenant: &str,
        of: Dataset,
        dt: Date,
        complete: bool,
        new_inputs: &[(TaskKey, u32, String)],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE partition SET checked_at = $1, state = $2, intent = NULL WHERE tenant = $3 AND dataset = $4 AND dt = $5")
            .bind(micros(now))
            .bind(if complete { "complete" } else { "partial" })
            .bind(tenant)
            .bind(of.as_str())
            .bind(dt.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(sql("record a check"))?;
        insert_inputs(&mut transaction, tenant, of, dt, new_inputs).await?;
        commit(transaction).await
    }

    /// Records that the rows of these tasks are in the lake, each with the generation that is.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn tasks_published(
        &self,
        tasks: &[(TaskKey, u32)],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for (key, generation) in tasks {
            sqlx::query("UPDATE task SET phase = 'published', updated_at = $1 WHERE key = $2 AND generation = $3 AND phase = 'spooled'")
                .bind(micros(now))
                .bind(key.as_str().to_owned())
                .bind(i64::from(*generation))
                .execute(&mut *transaction)
                .await
                .map_err(sql("record published tasks"))?;
        }
        commit(transaction).await
    }
}

pub(super) async fn insert_inputs(
    transaction: &mut Transaction<'static, Any>,
    tenant: &str,
    of: Dataset,
    dt: Date,
    inputs: &[(TaskKey, u32, String)],
) -> Result<(), Error> {
    for chunk in inputs.chunks(1000) {
        use std::fmt::Write as _;
        let mut statement = String::from(
            "INSERT INTO input (tenant, dataset, dt, task_key, generation, entry) VALUES ",
        );
        for index in 0..chunk.len() {
            let p = 4 + index * 3;
            let comma = if index == 0 { "" } else { "," };
            write!(
                statement,
                "{comma}($1, $2, $3, ${}, ${}, ${})",
                p,
                p + 1,
                p + 2
            )
            .expect("writing to a string");
        }
        statement.push_str(" ON CONFLICT (tenant, dataset, dt, task_key) DO NOTHING");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(tenant.to_owned())
            .bind(of.as_str())
            .bind(dt.to_string());
        for (key, generation, entry) in chunk {
            query = query
                .bind(key.as_str().to_owned())
                .bind(i64::from(*generation))
                .bind(entry.clone());
        }
        query
            .execute(&mut **transaction)
            .await
            .map_err(sql("record a partition's inputs"))?;
    }
    Ok(())
}

fn partition_row(row: &AnyRow) -> Result<PartitionRow, Error> {
    let count = |index: usize| u64::try_from(row.get::<i64, _>(index)).unwrap_or(0);
    Ok(PartitionRow {
        tenant: row.get(0),
        dataset: dataset(&row.get::<String, _>(1))?,
        dt: date(&row.get::<String, _>(2))?,
        revision: count(3),
        complete: row.get::<String, _>(4) == "complete",
        content_hash: row.get(5),
        manifest_sha256: row.get(6),
        rows: count(7),
        size_bytes: count(8),
        published_at: row.get::<Option<i64>, _>(9).map(instant).transpose()?,
        checked_at: row.get::<Option<i64>, _>(10).map(instant).transpose()?,
        intent: row
            .get::<Option<String>, _>(11)
            .map(|text| from_json("intent", &text))
            .transpose()?,
    })
}
