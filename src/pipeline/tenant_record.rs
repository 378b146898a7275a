//! What the lake says of the tenant: made before its first publish, and checked then.

use anyhow::{Result, bail};
use jiff::Timestamp;
use jiff::civil::Date;

use super::Tenant;
use crate::datasets::Dataset;
use crate::publish::identity::{self, LakeState, TenantRecord};
use crate::window::{date_of, start_of_day};

impl Tenant {
    /// The zone in which its days are cut, as the lake names it.
    #[must_use]
    pub fn zone_name(&self) -> String {
        self.time_zone.iana_name().unwrap_or("UTC").to_owned()
    }
}

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

/// Makes sure, before the first publish, that the lake says in which zone the tenant's days are
/// cut.
pub(super) async fn put(
    tenant: &Tenant,
    first_day: impl AsyncFnOnce() -> Result<Date>,
) -> Result<()> {
    let record = async || {
        let first = first_day().await?;
        let record = TenantRecord {
            tenant: tenant.name.clone(),
            time_zone: tenant.zone_name(),
            first_instant: start_of_day(&tenant.time_zone, first),
        };
        let zone = record.time_zone.clone();
        // A list may be stale, so the ledger says whether this is the first publish.
        let published = tenant.ledger.partitions(Some(&tenant.name)).await?;
        let is_first = published.iter().all(|row| row.revision == 0);
        let standing = match identity::tenant_record(&tenant.lake, &tenant.name).await? {
            Some(standing) => standing,
            None if is_first => identity::create_tenant(&tenant.lake, record).await?,
            None => bail!(
                "the record of tenant {} in the lake {} is gone; nothing is published there; run \
                 again to see what to do",
                tenant.name,
                tenant.lake.url()
            ),
        };
        if standing.time_zone != zone {
            bail!(
                "the days of tenant {} are cut in {} in this lake, and not in {zone}; nothing is \
                 published in another zone",
                tenant.name,
                standing.time_zone
            );
        }
        Ok(())
    };
    tenant.is_recorded.get_or_try_init(record).await?;
    Ok(())
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
