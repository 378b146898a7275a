//! `meetlake doctor`: tests the live services without exporting anything, and names cause and fix.

mod deep;
mod scopes;

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args as ClapArgs;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Common, identify, open};
use crate::cause::Cause;
use crate::client::{self, Client};
use crate::clock::Clock;
use crate::config::{Config, TenantConfig};
use crate::datasets::{Ask, Dataset, Piece, ROOMS, RequestOptions, Source, SourceMode};
use crate::exit::Code;
use crate::job::JobSpec;
use crate::ledger;
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
    /// Ask also what Feishu's documentation leaves open, by reading: two calls for each room level
    /// and some ten others. The answers are kept in the ledger.
    #[arg(long)]
    pub deep: bool,
}

/// One thing that was checked.
struct DoctorCheck {
    about: String,
    what: &'static str,
    /// What was found. An error says what to do.
    found: Result<String, String>,
    /// Nothing is wrong, and somebody should look at it.
    is_warning: bool,
    /// The exit code if it failed.
    exit: Code,
}

impl DoctorCheck {
    fn new(about: &str, what: &'static str, found: Result<String, String>, exit: Code) -> Self {
        Self {
            about: about.to_owned(),
            what,
            found,
            is_warning: false,
            exit,
        }
    }

    /// What came of asking Feishu.
    fn of_call(about: &str, what: &'static str, found: Result<String, Wrong>) -> Self {
        let exit = found.as_ref().err().map_or(Code::Done, |wrong| wrong.exit);
        Self::new(about, what, found.map_err(|wrong| wrong.what), exit)
    }

    fn warning(mut self) -> Self {
        self.is_warning = true;
        self
    }

    fn line(&self) -> String {
        let (word, found) = match &self.found {
            Ok(found) if self.is_warning => ("note", found),
            Ok(found) => ("ok", found),
            Err(wrong) => ("WRONG", wrong),
        };
        // No name of a dataset is longer.
        format!("{word:<6} {:<16} {:<25} {found}", self.about, self.what)
    }

    fn as_json(&self) -> Value {
        let (Ok(found) | Err(found)) = &self.found;
        json!({ "about": self.about, "check": self.what, "ok": self.found.is_ok(),
            "warning": self.is_warning, "found": found })
    }
}

/// What Feishu does not do for us, and the exit code that says why.
struct Wrong {
    /// What is wrong, and what to do.
    what: String,
    exit: Code,
}

impl Wrong {
    /// Somebody must grant something.
    fn not_granted(what: String) -> Self {
        let exit = Cause::Scope.exit_of_call();
        Self { what, exit }
    }
}

impl From<client::Error> for Wrong {
    fn from(error: client::Error) -> Self {
        let exit = error.kind().exit_of_call();
        Self {
            what: error.to_string(),
            exit,
        }
    }
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
    let mut facts = BTreeMap::new();
    for tenant in config.tenants.values() {
        let client = check_tenant(&config, tenant, &clock, &mut checks).await;
        if let Some(client) = client.filter(|_| args.deep) {
            facts.insert(tenant.name.clone(), deep::ask(&client, clock.now()).await);
        }
    }
    let kept = match facts.is_empty() {
        true => None,
        false => Some(deep::keep(&config, &facts, clock.now()).await),
    };
    let failed = checks.iter().find(|check| check.found.is_err());
    let exit = failed.map_or(Code::Done, |check| check.exit);
    if args.json {
        let list: Vec<_> = checks.iter().map(DoctorCheck::as_json).collect();
        let mut report = json!({ "exit_code": exit.number(), "checks": list });
        if let Some(kept) = kept {
            report["facts"] = json!(facts);
            report["facts_kept"] = json!(kept.is_ok());
        }
        println!("{report}");
        return Ok(exit);
    }
    for check in &checks {
        println!("{}", check.line());
    }
    for (tenant, facts) in &facts {
        println!("\nWhat {tenant} answers today:");
        for fact in facts {
            let word = if fact.is_known { "fact" } else { "?" };
            println!("{word:<6} {} {}", fact.question, fact.answer);
        }
    }
    match kept {
        Some(Ok(kept)) => println!("{kept}"),
        Some(Err(why)) => println!("not kept: {why}"),
        None => {}
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
    let path = &config.ledger_path;
    let opened = identify::ledger_for_reading(config).await;
    let opened = match ledger::denial(path) {
        Some(denial) if opened.is_ok() => Err(denial.into()),
        _ => opened,
    };
    let exit = opened.as_ref().err().map_or(Code::Done, super::exit_for);
    let found = match opened {
        Ok(Some(_)) => Ok(format!("{} can be used", path.display())),
        Ok(None) => Ok(format!(
            "{} does not exist yet; the first run creates it",
            path.display()
        )),
        Err(error) => Err(super::describe(&error)),
    };
    DoctorCheck::new("this machine", "ledger", found, exit)
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
    DoctorCheck::new("lake", "bucket", found, Code::Storage)
}

async fn check_identity(config: &Config) -> DoctorCheck {
    let found = match open::lake(config) {
        Err(error) => Err(error.to_string()),
        Ok(lake) => {
            let found = identify::examine(config, &lake).await;
            found.map_err(|error| format!("{error:#}"))
        }
    };
    DoctorCheck::new("lake", "format, key", found, Code::Usage)
}

/// Checks what concerns one tenant. Gives its client if the token is good.
async fn check_tenant(
    config: &Config,
    tenant: &TenantConfig,
    clock: &Clock,
    checks: &mut Vec<DoctorCheck>,
) -> Option<Client> {
    let check = |what, found, exit| DoctorCheck::new(&tenant.name, what, found, exit);
    let client = match open::client(config, tenant, clock) {
        Ok(client) => client,
        Err(error) => {
            checks.push(check("client", Err(format!("{error:#}")), Code::Usage));
            return None;
        }
    };
    let token = client.check_token().await;
    let is_good = token.is_ok();
    match token {
        Err(error) => checks.push(check(
            "token",
            Err(error.to_string()),
            error.kind().exit_of_call(),
        )),
        Ok(found) => {
            let valid = format!("valid for {}", span(found.expires_in.as_secs()));
            checks.push(check("token", Ok(valid), Code::Credentials));
            checks.push(check(
                "clock",
                clock_skew(found.clock_ahead),
                Code::Unexpected,
            ));
        }
    }
    if !is_good {
        return None;
    }
    let granted = scopes::granted(&client, tenant, checks).await;
    let ids = granted
        .as_ref()
        .map(|granted| scopes::employee_ids(granted, &config.jobs, tenant));
    checks.extend(ids.flatten());
    let documents = granted
        .as_ref()
        .map(|granted| scopes::artifacts(granted, &config.jobs, tenant));
    checks.extend(documents.flatten());
    let mut may_export = true;
    for (dataset, options) in with_lists(asked_for(&config.jobs, &tenant.name)) {
        let source = options.source(dataset);
        // A list with other names than the documented ones says nothing: then Feishu is asked.
        let granted = granted.as_ref().filter(|list| list.tells_of(&source));
        let verdict =
            granted.map(|granted| scopes::verdict(granted, options.mode, &source, tenant));
        let found = match verdict {
            Some(Err(wrong)) => {
                may_export &= !source.is_export();
                Err(Wrong::not_granted(wrong))
            }
            Some(Ok(scope)) if has_a_first_call(dataset, &source) => {
                let answered = may_read(&client, dataset, &options, tenant, clock.now()).await;
                answered.map(|()| format!("the app may read it ({scope})"))
            }
            Some(Ok(scope)) => Ok(format!("possible: {scope} is granted")),
            None if has_a_first_call(dataset, &source) => {
                let scopes = source.scopes.join(" or ");
                let answered = may_read(&client, dataset, &options, tenant, clock.now()).await;
                answered.map(|()| format!("the app may read it ({scopes})"))
            }
            // Of exports all together is said below.
            None if source.is_export() => continue,
            None => {
                let scopes: Vec<String> = source
                    .scopes_needed()
                    .into_iter()
                    .map(|one_of| one_of.join(" or "))
                    .collect();
                let scopes = scopes.join(", and ");
                let unknown =
                    format!("not asked: only rows of another dataset say for what; needs {scopes}");
                checks.push(check(dataset.as_str(), Ok(unknown), Code::Credentials).warning());
                continue;
            }
        };
        checks.push(
            match options.is_compared && options.mode == SourceMode::Query {
                true => of_list(tenant, dataset, found),
                false => DoctorCheck::of_call(&tenant.name, dataset.as_str(), found),
            },
        );
    }
    let mut jobs = jobs_of(&config.jobs, &tenant.name);
    let has_exports = jobs.any(|job| job.options.source(job.dataset).is_export());
    // Without the scope the answer would be what was said already.
    if has_exports && may_export {
        let found = exports(&client).await;
        checks.push(DoctorCheck::of_call(&tenant.name, "exports", found));
    }
    Some(client)
}

/// How far the clocks may differ, and do.
fn clock_skew(ahead: Option<SignedDuration>) -> Result<String, String> {
    match ahead {
        None => Ok("the server does not tell its time".to_owned()),
        Some(ahead) if ahead.abs() <= MOST_SKEW => Ok(format!(
            "within {} s of the server's",
            ahead.abs().as_secs().max(2)
        )),
        Some(ahead) => Err(format!(
            "this machine's clock differs from the server's by {} s; let NTP set it",
            ahead.as_secs()
        )),
    }
}

/// The datasets of the tenant's jobs, with what each job chose, and the rooms if others are made
/// from them.
fn asked_for(jobs: &[JobSpec], tenant: &str) -> BTreeMap<Dataset, RequestOptions> {
    let of_jobs: BTreeMap<Dataset, RequestOptions> = jobs_of(jobs, tenant)
        .map(|job| (job.dataset, job.options.clone()))
        .collect();
    let needs_rooms = of_jobs.keys().any(|dataset| dataset.needs_rooms());
    let rooms = needs_rooms.then(|| (ROOMS, RequestOptions::for_dataset(ROOMS)));
    rooms.into_iter().chain(of_jobs).collect()
}

/// The same, and each list that is asked beside its export.
fn with_lists(
    asked_for: BTreeMap<Dataset, RequestOptions>,
) -> impl Iterator<Item = (Dataset, RequestOptions)> {
    asked_for.into_iter().flat_map(|(dataset, options)| {
        let list = options.is_compared.then(|| RequestOptions {
            mode: SourceMode::Query,
            ..options.clone()
        });
        [Some(options), list]
            .into_iter()
            .flatten()
            .map(move |options| (dataset, options))
    })
}

/// What was found of a list that is asked beside an export. No day waits for it.
fn of_list(tenant: &TenantConfig, dataset: Dataset, found: Result<String, Wrong>) -> DoctorCheck {
    let check = |found| {
        let found = Ok(format!("the list beside the export: {found}"));
        DoctorCheck::new(&tenant.name, dataset.as_str(), found, Code::Credentials)
    };
    match found {
        Ok(found) => check(found),
        Err(wrong) => check(format!(
            "{}; until then its days come by export and are not compared",
            wrong.what
        ))
        .warning(),
    }
}

/// Whether it can be asked for as it is. An export makes something, and what is made from the rows
/// of a parent has no first call of its own.
fn has_a_first_call(dataset: Dataset, source: &Source) -> bool {
    !source.is_export() && matches!(dataset.definition().ask, Ask::Windows(_))
}

/// Makes the first call of a dataset, for a day that is over.
async fn may_read(
    client: &Client,
    dataset: Dataset,
    options: &RequestOptions,
    tenant: &TenantConfig,
    now: Timestamp,
) -> Result<(), Wrong> {
    let end = now.as_second() - 86_400;
    let Ask::Windows(requests) = dataset.definition().ask else {
        // Never asked: see `has_a_first_call`.
        return Ok(());
    };
    let piece = Piece {
        start: end - 86_400,
        end,
        date: date_of(&tenant.time_zone, now),
        options,
        unit: tenant.unit,
    };
    for (request, _) in requests(&piece).into_iter().take(1) {
        let source = request.source();
        let first_page = source.listing(&request).and_then(|pages| pages.next_call());
        let answer = match first_page {
            Some(page) => client.page(&page).await,
            None => client.answer(&request).await,
        };
        answer.map_err(|error| {
            let is_scope_of_list =
                error.kind() == Cause::Scope && options.mode == SourceMode::Query;
            let mut wrong = Wrong::from(error);
            if is_scope_of_list {
                wrong.what = format!("{}; {}", wrong.what, scopes::BY_EXPORT);
            }
            wrong
        })?;
    }
    Ok(())
}

/// Asks for an export that does not exist. With scope and role the answer is "no such export";
/// without them it is a refusal.
async fn exports(client: &Client) -> Result<String, Wrong> {
    let exports = Dataset::ALL.into_iter().find(|dataset| dataset.is_export());
    let scopes = exports.map_or(String::new(), |of| of.definition().scopes.join(" or "));
    match client.poll(&ExportId("1".into())).await {
        Ok(_) => Ok(format!("the app may export ({scopes})")),
        Err(error) if matches!(error.kind(), Cause::Gone | Cause::BadRequest) => {
            Ok(format!("the app may ask for exports ({scopes})"))
        }
        Err(error) => Err(error.into()),
    }
}
