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
//! resolve    rows of a list, meetings found ─► how many have a unique id
//! estimate   tasks ─► calls, and the time they take
//! ```
//! Pure and deterministic: values in, values out. Nothing here asks Feishu, a clock, a database or
//! a store. The same job, the same records and the same instant give the same windows and tasks
//! under the same keys, so planning twice creates nothing twice. `run`, `plan` (the verb),
//! `rebuild`, `replay` and `status` call the same functions.

pub mod children;
pub mod due;
pub mod estimate;
pub mod partition;
pub mod plausible;
pub mod resolve;
pub mod settle;

use crate::datasets::{Ask, Dataset, Extent, Lineage, Piece, Pieces, Request, RoomOfLevel};
use crate::job::JobSpec;
use crate::task::{TaskOwner, TaskSpec};
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
        | Extent::Snapshot => {
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
        Ask::Parents { .. } => Vec::new(),
    }
}

/// Priority of a task: parents before what fans out from them, and within a dataset by
/// `value`, larger first.
#[must_use]
pub fn priority(dataset: Dataset, value: i64) -> i64 {
    const STEP: i64 = 1_000_000_000_000;
    dataset.rank() * STEP - value.clamp(0, STEP - 1)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;
    use std::time::Duration;

    use jiff::Timestamp;
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::datasets::{Parent, RequestOptions, UserIdType};
    use crate::job::{Check, FanOut, MissedPolicy, OverlapPolicy};
    use crate::lake_key::LakeKey;
    use crate::record::{Phase, TaskRow, WindowRow, WindowState};
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
