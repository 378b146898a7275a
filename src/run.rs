//! Reconciles a tenant: what should exist by now, minus what does.
//!
//! One loop: plan what became due, keep as many tasks under way as allowed, publish each window when its last task ends (and every fifteen
//! minutes, and at the end), then look again, because published parents have children. Restart, catch-up, lookback and backfill differ only
//! in which windows they insert. The flow of one task is `pipeline`; nothing here knows how it is done.

pub mod days;
pub mod due;
pub mod summary;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::{Receiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dataset::Dataset;
use crate::job::JobSpec;
use crate::ledger::{OpenTask, Phase, TaskRow, WindowRow, WindowState};
use crate::pipeline::{self, Ended, Published, Tenant};
use crate::plan;
use crate::plan::fanout::{self, Known};
use crate::task::TaskKey;
use crate::window::Window;
pub use summary::{Cause, DatasetSummary, Implausible, Summary, Unsettled};

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

/// Limits of one run.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tasks under way at the same time.
    pub tasks_in_flight: usize,
    /// Nothing new is begun after this instant.
    pub deadline: Option<Timestamp>,
}

/// What happens during a run, for whoever shows it.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Tasks were planned.
    Planned {
        /// Of which dataset.
        dataset: Dataset,
        /// How many.
        tasks: u64,
    },
    /// A task ended or was put off.
    Ended {
        /// Of which dataset.
        dataset: Dataset,
        /// How.
        ended: Ended,
    },
    /// A partition was published or found unchanged.
    Published {
        /// Of which dataset.
        dataset: Dataset,
        /// Which day, and how.
        published: Published,
    },
    /// Something a person should know.
    Warning(String),
}

/// Published at the latest this long after its rows came.
const PUBLISH_EVERY: Duration = Duration::from_secs(15 * 60);
/// A run waits for a task that was put off for no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(20 * 60);
/// Calls under way get this long after a stop was asked for: less than the 30 s that Kubernetes waits, with time left to publish.
const GRACE: Duration = Duration::from_secs(5);
/// A publish gets this long after a stop was asked for: a store that hangs would keep the process for as long as its requests are tried
/// again. What is dropped then is as after a kill, and the next run goes on from there.
const PUBLISH_GRACE: Duration = Duration::from_secs(15);
/// A server tries what was refused (a bucket, a secret, a scope) again after so many seconds.
const TRY_AGAIN_S: i64 = 300;
/// A report's day may reach so far into the days beside it.
const NEIGHBOURS: Duration = Duration::from_secs(86_400);
/// Runnable tasks read from the ledger at a time.
const QUEUE: u32 = 2_000;

/// Reconciles one tenant and says what came of it.
///
/// # Errors
/// When this machine is at fault: the ledger, a bug. What Feishu, the lake or the data did wrong is in the summary.
pub async fn reconcile(
    tenant: Arc<Tenant>,
    jobs: &[JobSpec],
    scope: &Scope,
    limits: &Limits,
    stop: CancellationToken,
    progress: UnboundedSender<Progress>,
) -> Result<Summary> {
    let mut run = Run::new(tenant, jobs, limits, stop, progress);
    run.insert_windows(scope).await?;
    anyhow::ensure!(!planted!("planted-run-fails"), "planted");
    run.work(None).await?;
    run.publish_rest().await?;
    run.list_unsettled(scope).await?;
    Ok(run.summary)
}

/// Reconciles one tenant for as long as the heartbeat's channel lives: each tick looks for firings, whatever else is under way, so that a
/// long export delays no other job.
///
/// # Errors
/// As for [`reconcile`]; a full disk, a refused bucket or a wrong secret ends nothing, it is tried again.
pub async fn serve(
    tenant: Arc<Tenant>,
    jobs: &[JobSpec],
    limits: &Limits,
    stop: CancellationToken,
    progress: UnboundedSender<Progress>,
    ticks: &mut Receiver<()>,
) -> Result<()> {
    let mut run = Run::new(tenant, jobs, limits, stop, progress);
    run.on_tick().await?;
    run.work(Some(ticks)).await?;
    run.publish_rest().await
}

struct Run {
    tenant: Arc<Tenant>,
    jobs: Vec<Arc<JobSpec>>,
    limits: Limits,
    stop: CancellationToken,
    progress: UnboundedSender<Progress>,
    summary: Summary,
    /// When tasks that still have not ended after a stop are given up, by the machine's clock.
    abort_at: Option<tokio::time::Instant>,
    /// When a publish that still has not ended after a stop is dropped, by the machine's clock.
    drop_at: Option<tokio::time::Instant>,
    /// When something refused to work; a server tries it again after a while.
    refused_at: Option<Timestamp>,
    /// Tasks that a job may still plan in this run.
    budgets: HashMap<String, u64>,
    /// The tenant's rooms, once asked for.
    rooms: Option<Vec<(String, String)>>,
    queue: VecDeque<TaskRow>,
    in_flight: HashSet<TaskKey>,
    /// Tasks under way by dataset.
    running: HashMap<Dataset, u64>,
    tasks: JoinSet<(Arc<JobSpec>, TaskRow, Result<Ended>)>,
    publishing: JoinSet<(Dataset, Vec<Window>, Result<Vec<Published>>)>,
    /// Days of the meeting list whose verdict was looked at again, and what it was.
    rechecked: HashSet<(Date, bool)>,
    /// Windows whose tasks all ended.
    to_publish: BTreeSet<(Dataset, Window)>,
    last_publish: Timestamp,
    /// Whether a window may have become plannable.
    look_again: bool,
    /// Whether the ledger may hold runnable tasks that are not in the queue.
    refill: bool,
}

impl Run {
    fn new(
        tenant: Arc<Tenant>,
        jobs: &[JobSpec],
        limits: &Limits,
        stop: CancellationToken,
        progress: UnboundedSender<Progress>,
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
            abort_at: None,
            drop_at: None,
            refused_at: None,
            tenant,
            jobs,
            limits: limits.clone(),
            stop,
            progress,
            budgets: HashMap::new(),
            rooms: None,
            queue: VecDeque::new(),
            in_flight: HashSet::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
            publishing: JoinSet::new(),
            rechecked: HashSet::new(),
            to_publish: BTreeSet::new(),
            look_again: true,
            refill: true,
        }
    }

    // --- the loop -----------------------------------------------------------------------------------------------

    /// Works until nothing is left to do; with a heartbeat, until its channel closes or somebody asks to stop.
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
            }
            let clock = self.tenant.clock.clone();
            let next_look = self.next_look();
            tokio::select! {
                biased;
                tick = tick(&mut ticks) => match tick {
                    Some(()) => self.on_tick().await?,
                    None => ticks = None,
                },
                Some(done) = self.publishing.join_next() => match done {
                    Ok((dataset, windows, result)) => {
                        self.after_publish(dataset, &windows, result).await?;
                    }
                    // Dropped by the grace period's end.
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => return Err(error).context("a publish panicked"),
                },
                Some(done) = self.tasks.join_next() => match done {
                    Ok((job, task, result)) => self.after_task(&job, &task, result).await?,
                    // Aborted by the grace period's end; its state is in the ledger.
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => return Err(error).context("a task panicked"),
                },
                () = self.stop.cancelled(), if !self.summary.stopped => self.stop_tasks(),
                () = sleep_until(self.abort_at), if self.abort_at.is_some() => {
                    self.abort_at = None;
                    self.tasks.abort_all();
                }
                () = sleep_until(self.drop_at), if !self.publishing.is_empty() => {
                    self.leave_publishing();
                    self.publishing.abort_all();
                }
                () = clock.sleep(next_look) => {}
            }
        }
    }

    /// How long the loop may sleep when nothing happens: a minute, or until the run's time is over.
    fn next_look(&self) -> Duration {
        let minute = Duration::from_secs(60);
        let Some(deadline) = self.limits.deadline.filter(|_| !self.summary.out_of_time) else {
            return minute;
        };
        let left = deadline.duration_since(self.tenant.clock.now());
        Duration::try_from(left)
            .unwrap_or(Duration::ZERO)
            .min(minute)
    }

    /// The time given to the run is over.
    fn end_of_time(&mut self) {
        if !self.summary.out_of_time {
            self.summary.out_of_time = true;
            self.summary.trouble = pipeline::trouble(&self.tenant);
            self.let_tasks_end();
        }
    }

    /// Somebody asked to stop.
    fn stop_tasks(&mut self) {
        self.summary.stopped = true;
        self.drop_at = Some(tokio::time::Instant::now() + PUBLISH_GRACE);
        self.let_tasks_end();
    }

    /// Leaves what is not published to the next run.
    fn leave_publishing(&mut self) {
        self.summary.stopped = true;
        self.to_publish.clear();
        self.warn(
            "the lake took too long after the stop; the next run publishes what is left".to_owned(),
        );
    }

    /// Whether the time that a publish has after a stop is over.
    fn is_too_late(&self) -> bool {
        self.drop_at
            .is_some_and(|at| at <= tokio::time::Instant::now())
    }

    /// Lets waiting tasks end where they stand, and calls under way a little time.
    fn let_tasks_end(&mut self) {
        self.tenant.exporter.stop.cancel();
        self.abort_at = Some(tokio::time::Instant::now() + GRACE);
    }

    /// Whether new work may be begun: nobody asked to stop, and nothing that concerns everything went wrong.
    fn may_begin(&mut self) -> bool {
        if self
            .limits
            .deadline
            .is_some_and(|deadline| self.tenant.clock.now() >= deadline)
        {
            self.end_of_time();
        }
        !self.summary.stopped && !self.summary.out_of_time && self.summary.stop_cause.is_none()
    }

    /// Takes runnable tasks from the ledger until enough are under way.
    async fn fill(&mut self) -> Result<()> {
        while self.in_flight.len() < self.limits.tasks_in_flight {
            let Some(task) = self.next_task().await? else {
                return Ok(());
            };
            let Some(job) = self.job(task.spec.dataset()) else {
                continue;
            };
            self.in_flight.insert(task.spec.key.clone());
            *self.running.entry(job.dataset).or_insert(0) += 1;
            let tenant = Arc::clone(&self.tenant);
            self.tasks.spawn(async move {
                let ended = pipeline::run_task(&tenant, &job, &task).await;
                (job, task, ended)
            });
        }
        Ok(())
    }

    async fn next_task(&mut self) -> Result<Option<TaskRow>> {
        loop {
            while let Some(task) = self.queue.pop_front() {
                if !self.in_flight.contains(&task.spec.key)
                    && !self.summary.blocked.contains_key(&task.spec.dataset())
                {
                    return Ok(Some(task));
                }
            }
            if !self.refill {
                return Ok(None);
            }
            let limit = QUEUE + u32::try_from(self.in_flight.len()).unwrap_or(QUEUE);
            let runnable = self
                .tenant
                .ledger
                .runnable(&self.tenant.name, self.tenant.clock.now(), limit)
                .await?;
            self.refill = runnable.len() >= limit as usize
                && runnable
                    .iter()
                    .any(|task| !self.in_flight.contains(&task.spec.key));
            self.queue.extend(
                runnable
                    .into_iter()
                    .filter(|task| !self.in_flight.contains(&task.spec.key)),
            );
            if self.queue.is_empty() {
                return Ok(None);
            }
        }
    }

    /// When nothing is under way: waits for the next deferred task, if there is one worth waiting for, and says whether to go on.
    async fn wait_for_deferred(&mut self) -> Result<bool> {
        if !self.may_begin() || !self.to_publish.is_empty() {
            return Ok(!self.to_publish.is_empty()
                && self.summary.storage_error.is_none()
                && !self.is_too_late());
        }
        let blocked = self.idle_datasets();
        let Some(next) = self
            .tenant
            .ledger
            .next_run_at(&self.tenant.name, &blocked)
            .await?
        else {
            return Ok(false);
        };
        let now = self.tenant.clock.now();
        if next.duration_since(now) > SignedDuration::try_from(LONGEST_WAIT)? {
            return Ok(false);
        }
        if self
            .limits
            .deadline
            .is_some_and(|deadline| next >= deadline)
        {
            self.end_of_time();
            return Ok(false);
        }
        tokio::select! {
            () = self.tenant.clock.sleep_until(next) => {}
            () = self.stop.cancelled() => self.stop_tasks(),
        }
        self.refill = true;
        self.look_again = true;
        Ok(true)
    }

    async fn after_task(
        &mut self,
        job: &JobSpec,
        task: &TaskRow,
        result: Result<Ended>,
    ) -> Result<()> {
        self.in_flight.remove(&task.spec.key);
        self.running
            .entry(job.dataset)
            .and_modify(|tasks| *tasks -= 1);
        let ended = result.with_context(|| format!("task {} of {}", task.spec.key, job.dataset))?;
        self.summary.count(job.dataset, &ended);
        if matches!(ended, Ended::Deferred { .. }) {
            self.refill = true;
        }
        let _ = self.progress.send(Progress::Ended {
            dataset: job.dataset,
            ended,
        });
        let ledger = &self.tenant.ledger;
        let is_open = ledger
            .has_open(&self.tenant.name, job.dataset, task.job_window)
            .await?;
        if !is_open {
            self.to_publish.insert((job.dataset, task.job_window));
        }
        Ok(())
    }

    // --- from windows to tasks ----------------------------------------------------------------------------------

    async fn plan_what_is_ready(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.look_again) {
            return Ok(());
        }
        for job in self.jobs.clone() {
            if self.summary.blocked.contains_key(&job.dataset) {
                continue;
            }
            let now = self.tenant.clock.now();
            for row in self
                .tenant
                .ledger
                .windows(&self.tenant.name, job.dataset, None)
                .await?
            {
                match row.state {
                    WindowState::Due if row.due_at <= now => self.plan_window(&job, &row).await?,
                    // A run that was stopped between the last task and the publish.
                    WindowState::Planned if !planted!("planted-reconcile-skipped") => {
                        let ledger = &self.tenant.ledger;
                        if !ledger
                            .has_open(&row.tenant, row.dataset, row.window)
                            .await?
                        {
                            self.to_publish.insert((row.dataset, row.window));
                        }
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
        self.refill = true;
        if tasks == 0 {
            self.to_publish.insert((job.dataset, row.window));
        }
        let _ = self.progress.send(Progress::Planned {
            dataset: job.dataset,
            tasks,
        });
        Ok(())
    }

    async fn plan_roots(&mut self, job: &JobSpec, row: &WindowRow) -> Result<Option<u64>> {
        if job.dataset == Dataset::ResourceReservationList && !self.list_rooms().await? {
            return Ok(None);
        }
        let rooms = self.rooms.as_deref().unwrap_or_default();
        let tasks: Vec<OpenTask> =
            plan::tasks(job, &row.tenant, self.tenant.unit, &row.window, rooms)
                .into_iter()
                .map(|spec| OpenTask {
                    priority: plan::priority(job.dataset, spec.window.start().as_second()),
                    generation: row.generation,
                    spec,
                })
                .collect();
        let live: HashSet<TaskKey> = tasks.iter().map(|task| task.spec.key.clone()).collect();
        self.tenant
            .ledger
            .plan_tasks(
                row,
                &tasks,
                Some(&live),
                None,
                None,
                self.tenant.clock.now(),
            )
            .await?;
        Ok(Some(tasks.len() as u64))
    }

    async fn plan_children(
        &mut self,
        job: &JobSpec,
        row: &WindowRow,
        parent: Dataset,
    ) -> Result<Option<u64>> {
        let ledger = &self.tenant.ledger;
        let parents_window = ledger
            .windows(&row.tenant, parent, Some(row.window))
            .await?
            .into_iter()
            .find(|p| p.window == row.window);
        match parents_window.map(|parent| parent.state) {
            Some(WindowState::Settled) => {}
            Some(WindowState::Stuck) => {
                let phases = ledger.phases_of(&row.tenant, parent, row.window).await?;
                if !phases.iter().any(|(phase, _)| *phase == Phase::Published) {
                    return Ok(None);
                }
            }
            Some(state @ (WindowState::Skipped | WindowState::Lost)) => {
                ledger.set_window_state(row, state).await?;
                return Ok(None);
            }
            Some(WindowState::Due | WindowState::Planned) | None => return Ok(None),
        }
        let parents = ledger.parents(&row.tenant, parent, row.window).await?;
        let known = self.known_children(job.dataset, row).await?;
        let budget = self
            .budgets
            .entry(job.name.clone())
            .or_insert_with(|| job.fan_out.max_tasks_per_run.map_or(u64::MAX, u64::from));
        let fan_out = fanout::children(job, &row.tenant, &row.window, &parents, &known, budget);
        let new = fan_out.tasks.iter().filter(|task| {
            known
                .get(&task.spec.key)
                .is_none_or(|known| known.generation < task.generation)
        });
        let new = new.count() as u64;
        let coverage = serde_json::to_string(&fan_out.coverage)?;
        let digest = fanout::digest(&parents);
        self.summary.cover(job.dataset, &fan_out.coverage);
        self.tenant
            .ledger
            .plan_tasks(
                row,
                &fan_out.tasks,
                Some(&fan_out.live),
                Some(&digest),
                Some(&coverage),
                self.tenant.clock.now(),
            )
            .await?;
        Ok(Some(new))
    }

    async fn known_children(
        &self,
        dataset: Dataset,
        row: &WindowRow,
    ) -> Result<HashMap<TaskKey, Known>> {
        let tasks = self
            .tenant
            .ledger
            .tasks_of(&row.tenant, dataset, row.window)
            .await?;
        let known = |task: &TaskRow| Known {
            generation: task.generation,
            rows: task.rows.filter(|_| task.phase == Phase::Published),
        };
        Ok(tasks
            .iter()
            .filter(|task| task.phase != Phase::Withdrawn)
            .map(|task| (task.spec.key.clone(), known(task)))
            .collect())
    }

    /// Asks for the tenant's rooms once a run; says whether they are known.
    async fn list_rooms(&mut self) -> Result<bool> {
        // Refused once is enough: every window would ask anew.
        let is_refused = self
            .summary
            .blocked
            .contains_key(&Dataset::ResourceReservationList);
        if self.rooms.is_some() || is_refused {
            return Ok(self.rooms.is_some());
        }
        let (tenant, stop, deadline) = (
            Arc::clone(&self.tenant),
            self.stop.clone(),
            self.limits.deadline,
        );
        let listed = tokio::select! {
            listed = pipeline::list_rooms(&tenant) => listed?,
            () = stop.cancelled() => {
                self.stop_tasks();
                return Ok(false);
            }
            () = tenant.clock.sleep_until(deadline.unwrap_or(Timestamp::MAX)), if deadline.is_some() => {
                self.end_of_time();
                return Ok(false);
            }
        };
        match listed {
            Ok(rooms) => self.rooms = Some(rooms),
            Err(cause) => self.summary.block(Dataset::ResourceReservationList, cause),
        }
        Ok(self.rooms.is_some())
    }

    // --- publishing ---------------------------------------------------------------------------------------------

    async fn start_publishing(&mut self) -> Result<()> {
        if !self.publishing.is_empty() || self.summary.storage_error.is_some() || self.is_too_late()
        {
            return Ok(());
        }
        let now = self.tenant.clock.now();
        let overdue =
            now.duration_since(self.last_publish) >= SignedDuration::try_from(PUBLISH_EVERY)?;
        if overdue {
            self.last_publish = now;
            for dataset in Dataset::ALL {
                for task in self
                    .tenant
                    .ledger
                    .spooled(&self.tenant.name, Some(dataset))
                    .await?
                {
                    self.to_publish.insert((dataset, task.job_window));
                }
            }
        }
        let Some(&(dataset, _)) = self.to_publish.first() else {
            return Ok(());
        };
        let Some(job) = self.job(dataset) else {
            self.to_publish.retain(|(other, _)| *other != dataset);
            return Ok(());
        };
        let windows: Vec<Window> = self
            .to_publish
            .iter()
            .filter(|(d, _)| *d == dataset)
            .map(|(_, window)| *window)
            .collect();
        self.to_publish.retain(|(other, _)| *other != dataset);
        let (tenant, progress) = (Arc::clone(&self.tenant), self.progress.clone());
        self.publishing.spawn(async move {
            let result = pipeline::publish_windows(&tenant, &job, &windows, &|published| {
                let _ = progress.send(Progress::Published { dataset, published });
            })
            .await;
            (dataset, windows, result)
        });
        Ok(())
    }

    async fn after_publish(
        &mut self,
        dataset: Dataset,
        windows: &[Window],
        result: Result<Vec<Published>>,
    ) -> Result<()> {
        match result {
            Ok(published) => self.summary.count_published(dataset, &published),
            Err(error) => match pipeline::storage_cause(&error) {
                Some(cause) => {
                    tracing::error!(dataset = %dataset, error = format!("{error:#}"), "could not publish");
                    self.summary.storage_error = Some(cause);
                    return Ok(());
                }
                None => return Err(error),
            },
        }
        for window in windows {
            self.settle(dataset, *window).await?;
        }
        self.look_again = true;
        Ok(())
    }

    /// Closes a window whose tasks all ended and were published, and opens the children of changed parents.
    async fn settle(&mut self, dataset: Dataset, window: Window) -> Result<()> {
        let (tenant, ledger) = (&self.tenant.name, &self.tenant.ledger);
        let phases = ledger.phases_of(tenant, dataset, window).await?;
        let has = |wanted: Phase| phases.iter().any(|(phase, _)| *phase == wanted);
        if has(Phase::Open) || has(Phase::Spooled) {
            return Ok(());
        }
        let state = if has(Phase::Failed) || has(Phase::Quarantined) {
            WindowState::Stuck
        } else {
            WindowState::Settled
        };
        for row in ledger
            .windows(tenant, dataset, Some(window))
            .await?
            .iter()
            .filter(|row| row.window == window)
        {
            if row.state == WindowState::Planned {
                ledger.set_window_state(row, state).await?;
                crash_point!("w11-window-settled");
            }
        }
        self.open_children(dataset, window).await?;
        match dataset {
            Dataset::DailyReport | Dataset::MeetingList => self.recheck_meetings(window).await,
            _ => Ok(()),
        }
    }

    async fn open_children(&self, dataset: Dataset, window: Window) -> Result<()> {
        let (tenant, ledger) = (&self.tenant.name, &self.tenant.ledger);
        let Some(child) = Dataset::ALL
            .into_iter()
            .find(|child| child.parent() == Some(dataset))
        else {
            return Ok(());
        };
        let digest = fanout::digest(&ledger.parents(tenant, dataset, window).await?);
        for row in ledger
            .windows(tenant, child, Some(window))
            .await?
            .iter()
            .filter(|row| row.window == window)
        {
            let ended = matches!(row.state, WindowState::Settled | WindowState::Stuck);
            if ended && row.parents.as_deref() != Some(&digest) {
                ledger.set_window_state(row, WindowState::Due).await?;
            }
        }
        Ok(())
    }

    /// Publishes days of the meeting list again that are called complete and are not, or the other way round: the daily report, or the list of
    /// the day after, came later than they did. Each verdict is acted upon once a firing.
    async fn recheck_meetings(&mut self, window: Window) -> Result<()> {
        let dataset = Dataset::MeetingList;
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
            let is_short = pipeline::implausible(ledger, name, zone, &job, dt)
                .await?
                .is_some();
            if known.complete == is_short && self.rechecked.insert((dt, is_short)) {
                let again = windows.iter().map(|row| (dataset, row.window));
                self.to_publish.extend(again);
            }
        }
        Ok(())
    }

    /// Publishes what is left in the spool, and keeps what was learned.
    async fn publish_rest(&mut self) -> Result<()> {
        for dataset in Dataset::ALL {
            let left: BTreeSet<Window> = self
                .tenant
                .ledger
                .spooled(&self.tenant.name, Some(dataset))
                .await?
                .iter()
                .map(|task| task.job_window)
                .collect();
            let Some(job) = self.job(dataset) else {
                continue;
            };
            if left.is_empty() || self.summary.storage_error.is_some() || self.is_too_late() {
                continue;
            }
            let windows: Vec<Window> = left.into_iter().collect();
            let (stop, drop_at) = (self.stop.clone(), self.drop_at);
            let result = tokio::select! {
                result = pipeline::publish_windows(&self.tenant, &job, &windows, &|_| {}) => result,
                () = after_stop(&stop, drop_at) => {
                    self.leave_publishing();
                    break;
                }
            };
            self.after_publish(dataset, &windows, result).await?;
        }
        pipeline::remember(&self.tenant).await
    }

    async fn list_unsettled(&mut self, scope: &Scope) -> Result<()> {
        let now = self.tenant.clock.now();
        for job in self.jobs.clone() {
            let wanted = match scope {
                Scope::Due => true,
                Scope::Backfill { datasets, .. } => with_parents(datasets).contains(&job.dataset),
                Scope::Quarantined { datasets, .. } => datasets.contains(&job.dataset),
            };
            if wanted {
                self.list_implausible(&job).await?;
            }
            for row in self
                .tenant
                .ledger
                .windows(&self.tenant.name, job.dataset, None)
                .await?
            {
                if wanted && is_unsettled(&row, now) {
                    let tasks = self
                        .tenant
                        .ledger
                        .tasks_of(&row.tenant, row.dataset, row.window)
                        .await?;
                    self.summary.unsettled.push(Unsettled::new(&row, &tasks));
                }
            }
        }
        Ok(())
    }

    /// Lists the days of a job that are partial although every task ended well.
    async fn list_implausible(&mut self, job: &JobSpec) -> Result<()> {
        let tenant = Arc::clone(&self.tenant);
        let (name, zone, ledger) = (&tenant.name, &tenant.time_zone, &tenant.ledger);
        for row in ledger.partitions(Some(name)).await? {
            if row.dataset != job.dataset || row.revision == 0 || row.complete {
                continue;
            }
            let reason = pipeline::implausible(ledger, name, zone, job, row.dt).await?;
            self.summary
                .implausible
                .extend(reason.map(|reason| Implausible {
                    dataset: row.dataset,
                    dt: row.dt,
                    reason,
                }));
        }
        Ok(())
    }

    // --- small things -------------------------------------------------------------------------------------------

    fn job(&self, dataset: Dataset) -> Option<Arc<JobSpec>> {
        self.jobs
            .iter()
            .find(|job| job.dataset == dataset)
            .map(Arc::clone)
    }

    /// Datasets whose tasks do not run: blocked ones, and those whose job was removed.
    fn idle_datasets(&self) -> Vec<Dataset> {
        let is_idle = |dataset: &Dataset| {
            self.summary.blocked.contains_key(dataset) || self.job(*dataset).is_none()
        };
        Dataset::ALL.into_iter().filter(is_idle).collect()
    }

    fn warn(&mut self, text: String) {
        tracing::warn!("{text}");
        let _ = self.progress.send(Progress::Warning(text.clone()));
        self.summary.warnings.push(text);
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// When a publish is dropped: at `drop_at`, or some time after a stop that nobody has noticed yet.
async fn after_stop(stop: &CancellationToken, drop_at: Option<tokio::time::Instant>) {
    match drop_at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => {
            stop.cancelled().await;
            tokio::time::sleep(PUBLISH_GRACE).await;
        }
    }
}

/// The next tick; for ever, where there is no heartbeat.
async fn tick(ticks: &mut Option<&mut Receiver<()>>) -> Option<()> {
    match ticks {
        Some(ticks) => ticks.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether a window should be in the lake by now and is not.
fn is_unsettled(row: &WindowRow, now: Timestamp) -> bool {
    row.due_at <= now
        && matches!(
            row.state,
            WindowState::Due | WindowState::Planned | WindowState::Stuck
        )
}

/// The datasets with everything they fan out from.
fn with_parents(datasets: &[Dataset]) -> BTreeSet<Dataset> {
    let mut all = BTreeSet::new();
    for dataset in datasets {
        let mut next = Some(*dataset);
        while let Some(dataset) = next {
            all.insert(dataset);
            next = dataset.parent();
        }
    }
    all
}
