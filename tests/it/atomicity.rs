//! A reader with nothing but a glob, beside the writer: every look at the lake is one published revision, whole; and the watch would notice a
//! writer that replaces files in place.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::exit::Code;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::lake;
use crate::workbooks::{HEADER, Office, workbook};

/// What a reader saw: numbers of rows, and looks that failed.
#[derive(Debug, Default)]
struct Seen {
    rows: BTreeSet<usize>,
    torn: Vec<String>,
    looks: usize,
}

impl Seen {
    /// One look: every file by its name, and the sum of their rows.
    fn look(&mut self, lake: &Path) {
        self.looks += 1;
        let mut rows = 0;
        for file in lake::files(lake, Dataset::MeetingList)
            .iter()
            .filter(|file| {
                file.extension()
                    .is_some_and(|extension| extension == "parquet")
            })
        {
            match count(file) {
                Ok(count) => rows += count,
                Err(error) => self.torn.push(error),
            }
        }
        self.rows.insert(rows);
    }
}

fn count(file: &PathBuf) -> Result<usize, String> {
    let bytes = Bytes::from(fs::read(file).map_err(|error| error.to_string())?);
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())?;
    let batches = reader.build().map_err(|error| error.to_string())?;
    let mut rows = 0;
    for batch in batches {
        rows += batch.map_err(|error| error.to_string())?.num_rows();
    }
    Ok(rows)
}

/// Looks at the lake again and again while `write` runs, which may wait until there was another look from beginning to end.
fn watch(lake: &Path, write: impl FnOnce(&dyn Fn())) -> Seen {
    let (done, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    let until_looked_at = || {
        let before = looks.load(Ordering::Relaxed);
        while looks.load(Ordering::Relaxed) < before + 2 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = Seen::default();
            while !done.load(Ordering::Relaxed) {
                seen.look(lake);
                looks.store(seen.looks, Ordering::Relaxed);
            }
            seen
        });
        write(&until_looked_at);
        done.store(true, Ordering::Relaxed);
        reader.join().expect("the reader ends")
    })
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{}", 100_000_000 + n)).collect()
}

fn sheet(rows: usize) -> Vec<u8> {
    let numbers = numbers(rows);
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    workbook(&HEADER, &numbers)
}

#[test]
fn a_reader_beside_the_writer_sees_only_whole_revisions() {
    let office = Office::open();
    let (few, many) = (sheet(40), sheet(400));
    assert_eq!(office.export(&few).exit(), Code::Done);
    let seen = watch(&office.app.lake(), |_| {
        for round in 0..12 {
            let bytes = if round % 2 == 0 { &many } else { &few };
            assert_eq!(office.export(bytes).exit(), Code::Done);
        }
    });
    assert_eq!(seen.torn, Vec::<String>::new());
    assert_eq!(seen.rows, BTreeSet::from([40, 400]));
    assert!(seen.looks > 50, "{seen:?}");
    assert_eq!(office.revisions(), 13);
}

#[test]
fn the_watch_notices_a_file_that_is_replaced_in_place_or_deleted_first() {
    let office = Office::open();
    assert_eq!(office.export(&sheet(400)).exit(), Code::Done);
    let file = lake::files(&office.app.lake(), Dataset::MeetingList).remove(0);
    let bytes = fs::read(&file).expect("an object");
    let seen = watch(&office.app.lake(), |until_looked_at| {
        fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
        until_looked_at();
        fs::write(&file, &bytes).expect("written");
    });
    assert!(!seen.torn.is_empty(), "{seen:?}");
    let seen = watch(&office.app.lake(), |until_looked_at| {
        fs::remove_file(&file).expect("removed");
        until_looked_at();
        fs::write(&file, &bytes).expect("written");
    });
    assert!(seen.rows.contains(&0), "{seen:?}");
}
