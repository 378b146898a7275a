//! Windows whose tasks ended, into the lake: at the end of each window, every fifteen minutes, and
//! at the end of the run. What is published may open the windows of children, or change the verdict
//! over another day.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::SignedDuration;
use jiff::civil::Date;

use super::{EndedPublish, Run};
use crate::datasets::Dataset;
use crate::events::EventKind;
use crate::pipeline;
use crate::plan::children::{digest, ended_as, must_be_planned_again};
use crate::plan::partition::windows_asked_for;
use crate::plan::settle::window_state;
use crate::record::{Phase, Reason, ReasonKind, Unfinished, WindowRow, WindowState};
use crate::status;
use crate::task::Urgency;
use crate::window::Window;

/// Published at the latest this long after its rows came.
const PUBLISH_EVERY: Duration = Duration::from_secs(15 * 60);
/// Windows of one round.
const MOST_WINDOWS: usize = 31;
/// A report's day may reach so far into the days beside it.
const NEIGHBOURS: Duration = Duration::from_secs(86_400);

impl Run {
    /// Starts publishing the windows of one dataset, if any are ready and no publish is under way.
    pub(super) async fn start_publishing(&mut self) -> Result<()> {
        if !self.publishing.is_empty() || !self.may_publish() {
            return Ok(());
        }
        let now = self.tenant.clock.now();
        let since = now.duration_since(self.last_publish);
        if since >= SignedDuration::try_from(PUBLISH_EVERY)? {
            self.last_publish = now;
            let spooled = self.tenant.ledger.spooled(&self.tenant.name, None).await?;
            let windows = spooled
                .iter()
                .map(|task| (task.spec.dataset(), task.job_window));
            self.to_publish.extend(windows);
        }
        let Some((dataset, windows)) = self.next_round() else {
            return Ok(());
        };
        self.to_publish
            .retain(|(of, window)| *of != dataset || !windows.contains(window));
        let Some(job) = self.job(dataset) else {
            return Ok(());
        };
        let tenant = Arc::clone(&self.tenant);
        self.publishing.spawn(async move {
            let result = pipeline::publish_windows(&tenant, &job, &windows).await;
            (dataset, windows, result)
        });
        Ok(())
    }

    /// The windows of the next round: those of one dataset that are the most urgent. Of long ago it
    /// takes a month's at a time, so that last night's do not wait long for the round to end.
    fn next_round(&self) -> Option<(Dataset, Vec<Window>)> {
        let urgency_of = |dataset: Dataset, window: &Window| {
            let job = self.job(dataset);
            job.map_or(Urgency::Nightly, |job| self.urgency(&job, window))
        };
        let first = self.to_publish.iter();
        let first = first.min_by_key(|(dataset, window)| (urgency_of(*dataset, window), *dataset));
        let (dataset, urgency) = first.map(|(of, window)| (*of, urgency_of(*of, window)))?;
        let is_of_round = |(of, window): &&(Dataset, Window)| {
            *of == dataset && urgency_of(*of, window) == urgency
        };
        let windows = self.to_publish.iter().filter(is_of_round);
        let windows = windows.map(|(_, window)| *window).take(MOST_WINDOWS);
        Some((dataset, windows.collect()))
    }

    pub(super) async fn after_publish(
        &mut self,
        (dataset, windows, result): EndedPublish,
    ) -> Result<()> {
        match result {
            Ok(published) => self.summary.count_published(dataset, &published),
            Err(error) => {
                let Some(failure) = pipeline::storage_failure(&error) else {
                    return Err(error);
                };
                let problem = format!("{error:#}");
                let told = EventKind::PublishFailed { problem };
                self.tenant.events.emit(dataset, told);
                self.summary.storage_error = Some(failure);
                // It is published once the lake takes something again.
                let windows = windows.into_iter().map(|window| (dataset, window));
                self.to_publish.extend(windows);
                return Ok(());
            }
        }
        for window in windows {
            self.settle(dataset, window).await?;
        }
        self.look_again = true;
        Ok(())
    }

    /// Closes a window whose tasks all ended and were published, and opens the children of changed
    /// parents.
    async fn settle(&mut self, dataset: Dataset, window: Window) -> Result<()> {
        let tenant = Arc::clone(&self.tenant);
        let (name, ledger) = (&tenant.name, &tenant.ledger);
        let tasks = ledger.phases_of(name, dataset, window).await?;
        let state = match window_state(&tasks) {
            Some(state) => state,
            // No more comes of it in this run.
            None if !tasks.has(Phase::Open)
                && pipeline::waits_for_all(&self.tenant, dataset, window).await? =>
            {
                WindowState::Stuck
            }
            None => return Ok(()),
        };
        for row in ledger.windows(name, dataset, Some(window)).await? {
            if row.window == window && row.state == WindowState::Planned {
                if let Some(coverage) = &row.coverage {
                    self.summary.resolve(dataset, coverage);
                }
                self.tell_of_unfinished(&row);
                let state = match dataset.parent() {
                    Some(parent) => {
                        let parents = ledger.parents(name, parent, window).await?;
                        ended_as(&row, &digest(&parents), state)
                    }
                    None => state,
                };
                ledger.set_window_state(&row, state).await?;
                crash_point!("w11-window-settled");
            }
        }
        self.open_children(dataset, window).await?;
        self.insert_early(dataset, window).await?;
        for other in Dataset::ALL {
            let by = other.counted_by();
            let is_counted = by.is_some() && (by == Some(dataset) || other == dataset);
            if is_counted || other.parent() == Some(dataset) {
                self.recheck(other, window).await?;
            }
        }
        Ok(())
    }

    /// Tells of rows that the last answers left unfinished.
    fn tell_of_unfinished(&mut self, row: &WindowRow) {
        let Some(job) = self.job(row.dataset) else {
            return;
        };
        let now = self.tenant.clock.now();
        for unfinished in Unfinished::of([row], &job.time_zone, now) {
            if self.told_unfinished.insert((row.dataset, row.window)) {
                self.warn(row.into(), EventKind::StaysUnfinished { unfinished });
            }
        }
    }

    /// Looks at the days of children whose verdict is not that of their parent's day, whatever
    /// became of the run that changed the parent's.
    pub(super) async fn recheck_children(&mut self) -> Result<()> {
        let tenant = Arc::clone(&self.tenant);
        let partitions = tenant.ledger.partitions(Some(&tenant.name)).await?;
        let known: BTreeMap<(Dataset, Date), bool> = partitions
            .iter()
            .filter(|row| row.revision > 0)
            .map(|row| ((row.dataset, row.dt), row.complete))
            .collect();
        for (&(dataset, dt), is_complete) in &known {
            for child in dataset.children() {
                // What is not there needs a look once its parent is whole.
                let of_child = known.get(&(child, dt)).copied().unwrap_or(false);
                if of_child != *is_complete {
                    self.recheck_day(child, dt).await?;
                }
            }
        }
        Ok(())
    }

    async fn open_children(&self, dataset: Dataset, window: Window) -> Result<()> {
        let (name, ledger) = (&self.tenant.name, &self.tenant.ledger);
        let mut rows = Vec::new();
        for child in dataset.children() {
            let of_child = ledger.windows(name, child, Some(window)).await?;
            rows.extend(of_child.into_iter().filter(|row| row.window == window));
        }
        // Without a window that was planned, nobody asks which parents there are.
        if rows.is_empty() {
            return Ok(());
        }
        let digest = digest(&ledger.parents(name, dataset, window).await?);
        for row in rows {
            if must_be_planned_again(&row, &digest) {
                ledger.set_window_state(&row, WindowState::Due).await?;
            }
        }
        Ok(())
    }

    /// Publishes days again that are called complete and are not, or the other way round: the
    /// report that counts them, the list of the day after, or the day of their parent came later
    /// than they did. Each verdict is acted upon once a firing.
    async fn recheck(&mut self, dataset: Dataset, window: Window) -> Result<()> {
        let zone = self.tenant.time_zone.clone();
        for dt in window.widened(NEIGHBOURS).dates(&zone) {
            self.recheck_day(dataset, dt).await?;
        }
        Ok(())
    }

    pub(super) async fn recheck_day(&mut self, dataset: Dataset, dt: Date) -> Result<()> {
        let tenant = Arc::clone(&self.tenant);
        let (name, zone, ledger) = (&tenant.name, &tenant.time_zone, &tenant.ledger);
        let (Some(job), Some(day)) = (self.job(dataset), Window::day(zone, dt)) else {
            return Ok(());
        };
        let known = ledger.partition(name, dataset, dt).await?;
        let known = known.filter(|row| row.revision > 0);
        let windows = windows_asked_for(ledger.windows(name, dataset, Some(day)).await?);
        let is_under_way = windows.iter().any(|row| !row.state.has_ended());
        let is_called_complete = known.as_ref().is_some_and(|row| row.complete);
        // A look at all tasks costs more than one at the windows.
        if windows.is_empty() || (is_under_way && !is_called_complete) {
            return Ok(());
        }
        let reasons = status::reasons_now(ledger, name, zone, &job, dt, tenant.clock.now()).await?;
        // What is still exported is published at its end, unless its parent fails meanwhile.
        let is_of_parent = |reason: &Reason| reason.kind == ReasonKind::ParentPartial;
        if is_under_way && !(is_called_complete && reasons.iter().any(is_of_parent)) {
            return Ok(());
        }
        let is_complete = reasons.is_empty();
        if is_called_complete != is_complete && self.rechecked.insert((dataset, dt, is_complete)) {
            let again = windows.iter().map(|row| (dataset, row.window));
            self.to_publish.extend(again);
        }
        Ok(())
    }

    /// Publishes what is left in the spool, and keeps what was learned.
    pub(super) async fn publish_rest(&mut self) -> Result<()> {
        let tenant = Arc::clone(&self.tenant);
        for dataset in Dataset::ALL {
            let spooled = tenant.ledger.spooled(&tenant.name, Some(dataset)).await?;
            let left: BTreeSet<Window> = spooled.iter().map(|task| task.job_window).collect();
            let Some(job) = self.job(dataset) else {
                continue;
            };
            if left.is_empty() || !self.may_publish() {
                continue;
            }
            let windows: Vec<Window> = left.into_iter().collect();
            let result = tokio::select! {
                result = pipeline::publish_windows(&tenant, &job, &windows) => result,
                () = self.stopping.grace_of_last_publish() => {
                    self.leave_publishing_to_the_next_run();
                    break;
                }
            };
            self.after_publish((dataset, windows, result)).await?;
        }
        pipeline::remember_pace_and_calls(&tenant).await
    }
}
