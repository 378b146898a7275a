//! How many calls an endpoint may get: a sliding window of 60 seconds each, per app and tenant.
//!
//! The server counts a call somewhere between its sending and its answer. So a slot is taken when a call is sent, and becomes free 60
//! seconds after the answer arrived: whatever the latencies, the server never sees more than the limit within any 60 seconds. (A bucket of
//! 100 with refill can send 199.) [`SlidingWindow`] decides and does not wait; [`Limits`] waits, first come, first served.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::task::Request;

const MINUTE: SignedDuration = SignedDuration::from_secs(60);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Added to the wait that a server tells, which is in whole seconds.
const A_LITTLE: SignedDuration = SignedDuration::from_millis(250);

/// Longest hold after a rate limit.
const LONGEST_HOLD: SignedDuration = SignedDuration::from_secs(121);

/// Calls a second that the directory endpoints allow beside their limit a minute (tier 4; API reference, 5.3).
const DIRECTORY_PER_SECOND: u32 = 50;

/// Where reports start: their limit is not published ("special"), so half of what most endpoints allow.
const REPORTS_PER_MINUTE: u32 = 60;

/// An endpoint with a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `GET reports/get_daily`.
    DailyReport,
    /// `GET reports/get_top_user`.
    TopUser,
    /// `POST exports/meeting_list`.
    SubmitMeetingList,
    /// `POST exports/participant_list`.
    SubmitParticipantList,
    /// `POST exports/participant_quality_list`.
    SubmitParticipantQualityList,
    /// `POST exports/resource_reservation_list`.
    SubmitResourceReservationList,
    /// `GET exports/:task_id`, shared by all exports.
    Poll,
    /// `GET exports/download`, shared by all exports.
    Download,
    /// `GET rooms`.
    Rooms,
    /// `GET room_levels`.
    RoomLevels,
}

impl Endpoint {
    /// All endpoints, in the order of their discriminants.
    pub const ALL: [Self; 10] = [
        Self::DailyReport,
        Self::TopUser,
        Self::SubmitMeetingList,
        Self::SubmitParticipantList,
        Self::SubmitParticipantQualityList,
        Self::SubmitResourceReservationList,
        Self::Poll,
        Self::Download,
        Self::Rooms,
        Self::RoomLevels,
    ];

    /// The endpoint that a request starts at.
    #[must_use]
    pub const fn of(request: &Request) -> Self {
        match request {
            Request::DailyReport { .. } => Self::DailyReport,
            Request::TopUser { .. } => Self::TopUser,
            Request::MeetingList { .. } => Self::SubmitMeetingList,
            Request::ParticipantList { .. } => Self::SubmitParticipantList,
            Request::ParticipantQualityList { .. } => Self::SubmitParticipantQualityList,
            Request::ResourceReservationList { .. } => Self::SubmitResourceReservationList,
        }
    }

    /// The name in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DailyReport => "daily_report",
            Self::TopUser => "top_user",
            Self::SubmitMeetingList => "submit_meeting_list",
            Self::SubmitParticipantList => "submit_participant_list",
            Self::SubmitParticipantQualityList => "submit_participant_quality_list",
            Self::SubmitResourceReservationList => "submit_resource_reservation_list",
            Self::Poll => "poll",
            Self::Download => "download",
            Self::Rooms => "rooms",
            Self::RoomLevels => "room_levels",
        }
    }
}

/// Calls a minute that we allow ourselves; lower them where another program shares the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Each of the six export endpoints; Feishu allows 100.
    pub exports: u32,
    /// Rooms and room levels, each; Feishu allows 1,000, and 50 a second.
    pub directory: u32,
    /// Each report; `None` starts at 60 and follows what Feishu's headers tell, since the limit is not published.
    pub reports: Option<u32>,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            exports: 100,
            directory: 1000,
            reports: None,
        }
    }
}

/// Why no slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// None before this instant.
    Until(Timestamp),
    /// None before a call under way is answered.
    ForAnAnswer,
}

/// The calls of one endpoint within the last minute; pure.
#[derive(Clone, Debug)]
pub struct SlidingWindow {
    per_minute: u32,
    per_second: Option<u32>,
    /// The most that a header may raise `per_minute` to.
    ceiling: u32,
    in_flight: usize,
    /// When calls were answered, oldest first, a minute back.
    answered: VecDeque<Timestamp>,
    hold_until: Option<Timestamp>,
}

impl SlidingWindow {
    /// A window of at most `per_minute` calls (at least one) in 60 seconds, and `per_second` in one.
    #[must_use]
    pub fn new(per_minute: u32, per_second: Option<u32>) -> Self {
        let per_minute = per_minute.max(1);
        Self {
            per_minute,
            per_second,
            ceiling: per_minute,
            in_flight: 0,
            answered: VecDeque::new(),
            hold_until: None,
        }
    }

    fn of(endpoint: Endpoint, limits: &CallLimits) -> Self {
        match endpoint {
            Endpoint::DailyReport | Endpoint::TopUser => {
                let window = Self::new(limits.reports.unwrap_or(REPORTS_PER_MINUTE), None);
                let ceiling = limits.reports.unwrap_or(u32::MAX);
                Self { ceiling, ..window }
            }
            Endpoint::Rooms | Endpoint::RoomLevels => {
                Self::new(limits.directory, Some(DIRECTORY_PER_SECOND))
            }
            _ => Self::new(limits.exports, None),
        }
    }

    /// Takes a slot for a call that is sent now.
    ///
    /// # Errors
    /// What to wait for, if no slot is free.
    pub fn try_acquire(&mut self, now: Timestamp) -> Result<(), Wait> {
        self.forget(now);
        if let Some(until) = self.hold_until {
            return Err(Wait::Until(until));
        }
        self.room_in(MINUTE, self.per_minute, now)?;
        if let Some(per_second) = self.per_second {
            self.room_in(SECOND, per_second, now)?;
        }
        self.in_flight += 1;
        Ok(())
    }

    /// Records that the call of a slot was answered, or given up: the slot is free again in 60 seconds.
    pub fn release(&mut self, now: Timestamp) {
        self.forget(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.answered.push_back(now);
    }

    /// Obeys a rate limit: no call for `wait` (at most two minutes), and from now on the limit that the header told, if it did.
    pub fn limited(&mut self, limit: Option<u32>, wait: Duration, now: Timestamp) {
        let wait = SignedDuration::try_from(wait).unwrap_or(LONGEST_HOLD);
        let until = after(now, wait.saturating_add(A_LITTLE).min(LONGEST_HOLD));
        self.hold_until = self.hold_until.max(Some(until));
        match (limit, self.per_second) {
            (None | Some(0), _) => {}
            // Two limits, one header: a number that fits the second is the second's.
            (Some(limit), Some(_)) if limit <= DIRECTORY_PER_SECOND => {
                self.per_second = Some(limit)
            }
            (Some(limit), _) => self.per_minute = limit.min(self.ceiling),
        }
    }

    /// Records calls of an earlier life.
    fn remember(&mut self, calls: impl IntoIterator<Item = Timestamp>) {
        self.answered.extend(calls);
        self.answered.make_contiguous().sort_unstable();
    }

    /// Drops what is past; what a clock that was set back shows as future is taken as now.
    fn forget(&mut self, now: Timestamp) {
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
        self.hold_until = self
            .hold_until
            .map(|until| until.min(after(now, LONGEST_HOLD)))
            .filter(|until| *until > now);
    }

    fn room_in(&self, span: SignedDuration, limit: u32, now: Timestamp) -> Result<(), Wait> {
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
            .map_or(Wait::ForAnAnswer, |at| Wait::Until(after(*at, span))))
    }
}

fn after(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// The recent calls of all endpoints, to be kept across a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot(BTreeMap<Endpoint, Recent>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Recent {
    answered: Vec<Timestamp>,
    hold_until: Option<Timestamp>,
}

/// The limits of all endpoints, and the waiting for them.
#[derive(Debug)]
pub struct Limits {
    clock: Clock,
    lanes: [Lane; Endpoint::ALL.len()],
}

#[derive(Debug)]
struct Lane {
    window: Mutex<SlidingWindow>,
    /// Held by the caller who is next; tokio's mutex is fair, so the queue is first come, first served.
    turn: tokio::sync::Mutex<()>,
    answered: Notify,
}

impl Lane {
    fn window(&self) -> MutexGuard<'_, SlidingWindow> {
        self.window
            .lock()
            .expect("nothing panics while holding a window")
    }
}

impl Limits {
    /// Limits with nothing spent yet.
    #[must_use]
    pub fn new(limits: &CallLimits, clock: Clock) -> Self {
        let lanes = Endpoint::ALL.map(|endpoint| Lane {
            window: Mutex::new(SlidingWindow::of(endpoint, limits)),
            turn: tokio::sync::Mutex::new(()),
            answered: Notify::new(),
        });
        Self { clock, lanes }
    }

    /// Waits for a slot; the permit is dropped when the answer's head is there.
    pub(super) async fn acquire(&self, endpoint: Endpoint) -> Permit<'_> {
        let lane = self.lane(endpoint);
        let _turn = lane.turn.lock().await;
        loop {
            let outcome = lane.window().try_acquire(self.clock.now());
            match outcome {
                Ok(()) => {
                    return Permit {
                        lane,
                        clock: &self.clock,
                    };
                }
                Err(Wait::Until(at)) => self.clock.sleep_until(at).await,
                Err(Wait::ForAnAnswer) => lane.answered.notified().await,
            }
        }
    }

    /// Obeys a rate limit of `endpoint`; see [`SlidingWindow::limited`].
    pub(super) fn limited(&self, endpoint: Endpoint, limit: Option<u32>, wait: Duration) {
        self.lane(endpoint)
            .window()
            .limited(limit, wait, self.clock.now());
    }

    /// The calls of the last minute; a call under way counts as answered now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        let recent = |endpoint| {
            let mut window = self.lane(endpoint).window();
            window.forget(now);
            let under_way = std::iter::repeat_n(now, window.in_flight);
            let answered = window.answered.iter().copied().chain(under_way).collect();
            Recent {
                answered,
                hold_until: window.hold_until,
            }
        };
        Snapshot(
            Endpoint::ALL
                .into_iter()
                .map(|endpoint| (endpoint, recent(endpoint)))
                .collect(),
        )
    }

    /// Adds the calls of an earlier life to those of this one.
    pub fn restore(&self, snapshot: &Snapshot) {
        for (endpoint, recent) in &snapshot.0 {
            let mut window = self.lane(*endpoint).window();
            window.remember(recent.answered.iter().copied());
            window.hold_until = window.hold_until.max(recent.hold_until);
        }
    }

    /// Assumes that the whole limit of `endpoint` was spent at `at`; for a start without a snapshot, by a stop that left none.
    pub fn assume_full(&self, endpoint: Endpoint, at: Timestamp) {
        let mut window = self.lane(endpoint).window();
        let calls = std::iter::repeat_n(at, window.per_minute as usize);
        window.remember(calls);
    }

    fn lane(&self, endpoint: Endpoint) -> &Lane {
        &self.lanes[endpoint as usize]
    }
}

/// A slot in use; dropping it, in whichever way a call ends, starts its 60 seconds.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    lane: &'a Lane,
    clock: &'a Clock,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.lane.window().release(self.clock.now());
        self.lane.answered.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).expect("in range")
    }

    /// Sends as many calls as the window lets through, one for each `(latency, share of it before the server counts)`, and gives the
    /// instants at which the server counted.
    fn counted_by_the_server(window: &mut SlidingWindow, calls: &[(i64, f64)]) -> Vec<i64> {
        let (mut now, mut under_way, mut counted) = (0_i64, Vec::<i64>::new(), Vec::new());
        let mut calls = calls.iter().peekable();
        while let Some((latency, share)) = calls.peek() {
            under_way.sort_unstable();
            let wait = match window.try_acquire(at(now)) {
                Ok(()) => {
                    counted.push(now + (*latency as f64 * share) as i64);
                    under_way.push(now + latency);
                    calls.next();
                    continue;
                }
                Err(Wait::Until(until)) => until.as_millisecond() - at(0).as_millisecond(),
                Err(Wait::ForAnAnswer) => i64::MAX,
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
    fn a_rate_limit_holds_and_teaches() {
        let mut window = SlidingWindow::new(100, None);
        window.limited(Some(3), Duration::from_secs(52), at(0));
        assert_eq!(window.try_acquire(at(51_000)), Err(Wait::Until(at(52_250))));
        for _ in 0..3 {
            assert_eq!(window.try_acquire(at(52_250)), Ok(()));
        }
        assert_eq!(window.try_acquire(at(52_250)), Err(Wait::ForAnAnswer));
        window.limited(Some(500), Duration::from_secs(1_000_000_000), at(53_000));
        assert_eq!(window.per_minute, 100);
        assert_eq!(
            window.try_acquire(at(53_000)),
            Err(Wait::Until(at(174_000)))
        );
    }

    #[test]
    fn reports_follow_the_header_unless_they_were_limited_by_hand() {
        let learned = |reports| {
            let limits = CallLimits {
                reports,
                ..CallLimits::default()
            };
            let mut window = SlidingWindow::of(Endpoint::DailyReport, &limits);
            window.limited(Some(200), Duration::ZERO, at(0));
            window.per_minute
        };
        assert_eq!(learned(None), 200);
        assert_eq!(learned(Some(10)), 10);
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_calls() {
        let mut window = SlidingWindow::new(1, None);
        assert_eq!(window.try_acquire(at(0)), Ok(()));
        window.release(at(0));
        window.limited(None, Duration::from_secs(10), at(0));
        let an_hour_ago = -3_600_000;
        let Err(Wait::Until(until)) = window.try_acquire(at(an_hour_ago)) else {
            panic!("the slot is not free yet");
        };
        assert!(until <= at(an_hour_ago + 121_000));
        assert_eq!(window.try_acquire(at(an_hour_ago + 121_000)), Ok(()));
    }

    #[tokio::test]
    async fn a_restart_remembers_or_assumes() {
        let clock = Clock::manual(at(0));
        let limits = CallLimits {
            exports: 2,
            ..CallLimits::default()
        };
        let before = Limits::new(&limits, clock.clone());
        drop(before.acquire(Endpoint::Poll).await);
        let _under_way = before.acquire(Endpoint::Poll).await;
        let json = serde_json::to_string(&before.snapshot()).expect("json");

        let after = Limits::new(&limits, clock.clone());
        after.restore(&serde_json::from_str(&json).expect("a snapshot"));
        after.assume_full(Endpoint::Download, at(-10_000));
        drop(after.acquire(Endpoint::Download).await);
        assert_eq!(clock.now(), at(50_000));
        drop(after.acquire(Endpoint::Poll).await);
        assert_eq!(clock.now(), at(60_000));
    }

    #[tokio::test]
    async fn who_waits_longest_is_served_first() {
        let clock = Clock::manual(at(0));
        let limits = CallLimits {
            exports: 1,
            ..CallLimits::default()
        };
        let limits = Arc::new(Limits::new(&limits, clock));
        let first = limits.acquire(Endpoint::Poll).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for number in 0..5 {
            let (limits, order) = (Arc::clone(&limits), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let _permit = limits.acquire(Endpoint::Poll).await;
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
}
