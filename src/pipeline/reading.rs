//! From the bytes of a task to normalized rows: decode and normalize, where blocking is allowed.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;

use super::ending::FailedAttempt;
use super::{Tenant, stranger};
use crate::contract::Contract;
use crate::decode;
use crate::events::EventKind;
use crate::findings::Findings;
use crate::job::JobSpec;
use crate::normalize::{self, Normalized, Normalizer};
use crate::publish;
use crate::record::{PassedRows, TaskRow};
use crate::task::disposition::{AttemptFailure, Blame};
use crate::task::machine::{ExportEvent, Machine, State};
use crate::task::{ExportId, TaskSpec};
use crate::text::harmless;
use crate::window::{Window, date_of};

/// Reads the bytes of a fetched task. The inner error says why no rows came of them.
pub(super) async fn read(
    tenant: &Tenant,
    job: &JobSpec,
    task: &TaskRow,
    fetched: &State,
) -> Result<Result<Normalized, Box<FailedAttempt>>> {
    let State::Fetched { sha256, .. } = fetched else {
        anyhow::bail!("an export ended without bytes")
    };
    // Before the bytes are read: what waits its turn must not wait in memory.
    let permit = tenant.decoders.acquire().await?;
    let original = match tenant.spool.read_original(sha256) {
        Ok(Some(original)) => original,
        Ok(None) => return Ok(Err(FailedAttempt::from(AttemptFailure::OriginalLost).into())),
        Err(error) => {
            let message = format!(
                "could not read the download of task {}: {error}",
                task.spec.key
            );
            let state = fetched.clone();
            let failure = AttemptFailure::NotKept { state, message };
            return Ok(Err(FailedAttempt::from(failure).into()));
        }
    };
    let source = RowSource::of(fetched);
    let reader = Reading::new(tenant, job, &task.spec, source);
    let spec = task.spec.clone();
    let read = run_blocking(move || {
        let normalized = reader.read(&original)?;
        refuse_strangers(&spec, normalized)
    })
    .await?;
    drop(permit);
    let findings = match &read {
        Ok(normalized) => &normalized.findings,
        Err(unread) => &unread.findings,
    };
    if let Some(why) = findings.left_to_calamine.clone() {
        tenant.events.emit(task, EventKind::ReadByCalamine { why });
    }
    let unread = match read {
        Ok(normalized) => return Ok(Ok(normalized)),
        Err(unread) => unread,
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

/// Why a workbook was not taken: for people, and what was found until then.
pub(super) struct Unread {
    pub(super) reason: String,
    pub(super) findings: Findings,
    pub(super) blame: Blame,
}

/// What a task's bytes are read with.
pub(super) struct Reading {
    limits: decode::WorkbookLimits,
    fallback: decode::Fallback,
    context: normalize::Context,
}

impl Reading {
    pub(super) fn new(tenant: &Tenant, job: &JobSpec, spec: &TaskSpec, source: RowSource) -> Self {
        Self {
            limits: tenant.workbook_limits.clone(),
            fallback: tenant.fallback.clone(),
            context: context_of(tenant, job, spec, source),
        }
    }

    /// Decodes and normalizes bytes.
    pub(super) fn read(&self, original: &[u8]) -> Result<Normalized, Box<Unread>> {
        crash_point!("w07-decoding");
        let contract = self.context.contract;
        let mut normalizer = Normalizer::new(&self.context);
        let (limits, fallback) = (&self.limits, &self.fallback);
        let read = decode::original(original, contract, limits, fallback, &mut normalizer);
        let summary = read.map_err(|error| {
            Box::new(Unread {
                // It may quote the names of sheets and columns.
                reason: harmless(&error.to_string()),
                findings: Findings::default(),
                blame: blame_for(&error),
            })
        })?;
        let left_to_calamine = summary.reader.left_to_calamine();
        match normalizer.finish() {
            Ok(mut normalized) => {
                normalized.findings.left_to_calamine = left_to_calamine;
                Ok(normalized)
            }
            Err(mut quarantine) => {
                quarantine.findings.left_to_calamine = left_to_calamine;
                Err(Box::new(Unread {
                    reason: quarantine.reason.to_string(),
                    findings: quarantine.findings,
                    blame: Blame::Data,
                }))
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
    work: impl FnOnce() -> Result<T, Box<Unread>> + Send + 'static,
) -> Result<Result<T, Box<Unread>>> {
    match tokio::task::spawn_blocking(work).await {
        Ok(read) => Ok(read),
        Err(error) if error.is_panic() => Ok(Err(Box::new(Unread {
            reason: "meetlake gave up in the middle of reading it, which is a mistake in it; \
                     the log says where. Please report it"
                .to_owned(),
            findings: Findings::default(),
            blame: Blame::Reader,
        }))),
        Err(error) => Err(error.into()),
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

fn query_window(start: i64, end: i64) -> Option<Window> {
    Window::new(
        Timestamp::from_second(start).ok()?,
        Timestamp::from_second(end).ok()?,
    )
}

/// What another export brought is as good as damaged: the next attempt fetches the file once more.
fn refuse_strangers(spec: &TaskSpec, normalized: Normalized) -> Result<Normalized, Box<Unread>> {
    match stranger::why_not_of_task(spec, &normalized.batch) {
        None => Ok(normalized),
        Some(reason) => Err(Box::new(Unread {
            reason,
            findings: normalized.findings,
            blame: Blame::Bytes,
        })),
    }
}

/// The rows of a task by the partition they fall into.
pub(super) fn split(
    tenant: &Tenant,
    spec: &TaskSpec,
    rows: &PassedRows,
) -> Result<BTreeMap<Date, PassedRows>> {
    let zone = &tenant.time_zone;
    let home = date_of(zone, spec.window.start());
    let contract = Contract::of(spec.dataset());
    Ok(rows.cut(|batch| publish::split_by_dt(batch, contract, zone, home))?)
}
