//! The simulator's clock: simulated time that can run faster than real time.
//!
//! Quotas, export tasks and tokens live by this clock; only the two places that talk to a client in real time (`limits` and `auth`) convert
//! back. It knows nothing of time zones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Simulated time: `start + elapsed real time × speed`. Clones share one clock.
#[derive(Clone, Debug)]
pub struct SimClock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    start: Timestamp,
    speed: f64,
    advanced_ms: AtomicU64,
}

impl SimClock {
    /// A clock that shows `start` now and then runs `speed` simulated seconds per real second. A speed that is not a positive
    /// finite number counts as 1.
    #[must_use]
    pub fn new(start: Timestamp, speed: f64) -> Self {
        let speed = if speed.is_finite() && speed > 0.0 {
            speed
        } else {
            1.0
        };
        Self {
            shared: Arc::new(Shared {
                origin: Instant::now(),
                start,
                speed,
                advanced_ms: AtomicU64::new(0),
            }),
        }
    }

    /// A clock that shows noon of the day after `last_day` in `zone`: by then every meeting of the simulated days has ended, the
    /// 25-hour one included.
    #[must_use]
    pub fn noon_after(last_day: Date, zone: &TimeZone, speed: f64) -> Self {
        let noon = last_day
            .saturating_add(1.day())
            .at(12, 0, 0, 0)
            .to_zoned(zone.clone());
        Self::new(
            noon.map_or(Timestamp::MAX, |zoned| zoned.timestamp()),
            speed,
        )
    }

    /// The simulated instant now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::from_micros((self.elapsed_s() * 1e6) as i64);
        self.shared
            .start
            .saturating_add(elapsed)
            .unwrap_or(Timestamp::MAX)
    }

    /// The simulated instant at which the clock was set going.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.shared.start
    }

    /// Simulated seconds per real second.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.shared.speed
    }

    /// Simulated seconds since [`SimClock::start`].
    #[must_use]
    pub fn elapsed_s(&self) -> f64 {
        let advanced_s = self.shared.advanced_ms.load(Ordering::Relaxed) as f64 / 1_000.0;
        self.shared.origin.elapsed().as_secs_f64() * self.shared.speed + advanced_s
    }

    /// Real seconds since the clock was set going.
    #[must_use]
    pub fn real_elapsed_s(&self) -> f64 {
        self.shared.origin.elapsed().as_secs_f64()
    }

    /// Moves simulated time forward at once, for every clone. Whoever sleeps already sleeps on.
    pub fn advance(&self, simulated: Duration) {
        let simulated_ms = u64::try_from(simulated.as_millis()).unwrap_or(u64::MAX);
        self.shared
            .advanced_ms
            .fetch_add(simulated_ms, Ordering::Relaxed);
    }

    /// The real time that `simulated` takes.
    #[must_use]
    pub fn real(&self, simulated: Duration) -> Duration {
        simulated.div_f64(self.shared.speed)
    }

    /// Sleeps for `simulated` time.
    pub async fn sleep(&self, simulated: Duration) {
        tokio::time::sleep(self.real(simulated)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_runs_ahead_and_clones_share_it() {
        let start: Timestamp = "2026-10-19T04:00:00Z".parse().unwrap();
        let clock = SimClock::new(start, 1_000.0);
        let copy = clock.clone();
        copy.advance(Duration::from_secs(3_600));
        assert!(clock.now() >= start + SignedDuration::from_hours(1));
        assert_eq!(
            clock.real(Duration::from_secs(10)),
            Duration::from_millis(10)
        );
    }

    #[test]
    fn nonsense_speeds_are_real_time() {
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(SimClock::new(Timestamp::UNIX_EPOCH, speed).speed(), 1.0);
        }
    }

    #[test]
    fn noon_after_is_noon_in_the_zone() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let clock = SimClock::noon_after(jiff::civil::date(2026, 10, 18), &zone, 1.0);
        assert_eq!(clock.start().to_string(), "2026-10-19T04:00:00Z");
    }
}
