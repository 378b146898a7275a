//! How often endpoints were called, what they answered, and how long calls waited and took.
//!
//! The log names single calls and the ledger those of a task. This is for metrics, which add them
//! up for as long as the process lives.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::{self, Error};

/// Upper bounds of the durations that are counted apart, seconds.
pub const BOUNDS_S: [f64; 7] = [0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// How a call was answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answered {
    /// The HTTP status; `None` without an answer.
    pub status: Option<u16>,
    /// The API's code: 0 for what is an answer, `None` for one that is not documented, or where no
    /// envelope came. So there are as many as the documentation has.
    pub code: Option<i64>,
}

impl Answered {
    fn of(outcome: Result<(), &Error>) -> Self {
        match outcome {
            Ok(()) => Self {
                status: Some(200),
                code: Some(0),
            },
            Err(error) => Self {
                status: error.status(),
                code: error.code().filter(|code| error::is_documented(*code)),
            },
        }
    }
}

/// What is known of the calls of one endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// How many were answered, and how.
    pub answers: BTreeMap<Answered, u64>,
    /// How many took at most so long, by [`BOUNDS_S`]; each is counted once, and those that took
    /// longer in the last one.
    pub took: [u64; BOUNDS_S.len() + 1],
    /// How long all of them took, from sending to the last byte of a JSON answer, seconds.
    pub took_s: f64,
    /// How long all of them waited for the quota before, seconds.
    pub waited_s: f64,
}

/// The calls of all endpoints, by their names.
#[derive(Debug, Default)]
pub(super) struct UsageByEndpoint(Mutex<BTreeMap<&'static str, Usage>>);

impl UsageByEndpoint {
    /// A call waited so long for its slot.
    pub(super) fn waited(&self, endpoint: &'static str, waited: Duration) {
        self.usages().entry(endpoint).or_default().waited_s += waited.as_secs_f64();
    }

    /// A call was answered, or failed, after so long.
    pub(super) fn answered(
        &self,
        endpoint: &'static str,
        outcome: Result<(), &Error>,
        took: Duration,
    ) {
        let took = took.as_secs_f64();
        let mut usages = self.usages();
        let usage = usages.entry(endpoint).or_default();
        *usage.answers.entry(Answered::of(outcome)).or_default() += 1;
        let bucket = BOUNDS_S.partition_point(|bound| *bound < took);
        usage.took[bucket] += 1;
        usage.took_s += took;
    }

    /// What is known by now.
    pub(super) fn all(&self) -> BTreeMap<&'static str, Usage> {
        self.usages().clone()
    }

    fn usages(&self) -> MutexGuard<'_, BTreeMap<&'static str, Usage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_their_answers_and_by_how_long_they_took() {
        let usages = UsageByEndpoint::default();
        usages.waited("rooms", Duration::from_millis(1_500));
        for (took_ms, outcome) in [(50, Ok(())), (100, Ok(())), (700, Ok(())), (90_000, Ok(()))] {
            usages.answered("rooms", outcome, Duration::from_millis(took_ms));
        }
        let local = Error::local("write", "no room");
        usages.answered("rooms", Err(&local), Duration::ZERO);
        let all = usages.all();
        let usage = &all["rooms"];
        assert_eq!(usage.took, [3, 0, 0, 1, 0, 0, 0, 1]);
        assert!((usage.waited_s - 1.5).abs() < 1e-9 && (usage.took_s - 90.85).abs() < 1e-9);
        let answers: Vec<_> = usage.answers.iter().collect();
        let none = Answered {
            status: None,
            code: None,
        };
        let good = Answered {
            status: Some(200),
            code: Some(0),
        };
        assert_eq!(answers, [(&none, &1), (&good, &4)]);
    }
}
