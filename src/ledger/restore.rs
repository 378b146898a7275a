//! An empty ledger takes over published state: everything in one transaction, so that a rebuild
//! that dies leaves the ledger empty.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::Row as _;

use super::parents::{insert_parents, keep_reported_day};
use super::partitions::{insert_inputs, insert_partition};
use super::stored::{integer, micros, to_json};
use super::{Error, Ledger, Transaction, bind_window, commit, sql};
use crate::cause::Failure;
use crate::datasets::{Dataset, Parent};
use crate::findings::Findings;
use crate::record::{PackId, Phase, PublishedPartition, ReportedDay, ScheduleState, WindowRow};
use crate::task::TaskSpec;
use crate::task::machine::State;
use crate::window::Window;

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
    /// The partitions its rows fall into.
    pub dts: BTreeSet<Date>,
    /// Pack that holds its original.
    pub pack: Option<PackId>,
    /// What normalising found, once it did.
    pub findings: Option<Findings>,
    /// The last failure of this generation.
    pub failure: Option<Failure>,
    /// When it was last heard of.
    pub updated_at: Timestamp,
    /// What its children need of its rows.
    pub parents: Vec<Parent>,
    /// What it says of single days, if it is a daily report.
    pub reported: Vec<ReportedDay>,
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
            "SELECT (SELECT COUNT(*) FROM schedule) + (SELECT COUNT(*) FROM job_window) \
             + (SELECT COUNT(*) FROM task) + (SELECT COUNT(*) FROM partition) \
             + (SELECT COUNT(*) FROM input)",
        )
        .fetch_one(&self.read)
        .await
        .map_err(sql("count what it holds"))?;
        Ok(row.get::<i64, _>(0) == 0)
    }

    /// Records published state in an empty ledger, all of it or nothing. Where two tasks report the
    /// same day, the later one in the list stays.
    ///
    /// # Errors
    /// When the database refuses, the ledger is not empty, or another process has taken over.
    pub async fn restore(&self, restored: &Restored) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for schedule in &restored.schedules {
            sqlx::query(
                "INSERT INTO schedule (job, tenant, watermark, last_firing) \
                 VALUES ($1, $2, $3, $4)",
            )
            .bind(&schedule.job)
            .bind(&schedule.tenant)
            .bind(micros(schedule.state.watermark))
            .bind(micros(schedule.state.last_firing))
            .execute(&mut *transaction)
            .await
            .map_err(sql("restore a schedule"))?;
        }
        for window in &restored.windows {
            restore_window(&mut transaction, window).await?;
        }
        for task in &restored.tasks {
            restore_task(&mut transaction, task).await?;
        }
        for row in &restored.partitions {
            restore_partition(&mut transaction, row).await?;
        }
        commit(transaction).await
    }
}

async fn restore_window(transaction: &mut Transaction, row: &WindowRow) -> Result<(), Error> {
    let query = sqlx::query(
        "INSERT INTO job_window (tenant, dataset, start_at, end_at, job, due_at, state, \
         generation, covered_at, parents, coverage) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    );
    bind_window(query, &row.tenant, row.dataset, row.window)
        .bind(&row.job)
        .bind(micros(row.due_at))
        .bind(row.state.as_str())
        .bind(i64::from(row.generation))
        .bind(micros(row.covered_at))
        .bind(row.parents.as_deref())
        .bind(row.coverage.as_ref().map(to_json))
        .execute(&mut **transaction)
        .await
        .map_err(sql("restore a window"))?;
    Ok(())
}

async fn restore_task(transaction: &mut Transaction, task: &RestoredTask) -> Result<(), Error> {
    let spec = &task.spec;
    let failure = task.failure.as_ref();
    let query = sqlx::query(
        "INSERT INTO task (tenant, dataset, job_start, job_end, key, window_start, window_end, \
         request, lineage, priority, generation, phase, machine, attempts, submits, polls, run_at, \
         updated_at, rows_out, dts, pack, result, error_kind, error) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, 0, 0, $14, $14, $15, \
         $16, $17, $18, $19, $20)",
    );
    bind_window(query, &spec.tenant, spec.dataset(), task.job_window)
        .bind(spec.key.as_str())
        .bind(micros(spec.window.start()))
        .bind(micros(spec.window.end()))
        .bind(to_json(&spec.request))
        .bind(to_json(&spec.lineage))
        .bind(task.priority)
        .bind(i64::from(task.generation))
        .bind(task.phase.as_str())
        .bind(to_json(&task.machine))
        .bind(micros(task.updated_at))
        .bind(task.rows.map(integer))
        .bind(to_json(&task.dts))
        .bind(task.pack.as_ref().map(ToString::to_string))
        .bind(task.findings.as_ref().map(to_json))
        .bind(failure.map(|failure| failure.cause.as_str()))
        .bind(failure.map(|failure| failure.message.as_str()))
        .execute(&mut **transaction)
        .await
        .map_err(sql("restore a task"))?;
    let (key, tenant) = (&spec.key, &spec.tenant);
    let parents = task.parents.iter().cloned();
    insert_parents(transaction, key, tenant, spec.dataset(), parents).await?;
    for day in &task.reported {
        keep_reported_day(transaction, &spec.tenant, day).await?;
    }
    Ok(())
}

async fn restore_partition(
    transaction: &mut Transaction,
    row: &RestoredPartition,
) -> Result<(), Error> {
    let (tenant, of, dt, done) = (&row.tenant, row.dataset, row.dt, &row.published);
    insert_partition(transaction, tenant, of, dt, done, row.published_at, "").await?;
    insert_inputs(transaction, tenant, of, dt, &done.inputs).await
}
