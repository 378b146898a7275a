//! A stop, a deadline, and the time that is left after them.
//!
//! Nothing new is begun, tasks that wait end where they stand, calls under way get a little time,
//! and so does a publish. What is dropped then is as after a kill: the next run goes on from there.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Run;
use super::summary::{RefusalReach, refusal_reaches};
use crate::cause::Cause;
use crate::datasets::Dataset;
use crate::events::{EventKind, Subject};
use crate::pipeline::{self, TaskEnd};
use crate::window::{next_month, start_of_day};

/// Calls under way get this long after a stop was asked for: less than the 30 s that Kubernetes
/// waits, with time left to publish.
const TASK_GRACE: Duration = Duration::from_secs(5);
/// A publish gets this long after a stop was asked for. A store that hangs would keep the process
/// for as long as its requests are tried again.
const PUBLISH_GRACE: Duration = Duration::from_secs(15);
/// The loop looks around at least this often.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// What ends a run before its work is done.
#[derive(Debug)]
pub(super) struct Stopping {
    stop: CancellationToken,
    /// Nothing new is begun after this instant.
    deadline: Option<Timestamp>,
    /// When tasks that still have not ended are given up, by the machine's clock.
    abort_tasks_at: Option<Instant>,
    /// When a publish that still has not ended is dropped, by the machine's clock.
    drop_publish_at: Option<Instant>,
}

impl Stopping {
    pub(super) const fn new(stop: CancellationToken, deadline: Option<Timestamp>) -> Self {
        Self {
            stop,
            deadline,
            abort_tasks_at: None,
            drop_publish_at: None,
        }
    }

    /// Ends when somebody asks to stop.
    pub(super) async fn requested(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the run's time is over at `instant`.
    pub(super) fn is_after_deadline(&self, instant: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| instant >= deadline)
    }

    /// The instant after which nothing new is begun.
    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Ends when tasks under way are to be given up; never before a stop.
    pub(super) async fn grace_of_tasks(&self) {
        sleep_until(self.abort_tasks_at).await;
    }

    /// Ends when a publish under way is to be dropped; never before a stop.
    pub(super) async fn grace_of_publish(&self) {
        sleep_until(self.drop_publish_at).await;
    }

    /// As [`Stopping::grace_of_publish`], but also after a stop that the loop has not noticed.
    pub(super) async fn grace_of_last_publish(&self) {
        if self.drop_publish_at.is_some() {
            return self.grace_of_publish().await;
        }
        self.requested().await;
        tokio::time::sleep(PUBLISH_GRACE).await;
    }

    /// Whether the time that a publish has after a stop is over.
    pub(super) fn is_too_late_to_publish(&self) -> bool {
        self.drop_publish_at.is_some_and(|at| at <= Instant::now())
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Run {
    /// Whether new work may be begun: nobody asked to stop, there is time, and nothing that
    /// concerns everything went wrong.
    pub(super) fn may_begin(&mut self) -> bool {
        let now = self.tenant.clock.now();
        if self.stopping.is_after_deadline(now) {
            self.end_of_time();
        }
        !self.summary.stopped && !self.summary.out_of_time && self.summary.stop_cause.is_none()
    }

    /// Whether partitions may be published: the lake refused nothing, and a stop is not too long
    /// ago.
    pub(super) fn may_publish(&self) -> bool {
        self.summary.storage_error.is_none() && !self.stopping.is_too_late_to_publish()
    }

    /// Whether the lake takes what will be exported. If it refuses for good, the run ends.
    pub(super) async fn lake_takes_something(&mut self) -> bool {
        let tenant = Arc::clone(&self.tenant);
        let refusal = tokio::select! {
            refusal = tenant.lake_check.refusal() => refusal,
            () = self.stopping.requested() => {
                self.begin_to_stop();
                return false;
            }
        };
        let Some(failure) = refusal else { return true };
        let told = EventKind::WorkRefused {
            failure: failure.clone(),
        };
        tenant.events.emit(Subject::default(), told);
        self.summary.storage_error = Some(failure.clone());
        self.summary.stop_cause.get_or_insert(failure);
        false
    }

    /// Where a task was refused because the month's calls are used up, stops the other datasets
    /// that a tenant can do without. A server asks once more after a day: the edition may have been
    /// changed.
    pub(super) fn spare_the_quota(&mut self, dataset: Dataset, ended: &TaskEnd) {
        let TaskEnd::Refused { failure } = ended else {
            return;
        };
        if failure.cause != Cause::QuotaExhausted {
            return;
        }
        let (zone, now) = (&self.tenant.time_zone, self.tenant.clock.now());
        let month_ends = start_of_day(zone, next_month(zone, now));
        let in_a_day = now.saturating_add(SignedDuration::from_hours(24));
        self.quota_used_up_until = Some(month_ends.min(in_a_day.unwrap_or(month_ends)));
        if refusal_reaches(failure.cause, dataset) == RefusalReach::Optional {
            let optional = self.jobs.iter().map(|job| job.dataset);
            for other in optional.filter(|other| other.is_optional()) {
                self.summary.block(other, failure.clone());
            }
        }
    }

    /// How long the loop may sleep when nothing happens: a minute, or until the run's time is over.
    pub(super) fn next_look(&self) -> Duration {
        let deadline = self.stopping.deadline();
        let Some(deadline) = deadline.filter(|_| !self.summary.out_of_time) else {
            return LONGEST_LOOK;
        };
        let left = deadline.duration_since(self.tenant.clock.now());
        let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
        left.min(LONGEST_LOOK)
    }

    /// The time given to the run is over.
    pub(super) fn end_of_time(&mut self) {
        if !self.summary.out_of_time {
            self.summary.out_of_time = true;
            self.summary.trouble = pipeline::last_call_failure(&self.tenant);
            self.let_tasks_end();
        }
    }

    /// Somebody asked to stop.
    pub(super) fn begin_to_stop(&mut self) {
        self.summary.stopped = true;
        self.stopping.drop_publish_at = Some(Instant::now() + PUBLISH_GRACE);
        self.let_tasks_end();
    }

    /// Lets waiting tasks end where they stand, and calls under way a little time.
    fn let_tasks_end(&mut self) {
        self.tenant.fetcher.stop.cancel();
        self.stopping.abort_tasks_at = Some(Instant::now() + TASK_GRACE);
    }

    /// Gives up the tasks that still have not ended.
    pub(super) fn abort_tasks(&mut self) {
        self.stopping.abort_tasks_at = None;
        self.tasks.abort_all();
    }

    /// Drops a publish that still has not ended.
    pub(super) fn abandon_publishing(&mut self) {
        self.leave_publishing_to_the_next_run();
        self.publishing.abort_all();
    }

    /// Leaves what is not published to the next run.
    pub(super) fn leave_publishing_to_the_next_run(&mut self) {
        self.summary.stopped = true;
        self.to_publish.clear();
        self.warn(Subject::default(), EventKind::PublishAbandoned);
    }
}
