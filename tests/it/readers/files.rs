//! Files of every dataset with rows that nobody would have: nulls in all places, extreme numbers
//! and instants, texts of every kind. The same rows lie beside as plain Arrow, which the writer
//! has no part in.
//!
//! | file | rows | nulls |
//! |---|---|---|
//! | `full` | 500 | none |
//! | `some` | 500 | a third |
//! | `unset` | 500 | only nulls |
//! | `none` | 0 | |
//! | `pages` | 53,248 | of the pages of each column one has none, one some, one only nulls |
//! | `groups` (one dataset) | more than a row group | a third |

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, DictionaryArray, Float64Array, Int32Array, Int64Array,
    ListArray, MapArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema};
use arrow::ipc::writer::FileWriter as IpcWriter;
use meetlake::testing::contract::{ColumnKind, Contract, lineage};
use meetlake::testing::dataset::Dataset;
use meetlake::testing::publish::FileWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::PageIndexPolicy;

/// Rows of a page: it ends with the first batch of the encoder after 20,000 rows. A batch has 1,024
/// rows, or 8,192 where all or none of them are null.
const PAGE_ROWS: usize = 20_480;
/// Three pages, also where a page has 24,576 rows.
const THREE_PAGES: usize = 53_248;
/// A row group has 131,072 rows.
const TWO_ROW_GROUPS: usize = 140_000;
/// The dataset whose rows fill two row groups: it has few columns.
const OF_TWO_ROW_GROUPS: Dataset = Dataset::TopUser;

/// Where a file has nulls.
#[derive(Clone, Copy, Debug)]
enum Nulls {
    None,
    Some,
    All,
    /// Each page has others: none, some or only nulls. The order of these depends on the column.
    ByPage,
}

/// Writes the files, each with its rows as plain Arrow beside it.
pub(super) fn write(folder: &Path, datasets: &[Dataset]) {
    for &dataset in datasets {
        for (name, rows, nulls) in [
            ("full", 500, Nulls::None),
            ("some", 500, Nulls::Some),
            ("unset", 500, Nulls::All),
            ("none", 0, Nulls::None),
            ("pages", THREE_PAGES, Nulls::ByPage),
            ("groups", TWO_ROW_GROUPS, Nulls::Some),
        ] {
            if rows == TWO_ROW_GROUPS && dataset != OF_TWO_ROW_GROUPS {
                continue;
            }
            let contract = Contract::of(dataset);
            let batch = batch(contract, rows, nulls);
            let file = folder.join(format!("{dataset}.{name}"));
            let mut writer =
                FileWriter::create(&file.with_added_extension("parquet"), contract, None)
                    .expect("a Parquet file");
            // In pieces, as the rows of a day come.
            for start in (0..rows).step_by(10_000) {
                let piece = batch.slice(start, 10_000.min(rows - start));
                writer.write(&piece).expect("written");
            }
            writer.finish().expect("written");
            write_truth(&file.with_added_extension("arrow"), &batch);
        }
    }
}

/// As plain as Arrow gets: without dictionaries, uncompressed.
fn write_truth(path: &Path, batch: &RecordBatch) {
    let plain = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Dictionary(..) => cast(column, &DataType::Utf8).expect("text"),
            _ => Arc::clone(column),
        });
    let plain: Vec<ArrayRef> = plain.collect();
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(&plain);
    let fields =
        fields.map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let file = File::create(path).expect("a file");
    let mut writer = IpcWriter::try_new(file, &schema).expect("an Arrow file");
    let batch = RecordBatch::try_new(schema, plain).expect("the same rows");
    writer.write(&batch).expect("written");
    writer.finish().expect("written");
}

fn batch(contract: &Contract, rows: usize, nulls: Nulls) -> RecordBatch {
    let schema = contract.schema();
    let fields = schema.fields().iter().enumerate();
    let columns = fields.map(|(index, field)| {
        let mut cells = Cells::new(contract, index, field, rows);
        // Readers that do not keep the order of rows need one column to tell them apart.
        let nulls = match nulls {
            Nulls::ByPage if field.name() == lineage::SOURCE_ROW => Nulls::None,
            nulls => nulls,
        };
        cells.is_null = (0..rows).map(|row| cells.is_null_in(nulls, row)).collect();
        cells.array(field)
    });
    let columns = columns.collect();
    RecordBatch::try_new(Arc::clone(&schema), columns).expect("the columns of the contract")
}

/// The values of one column, from numbers that are the same in every run.
struct Cells {
    index: usize,
    rows: usize,
    is_source_row: bool,
    /// The values of an enumeration.
    values: Vec<&'static str>,
    is_null: Vec<bool>,
    state: u64,
}

impl Cells {
    fn new(contract: &Contract, index: usize, field: &Field, rows: usize) -> Self {
        let kind = contract.columns.get(index).map(|column| column.kind);
        let values = match kind {
            Some(ColumnKind::Enum(values)) => values.iter().map(|value| value.value).collect(),
            _ => vec![],
        };
        Self {
            index,
            rows,
            is_source_row: field.name() == lineage::SOURCE_ROW,
            values,
            is_null: vec![],
            state: (rows as u64) << 32 | index as u64,
        }
    }

    /// The next number of the generator `SplitMix64`.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random() % end
    }

    fn is_null_in(&mut self, nulls: Nulls, row: usize) -> bool {
        const ORDERS: [[Nulls; 3]; 6] = [
            [Nulls::None, Nulls::Some, Nulls::All],
            [Nulls::Some, Nulls::All, Nulls::None],
            [Nulls::All, Nulls::None, Nulls::Some],
            [Nulls::None, Nulls::All, Nulls::Some],
            [Nulls::All, Nulls::Some, Nulls::None],
            [Nulls::Some, Nulls::None, Nulls::All],
        ];
        match nulls {
            Nulls::None => false,
            Nulls::Some => self.below(3) == 0,
            Nulls::All => true,
            Nulls::ByPage => self.is_null_in(
                ORDERS[self.index % ORDERS.len()][(row / PAGE_ROWS).min(2)],
                row,
            ),
        }
    }

    fn array(&mut self, field: &Field) -> ArrayRef {
        match field.data_type() {
            DataType::Utf8 => Arc::new(self.each(Self::text).into_iter().collect::<StringArray>()),
            DataType::Dictionary(..) => {
                let values = self.each(Self::value);
                Arc::new(values.into_iter().collect::<DictionaryArray<Int32Type>>())
            }
            DataType::Timestamp(..) => {
                let instants = self.each(Self::instant).into_iter();
                let instants = instants.collect::<TimestampMicrosecondArray>();
                Arc::new(instants.with_timezone("UTC"))
            }
            DataType::Date32 => {
                Arc::new(self.each(Self::date).into_iter().collect::<Date32Array>())
            }
            DataType::Int64 => Arc::new(self.each(Self::long).into_iter().collect::<Int64Array>()),
            DataType::Int32 => Arc::new(self.each(Self::int).into_iter().collect::<Int32Array>()),
            DataType::Float64 => {
                Arc::new(self.each(Self::float).into_iter().collect::<Float64Array>())
            }
            DataType::Boolean => {
                let flags = self.each(|cells, _| cells.below(2) == 0).into_iter();
                Arc::new(flags.collect::<BooleanArray>())
            }
            DataType::List(element) => Arc::new(self.lists(element)),
            DataType::Map(entries, _) => Arc::new(self.maps(entries)),
            other => panic!(
                "{} has a type that this test does not know: {other}",
                field.name()
            ),
        }
    }

    fn each<T>(&mut self, value: impl Fn(&mut Self, usize) -> T) -> Vec<Option<T>> {
        (0..self.rows)
            .map(|row| (!self.is_null[row]).then(|| value(self, row)))
            .collect()
    }

    /// Columns of ids, of a few values that return, and of texts of any kind and length.
    fn text(&mut self, row: usize) -> String {
        const ODD: [&str; 12] = [
            "",
            " ",
            "季度复盘：华东区",
            "Ünïcödé é",
            "👩‍👩‍👧 family",
            "مرحبا",
            "quote \" and ' and \\",
            "line\nbreak\tand\rmore",
            "null",
            "NULL",
            "\u{feff}mark",
            "\u{1}control",
        ];
        let odd = |number: u64| ODD[number as usize % ODD.len()];
        match self.index % 3 {
            0 => format!("{:08x}", self.random() as u32),
            1 => odd(self.below(20)).to_owned(),
            _ => match self.below(1_000) {
                0 => "长文本 ".repeat(300 + row % 100),
                1..=100 => String::new(),
                101..=200 => odd(row as u64).to_owned(),
                _ => format!("{} {row}", odd(row as u64 / 7)),
            },
        }
    }

    fn value(&mut self, _: usize) -> &'static str {
        let index = self.below(self.values.len() as u64 + 1) as usize;
        self.values.get(index).copied().unwrap_or("other")
    }

    /// From 1900, before which Spark refuses a file of another writer, to 2261, after which
    /// instants in nanoseconds end.
    fn instant(&mut self, row: usize) -> i64 {
        const FIRST: i64 = -2_208_988_800_000_000;
        const LAST: i64 = 9_214_646_399_999_999;
        const ODD: [i64; 6] = [FIRST, LAST, 0, -1, 1, 1_795_046_400_000_000];
        match (self.index % 2, self.below(8)) {
            (_, 0) => ODD[row % ODD.len()],
            // Rising, as rows are sorted.
            (0, _) => 1_795_046_400_000_000 + row as i64 * 1_000_000,
            _ => FIRST + self.below((LAST - FIRST) as u64) as i64,
        }
    }

    fn date(&mut self, row: usize) -> i32 {
        (self.instant(row).div_euclid(86_400_000_000)) as i32
    }

    fn long(&mut self, row: usize) -> i64 {
        const ODD: [i64; 6] = [i64::MIN, i64::MAX, 0, -1, 1 << 53, (1 << 53) + 1];
        match (self.is_source_row, self.below(4)) {
            (true, _) => row as i64 + 2,
            (_, 0) => ODD[row % ODD.len()],
            (_, 1) => self.random() as i64,
            _ => self.below(5_000) as i64,
        }
    }

    fn int(&mut self, row: usize) -> i32 {
        const ODD: [i32; 4] = [i32::MIN, i32::MAX, 0, -1];
        match self.below(4) {
            0 => ODD[row % ODD.len()],
            1 => self.random() as i32,
            _ => self.below(300) as i32,
        }
    }

    fn float(&mut self, row: usize) -> f64 {
        const ODD: [f64; 8] = [
            0.0,
            -0.0,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
            0.1,
            9_007_199_254_740_993.0,
        ];
        match self.below(4) {
            0 => ODD[row % ODD.len()],
            1 => self.below(u64::MAX) as f64 / 7.0,
            _ => self.below(1_000) as f64 / 10.0,
        }
    }

    /// Lists of no, one or several elements, some of them null.
    fn lists(&mut self, element: &FieldRef) -> ListArray {
        let lengths = self.lengths();
        let elements = lengths.iter().sum();
        let elements = (0..elements).map(|n| (self.below(5) > 0).then(|| self.text(n)));
        let elements = Arc::new(elements.collect::<StringArray>());
        let offsets = OffsetBuffer::from_lengths(lengths);
        ListArray::try_new(Arc::clone(element), offsets, elements, self.validity())
            .expect("the type of the column")
    }

    /// Maps of no, one or several entries, some of them with a null as value.
    fn maps(&mut self, entries: &FieldRef) -> MapArray {
        let DataType::Struct(fields) = entries.data_type() else {
            panic!("the entries of a map are a struct");
        };
        let lengths = self.lengths();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for length in &lengths {
            for number in 0..*length {
                keys.push(format!("列 {number}"));
                let text = self.text(keys.len());
                values.push((self.below(5) > 0).then_some(text));
            }
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(keys)),
            Arc::new(StringArray::from(values)),
        ];
        let pairs = StructArray::try_new(fields.clone(), columns, None).expect("keys and values");
        let offsets = OffsetBuffer::from_lengths(lengths);
        MapArray::try_new(Arc::clone(entries), offsets, pairs, self.validity(), false)
            .expect("the type of the column")
    }

    fn lengths(&mut self) -> Vec<usize> {
        let lengths = self.each(|cells, _| cells.below(4) as usize).into_iter();
        lengths.map(Option::unwrap_or_default).collect()
    }

    fn validity(&self) -> Option<NullBuffer> {
        Some(self.is_null.iter().map(|is_null| !is_null).collect())
    }
}

/// What the files have that readers stumble over.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) files: usize,
    pub(super) empty_files: usize,
    /// Of the file that has most.
    pub(super) row_groups: usize,
    /// Pages that are known to hold nothing but nulls.
    pub(super) null_pages: usize,
    /// Column chunks of fewer than three pages in the large files.
    pub(super) chunks_of_few_pages: Vec<String>,
}

pub(super) fn pages(folder: &Path) -> Pages {
    let mut found = Pages::default();
    for entry in folder.read_dir().expect("the folder") {
        let path = entry.expect("a file").path();
        if path
            .extension()
            .is_none_or(|extension| extension != "parquet")
        {
            continue;
        }
        let file = File::open(&path).expect("a file");
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .expect("a Parquet file");
        let metadata = reader.metadata();
        found.files += 1;
        found.empty_files += usize::from(metadata.file_metadata().num_rows() == 0);
        found.row_groups = found.row_groups.max(metadata.num_row_groups());
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let page_index = metadata.page_index_for_row_group(number);
            for (column, chunk) in group.columns().iter().enumerate() {
                let locations = page_index.offset_index(column);
                let pages = locations.map_or(0, |index| index.page_locations().len());
                let name = chunk.column_path();
                if group.num_rows() >= THREE_PAGES as i64 && pages < 3 {
                    let few = format!("{} {name}: {pages}", path.display());
                    found.chunks_of_few_pages.push(few);
                }
                if let Some(index) = page_index.column_index(column) {
                    found.null_pages += (0..pages).filter(|page| index.is_null_page(*page)).count();
                }
            }
        }
    }
    found
}
