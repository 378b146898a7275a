//! The parsed form of a workbook or of a report's list: a header, then rows of untyped cells, handed over one by one.
//!
//! `decode` produces it and `normalize` consumes it; neither knows the other, and no table is ever held in memory as a whole. Another
//! reader can stand behind the same trait and be compared with the first.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// One cell as the source has it, untyped beyond what the file format itself says.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Nothing there.
    Empty,
    /// Text, possibly empty, never trimmed.
    Text(Cow<'a, str>),
    /// A number without a date format; may be NaN or infinite.
    Number(f64),
    /// A boolean cell.
    Bool(bool),
    /// A number with a date or time format: days since the workbook's epoch.
    Date {
        /// Days, with the time of day as fraction.
        days: f64,
        /// Whether the epoch is 1904-01-01 and not 1900-01-00.
        is_1904: bool,
    },
    /// A number with an elapsed-time format (`[h]:mm:ss`): days.
    Elapsed {
        /// Days, with the rest as fraction.
        days: f64,
    },
    /// A formula's error (`#N/A`).
    Error(&'static str),
}

impl Cell<'_> {
    /// Whether there is nothing in it: no cell, or empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Text(text) => text.is_empty(),
            _ => false,
        }
    }
}

/// The header of one sheet, or the field names of one list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name of the sheet, or path of the list in its JSON document.
    pub sheet: String,
    /// 1-based row of the header; `None` for a list, whose rows are counted from 0.
    pub row: Option<u32>,
    /// The columns, from the sheet's first one; without gaps, so that the position is the sheet's column.
    pub columns: Vec<HeaderColumn>,
}

/// One column of a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderColumn {
    /// The text as it came; empty where the header row has none.
    pub text: String,
    /// Index of the column of the contract that it names.
    pub column: Option<usize>,
}

/// What takes a table, row by row.
pub trait RowSink {
    /// A sheet (or list) whose header was recognised begins; the rows that follow are its own.
    fn sheet(&mut self, header: &Header);

    /// The next row: its 1-based number in the sheet (0-based index in a list) and its cells, in the positions of the header. There may be
    /// fewer cells than the header has columns, and more.
    fn row(&mut self, number: u32, cells: &[Cell<'_>]);

    /// Forgets all sheets and rows: another reader begins again.
    fn restart(&mut self);
}

/// The name of a cell as spreadsheet programs show it, from 0-based positions: `(11, 5)` is `F12`.
#[must_use]
pub fn cell_name(row: u32, column: u32) -> String {
    format!("{}{}", column_name(column), u64::from(row) + 1)
}

/// The letters of a 0-based column: 0 is `A`, 26 is `AA`.
#[must_use]
pub fn column_name(column: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = u64::from(column) + 1;
    while rest > 0 {
        let digit = u8::try_from((rest - 1) % 26).expect("a remainder of 26 fits");
        letters.push(char::from(b'A' + digit));
        rest = (rest - 1) / 26;
    }
    letters.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_named_as_spreadsheets_name_them() {
        assert_eq!(cell_name(11, 5), "F12");
        assert_eq!(cell_name(0, 25), "Z1");
        assert_eq!(cell_name(0, 26), "AA1");
        assert_eq!(cell_name(1_048_575, 16_383), "XFD1048576");
        assert_eq!(cell_name(u32::MAX, 701), "ZZ4294967296");
    }
}
