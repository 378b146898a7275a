//! One partition made again from the archived originals of its newest manifest: after a contract or
//! a decoder was mended, or an object was lost. Feishu is not asked for anything.

use std::collections::{HashMap, HashSet};

use anyhow::Result;

use super::commit::{commit, object_of, put_object};
use super::partition::ranks;
use super::restore::Reread;
use super::{RereadRows, Tenant, reread, tenant_record};
use crate::findings::{Findings, FindingsSummary};
use crate::job::JobSpec;
use crate::plan::partition::reasons_read_again;
use crate::publish::manifest::{self, Found, Revision};
use crate::publish::{self, PartitionPlan, Staged, location};
use crate::record::{Input, InputOutcome, SpooledTask};
use crate::task::TaskKey;

/// What became of a partition that was made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The originals give what is there, so nothing was written.
    Unchanged,
    /// The originals give what the manifest says; the object was gone or another one, and is back.
    Restored,
    /// The originals give something else now, which was published.
    Changed {
        /// The new revision.
        revision: u32,
        /// Its rows.
        rows: u64,
    },
    /// It was written into a new lake.
    Written {
        /// Its rows.
        rows: u64,
    },
    /// It was left as it is.
    Left {
        /// Why, and what to do.
        reason: String,
    },
}

impl Replayed {
    pub(super) const fn left(reason: String) -> Self {
        Self::Left { reason }
    }
}

/// Makes the partition of a newest manifest again, and publishes it if it is not what is there.
///
/// # Errors
/// When the lake, the disk or the ledger refuses. What cannot be read of the originals is in
/// [`Replayed::Left`].
pub async fn replay_partition(tenant: &Tenant, job: &JobSpec, found: &Found) -> Result<Replayed> {
    tenant_record::check_owner(tenant).await?;
    let manifest = &found.manifest;
    let listed = match manifest::inputs(&tenant.lake, manifest).await {
        Err(publish::Error::Record { path, problem }) => {
            return Ok(Replayed::left(format!("{path} is damaged: {problem}")));
        }
        inputs => inputs?,
    };
    // Under another key of the lake, the same tasks have other names, which the ledger knows.
    let has_this_key = manifest.key_id == tenant.key.id();
    let mut inputs = if has_this_key { listed } else { Vec::new() };
    if let Some(reason) = why_not_now(tenant, found, &mut inputs).await? {
        return Ok(Replayed::left(reason));
    }
    let mut originals = OriginalRows::default();
    let with_workbook = inputs.iter().filter(|input| input.is_answered());
    let read = reread(
        tenant,
        job,
        with_workbook,
        RereadRows::Spooled,
        |input, reread| {
            originals.take(manifest, input, reread);
            Ok(())
        },
    );
    let result = match read.await {
        Ok(()) if originals.unread.is_empty() => {
            publish_again(tenant, job, found, inputs, &originals).await
        }
        Ok(()) => Ok(Replayed::left(originals.unread.join("; "))),
        Err(error) => Err(error),
    };
    for task in &originals.spooled {
        tenant.spool.remove(&task.key, task.generation)?;
    }
    result
}

/// Why a partition cannot be made again now: the ledger has something newer or other than the lake.
/// Adds what only the ledger lists.
async fn why_not_now(
    tenant: &Tenant,
    found: &Found,
    inputs: &mut Vec<Input>,
) -> Result<Option<String>> {
    let (ledger, id) = (&tenant.ledger, found.manifest.id());
    let known = ledger.partition(&tenant.name, id.dataset, id.dt).await?;
    let recorded = known.and_then(|row| row.manifest_sha256);
    if recorded.as_ref() != Some(&found.sha256) {
        return Ok(Some(
            "the ledger knows another revision than the lake; `meetlake run` goes on with a \
             publish that was cut off, `meetlake verify` says what differs"
                .to_owned(),
        ));
    }
    let mut keys: HashSet<TaskKey> = inputs.iter().map(|input| input.task_key.clone()).collect();
    for input in ledger.inputs(&tenant.name, id.dataset, id.dt).await? {
        if keys.insert(input.task_key.clone()) {
            inputs.push(input);
        }
    }
    let waiting = ledger.spooled(&tenant.name, Some(id.dataset)).await?;
    let waiting = waiting.iter().filter(|task| keys.contains(&task.spec.key));
    Ok(match waiting.count() {
        0 => None,
        tasks => Some(format!(
            "newer rows of {tasks} of its tasks wait to be published; `meetlake run` publishes them"
        )),
    })
}

/// What the originals of a partition give.
#[derive(Default)]
struct OriginalRows {
    /// Tasks whose rows are in the spool until the partition is published.
    spooled: Vec<SpooledTask>,
    /// Those with rows of the partition.
    add: Vec<SpooledTask>,
    findings: HashMap<TaskKey, Findings>,
    unread: Vec<String>,
}

impl OriginalRows {
    fn take(&mut self, manifest: &manifest::Manifest, input: &Input, reread: Result<Reread>) {
        let (key, generation) = (input.task_key.clone(), input.generation);
        let read = match reread {
            Ok(reread) => reread.read,
            Err(reason) => {
                let sha256 = input.source_sha256.as_deref().unwrap_or("?");
                self.unread.push(format!("original {sha256}: {reason:#}"));
                return;
            }
        };
        let task = SpooledTask { key, generation };
        self.spooled.push(task.clone());
        self.findings.insert(task.key.clone(), read.findings);
        if read.dts.contains(&manifest.dt) {
            self.add.push(task);
        }
    }
}

async fn publish_again(
    tenant: &Tenant,
    job: &JobSpec,
    found: &Found,
    mut inputs: Vec<Input>,
    originals: &OriginalRows,
) -> Result<Replayed> {
    let manifest = &found.manifest;
    let plan = PartitionPlan {
        id: manifest.id(),
        destination: manifest.destination.clone(),
        previous_content_hash: Some(manifest.content_hash.clone()),
        add: originals.add.clone(),
        drop: HashSet::new(),
        ranks: ranks(&inputs),
        from_scratch: true,
        key_id: Some(tenant.key.id()),
        known_objects: Vec::new(),
    };
    let staged = tenant.publisher.stage(plan).await?;
    // Under another key of the lake, the same rows have other keys in them.
    let has_this_key = manifest.key_id == tenant.key.id();
    if staged.written.content_hash == manifest.content_hash && has_this_key {
        if is_standing(tenant, manifest).await? {
            return Ok(Replayed::Unchanged);
        }
        if staged.written.sha256 == manifest.object.sha256 {
            put_object(tenant, &manifest.destination, &manifest.id(), &staged).await?;
            return Ok(Replayed::Restored);
        }
    }
    for input in &mut inputs {
        if let Some(findings) = originals.findings.get(&input.task_key) {
            input.rows = findings.rows_out;
            input.outcome = InputOutcome::of_rows(findings.rows_out);
            input.overridden_rows = staged.overridden.get(&input.task_key).copied().unwrap_or(0);
        }
    }
    let revision = revision_of(tenant, job, found, inputs, originals, &staged);
    let (is_same_content, number) = (
        staged.written.content_hash == manifest.content_hash && has_this_key,
        revision.number,
    );
    let rows = revision.rows;
    commit(tenant, &staged, revision).await?;
    Ok(match is_same_content {
        true => Replayed::Restored,
        false => Replayed::Changed {
            revision: number,
            rows,
        },
    })
}

/// Whether the partition's object is the one that the manifest names.
async fn is_standing(tenant: &Tenant, manifest: &manifest::Manifest) -> Result<bool> {
    let path =
        location::object(&manifest.destination, &manifest.id()).map_err(publish::Error::from)?;
    let copy = tenant.spool.temp_file();
    let object = tenant.lake.download(&path, copy.path()).await?;
    Ok(object.is_some_and(|object| object.sha256 == manifest.object.sha256))
}

fn revision_of(
    tenant: &Tenant,
    job: &JobSpec,
    found: &Found,
    inputs: Vec<Input>,
    originals: &OriginalRows,
    staged: &Staged,
) -> Revision {
    let (manifest, written) = (&found.manifest, &staged.written);
    let summary = FindingsSummary::of(originals.findings.values());
    Revision {
        id: manifest.id(),
        time_zone: tenant.zone_name(),
        reading: tenant.settings(job).reading,
        destination: manifest.destination.clone(),
        number: manifest.revision + 1,
        reasons: reasons_read_again(&manifest.reasons, originals.findings.values()),
        rows: written.rows,
        object: object_of(written),
        content_hash: written.content_hash.clone(),
        key_id: tenant.key.id(),
        replayed_from: manifest.replayed_from.clone(),
        previous_sha256: Some(found.sha256.clone()),
        inputs,
        rejects: summary.rejects,
        blank_columns: summary.blank_columns,
        unknown_columns: summary.unknown_columns,
        coverage: manifest.coverage.clone(),
    }
}
