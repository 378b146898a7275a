//! The parsed form of a workbook or of a report's list: a header, then rows of untyped cells, one
//! by one.
//!
//! `decode` produces tables and `normalize` consumes them. Neither knows the other. No table has to
//! be in memory as a whole. Several readers can use the same trait, so that their rows can be
//! compared.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One cell as the source has it. Its only type is the one of the file format.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Empty,
    /// Text. It may be empty and is never trimmed.
    Text(Cow<'a, str>),
    /// A number without a date format. It may be NaN or infinite.
    Number(f64),
    /// A boolean cell.
    Bool(bool),
    /// A number with a date or time format: days since the workbook's epoch.
    Date {
        /// Days. The fraction is the time of day.
        days: f64,
        /// Whether the epoch is 1904-01-01 instead of 1900-01-00.
        is_1904: bool,
    },
    /// A number with a format for elapsed time (`[h]:mm:ss`), in days.
    Elapsed {
        /// Days, with a fraction.
        days: f64,
    },
    /// A formula's error, such as `#N/A` or `#SPILL!`.
    Error(ErrorText),
    /// The cell says that it has a value, and the file does not have it: a formula that was never
    /// computed, or a text in the wrong place.
    Unstored,
}

/// The text of a formula's error. It has no memory of its own: cells are moved and dropped by the
/// million, and a second variant that owns something would make that slower for all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorText {
    length: u8,
    bytes: [u8; 15],
}

impl ErrorText {
    /// The error with this text. All that are known have up to 13 bytes; a longer one is cut.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; 15];
        let text = &text[..text.floor_char_boundary(bytes.len())];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let length = u8::try_from(text.len()).unwrap_or_default();
        Self { length, bytes }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // It was cut between characters.
        str::from_utf8(&self.bytes[..self.length.into()]).unwrap_or_default()
    }
}

impl From<&str> for ErrorText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for ErrorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

const _: () = assert!(size_of::<Cell<'_>>() == size_of::<Cow<'_, str>>());

impl Cell<'_> {
    /// The same cell with a text of its own.
    #[must_use]
    pub fn to_static(&self) -> Cell<'static> {
        match self {
            Self::Empty => Cell::Empty,
            Self::Text(text) => Cell::Text(Cow::Owned(text.clone().into_owned())),
            Self::Number(number) => Cell::Number(*number),
            Self::Bool(value) => Cell::Bool(*value),
            Self::Date { days, is_1904 } => Cell::Date {
                days: *days,
                is_1904: *is_1904,
            },
            Self::Elapsed { days } => Cell::Elapsed { days: *days },
            Self::Error(text) => Cell::Error(*text),
            Self::Unstored => Cell::Unstored,
        }
    }

    /// Whether the cell has no value or an empty text.
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
    /// 1-based row of the header. `None` for a list, whose rows are counted from 0.
    pub row: Option<u32>,
    /// All columns from the sheet's first one on. There are no gaps, so the index is the column in
    /// the sheet.
    pub columns: Vec<HeaderColumn>,
}

/// One column of a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderColumn {
    /// The text as it came. Empty if the header row has none.
    pub text: String,
    /// Index of the contract's column that it names, if any.
    pub column: Option<usize>,
}

/// Takes a table, row by row.
pub trait RowSink {
    /// Begins a sheet or list whose header was recognised. The rows that follow belong to it.
    fn sheet(&mut self, header: &Header);

    /// Takes the next row: its 1-based number in the sheet (or 0-based index in a list) and its
    /// cells, at the positions of the header. There may be fewer or more cells than the header has
    /// columns.
    fn row(&mut self, number: u32, cells: &[Cell<'_>]);

    /// Takes a row that was searched for the header of the sheet with this name and is none. If the
    /// sheet has one, [`Self::sheet`] follows. If it has none, it is skipped, and this is all that
    /// is told of it.
    fn above(&mut self, _sheet: &str, _cells: &[Cell<'_>]) {}

    /// Forgets all sheets and rows, because another reader starts from the beginning.
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
    fn a_long_error_is_cut_between_characters() {
        for (text, kept) in [
            ("", ""),
            ("#N/A", "#N/A"),
            ("#GETTING_DATA", "#GETTING_DATA"),
            ("#0123456789ABCDEF", "#0123456789ABCD"),
            ("错错错错错错", "错错错错错"),
            ("a错错错错错", "a错错错错"),
        ] {
            assert_eq!(ErrorText::new(text).as_str(), kept);
        }
    }

    #[test]
    fn cells_are_named_as_spreadsheets_name_them() {
        assert_eq!(cell_name(11, 5), "F12");
        assert_eq!(cell_name(0, 25), "Z1");
        assert_eq!(cell_name(0, 26), "AA1");
        assert_eq!(cell_name(1_048_575, 16_383), "XFD1048576");
        assert_eq!(cell_name(u32::MAX, 701), "ZZ4294967296");
    }
}
