//! Events that come by themselves, as in a company at work: those of the last day in the order in which they happened, then those of the
//! day before, until all were told.
//!
//! ```text
//! a pace, or `POST /_simulator/events` ─► Feed ─► the long connection, or calls of a webhook
//! ```
//! At its pace, nothing is told while nobody listens on the long connection, so that whoever connects sees one after the other.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::events::SentEvent;
use crate::link::{AGAIN_AFTER, ANSWER_WITHIN};
use crate::server::App;
use crate::webhook::{WebhookCall, WebhookSender};

/// What is still to be told.
#[derive(Debug, Default)]
pub(crate) struct Feed(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    /// The earliest day of which the events were taken.
    taken: Option<Date>,
    events: VecDeque<SentEvent>,
}

impl Feed {
    /// The next event, or the next of a type.
    pub(crate) fn next(&self, app: &App, of_type: Option<&str>) -> Option<SentEvent> {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let is_asked = |event: &SentEvent| of_type.is_none_or(|of| of == event.event_type);
            if let Some(place) = untold.events.iter().position(is_asked) {
                return untold.events.remove(place);
            }
            let company = &app.company;
            let day = match untold.taken {
                None => company.last_day(),
                Some(taken) if taken > company.first_day() => taken.saturating_sub(1.day()),
                Some(_) => return None,
            };
            let start = company.start_of_day(day);
            let end = company.start_of_day(day.saturating_add(1.day()));
            let now = app.options.clock.now();
            // A meeting of the last day may not have ended yet.
            let told = app.events_of(start, end).into_iter();
            untold.events.extend(told.filter(|event| event.at <= now));
            untold.taken = Some(day);
        }
    }
}

/// Tells one event after the other, until the simulator ends or none is left.
pub(crate) async fn tell(app: Weak<App>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(app) = app.upgrade() else {
            return;
        };
        if !app.is_listened_to() {
            continue;
        }
        match app.feed.next(&app, None) {
            Some(event) => app.tell(event),
            None => return,
        }
    }
}

/// Calls a webhook with an event until it answers, at most as often as the service does. The first call of all asks whether somebody is there.
pub(crate) async fn deliver(app: Arc<App>, address: SocketAddr, event: SentEvent) {
    let options = &app.options;
    let sender = WebhookSender {
        verification_token: options.verification_token.clone(),
        encrypt_key: Some(options.encrypt_key.clone()),
    };
    let waits = [Duration::ZERO].into_iter().chain(AGAIN_AFTER);
    for wait in waits {
        options.clock.sleep(wait).await;
        let challenge = sender.challenge("is-somebody-there");
        let is_there = app.hub.has_acknowledged() || is_ok(post(address, &challenge).await);
        if !is_there {
            continue;
        }
        app.hub.sent(&event.id);
        let call = sender.event(&event.body, &event.id[..16]);
        if is_ok(post(address, &call).await) {
            app.hub.acknowledged(&event.id);
            return;
        }
    }
}

fn is_ok(status: Option<u16>) -> bool {
    status == Some(200)
}

/// The status of an answer that came in time.
async fn post(address: SocketAddr, call: &WebhookCall) -> Option<u16> {
    let mut request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json;charset=utf-8\r\nContent-Length: {}\r\n",
        call.body.len()
    );
    for (name, value) in &call.headers {
        request = format!("{request}{name}: {value}\r\n");
    }
    let bytes = [request.as_bytes(), b"\r\n", &call.body].concat();
    let answer = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(&bytes).await.ok()?;
        let mut answer = String::new();
        let limited = stream.take(4_096).read_to_string(&mut answer).await;
        limited.ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    };
    tokio::time::timeout(ANSWER_WITHIN, answer).await.ok()?
}
