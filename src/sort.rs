//! Sorts rows in the order of a file without holding all of them in memory.
//!
//! ```text
//! rows nearly in order ─► one batch waits for the next ─────────► handed on as they come
//! rows out of order ─► sorted runs, all but the last on disk ─► merged, handed on at the end
//! ```
//! `convert` and the publish of a partition both sort with it. Rows are ordered by natural key
//! (nulls first), then by task key and source row, see [`RowOrder`]. As long as no row belongs
//! further back than the batch before its own, rows wait for one batch only. When a row does, the
//! caller must give back the rows that were handed on; they become the first run. Where the system
//! allows, run files have no name, so that a killed process leaves none.

mod merge;
mod order;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, RecordBatch};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use self::merge::RunMerge;
pub use self::order::RowOrder;
use self::order::{KeyedBatch, RowPlace, gather, sorted_addresses};

/// Rows that are sorted, merged and handed on at once: as many as a chunk of the file's writer.
pub const BATCH_ROWS: usize = 8_192;
/// Rows of each run that are in memory while merging. A reader takes room for as many, however few
/// its file has.
pub const RUN_ROWS: usize = 2_048;

/// How much is held in memory before it is sorted and put on disk as a run. Sorting needs about
/// half as much again.
#[derive(Clone, Copy, Debug)]
pub struct RunSize {
    /// Rows.
    pub rows: usize,
    /// Bytes of their values.
    pub bytes: usize,
}

impl Default for RunSize {
    /// Half as many rows as a row group, which the file's writer holds too; fewer if they are long.
    fn default() -> Self {
        Self {
            rows: 65_536,
            bytes: 32 << 20,
        }
    }
}

/// Batches in order, and what to say if they are not.
pub struct SortedRun<E> {
    batches: Box<dyn Iterator<Item = Result<RecordBatch, E>> + Send>,
    not_in_order: Option<fn() -> E>,
}

impl<E> SortedRun<E> {
    /// Batches that this program has just put in order.
    pub fn new(batches: impl Iterator<Item = Result<RecordBatch, E>> + Send + 'static) -> Self {
        Self {
            batches: Box::new(batches),
            not_in_order: None,
        }
    }

    /// Batches from elsewhere. If they are not in order, the merge ends with this error.
    pub fn checked(
        batches: impl Iterator<Item = Result<RecordBatch, E>> + Send + 'static,
        not_in_order: fn() -> E,
    ) -> Self {
        Self {
            batches: Box::new(batches),
            not_in_order: Some(not_in_order),
        }
    }
}

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

/// Sorts the rows of one table.
pub struct Sorter<E> {
    order: RowOrder,
    /// Runs are written beside this file.
    beside: PathBuf,
    run_size: RunSize,
    /// The last row that was handed on, as long as everything was in order.
    last: Option<RowPlace>,
    /// The newest batch. Rows of the next one may belong into it.
    waiting: Option<KeyedBatch>,
    is_in_order: bool,
    buffered: Vec<KeyedBatch>,
    buffered_rows: usize,
    buffered_bytes: usize,
    runs: Vec<SortedRun<E>>,
    spilled: usize,
}

impl<E> std::fmt::Debug for Sorter<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Sorter");
        shown.field("runs", &self.runs.len());
        shown
            .field("buffered_rows", &self.buffered_rows)
            .finish_non_exhaustive()
    }
}

impl<E: From<ArrowError> + 'static> Sorter<E> {
    /// A sorter of batches in `order`. It writes runs of about `run_size` beside the file `beside`.
    pub fn new(order: RowOrder, beside: &Path, run_size: RunSize) -> Self {
        Self {
            order,
            beside: beside.to_owned(),
            run_size,
            last: None,
            waiting: None,
            is_in_order: true,
            buffered: Vec::new(),
            buffered_rows: 0,
            buffered_bytes: 0,
            runs: Vec::new(),
            spilled: 0,
        }
    }

    /// Adds rows that are sorted already, before any row is pushed. Then nothing is handed on
    /// before the end.
    pub fn merge_with(&mut self, run: SortedRun<E>) {
        self.keep_until_end();
        self.runs.push(run);
    }

    /// Hands nothing on before the end. For a caller that cannot give rows back; called before any
    /// row is pushed.
    pub const fn keep_until_end(&mut self) {
        self.is_in_order = false;
    }

    /// Takes the next rows.
    ///
    /// # Errors
    /// If a run cannot be written.
    pub fn push(&mut self, batch: RecordBatch) -> Result<Pushed, ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(Pushed::Waiting);
        }
        let batch = self.order.keyed(batch)?;
        if self.is_in_order {
            return self.push_nearly_in_order(batch);
        }
        self.buffer(batch)?;
        Ok(Pushed::Kept)
    }

    fn push_nearly_in_order(&mut self, batch: KeyedBatch) -> Result<Pushed, ArrowError> {
        let order = &self.order;
        let next = if order.is_sorted(&batch) {
            batch
        } else {
            let rows = batch.num_rows();
            order.rows_in_order(&[batch], 0, rows)?
        };
        let Some(waiting) = self.waiting.take() else {
            self.waiting = Some(next);
            return Ok(Pushed::Waiting);
        };
        let rows = waiting.num_rows();
        let (first, second) = if order.compare((&waiting, rows - 1), (&next, 0)).is_le() {
            (waiting, next)
        } else {
            let both = [waiting, next];
            let all = both[0].num_rows() + both[1].num_rows();
            (
                order.rows_in_order(&both, 0, rows)?,
                order.rows_in_order(&both, rows, all)?,
            )
        };
        let is_behind = |last: &RowPlace| order.is_behind(&first, 0, last);
        if self.last.as_ref().is_none_or(is_behind) {
            self.last = Some(order.place(&first, rows - 1));
            self.waiting = Some(second);
            return Ok(Pushed::InOrder(first.batch));
        }
        self.is_in_order = false;
        self.buffer(first)?;
        self.buffer(second)?;
        Ok(Pushed::Kept)
    }

    fn buffer(&mut self, batch: KeyedBatch) -> Result<(), ArrowError> {
        self.buffered_rows += batch.num_rows();
        self.buffered_bytes += size_bytes(&batch.batch)?;
        self.buffered.push(batch);
        if self.buffered_rows >= self.run_size.rows || self.buffered_bytes >= self.run_size.bytes {
            let run = self.sorted(RUN_ROWS);
            let spilled = self.spill(run)?;
            self.runs.push(spilled);
        }
        Ok(())
    }

    /// Takes back the rows that were handed on, as the run before all others.
    pub fn give_back(&mut self, run: SortedRun<E>) {
        self.runs.insert(0, run);
    }

    /// Hands on what was kept, in order.
    ///
    /// # Errors
    /// If a run cannot be read or is not in order, or `emit` fails.
    pub fn finish(mut self, mut emit: impl FnMut(RecordBatch) -> Result<(), E>) -> Result<(), E> {
        if let Some(waiting) = self.waiting.take() {
            return emit(waiting.batch);
        }
        let mut last = self.sorted(BATCH_ROWS);
        if self.runs.is_empty() {
            return last.try_for_each(|batch| emit(batch?));
        }
        let mut runs = std::mem::take(&mut self.runs);
        runs.push(SortedRun::new(last.map(|batch| Ok(batch?))));
        RunMerge::new(&self.order, runs)?.run(emit)
    }

    /// The buffered rows, sorted, `rows` at a time.
    fn sorted(
        &mut self,
        rows: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + use<E> {
        let buffered = std::mem::take(&mut self.buffered);
        (self.buffered_rows, self.buffered_bytes) = (0, 0);
        let addresses = sorted_addresses(&self.order, &buffered);
        let batches: Vec<RecordBatch> = buffered.into_iter().map(|keyed| keyed.batch).collect();
        let schema = self.order.schema();
        (0..addresses.len()).step_by(rows).map(move |start| {
            let end = addresses.len().min(start + rows);
            gather(&schema, &batches, &addresses[start..end])
        })
    }

    fn spill(
        &mut self,
        run: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    ) -> Result<SortedRun<E>, ArrowError> {
        let mut name = self.beside.file_name().unwrap_or_default().to_owned();
        name.push(format!(".run{}", self.spilled));
        self.spilled += 1;
        let path = self.beside.with_file_name(name);
        let opened = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let file = opened.map_err(|error| io_error(error, &path))?;
        // Where the system keeps the name of an open file, the file is removed with its reader.
        let rest = fs::remove_file(&path).err().map(|_| RunFile(path.clone()));
        let mut writer = StreamWriter::try_new(BufWriter::new(file), &self.order.schema())?;
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
        Ok(SortedRun::new(reader.map(move |batch| {
            let _ = &rest;
            Ok(batch?)
        })))
    }
}

/// Bytes of the values of a batch, whatever else their buffers hold.
fn size_bytes(batch: &RecordBatch) -> Result<usize, ArrowError> {
    let columns = batch.columns().iter();
    columns
        .map(|column| column.to_data().get_slice_memory_size())
        .sum()
}

/// A run in a file that has a name. It is removed when dropped.
#[derive(Debug)]
pub struct RunFile(pub PathBuf);

impl Drop for RunFile {
    fn drop(&mut self) {
        // A leftover is named after the output, so that people can tell what it is.
        let _ = fs::remove_file(&self.0);
    }
}

fn io_error(error: io::Error, path: &Path) -> ArrowError {
    ArrowError::IoError(format!("{}: {error}", path.display()), error)
}
