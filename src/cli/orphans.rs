//! `meetlake orphans`: lists and deletes what interrupted publishes left in the lake.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use clap::Args as ClapArgs;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Common, identify, open};
use crate::exit::Code;
use crate::ledger::Ledger;
use crate::orphans::{self, FoundOrphans, Orphan};
use crate::status::text::{bytes, number, table};

/// Arguments of `meetlake orphans`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Delete what is old enough; without it, nothing is changed.
    #[arg(long)]
    pub delete: bool,
    /// Age from which an orphan is deleted, by the store's clock.
    #[arg(long, value_name = "DURATION", value_parser = super::duration, default_value = "1d")]
    pub older_than: Duration,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Lists what no manifest and no ledger entry names, and deletes it if asked to.
///
/// # Errors
/// When the lake or the ledger cannot be used.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    let Some(config) = super::load(common, args.json)? else {
        return Ok(Code::Usage);
    };
    let lake = open::lake(&config)?;
    let state = identify::find(&lake).await?;
    identify::refuse_older(&config, &lake, Some(&state)).await?;
    // A collection owns the ledger, so that nobody publishes at the same time.
    let ledger = if args.delete && config.ledger_path.exists() {
        Some(Ledger::open(&config.ledger_path, "orphans --delete").await?)
    } else {
        identify::ledger_for_reading(&config).await?
    };
    let Some(ledger) = ledger else {
        eprintln!(
            "error: there is no ledger at {}, so nobody knows what is still needed; `meetlake \
             ledger rebuild` makes one from the lake",
            config.ledger_path.display()
        );
        return Ok(Code::Usage);
    };
    // What another lake's ledger does not name is not nobody's.
    identify::check_ledger(&lake, &state, &ledger).await?;
    identify::check_ledger_owns(&lake, &state, &ledger).await?;
    let tenants: HashSet<String> = config.tenants.keys().cloned().collect();
    let FoundOrphans {
        orphans: found,
        doubts,
    } = orphans::find(&lake, &ledger, &tenants).await?;
    let before = Timestamp::now().checked_sub(SignedDuration::try_from(args.older_than)?)?;
    let deleted = if args.delete {
        orphans::collect(&lake, &ledger, &tenants, &found, before).await?
    } else {
        Vec::new()
    };
    if args.json {
        let old = |orphan: &Orphan| orphan.written_at < before;
        let orphans: Vec<_> = found
            .iter()
            .map(|orphan| {
                json!({ "orphan": orphan, "old_enough": old(orphan),
                "deleted": deleted.contains(orphan) })
            })
            .collect();
        println!(
            "{}",
            json!({ "exit_code": Code::Done.number(), "orphans": orphans, "doubts": doubts })
        );
    } else {
        show(&found, &deleted, before, args.delete);
        for doubt in doubts {
            println!("{doubt}; `meetlake verify` names all that is missing.");
        }
    }
    Ok(Code::Done)
}

fn show(found: &[Orphan], deleted: &[Orphan], before: Timestamp, delete: bool) {
    if found.is_empty() {
        println!("There are no orphans.");
        return;
    }
    let rows = found.iter().map(|orphan| {
        let state = match () {
            () if deleted.contains(orphan) => "deleted",
            () if orphan.written_at >= before => "too young",
            () if delete => "kept: it came into use",
            () => "would be deleted",
        };
        vec![
            orphan.kind.as_str().to_owned(),
            orphan.path.clone(),
            bytes(orphan.size_bytes),
            orphan.written_at.strftime("%F %TZ").to_string(),
            state.to_owned(),
        ]
    });
    println!("{}", table(&["what", "path", "size", "written", ""], rows));
    let total: u64 = found.iter().map(|orphan| orphan.size_bytes).sum();
    println!(
        "{} orphans with {}, {} deleted.",
        number(found.len() as u64),
        bytes(total),
        number(deleted.len() as u64)
    );
}
