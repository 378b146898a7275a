//! What `serve` shows over HTTP: whether it is alive and ready, and which days are there.
//!
//! What the pages say comes from `status`. Nothing here advances anything.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::events::{EventKind, Events, Subject};
use crate::job::JobSpec;
use crate::ledger::{Ledger, PartitionStatus};
use crate::status::overview::LakeOverview;
use crate::status::page;

/// Most tasks that need attention on the page.
const ATTENTION: u32 = 20;

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
    /// Where it is told that the ledger cannot be read.
    pub events: Events,
    /// Names under which it answers, beside addresses and `localhost`.
    pub hosts: Arc<[String]>,
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
        .layer(middleware::from_fn_with_state(pages.clone(), check_host))
        .with_state(pages)
}

/// Refuses pages under a name that nobody configured: a page of somebody else's, whose name points
/// here for a moment, could read them in a browser behind the wall. Probes hold nothing.
async fn check_host(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let is_probe = ["/healthz", "/readyz"].contains(&request.uri().path());
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_probe || is_own_name(host, &pages.hosts) {
        return next.run(request).await;
    }
    let why = "this name is not one of `hosts` in [serve] of the configuration\n";
    (StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

/// Whether the `Host` of a request is an address, this machine's own name for itself, or one of the
/// configured names. An address is nobody's name.
fn is_own_name(host: &str, configured: &[String]) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = without_port.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok()
        || without_port.eq_ignore_ascii_case("localhost")
        || configured
            .iter()
            .any(|name| name.eq_ignore_ascii_case(without_port))
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
            pages.tell_unreadable(&error.into());
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the ledger cannot be read\n",
            )
                .into_response()
        }
    }
}

async fn status_json(State(pages): State<Pages>) -> Response {
    match pages.lake().await {
        Ok(lake) => {
            let datasets: Vec<Value> = lake.published.iter().map(published).collect();
            Json(json!({ "datasets": datasets, "days": lake.days })).into_response()
        }
        Err(error) => unreadable(&pages, &error),
    }
}

fn published(row: &PartitionStatus) -> Value {
    json!({
        "tenant": row.tenant, "dataset": row.dataset, "partitions": row.partitions,
        "partial": row.partial, "rows": row.rows, "size_bytes": row.size_bytes,
        "first_dt": row.first_dt, "last_dt": row.last_dt,
    })
}

async fn status_page(State(pages): State<Pages>) -> Response {
    let page = match pages.html().await {
        Ok(page) => page,
        Err(error) => return unreadable(&pages, &error),
    };
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

impl Pages {
    fn tell_unreadable(&self, error: &anyhow::Error) {
        let problem = error.to_string();
        let told = EventKind::PageUnreadable { problem };
        self.events.emit(Subject::default(), told);
    }

    async fn lake(&self) -> Result<LakeOverview> {
        let now = self.clock.now();
        let tenants = self
            .tenants
            .iter()
            .map(|(name, zone)| (name.as_str(), zone));
        let tenants: Vec<(&str, &TimeZone)> = tenants.collect();
        LakeOverview::read(&self.ledger, &tenants, &self.jobs, now).await
    }

    async fn html(&self) -> Result<String> {
        let lake = self.lake().await?;
        let attention = self.ledger.attention(ATTENTION).await?;
        Ok(page::html(&lake, &attention))
    }
}

fn unreadable(pages: &Pages, error: &anyhow::Error) -> Response {
    pages.tell_unreadable(error);
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        "the ledger cannot be read\n",
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_answer_to_addresses_and_configured_names_only() {
        let configured = ["meetlake.example.org".to_owned()];
        for (host, expected) in [
            ("127.0.0.1:8642", true),
            ("10.1.2.3", true),
            ("[::1]:8642", true),
            ("localhost:8642", true),
            ("LOCALHOST", true),
            ("Meetlake.example.org", true),
            ("meetlake.example.org:443", true),
            ("evil.example.org", false),
            ("evil.example.org:8642", false),
            ("meetlake.example.org.evil.example", false),
            ("127.0.0.1.evil.example:80", false),
            ("", false),
        ] {
            assert_eq!(is_own_name(host, &configured), expected, "{host}");
        }
    }
}
