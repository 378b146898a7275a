//! From windows to tasks: roots from their windows, children from their parents' rows.

use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;

use super::Run;
use crate::datasets::Dataset;
use crate::events::EventKind;
use crate::job::JobSpec;
use crate::pipeline;
use crate::plan;
use crate::plan::children::{
    Budget, ParentWindow, asked_again, asked_early, children, known_children,
};
use crate::plan::due::is_lost;
use crate::plan::early::{disagreement, name_discoverers};
use crate::record::{OpenTask, PhaseCounts, WindowRow, WindowState};
use crate::task::Urgency;

impl Run {
    /// Plans the windows that became due, and publishes those whose last task ended when a run was
    /// stopped.
    pub(super) async fn plan_what_is_ready(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.look_again) {
            return Ok(());
        }
        let tenant = Arc::clone(&self.tenant);
        let (name, ledger) = (&tenant.name, &tenant.ledger);
        for job in self.jobs.clone() {
            if self.summary.blocked.contains_key(&job.dataset) {
                continue;
            }
            let now = tenant.clock.now();
            for row in ledger.windows(name, job.dataset, None).await? {
                match row.state {
                    WindowState::Due if is_lost(job.dataset, &row.window, now) => {}
                    WindowState::Due if row.due_at <= now => self.plan_window(&job, &row).await?,
                    // Its night is still to come.
                    WindowState::Due => self.plan_early(&job, &row).await?,
                    WindowState::Planned if planted!("planted-reconcile-skipped") => {}
                    WindowState::Planned
                        if !ledger.has_open(name, row.dataset, row.window).await? =>
                    {
                        self.to_publish.insert((row.dataset, row.window));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    async fn plan_window(&mut self, job: &JobSpec, row: &WindowRow) -> Result<()> {
        let planned = match job.dataset.parent() {
            None => self.plan_roots(job, row).await?,
            Some(parent) => self.plan_children(job, row, parent).await?,
        };
        let Some(tasks) = planned else { return Ok(()) };
        self.read_more_urgent(job, row);
        // Its tasks may be those of another window, where days were cut anew, and done by now.
        let tenant = &self.tenant;
        let has_open = tenant
            .ledger
            .has_open(&tenant.name, job.dataset, row.window);
        if tasks == 0 || !has_open.await? {
            self.to_publish.insert((job.dataset, row.window));
        }
        let planned = EventKind::TasksPlanned { tasks };
        self.tenant.events.emit(row, planned);
        Ok(())
    }

    /// New tasks of a window are in the ledger. What was read of it before may be less urgent, and
    /// would go first otherwise.
    pub(super) fn read_more_urgent(&mut self, job: &JobSpec, row: &WindowRow) {
        self.refill = true;
        let urgency = self.urgency(job, &row.window);
        if self.queue.least_urgent() > Some(urgency) {
            self.queue.clear();
        }
    }

    /// Plans the tasks of a window without a parent, and says how many; `None` if they are not
    /// known.
    async fn plan_roots(&mut self, job: &JobSpec, row: &WindowRow) -> Result<Option<u64>> {
        if job.dataset.needs_rooms() && !self.list_rooms(job.dataset).await? {
            return Ok(None);
        }
        let rooms = self.rooms.as_deref().unwrap_or_default();
        let specs = plan::tasks(
            job,
            self.tenant.owner(),
            self.tenant.unit,
            &row.window,
            rooms,
        );
        let tasks: Vec<OpenTask> = specs
            .into_iter()
            .map(|spec| OpenTask {
                priority: plan::priority(job.dataset, spec.window.start().as_second()),
                generation: row.generation,
                spec,
            })
            .collect();
        // The batches of a day of events are cut as events come: nobody can plan them anew.
        let live = (!job.dataset.is_received())
            .then(|| tasks.iter().map(|task| task.spec.key.clone()).collect());
        let now = self.tenant.clock.now();
        let tasks = placed(tasks, self.urgency(job, &row.window));
        self.tenant
            .ledger
            .plan_tasks(row, &tasks, live.as_ref(), None, None, now)
            .await?;
        Ok(Some(tasks.len() as u64))
    }

    /// Plans the children of a window, and says how many are new; `None` if their parents are not
    /// known.
    async fn plan_children(
        &mut self,
        job: &JobSpec,
        row: &WindowRow,
        parent: Dataset,
    ) -> Result<Option<u64>> {
        let tenant = Arc::clone(&self.tenant);
        let (name, ledger) = (&tenant.name, &tenant.ledger);
        let parent_windows = ledger.windows(name, parent, Some(row.window)).await?;
        let parent_row = parent_windows
            .into_iter()
            .find(|parent| parent.window == row.window);
        let parent_tasks: PhaseCounts = ledger.phases_of(name, parent, row.window).await?;
        match ParentWindow::of(parent_row.as_ref(), &parent_tasks) {
            ParentWindow::Ready => {}
            ParentWindow::NotYet => return Ok(None),
            ParentWindow::LeftOut(state) => {
                // What was asked for early is published all the same.
                if row.was_planned_early() {
                    if ledger.has_open(name, job.dataset, row.window).await? {
                        return Ok(None);
                    }
                    self.to_publish.insert((job.dataset, row.window));
                }
                ledger.set_window_state(row, state).await?;
                return Ok(None);
            }
        }
        let parents = ledger.parents(name, parent, row.window).await?;
        let mut known = known_children(&ledger.tasks_of(name, job.dataset, row.window).await?);
        if row.was_planned_early() {
            known = asked_early(known);
        }
        if self.again.remove(&(job.dataset, row.window)) {
            known = asked_again(job, known);
        }
        let budget = self.budgets.entry(job.name.clone());
        let budget = budget.or_insert_with(|| Budget::of(job));
        let mut planned = children(job, tenant.owner(), &row.window, &parents, &known, budget);
        // Once, at the dataset that finds the meetings' ids.
        let told_by = job.dataset.definition().early.map(|early| early.by);
        if let Some(told_by) = told_by.filter(|_| job.dataset.resolves().is_some()) {
            let told = ledger.parents(name, told_by, row.window).await?;
            let coverage = &mut planned.coverage;
            (coverage.without_event, coverage.not_listed) = disagreement(&told, &parents);
            let listed_by = ledger.tasks_of(name, parent, row.window).await?;
            name_discoverers(&mut planned.tasks, &told, &listed_by);
        }
        self.summary.cover(job.dataset, &planned.coverage);
        // What another source said stays until the next answers are compared.
        let before = row.coverage.as_ref();
        planned.coverage.compared = before.and_then(|before| before.compared.clone());
        let now = tenant.clock.now();
        let tasks = placed(planned.tasks, self.urgency(job, &row.window));
        ledger
            .plan_tasks(
                row,
                &tasks,
                Some(&planned.live),
                Some(&planned.digest),
                Some(&planned.coverage),
                now,
            )
            .await?;
        Ok(Some(planned.new_tasks))
    }

    /// Asks for the tenant's rooms once a run, for a dataset; says whether they are known.
    async fn list_rooms(&mut self, dataset: Dataset) -> Result<bool> {
        // Refused once is enough: every window would ask anew.
        let is_refused = self.summary.blocked.contains_key(&dataset);
        if self.rooms.is_some() || is_refused {
            return Ok(self.rooms.is_some());
        }
        let tenant = Arc::clone(&self.tenant);
        let deadline = self.stopping.deadline();
        let latest = deadline.unwrap_or(Timestamp::MAX);
        let listed = tokio::select! {
            listed = pipeline::list_rooms(&tenant) => listed?,
            () = self.stopping.requested() => {
                self.begin_to_stop();
                return Ok(false);
            }
            () = tenant.clock.sleep_until(latest), if deadline.is_some() => {
                self.end_of_time();
                return Ok(false);
            }
        };
        match listed {
            Ok(rooms) => self.rooms = Some(rooms),
            Err(failure) => {
                let told = EventKind::WorkRefused {
                    failure: failure.clone(),
                };
                tenant.events.emit(dataset, told);
                self.summary.block(dataset, failure);
            }
        }
        Ok(self.rooms.is_some())
    }
}

/// The tasks of a window, with their priorities among all others.
pub(super) fn placed(mut tasks: Vec<OpenTask>, urgency: Urgency) -> Vec<OpenTask> {
    for task in &mut tasks {
        task.priority = plan::placed(urgency, task.priority);
    }
    tasks
}
