//! Sorting against a stable sort in memory.

use std::sync::Arc;

use super::*;
use crate::contract::lineage;
use arrow::array::{
    ArrayRef, AsArray as _, Int64Array, ListBuilder, StringArray, StringBuilder, new_null_array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use proptest::prelude::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("place", DataType::Int64, false),
        Field::new("empty", DataType::Utf8, true),
        Field::new("list", DataType::new_list(DataType::Utf8, true), true),
    ]))
}

/// Each place as a list of one text. Every third list is null.
fn lists(places: &[i64]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for place in places {
        builder.append_option((place % 3 > 0).then(|| [Some(place.to_string())]));
    }
    Arc::new(builder.finish())
}

/// Batches of the given size. Each row holds its place.
fn batches(keys: &[Option<String>], size: usize) -> Vec<RecordBatch> {
    let places: Vec<i64> = (0..).take(keys.len()).collect();
    let chunks = keys.chunks(size).zip(places.chunks(size));
    chunks
        .map(|(keys, places)| {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from_iter(keys)),
                Arc::new(Int64Array::from(places.to_vec())),
                new_null_array(&DataType::Utf8, keys.len()),
                lists(places),
            ];
            RecordBatch::try_new(schema(), columns).expect("a batch")
        })
        .collect()
}

fn order() -> RowOrder {
    RowOrder::new(schema(), ["key", "not read"].into_iter()).expect("an order")
}

fn sorted(batches: Vec<RecordBatch>, run_rows: usize) -> (Vec<i64>, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let beside = folder.path().join("out");
    let order = order();
    let run_size = RunSize {
        rows: run_rows,
        ..RunSize::default()
    };
    let mut sorter = Sorter::<ArrowError>::new(order, &beside, run_size);
    let mut through = Vec::new();
    for batch in batches {
        match sorter.push(batch).expect("pushed") {
            Pushed::InOrder(batch) => through.push(batch),
            Pushed::Waiting | Pushed::Kept => {}
        }
    }
    let as_they_came = through.len();
    let mut out = std::mem::take(&mut through);
    if sorter.buffered_rows + sorter.runs.len() > 0 {
        let handed_on: Vec<_> = out.drain(..).map(Ok).collect();
        sorter.give_back(SortedRun::new(handed_on.into_iter()));
    }
    let emit = |batch| {
        out.push(batch);
        Ok::<_, ArrowError>(())
    };
    sorter.finish(emit).expect("sorted");
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0, "runs have no names");
    let all = concat_batches(&schema(), &out).expect("one batch");
    let places = all.column(1).as_primitive::<Int64Type>();
    assert_eq!(all.column(3), &lists(places.values()));
    (places.values().to_vec(), as_they_came)
}

#[test]
fn rows_in_order_wait_for_one_batch_only() {
    let keys: Vec<_> = (0..1_000).map(|n| Some(format!("{:04}", n / 3))).collect();
    let (places, as_they_came) = sorted(batches(&keys, 100), 200);
    assert_eq!(as_they_came, 9);
    assert_eq!(places, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn rows_that_are_nearly_in_order_make_no_runs() {
    // Everywhere rows change places with others near them, across the ends of batches too.
    let mut places: Vec<i64> = (0..1_000).collect();
    for at in (0..900).step_by(37) {
        places.swap(at, at + 70);
    }
    let keys: Vec<_> = places.iter().map(|n| Some(format!("{n:04}"))).collect();
    let mut expected: Vec<i64> = (0..1_000).collect();
    expected.sort_by_key(|&place| places[place as usize]);
    let (sorted, as_they_came) = sorted(batches(&keys, 100), 200);
    assert_eq!((sorted, as_they_came), (expected, 9));
}

#[test]
fn equal_keys_are_ordered_by_task_and_source_row() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new(lineage::TASK_KEY, DataType::Utf8, true),
        Field::new(lineage::SOURCE_ROW, DataType::Int64, true),
    ]));
    let rows = [
        ("a", Some("t2"), Some(1)),
        ("b", Some("t1"), Some(2)),
        ("a", Some("t1"), Some(9)),
        ("a", None, Some(7)),
        ("a", Some("t1"), Some(3)),
        ("a", Some("t1"), None),
    ];
    let expected = [3, 5, 4, 2, 0, 1];
    let batch = |rows: &[(&str, Option<&str>, Option<i64>)]| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1))),
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.2))),
        ];
        RecordBatch::try_new(SchemaRef::clone(&schema), columns).expect("a batch")
    };
    let in_order = batch(&expected.map(|row: usize| rows[row]));
    let folder = tempfile::tempdir().expect("a folder");
    for (size, run_rows) in [(6, 100), (1, 100), (1, 1), (2, 3)] {
        let order = RowOrder::new(SchemaRef::clone(&schema), ["key"].into_iter());
        let run_size = RunSize {
            rows: run_rows,
            bytes: 1 << 20,
        };
        let order = order.expect("an order");
        let mut sorter = Sorter::<ArrowError>::new(order, &folder.path().join("out"), run_size);
        sorter.keep_until_end();
        for rows in rows.chunks(size) {
            assert_eq!(sorter.push(batch(rows)).expect("pushed"), Pushed::Kept);
        }
        let mut out = Vec::new();
        let emit = |batch| {
            out.push(batch);
            Ok::<_, ArrowError>(())
        };
        sorter.finish(emit).expect("sorted");
        assert_eq!(concat_batches(&schema, &out).expect("one"), in_order);
    }
}

#[test]
fn long_rows_make_runs_before_they_are_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let run_size = RunSize {
        rows: 1_000_000,
        bytes: 4_000,
    };
    let mut sorter = Sorter::<ArrowError>::new(order(), &folder.path().join("out"), run_size);
    sorter.keep_until_end();
    for batch in batches(&vec![Some("x".repeat(1_000)); 10], 1) {
        sorter.push(batch).expect("pushed");
    }
    assert_eq!((sorter.runs.len(), sorter.buffered_rows), (2, 2));
}

#[test]
fn a_run_from_elsewhere_must_be_in_order() {
    let text = |text: &str| Some(text.to_owned());
    let folder = tempfile::tempdir().expect("a folder");
    for (size, keys, is_in_order) in [
        (3, [text("a"), text("b"), text("b")], true),
        (3, [text("a"), text("c"), text("b")], false),
        (1, [text("a"), text("c"), text("b")], false),
        (2, [text("b"), text("c"), text("a")], false),
    ] {
        let beside = folder.path().join("out");
        let mut sorter = Sorter::<ArrowError>::new(order(), &beside, RunSize::default());
        let run = batches(&keys, size).into_iter().map(Ok);
        let said = || ArrowError::ComputeError("not in order".to_owned());
        sorter.merge_with(SortedRun::checked(run, said));
        let ended = sorter.finish(|_| Ok(()));
        assert_eq!(ended.is_ok(), is_in_order, "{keys:?} by {size}");
    }
}

proptest! {
    #[test]
    fn any_order_gives_what_a_stable_sort_gives(
        keys in prop::collection::vec(
            prop::option::of("[ab]{0,2}|same long beginning [a-d]"),
            0..200,
        ),
        is_sorted_until in 0usize..200,
        size in 1usize..40,
        run_rows in 1usize..90,
    ) {
        let mut keys = keys;
        let until = is_sorted_until.min(keys.len());
        keys[..until].sort();
        let mut expected: Vec<usize> = (0..keys.len()).collect();
        expected.sort_by_key(|&place| &keys[place]);
        let (places, _) = sorted(batches(&keys, size), run_rows);
        let expected: Vec<_> = expected.into_iter().map(|place| place as i64).collect();
        prop_assert_eq!(places, expected);
    }
}
