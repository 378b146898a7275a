//! The content hash: what the rows of a file say, whatever Arrow or Parquet make of it.
//!
//! It covers the columns of [`Contract::content_columns`](crate::contract::Contract::content_columns)
//! and the number of rows. It does not cover the lineage columns but `_extra`, which differ with
//! every export, nor the keys of the lake. A column without any value does not count, so rows keep
//! their hash when their contract gains a column.
//!
//! ```text
//! hash    "2:" SHA-256( "meetlake content 2\0"  rows  column … )     columns by name
//! rows    u64
//! column  text(name)  SHA-256(run …)  SHA-256(value …)
//! run     count of rows with a value, then count of rows without one, in turn
//! value   of each row that has one: number i64 or f64, bool 1 byte, text(…),
//!         list: count, then each element; map: count, then each text(key) and value, sorted
//! element, value of a map   0 for null, else count of bytes + 1 and the bytes
//! text    count of bytes and the bytes
//! count   LEB128; all else is little-endian
//! ```
//! Dates are days since 1970, instants microseconds. -0.0 counts as 0.0, and every NaN alike.

use arrow::array::{
    Array, ArrowPrimitiveType, AsArray as _, ListArray, MapArray, PrimitiveArray, StringArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use sha2::{Digest, Sha256};

use crate::task::hex;

/// The hash of one column, fed batch by batch.
pub(super) struct ColumnHash {
    name: String,
    values: Sha256,
    runs: Sha256,
    /// Rows of the run that goes on.
    run: u64,
    run_has_values: bool,
    has_values: bool,
    /// The values of one batch as they are hashed.
    canonical: Vec<u8>,
}

/// Rows from the first to before the second.
type RowRange = (usize, usize);

impl ColumnHash {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            values: Sha256::new(),
            runs: Sha256::new(),
            run: 0,
            run_has_values: true,
            has_values: false,
            canonical: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Adds the next rows.
    pub(super) fn update(&mut self, array: &dyn Array) -> Result<(), ArrowError> {
        let filled: Vec<RowRange> = match array.logical_nulls() {
            Some(nulls) if nulls.null_count() == array.len() => Vec::new(),
            Some(nulls) if nulls.null_count() > 0 => nulls.valid_slices().collect(),
            _ => vec![(0, array.len())],
        };
        let mut ended = Vec::new();
        let mut row = 0;
        for &(start, end) in &filled {
            self.go_on(false, start - row, &mut ended);
            self.go_on(true, end - start, &mut ended);
            row = end;
        }
        self.go_on(false, array.len() - row, &mut ended);
        self.runs.update(&ended);
        self.canonical.clear();
        write_values(array, &filled, &mut self.canonical)?;
        self.values.update(&self.canonical);
        Ok(())
    }

    /// Counts rows with or without values. A run that they do not continue has ended.
    fn go_on(&mut self, have_values: bool, rows: usize, ended: &mut Vec<u8>) {
        if rows == 0 {
            return;
        }
        if have_values != self.run_has_values {
            write_count(self.run, ended);
            self.run = 0;
            self.run_has_values = have_values;
        }
        self.run += rows as u64;
        self.has_values |= have_values;
    }

    fn finish(mut self, hash: &mut Sha256) {
        let mut last = Vec::new();
        write_count(self.run, &mut last);
        self.runs.update(&last);
        let mut name = Vec::new();
        write_text(&self.name, &mut name);
        hash.update(name);
        hash.update(self.runs.finalize());
        hash.update(self.values.finalize());
    }
}

/// The content hash of so many rows with these columns.
pub(super) fn content_hash(rows: u64, mut columns: Vec<ColumnHash>) -> String {
    columns.retain(|column| column.has_values);
    columns.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hash = Sha256::new();
    hash.update(b"meetlake content 2\0");
    hash.update(rows.to_le_bytes());
    for column in columns {
        column.finish(&mut hash);
    }
    format!("2:{}", hex(&hash.finalize()))
}

/// Appends the values of the rows in `filled`, which have one.
fn write_values(
    array: &dyn Array,
    filled: &[RowRange],
    out: &mut Vec<u8>,
) -> Result<(), ArrowError> {
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            out.reserve(texts.len() * 2 + texts.value_data().len());
            each(filled, |row| write_text(texts.value(row), out));
        }
        DataType::Dictionary(key, _) if **key == DataType::Int32 => {
            let dictionary = array.as_dictionary::<Int32Type>();
            let texts = dictionary
                .downcast_dict::<StringArray>()
                .ok_or_else(|| unknown_type(array.data_type()))?
                .values();
            let keys = dictionary.keys().values();
            each(filled, |row| {
                let key = usize::try_from(keys[row]).unwrap_or(usize::MAX);
                write_text(texts.value(key), out);
            });
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            write_numbers::<TimestampMicrosecondType>(array, filled, out, i64::to_le_bytes);
        }
        DataType::Int64 => write_numbers::<Int64Type>(array, filled, out, i64::to_le_bytes),
        DataType::Int32 => {
            write_numbers::<Int32Type>(array, filled, out, |number| i64::from(number).to_le_bytes())
        }
        DataType::Date32 => {
            write_numbers::<Date32Type>(array, filled, out, |days| i64::from(days).to_le_bytes())
        }
        DataType::Float64 => write_numbers::<Float64Type>(array, filled, out, |number| {
            // The sum of -0.0 and 0.0 is 0.0.
            let number = if number.is_nan() {
                f64::NAN
            } else {
                number + 0.0
            };
            number.to_le_bytes()
        }),
        DataType::Boolean => {
            let values = array.as_boolean();
            each(filled, |row| out.push(u8::from(values.value(row))));
        }
        DataType::List(element) if *element.data_type() == DataType::Utf8 => {
            let lists = array.as_list();
            each(filled, |row| write_list(lists, row, out));
        }
        DataType::Map(_, _) => {
            let maps = array.as_map();
            each(filled, |row| write_map(maps, row, out));
        }
        other => return Err(unknown_type(other)),
    }
    Ok(())
}

fn each(filled: &[RowRange], mut write: impl FnMut(usize)) {
    for &(start, end) in filled {
        (start..end).for_each(&mut write);
    }
}

fn write_numbers<T: ArrowPrimitiveType>(
    array: &dyn Array,
    filled: &[RowRange],
    out: &mut Vec<u8>,
    bytes: impl Fn(T::Native) -> [u8; 8],
) {
    let numbers: &PrimitiveArray<T> = array.as_primitive();
    for &(start, end) in filled {
        out.reserve((end - start) * 8);
        out.extend(numbers.values()[start..end].iter().flat_map(|&n| bytes(n)));
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_count(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn write_optional_text(text: Option<&str>, out: &mut Vec<u8>) {
    let Some(text) = text else {
        return write_count(0, out);
    };
    write_count(text.len() as u64 + 1, out);
    out.extend_from_slice(text.as_bytes());
}

fn write_list(lists: &ListArray, row: usize, out: &mut Vec<u8>) {
    let list = lists.value(row);
    write_count(list.len() as u64, out);
    for element in list.as_string::<i32>() {
        write_optional_text(element, out);
    }
}

fn write_map(maps: &MapArray, row: usize, out: &mut Vec<u8>) {
    let entries = maps.value(row);
    let (keys, values) = (
        entries.column(0).as_string::<i32>(),
        entries.column(1).as_string::<i32>(),
    );
    let mut pairs: Vec<_> = keys.iter().zip(values).collect();
    pairs.sort_unstable();
    write_count(pairs.len() as u64, out);
    for (key, value) in pairs {
        write_text(key.unwrap_or_default(), out);
        write_optional_text(value, out);
    }
}

/// Seven bits a byte, the least significant first; all bytes but the last have the eighth bit.
fn write_count(mut count: u64, out: &mut Vec<u8>) {
    while count >= 0x80 {
        out.push(count as u8 | 0x80);
        count >>= 7;
    }
    out.push(count as u8);
}

fn unknown_type(data_type: &DataType) -> ArrowError {
    ArrowError::NotYetImplemented(format!("content hash of {data_type}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, DictionaryArray, Float64Array, Int32Array, Int64Array,
        ListBuilder, StringBuilder, TimestampMicrosecondArray,
    };
    use arrow::compute::concat;
    use proptest::prelude::*;

    use super::*;
    use crate::publish::rows::extra;

    fn hash_of(columns: &[(&str, ArrayRef)]) -> String {
        let rows = columns.first().map_or(0, |(_, array)| array.len());
        let hashes = columns.iter().map(|(name, array)| {
            let mut hash = ColumnHash::new(name);
            hash.update(array).expect("a known type");
            hash
        });
        content_hash(rows as u64, hashes.collect())
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    type Elements<'t> = [Option<&'t str>];

    fn lists(rows: &[Option<&Elements<'_>>]) -> ArrayRef {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in rows {
            lists.append_option(row.map(|elements| elements.iter().copied()));
        }
        Arc::new(lists.finish())
    }

    fn maps(rows: &[&[(&str, Option<&str>)]]) -> ArrayRef {
        let owned = |text: &str| text.to_owned();
        extra(rows.iter().map(|row| {
            let row = row.iter();
            row.map(|(key, value)| (owned(key), value.map(owned)))
                .collect()
        }))
    }

    /// One column of every type, 300 rows, so that counts take two bytes.
    fn all_types() -> Vec<(&'static str, ArrayRef)> {
        let rows = 0..300_i64;
        let some = |n: i64| (n % 7 > 1).then_some(n);
        let long = "长".repeat(100);
        let text = |n: i64| match n % 4 {
            0 => None,
            1 => Some(""),
            2 => Some("会议"),
            _ => Some(long.as_str()),
        };
        let words: DictionaryArray<Int32Type> = rows.clone().map(text).collect();
        let small = |n: i64| some(n).map(|n| i32::try_from(-n).expect("small"));
        let mut list = ListBuilder::new(StringBuilder::new());
        for n in rows.clone() {
            list.append_option((n % 3 > 0).then(|| vec![text(n); (n % 3) as usize]));
        }
        let map = rows.clone().map(|n| match n % 5 {
            0 => vec![],
            1 => vec![
                ("b".to_owned(), None),
                ("a".to_owned(), Some(n.to_string())),
            ],
            _ => vec![("列".to_owned(), Some(String::new()))],
        });
        vec![
            (
                "text",
                Arc::new(rows.clone().map(text).collect::<StringArray>()),
            ),
            ("word", Arc::new(words)),
            (
                "number",
                Arc::new(rows.clone().map(some).collect::<Int64Array>()),
            ),
            (
                "small",
                Arc::new(rows.clone().map(small).collect::<Int32Array>()),
            ),
            (
                "day",
                Arc::new(rows.clone().map(small).collect::<Date32Array>()),
            ),
            (
                "instant",
                Arc::new(
                    rows.clone()
                        .map(some)
                        .collect::<TimestampMicrosecondArray>(),
                ),
            ),
            (
                "share",
                Arc::new(
                    rows.clone()
                        .map(|n| match n % 5 {
                            0 => None,
                            1 => Some(-0.0),
                            2 => Some(-f64::NAN),
                            _ => Some(n as f64 / 8.0),
                        })
                        .collect::<Float64Array>(),
                ),
            ),
            (
                "flag",
                Arc::new(
                    rows.clone()
                        .map(|n| some(n).map(|n| n % 2 == 0))
                        .collect::<BooleanArray>(),
                ),
            ),
            ("list", Arc::new(list.finish())),
            ("nothing", Arc::new(Int64Array::new_null(300))),
            ("_extra", extra(map)),
        ]
    }

    /// Pinned, because another hash for the same rows would mean that they have changed. The value
    /// was computed from the description of the form by another program.
    #[test]
    fn the_hash_of_the_same_rows_never_changes() {
        assert_eq!(
            hash_of(&all_types()),
            "2:4305a6bc38574c739560af6ed0bb3eb9e6af1c71dd0fa8a825a8033a1d3dff4f"
        );
    }

    #[test]
    fn rows_that_differ_have_different_hashes() {
        let column = |array: ArrayRef| hash_of(&[("a", array)]);
        let numbers =
            |numbers: &[Option<i64>]| column(Arc::new(Int64Array::from(numbers.to_vec())));
        let text = |values: &[Option<&str>]| column(texts(values));
        let list = |rows: &[Option<&Elements<'_>>]| hash_of(&[("list", lists(rows))]);
        let map = |rows: &[&[(&str, Option<&str>)]]| hash_of(&[("map", maps(rows))]);
        let pair =
            |a: &[Option<&str>], b: &[Option<&str>]| hash_of(&[("a", texts(a)), ("b", texts(b))]);
        let all = [
            hash_of(&[]),
            text(&[None]),
            text(&[None, None]),
            text(&[Some("")]),
            text(&[Some("a")]),
            text(&[Some("ab")]),
            text(&[Some("a"), Some("b")]),
            text(&[Some("b"), Some("a")]),
            text(&[Some("ab"), Some("")]),
            text(&[Some(""), Some("ab")]),
            text(&[Some("ab"), None]),
            text(&[None, Some("ab")]),
            text(&[Some("a"), None, Some("b")]),
            text(&[None, Some("a"), Some("b")]),
            text(&[Some("a"), Some("b"), None]),
            pair(&[None], &[Some("a")]),
            pair(&[Some("a")], &[Some("")]),
            pair(&[Some("a")], &[Some("a")]),
            numbers(&[Some(0)]),
            numbers(&[Some(0), None]),
            numbers(&[None, Some(0)]),
            numbers(&[Some(0), Some(0)]),
            numbers(&[Some(1)]),
            list(&[Some(&[])]),
            list(&[Some(&[None])]),
            list(&[Some(&[Some("")])]),
            list(&[Some(&[Some("ab")])]),
            list(&[Some(&[Some("a"), Some("b")])]),
            list(&[Some(&[Some("b"), Some("a")])]),
            list(&[Some(&[Some("a")]), Some(&[Some("b")])]),
            list(&[Some(&[Some("a"), Some("b")]), Some(&[])]),
            map(&[&[("a", None)]]),
            map(&[&[("a", Some(""))]]),
            map(&[&[("a", Some("b"))]]),
            map(&[&[("ab", Some(""))]]),
            map(&[&[("a", Some("b"))], &[]]),
            map(&[&[], &[("a", Some("b"))]]),
        ];
        let distinct: HashSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn what_means_the_same_has_the_same_hash() {
        let column = |array: ArrayRef| hash_of(&[("a", array)]);
        let narrow = Int32Array::from(vec![Some(-7), None]);
        let wide = Int64Array::from(vec![Some(-7), None]);
        assert_eq!(column(Arc::new(narrow)), column(Arc::new(wide)));
        let words: DictionaryArray<Int32Type> = ["b", "a", "b"].into_iter().collect();
        let plain = texts(&[Some("b"), Some("a"), Some("b")]);
        assert_eq!(column(Arc::new(words)), column(plain));
        let floats = |floats: [f64; 2]| column(Arc::new(Float64Array::from(floats.to_vec())));
        assert_eq!(floats([0.0, f64::NAN]), floats([-0.0, -f64::NAN]));
        let ordered = maps(&[&[("a", None), ("b", Some("1"))]]);
        assert_eq!(
            column(ordered),
            column(maps(&[&[("b", Some("1")), ("a", None)]]))
        );
        // Neither the order of columns nor one without values counts.
        let (a, b) = (texts(&[Some("1")]), texts(&[Some("2")]));
        let both = hash_of(&[("a", ArrayRef::clone(&a)), ("b", ArrayRef::clone(&b))]);
        assert_eq!(both, hash_of(&[("b", b), ("c", texts(&[None])), ("a", a)]));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_rows_are_cut(
            values in prop::collection::vec(prop::option::of(".{0,3}"), 1..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let numbers = values.iter().map(|v| v.as_ref().map(|text| text.len() as i64));
            let columns: [ArrayRef; 2] = [
                Arc::new(numbers.collect::<Int64Array>()),
                Arc::new(values.iter().map(Option::as_deref).collect::<StringArray>()),
            ];
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(values.len())).collect();
            cuts.extend([0, values.len()]);
            cuts.sort_unstable();
            for column in columns {
                let parts: Vec<_> = cuts.windows(2).map(|c| column.slice(c[0], c[1] - c[0])).collect();
                let mut in_parts = ColumnHash::new("a");
                parts.iter().for_each(|part| in_parts.update(part).expect("a known type"));
                let whole = hash_of(&[("a", ArrayRef::clone(&column))]);
                prop_assert_eq!(content_hash(values.len() as u64, vec![in_parts]), whole.clone());
                let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
                prop_assert_eq!(hash_of(&[("a", concat(&parts).expect("one"))]), whole);
            }
        }
    }
}
