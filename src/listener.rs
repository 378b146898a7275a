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

/// A connection that gives no more once its time is over.
#[derive(Debug)]
pub struct BoundedStream {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
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

    /// A server for two connections at the same time.
    async fn served() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/", get(async || "served"));
        let events = Events::new(Clock::scaled(Timestamp::UNIX_EPOCH, 1.0));
        let listener = BoundedListener::new(listener, 2, LIVES, events);
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
}
