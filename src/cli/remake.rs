//! `meetlake replay --re-cut` and `--re-read`: brings all days of a lake under settings that were
//! corrected, from the archived originals.

use anyhow::Result;
use serde_json::json;

use super::identify::{self, Purpose};
use super::open::App;
use super::replay::{OUTCOMES, show, to_json};
use crate::clock::Clock;
use crate::config::Config;
use crate::datasets::Dataset;
use crate::exit::Code;
use crate::pipeline::{Remade, Remaking, Tenant};
use crate::record::{Remake, TenantSettings};
use crate::status::text::number;

/// Makes all days again of every tenant whose settings are not those of the lake.
///
/// # Errors
/// When the lake, the disk or the ledger refuses.
pub async fn run(config: Config, clock: Clock, remake: Remake, json: bool) -> Result<Code> {
    let verb = match remake.re_cut {
        true => "replay --re-cut",
        false => "replay --re-read",
    };
    let app = App::open_with(config, clock.clone(), verb, Purpose::Remake(remake)).await?;
    let began = clock.now();
    app.events.begin_run(began);
    app.ledger.run_began(verb, began).await?;
    let mut all = Remade {
        is_done: true,
        ..Remade::default()
    };
    let mut told = Vec::new();
    for tenant in &app.tenants {
        let Some(record) = app.records.get(&tenant.name) else {
            continue;
        };
        let (from, to) = identify::remade(record, &app.config, &tenant.name, remake);
        let remaking = Remaking::new(tenant, &app.config.jobs, from.clone(), to.clone())?;
        let remade = remaking.run().await?;
        if remade.is_done && !remade.days.is_empty() {
            told.push(what_is_new(&app, tenant, &from, &to).await?);
        }
        all.is_done &= remade.is_done;
        all.days.extend(remade.days);
    }
    let code = match all.is_done {
        true => Code::Done,
        false => Code::Contract,
    };
    let summary = format!("{} days", all.days.len());
    app.ledger
        .run_ended(began, clock.now(), code.number(), &summary)
        .await?;
    if json {
        let mut shown = to_json(&all.days, &OUTCOMES, code);
        shown["is_done"] = json!(all.is_done);
        println!("{shown}");
        return Ok(code);
    }
    if all.days.is_empty() {
        println!("All days were made with the settings of the configuration; nothing was done.");
        return Ok(code);
    }
    show(&all.days, &OUTCOMES);
    for told in told {
        println!("{told}");
    }
    if !all.is_done {
        println!(
            "\nNot all days could be made again, for the reasons above. Bring back what is damaged \
             from a copy, and run the same command again."
        );
    }
    Ok(code)
}

/// What is different now, for people.
async fn what_is_new(
    app: &App,
    tenant: &Tenant,
    from: &TenantSettings,
    to: &TenantSettings,
) -> Result<String> {
    let name = &tenant.name;
    let partitions = app.ledger.partitions(Some(name)).await?;
    let of_lake = |dataset: Dataset| partitions.iter().any(|row| row.dataset == dataset);
    let mut told = Vec::new();
    if from.time_zone != to.time_zone {
        told.push(format!(
            "The days of {name} are cut in {} now, and not in {} any more.",
            to.time_zone, from.time_zone
        ));
        let kept: Vec<&str> = Dataset::ALL
            .into_iter()
            .filter(|dataset| dataset.is_by_civil_day() && of_lake(*dataset))
            .map(Dataset::as_str)
            .collect();
        if !kept.is_empty() {
            told.push(format!(
                "{} keep their days: Feishu was asked for the days of {}.",
                kept.join(", "),
                from.time_zone
            ));
        }
    }
    for (dataset, now) in to.datasets.iter().filter(|(dataset, _)| of_lake(**dataset)) {
        let before = from.datasets.get(dataset).map(|before| &before.reading);
        if before != Some(&now.reading) {
            let zone = &now.reading.time_zone;
            told.push(format!(
                "Texts of {dataset} without a zone are read in {zone} now."
            ));
        }
    }
    let partial = partitions
        .iter()
        .filter(|row| row.revision > 0 && !row.complete);
    let partial = partial.count() as u64;
    if partial > 0 {
        told.push(format!(
            "{} days of {name} are partial; `meetlake status` says why, such as hours that no \
             export covers, which `meetlake backfill` asks for.",
            number(partial)
        ));
    }
    Ok(told.join("\n"))
}
