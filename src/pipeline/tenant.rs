//! A tenant, with everything that its tasks are done with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio::sync::{Mutex, Semaphore};

use super::LakeCheck;
use crate::clock::Clock;
use crate::datasets::Dataset;
use crate::decode;
use crate::events::Events;
use crate::fetch::Fetcher;
use crate::job::JobSpec;
use crate::lake_key::LakeKey;
use crate::ledger::Ledger;
use crate::policy::Policy;
use crate::publish::Publisher;
use crate::record::{RowSettings, zone_name};
use crate::spool::Spool;
use crate::store::Lake;
use crate::task::TaskOwner;

/// Everything that the tasks of one tenant are done with.
#[derive(Debug)]
pub struct Tenant {
    /// Its name in the configuration and in the lake.
    pub name: String,
    /// Which lake its ledger belongs to.
    pub lake_id: String,
    /// The ledger that the lake names.
    pub ledger_id: String,
    /// The key of the lake.
    pub key: LakeKey,
    /// Which app asks, as the lake names it.
    pub app: String,
    /// Datasets of which the lake is known to have the settings.
    pub recorded: Mutex<BTreeSet<Dataset>>,
    /// The zone in which originals of a dataset are read, where the lake says so.
    pub reading_zones: BTreeMap<Dataset, TimeZone>,
    /// The zone in which its rows get their `dt`.
    pub time_zone: TimeZone,
    /// Where its data resides.
    pub unit: Option<i32>,
    /// What time it is.
    pub clock: Clock,
    /// The record of what is due and done.
    pub ledger: Ledger,
    /// Where results wait.
    pub spool: Spool,
    /// Where partitions go.
    pub lake: Lake,
    /// Whether it takes them.
    pub lake_check: Arc<LakeCheck>,
    /// Puts them there.
    pub publisher: Publisher,
    /// Gets bytes from Feishu.
    pub fetcher: Fetcher,
    /// What of the rows is kept.
    pub policy: Policy,
    /// Limits of workbooks.
    pub workbook_limits: decode::WorkbookLimits,
    /// Where workbooks are read that our own reader does not know.
    pub fallback: decode::Fallback,
    /// Workbooks decoded at the same time; decoding is what takes memory.
    pub decoders: Arc<Semaphore>,
    /// Where it is told what happened.
    pub events: Events,
}

impl Tenant {
    /// Whose tasks it plans, and under which key.
    #[must_use]
    pub fn owner(&self) -> TaskOwner<'_> {
        TaskOwner {
            tenant: &self.name,
            key: &self.key,
        }
    }

    /// The zone in which its days are cut, as the lake names it.
    #[must_use]
    pub fn zone_name(&self) -> String {
        zone_name(&self.time_zone)
    }

    /// The settings under which the job's rows are made.
    #[must_use]
    pub fn settings(&self, job: &JobSpec) -> RowSettings {
        let mut settings = RowSettings::of(job, self.unit);
        settings.reading.time_zone = zone_name(self.reading_zone(job));
        settings
    }

    /// The zone in which the job's originals are read.
    #[must_use]
    pub fn reading_zone<'z>(&'z self, job: &'z JobSpec) -> &'z TimeZone {
        self.reading_zones
            .get(&job.dataset)
            .unwrap_or(&job.time_zone)
    }
}
