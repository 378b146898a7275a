//! The webhook: Feishu calls us, and a call is believed once [`verification`](super::verification)
//! says so.
//!
//! Whoever can reach the address can call. So everything is bounded: how many connections there are
//! and how long each lives, how long a body is and how long it takes, and what is told of a refusal,
//! which is nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, timeout};

use super::Inlet;
use super::verification::{AcceptedCall, Signature, WebhookSecrets, accept};

/// The longest body; events have a few kilobytes.
const LONGEST_BODY: usize = 1 << 20;
/// Until a body has come whole.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// Until an event is kept. Feishu waits for three seconds in all.
const KEPT_WITHIN: Duration = Duration::from_millis(2_500);
/// How long a connection lives, whatever happens on it. Feishu makes another one.
const CONNECTION_LIVES: Duration = Duration::from_secs(15);
/// Connections at the same time. Others wait.
const MOST_CONNECTIONS: usize = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a call is answered with.
#[derive(Clone)]
struct Hook {
    inlet: Arc<Inlet>,
    secrets: Arc<WebhookSecrets>,
}

/// Answers calls until the inlet ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    inlet: Arc<Inlet>,
    listener: TcpListener,
    secrets: WebhookSecrets,
) -> io::Result<()> {
    let ends = inlet.ends.clone();
    let hook = Hook {
        inlet,
        secrets: Arc::new(secrets),
    };
    let listener = BoundedListener {
        listener,
        free: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
    };
    let router = Router::new().fallback(answer).with_state(hook);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { ends.cancelled().await })
        .await
}

async fn answer(State(hook): State<Hook>, request: Request) -> Response {
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let (parts, body) = request.into_parts();
    let body = match timeout(BODY_WITHIN, to_bytes(body, LONGEST_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    match accept(&hook.secrets, signature(&parts.headers), &body) {
        Ok(AcceptedCall::Challenge(challenge)) => {
            Json(json!({ "challenge": challenge })).into_response()
        }
        Ok(AcceptedCall::Event(event)) => {
            match timeout(KEPT_WITHIN, hook.inlet.take(event)).await {
                Ok(true) => Json(json!({})).into_response(),
                // Not kept, or not known to be: Feishu sends it again.
                Ok(false) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
        Err(refused) => {
            hook.inlet
                .count(&format!("a call of the webhook was refused: {refused}"));
            StatusCode::UNAUTHORIZED.into_response()
        }
    }
}

fn signature(headers: &HeaderMap) -> Signature<'_> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    Signature {
        timestamp: header("x-lark-request-timestamp"),
        nonce: header("x-lark-request-nonce"),
        signature: header("x-lark-signature"),
    }
}

// --- connections --------------------------------------------------------------------------------

/// A listener with so many connections at the same time, each of which ends by itself.
struct BoundedListener {
    listener: TcpListener,
    free: Arc<Semaphore>,
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
                        end: Box::pin(tokio::time::sleep(CONNECTION_LIVES)),
                        _permit: permit,
                    };
                    return (stream, address);
                }
                // Out of file descriptors, most likely: some connections end soon.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that gives no more once its time is over.
struct BoundedStream {
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
