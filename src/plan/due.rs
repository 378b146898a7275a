//! Which windows should exist by now: what a job's schedule asks for, and a backfill's range.
//!
//! A timer tick carries no window. After any downtime the same question gives everything that was
//! missed at once, each window once, and each lookback once.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::datasets::{Dataset, Extent};
use crate::job::{JobSpec, MissedPolicy, OverlapPolicy};
use crate::record::{NewWindow, ScheduleState, WindowRow, WindowState};
use crate::schedule::Schedule;
use crate::task::TaskKey;
use crate::window::{Window, closed_windows, date_of, start_of_day};

/// Windows this close to the edge of what Feishu still answers are warned about while they are not
/// settled.
const HORIZON_WARNING: Duration = Duration::from_secs(7 * 86_400);

/// What a job's schedule, or a backfill, asks for at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The firing that asks.
    pub firing: Timestamp,
    /// Windows that should be in the ledger; those that are there already stay as they are.
    pub new: Vec<NewWindow>,
    /// Windows whose tasks ended, to be exported once more.
    pub again: Vec<Window>,
    /// Where the schedule stands afterwards; `None` for a backfill.
    pub schedule: Option<ScheduleState>,
}

/// The windows that `job` should have by `now`, given how far its schedule came and which windows
/// are known.
#[must_use]
pub fn due(
    job: &JobSpec,
    schedule: &Schedule,
    now: Timestamp,
    state: Option<ScheduleState>,
    known: &[WindowRow],
) -> Due {
    match job.dataset.definition().extent {
        Extent::Windows { .. } => due_windows(job, schedule, now, state, known),
        Extent::Snapshot => due_snapshots(job, schedule, now, state, known),
        Extent::Received => nothing_due(schedule, now),
    }
}

/// A day of events has a window once an event of it was received; nobody can ask for another. The
/// firing only closes days that are over.
fn nothing_due(schedule: &Schedule, now: Timestamp) -> Due {
    let firing = schedule.previous_at_or_before(now).unwrap_or(now);
    Due {
        firing,
        schedule: Some(ScheduleState {
            watermark: firing,
            last_firing: firing,
        }),
        ..Due::default()
    }
}

fn due_windows(
    job: &JobSpec,
    schedule: &Schedule,
    now: Timestamp,
    state: Option<ScheduleState>,
    known: &[WindowRow],
) -> Due {
    let zone = &job.time_zone;
    let firing = schedule.previous_at_or_before(now).unwrap_or(now);
    let first = state.map_or_else(
        || first_day(job, now),
        |state| date_of(zone, state.watermark),
    );
    let closed: Vec<Window> = closed_windows(zone, first, job.window_days, now)
        .into_iter()
        .filter(|window| due_at(job, window) <= now)
        .collect();
    let newest = closed.last().copied();
    let not_asked = closed
        .iter()
        .filter(|window| !is_asked_for_otherwise(window, known));
    let new = not_asked.map(|window| {
        let due_at = due_at(job, window);
        let is_missed = state.is_some()
            && schedule
                .next_at_or_after(due_at)
                .is_some_and(|natural| natural < firing);
        let is_skipped = match job.missed {
            MissedPolicy::All => false,
            MissedPolicy::Latest => state.is_some() && Some(*window) != newest,
            MissedPolicy::None => is_missed,
        };
        let state = match () {
            () if is_lost(job.dataset, window, now) => WindowState::Lost,
            () if is_skipped => WindowState::Skipped,
            () => WindowState::Due,
        };
        NewWindow {
            window: *window,
            due_at,
            state,
        }
    });
    let new = new.collect();
    let mut again = exported_in_the_future(job, now, known);
    if state.is_none_or(|state| state.last_firing < firing) {
        again.extend(lookback(job, now, firing, known));
    }
    let watermark = newest
        .map(|window| window.end())
        .or(state.map(|state| state.watermark));
    let last_firing = match state {
        // A firing that is still to come was handled by a clock that was wrong.
        Some(state) if state.last_firing <= now => state.last_firing.max(firing),
        _ => firing,
    };
    Due {
        firing,
        new,
        again,
        schedule: watermark.map(|watermark| ScheduleState {
            watermark,
            last_firing,
        }),
    }
}

/// Whether other windows, cut in another zone, ask for all of this one.
fn is_asked_for_otherwise(window: &Window, known: &[WindowRow]) -> bool {
    let is_known = known.iter().any(|row| row.window == *window);
    let asked_for = known.iter().filter(|row| !row.state.is_left_out());
    !is_known && window.less(asked_for.map(|row| row.window)).is_empty()
}

/// The days on which a snapshot job fired and that were not named yet. Only today's can be taken:
/// the others are lost. A job that never ran takes its first snapshot at once. When the job fires a
/// second time in a day, its snapshot is taken again. So is one that a clock which ran ahead took:
/// what Feishu said then was of another day.
fn due_snapshots(
    job: &JobSpec,
    schedule: &Schedule,
    now: Timestamp,
    state: Option<ScheduleState>,
    known: &[WindowRow],
) -> Due {
    let zone = &job.time_zone;
    let today = date_of(zone, now);
    let firing = schedule.previous_at_or_before(now).unwrap_or(now);
    let tomorrow = Window::day(zone, today).map_or(now, |day| day.end());
    let fired = match state {
        None => vec![(today, now)],
        // A clock that ran ahead named days to come.
        Some(state) if state.watermark > tomorrow => {
            days_with_a_firing(schedule, zone, start_of_day(zone, today), now)
        }
        Some(state) => days_with_a_firing(schedule, zone, state.watermark, now),
    };
    let named: Vec<NewWindow> = fired
        .into_iter()
        .filter_map(|(date, due_at)| {
            let window = Window::day(zone, date)?;
            let state = match is_lost(job.dataset, &window, now) {
                true => WindowState::Lost,
                false => WindowState::Due,
            };
            Some(NewWindow {
                window,
                due_at,
                state,
            })
        })
        .collect();
    let watermark = named.last().map(|new| new.window.end());
    // What is known stays as it is, and is not told of once more.
    let is_known = |new: &NewWindow| known.iter().any(|row| row.window == new.window);
    let new = named.into_iter().filter(|new| !is_known(new)).collect();
    let again = known.iter().filter(|row| {
        let fired_since = row.covered_at < firing && row.window.contains(firing);
        // What broke its contract this morning may be right this afternoon, and lost tomorrow.
        let is_stuck = row.state == WindowState::Stuck && row.window.contains(now);
        row.state.has_ended()
            && !is_lost(job.dataset, &row.window, now)
            && (row.covered_at > now || fired_since || is_stuck)
    });
    let watermark = watermark.or(state.map(|state| state.watermark.min(tomorrow)));
    Due {
        firing,
        again: again.map(|row| row.window).collect(),
        schedule: watermark.map(|watermark| ScheduleState {
            watermark,
            last_firing: firing,
        }),
        new,
    }
}

/// Each day in which the schedule fires within `[from, until]`, with its first such firing.
fn days_with_a_firing(
    schedule: &Schedule,
    zone: &TimeZone,
    mut from: Timestamp,
    until: Timestamp,
) -> Vec<(Date, Timestamp)> {
    let mut days = Vec::new();
    while let Some(firing) = schedule.next_at_or_after(from).filter(|at| *at <= until) {
        let date = date_of(zone, firing);
        days.push((date, firing));
        let Some(day) = Window::day(zone, date) else {
            break;
        };
        from = day.end();
    }
    days
}

/// Windows whose tasks ended and that a clock which ran ahead called over.
///
/// What was exported then may be half a day. Each is exported once more when it is due. A clock
/// that was ahead by less than the settle delay did no harm.
fn exported_in_the_future(job: &JobSpec, now: Timestamp, known: &[WindowRow]) -> Vec<Window> {
    let settle = SignedDuration::try_from(job.settle_delay).unwrap_or(SignedDuration::MAX);
    let latest = now.checked_add(settle).unwrap_or(Timestamp::MAX);
    known
        .iter()
        .filter(|row| row.state.has_ended() && row.covered_at > latest)
        .map(|row| row.window)
        .collect()
}

/// Windows within the lookback whose tasks all ended and that this firing has not covered yet.
fn lookback(job: &JobSpec, now: Timestamp, firing: Timestamp, known: &[WindowRow]) -> Vec<Window> {
    let from = date_of(&job.time_zone, now).checked_sub(i64::from(job.lookback_days).days());
    let from = from.map_or(Timestamp::MAX, |date| start_of_day(&job.time_zone, date));
    known
        .iter()
        .filter(|row| {
            row.state.has_ended()
                && row.covered_at < firing
                && row.window.start() >= from
                // A day that was cut anew may not be over yet.
                && due_at(job, &row.window) <= now
                && !is_lost(job.dataset, &row.window, now)
        })
        .map(|row| row.window)
        .collect()
}

/// The windows that a run would work on: what is new and due, what is asked for again, what is
/// open and not lost meanwhile, what has `failed` tasks, which get another round of attempts, and
/// what the last run's bound of tasks left. In order, each once.
#[must_use]
pub fn windows_to_work_on(
    job: &JobSpec,
    due: &Due,
    known: &[WindowRow],
    failed: &BTreeSet<Window>,
    now: Timestamp,
) -> Vec<Window> {
    let new = due.new.iter().filter(|new| new.state == WindowState::Due);
    let is_open = |row: &WindowRow| {
        let is_lost = is_lost(job.dataset, &row.window, now);
        let is_open = match row.state {
            WindowState::Due => !is_lost,
            // A snapshot that was fetched on its day goes on.
            WindowState::Planned => !is_lost || job.dataset.is_snapshot(),
            WindowState::Stuck => !is_lost && failed.contains(&row.window),
            WindowState::Settled | WindowState::Skipped | WindowState::Lost => false,
        };
        row.due_at <= now && is_open
    };
    let open = known
        .iter()
        .filter(|row| is_open(row) || is_left_over(row))
        .map(|row| row.window);
    let mut windows: Vec<Window> = new.map(|new| new.window).collect();
    windows.extend(due.again.iter().copied().chain(open));
    windows.sort_unstable();
    windows.dedup();
    windows
}

/// Whether a window ended with parents over the job's bound of tasks per run: the next run goes on
/// with them.
#[must_use]
pub fn is_left_over(row: &WindowRow) -> bool {
    let counts = row.coverage.as_ref();
    row.state.has_ended() && counts.is_some_and(|counts| counts.over_max_tasks > 0)
}

/// From where on the windows are the schedule's own; `None` if it never ran. A schedule inserts its
/// windows at a firing, a backfill at any other instant.
#[must_use]
pub fn first_scheduled(
    job: &JobSpec,
    schedule: &Schedule,
    state: Option<ScheduleState>,
    known: &[WindowRow],
) -> Option<Timestamp> {
    let watermark = state?.watermark;
    if let Some(start) = job.start {
        return Some(start_of_day(&job.time_zone, start));
    }
    let is_of_firing =
        |row: &&WindowRow| schedule.previous_at_or_before(row.covered_at) == Some(row.covered_at);
    let of_firings = known.iter().filter(is_of_firing);
    let lookback = SignedDuration::from_hours(24 * i64::from(job.lookback_days.max(1)));
    let newest = watermark.checked_sub(lookback).unwrap_or(Timestamp::MIN);
    let first = of_firings.map(|row| row.window.start()).min();
    Some(first.map_or(newest, |first| first.min(newest)))
}

/// There is no meeting before this day: Feishu and Lark are younger.
pub const FIRST_DAY: Date = Date::constant(2016, 1, 1);

/// A backfill is asked about twice when it covers more days than this.
pub const MANY_DAYS: u64 = 366;

/// A backfill, cut into windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backfill {
    /// What can be exported.
    pub windows: Vec<Window>,
    /// What lies beyond Feishu's horizon.
    pub lost: Vec<Window>,
    /// The first window that is not over, or not settled, yet.
    pub not_yet: Option<Window>,
}

/// The windows of `job` in the civil days `[from, to)`; and the part of the range that Feishu no
/// longer has, if any.
#[must_use]
pub fn backfill(job: &JobSpec, from: Date, to: Date, now: Timestamp) -> Backfill {
    let mut backfill = Backfill::default();
    let days = std::iter::successors(Some(from), |date| date.tomorrow().ok())
        .take_while(|date| *date < to);
    for window in days.filter_map(|date| Window::day(&job.time_zone, date)) {
        if is_lost(job.dataset, &window, now) {
            backfill.lost.push(window);
        } else if due_at(job, &window) > now {
            backfill.not_yet.get_or_insert(window);
        } else {
            backfill.windows.push(window);
        }
    }
    backfill
}

impl Backfill {
    /// What the backfill asks for: windows that are missing, and with `again` also those whose
    /// tasks ended. Days that windows of another cut ask for are not missing, unless anything at
    /// all is exported `once_more`: parents and children have the same windows.
    #[must_use]
    pub fn asks(
        &self,
        job: &JobSpec,
        known: &[WindowRow],
        again: bool,
        once_more: bool,
        now: Timestamp,
    ) -> Due {
        let new = |state| {
            move |window: &Window| NewWindow {
                window: *window,
                due_at: due_at(job, window),
                state,
            }
        };
        let is_wanted = |window: &&Window| once_more || !is_asked_for_otherwise(window, known);
        let wanted = self.windows.iter().filter(is_wanted);
        let wanted = wanted.map(new(WindowState::Due));
        let lost = self.lost.iter().map(new(WindowState::Lost));
        let ended = known
            .iter()
            .filter(|row| again && row.state.has_ended() && self.windows.contains(&row.window));
        Due {
            firing: now,
            new: wanted.chain(lost).collect(),
            again: ended.map(|row| row.window).collect(),
            schedule: None,
        }
    }

    /// The windows that a run of the backfill would work on: those that are not settled.
    #[must_use]
    pub fn windows_to_work_on(&self, known: &[WindowRow]) -> Vec<Window> {
        let is_settled = |window: &&Window| {
            known
                .iter()
                .any(|row| row.window == **window && row.state == WindowState::Settled)
        };
        let open = self
            .windows
            .iter()
            .filter(|window| !is_settled(window) && !is_asked_for_otherwise(window, known));
        open.copied().collect()
    }

    /// The lost windows of which the lake has nothing. What was exported in time is there.
    pub fn lost_for_good<'b>(
        &'b self,
        known: &'b [WindowRow],
    ) -> impl Iterator<Item = &'b Window> + 'b {
        self.lost.iter().filter(|lost| {
            known
                .iter()
                .all(|row| row.window != **lost || row.state == WindowState::Lost)
        })
    }
}

/// What a tick of the heartbeat means to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// No firing that was not handled.
    Nothing,
    /// The job fired.
    Fired(Timestamp),
    /// It fired while its tasks still run, and its policy is to leave such a firing to the next.
    Skipped(ScheduleState),
}

/// Looks for a firing that was not handled yet. `is_busy` says whether tasks of the job are under
/// way.
#[must_use]
pub fn tick(
    job: &JobSpec,
    schedule: &Schedule,
    now: Timestamp,
    state: Option<ScheduleState>,
    is_busy: bool,
) -> Tick {
    let jitter = SignedDuration::try_from(jitter(job)).unwrap_or_default();
    let at = now.checked_sub(jitter).unwrap_or(Timestamp::MIN);
    let is_snapshot = job.dataset.is_snapshot();
    // A snapshot is of the day on which the job fires, so its jitter does not cross midnight.
    let crosses = |firing: &Timestamp| {
        date_of(&job.time_zone, *firing) != date_of(&job.time_zone, *firing + jitter)
    };
    let at_midnight = schedule.previous_at_or_before(now);
    let at_midnight = at_midnight.filter(|firing| is_snapshot && crosses(firing));
    let Some(firing) = at_midnight.or_else(|| schedule.previous_at_or_before(at)) else {
        return Tick::Nothing;
    };
    // A firing that is still to come was handled by a clock that was wrong.
    let is_handled = |last: Timestamp| last >= firing && last <= now;
    match state {
        Some(state) if is_handled(state.last_firing) => Tick::Nothing,
        // The next firing would not bring a skipped snapshot: its day is over by then.
        Some(state) if is_busy && job.overlap == OverlapPolicy::Skip && !is_snapshot => {
            Tick::Skipped(ScheduleState {
                last_firing: firing,
                ..state
            })
        }
        None if is_busy && job.overlap == OverlapPolicy::Skip => Tick::Nothing,
        _ => Tick::Fired(firing),
    }
}

/// When a window is in the lake at the latest, if all goes well: the job's first firing after it is
/// due, with its share of the jitter and the time that an export may take.
#[must_use]
pub fn expected_at(job: &JobSpec, schedule: &Schedule, due_at: Timestamp) -> Timestamp {
    let firing = schedule.next_at_or_after(due_at).unwrap_or(due_at);
    let most = SignedDuration::try_from(jitter(job) + job.deadline).unwrap_or(SignedDuration::MAX);
    firing.checked_add(most).unwrap_or(Timestamp::MAX)
}

/// The job's own share of its jitter: the same at every firing, different for every job.
fn jitter(job: &JobSpec) -> Duration {
    let name = TaskKey::digest(&job.name);
    job.jitter.mul_f64(f64::from(name) / f64::from(u32::MAX))
}

/// The first day of a job that never ran.
fn first_day(job: &JobSpec, now: Timestamp) -> Date {
    job.start.unwrap_or_else(|| {
        let days_back = i64::from(job.lookback_days.max(1)) + i64::from(job.window_days) - 1;
        let settled = now
            .checked_sub(SignedDuration::try_from(job.settle_delay).unwrap_or_default())
            .unwrap_or(now);
        date_of(&job.time_zone, settled)
            .checked_sub(days_back.days())
            .unwrap_or(Date::MIN)
    })
}

/// When a window may be exported: after its end and the settle delay; a snapshot from the day's
/// beginning on. A day of events is over then: Feishu sends nothing of it again. Where a bucket may
/// be the UTC day of the same date, that day must be over too. It ends later than the local day in
/// zones east of Greenwich.
#[must_use]
pub fn due_at(job: &JobSpec, window: &Window) -> Timestamp {
    let utc_buckets = match job.dataset.definition().extent {
        Extent::Windows { utc_buckets, .. } => utc_buckets,
        Extent::Snapshot => return window.start(),
        Extent::Received => false,
    };
    let mut end = window.end();
    if utc_buckets
        && let Some(after_last) = window
            .dates(&job.time_zone)
            .last()
            .and_then(|date| date.tomorrow().ok())
    {
        end = end.max(start_of_day(&TimeZone::UTC, after_last));
    }
    end.checked_add(SignedDuration::try_from(job.settle_delay).unwrap_or_default())
        .unwrap_or(Timestamp::MAX)
}

/// Whether Feishu no longer answers for a window.
#[must_use]
pub fn is_lost(dataset: Dataset, window: &Window, now: Timestamp) -> bool {
    match dataset.definition().extent {
        Extent::Windows { .. } => dataset
            .answers_since(now)
            .is_some_and(|edge| window.start() < edge),
        Extent::Snapshot => window.end() <= now,
        // What was received is here, and what was not has no window.
        Extent::Received => false,
    }
}

/// Whether a window will soon be lost.
#[must_use]
pub fn is_nearly_lost(dataset: Dataset, window: &Window, now: Timestamp) -> bool {
    let warning = SignedDuration::try_from(HORIZON_WARNING).unwrap_or_default();
    let start = window.start().checked_sub(warning);
    dataset
        .answers_since(now)
        .is_some_and(|edge| start.unwrap_or(Timestamp::MIN) < edge)
}

/// Whole days until Feishu no longer answers for a window; `None` where it names no limit.
#[must_use]
pub fn days_left(dataset: Dataset, window: &Window, now: Timestamp) -> Option<i64> {
    let left = window.start().duration_since(dataset.answers_since(now)?);
    Some(left.as_hours().div_euclid(24))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::tests::job;
    use crate::record::Coverage;

    #[test]
    fn days_that_windows_of_another_cut_ask_for_are_not_missing() {
        use crate::plan::tests::window_row;
        let mut job = job(Dataset::MeetingList);
        let of_shanghai = |n| Window::day(&job.time_zone, date(2026, 11, n)).expect("a day");
        let known: Vec<WindowRow> = (10..14)
            .map(|n| window_row(Dataset::MeetingList, of_shanghai(n), WindowState::Settled))
            .collect();
        job.time_zone = TimeZone::get("America/New_York").expect("a zone");
        let now = at("2026-11-20T00:00:00Z");
        let asked = |known: &[WindowRow], once_more| {
            let (from, to) = (date(2026, 11, 9), date(2026, 11, 15));
            let due = backfill(&job, from, to, now).asks(&job, known, false, once_more, now);
            let day = |new: &NewWindow| date_of(&job.time_zone, new.window.start()).day();
            due.new.iter().map(day).collect::<Vec<_>>()
        };
        // Of the 9th and the 13th, some hours are in no window.
        assert_eq!(asked(&known, false), [9, 13, 14]);
        assert_eq!(asked(&known, true), [9, 10, 11, 12, 13, 14]);
        let mut left_out = known.clone();
        left_out[1].state = WindowState::Lost;
        assert_eq!(asked(&left_out, false), [9, 10, 11, 13, 14]);
        // A job under a new name begins at its start, and finds them there.
        job.start = Some(date(2026, 11, 10));
        let schedule = Schedule::parse(&job.cron, job.time_zone.clone()).expect("a schedule");
        let due = due(&job, &schedule, now, None, &known);
        let first = due
            .new
            .first()
            .map(|new| date_of(&job.time_zone, new.window.start()));
        assert_eq!(first, Some(date(2026, 11, 13)));
    }

    #[test]
    fn a_day_of_events_is_asked_for_by_nobody_and_over_when_nothing_comes_again() {
        let mut job = job(Dataset::MeetingEvent);
        job.settle_delay = Duration::from_secs(8 * 3600);
        let day = Window::day(&job.time_zone, date(2026, 11, 10)).expect("a day");
        assert_eq!(due_at(&job, &day), at("2026-11-11T00:00:00Z"));
        let now = at("2026-11-20T10:00:00Z");
        assert!(!is_lost(job.dataset, &day, now) && !is_nearly_lost(job.dataset, &day, now));
        let row = crate::plan::tests::window_row(job.dataset, day, WindowState::Settled);
        for state in [
            None,
            Some(ScheduleState {
                watermark: day.end(),
                last_firing: day.end(),
            }),
        ] {
            let due = due_now(&job, now, state, std::slice::from_ref(&row));
            assert_eq!((due.new.len(), due.again.len()), (0, 0));
            assert_eq!(
                due.schedule.map(|state| state.last_firing),
                Some(due.firing)
            );
        }
        let reason = |now| crate::plan::partition::not_over(job.dataset, due_at(&job, &day), now);
        assert!(reason(at("2026-11-10T23:59:59Z")).is_some());
        assert_eq!(reason(at("2026-11-11T00:00:00Z")), None);
        let of_meetings = crate::plan::partition::not_over(Dataset::MeetingList, now, day.start());
        assert_eq!(of_meetings, None);
    }

    #[test]
    fn a_day_that_is_not_over_is_not_exported_again() {
        use crate::plan::tests::window_row;
        let mut job = job(Dataset::TopUser);
        job.lookback_days = 3;
        let schedule = Schedule::parse(&job.cron, job.time_zone.clone()).expect("a schedule");
        let day = |n| Window::day(&job.time_zone, date(2026, 11, n)).expect("a day");
        let mut known = window_row(Dataset::TopUser, day(18), WindowState::Settled);
        known.covered_at = at("2026-11-17T00:00:00Z");
        let again = |now: &str| {
            let state = ScheduleState {
                watermark: day(18).end(),
                last_firing: at("2026-11-17T00:00:00Z"),
            };
            let known = std::slice::from_ref(&known);
            due(&job, &schedule, at(now), Some(state), known).again
        };
        assert_eq!(again("2026-11-18T10:00:00Z"), []);
        assert_eq!(again("2026-11-20T10:00:00Z"), [day(18)]);
    }

    /// Fires at 05:00 in Shanghai, which is 21:00 UTC.
    fn schedule(job: &JobSpec) -> Schedule {
        Schedule::parse(&job.cron, job.time_zone.clone()).expect("a schedule")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    fn due_now(
        job: &JobSpec,
        now: Timestamp,
        schedule: Option<ScheduleState>,
        known: &[WindowRow],
    ) -> Due {
        due(job, &self::schedule(job), now, schedule, known)
    }

    fn settled(job: &JobSpec, window: Window, covered_at: Timestamp) -> WindowRow {
        WindowRow {
            tenant: "acme".into(),
            dataset: job.dataset,
            window,
            job: job.name.clone(),
            due_at: window.end(),
            state: WindowState::Settled,
            generation: 1,
            covered_at,
            parents: None,
            coverage: None,
        }
    }

    #[test]
    fn a_job_begins_with_its_lookback_and_then_goes_day_by_day() {
        let job = job(Dataset::MeetingList);
        let first = due_now(&job, at("2026-11-10T21:30:00Z"), None, &[]);
        let days: Vec<_> = first
            .new
            .iter()
            .map(|new| date_of(&job.time_zone, new.window.start()))
            .collect();
        assert_eq!(
            days,
            [date(2026, 11, 8), date(2026, 11, 9), date(2026, 11, 10)]
        );
        let next = due_now(&job, at("2026-11-11T21:30:00Z"), first.schedule, &[]);
        let days: Vec<_> = next
            .new
            .iter()
            .map(|new| date_of(&job.time_zone, new.window.start()))
            .collect();
        assert_eq!(days, [date(2026, 11, 11)]);
    }

    #[test]
    fn a_restart_after_three_days_catches_up_once() {
        let job = job(Dataset::MeetingList);
        let first = due_now(&job, at("2026-11-10T21:30:00Z"), None, &[]);
        let late = due_now(&job, at("2026-11-13T21:30:00Z"), first.schedule, &[]);
        assert_eq!(late.new.len(), 3);
        assert!(late.new.iter().all(|new| new.state == WindowState::Due));
        let again = due_now(&job, at("2026-11-13T21:31:00Z"), late.schedule, &[]);
        assert_eq!((again.new.len(), again.again.len()), (0, 0));
    }

    #[test]
    fn missed_windows_follow_the_policy() {
        let mut job = job(Dataset::MeetingList);
        let schedule = due_now(&job, at("2026-11-10T21:30:00Z"), None, &[]).schedule;
        let states = |job: &JobSpec| {
            let due = due_now(job, at("2026-11-13T21:30:00Z"), schedule, &[]);
            due.new.iter().map(|new| new.state).collect::<Vec<_>>()
        };
        use WindowState::{Due, Skipped};
        job.missed = MissedPolicy::Latest;
        assert_eq!(states(&job), [Skipped, Skipped, Due]);
        job.missed = MissedPolicy::None;
        assert_eq!(states(&job), [Skipped, Skipped, Due]);
        job.missed = MissedPolicy::All;
        assert_eq!(states(&job), [Due, Due, Due]);
    }

    #[test]
    fn each_firing_looks_back_once() {
        let job = job(Dataset::MeetingList);
        let now = at("2026-11-10T21:30:00Z");
        let first = due_now(&job, now, None, &[]);
        let known: Vec<_> = first
            .new
            .iter()
            .map(|new| settled(&job, new.window, first.firing))
            .collect();
        assert!(
            due_now(&job, at("2026-11-11T20:00:00Z"), first.schedule, &known)
                .again
                .is_empty(),
            "no new firing"
        );
        let next = due_now(&job, at("2026-11-11T21:30:00Z"), first.schedule, &known);
        assert_eq!(next.again.len(), 2, "the oldest has left the lookback");
    }

    #[test]
    fn reports_beyond_the_horizon_are_lost_and_named() {
        let mut job = job(Dataset::DailyReport);
        job.start = Some(date(2026, 8, 1));
        let due = due_now(&job, at("2026-11-10T21:30:00Z"), None, &[]);
        let lost = due
            .new
            .iter()
            .filter(|new| new.state == WindowState::Lost)
            .count();
        assert!(lost > 0 && lost < due.new.len());
        let backfill = backfill(
            &job,
            date(2026, 8, 1),
            date(2026, 11, 1),
            at("2026-11-10T21:30:00Z"),
        );
        let first = date_of(&job.time_zone, backfill.lost[0].start());
        assert_eq!(first, date(2026, 8, 1));
        assert_eq!(backfill.lost.len(), lost);
        assert_eq!(backfill.windows.len() + lost, 92);
    }

    #[test]
    fn a_daily_report_waits_for_the_end_of_its_utc_day() {
        let job = job(Dataset::DailyReport);
        let window = Window::day(&job.time_zone, date(2026, 11, 10)).expect("a day");
        assert_eq!(due_at(&job, &window), at("2026-11-11T01:00:00Z"));
    }

    fn window(day: i8) -> Window {
        let zone = TimeZone::get("Asia/Shanghai").expect("a zone");
        Window::day(&zone, date(2026, 11, day)).expect("a day")
    }

    fn row(day: i8, state: WindowState) -> WindowRow {
        WindowRow {
            state,
            ..settled(
                &job(Dataset::MeetingList),
                window(day),
                at("2026-11-01T00:00:00Z"),
            )
        }
    }

    #[test]
    fn a_run_works_on_what_is_new_open_asked_for_again_or_left_over() {
        use WindowState::{Lost, Planned, Settled, Skipped, Stuck};
        let now = at("2026-11-20T00:00:00Z");
        let mut left_over = row(4, Settled);
        left_over.coverage = Some(Coverage {
            over_max_tasks: 1,
            ..Coverage::default()
        });
        let mut not_due = row(5, WindowState::Due);
        not_due.due_at = at("2026-11-21T00:00:00Z");
        let known = [
            row(1, WindowState::Due),
            row(2, Planned),
            row(3, Settled),
            left_over,
            not_due,
            row(6, Stuck),
            row(7, Skipped),
            row(8, Lost),
            row(11, Stuck),
        ];
        let failed = BTreeSet::from([window(11), window(3)]);
        let new = |day, state| NewWindow {
            window: window(day),
            due_at: now,
            state,
        };
        let due = Due {
            new: vec![
                new(9, WindowState::Due),
                new(10, Lost),
                new(1, WindowState::Due),
            ],
            again: vec![window(6)],
            ..Due::default()
        };
        let meetings = job(Dataset::MeetingList);
        let found = windows_to_work_on(&meetings, &due, &known, &failed, now);
        assert_eq!(found, [1, 2, 4, 6, 9, 11].map(window));
        // Yesterday's snapshot cannot be taken any more; one whose bytes are here goes on.
        let rooms = job(Dataset::Room);
        let none = Due::default();
        let open = windows_to_work_on(&rooms, &none, &known[..3], &failed, now);
        assert_eq!(open, [window(2)]);
        // A report is no longer answered after its horizon; what the last bound left over is known.
        let report = job(Dataset::DailyReport);
        let later = at("2027-06-01T00:00:00Z");
        let open = windows_to_work_on(&report, &none, &known, &failed, later);
        assert_eq!(open, [window(4)]);
    }

    #[test]
    fn a_backfill_asks_for_what_is_missing_and_again_for_what_ended_only_if_told() {
        use WindowState::{Lost, Planned, Settled, Stuck};
        let job = job(Dataset::MeetingList);
        let now = at("2026-11-06T21:30:00Z");
        let backfill = backfill(&job, date(2026, 11, 1), date(2026, 11, 9), now);
        assert_eq!(backfill.windows, [1, 2, 3, 4, 5, 6].map(window));
        assert_eq!(backfill.not_yet, Some(window(7)));
        let known = [row(1, Settled), row(2, Stuck), row(3, Planned)];
        let missing = backfill.asks(&job, &known, false, false, now);
        assert_eq!((missing.new.len(), missing.again), (6, vec![]));
        assert_eq!((missing.firing, missing.schedule), (now, None));
        let again = backfill.asks(&job, &known, true, true, now);
        assert_eq!(again.again, [1, 2].map(window));
        assert_eq!(
            backfill.windows_to_work_on(&known),
            [2, 3, 4, 5, 6].map(window)
        );
        let lost = Backfill {
            lost: vec![window(1), window(2), window(3)],
            ..Backfill::default()
        };
        let known = [row(1, Settled), row(2, Lost)];
        let for_good: Vec<Window> = lost.lost_for_good(&known).copied().collect();
        assert_eq!(for_good, [2, 3].map(window));
        let asked = lost.asks(&job, &known, false, false, now).new;
        assert!(asked.iter().all(|new| new.state == Lost));
    }

    #[test]
    fn windows_from_the_schedules_first_on_are_its_own() {
        let mut job = job(Dataset::MeetingList);
        job.lookback_days = 2;
        let state = Some(ScheduleState {
            watermark: window(9).end(),
            last_firing: at("2026-11-10T21:00:00Z"),
        });
        let mut scheduled = row(4, WindowState::Due);
        scheduled.covered_at = at("2026-11-05T21:00:00Z");
        let mut backfilled = row(1, WindowState::Due);
        backfilled.covered_at = at("2026-11-05T21:00:01Z");
        let known = [backfilled, scheduled];
        let first = |job: &JobSpec, state, known: &[WindowRow]| {
            first_scheduled(job, &schedule(job), state, known)
        };
        assert_eq!(first(&job, None, &known), None);
        assert_eq!(first(&job, state, &known), Some(window(4).start()));
        // A rebuilt ledger knows no firing: as far as the lookback goes, at least.
        assert_eq!(first(&job, state, &known[..1]), Some(window(8).start()));
        job.start = Some(date(2026, 11, 2));
        assert_eq!(first(&job, state, &known), Some(window(2).start()));
    }

    #[test]
    fn a_tick_fires_once_and_is_left_to_the_next_while_tasks_run() {
        let mut job = job(Dataset::MeetingList);
        let firing = at("2026-11-10T21:00:00Z");
        let before = at("2026-11-09T21:00:00Z");
        let now = at("2026-11-10T21:30:00Z");
        let state = |last_firing| {
            Some(ScheduleState {
                watermark: before,
                last_firing,
            })
        };
        let ask = |job: &JobSpec, state, is_busy| tick(job, &schedule(job), now, state, is_busy);
        let skipped = Tick::Skipped(ScheduleState {
            watermark: before,
            last_firing: firing,
        });
        let in_future = at("2026-12-01T21:00:00Z");
        for (known, is_busy, expected) in [
            (None, false, Tick::Fired(firing)),
            (None, true, Tick::Nothing),
            (state(before), false, Tick::Fired(firing)),
            (state(before), true, skipped),
            (state(firing), false, Tick::Nothing),
            (state(firing), true, Tick::Nothing),
            (state(now), false, Tick::Nothing),
            (state(in_future), false, Tick::Fired(firing)),
        ] {
            assert_eq!(ask(&job, known, is_busy), expected, "{known:?} {is_busy}");
        }
        job.overlap = OverlapPolicy::Queue;
        assert_eq!(ask(&job, state(before), true), Tick::Fired(firing));
        // The jitter puts the firing off, by the same time at every firing.
        job.jitter = Duration::from_secs(86_400);
        let share = jitter(&job);
        assert!(share > Duration::from_secs(1800), "{share:?}");
        assert_eq!(ask(&job, state(before), false), Tick::Nothing);
        let later = firing + SignedDuration::try_from(share).expect("short");
        let fired = tick(&job, &schedule(&job), later, state(before), false);
        assert_eq!(fired, Tick::Fired(firing));
    }

    #[test]
    fn a_window_is_expected_after_the_next_firing_and_the_time_of_an_export() {
        let job = job(Dataset::MeetingList);
        let due_at = at("2026-11-10T17:00:00Z");
        assert_eq!(
            expected_at(&job, &schedule(&job), due_at),
            at("2026-11-10T22:00:00Z")
        );
    }

    #[test]
    fn a_report_is_lost_after_89_days_and_warned_about_a_week_before() {
        let now = at("2026-11-30T00:00:00Z");
        let window = |days: i64| {
            let start = now - SignedDuration::from_hours(24 * days);
            Window::new(start, start + SignedDuration::from_hours(24)).expect("a day")
        };
        for (days, lost, nearly) in [
            (81, false, false),
            (82, false, false),
            (83, false, true),
            (89, false, true),
            (90, true, true),
        ] {
            let found = (
                is_lost(Dataset::TopUser, &window(days), now),
                is_nearly_lost(Dataset::TopUser, &window(days), now),
            );
            assert_eq!(found, (lost, nearly), "{days} days ago");
            assert_eq!(
                days_left(Dataset::TopUser, &window(days), now),
                Some(89 - days)
            );
            assert_eq!(days_left(Dataset::MeetingList, &window(days), now), None);
            assert!(!is_lost(Dataset::MeetingList, &window(days), now));
        }
    }

    #[test]
    fn what_a_fast_clock_called_over_is_exported_once_more() {
        let job = job(Dataset::MeetingList);
        let now = at("2026-11-10T21:30:00Z");
        let first = due_now(&job, now, None, &[]);
        let covered = |hours| now + SignedDuration::from_hours(hours);
        for (hours, again) in [(-1, 0), (0, 0), (1, 0), (2, 1)] {
            let known = [settled(&job, first.new[0].window, covered(hours))];
            let due = due_now(&job, now, first.schedule, &known);
            assert_eq!(due.again.len(), again, "{hours} hours ahead");
        }
    }

    proptest! {
        /// Whatever the downtime, the windows that a job ever asks for tile the time line, and none
        /// is asked for twice.
        #[test]
        fn any_sequence_of_runs_gives_the_same_windows(steps in prop::collection::vec(1i64..400_000, 1..40)) {
            let job = job(Dataset::MeetingList);
            let begin = at("2026-01-01T00:00:00Z");
            let (mut now, mut schedule, mut seen) = (begin, None, Vec::new());
            for step in steps {
                now += SignedDuration::from_secs(step);
                let due = due_now(&job, now, schedule, &[]);
                seen.extend(due.new.iter().map(|new| new.window));
                schedule = due.schedule.or(schedule);
            }
            for pair in seen.windows(2) {
                prop_assert_eq!(pair[0].end(), pair[1].start());
            }
            if let Some(last) = seen.last() {
                prop_assert!(due_at(&job, last) <= now);
            }
        }
    }

    // --- snapshots ---------------------------------------------------------------------------

    /// Fires at 05:00 in Shanghai, which is 21:00 UTC of the day before.
    fn snapshot_job() -> JobSpec {
        JobSpec {
            settle_delay: Duration::ZERO,
            lookback_days: 0,
            missed: MissedPolicy::None,
            ..job(Dataset::Room)
        }
    }

    fn days(job: &JobSpec, due: &Due) -> Vec<(String, WindowState)> {
        let day = |window: &Window| date_of(&job.time_zone, window.start()).to_string();
        due.new
            .iter()
            .map(|new| (day(&new.window), new.state))
            .collect()
    }

    /// A schedule whose last firing was handled.
    fn stands(last_firing: &str) -> Option<ScheduleState> {
        let last_firing = at(last_firing);
        let zone = TimeZone::get("Asia/Shanghai").expect("a zone");
        let day = Window::day(&zone, date_of(&zone, last_firing)).expect("a day");
        Some(ScheduleState {
            watermark: day.end(),
            last_firing,
        })
    }

    #[test]
    fn a_snapshot_is_taken_on_its_day_and_a_missed_day_is_lost() {
        use WindowState::{Due as Now, Lost};
        let job = snapshot_job();
        let fired = "2026-11-09T21:00:00Z"; // the 10th in Shanghai
        for (what, now, state, expected) in [
            (
                "a first run does not wait",
                "2026-11-10T15:00:00Z",
                None,
                vec![("2026-11-10", Now)],
            ),
            (
                "nothing fired since",
                "2026-11-10T15:00:00Z",
                Some(fired),
                vec![],
            ),
            (
                "it is past midnight, before the firing",
                "2026-11-10T16:30:00Z",
                Some(fired),
                vec![],
            ),
            (
                "it fired",
                "2026-11-10T21:00:00Z",
                Some(fired),
                vec![("2026-11-11", Now)],
            ),
            (
                "three days were missed",
                "2026-11-13T22:00:00Z",
                Some(fired),
                vec![
                    ("2026-11-11", Lost),
                    ("2026-11-12", Lost),
                    ("2026-11-13", Lost),
                    ("2026-11-14", Now),
                ],
            ),
            (
                "a clock that was ahead handled a firing to come",
                "2026-11-10T21:30:00Z",
                Some("2026-11-15T21:00:00Z"),
                vec![("2026-11-11", Now)],
            ),
        ] {
            let found = due_now(&job, at(now), state.and_then(stands), &[]);
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(day, state)| (day.to_owned(), state))
                .collect();
            assert_eq!(days(&job, &found), expected, "{what}");
            let last = found.schedule.map(|state| state.last_firing);
            assert!(last.is_none_or(|last| last <= at(now)), "{what}");
        }
    }

    #[test]
    fn a_weekly_snapshot_misses_no_day_in_between() {
        let mut job = snapshot_job();
        job.cron = "0 5 * * 1".into();
        let found = due_now(
            &job,
            at("2026-11-24T00:00:00Z"),
            stands("2026-11-08T21:00:00Z"),
            &[],
        );
        let lost = [
            ("2026-11-16".to_owned(), WindowState::Lost),
            ("2026-11-23".to_owned(), WindowState::Lost),
        ];
        assert_eq!(days(&job, &found), lost);
    }

    #[test]
    fn a_snapshot_is_taken_again_when_the_job_fires_again_on_its_day() {
        let mut job = snapshot_job();
        job.cron = "0 5,12 * * *".into();
        let day = |n| Window::day(&job.time_zone, date(2026, 11, n)).expect("a day");
        let taken = at("2026-11-09T21:05:00Z");
        let known = [settled(&job, day(9), taken), settled(&job, day(10), taken)];
        for (what, now, again) in [
            (
                "the second firing is to come",
                "2026-11-10T03:59:00Z",
                vec![],
            ),
            ("it fired", "2026-11-10T04:00:00Z", vec![day(10)]),
            ("the day is over", "2026-11-10T16:00:00Z", vec![]),
        ] {
            let found = due_now(&job, at(now), stands("2026-11-09T21:00:00Z"), &known);
            assert_eq!(found.again, again, "{what}");
        }
        let mut open = known.clone();
        open[1].state = WindowState::Planned;
        let found = due_now(
            &job,
            at("2026-11-10T04:00:00Z"),
            stands("2026-11-09T21:00:00Z"),
            &open,
        );
        assert_eq!(found.again, [], "it is under way");
        let mut stuck = known;
        stuck[1].state = WindowState::Stuck;
        for (what, now, again) in [
            ("its day is not over", "2026-11-10T03:00:00Z", vec![day(10)]),
            ("its day is over", "2026-11-10T16:00:00Z", vec![]),
        ] {
            let found = due_now(&job, at(now), stands("2026-11-09T21:00:00Z"), &stuck);
            assert_eq!(found.again, again, "stuck, and {what}");
        }
    }

    #[test]
    fn a_day_that_is_known_is_not_lost_once_more() {
        let job = snapshot_job();
        let day = |n| Window::day(&job.time_zone, date(2026, 11, n)).expect("a day");
        let known = [settled(&job, day(11), at("2026-11-10T21:00:00Z"))];
        // A clock that was set back in between left an older watermark.
        let found = due_now(
            &job,
            at("2026-11-12T22:00:00Z"),
            stands("2026-11-09T21:00:00Z"),
            &known,
        );
        let expected = [
            ("2026-11-12", WindowState::Lost),
            ("2026-11-13", WindowState::Due),
        ];
        let expected = expected.map(|(day, state)| (day.to_owned(), state));
        assert_eq!(days(&job, &found), expected);
    }

    #[test]
    fn what_a_fast_clock_took_is_taken_again_on_its_day() {
        let job = snapshot_job();
        let day = |n| Window::day(&job.time_zone, date(2026, 11, n)).expect("a day");
        // On the 10th, a clock that is a day ahead took the 11th.
        let known = [settled(&job, day(11), at("2026-11-10T21:00:00Z"))];
        let state = stands("2026-11-10T21:00:00Z");
        let found = due_now(&job, at("2026-11-09T22:00:00Z"), state, &known);
        assert_eq!(found.again, [day(11)]);
        assert_eq!(
            days(&job, &found),
            [("2026-11-10".to_owned(), WindowState::Due)]
        );
        let watermark = found.schedule.expect("it ran").watermark;
        assert_eq!(
            watermark,
            day(10).end(),
            "the 11th is named again when the job fires on it"
        );
    }

    #[test]
    fn a_snapshot_is_not_skipped_and_its_jitter_stays_within_its_day() {
        let mut job = snapshot_job();
        let state = stands("2026-11-09T21:00:00Z");
        let busy = |job: &JobSpec, now| tick(job, &schedule(job), at(now), state, true);
        assert_eq!(busy(&job, "2026-11-10T20:59:00Z"), Tick::Nothing);
        let fired = Tick::Fired(at("2026-11-10T21:00:00Z"));
        assert_eq!(busy(&job, "2026-11-10T21:00:00Z"), fired);

        job.cron = "50 23 * * *".into();
        job.jitter = Duration::from_secs(6 * 3600);
        assert!(
            jitter(&job) > Duration::from_secs(600),
            "it would cross midnight"
        );
        let fired = Tick::Fired(at("2026-11-10T15:50:00Z"));
        assert_eq!(busy(&job, "2026-11-10T15:50:00Z"), fired);
    }

    #[test]
    fn only_the_day_itself_can_be_asked_for() {
        let job = snapshot_job();
        let day = Window::day(&job.time_zone, date(2026, 11, 10)).expect("a day");
        for (now, lost) in [
            ("2026-11-09T16:00:00Z", false),
            ("2026-11-10T15:59:59Z", false),
            ("2026-11-10T16:00:00Z", true),
        ] {
            assert_eq!(is_lost(Dataset::Room, &day, at(now)), lost, "{now}");
            assert!(!is_nearly_lost(Dataset::Room, &day, at(now)));
        }
        assert_eq!(due_at(&job, &day), day.start());
    }

    proptest! {
        #[test]
        fn however_often_it_is_asked_each_day_with_a_firing_is_named_once(
            steps in prop::collection::vec(1_i64..200, 1..30),
        ) {
            let mut job = snapshot_job();
            job.cron = "0 5,17 * * *".into();
            let (mut now, mut state) = (at("2026-11-10T00:00:00Z"), None);
            let mut named = Vec::new();
            for hours in steps {
                let found = due_now(&job, now, state, &[]);
                for new in &found.new {
                    prop_assert_eq!(new.state == WindowState::Due, new.window.contains(now));
                    named.push(new.window);
                }
                state = found.schedule;
                now += SignedDuration::from_hours(hours);
            }
            // The day after may be named twice: at the first run, and when the job fires on it.
            named.dedup();
            let mut sorted = named.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(&named, &sorted);
            prop_assert!(named.windows(2).all(|pair| pair[0].end() == pair[1].start()));
        }
    }
}
