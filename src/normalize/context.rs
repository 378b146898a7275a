//! What normalising needs beside the table: contract, zones, and what only the task knows.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::contract::Contract;
use crate::job::DurationUnit;
use crate::task::{ExportId, Lineage, TaskKey};
use crate::window::Window;

/// What normalising needs beside the table.
#[derive(Clone, Debug)]
pub struct Context {
    /// The columns to produce.
    pub contract: &'static Contract,
    /// Zone of date-times that name none: the job's.
    pub time_zone: TimeZone,
    /// Zone in which a daily report's bucket has its date, unless it starts at a UTC midnight.
    pub tenant_zone: TimeZone,
    /// Values of the columns that come from the task.
    pub lineage: Lineage,
    /// Where the rows came from.
    pub stamp: Stamp,
    /// Which buckets of a daily report are wanted; `None` for all.
    pub buckets: Option<Buckets>,
    /// Unit of `get_top_user`'s durations.
    pub top_user_duration: DurationUnit,
    /// Whether a key column that comes from the task must have a value; not so in `convert`.
    pub keys_from_task_required: bool,
}

/// The lineage columns' values, the same for all rows of a source; what is not known is null.
#[derive(Clone, Debug, Default)]
pub struct Stamp {
    /// The task.
    pub task_key: Option<TaskKey>,
    /// The export task at Feishu.
    pub export_id: Option<ExportId>,
    /// SHA-256 of the source bytes, 64 hex digits.
    pub source_sha256: String,
    /// The task's window.
    pub window: Option<Window>,
    /// When the bytes were received.
    pub extracted_at: Option<Timestamp>,
}

/// The days of a daily report that a task stands for.
#[derive(Clone, Debug)]
pub struct Buckets {
    /// What was asked for: buckets that do not lie fully inside are incomplete.
    pub query: Window,
    /// The dates of the task's window: other buckets belong to other tasks.
    pub dates: Vec<Date>,
}
