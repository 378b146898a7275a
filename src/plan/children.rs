//! Parent rows become child tasks: meetings become participant exports, participants become quality
//! exports.
//!
//! What a bound leaves out is counted by reason and never silent.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use super::priority;
use crate::datasets::{Ask, Parent, ParentIdentity, Siblings};
use crate::findings::Findings;
use crate::job::{FanOutOrder, JobSpec};
use crate::record::{Coverage, OpenTask, Phase, PhaseCounts, TaskRow, WindowRow, WindowState};
use crate::task::{TaskKey, TaskOwner, TaskSpec};
use crate::window::Window;

/// Whether the children of a window can be planned, as far as the parent's window says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentWindow {
    /// Its rows are known: they are published, or at least some of them are and no more come now.
    Ready,
    /// It is not known, not exported or not published yet.
    NotYet,
    /// Nobody asks for it, so nobody asks for its children.
    LeftOut(WindowState),
}

impl ParentWindow {
    /// Where the parent's window stands; `tasks` are the phases of its tasks.
    #[must_use]
    pub fn of(row: Option<&WindowRow>, tasks: &PhaseCounts) -> Self {
        match row.map(|row| row.state) {
            Some(WindowState::Settled) => Self::Ready,
            Some(WindowState::Stuck) if tasks.has(Phase::Published) => Self::Ready,
            Some(state @ (WindowState::Skipped | WindowState::Lost)) => Self::LeftOut(state),
            Some(WindowState::Due | WindowState::Planned | WindowState::Stuck) | None => {
                Self::NotYet
            }
        }
    }
}

/// What is left of the tasks that a job may plan in one run, over all its windows. A child that was
/// planned before costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(Option<u64>);

impl Budget {
    /// The budget of one run of `job`.
    #[must_use]
    pub fn of(job: &JobSpec) -> Self {
        Self(job.fan_out.max_tasks_per_run.map(u64::from))
    }

    /// No bound: for asking what the children are, without planning them.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self(None)
    }

    /// Takes one task from the budget; `false` if nothing is left.
    const fn take(&mut self) -> bool {
        match &mut self.0 {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// What is known of a child task that was planned before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownChild {
    /// Its generation.
    pub generation: u32,
    /// Rows that it brought; `None` while it has not ended well.
    pub rows: Option<u64>,
    /// Whether rows of it may say something else by now.
    pub is_provisional: bool,
}

/// The children of a window that were planned before, by key.
pub type KnownChildren = HashMap<TaskKey, KnownChild>;

/// The known children among a window's tasks. A withdrawn task is as good as unknown.
#[must_use]
pub fn known_children(tasks: &[TaskRow]) -> KnownChildren {
    let known = |task: &TaskRow| KnownChild {
        generation: task.generation,
        rows: task.rows.filter(|_| task.phase == Phase::Published),
        is_provisional: is_provisional(task),
    };
    tasks
        .iter()
        .filter(|task| task.phase != Phase::Withdrawn)
        .map(|task| (task.spec.key.clone(), known(task)))
        .collect()
}

/// The known children, to be left as they are: what was told of them once more is no reason to ask
/// again.
#[must_use]
pub fn left_alone(mut known: KnownChildren) -> KnownChildren {
    for child in known.values_mut() {
        (child.rows, child.is_provisional) = (None, false);
    }
    known
}

/// The known children of a window that is planned for the first time, which were asked for early.
/// What is told right after a meeting may lack some of it, and the night is the truth. So all of
/// them are asked for once more.
#[must_use]
pub fn asked_early(mut known: KnownChildren) -> KnownChildren {
    for child in known.values_mut() {
        child.is_provisional = true;
    }
    known
}

/// Whether another answer may say something else: rows of it were provisional, or it could not be
/// taken and costs no export to ask for again.
fn is_provisional(task: &TaskRow) -> bool {
    let findings = task.findings.as_ref();
    match task.phase {
        Phase::Published => findings.is_some_and(|findings| findings.rows_provisional > 0),
        Phase::Quarantined => !task.spec.request.source().is_export(),
        _ => false,
    }
}

/// The known children of a window that a person asks for once more: all that have an answer, where
/// answers may stay unfinished. Of any other dataset the same parent gives the same answer, and
/// most cost an export each.
#[must_use]
pub fn asked_again(job: &JobSpec, mut known: KnownChildren) -> KnownChildren {
    if job.dataset.definition().provisional.is_none() {
        return known;
    }
    for child in known.values_mut() {
        child.is_provisional |= child.rows.is_some();
    }
    known
}

/// Rows of a window's answers that tell of something unfinished.
#[must_use]
pub fn unfinished_rows(tasks: &[TaskRow]) -> u64 {
    let findings = findings_of_answers(tasks);
    findings.map(|findings| findings.rows_unfinished).sum()
}

/// Items of a window's answers that are hidden from the app.
#[must_use]
pub fn hidden_items(tasks: &[TaskRow]) -> u64 {
    let findings = findings_of_answers(tasks);
    findings.map(|findings| findings.items_hidden).sum()
}

fn findings_of_answers(tasks: &[TaskRow]) -> impl Iterator<Item = &Findings> {
    let is_answered = |task: &&TaskRow| matches!(task.phase, Phase::Spooled | Phase::Published);
    let answers = tasks.iter().filter(is_answered);
    answers.filter_map(|task| task.findings.as_ref())
}

/// The children of a window.
#[derive(Clone, Debug, Default)]
pub struct Children {
    /// Tasks to record. Those already known keep their generation, except that an empty one is
    /// tried a second time, and an implausibly short one at each look.
    pub tasks: Vec<OpenTask>,
    /// Of these, the tasks that were not known, or not in this generation.
    pub new_tasks: u64,
    /// Keys of every child whose parent exists, planned or left out: all others are withdrawn.
    pub live: HashSet<TaskKey>,
    /// What became of each parent.
    pub coverage: Coverage,
    /// Digest of the parent rows they were planned from.
    pub digest: String,
}

impl Children {
    /// Whether exactly these children were planned before, in whatever generation.
    #[must_use]
    pub fn are_those_known(&self, known: &KnownChildren) -> bool {
        let is_known = |task: &OpenTask| known.contains_key(&task.spec.key);
        self.tasks.iter().all(is_known) && known.keys().all(|key| self.live.contains(key))
    }
}

/// Whether a child's window has to be planned again, because the parent rows it was planned from
/// are not the ones of `digest`.
#[must_use]
pub fn must_be_planned_again(row: &WindowRow, digest: &str) -> bool {
    row.state.has_ended() && row.parents.as_deref() != Some(digest)
}

/// The state of a child's window whose tasks ended in `state`. While they were under way, its
/// parents may have become others than those it was planned from: then it is planned once more.
#[must_use]
pub fn ended_as(row: &WindowRow, digest: &str, state: WindowState) -> WindowState {
    match row.parents.as_deref() {
        Some(known) if known != digest => WindowState::Due,
        _ => state,
    }
}

/// The children of the meetings (or participants) that start in `window`.
pub fn children(
    job: &JobSpec,
    owner: TaskOwner<'_>,
    window: &Window,
    parents: &[Parent],
    known: &KnownChildren,
    budget: &mut Budget,
) -> Children {
    let mut children = Children {
        digest: digest(parents),
        ..Children::default()
    };
    let Ask::Parents {
        identity,
        request,
        has_child,
        ..
    } = job.dataset.definition().ask
    else {
        return children;
    };
    let sizes = meeting_sizes(parents);
    let mut candidates = Vec::new();
    let mut asked_for: Vec<&Parent> = parents.iter().filter(|parent| has_child(parent)).collect();
    asked_for.sort_by_key(|parent| values(parent));
    for all in alike(&asked_for, identity) {
        let parent = all[0];
        children.coverage.parents += 1;
        let Some(end) = all.iter().filter_map(|parent| parent.end).max() else {
            children.coverage.not_ended += 1;
            continue;
        };
        let siblings = Siblings {
            first: parent,
            all: &all,
            end,
        };
        let Some((request, lineage)) = request(&siblings, &job.options) else {
            children.coverage.no_id += 1;
            continue;
        };
        let spec = TaskSpec::new(owner, *window, request, lineage);
        if !children.live.insert(spec.key.clone()) {
            children.coverage.parents -= 1;
            continue;
        }
        // Of several meetings the largest: what is left out for it, all of them are.
        let counted = all.iter().filter_map(|parent| parent.participant_count);
        let size = counted.max();
        let size = size.unwrap_or_else(|| sizes.get(&meeting(parent)).copied().unwrap_or(0));
        if job
            .fan_out
            .min_participants
            .is_some_and(|least| size < least)
        {
            children.coverage.below_min_participants += 1;
        } else if job
            .fan_out
            .sample
            .is_some_and(|share| !is_sampled(&spec, share))
        {
            children.coverage.not_sampled += 1;
        } else {
            let value = match job.fan_out.order {
                FanOutOrder::Newest => parent.join_time.unwrap_or(parent.start).as_second(),
                FanOutOrder::Largest => parent.stay_s.unwrap_or(size),
            };
            candidates.push((value, spec, parent.participant_count));
        }
    }
    candidates
        .sort_by(|(a, left, _), (b, right, _)| b.cmp(a).then_with(|| left.key.cmp(&right.key)));
    for (value, spec, counted) in candidates {
        let known = known.get(&spec.key);
        if known.is_none() && !budget.take() {
            children.coverage.over_max_tasks += 1;
            continue;
        }
        let generation = generation(job, known, counted);
        children.coverage.planned += 1;
        children.new_tasks += u64::from(known.is_none_or(|known| known.generation < generation));
        children.tasks.push(OpenTask {
            priority: priority(job.dataset, value),
            generation,
            spec,
        });
    }
    children
}

/// A child runs again only if its parent changed (then its key did), once if it came back empty,
/// and each time if it has implausibly few rows or provisional ones.
fn generation(job: &JobSpec, known: Option<&KnownChild>, counted: Option<i64>) -> u32 {
    let Some(known) = known else { return 1 };
    let counted = counted.and_then(|counted| u64::try_from(counted).ok());
    let is_short = known
        .rows
        .zip(counted)
        .is_some_and(|(rows, counted)| job.check.is_short(rows, counted));
    let was_empty = known.rows == Some(0) && known.generation == 1;
    known.generation + u32::from(is_short || was_empty || known.is_provisional)
}

/// What a parent's row says, whatever its place in its sheet.
fn values(parent: &Parent) -> impl Ord + use<'_> {
    let meeting = (parent.start, &parent.meeting_no, parent.end);
    let participant = (
        &parent.user_id,
        &parent.room_id,
        parent.join_time,
        &parent.device,
    );
    (
        meeting,
        participant,
        parent.stay_s,
        parent.participant_count,
        (&parent.meeting_id, parent.was_recorded),
    )
}

/// The rows with one identity together, in the order in which they come.
fn alike<'p>(
    rows: &[&'p Parent],
    identity: for<'r> fn(&'r Parent) -> ParentIdentity<'r>,
) -> Vec<Vec<&'p Parent>> {
    let mut groups: Vec<Vec<&Parent>> = Vec::new();
    let mut places: HashMap<ParentIdentity<'_>, usize> = HashMap::new();
    for &row in rows {
        match places.entry(identity(row)) {
            Entry::Occupied(place) => groups[*place.get()].push(row),
            Entry::Vacant(place) => {
                place.insert(groups.len());
                groups.push(vec![row]);
            }
        }
    }
    groups
}

fn meeting(parent: &Parent) -> (String, Timestamp) {
    (parent.meeting_no.clone(), parent.start)
}

fn meeting_sizes(parents: &[Parent]) -> BTreeMap<(String, Timestamp), i64> {
    let mut sizes = BTreeMap::new();
    for parent in parents
        .iter()
        .filter(|parent| parent.participant_count.is_none())
    {
        *sizes.entry(meeting(parent)).or_insert(0) += 1;
    }
    sizes
}

/// Whether a task is in a sample of `share`: decided by its request, so that every run and every
/// machine decides alike.
fn is_sampled(spec: &TaskSpec, share: f64) -> bool {
    let place = TaskKey::sample_of(&spec.tenant, &spec.request);
    f64::from(place) < share * f64::from(u32::MAX)
}

/// Digest of the parent rows of a window: when it changes, the fan-out is made again. It does not
/// depend on the order in which Feishu lists them, which may differ from export to export.
#[must_use]
pub fn digest(parents: &[Parent]) -> String {
    use sha2::{Digest as _, Sha256};
    let mut parents: Vec<&Parent> = parents.iter().collect();
    parents.sort_by_key(|parent| values(parent));
    let mut hash = Sha256::new();
    for parent in parents {
        hash.update(digested(parent));
    }
    crate::task::hex(&hash.finalize()[..16])
}

/// What is hashed of a row. Ledgers hold the digest, so that what is said here of a row never
/// changes: a column that came later stands at the end, and only where it has a value.
fn digested(row: &Parent) -> String {
    let Parent {
        source_row: _,
        meeting_no,
        start,
        end,
        participant_count,
        join_time,
        stay_s,
        user_id,
        room_id,
        device,
        meeting_id,
        was_recorded,
    } = row;
    let later = match (meeting_id, was_recorded) {
        (None, None) => String::new(),
        later => format!(" {later:?}"),
    };
    format!(
        "Parent {{ source_row: 0, meeting_no: {meeting_no:?}, start: {start:?}, end: {end:?}, \
         participant_count: {participant_count:?}, join_time: {join_time:?}, stay_s: {stay_s:?}, \
         user_id: {user_id:?}, room_id: {room_id:?}, device: {device:?} }}{later}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Dataset;
    use crate::plan::tests::{job, owner, task_row, window_row};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn window() -> Window {
        Window::new(at(0), at(86_400)).expect("a day")
    }

    fn a_meeting(no: &str, start: i64, end: Option<i64>, count: i64) -> Parent {
        Parent {
            source_row: 2,
            meeting_no: no.into(),
            start: at(start),
            end: end.map(at),
            participant_count: Some(count),
            join_time: None,
            stay_s: None,
            user_id: None,
            room_id: None,
            device: None,
            meeting_id: None,
            was_recorded: None,
        }
    }

    fn a_participant(user: Option<&str>, join: i64, row: i64) -> Parent {
        Parent {
            source_row: row,
            participant_count: None,
            join_time: Some(at(join)),
            stay_s: Some(60),
            user_id: user.map(str::to_owned),
            ..a_meeting("123456789", 100, Some(200), 0)
        }
    }

    fn fan(job: &JobSpec, parents: &[Parent], known: &KnownChildren, budget: u64) -> Children {
        let mut budget = Budget(Some(budget));
        children(job, owner(), &window(), parents, known, &mut budget)
    }

    /// The device is part of the key of a stay, but not of what a task is made of.
    #[test]
    fn of_a_stay_with_two_devices_it_is_always_the_same_one() {
        let on = |device: &str, row| Parent {
            device: Some(device.to_owned()),
            ..a_participant(Some("e1"), 120, row)
        };
        let (phone, tablet) = (on("phone", 2), on("tablet", 3));
        for parents in [[phone.clone(), tablet.clone()], [tablet, phone]] {
            let job = job(Dataset::ParticipantQualityList);
            let children = fan(&job, &parents, &HashMap::new(), u64::MAX);
            let devices = children
                .tasks
                .into_iter()
                .map(|task| task.spec.lineage.device);
            assert!(devices.eq([Some("phone".to_owned())]));
        }
    }

    #[test]
    fn every_ended_meeting_is_asked_for_once() {
        let meetings = [
            a_meeting("1", 10, Some(20), 2),
            a_meeting("1", 10, Some(20), 2),
            a_meeting("2", 30, None, 3),
        ];
        let fan_out = fan(
            &job(Dataset::ParticipantList),
            &meetings,
            &HashMap::new(),
            u64::MAX,
        );
        assert_eq!(fan_out.tasks.len(), 1);
        let expected = Coverage {
            parents: 2,
            planned: 1,
            not_ended: 1,
            ..Coverage::default()
        };
        assert_eq!(fan_out.coverage, expected);
    }

    #[test]
    fn a_meeting_of_25_hours_is_asked_for_by_its_last_day_and_keeps_its_start() {
        let fan_out = fan(
            &job(Dataset::ParticipantList),
            &[a_meeting("1", 0, Some(90_000), 2)],
            &HashMap::new(),
            u64::MAX,
        );
        let spec = &fan_out.tasks[0].spec;
        let asked = (spec.request.start, spec.request.end);
        assert_eq!(asked, (Some(3_600), Some(90_000)));
        assert_eq!(spec.lineage.meeting_start_time, Some(at(0)));
    }

    #[test]
    fn participants_without_an_id_are_counted_and_not_asked_for() {
        let parents = [
            a_participant(Some("u1"), 110, 2),
            a_participant(None, 110, 3),
            a_participant(None, 110, 4),
        ];
        let fan_out = fan(
            &job(Dataset::ParticipantQualityList),
            &parents,
            &HashMap::new(),
            u64::MAX,
        );
        let expected = Coverage {
            parents: 3,
            planned: 1,
            no_id: 2,
            ..Coverage::default()
        };
        assert_eq!((fan_out.tasks.len(), fan_out.coverage), (1, expected));
    }

    #[test]
    fn what_a_bound_leaves_out_is_counted_and_stays_alive() {
        let mut job = job(Dataset::ParticipantList);
        job.fan_out.min_participants = Some(3);
        job.fan_out.order = FanOutOrder::Largest;
        let meetings = [
            a_meeting("1", 10, Some(20), 2),
            a_meeting("2", 10, Some(20), 5),
            a_meeting("3", 10, Some(20), 9),
        ];
        let fan_out = fan(&job, &meetings, &HashMap::new(), 1);
        assert_eq!(fan_out.coverage.below_min_participants, 1);
        assert_eq!(fan_out.coverage.over_max_tasks, 1);
        assert_eq!(
            fan_out.tasks[0].spec.lineage.meeting_no.as_deref(),
            Some("3"),
            "the largest first"
        );
        assert_eq!(fan_out.live.len(), 3);
        assert!(fan_out.coverage.is_bounded());
    }

    #[test]
    fn a_sample_is_the_same_every_time_and_about_as_large_as_asked() {
        let mut job = job(Dataset::ParticipantList);
        job.fan_out.sample = Some(0.25);
        let meetings: Vec<_> = (0..4000)
            .map(|n| a_meeting(&n.to_string(), 10, Some(20), 2))
            .collect();
        let first = fan(&job, &meetings, &HashMap::new(), u64::MAX);
        let second = fan(&job, &meetings, &HashMap::new(), u64::MAX);
        assert_eq!(first.tasks.len(), second.tasks.len());
        assert!(
            (800..1200).contains(&first.tasks.len()),
            "{}",
            first.tasks.len()
        );
    }

    #[test]
    fn an_empty_child_is_tried_a_second_time_and_never_a_third() {
        let job = job(Dataset::ParticipantList);
        let mut meetings = [a_meeting("1", 10, Some(20), 2)];
        meetings[0].participant_count = None;
        let key = fan(&job, &meetings, &HashMap::new(), u64::MAX).tasks[0]
            .spec
            .key
            .clone();
        let generation_after = |generation, rows| {
            let rows = Some(rows);
            let known = KnownChild {
                generation,
                rows,
                is_provisional: false,
            };
            let known = HashMap::from([(key.clone(), known)]);
            fan(&job, &meetings, &known, 0).tasks[0].generation
        };
        assert_eq!(
            (
                generation_after(1, 2),
                generation_after(1, 0),
                generation_after(2, 0)
            ),
            (1, 2, 2)
        );
    }

    #[test]
    fn a_child_with_implausibly_few_rows_is_tried_at_each_look() {
        let job = job(Dataset::ParticipantList);
        let meetings = [a_meeting("1", 10, Some(20), 10)];
        let key = fan(&job, &meetings, &HashMap::new(), u64::MAX).tasks[0]
            .spec
            .key
            .clone();
        for (rows, expected) in [(0, 8), (4, 8), (5, 7), (12, 7)] {
            let known = KnownChild {
                generation: 7,
                rows: Some(rows),
                is_provisional: false,
            };
            let known = HashMap::from([(key.clone(), known)]);
            let task = &fan(&job, &meetings, &known, 0).tasks[0];
            assert_eq!(task.generation, expected, "{rows} rows of 10 participants");
        }
    }

    #[test]
    fn what_may_change_is_asked_for_at_each_look() {
        let job = job(Dataset::Recording);
        let recorded = Parent {
            meeting_id: Some("7".into()),
            was_recorded: Some(true),
            ..a_meeting("1", 10, Some(20), 2)
        };
        let meetings = [recorded];
        let key = fan(&job, &meetings, &HashMap::new(), u64::MAX).tasks[0]
            .spec
            .key
            .clone();
        for (is_provisional, expected) in [(true, 8), (false, 7)] {
            let known = KnownChild {
                generation: 7,
                rows: Some(1),
                is_provisional,
            };
            let known = HashMap::from([(key.clone(), known)]);
            let task = &fan(&job, &meetings, &known, 0).tasks[0];
            assert_eq!(task.generation, expected);
        }
    }

    #[test]
    fn only_recorded_meetings_are_asked_for_their_recording() {
        let meeting = |id: Option<&str>, was_recorded| Parent {
            meeting_id: id.map(str::to_owned),
            was_recorded,
            ..a_meeting("1", 10, Some(20), 2)
        };
        let meetings = [
            meeting(Some("7"), Some(true)),
            meeting(Some("8"), Some(false)),
            meeting(Some("9"), None),
            meeting(None, Some(true)),
        ];
        let planned = |dataset| {
            let children = fan(&job(dataset), &meetings, &HashMap::new(), u64::MAX);
            let coverage = children.coverage;
            let ids = children.tasks.into_iter().map(|task| task.spec.request);
            let mut ids: Vec<_> = ids.filter_map(|request| request.meeting_id).collect();
            ids.sort();
            (ids, coverage.parents, coverage.no_id)
        };
        assert_eq!(planned(Dataset::Recording), (vec!["7".to_owned()], 2, 1));
        let all = ["7", "8", "9"].map(str::to_owned).to_vec();
        assert_eq!(planned(Dataset::MeetingParticipant), (all, 4, 1));
    }

    #[test]
    fn a_number_is_asked_for_once_until_the_list_has_another_meeting_of_it() {
        let mut meetings = vec![
            a_meeting("1", 30, Some(40), 2),
            a_meeting("1", 10, Some(20), 3),
            a_meeting("2", 10, None, 3),
        ];
        let planned =
            |meetings: &[Parent]| fan(&job(Dataset::Meeting), meetings, &HashMap::new(), u64::MAX);
        let before = planned(&meetings);
        assert_eq!((before.tasks.len(), before.coverage.not_ended), (1, 1));
        meetings.swap(0, 1);
        let alike = planned(&meetings);
        assert_eq!(before.tasks, alike.tasks);
        meetings.push(a_meeting("1", 50, Some(60), 2));
        let after = planned(&meetings);
        assert_eq!(after.tasks.len(), 1);
        assert_ne!(before.tasks[0].spec.key, after.tasks[0].spec.key);
        assert!(!after.live.contains(&before.tasks[0].spec.key));
    }

    /// Ledgers hold digests. The text that is hashed was written down before rows told more.
    #[test]
    fn the_digest_of_rows_never_changes() {
        let text = "Parent { source_row: 0, meeting_no: \"1\", start: 1970-01-01T00:00:10Z, \
                    end: Some(1970-01-01T00:00:20Z), participant_count: Some(2), join_time: None, \
                    stay_s: None, user_id: Some(\"u\"), room_id: None, device: None }\n";
        let mut row = a_meeting("1", 10, Some(20), 2);
        row.user_id = Some("u".into());
        assert_eq!(digested(&row), text);
        row.meeting_id = Some("7".into());
        let later = digested(&row);
        assert_eq!(later, format!("{} (Some(\"7\"), None)\n", text.trim_end()));
    }

    #[test]
    fn children_wait_for_rows_of_their_parent() {
        use ParentWindow::{LeftOut, NotYet, Ready};
        use WindowState::*;
        let table: [(Option<WindowState>, &[Phase], ParentWindow); 10] = [
            (None, &[], NotYet),
            (Some(Due), &[], NotYet),
            (Some(Planned), &[Phase::Published, Phase::Open], NotYet),
            (Some(Settled), &[], Ready),
            (Some(Settled), &[Phase::Published], Ready),
            (Some(Stuck), &[Phase::Failed], NotYet),
            (Some(Stuck), &[Phase::Failed, Phase::Quarantined], NotYet),
            (Some(Stuck), &[Phase::Failed, Phase::Published], Ready),
            (Some(Skipped), &[], LeftOut(Skipped)),
            (Some(Lost), &[Phase::Published], LeftOut(Lost)),
        ];
        for (state, phases, expected) in table {
            let row = state.map(|state| window_row(Dataset::MeetingList, window(), state));
            let counts = phases.iter().copied().collect();
            assert_eq!(
                ParentWindow::of(row.as_ref(), &counts),
                expected,
                "{state:?} {phases:?}"
            );
        }
    }

    #[test]
    fn one_budget_serves_all_windows_of_a_job_and_known_children_cost_nothing() {
        let mut job = job(Dataset::ParticipantList);
        let meetings: Vec<_> = (0..3)
            .map(|n| a_meeting(&n.to_string(), 10, Some(20), 2))
            .collect();
        let all = fan(&job, &meetings, &HashMap::new(), u64::MAX);
        let known = all.tasks.iter().take(2).map(|task| {
            let known = KnownChild {
                generation: 1,
                rows: None,
                is_provisional: false,
            };
            (task.spec.key.clone(), known)
        });
        let known: KnownChildren = known.collect();
        job.fan_out.max_tasks_per_run = Some(2);
        let mut budget = Budget::of(&job);
        let mut planned = || {
            let found = children(&job, owner(), &window(), &meetings, &known, &mut budget);
            (
                found.coverage.planned,
                found.new_tasks,
                found.coverage.over_max_tasks,
            )
        };
        assert_eq!(planned(), (3, 1, 0));
        assert_eq!(planned(), (3, 1, 0));
        assert_eq!(planned(), (2, 0, 1), "two windows took what there was");
        assert_eq!(
            Budget::of(&crate::plan::tests::job(Dataset::ParticipantList)),
            Budget::unlimited()
        );
    }

    #[test]
    fn children_are_those_known_if_none_is_missing_and_none_has_lost_its_parent() {
        let job = job(Dataset::ParticipantList);
        let meetings = [
            a_meeting("1", 10, Some(20), 2),
            a_meeting("2", 10, Some(20), 2),
        ];
        let both = fan(&job, &meetings, &HashMap::new(), u64::MAX);
        let known = |children: &Children| -> KnownChildren {
            let keys = children.tasks.iter().map(|task| task.spec.key.clone());
            let known = KnownChild {
                generation: 3,
                rows: Some(1),
                is_provisional: false,
            };
            keys.map(|key| (key, known)).collect()
        };
        let one = fan(&job, &meetings[..1], &HashMap::new(), u64::MAX);
        assert!(both.are_those_known(&known(&both)));
        assert!(!both.are_those_known(&known(&one)), "one is missing");
        assert!(
            !one.are_those_known(&known(&both)),
            "one has lost its parent"
        );
    }

    #[test]
    fn a_window_whose_parents_changed_under_way_is_planned_once_more() {
        use WindowState::{Due, Settled, Stuck};
        let planned = WindowState::Planned;
        let mut row = window_row(Dataset::MeetingParticipant, window(), planned);
        for (planned_from, state, expected) in [
            (Some("a"), Settled, Settled),
            (Some("a"), Stuck, Stuck),
            (Some("b"), Settled, Due),
            (Some("b"), Stuck, Due),
            (None, Settled, Settled),
        ] {
            row.parents = planned_from.map(str::to_owned);
            assert_eq!(ended_as(&row, "a", state), expected, "{planned_from:?}");
        }
    }

    #[test]
    fn an_ended_window_is_planned_again_when_its_parent_rows_changed() {
        let digest = digest(&[a_meeting("1", 10, Some(20), 2)]);
        assert_ne!(digest, super::digest(&[a_meeting("1", 10, Some(21), 2)]));
        let people = [
            a_participant(Some("ou_1"), 110, 0),
            a_participant(Some("ou_2"), 110, 1),
            a_participant(None, 110, 2),
        ];
        let mut listed_otherwise = people.clone();
        listed_otherwise.reverse();
        for (row, parent) in (0..).zip(&mut listed_otherwise) {
            parent.source_row = row;
        }
        assert_eq!(super::digest(&people), super::digest(&listed_otherwise));
        assert_ne!(super::digest(&people), super::digest(&people[..2]));
        for (state, parents, expected) in [
            (WindowState::Settled, Some(digest.as_str()), false),
            (WindowState::Settled, Some("other"), true),
            (WindowState::Stuck, None, true),
            (WindowState::Planned, Some("other"), false),
            (WindowState::Due, None, false),
        ] {
            let mut row = window_row(Dataset::ParticipantList, window(), state);
            row.parents = parents.map(str::to_owned);
            assert_eq!(must_be_planned_again(&row, &digest), expected, "{state:?}");
        }
    }

    #[test]
    fn what_may_stay_unfinished_is_asked_for_again_on_demand_and_nothing_else() {
        for (dataset, rows, is_asked) in [
            (Dataset::Meeting, Some(1), true),
            (Dataset::Recording, Some(0), true),
            // Its answer is still to come.
            (Dataset::Meeting, None, false),
            (Dataset::MeetingParticipant, Some(1), false),
            (Dataset::ParticipantList, Some(1), false),
        ] {
            let child = KnownChild {
                generation: 1,
                rows,
                is_provisional: false,
            };
            let known = HashMap::from([(TaskKey::from_stored("a"), child)]);
            let asked = asked_again(&job(dataset), known);
            let found = asked.values().all(|child| child.is_provisional);
            assert_eq!(found, is_asked, "{dataset} {rows:?}");
        }
    }

    #[test]
    fn a_withdrawn_child_is_unknown_and_rows_count_once_they_are_published() {
        let task = |phase, rows| {
            let mut task = task_row(Dataset::ParticipantList, window(), phase);
            task.generation = 2;
            task.rows = rows;
            task
        };
        let known = |task: TaskRow| known_children(&[task]).into_values().next();
        let child = |rows| {
            Some(KnownChild {
                generation: 2,
                rows,
                is_provisional: false,
            })
        };
        assert_eq!(known(task(Phase::Withdrawn, Some(1))), None);
        assert_eq!(known(task(Phase::Spooled, Some(1))), child(None));
        assert_eq!(known(task(Phase::Published, Some(1))), child(Some(1)));
        assert_eq!(known(task(Phase::Open, None)), child(None));
    }
}
