//! What `serve` tells Prometheus: how late days are and why, what is in the lake, what is under
//! way, what became of calls and tasks, and how much of the quota is used.
//!
//! ```text
//! ledger, read at most once a minute ─► lake ──┐
//! events since the start ─► counts ────────────┼► families ─► text
//! each app's calls since the start ─► calls ───┘
//! ```
//! Labels are names of the configuration, datasets, endpoints and words of ours: no key, no date
//! and nobody's id, so there are about as many series as tenants, datasets and endpoints. The names
//! are listed in `deploy/metrics.md`.

mod calls;
mod counts;
mod families;
mod lake;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::client::Client;
use crate::disk;
use crate::events::Events;
use crate::job::JobSpec;
use crate::ledger::Ledger;
use counts::EventCounts;
use families::{Family, Unit};
use lake::LakeNumbers;

/// What an answer is called.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// So long what the ledger says is told again. Several servers of Prometheus may ask.
const READ_EVERY: Duration = Duration::from_secs(60);

/// What is told, and who counts it.
#[derive(Debug)]
pub struct Metrics {
    counts: Arc<Mutex<EventCounts>>,
    apps: Vec<(String, Client)>,
    lake: tokio::sync::Mutex<Option<(Instant, LakeNumbers)>>,
}

/// Where the numbers come from that stand in the ledger and the configuration.
#[derive(Clone, Copy, Debug)]
pub struct NumberSources<'s> {
    /// The record of what is due and done.
    pub ledger: &'s Ledger,
    /// Names and zones of the tenants.
    pub tenants: &'s [(String, TimeZone)],
    /// The jobs.
    pub jobs: &'s [JobSpec],
    /// Where ledger and spool are.
    pub disks: &'s [(&'static str, PathBuf)],
    /// When the process began.
    pub began: Timestamp,
    /// What time it is.
    pub now: Timestamp,
}

impl Metrics {
    /// Counts what happens from now on, and what the clients of the tenants call.
    #[must_use]
    pub fn new(events: &Events, apps: Vec<(String, Client)>) -> Self {
        let counts = Arc::new(Mutex::new(EventCounts::default()));
        let (mut heard, counted) = (events.subscribe(), Arc::clone(&counts));
        tokio::spawn(async move {
            while let Some(event) = heard.recv().await {
                let mut counts = counted.lock().unwrap_or_else(PoisonError::into_inner);
                counts.add(&event);
            }
        });
        Self {
            counts,
            apps,
            lake: tokio::sync::Mutex::default(),
        }
    }

    /// Everything, as `OpenMetrics` text. Where the ledger cannot be read, `meetlake_ledger_up` is
    /// 0 and what it would say is missing; the error is given beside.
    pub async fn text(&self, sources: NumberSources<'_>) -> (String, Option<anyhow::Error>) {
        let mut families = vec![
            Family::info(
                "meetlake_build",
                "The version that serves",
                [("version", env!("CARGO_PKG_VERSION").to_owned())],
            ),
            room(sources.disks),
        ];
        let mut read = self.lake.lock().await;
        let is_fresh = |(at, _): &(Instant, LakeNumbers)| at.elapsed() < READ_EVERY;
        let mut trouble = None;
        if !read.as_ref().is_some_and(is_fresh) {
            match LakeNumbers::read(&sources).await {
                Ok(lake) => *read = Some((Instant::now(), lake)),
                Err(error) => (*read, trouble) = (None, Some(error)),
            }
        }
        let is_up = f64::from(u8::from(trouble.is_none()));
        families.push(
            Family::gauge("meetlake_ledger_up", "Whether the ledger can be read").with([], is_up),
        );
        if let Some((_, lake)) = &*read {
            families.extend(lake.families());
        }
        drop(read);
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        families.extend(counts.families());
        drop(counts);
        families.extend(calls::families(&self.apps));
        (families::text(families), trouble)
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a disk")]
fn room(disks: &[(&'static str, PathBuf)]) -> Family {
    let mut family = Family::gauge(
        "meetlake_disk_free",
        "Bytes that may still be written where the ledger is, and where rows wait to be published",
    );
    for (what, path) in disks {
        if let Some((left, _)) = disk::room(path) {
            family.push([("what", (*what).to_owned())], left as f64);
        }
    }
    family.in_unit(Unit::Bytes)
}
