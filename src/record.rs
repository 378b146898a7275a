//! What is known and done, as plain values: the nouns that the ledger stores and decisions are
//! taken from.
//!
//! ```text
//! schedule ─► window ─► task ─► partition
//!                        └ parent rows, from which the windows of children are planned
//! ```
//! The ledger reads and writes them, `plan` decides over them, `status` shows them. Nothing here
//! does I/O, and no value is text that somebody has to parse.

mod parents;
mod partition;
mod reason;
mod received;
mod rows;
mod settings;
mod task;
mod unfinished;
mod window;

pub use crate::task::disposition::Damage;
pub use parents::{ParentArrays, ParentRows};
pub use partition::{
    ArchivedTask, Input, InputOutcome, Intent, PackId, PartitionId, PartitionRow,
    PublishedPartition, SpooledTask,
};
pub(crate) use reason::format_1 as reason_format_1;
pub use reason::{Reason, ReasonKind};
pub use received::{EventTypeRecord, KeptEvent, MissingEnds, ReceivedEvent, WaitingEvent, end_of};
pub use rows::PassedRows;
pub use settings::{
    ReadingSettings, Remake, Remedy, RowSettings, SettingChange, TenantSettings, zone_name,
};
pub(crate) use task::keys_of;
pub use task::{LastTry, OpenTask, Phase, PhaseCounts, SpooledResult, TaskRow};
pub use unfinished::{FINAL_AFTER, Unfinished};
pub use window::{
    Coverage, NewWindow, ReportedDay, Resolution, ScheduleState, WindowBatch, WindowRow,
    WindowState,
};
