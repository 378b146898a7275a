//! Converts one workbook or report on disk into one Parquet file, offline: decode, normalize,
//! write.
//!
//! ```text
//! this thread     decode ─► normalize ──batches, verdict──┐                              ┌─► rename
//! writing thread  hash of the source ─────────────────────┴► sort ─► complete ─► encode ─┘
//! ```
//! Takes paths, and the values that a task would otherwise supply. The stages are those of the
//! pipeline, without task, ledger or lake. The output appears whole or not at all: it is written
//! beside the target, and renamed when the whole table was accepted. Memory holds the shared
//! strings of the source, the batches that wait, and a row group or two.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use jiff::tz::TimeZone;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::contract::Contract;
use crate::datasets::{Dataset, DurationUnit, Lineage};
use crate::decode::{self, Fallback, WorkbookLimits};
use crate::normalize::{
    self, BATCH_ROWS, ConstantColumns, Context, Findings, Normalizer, NormalizerOutput, Quarantine,
    Stamp,
};
use crate::publish::order::{Pushed, RUN_ROWS, Sorter};
use crate::publish::parquet::{FileWriter, Written};
use crate::task::hex;

/// What to convert into what.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// Dataset of the input.
    pub dataset: Dataset,
    /// Zone of date-times that name none, and of a daily report's dates.
    pub time_zone: TimeZone,
    /// Values of the columns that only a task knows.
    pub lineage: Lineage,
    /// The workbook, or the JSON answer of a report.
    pub input: PathBuf,
    /// The Parquet file. An existing one is replaced.
    pub output: PathBuf,
    /// Where calamine reads a workbook that our own reader does not support.
    pub fallback: Fallback,
}

/// What was read, and what was found in it.
#[derive(Clone, Debug, Serialize)]
pub struct ConversionReport {
    /// SHA-256 of the input, hex digits.
    pub source_sha256: String,
    /// Sheets with rows of the dataset.
    pub sheets: Vec<String>,
    /// Sheets that were skipped, and why.
    pub ignored_sheets: Vec<(String, String)>,
    /// What did not fit the contract, and which columns were missing or unknown.
    pub findings: Findings,
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input cannot be read from disk.
    #[error("cannot read {path}: {source}")]
    Input {
        /// The input.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The input cannot be decoded as a table of the dataset.
    #[error("{path}: {source}")]
    Decode {
        /// The input.
        path: PathBuf,
        /// What is wrong with it.
        source: decode::Error,
    },
    /// The table does not fit the contract.
    #[error("{path}: {source}")]
    Quarantined {
        /// The input.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Quarantine>,
    },
    /// The output cannot be written.
    #[error("cannot write {path}: {source}")]
    Output {
        /// The output.
        path: PathBuf,
        /// The reason.
        source: ParquetError,
    },
}

/// Batches that may wait for the writing thread. It is more than arrive while that thread sorts and
/// writes a run.
const BATCHES_AHEAD: usize = 8;
/// Number of batches after which the system is asked to write the file to disk: about a row group.
const BATCHES_PER_FLUSH: usize = 16;
/// Bytes of the source that are read at once while it is hashed.
const HASH_BUFFER_BYTES: usize = 256 << 10;

/// What the reading thread sends to the writing thread.
enum WriterMessage {
    Output(NormalizerOutput),
    /// The table is complete and was accepted.
    Accepted,
}

/// Converts one file.
///
/// # Errors
/// The input cannot be read, is no table of the dataset or does not fit its contract, or the output
/// cannot be written. Then there is no new output, and an old one is unchanged.
pub fn file(conversion: &Conversion) -> Result<ConversionReport, Error> {
    let path = || conversion.input.clone();
    let unreadable = |source| Error::Input {
        path: path(),
        source,
    };
    let unwritable = |source| Error::Output {
        path: conversion.output.clone(),
        source,
    };
    let input = InputFile::open(&conversion.input).map_err(unreadable)?;
    let context = conversion_context(
        conversion.dataset,
        &conversion.time_zone,
        conversion.lineage.clone(),
    );
    let scratch = ScratchFile::of(&conversion.output);
    let (to_writer, messages) = sync_channel(BATCHES_AHEAD);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let source_sha256 = input.sha256().map_err(unreadable)?;
            let stamp = Stamp {
                source_sha256,
                ..context.stamp.clone()
            };
            write_rows(messages, &stamp, &context, &scratch.0).map_err(unwritable)?;
            Ok(stamp.source_sha256)
        });
        let send_to_writer = {
            let to_writer = to_writer.clone();
            // If the writing thread has ended, its result says why.
            move |output| drop(to_writer.send(WriterMessage::Output(output)))
        };
        // If the input changed meanwhile, that is reported instead: other errors may be due to the
        // change.
        let unless_changed = |error| input.check_unchanged().map_or_else(unreadable, |()| error);
        let mut normalizer = Normalizer::streaming(&context, send_to_writer);
        let summary = decode_input(conversion, &input, context.contract, &mut normalizer);
        let summary = summary.map_err(|error| match error {
            decode::Error::Unreadable(reason) => {
                unless_changed(unreadable(io::Error::other(reason)))
            }
            source => unless_changed(Error::Decode {
                path: path(),
                source,
            }),
        })?;
        let findings = normalizer.finish_stream();
        let mut findings = findings.map_err(|source| {
            unless_changed(Error::Quarantined {
                path: path(),
                source,
            })
        })?;
        findings.left_to_calamine = summary.reader.left_to_calamine();
        // As above: if the writing thread has ended, its result says why.
        let _ = to_writer.send(WriterMessage::Accepted);
        drop(to_writer);
        let written = writer.join().unwrap_or_else(|panic| resume_unwind(panic));
        let source_sha256 = written.map_err(unless_changed)?;
        input.check_unchanged().map_err(unreadable)?;
        fs::rename(&scratch.0, &conversion.output).map_err(|error| unwritable(error.into()))?;
        let sheets = summary.sheets.into_iter().map(|sheet| sheet.name);
        let ignored = summary.ignored.into_iter();
        Ok(ConversionReport {
            source_sha256,
            sheets: sheets.collect(),
            ignored_sheets: ignored.map(|sheet| (sheet.name, sheet.reason)).collect(),
            findings,
        })
    })
}

fn decode_input(
    conversion: &Conversion,
    input: &InputFile,
    contract: &Contract,
    sink: &mut Normalizer<'_>,
) -> Result<decode::DecodeSummary, decode::Error> {
    let (limits, fallback) = (WorkbookLimits::default(), &conversion.fallback);
    if conversion.dataset.is_export() {
        let (file, length) = (&input.file, input.length);
        return decode::workbook_file(file, length, contract, &limits, fallback, sink);
    }
    let bytes = input.read_all();
    let bytes = bytes.map_err(|error| decode::Error::Unreadable(error.to_string()))?;
    decode::original(&bytes, contract, &limits, fallback, sink)
}

fn conversion_context(dataset: Dataset, zone: &TimeZone, lineage: Lineage) -> Context {
    Context {
        contract: Contract::of(dataset),
        time_zone: zone.clone(),
        tenant_zone: zone.clone(),
        lineage,
        // The stamp is set by the writing thread, which also hashes the source.
        stamp: Stamp::default(),
        buckets: None,
        top_user_duration: DurationUnit::Minutes,
        keys_from_task_required: false,
    }
}

/// The file that is converted. It is read twice, once for its rows and once for its hash, so it
/// must not change.
struct InputFile {
    file: File,
    length: usize,
    /// Time of the last change (ctime), seconds and nanoseconds. Unlike the time of the last write,
    /// no program can set it.
    changed: (i64, i64),
}

impl InputFile {
    /// Opens the file. A file beyond the limits is refused before it is read.
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let (metadata, most) = (file.metadata()?, WorkbookLimits::default().container_bytes);
        if !metadata.is_file() {
            let reason = "it is no regular file; what a pipe gives must be put into one first";
            return Err(io::Error::other(reason));
        }
        let size = metadata.len();
        if size > most {
            let reason = format!("it has {size} bytes, at most {most} are read");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        Ok(Self {
            file,
            length: usize::try_from(size).map_err(io::Error::other)?,
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// All bytes of the file.
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn check_unchanged(&self) -> io::Result<()> {
        let now = self.file.metadata()?;
        let changed = (now.ctime(), now.ctime_nsec());
        if (now.len(), changed) == (self.length as u64, self.changed) {
            return Ok(());
        }
        let reason = "it was changed while it was read; try again when nobody writes to it";
        Err(io::Error::other(reason))
    }

    /// SHA-256 of the file, hex digits.
    fn sha256(&self) -> io::Result<String> {
        let (mut hash, mut piece) = (Sha256::new(), vec![0; HASH_BUFFER_BYTES]);
        let mut at = 0;
        while at < self.length {
            let length = piece.len().min(self.length - at);
            self.file.read_exact_at(&mut piece[..length], at as u64)?;
            hash.update(&piece[..length]);
            at += length;
        }
        Ok(hex(&hash.finalize()))
    }
}

/// A temporary file beside the target, so that nobody sees half a file under the target's name. It
/// is removed unless it was renamed.
struct ScratchFile(PathBuf);

impl ScratchFile {
    fn of(target: &Path) -> Self {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        Self(target.with_file_name(name))
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // The file is gone if it was renamed.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes the rows to `path`, in the order of the natural key. If the table is not accepted, the
/// unfinished file stays.
fn write_rows(
    messages: Receiver<WriterMessage>,
    stamp: &Stamp,
    context: &Context,
    path: &Path,
) -> Result<(), ParquetError> {
    let constants = ConstantColumns::new(context, stamp, BATCH_ROWS);
    let mut out = SortedOutput::new(context, &constants, path, RUN_ROWS)?;
    for message in messages {
        match message {
            WriterMessage::Output(NormalizerOutput::Rows(batch)) => out.push(batch)?,
            WriterMessage::Output(NormalizerOutput::Restart) => {
                // Drop the old one first: bytes that it still holds would go into the new file.
                drop(out);
                out = SortedOutput::new(context, &constants, path, RUN_ROWS)?;
            }
            WriterMessage::Accepted => {
                out.finish()?;
                break;
            }
        }
    }
    Ok(())
}

/// The output while it is written. Takes rows in their final order.
struct OutputFile<'a> {
    constants: &'a ConstantColumns,
    path: &'a Path,
    writer: FileWriter,
    /// Number of batches that were written.
    batches: usize,
    /// A thread that writes to disk what there is, so that the end does not wait for all of it.
    flushing: Option<JoinHandle<io::Result<()>>>,
}

impl<'a> OutputFile<'a> {
    fn new(
        contract: &'static Contract,
        constants: &'a ConstantColumns,
        path: &'a Path,
    ) -> Result<Self, ParquetError> {
        Ok(Self {
            constants,
            path,
            writer: FileWriter::create(path, contract)?,
            batches: 0,
            flushing: None,
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.writer.write(&self.constants.complete(batch))?;
        self.batches += 1;
        if self.batches.is_multiple_of(BATCHES_PER_FLUSH) {
            self.flush()?;
        }
        Ok(())
    }

    /// Starts to flush, unless a flush is still running.
    fn flush(&mut self) -> io::Result<()> {
        if self.flushing.as_ref().is_some_and(|at| !at.is_finished()) {
            return Ok(());
        }
        self.end_flushing()?;
        let file = File::open(self.path)?;
        self.flushing = Some(thread::spawn(move || file.sync_data()));
        Ok(())
    }

    /// Waits for the flush and returns its result. The system reports a failure only once, so every
    /// result must be checked.
    fn end_flushing(&mut self) -> io::Result<()> {
        let Some(flushing) = self.flushing.take() else {
            return Ok(());
        };
        flushing.join().unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Completes the file and writes it to disk.
    fn finish(mut self) -> Result<Written, ParquetError> {
        self.end_flushing()?;
        let written = self.writer.finish()?;
        File::open(self.path)?.sync_all()?;
        Ok(written)
    }
}

/// The output while it is written. Takes rows in any order.
struct SortedOutput<'a> {
    contract: &'static Contract,
    sorter: Sorter,
    target: OutputFile<'a>,
    /// Whether rows were written directly, without sorting.
    has_rows: bool,
    is_in_order: bool,
}

impl<'a> SortedOutput<'a> {
    fn new(
        context: &Context,
        constants: &'a ConstantColumns,
        path: &'a Path,
        run_rows: usize,
    ) -> Result<Self, ParquetError> {
        let contract = context.contract;
        let schema = normalize::read_schema(contract);
        Ok(Self {
            contract,
            sorter: Sorter::new(schema, contract.key_columns(), path, run_rows)?,
            target: OutputFile::new(contract, constants, path)?,
            has_rows: false,
            is_in_order: true,
        })
    }

    fn push(&mut self, batch: RecordBatch) -> Result<(), ParquetError> {
        match self.sorter.push(batch)? {
            Pushed::InOrder(batch) => {
                self.has_rows = true;
                self.target.write(&batch)
            }
            Pushed::Waiting => Ok(()),
            Pushed::Kept => {
                if std::mem::replace(&mut self.is_in_order, false) && self.has_rows {
                    self.reopen_as_run()?;
                }
                Ok(())
            }
        }
    }

    /// Turns the rows that were written directly into one sorted run among others, and starts the
    /// output anew.
    fn reopen_as_run(&mut self) -> Result<(), ParquetError> {
        let OutputFile {
            constants, path, ..
        } = self.target;
        let mut first = path.as_os_str().to_owned();
        first.push(".first");
        let first = ScratchFile(PathBuf::from(first));
        fs::rename(path, &first.0)?;
        let next = OutputFile::new(self.contract, constants, path)?;
        let mut written = std::mem::replace(&mut self.target, next);
        written.end_flushing()?;
        written.writer.finish()?;
        let rows = ParquetRecordBatchReaderBuilder::try_new(File::open(&first.0)?)?
            .with_batch_size(BATCH_ROWS)
            .build()?;
        let read_columns = normalize::ReadColumns::new(self.contract);
        self.sorter.give_back(Box::new(rows.map(move |batch| {
            // Keeps the file until its reader is done.
            let _ = &first;
            Ok::<_, ArrowError>(read_columns.select(&batch?))
        })));
        Ok(())
    }

    fn finish(self) -> Result<Written, ParquetError> {
        let mut target = self.target;
        self.sorter.finish(|batch| target.write(&batch))?;
        target.finish()
    }
}

#[cfg(test)]
mod tests;
