//! What a partition's next revision is made of, and what keeps it from being complete.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::datasets::{Dataset, SourceMode};
use crate::findings::{Comparison, Findings, FindingsSummary};
use crate::record::{
    Coverage, Input, PartitionRow, Phase, Reason, ReasonKind, SpooledTask, TaskRow, WindowRow,
    WindowState,
};
use crate::task::TaskKey;
use crate::window::{Window, date_of};

/// Everything that is known of a partition's day when it is published.
#[derive(Clone, Debug)]
pub struct DayFacts<'a> {
    /// The civil date.
    pub dt: Date,
    /// The zone in which the tenant's days are cut.
    pub time_zone: &'a TimeZone,
    /// The published revision; `None` if there is none.
    pub published: Option<&'a PartitionRow>,
    /// The windows of the day that somebody asks for.
    pub windows: &'a [WindowRow],
    /// The tasks of these windows.
    pub tasks: &'a [TaskRow],
    /// The tasks whose rows this round publishes, those of other days too.
    pub round: &'a [TaskRow],
    /// The inputs of the published revision; of a day that is cut anew, those that have its rows.
    pub listed: &'a [Input],
    /// Withdrawn tasks of which the published revision has rows, and the source that each asked.
    pub withdrawn: &'a HashMap<TaskKey, SourceMode>,
    /// What speaks against the day elsewhere: counts, and the day of the parent dataset.
    pub against: &'a [Reason],
}

/// The next revision of a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct NextRevision {
    /// Its number.
    pub number: u32,
    /// Whether the published revision lacks nothing.
    pub was_complete: bool,
    /// Whether a publish died before the ledger heard of its end.
    pub has_intent: bool,
    /// Tasks whose spooled rows come in.
    pub add: Vec<SpooledTask>,
    /// Tasks whose published rows go out.
    pub drop: HashSet<TaskKey>,
    /// Tasks whose rows another task's pushed out. The other may have changed or gone, so these are
    /// merged again too, from their archived originals.
    pub restore: Vec<Input>,
    /// Whether a task brought a workbook that the published revision does not name. It may have no
    /// row; a lost ledger must know of it all the same.
    pub has_new_inputs: bool,
    /// Tasks of which rows of the day do not come in, because the day is of the other source, which
    /// has them.
    pub of_other_source: u64,
    /// Every task of the day, those without rows too.
    pub inputs: Vec<Input>,
    /// What keeps the day from being complete; empty if nothing does.
    pub reasons: Vec<Reason>,
    /// What normalizing found in all workbooks of the day.
    pub findings: FindingsSummary,
    /// What the fan-out of the day's windows left out, and what another source says of the day's
    /// rows; `None` if there is neither.
    pub coverage: Option<Coverage>,
    /// Whether another source says something else than the published revision tells.
    pub is_compared_anew: bool,
}

/// The next revision of a partition; `None` if nothing is known of the day yet.
#[must_use]
pub fn next_revision(facts: &DayFacts<'_>) -> Option<NextRevision> {
    let reasons = reasons(facts);
    // While an answer is missing, or a parent, a parent row may only seem to be gone.
    let hides_parents = |reason: &Reason| reason.kind == ReasonKind::ParentPartial;
    let is_all_there =
        missing_answers(facts).is_empty() && !facts.against.iter().any(hides_parents);
    let mode = mode_of_day(facts, is_all_there);
    let mut add = Vec::new();
    let mut inputs = Vec::new();
    let mut of_other_source = 0;
    for task in facts.round {
        let is_of_mode = mode.is_none_or(|mode| task.spec.request.mode == mode);
        let is_of_day = task.dts.contains(&facts.dt);
        of_other_source += u64::from(is_of_day && !is_of_mode);
        let has_rows = is_of_day && is_of_mode;
        if has_rows {
            add.push(SpooledTask {
                key: task.spec.key.clone(),
                generation: task.generation,
            });
        }
        if has_rows || is_home(facts, task) {
            inputs.push(Input::of(task));
        }
    }
    let has_nothing = inputs.is_empty() && facts.listed.is_empty();
    if facts.published.is_none() && has_nothing && !reasons.is_empty() {
        return None;
    }
    let mut drop: HashSet<TaskKey> = keys(facts.round).cloned().collect();
    if is_all_there {
        drop.extend(facts.withdrawn.keys().cloned());
    }
    let listed: HashSet<&TaskKey> = facts.listed.iter().map(|input| &input.task_key).collect();
    let has_new_inputs = inputs.iter().any(|input| !listed.contains(&input.task_key));
    let stays = |input: &&Input| !drop.contains(&input.task_key);
    let kept: Vec<Input> = facts.listed.iter().filter(stays).cloned().collect();
    let is_overridden = |input: &&Input| input.overridden_rows > 0;
    let restore = kept.iter().filter(is_overridden).cloned().collect();
    inputs.extend(kept);
    add_missing(facts, &mut inputs);
    let published = facts.published;
    let before = Coverage::sum(facts.windows);
    let compared = compared(facts.tasks);
    let is_compared_anew =
        before.as_ref().and_then(|before| before.compared.as_ref()) != compared.as_ref();
    let number = published.map_or(0, |row| u32::try_from(row.revision).unwrap_or(u32::MAX - 1));
    Some(NextRevision {
        number: number + 1,
        was_complete: published.is_some_and(|row| row.complete),
        has_intent: published.is_some_and(|row| row.intent.is_some()),
        add,
        drop,
        restore,
        has_new_inputs,
        of_other_source,
        inputs,
        reasons,
        findings: FindingsSummary::of(facts.tasks.iter().filter_map(|t| t.findings.as_ref())),
        coverage: Coverage::compared(before.as_ref(), compared),
        is_compared_anew,
    })
}

/// How the rows of tasks compare with those of the other source; `None` if none was to be asked.
#[must_use]
pub fn compared(tasks: &[TaskRow]) -> Option<Comparison> {
    let asked = tasks.iter().filter(|task| is_asked(task));
    Comparison::sum(asked.filter_map(|task| task.findings.as_ref()?.compared.as_ref()))
}

/// The source that a day's rows come from, which is one: the one that its tasks ask. A day that was
/// asked of the other source stays as it is until all of the new answers are there.
fn mode_of_day(facts: &DayFacts<'_>, is_all_there: bool) -> Option<SourceMode> {
    let mut asked = facts.tasks.iter().filter(|task| is_asked(task));
    let asked = asked.next().map(|task| task.spec.request.mode);
    let mut before = facts.withdrawn.values();
    let other = before.find(|mode| Some(**mode) != asked);
    match other.filter(|_| !is_all_there) {
        Some(other) => Some(*other),
        None => asked,
    }
}

fn is_asked(task: &TaskRow) -> bool {
    task.phase != Phase::Withdrawn
}

/// Whether the rows of a window wait in the spool: the lake has its days from the other source, and
/// not all of the new answers are there. `tasks` and `coverage` are the window's, `before` are the
/// sources of its days.
#[must_use]
pub fn waits_for_all(
    tasks: &[TaskRow],
    coverage: Option<&Coverage>,
    before: impl IntoIterator<Item = SourceMode>,
) -> bool {
    let mut asked = tasks.iter().filter(|task| is_asked(task));
    let is_other = |mode| {
        let of_other = |task: &TaskRow| task.spec.request.mode != mode;
        asked.clone().any(of_other)
    };
    let is_changed = before.into_iter().any(is_other);
    let is_missing = asked.any(|task| !matches!(task.phase, Phase::Spooled | Phase::Published));
    is_changed && (is_missing || coverage.is_some_and(|counts| counts.over_max_tasks > 0))
}

/// What keeps the day from being complete once the tasks of this round are published. It is
/// complete when windows cover every instant of it, each of their tasks brought its answer, and
/// nothing elsewhere speaks against it.
#[must_use]
pub fn reasons(facts: &DayFacts<'_>) -> Vec<Reason> {
    let mut reasons = missing_answers(facts);
    // Until the day is over, that is why there is no plan of it.
    let is_not_over = |reason: &Reason| reason.kind == ReasonKind::NotOver;
    if facts.against.iter().any(is_not_over) {
        reasons.retain(|reason| reason.kind != ReasonKind::NotPlanned);
    }
    let covered = facts.windows.iter().map(|row| row.window);
    reasons.extend(not_covered(facts.time_zone, facts.dt, covered));
    reasons.extend_from_slice(facts.against);
    reasons
}

/// Why a day is not complete that `windows` do not cover; `None` if they do.
#[must_use]
pub fn not_covered(
    zone: &TimeZone,
    dt: Date,
    windows: impl IntoIterator<Item = Window>,
) -> Option<Reason> {
    const MINUTE: u64 = 60;
    let missing = Window::day(zone, dt)?.less(windows);
    if missing.is_empty() {
        return None;
    }
    let seconds: u64 = missing
        .iter()
        .map(|part| part.length().as_secs().unsigned_abs())
        .sum();
    let parts: Vec<String> = missing.iter().map(Window::to_string).collect();
    let detail = format!("no window covers {}", parts.join(", "));
    Some(Reason::with_detail(
        ReasonKind::NotCovered,
        seconds.div_ceil(MINUTE),
        detail,
    ))
}

/// Why a day is not complete whose parent dataset has the day `parent_day` of the same date.
#[must_use]
pub fn parent_partial(parent: Dataset, parent_day: Option<&PartitionRow>) -> Option<Reason> {
    let state = match parent_day.filter(|row| row.revision > 0) {
        Some(row) if row.complete => return None,
        Some(_) => "is partial",
        None => "is not there",
    };
    let detail = format!("not all of its parents are known: the day of {parent} {state}");
    Some(Reason::with_detail(ReasonKind::ParentPartial, 1, detail))
}

/// Why a day of which events told is not complete at `now`: until `due_at` Feishu may send more
/// events of it, and its meetings are those of which events came.
#[must_use]
pub fn not_over(dataset: Dataset, due_at: Timestamp, now: Timestamp) -> Option<Reason> {
    let is_early = dataset.definition().early.is_some();
    if now >= due_at || !(is_early || dataset.is_received()) {
        return None;
    }
    let detail = match is_early {
        true => format!("what events told of so far; the whole day is asked for after {due_at}"),
        false => format!("events of the day may come until {due_at}"),
    };
    Some(Reason::with_detail(ReasonKind::NotOver, 1, detail))
}

/// What keeps the day from being complete, as far as its own windows and tasks say.
fn missing_answers(facts: &DayFacts<'_>) -> Vec<Reason> {
    let in_round: HashSet<&TaskKey> = keys(facts.round).collect();
    let mut counts: BTreeMap<ReasonKind, u64> = BTreeMap::new();
    for task in facts.tasks {
        let kind = match task.phase {
            Phase::Open => ReasonKind::NotExported,
            Phase::Spooled if !in_round.contains(&task.spec.key) => ReasonKind::NotPublished,
            Phase::Quarantined => ReasonKind::Quarantined,
            Phase::Failed => ReasonKind::Failed,
            _ if task.rows_quarantined() > 0 => ReasonKind::RowsWithoutKey,
            Phase::Spooled | Phase::Published | Phase::Withdrawn => continue,
        };
        *counts.entry(kind).or_default() += 1;
    }
    let is_due = |row: &&WindowRow| row.state == WindowState::Due;
    let due = facts.windows.iter().filter(is_due).count() as u64;
    let not_planned = (due > 0).then_some((ReasonKind::NotPlanned, due));
    let counted = not_planned.into_iter().chain(counts);
    counted
        .map(|(kind, count)| Reason::new(kind, count))
        .collect()
}

/// What keeps a day from being complete once its originals were read again: what the record says,
/// but for rows without a key, which another reading may find, or find no more. Tasks in quarantine
/// stay there until somebody tries them again, and are counted as such.
#[must_use]
pub fn reasons_read_again<'f>(
    recorded: &[Reason],
    read: impl IntoIterator<Item = &'f Findings>,
) -> Vec<Reason> {
    let lacks_keys = |findings: &&Findings| findings.rows_quarantined > 0;
    let without_key = read.into_iter().filter(lacks_keys).count() as u64;
    let in_quarantine = recorded
        .iter()
        .find(|reason| reason.kind == ReasonKind::Quarantined);
    let more = without_key.saturating_sub(in_quarantine.map_or(0, |reason| reason.count));
    let others = recorded
        .iter()
        .filter(|reason| reason.kind != ReasonKind::RowsWithoutKey)
        .cloned();
    let more = (more > 0).then(|| Reason::new(ReasonKind::RowsWithoutKey, more));
    others.chain(more).collect()
}

/// Adds the tasks of the day that brought no workbook, so that the manifest names what is not
/// there.
fn add_missing(facts: &DayFacts<'_>, inputs: &mut Vec<Input>) {
    let there: HashSet<TaskKey> = inputs.iter().map(|input| input.task_key.clone()).collect();
    let is_missing = |task: &&TaskRow| {
        let has_no_workbook =
            matches!(task.phase, Phase::Open | Phase::Quarantined | Phase::Failed);
        has_no_workbook && is_home(facts, task) && !there.contains(&task.spec.key)
    };
    let missing: Vec<Input> = facts
        .tasks
        .iter()
        .filter(is_missing)
        .map(Input::of)
        .collect();
    inputs.extend(missing);
}

/// Whether the day is the one that a task stands for: where it is listed although it brought no
/// row.
fn is_home(facts: &DayFacts<'_>, task: &TaskRow) -> bool {
    date_of(facts.time_zone, task.spec.window.start()) == facts.dt
}

fn keys(tasks: &[TaskRow]) -> impl Iterator<Item = &TaskKey> {
    tasks.iter().map(|task| &task.spec.key)
}

/// What is recorded of a staged revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// The partition is as it was; only the check is recorded.
    Check,
    /// A new revision: another content, state, list of inputs, or comparison.
    Revision,
}

impl NextRevision {
    /// What has to be recorded. `stands` says whether the rows are those that are published, and of
    /// the same tasks, `is_ahead` whether the lake has a revision that the ledger does not know:
    /// only a next one brings the two together, even if by now everything is again as the ledger
    /// has it.
    #[must_use]
    pub fn recording(&self, stands: bool, is_ahead: bool) -> Recording {
        let is_complete = self.reasons.is_empty();
        let is_same_state =
            self.was_complete == is_complete && !self.has_new_inputs && !self.is_compared_anew;
        match stands && is_same_state && !is_ahead {
            true => Recording::Check,
            false => Recording::Revision,
        }
    }
}

/// The partitions that a round may change: where rows of its tasks are or were, the days of its
/// windows, and where withdrawn tasks still are.
#[must_use]
pub fn affected_days(
    time_zone: &TimeZone,
    windows: &[Window],
    round: &[TaskRow],
    rows_were_in: impl IntoIterator<Item = Date>,
    withdrawn_from: impl IntoIterator<Item = Date>,
) -> BTreeSet<Date> {
    let of_windows = windows.iter().flat_map(|window| window.dates(time_zone));
    let of_rows = round.iter().flat_map(|task| task.dts.iter().copied());
    of_windows
        .chain(of_rows)
        .chain(rows_were_in)
        .chain(withdrawn_from)
        .collect()
}

/// The windows of a day that somebody asks for. A day without one is not known, and stays so.
#[must_use]
pub fn windows_asked_for(windows: Vec<WindowRow>) -> Vec<WindowRow> {
    let is_asked_for = |row: &WindowRow| !row.state.is_left_out();
    windows.into_iter().filter(is_asked_for).collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use jiff::civil::date;

    use super::*;
    use crate::plan::tests::{task_row, window_row};
    use crate::record::{InputOutcome, Intent};

    const DT: Date = date(2026, 11, 10);

    fn day(dt: Date) -> Window {
        Window::day(&TimeZone::UTC, dt).expect("a day")
    }

    /// A task of `dt` that differs from others by `name`.
    fn task(name: &str, dt: Date, phase: Phase) -> TaskRow {
        let mut task = task_row(Dataset::MeetingList, day(dt), phase);
        task.spec.key = TaskKey::from_stored(name);
        task
    }

    fn spooled(name: &str, dts: &[Date]) -> TaskRow {
        let mut task = task(name, DT, Phase::Spooled);
        task.rows = Some(dts.len() as u64);
        task.dts = dts.iter().copied().collect();
        task
    }

    fn partition(revision: u64, complete: bool, intent: Option<Intent>) -> PartitionRow {
        PartitionRow {
            tenant: "acme".into(),
            dataset: Dataset::MeetingList,
            dt: DT,
            revision,
            complete,
            content_hash: Some("hash".into()),
            manifest_sha256: Some("manifest".into()),
            rows: 1,
            size_bytes: 1,
            published_at: None,
            checked_at: None,
            intent,
        }
    }

    fn intent() -> Intent {
        Intent {
            revision: 3,
            content_hash: "hash".into(),
            object_sha256: "object".into(),
            size_bytes: 1,
            rows: 1,
            packs: vec![],
        }
    }

    /// What is known of a day with one settled window, and nothing else.
    struct Known {
        published: Option<PartitionRow>,
        windows: Vec<WindowRow>,
        tasks: Vec<TaskRow>,
        round: Vec<TaskRow>,
        listed: Vec<Input>,
        withdrawn: HashMap<TaskKey, SourceMode>,
        against: Vec<Reason>,
    }

    impl Default for Known {
        fn default() -> Self {
            Self {
                published: None,
                windows: vec![window_row(
                    Dataset::MeetingList,
                    day(DT),
                    WindowState::Settled,
                )],
                tasks: vec![],
                round: vec![],
                listed: vec![],
                withdrawn: HashMap::new(),
                against: vec![],
            }
        }
    }

    impl Known {
        fn next(&self) -> Option<NextRevision> {
            next_revision(&DayFacts {
                dt: DT,
                time_zone: &TimeZone::UTC,
                published: self.published.as_ref(),
                windows: &self.windows,
                tasks: &self.tasks,
                round: &self.round,
                listed: &self.listed,
                withdrawn: &self.withdrawn,
                against: &self.against,
            })
        }
    }

    fn names(inputs: &[Input]) -> Vec<(&str, InputOutcome)> {
        let name = |input: &Input| input.outcome;
        inputs
            .iter()
            .map(|input| (input.task_key.as_str(), name(input)))
            .collect()
    }

    #[test]
    fn what_keeps_a_day_from_being_complete_is_counted_by_kind() {
        let without_key = |phase| {
            let mut task = task("k", DT, phase);
            task.findings = Some(Findings {
                rows_quarantined: 2,
                ..Findings::default()
            });
            task
        };
        use ReasonKind::*;
        let table = [
            (vec![], vec![]),
            (vec![task("a", DT, Phase::Published)], vec![]),
            (vec![task("a", DT, Phase::Withdrawn)], vec![]),
            (vec![task("a", DT, Phase::Open)], vec![(NotExported, 1)]),
            (vec![task("in the round", DT, Phase::Spooled)], vec![]),
            (vec![task("a", DT, Phase::Spooled)], vec![(NotPublished, 1)]),
            (
                vec![task("a", DT, Phase::Failed), task("b", DT, Phase::Failed)],
                vec![(Failed, 2)],
            ),
            (
                vec![
                    task("a", DT, Phase::Quarantined),
                    task("b", DT, Phase::Open),
                ],
                vec![(NotExported, 1), (Quarantined, 1)],
            ),
            (
                vec![without_key(Phase::Published)],
                vec![(RowsWithoutKey, 1)],
            ),
            (
                vec![without_key(Phase::Quarantined)],
                vec![(Quarantined, 1)],
            ),
        ];
        for (tasks, expected) in table {
            let known = Known {
                round: vec![task("in the round", DT, Phase::Spooled)],
                tasks,
                ..Known::default()
            };
            let reasons = known
                .next()
                .expect("a task of the round is at home")
                .reasons;
            let expected: Vec<Reason> = expected
                .into_iter()
                .map(|(kind, count)| Reason::new(kind, count))
                .collect();
            assert_eq!(reasons, expected, "{:?}", known.tasks);
        }
    }

    #[test]
    fn rows_without_a_key_are_counted_anew_when_originals_are_read_again() {
        use ReasonKind::{FewerMeetings, Quarantined, RowsWithoutKey};
        let read = |counts: &[u64]| -> Vec<Findings> {
            let findings = counts.iter().map(|rows| Findings {
                rows_quarantined: *rows,
                ..Findings::default()
            });
            findings.collect()
        };
        for (recorded, found, expected) in [
            (vec![], vec![0, 0], vec![]),
            (vec![], vec![0, 3], vec![(RowsWithoutKey, 1)]),
            (vec![(RowsWithoutKey, 2)], vec![0, 0], vec![]),
            (
                vec![(RowsWithoutKey, 2), (FewerMeetings, 1)],
                vec![1],
                vec![(FewerMeetings, 1), (RowsWithoutKey, 1)],
            ),
            (vec![(Quarantined, 1)], vec![4], vec![(Quarantined, 1)]),
            (
                vec![(Quarantined, 1)],
                vec![4, 4],
                vec![(Quarantined, 1), (RowsWithoutKey, 1)],
            ),
        ] {
            let reasons = |of: &[(ReasonKind, u64)]| -> Vec<Reason> {
                let reasons = of.iter().map(|(kind, count)| Reason::new(*kind, *count));
                reasons.collect()
            };
            let again = reasons_read_again(&reasons(&recorded), &read(&found));
            assert_eq!(again, reasons(&expected), "{recorded:?} {found:?}");
        }
    }

    #[test]
    fn windows_that_are_not_planned_and_implausible_counts_are_reasons_too() {
        let row = |state| window_row(Dataset::MeetingList, day(DT), state);
        let implausible = Reason::with_detail(ReasonKind::FewerMeetings, 1, "few".into());
        let known = Known {
            windows: vec![row(WindowState::Due), row(WindowState::Planned)],
            round: vec![spooled("a", &[DT])],
            against: vec![implausible.clone()],
            ..Known::default()
        };
        let reasons = known.next().expect("a revision").reasons;
        assert_eq!(
            reasons,
            [Reason::new(ReasonKind::NotPlanned, 1), implausible]
        );
    }

    #[test]
    fn a_day_is_complete_only_when_windows_cover_every_instant_of_it() {
        let part = |from: i64, hours: i64| {
            let start = day(DT).start() + SignedDuration::from_hours(from);
            Window::new(start, start + SignedDuration::from_hours(hours)).expect("a window")
        };
        let found = |windows: &[Window]| not_covered(&TimeZone::UTC, DT, windows.iter().copied());
        assert_eq!(found(&[day(DT)]), None);
        assert_eq!(found(&[part(-8, 24), part(16, 24)]), None);
        let first_hours = found(&[part(16, 24)]).expect("16 hours are missing");
        assert_eq!(
            (first_hours.kind, first_hours.count),
            (ReasonKind::NotCovered, 16 * 60)
        );
        let detail = "no window covers [2026-11-10T00:00:00Z, 2026-11-10T16:00:00Z)";
        assert_eq!(first_hours.to_string(), detail);
        // With rows the day is partial; without any it is not known.
        let mut known = Known {
            windows: vec![window_row(
                Dataset::MeetingList,
                part(16, 24),
                WindowState::Settled,
            )],
            ..Known::default()
        };
        assert_eq!(known.next(), None);
        known.round = vec![spooled("a", &[DT])];
        assert_eq!(known.next().expect("a revision").reasons, [first_hours]);
    }

    #[test]
    fn children_of_a_day_that_is_partial_or_not_there_are_partial() {
        let parent = Dataset::MeetingList;
        assert_eq!(
            parent_partial(parent, Some(&partition(1, true, None))),
            None
        );
        let reason = |of: Option<&PartitionRow>| parent_partial(parent, of).expect("a reason");
        let not_there = reason(None);
        assert_eq!(reason(Some(&partition(0, false, None))), not_there);
        let partial = reason(Some(&partition(2, false, None)));
        assert_eq!(
            partial.to_string(),
            "not all of its parents are known: the day of meeting_list is partial"
        );
        assert!(not_there.to_string().ends_with("is not there"));
        // What a withdrawn task brought stays: its parent may only seem to be gone.
        let known = Known {
            published: Some(partition(2, true, None)),
            withdrawn: HashMap::from([(TaskKey::from_stored("gone"), SourceMode::Export)]),
            against: vec![partial.clone()],
            ..Known::default()
        };
        let next = known.next().expect("a revision");
        assert_eq!((next.reasons, next.drop.len()), (vec![partial], 0));
    }

    #[test]
    fn a_day_is_of_one_source_and_rows_of_the_other_are_counted() {
        use SourceMode::{Export, Query};
        let of = |name: &str, mode: SourceMode, phase: Phase| {
            let mut task = spooled(name, &[DT]);
            (task.phase, task.spec.request.mode) = (phase, mode);
            task
        };
        let before = HashMap::from([(TaskKey::from_stored("before"), Export)]);
        let own = || of("own", Query, Phase::Spooled);
        // The day before was asked of the other source, and has rows of this one.
        let neighbour = || of("neighbour", Export, Phase::Spooled);
        let open = || of("open", Query, Phase::Open);
        for (tasks, withdrawn, added, left_out) in [
            (vec![own()], HashMap::new(), vec!["own"], 1),
            (vec![own()], before.clone(), vec!["own"], 1),
            // Not all is there, so the day stays of the source that it was of.
            (vec![own(), open()], before, vec!["neighbour"], 1),
            (vec![], HashMap::new(), vec!["own", "neighbour"], 0),
        ] {
            let known = Known {
                published: Some(partition(1, true, None)),
                tasks,
                round: vec![own(), neighbour()],
                withdrawn,
                ..Known::default()
            };
            let next = known.next().expect("a revision");
            let found: Vec<&str> = next.add.iter().map(|task| task.key.as_str()).collect();
            assert_eq!((found, next.of_other_source), (added, left_out));
        }
    }

    #[test]
    fn what_another_source_says_is_told_once_and_again_when_it_says_something_else() {
        let of = |name: &str, phase: Phase, compared: Option<Comparison>| {
            let mut task = task(name, DT, phase);
            task.findings = Some(Findings {
                compared,
                ..Findings::default()
            });
            task
        };
        let alike = |rows: u64| {
            Some(Comparison {
                compared: 1,
                in_both: rows,
                ..Comparison::default()
            })
        };
        let told = |compared: &Option<Comparison>| {
            let mut row = window_row(Dataset::MeetingList, day(DT), WindowState::Settled);
            row.coverage = Coverage::compared(None, compared.clone());
            vec![row]
        };
        let published = |rows| vec![of("a", Phase::Published, alike(rows))];
        let two = vec![
            of("a", Phase::Published, alike(3)),
            of("gone", Phase::Withdrawn, alike(3)),
            of("b", Phase::Published, Some(Comparison::missing())),
        ];
        let mut of_two = alike(3);
        if let Some(sum) = &mut of_two {
            sum.add(&Comparison::missing());
        }
        let nothing = vec![of("a", Phase::Published, None)];
        for (tasks, before, now, is_anew) in [
            (nothing.clone(), None, None, false),
            (published(3), None, alike(3), true),
            (published(3), alike(3), alike(3), false),
            (published(4), alike(3), alike(4), true),
            (two, alike(3), of_two, true),
            // The job does not compare any more.
            (nothing, alike(3), None, true),
        ] {
            let known = Known {
                published: Some(partition(1, true, None)),
                windows: told(&before),
                tasks,
                ..Known::default()
            };
            let next = known.next().expect("a revision");
            let found = next.coverage.as_ref().and_then(|of| of.compared.clone());
            assert_eq!((found, next.is_compared_anew), (now, is_anew), "{before:?}");
            let recording = next.recording(true, false);
            assert_eq!(recording == Recording::Revision, is_anew);
        }
    }

    #[test]
    fn nothing_is_published_of_a_day_of_which_nothing_is_known() {
        let open = task("a", DT, Phase::Open);
        let mut known = Known {
            tasks: vec![open],
            ..Known::default()
        };
        assert_eq!(known.next(), None, "no answer yet");
        known.round = vec![task("b", date(2026, 11, 9), Phase::Spooled)];
        assert_eq!(
            known.next(),
            None,
            "the round's tasks are at home elsewhere"
        );
        known.published = Some(partition(1, true, None));
        assert!(
            known.next().is_some(),
            "what is published lacks something now"
        );
        let settled = Known::default().next().expect("a settled day without rows");
        assert_eq!(
            (settled.number, settled.reasons, settled.inputs),
            (1, vec![], vec![])
        );
    }

    #[test]
    fn rows_come_from_the_round_and_inputs_name_every_task_of_the_day() {
        let next_day = date(2026, 11, 11);
        let known = Known {
            round: vec![
                spooled("across midnight", &[DT, next_day]),
                spooled("empty", &[]),
                {
                    let mut elsewhere = spooled("elsewhere", &[next_day]);
                    elsewhere.spec.window = day(next_day);
                    elsewhere
                },
                {
                    let mut from_elsewhere = spooled("from elsewhere", &[DT]);
                    from_elsewhere.spec.window = day(next_day);
                    from_elsewhere
                },
            ],
            tasks: vec![
                task("open", DT, Phase::Open),
                task("failed", DT, Phase::Failed),
                task("quarantined", DT, Phase::Quarantined),
                task("open elsewhere", next_day, Phase::Open),
                task("published", DT, Phase::Published),
                task("empty", DT, Phase::Spooled),
            ],
            ..Known::default()
        };
        let next = known.next().expect("a revision");
        let added: Vec<&str> = next.add.iter().map(|task| task.key.as_str()).collect();
        assert_eq!(added, ["across midnight", "from elsewhere"]);
        use InputOutcome::*;
        assert_eq!(
            names(&next.inputs),
            [
                ("across midnight", Published),
                ("empty", Empty),
                ("from elsewhere", Published),
                ("open", Missing),
                ("failed", Failed),
                ("quarantined", Quarantined),
            ]
        );
        assert!(next.has_new_inputs);
        assert_eq!(
            next.drop.len(),
            4,
            "older generations of all of them go out"
        );
    }

    #[test]
    fn listed_inputs_stay_unless_their_task_ran_again_or_is_withdrawn() {
        let listed = |name: &str, overridden_rows| Input {
            overridden_rows,
            ..Input::of(&spooled(name, &[DT]))
        };
        let mut known = Known {
            published: Some(partition(4, true, Some(intent()))),
            round: vec![spooled("again", &[DT])],
            listed: vec![
                listed("again", 1),
                listed("stays", 0),
                listed("overridden", 2),
                listed("gone", 1),
            ],
            withdrawn: HashMap::from([(TaskKey::from_stored("gone"), SourceMode::Export)]),
            ..Known::default()
        };
        let next = known.next().expect("a revision");
        let keys = |inputs: &[Input]| -> Vec<String> {
            let keys = inputs.iter().map(|input| input.task_key.to_string());
            keys.collect()
        };
        assert_eq!(keys(&next.inputs), ["again", "stays", "overridden"]);
        assert_eq!(keys(&next.restore), ["overridden"]);
        assert_eq!(
            (next.number, next.was_complete, next.has_intent),
            (5, true, true)
        );
        assert!(!next.has_new_inputs);
        assert!(next.drop.contains(&TaskKey::from_stored("gone")));
        // An answer is missing: the parent of the withdrawn task may come back.
        known.tasks = vec![task("open", DT, Phase::Open)];
        let next = known.next().expect("a revision");
        assert!(!next.drop.contains(&TaskKey::from_stored("gone")));
        assert_eq!(keys(&next.restore), ["overridden", "gone"]);
        assert!(!next.has_new_inputs && keys(&next.inputs).contains(&"open".to_owned()));
        known.published = Some(partition(0, false, None));
        let next = known.next().expect("a revision");
        assert_eq!(
            (next.number, next.was_complete, next.has_intent),
            (1, false, false)
        );
    }

    #[test]
    fn a_check_is_enough_when_nothing_changed() {
        let mut next = Known::default().next().expect("a revision");
        next.was_complete = true;
        assert_eq!(next.recording(true, false), Recording::Check);
        assert_eq!(next.recording(false, false), Recording::Revision);
        assert_eq!(next.recording(true, true), Recording::Revision);
        next.has_new_inputs = true;
        assert_eq!(next.recording(true, false), Recording::Revision);
        next.has_new_inputs = false;
        next.was_complete = false;
        assert_eq!(next.recording(true, false), Recording::Revision);
        next.reasons = vec![Reason::new(ReasonKind::Failed, 1)];
        assert_eq!(next.recording(true, false), Recording::Check);
    }

    #[test]
    fn a_round_affects_its_windows_days_and_those_where_rows_are_were_or_should_not_be() {
        let dates = [9, 10, 11, 12, 13].map(|day| date(2026, 11, day));
        let [was, dt, next, withdrawn, untouched] = dates;
        let round = [spooled("a", &[next])];
        let found = affected_days(&TimeZone::UTC, &[day(dt)], &round, [was], [withdrawn]);
        assert_eq!(found, BTreeSet::from([was, dt, next, withdrawn]));
        assert!(!found.contains(&untouched));
    }

    #[test]
    fn only_windows_that_somebody_asks_for_make_a_day_known() {
        let row = |state| window_row(Dataset::MeetingList, day(DT), state);
        let asked = windows_asked_for(WindowState::ALL.map(row).to_vec());
        let states: Vec<WindowState> = asked.iter().map(|row| row.state).collect();
        use WindowState::*;
        assert_eq!(states, [Due, Planned, Settled, Stuck]);
    }
}
