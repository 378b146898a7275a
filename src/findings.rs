//! What normalizing found beside the rows: what did not fit, what is missing, what is new.
//!
//! Places and reasons, never values. The ledger keeps one of these a task, so it is ground.

mod comparison;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use comparison::{ComparedRow, Comparison, Witness};

/// Why a cell or its row does not fit the contract. Never holds the cell's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The text is not a known form of a date-time.
    #[error("is no date-time")]
    NotATime,
    /// A number without a date format, which could mean anything.
    #[error("is a plain number where a date-time is due")]
    PlainNumberAsTime,
    /// A date, offset or duration that does not exist or that no meeting has.
    #[error("is out of range")]
    OutOfRange,
    /// The text is not `HH:MM:SS`.
    #[error("is no duration like 01:02:03")]
    NotADuration,
    /// Not a whole number.
    #[error("is no whole number")]
    NotAnInteger,
    /// A count below zero.
    #[error("is below zero")]
    Negative,
    /// The cell means neither yes nor no.
    #[error("is neither yes nor no")]
    NotABool,
    /// Not a JSON array of texts and numbers.
    #[error("is no list of texts")]
    NotAList,
    /// The text is not a number with a unit.
    #[error("is no measurement")]
    NotAMeasurement,
    /// A number without its unit.
    #[error("is a number without its unit")]
    NoUnit,
    /// A number that cannot be an id, or has lost digits.
    #[error("is a number that cannot be an exact id")]
    InexactId,
    /// A boolean, date or duration cell, which is never an id.
    #[error("is no id")]
    NotAnId,
    /// NaN or infinite.
    #[error("is not finite")]
    NotFinite,
    /// The cell holds a formula's error such as `#N/A`.
    #[error("holds a formula's error")]
    FormulaError,
    /// The cell says that it has a value, such as a formula's, and the file does not have it.
    #[error("has no stored value; open the workbook in a spreadsheet program and save it")]
    NoStoredValue,
    /// The text of a meeting number is no run of digits.
    #[error("is no meeting number, which is a run of digits")]
    NotAMeetingNumber,
    /// The row has no value in a column of its key.
    #[error("is empty, and no row can be without it")]
    MissingKey,
}

/// This many rejects are named; all are counted.
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
    /// Rows that repeat the header of their sheet, as on every page of a print.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_header: u64,
    /// Rows with the natural key of an earlier row of the same source. All are in the batch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_repeated: u64,
    /// Rows that may say something else later, such as a recording that is still being processed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_provisional: u64,
    /// Rows that tell of something unfinished, such as a meeting that goes on, however long after
    /// its end they were asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_unfinished: u64,
    /// Items of a listing that are hidden from the app, and have no row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub items_hidden: u64,
    /// Sheets with rows that a program which shows the workbook hides. Their rows are in the batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden_sheets: Vec<String>,
    /// Columns that a sheet lacks and another one has, by sheet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing_in_sheets: BTreeMap<String, Vec<String>>,
    /// What the fast reader does not know, where calamine read the workbook instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to_calamine: Option<String>,
    /// How its rows compare with those of the other source, where that was to be asked too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Comparison>,
    /// SHA-256 of the other source's answer, once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
}

/// Whether a count is left out of JSON, so that records from before it was counted stay the same.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
pub(crate) const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Findings {
    /// What is to be told of a source's sheets and rows beside its cells: each time what it is, and
    /// how many or which.
    #[must_use]
    pub fn remarks(&self) -> Vec<(String, String)> {
        let count = |what: &str, number: u64| (what.to_owned(), number.to_string());
        let mut remarks = vec![
            count("rows skipped that repeat the header", self.rows_header),
            count(
                "rows that repeat the natural key of another row, all kept",
                self.rows_repeated,
            ),
        ];
        remarks.retain(|(_, number)| number != "0");
        if !self.hidden_sheets.is_empty() {
            let what = "hidden sheets, whose rows are kept too".to_owned();
            remarks.push((what, self.hidden_sheets.join(", ")));
        }
        let sheets = self.missing_in_sheets.iter();
        remarks.extend(
            sheets
                .map(|(sheet, columns)| (format!("missing in sheet {sheet}"), columns.join(", "))),
        );
        remarks
    }

    /// What the rows were compared with; `None` if nothing else was to be asked.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        self.compared.as_ref()?;
        let sha256 = self.witness.clone();
        Some(sha256.map_or(Witness::Unanswered, Witness::Sha256))
    }

    pub(crate) fn add_reject(&mut self, reject: Reject) {
        if self.rejects.len() < NAMED {
            self.rejects.push(reject);
        } else {
            self.rejects_unnamed += 1;
        }
    }
}

/// What normalizing found in several tables together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingsSummary {
    /// Cells that did not parse, by column.
    pub rejects: BTreeMap<String, u64>,
    /// Columns in which not one row of any table has a value.
    pub blank_columns: BTreeSet<String>,
    /// Headers that no column of the contract has.
    pub unknown_columns: BTreeSet<String>,
}

impl FindingsSummary {
    /// Adds up the findings of several tables. Tables without rows say nothing of blank columns.
    pub fn of<'f>(all: impl IntoIterator<Item = &'f Findings>) -> Self {
        let mut summary = Self::default();
        let mut is_first = true;
        for findings in all {
            for reject in &findings.rejects {
                *summary.rejects.entry(reject.column.clone()).or_default() += 1;
            }
            let unknown = findings.extra_columns.iter().cloned();
            summary.unknown_columns.extend(unknown);
            if findings.rows_out == 0 {
                continue;
            }
            if std::mem::take(&mut is_first) {
                summary.blank_columns = findings.blank_columns.iter().cloned().collect();
            }
            let is_blank = |column: &String| findings.blank_columns.contains(column);
            summary.blank_columns.retain(is_blank);
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_made_of_what_there_is() {
        assert_eq!(Findings::default().remarks(), []);
        let findings = Findings {
            rows_header: 5,
            rows_repeated: 1,
            hidden_sheets: vec!["备份".to_owned()],
            missing_in_sheets: BTreeMap::from([("S2".to_owned(), vec!["topic".to_owned()])]),
            ..Findings::default()
        };
        let values = findings.remarks().into_iter().map(|(_, value)| value);
        assert_eq!(values.collect::<Vec<_>>(), ["5", "1", "备份", "topic"]);
    }

    #[test]
    fn a_summary_counts_rejects_and_calls_blank_what_is_blank_in_every_table_with_rows() {
        let table = |rows_out, blank: &[&str], rejects: &[&str], extra: &[&str]| Findings {
            rows_out,
            blank_columns: blank.iter().map(ToString::to_string).collect(),
            rejects: rejects
                .iter()
                .map(|column| Reject {
                    sheet: "1".into(),
                    cell: "A1".into(),
                    column: (*column).into(),
                    reason: Fault::NotATime,
                })
                .collect(),
            extra_columns: extra.iter().map(ToString::to_string).collect(),
            ..Findings::default()
        };
        let all = [
            table(0, &[], &["a"], &["x"]),
            table(2, &["b", "c"], &["a", "b"], &[]),
            table(3, &["c", "d"], &[], &["y", "x"]),
        ];
        let summary = FindingsSummary::of(&all);
        let set = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        assert_eq!(
            summary.rejects,
            BTreeMap::from([("a".into(), 2), ("b".into(), 1)])
        );
        assert_eq!(summary.blank_columns, set(&["c"]));
        assert_eq!(summary.unknown_columns, set(&["x", "y"]));
        assert_eq!(FindingsSummary::of(&all[..1]).blank_columns, set(&[]));
        assert_eq!(FindingsSummary::of([]), FindingsSummary::default());
    }
}
