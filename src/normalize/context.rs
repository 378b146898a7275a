//! What normalizing needs besides the table: contract, time zones, and what only the task knows.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::keys::RowKeys;
use crate::contract::Contract;
use crate::datasets::{DurationUnit, Lineage, LineageValue};
use crate::task::{ExportId, TaskKey};
use crate::window::Window;

/// What normalizing needs besides the table.
#[derive(Clone, Debug)]
pub struct Context {
    /// The columns to produce.
    pub contract: &'static Contract,
    /// Zone of date-times that name none. It also gives a daily report's bucket its date, unless
    /// the bucket starts at a UTC midnight.
    pub time_zone: TimeZone,
    /// Zone in which the tenant's days are cut.
    pub tenant_zone: TimeZone,
    /// Values of the columns that come from the task.
    pub lineage: Lineage,
    /// Where the rows came from.
    pub stamp: Stamp,
    /// Which buckets of a daily report are wanted; `None` for all.
    pub buckets: Option<Buckets>,
    /// Unit of `get_top_user`'s durations.
    pub top_user_duration: DurationUnit,
    /// Whether a key column that comes from the task must have a value. `convert` does not require
    /// it.
    pub keys_from_task_required: bool,
    /// What the keys that join rows are hashed with; `None` where there is no lake, and then there
    /// are none.
    pub keys: Option<RowKeys>,
}

impl Context {
    /// What the task says of a column that the source may lack.
    pub(super) fn lineage_text(&self, index: usize) -> Option<&str> {
        let column = self.contract.columns.get(index)?;
        match self.lineage.value(column.task_field()) {
            Some(LineageValue::Text(text)) if column.or_of_task => Some(text),
            _ => None,
        }
    }
}

/// Values of the lineage columns, which are the same for all rows of a source. What is not known is
/// null.
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
    /// What was asked for. Buckets that are not fully inside are incomplete.
    pub query: Window,
    /// The dates of the task's window. Buckets of other dates belong to other tasks.
    pub dates: Vec<Date>,
}
