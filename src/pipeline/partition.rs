//! One partition into the lake: which days a round touches, what their next revisions are made of, and the commit in its order.
//!
//! Decisions are taken from the ledger and the spool; every write to the lake is a step of `publish`, and between them stand the ledger's.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::{Context as _, Result};
use jiff::civil::Date;

use super::inputs::{
    Day, coverage_of, dts_of, findings_of, input_of, is_home, rank, recorded_inputs, sha256_of,
};
use super::{Published, Tenant, plausible, quarantined, reread};
use crate::dataset::Dataset;
use crate::job::JobSpec;
use crate::ledger::{
    Intent, PartitionRow, Phase, PublishedPartition, TaskRow, WindowRow, WindowState,
};
use crate::normalize::Findings;
use crate::publish::manifest::{self, Input, Outcome, Revision};
use crate::publish::parquet::Written;
use crate::publish::{self, PartitionId, PartitionPlan, SpooledTask, location};
use crate::run::summary::{Cause, CauseKind};
use crate::store::{self, Version};
use crate::task::TaskKey;
use crate::task::machine::State;
use crate::window::Window;

/// Puts the spooled rows of `windows` into the lake: packs their originals, then replaces each partition they touch.
///
/// # Errors
/// When the lake or the ledger refuses; what was published by then is recorded, the rest waits in the spool.
pub async fn publish_windows(
    tenant: &Tenant,
    job: &JobSpec,
    windows: &[Window],
    each: &(dyn Fn(Published) + Send + Sync),
) -> Result<Vec<Published>> {
    publish_round(tenant, job, windows, each)
        .await
        .map_err(|error| with_disk(error, tenant.ledger.path()))
}

async fn publish_round(
    tenant: &Tenant,
    job: &JobSpec,
    windows: &[Window],
    each: &(dyn Fn(Published) + Send + Sync),
) -> Result<Vec<Published>> {
    let mut tasks = tenant
        .ledger
        .spooled(&tenant.name, Some(job.dataset))
        .await?;
    tasks.retain(|task| windows.contains(&task.job_window));
    if let Err(error) = pack_originals(tenant, &mut tasks).await {
        export_lost_again(tenant, &tasks, error).await?;
        return Ok(Vec::new());
    }
    let mut done = Vec::new();
    for dt in affected_partitions(tenant, job.dataset, windows, &tasks).await? {
        match publish_partition(tenant, job, dt, &tasks).await {
            Ok(Some(published)) => {
                each(published.clone());
                done.push(published);
            }
            Ok(None) => {}
            Err(error) => {
                export_lost_again(tenant, &tasks, error).await?;
                return Ok(done);
            }
        }
    }
    let keys: Vec<(TaskKey, u32)> = tasks
        .iter()
        .map(|task| (task.spec.key.clone(), task.generation))
        .collect();
    tenant
        .ledger
        .tasks_published(&keys, tenant.clock.now())
        .await?;
    crash_point!("w11-tasks-recorded");
    for task in &tasks {
        quarantine_rows(tenant, task).await?;
        forget(tenant, task);
    }
    Ok(done)
}

/// A spool that lost something costs its tasks an export more, and nothing else. Any other error is given back.
async fn export_lost_again(tenant: &Tenant, round: &[TaskRow], error: anyhow::Error) -> Result<()> {
    let lost: Vec<TaskKey> = match error.downcast_ref::<publish::Error>() {
        Some(publish::Error::RowsLost(keys)) => keys.clone(),
        Some(publish::Error::OriginalsLost(hashes)) => {
            let is_lost = |task: &&TaskRow| {
                sha256_of(task).is_some_and(|sha256| hashes.iter().any(|hash| hash == sha256))
            };
            round
                .iter()
                .filter(is_lost)
                .map(|task| task.spec.key.clone())
                .collect()
        }
        _ => return Err(error),
    };
    tracing::warn!(tasks = lost.len(), "{error:#}");
    tenant
        .ledger
        .export_again(&lost, tenant.clock.now())
        .await?;
    Ok(())
}

/// Archives the originals of a round before any row of theirs is visible.
async fn pack_originals(tenant: &Tenant, tasks: &mut [TaskRow]) -> Result<()> {
    let originals: BTreeSet<String> = tasks
        .iter()
        .filter(|task| task.pack.is_none())
        .filter_map(|task| sha256_of(task).map(str::to_owned))
        .collect();
    let originals: Vec<String> = originals.into_iter().collect();
    if originals.is_empty() {
        return Ok(());
    }
    let packs = tenant.publisher.pack(&tenant.name, &originals).await?;
    crash_point!("w08-pack-put");
    let mut recorded = Vec::new();
    for task in tasks.iter_mut().filter(|task| task.pack.is_none()) {
        task.pack = sha256_of(task)
            .and_then(|sha256| packs.get(sha256))
            .cloned();
        recorded.extend(task.pack.clone().map(|pack| (task.spec.key.clone(), pack)));
    }
    tenant.ledger.set_packs(&recorded).await?;
    Ok(())
}

/// Every partition that could change: where rows of the tasks are or were, the days of the windows, and where withdrawn tasks still are.
/// A day that no window covers is not known, and stays so.
async fn affected_partitions(
    tenant: &Tenant,
    dataset: Dataset,
    windows: &[Window],
    tasks: &[TaskRow],
) -> Result<BTreeSet<Date>> {
    let mut dts: BTreeSet<Date> = windows
        .iter()
        .flat_map(|window| window.dates(&tenant.time_zone))
        .collect();
    for task in tasks {
        dts.extend(dts_of(task)?);
        dts.extend(tenant.ledger.partitions_with(&task.spec.key).await?);
    }
    let withdrawn = tenant.ledger.withdrawn_inputs(&tenant.name).await?;
    dts.extend(
        withdrawn
            .iter()
            .filter(|(of, _, _)| *of == dataset)
            .map(|(_, dt, _)| *dt),
    );
    let mut known = BTreeSet::new();
    for dt in dts {
        if !windows_of_day(tenant, dataset, dt).await?.is_empty() {
            known.insert(dt);
        }
    }
    Ok(known)
}

async fn windows_of_day(tenant: &Tenant, dataset: Dataset, dt: Date) -> Result<Vec<WindowRow>> {
    let Some(day) = Window::day(&tenant.time_zone, dt) else {
        return Ok(Vec::new());
    };
    let windows = tenant
        .ledger
        .windows(&tenant.name, dataset, Some(day))
        .await?;
    Ok(windows
        .into_iter()
        .filter(|row| !matches!(row.state, WindowState::Skipped | WindowState::Lost))
        .collect())
}

/// Replaces one partition: what is there, less the rows of tasks that ran again or whose parent is gone, with the rows of this round.
///
/// The order is the proof (see the design): intent, object, manifest, ledger. Stopped after any of them, the next round plans the same
/// partition again from the spool, merges to the same object, and goes on with what is missing.
async fn publish_partition(
    tenant: &Tenant,
    job: &JobSpec,
    dt: Date,
    round: &[TaskRow],
) -> Result<Option<Published>> {
    let Some(mut next) = plan_partition(tenant, job, dt, round).await? else {
        return Ok(None);
    };
    let (dataset, now) = (job.dataset, || tenant.clock.now());
    let staged = stage(tenant, job, &mut next).await?;
    let written = &staged.written;
    let is_complete = next.reasons.is_empty();
    let published = Published {
        dt,
        rows: written.rows,
        size_bytes: written.size_bytes,
        complete: is_complete,
        unchanged: staged.unchanged,
    };
    let mut inputs = next.inputs;
    for input in &mut inputs {
        if let Some(rows) = staged.overridden.get(&input.task_key) {
            input.overridden_rows = *rows;
        }
    }
    // A publish that died after its manifest left a revision in the lake that the ledger does not know. Only a next one brings the two together,
    // even if by now everything is again as the ledger has it.
    let is_ahead = next.has_intent
        && read_manifest(tenant, &next.plan.id, next.number)
            .await?
            .is_some();
    if staged.unchanged && next.was_complete == is_complete && !next.has_new_inputs && !is_ahead {
        let recorded = recorded_inputs(&inputs)?;
        let ledger = &tenant.ledger;
        ledger
            .checked(&tenant.name, dataset, dt, is_complete, &recorded, now())
            .await?;
        return Ok(Some(published));
    }
    let revision = Revision {
        id: next.plan.id,
        destination: job.destination.clone(),
        number: next.number,
        reasons: next.reasons,
        rows: written.rows,
        object: object_of(written),
        content_hash: written.content_hash.clone(),
        previous_sha256: next.previous_manifest,
        inputs,
        rejects: next.rejects,
        blank_columns: next.blank_columns,
        unknown_columns: next.unknown_columns,
        coverage: next.coverage,
    };
    commit(tenant, &staged, revision).await?;
    Ok(Some(published))
}

/// What a revision says of an object that is not put yet.
pub(super) fn object_of(written: &Written) -> manifest::Object {
    manifest::Object {
        path: String::new(),
        size_bytes: written.size_bytes,
        sha256: written.sha256.clone(),
        version: Version::default(),
    }
}

/// Makes a staged revision the partition's current one: intent, object, manifest, ledger.
pub(super) async fn commit(
    tenant: &Tenant,
    staged: &publish::Staged,
    mut revision: Revision,
) -> Result<()> {
    let (dataset, dt, written) = (revision.id.dataset, revision.id.dt, &staged.written);
    let is_complete = revision.reasons.is_empty();
    let recorded = recorded_inputs(&revision.inputs)?;
    let intent = Intent {
        revision: revision.number.into(),
        content_hash: written.content_hash.clone(),
        object_sha256: written.sha256.clone(),
        size_bytes: written.size_bytes,
        rows: written.rows,
    };
    tenant
        .ledger
        .intend(&tenant.name, dataset, dt, &intent)
        .await?;
    if planted!("planted-manifest-first") {
        put_manifest(tenant, revision.clone()).await?;
    }
    crash_point!("w08-intent-recorded");
    tenant.ledger.check_owner().await?;
    // The same content under another state (what was missing came back empty): object and lineage stay, only the record is new.
    revision.object = match staged.base().filter(|_| staged.unchanged) {
        Some(standing) => standing.clone(),
        None => put_object(tenant, &revision.destination, &revision.id, staged).await?,
    };
    crash_point!("w09-object-put");
    tenant.ledger.check_owner().await?;
    let record = put_manifest(tenant, revision).await?;
    crash_point!("w10-manifest-put");
    let done = PublishedPartition {
        revision: record.manifest.revision.into(),
        complete: is_complete,
        content_hash: written.content_hash.clone(),
        manifest_sha256: record.sha256,
        rows: written.rows,
        // Of the object that stands, which may be the older one.
        size_bytes: record.manifest.object.size_bytes,
        inputs: recorded,
    };
    tenant
        .ledger
        .published(&tenant.name, dataset, dt, &done, tenant.clock.now())
        .await?;
    crash_point!("w11-partition-recorded");
    Ok(())
}

/// Puts the object. A process that was stopped before may have lost the ledger meanwhile, and a local lake has no conditional write: so that is
/// looked at last, with one rename left to do.
pub(super) async fn put_object(
    tenant: &Tenant,
    destination: &str,
    id: &PartitionId,
    staged: &publish::Staged,
) -> Result<manifest::Object> {
    let publisher = &tenant.publisher;
    let next = publisher.begin_object(destination, id, staged).await?;
    crash_point!("w08-object-written");
    tenant.ledger.check_owner().await?;
    Ok(next.finish().await?)
}

/// Merges the partition. An object that is gone, damaged or unknown is read once more, because the store may have answered wrongly, and against
/// what another publish may have put there; then the day is made anew from the archived originals.
async fn stage(tenant: &Tenant, job: &JobSpec, next: &mut Next) -> Result<publish::Staged> {
    let publisher = &tenant.publisher;
    match publisher.stage(next.plan.clone()).await {
        Err(publish::Error::Object { .. }) => {}
        result => return Ok(result?),
    }
    let mut number = next.number;
    while let Some(newer) = read_manifest(tenant, &next.plan.id, number).await? {
        next.plan.known_objects.push(newer.manifest.object.sha256);
        number += 1;
    }
    match publisher.stage(next.plan.clone()).await {
        Err(publish::Error::Object { problem }) => {
            let (dataset, dt) = (job.dataset, next.plan.id.dt);
            tracing::warn!(%dataset, %dt, "{problem}; the day is made anew from the archived originals");
            rebuild(tenant, job, next).await?;
            Ok(publisher.stage(next.plan.clone()).await?)
        }
        result => Ok(result?),
    }
}

/// Puts the manifest under the next free number: others under ours were left by a publish that died before the ledger heard of it. They are
/// read one after the other, by their keys, because a list may lack the newest.
async fn put_manifest(tenant: &Tenant, mut revision: Revision) -> Result<manifest::Found> {
    let now = tenant.clock.now();
    loop {
        match manifest::put(&tenant.lake, revision.clone(), now).await {
            Err(publish::Error::Store(error)) if error.kind() == store::Kind::Conflict => {
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

async fn read_manifest(
    tenant: &Tenant,
    id: &PartitionId,
    number: u32,
) -> Result<Option<manifest::Found>> {
    let path = location::manifest(id, number).map_err(publish::Error::from)?;
    Ok(manifest::read(&tenant.lake, &path).await?)
}

/// The objects that may be a partition's current one: that of the published revision, and that of a publish which died on its way.
async fn known_objects(
    tenant: &Tenant,
    id: &PartitionId,
    known: &PartitionRow,
) -> Result<Vec<String>> {
    let number = u32::try_from(known.revision).unwrap_or(u32::MAX);
    let record = match read_manifest(tenant, id, number).await {
        // Damaged on its way or in the lake: whether the object is whole is then for its own footer to say.
        Err(error) if matches!(error.downcast_ref(), Some(publish::Error::Record { .. })) => None,
        record => record?,
    };
    let published = record.filter(|record| Some(&record.sha256) == known.manifest_sha256.as_ref());
    let Some(published) = published else {
        tracing::warn!(partition = %id, "the manifest of revision {number} is not the one that was published");
        return Ok(Vec::new());
    };
    let intended = known
        .intent
        .as_ref()
        .map(|intent| intent.object_sha256.clone());
    Ok([published.manifest.object.sha256]
        .into_iter()
        .chain(intended)
        .collect())
}

/// The next revision of a partition.
struct Next {
    plan: PartitionPlan,
    /// Whether the published revision lacks nothing.
    was_complete: bool,
    /// Whether a publish died before the ledger heard of its end.
    has_intent: bool,
    number: u32,
    previous_manifest: Option<String>,
    /// Whether a task brought a workbook that the published revision does not name. It may have no row; a lost ledger must know of it all the same.
    has_new_inputs: bool,
    /// Every task of the day, those without rows too.
    inputs: Vec<Input>,
    /// What keeps the day from being complete.
    reasons: Vec<String>,
    rejects: BTreeMap<String, u64>,
    blank_columns: BTreeSet<String>,
    unknown_columns: BTreeSet<String>,
    coverage: Option<manifest::Coverage>,
}

/// What the next revision of a partition is made of; `None` if nothing is known of the day yet.
async fn plan_partition(
    tenant: &Tenant,
    job: &JobSpec,
    dt: Date,
    round: &[TaskRow],
) -> Result<Option<Next>> {
    let (ledger, dataset) = (&tenant.ledger, job.dataset);
    let known = ledger.partition(&tenant.name, dataset, dt).await?;
    let known = known.filter(|row| row.revision > 0);
    let windows = windows_of_day(tenant, dataset, dt).await?;
    let in_round: HashSet<&TaskKey> = round.iter().map(|task| &task.spec.key).collect();
    let mut day = Day::default();
    for window in &windows {
        day.is_due |= window.state == WindowState::Due;
        let tasks = ledger
            .tasks_of(&tenant.name, dataset, window.window)
            .await?;
        day.tasks.extend(tasks);
    }
    let mut add = Vec::new();
    let mut inputs = Vec::new();
    for task in round {
        let has_rows = dts_of(task)?.contains(&dt);
        if has_rows {
            let (key, generation) = (task.spec.key.clone(), task.generation);
            add.push(SpooledTask { key, generation });
        }
        if has_rows || is_home(tenant, task, dt) {
            inputs.push(input_of(task));
        }
    }
    let mut reasons = day.reasons(&in_round);
    let is_all_there = reasons.is_empty();
    let (name, zone) = (&tenant.name, &tenant.time_zone);
    let implausible = match dataset {
        Dataset::ParticipantList => {
            plausible::missing_participants(ledger, name, zone, job, dt, &day.tasks).await?
        }
        _ => plausible::implausible(ledger, name, zone, job, dt).await?,
    };
    if let Some(reason) = &implausible {
        tracing::warn!(%dataset, %dt, "the day is partial: {reason}");
    }
    reasons.extend(implausible);
    if known.is_none() && inputs.is_empty() && !reasons.is_empty() {
        return Ok(None);
    }
    let mut drop: HashSet<TaskKey> = round.iter().map(|task| task.spec.key.clone()).collect();
    if is_all_there {
        let withdrawn = ledger.withdrawn_inputs(&tenant.name).await?;
        let here = withdrawn
            .into_iter()
            .filter(|(of, day, _)| *of == dataset && *day == dt);
        drop.extend(here.map(|(_, _, key)| key));
    }
    let listed = ledger.inputs(&tenant.name, dataset, dt).await?;
    let keys: HashSet<&TaskKey> = listed.iter().map(|(key, _, _)| key).collect();
    let has_new_inputs = inputs
        .iter()
        .any(|input: &Input| !keys.contains(&input.task_key));
    for (key, _, entry) in listed {
        if drop.contains(&key) {
            continue;
        }
        let input: Input =
            serde_json::from_str(&entry).context("the ledger holds an unreadable input")?;
        if input.overridden_rows > 0 {
            add.extend(restore(tenant, job, &input, dt).await?);
        }
        inputs.push(input);
    }
    let ranks = inputs
        .iter()
        .map(|input| (input.task_key.clone(), rank(input)))
        .collect();
    day.add_missing(tenant, dt, &mut inputs);
    let id = PartitionId {
        dataset,
        tenant: tenant.name.clone(),
        dt,
    };
    let known_objects = match &known {
        Some(known) => known_objects(tenant, &id, known).await?,
        None => Vec::new(),
    };
    let plan = PartitionPlan {
        id,
        destination: job.destination.clone(),
        previous_content_hash: known.as_ref().and_then(|row| row.content_hash.clone()),
        add,
        drop,
        ranks,
        from_scratch: false,
        known_objects,
    };
    let published = known.as_ref().map_or(0, |row| row.revision);
    let mut next = Next {
        plan,
        was_complete: known.as_ref().is_some_and(|row| row.complete),
        has_intent: known.as_ref().is_some_and(|row| row.intent.is_some()),
        number: u32::try_from(published).unwrap_or(u32::MAX - 1) + 1,
        previous_manifest: known.and_then(|row| row.manifest_sha256),
        has_new_inputs,
        inputs,
        reasons,
        rejects: BTreeMap::new(),
        blank_columns: BTreeSet::new(),
        unknown_columns: BTreeSet::new(),
        coverage: coverage_of(job, &windows),
    };
    next.sum_up(&day);
    Ok(Some(next))
}

impl Next {
    /// Adds up what normalising found in all workbooks of the day.
    fn sum_up(&mut self, day: &Day) {
        let all: Vec<Findings> = day
            .tasks
            .iter()
            .filter(|task| task.result.is_some())
            .map(findings_of)
            .collect();
        (self.rejects, self.blank_columns, self.unknown_columns) = sum_of(all.iter());
    }
}

/// Rejects by column, columns without any value, and unknown headers of several workbooks together.
pub(super) fn sum_of<'f>(
    all: impl Iterator<Item = &'f Findings> + Clone,
) -> (BTreeMap<String, u64>, BTreeSet<String>, BTreeSet<String>) {
    let (mut rejects, mut unknown_columns) = (BTreeMap::new(), BTreeSet::new());
    for findings in all.clone() {
        for reject in &findings.rejects {
            *rejects.entry(reject.column.clone()).or_default() += 1;
        }
        unknown_columns.extend(findings.extra_columns.iter().cloned());
    }
    let mut blank_columns = BTreeSet::new();
    let mut filled = all.filter(|findings| findings.rows_out > 0);
    if let Some(first) = filled.next() {
        blank_columns.extend(first.blank_columns.iter().cloned());
        for findings in filled {
            blank_columns.retain(|column| findings.blank_columns.contains(column));
        }
    }
    (rejects, blank_columns, unknown_columns)
}

/// Brings back the rows of a task that another task's rows pushed out: the other may have changed or gone. They come from the archived original.
async fn restore(
    tenant: &Tenant,
    job: &JobSpec,
    input: &Input,
    dt: Date,
) -> Result<Option<SpooledTask>> {
    let mut add = Vec::new();
    restore_all(tenant, job, [input], dt, &mut add).await?;
    Ok(add.pop())
}

/// Puts the rows of archived originals back into the spool, and names those with rows of `dt`.
pub(super) async fn restore_all(
    tenant: &Tenant,
    job: &JobSpec,
    inputs: impl IntoIterator<Item = &Input>,
    dt: Date,
    add: &mut Vec<SpooledTask>,
) -> Result<()> {
    reread(tenant, job, inputs, |input, read| {
        let (key, generation) = (input.task_key.clone(), input.generation);
        let read =
            read.with_context(|| format!("the archived original of task {key} cannot be read"))?;
        tenant.spool.put_rows(&key, generation, &read.by_date)?;
        if read.by_date.contains_key(&dt) {
            add.push(SpooledTask { key, generation });
        }
        Ok(())
    })
    .await
}

/// Adds every other task of a partition whose object is gone or damaged.
async fn rebuild(tenant: &Tenant, job: &JobSpec, next: &mut Next) -> Result<()> {
    let dt = next.plan.id.dt;
    let in_plan: HashSet<TaskKey> = next.plan.add.iter().map(|task| task.key.clone()).collect();
    let others = next.inputs.iter().filter(|input| {
        let has_rows = input.outcome == Outcome::Published && input.rows > 0;
        has_rows && !next.plan.drop.contains(&input.task_key) && !in_plan.contains(&input.task_key)
    });
    restore_all(tenant, job, others, dt, &mut next.plan.add).await?;
    next.plan.from_scratch = true;
    Ok(())
}

/// Keeps the workbook whose rows lack a key, and marks its task.
async fn quarantine_rows(tenant: &Tenant, task: &TaskRow) -> Result<()> {
    let findings = findings_of(task);
    let State::Fetched { sha256, .. } = &task.machine else {
        return Ok(());
    };
    if findings.rows_quarantined == 0 {
        return Ok(());
    }
    let reason = format!(
        "{} rows have no value in a key column; the others are published",
        findings.rows_quarantined
    );
    if let Some(original) = tenant.spool.read_original(sha256)? {
        let record = quarantined(task, &reason, &findings)?;
        tenant
            .publisher
            .quarantine(task.spec.dataset(), &tenant.name, original, &record)
            .await?;
    }
    tenant
        .ledger
        .end(
            task,
            Phase::Quarantined,
            &task.machine,
            "data",
            &reason,
            tenant.clock.now(),
        )
        .await?;
    Ok(())
}

/// Gets the bytes of a quarantined task back into the spool, and says from where the task goes on: from its bytes if they are still what
/// their name says, else from the start.
///
/// # Errors
/// When the lake or the spool refuses.
pub async fn bring_back(tenant: &Tenant, task: &TaskRow) -> Result<State> {
    let Some(sha256) = sha256_of(task) else {
        return Ok(State::Planned);
    };
    let publisher = &tenant.publisher;
    let found = publisher
        .quarantined(task.spec.dataset(), &tenant.name, sha256)
        .await?;
    Ok(match found {
        Some(original) => {
            tenant.spool.put_original(&original)?;
            task.machine.clone()
        }
        None => State::Planned,
    })
}

/// Removes what the lake now has; what cannot be removed is cleaned at the next start. Sheets without rows and reports stay until then, because
/// several tasks can have the same bytes.
fn forget(tenant: &Tenant, task: &TaskRow) {
    let rows = tenant.spool.remove(&task.spec.key, task.generation);
    let is_unique = task.rows.is_some_and(|rows| rows > 0) && !task.spec.dataset().is_report();
    let original = sha256_of(task)
        .filter(|_| is_unique)
        .map_or(Ok(()), |sha256| tenant.spool.remove_original(sha256));
    if let Err(error) = rows.and(original) {
        tracing::warn!(task.key = %task.spec.key, %error, "could not clean the spool");
    }
}

/// The cause, if an error of publishing is the lake's or the disk's and not ours.
#[must_use]
pub fn storage_cause(error: &anyhow::Error) -> Option<Cause> {
    let is_storage = error.chain().any(|cause| {
        matches!(
            cause.downcast_ref::<publish::Error>(),
            Some(
                publish::Error::Store(_)
                    | publish::Error::Spool(_)
                    | publish::Error::Local { .. }
                    | publish::Error::Object { .. }
                    | publish::Error::Record { .. }
            )
        ) || cause.downcast_ref::<store::Error>().is_some()
            || cause.downcast_ref::<crate::spool::Error>().is_some()
            || cause
                .downcast_ref::<crate::ledger::Error>()
                .is_some_and(crate::ledger::Error::is_of_disk)
    });
    is_storage.then(|| Cause {
        kind: CauseKind::Storage,
        word: "storage".into(),
        message: format!("could not publish: {error:#}"),
    })
}

/// Whether the ledger's disk caused an error: the one disk without which nothing goes on.
#[must_use]
pub fn is_of_ledger_disk(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let ledger = cause.downcast_ref::<crate::ledger::Error>();
        ledger.is_some_and(crate::ledger::Error::is_of_disk)
    })
}

/// An error with the ledger's path, what is left on its disk, and what to do, if that disk is the cause: the database tells none of it.
#[must_use]
pub fn with_disk(error: anyhow::Error, ledger: &std::path::Path) -> anyhow::Error {
    if !is_of_ledger_disk(&error) {
        return error;
    }
    let room = crate::disk::room(ledger);
    error.context(format!(
        "the disk of the ledger {}{room} gives way; free some space there or mend it, then run again",
        ledger.display()
    ))
}
