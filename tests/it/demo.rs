//! `meetlake demo`: continued when interrupted, unchanged when repeated, the same for the same seed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::civil::date;
use meetlake::testing::dataset::Dataset;
use meetlake_simulator::Company;
use serde_json::Value;

use crate::app::{Output, binary, content_hashes, finish, snapshot, zone};
use crate::lake::{Row, below, rows, unsound};
use crate::truth::Truth;

const DAYS: u32 = 3;
const MEETINGS_PER_DAY: u32 = 4;

fn demo(out: &Path, seed: &str, more: &[&str]) -> Command {
    let (days, meetings) = (DAYS.to_string(), MEETINGS_PER_DAY.to_string());
    let mut command = binary();
    command
        .args(["demo", "--days", &days, "--meetings-per-day", &meetings])
        .args(["--seed", seed, "--out"])
        .arg(out)
        .args(more);
    command
}

fn run(out: &Path, seed: &str, more: &[&str]) -> Output {
    finish(&mut demo(out, seed, more))
}

fn status(out: &Path) -> Value {
    let config = out.join("meetlake.toml");
    finish(binary().args(["status", "--json", "--config"]).arg(config)).json()
}

fn hashes(out: &Path) -> BTreeMap<(String, String), String> {
    content_hashes(&status(out))
}

/// The start and the end of every meeting, and as many changes of rooms as meetings, each once; and `status` says when they came.
fn assert_events_there(out: &Path) {
    let ids = |dataset| -> Vec<String> {
        let rows = rows(&out.join("lake"), dataset).into_iter();
        let id = |row: Row| row["event_id"].as_str().expect("an id").to_owned();
        rows.map(id).collect()
    };
    let meetings = (DAYS * MEETINGS_PER_DAY) as usize;
    for (dataset, expected) in [
        (Dataset::MeetingEvent, meetings * 2),
        (Dataset::RoomEvent, meetings),
    ] {
        let ids = ids(dataset);
        let different: BTreeSet<&String> = ids.iter().collect();
        assert_eq!((ids.len(), different.len()), (expected, expected));
    }
    let status = status(out);
    let of_types = status["events"].as_array().expect("events").iter();
    let kept: u64 = of_types
        .map(|of| of["kept"].as_u64().expect("a count"))
        .sum();
    assert_eq!(kept, meetings as u64 * 3);
}

/// Asserts that the demo's lake, whose tenant has a name of its own, holds the company.
fn assert_conserved(out: &Path, seed: u64) {
    let last_day = date(2026, 10, 18);
    let company = Company::new(seed, last_day, DAYS, MEETINGS_PER_DAY, zone());
    let truth = Truth::of(&company, jiff::Timestamp::MAX);
    let lake = out.join("lake");
    let wrong = [unsound(&lake), truth.differences(&lake)].concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_hashes_and_a_finished_demo_changes_nothing() {
    let (one, two) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    for folder in [&one, &two] {
        let output = run(folder.path(), "5", &[]);
        assert_eq!(output.code, 0, "{output:?}");
        assert!(output.stdout.contains("read_parquet"), "{output:?}");
        for told in [
            "last received",
            "vc.meeting.all_meeting_ended_v1",
            "vc.room.updated_v1",
        ] {
            assert!(output.stdout.contains(told), "{output:?}");
        }
    }
    assert_eq!(hashes(one.path()), hashes(two.path()));
    assert_conserved(one.path(), 5);
    assert_events_there(one.path());
    let events = status(one.path())["events"].clone();
    let before = snapshot(&one.path().join("lake"));
    let again = run(one.path(), "5", &["--json"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(before == snapshot(&one.path().join("lake")));
    let submitted = &again.json()["simulator"]["exports_submitted"];
    assert_eq!(submitted, &Value::Object(serde_json::Map::new()));
    assert_eq!(status(one.path())["events"], events);
}

#[test]
fn another_seed_or_length_in_the_same_folder_is_refused_with_a_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(run(folder.path(), "1", &[]).code, 0);
    for output in [
        run(folder.path(), "2", &[]),
        finish(
            binary()
                .args(["demo", "--days", "2", "--out"])
                .arg(folder.path()),
        ),
    ] {
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains("choose another --out"), "{output:?}");
    }
}

#[test]
fn an_interrupted_demo_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    // Killed when it has written something more than before: in the middle of it, however fast the machine is.
    let written = || below(folder.path()).len();
    let mut interrupted = 0;
    for _ in 0..3 {
        let before = written();
        let mut child = demo(folder.path(), "3", &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        while written() < before + 8 && child.try_wait().expect("a child of ours").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        let status = child.wait().expect("a child of ours");
        interrupted += u32::from(status.signal() == Some(9));
    }
    println!(
        "{interrupted} of 3 demos were interrupted, {} files then",
        written()
    );
    assert!(interrupted > 0, "nothing was interrupted");
    let output = run(folder.path(), "3", &[]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_conserved(folder.path(), 3);
    assert_events_there(folder.path());
    let straight = tempfile::tempdir().expect("a folder");
    assert_eq!(run(straight.path(), "3", &[]).code, 0);
    assert_eq!(hashes(folder.path()), hashes(straight.path()));
}
