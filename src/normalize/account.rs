//! What is to be told of a source beside its single cells: columns that only one of its sheets
//! lacks, rows that are there twice, and sheets that go on where another one ended, without a
//! header.

use std::collections::BTreeMap;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, TimestampMicrosecondType};

use super::Context;
use super::column::ColumnBuilder;
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

    /// Takes the natural keys of these finished rows. Column by column, because there is a key in
    /// every row.
    pub(super) fn keys_of(&mut self, columns: &[(Key, ArrayRef)], rows: &[u32]) {
        let columns = columns.iter().filter(|(key, _)| *key != Key::No);
        let columns: Vec<&ArrayRef> = columns.map(|(_, array)| array).collect();
        if columns.is_empty() {
            return;
        }
        let from = self.keys.len();
        self.keys.resize(from + rows.len(), 0);
        for array in columns {
            hash_column(array, rows, &mut self.keys[from..]);
        }
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
    context.contract.required_in_sheet().all(|index| {
        let cell = positions[index].and_then(|position| cells.get(position));
        let mut column = ColumnBuilder::new(&context.contract.columns[index], 1);
        cell.is_some_and(|cell| column.fits(cell, context))
    })
}

/// Adds the values of a column to the hashes of these rows. Null is a value too.
fn hash_column(array: &ArrayRef, rows: &[u32], hashes: &mut [u64]) {
    let mut each = |value: &dyn Fn(usize, u64) -> u64| {
        for (hash, row) in hashes.iter_mut().zip(rows) {
            let row = *row as usize;
            *hash = match array.is_valid(row) {
                true => value(row, *hash),
                // Not as any value is mixed in.
                false => mixed(!*hash, 0),
            };
        }
    };
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            each(&|row, hash| mixed_text(hash, texts.value(row)));
        }
        DataType::Timestamp(..) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            each(&|row, hash| mixed(hash, times.value(row).cast_unsigned()));
        }
        // Other keys are compared by what they are as text.
        _ => each(&|row, hash| {
            let text = arrow::util::display::array_value_to_string(array, row);
            mixed_text(hash, &text.unwrap_or_default())
        }),
    }
}

/// Mixes a value into a hash: the two halves of a product, as fast hash functions do. Who makes two
/// keys collide on purpose gains a remark.
fn mixed(hash: u64, value: u64) -> u64 {
    const ODD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93];
    let product = u128::from(hash ^ value ^ ODD[0]) * u128::from(ODD[1] ^ hash.rotate_left(32));
    (product as u64) ^ ((product >> 64) as u64)
}

fn mixed_text(hash: u64, text: &str) -> u64 {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let hash = words
        .iter()
        .fold(mixed(hash, text.len() as u64), |hash, word| {
            mixed(hash, u64::from_le_bytes(*word))
        });
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mixed(hash, u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    /// Keys that differ in one place, and how many of them repeat another one.
    #[test]
    fn a_key_repeats_only_if_all_of_it_is_the_same() {
        let texts = [
            Some(""),
            None,
            Some("a"),
            Some("12345678"),
            Some("123456789"),
            Some("a\0"),
        ];
        let times = [Some(0), None, Some(-1), Some(1_791_756_642_000_000)];
        let numbers = [Some(0), None, Some(7)];
        let mut rows = Vec::new();
        for text in texts {
            for time in times {
                rows.extend(numbers.map(|number| (text, time, number)));
            }
        }
        let different = rows.len();
        assert_eq!(rows.iter().collect::<HashSet<_>>().len(), different);
        rows.extend(rows.clone().iter().step_by(5));
        let again = rows.len() - different;
        let columns: [ArrayRef; 3] = [
            Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>()),
            Arc::new(
                rows.iter()
                    .map(|row| row.1)
                    .collect::<TimestampMicrosecondArray>(),
            ),
            Arc::new(rows.iter().map(|row| row.2).collect::<Int32Array>()),
        ];
        let mut columns: Vec<_> = columns.map(|array| (Key::Part, array)).into();
        columns.push((
            Key::No,
            Arc::new(Int32Array::from_iter_values(0..rows.len() as i32)),
        ));
        let mut account = Account::default();
        let numbers: Vec<u32> = (0..rows.len() as u32).collect();
        // In two batches, and without one row.
        account.keys_of(&columns, &numbers[..40]);
        account.keys_of(&columns, &numbers[40..rows.len() - 1]);
        assert_eq!(account.repeated(), again as u64 - 1);
        // Without a key nothing repeats.
        let mut account = Account::default();
        account.keys_of(&columns[3..], &numbers);
        assert_eq!(account.repeated(), 0);
    }
}
