//! Windows whose tasks ended, into the lake: at the end of each window, every fifteen minutes, and
//! at the end of the run. What is published may open the windows of children, or change the verdict
//! over another day.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::SignedDuration;

use super::{EndedPublish, Run};
use crate::datasets::Dataset;
use crate::events::EventKind;
use crate::pipeline;
use crate::plan::children::{digest, must_be_planned_again};
use crate::plan::settle::{verdict_changed, window_state};
use crate::record::WindowState;
use crate::status;
use crate::window::Window;

/// Published at the latest this long after its rows came.
const PUBLISH_EVERY: Duration = Duration::from_secs(15 * 60);
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
        let Some(&(dataset, _)) = self.to_publish.first() else {
            return Ok(());
        };
        let windows: Vec<Window> = self
            .to_publish
            .iter()
            .filter(|(of, _)| *of == dataset)
            .map(|(_, window)| *window)
            .collect();
        self.to_publish.retain(|(of, _)| *of != dataset);
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
        let (name, ledger) = (&self.tenant.name, &self.tenant.ledger);
        let tasks = ledger.phases_of(name, dataset, window).await?;
        let Some(state) = window_state(&tasks) else {
            return Ok(());
        };
        for row in ledger.windows(name, dataset, Some(window)).await? {
            if row.window == window && row.state == WindowState::Planned {
                ledger.set_window_state(&row, state).await?;
                crash_point!("w11-window-settled");
            }
        }
        self.open_children(dataset, window).await?;
        for counted in Dataset::ALL {
            let by = counted.counted_by();
            if by.is_some() && (by == Some(dataset) || counted == dataset) {
                self.recheck_counted(counted, window).await?;
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

    /// Publishes days of a list again that are called complete and are not, or the other way round:
    /// the report that counts them, or the list of the day after, came later than they did. Each
    /// verdict is acted upon once a firing.
    async fn recheck_counted(&mut self, dataset: Dataset, window: Window) -> Result<()> {
        let Some(job) = self.job(dataset) else {
            return Ok(());
        };
        let tenant = Arc::clone(&self.tenant);
        let (name, zone, ledger) = (&tenant.name, &tenant.time_zone, &tenant.ledger);
        for dt in window.widened(NEIGHBOURS).dates(zone) {
            let known = ledger.partition(name, dataset, dt).await?;
            let (Some(known), Some(day)) = (known, Window::day(zone, dt)) else {
                continue;
            };
            let windows = ledger.windows(name, dataset, Some(day)).await?;
            let is_settled = windows.iter().all(|row| row.state == WindowState::Settled);
            if known.revision == 0 || !is_settled {
                continue;
            }
            let reason = status::implausible(ledger, name, zone, &job, dt).await?;
            let is_short = reason.is_some();
            if verdict_changed(known.complete, is_short)
                && self.rechecked.insert((dataset, dt, is_short))
            {
                let again = windows.iter().map(|row| (dataset, row.window));
                self.to_publish.extend(again);
            }
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
