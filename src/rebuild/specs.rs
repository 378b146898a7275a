//! What was asked for, where no pack says so: planned again from windows and parents, and known by
//! its name. And tasks under another key of the lake.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::children::parents_in;
use super::found::{FoundLake, Setting, Stream, Tasks};
use crate::plan;
use crate::plan::children::{Budget, KnownChildren, children};
use crate::task::{TaskKey, TaskSpec};
use crate::window::Window;

/// Finds out what was asked for by tasks without an archived original, or with one that cannot be
/// read. Planning gives the same request the same name. Parents come first, because their rows give
/// the names of their children.
pub(super) fn plan_again(setting: &Setting<'_>, tasks: &mut Tasks) {
    let mut unknown: BTreeSet<(i64, Stream, Window)> = BTreeSet::new();
    for task in tasks.values().filter(|task| task.spec.is_none()) {
        let window = task.input.planned_for();
        unknown.extend(window.map(|window| (task.dataset.rank(), task.stream(), window)));
    }
    for (_, (tenant, dataset), window) in unknown {
        let (Some(job), Some((owner, unit))) =
            (setting.job(&tenant, dataset), setting.owner(&tenant))
        else {
            continue;
        };
        let specs: Vec<TaskSpec> = match dataset.parent() {
            None => plan::tasks(job, owner, unit, &window, &[]),
            Some(parent) => {
                let parents = parents_in(tasks, &tenant, parent, &window);
                let (known, mut budget) = (KnownChildren::new(), Budget::unlimited());
                let found = children(job, owner, &window, &parents, &known, &mut budget);
                found.tasks.into_iter().map(|task| task.spec).collect()
            }
        };
        for spec in specs {
            if let Some(task) = tasks.get_mut(&spec.key) {
                task.spec.get_or_insert(spec);
            }
        }
    }
}

/// Gives the tasks the names that the lake's present key gives them. Those of which nobody knows
/// what was asked for are forgotten; their windows are planned again.
pub(super) fn rename(setting: &Setting<'_>, found: &mut FoundLake) {
    let named = |tenant: &str| setting.owner(tenant).map(|(owner, _)| owner.key.id());
    let renamed: BTreeSet<String> = found
        .partitions
        .iter()
        .filter(|partition| {
            Some(&partition.found.manifest.key_id) != named(&partition.id.tenant).as_ref()
        })
        .map(|partition| partition.id.tenant.clone())
        .collect();
    let mut names: BTreeMap<TaskKey, TaskKey> = BTreeMap::new();
    let tasks = std::mem::take(&mut found.tasks);
    for (key, mut task) in tasks {
        let name = task.spec.as_ref().map_or(&key, |spec| &spec.key).clone();
        task.input.task_key = name.clone();
        names.insert(key, name.clone());
        // Days that were published before and after the renaming name the same task differently.
        match found.tasks.entry(name) {
            Entry::Vacant(free) => drop(free.insert(task)),
            Entry::Occupied(mut known) => known.get_mut().merge(task),
        }
    }
    for partition in &mut found.partitions {
        for input in &mut partition.inputs {
            if let Some(name) = names.get(&input.task_key) {
                input.task_key = name.clone();
            }
        }
        let is_renamed = renamed.contains(&partition.id.tenant);
        let tasks = &found.tasks;
        let is_known = |key: &TaskKey| tasks.get(key).is_some_and(|task| task.spec.is_some());
        partition
            .inputs
            .retain(|input| !is_renamed || is_known(&input.task_key));
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::tests::{answered, lake, meeting_at, partition, setting};
    use super::*;
    use crate::datasets::Dataset;
    use crate::lake_key::LakeKey;
    use crate::plan::tests::owner;
    use crate::task::TaskOwner;

    /// The task of a day as planning names it, without what was asked for.
    fn forgotten(dataset: Dataset, name: &TaskKey) -> super::super::found::FoundTask {
        let mut task = answered(name.as_str(), dataset, 10);
        task.spec = None;
        task.read = None;
        task
    }

    #[test]
    fn what_was_asked_for_is_planned_again_under_the_same_name() {
        let setting = setting();
        let window = answered("a", Dataset::MeetingList, 10).input.window();
        let window = window.expect("a day");
        let roots = setting.job("acme", Dataset::MeetingList).expect("a job");
        let root = plan::tasks(roots, owner(), None, &window, &[]).remove(0);
        let of_children = setting.job("acme", Dataset::ParticipantList);
        let known = KnownChildren::new();
        let child = children(
            of_children.expect("a job"),
            owner(),
            &window,
            &[meeting_at(10)],
            &known,
            &mut Budget::unlimited(),
        );
        let child = child.tasks[0].spec.clone();
        let mut parent = answered("meetings", Dataset::MeetingList, 10);
        parent.read.as_mut().expect("read").parents = vec![meeting_at(10)];
        let nobody = TaskKey::from_stored("nobody");
        let mut found = lake(
            vec![
                forgotten(Dataset::ParticipantList, &child.key),
                forgotten(Dataset::MeetingList, &root.key),
                forgotten(Dataset::MeetingList, &nobody),
                parent,
            ],
            vec![],
        );
        plan_again(&setting, &mut found.tasks);
        assert_eq!(found.tasks[&root.key].spec.as_ref(), Some(&root));
        assert_eq!(found.tasks[&child.key].spec.as_ref(), Some(&child));
        assert!(found.tasks[&nobody].spec.is_none());
    }

    #[test]
    fn under_another_key_tasks_have_other_names_and_unknown_ones_are_forgotten() {
        let setting = setting();
        let earlier = LakeKey::new(&[9; 32]);
        let mut task = answered("a", Dataset::MeetingList, 10);
        let request = task.spec.as_ref().expect("known").request.clone();
        let before = TaskOwner {
            tenant: "acme",
            key: &earlier,
        };
        let (old, new) = (
            TaskKey::new(before, &request),
            TaskKey::new(owner(), &request),
        );
        task.input.task_key = old.clone();
        // Read from its pack, it has the present name.
        task.spec.as_mut().expect("known").key = new.clone();
        let lost = forgotten(Dataset::MeetingList, &TaskKey::from_stored("lost"));
        let mut day = partition(Dataset::MeetingList, 10, &[]);
        day.inputs = vec![task.input.clone(), lost.input.clone()];
        let mut same_key = lake(vec![task.clone(), lost.clone()], vec![day.clone()]);
        rename(&setting, &mut same_key);
        assert_eq!(same_key.partitions[0].inputs.len(), 2);
        day.found.manifest.key_id = earlier.id();
        let mut found = lake(vec![task, lost], vec![day]);
        // The map is by the names of the manifests.
        let by_old_name = found.tasks.remove(&old).expect("it");
        found.tasks.insert(old.clone(), by_old_name);
        rename(&setting, &mut found);
        assert!(!found.tasks.contains_key(&old));
        // One day was published again under the new name, with a later generation.
        let mut again = found.tasks[&new].clone();
        again.input.generation = 2;
        let mut both = lake(vec![found.tasks[&new].clone()], vec![]);
        both.tasks.insert(old.clone(), again);
        rename(&setting, &mut both);
        assert_eq!(both.tasks.len(), 1);
        assert_eq!(both.tasks[&new].input.generation, 2);
        assert_eq!(found.tasks[&new].input.task_key, new);
        let inputs: Vec<_> = found.partitions[0].inputs.iter().collect();
        assert_eq!(inputs.len(), 1);
        assert_eq!(inputs[0].task_key, new);
    }
}
