//! `meetlake demo`: runs the whole pipeline against a simulated company into a local lake, and says
//! how to look into it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};
use meetlake_simulator::{Fault, Options, Server, SimClock};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Common;
use super::open::App;
use super::progress::Style;
use super::run::{execute_app, exit_of, print_summaries};
use super::serve::event_datasets;
use super::status::show_events;
use crate::clock::Clock;
use crate::datasets::{Dataset, RequestOption};
use crate::exit::Code;
use crate::inlet::Inlet;
use crate::ledger::Ledger;
use crate::ledger::PartitionStatus;
use crate::run::Scope;
use crate::status::text::{bytes, number, table};

/// Arguments of `meetlake demo`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Folder for the lake, the ledger and the configuration of the demo.
    #[arg(long, value_name = "DIR", default_value = "meetlake-demo")]
    pub out: PathBuf,
    /// Civil days of the simulated company.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=90))]
    pub days: u32,
    /// Meetings on each day.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub meetings_per_day: u32,
    /// The same seed gives the same company and the same content.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Faults that the simulated API shows, such as `429:0.05` or `truncated:x3`; comma-separated
    /// or repeated.
    #[arg(long, value_name = "FAULT", value_delimiter = ',', value_parser = super::simulate::fault)]
    pub faults: Vec<Fault>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The demo's last day. It is fixed, so that the same seed gives the same content hashes next year.
const LAST_DAY: Date = date(2026, 10, 18);
const ZONE: &str = "Asia/Shanghai";
/// How much faster simulated time runs: the quota of a minute takes a seventh of a second.
const SPEED: f64 = 400.0;
const TENANT: &str = "demo";
/// Under which the ledger says that the events came.
const EVENTS_CAME: &str = "demo events";
/// Real time in which so many events come at least, however slow the disk is.
const EVENTS_IN_A_MINUTE: usize = 1_000;

/// Runs the demo, or continues one that was interrupted.
///
/// # Errors
/// When something on this machine fails.
pub async fn run(args: Args) -> Result<Code> {
    let began = Instant::now();
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("could not create {}", args.out.display()))?;
    let out = args
        .out
        .canonicalize()
        .with_context(|| format!("could not find {}", args.out.display()))?;
    let ledger_path = out.join("meetlake.db");
    let (last_active, earlier) = match Ledger::open_for_reading(&ledger_path).await? {
        Some(ledger) => (ledger.last_active().await?, ledger.meta("demo").await?),
        None => (None, None),
    };
    let description = format!(
        "{} days, {} meetings a day, seed {}",
        args.days, args.meetings_per_day, args.seed
    );
    if let Some(earlier) = earlier.filter(|earlier| *earlier != description) {
        eprintln!(
            "error: {} holds a demo with {earlier}, not {description}; choose another --out, or \
             remove that folder",
            out.display()
        );
        return Ok(Code::Usage);
    }
    let zone = TimeZone::get(ZONE).context("the bundled zones hold Asia/Shanghai")?;
    let origin = SimClock::noon_after(LAST_DAY, &zone, SPEED).start();
    // An interrupted demo continues at the time it had reached, so that nothing in its ledger lies
    // in the future.
    let now = last_active.map_or(origin, |at| at.max(origin) + SignedDuration::from_secs(1));
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("could not listen on a local port")?;
    let server = Server::start(listener, options(&args, now))?;
    let clock = Clock::scaled(now, SPEED);
    let first_day = LAST_DAY.checked_sub((i64::from(args.days) - 1).days())?;
    write_configuration(&out, &server, first_day)?;
    let common = Common {
        config: out.join("meetlake.toml"),
        log: None,
        log_json: false,
    };
    let Some(config) = super::load(&common, args.json)? else {
        return Ok(Code::Unexpected);
    };
    let app = App::open(config, clock, "demo").await?;
    app.ledger.set_meta("demo", &description).await?;
    if !args.json {
        println!(
            "A simulated company with {description}, {first_day} to {LAST_DAY}; simulated time \
             runs {SPEED} times as fast.\n"
        );
    }
    receive_events(&app, &server).await?;
    // The jobs begin with the first day.
    let scope = Scope::Due;
    let summaries = execute_app(
        &app,
        None,
        &scope,
        &app.limits(),
        Style::detect(args.json),
        "demo",
    )
    .await?;
    let status = app.ledger.partition_status(Some(TENANT)).await?;
    let event_types = app.ledger.event_types(TENANT).await?;
    let report = server.report();
    server.stop().await;
    let exit = exit_of(&summaries);
    if args.json {
        let partitions: Vec<_> = status
            .iter()
            .map(|row| {
                json!({ "dataset": row.dataset, "partitions": row.partitions,
                "rows": row.rows, "size_bytes": row.size_bytes })
            })
            .collect();
        let line = json!({
            "exit_code": exit.number(), "lake": out.join("lake"), "datasets": partitions,
                "tenants": summaries,
            "elapsed_ms": began.elapsed().as_millis(), "simulator": report,
        });
        println!("{line}");
        return Ok(exit);
    }
    if !summaries.iter().all(crate::run::Summary::is_settled) {
        print_summaries(&summaries);
    }
    println!("\n{}\n", lake_table(&status));
    show_events(TENANT, &event_types);
    let tasks: u64 = summaries
        .iter()
        .flat_map(|summary| summary.datasets.values())
        .map(|counts| counts.finished)
        .sum();
    println!(
        "{} tasks in {:.1} s: exports, reports and lists.",
        number(tasks),
        began.elapsed().as_secs_f64()
    );
    println!("The lake is {}", out.join("lake").display());
    println!(
        "\nTo look into it, paste this into DuckDB:\n\n  {}",
        duckdb_statement(&out)
    );
    println!(
        "\nWhat meetlake itself knows of it:\n\n  meetlake status --config {}",
        relative_to_here(&out.join("meetlake.toml"))
    );
    Ok(exit)
}

/// Receives the events of the company's days over the long connection, as `serve` does. Whatever
/// did not come is sent again by the next start.
async fn receive_events(app: &App, server: &Server) -> Result<()> {
    if app.ledger.meta(EVENTS_CAME).await?.is_some() {
        return Ok(());
    }
    let stop = CancellationToken::new();
    let tenant = app.tenants.first().context("the demo has a tenant")?;
    let inlet = Inlet::new(Arc::clone(tenant), event_datasets(app, TENANT), &stop);
    let company = server.company();
    let start = company.start_of_day(server.first_day());
    let events = server.send_events(start, company.start_of_day(server.last_day().tomorrow()?));
    let longest = Duration::from_secs(60) * (1 + events.len() / EVENTS_IN_A_MINUTE) as u32;
    let all_came = async {
        while server.events_waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let watched = async {
        let came = tokio::time::timeout(longest, all_came).await;
        stop.cancel();
        came.is_ok()
    };
    let (received, came) = tokio::join!(inlet.receive(), watched);
    received?;
    match came {
        true => app.ledger.set_meta(EVENTS_CAME, "all").await?,
        false => eprintln!(
            "note: {} of {} events did not come; the next start asks for them",
            server.events_waiting(),
            events.len()
        ),
    }
    Ok(())
}

fn options(args: &Args, now: Timestamp) -> Options {
    Options {
        seed: args.seed,
        days: args.days,
        meetings_per_day: args.meetings_per_day,
        clock: SimClock::new(now, SPEED),
        faults: args.faults.clone(),
        // The demo's client runs in simulated time too.
        real_time_headers: false,
        event_pause: Duration::ZERO,
        ..Options::ending(LAST_DAY, SPEED)
    }
}

/// Writes a real configuration, so that `status`, `plan` and `validate` work on the demo too.
fn write_configuration(out: &Path, server: &Server, first_day: Date) -> Result<()> {
    let options = server.options();
    let config = format!(
        "# Written by `meetlake demo`; the address is of a simulator that ends with the demo.\n\
         version = 1\n\n\
         [lake]\nurl = \"file://{}\"\nkey_file = \"key/lake.key\"\n\n[ledger]\npath = \"meetlake.db\"\n\n[tenants.{TENANT}]\n\
         host = \"{}\"\napp_id = \"{}\"\n\
         app_secret = \"{}\"\nallow_inline_secret = true\ntime_zone = \"{ZONE}\"\n\n\
         [tenants.{TENANT}.events]\ninlet = \"long_connection\"\n",
        out.join("lake").display(),
        server.base_url(),
        options.app_id,
        options.app_secret
    );
    write(&out.join("meetlake.toml"), &config)?;
    write_key(&out.join("key/lake.key"))?;
    std::fs::create_dir_all(out.join("jobs")).context("could not create the demo's jobs folder")?;
    std::fs::create_dir_all(out.join("lake")).context("could not create the demo's lake folder")?;
    // Nobody knows ids of reservations.
    let is_shown = |dataset: &Dataset| {
        let options = dataset.definition().options;
        !options.contains(&RequestOption::IdsFile)
    };
    for dataset in Dataset::ALL.into_iter().filter(is_shown) {
        let mut job = format!("version = 1\ndataset = \"{dataset}\"\ncron = \"0 5 * * *\"\n");
        if dataset.has_history() {
            let days = "window = \"1d\"\nsettle_delay = \"1h\"\nlookback = \"0d\"";
            job = format!("{job}{days}\nstart = {first_day}\n");
        }
        write(&out.join("jobs").join(format!("{dataset}.toml")), &job)?;
    }
    Ok(())
}

/// Writes a key that everybody knows. The company is invented, and the same seed gives the same
/// bytes.
fn write_key(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = path.parent().context("a key has a folder")?;
    std::fs::create_dir_all(folder).context("could not create the demo's key folder")?;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        file => file.and_then(|mut file| writeln!(file, "{}", "d0".repeat(32))),
    }
    .with_context(|| format!("could not write {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}

/// A statement to paste into DuckDB's prompt, whatever folder it was started in.
fn duckdb_statement(out: &Path) -> String {
    let glob = out
        .join("lake/meeting_list/**/*.parquet")
        .display()
        .to_string()
        .replace('\'', "''");
    format!(
        "SELECT dt, count(*) AS meetings, sum(duration_s) // 60 AS minutes FROM \
         read_parquet('{glob}', hive_partitioning = true) \
         GROUP BY dt ORDER BY dt;"
    )
}

/// The path relative to the current folder, if it lies below it.
fn relative_to_here(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned))
        .unwrap_or_else(|| path.to_owned())
        .display()
        .to_string()
}

/// Totals of a lake with one tenant: one line a dataset.
#[must_use]
fn lake_table(rows: &[PartitionStatus]) -> String {
    let lines = rows.iter().map(|row| {
        vec![
            row.dataset.to_string(),
            number(row.partitions),
            number(row.rows),
            bytes(row.size_bytes),
            format!("{} to {}", row.first_dt, row.last_dt),
        ]
    });
    table(&["dataset", "partitions", "rows", "size", "days"], lines)
}
