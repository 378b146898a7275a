//! Whether a person is needed, and for what: late days folded by what they have in common.
//!
//! Pure. A person is needed where nothing that is tried by itself can help, or has helped within a
//! day since it could. That a day is of long ago says nothing: it may have been asked for just now.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;

use super::{DayOutcome, DayStatus, LateDays};
use crate::cause::{Cause, CauseClass, Reach};
use crate::datasets::Dataset;
use crate::plan::due::days_left;
use crate::record::LastTry;
use crate::window::Window;

/// What has not come by itself for so long, since it could, does not; seconds.
const BY_ITSELF_S: u64 = 86_400;

/// Late days of one dataset that are so for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// What became of the days.
    pub outcome: DayOutcome,
    /// The first of them.
    pub first: Date,
    /// The last of them; days between may be well.
    pub last: Date,
    /// How many they are.
    pub days: usize,
    /// Seconds since the first of them should have been there.
    pub late_s: u64,
    /// What is missing of the first of them and why, for people.
    pub why: String,
    /// The dataset that they come with: its own days of the same dates are late, and nothing else
    /// is known against these.
    pub comes_with: Option<Dataset>,
    /// What the first task that failed met.
    pub cause: Option<Cause>,
    /// When that was last met on any of the days, and when the first of them is tried again; `None`
    /// if no task failed.
    pub last_try: Option<LastTry>,
    /// Whether it does not come by itself.
    pub needs_a_person: bool,
    /// Whole days until Feishu no longer answers for the next of them, where it names a limit;
    /// negative if it answers for none any more.
    pub days_left: Option<i64>,
}

/// The late days, folded; what needs a person comes first, then what is late for longest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// They.
    pub problems: Vec<Trouble>,
    /// How many more days may be late and were not looked into, because there are so many.
    pub more: usize,
}

impl Verdict {
    /// Folds late days. `window_of` gives a day of a tenant as instants; runs look for what is due
    /// since `began`.
    #[must_use]
    pub fn of(
        late: &LateDays,
        window_of: impl Fn(&str, Date) -> Option<Window>,
        began: Timestamp,
        now: Timestamp,
    ) -> Self {
        let is_late: BTreeSet<(&str, Dataset, Date)> = late
            .days
            .iter()
            .map(|day| (day.tenant.as_str(), day.dataset, day.dt))
            .collect();
        let mut folded: BTreeMap<_, Trouble> = BTreeMap::new();
        for day in &late.days {
            let is_late = |of: Dataset| is_late.contains(&(day.tenant.as_str(), of, day.dt));
            let parent = day.dataset.parent();
            let parent = parent.filter(|parent| day.cause.is_none() && is_late(*parent));
            let needs_a_person = parent.is_none() && needs_a_person(day, began, now);
            let key = (&day.tenant, day.dataset, day.outcome, day.cause, parent);
            // Of one cause each day and task has a sentence of its own, with numbers and log ids.
            let key = (
                key,
                needs_a_person,
                day.cause
                    .map_or_else(|| without_numbers(day), |_| String::new()),
            );
            let late_s = day.late_s.unwrap_or(0);
            let left = window_of(&day.tenant, day.dt);
            let left = left.and_then(|window| days_left(day.dataset, &window, now));
            let problem = folded.entry(key).or_insert_with(|| Trouble {
                tenant: day.tenant.clone(),
                dataset: day.dataset,
                outcome: day.outcome,
                first: day.dt,
                last: day.dt,
                days: 0,
                late_s,
                why: day.why.clone().unwrap_or_default(),
                comes_with: parent,
                cause: day.cause,
                last_try: None,
                needs_a_person,
                days_left: left,
            });
            problem.first = problem.first.min(day.dt);
            problem.last = problem.last.max(day.dt);
            problem.days += 1;
            problem.late_s = problem.late_s.max(late_s);
            problem.last_try = together(problem.last_try, day.last_try);
            // Of those that are forgotten the last, if none is left.
            let days_left = [problem.days_left, left].into_iter().flatten();
            problem.days_left = days_left.min_by_key(|left| (*left < 0, left.abs()));
        }
        let mut problems: Vec<Trouble> = folded.into_values().collect();
        problems.sort_by_key(|problem| {
            let comes_with = problem.comes_with.is_some();
            (
                !problem.needs_a_person,
                comes_with,
                u64::MAX - problem.late_s,
            )
        });
        let more = late.more.values().sum();
        Self { problems, more }
    }

    /// Whether a person is needed, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let days = |wanted: bool| -> usize {
            let of = self.problems.iter();
            let of = of.filter(|problem| problem.needs_a_person == wanted);
            of.map(|problem| problem.days).sum()
        };
        let more = match self.more {
            0 => String::new(),
            1 => "; 1 more day may be late and was not looked into".to_owned(),
            more => format!("; {more} more days may be late and were not looked into"),
        };
        let nobody = match self.more {
            0 => "Nobody is needed",
            _ => "Nobody is known to be needed",
        };
        match (days(true), days(false)) {
            (0, 0) if self.more == 0 => format!("{nobody}: no day is late."),
            (0, 0) => format!("{nobody}: no day that was looked into is late{more}."),
            (0, late) => format!(
                "{nobody}: {} late and tried again by {}{more}.",
                are(late),
                if late == 1 { "itself" } else { "themselves" }
            ),
            (late, _) => format!(
                "A person is needed: {} late and will not come without one{more}.",
                are(late)
            ),
        }
    }

    /// Whether no day is late, as far as is known.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.problems.is_empty() && self.more == 0
    }
}

/// The newest try of two, and the earlier one that is to come.
fn together(one: Option<LastTry>, other: Option<LastTry>) -> Option<LastTry> {
    let (Some(first), Some(second)) = (one, other) else {
        return one.or(other);
    };
    let next = [first.next, second.next].into_iter().flatten().min();
    let at = first.at.max(second.at);
    Some(LastTry { at, next })
}

/// Why a day is late, less its own counts.
fn without_numbers(day: &DayStatus) -> String {
    let why = day.why.as_deref().unwrap_or_default();
    why.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// `1 day is`, `2 days are`.
fn are(days: usize) -> String {
    match days {
        1 => "1 day is".to_owned(),
        days => format!("{days} days are"),
    }
}

/// Whether a day does not come by itself. A task that is put off meets what it met again in some
/// minutes, or not; what reaches further than the task stays until somebody mends it.
fn needs_a_person(day: &DayStatus, began: Timestamp, now: Timestamp) -> bool {
    let stays = |cause: Cause| !day.is_on_its_way || cause.reach() != Reach::Task;
    let by_cause = day
        .cause
        .is_some_and(|cause| cause.needs_a_person() && stays(cause));
    let since_asked_s = now.duration_since(day.asked_at.unwrap_or(began)).as_secs();
    let waited_s = u64::try_from(since_asked_s).unwrap_or(0);
    let waited_s = waited_s.min(day.late_s.unwrap_or(0));
    let is_given_up = !day.is_on_its_way && waited_s > BY_ITSELF_S;
    by_cause || day.outcome == DayOutcome::Quarantined || is_given_up
}

impl Trouble {
    /// What to type.
    #[must_use]
    pub fn command(&self) -> String {
        let after = self.last.tomorrow().unwrap_or(self.last);
        command(
            &self.tenant,
            self.dataset,
            self.outcome,
            self.cause,
            self.first,
            after,
        )
    }
}

/// What to type about the days `[from, to)` of a dataset.
#[must_use]
pub fn command(
    tenant: &str,
    dataset: Dataset,
    outcome: DayOutcome,
    cause: Option<Cause>,
    from: Date,
    to: Date,
) -> String {
    let range = format!("--tenant {tenant} --dataset {dataset} --from {from} --to {to}");
    match outcome {
        _ if cause.is_some_and(|cause| cause.class() == CauseClass::Access) => {
            "meetlake doctor".to_owned()
        }
        DayOutcome::Quarantined => format!("meetlake retry --quarantine {range}"),
        DayOutcome::Partial | DayOutcome::Published | DayOutcome::Unchanged | DayOutcome::Empty
            if dataset.has_history() =>
        {
            format!("meetlake backfill {range} --again")
        }
        DayOutcome::Skipped | DayOutcome::Lost if dataset.has_history() => {
            format!("meetlake backfill {range}")
        }
        _ => format!("meetlake run --tenant {tenant}"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    use super::*;

    fn day(dt: i8, outcome: DayOutcome, cause: Option<Cause>, late_s: u64) -> DayStatus {
        DayStatus {
            tenant: "acme".into(),
            dataset: Dataset::TopUser,
            dt: date(2026, 11, dt),
            outcome,
            rows: 0,
            expected_at: Timestamp::UNIX_EPOCH,
            late_s: Some(late_s),
            why: Some(format!("{cause:?}")),
            last_try: None,
            cause,
            asked_at: Some(Timestamp::UNIX_EPOCH),
            is_on_its_way: false,
        }
    }

    fn now() -> Timestamp {
        "2026-11-28T04:00:00Z".parse().expect("an instant")
    }

    fn verdict(late: &[DayStatus]) -> Verdict {
        verdict_with(late, 0)
    }

    fn verdict_with(late: &[DayStatus], more: usize) -> Verdict {
        let window_of = |_: &str, dt| Window::day(&TimeZone::UTC, dt);
        let late = LateDays {
            days: late.to_vec(),
            more: [("acme".to_owned(), more)].into(),
        };
        let began = now() - SignedDuration::from_hours(2);
        Verdict::of(&late, window_of, began, now())
    }

    #[test]
    fn a_person_is_needed_where_nothing_that_is_tried_by_itself_helps() {
        use DayOutcome::{Failed, Partial, Quarantined, Waiting};
        for (outcome, cause, late_s, expected) in [
            (Waiting, None, 5, false),
            (Waiting, Some(Cause::Retry), 5, false),
            (Failed, Some(Cause::Export), 86_400, false),
            (Failed, Some(Cause::Export), 86_401, true),
            (Waiting, Some(Cause::Scope), 5, true),
            (Waiting, Some(Cause::Storage), 5, true),
            (Partial, None, 5, false),
            (Partial, None, 100_000, true),
            (Quarantined, Some(Cause::Data), 5, true),
            (Quarantined, None, 5, true),
        ] {
            let found = verdict(&[day(10, outcome, cause, late_s)]);
            let sentence = match expected {
                true => "A person is needed: 1 day is late and will not come without one.",
                false => "Nobody is needed: 1 day is late and tried again by itself.",
            };
            assert_eq!(
                found.problems[0].needs_a_person, expected,
                "{outcome:?} {cause:?}"
            );
            assert_eq!(found.sentence(), sentence);
        }
        assert_eq!(verdict(&[]).sentence(), "Nobody is needed: no day is late.");
    }

    #[test]
    fn a_day_of_long_ago_is_given_a_day_since_it_was_asked_for() {
        use DayOutcome::{Failed, Partial, Waiting};
        let ago = |hours| Some(now() - SignedDuration::from_hours(hours));
        let sixty_days = 60 * 86_400;
        for (what, outcome, cause, asked_at, is_on_its_way, expected) in [
            (
                "a new install, not begun",
                Waiting,
                None,
                ago(1),
                false,
                false,
            ),
            (
                "a new install, under way",
                Waiting,
                None,
                ago(1),
                true,
                false,
            ),
            (
                "not looked at since a restart",
                Waiting,
                None,
                None,
                false,
                false,
            ),
            (
                "a backfill of days, under way",
                Waiting,
                None,
                ago(70),
                true,
                false,
            ),
            (
                "a backfill, a task of it put off",
                Waiting,
                Some(Cause::Retry),
                ago(70),
                true,
                false,
            ),
            (
                "its attempts used up today",
                Failed,
                Some(Cause::Export),
                ago(20),
                false,
                false,
            ),
            (
                "used up, and again a day later",
                Failed,
                Some(Cause::Export),
                ago(25),
                false,
                true,
            ),
            (
                "nothing is done about it",
                Waiting,
                None,
                ago(25),
                false,
                true,
            ),
            (
                "known to be partial for long",
                Partial,
                None,
                ago(25),
                false,
                true,
            ),
            (
                "partial, and exported again",
                Partial,
                None,
                ago(25),
                true,
                false,
            ),
            (
                "a clock that was wrong",
                Waiting,
                None,
                ago(-9),
                false,
                false,
            ),
        ] {
            let day = DayStatus {
                asked_at,
                is_on_its_way,
                ..day(1, outcome, cause, sixty_days)
            };
            let found = &verdict(&[day]).problems[0];
            assert_eq!(found.needs_a_person, expected, "{what}");
        }
    }

    #[test]
    fn a_task_that_is_put_off_needs_nobody_unless_others_meet_the_same() {
        use DayOutcome::{Failed, Quarantined, Waiting};
        for cause in Cause::ALL {
            let put_off = DayStatus {
                is_on_its_way: true,
                ..day(10, Waiting, Some(cause), 50)
            };
            let reaches_further = cause.needs_a_person() && cause.reach() != Reach::Task;
            for (day, expected) in [
                (put_off, reaches_further),
                (day(10, Failed, Some(cause), 50), cause.needs_a_person()),
                (day(10, Quarantined, Some(cause), 50), true),
            ] {
                let found = verdict(std::slice::from_ref(&day));
                let found = found.problems[0].needs_a_person;
                assert_eq!(found, expected, "{cause} {:?}", day.outcome);
            }
        }
        for (cause, expected) in [
            (Cause::Data, false),
            (Cause::Scope, true),
            (Cause::Storage, true),
        ] {
            let put_off = DayStatus {
                is_on_its_way: true,
                ..day(10, Waiting, Some(cause), 50)
            };
            assert_eq!(
                verdict(&[put_off]).problems[0].needs_a_person,
                expected,
                "{cause}"
            );
        }
    }

    #[test]
    fn what_was_not_looked_into_is_said() {
        let waiting = day(10, DayOutcome::Waiting, Some(Cause::Retry), 50);
        let refused = day(10, DayOutcome::Waiting, Some(Cause::Scope), 50);
        let unseen = "; 7 more days may be late and were not looked into.";
        for (late, more, is_well, expected) in [
            (
                vec![],
                0,
                true,
                "Nobody is needed: no day is late.".to_owned(),
            ),
            (
                vec![],
                7,
                false,
                format!(
                    "Nobody is known to be needed: no day that was looked into is late{unseen}"
                ),
            ),
            (
                vec![waiting],
                7,
                false,
                format!(
                    "Nobody is known to be needed: 1 day is late and tried again by itself{unseen}"
                ),
            ),
            (
                vec![refused],
                1,
                false,
                "A person is needed: 1 day is late and will not come without one; 1 more day may \
                 be late and was not looked into."
                    .to_owned(),
            ),
        ] {
            let found = verdict_with(&late, more);
            assert_eq!((found.is_well(), found.sentence()), (is_well, expected));
        }
    }

    #[test]
    fn of_days_that_are_folded_the_next_to_be_forgotten_counts() {
        // Feishu answers for 89 days: from the 31st of August on.
        let of = |month, dt| DayStatus {
            dt: date(2026, month, dt),
            ..day(1, DayOutcome::Partial, None, 90_000)
        };
        for (days, expected) in [
            (vec![of(11, 10), of(9, 3)], 2),
            (vec![of(9, 3), of(8, 1)], 2),
            (vec![of(8, 1), of(9, 3), of(8, 20)], 2),
            (vec![of(8, 1), of(8, 20)], -12),
        ] {
            let found = verdict(&days);
            assert_eq!(found.problems.len(), 1);
            assert_eq!(found.problems[0].days_left, Some(expected), "{days:?}");
        }
    }

    #[test]
    fn days_are_folded_by_cause_and_what_needs_a_person_comes_first() {
        use DayOutcome::{Failed, Waiting};
        let found = verdict(&[
            day(12, Waiting, Some(Cause::Retry), 50),
            day(10, Waiting, Some(Cause::Retry), 900),
            day(11, Failed, Some(Cause::Scope), 5),
        ]);
        let rows = found
            .problems
            .iter()
            .map(|of| (of.outcome, of.first.day(), of.last.day(), of.days));
        assert_eq!(
            rows.collect::<Vec<_>>(),
            [(Failed, 11, 11, 1), (Waiting, 10, 12, 2)]
        );
        assert_eq!(found.problems[1].late_s, 900);
        // The 10th is 18 days old, and Feishu answers for 89.
        assert_eq!(found.problems[1].days_left, Some(70));
        assert_eq!(found.problems[0].command(), "meetlake doctor");
        assert_eq!(found.problems[1].command(), "meetlake run --tenant acme");
    }

    #[test]
    fn days_of_one_cause_are_one_and_those_that_wait_for_their_parents_come_with_them() {
        use DayOutcome::{Partial, Waiting};
        let of = |dataset, dt, outcome, cause, why: &str| DayStatus {
            dataset,
            why: Some(why.to_owned()),
            ..day(dt, outcome, cause, 90_000)
        };
        let (list, sheets) = (Dataset::MeetingList, Dataset::ParticipantList);
        let found = verdict(&[
            of(
                list,
                10,
                Partial,
                None,
                "counted 9 meetings, the list has 2",
            ),
            of(
                list,
                11,
                Partial,
                None,
                "counted 12 meetings, the list has 4",
            ),
            of(
                list,
                12,
                Waiting,
                Some(Cause::Scope),
                "3 of 5 tasks: log id 0a1b",
            ),
            of(
                list,
                13,
                Waiting,
                Some(Cause::Scope),
                "5 of 5 tasks: log id 77ff",
            ),
            of(
                sheets,
                10,
                Waiting,
                None,
                "it waits for meeting_list, or for a run",
            ),
            of(sheets, 11, Waiting, Some(Cause::Role), "1 of 2 tasks"),
            // Its parents are there.
            of(sheets, 20, Waiting, None, "it waits for a run"),
        ]);
        let told = found.problems.iter().map(|of| {
            (
                of.dataset,
                of.outcome,
                of.days,
                of.comes_with,
                of.needs_a_person,
            )
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 5, "{told:?}");
        for row in [
            (list, Partial, 2, None, true),
            (list, Waiting, 2, None, true),
            (sheets, Waiting, 1, None, true),
        ] {
            assert!(told[..4].contains(&row), "{row:?} {told:?}");
        }
        assert_eq!(told[4], (sheets, Waiting, 1, Some(list), false));
    }

    #[test]
    fn a_cause_has_the_newest_try_of_its_days_and_the_next_to_come() {
        let at = |hour| Timestamp::from_second(hour * 3_600).expect("in range");
        let tried = |dt, hour, next: Option<i64>| DayStatus {
            last_try: Some(LastTry {
                at: at(hour),
                next: next.map(at),
            }),
            ..day(dt, DayOutcome::Waiting, Some(Cause::Retry), 50)
        };
        let untried = day(13, DayOutcome::Waiting, Some(Cause::Retry), 50);
        for (days, expected) in [
            (vec![untried.clone()], None),
            (vec![tried(10, 1, None), untried], Some((at(1), None))),
            (
                vec![
                    tried(10, 5, Some(9)),
                    tried(11, 7, Some(8)),
                    tried(12, 6, None),
                ],
                Some((at(7), Some(at(8)))),
            ),
        ] {
            let found = verdict(&days).problems[0].last_try;
            assert_eq!(found.map(|of| (of.at, of.next)), expected);
        }
    }

    #[test]
    fn the_command_is_the_one_that_helps() {
        use DayOutcome::{Lost, Partial, Quarantined, Waiting};
        let (from, to) = (date(2026, 11, 10), date(2026, 11, 12));
        let range = |dataset| {
            format!("--tenant acme --dataset {dataset} --from 2026-11-10 --to 2026-11-12")
        };
        let list = range("meeting_list");
        for (dataset, outcome, expected) in [
            (
                Dataset::MeetingList,
                Quarantined,
                format!("retry --quarantine {list}"),
            ),
            (
                Dataset::MeetingList,
                Partial,
                format!("backfill {list} --again"),
            ),
            (Dataset::MeetingList, Lost, format!("backfill {list}")),
            (
                Dataset::MeetingList,
                Waiting,
                "run --tenant acme".to_owned(),
            ),
            // The API has no history of it.
            (Dataset::Room, Partial, "run --tenant acme".to_owned()),
        ] {
            let found = command("acme", dataset, outcome, None, from, to);
            assert_eq!(found, format!("meetlake {expected}"));
        }
    }
}
