//! meetlake: Feishu/Lark video-meeting data, in your warehouse by morning.

pub mod cli;
pub mod config;
pub mod exit;
pub mod telemetry;

pub mod clock;
pub mod contract;
pub mod dataset;
pub mod job;
pub mod schedule;
pub mod task;
pub mod window;
