//! What a run would export, without calling anybody and without writing anything.
//!
//! It takes the decisions of a run: the same windows, the same children, and one budget for all
//! windows of a job.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::job_record::JobRecord;
use super::jobs_of;
use crate::datasets::{CallLimits, Dataset, Extent, ROOMS};
use crate::job::JobSpec;
use crate::ledger::Ledger;
use crate::plan::children::{
    Budget, Children, ParentWindow, asked_early, children, known_children,
};
use crate::plan::due::{Backfill, Due, backfill, is_left_over, windows_to_work_on};
use crate::plan::early::is_told_by_events;
use crate::plan::estimate::{Estimate, Load, MONTH_DAYS, asks_a_month, estimate};
use crate::plan::tasks;
use crate::record::{Coverage, NewWindow, Phase, PhaseCounts, WindowRow, WindowState};
use crate::schedule::Schedule;
use crate::task::TaskOwner;
use crate::window::{Window, date_of};

/// What one job would do for one tenant.
#[derive(Clone, Debug)]
pub struct JobForecast<'j> {
    /// The job.
    pub job: &'j JobSpec,
    /// The windows that a run would work on, in order.
    pub windows: Vec<Window>,
    /// Of these, those in which the last run's bound of tasks left parents out.
    pub left_over: u64,
    /// Tasks that are certain.
    pub tasks: u64,
    /// Windows whose tasks are only known when their parents are exported, or the rooms listed.
    pub unknown: u64,
    /// Tasks that such windows will have if they are as those before; `None` without a history.
    pub expected: Option<u64>,
    /// Tasks that a window has, as those before; `None` if that is known only after a first run.
    pub usual: Option<u64>,
    /// How often the tasks of a window are asked for in a month.
    pub asks_a_month: u64,
    /// Rows that a task of the newest day in the lake brought, 0 without one; where each item of
    /// other lists is asked for, the items of their newest days.
    pub rows: u64,
    /// The lists that are read first for that, with the rows of their newest days.
    pub lists: Vec<(Dataset, u64)>,
    /// What became of each known parent; `None` if no parent is known.
    pub coverage: Option<Coverage>,
    /// What a person should know beyond that.
    pub notes: Vec<ForecastNote>,
}

/// Why a forecast does not cover all that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForecastNote {
    /// This part of a backfill is older than Feishu answers for: so many days.
    BeyondHorizon(Window, u64),
    /// A backfill cannot bring a snapshot of another day.
    NoHistory(Window),
    /// This window of a backfill, and those after it, are not over or not settled.
    NotYet(Window),
    /// So many due windows are older than Feishu answers for.
    WindowsLost(u64),
    /// So many days of a snapshot passed without one.
    DaysWithoutSnapshot(u64),
    /// How many calls it takes depends on lists that are not in the lake.
    CallsNotKnown(&'static [Dataset]),
    /// A meeting whose participants have roles, which a webinar's have, takes so many calls more.
    AskedByRole(u64),
    /// Tasks are asked for twice, and a month counts both.
    AskedEarly,
}

impl fmt::Display for ForecastNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeyondHorizon(range, days) => write!(
                f,
                "[{}, {}) lies beyond the {days} days that Feishu answers for and is left out",
                range.start(),
                range.end()
            ),
            Self::NoHistory(range) => write!(
                f,
                "[{}, {}) is left out: a day is what Feishu says on that day, and the API has no \
                 history",
                range.start(),
                range.end()
            ),
            Self::NotYet(window) => write!(
                f,
                "windows from {} on are not over and settled yet",
                window.start()
            ),
            Self::WindowsLost(windows) => write!(
                f,
                "{windows} windows lie beyond what Feishu still answers for"
            ),
            Self::CallsNotKnown(lists) => {
                let names: Vec<&str> = lists.iter().map(|of| of.as_str()).collect();
                let names = names.join(" and ");
                write!(
                    f,
                    "each item of {names} is a call or more, and how many there are is known \
                           once {names} are in the lake"
                )
            }
            Self::AskedByRole(calls) => write!(
                f,
                "a webinar takes {calls} calls more, one for each role; which meetings are \
                 webinars is not known before, so these are not counted"
            ),
            Self::AskedEarly => f.write_str(
                "a month counts each meeting twice: right after its end, if an event tells of it, \
                 and once more in the night",
            ),
            Self::DaysWithoutSnapshot(days) => {
                write!(
                    f,
                    "no snapshot was taken on {days} days, and the API has no history"
                )
            }
        }
    }
}

/// What the jobs' tasks cost together, with those that are only expected.
#[must_use]
pub fn cost(forecasts: &[JobForecast<'_>], limits: &CallLimits) -> Estimate {
    let mut loads: BTreeMap<Dataset, Load> = BTreeMap::new();
    for forecast in forecasts {
        let load = loads.entry(forecast.job.dataset).or_default();
        load.tasks += forecast.tasks + forecast.expected.unwrap_or(0);
        load.rows = load.rows.max(forecast.rows);
        load.mode = forecast.job.options.mode;
        load.is_fuller = forecast.job.options.is_fuller(forecast.job.dataset);
        load.is_compared = forecast.job.options.is_compared;
        let tasks = forecast.tasks + forecast.expected.unwrap_or(0);
        add_lists(&mut loads, forecast, tasks);
        // The rooms are listed once a run.
        if forecast.job.dataset.needs_rooms() && !forecast.windows.is_empty() {
            loads.entry(ROOMS).or_default().tasks += 1;
        }
    }
    estimate(&loads, limits)
}

/// Adds the lists that each task of a job reads first.
fn add_lists(loads: &mut BTreeMap<Dataset, Load>, forecast: &JobForecast<'_>, tasks: u64) {
    for (of, rows) in &forecast.lists {
        let load = loads.entry(*of).or_default();
        load.tasks += tasks;
        load.rows = load.rows.max(*rows);
    }
}

/// What the jobs cost in a usual month: where a month's calls are bounded, this is what counts. The
/// datasets of which nothing is known yet are left out.
#[must_use]
pub fn cost_of_month(
    forecasts: &[JobForecast<'_>],
    limits: &CallLimits,
) -> (Estimate, Vec<Dataset>) {
    let mut loads: BTreeMap<Dataset, Load> = BTreeMap::new();
    let mut unknown = Vec::new();
    for forecast in forecasts {
        let dataset = forecast.job.dataset;
        let Some(usual) = forecast.usual else {
            unknown.push(dataset);
            continue;
        };
        let load = loads.entry(dataset).or_default();
        load.tasks += usual * forecast.asks_a_month;
        load.rows = load.rows.max(forecast.rows);
        load.mode = forecast.job.options.mode;
        load.is_fuller = forecast.job.options.is_fuller(dataset);
        load.is_compared = forecast.job.options.is_compared;
        add_lists(&mut loads, forecast, usual * forecast.asks_a_month);
        if dataset.needs_rooms() {
            loads.entry(ROOMS).or_default().tasks += forecast.asks_a_month;
        }
    }
    (estimate(&loads, limits), unknown)
}

/// For whom and when a run would be.
#[derive(Clone, Copy, Debug)]
pub struct Forecaster<'a> {
    /// What is known and done; without one, nothing ever ran.
    pub ledger: Option<&'a Ledger>,
    /// All jobs: what some ask for tells others what to ask for.
    pub jobs: &'a [JobSpec],
    /// Whose data, and under which key.
    pub owner: TaskOwner<'a>,
    /// The tenant's data residency.
    pub unit: Option<i32>,
    /// The civil days `[from, to)` of a backfill, in place of what is due.
    pub range: Option<(Date, Date)>,
    /// When the run would begin.
    pub now: Timestamp,
}

/// What a run would do with one window.
#[derive(Debug)]
enum WindowForecast {
    /// So many tasks.
    Tasks(u64),
    /// It depends on what is exported first.
    Unknown,
    /// The children of known parents.
    Children(Box<Children>),
    /// Nothing: nobody asks for its parent.
    Nothing,
}

impl<'a> Forecaster<'a> {
    /// What each of the tenant's jobs would do, parents before children.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a job's schedule.
    pub async fn all(&self) -> Result<Vec<JobForecast<'a>>> {
        let mut forecasts = Vec::new();
        for job in jobs_of(self.jobs, self.owner.tenant) {
            forecasts.push(self.job(job).await?);
        }
        Ok(forecasts)
    }

    /// What a job would do.
    ///
    /// # Errors
    /// When the ledger cannot be read, or the job's schedule.
    pub async fn job<'j>(&self, job: &'j JobSpec) -> Result<JobForecast<'j>> {
        let record = JobRecord::read(self.ledger, self.owner.tenant, job).await?;
        let failed = self.windows_with_failed_tasks(job, &record).await?;
        let mut forecast = self.windows_of(job, &record, &failed);
        let mut budget = Budget::of(job);
        for window in forecast.windows.clone() {
            let row = record.windows.iter().find(|row| row.window == window);
            let has_tasks = row.is_some_and(|row| row.state == WindowState::Planned)
                || failed.contains(&window);
            let of_window = match has_tasks {
                true => self.unfinished(job.dataset, window).await?,
                false => self.window(job, (window, row), &mut budget).await?,
            };
            forecast.add(&of_window);
        }
        let average = self.average_tasks(job, &record.windows).await?;
        forecast.expected = average.map(|average| average * forecast.unknown);
        forecast.usual = match self.usual_roots(job).await? {
            Some(roots) => Some(roots),
            None => average,
        };
        let of_tenant: Vec<&JobSpec> = jobs_of(self.jobs, self.owner.tenant).collect();
        let is_told = is_told_by_events(job, &of_tenant);
        forecast.asks_a_month = asks_a_month(job, firings_of_month(job, self.now)?, is_told);
        forecast
            .notes
            .extend(is_told.then_some(ForecastNote::AskedEarly));
        let by_role = calls_by_role(job);
        let note = (by_role > 0).then_some(ForecastNote::AskedByRole(by_role));
        forecast.notes.extend(note);
        let rows = self.newest_rows(job.dataset).await?;
        forecast.rows = rows.div_ceil(forecast.usual.unwrap_or(1).max(1));
        self.count_nodes(&mut forecast).await?;
        Ok(forecast)
    }

    /// The windows of a job, without their tasks.
    fn windows_of<'j>(
        &self,
        job: &'j JobSpec,
        record: &JobRecord<'_>,
        failed: &BTreeSet<Window>,
    ) -> JobForecast<'j> {
        let known = &record.windows;
        let (windows, left_over, notes) = match self.range {
            Some((from, to)) if !job.dataset.has_history() => {
                let range = Window::days(&job.time_zone, from, to);
                let notes = range.map(ForecastNote::NoHistory).into_iter().collect();
                (Vec::new(), 0, notes)
            }
            Some((from, to)) => {
                let backfill = backfill(job, from, to, self.now);
                let windows = backfill.windows_to_work_on(known);
                (windows, 0, notes_of_backfill(job.dataset, &backfill))
            }
            None => {
                let due = record.due(job, self.now);
                let windows = windows_to_work_on(job, &due, known, failed, self.now);
                let left_over = known.iter().filter(|row| is_left_over(row)).count() as u64;
                (windows, left_over, notes_of_due(job.dataset, &due))
            }
        };
        JobForecast {
            job,
            windows,
            left_over,
            tasks: 0,
            unknown: 0,
            expected: None,
            usual: None,
            asks_a_month: 0,
            rows: 0,
            lists: Vec::new(),
            coverage: None,
            notes,
        }
    }

    /// The windows whose failed tasks a run gives another round of attempts. Those that are asked
    /// for again get new tasks.
    async fn windows_with_failed_tasks(
        &self,
        job: &JobSpec,
        record: &JobRecord<'_>,
    ) -> Result<BTreeSet<Window>> {
        let again = match self.range {
            Some(_) => Vec::new(),
            None => record.due(job, self.now).again,
        };
        let mut failed = BTreeSet::new();
        let is_stuck = |row: &&WindowRow| row.state == WindowState::Stuck;
        for row in record.windows.iter().filter(is_stuck) {
            let phases = self.phases_of(job.dataset, row.window).await?;
            if phases.has(Phase::Failed) && !again.contains(&row.window) {
                failed.insert(row.window);
            }
        }
        Ok(failed)
    }

    /// What is left of a window that was planned.
    async fn unfinished(&self, dataset: Dataset, window: Window) -> Result<WindowForecast> {
        let phases = self.phases_of(dataset, window).await?;
        let tasks = phases.of(Phase::Open) + phases.of(Phase::Failed);
        Ok(WindowForecast::Tasks(tasks))
    }

    async fn window(
        &self,
        job: &JobSpec,
        (window, row): (Window, Option<&WindowRow>),
        budget: &mut Budget,
    ) -> Result<WindowForecast> {
        match job.dataset.parent() {
            None => self.roots(job, window).await,
            Some(parent) => self.children(job, parent, (window, row), budget).await,
        }
    }

    async fn roots(&self, job: &JobSpec, window: Window) -> Result<WindowForecast> {
        let needs_rooms = job.dataset.needs_rooms();
        let rooms = match self.ledger.filter(|_| needs_rooms) {
            Some(ledger) => ledger.rooms(self.owner.tenant).await?,
            None => Vec::new(),
        };
        if needs_rooms && rooms.is_empty() {
            return Ok(WindowForecast::Unknown);
        }
        let tasks = tasks(job, self.owner, self.unit, &window, &rooms);
        Ok(WindowForecast::Tasks(tasks.len() as u64))
    }

    /// Tasks of any window of a job; `None` where they depend on what is not known.
    async fn usual_roots(&self, job: &JobSpec) -> Result<Option<u64>> {
        let today = date_of(&job.time_zone, self.now);
        let window = Window::day(&job.time_zone, today).filter(|_| job.dataset.parent().is_none());
        let Some(window) = window else {
            return Ok(None);
        };
        Ok(match self.roots(job, window).await? {
            WindowForecast::Tasks(tasks) => Some(tasks),
            _ => None,
        })
    }

    async fn children(
        &self,
        job: &JobSpec,
        parent: Dataset,
        (window, of_children): (Window, Option<&WindowRow>),
        budget: &mut Budget,
    ) -> Result<WindowForecast> {
        let Some(ledger) = self.ledger else {
            return Ok(WindowForecast::Unknown);
        };
        let rows = ledger
            .windows(self.owner.tenant, parent, Some(window))
            .await?;
        let row = rows.iter().find(|row| row.window == window);
        match ParentWindow::of(row, &self.phases_of(parent, window).await?) {
            ParentWindow::NotYet => Ok(WindowForecast::Unknown),
            ParentWindow::LeftOut(_) => Ok(WindowForecast::Nothing),
            ParentWindow::Ready => {
                let parents = ledger.parents(self.owner.tenant, parent, window).await?;
                let tasks = ledger
                    .tasks_of(self.owner.tenant, job.dataset, window)
                    .await?;
                let mut known = known_children(&tasks);
                if of_children.is_some_and(WindowRow::was_planned_early) {
                    known = asked_early(known);
                }
                let children = children(job, self.owner, &window, &parents, &known, budget);
                Ok(WindowForecast::Children(Box::new(children)))
            }
        }
    }

    async fn phases_of(&self, dataset: Dataset, window: Window) -> Result<PhaseCounts> {
        match self.ledger {
            Some(ledger) => Ok(ledger.phases_of(self.owner.tenant, dataset, window).await?),
            None => Ok(PhaseCounts::default()),
        }
    }

    /// Rows of the newest day of a dataset; 0 if none is in the lake.
    async fn newest_rows(&self, dataset: Dataset) -> Result<u64> {
        let Some(ledger) = self.ledger else {
            return Ok(0);
        };
        let partitions = ledger.partitions(Some(self.owner.tenant)).await?;
        let of_dataset = partitions.iter().filter(|row| row.dataset == dataset);
        Ok(of_dataset
            .max_by_key(|row| row.dt)
            .map_or(0, |row| row.rows))
    }

    /// Counts what is asked for one by one, where a task goes through the items of other lists.
    /// Without those lists in the lake, the rows of an earlier day are the most that there can be.
    async fn count_nodes(&self, forecast: &mut JobForecast<'_>) -> Result<()> {
        let lists = forecast.job.dataset.nodes_of();
        for of in lists {
            forecast.lists.push((*of, self.newest_rows(*of).await?));
        }
        if lists.is_empty() {
            return Ok(());
        }
        if forecast.lists.iter().all(|(_, rows)| *rows > 0) {
            forecast.rows = forecast.lists.iter().map(|(_, rows)| rows).sum();
        } else if forecast.rows == 0 {
            forecast.usual = None;
            forecast.notes.push(ForecastNote::CallsNotKnown(lists));
        }
        Ok(())
    }

    /// Tasks that a settled window of this job had on average; `None` without such a window.
    async fn average_tasks(&self, job: &JobSpec, known: &[WindowRow]) -> Result<Option<u64>> {
        let is_settled = |row: &&WindowRow| row.state == WindowState::Settled;
        let settled = known.iter().filter(is_settled).count() as u64;
        let Some(ledger) = self.ledger.filter(|_| settled > 0) else {
            return Ok(None);
        };
        let counts = ledger
            .dataset_status(self.owner.tenant, job.dataset)
            .await?;
        // Rounded up: a day in three is not none.
        Ok(Some(counts.tasks.total().div_ceil(settled)))
    }
}

/// Calls that a meeting's list takes beside its pages if its participants have roles: the list that
/// is asked for, or is asked beside the export.
fn calls_by_role(job: &JobSpec) -> u64 {
    let own = job.options.source(job.dataset);
    let list = job.dataset.definition().query;
    let list = list.filter(|_| job.options.is_compared);
    let sources = [Some(own), list].into_iter().flatten();
    sources.map(|source| source.calls_by_role()).sum()
}

/// How often a job fires in the month from `now` on.
fn firings_of_month(job: &JobSpec, now: Timestamp) -> Result<u64> {
    let schedule = Schedule::parse(&job.cron, job.time_zone.clone())?;
    let end = now.saturating_add(SignedDuration::from_hours(24 * i64::from(MONTH_DAYS)))?;
    let firings = schedule.after(now).take_while(|firing| *firing <= end);
    Ok(firings.count() as u64)
}

impl JobForecast<'_> {
    fn add(&mut self, window: &WindowForecast) {
        match window {
            WindowForecast::Tasks(tasks) => self.tasks += tasks,
            WindowForecast::Unknown => self.unknown += 1,
            WindowForecast::Children(children) => {
                self.tasks += children.new_tasks;
                let coverage = self.coverage.get_or_insert_with(Coverage::default);
                coverage.add(&children.coverage);
            }
            WindowForecast::Nothing => {}
        }
    }
}

fn notes_of_backfill(dataset: Dataset, backfill: &Backfill) -> Vec<ForecastNote> {
    let lost = backfill.lost.first().zip(backfill.lost.last());
    let lost = lost.and_then(|(first, last)| Window::new(first.start(), last.end()));
    let horizon = match dataset.definition().extent {
        Extent::Windows { horizon, .. } => horizon.unwrap_or_default(),
        Extent::Snapshot | Extent::Received => Duration::ZERO,
    };
    let days = horizon.as_secs() / 86_400;
    let beyond = lost.map(|lost| ForecastNote::BeyondHorizon(lost, days));
    let not_yet = backfill.not_yet.map(ForecastNote::NotYet);
    beyond.into_iter().chain(not_yet).collect()
}

fn notes_of_due(dataset: Dataset, due: &Due) -> Vec<ForecastNote> {
    let is_lost = |new: &&NewWindow| new.state == WindowState::Lost;
    let lost = due.new.iter().filter(is_lost).count() as u64;
    let note = (lost > 0).then_some(match dataset.is_snapshot() {
        true => ForecastNote::DaysWithoutSnapshot(lost),
        false => ForecastNote::WindowsLost(lost),
    });
    note.into_iter().collect()
}
