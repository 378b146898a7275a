//! `meetlake run` and `meetlake backfill`: export what is due, or a range, now.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use clap::Args as ClapArgs;
use jiff::SignedDuration;
use jiff::civil::Date;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::identify::{ExportAgain, Purpose};
use super::open::App;
use super::progress::{self, Style};
use super::{Common, StopSignals, describe, exit_for, range};
use crate::config::Config;
use crate::datasets::Dataset;
use crate::exit::Code;
use crate::job::JobSpec;
use crate::pipeline;
use crate::run::summary::LostWindow;
use crate::run::{self, DatasetSummary, RunLimits, Scope, Summary};
use crate::status::text::{CauseList, compared, left_out, number, table};
use crate::status::{self, DayStatus};
use crate::status::{has_children, withdrawable};
use crate::text::count;
use crate::window::Window;

/// Arguments of `meetlake run`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RunArgs {
    /// Begin nothing new after this long (such as 90m or 2h); what is left is exported by the next
    /// run.
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub deadline: Option<Duration>,
    /// Only this tenant.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `meetlake backfill`.
#[derive(Clone, Debug, ClapArgs)]
pub struct BackfillArgs {
    /// First civil day, in each job's time zone.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub from: Date,
    /// First civil day after the range (it is half-open).
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub to: Date,
    /// Only this dataset, with what it fans out from; repeatable.
    #[arg(long, value_name = "NAME")]
    pub dataset: Vec<Dataset>,
    /// Export days once more that are in the lake already.
    #[arg(long)]
    pub again: bool,
    /// Do not ask, however long the range is.
    #[arg(long)]
    pub yes: bool,
    /// Instead of exporting anything, take back what an earlier backfill of the range asked for
    /// and that holds nothing: no day in the lake, no original.
    #[arg(long, conflicts_with_all = ["again", "yes", "deadline"])]
    pub withdraw: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// Exports what is due.
///
/// # Errors
/// When this machine is at fault.
pub async fn run(common: &Common, args: &RunArgs) -> Result<Code> {
    execute(common, args, Scope::Due, "run", true).await
}

/// Exports a range.
///
/// # Errors
/// When this machine is at fault.
pub async fn backfill(common: &Common, args: &BackfillArgs) -> Result<Code> {
    // What was asked for by mistake may be taken back, however old.
    let problem = match args.withdraw {
        true => range::reversed(args.from, args.to),
        false => range::problem(args.from, args.to),
    };
    if let Some(problem) = problem {
        eprintln!("error: {problem}");
        return Ok(Code::Usage);
    }
    if let Some(dataset) = args.dataset.iter().find(|dataset| !dataset.has_history()) {
        match dataset.is_received() {
            true => eprintln!(
                "error: a day of {dataset} is what Feishu sent on that day, and nothing replays a \
                 missed event; `meetlake serve` receives what comes"
            ),
            false => eprintln!(
                "error: a day of {dataset} is what Feishu says on that day, and the API has no \
                 history; `meetlake run` takes today's"
            ),
        }
        return Ok(Code::Usage);
    }
    let datasets = match args.dataset.as_slice() {
        [] => Dataset::ALL
            .into_iter()
            .filter(|dataset| dataset.has_history())
            .collect(),
        named => named.to_vec(),
    };
    if args.withdraw {
        return withdraw(common, args, &datasets).await;
    }
    let scope = Scope::Backfill {
        from: args.from,
        to: args.to,
        datasets,
        again: args.again,
    };
    execute(common, &args.run, scope, "backfill", args.yes).await
}

/// Takes windows of a range back that hold nothing, as after a mistyped backfill.
async fn withdraw(common: &Common, args: &BackfillArgs, datasets: &[Dataset]) -> Result<Code> {
    let Some(config) = super::load(common, args.run.json)? else {
        return Ok(Code::Usage);
    };
    if let Some(problem) = unknown_tenant(&config, args.run.tenant.as_deref()) {
        eprintln!("error: {problem}");
        return Ok(Code::Usage);
    }
    let app = App::open(config, crate::failpoint::clock(), "backfill --withdraw").await?;
    let datasets = run::with_parents(datasets);
    let mut taken_back = BTreeMap::new();
    let mut kept = 0_u64;
    for tenant in &app.tenants {
        if args
            .run
            .tenant
            .as_ref()
            .is_some_and(|only| *only != tenant.name)
        {
            continue;
        }
        // Children first: windows of parents stay while those of a child do.
        let mut jobs: Vec<&JobSpec> = app
            .config
            .jobs
            .iter()
            .filter(|job| datasets.contains(&job.dataset))
            .collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.dataset));
        for job in jobs {
            let Some(range) = Window::days(&job.time_zone, args.from, args.to) else {
                continue;
            };
            let of = (tenant.name.as_str(), &tenant.time_zone);
            let rows = withdrawable(&tenant.ledger, of, job, range).await?;
            for (row, is_free) in rows {
                let is_free = is_free && !has_children(&tenant.ledger, &row).await?;
                match is_free && tenant.ledger.withdraw_window(&row).await? {
                    true => *taken_back.entry(job.dataset).or_insert(0_u64) += 1,
                    false => kept += 1,
                }
            }
        }
    }
    if args.run.json {
        println!(
            "{}",
            json!({ "exit_code": Code::Done.number(), "taken_back": taken_back, "kept": kept })
        );
        return Ok(Code::Done);
    }
    if taken_back.is_empty() {
        println!("Nothing was taken back.");
    }
    for (dataset, windows) in &taken_back {
        println!("{dataset}: {} taken back", count(*windows, "window"));
    }
    if kept > 0 {
        println!(
            "{} kept: something is in the lake of it, or the schedule asks for it.",
            count(kept, "window")
        );
    }
    Ok(Code::Done)
}

fn unknown_tenant(config: &Config, tenant: Option<&str>) -> Option<String> {
    let tenant = tenant.filter(|name| !config.tenants.contains_key(*name))?;
    let names: Vec<&str> = config.tenants.keys().map(String::as_str).collect();
    Some(format!(
        "there is no tenant `{tenant}`; there is {}",
        names.join(", ")
    ))
}

pub(super) async fn execute(
    common: &Common,
    args: &RunArgs,
    scope: Scope,
    verb: &str,
    is_sure: bool,
) -> Result<Code> {
    let Some(config) = super::load(common, args.json)? else {
        return Ok(Code::Usage);
    };
    if let Some(problem) = unknown_tenant(&config, args.tenant.as_deref()) {
        eprintln!("error: {problem}");
        return Ok(Code::Usage);
    }
    let clock = crate::failpoint::clock();
    note_snapshots(&config, &scope);
    if let Scope::Backfill {
        from, to, datasets, ..
    } = &scope
        && !is_sure
    {
        let (tenant, now) = (args.tenant.as_deref(), clock.now());
        if !range::is_meant(&config, tenant, datasets, (*from, *to), now).await? {
            return Ok(Code::Usage);
        }
    }
    let purpose = purpose_of(&scope, args.tenant.as_deref());
    let app = App::open_with(config, clock.clone(), verb, purpose).await?;
    let limits = RunLimits {
        deadline: args.deadline.map(|wait| {
            clock.now() + SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX)
        }),
        ..app.limits()
    };
    let summaries = execute_app(
        &app,
        args.tenant.as_deref(),
        &scope,
        &limits,
        Style::detect(args.json),
        verb,
    )
    .await?;
    if args.json {
        let days = days_of(&app, args.tenant.as_deref()).await?;
        println!("{}", to_json(&summaries, &days));
    } else {
        print_summaries(&summaries);
    }
    Ok(exit_of(&summaries))
}

/// What a run is for.
fn purpose_of(scope: &Scope, tenant: Option<&str>) -> Purpose {
    match scope {
        Scope::Backfill {
            from,
            to,
            datasets,
            again: true,
        } => Purpose::ExportAgain(ExportAgain {
            tenant: tenant.map(str::to_owned),
            datasets: datasets.clone(),
            from: *from,
            to: *to,
        }),
        Scope::Due | Scope::Backfill { .. } | Scope::Quarantined { .. } => Purpose::Run,
    }
}

/// Tells whose jobs a backfill leaves out, because the API has no history.
fn note_snapshots(config: &Config, scope: &Scope) {
    let jobs = config.jobs.iter().filter(|job| !job.dataset.has_history());
    let names: Vec<&str> = jobs.map(|job| job.name.as_str()).collect();
    if matches!(scope, Scope::Backfill { .. }) && !names.is_empty() {
        let names = names.join(", ");
        eprintln!("note: a backfill leaves out {names}: the API has no history of them");
    }
}

/// Reconciles the tenants of an open configuration side by side, until done or told to stop.
///
/// # Errors
/// When this machine is at fault.
pub async fn execute_app(
    app: &App,
    tenant: Option<&str>,
    scope: &Scope,
    limits: &RunLimits,
    style: Style,
    verb: &str,
) -> Result<Vec<Summary>> {
    let began = now(app);
    app.events.begin_run(began);
    let recorded = app.ledger.run_began(verb, began).await;
    recorded.map_err(|error| pipeline::with_disk(error.into(), app.ledger.path()))?;
    let stop = CancellationToken::new();
    let watcher = tokio::spawn(stop_on_signal(StopSignals::listen()?, stop.clone()));
    let shown = progress::start(style, &app.events);
    let runs = app
        .tenants
        .iter()
        .filter(|t| tenant.is_none_or(|name| name == t.name))
        .map(|t| {
            run::reconcile(
                std::sync::Arc::clone(t),
                &app.config.jobs,
                scope,
                limits,
                stop.clone(),
            )
        });
    let results = futures::future::join_all(runs).await;
    app.events.unsubscribe_all();
    let _ = shown.await;
    watcher.abort();
    let outcome = results
        .into_iter()
        .collect::<Result<Vec<_>>>()
        .map_err(|error| pipeline::with_disk(error, &app.config.ledger_path));
    let ended = now(app);
    let (code, told) = match &outcome {
        Ok(summaries) => (exit_of(summaries), one_line(summaries)),
        Err(error) => (exit_for(error), describe(error)),
    };
    let recorded = app.ledger.run_ended(began, ended, code.number(), &told);
    let recorded = recorded.await;
    // Why the run ended says more than why that could not be recorded.
    let summaries = outcome?;
    recorded?;
    Ok(summaries)
}

async fn stop_on_signal(mut signals: StopSignals, stop: CancellationToken) {
    signals.next().await;
    eprintln!(
        "stopping: nothing new is begun; a second signal ends at once, and the next run goes on \
         from here"
    );
    stop.cancel();
    signals.next().await;
    std::process::exit(130);
}

/// The exit code of all tenants: that of the only one, or 3 when any of several is not settled.
#[must_use]
pub fn exit_of(summaries: &[Summary]) -> Code {
    match summaries {
        [one] => one.exit(),
        many if many.iter().all(Summary::is_settled) => Code::Done,
        _ => Code::NotSettled,
    }
}

/// The machine-readable end of a run, with what became of each due day.
#[must_use]
pub fn to_json(summaries: &[Summary], days: &[DayStatus]) -> String {
    let settled = summaries.iter().all(Summary::is_settled);
    let exit_code = exit_of(summaries).number();
    let end = json!({
        "exit_code": exit_code, "settled": settled, "tenants": summaries, "days": days,
    });
    end.to_string()
}

fn now(app: &App) -> jiff::Timestamp {
    let tenant = app.tenants.first();
    tenant.map_or_else(jiff::Timestamp::now, |tenant| tenant.clock.now())
}

/// Every due day of every job, of one tenant or of all.
async fn days_of(app: &App, only: Option<&str>) -> Result<Vec<DayStatus>> {
    let now = now(app);
    let tenants: Vec<_> = app
        .tenants
        .iter()
        .map(|tenant| (tenant.name.as_str(), &tenant.time_zone))
        .collect();
    status::all_days(&app.ledger, &tenants, &app.config.jobs, only, now).await
}

fn one_line(summaries: &[Summary]) -> String {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for counts in summaries
        .iter()
        .flat_map(|summary| summary.datasets.values())
    {
        *totals.entry("tasks").or_default() += counts.finished;
        *totals.entry("rows").or_default() += counts.rows;
        *totals.entry("partitions published").or_default() += counts.published;
        *totals.entry("unchanged").or_default() += counts.unchanged;
        *totals.entry("empty").or_default() += counts.empty;
        *totals.entry("partial").or_default() += counts.partial;
        *totals.entry("quarantined").or_default() += counts.quarantined;
        *totals.entry("failed").or_default() += counts.failed;
        *totals.entry("lost").or_default() += counts.lost;
    }
    let is_told = |(what, n): &(&&str, &u64)| **n > 0 || ["tasks", "rows"].contains(*what);
    let parts: Vec<String> = totals
        .iter()
        .filter(is_told)
        .map(|(what, n)| format!("{n} {what}"))
        .collect();
    parts.join(", ")
}

/// Prints what a run did and what is missing.
pub fn print_summaries(summaries: &[Summary]) {
    print!("{}", text_of(summaries));
}

/// What a run did and what is missing, for people: first what stood in the way.
#[must_use]
pub fn text_of(summaries: &[Summary]) -> String {
    let texts = summaries.iter().map(|summary| {
        let mut lines = lines_of(summary);
        lines.push(String::new());
        lines.join("\n")
    });
    texts.collect()
}

fn lines_of(summary: &Summary) -> Vec<String> {
    let mut lines: Vec<String> = summary
        .causes()
        .map(|cause| format!("error: {}", cause.message))
        .collect();
    if summary.datasets.is_empty() && summary.is_settled() {
        lines.push(format!("{}: nothing was due.", summary.tenant));
    } else if summary.datasets.values().any(has_figures) {
        lines.push(format!("{}\n{}", summary.tenant, figures(summary)));
    }
    for (dataset, counts) in &summary.datasets {
        if let Some(coverage) = counts
            .coverage
            .as_ref()
            .filter(|coverage| coverage.is_worth_telling())
        {
            lines.push(format!("{dataset}: {}", left_out(coverage)));
        }
        let found = counts.coverage.as_ref();
        let found = found.and_then(|coverage| coverage.compared.as_ref());
        if let Some(found) = found.filter(|found| found.is_worth_telling()) {
            lines.push(format!("{dataset}: {}", compared(found)));
        }
    }
    if summary.stopped {
        lines.push("stopped before the end; run again to go on".to_owned());
    }
    if summary.out_of_time {
        lines.push("the time given to this run is over; run again to go on".to_owned());
    }
    lines.extend(summary.implausible.iter().map(|day| {
        let (dataset, dt, reason) = (day.dataset, day.dt, &day.reason);
        format!("partial: {dataset} {dt}: {reason}")
    }));
    lines.extend(lost(summary));
    lines.extend(unsettled(summary));
    lines
}

/// A table of zeros says nothing.
fn has_figures(counts: &DatasetSummary) -> bool {
    let counted = counts.finished + counts.quarantined + counts.failed;
    counted + counts.published + counts.unchanged + counts.lost > 0
}

/// A column of figures: what is counted, and where.
type Figures = (&'static str, fn(&DatasetSummary) -> u64);

const COLUMNS: [Figures; 10] = [
    ("tasks", |counts| counts.finished),
    ("rows", |counts| counts.rows),
    ("empty", |counts| counts.empty),
    ("rejects", |counts| counts.rejects),
    ("quarantined", |counts| counts.quarantined),
    ("failed", |counts| counts.failed),
    ("days published", |counts| counts.published),
    ("unchanged", |counts| counts.unchanged),
    ("partial", |counts| counts.partial),
    ("lost", |counts| counts.lost),
];

fn figures(summary: &Summary) -> String {
    // What is nowhere is not told, so that the table fits a terminal.
    let mut columns = COLUMNS.to_vec();
    columns.retain(|(name, count)| {
        let is_always_told = ["tasks", "rows", "days published"].contains(name);
        is_always_told || summary.datasets.values().any(|counts| count(counts) > 0)
    });
    let header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let rows = summary.datasets.iter().map(|(dataset, counts)| {
        let figures = columns.iter().map(|(_, count)| number(count(counts)));
        std::iter::once(dataset.to_string())
            .chain(figures)
            .collect()
    });
    table(&[&["dataset"][..], &header].concat(), rows)
}

/// A line for each dataset with windows that were not exported in time.
fn lost(summary: &Summary) -> Vec<String> {
    let mut by_dataset: BTreeMap<Dataset, Vec<&LostWindow>> = BTreeMap::new();
    for lost in &summary.lost {
        by_dataset.entry(lost.dataset).or_default().push(lost);
    }
    let line = |(dataset, lost): (Dataset, Vec<&LostWindow>)| {
        let start = lost.iter().map(|lost| lost.start).min()?;
        let end = lost.iter().map(|lost| lost.end).max()?;
        Some(format!(
            "lost: {dataset}: {} in [{start}, {end}); {}",
            count(lost.len() as u64, "window"),
            dataset.why_lost()
        ))
    };
    by_dataset.into_iter().filter_map(line).collect()
}

/// A line for each of the first windows that are not settled; each cause is told once.
fn unsettled(summary: &Summary) -> Vec<String> {
    const SHOWN: usize = 10;
    let mut lines = Vec::new();
    let mut told = CauseList::default();
    for cause in summary.causes() {
        told.first_mention(&cause.message);
    }
    for window in summary.unsettled.iter().take(SHOWN) {
        let error = window.error.as_deref();
        let error = error.map_or_else(String::new, |error| {
            format!(": {}", told.first_mention(error))
        });
        let tasks: Vec<String> = window
            .tasks
            .iter()
            .map(|(phase, n)| format!("{n} {phase}"))
            .collect();
        let tasks = if tasks.is_empty() {
            String::new()
        } else {
            format!(" ({})", tasks.join(", "))
        };
        lines.push(format!(
            "not settled: {} [{}, {}) {}{tasks}{error}",
            window.dataset, window.start, window.end, window.state
        ));
    }
    if summary.unsettled.len() > SHOWN {
        lines.push(format!(
            "… and {} more; `meetlake status` lists them",
            count((summary.unsettled.len() - SHOWN) as u64, "window")
        ));
    }
    lines
}
