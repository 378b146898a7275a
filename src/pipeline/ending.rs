//! Acts on the disposition of a failed attempt: puts the task off, fails it, holds it, or takes its
//! workbook into quarantine.

use anyhow::Result;

use super::{TaskEnd, Tenant};
use crate::cause::{Cause, Failure};
use crate::events::{EventKind, Subject};
use crate::fetch;
use crate::findings::Findings;
use crate::record::{Phase, TaskRow};
use crate::task::disposition::{self, AttemptFailure, Attempts, Disposition, NextStep};
use crate::task::machine::State;
use crate::window::next_month;

/// An attempt that failed, with what is known beside the failure.
pub(super) struct FailedAttempt {
    pub(super) failure: AttemptFailure,
    /// What normalizing found before it gave up.
    pub(super) findings: Findings,
    /// Feishu's id of the call that failed.
    pub(super) log_id: Option<String>,
}

impl From<AttemptFailure> for FailedAttempt {
    fn from(failure: AttemptFailure) -> Self {
        Self {
            failure,
            findings: Findings::default(),
            log_id: None,
        }
    }
}

/// What an attempt that brought no bytes is to the disposition.
///
/// # Errors
/// When this machine is at fault.
pub(super) fn not_fetched(task: &TaskRow, error: fetch::Error) -> Result<FailedAttempt> {
    match error {
        fetch::Error::GaveUp {
            state,
            gave_up,
            call,
            log_id,
            message,
        } => {
            let state = *state;
            let failure = AttemptFailure::NotFetched {
                state,
                gave_up,
                call,
                message,
            };
            Ok(FailedAttempt {
                log_id,
                ..failure.into()
            })
        }
        fetch::Error::Spool(error) => {
            let key = &task.spec.key;
            let message = format!("could not keep the download of task {key}: {error}");
            let state = task.machine.clone();
            Ok(AttemptFailure::NotKept { state, message }.into())
        }
        fetch::Error::Ledger(error) => Err(error.into()),
        fetch::Error::Illegal(error) => Err(error.into()),
        error @ fetch::Error::Stopped => Err(error.into()),
    }
}

/// Records a task that was asked to stop.
pub(super) fn stopped(tenant: &Tenant, task: &TaskRow) -> TaskEnd {
    tenant.events.emit(task, EventKind::TaskStopped);
    TaskEnd::Stopped
}

/// Gives up an attempt that panicked; the next one goes on from what was recorded.
pub(super) async fn panicked(tenant: &Tenant, task: &TaskRow) -> Result<TaskEnd> {
    let spec = &task.spec;
    let tasks = tenant
        .ledger
        .tasks_of(&spec.tenant, spec.dataset(), task.job_window)
        .await?;
    let state = tasks
        .into_iter()
        .find(|known| known.spec.key == spec.key)
        .map_or_else(|| task.machine.clone(), |known| known.machine);
    act(tenant, task, AttemptFailure::Panicked { state }.into()).await
}

/// Decides what becomes of a failed attempt, and records it.
pub(super) async fn act(tenant: &Tenant, task: &TaskRow, failed: FailedAttempt) -> Result<TaskEnd> {
    let attempts = Attempts {
        given_up: task.attempts,
        damage: task.damage.as_ref(),
        day_ends: task
            .spec
            .dataset()
            .is_snapshot()
            .then(|| task.spec.window.end()),
        now: tenant.clock.now(),
    };
    let Disposition {
        next,
        state,
        failure,
    } = disposition::of_failure(failed.failure, attempts);
    let (ledger, now) = (&tenant.ledger, attempts.now);
    let subject = Subject {
        log_id: failed.log_id,
        ..task.into()
    };
    match next {
        NextStep::Later { run_at, damage } => {
            let deferred = ledger.defer(task, &state, run_at, &failure, damage.as_ref(), now);
            deferred.await?;
            let attempt = task.attempts + 1;
            let deferred = EventKind::TaskDeferred {
                attempt,
                run_at,
                failure,
            };
            tenant.events.emit(subject, deferred);
            Ok(TaskEnd::Deferred { run_at })
        }
        NextStep::Fail => {
            let attempts = task.attempts + 1;
            let told = EventKind::TaskFailed {
                attempts,
                failure: failure.clone(),
            };
            tenant.events.emit(subject, told);
            ledger
                .end(task, Phase::Failed, &state, &failure, now)
                .await?;
            Ok(TaskEnd::Failed { failure })
        }
        NextStep::Hold => hold(tenant, task, &state, subject, failure).await,
        NextStep::Quarantine => quarantine(tenant, task, &state, failure, &failed.findings).await,
    }
}

/// Keeps a task for the next run, which may begin with it at once.
async fn hold(
    tenant: &Tenant,
    task: &TaskRow,
    state: &State,
    subject: Subject,
    mut failure: Failure,
) -> Result<TaskEnd> {
    let now = tenant.clock.now();
    if failure.cause == Cause::QuotaExhausted {
        let renews = next_month(&tenant.time_zone, now);
        failure.message = format!("{} (the quota renews on {renews})", failure.message);
    }
    tenant
        .ledger
        .defer(task, state, now, &failure, None, now)
        .await?;
    let told = EventKind::TaskHeld {
        failure: failure.clone(),
    };
    tenant.events.emit(subject, told);
    Ok(TaskEnd::Refused { failure })
}

/// Keeps a workbook that broke its contract, with the reason, and leaves the partition as it was.
async fn quarantine(
    tenant: &Tenant,
    task: &TaskRow,
    fetched: &State,
    failure: Failure,
    findings: &Findings,
) -> Result<TaskEnd> {
    let spec = &task.spec;
    let reason = failure.message;
    let message = format!(
        "the {} of {} {} was quarantined: {reason}",
        spec.request.source().original(),
        spec.dataset(),
        spec.window,
    );
    if let Err(error) = put_aside(tenant, task, fetched, &reason, findings).await? {
        let message = format!("{message}; it could not be put into the lake: {error}");
        let failure = Failure::new(Cause::Storage, message);
        return hold(tenant, task, fetched, task.into(), failure).await;
    }
    let failure = Failure::new(Cause::Data, message);
    let told = EventKind::TaskQuarantined {
        failure: failure.clone(),
    };
    tenant.events.emit(task, told);
    let now = tenant.clock.now();
    tenant
        .ledger
        .end(task, Phase::Quarantined, fetched, &failure, now)
        .await?;
    Ok(TaskEnd::Quarantined { failure })
}

/// Puts a task's workbook into quarantine, with positions and reasons, never values. The inner
/// error is the lake's.
pub(super) async fn put_aside(
    tenant: &Tenant,
    task: &TaskRow,
    fetched: &State,
    reason: &str,
    findings: &Findings,
) -> Result<Result<(), crate::publish::Error>> {
    let Some(sha256) = fetched.sha256() else {
        anyhow::bail!("only fetched bytes can be quarantined")
    };
    let Some(original) = tenant.spool.read_original(sha256)? else {
        return Ok(Ok(()));
    };
    let spec = &task.spec;
    let record = serde_json::json!({
        "task_key": spec.key,
        "dataset": spec.dataset(),
        "window_start": spec.window.start(),
        "window_end": spec.window.end(),
        "export_id": task.machine.export_id(),
        "reason": reason,
        "findings": findings,
    });
    let (publisher, dataset) = (&tenant.publisher, spec.dataset());
    Ok(publisher
        .quarantine(dataset, &tenant.name, original, &record)
        .await)
}
