//! A listener whose connections can be cut, before an answer or in the middle of one.
//!
//! Every request can reach the [`Cutter`] of its connection. After a cut, writing fails once the granted bytes are gone, which makes the
//! server close the socket; the client sees what a broken network shows it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

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

/// A listener for connections that can be cut.
#[derive(Debug)]
pub(crate) struct CuttableListener(pub(crate) TcpListener);

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Answers are small and complete; waiting for more to send only costs the client time.
        let _ = stream.set_nodelay(true);
        let cutter = Cutter { allowance: Arc::new(AtomicU64::new(u64::MAX)) };
        (CuttableStream { stream, cutter }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Cutter {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.io().cutter.clone()
    }
}

/// A connection that can be cut.
#[derive(Debug)]
pub(crate) struct CuttableStream {
    stream: TcpStream,
    cutter: Cutter,
}

impl AsyncRead for CuttableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let allowance = self.cutter.allowance.load(Ordering::Relaxed);
        if allowance == u64::MAX {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        let granted = bytes.len().min(usize::try_from(allowance).unwrap_or(usize::MAX));
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
