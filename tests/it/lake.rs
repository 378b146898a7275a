//! Reads a lake as a stranger would: files by their names, rows by the parquet crate, manifests as JSON; and checks that it is sound.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use jiff::ToSpan;
use meetlake::testing::dataset::Dataset;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::app::TENANT;

/// A row by column; instants as Unix seconds, dates as `YYYY-MM-DD`, and the partition as `dt`.
pub(crate) type Row = Map<String, Value>;

/// The files of a dataset.
pub(crate) fn files(lake: &Path, dataset: Dataset) -> Vec<PathBuf> {
    below(&lake.join(dataset.as_str()))
}

/// All rows of a dataset, whatever is below its folder, as a glob for Parquet files would find them.
pub(crate) fn rows(lake: &Path, dataset: Dataset) -> Vec<Row> {
    let mut rows = Vec::new();
    let is_parquet = |file: &PathBuf| file.extension().is_some_and(|name| name == "parquet");
    for file in files(lake, dataset).into_iter().filter(is_parquet) {
        let folder = file.parent().and_then(Path::file_name).expect("a folder");
        let dt = folder.to_string_lossy().replace("dt=", "");
        for mut row in rows_of(&file) {
            row.insert("dt".into(), json!(dt));
            rows.push(row);
        }
    }
    rows
}

/// The rows of one file.
pub(crate) fn rows_of(file: &Path) -> Vec<Row> {
    batches(file).iter().flat_map(rows_of_batch).collect()
}

pub(crate) fn batches(file: &Path) -> Vec<RecordBatch> {
    let reader = fs::File::open(file).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(reader).expect("a Parquet file");
    let reader = reader.build().expect("a reader");
    reader.map(|batch| batch.expect("a batch")).collect()
}

fn rows_of_batch(batch: &RecordBatch) -> Vec<Row> {
    let mut rows = vec![Row::new(); batch.num_rows()];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column = match column.data_type() {
            DataType::Dictionary(..) => &cast(column, &DataType::Utf8).expect("text"),
            _ => column,
        };
        for (index, row) in rows.iter_mut().enumerate() {
            row.insert(field.name().clone(), value(column, index));
        }
    }
    rows
}

fn value(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => json!(column.as_primitive::<Int32Type>().value(row)),
        DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Timestamp(..) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            if micros % 1_000_000 == 0 {
                json!(micros / 1_000_000)
            } else {
                json!(micros as f64 / 1e6)
            }
        }
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().value(row);
            json!(jiff::civil::date(1970, 1, 1).saturating_add(days.days()))
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (
                entries.column(0).as_string::<i32>(),
                entries.column(1).as_string::<i32>(),
            );
            let pairs = (0..entries.len())
                .map(|entry| (keys.value(entry).to_owned(), json!(values.value(entry))));
            Value::Object(pairs.collect())
        }
        DataType::List(..) => {
            let elements = column.as_list::<i32>().value(row);
            elements
                .as_string::<i32>()
                .iter()
                .map(|text| json!(text))
                .collect()
        }
        other => panic!("no column has the type {other}"),
    }
}

/// Every file below a folder, sorted; none if it is not there.
pub(crate) fn below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The manifests of a partition by revision.
pub(crate) fn manifests(lake: &Path, dataset: Dataset, dt: &str) -> BTreeMap<u32, Value> {
    let folder = lake.join(format!("_manifest/{dataset}/tenant={TENANT}/dt={dt}"));
    records(&folder)
        .into_iter()
        .map(|(revision, path)| (revision, read_json(&path)))
        .collect()
}

pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

pub(crate) fn records(folder: &Path) -> BTreeMap<u32, PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten();
    files
        .filter_map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name()?.to_str()?;
            let revision = name.strip_prefix('r')?.strip_suffix(".json")?;
            Some((revision.parse().ok()?, path))
        })
        .collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What is wrong with a lake, whatever it holds: each partition is one file, described by the newest of a gapless chain of manifests, and its
/// originals are in packs that are named by their content.
pub(crate) fn unsound(lake: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for dataset in Dataset::ALL {
        let mut folders: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for file in files(lake, dataset) {
            let folder = file.parent().expect("a folder").to_owned();
            folders.entry(folder).or_default().push(file);
        }
        for (folder, files) in folders {
            let relative = folder.strip_prefix(lake).expect("below the lake");
            let at = relative.display();
            match files.as_slice() {
                [one] if one.ends_with("part-0.parquet") => wrong.extend(
                    unsound_partition(one, &lake.join("_manifest").join(relative))
                        .into_iter()
                        .map(|what| format!("{at}: {what}")),
                ),
                _ => wrong.push(format!("{at}: not one part-0.parquet but {files:?}")),
            }
        }
    }
    for pack in below(&lake.join("_raw")) {
        let bytes = fs::read(&pack).expect("a pack");
        if pack.file_stem().and_then(|name| name.to_str()) != Some(&sha256(&bytes)) {
            wrong.push(format!("{}: its name is not its content", pack.display()));
        }
    }
    wrong
}

fn unsound_partition(object: &Path, manifests: &Path) -> Vec<String> {
    let records = records(manifests);
    let mut wrong = Vec::new();
    let mut previous = Value::Null;
    let mut newest = Value::Null;
    for (index, (revision, path)) in records.iter().enumerate() {
        let bytes = fs::read(path).expect("a manifest");
        newest = serde_json::from_slice(&bytes).expect("JSON");
        if *revision as usize != index + 1 {
            wrong.push(format!("revision {} is missing", index + 1));
        }
        if newest["previous_sha256"] != previous {
            wrong.push(format!("the chain is broken at revision {revision}"));
        }
        previous = json!(sha256(&bytes));
    }
    let bytes = fs::read(object).expect("an object");
    if newest["object"]["sha256"] != json!(sha256(&bytes)) {
        wrong.push("the object is not that of the newest manifest".into());
    }
    let rows: usize = batches(object).iter().map(RecordBatch::num_rows).sum();
    if newest["rows"] != json!(rows) {
        wrong.push(format!("{rows} rows, the manifest says {}", newest["rows"]));
    }
    wrong
}
