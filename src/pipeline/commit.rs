//! Makes a staged revision the partition's current one. The order is the proof: intent, object,
//! manifest, ledger.

use anyhow::Result;

use super::Tenant;
use crate::publish::manifest::{self, Revision};
use crate::publish::parquet::Written;
use crate::publish::{self, Staged, location};
use crate::record::{Input, Intent, PartitionId, PublishedPartition};
use crate::store::{StoreErrorKind, Version};

/// What a revision says of an object that is not put yet.
pub(super) fn object_of(written: &Written) -> manifest::Object {
    manifest::Object {
        path: String::new(),
        size_bytes: written.size_bytes,
        sha256: written.sha256.clone(),
        version: Version::default(),
    }
}

/// What the ledger keeps of a partition's inputs: those whose workbook is in it.
pub(super) fn answered(inputs: &[Input]) -> Vec<Input> {
    let answered = inputs.iter().filter(|input| input.is_answered());
    answered.cloned().collect()
}

/// What the ledger keeps of a revision, with those of its inputs whose workbook is in it.
pub(super) fn published(record: &manifest::Found, answered: Vec<Input>) -> PublishedPartition {
    let manifest = &record.manifest;
    PublishedPartition {
        revision: manifest.revision.into(),
        complete: manifest.reasons.is_empty(),
        content_hash: manifest.content_hash.clone(),
        manifest_sha256: record.sha256.clone(),
        rows: manifest.rows,
        // Of the object that stands, which may be the older one.
        size_bytes: manifest.object.size_bytes,
        inputs: answered,
    }
}

/// Commits a staged revision: intent, object, manifest, ledger.
pub(super) async fn commit(tenant: &Tenant, staged: &Staged, mut revision: Revision) -> Result<()> {
    let (dataset, dt, written) = (revision.id.dataset, revision.id.dt, &staged.written);
    let inputs = answered(&revision.inputs);
    let intent = Intent {
        revision: revision.number.into(),
        content_hash: written.content_hash.clone(),
        object_sha256: written.sha256.clone(),
        size_bytes: written.size_bytes,
        rows: written.rows,
        packs: manifest::packs_of(&inputs),
    };
    let ledger = &tenant.ledger;
    // Where the number is taken by a damaged record, that is said before the object is replaced.
    read_manifest(tenant, &revision.id, revision.number).await?;
    ledger.intend(&tenant.name, dataset, dt, &intent).await?;
    if planted!("planted-manifest-first") {
        put_manifest(tenant, revision.clone()).await?;
    }
    crash_point!("w08-intent-recorded");
    ledger.check_owner().await?;
    // The same content under another state (what was missing came back empty): object and lineage
    // stay, only the record is new. But the rows of a task that is another one now get its name:
    // by that they are found once it is asked again, or withdrawn.
    revision.object = match staged.base().filter(|_| staged.stands) {
        Some(standing) => standing.clone(),
        None => put_object(tenant, &revision.destination, &revision.id, staged).await?,
    };
    crash_point!("w09-object-put");
    ledger.check_owner().await?;
    let record = put_manifest(tenant, revision).await?;
    crash_point!("w10-manifest-put");
    let done = published(&record, inputs);
    let now = tenant.clock.now();
    ledger
        .published(&tenant.name, dataset, dt, &done, now)
        .await?;
    crash_point!("w11-partition-recorded");
    Ok(())
}

/// Puts the object. A process that was stopped before may have lost the ledger meanwhile, and a
/// local lake has no conditional write: so that is looked at last, with one rename left to do.
pub(super) async fn put_object(
    tenant: &Tenant,
    destination: &str,
    id: &PartitionId,
    staged: &Staged,
) -> Result<manifest::Object> {
    let publisher = &tenant.publisher;
    let next = publisher.begin_object(destination, id, staged).await?;
    crash_point!("w08-object-written");
    tenant.ledger.check_owner().await?;
    Ok(next.finish().await?)
}

/// Puts the manifest under the next free number: others under ours were left by a publish that died
/// before the ledger heard of it. They are read one after the other, by their keys, because a list
/// may lack the newest.
async fn put_manifest(tenant: &Tenant, mut revision: Revision) -> Result<manifest::Found> {
    let now = tenant.clock.now();
    loop {
        match manifest::put(&tenant.lake, revision.clone(), now).await {
            Err(publish::Error::Store(error)) if error.kind() == StoreErrorKind::Conflict => {
                let taken = read_manifest(tenant, &revision.id, revision.number).await?;
                let Some(taken) = taken else {
                    return Err(error.into());
                };
                revision.number += 1;
                revision.previous_sha256 = Some(taken.sha256);
            }
            result => return Ok(result?),
        }
    }
}

/// The manifest of one revision; `None` if there is none.
pub(super) async fn read_manifest(
    tenant: &Tenant,
    id: &PartitionId,
    number: u32,
) -> Result<Option<manifest::Found>> {
    let path = location::manifest(id, number).map_err(publish::Error::from)?;
    Ok(manifest::read(&tenant.lake, &path).await?)
}
