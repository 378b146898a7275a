//! What the lake says of the tenant: made before its first publish, and checked then.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::Tenant;
use crate::datasets::Dataset;
use crate::job::JobSpec;
use crate::ledger::{Ledger, NewSettings};
use crate::publish;
use crate::publish::identity::{self, LakeState, TenantRecord};
use crate::record::{RowSettings, TenantSettings};
use crate::store::StoreErrorKind;
use crate::window::{date_of, start_of_day};

/// The lake names another ledger by now: somebody took it over.
#[derive(Debug, thiserror::Error)]
#[error(
    "the lake {url} belongs to another ledger by now; this one publishes nothing more there; \
     `meetlake ledger take-over` takes it back"
)]
pub struct LakeTakenOver {
    url: String,
}

/// Makes sure, before anything is published, that the lake is the ledger's. When this process began
/// it may have been out of reach, and since then somebody may have taken it over.
pub(super) async fn check_owner(tenant: &Tenant) -> Result<()> {
    let url = tenant.lake.url().to_owned();
    match identity::find(&tenant.lake).await? {
        LakeState::Known(lake, _)
            if lake.lake_id == tenant.lake_id
                && lake.key.fingerprint == tenant.key.fingerprint() =>
        {
            match lake.ledger_id == tenant.ledger_id {
                true => Ok(()),
                false => Err(LakeTakenOver { url }.into()),
            }
        }
        _ => bail!(
            "the lake {url} is not the one that this ledger belongs to; nothing is published \
             there; run again to see which it is"
        ),
    }
}

/// So many others may change the record at the same time, each once.
const RACES: u32 = 8;

/// Makes sure, before the first publish of a dataset, that the lake says in which zone the tenant's
/// days are cut, and by which settings the dataset's rows are made.
pub(super) async fn put(
    tenant: &Tenant,
    job: &JobSpec,
    first_day: impl AsyncFnOnce() -> Result<Date>,
) -> Result<()> {
    let mut recorded = tenant.recorded.lock().await;
    if recorded.contains(&job.dataset) {
        return Ok(());
    }
    let settings = tenant.settings(job);
    let record = match identity::tenant_record(&tenant.lake, &tenant.name).await? {
        Some(_) => add_dataset(tenant, job, &settings).await?,
        None => create(tenant, job, settings.clone(), first_day().await?).await?,
    };
    check(tenant, job, &record, &settings)?;
    remember(&tenant.ledger, &record).await?;
    recorded.insert(job.dataset);
    Ok(())
}

async fn create(
    tenant: &Tenant,
    job: &JobSpec,
    settings: RowSettings,
    first_day: Date,
) -> Result<TenantRecord> {
    // A list may be stale, so the ledger says whether this is the first publish.
    let published = tenant.ledger.partitions(Some(&tenant.name)).await?;
    if published.iter().any(|row| row.revision > 0) {
        bail!(
            "the record of tenant {} in the lake {} is gone; nothing is published there; run again \
             to see what to do",
            tenant.name,
            tenant.lake.url()
        );
    }
    let record = TenantRecord {
        tenant: tenant.name.clone(),
        first_instant: start_of_day(&tenant.time_zone, first_day),
        app: Some(tenant.app.clone()),
        settings: TenantSettings {
            time_zone: tenant.zone_name(),
            datasets: BTreeMap::from([(job.dataset, settings)]),
        },
        remake: None,
    };
    Ok(identity::create_tenant(&tenant.lake, record).await?)
}

/// Lets the lake say what the job asks Feishu for by now, once all days are asked for again: the
/// kind of user ids, and the data residency. Where nothing differs, or nothing was published yet,
/// nothing is written.
///
/// # Errors
/// When the lake or the ledger refuses.
pub async fn ask_differently(tenant: &Tenant, job: &JobSpec) -> Result<()> {
    let wanted = tenant.settings(job);
    let asks_alike = |known: &RowSettings| {
        (known.user_id_type, known.unit) == (wanted.user_id_type, wanted.unit)
    };
    let remembered = remembered(&tenant.ledger, &tenant.name).await?;
    let remembered = remembered.and_then(|mut of| of.settings.datasets.remove(&job.dataset));
    // So a lake that cannot be reached is not asked in vain.
    if remembered.as_ref().is_none_or(asks_alike) {
        return Ok(());
    }
    let Some((mut record, seen)) = identity::tenant_record(&tenant.lake, &tenant.name).await?
    else {
        return Ok(());
    };
    if let Some(known) = record.settings.datasets.get_mut(&job.dataset) {
        (known.user_id_type, known.unit) = (wanted.user_id_type, wanted.unit);
        identity::replace_tenant(&tenant.lake, &record, &seen).await?;
        remember(&tenant.ledger, &record).await?;
    }
    Ok(())
}

/// Adds what the record does not say of the dataset yet.
async fn add_dataset(
    tenant: &Tenant,
    job: &JobSpec,
    settings: &RowSettings,
) -> Result<TenantRecord> {
    for _ in 0..RACES {
        let found = identity::tenant_record(&tenant.lake, &tenant.name).await?;
        let Some((mut record, seen)) = found else {
            break;
        };
        if record.settings.datasets.contains_key(&job.dataset) {
            return Ok(record);
        }
        let datasets = &mut record.settings.datasets;
        datasets.insert(job.dataset, settings.clone());
        record.app.get_or_insert_with(|| tenant.app.clone());
        match identity::replace_tenant(&tenant.lake, &record, &seen).await {
            Err(publish::Error::Store(error)) if error.kind() == StoreErrorKind::Conflict => {}
            replaced => return Ok(replaced.map(|()| record)?),
        }
    }
    bail!(
        "the record of tenant {} in the lake {} is gone or changes all the time; nothing is \
         published there",
        tenant.name,
        tenant.lake.url()
    )
}

/// Refuses to publish by other rules than the lake's. When this process began, the lake may have
/// been out of reach.
fn check(
    tenant: &Tenant,
    job: &JobSpec,
    record: &TenantRecord,
    settings: &RowSettings,
) -> Result<()> {
    let url = tenant.lake.url();
    if record.remake.is_some() {
        bail!(
            "the days of tenant {} in the lake {url} are being made again; nothing else is \
             published there until that is done",
            tenant.name
        );
    }
    let (standing, zone) = (&record.settings.time_zone, tenant.zone_name());
    if *standing != zone {
        bail!(
            "the days of tenant {} are cut in {standing} in this lake, and not in {zone}; nothing \
             is published in another zone",
            tenant.name
        );
    }
    let known = record.settings.datasets.get(&job.dataset);
    let change = known.and_then(|known| known.changes(settings).into_iter().next());
    if let Some(change) = change {
        bail!(
            "{} of {} of tenant {} is {} in the lake {url}, and not {}; nothing is published under \
             another one; run again to see what to do",
            change.setting,
            job.dataset,
            tenant.name,
            change.of_lake,
            change.wanted
        );
    }
    Ok(())
}

/// Keeps in the ledger what the lake says of a tenant, for verbs that do not read the lake.
///
/// # Errors
/// When the ledger refuses.
pub async fn remember(ledger: &Ledger, record: &TenantRecord) -> Result<()> {
    Ok(ledger
        .set_meta_value(&meta_name(&record.tenant), record)
        .await?)
}

/// What the lake said of a tenant when it was last asked; `None` if it never was.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn remembered(ledger: &Ledger, tenant: &str) -> Result<Option<TenantRecord>> {
    Ok(ledger.meta_value(&meta_name(tenant)).await?)
}

/// Brings what the ledger planned for a tenant under the settings of the configuration, where
/// nothing of it is in the lake yet that they would have to agree with: windows of civil days
/// become days of the tenant's zone, and rows that wait in the spool are read again.
///
/// # Errors
/// When the ledger refuses.
pub async fn bring_plans_under(
    ledger: &Ledger,
    tenant: &str,
    time_zone: &TimeZone,
    jobs: &[&JobSpec],
    wanted: &TenantSettings,
    now: Timestamp,
) -> Result<()> {
    let name = planned_name(tenant);
    let planned: Option<TenantSettings> = ledger.meta_value(&name).await?;
    let from = planned.as_ref().map(|planned| &planned.time_zone);
    let from = from.and_then(|name| TimeZone::get(name).ok());
    let reads_alike = |planned: &TenantSettings| {
        let of_both = planned.datasets.iter();
        let mut of_both =
            of_both.filter_map(|(dataset, planned)| Some((planned, wanted.datasets.get(dataset)?)));
        of_both.all(|(planned, wanted)| planned.reading == wanted.reading)
    };
    let is_alike = planned
        .as_ref()
        .is_none_or(|planned| planned.time_zone == wanted.time_zone && reads_alike(planned));
    if is_alike {
        if planned.as_ref() != Some(wanted) {
            ledger.set_meta_value(&name, wanted).await?;
        }
        return Ok(());
    }
    let new = NewSettings {
        tenant,
        from: from.as_ref().unwrap_or(time_zone),
        to: time_zone,
        by_civil_day: &by_civil_day(jobs.iter().copied()),
        kept: &[(name, to_json(wanted))],
    };
    Ok(ledger.bring_under(&new, now).await?)
}

/// The jobs of datasets that are asked for by civil day.
pub(super) fn by_civil_day<'j>(
    jobs: impl IntoIterator<Item = &'j JobSpec>,
) -> Vec<(Dataset, &'j str)> {
    let jobs = jobs.into_iter();
    jobs.filter(|job| job.dataset.is_by_civil_day())
        .map(|job| (job.dataset, job.name.as_str()))
        .collect()
}

pub(super) fn meta_name(tenant: &str) -> String {
    format!("tenant:{tenant}")
}

/// Under this name the ledger keeps under which settings it planned.
pub(super) fn planned_name(tenant: &str) -> String {
    format!("planned:{tenant}")
}

/// A record as the ledger keeps it.
pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("records are plain values")
}

/// The civil day in which the oldest window of the tenant begins.
pub(super) async fn first_day(tenant: &Tenant) -> Result<Date> {
    let mut oldest = tenant.clock.now();
    for dataset in Dataset::ALL {
        let windows = tenant.ledger.windows(&tenant.name, dataset, None).await?;
        let starts = windows.iter().map(|row| row.window.start());
        oldest = starts.fold(oldest, Timestamp::min);
    }
    Ok(date_of(&tenant.time_zone, oldest))
}
