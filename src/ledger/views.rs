//! Read models for `status`, the status page and the end of a run.

use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::stored::{StoredRow, micros};
use super::tasks::{failure, last_try};
use super::{Error, Ledger, commit, sql};
use crate::cause::{Cause, Failure};
use crate::datasets::Dataset;
use crate::record::{LastTry, Phase, PhaseCounts, WindowState};

/// One dataset of one tenant, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetStatus {
    /// Windows by state, in the order of the states' words.
    pub windows: Vec<(WindowState, u64)>,
    /// Tasks by phase.
    pub tasks: PhaseCounts,
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
    /// Their length, bytes.
    pub size_bytes: u64,
    /// First date, `YYYY-MM-DD`.
    pub first_dt: String,
    /// Last date, `YYYY-MM-DD`.
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
    /// Quarantined, failed, or open with a failure.
    pub phase: Phase,
    /// Attempts given up.
    pub attempts: u64,
    /// Its last failure; [`Cause::Other`] without a message if none is recorded.
    pub failure: Failure,
    /// When that was, and when it is tried again.
    pub last_try: LastTry,
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
    /// When the database refuses, or a stored value cannot be read.
    pub async fn dataset_status(&self, tenant: &str, of: Dataset) -> Result<DatasetStatus, Error> {
        let windows = sqlx::query(
            "SELECT state, COUNT(*) AS windows FROM job_window \
             WHERE tenant = $1 AND dataset = $2 GROUP BY state ORDER BY state",
        )
        .bind(tenant)
        .bind(of.as_str())
        .fetch_all(&self.read)
        .await
        .map_err(sql("count windows"))?;
        let windows = windows.iter().map(StoredRow::window).map(|row| {
            let state = row.word("state", WindowState::from_stored)?;
            Ok((state, row.count("windows")?))
        });
        let phases = sqlx::query(
            "SELECT phase, COUNT(*) AS tasks FROM task \
             WHERE tenant = $1 AND dataset = $2 GROUP BY phase ORDER BY phase",
        )
        .bind(tenant)
        .bind(of.as_str());
        let calls = sqlx::query(
            "SELECT COALESCE(SUM(submits), 0) AS submits, COALESCE(SUM(polls), 0) AS polls \
             FROM task WHERE tenant = $1 AND dataset = $2",
        )
        .bind(tenant)
        .bind(of.as_str())
        .fetch_one(&self.read)
        .await
        .map_err(sql("count calls"))?;
        let calls = StoredRow::task(&calls);
        Ok(DatasetStatus {
            windows: windows.collect::<Result<_, Error>>()?,
            tasks: self.phase_counts(phases).await?,
            submits: calls.count("submits")?,
            polls: calls.count("polls")?,
        })
    }

    /// The published partitions of a tenant, or of all tenants, one line a tenant and dataset.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn partition_status(
        &self,
        tenant: Option<&str>,
    ) -> Result<Vec<PartitionStatus>, Error> {
        const COUNTS: &str = "tenant, dataset, COUNT(*) AS partitions, \
             SUM(CASE WHEN state = 'partial' THEN 1 ELSE 0 END) AS partial, \
             SUM(rows_out) AS rows_out, SUM(size_bytes) AS size_bytes, \
             MIN(dt) AS first_dt, MAX(dt) AS last_dt";
        const GROUPS: &str = "GROUP BY tenant, dataset ORDER BY tenant, dataset";
        // Two statements: one that is for both reads the whole table for one tenant too.
        let all = format!("SELECT {COUNTS} FROM partition WHERE revision > 0 {GROUPS}");
        let of_tenant =
            format!("SELECT {COUNTS} FROM partition WHERE tenant = $1 AND revision > 0 {GROUPS}");
        let query = match tenant {
            Some(tenant) => sqlx::query(AssertSqlSafe(of_tenant)).bind(tenant),
            None => sqlx::query(AssertSqlSafe(all)),
        };
        query
            .fetch_all(&self.read)
            .await
            .map_err(sql("count partitions"))?
            .iter()
            .map(StoredRow::partition)
            .map(|row| {
                Ok(PartitionStatus {
                    tenant: row.get("tenant")?,
                    dataset: row.dataset()?,
                    partitions: row.count("partitions")?,
                    partial: row.count("partial")?,
                    rows: row.count("rows_out")?,
                    size_bytes: row.count("size_bytes")?,
                    first_dt: row.get("first_dt")?,
                    last_dt: row.get("last_dt")?,
                })
            })
            .collect()
    }

    /// Tasks of one tenant or of all that are quarantined, failed, or waiting after a failure; the
    /// newest windows first.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn attention(
        &self,
        tenant: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Attention>, Error> {
        // Few tasks are in these phases, and a tenant has many. COALESCE keeps the database from
        // looking among all of the tenant's.
        sqlx::query(
            "SELECT key, tenant, dataset, window_start, phase, attempts, error_kind, error, \
             run_at, updated_at FROM task WHERE (phase IN ('quarantined', 'failed') \
             OR (phase = 'open' AND error IS NOT NULL)) AND tenant = COALESCE($1, tenant) \
             ORDER BY window_start DESC, key LIMIT $2",
        )
        .bind(tenant)
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await
        .map_err(sql("list tasks that need attention"))?
        .iter()
        .map(StoredRow::task)
        .map(|row| {
            Ok(Attention {
                key: row.get("key")?,
                tenant: row.get("tenant")?,
                dataset: row.dataset()?,
                window_start: row.instant("window_start")?,
                phase: row.word("phase", Phase::from_stored)?,
                attempts: row.count("attempts")?,
                failure: failure(&row)?.unwrap_or_else(|| Failure::new(Cause::Other, "")),
                last_try: last_try(&row)?,
            })
        })
        .collect()
    }

    /// How many tasks of each dataset are in a phase other than their last one.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn tasks_under_way(&self) -> Result<Vec<(String, Dataset, Phase, u64)>, Error> {
        sqlx::query(
            "SELECT tenant, dataset, phase, COUNT(*) AS tasks FROM task \
             WHERE phase IN ('open', 'spooled', 'quarantined', 'failed') \
             GROUP BY tenant, dataset, phase ORDER BY tenant, dataset, phase",
        )
        .fetch_all(&self.read)
        .await
        .map_err(sql("count tasks"))?
        .iter()
        .map(StoredRow::task)
        .map(|row| {
            let phase = row.word("phase", Phase::from_stored)?;
            Ok((
                row.get("tenant")?,
                row.dataset()?,
                phase,
                row.count("tasks")?,
            ))
        })
        .collect()
    }

    /// The newest runs, `limit` of them at most.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn runs(&self, limit: u32) -> Result<Vec<RunRecord>, Error> {
        sqlx::query(
            "SELECT id, verb, ended_at, exit_code, summary FROM run ORDER BY id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await
        .map_err(sql("list runs"))?
        .iter()
        .map(StoredRow::run)
        .map(|row| {
            Ok(RunRecord {
                started_at: row.instant("id")?,
                verb: row.get("verb")?,
                ended_at: row.optional_instant("ended_at")?,
                exit_code: row.get("exit_code")?,
                summary: row.get("summary")?,
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

    /// The newest instant anywhere in the ledger: nothing was done after it. `None` if nothing was
    /// done at all.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn last_active(&self) -> Result<Option<Timestamp>, Error> {
        let row = sqlx::query(
            "SELECT MAX(at) AS last_entry FROM (SELECT MAX(updated_at) AS at FROM task \
             UNION ALL SELECT MAX(COALESCE(ended_at, id)) AS at FROM run \
             UNION ALL SELECT MAX(COALESCE(checked_at, published_at)) AS at FROM partition) \
             AS newest",
        )
        .fetch_one(&self.read)
        .await
        .map_err(sql("find its last entry"))?;
        StoredRow::task(&row).optional_instant("last_entry")
    }
}
