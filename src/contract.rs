//! Contracts: the typed, versioned columns of every dataset, as users build on them.
//!
//! A contract gives each column a name, a type, the source of its value, and the headers under
//! which a workbook may have it. From it follow the Arrow schema, the sort order, how a header row
//! is recognised, and the data dictionary in `tests/`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use crate::column::{Column, ColumnSource, Key, fold, timestamp};
use crate::datasets::Dataset;

/// Version of all contracts. It is written into every row and every manifest.
pub const VERSION: i32 = 1;

/// Lineage columns. Every dataset has them after its own columns, in this order.
pub mod lineage {
    /// Key of the task that fetched the row: string.
    pub const TASK_KEY: &str = "_task_key";
    /// Feishu's id of the export task: string. Null for reports.
    pub const EXPORT_ID: &str = "_export_id";
    /// SHA-256 of the source bytes: 64 hex digits.
    pub const SOURCE_SHA256: &str = "_source_sha256";
    /// 1-based row of the sheet, or 0-based index in a JSON list: int64.
    pub const SOURCE_ROW: &str = "_source_row";
    /// Start of the task's window.
    pub const WINDOW_START: &str = "_window_start";
    /// End of the task's window, exclusive.
    pub const WINDOW_END: &str = "_window_end";
    /// When the source bytes were received.
    pub const EXTRACTED_AT: &str = "_extracted_at";
    /// [`super::VERSION`] at the time of writing: int32.
    pub const CONTRACT_VERSION: &str = "_contract_version";
    /// Cells of unknown columns and cells that did not parse, by header: map of string to string.
    /// Personal data.
    pub const EXTRA: &str = "_extra";
}

/// The columns of one dataset.
///
/// ```
/// use meetlake::{Contract, Dataset};
///
/// let contract = Contract::of(Dataset::MeetingList);
/// let column = contract.column("meeting_no").expect("a column");
/// assert!(contract.key_columns().any(|name| name == column.name));
/// assert_eq!(contract.column_of_header("会议ID"), Some(0));
/// ```
#[derive(Debug)]
pub struct Contract {
    /// The dataset.
    pub dataset: Dataset,
    /// The dataset's own columns, in the order of the file.
    pub columns: Vec<Column>,
    /// The time or date column that gives a row its `dt`. Without one it is the day of the
    /// task's window.
    pub partition_column: Option<&'static str>,
    schema: SchemaRef,
    by_header: HashMap<String, usize>,
}

impl Contract {
    /// The contract of `dataset`.
    #[must_use]
    pub fn of(dataset: Dataset) -> &'static Self {
        static ALL: LazyLock<Vec<Contract>> =
            LazyLock::new(|| Dataset::ALL.into_iter().map(Contract::build).collect());
        ALL.iter()
            .find(|contract| contract.dataset == dataset)
            .expect("there is a contract for every dataset")
    }

    fn build(dataset: Dataset) -> Self {
        let definition = dataset.definition();
        Self::with(dataset, (definition.columns)(), definition.partition_column)
    }

    /// A contract of any columns.
    #[cfg(test)]
    pub(crate) fn of_columns(columns: Vec<Column>) -> &'static Self {
        Box::leak(Box::new(Self::with(Dataset::ALL[0], columns, None)))
    }

    fn with(
        dataset: Dataset,
        columns: Vec<Column>,
        partition_column: Option<&'static str>,
    ) -> Self {
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type(), true))
            .chain(lineage_fields())
            .collect();
        let by_header = columns
            .iter()
            .enumerate()
            .flat_map(|(index, column)| column.headers.iter().map(move |h| (fold(h), index)))
            .collect();
        Self {
            dataset,
            columns,
            partition_column,
            schema: Arc::new(Schema::new(fields)),
            by_header,
        }
    }

    /// Schema of a file: the dataset's own columns, then the lineage columns, which end with
    /// `_extra`. Every column is nullable, so that a policy can drop values without changing the
    /// schema.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Names of the natural key's columns, in sort order.
    pub fn key_columns(&self) -> impl Iterator<Item = &str> {
        self.columns
            .iter()
            .filter(|column| column.key != Key::No)
            .map(|column| column.name.as_str())
    }

    /// Index of the column that a sheet has under `header`, compared after [`fold`].
    #[must_use]
    pub fn column_of_header(&self, header: &str) -> Option<usize> {
        self.by_header.get(&fold(header)).copied()
    }

    /// Indexes of the columns that every sheet must have: required by the key, and not known from
    /// the task.
    pub fn required_in_sheet(&self) -> impl Iterator<Item = usize> {
        self.columns
            .iter()
            .enumerate()
            .filter(|(_, column)| {
                column.key == Key::Required && column.source == ColumnSource::Sheet
            })
            .map(|(index, _)| index)
    }

    /// The column called `name`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

fn lineage_fields() -> Vec<Field> {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    let map = DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(entries), false)),
        false,
    );
    vec![
        Field::new(lineage::TASK_KEY, DataType::Utf8, true),
        Field::new(lineage::EXPORT_ID, DataType::Utf8, true),
        Field::new(lineage::SOURCE_SHA256, DataType::Utf8, true),
        Field::new(lineage::SOURCE_ROW, DataType::Int64, true),
        Field::new(lineage::WINDOW_START, timestamp(), true),
        Field::new(lineage::WINDOW_END, timestamp(), true),
        Field::new(lineage::EXTRACTED_AT, timestamp(), true),
        Field::new(lineage::CONTRACT_VERSION, DataType::Int32, true),
        Field::new(lineage::EXTRA, map, true),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::ColumnKind;
    use std::collections::HashSet;

    /// How to look up a column: by its name in the lake, or by a header of a sheet.
    #[test]
    fn a_column_is_found_by_name_and_by_header() {
        let contract = Contract::of(Dataset::MeetingList);
        let by_name = contract.column("meeting_no").expect("a column");
        assert_eq!(by_name.kind, ColumnKind::Id);
        assert_eq!(by_name.key, Key::Required);

        let index = contract.column_of_header(" 会议 ID").expect("a header");
        assert_eq!(contract.columns[index].name, "meeting_no");
        assert_eq!(contract.column_of_header("no such header"), None);
    }

    #[test]
    fn headers_fold_alike() {
        for header in [
            "会议 ID",
            " 会议ID",
            "\u{feff}会议ＩＤ",
            "会议\u{a0}id\u{3000}",
        ] {
            assert_eq!(fold(header), "会议id");
        }
        assert_eq!(fold("音频-码率（接收）"), "音频-码率(接收)");
    }

    #[test]
    fn no_two_columns_of_a_contract_share_a_header_or_a_name() {
        for dataset in Dataset::ALL {
            let contract = Contract::of(dataset);
            let mut headers = HashSet::new();
            let mut names = HashSet::new();
            for column in &contract.columns {
                assert!(
                    names.insert(column.name.clone()),
                    "{dataset}.{}",
                    column.name
                );
                let own: HashSet<_> = column.headers.iter().map(|h| fold(h)).collect();
                for header in own {
                    assert!(headers.insert(header.clone()), "{dataset}: {header}");
                }
                assert_eq!(
                    column.source == ColumnSource::Sheet,
                    !column.headers.is_empty(),
                    "{dataset}.{}",
                    column.name
                );
            }
            assert!(contract.columns.iter().any(|c| c.key == Key::Required));
        }
    }

    #[test]
    fn quality_has_35_documented_columns_and_its_lineage() {
        let sheet = Contract::of(Dataset::ParticipantQualityList)
            .columns
            .iter()
            .filter(|c| c.source == ColumnSource::Sheet)
            .count();
        assert_eq!(sheet, 35);
    }
}
