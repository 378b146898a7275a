//! Tasks: which exist, where each stands, and what parents know of their children.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::writer::Op;
use super::{Error, Ledger, commit, corrupt, from_json, instant, micros, sql, to_json};
use crate::dataset::Dataset;
use crate::task::machine::State;
use crate::task::{Lineage, Request, TaskKey, TaskSpec};
use crate::window::Window;

use super::windows::WindowRow;

/// What became of a task's current generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Still to be exported.
    Open,
    /// Its rows wait in the spool.
    Spooled,
    /// Its rows are in the lake.
    Published,
    /// Its workbook broke the contract.
    Quarantined,
    /// Its attempts are used up.
    Failed,
    /// Its parent row is gone.
    Withdrawn,
}

impl Phase {
    /// The word in the ledger and in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Spooled => "spooled",
            Self::Published => "published",
            Self::Quarantined => "quarantined",
            Self::Failed => "failed",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        [
            Self::Open,
            Self::Spooled,
            Self::Published,
            Self::Quarantined,
            Self::Failed,
            Self::Withdrawn,
        ]
        .into_iter()
        .find(|phase| phase.as_str() == text)
        .ok_or_else(|| corrupt("task phase", text))
    }
}

/// A task to be planned.
#[derive(Clone, Debug)]
pub struct OpenTask {
    /// What to export.
    pub spec: TaskSpec,
    /// Smaller runs first.
    pub priority: i64,
    /// The generation it should have; a task that already has it is left as it is.
    pub generation: u32,
}

/// A task as recorded.
#[derive(Clone, Debug)]
pub struct TaskRow {
    /// What to export.
    pub spec: TaskSpec,
    /// The job's window it was planned for.
    pub job_window: Window,
    /// Counts the exports that were asked for, from 1.
    pub generation: u32,
    /// What became of it.
    pub phase: Phase,
    /// Where the export stands.
    pub machine: State,
    /// Attempts given up in this generation.
    pub attempts: u32,
    /// Submits sent in all generations.
    pub submits: u32,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// Rows of this generation, once known.
    pub rows: Option<u64>,
    /// JSON list of the partitions its rows fall into.
    pub dts: Option<String>,
    /// Pack that holds its original.
    pub pack: Option<String>,
    /// JSON of what normalising found.
    pub result: Option<String>,
    /// Kind of the last error.
    pub error_kind: Option<String>,
    /// The last error.
    pub error: Option<String>,
}

/// What a task leaves when its rows are in the spool.
#[derive(Clone, Debug)]
pub struct SpooledResult {
    /// Rows of all partitions.
    pub rows: u64,
    /// JSON list of the partitions its rows fall into.
    pub dts: String,
    /// JSON of what normalising found.
    pub result: String,
    /// What children need of its rows.
    pub parents: Vec<Parent>,
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
    pub pack: Option<String>,
}

/// What a child needs of a parent's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Row in its workbook.
    pub source_row: i64,
    /// The meeting's 9-digit number.
    pub meeting_no: String,
    /// The meeting's start.
    pub start: Timestamp,
    /// The meeting's end; none while it lasts.
    pub end: Option<Timestamp>,
    /// Participants, as the meeting's row counts them.
    pub participant_count: Option<i64>,
    /// When the participant joined.
    pub join_time: Option<Timestamp>,
    /// How long the participant stayed, seconds.
    pub stay_s: Option<i64>,
    /// The participant's user id.
    pub user_id: Option<String>,
    /// The participating room.
    pub room_id: Option<String>,
}

const COLUMNS: &str = "key, tenant, job_start, job_end, window_start, window_end, request, lineage, generation, phase, machine, attempts, \
     submits, run_at, rows_out, dts, pack, result, error_kind, error";

impl Ledger {
    /// Records the tasks of a window's current generation and marks the window as planned, in one transaction.
    ///
    /// A task that is already there with the same generation is left alone; one with an older generation starts again. Tasks of the window
    /// that are not in `live` are withdrawn.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn plan_tasks(
        &self,
        window: &WindowRow,
        tasks: &[OpenTask],
        live: Option<&HashSet<TaskKey>>,
        parents: Option<&str>,
        coverage: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for chunk in tasks.chunks(500) {
            insert_tasks(&mut transaction, window, chunk, now).await?;
        }
        if let Some(live) = live {
            withdraw_missing(&mut transaction, window, live, now).await?;
        }
        sqlx::query(
            "UPDATE job_window SET state = 'planned', parents = $1, coverage = $2 \
             WHERE tenant = $3 AND dataset = $4 AND start_at = $5 AND end_at = $6",
        )
        .bind(parents)
        .bind(coverage)
        .bind(window.tenant.as_str())
        .bind(window.dataset.as_str())
        .bind(micros(window.window.start()))
        .bind(micros(window.window.end()))
        .execute(&mut *transaction)
        .await
        .map_err(sql("mark a window as planned"))?;
        commit(transaction).await
    }

    /// Gives failed tasks of a tenant another round of attempts; what they already know of their export is kept.
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
            "UPDATE task SET phase = 'open', attempts = 0, run_at = $1 WHERE tenant = $2 AND dataset = $3 AND phase = 'failed'",
        )
        .bind(micros(now))
        .bind(tenant)
        .bind(of.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(sql("arm failed tasks again"))?;
        sqlx::query(
            "UPDATE job_window SET state = 'planned' WHERE tenant = $1 AND dataset = $2 AND state IN ('settled', 'stuck') AND EXISTS \
             (SELECT 1 FROM task t WHERE t.tenant = job_window.tenant AND t.dataset = job_window.dataset \
              AND t.job_start = job_window.start_at AND t.job_end = job_window.end_at AND t.phase = 'open')",
        )
        .bind(tenant)
        .bind(of.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(sql("open windows again"))?;
        commit(transaction).await?;
        Ok(done.rows_affected())
    }

    /// Open tasks of a tenant that may run at `now`, most urgent first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn runnable(
        &self,
        tenant: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<TaskRow>, Error> {
        let statement = format!(
            "SELECT {COLUMNS} FROM task WHERE tenant = $1 AND phase = 'open' AND run_at <= $2 ORDER BY priority, run_at, key LIMIT $3"
        );
        self.tasks(
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .bind(tenant)
                .bind(micros(now))
                .bind(i64::from(limit)),
        )
        .await
    }

    /// When the next open task of a tenant may run, other than those of `blocked` datasets.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn next_run_at(
        &self,
        tenant: &str,
        blocked: &[Dataset],
    ) -> Result<Option<Timestamp>, Error> {
        let rows = sqlx::query("SELECT dataset, MIN(run_at) FROM task WHERE tenant = $1 AND phase = 'open' GROUP BY dataset")
            .bind(tenant)
            .fetch_all(&self.read)
            .await
            .map_err(sql("find the next task"))?;
        let next = rows
            .iter()
            .filter(|row| {
                !blocked
                    .iter()
                    .any(|dataset| dataset.as_str() == row.get::<String, _>(0))
            })
            .map(|row| row.get::<i64, _>(1))
            .min();
        next.map(instant).transpose()
    }

    /// Tasks of a tenant whose rows wait in the spool.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn spooled(&self, tenant: &str, of: Option<Dataset>) -> Result<Vec<TaskRow>, Error> {
        let statement = format!(
            "SELECT {COLUMNS} FROM task WHERE tenant = $1 AND phase = 'spooled' AND ($2 = '' OR dataset = $2) ORDER BY key"
        );
        self.tasks(
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .bind(tenant)
                .bind(of.map_or("", Dataset::as_str)),
        )
        .await
    }

    /// What the spool still has to hold: of every task that is not over, its key, its generation and the hash of its bytes.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn spool_contents(&self) -> Result<Vec<(TaskKey, u32, Option<String>)>, Error> {
        sqlx::query("SELECT key, generation, machine FROM task WHERE phase IN ('open', 'spooled')")
            .fetch_all(&self.read)
            .await
            .map_err(sql("list what is in the spool"))?
            .iter()
            .map(|row| {
                let machine: State = from_json("export state", &row.get::<String, _>(2))?;
                let sha256 = match machine {
                    State::Fetched { sha256, .. } => Some(sha256),
                    _ => None,
                };
                Ok((
                    TaskKey::from_stored(row.get::<String, _>(0)),
                    u32::try_from(row.get::<i64, _>(1)).unwrap_or(1),
                    sha256,
                ))
            })
            .collect()
    }

    /// What tasks that are neither published nor withdrawn still refer to in the lake: a pack, or a workbook in quarantine.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn unpublished(&self) -> Result<Vec<Unpublished>, Error> {
        sqlx::query(
            "SELECT key, tenant, dataset, phase, machine, pack FROM task WHERE phase NOT IN ('published', 'withdrawn') ORDER BY key",
        )
        .fetch_all(&self.read)
        .await
        .map_err(sql("list unpublished tasks"))?
        .iter()
        .map(|row| {
            let machine: State = from_json("export state", &row.get::<String, _>(4))?;
            Ok(Unpublished {
                key: TaskKey::from_stored(row.get::<String, _>(0)),
                tenant: row.get(1),
                dataset: super::dataset(&row.get::<String, _>(2))?,
                phase: Phase::parse(&row.get::<String, _>(3))?,
                sha256: match machine {
                    State::Fetched { sha256, .. } => Some(sha256),
                    _ => None,
                },
                pack: row.get(5),
            })
        })
        .collect()
    }

    /// All tasks of a window.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn tasks_of(
        &self,
        tenant: &str,
        of: Dataset,
        window: Window,
    ) -> Result<Vec<TaskRow>, Error> {
        let statement = format!(
            "SELECT {COLUMNS} FROM task WHERE tenant = $1 AND dataset = $2 AND job_start = $3 AND job_end = $4 ORDER BY key"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(tenant)
            .bind(of.as_str())
            .bind(micros(window.start()))
            .bind(micros(window.end()));
        self.tasks(query).await
    }

    /// How many tasks of a window are in which phase.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn phases_of(
        &self,
        tenant: &str,
        of: Dataset,
        window: Window,
    ) -> Result<Vec<(Phase, u64)>, Error> {
        sqlx::query(
            "SELECT phase, COUNT(*) FROM task WHERE tenant = $1 AND dataset = $2 AND job_start = $3 AND job_end = $4 GROUP BY phase",
        )
        .bind(tenant)
        .bind(of.as_str())
        .bind(micros(window.start()))
        .bind(micros(window.end()))
        .fetch_all(&self.read)
        .await
        .map_err(sql("count tasks"))?
        .iter()
        .map(|row| Ok((Phase::parse(&row.get::<String, _>(0))?, u64::try_from(row.get::<i64, _>(1)).unwrap_or(0))))
        .collect()
    }

    /// Whether a window has tasks that are still to be exported; asked after every task, so it looks at one index entry.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn has_open(&self, tenant: &str, of: Dataset, window: Window) -> Result<bool, Error> {
        let row = sqlx::query(
            "SELECT key FROM task WHERE tenant = $1 AND dataset = $2 AND job_start = $3 AND job_end = $4 AND phase = 'open' LIMIT 1",
        )
        .bind(tenant)
        .bind(of.as_str())
        .bind(micros(window.start()))
        .bind(micros(window.end()))
        .fetch_optional(&self.read)
        .await
        .map_err(sql("look for open tasks"))?;
        Ok(row.is_some())
    }

    async fn tasks(
        &self,
        query: sqlx::query::Query<'_, Any, <Any as sqlx::Database>::Arguments>,
    ) -> Result<Vec<TaskRow>, Error> {
        query
            .fetch_all(&self.read)
            .await
            .map_err(sql("list tasks"))?
            .iter()
            .map(task_row)
            .collect()
    }

    /// Records where an export stands, before the next effect is performed.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn advance(
        &self,
        task: &TaskRow,
        machine: &State,
        submitted: bool,
        polled: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.step(Op::Advance {
            key: task.spec.key.clone(),
            machine: to_json(machine),
            submitted,
            polled,
            now,
        })
        .await
    }

    /// Records that a task's rows are in the spool, together with what its children need.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn spool(
        &self,
        task: &TaskRow,
        machine: &State,
        result: SpooledResult,
        now: Timestamp,
    ) -> Result<(), Error> {
        let spec = &task.spec;
        self.step(Op::Spool {
            key: spec.key.clone(),
            tenant: spec.tenant.clone(),
            of: spec.dataset(),
            machine: to_json(machine),
            result,
            now,
        })
        .await
    }

    /// Records a given-up attempt, and when the next one may start.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn defer(
        &self,
        task: &TaskRow,
        machine: &State,
        run_at: Timestamp,
        kind: &str,
        error: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.step(Op::Defer {
            key: task.spec.key.clone(),
            machine: to_json(machine),
            run_at,
            kind: kind.to_owned(),
            error: error.to_owned(),
            now,
        })
        .await
    }

    /// Keeps a note in place of an open task's result; its next result replaces it.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn note(&self, task: &TaskRow, note: &str) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE task SET result = $1 WHERE key = $2 AND generation = $3 AND phase = 'open'",
        )
        .bind(note)
        .bind(task.spec.key.as_str())
        .bind(i64::from(task.generation))
        .execute(&mut *transaction)
        .await
        .map_err(sql("keep a note"))?;
        commit(transaction).await
    }

    /// Opens quarantined tasks of a window again, each where the given state stands, and the window with them.
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
                "UPDATE task SET phase = 'open', machine = $1, attempts = 0, run_at = $2, pack = NULL, result = NULL, error_kind = NULL, \
                 error = NULL, updated_at = $2 WHERE key = $3 AND phase = 'quarantined'",
            )
            .bind(to_json(machine))
            .bind(micros(now))
            .bind(key.as_str().to_owned())
            .execute(&mut *transaction)
            .await
            .map_err(sql("open a quarantined task again"))?;
        }
        sqlx::query(
            "UPDATE job_window SET state = 'planned' WHERE tenant = $1 AND dataset = $2 AND start_at = $3 AND end_at = $4",
        )
        .bind(window.tenant.as_str())
        .bind(window.dataset.as_str())
        .bind(micros(window.window.start()))
        .bind(micros(window.window.end()))
        .execute(&mut *transaction)
        .await
        .map_err(sql("open a window again"))?;
        commit(transaction).await
    }

    /// Records that a task ended without rows to publish: quarantined or failed.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn end(
        &self,
        task: &TaskRow,
        phase: Phase,
        machine: &State,
        kind: &str,
        error: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.step(Op::End {
            key: task.spec.key.clone(),
            phase,
            machine: to_json(machine),
            kind: kind.to_owned(),
            error: error.to_owned(),
            now,
        })
        .await
    }

    async fn step(&self, op: Op) -> Result<(), Error> {
        match &self.writer {
            Some(writer) => writer.write(op).await,
            None => Err(Error::Fenced {
                path: self.path.clone(),
            }),
        }
    }

    /// Lets tasks begin anew whose results were lost on this machine. Their next export has other bytes, which are in no pack yet.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn export_again(&self, tasks: &[TaskKey], now: Timestamp) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for key in tasks {
            sqlx::query("UPDATE task SET phase = 'open', machine = $1, run_at = $2, pack = NULL, updated_at = $2 WHERE key = $3")
                .bind(to_json(&State::Planned))
                .bind(micros(now))
                .bind(key.as_str().to_owned())
                .execute(&mut *transaction)
                .await
                .map_err(sql("let a task begin anew"))?;
        }
        commit(transaction).await
    }

    /// Records in which pack each original is.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn set_packs(&self, packs: &[(TaskKey, String)]) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for (key, pack) in packs {
            sqlx::query("UPDATE task SET pack = $1 WHERE key = $2")
                .bind(pack.as_str())
                .bind(key.as_str())
                .execute(&mut *transaction)
                .await
                .map_err(sql("record a pack"))?;
        }
        commit(transaction).await
    }

    /// The parent rows of a dataset whose meetings start in `range`, in a fixed order; the same meeting seen by two tasks appears twice.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn parents(
        &self,
        tenant: &str,
        of: Dataset,
        range: Window,
    ) -> Result<Vec<Parent>, Error> {
        sqlx::query(
            "SELECT source_row, meeting_no, start_at, end_at, participant_count, join_at, stay_s, user_id, room_id FROM parent \
             WHERE tenant = $1 AND dataset = $2 AND start_at >= $3 AND start_at < $4 ORDER BY start_at, meeting_no, task_key, source_row",
        )
        .bind(tenant)
        .bind(of.as_str())
        .bind(micros(range.start()))
        .bind(micros(range.end()))
        .fetch_all(&self.read)
        .await
        .map_err(sql("read parent rows"))?
        .iter()
        .map(|row| {
            Ok(Parent {
                source_row: row.get(0),
                meeting_no: row.get(1),
                start: instant(row.get(2))?,
                end: row.get::<Option<i64>, _>(3).map(instant).transpose()?,
                participant_count: row.get(4),
                join_time: row.get::<Option<i64>, _>(5).map(instant).transpose()?,
                stay_s: row.get(6),
                user_id: row.get(7),
                room_id: row.get(8),
            })
        })
        .collect()
    }

    /// The rooms of a tenant as last listed: room id and the level that owns it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn rooms(&self, tenant: &str) -> Result<Vec<(String, String)>, Error> {
        let rows = sqlx::query("SELECT room_id, room_level_id FROM room WHERE tenant = $1 ORDER BY room_level_id, room_id")
            .bind(tenant)
            .fetch_all(&self.read)
            .await
            .map_err(sql("read the rooms"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Replaces the list of a tenant's rooms.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn set_rooms(
        &self,
        tenant: &str,
        rooms: &[(String, String)],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM room WHERE tenant = $1")
            .bind(tenant)
            .execute(&mut *transaction)
            .await
            .map_err(sql("forget rooms"))?;
        for (room, level) in rooms {
            sqlx::query("INSERT INTO room (tenant, room_id, room_level_id, seen_at) VALUES ($1, $2, $3, $4)")
                .bind(tenant)
                .bind(room.as_str())
                .bind(level.as_str())
                .bind(micros(now))
                .execute(&mut *transaction)
                .await
                .map_err(sql("record a room"))?;
        }
        commit(transaction).await
    }
}

async fn insert_tasks(
    transaction: &mut Transaction<'static, Any>,
    window: &WindowRow,
    tasks: &[OpenTask],
    now: Timestamp,
) -> Result<(), Error> {
    const PER_TASK: usize = 8;
    let mut statement = String::from(
        "INSERT INTO task (key, tenant, dataset, job_start, job_end, window_start, window_end, request, lineage, priority, generation, \
         phase, machine, attempts, submits, polls, run_at, updated_at) VALUES ",
    );
    for index in 0..tasks.len() {
        use std::fmt::Write as _;
        let p = 6 + index * PER_TASK;
        let comma = if index == 0 { "" } else { "," };
        write!(
            statement,
            "{comma}(${}, $1, $2, $3, $4, ${}, ${}, ${}, ${}, ${}, ${}, 'open', ${}, 0, 0, 0, $5, $5)",
            p, p + 1, p + 2, p + 3, p + 4, p + 5, p + 6, p + 7
        )
        .expect("writing to a string");
    }
    statement.push_str(
        " ON CONFLICT (key) DO UPDATE SET generation = excluded.generation, phase = 'open', machine = excluded.machine, attempts = 0, \
         run_at = excluded.run_at, rows_out = NULL, dts = NULL, pack = NULL, result = NULL, error_kind = NULL, error = NULL, \
         priority = excluded.priority, job_start = excluded.job_start, job_end = excluded.job_end, updated_at = excluded.updated_at \
         WHERE task.generation < excluded.generation OR task.phase = 'withdrawn'",
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(window.tenant.as_str())
        .bind(window.dataset.as_str())
        .bind(micros(window.window.start()))
        .bind(micros(window.window.end()))
        .bind(micros(now));
    for task in tasks {
        query = query
            .bind(task.spec.key.as_str().to_owned())
            .bind(micros(task.spec.window.start()))
            .bind(micros(task.spec.window.end()))
            .bind(to_json(&task.spec.request))
            .bind(to_json(&task.spec.lineage))
            .bind(task.priority)
            .bind(i64::from(task.generation))
            .bind(to_json(&State::Planned));
    }
    query
        .execute(&mut **transaction)
        .await
        .map_err(sql("insert tasks"))?;
    Ok(())
}

async fn withdraw_missing(
    transaction: &mut Transaction<'static, Any>,
    window: &WindowRow,
    live: &HashSet<TaskKey>,
    now: Timestamp,
) -> Result<(), Error> {
    let known = sqlx::query(
        "SELECT key FROM task WHERE tenant = $1 AND dataset = $2 AND job_start = $3 AND job_end = $4 AND phase <> 'withdrawn'",
    )
    .bind(window.tenant.as_str())
    .bind(window.dataset.as_str())
    .bind(micros(window.window.start()))
    .bind(micros(window.window.end()))
    .fetch_all(&mut **transaction)
    .await
    .map_err(sql("list a window's tasks"))?;
    for row in known {
        let key = TaskKey::from_stored(row.get::<String, _>(0));
        if !live.contains(&key) {
            sqlx::query("UPDATE task SET phase = 'withdrawn', updated_at = $1 WHERE key = $2")
                .bind(micros(now))
                .bind(key.as_str().to_owned())
                .execute(&mut **transaction)
                .await
                .map_err(sql("withdraw a task"))?;
            sqlx::query("DELETE FROM parent WHERE task_key = $1")
                .bind(key.as_str().to_owned())
                .execute(&mut **transaction)
                .await
                .map_err(sql("forget a withdrawn task's rows"))?;
        }
    }
    Ok(())
}

fn task_row(row: &AnyRow) -> Result<TaskRow, Error> {
    let window = |start: i64, end: i64| {
        Window::new(instant(start)?, instant(end)?)
            .ok_or_else(|| corrupt("window", format!("{start}..{end}")))
    };
    let request: Request = from_json("request", &row.get::<String, _>(6))?;
    let lineage: Lineage = from_json("lineage", &row.get::<String, _>(7))?;
    let count = |index: usize| u32::try_from(row.get::<i64, _>(index)).unwrap_or(u32::MAX);
    Ok(TaskRow {
        spec: TaskSpec {
            key: TaskKey::from_stored(row.get::<String, _>(0)),
            tenant: row.get(1),
            window: window(row.get(4), row.get(5))?,
            request,
            lineage,
        },
        job_window: window(row.get(2), row.get(3))?,
        generation: count(8),
        phase: Phase::parse(&row.get::<String, _>(9))?,
        machine: from_json("export state", &row.get::<String, _>(10))?,
        attempts: count(11),
        submits: count(12),
        run_at: instant(row.get(13))?,
        rows: row
            .get::<Option<i64>, _>(14)
            .and_then(|rows| u64::try_from(rows).ok()),
        dts: row.get(15),
        pack: row.get(16),
        result: row.get(17),
        error_kind: row.get(18),
        error: row.get(19),
    })
}
