//! Other programs read every value of what the writer writes: every column of every dataset, page
//! by page, null by null. `tests/readers.md` names the programs, `tests/readers.py` asks them.
//!
//! The programs of the tests' own Python packages are asked in every run, those that
//! `MEETLAKE_READERS` names too, and all with `MEETLAKE_LONG`.

mod files;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use meetlake::testing::dataset::Dataset;
use tempfile::TempDir;

/// Part of the tests' own Python packages.
const ORDINARY: [&str; 6] = [
    "duckdb",
    "polars",
    "pyarrow",
    "pandas",
    "datafusion",
    "pyiceberg",
];

#[test]
fn ordinary_engines_read_every_value() {
    all_read(&ORDINARY);
}

#[test]
fn clickhouse_old_and_new_read_every_value() {
    all_read(&["chdb-3.7.2", "chdb-4.4.0", "chdb-4.4.0-old"]);
}

#[test]
fn spark_of_2023_reads_every_value() {
    all_read(&["spark-3.4.1"]);
}

#[test]
fn other_sparks_read_every_value() {
    all_read(&["spark-3.2.4", "spark-3.5.7", "spark-4.3.0"]);
}

/// The comparison itself: planted differences are found, equal tables are equal.
#[test]
fn the_comparison_finds_a_single_changed_value() {
    let Some(mut python) = python() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers_check.py");
    let status = python.arg(script).status().expect("Python");
    assert!(status.success());
}

/// Spark 3.4.1 reads text in `DELTA_LENGTH_BYTE_ARRAY` wrongly where it has nulls, without an error.
#[cfg(feature = "failpoints")]
#[test]
fn spark_of_2023_tells_when_text_is_written_as_deltas() {
    if !is_asked("spark-3.4.1") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // In a process of its own, because a defect is planted for all threads.
    let mut writer = Command::new(std::env::current_exe().expect("this program"));
    writer.args(["--exact", "readers::files_for_a_folder", "--ignored"]);
    writer.env("FAILPOINTS", "planted-delta-text=return");
    writer.env("MEETLAKE_READERS_DATASET", "participant_list");
    let writer = writer.env("MEETLAKE_READERS_FOLDER", folder.path());
    assert!(writer.status().expect("this program").success());
    let (is_read, said) = ask("spark-3.4.1", folder.path()).expect("Python");
    assert!(!is_read, "{said}");
    let user_ids = said.lines().filter(|line| line.contains(": user_id: "));
    assert!(user_ids.count() > 0, "{said}");
}

/// Writes the files to `MEETLAKE_READERS_FOLDER`, for whoever asks an engine by hand. Only those of
/// `MEETLAKE_READERS_DATASET`, if it names one.
#[test]
#[ignore = "asked for by name"]
fn files_for_a_folder() {
    let folder = std::env::var_os("MEETLAKE_READERS_FOLDER").expect("MEETLAKE_READERS_FOLDER");
    #[cfg(feature = "failpoints")]
    let _failpoints = meetlake::testing::failpoint::set_up();
    std::fs::create_dir_all(&folder).expect("the folder");
    let dataset = std::env::var("MEETLAKE_READERS_DATASET").ok();
    let is_named = |of: &Dataset| dataset.as_ref().is_none_or(|name| of.as_str() == name);
    let datasets: Vec<_> = Dataset::ALL.into_iter().filter(is_named).collect();
    files::write(Path::new(&folder), &datasets);
}

#[test]
fn the_files_have_what_readers_stumble_over() {
    let folder = written();
    let found = files::pages(folder.path());
    assert!(found.files > 20, "{found:?}");
    assert_eq!(found.chunks_of_few_pages, Vec::<String>::new());
    assert!(found.null_pages > 100, "{found:?}");
    assert!(found.row_groups > 1, "{found:?}");
    assert!(found.empty_files > 5, "{found:?}");
}

fn all_read(engines: &[&str]) {
    let mut wrong = Vec::new();
    for engine in engines {
        if !is_asked(engine) {
            eprintln!("left out: {engine} is not in MEETLAKE_READERS");
            continue;
        }
        let folder = written();
        let Some((is_read, said)) = ask(engine, folder.path()) else {
            return;
        };
        eprint!("{said}");
        if !is_read {
            wrong.push(format!("{engine} does not read every value:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_asked(engine: &str) -> bool {
    let named = std::env::var("MEETLAKE_READERS").unwrap_or_default();
    ORDINARY.contains(&engine)
        || std::env::var_os("MEETLAKE_LONG").is_some()
        || named.split([' ', ',']).any(|name| name == engine)
}

/// Whether the engine reads every value, and what differs.
fn ask(engine: &str, folder: &Path) -> Option<(bool, String)> {
    let mut python = python()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers.py");
    let python = python.args([Path::new(script), folder, Path::new(engine)]);
    let output = python.output().expect("Python");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Some((output.status.success(), said))
}

fn python() -> Option<Command> {
    let path = std::env::var_os("MEETLAKE_TEST_PYTHON");
    if path.is_none() {
        eprintln!("left out: MEETLAKE_TEST_PYTHON is not set; tests/run sets it");
    }
    path.map(Command::new)
}

/// The files, written once for the tests that need them at the same time.
fn written() -> Arc<TempDir> {
    static WRITTEN: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut written = WRITTEN.lock().expect("no panic while it is held");
    if let Some(folder) = written.upgrade() {
        return folder;
    }
    let folder = Arc::new(tempfile::tempdir().expect("a folder"));
    files::write(folder.path(), &Dataset::ALL);
    *written = Arc::downgrade(&folder);
    folder
}
