//! Windows and schedules: what should exist by now.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Error, Ledger, commit, corrupt, dataset, instant, micros, sql};
use crate::dataset::Dataset;
use crate::window::Window;

/// How far a job's schedule has been looked at for one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleState {
    /// End of the newest window that the schedule ever inserted.
    pub watermark: Timestamp,
    /// Newest firing that was handled.
    pub last_firing: Timestamp,
}

/// Where a window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowState {
    /// Its current generation has no tasks yet.
    Due,
    /// Its tasks are known and not all of them ended.
    Planned,
    /// All its tasks ended well, and their partitions were published.
    Settled,
    /// All its tasks ended, some of them badly; what there is was published.
    Stuck,
    /// Left out by the job's policy for missed firings.
    Skipped,
    /// Feishu no longer has the data.
    Lost,
}

impl WindowState {
    /// The word in the ledger and in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Planned => "planned",
            Self::Settled => "settled",
            Self::Stuck => "stuck",
            Self::Skipped => "skipped",
            Self::Lost => "lost",
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        [
            Self::Due,
            Self::Planned,
            Self::Settled,
            Self::Stuck,
            Self::Skipped,
            Self::Lost,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| corrupt("window state", text))
    }
}

/// A window to be inserted if it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewWindow {
    /// The range.
    pub window: Window,
    /// Not exported before this instant.
    pub due_at: Timestamp,
    /// Due, skipped or lost.
    pub state: WindowState,
}

/// What a job's schedule, or a backfill, asks for at one time.
#[derive(Clone, Copy, Debug)]
pub struct WindowBatch<'a> {
    /// The job.
    pub job: &'a str,
    /// Whose data.
    pub tenant: &'a str,
    /// Which data.
    pub dataset: Dataset,
    /// Windows that should exist.
    pub new: &'a [NewWindow],
    /// Windows to be exported once more.
    pub again: &'a [Window],
    /// The firing that asks.
    pub firing: Timestamp,
    /// Where the schedule stands afterwards; `None` for a backfill.
    pub schedule: Option<ScheduleState>,
}

/// A window as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowRow {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// The range.
    pub window: Window,
    /// The job that asked for it.
    pub job: String,
    /// Not exported before this instant.
    pub due_at: Timestamp,
    /// Where it stands.
    pub state: WindowState,
    /// 1, and one more with each lookback.
    pub generation: u32,
    /// The firing that asked for this generation.
    pub covered_at: Timestamp,
    /// Digest of the parent rows from which its tasks were planned.
    pub parents: Option<String>,
    /// JSON of what the fan-out left out.
    pub coverage: Option<String>,
}

const COLUMNS: &str = "tenant, dataset, start_at, end_at, job, due_at, state, generation, covered_at, parents, coverage";

impl Ledger {
    /// How far the schedule of `job` has been looked at for `tenant`.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn schedule(&self, job: &str, tenant: &str) -> Result<Option<ScheduleState>, Error> {
        let row = sqlx::query(
            "SELECT watermark, last_firing FROM schedule WHERE job = $1 AND tenant = $2",
        )
        .bind(job)
        .bind(tenant)
        .fetch_optional(&self.read)
        .await
        .map_err(sql("read a schedule"))?;
        row.map(|row| {
            Ok(ScheduleState {
                watermark: instant(row.get(0))?,
                last_firing: instant(row.get(1))?,
            })
        })
        .transpose()
    }

    /// Inserts the windows that are not there yet, starts another generation of those that are asked for again, and moves the schedule, in one
    /// transaction. Inserting a window twice changes nothing, except that one that was skipped, or was called lost by a clock that was wrong,
    /// becomes due when it is asked for as due.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn insert_windows(&self, batch: &WindowBatch<'_>) -> Result<(), Error> {
        let WindowBatch {
            job,
            tenant,
            dataset: of,
            new: windows,
            again,
            firing,
            schedule,
        } = *batch;
        let mut transaction = self.begin().await?;
        for new in windows {
            sqlx::query(
                "INSERT INTO job_window (tenant, dataset, start_at, end_at, job, due_at, state, generation, covered_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8) \
                 ON CONFLICT (tenant, dataset, start_at, end_at) DO UPDATE SET state = excluded.state, job = excluded.job \
                 WHERE job_window.state IN ('skipped', 'lost') AND excluded.state = 'due'",
            )
            .bind(tenant)
            .bind(of.as_str())
            .bind(micros(new.window.start()))
            .bind(micros(new.window.end()))
            .bind(job)
            .bind(micros(new.due_at))
            .bind(new.state.as_str())
            .bind(micros(firing))
            .execute(&mut *transaction)
            .await
            .map_err(sql("insert a window"))?;
        }
        for window in again {
            sqlx::query(
                "UPDATE job_window SET state = 'due', generation = generation + 1, covered_at = $5 \
                 WHERE tenant = $1 AND dataset = $2 AND start_at = $3 AND end_at = $4",
            )
            .bind(tenant)
            .bind(of.as_str())
            .bind(micros(window.start()))
            .bind(micros(window.end()))
            .bind(micros(firing))
            .execute(&mut *transaction)
            .await
            .map_err(sql("start another generation"))?;
        }
        if let Some(schedule) = schedule {
            sqlx::query(
                "INSERT INTO schedule (job, tenant, watermark, last_firing) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (job, tenant) DO UPDATE SET watermark = excluded.watermark, last_firing = excluded.last_firing",
            )
            .bind(job)
            .bind(tenant)
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
    /// When the database refuses.
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
            "SELECT {COLUMNS} FROM job_window WHERE tenant = $1 AND dataset = $2 AND end_at > $3 AND start_at < $4 ORDER BY start_at, end_at"
        );
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(tenant)
            .bind(of.as_str())
            .bind(from)
            .bind(to)
            .fetch_all(&self.read)
            .await
            .map_err(sql("list windows"))?
            .iter()
            .map(window_row)
            .collect()
    }

    /// Gives up a window that Feishu no longer answers for, and says how it ended: lost if nothing of it is in the lake, settled if an earlier
    /// generation is. `None`, and nothing is changed, if tasks of the current generation have brought something.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn lose_window(
        &self,
        row: &WindowRow,
        now: Timestamp,
    ) -> Result<Option<WindowState>, Error> {
        const OF_WINDOW: &str =
            "t.tenant = $1 AND t.dataset = $2 AND t.job_start = $3 AND t.job_end = $4";
        let mut transaction = self.begin().await?;
        let mut count = async |statement: String| -> Result<i64, Error> {
            let counted = sqlx::query(sqlx::AssertSqlSafe(statement))
                .bind(row.tenant.as_str())
                .bind(row.dataset.as_str())
                .bind(micros(row.window.start()))
                .bind(micros(row.window.end()))
                .fetch_one(&mut *transaction)
                .await
                .map_err(sql("look at a window's tasks"))?;
            Ok(counted.get(0))
        };
        let brought = format!(
            "SELECT COUNT(*) FROM task t WHERE {OF_WINDOW} AND t.phase IN ('spooled', 'published')"
        );
        let inputs = format!(
            "SELECT COUNT(*) FROM input i JOIN task t ON t.key = i.task_key WHERE {OF_WINDOW}"
        );
        if count(brought).await? > 0 {
            return Ok(None);
        }
        let state = match count(inputs).await? {
            0 => WindowState::Lost,
            _ => WindowState::Settled,
        };
        sqlx::query(
            "UPDATE task SET phase = CASE WHEN EXISTS (SELECT 1 FROM input i WHERE i.task_key = task.key) THEN 'published' ELSE 'withdrawn' END, \
             updated_at = $5 WHERE tenant = $1 AND dataset = $2 AND job_start = $3 AND job_end = $4 AND phase <> 'withdrawn'",
        )
        .bind(row.tenant.as_str())
        .bind(row.dataset.as_str())
        .bind(micros(row.window.start()))
        .bind(micros(row.window.end()))
        .bind(micros(now))
        .execute(&mut *transaction)
        .await
        .map_err(sql("give up a window's tasks"))?;
        sqlx::query(
            "UPDATE job_window SET state = $5 WHERE tenant = $1 AND dataset = $2 AND start_at = $3 AND end_at = $4",
        )
        .bind(row.tenant.as_str())
        .bind(row.dataset.as_str())
        .bind(micros(row.window.start()))
        .bind(micros(row.window.end()))
        .bind(state.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(sql("give up a window"))?;
        commit(transaction).await?;
        Ok(Some(state))
    }

    /// Sets the state of a window.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn set_window_state(&self, row: &WindowRow, state: WindowState) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE job_window SET state = $1 \
             WHERE tenant = $2 AND dataset = $3 AND start_at = $4 AND end_at = $5 AND generation = $6",
        )
        .bind(state.as_str())
        .bind(row.tenant.as_str())
        .bind(row.dataset.as_str())
        .bind(micros(row.window.start()))
        .bind(micros(row.window.end()))
        .bind(i64::from(row.generation))
        .execute(&mut *transaction)
        .await
        .map_err(sql("set a window's state"))?;
        commit(transaction).await
    }
}

fn window_row(row: &AnyRow) -> Result<WindowRow, Error> {
    let (start, end) = (instant(row.get(2))?, instant(row.get(3))?);
    Ok(WindowRow {
        tenant: row.get(0),
        dataset: dataset(&row.get::<String, _>(1))?,
        window: Window::new(start, end)
            .ok_or_else(|| corrupt("window", format!("{start}..{end}")))?,
        job: row.get(4),
        due_at: instant(row.get(5))?,
        state: WindowState::parse(&row.get::<String, _>(6))?,
        generation: u32::try_from(row.get::<i64, _>(7)).unwrap_or(1),
        covered_at: instant(row.get(8))?,
        parents: row.get(9),
        coverage: row.get(10),
    })
}
