//! Normalizing: a table becomes record batches of its contract, with typed columns.
//!
//! ```text
//! decode ──header, rows──► Normalizer ──finish──► Findings, or Quarantine { reason, findings }
//!                              │
//!                              └─ batches of what was read, in the order of the source ─► a
//!                                 consumer that completes and sorts them; the verdict comes at
//!                                 the end
//! ```
//! Columns are found by header. Nothing is dropped silently. A cell that does not parse becomes
//! null, its text goes to `_extra`, and it is counted. A row without its key is left out and
//! listed. A workbook with too many such cells or rows is refused as a whole. The code is pure: it
//! knows nothing of files, running tasks or partitions. Rejects name places and reasons, never
//! values.

mod account;
mod attributes;
pub mod cell;
mod column;
mod constants;
mod context;
mod keys;
mod quarantine;
mod quick;
mod sheet;
pub mod stays;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Builder, MapBuilder, MapFieldNames, RecordBatch, StringBuilder, UInt32Array,
    new_null_array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use jiff::Timestamp;

use crate::column::{Column, ColumnSource, Derivation, Key};
use crate::contract;
#[cfg(any(test, feature = "testing"))]
use crate::contract::Contract;
use crate::table::{Cell, Header, RowSink, cell_name};
use crate::window::{self, Window};

pub use crate::findings::{Fault, Findings, Reject};
use account::Account;
use column::{Appended, ColumnBuilder};
pub use constants::{ConstantColumns, ReadColumns, read_schema};
pub use context::{Buckets, Context, Stamp};
pub use keys::RowKeys;
pub use quarantine::{Quarantine, QuarantineReason};
use quick::Offsets;
use sheet::SheetMapping;

/// Most rows of a table. No export has that many. Rows without a key stay in memory until the next
/// batch, and 64 digits for each of them fit into one string column.
const MAX_ROWS: u32 = 16_000_000;
/// Most bytes of all keys and values of `_extra` together. One batch may hold all of them: half of
/// what an Arrow string column can hold.
const MAX_EXTRA_BYTES: usize = 1 << 30;

/// Rows of a batch. The Parquet writer takes as many at once.
pub const BATCH_ROWS: usize = 8_192;
/// Rows that there is room for at first. Most workbooks have a few dozen.
const FEW_ROWS: usize = 64;

/// What a normalizer emits.
#[derive(Debug)]
pub enum NormalizerOutput {
    /// The next rows, in the order of the source. The columns are those of [`read_schema`]. There
    /// are [`BATCH_ROWS`] rows, or fewer at the end.
    Rows(RecordBatch),
    /// All rows so far are void: the source is read again from its beginning.
    Restart,
}

/// A normalized table, whole: for tests of what becomes of it.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone)]
pub struct Normalized {
    /// The rows in the contract's schema, in ascending order of natural key (nulls first), then of
    /// source row.
    pub batch: RecordBatch,
    /// What did not fit the contract, and which columns were missing or unknown.
    pub findings: Findings,
}

/// What a cell gave its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellOutcome {
    Value,
    /// Null, because there is nothing in it.
    Nothing,
    /// Null, because it does not fit; it has been named.
    Named,
}

/// Takes the rows of one workbook, report or listing, and emits batches on the way.
pub struct Normalizer<'c> {
    context: &'c Context,
    /// Takes the batches.
    out: Box<dyn FnMut(NormalizerOutput) + 'c>,
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    /// Index of the column that gives a report's bucket its start. `None` without such buckets.
    bucket_start: Option<usize>,
    offsets: Offsets,
    sheet: SheetMapping,
    source_row: Int64Builder,
    /// Created by the first row of a batch that needs it.
    extra: Option<MapBuilder<StringBuilder, StringBuilder>>,
    extra_bytes: usize,
    /// Positions of the cells of the current row that go to `_extra`.
    leftover: Vec<usize>,
    /// Rows in the builders.
    rows: u32,
    /// Rows of earlier batches, with and without a key.
    rows_before: u32,
    /// Indexes of the rows in the builders that have a key. The others are left out.
    kept: Vec<u32>,
    extra_columns: BTreeSet<String>,
    overflow: Option<&'static str>,
    account: Account,
    findings: Findings,
}

impl<'c> Normalizer<'c> {
    /// An empty normalizer that passes batches to `out` as rows come.
    #[must_use]
    pub fn new(context: &'c Context, out: impl FnMut(NormalizerOutput) + 'c) -> Self {
        Self::with(context, Box::new(out))
    }

    fn with(context: &'c Context, out: Box<dyn FnMut(NormalizerOutput) + 'c>) -> Self {
        let columns = &context.contract.columns;
        Self {
            context,
            out,
            schema: read_schema(context.contract),
            columns: columns
                .iter()
                .map(|column| ColumnBuilder::new(column, FEW_ROWS))
                .collect(),
            bucket_start: bucket_start(columns),
            offsets: Offsets::new(&context.time_zone),
            sheet: SheetMapping::default(),
            source_row: Int64Builder::with_capacity(FEW_ROWS),
            extra: None,
            extra_bytes: 0,
            leftover: Vec::new(),
            rows: 0,
            rows_before: 0,
            kept: Vec::with_capacity(FEW_ROWS),
            extra_columns: BTreeSet::new(),
            overflow: None,
            account: Account::default(),
            findings: Findings::default(),
        }
    }

    /// Ends the table: emits the last batch and returns the findings.
    ///
    /// # Errors
    /// The table as a whole does not fit its contract: see [`QuarantineReason`]. The rows that were
    /// emitted are void then.
    pub fn finish(mut self) -> Result<Findings, Box<Quarantine>> {
        self.check_verdict()?;
        if !self.kept.is_empty() {
            self.emit_batch(false);
        }
        self.findings.rows_repeated = self.account.repeated();
        Ok(self.findings)
    }

    fn check_verdict(&mut self) -> Result<(), Box<Quarantine>> {
        self.note_columns();
        let Some(reason) = self.verdict() else {
            return Ok(());
        };
        let findings = std::mem::take(&mut self.findings);
        Err(Box::new(Quarantine { reason, findings }))
    }

    fn emit_batch(&mut self, more_come: bool) {
        let batch = self.take_batch(more_come);
        (self.out)(NormalizerOutput::Rows(batch));
    }

    /// Takes the rows with a key out of the builders, in the order of the source. If more come,
    /// the builders get room for a whole batch.
    fn take_batch(&mut self, more_come: bool) -> RecordBatch {
        let rows = std::mem::take(&mut self.rows);
        let columns = self.context.contract.columns.iter().zip(&mut self.columns);
        let (mut arrays, mut attributes): (Vec<ArrayRef>, _) = (Vec::new(), Vec::new());
        let mut keys = Vec::new();
        for (column, state) in columns {
            let array = match column.source {
                ColumnSource::Task | ColumnSource::Keyed(_) => continue,
                ColumnSource::Derived(Derivation::AttributesHash) => {
                    attributes::hashes(&attributes, rows as usize)
                }
                ColumnSource::Sheet | ColumnSource::Derived(_) => state.finish(more_come),
            };
            keys.push((column.key, ArrayRef::clone(&array)));
            if column.source == ColumnSource::Sheet {
                attributes.push((column, ArrayRef::clone(&array)));
            }
            arrays.push(array);
        }
        arrays.push(Arc::new(self.source_row.finish()));
        arrays.push(match self.extra.take() {
            Some(mut extra) => Arc::new(extra.finish()),
            None => new_null_array(self.extra_type(), rows as usize),
        });
        let batch = RecordBatch::try_new(SchemaRef::clone(&self.schema), arrays)
            .expect("the columns are built from the contract that the schema is built from");
        self.rows_before += rows;
        self.account.keys_of(&keys, &self.kept);
        let kept = std::mem::take(&mut self.kept);
        if kept.len() == rows as usize {
            return batch;
        }
        take_record_batch(&batch, &UInt32Array::from(kept))
            .expect("all indexes are rows of the batch")
    }

    fn extra_type(&self) -> &DataType {
        let last = self.schema.fields().last();
        last.expect("`_extra` is the last column").data_type()
    }

    fn note_columns(&mut self) {
        let told_columns = || {
            let columns = self.context.contract.columns.iter().zip(&self.columns);
            columns.filter(|(column, _)| column.source == ColumnSource::Sheet && !column.is_sparse)
        };
        let names = |wanted: &dyn Fn(&ColumnBuilder) -> bool| {
            told_columns()
                .filter(|(_, state)| wanted(state))
                .map(|(column, _)| column.name.clone())
                .collect()
        };
        // An empty JSON list has no field names, so no column can be called missing.
        let says_something = !self.sheet.is_list || self.findings.rows_read > 0;
        let missing = names(&|state| !state.has_header && says_something);
        let rows_out = self.findings.rows_out;
        let blank = names(&|state| state.has_header && state.values == 0 && rows_out > 0);
        let contract = self.context.contract;
        self.findings.missing_in_sheets = self.account.missing_in_sheets(contract, rows_out);
        self.findings.missing_columns = missing;
        self.findings.blank_columns = blank;
        self.findings.extra_columns = std::mem::take(&mut self.extra_columns)
            .into_iter()
            .collect();
    }

    fn verdict(&self) -> Option<QuarantineReason> {
        if let Some(what) = self.overflow {
            return Some(QuarantineReason::TooLarge { what });
        }
        if let Some(column) = self.missing_from_task() {
            return Some(QuarantineReason::MissingLineage { column });
        }
        if let Some(sheet) = self.account.sheet_without_header(self.context) {
            return Some(QuarantineReason::SheetWithoutHeader { sheet });
        }
        // Each event was sent by itself. What is wrong with some says nothing of the others.
        if self.context.contract.dataset.is_received() {
            return None;
        }
        let columns = self.context.contract.columns.iter().zip(&self.columns);
        let all_rows = u64::from(self.rows_before + self.rows);
        // The one value that a sparse column has says nothing of its format.
        let of = |column: &Column, state: &ColumnBuilder| match column.is_sparse {
            true => all_rows,
            false => state.values + state.rejected,
        };
        let refused = columns
            .filter(|(column, state)| {
                let of = of(column, state);
                // The one value under a name says nothing of the format of all.
                let is_enough = state.rejected >= 3 || !self.sheet.is_list;
                is_enough && is_too_many(state.rejected, of)
            })
            .max_by_key(|(_, state)| state.rejected);
        if let Some((column, state)) = refused {
            return Some(QuarantineReason::RejectedCells {
                column: column.name.clone(),
                rejected: state.rejected,
                filled: state.values + state.rejected,
            });
        }
        let rows = all_rows;
        let quarantined = self.findings.rows_quarantined;
        is_too_many(quarantined, rows)
            .then_some(QuarantineReason::RowsWithoutKey { quarantined, rows })
    }

    fn missing_from_task(&self) -> Option<String> {
        if !self.context.keys_from_task_required {
            return None;
        }
        let mut columns = self.context.contract.columns.iter();
        columns
            .find(|column| {
                column.source == ColumnSource::Task
                    && column.key == Key::Required
                    && !constants::has_lineage_value(&self.context.lineage, column)
            })
            .map(|column| column.name.clone())
    }

    /// Whether a row of a daily report belongs to another task, or is incomplete.
    fn is_outside(&self, date_unix: Option<i64>) -> bool {
        let (Some(buckets), Some(start)) = (&self.context.buckets, date_unix) else {
            return false;
        };
        let bucket = Timestamp::from_second(start).ok().and_then(|from| {
            let to = Timestamp::from_second(start.checked_add(86_400)?).ok()?;
            Window::new(from, to)
        });
        let date = window::bucket_date(&self.context.time_zone, start);
        !bucket.is_some_and(|bucket| buckets.query.covers(&bucket))
            || !date.is_some_and(|date| buckets.dates.contains(&date))
    }

    /// Start of the row's bucket. `None` if rows have none, and if the cell is no number, which its
    /// own column reports.
    fn date_unix(&self, cells: &[Cell<'_>]) -> Option<i64> {
        let cell = cells.get(self.sheet.positions[self.bucket_start?]?)?;
        cell::integer(cell).ok().flatten()
    }

    fn append_row(&mut self, number: u32, cells: &[Cell<'_>], date_unix: Option<i64>) {
        let columns = &self.context.contract.columns;
        let mut has_key = true;
        for (index, column) in columns.iter().enumerate() {
            let outcome = match column.source {
                ColumnSource::Task | ColumnSource::Keyed(_) => continue,
                ColumnSource::Sheet => self.append_cell(index, number, cells),
                ColumnSource::Derived(derivation) => {
                    self.append_derived(index, derivation, number, date_unix)
                }
            };
            if outcome != CellOutcome::Value && column.key == Key::Required {
                has_key = false;
                if outcome == CellOutcome::Nothing {
                    self.reject(index, number, Fault::MissingKey);
                }
            }
        }
        self.append_extra(number, cells);
        self.source_row.append_value(i64::from(number));
        if has_key {
            self.kept.push(self.rows);
            self.findings.rows_out += 1;
        } else {
            self.findings.rows_quarantined += 1;
        }
        self.rows += 1;
        if self.kept.len() == BATCH_ROWS {
            self.emit_batch(true);
        }
    }

    /// Appends the cell of a column of the sheet.
    fn append_cell(&mut self, index: usize, number: u32, cells: &[Cell<'_>]) -> CellOutcome {
        let position = self.sheet.positions[index];
        let of_task = match (position, self.context.lineage_text(index)) {
            (None, Some(text)) => Cell::Text(text.into()),
            _ => Cell::Empty,
        };
        let cell = position.and_then(|p| cells.get(p)).unwrap_or(&of_task);
        let state = &mut self.columns[index];
        match state.append(cell, self.context, &mut self.offsets) {
            Ok(Appended::Null) => CellOutcome::Nothing,
            Ok(Appended::Value) => {
                state.values += 1;
                CellOutcome::Value
            }
            Ok(Appended::Unknown) => {
                state.values += 1;
                self.findings.unknown_values += 1;
                self.leftover.extend(position);
                CellOutcome::Value
            }
            Err(fault) => {
                state.rejected += 1;
                self.findings.cells_rejected += 1;
                self.leftover.extend(position);
                self.reject(index, number, fault);
                CellOutcome::Named
            }
        }
    }

    /// Appends the value of a derived column.
    fn append_derived(
        &mut self,
        index: usize,
        derivation: Derivation,
        number: u32,
        date_unix: Option<i64>,
    ) -> CellOutcome {
        let value = match derivation {
            Derivation::Rank => i32::try_from(number).ok().map(|index| index + 1),
            Derivation::BucketDate => date_unix
                .and_then(|start| window::bucket_date(&self.context.time_zone, start))
                .map(column::days_since_1970),
            // Every row has one. It is computed from the finished columns, see `take_batch`.
            Derivation::AttributesHash => return CellOutcome::Value,
        };
        self.columns[index].append_day_or_rank(value);
        match value {
            Some(_) => CellOutcome::Value,
            None => CellOutcome::Nothing,
        }
    }

    fn reject(&mut self, index: usize, number: u32, fault: Fault) {
        let column = self.context.contract.columns[index].name.clone();
        self.reject_at(self.sheet.positions[index], number, column, fault);
    }

    fn reject_at(&mut self, position: Option<usize>, number: u32, column: String, fault: Fault) {
        let cell = match position {
            Some(p) if self.sheet.is_list => format!("[{number}].{}", self.sheet.keys[p]),
            None if self.sheet.is_list => format!("[{number}]"),
            Some(p) => cell_name(
                number.saturating_sub(1),
                u32::try_from(p).unwrap_or(u32::MAX),
            ),
            None => format!("row {number}"),
        };
        self.findings.add_reject(Reject {
            sheet: self.sheet.name.clone(),
            cell,
            column,
            reason: fault,
        });
    }

    /// Appends the row's `_extra`: unknown columns and cells that did not parse, by header, sorted.
    fn append_extra(&mut self, number: u32, cells: &[Cell<'_>]) {
        self.keep_unknown(number, cells);
        let sheet = &self.sheet;
        if self.leftover.is_empty() {
            if let Some(extra) = &mut self.extra {
                extra.append(false).expect("keys and values grow together");
            }
            return;
        }
        self.leftover
            .sort_unstable_by(|a, b| sheet.keys[*a].cmp(&sheet.keys[*b]));
        let extra = self.extra.get_or_insert_with(|| {
            let mut extra = extra_builder(FEW_ROWS);
            for _ in 0..self.rows {
                extra.append(false).expect("keys and values grow together");
            }
            extra
        });
        let (keys, values) = extra.entries();
        for position in &self.leftover {
            let value = cell::display_text(&cells[*position]);
            self.extra_bytes += value.len().max(sheet.keys[*position].len());
            if self.extra_bytes > MAX_EXTRA_BYTES {
                self.overflow = Some("text of unknown columns");
                break;
            }
            keys.append_value(&sheet.keys[*position]);
            values.append_value(value);
        }
        extra.append(true).expect("keys and values grow together");
        self.leftover.clear();
    }

    fn keep_unknown(&mut self, number: u32, cells: &[Cell<'_>]) {
        // Cells to the right of the header have only their column's letters as a name.
        for position in self.sheet.keys.len()..cells.len() {
            self.sheet.push_unknown(position, "");
        }
        let mut faults = Vec::new();
        for unknown in &mut self.sheet.unknown {
            let position = unknown.position;
            let Some(cell) = cells.get(position) else {
                // The columns to the right are further away.
                break;
            };
            if cell.is_empty() {
                continue;
            }
            self.leftover.push(position);
            if let Err(fault @ (Fault::FormulaError | Fault::NoStoredValue)) = cell::text(cell) {
                faults.push((position, fault));
            }
            if !std::mem::replace(&mut unknown.is_noted, true) {
                self.extra_columns.insert(self.sheet.keys[position].clone());
            }
        }
        for (position, fault) in faults {
            self.findings.cells_rejected += 1;
            let column = self.sheet.keys[position].clone();
            self.reject_at(Some(position), number, column, fault);
        }
    }
}

impl RowSink for Normalizer<'_> {
    fn sheet(&mut self, header: &Header) {
        self.sheet = SheetMapping::new(header, self.context.contract);
        self.account
            .sheet(&self.sheet, self.context.contract, self.findings.rows_out);
        for (state, position) in self.columns.iter_mut().zip(&self.sheet.positions) {
            state.has_header |= position.is_some();
        }
        let noted = self.sheet.unknown.iter().filter(|unknown| unknown.is_noted);
        self.extra_columns
            .extend(noted.map(|unknown| self.sheet.keys[unknown.position].clone()));
    }

    fn above(&mut self, sheet: &str, cells: &[Cell<'_>]) {
        self.account.above(sheet, cells);
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        self.findings.rows_read += 1;
        if cells.iter().all(is_blank) {
            self.findings.rows_blank += 1;
            return;
        }
        if self.sheet.is_header_again(cells, self.context.contract) {
            self.findings.rows_header += 1;
            return;
        }
        let date_unix = self.date_unix(cells);
        if self.is_outside(date_unix) {
            self.findings.rows_outside += 1;
            return;
        }
        if self.rows_before + self.rows == MAX_ROWS {
            self.overflow = Some("rows");
        }
        if self.overflow.is_none() {
            self.append_row(number, cells, date_unix);
        }
    }

    fn restart(&mut self) {
        let out = std::mem::replace(&mut self.out, Box::new(drop));
        *self = Self::with(self.context, out);
        (self.out)(NormalizerOutput::Restart);
    }
}

/// Reads a table with `read` into memory, sorted: for tests. Gives what `read` gave, and what
/// [`Normalizer::finish`] said.
#[cfg(any(test, feature = "testing"))]
pub fn whole<T>(
    context: &Context,
    read: impl FnOnce(&mut Normalizer<'_>) -> T,
) -> (T, Result<Normalized, Box<Quarantine>>) {
    let batches = std::cell::RefCell::new(Vec::new());
    let mut normalizer = Normalizer::new(context, |output| match output {
        NormalizerOutput::Rows(batch) => batches.borrow_mut().push(batch),
        NormalizerOutput::Restart => batches.borrow_mut().clear(),
    });
    let given = read(&mut normalizer);
    let table = normalizer.finish().map(|findings| {
        let schema = read_schema(context.contract);
        let batch = arrow::compute::concat_batches(&schema, &batches.take());
        let batch = batch.expect("batches of one schema");
        let constants = ConstantColumns::new(context, &context.stamp, batch.num_rows());
        let batch = sorted(&constants.complete(&batch), context.contract);
        Normalized { batch, findings }
    });
    (given, table)
}

// `Debug` shows no rows, because they hold personal data.
impl fmt::Debug for Normalizer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Normalizer");
        shown
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}

#[cfg(any(test, feature = "testing"))]
impl fmt::Debug for Normalized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Normalized");
        shown
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}

/// An empty `_extra` with room for `rows` rows.
fn extra_builder(rows: usize) -> MapBuilder<StringBuilder, StringBuilder> {
    let text = || StringBuilder::with_capacity(0, 0);
    let [entry, key, value] = contract::MAP_NAMES.map(str::to_owned);
    let names = MapFieldNames { entry, key, value };
    MapBuilder::with_capacity(Some(names), text(), text(), rows)
}

/// Index of the column with the start of a report's bucket, if its date is derived.
fn bucket_start(columns: &[Column]) -> Option<usize> {
    let is_date = |column: &Column| column.source == ColumnSource::Derived(Derivation::BucketDate);
    columns.iter().find(|column| is_date(column))?;
    columns.iter().position(|column| column.name == "date_unix")
}

/// Whether more than 5 % were rejected. One or two stray cells do not refuse a small table, but a
/// column that fails throughout does.
fn is_too_many(rejected: u64, of: u64) -> bool {
    rejected * 20 > of && (rejected >= 3 || rejected == of)
}

fn is_blank(cell: &Cell<'_>) -> bool {
    match cell {
        Cell::Empty => true,
        Cell::Text(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// Sorts the rows by natural key, then by source row.
#[cfg(any(test, feature = "testing"))]
fn sorted(batch: &RecordBatch, contract: &Contract) -> RecordBatch {
    if batch.num_rows() < 2 {
        return batch.clone();
    }
    let keys: Vec<ArrayRef> = contract
        .key_columns()
        .chain([crate::contract::lineage::SOURCE_ROW])
        .filter_map(|name| batch.column_by_name(name).cloned())
        .collect();
    let fields = keys
        .iter()
        .map(|key| arrow::row::SortField::new(key.data_type().clone()));
    let keys = arrow::row::RowConverter::new(fields.collect())
        .and_then(|converter| converter.convert_columns(&keys))
        .expect("key columns are plain types");
    if keys.iter().is_sorted() {
        return batch.clone();
    }
    let rows = u32::try_from(batch.num_rows()).expect("at most MAX_ROWS");
    let mut order: Vec<u32> = (0..rows).collect();
    order.sort_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
    take_record_batch(batch, &UInt32Array::from(order)).expect("all indexes are rows of the batch")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::ColumnKind;
    use crate::contract::lineage;
    use crate::datasets::{Dataset, DurationUnit, Lineage, TopUserOrder};
    use crate::table::HeaderColumn;
    use arrow::array::{Array as _, AsArray};
    use arrow::datatypes::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    fn context(dataset: Dataset) -> Context {
        Context {
            contract: Contract::of(dataset),
            time_zone: TimeZone::get("Asia/Shanghai").expect("a zone"),
            tenant_zone: TimeZone::UTC,
            lineage: Lineage::default(),
            stamp: Stamp::default(),
            buckets: None,
            top_user_duration: DurationUnit::Minutes,
            keys_from_task_required: false,
            keys: None,
        }
    }

    fn header(contract: &Contract, row: Option<u32>, texts: &[&str]) -> Header {
        let columns = texts.iter().map(|text| HeaderColumn {
            text: (*text).to_owned(),
            column: contract.column_of_header(text),
        });
        Header {
            sheet: "S".into(),
            row,
            columns: columns.collect(),
        }
    }

    /// Normalizes rows of texts below a header in `header_row`, or a list.
    fn run(
        context: &Context,
        header_row: Option<u32>,
        texts: &[&str],
        rows: &[Vec<&str>],
    ) -> Result<Normalized, Box<Quarantine>> {
        let read = |normalizer: &mut Normalizer<'_>| {
            normalizer.sheet(&header(context.contract, header_row, texts));
            for (number, row) in (header_row.map_or(0, |row| row + 1)..).zip(rows) {
                let cells: Vec<_> = row.iter().map(|text| Cell::Text((*text).into())).collect();
                normalizer.row(number, &cells);
            }
        };
        whole(context, read).1
    }

    fn meetings(texts: &[&str], rows: &[Vec<&str>]) -> Result<Normalized, Box<Quarantine>> {
        run(&context(Dataset::MeetingList), Some(1), texts, rows)
    }

    fn extra(batch: &RecordBatch, row: usize) -> Vec<(String, String)> {
        let entries = batch[lineage::EXTRA].as_map().value(row);
        let text = |column: usize| entries.column(column).as_string::<i32>().clone();
        let (keys, values) = (text(0), text(1));
        let owned = |text: Option<&str>| text.expect("not null").to_owned();
        keys.iter()
            .map(owned)
            .zip(values.iter().map(owned))
            .collect()
    }

    const START: &str = "2026.10.12 06:10:42";

    #[test]
    fn rows_are_sorted_by_key_and_then_by_source() {
        let later = "2026.10.12 07:00:00";
        let rows = [
            vec!["2", START, "a"],
            vec!["1", later, "b"],
            vec!["1", START, "c"],
            vec!["1", START, "d"],
        ];
        let table = meetings(&["会议ID", "会议开始时间", "会议主题"], &rows).expect("a table");
        let topics: Vec<_> = table.batch["topic"]
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect();
        assert_eq!(topics, ["c", "d", "a", "b"]);
        let source = table.batch["_source_row"].as_primitive::<Int64Type>();
        assert_eq!(source.values(), &[4, 5, 2, 3]);
    }

    #[test]
    fn what_no_column_takes_is_kept_by_header() {
        let texts = ["会议ID", "会议开始时间", "z", "会议时长", "z", ""];
        let rows = [
            vec!["1", START, "x", "soon", "y", "v", "beyond"],
            vec!["2", START, "", "00:00:01"],
            vec!["3", START, "", "00:00:01"],
        ];
        let table = meetings(&texts, &rows).expect("one cell of three");
        let expected = [
            ("column F", "v"),
            ("column G", "beyond"),
            ("z", "x"),
            ("z (column E)", "y"),
            ("会议时长", "soon"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(extra(&table.batch, 0), expected);
        assert!(table.batch[lineage::EXTRA].is_null(1));
        assert_eq!(
            table.findings.extra_columns,
            ["column F", "column G", "z", "z (column E)"]
        );
        let reject = &table.findings.rejects[0];
        assert_eq!(
            (reject.cell.as_str(), reject.column.as_str()),
            ("D2", "duration_s")
        );
    }

    #[test]
    fn a_row_without_its_key_is_left_out_and_named() {
        let mut rows = vec![vec!["1", START]; 60];
        rows[4] = vec![" ", START];
        rows[9] = vec!["", " "];
        rows[20] = vec!["1", "-"];
        let table = meetings(&["会议ID", "会议开始时间"], &rows).expect("two of sixty");
        let findings = &table.findings;
        assert_eq!((findings.rows_read, findings.rows_out), (60, 57));
        assert_eq!((findings.rows_quarantined, findings.rows_blank), (2, 1));
        let cells: Vec<_> = findings
            .rejects
            .iter()
            .map(|r| (r.cell.as_str(), r.reason))
            .collect();
        assert_eq!(
            cells,
            [("A6", Fault::MissingKey), ("B22", Fault::MissingKey)]
        );
        assert_eq!(table.batch.num_rows(), 57);
    }

    #[test]
    fn a_column_that_fails_too_often_refuses_the_table() {
        let texts = ["会议ID", "会议开始时间", "会议时长"];
        let table = |bad: usize, of: usize| {
            let rows: Vec<_> = (0..of)
                .map(|row| vec!["1", START, if row < bad { "?" } else { "0:00:01" }])
                .collect();
            meetings(&texts, &rows)
        };
        for (bad, of, refused) in [
            (1, 10, false),
            (2, 10, false),
            (3, 10, true),
            (1, 1, true),
            (2, 2, true),
            (5, 100, false),
            (6, 100, true),
        ] {
            assert_eq!(table(bad, of).is_err(), refused, "{bad} of {of}");
        }
        let quarantine = table(10, 10).expect_err("all of them");
        assert_eq!(
            quarantine.to_string(),
            "10 of 10 cells of the column `duration_s` do not fit"
        );
        assert_eq!(quarantine.findings.rejects.len(), 10);
    }

    #[test]
    fn rows_without_keys_refuse_a_table_too() {
        let rows = vec![vec!["", "", "total"]; 5];
        let refused =
            meetings(&["会议ID", "会议开始时间", "会议主题"], &rows).expect_err("no keys");
        assert_eq!(
            refused.reason,
            QuarantineReason::RowsWithoutKey {
                quarantined: 5,
                rows: 5
            }
        );
    }

    #[test]
    fn unknown_values_become_other_and_keep_their_text() {
        let texts = ["会议室名称", "会议开始时间", "会议室预定状态"];
        let context = context(Dataset::ResourceReservationList);
        let rows = [vec!["r", START, "预定成功"], vec!["s", START, "火星"]];
        let table = run(&context, Some(1), &texts, &rows).expect("a table");
        let status = table.batch["reservation_status"].as_dictionary::<Int32Type>();
        let names = status.values().as_string::<i32>();
        let read: Vec<_> = status
            .keys()
            .iter()
            .flatten()
            .map(|k| names.value(k as usize))
            .collect();
        assert_eq!(read, ["reserved", "other"]);
        assert_eq!(
            extra(&table.batch, 1),
            [("会议室预定状态".to_owned(), "火星".to_owned())]
        );
        assert_eq!(
            (table.findings.unknown_values, table.findings.cells_rejected),
            (1, 0)
        );
    }

    #[test]
    fn columns_that_are_missing_or_blank_are_named() {
        let rows = [vec!["1", START, "", "-"]];
        let table =
            meetings(&["会议ID", "会议开始时间", "用户ID", "会议时长"], &rows).expect("a table");
        assert_eq!(
            table.findings.blank_columns,
            ["organizer_user_id", "duration_s"]
        );
        assert!(table.findings.missing_columns.contains(&"topic".to_owned()));
    }

    #[test]
    fn a_key_that_only_the_task_knows_is_demanded_of_the_task() {
        let mut context = context(Dataset::ParticipantQualityList);
        context.keys_from_task_required = true;
        context.lineage.meeting_no = Some("1".into());
        let refused = run(&context, Some(1), &["时间"], &[]).expect_err("no start");
        assert_eq!(
            refused.reason,
            QuarantineReason::MissingLineage {
                column: "meeting_start_time".into()
            }
        );
    }

    /// Columns of a listing, of all kinds that only a listing has.
    fn listing() -> Context {
        let column = |name: &str, kind| Column::new(name, kind, &[name], "");
        let contract = Contract::of_columns(vec![
            Column::new("snapshot_date", ColumnKind::Date, &[], "")
                .of_task()
                .required(),
            column("room_id", ColumnKind::Id).required(),
            column("capacity", ColumnKind::SmallInteger),
            column("path", ColumnKind::TextList).sparse(),
            column("disabled_until", ColumnKind::UnixTime).sparse(),
            Column::new("attributes_hash", ColumnKind::Text, &[], "")
                .derived(Derivation::AttributesHash),
            column("seen", ColumnKind::Integer),
        ]);
        let mut context = context(Dataset::MeetingList);
        context.contract = contract;
        context.lineage.snapshot_date = Some(jiff::civil::date(2026, 10, 12));
        context.keys_from_task_required = true;
        context
    }

    const LISTING: [&str; 5] = ["room_id", "capacity", "path", "disabled_until", "seen"];

    fn attribute_hashes(batch: &RecordBatch) -> Vec<String> {
        let hashes = batch["attributes_hash"].as_string::<i32>();
        hashes.iter().flatten().map(str::to_owned).collect()
    }

    #[test]
    fn a_listing_is_typed() {
        let rows = [
            vec!["omm_1", "12", r#"["omb_1","omb_2"]"#, "1602000000", "1"],
            vec!["omm_2", "", "[]", "0", "1"],
            vec!["omm_3", "2147483648", "omb_1", "1602000000000", "1"],
        ];
        let table = run(&listing(), None, &LISTING, &rows).expect("a table");
        let batch = &table.batch;
        let date = batch["snapshot_date"].as_primitive::<Date32Type>();
        assert_eq!(date.values(), &[20_738; 3]);
        let capacity = batch["capacity"].as_primitive::<Int32Type>();
        let capacity: Vec<_> = capacity.iter().collect();
        assert_eq!(capacity, [Some(12), None, None]);
        let paths = batch["path"].as_list::<i32>();
        assert_eq!((paths.is_null(1), paths.is_null(2)), (true, true));
        let path = paths.value(0);
        let path: Vec<_> = path.as_string::<i32>().iter().flatten().collect();
        assert_eq!(path, ["omb_1", "omb_2"]);
        let until = batch["disabled_until"].as_primitive::<TimestampMicrosecondType>();
        let until: Vec<_> = until.iter().collect();
        assert_eq!(until, [Some(1_602_000_000_000_000), None, None]);
        let kept = [
            ("capacity", "2147483648"),
            ("disabled_until", "1602000000000"),
            ("path", "omb_1"),
        ];
        assert_eq!(
            extra(batch, 2),
            kept.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        let faults = table.findings.rejects.iter().map(|reject| reject.reason);
        let faults: Vec<_> = faults.collect();
        assert_eq!(
            faults,
            [Fault::OutOfRange, Fault::NotAList, Fault::OutOfRange]
        );
    }

    #[test]
    fn a_column_that_is_often_blank_is_nothing_to_tell() {
        let rows = [vec!["omm_1", "", ""]];
        let table = run(&listing(), None, &["room_id", "capacity", "path"], &rows);
        let findings = table.expect("a table").findings;
        assert_eq!(findings.blank_columns, ["capacity"]);
        assert_eq!(findings.missing_columns, ["seen"]);
    }

    #[test]
    fn one_odd_value_of_a_sparse_column_does_not_cost_the_day() {
        let row = |path| vec!["omm_1", "12", path, "", "1"];
        let mut rows = vec![row(""); 40];
        rows[7] = row("omb_1");
        let table = run(&listing(), None, &LISTING, &rows).expect("a table");
        assert_eq!(table.findings.cells_rejected, 1);
        rows[..3].fill(row("omb_1"));
        let refused = run(&listing(), None, &LISTING, &rows).expect_err("a tenth of the rows");
        let QuarantineReason::RejectedCells { rejected, .. } = refused.reason else {
            panic!("{refused:?}")
        };
        assert_eq!(rejected, 4);
    }

    #[test]
    fn a_snapshot_without_its_day_is_refused() {
        let mut context = listing();
        context.lineage.snapshot_date = None;
        let refused = run(&context, None, &LISTING, &[]).expect_err("no day");
        assert_eq!(
            refused.reason,
            QuarantineReason::MissingLineage {
                column: "snapshot_date".into()
            }
        );
    }

    #[test]
    fn equal_attributes_have_equal_hashes() {
        let rows = [
            vec!["omm_1", "12", r#"["omb_1"]"#, "0", "1"],
            // Another spelling of the same, and another value behind the hash.
            vec!["omm_1", " 12", r#"[ "omb_1" ]"#, "", "2"],
            vec!["omm_1", "13", r#"["omb_1"]"#, "0", "1"],
            vec!["omm_2", "12", r#"["omb_1"]"#, "0", "1"],
            vec!["", "12", r#"["omb_1"]"#, "0", "1"],
        ];
        let table = run(&listing(), None, &LISTING, &rows).expect("a table");
        let hashes = attribute_hashes(&table.batch);
        assert_eq!(hashes.len(), 4);
        assert_eq!(hashes[0], hashes[1]);
        let others: BTreeSet<_> = hashes[1..].iter().collect();
        assert_eq!(others.len(), 3);
    }

    #[test]
    fn hashes_do_not_depend_on_batches() {
        let context = listing();
        let ids: Vec<_> = (0..BATCH_ROWS + 100).map(|n| format!("{n:06}")).collect();
        let rows: Vec<_> = ids
            .iter()
            .map(|id| vec![id.as_str(), "12", "[1]"])
            .collect();
        let texts = ["room_id", "capacity", "path"];
        let whole = run(&context, None, &texts, &rows).expect("a table");
        let hashes = attribute_hashes(&whole.batch);
        assert_eq!(hashes.len(), rows.len());
        // All in two batches, and some of them in a batch of their own.
        for row in [0, 1, BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 99] {
            let alone = run(&context, None, &texts, &rows[row..=row]).expect("a table");
            assert_eq!(attribute_hashes(&alone.batch), hashes[row..=row]);
        }
    }

    #[test]
    fn daily_reports_keep_whole_buckets_of_their_own_days() {
        let mut context = context(Dataset::DailyReport);
        let at = |text: &str| text.parse::<Timestamp>().expect("an instant");
        let query = Window::new(at("2020-12-26T16:00:00Z"), at("2020-12-29T16:00:00Z"));
        context.buckets = Some(Buckets {
            query: query.expect("a window"),
            dates: vec![jiff::civil::date(2020, 12, 28)],
        });
        // The UTC days 26 to 29. The first is cut off. The second and the last are not asked for.
        let days = ["1608940800", "1609027200", "1609113600", "1609200000"];
        let rows: Vec<_> = days.iter().map(|day| vec![*day, "7"]).collect();
        let table = run(&context, None, &["date", "meeting_count"], &rows).expect("a table");
        assert_eq!(
            (table.findings.rows_out, table.findings.rows_outside),
            (1, 3)
        );
        let date = table.batch["date"].as_primitive::<Date32Type>();
        assert_eq!(date.value(0), 18_624);
        assert_eq!(
            table.batch["_source_row"]
                .as_primitive::<Int64Type>()
                .values(),
            &[2]
        );
    }

    #[test]
    fn top_users_are_ranked_by_position_in_minutes() {
        let mut context = context(Dataset::TopUser);
        context.lineage.order_by = Some(TopUserOrder::MeetingDuration);
        context.top_user_duration = DurationUnit::Seconds;
        let texts = [
            "id",
            "name",
            "user_type",
            "meeting_count",
            "meeting_duration",
        ];
        let rows = [
            vec!["ou_2", "b", "2", "3", "7200"],
            vec!["ou_1", "a", "9", "3", "61"],
        ];
        let table = run(&context, None, &texts, &rows).expect("a table");
        let ranks = table.batch["rank"].as_primitive::<Int32Type>();
        assert_eq!(ranks.values(), &[1, 2]);
        let minutes = table.batch["meeting_duration_min"].as_primitive::<Int64Type>();
        assert_eq!(minutes.values(), &[120, 1]);
        let order = table.batch["order_by"].as_dictionary::<Int32Type>();
        assert_eq!(order.keys().values(), &[1, 1]);
        assert_eq!(table.findings.unknown_values, 1);
    }

    /// In a workbook a column is found by its place, so one that fails throughout is another one.
    #[test]
    fn a_few_wrong_values_refuse_no_list_and_no_event() {
        let texts = ["id", "name", "user_type", "meeting_count"];
        let count_of = |wrong: usize, of: usize| {
            let row = |index| vec!["ou_1", "a", "1", if index < wrong { "many" } else { "3" }];
            let rows: Vec<_> = (0..of).map(row).collect();
            let mut context = context(Dataset::TopUser);
            context.lineage.order_by = Some(TopUserOrder::MeetingCount);
            run(&context, None, &texts, &rows)
        };
        for (wrong, of, is_refused) in [
            (1, 1, false),
            (2, 2, false),
            (3, 3, true),
            (3, 59, true),
            (2, 9, false),
        ] {
            let table = count_of(wrong, of);
            assert_eq!(table.is_err(), is_refused, "{wrong} of {of}");
            if let Ok(table) = table {
                assert_eq!(table.findings.cells_rejected, wrong as u64);
            }
        }
        let context = context(Dataset::MeetingEvent);
        let texts = ["header.event_id", "event.meeting.start_time"];
        let rows = vec![vec!["e", "soon"]; 9];
        let table = run(&context, None, &texts, &rows);
        assert!(!matches!(
            table.map_err(|refused| refused.reason),
            Err(QuarantineReason::RejectedCells { .. } | QuarantineReason::RowsWithoutKey { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_row_is_lost(rows in prop::collection::vec((0usize..4, 0usize..4, 0usize..3), 0..60)) {
            let ids = ["", "-", "1", "22"];
            let starts = ["", "noon", START, "2026/1/2 3:04"];
            let counts = ["", "5", "many"];
            let row = |(i, s, c): &(usize, usize, usize)| vec![ids[*i], starts[*s], counts[*c]];
            let rows: Vec<_> = rows.iter().map(row).collect();
            let outcome = meetings(&["会议ID", "会议开始时间", "参会人数"], &rows);
            let findings = match &outcome {
                Ok(table) => &table.findings,
                Err(quarantine) => &quarantine.findings,
            };
            let sum = findings.rows_out
                + findings.rows_blank
                + findings.rows_quarantined
                + findings.rows_outside;
            prop_assert_eq!(findings.rows_read, rows.len() as u64);
            prop_assert_eq!(sum, findings.rows_read);
            if let Ok(table) = &outcome {
                prop_assert_eq!(table.batch.num_rows() as u64, findings.rows_out);
            }
        }
    }
}
