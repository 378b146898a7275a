//! The command line: one file a verb.

pub mod completions;
pub mod init;
pub mod validate;
