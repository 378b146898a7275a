//! Published state for an empty ledger, from what the lake says of itself: the ledger is
//! expendable.
//!
//! ```text
//! reading   newest manifests ─► inputs ─► tasks ─► originals read again: findings, parent rows
//! specs     what was asked for where no pack says so; tasks under another key of the lake
//! windows   tasks, complete days ─► windows; what is partial is opened again
//! children  windows of children that do not fit their parents are opened again
//! schedules windows ─► where each schedule stands
//! ```
//! A manifest names every task of its partition, so those that brought their answer are published,
//! and those that did not are open again. What children need of their parents is read from the
//! archived originals, as it was on the day they came, so that no child is exported again whose
//! parent did not change. Nothing is written to the lake, and Feishu is not asked for anything.
//! What was exported and never published is not known here; it is exported again.
//!
//! Only `reading` does I/O. The rest is pure.

mod children;
mod found;
mod reading;
mod report;
mod schedules;
mod specs;
mod windows;

use std::sync::Arc;

use anyhow::Result;

use crate::job::JobSpec;
use crate::ledger::Restored;
use crate::pipeline::Tenant;
use found::Setting;
pub use report::RebuildReport;

/// Reads the lake and says what an empty ledger should hold.
///
/// # Errors
/// When the lake cannot be read; a damaged part of it is a `report::RebuildProblem`.
pub async fn from_lake(
    tenants: &[Arc<Tenant>],
    jobs: &[JobSpec],
) -> Result<(Restored, RebuildReport)> {
    let setting = Setting::new(tenants, jobs);
    let found = reading::read(tenants, &setting).await?;
    let mut windows = windows::form(&setting, &found);
    windows::open_what_is_partial(&setting, &found.partitions, &mut windows);
    children::look_at(&setting, &found.tasks, &mut windows);
    windows::compare(&found.tasks, &mut windows);
    let schedules = schedules::of(&setting, &found, &windows)?;
    Ok(report::finish(found, windows, schedules))
}
