//! Publishes one partition.

pub mod location;
pub mod merge;
pub mod parquet;
#[cfg(test)]
pub(crate) mod rows;

use std::path::{Path as FilePath, PathBuf};

use ::parquet::errors::ParquetError;
use arrow::error::ArrowError;

use crate::task::TaskKey;
use crate::{spool, store};

/// A partition that could not be published; what was published before it stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot become a path.
    #[error(transparent)]
    Location(#[from] location::Error),
    /// The lake.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// Rows that the ledger knows of are not in the spool any more: these tasks must run again.
    #[error("the spool has lost the rows of {} tasks, the first of them {}; they are exported again", .0.len(), .0[0])]
    RowsLost(Vec<TaskKey>),
    /// Originals that the ledger knows of are not in the spool any more: their tasks must run again.
    #[error("the spool has lost {} originals, the first of them {}; their tasks are exported again", .0.len(), .0[0])]
    OriginalsLost(Vec<String>),
    /// The partition's object is not one that this version wrote, or it is gone.
    #[error(
        "the current object cannot be merged with: {problem}; `meetlake replay` rebuilds the partition from the archived originals"
    )]
    Object {
        /// What is wrong with it.
        problem: String,
    },
    /// A record in the lake that is not what its name says.
    #[error("{path} is damaged: {problem}")]
    Record {
        /// Which record.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A temporary file.
    #[error("could not {action} {}", path.display())]
    Local {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Rows that cannot be merged or encoded.
    #[error("could not merge the rows")]
    Arrow(#[from] ArrowError),
    /// A Parquet file that cannot be read or written.
    #[error("could not read or write parquet")]
    Parquet(#[from] ParquetError),
}

impl Error {
    fn local(action: &'static str, path: &FilePath) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Local {
            action,
            path,
            source,
        }
    }
}
