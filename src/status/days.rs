//! What became of each day of a dataset, and which days are late.
//!
//! A day is late by its own expected time, so that one that nobody asked for any more is named even
//! though every other day of the dataset is fresh.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::job_record::{JobRecord, schedule_of};
use super::{against, jobs_of};
use crate::cause::Cause;
use crate::datasets::Dataset;
use crate::job::JobSpec;
use crate::ledger::Ledger;
use crate::plan::due::{Due, expected_at};
use crate::plan::partition::not_covered;
use crate::record::{
    LastTry, NewWindow, PartitionRow, Phase, Reason, ReasonKind, ScheduleState, TaskRow, WindowRow,
    WindowState,
};
use crate::schedule::Schedule;
use crate::text::count;
use crate::window::{Window, start_of_day};

/// What became of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DayOutcome {
    /// It is in the lake.
    Published,
    /// It is in the lake, and a later export gave the same.
    Unchanged,
    /// It is in the lake and has no row.
    Empty,
    /// It is in the lake and lacks something.
    Partial,
    /// A workbook of it broke its contract.
    Quarantined,
    /// A task of it used up its attempts.
    Failed,
    /// Feishu no longer answers for it, and it was never exported.
    Lost,
    /// The job's policy for missed windows leaves it out.
    Skipped,
    /// It is not there yet.
    Waiting,
}

impl DayOutcome {
    /// All outcomes, the good ones first.
    pub const ALL: [Self; 9] = [
        Self::Published,
        Self::Unchanged,
        Self::Empty,
        Self::Partial,
        Self::Quarantined,
        Self::Failed,
        Self::Lost,
        Self::Skipped,
        Self::Waiting,
    ];

    /// The word in `status`, on the status page and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Unchanged => "unchanged",
            Self::Empty => "empty",
            Self::Partial => "partial",
            Self::Quarantined => "quarantined",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Skipped => "skipped",
            Self::Waiting => "waiting",
        }
    }

    /// Whether nothing more is expected of the day.
    const fn is_final(self) -> bool {
        match self {
            Self::Published | Self::Unchanged | Self::Empty | Self::Lost | Self::Skipped => true,
            Self::Partial | Self::Quarantined | Self::Failed | Self::Waiting => false,
        }
    }
}

/// A day of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DayStatus {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// The civil date.
    pub dt: Date,
    /// What became of it.
    pub outcome: DayOutcome,
    /// Rows in the lake.
    pub rows: u64,
    /// When it should be in the lake, whole.
    pub expected_at: Timestamp,
    /// Seconds since then, if it is not.
    pub late_s: Option<u64>,
    /// What is missing and why, for people; `None` if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When that was found, if it is the failure of a task.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub last_try: Option<LastTry>,
    /// What the first of its tasks met that failed; `None` if none did.
    #[serde(skip)]
    pub cause: Option<Cause>,
    /// Since when it could have come by itself: since it was asked for, or its last rows were in
    /// the spool. A day of long ago may have been asked for a minute ago. `None` if no run has yet.
    #[serde(skip)]
    pub asked_at: Option<Timestamp>,
    /// Whether one of its tasks is under way or put off for minutes, and none has ended badly.
    #[serde(skip)]
    pub is_on_its_way: bool,
}

/// Every due day at `now`, of one tenant or of all: by tenant, dataset, job and date. Each tenant
/// comes with the zone in which its days are cut.
///
/// # Errors
/// When the ledger cannot be read, or a job's schedule.
pub async fn all_days(
    ledger: &Ledger,
    tenants: &[(&str, &TimeZone)],
    jobs: &[JobSpec],
    only_tenant: Option<&str>,
    now: Timestamp,
) -> Result<Vec<DayStatus>> {
    let mut all = Vec::new();
    let wanted = tenants
        .iter()
        .filter(|(tenant, _)| only_tenant.is_none_or(|only| only == *tenant));
    for (tenant, zone) in wanted {
        let history = TenantHistory::read(ledger, tenant, zone, None).await?;
        all.extend(history.days(ledger, jobs, now).await?);
    }
    Ok(all)
}

/// The due days of a tenant from the date `from` on, by dataset, job and date.
///
/// # Errors
/// When the ledger cannot be read, or a job's schedule.
pub async fn days_from(
    ledger: &Ledger,
    (tenant, zone): (&str, &TimeZone),
    jobs: &[JobSpec],
    from: Date,
    now: Timestamp,
) -> Result<Vec<DayStatus>> {
    let history = TenantHistory::read(ledger, tenant, zone, Some(from)).await?;
    let mut days = history.days(ledger, jobs, now).await?;
    days.retain(|day| day.dt >= from);
    Ok(days)
}

// --- what is gathered ---------------------------------------------------------------------------

/// A window that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExpectedWindow {
    pub(super) window: Window,
    pub(super) due_at: Timestamp,
    pub(super) state: WindowState,
    /// Whether the ledger knows it. If not, no run has looked since it was due.
    pub(super) is_known: bool,
    /// Since when it is asked for.
    pub(super) asked_at: Option<Timestamp>,
}

impl ExpectedWindow {
    pub(super) const fn known(row: &WindowRow) -> Self {
        // When a later generation was first asked for is not known any more.
        let asked_at = match row.generation {
            ..=1 => row.covered_at,
            _ => row.due_at,
        };
        Self {
            window: row.window,
            due_at: row.due_at,
            state: row.state,
            is_known: true,
            asked_at: Some(asked_at),
        }
    }

    pub(super) const fn new(new: &NewWindow) -> Self {
        Self {
            window: new.window,
            due_at: new.due_at,
            state: new.state,
            is_known: false,
            asked_at: None,
        }
    }
}

/// The windows that the ledger has, and those that it would have if a run had looked. A job whose
/// schedule nobody ever ran has none of the latter.
fn expected_windows(record: &JobRecord<'_>, due: &Due) -> Vec<ExpectedWindow> {
    let there: HashSet<Window> = record.windows.iter().map(|row| row.window).collect();
    let known = record.windows.iter().map(ExpectedWindow::known);
    let has_run = record.state.is_some();
    let new = due
        .new
        .iter()
        .filter(|new| has_run && !there.contains(&new.window));
    known.chain(new.map(ExpectedWindow::new)).collect()
}

/// What the ledger has of one tenant, read at once.
pub(super) struct TenantHistory<'t> {
    tenant: &'t str,
    zone: &'t TimeZone,
    schedules: HashMap<(String, String), ScheduleState>,
    pub(super) windows: HashMap<Dataset, Vec<WindowRow>>,
    partitions: HashMap<Dataset, BTreeMap<Date, PartitionRow>>,
}

impl<'t> TenantHistory<'t> {
    /// Reads it, from the date `from` on or whole.
    pub(super) async fn read(
        ledger: &Ledger,
        tenant: &'t str,
        zone: &'t TimeZone,
        from: Option<Date>,
    ) -> Result<Self> {
        let start = from.map(|from| start_of_day(zone, from));
        let mut windows: HashMap<Dataset, Vec<WindowRow>> = HashMap::new();
        for row in ledger.tenant_windows(tenant, start).await? {
            windows.entry(row.dataset).or_default().push(row);
        }
        let rows = match from {
            Some(from) => ledger.partitions_from(tenant, from).await?,
            None => ledger.partitions(Some(tenant)).await?,
        };
        let mut partitions: HashMap<Dataset, BTreeMap<Date, PartitionRow>> = HashMap::new();
        for row in rows.into_iter().filter(|row| row.revision > 0) {
            partitions
                .entry(row.dataset)
                .or_default()
                .insert(row.dt, row);
        }
        Ok(Self {
            tenant,
            zone,
            schedules: ledger.schedules_of(tenant).await?,
            windows,
            partitions,
        })
    }

    /// The days of a tenant's jobs whose windows are due at `now`, by dataset, job and date.
    pub(super) async fn days(
        &self,
        ledger: &Ledger,
        jobs: &[JobSpec],
        now: Timestamp,
    ) -> Result<Vec<DayStatus>> {
        let lookup = Lookup {
            ledger,
            tenant: self.tenant,
            zone: self.zone,
            now,
        };
        let mut days = Vec::new();
        for job in jobs_of(jobs, self.tenant) {
            days.extend(self.days_of(&lookup, job).await?);
        }
        Ok(days)
    }

    async fn days_of(&self, lookup: &Lookup<'_>, job: &JobSpec) -> Result<Vec<DayStatus>> {
        let windows = self
            .windows
            .get(&job.dataset)
            .map_or(&[][..], Vec::as_slice);
        let schedule_key = (job.name.clone(), self.tenant.to_owned());
        let record = JobRecord {
            schedule: schedule_of(job)?,
            state: self.schedules.get(&schedule_key).copied(),
            windows: windows.into(),
        };
        let mut by_day: BTreeMap<Date, Vec<ExpectedWindow>> = BTreeMap::new();
        for expected in expected_windows(&record, &record.due(job, lookup.now)) {
            for dt in expected.window.dates(self.zone) {
                by_day.entry(dt).or_default().push(expected);
            }
        }
        let partitions = self.partitions.get(&job.dataset);
        let mut days = Vec::new();
        for (dt, windows) in by_day {
            let partition = partitions.and_then(|of| of.get(&dt));
            days.push(
                lookup
                    .day(job, &record.schedule, dt, &windows, partition)
                    .await?,
            );
        }
        Ok(days)
    }
}

/// Where what is missing of a day is looked up.
pub(super) struct Lookup<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) tenant: &'a str,
    pub(super) zone: &'a TimeZone,
    pub(super) now: Timestamp,
}

impl Lookup<'_> {
    /// What became of a day of a job, given the windows that overlap it and what is in the lake.
    pub(super) async fn day(
        &self,
        job: &JobSpec,
        schedule: &Schedule,
        dt: Date,
        windows: &[ExpectedWindow],
        partition: Option<&PartitionRow>,
    ) -> Result<DayStatus> {
        let day = self.record(job, dt, windows, partition).await?;
        let (outcome, why) = outcome(job, &day);
        let due_at = windows.iter().map(|window| window.due_at).max();
        let expected_at = expected_at(job, schedule, due_at.unwrap_or(self.now));
        let late_s = late_s(outcome, expected_at, self.now);
        Ok(DayStatus {
            tenant: self.tenant.to_owned(),
            dataset: job.dataset,
            dt,
            outcome,
            rows: partition.map_or(0, |row| row.rows),
            expected_at,
            late_s: late_s.filter(|_| !day.lacks_hours_only()),
            why,
            last_try: day.last_try(outcome),
            cause: day.cause(),
            asked_at: day.asked_at(),
            is_on_its_way: day.is_on_its_way(outcome),
        })
    }

    /// What became of a date of a job, given the windows that no run has looked at and what is in
    /// the lake; `None` if no window of it is expected.
    pub(super) async fn date(
        &self,
        job: &JobSpec,
        schedule: &Schedule,
        dt: Date,
        new: &[ExpectedWindow],
        partition: Option<&PartitionRow>,
    ) -> Result<Option<DayStatus>> {
        let Some(day) = Window::day(self.zone, dt) else {
            return Ok(None);
        };
        let known = self
            .ledger
            .windows(self.tenant, job.dataset, Some(day))
            .await?;
        let asked_for = known.iter().filter(|row| !row.state.is_left_out());
        let is_covered = day.less(asked_for.map(|row| row.window)).is_empty();
        let is_known = |new: &ExpectedWindow| known.iter().any(|row| row.window == new.window);
        let new = new.iter().filter(|new| !is_covered && !is_known(new));
        let windows = known.iter().map(ExpectedWindow::known).chain(new.copied());
        let windows: Vec<ExpectedWindow> = windows.collect();
        if windows.is_empty() {
            return Ok(None);
        }
        Ok(Some(
            self.day(job, schedule, dt, &windows, partition).await?,
        ))
    }

    async fn record<'d>(
        &self,
        job: &JobSpec,
        dt: Date,
        windows: &'d [ExpectedWindow],
        partition: Option<&'d PartitionRow>,
    ) -> Result<DayRecord<'d>> {
        let mut day = DayRecord {
            windows,
            partition,
            tasks: Vec::new(),
            against: Vec::new(),
        };
        // There are many complete days, and nobody asks for their tasks.
        if partition.is_none_or(|row| !row.complete) {
            for window in windows.iter().filter(|window| window.is_known) {
                let (ledger, window) = (self.ledger, window.window);
                day.tasks
                    .extend(ledger.tasks_of(self.tenant, job.dataset, window).await?);
            }
            let (ledger, tenant, zone) = (self.ledger, self.tenant, self.zone);
            day.against = against(ledger, tenant, zone, job, dt, self.now).await?;
            // Windows that no run has looked at yet cover their hours too, once one does.
            let asked_for = windows.iter().filter(|window| !window.state.is_left_out());
            let covered = asked_for.map(|window| window.window);
            day.against.extend(not_covered(self.zone, dt, covered));
        }
        Ok(day)
    }
}

// --- what is decided ----------------------------------------------------------------------------

/// What is known of a day.
#[derive(Clone, Debug)]
struct DayRecord<'a> {
    /// The windows that overlap it.
    windows: &'a [ExpectedWindow],
    /// What is in the lake of it.
    partition: Option<&'a PartitionRow>,
    /// The tasks of its windows, unless it is complete.
    tasks: Vec<TaskRow>,
    /// Why it cannot be all there is, if all its tasks ended well.
    against: Vec<Reason>,
}

impl DayRecord<'_> {
    /// When the task was last tried whose failure is told of a day with this outcome.
    fn last_try(&self, outcome: DayOutcome) -> Option<LastTry> {
        let phase = match outcome {
            DayOutcome::Quarantined => Phase::Quarantined,
            DayOutcome::Failed => Phase::Failed,
            DayOutcome::Partial | DayOutcome::Waiting => Phase::Open,
            _ => return None,
        };
        let told = first_failed(&of_phase(&self.tasks, phase))?;
        Some(told.last_try)
    }

    /// What the first task that ended badly met, or else one that is to be tried again.
    fn cause(&self) -> Option<Cause> {
        let phases = [Phase::Quarantined, Phase::Failed, Phase::Open];
        let mut failed = phases
            .iter()
            .flat_map(|phase| of_phase(&self.tasks, *phase));
        failed
            .find_map(|task| task.failure.as_ref())
            .map(|failure| failure.cause)
    }

    /// Since when it could have come by itself; `None` if a part of it was not asked for yet.
    fn asked_at(&self) -> Option<Timestamp> {
        let asked = self.windows.iter().map(|window| window.asked_at);
        let asked: Vec<Timestamp> = asked.collect::<Option<_>>()?;
        let spooled = of_phase(&self.tasks, Phase::Spooled).into_iter();
        let spooled = spooled.map(|task| task.last_try.at);
        asked.into_iter().chain(spooled).max()
    }

    /// Whether a day with this outcome comes by what is being done about it: attempts are counted,
    /// so a task that is open ends soon after its turn, well or badly.
    fn is_on_its_way(&self, outcome: DayOutcome) -> bool {
        let is_open = matches!(outcome, DayOutcome::Partial | DayOutcome::Waiting);
        is_open && self.tasks.iter().any(|task| task.phase == Phase::Open)
    }

    /// Whether nothing is missing but hours for which the job has no window, or none that is due;
    /// the parents of such a day lack the same hours.
    fn lacks_hours_only(&self) -> bool {
        let is_done =
            |window: &ExpectedWindow| window.state.has_ended() || window.state.is_left_out();
        let is_hours = |reason: &Reason| reason.kind == ReasonKind::NotCovered;
        let follows =
            |reason: &Reason| is_hours(reason) || reason.kind == ReasonKind::ParentPartial;
        let has_ended = |task: &TaskRow| matches!(task.phase, Phase::Published | Phase::Withdrawn);
        self.against.iter().any(is_hours)
            && self.against.iter().all(follows)
            && self.windows.iter().all(is_done)
            && self.tasks.iter().all(has_ended)
    }
}

/// What became of a day, and what is missing of it.
fn outcome(job: &JobSpec, day: &DayRecord<'_>) -> (DayOutcome, Option<String>) {
    if let Some(row) = day.partition.filter(|row| row.complete) {
        let outcome = match (row.rows, row.checked_at) {
            (0, _) => DayOutcome::Empty,
            (_, Some(_)) => DayOutcome::Unchanged,
            (_, None) => DayOutcome::Published,
        };
        return (outcome, None);
    }
    let all = |state| day.windows.iter().all(|window| window.state == state);
    if day.partition.is_none() && all(WindowState::Lost) {
        let why = job.dataset.why_lost().to_owned();
        return (DayOutcome::Lost, Some(why));
    }
    if day.partition.is_none() && all(WindowState::Skipped) {
        let why = format!("missed = \"{}\"", job.missed.as_str());
        return (DayOutcome::Skipped, Some(why));
    }
    for (phase, outcome) in [
        (Phase::Quarantined, DayOutcome::Quarantined),
        (Phase::Failed, DayOutcome::Failed),
    ] {
        if let Some(why) = ended_badly(&day.tasks, phase) {
            return (outcome, Some(why));
        }
    }
    let outcome = match day.partition {
        Some(_) => DayOutcome::Partial,
        None => DayOutcome::Waiting,
    };
    (outcome, Some(waits_for(job, day)))
}

/// What an unfinished day waits for.
fn waits_for(job: &JobSpec, day: &DayRecord<'_>) -> String {
    if day.windows.iter().any(|window| !window.is_known) {
        return "no run has looked at it since it was due".to_owned();
    }
    let open = of_phase(&day.tasks, Phase::Open);
    if !open.is_empty() {
        let message = first_message(&open);
        let message = message.map_or_else(String::new, |message| format!(": {message}"));
        let who = match (open.len(), day.tasks.len()) {
            (1, 1) => "its task is".to_owned(),
            (1, all) => format!("1 of {all} tasks is"),
            (open, all) => format!("{open} of {all} tasks are"),
        };
        return format!("{who} not fetched yet{message}");
    }
    let is_due = |window: &ExpectedWindow| window.state == WindowState::Due;
    if day.windows.iter().any(is_due) {
        return match job.dataset.parent() {
            Some(parent) => format!("it waits for {parent}, or for a run"),
            None => "it waits for a run".to_owned(),
        };
    }
    if day.against.is_empty() {
        return "it waits to be published".to_owned();
    }
    let reasons: Vec<String> = day.against.iter().map(Reason::to_string).collect();
    reasons.join("; ")
}

fn ended_badly(tasks: &[TaskRow], phase: Phase) -> Option<String> {
    let ended = of_phase(tasks, phase);
    if ended.is_empty() {
        return None;
    }
    Some(match (ended.len(), first_message(&ended)) {
        (1, Some(message)) => message.to_owned(),
        (tasks, Some(message)) => format!("{tasks} tasks, the first: {message}"),
        (tasks, None) => format!("{} {}", count(tasks as u64, "task"), phase.as_str()),
    })
}

fn of_phase(tasks: &[TaskRow], phase: Phase) -> Vec<&TaskRow> {
    tasks.iter().filter(|task| task.phase == phase).collect()
}

fn first_message<'t>(tasks: &[&'t TaskRow]) -> Option<&'t str> {
    let failure = first_failed(tasks)?.failure.as_ref()?;
    Some(failure.message.as_str())
}

fn first_failed<'t>(tasks: &[&'t TaskRow]) -> Option<&'t TaskRow> {
    tasks.iter().find(|task| task.failure.is_some()).copied()
}

/// Seconds since a day should have been there, if something more is expected of it.
fn late_s(outcome: DayOutcome, expected_at: Timestamp, now: Timestamp) -> Option<u64> {
    let late = u64::try_from(now.duration_since(expected_at).as_secs()).ok()?;
    (late > 0 && !outcome.is_final()).then_some(late)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::{Cause, Failure};
    use crate::job::MissedPolicy;
    use crate::plan::tests::{job, task_row};
    use crate::record::ReasonKind;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).expect("in range")
    }

    fn day() -> Window {
        Window::new(at(0), at(24)).expect("a day")
    }

    fn expected(state: WindowState, is_known: bool) -> ExpectedWindow {
        ExpectedWindow {
            window: day(),
            due_at: at(25),
            state,
            is_known,
            asked_at: is_known.then(|| at(30)),
        }
    }

    fn partition(complete: bool, rows: u64, checked_at: Option<Timestamp>) -> PartitionRow {
        PartitionRow {
            tenant: "acme".into(),
            dataset: Dataset::MeetingList,
            dt: Date::constant(1970, 1, 1),
            revision: 1,
            complete,
            content_hash: None,
            manifest_sha256: None,
            rows,
            size_bytes: 0,
            published_at: None,
            checked_at,
            intent: None,
        }
    }

    fn task(phase: Phase, message: Option<&str>) -> TaskRow {
        TaskRow {
            failure: message.map(|message| Failure::new(Cause::Other, message)),
            ..task_row(Dataset::MeetingList, day(), phase)
        }
    }

    #[test]
    fn what_became_of_a_day_follows_from_its_records() {
        use DayOutcome as Day;
        use Phase::{Failed, Open, Published, Quarantined, Spooled};
        use WindowState::{Due, Lost, Planned, Settled, Skipped, Stuck};
        let whole = |rows, checked_at| Some(partition(true, rows, checked_at));
        let part = || Some(partition(false, 3, Some(at(9))));
        let known = |state| vec![expected(state, true)];
        let not_there = "it waits to be published";
        let table = [
            (known(Settled), whole(3, None), vec![], Day::Published, ""),
            (
                known(Settled),
                whole(3, Some(at(9))),
                vec![],
                Day::Unchanged,
                "",
            ),
            (
                known(Settled),
                whole(0, Some(at(9))),
                vec![],
                Day::Empty,
                "",
            ),
            // A day stays as it is in the lake while it is asked for again.
            (known(Due), whole(3, None), vec![], Day::Published, ""),
            (
                known(Lost),
                None,
                vec![],
                Day::Lost,
                "Feishu no longer answers, and nothing was fetched before",
            ),
            (known(Lost), part(), vec![], Day::Partial, not_there),
            (
                known(Skipped),
                None,
                vec![],
                Day::Skipped,
                "missed = \"latest\"",
            ),
            (
                vec![expected(Skipped, true), expected(Lost, true)],
                None,
                vec![],
                Day::Waiting,
                not_there,
            ),
            (
                known(Stuck),
                None,
                vec![
                    task(Quarantined, Some("no such column")),
                    task(Failed, None),
                ],
                Day::Quarantined,
                "no such column",
            ),
            (
                known(Stuck),
                None,
                vec![task(Failed, None)],
                Day::Failed,
                "1 task failed",
            ),
            (
                known(Stuck),
                part(),
                vec![
                    task(Failed, None),
                    task(Published, None),
                    task(Failed, Some("gone")),
                ],
                Day::Failed,
                "2 tasks, the first: gone",
            ),
            (
                known(Planned),
                None,
                vec![
                    task(Open, None),
                    task(Spooled, None),
                    task(Open, Some("cut off")),
                ],
                Day::Waiting,
                "2 of 3 tasks are not fetched yet: cut off",
            ),
            (
                known(Planned),
                part(),
                vec![task(Open, None)],
                Day::Partial,
                "its task is not fetched yet",
            ),
            (
                vec![expected(Planned, true), expected(Due, false)],
                None,
                vec![task(Open, None)],
                Day::Waiting,
                "no run has looked at it since it was due",
            ),
            (known(Due), None, vec![], Day::Waiting, "it waits for a run"),
            (
                known(Planned),
                None,
                vec![task(Spooled, None)],
                Day::Waiting,
                not_there,
            ),
        ];
        let mut job = job(Dataset::MeetingList);
        job.missed = MissedPolicy::Latest;
        for (windows, partition, tasks, expected, why) in table {
            let record = DayRecord {
                windows: &windows,
                partition: partition.as_ref(),
                tasks,
                against: vec![],
            };
            let why = Some(why.to_owned()).filter(|why| !why.is_empty());
            assert_eq!(outcome(&job, &record), (expected, why), "{record:?}");
        }
    }

    #[test]
    fn a_day_waits_for_its_parent_and_a_settled_one_says_what_speaks_against_it() {
        let windows = [expected(WindowState::Due, true)];
        let mut record = DayRecord {
            windows: &windows,
            partition: None,
            tasks: vec![],
            against: vec![Reason::with_detail(
                ReasonKind::FewerMeetings,
                1,
                "one is missing".into(),
            )],
        };
        let job = job(Dataset::ParticipantList);
        let why = |record: &DayRecord<'_>| outcome(&job, record).1;
        let parent = "it waits for meeting_list, or for a run".to_owned();
        assert_eq!(why(&record), Some(parent));
        let settled = [expected(WindowState::Settled, true)];
        let part = partition(false, 3, None);
        (record.windows, record.partition) = (&settled, Some(&part));
        assert_eq!(outcome(&job, &record).0, DayOutcome::Partial);
        assert_eq!(why(&record), Some("one is missing".to_owned()));
        assert!(!record.lacks_hours_only());
        let hours = Reason::with_detail(ReasonKind::NotCovered, 60, "an hour is".into());
        record.against.push(hours.clone());
        let both = "one is missing; an hour is".to_owned();
        assert_eq!(
            (why(&record), record.lacks_hours_only()),
            (Some(both), false)
        );
        record.against = vec![hours.clone()];
        assert!(record.lacks_hours_only());
        // The parents of the day lack the same hours; parents that lack others are awaited.
        let parent = Reason::new(ReasonKind::ParentPartial, 1);
        record.against = vec![parent.clone(), hours.clone()];
        assert!(record.lacks_hours_only());
        record.against = vec![parent];
        assert!(!record.lacks_hours_only());
        record.against = vec![hours];
        let lost = [
            expected(WindowState::Settled, true),
            expected(WindowState::Lost, true),
        ];
        record.windows = &lost;
        assert!(record.lacks_hours_only());
        record.windows = &settled;
        record.tasks = vec![task(Phase::Failed, None)];
        assert!(!record.lacks_hours_only());
        record.tasks = vec![task(Phase::Published, None)];
        assert!(record.lacks_hours_only());
        record.windows = &windows;
        assert!(!record.lacks_hours_only(), "a window is still to come");
    }

    /// Of several tasks, of the one whose failure is told.
    #[test]
    fn a_failure_is_told_with_the_time_of_its_try() {
        let tried = |phase, message, hour| TaskRow {
            last_try: LastTry {
                at: at(hour),
                next: None,
            },
            ..task(phase, message)
        };
        let record = DayRecord {
            windows: &[],
            partition: None,
            tasks: vec![
                tried(Phase::Open, None, 1),
                tried(Phase::Open, Some("cut off"), 2),
                tried(Phase::Open, Some("refused"), 3),
                tried(Phase::Failed, Some("gone"), 4),
            ],
            against: vec![],
        };
        for (outcome, hour) in [
            (DayOutcome::Waiting, Some(2)),
            (DayOutcome::Partial, Some(2)),
            (DayOutcome::Failed, Some(4)),
            (DayOutcome::Quarantined, None),
            (DayOutcome::Published, None),
        ] {
            let found = record.last_try(outcome).map(|last_try| last_try.at);
            assert_eq!(found, hour.map(at), "{outcome:?}");
        }
    }

    #[test]
    fn a_day_could_have_come_since_it_was_asked_for_and_comes_while_a_task_is_open() {
        use Phase::{Failed, Open, Published, Quarantined, Spooled};
        use WindowState::{Due, Planned};
        let spooled = TaskRow {
            last_try: LastTry {
                at: at(40),
                next: None,
            },
            ..task(Spooled, None)
        };
        let known = || vec![expected(Planned, true)];
        let half_known = || vec![expected(Planned, true), expected(Due, false)];
        for (windows, tasks, asked_at, is_on_its_way) in [
            (known(), vec![], Some(30), false),
            (known(), vec![task(Open, None)], Some(30), true),
            (known(), vec![task(Open, Some("cut off"))], Some(30), true),
            (known(), vec![task(Published, None)], Some(30), false),
            (known(), vec![spooled.clone()], Some(40), false),
            (known(), vec![task(Open, None), spooled], Some(40), true),
            (
                known(),
                vec![task(Open, None), task(Failed, None)],
                Some(30),
                false,
            ),
            (
                known(),
                vec![task(Open, None), task(Quarantined, None)],
                Some(30),
                false,
            ),
            (half_known(), vec![task(Open, None)], None, true),
            (vec![], vec![], None, false),
        ] {
            let record = DayRecord {
                windows: &windows,
                partition: None,
                tasks,
                against: vec![],
            };
            let (outcome, _) = outcome(&job(Dataset::MeetingList), &record);
            let found = (record.asked_at(), record.is_on_its_way(outcome));
            assert_eq!(found, (asked_at.map(at), is_on_its_way), "{record:?}");
        }
    }

    #[test]
    fn a_window_is_asked_for_since_the_firing_that_made_it() {
        let row = |generation| WindowRow {
            generation,
            covered_at: at(90),
            due_at: at(25),
            ..crate::plan::tests::window_row(Dataset::MeetingList, day(), WindowState::Planned)
        };
        for (generation, asked_at) in [(1, 90), (2, 25), (7, 25)] {
            let found = ExpectedWindow::known(&row(generation)).asked_at;
            assert_eq!(found, Some(at(asked_at)), "{generation}");
        }
    }

    #[test]
    fn only_a_day_of_which_more_is_expected_is_late() {
        for outcome in DayOutcome::ALL {
            let is_open = matches!(
                outcome,
                DayOutcome::Partial
                    | DayOutcome::Quarantined
                    | DayOutcome::Failed
                    | DayOutcome::Waiting
            );
            let late = late_s(outcome, at(1), at(3));
            assert_eq!(late, is_open.then_some(7200), "{outcome:?}");
            for expected_at in [at(3), at(4)] {
                assert_eq!(late_s(outcome, expected_at, at(3)), None);
            }
            let json = serde_json::to_string(&outcome).expect("JSON");
            assert_eq!(json, format!("\"{}\"", outcome.as_str()));
        }
    }
}
