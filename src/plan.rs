//! What should be exported: windows from jobs, tasks from windows, and what that costs.
//!
//! Pure and deterministic: the same job, the same ledger view and the same instant give the same windows and tasks under the same keys, so
//! planning twice creates nothing twice. Rows and rooms come in as values; nothing here asks Feishu, a clock or a database.

pub mod estimate;
pub mod fanout;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::dataset::Dataset;
use crate::job::{JobSpec, MissedPolicy};
use crate::ledger::{NewWindow, ScheduleState, WindowRow, WindowState};
use crate::task::{Lineage, Request, TaskSpec, TopUserOrder};
use crate::window::{Window, closed_windows, date_of, start_of_day};

const DAY: Duration = Duration::from_secs(86_400);
/// Windows this close to the edge of what Feishu still answers are warned about while they are not settled.
const HORIZON_WARNING: Duration = Duration::from_secs(7 * 86_400);

/// What a job's schedule asks for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Windows that should be in the ledger; those that are there already stay as they are.
    pub new: Vec<NewWindow>,
    /// Settled windows to be exported once more, for late data.
    pub again: Vec<Window>,
    /// Where the schedule stands afterwards.
    pub schedule: Option<ScheduleState>,
}

/// The windows that `job` should have by `now`, given how far its schedule came and which windows are known.
///
/// `firing` is the newest firing at or before `now`; `next_firing` gives the first firing at or after an instant. A timer tick carries no
/// window: after any downtime this gives everything missed at once, each window once, and each lookback once.
pub fn due(
    job: &JobSpec,
    now: Timestamp,
    firing: Timestamp,
    next_firing: impl Fn(Timestamp) -> Option<Timestamp>,
    schedule: Option<ScheduleState>,
    known: &[WindowRow],
) -> Due {
    let zone = &job.time_zone;
    let first = schedule.map_or_else(
        || first_day(job, now),
        |schedule| date_of(zone, schedule.watermark),
    );
    let closed: Vec<Window> = closed_windows(zone, first, job.window_days, now)
        .into_iter()
        .filter(|window| due_at(job, window) <= now)
        .collect();
    let newest = closed.last().copied();
    let new: Vec<NewWindow> = closed
        .iter()
        .map(|window| {
            let due_at = due_at(job, window);
            let missed =
                schedule.is_some() && next_firing(due_at).is_some_and(|natural| natural < firing);
            let skipped = match job.missed {
                MissedPolicy::All => false,
                MissedPolicy::Latest => schedule.is_some() && Some(*window) != newest,
                MissedPolicy::None => missed,
            };
            let state = match () {
                () if is_lost(job.dataset, window, now) => WindowState::Lost,
                () if skipped => WindowState::Skipped,
                () => WindowState::Due,
            };
            NewWindow {
                window: *window,
                due_at,
                state,
            }
        })
        .collect();
    let is_new_firing = schedule.is_none_or(|schedule| schedule.last_firing < firing);
    let mut again = exported_in_the_future(job, now, known);
    if is_new_firing {
        let late = lookback(job, now, firing, known);
        again.extend(late);
    }
    let watermark = newest
        .map(|window| window.end())
        .or(schedule.map(|schedule| schedule.watermark));
    let last_firing = match schedule {
        // A firing that is still to come was handled by a clock that was wrong.
        Some(schedule) if schedule.last_firing <= now => schedule.last_firing.max(firing),
        _ => firing,
    };
    Due {
        new,
        again,
        schedule: watermark.map(|watermark| ScheduleState {
            watermark,
            last_firing,
        }),
    }
}

/// Windows whose tasks ended and that a clock which ran ahead called over: what was exported then may be half a day. Each is exported once more
/// when it is due. A clock that was ahead by less than the settle delay did no harm.
fn exported_in_the_future(job: &JobSpec, now: Timestamp, known: &[WindowRow]) -> Vec<Window> {
    let settle = SignedDuration::try_from(job.settle_delay).unwrap_or(SignedDuration::MAX);
    let latest = now.checked_add(settle).unwrap_or(Timestamp::MAX);
    known
        .iter()
        .filter(|row| {
            matches!(row.state, WindowState::Settled | WindowState::Stuck)
                && row.covered_at > latest
        })
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
            matches!(row.state, WindowState::Settled | WindowState::Stuck)
                && row.covered_at < firing
                && row.window.start() >= from
                && !is_lost(job.dataset, &row.window, now)
        })
        .map(|row| row.window)
        .collect()
}

/// The windows of `job` in the civil days `[from, to)`, for a backfill; and the part of the range that Feishu no longer has, if any.
#[must_use]
pub fn backfill(job: &JobSpec, from: Date, to: Date, now: Timestamp) -> Backfill {
    let mut windows = Vec::new();
    let mut lost = Vec::new();
    let mut not_yet = None;
    let days = std::iter::successors(Some(from), |date| date.tomorrow().ok())
        .take_while(|date| *date < to);
    for window in days.filter_map(|date| Window::day(&job.time_zone, date)) {
        if is_lost(job.dataset, &window, now) {
            lost.push(window);
        } else if due_at(job, &window) > now {
            not_yet.get_or_insert(window);
        } else {
            windows.push(window);
        }
    }
    Backfill {
        windows,
        lost,
        not_yet,
    }
}

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

/// When a window may be exported: after its end and the settle delay. A daily report's bucket may be the UTC day of the same date, which ends
/// later than the local day in zones east of Greenwich.
#[must_use]
pub fn due_at(job: &JobSpec, window: &Window) -> Timestamp {
    let mut end = window.end();
    if job.dataset == Dataset::DailyReport
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

/// Whether Feishu no longer answers for a window. A daily report is asked for a day more on each side, so its horizon is a day nearer.
#[must_use]
pub fn is_lost(dataset: Dataset, window: &Window, now: Timestamp) -> bool {
    horizon(dataset, now).is_some_and(|edge| window.start() < edge)
}

/// Whether a window will soon be lost.
#[must_use]
pub fn is_nearly_lost(dataset: Dataset, window: &Window, now: Timestamp) -> bool {
    let warning = SignedDuration::try_from(HORIZON_WARNING).unwrap_or_default();
    horizon(dataset, now).is_some_and(|edge| {
        window
            .start()
            .checked_sub(warning)
            .unwrap_or(Timestamp::MIN)
            < edge
    })
}

fn horizon(dataset: Dataset, now: Timestamp) -> Option<Timestamp> {
    let reach = SignedDuration::try_from(dataset.horizon()? - DAY).unwrap_or_default();
    now.checked_sub(reach).ok()
}

/// The tasks of a window whose dataset has no parent. `rooms` are (room, owning level); only reservations look at them. `unit` is the
/// tenant's data residency.
#[must_use]
pub fn tasks(
    job: &JobSpec,
    tenant: &str,
    unit: Option<i32>,
    window: &Window,
    rooms: &[(String, String)],
) -> Vec<TaskSpec> {
    pieces(job, window)
        .iter()
        .flat_map(|piece| {
            requests(job, unit, piece, rooms)
                .into_iter()
                .map(|(request, lineage)| TaskSpec::new(tenant, *piece, request, lineage))
        })
        .collect()
}

/// Reports are asked for civil day by civil day, because a ranking or a count of half a day means nothing; exports in spans that the API takes.
fn pieces(job: &JobSpec, window: &Window) -> Vec<Window> {
    if job.dataset.is_report() {
        let days = window.dates(&job.time_zone);
        days.into_iter()
            .filter_map(|date| Window::day(&job.time_zone, date))
            .collect()
    } else {
        window.split(job.dataset.max_span())
    }
}

fn requests(
    job: &JobSpec,
    unit: Option<i32>,
    piece: &Window,
    rooms: &[(String, String)],
) -> Vec<(Request, Lineage)> {
    let (start, end) = (piece.start().as_second(), piece.end().as_second());
    let user_id_type = job.options.user_id_type;
    match job.dataset {
        Dataset::DailyReport => {
            let query = piece.widened(DAY);
            let request = Request::DailyReport {
                start: query.start().as_second(),
                end: query.end().as_second(),
                unit,
            };
            vec![(request, Lineage::default())]
        }
        Dataset::TopUser => [TopUserOrder::MeetingCount, TopUserOrder::MeetingDuration]
            .into_iter()
            .map(|order_by| {
                let lineage = Lineage {
                    order_by: Some(order_by),
                    user_id_type: Some(user_id_type),
                    ..Lineage::default()
                };
                (
                    Request::TopUser {
                        start,
                        end,
                        order_by,
                        limit: job.options.top_user_limit,
                        user_id_type,
                        unit,
                    },
                    lineage,
                )
            })
            .collect(),
        Dataset::MeetingList => vec![(
            Request::MeetingList {
                start,
                end,
                user_id_type,
            },
            Lineage::default(),
        )],
        Dataset::ResourceReservationList => reservation_requests(job, start, end, rooms),
        Dataset::ParticipantList | Dataset::ParticipantQualityList => Vec::new(),
    }
}

fn reservation_requests(
    job: &JobSpec,
    start: i64,
    end: i64,
    rooms: &[(String, String)],
) -> Vec<(Request, Lineage)> {
    let mut by_level: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (room, level) in rooms {
        by_level.entry(level).or_default().push(room.clone());
    }
    by_level
        .values_mut()
        .for_each(|rooms| rooms.sort_unstable());
    let request = |level: &str, room_ids: Vec<String>, room_id: Option<String>| {
        let lineage = Lineage {
            room_level_id: Some(level.to_owned()),
            room_id,
            ..Lineage::default()
        };
        let need_topic = job.options.need_topic;
        (
            Request::ResourceReservationList {
                room_level_id: level.to_owned(),
                room_ids,
                need_topic,
                start,
                end,
            },
            lineage,
        )
    };
    by_level
        .into_iter()
        .flat_map(|(level, room_ids)| {
            if job.options.per_room {
                room_ids
                    .into_iter()
                    .map(|room| request(level, vec![room.clone()], Some(room)))
                    .collect::<Vec<_>>()
            } else {
                vec![request(level, room_ids, None)]
            }
        })
        .collect()
}

/// Priority of a task: reports and parents before what fans out from them, and within a dataset by `value`, larger first.
#[must_use]
pub fn priority(dataset: Dataset, value: i64) -> i64 {
    const STEP: i64 = 1_000_000_000_000;
    let rank = match dataset {
        Dataset::DailyReport => 0,
        Dataset::TopUser => 1,
        Dataset::MeetingList => 2,
        Dataset::ResourceReservationList => 3,
        Dataset::ParticipantList => 4,
        Dataset::ParticipantQualityList => 5,
    };
    rank * STEP - value.clamp(0, STEP - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Check, FanOut, OverlapPolicy, RequestOptions};
    use jiff::civil::date;
    use proptest::prelude::*;

    pub(super) fn job(dataset: Dataset) -> JobSpec {
        JobSpec {
            name: dataset.to_string(),
            dataset,
            tenants: vec!["acme".into()],
            cron: "0 5 * * *".into(),
            time_zone: TimeZone::get("Asia/Shanghai").expect("a zone"),
            window_days: 1,
            settle_delay: Duration::from_secs(3600),
            lookback_days: 3,
            start: None,
            missed: MissedPolicy::All,
            overlap: OverlapPolicy::Skip,
            jitter: Duration::ZERO,
            deadline: Duration::from_secs(3600),
            destination: String::new(),
            fan_out: FanOut::default(),
            options: RequestOptions::for_dataset(dataset),
            check: Check::for_dataset(dataset),
        }
    }

    /// Firings at 05:00 in Shanghai, 21:00 UTC.
    fn firing_before(now: Timestamp) -> Timestamp {
        let second = now.as_second() - (now.as_second() - 21 * 3600).rem_euclid(86_400);
        Timestamp::from_second(second).expect("in range")
    }

    fn firing_after(at: Timestamp) -> Option<Timestamp> {
        let before = firing_before(at);
        if before == at {
            Some(at)
        } else {
            before.checked_add(SignedDuration::from_hours(24)).ok()
        }
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
        due(job, now, firing_before(now), firing_after, schedule, known)
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
            .map(|new| settled(&job, new.window, firing_before(now)))
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

    #[test]
    fn a_day_of_25_hours_is_two_exports_and_one_ranking() {
        let mut job = job(Dataset::MeetingList);
        job.time_zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let window = Window::day(&job.time_zone, date(2026, 10, 25)).expect("a day");
        assert_eq!(tasks(&job, "acme", None, &window, &[]).len(), 2);
        job.dataset = Dataset::TopUser;
        assert_eq!(
            tasks(&job, "acme", None, &window, &[]).len(),
            2,
            "by count and by duration"
        );
    }

    #[test]
    fn rooms_are_exported_by_owning_level_or_one_by_one() {
        let mut job = job(Dataset::ResourceReservationList);
        let window = Window::day(&job.time_zone, date(2026, 11, 10)).expect("a day");
        let rooms = [("omm_2", "omb_a"), ("omm_1", "omb_a"), ("omm_3", "omb_b")]
            .map(|(r, l)| (r.to_owned(), l.to_owned()));
        let levels = tasks(&job, "acme", None, &window, &rooms);
        let Request::ResourceReservationList { room_ids, .. } = &levels[0].request else {
            panic!("a reservation")
        };
        assert_eq!(
            (levels.len(), room_ids.as_slice()),
            (2, ["omm_1".to_owned(), "omm_2".to_owned()].as_slice())
        );
        assert_eq!(levels[0].lineage.room_id, None);
        job.options.per_room = true;
        let single = tasks(&job, "acme", None, &window, &rooms);
        assert_eq!(
            (single.len(), single[0].lineage.room_id.as_deref()),
            (3, Some("omm_1"))
        );
    }

    proptest! {
        /// Whatever the downtime, the windows that a job ever asks for tile the time line, and none is asked for twice.
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
}
