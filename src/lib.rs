//! meetlake: Feishu/Lark video-meeting data, in your warehouse by morning.

pub mod clock;
pub mod contract;
pub mod dataset;
pub mod job;
pub mod publish;
pub mod spool;
pub mod store;
pub mod task;
pub mod window;
