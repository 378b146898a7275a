//! What `serve` shows over HTTP: whether it is alive and ready, and which days are there.
//!
//! What the pages say comes from `status`, how they look is `page`. Nothing here advances anything.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use axum::extract::{Path as UrlPath, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::datasets::Dataset;
use crate::disk;
use crate::events::{EventKind, Events, Subject};
use crate::job::JobSpec;
use crate::ledger::{Ledger, PartitionStatus};
use crate::listener::BoundedListener;
use crate::metrics::{CONTENT_TYPE, Metrics, NumberSources};
use crate::page::overview::{Firing, MOST_DAYS, MOST_TASKS, OverviewPage, TenantDays};
use crate::page::{self, day};
use crate::schedule::Schedule;
use crate::status::day::DayStory;
use crate::status::overview::published;
use crate::status::verdict::Verdict;
use crate::status::{DayStatus, LateDays, all_days, days_from, jobs_of};
use crate::window::Window;

/// Late days that are looked into: a statement or several each.
const LATE_DAYS: usize = 300;
/// Of so many tenants each day is told. Of more, one tenant is asked for.
const TENANTS_BY_DAY: usize = 3;
/// Connections at the same time. Others wait.
const MOST_CONNECTIONS: usize = 64;
/// How long a connection lives, whatever happens on it. A browser makes another one.
const CONNECTION_LIVES: Duration = Duration::from_secs(60);
/// How long answers that are under way may take once a stop is asked for.
const GRACE: Duration = Duration::from_secs(2);

/// What the pages are made of.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The record of what is due and done.
    pub ledger: Ledger,
    /// Where ledger and spool are.
    pub disks: Arc<[(&'static str, PathBuf)]>,
    /// Names and zones of the tenants.
    pub tenants: Arc<[(String, TimeZone)]>,
    /// The jobs, whose days are shown.
    pub jobs: Arc<[JobSpec]>,
    /// What time it is.
    pub clock: Clock,
    /// Since when runs look for what is due.
    pub began: Timestamp,
    /// Where it is told that the ledger cannot be read.
    pub events: Events,
    /// What Prometheus is told.
    pub metrics: Arc<Metrics>,
    /// Names under which it answers, beside addresses and `localhost`.
    pub hosts: Arc<[String]>,
    /// Whether work may be begun; false from the moment a stop is asked for.
    pub ready: Arc<AtomicBool>,
}

/// Serves the pages until `stop`, and ends at most two seconds later, whatever a client does.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let events = pages.events.clone();
    let listener = BoundedListener::new(listener, MOST_CONNECTIONS, CONNECTION_LIVES, events);
    let (asked, overdue) = (stop.clone(), stop);
    let served = axum::serve(listener, router(pages))
        .with_graceful_shutdown(async move { asked.cancelled().await });
    let overdue = async {
        overdue.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = served.into_future() => served,
        () = overdue => Ok(()),
    }
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/day", get(day_form))
        .route("/day/{tenant}/{dataset}/{dt}", get(day_page))
        .route(page::STYLE_PATH, get(style))
        // Browsers ask for it unbidden.
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status.json", get(status_json))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(pages.clone(), check_host))
        .layer(middleware::map_response(with_headers))
        .with_state(pages)
}

/// What every answer says to browsers: nothing is fetched, framed, guessed, stored or told on.
async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, page::POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
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

/// What may be asked for after the `?` of the first page and of `status.json`.
#[derive(Debug, Default, Deserialize)]
struct PageQuery {
    /// One tenant.
    tenant: Option<String>,
    /// Days of a calendar.
    days: Option<u16>,
}

async fn status_json(State(pages): State<Pages>, Query(asked): Query<PageQuery>) -> Response {
    let Some(tenants) = pages.tenants_of(asked.tenant.as_deref()) else {
        return not_found("no such tenant");
    };
    match pages.status(&tenants).await {
        Ok(status) => Json(status).into_response(),
        Err(error) => unreadable(&pages, &error),
    }
}

/// What `/status.json` tells.
#[derive(Debug, Serialize)]
struct Status {
    /// What is published, counted by tenant and dataset.
    datasets: Vec<Value>,
    /// The late days.
    late: Vec<DayStatus>,
    /// How many more of each tenant may be late and were not looked into, because there are so
    /// many.
    may_be_late: BTreeMap<String, usize>,
    /// Every due day; a year of many tenants has a million, which are for nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    days: Option<Vec<DayStatus>>,
}

fn published_json(row: &PartitionStatus) -> Value {
    json!({
        "tenant": row.tenant, "dataset": row.dataset, "partitions": row.partitions,
        "partial": row.partial, "rows": row.rows, "size_bytes": row.size_bytes,
        "first_dt": row.first_dt, "last_dt": row.last_dt,
    })
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let sources = NumberSources {
        ledger: &pages.ledger,
        tenants: &pages.tenants,
        jobs: &pages.jobs,
        disks: &pages.disks,
        began: pages.began,
        now: pages.clock.now(),
    };
    let (text, trouble) = pages.metrics.text(sources).await;
    if let Some(error) = trouble {
        pages.tell_unreadable(&error);
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

async fn overview(State(pages): State<Pages>, Query(asked): Query<PageQuery>) -> Response {
    let Some(tenants) = pages.tenants_of(asked.tenant.as_deref()) else {
        return not_found("no such tenant");
    };
    match pages.overview(&tenants, &asked).await {
        Ok(page) => html(page),
        Err(error) => unreadable(&pages, &error),
    }
}

/// Which day the form asks for.
#[derive(Debug, Deserialize)]
struct DayQuery {
    tenant: String,
    dataset: Dataset,
    dt: Date,
}

/// The form leads to the page of its day.
async fn day_form(Query(asked): Query<DayQuery>) -> Response {
    let DayQuery {
        tenant,
        dataset,
        dt,
    } = asked;
    let tenant = url::form_urlencoded::byte_serialize(tenant.as_bytes()).collect::<String>();
    Redirect::to(&format!("/day/{tenant}/{dataset}/{dt}")).into_response()
}

async fn day_page(
    State(pages): State<Pages>,
    UrlPath((tenant, dataset, dt)): UrlPath<(String, String, String)>,
) -> Response {
    let tenants = pages.tenants.iter();
    let found = tenants
        .map(|(name, zone)| (name.as_str(), zone))
        .find(|(name, _)| *name == tenant);
    let (Some(tenant), Ok(dataset), Ok(dt)) = (found, dataset.parse(), dt.parse()) else {
        return not_found("no such day");
    };
    let (now, zone) = (pages.clock.now(), tenant.1);
    let job = jobs_of(&pages.jobs, tenant.0).find(|job| job.dataset == dataset);
    match DayStory::read(&pages.ledger, tenant, dataset, job, dt, now).await {
        Ok(story) => html(day::html(&story, zone, now)),
        Err(error) => unreadable(&pages, &error),
    }
}

async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "max-age=3600"),
    ];
    (headers, page::STYLE).into_response()
}

fn html(page: String) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

fn not_found(what: &'static str) -> Response {
    (StatusCode::NOT_FOUND, format!("{what}\n")).into_response()
}

impl Pages {
    fn tell_unreadable(&self, error: &anyhow::Error) {
        let problem = error.to_string();
        let told = EventKind::PageUnreadable { problem };
        self.events.emit(Subject::default(), told);
    }

    /// The tenant that is asked for, or all; `None` if nobody has the name.
    fn tenants_of(&self, only: Option<&str>) -> Option<Vec<(&str, &TimeZone)>> {
        let all = self
            .tenants
            .iter()
            .map(|(name, zone)| (name.as_str(), zone));
        let tenants: Vec<_> = all
            .filter(|(name, _)| only.is_none_or(|only| only == *name))
            .collect();
        (only.is_none() || !tenants.is_empty()).then_some(tenants)
    }

    async fn status(&self, tenants: &[(&str, &TimeZone)]) -> Result<Status> {
        let (ledger, jobs, now) = (&self.ledger, &self.jobs, self.clock.now());
        let late = LateDays::read(ledger, tenants, jobs, now, LATE_DAYS).await?;
        let days = match tenants.len() <= TENANTS_BY_DAY {
            true => Some(all_days(ledger, tenants, jobs, None, now).await?),
            false => None,
        };
        let datasets = published(ledger, tenants).await?;
        Ok(Status {
            datasets: datasets.iter().map(published_json).collect(),
            late: late.days,
            may_be_late: late.more,
            days,
        })
    }

    async fn overview(&self, tenants: &[(&str, &TimeZone)], asked: &PageQuery) -> Result<String> {
        let (ledger, now) = (&self.ledger, self.clock.now());
        let late = LateDays::read(ledger, tenants, &self.jobs, now, LATE_DAYS).await?;
        let window_of = |tenant: &str, dt| {
            let (_, zone) = self.tenants.iter().find(|(name, _)| name == tenant)?;
            Window::day(zone, dt)
        };
        let verdict = Verdict::of(&late, window_of, self.began, now);
        let mut calendars = Vec::new();
        if tenants.len() <= TENANTS_BY_DAY {
            for tenant in tenants {
                calendars.push(self.calendar(*tenant, now).await?);
            }
        }
        let attention = ledger
            .attention(asked.tenant.as_deref(), MOST_TASKS)
            .await?;
        let page = OverviewPage {
            now,
            tenants: &self.tenants,
            only: asked.tenant.as_deref(),
            length: asked.days,
            verdict: &verdict,
            more: &late.more,
            calendars: &calendars,
            attention: &attention,
            firings: &self.firings(asked.tenant.as_deref(), now)?,
            spooled: ledger.spooled_tasks().await?,
            rooms: &disk::rooms(&self.disks),
        };
        Ok(page.html())
    }

    async fn calendar(&self, tenant: (&str, &TimeZone), now: Timestamp) -> Result<TenantDays> {
        let (name, zone) = tenant;
        let today = now.to_zoned(zone.clone()).date();
        let from = today.saturating_sub((i64::from(MOST_DAYS) - 1).days());
        let mut datasets: Vec<Dataset> = jobs_of(&self.jobs, name).map(|job| job.dataset).collect();
        datasets.dedup();
        Ok(TenantDays {
            tenant: name.to_owned(),
            datasets,
            days: days_from(&self.ledger, tenant, &self.jobs, from, now).await?,
            today,
        })
    }

    /// When each job of a tenant, or of all, fires next.
    fn firings(&self, only: Option<&str>, now: Timestamp) -> Result<Vec<Firing>> {
        let mut firings = Vec::new();
        let is_of =
            |job: &&JobSpec| only.is_none_or(|only| job.tenants.iter().any(|of| of == only));
        for job in self.jobs.iter().filter(is_of) {
            let zone = job.time_zone.clone();
            let schedule = Schedule::parse(&job.cron, zone.clone())?;
            firings.extend(schedule.next_after(now).map(|at| Firing {
                job: job.name.clone(),
                at,
                zone,
            }));
        }
        Ok(firings)
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
