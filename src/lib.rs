//! meetlake: Feishu/Lark video-meeting data, in your warehouse by morning.

pub mod cli;
pub mod convert;

pub mod decode;
pub mod normalize;

pub mod clock;
pub mod contract;
pub mod dataset;
pub mod job;
pub mod table;
pub mod task;
pub mod window;
