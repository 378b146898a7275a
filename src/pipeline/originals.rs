//! The originals of a round: archived before any row of theirs is visible, put aside if rows lack a
//! key, forgotten once the lake has them, and brought back from quarantine.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::civil::Date;

use super::{Tenant, ending};
use crate::cause::{Cause, Failure};
use crate::events::{EventKind, Subject};
use crate::publish;
use crate::record::{ArchivedTask, Phase, TaskRow};
use crate::task::TaskKey;
use crate::task::machine::State;
use crate::window::date_of;

/// Archives the originals of a round, which are of one dataset, before any row of theirs is visible.
/// Each goes into a pack of the day in which its window begins.
pub(super) async fn pack(tenant: &Tenant, round: &mut [TaskRow]) -> Result<()> {
    let Some(dataset) = round.first().map(|task| task.spec.dataset()) else {
        return Ok(());
    };
    let mut by_day: BTreeMap<Date, Vec<ArchivedTask>> = BTreeMap::new();
    for task in round.iter().filter(|task| task.pack.is_none()) {
        let day = date_of(&tenant.time_zone, task.spec.window.start());
        if let Some(archived) = ArchivedTask::of(task) {
            by_day.entry(day).or_default().push(archived);
        }
    }
    if by_day.is_empty() {
        return Ok(());
    }
    let packs = tenant.publisher.pack(&tenant.name, dataset, by_day).await?;
    crash_point!("w08-pack-put");
    let mut recorded = Vec::new();
    for task in round.iter_mut().filter(|task| task.pack.is_none()) {
        task.pack = packs.get(&task.spec.key).cloned();
        recorded.extend(task.pack.clone().map(|pack| (task.spec.key.clone(), pack)));
    }
    tenant.ledger.set_packs(&recorded).await?;
    Ok(())
}

/// A spool that lost something costs its tasks an export more, and nothing else. Any other error is
/// given back.
pub(super) async fn export_lost_again(
    tenant: &Tenant,
    round: &[TaskRow],
    error: anyhow::Error,
) -> Result<()> {
    let lost: Vec<TaskKey> = match error.downcast_ref::<publish::Error>() {
        Some(publish::Error::RowsLost(keys)) => keys.clone(),
        Some(publish::Error::OriginalsLost(hashes)) => {
            let is_lost = |task: &&TaskRow| {
                let sha256 = task.sha256();
                let findings = task.findings.as_ref();
                let witness = findings.and_then(|findings| findings.witness.as_deref());
                let mut own = sha256.into_iter().chain(witness);
                own.any(|sha256| hashes.iter().any(|hash| hash == sha256))
            };
            let lost = round.iter().filter(is_lost);
            lost.map(|task| task.spec.key.clone()).collect()
        }
        _ => return Err(error),
    };
    let problem = format!("{error:#}");
    let tasks = lost.len() as u64;
    let told = EventKind::SpoolLost { tasks, problem };
    tenant.events.emit(Subject::default(), told);
    let now = tenant.clock.now();
    tenant.ledger.export_again(&lost, now).await?;
    Ok(())
}

/// Keeps the workbook whose rows lack a key, and marks its task.
pub(super) async fn quarantine_rows(tenant: &Tenant, task: &TaskRow) -> Result<()> {
    let (State::Fetched { .. }, Some(findings)) = (&task.machine, &task.findings) else {
        return Ok(());
    };
    if Phase::once_published(findings) != Phase::Quarantined {
        return Ok(());
    }
    let failure = rows_without_key(findings.rows_quarantined);
    let reason = &failure.message;
    ending::put_aside(tenant, task, &task.machine, reason, findings).await??;
    let now = tenant.clock.now();
    let ended = tenant
        .ledger
        .end(task, Phase::Quarantined, &task.machine, &failure, now);
    ended.await?;
    Ok(())
}

/// What is said of a task of which some rows lack a key.
pub(crate) fn rows_without_key(rows: u64) -> Failure {
    let message = format!("{rows} rows have no value in a key column; the others are published");
    Failure::new(Cause::Data, message)
}

/// Removes what the lake now has; what cannot be removed is cleaned at the next start. Sheets
/// without rows, reports and listings stay until then, because several tasks can have the same
/// bytes.
pub(super) fn forget(tenant: &Tenant, task: &TaskRow) {
    let rows = tenant.spool.remove(&task.spec.key, task.generation);
    let is_unique =
        task.rows.is_some_and(|rows| rows > 0) && task.spec.request.source().is_export();
    let original = task
        .sha256()
        .filter(|_| is_unique)
        .map_or(Ok(()), |sha256| tenant.spool.remove_original(sha256));
    if let Err(error) = rows.and(original) {
        let problem = error.to_string();
        let told = EventKind::SpoolNotCleaned { problem };
        tenant.events.emit(task, told);
    }
}

/// Gets the bytes of a quarantined task back into the spool, and says from where the task goes on:
/// from its bytes if they are still what their name says, else from the start.
///
/// # Errors
/// When the lake or the spool refuses.
pub async fn bring_back(tenant: &Tenant, task: &TaskRow) -> Result<State> {
    let Some(sha256) = task.sha256() else {
        return Ok(State::Planned);
    };
    let publisher = &tenant.publisher;
    let most_bytes = tenant.workbook_limits.container_bytes;
    let found = publisher
        .quarantined(task.spec.dataset(), &tenant.name, sha256, most_bytes)
        .await?;
    Ok(match found {
        Some(original) => {
            tenant.spool.put_original(&original)?;
            task.machine.clone()
        }
        None => State::Planned,
    })
}
