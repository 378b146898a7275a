//! Feishu's long connection: events without a public address (resources, 5.3).
//!
//! ```text
//! frame    the protobuf message in each WebSocket message
//! parts    joins what Feishu split
//! machine  decides: where to connect, when to ping, what to answer, when to give up
//! ```
//! This file performs what the machine decides. The HTTP client that the API is called with opens
//! the WebSocket too, so that both go through the same proxy and trust the same certificates. What
//! is done with an event is not known here.
//!
//! The address that discovery names holds a ticket, so it is as secret as the app's secret. No
//! error of the HTTP client is shown whole: it would quote the address.

mod frame;
mod machine;
mod parts;

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use futures::{FutureExt as _, SinkExt as _};
use reqwest::header::{
    CONNECTION, HeaderMap, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{StatusCode, Upgraded};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::error::with_causes;
use super::{Error, Settings};
use crate::network;
use machine::{DiscoveryAnswer, HandshakeRefusal, Link, LinkEffect, LinkEvent};

#[cfg(feature = "testing")]
pub use frame::LinkFrame;
pub use machine::{LinkEnd, LinkNews};
#[cfg(feature = "testing")]
pub use parts::PartBuffer;

/// Below the host, and not below `open-apis`.
const DISCOVERY: &str = "callback/ws/endpoint";

/// Until discovery has answered whole.
const DISCOVERY_WITHIN: Duration = Duration::from_secs(15);
/// Until a connection is open.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Until a message is handed to the system.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Until a connection is closed. Whoever does not answer is left alone.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// For the events that are being kept when somebody asks to stop.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// Events that are being kept at the same time. No message is read while so many are.
const MOST_AT_ONCE: usize = 64;
/// The longest message that is read. One that is longer than any frame is counted and left out; one
/// that is longer than this breaks the connection, because nothing can pass over it unread.
const LONGEST_MESSAGE: usize = 32 << 20;
/// The longest answer of discovery.
const LONGEST_ANSWER: usize = 64 << 10;

type Socket = WebSocketStream<Upgraded>;
/// What discovery or connecting comes to, with the socket if there is one.
type Reached = (LinkEvent, Option<Socket>);

/// The long connection of one app.
pub struct LongConnection {
    http: reqwest::Client,
    discovery: Url,
    app_id: String,
    app_secret: SecretString,
    /// Whether addresses without encryption may be named: only a simulator on this machine does.
    allows_plain: bool,
}

impl fmt::Debug for LongConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongConnection")
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}

impl LongConnection {
    /// The long connection of the app that `settings` name. Nothing is sent yet.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        const ACTION: &str = "set up the long connection";
        let local = |error| Error::local(ACTION, with_causes(&error));
        let discovery = settings.host.join(DISCOVERY);
        let discovery = discovery.map_err(|_| Error::other(ACTION, "the host takes no path"))?;
        // A WebSocket is opened by HTTP/1.1 only.
        let builder = super::http::builder(settings).map_err(local)?.http1_only();
        Ok(Self {
            http: builder.build().map_err(local)?,
            discovery,
            app_id: settings.app_id.clone(),
            app_secret: settings.app_secret.clone(),
            allows_plain: network::is_loopback(&settings.host),
        })
    }

    /// Receives events until somebody asks to stop, or until Feishu refuses for good. `keep` keeps
    /// an event and says whether it is kept for good, upon which the event is acknowledged; `tell`
    /// hears what happens to the connection.
    pub async fn receive<K: Future<Output = bool>>(
        &self,
        keep: impl Fn(Vec<u8>) -> K,
        mut tell: impl FnMut(LinkNews),
        stop: &CancellationToken,
    ) -> Option<LinkEnd> {
        let started = Instant::now();
        let mut link = Link::new();
        let mut reaching: Option<BoxFuture<'_, Reached>> = None;
        let mut socket: Option<Socket> = None;
        let mut keeping = FuturesUnordered::new();
        let mut next: Option<LinkEvent> = None;
        loop {
            let event = match next.take() {
                Some(event) => event,
                None => {
                    let wake_at = link.wake_at().map(|at| started + at);
                    let reads = socket.as_mut().filter(|_| keeping.len() < MOST_AT_ONCE);
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = wake(wake_at) => LinkEvent::Woke,
                        (event, opened) = pending(reaching.as_mut()) => {
                            (reaching, socket) = (None, opened);
                            event
                        }
                        Some((receipt, is_kept)) = keeping.next() => {
                            LinkEvent::Handled { receipt, is_kept }
                        }
                        event = read(reads) => match event {
                            Some(event) => event,
                            None => continue,
                        },
                    }
                }
            };
            for effect in link.step(event, started.elapsed(), chance()) {
                match effect {
                    LinkEffect::Discover => reaching = Some(self.discover().boxed()),
                    LinkEffect::Connect(url) => reaching = Some(self.connect(url).boxed()),
                    LinkEffect::Send(bytes) => {
                        // A second failure in a row says no more than the first.
                        next = send(socket.as_mut(), bytes).await.err().or(next.take());
                    }
                    LinkEffect::Close => close(socket.take()).await,
                    LinkEffect::Handle { event, receipt } => {
                        let kept = keep(event);
                        keeping.push(async move { (receipt, kept.await) });
                    }
                    LinkEffect::Tell(news) => tell(news),
                }
            }
            if let Some(end) = link.end() {
                close(socket.take()).await;
                return Some(end);
            }
        }
        // What is being kept is still answered. What was not read comes again.
        let last = async {
            while let Some((receipt, is_kept)) = keeping.next().await {
                let handled = LinkEvent::Handled { receipt, is_kept };
                for effect in link.step(handled, started.elapsed(), chance()) {
                    if let LinkEffect::Send(bytes) = effect {
                        let _ = send(socket.as_mut(), bytes).await;
                    }
                }
            }
        };
        let _ = timeout(LAST_ANSWERS_WITHIN, last).await;
        close(socket.take()).await;
        None
    }

    async fn discover(&self) -> Reached {
        let asked = timeout(DISCOVERY_WITHIN, self.ask_for_address()).await;
        let event = match asked {
            Ok(Ok(answer)) => LinkEvent::Discovered(answer),
            Ok(Err(why)) => LinkEvent::NotReached(why),
            Err(_) => LinkEvent::NotReached(no_answer("discovery", DISCOVERY_WITHIN)),
        };
        (event, None)
    }

    async fn ask_for_address(&self) -> Result<DiscoveryAnswer, String> {
        #[derive(Deserialize)]
        struct DiscoveryBody {
            code: i64,
            data: Option<DiscoveryData>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct DiscoveryData {
            #[serde(rename = "URL")]
            url: Option<String>,
            client_config: Option<machine::ClientConfig>,
        }
        let body = json!({ "AppID": self.app_id, "AppSecret": self.app_secret.expose_secret() });
        let request = self.http.post(self.discovery.clone());
        let sent = request.header("locale", "zh").json(&body).send().await;
        let mut response = sent.map_err(reason)?;
        if response.status() != StatusCode::OK {
            let status = response.status().as_u16();
            return Err(format!("discovery was answered with HTTP {status}"));
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(reason)? {
            if body.len() + piece.len() > LONGEST_ANSWER {
                return Err("the answer of discovery is too long".to_owned());
            }
            body.extend_from_slice(&piece);
        }
        // An error of the parser quotes what it did not understand.
        let answer: DiscoveryBody = serde_json::from_slice(&body)
            .map_err(|_| "the answer of discovery is not what Feishu documents".to_owned())?;
        let (url, config) = answer
            .data
            .map_or((None, None), |data| (data.url, data.client_config));
        let url = url.map(SecretString::from);
        Ok(DiscoveryAnswer {
            code: answer.code,
            url,
            config,
        })
    }

    async fn connect(&self, url: SecretString) -> Reached {
        match timeout(CONNECT_WITHIN, self.open(&url)).await {
            Ok(Ok(socket)) => (LinkEvent::Opened, Some(socket)),
            Ok(Err(event)) => (event, None),
            Err(_) => {
                let why = no_answer("the address of the connection", CONNECT_WITHIN);
                (LinkEvent::NotReached(why), None)
            }
        }
    }

    async fn open(&self, url: &SecretString) -> Result<Socket, LinkEvent> {
        let failed = |why: String| LinkEvent::NotReached(why);
        let url = self
            .http_address(url)
            .map_err(|why| failed(why.to_owned()))?;
        let key = generate_key();
        let request = self.http.get(url);
        let request = request
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        let response = request
            .send()
            .await
            .map_err(|error| failed(reason(error)))?;
        let headers = response.headers();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(LinkEvent::Refused(HandshakeRefusal {
                status: number(headers, "handshake-status"),
                auth_error: number(headers, "handshake-autherrcode"),
            }));
        }
        let accepted = headers.get(SEC_WEBSOCKET_ACCEPT);
        if accepted
            .is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
        {
            return Err(failed(
                "what answers there is no WebSocket server".to_owned(),
            ));
        }
        let stream = response.upgrade().await;
        let stream = stream.map_err(|error| failed(reason(error)))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(LONGEST_MESSAGE))
            .max_frame_size(Some(LONGEST_MESSAGE));
        Ok(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await)
    }

    /// The address as the HTTP client knows it. The ticket goes over an encrypted connection only.
    fn http_address(&self, url: &SecretString) -> Result<Url, &'static str> {
        let mut url = Url::parse(url.expose_secret()).map_err(|_| "the address is no URL")?;
        let scheme = match url.scheme() {
            "wss" => "https",
            "ws" if self.allows_plain && network::is_loopback(&url) => "http",
            _ => return Err("the address is not wss://"),
        };
        url.set_scheme(scheme)
            .map_err(|()| "the address is no URL")?;
        Ok(url)
    }
}

/// Why a request failed, without the address that it went to.
fn reason(error: reqwest::Error) -> String {
    with_causes(&error.without_url())
}

fn no_answer(from: &str, within: Duration) -> String {
    format!("no answer from {from} within {} s", within.as_secs())
}

/// A header that holds a number.
fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// A number from 0 to 1.
fn chance() -> f64 {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 4];
    // Without randomness all clients come back at once, which is no harm to ours.
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

async fn wake(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn pending<T>(work: Option<&mut BoxFuture<'_, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// The next message; `None` for what the WebSocket itself has to say.
async fn read(socket: Option<&mut Socket>) -> Option<LinkEvent> {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    match socket.next().await {
        Some(Ok(Message::Binary(bytes))) => Some(LinkEvent::Binary(bytes.into())),
        Some(Ok(Message::Text(_))) => Some(LinkEvent::Text),
        Some(Ok(Message::Close(frame))) => {
            let code = frame.map_or_else(String::new, |frame| format!(" ({})", frame.code));
            Some(LinkEvent::Lost(format!(
                "Feishu closed the connection{code}"
            )))
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => None,
        Some(Err(error)) => Some(LinkEvent::Lost(broken(&error))),
        None => Some(LinkEvent::Lost("the connection ended".to_owned())),
    }
}

async fn send(socket: Option<&mut Socket>, bytes: Vec<u8>) -> Result<(), LinkEvent> {
    let Some(socket) = socket else {
        return Ok(());
    };
    match timeout(WRITE_WITHIN, socket.send(Message::binary(bytes))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(LinkEvent::Lost(broken(&error))),
        Err(_) => {
            let seconds = WRITE_WITHIN.as_secs();
            let why = format!("nothing could be sent for {seconds} s");
            Err(LinkEvent::Lost(why))
        }
    }
}

/// Says good-bye, for as long as that does not take long.
async fn close(socket: Option<Socket>) {
    if let Some(mut socket) = socket {
        let _ = timeout(CLOSE_WITHIN, socket.close(None)).await;
    }
}

/// Why a connection broke. Only errors of the socket are told in their own words.
fn broken(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Io(error) => format!("the connection broke: {error}"),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            "the connection ended".to_owned()
        }
        tungstenite::Error::Capacity(_) => {
            format!("a message is longer than {LONGEST_MESSAGE} bytes")
        }
        _ => "what came over the connection is no WebSocket message".to_owned(),
    }
}
