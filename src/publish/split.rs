//! Cuts a task's rows by the civil date on which they are published.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::contract::Contract;
use crate::window::date_of;

/// The rows of each date, in their order. The date is that of the contract's partition column in
/// `zone`. A row without a value, and a dataset without such a column, take `fallback`. A batch
/// without rows gives an empty map.
///
/// # Errors
/// If the batch does not follow the contract.
pub fn split_by_dt(
    batch: &RecordBatch,
    contract: &Contract,
    zone: &TimeZone,
    fallback: Date,
) -> Result<BTreeMap<Date, RecordBatch>, ArrowError> {
    let mut rows: BTreeMap<Date, Vec<u32>> = BTreeMap::new();
    let dates = dates(batch, contract, zone)?;
    for (row, date) in (0u32..).zip(dates) {
        rows.entry(date.unwrap_or(fallback)).or_default().push(row);
    }
    let only = rows.len() == 1;
    rows.into_iter()
        .map(|(date, rows)| {
            let part = if only {
                batch.clone()
            } else {
                take_record_batch(batch, &UInt32Array::from(rows))?
            };
            Ok((date, part))
        })
        .collect()
}

fn dates(
    batch: &RecordBatch,
    contract: &Contract,
    zone: &TimeZone,
) -> Result<Vec<Option<Date>>, ArrowError> {
    let Some(name) = contract.partition_column else {
        return Ok(vec![None; batch.num_rows()]);
    };
    let column: &ArrayRef = batch
        .column_by_name(name)
        .ok_or_else(|| ArrowError::SchemaError(format!("the batch has no column {name}")))?;
    match column.data_type() {
        DataType::Timestamp(_, _) => {
            let instants = column.as_primitive_opt::<TimestampMicrosecondType>();
            let instants = instants.ok_or_else(|| wrong_type(name, column))?;
            Ok(instants.iter().map(|us| date_at(zone, us?)).collect())
        }
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>();
            Ok(days.iter().map(|days| date_after(days?)).collect())
        }
        _ => Err(wrong_type(name, column)),
    }
}

fn date_at(zone: &TimeZone, microseconds: i64) -> Option<Date> {
    let instant = Timestamp::from_microsecond(microseconds).ok()?;
    Some(date_of(zone, instant))
}

fn date_after(days: i32) -> Option<Date> {
    date(1970, 1, 1).checked_add(i64::from(days).days()).ok()
}

fn wrong_type(name: &str, column: &ArrayRef) -> ArrowError {
    ArrowError::SchemaError(format!("column {name} is {}", column.data_type()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Dataset;
    use crate::publish::rows;
    use arrow::array::{TimestampMicrosecondArray, new_null_array};
    use std::sync::Arc;

    fn meetings(starts: &[Option<&str>]) -> RecordBatch {
        let schema = Contract::of(Dataset::MeetingList).schema();
        let instants = starts.iter().map(|start| {
            start.map(|text| {
                text.parse::<Timestamp>()
                    .expect("an instant")
                    .as_microsecond()
            })
        });
        let instants: TimestampMicrosecondArray = instants.collect();
        let instants = Arc::new(instants.with_timezone("UTC"));
        let columns = schema.fields().iter().map(|field| {
            if field.name() == "start_time" {
                Arc::clone(&instants) as ArrayRef
            } else {
                new_null_array(field.data_type(), starts.len())
            }
        });
        RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("a batch")
    }

    #[test]
    fn rows_fall_on_the_civil_date_of_the_zone() {
        let shanghai = TimeZone::get("Asia/Shanghai").expect("a zone");
        let batch = meetings(&[
            Some("2026-11-18T15:59:59Z"),
            Some("2026-11-18T16:00:00Z"),
            None,
        ]);
        let contract = Contract::of(Dataset::MeetingList);
        let parts = split_by_dt(&batch, contract, &shanghai, date(2026, 11, 19)).expect("parts");
        let sizes: Vec<_> = parts.iter().map(|(d, b)| (*d, b.num_rows())).collect();
        assert_eq!(sizes, [(date(2026, 11, 18), 1), (date(2026, 11, 19), 2)]);
        assert!(
            split_by_dt(&meetings(&[]), contract, &shanghai, date(2026, 1, 1))
                .expect("parts")
                .is_empty()
        );
    }

    #[test]
    fn a_dataset_without_a_date_takes_that_of_its_window() {
        let batch = rows::batch(&[rows::row("a", 1, "t", 1)]);
        let contract = Contract::of(Dataset::TopUser);
        let parts =
            split_by_dt(&batch, contract, &TimeZone::UTC, date(2026, 11, 19)).expect("parts");
        assert_eq!(parts, BTreeMap::from([(date(2026, 11, 19), batch)]));
    }
}
