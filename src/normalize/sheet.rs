//! How one sheet's columns map to the contract's, and under which keys the others go to `_extra`.

use crate::contract::Contract;
use crate::table::{Header, column_name};

/// How the current sheet's columns map to the contract's.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) name: String,
    pub(super) is_list: bool,
    /// For each column of the contract, where the sheet has it.
    pub(super) positions: Vec<Option<usize>>,
    /// For each column of the sheet, its key in `_extra`.
    pub(super) keys: Vec<String>,
    /// Columns that no contract knows.
    pub(super) unknown: Vec<Unknown>,
}

/// A column of a sheet that no contract knows.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) position: usize,
    /// Whether it is among the findings; one without a header gets there with its first cell.
    pub(super) is_noted: bool,
}

impl Sheet {
    pub(super) fn new(header: &Header, contract: &Contract) -> Self {
        let mut sheet = Self {
            name: header.sheet.clone(),
            is_list: header.row.is_none(),
            positions: vec![None; contract.columns.len()],
            keys: Vec::with_capacity(header.columns.len()),
            unknown: Vec::new(),
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
        sheet
    }

    /// Adds the next column under its header's text, made unique, because a map's keys are; or under its letters.
    pub(super) fn push_unknown(&mut self, position: usize, text: &str) {
        let letters = column_name(u32::try_from(position).unwrap_or(u32::MAX));
        let key = match text {
            "" => format!("column {letters}"),
            text if self.keys.iter().any(|key| key == text) => format!("{text} (column {letters})"),
            text => text.to_owned(),
        };
        self.keys.push(key);
        self.unknown.push(Unknown {
            position,
            is_noted: !text.is_empty(),
        });
    }
}
