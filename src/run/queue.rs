//! Which task is begun next: the most urgent one, and each tenth time one of another class, so that
//! no class waits for ever.

use std::collections::{HashMap, VecDeque};

use anyhow::Result;

use super::Run;
use crate::datasets::Dataset;
use crate::job::JobSpec;
use crate::plan;
use crate::record::TaskRow;
use crate::task::Urgency;
use crate::window::Window;

/// Of so many tasks, one is of another class than the most urgent.
const TURNS: u64 = 10;

/// Runnable tasks, in the order of their priority.
#[derive(Debug, Default)]
pub(super) struct TaskQueue {
    tasks: VecDeque<(Urgency, TaskRow)>,
    begun: u64,
    /// Which turn a class had last.
    turns: HashMap<Urgency, u64>,
}

impl TaskQueue {
    /// Adds tasks that come after those that are in it.
    pub(super) fn extend(&mut self, tasks: impl IntoIterator<Item = (Urgency, TaskRow)>) {
        self.tasks.extend(tasks);
    }

    /// Forgets all tasks; whose turn it is stays known.
    pub(super) fn clear(&mut self) {
        self.tasks.clear();
    }

    /// Whether it has no task.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether it has a task of a dataset.
    pub(super) fn has(&self, dataset: Dataset) -> bool {
        let mut tasks = self.tasks.iter();
        tasks.any(|(_, task)| task.spec.dataset() == dataset)
    }

    /// The least urgent class of which it has a task.
    pub(super) fn least_urgent(&self) -> Option<Urgency> {
        self.tasks.iter().map(|(urgency, _)| *urgency).max()
    }

    /// Takes the next task.
    pub(super) fn pop(&mut self) -> Option<TaskRow> {
        let place = self.place_of_next();
        let (urgency, task) = self.tasks.remove(place)?;
        self.begun += 1;
        self.turns.insert(urgency, self.begun);
        Some(task)
    }

    fn place_of_next(&self) -> usize {
        let first = self.tasks.front().map(|(urgency, _)| *urgency);
        if !(self.begun + 1).is_multiple_of(TURNS) {
            return 0;
        }
        // Of the other classes, the one whose turn is the longest ago.
        let others = Urgency::ALL.into_iter();
        let others = others.filter(|urgency| Some(*urgency) != first);
        let place_of = |of: Urgency| self.tasks.iter().position(|(urgency, _)| *urgency == of);
        let turn_of = |urgency: Urgency| self.turns.get(&urgency).copied().unwrap_or(0);
        let others = others.filter_map(|urgency| Some((turn_of(urgency), place_of(urgency)?)));
        others.min().map_or(0, |(_, place)| place)
    }
}

impl Run {
    /// Reads runnable tasks from the ledger that are of this urgency or less urgent, and says
    /// whether there may be more.
    pub(super) async fn read_tasks(&mut self, urgency: Urgency, most: u32) -> Result<bool> {
        let limit = most + u32::try_from(self.in_flight.len()).unwrap_or(most);
        let (name, now) = (&self.tenant.name, self.tenant.clock.now());
        let from = plan::first_priority(urgency);
        let ledger = &self.tenant.ledger;
        let mut runnable = ledger.runnable(name, now, from, limit).await?;
        let is_full = runnable.len() >= limit as usize;
        runnable.retain(|task| !self.in_flight.contains(&task.spec.key));
        let goes_on = is_full && !runnable.is_empty();
        let placed: Vec<_> = runnable
            .into_iter()
            .map(|task| {
                let job = self.job(task.spec.dataset());
                let urgency = job.map(|job| self.urgency(&job, &task.job_window));
                (urgency.unwrap_or_default(), task)
            })
            .collect();
        self.queue.extend(placed);
        Ok(goes_on)
    }

    /// How urgent the tasks of a window are now.
    pub(super) fn urgency(&self, job: &JobSpec, window: &Window) -> Urgency {
        match self.puts_off {
            true => plan::urgency(job, window, self.tenant.clock.now()),
            false => Urgency::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::plan::tests::task_row;
    use crate::record::Phase;

    fn queue(counts: [(Urgency, usize); 3]) -> TaskQueue {
        let day = Window::day(&TimeZone::UTC, jiff::civil::date(2026, 11, 19)).expect("a day");
        let mut queue = TaskQueue::default();
        for (urgency, count) in counts {
            // The dataset tells the test which class it is.
            let dataset = match urgency {
                Urgency::Nightly => Dataset::MeetingList,
                Urgency::Early | Urgency::Detail => Dataset::Meeting,
                Urgency::Backfill => Dataset::TopUser,
            };
            let task = task_row(dataset, day, Phase::Open);
            queue.extend(std::iter::repeat_n((urgency, task), count));
        }
        queue
    }

    fn begun(queue: &mut TaskQueue, tasks: usize) -> String {
        let begun = std::iter::from_fn(|| queue.pop()).take(tasks);
        let letter = |task: TaskRow| match task.spec.dataset() {
            Dataset::MeetingList => 'n',
            Dataset::Meeting => 'd',
            _ => 'b',
        };
        begun.map(letter).collect()
    }

    #[test]
    fn each_tenth_task_is_of_another_class_in_turn() {
        let all = [
            (Urgency::Nightly, 100),
            (Urgency::Detail, 100),
            (Urgency::Backfill, 100),
        ];
        let found = begun(&mut queue(all), 40);
        assert_eq!(found, "nnnnnnnnndnnnnnnnnnbnnnnnnnnndnnnnnnnnnb");
    }

    #[test]
    fn where_a_class_has_nothing_to_do_its_turn_is_anothers() {
        let two = [
            (Urgency::Nightly, 12),
            (Urgency::Detail, 0),
            (Urgency::Backfill, 20),
        ];
        let found = begun(&mut queue(two), 40);
        assert_eq!(found, "nnnnnnnnnbnnnbbbbbbbbbbbbbbbbbbb");
        let one = [
            (Urgency::Nightly, 0),
            (Urgency::Detail, 0),
            (Urgency::Backfill, 20),
        ];
        assert_eq!(begun(&mut queue(one), 40), "b".repeat(20));
    }
}
