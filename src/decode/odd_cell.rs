//! Cells that calamine refuses or drops, and how a copy of the workbook carries them past it.
//!
//! calamine hands on the text of a cell of the type `d` (an ISO date) as it is. No export has such
//! cells, so in a copy they carry all odd ones, told apart by the first character.

use std::borrow::Cow;

use crate::table::Cell;

const DATE: char = '=';
const ERROR: char = '!';
const UNSTORED: char = '?';

/// A cell that calamine would not read as what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OddCell<'t> {
    /// An error value that calamine does not know, as it is written.
    Error(&'t [u8]),
    /// A cell of the type `d`, as it is written.
    Date(&'t [u8]),
    /// A formula without a value, or another cell that says it has a value and has none.
    Unstored,
}

impl OddCell<'_> {
    /// The cell as it stands in a copy, at its `reference`, which may be empty.
    pub(super) fn written(self, reference: &[u8]) -> Vec<u8> {
        let (mark, text): (char, &[u8]) = match self {
            Self::Error(text) => (ERROR, text),
            Self::Date(text) => (DATE, text),
            Self::Unstored => (UNSTORED, b""),
        };
        let mut cell = b"<c".to_vec();
        if !reference.is_empty() {
            cell.extend(b" r=\"");
            cell.extend(reference);
            cell.push(b'"');
        }
        cell.extend(b" t=\"d\"><v>");
        cell.extend(mark.to_string().as_bytes());
        cell.extend(text);
        cell.extend(b"</v></c>");
        cell
    }
}

/// The cell of the type `d` with this text in a copy.
pub(super) fn read(text: &str) -> Cell<'static> {
    let mut rest = text.chars();
    let mark = rest.next();
    let text = rest.as_str();
    match mark {
        Some(ERROR) => Cell::Error(text.into()),
        Some(DATE) => Cell::Text(Cow::Owned(text.to_owned())),
        // A copy holds nothing else.
        _ => Cell::Unstored,
    }
}
