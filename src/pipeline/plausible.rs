//! Whether what Feishu gave is plausible: a day's meeting list against the daily report, a meeting's participants against its own count.
//!
//! Looks at the ledger only, so that `status` gets the same answer as a publish.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result};
use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::job::JobSpec;
use crate::ledger::{Ledger, Phase, TaskRow, WindowRow, WindowState};
use crate::window::{Window, bucket_date};

const DAY_S: i64 = 86_400;

/// What a daily report says of one day.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Reported {
    /// First instant of the bucket, Unix seconds.
    start: i64,
    meetings: u64,
}

/// Name under which the ledger keeps the count of a day. It outlives the report's task, so that a report that is being asked for again, or
/// refused, does not silence the comparison.
fn name_of(tenant: &str, date: Date) -> String {
    format!("reported:{tenant}:{date}")
}

/// Keeps the meetings that a daily report counted, by day.
pub(super) async fn remember_reported(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    report: &RecordBatch,
) -> Result<()> {
    let column = |name: &str| report.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let (Some(starts), Some(meetings)) = (column("date_unix"), column("meeting_count")) else {
        return Ok(());
    };
    for row in 0..report.num_rows() {
        if starts.is_null(row) || meetings.is_null(row) {
            continue;
        }
        let reported = Reported {
            start: starts.value(row),
            meetings: u64::try_from(meetings.value(row)).unwrap_or(0),
        };
        if let Some(date) = bucket_date(zone, reported.start) {
            let text = serde_json::to_string(&reported)?;
            ledger.set_meta(&name_of(tenant, date), &text).await?;
        }
    }
    Ok(())
}

/// Why the day `dt` of the job's dataset cannot be all there is; `None` if nothing speaks against it.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn implausible(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    job: &JobSpec,
    dt: Date,
) -> Result<Option<String>> {
    match job.dataset {
        Dataset::MeetingList => missing_meetings(ledger, tenant, zone, job, dt).await,
        Dataset::ParticipantList => {
            let Some(day) = Window::day(zone, dt) else {
                return Ok(None);
            };
            let mut tasks = Vec::new();
            for row in ledger.windows(tenant, job.dataset, Some(day)).await? {
                tasks.extend(ledger.tasks_of(tenant, job.dataset, row.window).await?);
            }
            missing_participants(ledger, tenant, zone, job, dt, &tasks).await
        }
        _ => Ok(None),
    }
}

/// Compares the day's list with the daily report of the same date.
///
/// Whether a report's day is UTC's or the tenant's is not documented, and a bucket that begins at a UTC midnight may be either. The list is
/// only called short if it is under every reading, and nothing is said while a window that a reading needs is not exported.
async fn missing_meetings(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    job: &JobSpec,
    dt: Date,
) -> Result<Option<String>> {
    let Some(text) = ledger.meta(&name_of(tenant, dt)).await? else {
        return Ok(None);
    };
    let reported: Reported =
        serde_json::from_str(&text).context("the ledger holds an unreadable daily count")?;
    let mut most = 0;
    for reading in readings(zone, dt, reported.start) {
        match listed(ledger, tenant, reading).await? {
            Some(meetings) => most = most.max(meetings),
            None => return Ok(None),
        }
    }
    let is_short = job.check.is_short(most, reported.meetings);
    Ok(is_short.then(|| {
        format!(
            "the daily report counted {} meetings, the list has {most}",
            reported.meetings
        )
    }))
}

/// The ranges that a report's day may mean.
fn readings(zone: &TimeZone, dt: Date, start: i64) -> HashSet<Window> {
    let at = |second| Timestamp::from_second(second).ok();
    let bucket = at(start)
        .zip(at(start.saturating_add(DAY_S)))
        .and_then(|(start, end)| Window::new(start, end));
    bucket.into_iter().chain(Window::day(zone, dt)).collect()
}

/// The different meetings that begin in `range`; `None` while a part of it is not exported.
async fn listed(ledger: &Ledger, tenant: &str, range: Window) -> Result<Option<u64>> {
    let dataset = Dataset::MeetingList;
    let mut reached = range.start();
    for row in ledger.windows(tenant, dataset, Some(range)).await? {
        if row.window.start() > reached || !is_exported(ledger, &row).await? {
            return Ok(None);
        }
        reached = reached.max(row.window.end());
    }
    if reached < range.end() {
        return Ok(None);
    }
    let parents = ledger.parents(tenant, dataset, range).await?;
    let meetings: HashSet<_> = parents
        .iter()
        .map(|parent| (&parent.meeting_no, parent.start, parent.end))
        .collect();
    Ok(Some(meetings.len() as u64))
}

/// Whether the rows of a window are known: those of the generation before stay until the next ones are there.
async fn is_exported(ledger: &Ledger, row: &WindowRow) -> Result<bool> {
    match row.state {
        WindowState::Settled => Ok(true),
        WindowState::Skipped | WindowState::Lost => Ok(false),
        _ if row.generation > 1 => Ok(true),
        WindowState::Due => Ok(false),
        WindowState::Planned | WindowState::Stuck => {
            let phases = ledger
                .phases_of(&row.tenant, row.dataset, row.window)
                .await?;
            let is_missing =
                |phase| matches!(phase, Phase::Open | Phase::Failed | Phase::Quarantined);
            Ok(!phases.iter().any(|(phase, _)| is_missing(*phase)))
        }
    }
}

/// Compares the participant sheets of the day's meetings with the meetings' own counts.
pub(super) async fn missing_participants(
    ledger: &Ledger,
    tenant: &str,
    zone: &TimeZone,
    job: &JobSpec,
    dt: Date,
    tasks: &[TaskRow],
) -> Result<Option<String>> {
    let Some(day) = Window::day(zone, dt) else {
        return Ok(None);
    };
    let parents = ledger.parents(tenant, Dataset::MeetingList, day).await?;
    let counts: HashMap<_, u64> = parents
        .iter()
        .filter_map(|meeting| {
            let count = u64::try_from(meeting.participant_count?).ok()?;
            Some((
                (meeting.meeting_no.as_str(), meeting.start, meeting.end),
                count,
            ))
        })
        .collect();
    let (mut sheets, mut short) = (0_u64, 0_u64);
    let mut worst: Option<(u64, u64)> = None;
    for task in tasks {
        let lineage = &task.spec.lineage;
        let key = lineage
            .meeting_no
            .as_deref()
            .zip(lineage.meeting_start_time);
        let is_known = matches!(task.phase, Phase::Published | Phase::Spooled);
        let (Some((number, start)), Some(rows), true) = (key, task.rows, is_known) else {
            continue;
        };
        let Some(&counted) = counts.get(&(number, start, lineage.meeting_end_time)) else {
            continue;
        };
        sheets += 1;
        if job.check.is_short(rows, counted) {
            short += 1;
            let missing = |(rows, counted): (u64, u64)| counted - rows;
            if worst.is_none_or(|worst| missing((rows, counted)) > missing(worst)) {
                worst = Some((rows, counted));
            }
        }
    }
    Ok(worst.map(|(rows, counted)| {
        format!(
            "{short} of {sheets} meetings have fewer participants than they counted, at worst {rows} of {counted}"
        )
    }))
}
