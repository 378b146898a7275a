//! Sorts rows by natural key without holding all of them in memory.
//!
//! ```text
//! rows nearly in order ─► one batch waits for the next ─────────► handed on as they come
//! rows out of order ─► sorted runs, all but the last on disk ─► merged, handed on at the end
//! ```
//! Rows with equal keys keep the order they came in. As long as no row belongs further back than
//! the batch before its own, rows wait for one batch only. When a row does, the caller must give
//! back the rows that were handed on; they become the first run. Where the system allows, run files
//! have no name, so that a killed process leaves none.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::row::{OwnedRow, Row, RowConverter, Rows, SortField};

/// Rows of a run: as many as a row group, which the file's writer holds too.
pub const RUN_ROWS: usize = 131_072;
/// Rows handed on at once: as many as a chunk of the file's writer.
const BATCH_ROWS: usize = 8_192;
/// Rows of each run that are in memory while merging.
const SPILL_ROWS: usize = 4_096;

/// Batches of one run, in order.
pub type SortedRun = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// What became of pushed rows.
#[derive(Debug, PartialEq)]
pub enum Pushed {
    /// These rows come after all rows handed on before: hand them on too.
    InOrder(RecordBatch),
    /// The batch waits for the next one, or for the end.
    Waiting,
    /// The batch is kept until the end. If rows were handed on before,
    /// [give them back](Sorter::give_back) before the end.
    Kept,
}

/// A batch and the key of each of its rows.
type KeyedBatch = (RecordBatch, Rows);

/// Sorts the rows of one table.
pub struct Sorter {
    schema: SchemaRef,
    keys: RowConverter,
    key_columns: Vec<usize>,
    /// Runs are written beside this file.
    beside: PathBuf,
    run_rows: usize,
    /// The greatest key that was handed on, as long as everything was in order.
    last: Option<OwnedRow>,
    /// The newest batch. Rows of the next one may belong into it.
    waiting: Option<KeyedBatch>,
    is_in_order: bool,
    buffered: Vec<KeyedBatch>,
    buffered_rows: usize,
    runs: Vec<SortedRun>,
}

impl std::fmt::Debug for Sorter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Sorter");
        shown.field("runs", &self.runs.len());
        shown
            .field("buffered_rows", &self.buffered_rows)
            .finish_non_exhaustive()
    }
}

impl Sorter {
    /// A sorter of batches with `schema`, ascending by `key`, nulls first. It writes runs of about
    /// `run_rows` beside the file `beside`.
    ///
    /// # Errors
    /// If a column cannot be sorted by.
    pub fn new<'k>(
        schema: SchemaRef,
        key: impl Iterator<Item = &'k str>,
        beside: &Path,
        run_rows: usize,
    ) -> Result<Self, ArrowError> {
        // Key columns that the batches lack are the same in every row.
        let key_columns: Vec<usize> = key.filter_map(|name| schema.index_of(name).ok()).collect();
        let field = |&column: &usize| SortField::new(schema.field(column).data_type().clone());
        Ok(Self {
            keys: RowConverter::new(key_columns.iter().map(field).collect())?,
            key_columns,
            schema,
            beside: beside.to_owned(),
            run_rows,
            last: None,
            waiting: None,
            is_in_order: true,
            buffered: Vec::new(),
            buffered_rows: 0,
            runs: Vec::new(),
        })
    }

    /// Takes the next rows.
    ///
    /// # Errors
    /// If a run cannot be written.
    pub fn push(&mut self, batch: RecordBatch) -> Result<Pushed, ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(Pushed::Waiting);
        }
        let keys = self.keys_of(&batch)?;
        if self.is_in_order {
            return self.push_nearly_in_order((batch, keys));
        }
        self.buffer((batch, keys))?;
        Ok(Pushed::Kept)
    }

    fn push_nearly_in_order(&mut self, batch: KeyedBatch) -> Result<Pushed, ArrowError> {
        let next = if batch.1.iter().is_sorted() {
            batch
        } else {
            let rows = batch.0.num_rows();
            self.rows_in_order(&[batch], 0, rows)?
        };
        let Some(waiting) = self.waiting.take() else {
            self.waiting = Some(next);
            return Ok(Pushed::Waiting);
        };
        let rows = waiting.0.num_rows();
        let (first, second) = if waiting.1.row(rows - 1) <= next.1.row(0) {
            (waiting, next)
        } else {
            let both = [waiting, next];
            let all = both[0].0.num_rows() + both[1].0.num_rows();
            (
                self.rows_in_order(&both, 0, rows)?,
                self.rows_in_order(&both, rows, all)?,
            )
        };
        let is_behind = |last: &OwnedRow| last.row() <= first.1.row(0);
        if self.last.as_ref().is_none_or(is_behind) {
            self.last = Some(first.1.row(rows - 1).owned());
            self.waiting = Some(second);
            return Ok(Pushed::InOrder(first.0));
        }
        self.is_in_order = false;
        self.buffer(first)?;
        self.buffer(second)?;
        Ok(Pushed::Kept)
    }

    /// The rows of the batches in order, from position `start` to `end`.
    fn rows_in_order(
        &self,
        batches: &[KeyedBatch],
        start: usize,
        end: usize,
    ) -> Result<KeyedBatch, ArrowError> {
        let addresses = sorted_addresses(batches);
        let batches: Vec<RecordBatch> = batches.iter().map(|(batch, _)| batch.clone()).collect();
        let batch = gather(&self.schema, &batches, &addresses[start..end])?;
        let keys = self.keys_of(&batch)?;
        Ok((batch, keys))
    }

    fn buffer(&mut self, batch: KeyedBatch) -> Result<(), ArrowError> {
        self.buffered_rows += batch.0.num_rows();
        self.buffered.push(batch);
        if self.buffered_rows >= self.run_rows {
            let run = self.sorted(SPILL_ROWS);
            let spilled = self.spill(run)?;
            self.runs.push(spilled);
        }
        Ok(())
    }

    /// Takes back the rows that were handed on, as the run before all others.
    pub fn give_back(&mut self, run: SortedRun) {
        self.runs.insert(0, run);
    }

    /// Hands on what was kept, in order.
    ///
    /// # Errors
    /// If a run cannot be read, or `emit` fails.
    pub fn finish<E: From<ArrowError>>(
        mut self,
        mut emit: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some((batch, _)) = self.waiting.take() {
            return emit(batch);
        }
        let mut last = self.sorted(BATCH_ROWS);
        if self.runs.is_empty() {
            return last.try_for_each(|batch| emit(batch?));
        }
        let mut runs = std::mem::take(&mut self.runs);
        runs.push(Box::new(last));
        RunMerge::new(&self, runs)?.run(emit)
    }

    fn keys_of(&self, batch: &RecordBatch) -> Result<Rows, ArrowError> {
        let columns = self.key_columns.iter();
        let columns: Vec<_> = columns.map(|&i| ArrayRef::clone(batch.column(i))).collect();
        if columns.is_empty() {
            // All keys are alike.
            let row = new_null_array(&arrow::datatypes::DataType::Null, batch.num_rows());
            let field = SortField::new(arrow::datatypes::DataType::Null);
            return RowConverter::new(vec![field])?.convert_columns(&[row]);
        }
        self.keys.convert_columns(&columns)
    }

    /// The buffered rows, sorted, `rows` at a time.
    fn sorted(
        &mut self,
        rows: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + use<> {
        let buffered = std::mem::take(&mut self.buffered);
        self.buffered_rows = 0;
        let addresses = sorted_addresses(&buffered);
        let batches: Vec<RecordBatch> = buffered.into_iter().map(|(batch, _)| batch).collect();
        let schema = SchemaRef::clone(&self.schema);
        (0..addresses.len()).step_by(rows).map(move |start| {
            let end = addresses.len().min(start + rows);
            gather(&schema, &batches, &addresses[start..end])
        })
    }

    fn spill(
        &self,
        run: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    ) -> Result<SortedRun, ArrowError> {
        let mut name = self.beside.file_name().unwrap_or_default().to_owned();
        name.push(format!(".run{}", self.runs.len()));
        let path = self.beside.with_file_name(name);
        let opened = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let file = opened.map_err(|error| io_error(error, &path))?;
        // Where the system keeps the name of an open file, the file is removed with its reader.
        let rest = fs::remove_file(&path)
            .err()
            .map(|_| TempRunFile(path.clone()));
        let mut writer = StreamWriter::try_new(BufWriter::new(file), &self.schema)?;
        for batch in run {
            writer.write(&batch?)?;
        }
        writer.finish()?;
        let mut buffer = writer.into_inner()?;
        buffer.flush().map_err(|error| io_error(error, &path))?;
        let mut file = buffer
            .into_inner()
            .map_err(|error| io_error(error.into_error(), &path))?;
        file.rewind().map_err(|error| io_error(error, &path))?;
        let reader = StreamReader::try_new(BufReader::new(file), None)?;
        Ok(Box::new(reader.inspect(move |_| {
            let _ = &rest;
        })))
    }
}

/// A run file that could not be unlinked while open. It is removed when dropped.
struct TempRunFile(PathBuf);

impl Drop for TempRunFile {
    fn drop(&mut self) {
        // A leftover is named after the output, so that people can tell what it is.
        let _ = fs::remove_file(&self.0);
    }
}

fn io_error(error: io::Error, path: &Path) -> ArrowError {
    ArrowError::IoError(format!("{}: {error}", path.display()), error)
}

/// Where a row is: the index of its batch, and the index of the row in that batch.
pub(super) type RowAddress = (usize, usize);

/// The addresses of all rows in the order of their keys.
fn sorted_addresses(batches: &[KeyedBatch]) -> Vec<RowAddress> {
    let rows = batches.iter().map(|(_, keys)| keys.num_rows()).sum();
    let mut order: Vec<(u128, u32, u32)> = Vec::with_capacity(rows);
    for (slot, (_, keys)) in (0u32..).zip(batches) {
        let rows = (0u32..).zip(keys.iter());
        order.extend(rows.map(|(row, key)| (prefix(&key), slot, row)));
    }
    let key = |&(_, slot, row): &(u128, u32, u32)| batches[slot as usize].1.row(row as usize);
    // The address breaks ties, so that rows with equal keys keep their order.
    order.sort_unstable_by(|a, b| {
        let by_prefix = a.0.cmp(&b.0);
        let by_key = by_prefix.then_with(|| key(a).cmp(&key(b)));
        by_key.then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    });
    order
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
fn gather(
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

/// One run and its current row.
struct RunCursor {
    run: SortedRun,
    /// Index of the current batch in [`RunMerge::batches`].
    slot: usize,
    keys: Rows,
    row: usize,
    prefix: u128,
}

impl RunCursor {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_prefix = self.prefix.cmp(&other.prefix);
        by_prefix.then_with(|| self.keys.row(self.row).cmp(&other.keys.row(other.row)))
    }
}

struct RunMerge<'s> {
    sorter: &'s Sorter,
    /// In the order the runs came.
    cursors: Vec<RunCursor>,
    batches: Vec<RecordBatch>,
    addresses: Vec<RowAddress>,
}

impl<'s> RunMerge<'s> {
    fn new(sorter: &'s Sorter, runs: Vec<SortedRun>) -> Result<Self, ArrowError> {
        let mut merge = Self {
            sorter,
            cursors: Vec::with_capacity(runs.len()),
            batches: Vec::new(),
            addresses: Vec::with_capacity(BATCH_ROWS),
        };
        for run in runs {
            let cursor = merge.open(run)?;
            merge.cursors.extend(cursor);
        }
        Ok(merge)
    }

    /// A cursor on the first row of the run's next batch; `None` at the run's end.
    fn open(&mut self, mut run: SortedRun) -> Result<Option<RunCursor>, ArrowError> {
        for batch in run.by_ref() {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let keys = self.sorter.keys_of(&batch)?;
            self.batches.push(batch);
            return Ok(Some(RunCursor {
                run,
                slot: self.batches.len() - 1,
                prefix: prefix(&keys.row(0)),
                keys,
                row: 0,
            }));
        }
        Ok(None)
    }

    fn run<E: From<ArrowError>>(
        mut self,
        mut emit: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        // Of equal keys the row of the first run goes first, because `min_by` takes the first of
        // equals.
        while let Some(index) =
            (0..self.cursors.len()).min_by(|&a, &b| self.cursors[a].cmp(&self.cursors[b]))
        {
            let cursor = &mut self.cursors[index];
            self.addresses.push((cursor.slot, cursor.row));
            cursor.row += 1;
            if cursor.row < cursor.keys.num_rows() {
                cursor.prefix = prefix(&cursor.keys.row(cursor.row));
            } else {
                self.next_batch(index)?;
            }
            if self.addresses.len() == BATCH_ROWS {
                emit(self.flush()?)?;
            }
        }
        if !self.addresses.is_empty() {
            emit(self.flush()?)?;
        }
        Ok(())
    }

    fn next_batch(&mut self, index: usize) -> Result<(), ArrowError> {
        let run = std::mem::replace(&mut self.cursors[index].run, Box::new(std::iter::empty()));
        match self.open(run)? {
            Some(next) => self.cursors[index] = next,
            None => drop(self.cursors.remove(index)),
        }
        Ok(())
    }

    /// The rows taken so far. Batches that no cursor is in are dropped.
    fn flush(&mut self) -> Result<RecordBatch, ArrowError> {
        let batch = gather(&self.sorter.schema, &self.batches, &self.addresses)?;
        self.addresses.clear();
        let kept = self.cursors.iter();
        let kept: Vec<RecordBatch> = kept
            .map(|cursor| self.batches[cursor.slot].clone())
            .collect();
        for (slot, cursor) in self.cursors.iter_mut().enumerate() {
            cursor.slot = slot;
        }
        self.batches = kept;
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, ListBuilder, StringArray, StringBuilder};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("key", DataType::Utf8, true),
            Field::new("place", DataType::Int64, false),
            Field::new("empty", DataType::Utf8, true),
            Field::new("list", DataType::new_list(DataType::Utf8, true), true),
        ]))
    }

    /// Each place as a list of one text. Every third list is null.
    fn lists(places: &[i64]) -> ArrayRef {
        let mut builder = ListBuilder::new(StringBuilder::new());
        for place in places {
            builder.append_option((place % 3 > 0).then(|| [Some(place.to_string())]));
        }
        Arc::new(builder.finish())
    }

    /// Batches of the given size. Each row holds its place.
    fn batches(keys: &[Option<String>], size: usize) -> Vec<RecordBatch> {
        let places: Vec<i64> = (0..).take(keys.len()).collect();
        let chunks = keys.chunks(size).zip(places.chunks(size));
        chunks
            .map(|(keys, places)| {
                let columns: Vec<ArrayRef> = vec![
                    Arc::new(StringArray::from_iter(keys)),
                    Arc::new(Int64Array::from(places.to_vec())),
                    new_null_array(&DataType::Utf8, keys.len()),
                    lists(places),
                ];
                RecordBatch::try_new(schema(), columns).expect("a batch")
            })
            .collect()
    }

    fn sorted(batches: Vec<RecordBatch>, run_rows: usize) -> (Vec<i64>, usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let beside = folder.path().join("out");
        let key = ["key", "not read"].into_iter();
        let mut sorter = Sorter::new(schema(), key, &beside, run_rows).expect("a sorter");
        let mut through = Vec::new();
        for batch in batches {
            match sorter.push(batch).expect("pushed") {
                Pushed::InOrder(batch) => through.push(batch),
                Pushed::Waiting | Pushed::Kept => {}
            }
        }
        let as_they_came = through.len();
        let mut out = std::mem::take(&mut through);
        if sorter.buffered_rows + sorter.runs.len() > 0 {
            sorter.give_back(Box::new(
                out.drain(..).map(Ok).collect::<Vec<_>>().into_iter(),
            ));
        }
        let emit = |batch| {
            out.push(batch);
            Ok::<_, ArrowError>(())
        };
        sorter.finish(emit).expect("sorted");
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 0, "runs have no names");
        let all = concat_batches(&schema(), &out).expect("one batch");
        let places = all.column(1).as_primitive::<Int64Type>();
        assert_eq!(all.column(3), &lists(places.values()));
        (places.values().to_vec(), as_they_came)
    }

    #[test]
    fn rows_in_order_wait_for_one_batch_only() {
        let keys: Vec<_> = (0..1_000).map(|n| Some(format!("{:04}", n / 3))).collect();
        let (places, as_they_came) = sorted(batches(&keys, 100), 200);
        assert_eq!(as_they_came, 9);
        assert_eq!(places, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn rows_that_are_nearly_in_order_make_no_runs() {
        // Everywhere rows change places with others near them, across the ends of batches too.
        let mut places: Vec<i64> = (0..1_000).collect();
        for at in (0..900).step_by(37) {
            places.swap(at, at + 70);
        }
        let keys: Vec<_> = places.iter().map(|n| Some(format!("{n:04}"))).collect();
        let mut expected: Vec<i64> = (0..1_000).collect();
        expected.sort_by_key(|&place| places[place as usize]);
        let (sorted, as_they_came) = sorted(batches(&keys, 100), 200);
        assert_eq!((sorted, as_they_came), (expected, 9));
    }

    proptest! {
        #[test]
        fn any_order_gives_what_a_stable_sort_gives(
            keys in prop::collection::vec(
                prop::option::of("[ab]{0,2}|same long beginning [a-d]"),
                0..200,
            ),
            is_sorted_until in 0usize..200,
            size in 1usize..40,
            run_rows in 1usize..90,
        ) {
            let mut keys = keys;
            let until = is_sorted_until.min(keys.len());
            keys[..until].sort();
            let mut expected: Vec<usize> = (0..keys.len()).collect();
            expected.sort_by_key(|&place| &keys[place]);
            let (places, _) = sorted(batches(&keys, size), run_rows);
            let expected: Vec<_> = expected.into_iter().map(|place| place as i64).collect();
            prop_assert_eq!(places, expected);
        }
    }
}
