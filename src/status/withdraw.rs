//! Which windows may be taken back: no schedule asks for them, and nothing of them is in the lake.
//!
//! `backfill --withdraw` takes them back, and a day's page says that it may be typed.

use anyhow::Result;
use jiff::tz::TimeZone;

use super::job_record::JobRecord;
use crate::job::JobSpec;
use crate::ledger::Ledger;
use crate::plan::due::first_scheduled;
use crate::record::WindowRow;
use crate::window::Window;

/// The windows of a job within `range`, and whether each may be taken back as far as the schedule
/// and the lake say: the schedule would never ask for its own again. The tenant comes with the zone
/// in which its days are cut.
///
/// # Errors
/// When the ledger cannot be read, or the job's schedule.
pub async fn withdrawable(
    ledger: &Ledger,
    (tenant, zone): (&str, &TimeZone),
    job: &JobSpec,
    range: Window,
) -> Result<Vec<(WindowRow, bool)>> {
    let record = JobRecord::read(Some(ledger), tenant, job).await?;
    let scheduled = first_scheduled(job, &record.schedule, record.state, &record.windows);
    let mut rows = Vec::new();
    for row in record
        .windows
        .iter()
        .filter(|row| range.covers(&row.window))
    {
        let mut is_free = scheduled.is_none_or(|first| row.window.end() <= first);
        for dt in row.window.dates(zone) {
            let day = ledger.partition(tenant, job.dataset, dt).await?;
            is_free &= day.is_none_or(|day| day.revision == 0);
        }
        rows.push((row.clone(), is_free));
    }
    Ok(rows)
}

/// Whether a window of a dataset that is made from this one's rows stands beside it: it is taken
/// back first.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn has_children(ledger: &Ledger, parent: &WindowRow) -> Result<bool> {
    for child in parent.dataset.children() {
        let windows = ledger.windows(&parent.tenant, child, Some(parent.window));
        if windows.await?.iter().any(|row| row.window == parent.window) {
            return Ok(true);
        }
    }
    Ok(false)
}
