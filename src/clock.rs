//! What time it is, and waiting.
//!
//! All code asks a [`Clock`], never the operating system, so that `demo` can run a week in seconds
//! and a test can stop time. A clock knows nothing of zones; [`crate::window`] handles civil dates.

use std::sync::Arc;
#[cfg(test)]
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Gives the time and waits. Cheap to clone; clones share one time line.
#[derive(Clone, Debug)]
pub struct Clock(Arc<TimeSource>);

#[derive(Debug)]
enum TimeSource {
    /// The machine's clock.
    System,
    /// Starts at a fixed instant and runs `speed` times as fast as the machine's monotonic clock.
    #[cfg_attr(
        not(feature = "simulator"),
        allow(dead_code, reason = "for simulated companies")
    )]
    Scaled {
        origin: Timestamp,
        started: Instant,
        speed: f64,
    },
    /// Moves only by waiting or on request.
    #[cfg(test)]
    Manual(Mutex<Timestamp>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(TimeSource::System))
    }

    /// A clock that shows `origin` now and runs `speed` times as fast as real time (`speed` > 0).
    #[cfg_attr(
        not(feature = "simulator"),
        allow(dead_code, reason = "for simulated companies")
    )]
    #[must_use]
    pub fn scaled(origin: Timestamp, speed: f64) -> Self {
        let started = Instant::now();
        Self(Arc::new(TimeSource::Scaled {
            origin,
            started,
            speed,
        }))
    }

    /// A clock for tests: it stands at `now`, and every wait moves it forward at once.
    #[cfg(test)]
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Self(Arc::new(TimeSource::Manual(Mutex::new(now))))
    }

    /// The current instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            TimeSource::System => Timestamp::now(),
            TimeSource::Scaled {
                origin,
                started,
                speed,
            } => saturating_add(*origin, started.elapsed().mul_f64(*speed)),
            #[cfg(test)]
            TimeSource::Manual(now) => *now
                .lock()
                .expect("nothing panics while holding the manual clock"),
        }
    }

    /// Waits for `duration` of this clock's time.
    pub async fn sleep(&self, duration: Duration) {
        match &*self.0 {
            TimeSource::System => tokio::time::sleep(duration).await,
            TimeSource::Scaled { speed, .. } => tokio::time::sleep(duration.div_f64(*speed)).await,
            #[cfg(test)]
            TimeSource::Manual(_) => {
                self.advance(duration);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits until this clock shows `instant`. Returns at once if that is past.
    pub async fn sleep_until(&self, instant: Timestamp) {
        let wait = instant.duration_since(self.now());
        if let Ok(wait) = Duration::try_from(wait) {
            self.sleep(wait).await;
        }
    }

    /// Moves a manual clock forward. Other clocks move by themselves and ignore it.
    #[cfg(test)]
    pub fn advance(&self, duration: Duration) {
        if let TimeSource::Manual(now) = &*self.0 {
            let mut now = now
                .lock()
                .expect("nothing panics while holding the manual clock");
            *now = saturating_add(*now, duration);
        }
    }
}

fn saturating_add(instant: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    instant.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        text.parse().expect("a literal instant")
    }

    #[tokio::test]
    async fn waiting_moves_a_manual_clock_at_once() {
        let clock = Clock::manual(instant("2026-11-01T00:00:00Z"));
        clock.sleep(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), instant("2026-11-01T00:01:30Z"));
    }

    #[tokio::test]
    async fn a_scaled_clock_runs_faster_than_the_machine() {
        let origin = instant("2026-11-01T00:00:00Z");
        let clock = Clock::scaled(origin, 1000.0);
        clock.sleep(Duration::from_secs(20)).await;
        assert!(clock.now() >= origin + SignedDuration::from_secs(20));
    }

    #[test]
    fn the_end_of_time_is_not_a_panic() {
        let clock = Clock::manual(Timestamp::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Timestamp::MAX);
    }
}
