//! Tasks: which exist, and where each stands.

use jiff::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;

use super::stored::{StoredRow, micros};
use super::{Error, Ledger, Statement, bind_window, sql};
use crate::cause::{Cause, Failure};
use crate::datasets::Dataset;
use crate::findings::Findings;
use crate::record::{Damage, LastTry, PackId, Phase, PhaseCounts, TaskRow};
use crate::task::machine::State;
use crate::task::{TaskKey, TaskSpec};
use crate::window::Window;

/// What the spool still has to hold of a task that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolContent {
    /// Whose data.
    pub tenant: String,
    /// Which task.
    pub key: TaskKey,
    /// Its rows are of this generation.
    pub generation: u32,
    /// SHA-256 of its bytes, once fetched.
    pub original: Option<String>,
    /// SHA-256 of what its rows were compared with.
    pub witness: Option<String>,
}

/// A task that is neither published nor withdrawn, and what it refers to in the lake.
#[derive(Clone, Debug)]
pub struct Unpublished {
    /// Its key.
    pub key: TaskKey,
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// What became of it.
    pub phase: Phase,
    /// SHA-256 of its workbook, once fetched.
    pub sha256: Option<String>,
    /// Pack that holds its original.
    pub pack: Option<PackId>,
}

const COLUMNS: &str = "key, tenant, job_start, job_end, window_start, window_end, request, \
     lineage, generation, phase, machine, attempts, rows_out, dts, pack, result, \
     error_kind, error, damaged_sha256, damaged_times, run_at, updated_at";

impl Ledger {
    /// Open tasks of a tenant that may run at `now` and whose priority is `from` or larger, the
    /// smallest first, `limit` of them at most.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn runnable(
        &self,
        tenant: &str,
        now: Timestamp,
        from: i64,
        limit: u32,
    ) -> Result<Vec<TaskRow>, Error> {
        let statement = format!(
            "SELECT {COLUMNS} FROM task WHERE tenant = $1 AND phase = 'open' AND run_at <= $2 \
             AND priority >= $3 ORDER BY priority, run_at, key LIMIT $4"
        );
        let query = sqlx::query(AssertSqlSafe(statement))
            .bind(tenant)
            .bind(micros(now))
            .bind(from)
            .bind(i64::from(limit));
        self.tasks(query).await
    }

    /// When the next open task of a tenant may run, other than those of `blocked` datasets.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn next_run_at(
        &self,
        tenant: &str,
        blocked: &[Dataset],
    ) -> Result<Option<Timestamp>, Error> {
        let rows = sqlx::query(
            "SELECT dataset, MIN(run_at) AS run_at FROM task \
             WHERE tenant = $1 AND phase = 'open' GROUP BY dataset",
        )
        .bind(tenant)
        .fetch_all(&self.read)
        .await
        .map_err(sql("find the next task"))?;
        let mut next: Option<Timestamp> = None;
        for row in rows.iter().map(StoredRow::task) {
            if !blocked.contains(&row.dataset()?) {
                let run_at = row.instant("run_at")?;
                next = Some(next.map_or(run_at, |earlier| earlier.min(run_at)));
            }
        }
        Ok(next)
    }

    /// Tasks of a tenant whose rows wait in the spool, of one dataset or of all, by key.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn spooled(&self, tenant: &str, of: Option<Dataset>) -> Result<Vec<TaskRow>, Error> {
        let statement = format!(
            "SELECT {COLUMNS} FROM task WHERE tenant = $1 AND phase = 'spooled' \
             AND ($2 = '' OR dataset = $2) ORDER BY key"
        );
        let query = sqlx::query(AssertSqlSafe(statement))
            .bind(tenant)
            .bind(of.map_or("", Dataset::as_str));
        self.tasks(query).await
    }

    /// What the spool still has to hold.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn spool_contents(&self) -> Result<Vec<SpoolContent>, Error> {
        sqlx::query(
            "SELECT key, tenant, generation, machine, result FROM task \
             WHERE phase IN ('open', 'spooled')",
        )
        .fetch_all(&self.read)
        .await
        .map_err(sql("list what is in the spool"))?
        .iter()
        .map(StoredRow::task)
        .map(|row| {
            Ok(SpoolContent {
                tenant: row.get("tenant")?,
                key: row.task_key("key")?,
                generation: row.count("generation")?,
                original: sha256(&row)?,
                witness: row
                    .optional_json::<Findings>("result")?
                    .and_then(|findings| findings.witness),
            })
        })
        .collect()
    }

    /// What tasks that are neither published nor withdrawn still refer to in the lake: a pack, or
    /// a workbook in quarantine.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn unpublished(&self) -> Result<Vec<Unpublished>, Error> {
        sqlx::query(
            "SELECT key, tenant, dataset, phase, machine, pack FROM task \
             WHERE phase NOT IN ('published', 'withdrawn') ORDER BY key",
        )
        .fetch_all(&self.read)
        .await
        .map_err(sql("list unpublished tasks"))?
        .iter()
        .map(StoredRow::task)
        .map(|row| {
            Ok(Unpublished {
                key: row.task_key("key")?,
                tenant: row.get("tenant")?,
                dataset: row.dataset()?,
                phase: row.word("phase", Phase::from_stored)?,
                sha256: sha256(&row)?,
                pack: row.optional_word("pack", |text| text.parse().ok())?,
            })
        })
        .collect()
    }

    /// All tasks of a window, by key.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn tasks_of(
        &self,
        tenant: &str,
        of: Dataset,
        window: Window,
    ) -> Result<Vec<TaskRow>, Error> {
        let statement = format!(
            "SELECT {COLUMNS} FROM task \
             WHERE tenant = $1 AND dataset = $2 AND job_start = $3 AND job_end = $4 ORDER BY key"
        );
        let query = sqlx::query(AssertSqlSafe(statement));
        self.tasks(bind_window(query, tenant, of, window)).await
    }

    /// How many tasks of a window are in which phase.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn phases_of(
        &self,
        tenant: &str,
        of: Dataset,
        window: Window,
    ) -> Result<PhaseCounts, Error> {
        let query = sqlx::query(
            "SELECT phase, COUNT(*) AS tasks FROM task \
             WHERE tenant = $1 AND dataset = $2 AND job_start = $3 AND job_end = $4 \
             GROUP BY phase ORDER BY phase",
        );
        self.phase_counts(bind_window(query, tenant, of, window))
            .await
    }

    /// Counts of a query that gives `phase` and `tasks`.
    pub(super) async fn phase_counts(&self, query: Statement<'_>) -> Result<PhaseCounts, Error> {
        let rows = query.fetch_all(&self.read).await;
        phases_in(&rows.map_err(sql("count tasks"))?)
    }

    /// Whether a window has tasks that are still to be exported. It is asked after every task, so
    /// it looks at one index entry.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn has_open(&self, tenant: &str, of: Dataset, window: Window) -> Result<bool, Error> {
        let query = sqlx::query(
            "SELECT key FROM task WHERE tenant = $1 AND dataset = $2 AND job_start = $3 \
             AND job_end = $4 AND phase = 'open' LIMIT 1",
        );
        let open = bind_window(query, tenant, of, window)
            .fetch_optional(&self.read)
            .await
            .map_err(sql("look for open tasks"))?;
        Ok(open.is_some())
    }

    async fn tasks(&self, query: Statement<'_>) -> Result<Vec<TaskRow>, Error> {
        query
            .fetch_all(&self.read)
            .await
            .map_err(sql("list tasks"))?
            .iter()
            .map(|row| task_row(&StoredRow::task(row)))
            .collect()
    }
}

fn task_row(row: &StoredRow<'_>) -> Result<TaskRow, Error> {
    Ok(TaskRow {
        spec: TaskSpec {
            key: row.task_key("key")?,
            tenant: row.get("tenant")?,
            window: row.window_of("window_start", "window_end")?,
            request: row.json("request")?,
            lineage: row.json("lineage")?,
        },
        job_window: row.window_of("job_start", "job_end")?,
        generation: row.count("generation")?,
        phase: row.word("phase", Phase::from_stored)?,
        machine: row.json("machine")?,
        attempts: row.count("attempts")?,
        rows: row.optional_count("rows_out")?,
        dts: row.optional_json("dts")?.unwrap_or_default(),
        pack: row.optional_word("pack", |text| text.parse().ok())?,
        findings: row.optional_json("result")?,
        damage: damage(row)?,
        failure: failure(row)?,
        last_try: last_try(row)?,
    })
}

/// When a task was last tried, and when it is again. One that failed gets new attempts at the next
/// firing; what is in quarantine stays there.
pub(super) fn last_try(row: &StoredRow<'_>) -> Result<LastTry, Error> {
    let phase = row.word("phase", Phase::from_stored)?;
    let run_at = row.instant("run_at")?;
    Ok(LastTry {
        at: row.instant("updated_at")?,
        next: matches!(phase, Phase::Open | Phase::Failed).then_some(run_at),
    })
}

/// The failure in `error_kind` and `error`, which are both there or both NULL.
pub(super) fn failure(row: &StoredRow<'_>) -> Result<Option<Failure>, Error> {
    let kind: Option<String> = row.get("error_kind")?;
    let message: Option<String> = row.get("error")?;
    match (kind, message) {
        (Some(kind), Some(message)) => Ok(Some(Failure::new(Cause::from_stored(&kind), message))),
        (None, None) => Ok(None),
        (Some(kind), None) => Err(row.corrupt("error", &format!("nothing beside {kind}"))),
        (None, Some(message)) => {
            Err(row.corrupt("error_kind", &format!("nothing beside {message}")))
        }
    }
}

/// The damage in `damaged_sha256` and `damaged_times`, which are both there or both NULL.
fn damage(row: &StoredRow<'_>) -> Result<Option<Damage>, Error> {
    let sha256: Option<String> = row.get("damaged_sha256")?;
    let times: Option<u32> = row.optional_count("damaged_times")?;
    match (sha256, times) {
        (Some(sha256), Some(times)) => Ok(Some(Damage { sha256, times })),
        (None, None) => Ok(None),
        (Some(sha256), None) => {
            Err(row.corrupt("damaged_times", &format!("nothing beside {sha256}")))
        }
        (None, Some(times)) => {
            Err(row.corrupt("damaged_sha256", &format!("nothing beside {times}")))
        }
    }
}

fn sha256(row: &StoredRow<'_>) -> Result<Option<String>, Error> {
    let machine: State = row.json("machine")?;
    Ok(machine.sha256().map(str::to_owned))
}

/// Rows of `phase` and `tasks`.
pub(super) fn phases_in(rows: &[AnyRow]) -> Result<PhaseCounts, Error> {
    let rows = rows.iter().map(StoredRow::task);
    rows.map(|row| Ok((row.word("phase", Phase::from_stored)?, row.count("tasks")?)))
        .collect()
}
