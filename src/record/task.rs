//! Tasks: which exist, where each stands, and what children need of their parents.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use crate::cause::Failure;
use crate::findings::Findings;
use crate::task::disposition::Damage;
use crate::task::machine::State;
use crate::task::{TaskKey, TaskSpec};
use crate::window::Window;

use super::{PackId, ParentRows, ReportedDay};

/// What became of a task's current generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Still to be exported.
    Open,
    /// Its rows wait in the spool.
    Spooled,
    /// Its rows are in the lake.
    Published,
    /// Its workbook broke the contract.
    Quarantined,
    /// Its attempts are used up.
    Failed,
    /// Its parent row is gone.
    Withdrawn,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::Spooled,
        Self::Published,
        Self::Quarantined,
        Self::Failed,
        Self::Withdrawn,
    ];

    /// The word in the ledger and in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Spooled => "spooled",
            Self::Published => "published",
            Self::Quarantined => "quarantined",
            Self::Failed => "failed",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// How a task ends whose rows are in the lake. Where rows lack a key, its workbook is kept in
    /// quarantine, and the task with it.
    #[must_use]
    pub const fn once_published(findings: &Findings) -> Self {
        match findings.rows_quarantined {
            0 => Self::Published,
            _ => Self::Quarantined,
        }
    }

    /// The phase behind a word of the ledger.
    #[must_use]
    pub fn from_stored(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }
}

/// How many tasks of a window are in which phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhaseCounts(Vec<(Phase, u64)>);

impl PhaseCounts {
    /// How many tasks are in `phase`.
    #[must_use]
    pub fn of(&self, phase: Phase) -> u64 {
        let of_phase = self.0.iter().filter(|(other, _)| *other == phase);
        of_phase.map(|(_, tasks)| tasks).sum()
    }

    /// Whether a task is in `phase`.
    #[must_use]
    pub fn has(&self, phase: Phase) -> bool {
        self.of(phase) > 0
    }

    /// How many tasks there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, tasks)| tasks).sum()
    }
}

impl FromIterator<(Phase, u64)> for PhaseCounts {
    fn from_iter<I: IntoIterator<Item = (Phase, u64)>>(counts: I) -> Self {
        Self(counts.into_iter().collect())
    }
}

impl FromIterator<Phase> for PhaseCounts {
    fn from_iter<I: IntoIterator<Item = Phase>>(phases: I) -> Self {
        phases.into_iter().map(|phase| (phase, 1)).collect()
    }
}

/// A task to be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTask {
    /// What to export.
    pub spec: TaskSpec,
    /// Smaller runs first.
    pub priority: i64,
    /// The generation it should have; a task that already has it is left as it is.
    pub generation: u32,
}

/// When a task was last tried, and when it is tried again. What its failure names may be mended
/// since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LastTry {
    /// When something last came of it.
    #[serde(rename = "last_tried_at")]
    pub at: Timestamp,
    /// Not before this instant, by a run; `None` if only a person has it tried again.
    #[serde(rename = "next_try_at")]
    pub next: Option<Timestamp>,
}

/// A task as recorded.
#[derive(Clone, Debug)]
pub struct TaskRow {
    /// What to export.
    pub spec: TaskSpec,
    /// The job's window it was planned for.
    pub job_window: Window,
    /// Counts the exports that were asked for, from 1.
    pub generation: u32,
    /// What became of it.
    pub phase: Phase,
    /// Where the export stands.
    pub machine: State,
    /// Attempts given up in this generation.
    pub attempts: u32,
    /// Rows of this generation, once known.
    pub rows: Option<u64>,
    /// The partitions its rows fall into.
    pub dts: BTreeSet<Date>,
    /// Pack that holds its original.
    pub pack: Option<PackId>,
    /// What normalising found, once it did.
    pub findings: Option<Findings>,
    /// Bytes that were given to it and could not be read.
    pub damage: Option<Damage>,
    /// The last failure of this generation.
    pub failure: Option<Failure>,
    /// When it was last tried, and when it is again.
    pub last_try: LastTry,
}

impl TaskRow {
    /// SHA-256 of its bytes, once fetched.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.machine.sha256()
    }

    /// Whether rows can still come of bytes that were fetched: they wait to be read, or are in
    /// quarantine.
    #[must_use]
    pub fn has_bytes(&self) -> bool {
        self.sha256().is_some() && matches!(self.phase, Phase::Open | Phase::Quarantined)
    }

    /// Rows that were left out because they lack a key.
    #[must_use]
    pub fn rows_quarantined(&self) -> u64 {
        self.findings
            .as_ref()
            .map_or(0, |findings| findings.rows_quarantined)
    }
}

/// What a task leaves when its rows are in the spool.
#[derive(Clone, Debug)]
pub struct SpooledResult {
    /// The partitions its rows fall into.
    pub dts: BTreeSet<Date>,
    /// What normalising found; its `rows_out` are the rows of all partitions.
    pub findings: Findings,
    /// What children need of its rows.
    pub parents: ParentRows,
    /// What it says of single days, if it is a daily report.
    pub reported: Vec<ReportedDay>,
}

/// Key and generation of a task, where only these matter.
pub(crate) fn keys_of(tasks: &[TaskRow]) -> Vec<(TaskKey, u32)> {
    tasks
        .iter()
        .map(|task| (task.spec.key.clone(), task.generation))
        .collect()
}
