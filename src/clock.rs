//! What time it is, and waiting.
//!
//! Everything asks a [`Clock`], never the operating system, so that `demo` can live through a week in seconds and a test can stand still.
//! A clock knows nothing of zones: civil dates are [`crate::window`]'s business.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// A source of instants and of waiting; cheap to clone, clones share one time line.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// The machine's clock.
    System,
    /// Starts at a fixed instant and runs `speed` times as fast as the machine's monotonic clock.
    Scaled {
        origin: Timestamp,
        started: Instant,
        speed: f64,
    },
    /// Moves only when told to; waiting moves it.
    Manual(Mutex<Timestamp>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Kind::System))
    }

    /// A clock that shows `origin` now and runs `speed` times as fast as real time (`speed` > 0).
    #[must_use]
    pub fn scaled(origin: Timestamp, speed: f64) -> Self {
        let started = Instant::now();
        Self(Arc::new(Kind::Scaled {
            origin,
            started,
            speed,
        }))
    }

    /// A clock for tests: it stands at `now`, and every wait moves it forward at once.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Self(Arc::new(Kind::Manual(Mutex::new(now))))
    }

    /// The current instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Kind::System => Timestamp::now(),
            Kind::Scaled {
                origin,
                started,
                speed,
            } => saturating_add(*origin, started.elapsed().mul_f64(*speed)),
            Kind::Manual(now) => *now
                .lock()
                .expect("nothing panics while holding the manual clock"),
        }
    }

    /// Waits for `duration` of this clock's time.
    pub async fn sleep(&self, duration: Duration) {
        match &*self.0 {
            Kind::System => tokio::time::sleep(duration).await,
            Kind::Scaled { speed, .. } => tokio::time::sleep(duration.div_f64(*speed)).await,
            Kind::Manual(_) => {
                self.advance(duration);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits until this clock shows `instant`; returns at once if it is past.
    pub async fn sleep_until(&self, instant: Timestamp) {
        let wait = instant.duration_since(self.now());
        if let Ok(wait) = Duration::try_from(wait) {
            self.sleep(wait).await;
        }
    }

    /// Real time that passes while this clock moves by `duration`; for deadlines that a library keeps on the machine's clock.
    #[must_use]
    pub fn real(&self, duration: Duration) -> Duration {
        match &*self.0 {
            Kind::Scaled { speed, .. } => duration.div_f64(*speed),
            Kind::System | Kind::Manual(_) => duration,
        }
    }

    /// Moves a manual clock forward; other clocks move by themselves and ignore it.
    pub fn advance(&self, duration: Duration) {
        if let Kind::Manual(now) = &*self.0 {
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
