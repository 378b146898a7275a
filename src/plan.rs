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
pub mod settle;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dataset::Dataset;
use crate::job::JobSpec;
use crate::task::{Lineage, Request, TaskSpec, TopUserOrder};
use crate::window::Window;

const DAY: Duration = Duration::from_secs(86_400);

/// The tasks of a window whose dataset has no parent. `rooms` are (room, owning level); only
/// reservations look at them. `unit` is the tenant's data residency.
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

/// Reports are asked for civil day by civil day, because a ranking or a count of half a day means
/// nothing; exports in spans that the API takes.
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

/// Priority of a task: reports and parents before what fans out from them, and within a dataset by
/// `value`, larger first.
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
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::job::{Check, FanOut, MissedPolicy, OverlapPolicy, RequestOptions};
    use crate::record::{Parent, Phase, TaskRow, WindowRow, WindowState};
    use crate::task::UserIdType;
    use crate::task::machine::State;

    pub(crate) fn job(dataset: Dataset) -> JobSpec {
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
        let user_id_type = UserIdType::UserId;
        let request = match dataset {
            Dataset::ParticipantList => Request::ParticipantList {
                meeting_no: "1".into(),
                start,
                end,
                user_id_type,
            },
            _ => Request::MeetingList {
                start,
                end,
                user_id_type,
            },
        };
        TaskRow {
            spec: TaskSpec::new("acme", window, request, Lineage::default()),
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
        }
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
}
