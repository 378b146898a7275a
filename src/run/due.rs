//! Which windows should exist by now: what a job's schedule asks for, and a backfill's range.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::{Run, Scope, Summary, TRY_AGAIN_S, is_unsettled, with_parents};
use crate::dataset::Dataset;
use crate::job::{JobSpec, OverlapPolicy};
use crate::ledger::{Ledger, NewWindow, Phase, ScheduleState, WindowBatch, WindowRow, WindowState};
use crate::pipeline;
use crate::plan::fanout::Coverage;
use crate::plan::{self, Due};
use crate::schedule::Schedule;
use crate::task::TaskKey;
use crate::window::Window;

/// What a job's schedule asks for at one instant.
#[derive(Debug)]
pub struct Asked {
    /// The newest firing.
    pub firing: Timestamp,
    /// The windows that the ledger knows.
    pub known: Vec<WindowRow>,
    /// The windows that should be there.
    pub due: Due,
}

/// Asks a job's schedule what should be in the ledger at `now`; without a ledger, as if nothing ever ran.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn ask(
    ledger: Option<&Ledger>,
    tenant: &str,
    job: &JobSpec,
    now: Timestamp,
) -> Result<Asked> {
    let schedule = Schedule::parse(&job.cron, job.time_zone.clone())
        .with_context(|| format!("job {}", job.name))?;
    let firing = schedule.previous_at_or_before(now).unwrap_or(now);
    let (state, known) = match ledger {
        Some(ledger) => (
            ledger.schedule(&job.name, tenant).await?,
            ledger.windows(tenant, job.dataset, None).await?,
        ),
        None => (None, Vec::new()),
    };
    let next = |at| schedule.next_at_or_after(at);
    let due = plan::due(job, now, firing, next, state, &known);
    Ok(Asked { firing, known, due })
}

/// Whether a window ended with parents over the job's bound of tasks per run: the next run goes on with them.
#[must_use]
pub fn is_left_over(row: &WindowRow) -> bool {
    let coverage = row.coverage.as_deref().unwrap_or("{}");
    let coverage: Coverage = serde_json::from_str(coverage).unwrap_or_default();
    let has_ended = matches!(row.state, WindowState::Settled | WindowState::Stuck);
    has_ended && coverage.over_max_tasks > 0
}

/// When a window is in the lake at the latest, if all goes well: the job's first firing after it is due, with its share of the jitter and the
/// time that an export may take.
#[must_use]
pub fn expected_at(job: &JobSpec, schedule: &Schedule, due_at: Timestamp) -> Timestamp {
    let firing = schedule.next_at_or_after(due_at).unwrap_or(due_at);
    let most = SignedDuration::try_from(jitter(job) + job.deadline).unwrap_or(SignedDuration::MAX);
    firing.checked_add(most).unwrap_or(Timestamp::MAX)
}

impl Run {
    pub(super) async fn insert_windows(&mut self, scope: &Scope) -> Result<()> {
        for job in self.jobs.clone() {
            self.lose_what_is_too_old(&job).await?;
            match scope {
                Scope::Due => {
                    let now = self.tenant.clock.now();
                    self.insert_due(&job, now).await?;
                }
                Scope::Backfill {
                    from,
                    to,
                    datasets,
                    again,
                } => {
                    if with_parents(datasets).contains(&job.dataset) {
                        self.insert_backfill(
                            &job,
                            *from,
                            *to,
                            *again && datasets.contains(&job.dataset),
                        )
                        .await?;
                    }
                }
                Scope::Quarantined { from, to, datasets } => {
                    if datasets.contains(&job.dataset) {
                        self.open_quarantined(&job, *from, *to).await?;
                    }
                    continue;
                }
            }
            self.rearm(&job).await?;
        }
        Ok(())
    }

    /// Gives up windows that were planned and have become older than Feishu answers for: asking would fail for ever.
    async fn lose_what_is_too_old(&mut self, job: &JobSpec) -> Result<()> {
        let (tenant, now) = (Arc::clone(&self.tenant), self.tenant.clock.now());
        for row in tenant
            .ledger
            .windows(&tenant.name, job.dataset, None)
            .await?
        {
            let is_waiting = is_unsettled(&row, now);
            if is_waiting
                && plan::is_lost(job.dataset, &row.window, now)
                && tenant.ledger.lose_window(&row, now).await? == Some(WindowState::Lost)
            {
                self.summary.lose(job.dataset, &row.window);
            }
        }
        Ok(())
    }

    /// Opens the quarantined tasks of the civil days `[from, to)` again. Their bytes are what was put aside, so that nobody is asked for them; a
    /// task whose bytes are gone is exported anew.
    async fn open_quarantined(
        &self,
        job: &JobSpec,
        from: Option<Date>,
        to: Option<Date>,
    ) -> Result<()> {
        let tenant = &self.tenant;
        let is_wanted = |row: &WindowRow| {
            row.window
                .dates(&job.time_zone)
                .iter()
                .any(|date| from.is_none_or(|from| from <= *date) && to.is_none_or(|to| *date < to))
        };
        let rows = tenant
            .ledger
            .windows(&tenant.name, job.dataset, None)
            .await?;
        for row in rows.iter().filter(|row| is_wanted(row)) {
            let tasks = tenant
                .ledger
                .tasks_of(&row.tenant, row.dataset, row.window)
                .await?;
            let mut opened = Vec::new();
            for task in tasks.iter().filter(|task| task.phase == Phase::Quarantined) {
                let state = pipeline::bring_back(tenant, task).await?;
                opened.push((task.spec.key.clone(), state));
            }
            if !opened.is_empty() {
                tracing::info!(dataset = %job.dataset, window = %row.window, tasks = opened.len(), "quarantined tasks are tried again");
                let now = tenant.clock.now();
                tenant.ledger.reopen_quarantined(row, &opened, now).await?;
            }
        }
        Ok(())
    }

    async fn rearm(&self, job: &JobSpec) -> Result<()> {
        let rearmed = self
            .tenant
            .ledger
            .rearm_failed(&self.tenant.name, job.dataset, self.tenant.clock.now())
            .await?;
        if rearmed > 0 {
            tracing::info!(dataset = %job.dataset, tasks = rearmed, "failed tasks get another round of attempts");
        }
        self.reopen_what_was_over_the_bound(job).await
    }

    /// Opens the windows in which the job's bound of tasks per run left parents for this run.
    async fn reopen_what_was_over_the_bound(&self, job: &JobSpec) -> Result<()> {
        if job.dataset.parent().is_none() {
            return Ok(());
        }
        let ledger = &self.tenant.ledger;
        for row in ledger.windows(&self.tenant.name, job.dataset, None).await? {
            if is_left_over(&row) {
                ledger.set_window_state(&row, WindowState::Due).await?;
            }
        }
        Ok(())
    }

    /// Inserts the windows of every job that fired since it was last looked at.
    pub(super) async fn on_tick(&mut self) -> Result<()> {
        let now = self.tenant.clock.now();
        let refused = self.summary.stop_cause.is_some()
            || self.summary.storage_error.is_some()
            || !self.summary.blocked.is_empty();
        if refused && self.refused_at.is_none() {
            self.refused_at = Some(now);
        }
        if self
            .refused_at
            .is_some_and(|at| now.duration_since(at) >= SignedDuration::from_secs(TRY_AGAIN_S))
        {
            self.refused_at = None;
            self.summary = Summary::new(&self.tenant.name);
        }
        for job in self.jobs.clone() {
            let at = now.checked_sub(SignedDuration::try_from(jitter(&job))?)?;
            let schedule = Schedule::parse(&job.cron, job.time_zone.clone())
                .with_context(|| format!("job {}", job.name))?;
            let Some(firing) = schedule.previous_at_or_before(at) else {
                continue;
            };
            let state = self
                .tenant
                .ledger
                .schedule(&job.name, &self.tenant.name)
                .await?;
            // One that is still to come was handled by a clock that was wrong.
            let is_handled = |last: Timestamp| last >= firing && last <= now;
            if state.is_some_and(|state| is_handled(state.last_firing)) {
                continue;
            }
            if job.overlap == OverlapPolicy::Skip && self.in_flight_of(job.dataset) {
                if let Some(state) = state {
                    tracing::warn!(
                        job = job.name,
                        "still running when it fired again; this firing is left to the next"
                    );
                    let skipped = ScheduleState {
                        last_firing: firing,
                        ..state
                    };
                    let ledger = &self.tenant.ledger;
                    ledger
                        .insert_windows(&WindowBatch {
                            job: &job.name,
                            tenant: &self.tenant.name,
                            dataset: job.dataset,
                            new: &[],
                            again: &[],
                            firing,
                            schedule: Some(skipped),
                        })
                        .await?;
                }
                continue;
            }
            tracing::info!(job = job.name, tenant = self.tenant.name, firing = %firing, "job fired");
            self.budgets.remove(&job.name);
            self.rooms = None;
            self.rechecked.clear();
            self.lose_what_is_too_old(&job).await?;
            self.insert_due(&job, now).await?;
            self.rearm(&job).await?;
        }
        (self.look_again, self.refill) = (true, true);
        Ok(())
    }

    fn in_flight_of(&self, dataset: Dataset) -> bool {
        self.queue.iter().any(|task| task.spec.dataset() == dataset)
            || self.running.get(&dataset).is_some_and(|tasks| *tasks > 0)
    }

    async fn insert_due(&mut self, job: &JobSpec, now: Timestamp) -> Result<()> {
        let (tenant, ledger) = (&self.tenant.name, &self.tenant.ledger);
        let Asked { firing, known, due } = ask(Some(ledger), tenant, job, now).await?;
        ledger
            .insert_windows(&WindowBatch {
                job: &job.name,
                tenant,
                dataset: job.dataset,
                new: &due.new,
                again: &due.again,
                firing,
                schedule: due.schedule,
            })
            .await?;
        for lost in due.new.iter().filter(|new| new.state == WindowState::Lost) {
            self.summary.lose(job.dataset, &lost.window);
        }
        for row in known.iter().filter(|row| {
            is_unsettled(row, now) && plan::is_nearly_lost(job.dataset, &row.window, now)
        }) {
            self.warn(format!(
                "{}: the window {} is not settled and will soon be older than Feishu keeps it",
                job.name, row.window
            ));
        }
        Ok(())
    }

    async fn insert_backfill(
        &mut self,
        job: &JobSpec,
        from: Date,
        to: Date,
        again: bool,
    ) -> Result<()> {
        let (tenant, ledger, now) = (
            &self.tenant.name,
            &self.tenant.ledger,
            self.tenant.clock.now(),
        );
        let backfill = plan::backfill(job, from, to, now);
        let new: Vec<NewWindow> = backfill
            .windows
            .iter()
            .map(|window| NewWindow {
                window: *window,
                due_at: plan::due_at(job, window),
                state: WindowState::Due,
            })
            .chain(backfill.lost.iter().map(|window| NewWindow {
                window: *window,
                due_at: plan::due_at(job, window),
                state: WindowState::Lost,
            }))
            .collect();
        let known = ledger.windows(tenant, job.dataset, None).await?;
        let ended =
            |row: &&WindowRow| matches!(row.state, WindowState::Settled | WindowState::Stuck);
        let again: Vec<Window> = known
            .iter()
            .filter(ended)
            .filter(|row| again && backfill.windows.contains(&row.window))
            .map(|row| row.window)
            .collect();
        ledger
            .insert_windows(&WindowBatch {
                job: &job.name,
                tenant,
                dataset: job.dataset,
                new: &new,
                again: &again,
                firing: now,
                schedule: None,
            })
            .await?;
        for lost in &backfill.lost {
            // What was exported in time is in the lake.
            if known
                .iter()
                .all(|row| row.window != *lost || row.state == WindowState::Lost)
            {
                self.summary.lose(job.dataset, lost);
            }
        }
        if let Some(not_yet) = backfill.not_yet {
            self.warn(format!(
                "{}: windows from {} on are not over and settled yet and are left out",
                job.name,
                not_yet.start()
            ));
        }
        Ok(())
    }
}

/// The job's own share of its jitter: the same at every firing, different for every job.
fn jitter(job: &JobSpec) -> Duration {
    let name = TaskKey::digest(&job.name);
    job.jitter.mul_f64(f64::from(name) / f64::from(u32::MAX))
}
