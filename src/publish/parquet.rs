//! Writes one Parquet file of a dataset and computes its hashes on the way.
//!
//! Takes record batches in their final order and gives the file, its SHA-256 and its **content
//! hash**, see [`content`]. The file is a pure function of the rows: they are cut into fixed chunks
//! whatever the batches were, and nothing in it says when or by which build it was written. Columns
//! are encoded in parallel once there is more than one chunk. This module does not know where the
//! file goes.

mod columns;
mod content;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch, RecordBatchReader as _};
use arrow::compute::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, ArrowWriterOptions};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use self::columns::ColumnEncoders;
use self::content::{ColumnHash, content_hash};
use crate::column::{ColumnKind, ColumnSource, Key, list_element};
use crate::contract::{self, Contract, MAP_NAMES, lineage};
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
/// Footer key: the id of the lake's key under which the keys of the rows were made; absent if there
/// are none.
const KEY_ID: &str = "meetlake.key_id";
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
    let mut writer = FileWriter::create(path, contract, None)?;
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
    /// Begins a file, whose rows have keys under the key of the lake called `key_id`, if they have
    /// any. A file without rows is valid too.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(
        path: &Path,
        contract: &'static Contract,
        key_id: Option<&str>,
    ) -> Result<Self, ParquetError> {
        let file = HashingWriter::new(BufWriter::new(File::create(path)?));
        let options = writer_options(contract, key_id)?;
        let writer = ArrowWriter::try_new_with_options(file, contract.schema(), options)?;
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

/// What the footer of a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The content hash.
    pub content_hash: String,
    /// Version of the contract under which it was written.
    pub contract_version: i32,
    /// The key of the lake under which the keys of its rows were made.
    pub key_id: Option<String>,
}

/// The footer of a file of this dataset; `None` for any other file.
///
/// # Errors
/// If the file is not readable as Parquet.
pub fn footer(path: &Path, contract: &Contract) -> Result<Option<Footer>, ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let entries = reader.metadata().file_metadata().key_value_metadata();
    let value = |key: &str| {
        let entry = entries?.iter().find(|entry| entry.key == key)?;
        entry.value.clone()
    };
    if value(DATASET).as_deref() != Some(contract.dataset.as_str()) {
        return Ok(None);
    }
    let version = value(CONTRACT_VERSION).and_then(|version| version.parse().ok());
    Ok(value(CONTENT_HASH)
        .zip(version)
        .map(|(content_hash, contract_version)| Footer {
            content_hash,
            contract_version,
            key_id: value(KEY_ID),
        }))
}

/// The content hash computed from the rows of a file, whatever its footer says, and the number of
/// rows. A column that an earlier contract did not have has no values.
///
/// # Errors
/// If the file is not readable as Parquet, or has a column that is not in the contract.
pub fn hash_content_of_file(
    path: &Path,
    contract: &'static Contract,
) -> Result<(String, u64), ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()?;
    let all = contract.schema();
    for field in reader.schema().fields() {
        all.field_with_name(field.name())?;
    }
    let mut columns: Vec<_> = contract.content_columns().map(ColumnHash::new).collect();
    let mut rows = 0;
    for batch in reader {
        let batch = batch?;
        for hash in &mut columns {
            if let Some(column) = batch.column_by_name(hash.name()) {
                hash.update(column)?;
            }
        }
        rows += batch.num_rows() as u64;
    }
    Ok((content_hash(rows, columns), rows))
}

/// How a file of the contract is written.
fn writer_options(
    contract: &Contract,
    key_id: Option<&str>,
) -> Result<ArrowWriterOptions, ParquetError> {
    // Arrow's own types know no ids. So what is read back has the types that were written.
    let schema = ArrowSchemaConverter::new().convert(&contract.file_schema())?;
    Ok(ArrowWriterOptions::new()
        .with_properties(properties(contract, key_id))
        .with_parquet_schema(schema))
}

/// Compression is zstd 3. Timestamps and other sorted or unique values are encoded plainly, without
/// a dictionary; all other columns have one. There are no delta encodings: Spark 3.4.1 and 3.5.1
/// silently read them wrong, and other readers refuse them. The index holds statistics of every
/// page, but none of text columns that rows are not sorted by, nor of `_extra`. There the least and
/// the greatest value exclude nothing, cost two comparisons a row, and would put somebody's name
/// into the footer.
fn properties(contract: &Contract, key_id: Option<&str>) -> WriterProperties {
    let level = ZstdLevel::try_new(3).expect("3 is a level of zstd");
    let entry = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let mut entries = vec![
        entry(DATASET, contract.dataset.to_string()),
        entry(CONTRACT_VERSION, contract::VERSION.to_string()),
    ];
    entries.extend(key_id.map(|id| entry(KEY_ID, id.to_owned())));
    let mut builder = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_key_value_metadata(Some(entries));
    for column in &contract.columns {
        let is_list = column.kind == ColumnKind::TextList;
        let is_text = matches!(
            column.kind,
            ColumnKind::Id | ColumnKind::MeetingNo | ColumnKind::Text
        );
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
            builder = without_dictionary(builder, &column.name, Encoding::PLAIN);
        } else if is_unique_text {
            let encoding = match planted!("planted-delta-text") {
                true => Encoding::DELTA_LENGTH_BYTE_ARRAY,
                false => Encoding::PLAIN,
            };
            builder = without_dictionary(builder, &column.name, encoding);
        }
    }
    for name in [
        lineage::SOURCE_ROW,
        lineage::WINDOW_START,
        lineage::WINDOW_END,
        lineage::EXTRACTED_AT,
    ] {
        builder = without_dictionary(builder, name, Encoding::PLAIN);
    }
    for leaf in extra_leaves() {
        builder = builder.set_column_statistics_enabled(leaf, EnabledStatistics::None);
    }
    builder.build()
}

/// The path of a list's only leaf.
fn list_elements(column: &str) -> ColumnPath {
    let element = list_element();
    ColumnPath::new([column, "list", element.name()].map(str::to_owned).to_vec())
}

/// The paths of the keys and values of `_extra`.
fn extra_leaves() -> [ColumnPath; 2] {
    let [entry, key, value] = MAP_NAMES;
    let leaf = |name: &str| [lineage::EXTRA, entry, name].map(str::to_owned).to_vec();
    [key, value].map(|name| ColumnPath::new(leaf(name)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Column;
    use crate::datasets::Dataset;
    use crate::publish::rows;
    use arrow::array::{
        ArrayRef, Int64Array, ListBuilder, StringArray, StringBuilder, new_null_array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, FieldRef, SchemaRef};
    use parquet::schema::types::Type;
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
        let found = footer(&path, contract).expect("a footer");
        let expected = Footer {
            content_hash: written.content_hash,
            contract_version: 2,
            key_id: None,
        };
        assert_eq!(found, Some(expected));
        let other = Contract::of(Dataset::MeetingList);
        assert_eq!(footer(&path, other).expect("a footer"), None);
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
            "2:82a5ae83ad151e01ed31a1a9f2007b90ba617e7385b29d4765f61237a3fdf2eb"
        );
    }

    /// The rows of a column of lists.
    type Lists<'t> = [Option<&'t [Option<&'t str>]>];

    fn lists(rows: &Lists<'_>) -> ArrayRef {
        let mut builder = ListBuilder::new(StringBuilder::new()).with_field(list_element());
        for row in rows {
            builder.append_option(row.map(|elements| elements.iter().copied()));
        }
        Arc::new(builder.finish())
    }

    /// Rows with a value in every column, the more of them the more different ones.
    fn filled(contract: &Contract, rows: usize) -> RecordBatch {
        let texts: StringArray = (0..rows).map(|n| Some(format!("text {n}"))).collect();
        let texts: ArrayRef = Arc::new(texts);
        let numbers: ArrayRef = Arc::new((0..rows as i64).map(Some).collect::<Int64Array>());
        let schema = contract.schema();
        let columns = schema.fields().iter().map(|field| match field.data_type() {
            DataType::List(_) => {
                let mut lists = ListBuilder::new(StringBuilder::new()).with_field(list_element());
                (0..rows).for_each(|n| lists.append_value([Some(n.to_string()), None]));
                Arc::new(lists.finish())
            }
            DataType::Map(_, _) => {
                let extra = (0..rows).map(|n| vec![("列".to_owned(), Some(n.to_string()))]);
                rows::extra(extra)
            }
            DataType::Utf8 | DataType::Dictionary(_, _) => {
                cast(&texts, field.data_type()).expect("a text")
            }
            other => cast(&numbers, other).expect("a number"),
        });
        RecordBatch::try_new(SchemaRef::clone(&schema), columns.collect()).expect("a batch")
    }

    /// Paths and ids of a schema as it stands in the file.
    fn ids_in_file(group: &Type, path: &str, found: &mut Vec<(String, Option<i32>)>) {
        for field in group.get_fields() {
            let info = field.get_basic_info();
            let path = format!("{path}{}", info.name());
            found.push((path.clone(), info.has_id().then(|| info.id())));
            if field.is_group() {
                ids_in_file(field, &format!("{path}."), found);
            }
        }
    }

    #[test]
    fn every_dataset_is_written_as_all_readers_understand_it() {
        let folder = tempfile::tempdir().expect("a folder");
        for dataset in Dataset::ALL {
            let contract = Contract::of(dataset);
            let path = folder.path().join(dataset.as_str());
            let batch = filled(contract, 3_000);
            let mut writer = FileWriter::create(&path, contract, Some("k1")).expect("begun");
            writer.write(&batch).expect("written");
            let written = writer.finish().expect("written");
            let found = footer(&path, contract).expect("a footer").expect("ours");
            assert_eq!(found.key_id.as_deref(), Some("k1"));

            let file = File::open(&path).expect("open");
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a reader");
            for column in reader.metadata().row_group(0).columns() {
                let path = column.column_path();
                for encoding in column.encodings() {
                    let is_plain = matches!(
                        encoding,
                        Encoding::PLAIN | Encoding::RLE | Encoding::RLE_DICTIONARY
                    );
                    assert!(is_plain, "{dataset}.{path}: {encoding}");
                }
                let has_statistics = column.statistics().is_some();
                let of_people = path.parts()[0] == lineage::EXTRA;
                assert!(!(has_statistics && of_people), "{dataset}.{path}");
            }

            let mut ids = Vec::new();
            let schema = reader.metadata().file_metadata().schema_descr();
            ids_in_file(schema.root_schema(), "", &mut ids);
            let without: Vec<_> = ids.iter().filter(|(_, id)| id.is_none()).collect();
            assert!(
                without
                    .iter()
                    .all(|(path, _)| { path.ends_with(".list") || path == "_extra.key_value" }),
                "{dataset}: {without:?}"
            );
            for inside in [
                ("_extra.key_value.key", 1010),
                ("_extra.key_value.value", 1011),
            ] {
                assert!(ids.contains(&(inside.0.to_owned(), Some(inside.1))));
            }
            for column in &contract.columns {
                if column.kind == ColumnKind::TextList {
                    let element = format!("{}.list.element", column.name);
                    let of = |path: &str| ids.iter().find(|(p, _)| p == path).expect("there").1;
                    assert_eq!(of(&element), of(&column.name).map(|id| 2_000 + id));
                }
            }

            let mut reader = reader.with_batch_size(3_000).build().expect("a reader");
            let back = reader.next().expect("a batch").expect("rows");
            assert_eq!(
                back, batch,
                "{dataset}: what is read has the types that were written"
            );
            let hashed = hash_content_of_file(&path, contract).expect("hashed");
            assert_eq!(hashed, (written.content_hash, 3_000));
        }
    }

    #[test]
    fn the_content_does_not_depend_on_keys_nor_on_columns_that_came_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let column = |name: &str| Column::new(name, ColumnKind::Integer, &[], "");
        let older = Contract::of_columns(vec![column("a"), column("b")]);
        let newer = Contract::of_columns(vec![
            column("a"),
            column("new").field_id(501),
            column("b"),
            Column::meeting_key(),
        ]);
        let rows = filled(older, 10);
        let fields = newer.schema();
        let keyed = fields.fields().iter().map(|field| {
            let same = rows.column_by_name(field.name()).cloned();
            same.unwrap_or_else(|| match field.name().as_str() {
                "new" => new_null_array(field.data_type(), 10),
                _ => Arc::new(StringArray::from_iter_values(["k"; 10])),
            })
        });
        let keyed = RecordBatch::try_new(SchemaRef::clone(&fields), keyed.collect());
        let path = |name: &str| folder.path().join(name);
        let first = write_file(&path("older"), older, [rows]).expect("written");
        let then = write_file(&path("newer"), newer, [keyed.expect("rows")]).expect("written");
        assert_eq!(first.content_hash, then.content_hash);
        for (name, contract) in [("older", older), ("older", newer), ("newer", newer)] {
            let hashed = hash_content_of_file(&path(name), contract).expect("hashed");
            assert_eq!(hashed, (first.content_hash.clone(), 10));
        }
        assert!(hash_content_of_file(&path("newer"), older).is_err());
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
        let options = writer_options(contract, None).expect("options");
        let mut one = ArrowWriter::try_new_with_options(Vec::new(), contract.schema(), options)
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
