//! Why a table is refused whole.

use super::Findings;

/// A table that was refused whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Quarantine {
    /// Why.
    pub reason: QuarantineReason,
    /// What was found until then.
    pub findings: Findings,
}

/// Why a table was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuarantineReason {
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
    /// The rows go on in a sheet that has no header.
    #[error(
        "sheet `{sheet}` has no header, and its rows look like those of the sheets that have one; \
         write the header above them, or take the sheet out if its rows are not meant"
    )]
    SheetWithoutHeader {
        /// Name of the sheet.
        sheet: String,
    },
    /// More than a record batch can hold.
    #[error("there are more {what} than one batch can hold")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
    },
}
