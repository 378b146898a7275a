//! `meetlake simulate`: serves the simulated company on a real port until it is stopped.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use meetlake_simulator::{Face, Fault, Options, Server, SimClock};
use serde_json::json;
use tokio::net::TcpListener;

use crate::exit::Code;

/// Arguments of `meetlake simulate`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// The site to be: Feishu, or Lark with English files, an older API and a company in New York.
    #[arg(long, value_name = "SITE", default_value = "feishu", value_parser = face)]
    pub face: Face,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9300")]
    pub listen: std::net::SocketAddr,
    /// Civil days with data, up to yesterday.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=400))]
    pub days: u32,
    /// Meetings on each day.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub meetings_per_day: u32,
    /// The same seed gives the same company.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How much faster than real time the simulated clock runs; the quota grows with it. 1 is real
    /// time and the real quota.
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
    /// Faults to switch on, such as `429:0.05` or `drop@poll:x3`; comma-separated or repeated.
    #[arg(long, value_name = "FAULT", value_delimiter = ',', value_parser = fault)]
    pub faults: Vec<Fault>,
    /// A scope to grant beside the usual ones, such as `vc:rooms.room.detailinfo:read` for lists by
    /// query; comma-separated or repeated.
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    pub grant: Vec<String>,
    /// After how long the next event of the company's meetings and rooms comes to whoever has a
    /// long connection, such as 5s or 2m; 0s: only by `POST /_simulator/events`.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = super::duration)]
    pub events: Duration,
    /// Call the webhook at this address with the events, in place of the long connection.
    #[arg(long, value_name = "ADDRESS")]
    pub webhook: Option<std::net::SocketAddr>,
    /// Print one line of JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Parses a speed: a number above 0 and up to 100,000.
pub(super) fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed > 0.0 && speed <= 100_000.0 => Ok(speed),
        _ => Err("a speed is a number above 0 and up to 100000".to_owned()),
    }
}

pub(super) fn fault(text: &str) -> Result<Fault, String> {
    Fault::parse(text).map_err(|error| error.to_string())
}

fn face(text: &str) -> Result<Face, String> {
    Face::parse(text).ok_or_else(|| "a site is feishu or lark".to_owned())
}

/// Runs the simulator until it is told to stop.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn run(args: Args) -> Result<Code> {
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("could not listen on {}", args.listen))?;
    let zone = args.face.time_zone();
    let zone = TimeZone::get(zone).with_context(|| format!("the bundled zones hold {zone}"))?;
    let now = Timestamp::now();
    let last_day = crate::window::date_of(&zone, now)
        .yesterday()
        .context("there is no yesterday")?;
    let mut options = Options {
        seed: args.seed,
        days: args.days,
        meetings_per_day: args.meetings_per_day,
        clock: SimClock::new(now, args.speed),
        faults: args.faults.clone(),
        event_every: (!args.events.is_zero()).then_some(args.events),
        webhook: args.webhook,
        real_time_headers: true,
        ..Options::of(args.face, last_day, args.speed)
    };
    options.knobs.scopes.extend(args.grant.iter().cloned());
    let server = Server::start(listener, options)?;
    let mut stop = super::StopSignals::listen()?;
    announce(&args, &server);
    stop.next().await;
    if !args.json {
        println!("{}", serde_json::to_string_pretty(&server.report())?);
    }
    let _ = tokio::time::timeout(Duration::from_secs(5), server.stop()).await;
    Ok(Code::Done)
}

fn announce(args: &Args, server: &Server) {
    let options = server.options();
    let calls_per_minute = (100.0 * args.speed).ceil();
    let configuration = configuration(args, server, calls_per_minute);
    if args.json {
        let line = json!({
            "base_url": server.base_url(), "app_id": options.app_id,
                "app_secret": options.app_secret,
            "first_day": server.first_day(), "last_day": server.last_day(),
                "time_zone": options.time_zone,
            "calls_per_minute": calls_per_minute, "configuration": configuration,
        });
        println!("{line}");
        return;
    }
    println!("A simulated company is listening. Ctrl-C stops it and prints what it received.\n");
    println!("  host         {}", server.base_url());
    println!("  app id       {}", options.app_id);
    println!("  app secret   {}", options.app_secret);
    println!(
        "  days         {} to {} ({})",
        server.first_day(),
        server.last_day(),
        options.time_zone
    );
    println!("  quota        {calls_per_minute} calls a minute per export endpoint");
    println!("  events       {}\n", events(args, server));
    println!(
        "Put this into meetlake.toml, in place of its [tenants.acme]; the last section is for \
         events, which `meetlake serve` receives:\n"
    );
    for line in configuration.lines() {
        println!("  {line}");
    }
}

/// When events come, and how one is asked for.
fn events(args: &Args, server: &Server) -> String {
    let url = format!("{}/_simulator/events", server.base_url());
    match (args.events.is_zero(), args.webhook) {
        (true, _) => format!("one for each `curl -X POST {url}`"),
        (false, None) => format!(
            "one every {:?} while somebody has a long connection; one now: `curl -X POST {url}`",
            args.events
        ),
        (false, Some(address)) => format!(
            "one every {:?} to http://{address}/; one now: `curl -X POST {url}`",
            args.events
        ),
    }
}

/// The tenant that the simulator is, as a configuration names it.
fn configuration(args: &Args, server: &Server, calls_per_minute: f64) -> String {
    let options = server.options();
    let limits = match args.speed == 1.0 {
        true => String::new(),
        false => format!("[limits]\nexports_per_minute = {calls_per_minute}\n\n"),
    };
    let inlet = match args.webhook {
        None => "inlet = \"long_connection\"".to_owned(),
        Some(address) => format!(
            "inlet = \"webhook\"\nlisten = \"{address}\"\nverification_token = \"{}\"\n\
             encrypt_key = \"{}\"",
            options.verification_token, options.encrypt_key
        ),
    };
    format!(
        "{limits}[tenants.simulated]\nhost = \"{}\"\napp_id = \"{}\"\napp_secret = \"{}\"\n\
         allow_inline_secret = true\ntime_zone = \"{}\"\n\n[tenants.simulated.events]\n{inlet}\n",
        server.base_url(),
        options.app_id,
        options.app_secret,
        options.time_zone
    )
}
