//! Maps one sheet's columns to the contract's, and gives the others their keys in `_extra`.

use crate::column::ColumnKind;
use crate::contract::Contract;
use crate::table::{Cell, Header, column_name};

/// How the current sheet's columns map to the contract's.
#[derive(Debug, Default)]
pub(super) struct SheetMapping {
    pub(super) name: String,
    pub(super) is_list: bool,
    /// For each column of the contract, its position in the sheet.
    pub(super) positions: Vec<Option<usize>>,
    /// For each column of the sheet, its key in `_extra`.
    pub(super) keys: Vec<String>,
    /// Columns that the contract does not know, from left to right.
    pub(super) unknown: Vec<UnknownColumn>,
    /// Positions of the columns that no row can be without, a date-time first: no header begins
    /// with a digit, and nearly every date-time does.
    required: Vec<usize>,
}

/// A column of a sheet that the contract does not know.
#[derive(Debug)]
pub(super) struct UnknownColumn {
    pub(super) position: usize,
    /// Whether it is listed in the findings. A column without a header is listed when its first
    /// cell comes.
    pub(super) is_noted: bool,
}

impl SheetMapping {
    pub(super) fn new(header: &Header, contract: &Contract) -> Self {
        let mut sheet = Self {
            name: header.sheet.clone(),
            is_list: header.row.is_none(),
            positions: vec![None; contract.columns.len()],
            keys: Vec::with_capacity(header.columns.len()),
            unknown: Vec::new(),
            required: Vec::new(),
        };
        for (position, column) in header.columns.iter().enumerate() {
            match column.column {
                Some(index) => {
                    sheet.positions[index] = Some(position);
                    sheet.keys.push(column.text.clone());
                }
                None => sheet.push_unknown(position, &column.text),
            }
        }
        let mut required: Vec<usize> = contract.required_in_sheet().collect();
        required.sort_by_key(|index| contract.columns[*index].kind != ColumnKind::Time);
        let places = required.iter().filter_map(|index| sheet.positions[*index]);
        sheet.required = places.collect();
        sheet
    }

    /// Whether a row is the header once more, as on every page of a print.
    pub(super) fn is_header_again(&self, cells: &[Cell<'_>], contract: &Contract) -> bool {
        let text_at = |position: usize| match cells.get(position) {
            Some(Cell::Text(text)) => text.as_ref(),
            _ => "",
        };
        let may_be = |position: &usize| {
            let first = text_at(*position).as_bytes().first();
            first.is_some_and(|byte| !byte.is_ascii_digit())
        };
        if self.is_list || self.required.is_empty() || !self.required.iter().all(may_be) {
            return false;
        }
        (0..).zip(&self.positions).all(|(index, position)| {
            position.is_none_or(|at| contract.column_of_header(text_at(at)) == Some(index))
        })
    }

    /// Adds the next unknown column. Its key is the header's text, or its letters if there is no
    /// text. A key is made unique, because the keys of a map must be.
    pub(super) fn push_unknown(&mut self, position: usize, text: &str) {
        let letters = column_name(u32::try_from(position).unwrap_or(u32::MAX));
        let key = match text {
            "" => format!("column {letters}"),
            text if self.keys.iter().any(|key| key == text) => format!("{text} (column {letters})"),
            text => text.to_owned(),
        };
        self.keys.push(key);
        self.unknown.push(UnknownColumn {
            position,
            is_noted: !text.is_empty(),
        });
    }
}
