//! The limit of each endpoint: a window of 60 simulated seconds that slides.
//!
//! A refused call does not count against the limit. The window lives in simulated time; [`Refusal`] is what the client reads in its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::clock::SimClock;
use crate::endpoint::{Endpoint, Rate};
use crate::knobs::Knobs;

const MINUTE_US: i64 = 60_000_000;
const SECOND_US: i64 = 1_000_000;

/// The limits of all endpoints.
#[derive(Debug)]
pub(crate) struct Limits {
    windows: BTreeMap<Endpoint, Mutex<Window>>,
    clock: SimClock,
    real_time_headers: bool,
}

/// A call beyond the limit, as the headers announce it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Calls a minute.
    pub(crate) limit: u64,
    /// Seconds after which a call is accepted again, at least 1.
    pub(crate) reset_s: u64,
}

impl Limits {
    /// The published limits, each times `quota_scale` but at least one call.
    pub(crate) fn new(
        knobs: &Knobs,
        quota_scale: f64,
        clock: SimClock,
        real_time_headers: bool,
    ) -> Self {
        let window = |endpoint: Endpoint| {
            Some((
                endpoint,
                Mutex::new(Window::new(endpoint.rate(knobs)?, quota_scale)),
            ))
        };
        Self {
            windows: Endpoint::ALL.into_iter().filter_map(window).collect(),
            clock,
            real_time_headers,
        }
    }

    /// Counts a call, or says why it is not accepted.
    pub(crate) fn admit(&self, endpoint: Endpoint) -> Result<(), Refusal> {
        let Some(window) = self.windows.get(&endpoint) else {
            return Ok(());
        };
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        let wait_us = match window.admit(self.clock.now().as_microsecond()) {
            None => return Ok(()),
            Some(wait_us) => wait_us,
        };
        Err(self.refusal(window.per_minute, wait_us))
    }

    /// The headers that a good answer may have: the limit, and that it resets in a minute.
    pub(crate) fn standing(&self, endpoint: Endpoint) -> Refusal {
        Refusal {
            reset_s: 60,
            ..self.refuse(endpoint)
        }
    }

    /// The refusal of a call that a fault refuses: as if the window had just begun.
    pub(crate) fn refuse(&self, endpoint: Endpoint) -> Refusal {
        let limit = self.windows.get(&endpoint).map_or(100, |window| {
            window
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .per_minute
        });
        self.refusal(limit, 2 * SECOND_US)
    }

    fn refusal(&self, per_minute: usize, wait_us: i64) -> Refusal {
        let speed = if self.real_time_headers {
            self.clock.speed()
        } else {
            1.0
        };
        Refusal {
            limit: (per_minute as f64 * speed).ceil() as u64,
            reset_s: (wait_us as f64 / SECOND_US as f64 / speed).ceil().max(1.0) as u64,
        }
    }
}

/// Accepted calls of the last minute.
#[derive(Debug)]
struct Window {
    per_minute: usize,
    per_second: Option<usize>,
    accepted_us: VecDeque<i64>,
}

impl Window {
    fn new(rate: Rate, scale: f64) -> Self {
        let scaled = |calls: u32| ((f64::from(calls) * scale).round() as usize).max(1);
        Self {
            per_minute: scaled(rate.per_minute),
            per_second: rate.per_second.map(scaled),
            accepted_us: VecDeque::new(),
        }
    }

    /// `None` when the call is accepted, else how long until one will be.
    fn admit(&mut self, now_us: i64) -> Option<i64> {
        while self
            .accepted_us
            .front()
            .is_some_and(|&at| at <= now_us - MINUTE_US)
        {
            self.accepted_us.pop_front();
        }
        let of_minute = self.wait_for(self.per_minute, MINUTE_US, now_us);
        let of_second = self
            .per_second
            .and_then(|calls| self.wait_for(calls, SECOND_US, now_us));
        let wait_us = of_minute.max(of_second);
        if wait_us.is_none() {
            self.accepted_us.push_back(now_us);
        }
        wait_us
    }

    /// How long until the call that is `calls` back has left a window of `length_us`.
    fn wait_for(&self, calls: usize, length_us: i64, now_us: i64) -> Option<i64> {
        let oldest = self
            .accepted_us
            .len()
            .checked_sub(calls)
            .and_then(|index| self.accepted_us.get(index))?;
        let wait_us = oldest + length_us - now_us;
        (wait_us > 0).then_some(wait_us)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    fn limits(speed: f64, scale: f64, real_time_headers: bool) -> (Limits, SimClock) {
        let clock = SimClock::new(Timestamp::UNIX_EPOCH, speed);
        (
            Limits::new(&Knobs::default(), scale, clock.clone(), real_time_headers),
            clock,
        )
    }

    #[test]
    fn the_101st_call_of_a_minute_is_refused_and_one_a_minute_later_is_not() {
        let (limits, clock) = limits(1.0, 1.0, false);
        for _ in 0..100 {
            assert_eq!(limits.admit(Endpoint::Poll), Ok(()));
        }
        let refusal = limits.admit(Endpoint::Poll).unwrap_err();
        assert_eq!(refusal.limit, 100);
        assert!((59..=60).contains(&refusal.reset_s), "{refusal:?}");
        assert_eq!(limits.admit(Endpoint::Download), Ok(()));
        clock.advance(Duration::from_secs(60));
        assert_eq!(limits.admit(Endpoint::Poll), Ok(()));
    }

    #[test]
    fn the_limit_of_a_second_holds_too() {
        let (limits, clock) = limits(1.0, 1.0, false);
        for _ in 0..50 {
            assert_eq!(limits.admit(Endpoint::Rooms), Ok(()));
        }
        assert_eq!(limits.admit(Endpoint::Rooms).unwrap_err().reset_s, 1);
        clock.advance(Duration::from_secs(1));
        assert_eq!(limits.admit(Endpoint::Rooms), Ok(()));
    }

    #[test]
    fn headers_are_in_the_client_s_time_when_asked() {
        let (limits, _) = limits(10.0, 0.5, true);
        while limits.admit(Endpoint::MeetingList).is_ok() {}
        let refusal = limits.admit(Endpoint::MeetingList).unwrap_err();
        assert_eq!(refusal.limit, 500);
        assert!((5..=6).contains(&refusal.reset_s), "{refusal:?}");
    }

    #[test]
    fn tenant_tokens_have_no_limit() {
        let (limits, _) = limits(1.0, 0.0, false);
        assert!((0..500).all(|_| limits.admit(Endpoint::TenantToken).is_ok()));
    }
}
