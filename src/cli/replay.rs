//! `meetlake replay`: makes partitions again from the archived originals, without asking Feishu.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use jiff::civil::Date;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::identify::Purpose;
use super::open::{self, App};
use super::{Common, remake};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::datasets::Dataset;
use crate::exit::Code;
use crate::failpoint;
use crate::job::JobSpec;
use crate::pipeline::{self, Replayed, Tenant};
use crate::publish::identity::{self, LakeState};
use crate::publish::{self, manifest};
use crate::record::{PartitionId, Remake};
use crate::status::text::{number, table};
use crate::task::hex;

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
    /// Write the data of a lake of format 1 into a new lake, which may be a folder; the old lake is
    /// only read. Killed, it goes on where it was.
    #[arg(long, value_name = "URL")]
    pub into: Option<String>,
    /// Cut all days in the zone that the configuration names by now, and put each dataset where its
    /// job says. Killed, it goes on where it was.
    #[arg(long, conflicts_with_all = ["datasets", "from", "to", "into"])]
    pub re_cut: bool,
    /// Read all originals as the jobs say by now: in the job's zone, where a date-time names none.
    #[arg(long, conflicts_with_all = ["datasets", "from", "to", "into"])]
    pub re_read: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const NAME: &str = "replay";
const NAME_INTO: &str = "replay --into";

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
    if let Some(url) = &args.into {
        return Box::pin(run_into(config, clock, args, url)).await;
    }
    let remake = Remake {
        re_cut: args.re_cut,
        re_read: args.re_read,
    };
    if remake != Remake::default() {
        return Box::pin(remake::run(config, clock, remake, args.json)).await;
    }
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
    let counted = counts(&replayed, &OUTCOMES).into_iter();
    let counted: Vec<String> = counted.map(|(word, n)| format!("{n} {word}")).collect();
    let summary = counted.join(", ");
    app.ledger
        .run_ended(began, clock.now(), code.number(), &summary)
        .await?;
    for tenant in &app.tenants {
        pipeline::remember_pace_and_calls(tenant).await?;
    }
    if args.json {
        println!("{}", to_json(&replayed, &OUTCOMES, code));
    } else {
        show(&replayed, &OUTCOMES);
    }
    Ok(code)
}

/// Removes the folder of a replay that is done, while its lock is still held: at once under its
/// name, so that whoever begins meanwhile finds all of it, or makes one of their own.
fn take_away(scratch: &Path) -> io::Result<()> {
    let done = beside(scratch, ".done");
    if done.exists() {
        // Left by one that was killed here.
        std::fs::remove_dir_all(&done)?;
    }
    std::fs::rename(scratch, &done)?;
    std::fs::remove_dir_all(&done)
}

/// Whether a ledger was not opened because its folder went away meanwhile.
fn is_taken_away(scratch: &Path, error: &anyhow::Error) -> bool {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.into_iter().any(is_missing) && !scratch.exists()
}

/// Writes the data of the configured lake, which has format 1, into a new lake.
async fn run_into(mut config: Config, clock: Clock, args: &Args, url: &str) -> Result<Code> {
    let folder = std::env::current_dir().context("could not find the working directory")?;
    if url.is_empty() {
        eprintln!("error: --into has no value; is the variable set that it comes from?");
        return Ok(Code::Usage);
    }
    let new_url = match config::lake_url(url, &folder) {
        Ok(url) if is_inside(&url, &config.lake.url) || is_inside(&config.lake.url, &url) => {
            eprintln!(
                "error: --into {url}: one of the two lakes would lie inside of the other; name \
                 another folder"
            );
            return Ok(Code::Usage);
        }
        Ok(url) if url != config.lake.url => url,
        Ok(_) => {
            eprintln!("error: --into {url} is the configured lake itself; name another one");
            return Ok(Code::Usage);
        }
        Err(why) => {
            eprintln!("error: --into {url} {why}");
            return Ok(Code::Usage);
        }
    };
    let old = open::lake(&config)?;
    let problem = match identity::find(&old).await? {
        LakeState::OfFormat1 => None,
        LakeState::Known(..) => Some("has the present format; `meetlake replay` is for it"),
        LakeState::RecordLost => Some("has the present format, and its lake.json is gone"),
        LakeState::Nothing => Some("holds nothing"),
    };
    if let Some(problem) = problem {
        eprintln!("error: the lake {} {problem}", old.url());
        return Ok(Code::Usage);
    }
    // Ledger and spool of their own, so that those of the old lake stay as they are.
    let ledger_path = config.ledger_path.clone();
    let target = &hex(&Sha256::digest(new_url.as_str()))[..8];
    let scratch = beside(&config.spool_path, &format!(".replay-into-{target}"));
    config.lake.url = new_url.clone();
    config.ledger_path = scratch.join("meetlake.db");
    config.spool_path = scratch.join("spool");
    let app = match App::open_with(config, clock, NAME_INTO, Purpose::ReplayInto).await {
        // Whoever works on the same holds the lock in it, or has just ended and taken it away.
        Err(error) if is_taken_away(&scratch, &error) => {
            eprintln!(
                "error: another `meetlake replay --into {url}` has ended meanwhile, and took {} \
                 away; run it again, and it goes on from what is there",
                scratch.display()
            );
            return Ok(Code::LedgerLocked);
        }
        opened => opened?,
    };
    let mut replayed = Vec::new();
    let all = manifest::all(&old).await?;
    let mut first_days: BTreeMap<String, Date> = BTreeMap::new();
    for id in all.keys() {
        let first = first_days.entry(id.tenant.clone()).or_insert(id.dt);
        *first = id.dt.min(*first);
    }
    for (id, records) in all {
        let first_day = first_days[&id.tenant];
        let Some((_, newest)) = records.last_key_value().filter(|_| is_wanted(args, &id)) else {
            continue;
        };
        let outcome = match tenant_and_job(&app, &id) {
            Ok((tenant, job)) => {
                Box::pin(pipeline::replay_into(tenant, job, &old, newest, first_day)).await?
            }
            Err(reason) => Replayed::Left { reason },
        };
        replayed.push((id, outcome));
    }
    let quarantined = match app.tenants.first() {
        Some(tenant) => pipeline::copy_quarantine(&old, tenant).await?,
        None => 0,
    };
    let is_whole = !replayed
        .iter()
        .any(|(_, outcome)| matches!(outcome, Replayed::Left { .. }));
    let code = if is_whole { Code::Done } else { Code::Contract };
    if is_whole && let Err(error) = take_away(&scratch) {
        eprintln!("note: {} could not be removed: {error}", scratch.display());
    }
    drop(app);
    if args.json {
        println!("{}", to_json(&replayed, &OUTCOMES_INTO, code));
        return Ok(code);
    }
    show(&replayed, &OUTCOMES_INTO);
    println!(
        "{} originals in quarantine were copied.",
        number(quarantined)
    );
    let is_filtered = args.from.is_some() || args.to.is_some() || !args.datasets.is_empty();
    if !is_whole {
        println!(
            "\nWhat was left is in the old lake only; after a fix, the same command goes on with it."
        );
    } else if is_filtered {
        println!(
            "\nOnly what was named was written; without names, the same command writes the rest."
        );
    } else {
        println!(
            "\nThe old lake is as it was. To go on with the new one:\n\
             1. set url = \"{new_url}\" in [lake]\n\
             2. move {} away, together with its -wal and -shm files\n\
             3. meetlake ledger rebuild",
            ledger_path.display()
        );
    }
    Ok(code)
}

/// Whether a lake lies in a folder of another.
fn is_inside(inner: &Url, outer: &Url) -> bool {
    let folder = |url: &Url| format!("{}/", url.as_str().trim_end_matches('/'));
    let (inner, outer) = (folder(inner), folder(outer));
    inner != outer && inner.starts_with(&outer)
}

/// A path beside `path`, whose name goes on with `suffix`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(path.as_os_str()).to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn is_wanted(args: &Args, id: &PartitionId) -> bool {
    (args.datasets.is_empty() || args.datasets.contains(&id.dataset))
        && args.from.is_none_or(|from| id.dt >= from)
        && args.to.is_none_or(|to| id.dt < to)
}

/// Who a partition is of, and the job that exports it; or why nobody is.
fn tenant_and_job<'a>(app: &'a App, id: &PartitionId) -> Result<(&'a Tenant, &'a JobSpec), String> {
    let tenant = app.tenants.iter().find(|tenant| tenant.name == id.tenant);
    let tenant = tenant.ok_or("its tenant is not in the configuration")?;
    let exports = |job: &&JobSpec| job.dataset == id.dataset && job.tenants.contains(&id.tenant);
    let job = app.config.jobs.iter().find(exports);
    let job = job.ok_or("no job of the configuration exports this dataset for this tenant")?;
    Ok((tenant, job))
}

async fn replay(app: &App, args: &Args) -> Result<Vec<(PartitionId, Replayed)>> {
    let mut replayed = Vec::new();
    let Some(first) = app.tenants.first() else {
        return Ok(replayed);
    };
    for (id, records) in manifest::all(&first.lake).await? {
        let is_ours = app.tenants.iter().any(|tenant| tenant.name == id.tenant);
        let newest = records.last_key_value();
        let Some((_, newest)) = newest.filter(|_| is_ours && is_wanted(args, &id)) else {
            continue;
        };
        let (tenant, job) = match tenant_and_job(app, &id) {
            Ok(found) => found,
            Err(reason) => {
                replayed.push((id, Replayed::Left { reason }));
                continue;
            }
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
        Replayed::Written { .. } => "written",
        Replayed::Left { .. } => "left",
    }
}

/// What may become of a partition: in the same lake, and in a new one.
pub(super) const OUTCOMES: [&str; 4] = ["unchanged", "restored", "changed", "left"];
const OUTCOMES_INTO: [&str; 3] = ["written", "unchanged", "left"];

fn counts(
    replayed: &[(PartitionId, Replayed)],
    outcomes: &[&'static str],
) -> Vec<(&'static str, u64)> {
    let count = |wanted: &&'static str| {
        let of = replayed
            .iter()
            .filter(|(_, outcome)| word(outcome) == *wanted);
        (*wanted, of.count() as u64)
    };
    outcomes.iter().map(count).collect()
}

pub(super) fn to_json(
    replayed: &[(PartitionId, Replayed)],
    outcomes: &[&'static str],
    code: Code,
) -> serde_json::Value {
    let partitions: Vec<_> = replayed
        .iter()
        .map(|(id, outcome)| {
            let reason = match outcome {
                Replayed::Left { reason } => Some(reason),
                _ => None,
            };
            let (revision, rows) = match outcome {
                Replayed::Changed { revision, rows } => (Some(revision), Some(rows)),
                Replayed::Written { rows } => (None, Some(rows)),
                _ => (None, None),
            };
            json!({
                "tenant": id.tenant, "dataset": id.dataset, "dt": id.dt, "outcome": word(outcome),
                "revision": revision, "rows": rows, "reason": reason,
            })
        })
        .collect();
    let counts: serde_json::Map<_, _> = counts(replayed, outcomes)
        .into_iter()
        .map(|(word, n)| (word.to_owned(), json!(n)))
        .collect();
    json!({ "exit_code": code.number(), "counts": counts, "partitions": partitions })
}

pub(super) fn show(replayed: &[(PartitionId, Replayed)], outcomes: &[&'static str]) {
    let told = replayed
        .iter()
        .filter(|(_, outcome)| *outcome != Replayed::Unchanged);
    let rows: Vec<Vec<String>> = told
        .map(|(id, outcome)| {
            let more = match outcome {
                Replayed::Changed { revision, rows } => {
                    format!("revision {revision}, {} rows", number(*rows))
                }
                Replayed::Written { rows } => format!("{} rows", number(*rows)),
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
    let counts = counts(replayed, outcomes).into_iter();
    let counts: Vec<String> = counts
        .map(|(word, n)| format!("{} {word}", number(n)))
        .collect();
    println!(
        "{} partitions: {}.",
        number(replayed.len() as u64),
        counts.join(", ")
    );
}
