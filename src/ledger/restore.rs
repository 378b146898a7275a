//! An empty ledger takes over published state: everything in one transaction, so that a rebuild that dies leaves the ledger empty.

use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::{Any, Row, Transaction};

use super::partitions::insert_inputs;
use super::writer::insert_parent;
use super::{Error, Ledger, commit, micros, sql, to_json};
use crate::dataset::Dataset;
use crate::task::TaskSpec;
use crate::task::machine::State;
use crate::window::Window;

use super::partitions::PublishedPartition;
use super::tasks::{Parent, Phase};
use super::windows::{ScheduleState, WindowRow};

/// Everything that a rebuild found.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Where each schedule stands.
    pub schedules: Vec<RestoredSchedule>,
    /// Windows of all datasets.
    pub windows: Vec<WindowRow>,
    /// Their tasks.
    pub tasks: Vec<RestoredTask>,
    /// What is published.
    pub partitions: Vec<RestoredPartition>,
}

/// How far a job's schedule came for one tenant.
#[derive(Clone, Debug)]
pub struct RestoredSchedule {
    /// The job.
    pub job: String,
    /// Whose data.
    pub tenant: String,
    /// Where it stands.
    pub state: ScheduleState,
}

/// A task as it stood when its partition was published.
#[derive(Clone, Debug)]
pub struct RestoredTask {
    /// What was asked for.
    pub spec: TaskSpec,
    /// The job's window it was planned for.
    pub job_window: Window,
    /// Smaller first.
    pub priority: i64,
    /// Which of its generations.
    pub generation: u32,
    /// What became of it.
    pub phase: Phase,
    /// Where the export stands.
    pub machine: State,
    /// Rows of this generation.
    pub rows: Option<u64>,
    /// JSON list of the partitions its rows fall into.
    pub dts: Option<String>,
    /// Pack that holds its original.
    pub pack: Option<String>,
    /// JSON of what normalising found.
    pub result: Option<String>,
    /// Kind and text of the last error.
    pub error: Option<(String, String)>,
    /// When it was last heard of.
    pub updated_at: Timestamp,
    /// What its children need of its rows.
    pub parents: Vec<Parent>,
}

/// A partition as its newest manifest describes it.
#[derive(Clone, Debug)]
pub struct RestoredPartition {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// The civil date.
    pub dt: Date,
    /// What is published.
    pub published: PublishedPartition,
    /// When.
    pub published_at: Timestamp,
}

impl Ledger {
    /// Whether nothing is recorded yet: no window, no task, no partition, no schedule.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn is_blank(&self) -> Result<bool, Error> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM schedule) + (SELECT COUNT(*) FROM job_window) + (SELECT COUNT(*) FROM task) \
             + (SELECT COUNT(*) FROM partition) + (SELECT COUNT(*) FROM input)",
        )
        .fetch_one(&self.read)
        .await
        .map_err(sql("count what it holds"))?;
        Ok(row.get::<i64, _>(0) == 0)
    }

    /// Records published state in an empty ledger, all of it or nothing.
    ///
    /// # Errors
    /// When the database refuses, the ledger is not empty, or another process has taken over.
    pub async fn restore(&self, restored: &Restored) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for schedule in &restored.schedules {
            sqlx::query("INSERT INTO schedule (job, tenant, watermark, last_firing) VALUES ($1, $2, $3, $4)")
                .bind(schedule.job.as_str())
                .bind(schedule.tenant.as_str())
                .bind(micros(schedule.state.watermark))
                .bind(micros(schedule.state.last_firing))
                .execute(&mut *transaction)
                .await
                .map_err(sql("restore a schedule"))?;
        }
        for window in &restored.windows {
            insert_window(&mut transaction, window).await?;
        }
        for task in &restored.tasks {
            insert_task(&mut transaction, task).await?;
            for parent in &task.parents {
                let spec = &task.spec;
                insert_parent(
                    &mut transaction,
                    &spec.key,
                    &spec.tenant,
                    spec.dataset(),
                    parent,
                )
                .await?;
            }
        }
        for partition in &restored.partitions {
            insert_partition(&mut transaction, partition).await?;
        }
        commit(transaction).await
    }
}

async fn insert_window(
    transaction: &mut Transaction<'static, Any>,
    row: &WindowRow,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO job_window (tenant, dataset, start_at, end_at, job, due_at, state, generation, covered_at, parents, coverage) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(row.tenant.as_str())
    .bind(row.dataset.as_str())
    .bind(micros(row.window.start()))
    .bind(micros(row.window.end()))
    .bind(row.job.as_str())
    .bind(micros(row.due_at))
    .bind(row.state.as_str())
    .bind(i64::from(row.generation))
    .bind(micros(row.covered_at))
    .bind(row.parents.as_deref())
    .bind(row.coverage.as_deref())
    .execute(&mut **transaction)
    .await
    .map_err(sql("restore a window"))?;
    Ok(())
}

async fn insert_task(
    transaction: &mut Transaction<'static, Any>,
    task: &RestoredTask,
) -> Result<(), Error> {
    let (kind, error) = task.error.clone().unzip();
    sqlx::query(
        "INSERT INTO task (key, tenant, dataset, job_start, job_end, window_start, window_end, request, lineage, priority, generation, \
         phase, machine, attempts, submits, polls, run_at, rows_out, dts, pack, result, error_kind, error, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, 0, 0, $14, $15, $16, $17, $18, $19, $20, $14)",
    )
    .bind(task.spec.key.as_str().to_owned())
    .bind(task.spec.tenant.as_str())
    .bind(task.spec.dataset().as_str())
    .bind(micros(task.job_window.start()))
    .bind(micros(task.job_window.end()))
    .bind(micros(task.spec.window.start()))
    .bind(micros(task.spec.window.end()))
    .bind(to_json(&task.spec.request))
    .bind(to_json(&task.spec.lineage))
    .bind(task.priority)
    .bind(i64::from(task.generation))
    .bind(task.phase.as_str())
    .bind(to_json(&task.machine))
    .bind(micros(task.updated_at))
    .bind(task.rows.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX)))
    .bind(task.dts.as_deref())
    .bind(task.pack.as_deref())
    .bind(task.result.as_deref())
    .bind(kind)
    .bind(error)
    .execute(&mut **transaction)
    .await
    .map_err(sql("restore a task"))?;
    Ok(())
}

async fn insert_partition(
    transaction: &mut Transaction<'static, Any>,
    row: &RestoredPartition,
) -> Result<(), Error> {
    let done = &row.published;
    sqlx::query(
        "INSERT INTO partition (tenant, dataset, dt, revision, state, content_hash, manifest_sha256, rows_out, size_bytes, published_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(row.tenant.as_str())
    .bind(row.dataset.as_str())
    .bind(row.dt.to_string())
    .bind(i64::try_from(done.revision).unwrap_or(i64::MAX))
    .bind(if done.complete { "complete" } else { "partial" })
    .bind(done.content_hash.as_str())
    .bind(done.manifest_sha256.as_str())
    .bind(i64::try_from(done.rows).unwrap_or(i64::MAX))
    .bind(i64::try_from(done.size_bytes).unwrap_or(i64::MAX))
    .bind(micros(row.published_at))
    .execute(&mut **transaction)
    .await
    .map_err(sql("restore a partition"))?;
    insert_inputs(transaction, &row.tenant, row.dataset, row.dt, &done.inputs).await
}
