//! Accepts connections that can be cut, before an answer or in the middle of one.
//!
//! Every request can reach the [`Cutter`] of its connection. After a cut, writing fails once the granted bytes are gone, which makes the
//! server close the socket; the client sees what a broken network shows it.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How long stopping waits for connections to end, in real time.
const STOP_GRACE: Duration = Duration::from_secs(2);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Cuts one connection.
#[derive(Clone, Debug)]
pub(crate) struct Cutter {
    /// Bytes that may still be written; `u64::MAX` as long as nothing is cut.
    allowance: Arc<AtomicU64>,
}

impl Cutter {
    /// Lets `bytes` more bytes through, then breaks the connection.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.allowance.store(bytes, Ordering::Relaxed);
    }
}

/// Answers every connection on `listener` with the router made for it, until `stopped`; then lets the answers under way end for at most
/// [`STOP_GRACE`].
pub(crate) async fn serve(
    listener: TcpListener,
    router: impl Fn(Cutter) -> Router,
    stopped: impl Future<Output = ()>,
) {
    let mut server = Builder::new(TokioExecutor::new());
    // The vendor's Python SDK looks headers up as `Content-Disposition`, which is how the service writes them.
    server.http1().title_case_headers(true);
    let graceful = GracefulShutdown::new();
    let mut stopped = pin!(stopped);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: let some go first.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Answers are small and complete; waiting for more to send only costs the client time.
        let _ = stream.set_nodelay(true);
        let cutter = Cutter {
            allowance: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let service = TowerToHyperService::new(router(cutter.clone()));
        let io = TokioIo::new(CuttableStream { stream, cutter });
        let connection = server
            .serve_connection_with_upgrades(io, service)
            .into_owned();
        // A connection that ends with an error was cut, here or by the client.
        tokio::spawn(graceful.watch(connection));
    }
    drop(listener);
    let _ = tokio::time::timeout(STOP_GRACE, graceful.shutdown()).await;
}

/// A connection that can be cut.
#[derive(Debug)]
struct CuttableStream {
    stream: TcpStream,
    cutter: Cutter,
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let allowance = self.cutter.allowance.load(Ordering::Relaxed);
        if allowance == u64::MAX {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        let granted = bytes
            .len()
            .min(usize::try_from(allowance).unwrap_or(usize::MAX));
        if granted == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, &bytes[..granted]);
        if let Poll::Ready(Ok(count)) = written {
            self.cutter.cut_after(allowance - count as u64);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
