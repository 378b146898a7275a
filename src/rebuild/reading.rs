//! Reads a lake: newest manifests, their chains and objects, and the archived originals. The only
//! part of a rebuild that does I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use jiff::tz::TimeZone;
use object_store::path::Path;

use super::found::{FoundLake, FoundPartition, FoundTask, ReadOriginal, Setting, Stream};
use super::report::RebuildProblem;
use super::specs;
use crate::pipeline::{self, RereadRows, Tenant};
use crate::publish::manifest::{self, Found};
use crate::publish::{self, location};
use crate::record::{Input, PartitionId};

/// Everything that the lake says of the configured tenants and jobs.
pub(super) async fn read(tenants: &[Arc<Tenant>], setting: &Setting<'_>) -> Result<FoundLake> {
    let mut reader = LakeReader {
        tenants,
        setting,
        found: FoundLake::default(),
    };
    if let Some(tenant) = tenants.first() {
        let all = manifest::all(&tenant.lake).await?;
        for (id, path) in manifest::objects(&tenant.lake).await? {
            if !all.contains_key(&id) {
                let why = "no manifest describes it, so it is not taken over; bring its manifests \
                           back from a copy, and rebuild again";
                reader.damage(path.as_ref(), why);
            }
        }
        for (id, records) in all {
            reader.take_partition(&id, records).await?;
        }
    }
    reader.read_originals().await?;
    specs::plan_again(setting, &mut reader.found.tasks);
    reader.name_unread()?;
    specs::rename(setting, &mut reader.found);
    Ok(reader.found)
}

struct LakeReader<'a> {
    tenants: &'a [Arc<Tenant>],
    setting: &'a Setting<'a>,
    found: FoundLake,
}

impl LakeReader<'_> {
    async fn take_partition(
        &mut self,
        id: &PartitionId,
        listed: BTreeMap<u32, Path>,
    ) -> Result<()> {
        if self.setting.job(&id.tenant, id.dataset).is_none() {
            let why = "no job of the configuration exports this dataset for this tenant, so it is \
                       left out";
            self.note(location::manifests(id)?.as_ref(), why);
            return Ok(());
        }
        let Some(tenant) = self.tenant(&id.tenant) else {
            return Ok(());
        };
        let newest = match read_newest(&tenant, id, listed).await {
            Ok(NewestRecord::Read(newest)) => newest,
            Ok(NewestRecord::Gone(path)) => {
                let why = "it is listed and cannot be found; its partition is left out and \
                           exported again";
                self.damage(path.as_ref(), why);
                return Ok(());
            }
            Err(publish::Error::Record { path, problem }) => {
                let why =
                    format!("damaged: {problem}; its partition is left out and exported again");
                self.damage(&path, &why);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.check_chain(&tenant, &newest).await?;
        let is_cut_off = self.is_cut_off(&tenant, id, &newest.found).await?;
        let inputs = as_cut_now(&tenant, &newest.found, newest.inputs);
        self.found.take_partition(FoundPartition {
            id: id.clone(),
            found: newest.found,
            inputs,
            is_cut_off,
        });
        Ok(())
    }

    /// Notes a newest record that does not follow from those before it.
    async fn check_chain(&mut self, tenant: &Tenant, newest: &Revisions) -> Result<()> {
        let Revisions { records, found, .. } = newest;
        let manifest = &found.manifest;
        let number = manifest.revision;
        let before = number
            .checked_sub(1)
            .filter(|number| *number > 0)
            .map(|number| records.get(&number));
        let sha256 = match before {
            None => None,
            Some(None) => Some(None),
            Some(Some(path)) => match manifest::read(&tenant.lake, path).await {
                Ok(found) => Some(found.map(|found| found.sha256)),
                Err(publish::Error::Record { .. }) => Some(None),
                Err(error) => return Err(error.into()),
            },
        };
        let follows = sha256.map_or(manifest.previous_sha256.is_none(), |sha256| {
            sha256.is_some() && sha256 == manifest.previous_sha256
        });
        if !follows || records.len() != number as usize {
            let why = "it does not follow from the revisions before it; it is taken over as it is, \
                       `meetlake verify` names what is missing";
            self.note(location::manifest(&manifest.id(), number)?.as_ref(), why);
        }
        Ok(())
    }

    /// Whether the object is not the manifest's: gone, replaced, or put by a publish that died
    /// before its manifest. Compared by tag and length where those still say something, by content
    /// where they do not.
    async fn is_cut_off(
        &mut self,
        tenant: &Tenant,
        id: &PartitionId,
        found: &Found,
    ) -> Result<bool> {
        let object = &found.manifest.object;
        let path = location::object(&found.manifest.destination, id)?;
        let Some((version, size_bytes)) = tenant.lake.head(&path).await? else {
            let why =
                "the object is gone; `meetlake replay` makes it again from the archived originals";
            self.damage(path.as_ref(), why);
            return Ok(false);
        };
        if version.etag.is_some() && version == object.version && size_bytes == object.size_bytes {
            return Ok(false);
        }
        let copy = tenant.spool.temp_file();
        let stored = tenant.lake.download(&path, copy.path()).await?;
        if stored.is_some_and(|stored| stored.sha256 == object.sha256) {
            return Ok(false);
        }
        let why = "the object is not that of its manifest: a publish was cut off, or somebody \
                   replaced it; the next run exports and publishes the day again";
        self.damage(path.as_ref(), why);
        Ok(true)
    }

    async fn read_originals(&mut self) -> Result<()> {
        let mut inputs: BTreeMap<Stream, Vec<Input>> = BTreeMap::new();
        for task in self.found.tasks.values() {
            if task.input.is_answered() {
                let of_stream = inputs.entry(task.stream()).or_default();
                of_stream.push(task.input.clone());
            }
        }
        for ((name, dataset), inputs) in inputs {
            let (Some(tenant), Some(job)) = (self.tenant(&name), self.setting.job(&name, dataset))
            else {
                continue;
            };
            let tasks = &mut self.found.tasks;
            pipeline::reread(
                &tenant,
                job,
                &inputs,
                RereadRows::Forgotten,
                |input, read| {
                    let Some(task) = tasks.get_mut(&input.task_key) else {
                        return Ok(());
                    };
                    match read {
                        Ok(reread) => {
                            task.spec = Some(reread.spec);
                            task.read = Some(ReadOriginal::new(reread.size_bytes, reread.read));
                        }
                        Err(reason) => task.unread = Some(format!("{reason:#}")),
                    }
                    Ok(())
                },
            )
            .await?;
        }
        Ok(())
    }

    /// Says what each original that cannot be read costs.
    fn name_unread(&mut self) -> Result<()> {
        for task in self.found.tasks.values_mut() {
            let Some(reason) = &task.unread else { continue };
            // Others are asked for by its rows, or nobody knows what was asked for.
            task.is_lost = task.dataset.children().next().is_some() || task.spec.is_none();
            self.found.problems.insert(unread(task, reason)?);
        }
        Ok(())
    }

    fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        let found = self.tenants.iter().find(|tenant| tenant.name == name);
        found.map(Arc::clone)
    }

    /// Something that costs something.
    fn damage(&mut self, path: &str, problem: &str) {
        self.tell(path, problem, true);
    }

    /// Something that is taken over all the same, or that nobody asks for.
    fn note(&mut self, path: &str, problem: &str) {
        self.tell(path, problem, false);
    }

    fn tell(&mut self, path: &str, problem: &str, is_damage: bool) {
        self.found.problems.insert(RebuildProblem {
            path: path.to_owned(),
            problem: problem.to_owned(),
            is_damage,
        });
    }
}

/// The inputs of a day, standing for the same civil days in the tenant's zone. While all days are
/// being made again, some records still have those of another one.
fn as_cut_now(tenant: &Tenant, found: &Found, inputs: Vec<Input>) -> Vec<Input> {
    let zone = found.manifest.time_zone.as_deref();
    let zone = zone.and_then(|name| TimeZone::get(name).ok());
    match zone.filter(|_| found.manifest.dataset.is_by_civil_day()) {
        Some(zone) if zone != tenant.time_zone => {
            let inputs = inputs.iter();
            inputs
                .map(|input| input.in_zone(&zone, &tenant.time_zone))
                .collect()
        }
        _ => inputs,
    }
}

/// The newest record of a partition, and those before it.
enum NewestRecord {
    Read(Box<Revisions>),
    /// It is listed at this path, and not there.
    Gone(Path),
}

/// A partition's newest record, its inputs, and the paths of all its records.
struct Revisions {
    records: BTreeMap<u32, Path>,
    found: Found,
    inputs: Vec<Input>,
}

/// Reads the newest record of a partition. A list may lack it, so it is looked for by its key.
async fn read_newest(
    tenant: &Tenant,
    id: &PartitionId,
    mut records: BTreeMap<u32, Path>,
) -> Result<NewestRecord, publish::Error> {
    let listed = records.last_key_value().map_or(0, |(number, _)| *number);
    let newer = manifest::after(&tenant.lake, id, listed).await?;
    for record in newer {
        let number = record.manifest.revision;
        records.insert(number, location::manifest(id, number)?);
    }
    let path = match records.last_key_value() {
        Some((_, path)) => path.clone(),
        None => location::manifest(id, 1)?,
    };
    let Some(found) = manifest::read(&tenant.lake, &path).await? else {
        return Ok(NewestRecord::Gone(path));
    };
    let inputs = manifest::inputs(&tenant.lake, &found.manifest).await?;
    let revisions = Revisions {
        records,
        found,
        inputs,
    };
    Ok(NewestRecord::Read(Box::new(revisions)))
}

/// What an original that cannot be read costs; once for each pack and reason.
fn unread(task: &FoundTask, reason: &str) -> Result<RebuildProblem> {
    let path = match &task.input.pack {
        Some(pack) => location::pack(&task.tenant, task.dataset, pack)?.to_string(),
        None => format!("task {}", task.input.task_key),
    };
    let cost = match (task.is_lost, &task.spec) {
        (true, Some(_)) => "its task is exported again, because others are asked for by its rows",
        (true, None) => "its task is exported again, because what was asked for was in it",
        (false, _) => "its task counts as published, as its manifest says",
    };
    Ok(RebuildProblem {
        path,
        problem: format!("{reason}; {cost}"),
        is_damage: task.is_lost,
    })
}
