//! What normalising found beside the rows: what did not fit, what is missing, what is new. Places and reasons, never values.

use serde::{Deserialize, Serialize};

use super::Fault;

/// So many rejects are named; all are counted.
const NAMED: usize = 1_000;

/// A cell (or the row around it) that does not fit the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// The sheet, or the path of a JSON list.
    pub sheet: String,
    /// Where in it: `F12`, or `[3].meeting_count`.
    pub cell: String,
    /// Name of the column in the contract.
    pub column: String,
    /// What is wrong.
    pub reason: Fault,
}

/// The account of one table. `rows_read` is the sum of the other `rows_*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Rows below a header that were handed in.
    pub rows_read: u64,
    /// Rows in the batch.
    pub rows_out: u64,
    /// Rows without anything in them.
    pub rows_blank: u64,
    /// Rows left out because a required key column has no value.
    pub rows_quarantined: u64,
    /// Buckets of a daily report that are incomplete or another task's.
    pub rows_outside: u64,
    /// Cells that did not parse; null in the batch, kept in `_extra`.
    pub cells_rejected: u64,
    /// Texts that no enumeration knows; `other` in the batch, kept in `_extra`.
    pub unknown_values: u64,
    /// The first 1,000 rejects.
    pub rejects: Vec<Reject>,
    /// Rejects beyond those.
    pub rejects_unnamed: u64,
    /// Headers that no column of the contract has, sorted.
    pub extra_columns: Vec<String>,
    /// Columns of the contract that the source does not have.
    pub missing_columns: Vec<String>,
    /// Columns whose header is there and that have no value in any row.
    pub blank_columns: Vec<String>,
    /// What the fast reader does not know, where calamine read the workbook instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to_calamine: Option<String>,
}

impl Findings {
    pub(super) fn note(&mut self, reject: Reject) {
        if self.rejects.len() < NAMED {
            self.rejects.push(reject);
        } else {
            self.rejects_unnamed += 1;
        }
    }
}

/// A table that was refused whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Quarantine {
    /// Why.
    pub reason: Reason,
    /// What was found until then.
    pub findings: Findings,
}

/// Why a table was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// More than 5 % of a column's cells do not parse: the format has changed.
    #[error("{rejected} of {filled} cells of the column `{column}` do not fit")]
    RejectedCells {
        /// Name in the contract; the worst one.
        column: String,
        /// Cells that did not parse.
        rejected: u64,
        /// Cells that hold something.
        filled: u64,
    },
    /// More than 5 % of the rows lack a key: the layout has changed.
    #[error("{quarantined} of {rows} rows have no value in a key column")]
    RowsWithoutKey {
        /// Rows without their key.
        quarantined: u64,
        /// Rows with something in them.
        rows: u64,
    },
    /// A key column that only the task knows was not given.
    #[error("the task does not name `{column}`, which is part of the key")]
    MissingLineage {
        /// Name in the contract.
        column: String,
    },
    /// More than a record batch can hold.
    #[error("there are more {what} than one batch can hold")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
    },
}
