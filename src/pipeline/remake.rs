//! All days of a tenant made again under other settings: cut in another zone, put into another
//! folder, read in another way. From the archived originals; Feishu is not asked for anything.
//!
//! ```text
//! the lake says what is begun ─► ledger ─► each day: originals ─► object ─► manifest ─► the lake says it is done
//! ```
//! A manifest says under which settings its day was made, so each day is done or it is not, and an
//! attempt that was cut off goes on where it was. What a day is made of is then in the newest
//! manifests with other settings, which nobody rewrites. Until all days are done, the lake's record
//! keeps every other verb away.

mod days;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::days::DatasetDays;
use super::Tenant;
use super::replay::Replayed;
use super::tenant_record::{by_civil_day, check_owner, meta_name, planned_name, to_json};
use crate::datasets::Dataset;
use crate::job::JobSpec;
use crate::ledger::NewSettings;
use crate::plan::children::{digest, must_be_planned_again};
use crate::publish::identity::{self, TenantRecord};
use crate::publish::{self, manifest};
use crate::record::{Input, PartitionId, TenantSettings, WindowState};
use crate::store::Version;
use crate::window::{date_of, start_of_day};

/// A remake of one tenant's days.
pub struct Remaking<'a> {
    tenant: &'a Tenant,
    jobs: Vec<&'a JobSpec>,
    /// The settings that days have which no record says otherwise of.
    from: TenantSettings,
    /// Those that all are to have.
    to: TenantSettings,
    old_zone: TimeZone,
}

/// What a remake came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remade {
    /// What became of each day, in order.
    pub days: Vec<(PartitionId, Replayed)>,
    /// Whether all days have the new settings now, and other verbs may go on.
    pub is_done: bool,
}

impl<'a> Remaking<'a> {
    /// What has to be done so that all days of the tenant, which have the settings `from`, get the
    /// settings `to`.
    ///
    /// # Errors
    /// If the lake's zone is unknown.
    pub fn new(
        tenant: &'a Tenant,
        jobs: &'a [JobSpec],
        from: TenantSettings,
        to: TenantSettings,
    ) -> Result<Self> {
        let name = &from.time_zone;
        let old_zone = TimeZone::get(name)
            .with_context(|| format!("the lake has days cut in {name}, which is no zone"))?;
        let mut jobs: Vec<&JobSpec> = jobs
            .iter()
            .filter(|job| job.tenants.contains(&tenant.name))
            .collect();
        // The day of a child is as whole as that of its parent.
        jobs.sort_by_key(|job| job.dataset.rank());
        Ok(Self {
            tenant,
            jobs,
            from,
            to,
            old_zone,
        })
    }

    /// Makes all days again. What cannot be read of the originals is in [`Replayed::Left`].
    ///
    /// # Errors
    /// When the lake, the disk or the ledger refuses.
    pub async fn run(&self) -> Result<Remade> {
        let mut remade = Remade::default();
        let (mut record, seen) = self.record().await?;
        check_owner(self.tenant).await?;
        let mut streams = self.streams(&mut remade.days).await?;
        // The records of the days say what is to be done, whatever the tenant's record says.
        if record.remake.is_none() && self.from == self.to && self.are_all_remade(&streams).await? {
            return Ok(Remade {
                is_done: true,
                ..Remade::default()
            });
        }
        if record.remake.is_none() {
            // Begun and not ended, a remake keeps everything else away, so it begins only if it
            // can end.
            self.find_unreadable(&mut streams, &mut remade.days).await?;
            if !remade.days.is_empty() {
                return Ok(remade);
            }
            record.remake = Some(self.to.clone());
            identity::replace_tenant(&self.tenant.lake, &record, &seen).await?;
        }
        crash_point!("w12-remake-begun");
        self.bring_ledger_under(&record).await?;
        crash_point!("w12-ledger-moved");
        for stream in &mut streams {
            self.remake_days(stream, &mut remade.days).await?;
        }
        let is_left = |(_, day): &(PartitionId, Replayed)| matches!(day, Replayed::Left { .. });
        if !remade.days.iter().any(is_left) {
            self.end(&streams).await?;
            remade.is_done = true;
        }
        Ok(remade)
    }

    async fn record(&self) -> Result<(TenantRecord, Version)> {
        let name = &self.tenant.name;
        let found = identity::tenant_record(&self.tenant.lake, name).await?;
        found.with_context(|| format!("the lake's record of tenant {name} is gone"))
    }

    /// The tenant's datasets that have days in the lake. Days that no job is for are left.
    async fn streams(
        &self,
        left: &mut Vec<(PartitionId, Replayed)>,
    ) -> Result<Vec<DatasetDays<'a>>> {
        let mut streams: BTreeMap<Dataset, DatasetDays<'a>> = BTreeMap::new();
        for (id, listed) in manifest::all(&self.tenant.lake).await? {
            if id.tenant != self.tenant.name {
                continue;
            }
            let dataset = id.dataset;
            let Some(job) = self.jobs.iter().find(|job| job.dataset == dataset) else {
                let reason = "no job of the configuration exports this dataset for this tenant; \
                              add its job file, so that its days can be made again too";
                left.push((id, Replayed::left(reason.to_owned())));
                continue;
            };
            let newest = listed.keys().next_back().copied().unwrap_or_default();
            let stream = streams
                .entry(dataset)
                .or_insert_with(|| DatasetDays::new(job));
            stream.listed.insert(id.dt, newest);
        }
        let mut streams: Vec<DatasetDays<'a>> = streams.into_values().collect();
        streams.sort_by_key(|stream| stream.job.dataset.rank());
        Ok(streams)
    }

    async fn are_all_remade(&self, streams: &[DatasetDays<'a>]) -> Result<bool> {
        for stream in streams {
            for dt in stream.listed.keys() {
                let (newest, _) = self.records(stream, *dt).await?;
                if newest.is_some_and(|found| !self.is_remade(stream.job, &found)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Finds the days whose originals cannot be read.
    async fn find_unreadable(
        &self,
        streams: &mut [DatasetDays<'a>],
        left: &mut Vec<(PartitionId, Replayed)>,
    ) -> Result<()> {
        for stream in streams {
            let job = stream.job;
            for dt in stream.listed.keys().copied().collect::<Vec<_>>() {
                let id = self.id(job.dataset, dt);
                let inputs = match self.inputs(stream, dt).await {
                    Err(error) => Err(publish_record(error)?),
                    Ok(inputs) => Ok(inputs.to_vec()),
                };
                let problem = match inputs {
                    Err(problem) => Some(problem),
                    Ok(inputs) => self.damaged_original(job, &inputs).await?,
                };
                if let Some(problem) = problem {
                    left.push((id, Replayed::left(problem)));
                }
                stream.forget_before(dt);
            }
            stream.inputs.clear();
        }
        Ok(())
    }

    async fn damaged_original(&self, job: &JobSpec, inputs: &[Input]) -> Result<Option<String>> {
        let mut by_pack: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for input in inputs.iter().filter(|input| input.is_answered()) {
            let (Some(pack), Some(sha256)) = (&input.pack, &input.source_sha256) else {
                return Ok(Some(format!(
                    "task {} has no archived original",
                    input.task_key
                )));
            };
            by_pack.entry(pack).or_default().push(sha256);
        }
        for (pack, originals) in by_pack {
            let opened = self
                .tenant
                .publisher
                .open_pack(&self.tenant.name, job.dataset, pack);
            let checked = match opened.await {
                Ok(mut pack) => originals.iter().try_for_each(|sha256| pack.check(sha256)),
                Err(error) => Err(error),
            };
            match checked {
                Ok(()) => {}
                Err(error) => return Ok(Some(publish_record(error.into())?)),
            }
        }
        Ok(None)
    }

    async fn bring_ledger_under(&self, record: &TenantRecord) -> Result<()> {
        let tenant = self.tenant;
        let settings = to_json(&self.to);
        let kept = [
            (meta_name(&tenant.name), to_json(record)),
            (planned_name(&tenant.name), settings),
        ];
        let new = NewSettings {
            tenant: &tenant.name,
            from: &self.old_zone,
            to: &tenant.time_zone,
            by_civil_day: &by_civil_day(self.jobs.iter().copied()),
            kept: &kept,
        };
        Ok(tenant.ledger.bring_under(&new, tenant.clock.now()).await?)
    }

    async fn end(&self, streams: &[DatasetDays<'a>]) -> Result<()> {
        let (mut record, seen) = self.record().await?;
        let known: BTreeSet<Dataset> = record.settings.datasets.keys().copied().collect();
        let has_days = |dataset: &Dataset| {
            known.contains(dataset) || streams.iter().any(|stream| stream.job.dataset == *dataset)
        };
        let first = |zone: &TimeZone| {
            start_of_day(&self.tenant.time_zone, date_of(zone, record.first_instant))
        };
        let earliest: Timestamp = first(&self.old_zone).min(first(&self.tenant.time_zone));
        record.first_instant = earliest;
        record.settings = self.to.clone();
        let datasets = &mut record.settings.datasets;
        datasets.retain(|dataset, _| has_days(dataset));
        record.remake = None;
        record.app.get_or_insert_with(|| self.tenant.app.clone());
        identity::replace_tenant(&self.tenant.lake, &record, &seen).await?;
        crash_point!("w13-remake-ended");
        super::remember(&self.tenant.ledger, &record).await
    }

    /// Lets the next run plan children again whose parents' rows are others now.
    async fn open_children(&self, dataset: Dataset) -> Result<()> {
        let (name, ledger) = (&self.tenant.name, &self.tenant.ledger);
        for child in dataset.children() {
            for row in ledger.windows(name, child, None).await? {
                let digest = digest(&ledger.parents(name, dataset, row.window).await?);
                if row.parents.is_some() && must_be_planned_again(&row, &digest) {
                    ledger.set_window_state(&row, WindowState::Due).await?;
                }
            }
        }
        Ok(())
    }
}

/// The text of an error that is about a damaged record or pack.
///
/// # Errors
/// Any other.
fn publish_record(error: anyhow::Error) -> Result<String> {
    match error.downcast_ref() {
        Some(publish::Error::Record { .. }) => Ok(error.to_string()),
        _ => Err(error),
    }
}
