//! What should be done, decided: windows from jobs, tasks from windows, children from parents, and
//! what a partition's next revision is made of.
//!
//! ```text
//! due        job, schedule, known windows ─► windows that should exist, or be exported again
//! tasks      window without a parent ─► tasks (in this file)
//! children   window, parent window, parent rows ─► tasks, and what was left out
//! settle     phases of a window's tasks ─► the window's state
//! partition  everything known of a day ─► its next revision, and why it is partial
//! plausible  what was counted elsewhere ─► a reason to call a day partial
//! received   events that wait ─► batches of them, which are tasks
//! resolve    rows of a list, meetings found ─► how many have a unique id
//! estimate   tasks ─► calls, and the time they take
//! ```
//! Pure and deterministic: values in, values out. Nothing here asks Feishu, a clock, a database or
//! a store. The same job, the same records and the same instant give the same windows and tasks
//! under the same keys, so planning twice creates nothing twice. `run`, `plan` (the verb),
//! `rebuild`, `replay` and `status` call the same functions.

pub mod children;
pub mod due;
pub mod early;
pub mod estimate;
pub mod partition;
pub mod plausible;
pub mod received;
pub mod resolve;
pub mod settle;

use jiff::{SignedDuration, Timestamp};

use crate::datasets::{Ask, Dataset, Extent, Lineage, Piece, Pieces, Request, RoomOfLevel};
use crate::job::JobSpec;
use crate::task::{TaskOwner, TaskSpec, Urgency};
use crate::window::{Window, date_of};

/// The tasks of a window whose dataset has no parent. `rooms` are the tenant's; only what is made
/// from rooms looks at them. `unit` is the tenant's data residency.
#[must_use]
pub fn tasks(
    job: &JobSpec,
    owner: TaskOwner<'_>,
    unit: Option<i32>,
    window: &Window,
    rooms: &[RoomOfLevel],
) -> Vec<TaskSpec> {
    pieces(job, window)
        .iter()
        .flat_map(|window| {
            let piece = Piece {
                start: window.start().as_second(),
                end: window.end().as_second(),
                date: date_of(&job.time_zone, window.start()),
                options: &job.options,
                unit,
            };
            requests(job.dataset, &piece, rooms)
                .into_iter()
                .map(|(request, lineage)| TaskSpec::new(owner, *window, request, lineage))
        })
        .collect()
}

fn pieces(job: &JobSpec, window: &Window) -> Vec<Window> {
    match job.dataset.definition().extent {
        Extent::Windows {
            pieces: Pieces::Spans(span),
            ..
        } => window.split(span),
        Extent::Windows {
            pieces: Pieces::CivilDays,
            ..
        }
        | Extent::Snapshot
        | Extent::Received => {
            let days = window.dates(&job.time_zone);
            days.into_iter()
                .filter_map(|date| Window::day(&job.time_zone, date))
                .collect()
        }
    }
}

fn requests(dataset: Dataset, piece: &Piece<'_>, rooms: &[RoomOfLevel]) -> Vec<(Request, Lineage)> {
    match dataset.definition().ask {
        Ask::Windows(requests) => requests(piece),
        Ask::Rooms(requests) => requests(piece, rooms),
        Ask::Parents { .. } | Ask::Nobody => Vec::new(),
    }
}

/// How urgent the tasks of a window are at this instant. What the job's lookback still reaches is
/// of the last nights.
#[must_use]
pub fn urgency(job: &JobSpec, window: &Window, now: Timestamp) -> Urgency {
    let nights = SignedDuration::from_hours(24 * i64::from(job.lookback_days.max(1) + 1));
    let settle_delay = SignedDuration::try_from(job.settle_delay).unwrap_or_default();
    let settled_for = now.duration_since(window.end()) - settle_delay;
    let definition = job.dataset.definition();
    match () {
        () if settled_for > nights => Urgency::Backfill,
        // A snapshot is of the day that it is taken on.
        () if settled_for < SignedDuration::ZERO && !job.dataset.is_snapshot() => Urgency::Early,
        () if matches!(definition.ask, Ask::Parents { .. }) && !job.dataset.is_export() => {
            Urgency::Detail
        }
        () => Urgency::Nightly,
    }
}

/// Priority of a task among those that are as urgent: parents before what fans out from them, and
/// within a dataset by `value`, larger first.
#[must_use]
pub fn priority(dataset: Dataset, value: i64) -> i64 {
    dataset.rank() * STEP - value.clamp(0, STEP - 1)
}

/// Between the priorities of one dataset and those of the next.
const STEP: i64 = 1_000_000_000_000;

/// A priority among all tasks: the urgent ones first.
#[must_use]
pub const fn placed(urgency: Urgency, priority: i64) -> i64 {
    first_priority(urgency) + STEP + priority
}

/// No task of this urgency has a smaller priority, and none that is more urgent has a larger one.
#[must_use]
pub const fn first_priority(urgency: Urgency) -> i64 {
    // No dataset's rank reaches a thousand.
    const CLASS: i64 = 1_000 * STEP;
    match urgency {
        // Ledgers of earlier versions have these only.
        Urgency::Nightly => -STEP,
        // Between those of earlier ledgers and what these have of the next class.
        Urgency::Early => CLASS / 2 - STEP,
        Urgency::Detail => CLASS - STEP,
        Urgency::Backfill => 2 * CLASS - STEP,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;
    use std::time::Duration;

    use jiff::civil::date;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::datasets::{Parent, RequestOptions, UserIdType};
    use crate::job::{Check, FanOut, MissedPolicy, OverlapPolicy};
    use crate::lake_key::LakeKey;
    use crate::record::{LastTry, Phase, TaskRow, WindowRow, WindowState};
    use crate::task::machine::State;

    /// The tenant of the tests, with a key that everybody knows.
    pub(crate) fn owner() -> TaskOwner<'static> {
        static KEY: LazyLock<LakeKey> = LazyLock::new(LakeKey::of_tests);
        TaskOwner {
            tenant: "acme",
            key: &KEY,
        }
    }

    pub(crate) fn job(dataset: Dataset) -> JobSpec {
        JobSpec {
            name: dataset.to_string(),
            dataset,
            tenants: vec!["acme".into()],
            cron: "0 5 * * *".into(),
            time_zone: TimeZone::get("Asia/Shanghai").expect("a zone"),
            has_own_zone: false,
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

    pub(crate) fn window_row(dataset: Dataset, window: Window, state: WindowState) -> WindowRow {
        WindowRow {
            tenant: "acme".into(),
            dataset,
            window,
            job: dataset.to_string(),
            due_at: window.end(),
            state,
            generation: 1,
            covered_at: window.end(),
            parents: None,
            coverage: None,
        }
    }

    /// A task of a meeting list's request, whatever its dataset: only its records are looked at.
    pub(crate) fn task_row(dataset: Dataset, window: Window, phase: Phase) -> TaskRow {
        let (start, end) = (window.start().as_second(), window.end().as_second());
        let request = Request {
            meeting_no: dataset.parent().map(|_| "1".into()),
            user_id_type: Some(UserIdType::UserId),
            ..Request::between(dataset, start, end)
        };
        TaskRow {
            spec: TaskSpec::new(owner(), window, request, Lineage::default()),
            job_window: window,
            generation: 1,
            phase,
            machine: State::Planned,
            attempts: 0,
            rows: None,
            dts: BTreeSet::new(),
            pack: None,
            findings: None,
            damage: None,
            failure: None,
            last_try: LastTry {
                at: window.end(),
                next: None,
            },
        }
    }

    pub(crate) fn meeting(
        number: &str,
        start: Timestamp,
        end: Option<Timestamp>,
        participants: i64,
    ) -> Parent {
        Parent {
            source_row: 2,
            meeting_no: number.into(),
            start,
            end,
            participant_count: Some(participants),
            join_time: None,
            stay_s: None,
            user_id: None,
            room_id: None,
            device: None,
            meeting_id: None,
            was_recorded: None,
        }
    }

    #[test]
    fn the_last_nights_go_first_then_details_then_long_ago() {
        let night = Window::day(&TimeZone::UTC, date(2026, 11, 19)).expect("a day");
        let after = |hours| night.end() + SignedDuration::from_hours(hours);
        for (dataset, hours, expected) in [
            (Dataset::MeetingList, 4, Urgency::Nightly),
            (Dataset::ParticipantQualityList, 4, Urgency::Nightly),
            (Dataset::MeetingParticipant, 4, Urgency::Detail),
            (Dataset::Recording, 4, Urgency::Detail),
            (Dataset::Recording, -2, Urgency::Early),
            (Dataset::ParticipantList, 0, Urgency::Early),
            // A lookback of three days and an hour of delay.
            (Dataset::MeetingList, 97, Urgency::Nightly),
            (Dataset::MeetingList, 98, Urgency::Backfill),
            (Dataset::Recording, 98, Urgency::Backfill),
            (Dataset::Room, -12, Urgency::Nightly),
        ] {
            let found = urgency(&job(dataset), &night, after(hours));
            assert_eq!(found, expected, "{dataset} after {hours} h");
        }
    }

    #[test]
    fn what_is_less_urgent_comes_later_whatever_it_is() {
        let earliest = priority(Dataset::ALL[0], i64::MAX);
        let latest = Dataset::ALL.map(|dataset| priority(dataset, 0));
        let latest = latest.into_iter().max().expect("some");
        let classes = Urgency::ALL;
        for (more, less) in classes.into_iter().zip(&classes[1..]) {
            assert!(placed(more, latest) < first_priority(*less));
            assert!(first_priority(*less) <= placed(*less, earliest));
        }
        assert_eq!(placed(Urgency::Nightly, 7), 7, "as in earlier ledgers");
    }

    #[test]
    fn a_day_of_25_hours_is_two_exports_and_one_ranking() {
        let mut job = job(Dataset::MeetingList);
        job.time_zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let window = Window::day(&job.time_zone, date(2026, 10, 25)).expect("a day");
        assert_eq!(tasks(&job, owner(), None, &window, &[]).len(), 2);
        job.dataset = Dataset::TopUser;
        assert_eq!(
            tasks(&job, owner(), None, &window, &[]).len(),
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
        let levels = tasks(&job, owner(), None, &window, &rooms);
        assert_eq!(levels.len(), 2);
        assert_eq!(levels[0].request.room_ids, ["omm_1", "omm_2"]);
        assert_eq!(levels[0].lineage.room_id, None);
        job.options.per_room = true;
        let single = tasks(&job, owner(), None, &window, &rooms);
        assert_eq!(
            (single.len(), single[0].lineage.room_id.as_deref()),
            (3, Some("omm_1"))
        );
    }
}
