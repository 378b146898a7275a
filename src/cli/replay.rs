//! `meetlake replay`: makes partitions again from the archived originals, without asking Feishu.

use anyhow::Result;
use clap::Args as ClapArgs;
use jiff::civil::Date;
use serde_json::json;

use super::Common;
use super::open::App;
use crate::datasets::Dataset;
use crate::exit::Code;
use crate::failpoint;
use crate::pipeline::{self, Replayed};
use crate::publish::{self, manifest};
use crate::record::PartitionId;
use crate::status::text::{number, table};

/// Arguments of `meetlake replay`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Only these datasets; all of them without any.
    #[arg(value_name = "DATASET")]
    pub datasets: Vec<Dataset>,
    /// First day, by the partitions' dt.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub from: Option<Date>,
    /// First day after the range (it is half-open).
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub to: Option<Date>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const NAME: &str = "replay";

/// Makes partitions again from their newest manifest's originals and publishes those that come out
/// differently.
///
/// # Errors
/// When the lake, the disk or the ledger refuses.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        eprintln!(
            "error: --from {from} is not before --to {to}; the range is half-open, so one day is \
             --from D --to D+1"
        );
        return Ok(Code::Usage);
    }
    let Some(config) = super::load(common, args.json)? else {
        return Ok(Code::Usage);
    };
    let clock = failpoint::clock();
    let app = App::open(config, clock.clone(), NAME).await?;
    let began = clock.now();
    app.events.begin_run(began);
    app.ledger.run_began(NAME, began).await?;
    let replayed = replay(&app, args).await?;
    let code = match replayed
        .iter()
        .any(|(_, outcome)| matches!(outcome, Replayed::Left { .. }))
    {
        true => Code::Contract,
        false => Code::Done,
    };
    let summary = counts(&replayed)
        .map(|(word, n)| format!("{n} {word}"))
        .join(", ");
    app.ledger
        .run_ended(began, clock.now(), code.number(), &summary)
        .await?;
    for tenant in &app.tenants {
        pipeline::remember_pace_and_calls(tenant).await?;
    }
    if args.json {
        println!("{}", to_json(&replayed, code));
    } else {
        show(&replayed);
    }
    Ok(code)
}

async fn replay(app: &App, args: &Args) -> Result<Vec<(PartitionId, Replayed)>> {
    let mut replayed = Vec::new();
    let Some(first) = app.tenants.first() else {
        return Ok(replayed);
    };
    for (id, records) in manifest::all(&first.lake).await? {
        let is_wanted = (args.datasets.is_empty() || args.datasets.contains(&id.dataset))
            && args.from.is_none_or(|from| id.dt >= from)
            && args.to.is_none_or(|to| id.dt < to);
        let tenant = app.tenants.iter().find(|tenant| tenant.name == id.tenant);
        let job = app
            .config
            .jobs
            .iter()
            .find(|job| job.dataset == id.dataset && job.tenants.contains(&id.tenant));
        let (Some(tenant), Some((_, newest)), true) = (tenant, records.last_key_value(), is_wanted)
        else {
            continue;
        };
        let Some(job) = job else {
            let reason =
                "no job of the configuration exports this dataset for this tenant".to_owned();
            replayed.push((id, Replayed::Left { reason }));
            continue;
        };
        let outcome = match manifest::read(&tenant.lake, newest).await {
            Ok(Some(found)) => Box::pin(pipeline::replay_partition(tenant, job, &found)).await?,
            Ok(None) => continue,
            Err(error @ publish::Error::Record { .. }) => Replayed::Left {
                reason: error.to_string(),
            },
            Err(error) => return Err(error.into()),
        };
        replayed.push((id, outcome));
    }
    Ok(replayed)
}

fn word(outcome: &Replayed) -> &'static str {
    match outcome {
        Replayed::Unchanged => "unchanged",
        Replayed::Restored => "restored",
        Replayed::Changed { .. } => "changed",
        Replayed::Left { .. } => "left",
    }
}

fn counts(replayed: &[(PartitionId, Replayed)]) -> [(&'static str, u64); 4] {
    ["unchanged", "restored", "changed", "left"].map(|wanted| {
        let of = replayed
            .iter()
            .filter(|(_, outcome)| word(outcome) == wanted);
        (wanted, of.count() as u64)
    })
}

fn to_json(replayed: &[(PartitionId, Replayed)], code: Code) -> serde_json::Value {
    let partitions: Vec<_> = replayed
        .iter()
        .map(|(id, outcome)| {
            let reason = match outcome {
                Replayed::Left { reason } => Some(reason),
                _ => None,
            };
            let (revision, rows) = match outcome {
                Replayed::Changed { revision, rows } => (Some(revision), Some(rows)),
                _ => (None, None),
            };
            json!({
                "tenant": id.tenant, "dataset": id.dataset, "dt": id.dt, "outcome": word(outcome),
                "revision": revision, "rows": rows, "reason": reason,
            })
        })
        .collect();
    let counts: serde_json::Map<_, _> = counts(replayed)
        .into_iter()
        .map(|(word, n)| (word.to_owned(), json!(n)))
        .collect();
    json!({ "exit_code": code.number(), "counts": counts, "partitions": partitions })
}

fn show(replayed: &[(PartitionId, Replayed)]) {
    let told = replayed
        .iter()
        .filter(|(_, outcome)| *outcome != Replayed::Unchanged);
    let rows: Vec<Vec<String>> = told
        .map(|(id, outcome)| {
            let more = match outcome {
                Replayed::Changed { revision, rows } => {
                    format!("revision {revision}, {} rows", number(*rows))
                }
                Replayed::Left { reason } => reason.clone(),
                Replayed::Unchanged | Replayed::Restored => String::new(),
            };
            vec![
                id.tenant.clone(),
                id.dataset.to_string(),
                id.dt.to_string(),
                word(outcome).to_owned(),
                more,
            ]
        })
        .collect();
    if !rows.is_empty() {
        println!(
            "{}",
            table(&["tenant", "dataset", "dt", "outcome", ""], rows)
        );
    }
    let counts = counts(replayed).map(|(word, n)| format!("{} {word}", number(n)));
    println!(
        "{} partitions: {}.",
        number(replayed.len() as u64),
        counts.join(", ")
    );
}
