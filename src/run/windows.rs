//! Which windows a run inserts or opens again: what schedules ask for, a backfill's range, what is
//! in quarantine, what failed, and what the last run's bound left over.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::{Run, Scope, Summary};
use crate::datasets::Dataset;
use crate::events::{EventKind, Subject};
use crate::job::JobSpec;
use crate::pipeline;
use crate::plan::due::{self, Due, Tick};
use crate::record::{Phase, TaskRow, WindowBatch, WindowRow, WindowState};
use crate::schedule::Schedule;
use crate::window::Window;

/// A server tries what was refused (a bucket, a secret, a scope) again after so many seconds.
const TRY_AGAIN_S: i64 = 300;

impl Run {
    /// Inserts the windows that the run is for.
    pub(super) async fn insert_windows(&mut self, scope: &Scope) -> Result<()> {
        for job in self.jobs.clone() {
            self.lose_what_is_too_old(&job).await?;
            let is_covered = scope.covers(job.dataset);
            match scope {
                Scope::Due => self.insert_due(&job).await?,
                Scope::Backfill {
                    from,
                    to,
                    datasets,
                    again,
                } if is_covered => {
                    let is_named = datasets.contains(&job.dataset);
                    self.insert_backfill(&job, (*from, *to), (is_named, *again))
                        .await?;
                }
                Scope::Quarantined { from, to, .. } if is_covered => {
                    self.open_quarantined(&job, *from, *to).await?;
                }
                Scope::Backfill { .. } | Scope::Quarantined { .. } => {}
            }
            if !matches!(scope, Scope::Quarantined { .. }) {
                self.rearm(&job).await?;
            }
        }
        Ok(())
    }

    /// Inserts the windows of every job that fired since it was last looked at.
    pub(super) async fn on_tick(&mut self) -> Result<()> {
        let mut must_recheck = self.forget_old_refusals();
        let now = self.tenant.clock.now();
        let tenant = Arc::clone(&self.tenant);
        for job in self.jobs.clone() {
            let schedule = schedule_of(&job)?;
            let state = tenant.ledger.schedule(&job.name, &tenant.name).await?;
            let is_busy = self.is_busy_with(job.dataset);
            match due::tick(&job, &schedule, now, state, is_busy) {
                Tick::Nothing => {}
                Tick::Skipped(skipped) => {
                    let name = job.name.clone();
                    let told = EventKind::FiringSkipped { job: name };
                    tenant.events.emit(job.dataset, told);
                    let asked = Due {
                        firing: skipped.last_firing,
                        schedule: Some(skipped),
                        ..Due::default()
                    };
                    self.insert(&job, &asked).await?;
                }
                Tick::Fired(firing) => {
                    let name = job.name.clone();
                    let told = EventKind::JobFired { job: name, firing };
                    tenant.events.emit(job.dataset, told);
                    self.tell_of_shared_quota();
                    self.budgets.remove(&job.name);
                    self.rooms = None;
                    self.rechecked.clear();
                    must_recheck = true;
                    self.lose_what_is_too_old(&job).await?;
                    self.insert_due(&job).await?;
                    self.rearm(&job).await?;
                }
            }
        }
        if must_recheck {
            self.recheck_children().await?;
        }
        self.batch_events().await?;
        (self.look_again, self.refill) = (true, true);
        Ok(())
    }

    /// Tells of calls that were refused because somebody else used up the quota.
    pub(super) fn tell_of_shared_quota(&mut self) {
        let tenant = Arc::clone(&self.tenant);
        for (endpoint, refusals) in tenant.fetcher.client.limits().take_refusals() {
            self.warn(
                Subject::default(),
                EventKind::QuotaShared { endpoint, refusals },
            );
        }
    }

    /// Lets a server try again what was refused a while ago, and says whether it does.
    fn forget_old_refusals(&mut self) -> bool {
        let now = self.tenant.clock.now();
        let is_refused = self.summary.stop_cause.is_some()
            || self.summary.storage_error.is_some()
            || !self.summary.blocked.is_empty();
        if is_refused && self.refused_at.is_none() {
            self.refused_at = Some(now);
        }
        let while_ago = SignedDuration::from_secs(TRY_AGAIN_S);
        let is_old = |at: Timestamp| now.duration_since(at) >= while_ago;
        let is_over = self.refused_at.is_some_and(is_old);
        if is_over {
            self.refused_at = None;
            let fresh = Summary::new(&self.tenant.name);
            let earlier = std::mem::replace(&mut self.summary, fresh);
            if self.quota_used_up_until.is_some_and(|until| now < until) {
                self.summary.keep_refusals_of_quota(&earlier);
            }
        }
        is_over
    }

    fn is_busy_with(&self, dataset: Dataset) -> bool {
        let is_running = self.running.get(&dataset).is_some_and(|tasks| *tasks > 0);
        is_running || self.queue.has(dataset)
    }

    async fn insert(&self, job: &JobSpec, due: &Due) -> Result<()> {
        let batch = WindowBatch {
            job: &job.name,
            tenant: &self.tenant.name,
            dataset: job.dataset,
            new: &due.new,
            again: &due.again,
            firing: due.firing,
            schedule: due.schedule,
        };
        Ok(self.tenant.ledger.insert_windows(&batch).await?)
    }

    async fn insert_due(&mut self, job: &JobSpec) -> Result<()> {
        self.withdraw_out_of_place(job).await?;
        let (name, ledger) = (&self.tenant.name, &self.tenant.ledger);
        let now = self.tenant.clock.now();
        let state = ledger.schedule(&job.name, name).await?;
        let known = ledger.windows(name, job.dataset, None).await?;
        let due = due::due(job, &schedule_of(job)?, now, state, &known);
        self.insert(job, &due).await?;
        self.close_days_of_events(job).await?;
        for lost in due.new.iter().filter(|new| new.state == WindowState::Lost) {
            self.lose(job.dataset, &lost.window);
        }
        let is_nearly_lost = |row: &&WindowRow| {
            row.is_unsettled(now) && due::is_nearly_lost(job.dataset, &row.window, now)
        };
        for row in known.iter().filter(is_nearly_lost) {
            let name = job.name.clone();
            let told = EventKind::WindowNearlyLost { job: name };
            self.warn(row.into(), told);
        }
        Ok(())
    }

    async fn insert_backfill(
        &mut self,
        job: &JobSpec,
        (from, to): (Date, Date),
        (is_named, once_more): (bool, bool),
    ) -> Result<()> {
        self.withdraw_out_of_place(job).await?;
        let again = is_named && once_more;
        let now = self.tenant.clock.now();
        let backfill = due::backfill(job, from, to, now);
        let (name, ledger) = (&self.tenant.name, &self.tenant.ledger);
        let known = ledger.windows(name, job.dataset, None).await?;
        self.insert(job, &backfill.asks(job, &known, again, once_more, now))
            .await?;
        if again {
            let windows = backfill.windows.iter();
            self.again
                .extend(windows.map(|window| (job.dataset, *window)));
            // Whoever began this made sure that all days are asked for again.
            pipeline::ask_differently(&self.tenant, job).await?;
        }
        for lost in backfill.lost_for_good(&known) {
            self.lose(job.dataset, lost);
        }
        if let Some(first) = backfill.not_yet {
            let told = EventKind::BackfillAhead {
                job: job.name.clone(),
                from: first.start(),
            };
            self.warn(job.dataset.into(), told);
        }
        Ok(())
    }

    /// Gives up windows that were planned and have become older than Feishu answers for: asking
    /// would fail for ever.
    async fn lose_what_is_too_old(&mut self, job: &JobSpec) -> Result<()> {
        let (tenant, now) = (Arc::clone(&self.tenant), self.tenant.clock.now());
        let windows = tenant.ledger.windows(&tenant.name, job.dataset, None);
        for row in windows.await? {
            if !row.is_unsettled(now) || !due::is_lost(job.dataset, &row.window, now) {
                continue;
            }
            // A snapshot that was fetched on its day goes on, and one in quarantine can be tried
            // again.
            if job.dataset.is_snapshot() {
                let tasks = tenant
                    .ledger
                    .tasks_of(&tenant.name, job.dataset, row.window);
                let has_bytes =
                    |task: &TaskRow| task.generation == row.generation && task.has_bytes();
                if tasks.await?.iter().any(has_bytes) {
                    continue;
                }
            }
            if tenant.ledger.lose_window(&row, now).await? == Some(WindowState::Lost) {
                self.lose(job.dataset, &row.window);
            }
        }
        Ok(())
    }

    fn lose(&mut self, dataset: Dataset, window: &Window) {
        let mut subject = Subject::from(dataset);
        subject.window = Some(*window);
        self.tenant.events.emit(subject, EventKind::WindowLost);
        self.summary.lose(dataset, window);
    }

    /// Opens the quarantined tasks of the civil days `[from, to)` again. Their bytes are what was
    /// put aside, so that nobody is asked for them; a task whose bytes are gone is exported anew.
    async fn open_quarantined(
        &self,
        job: &JobSpec,
        from: Option<Date>,
        to: Option<Date>,
    ) -> Result<()> {
        let tenant = &self.tenant;
        let (name, ledger) = (&tenant.name, &tenant.ledger);
        let is_wanted =
            |date: &Date| from.is_none_or(|from| from <= *date) && to.is_none_or(|to| *date < to);
        for row in ledger.windows(name, job.dataset, None).await? {
            if !row.window.dates(&job.time_zone).iter().any(is_wanted) {
                continue;
            }
            let mut opened = Vec::new();
            for task in ledger.tasks_of(name, row.dataset, row.window).await? {
                if task.phase == Phase::Quarantined {
                    let state = pipeline::bring_back(tenant, &task).await?;
                    opened.push((task.spec.key, state));
                }
            }
            if !opened.is_empty() {
                let tasks = opened.len() as u64;
                let told = EventKind::QuarantineReopened { tasks };
                tenant.events.emit(&row, told);
                let now = tenant.clock.now();
                ledger.reopen_quarantined(&row, &opened, now).await?;
            }
        }
        Ok(())
    }

    /// Gives failed tasks another round of attempts, and opens the windows in which the job's bound
    /// of tasks per run left parents for this run.
    async fn rearm(&self, job: &JobSpec) -> Result<()> {
        let (name, ledger) = (&self.tenant.name, &self.tenant.ledger);
        let now = self.tenant.clock.now();
        let tasks = ledger.rearm_failed(name, job.dataset, now).await?;
        if tasks > 0 {
            let told = EventKind::FailedTasksRearmed { tasks };
            self.tenant.events.emit(job.dataset, told);
        }
        if job.dataset.parent().is_none() {
            return Ok(());
        }
        for row in ledger.windows(name, job.dataset, None).await? {
            if due::is_left_over(&row) {
                ledger.set_window_state(&row, WindowState::Due).await?;
            }
        }
        Ok(())
    }
}

fn schedule_of(job: &JobSpec) -> Result<Schedule> {
    Schedule::parse(&job.cron, job.time_zone.clone()).with_context(|| format!("job {}", job.name))
}
