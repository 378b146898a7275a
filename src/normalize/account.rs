//! What is to be told of a source beside its single cells: columns that only one of its sheets
//! lacks, rows that are there twice, and sheets that go on where another one ended, without a
//! header.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};

use super::Context;
use super::column::{Appended, ColumnBuilder};
use super::quick::Offsets;
use super::sheet::SheetMapping;
use crate::column::{ColumnSource, Key};
use crate::contract::Contract;
use crate::table::Cell;

/// Rows without a header that are remembered. Only a few are needed of a sheet.
const MAX_REMEMBERED: usize = 400;
/// Columns of them.
const MAX_COLUMNS: usize = 512;

/// The account of a source while it is read.
#[derive(Default)]
pub(super) struct Account {
    sheets: Vec<SheetAccount>,
    /// The columns of the first sheet with a header, by the contract's columns.
    first: Option<Vec<Option<usize>>>,
    /// Rows in which a header was looked for.
    above: Vec<RowAbove>,
    /// Hashes of the rows' natural keys.
    keys: Vec<u64>,
}

/// One sheet with a header.
struct SheetAccount {
    name: String,
    /// Columns of the contract that it lacks.
    lacks: Vec<usize>,
    /// Rows in the batches when it began.
    rows_before: u64,
}

/// A row in which a header was looked for.
struct RowAbove {
    sheet: String,
    cells: Vec<Cell<'static>>,
}

impl Account {
    /// Begins a sheet whose header was found, behind so many rows of other sheets.
    pub(super) fn sheet(&mut self, sheet: &SheetMapping, contract: &Contract, rows_before: u64) {
        let columns = contract.columns.iter().zip(&sheet.positions).enumerate();
        let lacks = columns.filter(|(_, (column, position))| {
            column.source == ColumnSource::Sheet && !column.is_sparse && position.is_none()
        });
        self.sheets.push(SheetAccount {
            name: sheet.name.clone(),
            lacks: lacks.map(|(index, _)| index).collect(),
            rows_before,
        });
        self.first.get_or_insert_with(|| sheet.positions.clone());
        // They are what stands above the header.
        self.above.retain(|row| row.sheet != sheet.name);
    }

    /// Takes a row that was searched for a header and is none.
    pub(super) fn above(&mut self, sheet: &str, cells: &[Cell<'_>]) {
        if self.above.len() < MAX_REMEMBERED {
            let cells = cells.iter().take(MAX_COLUMNS);
            self.above.push(RowAbove {
                sheet: sheet.to_owned(),
                cells: cells.map(Cell::to_static).collect(),
            });
        }
    }

    /// Takes the natural keys of these finished rows.
    pub(super) fn keys_of(&mut self, columns: &[(Key, ArrayRef)], rows: &[u32]) {
        let columns: Vec<&ArrayRef> = columns
            .iter()
            .filter(|(key, _)| *key != Key::No)
            .map(|(_, array)| array)
            .collect();
        if columns.is_empty() {
            return;
        }
        self.keys.extend(rows.iter().map(|row| {
            let mut hash = DefaultHasher::new();
            for array in &columns {
                hash_value(array, *row as usize, &mut hash);
            }
            hash.finish()
        }));
    }

    /// How many rows have a natural key that an earlier one had.
    pub(super) fn repeated(&mut self) -> u64 {
        self.keys.sort_unstable();
        let pairs = self.keys.windows(2);
        pairs.filter(|pair| pair[0] == pair[1]).count() as u64
    }

    /// The names of columns that a sheet with rows lacks and another sheet has.
    pub(super) fn missing_in_sheets(
        &self,
        contract: &Contract,
        rows: u64,
    ) -> BTreeMap<String, Vec<String>> {
        let ends = self.sheets.iter().skip(1).map(|next| next.rows_before);
        let ends = ends.chain([rows]);
        let all_lack = |index: &usize| self.sheets.iter().all(|s| s.lacks.contains(index));
        let mut missing = BTreeMap::new();
        for (sheet, end) in self.sheets.iter().zip(ends) {
            let names = sheet.lacks.iter().filter(|index| !all_lack(index));
            let names: Vec<_> = names
                .map(|index| contract.columns[*index].name.clone())
                .collect();
            if end > sheet.rows_before && !names.is_empty() {
                missing.insert(sheet.name.clone(), names);
            }
        }
        missing
    }

    /// The first sheet without a header in which a row fits the columns of one with a header: there
    /// its rows go on.
    pub(super) fn sheet_without_header(&self, context: &Context) -> Option<String> {
        let positions = self.first.as_ref()?;
        let row = self.above.iter();
        let row = row.filter(|row| fits(&row.cells, positions, context));
        row.map(|row| row.sheet.clone()).next()
    }
}

/// Whether a row has a value in each column that no row can be without, and something in half of all
/// columns: two cells alone may as well say when the workbook was made.
fn fits(cells: &[Cell<'_>], positions: &[Option<usize>], context: &Context) -> bool {
    let columns = positions.iter().flatten();
    let filled = columns.clone().filter(|position| {
        let cell = cells.get(**position);
        cell.is_some_and(|cell| !cell.is_empty())
    });
    if filled.count() * 2 < columns.count() {
        return false;
    }
    let mut offsets = Offsets::new(&context.time_zone);
    context.contract.required_in_sheet().all(|index| {
        let cell = positions[index].and_then(|position| cells.get(position));
        let mut column = ColumnBuilder::new(&context.contract.columns[index], 1);
        cell.is_some_and(|cell| column.append(cell, context, &mut offsets) == Ok(Appended::Value))
    })
}

/// Hashes a value of a key. Null is a value too.
fn hash_value(array: &ArrayRef, row: usize, hash: &mut DefaultHasher) {
    let is_valid = array.is_valid(row);
    is_valid.hash(hash);
    if !is_valid {
        return;
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).hash(hash),
        DataType::Timestamp(..) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            times.value(row).hash(hash);
        }
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).hash(hash),
        // Other keys are compared by what they are as text.
        _ => arrow::util::display::array_value_to_string(array, row)
            .unwrap_or_default()
            .hash(hash),
    }
}
