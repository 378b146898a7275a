//! Writes one Parquet file of a dataset and computes its hashes on the way.
//!
//! Takes record batches in their final order and gives the file, its SHA-256 and its **content
//! hash**. The file is a pure function of the rows: they are cut into fixed chunks whatever the
//! batches were, and nothing in it says when or by which build it was written. The content hash
//! covers the data columns and `_extra`, value by value in row order. It does not cover the other
//! lineage columns, which differ with every export, nor how values are encoded. Columns are encoded
//! in parallel once there is more than one chunk. This module does not know where the file goes.

mod columns;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, ListArray, MapArray, PrimitiveArray, RecordBatch,
    StringArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use self::columns::ColumnEncoders;
use crate::column::{ColumnKind, ColumnSource, Key};
use crate::contract::{self, Contract, lineage};
use crate::hashing::HashingWriter;
use crate::task::hex;

/// Rows handed to the encoder at once. Page boundaries depend on it, so it is part of the format:
/// never change it without need.
const CHUNK_ROWS: usize = 8_192;
/// Rows of a row group, a multiple of [`CHUNK_ROWS`]. It bounds the memory of writer and reader
/// (some 30 MB for the widest dataset).
const ROW_GROUP_ROWS: usize = 131_072;
/// Names no build and no time, so that the same rows give the same bytes. Readers parse this form.
const CREATED_BY: &str = "meetlake version 1";

/// Footer key: the dataset's name.
const DATASET: &str = "meetlake.dataset";
/// Footer key: the contract's version.
const CONTRACT_VERSION: &str = "meetlake.contract_version";
/// Footer key: SHA-256 of the sorted lines `<task key> <source sha256>` of the rows. The hashes
/// themselves, up to 100,000, are in the manifest.
const SOURCES_SHA256: &str = "meetlake.sources_sha256";
/// Footer key: the content hash.
const CONTENT_HASH: &str = "meetlake.content_hash";

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Rows in the file.
    pub rows: u64,
    /// Length of the file, bytes.
    pub size_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Hash of the rows' values; equal for equal content.
    pub content_hash: String,
}

/// Writes the batches, which follow the contract's schema, in their order to a new file.
///
/// # Errors
/// If a batch does not fit the contract or the file cannot be written.
#[cfg(test)]
pub fn write_file(
    path: &Path,
    contract: &'static Contract,
    batches: impl IntoIterator<Item = RecordBatch>,
) -> Result<Written, ParquetError> {
    let mut writer = FileWriter::create(path, contract)?;
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.finish()
}

/// A Parquet file that is being written.
pub struct FileWriter {
    contract: &'static Contract,
    writer: SerializedFileWriter<HashingWriter<BufWriter<File>>>,
    row_groups: ArrowRowGroupWriterFactory,
    /// Rows that do not fill a chunk yet.
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    columns: ColumnEncoders,
    /// Rows in `columns` since the last row group.
    group_rows: usize,
    rows: u64,
    sources: BTreeSet<(String, String)>,
}

impl fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("FileWriter");
        shown.field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl FileWriter {
    /// Begins a file. A file without rows is valid too.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: &Path, contract: &'static Contract) -> Result<Self, ParquetError> {
        let file = HashingWriter::new(BufWriter::new(File::create(path)?));
        let writer = ArrowWriter::try_new(file, contract.schema(), Some(properties(contract)))?;
        let (writer, row_groups) = writer.into_serialized_writer()?;
        let columns = ColumnEncoders::new(contract, &row_groups)?;
        Ok(Self {
            contract,
            writer,
            row_groups,
            pending: Vec::new(),
            pending_rows: 0,
            columns,
            group_rows: 0,
            rows: 0,
            sources: BTreeSet::new(),
        })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// If the batch does not fit the contract or the file cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        // Gives the batch the contract's own schema, or fails if its columns differ.
        let batch = RecordBatch::try_new(self.contract.schema(), batch.columns().to_vec())?;
        collect_sources(&batch, &mut self.sources);
        self.rows += batch.num_rows() as u64;
        self.pending_rows += batch.num_rows();
        self.pending.push(batch);
        while self.pending_rows >= CHUNK_ROWS {
            self.write_pending(CHUNK_ROWS)?;
        }
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self) -> Result<Written, ParquetError> {
        if self.pending_rows > 0 {
            self.write_pending(self.pending_rows)?;
        }
        if self.group_rows > 0 {
            self.end_row_group()?;
        }
        self.append_encoded(true)?;
        let content_hash = content_hash(self.rows, self.columns.finish()?);
        for (key, value) in [
            (SOURCES_SHA256, digest_of(&self.sources)),
            (CONTENT_HASH, content_hash.clone()),
        ] {
            let entry = KeyValue::new(key.to_owned(), value);
            self.writer.append_key_value_metadata(entry);
        }
        let (size_bytes, sha256) = self.writer.into_inner()?.finish()?;
        Ok(Written {
            rows: self.rows,
            size_bytes,
            sha256,
            content_hash,
        })
    }

    fn write_pending(&mut self, rows: usize) -> Result<(), ParquetError> {
        let all = match self.pending.as_slice() {
            [one] => one.clone(),
            many => concat_batches(&self.contract.schema(), many)?,
        };
        self.append_encoded(false)?;
        self.columns.write(all.slice(0, rows))?;
        self.group_rows += rows;
        self.pending_rows = all.num_rows() - rows;
        self.pending = match self.pending_rows {
            0 => Vec::new(),
            left => vec![all.slice(rows, left)],
        };
        if self.group_rows >= ROW_GROUP_ROWS {
            self.end_row_group()?;
        }
        Ok(())
    }

    fn end_row_group(&mut self) -> Result<(), ParquetError> {
        self.append_encoded(true)?;
        let next = self.writer.flushed_row_groups().len() + 1;
        self.columns.end_row_group(&self.row_groups, next)?;
        self.group_rows = 0;
        Ok(())
    }

    /// Appends the ended row group to the file once it is encoded. Meanwhile the next row group may
    /// grow.
    fn append_encoded(&mut self, wait: bool) -> Result<(), ParquetError> {
        let Some(chunks) = self.columns.take_encoded(wait)? else {
            return Ok(());
        };
        let mut row_group = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut row_group)?;
        }
        row_group.close()?;
        Ok(())
    }
}

/// The content hash in the footer of a file of this dataset; `None` for any other file.
///
/// # Errors
/// If the file is not readable as Parquet.
pub fn recorded_content_hash(
    path: &Path,
    contract: &Contract,
) -> Result<Option<String>, ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let footer = reader.metadata().file_metadata().key_value_metadata();
    let value = |key: &str| {
        let entry = footer?.iter().find(|entry| entry.key == key)?;
        entry.value.clone()
    };
    let is_ours = value(DATASET).as_deref() == Some(contract.dataset.as_str());
    Ok(value(CONTENT_HASH).filter(|_| is_ours))
}

/// The content hash computed from the rows of a file, whatever its footer says, and the number of
/// rows.
///
/// # Errors
/// If the file is not readable as Parquet, or its columns are not those of the contract.
pub fn hash_content_of_file(
    path: &Path,
    contract: &'static Contract,
) -> Result<(String, u64), ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()?;
    let data = contract.columns.iter().map(|column| column.name.clone());
    let mut columns: Vec<(String, Sha256)> = data
        .chain([lineage::EXTRA.to_owned()])
        .map(|name| (name, Sha256::new()))
        .collect();
    let (mut rows, mut canonical) = (0, Vec::new());
    for batch in reader {
        let batch = RecordBatch::try_new(contract.schema(), batch?.columns().to_vec())?;
        for (name, hash) in &mut columns {
            canonical.clear();
            write_canonical(&batch[name.as_str()], &mut canonical)?;
            hash.update(&canonical);
        }
        rows += batch.num_rows() as u64;
    }
    Ok((content_hash(rows, columns), rows))
}

/// Compression is zstd 3. Timestamps and other sorted or unique values are delta-encoded without a
/// dictionary (measured: a tenth smaller, and faster). The index holds statistics of every page,
/// but none of text columns that rows are not sorted by. There the least and the greatest value
/// exclude nothing, cost two comparisons a row, and would put somebody's name into the footer.
fn properties(contract: &Contract) -> WriterProperties {
    let level = ZstdLevel::try_new(3).expect("3 is a level of zstd");
    let entry = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let entries = vec![
        entry(DATASET, contract.dataset.to_string()),
        entry(CONTRACT_VERSION, contract::VERSION.to_string()),
    ];
    let mut builder = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_key_value_metadata(Some(entries));
    for column in &contract.columns {
        let is_list = column.kind == ColumnKind::TextList;
        let is_text = matches!(column.kind, ColumnKind::Id | ColumnKind::Text);
        let is_unique_text = is_text
            && column.source == ColumnSource::Sheet
            && (column.key != Key::No || column.name == "topic");
        if is_list || (is_text && column.key == Key::No) {
            let path = if is_list {
                list_elements(&column.name)
            } else {
                ColumnPath::from(column.name.as_str())
            };
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
        if column.kind == ColumnKind::Time {
            builder = without_dictionary(builder, &column.name, Encoding::DELTA_BINARY_PACKED);
        } else if is_unique_text {
            builder = without_dictionary(builder, &column.name, Encoding::DELTA_LENGTH_BYTE_ARRAY);
        }
    }
    for name in [
        lineage::SOURCE_ROW,
        lineage::WINDOW_START,
        lineage::WINDOW_END,
        lineage::EXTRACTED_AT,
    ] {
        builder = without_dictionary(builder, name, Encoding::DELTA_BINARY_PACKED);
    }
    builder.build()
}

/// The path of a list's only leaf, as the writer names it.
fn list_elements(column: &str) -> ColumnPath {
    ColumnPath::new([column, "list", "item"].map(str::to_owned).to_vec())
}

fn without_dictionary(
    builder: WriterPropertiesBuilder,
    column: &str,
    encoding: Encoding,
) -> WriterPropertiesBuilder {
    let column = ColumnPath::from(column);
    builder
        .set_column_dictionary_enabled(column.clone(), false)
        .set_column_encoding(column, encoding)
}

fn collect_sources(batch: &RecordBatch, sources: &mut BTreeSet<(String, String)>) {
    let text = |name| {
        let column = batch.column_by_name(name).map(AsArray::as_string::<i32>);
        column.expect("every contract has the lineage columns as text")
    };
    let (tasks, hashes) = (text(lineage::TASK_KEY), text(lineage::SOURCE_SHA256));
    let mut last = None;
    for pair in tasks.iter().zip(hashes.iter()) {
        if last == Some(pair) {
            continue;
        }
        last = Some(pair);
        let (task, hash) = (pair.0.unwrap_or_default(), pair.1.unwrap_or_default());
        sources.insert((task.to_owned(), hash.to_owned()));
    }
}

fn digest_of(sources: &BTreeSet<(String, String)>) -> String {
    let mut hash = Sha256::new();
    for (task, source) in sources {
        hash.update(format!("{task} {source}\n"));
    }
    hex(&hash.finalize())
}

/// The hash of all columns. Each column has a hash of its own, so that neither batches nor row
/// groups matter.
fn content_hash(rows: u64, columns: Vec<(String, Sha256)>) -> String {
    let mut hash = Sha256::new();
    hash.update(b"meetlake content 1\0");
    hash.update(rows.to_le_bytes());
    for (name, column) in columns {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(column.finalize());
    }
    hex(&hash.finalize())
}

/// Appends each value: 0 for null, or 1 and the value. Numbers are little-endian. Texts, lists and
/// maps have their length in front. The entries of a map are ordered by key.
fn write_canonical(array: &ArrayRef, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            out.reserve(texts.len() * (1 + size_of::<u64>()) + texts.value_data().len());
            write_values(texts.iter(), out, write_text);
        }
        DataType::Dictionary(key, _) if **key == DataType::Int32 => {
            let texts = array
                .as_dictionary::<Int32Type>()
                .downcast_dict::<StringArray>()
                .ok_or_else(|| unknown_type(array.data_type()))?;
            write_values(texts.into_iter(), out, write_text);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let instants = array.as_primitive::<TimestampMicrosecondType>();
            write_numbers(instants, out, i64::to_le_bytes);
        }
        DataType::Int64 => {
            write_numbers(array.as_primitive::<Int64Type>(), out, i64::to_le_bytes);
        }
        DataType::Int32 => {
            write_numbers(array.as_primitive::<Int32Type>(), out, i32::to_le_bytes);
        }
        DataType::Date32 => {
            write_numbers(array.as_primitive::<Date32Type>(), out, i32::to_le_bytes);
        }
        DataType::Float64 => {
            write_numbers(array.as_primitive::<Float64Type>(), out, f64::to_le_bytes);
        }
        DataType::Boolean => write_values(array.as_boolean().iter(), out, |v, out| {
            out.push(u8::from(v));
        }),
        DataType::List(item) if *item.data_type() == DataType::Utf8 => {
            write_lists(array.as_list(), out);
        }
        DataType::Map(_, _) => write_maps(array.as_map(), out),
        other => return Err(unknown_type(other)),
    }
    Ok(())
}

fn write_numbers<T: ArrowPrimitiveType, const N: usize>(
    numbers: &PrimitiveArray<T>,
    out: &mut Vec<u8>,
    bytes: impl Fn(T::Native) -> [u8; N],
) {
    out.reserve(numbers.len() * (1 + N));
    write_values(numbers.iter(), out, |v, out| {
        out.extend_from_slice(&bytes(v));
    });
}

fn write_values<T>(
    values: impl Iterator<Item = Option<T>>,
    out: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    for value in values {
        out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(value, out);
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn write_lists(lists: &ListArray, out: &mut Vec<u8>) {
    write_values(lists.iter(), out, |list, out| {
        out.extend((list.len() as u64).to_le_bytes());
        write_values(list.as_string::<i32>().iter(), out, write_text);
    });
}

fn write_maps(maps: &MapArray, out: &mut Vec<u8>) {
    for row in 0..maps.len() {
        out.push(u8::from(maps.is_valid(row)));
        if maps.is_null(row) {
            continue;
        }
        let entries = maps.value(row);
        let (keys, values) = (
            entries.column(0).as_string::<i32>(),
            entries.column(1).as_string::<i32>(),
        );
        let mut pairs: Vec<_> = keys.iter().zip(values.iter()).collect();
        pairs.sort_unstable();
        out.extend((pairs.len() as u64).to_le_bytes());
        for (key, value) in pairs {
            write_text(key.unwrap_or_default(), out);
            write_values([value].into_iter(), out, write_text);
        }
    }
}

fn unknown_type(data_type: &DataType) -> ArrowError {
    ArrowError::NotYetImplemented(format!("content hash of {data_type}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Column;
    use crate::datasets::Dataset;
    use crate::publish::rows;
    use arrow::array::{ListBuilder, StringBuilder, new_null_array};
    use arrow::datatypes::FieldRef;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn write(name: &str, batches: Vec<RecordBatch>) -> (Written, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        let contract = Contract::of(Dataset::TopUser);
        let written = write_file(&path, contract, batches).expect("written");
        (written, std::fs::read(path).expect("read"))
    }

    #[test]
    fn a_file_says_whose_it_is_and_what_it_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        let contract = Contract::of(Dataset::TopUser);
        let batch = rows::batch(&[rows::row("a", 1, "t1", 0)]);
        let written = write_file(&path, contract, [batch.clone()]).expect("written");
        assert_eq!(written.rows, 1);
        let footer = recorded_content_hash(&path, contract).expect("a footer");
        assert_eq!(footer, Some(written.content_hash));
        let other = Contract::of(Dataset::MeetingList);
        assert_eq!(recorded_content_hash(&path, other).expect("a footer"), None);
        let file = File::open(&path).expect("open");
        let mut reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .expect("a reader");
        let back = reader.next().expect("a batch").expect("rows");
        assert_eq!(back.columns(), batch.columns());
    }

    #[test]
    fn a_day_without_rows_is_a_valid_file_with_its_own_hash() {
        let (empty, bytes) = write("a", vec![]);
        assert_eq!(empty.rows, 0);
        assert_eq!(empty.size_bytes, bytes.len() as u64);
        assert_eq!(empty.sha256, hex(&Sha256::digest(&bytes)));
        let (one, _) = write("b", vec![rows::batch(&[rows::row("a", 1, "t1", 0)])]);
        assert_ne!(empty.content_hash, one.content_hash);
    }

    #[test]
    fn lineage_does_not_count_as_content_and_extra_does() {
        let a = write("a", vec![rows::batch(&[rows::row("a", 1, "t1", 0)])]).0;
        let b = write("b", vec![rows::batch(&[rows::row("a", 1, "t2", 7)])]).0;
        assert_eq!(a.content_hash, b.content_hash);
        assert_ne!(a.sha256, b.sha256);
        let mut with_extra = rows::row("a", 1, "t1", 0);
        with_extra.extra = vec![("列".into(), Some("x".into()))];
        let c = write("c", vec![rows::batch(&[with_extra])]).0;
        assert_ne!(a.content_hash, c.content_hash);
    }

    #[test]
    fn the_content_hash_never_changes() {
        // Pinned, because another hash for the same rows would publish every partition again.
        let written = write("a", vec![rows::batch(&[rows::row("a", 1, "t1", 0)])]).0;
        assert_eq!(
            written.content_hash,
            "2297990480ed79bc9fceea89b4bfd4cd294a9e7b9fccc81eefe2b5e6ee7d0b10"
        );
    }

    /// The rows of a column of lists.
    type Lists<'t> = [Option<&'t [Option<&'t str>]>];

    fn lists(rows: &Lists<'_>) -> ArrayRef {
        let mut builder = ListBuilder::new(StringBuilder::new());
        for row in rows {
            builder.append_option(row.map(|elements| elements.iter().copied()));
        }
        Arc::new(builder.finish())
    }

    #[test]
    fn no_two_columns_of_lists_are_hashed_alike() {
        let columns: [&Lists<'_>; 9] = [
            &[None],
            &[Some(&[])],
            &[Some(&[None])],
            &[Some(&[Some("")])],
            &[Some(&[Some("ab")])],
            &[Some(&[Some("a"), Some("b")])],
            &[Some(&[Some("b"), Some("a")])],
            &[Some(&[Some("a")]), Some(&[Some("b")])],
            &[Some(&[Some("a"), Some("b")]), Some(&[])],
        ];
        let mut hashed = BTreeSet::new();
        for rows in columns {
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            write_canonical(&lists(rows), &mut whole).expect("a known type");
            let between: ArrayRef = lists(&[&[None], rows, &[None]].concat());
            for row in 1..=rows.len() {
                write_canonical(&between.slice(row, 1), &mut parts).expect("a known type");
            }
            assert_eq!(whole, parts, "batches do not matter");
            assert!(hashed.insert(whole));
        }
    }

    #[test]
    fn lists_are_plainly_encoded_and_show_nobody_in_the_footer() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        let contract = Contract::of_columns(vec![Column::new(
            "contact_ids",
            ColumnKind::TextList,
            &[],
            "",
        )]);
        let rows: &Lists<'_> = &[Some(&[Some("ou_1"), Some("ou_2")]), None];
        let batch = list_batch(contract, lists(rows));
        let written = write_file(&path, contract, [batch.clone()]).expect("written");
        let file = File::open(&path).expect("open");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a reader");
        let leaf = reader.metadata().row_group(0).column(0).clone();
        assert_eq!(*leaf.column_path(), list_elements("contact_ids"));
        assert!(leaf.statistics().is_none());
        for encoding in leaf.encodings() {
            assert!(
                matches!(
                    encoding,
                    Encoding::PLAIN | Encoding::RLE | Encoding::RLE_DICTIONARY
                ),
                "{encoding}"
            );
        }
        let mut reader = reader.build().expect("a reader");
        let back = reader.next().expect("a batch").expect("rows");
        assert_eq!(back, batch);
        let hashed = hash_content_of_file(&path, contract).expect("hashed");
        assert_eq!(hashed, (written.content_hash, 2));
    }

    fn list_batch(contract: &Contract, lists: ArrayRef) -> RecordBatch {
        let schema = contract.schema();
        let null = |field: &FieldRef| new_null_array(field.data_type(), lists.len());
        let mut columns: Vec<ArrayRef> = schema.fields().iter().map(null).collect();
        columns[0] = lists;
        RecordBatch::try_new(schema, columns).expect("the columns of the contract")
    }

    #[test]
    fn lanes_write_what_one_writer_writes() {
        let folder = tempfile::tempdir().expect("a folder");
        let contract = Contract::of(Dataset::TopUser);
        let all: Vec<_> = (0..ROW_GROUP_ROWS + 10_000)
            .map(|n| {
                let mut row = rows::row(["a", "b"][n % 2], n as i32, "t1", n as i64);
                row.user_name = (n % 3 > 0).then(|| format!("user {}", n % 5_000));
                if n % 1_000 == 0 {
                    row.extra = vec![("列".into(), Some(n.to_string()))];
                }
                row
            })
            .collect();
        let batch = rows::batch(&all);
        let path = folder.path().join("lanes");
        let written = write_file(&path, contract, [batch.clone()]).expect("written");
        let properties = properties(contract);
        let mut one = ArrowWriter::try_new(Vec::new(), contract.schema(), Some(properties))
            .expect("a writer");
        for start in (0..all.len()).step_by(CHUNK_ROWS) {
            let rows = CHUNK_ROWS.min(all.len() - start);
            one.write(&batch.slice(start, rows)).expect("written");
        }
        for key in [SOURCES_SHA256, CONTENT_HASH] {
            let same = if key == CONTENT_HASH {
                written.content_hash.clone()
            } else {
                digest_of(&BTreeSet::from([("t1".to_owned(), String::new())]))
            };
            one.append_key_value_metadata(KeyValue::new(key.to_owned(), same));
        }
        let one = one.into_inner().expect("a file");
        let lanes = std::fs::read(&path).expect("read");
        assert_eq!(hex(&Sha256::digest(&one)), hex(&Sha256::digest(&lanes)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn batch_boundaries_do_not_show(cuts in prop::collection::vec(1usize..9_000, 0..6)) {
            let all: Vec<_> = (0..20_000)
                .map(|n| rows::row(["a", "b", "c"][n % 3], n as i32, "t1", n as i64))
                .collect();
            let whole = write("a", vec![rows::batch(&all)]);
            let mut rest = all.as_slice();
            let mut batches = Vec::new();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                batches.push(rows::batch(head));
                rest = tail;
            }
            batches.push(rows::batch(rest));
            prop_assert!(whole == write("b", batches));
        }
    }
}
