//! What tests outside of the crate need and nobody else may use, item by item.
//!
//! It exists only with the feature `testing`. A build without it shows the compiler everything that
//! only tests use as dead code.

/// What opens a configuration, and what a run prints.
pub mod cli {
    pub use crate::cli::identify::Purpose;
    pub use crate::cli::open::App;
    pub use crate::cli::run::text_of;
}

/// Where it is told what happened.
pub mod events {
    pub use crate::events::Events;
}

/// What Prometheus is told.
pub mod metrics {
    pub use crate::metrics::Metrics;
}

/// The status page.
pub mod server {
    pub use crate::server::{Pages, serve};
}

/// The configuration.
pub mod config {
    pub use crate::config::{Config, FILE_NAME, load, process_environment};
}

/// One reconciliation.
pub mod run {
    pub use crate::run::{DatasetSummary, RunLimits, Scope, Summary, reconcile};
}

/// A lost ledger.
pub mod rebuild {
    pub use crate::rebuild::from_lake;
}

/// Leftovers in the lake.
pub mod orphans {
    pub use crate::orphans::{collect, find};
}

/// A tenant, and what is published of it.
pub mod pipeline {
    pub use crate::pipeline::{Tenant, publish_windows, storage_failure};
}

/// Workbooks converted by hand.
pub mod convert {
    pub use crate::convert::{Conversion, file};
}

/// What is due.
pub mod plan {
    pub use crate::plan::due::{Due, due, due_at};
}

/// The two readers of workbooks.
pub mod decode {
    pub use crate::decode::{
        DecodeSummary, Error, Fallback, WorkbookLimits, WorkbookReader, report, workbook,
        workbook_by_calamine,
    };
}

/// Cells and tables, typed.
pub mod normalize {
    pub use crate::normalize::{
        Buckets, ConstantColumns, Context, Normalized, Normalizer, NormalizerOutput, Quarantine,
        QuarantineReason, RowKeys, Stamp, cell, whole,
    };
}

/// The secret of a lake.
pub mod lake_key {
    pub use crate::lake_key::LakeKey;
}

/// What of the rows is kept.
pub mod policy {
    pub use crate::policy::Policy;
}

/// Partitions and their records.
pub mod publish {
    pub use crate::publish::identity;
    pub use crate::publish::location;
    pub use crate::publish::manifest;
    pub use crate::publish::parquet::{FileWriter, Written};
    pub use crate::publish::{Error, PartitionPlan, Publisher, split_by_dt};
}

/// Feishu.
pub mod client {
    pub use crate::client::{Client, Error, ExportStatus, Settings, Timeouts, UserTokenSettings};
    pub use crate::datasets::CallLimits;
}

/// The long connection's messages.
pub mod long_connection {
    pub use crate::client::long_connection::{LinkFrame, PartBuffer};
}

/// Who may call the webhook.
pub mod webhook {
    pub use crate::inlet::{Signature, WebhookSecrets, accept};
}

/// The ledger.
pub mod ledger {
    pub use crate::ledger::Ledger;
}

/// The spool.
pub mod spool {
    pub use crate::spool::Spool;
}

/// Object storage.
pub mod store {
    pub use crate::store::{Error, Lake, StoreErrorKind, Version, file_url};
}

/// What the ledger stores.
pub mod record {
    pub use crate::record::{
        ArchivedTask, Input, InputOutcome, Intent, NewWindow, OpenTask, PackId, PartitionId,
        PartitionRow, PassedRows, Phase, ReadingSettings, Reason, ReasonKind, ScheduleState,
        SpooledResult, SpooledTask, WindowBatch, WindowState,
    };
}

/// What normalizing finds.
pub mod findings {
    pub use crate::findings::{Fault, Findings};
}

/// Jobs.
pub mod job {
    pub use crate::datasets::{DurationUnit, RequestOptions};
    pub use crate::job::{Check, FanOut, JobSpec, MissedPolicy, OverlapPolicy};
}

/// Contracts.
pub mod contract {
    pub use crate::column::{Column, ColumnKind, ColumnSource, Key};
    pub use crate::contract::{Contract, lineage};
}

/// Tasks.
pub mod task {
    pub use crate::datasets::{Lineage, Request, UserIdType};
    pub use crate::task::machine::{FileToken, State};
    pub use crate::task::{ExportId, TaskKey, TaskOwner, TaskSpec};
}

/// Datasets.
pub mod dataset {
    pub use crate::datasets::Dataset;
}

/// Schedules.
pub mod schedule {
    pub use crate::schedule::Schedule;
}

/// Windows.
pub mod window {
    pub use crate::window::{Window, closed_windows, date_of};
}

/// Clocks.
pub mod clock {
    pub use crate::clock::Clock;
}

/// Tables as the readers give them.
pub mod table {
    pub use crate::table::{Cell, Header, RowSink, cell_name, column_name};
}

/// Defects that tests plant in what they call without the program.
#[cfg(feature = "failpoints")]
pub mod failpoint {
    pub use crate::failpoint::set_up;
}

/// Exit codes.
pub mod exit {
    pub use crate::exit::Code;
}
