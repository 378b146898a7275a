//! Whether what Feishu gave is plausible: a day's meeting list against the daily report, a
//! meeting's participants against its own count.

use std::collections::{HashMap, HashSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::datasets::Parent;
use crate::job::Check;
use crate::record::{
    Phase, PhaseCounts, Reason, ReasonKind, ReportedDay, TaskRow, WindowRow, WindowState,
};
use crate::window::Window;

/// The ranges that a report's day may mean: the bucket itself, and the day of the tenant's zone.
///
/// Whether a report's day is UTC's or the tenant's is not documented, and a bucket that begins at a
/// UTC midnight may be either.
#[must_use]
pub fn readings(zone: &TimeZone, dt: Date, reported: &ReportedDay) -> HashSet<Window> {
    let day = SignedDuration::from_hours(24);
    let bucket = reported
        .start
        .checked_add(day)
        .ok()
        .and_then(|end| Window::new(reported.start, end));
    bucket.into_iter().chain(Window::day(zone, dt)).collect()
}

/// A window of the meeting list, and what is known of its rows.
#[derive(Clone, Debug)]
pub struct ListedWindow {
    /// The window.
    pub row: WindowRow,
    /// Its tasks.
    pub tasks: PhaseCounts,
    /// Whether the lake still has a day of it from tasks that were withdrawn, because the job asks
    /// another source since. Their rows are no longer known here.
    pub is_of_withdrawn: bool,
}

/// The different meetings that begin in `range`; `None` while a part of it is not known. `windows`
/// are the meeting list's windows that overlap the range, in order.
#[must_use]
pub fn listed_meetings(
    range: Window,
    windows: &[ListedWindow],
    meetings: &[Parent],
) -> Option<u64> {
    let mut reached = range.start();
    for of in windows {
        if of.row.window.start() > reached || !is_known(of) {
            return None;
        }
        reached = reached.max(of.row.window.end());
    }
    if reached < range.end() {
        return None;
    }
    let different: HashSet<_> = meetings
        .iter()
        .filter(|meeting| range.contains(meeting.start))
        .map(|meeting| (&meeting.meeting_no, meeting.start, meeting.end))
        .collect();
    Some(different.len() as u64)
}

/// Whether the rows of a window are known. Those of the generation before are, until the next ones
/// are there: the same tasks are asked for again. Those of withdrawn tasks are not, though the lake
/// has them until all of the new answers are there.
fn is_known(of: &ListedWindow) -> bool {
    let tasks = &of.tasks;
    match of.row.state {
        WindowState::Settled => true,
        WindowState::Skipped | WindowState::Lost => false,
        _ if of.row.generation > 1 && !of.is_of_withdrawn => true,
        WindowState::Due => false,
        WindowState::Planned | WindowState::Stuck => {
            !tasks.has(Phase::Open) && !tasks.has(Phase::Failed) && !tasks.has(Phase::Quarantined)
        }
    }
}

/// Why a day's meeting list cannot be all there is; `None` if nothing speaks against it.
///
/// `listed` are the meetings under each reading of the report's day. The list is only called short
/// if it is short under every reading, and nothing is said while a reading is not exported.
#[must_use]
pub fn missing_meetings(
    check: &Check,
    reported: &ReportedDay,
    listed: impl IntoIterator<Item = Option<u64>>,
) -> Option<Reason> {
    let mut most = 0;
    for meetings in listed {
        most = most.max(meetings?);
    }
    let counted = reported.meetings;
    check.is_short(most, counted).then(|| {
        let detail = format!("the daily report counted {counted} meetings, the list has {most}");
        Reason::with_detail(ReasonKind::FewerMeetings, counted - most, detail)
    })
}

/// Why a day's participants cannot be all there are: sheets with fewer rows than their meetings
/// counted. `meetings` are the day's meetings, `tasks` the participant tasks of the day.
#[must_use]
pub fn missing_participants<'t>(
    check: &Check,
    meetings: &[Parent],
    tasks: impl IntoIterator<Item = &'t TaskRow>,
) -> Option<Reason> {
    let counts: HashMap<(&str, Timestamp, Option<Timestamp>), u64> = meetings
        .iter()
        .filter_map(|meeting| {
            let count = u64::try_from(meeting.participant_count?).ok()?;
            let key = (meeting.meeting_no.as_str(), meeting.start, meeting.end);
            Some((key, count))
        })
        .collect();
    let (mut sheets, mut short) = (0_u64, 0_u64);
    let mut worst: Option<(u64, u64)> = None;
    for task in tasks {
        let lineage = &task.spec.lineage;
        let meeting = lineage
            .meeting_no
            .as_deref()
            .zip(lineage.meeting_start_time);
        let is_known = matches!(task.phase, Phase::Published | Phase::Spooled);
        let (Some((number, start)), Some(rows), true) = (meeting, task.rows, is_known) else {
            continue;
        };
        let Some(&counted) = counts.get(&(number, start, lineage.meeting_end_time)) else {
            continue;
        };
        sheets += 1;
        if check.is_short(rows, counted) {
            short += 1;
            let missing = |(rows, counted): (u64, u64)| counted - rows;
            if worst.is_none_or(|worst| missing((rows, counted)) > missing(worst)) {
                worst = Some((rows, counted));
            }
        }
    }
    worst.map(|(rows, counted)| {
        let detail = format!(
            "{short} of {sheets} meetings have fewer participants than they counted, \
             at worst {rows} of {counted}"
        );
        Reason::with_detail(ReasonKind::FewerParticipants, short, detail)
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::datasets::Dataset;
    use crate::plan::tests::{meeting, task_row, window_row};

    fn at(hour: i64) -> Timestamp {
        let midnight: Timestamp = "2026-11-10T00:00:00Z".parse().expect("an instant");
        midnight + SignedDuration::from_hours(hour)
    }

    fn day() -> Window {
        Window::new(at(0), at(24)).expect("a day")
    }

    #[test]
    fn a_reports_day_is_its_bucket_or_the_day_of_the_zone() {
        let zone = TimeZone::get("Asia/Shanghai").expect("a zone");
        let dt = date(2026, 11, 10);
        let reported = |start| ReportedDay {
            date: dt,
            start,
            meetings: 1,
        };
        let local = Window::new(at(-8), at(16)).expect("a day");
        let utc = readings(&zone, dt, &reported(at(0)));
        assert_eq!(utc, HashSet::from([day(), local]));
        let same = readings(&zone, dt, &reported(at(-8)));
        assert_eq!(same, HashSet::from([local]));
    }

    #[test]
    fn meetings_are_counted_once_all_of_the_range_is_exported() {
        use WindowState::{Due, Lost, Planned, Settled, Skipped, Stuck};
        let meetings = [
            meeting("1", at(1), Some(at(2)), 2),
            meeting("1", at(1), Some(at(2)), 2),
            meeting("1", at(3), Some(at(4)), 2),
            meeting("2", at(25), Some(at(26)), 2),
        ];
        let window = |from, to, state, generation, phases: &[Phase]| {
            let range = Window::new(at(from), at(to)).expect("a window");
            let mut row = window_row(Dataset::MeetingList, range, state);
            row.generation = generation;
            ListedWindow {
                row,
                tasks: phases.iter().copied().collect(),
                is_of_withdrawn: false,
            }
        };
        let other = |mut windows: Vec<ListedWindow>| {
            windows[0].is_of_withdrawn = true;
            windows
        };
        let whole =
            |state, generation, phases: &[Phase]| vec![window(0, 24, state, generation, phases)];
        let table = [
            (whole(Settled, 1, &[]), Some(2)),
            (whole(Skipped, 2, &[]), None),
            (whole(Lost, 2, &[]), None),
            (whole(Due, 1, &[]), None),
            (whole(Due, 2, &[]), Some(2)),
            (whole(Planned, 1, &[Phase::Open]), None),
            (whole(Planned, 2, &[Phase::Open]), Some(2)),
            (whole(Planned, 1, &[Phase::Spooled]), Some(2)),
            // The lake has the day from another source.
            (other(whole(Due, 2, &[])), None),
            (other(whole(Planned, 2, &[Phase::Open])), None),
            (other(whole(Stuck, 2, &[Phase::Failed])), None),
            (
                other(whole(Planned, 2, &[Phase::Spooled, Phase::Withdrawn])),
                Some(2),
            ),
            (whole(Stuck, 1, &[Phase::Published, Phase::Failed]), None),
            (whole(Stuck, 1, &[Phase::Quarantined]), None),
            (vec![], None),
            (vec![window(0, 23, Settled, 1, &[])], None),
            (vec![window(1, 24, Settled, 1, &[])], None),
            (
                vec![
                    window(0, 12, Settled, 1, &[]),
                    window(12, 24, Settled, 1, &[]),
                ],
                Some(2),
            ),
            (
                vec![
                    window(0, 12, Settled, 1, &[]),
                    window(13, 24, Settled, 1, &[]),
                ],
                None,
            ),
            (
                vec![window(0, 12, Settled, 1, &[]), window(12, 24, Due, 1, &[])],
                None,
            ),
        ];
        for (windows, expected) in table {
            let found = listed_meetings(day(), &windows, &meetings);
            assert_eq!(found, expected, "{windows:?}");
        }
    }

    #[test]
    fn a_list_is_short_only_under_every_reading() {
        let check = Check { may_miss: 0.0 };
        let reported = ReportedDay {
            date: date(2026, 11, 10),
            start: at(0),
            meetings: 10,
        };
        let verdict = |listed: &[Option<u64>]| {
            let reason = missing_meetings(&check, &reported, listed.iter().copied());
            reason.map(|reason| (reason.kind, reason.count, reason.to_string()))
        };
        assert_eq!(verdict(&[Some(10), Some(3)]), None);
        assert_eq!(verdict(&[Some(3), None]), None);
        assert_eq!(verdict(&[None, Some(3)]), None);
        let text = "the daily report counted 10 meetings, the list has 8".to_owned();
        let expected = Some((ReasonKind::FewerMeetings, 2, text));
        assert_eq!(verdict(&[Some(8), Some(3)]), expected);
    }

    #[test]
    fn sheets_are_compared_with_what_their_meetings_counted() {
        let check = Check { may_miss: 0.5 };
        let meetings = [
            meeting("1", at(1), Some(at(2)), 10),
            meeting("2", at(1), Some(at(2)), 4),
            meeting("3", at(1), None, 4),
        ];
        let sheet = |number: &str, end: Option<Timestamp>, rows, phase| {
            let mut task = task_row(Dataset::ParticipantList, day(), phase);
            task.spec.lineage.meeting_no = Some(number.into());
            task.spec.lineage.meeting_start_time = Some(at(1));
            task.spec.lineage.meeting_end_time = end;
            task.rows = rows;
            task
        };
        let end = Some(at(2));
        let table = [
            (vec![sheet("1", end, Some(5), Phase::Published)], None),
            (
                vec![sheet("1", end, Some(4), Phase::Published)],
                Some((1, "1 of 1", "4 of 10")),
            ),
            (
                vec![sheet("1", end, Some(4), Phase::Spooled)],
                Some((1, "1 of 1", "4 of 10")),
            ),
            (vec![sheet("1", end, Some(4), Phase::Quarantined)], None),
            (vec![sheet("1", end, None, Phase::Published)], None),
            (vec![sheet("9", end, Some(0), Phase::Published)], None),
            (vec![sheet("1", None, Some(0), Phase::Published)], None),
            (
                vec![
                    sheet("2", end, Some(0), Phase::Published),
                    sheet("1", end, Some(1), Phase::Published),
                    sheet("3", None, Some(3), Phase::Published),
                ],
                Some((2, "2 of 3", "1 of 10")),
            ),
        ];
        for (tasks, expected) in table {
            let found = missing_participants(&check, &meetings, &tasks);
            let Some((count, sheets, worst)) = expected else {
                assert_eq!(found, None);
                continue;
            };
            let found = found.expect("short");
            assert_eq!(
                (found.kind, found.count),
                (ReasonKind::FewerParticipants, count)
            );
            let text = format!(
                "{sheets} meetings have fewer participants than they counted, at worst {worst}"
            );
            assert_eq!(found.to_string(), text);
        }
    }
}
