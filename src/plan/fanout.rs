//! Parent rows become child tasks: meetings become participant exports, participants become quality exports.
//!
//! Pure: rows in, tasks and coverage out. What a bound leaves out is counted by reason and never silent.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::priority;
use crate::dataset::Dataset;
use crate::job::{FanOutOrder, JobSpec};
use crate::ledger::{OpenTask, Parent};
use crate::task::{Lineage, ParticipantId, Request, TaskKey, TaskSpec};
use crate::window::Window;

/// How many parents there were, and what became of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Distinct parent rows of the window.
    pub parents: u64,
    /// Of these, exported or about to be.
    pub planned: u64,
    /// Left out: the meeting has no end yet.
    pub not_ended: u64,
    /// Left out: the participant has neither a user id nor a room id (guests, rooms, PSTN), so the API cannot be asked.
    pub no_id: u64,
    /// Left out: fewer participants than the job wants.
    pub below_min_participants: u64,
    /// Left out: not in the sample.
    pub not_sampled: u64,
    /// Left out of this run: more than the job allows in one run.
    pub over_max_tasks: u64,
}

impl Coverage {
    /// Whether a bound of the job left anything out.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.below_min_participants + self.not_sampled + self.over_max_tasks > 0
    }

    /// Adds another window's counts.
    pub const fn add(&mut self, other: &Self) {
        self.parents += other.parents;
        self.planned += other.planned;
        self.not_ended += other.not_ended;
        self.no_id += other.no_id;
        self.below_min_participants += other.below_min_participants;
        self.not_sampled += other.not_sampled;
        self.over_max_tasks += other.over_max_tasks;
    }
}

/// What is known of a child task that was planned before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its generation.
    pub generation: u32,
    /// Rows that it brought; `None` while it has not ended well.
    pub rows: Option<u64>,
}

/// The children of a window.
#[derive(Clone, Debug, Default)]
pub struct FanOut {
    /// Tasks to record; those already known keep their generation, except that an empty one is tried a second time, and an
    /// implausibly short one at each look.
    pub tasks: Vec<OpenTask>,
    /// Keys of every child whose parent exists, planned or left out: all others are withdrawn.
    pub live: HashSet<TaskKey>,
    /// What became of each parent.
    pub coverage: Coverage,
}

/// The children of the meetings (or participants) that start in `window`. `budget` is what is left of the job's tasks for this run.
pub fn children(
    job: &JobSpec,
    tenant: &str,
    window: &Window,
    parents: &[Parent],
    known: &HashMap<TaskKey, Known>,
    budget: &mut u64,
) -> FanOut {
    let mut fan_out = FanOut::default();
    let sizes = meeting_sizes(parents);
    let mut candidates = Vec::new();
    for parent in distinct(job.dataset, parents) {
        fan_out.coverage.parents += 1;
        let Some(end) = parent.end else {
            fan_out.coverage.not_ended += 1;
            continue;
        };
        let Some((request, lineage)) = request(job, parent, end) else {
            fan_out.coverage.no_id += 1;
            continue;
        };
        let spec = TaskSpec::new(tenant, *window, request, lineage);
        if !fan_out.live.insert(spec.key.clone()) {
            fan_out.coverage.parents -= 1;
            continue;
        }
        let size = parent
            .participant_count
            .unwrap_or_else(|| sizes.get(&meeting(parent)).copied().unwrap_or(0));
        if job
            .fan_out
            .min_participants
            .is_some_and(|least| size < least)
        {
            fan_out.coverage.below_min_participants += 1;
        } else if job
            .fan_out
            .sample
            .is_some_and(|share| !is_sampled(&spec.key, share))
        {
            fan_out.coverage.not_sampled += 1;
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
        if known.is_none() {
            if *budget == 0 {
                fan_out.coverage.over_max_tasks += 1;
                continue;
            }
            *budget -= 1;
        }
        fan_out.coverage.planned += 1;
        fan_out.tasks.push(OpenTask {
            priority: priority(job.dataset, value),
            generation: generation(job, known, counted),
            spec,
        });
    }
    fan_out
}

/// A child runs again only if its parent changed (then its key did), once if it came back empty, and each time if it has implausibly few rows.
fn generation(job: &JobSpec, known: Option<&Known>, counted: Option<i64>) -> u32 {
    let Some(known) = known else { return 1 };
    let counted = counted.and_then(|counted| u64::try_from(counted).ok());
    let is_short = known
        .rows
        .zip(counted)
        .is_some_and(|(rows, counted)| job.check.is_short(rows, counted));
    let was_empty = known.rows == Some(0) && known.generation == 1;
    known.generation + u32::from(is_short || was_empty)
}

fn request(job: &JobSpec, parent: &Parent, end: Timestamp) -> Option<(Request, Lineage)> {
    let span = i64::try_from(job.dataset.max_span().as_secs()).unwrap_or(i64::MAX);
    let end_s = end.as_second();
    // The participants of a meeting longer than the span are asked for by its last day, which was seen to work; quality names one stay by
    // exact times, so it gets the meeting's own: a refusal is loud, a stay that is not found would be an empty sheet.
    let start_s = parent.start.as_second().max(end_s - span);
    let user_id_type = job.options.user_id_type;
    let meeting_no = parent.meeting_no.clone();
    let lineage = Lineage {
        meeting_no: Some(meeting_no.clone()),
        meeting_start_time: Some(parent.start),
        meeting_end_time: Some(end),
        ..Lineage::default()
    };
    if job.dataset == Dataset::ParticipantList {
        return Some((
            Request::ParticipantList {
                meeting_no,
                start: start_s,
                end: end_s,
                user_id_type,
            },
            lineage,
        ));
    }
    let participant = match (&parent.user_id, &parent.room_id) {
        (Some(user), _) => ParticipantId::UserId(user.clone()),
        (None, Some(room)) => ParticipantId::RoomId(room.clone()),
        (None, None) => return None,
    };
    let join_time = parent.join_time?;
    let lineage = Lineage {
        meeting_end_time: None,
        join_time: Some(join_time),
        user_id: match &participant {
            ParticipantId::UserId(user) => Some(user.clone()),
            ParticipantId::RoomId(_) => None,
        },
        room_id: match &participant {
            ParticipantId::RoomId(room) => Some(room.clone()),
            ParticipantId::UserId(_) => None,
        },
        ..lineage
    };
    let join_time = join_time.as_second();
    let request = Request::ParticipantQualityList {
        meeting_no,
        start: parent.start.as_second(),
        end: end_s,
        join_time,
        participant,
        user_id_type,
    };
    Some((request, lineage))
}

/// The same meeting seen by two tasks (it crosses midnight) is one parent; the same meeting with another end is another.
fn distinct(child: Dataset, parents: &[Parent]) -> Vec<&Parent> {
    let mut seen = HashSet::new();
    parents
        .iter()
        .filter(|parent| match child {
            Dataset::ParticipantList => {
                seen.insert((&parent.meeting_no, parent.start, parent.end, None, 0, 0))
            }
            _ => {
                let id = parent.user_id.as_ref().or(parent.room_id.as_ref());
                // Participants without an id cannot be told apart by what is kept of them; each row counts.
                let row = if id.is_none() { parent.source_row } else { 0 };
                let join = parent.join_time.map_or(0, Timestamp::as_second);
                seen.insert((&parent.meeting_no, parent.start, parent.end, id, join, row))
            }
        })
        .collect()
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

/// Whether a task is in a sample of `share`: decided by its key, so that every run and every machine decides alike.
fn is_sampled(key: &TaskKey, share: f64) -> bool {
    let head = u32::from_str_radix(key.as_str().get(..8).unwrap_or("0"), 16).unwrap_or(0);
    f64::from(head) < share * f64::from(u32::MAX)
}

/// Digest of the parent rows of a window: when it changes, the fan-out is made again.
#[must_use]
pub fn digest(parents: &[Parent]) -> String {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    for parent in parents {
        hash.update(format!("{parent:?}\n"));
    }
    crate::task::hex(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::super::tests::job;
    use super::*;

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

    fn fan(
        job: &JobSpec,
        parents: &[Parent],
        known: &HashMap<TaskKey, Known>,
        mut budget: u64,
    ) -> FanOut {
        children(job, "acme", &window(), parents, known, &mut budget)
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
        let Request::ParticipantList { start, end, .. } = spec.request else {
            panic!("participants")
        };
        assert_eq!(
            (start, end, spec.lineage.meeting_start_time),
            (3_600, 90_000, Some(at(0)))
        );
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
            let known = HashMap::from([(key.clone(), Known { generation, rows })]);
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
            let known = Known {
                generation: 7,
                rows: Some(rows),
            };
            let known = HashMap::from([(key.clone(), known)]);
            let task = &fan(&job, &meetings, &known, 0).tasks[0];
            assert_eq!(task.generation, expected, "{rows} rows of 10 participants");
        }
    }
}
