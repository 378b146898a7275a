//! Reconciles a tenant: what should exist by now, minus what does.
//!
//! ```text
//!           ┌──────────────────────────── loop ────────────────────────────┐
//! windows ─►│ plan what is ready ─► fill with tasks ─► publish what ended   │─► summary
//!           │        ▲                                        │            │
//!           │        └── a tick, a task's end, a publish's end, a stop ◄────┤
//!           └───────────────────────────────────────────────────────────────┘
//! ```
//! Restart, catch-up, lookback and backfill differ only in which windows they insert. What is due,
//! which children a window has and how a window ends is decided by `plan`; how a task is done, by
//! `pipeline`. The files of this module are the steps of the loop:
//!
//! - [`windows`]: which windows are inserted, and which are opened again
//! - [`planning`]: from windows to tasks
//! - [`early`]: meetings that an event told of, before their night
//! - [`queue`]: which task is begun next
//! - [`receiving`]: events that were received, into batches
//! - [`publishing`]: windows whose tasks ended, into the lake
//! - [`stopping`]: a stop, a deadline, and the time that is left after them
//! - [`summary`]: what came of it

mod early;
mod planning;
mod publishing;
mod queue;
mod receiving;
mod stopping;
pub mod summary;
mod windows;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::datasets::Dataset;
use crate::events::{EventKind, Subject};
use crate::job::JobSpec;
use crate::pipeline::{self, PublishedDay, TaskEnd, Tenant};
use crate::plan::children::Budget;
use crate::record::TaskRow;
use crate::task::{TaskKey, Urgency};
use crate::window::Window;
use queue::TaskQueue;
use stopping::Stopping;
pub use summary::{DatasetSummary, Summary};
use summary::{ImplausibleDay, UnsettledWindow};

/// What a run is for.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Everything that is due.
    Due,
    /// The civil days `[from, to)` of the job's zone.
    Backfill {
        /// First day.
        from: Date,
        /// First day after.
        to: Date,
        /// Which datasets; their parents come along.
        datasets: Vec<Dataset>,
        /// Whether settled windows are exported once more.
        again: bool,
    },
    /// What is in quarantine, once more.
    Quarantined {
        /// First civil day; `None` for all.
        from: Option<Date>,
        /// First civil day after; `None` for all.
        to: Option<Date>,
        /// Which datasets.
        datasets: Vec<Dataset>,
    },
}

impl Scope {
    /// Whether the run is for a dataset. A backfill brings the parents of its datasets along.
    fn covers(&self, dataset: Dataset) -> bool {
        match self {
            Self::Due => true,
            Self::Backfill { datasets, .. } => with_parents(datasets).contains(&dataset),
            Self::Quarantined { datasets, .. } => datasets.contains(&dataset),
        }
    }
}

/// The datasets with everything they fan out from.
#[must_use]
pub fn with_parents(datasets: &[Dataset]) -> BTreeSet<Dataset> {
    let chain = |dataset: &Dataset| std::iter::successors(Some(*dataset), |next| next.parent());
    datasets.iter().flat_map(chain).collect()
}

/// Limits of one run.
#[derive(Clone, Debug)]
pub struct RunLimits {
    /// Tasks under way at the same time.
    pub tasks_in_flight: usize,
    /// Nothing new is begun after this instant.
    pub deadline: Option<Timestamp>,
}

/// A run waits for a task that was put off for no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(20 * 60);
/// Runnable tasks read from the ledger at a time.
const QUEUE: u32 = 2_000;

/// Reconciles one tenant and says what came of it.
///
/// # Errors
/// When this machine is at fault: the ledger, a bug. What Feishu, the lake or the data did wrong is
/// in the summary.
pub async fn reconcile(
    tenant: Arc<Tenant>,
    jobs: &[JobSpec],
    scope: &Scope,
    limits: &RunLimits,
    stop: CancellationToken,
) -> Result<Summary> {
    let mut run = Run::new(tenant, jobs, limits, stop);
    run.puts_off = matches!(scope, Scope::Due);
    run.insert_windows(scope).await?;
    run.batch_events().await?;
    run.recheck_children().await?;
    anyhow::ensure!(!planted!("planted-run-fails"), "planted");
    run.work(None).await?;
    run.publish_rest().await?;
    run.tell_of_shared_quota();
    run.list_unsettled(scope).await?;
    Ok(run.summary)
}

/// Reconciles one tenant for as long as the heartbeat's channel lives: each tick looks for firings,
/// whatever else is under way, so that a long export delays no other job.
///
/// # Errors
/// As for [`reconcile`]; a full disk, a refused bucket or a wrong secret ends nothing, it is tried
/// again.
pub async fn serve(
    tenant: Arc<Tenant>,
    jobs: &[JobSpec],
    limits: &RunLimits,
    stop: CancellationToken,
    ticks: &mut Receiver<()>,
) -> Result<()> {
    let mut run = Run::new(tenant, jobs, limits, stop);
    run.on_tick().await?;
    run.recheck_children().await?;
    run.work(Some(ticks)).await?;
    run.publish_rest().await
}

/// A task that ended: its job, the task, and how.
type EndedTask = (Arc<JobSpec>, TaskRow, Result<TaskEnd>);
/// A publish that ended: its dataset and windows, and what was published.
type EndedPublish = (Dataset, Vec<Window>, Result<Vec<PublishedDay>>);

/// One run of one tenant.
struct Run {
    tenant: Arc<Tenant>,
    jobs: Vec<Arc<JobSpec>>,
    tasks_in_flight: usize,
    /// Whether days of long ago are put off for those of last night. Where a person asks for days,
    /// there are no others.
    puts_off: bool,
    stopping: Stopping,
    summary: Summary,
    /// When something refused to work; a server tries it again after a while.
    refused_at: Option<Timestamp>,
    /// Until when nothing is asked for once more because the month's calls are used up.
    quota_used_up_until: Option<Timestamp>,
    /// Windows of children that a person asks for once more, until they are planned.
    again: HashSet<(Dataset, Window)>,
    /// What each job may still plan in this run.
    budgets: HashMap<String, Budget>,
    /// The tenant's rooms, once asked for.
    rooms: Option<Vec<(String, String)>>,
    queue: TaskQueue,
    in_flight: HashSet<TaskKey>,
    /// Tasks under way by dataset.
    running: HashMap<Dataset, u64>,
    tasks: JoinSet<EndedTask>,
    publishing: JoinSet<EndedPublish>,
    /// Days that were published again because of a new verdict, and which: whether complete.
    rechecked: HashSet<(Dataset, Date, bool)>,
    /// Windows whose unfinished rows were told of.
    told_unfinished: HashSet<(Dataset, Window)>,
    /// Windows with rows to publish: their tasks ended, or the rows waited long enough.
    to_publish: BTreeSet<(Dataset, Window)>,
    last_publish: Timestamp,
    /// When the next batch of a dataset's events may be cut.
    next_batch: HashMap<Dataset, Timestamp>,
    /// When more of a window may be asked for before its night.
    next_early: HashMap<(Dataset, Window), Timestamp>,
    /// Whether a window may have become plannable.
    look_again: bool,
    /// Whether the ledger may hold runnable tasks that are not in the queue.
    refill: bool,
}

impl Run {
    fn new(
        tenant: Arc<Tenant>,
        jobs: &[JobSpec],
        limits: &RunLimits,
        stop: CancellationToken,
    ) -> Self {
        let jobs = Dataset::ALL
            .into_iter()
            .flat_map(|dataset| jobs.iter().filter(move |job| job.dataset == dataset))
            .filter(|job| job.tenants.contains(&tenant.name))
            .map(|job| Arc::new(job.clone()))
            .collect();
        Self {
            summary: Summary::new(&tenant.name),
            last_publish: tenant.clock.now(),
            stopping: Stopping::new(stop, limits.deadline),
            refused_at: None,
            quota_used_up_until: None,
            tenant,
            jobs,
            tasks_in_flight: limits.tasks_in_flight,
            puts_off: true,
            again: HashSet::new(),
            budgets: HashMap::new(),
            rooms: None,
            queue: TaskQueue::default(),
            in_flight: HashSet::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
            publishing: JoinSet::new(),
            rechecked: HashSet::new(),
            told_unfinished: HashSet::new(),
            to_publish: BTreeSet::new(),
            next_batch: HashMap::new(),
            next_early: HashMap::new(),
            look_again: true,
            refill: true,
        }
    }

    // --- the loop -------------------------------------------------------------------------------

    /// Works until nothing is left to do; with a heartbeat, until its channel closes or somebody
    /// asks to stop.
    async fn work(&mut self, mut ticks: Option<&mut Receiver<()>>) -> Result<()> {
        loop {
            if self.may_begin() {
                self.plan_what_is_ready().await?;
                self.fill().await?;
            }
            self.start_publishing().await?;
            if self.tasks.is_empty() && self.publishing.is_empty() {
                let goes_on = match &ticks {
                    Some(_) => !self.summary.stopped,
                    None => self.wait_for_deferred().await?,
                };
                if !goes_on {
                    return Ok(());
                }
                // What was waited for may run now.
                if self.refill && self.may_begin() {
                    continue;
                }
            }
            let clock = self.tenant.clock.clone();
            let next_look = self.next_look();
            tokio::select! {
                biased;
                tick = next_tick(&mut ticks) => match tick {
                    Some(()) => self.on_tick().await?,
                    None => ticks = None,
                },
                Some(ended) = self.publishing.join_next() => {
                    if let Some(published) = unless_dropped(ended, "a publish panicked")? {
                        self.after_publish(published).await?;
                    }
                }
                Some(ended) = self.tasks.join_next() => {
                    if let Some(task) = unless_dropped(ended, "a task panicked")? {
                        self.after_task(task).await?;
                    }
                }
                () = self.stopping.requested(), if !self.summary.stopped => self.begin_to_stop(),
                () = self.stopping.grace_of_tasks() => self.abort_tasks(),
                () = self.stopping.grace_of_publish(), if !self.publishing.is_empty() => {
                    self.abandon_publishing();
                }
                () = clock.sleep(next_look) => {}
            }
        }
    }

    /// Takes runnable tasks from the ledger until enough are under way.
    async fn fill(&mut self) -> Result<()> {
        while self.in_flight.len() < self.tasks_in_flight {
            let Some(task) = self.next_task().await? else {
                return Ok(());
            };
            if self.in_flight.is_empty() && !self.lake_takes_something().await {
                self.queue.clear();
                self.refill = true;
                return Ok(());
            }
            let Some(job) = self.job(task.spec.dataset()) else {
                continue;
            };
            self.in_flight.insert(task.spec.key.clone());
            *self.running.entry(job.dataset).or_insert(0) += 1;
            let tenant = Arc::clone(&self.tenant);
            let urgency = self.urgency(&job, &task.job_window);
            self.tasks.spawn(async move {
                let ended = pipeline::run_task(&tenant, &job, &task, urgency).await;
                (job, task, ended)
            });
        }
        Ok(())
    }

    async fn next_task(&mut self) -> Result<Option<TaskRow>> {
        loop {
            while let Some(task) = self.queue.pop() {
                let is_blocked = self.summary.blocked.contains_key(&task.spec.dataset());
                if !self.in_flight.contains(&task.spec.key) && !is_blocked {
                    return Ok(Some(task));
                }
            }
            if !self.refill {
                return Ok(None);
            }
            self.refill = self.read_tasks(Urgency::Nightly, QUEUE).await?;
            if self.refill {
                // What is less urgent than all of these has its turn too.
                let read = self.queue.least_urgent();
                for urgency in Urgency::ALL {
                    if read < Some(urgency) {
                        self.read_tasks(urgency, QUEUE / 10).await?;
                    }
                }
            }
            if self.queue.is_empty() {
                return Ok(None);
            }
        }
    }

    /// When nothing is under way: waits for the next deferred task, if there is one worth waiting
    /// for, and says whether to go on.
    async fn wait_for_deferred(&mut self) -> Result<bool> {
        if !self.may_begin() || !self.to_publish.is_empty() {
            return Ok(!self.to_publish.is_empty() && self.may_publish());
        }
        let idle = self.idle_datasets();
        let (ledger, name) = (&self.tenant.ledger, &self.tenant.name);
        let Some(next) = ledger.next_run_at(name, &idle).await? else {
            return Ok(false);
        };
        let now = self.tenant.clock.now();
        if next.duration_since(now) > SignedDuration::try_from(LONGEST_WAIT)? {
            return Ok(false);
        }
        if self.stopping.is_after_deadline(next) {
            self.end_of_time();
            return Ok(false);
        }
        tokio::select! {
            () = self.tenant.clock.sleep_until(next) => {}
            () = self.stopping.requested() => self.begin_to_stop(),
        }
        (self.refill, self.look_again) = (true, true);
        Ok(true)
    }

    async fn after_task(&mut self, (job, task, result): EndedTask) -> Result<()> {
        self.in_flight.remove(&task.spec.key);
        let running = self.running.entry(job.dataset);
        running.and_modify(|tasks| *tasks -= 1);
        let ended = result.with_context(|| format!("task {} of {}", task.spec.key, job.dataset))?;
        let was_refused = self.summary.is_refused(job.dataset);
        self.spare_the_quota(job.dataset, &ended);
        self.summary.count_task(job.dataset, &ended);
        if let TaskEnd::Refused { failure } = &ended
            && !was_refused
        {
            let failure = failure.clone();
            let told = EventKind::WorkRefused { failure };
            self.tenant.events.emit(job.dataset, told);
        }
        if matches!(ended, TaskEnd::Deferred { .. }) {
            self.refill = true;
        }
        let ledger = &self.tenant.ledger;
        let is_open = ledger
            .has_open(&self.tenant.name, job.dataset, task.job_window)
            .await?;
        if !is_open {
            self.to_publish.insert((job.dataset, task.job_window));
        }
        Ok(())
    }

    // --- the end --------------------------------------------------------------------------------

    /// Lists what should be in the lake by now and is not, or not whole.
    async fn list_unsettled(&mut self, scope: &Scope) -> Result<()> {
        let (tenant, now) = (Arc::clone(&self.tenant), self.tenant.clock.now());
        let (name, ledger) = (&tenant.name, &tenant.ledger);
        for job in self.jobs.clone() {
            if !scope.covers(job.dataset) {
                continue;
            }
            self.list_implausible(&job).await?;
            for row in ledger.windows(name, job.dataset, None).await? {
                if row.is_unsettled(now) {
                    let tasks = ledger.tasks_of(name, row.dataset, row.window).await?;
                    let unsettled = UnsettledWindow::new(&row, &tasks);
                    self.summary.unsettled.push(unsettled);
                }
            }
        }
        Ok(())
    }

    /// Lists the partial days of a job that a count elsewhere speaks against.
    async fn list_implausible(&mut self, job: &JobSpec) -> Result<()> {
        let tenant = Arc::clone(&self.tenant);
        let (name, zone, ledger) = (&tenant.name, &tenant.time_zone, &tenant.ledger);
        for row in ledger.partitions(Some(name)).await? {
            if row.dataset != job.dataset || row.revision == 0 || row.complete {
                continue;
            }
            let reason = crate::status::implausible(ledger, name, zone, job, row.dt).await?;
            let implausible = reason.map(|reason| ImplausibleDay {
                dataset: row.dataset,
                dt: row.dt,
                reason: reason.to_string(),
            });
            self.summary.implausible.extend(implausible);
        }
        Ok(())
    }

    // --- small things ---------------------------------------------------------------------------

    fn job(&self, dataset: Dataset) -> Option<Arc<JobSpec>> {
        let found = self.jobs.iter().find(|job| job.dataset == dataset);
        found.map(Arc::clone)
    }

    /// Datasets whose tasks do not run: blocked ones, and those whose job was removed.
    fn idle_datasets(&self) -> Vec<Dataset> {
        let is_idle = |dataset: &Dataset| {
            self.summary.blocked.contains_key(dataset) || self.job(*dataset).is_none()
        };
        Dataset::ALL.into_iter().filter(is_idle).collect()
    }

    /// Tells something that a person should know, also in the summary.
    fn warn(&mut self, subject: Subject, kind: EventKind) {
        let warning = self.tenant.events.emit(subject, kind);
        self.summary.warnings.push(warning.message());
    }
}

/// What a spawned work gave; `None` if it was dropped when its time of grace was over. Its state is
/// in the ledger.
fn unless_dropped<T>(ended: Result<T, JoinError>, panicked: &'static str) -> Result<Option<T>> {
    match ended {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.is_cancelled() => Ok(None),
        Err(error) => Err(error).context(panicked),
    }
}

/// The next tick; for ever, where there is no heartbeat.
async fn next_tick(ticks: &mut Option<&mut Receiver<()>>) -> Option<()> {
    match ticks {
        Some(ticks) => ticks.recv().await,
        None => std::future::pending().await,
    }
}
