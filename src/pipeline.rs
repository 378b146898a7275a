//! One task through all stages, and one partition into the lake. This is the only file that names all stages, so it is the flow.
//!
//! ```text
//! run_task:         export ──► decode ──► normalize ──► spool ──► ledger            rows wait beside the ledger
//! publish_windows:  spool ──► pack ──► stage ──► intent ──► object ──► manifest ──► ledger
//! ```
//!
//! Both are idempotent at every arrow: what was recorded is not done again, what was not is done again with the same result.

mod parents;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use crate::client::ErrorKind;
use crate::clock::Clock;
use crate::contract::Contract;
use crate::dataset::Dataset;
use crate::decode;
use crate::export::{self, Exporter};
use crate::job::JobSpec;
use crate::ledger::{
    Intent, Ledger, Phase, PublishedPartition, SpooledResult, TaskRow, WindowRow, WindowState,
};
use crate::normalize::{self, Findings, Normalized, Normalizer};
use crate::plan::fanout::Coverage;
use crate::publish::manifest::{self, Input, Outcome, Revision};
use crate::publish::{self, PartitionId, PartitionPlan, Publisher, SpooledTask};
use crate::run::summary::{Cause, CauseKind};
use crate::spool::Spool;
use crate::store::{self, Lake, Version};
use crate::task::machine::{Event, GaveUp, Machine, State};
use crate::task::{ExportId, Request, TaskKey, TaskSpec};
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
/// Downloads that cannot be read until the workbook is quarantined: a cut connection is not the data's fault, the same damage three times is.
const MOST_DAMAGED: u32 = 3;
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
    let State::Fetched { sha256, .. } = &fetched else {
        anyhow::bail!("an export ended without bytes")
    };
    let original = match tenant.spool.read_original(sha256) {
        Ok(Some(original)) => original,
        Ok(None) => {
            let message = "the spool lost the download; it is exported again";
            return put_off(tenant, task, State::Planned, "spool", message).await;
        }
        Err(error) => return gave_up(tenant, task, error.into()).await,
    };
    let permit = tenant.decoders.acquire().await?;
    let normalized = {
        let (limits, context) = (
            tenant.workbook_limits.clone(),
            context_of(tenant, job, &task.spec, Source::of(&fetched)),
        );
        tokio::task::spawn_blocking(move || decode_and_normalize(&original, &limits, &context))
            .await?
    };
    drop(permit);
    match normalized {
        Ok(normalized) => spool_rows(tenant, task, &fetched, &normalized).await,
        Err(broken) if broken.is_damaged && task.attempts + 1 < MOST_DAMAGED => {
            fetch_again(tenant, job, task, fetched, &broken).await
        }
        Err(broken) => quarantine(tenant, task, &fetched, &broken).await,
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
    /// Whether the bytes themselves are unreadable, and not what they say.
    is_damaged: bool,
}

fn decode_and_normalize(
    original: &[u8],
    limits: &decode::Limits,
    context: &normalize::Context,
) -> Result<Normalized, Box<Broken>> {
    let mut normalizer = Normalizer::new(context);
    let read = if context.contract.dataset.is_report() {
        decode::report(original, context.contract, &mut normalizer)
    } else {
        decode::workbook(original, context.contract, limits, &mut normalizer)
    };
    read.map_err(|error| {
        let is_damaged = matches!(
            error,
            decode::Error::Empty | decode::Error::NotAWorkbook(_) | decode::Error::Container(_)
        );
        Box::new(Broken {
            reason: error.to_string(),
            findings: Findings::default(),
            is_damaged,
        })
    })?;
    normalizer.finish().map_err(|quarantine| {
        Box::new(Broken {
            reason: quarantine.reason.to_string(),
            findings: quarantine.findings,
            is_damaged: false,
        })
    })
}

/// Puts a task whose download cannot be read off; the next attempt fetches the same export's file once more.
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
    put_off(tenant, task, step.state, "data", &message).await
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
    let findings = &normalized.findings;
    for column in &findings.blank_columns {
        tracing::debug!(task.key = %task.spec.key, %dataset, column, "a column is blank throughout");
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

// --- one partition --------------------------------------------------------------------------------------------------

/// Puts the spooled rows of `windows` into the lake: packs their originals, then replaces each partition they touch.
///
/// # Errors
/// When the lake or the ledger refuses; what was published by then is recorded, the rest waits in the spool.
pub async fn publish_windows(
    tenant: &Tenant,
    job: &JobSpec,
    windows: &[Window],
    each: &(dyn Fn(Published) + Send + Sync),
) -> Result<Vec<Published>> {
    let mut tasks = tenant
        .ledger
        .spooled(&tenant.name, Some(job.dataset))
        .await?;
    tasks.retain(|task| windows.contains(&task.job_window));
    if let Err(error) = pack_originals(tenant, &mut tasks).await {
        export_lost_again(tenant, &tasks, error).await?;
        return Ok(Vec::new());
    }
    let mut done = Vec::new();
    for dt in affected_partitions(tenant, job.dataset, windows, &tasks).await? {
        match publish_partition(tenant, job, dt, &tasks).await {
            Ok(Some(published)) => {
                each(published.clone());
                done.push(published);
            }
            Ok(None) => {}
            Err(error) => {
                export_lost_again(tenant, &tasks, error).await?;
                return Ok(done);
            }
        }
    }
    let keys: Vec<(TaskKey, u32)> = tasks
        .iter()
        .map(|task| (task.spec.key.clone(), task.generation))
        .collect();
    tenant
        .ledger
        .tasks_published(&keys, tenant.clock.now())
        .await?;
    for task in &tasks {
        quarantine_rows(tenant, task).await?;
        forget(tenant, task);
    }
    Ok(done)
}

/// A spool that lost something costs its tasks an export more, and nothing else. Any other error is given back.
async fn export_lost_again(tenant: &Tenant, round: &[TaskRow], error: anyhow::Error) -> Result<()> {
    let lost: Vec<TaskKey> = match error.downcast_ref::<publish::Error>() {
        Some(publish::Error::RowsLost(keys)) => keys.clone(),
        Some(publish::Error::OriginalsLost(hashes)) => {
            let is_lost = |task: &&TaskRow| {
                sha256_of(task).is_some_and(|sha256| hashes.iter().any(|hash| hash == sha256))
            };
            round
                .iter()
                .filter(is_lost)
                .map(|task| task.spec.key.clone())
                .collect()
        }
        _ => return Err(error),
    };
    tracing::warn!(tasks = lost.len(), "{error:#}");
    tenant
        .ledger
        .export_again(&lost, tenant.clock.now())
        .await?;
    Ok(())
}

/// Archives the originals of a round before any row of theirs is visible.
async fn pack_originals(tenant: &Tenant, tasks: &mut [TaskRow]) -> Result<()> {
    let originals: BTreeSet<String> = tasks
        .iter()
        .filter(|task| task.pack.is_none())
        .filter_map(|task| sha256_of(task).map(str::to_owned))
        .collect();
    let originals: Vec<String> = originals.into_iter().collect();
    if originals.is_empty() {
        return Ok(());
    }
    let packs = tenant.publisher.pack(&tenant.name, &originals).await?;
    let mut recorded = Vec::new();
    for task in tasks.iter_mut().filter(|task| task.pack.is_none()) {
        task.pack = sha256_of(task)
            .and_then(|sha256| packs.get(sha256))
            .cloned();
        recorded.extend(task.pack.clone().map(|pack| (task.spec.key.clone(), pack)));
    }
    tenant.ledger.set_packs(&recorded).await?;
    Ok(())
}

/// Every partition that could change: where rows of the tasks are or were, the days of the windows, and where withdrawn tasks still are.
/// A day that no window covers is not known, and stays so.
async fn affected_partitions(
    tenant: &Tenant,
    dataset: Dataset,
    windows: &[Window],
    tasks: &[TaskRow],
) -> Result<BTreeSet<Date>> {
    let mut dts: BTreeSet<Date> = windows
        .iter()
        .flat_map(|window| window.dates(&tenant.time_zone))
        .collect();
    for task in tasks {
        dts.extend(dts_of(task)?);
        dts.extend(tenant.ledger.partitions_with(&task.spec.key).await?);
    }
    let withdrawn = tenant.ledger.withdrawn_inputs(&tenant.name).await?;
    dts.extend(
        withdrawn
            .iter()
            .filter(|(of, _, _)| *of == dataset)
            .map(|(_, dt, _)| *dt),
    );
    let mut known = BTreeSet::new();
    for dt in dts {
        if !windows_of_day(tenant, dataset, dt).await?.is_empty() {
            known.insert(dt);
        }
    }
    Ok(known)
}

async fn windows_of_day(tenant: &Tenant, dataset: Dataset, dt: Date) -> Result<Vec<WindowRow>> {
    let Some(day) = Window::day(&tenant.time_zone, dt) else {
        return Ok(Vec::new());
    };
    let windows = tenant
        .ledger
        .windows(&tenant.name, dataset, Some(day))
        .await?;
    Ok(windows
        .into_iter()
        .filter(|row| !matches!(row.state, WindowState::Skipped | WindowState::Lost))
        .collect())
}

/// Replaces one partition: what is there, less the rows of tasks that ran again or whose parent is gone, with the rows of this round.
///
/// The order is the proof (see the design): intent, object, manifest, ledger. Stopped after any of them, the next round plans the same
/// partition again from the spool, merges to the same object, and goes on with what is missing.
async fn publish_partition(
    tenant: &Tenant,
    job: &JobSpec,
    dt: Date,
    round: &[TaskRow],
) -> Result<Option<Published>> {
    let Some(next) = plan_partition(tenant, job, dt, round).await? else {
        return Ok(None);
    };
    let (dataset, now) = (job.dataset, || tenant.clock.now());
    let staged = tenant.publisher.stage(next.plan.clone()).await?;
    let written = &staged.written;
    let is_complete = next.reasons.is_empty();
    let published = Published {
        dt,
        rows: written.rows,
        size_bytes: written.size_bytes,
        complete: is_complete,
        unchanged: staged.unchanged,
    };
    let mut inputs = next.inputs;
    for input in &mut inputs {
        if let Some(rows) = staged.overridden.get(&input.task_key) {
            input.overridden_rows = *rows;
        }
    }
    let recorded = recorded_inputs(&inputs)?;
    if staged.unchanged && next.was_complete == is_complete {
        let ledger = &tenant.ledger;
        ledger
            .checked(&tenant.name, dataset, dt, is_complete, &recorded, now())
            .await?;
        return Ok(Some(published));
    }
    let mut revision = Revision {
        id: next.plan.id.clone(),
        destination: job.destination.clone(),
        number: next.number,
        reasons: next.reasons,
        rows: written.rows,
        object: manifest::Object {
            path: String::new(),
            size_bytes: written.size_bytes,
            sha256: written.sha256.clone(),
            version: Version::default(),
        },
        content_hash: written.content_hash.clone(),
        previous_sha256: next.previous_manifest,
        inputs,
        rejects: next.rejects,
        blank_columns: next.blank_columns,
        unknown_columns: next.unknown_columns,
        coverage: next.coverage,
    };
    let intent = Intent {
        revision: revision.number.into(),
        content_hash: written.content_hash.clone(),
        object_sha256: written.sha256.clone(),
        size_bytes: written.size_bytes,
        rows: written.rows,
    };
    tenant
        .ledger
        .intend(&tenant.name, dataset, dt, &intent)
        .await?;
    // The same content under another state (what was missing came back empty): object and lineage stay, only the record is new.
    let standing = match staged.unchanged {
        true => manifest::latest(&tenant.lake, &next.plan.id).await?,
        false => None,
    };
    revision.object = match standing {
        Some(found) => found.manifest.object,
        None => {
            let publisher = &tenant.publisher;
            publisher
                .put_object(&job.destination, &next.plan.id, &staged)
                .await?
        }
    };
    let record = put_manifest(tenant, revision).await?;
    let done = PublishedPartition {
        revision: record.manifest.revision.into(),
        complete: is_complete,
        content_hash: written.content_hash.clone(),
        manifest_sha256: record.sha256,
        rows: written.rows,
        size_bytes: written.size_bytes,
        inputs: recorded,
    };
    tenant
        .ledger
        .published(&tenant.name, dataset, dt, &done, now())
        .await?;
    Ok(Some(published))
}

/// Puts the manifest under the next free number: another one under ours was left by a publish that died before the ledger heard of it.
async fn put_manifest(tenant: &Tenant, mut revision: Revision) -> Result<manifest::Found> {
    let now = tenant.clock.now();
    match manifest::put(&tenant.lake, revision.clone(), now).await {
        Err(publish::Error::Store(error)) if error.kind() == store::Kind::Conflict => {
            let Some(latest) = manifest::latest(&tenant.lake, &revision.id).await? else {
                return Err(error.into());
            };
            revision.number = latest.manifest.revision + 1;
            revision.previous_sha256 = Some(latest.sha256);
            Ok(manifest::put(&tenant.lake, revision, now).await?)
        }
        result => Ok(result?),
    }
}

/// The next revision of a partition.
struct Next {
    plan: PartitionPlan,
    /// Whether the published revision lacks nothing.
    was_complete: bool,
    number: u32,
    previous_manifest: Option<String>,
    /// Every task of the day, those without rows too.
    inputs: Vec<Input>,
    /// What keeps the day from being complete.
    reasons: Vec<String>,
    rejects: BTreeMap<String, u64>,
    blank_columns: BTreeSet<String>,
    unknown_columns: BTreeSet<String>,
    coverage: Option<manifest::Coverage>,
}

/// What the next revision of a partition is made of; `None` if nothing is known of the day yet.
async fn plan_partition(
    tenant: &Tenant,
    job: &JobSpec,
    dt: Date,
    round: &[TaskRow],
) -> Result<Option<Next>> {
    let (ledger, dataset) = (&tenant.ledger, job.dataset);
    let known = ledger.partition(&tenant.name, dataset, dt).await?;
    let known = known.filter(|row| row.revision > 0);
    let windows = windows_of_day(tenant, dataset, dt).await?;
    let in_round: HashSet<&TaskKey> = round.iter().map(|task| &task.spec.key).collect();
    let mut day = Day::default();
    for window in &windows {
        day.is_due |= window.state == WindowState::Due;
        let tasks = ledger
            .tasks_of(&tenant.name, dataset, window.window)
            .await?;
        day.tasks.extend(tasks);
    }
    let mut add = Vec::new();
    let mut inputs = Vec::new();
    for task in round {
        let has_rows = dts_of(task)?.contains(&dt);
        if has_rows {
            let (key, generation) = (task.spec.key.clone(), task.generation);
            add.push(SpooledTask { key, generation });
        }
        if has_rows || is_home(tenant, task, dt) {
            inputs.push(input_of(task));
        }
    }
    let reasons = day.reasons(&in_round);
    if known.is_none() && inputs.is_empty() && !reasons.is_empty() {
        return Ok(None);
    }
    let mut drop: HashSet<TaskKey> = round.iter().map(|task| task.spec.key.clone()).collect();
    if reasons.is_empty() {
        let withdrawn = ledger.withdrawn_inputs(&tenant.name).await?;
        let here = withdrawn
            .into_iter()
            .filter(|(of, day, _)| *of == dataset && *day == dt);
        drop.extend(here.map(|(_, _, key)| key));
    }
    for (key, _, entry) in ledger.inputs(&tenant.name, dataset, dt).await? {
        if drop.contains(&key) {
            continue;
        }
        let input: Input =
            serde_json::from_str(&entry).context("the ledger holds an unreadable input")?;
        if input.overridden_rows > 0 {
            add.push(restore(tenant, job, &input).await?);
        }
        inputs.push(input);
    }
    let ranks = inputs
        .iter()
        .map(|input| (input.task_key.clone(), rank(input)))
        .collect();
    day.add_missing(tenant, dt, &mut inputs);
    let plan = PartitionPlan {
        id: PartitionId {
            dataset,
            tenant: tenant.name.clone(),
            dt,
        },
        destination: job.destination.clone(),
        previous_content_hash: known.as_ref().and_then(|row| row.content_hash.clone()),
        add,
        drop,
        ranks,
    };
    let published = known.as_ref().map_or(0, |row| row.revision);
    let mut next = Next {
        plan,
        was_complete: known.as_ref().is_some_and(|row| row.complete),
        number: u32::try_from(published).unwrap_or(u32::MAX - 1) + 1,
        previous_manifest: known.and_then(|row| row.manifest_sha256),
        inputs,
        reasons,
        rejects: BTreeMap::new(),
        blank_columns: BTreeSet::new(),
        unknown_columns: BTreeSet::new(),
        coverage: coverage_of(job, &windows),
    };
    next.sum_up(&day);
    Ok(Some(next))
}

/// The windows of a day, looked at together.
#[derive(Default)]
struct Day {
    /// Whether a window of it has no tasks yet.
    is_due: bool,
    tasks: Vec<TaskRow>,
}

impl Day {
    /// What keeps the day from being complete, once the tasks of this round are published.
    fn reasons(&self, in_round: &HashSet<&TaskKey>) -> Vec<String> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for task in &self.tasks {
            let reason = match task.phase {
                Phase::Open => "not exported yet",
                Phase::Spooled if !in_round.contains(&task.spec.key) => "not published yet",
                Phase::Quarantined => "quarantined",
                Phase::Failed => "failed",
                _ if findings_of(task).rows_quarantined > 0 => "with rows that lack a key",
                Phase::Spooled | Phase::Published | Phase::Withdrawn => continue,
            };
            *counts.entry(reason).or_default() += 1;
        }
        let due = self
            .is_due
            .then(|| "a window of the day is not planned yet".to_owned());
        due.into_iter()
            .chain(
                counts
                    .iter()
                    .map(|(reason, tasks)| format!("{tasks} tasks {reason}")),
            )
            .collect()
    }

    /// Adds the tasks of the day that brought no workbook, so that the manifest names what is not there.
    fn add_missing(&self, tenant: &Tenant, dt: Date, inputs: &mut Vec<Input>) {
        let there: HashSet<TaskKey> = inputs.iter().map(|input| input.task_key.clone()).collect();
        for task in &self.tasks {
            let is_missing = matches!(task.phase, Phase::Open | Phase::Quarantined | Phase::Failed);
            if is_missing && is_home(tenant, task, dt) && !there.contains(&task.spec.key) {
                inputs.push(input_of(task));
            }
        }
    }
}

impl Next {
    /// Adds up what normalising found in all workbooks of the day.
    fn sum_up(&mut self, day: &Day) {
        let all: Vec<Findings> = day
            .tasks
            .iter()
            .filter(|task| task.result.is_some())
            .map(findings_of)
            .collect();
        for findings in &all {
            for reject in &findings.rejects {
                *self.rejects.entry(reject.column.clone()).or_default() += 1;
            }
            self.unknown_columns
                .extend(findings.extra_columns.iter().cloned());
        }
        let mut filled = all.iter().filter(|findings| findings.rows_out > 0);
        if let Some(first) = filled.next() {
            self.blank_columns
                .extend(first.blank_columns.iter().cloned());
            for findings in filled {
                self.blank_columns
                    .retain(|column| findings.blank_columns.contains(column));
            }
        }
    }
}

/// Brings back the rows of a task that another task's rows pushed out: the other may have changed or gone. They come from the archived original.
async fn restore(tenant: &Tenant, job: &JobSpec, input: &Input) -> Result<SpooledTask> {
    let (Some(pack), Some(sha256), Some(window)) =
        (&input.pack, &input.source_sha256, input.window())
    else {
        anyhow::bail!("task {} has no archived original", input.task_key);
    };
    let mut pack = tenant.publisher.open_pack(&tenant.name, pack).await?;
    let original = pack.original(sha256)?;
    let spec = TaskSpec::new(
        &tenant.name,
        window,
        input.request.clone(),
        input.lineage.clone(),
    );
    let source = Source {
        export_id: input.export_id.clone(),
        sha256: sha256.clone(),
        extracted_at: input.extracted_at,
    };
    let (limits, context) = (
        tenant.workbook_limits.clone(),
        context_of(tenant, job, &spec, source),
    );
    let work = move || decode_and_normalize(&original, &limits, &context);
    let normalized = tokio::task::spawn_blocking(work).await?.map_err(|broken| {
        anyhow::anyhow!(
            "the archived original of task {} cannot be read: {}",
            input.task_key,
            broken.reason
        )
    })?;
    let by_date = split(tenant, &spec, &normalized)?;
    tenant
        .spool
        .put_rows(&input.task_key, input.generation, &by_date)?;
    Ok(SpooledTask {
        key: input.task_key.clone(),
        generation: input.generation,
    })
}

fn findings_of(task: &TaskRow) -> Findings {
    task.result
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Keeps the workbook whose rows lack a key, and marks its task.
async fn quarantine_rows(tenant: &Tenant, task: &TaskRow) -> Result<()> {
    let findings = findings_of(task);
    let State::Fetched { sha256, .. } = &task.machine else {
        return Ok(());
    };
    if findings.rows_quarantined == 0 {
        return Ok(());
    }
    let reason = format!(
        "{} rows have no value in a key column; the others are published",
        findings.rows_quarantined
    );
    if let Some(original) = tenant.spool.read_original(sha256)? {
        let record = quarantined(task, &reason, &findings)?;
        tenant
            .publisher
            .quarantine(task.spec.dataset(), &tenant.name, original, &record)
            .await?;
    }
    tenant
        .ledger
        .end(
            task,
            Phase::Quarantined,
            &task.machine,
            "data",
            &reason,
            tenant.clock.now(),
        )
        .await?;
    Ok(())
}

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

/// Removes what the lake now has; what cannot be removed is cleaned at the next start. Sheets without rows and reports stay until then, because
/// several tasks can have the same bytes.
fn forget(tenant: &Tenant, task: &TaskRow) {
    let rows = tenant.spool.remove(&task.spec.key, task.generation);
    let is_unique = task.rows.is_some_and(|rows| rows > 0) && !task.spec.dataset().is_report();
    let original = sha256_of(task)
        .filter(|_| is_unique)
        .map_or(Ok(()), |sha256| tenant.spool.remove_original(sha256));
    if let Err(error) = rows.and(original) {
        tracing::warn!(task.key = %task.spec.key, %error, "could not clean the spool");
    }
}

fn sha256_of(task: &TaskRow) -> Option<&str> {
    match &task.machine {
        State::Fetched { sha256, .. } => Some(sha256),
        _ => None,
    }
}

fn dts_of(task: &TaskRow) -> Result<Vec<Date>> {
    let dts = task.dts.as_deref().unwrap_or("[]");
    serde_json::from_str(dts).with_context(|| {
        format!(
            "the ledger holds unreadable dates of task {}",
            task.spec.key
        )
    })
}

/// Whether `dt` is the day that a task stands for: where it is listed although it brought no row.
fn is_home(tenant: &Tenant, task: &TaskRow, dt: Date) -> bool {
    date_of(&tenant.time_zone, task.spec.window.start()) == dt
}

fn rank(input: &Input) -> i64 {
    input
        .submitted_at
        .map_or(i64::MIN, Timestamp::as_microsecond)
}

fn input_of(task: &TaskRow) -> Input {
    let spec = &task.spec;
    let fetched = match &task.machine {
        State::Fetched {
            submitted_at,
            sha256,
            extracted_at,
            ..
        } => Some((*submitted_at, sha256.clone(), *extracted_at)),
        _ => None,
    };
    let outcome = match (task.phase, task.rows) {
        (Phase::Open, _) => Outcome::Missing,
        (Phase::Quarantined, _) => Outcome::Quarantined,
        (Phase::Failed, _) => Outcome::Failed,
        (_, Some(0)) => Outcome::Empty,
        _ => Outcome::Published,
    };
    Input {
        task_key: spec.key.clone(),
        generation: task.generation,
        request: spec.request.clone(),
        lineage: spec.lineage.clone(),
        window_start: spec.window.start(),
        window_end: spec.window.end(),
        export_id: task.machine.export_id().cloned(),
        submitted_at: fetched.as_ref().map(|(submitted_at, _, _)| *submitted_at),
        extracted_at: fetched.as_ref().map(|(_, _, extracted_at)| *extracted_at),
        source_sha256: fetched.map(|(_, sha256, _)| sha256),
        pack: task.pack.clone(),
        rows: task.rows.unwrap_or(0),
        overridden_rows: 0,
        outcome,
    }
}

/// What the ledger keeps of a partition's inputs: those whose workbook is in it.
fn recorded_inputs(inputs: &[Input]) -> Result<Vec<(TaskKey, u32, String)>> {
    inputs
        .iter()
        .filter(|input| matches!(input.outcome, Outcome::Published | Outcome::Empty))
        .map(|input| {
            Ok((
                input.task_key.clone(),
                input.generation,
                serde_json::to_string(input)?,
            ))
        })
        .collect()
}

/// What the fan-out of a day's windows left out; `None` for datasets without one.
fn coverage_of(job: &JobSpec, windows: &[WindowRow]) -> Option<manifest::Coverage> {
    let mut sum: Option<Coverage> = None;
    for window in windows {
        let coverage = window
            .coverage
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        if let Some(coverage) = coverage {
            sum.get_or_insert_with(Coverage::default).add(&coverage);
        }
    }
    sum.map(|sum| manifest::Coverage {
        parents: sum.parents,
        planned: sum.planned,
        left_out: manifest::LeftOut {
            not_ended: sum.not_ended,
            min_participants: sum.below_min_participants,
            sampled: sum.not_sampled,
            max_tasks: sum.over_max_tasks,
            no_id: sum.no_id,
        },
        bounds: (&job.fan_out).into(),
    })
}

/// The cause, if an error of publishing is the lake's or the disk's and not ours.
#[must_use]
pub fn storage_cause(error: &anyhow::Error) -> Option<Cause> {
    let is_storage = error.chain().any(|cause| {
        matches!(
            cause.downcast_ref::<publish::Error>(),
            Some(
                publish::Error::Store(_)
                    | publish::Error::Spool(_)
                    | publish::Error::Local { .. }
                    | publish::Error::Object { .. }
            )
        ) || cause.downcast_ref::<store::Error>().is_some()
            || cause.downcast_ref::<crate::spool::Error>().is_some()
            || cause
                .downcast_ref::<crate::ledger::Error>()
                .is_some_and(crate::ledger::Error::is_disk_full)
    });
    is_storage.then(|| Cause {
        kind: CauseKind::Storage,
        word: "storage".into(),
        message: format!("could not publish: {error:#}"),
    })
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
        Err(error) => {
            let word = error.kind().as_str();
            let message = format!("could not list the rooms: {error}");
            return Ok(Err(Cause {
                kind: crate::run::summary::cause_kind(word),
                word: word.to_owned(),
                message,
            }));
        }
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
