//! What of the normalized rows may be kept: the stage between normalize and spool.
//!
//! There is one policy, *keep*: everything passes as it came. The spool takes only [`PassedRows`],
//! so rows that no policy has seen cannot get past this stage.

use arrow::array::RecordBatch;

use crate::record::PassedRows;

/// What happens to the rows of a dataset before they are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Every column is kept as it came.
    #[default]
    Keep,
}

impl Policy {
    /// Applies the policy to normalized rows.
    #[must_use]
    pub fn apply(self, batch: RecordBatch) -> PassedRows {
        match self {
            Self::Keep => PassedRows::passed_by_policy(batch),
        }
    }
}
