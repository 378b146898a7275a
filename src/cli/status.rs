//! `meetlake status`: which days are in the lake, what is under way, what needs attention.

use std::collections::HashMap;

use anyhow::Result;
use clap::Args as ClapArgs;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::validate::{names_of, why_off};
use super::{Common, identify, open};
use crate::config::Config;
use crate::datasets::Dataset;
use crate::exit::Code;
use crate::ledger::{Attention, DatasetStatus, PartitionStatus, RunRecord};
use crate::record::{
    Coverage, EventTypeRecord, MissingEnds, PartitionRow, Phase, Unfinished, WindowRow,
};
use crate::status::DayStatus;
use crate::status::overview::{DatasetOverview, LakeOverview, Overview, OverviewDetails};
use crate::status::text::{
    CauseList, bytes, compared, instant, last_try, left_out, number, outcomes, span, table,
};

/// Arguments of `meetlake status`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Print JSON: everything, day by day.
    #[arg(long)]
    pub json: bool,
}

/// Most late days, and most tasks that need attention, that a person is shown.
const SHOWN: usize = 10;

/// Prints the state of the lake as the ledger knows it; may run beside anything else.
/// [`Code::NotSettled`] if a day is late.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    let Some(config) = super::load(common, args.json)? else {
        return Ok(Code::Usage);
    };
    let Some(ledger) = identify::ledger_of_days(&config).await? else {
        match identify::find(&open::lake(&config)?).await {
            Err(error) if !identify::may_pass(&error) => return Err(error),
            _ => {}
        }
        if args.json {
            println!("{}", json!({ "ledger": null }));
        } else {
            println!(
                "There is no ledger at {} yet: nothing was ever run.",
                config.ledger_path.display()
            );
        }
        return Ok(Code::Done);
    };
    let tenants = config.tenants.values();
    let tenants: Vec<(&str, &TimeZone)> = tenants
        .map(|tenant| (tenant.name.as_str(), &tenant.time_zone))
        .collect();
    let now = Timestamp::now();
    let overview = Overview::read(&ledger, &tenants, &config.jobs, now).await?;
    if args.json {
        let details = OverviewDetails::read(&ledger, &overview).await?;
        let mut report = as_json(&overview, &details);
        report["jobs_off"] = names_of(&config.jobs_off).into();
        println!("{report}");
    } else {
        show(&config, &overview, now);
    }
    Ok(match overview.lake.late_days().next() {
        Some(_) => Code::NotSettled,
        None => Code::Done,
    })
}

// --- for people ---------------------------------------------------------------------------------

fn show(config: &Config, overview: &Overview, now: Timestamp) {
    let days = overview.lake.days_by_dataset();
    for tenant in config.tenants.keys() {
        let of_tenant = |of: &&DatasetOverview| of.tenant == *tenant;
        let datasets: Vec<_> = overview.datasets.iter().filter(of_tenant).collect();
        show_tenant(tenant, &datasets, &overview.lake, &days);
        show_events(tenant, &overview.event_types);
        let missing = overview.missing_ends.iter();
        for (_, ends) in missing.filter(|(of, _)| of == tenant) {
            println!("{ends}.\n");
        }
        let unfinished = overview.unfinished.iter();
        for rows in unfinished.filter(|rows| rows.tenant == *tenant) {
            println!("{rows}.\n");
        }
    }
    let off = why_off(&config.jobs_off);
    off.iter().for_each(|line| println!("{line}"));
    if !off.is_empty() {
        println!();
    }
    show_late(config, &overview.lake, now);
    let is_late = overview.lake.late_days().next().is_some();
    show_attention(config, &overview.attention, is_late, now);
    if let Some(run) = overview.runs.first() {
        show_last_run(run);
    }
}

fn show_tenant(
    tenant: &str,
    datasets: &[&DatasetOverview],
    lake: &LakeOverview,
    days: &HashMap<(&str, Dataset), Vec<&DayStatus>>,
) {
    println!("{tenant}");
    let mut rows = Vec::new();
    let mut bounds = Vec::new();
    for of in datasets {
        let published = lake.published_of(tenant, of.dataset);
        if of.windows.is_empty() && published.is_none() {
            continue;
        }
        let days_of = days
            .get(&(tenant, of.dataset))
            .map_or(&[][..], Vec::as_slice);
        let coverage = Coverage::sum(&of.windows).unwrap_or_default();
        if coverage.is_worth_telling() {
            bounds.push(format!("{}: {}", of.dataset, left_out(&coverage)));
        }
        if let Some(found) = &coverage.compared {
            bounds.push(format!("{}: {}", of.dataset, compared(found)));
        }
        rows.push(vec![
            of.dataset.to_string(),
            outcomes(days_of.iter().copied()),
            number(of.open_tasks),
            published.map_or("0".into(), |row| number(row.rows)),
            published.map_or("0 B".into(), |row| bytes(row.size_bytes)),
            published.map_or(String::new(), range),
        ]);
    }
    if rows.is_empty() {
        println!("  nothing yet\n");
    } else {
        let header = [
            "dataset",
            "days",
            "open tasks",
            "rows",
            "size",
            "days in the lake",
        ];
        println!("{}\n", table(&header, rows));
    }
    for line in bounds {
        println!("{line}\n");
    }
}

/// When events of each type came. A type that was subscribed to and is not here never came.
pub(super) fn show_events(tenant: &str, event_types: &[EventTypeRecord]) {
    let of_tenant = event_types.iter().filter(|of| of.tenant == tenant);
    let rows: Vec<Vec<String>> = of_tenant
        .map(|of| {
            vec![
                of.event_type.clone(),
                of.last_received_at.strftime("%F %H:%M:%S UTC").to_string(),
                number(of.kept),
                number(of.repeated),
                number(of.left_out),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let header = [
            "events of type",
            "last received",
            "kept",
            "came again",
            "left out",
        ];
        println!("{}\n", table(&header, rows));
    }
}

fn range(row: &PartitionStatus) -> String {
    format!("{} to {} ({})", row.first_dt, row.last_dt, row.partitions)
}

/// Names the days that should be in the lake, whole, and are not.
fn show_late(config: &Config, lake: &LakeOverview, now: Timestamp) {
    let late = lake.late_days();
    let mut causes = CauseList::default();
    for (index, (day, late_s)) in late.clone().take(SHOWN).enumerate() {
        if index == 0 {
            println!("Late:");
        }
        let zone = zone_of(config, &day.tenant);
        println!(
            "  {} {} {}: {}, {} late (expected by {})",
            day.tenant,
            day.dataset,
            day.dt,
            day.outcome.as_str(),
            span(late_s),
            instant(day.expected_at, &zone),
        );
        if let Some(tried) = &day.last_try {
            println!("    {}", last_try(tried, &zone, now));
        }
        let why = day.why.as_deref();
        let why = why.map_or("it is not there", |why| causes.first_mention(why));
        println!("    {why}");
    }
    let late = late.count();
    if late > SHOWN {
        println!(
            "  … and {} more; `meetlake status --json` has them all",
            late - SHOWN
        );
    }
    if late > 0 {
        println!();
    }
}

fn zone_of(config: &Config, tenant: &str) -> TimeZone {
    let tenant = config.tenants.get(tenant);
    tenant.map_or(TimeZone::UTC, |tenant| tenant.time_zone.clone())
}

fn show_attention(config: &Config, attention: &[Attention], is_late: bool, now: Timestamp) {
    if attention.is_empty() {
        match is_late {
            true => println!("No single task needs attention."),
            false => println!("Nothing needs attention."),
        }
        return;
    }
    println!("Needs attention:");
    let mut causes = CauseList::default();
    for task in attention.iter().take(SHOWN) {
        let zone = zone_of(config, &task.tenant);
        println!(
            "  {} {} window from {}: {} after {} attempt{}",
            task.tenant,
            task.dataset,
            instant(task.window_start, &zone),
            task.phase.as_str(),
            task.attempts,
            if task.attempts == 1 { "" } else { "s" },
        );
        println!("    {}", last_try(&task.last_try, &zone, now));
        let message = causes.first_mention(&task.failure.message);
        println!("    {message}");
    }
    if attention.len() > SHOWN {
        println!("  … and more; `meetlake status --json` has them all");
    }
}

fn show_last_run(run: &RunRecord) {
    let end = match (run.ended_at, run.exit_code) {
        (Some(ended), Some(code)) => format!("ended {ended} with exit code {code}"),
        _ => "has not ended, or was killed".to_owned(),
    };
    println!(
        "Last run: `{}` began {} and {end}.",
        run.verb, run.started_at
    );
}

// --- for machines -------------------------------------------------------------------------------

fn as_json(overview: &Overview, details: &OverviewDetails) -> Value {
    let datasets = overview.datasets.iter().zip(&details.counts);
    let datasets = datasets.map(|(of, counts)| dataset(of, counts));
    json!({
        "days": overview.lake.days,
        "datasets": datasets.collect::<Vec<_>>(),
        "partitions": details.partitions.iter().map(partition).collect::<Vec<_>>(),
        "attention": overview.attention.iter().map(attention).collect::<Vec<_>>(),
        "events": overview.event_types.iter().map(event_type).collect::<Vec<_>>(),
        "missing_ends": overview.missing_ends.iter().map(missing_ends).collect::<Vec<_>>(),
        "unfinished": overview.unfinished.iter().map(unfinished).collect::<Vec<_>>(),
        "runs": overview.runs.iter().map(run_record).collect::<Vec<_>>(),
    })
}

fn dataset(of: &DatasetOverview, counts: &DatasetStatus) -> Value {
    let counted = Phase::ALL.map(|phase| (phase, counts.tasks.of(phase)));
    let tasks: serde_json::Map<String, Value> = counted
        .into_iter()
        .filter(|(_, tasks)| *tasks > 0)
        .map(|(phase, tasks)| (phase.as_str().to_owned(), json!(tasks)))
        .collect();
    json!({
        "tenant": of.tenant, "dataset": of.dataset, "tasks": tasks,
        "windows": of.windows.iter().map(window).collect::<Vec<_>>(),
        "submits": counts.submits, "polls": counts.polls,
    })
}

fn window(row: &WindowRow) -> Value {
    json!({
        "start": row.window.start(), "end": row.window.end(), "state": row.state.as_str(),
        "generation": row.generation, "due_at": row.due_at, "coverage": row.coverage,
    })
}

fn partition(row: &PartitionRow) -> Value {
    json!({
        "tenant": row.tenant, "dataset": row.dataset, "dt": row.dt, "revision": row.revision,
        "state": if row.complete { "complete" } else { "partial" },
        "rows": row.rows, "size_bytes": row.size_bytes, "content_hash": row.content_hash,
        "published_at": row.published_at, "checked_at": row.checked_at,
    })
}

fn attention(task: &Attention) -> Value {
    json!({
        "task_key": task.key, "tenant": task.tenant, "dataset": task.dataset,
        "window_start": task.window_start, "phase": task.phase.as_str(),
        "attempts": task.attempts, "kind": task.failure.cause.as_str(),
        "error": task.failure.message, "last_tried_at": task.last_try.at,
        "next_try_at": task.last_try.next,
    })
}

fn event_type(of: &EventTypeRecord) -> Value {
    json!({
        "tenant": of.tenant, "event_type": of.event_type, "kept": of.kept,
        "repeated": of.repeated, "left_out": of.left_out,
        "last_received_at": of.last_received_at, "last_event_at": of.last_event_at,
    })
}

fn missing_ends((tenant, ends): &(String, MissingEnds)) -> Value {
    json!({
        "tenant": tenant, "started": ends.started, "ended": ends.ended, "count": ends.count,
        "since": ends.since,
    })
}

fn unfinished(rows: &Unfinished) -> Value {
    json!({
        "tenant": rows.tenant, "dataset": rows.dataset, "rows": rows.rows, "from": rows.from,
        "to": rows.to,
    })
}

fn run_record(run: &RunRecord) -> Value {
    json!({
        "verb": run.verb, "started_at": run.started_at, "ended_at": run.ended_at,
        "exit_code": run.exit_code, "summary": run.summary,
    })
}
