//! A Parquet file that takes its rows in any order.
//!
//! ```text
//! rows ─► Sorter ─┬─ in order ──────────────► LastStep ─► FileWriter
//!                 └─ out of order: what is written already becomes the first run, and all runs
//!                    are merged into the file at the end
//! ```
//! The one way from rows to Parquet: `convert` and the publish of a partition differ only in their
//! [`LastStep`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use super::parquet::{FileWriter, Written};
use crate::contract::Contract;
use crate::sort::{Pushed, RUN_ROWS, RowOrder, RunFile, RunSize, SortedRun, Sorter};

/// What becomes of sorted rows before they are written.
pub trait LastStep {
    /// Why a step may fail.
    type Error: From<ArrowError> + From<ParquetError> + 'static;

    /// Writes the next rows in order, or keeps some of them for later.
    ///
    /// # Errors
    /// If they cannot be written.
    fn write(&mut self, rows: RecordBatch, file: &mut FileWriter) -> Result<(), Self::Error>;

    /// Writes what was kept for later.
    ///
    /// # Errors
    /// If it cannot be written.
    fn end(&mut self, file: &mut FileWriter) -> Result<(), Self::Error>;

    /// Turns written rows back into those that were sorted, should they have to be sorted again
    /// with others.
    fn reader(&self) -> impl Fn(&RecordBatch) -> Result<RecordBatch, Self::Error> + Send + 'static;
}

/// The file while it is written.
pub struct SortedFile<S: LastStep> {
    contract: &'static Contract,
    /// The key of the lake under which the keys of the rows were made.
    key_id: Option<String>,
    path: PathBuf,
    sorter: Sorter<S::Error>,
    writer: FileWriter,
    step: S,
    /// Whether rows were written that may have to be sorted again.
    has_rows: bool,
}

impl<S: LastStep> SortedFile<S> {
    /// Begins the file at `path`, whose rows get into `order` and then through `step`. Their keys
    /// are those of the lake's key called `key_id`. Runs are written beside it. If the file is not
    /// finished, it stays.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(
        path: &Path,
        contract: &'static Contract,
        key_id: Option<&str>,
        order: RowOrder,
        run_size: RunSize,
        step: S,
    ) -> Result<Self, ParquetError> {
        Ok(Self {
            contract,
            key_id: key_id.map(str::to_owned),
            path: path.to_owned(),
            sorter: Sorter::new(order, path, run_size),
            writer: FileWriter::create(path, contract, key_id)?,
            step,
            has_rows: false,
        })
    }

    /// Adds rows that are sorted already, before any row is pushed.
    pub fn merge_with(&mut self, run: SortedRun<S::Error>) {
        self.sorter.merge_with(run);
    }

    /// Takes the next rows.
    ///
    /// # Errors
    /// If file or runs cannot be written.
    pub fn push(&mut self, batch: RecordBatch) -> Result<(), S::Error> {
        match self.sorter.push(batch)? {
            Pushed::InOrder(batch) => {
                self.has_rows = true;
                self.step.write(batch, &mut self.writer)
            }
            Pushed::Waiting => Ok(()),
            Pushed::Kept => {
                if std::mem::replace(&mut self.has_rows, false) {
                    self.reopen_as_run()?;
                }
                Ok(())
            }
        }
    }

    /// Turns the rows that were written into one sorted run among others, and begins the file anew.
    fn reopen_as_run(&mut self) -> Result<(), S::Error> {
        self.step.end(&mut self.writer)?;
        let mut first = self.path.as_os_str().to_owned();
        first.push(".first");
        let first = RunFile(PathBuf::from(first));
        fs::rename(&self.path, &first.0).map_err(ParquetError::from)?;
        let next = FileWriter::create(&self.path, self.contract, self.key_id.as_deref())?;
        std::mem::replace(&mut self.writer, next).finish()?;
        let file = File::open(&first.0).map_err(ParquetError::from)?;
        let rows = ParquetRecordBatchReaderBuilder::try_new(file)?
            .with_batch_size(RUN_ROWS)
            .build()?;
        let read = self.step.reader();
        self.sorter.give_back(SortedRun::new(rows.map(move |batch| {
            // Keeps the file until its reader is done.
            let _ = &first;
            read(&batch?)
        })));
        Ok(())
    }

    /// Writes what is left and completes the file. Gives the step back.
    ///
    /// # Errors
    /// If the file cannot be written, or a run not be read.
    pub fn finish(self) -> Result<(Written, S), S::Error> {
        let (mut writer, mut step) = (self.writer, self.step);
        self.sorter.finish(|batch| step.write(batch, &mut writer))?;
        step.end(&mut writer)?;
        Ok((writer.finish()?, step))
    }
}
