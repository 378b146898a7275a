//! From the bytes of a task to rows in the spool: decode, normalize, policy and spool, batch by
//! batch, where blocking is allowed.

use std::any::Any;
use std::panic::resume_unwind;

use anyhow::{Result, anyhow};
use jiff::Timestamp;

use super::Tenant;
use super::ending::FailedAttempt;
use super::rows::{OriginalFacts, RowKeeper};
use crate::contract::Contract;
use crate::datasets::{ComparedColumns, Lineage};
use crate::decode;
use crate::events::EventKind;
use crate::findings::{Findings, Witness};
use crate::job::JobSpec;
use crate::normalize::{self, Normalizer};
use crate::policy::Policy;
use crate::publish;
use crate::record::TaskRow;
use crate::spool::{self, SpooledOriginal, SpoolingRows};
use crate::task::disposition::{AttemptFailure, Blame};
use crate::task::machine::{ExportEvent, Machine, State};
use crate::task::{ExportId, TaskSpec};
use crate::text::harmless;
use crate::window::Window;
use crate::workers;

/// Reads the bytes of a fetched task into the spool, and compares them with what the other source
/// said, where it was to be asked. The inner error says why no rows came of them.
pub(super) async fn read(
    tenant: &Tenant,
    job: &JobSpec,
    task: &TaskRow,
    fetched: &State,
    witness: Option<Witness>,
) -> Result<Result<OriginalFacts, Box<FailedAttempt>>> {
    let State::Fetched { sha256, .. } = fetched else {
        anyhow::bail!("an export ended without bytes")
    };
    let not_kept = |what: &str, error: &spool::Error| {
        let message = format!("could not {what} of task {}: {error}", task.spec.key);
        let state = fetched.clone();
        Ok(Err(FailedAttempt::from(AttemptFailure::NotKept {
            state,
            message,
        })
        .into()))
    };
    // Before the bytes are read: what waits its turn must not wait in memory.
    let permit = tenant.decoders.acquire().await?;
    let reading = Reading::new(tenant, job, &task.spec, RowSource::of(fetched));
    let reading = reading.comparing(witness.is_some());
    let (spool, sha256) = (tenant.spool.clone(), sha256.clone());
    let (key, generation) = (task.spec.key.clone(), task.generation);
    let read = run_blocking(move || {
        let original = spool.open_original(&sha256);
        let original = original.map_err(ReadFailure::OriginalNotOpened)?;
        let original = original.ok_or(ReadFailure::OriginalLost)?;
        let rows = spool.begin_rows(&key, generation);
        let rows = Some(rows.map_err(ReadFailure::NotKept)?);
        let mut facts = reading.read(&original, rows, true)?;
        if let Some(witness) = witness {
            let kept = |sha256: String| {
                let original = spool.open_original(&sha256).ok()??;
                Some((sha256, original))
            };
            reading.compare(witness.sha256().and_then(kept), &mut facts);
        }
        Ok(facts)
    })
    .await?;
    drop(permit);
    let findings = match &read {
        Ok(read) => Some(&read.findings),
        Err(ReadFailure::Unread(unread)) => Some(&unread.findings),
        Err(_) => None,
    };
    if let Some(why) = findings.and_then(|findings| findings.left_to_calamine.clone()) {
        tenant.events.emit(task, EventKind::ReadByCalamine { why });
    }
    for (what, value) in findings.map(Findings::remarks).unwrap_or_default() {
        let (what, value) = (harmless(&what), harmless(&value));
        tenant
            .events
            .emit(task, EventKind::WorkbookRemark { what, value });
    }
    let unread = match read {
        Ok(read) => return Ok(Ok(read)),
        Err(ReadFailure::OriginalLost) => {
            return Ok(Err(FailedAttempt::from(AttemptFailure::OriginalLost).into()));
        }
        Err(ReadFailure::OriginalNotOpened(error)) => return not_kept("read the download", &error),
        Err(ReadFailure::NotKept(error)) => return not_kept("keep the rows", &error),
        Err(ReadFailure::Mistake(error)) => return Err(error),
        Err(ReadFailure::NotExtracted(error)) => return Err(error.into()),
        Err(ReadFailure::Panicked(panic)) => resume_unwind(panic),
        Err(ReadFailure::Unread(unread)) => unread,
    };
    let machine = Machine {
        first_poll: std::time::Duration::ZERO,
        deadline: job.deadline,
    };
    let now = tenant.clock.now();
    let refetch = machine.step(fetched.clone(), ExportEvent::BadDownload, now)?;
    let failure = AttemptFailure::NotRead {
        fetched: fetched.clone(),
        refetch: refetch.state,
        blame: unread.blame,
        reason: unread.reason,
    };
    Ok(Err(Box::new(FailedAttempt {
        findings: unread.findings,
        ..failure.into()
    })))
}

/// Where a task's rows came from.
pub(super) struct RowSource {
    pub(super) export_id: Option<ExportId>,
    pub(super) sha256: String,
    pub(super) extracted_at: Option<Timestamp>,
}

impl RowSource {
    fn of(fetched: &State) -> Self {
        let extracted_at = match fetched {
            State::Fetched { extracted_at, .. } => Some(*extracted_at),
            _ => None,
        };
        Self {
            export_id: fetched.export_id().cloned(),
            sha256: fetched.sha256().unwrap_or_default().to_owned(),
            extracted_at,
        }
    }
}

/// Why no rows of an original are in the spool.
pub(super) enum ReadFailure {
    /// It is not in the spool, or not whole.
    OriginalLost,
    /// It cannot be read from disk.
    OriginalNotOpened(spool::Error),
    /// It could not be copied from its pack.
    NotExtracted(publish::Error),
    /// The workbook was not taken.
    Unread(Box<Unread>),
    /// The spool could not keep the rows.
    NotKept(spool::Error),
    /// A mistake in meetlake.
    Mistake(anyhow::Error),
    /// A panic beyond the reader, which is to go on where the attempt is driven.
    Panicked(Box<dyn Any + Send>),
}

impl From<Box<dyn Any + Send>> for ReadFailure {
    fn from(panic: Box<dyn Any + Send>) -> Self {
        Self::Panicked(panic)
    }
}

/// Why a workbook was not taken: for people, and what was found until then.
pub(super) struct Unread {
    pub(super) reason: String,
    pub(super) findings: Findings,
    pub(super) blame: Blame,
}

/// What a task's bytes are read with.
#[derive(Clone)]
pub(super) struct Reading {
    limits: decode::WorkbookLimits,
    fallback: decode::Fallback,
    pub(super) context: normalize::Context,
    pub(super) policy: Policy,
    pub(super) spec: TaskSpec,
    /// What of the rows is kept to be compared.
    pub(super) compared: Option<&'static ComparedColumns>,
}

impl Reading {
    pub(super) fn new(tenant: &Tenant, job: &JobSpec, spec: &TaskSpec, source: RowSource) -> Self {
        Self {
            limits: tenant.workbook_limits.clone(),
            fallback: tenant.fallback.clone(),
            context: context_of(tenant, job, spec, source),
            policy: tenant.policy,
            spec: spec.clone(),
            compared: None,
        }
    }

    /// The same, which keeps what is compared of the rows.
    pub(super) fn comparing(self, is_compared: bool) -> Self {
        Self {
            compared: self.spec.dataset().compared().filter(|_| is_compared),
            ..self
        }
    }

    /// Reads an original. Its rows go to `rows`, if they are wanted, and are kept there if all of
    /// it is accepted. `refuses_strangers` says whether it may be the file of another export.
    pub(super) fn read(
        &self,
        original: &SpooledOriginal,
        rows: Option<SpoolingRows>,
        refuses_strangers: bool,
    ) -> Result<OriginalFacts, ReadFailure> {
        crash_point!("w07-decoding");
        let mut keeper = RowKeeper::new(self, rows);
        let mut normalizer = Normalizer::new(&self.context, |output| keeper.take(output));
        let (limits, fallback) = (&self.limits, &self.fallback);
        let (contract, length) = (self.context.contract, original.size_bytes);
        let source = self.spec.request.source();
        let length = usize::try_from(length).map_err(|error| ReadFailure::Mistake(error.into()))?;
        let summary = decode::original(
            &original.file,
            length,
            (contract, &source),
            limits,
            fallback,
            &mut normalizer,
        );
        let summary = summary.map_err(|error| {
            ReadFailure::Unread(Box::new(Unread {
                // It may quote the names of sheets and columns.
                reason: harmless(&error.to_string()),
                findings: Findings::default(),
                blame: blame_for(&error),
            }))
        })?;
        match normalizer.finish() {
            Ok(mut findings) => {
                summary.tell(&mut findings);
                keeper.finish(findings, refuses_strangers)
            }
            Err(mut quarantine) => {
                summary.tell(&mut quarantine.findings);
                Err(ReadFailure::Unread(Box::new(Unread {
                    reason: quarantine.reason.to_string(),
                    findings: quarantine.findings,
                    blame: Blame::Data,
                })))
            }
        }
    }
}

const fn blame_for(error: &decode::Error) -> Blame {
    match error {
        decode::Error::Empty | decode::Error::NotAWorkbook(_) | decode::Error::Container(_) => {
            Blame::Bytes
        }
        decode::Error::Reader(_) => Blame::Reader,
        decode::Error::NoReader(_) | decode::Error::Unreadable(_) => Blame::Machine,
        _ => Blame::Data,
    }
}

/// Runs `work` where blocking is allowed. A panic in it is the reader's end.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadFailure> + Send + 'static,
) -> Result<Result<T, ReadFailure>> {
    match workers::work(work).await {
        Ok(read) => Ok(read),
        Err(error) if error.is_panic() => Ok(Err(ReadFailure::Unread(Box::new(Unread {
            reason: "meetlake gave up in the middle of reading it, which is a mistake in it; \
                     the log says where. Please report it"
                .to_owned(),
            findings: Findings::default(),
            blame: Blame::Reader,
        })))),
        Err(error) => Err(anyhow!(error)),
    }
}

fn context_of(
    tenant: &Tenant,
    job: &JobSpec,
    spec: &TaskSpec,
    source: RowSource,
) -> normalize::Context {
    let query = spec.request.start.zip(spec.request.end);
    let buckets = query
        .filter(|_| spec.dataset().asks_for_more())
        .and_then(|(start, end)| query_window(start, end))
        .map(|query| normalize::Buckets {
            query,
            dates: spec.window.dates(&job.time_zone),
        });
    normalize::Context {
        contract: Contract::of(spec.dataset()),
        time_zone: tenant.reading_zone(job).clone(),
        tenant_zone: tenant.time_zone.clone(),
        lineage: Lineage {
            source_mode: Some(spec.request.mode),
            ..spec.lineage.clone()
        },
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
        keys: Some(normalize::RowKeys {
            tenant: tenant.name.clone(),
            key: tenant.key.clone(),
        }),
    }
}

fn query_window(start: i64, end: i64) -> Option<Window> {
    Window::new(
        Timestamp::from_second(start).ok()?,
        Timestamp::from_second(end).ok()?,
    )
}
