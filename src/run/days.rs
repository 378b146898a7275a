//! What became of each day of a dataset, and which days are late: what `status` and the status page show.
//!
//! Reads the ledger and the job; changes nothing. A day is late by its own expected time, so that one that nobody asked for any more is named
//! even though every other day of the dataset is fresh.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::due::{self, Asked};
use crate::dataset::Dataset;
use crate::job::JobSpec;
use crate::ledger::{Ledger, PartitionRow, Phase, TaskRow, WindowState};
use crate::pipeline;
use crate::schedule::Schedule;
use crate::window::Window;

/// What became of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is in the lake.
    Published,
    /// It is in the lake, and a later export gave the same.
    Unchanged,
    /// It is in the lake and has no row.
    Empty,
    /// It is in the lake and lacks something.
    Partial,
    /// A workbook of it broke its contract.
    Quarantined,
    /// A task of it used up its attempts.
    Failed,
    /// Feishu no longer answers for it, and it was never exported.
    Lost,
    /// The job's policy for missed windows leaves it out.
    Skipped,
    /// It is not there yet.
    Waiting,
}

impl Outcome {
    /// All outcomes, the good ones first.
    pub const ALL: [Self; 9] = [
        Self::Published,
        Self::Unchanged,
        Self::Empty,
        Self::Partial,
        Self::Quarantined,
        Self::Failed,
        Self::Lost,
        Self::Skipped,
        Self::Waiting,
    ];

    /// The word in `status`, on the status page and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Unchanged => "unchanged",
            Self::Empty => "empty",
            Self::Partial => "partial",
            Self::Quarantined => "quarantined",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Skipped => "skipped",
            Self::Waiting => "waiting",
        }
    }

    /// Whether nothing more is expected of the day.
    const fn is_final(self) -> bool {
        match self {
            Self::Published | Self::Unchanged | Self::Empty | Self::Lost | Self::Skipped => true,
            Self::Partial | Self::Quarantined | Self::Failed | Self::Waiting => false,
        }
    }
}

/// A day of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// The civil date.
    pub dt: Date,
    /// What became of it.
    pub outcome: Outcome,
    /// Rows in the lake.
    pub rows: u64,
    /// When it should be in the lake, whole.
    pub expected_at: Timestamp,
    /// Seconds since then, if it is not.
    pub late_s: Option<u64>,
    /// What is missing and why; `None` if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A window that should be there.
struct Expected {
    window: Window,
    due_at: Timestamp,
    state: WindowState,
    is_planned: bool,
}

/// The days of a job and tenant whose windows are due at `now`, in order. `zone` is the tenant's.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn days(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    job: &JobSpec,
    now: Timestamp,
) -> Result<Vec<Day>> {
    let schedule = Schedule::parse(&job.cron, job.time_zone.clone())
        .with_context(|| format!("job {}", job.name))?;
    let mut by_day: BTreeMap<Date, Vec<Expected>> = BTreeMap::new();
    for expected in expected(ledger, tenant, job, now).await? {
        for dt in expected.window.dates(zone) {
            by_day.entry(dt).or_default().push(Expected { ..expected });
        }
    }
    let partitions: BTreeMap<Date, PartitionRow> = ledger
        .partitions(Some(tenant))
        .await?
        .into_iter()
        .filter(|row| row.dataset == job.dataset && row.revision > 0)
        .map(|row| (row.dt, row))
        .collect();
    let look = Look {
        ledger,
        tenant,
        zone,
        job,
    };
    let mut days = Vec::new();
    for (dt, windows) in by_day {
        let partition = partitions.get(&dt);
        let (outcome, why) = look.outcome(dt, &windows, partition).await?;
        let due_at = windows.iter().map(|window| window.due_at).max();
        let expected_at = due::expected_at(job, &schedule, due_at.unwrap_or(now));
        let late_s = u64::try_from(now.duration_since(expected_at).as_secs()).ok();
        days.push(Day {
            tenant: tenant.to_owned(),
            dataset: job.dataset,
            dt,
            outcome,
            rows: partition.map_or(0, |row| row.rows),
            expected_at,
            late_s: late_s.filter(|late| *late > 0 && !outcome.is_final()),
            why,
        });
    }
    Ok(days)
}

/// The windows that the ledger has, and those that it would have if a run had looked. A job whose schedule nobody ever ran has none of the latter.
async fn expected(
    ledger: &Ledger,
    tenant: &str,
    job: &JobSpec,
    now: Timestamp,
) -> Result<Vec<Expected>> {
    let Asked { known, due, .. } = due::ask(Some(ledger), tenant, job, now).await?;
    let has_run = ledger.schedule(&job.name, tenant).await?.is_some();
    let there: HashSet<Window> = known.iter().map(|row| row.window).collect();
    let known = known.iter().map(|row| Expected {
        window: row.window,
        due_at: row.due_at,
        state: row.state,
        is_planned: true,
    });
    let new = due
        .new
        .iter()
        .filter(|new| has_run && !there.contains(&new.window));
    let new = new.map(|new| Expected {
        window: new.window,
        due_at: new.due_at,
        state: new.state,
        is_planned: false,
    });
    Ok(known.chain(new).collect())
}

/// Where a day's state is looked up.
struct Look<'a> {
    ledger: &'a Ledger,
    tenant: &'a str,
    zone: &'a TimeZone,
    job: &'a JobSpec,
}

impl Look<'_> {
    async fn outcome(
        &self,
        dt: Date,
        windows: &[Expected],
        partition: Option<&PartitionRow>,
    ) -> Result<(Outcome, Option<String>)> {
        if let Some(row) = partition.filter(|row| row.complete) {
            let outcome = match (row.rows, row.checked_at) {
                (0, _) => Outcome::Empty,
                (_, Some(_)) => Outcome::Unchanged,
                (_, None) => Outcome::Published,
            };
            return Ok((outcome, None));
        }
        let all = |state| windows.iter().all(|window| window.state == state);
        if partition.is_none() && all(WindowState::Lost) {
            let why = "it was not exported while Feishu still had it".to_owned();
            return Ok((Outcome::Lost, Some(why)));
        }
        if partition.is_none() && all(WindowState::Skipped) {
            let why = format!("missed = \"{}\"", self.job.missed.as_str());
            return Ok((Outcome::Skipped, Some(why)));
        }
        let mut tasks = Vec::new();
        for window in windows.iter().filter(|window| window.is_planned) {
            let ledger = self.ledger;
            tasks.extend(
                ledger
                    .tasks_of(self.tenant, self.job.dataset, window.window)
                    .await?,
            );
        }
        for (phase, outcome) in [
            (Phase::Quarantined, Outcome::Quarantined),
            (Phase::Failed, Outcome::Failed),
        ] {
            if let Some(why) = ended_badly(&tasks, phase) {
                return Ok((outcome, Some(why)));
            }
        }
        let why = self.why_not(dt, windows, &tasks).await?;
        let outcome = match partition {
            Some(_) => Outcome::Partial,
            None => Outcome::Waiting,
        };
        Ok((outcome, Some(why)))
    }

    /// What an unfinished day waits for.
    async fn why_not(&self, dt: Date, windows: &[Expected], tasks: &[TaskRow]) -> Result<String> {
        let (ledger, tenant, job) = (self.ledger, self.tenant, self.job);
        if windows.iter().any(|window| !window.is_planned) {
            return Ok("no run has looked at it since it was due".to_owned());
        }
        let open: Vec<&TaskRow> = tasks
            .iter()
            .filter(|task| task.phase == Phase::Open)
            .collect();
        if !open.is_empty() {
            let error = open.iter().find_map(|task| task.error.as_deref());
            let error = error.map_or_else(String::new, |error| format!(": {error}"));
            let (open, all) = (open.len(), tasks.len());
            return Ok(format!("{open} of {all} tasks are not exported yet{error}"));
        }
        if windows
            .iter()
            .any(|window| window.state == WindowState::Due)
        {
            return Ok(match job.dataset.parent() {
                Some(parent) => format!("it waits for {parent}, or for a run"),
                None => "it waits for a run".to_owned(),
            });
        }
        let reason = pipeline::implausible(ledger, tenant, self.zone, job, dt).await?;
        Ok(reason.unwrap_or_else(|| "it waits to be published".to_owned()))
    }
}

fn ended_badly(tasks: &[TaskRow], phase: Phase) -> Option<String> {
    let mut of_phase = tasks.iter().filter(|task| task.phase == phase).peekable();
    of_phase.peek()?;
    let error = of_phase.clone().find_map(|task| task.error.as_deref());
    let tasks = of_phase.count();
    Some(match error {
        Some(error) if tasks == 1 => error.to_owned(),
        Some(error) => format!("{tasks} tasks, the first: {error}"),
        None => format!("{tasks} tasks {}", phase.as_str()),
    })
}
