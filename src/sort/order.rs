//! How rows compare, and batches with the keys of their rows.

use std::cmp::Ordering;

use arrow::array::{
    Array, ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, Row, RowConverter, Rows, SortField};

use crate::contract::lineage;

/// The order of the rows of a table: ascending by the key columns, nulls first, then by task key
/// and source row. A column that the table lacks is the same in every row.
///
/// Task key and source row are compared only where the keys are equal, so they are no part of the
/// encoded keys: most rows never need them, and a task key is longer than many a row.
pub struct RowOrder {
    schema: SchemaRef,
    keys: RowConverter,
    key_columns: Vec<usize>,
    task_key: Option<usize>,
    source_row: Option<usize>,
}

/// A batch and the key of each of its rows.
pub(super) struct KeyedBatch {
    pub(super) batch: RecordBatch,
    keys: Rows,
}

/// A row of a batch.
pub(super) type RowInBatch<'b> = (&'b KeyedBatch, usize);

/// The place of a row in the order, without its batch.
pub(super) struct RowPlace {
    key: OwnedRow,
    task_key: Option<String>,
    source_row: Option<i64>,
}

impl KeyedBatch {
    pub(super) fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    pub(super) fn prefix(&self, row: usize) -> u128 {
        prefix(&self.keys.row(row))
    }
}

impl RowOrder {
    /// The order of rows with `schema` by the columns `key`.
    ///
    /// # Errors
    /// If a column cannot be sorted by.
    pub fn new<'k>(
        schema: SchemaRef,
        key: impl Iterator<Item = &'k str>,
    ) -> Result<Self, ArrowError> {
        let key_columns: Vec<usize> = key.filter_map(|name| schema.index_of(name).ok()).collect();
        let field = |&column: &usize| SortField::new(schema.field(column).data_type().clone());
        Ok(Self {
            keys: RowConverter::new(key_columns.iter().map(field).collect())?,
            key_columns,
            task_key: schema.index_of(lineage::TASK_KEY).ok(),
            source_row: schema.index_of(lineage::SOURCE_ROW).ok(),
            schema,
        })
    }

    pub(super) fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// The natural keys of the rows of a batch; equal keys are equal rows.
    ///
    /// # Errors
    /// If the batch has other columns.
    pub fn keys_of(&self, batch: &RecordBatch) -> Result<Rows, ArrowError> {
        let columns = self.key_columns.iter();
        let columns: Vec<_> = columns.map(|&i| ArrayRef::clone(batch.column(i))).collect();
        if columns.is_empty() {
            // All keys are alike.
            let row = new_null_array(&DataType::Null, batch.num_rows());
            let field = SortField::new(DataType::Null);
            return RowConverter::new(vec![field])?.convert_columns(&[row]);
        }
        self.keys.convert_columns(&columns)
    }

    pub(super) fn keyed(&self, batch: RecordBatch) -> Result<KeyedBatch, ArrowError> {
        let keys = self.keys_of(&batch)?;
        Ok(KeyedBatch { batch, keys })
    }

    pub(super) fn compare(&self, a: RowInBatch<'_>, b: RowInBatch<'_>) -> Ordering {
        let by_key = a.0.keys.row(a.1).cmp(&b.0.keys.row(b.1));
        by_key.then_with(|| self.tie(a).cmp(&self.tie(b)))
    }

    /// What orders rows with the same natural key.
    fn tie<'b>(&self, (keyed, row): RowInBatch<'b>) -> (Option<&'b str>, Option<i64>) {
        let task_key = self.task_key.and_then(|column| {
            let texts = keyed.batch.column(column).as_string_opt::<i32>()?;
            texts.is_valid(row).then(|| texts.value(row))
        });
        let source_row = self.source_row.and_then(|column| {
            let numbers = keyed.batch.column(column).as_primitive_opt::<Int64Type>()?;
            numbers.is_valid(row).then(|| numbers.value(row))
        });
        (task_key, source_row)
    }

    pub(super) fn is_sorted(&self, keyed: &KeyedBatch) -> bool {
        (1..keyed.num_rows()).all(|row| self.compare((keyed, row - 1), (keyed, row)).is_le())
    }

    pub(super) fn place(&self, keyed: &KeyedBatch, row: usize) -> RowPlace {
        let (task_key, source_row) = self.tie((keyed, row));
        RowPlace {
            key: keyed.keys.row(row).owned(),
            task_key: task_key.map(str::to_owned),
            source_row,
        }
    }

    /// Whether a row does not come before `last`.
    pub(super) fn is_behind(&self, keyed: &KeyedBatch, row: usize, last: &RowPlace) -> bool {
        let by_key = last.key.row().cmp(&keyed.keys.row(row));
        let tie = (last.task_key.as_deref(), last.source_row);
        by_key
            .then_with(|| tie.cmp(&self.tie((keyed, row))))
            .is_le()
    }

    /// The rows of the batches in order, from position `start` to `end`.
    pub(super) fn rows_in_order(
        &self,
        batches: &[KeyedBatch],
        start: usize,
        end: usize,
    ) -> Result<KeyedBatch, ArrowError> {
        let addresses = sorted_addresses(self, batches);
        let batches: Vec<RecordBatch> = batches.iter().map(|keyed| keyed.batch.clone()).collect();
        self.keyed(gather(&self.schema, &batches, &addresses[start..end])?)
    }
}

/// Where a row is: the index of its batch, and the index of the row in that batch.
pub(super) type RowAddress = (usize, usize);

/// The addresses of all rows in order. Rows that compare equal keep the order they came in.
pub(super) fn sorted_addresses(order: &RowOrder, batches: &[KeyedBatch]) -> Vec<RowAddress> {
    let rows = batches.iter().map(KeyedBatch::num_rows).sum();
    let mut addresses: Vec<(u128, u32, u32)> = Vec::with_capacity(rows);
    for (slot, keyed) in (0u32..).zip(batches) {
        let rows = (0u32..).zip(keyed.keys.iter());
        addresses.extend(rows.map(|(row, key)| (prefix(&key), slot, row)));
    }
    let position = |&(_, slot, row): &(u128, u32, u32)| (&batches[slot as usize], row as usize);
    addresses.sort_unstable_by(|a, b| {
        let by_prefix = a.0.cmp(&b.0);
        let by_row = by_prefix.then_with(|| order.compare(position(a), position(b)));
        by_row.then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    });
    addresses
        .into_iter()
        .map(|(_, slot, row)| (slot as usize, row as usize))
        .collect()
}

/// The first sixteen bytes of a key. If they differ, the keys compare the same way.
fn prefix(key: &Row<'_>) -> u128 {
    let bytes = key.data();
    let mut first = [0; 16];
    let length = bytes.len().min(16);
    first[..length].copy_from_slice(&bytes[..length]);
    u128::from_be_bytes(first)
}

/// The rows at `addresses`. A column without values is not gathered.
pub(super) fn gather(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    addresses: &[RowAddress],
) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().enumerate().map(|(index, field)| {
        let column = |batch: &RecordBatch| ArrayRef::clone(batch.column(index));
        let arrays: Vec<ArrayRef> = batches.iter().map(column).collect();
        if arrays.iter().all(|array| array.null_count() == array.len()) {
            return Ok(new_null_array(field.data_type(), addresses.len()));
        }
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        interleave(&arrays, addresses)
    });
    let columns = columns.collect::<Result<_, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(addresses.len()));
    RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &rows)
}
