//! Windows and schedules: what should exist by now.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};

use super::planning::withdraw_missing;
use super::stored::{StoredRow, micros, to_json};
use super::tasks::phases_in;
use super::{Error, Ledger, Transaction, bind_window, commit, sql};
use crate::datasets::Dataset;
use crate::record::{
    Coverage, NewWindow, PhaseCounts, ScheduleState, WindowBatch, WindowRow, WindowState,
};
use crate::window::Window;

pub(super) const COLUMNS: &str = "tenant, dataset, start_at, end_at, job, due_at, state, generation, \
     covered_at, parents, coverage";

impl Ledger {
    /// How far the schedule of `job` has been looked at for `tenant`.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn schedule(&self, job: &str, tenant: &str) -> Result<Option<ScheduleState>, Error> {
        let row = sqlx::query(
            "SELECT job, tenant, watermark, last_firing FROM schedule \
             WHERE job = $1 AND tenant = $2",
        )
        .bind(job)
        .bind(tenant)
        .fetch_optional(&self.read)
        .await
        .map_err(sql("read a schedule"))?;
        let Some(row) = row.as_ref().map(StoredRow::schedule) else {
            return Ok(None);
        };
        Ok(Some(ScheduleState {
            watermark: row.instant("watermark")?,
            last_firing: row.instant("last_firing")?,
        }))
    }

    /// Inserts the windows that are not there yet, starts another generation of those that are
    /// asked for again, and moves the schedule, in one transaction.
    ///
    /// Inserting a window twice changes nothing, with two exceptions. One that was skipped, or was
    /// called lost by a clock that was wrong, becomes due when it is asked for as due. And one that
    /// is due later than it is asked for, because an event told of it or the job has changed since,
    /// is due when it is asked for.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn insert_windows(&self, batch: &WindowBatch<'_>) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for new in batch.new {
            insert_window(&mut transaction, batch, new).await?;
        }
        for window in batch.again {
            let query = sqlx::query(
                "UPDATE job_window \
                 SET state = 'due', generation = generation + 1, covered_at = $5 \
                 WHERE tenant = $1 AND dataset = $2 AND start_at = $3 AND end_at = $4",
            );
            bind_window(query, batch.tenant, batch.dataset, *window)
                .bind(micros(batch.firing))
                .execute(&mut *transaction)
                .await
                .map_err(sql("start another generation"))?;
        }
        if let Some(schedule) = batch.schedule {
            sqlx::query(
                "INSERT INTO schedule (job, tenant, watermark, last_firing) \
                 VALUES ($1, $2, $3, $4) ON CONFLICT (job, tenant) DO UPDATE SET \
                 watermark = excluded.watermark, last_firing = excluded.last_firing",
            )
            .bind(batch.job)
            .bind(batch.tenant)
            .bind(micros(schedule.watermark))
            .bind(micros(schedule.last_firing))
            .execute(&mut *transaction)
            .await
            .map_err(sql("move a schedule"))?;
        }
        commit(transaction).await
    }

    /// The windows of a dataset that overlap `range`, or all of them, in order.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn windows(
        &self,
        tenant: &str,
        of: Dataset,
        range: Option<Window>,
    ) -> Result<Vec<WindowRow>, Error> {
        let (from, to) = range.map_or((i64::MIN, i64::MAX), |range| {
            (micros(range.start()), micros(range.end()))
        });
        let statement = format!(
            "SELECT {COLUMNS} FROM job_window \
             WHERE tenant = $1 AND dataset = $2 AND end_at > $3 AND start_at < $4 \
             ORDER BY start_at, end_at"
        );
        let query = sqlx::query(AssertSqlSafe(statement))
            .bind(tenant)
            .bind(of.as_str())
            .bind(from)
            .bind(to);
        self.window_list(query).await
    }

    /// Gives up a window that Feishu no longer answers for, and says how it ended, as
    /// [`WindowState::when_out_of_reach`] has it. `None`, and nothing is changed, if it goes on.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn lose_window(
        &self,
        row: &WindowRow,
        now: Timestamp,
    ) -> Result<Option<WindowState>, Error> {
        let mut transaction = self.begin().await?;
        let (tasks, has_inputs) = brought(&mut transaction, row).await?;
        let Some(state) = WindowState::when_out_of_reach(&tasks, has_inputs) else {
            return Ok(None);
        };
        let query = sqlx::query(
            "UPDATE task SET phase = CASE \
             WHEN EXISTS (SELECT 1 FROM input i WHERE i.task_key = task.key) THEN 'published' \
             ELSE 'withdrawn' END, updated_at = $5 \
             WHERE tenant = $1 AND dataset = $2 AND job_start = $3 AND job_end = $4 \
             AND phase <> 'withdrawn'",
        );
        bind_window(query, &row.tenant, row.dataset, row.window)
            .bind(micros(now))
            .execute(&mut *transaction)
            .await
            .map_err(sql("give up a window's tasks"))?;
        let query = sqlx::query(
            "UPDATE job_window SET state = $5 \
             WHERE tenant = $1 AND dataset = $2 AND start_at = $3 AND end_at = $4",
        );
        bind_window(query, &row.tenant, row.dataset, row.window)
            .bind(state.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(sql("give up a window"))?;
        commit(transaction).await?;
        Ok(Some(state))
    }

    /// Takes a window back that holds nothing, with its tasks, as if nobody had ever asked for it;
    /// says whether it did.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn withdraw_window(&self, row: &WindowRow) -> Result<bool, Error> {
        let mut transaction = self.begin().await?;
        let (tasks, has_inputs) = brought(&mut transaction, row).await?;
        if !row.state.holds_nothing(&tasks, has_inputs) {
            return Ok(false);
        }
        for statement in [
            "DELETE FROM parent WHERE task_key IN (SELECT key FROM task WHERE tenant = $1 \
             AND dataset = $2 AND job_start = $3 AND job_end = $4)",
            "DELETE FROM task WHERE tenant = $1 AND dataset = $2 AND job_start = $3 \
             AND job_end = $4",
            "DELETE FROM job_window WHERE tenant = $1 AND dataset = $2 AND start_at = $3 \
             AND end_at = $4",
        ] {
            bind_window(sqlx::query(statement), &row.tenant, row.dataset, row.window)
                .execute(&mut *transaction)
                .await
                .map_err(sql("take a window back"))?;
        }
        commit(transaction).await?;
        Ok(true)
    }

    /// Takes back a window that was asked for early and is planned by nobody. Its tasks are
    /// withdrawn, so that another window can have them.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn withdraw_early(&self, row: &WindowRow, now: Timestamp) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        withdraw_missing(&mut transaction, row, &HashSet::new(), now).await?;
        let query = sqlx::query(
            "DELETE FROM job_window WHERE tenant = $1 AND dataset = $2 AND start_at = $3 \
             AND end_at = $4",
        );
        bind_window(query, &row.tenant, row.dataset, row.window)
            .execute(&mut *transaction)
            .await
            .map_err(sql("take an early window back"))?;
        commit(transaction).await
    }

    /// Sets the state of a window, unless another generation of it was started meanwhile.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn set_window_state(&self, row: &WindowRow, state: WindowState) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        let query = sqlx::query(
            "UPDATE job_window SET state = $5 WHERE tenant = $1 AND dataset = $2 \
             AND start_at = $3 AND end_at = $4 AND generation = $6",
        );
        bind_window(query, &row.tenant, row.dataset, row.window)
            .bind(state.as_str())
            .bind(i64::from(row.generation))
            .execute(&mut *transaction)
            .await
            .map_err(sql("set a window's state"))?;
        commit(transaction).await
    }

    /// Records what became of the parents of a window.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn set_coverage(&self, row: &WindowRow, coverage: &Coverage) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        let query = sqlx::query(
            "UPDATE job_window SET coverage = $5 WHERE tenant = $1 AND dataset = $2 \
             AND start_at = $3 AND end_at = $4 AND generation = $6",
        );
        bind_window(query, &row.tenant, row.dataset, row.window)
            .bind(to_json(coverage))
            .bind(i64::from(row.generation))
            .execute(&mut *transaction)
            .await
            .map_err(sql("set a window's coverage"))?;
        commit(transaction).await
    }
}

/// The phases of a window's tasks, and whether any of them is listed in a partition.
async fn brought(
    transaction: &mut Transaction,
    row: &WindowRow,
) -> Result<(PhaseCounts, bool), Error> {
    let query = sqlx::query(
        "SELECT phase, COUNT(*) AS tasks FROM task WHERE tenant = $1 AND dataset = $2 \
         AND job_start = $3 AND job_end = $4 GROUP BY phase",
    );
    let tasks = bind_window(query, &row.tenant, row.dataset, row.window)
        .fetch_all(&mut **transaction)
        .await
        .map_err(sql("look at a window's tasks"))?;
    let query = sqlx::query(
        "SELECT COUNT(*) FROM input i JOIN task t ON t.key = i.task_key \
         WHERE t.tenant = $1 AND t.dataset = $2 AND t.job_start = $3 AND t.job_end = $4",
    );
    let inputs = bind_window(query, &row.tenant, row.dataset, row.window)
        .fetch_one(&mut **transaction)
        .await
        .map_err(sql("look at what a window brought"))?;
    let inputs: i64 = inputs.get(0);
    Ok((phases_in(&tasks)?, inputs > 0))
}

async fn insert_window(
    transaction: &mut Transaction,
    batch: &WindowBatch<'_>,
    new: &NewWindow,
) -> Result<(), Error> {
    let query = sqlx::query(
        "INSERT INTO job_window (tenant, dataset, start_at, end_at, job, due_at, state, \
         generation, covered_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8) \
         ON CONFLICT (tenant, dataset, start_at, end_at) \
         DO UPDATE SET state = excluded.state, job = excluded.job, due_at = excluded.due_at \
         WHERE excluded.state = 'due' AND (job_window.state IN ('skipped', 'lost') \
         OR job_window.state = 'due' AND job_window.due_at > excluded.due_at)",
    );
    bind_window(query, batch.tenant, batch.dataset, new.window)
        .bind(batch.job)
        .bind(micros(new.due_at))
        .bind(new.state.as_str())
        .bind(micros(batch.firing))
        .execute(&mut **transaction)
        .await
        .map_err(sql("insert a window"))?;
    Ok(())
}

pub(super) fn window_row(row: &StoredRow<'_>) -> Result<WindowRow, Error> {
    Ok(WindowRow {
        tenant: row.get("tenant")?,
        dataset: row.dataset()?,
        window: row.window_of("start_at", "end_at")?,
        job: row.get("job")?,
        due_at: row.instant("due_at")?,
        state: row.word("state", WindowState::from_stored)?,
        generation: row.count("generation")?,
        covered_at: row.instant("covered_at")?,
        parents: row.get("parents")?,
        coverage: row.optional_json("coverage")?,
    })
}
