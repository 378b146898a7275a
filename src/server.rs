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
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::status;
use crate::clock::Clock;
use crate::job::JobSpec;
use crate::ledger::Ledger;
use crate::run::days::{self, Day};

/// What the pages are made of.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The record of what is due and done.
    pub ledger: Ledger,
    /// Names and zones of the tenants.
    pub tenants: Arc<[(String, TimeZone)]>,
    /// The jobs, whose days are shown.
    pub jobs: Arc<[JobSpec]>,
    /// What time it is.
    pub clock: Clock,
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
    match (partitions(&pages).await, all_days(&pages).await) {
        (Ok(rows), Ok(days)) => Json(json!({ "datasets": rows, "days": days })).into_response(),
        (Err(response), _) | (_, Err(response)) => response,
    }
}

/// Every due day of every job and tenant.
async fn all_days(pages: &Pages) -> Result<Vec<Day>, Response> {
    let now = pages.clock.now();
    let mut all = Vec::new();
    for (tenant, zone) in pages.tenants.iter() {
        for job in pages.jobs.iter().filter(|job| job.tenants.contains(tenant)) {
            let days = days::days(&pages.ledger, tenant, zone, job, now).await;
            all.extend(days.map_err(|error| unreadable(&error))?);
        }
    }
    Ok(all)
}

fn unreadable(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "could not read the ledger for the status page");
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        "the ledger cannot be read\n",
    )
        .into_response()
}

async fn partitions(pages: &Pages) -> Result<Vec<serde_json::Value>, Response> {
    let rows = pages.ledger.partition_status().await;
    let rows = rows.map_err(|error| unreadable(&error))?;
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
        Err(error) => return unreadable(&error),
    };
    let days = match all_days(&pages).await {
        Ok(days) => days,
        Err(response) => return response,
    };
    let attention = match pages.ledger.attention(20).await {
        Ok(attention) => attention,
        Err(error) => return unreadable(&error),
    };
    let mut body = String::new();
    for row in &rows {
        let _ = write!(
            body,
            "<tr><td>{}</td><td>{}</td><td class=n>{}</td><td>{}</td><td class=n>{}</td><td class=n>{}</td><td>{} to {}</td></tr>",
            escape(&row.tenant),
            row.dataset,
            row.partitions,
            status::outcomes(
                days.iter()
                    .filter(|day| day.tenant == row.tenant && day.dataset == row.dataset)
            ),
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
    let late = late_days(&days);
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
         <table><tr><th>tenant<th>dataset<th class=n>days<th>outcomes<th class=n>rows<th class=n>size<th>from, to</tr>{body}</table>\
         <h2>Late</h2>{late}<h2>Needs attention</h2>{problems}</html>"
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

/// The days that should be in the lake, whole, and are not.
fn late_days(days: &[Day]) -> String {
    let mut late = String::new();
    for (day, late_s) in days.iter().filter_map(|day| Some((day, day.late_s?))) {
        let _ = write!(
            late,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&day.tenant),
            day.dataset,
            day.dt,
            day.outcome.as_str(),
            crate::cli::span(late_s),
            escape(day.why.as_deref().unwrap_or_default())
        );
    }
    if late.is_empty() {
        return "<p>Nothing is late.</p>".to_owned();
    }
    format!(
        "<table><tr><th>tenant<th>dataset<th>day<th>state<th>late by<th>what is missing</tr>{late}</table>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
