//! From windows to tasks, and tasks that begin anew.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::stored::{StoredRow, micros, to_json};
use super::{Error, Ledger, Transaction, bind_window, commit, sql};
use crate::datasets::Dataset;
use crate::record::{Coverage, OpenTask, WindowRow};
use crate::task::TaskKey;
use crate::task::machine::State;

/// Tasks in one statement: 7 values each, and SQLite takes 32,766.
const TASKS_IN_ONE: usize = 500;

impl Ledger {
    /// Records the tasks of a window's current generation and marks the window as planned, in one
    /// transaction.
    ///
    /// A task that is already there with the same generation is left alone. One with an older
    /// generation starts again. Tasks of the window that are not in `live` are withdrawn.
    /// `parents_digest` and `coverage` say from which parent rows the tasks were planned, and what
    /// was left out; without any, what another source said of the window before stays.
    ///
    /// # Errors
    /// When the database refuses, a stored value cannot be read, or another process has taken over.
    pub async fn plan_tasks(
        &self,
        window: &WindowRow,
        tasks: &[OpenTask],
        live: Option<&HashSet<TaskKey>>,
        parents_digest: Option<&str>,
        coverage: Option<&Coverage>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for some in tasks.chunks(TASKS_IN_ONE) {
            insert_tasks(&mut transaction, window, some, now, now).await?;
        }
        if let Some(live) = live {
            withdraw_missing(&mut transaction, window, live, now).await?;
        }
        let query = sqlx::query(
            "UPDATE job_window \
             SET state = 'planned', parents = $5, coverage = COALESCE($6, coverage) \
             WHERE tenant = $1 AND dataset = $2 AND start_at = $3 AND end_at = $4",
        );
        bind_window(query, &window.tenant, window.dataset, window.window)
            .bind(parents_digest)
            .bind(coverage.map(to_json))
            .execute(&mut *transaction)
            .await
            .map_err(sql("mark a window as planned"))?;
        commit(transaction).await
    }

    /// Records tasks of a window that is not planned yet, in one transaction: it stays due, and its
    /// own plan comes later. They run at `run_at`. `parents_digest` says which rows told of them;
    /// tasks that are not in `live` are withdrawn.
    ///
    /// # Errors
    /// When the database refuses, a stored value cannot be read, or another process has taken over.
    pub async fn plan_early(
        &self,
        window: &WindowRow,
        tasks: &[OpenTask],
        live: &HashSet<TaskKey>,
        parents_digest: &str,
        (now, run_at): (Timestamp, Timestamp),
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for some in tasks.chunks(TASKS_IN_ONE) {
            insert_tasks(&mut transaction, window, some, now, run_at).await?;
        }
        withdraw_missing(&mut transaction, window, live, now).await?;
        let query = sqlx::query(
            "UPDATE job_window SET parents = $5 \
             WHERE tenant = $1 AND dataset = $2 AND start_at = $3 AND end_at = $4",
        );
        bind_window(query, &window.tenant, window.dataset, window.window)
            .bind(parents_digest)
            .execute(&mut *transaction)
            .await
            .map_err(sql("record who told of a window's tasks"))?;
        commit(transaction).await
    }

    /// Gives failed tasks of a tenant another round of attempts, and says how many those are. What
    /// they already know of their export is kept.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn rearm_failed(
        &self,
        tenant: &str,
        of: Dataset,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query(
            "UPDATE task SET phase = 'open', attempts = 0, run_at = $1 \
             WHERE tenant = $2 AND dataset = $3 AND phase = 'failed'",
        )
        .bind(micros(now))
        .bind(tenant)
        .bind(of.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(sql("arm failed tasks again"))?;
        sqlx::query(
            "UPDATE job_window SET state = 'planned' \
             WHERE tenant = $1 AND dataset = $2 AND state IN ('settled', 'stuck') AND EXISTS \
             (SELECT 1 FROM task t WHERE t.tenant = job_window.tenant \
              AND t.dataset = job_window.dataset AND t.job_start = job_window.start_at \
              AND t.job_end = job_window.end_at AND t.phase = 'open')",
        )
        .bind(tenant)
        .bind(of.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(sql("open windows again"))?;
        commit(transaction).await?;
        Ok(done.rows_affected())
    }

    /// Opens quarantined tasks of a window again, each where the given state stands, and the window
    /// with them.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn reopen_quarantined(
        &self,
        window: &WindowRow,
        tasks: &[(TaskKey, State)],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for (key, machine) in tasks {
            sqlx::query(
                "UPDATE task SET phase = 'open', machine = $1, attempts = 0, run_at = $2, \
                 pack = NULL, result = NULL, error_kind = NULL, error = NULL, \
                 damaged_sha256 = NULL, damaged_times = NULL, updated_at = $2 \
                 WHERE key = $3 AND phase = 'quarantined'",
            )
            .bind(to_json(machine))
            .bind(micros(now))
            .bind(key.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(sql("open a quarantined task again"))?;
        }
        let query = sqlx::query(
            "UPDATE job_window SET state = 'planned' \
             WHERE tenant = $1 AND dataset = $2 AND start_at = $3 AND end_at = $4",
        );
        bind_window(query, &window.tenant, window.dataset, window.window)
            .execute(&mut *transaction)
            .await
            .map_err(sql("open a window again"))?;
        commit(transaction).await
    }

    /// Lets tasks begin anew whose results were lost on this machine. Their next export has other
    /// bytes, which are in no pack yet.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn export_again(&self, tasks: &[TaskKey], now: Timestamp) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for key in tasks {
            sqlx::query(
                "UPDATE task SET phase = 'open', machine = $1, run_at = $2, pack = NULL, \
                 updated_at = $2 WHERE key = $3",
            )
            .bind(to_json(&State::Planned))
            .bind(micros(now))
            .bind(key.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(sql("let a task begin anew"))?;
        }
        commit(transaction).await
    }
}

pub(super) async fn insert_tasks(
    transaction: &mut Transaction,
    window: &WindowRow,
    tasks: &[OpenTask],
    now: Timestamp,
    run_at: Timestamp,
) -> Result<(), Error> {
    // $1 to $7 are the same for all tasks, and each has 7 of its own.
    let values: Vec<String> = (0..tasks.len())
        .map(|index| {
            let own: Vec<String> = (8 + index * 7..15 + index * 7)
                .map(|number| format!("${number}"))
                .collect();
            format!(
                "($1, $2, $3, $4, $5, $6, $7, 'open', 0, 0, 0, {})",
                own.join(", ")
            )
        })
        .collect();
    let statement = format!(
        "INSERT INTO task (tenant, dataset, job_start, job_end, run_at, updated_at, machine, \
         phase, attempts, submits, polls, key, window_start, window_end, request, lineage, \
         priority, generation) VALUES {} \
         ON CONFLICT (key) DO UPDATE SET generation = excluded.generation, phase = 'open', \
         machine = excluded.machine, attempts = 0, run_at = excluded.run_at, rows_out = NULL, \
         dts = NULL, pack = NULL, result = NULL, error_kind = NULL, error = NULL, \
         damaged_sha256 = NULL, damaged_times = NULL, priority = excluded.priority, \
         lineage = excluded.lineage, job_start = excluded.job_start, job_end = excluded.job_end, \
         updated_at = excluded.updated_at \
         WHERE task.generation < excluded.generation OR task.phase = 'withdrawn'",
        values.join(", ")
    );
    let query = sqlx::query(AssertSqlSafe(statement));
    let mut query = bind_window(query, &window.tenant, window.dataset, window.window)
        .bind(micros(run_at))
        .bind(micros(now))
        .bind(to_json(&State::Planned));
    for task in tasks {
        query = query
            .bind(task.spec.key.as_str())
            .bind(micros(task.spec.window.start()))
            .bind(micros(task.spec.window.end()))
            .bind(to_json(&task.spec.request))
            .bind(to_json(&task.spec.lineage))
            .bind(task.priority)
            .bind(i64::from(task.generation));
    }
    query
        .execute(&mut **transaction)
        .await
        .map_err(sql("insert tasks"))?;
    Ok(())
}

pub(super) async fn withdraw_missing(
    transaction: &mut Transaction,
    window: &WindowRow,
    live: &HashSet<TaskKey>,
    now: Timestamp,
) -> Result<(), Error> {
    let query = sqlx::query(
        "SELECT key FROM task WHERE tenant = $1 AND dataset = $2 AND job_start = $3 \
         AND job_end = $4 AND phase <> 'withdrawn'",
    );
    let known = bind_window(query, &window.tenant, window.dataset, window.window)
        .fetch_all(&mut **transaction)
        .await
        .map_err(sql("list a window's tasks"))?;
    for row in &known {
        let key = StoredRow::task(row).task_key("key")?;
        if live.contains(&key) {
            continue;
        }
        sqlx::query("UPDATE task SET phase = 'withdrawn', updated_at = $1 WHERE key = $2")
            .bind(micros(now))
            .bind(key.as_str())
            .execute(&mut **transaction)
            .await
            .map_err(sql("withdraw a task"))?;
        // What the lake has of it, the lake has until something else takes its place.
        sqlx::query(
            "DELETE FROM parent WHERE task_key = $1 \
             AND NOT EXISTS (SELECT 1 FROM input WHERE task_key = $1)",
        )
        .bind(key.as_str())
        .execute(&mut **transaction)
        .await
        .map_err(sql("forget a withdrawn task's rows"))?;
    }
    Ok(())
}
