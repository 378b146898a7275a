//! Contracts: the typed, versioned columns of every dataset, as users build on them.
//!
//! A contract gives each column a name, a type, the source of its value, and the headers under
//! which a workbook may have it. From it follow the Arrow schema, the sort order, how a header row
//! is recognised, and the data dictionary in `tests/`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::column::{Column, ColumnSource, Key, fold, timestamp};
use crate::datasets::Dataset;

/// Version of all contracts. It is written into every row and every manifest.
pub const VERSION: i32 = 2;

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

    /// The ids of these columns in files, in the order of the columns. An id is never used again
    /// for anything else.
    pub const FIELD_IDS: [(&str, i32); 9] = [
        (TASK_KEY, 1001),
        (EXPORT_ID, 1002),
        (SOURCE_SHA256, 1003),
        (SOURCE_ROW, 1004),
        (WINDOW_START, 1005),
        (WINDOW_END, 1006),
        (EXTRACTED_AT, 1007),
        (CONTRACT_VERSION, 1008),
        (EXTRA, 1009),
    ];
    /// The id of the keys of [`EXTRA`].
    pub const EXTRA_KEY_FIELD_ID: i32 = 1010;
    /// The id of the values of [`EXTRA`].
    pub const EXTRA_VALUE_FIELD_ID: i32 = 1011;
}

/// The id of a list's elements is this more than the id of the list.
const ELEMENT_FIELD_IDS: i32 = 2000;

/// The names inside of a map, as the Parquet specification has them: of the repeated group, the
/// key and the value.
pub const MAP_NAMES: [&str; 3] = ["key_value", "key", "value"];

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
    /// Columns of the natural key by which rows are sorted before all others.
    sort_first: &'static [&'static str],
    schema: SchemaRef,
    by_header: HashMap<String, usize>,
    /// Headers by their letters and digits.
    by_letters: HashMap<String, String>,
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
        Self {
            partition_column: definition.partition_column,
            sort_first: definition.sort_first,
            ..Self::with(dataset, (definition.columns)())
        }
    }

    /// A contract of any columns.
    #[cfg(test)]
    pub(crate) fn of_columns(columns: Vec<Column>) -> &'static Self {
        Box::leak(Box::new(Self::with(Dataset::ALL[0], columns)))
    }

    fn with(dataset: Dataset, columns: Vec<Column>) -> Self {
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
        let headers = columns.iter().flat_map(|column| &column.headers);
        let by_letters = headers
            .map(|header| (letters(header), header.clone()))
            .collect();
        Self {
            dataset,
            columns,
            partition_column: None,
            sort_first: &[],
            schema: Arc::new(Schema::new(fields)),
            by_header,
            by_letters,
        }
    }

    /// Schema of a file: the dataset's own columns, then the lineage columns, which end with
    /// `_extra`. Every column is nullable, so that a policy can drop values without changing the
    /// schema.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The schema as it stands in files: every field has its id, nested ones too. The id of a
    /// column is its place among the columns without an [explicit one](Column::field_id), from 1.
    #[must_use]
    pub fn file_schema(&self) -> Schema {
        let mut place = 0;
        let own = self.columns.iter().map(|column| {
            column.explicit_field_id.unwrap_or_else(|| {
                place += 1;
                place
            })
        });
        let ids = own.chain(lineage::FIELD_IDS.map(|(_, id)| id));
        let fields = self.schema.fields().iter().zip(ids);
        Schema::new(
            fields
                .map(|(field, id)| with_field_id(field, id))
                .collect::<Vec<_>>(),
        )
    }

    /// Names of the natural key's columns, in sort order: by time first, because exports come and
    /// readers ask by time.
    pub fn key_columns(&self) -> impl Iterator<Item = &str> {
        let first = self.sort_first.iter().copied();
        let rest = self.columns.iter().filter(|column| {
            column.key != Key::No && !self.sort_first.contains(&column.name.as_str())
        });
        first.chain(rest.map(|column| column.name.as_str()))
    }

    /// Names of the columns that the content of a file is made of: the dataset's own ones, except
    /// for keys of the lake and what tells only how a row came, and `_extra`.
    pub fn content_columns(&self) -> impl Iterator<Item = &str> {
        let own = self.columns.iter();
        let own = own.filter(|column| {
            !matches!(column.source, ColumnSource::Keyed(_)) && !column.is_incidental
        });
        own.map(|column| column.name.as_str())
            .chain([lineage::EXTRA])
    }

    /// Index of the column that a sheet has under `header`, compared after [`fold`].
    #[must_use]
    pub fn column_of_header(&self, header: &str) -> Option<usize> {
        self.by_header.get(&fold(header)).copied()
    }

    /// The header that a text is, apart from marks such as a colon, a star, or a remark in
    /// brackets.
    #[must_use]
    pub fn header_nearly(&self, text: &str) -> Option<&str> {
        let folded = fold(text);
        let without_remark = folded.split(['(', '[']).next().unwrap_or_default();
        [folded.as_str(), without_remark]
            .into_iter()
            .find_map(|text| self.by_letters.get(&letters(text)))
            .map(String::as_str)
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

/// The letters and digits of a header, folded.
fn letters(header: &str) -> String {
    let mut letters = fold(header);
    letters.retain(char::is_alphanumeric);
    letters
}

/// The field with its id in files, and those inside of it with theirs.
fn with_field_id(field: &Field, id: i32) -> Field {
    let data_type = match field.data_type() {
        DataType::List(element) => {
            DataType::List(Arc::new(with_field_id(element, ELEMENT_FIELD_IDS + id)))
        }
        DataType::Map(entry, is_sorted) => {
            let DataType::Struct(pair) = entry.data_type() else {
                unreachable!("a map has entries of key and value")
            };
            let ids = [lineage::EXTRA_KEY_FIELD_ID, lineage::EXTRA_VALUE_FIELD_ID];
            let pair = pair
                .iter()
                .zip(ids)
                .map(|(field, id)| with_field_id(field, id));
            let pair = DataType::Struct(pair.collect());
            let entry = entry.as_ref().clone().with_data_type(pair);
            DataType::Map(Arc::new(entry), *is_sorted)
        }
        other => other.clone(),
    };
    let id = (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
    let metadata = HashMap::from([id]);
    field
        .clone()
        .with_data_type(data_type)
        .with_metadata(metadata)
}

fn lineage_fields() -> Vec<Field> {
    let [entry, key, value] = MAP_NAMES;
    let pair = Fields::from(vec![
        Field::new(key, DataType::Utf8, false),
        Field::new(value, DataType::Utf8, true),
    ]);
    let entry = Field::new(entry, DataType::Struct(pair), false);
    let map = DataType::Map(Arc::new(entry), false);
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
        assert_eq!(by_name.kind, ColumnKind::MeetingNo);
        assert_eq!(by_name.key, Key::Required);

        let index = contract.column_of_header(" 会议 ID").expect("a header");
        assert_eq!(contract.columns[index].name, "meeting_no");
        assert_eq!(contract.column_of_header("no such header"), None);
    }

    #[test]
    fn a_header_with_marks_is_nearly_one() {
        let contract = Contract::of(Dataset::MeetingList);
        for (text, header) in [
            ("会议ID：", Some("会议ID")),
            ("*会议主题", Some("会议主题")),
            ("会议主题（必填）", Some("会议主题")),
            ("机密", None),
            ("：", None),
            ("", None),
        ] {
            let found = contract.header_nearly(text);
            let is_same = |found: &str| header.is_some_and(|header| fold(header) == fold(found));
            assert_eq!(found.is_some(), header.is_some(), "{text}");
            assert!(found.is_none_or(is_same), "{text}: {found:?}");
        }
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
    fn quality_has_35_documented_columns_one_that_was_seen_and_17_by_query() {
        let sheet = Contract::of(Dataset::ParticipantQualityList)
            .columns
            .iter()
            .filter(|c| c.source == ColumnSource::Sheet)
            .count();
        assert_eq!(sheet, 35 + 1 + 17);
    }

    #[test]
    fn rows_are_sorted_by_time_first_and_by_all_of_their_natural_key() {
        let order = |dataset| Contract::of(dataset).key_columns().collect::<Vec<_>>();
        assert_eq!(
            order(Dataset::MeetingList),
            ["start_time", "meeting_no", "end_time"]
        );
        assert_eq!(
            order(Dataset::ParticipantList),
            [
                "meeting_start_time",
                "meeting_no",
                "join_time",
                "participant_name",
                "user_id",
                "device",
            ]
        );
        assert_eq!(
            order(Dataset::ParticipantQualityList),
            [
                "meeting_start_time",
                "meeting_no",
                "time",
                "user_id",
                "room_id",
                "join_time",
            ]
        );
        assert_eq!(
            order(Dataset::ResourceReservationList),
            ["start_time", "room_level_id", "room_id", "room_name"]
        );
        for dataset in Dataset::ALL {
            let columns = Contract::of(dataset).columns.iter();
            let natural = columns.filter(|column| column.key != Key::No);
            let natural: HashSet<_> = natural.map(|column| column.name.as_str()).collect();
            let order = order(dataset);
            assert_eq!(order.len(), natural.len(), "{dataset}");
            assert_eq!(HashSet::from_iter(order), natural, "{dataset}");
        }
    }

    /// Path and id of a field and of all inside of it.
    fn field_ids(path: &str, field: &Field, found: &mut Vec<(String, i32)>) {
        let path = format!("{path}{}", field.name());
        // The repeated groups that the Parquet format puts around elements and entries have none.
        if let Some(id) = field.metadata().get(PARQUET_FIELD_ID_META_KEY) {
            found.push((path.clone(), id.parse().expect("a number")));
        }
        let inside = match field.data_type() {
            DataType::List(element) => vec![element],
            DataType::Map(entry, _) => vec![entry],
            DataType::Struct(fields) => fields.iter().collect(),
            _ => vec![],
        };
        for field in inside {
            field_ids(&format!("{path}."), field, found);
        }
    }

    #[test]
    fn every_field_of_a_file_has_an_id_of_its_own() {
        for dataset in Dataset::ALL {
            let contract = Contract::of(dataset);
            let mut found = Vec::new();
            for field in contract.file_schema().fields() {
                field_ids("", field, &mut found);
            }
            let lists = contract.columns.iter();
            let lists = lists.filter(|column| column.kind == ColumnKind::TextList);
            let expected = contract.schema().fields().len() + lists.count() + 2;
            assert_eq!(found.len(), expected, "{dataset}: {found:?}");
            let ids: HashSet<i32> = found.iter().map(|(_, id)| *id).collect();
            assert_eq!(ids.len(), found.len(), "{dataset}: {found:?}");
            assert!(ids.iter().all(|id| (1..4_000).contains(id)), "{dataset}");
            for column in &contract.columns {
                let range = 501..=1_000;
                let is_free = |id: i32| range.contains(&id);
                assert!(column.explicit_field_id.is_none_or(is_free), "{dataset}");
            }
        }
    }

    /// A column among others does not take the id of one that was there before.
    #[test]
    fn a_new_column_changes_no_id() {
        let ids = |columns: Vec<Column>| {
            let mut found = Vec::new();
            for field in Contract::of_columns(columns).file_schema().fields() {
                field_ids("", field, &mut found);
            }
            found
        };
        let column = |name: &str| Column::new(name, ColumnKind::Text, &[], "");
        let before = ids(vec![column("a"), column("b")]);
        let new = Column::new("new", ColumnKind::TextList, &[], "").field_id(501);
        let mut after = ids(vec![column("a"), new, column("b")]);
        after.retain(|(path, _)| !path.starts_with("new"));
        assert_eq!(after, before);
        assert_ne!(
            ids(vec![column("a"), column("new"), column("b")])[2],
            before[1]
        );
    }

    #[test]
    fn lineage_columns_stand_in_the_order_of_their_ids() {
        let fields = lineage_fields();
        let names = fields.iter().map(|field| field.name().as_str());
        assert!(names.eq(lineage::FIELD_IDS.map(|(name, _)| name)));
    }
}
