//! Retries within seconds: transport errors, server errors, rate limits. The only file that uses the `backoff` crate.
//!
//! `backoff` gives the jittered intervals; the waiting is done on our [`Clock`]. Retries within minutes are the ledger's.
//!
//! An export has no idempotency key. A submit that was sent and not answered may have made an export task, so it is not sent again here:
//! [`Repeat::UnlessUnknown`] hands the error up, and the ledger decides. What certainly was not carried out (no connection, a rate limit,
//! an error in Feishu's own envelope) is tried again for every call.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use super::error::{Error, ErrorKind};
use crate::clock::Clock;

/// Total wait for rate limits of one call before it is given up; the ledger comes back to it.
const RATE_LIMIT_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// When a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It only reads.
    Always,
    /// It makes something: never when the fate of the first is unknown.
    UnlessUnknown,
}

/// Makes the call until it succeeds, fails for good, or has waited for `patience` in total between its attempts.
pub(super) async fn run<T>(
    clock: &Clock,
    patience: Duration,
    repeat: Repeat,
    mut attempt: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut backoff = intervals();
    let (mut waited, mut waited_for_limits) = (Duration::ZERO, Duration::ZERO);
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if !error.is_retryable() || (repeat == Repeat::UnlessUnknown && error.outcome_unknown()) {
            return Err(error);
        }
        let interval = backoff.next_backoff().expect("intervals have no end of their own");
        let wait = interval.max(error.retry_after().unwrap_or_default());
        let (total, limit) = match error.kind() {
            ErrorKind::RateLimited => (&mut waited_for_limits, RATE_LIMIT_PATIENCE),
            _ => (&mut waited, patience),
        };
        *total += wait;
        if *total > limit {
            return Err(error);
        }
        tracing::debug!(api.code = error.code(), wait_ms = wait.as_millis(), "calling again: {error}");
        clock.sleep(wait).await;
    }
}

/// Half a second, doubling to 20 s, each half as much more or less.
fn intervals() -> ExponentialBackoff {
    ExponentialBackoff {
        current_interval: Duration::from_millis(500),
        initial_interval: Duration::from_millis(500),
        randomization_factor: 0.5,
        multiplier: 2.0,
        max_interval: Duration::from_secs(20),
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Answered;
    use super::*;
    use jiff::Timestamp;

    const PATIENCE: Duration = Duration::from_secs(120);

    fn answered(status: u16, code: Option<i64>) -> Error {
        Error::answered("poll", &Answered { status, code, ..Answered::default() })
    }

    /// How many attempts an error gets, and how many seconds they take.
    async fn attempts(repeat: Repeat, error: Error) -> (usize, i64) {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let mut count = 0;
        let outcome = run(&clock, PATIENCE, repeat, async || {
            count += 1;
            Err::<(), _>(error.clone())
        });
        assert!(outcome.await.is_err());
        (count, clock.now().as_second())
    }

    #[tokio::test]
    async fn server_errors_are_tried_for_two_minutes() {
        let (count, seconds) = attempts(Repeat::Always, answered(500, Some(121001))).await;
        assert!((8..20).contains(&count), "{count}");
        assert!((80..=120).contains(&seconds), "{seconds}");
    }

    #[tokio::test]
    async fn rate_limits_wait_as_told_and_end_at_last() {
        let (count, seconds) = attempts(Repeat::Always, answered(429, Some(99991400))).await;
        assert_eq!((count, seconds), (16, 900));
    }

    #[tokio::test]
    async fn what_stays_wrong_is_not_tried_again() {
        assert_eq!(attempts(Repeat::Always, answered(400, Some(121003))).await, (1, 0));
        assert_eq!(attempts(Repeat::Always, answered(400, Some(424242))).await, (1, 0));
    }

    #[tokio::test]
    async fn a_submit_of_unknown_fate_is_not_sent_again() {
        let bad_gateway = || answered(502, None);
        assert_eq!(attempts(Repeat::UnlessUnknown, bad_gateway()).await, (1, 0));
        assert!(attempts(Repeat::Always, bad_gateway()).await.0 > 1);
        assert!(attempts(Repeat::UnlessUnknown, answered(500, Some(121001))).await.0 > 1);
    }
}
