//! What `serve` shows over HTTP: whether it is alive, whether it is ready, and which days are there.
//!
//! Reads the ledger's views and never advances anything. No secret and no personal value is in a page.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;

/// What the pages are made of.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The record of what is due and done.
    pub ledger: Ledger,
    /// Whether work may be begun; false from the moment a stop is asked for.
    pub ready: Arc<AtomicBool>,
}

/// Serves the pages until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(pages))
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status.json", get(status_json))
        .with_state(pages)
}

/// Alive: the process answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready: work may be begun, and the ledger can be read.
async fn readyz(State(pages): State<Pages>) -> Response {
    if !pages.ready.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match pages.ledger.meta("format").await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => {
            tracing::error!(%error, "not ready");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the ledger cannot be read\n",
            )
                .into_response()
        }
    }
}

async fn status_json(State(pages): State<Pages>) -> Response {
    match partitions(&pages).await {
        Ok(rows) => Json(json!({ "datasets": rows })).into_response(),
        Err(response) => response,
    }
}

async fn partitions(pages: &Pages) -> Result<Vec<serde_json::Value>, Response> {
    let rows = pages.ledger.partition_status().await.map_err(|error| {
        tracing::error!(%error, "could not read the ledger for the status page");
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the ledger cannot be read\n",
        )
            .into_response()
    })?;
    Ok(rows
        .iter()
        .map(|row| {
            json!({
                "tenant": row.tenant, "dataset": row.dataset, "partitions": row.partitions, "partial": row.partial,
                "rows": row.rows, "size_bytes": row.size_bytes, "first_dt": row.first_dt, "last_dt": row.last_dt,
            })
        })
        .collect())
}

async fn status_page(State(pages): State<Pages>) -> Response {
    let rows = match pages.ledger.partition_status().await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::error!(%error, "could not read the ledger for the status page");
            return (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the ledger cannot be read\n",
            )
                .into_response();
        }
    };
    let attention = pages.ledger.attention(20).await.unwrap_or_default();
    let mut body = String::new();
    for row in &rows {
        let _ = write!(
            body,
            "<tr><td>{}</td><td>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td>{} to {}</td></tr>",
            escape(&row.tenant),
            row.dataset,
            row.partitions,
            row.partial,
            crate::cli::number(row.rows),
            crate::cli::bytes(row.size_bytes),
            escape(&row.first_dt),
            escape(&row.last_dt)
        );
    }
    let mut problems = String::new();
    for task in &attention {
        let _ = write!(
            problems,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&task.tenant),
            task.dataset,
            task.window_start,
            escape(&task.phase),
            escape(&task.error)
        );
    }
    let nothing = if rows.is_empty() {
        "<p>Nothing is published yet.</p>"
    } else {
        ""
    };
    let problems = if problems.is_empty() {
        "<p>Nothing needs attention.</p>".to_owned()
    } else {
        format!(
            "<table><tr><th>tenant<th>dataset<th>window from<th>state<th>what happened</tr>{problems}</table>"
        )
    };
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>meetlake</title>\
         <style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2430}}\
         h1{{font-size:1.4rem}}h2{{font-size:1.1rem;margin-top:2rem}}table{{border-collapse:collapse;width:100%}}\
         td,th{{text-align:left;padding:.35rem .75rem;border-bottom:1px solid #dde3ea;vertical-align:top}}.n{{text-align:right;\
         font-variant-numeric:tabular-nums}}p{{color:#55606e}}</style><h1>meetlake</h1><h2>In the lake</h2>{nothing}\
         <table><tr><th>tenant<th>dataset<th class=n>days<th class=n>partial<th class=n>rows<th class=n>size<th>from, to</tr>{body}</table>\
         <h2>Needs attention</h2>{problems}</html>"
    );
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    (
        [
            (header::CONTENT_TYPE, html),
            (header::CONTENT_SECURITY_POLICY, policy),
        ],
        page,
    )
        .into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
