//! meetlake: Feishu/Lark video-meeting data, in your warehouse by morning.
//!
//! One binary asks Feishu for its meeting reports and exports, turns the spreadsheets into typed Arrow, and publishes partitioned Parquet
//! to object storage, on a schedule, without losing, doubling or silently missing a day.
//!
//! ```text
//! jobs/*.toml ─► plan ────► export ────────────► decode ──► normalize ────► spool ─────────► publish
//!                tasks      submit · poll · fetch  table     record batch   original + rows   pack, one object, manifest
//!                  ▲                                              │
//!                  │   parent rows fan out: meeting ─► participants ─► quality
//!                  └─────────────── ledger: what is due, where each task stands, what is published ──────────────
//! ```
//!
//! [`pipeline`] is that picture as code, [`run`] is the loop around it. A module knows only what stands below it here:
//!
//! - entry: [`cli`], [`config`], [`server`], [`telemetry`], [`exit`]
//! - orchestration: [`scheduler`] (when), [`run`] (what is due minus what is done), [`pipeline`] (one task, one partition), and over what is
//!   there already: [`rebuild`] (a lost ledger), [`verify`] (proof), [`orphans`] (leftovers)
//! - stages, which never import one another: [`plan`], [`export`], [`decode`], [`normalize`], [`spool`], [`publish`]
//! - adapters: [`client`] (Feishu), [`store`] (object storage), [`ledger`] (SQL)
//! - in tests only: `failpoint`, places at which a process ends
//! - ground, without I/O: [`job`], [`task`], [`dataset`], [`contract`], [`table`], [`window`], [`schedule`], [`clock`]; and [`disk`], which
//!   asks the system how full it is

#[macro_use]
mod failpoint;

pub mod cli;
pub mod config;
pub mod exit;
pub mod server;
pub mod telemetry;

pub mod convert;
pub mod orphans;
pub mod pipeline;
pub mod rebuild;
pub mod run;
pub mod scheduler;
pub mod verify;

pub mod plan;

pub mod export;

pub mod decode;

pub mod normalize;

pub mod spool;

pub mod publish;

pub mod client;
pub mod ledger;
pub mod store;

pub mod clock;
pub mod contract;
pub mod dataset;
pub mod disk;
pub mod job;
pub mod schedule;
pub mod table;
pub mod task;
pub mod window;
