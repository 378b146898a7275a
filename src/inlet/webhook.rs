//! The webhook: Feishu calls us, and a call is believed once [`verification`](super::verification)
//! says so.
//!
//! Whoever can reach the address can call. So everything is bounded: how many connections there are
//! and how long each lives, how long a body is and how long it takes, and what is told of a refusal,
//! which is nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::Inlet;
use super::verification::{AcceptedCall, Signature, WebhookSecrets, accept};
use crate::listener::BoundedListener;

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
    let events = inlet.tenant.events.clone();
    let hook = Hook {
        inlet,
        secrets: Arc::new(secrets),
    };
    let listener = BoundedListener::new(listener, MOST_CONNECTIONS, CONNECTION_LIVES, events);
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
