//! Every fixture converts, and every cell of it is what an independent reader (`tests/fixtures/expected.py`) says it is.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use jiff::tz::TimeZone;
use meetlake::testing::contract::{ColumnSource, Contract};
use meetlake::testing::convert::{self, Conversion};
use meetlake::testing::dataset::Dataset;
use meetlake::testing::decode::{self, Fallback, WorkbookLimits};
use meetlake::testing::job::DurationUnit;
use meetlake::testing::normalize::{self, Context, Normalized, Stamp};
use meetlake::testing::task::Lineage;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value, json};

use crate::app::fallback;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn fixtures() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder())
        .expect("the fixtures are part of the repository")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "xlsx"))
        .collect();
    paths.sort();
    paths
}

fn expected(fixture: &Path) -> Value {
    let name = fixture.file_stem().expect("a name").to_string_lossy();
    let path = folder().join("expected").join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON of expected.py")
}

fn dataset(expected: &Value) -> Dataset {
    expected["dataset"]
        .as_str()
        .expect("a name")
        .parse()
        .expect("a dataset")
}

/// The same as `TASK` in `expected.py`.
fn lineage() -> Lineage {
    let at = |text: &str| Some(text.parse().expect("an instant"));
    Lineage {
        meeting_no: Some("190924711".into()),
        meeting_start_time: at("2026-10-12T01:00:00Z"),
        meeting_end_time: at("2026-10-12T13:30:00Z"),
        join_time: at("2026-10-12T01:59:30Z"),
        user_id: Some("48beab13".into()),
        room_level_id: Some("omb_1".into()),
        ..Lineage::default()
    }
}

fn shanghai() -> TimeZone {
    TimeZone::get("Asia/Shanghai").expect("a zone")
}

fn normalized(fixture: &Path, dataset: Dataset) -> Normalized {
    let context = Context {
        contract: Contract::of(dataset),
        time_zone: shanghai(),
        tenant_zone: shanghai(),
        lineage: lineage(),
        stamp: Stamp::default(),
        buckets: None,
        top_user_duration: DurationUnit::Minutes,
        keys_from_task_required: true,
        keys: None,
    };
    let bytes = fs::read(fixture).expect("a fixture");
    let (read, table) = normalize::whole(&context, |normalizer| {
        decode::workbook(
            &bytes,
            context.contract,
            &WorkbookLimits::default(),
            &Fallback::in_this_process(),
            normalizer,
        )
    });
    read.unwrap_or_else(|e| panic!("{}: {e}", fixture.display()));
    table.unwrap_or_else(|e| panic!("{}: {e}", fixture.display()))
}

/// A cell of a batch as JSON: instants in microseconds, enumerations as their text.
pub(crate) fn value(batch: &RecordBatch, column: &str, row: usize) -> Value {
    let array = batch
        .column_by_name(column)
        .unwrap_or_else(|| panic!("no column {column}"));
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Timestamp(..) => {
            json!(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Dictionary(..) => {
            let array = array.as_dictionary::<Int32Type>();
            let names: &StringArray = array.values().as_string();
            json!(names.value(array.key(row).expect("not null")))
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (
                entries.column(0).as_string::<i32>(),
                entries.column(1).as_string::<i32>(),
            );
            let pairs = keys
                .iter()
                .zip(values)
                .map(|(k, v)| (k.expect("a key").to_owned(), json!(v)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        other => panic!("{column} has the type {other}"),
    }
}

/// Compares every cell and gives their number.
fn compare(fixture: &Path, batch: &RecordBatch, expected: &Value) -> usize {
    let columns = expected["columns"].as_array().expect("columns");
    let rows = expected["rows"].as_array().expect("rows");
    assert_eq!(batch.num_rows(), rows.len(), "{}", fixture.display());
    for (row, cells) in rows.iter().enumerate() {
        for (column, cell) in columns.iter().zip(cells.as_array().expect("cells")) {
            let column = column.as_str().expect("a name");
            let found = value(batch, column, row);
            assert_eq!(&found, cell, "{}, row {row}, {column}", fixture.display());
        }
    }
    rows.len() * columns.len()
}

#[test]
fn every_cell_of_every_fixture_is_what_the_oracle_says() {
    let mut cells = 0;
    let fixtures = fixtures();
    for fixture in &fixtures {
        let expected = expected(fixture);
        let dataset = dataset(&expected);
        let table = normalized(fixture, dataset);
        cells += compare(fixture, &table.batch, &expected);
        // All of the contract's own columns were compared, not only those the oracle happens to know. Keys of a lake
        // are none of the workbook, and what only the list by query tells may be missing.
        let compared = expected["columns"].as_array().expect("columns");
        let own = Contract::of(dataset)
            .columns
            .iter()
            .filter(|column| !matches!(column.source, ColumnSource::Keyed(_)))
            .filter(|column| !column.is_incidental)
            .filter(|column| !column.is_sparse || compared.contains(&json!(column.name)))
            .map(|column| json!(column.name));
        assert!(
            own.into_iter()
                .eq(compared[..compared.len() - 2].iter().cloned())
        );
        let findings = &table.findings;
        assert_eq!(json!(findings.missing_columns), expected["missing_columns"]);
        assert_eq!(json!(findings.extra_columns), expected["extra_columns"]);
        assert_eq!((findings.cells_rejected, findings.unknown_values), (0, 0));
        assert_eq!(
            findings.rows_read,
            findings.rows_out,
            "{}",
            fixture.display()
        );
    }
    println!("{} fixtures, {cells} cells compared", fixtures.len());
    assert!(cells > 15_000, "{cells}");
}

#[test]
fn a_converted_file_has_the_same_cells_and_says_what_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    for fixture in fixtures() {
        let expected = expected(&fixture);
        let output = folder.path().join("out.parquet");
        let conversion = Conversion {
            dataset: dataset(&expected),
            time_zone: shanghai(),
            lineage: lineage(),
            input: fixture.clone(),
            output: output.clone(),
            fallback: fallback(),
        };
        let report = convert::file(&conversion).expect("a fixture converts");
        let file = fs::File::open(&output).expect("an output");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
        let footer = reader
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .expect("a footer");
        let named = footer.iter().find(|pair| pair.key == "meetlake.dataset");
        assert_eq!(
            named.and_then(|pair| pair.value.as_deref()),
            Some(conversion.dataset.as_str())
        );
        assert_eq!(report.source_sha256.len(), 64);
        let schema = std::sync::Arc::clone(reader.schema());
        let batches = reader
            .build()
            .expect("a reader")
            .map(|b| b.expect("a batch"));
        let batch = arrow::compute::concat_batches(&schema, &batches.collect::<Vec<_>>());
        compare(&fixture, &batch.expect("one schema"), &expected);
    }
    let left = fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(left, 1, "only the output is left");
}
