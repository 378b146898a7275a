//! Retries within seconds: transport errors, server errors, rate limits. Only this file uses the
//! `backoff` crate.
//!
//! `backoff` gives the jittered intervals; we wait on our own [`Clock`]. Retries within minutes are
//! decided by `task::disposition`.
//!
//! An export has no idempotency key. A submit that was sent and not answered may have made an
//! export task, so it is not sent again here: [`Repeat::UnlessUnknown`] returns the error, and the
//! task is tried again later. A call that was certainly not carried out (no connection, a rate
//! limit, an error in Feishu's own envelope) is always retried.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use super::error::Error;
use crate::cause::Cause;
use crate::clock::Clock;

/// Total wait for rate limits of one call before it is given up. The ledger tries it again later.
const RATE_LIMIT_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// When a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It only reads.
    Always,
    /// It creates something: never when the outcome of the first attempt is unknown.
    UnlessUnknown,
}

/// The retries of one call:
/// `loop { match call().await { Ok(v) => return Ok(v), Err(e) => retries.pause(e).await? } }`.
///
/// (A function that takes the call as an async closure reads better, but its future is not `Send`
/// on Rust 1.95.)
pub(super) struct Retries<'a> {
    clock: &'a Clock,
    patience: Duration,
    repeat: Repeat,
    intervals: ExponentialBackoff,
    waited: Duration,
    waited_for_limits: Duration,
    token_renewed: bool,
}

impl<'a> Retries<'a> {
    /// Retries that wait for `patience` in total. Waits for rate limits have a limit of their own.
    pub(super) fn new(clock: &'a Clock, patience: Duration, repeat: Repeat) -> Self {
        Self {
            clock,
            patience,
            repeat,
            intervals: intervals(),
            waited: Duration::ZERO,
            waited_for_limits: Duration::ZERO,
            token_renewed: false,
        }
    }

    /// Waits until the call may be made again. After the first refused token it returns at once.
    ///
    /// # Errors
    /// The error itself, if the call must not be repeated.
    pub(super) async fn pause(&mut self, error: Error) -> Result<(), Error> {
        if error.is_stale_token() && !self.token_renewed {
            self.token_renewed = true;
            return Ok(());
        }
        let unknown = self.repeat == Repeat::UnlessUnknown && error.outcome_unknown();
        if unknown || !error.is_retryable() {
            return Err(error);
        }
        let wait = self.next_wait(&error);
        let (waited, limit) = match error.kind() {
            Cause::RateLimited => (&mut self.waited_for_limits, RATE_LIMIT_PATIENCE),
            _ => (&mut self.waited, self.patience),
        };
        *waited += wait;
        if *waited > limit {
            return Err(error);
        }
        tracing::debug!(
            api.code = error.code(),
            wait_ms = wait.as_millis(),
            "calling again: {error}"
        );
        self.clock.sleep(wait).await;
        Ok(())
    }

    /// The next interval, or longer if the server says so.
    fn next_wait(&mut self, error: &Error) -> Duration {
        let interval = self.intervals.next_backoff();
        let interval = interval.expect("intervals have no end of their own");
        interval.max(error.retry_after().unwrap_or_default())
    }
}

/// Half a second, doubling up to 20 s, each with a jitter of plus or minus 50 %.
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
    use super::super::error::RefusedAnswer;
    use super::*;
    use jiff::Timestamp;

    const PATIENCE: Duration = Duration::from_secs(120);

    fn answered(status: u16, code: Option<i64>) -> Error {
        Error::refused(
            "poll",
            &RefusedAnswer {
                status,
                code,
                ..RefusedAnswer::default()
            },
        )
    }

    /// How many attempts an error gets, and how many seconds they take.
    async fn attempts(repeat: Repeat, error: Error) -> (usize, i64) {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let mut count = 0;
        let mut retries = Retries::new(&clock, PATIENCE, repeat);
        loop {
            count += 1;
            if retries.pause(error.clone()).await.is_err() {
                return (count, clock.now().as_second());
            }
        }
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
        assert_eq!(
            attempts(Repeat::Always, answered(400, Some(121003))).await,
            (1, 0)
        );
        assert_eq!(
            attempts(Repeat::Always, answered(400, Some(424242))).await,
            (1, 0)
        );
    }

    #[tokio::test]
    async fn a_refused_token_is_worth_one_more_call_at_once() {
        assert_eq!(
            attempts(Repeat::UnlessUnknown, answered(400, Some(99991663))).await,
            (2, 0)
        );
    }

    #[tokio::test]
    async fn a_submit_of_unknown_fate_is_not_sent_again() {
        let bad_gateway = || answered(502, None);
        assert_eq!(attempts(Repeat::UnlessUnknown, bad_gateway()).await, (1, 0));
        assert!(attempts(Repeat::Always, bad_gateway()).await.0 > 1);
        assert!(
            attempts(Repeat::UnlessUnknown, answered(500, Some(121001)))
                .await
                .0
                > 1
        );
    }
}
