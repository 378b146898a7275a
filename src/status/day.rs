//! The story of one day, as far as the ledger tells it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::days::{ExpectedWindow, Lookup};
use super::job_record::schedule_of;
use super::{DayStatus, has_children, reasons_now, withdrawable};
use crate::datasets::Dataset;
use crate::findings::Fault;
use crate::job::JobSpec;
use crate::ledger::Ledger;
use crate::plan::due::due;
use crate::publish::location;
use crate::record::{Input, PartitionId, PartitionRow, PhaseCounts, Reason, TaskRow, WindowRow};
use crate::task::TaskKey;
use crate::window::Window;

/// What is known of a day of a dataset.
#[derive(Clone, Debug)]
pub struct DayStory {
    /// Which day.
    pub id: PartitionId,
    /// What became of it; `None` if it is not expected.
    pub status: Option<DayStatus>,
    /// What is in the lake, or about to be.
    pub partition: Option<PartitionRow>,
    /// What keeps it from being complete.
    pub reasons: Vec<Reason>,
    /// The windows that overlap it.
    pub windows: Vec<WindowRow>,
    /// Whether they may be taken back, as after a mistyped backfill.
    pub may_be_withdrawn: bool,
    /// Their tasks, those that did not end well first.
    pub tasks: Vec<TaskRow>,
    /// The tasks that the revision in the lake is made of.
    pub inputs: Vec<Input>,
    /// What does not fit the contract.
    pub rejects: Rejects,
    /// Paths in the lake of its object and of its newest manifest.
    pub objects: Vec<String>,
}

/// Cells of a fault in a column that are named.
const CELLS_NAMED: usize = 5;

/// What the tasks of a day brought that does not fit the contract: columns, counts and places, no
/// values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejects {
    /// Cells by column and by what is wrong with them.
    pub cells: BTreeMap<(String, String), RejectedCells>,
    /// Cells beyond those that are recorded one by one.
    pub more: u64,
    /// Rows that were left out, because they lack a key.
    pub rows: u64,
    /// Headers that no column of the contract has.
    pub unknown_columns: BTreeSet<String>,
    /// Columns of the contract that a source did not have.
    pub missing_columns: BTreeSet<String>,
}

/// Cells of one column with one fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectedCells {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<RejectedCell>,
}

/// Where a cell is that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedCell {
    /// The task whose original it is in.
    pub task_key: TaskKey,
    /// The sheet, or the path of a JSON list.
    pub sheet: String,
    /// Where in it: `F12`, or `[3].meeting_count`.
    pub cell: String,
}

impl Rejects {
    /// Those of some tasks together.
    #[must_use]
    pub fn of(tasks: &[TaskRow]) -> Self {
        let mut all = Self::default();
        let found = tasks
            .iter()
            .filter_map(|task| Some((&task.spec.key, task.findings.as_ref()?)));
        for (task_key, found) in found {
            for reject in &found.rejects {
                let what = Fault::to_string(&reject.reason);
                let cells = all.cells.entry((reject.column.clone(), what)).or_default();
                cells.count += 1;
                if cells.first.len() < CELLS_NAMED {
                    cells.first.push(RejectedCell {
                        task_key: task_key.clone(),
                        sheet: reject.sheet.clone(),
                        cell: reject.cell.clone(),
                    });
                }
            }
            all.more += found.rejects_unnamed;
            all.rows += found.rows_quarantined;
            all.unknown_columns
                .extend(found.extra_columns.iter().cloned());
            all.missing_columns
                .extend(found.missing_columns.iter().cloned());
        }
        all
    }

    /// Whether everything fits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl DayStory {
    /// Reads what the ledger has. The tenant comes with the zone in which its days are cut; without
    /// a job nothing is expected of the dataset.
    ///
    /// # Errors
    /// When the ledger cannot be read, the job's schedule, or a path cannot be formed.
    pub async fn read(
        ledger: &Ledger,
        (tenant, zone): (&str, &TimeZone),
        dataset: Dataset,
        job: Option<&JobSpec>,
        dt: Date,
        now: Timestamp,
    ) -> Result<Self> {
        let partition = ledger.partition(tenant, dataset, dt).await?;
        let windows = match Window::day(zone, dt) {
            Some(day) => ledger.windows(tenant, dataset, Some(day)).await?,
            None => Vec::new(),
        };
        let mut tasks = Vec::new();
        for row in &windows {
            tasks.extend(ledger.tasks_of(tenant, dataset, row.window).await?);
        }
        tasks.sort_by_key(|task| (task.failure.is_none(), task.spec.key.clone()));
        let published = partition.as_ref().filter(|row| row.revision > 0);
        let (mut status, mut reasons) = (None, Vec::new());
        if let Some(job) = job {
            let lookup = Lookup {
                ledger,
                tenant,
                zone,
                now,
            };
            let schedule = schedule_of(job)?;
            let state = ledger.schedule(&job.name, tenant).await?;
            let new = state.map(|_| due(job, &schedule, now, state, &windows).new);
            let new = new.unwrap_or_default();
            let of_day = new
                .iter()
                .filter(|new| new.window.dates(zone).contains(&dt));
            let new: Vec<ExpectedWindow> = of_day.map(ExpectedWindow::new).collect();
            status = lookup.date(job, &schedule, dt, &new, published).await?;
            if published.is_some_and(|row| !row.complete) {
                reasons = reasons_now(ledger, tenant, zone, job, dt, now).await?;
            }
        }
        let inputs = ledger.inputs(tenant, dataset, dt).await?;
        let phases = tasks.iter().map(|task| task.phase).collect();
        let holds_nothing = |row: &WindowRow| row.state.holds_nothing(&phases, !inputs.is_empty());
        let may_be_withdrawn = match job {
            Some(job) if windows.iter().all(holds_nothing) => {
                all_withdrawable(ledger, (tenant, zone), job, &windows).await?
            }
            _ => false,
        };
        let id = PartitionId {
            dataset,
            tenant: tenant.to_owned(),
            dt,
        };
        let mut objects = Vec::new();
        if let Some(row) = published {
            let destination = job.map_or("", |job| job.destination.as_str());
            objects.push(location::object(destination, &id)?.to_string());
            let revision = u32::try_from(row.revision)?;
            objects.push(location::manifest(&id, revision)?.to_string());
        }
        Ok(Self {
            status,
            reasons,
            rejects: Rejects::of(&tasks),
            inputs,
            id,
            partition,
            windows,
            may_be_withdrawn,
            tasks,
            objects,
        })
    }

    /// The tasks, counted by phase.
    #[must_use]
    pub fn phases(&self) -> PhaseCounts {
        self.tasks.iter().map(|task| task.phase).collect()
    }
}

/// Whether neither the schedule, nor the lake, nor children keep any of the windows.
async fn all_withdrawable(
    ledger: &Ledger,
    tenant: (&str, &TimeZone),
    job: &JobSpec,
    windows: &[WindowRow],
) -> Result<bool> {
    let Some(range) = hull(windows) else {
        return Ok(false);
    };
    for (row, is_free) in withdrawable(ledger, tenant, job, range).await? {
        if !is_free || has_children(ledger, &row).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The range from the beginning of the first window to the end of the last one.
fn hull(windows: &[WindowRow]) -> Option<Window> {
    let start = windows.iter().map(|row| row.window.start()).min()?;
    let end = windows.iter().map(|row| row.window.end()).max()?;
    Window::new(start, end)
}
