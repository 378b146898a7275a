//! `meetlake ledger rebuild`: restores the published state from the lake when the ledger is lost.

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};
use serde_json::json;

use super::Common;
use super::identify::Purpose;
use super::open::App;
use crate::exit::Code;
use crate::failpoint;
use crate::rebuild::{self, RebuildReport};
use crate::status::text::{number, table};

/// Arguments of `meetlake ledger`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    verb: LedgerVerb,
}

#[derive(Clone, Debug, Subcommand)]
enum LedgerVerb {
    /// Take over what is published from the manifests of the lake, into an empty ledger; the next
    /// run exports only what is not there.
    Rebuild(RebuildArgs),
    /// Make the lake this ledger's, because the one that it names will never run again.
    TakeOver,
}

/// Arguments of `meetlake ledger rebuild`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RebuildArgs {
    /// The lake's key is lost: make a new one, and give all tasks the names that it gives them.
    #[arg(long)]
    pub new_key: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const NAME: &str = "ledger rebuild";

/// Runs a verb on the ledger itself.
///
/// # Errors
/// When the lake or the ledger cannot be used.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    let args = match &args.verb {
        LedgerVerb::Rebuild(args) => args,
        LedgerVerb::TakeOver => return take_over(common).await,
    };
    let Some(config) = super::load(common, args.json)? else {
        return Ok(Code::Usage);
    };
    let clock = failpoint::clock();
    let purpose = match args.new_key {
        true => Purpose::RebuildWithNewKey,
        false => Purpose::Rebuild,
    };
    let app = App::open_with(config, clock.clone(), NAME, purpose).await?;
    if !app.ledger.is_blank().await? {
        let path = app.ledger.path().display();
        eprintln!(
            "error: the ledger {path} is not empty, and a rebuild needs an empty one; to \
             replace it, move it away together with its -wal and -shm files"
        );
        return Ok(Code::Usage);
    }
    let began = clock.now();
    app.events.begin_run(began);
    app.ledger.run_began(NAME, began).await?;
    let (restored, report) = rebuild::from_lake(&app.tenants, &app.config.jobs).await?;
    app.ledger.restore(&restored).await?;
    let partitions: u64 = report.datasets.iter().map(|of| of.partitions).sum();
    let tasks: u64 = report.datasets.iter().map(|of| of.tasks).sum();
    let summary = format!("{partitions} partitions, {tasks} tasks");
    let code = match report.damaged() {
        0 => Code::Done,
        _ => Code::Contract,
    };
    app.ledger
        .run_ended(began, clock.now(), code.number(), &summary)
        .await?;
    if args.json {
        println!(
            "{}",
            json!({ "exit_code": code.number(), "restored": report.datasets, "problems": report.problems })
        );
    } else {
        show(&report);
        if args.new_key
            && let Some(tenant) = app.tenants.first()
        {
            let place = match app.config.lake.key.file(&tenant.lake_id) {
                Some(path) => path.display().to_string(),
                None => "`key` in [lake]".to_owned(),
            };
            println!(
                "The lake has the key {} now, at {place}; keep a copy of it apart. `meetlake \
                 replay` brings the keys in the rows under it.",
                tenant.key.id()
            );
        }
        show_damage(report.damaged());
    }
    Ok(code)
}

/// The last line, so that nobody takes a ledger with gaps for whole.
fn show_damage(damaged: usize) {
    match damaged {
        0 => {}
        1 => println!(
            "One of these problems is damage, and the ledger lacks what it names; `meetlake \
             verify` names all that is damaged."
        ),
        n => println!(
            "{} of these problems are damage, and the ledger lacks what they name; `meetlake \
             verify` names all that is damaged.",
            number(n as u64)
        ),
    }
}

/// Writes this ledger's id into the lake's record.
async fn take_over(common: &Common) -> Result<Code> {
    let Some(config) = super::load(common, false)? else {
        return Ok(Code::Usage);
    };
    let name = "ledger take-over";
    let app = App::open_with(config, failpoint::clock(), name, Purpose::TakeOver).await?;
    if let Some(tenant) = app.tenants.first() {
        println!(
            "The lake {} belongs to {} now. A process with another ledger publishes nothing more \
             there.",
            tenant.lake.url(),
            app.ledger.path().display()
        );
    }
    Ok(Code::Done)
}

fn show(report: &RebuildReport) {
    if report.datasets.is_empty() {
        println!(
            "There is nothing to take over: the lake holds no manifest of a configured tenant and \
             job."
        );
    } else {
        let rows = report.datasets.iter().map(|of| {
            vec![
                of.tenant.clone(),
                of.dataset.to_string(),
                number(of.partitions),
                number(of.partial),
                number(of.rows),
                number(of.windows),
                number(of.open_windows),
                number(of.tasks),
                number(of.open_tasks),
                number(of.parents),
            ]
        });
        let header = [
            "tenant",
            "dataset",
            "partitions",
            "partial",
            "rows",
            "windows",
            "open",
            "tasks",
            "open tasks",
            "parent rows",
        ];
        println!("{}", table(&header, rows));
    }
    for problem in &report.problems {
        println!("{}: {}", problem.path, problem.problem);
    }
}
