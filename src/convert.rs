//! One workbook (or report) that somebody already has becomes one Parquet file, offline: decode, normalize, write.
//!
//! Takes paths and what only a task would know; the same stages as the pipeline, without task, ledger or lake. The file appears whole or
//! not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use jiff::tz::TimeZone;
use parquet::errors::ParquetError;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::contract::Contract;
use crate::dataset::Dataset;
use crate::decode::{self, Fallback, Limits};
use crate::job::DurationUnit;
use crate::normalize::{Context, Findings, Normalizer, Quarantine, Stamp};
use crate::publish;
use crate::task::{Lineage, hex};

/// What to convert into what.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// What the input is.
    pub dataset: Dataset,
    /// Zone of date-times without one, and of a daily report's dates.
    pub time_zone: TimeZone,
    /// Values of the columns that only a task knows.
    pub lineage: Lineage,
    /// The workbook, or the JSON answer of a report.
    pub input: PathBuf,
    /// The Parquet file; replaced if it is there.
    pub output: PathBuf,
    /// Where a workbook is read that our own reader does not know.
    pub fallback: Fallback,
}

/// What was converted.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// SHA-256 of the input, hex digits.
    pub source_sha256: String,
    /// Sheets with rows of the dataset.
    pub sheets: Vec<String>,
    /// Sheets that were left, and why.
    pub ignored_sheets: Vec<(String, String)>,
    /// What did not fit, and what was and was not there.
    pub findings: Findings,
}

/// Why there is no file.
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
    /// The input is no table of the dataset.
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

/// Converts one file.
///
/// # Errors
/// The input cannot be read, is no table of the dataset or does not fit its contract, or the output cannot be written; then there is no
/// new output, and an old one is as it was.
pub fn file(conversion: &Conversion) -> Result<Report, Error> {
    let path = || conversion.input.clone();
    let bytes = read(&conversion.input).map_err(|source| Error::Input {
        path: path(),
        source,
    })?;
    let context = context(conversion, &bytes);
    let contract = context.contract;
    let mut normalizer = Normalizer::new(&context);
    let summary = if conversion.dataset.is_report() {
        decode::report(&bytes, contract, &mut normalizer)
    } else {
        decode::workbook(
            &bytes,
            contract,
            &Limits::default(),
            &conversion.fallback,
            &mut normalizer,
        )
    };
    let summary = summary.map_err(|source| Error::Decode {
        path: path(),
        source,
    })?;
    let table = normalizer.finish();
    let mut table = table.map_err(|source| Error::Quarantined {
        path: path(),
        source,
    })?;
    table.findings.left_to_calamine = summary.reader.left_to_calamine();
    write(&table.batch, &context, &conversion.output).map_err(|source| Error::Output {
        path: conversion.output.clone(),
        source,
    })?;
    let sheets = summary.sheets.into_iter().map(|sheet| sheet.name);
    let ignored = summary.ignored.into_iter();
    Ok(Report {
        source_sha256: context.stamp.source_sha256,
        sheets: sheets.collect(),
        ignored_sheets: ignored.map(|sheet| (sheet.name, sheet.reason)).collect(),
        findings: table.findings,
    })
}

fn context(conversion: &Conversion, bytes: &[u8]) -> Context {
    Context {
        contract: Contract::of(conversion.dataset),
        time_zone: conversion.time_zone.clone(),
        tenant_zone: conversion.time_zone.clone(),
        lineage: conversion.lineage.clone(),
        stamp: Stamp {
            source_sha256: hex(&Sha256::digest(bytes)),
            ..Stamp::default()
        },
        buckets: None,
        top_user_duration: DurationUnit::Minutes,
        keys_from_task_required: false,
    }
}

/// Reads the file; one beyond the limits is not read at all.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (size, most) = (fs::metadata(path)?.len(), Limits::default().container_bytes);
    if size > most {
        let reason = format!("it has {size} bytes, at most {most} are read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    fs::read(path)
}

/// Writes beside the target and renames, so that nobody sees half a file.
fn write(batch: &RecordBatch, context: &Context, target: &Path) -> Result<(), ParquetError> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = target.with_file_name(name);
    let written = write_to(batch, context, &beside).and_then(|()| Ok(fs::rename(&beside, target)?));
    if written.is_err() {
        // The first error is the one to tell; there may be nothing to remove.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_to(batch: &RecordBatch, context: &Context, path: &Path) -> Result<(), ParquetError> {
    publish::parquet::write_file(path, context.contract, [batch.clone()])?;
    Ok(File::open(path)?.sync_all()?)
}
