//! One partition of a lake of format 1, written into a new lake from its archived originals. The old
//! lake is only read, and Feishu is not asked for anything.
//!
//! ```text
//! old manifest ─► old packs ─► originals read again ─► new packs ─► object ─► new manifest
//! ```
//! Each step may run twice. What was written carries the SHA-256 of the old manifest, so a later
//! attempt goes on with the next partition.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use jiff::civil::Date;
use object_store::path::Path;
use serde_json::Value;

use super::commit::{object_of, put_object};
use super::partition::ranks;
use super::reading::{ReadFailure, Reading, RowSource, run_blocking};
use super::replay::Replayed;
use super::restore::archived_or_reason;
use super::rows::OriginalFacts;
use super::{Tenant, tenant_record};
use crate::findings::{Findings, FindingsSummary};
use crate::job::JobSpec;
use crate::plan::partition::reasons_read_again;
use crate::publish::location::{self, Place};
use crate::publish::manifest::format_1::{self, OldInput, OldManifest};
use crate::publish::manifest::{self, Revision};
use crate::publish::pack::Pack;
use crate::publish::{self, PartitionPlan, Staged};
use crate::record::{ArchivedTask, Input, InputOutcome, SpooledTask};
use crate::store::Lake;
use crate::task::{TaskKey, TaskSpec};
use crate::window::{Window, date_of};

/// Writes the partition of the old lake whose newest manifest lies at `path` into the tenant's
/// lake. `first_day` is the tenant's first one there.
///
/// # Errors
/// When a lake or the disk refuses. What cannot be read of the originals is in [`Replayed::Left`],
/// and nothing is written then.
pub async fn replay_into(
    tenant: &Tenant,
    job: &JobSpec,
    old: &Lake,
    path: &Path,
    first_day: Date,
) -> Result<Replayed> {
    let (from, sha256) = match format_1::read(old, path).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Replayed::left(format!("{path} is gone"))),
        Err(error @ publish::Error::Record { .. }) => return Ok(Replayed::left(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let written = manifest::after(&tenant.lake, &from.id(), 0).await?;
    let newest = written.last();
    match newest.map(|found| &found.manifest.replayed_from) {
        Some(Some(from)) if *from == sha256 => return Ok(Replayed::Unchanged),
        Some(None) => {
            let reason = "the new lake has published the day itself since; it stays as it is there";
            return Ok(Replayed::left(reason.to_owned()));
        }
        Some(Some(_)) | None => {}
    }
    let by_pack = match format_1::inputs(old, &from).await {
        Err(error @ publish::Error::Record { .. }) => return Ok(Replayed::left(error.to_string())),
        inputs => inputs?,
    };
    let mut originals = Originals::of_day(from.dt);
    for (pack, inputs) in by_pack {
        originals.read(tenant, job, old, pack, inputs).await?;
    }
    if !originals.unread.is_empty() {
        originals.forget(tenant)?;
        return Ok(Replayed::left(originals.unread.join("; ")));
    }
    tenant_record::check_owner(tenant).await?;
    tenant_record::put(tenant, job, async || Ok(first_day)).await?;
    originals.pack(tenant, job).await?;
    crash_point!("w08-replayed-pack-put");
    let staged = tenant
        .publisher
        .stage(plan_of(tenant, &from, &originals))
        .await?;
    let (id, destination) = (from.id(), from.destination.clone());
    let mut revision = revision_of(tenant, job, from, sha256, &staged, &originals);
    if let Some(newest) = newest {
        revision.number = newest.manifest.revision + 1;
        revision.previous_sha256 = Some(newest.sha256.clone());
    }
    let rows = revision.rows;
    revision.object = put_object(tenant, &destination, &id, &staged).await?;
    crash_point!("w09-replayed-object-put");
    manifest::put(&tenant.lake, revision, tenant.clock.now()).await?;
    crash_point!("w10-replayed-manifest-put");
    originals.forget(tenant)?;
    Ok(Replayed::Written { rows })
}

/// What the originals of a partition give.
struct Originals {
    dt: Date,
    inputs: Vec<Input>,
    /// By the day in which the task's window begins.
    archived: BTreeMap<Date, Vec<ArchivedTask>>,
    /// Tasks whose rows are in the spool.
    spooled: Vec<SpooledTask>,
    /// Those with rows of the partition.
    add: Vec<SpooledTask>,
    findings: HashMap<TaskKey, Findings>,
    /// Why some cannot be read.
    unread: Vec<String>,
}

impl Originals {
    fn of_day(dt: Date) -> Self {
        Self {
            dt,
            inputs: Vec::new(),
            archived: BTreeMap::new(),
            spooled: Vec::new(),
            add: Vec::new(),
            findings: HashMap::new(),
            unread: Vec::new(),
        }
    }

    /// Reads the originals of one pack; inputs without a pack have none.
    async fn read(
        &mut self,
        tenant: &Tenant,
        job: &JobSpec,
        old: &Lake,
        pack: Option<String>,
        inputs: Vec<OldInput>,
    ) -> Result<()> {
        let mut pack = match pack {
            Some(name) => match open_pack(tenant, old, &name).await? {
                Ok(pack) => Some(pack),
                Err(reason) => {
                    self.unread.push(reason);
                    return Ok(());
                }
            },
            None => None,
        };
        for input in inputs {
            let key = &input.task_key;
            let Some(window) = Window::new(input.window_start, input.window_end) else {
                self.unread.push(format!("task {key} has no window"));
                continue;
            };
            let (request, lineage) = (input.request.clone(), input.lineage.clone());
            let spec = TaskSpec::new(tenant.owner(), window, request, lineage);
            match (&mut pack, &input.source_sha256) {
                _ if !input.is_answered() => self.inputs.push(input.under(spec.key)),
                (Some(pack), Some(sha256)) => {
                    match read_original(tenant, job, &spec, &input, pack, sha256).await? {
                        Ok(facts) => self.take(tenant, spec, &input, sha256, facts),
                        Err(reason) => self.unread.push(format!("original {sha256}: {reason:#}")),
                    }
                }
                _ => self
                    .unread
                    .push(format!("task {key} has no archived original")),
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        tenant: &Tenant,
        spec: TaskSpec,
        from: &OldInput,
        sha256: &str,
        facts: OriginalFacts,
    ) {
        let (key, generation) = (spec.key.clone(), from.generation);
        let mut input = from.under(key.clone());
        input.rows = facts.findings.rows_out;
        input.outcome = InputOutcome::of_rows(input.rows);
        self.inputs.push(input);
        self.findings.insert(key.clone(), facts.findings);
        let task = SpooledTask { key, generation };
        if facts.dts.contains(&self.dt) {
            self.add.push(task.clone());
        }
        self.spooled.push(task);
        let day = date_of(&tenant.time_zone, spec.window.start());
        let archived = ArchivedTask::with(&spec, sha256);
        self.archived.entry(day).or_default().push(archived);
    }

    /// Archives the originals in the new lake.
    async fn pack(&mut self, tenant: &Tenant, job: &JobSpec) -> Result<()> {
        let archived = self.archived.clone();
        let packed = tenant.publisher.pack(&tenant.name, job.dataset, archived);
        let packs = packed.await?;
        for input in &mut self.inputs {
            input.pack = packs.get(&input.task_key).cloned();
        }
        Ok(())
    }

    /// Removes from the spool what was only needed for this partition.
    fn forget(&self, tenant: &Tenant) -> Result<()> {
        for task in &self.spooled {
            tenant.spool.remove(&task.key, task.generation)?;
        }
        for task in self.archived.values().flatten() {
            tenant.spool.remove_original(&task.source_sha256)?;
        }
        Ok(())
    }
}

/// A pack of the old lake, or why it cannot be read.
async fn open_pack(tenant: &Tenant, old: &Lake, name: &str) -> Result<Result<Pack, String>> {
    let path = format_1::pack(&tenant.name, name)?;
    match Pack::fetch(old, &path, name, &tenant.spool).await {
        Ok(Some(pack)) => Ok(Ok(pack)),
        Ok(None) => Ok(Err(format!("{path} is gone"))),
        Err(error @ publish::Error::Record { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Takes an original out of its pack into the spool, and reads its rows.
async fn read_original(
    tenant: &Tenant,
    job: &JobSpec,
    spec: &TaskSpec,
    input: &OldInput,
    pack: &mut Pack,
    sha256: &str,
) -> Result<Result<OriginalFacts>> {
    let copy = tenant.spool.temp_file();
    match pack.extract(sha256, copy.path()) {
        Err(error @ publish::Error::Record { .. }) => return Ok(Err(error.into())),
        extracted => extracted?,
    };
    tenant.spool.adopt(copy, sha256)?;
    let source = RowSource {
        export_id: input.export_id.clone(),
        sha256: sha256.to_owned(),
        extracted_at: input.extracted_at,
    };
    let reading = Reading::new(tenant, job, spec, source);
    let (spool, sha256) = (tenant.spool.clone(), sha256.to_owned());
    let (key, generation) = (spec.key.clone(), input.generation);
    let read = run_blocking(move || {
        let original = spool.open_original(&sha256);
        let original = original.map_err(ReadFailure::OriginalNotOpened)?;
        let original = original.ok_or(ReadFailure::OriginalLost)?;
        let rows = spool.begin_rows(&key, generation);
        // What is archived was accepted as the task's when it came.
        reading.read(&original, Some(rows.map_err(ReadFailure::NotKept)?), false)
    });
    archived_or_reason(read.await?)
}

/// The manifest's day from its originals.
fn plan_of(tenant: &Tenant, from: &OldManifest, originals: &Originals) -> PartitionPlan {
    PartitionPlan {
        id: from.id(),
        destination: from.destination.clone(),
        key_id: Some(tenant.key.id()),
        previous_content_hash: None,
        add: originals.add.clone(),
        drop: HashSet::new(),
        ranks: ranks(&originals.inputs),
        from_scratch: true,
        known_objects: Vec::new(),
    }
}

fn revision_of(
    tenant: &Tenant,
    job: &JobSpec,
    from: OldManifest,
    sha256: String,
    staged: &Staged,
    originals: &Originals,
) -> Revision {
    let summary = FindingsSummary::of(originals.findings.values());
    let mut inputs = originals.inputs.clone();
    for input in &mut inputs {
        input.overridden_rows = staged.overridden.get(&input.task_key).copied().unwrap_or(0);
    }
    Revision {
        id: from.id(),
        time_zone: tenant.zone_name(),
        reading: tenant.settings(job).reading,
        destination: from.destination,
        number: 1,
        reasons: reasons_read_again(&from.reasons, originals.findings.values()),
        rows: staged.written.rows,
        object: object_of(&staged.written),
        content_hash: staged.written.content_hash.clone(),
        key_id: tenant.key.id(),
        previous_sha256: None,
        replayed_from: Some(sha256),
        inputs,
        rejects: summary.rejects,
        blank_columns: summary.blank_columns,
        unknown_columns: summary.unknown_columns,
        coverage: from.coverage,
    }
}

/// Copies what lies in the quarantine of the old lake. Gives the number of originals. The records
/// name tasks by hashes without a key, which are left out.
///
/// # Errors
/// When a lake refuses, or an original is larger than a workbook may be.
pub async fn copy_quarantine(old: &Lake, tenant: &Tenant) -> Result<u64> {
    let (new, most_bytes) = (&tenant.lake, tenant.workbook_limits.container_bytes);
    let mut originals = 0;
    for path in old.list(&location::all_quarantined()).await? {
        let Place::Quarantine { extension, .. } = location::place(&path) else {
            continue;
        };
        let bytes = old.get(&path, most_bytes).await;
        let Some(bytes) = bytes.map_err(publish::Error::from)? else {
            continue;
        };
        if extension != "json" {
            new.put_create(&path, bytes).await?;
            originals += 1;
            continue;
        }
        let record = match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::Object(mut record)) => {
                record.remove("task_key");
                format!("{:#}\n", Value::Object(record)).into()
            }
            // It is no record of ours.
            _ => bytes,
        };
        new.put_overwrite(&path, record).await?;
    }
    Ok(originals)
}
