//! One task through all stages; its `partition` takes what is spooled into the lake. Nothing else names all stages, so this is the flow.
//!
//! ```text
//! run_task:         export ──► decode ──► normalize ──► spool ──► ledger            rows wait beside the ledger
//! publish_windows:  spool ──► pack ──► stage ──► intent ──► object ──► manifest ──► ledger
//! ```
//!
//! Both are idempotent at every arrow: what was recorded is not done again, what was not is done again with the same result.

mod archive;
mod belongs;
mod inputs;
mod parents;
mod partition;
mod plausible;
mod replay;

pub(crate) use archive::{Reread, reread};
pub use partition::{bring_back, is_of_ledger_disk, publish_windows, storage_cause, with_disk};
pub use plausible::implausible;
pub use replay::{Replayed, replay_partition};

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use arrow::array::RecordBatch;
use futures::FutureExt as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::client::{self, ErrorKind};
use crate::clock::Clock;
use crate::contract::Contract;
use crate::dataset::Dataset;
use crate::decode;
use crate::export::{self, Exporter};
use crate::job::JobSpec;
use crate::ledger::{Ledger, Phase, SpooledResult, TaskRow};
use crate::normalize::{self, Findings, Normalized, Normalizer};
use crate::publish::{self, Publisher};
use crate::run::summary::{Cause, CauseKind};
use crate::spool::Spool;
use crate::store::Lake;
use crate::task::machine::{Event, GaveUp, Machine, State};
use crate::task::{ExportId, Request, TaskSpec};
use crate::telemetry;
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
    /// Where partitions go.
    pub lake: Lake,
    /// Puts them there.
    pub publisher: Publisher,
    /// Gets bytes from Feishu.
    pub exporter: Exporter,
    /// Limits of workbooks.
    pub workbook_limits: decode::WorkbookLimits,
    /// Where workbooks are read that our own reader does not know.
    pub fallback: decode::Fallback,
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
/// So often the same bytes are not read until the workbook is quarantined: neither a cut connection nor a reader that a machine under load had
/// no memory or time for is the data's fault, the same end again and again is.
const MOST_DAMAGED: u32 = 3;
/// Wait before the second attempt; doubled for each further one.
const FIRST_DELAY: Duration = Duration::from_secs(60);
/// Longest wait between attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

// --- one task -------------------------------------------------------------------------------------------------------

/// Takes a task from wherever it was left to rows in the spool. A panic on the way is a mistake of ours that costs this attempt, and not the
/// tasks beside it.
///
/// # Errors
/// When this machine is at fault; what Feishu or the data did wrong is recorded and returned as an [`Ended`].
pub async fn run_task(tenant: &Tenant, job: &JobSpec, task: &TaskRow) -> Result<Ended> {
    // What the attempt had in memory is dropped; what it recorded is read again.
    let attempt = AssertUnwindSafe(Box::pin(attempt(tenant, job, task)));
    match attempt.catch_unwind().await {
        Ok(ended) => ended,
        Err(_) => panicked(tenant, task).await,
    }
}

async fn attempt(tenant: &Tenant, job: &JobSpec, task: &TaskRow) -> Result<Ended> {
    let fetched = match tenant.exporter.fetch(task, job.deadline).await {
        Ok(fetched) => fetched,
        Err(error) => return gave_up(tenant, task, error).await,
    };
    let State::Fetched { sha256, .. } = &fetched else {
        anyhow::bail!("an export ended without bytes")
    };
    crash_point!("w07-fetched");
    // Before the bytes are read: what waits its turn must not wait in memory.
    let permit = tenant.decoders.acquire().await?;
    let original = match tenant.spool.read_original(sha256) {
        Ok(Some(original)) => original,
        Ok(None) => {
            let message = "the spool lost the download; it is exported again";
            return put_off(tenant, task, State::Planned, "spool", message).await;
        }
        Err(error) => return gave_up(tenant, task, error.into()).await,
    };
    let normalized = {
        let (limits, fallback, context) = (
            tenant.workbook_limits.clone(),
            tenant.fallback.clone(),
            context_of(tenant, job, &task.spec, Source::of(&fetched)),
        );
        let spec = task.spec.clone();
        tokio::task::spawn_blocking(move || {
            let normalized = decode_and_normalize(&original, &limits, &fallback, &context)?;
            refuse_strangers(&spec, normalized)
        })
        .await
    };
    drop(permit);
    let normalized = match normalized {
        Ok(normalized) => normalized,
        Err(error) if error.is_panic() => Err(Broken::by_a_panic()),
        Err(error) => return Err(error.into()),
    };
    match normalized {
        Ok(normalized) => spool_rows(tenant, task, &fetched, &normalized).await,
        Err(broken) => not_taken(tenant, job, task, fetched, &broken).await,
    }
}

/// What becomes of a task whose workbook was not taken.
async fn not_taken(
    tenant: &Tenant,
    job: &JobSpec,
    task: &TaskRow,
    fetched: State,
    broken: &Broken,
) -> Result<Ended> {
    let State::Fetched { sha256, .. } = &fetched else {
        anyhow::bail!("only fetched bytes can be refused")
    };
    match broken.blame {
        Blame::Data => quarantine(tenant, task, &fetched, broken).await,
        Blame::Machine => read_again(tenant, task, fetched, broken).await,
        Blame::Bytes | Blame::Reader => {
            let damage = Damage::again(task, sha256);
            if damage.times >= MOST_DAMAGED {
                return quarantine(tenant, task, &fetched, broken).await;
            }
            let ended = match broken.blame {
                Blame::Bytes => fetch_again(tenant, job, task, fetched, broken).await?,
                _ => read_again(tenant, task, fetched, broken).await?,
            };
            if matches!(ended, Ended::Deferred { .. }) {
                let damage = serde_json::to_string(&damage)?;
                tenant.ledger.note(task, &damage).await?;
            }
            Ok(ended)
        }
    }
}

/// Gives up an attempt that panicked; the next one goes on from what was recorded.
async fn panicked(tenant: &Tenant, task: &TaskRow) -> Result<Ended> {
    let spec = &task.spec;
    let tasks = tenant
        .ledger
        .tasks_of(&spec.tenant, spec.dataset(), task.job_window)
        .await?;
    let state = tasks
        .into_iter()
        .find(|known| known.spec.key == spec.key)
        .map_or_else(|| task.machine.clone(), |known| known.machine);
    let message = "meetlake gave up in the middle of this task, which is a mistake in it; the log says where. Please report it";
    if task.attempts + 1 >= MOST_ATTEMPTS {
        let cause = Cause {
            kind: CauseKind::Other,
            word: "other".to_owned(),
            message: message.to_owned(),
        };
        return fail(tenant, task, &state, cause).await;
    }
    put_off(tenant, task, state, "other", message).await
}

/// Bytes that a task was given and that were not read; kept in place of its result until it has one.
#[derive(Debug, Serialize, Deserialize)]
struct Damage {
    /// Which bytes.
    damaged_sha256: String,
    /// How many times in a row.
    times: u32,
}

impl Damage {
    /// What is known after `sha256` came and could not be read.
    fn again(task: &TaskRow, sha256: &str) -> Self {
        let before = task
            .result
            .as_deref()
            .and_then(|text| serde_json::from_str::<Self>(text).ok());
        let times = before
            .filter(|before| before.damaged_sha256 == sha256)
            .map_or(0, |before| before.times);
        Self {
            damaged_sha256: sha256.to_owned(),
            times: times + 1,
        }
    }
}

/// Where a task's rows came from.
struct Source {
    export_id: Option<ExportId>,
    sha256: String,
    extracted_at: Option<Timestamp>,
}

impl Source {
    fn of(fetched: &State) -> Self {
        let (sha256, extracted_at) = match fetched {
            State::Fetched {
                sha256,
                extracted_at,
                ..
            } => (sha256.clone(), Some(*extracted_at)),
            _ => (String::new(), None),
        };
        Self {
            export_id: fetched.export_id().cloned(),
            sha256,
            extracted_at,
        }
    }
}

fn context_of(
    tenant: &Tenant,
    job: &JobSpec,
    spec: &TaskSpec,
    source: Source,
) -> normalize::Context {
    let buckets = match &spec.request {
        Request::DailyReport { start, end, .. } => {
            query_window(*start, *end).map(|query| normalize::Buckets {
                query,
                dates: spec.window.dates(&job.time_zone),
            })
        }
        _ => None,
    };
    normalize::Context {
        contract: Contract::of(spec.dataset()),
        time_zone: job.time_zone.clone(),
        tenant_zone: tenant.time_zone.clone(),
        lineage: spec.lineage.clone(),
        stamp: normalize::Stamp {
            task_key: Some(spec.key.clone()),
            export_id: source.export_id,
            source_sha256: source.sha256,
            window: Some(spec.window),
            extracted_at: source.extracted_at,
        },
        buckets,
        top_user_duration: job.options.top_user_duration_unit,
        keys_from_task_required: true,
    }
}

/// The rows of a task by the partition they fall into.
fn split(
    tenant: &Tenant,
    spec: &TaskSpec,
    normalized: &Normalized,
) -> Result<BTreeMap<Date, RecordBatch>> {
    let home = date_of(&tenant.time_zone, spec.window.start());
    let contract = Contract::of(spec.dataset());
    Ok(publish::split_by_dt(
        &normalized.batch,
        contract,
        &tenant.time_zone,
        home,
    )?)
}

fn query_window(start: i64, end: i64) -> Option<Window> {
    Window::new(
        Timestamp::from_second(start).ok()?,
        Timestamp::from_second(end).ok()?,
    )
}

/// Why a workbook was not taken: for people, and what was found until then.
struct Broken {
    reason: String,
    findings: Findings,
    blame: Blame,
}

/// What is to blame for a workbook that was not taken, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// What it says breaks the contract.
    Data,
    /// Its bytes are unreadable, perhaps only this time.
    Bytes,
    /// Its reader did not live to its end: because of it, or because the machine had no memory or time left.
    Reader,
    /// This machine: no reader could be started.
    Machine,
}

impl Broken {
    /// A workbook in the middle of which our own code gave up.
    fn by_a_panic() -> Box<Self> {
        Box::new(Self {
            reason: "meetlake gave up in the middle of reading it, which is a mistake in it; the log says where. Please report it"
                .to_owned(),
            findings: Findings::default(),
            blame: Blame::Reader,
        })
    }
}

fn decode_and_normalize(
    original: &[u8],
    limits: &decode::WorkbookLimits,
    fallback: &decode::Fallback,
    context: &normalize::Context,
) -> Result<Normalized, Box<Broken>> {
    crash_point!("w07-decoding");
    let mut normalizer = Normalizer::new(context);
    let read = if context.contract.dataset.is_report() {
        decode::report(original, context.contract, &mut normalizer)
    } else {
        decode::workbook(
            original,
            context.contract,
            limits,
            fallback,
            &mut normalizer,
        )
    };
    let summary = read.map_err(|error| {
        let blame = match error {
            decode::Error::Empty | decode::Error::NotAWorkbook(_) | decode::Error::Container(_) => {
                Blame::Bytes
            }
            decode::Error::Reader(_) => Blame::Reader,
            decode::Error::NoReader(_) | decode::Error::Unreadable(_) => Blame::Machine,
            _ => Blame::Data,
        };
        Box::new(Broken {
            // It may quote the names of sheets and columns.
            reason: telemetry::harmless(&error.to_string()),
            findings: Findings::default(),
            blame,
        })
    })?;
    let left_to_calamine = summary.reader.left_to_calamine();
    if let Some(why) = &left_to_calamine {
        tracing::info!(
            task.key = context.stamp.task_key.as_ref().map(|key| key.as_str()),
            why,
            "workbook read by calamine"
        );
    }
    match normalizer.finish() {
        Ok(mut normalized) => {
            normalized.findings.left_to_calamine = left_to_calamine;
            Ok(normalized)
        }
        Err(mut quarantine) => {
            quarantine.findings.left_to_calamine = left_to_calamine;
            Err(Box::new(Broken {
                reason: quarantine.reason.to_string(),
                findings: quarantine.findings,
                blame: Blame::Data,
            }))
        }
    }
}

/// What another export brought is as good as damaged: the next attempt fetches the file once more.
fn refuse_strangers(spec: &TaskSpec, normalized: Normalized) -> Result<Normalized, Box<Broken>> {
    match belongs::stranger(spec, &normalized.batch) {
        None => Ok(normalized),
        Some(reason) => Err(Box::new(Broken {
            reason,
            findings: normalized.findings,
            blame: Blame::Bytes,
        })),
    }
}

/// Puts a task whose download cannot be read off; the next attempt fetches the same export's file once more. Bytes that differ each time are
/// the connection's fault: such a task fails when its attempts are used up, and is never quarantined.
async fn fetch_again(
    tenant: &Tenant,
    job: &JobSpec,
    task: &TaskRow,
    fetched: State,
    broken: &Broken,
) -> Result<Ended> {
    let machine = Machine {
        first_poll: Duration::ZERO,
        deadline: job.deadline,
    };
    let step = machine.step(fetched, Event::BadDownload, tenant.clock.now())?;
    let message = format!("the download cannot be read: {}", broken.reason);
    if task.attempts + 1 >= MOST_ATTEMPTS {
        let cause = Cause {
            kind: CauseKind::Export,
            word: "export".to_owned(),
            message,
        };
        return fail(tenant, task, &step.state, cause).await;
    }
    put_off(tenant, task, step.state, "data", &message).await
}

/// Puts a task off whose download is here and was not read; the next attempt reads the same bytes. One that is never read because of this
/// machine fails when its attempts are used up, and the next run tries it again.
async fn read_again(
    tenant: &Tenant,
    task: &TaskRow,
    fetched: State,
    broken: &Broken,
) -> Result<Ended> {
    let (word, message) = match broken.blame {
        Blame::Machine => ("local", broken.reason.clone()),
        _ => (
            "data",
            format!("the download was not read: {}", broken.reason),
        ),
    };
    tracing::warn!(task.key = %task.spec.key, dataset = %task.spec.dataset(), "{message}");
    if task.attempts + 1 >= MOST_ATTEMPTS {
        let cause = Cause {
            kind: crate::run::summary::cause_kind(word),
            word: word.to_owned(),
            message,
        };
        return fail(tenant, task, &fetched, cause).await;
    }
    put_off(tenant, task, fetched, word, &message).await
}

/// Puts the rows into the spool, by the partition they fall into, and records them with what their children need.
async fn spool_rows(
    tenant: &Tenant,
    task: &TaskRow,
    fetched: &State,
    normalized: &Normalized,
) -> Result<Ended> {
    let dataset = task.spec.dataset();
    let by_date = split(tenant, &task.spec, normalized)?;
    if let Err(error) = tenant
        .spool
        .put_rows(&task.spec.key, task.generation, &by_date)
    {
        return gave_up(tenant, task, error.into()).await;
    }
    crash_point!("w08-rows-kept");
    let findings = &normalized.findings;
    for column in &findings.blank_columns {
        tracing::debug!(task.key = %task.spec.key, %dataset, column, "a column is blank throughout");
    }
    if dataset == Dataset::DailyReport {
        let (ledger, batch) = (&tenant.ledger, &normalized.batch);
        plausible::remember_reported(ledger, &tenant.name, &tenant.time_zone, batch).await?;
    }
    let result = SpooledResult {
        rows: findings.rows_out,
        dts: serde_json::to_string(&by_date.keys().collect::<Vec<_>>())?,
        result: serde_json::to_string(findings)?,
        parents: parents::of_batch(dataset, &normalized.batch),
    };
    tenant
        .ledger
        .spool(task, fetched, result, tenant.clock.now())
        .await?;
    crash_point!("w08-rows-recorded");
    Ok(Ended::Spooled {
        rows: findings.rows_out,
        rejects: findings.cells_rejected,
    })
}

/// Keeps a workbook that broke its contract, with the reason, and leaves the partition as it was.
async fn quarantine(
    tenant: &Tenant,
    task: &TaskRow,
    fetched: &State,
    broken: &Broken,
) -> Result<Ended> {
    let State::Fetched { sha256, .. } = fetched else {
        anyhow::bail!("only fetched bytes can be quarantined")
    };
    let spec = &task.spec;
    let message = format!(
        "the workbook of {} [{}, {}) was quarantined: {}",
        spec.dataset(),
        spec.window.start(),
        spec.window.end(),
        broken.reason
    );
    let original = tenant.spool.read_original(sha256)?;
    let record = quarantined(task, &broken.reason, &broken.findings)?;
    let put_aside = match original {
        Some(original) => {
            let publisher = &tenant.publisher;
            publisher
                .quarantine(spec.dataset(), &tenant.name, original, &record)
                .await
        }
        None => Ok(()),
    };
    if let Err(error) = put_aside {
        let message = format!("{message}; it could not be put into the lake: {error}");
        hold(tenant, task, fetched, "storage", &message).await?;
        let (kind, word) = (CauseKind::Storage, "storage".to_owned());
        return Ok(Ended::Refused {
            cause: Cause {
                kind,
                word,
                message,
            },
        });
    }
    tracing::error!(task.key = %spec.key, "{message}");
    tenant
        .ledger
        .end(
            task,
            Phase::Quarantined,
            fetched,
            "data",
            &message,
            tenant.clock.now(),
        )
        .await?;
    Ok(Ended::Quarantined {
        reason: broken.reason.clone(),
    })
}

/// What is kept beside a quarantined workbook: positions and reasons, never values.
fn quarantined(task: &TaskRow, reason: &str, findings: &Findings) -> Result<serde_json::Value> {
    let spec = &task.spec;
    Ok(serde_json::json!({
        "task_key": spec.key,
        "dataset": spec.dataset(),
        "window_start": spec.window.start(),
        "window_end": spec.window.end(),
        "export_id": task.machine.export_id(),
        "reason": reason,
        "findings": serde_json::to_value(findings)?,
    }))
}

/// Records a given-up attempt: put off, failed, or refused in a way that concerns more than this task.
async fn gave_up(tenant: &Tenant, task: &TaskRow, error: export::Error) -> Result<Ended> {
    match error {
        export::Error::GaveUp {
            state,
            why,
            kind,
            message,
        } => {
            let word = word_of(why, kind);
            let cause = Cause {
                kind: crate::run::summary::cause_kind(word),
                word: word.to_owned(),
                message,
            };
            match kind {
                Some(
                    ErrorKind::Credentials
                    | ErrorKind::Scope
                    | ErrorKind::Role
                    | ErrorKind::QuotaExhausted
                    | ErrorKind::Local,
                ) => {
                    hold(tenant, task, &state, word, &cause.message).await?;
                    Ok(Ended::Refused { cause })
                }
                Some(ErrorKind::BadRequest | ErrorKind::Other) => {
                    fail(tenant, task, &State::Planned, cause).await
                }
                _ if task.attempts + 1 >= MOST_ATTEMPTS => fail(tenant, task, &state, cause).await,
                _ => put_off(tenant, task, *state, word, &cause.message).await,
            }
        }
        export::Error::Spool(error) => {
            let message = format!(
                "could not keep the download of task {}: {error}",
                task.spec.key
            );
            hold(tenant, task, &task.machine, "storage", &message).await?;
            Ok(Ended::Refused {
                cause: Cause {
                    kind: CauseKind::Storage,
                    word: "storage".into(),
                    message,
                },
            })
        }
        export::Error::Ledger(error) => Err(error.into()),
        export::Error::Illegal(error) => Err(error.into()),
        export::Error::Stopped => Ok(Ended::Stopped),
    }
}

/// The ledger's word for a failure.
const fn word_of(why: GaveUp, kind: Option<ErrorKind>) -> &'static str {
    match (why, kind) {
        (
            GaveUp::ExportFailed
            | GaveUp::DeadlinePassed
            | GaveUp::Forgotten
            | GaveUp::FileGone
            | GaveUp::Damaged,
            _,
        ) => "export",
        (_, Some(kind)) => kind.as_str(),
        (GaveUp::CallFailed | GaveUp::OriginalLost, None) => "other",
    }
}

/// Keeps a task for the next run, which may begin with it at once: what was refused concerns more than this task, so this run begins nothing
/// more of the kind, and whoever mended the cause should not wait.
async fn hold(
    tenant: &Tenant,
    task: &TaskRow,
    state: &State,
    word: &str,
    message: &str,
) -> Result<()> {
    let now = tenant.clock.now();
    tenant
        .ledger
        .defer(task, state, now, word, message, now)
        .await?;
    Ok(())
}

async fn put_off(
    tenant: &Tenant,
    task: &TaskRow,
    state: State,
    word: &str,
    message: &str,
) -> Result<Ended> {
    let now = tenant.clock.now();
    let delay = FIRST_DELAY
        .saturating_mul(1 << task.attempts.min(8))
        .min(LONGEST_DELAY);
    let run_at = now.checked_add(SignedDuration::try_from(delay)?)?;
    tracing::info!(task.key = %task.spec.key, dataset = %task.spec.dataset(), attempt = task.attempts + 1, run_at = %run_at, "put off: {message}");
    tenant
        .ledger
        .defer(task, &state, run_at, word, message, now)
        .await?;
    Ok(Ended::Deferred { run_at })
}

async fn fail(tenant: &Tenant, task: &TaskRow, state: &State, cause: Cause) -> Result<Ended> {
    tracing::error!(task.key = %task.spec.key, dataset = %task.spec.dataset(), attempts = task.attempts + 1, "failed: {}", cause.message);
    tenant
        .ledger
        .end(
            task,
            Phase::Failed,
            state,
            &cause.word,
            &cause.message,
            tenant.clock.now(),
        )
        .await?;
    Ok(Ended::Failed { cause })
}

/// Asks Feishu for the tenant's rooms and keeps the list in the ledger, where `plan` finds it.
///
/// # Errors
/// When the ledger refuses; the inner error is Feishu's.
pub async fn list_rooms(
    tenant: &Tenant,
) -> Result<std::result::Result<Vec<(String, String)>, Cause>> {
    let rooms = match tenant.exporter.client.rooms().await {
        Ok(rooms) => rooms,
        Err(error) => return Ok(Err(cause_of(&error))),
    };
    let rooms: Vec<(String, String)> = rooms
        .into_iter()
        .map(|room| (room.room_id, room.room_level_id))
        .collect();
    tenant
        .ledger
        .set_rooms(&tenant.name, &rooms, tenant.clock.now())
        .await?;
    Ok(Ok(rooms))
}

/// What the last call to Feishu failed with, if it failed in a way that may pass.
#[must_use]
pub fn trouble(tenant: &Tenant) -> Option<Cause> {
    tenant.exporter.client.trouble().as_ref().map(cause_of)
}

fn cause_of(error: &client::Error) -> Cause {
    let word = error.kind().as_str();
    Cause {
        kind: crate::run::summary::cause_kind(word),
        word: word.to_owned(),
        message: error.to_string(),
    }
}

/// Keeps what the next run should know: how long exports take, and the calls of the last minute.
///
/// # Errors
/// When the ledger refuses.
pub async fn remember(tenant: &Tenant) -> Result<()> {
    let client = &tenant.exporter.client;
    tenant
        .ledger
        .set_meta(&pace_name(&tenant.name), &tenant.exporter.pace.to_json())
        .await?;
    let calls = serde_json::to_string(&client.limits().snapshot())?;
    tenant
        .ledger
        .set_meta(&calls_name(&tenant.name), &calls)
        .await?;
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
