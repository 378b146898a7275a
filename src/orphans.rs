//! What publishes that never completed left in the lake: found, and collected when nobody needs it.
//!
//! Only what no retained manifest and no ledger entry names, and what is old enough that no publish can be about to name it. The ledger
//! records what is to go; then everything is looked up once more, because a publish may have begun to name a pack since; then it goes, and
//! the ledger records that. A collection that dies in between has deleted only what was an orphan, and the next one starts anew.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use object_store::path::Path;
use serde::Serialize;

use crate::ledger::Ledger;
use crate::publish::PartitionId;
use crate::publish::location::{self, Place};
use crate::publish::manifest::{self, Found, Input};
use crate::store::Lake;

/// An object that nothing names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// What it is.
    pub what: What,
    /// Below the lake's root.
    pub path: String,
    /// Length, bytes.
    pub size_bytes: u64,
    /// When it was last written, by the store's clock.
    pub written_at: Timestamp,
    /// Where a leftover of a local writer is, which is no object.
    #[serde(skip)]
    file: Option<PathBuf>,
}

/// What an orphan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A pack of originals.
    Pack,
    /// A chunk of an input list.
    Inputs,
    /// A coverage record.
    Coverage,
    /// A half-written file of a local lake.
    Staging,
    /// What `doctor` tried the store with.
    Probe,
}

impl What {
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

/// Name under which the ledger keeps what a collection is about to delete.
const INTENT: &str = "orphans";

/// Everything in the lake that nothing names, whatever its age. Only what belongs to `tenants` is looked at: the others have a ledger of their own.
///
/// # Errors
/// When the lake or the ledger cannot be read, or a manifest is damaged: then nobody knows what it names.
pub async fn find(lake: &Lake, ledger: &Ledger, tenants: &HashSet<String>) -> Result<Vec<Orphan>> {
    // Listed before the references are read: what is written in between is not in the list.
    let entries = lake.entries(&Path::default()).await?;
    let leftovers = lake
        .leftovers()
        .context("could not look for half-written files")?;
    let named = Named::read(lake, ledger).await?;
    let mut orphans: Vec<Orphan> = entries
        .into_iter()
        .filter_map(|entry| {
            let what = named.orphan(&location::place(&entry.path), tenants)?;
            Some(Orphan {
                what,
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
                what: What::Staging,
                path: file.display().to_string(),
                size_bytes,
                written_at,
                file: Some(file),
            }),
    );
    Ok(orphans)
}

/// Deletes those of `orphans` that are still nobody's and were written before `before`, and gives what was deleted.
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
    ledger
        .set_meta(INTENT, &serde_json::to_string(&paths)?)
        .await?;
    crash_point!("w12-orphans-intended");
    let named = match planted!("planted-orphans-not-looked-up-again") {
        true => Named::default(),
        false => Named::read(lake, ledger).await?,
    };
    let mut deleted = Vec::new();
    for orphan in old {
        // A process that was stopped here may have lost the ledger meanwhile.
        ledger.check_owner().await?;
        if let Some(file) = &orphan.file {
            delete_file(file)?;
        } else {
            let path = Path::parse(&orphan.path)?;
            let is_nobodys = named.orphan(&location::place(&path), tenants).is_some();
            // Written again since: somebody is about to name it.
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
    ledger.set_meta(INTENT, "[]").await?;
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

/// Every manifest: those that a list shows, and those that it may lack because they are new, by their keys.
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
struct Named {
    packs: HashSet<String>,
    chunks: HashSet<String>,
    manifests: HashSet<Path>,
}

impl Named {
    async fn read(lake: &Lake, ledger: &Ledger) -> Result<Self> {
        // The ledger first: a publish names a pack there before it names it in a manifest.
        let mut named = Self::default();
        for task in ledger.unpublished().await? {
            named.packs.extend(task.pack);
        }
        for entry in ledger.all_inputs().await? {
            let input =
                serde_json::from_str(&entry).context("the ledger holds an unreadable input")?;
            named.input(input);
        }
        for (path, found) in every_manifest(lake, ledger).await? {
            named.packs.extend(found.manifest.packs.iter().cloned());
            let chunks = found.manifest.inputs.iter();
            let is_new = chunks
                .map(|chunk| named.chunks.insert(chunk.sha256.clone()))
                .fold(false, |any, new| any | new);
            if is_new {
                for input in manifest::inputs(lake, &found.manifest).await? {
                    named.input(input);
                }
            }
            named.manifests.insert(path);
        }
        Ok(named)
    }

    fn input(&mut self, input: Input) {
        self.packs.extend(input.pack);
    }

    /// What the object at a place is, if nothing names it.
    fn orphan(&self, place: &Place, tenants: &HashSet<String>) -> Option<What> {
        let (what, tenant, is_named) = match place {
            Place::Pack(tenant, sha256) => (What::Pack, tenant, self.packs.contains(sha256)),
            Place::Inputs(id, sha256) => (What::Inputs, &id.tenant, self.chunks.contains(sha256)),
            Place::Coverage(id, revision) => {
                let manifest = location::manifest(id, *revision).ok()?;
                (
                    What::Coverage,
                    &id.tenant,
                    self.manifests.contains(&manifest),
                )
            }
            Place::Probe => return Some(What::Probe),
            // A workbook in quarantine is evidence, whether or not a ledger still knows its task.
            Place::Partition { .. }
            | Place::Manifest(..)
            | Place::Quarantine { .. }
            | Place::Other => return None,
        };
        (!is_named && tenants.contains(tenant)).then_some(what)
    }
}
