//! `meetlake plan`: what a run would export and what that costs. It calls nobody and writes
//! nothing.

use anyhow::Result;
use clap::Args as ClapArgs;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::{Common, identify, range};
use crate::config::{Config, JobOff, WhyOff};
use crate::datasets::Dataset;
use crate::exit::Code;
use crate::plan::estimate::{Estimate, MONTH_DAYS};
use crate::status::forecast::{Forecaster, JobForecast, cost, cost_of_month};
use crate::status::text::{number, span, table};
use crate::task::TaskOwner;
use crate::text::count;

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

/// Prints the plan.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    let range = args.from.zip(args.to);
    if let Some(problem) = range.and_then(|(from, to)| range::problem(from, to)) {
        eprintln!("error: {problem}");
        return Ok(Code::Usage);
    }
    let Some(config) = super::load(common, args.json)? else {
        return Ok(Code::Usage);
    };
    let ledger = identify::ledger_of_days(&config).await?;
    let key = identify::key_for_reading(&config, ledger.as_ref()).await?;
    let now = Timestamp::now();
    let mut json_tenants = Vec::new();
    for tenant in config.tenants.values() {
        let forecaster = Forecaster {
            ledger: ledger.as_ref(),
            jobs: &config.jobs,
            owner: TaskOwner {
                tenant: &tenant.name,
                key: &key,
            },
            unit: tenant.unit,
            range: args.from.zip(args.to),
            now,
        };
        let forecasts = forecaster.all().await?;
        let cost = cost(&forecasts, &config.limits.calls);
        let month = cost_of_month(&forecasts, &config.limits.calls);
        let off = jobs_off(&forecaster, &config).await?;
        if args.json {
            let mut tenant = as_json(&tenant.name, &forecasts, &cost, &month);
            tenant["jobs_off"] = off.iter().map(JobOffCost::as_json).collect();
            json_tenants.push(tenant);
        } else {
            show(&tenant.name, &forecasts, &cost);
            show_month(&month);
            off.iter().for_each(|off| println!("{}\n", off.text()));
        }
    }
    if args.json {
        println!("{}", json!({ "now": now, "tenants": json_tenants }));
    }
    Ok(Code::Done)
}

/// A job that is off, and what it would cost in a month.
struct JobOffCost<'c> {
    off: &'c JobOff,
    /// Calls a firing and a month; `None` if they are known after a first run only.
    calls: Option<(u64, u64)>,
}

impl JobOffCost<'_> {
    fn text(&self) -> String {
        let (name, why) = (&self.off.spec.name, self.off.why);
        match self.calls {
            Some((firing, month)) => format!(
                "{name}: off; {why}. Switched on, it would make about {} calls a firing and {} a \
                 month.",
                number(firing),
                number(month)
            ),
            None => format!("{name}: off; {why}."),
        }
    }

    fn as_json(&self) -> Value {
        json!({
            "job": self.off.spec.name, "dataset": self.off.spec.dataset,
            "calls_a_firing": self.calls.map(|calls| calls.0),
            "calls_a_month": self.calls.map(|calls| calls.1),
        })
    }
}

/// The jobs of the tenant that are off.
async fn jobs_off<'c>(
    forecaster: &Forecaster<'_>,
    config: &'c Config,
) -> Result<Vec<JobOffCost<'c>>> {
    let mut costs = Vec::new();
    let tenant = forecaster.owner.tenant;
    for off in &config.jobs_off {
        let is_disabled = off.why == WhyOff::Disabled;
        if is_disabled && !off.spec.tenants.iter().any(|name| name == tenant) {
            continue;
        }
        let forecast = forecaster.job(&off.spec).await?;
        let firings = forecast.asks_a_month;
        let (month, unknown) = cost_of_month(&[forecast], &config.limits.calls);
        let is_known = is_disabled && unknown.is_empty() && month.calls > 0 && firings > 0;
        let calls = is_known.then(|| (month.calls.div_ceil(firings), month.calls));
        costs.push(JobOffCost { off, calls });
    }
    Ok(costs)
}

fn show(tenant: &str, forecasts: &[JobForecast<'_>], cost: &Estimate) {
    let header = ["dataset", "windows", "from, to", "tasks"];
    println!("{tenant}\n{}", table(&header, forecasts.iter().map(row)));
    for forecast in forecasts {
        show_remarks(forecast);
    }
    show_cost(cost);
}

fn row(forecast: &JobForecast<'_>) -> Vec<String> {
    let tasks = number(forecast.tasks);
    let tasks = match (forecast.unknown, forecast.expected) {
        (0, _) => tasks,
        (_, Some(expected)) => format!("{tasks} + about {}", number(expected)),
        (unknown, None) => format!("{tasks} + ? for {}", count(unknown, "window")),
    };
    vec![
        forecast.job.dataset.to_string(),
        number(forecast.windows.len() as u64),
        range(forecast),
        tasks,
    ]
}

fn range(forecast: &JobForecast<'_>) -> String {
    let (Some(first), Some(last)) = (forecast.windows.first(), forecast.windows.last()) else {
        return "nothing due".to_owned();
    };
    let local = |at: Timestamp| at.to_zoned(forecast.job.time_zone.clone());
    let (start, end) = (local(first.start()), local(last.end()));
    match start.offset() == end.offset() {
        true => format!(
            "[{}, {}) {}",
            start.strftime("%F %H:%M"),
            end.strftime("%F %H:%M"),
            end.strftime("%:z")
        ),
        false => format!(
            "[{}, {})",
            start.strftime("%F %H:%M %:z"),
            end.strftime("%F %H:%M %:z")
        ),
    }
}

/// What the table's line of a job does not say.
fn show_remarks(forecast: &JobForecast<'_>) {
    let job = &forecast.job.name;
    for note in &forecast.notes {
        println!("{job}: {note}");
    }
    if forecast.left_over > 0 {
        println!(
            "{job}: {} {} on where the last run's bound of tasks left off",
            count(forecast.left_over, "window"),
            if forecast.left_over == 1 {
                "goes"
            } else {
                "go"
            }
        );
    }
    if forecast.unknown > 0 {
        let why = match forecast.job.dataset.parent() {
            Some(parent) => format!("known once {parent} is in the lake"),
            None => "known once the rooms are listed".to_owned(),
        };
        let windows = count(forecast.unknown, "window");
        println!("{job}: the tasks of {windows} are {why}");
    }
    if let Some(coverage) = forecast
        .coverage
        .as_ref()
        .filter(|coverage| coverage.is_bounded())
    {
        let left_out =
            coverage.below_min_participants + coverage.not_sampled + coverage.over_max_tasks;
        println!(
            "{job}: bounds leave out {} of {} parents",
            number(left_out),
            number(coverage.parents)
        );
    }
}

fn show_cost(cost: &Estimate) {
    let rows = cost.endpoints.iter().map(|load| {
        vec![
            load.endpoint.clone(),
            number(load.calls),
            number(load.per_minute.into()),
            span(load.at_quota_s),
        ]
    });
    let header = ["endpoint", "calls", "a minute", "at the quota"];
    println!("\n{}", table(&header, rows));
    println!(
        "{} calls; at the quota about {}, with one poll an export and without retries.\n",
        number(cost.calls),
        span(cost.at_quota_s)
    );
}

/// What a usual month costs. Small editions of Feishu have a month's quota of some 10,000 calls.
fn show_month((month, unknown): &(Estimate, Vec<Dataset>)) {
    let not_known = unknown.iter().map(|dataset| dataset.as_str());
    let not_known = not_known.collect::<Vec<_>>().join(", ");
    println!(
        "In a usual month these jobs make about {} calls, {} a day.",
        number(month.calls),
        number(month.calls.div_ceil(MONTH_DAYS.into())),
    );
    if !not_known.is_empty() {
        println!("Known after a first run, and not counted: {not_known}.");
    }
    println!();
}

fn as_json(
    tenant: &str,
    forecasts: &[JobForecast<'_>],
    cost: &Estimate,
    (month, unknown): &(Estimate, Vec<Dataset>),
) -> Value {
    let jobs: Vec<Value> = forecasts.iter().map(job_as_json).collect();
    json!({
        "tenant": tenant, "jobs": jobs, "cost": cost,
        "month": { "calls": month.calls, "endpoints": month.endpoints, "not_known": unknown },
    })
}

fn job_as_json(forecast: &JobForecast<'_>) -> Value {
    let windows = forecast.windows.iter();
    let windows: Vec<Value> = windows
        .map(|window| json!({ "start": window.start(), "end": window.end() }))
        .collect();
    let notes: Vec<String> = forecast.notes.iter().map(ToString::to_string).collect();
    json!({
        "job": forecast.job.name, "dataset": forecast.job.dataset, "windows": windows,
        "windows_left_over": forecast.left_over, "tasks": forecast.tasks,
        "windows_with_unknown_tasks": forecast.unknown, "expected_tasks": forecast.expected,
        "coverage": forecast.coverage, "notes": notes,
    })
}
