//! Rows of `top_user` for the tests of this module: a dictionary in the key, a map, text and
//! numbers.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch,
    StringArray, StringBuilder, new_null_array,
};
use arrow::datatypes::Int32Type;

use crate::contract::{Contract, MAP_NAMES, lineage};
use crate::datasets::Dataset;

/// One row; the natural key is `order_by` and `rank`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TopUserRow {
    pub(crate) order_by: Option<String>,
    pub(crate) rank: i32,
    pub(crate) user_name: Option<String>,
    pub(crate) task: String,
    pub(crate) source_row: i64,
    pub(crate) extra: Vec<(String, Option<String>)>,
}

pub(crate) fn row(order_by: &str, rank: i32, task: &str, source_row: i64) -> TopUserRow {
    TopUserRow {
        order_by: Some(order_by.into()),
        rank,
        user_name: None,
        task: task.into(),
        source_row,
        extra: Vec::new(),
    }
}

/// The rows, in their order, as a batch that follows the contract.
pub(crate) fn batch(rows: &[TopUserRow]) -> RecordBatch {
    let schema = Contract::of(Dataset::TopUser).schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "order_by" => Arc::new(
                rows.iter()
                    .map(|row| row.order_by.as_deref())
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
            "rank" => Arc::new(
                rows.iter()
                    .map(|row| Some(row.rank))
                    .collect::<Int32Array>(),
            ) as ArrayRef,
            "user_name" => text(rows.iter().map(|row| row.user_name.as_deref())),
            lineage::TASK_KEY => text(rows.iter().map(|row| Some(row.task.as_str()))),
            lineage::SOURCE_ROW => Arc::new(
                rows.iter()
                    .map(|row| Some(row.source_row))
                    .collect::<Int64Array>(),
            ),
            lineage::EXTRA => extra(rows.iter().map(|row| row.extra.clone())),
            _ => new_null_array(field.data_type(), rows.len()),
        })
        .collect();
    RecordBatch::try_new(schema, columns).expect("the columns of the contract")
}

fn text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

/// The column `_extra` of rows that have these keys and values.
pub(crate) fn extra(rows: impl Iterator<Item = Vec<(String, Option<String>)>>) -> ArrayRef {
    let [entry, key, value] = MAP_NAMES.map(str::to_owned);
    let names = MapFieldNames { entry, key, value };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in &row {
            maps.keys().append_value(key);
            maps.values().append_option(value.as_deref());
        }
        maps.append(!row.is_empty()).expect("keys and values");
    }
    Arc::new(maps.finish())
}
