//! The steps of a task and of a partition. Nothing else names all stages, so this is the flow.
//!
//! ```text
//! run_task:         fetch ─► decode ─► normalize ─► policy ─► spool ─► ledger
//! publish_windows:  pack ─► stage ─► intent ─► object ─► manifest ─► ledger
//! ```
//! Between the two chains, rows wait in the spool beside the ledger. Each chain may stop at any
//! arrow: what was recorded is not done again, and what was not is done again with the same result.

mod commit;
mod compared;
mod ending;
mod failing;
mod lake_check;
mod originals;
mod parents;
mod partition;
mod reading;
mod remake;
mod replay;
mod replay_into;
mod resolution;
mod restore;
mod rows;
mod stranger;
mod tenant;
mod tenant_memory;
mod tenant_record;

pub use failing::{storage_failure, with_disk};
pub use lake_check::LakeCheck;
pub use originals::bring_back;
pub(crate) use originals::rows_without_key;
pub use partition::waits_for_all;
pub use remake::{Remade, Remaking};
pub use replay::{Replayed, replay_partition};
pub use replay_into::{copy_quarantine, replay_into};
pub(crate) use restore::{RereadRows, reread};
pub(crate) use rows::OriginalFacts;
pub use tenant::Tenant;
pub use tenant_memory::{
    last_call_failure, list_rooms, remember_pace_and_calls, restore_calls, restore_pace,
};
pub use tenant_record::{LakeTakenOver, ask_differently, bring_plans_under, remember, remembered};

use std::panic::AssertUnwindSafe;

use anyhow::Result;
use futures::FutureExt as _;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::cause::Failure;
use crate::events::EventKind;
use crate::fetch;
use crate::job::JobSpec;
use crate::record::{SpooledResult, TaskRow, keys_of};
use crate::task::Urgency;
use crate::window::Window;

/// How one attempt at a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEnd {
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
    /// Its workbook broke the contract, or could not be read several times in a row.
    Quarantined {
        /// How.
        failure: Failure,
    },
    /// Its attempts are used up, or more would not help.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Somebody asked to stop while it waited; it goes on from where it stands.
    Stopped,
    /// Something that concerns more than this task.
    Refused {
        /// What.
        failure: Failure,
    },
}

/// A partition that was written, or found to be as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedDay {
    /// Which day.
    pub dt: Date,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub size_bytes: u64,
    /// Whether nothing is missing of the day, and nothing speaks against it.
    pub complete: bool,
    /// Whether the content was the same as before, so that nothing was written.
    pub unchanged: bool,
}

// --- one task -----------------------------------------------------------------------------------

/// Takes a task from wherever it was left to rows in the spool. A panic on the way is a mistake of
/// ours that costs this attempt, and not the tasks beside it.
///
/// # Errors
/// When this machine is at fault. What Feishu or the data did wrong is recorded and returned as a
/// [`TaskEnd`].
pub async fn run_task(
    tenant: &Tenant,
    job: &JobSpec,
    task: &TaskRow,
    urgency: Urgency,
) -> Result<TaskEnd> {
    // What the attempt had in memory is dropped; what it recorded is read again.
    let attempt = async {
        match attempt(tenant, job, task, urgency).await? {
            Attempt::Spooled(end) => Ok(end),
            Attempt::Stopped => Ok(ending::stopped(tenant, task)),
            Attempt::Failed(failed) => ending::act(tenant, task, *failed).await,
        }
    };
    match AssertUnwindSafe(Box::pin(attempt)).catch_unwind().await {
        Ok(ended) => ended,
        Err(_) => ending::panicked(tenant, task).await,
    }
}

/// How far one attempt came.
enum Attempt {
    Spooled(TaskEnd),
    Failed(Box<ending::FailedAttempt>),
    Stopped,
}

/// Whether the job asks the other source too, and compares.
fn is_compared(job: &JobSpec, task: &TaskRow) -> bool {
    job.options.is_compared && task.spec.request.source().is_export()
}

/// fetch ─► decode ─► normalize ─► policy ─► spool ─► ledger
async fn attempt(
    tenant: &Tenant,
    job: &JobSpec,
    task: &TaskRow,
    urgency: Urgency,
) -> Result<Attempt> {
    let fetched = match tenant
        .fetcher
        .urgent(urgency)
        .fetch(task, job.deadline)
        .await
    {
        Ok(fetched) => fetched,
        Err(fetch::Error::Stopped) => return Ok(Attempt::Stopped),
        Err(error) => return Ok(Attempt::Failed(ending::not_fetched(task, error)?.into())),
    };
    crash_point!("w07-fetched");
    let witness = match is_compared(job, task) {
        true => Some(tenant.fetcher.urgent(urgency).witness(task).await),
        false => None,
    };
    let Ok(witness) = witness.transpose() else {
        return Ok(Attempt::Stopped);
    };
    let read = match reading::read(tenant, job, task, &fetched, witness).await? {
        Ok(read) => read,
        Err(failed) => return Ok(Attempt::Failed(failed)),
    };
    crash_point!("w08-rows-kept");
    let findings = read.findings;
    for column in &findings.blank_columns {
        let column = column.clone();
        tenant.events.emit(task, EventKind::BlankColumn { column });
    }
    let (rows, rejects) = (findings.rows_out, findings.cells_rejected);
    let result = SpooledResult {
        dts: read.dts,
        findings,
        parents: read.parents,
        reported: read.reported,
    };
    let now = tenant.clock.now();
    tenant.ledger.spool(task, &fetched, result, now).await?;
    crash_point!("w08-rows-recorded");
    let spooled = EventKind::TaskSpooled { rows, rejects };
    tenant.events.emit(task, spooled);
    Ok(Attempt::Spooled(TaskEnd::Spooled { rows, rejects }))
}

// --- one round of partitions --------------------------------------------------------------------

/// Puts the spooled rows of `windows` into the lake: packs their originals, then replaces each
/// partition they touch.
///
/// # Errors
/// When the lake or the ledger refuses; what was published by then is recorded, the rest waits in
/// the spool.
pub async fn publish_windows(
    tenant: &Tenant,
    job: &JobSpec,
    windows: &[Window],
) -> Result<Vec<PublishedDay>> {
    publish_round(tenant, job, windows)
        .await
        .map_err(|error| with_disk(error, tenant.ledger.path()))
}

async fn publish_round(
    tenant: &Tenant,
    job: &JobSpec,
    windows: &[Window],
) -> Result<Vec<PublishedDay>> {
    let mut ready = Vec::new();
    for window in windows {
        if !waits_for_all(tenant, job.dataset, *window).await? {
            ready.push(*window);
        }
    }
    let mut round = tenant
        .ledger
        .spooled(&tenant.name, Some(job.dataset))
        .await?;
    round.retain(|task| ready.contains(&task.job_window));
    tenant_record::check_owner(tenant).await?;
    if let Err(error) = originals::pack(tenant, &mut round).await {
        originals::export_lost_again(tenant, &round, error).await?;
        return Ok(Vec::new());
    }
    resolution::count(tenant, job.dataset, windows).await?;
    let mut done = Vec::new();
    let days = partition::days_of_round(tenant, job.dataset, windows, &round).await?;
    if !days.is_empty() {
        tenant_record::put(tenant, job, async || tenant_record::first_day(tenant).await).await?;
    }
    for dt in days {
        match partition::publish_day(tenant, job, dt, &round).await {
            Ok(Some(published)) => {
                partition::tell(tenant, job.dataset, &published);
                done.push(published);
            }
            Ok(None) => {}
            Err(error) => {
                originals::export_lost_again(tenant, &round, error).await?;
                return Ok(done);
            }
        }
    }
    compared::record(tenant, job.dataset, windows).await?;
    let now = tenant.clock.now();
    let keys = keys_of(&round);
    tenant.ledger.tasks_published(&keys, now).await?;
    crash_point!("w11-tasks-recorded");
    for task in &round {
        originals::quarantine_rows(tenant, task).await?;
        originals::forget(tenant, task);
    }
    Ok(done)
}
