//! What becomes of a task whose attempt failed: later, failed, quarantined, or held for the next
//! run.
//!
//! Pure. Takes what went wrong and what is known of the task, and gives the next state, when it is
//! tried again, and the failure to record. Whoever acts on it is `pipeline`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::machine::{GaveUp, State};
use crate::cause::{Cause, Failure, Reach};

/// Attempts of one generation of a task.
pub const MOST_ATTEMPTS: u32 = 5;
/// After this many failed reads of the same bytes the workbook is quarantined. One or two failures
/// may be a cut connection or a machine under load.
pub const MOST_DAMAGED_READS: u32 = 3;
/// Wait before the second attempt; doubled for each further one.
pub const FIRST_DELAY: Duration = Duration::from_secs(60);
/// Longest wait between attempts.
pub const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);
/// Wait between the attempts of a snapshot once its attempts are used up: the day does not come
/// back, so it is tried until its end. It is longer than a run waits, so that a run ends all the
/// same.
pub const DELAY_UNTIL_MIDNIGHT: Duration = Duration::from_secs(30 * 60);

/// Bytes that could not be read, and how many times in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// SHA-256 of the bytes.
    pub sha256: String,
    /// Failed reads of the same bytes, one after the other.
    pub times: u32,
}

/// What ended an attempt before its rows were in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptFailure {
    /// No bytes were brought: the export's machine gave up, or a call failed.
    NotFetched {
        /// Where the next attempt starts.
        state: State,
        /// What the machine decided.
        gave_up: GaveUp,
        /// What kind of call failed, if one did.
        call: Option<Cause>,
        /// For people.
        message: String,
    },
    /// The spool could not keep the bytes or the rows.
    NotKept {
        /// Where the task stands.
        state: State,
        /// For people.
        message: String,
    },
    /// The spool lost the bytes after the ledger recorded them.
    OriginalLost,
    /// The bytes are here, and no rows came of them.
    NotRead {
        /// The fetched state.
        fetched: State,
        /// The state from which the file is fetched once more.
        refetch: State,
        /// Why.
        blame: Blame,
        /// For people.
        reason: String,
    },
    /// Our own code panicked.
    Panicked {
        /// What was recorded last.
        state: State,
    },
}

/// What is to blame for a workbook that was not taken, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// What it says breaks the contract.
    Data,
    /// Its bytes are unreadable, perhaps only this time.
    Bytes,
    /// Its reader did not live to its end: because of it, or because the machine had no memory or
    /// time left.
    Reader,
    /// This machine: no reader could be started.
    Machine,
}

/// What is known of a task when its attempt fails.
#[derive(Clone, Copy, Debug)]
pub struct Attempts<'a> {
    /// Attempts given up before this one.
    pub given_up: u32,
    /// Bytes that could not be read before.
    pub damage: Option<&'a Damage>,
    /// Until when the task can be tried, where its day does not come back: a snapshot's.
    pub day_ends: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// What becomes of the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disposition {
    /// What happens next.
    pub next: NextStep,
    /// From where the task goes on.
    pub state: State,
    /// What is recorded and shown.
    pub failure: Failure,
}

/// What happens next to a task whose attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// It is tried again.
    Later {
        /// Not before this instant.
        run_at: Timestamp,
        /// Bytes that could not be read, to be remembered.
        damage: Option<Damage>,
    },
    /// Its attempts are used up, or more would not help. The next run tries it again.
    Fail,
    /// Its workbook goes to quarantine.
    Quarantine,
    /// What was refused concerns more than this task. The next run may begin with it at once, and
    /// whoever mends the cause does not wait.
    Hold,
}

/// The disposition of a failed attempt.
#[must_use]
pub fn of_failure(failure: AttemptFailure, attempts: Attempts<'_>) -> Disposition {
    match failure {
        AttemptFailure::NotFetched {
            state,
            gave_up,
            call,
            message,
        } => not_fetched(
            state,
            Failure::new(cause_of(gave_up, call), message),
            gave_up,
            call,
            attempts,
        ),
        AttemptFailure::NotKept { state, message } => Disposition {
            next: NextStep::Hold,
            state,
            failure: Failure::new(Cause::Storage, message),
        },
        AttemptFailure::OriginalLost => {
            let message = "the spool lost what was fetched; it is fetched again";
            later(
                State::Planned,
                Failure::new(Cause::SpoolLost, message),
                None,
                attempts,
            )
        }
        AttemptFailure::NotRead {
            fetched,
            refetch,
            blame,
            reason,
        } => not_read(fetched, refetch, blame, reason, attempts),
        AttemptFailure::Panicked { state } => {
            let message = "meetlake gave up in the middle of this task, which is a mistake in it; \
                           the log says where. Please report it";
            later_or_fail(state, Failure::new(Cause::Other, message), None, attempts)
        }
    }
}

fn not_fetched(
    state: State,
    failure: Failure,
    gave_up: GaveUp,
    call: Option<Cause>,
    attempts: Attempts<'_>,
) -> Disposition {
    match call {
        // Nothing brings the day back.
        _ if gave_up == GaveUp::DayIsOver => Disposition {
            next: NextStep::Fail,
            state: State::Planned,
            failure,
        },
        Some(call) if call.reach() != Reach::Task => Disposition {
            next: NextStep::Hold,
            state,
            failure,
        },
        // Asking again would be answered in the same way.
        Some(Cause::BadRequest | Cause::Other) => Disposition {
            next: NextStep::Fail,
            state: State::Planned,
            failure,
        },
        // A minute later others may have been shown, which tells what this one is.
        Some(Cause::Hidden) if attempts.given_up > 0 => Disposition {
            next: NextStep::Fail,
            state: State::Planned,
            failure,
        },
        _ => later_or_fail(state, failure, None, attempts),
    }
}

fn not_read(
    fetched: State,
    refetch: State,
    blame: Blame,
    reason: String,
    attempts: Attempts<'_>,
) -> Disposition {
    let quarantine = |fetched: State, reason: String| Disposition {
        next: NextStep::Quarantine,
        state: fetched,
        failure: Failure::new(Cause::Data, reason),
    };
    let damage = Damage {
        sha256: fetched.sha256().unwrap_or_default().to_owned(),
        times: 1 + attempts
            .damage
            .filter(|damage| Some(damage.sha256.as_str()) == fetched.sha256())
            .map_or(0, |damage| damage.times),
    };
    let is_damaged = damage.times >= MOST_DAMAGED_READS;
    match blame {
        Blame::Data => quarantine(fetched, reason),
        Blame::Bytes | Blame::Reader if is_damaged => quarantine(fetched, reason),
        // Bytes that differ each time are the connection's fault: such a task fails when its
        // attempts are used up, and is never quarantined.
        Blame::Bytes => {
            let message = format!("what was fetched cannot be used: {reason}");
            let cause = match attempts.is_last() {
                true => Cause::Export,
                false => Cause::Data,
            };
            later_or_fail(
                refetch,
                Failure::new(cause, message),
                Some(damage),
                attempts,
            )
        }
        Blame::Reader => {
            let message = format!("what was fetched was not read: {reason}");
            later_or_fail(
                fetched,
                Failure::new(Cause::Data, message),
                Some(damage),
                attempts,
            )
        }
        Blame::Machine => {
            later_or_fail(fetched, Failure::new(Cause::Local, reason), None, attempts)
        }
    }
}

fn later_or_fail(
    state: State,
    failure: Failure,
    damage: Option<Damage>,
    attempts: Attempts<'_>,
) -> Disposition {
    match attempts.is_last() {
        true => Disposition {
            next: NextStep::Fail,
            state,
            failure,
        },
        false => later(state, failure, damage, attempts),
    }
}

fn later(
    state: State,
    failure: Failure,
    damage: Option<Damage>,
    attempts: Attempts<'_>,
) -> Disposition {
    let run_at = attempts
        .now
        .checked_add(SignedDuration::try_from(attempts.delay()).unwrap_or_default())
        .unwrap_or(Timestamp::MAX);
    Disposition {
        next: NextStep::Later { run_at, damage },
        state,
        failure,
    }
}

/// The ledger's cause for an attempt that brought no bytes.
fn cause_of(gave_up: GaveUp, call: Option<Cause>) -> Cause {
    match (gave_up, call) {
        (
            GaveUp::ExportFailed
            | GaveUp::DeadlinePassed
            | GaveUp::Forgotten
            | GaveUp::FileGone
            | GaveUp::Damaged,
            _,
        ) => Cause::Export,
        (GaveUp::DayIsOver, _) => Cause::Gone,
        (GaveUp::CallFailed, Some(call)) => call,
        (GaveUp::CallFailed, None) => Cause::Other,
    }
}

impl Attempts<'_> {
    /// Whether no further attempt follows this one.
    fn is_last(&self) -> bool {
        let again = self.now + SignedDuration::try_from(DELAY_UNTIL_MIDNIGHT).unwrap_or_default();
        self.are_used_up() && self.day_ends.is_none_or(|end| again >= end)
    }

    /// The wait before the next attempt.
    fn delay(&self) -> Duration {
        if self.are_used_up() && self.day_ends.is_some() {
            return DELAY_UNTIL_MIDNIGHT;
        }
        FIRST_DELAY
            .saturating_mul(1 << self.given_up.min(8))
            .min(LONGEST_DELAY)
    }

    /// Whether this was the last of the attempts that every task has.
    const fn are_used_up(&self) -> bool {
        self.given_up + 1 >= MOST_ATTEMPTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::ExportId;

    fn now() -> Timestamp {
        Timestamp::from_second(1_795_000_000).expect("an instant")
    }

    fn fetched(sha256: &str) -> State {
        State::Fetched {
            export_id: Some(ExportId("7".into())),
            submitted_at: now(),
            sha256: sha256.into(),
            size_bytes: 1,
            extracted_at: now(),
        }
    }

    fn submitted() -> State {
        State::Submitted {
            export_id: ExportId("7".into()),
            submitted_at: now(),
            polls: 0,
            relinked: false,
        }
    }

    fn attempts(given_up: u32) -> Attempts<'static> {
        Attempts {
            day_ends: None,
            given_up,
            damage: None,
            now: now(),
        }
    }

    fn not_fetched(gave_up: GaveUp, call: Option<Cause>) -> AttemptFailure {
        AttemptFailure::NotFetched {
            state: submitted(),
            gave_up,
            call,
            message: "it said no".into(),
        }
    }

    fn not_read(blame: Blame) -> AttemptFailure {
        AttemptFailure::NotRead {
            fetched: fetched("aa"),
            refetch: submitted(),
            blame,
            reason: "no zip".into(),
        }
    }

    /// Seconds until the next attempt; `None` unless it is put off.
    fn wait_s(disposition: &Disposition) -> Option<i64> {
        match disposition.next {
            NextStep::Later { run_at, .. } => Some(run_at.duration_since(now()).as_secs()),
            _ => None,
        }
    }

    #[test]
    fn the_wait_doubles_up_to_a_quarter_of_an_hour_and_the_fifth_attempt_is_the_last() {
        let table = [
            (0, Some(60)),
            (1, Some(120)),
            (2, Some(240)),
            (3, Some(480)),
            (4, None),
            (9, None),
        ];
        for (given_up, wait) in table {
            let failure = not_fetched(GaveUp::ExportFailed, None);
            let disposition = of_failure(failure, attempts(given_up));
            assert_eq!(wait_s(&disposition), wait, "after {given_up}");
            assert_eq!(disposition.state, submitted());
            let fails = disposition.next == NextStep::Fail;
            assert_eq!(fails, wait.is_none());
        }
        for (given_up, wait) in [(4, 900), (8, 900), (400, 900)] {
            let disposition = of_failure(AttemptFailure::OriginalLost, attempts(given_up));
            assert_eq!(wait_s(&disposition), Some(wait), "after {given_up}");
        }
    }

    #[test]
    fn a_call_that_failed_is_tried_again_failed_or_held_by_its_cause() {
        use Cause::*;
        let held = [Credentials, Scope, Role, QuotaExhausted, Local];
        let hopeless = [BadRequest, Other];
        for cause in Cause::ALL {
            let failure = not_fetched(GaveUp::CallFailed, Some(cause));
            let disposition = of_failure(failure, attempts(0));
            assert_eq!(disposition.failure, Failure::new(cause, "it said no"));
            if held.contains(&cause) || cause == Storage {
                assert_eq!(disposition.next, NextStep::Hold, "{cause}");
                assert_eq!(disposition.state, submitted());
            } else if hopeless.contains(&cause) {
                assert_eq!(disposition.next, NextStep::Fail, "{cause}");
                assert_eq!(disposition.state, State::Planned, "it is submitted anew");
            } else {
                assert_eq!(wait_s(&disposition), Some(60), "{cause}");
            }
        }
    }

    #[test]
    fn what_the_machine_gave_up_is_the_exports_fault_unless_a_call_failed() {
        use GaveUp::*;
        for gave_up in [ExportFailed, DeadlinePassed, Forgotten, FileGone, Damaged] {
            for call in [None, Some(Cause::Retry)] {
                let found = of_failure(not_fetched(gave_up, call), attempts(0));
                assert_eq!(found.failure.cause, Cause::Export, "{gave_up:?}");
            }
        }
        let found = of_failure(not_fetched(CallFailed, None), attempts(0));
        assert_eq!(found.failure.cause, Cause::Other);
        let found = of_failure(not_fetched(CallFailed, Some(Cause::Gone)), attempts(0));
        assert_eq!(found.failure.cause, Cause::Gone);
    }

    #[test]
    fn data_that_breaks_its_contract_is_quarantined_at_once() {
        for given_up in [0, 4] {
            let disposition = of_failure(not_read(Blame::Data), attempts(given_up));
            assert_eq!(disposition.next, NextStep::Quarantine);
            assert_eq!(disposition.state, fetched("aa"));
            assert_eq!(disposition.failure, Failure::new(Cause::Data, "no zip"));
        }
    }

    #[test]
    fn the_same_damaged_bytes_are_quarantined_the_third_time_and_others_begin_anew() {
        let table = [
            (None, 1, false),
            (Some(("aa", 1)), 2, false),
            (Some(("aa", 2)), 3, true),
            (Some(("aa", 9)), 10, true),
            (Some(("bb", 2)), 1, false),
        ];
        for blame in [Blame::Bytes, Blame::Reader] {
            for (before, times, is_quarantined) in table {
                let before = before.map(|(sha256, times)| Damage {
                    sha256: sha256.into(),
                    times,
                });
                let known = Attempts {
                    damage: before.as_ref(),
                    ..attempts(0)
                };
                let disposition = of_failure(not_read(blame), known);
                let expected = Damage {
                    sha256: "aa".into(),
                    times,
                };
                match disposition.next {
                    NextStep::Quarantine => assert!(is_quarantined, "{before:?}"),
                    NextStep::Later { damage, .. } => {
                        assert!(!is_quarantined, "{before:?}");
                        assert_eq!(damage, Some(expected));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn damaged_bytes_are_fetched_again_and_a_dead_reader_reads_them_again() {
        let table = [
            (
                Blame::Bytes,
                0,
                submitted(),
                Cause::Data,
                "what was fetched cannot be used: no zip",
            ),
            (
                Blame::Bytes,
                4,
                submitted(),
                Cause::Export,
                "what was fetched cannot be used: no zip",
            ),
            (
                Blame::Reader,
                0,
                fetched("aa"),
                Cause::Data,
                "what was fetched was not read: no zip",
            ),
            (
                Blame::Reader,
                4,
                fetched("aa"),
                Cause::Data,
                "what was fetched was not read: no zip",
            ),
            (Blame::Machine, 0, fetched("aa"), Cause::Local, "no zip"),
            (Blame::Machine, 4, fetched("aa"), Cause::Local, "no zip"),
        ];
        for (blame, given_up, state, cause, message) in table {
            let disposition = of_failure(not_read(blame), attempts(given_up));
            assert_eq!(disposition.state, state, "{blame:?}");
            assert_eq!(disposition.failure, Failure::new(cause, message));
            assert_eq!(disposition.next == NextStep::Fail, given_up == 4);
        }
        let machine = of_failure(not_read(Blame::Machine), attempts(0));
        assert!(matches!(machine.next, NextStep::Later { damage: None, .. }));
    }

    #[test]
    fn a_spool_that_cannot_keep_bytes_holds_the_task_where_it_stands() {
        let failure = AttemptFailure::NotKept {
            state: submitted(),
            message: "disk full".into(),
        };
        let disposition = of_failure(failure, attempts(4));
        assert_eq!(disposition.next, NextStep::Hold);
        assert_eq!(disposition.state, submitted());
        assert_eq!(
            disposition.failure,
            Failure::new(Cause::Storage, "disk full")
        );
    }

    #[test]
    fn lost_bytes_are_exported_anew_and_a_panic_costs_an_attempt() {
        let lost = of_failure(AttemptFailure::OriginalLost, attempts(1));
        assert_eq!(lost.state, State::Planned);
        assert_eq!(lost.failure.cause, Cause::SpoolLost);
        let panicked = |given_up| {
            let state = fetched("aa");
            of_failure(AttemptFailure::Panicked { state }, attempts(given_up))
        };
        assert_eq!(panicked(0).state, fetched("aa"));
        assert_eq!(wait_s(&panicked(0)), Some(60));
        assert_eq!(panicked(4).next, NextStep::Fail);
        assert_eq!(panicked(4).failure.cause, Cause::Other);
    }

    /// Feishu is down from the first attempt on.
    #[test]
    fn a_snapshot_is_tried_until_its_day_is_over() {
        let hours = |hours: f64| SignedDuration::from_secs_f64(hours * 3_600.0);
        for (given_up, day_ends, waits) in [
            (0, 20.0, Some(hours(1.0 / 60.0))),
            (3, 20.0, Some(hours(8.0 / 60.0))),
            (4, 20.0, Some(hours(0.5))),
            (40, 0.6, Some(hours(0.5))),
            (40, 0.5, None),
            (4, 0.2, None),
        ] {
            let attempts = Attempts {
                given_up,
                damage: None,
                day_ends: Some(now() + hours(day_ends)),
                now: now(),
            };
            let failure = AttemptFailure::NotFetched {
                state: State::Planned,
                gave_up: GaveUp::CallFailed,
                call: Some(Cause::Retry),
                message: "down".into(),
            };
            let found = match of_failure(failure, attempts).next {
                NextStep::Later { run_at, .. } => Some(run_at.duration_since(now())),
                _ => None,
            };
            assert_eq!(found, waits, "{given_up} given up, {day_ends} h left");
        }
        let over = AttemptFailure::NotFetched {
            state: State::Planned,
            gave_up: GaveUp::DayIsOver,
            call: None,
            message: "over".into(),
        };
        let first = Attempts {
            given_up: 0,
            damage: None,
            day_ends: Some(now()),
            now: now(),
        };
        assert_eq!(of_failure(over, first).next, NextStep::Fail);
    }
}
