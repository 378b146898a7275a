//! The digest of a row's values, by which two snapshots of the same thing are compared.
//!
//! For each column, the digest covers its name, then 0 for null or 1 and the value. Names and
//! values have their length in front. A value does not depend on how Arrow or Parquet hold it. The
//! form is the same for ever, because another digest would mean that the row has changed. (So a
//! column that is added in front of the digest changes it once for every row.)

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use sha2::{Digest, Sha256};

use crate::column::{Column, ColumnKind, EnumValue, OTHER};
use crate::task::hex;

/// The digest of each row: 64 hex digits of SHA-256 over `columns`, which are as they are read.
pub(super) fn hashes(columns: &[(&Column, ArrayRef)], rows: usize) -> ArrayRef {
    let mut canonical = Vec::new();
    let digests = (0..rows).map(|row| {
        canonical.clear();
        for (column, array) in columns {
            write_bytes(column.name.as_bytes(), &mut canonical);
            canonical.push(u8::from(array.is_valid(row)));
            if array.is_valid(row) {
                write_value(column.kind, array, row, &mut canonical);
            }
        }
        hex(&Sha256::digest(&canonical))
    });
    Arc::new(StringArray::from_iter_values(digests))
}

/// Appends a value. Texts are UTF-8, an enumeration's value is its text. Numbers are little-endian
/// in eight bytes, instants in microseconds. A list is the count of its
/// elements, then 0 for null or 1 and the text of each.
fn write_value(kind: ColumnKind, array: &ArrayRef, row: usize, out: &mut Vec<u8>) {
    let mut whole = |number: i64| write_bytes(&number.to_le_bytes(), out);
    match kind {
        ColumnKind::Text | ColumnKind::Id | ColumnKind::MeetingNo => {
            write_bytes(array.as_string::<i32>().value(row).as_bytes(), out);
        }
        ColumnKind::Enum(values) => {
            let key = array.as_primitive::<Int32Type>().value(row);
            write_bytes(enum_text(values, key).as_bytes(), out);
        }
        ColumnKind::TextList => {
            let elements = array.as_list::<i32>().value(row);
            let mut list = (elements.len() as u64).to_le_bytes().to_vec();
            for element in elements.as_string::<i32>().iter() {
                list.push(u8::from(element.is_some()));
                if let Some(text) = element {
                    write_bytes(text.as_bytes(), &mut list);
                }
            }
            write_bytes(&list, out);
        }
        ColumnKind::Time | ColumnKind::UnixTime => {
            whole(array.as_primitive::<TimestampMicrosecondType>().value(row));
        }
        ColumnKind::Date => whole(array.as_primitive::<Date32Type>().value(row).into()),
        ColumnKind::DurationS | ColumnKind::Integer | ColumnKind::ReportedMinutes => {
            whole(array.as_primitive::<Int64Type>().value(row));
        }
        ColumnKind::SmallInteger => whole(array.as_primitive::<Int32Type>().value(row).into()),
        ColumnKind::Bool => whole(array.as_boolean().value(row).into()),
        ColumnKind::Kbps
        | ColumnKind::Milliseconds
        | ColumnKind::Percent
        | ColumnKind::Hours
        | ColumnKind::Decibels
        | ColumnKind::FramesPerSecond => {
            let number = array.as_primitive::<Float64Type>().value(row);
            write_bytes(&number.to_le_bytes(), out);
        }
    }
}

/// The value that stands in the lake. Keys move when the enumeration gets another value.
fn enum_text(values: &[EnumValue], key: i32) -> &'static str {
    let value = usize::try_from(key).ok().and_then(|key| values.get(key));
    value.map_or(OTHER, |value| value.value)
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, Float64Array, Int32Array, Int64Array, ListBuilder, StringBuilder,
        TimestampMicrosecondArray,
    };

    const STATUS: &[EnumValue] = &[EnumValue {
        value: "enabled",
        texts: &[],
    }];

    fn column(name: &str, kind: ColumnKind) -> Column {
        Column::new(name, kind, &[], "")
    }

    fn text(value: Option<&str>) -> ArrayRef {
        Arc::new(StringArray::from(vec![value]))
    }

    fn list(elements: &[Option<&str>]) -> ArrayRef {
        let mut builder = ListBuilder::new(StringBuilder::new());
        builder.append_value(elements.iter().copied());
        Arc::new(builder.finish())
    }

    fn hash_of(columns: &[(Column, ArrayRef)]) -> String {
        let columns: Vec<_> = columns
            .iter()
            .map(|(c, a)| (c, ArrayRef::clone(a)))
            .collect();
        hashes(&columns, 1).as_string::<i32>().value(0).to_owned()
    }

    /// Pinned, because another hash for the same row would mean that it has changed. The value was
    /// computed from the description of the form by another program.
    #[test]
    fn the_hash_of_a_row_never_changes() {
        let row: [(Column, ArrayRef); 8] = [
            (column("name", ColumnKind::Text), text(Some("会议室"))),
            (column("id", ColumnKind::Id), text(None)),
            (
                column("path", ColumnKind::TextList),
                list(&[Some("a"), Some(""), None]),
            ),
            (
                column("since", ColumnKind::UnixTime),
                Arc::new(TimestampMicrosecondArray::from(vec![1_602_000_000_000_000])),
            ),
            (
                column("capacity", ColumnKind::SmallInteger),
                Arc::new(Int32Array::from(vec![12])),
            ),
            (
                column("is_on", ColumnKind::Bool),
                Arc::new(BooleanArray::from(vec![true])),
            ),
            (
                column("load", ColumnKind::Percent),
                Arc::new(Float64Array::from(vec![1.5])),
            ),
            (
                column("status", ColumnKind::Enum(STATUS)),
                Arc::new(Int32Array::from(vec![1])),
            ),
        ];
        assert_eq!(
            hash_of(&row),
            "f8f5c37a8982d9dfddf8f1db43555e9b39bf054a48d01ca9c627e7442ddcb287"
        );
    }

    #[test]
    fn rows_that_differ_have_different_hashes() {
        let two = |a: (&str, Option<&str>), b: (&str, Option<&str>)| {
            let cell = |(name, value)| (column(name, ColumnKind::Text), text(value));
            hash_of(&[cell(a), cell(b)])
        };
        let path = |elements: &[Option<&str>]| {
            hash_of(&[(column("path", ColumnKind::TextList), list(elements))])
        };
        let mut all = vec![
            hash_of(&[]),
            two(("a", None), ("b", None)),
            two(("a", Some("")), ("b", None)),
            two(("a", None), ("b", Some(""))),
            two(("a", Some("x")), ("b", None)),
            two(("a", None), ("b", Some("x"))),
            two(("a", Some("xy")), ("b", Some(""))),
            two(("a", Some("x")), ("b", Some("y"))),
            two(("a", Some("x")), ("by", Some(""))),
            path(&[]),
            path(&[Some("")]),
            path(&[None]),
            path(&[Some("ab")]),
            path(&[Some("a"), Some("b")]),
            path(&[Some("b"), Some("a")]),
        ];
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_number_counts_whatever_its_width() {
        let narrow = (
            column("n", ColumnKind::SmallInteger),
            Int32Array::from(vec![7]),
        );
        let wide = (column("n", ColumnKind::Integer), Int64Array::from(vec![7]));
        assert_eq!(
            hash_of(&[(narrow.0, Arc::new(narrow.1))]),
            hash_of(&[(wide.0, Arc::new(wide.1))])
        );
    }
}
