//! What is in the lake, what is under way and what needs attention: all that `status` shows.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::days::TenantHistory;
use super::{DayStatus, jobs_of};
use crate::datasets::Dataset;
use crate::job::JobSpec;
use crate::ledger::{Attention, DatasetStatus, Ledger, PartitionStatus, RunRecord};
use crate::record::{EventTypeRecord, MissingEnds, PartitionRow, Unfinished, WindowRow};

/// Most tasks that need attention that are listed.
const ATTENTION: u32 = 1_000;
/// Most runs that are listed.
const RUNS: u32 = 20;

/// What is in the lake, and what became of each due day.
#[derive(Clone, Debug)]
pub struct LakeOverview {
    /// The published partitions, counted by tenant and dataset.
    pub published: Vec<PartitionStatus>,
    /// Every due day, by tenant, dataset, job and date.
    pub days: Vec<DayStatus>,
}

impl LakeOverview {
    /// What is published of a dataset.
    #[must_use]
    pub fn published_of(&self, tenant: &str, dataset: Dataset) -> Option<&PartitionStatus> {
        let is_wanted = |row: &&PartitionStatus| row.tenant == tenant && row.dataset == dataset;
        self.published.iter().find(is_wanted)
    }

    /// The due days by tenant and dataset.
    #[must_use]
    pub fn days_by_dataset(&self) -> HashMap<(&str, Dataset), Vec<&DayStatus>> {
        let mut days: HashMap<_, Vec<&DayStatus>> = HashMap::new();
        for day in &self.days {
            let of = (day.tenant.as_str(), day.dataset);
            days.entry(of).or_default().push(day);
        }
        days
    }

    /// The days that should be in the lake, whole, and are not; with the seconds since then.
    pub fn late_days(&self) -> impl Iterator<Item = (&DayStatus, u64)> + Clone {
        self.days.iter().filter_map(|day| Some((day, day.late_s?)))
    }
}

/// The published partitions of some tenants, counted by tenant and dataset.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn published(
    ledger: &Ledger,
    tenants: &[(&str, &TimeZone)],
) -> Result<Vec<PartitionStatus>> {
    let only = match tenants {
        [(tenant, _)] => Some(*tenant),
        _ => None,
    };
    let names: BTreeSet<&str> = tenants.iter().map(|(name, _)| *name).collect();
    let mut published = ledger.partition_status(only).await?;
    published.retain(|row| names.contains(row.tenant.as_str()));
    Ok(published)
}

/// All that `status` shows.
#[derive(Clone, Debug)]
pub struct Overview {
    /// What is in the lake, and what became of each due day.
    pub lake: LakeOverview,
    /// Every dataset of every tenant, known or not.
    pub datasets: Vec<DatasetOverview>,
    /// The first thousand tasks that somebody should look at, of the newest windows.
    pub attention: Vec<Attention>,
    /// What is known of each type of events, by tenant.
    pub event_types: Vec<EventTypeRecord>,
    /// What events say began and not that it ended, with the tenant.
    pub missing_ends: Vec<(String, MissingEnds)>,
    /// Rows that tell of something unfinished and that nobody asks for any more.
    pub unfinished: Vec<Unfinished>,
    /// The last twenty runs, the newest first.
    pub runs: Vec<RunRecord>,
}

impl Overview {
    /// Reads what the ledger has; each tenant comes with the zone in which its days are cut.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a job's schedule.
    pub async fn read(
        ledger: &Ledger,
        tenants: &[(&str, &TimeZone)],
        jobs: &[JobSpec],
        now: Timestamp,
    ) -> Result<Self> {
        let (mut datasets, mut event_types) = (Vec::new(), Vec::new());
        let (mut missing_ends, mut unfinished) = (Vec::new(), Vec::new());
        let mut days = Vec::new();
        let open_tasks = ledger.open_tasks().await?;
        for (tenant, zone) in tenants {
            event_types.extend(ledger.event_types(tenant).await?);
            let missing = ledger.missing_ends(tenant, now).await?.into_iter();
            missing_ends.extend(missing.map(|ends| ((*tenant).to_owned(), ends)));
            let mut history = TenantHistory::read(ledger, tenant, zone, None).await?;
            days.extend(history.days(ledger, jobs, now).await?);
            datasets.extend(Dataset::ALL.map(|dataset| {
                let of = ((*tenant).to_owned(), dataset);
                DatasetOverview {
                    open_tasks: open_tasks.get(&of).copied().unwrap_or(0),
                    windows: history.windows.remove(&dataset).unwrap_or_default(),
                    tenant: of.0,
                    dataset,
                }
            }));
            for job in jobs_of(jobs, tenant) {
                let windows = datasets.iter().filter(|of: &&DatasetOverview| {
                    of.tenant == **tenant && of.dataset == job.dataset
                });
                let windows = windows.flat_map(|of| &of.windows);
                unfinished.extend(Unfinished::of(windows, &job.time_zone, now));
            }
        }
        let published = published(ledger, tenants).await?;
        Ok(Self {
            lake: LakeOverview { published, days },
            datasets,
            attention: ledger.attention(None, ATTENTION).await?,
            event_types,
            missing_ends,
            unfinished,
            runs: ledger.runs(RUNS).await?,
        })
    }
}

/// One dataset of one tenant.
#[derive(Clone, Debug)]
pub struct DatasetOverview {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// Its windows, in order.
    pub windows: Vec<WindowRow>,
    /// Tasks whose rows are still to come to the lake.
    pub open_tasks: u64,
}

/// What `status` tells machines beyond that, which takes a walk through all tasks and partitions.
#[derive(Clone, Debug)]
pub struct OverviewDetails {
    /// Tasks and calls, counted, in the order of [`Overview::datasets`].
    pub counts: Vec<DatasetStatus>,
    /// Every partition, published or about to be.
    pub partitions: Vec<PartitionRow>,
}

impl OverviewDetails {
    /// Reads them.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn read(ledger: &Ledger, overview: &Overview) -> Result<Self> {
        let mut counts = Vec::new();
        for of in &overview.datasets {
            counts.push(ledger.dataset_status(&of.tenant, of.dataset).await?);
        }
        let partitions = ledger.partitions(None).await?;
        Ok(Self { counts, partitions })
    }
}
