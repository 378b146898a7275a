//! Read models for `status`, the status page and the end of a run.

use jiff::Timestamp;
use sqlx::Row;

use super::{Error, Ledger, commit, dataset, instant, micros, sql};
use crate::dataset::Dataset;

/// One dataset of one tenant, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetStatus {
    /// Windows by state: word and number.
    pub windows: Vec<(String, u64)>,
    /// Tasks by phase: word and number.
    pub tasks: Vec<(String, u64)>,
    /// Submits sent.
    pub submits: u64,
    /// Polls sent.
    pub polls: u64,
}

/// The published partitions of one dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// How many.
    pub partitions: u64,
    /// Of these, how many miss something.
    pub partial: u64,
    /// Their rows.
    pub rows: u64,
    /// Their length.
    pub size_bytes: u64,
    /// First date, `YYYY-MM-DD`.
    pub first_dt: String,
    /// Last date.
    pub last_dt: String,
}

/// A task that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Its key.
    pub key: String,
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// The first instant of its window.
    pub window_start: Timestamp,
    /// quarantined, failed, or open with an error.
    pub phase: String,
    /// Attempts given up.
    pub attempts: u64,
    /// Kind of the last error.
    pub error_kind: String,
    /// The last error.
    pub error: String,
}

/// One execution of a verb that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// When it began.
    pub started_at: Timestamp,
    /// Which verb.
    pub verb: String,
    /// When it ended; `None` if it is running or was killed.
    pub ended_at: Option<Timestamp>,
    /// Its exit code.
    pub exit_code: Option<i64>,
    /// What it did, in one line.
    pub summary: Option<String>,
}

impl Ledger {
    /// Windows and tasks of a dataset, counted.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn dataset_status(&self, tenant: &str, of: Dataset) -> Result<DatasetStatus, Error> {
        let counted = async |statement: &'static str| -> Result<Vec<(String, u64)>, Error> {
            let rows = sqlx::query(statement)
                .bind(tenant)
                .bind(of.as_str())
                .fetch_all(&self.read)
                .await
                .map_err(sql("count"))?;
            Ok(rows
                .iter()
                .map(|row| (row.get(0), u64::try_from(row.get::<i64, _>(1)).unwrap_or(0)))
                .collect())
        };
        let windows = counted("SELECT state, COUNT(*) FROM job_window WHERE tenant = $1 AND dataset = $2 GROUP BY state ORDER BY state").await?;
        let tasks = counted("SELECT phase, COUNT(*) FROM task WHERE tenant = $1 AND dataset = $2 GROUP BY phase ORDER BY phase").await?;
        let row = sqlx::query("SELECT COALESCE(SUM(submits), 0), COALESCE(SUM(polls), 0) FROM task WHERE tenant = $1 AND dataset = $2")
            .bind(tenant)
            .bind(of.as_str())
            .fetch_one(&self.read)
            .await
            .map_err(sql("count calls"))?;
        let sum = |index: usize| u64::try_from(row.get::<i64, _>(index)).unwrap_or(0);
        Ok(DatasetStatus {
            windows,
            tasks,
            submits: sum(0),
            polls: sum(1),
        })
    }

    /// The published partitions, one line a tenant and dataset.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn partition_status(&self) -> Result<Vec<PartitionStatus>, Error> {
        sqlx::query(
            "SELECT tenant, dataset, COUNT(*), SUM(CASE WHEN state = 'partial' THEN 1 ELSE 0 END), SUM(rows_out), SUM(size_bytes), MIN(dt), MAX(dt) \
             FROM partition WHERE revision > 0 GROUP BY tenant, dataset ORDER BY tenant, dataset",
        )
        .fetch_all(&self.read)
        .await
        .map_err(sql("count partitions"))?
        .iter()
        .map(|row| {
            let count = |index: usize| u64::try_from(row.get::<i64, _>(index)).unwrap_or(0);
            Ok(PartitionStatus {
                tenant: row.get(0),
                dataset: dataset(&row.get::<String, _>(1))?,
                partitions: count(2),
                partial: count(3),
                rows: count(4),
                size_bytes: count(5),
                first_dt: row.get(6),
                last_dt: row.get(7),
            })
        })
        .collect()
    }

    /// Tasks that are quarantined, failed, or waiting after an error; the newest windows first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn attention(&self, limit: u32) -> Result<Vec<Attention>, Error> {
        sqlx::query(
            "SELECT key, tenant, dataset, window_start, phase, attempts, COALESCE(error_kind, ''), COALESCE(error, '') FROM task \
             WHERE phase IN ('quarantined', 'failed') OR (phase = 'open' AND error IS NOT NULL) \
             ORDER BY window_start DESC, key LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await
        .map_err(sql("list tasks that need attention"))?
        .iter()
        .map(|row| {
            Ok(Attention {
                key: row.get(0),
                tenant: row.get(1),
                dataset: dataset(&row.get::<String, _>(2))?,
                window_start: instant(row.get(3))?,
                phase: row.get(4),
                attempts: u64::try_from(row.get::<i64, _>(5)).unwrap_or(0),
                error_kind: row.get(6),
                error: row.get(7),
            })
        })
        .collect()
    }

    /// The newest runs.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn runs(&self, limit: u32) -> Result<Vec<RunRecord>, Error> {
        sqlx::query(
            "SELECT id, verb, ended_at, exit_code, summary FROM run ORDER BY id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await
        .map_err(sql("list runs"))?
        .iter()
        .map(|row| {
            Ok(RunRecord {
                started_at: instant(row.get(0))?,
                verb: row.get(1),
                ended_at: row.get::<Option<i64>, _>(2).map(instant).transpose()?,
                exit_code: row.get(3),
                summary: row.get(4),
            })
        })
        .collect()
    }

    /// Records that a run began; its start identifies it.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn run_began(&self, verb: &str, now: Timestamp) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        sqlx::query("INSERT INTO run (id, verb) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
            .bind(micros(now))
            .bind(verb)
            .execute(&mut *transaction)
            .await
            .map_err(sql("record a run"))?;
        commit(transaction).await
    }

    /// Records how a run ended.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn run_ended(
        &self,
        began: Timestamp,
        now: Timestamp,
        exit_code: u8,
        summary: &str,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE run SET ended_at = $1, exit_code = $2, summary = $3 WHERE id = $4")
            .bind(micros(now))
            .bind(i64::from(exit_code))
            .bind(summary)
            .bind(micros(began))
            .execute(&mut *transaction)
            .await
            .map_err(sql("record the end of a run"))?;
        commit(transaction).await
    }

    /// The newest instant anywhere in the ledger: nothing was done after it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn last_active(&self) -> Result<Option<Timestamp>, Error> {
        let row = sqlx::query(
            "SELECT MAX(at) FROM (SELECT MAX(updated_at) AS at FROM task UNION ALL SELECT MAX(COALESCE(ended_at, id)) AS at FROM run \
             UNION ALL SELECT MAX(COALESCE(checked_at, published_at)) AS at FROM partition) AS newest",
        )
        .fetch_one(&self.read)
        .await
        .map_err(sql("find its last entry"))?;
        row.get::<Option<i64>, _>(0).map(instant).transpose()
    }
}
