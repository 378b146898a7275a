//! Whether each tenant's settings are those that its days in the lake were made with.
//!
//! A changed setting is refused before anything is exported, with the command that brings the days
//! that are there under it.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use super::{Error, Purpose};
use crate::config::{Config, TenantConfig};
use crate::datasets::Dataset;
use crate::job::JobSpec;
use crate::lake_key::{HashOf, LakeKey};
use crate::ledger::Ledger;
use crate::pipeline;
use crate::plan::due::is_lost;
use crate::publish::identity::{self, TenantRecord, TenantState};
use crate::publish::manifest::{self, Manifest};
use crate::record::{Remake, Remedy, RowSettings, SettingChange, TenantSettings, zone_name};
use crate::store::Lake;
use crate::window::{Window, start_of_day};

/// A setting of a tenant, or of one of its datasets, that is not the lake's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantChange {
    tenant: String,
    /// `None` for a setting of the tenant.
    dataset: Option<Dataset>,
    change: SettingChange,
    /// The days that would have to be exported again: the first one, and the first one after.
    export_again: Option<(Date, Date)>,
}

/// What a `backfill --again` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportAgain {
    /// Of this tenant only.
    pub tenant: Option<String>,
    /// These datasets.
    pub datasets: Vec<Dataset>,
    /// First day.
    pub from: Date,
    /// First day after the range.
    pub to: Date,
}

impl ExportAgain {
    fn covers(&self, change: &TenantChange) -> bool {
        let is_named = change
            .dataset
            .is_some_and(|dataset| self.datasets.contains(&dataset));
        let is_of_tenant = self
            .tenant
            .as_ref()
            .is_none_or(|only| *only == change.tenant);
        let days = change.export_again;
        is_named
            && is_of_tenant
            && days.is_none_or(|(first, end)| self.from <= first && end <= self.to)
    }
}

/// What of a configuration is compared, at which time.
pub(super) struct Compared<'a> {
    pub(super) config: &'a Config,
    pub(super) ledger: &'a Ledger,
    /// Of the lake; `None` while it is not known.
    pub(super) key: Option<&'a LakeKey>,
    pub(super) purpose: &'a Purpose,
    pub(super) now: Timestamp,
}

/// The records of the tenants that the lake knows.
///
/// # Errors
/// [`Error`] if one does not go with the configuration; otherwise if the lake or the ledger cannot
/// be read.
pub(super) async fn check(
    compared: &Compared<'_>,
    lake: &Lake,
) -> Result<BTreeMap<String, TenantRecord>> {
    let mut records = BTreeMap::new();
    let mut changes = Vec::new();
    for tenant in compared.config.tenants.values() {
        let record = match identity::tenant(lake, &tenant.name).await? {
            TenantState::New => {
                refuse_renamed(compared, lake, tenant).await?;
                continue;
            }
            TenantState::Known(record, _) => {
                refuse_older_ledger(compared, lake, &record).await?;
                with_datasets_of_lake(record, compared, lake, tenant).await?
            }
            TenantState::Lost { .. } if !compared.purpose.is_rebuild() => {
                let (url, tenant) = (lake.url().to_owned(), tenant.name.clone());
                return Err(Error::TenantRecordLost { url, tenant }.into());
            }
            TenantState::Lost {
                first_day,
                time_zone,
                newest,
                moved,
            } => {
                let lost = LostRecord {
                    first_day,
                    time_zone,
                    newest,
                    moved,
                };
                made_anew(compared, lake, tenant, lost).await?
            }
        };
        refuse_remake(compared, lake, tenant, &record)?;
        changes.extend(refused(compared, tenant, &record).await?);
        records.insert(tenant.name.clone(), record);
    }
    match changes.is_empty() {
        true => Ok(records),
        false => Err(other_settings(lake.url(), changes).into()),
    }
}

/// The same, while the lake itself cannot be read, from what it said when it last could.
///
/// # Errors
/// As for [`check`].
pub(super) async fn check_remembered(
    compared: &Compared<'_>,
    lake: &Lake,
) -> Result<BTreeMap<String, TenantRecord>> {
    let mut records = BTreeMap::new();
    let mut changes = Vec::new();
    for tenant in compared.config.tenants.values() {
        let Some(record) = pipeline::remembered(compared.ledger, &tenant.name).await? else {
            continue;
        };
        refuse_remake(compared, lake, tenant, &record)?;
        changes.extend(refused(compared, tenant, &record).await?);
        records.insert(tenant.name.clone(), record);
    }
    match changes.is_empty() {
        true => Ok(records),
        false => Err(other_settings(lake.url(), changes).into()),
    }
}

/// Refuses a configuration that cuts days otherwise than the ledger's windows are, for a verb that
/// reads the ledger only.
///
/// # Errors
/// [`Error::OtherSettings`], or if the ledger cannot be read.
pub(super) async fn check_zones(config: &Config, ledger: &Ledger) -> Result<()> {
    let mut changes = Vec::new();
    for tenant in config.tenants.values() {
        let Some(record) = pipeline::remembered(ledger, &tenant.name).await? else {
            continue;
        };
        let standing = record.remake.as_ref().unwrap_or(&record.settings);
        let change = zone_change(tenant, standing);
        if let Some(under_way) = &record.remake {
            let error = Error::RemakeUnderWay {
                url: config.lake.url.as_str().trim_end_matches('/').to_owned(),
                tenant: tenant.name.clone(),
                time_zone: under_way.time_zone.clone(),
                flags: flags(remake_of(&record.settings, under_way)),
            };
            match change {
                Some(_) => return Err(error.into()),
                None => eprintln!("note: {error}"),
            }
        }
        changes.extend(change);
    }
    match changes.is_empty() {
        true => Ok(()),
        false => {
            let url = config.lake.url.as_str().trim_end_matches('/');
            Err(other_settings(url, changes).into())
        }
    }
}

/// Brings what the ledger planned, and what waits in the spool, under the configuration, where the
/// lake has nothing of it yet.
///
/// # Errors
/// When the ledger refuses.
pub async fn bring_plans_under(
    config: &Config,
    ledger: &Ledger,
    records: &BTreeMap<String, TenantRecord>,
    now: Timestamp,
) -> Result<()> {
    for tenant in config.tenants.values() {
        let jobs: Vec<&JobSpec> = jobs_of(config, &tenant.name).collect();
        let known = records.get(&tenant.name);
        let datasets = jobs.iter().map(|job| {
            let known = known.and_then(|known| known.settings.datasets.get(&job.dataset));
            let settings = known.map_or_else(
                || RowSettings::of(job, tenant.unit),
                |known| known.wanted(job, tenant.unit),
            );
            (job.dataset, settings)
        });
        let wanted = TenantSettings {
            time_zone: zone_name(&tenant.time_zone),
            datasets: datasets.collect(),
        };
        let (name, zone) = (&tenant.name, &tenant.time_zone);
        pipeline::bring_plans_under(ledger, name, zone, &jobs, &wanted, now).await?;
    }
    Ok(())
}

/// Refuses a configuration that the lake was not made with, for a verb that only looks.
///
/// # Errors
/// [`Error`], or if the lake cannot be read.
pub(super) async fn check_known(config: &Config, lake: &Lake) -> Result<()> {
    let mut changes = Vec::new();
    for tenant in config.tenants.values() {
        let Some((record, _)) = identity::tenant_record(lake, &tenant.name).await? else {
            continue;
        };
        if let Some(under_way) = &record.remake {
            return Err(Error::RemakeUnderWay {
                url: lake.url().to_owned(),
                tenant: tenant.name.clone(),
                time_zone: under_way.time_zone.clone(),
                flags: flags(remake_of(&record.settings, under_way)),
            }
            .into());
        }
        changes.extend(zone_change(tenant, &record.settings));
        for job in jobs_of(config, &tenant.name) {
            let Some(known) = record.settings.datasets.get(&job.dataset) else {
                continue;
            };
            let differ = known.changes(&known.wanted(job, tenant.unit)).into_iter();
            changes.extend(differ.map(|change| TenantChange {
                tenant: tenant.name.clone(),
                dataset: Some(job.dataset),
                change,
                export_again: None,
            }));
        }
    }
    match changes.is_empty() {
        true => Ok(()),
        false => Err(other_settings(lake.url(), changes).into()),
    }
}

/// The name under which the lake knows the app of a tenant.
pub(super) fn app_of(key: &LakeKey, tenant: &TenantConfig) -> String {
    let host = tenant.host.as_str().as_bytes();
    key.hash(HashOf::App, &[host, tenant.app_id.as_bytes()])
}

/// The settings of a tenant's days as the lake has them, and those under which a remake brings
/// them.
#[must_use]
pub fn remade(
    record: &TenantRecord,
    config: &Config,
    tenant: &str,
    remake: Remake,
) -> (TenantSettings, TenantSettings) {
    let of_lake = completed(record, config, tenant);
    let mut wanted = of_lake.clone();
    let Some(tenant) = config.tenants.get(tenant) else {
        return (of_lake, wanted);
    };
    if remake.re_cut {
        wanted.time_zone = zone_name(&tenant.time_zone);
    }
    for job in jobs_of(config, &tenant.name) {
        if let Some(settings) = wanted.datasets.get_mut(&job.dataset) {
            *settings = settings.remade(job, tenant.unit, remake);
        }
    }
    (of_lake, wanted)
}

// --- parts --------------------------------------------------------------------------------------

fn jobs_of<'c>(config: &'c Config, tenant: &str) -> impl Iterator<Item = &'c JobSpec> {
    let is_of = move |job: &&JobSpec| job.tenants.iter().any(|name| name == tenant);
    config.jobs.iter().filter(is_of)
}

/// What the lake says of a tenant, and of datasets that an earlier meetlake published: it had the
/// same rules, and did not write them down.
fn completed(record: &TenantRecord, config: &Config, tenant: &str) -> TenantSettings {
    let mut settings = record.settings.clone();
    let unit = config.tenants.get(tenant).and_then(|tenant| tenant.unit);
    for job in jobs_of(config, tenant) {
        let known = settings.datasets.entry(job.dataset);
        known.or_insert_with(|| {
            let mut known = RowSettings::of(job, unit);
            if !job.has_own_zone {
                let zone = &record.settings.time_zone;
                known.reading.time_zone.clone_from(zone);
            }
            known
        });
    }
    settings
}

/// Adds the settings of datasets that an earlier meetlake published, as far as their newest record
/// says them.
async fn with_datasets_of_lake(
    mut record: TenantRecord,
    compared: &Compared<'_>,
    lake: &Lake,
    tenant: &TenantConfig,
) -> Result<TenantRecord> {
    for job in jobs_of(compared.config, &tenant.name) {
        if record.settings.datasets.contains_key(&job.dataset) {
            continue;
        }
        let newest = manifest::newest(lake, &tenant.name, job.dataset).await?;
        if let Some(newest) = newest {
            let settings = settings_of(&newest, job, tenant, &record.settings.time_zone);
            record.settings.datasets.insert(job.dataset, settings);
        }
    }
    Ok(record)
}

/// The settings that a day was made with, as far as its record says them; the rest is as the job
/// has it.
fn settings_of(
    manifest: &Manifest,
    job: &JobSpec,
    tenant: &TenantConfig,
    of_lake: &str,
) -> RowSettings {
    let mut settings = RowSettings::of(job, tenant.unit);
    settings.destination.clone_from(&manifest.destination);
    match &manifest.reading {
        Some(reading) => settings.reading = reading.clone(),
        None if !job.has_own_zone => settings.reading.time_zone = of_lake.to_owned(),
        None => {}
    }
    settings
}

/// What is known of a record that is gone.
struct LostRecord {
    first_day: Date,
    time_zone: Option<String>,
    newest: BTreeMap<Dataset, Manifest>,
    moved: Option<(String, String)>,
}

async fn made_anew(
    compared: &Compared<'_>,
    lake: &Lake,
    tenant: &TenantConfig,
    lost: LostRecord,
) -> Result<TenantRecord> {
    let (of_lake, moves_to) = match lost.moved {
        Some((from, to)) => (Some(from), Some(to)),
        None => (lost.time_zone, None),
    };
    let time_zone = of_lake.unwrap_or_else(|| zone_name(&tenant.time_zone));
    let datasets = jobs_of(compared.config, &tenant.name).filter_map(|job| {
        let manifest = lost.newest.get(&job.dataset)?;
        let settings = settings_of(manifest, job, tenant, &time_zone);
        Some((job.dataset, settings))
    });
    let datasets: BTreeMap<Dataset, RowSettings> = datasets.collect();
    let remake = moves_to.map(|time_zone| TenantSettings {
        time_zone,
        datasets: datasets.clone(),
    });
    let record = TenantRecord {
        tenant: tenant.name.clone(),
        first_instant: start_of_day(&tenant.time_zone, lost.first_day),
        app: compared.key.map(|key| app_of(key, tenant)),
        settings: TenantSettings {
            time_zone,
            datasets,
        },
        remake,
    };
    // Before anything is made: in another zone it would be wrong from the first day on.
    let standing = record.remake.as_ref().unwrap_or(&record.settings);
    match zone_change(tenant, standing) {
        Some(change) => Err(other_settings(lake.url(), vec![change]).into()),
        None => Ok(identity::create_tenant(lake, record).await?),
    }
}

/// Refuses a ledger whose windows are cut otherwise than the lake: it is a copy from before.
async fn refuse_older_ledger(
    compared: &Compared<'_>,
    lake: &Lake,
    record: &TenantRecord,
) -> Result<()> {
    let remembered = pipeline::remembered(compared.ledger, &record.tenant).await?;
    let Some(known) = remembered.filter(|_| record.remake.is_none()) else {
        return Ok(());
    };
    let known = known.remake.unwrap_or(known.settings);
    match known.time_zone == record.settings.time_zone {
        true => Ok(()),
        false => Err(Error::LedgerFromBefore {
            url: lake.url().to_owned(),
            tenant: record.tenant.clone(),
            time_zone: record.settings.time_zone.clone(),
            known: known.time_zone,
            ledger: compared.ledger.path().to_owned(),
        }
        .into()),
    }
}

/// Refuses a tenant that the lake knows under another name.
async fn refuse_renamed(compared: &Compared<'_>, lake: &Lake, tenant: &TenantConfig) -> Result<()> {
    let Some(app) = compared.key.map(|key| app_of(key, tenant)) else {
        return Ok(());
    };
    let is_gone = |record: &&TenantRecord| {
        record.app.as_ref() == Some(&app) && !compared.config.tenants.contains_key(&record.tenant)
    };
    let records = identity::tenants(lake).await?;
    match records.iter().find(is_gone) {
        None => Ok(()),
        Some(known) => Err(Error::Renamed {
            url: lake.url().to_owned(),
            known: known.tenant.clone(),
            tenant: tenant.name.clone(),
        }
        .into()),
    }
}

/// Refuses to work beside a remake that was cut off.
fn refuse_remake(
    compared: &Compared<'_>,
    lake: &Lake,
    tenant: &TenantConfig,
    record: &TenantRecord,
) -> Result<(), Error> {
    let Some(under_way) = &record.remake else {
        return Ok(());
    };
    let goes_on = match compared.purpose {
        Purpose::Remake(remake) => {
            let (_, wanted) = remade(record, compared.config, &tenant.name, *remake);
            wanted == *under_way
        }
        purpose => purpose.is_rebuild() && under_way.time_zone == zone_name(&tenant.time_zone),
    };
    match goes_on {
        true => Ok(()),
        false => Err(Error::RemakeUnderWay {
            url: lake.url().to_owned(),
            tenant: tenant.name.clone(),
            time_zone: under_way.time_zone.clone(),
            flags: flags(remake_of(&record.settings, under_way)),
        }),
    }
}

/// What a remake from one to the other changes.
fn remake_of(from: &TenantSettings, to: &TenantSettings) -> Remake {
    let pairs = || {
        let of_both = from.datasets.iter();
        of_both.filter_map(|(dataset, from)| Some((from, to.datasets.get(dataset)?)))
    };
    Remake {
        re_cut: from.time_zone != to.time_zone
            || pairs().any(|(from, to)| from.destination != to.destination),
        re_read: pairs().any(|(from, to)| from.reading != to.reading),
    }
}

fn flags(remake: Remake) -> String {
    let all = [(remake.re_cut, "--re-cut"), (remake.re_read, "--re-read")];
    let named: Vec<&str> = all
        .into_iter()
        .filter_map(|(is_so, flag)| is_so.then_some(flag))
        .collect();
    named.join(" ")
}

fn zone_change(tenant: &TenantConfig, standing: &TenantSettings) -> Option<TenantChange> {
    let wanted = zone_name(&tenant.time_zone);
    (standing.time_zone != wanted).then(|| TenantChange {
        tenant: tenant.name.clone(),
        dataset: None,
        change: SettingChange {
            setting: "time_zone",
            of_lake: standing.time_zone.clone(),
            wanted,
            remedy: Remedy::ReCut,
        },
        export_again: None,
    })
}

/// The changes of a tenant that this purpose does not make.
async fn refused(
    compared: &Compared<'_>,
    tenant: &TenantConfig,
    record: &TenantRecord,
) -> Result<Vec<TenantChange>> {
    // While a remake goes on, its settings are those that count.
    let standing = record.remake.as_ref().unwrap_or(&record.settings);
    let mut changes: Vec<TenantChange> = zone_change(tenant, standing).into_iter().collect();
    for job in jobs_of(compared.config, &tenant.name) {
        let Some(known) = standing.datasets.get(&job.dataset) else {
            continue;
        };
        for change in known.changes(&known.wanted(job, tenant.unit)) {
            let export_again = match change.remedy {
                Remedy::ExportAgain => days_to_export(compared, tenant, job).await?,
                Remedy::ReCut | Remedy::ReRead => None,
            };
            changes.push(TenantChange {
                tenant: tenant.name.clone(),
                dataset: Some(job.dataset),
                change,
                export_again,
            });
        }
    }
    changes.retain(|change| match compared.purpose {
        Purpose::Remake(remake) => !remake.makes(change.change.remedy),
        Purpose::ExportAgain(asked) => {
            change.change.remedy != Remedy::ExportAgain || !asked.covers(change)
        }
        _ => true,
    });
    Ok(changes)
}

/// The days of a dataset that are in the lake and that Feishu still answers for: the first one, and
/// the first one after.
async fn days_to_export(
    compared: &Compared<'_>,
    tenant: &TenantConfig,
    job: &JobSpec,
) -> Result<Option<(Date, Date)>> {
    let published = compared.ledger.partitions(Some(&tenant.name)).await?;
    let days: Vec<Date> = published
        .iter()
        .filter(|row| row.dataset == job.dataset && row.revision > 0)
        .map(|row| row.dt)
        .filter(|dt| {
            let day = Window::day(&tenant.time_zone, *dt);
            day.is_some_and(|day| !is_lost(job.dataset, &day, compared.now))
        })
        .collect();
    let ends = days.iter().min().zip(days.iter().max());
    Ok(ends.map(|(first, last)| (*first, last.saturating_add(1.day()))))
}

fn other_settings(url: &str, changes: Vec<TenantChange>) -> Error {
    let url = url.to_owned();
    Error::OtherSettings {
        url,
        changes: TenantChanges(changes),
    }
}

// --- for people ---------------------------------------------------------------------------------

/// Settings that are not the lake's, with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantChanges(Vec<TenantChange>);

impl fmt::Display for TenantChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SettingChange {
            setting,
            of_lake,
            wanted,
            ..
        } = &self.change;
        let tenant = &self.tenant;
        match self.dataset {
            None => write!(
                f,
                "the days of tenant {tenant} are cut in {of_lake} in this lake, and the \
                 configuration says {wanted}"
            ),
            Some(dataset) => write!(
                f,
                "{setting} of {dataset} of tenant {tenant} is {of_lake} in this lake, and the \
                 configuration says {wanted}"
            ),
        }
    }
}

impl fmt::Display for TenantChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.0 {
            write!(f, "{change}; ")?;
        }
        let mut remake = Remake::default();
        for change in &self.0 {
            remake.re_cut |= change.change.remedy == Remedy::ReCut;
            remake.re_read |= change.change.remedy == Remedy::ReRead;
        }
        let settings: std::collections::BTreeSet<&str> =
            self.0.iter().map(|change| change.change.setting).collect();
        let settings: Vec<&str> = settings.into_iter().collect();
        write!(f, "set {} back", settings.join(" and "))?;
        let asks = self.0.iter().any(|change| change.export_again.is_some());
        if remake != Remake::default() && asks {
            // Each way on refuses what the other one is for.
            return write!(f, "; to change both, set one of them back first");
        }
        if remake != Remake::default() {
            write!(
                f,
                "; or `meetlake replay {}` makes all days again from the archived originals, \
                 without asking Feishu",
                flags(remake)
            )?;
        }
        for change in &self.0 {
            if let (Some(dataset), Some((from, to))) = (change.dataset, change.export_again) {
                write!(
                    f,
                    "; or export {dataset} again, because its originals do not say it: `meetlake \
                     backfill --dataset {dataset} --from {from} --to {to} --again`"
                )?;
            }
        }
        Ok(())
    }
}
