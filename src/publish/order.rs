//! Brings rows that come in any order into that of the natural key, without holding them all.
//!
//! ```text
//! rows nearly in order ─► one batch waits for the next ─────────► handed on as they come
//! rows out of order ─► sorted runs, all but the last on disk ─► merged, handed on at the end
//! ```
//! Rows of equal keys keep the order they came in. As long as no row belongs further back than into the batch before its own, rows only wait
//! for one batch; with the first that does, what was handed on is the caller's to give back as the first run. Runs are files without a name as far as the system allows, so that a killed
//! process leaves none.

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

/// Rows of a run: those of a row group, which the file's writer holds too.
pub const RUN_ROWS: usize = 131_072;
/// Rows handed on at once: a chunk of the file's writer.
const BATCH_ROWS: usize = 8_192;
/// Rows of a run that are in memory at once while merging.
const SPILL_ROWS: usize = 4_096;

/// Batches of one run, in order.
pub type Run = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Whether rows can still be handed on as they come.
#[derive(Debug, PartialEq)]
pub enum Pushed {
    /// These rows are behind all others so far, and no others are near them: hand them on.
    InOrder(RecordBatch),
    /// It waits for the next batch, or for the end.
    Waiting,
    /// It is kept until the end. If rows were handed on before, they are to be [given back](Sorter::give_back) before the end.
    Kept,
}

/// A batch and its keys, row by row.
type Keyed = (RecordBatch, Rows);

/// Sorts the rows of one table.
pub struct Sorter {
    schema: SchemaRef,
    keys: RowConverter,
    key_columns: Vec<usize>,
    /// Where runs go: beside this file.
    beside: PathBuf,
    run_rows: usize,
    /// The greatest key that was handed on, while everything was in order.
    last: Option<OwnedRow>,
    /// The batch that the next one may reach into.
    waiting: Option<Keyed>,
    is_in_order: bool,
    held: Vec<Keyed>,
    held_rows: usize,
    runs: Vec<Run>,
}

impl std::fmt::Debug for Sorter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Sorter");
        shown.field("runs", &self.runs.len());
        shown
            .field("held_rows", &self.held_rows)
            .finish_non_exhaustive()
    }
}

impl Sorter {
    /// A sorter of batches with `schema`, ascending by `key` (nulls first), which puts runs of about `run_rows` beside the file `beside`.
    ///
    /// # Errors
    /// If a column cannot be sorted by.
    pub fn new<'k>(
        schema: SchemaRef,
        key: impl Iterator<Item = &'k str>,
        beside: &Path,
        run_rows: usize,
    ) -> Result<Self, ArrowError> {
        // Key columns that are not in the batches are the same in every row.
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
            held: Vec::new(),
            held_rows: 0,
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
        self.hold((batch, keys))?;
        Ok(Pushed::Kept)
    }

    fn push_nearly_in_order(&mut self, batch: Keyed) -> Result<Pushed, ArrowError> {
        let next = if batch.1.iter().is_sorted() {
            batch
        } else {
            let rows = batch.0.num_rows();
            self.arranged(&[batch], 0, rows)?
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
                self.arranged(&both, 0, rows)?,
                self.arranged(&both, rows, all)?,
            )
        };
        let is_behind = |last: &OwnedRow| last.row() <= first.1.row(0);
        if self.last.as_ref().is_none_or(is_behind) {
            self.last = Some(first.1.row(rows - 1).owned());
            self.waiting = Some(second);
            return Ok(Pushed::InOrder(first.0));
        }
        self.is_in_order = false;
        self.hold(first)?;
        self.hold(second)?;
        Ok(Pushed::Kept)
    }

    /// The rows from `start` to `end` of what the batches hold, in order.
    fn arranged(&self, batches: &[Keyed], start: usize, end: usize) -> Result<Keyed, ArrowError> {
        let places = order_of(batches);
        let batches: Vec<RecordBatch> = batches.iter().map(|(batch, _)| batch.clone()).collect();
        let batch = pick(&self.schema, &batches, &places[start..end])?;
        let keys = self.keys_of(&batch)?;
        Ok((batch, keys))
    }

    fn hold(&mut self, batch: Keyed) -> Result<(), ArrowError> {
        self.held_rows += batch.0.num_rows();
        self.held.push(batch);
        if self.held_rows >= self.run_rows {
            let run = self.sorted(SPILL_ROWS);
            let spilled = self.spill(run)?;
            self.runs.push(spilled);
        }
        Ok(())
    }

    /// Takes rows back that were handed on, as the run that came before all others.
    pub fn give_back(&mut self, run: Run) {
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
        Merge::new(&self, runs)?.run(emit)
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

    /// The rows held, sorted, `rows` at a time.
    fn sorted(
        &mut self,
        rows: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + use<> {
        let held = std::mem::take(&mut self.held);
        self.held_rows = 0;
        let places = order_of(&held);
        let batches: Vec<RecordBatch> = held.into_iter().map(|(batch, _)| batch).collect();
        let schema = SchemaRef::clone(&self.schema);
        (0..places.len()).step_by(rows).map(move |start| {
            let end = places.len().min(start + rows);
            pick(&schema, &batches, &places[start..end])
        })
    }

    fn spill(
        &self,
        run: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    ) -> Result<Run, ArrowError> {
        let mut name = self.beside.file_name().unwrap_or_default().to_owned();
        name.push(format!(".run{}", self.runs.len()));
        let path = self.beside.with_file_name(name);
        let opened = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let file = opened.map_err(|error| named(error, &path))?;
        // Where a file that is open cannot lose its name, it keeps it until the reader is gone.
        let rest = fs::remove_file(&path).err().map(|_| Named(path.clone()));
        let mut writer = StreamWriter::try_new(BufWriter::new(file), &self.schema)?;
        for batch in run {
            writer.write(&batch?)?;
        }
        writer.finish()?;
        let mut buffer = writer.into_inner()?;
        buffer.flush().map_err(|error| named(error, &path))?;
        let mut file = buffer
            .into_inner()
            .map_err(|error| named(error.into_error(), &path))?;
        file.rewind().map_err(|error| named(error, &path))?;
        let reader = StreamReader::try_new(BufReader::new(file), None)?;
        Ok(Box::new(reader.inspect(move |_| {
            let _ = &rest;
        })))
    }
}

/// A file that is removed when nobody needs it any more.
struct Named(PathBuf);

impl Drop for Named {
    fn drop(&mut self) {
        // What is left is named after the output, for whoever looks.
        let _ = fs::remove_file(&self.0);
    }
}

fn named(error: io::Error, path: &Path) -> ArrowError {
    ArrowError::IoError(format!("{}: {error}", path.display()), error)
}

/// Where a row is: its batch, and its row there.
type Place = (usize, usize);

/// The places of all rows in the order of their keys.
fn order_of(batches: &[Keyed]) -> Vec<Place> {
    let rows = batches.iter().map(|(_, keys)| keys.num_rows()).sum();
    let mut order: Vec<(u128, u32, u32)> = Vec::with_capacity(rows);
    for (slot, (_, keys)) in (0u32..).zip(batches) {
        let rows = (0u32..).zip(keys.iter());
        order.extend(rows.map(|(row, key)| (prefix(&key), slot, row)));
    }
    let key = |&(_, slot, row): &(u128, u32, u32)| batches[slot as usize].1.row(row as usize);
    // Place breaks ties, so that rows of equal keys keep their order.
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

/// The first sixteen bytes of a key: whatever they order, the keys are ordered by.
fn prefix(key: &Row<'_>) -> u128 {
    let bytes = key.data();
    let mut first = [0; 16];
    let length = bytes.len().min(16);
    first[..length].copy_from_slice(&bytes[..length]);
    u128::from_be_bytes(first)
}

/// The rows at `places`; a column without values is not gathered.
fn pick(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    places: &[Place],
) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().enumerate().map(|(index, field)| {
        let column = |batch: &RecordBatch| ArrayRef::clone(batch.column(index));
        let arrays: Vec<ArrayRef> = batches.iter().map(column).collect();
        if arrays.iter().all(|array| array.null_count() == array.len()) {
            return Ok(new_null_array(field.data_type(), places.len()));
        }
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        interleave(&arrays, places)
    });
    let columns = columns.collect::<Result<_, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(places.len()));
    RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &rows)
}

/// One run and its current row.
struct Cursor {
    run: Run,
    /// In [`Merge::batches`].
    slot: usize,
    keys: Rows,
    row: usize,
    prefix: u128,
}

impl Cursor {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_prefix = self.prefix.cmp(&other.prefix);
        by_prefix.then_with(|| self.keys.row(self.row).cmp(&other.keys.row(other.row)))
    }
}

struct Merge<'s> {
    sorter: &'s Sorter,
    /// In the order the runs came.
    cursors: Vec<Cursor>,
    batches: Vec<RecordBatch>,
    places: Vec<Place>,
}

impl<'s> Merge<'s> {
    fn new(sorter: &'s Sorter, runs: Vec<Run>) -> Result<Self, ArrowError> {
        let mut merge = Self {
            sorter,
            cursors: Vec::with_capacity(runs.len()),
            batches: Vec::new(),
            places: Vec::with_capacity(BATCH_ROWS),
        };
        for run in runs {
            let cursor = merge.open(run)?;
            merge.cursors.extend(cursor);
        }
        Ok(merge)
    }

    /// A cursor on the first row of the run's next batch; `None` at its end.
    fn open(&mut self, mut run: Run) -> Result<Option<Cursor>, ArrowError> {
        for batch in run.by_ref() {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let keys = self.sorter.keys_of(&batch)?;
            self.batches.push(batch);
            return Ok(Some(Cursor {
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
        // Of equal keys the first run's row goes first: `min_by` takes the first of equals.
        while let Some(index) =
            (0..self.cursors.len()).min_by(|&a, &b| self.cursors[a].cmp(&self.cursors[b]))
        {
            let cursor = &mut self.cursors[index];
            self.places.push((cursor.slot, cursor.row));
            cursor.row += 1;
            if cursor.row < cursor.keys.num_rows() {
                cursor.prefix = prefix(&cursor.keys.row(cursor.row));
            } else {
                self.next_batch(index)?;
            }
            if self.places.len() == BATCH_ROWS {
                emit(self.flush()?)?;
            }
        }
        if !self.places.is_empty() {
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

    /// The rows taken so far; batches that no cursor is in are let go.
    fn flush(&mut self) -> Result<RecordBatch, ArrowError> {
        let batch = pick(&self.sorter.schema, &self.batches, &self.places)?;
        self.places.clear();
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
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("key", DataType::Utf8, true),
            Field::new("place", DataType::Int64, false),
            Field::new("empty", DataType::Utf8, true),
        ]))
    }

    /// Batches of the given sizes; each row knows its place.
    fn batches(keys: &[Option<String>], size: usize) -> Vec<RecordBatch> {
        let places: Vec<i64> = (0..).take(keys.len()).collect();
        let chunks = keys.chunks(size).zip(places.chunks(size));
        chunks
            .map(|(keys, places)| {
                let columns: Vec<ArrayRef> = vec![
                    Arc::new(StringArray::from_iter(keys)),
                    Arc::new(Int64Array::from(places.to_vec())),
                    new_null_array(&DataType::Utf8, keys.len()),
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
        if sorter.held_rows + sorter.runs.len() > 0 {
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
            keys in prop::collection::vec(prop::option::of("[ab]{0,2}|same long beginning [a-d]"), 0..200),
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
            prop_assert_eq!(places, expected.into_iter().map(|place| place as i64).collect::<Vec<_>>());
        }
    }
}
