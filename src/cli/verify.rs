//! `meetlake verify`: checks that the lake is what its records and the ledger say.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use serde_json::json;

use super::{Common, identify, open};
use crate::disk;
use crate::exit::Code;
use crate::owner_only::{self, ScratchFolder};
use crate::publish::identity::LakeState;
use crate::spool::Spool;
use crate::status::text::number;
use crate::text::count;
use crate::verify::{self, VerifyReport};

/// Arguments of `meetlake verify`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Reads the whole lake and prints what is wrong with it. It calls no API and changes nothing.
///
/// # Errors
/// When the lake or the ledger cannot be read.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    let Some(config) = super::load(common, args.json)? else {
        return Ok(Code::Usage);
    };
    let lake = open::lake(&config)?;
    let state = identify::find(&lake).await?;
    let ledger = identify::ledger_for_reading(&config).await?;
    // Another lake's ledger would call everything unknown.
    if let (Some(ledger), LakeState::Known(..)) = (&ledger, &state) {
        identify::check_ledger(&lake, &state, ledger).await?;
        identify::check_ledger_owns(&lake, &state, ledger).await?;
    }
    let folder = scratch_folder(&config.spool_path)?;
    let scratch = Spool::open(folder.path())?;
    let report = verify::verify(&lake, ledger.as_ref(), &scratch).await?;
    let code = match report.findings.as_slice() {
        [] => Code::Done,
        _ => Code::Contract,
    };
    if args.json {
        println!(
            "{}",
            json!({ "exit_code": code.number(), "report": report })
        );
    } else {
        show(&report);
    }
    Ok(code)
}

/// A folder for copies of objects: beside what is spooled, because that disk has room for an
/// object, or the system's for temporary files where the spool may not be written.
fn scratch_folder(spool: &Path) -> Result<ScratchFolder> {
    let in_spool =
        owner_only::ensure_folder(spool).and_then(|()| ScratchFolder::within(spool, "verify"));
    let (made, parent) = match in_spool {
        Err(error) if disk::is_denied(&error) => {
            let temporary = std::env::temp_dir();
            (
                ScratchFolder::within(&temporary, "meetlake-verify"),
                temporary,
            )
        }
        made => (made, spool.to_owned()),
    };
    made.with_context(|| {
        let parent = parent.display();
        format!("could not make a folder for copies of objects in {parent}")
    })
}

fn show(report: &VerifyReport) {
    for finding in &report.findings {
        println!(
            "{}: {}: {}",
            finding.kind.as_str(),
            finding.path,
            finding.problem
        );
    }
    println!(
        "{} with {}, {}, {} in {}, {} in quarantine.",
        count(report.partitions, "partition"),
        count(report.rows, "row"),
        count(report.manifests, "manifest"),
        count(report.originals, "original"),
        count(report.packs, "pack"),
        count(report.quarantined, "original")
    );
    match (report.findings.len(), report.has_ledger) {
        (0, true) => println!("Everything is as the records say."),
        (0, false) => println!(
            "There is no ledger to compare with. What is there is as its records say; whether a \
             whole day, or its newest revision, was taken away together with its records, nobody \
             knows without one."
        ),
        (n, has_ledger) => {
            if !has_ledger {
                println!("There is no ledger to compare with.");
            }
            println!("Problems found: {}.", number(n as u64));
        }
    }
}
