//! The long connection: discovery, a WebSocket, and events that are sent until they are acknowledged.
//!
//! ```text
//! events ─► Hub ─► a connection that is open ─► frames, split and shuffled as the faults say
//!            ▲                                        │
//!            └── due again: 15 s, 5 min, 1 h, 6 h ◄── no acknowledgement within 3 s, or none with 200
//! ```
//! The messages are those of `prost`, made from the vendor's description, and not the client's own. The 3 seconds are real ones, because the
//! client lives in real time; the waits between deliveries are simulated ones.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::http::{Response, StatusCode};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::Options;
use crate::clock::SimClock;
use crate::events::SentEvent;
use crate::random::Draw;

/// Where discovery is.
pub(crate) const DISCOVERY: &str = "/callback/ws/endpoint";
/// Where the WebSocket is.
pub(crate) const SOCKET: &str = "/callback/ws/connect";
/// What the address of a connection has that nobody else may know.
pub const TICKET: &str = "simulator-ticket";

const SERVICE: i32 = 33_554_678;
/// An answer that comes later is none. In real time.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Real time for answers that are on their way when the service leaves a connection.
const BEFORE_LEAVING: Duration = Duration::from_millis(10);
/// No further event is sent while so many answers are awaited.
const MOST_UNANSWERED: usize = 500;
/// Simulated waits before an event is sent again.
pub(crate) const AGAIN_AFTER: [Duration; 4] = [
    Duration::from_secs(15),
    Duration::from_secs(5 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(6 * 60 * 60),
];

/// `pbbp2.Header`
#[derive(Clone, PartialEq, prost::Message)]
struct WireHeader {
    #[prost(string, required, tag = "1")]
    key: String,
    #[prost(string, required, tag = "2")]
    value: String,
}

/// `pbbp2.Frame`
#[derive(Clone, PartialEq, prost::Message)]
struct WireFrame {
    #[prost(uint64, required, tag = "1")]
    seq_id: u64,
    #[prost(uint64, required, tag = "2")]
    log_id: u64,
    #[prost(int32, required, tag = "3")]
    service: i32,
    #[prost(int32, required, tag = "4")]
    method: i32,
    #[prost(message, repeated, tag = "5")]
    headers: Vec<WireHeader>,
    #[prost(string, optional, tag = "6")]
    payload_encoding: Option<String>,
    #[prost(string, optional, tag = "7")]
    payload_type: Option<String>,
    #[prost(bytes = "vec", optional, tag = "8")]
    payload: Option<Vec<u8>>,
    #[prost(string, optional, tag = "9")]
    log_id_new: Option<String>,
}

impl WireFrame {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|header| header.key == name);
        found.map(|header| header.value.as_str())
    }
}

/// What goes wrong on the long connection. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct LinkFaults {
    /// So many discoveries are answered with this code.
    pub discovery: Option<(i64, u32)>,
    /// So many connections are refused with this `Handshake-Status` and `Handshake-Autherrcode`.
    pub handshake: Option<(i64, Option<i64>, u32)>,
    /// Share of the events that are sent twice.
    pub duplicates: f64,
    /// Events are sent in any order.
    pub reorder: bool,
    /// Events are held back for up to so long, in simulated time.
    pub delay: Duration,
    /// Events of this type are never sent.
    pub drops: Option<&'static str>,
    /// Events are split into up to so many parts, which come in any order. 0 and 1: they are not.
    pub parts: u64,
    /// Each connection is closed after so many events.
    pub closes_after: Option<u64>,
    /// So many connections go silent after an event, and stay open.
    pub half_open: u32,
    /// Share of the acknowledgements that are lost.
    pub lost_answers: f64,
    /// Pings are not answered.
    pub no_pong: bool,
    /// Seconds that the client is told to wait between pings, in each pong.
    pub ping_interval: Option<u64>,
    /// Frames sent before each event: no frame, one that lacks a required field, one of another type, parts that lie about their numbers.
    pub garbage: bool,
    /// So many events come after a message of so many bytes.
    pub oversize: Option<(usize, u32)>,
}

/// What became of the events.
#[derive(Clone, Debug, Default)]
pub struct LinkReport {
    /// Ids of the events that were acknowledged with 200.
    pub acknowledged: BTreeSet<String>,
    /// How often each event was sent.
    pub sent: BTreeMap<String, u64>,
    /// Events that are still to be sent.
    pub waiting: usize,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that are open.
    pub open: u64,
    /// Discoveries that were answered.
    pub discoveries: u64,
    /// Pings that came.
    pub pings: u64,
    /// Answers with another code than 200.
    pub refused: u64,
}

/// Where events wait for connections.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<HubState>,
    news: Notify,
    clock: SimClock,
    /// Real time between two events on one connection.
    pause: Duration,
    draw: Draw,
}

#[derive(Debug, Default)]
struct HubState {
    faults: LinkFaults,
    report: LinkReport,
    waiting: HashMap<u64, WaitingEvent>,
    /// Numbers of events that are due, and of some that were answered since.
    due: VecDeque<u64>,
    /// Numbers of those that are due later, by real time.
    later: BTreeSet<(Instant, u64)>,
    /// Until when answers are awaited, and to what.
    unanswered: BTreeSet<(Instant, u64)>,
    /// The event of each message that was sent.
    messages: HashMap<String, u64>,
    tickets: BTreeSet<String>,
    numbered: u64,
    drawn: u64,
}

#[derive(Debug)]
struct WaitingEvent {
    id: String,
    body: String,
    tries: usize,
    /// When it is sent again, and until when an answer is awaited. In real time.
    again: Option<(Instant, Instant)>,
    /// The messages under which it was sent.
    messages: Vec<String>,
}

impl HubState {
    /// An event is neither sent nor awaited any more.
    fn forget(&mut self, number: u64) -> Option<WaitingEvent> {
        let event = self.waiting.remove(&number)?;
        if let Some((again, answered_by)) = event.again {
            self.later.remove(&(again, number));
            self.unanswered.remove(&(answered_by, number));
        }
        for message in &event.messages {
            self.messages.remove(message);
        }
        Some(event)
    }

    /// The number of an event that is due, or until when none is.
    fn take_due(&mut self, now: Instant, chosen: Draw) -> Result<u64, Option<Instant>> {
        let is_past = |of: Option<&(Instant, u64)>| of.is_some_and(|(at, _)| *at <= now);
        while is_past(self.later.first()) {
            let moved = self.later.pop_first().map(|(_, number)| number);
            self.due.extend(moved);
        }
        while is_past(self.unanswered.first()) {
            self.unanswered.pop_first();
        }
        if self.unanswered.len() >= MOST_UNANSWERED {
            return Err(self.unanswered.first().map(|(at, _)| *at));
        }
        while !self.due.is_empty() {
            let place = match self.faults.reorder {
                true => chosen
                    .at(self.due.len() as u64)
                    .below(self.due.len() as u64),
                false => 0,
            };
            self.due.swap(0, usize::try_from(place).unwrap_or(0));
            let number = self.due.pop_front();
            if let Some(number) = number.filter(|number| self.waiting.contains_key(number)) {
                return Ok(number);
            }
        }
        Err(self.later.first().map(|(at, _)| *at))
    }
}

impl Hub {
    pub(crate) fn new(clock: SimClock, pause: Duration, draw: Draw) -> Self {
        Self {
            state: Mutex::default(),
            news: Notify::new(),
            clock,
            pause,
            draw,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_faults(&self, faults: LinkFaults) {
        self.lock().faults = faults;
        self.news.notify_waiters();
    }

    pub(crate) fn report(&self) -> LinkReport {
        let state = self.lock();
        LinkReport {
            waiting: state.waiting.len(),
            ..state.report.clone()
        }
    }

    /// Sends events to whoever is connected, now or later.
    pub(crate) fn send(&self, events: &[SentEvent]) {
        let mut state = self.lock();
        let (drops, delay) = (state.faults.drops, self.clock.real(state.faults.delay));
        let kept = events
            .iter()
            .filter(|event| Some(event.event_type) != drops);
        for event in kept {
            state.numbered += 1;
            let number = state.numbered;
            let waiting = WaitingEvent {
                id: event.id.clone(),
                body: event.body.clone(),
                tries: 0,
                again: None,
                messages: Vec::new(),
            };
            state.waiting.insert(number, waiting);
            match delay {
                Duration::ZERO => state.due.push_back(number),
                delay => {
                    let held = delay.mul_f64(self.draw.label("delay").at(number).unit());
                    state.later.insert((Instant::now() + held, number));
                }
            }
        }
        drop(state);
        self.news.notify_waiters();
    }

    /// Events that are still to be sent, or that nobody acknowledged yet.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Somebody has a long connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.lock().report.open > 0
    }

    /// Some event was acknowledged.
    pub(crate) fn has_acknowledged(&self) -> bool {
        !self.lock().report.acknowledged.is_empty()
    }

    /// Notes an event that was sent another way.
    pub(crate) fn sent(&self, id: &str) {
        *self.lock().report.sent.entry(id.to_owned()).or_default() += 1;
    }

    /// Notes that such an event was acknowledged.
    pub(crate) fn acknowledged(&self, id: &str) {
        self.lock().report.acknowledged.insert(id.to_owned());
    }

    fn draw(&self, state: &mut HubState) -> Draw {
        state.drawn += 1;
        self.draw.at(state.drawn)
    }

    // --- discovery and handshake ------------------------------------------------------------------------------------

    pub(crate) fn discover(&self, body: &[u8], host: &str, options: &Options) -> Value {
        #[derive(Deserialize)]
        struct Asked {
            #[serde(rename = "AppID")]
            app_id: String,
            #[serde(rename = "AppSecret")]
            app_secret: String,
        }
        let refused = |code: i64, msg: &str| json!({ "code": code, "msg": msg });
        let mut state = self.lock();
        state.report.discoveries += 1;
        if let Some((code, times)) = state.faults.discovery
            && times > 0
        {
            state.faults.discovery = Some((code, times - 1));
            return refused(code, "refused by a fault");
        }
        match serde_json::from_slice::<Asked>(body) {
            Ok(asked) if asked.app_id != options.app_id => {
                return refused(10_003, "invalid app_id");
            }
            Ok(asked) if asked.app_secret != options.app_secret => {
                return refused(514, "auth failed");
            }
            Ok(_) => {}
            Err(_) => return refused(10_002, "invalid param"),
        }
        let draw = self.draw(&mut state);
        let ticket = format!("{TICKET}-{}", draw.hex(12));
        state.tickets.insert(ticket.clone());
        let device = draw.label("device").below(1_000_000_000);
        json!({
            "code": 0,
            "msg": "",
            "data": {
                "URL": format!("ws://{host}{SOCKET}?device_id={device}&access_key={device}&service_id={SERVICE}&ticket={ticket}"),
                // Shorter than the service's, which nobody wants to wait for.
                "ClientConfig": {
                    "ReconnectCount": -1, "ReconnectInterval": 1, "ReconnectNonce": 1, "PingInterval": 120,
                },
            },
        })
    }

    /// Opens a WebSocket if the address has a ticket that was not used yet.
    pub(crate) fn connect(self: &Arc<Self>, mut request: Request) -> Response<Body> {
        let query = request.uri().query().unwrap_or("").to_owned();
        let ticket = query
            .split('&')
            .find_map(|part| part.strip_prefix("ticket="));
        let mut state = self.lock();
        let refusal = match state.faults.handshake.take() {
            Some((status, auth_error, times)) if times > 0 => {
                state.faults.handshake = Some((status, auth_error, times - 1));
                Some((status, auth_error))
            }
            _ => {
                let is_known = ticket.is_some_and(|ticket| state.tickets.remove(ticket));
                (!is_known).then_some((514, Some(1)))
            }
        };
        drop(state);
        let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
        let (None, Some(key)) = (refusal, key) else {
            let (status, auth_error) = refusal.unwrap_or((400, None));
            let mut response = Response::builder()
                .status(StatusCode::BAD_REQUEST)
                .header("Handshake-Status", status)
                .header("Handshake-Msg", "refused");
            if let Some(code) = auth_error {
                response = response.header("Handshake-Autherrcode", code);
            }
            return response.body(Body::empty()).expect("a response");
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let hub = Arc::clone(self);
        tokio::spawn(async move {
            if let Ok(stream) = upgrade.await {
                hub.serve(stream).await;
            }
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
            .body(Body::empty())
            .expect("a response")
    }

    // --- a connection -----------------------------------------------------------------------------------------------

    async fn serve(&self, stream: Upgraded) {
        let stream = TokioIo::new(stream);
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        {
            let mut state = self.lock();
            state.report.connections += 1;
            state.report.open += 1;
        }
        self.talk(&mut socket).await;
        self.lock().report.open -= 1;
        let _ = tokio::time::timeout(ANSWER_WITHIN, socket.close(None)).await;
    }

    async fn talk(&self, socket: &mut WebSocketStream<TokioIo<Upgraded>>) {
        let mut events = 0;
        loop {
            let next = self.next_event();
            let frames = match next {
                Ok(frames) => frames,
                Err(wait) => {
                    tokio::select! {
                        message = socket.next() => match message {
                            Some(Ok(Message::Binary(bytes))) => {
                                if let Some(answer) = self.heard(&bytes)
                                    && socket.send(Message::binary(answer)).await.is_err()
                                {
                                    return;
                                }
                            }
                            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                            Some(Ok(_)) => {}
                        },
                        () = self.news.notified() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                    continue;
                }
            };
            for frame in frames {
                if socket.send(Message::binary(frame)).await.is_err() {
                    return;
                }
            }
            events += 1;
            let goes_silent = self.goes_silent();
            let closes_after = self.lock().faults.closes_after;
            let closes = closes_after.is_some_and(|most| events >= most);
            // An answer that is on its way by now is read even if the connection is closed.
            let pause = match goes_silent || closes {
                true => self.pause.max(BEFORE_LEAVING),
                false => self.pause,
            };
            while let Ok(message) = tokio::time::timeout(pause, socket.next()).await {
                match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        let answer = self.heard(&bytes).map(Message::binary);
                        if let Some(answer) = answer
                            && socket.send(answer).await.is_err()
                        {
                            return;
                        }
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                }
            }
            if goes_silent {
                // Nobody reads and nobody writes, until the client goes away by itself.
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() {
                        return;
                    }
                }
                return;
            }
            if closes {
                return;
            }
        }
    }

    fn goes_silent(&self) -> bool {
        let mut state = self.lock();
        let is_struck = state.faults.half_open > 0;
        state.faults.half_open -= u32::from(is_struck);
        is_struck
    }

    /// The frames of an event that is due, or how long nothing is.
    fn next_event(&self) -> Result<Vec<Vec<u8>>, Duration> {
        const LONGEST: Duration = Duration::from_millis(500);
        let now = Instant::now();
        let mut state = self.lock();
        let draw = self.draw(&mut state);
        let faults = state.faults.clone();
        let number = match state.take_due(now, draw.label("chosen")) {
            Ok(number) => number,
            Err(until) => {
                let wait = until.map_or(LONGEST, |at| at.saturating_duration_since(now));
                return Err(wait.min(LONGEST));
            }
        };
        let message = draw.label("message").hex(16);
        let Some(event) = state.waiting.get_mut(&number) else {
            return Err(Duration::ZERO);
        };
        if event.tries > AGAIN_AFTER.len() {
            // The service gives up.
            state.forget(number);
            return Err(Duration::ZERO);
        }
        event.tries += 1;
        event.messages.push(message.clone());
        let again = AGAIN_AFTER
            .get(event.tries - 1)
            .copied()
            .unwrap_or_default();
        let answered_by = now + ANSWER_WITHIN;
        let again = answered_by + self.clock.real(again);
        event.again = Some((again, answered_by));
        let (id, body) = (event.id.clone(), event.body.clone().into_bytes());
        *state.report.sent.entry(id).or_default() += 1;
        state.messages.insert(message.clone(), number);
        state.later.insert((again, number));
        state.unanswered.insert((answered_by, number));
        let oversize = match &mut state.faults.oversize {
            Some((bytes, times)) if *times > 0 => {
                *times -= 1;
                Some(oversize(*bytes))
            }
            _ => None,
        };
        drop(state);
        let mut frames = Vec::new();
        if faults.garbage {
            frames.extend(garbage(draw));
        }
        frames.extend(oversize);
        let parts = 1 + draw.label("parts").below(faults.parts.max(1));
        frames.extend(split(&body, &message, parts, draw));
        if draw.label("twice").chance(faults.duplicates) {
            // Another delivery of the same event: its answer is nobody's.
            frames.extend(split(&body, &format!("{message}-again"), 1, draw));
        }
        Ok(frames)
    }

    /// What a message from the client is answered with.
    fn heard(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let frame = WireFrame::decode(bytes).ok()?;
        let mut state = self.lock();
        match (frame.method, frame.header("type")) {
            (0, Some("ping")) => {
                state.report.pings += 1;
                let interval = state.faults.ping_interval;
                (!state.faults.no_pong).then(|| pong(&frame, interval))
            }
            (1, Some("event")) => {
                let draw = self.draw(&mut state);
                let is_lost = draw.chance(state.faults.lost_answers);
                if !is_lost {
                    answered(&mut state, &frame);
                }
                None
            }
            _ => None,
        }
    }
}

/// Takes the answer to an event.
fn answered(state: &mut HubState, frame: &WireFrame) {
    #[derive(Deserialize)]
    struct Answer {
        code: i64,
    }
    let payload = frame.payload.as_deref().unwrap_or_default();
    let answer = serde_json::from_slice::<Answer>(payload);
    let is_good = answer.is_ok_and(|answer| answer.code == 200);
    let has_time = frame
        .header("biz_rt")
        .is_some_and(|time| time.parse::<u64>().is_ok());
    if !is_good || !has_time {
        state.report.refused += 1;
        return;
    }
    let number = frame.header("message_id");
    let number = number.and_then(|message| state.messages.get(message).copied());
    if let Some(event) = number.and_then(|number| state.forget(number)) {
        state.report.acknowledged.insert(event.id);
    }
}

fn header(key: &str, value: impl ToString) -> WireHeader {
    WireHeader {
        key: key.to_owned(),
        value: value.to_string(),
    }
}

fn pong(ping: &WireFrame, interval: Option<u64>) -> Vec<u8> {
    let config = interval.map(|seconds| json!({ "PingInterval": seconds }));
    let payload = config.map_or_else(Vec::new, |config| config.to_string().into_bytes());
    let pong = WireFrame {
        service: ping.service,
        headers: vec![header("type", "pong")],
        payload: Some(payload),
        ..WireFrame::default()
    };
    pong.encode_to_vec()
}

/// The frames of an event in so many parts, which come in any order.
fn split(body: &[u8], message: &str, parts: u64, draw: Draw) -> Vec<Vec<u8>> {
    let count = usize::try_from(parts).unwrap_or(1);
    let length = body.len().div_ceil(count);
    let mut frames: Vec<(u64, Vec<u8>)> = (0..count)
        .map(|seq| {
            let piece = body.chunks(length).nth(seq).unwrap_or_default();
            let frame = WireFrame {
                seq_id: draw.label("seq").at(seq as u64).value(),
                log_id: draw.label("log").value(),
                service: SERVICE,
                method: 1,
                headers: vec![
                    header("type", "event"),
                    header("message_id", message),
                    header("sum", count),
                    header("seq", seq),
                    header("trace_id", draw.hex(16)),
                    header("instance_id", "i1"),
                ],
                payload: Some(piece.to_vec()),
                ..WireFrame::default()
            };
            (
                draw.label("order").at(seq as u64).value(),
                frame.encode_to_vec(),
            )
        })
        .collect();
    frames.sort_by_key(|(order, _)| *order);
    frames.into_iter().map(|(_, frame)| frame).collect()
}

/// A frame of an event that is longer than any.
fn oversize(bytes: usize) -> Vec<u8> {
    let frame = WireFrame {
        service: SERVICE,
        method: 1,
        headers: vec![header("type", "event"), header("message_id", "oversize")],
        payload: Some(vec![b' '; bytes]),
        ..WireFrame::default()
    };
    frame.encode_to_vec()
}

/// What no client should stumble over.
fn garbage(draw: Draw) -> Vec<Vec<u8>> {
    let frame = |kind: &str, sum: &str| WireFrame {
        service: SERVICE,
        method: 1,
        headers: vec![
            header("type", kind),
            header("message_id", draw.hex(8)),
            header("sum", sum),
            header("seq", 5),
        ],
        payload: Some(b"{}".to_vec()),
        ..WireFrame::default()
    };
    // The two halves of one message that do not agree on how many there are.
    let mut halves = [frame("event", "6"), frame("event", "7")];
    for half in &mut halves {
        half.headers[1] = header("message_id", format!("{}-liar", draw.hex(8)));
    }
    vec![
        b"no frame".to_vec(),
        // SeqID, LogID and service, and no method.
        b"\x08\x00\x10\x00\x18\x00".to_vec(),
        halves[0].encode_to_vec(),
        halves[1].encode_to_vec(),
        frame("card", "1").encode_to_vec(),
        frame("event", "2").encode_to_vec(),
        frame("event", "4000000000").encode_to_vec(),
    ]
}
