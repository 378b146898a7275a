//! meetlake: Feishu/Lark video-meeting data, in your warehouse by morning.

pub mod plan;

pub mod client;
pub mod ledger;

pub mod clock;
pub mod contract;
pub mod dataset;
pub mod job;
pub mod task;
pub mod window;
