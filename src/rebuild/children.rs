//! Which windows of children fit their parents, and which have to be planned again.

use super::found::{FoundTask, Setting, Tasks, Windows};
use crate::datasets::{Dataset, Parent};
use crate::plan::children::{Budget, KnownChildren, ParentWindow, children};
use crate::plan::resolve::resolve;
use crate::record::{PhaseCounts, WindowState};
use crate::task::TaskKey;
use crate::window::Window;

/// Gives the windows of children what they were planned from, and opens those that do not fit the
/// parents any more.
pub(super) fn look_at(setting: &Setting<'_>, tasks: &Tasks, windows: &mut Windows) {
    let mut planned = Vec::new();
    for ((stream, window), row) in windows.iter() {
        let (tenant, dataset) = stream;
        let (Some(parent), Some(job)) = (dataset.parent(), setting.job(tenant, *dataset)) else {
            continue;
        };
        let parent_row = windows.get(&((tenant.clone(), parent), *window));
        let parent_tasks = of_window(tasks, tenant, parent, window);
        let phases: PhaseCounts = parent_tasks.map(|(_, task)| task.phase()).collect();
        let is_ready = ParentWindow::of(parent_row, &phases) == ParentWindow::Ready;
        if !is_ready || row.state == WindowState::Due {
            continue;
        }
        let parents = parents_in(tasks, tenant, parent, window);
        let known: KnownChildren = of_window(tasks, tenant, *dataset, window)
            .map(|(key, task)| (key.clone(), task.known_child()))
            .collect();
        let mut budget = Budget::unlimited();
        let Some((owner, _)) = setting.owner(tenant) else {
            continue;
        };
        let mut found = children(job, owner, window, &parents, &known, &mut budget);
        let findings = || {
            let tasks = of_window(tasks, tenant, *dataset, window);
            let read = tasks.filter_map(|(_, task)| task.read.as_ref());
            read.map(|read| &read.findings)
        };
        if dataset.resolves().is_some() {
            let ids = parents_in(tasks, tenant, *dataset, window);
            let hidden = findings().map(|findings| findings.items_hidden).sum();
            found.coverage = found.coverage.with(resolve(&parents, &ids, hidden));
        }
        let unfinished = findings().map(|findings| findings.rows_unfinished);
        found.coverage.unfinished = unfinished.sum();
        let fits = found.are_those_known(&known);
        planned.push(((stream.clone(), *window), fits, found));
    }
    for (key, fits, found) in planned {
        let Some(row) = windows.get_mut(&key) else {
            continue;
        };
        if fits {
            (row.parents, row.coverage) = (Some(found.digest), Some(found.coverage));
        } else {
            row.state = WindowState::Due;
        }
    }
}

/// The tasks that were planned for a window.
pub(super) fn of_window<'t>(
    tasks: &'t Tasks,
    tenant: &'t str,
    dataset: Dataset,
    window: &'t Window,
) -> impl Iterator<Item = (&'t TaskKey, &'t FoundTask)> {
    tasks.iter().filter(move |(_, task)| {
        task.tenant == tenant
            && task.dataset == dataset
            && task.input.planned_for() == Some(*window)
    })
}

/// The parent rows that start in a window, in the ledger's order.
pub(super) fn parents_in(
    tasks: &Tasks,
    tenant: &str,
    dataset: Dataset,
    window: &Window,
) -> Vec<Parent> {
    let mut found: Vec<(&TaskKey, &Parent)> = tasks
        .iter()
        .filter(|(_, task)| task.tenant == tenant && task.dataset == dataset)
        .filter_map(|(key, task)| Some((key, task.read.as_ref()?)))
        .flat_map(|(key, read)| read.parents.iter().map(move |parent| (key, parent)))
        .filter(|(_, parent)| window.contains(parent.start))
        .collect();
    found.sort_by_key(|(key, parent)| (parent.start, &parent.meeting_no, *key, parent.source_row));
    found
        .into_iter()
        .map(|(_, parent)| parent.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::found::ReadOriginal;
    use super::super::found::tests::{answered, lake, meeting_at, of_another_tenant, setting};
    use super::super::windows;
    use super::*;
    use crate::plan::tests::owner;

    const PARENT: Dataset = Dataset::MeetingList;
    const CHILD: Dataset = Dataset::ParticipantList;

    /// The meeting list of a day with one meeting, and the task of its participants.
    fn family() -> (FoundTask, FoundTask) {
        let mut parent = answered("meetings", PARENT, 10);
        let meeting = meeting_at(10);
        read(&mut parent).parents = vec![meeting.clone()];
        let mut child = answered("participants", CHILD, 10);
        let window = child.input.window().expect("a window");
        let job = setting();
        let job = job.job("acme", CHILD).expect("a job");
        let known = KnownChildren::new();
        let mut budget = Budget::unlimited();
        let planned = children(job, owner(), &window, &[meeting], &known, &mut budget);
        let spec = planned.tasks[0].spec.clone();
        child.input.task_key = spec.key.clone();
        child.spec = Some(spec);
        (parent, child)
    }

    fn read(task: &mut FoundTask) -> &mut ReadOriginal {
        task.read.as_mut().expect("read")
    }

    /// The state of the child's window, and how many children it was planned with, if that is
    /// known.
    fn looked_at(tasks: Vec<FoundTask>) -> (WindowState, Option<u64>) {
        let found = lake(tasks, vec![]);
        let mut windows = windows::form(&setting(), &found);
        look_at(&setting(), &found.tasks, &mut windows);
        let mut of_child = windows.values().filter(|row| row.dataset == CHILD);
        let row = of_child.next().expect("the child's window");
        (
            row.state,
            row.coverage.as_ref().map(|counts| counts.planned),
        )
    }

    #[test]
    fn children_fit_parents_that_are_known_and_the_same() {
        type Case = (
            &'static str,
            fn(&mut FoundTask, &mut FoundTask),
            (WindowState, Option<u64>),
        );
        let table: [Case; 9] = [
            ("as they were", |_, _| {}, (WindowState::Settled, Some(1))),
            (
                "a later generation",
                |_, child| child.input.generation = 2,
                (WindowState::Settled, Some(1)),
            ),
            (
                "an empty sheet, which the next run may try again",
                |_, child| read(child).findings.rows_out = 0,
                (WindowState::Settled, Some(1)),
            ),
            (
                "another meeting",
                |parent, _| {
                    let mut another = meeting_at(10);
                    another.meeting_no = "another".into();
                    read(parent).parents.push(another);
                },
                (WindowState::Due, None),
            ),
            (
                "the meeting is gone",
                |parent, _| read(parent).parents.clear(),
                (WindowState::Due, None),
            ),
            (
                "the meeting ended later",
                |parent, _| {
                    let end = &mut read(parent).parents[0].end;
                    *end = end.map(|end| end + SignedDuration::from_secs(60));
                },
                (WindowState::Due, None),
            ),
            (
                "a parent that is exported again",
                |parent, _| parent.is_lost = true,
                (WindowState::Settled, None),
            ),
            (
                "a stuck parent with nothing published",
                |parent, _| read(parent).findings.rows_quarantined = 1,
                (WindowState::Settled, None),
            ),
            (
                "a child that is exported again",
                |_, child| child.is_lost = true,
                (WindowState::Planned, Some(1)),
            ),
        ];
        for (what, change, expected) in table {
            let (mut parent, mut child) = family();
            change(&mut parent, &mut child);
            assert_eq!(looked_at(vec![parent, child]), expected, "{what}");
        }
    }

    #[test]
    fn a_stuck_parent_makes_its_children_known_once_something_of_it_is_published() {
        let (parent, child) = family();
        let mut stuck = answered("another piece", PARENT, 10);
        read(&mut stuck).findings.rows_quarantined = 1;
        let (state, planned) = looked_at(vec![parent, stuck, child]);
        assert_eq!((state, planned), (WindowState::Settled, Some(1)));
    }

    #[test]
    fn what_another_day_or_tenant_has_is_none_of_a_windows_children() {
        let (parent, child) = family();
        let with_meeting = |name: &str, day, number: &str| {
            let mut task = answered(name, PARENT, day);
            let mut meeting = meeting_at(day);
            meeting.meeting_no = number.into();
            read(&mut task).parents = vec![meeting];
            task
        };
        let beside = vec![
            with_meeting("tomorrow's meetings", 11, "1"),
            answered("tomorrow's participants", CHILD, 11),
            of_another_tenant(with_meeting("another's meetings", 10, "2")),
            of_another_tenant(answered("another's participants", CHILD, 10)),
        ];
        let tasks = [vec![parent, child], beside].concat();
        assert_eq!(looked_at(tasks), (WindowState::Settled, Some(1)));
    }

    #[test]
    fn children_of_a_window_that_is_opened_again_wait_for_it() {
        let (parent, child) = family();
        let found = lake(vec![parent, child], vec![]);
        for dataset in [PARENT, CHILD] {
            let mut windows = windows::form(&setting(), &found);
            let mut rows = windows.values_mut();
            let opened = rows.find(|row| row.dataset == dataset);
            opened.expect("a window").state = WindowState::Due;
            look_at(&setting(), &found.tasks, &mut windows);
            let mut rows = windows.values().filter(|row| row.dataset == CHILD);
            let of_child = rows.next().expect("the child's window");
            assert_eq!((&of_child.parents, &of_child.coverage), (&None, &None));
        }
    }
}
