//! `meetlake doctor`: tests the live services without exporting anything, and names cause and fix.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args as ClapArgs;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Common, identify, open};
use crate::cause::Cause;
use crate::client::{self, Client};
use crate::clock::Clock;
use crate::config::{Config, TenantConfig};
use crate::datasets::{Ask, Dataset, Piece, ROOMS, RequestOptions};
use crate::exit::Code;
use crate::job::JobSpec;
use crate::ledger::{self, Ledger};
use crate::publish::location;
use crate::status::jobs_of;
use crate::status::text::span;
use crate::task::ExportId;
use crate::window::date_of;

/// Arguments of `meetlake doctor`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// One thing that was checked.
struct DoctorCheck {
    about: String,
    what: &'static str,
    /// What was found. An error says what to do.
    found: Result<String, String>,
    /// The exit code if it failed.
    exit: Code,
}

/// The largest clock difference that is accepted. A larger one spoils windows and tokens.
const MOST_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Runs all checks and prints the results.
///
/// # Errors
/// Never for a failed check, which is printed.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    let Some(config) = super::load(common, args.json)? else {
        return Ok(Code::Usage);
    };
    let mut checks = vec![
        check_ledger(&config).await,
        check_lake(&config).await,
        check_identity(&config).await,
    ];
    let clock = Clock::system();
    for tenant in config.tenants.values() {
        check_tenant(&config, tenant, &clock, &mut checks).await;
    }
    let failed = checks.iter().find(|check| check.found.is_err());
    let exit = failed.map_or(Code::Done, |check| check.exit);
    if args.json {
        let list: Vec<_> = checks
            .iter()
            .map(|check| match &check.found {
                Ok(found) => json!({ "about": check.about, "check": check.what, "ok": true,
                    "found": found }),
                Err(wrong) => json!({ "about": check.about, "check": check.what, "ok": false,
                    "found": wrong }),
            })
            .collect();
        println!("{}", json!({ "exit_code": exit.number(), "checks": list }));
        return Ok(exit);
    }
    for check in &checks {
        match &check.found {
            Ok(found) => println!("ok     {:<16} {:<14} {found}", check.about, check.what),
            Err(wrong) => println!("WRONG  {:<16} {:<14} {wrong}", check.about, check.what),
        }
    }
    let wrong = checks.iter().filter(|check| check.found.is_err()).count();
    match wrong {
        0 => println!(
            "\nEverything works. Only the first export proves that the app's creator may \
             export."
        ),
        1 => println!("\nOne thing is wrong."),
        n => println!("\n{n} things are wrong."),
    }
    Ok(exit)
}

async fn check_ledger(config: &Config) -> DoctorCheck {
    let mut exit = Code::LedgerLocked;
    let opened = Ledger::open_for_reading(&config.ledger_path).await;
    let opened = match ledger::denial(&config.ledger_path) {
        Some(denial) if opened.is_ok() => Err(denial),
        _ => opened,
    };
    let found = match opened {
        Ok(Some(_)) => Ok(format!("{} can be used", config.ledger_path.display())),
        Ok(None) => Ok(format!(
            "{} does not exist yet; the first run creates it",
            config.ledger_path.display()
        )),
        Err(error) => {
            if error.is_of_disk() {
                exit = Code::Storage;
            }
            Err(error.to_string())
        }
    };
    DoctorCheck {
        about: "this machine".into(),
        what: "ledger",
        found,
        exit,
    }
}

async fn check_lake(config: &Config) -> DoctorCheck {
    let found = match open::lake(config) {
        Err(error) => Err(error.to_string()),
        Ok(lake) => {
            let findings = lake.probe(&location::probe(Timestamp::now())).await;
            let problems: Vec<String> = findings
                .iter()
                .filter_map(|finding| {
                    Some(format!("{}: {}", finding.check, finding.problem.as_ref()?))
                })
                .collect();
            if problems.is_empty() {
                Ok(format!(
                    "{} takes conditional writes, races included",
                    lake.url()
                ))
            } else {
                Err(problems.join("; "))
            }
        }
    };
    DoctorCheck {
        about: "lake".into(),
        what: "bucket",
        found,
        exit: Code::Storage,
    }
}

async fn check_identity(config: &Config) -> DoctorCheck {
    let found = match open::lake(config) {
        Err(error) => Err(error.to_string()),
        Ok(lake) => {
            let found = identify::examine(config, &lake).await;
            found.map_err(|error| format!("{error:#}"))
        }
    };
    DoctorCheck {
        about: "lake".into(),
        what: "format, key",
        found,
        exit: Code::Usage,
    }
}

async fn check_tenant(
    config: &Config,
    tenant: &TenantConfig,
    clock: &Clock,
    checks: &mut Vec<DoctorCheck>,
) {
    let mut add = |what, found, exit| {
        checks.push(DoctorCheck {
            about: tenant.name.clone(),
            what,
            found,
            exit,
        })
    };
    let client = match open::client(config, tenant, clock) {
        Ok(client) => client,
        Err(error) => return add("client", Err(format!("{error:#}")), Code::Usage),
    };
    match client.check_token().await {
        Err(error) => return add("token", Err(error.to_string()), exit_of(&error)),
        Ok(check) => {
            add(
                "token",
                Ok(format!("valid for {}", span(check.expires_in.as_secs()))),
                Code::Credentials,
            );
            let skew = match check.clock_ahead {
                None => Ok("the server does not tell its time".to_owned()),
                Some(ahead) if ahead.abs() <= MOST_SKEW => Ok(format!(
                    "within {} s of the server's",
                    ahead.abs().as_secs().max(2)
                )),
                Some(ahead) => Err(format!(
                    "this machine's clock differs from the server's by {} s; let NTP set it",
                    ahead.as_secs()
                )),
            };
            add("clock", skew, Code::Unexpected);
        }
    }
    for (dataset, options) in asked_for(&config.jobs, &tenant.name) {
        let found = may_read(&client, dataset, &options, tenant, clock.now()).await;
        add(dataset.as_str(), found, Code::Credentials);
    }
    if jobs_of(&config.jobs, &tenant.name).any(|job| job.dataset.is_export()) {
        add("exports", exports(&client).await, Code::Credentials);
    }
}

/// The datasets that the tenant's jobs ask for in plain calls, with what each job chose. What is
/// made from rooms lists them. What is made from the rows of a parent has no first call of its own.
fn asked_for(jobs: &[JobSpec], tenant: &str) -> Vec<(Dataset, RequestOptions)> {
    let has_a_first_call = |dataset: &Dataset| {
        let definition = dataset.definition();
        !dataset.is_export() && matches!(definition.ask, Ask::Windows(_))
    };
    let of_jobs: BTreeMap<Dataset, RequestOptions> = jobs_of(jobs, tenant)
        .map(|job| (job.dataset, job.options.clone()))
        .collect();
    let needs_rooms = of_jobs.keys().any(|dataset| dataset.needs_rooms());
    let rooms = needs_rooms.then(|| (ROOMS, RequestOptions::for_dataset(ROOMS)));
    let asked: BTreeMap<_, _> = rooms.into_iter().chain(of_jobs).collect();
    let plain = asked
        .into_iter()
        .filter(|(dataset, _)| has_a_first_call(dataset));
    plain.collect()
}

/// Makes the first call of a dataset, for a day that is over.
async fn may_read(
    client: &Client,
    dataset: Dataset,
    options: &RequestOptions,
    tenant: &TenantConfig,
    now: Timestamp,
) -> Result<String, String> {
    let end = now.as_second() - 86_400;
    let definition = dataset.definition();
    let Ask::Windows(requests) = definition.ask else {
        return Err(format!("{dataset} is made from other datasets"));
    };
    let piece = Piece {
        start: end - 86_400,
        end,
        date: date_of(&tenant.time_zone, now),
        options,
        unit: tenant.unit,
    };
    for (request, _) in requests(&piece).into_iter().take(1) {
        let first_page = dataset
            .listing(&request)
            .and_then(|pages| pages.next_call());
        let answer = match first_page {
            Some(page) => client.page(dataset, page).await,
            None => client.answer(&request).await,
        };
        answer.map_err(|error| error.to_string())?;
    }
    Ok(format!(
        "the app may read it ({})",
        definition.scopes.join(" or ")
    ))
}

/// Asks for an export that does not exist. With scope and role the answer is "no such export";
/// without them it is a refusal.
async fn exports(client: &Client) -> Result<String, String> {
    let exports = Dataset::ALL.into_iter().find(|dataset| dataset.is_export());
    let scopes = exports.map_or(String::new(), |of| of.definition().scopes.join(" or "));
    match client.poll(&ExportId("1".into())).await {
        Ok(_) => Ok(format!("the app may export ({scopes})")),
        Err(error) if matches!(error.kind(), Cause::Gone | Cause::BadRequest) => {
            Ok(format!("the app may ask for exports ({scopes})"))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn exit_of(error: &client::Error) -> Code {
    match error.kind() {
        Cause::Credentials | Cause::Scope | Cause::Role => Code::Credentials,
        Cause::QuotaExhausted | Cause::RateLimited => Code::Quota,
        _ => Code::Unexpected,
    }
}
