//! `meetlake status`: which days are in the lake, what is under way, what needs attention.

use anyhow::Result;
use clap::Args as ClapArgs;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::{Common, Told, bytes, number, span, table};
use crate::config::Config;
use crate::dataset::Dataset;
use crate::exit::Code;
use crate::ledger::{Ledger, PartitionStatus, WindowRow};
use crate::plan::fanout::Coverage;
use crate::run::days::{self, Day, Outcome};

/// Arguments of `meetlake status`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Print JSON: everything, day by day.
    #[arg(long)]
    pub json: bool,
}

/// Most tasks that need attention that a person is shown.
const SHOWN: u32 = 10;

/// Prints the state of the lake as the ledger knows it; may run beside anything else. [`Code::NotSettled`] if a day is late.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    let Some(config) = super::load(common, args.json)? else {
        return Ok(Code::Usage);
    };
    let Some(ledger) = Ledger::open_for_reading(&config.ledger_path).await? else {
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
    let tenants: Vec<&str> = config.tenants.keys().map(String::as_str).collect();
    let days = all_days(&ledger, &config).await?;
    if args.json {
        println!("{}", as_json(&ledger, &tenants, &days).await?);
    } else {
        show(&ledger, &config, &tenants, &days).await?;
    }
    let is_late = days.iter().any(|day| day.late_s.is_some());
    Ok(if is_late {
        Code::NotSettled
    } else {
        Code::Done
    })
}

/// Every due day of every job and tenant.
async fn all_days(ledger: &Ledger, config: &Config) -> Result<Vec<Day>> {
    let now = Timestamp::now();
    let mut all = Vec::new();
    for tenant in config.tenants.values() {
        for dataset in Dataset::ALL {
            let is_of = |job: &&crate::job::JobSpec| {
                job.dataset == dataset && job.tenants.contains(&tenant.name)
            };
            for job in config.jobs.iter().filter(is_of) {
                let zone = &tenant.time_zone;
                all.extend(days::days(ledger, &tenant.name, zone, job, now).await?);
            }
        }
    }
    Ok(all)
}

/// The outcomes of some days, counted: `5 published, 1 late`.
#[must_use]
pub fn outcomes<'d>(days: impl Iterator<Item = &'d Day> + Clone) -> String {
    let counted = Outcome::ALL.map(|outcome| {
        let n = days.clone().filter(|day| day.outcome == outcome).count();
        (outcome.as_str(), n)
    });
    let late = days.filter(|day| day.late_s.is_some()).count();
    let parts: Vec<String> = counted
        .into_iter()
        .chain([("late", late)])
        .filter(|(_, n)| *n > 0)
        .map(|(what, n)| format!("{n} {what}"))
        .collect();
    parts.join(", ")
}

async fn show(ledger: &Ledger, config: &Config, tenants: &[&str], days: &[Day]) -> Result<()> {
    let partitions = ledger.partition_status().await?;
    for tenant in tenants {
        println!("{tenant}");
        let mut rows = Vec::new();
        let mut left_out = Vec::new();
        for dataset in Dataset::ALL {
            let windows = ledger.windows(tenant, dataset, None).await?;
            let status = ledger.dataset_status(tenant, dataset).await?;
            let published = partitions
                .iter()
                .find(|row| row.tenant == *tenant && row.dataset == dataset);
            if windows.is_empty() && published.is_none() {
                continue;
            }
            let coverage = coverage_of(&windows);
            if coverage.planned < coverage.parents {
                left_out.push(format!("{dataset}: {}", super::run::left_out(&coverage)));
            }
            let open: u64 = status
                .tasks
                .iter()
                .filter(|(phase, _)| phase == "open" || phase == "spooled")
                .map(|(_, n)| n)
                .sum();
            rows.push(vec![
                dataset.to_string(),
                outcomes(
                    days.iter()
                        .filter(|day| day.tenant == *tenant && day.dataset == dataset),
                ),
                number(open),
                published.map_or("0".into(), |row| number(row.rows)),
                published.map_or("0 B".into(), |row| bytes(row.size_bytes)),
                published.map_or(String::new(), range),
            ]);
        }
        if rows.is_empty() {
            println!("  nothing yet\n");
        } else {
            println!(
                "{}\n",
                table(
                    &[
                        "dataset",
                        "days",
                        "open tasks",
                        "rows",
                        "size",
                        "days in the lake"
                    ],
                    rows
                )
            );
        }
        for line in left_out {
            println!("{line}\n");
        }
    }
    show_late(config, days);
    let mut told = Told::default();
    let attention = ledger.attention(SHOWN + 1).await?;
    if attention.is_empty() {
        println!("Nothing needs attention.");
    } else {
        println!("Needs attention:");
        for task in attention.iter().take(SHOWN as usize) {
            println!(
                "  {} {} window from {}: {} after {} attempt{}: {}",
                task.tenant,
                task.dataset,
                task.window_start,
                task.phase,
                task.attempts,
                if task.attempts == 1 { "" } else { "s" },
                told.once(&task.error)
            );
        }
        if attention.len() > SHOWN as usize {
            println!("  … and more; `meetlake status --json` has them all");
        }
    }
    if let Some(run) = ledger.runs(1).await?.first() {
        let end = match (run.ended_at, run.exit_code) {
            (Some(ended), Some(code)) => format!("ended {ended} with exit code {code}"),
            _ => "has not ended, or was killed".to_owned(),
        };
        println!(
            "Last run: `{}` began {} and {end}.",
            run.verb, run.started_at
        );
    }
    Ok(())
}

/// Names the days that should be in the lake, whole, and are not.
fn show_late(config: &Config, days: &[Day]) {
    let late = days.iter().filter_map(|day| Some((day, day.late_s?)));
    let most = SHOWN as usize;
    let mut told = Told::default();
    for (index, (day, late_s)) in late.clone().take(most).enumerate() {
        if index == 0 {
            println!("Late:");
        }
        let zone = config.tenants.get(&day.tenant);
        let zone = zone.map_or(TimeZone::UTC, |tenant| tenant.time_zone.clone());
        let expected = day.expected_at.to_zoned(zone).strftime("%F %H:%M %:z");
        println!(
            "  {} {} {}: {}, {} late (expected by {expected}): {}",
            day.tenant,
            day.dataset,
            day.dt,
            day.outcome.as_str(),
            span(late_s),
            day.why
                .as_deref()
                .map_or("it is not there", |why| told.once(why))
        );
    }
    let late = late.count();
    if late > most {
        println!(
            "  … and {} more; `meetlake status --json` has them all",
            late - most
        );
    }
    if late > 0 {
        println!();
    }
}

/// What the fan-outs of all windows left out.
fn coverage_of(windows: &[WindowRow]) -> Coverage {
    let mut sum = Coverage::default();
    for window in windows {
        let coverage = window
            .coverage
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        sum.add(&coverage.unwrap_or_default());
    }
    sum
}

fn range(row: &PartitionStatus) -> String {
    format!("{} to {} ({})", row.first_dt, row.last_dt, row.partitions)
}

async fn as_json(ledger: &Ledger, tenants: &[&str], days: &[Day]) -> Result<serde_json::Value> {
    let mut datasets = Vec::new();
    for tenant in tenants {
        for dataset in Dataset::ALL {
            let status = ledger.dataset_status(tenant, dataset).await?;
            let windows: Vec<_> = ledger
                .windows(tenant, dataset, None)
                .await?
                .iter()
                .map(|row| {
                    let coverage = row.coverage.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
                    json!({
                        "start": row.window.start(), "end": row.window.end(), "state": row.state.as_str(),
                        "generation": row.generation, "due_at": row.due_at, "coverage": coverage,
                    })
                })
                .collect();
            let tasks: serde_json::Map<String, serde_json::Value> = status
                .tasks
                .iter()
                .map(|(phase, n)| (phase.clone(), json!(n)))
                .collect();
            datasets.push(json!({
                "tenant": tenant, "dataset": dataset, "windows": windows, "tasks": tasks,
                "submits": status.submits, "polls": status.polls,
            }));
        }
    }
    let partitions: Vec<_> = ledger
        .partitions(None)
        .await?
        .iter()
        .map(|row| {
            json!({
                "tenant": row.tenant, "dataset": row.dataset, "dt": row.dt, "revision": row.revision,
                "state": if row.complete { "complete" } else { "partial" }, "rows": row.rows, "size_bytes": row.size_bytes,
                "content_hash": row.content_hash, "published_at": row.published_at, "checked_at": row.checked_at,
            })
        })
        .collect();
    let attention: Vec<_> = ledger
        .attention(1_000)
        .await?
        .iter()
        .map(|task| {
            json!({
                "task_key": task.key, "tenant": task.tenant, "dataset": task.dataset, "window_start": task.window_start,
                "phase": task.phase, "attempts": task.attempts, "kind": task.error_kind, "error": task.error,
            })
        })
        .collect();
    let runs: Vec<_> = ledger
        .runs(20)
        .await?
        .iter()
        .map(|run| {
            json!({
                "verb": run.verb, "started_at": run.started_at, "ended_at": run.ended_at,
                "exit_code": run.exit_code, "summary": run.summary,
            })
        })
        .collect();
    Ok(
        json!({ "days": days, "datasets": datasets, "partitions": partitions, "attention": attention, "runs": runs }),
    )
}
