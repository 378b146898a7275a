//! Meetings that ended minutes ago, of which events tell before the night's list does.
//!
//! Their tasks are those that the list gives rise to, with the same keys where list and event agree
//! to the second. So the night asks only for what is new or different; exports once more.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use jiff::{Timestamp, ToSpan};

use super::due::due_at;
use crate::datasets::{Early, FoundBy, Parent};
use crate::job::JobSpec;
use crate::plan::resolve::NEARBY_S;
use crate::record::{NewWindow, OpenTask, Phase, TaskRow, WindowRow, WindowState};
use crate::window::{Window, date_of, start_of_day};

/// How a job asks early; `None` if it does not.
#[must_use]
pub fn early(job: &JobSpec) -> Option<Early> {
    let early = job.dataset.definition().early?;
    job.fan_out
        .early
        .unwrap_or(early.by_default)
        .then_some(early)
}

/// Whether events have a job's tasks asked for early: one of `jobs` receives them, and those
/// between ask early too. `jobs` are all of the tenant's.
#[must_use]
pub fn is_told_by_events(job: &JobSpec, jobs: &[&JobSpec]) -> bool {
    let Some(early) = early(job) else {
        return false;
    };
    let mut tells = jobs.iter().filter(|other| other.dataset == early.by);
    tells.any(|by| by.dataset.is_received() || is_told_by_events(by, jobs))
}

/// The windows of meetings that began at `starts` which nobody asks for yet. Their own time comes
/// once the meetings' list is due; where that is over, the schedule or a person says what is asked
/// for.
///
/// Only windows of single days: longer ones are cut by the schedule, from where it began.
#[must_use]
pub fn new_windows(
    job: &JobSpec,
    starts: impl IntoIterator<Item = Timestamp>,
    known: &[WindowRow],
    now: Timestamp,
) -> Vec<NewWindow> {
    if job.window_days != 1 {
        return Vec::new();
    }
    // A meeting that ended and is still to begin is an event's mistake.
    let dates = starts
        .into_iter()
        .filter(|start| *start <= now)
        .map(|start| date_of(&job.time_zone, start));
    let dates: BTreeSet<_> = dates.collect();
    let windows = dates
        .into_iter()
        .filter_map(|date| Window::day(&job.time_zone, date));
    let is_new = |window: &Window| known.iter().all(|row| row.window != *window);
    let new = |window: Window| NewWindow {
        window,
        due_at: due_at(job, &window),
        state: WindowState::Due,
    };
    let new = windows.filter(is_new).map(new);
    new.filter(|new| new.due_at > now).collect()
}

/// Whether a window was asked for early and is not one that the job cuts any more, because its zone
/// or its length has changed since. Nobody will plan it: `parents` are the windows of the dataset
/// whose rows it would be planned from, and none is the same.
#[must_use]
pub fn is_out_of_place(job: &JobSpec, row: &WindowRow, parents: &[WindowRow]) -> bool {
    let is_unplanned = row.state == WindowState::Due && row.coverage.is_none();
    let date = date_of(&job.time_zone, row.window.start());
    let end = date.checked_add(i64::from(job.window_days).days());
    let is_cut = start_of_day(&job.time_zone, date) == row.window.start()
        && end.is_ok_and(|end| start_of_day(&job.time_zone, end) == row.window.end());
    is_unplanned && !is_cut && parents.iter().all(|parent| parent.window != row.window)
}

/// What events and list disagree on: meetings of the list of whose end no event told, and meetings
/// of whose end one told that the list does not have. Nothing, where no event came at all: nobody
/// had subscribed to any.
#[must_use]
pub fn disagreement(told: &[Parent], listed: &[Parent]) -> (u64, u64) {
    if told.is_empty() {
        return (0, 0);
    }
    let without = |some: &[Parent], others: &[Parent]| {
        let mut others: Vec<(&str, i64)> = others.iter().map(number_and_start).collect();
        others.sort_unstable();
        let is_there = |(number, start): (&str, i64)| {
            let earliest = (number, start.saturating_sub_unsigned(NEARBY_S));
            let next = others.get(others.partition_point(|other| *other < earliest));
            next.is_some_and(|(other, at)| *other == number && at.abs_diff(start) <= NEARBY_S)
        };
        let mut missing: Vec<(&str, i64)> = some.iter().map(number_and_start).collect();
        missing.sort_unstable();
        missing.dedup();
        missing.retain(|meeting| !is_there(*meeting));
        missing.len() as u64
    };
    (without(listed, told), without(told, listed))
}

/// Says of tasks that find the ids of meetings what told of these meetings: the events of `told`,
/// and the lists of the tasks that are published.
pub fn name_discoverers(tasks: &mut [OpenTask], told: &[Parent], lists: &[TaskRow]) {
    let told: HashSet<&str> = told.iter().map(|told| told.meeting_no.as_str()).collect();
    let published = lists.iter().filter(|task| task.phase == Phase::Published);
    let lists: BTreeSet<FoundBy> = published
        .map(|task| FoundBy::from(task.spec.request.mode))
        .collect();
    for task in tasks {
        let lineage = &mut task.spec.lineage;
        let meeting_no = lineage.meeting_no.as_deref();
        let is_told = meeting_no.is_some_and(|meeting_no| told.contains(meeting_no));
        let event = is_told.then_some(FoundBy::Event);
        let all = event.into_iter().chain(lists.iter().copied());
        lineage.discovered_by = all.chain([FoundBy::ListByNo]).collect();
    }
}

fn number_and_start(meeting: &Parent) -> (&str, i64) {
    (&meeting.meeting_no, meeting.start.as_second())
}

/// How long after tasks of a window were planned early more are. Each time its day is published
/// again, with a line for each task in the manifest. So the more tasks a day has, the longer is the
/// wait: with 5,000 meetings a quarter of an hour at the end of the day.
#[must_use]
pub fn pause(tasks: u64) -> Duration {
    Duration::from_secs(60 + tasks / 5)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::datasets::{Dataset, SourceMode};
    use crate::plan::tests::{job, meeting, task_row, window_row};

    #[test]
    fn details_are_asked_for_early_and_exports_where_the_job_says_so() {
        for (dataset, said, asks) in [
            (Dataset::Meeting, None, true),
            (Dataset::Meeting, Some(false), false),
            (Dataset::Recording, None, true),
            (Dataset::ParticipantList, None, false),
            (Dataset::ParticipantList, Some(true), true),
            (Dataset::MeetingList, None, false),
            (Dataset::ParticipantQualityList, None, false),
        ] {
            let mut job = job(dataset);
            job.fan_out.early = said;
            assert_eq!(early(&job).is_some(), asks, "{dataset} {said:?}");
        }
    }

    #[test]
    fn events_reach_a_job_over_jobs_that_ask_early() {
        use Dataset::{Meeting, MeetingEvent, MeetingList, MeetingParticipant, Recording};
        for (dataset, others, told) in [
            (Meeting, &[MeetingEvent][..], true),
            (Meeting, &[MeetingList], false),
            (Recording, &[MeetingEvent, Meeting], true),
            (Recording, &[MeetingEvent], false),
            (MeetingParticipant, &[Meeting], false),
            (MeetingList, &[MeetingEvent], false),
        ] {
            let others: Vec<JobSpec> = others.iter().map(|of| job(*of)).collect();
            let others: Vec<&JobSpec> = others.iter().collect();
            let found = is_told_by_events(&job(dataset), &others);
            assert_eq!(found, told, "{dataset}");
        }
        let mut waits = job(Meeting);
        waits.fan_out.early = Some(false);
        let events = job(MeetingEvent);
        let told = is_told_by_events(&job(Recording), &[&events, &waits]);
        assert!(!told, "its meetings wait for the night");
    }

    #[test]
    fn each_day_of_which_an_event_told_has_one_window() {
        let job = job(Dataset::Meeting);
        let day = |day| Window::day(&job.time_zone, date(2026, 11, day)).expect("a day");
        let noon = |of| day(of).start() + SignedDuration::from_hours(12);
        let known = [window_row(Dataset::Meeting, day(10), WindowState::Settled)];
        let starts = [noon(12), noon(10), noon(11), noon(12), noon(20)];
        let found = new_windows(&job, starts, &known, noon(12));
        let windows: Vec<Window> = found.iter().map(|new| new.window).collect();
        assert_eq!(windows, [day(12)]);
        assert!(found.iter().all(|new| new.state == WindowState::Due));
        assert_eq!(found[0].due_at, due_at(&job, &day(12)));
        let mut long = job.clone();
        long.window_days = 7;
        assert_eq!(new_windows(&long, [noon(12)], &[], noon(12)), []);
        // Long ago, nobody waits for its night.
        assert_eq!(new_windows(&job, [noon(12)], &[], noon(14)), []);
    }

    #[test]
    fn a_window_that_the_job_no_longer_cuts_is_out_of_place() {
        let shanghai = job(Dataset::Meeting);
        let mut berlin = shanghai.clone();
        berlin.time_zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let mut weekly = shanghai.clone();
        weekly.window_days = 7;
        let day = Window::day(&shanghai.time_zone, date(2026, 11, 12)).expect("a day");
        let parent = window_row(Dataset::MeetingList, day, WindowState::Due);
        for (job, state, parents, is_out) in [
            (&shanghai, WindowState::Due, &[][..], false),
            (&berlin, WindowState::Due, &[], true),
            (&weekly, WindowState::Due, &[], true),
            // Its parents come, and it with them.
            (
                &berlin,
                WindowState::Due,
                std::slice::from_ref(&parent),
                false,
            ),
            (&berlin, WindowState::Settled, &[], false),
        ] {
            let row = window_row(Dataset::Meeting, day, state);
            assert_eq!(is_out_of_place(job, &row, parents), is_out, "{state:?}");
        }
    }

    #[test]
    fn tasks_name_what_told_of_their_meetings() {
        use FoundBy::{Event, Export, ListByNo, Query};
        let shanghai = job(Dataset::Meeting);
        let day = Window::day(&shanghai.time_zone, date(2026, 11, 12)).expect("a day");
        let told = |number: &str| meeting(number, day.start(), None, 2);
        let list = |mode, phase| {
            let mut list = task_row(Dataset::MeetingList, day, phase);
            list.spec.request.mode = mode;
            list
        };
        let export = list(SourceMode::Export, Phase::Published);
        let query = list(SourceMode::Query, Phase::Published);
        let failed = list(SourceMode::Query, Phase::Failed);
        for (told, lists, expected) in [
            (vec![told("1")], vec![], vec![Event, ListByNo]),
            (
                vec![told("2")],
                vec![export.clone()],
                vec![Export, ListByNo],
            ),
            (vec![], vec![query, failed.clone()], vec![Query, ListByNo]),
            (
                vec![told("2"), told("1")],
                vec![failed, export],
                vec![Event, Export, ListByNo],
            ),
        ] {
            let mut spec = task_row(Dataset::Meeting, day, Phase::Open).spec;
            spec.lineage.meeting_no = Some("1".into());
            let mut tasks = [OpenTask {
                priority: 0,
                generation: 1,
                spec,
            }];
            name_discoverers(&mut tasks, &told, &lists);
            assert_eq!(tasks[0].spec.lineage.discovered_by, expected);
        }
    }

    #[test]
    fn events_and_list_are_compared_by_number_and_start() {
        let meeting = |number: &str, second: i64| Parent {
            meeting_no: number.to_owned(),
            start: Timestamp::from_second(second).expect("an instant"),
            source_row: 0,
            end: None,
            participant_count: None,
            join_time: None,
            stay_s: None,
            user_id: None,
            room_id: None,
            device: None,
            meeting_id: None,
            was_recorded: None,
        };
        let (a, b) = (meeting("1", 1_000), meeting("2", 1_000));
        let (late_a, later_a) = (meeting("1", 1_060), meeting("1", 1_061));
        for (told, listed, expected) in [
            (vec![], vec![a.clone()], (0, 0)),
            (vec![a.clone()], vec![a.clone()], (0, 0)),
            (vec![a.clone()], vec![late_a, a.clone()], (0, 0)),
            (vec![a.clone()], vec![later_a], (1, 1)),
            (vec![a.clone(), a.clone()], vec![b.clone()], (1, 1)),
            (vec![a.clone()], vec![], (0, 1)),
            (vec![a.clone()], vec![b.clone(), b, a], (1, 0)),
        ] {
            assert_eq!(
                disagreement(&told, &listed),
                expected,
                "{told:?} {listed:?}"
            );
        }
    }

    #[test]
    fn the_manifests_of_a_day_stay_small_in_number() {
        // Meetings that end one after the other in ten hours.
        let (seconds, meetings) = (36_000, 5_000);
        let (mut second, mut revisions, mut lines) = (0, 0, 0);
        while second < seconds {
            let tasks = meetings * second / seconds;
            (revisions, lines) = (revisions + 1, lines + tasks);
            second += pause(tasks).as_secs();
        }
        assert!(revisions < 120, "{revisions}");
        assert!(lines < 50 * meetings, "{lines}");
    }
}
