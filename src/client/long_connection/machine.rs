//! What a long connection does next: finding the address, connecting, pings, answers, and when to
//! give up (resources, 5.3).
//!
//! Pure. Time comes in as the time since the start, so that a clock that is set does not matter, and
//! chance comes in as a number. The module above performs what is decided.
//!
//! ```text
//! Waiting ─► Discovering ─► Connecting ─► Open ─► Waiting …        whatever fails waits again
//!                 └──────────────┴──────────────► Stopped          what Feishu refuses for good
//! ```

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

use super::frame::{FrameError, FrameKind, LinkFrame};
use super::parts::{PartBuffer, PartError};

/// An answer that comes later counts as none at Feishu, which sends the event again.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A connection on which nothing came so long after a ping is dead, whatever the socket says.
const SILENCE_AFTER_PING: Duration = Duration::from_secs(30);
/// What Feishu says of its own intervals is believed within these bounds.
const SHORTEST: u64 = 1;
const LONGEST: u64 = 3_600;

const BUSY: i64 = 1;
const INTERNAL_ERROR: i64 = 1_000_040_343;
const TOO_MANY_CONNECTIONS: i64 = 1_000_040_350;
const FORBIDDEN: i64 = 403;
const NOT_AUTHENTICATED: i64 = 514;

/// How the connection is kept. Feishu says so at discovery and in its pongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTiming {
    /// Tries before it is given up; `None` for ever.
    pub most_tries: Option<u64>,
    /// Wait after a try that failed.
    pub between_tries: Duration,
    /// The longest wait after a connection is lost; a share of it is drawn, so that not all clients
    /// come back at once.
    pub longest_pause: Duration,
    /// Time between two pings.
    pub between_pings: Duration,
}

impl Default for LinkTiming {
    /// Before Feishu says anything, as the official clients have it.
    fn default() -> Self {
        Self {
            most_tries: None,
            between_tries: Duration::from_secs(120),
            longest_pause: Duration::from_secs(30),
            between_pings: Duration::from_secs(120),
        }
    }
}

/// What Feishu says of how the connection is kept, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClientConfig {
    reconnect_count: Option<i64>,
    reconnect_interval: Option<i64>,
    reconnect_nonce: Option<i64>,
    ping_interval: Option<i64>,
}

impl LinkTiming {
    fn adopt(&mut self, config: &ClientConfig) {
        let seconds = |number: i64, least: u64| {
            Duration::from_secs(u64::try_from(number).unwrap_or(0).clamp(least, LONGEST))
        };
        if let Some(count) = config.reconnect_count {
            self.most_tries = u64::try_from(count).ok();
        }
        if let Some(interval) = config.reconnect_interval {
            self.between_tries = seconds(interval, SHORTEST);
        }
        if let Some(nonce) = config.reconnect_nonce {
            self.longest_pause = seconds(nonce, 0);
        }
        if let Some(interval) = config.ping_interval {
            self.between_pings = seconds(interval, SHORTEST);
        }
    }
}

/// The answer to the question where to connect to.
#[derive(Clone, Debug)]
pub struct DiscoveryAnswer {
    /// 0 if all is well.
    pub code: i64,
    /// Where to connect to, with a ticket that lives for a short time: a secret.
    pub url: Option<SecretString>,
    /// How the connection is kept.
    pub config: Option<ClientConfig>,
}

/// What the server said instead of opening a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandshakeRefusal {
    /// Header `Handshake-Status`.
    pub status: Option<i64>,
    /// Header `Handshake-Autherrcode`.
    pub auth_error: Option<i64>,
}

/// Why no further try is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkEnd {
    /// The app's 50 connections are in use.
    #[error(
        "all 50 connections of the app are in use (1000040350); end programs that use the same \
         app, or give each an app of its own"
    )]
    TooManyConnections,
    /// The app may not connect.
    #[error(
        "Feishu does not let the app connect (403); only self-built apps can, and the app must be \
         enabled in the tenant"
    )]
    Forbidden,
    /// App id and secret are not accepted.
    #[error("Feishu does not accept app id and secret of the app ({0}); check both")]
    Credentials(i64),
    /// Feishu said how often to try.
    #[error("{0} tries to connect failed, and Feishu allows no more")]
    GaveUp(u64),
}

/// Something that happened.
#[derive(Debug)]
pub enum LinkEvent {
    /// The time that [`Link::wake_at`] named has come.
    Woke,
    /// Discovery was answered.
    Discovered(DiscoveryAnswer),
    /// No connection came of discovery or of the address.
    NotReached(String),
    /// The server refused to open a connection.
    Refused(HandshakeRefusal),
    /// A connection is open.
    Opened,
    /// A connection ended.
    Lost(String),
    /// A binary message came.
    Binary(Vec<u8>),
    /// A text message came, which nobody sends.
    Text,
    /// The work on an event ended.
    Handled {
        /// What came with it.
        receipt: Receipt,
        /// Whether it is kept for good.
        is_kept: bool,
    },
}

/// What is needed to answer an event.
#[derive(Debug)]
pub struct Receipt {
    /// The frame that completed the event.
    frame: LinkFrame,
    /// When it came.
    at: Duration,
    /// The connection on which it came.
    connection: u64,
}

/// Something to be done.
#[derive(Debug)]
pub enum LinkEffect {
    /// Ask where to connect to.
    Discover,
    /// Connect there.
    Connect(SecretString),
    /// Send a binary message.
    Send(Vec<u8>),
    /// Close the connection, and wait for nobody.
    Close,
    /// Keep an event and say whether it was.
    Handle {
        /// The event's bytes.
        event: Vec<u8>,
        /// Comes back with the outcome.
        receipt: Receipt,
    },
    /// Tell of something.
    Tell(LinkNews),
}

/// Something that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkNews {
    /// A connection is open.
    Connected,
    /// A connection ended, or a try failed; the next try is made after so long.
    Disconnected {
        /// Why.
        why: String,
        /// How long.
        again_in: Duration,
    },
    /// A message was left out.
    Ignored(IgnoredMessage),
    /// An event took too long to be answered; Feishu sends it again.
    LateAnswer,
}

/// Why a message was left out. None of them is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoredMessage {
    /// It is a text.
    #[error("a message is a text and no frame")]
    Text,
    /// It is no frame.
    #[error("a message is no frame: {0}")]
    NoFrame(#[from] FrameError),
    /// It is of a kind that we do not know.
    #[error("a frame is neither an event nor a pong")]
    UnknownKind,
    /// A part of an event does not fit.
    #[error("a part of an event does not fit: {0}")]
    UnfitPart(#[from] PartError),
    /// The other parts of an event did not come.
    #[error("parts of an event did not come")]
    Incomplete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    Waiting {
        until: Duration,
    },
    Discovering,
    Connecting,
    Open {
        ping_at: Duration,
        /// The first ping since which nothing came.
        asked_at: Option<Duration>,
        heard_at: Duration,
    },
    Stopped(LinkEnd),
}

/// One long connection, over all its tries.
#[derive(Debug)]
pub struct Link {
    state: LinkState,
    timing: LinkTiming,
    /// Tries that failed since a connection was last open.
    failures: u64,
    service: i32,
    /// Counts the connections that were opened.
    connection: u64,
    parts: PartBuffer,
}

impl Link {
    /// A link whose first try is made at once.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: LinkState::Waiting {
                until: Duration::ZERO,
            },
            timing: LinkTiming::default(),
            failures: 0,
            service: 0,
            connection: 0,
            parts: PartBuffer::default(),
        }
    }

    /// When it wants to be woken, if nothing happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        match self.state {
            LinkState::Waiting { until } => Some(until),
            LinkState::Open {
                ping_at,
                asked_at,
                heard_at,
            } => {
                let silent = asked_at.map(|asked| asked + SILENCE_AFTER_PING);
                let dead = heard_at + self.dead_after();
                Some(ping_at.min(dead).min(silent.unwrap_or(dead)))
            }
            LinkState::Discovering | LinkState::Connecting | LinkState::Stopped(_) => None,
        }
    }

    /// Why no further try is made; `None` as long as one is.
    #[must_use]
    pub const fn end(&self) -> Option<LinkEnd> {
        match self.state {
            LinkState::Stopped(end) => Some(end),
            _ => None,
        }
    }

    /// What is to be done about `event` at `now`, the time since the start. `chance` is a number
    /// from 0 to 1.
    pub fn step(&mut self, event: LinkEvent, now: Duration, chance: f64) -> Vec<LinkEffect> {
        match (self.state, event) {
            (LinkState::Waiting { until }, LinkEvent::Woke) if now >= until => {
                self.state = LinkState::Discovering;
                vec![LinkEffect::Discover]
            }
            (LinkState::Discovering, LinkEvent::Discovered(answer)) => self.discovered(answer, now),
            (LinkState::Connecting, LinkEvent::Refused(refusal)) => self.refused(refusal, now),
            (LinkState::Connecting, LinkEvent::Opened) => self.opened(now),
            (LinkState::Discovering | LinkState::Connecting, LinkEvent::NotReached(why)) => {
                self.failed(why, now)
            }
            (LinkState::Open { .. }, LinkEvent::Lost(why)) => self.lost(why, now, chance),
            (LinkState::Open { .. }, LinkEvent::Woke) => self.look_after(now, chance),
            (LinkState::Open { .. }, LinkEvent::Binary(bytes)) => {
                self.heard(now);
                self.received(&bytes, now)
            }
            (LinkState::Open { .. }, LinkEvent::Text) => {
                self.heard(now);
                vec![ignored(IgnoredMessage::Text)]
            }
            (_, LinkEvent::Handled { receipt, is_kept }) => self.answer(receipt, is_kept, now),
            // An effect of a connection that is over by now.
            _ => Vec::new(),
        }
    }

    // --- until a connection is open -------------------------------------------------------------

    fn discovered(&mut self, answer: DiscoveryAnswer, now: Duration) -> Vec<LinkEffect> {
        if let Some(config) = &answer.config {
            self.timing.adopt(config);
        }
        match answer.code {
            0 => {}
            BUSY | INTERNAL_ERROR => {
                let why = format!("Feishu is busy ({})", answer.code);
                return self.failed(why, now);
            }
            TOO_MANY_CONNECTIONS => return self.stop(LinkEnd::TooManyConnections),
            FORBIDDEN => return self.stop(LinkEnd::Forbidden),
            code => return self.stop(LinkEnd::Credentials(code)),
        }
        let service = answer.url.as_ref().and_then(service_of);
        let (Some(url), Some(service)) = (answer.url, service) else {
            return self.failed("Feishu named no address to connect to".to_owned(), now);
        };
        self.service = service;
        self.state = LinkState::Connecting;
        vec![LinkEffect::Connect(url)]
    }

    fn refused(&mut self, refusal: HandshakeRefusal, now: Duration) -> Vec<LinkEffect> {
        match (refusal.status, refusal.auth_error) {
            (Some(FORBIDDEN), _) => self.stop(LinkEnd::Forbidden),
            (Some(NOT_AUTHENTICATED), Some(TOO_MANY_CONNECTIONS)) => {
                self.stop(LinkEnd::TooManyConnections)
            }
            (status, _) => {
                let status = status.map_or_else(String::new, |status| format!(" ({status})"));
                self.failed(format!("the connection was refused{status}"), now)
            }
        }
    }

    fn opened(&mut self, now: Duration) -> Vec<LinkEffect> {
        self.failures = 0;
        self.connection += 1;
        self.parts = PartBuffer::default();
        self.state = LinkState::Open {
            ping_at: now + self.timing.between_pings,
            asked_at: Some(now),
            heard_at: now,
        };
        vec![LinkEffect::Tell(LinkNews::Connected), self.ping()]
    }

    fn failed(&mut self, why: String, now: Duration) -> Vec<LinkEffect> {
        self.failures += 1;
        let failures = self.failures;
        if self.timing.most_tries.is_some_and(|most| failures > most) {
            return self.stop(LinkEnd::GaveUp(failures));
        }
        self.wait(why, self.timing.between_tries, now)
    }

    fn stop(&mut self, end: LinkEnd) -> Vec<LinkEffect> {
        self.state = LinkState::Stopped(end);
        Vec::new()
    }

    fn wait(&mut self, why: String, again_in: Duration, now: Duration) -> Vec<LinkEffect> {
        self.state = LinkState::Waiting {
            until: now + again_in,
        };
        vec![LinkEffect::Tell(LinkNews::Disconnected { why, again_in })]
    }

    // --- while it is open -----------------------------------------------------------------------

    fn dead_after(&self) -> Duration {
        self.timing.between_pings * 2 + SILENCE_AFTER_PING
    }

    fn ping(&self) -> LinkEffect {
        LinkEffect::Send(LinkFrame::ping(self.service).encode())
    }

    fn lost(&mut self, why: String, now: Duration, chance: f64) -> Vec<LinkEffect> {
        let pause = self.timing.longest_pause.mul_f64(chance.clamp(0.0, 1.0));
        let mut effects = vec![LinkEffect::Close];
        effects.extend(self.wait(why, pause, now));
        effects
    }

    /// A sign of life: whatever comes, but for what the WebSocket itself sends.
    fn heard(&mut self, now: Duration) {
        if let LinkState::Open {
            asked_at, heard_at, ..
        } = &mut self.state
        {
            (*asked_at, *heard_at) = (None, now);
        }
    }

    fn look_after(&mut self, now: Duration, chance: f64) -> Vec<LinkEffect> {
        let LinkState::Open {
            ping_at,
            asked_at,
            heard_at,
        } = self.state
        else {
            return Vec::new();
        };
        let is_silent = asked_at.is_some_and(|asked| now >= asked + SILENCE_AFTER_PING);
        if is_silent || now >= heard_at + self.dead_after() {
            let silence = now.saturating_sub(heard_at).as_secs();
            let why = format!("nothing came for {silence} s, not even an answer to a ping");
            return self.lost(why, now, chance);
        }
        let mut effects = self.forget_old_parts(now);
        if now >= ping_at {
            self.state = LinkState::Open {
                ping_at: now + self.timing.between_pings,
                asked_at: asked_at.or(Some(now)),
                heard_at,
            };
            effects.push(self.ping());
        }
        effects
    }

    fn forget_old_parts(&mut self, now: Duration) -> Vec<LinkEffect> {
        let old = self.parts.forget_old(now);
        (0..old)
            .map(|_| ignored(IgnoredMessage::Incomplete))
            .collect()
    }

    fn received(&mut self, bytes: &[u8], now: Duration) -> Vec<LinkEffect> {
        let mut effects = self.forget_old_parts(now);
        let frame = match LinkFrame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                effects.push(ignored(error.into()));
                return effects;
            }
        };
        match (frame.kind(), frame.header("type")) {
            (FrameKind::Control, Some("pong")) => self.adopt_pong(&frame, now),
            // The server does not need an answer to its ping.
            (FrameKind::Control, Some("ping")) => {}
            (FrameKind::Data, Some("event")) => effects.extend(self.join(frame, now)),
            _ => effects.push(ignored(IgnoredMessage::UnknownKind)),
        }
        effects
    }

    /// A pong may say anew how the connection is kept. One without does not change anything.
    fn adopt_pong(&mut self, frame: &LinkFrame, now: Duration) {
        let payload = frame.payload.as_deref().unwrap_or_default();
        let Ok(config) = serde_json::from_slice(payload) else {
            return;
        };
        self.timing.adopt(&config);
        let earliest = now + self.timing.between_pings;
        if let LinkState::Open { ping_at, .. } = &mut self.state {
            *ping_at = (*ping_at).min(earliest);
        }
    }

    fn join(&mut self, mut frame: LinkFrame, now: Duration) -> Option<LinkEffect> {
        let payload = frame.payload.take().unwrap_or_default();
        let id = frame.header("message_id").unwrap_or_default();
        let numbers = (frame.header("sum"), frame.header("seq"));
        match self.parts.take(id, numbers, payload, now) {
            Ok(Some(event)) => {
                let receipt = Receipt {
                    frame,
                    at: now,
                    connection: self.connection,
                };
                Some(LinkEffect::Handle { event, receipt })
            }
            Ok(None) => None,
            Err(error) => Some(ignored(error.into())),
        }
    }

    /// Answers an event on the connection on which it came, in time or not at all.
    fn answer(&self, receipt: Receipt, is_kept: bool, now: Duration) -> Vec<LinkEffect> {
        let took = now.saturating_sub(receipt.at);
        let is_open = matches!(self.state, LinkState::Open { .. });
        if !is_open || receipt.connection != self.connection {
            return Vec::new();
        }
        if took > ANSWER_WITHIN {
            return vec![LinkEffect::Tell(LinkNews::LateAnswer)];
        }
        let code = if is_kept { 200 } else { 500 };
        let answer = receipt.frame.answered(code, took.as_millis());
        vec![LinkEffect::Send(answer.encode())]
    }
}

fn ignored(what: IgnoredMessage) -> LinkEffect {
    LinkEffect::Tell(LinkNews::Ignored(what))
}

/// The service that pings name, from the address.
fn service_of(url: &SecretString) -> Option<i32> {
    let url = Url::parse(url.expose_secret()).ok()?;
    let (_, service) = url.query_pairs().find(|(name, _)| name == "service_id")?;
    service.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::frame::LONGEST_FRAME;
    use super::super::frame::tests::{EVENT, P1, P2, P3, P4, P5_0, P5_1, bytes, frame};
    use super::*;

    const SERVICE: &str = "33554678";

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn answer(code: i64, config: &str) -> LinkEvent {
        let url = format!("wss://frontier.example/ws?device_id=d&service_id={SERVICE}&ticket=t");
        LinkEvent::Discovered(DiscoveryAnswer {
            code,
            url: (code == 0).then(|| url.into()),
            config: serde_json::from_str(config).ok(),
        })
    }

    /// What is done, in words.
    fn told(effects: &[LinkEffect]) -> Vec<String> {
        let word = |effect: &LinkEffect| match effect {
            LinkEffect::Discover => "discover".to_owned(),
            LinkEffect::Connect(_) => "connect".to_owned(),
            LinkEffect::Send(bytes) => {
                let frame = LinkFrame::decode(bytes).expect("ours");
                match frame.header("type") {
                    Some("ping") => "ping".to_owned(),
                    _ => {
                        let payload = frame.payload.unwrap_or_default();
                        String::from_utf8(payload).expect("text")
                    }
                }
            }
            LinkEffect::Close => "close".to_owned(),
            LinkEffect::Handle { .. } => "handle".to_owned(),
            LinkEffect::Tell(LinkNews::Connected) => "connected".to_owned(),
            LinkEffect::Tell(LinkNews::Disconnected { again_in, .. }) => {
                format!("again in {}", again_in.as_secs_f64())
            }
            LinkEffect::Tell(LinkNews::Ignored(what)) => format!("{what:?}"),
            LinkEffect::Tell(LinkNews::LateAnswer) => "late".to_owned(),
        };
        effects.iter().map(word).collect()
    }

    fn step(link: &mut Link, event: LinkEvent, now: Duration) -> Vec<String> {
        told(&link.step(event, now, 0.5))
    }

    /// A link that is open since second 10.
    fn open() -> Link {
        let mut link = Link::new();
        assert_eq!(step(&mut link, LinkEvent::Woke, s(10)), ["discover"]);
        assert_eq!(step(&mut link, answer(0, "{}"), s(10)), ["connect"]);
        let opened = link.step(LinkEvent::Opened, s(10), 0.0);
        assert_eq!(told(&opened), ["connected", "ping"]);
        let LinkEffect::Send(ping) = &opened[1] else {
            panic!("a ping is sent");
        };
        assert_eq!(*ping, bytes(P1));
        link
    }

    fn pong() -> LinkEvent {
        LinkEvent::Binary(bytes(P2))
    }

    #[test]
    fn each_code_of_discovery_and_handshake_has_its_consequence() {
        use LinkEnd::{Credentials, Forbidden, TooManyConnections};
        for (code, end) in [
            (1, None),
            (1_000_040_343, None),
            (1_000_040_350, Some(TooManyConnections)),
            (403, Some(Forbidden)),
            (514, Some(Credentials(514))),
            (10_003, Some(Credentials(10_003))),
            (10_015, Some(Credentials(10_015))),
        ] {
            let mut link = Link::new();
            step(&mut link, LinkEvent::Woke, s(0));
            step(&mut link, answer(code, "{}"), s(1));
            assert_eq!(link.end(), end, "{code}");
            let wake = end.is_none().then_some(s(121));
            assert_eq!(link.wake_at(), wake, "{code}");
        }
        for (status, auth_error, end) in [
            (Some(403), None, Some(Forbidden)),
            (Some(514), Some(1_000_040_350), Some(TooManyConnections)),
            (Some(514), Some(1), None),
            (Some(514), None, None),
            (Some(500), None, None),
            (None, None, None),
        ] {
            let mut link = Link::new();
            step(&mut link, LinkEvent::Woke, s(0));
            step(&mut link, answer(0, "{}"), s(0));
            let refusal = HandshakeRefusal { status, auth_error };
            step(&mut link, LinkEvent::Refused(refusal), s(0));
            assert_eq!(link.end(), end, "{status:?} {auth_error:?}");
        }
        // An address without its service cannot be pinged.
        let mut link = Link::new();
        step(&mut link, LinkEvent::Woke, s(0));
        let nowhere = DiscoveryAnswer {
            code: 0,
            url: Some("wss://frontier.example/ws?service_id=many".into()),
            config: None,
        };
        let done = step(&mut link, LinkEvent::Discovered(nowhere), s(0));
        assert_eq!(done, ["again in 120"]);
    }

    #[test]
    fn a_try_that_fails_waits_as_feishu_says_and_no_more_tries_are_made_than_it_allows() {
        let config = r#"{"ReconnectCount":2,"ReconnectInterval":7,"ReconnectNonce":3}"#;
        let mut link = Link::new();
        for (now, expected) in [(0, "again in 7"), (7, "again in 7"), (14, "")] {
            assert_eq!(step(&mut link, LinkEvent::Woke, s(now)), ["discover"]);
            assert_eq!(step(&mut link, answer(0, config), s(now)), ["connect"]);
            let failed = step(&mut link, LinkEvent::NotReached("no".into()), s(now));
            assert_eq!(failed.join(""), expected);
        }
        assert_eq!(link.end(), Some(LinkEnd::GaveUp(3)));
        assert_eq!(step(&mut link, LinkEvent::Woke, s(99)), [""; 0]);
    }

    #[test]
    fn a_lost_connection_comes_back_after_a_drawn_pause_and_asks_for_a_new_address() {
        let mut link = open();
        let lost = step(&mut link, LinkEvent::Lost("reset".into()), s(20));
        assert_eq!(lost, ["close", "again in 15"]);
        assert_eq!(step(&mut link, LinkEvent::Woke, s(34)), [""; 0]);
        assert_eq!(step(&mut link, LinkEvent::Woke, s(35)), ["discover"]);
    }

    #[test]
    fn a_half_open_socket_is_noticed_by_silence_after_a_ping() {
        let mut link = open();
        assert_eq!(link.wake_at(), Some(s(40)));
        assert_eq!(
            step(&mut link, LinkEvent::Woke, s(40)),
            ["close", "again in 15"]
        );
        // One that answers is pinged at its interval, and anything that comes is life.
        let mut link = open();
        step(&mut link, pong(), s(11));
        assert_eq!(link.wake_at(), Some(s(130)));
        assert_eq!(step(&mut link, LinkEvent::Woke, s(130)), ["ping"]);
        assert_eq!(link.wake_at(), Some(s(160)));
        assert_eq!(
            step(&mut link, LinkEvent::Binary(bytes(P3)), s(159)),
            ["handle"]
        );
        assert_eq!(link.wake_at(), Some(s(250)));
        assert_eq!(step(&mut link, LinkEvent::Woke, s(250)), ["ping"]);
        let silent = step(&mut link, LinkEvent::Woke, s(280));
        assert_eq!(silent, ["close", "again in 15"]);
    }

    #[test]
    fn a_pong_says_how_the_connection_is_kept_within_reason() {
        let pong_with = |config: &str| {
            let mut pong = frame(P2);
            pong.payload = Some(config.as_bytes().to_vec());
            LinkEvent::Binary(pong.encode())
        };
        for (config, next_ping) in [
            (r#"{"PingInterval":5}"#, 16),
            (r#"{"PingInterval":0}"#, 12),
            (r#"{"PingInterval":-9}"#, 12),
            (r#"{"PingInterval":99999999999}"#, 130),
            (r#"{"PingInterval":"5"}"#, 130),
            ("no json", 130),
            ("", 130),
        ] {
            let mut link = open();
            assert_eq!(step(&mut link, pong_with(config), s(11)), [""; 0]);
            assert_eq!(link.wake_at(), Some(s(next_ping)), "{config}");
        }
    }

    /// Takes the receipt of the one event that is to be handled.
    fn receipt(effects: Vec<LinkEffect>) -> (Vec<u8>, Receipt) {
        match effects.into_iter().next_back() {
            Some(LinkEffect::Handle { event, receipt }) => (event, receipt),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_event_is_answered_once_it_is_kept_in_time_on_its_own_connection() {
        let deliver =
            |link: &mut Link| receipt(link.step(LinkEvent::Binary(bytes(P3)), s(20), 0.0));
        let mut link = open();
        let (event, of_event) = deliver(&mut link);
        assert_eq!(event, EVENT.as_bytes());
        let handled = LinkEvent::Handled {
            receipt: of_event,
            is_kept: true,
        };
        let effects = link.step(handled, s(20) + Duration::from_millis(3), 0.0);
        let [LinkEffect::Send(ack)] = effects.as_slice() else {
            panic!("{effects:?}");
        };
        assert_eq!(*ack, bytes(P4));
        for (is_kept, at, reopened, expected) in [
            (false, 20, false, vec![r#"{"code":500}"#]),
            (true, 23, false, vec![r#"{"code":200}"#]),
            (true, 24, false, vec!["late"]),
            (true, 20, true, vec![]),
        ] {
            let mut link = open();
            let (_, receipt) = deliver(&mut link);
            if reopened {
                step(&mut link, LinkEvent::Lost("reset".into()), s(20));
                step(&mut link, LinkEvent::Woke, s(50));
                step(&mut link, answer(0, "{}"), s(50));
                step(&mut link, LinkEvent::Opened, s(50));
            }
            let handled = LinkEvent::Handled { receipt, is_kept };
            let found = step(&mut link, handled, s(at));
            assert_eq!(found, expected, "{is_kept} {at} {reopened}");
        }
    }

    #[test]
    fn parts_wait_for_one_another_and_the_last_one_is_answered() {
        let mut link = open();
        let first = step(&mut link, LinkEvent::Binary(bytes(P5_1)), s(20));
        assert_eq!(first, [""; 0]);
        let effects = link.step(LinkEvent::Binary(bytes(P5_0)), s(21), 0.0);
        let (event, receipt) = receipt(effects);
        assert_eq!(event, EVENT.as_bytes());
        assert_eq!(receipt.frame.seq_id, 2);
        let mut link = open();
        step(&mut link, LinkEvent::Binary(bytes(P5_1)), s(20));
        let later = step(&mut link, LinkEvent::Binary(bytes(P3)), s(31));
        assert_eq!(later, ["Incomplete", "handle"]);
    }

    #[test]
    fn nothing_is_left_out_without_a_word() {
        let mut card = frame(P3);
        card.headers[0].1 = "card".to_owned();
        let mut unfit = frame(P3);
        unfit.headers[2].1 = "0".to_owned();
        let mut other = frame(P3);
        other.method = 7;
        let mut larger = frame(P5_0);
        larger.headers[2].1 = "3".to_owned();
        let mut huge = frame(P3);
        huge.payload = Some(vec![0; LONGEST_FRAME]);
        for (message, expected) in [
            (card.encode(), "UnknownKind"),
            (other.encode(), "UnknownKind"),
            (unfit.encode(), "UnfitPart(Number)"),
            (b"garbage".to_vec(), "NoFrame(FieldKind)"),
            (Vec::new(), "NoFrame(Missing(\"SeqID\"))"),
            (bytes("080010001800"), "NoFrame(Missing(\"method\"))"),
            (huge.encode(), "NoFrame(TooLong)"),
        ] {
            let mut link = open();
            let found = step(&mut link, LinkEvent::Binary(message), s(20));
            assert_eq!(found, [expected]);
            // The connection goes on.
            let next = step(&mut link, LinkEvent::Binary(bytes(P3)), s(21));
            assert_eq!(next, ["handle"]);
        }
        assert_eq!(step(&mut open(), LinkEvent::Text, s(20)), ["Text"]);
        let mut link = open();
        step(&mut link, LinkEvent::Binary(bytes(P5_1)), s(20));
        let found = step(&mut link, LinkEvent::Binary(larger.encode()), s(20));
        assert_eq!(found, ["UnfitPart(OtherSum)"]);
    }

    #[test]
    fn no_address_is_shown_by_what_is_printed_for_debugging() {
        let answer = answer(0, "{}");
        assert!(!format!("{answer:?}").contains("ticket"), "{answer:?}");
        let mut link = Link::new();
        link.step(LinkEvent::Woke, s(0), 0.0);
        let effects = link.step(answer, s(0), 0.0);
        assert!(!format!("{effects:?} {link:?}").contains("ticket"));
    }
}
