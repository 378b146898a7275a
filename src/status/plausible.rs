//! Whether a day is plausible, as far as the ledger says. The comparison itself is
//! [`crate::plan::plausible`]; this gathers what is compared.
//!
//! It looks at the ledger only, so that `status` gets the same answer as a publish.

use std::collections::HashMap;

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::datasets::{Dataset, Plausibility};
use crate::job::JobSpec;
use crate::ledger::Ledger;
use crate::plan::due::due_at;
use crate::plan::partition::{DayFacts, not_over, parent_partial, reasons, windows_asked_for};
use crate::plan::plausible::{self, ListedWindow};
use crate::record::{Reason, WindowRow, WindowState};
use crate::window::Window;

/// Why the day `dt` of the job's dataset cannot be all there is; `None` if nothing speaks against
/// it. `zone` is the tenant's.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn implausible(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    job: &JobSpec,
    dt: Date,
) -> Result<Option<Reason>> {
    match job.dataset.definition().plausibility {
        Plausibility::None => Ok(None),
        Plausibility::Reported { .. } => missing_meetings(ledger, tenant, zone, job, dt).await,
        Plausibility::OfParent { .. } => missing_participants(ledger, tenant, zone, job, dt).await,
    }
}

/// What speaks against the day `dt` of the job's dataset elsewhere at `now`: counts, the day of its
/// parent, and events that may still come.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn against(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    job: &JobSpec,
    dt: Date,
    now: Timestamp,
) -> Result<Vec<Reason>> {
    let day = Window::day(zone, dt);
    if let Some(not_over) = day.and_then(|day| not_over(job.dataset, due_at(job, &day), now)) {
        // What else there is to say is said when it is.
        return Ok(vec![not_over]);
    }
    let counts = implausible(ledger, tenant, zone, job, dt).await?;
    let parent = match job.dataset.parent() {
        Some(parent) => {
            let day = ledger.partition(tenant, parent, dt).await?;
            parent_partial(parent, day.as_ref())
        }
        None => None,
    };
    Ok(counts.into_iter().chain(parent).collect())
}

/// What keeps a day that is in the lake from being complete at `now`, as far as the ledger says.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn reasons_now(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    job: &JobSpec,
    dt: Date,
    now: Timestamp,
) -> Result<Vec<Reason>> {
    let windows = match Window::day(zone, dt) {
        Some(day) => ledger.windows(tenant, job.dataset, Some(day)).await?,
        None => Vec::new(),
    };
    let windows = windows_asked_for(windows);
    let mut tasks = Vec::new();
    for row in &windows {
        tasks.extend(ledger.tasks_of(tenant, job.dataset, row.window).await?);
    }
    let against = against(ledger, tenant, zone, job, dt, now).await?;
    Ok(reasons(&DayFacts {
        dt,
        time_zone: zone,
        published: None,
        windows: &windows,
        tasks: &tasks,
        round: &[],
        listed: &[],
        withdrawn: &HashMap::new(),
        against: &against,
    }))
}

/// Compares the day's list with the daily report of the same date.
async fn missing_meetings(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    job: &JobSpec,
    dt: Date,
) -> Result<Option<Reason>> {
    let Some(reported) = ledger.reported_day(tenant, dt).await? else {
        return Ok(None);
    };
    let mut listed = Vec::new();
    for reading in plausible::readings(zone, dt, &reported) {
        listed.push(listed_meetings(ledger, tenant, zone, job.dataset, reading).await?);
    }
    Ok(plausible::missing_meetings(&job.check, &reported, listed))
}

/// The different meetings that begin in `range`; `None` while a part of it is not exported.
async fn listed_meetings(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    dataset: Dataset,
    range: Window,
) -> Result<Option<u64>> {
    let rows = ledger.windows(tenant, dataset, Some(range)).await?;
    // All others are known by their state.
    let is_asked_again = |row: &WindowRow| row.generation > 1 && row.state != WindowState::Settled;
    let mut withdrawn = Vec::new();
    if rows.iter().any(is_asked_again) {
        withdrawn = ledger.withdrawn_inputs(tenant).await?;
        withdrawn.retain(|(of, ..)| *of == dataset);
    }
    let mut windows = Vec::new();
    for row in rows {
        let dates = row.window.dates(zone);
        windows.push(ListedWindow {
            tasks: ledger.phases_of(tenant, dataset, row.window).await?,
            is_of_withdrawn: withdrawn.iter().any(|(_, dt, ..)| dates.contains(dt)),
            row,
        });
    }
    let meetings = ledger.parents(tenant, dataset, range).await?;
    Ok(plausible::listed_meetings(range, &windows, &meetings))
}

/// Compares the participant sheets of the day's meetings with the meetings' own counts.
async fn missing_participants(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    job: &JobSpec,
    dt: Date,
) -> Result<Option<Reason>> {
    let (Some(day), Some(parent)) = (Window::day(zone, dt), job.dataset.parent()) else {
        return Ok(None);
    };
    let mut tasks = Vec::new();
    let windows = ledger.windows(tenant, job.dataset, Some(day)).await?;
    for row in windows_asked_for(windows) {
        tasks.extend(ledger.tasks_of(tenant, job.dataset, row.window).await?);
    }
    let meetings = ledger.parents(tenant, parent, day).await?;
    Ok(plausible::missing_participants(
        &job.check, &meetings, &tasks,
    ))
}
