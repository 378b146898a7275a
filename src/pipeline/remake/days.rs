//! The days of one dataset, made again one after the other.
//!
//! Rows move by a few days at most, so a day needs the originals of its neighbours. Each original is
//! read once: its rows stay in the spool until no later day can need them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::Result;
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Remaking;
use crate::datasets::Dataset;
use crate::findings::{Findings, FindingsSummary};
use crate::job::JobSpec;
use crate::pipeline::commit::{answered, commit, published, read_manifest};
use crate::pipeline::partition::{decide_next, ranks, revision_of};
use crate::pipeline::replay::Replayed;
use crate::pipeline::{RereadRows, reread};
use crate::publish::manifest::{self, Found};
use crate::publish::{self, PartitionPlan, location};
use crate::record::{Input, PartitionId, RowSettings, SpooledTask};
use crate::task::TaskKey;
use crate::window::date_of;

/// Rows move by so many days at most: zones differ by 26 hours, and a row may be read in another
/// one and its day be cut in another one.
const FARTHEST_DAYS: i64 = 3;

impl<'a> Remaking<'a> {
    pub(super) fn id(&self, dataset: Dataset, dt: Date) -> PartitionId {
        PartitionId {
            dataset,
            tenant: self.tenant.name.clone(),
            dt,
        }
    }

    /// The settings that a dataset's days are to have.
    fn wanted(&self, job: &JobSpec) -> RowSettings {
        let known = self.to.datasets.get(&job.dataset);
        known.map_or_else(|| self.tenant.settings(job), RowSettings::clone)
    }

    /// Whether a day was made under the settings that all are to have.
    pub(super) fn is_remade(&self, job: &JobSpec, found: &Found) -> bool {
        let manifest = &found.manifest;
        let before = self.from.datasets.get(&job.dataset);
        let reading = manifest.reading.as_ref();
        let reading = reading.or(before.map(|before| &before.reading));
        let zone = manifest.time_zone.as_ref();
        let wanted = self.wanted(job);
        zone.unwrap_or(&self.from.time_zone) == &self.to.time_zone
            && reading == Some(&wanted.reading)
            && manifest.destination == wanted.destination
    }

    /// The newest record of a day, looked for by its key, because a list may lack it; and the
    /// newest one that was not made under the new settings.
    pub(super) async fn records(
        &self,
        stream: &DatasetDays<'a>,
        dt: Date,
    ) -> Result<(Option<Found>, Option<Found>)> {
        let id = self.id(stream.job.dataset, dt);
        let listed = stream.listed.get(&dt).copied().unwrap_or_default();
        let newer = manifest::after(&self.tenant.lake, &id, listed).await?;
        let newest = match newer.into_iter().next_back() {
            Some(newer) => Some(newer),
            None if listed == 0 => None,
            None => read_manifest(self.tenant, &id, listed).await?,
        };
        let mut before = newest.clone();
        while let Some(found) = &before
            && self.is_remade(stream.job, found)
        {
            before = match found.manifest.revision {
                0 | 1 => None,
                number => read_manifest(self.tenant, &id, number - 1).await?,
            };
        }
        Ok((newest, before))
    }

    /// What the day was made of before, with windows as the ledger has them by now.
    pub(super) async fn inputs<'s>(
        &self,
        stream: &'s mut DatasetDays<'a>,
        dt: Date,
    ) -> Result<&'s [Input]> {
        if !stream.inputs.contains_key(&dt) {
            let (_, before) = self.records(stream, dt).await?;
            let mut inputs = match &before {
                Some(found) => manifest::inputs(&self.tenant.lake, &found.manifest).await?,
                None => Vec::new(),
            };
            if let Some(found) = &before
                && stream.job.dataset.is_by_civil_day()
            {
                let zone = found.manifest.time_zone.as_deref();
                let zone = zone.and_then(|name| TimeZone::get(name).ok());
                let zone = zone.unwrap_or_else(|| self.old_zone.clone());
                for input in &mut inputs {
                    *input = input.in_zone(&zone, &self.tenant.time_zone);
                }
            }
            stream.inputs.insert(dt, inputs);
        }
        Ok(&stream.inputs[&dt])
    }

    pub(super) async fn remake_days(
        &self,
        stream: &mut DatasetDays<'a>,
        days: &mut Vec<(PartitionId, Replayed)>,
    ) -> Result<()> {
        let ends = stream.listed.keys().next().copied();
        let ends = ends.zip(stream.listed.keys().next_back().copied());
        let Some((first, last)) = ends else {
            return Ok(());
        };
        let before_first = first.saturating_sub(FARTHEST_DAYS.days());
        let after_last = last.saturating_add(FARTHEST_DAYS.days());
        for dt in before_first
            .series(1.day())
            .take_while(|dt| *dt <= after_last)
        {
            let remade = self.remake_day(stream, dt).await;
            // Days that follow may need rows of this one, and none of those further back.
            self.forget(stream, Some(dt))?;
            match remade {
                Ok(None) => {}
                Ok(Some(outcome)) => days.push((self.id(stream.job.dataset, dt), outcome)),
                Err(error) => {
                    self.forget(stream, None)?;
                    return Err(error);
                }
            }
        }
        self.forget(stream, None)?;
        self.open_children(stream.job.dataset).await
    }

    /// Makes one day again; `None` if there is nothing of it, before and after.
    async fn remake_day(&self, stream: &mut DatasetDays<'a>, dt: Date) -> Result<Option<Replayed>> {
        let tenant = self.tenant;
        let job = stream.job;
        let id = self.id(job.dataset, dt);
        let (newest, before) = self.records(stream, dt).await?;
        if let Some(found) = newest.as_ref().filter(|found| self.is_remade(job, found)) {
            self.tell_ledger(&id, found).await?;
            self.remove_old_object(&found.manifest.object.path, before.as_ref())
                .await?;
            return Ok(Some(Replayed::Unchanged));
        }
        if let Err(unread) = self.read_candidates(stream, dt).await? {
            return Ok(Some(Replayed::left(unread)));
        }
        let listed = self.inputs_of_day(stream, dt);
        let published = tenant
            .ledger
            .partition(&tenant.name, job.dataset, dt)
            .await?;
        let published = published.filter(|row| row.revision > 0);
        let next = decide_next(tenant, job, &id, published.as_ref(), &[], &listed).await?;
        let Some(mut next) = next else {
            return Ok(None);
        };
        if newest.is_none() && next.inputs.is_empty() {
            return Ok(None);
        }
        let wanted = self.wanted(job);
        next.number = newest.as_ref().map_or(0, |found| found.manifest.revision) + 1;
        let read = |input: &&Input| stream.read.get(&input.task_key);
        let of_day = next.inputs.iter().filter_map(|input| read(&input));
        next.findings = FindingsSummary::of(of_day.map(|read| &read.findings));
        let has_rows = |input: &&Input| read(input).is_some_and(|read| read.dts.contains(&dt));
        let add = next
            .inputs
            .iter()
            .filter(has_rows)
            .map(|input| SpooledTask {
                key: input.task_key.clone(),
                generation: input.generation,
            });
        let plan = PartitionPlan {
            id: id.clone(),
            destination: wanted.destination.clone(),
            previous_content_hash: newest
                .as_ref()
                .map(|found| found.manifest.content_hash.clone()),
            add: add.collect(),
            drop: HashSet::new(),
            ranks: ranks(&next.inputs),
            from_scratch: true,
            key_id: Some(tenant.key.id()),
            known_objects: Vec::new(),
        };
        let staged = tenant.publisher.stage(plan).await?;
        let previous = newest.as_ref().map(|found| found.sha256.clone());
        let mut revision = revision_of(tenant, job, &id, previous, next, &staged);
        revision.destination = wanted.destination;
        revision.reading = wanted.reading;
        revision.replayed_from = newest
            .as_ref()
            .and_then(|found| found.manifest.replayed_from.clone());
        let (number, rows) = (revision.number, revision.rows);
        commit(tenant, &staged, revision).await?;
        let object = location::object(&self.wanted(job).destination, &id);
        let object = object.map_err(publish::Error::from)?;
        self.remove_old_object(object.as_ref(), newest.as_ref())
            .await?;
        Ok(Some(Replayed::Changed {
            revision: number,
            rows,
        }))
    }

    /// Lets the ledger know of a day that was made again by an attempt that died before it said so.
    async fn tell_ledger(&self, id: &PartitionId, found: &Found) -> Result<()> {
        let (ledger, name) = (&self.tenant.ledger, &self.tenant.name);
        let known = ledger.partition(name, id.dataset, id.dt).await?;
        let known = known.and_then(|row| row.manifest_sha256);
        if known.as_ref() == Some(&found.sha256) {
            return Ok(());
        }
        let inputs = manifest::inputs(&self.tenant.lake, &found.manifest).await?;
        let done = published(found, answered(&inputs));
        let now = self.tenant.clock.now();
        Ok(ledger
            .published(name, id.dataset, id.dt, &done, now)
            .await?)
    }

    /// Removes the object that a day had in another folder, once its next one is recorded.
    async fn remove_old_object(&self, path: &str, before: Option<&Found>) -> Result<()> {
        let Some(before) = before else { return Ok(()) };
        let manifest = &before.manifest;
        let old = location::object(&manifest.destination, &manifest.id());
        let old = old.map_err(publish::Error::from)?;
        if old.as_ref() != path {
            crash_point!("w12-old-object-left");
            self.tenant.lake.delete(&old).await?;
        }
        Ok(())
    }

    /// Reads the originals that may have rows of the day, unless they were read for a day before.
    /// Gives why some cannot be read.
    async fn read_candidates(
        &self,
        stream: &mut DatasetDays<'a>,
        dt: Date,
    ) -> Result<Result<(), String>> {
        let job = stream.job;
        let mut unread: BTreeMap<TaskKey, Input> = BTreeMap::new();
        for old in days_around(dt) {
            for input in self.inputs(stream, old).await?.to_vec() {
                let known = stream.candidates.entry(input.task_key.clone());
                let known = known.or_insert_with(|| Candidate::of(&input));
                known.listed_in.insert(old);
                // Days name different generations of a task if one of them was left as it was.
                if input.generation > known.input.generation {
                    known.input = input;
                }
                let input = &known.input;
                let is_read = stream
                    .read
                    .get(&input.task_key)
                    .is_some_and(|read| read.generation == input.generation);
                if input.is_answered() && !is_read {
                    unread.insert(input.task_key.clone(), input.clone());
                }
            }
        }
        let mut problems = Vec::new();
        let mut told = Vec::new();
        let (tenant, read) = (self.tenant, &mut stream.read);
        let inputs = unread.values();
        reread(tenant, job, inputs, RereadRows::Spooled, |input, reread| {
            match reread {
                Ok(reread) => {
                    let facts = reread.read;
                    let original = RereadOriginal {
                        generation: input.generation,
                        dts: facts.dts,
                        findings: facts.findings,
                    };
                    read.insert(input.task_key.clone(), original);
                    told.push((input.clone(), facts.parents, facts.reported));
                }
                Err(reason) => {
                    let sha256 = input.source_sha256.as_deref().unwrap_or("?");
                    problems.push(format!("original {sha256}: {reason:#}"));
                }
            }
            Ok(())
        })
        .await?;
        for (input, parents, reported) in told {
            let task = (&input.task_key, input.generation);
            let stream = (tenant.name.as_str(), job.dataset);
            tenant
                .ledger
                .read_again(stream, task, &parents, &reported)
                .await?;
        }
        Ok(match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("; ")),
        })
    }

    /// The inputs of a day as it is cut now: those with rows in it, and those whose window begins
    /// in it.
    fn inputs_of_day(&self, stream: &DatasetDays<'a>, dt: Date) -> Vec<Input> {
        let zone = &self.tenant.time_zone;
        let is_of_day = |candidate: &&Candidate| {
            let input = &candidate.input;
            let read = stream.read.get(&input.task_key);
            let is_home = date_of(zone, input.window_start) == dt;
            input.is_answered() && (is_home || read.is_some_and(|read| read.dts.contains(&dt)))
        };
        let near: BTreeSet<Date> = days_around(dt).collect();
        let is_near = |candidate: &&Candidate| !candidate.listed_in.is_disjoint(&near);
        let candidates = stream.candidates.values();
        candidates
            .filter(is_near)
            .filter(is_of_day)
            .map(|candidate| candidate.input.clone())
            .collect()
    }

    /// Removes from the spool, and from memory, what no day after `done` needs; all of it without
    /// one.
    fn forget(&self, stream: &mut DatasetDays<'a>, done: Option<Date>) -> Result<()> {
        let oldest = done.map(|done| done.saturating_sub((FARTHEST_DAYS - 1).days()));
        let stays = |candidate: &Candidate| {
            let last = candidate.listed_in.last();
            oldest
                .zip(last.copied())
                .is_some_and(|(oldest, last)| last >= oldest)
        };
        let mut forgotten = Vec::new();
        stream.candidates.retain(|key, candidate| {
            let stays = stays(candidate);
            if !stays {
                forgotten.push(key.clone());
            }
            stays
        });
        for key in forgotten {
            if let Some(read) = stream.read.remove(&key) {
                self.tenant.spool.remove(&key, read.generation)?;
            }
        }
        match oldest {
            Some(oldest) => stream.forget_before(oldest),
            None => stream.inputs.clear(),
        }
        Ok(())
    }
}

/// The days whose rows may move to `dt`.
fn days_around(dt: Date) -> impl Iterator<Item = Date> {
    let first = dt.saturating_sub(FARTHEST_DAYS.days());
    let last = dt.saturating_add(FARTHEST_DAYS.days());
    first.series(1.day()).take_while(move |day| *day <= last)
}

/// A dataset of the tenant, while its days are made again one after the other.
pub(super) struct DatasetDays<'a> {
    pub(super) job: &'a JobSpec,
    /// The newest revision of each day, as listed.
    pub(super) listed: BTreeMap<Date, u32>,
    /// What the days near the present one were made of.
    pub(super) inputs: BTreeMap<Date, Vec<Input>>,
    /// The tasks among them.
    candidates: BTreeMap<TaskKey, Candidate>,
    /// What their originals gave.
    read: HashMap<TaskKey, RereadOriginal>,
}

impl<'a> DatasetDays<'a> {
    pub(super) fn new(job: &'a JobSpec) -> Self {
        Self {
            job,
            listed: BTreeMap::new(),
            inputs: BTreeMap::new(),
            candidates: BTreeMap::new(),
            read: HashMap::new(),
        }
    }

    pub(super) fn forget_before(&mut self, oldest: Date) {
        self.inputs.retain(|dt, _| *dt >= oldest);
    }
}

/// A task that some day near the present one was made of.
struct Candidate {
    input: Input,
    listed_in: BTreeSet<Date>,
}

impl Candidate {
    fn of(input: &Input) -> Self {
        Self {
            input: input.clone(),
            listed_in: BTreeSet::new(),
        }
    }
}

/// What an original gave; its rows are in the spool.
struct RereadOriginal {
    generation: u32,
    dts: BTreeSet<Date>,
    findings: Findings,
}
