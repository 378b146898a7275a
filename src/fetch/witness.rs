//! Asks the list beside an export for the same rows, so that both can be compared.
//!
//! It is asked once the export is there. Whatever goes wrong costs the comparison and nothing else:
//! the day of the export never waits for it. Where a refusal concerns every task, or several calls
//! in a row fail, the list is left alone for an hour.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::{Error, Fetcher};
use crate::cause::{Cause, Failure, Reach};
use crate::datasets::{Dataset, SourceMode};
use crate::events::{EventKind, Subject};
use crate::findings::Witness;
use crate::record::TaskRow;

/// How long a list is left alone that does not answer: about as long as a night's exports take.
const LEFT_ALONE: SignedDuration = SignedDuration::from_hours(1);
/// So many failures in a row are no accident. Each cost its task the patience of one call.
const FAILURES: u32 = 3;

/// The lists that are left alone for a time; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Witnesses(Arc<Mutex<BTreeMap<Dataset, Standing>>>);

/// How a list answered lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    /// Failures since the last answer.
    failures: u32,
    /// When it may be asked again.
    not_before: Option<Timestamp>,
}

impl Standing {
    fn may_be_asked(self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    /// The standing after a call that failed for this cause.
    fn failed(self, cause: Cause, now: Timestamp) -> Self {
        let counts = match cause {
            // It is about one task.
            Cause::BadRequest | Cause::Gone => return self,
            cause if cause.reach() != Reach::Task => FAILURES,
            _ => self.failures + 1,
        };
        match counts < FAILURES {
            true => Self {
                failures: counts,
                ..self
            },
            false => Self {
                failures: 0,
                not_before: now.checked_add(LEFT_ALONE).ok(),
            },
        }
    }
}

impl Witnesses {
    fn with<T>(&self, dataset: Dataset, of: impl FnOnce(&mut Standing) -> T) -> T {
        let mut standings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        of(standings.entry(dataset).or_default())
    }
}

impl Fetcher {
    /// Asks the list for what `task` exported.
    ///
    /// # Errors
    /// [`Error::Stopped`] on request. Nothing else: it is told, and there is no answer then.
    pub async fn witness(&self, task: &TaskRow) -> Result<Witness, Error> {
        let dataset = task.spec.dataset();
        let now = self.clock.now();
        let standings = &self.witnesses;
        if !standings.with(dataset, |standing| standing.may_be_asked(now)) {
            return Ok(Witness::Unanswered);
        }
        let mut asked = task.clone();
        asked.spec.request.mode = SourceMode::Query;
        let got = tokio::select! {
            got = Box::pin(self.list(&asked)) => got,
            () = self.stop.cancelled() => return Err(Error::Stopped),
        };
        crash_point!("w07-witness-fetched");
        let error = match got {
            Ok((sha256, _)) => {
                standings.with(dataset, |standing| *standing = Standing::default());
                return Ok(Witness::Sha256(sha256));
            }
            Err(error) => error,
        };
        let (cause, log_id) = match &error {
            Error::GaveUp { call, log_id, .. } => (call.unwrap_or(Cause::Other), log_id.clone()),
            _ => (Cause::Other, None),
        };
        let now = self.clock.now();
        standings.with(dataset, |standing| *standing = standing.failed(cause, now));
        let failure = Failure::new(cause, error.to_string());
        let subject = Subject {
            log_id,
            ..task.into()
        };
        self.events
            .emit(subject, EventKind::NotCompared { failure });
        Ok(Witness::Unanswered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_does_not_answer_is_left_alone_for_an_hour() {
        let now = Timestamp::UNIX_EPOCH;
        for (causes, is_asked) in [
            (vec![], true),
            (vec![Cause::Scope], false),
            (vec![Cause::Role], false),
            (vec![Cause::QuotaExhausted], false),
            (vec![Cause::Credentials], false),
            (vec![Cause::Retry, Cause::RateLimited], true),
            (vec![Cause::Retry, Cause::RateLimited, Cause::Retry], false),
            // What is wrong with single tasks says nothing of the others.
            (
                vec![Cause::BadRequest, Cause::Gone, Cause::BadRequest],
                true,
            ),
            (vec![Cause::Retry, Cause::BadRequest, Cause::Retry], true),
        ] {
            let begun = Standing::default();
            let standing = causes
                .iter()
                .fold(begun, |standing, cause| standing.failed(*cause, now));
            assert_eq!(standing.may_be_asked(now), is_asked, "{causes:?}");
            assert!(standing.may_be_asked(now + LEFT_ALONE), "{causes:?}");
        }
    }
}
