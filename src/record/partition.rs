//! Partitions: what is published, of what it is made, and a publish that may be under way.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::datasets::{Dataset, Lineage, Request};
use crate::findings::{Findings, Witness};
use crate::task::machine::State;
use crate::task::{ExportId, TaskKey, TaskSpec};
use crate::text::is_hex;
use crate::window::Window;

use super::task::{Phase, TaskRow};

/// One (dataset, tenant, dt) of the lake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// Whose columns.
    pub dataset: Dataset,
    /// Whose data, as the configuration names it.
    pub tenant: String,
    /// The civil date of the events.
    pub dt: Date,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.dataset, self.tenant, self.dt)
    }
}

/// One generation of a task whose rows are in the spool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpooledTask {
    /// The task.
    pub key: TaskKey,
    /// Which of its generations.
    pub generation: u32,
}

/// What a publish is about to put into the lake; recorded before the first byte goes there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The revision being made.
    pub revision: u64,
    /// Hash of its data columns.
    pub content_hash: String,
    /// SHA-256 of the object's bytes.
    pub object_sha256: String,
    /// Length of the object.
    pub size_bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The packs that hold the originals of its inputs.
    #[serde(default)]
    pub packs: Vec<PackId>,
}

/// A partition as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// The civil date.
    pub dt: Date,
    /// 0 if it was never published.
    pub revision: u64,
    /// Whether every known task of the day is in it.
    pub complete: bool,
    /// Hash of its data columns.
    pub content_hash: Option<String>,
    /// SHA-256 of its manifest.
    pub manifest_sha256: Option<String>,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub size_bytes: u64,
    /// When this revision was completed.
    pub published_at: Option<Timestamp>,
    /// When a later export last gave the same content.
    pub checked_at: Option<Timestamp>,
    /// A publish that may be under way.
    pub intent: Option<Intent>,
}

impl PartitionRow {
    /// Which partition.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        PartitionId {
            dataset: self.dataset,
            tenant: self.tenant.clone(),
            dt: self.dt,
        }
    }
}

/// A completed publish.
#[derive(Clone, Debug)]
pub struct PublishedPartition {
    /// The revision.
    pub revision: u64,
    /// Whether every known task of the day is in it.
    pub complete: bool,
    /// Hash of its data columns.
    pub content_hash: String,
    /// SHA-256 of its manifest.
    pub manifest_sha256: String,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub size_bytes: u64,
    /// The inputs whose workbook is in it. Replaces the list of the revision before.
    pub inputs: Vec<Input>,
}

/// One task of a partition. What was asked for, and of whom, is not here: it lies beside the
/// original in its pack, where it is kept, encrypted and erased with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The task.
    pub task_key: TaskKey,
    /// Which of its generations.
    pub generation: u32,
    /// First instant of the task's window.
    pub window_start: Timestamp,
    /// First instant after it.
    pub window_end: Timestamp,
    /// The job's window that the task was planned for, where it is a longer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_window: Option<(Timestamp, Timestamp)>,
    /// Feishu's id of the export task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export_id: Option<ExportId>,
    /// When the export was submitted; decides which task wins a natural key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<Timestamp>,
    /// When the bytes were received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extracted_at: Option<Timestamp>,
    /// SHA-256 of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_sha256: Option<String>,
    /// The pack that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<PackId>,
    /// Rows that the task brought to this partition.
    pub rows: u64,
    /// Rows among them that a later task's rows replaced. When that task comes again or is
    /// withdrawn, this one must be merged again too.
    #[serde(default)]
    pub overridden_rows: u64,
    /// How the task ended.
    pub outcome: InputOutcome,
}

impl Input {
    /// What a manifest says of a task as it stands.
    #[must_use]
    pub fn of(task: &TaskRow) -> Self {
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
            (Phase::Open, _) => InputOutcome::Missing,
            (Phase::Quarantined, _) => InputOutcome::Quarantined,
            (Phase::Failed, _) => InputOutcome::Failed,
            (_, rows) => InputOutcome::of_rows(rows.unwrap_or(1)),
        };
        Self {
            task_key: spec.key.clone(),
            generation: task.generation,
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

    /// Whether the task's workbook is in the partition, with rows or without.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        matches!(self.outcome, InputOutcome::Published | InputOutcome::Empty)
    }

    /// Which of two tasks with the same natural key wins: the one that was submitted last.
    #[must_use]
    pub fn rank(&self) -> i64 {
        self.submitted_at
            .map_or(i64::MIN, Timestamp::as_microsecond)
    }

    /// The same task standing for the same civil days in another zone, if it stands for civil days.
    /// What was asked for is in its pack, and stays.
    #[must_use]
    pub fn in_zone(&self, from: &TimeZone, to: &TimeZone) -> Self {
        let mut moved = self.clone();
        if let Some(window) = self.window().and_then(|window| window.in_zone(from, to)) {
            (moved.window_start, moved.window_end) = (window.start(), window.end());
        }
        let job_window = self.planned_for().filter(|_| self.job_window.is_some());
        if let Some(window) = job_window.and_then(|window| window.in_zone(from, to)) {
            moved.job_window = Some((window.start(), window.end()));
        }
        moved
    }

    /// The range of data that the task stands for.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        Window::new(self.window_start, self.window_end)
    }

    /// The job's window that the task was planned for.
    #[must_use]
    pub fn planned_for(&self) -> Option<Window> {
        match self.job_window {
            Some((start, end)) => Window::new(start, end),
            None => self.window(),
        }
    }
}

/// A pack of originals of one tenant and dataset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId {
    /// The civil day of its tasks' windows, in the tenant's zone.
    pub dt: Date,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dt={}/{}", self.dt, self.sha256)
    }
}

/// A text that names no pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the name of a pack, dt=YYYY-MM-DD/SHA-256")]
pub struct MalformedPackId;

impl FromStr for PackId {
    type Err = MalformedPackId;

    fn from_str(text: &str) -> Result<Self, MalformedPackId> {
        let (dt, sha256) = text.split_once('/').ok_or(MalformedPackId)?;
        let dt = dt.strip_prefix("dt=").ok_or(MalformedPackId)?;
        if !is_hex(sha256) {
            return Err(MalformedPackId);
        }
        Ok(Self {
            dt: dt.parse().map_err(|_| MalformedPackId)?,
            sha256: sha256.to_owned(),
        })
    }
}

impl Serialize for PackId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PackId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What lies beside an original in its pack: the task that it answers. With it, a lake tells all
/// that a lost ledger knew of the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchivedTask {
    /// The task, under the key that the lake had when the pack was made.
    pub task_key: TaskKey,
    /// SHA-256 of the original.
    pub source_sha256: String,
    /// First instant of the task's window.
    pub window_start: Timestamp,
    /// First instant after it.
    pub window_end: Timestamp,
    /// What was asked for.
    pub request: Request,
    /// What the rows get from the task.
    pub lineage: Lineage,
    /// Paths of the secrets that were blanked in the original before it was hashed and kept. But for
    /// their values it is byte for byte what Feishu answered; without any, it is that as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
    /// What the other source answered, where it was to be asked too; it lies in the same pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
}

impl ArchivedTask {
    /// What is archived of a task; `None` while it has no original.
    #[must_use]
    pub fn of(task: &TaskRow) -> Option<Self> {
        let witness = task.findings.as_ref().and_then(Findings::witness);
        Some(Self {
            witness,
            ..Self::with(&task.spec, task.sha256()?)
        })
    }

    /// What is archived of a task with this original.
    #[must_use]
    pub fn with(spec: &TaskSpec, sha256: &str) -> Self {
        let secrets = spec.request.source().secrets().iter();
        Self {
            task_key: spec.key.clone(),
            source_sha256: sha256.to_owned(),
            window_start: spec.window.start(),
            window_end: spec.window.end(),
            request: spec.request.clone(),
            lineage: spec.lineage.clone(),
            redacted: secrets.map(|path| (*path).to_owned()).collect(),
            witness: None,
        }
    }

    /// SHA-256 of the other source's answer, if there is one.
    #[must_use]
    pub fn witness_sha256(&self) -> Option<&str> {
        match self.witness.as_ref()? {
            Witness::Sha256(sha256) => Some(sha256),
            Witness::Unanswered => None,
        }
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputOutcome {
    /// Its rows are in.
    Published,
    /// A workbook with a header and no rows.
    Empty,
    /// A workbook that broke its contract.
    Quarantined,
    /// No workbook, for good.
    Failed,
    /// No answer yet.
    Missing,
}

impl InputOutcome {
    /// The outcome of a task that brought so many rows.
    #[must_use]
    pub const fn of_rows(rows: u64) -> Self {
        match rows {
            0 => Self::Empty,
            _ => Self::Published,
        }
    }
}
