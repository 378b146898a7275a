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
use jiff::tz::TimeZone;
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
use crate::publish::parquet::FileWriter;
use crate::publish::sorted_file::{LastStep, SortedFile};
use crate::sort::{RowOrder, RunSize};
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
        let mut normalizer = Normalizer::new(&context, send_to_writer);
        let summary = decode::original(
            &input.file,
            input.length,
            (context.contract, &conversion.dataset.own_source()),
            &WorkbookLimits::default(),
            &conversion.fallback,
            &mut normalizer,
        );
        let summary = summary.map_err(|error| match error {
            decode::Error::Unreadable(reason) => {
                unless_changed(unreadable(io::Error::other(reason)))
            }
            source => unless_changed(Error::Decode {
                path: path(),
                source,
            }),
        })?;
        let findings = normalizer.finish();
        let mut findings = findings.map_err(|source| {
            unless_changed(Error::Quarantined {
                path: path(),
                source,
            })
        })?;
        summary.tell(&mut findings);
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
        keys: None,
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

/// Writes the rows to `path`, in the order of the contract. If the table is not accepted, the
/// unfinished file stays.
fn write_rows(
    messages: Receiver<WriterMessage>,
    stamp: &Stamp,
    context: &Context,
    path: &Path,
) -> Result<(), ParquetError> {
    let constants = ConstantColumns::new(context, stamp, BATCH_ROWS);
    let mut out = begin_file(context, &constants, path, RunSize::default())?;
    for message in messages {
        match message {
            WriterMessage::Output(NormalizerOutput::Rows(batch)) => out.push(batch)?,
            WriterMessage::Output(NormalizerOutput::Restart) => {
                // Drop the old one first: bytes that it still holds would go into the new file.
                drop(out);
                out = begin_file(context, &constants, path, RunSize::default())?;
            }
            WriterMessage::Accepted => {
                let (_, mut completion) = out.finish()?;
                completion.end_flushing()?;
                File::open(path)?.sync_all()?;
                break;
            }
        }
    }
    Ok(())
}

fn begin_file<'a>(
    context: &Context,
    constants: &'a ConstantColumns,
    path: &Path,
    run_size: RunSize,
) -> Result<SortedFile<Completion<'a>>, ParquetError> {
    let contract = context.contract;
    let order = RowOrder::new(normalize::read_schema(contract), contract.key_columns())?;
    let completion = Completion {
        contract,
        constants,
        path: path.to_owned(),
        batches: 0,
        flushing: None,
    };
    SortedFile::create(path, contract, None, order, run_size, completion)
}

/// Completes sorted rows by the columns that only a task knows. Sorting them too would move the
/// same values around.
struct Completion<'a> {
    contract: &'static Contract,
    constants: &'a ConstantColumns,
    path: PathBuf,
    /// Number of batches that were written.
    batches: usize,
    /// A thread that writes to disk what there is, so that the end does not wait for all of it.
    flushing: Option<JoinHandle<io::Result<()>>>,
}

impl LastStep for Completion<'_> {
    type Error = ParquetError;

    fn write(&mut self, rows: RecordBatch, file: &mut FileWriter) -> Result<(), ParquetError> {
        file.write(&self.constants.complete(&rows))?;
        self.batches += 1;
        if self.batches.is_multiple_of(BATCHES_PER_FLUSH) {
            self.flush()?;
        }
        Ok(())
    }

    fn end(&mut self, _: &mut FileWriter) -> Result<(), ParquetError> {
        Ok(())
    }

    fn reader(
        &self,
    ) -> impl Fn(&RecordBatch) -> Result<RecordBatch, ParquetError> + Send + 'static {
        let read_columns = normalize::ReadColumns::new(self.contract);
        move |written| Ok(read_columns.select(written))
    }
}

impl Completion<'_> {
    /// Starts to flush, unless a flush is still running.
    fn flush(&mut self) -> io::Result<()> {
        if self.flushing.as_ref().is_some_and(|at| !at.is_finished()) {
            return Ok(());
        }
        self.end_flushing()?;
        let file = File::open(&self.path)?;
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
}

#[cfg(test)]
mod tests;
