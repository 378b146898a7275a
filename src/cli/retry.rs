//! `meetlake retry --quarantine`: what broke its contract, once more, after the configuration or
//! the program was mended.
//!
//! The bytes that were put aside are read again, so nobody is asked for them; only where they are
//! gone is the task exported anew. What is still wrong goes back to quarantine with the new reason.

use anyhow::Result;
use clap::Args as ClapArgs;
use jiff::civil::Date;

use super::Common;
use super::run::{RunArgs, execute};
use crate::datasets::Dataset;
use crate::exit::Code;
use crate::run::Scope;

/// Arguments of `meetlake retry`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Try what is in quarantine again. (What failed is tried again by every run.)
    #[arg(long, required = true)]
    pub quarantine: bool,
    /// First civil day, in each job's time zone; all days without it.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub from: Option<Date>,
    /// First civil day after the range (it is half-open).
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub to: Option<Date>,
    /// Only this dataset; repeatable.
    #[arg(long, value_name = "NAME")]
    pub dataset: Vec<Dataset>,
    #[command(flatten)]
    run: RunArgs,
}

/// Tries again what is in quarantine.
///
/// # Errors
/// When this machine is at fault.
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
    let datasets = match args.dataset.as_slice() {
        [] => Dataset::ALL.to_vec(),
        some => some.to_vec(),
    };
    let scope = Scope::Quarantined {
        from: args.from,
        to: args.to,
        datasets,
    };
    execute(common, &args.run, scope, "retry", true).await
}
