//! What a partition is made of: the tasks of its day, what each brought, and what is missing.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;

use super::Tenant;
use crate::job::JobSpec;
use crate::ledger::{Phase, TaskRow, WindowRow};
use crate::normalize::Findings;
use crate::plan::fanout::Coverage;
use crate::publish::manifest::{self, Input, Outcome};
use crate::task::TaskKey;
use crate::task::machine::State;
use crate::window::date_of;

/// The windows of a day, looked at together.
#[derive(Default)]
pub(super) struct Day {
    /// Whether a window of it has no tasks yet.
    pub(super) is_due: bool,
    pub(super) tasks: Vec<TaskRow>,
}

impl Day {
    /// What keeps the day from being complete, once the tasks of this round are published.
    pub(super) fn reasons(&self, in_round: &HashSet<&TaskKey>) -> Vec<String> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for task in &self.tasks {
            let reason = match task.phase {
                Phase::Open => "not exported yet",
                Phase::Spooled if !in_round.contains(&task.spec.key) => "not published yet",
                Phase::Quarantined => "quarantined",
                Phase::Failed => "failed",
                _ if findings_of(task).rows_quarantined > 0 => "with rows that lack a key",
                Phase::Spooled | Phase::Published | Phase::Withdrawn => continue,
            };
            *counts.entry(reason).or_default() += 1;
        }
        let due = self
            .is_due
            .then(|| "a window of the day is not planned yet".to_owned());
        due.into_iter()
            .chain(
                counts
                    .iter()
                    .map(|(reason, tasks)| format!("{tasks} tasks {reason}")),
            )
            .collect()
    }

    /// Adds the tasks of the day that brought no workbook, so that the manifest names what is not there.
    pub(super) fn add_missing(&self, tenant: &Tenant, dt: Date, inputs: &mut Vec<Input>) {
        let there: HashSet<TaskKey> = inputs.iter().map(|input| input.task_key.clone()).collect();
        for task in &self.tasks {
            let is_missing = matches!(task.phase, Phase::Open | Phase::Quarantined | Phase::Failed);
            if is_missing && is_home(tenant, task, dt) && !there.contains(&task.spec.key) {
                inputs.push(input_of(task));
            }
        }
    }
}

pub(super) fn findings_of(task: &TaskRow) -> Findings {
    task.result
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

pub(super) fn sha256_of(task: &TaskRow) -> Option<&str> {
    match &task.machine {
        State::Fetched { sha256, .. } => Some(sha256),
        _ => None,
    }
}

pub(super) fn dts_of(task: &TaskRow) -> Result<Vec<Date>> {
    let dts = task.dts.as_deref().unwrap_or("[]");
    serde_json::from_str(dts).with_context(|| {
        format!(
            "the ledger holds unreadable dates of task {}",
            task.spec.key
        )
    })
}

/// Whether `dt` is the day that a task stands for: where it is listed although it brought no row.
pub(super) fn is_home(tenant: &Tenant, task: &TaskRow, dt: Date) -> bool {
    date_of(&tenant.time_zone, task.spec.window.start()) == dt
}

pub(super) fn rank(input: &Input) -> i64 {
    input
        .submitted_at
        .map_or(i64::MIN, Timestamp::as_microsecond)
}

pub(super) fn input_of(task: &TaskRow) -> Input {
    let spec = &task.spec;
    let fetched = match &task.machine {
        State::Fetched {
            submitted_at,
            sha256,
            extracted_at,
            ..
        } => Some((*submitted_at, sha256.clone(), *extracted_at)),
        _ => None,
    };
    let outcome = match (task.phase, task.rows) {
        (Phase::Open, _) => Outcome::Missing,
        (Phase::Quarantined, _) => Outcome::Quarantined,
        (Phase::Failed, _) => Outcome::Failed,
        (_, Some(0)) => Outcome::Empty,
        _ => Outcome::Published,
    };
    Input {
        task_key: spec.key.clone(),
        generation: task.generation,
        request: spec.request.clone(),
        lineage: spec.lineage.clone(),
        window_start: spec.window.start(),
        window_end: spec.window.end(),
        job_window: (task.job_window != spec.window)
            .then(|| (task.job_window.start(), task.job_window.end())),
        export_id: task.machine.export_id().cloned(),
        submitted_at: fetched.as_ref().map(|(submitted_at, _, _)| *submitted_at),
        extracted_at: fetched.as_ref().map(|(_, _, extracted_at)| *extracted_at),
        source_sha256: fetched.map(|(_, sha256, _)| sha256),
        pack: task.pack.clone(),
        rows: task.rows.unwrap_or(0),
        overridden_rows: 0,
        outcome,
    }
}

/// What the ledger keeps of a partition's inputs: those whose workbook is in it.
pub(super) fn recorded_inputs(inputs: &[Input]) -> Result<Vec<(TaskKey, u32, String)>> {
    inputs
        .iter()
        .filter(|input| matches!(input.outcome, Outcome::Published | Outcome::Empty))
        .map(|input| {
            Ok((
                input.task_key.clone(),
                input.generation,
                serde_json::to_string(input)?,
            ))
        })
        .collect()
}

/// What the fan-out of a day's windows left out; `None` for datasets without one.
pub(super) fn coverage_of(job: &JobSpec, windows: &[WindowRow]) -> Option<manifest::Coverage> {
    let mut sum: Option<Coverage> = None;
    for window in windows {
        let coverage = window
            .coverage
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        if let Some(coverage) = coverage {
            sum.get_or_insert_with(Coverage::default).add(&coverage);
        }
    }
    sum.map(|sum| manifest::Coverage {
        parents: sum.parents,
        planned: sum.planned,
        left_out: manifest::LeftOut {
            not_ended: sum.not_ended,
            min_participants: sum.below_min_participants,
            sampled: sum.not_sampled,
            max_tasks: sum.over_max_tasks,
            no_id: sum.no_id,
        },
        bounds: (&job.fan_out).into(),
    })
}
