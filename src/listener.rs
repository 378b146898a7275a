//! Connections from others: so many at the same time, each for so long.
//!
//! Whoever can reach an address can connect to it. A connection that sends half a header and waits
//! must neither keep a server from its end nor take the files that the work needs, so each gives up
//! by itself, whatever happens on it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use crate::descriptors;
use crate::events::{EventKind, Events, Subject};

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A connection on which nothing is asked for so long is over, before the first request and after
/// each answer: those that browsers and proxies keep for later must not shut out a probe, which
/// waits a second or some.
const IDLE: Duration = Duration::from_secs(2);
/// Whoever reads the log is told once an hour that connections cannot be accepted.
const TOLD_EVERY: Duration = Duration::from_secs(3_600);

/// A listener with so many connections at the same time, each of which ends by itself. Others wait
/// to be accepted.
#[derive(Debug)]
pub struct BoundedListener {
    listener: TcpListener,
    free: Arc<Semaphore>,
    connection_lives: Duration,
    events: Events,
    told: Option<Instant>,
}

impl BoundedListener {
    /// Bounds a listener to `most` connections, each of which is over after `connection_lives`.
    /// What keeps it from accepting any is told to `events`.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        most: usize,
        connection_lives: Duration,
        events: Events,
    ) -> Self {
        Self {
            listener,
            free: Arc::new(Semaphore::new(most)),
            connection_lives,
            events,
            told: None,
        }
    }

    fn tell(&mut self, error: &io::Error) {
        let is_new = self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
        // Others are of one client, who is gone.
        if let Some(advice) = descriptors::advice(error).filter(|_| is_new) {
            self.told = Some(Instant::now());
            let problem = format!("{error}{advice}");
            let told = EventKind::NobodyAccepted { problem };
            self.events.emit(Subject::default(), told);
        }
    }
}

impl axum::serve::Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let permit = permit.expect("nobody closes it");
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let stream = BoundedStream {
                        stream,
                        end: Box::pin(tokio::time::sleep(self.connection_lives)),
                        idle_end: Box::pin(tokio::time::sleep(IDLE)),
                        state: Exchange::Idle,
                        _permit: permit,
                    };
                    return (stream, address);
                }
                // Some connections end soon.
                Err(error) => {
                    self.tell(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that gives no more once its time is over, or once nobody asks for anything.
#[derive(Debug)]
pub struct BoundedStream {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    idle_end: Pin<Box<Sleep>>,
    state: Exchange,
    _permit: OwnedSemaphorePermit,
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    /// Nothing is asked for.
    Idle,
    /// A request has begun to come, or its answer is being made.
    Asked,
    /// Its answer is being written.
    Answering,
}

impl BoundedStream {
    /// Whether its time is over.
    fn poll_end(&mut self, context: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(context).is_ready()
            || self.state == Exchange::Idle && self.idle_end.as_mut().poll(context).is_ready()
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_end(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.state = Exchange::Asked;
        }
        read
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.poll_end(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.state = Exchange::Answering;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // All of an answer is written before it is flushed.
        if self.state == Exchange::Answering {
            self.state = Exchange::Idle;
            self.idle_end.as_mut().reset(Instant::now() + IDLE);
            // The clock is looked at when it is read from, which is waited for already.
            context.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use jiff::Timestamp;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;
    use crate::clock::Clock;

    const LIVES: Duration = Duration::from_millis(400);

    async fn served() -> SocketAddr {
        served_for(2, LIVES).await
    }

    /// A server for so many connections at the same time.
    async fn served_for(most: usize, lives: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let slow = async || {
            tokio::time::sleep(IDLE * 2).await;
            "served"
        };
        let router = Router::new().route("/", get(async || "served"));
        let router = router.route("/slow", get(slow));
        let events = Events::new(Clock::scaled(Timestamp::UNIX_EPOCH, 1.0));
        let listener = BoundedListener::new(listener, most, lives, events);
        tokio::spawn(axum::serve(listener, router).into_future());
        address
    }

    async fn connect(address: SocketAddr, sent: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(sent.as_bytes()).await.expect("sent");
        stream
    }

    #[tokio::test]
    async fn whoever_waits_is_served_once_those_who_hold_on_are_cut_off() {
        for holds_on in [
            "",
            "GET / HTTP/1.1\r\nHo",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            let address = served().await;
            let _held = [
                connect(address, holds_on).await,
                connect(address, holds_on).await,
            ];
            let began = Instant::now();
            let asked = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            let mut third = connect(address, asked).await;
            let mut answer = String::new();
            let answered = timeout(LIVES * 10, third.read_to_string(&mut answer)).await;
            answered.expect("in time").expect("read");
            assert!(answer.ends_with("served"), "{answer}");
            assert!(
                began.elapsed() > LIVES / 2,
                "two may be open at the same time"
            );
        }
    }

    #[tokio::test]
    async fn connections_that_are_kept_for_later_shut_nobody_out() {
        for kept in ["", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let address = served_for(64, IDLE * 30).await;
            let mut idle = Vec::new();
            for _ in 0..64 {
                idle.push(connect(address, kept).await);
            }
            let began = Instant::now();
            let asked = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            let mut probe = connect(address, asked).await;
            let mut answer = String::new();
            let answered = timeout(Duration::from_secs(5), probe.read_to_string(&mut answer)).await;
            answered.expect("in time").expect("read");
            assert!(answer.ends_with("served"), "{answer}");
            assert!(began.elapsed() > IDLE / 2, "all 64 were open");
        }
    }

    /// Nor is whoever asks again in time: a page and its style come over one connection.
    #[tokio::test]
    async fn whoever_waits_for_a_slow_answer_is_not_idle() {
        let address = served_for(1, IDLE * 30).await;
        let again = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut stream = connect(address, again).await;
        tokio::time::sleep(IDLE / 4).await;
        let slow = "GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(slow.as_bytes()).await.expect("sent");
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.expect("read");
        assert_eq!(answers.matches("served").count(), 2, "{answers}");
    }
}
