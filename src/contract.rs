//! Contracts: the typed, versioned columns of every dataset, as users build on them.
//!
//! A contract gives each column a name, a type, the source of its value, and the headers under
//! which a workbook may have it. From it follow the Arrow schema, the sort order, how a header row
//! is recognised, and the data dictionary in `tests/`.

mod meeting_list;
mod participant_list;
mod participant_quality_list;
mod reports;
mod resource_reservation_list;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::dataset::Dataset;

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

/// Type of a column. It decides how cells are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text as it came, never trimmed.
    Text,
    /// An id: text that is never read through a floating-point number.
    Id,
    /// An instant, `timestamp(µs, UTC)`.
    Time,
    /// A civil date.
    Date,
    /// A duration in whole seconds, int64. Sheets have `HH:MM:SS`.
    DurationS,
    /// A count or another whole number, int64.
    Integer,
    /// A whole number, int32.
    SmallInteger,
    /// `是`/`否`, yes/no or a boolean.
    Bool,
    /// A bit rate in kbps, float64. Sheets have `50kbps` or `1.2Mbps`.
    Kbps,
    /// A duration in milliseconds, float64. Sheets have `5ms`.
    Milliseconds,
    /// A percentage, float64. `2%` is 2.0.
    Percent,
    /// One of a fixed list of stable values. Texts of the source are folded like headers before
    /// they are compared.
    Enum(&'static [EnumValue]),
}

/// One value of an enumeration, and the texts that mean it. Numbers are given as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumValue {
    /// The stable English value in the lake.
    pub value: &'static str,
    /// Texts that were seen or are documented for it.
    pub texts: &'static [&'static str],
}

/// Value for an unknown text of an enumeration. The text itself goes to `_extra`.
pub const OTHER: &str = "other";

/// Where a column's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnSource {
    /// The workbook (or the JSON list), by header.
    Sheet,
    /// The task: a field of [`crate::task::Lineage`] with the column's name.
    Task,
    /// Computed from the row. These are `rank` and the `date` of a daily report.
    Derived,
}

/// A column's part in the natural key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Not part of the key.
    No,
    /// Part of the key. May be null (**K**).
    Part,
    /// Part of the key. A row without it is quarantined (**K!**).
    Required,
}

/// One column of a contract.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name in the lake: English `snake_case` with the unit.
    pub name: String,
    /// Type.
    pub kind: ColumnKind,
    /// Where the value comes from.
    pub source: ColumnSource,
    /// Headers under which a sheet may have it: documented, observed and English ones. Compared
    /// after folding.
    pub headers: Vec<String>,
    /// Part in the natural key.
    pub key: Key,
    /// Whether the value is personal data.
    pub personal: bool,
    /// One line for the data dictionary.
    pub doc: &'static str,
}

impl Column {
    fn new(name: &str, kind: ColumnKind, headers: &[&str], doc: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            source: ColumnSource::Sheet,
            headers: headers.iter().map(|&h| h.to_owned()).collect(),
            key: Key::No,
            personal: false,
            doc,
        }
    }

    fn of_task(mut self) -> Self {
        self.source = ColumnSource::Task;
        self
    }

    fn derived(mut self) -> Self {
        self.source = ColumnSource::Derived;
        self
    }

    fn key(mut self) -> Self {
        self.key = Key::Part;
        self
    }

    fn required(mut self) -> Self {
        self.key = Key::Required;
        self
    }

    fn personal(mut self) -> Self {
        self.personal = true;
        self
    }

    /// The Arrow type of the column.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self.kind {
            ColumnKind::Text | ColumnKind::Id => DataType::Utf8,
            ColumnKind::Time => timestamp(),
            ColumnKind::Date => DataType::Date32,
            ColumnKind::DurationS | ColumnKind::Integer => DataType::Int64,
            ColumnKind::SmallInteger => DataType::Int32,
            ColumnKind::Bool => DataType::Boolean,
            ColumnKind::Kbps | ColumnKind::Milliseconds | ColumnKind::Percent => DataType::Float64,
            ColumnKind::Enum(_) => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
        }
    }
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
    /// The time or date column that gives a row its `dt`. `None` for `top_user`, whose day is that
    /// of its window.
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
        let (columns, partition_column) = match dataset {
            Dataset::DailyReport => (reports::daily_report(), Some("date")),
            Dataset::TopUser => (reports::top_user(), None),
            Dataset::MeetingList => (meeting_list::columns(), Some("start_time")),
            Dataset::ParticipantList => (participant_list::columns(), Some("meeting_start_time")),
            Dataset::ParticipantQualityList => (
                participant_quality_list::columns(),
                Some("meeting_start_time"),
            ),
            Dataset::ResourceReservationList => {
                (resource_reservation_list::columns(), Some("start_time"))
            }
        };
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

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
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

/// Folds a header or a text of an enumeration for comparison: removes the byte-order mark and all
/// kinds of blanks, and turns full-width forms into half-width ones and capitals into lower case.
/// `会议 ID`, ` 会议ID` and `会议ＩＤ` fold alike. So do `Phone Number` and `phonenumber`.
#[must_use]
pub fn fold(text: &str) -> String {
    text.chars()
        .filter(|c| {
            !c.is_whitespace()
                && !matches!(
                    c,
                    '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{3000}'
                )
        })
        .map(|c| match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
            other => other,
        })
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
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
