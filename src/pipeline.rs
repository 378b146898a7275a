//! One task through all stages, and one partition into the lake. This is the only file that names all stages, so it is the flow.
//!
//! ```text
//! run_task:         export ──► decode ──► normalize ──► spool ──► ledger            rows wait beside the ledger
//! publish_windows:  spool ──► pack ──► stage ──► intent ──► object ──► manifest ──► ledger
//! ```
//!
//! Both are idempotent at every arrow: what was recorded is not done again, what was not is done again with the same result.

mod parents;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
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
    Intent, Ledger, PartitionRow, Phase, PublishedPartition, SpooledResult, TaskRow, WindowRow,
    WindowState,
};
use crate::normalize::{self, Findings, Normalized, Normalizer};
use crate::publish::{
    self, InputEntry, PartitionId, PartitionPlan, Previous, Publisher, Quarantined,
};
use crate::run::summary::{Cause, CauseKind};
use crate::spool::Spool;
use crate::task::machine::{Event, GaveUp, Machine, State};
use crate::task::{Request, TaskKey};
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
            context_of(tenant, job, task, &fetched),
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

fn context_of(
    tenant: &Tenant,
    job: &JobSpec,
    task: &TaskRow,
    fetched: &State,
) -> normalize::Context {
    let spec = &task.spec;
    let (sha256, extracted_at) = match fetched {
        State::Fetched {
            sha256,
            extracted_at,
            ..
        } => (sha256.clone(), Some(*extracted_at)),
        _ => (String::new(), None),
    };
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
            export_id: fetched.export_id().cloned(),
            source_sha256: sha256,
            window: Some(spec.window),
            extracted_at,
        },
        buckets,
        top_user_duration: job.options.top_user_duration_unit,
        keys_from_task_required: true,
    }
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
    let home = date_of(&tenant.time_zone, task.spec.window.start());
    let by_date = publish::split_by_dt(
        &normalized.batch,
        Contract::of(dataset),
        &tenant.time_zone,
        home,
    )?;
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
    if let Some(original) = original {
        if let Err(error) = tenant
            .publisher
            .quarantine(spec.dataset(), &tenant.name, sha256, original, &record)
            .await
        {
            let message = format!("{message}; it could not be put into the lake: {error}");
            put_off(tenant, task, fetched.clone(), "storage", &message).await?;
            return Ok(Ended::Refused {
                cause: Cause {
                    kind: CauseKind::Storage,
                    word: "storage".into(),
                    message,
                },
            });
        }
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
                    put_off(tenant, task, *state, word, &cause.message).await?;
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
            put_off(tenant, task, task.machine.clone(), "storage", &message).await?;
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
    pack_originals(tenant, &mut tasks).await?;
    let mut done = Vec::new();
    for dt in affected_partitions(tenant, job.dataset, windows, &tasks).await? {
        if let Some(published) = publish_partition(tenant, job, dt, &tasks).await? {
            each(published.clone());
            done.push(published);
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
/// partition again from the spool, finds the object as the intent describes it, and goes on.
async fn publish_partition(
    tenant: &Tenant,
    job: &JobSpec,
    dt: Date,
    round: &[TaskRow],
) -> Result<Option<Published>> {
    let dataset = job.dataset;
    let known = tenant.ledger.partition(&tenant.name, dataset, dt).await?;
    let Some(plan) = plan_partition(tenant, job, dt, round, known.as_ref()).await? else {
        return Ok(None);
    };
    let now = || tenant.clock.now();
    let staged = tenant.publisher.stage(&plan).await?;
    let published = Published {
        dt,
        rows: staged.rows,
        size_bytes: staged.bytes.len() as u64,
        complete: plan.complete,
        unchanged: false,
    };
    let inputs = plan
        .inputs
        .iter()
        .map(|entry| {
            Ok((
                entry.task_key.clone(),
                entry.generation,
                serde_json::to_string(entry)?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    if plan
        .previous
        .as_ref()
        .is_some_and(|previous| previous.content_hash == staged.content_hash)
    {
        tenant
            .ledger
            .checked(&tenant.name, dataset, dt, plan.complete, &inputs, now())
            .await?;
        return Ok(Some(Published {
            unchanged: true,
            ..published
        }));
    }
    let intent = Intent {
        revision: plan.revision.into(),
        content_hash: staged.content_hash.clone(),
        object_sha256: staged.object_sha256.clone(),
        size_bytes: published.size_bytes,
        rows: staged.rows,
    };
    tenant
        .ledger
        .intend(&tenant.name, dataset, dt, &intent)
        .await?;
    if !staged.on_lake {
        tenant.publisher.put_object(&plan, &staged).await?;
    }
    let manifest_sha256 = tenant.publisher.put_manifest(&plan, &staged).await?;
    let done = PublishedPartition {
        revision: plan.revision.into(),
        complete: plan.complete,
        content_hash: staged.content_hash,
        manifest_sha256,
        rows: staged.rows,
        size_bytes: published.size_bytes,
        inputs,
    };
    tenant
        .ledger
        .published(&tenant.name, dataset, dt, &done, now())
        .await?;
    Ok(Some(published))
}

/// What the next revision of a partition is made of; `None` if nothing is known of the day yet.
async fn plan_partition(
    tenant: &Tenant,
    job: &JobSpec,
    dt: Date,
    round: &[TaskRow],
    known: Option<&PartitionRow>,
) -> Result<Option<PartitionPlan>> {
    let dataset = job.dataset;
    let windows = windows_of_day(tenant, dataset, dt).await?;
    let standing = standing_of(tenant, &windows, round).await?;
    let published = known.filter(|row| row.revision > 0);
    let mut add = Vec::new();
    let mut inputs = Vec::new();
    for task in round {
        let has_rows = dts_of(task)?.contains(&dt);
        let is_home = task.spec.window.dates(&tenant.time_zone).first() == Some(&dt);
        if has_rows {
            add.push((task.spec.key.clone(), task.generation));
        }
        if has_rows || is_home {
            inputs.push(entry_of(task)?);
        }
    }
    if published.is_none() && inputs.is_empty() && !standing.is_complete {
        return Ok(None);
    }
    let mut drop: HashSet<TaskKey> = round.iter().map(|task| task.spec.key.clone()).collect();
    if standing.is_complete {
        let withdrawn = tenant.ledger.withdrawn_inputs(&tenant.name).await?;
        drop.extend(
            withdrawn
                .into_iter()
                .filter(|(of, day, _)| *of == dataset && *day == dt)
                .map(|(_, _, key)| key),
        );
    }
    for (key, _, entry) in tenant.ledger.inputs(&tenant.name, dataset, dt).await? {
        if !drop.contains(&key) {
            inputs.push(
                serde_json::from_str(&entry).context("the ledger holds an unreadable input")?,
            );
        }
    }
    inputs.sort_by(|a: &InputEntry, b| a.task_key.cmp(&b.task_key));
    let ranks = inputs
        .iter()
        .map(|entry| (entry.task_key.clone(), entry.submitted_at.as_microsecond()))
        .collect();
    let coverage = windows
        .iter()
        .filter_map(|row| serde_json::from_str(row.coverage.as_deref()?).ok())
        .collect();
    let previous = published.and_then(|row| {
        Some(Previous {
            revision: u32::try_from(row.revision).ok()?,
            content_hash: row.content_hash.clone()?,
            manifest_sha256: row.manifest_sha256.clone()?,
        })
    });
    Ok(Some(PartitionPlan {
        id: PartitionId {
            dataset,
            tenant: tenant.name.clone(),
            dt,
        },
        destination: job.destination.clone(),
        revision: previous
            .as_ref()
            .map_or(1, |previous| previous.revision + 1),
        previous,
        add,
        drop,
        ranks,
        complete: standing.is_complete,
        coverage,
        inputs,
    }))
}

/// How the tasks of a day's windows stand, the round's own rows counted as published.
struct Standing {
    is_complete: bool,
}

async fn standing_of(
    tenant: &Tenant,
    windows: &[WindowRow],
    round: &[TaskRow],
) -> Result<Standing> {
    let in_round: HashSet<&TaskKey> = round.iter().map(|task| &task.spec.key).collect();
    let mut is_complete = !windows.is_empty() && !round.iter().any(lacks_rows);
    for row in windows {
        is_complete &= row.state != WindowState::Due;
        if !is_complete {
            break;
        }
        let phases = tenant
            .ledger
            .phases_of(&row.tenant, row.dataset, row.window)
            .await?;
        let ends_well = |(phase, _): &(Phase, u64)| {
            matches!(phase, Phase::Published | Phase::Withdrawn | Phase::Spooled)
        };
        is_complete = phases.iter().all(ends_well);
        if is_complete && phases.iter().any(|(phase, _)| *phase == Phase::Spooled) {
            let tasks = tenant
                .ledger
                .tasks_of(&row.tenant, row.dataset, row.window)
                .await?;
            is_complete = tasks
                .iter()
                .all(|task| task.phase != Phase::Spooled || in_round.contains(&task.spec.key));
        }
    }
    Ok(Standing { is_complete })
}

/// A task some of whose rows lack a key: the others are published, the day is not complete, and somebody must look.
fn lacks_rows(task: &TaskRow) -> bool {
    findings_of(task).rows_quarantined > 0
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
            .quarantine(task.spec.dataset(), &tenant.name, sha256, original, &record)
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

fn quarantined(task: &TaskRow, reason: &str, findings: &Findings) -> Result<Quarantined> {
    let spec = &task.spec;
    Ok(Quarantined {
        task_key: spec.key.clone(),
        window_start: spec.window.start(),
        window_end: spec.window.end(),
        export_id: task.machine.export_id().cloned(),
        reason: reason.to_owned(),
        findings: serde_json::to_value(findings)?,
    })
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

fn entry_of(task: &TaskRow) -> Result<InputEntry> {
    let State::Fetched {
        export_id,
        submitted_at,
        sha256,
        extracted_at,
        ..
    } = &task.machine
    else {
        anyhow::bail!("task {} is spooled and was never fetched", task.spec.key);
    };
    let spec = &task.spec;
    Ok(InputEntry {
        task_key: spec.key.clone(),
        generation: task.generation,
        request: spec.request.clone(),
        lineage: spec.lineage.clone(),
        window_start: spec.window.start(),
        window_end: spec.window.end(),
        export_id: export_id.clone(),
        submitted_at: *submitted_at,
        extracted_at: *extracted_at,
        source_sha256: sha256.clone(),
        pack: task.pack.clone(),
        rows: task.rows.unwrap_or(0),
    })
}

/// The cause, if an error of publishing is the lake's or the disk's and not ours.
#[must_use]
pub fn storage_cause(error: &anyhow::Error) -> Option<Cause> {
    let is_storage = error.chain().any(|cause| {
        cause.downcast_ref::<crate::store::Error>().is_some()
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
