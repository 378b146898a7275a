//! The command line: one file a verb. Parses, calls, prints, and turns outcomes into exit codes.

// In place of the macros of the standard library, which panic on a full disk: see `output`. They
// come first, so that every verb has them.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::output::print(format_args!($($text)*)) };
}
macro_rules! println {
    () => { $crate::cli::output::print(format_args!("\n")) };
    ($($text:tt)*) => {
        $crate::cli::output::print(format_args!("{}\n", format_args!($($text)*)))
    };
}
macro_rules! eprint {
    ($($text:tt)*) => { $crate::cli::output::print_error(format_args!($($text)*)) };
}
macro_rules! eprintln {
    () => { $crate::cli::output::print_error(format_args!("\n")) };
    ($($text:tt)*) => {
        $crate::cli::output::print_error(format_args!("{}\n", format_args!($($text)*)))
    };
}

pub mod api;
pub mod completions;
pub mod convert;
#[cfg(feature = "simulator")]
pub mod demo;
pub mod doctor;
mod dumps;
pub mod identify;
pub mod init;
pub mod ledger;
pub mod open;
pub mod orphans;
mod output;
pub mod plan;
pub mod progress;
mod range;
pub mod remake;
pub mod replay;
pub mod retry;
pub mod run;
pub mod serve;
#[cfg(feature = "simulator")]
pub mod simulate;
pub mod status;
pub mod validate;
pub mod verify;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{self, Config};
use crate::decode::{self, Fallback};
use crate::exit::Code;
use crate::ledger::Error as LedgerError;
use crate::{descriptors, keyring, pipeline, spool, store, telemetry};
use output::Output;

/// Feishu/Lark video-meeting data, in your warehouse by morning.
#[derive(Debug, Parser)]
#[command(name = "meetlake", version, about, long_about = None, max_term_width = 100, after_help = Code::help())]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb understands.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// The configuration file.
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        default_value = config::FILE_NAME,
        env = "MEETLAKE_CONFIG"
    )]
    pub config: PathBuf,
    /// What is logged to standard error: error, warn, info, debug, or a filter such as
    /// `meetlake=debug`.
    #[arg(long, global = true, value_name = "FILTER", env = "MEETLAKE_LOG")]
    pub log: Option<String>,
    /// Log as JSON, one object a line.
    #[arg(long, global = true)]
    pub log_json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show everything: a week of a simulated company through the whole pipeline into a local
    /// folder.
    #[cfg(feature = "simulator")]
    Demo(demo::Args),
    /// Write a commented configuration and job files to start from.
    Init(init::Args),
    /// Check the configuration and the jobs without any connection, and show when each job fires
    /// next.
    Validate(validate::Args),
    /// Check the live side, read-only: token, scopes, role, bucket, clock; names the cause and the
    /// fix.
    Doctor(doctor::Args),
    /// Show the windows, tasks and API calls that a run would need, and the time they take; calls
    /// nobody.
    Plan(plan::Args),
    /// Export everything that is due, now.
    Run(run::RunArgs),
    /// Export a range of days.
    Backfill(run::BackfillArgs),
    /// Try again what is in quarantine, after a fix.
    Retry(retry::Args),
    /// Run the jobs on their schedules, with a status page.
    Serve(serve::Args),
    /// Show which days are in the lake, and what needs attention.
    Status(status::Args),
    /// Prove the lake: every object, manifest and original against its record, and all of them
    /// against the ledger; calls nobody.
    Verify(verify::Args),
    /// Make partitions again from the archived originals, after a fix or a lost object; calls
    /// nobody.
    Replay(replay::Args),
    /// List what cut-off publishes left in the lake, and delete it when told to.
    Orphans(orphans::Args),
    /// Rebuild a lost ledger from the lake.
    Ledger(ledger::Args),
    /// Turn a workbook that you downloaded by hand into Parquet, offline.
    Convert(convert::Args),
    /// Make any call of the video-meeting API, and print its answer; what changes something needs
    /// --write and an app of its own.
    Api(api::Args),
    /// Run the simulated company behind a port, to try anything against it.
    #[cfg(feature = "simulator")]
    Simulate(simulate::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
    /// Read workbooks from standard input, for the process that started this one.
    #[command(name = decode::READER_VERB, hide = true)]
    ParseWorkbook,
}

/// Parses the arguments, runs the verb, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _failpoints = crate::failpoint::set_up();
    dumps::forbid();
    descriptors::raise_limit();
    let cli = Cli::parse();
    if matches!(cli.verb, Verb::ParseWorkbook) {
        return decode::serve_reader();
    }
    // A person at a terminal reads the verb's own output; a server's output is its log.
    let default = if matches!(cli.verb, Verb::Serve(_)) {
        telemetry::DEFAULT_FILTER
    } else {
        "error"
    };
    let format = if cli.common.log_json {
        telemetry::LogFormat::Json
    } else {
        telemetry::LogFormat::Compact
    };
    if let Err(error) = telemetry::start(cli.common.log.as_deref().unwrap_or(default), format) {
        eprintln!("error: --log: {error}");
        return Code::Usage.into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        // They wait for disks and names; `workers` has those that compute. More would only give the
        // allocator more arenas to keep.
        .max_blocking_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: could not start: {error}");
            return Code::Unexpected.into();
        }
    };
    let exit = runtime.block_on(dispatch(cli)).unwrap_or_else(|error| {
        eprintln!("error: {}", crate::text::harmless(&describe(&error)));
        exit_for(&error)
    });
    // A decoder that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    output::ended(exit).into()
}

async fn dispatch(cli: Cli) -> Result<Code> {
    let common = cli.common;
    let mut output = Output;
    match cli.verb {
        #[cfg(feature = "simulator")]
        Verb::Demo(args) => Box::pin(demo::run(args)).await,
        Verb::Init(args) => init::run(&args, &mut output),
        Verb::Validate(args) => {
            let (environment, now) = (&config::process_environment, jiff::Timestamp::now());
            Ok(validate::run(
                args,
                &common.config,
                environment,
                now,
                &mut output,
            )?)
        }
        Verb::Doctor(args) => Box::pin(doctor::run(&common, &args)).await,
        Verb::Plan(args) => Box::pin(plan::run(&common, &args)).await,
        Verb::Run(args) => Box::pin(run::run(&common, &args)).await,
        Verb::Backfill(args) => Box::pin(run::backfill(&common, &args)).await,
        Verb::Retry(args) => Box::pin(retry::run(&common, &args)).await,
        Verb::Serve(args) => Box::pin(serve::run(&common, &args)).await,
        Verb::Status(args) => Box::pin(status::run(&common, &args)).await,
        Verb::Verify(args) => Box::pin(verify::run(&common, &args)).await,
        Verb::Replay(args) => Box::pin(replay::run(&common, &args)).await,
        Verb::Orphans(args) => Box::pin(orphans::run(&common, &args)).await,
        Verb::Ledger(args) => Box::pin(ledger::run(&common, &args)).await,
        Verb::Api(args) => Box::pin(api::run(&common, &args)).await,
        Verb::Convert(args) => Ok(convert::run(&args, &Fallback::of_this_program())),
        #[cfg(feature = "simulator")]
        Verb::Simulate(args) => Box::pin(simulate::run(args)).await,
        Verb::Completions(args) => Ok(completions::run(args, Cli::command(), &mut output)?),
        Verb::ParseWorkbook => unreachable!("it ended before there was a runtime"),
    }
}

/// An error with its causes, each said once: some texts hold their cause already.
fn describe(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The exit code of an error that ended a verb.
fn exit_for(error: &anyhow::Error) -> Code {
    for cause in error.chain() {
        match cause.downcast_ref() {
            Some(LedgerError::Locked { .. } | LedgerError::Fenced { .. }) => {
                return Code::LedgerLocked;
            }
            Some(LedgerError::Newer { .. } | LedgerError::Older { .. }) => return Code::Usage,
            Some(LedgerError::Unreadable { .. }) => return Code::Storage,
            Some(error) if error.is_of_disk() => return Code::Storage,
            _ => {}
        }
        match cause.downcast_ref() {
            Some(keyring::Error::File { .. } | keyring::Error::NoRandomness) => {
                return Code::Storage;
            }
            Some(_) => return Code::Usage,
            None => {}
        }
        if matches!(
            cause.downcast_ref(),
            Some(identify::Error::AnotherLedger { .. })
        ) || cause.is::<pipeline::LakeTakenOver>()
        {
            return Code::LedgerLocked;
        }
        if cause.is::<identify::Error>() {
            return Code::Usage;
        }
        if cause.is::<store::Error>() || cause.is::<spool::Error>() {
            return Code::Storage;
        }
    }
    if pipeline::storage_failure(error).is_some() {
        return Code::Storage;
    }
    Code::Unexpected
}

/// Reads the configuration; prints its problems and gives `None` if there are any.
///
/// # Errors
/// Never for a wrong configuration; that is printed.
pub fn load(common: &Common, json: bool) -> Result<Option<Config>> {
    match config::load(&common.config, &config::process_environment) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}");
            }
            Ok(Some(config))
        }
        Err(problems) => {
            if json {
                println!(
                    "{}",
                    serde_json::json!({ "exit_code": Code::Usage.number(), "problems": problems.as_slice() })
                );
            } else {
                eprintln!("{problems}");
            }
            Ok(None)
        }
    }
}

/// Requests to stop, from the moment this exists: an interrupt or a request to terminate.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Begins to listen; make it before anything is announced that somebody may answer with a
    /// signal.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next request.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Parses `90s`, `15m`, `2h` or `1d`.
///
/// # Errors
/// A fragment for people.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 90s, 15m, 2h or 1d");
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(duration("90m"), Ok(Duration::from_secs(5400)));
        assert!(duration("90").is_err() && duration("m").is_err() && duration("-1h").is_err());
    }
}
