//! Windows from tasks and from complete days, and which of them the next run looks at again.

use std::collections::BTreeMap;

use super::found::{FoundLake, FoundPartition, Setting, Stream, Tasks, Windows};
use super::schedules::newest_answers;
use crate::datasets::Dataset;
use crate::findings::Comparison;
use crate::job::JobSpec;
use crate::plan::due::due_at;
use crate::plan::settle::window_state;
use crate::record::{Coverage, Phase, PhaseCounts, Reason, ReasonKind, WindowRow, WindowState};
use crate::window::Window;

/// Of the tasks of a window: the newest generation, their phases, and whether it is known of all of
/// them what was asked for.
#[derive(Default)]
struct OfWindow {
    generation: u32,
    phases: Vec<Phase>,
    has_unknown: bool,
}

type TasksByWindow = BTreeMap<(Stream, Window), OfWindow>;

/// The windows that the lake's tasks and complete days stand for.
pub(super) fn form(setting: &Setting<'_>, found: &FoundLake) -> Windows {
    let newest = newest_answers(found);
    let mut tasks = TasksByWindow::new();
    for task in found.tasks.values() {
        if let Some(window) = task.input.planned_for() {
            let entry = tasks.entry((task.stream(), window)).or_default();
            entry.generation = entry.generation.max(task.input.generation);
            entry.phases.push(task.phase());
            entry.has_unknown |= task.spec.is_none();
        }
    }
    for dataset in Dataset::ALL {
        for key in windows_without_tasks(setting, &found.partitions, dataset, &tasks) {
            tasks.entry(key).or_default();
        }
    }
    let mut windows = Windows::new();
    for ((stream, window), of_window) in tasks {
        let Some(job) = setting.job(&stream.0, stream.1) else {
            continue;
        };
        let covered_at = newest.get(&stream).copied().unwrap_or(window.end());
        let is_early = is_early(setting, &found.partitions, &stream, &window);
        let row = WindowRow {
            tenant: stream.0.clone(),
            dataset: stream.1,
            window,
            job: job.name.clone(),
            due_at: due_at(job, &window),
            state: match of_window.has_unknown || is_early {
                // What was asked for is planned again, under the same name.
                true => WindowState::Due,
                false => state_of(&of_window.phases.iter().copied().collect()),
            },
            generation: match stream.1.parent() {
                Some(_) => 1,
                None => of_window.generation.max(1),
            },
            covered_at,
            // Of which rows exactly is not known any more.
            parents: is_early.then(String::new),
            coverage: None,
        };
        windows.insert((stream, window), row);
    }
    windows
}

/// Whether events told of what the lake has of a window, and its night was still to come.
fn is_early(
    setting: &Setting<'_>,
    partitions: &[FoundPartition],
    stream: &Stream,
    window: &Window,
) -> bool {
    let is_of_window = |partition: &&FoundPartition| {
        let day = setting.day(&partition.id);
        partition.stream() == *stream && day.is_some_and(|day| window.overlaps(&day))
    };
    let is_not_over = |reason: &Reason| reason.kind == ReasonKind::NotOver;
    let mut of_window = partitions.iter().filter(is_of_window);
    stream.1.definition().early.is_some()
        && of_window.any(|of| of.found.manifest.reasons.iter().any(is_not_over))
}

fn state_of(tasks: &PhaseCounts) -> WindowState {
    window_state(tasks).unwrap_or(WindowState::Planned)
}

/// Complete days of a dataset for which nothing was asked: of one that fans out, the parent's
/// windows; of any other, the day of its job.
fn windows_without_tasks(
    setting: &Setting<'_>,
    partitions: &[FoundPartition],
    dataset: Dataset,
    known: &TasksByWindow,
) -> Vec<(Stream, Window)> {
    let is_complete =
        |partition: &&FoundPartition| partition.is_complete() && partition.id.dataset == dataset;
    let mut windows = Vec::new();
    for partition in partitions.iter().filter(is_complete) {
        let id = &partition.id;
        let (Some(day), Some(job)) = (setting.day(id), setting.job(&id.tenant, dataset)) else {
            continue;
        };
        let overlapping = |stream: &Stream| -> Vec<Window> {
            known
                .keys()
                .filter(|(other, window)| other == stream && window.overlaps(&day))
                .map(|(_, window)| *window)
                .collect()
        };
        let stream = partition.stream();
        match dataset.parent() {
            Some(parent) => {
                let parents = overlapping(&(id.tenant.clone(), parent));
                windows.extend(parents.into_iter().map(|window| (stream.clone(), window)));
            }
            None if overlapping(&stream).is_empty() => {
                let day = day_of_job(job, partition);
                windows.extend(day.map(|window| (stream, window)));
            }
            None => {}
        }
    }
    windows
}

/// The day of a job whose windows are days.
fn day_of_job(job: &JobSpec, partition: &FoundPartition) -> Option<Window> {
    let is_daily = job.window_days == 1;
    is_daily
        .then(|| Window::day(&job.time_zone, partition.id.dt))
        .flatten()
}

/// Gives windows what reading their originals again found of both sources.
pub(super) fn compare(tasks: &Tasks, windows: &mut Windows) {
    let mut found: BTreeMap<(Stream, Window), Comparison> = BTreeMap::new();
    for task in tasks.values() {
        let findings = task.read.as_ref().map(|read| &read.findings);
        let compared = findings.and_then(|findings| findings.compared.as_ref());
        if let (Some(compared), Some(window)) = (compared, task.input.planned_for()) {
            let of_window = found.entry((task.stream(), window)).or_default();
            of_window.add(compared);
        }
    }
    for (key, compared) in found {
        if let Some(row) = windows.get_mut(&key) {
            row.coverage = Coverage::compared(row.coverage.as_ref(), Some(compared));
        }
    }
}

/// Lets the next run look at days again whose manifest or object says that an answer is missing,
/// where no open task does so already.
pub(super) fn open_what_is_partial(
    setting: &Setting<'_>,
    partitions: &[FoundPartition],
    windows: &mut Windows,
) {
    let mut open = Vec::new();
    for partition in partitions {
        let reasons = &partition.found.manifest.reasons;
        let lacks_an_answer = reasons.iter().any(|reason| reason.lacks_an_answer());
        if !partition.is_cut_off && !lacks_an_answer {
            continue;
        }
        let Some(day) = setting.day(&partition.id) else {
            continue;
        };
        let stream = partition.stream();
        let of_day: Vec<_> = windows
            .iter()
            .filter(|((other, window), _)| *other == stream && window.overlaps(&day))
            .collect();
        let is_open = of_day
            .iter()
            .any(|(_, row)| row.state != WindowState::Settled);
        if partition.is_cut_off || !is_open {
            open.extend(of_day.into_iter().map(|(key, _)| key.clone()));
        }
    }
    for key in open {
        if let Some(row) = windows.get_mut(&key)
            && row.state != WindowState::Due
        {
            row.state = WindowState::Due;
            // The tasks of a root have the window's generation; children are told apart by their
            // parents' rows.
            row.generation += u32::from(row.dataset.parent().is_none());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::FoundTask;
    use super::super::found::tests::{
        answered, at, lake, of_another_tenant, partition, setting, setting_with, task,
    };
    use super::*;

    #[test]
    fn a_window_stands_where_its_tasks_do() {
        let mut open = task("open", Dataset::MeetingList, 10);
        open.is_lost = true;
        let mut without_key = answered("without a key", Dataset::MeetingList, 10);
        without_key
            .read
            .as_mut()
            .expect("read")
            .findings
            .rows_quarantined = 1;
        let published = answered("published", Dataset::MeetingList, 10);
        for (tasks, state) in [
            (vec![published.clone()], WindowState::Settled),
            (
                vec![published.clone(), without_key.clone()],
                WindowState::Stuck,
            ),
            (vec![without_key, open], WindowState::Planned),
        ] {
            let found = lake(tasks, vec![]);
            let windows = form(&setting(), &found);
            let states: Vec<WindowState> = windows.values().map(|row| row.state).collect();
            assert_eq!(states, [state]);
        }
    }

    #[test]
    fn a_complete_day_without_tasks_has_its_jobs_window_and_its_childrens() {
        use Dataset::{MeetingList, ParticipantList, ParticipantQualityList};
        let days = [MeetingList, ParticipantList, ParticipantQualityList]
            .map(|dataset| partition(dataset, 10, &[]));
        let windows = form(&setting(), &lake(vec![], days.to_vec()));
        let datasets: Vec<Dataset> = windows.values().map(|row| row.dataset).collect();
        assert_eq!(
            datasets,
            [MeetingList, ParticipantList, ParticipantQualityList]
        );
        // A partial day says nothing of windows that nobody knows.
        let failed = Reason::new(ReasonKind::Failed, 1);
        let partial = partition(MeetingList, 10, &[failed]);
        assert!(form(&setting(), &lake(vec![], vec![partial])).is_empty());
    }

    #[test]
    fn complete_days_get_windows_where_no_task_has_one() {
        use Dataset::{MeetingList, ParticipantList, ParticipantQualityList};
        let day = |number| Window::new(at(number), at(number + 1)).expect("a day");
        let complete = |dataset| partition(dataset, 10, &[]);
        let failed = Reason::new(ReasonKind::Failed, 1);
        let partial = |dataset| partition(dataset, 10, std::slice::from_ref(&failed));
        let meetings = || answered("meetings", MeetingList, 10);
        let two_days = Window::new(at(10), at(12)).expect("two days");
        let mut piece = meetings();
        piece.input.job_window = Some((two_days.start(), two_days.end()));
        type WindowCase = (Vec<FoundTask>, Vec<FoundPartition>, Vec<(Dataset, Window)>);
        let table: [WindowCase; 7] = [
            // A root's day has its own window already.
            (
                vec![meetings()],
                vec![complete(MeetingList)],
                vec![(MeetingList, day(10))],
            ),
            // Another day's window is none of it.
            (
                vec![answered("meetings", MeetingList, 11)],
                vec![complete(MeetingList)],
                vec![(MeetingList, day(10)), (MeetingList, day(11))],
            ),
            // Meetings without participants.
            (
                vec![meetings()],
                vec![complete(ParticipantList)],
                vec![(MeetingList, day(10)), (ParticipantList, day(10))],
            ),
            // Children have the window of their parents, however long.
            (
                vec![piece],
                vec![complete(ParticipantList), complete(ParticipantQualityList)],
                vec![
                    (MeetingList, two_days),
                    (ParticipantList, two_days),
                    (ParticipantQualityList, two_days),
                ],
            ),
            (
                vec![meetings()],
                vec![partial(ParticipantList)],
                vec![(MeetingList, day(10))],
            ),
            // Grandchildren have none while the children have none.
            (
                vec![meetings()],
                vec![partial(ParticipantList), complete(ParticipantQualityList)],
                vec![(MeetingList, day(10))],
            ),
            (vec![], vec![complete(ParticipantList)], vec![]),
        ];
        for (tasks, partitions, expected) in table {
            let windows = form(&setting(), &lake(tasks, partitions));
            let found: Vec<(Dataset, Window)> = windows
                .values()
                .map(|row| (row.dataset, row.window))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_complete_day_says_nothing_of_windows_that_are_longer() {
        let weekly = setting_with(|job| job.window_days = 7);
        let day = partition(Dataset::MeetingList, 10, &[]);
        assert!(form(&weekly, &lake(vec![], vec![day])).is_empty());
    }

    #[test]
    fn a_root_has_the_newest_generation_of_its_tasks_and_children_the_first() {
        for (dataset, generation) in [(Dataset::MeetingList, 3), (Dataset::ParticipantList, 1)] {
            let mut first = answered("first", dataset, 10);
            first.input.generation = 3;
            let second = answered("second", dataset, 10);
            let windows = form(&setting(), &lake(vec![first, second], vec![]));
            let generations: Vec<u32> = windows.values().map(|row| row.generation).collect();
            assert_eq!(generations, [generation], "{dataset}");
        }
    }

    #[test]
    fn days_that_lack_an_answer_or_their_object_are_opened_again() {
        let failed = Reason::new(ReasonKind::Failed, 1);
        let short = Reason::with_detail(ReasonKind::FewerMeetings, 1, "few".into());
        for dataset in [Dataset::MeetingList, Dataset::ParticipantList] {
            for (reasons, is_cut_off, is_open, expected) in [
                (vec![], false, false, false),
                (vec![short.clone()], false, false, false),
                (vec![failed.clone()], false, false, true),
                (vec![failed.clone()], false, true, false),
                (vec![], true, false, true),
                (vec![], true, true, true),
            ] {
                let mut task = answered("a", dataset, 10);
                task.is_lost = is_open;
                let mut day = partition(dataset, 10, &reasons);
                day.is_cut_off = is_cut_off;
                let found = lake(vec![task], vec![day]);
                let mut windows = form(&setting(), &found);
                let before = windows.values().next().expect("one").generation;
                open_what_is_partial(&setting(), &found.partitions, &mut windows);
                let row = windows.values().next().expect("one");
                assert_eq!(
                    row.state == WindowState::Due,
                    expected,
                    "{dataset} {reasons:?}"
                );
                let is_root = dataset == Dataset::MeetingList;
                let again = u32::from(expected && is_root);
                assert_eq!(row.generation, before + again, "{dataset} {reasons:?}");
            }
        }
    }

    /// The windows of a dataset that were opened again, each with its generation.
    fn opened(tasks: Vec<FoundTask>, days: Vec<FoundPartition>) -> Vec<(Stream, Window, u32)> {
        let found = lake(tasks, days);
        let mut windows = form(&setting(), &found);
        open_what_is_partial(&setting(), &found.partitions, &mut windows);
        let due = windows
            .into_iter()
            .filter(|(_, row)| row.state == WindowState::Due);
        due.map(|((stream, window), row)| (stream, window, row.generation))
            .collect()
    }

    #[test]
    fn a_partial_day_opens_its_own_windows_only_and_looks_at_no_others() {
        let mut tomorrow = answered("tomorrow", Dataset::MeetingList, 11);
        tomorrow.is_lost = true;
        let mut report = answered("report", Dataset::DailyReport, 10);
        report.is_lost = true;
        let mut another = of_another_tenant(answered("another", Dataset::MeetingList, 10));
        another.is_lost = true;
        let today = answered("today", Dataset::MeetingList, 10);
        let failed = Reason::new(ReasonKind::Failed, 1);
        let day = partition(Dataset::MeetingList, 10, &[failed]);
        let stream = day.stream();
        let window = Window::new(at(10), at(11)).expect("a day");
        let found = opened(vec![today, tomorrow, report, another], vec![day]);
        assert_eq!(found, [(stream, window, 2)]);
    }

    #[test]
    fn a_window_of_two_partial_days_is_asked_for_once_more_and_not_twice() {
        let two_days = Window::new(at(10), at(12)).expect("two days");
        let tasks = [10, 11].map(|day| {
            let mut task = answered(&day.to_string(), Dataset::MeetingList, day);
            task.input.job_window = Some((two_days.start(), two_days.end()));
            task
        });
        let days = [10, 11].map(|day| {
            let mut day = partition(Dataset::MeetingList, day, &[]);
            day.is_cut_off = true;
            day
        });
        let stream = days[0].stream();
        let found = opened(tasks.to_vec(), days.to_vec());
        assert_eq!(found, [(stream, two_days, 2)]);
    }
}
