//! Rows of a task on their way into the spool, each date in a file of its own.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use jiff::civil::Date;

use super::{Error, Spool, failed};
use crate::disk;
use crate::hashing::HashingWriter;
use crate::record::PassedRows;
use crate::sort::{RowOrder, RunSize, Sorter};
use crate::task::TaskKey;

/// Dates whose files are open at once. Rows of further dates wait for the end, sorted by date, so
/// that a workbook with a thousand dates does not take all of the process' files.
const MOST_OPEN: usize = 16;
/// The column by which those are sorted.
const DATE: &str = "dt of the spool";

/// The rows of one generation of a task on their way into the spool. Nobody sees them before they
/// are [kept](Self::keep). If they are not, they are removed.
pub struct SpoolingRows {
    spool: Spool,
    task: TaskKey,
    generation: u32,
    folder: TempFolder,
    open: BTreeMap<Date, DayFile>,
    /// Rows of dates beyond the first [`MOST_OPEN`].
    waiting: Option<Sorter<WaitingError>>,
    dates: BTreeSet<Date>,
    most_open: usize,
}

impl SpoolingRows {
    pub(super) fn begin(spool: Spool, task: TaskKey, generation: u32) -> Result<Self, Error> {
        Ok(Self {
            folder: TempFolder::make(&spool)?,
            spool,
            task,
            generation,
            open: BTreeMap::new(),
            waiting: None,
            dates: BTreeSet::new(),
            most_open: MOST_OPEN,
        })
    }

    /// Adds rows of a date. The rows of the first dates stay in the order in which they come; those
    /// of dates beyond [`MOST_OPEN`] are ordered by task and source row.
    ///
    /// # Errors
    /// If they cannot be encoded or written.
    pub fn add(&mut self, dt: Date, rows: &PassedRows) -> Result<(), Error> {
        self.dates.insert(dt);
        if !self.open.contains_key(&dt) && self.open.len() == self.most_open {
            return self.wait(dt, rows.batch());
        }
        self.write(dt, rows.batch())
    }

    /// Drops all rows that were added: the original is read again from its beginning.
    ///
    /// # Errors
    /// If the new folder cannot be made.
    pub fn restart(&mut self) -> Result<(), Error> {
        let (spool, task) = (self.spool.clone(), self.task.clone());
        *self = Self::begin(spool, task, self.generation)?;
        Ok(())
    }

    /// Keeps the rows; all dates appear together. Rows kept earlier for the same generation are
    /// replaced, so that a task that ran twice leaves one result. A task without rows keeps that it
    /// has none. Gives the dates.
    ///
    /// # Errors
    /// If the rows cannot be written to their end.
    pub fn keep(mut self) -> Result<BTreeSet<Date>, Error> {
        self.end_all()?;
        if let Some(waiting) = self.waiting.take() {
            self.write_waiting(waiting)?;
        }
        self.spool.remove(&self.task, self.generation)?;
        let rows = self.spool.rows_path(&self.task, self.generation);
        fs::rename(&self.folder.0, &rows).map_err(failed("keep the rows", &rows))?;
        Ok(std::mem::take(&mut self.dates))
    }

    fn write(&mut self, dt: Date, batch: &RecordBatch) -> Result<(), Error> {
        let path = self.unfinished(dt);
        let not_written = self.not_written(&path);
        let file = match self.open.entry(dt) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => match DayFile::create(&path, &batch.schema()) {
                Ok(file) => vacant.insert(file),
                Err(error) => return Err(not_written(error)),
            },
        };
        file.0.write(batch).map_err(not_written)
    }

    /// Where the rows of a date are until their hash is known.
    fn unfinished(&self, dt: Date) -> PathBuf {
        self.folder.0.join(dt.to_string())
    }

    fn end(&self, dt: Date, file: DayFile) -> Result<(), Error> {
        let from = self.unfinished(dt);
        let sha256 = file.finish().map_err(self.not_written(&from))?;
        let to = self.folder.0.join(format!("{dt}.{sha256}.arrow"));
        fs::rename(&from, &to).map_err(failed("write the rows", &to))?;
        crash_point!("w08-rows-half-written");
        Ok(())
    }

    fn wait(&mut self, dt: Date, batch: &RecordBatch) -> Result<(), Error> {
        let dated = with_date(batch, dt).map_err(self.not_encoded())?;
        let waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => {
                let order = RowOrder::new(dated.schema(), std::iter::once(DATE));
                let order = order.map_err(self.not_encoded())?;
                let beside = self.folder.0.join("waiting");
                let mut sorter = Sorter::new(order, &beside, RunSize::default());
                sorter.keep_until_end();
                sorter
            }
        };
        let pushed = self.waiting.insert(waiting).push(dated);
        pushed.map_err(self.not_written(&self.folder.0)).map(drop)
    }

    /// Writes the rows that wait, one date after another.
    fn write_waiting(&mut self, waiting: Sorter<WaitingError>) -> Result<(), Error> {
        let sorted = waiting.finish(|dated| Ok(self.write_dated(&dated)?));
        sorted.map_err(|error| match error {
            WaitingError::Sort(error) => self.not_written(&self.folder.0)(error),
            WaitingError::Write(error) => error,
        })?;
        self.end_all()
    }

    fn write_dated(&mut self, dated: &RecordBatch) -> Result<(), Error> {
        let (date, rows) = (dated.num_columns() - 1, dated.num_rows());
        let dates = dated.column(date).as_string::<i32>();
        let columns: Vec<usize> = (0..date).collect();
        let mut start = 0;
        while start < rows {
            let text = dates.value(start);
            let same = |row: &usize| dates.value(*row) == text;
            let end = start + (start..rows).take_while(same).count();
            let batch = dated.slice(start, end - start).project(&columns);
            let batch = batch.map_err(self.not_encoded())?;
            let dt: Date = text.parse().expect("it was written by `with_date`");
            // They come by date, so the file of an earlier one is complete.
            if !self.open.contains_key(&dt) {
                self.end_all()?;
            }
            self.write(dt, &batch)?;
            start = end;
        }
        Ok(())
    }

    fn end_all(&mut self) -> Result<(), Error> {
        for (dt, file) in std::mem::take(&mut self.open) {
            self.end(dt, file)?;
        }
        Ok(())
    }

    fn not_encoded(&self) -> impl FnOnce(ArrowError) -> Error + use<> {
        let task = self.task.clone();
        move |source| Error::Encode { task, source }
    }

    /// The error of a writer, which may be the disk's.
    fn not_written(&self, path: &Path) -> impl FnOnce(ArrowError) -> Error + use<> {
        let (path, not_encoded) = (path.to_owned(), self.not_encoded());
        move |error| match disk::io_cause(&error) {
            Some(source) => {
                // With its number, by which a full disk is told.
                let source = source.raw_os_error().map_or_else(
                    || io::Error::from(source.kind()),
                    io::Error::from_raw_os_error,
                );
                failed("write the rows", &path)(source)
            }
            None => not_encoded(error),
        }
    }
}

/// Why rows that waited could not be written.
enum WaitingError {
    Sort(ArrowError),
    Write(Error),
}

impl From<ArrowError> for WaitingError {
    fn from(error: ArrowError) -> Self {
        Self::Sort(error)
    }
}

impl From<Error> for WaitingError {
    fn from(error: Error) -> Self {
        Self::Write(error)
    }
}

/// The batch with its date as the last column.
fn with_date(batch: &RecordBatch, dt: Date) -> Result<RecordBatch, ArrowError> {
    let mut fields: Vec<FieldRef> = batch.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(DATE, DataType::Utf8, false)));
    let mut columns = batch.columns().to_vec();
    let dates = std::iter::repeat_n(dt.to_string(), batch.num_rows());
    columns.push(Arc::new(StringArray::from_iter_values(dates)));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// The file of one date, an Arrow IPC stream.
struct DayFile(StreamWriter<HashingWriter<BufWriter<File>>>);

impl DayFile {
    fn create(path: &Path, schema: &SchemaRef) -> Result<Self, ArrowError> {
        let file = HashingWriter::new(BufWriter::new(File::create_new(path)?));
        Ok(Self(StreamWriter::try_new(file, schema)?))
    }

    /// Ends the file and gives its SHA-256.
    fn finish(self) -> Result<String, ArrowError> {
        let (_, sha256) = self.0.into_inner()?.finish()?;
        Ok(sha256)
    }
}

/// A folder among the temporary files, removed when dropped unless it was renamed.
#[derive(Debug)]
struct TempFolder(PathBuf);

impl TempFolder {
    fn make(spool: &Spool) -> Result<Self, Error> {
        let path = spool.temp_path();
        fs::create_dir(&path).map_err(failed("make the folder", &path))?;
        Ok(Self(path))
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Already renamed, or half written: both are fine. `clean` removes what is left behind.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl fmt::Debug for SpoolingRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SpoolingRows");
        shown.field("task", &self.task).field("dates", &self.dates);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::compute::concat_batches;
    use jiff::ToSpan as _;
    use jiff::civil::date;

    use super::*;

    fn rows(numbers: &[i64]) -> PassedRows {
        let column = Arc::new(Int64Array::from(numbers.to_vec()));
        let batch = RecordBatch::try_from_iter([("n", column as _)]).expect("a batch");
        PassedRows::passed_by_policy(batch)
    }

    #[test]
    fn many_dates_need_few_files_at_once_and_each_keeps_its_rows_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(folder.path()).expect("a spool");
        let task = TaskKey::from_stored("00112233445566778899aabbccddeeff");
        let mut spooling = spool.begin_rows(&task, 1).expect("begun");
        spooling.most_open = 3;
        let day = |n: i64| date(2026, 1, 1).checked_add(n.days()).expect("a day");
        spooling.add(day(1), &rows(&[-1])).expect("added");
        spooling.restart().expect("begun again");
        spooling.most_open = 3;
        for n in 0..200 {
            let day = day(n * 7 % 20);
            spooling.add(day, &rows(&[n, n + 1_000])).expect("added");
            assert!(spooling.open.len() <= 3);
        }
        let dates = spooling.keep().expect("kept");
        assert_eq!(dates, (0..20).map(day).collect());
        for of in 0..20 {
            let schema = rows(&[]).batch().schema();
            let read = spool.read_rows(&task, 1, day(of), &schema).expect("read");
            let read = read.expect("rows").map(|batch| batch.expect("readable"));
            let batches: Vec<_> = read.map(|batch| batch.expect("ours")).collect();
            let batch = concat_batches(&batches[0].schema(), &batches).expect("one");
            let expected = (0..200).filter(|n| n * 7 % 20 == of);
            let expected: Vec<i64> = expected.flat_map(|n| [n, n + 1_000]).collect();
            let expected = rows(&expected);
            assert_eq!(&batch, expected.batch());
        }
        let left = fs::read_dir(folder.path().join("tmp")).expect("a folder");
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn rows_that_are_not_kept_leave_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(folder.path()).expect("a spool");
        let task = TaskKey::from_stored("00112233445566778899aabbccddeeff");
        let mut spooling = spool.begin_rows(&task, 1).expect("begun");
        spooling.add(date(2026, 1, 1), &rows(&[1])).expect("added");
        drop(spooling);
        for name in ["tmp", "rows"] {
            let left = fs::read_dir(folder.path().join(name)).expect("a folder");
            assert_eq!(left.count(), 0, "{name}");
        }
    }
}
