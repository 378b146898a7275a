//! Meetings that an event told of are asked for minutes after their end. Their night is the truth:
//! their windows stay due until then, and are planned from the list of that day.

use std::sync::Arc;

use anyhow::Result;
use jiff::SignedDuration;

use super::Run;
use super::planning::placed;
use crate::datasets::Dataset;
use crate::events::EventKind;
use crate::job::JobSpec;
use crate::plan::children::{Budget, children, digest, known_children, left_alone};
use crate::plan::early::{early, is_out_of_place, name_discoverers, new_windows, pause};
use crate::record::{WindowBatch, WindowRow};
use crate::window::Window;

/// A meeting that ended in a window may have begun in the one before.
const LONGEST_MEETING: std::time::Duration = std::time::Duration::from_secs(86_400);

impl Run {
    /// Inserts the windows of meetings that rows of a dataset told of, for the jobs that ask early.
    pub(super) async fn insert_early(&self, told_by: Dataset, window: Window) -> Result<()> {
        let (tenant, now) = (&self.tenant, self.tenant.clock.now());
        let (name, ledger) = (&tenant.name, &tenant.ledger);
        for job in &self.jobs {
            if early(job).is_none_or(|early| early.by != told_by) {
                continue;
            }
            let around = window.widened(LONGEST_MEETING);
            let parents = ledger.parents(name, told_by, around).await?;
            let known = ledger.windows(name, job.dataset, Some(around)).await?;
            let starts = parents.iter().map(|parent| parent.start);
            let new = new_windows(job, starts, &known, now);
            if new.is_empty() {
                continue;
            }
            let batch = WindowBatch {
                job: &job.name,
                tenant: name,
                dataset: job.dataset,
                new: &new,
                again: &[],
                firing: now,
                schedule: None,
            };
            ledger.insert_windows(&batch).await?;
        }
        Ok(())
    }

    /// Takes back what was asked for early in windows that the job no longer cuts. The windows in
    /// their place ask for it.
    pub(super) async fn withdraw_out_of_place(&mut self, job: &JobSpec) -> Result<()> {
        let Some(parent) = job.dataset.parent() else {
            return Ok(());
        };
        let (name, ledger) = (&self.tenant.name, &self.tenant.ledger);
        if job.dataset.definition().early.is_none() {
            return Ok(());
        }
        let parents = ledger.windows(name, parent, None).await?;
        for row in ledger.windows(name, job.dataset, None).await? {
            if is_out_of_place(job, &row, &parents) {
                ledger.withdraw_early(&row, self.tenant.clock.now()).await?;
                self.to_publish.insert((row.dataset, row.window));
            }
        }
        Ok(())
    }

    /// Plans what rows of another dataset tell of a window whose own parents are not known yet.
    pub(super) async fn plan_early(&mut self, job: &JobSpec, row: &WindowRow) -> Result<()> {
        let tenant = Arc::clone(&self.tenant);
        let (name, ledger, now) = (&tenant.name, &tenant.ledger, tenant.clock.now());
        let place = (job.dataset, row.window);
        let is_too_soon = self.next_early.get(&place).is_some_and(|at| now < *at);
        let Some(early) = early(job).filter(|_| !is_too_soon && row.coverage.is_none()) else {
            return Ok(());
        };
        let parents = ledger.parents(name, early.by, row.window).await?;
        let told = digest(&parents);
        if parents.is_empty() || row.parents.as_ref() == Some(&told) {
            return Ok(());
        }
        let known = known_children(&ledger.tasks_of(name, job.dataset, row.window).await?);
        let known = left_alone(known);
        let budget = self.budgets.entry(job.name.clone());
        let budget = budget.or_insert_with(|| Budget::of(job));
        let mut planned = children(job, tenant.owner(), &row.window, &parents, &known, budget);
        if job.dataset.resolves().is_some() {
            name_discoverers(&mut planned.tasks, &parents, &[]);
        }
        let all = planned.tasks.len() as u64;
        let tasks = placed(planned.tasks, self.urgency(job, &row.window));
        let run_at = now + SignedDuration::try_from(early.after)?;
        ledger
            .plan_early(row, &tasks, &planned.live, &told, (now, run_at))
            .await?;
        crash_point!("w16-planned-early");
        let pause = SignedDuration::try_from(pause(all))?;
        self.next_early.insert(place, now + pause);
        if planned.new_tasks > 0 {
            let tasks = planned.new_tasks;
            tenant.events.emit(row, EventKind::TasksPlanned { tasks });
            self.read_more_urgent(job, row);
        }
        Ok(())
    }
}
