//! One partition into the lake: gathers what is known of the day, has the next revision decided,
//! and takes it through stage and commit.
//!
//! Facts come from the ledger and the spool. What the revision is made of is decided by
//! `plan::partition`.

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Result;
use jiff::civil::Date;

use super::commit::{self, commit, read_manifest};
use super::{PublishedDay, Tenant, restore};
use crate::datasets::{Dataset, SourceMode};
use crate::events::{EventKind, Subject};
use crate::job::JobSpec;
use crate::plan;
use crate::plan::partition::{
    DayFacts, NextRevision, Recording, affected_days, next_revision, windows_asked_for,
};
use crate::publish::manifest::{CoverageRecord, Revision};
use crate::publish::{self, PartitionPlan, Staged};
use crate::record::{
    Input, InputOutcome, PartitionId, PartitionRow, Reason, ReasonKind, TaskRow, WindowRow,
};
use crate::status;
use crate::task::TaskKey;
use crate::window::Window;

/// Every partition that a round could change. A day that no window covers is not known, and stays
/// so.
pub(super) async fn days_of_round(
    tenant: &Tenant,
    dataset: Dataset,
    windows: &[Window],
    round: &[TaskRow],
) -> Result<BTreeSet<Date>> {
    let ledger = &tenant.ledger;
    let mut rows_were_in = Vec::new();
    for task in round {
        rows_were_in.extend(ledger.partitions_with(&task.spec.key).await?);
    }
    let withdrawn = ledger.withdrawn_inputs(&tenant.name).await?;
    let of_dataset = withdrawn.iter().filter(|(of, ..)| *of == dataset);
    let withdrawn_from = of_dataset.map(|(_, dt, ..)| *dt);
    let zone = &tenant.time_zone;
    let mut known = BTreeSet::new();
    for dt in affected_days(zone, windows, round, rows_were_in, withdrawn_from) {
        if !windows_of_day(tenant, dataset, dt).await?.is_empty() {
            known.insert(dt);
        }
    }
    Ok(known)
}

/// Whether the rows of a window wait in the spool, because the lake has its days from the other
/// source, and not all of the new answers are there.
///
/// # Errors
/// When the ledger refuses.
pub async fn waits_for_all(tenant: &Tenant, dataset: Dataset, window: Window) -> Result<bool> {
    if dataset.definition().query.is_none() {
        return Ok(false);
    }
    let (ledger, name) = (&tenant.ledger, &tenant.name);
    let dates = window.dates(&tenant.time_zone);
    let withdrawn = ledger.withdrawn_inputs(name).await?.into_iter();
    let before = withdrawn.filter(|(of, dt, ..)| *of == dataset && dates.contains(dt));
    let before: Vec<SourceMode> = before.map(|(.., mode)| mode).collect();
    if before.is_empty() {
        return Ok(false);
    }
    let tasks = ledger.tasks_of(name, dataset, window).await?;
    let rows = ledger.windows(name, dataset, Some(window)).await?;
    let row = rows.iter().find(|row| row.window == window);
    let coverage = row.and_then(|row| row.coverage.as_ref());
    Ok(plan::partition::waits_for_all(&tasks, coverage, before))
}

async fn windows_of_day(tenant: &Tenant, dataset: Dataset, dt: Date) -> Result<Vec<WindowRow>> {
    let Some(day) = Window::day(&tenant.time_zone, dt) else {
        return Ok(Vec::new());
    };
    let windows = tenant.ledger.windows(&tenant.name, dataset, Some(day));
    Ok(windows_asked_for(windows.await?))
}

/// Replaces one partition: what is there, less the rows of tasks that ran again or whose parent is
/// gone, with the rows of this round. `None` if nothing is known of the day yet.
///
/// The order is the proof (see the design): intent, object, manifest, ledger. Stopped after any of
/// them, the next round plans the same partition again from the spool, merges to the same object,
/// and goes on with what is missing.
pub(super) async fn publish_day(
    tenant: &Tenant,
    job: &JobSpec,
    dt: Date,
    round: &[TaskRow],
) -> Result<Option<PublishedDay>> {
    let id = PartitionId {
        dataset: job.dataset,
        tenant: tenant.name.clone(),
        dt,
    };
    let published = tenant
        .ledger
        .partition(&tenant.name, id.dataset, dt)
        .await?
        .filter(|row| row.revision > 0);
    let listed = tenant.ledger.inputs(&tenant.name, id.dataset, dt).await?;
    let next = decide_next(tenant, job, &id, published.as_ref(), round, &listed).await?;
    let Some(next) = next else {
        return Ok(None);
    };
    let mut plan = plan_of(tenant, job, &id, published.as_ref(), &next).await?;
    let staged = stage(tenant, job, &next, &mut plan).await?;
    let day = PublishedDay {
        dt,
        rows: staged.written.rows,
        size_bytes: staged.written.size_bytes,
        complete: next.reasons.is_empty(),
        unchanged: staged.unchanged,
    };
    // A publish that died after its manifest left a revision in the lake that the ledger does not
    // know.
    let is_ahead = next.has_intent && read_manifest(tenant, &id, next.number).await?.is_some();
    let recording = next.recording(staged.stands, is_ahead);
    let previous = published.and_then(|row| row.manifest_sha256);
    let revision = revision_of(tenant, job, &id, previous, next, &staged);
    match recording {
        Recording::Check => {
            let answered = commit::answered(&revision.inputs);
            let (now, ledger) = (tenant.clock.now(), &tenant.ledger);
            ledger
                .checked(&tenant.name, id.dataset, dt, day.complete, &answered, now)
                .await?;
        }
        Recording::Revision => commit(tenant, &staged, revision).await?,
    }
    Ok(Some(day))
}

/// Gathers what is known of the day and has the next revision decided. `listed` are the inputs of
/// which it is made so far.
pub(super) async fn decide_next(
    tenant: &Tenant,
    job: &JobSpec,
    id: &PartitionId,
    published: Option<&PartitionRow>,
    round: &[TaskRow],
    listed: &[Input],
) -> Result<Option<NextRevision>> {
    let (ledger, name, zone) = (&tenant.ledger, &tenant.name, &tenant.time_zone);
    let (dataset, dt) = (id.dataset, id.dt);
    let windows = windows_of_day(tenant, dataset, dt).await?;
    let mut tasks = Vec::new();
    for row in &windows {
        tasks.extend(ledger.tasks_of(name, dataset, row.window).await?);
    }
    let withdrawn: HashMap<TaskKey, SourceMode> = ledger
        .withdrawn_inputs(name)
        .await?
        .into_iter()
        .filter(|(of, day, ..)| (*of, *day) == (dataset, dt))
        .map(|(_, _, key, mode)| (key, mode))
        .collect();
    let now = tenant.clock.now();
    let against = status::against(ledger, name, zone, job, dt, now).await?;
    // That a day is not over is no news.
    let is_news = |reason: &&Reason| reason.kind != ReasonKind::NotOver;
    for reason in against.iter().filter(is_news).cloned() {
        tenant.events.emit(id, EventKind::DayImplausible { reason });
    }
    let next = next_revision(&DayFacts {
        dt,
        time_zone: zone,
        published,
        windows: &windows,
        tasks: &tasks,
        round,
        listed,
        withdrawn: &withdrawn,
        against: &against,
    });
    let left_out = next.as_ref().map_or(0, |next| next.of_other_source);
    if left_out > 0 {
        let told = EventKind::OfOtherSource { tasks: left_out };
        tenant.events.emit(id, told);
    }
    Ok(next)
}

/// What is staged for the next revision. Rows that another task's pushed out come back from their
/// archived originals.
async fn plan_of(
    tenant: &Tenant,
    job: &JobSpec,
    id: &PartitionId,
    published: Option<&PartitionRow>,
    next: &NextRevision,
) -> Result<PartitionPlan> {
    let known_objects = match published {
        Some(published) => known_objects(tenant, id, published).await?,
        None => Vec::new(),
    };
    let mut add = next.add.clone();
    add.extend(restore::spool_again(tenant, job, &next.restore, id.dt).await?);
    Ok(PartitionPlan {
        id: id.clone(),
        destination: job.destination.clone(),
        previous_content_hash: published.and_then(|row| row.content_hash.clone()),
        add,
        drop: next.drop.clone(),
        ranks: ranks(&next.inputs),
        from_scratch: false,
        key_id: Some(tenant.key.id()),
        known_objects,
    })
}

/// When the workbook of each task was submitted, which decides who wins a natural key.
pub(super) fn ranks(inputs: &[Input]) -> HashMap<TaskKey, i64> {
    inputs
        .iter()
        .map(|input| (input.task_key.clone(), input.rank()))
        .collect()
}

/// The objects that may be a partition's current one: that of the published revision, and that of a
/// publish which died on its way.
async fn known_objects(
    tenant: &Tenant,
    id: &PartitionId,
    published: &PartitionRow,
) -> Result<Vec<String>> {
    let revision = u32::try_from(published.revision).unwrap_or(u32::MAX);
    let record = match read_manifest(tenant, id, revision).await {
        // Damaged on its way or in the lake: whether the object is whole is then for its own footer
        // to say.
        Err(error) if matches!(error.downcast_ref(), Some(publish::Error::Record { .. })) => None,
        record => record?,
    };
    let is_published = |sha256: &String| Some(sha256) == published.manifest_sha256.as_ref();
    let Some(record) = record.filter(|record| is_published(&record.sha256)) else {
        let told = EventKind::ManifestUnknown { revision };
        tenant.events.emit(id, told);
        return Ok(Vec::new());
    };
    let intended = published
        .intent
        .as_ref()
        .map(|intent| intent.object_sha256.clone());
    let objects = [record.manifest.object.sha256];
    Ok(objects.into_iter().chain(intended).collect())
}

/// Merges the partition. An object that is gone, damaged or unknown is read once more, because the
/// store may have answered wrongly, and against what another publish may have put there; then the
/// day is made anew from the archived originals.
async fn stage(
    tenant: &Tenant,
    job: &JobSpec,
    next: &NextRevision,
    plan: &mut PartitionPlan,
) -> Result<Staged> {
    let publisher = &tenant.publisher;
    match publisher.stage(plan.clone()).await {
        Err(publish::Error::Object { .. }) => {}
        result => return Ok(result?),
    }
    let mut number = next.number;
    while let Some(newer) = read_manifest(tenant, &plan.id, number).await? {
        plan.known_objects.push(newer.manifest.object.sha256);
        number += 1;
    }
    match publisher.stage(plan.clone()).await {
        Err(publish::Error::Object { problem }) => {
            let told = EventKind::ObjectDamaged { problem };
            tenant.events.emit(&plan.id, told);
            let others = others_with_rows(next, plan);
            plan.add
                .extend(restore::spool_again(tenant, job, &others, plan.id.dt).await?);
            plan.from_scratch = true;
            Ok(publisher.stage(plan.clone()).await?)
        }
        result => Ok(result?),
    }
}

/// Every other task whose rows are in a partition of which the object is gone or damaged.
fn others_with_rows(next: &NextRevision, plan: &PartitionPlan) -> Vec<Input> {
    let in_plan: HashSet<&TaskKey> = plan.add.iter().map(|task| &task.key).collect();
    let is_other = |input: &&Input| {
        let has_rows = input.outcome == InputOutcome::Published && input.rows > 0;
        has_rows && !plan.drop.contains(&input.task_key) && !in_plan.contains(&input.task_key)
    };
    next.inputs.iter().filter(is_other).cloned().collect()
}

/// Tells of a partition that was written, or found to be as it should.
pub(super) fn tell(tenant: &Tenant, dataset: Dataset, day: &PublishedDay) {
    let subject = Subject {
        dt: Some(day.dt),
        ..dataset.into()
    };
    let published = EventKind::PartitionPublished {
        rows: day.rows,
        size_bytes: day.size_bytes,
        complete: day.complete,
        unchanged: day.unchanged,
    };
    tenant.events.emit(subject, published);
}

pub(super) fn revision_of(
    tenant: &Tenant,
    job: &JobSpec,
    id: &PartitionId,
    previous_sha256: Option<String>,
    next: NextRevision,
    staged: &Staged,
) -> Revision {
    let mut inputs = next.inputs;
    for input in &mut inputs {
        if let Some(rows) = staged.overridden.get(&input.task_key) {
            input.overridden_rows = *rows;
        }
    }
    Revision {
        id: id.clone(),
        time_zone: tenant.zone_name(),
        reading: tenant.settings(job).reading,
        destination: job.destination.clone(),
        number: next.number,
        reasons: next.reasons,
        rows: staged.written.rows,
        object: commit::object_of(&staged.written),
        content_hash: staged.written.content_hash.clone(),
        key_id: tenant.key.id(),
        replayed_from: None,
        previous_sha256,
        inputs,
        rejects: next.findings.rejects,
        blank_columns: next.findings.blank_columns,
        unknown_columns: next.findings.unknown_columns,
        coverage: next
            .coverage
            .map(|counts| CoverageRecord::new(&counts, &job.fan_out)),
    }
}
