//! The columns with the same value in every row of a source, and how they complete a batch that was
//! read.
//!
//! The columns that are **read** are those of the sheet, the derived ones, `_source_row` and
//! `_extra`. Enumerations are read as keys. The other columns are constant, but for the keys that
//! join rows, where each row has its own. The constant ones are known before the first row, except
//! for the hash of the source. Their arrays are made once and cut to length for each batch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Date32Array, DictionaryArray, Int32Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, TimestampMicrosecondArray, new_empty_array, new_null_array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use jiff::Timestamp;
use jiff::civil::Date;

use super::column::{days_since_1970, dictionary_key};
use super::keys::{EachRow, KeyColumn};
use super::{Context, Stamp};
use crate::column::{Column, ColumnKind, ColumnSource, EnumValue, OTHER, list_element};
use crate::contract::{self, Contract, lineage};
use crate::datasets::{Lineage, LineageValue};
use crate::task::TaskKey;

/// Completes batches of the columns that are read to batches of the contract.
#[derive(Debug)]
pub struct ConstantColumns {
    schema: SchemaRef,
    columns: Vec<CompletedColumn>,
}

/// Where a column of the contract comes from.
#[derive(Debug)]
enum CompletedColumn {
    /// The next column of the batch that was read.
    Read,
    /// The next column of the batch that was read, as keys of this dictionary.
    Keys(ArrayRef),
    /// The same value in every row.
    Same(ArrayRef),
    /// A key that is hashed from other columns.
    Keyed(Box<EachRow>),
}

impl ConstantColumns {
    /// The constant columns of a source, for batches of at most `rows` rows.
    #[must_use]
    pub fn new(context: &Context, stamp: &Stamp, rows: usize) -> Self {
        let own = context
            .contract
            .columns
            .iter()
            .map(|column| match column.source {
                ColumnSource::Task => {
                    CompletedColumn::Same(lineage_column(column, &context.lineage, rows))
                }
                ColumnSource::Keyed(key) => match KeyColumn::new(key, context, stamp) {
                    KeyColumn::Same(key) => {
                        CompletedColumn::Same(constant_text(key.as_deref(), rows))
                    }
                    KeyColumn::Each(each) => CompletedColumn::Keyed(each),
                },
                ColumnSource::Sheet | ColumnSource::Derived(_) => match column.kind {
                    ColumnKind::Enum(values) => CompletedColumn::Keys(dictionary_names(values)),
                    _ => CompletedColumn::Read,
                },
            });
        let text = |value: Option<&str>| CompletedColumn::Same(constant_text(value, rows));
        let time = |value: Option<Timestamp>| CompletedColumn::Same(constant_time(value, rows));
        let window = stamp.window;
        let version = Int32Array::from_value(contract::VERSION, rows);
        let added = [
            text(stamp.task_key.as_ref().map(TaskKey::as_str)),
            text(stamp.export_id.as_ref().map(|id| id.0.as_str())),
            text(Some(&stamp.source_sha256)),
            CompletedColumn::Read,
            time(window.map(|w| w.start())),
            time(window.map(|w| w.end())),
            time(stamp.extracted_at),
            CompletedColumn::Same(Arc::new(version)),
            CompletedColumn::Read,
        ];
        Self {
            schema: context.contract.schema(),
            columns: own.chain(added).collect(),
        }
    }

    /// The batch with all columns of the contract. The batches of a source come in its order, each
    /// once.
    #[must_use]
    pub fn complete(&self, read: &RecordBatch) -> RecordBatch {
        let mut next = read.columns().iter();
        let mut take = || ArrayRef::clone(next.next().expect("a batch of the same contract"));
        let rows = read.num_rows();
        let parts = self.columns.iter().map(|part| match part {
            CompletedColumn::Read => take(),
            CompletedColumn::Keys(names) => {
                let keys = take().as_primitive::<Int32Type>().clone();
                Arc::new(DictionaryArray::new(keys, ArrayRef::clone(names)))
            }
            CompletedColumn::Same(array) => array.slice(0, rows),
            // They follow when all that they are hashed from is there.
            CompletedColumn::Keyed(_) => new_empty_array(&DataType::Utf8),
        });
        let mut columns: Vec<ArrayRef> = parts.collect();
        for (index, part) in self.columns.iter().enumerate() {
            if let CompletedColumn::Keyed(each) = part {
                columns[index] = each.of_rows(&columns, rows);
            }
        }
        RecordBatch::try_new(SchemaRef::clone(&self.schema), columns)
            .expect("the columns are built from the contract that the schema is built from")
    }
}

/// Selects from batches of the contract the columns that are read. It reverses
/// [`ConstantColumns::complete`].
#[derive(Debug)]
pub struct ReadColumns {
    schema: SchemaRef,
    /// For each column that is read, its index in the contract's schema, and its values if it is an
    /// enumeration.
    columns: Vec<(usize, Option<&'static [EnumValue]>)>,
}

impl ReadColumns {
    /// For batches of `contract`.
    #[must_use]
    pub fn new(contract: &Contract) -> Self {
        let schema = read_schema(contract);
        let columns = schema.fields().iter().map(|field| {
            let all = contract.schema();
            let index = all.index_of(field.name()).expect("it is one of them");
            let values = match contract.columns.get(index).map(|column| column.kind) {
                Some(ColumnKind::Enum(values)) => Some(values),
                _ => None,
            };
            (index, values)
        });
        Self {
            columns: columns.collect(),
            schema,
        }
    }

    /// What [`ConstantColumns::complete`] was given for these rows.
    #[must_use]
    pub fn select(&self, complete: &RecordBatch) -> RecordBatch {
        let columns = self.columns.iter().map(|(index, values)| {
            let column = complete.column(*index);
            match values {
                Some(values) => dictionary_keys(column, values),
                None => ArrayRef::clone(column),
            }
        });
        RecordBatch::try_new(SchemaRef::clone(&self.schema), columns.collect())
            .expect("the columns of the contract")
    }
}

fn dictionary_keys(column: &ArrayRef, values: &[EnumValue]) -> ArrayRef {
    let texts = column.as_dictionary::<Int32Type>();
    let texts = texts
        .downcast_dict::<StringArray>()
        .expect("dictionaries are of text");
    let key = |text: &str| dictionary_key(values.iter().position(|v| v.value == text), values);
    Arc::new(Int32Array::from_iter(
        texts.into_iter().map(|text| text.map(key)),
    ))
}

/// Schema of the columns that are read, in the order of the contract.
#[must_use]
pub fn read_schema(contract: &Contract) -> SchemaRef {
    let all = contract.schema();
    let own = contract.columns.iter().zip(all.fields());
    let mut fields: Vec<Field> = own
        .filter(|(column, _)| is_read(column))
        .map(|(column, field)| match column.kind {
            ColumnKind::Enum(_) => Field::new(field.name(), DataType::Int32, true),
            _ => field.as_ref().clone(),
        })
        .collect();
    for name in [lineage::SOURCE_ROW, lineage::EXTRA] {
        let field = all.field_with_name(name);
        fields.push(field.expect("every contract has it").clone());
    }
    Arc::new(Schema::new(fields))
}

fn is_read(column: &Column) -> bool {
    !matches!(column.source, ColumnSource::Task | ColumnSource::Keyed(_))
}

/// The dictionary of an enumeration: all values in the contract's order, then `other`. It is the
/// same in every batch.
fn dictionary_names(values: &[EnumValue]) -> ArrayRef {
    let names = values.iter().map(|value| value.value).chain([OTHER]);
    Arc::new(StringArray::from_iter_values(names))
}

/// Whether the task has a value for a column.
pub(super) fn has_lineage_value(lineage: &Lineage, column: &Column) -> bool {
    lineage.value(column.task_field()).is_some()
}

/// A column with the task's value in every row.
fn lineage_column(column: &Column, lineage: &Lineage, rows: usize) -> ArrayRef {
    let value = lineage.value(column.task_field());
    let text = match &value {
        Some(LineageValue::Text(text)) => Some(*text),
        _ => None,
    };
    match column.kind {
        ColumnKind::Time => {
            let time = match value {
                Some(LineageValue::Time(time)) => Some(time),
                _ => None,
            };
            constant_time(time, rows)
        }
        ColumnKind::Date => {
            let date = match value {
                Some(LineageValue::Date(date)) => Some(date),
                _ => None,
            };
            constant_date(date, rows)
        }
        ColumnKind::Enum(values) => {
            let index = text.map(|value| values.iter().position(|v| v.value == value));
            let key = index.map(|index| dictionary_key(index, values));
            let keys: Int32Array = std::iter::repeat_n(key, rows).collect();
            Arc::new(DictionaryArray::new(keys, dictionary_names(values)))
        }
        ColumnKind::TextList => {
            let texts = match value {
                Some(LineageValue::Texts(texts)) => texts,
                _ => Vec::new(),
            };
            constant_texts(&texts, rows)
        }
        _ => constant_text(text, rows),
    }
}

/// A list without elements is null, as everywhere.
fn constant_texts(texts: &[&str], rows: usize) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(list_element());
    for _ in 0..rows {
        texts
            .iter()
            .for_each(|text| lists.values().append_value(text));
        lists.append(!texts.is_empty());
    }
    Arc::new(lists.finish())
}

fn constant_text(value: Option<&str>, rows: usize) -> ArrayRef {
    match value {
        Some(text) => {
            let texts = std::iter::repeat_n(text, rows);
            Arc::new(StringArray::from_iter_values(texts))
        }
        None => new_null_array(&DataType::Utf8, rows),
    }
}

fn constant_time(value: Option<Timestamp>, rows: usize) -> ArrayRef {
    let value = value.map(Timestamp::as_microsecond);
    let array: TimestampMicrosecondArray = std::iter::repeat_n(value, rows).collect();
    Arc::new(array.with_timezone("UTC"))
}

fn constant_date(value: Option<Date>, rows: usize) -> ArrayRef {
    let value = value.map(days_since_1970);
    let array: Date32Array = std::iter::repeat_n(value, rows).collect();
    Arc::new(array)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::{Dataset, FoundBy, UserIdType};
    use crate::normalize::Normalizer;
    use crate::table::{Cell, Header, HeaderColumn, RowSink};
    use arrow::array::Array as _;
    use arrow::datatypes::Date32Type;
    use jiff::tz::TimeZone;

    #[test]
    fn the_task_gives_a_snapshot_its_day_and_its_kind_of_ids() {
        let lineage = Lineage {
            user_id_type: Some(UserIdType::UnionId),
            snapshot_date: Some(jiff::civil::date(2026, 10, 12)),
            ..Lineage::default()
        };
        let column = |name, kind| Column::new(name, kind, &[], "").of_task();
        let day = column("snapshot_date", ColumnKind::Date);
        let days = lineage_column(&day, &lineage, 2);
        assert_eq!(days.as_primitive::<Date32Type>().values(), &[20_738; 2]);
        let unknown = lineage_column(&day, &Lineage::default(), 2);
        assert_eq!(
            (unknown.data_type(), unknown.null_count()),
            (&DataType::Date32, 2)
        );
        let kind = column("contact_id_type", ColumnKind::Id).of_task_field("user_id_type");
        let kinds = lineage_column(&kind, &lineage, 1);
        assert_eq!(kinds.as_string::<i32>().value(0), "union_id");
    }

    #[test]
    fn a_list_of_the_task_is_the_same_in_every_row_and_null_without_elements() {
        let column = Column::new("discovered_by", ColumnKind::TextList, &[], "").of_task();
        for (by, expected) in [
            (vec![], None),
            (
                vec![FoundBy::Event, FoundBy::ListByNo],
                Some(["event", "list_by_no"]),
            ),
        ] {
            let lineage = Lineage {
                discovered_by: by,
                ..Lineage::default()
            };
            let lists = lineage_column(&column, &lineage, 2);
            assert_eq!(*lists.data_type(), DataType::List(list_element()));
            for list in lists.as_list::<i32>().iter() {
                let texts = list.as_ref().map(|list| list.as_string::<i32>());
                let texts = texts.map(|texts| texts.iter().flatten().collect::<Vec<_>>());
                assert_eq!(texts.as_deref(), expected.as_ref().map(|texts| &texts[..]));
            }
        }
    }

    #[test]
    fn what_was_completed_can_be_reduced_again() {
        let contract = Contract::of(Dataset::ResourceReservationList);
        let context = Context {
            contract,
            time_zone: TimeZone::UTC,
            tenant_zone: TimeZone::UTC,
            lineage: Lineage {
                room_id: Some("omm_1".into()),
                ..Lineage::default()
            },
            stamp: Stamp::default(),
            buckets: None,
            top_user_duration: crate::datasets::DurationUnit::Minutes,
            keys_from_task_required: false,
            keys: None,
        };
        let mut batches = Vec::new();
        let mut normalizer = Normalizer::new(&context, |piece| {
            if let super::super::NormalizerOutput::Rows(batch) = piece {
                batches.push(batch);
            }
        });
        let texts = ["会议室名称", "会议开始时间", "会议室预定状态"];
        let columns = texts.map(|text| HeaderColumn {
            text: text.to_owned(),
            column: contract.column_of_header(text),
        });
        normalizer.sheet(&Header {
            sheet: "S".to_owned(),
            row: Some(1),
            columns: columns.to_vec(),
        });
        for (row, status) in (2..).zip(["预定成功", "火星", "", "预定成功"]) {
            let cells = ["r", "2026.10.12 06:10:42", status].map(|t| Cell::Text(t.into()));
            normalizer.row(row, &cells);
        }
        normalizer.finish().expect("a table");
        let constants = ConstantColumns::new(&context, &context.stamp, 10);
        let complete = constants.complete(&batches[0]);
        assert_eq!(complete.schema(), contract.schema());
        let room = complete["room_id"].as_string::<i32>();
        assert_eq!((room.value(0), room.len()), ("omm_1", 4));
        assert_eq!(ReadColumns::new(contract).select(&complete), batches[0]);
    }
}
