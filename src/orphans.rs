//! Finds and collects what incomplete publishes left in the lake.
//!
//! An orphan is an object that no retained manifest and no ledger entry names. Where a manifest is
//! missing, nobody knows what it named, and nothing of that dataset is an orphan. One is deleted
//! only when it is so old that no publish can be about to name it. First the ledger records what
//! will be deleted. Then all references are read once more, because a publish may have named a pack
//! since. Then the orphans are deleted, and the ledger records that. A collection that dies in
//! between has deleted only orphans, and the next one starts over.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use object_store::path::Path;
use serde::Serialize;

use crate::datasets::Dataset;
use crate::ledger::Ledger;
use crate::publish::location::{self, Place};
use crate::publish::manifest::{self, Found};
use crate::record::{Input, PackId, PartitionId};
use crate::store::Lake;

/// An object that nothing names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// What it is.
    #[serde(rename = "what")]
    pub kind: OrphanKind,
    /// Below the lake's root.
    pub path: String,
    /// Length, bytes.
    pub size_bytes: u64,
    /// When it was last written, by the store's clock.
    pub written_at: Timestamp,
    /// The path of a leftover of a local writer, which is not an object.
    #[serde(skip)]
    file: Option<PathBuf>,
}

/// What an orphan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrphanKind {
    /// A pack of originals.
    Pack,
    /// A chunk of an input list.
    Inputs,
    /// A coverage record.
    Coverage,
    /// A half-written file of a local lake.
    Staging,
    /// An object that `doctor` wrote to test the store.
    Probe,
}

impl OrphanKind {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Inputs => "input list",
            Self::Coverage => "coverage",
            Self::Staging => "half-written file",
            Self::Probe => "doctor's probe",
        }
    }
}

/// The key under which the ledger keeps what a collection is about to delete.
const INTENT: &str = "orphans";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundOrphans {
    /// What nothing names.
    pub orphans: Vec<Orphan>,
    /// Why nothing of some datasets is among them, for people.
    pub doubts: Vec<String>,
}

/// Everything in the lake that nothing names, whatever its age. Only objects of `tenants` count:
/// other tenants have a ledger of their own.
///
/// # Errors
/// When the lake or the ledger cannot be read, or a manifest is damaged, so that nobody knows what
/// it names.
pub async fn find(lake: &Lake, ledger: &Ledger, tenants: &HashSet<String>) -> Result<FoundOrphans> {
    // Listed before the references are read, so that what is written in between is not in the list.
    let entries = lake.entries(&Path::default()).await?;
    let leftovers = lake
        .leftovers()
        .context("could not look for half-written files")?;
    let references = References::read(lake, ledger).await?;
    let mut orphans: Vec<Orphan> = entries
        .into_iter()
        .filter_map(|entry| {
            let kind = references.orphan_kind(&location::place(&entry.path), tenants)?;
            Some(Orphan {
                kind,
                path: entry.path.to_string(),
                size_bytes: entry.size_bytes,
                written_at: entry.written_at,
                file: None,
            })
        })
        .collect();
    orphans.extend(
        leftovers
            .into_iter()
            .map(|(file, size_bytes, written_at)| Orphan {
                kind: OrphanKind::Staging,
                path: file.display().to_string(),
                size_bytes,
                written_at,
                file: Some(file),
            }),
    );
    let doubts = references.doubts.into_iter();
    let doubts = doubts.filter(|((tenant, _), _)| tenants.contains(tenant));
    let doubts = doubts.map(|((tenant, dataset), why)| {
        format!("nothing of {dataset} of {tenant} is an orphan: {why}")
    });
    Ok(FoundOrphans {
        orphans,
        doubts: doubts.collect(),
    })
}

/// Deletes those of `orphans` that are still orphans and were written before `before`. Gives what
/// was deleted.
///
/// # Errors
/// When the lake refuses, or another process has taken over the ledger.
pub async fn collect(
    lake: &Lake,
    ledger: &Ledger,
    tenants: &HashSet<String>,
    orphans: &[Orphan],
    before: Timestamp,
) -> Result<Vec<Orphan>> {
    let old: Vec<&Orphan> = orphans
        .iter()
        .filter(|orphan| orphan.written_at < before)
        .collect();
    if old.is_empty() {
        return Ok(Vec::new());
    }
    let paths: Vec<&str> = old.iter().map(|orphan| orphan.path.as_str()).collect();
    ledger.set_meta_value(INTENT, &paths).await?;
    crash_point!("w12-orphans-intended");
    let references = match planted!("planted-orphans-not-looked-up-again") {
        true => References::default(),
        false => References::read(lake, ledger).await?,
    };
    let mut deleted = Vec::new();
    for orphan in old {
        // If this process was suspended here, another one may own the ledger now.
        ledger.check_owner().await?;
        if let Some(file) = &orphan.file {
            delete_file(file)?;
        } else {
            let path = Path::parse(&orphan.path)?;
            let is_nobodys = references
                .orphan_kind(&location::place(&path), tenants)
                .is_some();
            // If it was written again since, a publish is about to name it.
            let written_at = lake.written_at(&path).await?;
            if !is_nobodys || written_at.is_none_or(|at| at >= before) {
                continue;
            }
            lake.delete(&path).await?;
        }
        crash_point!("w12-orphan-deleted");
        deleted.push(orphan.clone());
    }
    lake.remove_if_empty(&Path::from("_doctor"));
    ledger.set_meta_value(INTENT, &[""; 0]).await?;
    Ok(deleted)
}

fn delete_file(file: &std::path::Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not delete {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Every manifest: those that a list shows, and new ones that a list may still lack, found by their
/// keys.
async fn every_manifest(lake: &Lake, ledger: &Ledger) -> Result<Vec<(Path, Found)>> {
    let mut records = manifest::all(lake).await?;
    for row in ledger.partitions(None).await? {
        let id = PartitionId {
            dataset: row.dataset,
            tenant: row.tenant,
            dt: row.dt,
        };
        let of_partition = records.entry(id.clone()).or_default();
        let last = u32::try_from(row.revision).unwrap_or(u32::MAX);
        for number in 1..=last {
            if let std::collections::btree_map::Entry::Vacant(unlisted) = of_partition.entry(number)
            {
                let path = location::manifest(&id, number)?;
                if lake.head(&path).await?.is_some() {
                    unlisted.insert(path);
                }
            }
        }
    }
    let mut found = Vec::new();
    for (id, records) in records {
        let newest = records.last_key_value().map_or(0, |(number, _)| *number);
        for path in records.into_values() {
            let record = manifest::read(lake, &path).await?;
            let record = record.with_context(|| {
                format!("{path} is listed and cannot be found, so nobody knows what it names")
            })?;
            found.push((path, record));
        }
        for newer in manifest::after(lake, &id, newest).await? {
            found.push((location::manifest(&id, newer.manifest.revision)?, newer));
        }
    }
    Ok(found)
}

/// Everything that manifests and the ledger name.
#[derive(Default)]
struct References {
    packs: HashSet<PackId>,
    chunks: HashSet<String>,
    manifests: HashSet<Path>,
    /// Datasets of tenants of which a manifest is missing, and how that shows.
    doubts: BTreeMap<(String, Dataset), String>,
}

impl References {
    async fn read(lake: &Lake, ledger: &Ledger) -> Result<Self> {
        // The ledger first, because a publish names a pack there before it names it in a manifest.
        let mut references = Self::default();
        for task in ledger.unpublished().await? {
            references.packs.extend(task.pack);
        }
        for input in ledger.all_inputs().await? {
            references.add_input(input);
        }
        let mut known: BTreeMap<PartitionId, (bool, u32)> = BTreeMap::new();
        for row in ledger.partitions(None).await? {
            let revision = u32::try_from(row.revision).unwrap_or(u32::MAX);
            known.insert(row.id(), (row.intent.is_some(), revision));
            references
                .packs
                .extend(row.intent.into_iter().flat_map(|intent| intent.packs));
        }
        let mut numbers: BTreeMap<PartitionId, BTreeSet<u32>> = BTreeMap::new();
        for (path, found) in every_manifest(lake, ledger).await? {
            let of_partition = numbers.entry(found.manifest.id()).or_default();
            of_partition.insert(found.manifest.revision);
            references
                .packs
                .extend(found.manifest.packs.iter().cloned());
            let chunks = found.manifest.inputs.iter();
            let is_new = chunks
                .map(|chunk| references.chunks.insert(chunk.sha256.clone()))
                .fold(false, |any, new| any | new);
            if is_new {
                for input in manifest::inputs(lake, &found.manifest).await? {
                    references.add_input(input);
                }
            }
            references.manifests.insert(path);
        }
        for (id, (_, revision)) in &known {
            let of_partition = numbers.entry(id.clone()).or_default();
            references.doubt_gaps(id, of_partition, *revision)?;
        }
        for (id, of_partition) in &numbers {
            references.doubt_gaps(id, of_partition, 0)?;
        }
        for (id, path) in manifest::objects(lake).await? {
            let is_described = numbers.get(&id).is_some_and(|numbers| !numbers.is_empty());
            let is_intended = known.get(&id).is_some_and(|(is_intended, _)| *is_intended);
            if !is_described && !is_intended {
                references.doubt(&id, format!("{path} has no manifest"));
            }
        }
        Ok(references)
    }

    /// Notes a revision that must have been there and is not.
    fn doubt_gaps(&mut self, id: &PartitionId, found: &BTreeSet<u32>, known: u32) -> Result<()> {
        let newest = found.last().copied().unwrap_or(0).max(known);
        if let Some(missing) = (1..=newest).find(|number| !found.contains(number)) {
            let path = location::manifest(id, missing)?;
            self.doubt(
                id,
                format!("{path} is gone, and nobody knows what it named"),
            );
        }
        Ok(())
    }

    fn doubt(&mut self, id: &PartitionId, why: String) {
        let of = (id.tenant.clone(), id.dataset);
        self.doubts.entry(of).or_insert(why);
    }

    fn add_input(&mut self, input: Input) {
        self.packs.extend(input.pack);
    }

    /// What kind of orphan the object at `place` is; `None` if something names it.
    fn orphan_kind(&self, place: &Place, tenants: &HashSet<String>) -> Option<OrphanKind> {
        let (kind, tenant, dataset, is_named) = match place {
            Place::Pack(tenant, dataset, id) => {
                let is_named = self.packs.contains(id);
                (OrphanKind::Pack, tenant, *dataset, is_named)
            }
            Place::Inputs(id, sha256) => {
                let is_named = self.chunks.contains(sha256);
                (OrphanKind::Inputs, &id.tenant, id.dataset, is_named)
            }
            Place::Coverage(id, revision) => {
                let manifest = location::manifest(id, *revision).ok()?;
                let is_named = self.manifests.contains(&manifest);
                (OrphanKind::Coverage, &id.tenant, id.dataset, is_named)
            }
            Place::Probe => return Some(OrphanKind::Probe),
            // A workbook in quarantine is evidence, even if no ledger knows its task any more.
            Place::Partition { .. }
            | Place::Manifest(..)
            | Place::Quarantine { .. }
            | Place::LakeRecord
            | Place::TenantRecord(_)
            | Place::Other => return None,
        };
        let is_doubted = self.doubts.contains_key(&(tenant.clone(), dataset));
        (!is_named && !is_doubted && tenants.contains(tenant)).then_some(kind)
    }
}
