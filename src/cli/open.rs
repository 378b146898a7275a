//! Opens what a configuration names: the ledger, the spool, the lake, and a client for each tenant.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;
use secrecy::ExposeSecret as _;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use super::identify::{self, Bound, Purpose};
use crate::client::{Client, Settings, UserTokenSettings};
use crate::clock::Clock;
use crate::config::{Config, TenantConfig, WriteApp};
use crate::datasets::Dataset;
use crate::decode::Fallback;
use crate::events::Events;
use crate::fetch::pace::Pace;
use crate::fetch::{Fetcher, Sight, Witnesses};
use crate::ledger::Ledger;
use crate::pipeline::{self, LakeCheck, Tenant};
use crate::policy::Policy;
use crate::publish::Publisher;
use crate::publish::identity::TenantRecord;
use crate::run::RunLimits;
use crate::spool::{self, Keep, Spool};
use crate::store::{self, Lake};

/// An open configuration.
#[derive(Debug)]
pub struct App {
    /// What it was opened from.
    pub config: Config,
    /// The record of what is due and done.
    pub ledger: Ledger,
    /// One of these a tenant.
    pub tenants: Vec<Arc<Tenant>>,
    /// What the lake says of them, by name; of those that have days in it.
    pub records: BTreeMap<String, TenantRecord>,
    /// Where it is told what happened.
    pub events: Events,
}

impl App {
    /// Opens everything for writing, in the name of `verb`.
    ///
    /// # Errors
    /// When the ledger is locked or the lake cannot be opened; nothing was sent to Feishu by then.
    pub async fn open(config: Config, clock: Clock, verb: &str) -> Result<Self> {
        Self::open_with(config, clock, verb, Purpose::Run).await
    }

    /// Opens everything for writing, and says what for.
    ///
    /// # Errors
    /// As for [`App::open`].
    pub async fn open_with(
        config: Config,
        clock: Clock,
        verb: &str,
        purpose: Purpose,
    ) -> Result<Self> {
        let ledger_path = config.ledger_path.clone();
        Self::open_all(config, clock, verb, purpose)
            .await
            .map_err(|error| pipeline::with_disk(error, &ledger_path))
    }

    async fn open_all(config: Config, clock: Clock, verb: &str, purpose: Purpose) -> Result<Self> {
        let lake = lake(&config)?;
        // Before the ledger is migrated: an earlier meetlake may still need it.
        let found = match identify::find(&lake).await {
            Err(error) if !identify::may_pass(&error) => return Err(error),
            found => found,
        };
        identify::refuse_older(&config, &lake, found.as_ref().ok()).await?;
        let ledger = Ledger::open(&config.ledger_path, verb).await?;
        let bound = match found {
            Ok(found) => {
                let now = clock.now();
                identify::bind(&config, &lake, found, &ledger, &purpose, now).await?
            }
            Err(error) if !purpose.may_go_ahead() => return Err(error),
            // What was exported waits in the spool until the lake answers again.
            Err(error) => {
                let now = clock.now();
                identify::last_known(&config, &lake, &ledger, &purpose, now, error).await?
            }
        };
        if purpose.may_call() {
            let now = clock.now();
            identify::bring_plans_under(&config, &ledger, &bound.tenants, now).await?;
        }
        let kept = spooled(&ledger).await?;
        spool::divide(&config.spool_path, &kept)?;
        let decoders = Arc::new(Semaphore::new(
            std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        ));
        let fallback = Fallback::of_this_program();
        let events = Events::new(clock.clone());
        let lake_check = Arc::new(LakeCheck::new(lake.clone()));
        let mut tenants = Vec::new();
        for tenant in config.tenants.values() {
            let client = client(&config, tenant, &clock)?;
            let pace = Pace::default();
            pipeline::restore_pace(&ledger, &tenant.name, &pace).await?;
            let now = clock.now();
            if purpose.may_call()
                && pipeline::restore_calls(&ledger, &tenant.name, &client, now).await?
            {
                eprintln!(
                    "note: the last run ended without a record of its calls; for up to a minute \
                     the quota counts as spent"
                );
            }
            let spool = Spool::of_tenant(&config.spool_path, &tenant.name)?;
            spool.clean(kept.get(&tenant.name).unwrap_or(&Keep::default()))?;
            let fetcher = Fetcher {
                witnesses: Witnesses::default(),
                sight: Sight::default(),
                client,
                ledger: ledger.clone(),
                spool: spool.clone(),
                clock: clock.clone(),
                pace,
                stop: CancellationToken::new(),
                max_workbook_bytes: config.limits.workbook.container_bytes,
                events: events.of_tenant(&tenant.name),
            };
            tenants.push(Arc::new(Tenant {
                name: tenant.name.clone(),
                lake_id: bound.lake_id.clone(),
                ledger_id: bound.ledger_id.clone(),
                key: bound.key.clone(),
                app: bound.app_of(tenant),
                recorded: Mutex::default(),
                reading_zones: reading_zones(&config, tenant, &bound, &purpose)?,
                time_zone: tenant.time_zone.clone(),
                unit: tenant.unit,
                clock: clock.clone(),
                ledger: ledger.clone(),
                publisher: Publisher::new(lake.clone(), spool.clone()),
                spool,
                lake: lake.clone(),
                lake_check: Arc::clone(&lake_check),
                fetcher,
                policy: Policy::Keep,
                events: events.of_tenant(&tenant.name),
                workbook_limits: config.limits.workbook.clone(),
                fallback: fallback.clone(),
                decoders: Arc::clone(&decoders),
            }));
        }
        Ok(Self {
            config,
            ledger,
            tenants,
            records: bound.tenants,
            events,
        })
    }

    /// The limits of a run, without a deadline.
    #[must_use]
    pub fn limits(&self) -> RunLimits {
        RunLimits {
            tasks_in_flight: self.config.limits.tasks_in_flight,
            deadline: None,
        }
    }
}

/// The zones in which the originals of each dataset are read: those that the lake names, or that a
/// remake is to bring it under.
fn reading_zones(
    config: &Config,
    tenant: &TenantConfig,
    bound: &Bound,
    purpose: &Purpose,
) -> Result<BTreeMap<Dataset, TimeZone>> {
    let Some(record) = bound.tenants.get(&tenant.name) else {
        return Ok(BTreeMap::new());
    };
    let settings = match purpose {
        Purpose::Remake(remake) => identify::remade(record, config, &tenant.name, *remake).1,
        _ => record.settings.clone(),
    };
    let zones = settings.datasets.into_iter().map(|(dataset, settings)| {
        let name = &settings.reading.time_zone;
        let zone = TimeZone::get(name).with_context(|| {
            format!("the lake has {dataset} read in {name}, which is no zone of the IANA database")
        })?;
        Ok((dataset, zone))
    });
    zones.collect()
}

/// The configured lake.
///
/// # Errors
/// When its URL or options cannot be used.
pub fn lake(config: &Config) -> Result<Lake, store::Error> {
    let options = config
        .lake
        .options
        .iter()
        .map(|(name, value)| (name.clone(), value.expose_secret().to_owned()))
        .collect();
    let access = store::Access {
        http_hosts: &config.lake.allow_http,
        proxies: &config.proxies,
    };
    Lake::open_with(config.lake.url.as_str(), &options, access)
}

/// The client of one tenant.
///
/// # Errors
/// When its address or its secret cannot be used.
pub fn client(config: &Config, tenant: &TenantConfig, clock: &Clock) -> Result<Client> {
    let mut settings = Settings::new(
        tenant.host.clone(),
        tenant.app_id.clone(),
        tenant.app_secret.clone(),
    );
    settings.user_token = tenant
        .refresh_token_file
        .as_ref()
        .map(|file| UserTokenSettings {
            refresh_token_file: Path::new(file).to_owned(),
        });
    settings.calls_per_minute = config.limits.calls;
    settings.proxies = config.proxies.clone();
    Client::new(settings, clock.clone()).with_context(|| format!("tenant {}", tenant.name))
}

/// The client of one tenant through the app that may change things.
///
/// # Errors
/// As for [`client`].
pub fn write_client(
    config: &Config,
    tenant: &TenantConfig,
    app: &WriteApp,
    clock: &Clock,
) -> Result<Client> {
    let of_app = TenantConfig {
        app_id: app.app_id.clone(),
        app_secret: app.app_secret.clone(),
        refresh_token_file: None,
        ..tenant.clone()
    };
    client(config, &of_app, clock)
}

/// What the tasks of each tenant still need of the spool. Anything else there was left behind by a
/// process that was killed.
async fn spooled(ledger: &Ledger) -> Result<BTreeMap<String, Keep>> {
    let mut kept: BTreeMap<String, Keep> = BTreeMap::new();
    for content in ledger.spool_contents().await? {
        let keep = kept.entry(content.tenant).or_default();
        keep.originals.extend(content.original);
        keep.originals.extend(content.witness);
        keep.rows.insert((content.key, content.generation));
    }
    Ok(kept)
}
