use super::*;
use crate::publish::parquet::{Written, write_file};
use crate::table::{Cell, Header, HeaderColumn, RowSink};
use proptest::prelude::*;

const ROWS: usize = 20_000;

fn cases() -> u32 {
    let is_long = std::env::var_os("MEETLAKE_LONG").is_some();
    if is_long { 200 } else { 6 }
}

fn meetings() -> Context {
    conversion_context(Dataset::MeetingList, &TimeZone::UTC, Lineage::default())
}

/// Passes rows of meetings with the given numbers to `sink`. Some recur. Some have no end, no
/// number or too many columns.
fn hand_over(numbers: &[usize], sink: &mut dyn RowSink) {
    let contract = Contract::of(Dataset::MeetingList);
    let texts = ["会议ID", "会议开始时间", "会议结束时间", "会议主题", "更多"];
    let columns = texts.map(|text| HeaderColumn {
        text: text.to_owned(),
        column: contract.column_of_header(text),
    });
    sink.sheet(&Header {
        sheet: "S".to_owned(),
        row: Some(1),
        columns: columns.to_vec(),
    });
    for (row, number) in (2..).zip(numbers) {
        let text = |text: String| Cell::Text(text.into());
        let cells = [
            text(if number % 97 == 5 {
                String::new()
            } else {
                format!("{:06}", number / 3)
            }),
            text("2026.10.12 06:10:42 (GMT+08:00)".to_owned()),
            text(if number % 5 == 0 {
                String::new()
            } else {
                "2026.10.12 07:10:42".to_owned()
            }),
            text(format!("topic {number}")),
            text(if number % 1_000 == 1 {
                "more".to_owned()
            } else {
                String::new()
            }),
        ];
        sink.row(row, &cells);
    }
}

#[test]
fn a_file_that_is_changed_while_it_is_read_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    fs::write(&path, "one").expect("written");
    let input = InputFile::open(&path).expect("opened");
    input.check_unchanged().expect("the same");
    let before = fs::metadata(&path).expect("there").modified();
    // Longer than a tick of the file system's clock.
    std::thread::sleep(std::time::Duration::from_millis(50));
    // The new text is as long as the old one, and the time of the last write is set back below.
    fs::write(&path, "two").expect("written");
    let file = File::options().write(true).open(&path).expect("opened");
    file.set_modified(before.expect("a time")).expect("set");
    input.check_unchanged().expect_err("changed");
}

#[test]
fn a_file_that_takes_the_place_of_another_is_not_read_in_part() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, other) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&path, "one").expect("written");
    fs::write(&other, "other").expect("written");
    let input = InputFile::open(&path).expect("opened");
    fs::rename(&other, &path).expect("renamed");
    assert_eq!(input.sha256().expect("read"), hex(&Sha256::digest("one")));
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    for path in ["/dev/zero", "/"] {
        let refused = InputFile::open(Path::new(path)).err().expect("refused");
        assert!(refused.to_string().contains("no regular file"), "{refused}");
    }
}

/// The simple way: everything is sorted in memory.
fn simply(numbers: &[usize]) -> Written {
    let context = meetings();
    let read = |normalizer: &mut Normalizer<'_>| hand_over(numbers, normalizer);
    let batch = normalize::whole(&context, read).1.expect("a table").batch;
    let folder = tempfile::tempdir().expect("a folder");
    write_file(&folder.path().join("a"), context.contract, [batch]).expect("written")
}

fn streamed(numbers: &[usize], run_rows: usize, is_read_twice: bool) -> Written {
    let context = meetings();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    let constants = ConstantColumns::new(&context, &context.stamp, BATCH_ROWS);
    let run_size = RunSize {
        rows: run_rows,
        ..RunSize::default()
    };
    let new = || begin_file(&context, &constants, &path, run_size).expect("a file");
    let mut out = Some(new());
    let mut normalizer = Normalizer::new(&context, |piece| match piece {
        NormalizerOutput::Rows(batch) => {
            let out = out.as_mut().expect("a file");
            out.push(batch).expect("written");
        }
        NormalizerOutput::Restart => {
            drop(out.take());
            out = Some(new());
        }
    });
    if is_read_twice {
        hand_over(&numbers[..numbers.len() / 2], &mut normalizer);
        normalizer.restart();
    }
    hand_over(numbers, &mut normalizer);
    let findings = normalizer.finish().expect("a table");
    let (written, _) = out.expect("a file").finish().expect("written");
    assert_eq!(written.rows, findings.rows_out);
    written
}

#[test]
fn rows_in_all_kinds_of_order_give_the_same_file() {
    let sorted: Vec<usize> = (0..ROWS).collect();
    let mut late = sorted.clone();
    late.push(7);
    let mut expected = Vec::new();
    for numbers in [
        sorted.clone(),
        sorted.iter().rev().copied().collect(),
        late,
        sorted.iter().map(|number| number ^ 64).collect(),
    ] {
        let simple = simply(&numbers);
        assert_eq!(streamed(&numbers, 9_000, false), simple);
        assert_eq!(streamed(&numbers, 1 << 20, true), simple);
        expected.push(simple.rows);
    }
    assert_eq!(expected[0], expected[1]);
    assert_eq!(expected[0] + 1, expected[2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    #[test]
    fn any_order_gives_the_file_of_the_simple_way(
        seed in any::<u64>(),
        sorted_until in 0..ROWS,
        run_rows in 3_000usize..30_000,
    ) {
        let mut state = seed | 1;
        let mut numbers: Vec<usize> = (0..ROWS).collect();
        for row in sorted_until..ROWS {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let other = sorted_until + (state >> 33) as usize % (ROWS - sorted_until);
            numbers.swap(row, other);
        }
        prop_assert_eq!(streamed(&numbers, run_rows, false), simply(&numbers));
    }
}
