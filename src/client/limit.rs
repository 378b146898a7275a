//! How many calls an endpoint may get: one sliding window of 60 seconds for each endpoint, app and
//! tenant.
//!
//! The server counts a call at some moment between sending and answer. So a slot is taken when a
//! call is sent, and is free again 60 seconds after the answer arrived. Whatever the latencies, the
//! server never sees more than the limit within any 60 seconds. (A bucket of 100 with refill can
//! send 199.) [`SlidingWindow`] decides and never waits; [`RateLimiter`] waits, and serves the more
//! urgent callers first, among these in the order they came (`turns`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::datasets::{CallLimits, Dataset, Endpoint, Tier, all_methods};
use crate::task::Urgency;

mod turns;

use turns::{Ticket, Turns};

const MINUTE: SignedDuration = SignedDuration::from_secs(60);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Added to the wait that the server asks for, which is in whole seconds.
const WAIT_MARGIN: SignedDuration = SignedDuration::from_millis(250);

/// The longest time without calls after a rate limit.
const LONGEST_HOLD: SignedDuration = SignedDuration::from_secs(121);

/// Why no slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotWait {
    /// No slot is free before this instant.
    Until(Timestamp),
    /// No slot is free before a call under way is answered.
    ForAnswer,
}

/// The calls of one endpoint within the last minute. It does no I/O and reads no clock.
#[derive(Clone, Debug)]
pub struct SlidingWindow {
    per_minute: u32,
    per_second: Option<u32>,
    /// The tier's own limit a second, whatever a header said since.
    most_per_second: Option<u32>,
    /// The highest value to which a header may raise `per_minute`.
    ceiling: u32,
    in_flight: usize,
    /// When the calls of the last minute were answered, oldest first.
    answered: VecDeque<Timestamp>,
    hold_until: Option<Timestamp>,
    /// When a slot was taken last.
    last_taken: Option<Timestamp>,
    /// How much of the limit we use, percent: less while another program uses the rest.
    share: u32,
    /// When the share was last changed.
    share_since: Timestamp,
    /// Refusals since they were last asked for that were not our own doing.
    refusals: u32,
}

/// The least share of a limit, percent. Less would look like a standstill.
const LEAST_SHARE: u32 = 10;
/// What a minute without a refusal adds to the share, percent of the limit.
const REGAINED: u32 = 10;

impl SlidingWindow {
    /// A window of at most `per_minute` calls (at least one) in 60 seconds, and `per_second` in
    /// one.
    #[must_use]
    pub fn new(per_minute: u32, per_second: Option<u32>) -> Self {
        let per_minute = per_minute.max(1);
        Self {
            per_minute,
            per_second,
            most_per_second: per_second,
            ceiling: per_minute,
            in_flight: 0,
            answered: VecDeque::new(),
            hold_until: None,
            last_taken: None,
            share: 100,
            share_since: Timestamp::MIN,
            refusals: 0,
        }
    }

    fn of(tier: Tier, limits: &CallLimits) -> Self {
        Self {
            ceiling: limits.ceiling(tier),
            ..Self::new(limits.per_minute(tier), limits.per_second(tier))
        }
    }

    /// Takes a slot for a call that is sent now. What is not urgent takes its slots evenly over the
    /// minute: as many as otherwise, and a call that is urgent never waits for the minute to end.
    ///
    /// # Errors
    /// What to wait for, if no slot is free.
    pub fn try_acquire(&mut self, urgency: Urgency, now: Timestamp) -> Result<(), SlotWait> {
        self.drop_old_calls(now);
        if let Some(until) = self.hold_until {
            return Err(SlotWait::Until(until));
        }
        self.regain(now);
        if let Some(until) = self
            .next_of_even_calls(urgency)
            .filter(|until| *until > now)
        {
            return Err(SlotWait::Until(until));
        }
        self.check_span(MINUTE, self.shared(self.per_minute), now)?;
        if let Some(per_second) = self.per_second {
            self.check_span(SECOND, self.shared(per_second), now)?;
        }
        self.in_flight += 1;
        self.last_taken = Some(now);
        Ok(())
    }

    /// When the next call may be sent of those that are spread over the minute.
    fn next_of_even_calls(&self, urgency: Urgency) -> Option<Timestamp> {
        let between = MINUTE.as_micros() / i128::from(self.shared(self.per_minute));
        let between = i64::try_from(between).map(SignedDuration::from_micros);
        let last = self.last_taken.filter(|_| urgency > Urgency::Nightly)?;
        Some(after(last, between.unwrap_or(MINUTE)))
    }

    /// Records that a call was answered or given up. Its slot is free again in 60 seconds.
    pub fn release(&mut self, now: Timestamp) {
        self.drop_old_calls(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.answered.push_back(now);
    }

    /// Our share of a limit; never nothing.
    fn shared(&self, limit: u32) -> u32 {
        let share = u64::from(limit) * u64::from(self.share) / 100;
        u32::try_from(share).unwrap_or(limit).max(1)
    }

    /// Takes back a part of the limit for each minute without a refusal.
    fn regain(&mut self, now: Timestamp) {
        while self.share < 100 && after(self.share_since, MINUTE) <= now {
            self.share = (self.share + REGAINED).min(100);
            self.share_since = after(self.share_since, MINUTE);
        }
    }

    /// How often a call was refused, since this was last asked, although we had not used up the
    /// limit ourselves: another program uses the same app.
    fn take_refusals(&mut self) -> u32 {
        std::mem::take(&mut self.refusals)
    }

    /// Leaves a fifth more to others if the limit was used up by somebody else than us.
    fn note_refusal(&mut self, limit: Option<u32>, now: Timestamp) {
        self.drop_old_calls(now);
        let own = self.in_flight + self.answered.len();
        let limit = limit.filter(|limit| *limit > 0).unwrap_or(self.per_minute);
        // The refused call is one of ours.
        if own <= limit.min(self.per_minute) as usize {
            self.refusals = self.refusals.saturating_add(1);
            self.share = (self.share * 4 / 5).max(LEAST_SHARE);
            self.share_since = now;
        }
    }

    /// Obeys a rate limit: no call for `wait` (at most two minutes), and from now on the limit in
    /// the header, if there was one. Where we had not used it up, somebody else has, and gets more
    /// of it for a while.
    pub fn obey_rate_limit(&mut self, limit: Option<u32>, wait: Duration, now: Timestamp) {
        self.note_refusal(limit, now);
        let wait = SignedDuration::try_from(wait).unwrap_or(LONGEST_HOLD);
        let until = after(now, wait.saturating_add(WAIT_MARGIN).min(LONGEST_HOLD));
        self.hold_until = self.hold_until.max(Some(until));
        match (limit, self.most_per_second) {
            (None | Some(0), _) => {}
            // There are two limits and one header. A number up to the limit a second is taken for
            // that one.
            (Some(limit), Some(most)) if limit <= most => {
                self.per_second = Some(limit);
            }
            (Some(limit), _) => self.per_minute = limit.min(self.ceiling),
        }
    }

    /// Adds calls that were made before a restart.
    fn add_calls(&mut self, calls: impl IntoIterator<Item = Timestamp>) {
        self.answered.extend(calls);
        self.answered.make_contiguous().sort_unstable();
    }

    /// Drops calls older than a minute. Instants in the future, after the clock was set back,
    /// become `now`.
    fn drop_old_calls(&mut self, now: Timestamp) {
        while self
            .answered
            .front()
            .is_some_and(|at| after(*at, MINUTE) <= now)
        {
            self.answered.pop_front();
        }
        for at in self.answered.iter_mut().rev().take_while(|at| **at > now) {
            *at = now;
        }
        self.last_taken = self.last_taken.map(|at| at.min(now));
        self.hold_until = self
            .hold_until
            .map(|until| until.min(after(now, LONGEST_HOLD)))
            .filter(|until| *until > now);
    }

    fn check_span(&self, span: SignedDuration, limit: u32, now: Timestamp) -> Result<(), SlotWait> {
        let past = self.answered.partition_point(|at| after(*at, span) <= now);
        let occupied = self.in_flight + self.answered.len() - past;
        let Some(too_many) = (occupied + 1)
            .checked_sub(limit as usize)
            .filter(|n| *n > 0)
        else {
            return Ok(());
        };
        Err(self
            .answered
            .get(past + too_many - 1)
            .map_or(SlotWait::ForAnswer, |at| SlotWait::Until(after(*at, span))))
    }
}

fn after(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// The recent calls of all endpoints, to be kept across a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimiterSnapshot(BTreeMap<String, RecentCalls>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RecentCalls {
    answered: Vec<Timestamp>,
    hold_until: Option<Timestamp>,
}

/// Waits for free slots of all endpoints.
#[derive(Debug)]
pub struct RateLimiter {
    clock: Clock,
    /// By the endpoint's name.
    queues: BTreeMap<&'static str, EndpointQueue>,
}

#[derive(Debug)]
struct EndpointQueue {
    window: Mutex<SlidingWindow>,
    turns: Mutex<Turns>,
    /// Told when a call was answered, and when somebody came, went or had a turn.
    changed: Notify,
}

impl EndpointQueue {
    fn window(&self) -> MutexGuard<'_, SlidingWindow> {
        self.window
            .lock()
            .expect("nothing panics while holding a window")
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns
            .lock()
            .expect("nothing panics while holding the turns")
    }

    /// Joins those that wait. What is more urgent than they are goes first.
    fn join(&self, urgency: Urgency) -> Waiting<'_> {
        let ticket = self.turns().join(urgency);
        self.changed.notify_waiters();
        Waiting {
            queue: self,
            ticket,
        }
    }
}

/// A place among those that wait. Dropping it, however the wait ended, gives it up.
struct Waiting<'q> {
    queue: &'q EndpointQueue,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queue.turns().leave(&self.ticket);
        self.queue.changed.notify_waiters();
    }
}

impl RateLimiter {
    /// A limiter with nothing spent yet.
    #[must_use]
    pub fn new(limits: &CallLimits, clock: Clock) -> Self {
        let queue = |endpoint: Endpoint| EndpointQueue {
            window: Mutex::new(SlidingWindow::of(endpoint.tier, limits)),
            turns: Mutex::default(),
            changed: Notify::new(),
        };
        let queues = all_methods()
            .into_iter()
            .map(|endpoint| (endpoint.name, queue(endpoint)));
        Self {
            clock,
            queues: queues.collect(),
        }
    }

    /// Waits for a slot. Drop the permit when the head of the answer has arrived.
    pub(super) async fn acquire(&self, endpoint: Endpoint, urgency: Urgency) -> Permit<'_> {
        let queue = self.queue(endpoint);
        let waiting = queue.join(urgency);
        loop {
            // Before the look, so that no change after it is missed.
            let changed = queue.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let is_next = queue.turns().is_next(&waiting.ticket);
            let outcome = is_next.then(|| queue.window().try_acquire(urgency, self.clock.now()));
            match outcome {
                Some(Ok(())) => {
                    queue.turns().take(&waiting.ticket);
                    return Permit {
                        queue,
                        clock: &self.clock,
                    };
                }
                Some(Err(SlotWait::Until(at))) => {
                    tokio::select! {
                        () = self.clock.sleep_until(at) => {}
                        () = changed => {}
                    }
                }
                Some(Err(SlotWait::ForAnswer)) | None => changed.await,
            }
        }
    }

    /// Obeys a rate limit of `endpoint`; see [`SlidingWindow::obey_rate_limit`].
    pub(super) fn obey_rate_limit(&self, endpoint: Endpoint, limit: Option<u32>, wait: Duration) {
        self.queue(endpoint)
            .window()
            .obey_rate_limit(limit, wait, self.clock.now());
    }

    /// The endpoints that refused calls, and how often, since this was last asked, although we had
    /// not used up their limits ourselves.
    #[must_use]
    pub fn take_refusals(&self) -> Vec<(&'static str, u32)> {
        let refusals = self.queues.iter();
        let refusals = refusals.map(|(name, queue)| (*name, queue.window().take_refusals()));
        refusals.filter(|(_, refusals)| *refusals > 0).collect()
    }

    /// How much of its limit each endpoint has used within the last minute, from 0 to 1, of those
    /// that were called.
    #[must_use]
    pub fn used(&self) -> Vec<(&'static str, f64)> {
        let now = self.clock.now();
        let used = self.queues.iter().map(|(name, queue)| {
            let mut window = queue.window();
            window.drop_old_calls(now);
            let calls = window.in_flight + window.answered.len();
            let calls = u32::try_from(calls).unwrap_or(u32::MAX);
            (*name, f64::from(calls) / f64::from(window.per_minute))
        });
        used.filter(|(_, used)| *used > 0.0).collect()
    }

    /// The calls of the last minute, of the endpoints that had any. A call under way counts as
    /// answered now.
    #[must_use]
    pub fn snapshot(&self) -> LimiterSnapshot {
        let now = self.clock.now();
        let recent = |queue: &EndpointQueue| {
            let mut window = queue.window();
            window.drop_old_calls(now);
            let under_way = std::iter::repeat_n(now, window.in_flight);
            let answered = window.answered.iter().copied().chain(under_way).collect();
            RecentCalls {
                answered,
                hold_until: window.hold_until,
            }
        };
        LimiterSnapshot(
            self.queues
                .iter()
                .map(|(name, queue)| ((*name).to_owned(), recent(queue)))
                .filter(|(_, recent)| *recent != RecentCalls::default())
                .collect(),
        )
    }

    /// Adds the calls made before a restart. Endpoints that this version does not call count for
    /// nothing.
    pub fn restore(&self, snapshot: &LimiterSnapshot) {
        for (name, recent) in &snapshot.0 {
            let Some(queue) = self.queues.get(name.as_str()) else {
                continue;
            };
            let mut window = queue.window();
            window.add_calls(recent.answered.iter().copied());
            window.hold_until = window.hold_until.max(recent.hold_until);
        }
    }

    /// Assumes that the whole limit of every endpoint of a dataset was spent at `at`; for a start
    /// after a stop that left no snapshot.
    pub fn assume_full(&self, at: Timestamp) {
        for endpoint in Dataset::all_endpoints() {
            let mut window = self.queue(endpoint).window();
            let calls = std::iter::repeat_n(at, window.per_minute as usize);
            window.add_calls(calls);
        }
    }

    fn queue(&self, endpoint: Endpoint) -> &EndpointQueue {
        let queue = self.queues.get(endpoint.name);
        queue.expect("every endpoint that is called is in the list of methods")
    }
}

/// A slot in use. Dropping it, however the call ended, starts its 60 seconds.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    queue: &'a EndpointQueue,
    clock: &'a Clock,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.queue.window().release(self.clock.now());
        self.queue.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::POLL;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).expect("in range")
    }

    /// Sends one call for each `(latency, share of it before the server counts)`, as fast as the
    /// window allows. Gives the instants at which the server counted.
    fn counted_by_the_server(window: &mut SlidingWindow, calls: &[(i64, f64)]) -> Vec<i64> {
        let (mut now, mut under_way, mut counted) = (0_i64, Vec::<i64>::new(), Vec::new());
        let mut calls = calls.iter().peekable();
        while let Some((latency, share)) = calls.peek() {
            under_way.sort_unstable();
            let wait = match window.try_acquire(Urgency::Nightly, at(now)) {
                Ok(()) => {
                    counted.push(now + (*latency as f64 * share) as i64);
                    under_way.push(now + latency);
                    calls.next();
                    continue;
                }
                Err(SlotWait::Until(until)) => until.as_millisecond() - at(0).as_millisecond(),
                Err(SlotWait::ForAnswer) => i64::MAX,
            };
            match under_way.first().copied().filter(|answer| *answer <= wait) {
                Some(answer) => {
                    now = answer;
                    under_way.remove(0);
                    window.release(at(now));
                }
                None => now = wait,
            }
        }
        counted.sort_unstable();
        counted
    }

    proptest! {
        #[test]
        fn the_server_never_counts_more_than_the_limit_in_a_minute(
            limit in 1_u32..12,
            calls in prop::collection::vec((0_i64..90_000, 0.0..1.0_f64), 1..80),
        ) {
            let mut window = SlidingWindow::new(limit, None);
            let counted = counted_by_the_server(&mut window, &calls);
            for (first, beyond) in counted.iter().zip(counted.iter().skip(limit as usize)) {
                prop_assert!(beyond - first >= 60_000, "{first} and {beyond}");
            }
        }

        #[test]
        fn both_limits_hold_where_there_are_two(
            calls in prop::collection::vec((0_i64..1_500, 0.0..1.0_f64), 1..80),
        ) {
            let mut window = SlidingWindow::new(20, Some(3));
            let counted = counted_by_the_server(&mut window, &calls);
            for (limit, span) in [(20, 60_000), (3, 1_000)] {
                for (first, beyond) in counted.iter().zip(counted.iter().skip(limit)) {
                    prop_assert!(beyond - first >= span);
                }
            }
        }
    }

    #[test]
    fn the_whole_limit_is_used_and_no_more() {
        let mut window = SlidingWindow::new(100, None);
        let counted = counted_by_the_server(&mut window, &[(0, 0.0); 300]);
        assert_eq!(counted.iter().filter(|at| **at == 0).count(), 100);
        assert_eq!(counted.iter().filter(|at| **at == 60_000).count(), 100);
    }

    #[test]
    fn what_is_not_urgent_is_spread_over_the_minute_and_as_much_as_otherwise() {
        let mut window = SlidingWindow::new(100, None);
        let mut taken = Vec::new();
        let mut now = 0;
        while now < 120_000 {
            match window.try_acquire(Urgency::Backfill, at(now)) {
                Ok(()) => {
                    window.release(at(now));
                    taken.push(now);
                }
                Err(SlotWait::Until(until)) => {
                    now = until.as_millisecond() - at(0).as_millisecond()
                }
                Err(SlotWait::ForAnswer) => unreachable!("every call is answered at once"),
            }
        }
        assert_eq!(taken.len(), 200);
        assert!(taken.windows(2).all(|pair| pair[1] - pair[0] == 600));
        // So the next slot is free soon, whenever somebody needs it.
        let urgent = window.clone().try_acquire(Urgency::Nightly, at(119_500));
        assert_eq!(urgent, Err(SlotWait::Until(at(120_000))));
    }

    #[test]
    fn a_rate_limit_holds_and_teaches() {
        let mut window = SlidingWindow::new(100, None);
        window.obey_rate_limit(Some(3), Duration::from_secs(52), at(0));
        assert_eq!(
            window.try_acquire(Urgency::Nightly, at(51_000)),
            Err(SlotWait::Until(at(52_250)))
        );
        // We had made no call, so a part of the three is for whoever made them.
        for _ in 0..2 {
            assert_eq!(window.try_acquire(Urgency::Nightly, at(52_250)), Ok(()));
        }
        assert_eq!(
            window.try_acquire(Urgency::Nightly, at(52_250)),
            Err(SlotWait::ForAnswer)
        );
        window.obey_rate_limit(Some(500), Duration::from_secs(1_000_000_000), at(53_000));
        assert_eq!(window.per_minute, 100);
        assert_eq!(
            window.try_acquire(Urgency::Nightly, at(53_000)),
            Err(SlotWait::Until(at(174_000)))
        );
    }

    #[test]
    fn what_others_use_is_left_to_them_for_a_while_and_counted() {
        let limits = CallLimits {
            share: 50,
            ..CallLimits::default()
        };
        let mut window = SlidingWindow::of(Tier::Three, &limits);
        let free = |window: &SlidingWindow, now| {
            let mut window = window.clone();
            let taken = std::iter::from_fn(|| window.try_acquire(Urgency::Nightly, at(now)).ok());
            taken.count()
        };
        assert_eq!(free(&window, 0), 50, "the configured share of 100");
        for (now, share) in [(0, 40), (1_000, 32), (2_000, 25)] {
            window.obey_rate_limit(Some(100), Duration::ZERO, at(now));
            assert_eq!(free(&window, now + 500), share);
        }
        assert_eq!(window.take_refusals(), 3);
        assert_eq!(window.take_refusals(), 0);
        assert_eq!(free(&window, 61_999), 25);
        assert_eq!(free(&window, 62_000), 30, "a tenth more a minute");
        assert_eq!(free(&window, 3_600_000), 50);
        for _ in 0..100 {
            window.obey_rate_limit(None, Duration::ZERO, at(3_600_000));
        }
        assert_eq!(free(&window, 3_601_000), 5, "a tenth at least");
    }

    #[test]
    fn a_refusal_of_our_own_doing_is_not_blamed_on_others() {
        // A limit by hand that is above Feishu's.
        let mut window = SlidingWindow::new(500, None);
        for _ in 0..101 {
            assert_eq!(window.try_acquire(Urgency::Nightly, at(0)), Ok(()));
        }
        window.obey_rate_limit(Some(100), Duration::ZERO, at(0));
        assert_eq!((window.take_refusals(), window.share), (0, 100));
        assert_eq!(window.per_minute, 100);
    }

    #[test]
    fn reports_follow_the_header_unless_they_were_limited_by_hand() {
        let learned = |reports| {
            let limits = CallLimits {
                reports,
                ..CallLimits::default()
            };
            let mut window = SlidingWindow::of(Tier::Special, &limits);
            window.obey_rate_limit(Some(200), Duration::ZERO, at(0));
            window.per_minute
        };
        assert_eq!(learned(None), 200);
        assert_eq!(learned(Some(10)), 10);
    }

    #[test]
    fn a_limit_a_second_can_be_lowered_and_raised_again() {
        let mut window = SlidingWindow::of(Tier::Four, &CallLimits::default());
        for (header, per_second, per_minute) in [(20, 20, 1_000), (30, 30, 1_000), (400, 30, 400)] {
            window.obey_rate_limit(Some(header), Duration::ZERO, at(0));
            let learned = (window.per_second, window.per_minute);
            assert_eq!(learned, (Some(per_second), per_minute), "{header}");
        }
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_calls() {
        let mut window = SlidingWindow::new(1, None);
        assert_eq!(window.try_acquire(Urgency::Nightly, at(0)), Ok(()));
        window.release(at(0));
        window.obey_rate_limit(None, Duration::from_secs(10), at(0));
        let an_hour_ago = -3_600_000;
        let Err(SlotWait::Until(until)) = window.try_acquire(Urgency::Nightly, at(an_hour_ago))
        else {
            panic!("the slot is not free yet");
        };
        assert!(until <= at(an_hour_ago + 121_000));
        assert_eq!(
            window.try_acquire(Urgency::Nightly, at(an_hour_ago + 121_000)),
            Ok(())
        );
    }

    #[tokio::test]
    async fn a_restart_remembers_or_assumes() {
        let clock = Clock::manual(at(0));
        let limits = CallLimits {
            exports: 2,
            ..CallLimits::default()
        };
        let before = RateLimiter::new(&limits, clock.clone());
        drop(before.acquire(POLL, Urgency::default()).await);
        let _under_way = before.acquire(POLL, Urgency::default()).await;
        let json = serde_json::to_string(&before.snapshot()).expect("json");

        let after = RateLimiter::new(&limits, clock.clone());
        after.restore(&serde_json::from_str(&json).expect("a snapshot"));
        drop(after.acquire(POLL, Urgency::default()).await);
        assert_eq!(clock.now(), at(60_000));
    }

    #[tokio::test]
    async fn who_waits_longest_is_served_first() {
        let clock = Clock::manual(at(0));
        let limits = CallLimits {
            exports: 1,
            ..CallLimits::default()
        };
        let limits = Arc::new(RateLimiter::new(&limits, clock));
        let first = limits.acquire(POLL, Urgency::default()).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for number in 0..5 {
            let (limits, order) = (Arc::clone(&limits), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let _permit = limits.acquire(POLL, Urgency::default()).await;
                order.lock().expect("the order").push(number);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in waiting {
            task.await.expect("a waiter");
        }
        assert_eq!(*order.lock().expect("the order"), [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn who_is_more_urgent_is_served_before_who_waits_longer() {
        let clock = Clock::manual(at(0));
        let limits = CallLimits {
            exports: 1,
            ..CallLimits::default()
        };
        let limits = Arc::new(RateLimiter::new(&limits, clock));
        let first = limits.acquire(POLL, Urgency::Backfill).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for urgency in [Urgency::Backfill, Urgency::Detail, Urgency::Nightly] {
            let (limits, order) = (Arc::clone(&limits), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let _permit = limits.acquire(POLL, urgency).await;
                order.lock().expect("the order").push(urgency);
            }));
            tokio::task::yield_now().await;
        }
        // Who gives up waiting holds up nobody.
        waiting.pop().expect("the most urgent").abort();
        drop(first);
        for task in waiting {
            task.await.expect("a waiter");
        }
        let order = order.lock().expect("the order");
        assert_eq!(*order, [Urgency::Detail, Urgency::Backfill]);
    }
}
