//! Whether the lake still says which lake it is, and in which zone each tenant's days are cut.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::{FindingKind, Verifier};
use crate::publish;
use crate::publish::identity::{self, LakeState, TenantState};
use crate::publish::location;
use crate::publish::manifest::Found;
use crate::record::PartitionId;

impl Verifier<'_> {
    /// Checks the lake's own record, and those of the tenants that have days in it.
    pub(super) async fn check_identities(
        &mut self,
        state: &LakeState,
        newest: &BTreeMap<PartitionId, Found>,
    ) -> Result<()> {
        if matches!(state, LakeState::RecordLost) {
            let why = "it is gone; bring it back from a copy, or move the ledger away and run \
                       `meetlake ledger rebuild`, which makes it anew";
            let path = location::lake_record();
            self.add_finding(FindingKind::Identity, path.as_ref(), why.to_owned());
        }
        let tenants: BTreeSet<&str> = newest.keys().map(|id| id.tenant.as_str()).collect();
        for tenant in tenants {
            let path = location::tenant_record(tenant)?;
            let problem = match identity::tenant(self.lake, tenant).await {
                Ok(TenantState::Known(record, _)) if record.remake.is_some() => {
                    "its days are being made again under other settings, and some are not yet; \
                     `meetlake replay` with --re-cut or --re-read, as it began, goes on with it"
                        .to_owned()
                }
                Ok(TenantState::Known(record, _)) => {
                    let time_zone = record.settings.time_zone;
                    let differs = |found: &&Found| {
                        let zone = found.manifest.time_zone.as_ref();
                        zone.is_some_and(|zone| *zone != time_zone)
                    };
                    let of_tenant = newest.iter().filter(|(id, _)| id.tenant == tenant);
                    match of_tenant.map(|(_, found)| found).find(differs) {
                        None => continue,
                        Some(found) => format!(
                            "it says {}, and {} is cut in {}",
                            time_zone,
                            found.manifest.id(),
                            found.manifest.time_zone.as_deref().unwrap_or_default()
                        ),
                    }
                }
                Ok(TenantState::Lost { .. } | TenantState::New) => {
                    "it is gone; bring it back from a copy, or move the ledger away and run \
                     `meetlake ledger rebuild`, which makes it anew"
                        .to_owned()
                }
                Err(publish::Error::Record { problem, .. }) => problem,
                Err(error) => return Err(error.into()),
            };
            self.add_finding(FindingKind::Identity, path.as_ref(), problem);
        }
        Ok(())
    }
}
