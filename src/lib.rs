//! meetlake: Feishu/Lark video-meeting data, in your warehouse by morning.
//!
//! One binary asks Feishu for its meeting reports and exports, turns the spreadsheets into typed
//! Arrow, and publishes partitioned Parquet to object storage, on a schedule, without losing,
//! doubling or silently missing a day.
//!
//! ```text
//! jobs/*.toml ─► plan ──► fetch ──► decode ──► normalize ──► policy ──► spool ──► publish
//!                tasks    bytes     table      record batch              rows      pack, object,
//!                  ▲                               │                               manifest
//!                  │ parent rows fan out: meeting ─► participants ─► quality
//!                  └──── ledger: what is due, where each task stands, what is published ────
//! ```
//!
//! [`pipeline`] is that picture as code, [`run`] is the loop around it. Decisions are pure and
//! stand once, in [`plan`] and [`task::disposition`]. Where to look first:
//!
//! | to change | look at |
//! |---|---|
//! | when a failed attempt is tried again, and how often | [`task::disposition`] |
//! | the life of one export: submit, poll, download | [`task::machine`], driven by [`fetch`] |
//! | seconds of waiting inside one call | [`client`] |
//! | which windows a job has by now, what a backfill asks for | [`plan::due`] |
//! | which children a parent's rows have | [`plan::children`] |
//! | what makes a day partial, what a revision is made of | [`plan::partition`], [`plan::plausible`] |
//! | how two sources of one dataset are compared | `findings::comparison`, `pipeline::compared` |
//! | where the facts for that are gathered | [`pipeline`], [`status`] |
//! | how an event is kept before it is acknowledged | [`inlet`], `client::long_connection` |
//! | a dataset: its endpoint, its columns, how it is asked for | [`datasets`], one file each |
//! | what types columns have | [`column`](mod@column) |
//! | what a failure is called, its remedy and exit code | [`cause`] |
//! | who hears what happened: progress and log; an alert would subscribe | [`events`] |
//! | what `status` and the pages say of a day | [`status`] |
//! | how the pages of `serve` look | [`page`] |
//! | whether a person is needed | [`status::verdict`] |
//! | what Prometheus is told | [`metrics`] |
//! | which settings belong to the lake, and what a change costs | `record::settings` |
//! | how all days are made again under other settings | `pipeline::remake` |
//!
//! The modules below stand in layers. A module uses its own layer and those below, never in a
//! circle. Stages never use one another; `plan`, `decode`, `normalize` and `policy` use the ground
//! only. A test reads every `use` and holds the code to this list.

// A module's own line says who may use it; `pub` inside of one means "beyond this file".
#![allow(unreachable_pub)]
// The map above is for those who read the whole crate.
#![allow(rustdoc::private_intra_doc_links)]

#[macro_use]
mod failpoint;

// --- entry: what a person or a machine calls
pub(crate) mod cli;
pub(crate) mod config;
pub(crate) mod server;
pub(crate) mod telemetry;

// --- orchestration: when, and in which order
pub(crate) mod convert;
pub(crate) mod inlet;
pub(crate) mod orphans;
pub(crate) mod pipeline;
pub(crate) mod rebuild;
pub(crate) mod run;
pub(crate) mod scheduler;
pub(crate) mod verify;

// --- reading: what is shown
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod status;

// --- stages: verbs that never use one another
pub(crate) mod decode;
pub(crate) mod fetch;
pub(crate) mod normalize;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod publish;

// --- adapters: each owns a connection to something outside, be it a folder
pub(crate) mod client;
pub(crate) mod keyring;
pub(crate) mod ledger;
pub(crate) mod listener;
pub(crate) mod network;
pub(crate) mod owner_only;
pub(crate) mod sort;
pub(crate) mod spool;
pub(crate) mod store;

// --- ground: nouns, without I/O but for the log and what there is room for on a disk and in a
// process
pub(crate) mod cause;
pub(crate) mod clock;
pub(crate) mod column;
pub(crate) mod contract;
pub(crate) mod datasets;
pub(crate) mod descriptors;
pub(crate) mod disk;
pub(crate) mod events;
pub(crate) mod exit;
pub(crate) mod findings;
pub(crate) mod hashing;
pub(crate) mod job;
pub(crate) mod lake_key;
pub(crate) mod pages;
pub(crate) mod record;
pub(crate) mod schedule;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod text;
pub(crate) mod window;
pub(crate) mod workers;

// --- beside the layers: what tests need, and what holds the layers
#[cfg(test)]
mod architecture;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

pub use cause::Cause;
pub use cli::main;
pub use contract::Contract;
pub use datasets::Dataset;
pub use exit::Code;
pub use schedule::Schedule;
pub use window::Window;
