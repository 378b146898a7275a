//! `meetlake plan`: what a run would export and what that costs, without calling anybody and without writing anything.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use clap::Args as ClapArgs;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::json;

use super::{Common, number, span, table};
use crate::config::{Config, TenantConfig};
use crate::dataset::Dataset;
use crate::exit::Code;
use crate::job::JobSpec;
use crate::ledger::{Ledger, Phase, WindowRow, WindowState};
use crate::plan::estimate::{Estimate, Quota, estimate};
use crate::plan::fanout::{self, Coverage, Known};
use crate::plan::{self};
use crate::run::due;
use crate::window::Window;

/// Arguments of `meetlake plan`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Plan a backfill from this civil day on, in place of what is due.
    #[arg(long, value_name = "YYYY-MM-DD", requires = "to")]
    pub from: Option<Date>,
    /// First civil day after the backfill.
    #[arg(long, value_name = "YYYY-MM-DD", requires = "from")]
    pub to: Option<Date>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What one job would do for one tenant.
#[derive(Debug, Default)]
struct JobPlan {
    windows: Vec<Window>,
    /// Of these, those in which the last run's bound of tasks left parents out.
    left_over: u64,
    /// Tasks that are certain.
    tasks: u64,
    /// Windows whose children are only known when their parents are exported.
    unknown: u64,
    /// Tasks such windows had on average, where there is a history.
    expected: Option<u64>,
    coverage: Option<Coverage>,
    notes: Vec<String>,
}

/// Prints the plan.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        eprintln!(
            "error: --from {from} is not before --to {to}; the range is half-open, so one day is --from D --to D+1"
        );
        return Ok(Code::Usage);
    }
    let Some(config) = super::load(common, args.json)? else {
        return Ok(Code::Usage);
    };
    let ledger = Ledger::open_for_reading(&config.ledger_path).await?;
    let now = Timestamp::now();
    let mut json_tenants = Vec::new();
    for tenant in config.tenants.values() {
        let mut plans = Vec::new();
        for dataset in Dataset::ALL {
            for job in config
                .jobs
                .iter()
                .filter(|job| job.dataset == dataset && job.tenants.contains(&tenant.name))
            {
                let range = args.from.zip(args.to);
                plans.push((
                    job,
                    plan_job(ledger.as_ref(), tenant, job, range, now).await?,
                ));
            }
        }
        let mut tasks: BTreeMap<Dataset, u64> = BTreeMap::new();
        for (job, plan) in &plans {
            *tasks.entry(job.dataset).or_default() += plan.tasks + plan.expected.unwrap_or(0);
        }
        let cost = estimate(&tasks, quota(&config));
        if args.json {
            json_tenants.push(as_json(&tenant.name, &plans, &cost));
        } else {
            show(&tenant.name, &plans, &cost);
        }
    }
    if args.json {
        println!("{}", json!({ "now": now, "tenants": json_tenants }));
    }
    Ok(Code::Done)
}

fn quota(config: &Config) -> Quota {
    Quota {
        exports_per_minute: config.limits.exports_per_minute,
        reports_per_minute: config.limits.reports_per_minute.unwrap_or(60),
    }
}

async fn plan_job(
    ledger: Option<&Ledger>,
    tenant: &TenantConfig,
    job: &JobSpec,
    range: Option<(Date, Date)>,
    now: Timestamp,
) -> Result<JobPlan> {
    let known = match ledger {
        Some(ledger) => ledger.windows(&tenant.name, job.dataset, None).await?,
        None => Vec::new(),
    };
    let mut plan = JobPlan::default();
    let open = |row: &&WindowRow| {
        row.due_at <= now && matches!(row.state, WindowState::Due | WindowState::Planned)
    };
    let mut windows: Vec<Window> = match range {
        Some((from, to)) => {
            let backfill = plan::backfill(job, from, to, now);
            if let (Some(first), Some(last)) = (backfill.lost.first(), backfill.lost.last()) {
                plan.notes.push(format!(
                    "[{}, {}) lies beyond the 90 days that Feishu answers for and is left out",
                    first.start(),
                    last.end()
                ));
            }
            plan.notes.extend(backfill.not_yet.map(|window| {
                format!(
                    "windows from {} on are not over and settled yet",
                    window.start()
                )
            }));
            let settled = |window: &Window| {
                known
                    .iter()
                    .any(|row| row.window == *window && row.state == WindowState::Settled)
            };
            backfill
                .windows
                .into_iter()
                .filter(|window| !settled(window))
                .collect()
        }
        None => {
            let due = due::ask(ledger, &tenant.name, job, now).await?.due;
            let lost = due
                .new
                .iter()
                .filter(|new| new.state == WindowState::Lost)
                .count();
            if lost > 0 {
                plan.notes.push(format!(
                    "{lost} windows lie beyond what Feishu still answers for"
                ));
            }
            let new = due
                .new
                .iter()
                .filter(|new| new.state == WindowState::Due)
                .map(|new| new.window);
            let left_over = known.iter().filter(|row| due::is_left_over(row));
            plan.left_over = left_over.clone().count() as u64;
            new.chain(due.again)
                .chain(known.iter().filter(open).map(|row| row.window))
                .chain(left_over.map(|row| row.window))
                .collect()
        }
    };
    windows.sort_unstable();
    windows.dedup();
    for window in &windows {
        count_tasks(ledger, tenant, job, window, &known, &mut plan).await?;
    }
    plan.windows = windows;
    plan.expected = expected(ledger, tenant, job, &known)
        .await?
        .map(|average| average * plan.unknown);
    Ok(plan)
}

async fn count_tasks(
    ledger: Option<&Ledger>,
    tenant: &TenantConfig,
    job: &JobSpec,
    window: &Window,
    known: &[WindowRow],
    plan: &mut JobPlan,
) -> Result<()> {
    if let (Some(ledger), Some(_)) = (
        ledger,
        known
            .iter()
            .find(|row| row.window == *window && row.state == WindowState::Planned),
    ) {
        let phases = ledger.phases_of(&tenant.name, job.dataset, *window).await?;
        plan.tasks += phases
            .iter()
            .filter(|(phase, _)| *phase == Phase::Open)
            .map(|(_, n)| n)
            .sum::<u64>();
        return Ok(());
    }
    let Some(parent) = job.dataset.parent() else {
        let rooms = match ledger {
            Some(ledger) if job.dataset == Dataset::ResourceReservationList => {
                ledger.rooms(&tenant.name).await?
            }
            _ => Vec::new(),
        };
        if job.dataset == Dataset::ResourceReservationList && rooms.is_empty() {
            plan.unknown += 1;
        }
        plan.tasks += plan::tasks(job, &tenant.name, tenant.unit, window, &rooms).len() as u64;
        return Ok(());
    };
    let settled = match ledger {
        Some(ledger) => ledger
            .windows(&tenant.name, parent, Some(*window))
            .await?
            .iter()
            .any(|row| row.window == *window && row.state == WindowState::Settled),
        None => false,
    };
    let Some(ledger) = ledger.filter(|_| settled) else {
        plan.unknown += 1;
        return Ok(());
    };
    let parents = ledger.parents(&tenant.name, parent, *window).await?;
    let tasks = ledger.tasks_of(&tenant.name, job.dataset, *window).await?;
    let known: HashMap<_, _> = tasks
        .iter()
        .filter(|task| task.phase != Phase::Withdrawn)
        .map(|task| {
            let rows = task.rows.filter(|_| task.phase == Phase::Published);
            (
                task.spec.key.clone(),
                Known {
                    generation: task.generation,
                    rows,
                },
            )
        })
        .collect();
    let mut budget = job
        .fan_out
        .max_tasks_per_run
        .map_or(u64::MAX, u64::from)
        .saturating_sub(plan.tasks);
    let fan_out = fanout::children(job, &tenant.name, window, &parents, &known, &mut budget);
    let is_new = |task: &&crate::ledger::OpenTask| {
        known
            .get(&task.spec.key)
            .is_none_or(|known| known.generation < task.generation)
    };
    plan.tasks += fan_out.tasks.iter().filter(is_new).count() as u64;
    plan.coverage
        .get_or_insert_with(Coverage::default)
        .add(&fan_out.coverage);
    Ok(())
}

/// Tasks that a settled window of this job had on average.
async fn expected(
    ledger: Option<&Ledger>,
    tenant: &TenantConfig,
    job: &JobSpec,
    known: &[WindowRow],
) -> Result<Option<u64>> {
    let settled = known
        .iter()
        .filter(|row| row.state == WindowState::Settled)
        .count() as u64;
    let Some(ledger) = ledger.filter(|_| settled > 0) else {
        return Ok(None);
    };
    let tasks: u64 = ledger
        .dataset_status(&tenant.name, job.dataset)
        .await?
        .tasks
        .iter()
        .map(|(_, n)| n)
        .sum();
    Ok(Some(tasks / settled))
}

fn show(tenant: &str, plans: &[(&JobSpec, JobPlan)], cost: &Estimate) {
    let rows = plans.iter().map(|(job, plan)| {
        let range = match (plan.windows.first(), plan.windows.last()) {
            (Some(first), Some(last)) => {
                let shown = |at: Timestamp| {
                    at.to_zoned(job.time_zone.clone())
                        .strftime("%F %H:%M %:z")
                        .to_string()
                };
                format!("[{}, {})", shown(first.start()), shown(last.end()))
            }
            _ => "nothing due".to_owned(),
        };
        let tasks = match (plan.unknown, plan.expected) {
            (0, _) => number(plan.tasks),
            (_, Some(expected)) => format!("{} + about {}", number(plan.tasks), number(expected)),
            (unknown, None) => {
                format!("{} + ? for {} windows", number(plan.tasks), number(unknown))
            }
        };
        vec![
            job.dataset.to_string(),
            number(plan.windows.len() as u64),
            range,
            tasks,
        ]
    });
    println!(
        "{tenant}\n{}",
        table(&["dataset", "windows", "from, to", "tasks"], rows)
    );
    for (job, plan) in plans {
        for note in &plan.notes {
            println!("{}: {note}", job.name);
        }
        if plan.left_over > 0 {
            println!(
                "{}: {} windows go on where the last run's bound of tasks left off",
                job.name, plan.left_over
            );
        }
        if plan.unknown > 0 {
            let why = match job.dataset.parent() {
                Some(parent) => format!("known once {parent} is exported"),
                None => "known once the rooms are listed".to_owned(),
            };
            println!(
                "{}: the tasks of {} windows are {why}",
                job.name, plan.unknown
            );
        }
        if let Some(coverage) = plan
            .coverage
            .as_ref()
            .filter(|coverage| coverage.is_bounded())
        {
            println!(
                "{}: bounds leave out {} of {} parents",
                job.name,
                number(
                    coverage.below_min_participants
                        + coverage.not_sampled
                        + coverage.over_max_tasks
                ),
                number(coverage.parents)
            );
        }
    }
    let rows = cost.endpoints.iter().map(|load| {
        vec![
            load.endpoint.to_owned(),
            number(load.calls),
            number(load.per_minute.into()),
            span(load.at_quota_s),
        ]
    });
    println!(
        "\n{}",
        table(&["endpoint", "calls", "a minute", "at the quota"], rows)
    );
    println!(
        "{} calls; at the quota about {}, with one poll an export and without retries.\n",
        number(cost.calls),
        span(cost.at_quota_s)
    );
}

fn as_json(tenant: &str, plans: &[(&JobSpec, JobPlan)], cost: &Estimate) -> serde_json::Value {
    let jobs: Vec<_> = plans
        .iter()
        .map(|(job, plan)| {
            let windows: Vec<_> = plan.windows.iter().map(|window| json!({ "start": window.start(), "end": window.end() })).collect();
            json!({
                "job": job.name, "dataset": job.dataset, "windows": windows, "windows_left_over": plan.left_over, "tasks": plan.tasks, "windows_with_unknown_tasks": plan.unknown,
                "expected_tasks": plan.expected, "coverage": plan.coverage, "notes": plan.notes,
            })
        })
        .collect();
    json!({ "tenant": tenant, "jobs": jobs, "cost": cost })
}
